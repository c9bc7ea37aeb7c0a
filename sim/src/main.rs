//! The command `seriatim-sim`: explore, replay, shrink.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use seriatim_sim::bugs::hunt;
use seriatim_sim::choice::Choices;
use seriatim_sim::engine::volume::run;
use seriatim_sim::engine::{Outcome, fold_digest};
use seriatim_sim::marks::{Marks, WANTED};
use seriatim_sim::page::{page_of, regression_test};
use seriatim_sim::report::{load, save, story};
use seriatim_sim::shrink::{Failing, shrink};
use seriatim_sim::swarm;
use seriatim_sim::world::Record;

/// Runs the shipped server code through interleavings and faults, and judges what its clients see.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs seeds until one fails.
    Explore {
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many seeds.
        #[arg(long, default_value_t = 100_000)]
        seeds: u64,
        /// For how many minutes at most.
        #[arg(long)]
        minutes: Option<u64>,
    },
    /// Runs one seed or one recorded run again, and prints what everybody wrote and read.
    Replay {
        /// A seed, or the file of a recorded run.
        run: String,
        /// Prints the broker's events and effects, too.
        #[arg(long)]
        trace: bool,
        /// Draws it, too, on a page for a browser.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Makes a failing run as small as it can be, and records it.
    Shrink {
        /// A seed, or the file of a recorded run.
        run: String,
        /// Where to record it.
        #[arg(long, default_value = "failing.json")]
        to: PathBuf,
        /// Where to draw it, on a page for a browser [default: beside the record, with the extension .html].
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Plants each bug of sim/bugs in a copy of the sources, and looks whether it is found.
    Bugs {
        /// Only those with this in their name.
        #[arg(default_value = "")]
        filter: String,
        /// How many seeds each may take.
        #[arg(long, default_value_t = 100_000)]
        seeds: u64,
    },
    /// Prints a hash over everything that happens in these seeds: the same in every process and build.
    Digest {
        /// How many seeds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
    },
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Explore { from, seeds, minutes } => explore(from, seeds, minutes),
        Command::Replay { run, trace, html } => replay(&run, trace, html.as_deref()),
        Command::Shrink { run, to, html } => {
            shrink_to(&run, &to, &html.unwrap_or_else(|| to.with_extension("html")))
        }
        Command::Bugs { filter, seeds } => find_bugs(&filter, seeds),
        Command::Digest { seeds } => {
            let record = Record { digest: true, trace: false };
            let one = |seed| run(&swarm::scenario(seed), Choices::random(seed), record).digest;
            println!("{:016x}", (0..seeds).fold(0, |all, seed| fold_digest(all, one(seed))));
            Ok(ExitCode::SUCCESS)
        }
    };
    result.unwrap_or_else(|error| {
        eprintln!("seriatim-sim: {error}");
        ExitCode::from(2)
    })
}

/// How a seed is run: every second one at random, the others by priorities.
fn seeded(seed: u64, record: Record) -> Outcome {
    let choices = if seed.is_multiple_of(2) { Choices::random(seed) } else { Choices::pct(seed, 3, 1_000) };
    run(&swarm::scenario(seed), choices, record)
}

fn explore(from: u64, seeds: u64, minutes: Option<u64>) -> Result<ExitCode, String> {
    let start = Instant::now();
    let end = minutes.map(|minutes| start + Duration::from_secs(60 * minutes));
    let (mut marks, mut events, mut steps, mut simulated_ms, mut done) = (Marks::default(), 0, 0, 0, 0);
    let mut reported = start;
    for seed in from..from.saturating_add(seeds) {
        if end.is_some_and(|end| Instant::now() >= end) {
            break;
        }
        let outcome = seeded(seed, Record::default());
        if let Some(violation) = &outcome.violation {
            println!("seed {seed}: {violation}");
            println!("see it:    seriatim-sim replay {seed}");
            println!("shrink it: seriatim-sim shrink {seed}");
            return Ok(ExitCode::FAILURE);
        }
        marks.add(&outcome.marks);
        events += outcome.events;
        steps += outcome.steps;
        simulated_ms += outcome.now_ms;
        done += 1;
        if reported.elapsed() >= Duration::from_secs(5) {
            reported = Instant::now();
            eprintln!("{done} seeds, {:.0} seeds/s", f64::from(done) / start.elapsed().as_secs_f64());
        }
    }
    let seconds = start.elapsed().as_secs_f64();
    let missing = marks.missing();
    println!(
        "{done} seeds, {events} events, {steps} steps in {seconds:.1} s; simulated {} s",
        simulated_ms / 1000
    );
    println!("{} of {} marks met", WANTED.len() - missing.len(), WANTED.len());
    missing.iter().for_each(|mark| println!("never met: {mark}"));
    Ok(ExitCode::SUCCESS)
}

