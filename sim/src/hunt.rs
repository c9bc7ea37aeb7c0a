//! What a build with a planted bug is put to: each engine looks for it, and what is found is shrunk.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use clap::Args;
use serde::{Deserialize, Serialize};

use crate::core;
use crate::engine::quietly;
use crate::explore::{Engine, Plan, explore, failing_of};
use crate::shrink::{Shrunk, shrink};
use crate::swarm::Profile;
use crate::world::Record;

/// What each engine found, and how small it became. Whatever the core does by itself is looked for there, too.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hunt {
    /// What was found in the core, in all orders of a few clients' events.
    pub core: Option<Find>,
    /// What the simulator's own executor found.
    pub volume: Option<Find>,
    /// What shuttle's schedulers found.
    pub shuttle: Option<Find>,
    /// The run of the first, shrunk.
    pub small: Option<Small>,
}

impl Hunt {
    /// What was found, by which engine.
    pub fn finds(&self) -> impl Iterator<Item = (&'static str, &Find)> {
        let all = [("volume", &self.volume), ("shuttle", &self.shuttle), ("core", &self.core)];
        all.into_iter().filter_map(|(engine, find)| Some((engine, find.as_ref()?)))
    }
}

/// A run that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// The rule, or `panic`.
    pub rule: String,
    /// After how many schedules, this one included; in the core, after how many events.
    pub schedules: u64,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// What a shrunk run still needs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Small {
    /// How many things clients do, connecting and logging in among them.
    pub ops: usize,
    /// How often a task whose turn it was began to be held back.
    pub preemptions: usize,
    /// How many decisions are not the ordinary ones in all: each that holds a task back, torn reads and writes, faults.
    pub specials: usize,
}

/// How long a bug is looked for.
#[derive(Clone, Copy, Debug, Args)]
pub struct Budget {
    /// In how many seeds of the volume engine.
    #[arg(long, default_value_t = 20_000)]
    pub seeds: u64,
    /// In how many schedules under shuttle.
    #[arg(long, default_value_t = 8_000)]
    pub schedules: u64,
}

/// Looks for a failing run with each engine.
pub fn hunt(budget: Budget, threads: usize) -> Hunt {
    let volume = find(Engine::Volume, budget.seeds, threads);
    let small = volume.as_ref().map(|(seed, _)| small(*seed));
    let shuttle = find(Engine::Shuttle, budget.schedules.div_ceil(Engine::Shuttle.schedules()), threads);
    Hunt {
        core: find_in_core(),
        volume: volume.map(|(_, find)| find),
        shuttle: shuttle.map(|(_, find)| find),
        small,
    }
}

/// What the core does wrong in some order of a few clients' events, or that it panics.
fn find_in_core() -> Option<Find> {
    let (mut events, start) = (0, Instant::now());
    let rule = match quietly(|| core::look(&mut events)) {
        Ok(Ok(())) => return None,
        Ok(Err(wrong)) => wrong.rule,
        Err(_) => "panic",
    };
    Some(Find { rule: rule.to_owned(), schedules: events, took_ms: millis(start.elapsed()) })
}

/// The first seed that fails, and what it was.
fn find(engine: Engine, seeds: u64, threads: usize) -> Option<(u64, Find)> {
    let plan = Plan { engine, profile: Profile::Swarm, from: 0, seeds, time: None, threads };
    let start = Instant::now();
    let failed = explore(plan, &AtomicBool::new(false), |_| ()).failed?;
    let find = Find {
        rule: failed.violation.rule,
        schedules: failed.seed * engine.schedules() + failed.schedule + 1,
        took_ms: millis(start.elapsed()),
    };
    Some((failed.seed, find))
}

fn small(seed: u64) -> Small {
    let Shrunk { failing, .. } = shrink(failing_of(Profile::Swarm, seed));
    let preemptions = failing.run(Record::default()).preemptions();
    Small { ops: failing.ops(), preemptions, specials: failing.specials() }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
