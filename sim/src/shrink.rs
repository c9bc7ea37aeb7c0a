//! Makes a failing run small: first what the clients do, then what is special about the schedule, until taking away any
//! one thing makes it pass.

use fastrand::Rng;

use crate::choice::{Choice, Choices, Search};
use crate::engine::Outcome;
use crate::engine::volume::run;
use crate::scenario::{Faults, Scenario};
use crate::signal::asked;
use crate::simpler::{other_numbers, simpler};
use crate::world::Record;

/// How many random schedules a smaller scenario gets to fail in, if the old schedule does not fit it: few as long as that still
/// makes it smaller, or all effort would go into the first things that cannot be left out.
const TRIES: [u64; 4] = [1, 10, 60, 300];

/// How many it gets where tasks run in turn, to begin with.
const FIRST_TRIES: u64 = 3_000;

/// How many tasks may be polled in all: less than a minute. What is not small by then stays as it is.
const STEPS_MAX: u64 = 40_000_000;

/// How many tasks may run out of turn in a run that is easily understood.
const FEW: usize = 3;

/// How many tasks may be polled to look for other numbers, once leaving things out goes no further.
const NUMBERS_STEPS_MAX: u64 = 10_000_000;

/// How many things clients do in such a run.
const OPS_FEW: usize = 8;

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
        ops_of(&self.scenario)
    }

    /// Runs it.
    pub fn run(&self, record: Record) -> Outcome {
        run(&self.scenario, Choices::replay(self.picks.clone()), record)
    }
}

/// How many things clients do in it.
fn ops_of(scenario: &Scenario) -> usize {
    scenario.clients.iter().map(|client| client.ops.len()).sum()
}

/// What shrinking came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shrunk {
    /// The smallest failing run that was found.
    pub failing: Failing,
    /// Leaving out any one thing more makes it pass, as far as was tried; otherwise the effort was spent before, or Ctrl-C ended it.
    pub minimal: bool,
}

/// The smallest failing run that can be found by leaving things out. If it needs a task to run out of turn more often than
/// three times or clients to do much, ever more is allowed: any schedule, then any other rule to be broken.
pub fn shrink(failing: Failing) -> Shrunk {
    shrink_by(rule_of, failing)
}

/// Which rule a run breaks, if any.
type Breaks = fn(&Outcome) -> Option<&str>;

fn rule_of(outcome: &Outcome) -> Option<&str> {
    Some(&outcome.violation.as_ref()?.rule)
}

fn shrink_by(breaks: Breaks, failing: Failing) -> Shrunk {
    let shrink_in = |way, start| shrink_in(breaks, way, start);
    let in_turn = Way { few: true, any_rule: false };
    let mut smallest = Shrunk { failing: failing.clone(), minimal: false };
    smallest.or(|| shrink_in(in_turn, failing.clone()));
    smallest.or(|| shrink_in(Way { few: false, ..in_turn }, failing.clone()));
    // Perhaps what is left fails in a simple schedule where the original did not.
    let left = smallest.failing.clone();
    smallest.or(|| shrink_in(in_turn, left));
    smallest.or(|| shrink_in(Way { any_rule: true, ..in_turn }, failing));
    smallest
}

impl Shrunk {
    /// Takes what another way comes to, if that is smaller; it is not asked for if this is small enough.
    fn or(&mut self, other: impl FnOnce() -> Option<Shrunk>) {
        if (size(&self.failing).0 > 0 || !self.minimal)
            && let Some(other) = other()
            && size(&other.failing) <= size(&self.failing)
        {
            *self = other;
        }
    }
}

/// By how much it is more than what is still easily understood, and how much there is to it.
fn size(failing: &Failing) -> (usize, usize) {
    let preemptions = failing.run(Record::default()).preemptions();
    let excess = failing.ops().saturating_sub(OPS_FEW) + preemptions.saturating_sub(FEW);
    (excess, failing.ops() + failing.specials())
}

fn shrink_in(breaks: Breaks, way: Way, start: Failing) -> Option<Shrunk> {
    let scenario = start.scenario.clone();
    let mut shrinker = Shrinker { breaks, smallest: start, way, tries: TRIES[0], steps: 0 };
    if way.few {
        let found = shrinker.fails_in(FIRST_TRIES, &scenario, false);
        shrinker.smallest = found.or_else(|| shrinker.fails_in(FIRST_TRIES, &scenario, true))?;
    }
    let mut numbers_steps = 0;
    while shrinker.leave_out() {
        let steps = shrinker.steps;
        if numbers_steps > NUMBERS_STEPS_MAX || !shrinker.shrink_with_other_numbers() {
            break;
        }
        numbers_steps += shrinker.steps - steps;
    }
    let minimal = !shrinker.spent();
    shrinker.find_simple_schedule();
    Some(Shrunk { failing: shrinker.smallest, minimal })
}

/// How the scenario breaks this rule, if it does in one of many random schedules.
pub fn fails_somehow(scenario: &Scenario, rule: &str) -> Option<Failing> {
    let failing = Failing { scenario: scenario.clone(), picks: Vec::new(), rule: rule.to_owned() };
    let way = Way { few: false, any_rule: false };
    let mut shrinker = Shrinker { breaks: rule_of, smallest: failing, way, tries: TRIES[3], steps: 0 };
    shrinker.fails_somehow(scenario)
}

/// What a smaller run has in common with the original.
#[derive(Clone, Copy)]
struct Way {
    /// Tasks run in turn, but for [`FEW`]; otherwise in any order.
    few: bool,
    /// It breaks any rule; otherwise the same.
    any_rule: bool,
}

