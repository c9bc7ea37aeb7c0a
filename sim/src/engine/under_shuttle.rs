//! The engine that cross-checks: the tasks are shuttle's, and one of its schedulers says which of them runs.
//!
//! Shuttle knows no time. So the main task of each execution is the clock, and `ClockLast` lets a scheduler pick it only
//! when nothing else can run.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use shuttle::future::JoinHandle;
use shuttle::scheduler::{
    DfsScheduler, PctScheduler, RandomScheduler, Schedule, Scheduler, Task, TaskId, UrwRandomScheduler,
};
use shuttle::{Config, FailurePersistence, MaxSteps, Runner};

use super::{End, Outcome, Stage};
use crate::choice::Choices;
use crate::scenario::Scenario;
use crate::world::{Record, Who, World, lock};

/// An execution that takes more steps than this hangs.
const STEPS_MAX: usize = 1_000_000;

/// A task's stack, in bytes. Futures live on the heap; formatting and judging need some room.
const STACK_BYTES: usize = 256 * 1024;

/// Who decides which task runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Each runnable task with the same probability.
    Random,
    /// Every order with about the same probability (Zhao et al., ASPLOS 2025).
    Urw,
    /// Priorities that change at a few random steps (Burckhardt et al., ASPLOS 2010).
    Pct,
    /// Every order of the server's tasks that there is in a [`Window`], one after another. Clients run before them, and
    /// outside the window tasks run in a fixed order.
    Dfs(Window),
}

/// A part of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// It opens at this moment, in milliseconds.
    pub from_ms: u64,
    /// It closes when the broker has been told of so many events.
    pub events: u64,
    /// The driver runs whenever it can, so that only those who send to it are free: far fewer schedules, and still every
    /// order in which it can be told of what they send.
    pub driver_first: bool,
}

/// Runs a scenario in up to `schedules` orders (all there are, for [`Order::Dfs`]), and hands each outcome to `judge`, which
/// says whether to go on. What is not the order of tasks is decided by `choices`, given the number of the schedule. Returns
/// how many there were.
///
/// The same arguments are the same runs.
pub fn run(
    scenario: &Scenario,
    order: Order,
    seed: u64,
    schedules: u64,
    record: Record,
    choices: impl Fn(u64) -> Choices + Send + Sync + 'static,
    judge: impl FnMut(u64, Outcome) -> bool + Send + 'static,
) -> usize {
    let window = if let Order::Dfs(window) = order { Some(window) } else { None };
    let schedules = usize::try_from(schedules).unwrap_or(usize::MAX);
    let signs = Arc::new(Signs { window, ..Signs::default() });
    let scheduler: Box<dyn Scheduler + Send> = match order {
        Order::Random => Box::new(RandomScheduler::new_from_seed(seed, schedules)),
        Order::Urw => Box::new(UrwRandomScheduler::new_from_seed(seed, schedules)),
        Order::Pct => Box::new(PctScheduler::new_from_seed(seed, 3, schedules)),
        Order::Dfs(_) => Box::new(DfsScheduler::new(Some(schedules), false)),
    };
    let scheduler = ClockLast { inner: scheduler, signs: signs.clone() };
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.failure_persistence = FailurePersistence::None;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    config.silence_warnings = true;
    let scenario = Arc::new(scenario.clone());
    let judge = Mutex::new((0, judge));
    Runner::new(scheduler, config).run(move || {
        let mut judge = lock(&judge);
        let (schedule, judge) = &mut *judge;
        let outcome = execute(&scenario, choices(*schedule), record, &signs);
        if !judge(*schedule, outcome) {
            signs.enough.store(true, Ordering::SeqCst);
        }
        *schedule += 1;
    })
}

/// What the clock and the scheduler tell one another.
#[derive(Default)]
struct Signs {
    /// The tasks that the execution begins with have all been spawned.
    started: AtomicBool,
    /// The server's process has ended, and its tasks are to go before anything else happens.
    server_over: AtomicBool,
    /// No more executions are wanted.
    enough: AtomicBool,
    /// The part of the run in which the order is free, if it is not all of it.
    window: Option<Window>,
    /// To see whether that is open.
    world: Mutex<Option<Arc<World>>>,
    /// Which each task is, by its number; the clock, the first, is none of them.
    tasks: Mutex<Vec<Who>>,
}

