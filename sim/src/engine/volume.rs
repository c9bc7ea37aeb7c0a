//! The engine for volume: one thread, one queue of runnable tasks, and every decision a choice.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use async_task::{Builder, Runnable, Task};

use super::{End, Outcome, Stage, quietly};
use crate::choice::Choices;
use crate::scenario::Scenario;
use crate::world::{Record, Who, lock};

/// A run that takes more steps than this while no time passes hangs.
const STEPS_MAX: u64 = 2_000_000;

/// A task: its number, and which it is.
type Numbered = (u64, Who);

#[derive(Default)]
struct Queue {
    ready: Mutex<VecDeque<Runnable<Numbered>>>,
    tasks: Mutex<Vec<Task<(), Numbered>>>,
    next: AtomicU64,
    server_over: AtomicBool,
}

impl Queue {
    fn spawn(self: &Arc<Queue>, who: Who, future: crate::world::Task) {
        let numbered = (self.next.fetch_add(1, Ordering::SeqCst), who);
        let queue = self.clone();
        let schedule = move |runnable| lock(&queue.ready).push_back(runnable);
        let (runnable, task) = Builder::new().metadata(numbered).spawn(|_| future, schedule);
        runnable.schedule();
        let mut tasks = lock(&self.tasks);
        // Those that have ended are of no more interest; looking for them pays when there are many.
        if tasks.len() >= 64 && tasks.len().is_power_of_two() {
            tasks.retain(|task| !task.is_finished());
        }
        tasks.push(task);
    }

    /// The server's tasks are gone, wherever they were, or all.
    fn end(&self, all: bool) {
        let ends = |(_, who): &Numbered| all || who.is_server();
        let (ending, rest): (Vec<_>, Vec<_>) =
            lock(&self.tasks).drain(..).partition(|task| ends(task.metadata()));
        *lock(&self.tasks) = rest;
        drop(ending); // that cancels them: each is scheduled a last time, to be dropped
        let ready = std::mem::take(&mut *lock(&self.ready));
        let (ended, rest): (Vec<_>, Vec<_>) = ready.into_iter().partition(|task| ends(task.metadata()));
        *lock(&self.ready) = rest.into();
        drop(ended);
    }
}

/// Runs a scenario to its end and judges it.
pub fn run(scenario: &Scenario, choices: Choices, record: Record) -> Outcome {
    run_shared(Arc::new(scenario.clone()), choices, record)
}

/// As [`run`], without a copy of the scenario.
pub fn run_shared(scenario: Arc<Scenario>, choices: Choices, record: Record) -> Outcome {
    let queue = Arc::new(Queue::default());
    let (spawning, ending) = (queue.clone(), queue.clone());
    let mut stage = Stage::set(
        scenario,
        choices,
        record,
        move |who, task| spawning.spawn(who, task),
        move || ending.server_over.store(true, Ordering::SeqCst),
    );
    let (steps, end) = drive(&queue, &mut stage);
    queue.end(true);
    if stage.world.choices().taken.iter().all(|choice| !choice.task || choice.picked == 0) {
        stage.ran_in_turn();
    }
    stage.outcome(steps, end)
}

/// Runs whatever can run until nothing can and nobody waits for a moment. Returns the steps it took, and how it
/// ended.
fn drive(queue: &Arc<Queue>, stage: &mut Stage) -> (u64, End) {
    let world = stage.world.clone();
    let (mut steps, mut since_rest) = (0, 0);
    let mut server_over = false;
    loop {
        if !server_over && queue.server_over.load(Ordering::SeqCst) {
            server_over = true;
            queue.end(false);
        }
        world.perhaps_jump();
        let mut ready = lock(&queue.ready);
        if ready.is_empty() {
            drop(ready);
            since_rest = 0;
            if !stage.rest() {
                return (steps, End::Rest);
            }
            continue;
        }
        let tasks = || ready.iter().map(Runnable::metadata);
        let mut choices = world.choices();
        let picked = choices.task(tasks().map(|(number, _)| *number));
        if world.traced {
            for held in choices.held() {
                let task = tasks().find(|(number, _)| *number == held);
                task.into_iter().for_each(|(_, who)| world.holds_back(*who));
            }
        }
        drop(choices);
        let task = ready.remove(picked);
        drop(ready);
        if let Some(task) = task
            && let Err(panic) = quietly(|| task.run())
        {
            return (steps, End::Panicked(panic));
        }
        steps += 1;
        since_rest += 1;
        if since_rest >= STEPS_MAX {
            return (steps, End::Hangs);
        }
    }
}
