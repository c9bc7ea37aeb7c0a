//! The engines: each runs the same server and the same clients, and lets tasks run in an order of its own.
//!
//! - [`volume`]: a small executor of our own: fast, every decision recorded, exact replay, bounded search;
//! - [`under_shuttle`]: the schedulers of shuttle, an independent cross-check;
//! - [`sockets`]: the real runtime over real sockets, so that the simulated network is itself tested.

pub mod sockets;
pub mod under_shuttle;
pub mod volume;

use std::cell::{Cell, RefCell};
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, Once};

use seriatim::server::operator::Operator;
use seriatim::server::{Shutdown, start_observed};

use crate::choice::{Choice, Choices};
use crate::client;
use crate::history::{History, Item, Recorder};
use crate::judge::{Violation, judge};
use crate::marks::Marks;
use crate::net::{Net, SimListener};
use crate::orders::{Given, give};
use crate::scenario::Scenario;
use crate::seam::SimRuntime;
use crate::timing::{self, Around};
use crate::world::{Incident, Record, Step, Task, Who, World, lock};

/// What came of a run.
#[derive(Debug)]
pub struct Outcome {
    /// The first rule that was broken.
    pub violation: Option<Violation>,
    /// What the clients wrote and read.
    pub history: History,
    /// Every decision.
    pub taken: Vec<Choice>,
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
    /// Every event with its effects, if wanted.
    pub trace: Vec<Step>,
    /// What nobody did, if the trace is wanted.
    pub incidents: Vec<Incident>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    /// Nothing could run any more, and nobody waited for a moment.
    Rest,
    /// It would have gone on for ever.
    Hangs,
    /// A task panicked, with this message.
    Panicked(String),
}

/// Runs something that may panic. The message comes back instead of being printed.
pub(crate) fn quietly<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    thread_local! {
        static QUIET: Cell<bool> = const { Cell::new(false) };
        static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
    }
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if QUIET.get() {
                MESSAGE.replace(info.to_string());
            } else {
                usual(info);
            }
        }));
    });
    QUIET.set(true);
    let ran = panic::catch_unwind(AssertUnwindSafe(run));
    QUIET.set(false);
    ran.map_err(|_| MESSAGE.take().replace('\n', " "))
}

