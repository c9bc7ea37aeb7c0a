//! A run in the words of its clients, and the files that keep a failing one.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::{Happened, Outcome};
use crate::history::{History, Sent, What, session_of};
use crate::judge::Violation;
use crate::page::regression_test;
use crate::page::rows::Said;
use crate::page::words;
use crate::scenario::Scenario;
use crate::shrink::{Failing, fails_somehow, shrink};
use crate::world::Record;

/// The format of [`Recorded`]: what is written in another one cannot be read.
const VERSION: u32 = 2;

/// A failing run as a file keeps it.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Recorded {
    version: u32,
    rule: String,
    scenario: Scenario,
    picks: Vec<u32>,
}

/// Writes a failing run into a file.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub fn save(failing: &Failing, path: &Path) -> Result<(), String> {
    fs::write(path, to_text(failing) + "\n")
        .map_err(|error| format!("cannot write {}: {error}", path.display()))
}

/// What a file keeps of a failing run: JSON, in one line.
pub fn to_text(failing: &Failing) -> String {
    let Failing { scenario, mut picks, rule } = failing.clone();
    // Behind the end of a record all is ordinary.
    picks.truncate(picks.iter().rposition(|&pick| pick != 0).map_or(0, |last| last + 1));
    // Plain data can always be written.
    serde_json::to_string(&Recorded { version: VERSION, rule, scenario, picks }).unwrap_or_default()
}

/// Reads a failing run from a file.
///
/// # Errors
/// One line that names the file and what is wrong with it.
pub fn load(path: &Path) -> Result<Failing, String> {
    let name = path.display();
    let text = fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
    parse(&text).map_err(|error| format!("{name} {error}"))
}

/// Reads a failing run from what a file keeps of it.
///
/// # Errors
/// What is wrong with it, to be read behind what it is called.
pub fn parse(text: &str) -> Result<Failing, String> {
    #[derive(Deserialize)]
    struct Version {
        version: u32,
    }
    let strange = |error| format!("is not a recorded run: {error}");
    let Version { version } = serde_json::from_str(text).map_err(strange)?;
    if version != VERSION {
        return Err(format!("is of version {version}, this program reads {VERSION}"));
    }
    let Recorded { rule, scenario, picks, .. } = serde_json::from_str(text).map_err(strange)?;
    scenario.check().map_err(|error| format!("makes no sense: {error}"))?;
    Ok(Failing { scenario, picks, rule })
}

/// What everybody wrote and read, in the one order in which it happened; what proves the violation is marked. With a trace, what
/// the broker was told and what it ordered, too, and in brackets what nobody did: the network, the clock, or whoever says which
/// task runs next.
pub fn story(scenario: &Scenario, outcome: &Outcome) -> String {
    let witness = outcome.violation.as_ref().map_or(&[][..], |violation| &violation.witness);
    let sessions = outcome.history.sessions.len();
    let names: Vec<String> = (0..sessions).map(|session| name(&outcome.history, session)).collect();
    let label = |conn| session_of(conn, sessions).map_or_else(|| conn.to_string(), |it| names[it].clone());
    let mut story = String::new();
    for happened in outcome.in_order() {
        let _ = match happened {
            Happened::Item(session, place, item) => {
                let mark = if witness.contains(&(session, place)) { "=> " } else { "   " };
                let who = &names[session];
                writeln!(story, "{:>6} ms {mark}{who:<12} {}", item.ms, did(&item.what))
            }
            Happened::Incident(session, incident) => {
                let who = session.map_or("", |session| &names[session]);
                writeln!(story, "{:>6} ms    {who:<12} [{}]", incident.now_ms, incident.what)
            }
            Happened::Step(step) => {
                let event = words::event(&step.event, label);
                let _ = writeln!(story, "{:>6} ms    {:<12} {}", step.now_ms, "broker", told(&event));
                let limit = scenario.limits.line_bytes_max;
                let ordered = step.effects.iter().flat_map(|effect| words::effect(effect, limit, label));
                ordered.into_iter().try_for_each(|said| writeln!(story, "{:26}{}", "", told(&said)))
            }
        };
    }
    if let Some(violation) = &outcome.violation {
        let _ = writeln!(story, "{violation}");
    }
    story
}

/// A run of the volume engine that breaks the same rule as one of any engine, if there is one.
pub fn in_volume(scenario: &Scenario, violation: &Violation, picks: Vec<u32>) -> Option<Failing> {
    let failing = Failing { scenario: scenario.clone(), picks, rule: violation.rule.clone() };
    let again = failing.run(Record::default()).violation;
    if again.is_some_and(|again| again.rule == violation.rule) {
        return Some(failing);
    }
    fails_somehow(scenario, &violation.rule)
}

/// All that helps whoever sees a test fail: the story of the run, made small where that can be done, a test for it, and the command
/// that shows it.
pub fn explain(scenario: &Scenario, outcome: &Outcome, command: &str) -> String {
    let Some(violation) = &outcome.violation else { return story(scenario, outcome) };
    let told = match in_volume(scenario, violation, outcome.picks()) {
        Some(failing) => {
            let small = shrink(failing).failing;
            let outcome = small.run(Record { trace: true, digest: false });
            format!("{}{}", story(&small.scenario, &outcome), regression_test(&small))
        }
        None => story(scenario, outcome),
    };
    format!("{violation}\n{told}\nsee it: {command}")
}

/// The name under which a session was welcome, and its number.
fn name(history: &History, session: usize) -> String {
    let name = history.sessions[session].items.iter().find_map(|item| match &item.what {
        What::Read(line) => line.strip_prefix("welcome "),
        _ => None,
    });
    format!("{}/{session}", shown(name.unwrap_or("?")))
}

