//! The engine for volume: one thread, one queue of runnable tasks, and every decision a choice.

use std::collections::VecDeque;
use std::future::pending;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use async_task::{Builder, Runnable, Task};
use seriatim::server::{Config, serve};

use crate::choice::{Choice, Choices};
use crate::client;
use crate::history::History;
use crate::judge::{Violation, judge};
use crate::marks::Marks;
use crate::net::{Net, SimListener};
use crate::scenario::Scenario;
use crate::world::{Owner, Record, SimRuntime, World, lock};

/// A run that takes more steps than this hangs.
const STEPS_MAX: u64 = 20_000_000;

/// How far a clock jumps, in milliseconds.
const JUMPS_MS: [u64; 3] = [100, 1_000, 5_000];

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// What the clients wrote and read.
    pub history: History,
    /// Every decision.
    pub taken: Vec<Choice>,
    /// The decisions as a list to replay.
    pub picks: Vec<u32>,
    /// What was met.
    pub marks: Marks,
    /// How many events the broker was told of.
    pub events: u64,
    /// How many tasks were polled.
    pub steps: u64,
    /// How much time passed, in simulated milliseconds.
    pub now_ms: u64,
    /// A hash of everything, if wanted.
    pub digest: Option<u64>,
    /// Every event and effect in words, if wanted.
    pub trace: Vec<String>,
}

/// Who a task is.
struct Who {
    number: u64,
    owner: Owner,
}

#[derive(Default)]
struct Queue {
    ready: Mutex<VecDeque<Runnable<Who>>>,
    tasks: Mutex<Vec<(Owner, Task<(), Who>)>>,
    next: AtomicU64,
    server_over: AtomicBool,
}

impl Queue {
    fn spawn(self: &Arc<Queue>, owner: Owner, future: crate::world::Task) {
        let who = Who { number: self.next.fetch_add(1, Ordering::SeqCst), owner };
        let queue = self.clone();
        let schedule = move |runnable| lock(&queue.ready).push_back(runnable);
        let (runnable, task) = Builder::new().metadata(who).spawn(|_| future, schedule);
        runnable.schedule();
        let mut tasks = lock(&self.tasks);
        // Those that have ended are of no more interest; looking for them pays when there are many.
        if tasks.len() >= 64 && tasks.len().is_power_of_two() {
            tasks.retain(|(_, task)| !task.is_finished());
        }
        tasks.push((owner, task));
    }

    /// The tasks of this owner, or all, are gone, wherever they were.
    fn end(&self, owner: Option<Owner>) {
        let (ending, rest): (Vec<_>, Vec<_>) =
            lock(&self.tasks).drain(..).partition(|(whose, _)| owner.is_none_or(|owner| owner == *whose));
        *lock(&self.tasks) = rest;
        drop(ending); // that cancels them: each is scheduled a last time, to be dropped
        let ready = std::mem::take(&mut *lock(&self.ready));
        let (ended, rest): (Vec<_>, Vec<_>) =
            ready.into_iter().partition(|task| owner.is_none_or(|owner| owner == task.metadata().owner));
        *lock(&self.ready) = rest.into();
        drop(ended);
    }
}

/// Runs a scenario to its end and judges it.
pub fn run(scenario: &Scenario, choices: Choices, record: Record) -> Outcome {
    let queue = Arc::new(Queue::default());
    let spawning = queue.clone();
    let world =
        World::new(scenario.faults.clone(), choices, record, move |owner, task| spawning.spawn(owner, task));
    let net = Net::new(world.clone(), scenario.pipe_bytes);
    let history = Arc::new(Mutex::new(History {
        recipients_max: scenario.limits.recipients_max,
        sessions: Vec::new(),
    }));
    start_server(scenario, &world, &net, &queue);
    let done = Arc::new(AtomicUsize::new(0));
    for (number, script) in scenario.clients.iter().enumerate() {
        let (script, limits, done) = (script.clone(), scenario.limits.clone(), done.clone());
        let playing = client::play(world.clone(), net.clone(), history.clone(), script, limits, number);
        world.spawn(Owner::Client, async move {
            playing.await;
            done.fetch_add(1, Ordering::SeqCst);
        });
    }
    let (steps, hangs) = drive(&queue, &world);
    let done = done.load(Ordering::SeqCst);
    let history = std::mem::take(&mut *lock(&history));
    let stuck = hangs || done < scenario.clients.len();
    let violation = judge(&history).err().or_else(|| {
        stuck.then(|| {
            Violation::stuck(
                &history,
                format!("{done} of {} clients came to their end", scenario.clients.len()),
            )
        })
    });
    let violation = violation.or_else(|| if scenario.is_calm() { Violation::broken(&history) } else { None });
    let violation = violation.or_else(|| {
        let closed_at = net.found_closed_at()?;
        scenario.stop_at_ms.is_none_or(|stop| closed_at < stop).then(|| Violation::deaf(closed_at))
    });
    queue.end(None);
    let digest = world.digest();
    let mut log = world.log();
    if let Some(violation) = &violation {
        log.marks.hit_owned(format!("violation of {}", violation.rule));
    }
    log.marks.history(&history);
    let (marks, events, trace) =
        (std::mem::take(&mut log.marks), log.events, log.trace.take().unwrap_or_default());
    drop(log);
    let taken = std::mem::take(&mut world.choices().taken);
    let picks = taken.iter().map(|choice| choice.picked).collect();
    Outcome { violation, history, taken, picks, marks, events, steps, now_ms: world.now(), digest, trace }
}

fn start_server(scenario: &Scenario, world: &Arc<World>, net: &Arc<Net>, queue: &Arc<Queue>) {
    let config = Config {
        limits: scenario.limits.clone(),
        outbox_bytes_max: scenario.outbox_bytes_max,
        hash_seed: [0, 0],
    };
    let (stop_at, clock, ending) = (scenario.stop_at_ms, world.clone(), queue.clone());
    let shutdown = async move {
        match stop_at {
            Some(at) => clock.sleep_until(at).await,
            None => pending().await,
        }
    };
    let serving = serve(SimRuntime(world.clone()), vec![SimListener(net.clone())], config, shutdown);
    world.spawn(Owner::Server, async move {
        serving.await;
        // The process is gone, and with it whatever its tasks still had to do.
        ending.server_over.store(true, Ordering::SeqCst);
    });
}

/// Runs whatever can run until nothing can and nobody waits for a moment. Returns the steps it took, and whether they
/// were too many.
fn drive(queue: &Arc<Queue>, world: &Arc<World>) -> (u64, bool) {
    let mut steps = 0;
    let mut server_over = false;
    loop {
        if !server_over && queue.server_over.load(Ordering::SeqCst) {
            server_over = true;
            queue.end(Some(Owner::Server));
        }
        if world.goes_wrong(world.faults.clock_jump) {
            let jump = world.choices().pick(JUMPS_MS.len());
            world.advance_to(world.now() + JUMPS_MS[jump]);
        }
        let mut ready = lock(&queue.ready);
        if ready.is_empty() {
            drop(ready);
            if !world.advance() {
                return (steps, false);
            }
            continue;
        }
        let picked = world.choices().task(ready.iter().map(|task| task.metadata().number));
        let task = ready.remove(picked);
        drop(ready);
        if let Some(task) = task {
            task.run();
        }
        steps += 1;
        if steps >= STEPS_MAX {
            return (steps, true);
        }
    }
}

/// The hash of many runs from the hash of each.
pub fn fold_digest(all: u64, one: Option<u64>) -> u64 {
    all.rotate_left(5) ^ one.unwrap_or_default()
}