/// One thing that happened in a run.
pub(crate) enum Happened<'a> {
    /// A client did or saw something: its session, and the place in its history.
    Item(usize, usize, &'a Item),
    /// The broker was told of something.
    Step(&'a Step),
    /// Something befell a session, or all.
    Incident(Option<usize>, &'a Incident),
}

impl Outcome {
    /// All that happened, in the one order in which it did.
    pub(crate) fn in_order(&self) -> Vec<Happened<'_>> {
        let sessions = &self.history.sessions;
        let mut all: Vec<(u64, Happened<'_>)> = Vec::new();
        for (session, its) in sessions.iter().enumerate() {
            let items = its.items.iter().enumerate();
            all.extend(items.map(|(place, item)| (item.at, Happened::Item(session, place, item))));
        }
        all.extend(self.trace.iter().map(|step| (step.at, Happened::Step(step))));
        all.extend(self.incidents.iter().map(|incident| {
            let session = incident.session.filter(|&session| session < sessions.len());
            (incident.at, Happened::Incident(session, incident))
        }));
        all.sort_by_key(|&(at, _)| at);
        all.into_iter().map(|(_, happened)| happened).collect()
    }

    /// How often a task whose turn it was began to be held back.
    pub fn preemptions(&self) -> usize {
        self.taken.iter().filter(|choice| choice.preempts).count()
    }

    /// The decisions as a list to replay.
    pub fn picks(&self) -> Vec<u32> {
        self.taken.iter().map(|choice| choice.picked).collect()
    }
}

/// The hash of many runs from the hash of each.
pub fn fold_digest(all: u64, one: Option<u64>) -> u64 {
    all.rotate_left(5) ^ one.unwrap_or_default()
}

/// What every simulated run has: the world, the server and the clients in it.
struct Stage {
    scenario: Arc<Scenario>,
    world: Arc<World>,
    net: Arc<Net>,
    recorder: Arc<Recorder>,
    /// How many clients have come to their end.
    done: Arc<AtomicUsize>,
    /// [`Scenario::is_prompt`].
    prompt: bool,
    /// What happened beside the clients.
    around: Arc<Mutex<Around>>,
    /// How often time has passed since anybody saw anything.
    rests: Rests,
}

/// To end a run in which time passes for ever and nothing happens.
#[derive(Default)]
struct Rests {
    seen: u64,
    count: u32,
}

/// A run in which time passes so often without anybody seeing anything hangs.
const RESTS_MAX: u32 = 20_000;

impl Stage {
    /// Starts the server and the clients. `server_over` is to end whatever the server's tasks still have to do.
    fn set(
        scenario: Arc<Scenario>,
        choices: Choices,
        record: Record,
        spawner: impl Fn(Who, Task) + Send + Sync + 'static,
        server_over: impl Fn() + Send + Sync + 'static,
    ) -> Stage {
        let recorder = Recorder::new(&scenario);
        let world = World::new(scenario.faults.clone(), choices, record, recorder.clone(), spawner);
        let net = Net::new(world.clone(), &scenario);
        let stage = Stage {
            prompt: scenario.is_prompt(),
            scenario,
            world,
            net,
            recorder,
            done: Arc::default(),
            around: Arc::default(),
            rests: Rests::default(),
        };
        stage.start_server(server_over);
        (0..stage.scenario.clients.len()).for_each(|client| stage.start_client(client));
        stage
    }

    fn runtime(&self) -> SimRuntime {
        SimRuntime { world: self.world.clone(), net: self.net.clone() }
    }

    fn start_server(&self, server_over: impl Fn() + Send + Sync + 'static) {
        let config = self.scenario.config();
        let server_over = Arc::new(server_over);
        let (stop, world, net) = (self.scenario.stop, self.world.clone(), self.net.clone());
        let (recorder, clock) = (self.recorder.clone(), self.world.clone());
        let (around, killing, ending) = (self.around.clone(), server_over.clone(), self.around.clone());
        let shutdown = async move {
            let Some(stop) = stop else { return std::future::pending().await };
            world.clone().wait_for(stop.at).await;
            {
                let mut around = lock(&around);
                around.stopping = Some((recorder.stamp(), world.now()));
                around.lines_taken = net.lines_taken();
            }
            let why = if stop.restart { Shutdown::Restart } else { Shutdown::Stop };
            let Some(again_after_ms) = stop.again_after_ms else { return why };
            let at = world.now() + again_after_ms;
            // The operator is no part of the process.
            world.clone().spawn(Who::Operator, async move {
                world.clone().sleep_until(at).await;
                if lock(&around).over_ms.is_none() {
                    lock(&around).over_ms = Some(world.now());
                    let what = || "a second signal ends the process".to_owned();
                    world.befalls("a second signal ended the process", None, what);
                    net.break_all();
                    killing();
                }
            });
            why
        };
        let runtime = self.runtime();
        let (listeners, operate) = (SimListener::all(&self.net), self.operator());
        self.world.spawn(Who::Driver, async move {
            let (_, operator, serving) =
                start_observed(runtime.clone(), runtime, listeners, config, shutdown);
            operate(operator);
            serving.await;
            // The process is gone, and with it whatever its tasks still had to do.
            lock(&ending).over_ms = Some(clock.now());
            server_over();
        });
    }

    /// Starts whoever gives the orders, if there are any, and waits for what becomes of each before the next.
    fn operator(&self) -> impl FnOnce(Operator) + Send + 'static {
        let (scenario, world) = (self.scenario.clone(), self.world.clone());
        let (recorder, around) = (self.recorder.clone(), self.around.clone());
        let orders = move |operator: Operator, world: Arc<World>| async move {
            for order in &scenario.orders {
                world.clone().wait_for(order.at).await;
                let given = Given::new(order.what.clone(), (recorder.stamp(), world.now()));
                let number = {
                    let mut around = lock(&around);
                    around.orders.push(given);
                    around.orders.len() - 1
                };
                let answer = give(&order.what, &operator, &scenario, &world).await;
                lock(&around).orders[number].answer(answer, (recorder.stamp(), world.now()));
            }
        };
        let any = !self.scenario.orders.is_empty();
        move |operator| {
            if any {
                world.spawn(Who::Operator, orders(operator, world.clone()));
            }
        }
    }

    fn start_client(&self, client: usize) {
        let done = self.done.clone();
        let runtime = self.runtime();
        let playing = client::play(runtime, self.recorder.clone(), self.scenario.clone(), client);
        self.world.spawn(Who::Client(client), async move {
            playing.await;
            done.fetch_add(1, Ordering::SeqCst);
        });
    }

    /// Nothing can run any more: lets time pass. `false` if nobody waits for any moment, or if that would go on for ever.
    fn rest(&mut self) -> bool {
        if self.prompt && self.recorder.anybody_waits() {
            let mut around = lock(&self.around);
            if around.waited_ms.is_none() && around.stopping.is_none() {
                around.waited_ms = Some(self.world.now());
            }
        }
        let seen = self.recorder.items();
        self.rests.count = if seen == self.rests.seen { self.rests.count + 1 } else { 0 };
        self.rests.seen = seen;
        self.rests.count < RESTS_MAX && self.world.advance()
    }

    /// What came of it.
    fn outcome(self, steps: u64, end: End) -> Outcome {
        let history = self.recorder.take();
        let violation = self.violation(&history, end);
        let digest = self.world.digest(&history);
        let mut log = self.world.log();
        if let Some(violation) = &violation {
            log.marks.hit_owned(format!("violation of {}", violation.rule));
        }
        log.marks.history(&history);
        timing::marks(&history, &self.scenario).for_each(|mark| log.marks.hit(mark));
        let (marks, events, trace) =
            (std::mem::take(&mut log.marks), log.events, log.trace.take().unwrap_or_default());
        let incidents = std::mem::take(&mut log.incidents);
        drop(log);
        let taken = std::mem::take(&mut self.world.choices().taken);
        let now_ms = self.world.now();
        Outcome { violation, history, taken, marks, events, steps, now_ms, digest, trace, incidents }
    }

    /// Tasks ran in turn: each that could run did before any other ran twice.
    fn ran_in_turn(&self) {
        lock(&self.around).in_turn = true;
    }

    fn violation(&self, history: &History, end: End) -> Option<Violation> {
        if let End::Panicked(message) = end {
            return Some(Violation::new("panic", message, &[]));
        }
        if let Err(violation) = judge(history) {
            return Some(violation);
        }
        let (done, clients) = (self.done.load(Ordering::SeqCst), self.scenario.clients.len());
        if end == End::Hangs || done < clients {
            return Some(Violation::stuck(history, format!("{done} of {clients} clients came to their end")));
        }
        let around = Around {
            unserved: self.net.unserved(),
            gone_ms: self.net.gone_ms(),
            waited: self.net.waited(),
            lines_taken_in_all: self.net.lines_taken_in_all(),
            closed_at: self.net.closed_at(),
            found_closed_ms: self.net.found_closed_at(),
            ..lock(&self.around).clone()
        };
        timing::check(history, &self.scenario, &around).err()
    }
}