impl Signs {
    /// The tasks among which the inner scheduler is to choose; one of them if there is nothing to choose.
    fn free<'a>(&self, mut runnable: Vec<&'a Task>) -> Vec<&'a Task> {
        let Some(window) = self.window else { return runnable };
        let tasks = lock(&self.tasks);
        let position = |is_it: fn(Who) -> bool| {
            let is_it = |task: &&Task| tasks.get(usize::from(task.id()) - 1).is_some_and(|who| is_it(*who));
            runnable.iter().position(is_it)
        };
        let driver = position(|who| who == Who::Driver).filter(|_| window.driver_first);
        let first = position(|who| !who.is_server()).or(driver);
        let world = lock(&self.world);
        let open = world
            .as_ref()
            .is_some_and(|world| world.now() >= window.from_ms && world.log().events < window.events);
        match first {
            Some(first) => vec![runnable[first]],
            None if open => runnable,
            None => {
                runnable.truncate(1);
                runnable
            }
        }
    }
}

type Tasks = Mutex<Vec<(Who, JoinHandle<()>)>>;

/// One execution: this task is the clock.
fn execute(scenario: &Arc<Scenario>, choices: Choices, record: Record, signs: &Arc<Signs>) -> Outcome {
    let tasks: Arc<Tasks> = Arc::default();
    let (spawned, ending, numbering) = (tasks.clone(), signs.clone(), signs.clone());
    lock(&signs.tasks).clear();
    signs.started.store(false, Ordering::SeqCst);
    signs.server_over.store(false, Ordering::SeqCst);
    let mut stage = Stage::set(
        scenario.clone(),
        choices,
        record,
        move |who, task| {
            lock(&numbering.tasks).push(who);
            let handle = shuttle::future::spawn(task);
            lock(&spawned).push((who, handle));
        },
        move || ending.server_over.store(true, Ordering::SeqCst),
    );
    *lock(&signs.world) = Some(stage.world.clone());
    signs.started.store(true, Ordering::SeqCst);
    loop {
        shuttle::hint::spin_loop(); // everybody else first
        if signs.server_over.load(Ordering::SeqCst) {
            abort(&tasks, Who::is_server);
            signs.server_over.store(false, Ordering::SeqCst);
        } else if !stage.rest() {
            break;
        } else {
            // For those whose moment has come there is something to do.
            stage.world.perhaps_jump();
        }
    }
    abort(&tasks, |_| true);
    stage.outcome(0, End::Rest)
}

fn abort(tasks: &Tasks, which: impl Fn(Who) -> bool) {
    let aborted: Vec<_> = lock(tasks).extract_if(.., |(who, _)| which(*who)).collect();
    aborted.iter().filter(|(_, task)| !task.is_finished()).for_each(|(_, task)| task.abort());
}

/// Lets another scheduler pick the task, but the clock only when nothing else can run.
struct ClockLast {
    inner: Box<dyn Scheduler + Send>,
    signs: Arc<Signs>,
}

impl Scheduler for ClockLast {
    fn new_execution(&mut self) -> Option<Schedule> {
        if self.signs.enough.load(Ordering::SeqCst) { None } else { self.inner.new_execution() }
    }

    fn next_task(
        &mut self,
        runnable: &[&Task],
        current: Option<TaskId>,
        is_yielding: bool,
    ) -> Option<TaskId> {
        let clock = TaskId::from(0);
        if current.is_none() {
            // The inner scheduler has to know that task, or it miscounts the others.
            return self.inner.next_task(runnable, current, is_yielding);
        }
        if !self.signs.started.load(Ordering::SeqCst) || self.signs.server_over.load(Ordering::SeqCst) {
            return Some(clock);
        }
        let others: Vec<&Task> = runnable.iter().copied().filter(|task| task.id() != clock).collect();
        match self.signs.free(others)[..] {
            [] => Some(clock),
            [only] if self.signs.window.is_some() => Some(only.id()),
            ref free => self.inner.next_task(free, current, is_yielding),
        }
    }

    fn next_u64(&mut self) -> u64 {
        self.inner.next_u64()
    }
}
