//! A run in the words of its clients, and the files that keep a failing one.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::engine::Outcome;
use crate::history::{History, Sent, What};
use crate::scenario::Scenario;
use crate::shrink::Failing;

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
    let Failing { scenario, picks, rule } = failing.clone();
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

/// What everybody wrote and read, in the one order in which it happened; what proves the violation is marked.
pub fn story(outcome: &Outcome) -> String {
    let witness = outcome.violation.as_ref().map_or(&[][..], |violation| &violation.witness);
    let mut lines: Vec<(u64, String)> = Vec::new();
    for (session, its) in outcome.history.sessions.iter().enumerate() {
        let who = name(&outcome.history, session);
        for (place, item) in its.items.iter().enumerate() {
            let mark = if witness.contains(&(session, place)) { "=> " } else { "   " };
            lines.push((item.at, format!("{:>6} ms {mark}{who:<12} {}", item.ms, words(&item.what))));
        }
    }
    for step in &outcome.trace {
        let mut line = format!("{:>6} ms    {:<12} {:?}", step.now_ms, "broker", step.event);
        for effect in &step.effects {
            let _ = write!(line, "\n{:26}{effect:?}", "");
        }
        lines.push((step.at, line));
    }
    lines.sort_by_key(|(at, _)| *at);
    let mut story = String::new();
    for (_, line) in lines {
        let _ = writeln!(story, "{line}");
    }
    if let Some(violation) = &outcome.violation {
        let _ = writeln!(story, "{violation}");
    }
    story
}

/// The name under which a session was welcome, and its number.
fn name(history: &History, session: usize) -> String {
    let name = history.sessions[session].items.iter().find_map(|item| match &item.what {
        What::Read(line) => line.strip_prefix("welcome "),
        _ => None,
    });
    format!("{}/{session}", name.unwrap_or("?"))
}

fn words(what: &What) -> String {
    match what {
        What::Wrote(sent) => match sent {
            Sent::Name(name) => format!("writes its name, {name}"),
            Sent::Proof { name, right: true } => format!("writes its name, {name}, and the password"),
            Sent::Proof { name, right: false } => format!("writes its name, {name}, and a wrong password"),
            Sent::Say { to, text, .. } => format!("writes to {}: {text}", to.join(", ")),
            Sent::Ping { .. } => "writes /ping".to_owned(),
            Sent::Who => "writes /who".to_owned(),
            Sent::Bad(rule) => format!("writes a bad line ({})", rule.code()),
            Sent::Quit => "writes /quit".to_owned(),
        },
        What::Ended => "closes its side".to_owned(),
        What::Reset => "breaks the connection".to_owned(),
        What::Read(line) => format!("reads {line}"),
        What::Closed(rest) if rest.is_empty() => "reads the end".to_owned(),
        What::Closed(rest) => format!("reads the end, in the middle of {rest:?}"),
        What::Broke => "finds the connection broken".to_owned(),
    }
}
