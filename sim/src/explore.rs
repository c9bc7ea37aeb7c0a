//! Looks for a failing run: many seeds, on all cores, by one of the engines.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::ValueEnum;

use crate::choice::Choices;
use crate::engine::under_shuttle::Order;
use crate::engine::{Outcome, quietly, sockets, under_shuttle, volume};
use crate::judge::Violation;
use crate::marks::Marks;
use crate::scenario::Scenario;
use crate::shrink::Failing;
use crate::swarm::Profile;
use crate::world::{Record, lock};

/// How many orders of one scenario shuttle is asked for.
const SCHEDULES: u64 = 4;

/// How much faster than in the scenario time passes over real sockets.
const SOCKETS_SPEED: u64 = 100;

/// What runs a scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// The simulator's own executor.
    Volume,
    /// The schedulers of shuttle: random, uniform random walk and probabilistic concurrency testing in turn.
    Shuttle,
    /// The real runtime over real sockets, without faults.
    Sockets,
}

impl Engine {
    /// In how many orders it runs one seed, at most.
    pub fn schedules(self) -> u64 {
        if self == Engine::Shuttle { SCHEDULES } else { 1 }
    }
}

/// What to look at.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// What runs it.
    pub engine: Engine,
    /// Which scenarios.
    pub profile: Profile,
    /// The first seed.
    pub from: u64,
    /// How many seeds.
    pub seeds: u64,
    /// For how long at most.
    pub time: Option<Duration>,
    /// On how many threads.
    pub threads: usize,
}

impl Plan {
    /// What shows the first of its seeds again.
    pub fn command(&self) -> String {
        let Plan { engine, profile, from, .. } = self;
        let of_profile = if *profile == Profile::default() {
            String::new()
        } else {
            format!(" --profile {}", name(*profile))
        };
        if *engine == Engine::Volume {
            return format!("cargo sim replay {from}{of_profile}");
        }
        format!("cargo sim explore --engine {}{of_profile} --from {from} --seeds 1", name(*engine))
    }

    /// A test for the first of its seeds, to be pasted: it fails as long as that breaks a rule. Real sockets never do the same
    /// again, and have none.
    pub fn test(&self, rule: &str) -> String {
        let Plan { engine, profile, from, .. } = self;
        if *engine == Engine::Sockets {
            return String::new();
        }
        format!(
            "#[test]
fn {}_holds_under_{}_in_{}_{from}() {{
    use seriatim_sim::explore::{{Engine, Plan, explore}};
    use seriatim_sim::swarm::Profile;
    let (engine, profile) = (Engine::{engine:?}, Profile::{profile:?});
    let plan = Plan {{ engine, profile, from: {from}, seeds: 1, time: None, threads: 1 }};
    let seen = explore(plan, &std::sync::atomic::AtomicBool::new(false), |_| ());
    assert_eq!(seen.failed.map(|failed| failed.violation), None);
}}
",
            rule.to_lowercase(),
            name(*engine),
            name(*profile)
        )
    }
}

/// How an engine or a profile is called in commands.
pub fn name(value: impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// What was seen, so far.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// How many seeds were run.
    pub seeds: u64,
    /// How many runs that was: more than seeds if each is run in several orders.
    pub runs: u64,
    /// How many events the broker was told of.
    pub events: u64,
    /// How much clients did and saw.
    pub items: u64,
    /// How many tasks were polled, where that is known.
    pub steps: u64,
    /// How much time passed in the runs, in milliseconds.
    pub simulated_ms: u64,
    /// What was met.
    pub marks: Marks,
    /// The first seed that failed.
    pub failed: Option<Failed>,
}

/// A seed that failed.
#[derive(Clone, Debug)]
pub struct Failed {
    /// The seed.
    pub seed: u64,
    /// In which of its orders, counted from 0.
    pub schedule: u64,
    /// What it broke.
    pub violation: Violation,
    /// The run, if it came to an end.
    pub outcome: Option<Arc<Outcome>>,
}

/// How a seed is run on the volume engine.
pub fn run_seed(profile: Profile, seed: u64, record: Record) -> Outcome {
    volume::run_shared(Arc::new(profile.scenario(seed)), Choices::of_seed(seed), record)
}

/// What a seed that fails on the volume engine came from.
pub fn failing_of(profile: Profile, seed: u64) -> Failing {
    Failing::new(profile.scenario(seed), &run_seed(profile, seed, Record::default()))
}