struct Shrinker {
    breaks: Breaks,
    smallest: Failing,
    way: Way,
    /// One of [`TRIES`].
    tries: u64,
    /// How many tasks have been polled: what all of it costs, the same on every machine.
    steps: u64,
}

impl Shrinker {
    fn spent(&self) -> bool {
        self.steps >= STEPS_MAX || asked()
    }

    /// Leaves out whatever can be, with ever more effort. `false` if that was spent before.
    fn leave_out(&mut self) -> bool {
        for tries in TRIES {
            self.tries = tries;
            loop {
                let before = self.smallest.clone();
                self.shrink_scenario();
                self.shrink_schedule();
                if self.spent() || self.smallest == before {
                    break;
                }
            }
        }
        !self.spent()
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

    /// If it is still more than what is easily understood: leaves out something that clients do, and gives what is left
    /// other numbers. `false` if that does not help.
    fn shrink_with_other_numbers(&mut self) -> bool {
        let before = self.steps;
        let ops = self.smallest.ops();
        if size(&self.smallest).0 == 0 {
            return false;
        }
        let scenario = self.smallest.scenario.clone();
        for candidate in (0..).map_while(|position| simpler(&scenario, position)) {
            if self.spent() || self.steps - before > NUMBERS_STEPS_MAX {
                return false;
            }
            if ops_of(&candidate) < ops
                && let Some(failing) = self.fails_in(self.tries, &candidate, true)
            {
                self.smallest = failing;
                return true;
            }
        }
        false
    }

    /// How the scenario fails in the same way, if it does in some schedule.
    fn fails(&mut self, scenario: &Scenario) -> Option<Failing> {
        let picks = self.smallest.picks.clone();
        self.fails_with(scenario, Choices::replay(picks)).or_else(|| self.fails_somehow(scenario))
    }

    fn fails_somehow(&mut self, scenario: &Scenario) -> Option<Failing> {
        self.fails_in(self.tries, scenario, false)
    }

    fn fails_in(&mut self, tries: u64, scenario: &Scenario, vary: bool) -> Option<Failing> {
        // Where nothing goes wrong by itself and all run in turn, there is one run.
        let only_run = scenario.faults == Faults::default() && !vary;
        let mut varied = scenario.clone();
        let mut steps = 1_000;
        for seed in 0..tries {
            let delays = usize::try_from(seed / 2).unwrap_or(0) % (FEW + 1);
            if self.spent() {
                return None;
            }
            if self.way.few && delays == 0 && only_run && seed > 0 {
                continue;
            }
            let choices = match self.way.few {
                true if seed % 2 == 0 => Choices::held_back(seed, delays, steps),
                true => Choices::in_turn(seed, delays, steps),
                false => Choices::of_seed(seed),
            };
            if vary {
                varied = scenario.clone();
                other_numbers(&mut varied, &mut Rng::with_seed(seed));
            }
            let (taken, failing) = self.attempt(&varied, choices);
            if failing.is_some() {
                return failing;
            }
            steps = taken.iter().filter(|choice| choice.task).count() as u64;
        }
        None
    }

    fn fails_with(&mut self, scenario: &Scenario, choices: Choices) -> Option<Failing> {
        self.attempt(scenario, choices).1
    }

    /// Runs it, and says what was decided, and how it fails in the same way, if it does.
    fn attempt(&mut self, scenario: &Scenario, choices: Choices) -> (Vec<Choice>, Option<Failing>) {
        let outcome = run(scenario, choices, Record::default());
        self.steps += outcome.steps;
        let rule = (self.breaks)(&outcome).filter(|rule| self.way.any_rule || *rule == self.smallest.rule);
        let failing = rule.map(|rule| Failing {
            scenario: scenario.clone(),
            picks: outcome.picks(),
            rule: rule.to_owned(),
        });
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
                && !asked()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Profile;

    /// A stand-in for a bug: whatever is not needed to meet a mark is left out.
    fn smallest_that_meets(seeds: std::ops::Range<u64>, mark: Breaks) -> Shrunk {
        let failing = seeds.into_iter().find_map(|seed| {
            let scenario = Profile::Swarm.scenario(seed);
            let outcome = run(&scenario, Choices::of_seed(seed), Record::default());
            let rule = mark(&outcome)?.to_owned();
            Some(Failing { scenario, picks: outcome.picks(), rule })
        });
        shrink_by(mark, failing.expect("some seed meets it"))
    }

    fn meets(outcome: &Outcome, mark: &'static str) -> Option<&'static str> {
        outcome.marks.met.contains_key(mark).then_some(mark)
    }

    #[test]
    fn without_any_one_thing_it_passes() {
        let too_slow: Breaks = |outcome| meets(outcome, "an outbox overflowed");
        let raced: Breaks = |outcome| meets(outcome, "a send raced a login and came behind it");
        for (mark, ops_max) in [(too_slow, 8), (raced, 6)] {
            let Shrunk { failing, minimal } = smallest_that_meets(0..100, mark);
            assert!(minimal, "{failing:?}");
            assert!(failing.ops() <= ops_max, "{failing:?}");
            for without in (0..).map_while(|position| simpler(&failing.scenario, position)) {
                let outcome = run(&without, Choices::replay(failing.picks.clone()), Record::default());
                assert_eq!(mark(&outcome), None, "{without:?}\nis simpler than {failing:?}");
            }
            for (place, _) in failing.picks.iter().enumerate().filter(|(_, pick)| **pick != 0) {
                let mut picks = failing.picks.clone();
                picks[place] = 0;
                let outcome = run(&failing.scenario, Choices::replay(picks), Record::default());
                assert_eq!(mark(&outcome), None, "decision {place} of {failing:?}");
            }
        }
    }
}