/// Words, and the line of the protocol behind them.
fn told(said: &Said) -> String {
    let Said { says, line, .. } = said;
    line.as_ref().map_or_else(|| says.clone(), |line| format!("{says}: {}", shown(line)))
}

/// A line as it can be looked at: what would move the cursor, hide or turn round what stands beside it is escaped.
fn shown(line: &str) -> String {
    let acts = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
    };
    let mut shown = String::with_capacity(line.len());
    for c in line.chars() {
        if acts(c) { shown.extend(c.escape_default()) } else { shown.push(c) }
    }
    shown
}

fn did(what: &What) -> String {
    match what {
        What::Wrote(sent) => match sent {
            Sent::Name(name) => format!("writes its name, {}", shown(name)),
            Sent::Proof { name, right } => {
                let which = if *right { "the" } else { "a wrong" };
                format!("writes its name, {}, and {which} password", shown(name))
            }
            Sent::Say { to, text, .. } => {
                format!("writes to {}", shown(&format!("{}: {text}", to.join(", "))))
            }
            Sent::Ping { .. } => "writes /ping".to_owned(),
            Sent::Who => "writes /who".to_owned(),
            Sent::Bad(rule) => format!("writes a bad line ({})", rule.code()),
            Sent::Quit => "writes /quit".to_owned(),
        },
        What::Ended => "closes its side".to_owned(),
        What::Reset => "breaks the connection".to_owned(),
        What::Read(line) => format!("reads {}", shown(line)),
        What::Closed(rest) if rest.is_empty() => "reads the end".to_owned(),
        What::Closed(rest) => format!("reads the end, in the middle of {rest:?}"),
        What::Broke => "finds the connection broken".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choices;
    use crate::engine::volume::run;
    use crate::scenario::{BadLine, Faults, Op, Script};

    #[test]
    fn a_story_names_everybody_and_moves_no_cursor() {
        let log_in = Op::LogIn { name: "al".to_owned(), insist: true };
        let say = Op::Say { to: vec!["al".to_owned()], bytes: 0 };
        let bad = Op::Bad { rule: BadLine::Command };
        let ops = vec![Op::Connect, log_in, say, bad, Op::Quit];
        let scenario = Scenario { clients: vec![Script { ops }], ..Scenario::default() };
        let mut outcome = run(&scenario, Choices::replay(Vec::new()), Record { trace: true, digest: false });
        outcome.history.sessions[0].items[2].what = What::Read("from al: \u{1b}[2J\u{202e}m0.1".to_owned());
        let story = story(&scenario, &outcome);
        for line in [
            "     0 ms    al/0         writes its name, al",
            "     0 ms    broker       al/0 connects",
            "     0 ms    broker       al/0 sends: al",
            "                          to al/0: welcome al",
            "     0 ms    broker       al/0 sends: al, ~0.1: m0.1",
            "                          to al/0: from al: m0.1",
            "                          to al/0: error unknown-command: /welcome al, /help lists the commands",
            "                          write what waits for al/0, then close (it said /quit)",
            r"     0 ms    al/0         reads from al: \u{1b}[2J\u{202e}m0.1",
        ] {
            assert!(story.lines().any(|its| its == line), "{line}\n{story}");
        }
        assert!(!story.contains(['#', '\u{1b}', '\u{202e}']), "{story}");
    }

    #[test]
    fn a_story_tells_what_nobody_did() {
        let ops = vec![Op::Connect, Op::LogIn { name: "al".to_owned(), insist: true }, Op::Quit];
        let faults = Faults { torn_write: 1000, until_ms: 1, ..Faults::default() };
        let scenario = Scenario { faults, clients: vec![Script { ops }], ..Scenario::default() };
        let record = Record { trace: true, digest: false };
        // First the client, and then the driver, who is first in the queue; of everything written, 1 byte goes out.
        let outcome = run(&scenario, Choices::replay(vec![1]), record);
        let told: Vec<String> = story(&scenario, &outcome).lines().map(str::to_owned).collect();
        assert_eq!(told[0], "     0 ms                 [the broker is held back]", "{told:#?}");
        let outcome = run(&scenario, Choices::in_turn(0, 0, 0), record);
        let story = story(&scenario, &outcome);
        let torn = |line: &str| {
            line.starts_with("     0 ms    al/0         [it writes only ") && line.ends_with(" bytes]")
        };
        assert!(story.lines().any(torn), "{story}");
    }

    #[test]
    fn ordinary_decisions_at_the_end_are_not_recorded() {
        let scenario = Scenario::default();
        for (picks, kept) in [(vec![0, 2, 0, 1, 0, 0], vec![0, 2, 0, 1]), (vec![0, 0], Vec::new())] {
            let failing = Failing { scenario: scenario.clone(), picks, rule: "G5".to_owned() };
            assert_eq!(parse(&to_text(&failing)).expect("a record").picks, kept);
        }
    }

    #[test]
    fn a_failing_run_is_explained() {
        let log_in = Op::LogIn { name: "al\nbob".to_owned(), insist: false };
        let ops = vec![Op::Connect, log_in, Op::Who, Op::Blank, Op::HalfClose];
        let scenario = Scenario { clients: vec![Script { ops }], ..Scenario::default() };
        let outcome = run(&scenario, Choices::of_seed(0), Record::default());
        let violation = outcome.violation.as_ref().expect("two lines where one is meant");
        let said = explain(&scenario, &outcome, "cargo sim replay 0");
        let command = "see it: cargo sim replay 0";
        assert!(said.starts_with(&violation.to_string()) && said.ends_with(command), "{said}");
        assert!(said.contains("writes its name, al\\nbob") && !said.contains("/who"), "{said}");
        assert!(said.contains("#[test]\nfn "), "{said}");
    }
}
