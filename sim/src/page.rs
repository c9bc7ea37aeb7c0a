//! A run as a picture: one HTML page that needs no network and no library. It shows who wrote what, what the broker made of
//! it and who read what, in the one order in which it all happened, and what of that proves the violation.
//!
//! - `lanes`: the sessions, and whose each of them is;
//! - `rows`: everything that happened, one row for each thing;
//! - `state`: the broker behind each of its events;
//! - `arrows`: which row brought about which;
//! - `words`: all of that, and the scenario, in words.
//!
//! The picture itself is drawn in the browser, by the parts of `SCRIPT`, from data alone: no text of a run ever becomes markup.

mod arrows;
mod lanes;
pub(crate) mod rows;
mod state;
pub(crate) mod words;

use serde::Serialize;

use crate::engine::Outcome;
use crate::explore::Plan;
use crate::report;
use crate::shrink::Failing;

const TEMPLATE: &str = include_str!("page/page.html");
const STYLE: &str = include_str!("page/page.css");
/// They share one scope. Whoever reads them in this order meets nothing before it is explained.
const SCRIPT: &str = concat!(
    include_str!("page/tools.js"),
    include_str!("page/proof.js"),
    include_str!("page/layout.js"),
    include_str!("page/picture.js"),
    include_str!("page/arrows.js"),
    include_str!("page/panel.js"),
    include_str!("page/around.js"),
    include_str!("page/steps.js"),
);

/// All that the page knows.
#[derive(Serialize)]
struct Page<'a> {
    /// What shows it again.
    command: &'a str,
    /// The rule that was broken, its title, and what it promises; empty if none was.
    rule: &'a str,
    title: &'static str,
    promise: &'static str,
    /// What happened instead.
    violation: &'a str,
    size: Vec<String>,
    lanes: Vec<lanes::Lane>,
    rows: Vec<rows::Row>,
    arrows: Vec<arrows::Arrow>,
    /// What the broker ordered to be sent, and nobody read.
    unread: Vec<arrows::Stray>,
    /// Messages that are part of the proof, and sessions that should have read them.
    missing: Vec<arrows::Stray>,
    clients: Vec<Vec<String>>,
    conditions: Vec<String>,
    /// The file that `replay` takes; empty if it takes none.
    recorded: String,
    /// A test for it; empty if there is none.
    test: String,
}

/// The page of a run whose trace was recorded, for readers who keep the run in a file `failing.json`.
pub fn page(failing: &Failing, outcome: &Outcome) -> String {
    page_of("cargo sim replay failing.json", failing, outcome)
}

/// The page of a run whose trace was recorded, and which this command shows again.
pub fn page_of(command: &str, failing: &Failing, outcome: &Outcome) -> String {
    let again = Again {
        command: command.to_owned(),
        recorded: report::to_text(failing),
        test: regression_test(failing),
    };
    drawn(again, failing, outcome)
}

/// The page of a run of another engine, which its seed alone brings again.
pub fn page_of_seed(plan: &Plan, failing: &Failing, outcome: &Outcome) -> String {
    let again = Again { command: plan.command(), recorded: String::new(), test: plan.test(&failing.rule) };
    drawn(again, failing, outcome)
}

/// How a run can be had again.
struct Again {
    command: String,
    recorded: String,
    test: String,
}

fn drawn(again: Again, failing: &Failing, outcome: &Outcome) -> String {
    let violation = outcome.violation.as_ref();
    let rule = violation.map_or("", |violation| &violation.rule);
    let (title, promise) = words::rule(rule);
    let story = rows::Story::of(failing, outcome);
    let links = arrows::Links::of(&story, &outcome.history, violation);
    let page = Page {
        command: &again.command,
        rule,
        title,
        promise,
        violation: violation.map_or("", |violation| &violation.what),
        size: words::size(failing, &story),
        lanes: story.lanes,
        rows: story.rows,
        arrows: links.arrows,
        unread: links.unread,
        missing: links.missing,
        clients: failing.scenario.clients.iter().map(words::script).collect(),
        conditions: words::conditions(&failing.scenario),
        recorded: again.recorded,
        test: again.test,
    };
    // Plain data can always be written.
    let data = serde_json::to_string(&page).unwrap_or_default();
    fill(TEMPLATE, &[("/*style*/", STYLE), ("/*data*/", &ascii(&data)), ("/*script*/", SCRIPT)])
}

/// The template with texts in the places of their markers, which come in this order. A marker inside a text means nothing.
fn fill(template: &str, texts: &[(&str, &str)]) -> String {
    let mut filled = String::new();
    let mut rest = template;
    for (marker, text) in texts {
        let Some((before, behind)) = rest.split_once(marker) else { continue };
        filled.push_str(before);
        filled.push_str(text);
        rest = behind;
    }
    filled + rest
}

/// The same JSON, but with nothing in it that could end the element or the string literal that holds it, or deceive the eye: what
/// is not ASCII, and `<`, can stand in strings alone, and there an escape means the same.
fn ascii(json: &str) -> String {
    let mut escaped = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, ' '..='~' if c != '<') {
            escaped.push(c);
        } else {
            let mut units = [0; 2];
            c.encode_utf16(&mut units).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}")));
        }
    }
    escaped
}

/// A test for this run, to be pasted: it fails as long as the run breaks a rule.
pub fn regression_test(failing: &Failing) -> String {
    let recorded = ascii(&report::to_text(failing));
    // One number sign more than any quotation mark in it has behind it.
    let signs = recorded.split('"').skip(1).map(|rest| rest.len() - rest.trim_start_matches('#').len()).max();
    let fence = "#".repeat(signs.unwrap_or(0) + 1);
    let name = format!("{}_holds_in_run_{:08x}", failing.rule.to_lowercase(), checksum(&recorded));
    let name: String = name.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    let recorded = broken_into_lines(&recorded);
    format!(
        "#[test]
fn {name}() {{
    let recorded = r{fence}\"{recorded}\"{fence};
    let failing = seriatim_sim::report::parse(recorded).unwrap();
    let outcome = failing.run(seriatim_sim::world::Record::default());
    assert_eq!(outcome.violation, None);
}}
"
    )
}

/// Tells recorded runs apart (FNV-1a).
fn checksum(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

/// The same JSON in lines that are easy to look at: broken behind commas that stand in no string.
fn broken_into_lines(json: &str) -> String {
    let (mut lines, mut length) = (String::new(), 0);
    let (mut in_string, mut escaped) = (false, false);
    for c in json.chars() {
        lines.push(c);
        length += 1;
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = in_string,
            '"' => in_string = !in_string,
            ',' if !in_string && length >= 90 => {
                lines.push('\n');
                length = 0;
            }
            _ => {}
        }
    }
    lines
}
