//! The page in the docs that shows what was measured.

use std::fs;
use std::process::Command;

use super::aim;
use super::outcome::Outcome;
use super::workload::Workload;

const PAGE: &str = "docs/speed.md";
const BEGIN: &str =
    "<!-- What follows is measured: cargo run --release -p seriatim-bench -- compare --write -->\n";
const END: &str = "<!-- Here it ends. -->\n";

/// What was measured, in Markdown, and what is still to be measured.
pub(crate) fn text(outcomes: &[Outcome], missing: &[&Workload], runs: usize) -> String {
    let tables: Vec<String> = outcomes.iter().map(Outcome::table).collect();
    let (aims, tables) = (aim::table(outcomes), tables.join("\n"));
    let (machine, missing) = (machine(), note(missing));
    format!(
        "{machine} Medians of {runs} runs in turn.{missing}\n\n## Aims\n\n{aims}\n## All figures\n\n{tables}"
    )
}

/// Whoever reads the page must see that a run was interrupted.
fn note(missing: &[&Workload]) -> String {
    let names: Vec<&str> = missing.iter().map(|workload| workload.name).collect();
    if names.is_empty() { String::new() } else { format!(" **Not measured yet: {}.**", names.join(", ")) }
}

/// Puts it into the page, in place of what is there.
///
/// # Errors
/// The page is not there or not as it must be.
pub(crate) fn write(text: &str) -> Result<(), String> {
    let page = fs::read_to_string(PAGE).map_err(|error| format!("{PAGE}: {error}"))?;
    let malformed = || format!("{PAGE} has no line {BEGIN:?} with a line {END:?} behind it");
    let (head, rest) = page.split_once(BEGIN).ok_or_else(malformed)?;
    let (_, tail) = rest.split_once(END).ok_or_else(malformed)?;
    fs::write(PAGE, [head, BEGIN, "\n", text, "\n", END, tail].concat())
        .map_err(|error| format!("{PAGE}: {error}"))
}

/// When, of which commit and on which machine.
fn machine() -> String {
    let said = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok();
        output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default()
    };
    let field = |file: &str, name: &str| {
        let text = fs::read_to_string(file).unwrap_or_default();
        let value = text
            .lines()
            .find_map(|line| line.strip_prefix(name)?.split_once(':').map(|(_, v)| v.trim().to_owned()));
        value.unwrap_or_default()
    };
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let kib: u64 = field("/proc/meminfo", "MemTotal").trim_end_matches(" kB").parse().unwrap_or(0);
    format!(
        "Measured on {} at commit {}, on {cores} cores of an {} with {} GiB, Linux {}, {}.",
        said("date", &["+%Y-%m-%d"]),
        said("git", &["rev-parse", "--short", "HEAD"]),
        field("/proc/cpuinfo", "model name"),
        kib / 1024 / 1024,
        said("uname", &["-r"]),
        said("rustc", &["--version"]),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::workload::WORKLOADS;

    #[test]
    fn a_page_says_what_is_missing() {
        let text = text(&[], &[&WORKLOADS[0], &WORKLOADS[1]], 3);
        assert!(text.contains("**Not measured yet: pairs, pairs-1k.**"), "{text}");
        assert!(!super::text(&[], &[], 3).contains("Not measured"), "nothing is missing");
    }
}