/// A seed, or a recorded run.
fn find(run: &str, record: Record) -> Result<(Failing, Outcome), String> {
    let (scenario, outcome) = match run.parse::<u64>() {
        Ok(seed) => (swarm::scenario(seed), seeded(seed, record)),
        Err(_) => {
            let failing = load(Path::new(run))?;
            let outcome = failing.run(record);
            (failing.scenario, outcome)
        }
    };
    let rule = outcome.violation.as_ref().map(|violation| violation.rule.clone()).unwrap_or_default();
    Ok((Failing { scenario, picks: outcome.picks(), rule }, outcome))
}

/// Draws a run on a page.
fn draw(run: &str, failing: &Failing, html: &Path) -> Result<(), String> {
    let outcome = failing.run(Record { digest: false, trace: true });
    fs::write(html, page_of(run, failing, &outcome))
        .map_err(|error| format!("cannot write {}: {error}", html.display()))?;
    println!("look at it in a browser: {}", html.display());
    Ok(())
}

fn replay(run: &str, trace: bool, html: Option<&Path>) -> Result<ExitCode, String> {
    let (failing, outcome) = find(run, Record { digest: false, trace })?;
    print!("{}", story(&outcome));
    println!("{} decisions, {} of them not ordinary", failing.picks.len(), failing.specials());
    if let Some(html) = html {
        draw(run, &failing, html)?;
    }
    Ok(if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

fn shrink_to(run: &str, to: &Path, html: &Path) -> Result<ExitCode, String> {
    let (failing, outcome) = find(run, Record::default())?;
    if outcome.violation.is_none() {
        return Err(format!("{run} breaks no rule, there is nothing to shrink"));
    }
    let before = (failing.ops(), failing.specials());
    let small = shrink(failing);
    save(&small, to)?;
    print!("{}", story(&small.run(Record::default())));
    println!(
        "from {} things that clients do to {}, from {} special decisions to {}",
        before.0,
        small.ops(),
        before.1,
        small.specials()
    );
    println!("recorded; see it again: seriatim-sim replay {}", to.display());
    draw(&to.display().to_string(), &small, html)?;
    println!("a test that fails as long as this does:\n\n{}", regression_test(&small));
    Ok(ExitCode::FAILURE)
}

/// Prints a table of the planted bugs, as Markdown.
fn find_bugs(filter: &str, seeds: u64) -> Result<ExitCode, String> {
    let mut missed = 0;
    println!("| planted bug | what it is | found by | at seed | shrunk to | seconds |");
    println!("|---|---|---|---|---|---|");
    hunt(filter, seeds, |hunt| {
        let (seed, rule) = hunt
            .found
            .clone()
            .map_or(("–".to_owned(), "**not found**".to_owned()), |(seed, rule)| (seed.to_string(), rule));
        let shrunk = hunt
            .shrunk
            .map_or("–".to_owned(), |(ops, specials)| format!("{ops} ops, {specials} special decisions"));
        println!(
            "| {} | {} | {rule} | {seed} | {shrunk} | {:.2} |",
            hunt.name,
            hunt.what,
            hunt.took.as_secs_f64()
        );
        missed += usize::from(hunt.found.is_none());
    })?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
