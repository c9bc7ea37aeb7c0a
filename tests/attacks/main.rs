//! Attacks on the real program: what the hostile and the unlucky do to it, while others want to be served.
//!
//! Counts and bytes decide, never time; where time is measured, it is only reported. Each attack says in one row what it
//! came to. `docs/attacks.md` holds the rows and says how to renew them.
//!
//! With `SERIATIM_ATTACKS=10` there is ten times as much of nearly everything, and what takes half a minute is tried as well.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

#[path = "../common/mod.rs"]
mod common;

mod connections;
mod crowd;
mod floods;
mod half_open;
mod laggards;
mod lifecycle;
mod work;

use std::fmt::Display;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::process::{Client, HANG, Process, Server};

const MIB: u64 = 1 << 20;

/// How many times as much of everything there is to be.
fn heaviness() -> usize {
    std::env::var("SERIATIM_ATTACKS").ok().and_then(|times| times.parse().ok()).unwrap_or(1)
}

/// Says what an attack came to.
fn row(attack: &str, came_to: impl Display) {
    let row = format!("| {attack} | {came_to} |");
    eprintln!("{row}");
    if is_rewriting() {
        rewrite(attack, &row);
    }
}

/// Whether the table of what all attacks came to is being renewed.
fn is_rewriting() -> bool {
    std::env::var_os("SERIATIM_REWRITE").is_some()
}

/// Puts a row in the place of the last one of this attack, or behind the others.
fn rewrite(attack: &str, row: &str) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/attacks.md");
    let mut lines: Vec<String> = std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect();
    match lines.iter().position(|line| line.starts_with(&format!("| {attack} |"))) {
        Some(place) => row.clone_into(&mut lines[place]),
        None => lines.push(row.to_owned()),
    }
    std::fs::write(path, lines.join("\n") + "\n").unwrap();
}

/// Bytes, for a row.
fn mib(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / MIB as f64)
}

/// Outboxes are to hold so much together, and nobody is reset for taking nothing or for leaving slowly: how long a test
/// takes decides nothing.
const PATIENT: [&str; 4] =
    ["--outbox-bytes-total-max=8388608", "--write-timeout=off", "--keepalive=off", "--flush-timeout=3600"];

/// The bound on memory that the README states, for a server started as [`PATIENT`].
fn memory_bound(connections: u64) -> u64 {
    80 * MIB + 2 * (8 * MIB) + connections * (8192 + (128 << 10) + (4 << 10))
}

/// Asserts that the server never had more memory than the README says, and says how much it had.
fn peak_within_bound(server: &Process, connections: u64) -> String {
    let (peak, bound) = (server.peak_bytes(), memory_bound(connections));
    assert!(peak <= bound, "{peak} bytes are more than {bound}");
    format!("memory peak {} of {}", mib(peak), mib(bound))
}

/// Repeats this until it is true; `pace` waits for the server meanwhile.
fn until(what: &str, mut pace: impl FnMut(), mut is_true: impl FnMut() -> bool) {
    let start = Instant::now();
    while !is_true() {
        assert!(start.elapsed() < HANG, "never {what}");
        pace();
    }
}

/// Ends what threads go on with until this is set, also when a test fails in between.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Two who do no harm and want to be served.
struct Quiet {
    al: Client,
    bob: Client,
    rounds: Vec<Duration>,
}

impl Quiet {
    fn log_in(server: &Server) -> Quiet {
        Quiet { al: server.log_in("quiet-al"), bob: server.log_in("quiet-bob"), rounds: Vec::new() }
    }

    /// A question and its answer, both of which must come.
    fn round(&mut self) {
        let (start, round) = (Instant::now(), self.rounds.len());
        self.al.send(&format!("quiet-bob: question {round}"));
        self.bob.expect(&format!("from quiet-al: question {round}"));
        self.bob.send(&format!("quiet-al: answer {round}"));
        self.al.expect(&format!("from quiet-bob: answer {round}"));
        self.rounds.push(start.elapsed());
    }

    /// How many rounds there were, and how long all but the slowest hundredth of them took at most. What is measured next
    /// begins anew.
    fn percentile_99(&mut self) -> (usize, Duration) {
        let mut rounds = std::mem::take(&mut self.rounds);
        rounds.sort_unstable();
        (rounds.len(), rounds[rounds.len() * 99 / 100])
    }
}

impl Display for Quiet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "others undisturbed for {} rounds", self.rounds.len())
    }
}
