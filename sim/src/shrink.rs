//! Makes a failing run small: first what the clients do, then what is special about the schedule, until taking away any
//! one thing makes it pass.

use crate::choice::Choices;
use crate::engine::Outcome;
use crate::engine::volume::run;
use crate::scenario::{Faults, Scenario};
use crate::world::Record;

/// How many random schedules a smaller scenario gets to fail in, if the old schedule does not fit it.
const TRIES: u64 = 300;

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

/// The smallest failing run that can be found by leaving things out.
pub fn shrink(failing: Failing) -> Failing {
    let mut smallest = failing;
    loop {
        let before = (smallest.ops(), smallest.picks.len(), smallest.specials());
        smallest = shrink_scenario(smallest);
        smallest = shrink_schedule(smallest);
        if before == (smallest.ops(), smallest.picks.len(), smallest.specials()) {
            return smallest;
        }
    }
}

/// Leaves out clients, what they do, and faults, one after another.
fn shrink_scenario(mut smallest: Failing) -> Failing {
    let mut position = 0;
    loop {
        let Some(candidate) = smaller_scenario(&smallest.scenario, position) else { return smallest };
        match candidate.and_then(|scenario| fails(&scenario, &smallest)) {
            // The next thing to leave out has moved to the same position.
            Some(failing) => smallest = failing,
            None => position += 1,
        }
    }
}

/// The scenario without the thing at a position: `None` behind the last position, `Some(None)` if there is nothing to leave
/// out.
fn smaller_scenario(scenario: &Scenario, position: usize) -> Option<Option<Scenario>> {
    let mut smaller = scenario.clone();
    let clients = scenario.clients.len();
    let faults = scenario.faults.without_one();
    if position < clients {
        smaller.clients.remove(position);
        return Some(Some(smaller));
    }
    let mut rest = position - clients;
    for client in &mut smaller.clients {
        if rest < client.ops.len() {
            client.ops.remove(rest);
            return Some(Some(smaller));
        }
        rest -= client.ops.len();
    }
    if rest < faults.len() {
        smaller.faults = faults[rest].clone();
        return Some((smaller.faults != scenario.faults).then_some(smaller));
    }
    match (rest - faults.len(), &mut smaller.stop) {
        (0, stop) => *stop = None,
        (1, Some(stop)) => stop.again_after_ms = None,
        (2, _) => smaller.listeners = 1,
        (1, None) => {}
        _ => return None,
    }
    Some((smaller != *scenario).then_some(smaller))
}

/// How the scenario fails in the same way, if it does in some schedule.
fn fails(scenario: &Scenario, like: &Failing) -> Option<Failing> {
    fails_with(scenario, Choices::replay(like.picks.clone()), &like.rule)
        .or_else(|| fails_somehow(scenario, &like.rule))
}

/// How the scenario breaks this rule, if it does in one of many random schedules.
pub fn fails_somehow(scenario: &Scenario, rule: &str) -> Option<Failing> {
    (0..TRIES).find_map(|seed| fails_with(scenario, Choices::random(seed), rule))
}

fn fails_with(scenario: &Scenario, choices: Choices, rule: &str) -> Option<Failing> {
    let outcome = run(scenario, choices, Record::default());
    let failing = Failing::new(scenario.clone(), &outcome);
    (failing.rule == rule).then_some(failing)
}

/// Makes decisions ordinary, in ever smaller blocks (delta debugging: Zeller and Hildebrandt, 2002).
fn shrink_schedule(mut smallest: Failing) -> Failing {
    let mut block = smallest.picks.len().max(1);
    loop {
        let mut start = 0;
        while start < smallest.picks.len() {
            let end = (start + block).min(smallest.picks.len());
            if smallest.picks[start..end].iter().any(|&pick| pick != 0) {
                let mut picks = smallest.picks.clone();
                picks[start..end].fill(0);
                let candidate = Failing { picks, ..smallest.clone() };
                let outcome = candidate.run(Record::default());
                if outcome.violation.as_ref().is_some_and(|violation| violation.rule == smallest.rule) {
                    // Ordinary decisions at the end need not be written down.
                    smallest.picks = outcome.picks();
                    let used = smallest.picks.iter().rposition(|&pick| pick != 0).map_or(0, |last| last + 1);
                    smallest.picks.truncate(used);
                }
            }
            start = end;
        }
        if block == 1 {
            return smallest;
        }
        block = block.div_ceil(2);
    }
}

impl Faults {
    /// Each without one kind of fault.
    fn without_one(&self) -> Vec<Faults> {
        vec![
            Faults { torn_read: 0, ..self.clone() },
            Faults { torn_write: 0, ..self.clone() },
            Faults { spurious_wake: 0, ..self.clone() },
            Faults { interrupt: 0, ..self.clone() },
            Faults { delay: 0, ..self.clone() },
            Faults { slow_write: 0, ..self.clone() },
            Faults { clog: 0, ..self.clone() },
            Faults { reset: 0, ..self.clone() },
            Faults { accept_error: 0, ..self.clone() },
            Faults { refuse: 0, ..self.clone() },
            Faults { reset_loses: 0, ..self.clone() },
            Faults { clock_jump: 0, ..self.clone() },
        ]
    }
}
