//! Makes a failing run small: first what the clients do, then what is special about the schedule, until taking away any
//! one thing makes it pass.

use crate::choice::{Choice, Choices, Search};
use crate::engine::Outcome;
use crate::engine::volume::run;
use crate::scenario::Scenario;
use crate::simpler::simpler;
use crate::world::Record;

/// How many random schedules a smaller scenario gets to fail in, if the old schedule does not fit it.
const TRIES: u64 = 300;

/// How many tasks may be polled in all: about half a minute. What is not small by then stays as it is.
const STEPS_MAX: u64 = 20_000_000;

/// How many decisions that are not ordinary the search for a simpler schedule allows.
const DELAYS_MAX: u32 = 3;

/// How many tasks that search may poll.
const SEARCH_STEPS_MAX: u64 = 4_000_000;

/// A scenario, and the decisions that make it fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// What clients do.
    pub scenario: Scenario,
    /// Every decision.
    pub picks: Vec<u32>,
    /// The rule that is broken.
    pub rule: String,
}

impl Failing {
    /// What an outcome of a scenario came from.
    pub fn new(scenario: Scenario, outcome: &Outcome) -> Failing {
        let rule = outcome.violation.as_ref().map(|violation| violation.rule.clone()).unwrap_or_default();
        Failing { scenario, picks: outcome.picks(), rule }
    }

    /// What is not ordinary about the schedule: tasks that ran out of turn, reads and writes torn, faults.
    pub fn specials(&self) -> usize {
        self.picks.iter().filter(|&&pick| pick != 0).count()
    }

    /// How many things clients do.
    pub fn ops(&self) -> usize {
        self.scenario.clients.iter().map(|client| client.ops.len()).sum()
    }

    /// Runs it.
    pub fn run(&self, record: Record) -> Outcome {
        run(&self.scenario, Choices::replay(self.picks.clone()), record)
    }
}

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest failing run that was found.
    pub failing: Failing,
    /// Leaving out any one thing more makes it pass, as far as was tried; otherwise the effort was spent before.
    pub minimal: bool,
}

/// The smallest failing run that can be found by leaving things out.
pub fn shrink(failing: Failing) -> Shrunk {
    let mut shrinker = Shrinker { smallest: failing, steps: 0 };
    loop {
        let before = shrinker.smallest.clone();
        shrinker.shrink_scenario();
        shrinker.shrink_schedule();
        if shrinker.smallest == before || shrinker.spent() {
            break;
        }
    }
    let minimal = !shrinker.spent();
    shrinker.find_simple_schedule();
    Shrunk { failing: shrinker.smallest, minimal }
}

/// How the scenario breaks this rule, if it does in one of many random schedules.
pub fn fails_somehow(scenario: &Scenario, rule: &str) -> Option<Failing> {
    let failing = Failing { scenario: scenario.clone(), picks: Vec::new(), rule: rule.to_owned() };
    Shrinker { smallest: failing, steps: 0 }.fails_somehow(scenario)
}

struct Shrinker {
    smallest: Failing,
    /// How many tasks have been polled: what all of it costs, the same on every machine.
    steps: u64,
}

impl Shrinker {
    fn spent(&self) -> bool {
        self.steps >= STEPS_MAX
    }

    /// Leaves out clients, what they do, faults and limits, large parts first, and makes simpler what is left.
    fn shrink_scenario(&mut self) {
        let mut position = 0;
        while !self.spent() {
            let Some(scenario) = simpler(&self.smallest.scenario, position) else { return };
            match self.fails(&scenario) {
                // The next thing to leave out has moved to the same position.
                Some(failing) => self.smallest = failing,
                None => position += 1,
            }
        }
    }

    /// How the scenario fails in the same way, if it does in some schedule.
    fn fails(&mut self, scenario: &Scenario) -> Option<Failing> {
        let picks = self.smallest.picks.clone();
        self.fails_with(scenario, Choices::replay(picks)).or_else(|| self.fails_somehow(scenario))
    }

    fn fails_somehow(&mut self, scenario: &Scenario) -> Option<Failing> {
        (0..TRIES).find_map(|seed| {
            if self.spent() { None } else { self.fails_with(scenario, Choices::of_seed(seed)) }
        })
    }

    fn fails_with(&mut self, scenario: &Scenario, choices: Choices) -> Option<Failing> {
        self.attempt(scenario, choices).1
    }

    /// Runs it, and says what was decided, and how it fails in the same way, if it does.
    fn attempt(&mut self, scenario: &Scenario, choices: Choices) -> (Vec<Choice>, Option<Failing>) {
        let outcome = run(scenario, choices, Record::default());
        self.steps += outcome.steps;
        let same = outcome.violation.as_ref().is_some_and(|violation| violation.rule == self.smallest.rule);
        let failing = same.then(|| Failing::new(scenario.clone(), &outcome));
        (outcome.taken, failing)
    }

    /// Makes decisions ordinary, in ever smaller blocks (delta debugging: Zeller and Hildebrandt, 2002).
    fn shrink_schedule(&mut self) {
        let mut block = self.smallest.picks.len().max(1);
        loop {
            let mut start = 0;
            while start < self.smallest.picks.len() && !self.spent() {
                let end = (start + block).min(self.smallest.picks.len());
                self.make_ordinary(start, end);
                start = end;
            }
            if block == 1 || self.spent() {
                return;
            }
            block = block.div_ceil(2);
        }
    }

    fn make_ordinary(&mut self, start: usize, end: usize) {
        let mut picks = self.smallest.picks.clone();
        if picks[start..end].iter().all(|&pick| pick == 0) {
            return;
        }
        picks[start..end].fill(0);
        let scenario = self.smallest.scenario.clone();
        if let Some(failing) = self.fails_with(&scenario, Choices::replay(picks)) {
            self.smallest = failing;
            // Ordinary decisions at the end need not be written down.
            let used = self.smallest.picks.iter().rposition(|&pick| pick != 0).map_or(0, |last| last + 1);
            self.smallest.picks.truncate(used);
        }
    }

    /// Tries all schedules with fewer special decisions, as far as they can be counted: what was left may be the least
    /// that this schedule needs, and yet more than another one does.
    fn find_simple_schedule(&mut self) {
        let scenario = self.smallest.scenario.clone();
        let end = self.steps + SEARCH_STEPS_MAX;
        for delays in 0..=DELAYS_MAX {
            if usize::try_from(delays).is_ok_and(|delays| delays >= self.smallest.specials()) {
                return;
            }
            let mut search = Search::new(delays);
            while self.steps < end
                && let Some(choices) = search.next_run()
            {
                let (taken, failing) = self.attempt(&scenario, choices);
                if let Some(failing) = failing {
                    self.smallest = failing;
                    return;
                }
                search.ran(&taken);
            }
        }
    }
}