/// Runs seeds until one fails, all are done, the time is over, or `stop` is set. `watch` is told now and then what was seen
/// so far. If several fail, the first of them counts, however many threads there are.
pub fn explore(plan: Plan, stop: &AtomicBool, mut watch: impl FnMut(&Seen) + Send) -> Seen {
    // Counted from the first, so that nothing wraps where seeds end.
    let (next, end) = (AtomicU64::new(0), AtomicU64::new(plan.seeds));
    let seen = Mutex::new(Seen::default());
    let start = Instant::now();
    let over = || stop.load(Ordering::Relaxed) || plan.time.is_some_and(|time| start.elapsed() >= time);
    let work = || {
        while !over() {
            let number = next.fetch_add(1, Ordering::SeqCst);
            let seed = plan.from.checked_add(number).filter(|_| number < end.load(Ordering::SeqCst));
            let Some(seed) = seed else { break };
            let one = one(&plan, seed, Record::default());
            if one.failed.is_some() {
                end.fetch_min(number, Ordering::SeqCst); // nothing behind it matters
            }
            lock(&seen).add(one);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..plan.threads.max(1)).map(|_| scope.spawn(work)).collect();
        while threads.iter().any(|thread| !thread.is_finished()) {
            watch(&lock(&seen));
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    seen.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
}

impl Seen {
    fn add(&mut self, other: Seen) {
        self.seeds += other.seeds;
        self.runs += other.runs;
        self.events += other.events;
        self.items += other.items;
        self.steps += other.steps;
        self.simulated_ms += other.simulated_ms;
        self.marks.add(&other.marks);
        if let Some(failed) = other.failed
            && self.failed.as_ref().is_none_or(|first| failed.seed < first.seed)
        {
            self.failed = Some(failed);
        }
    }

    /// Adds one run of a seed. `false` if it failed.
    fn run(&mut self, seed: u64, schedule: u64, outcome: Outcome) -> bool {
        self.runs += 1;
        self.events += outcome.events;
        self.items += outcome.history.sessions.iter().map(|session| session.items.len() as u64).sum::<u64>();
        self.steps += outcome.steps;
        self.simulated_ms += outcome.now_ms;
        self.marks.add(&outcome.marks);
        self.failed = outcome.violation.clone().map(|violation| {
            let outcome = Some(Arc::new(outcome));
            Failed { seed, schedule, violation, outcome }
        });
        self.failed.is_none()
    }
}

fn one(plan: &Plan, seed: u64, record: Record) -> Seen {
    let mut seen = Seen { seeds: 1, ..Seen::default() };
    match plan.engine {
        Engine::Volume => {
            seen.run(seed, 0, run_seed(plan.profile, seed, record));
            seen
        }
        Engine::Sockets => {
            // It is never the same again: what the broker was told is written down at once.
            let record = Record { trace: true, ..record };
            match sockets::run(&plan.profile.scenario(seed), SOCKETS_SPEED, sockets::threads(seed), record) {
                Ok(outcome) => drop(seen.run(seed, 0, outcome)),
                Err(error) => {
                    let violation = Violation::new("sockets", error.to_string(), &[]);
                    seen.failed = Some(Failed { seed, schedule: 0, violation, outcome: None });
                }
            }
            seen
        }
        Engine::Shuttle => in_some_orders(&plan.profile.scenario(seed), seed, record, seen),
    }
}

/// The run of a seed that failed, with all that the broker was told, if it came to an end.
pub fn traced(plan: &Plan, failed: &Failed) -> Option<Arc<Outcome>> {
    if plan.engine == Engine::Sockets {
        return failed.outcome.clone();
    }
    one(plan, failed.seed, Record { trace: true, digest: false }).failed?.outcome
}

/// Runs the scenario of a seed under one of shuttle's schedulers.
fn in_some_orders(scenario: &Scenario, seed: u64, record: Record, seen: Seen) -> Seen {
    let order = [Order::Random, Order::Urw, Order::Pct][usize::try_from(seed % 3).unwrap_or_default()];
    let seen = Arc::new(Mutex::new(seen));
    let its = seen.clone();
    let choices = move |schedule: u64| Choices::random(seed ^ schedule.rotate_right(8));
    let judge = move |schedule, outcome| lock(&its).run(seed, schedule, outcome);
    let ran = quietly(|| under_shuttle::run(scenario, order, seed, SCHEDULES, record, choices, judge));
    let mut seen = std::mem::take(&mut *lock(&seen));
    if let Err(message) = ran {
        let violation = Violation::new("panic", message, &[]);
        seen.failed = Some(Failed { seed, schedule: seen.runs, violation, outcome: None });
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::explain;
    use crate::scenario::{Op, Script};

    #[test]
    fn seeds_end_where_numbers_do() {
        for (from, seeds, run) in [(u64::MAX, 10, 1), (u64::MAX - 2, 10, 3), (u64::MAX - 2, 2, 2), (7, 0, 0)]
        {
            let (engine, profile) = (Engine::Volume, Profile::Duel);
            let plan = Plan { engine, profile, from, seeds, time: None, threads: 2 };
            assert_eq!(explore(plan, &AtomicBool::new(false), |_| ()).seeds, run, "{seeds} from {from}");
        }
    }

    #[test]
    fn what_fails_under_shuttle_can_be_told() {
        // Two lines where a client says that it writes one: the judge holds that against the server.
        let log_in = Op::LogIn { name: "al\nbob".to_owned(), insist: false };
        let client = Script { ops: vec![Op::Connect, log_in, Op::HalfClose] };
        let scenario = Scenario { clients: vec![client], ..Scenario::default() };
        for seed in 0..3 {
            let record = Record { trace: true, digest: false };
            let failed =
                in_some_orders(&scenario, seed, record, Seen::default()).failed.expect("a violation");
            let outcome = failed.outcome.expect("a run");
            let said = explain(&scenario, &outcome, "cargo sim explore");
            assert!(said.contains(&failed.violation.to_string()), "{said}");
        }
    }
}
