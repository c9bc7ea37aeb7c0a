//! The command `seriatim-sim`: explore, replay, shrink.

#![forbid(unsafe_code)]

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, value_parser};
use indicatif::{HumanCount, HumanDuration, ProgressBar, ProgressStyle};
use seriatim_sim::bugs::{Bug, HEAD, Which, hunt_all, hunt_none, summary, write_table};
use seriatim_sim::drill::{Drilled, digest, drill};
use seriatim_sim::engine::Outcome;
use seriatim_sim::explore::{Engine, Failed, Plan, Seen, explore, failing_of, run_seed, traced};
use seriatim_sim::figures;
use seriatim_sim::hunt::{Budget, hunt};
use seriatim_sim::marks::WANTED;
use seriatim_sim::page::{page_of, page_of_seed, regression_test};
use seriatim_sim::report::{in_volume, load, save, story};
use seriatim_sim::shrink::{Failing, Shrunk, shrink};
use seriatim_sim::signal;
use seriatim_sim::soak::{self, Round, Soaked};
use seriatim_sim::swarm::Profile;
use seriatim_sim::world::Record;

/// A run makes and drops very many small things.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Prints a line. Whoever does not want to read it (`| head`) need not.
macro_rules! say {
    ($($line:tt)*) => {{
        let _ = writeln!(io::stdout(), $($line)*);
    }};
}

/// Nobody waits longer: ten years.
const MINUTES_MAX: u64 = 10 * 365 * 24 * 60;

/// Runs the shipped server code through interleavings and faults, and judges what its clients see.
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs seeds until one fails; then shrinks and records it. Ctrl-C stops it and says what was seen.
    Explore {
        /// What runs them.
        #[arg(long, value_enum, default_value = "volume")]
        engine: Engine,
        /// What kind of scenarios.
        #[arg(long, value_enum, default_value = "swarm")]
        profile: Profile,
        /// The first seed.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// How many seeds.
        #[arg(long, default_value_t = 100_000)]
        seeds: u64,
        /// For how many minutes at most.
        #[arg(long, value_parser = value_parser!(u64).range(1..=MINUTES_MAX))]
        minutes: Option<u64>,
        /// On how many threads; as many as there are cores if it is not said.
        #[arg(long, value_parser = value_parser!(u16).range(1..=1024))]
        threads: Option<u16>,
        /// Where to record a failing run.
        #[arg(long, default_value = "failing.json")]
        to: PathBuf,
    },
    /// Runs one seed or one recorded run again, and prints what everybody wrote and read.
    Replay {
        /// A seed, or the file of a recorded run.
        run: String,
        /// What kind of scenario the seed is of.
        #[arg(long, value_enum, default_value = "swarm")]
        profile: Profile,
        /// Prints the broker's events and effects, too, and which tasks were held back.
        #[arg(long)]
        trace: bool,
        /// Draws it, too, on a page for a browser.
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Makes a failing run as small as it can be, and records it. Ctrl-C takes what is smallest so far.
    Shrink {
        /// A seed, or the file of a recorded run.
        run: String,
        /// What kind of scenario the seed is of.
        #[arg(long, value_enum, default_value = "swarm")]
        profile: Profile,
        /// Where to record it.
        #[arg(long, default_value = "failing.json")]
        to: PathBuf,
        /// Where to draw it, on a page for a browser [default: beside the record, with the extension .html].
        #[arg(long, value_name = "FILE")]
        html: Option<PathBuf>,
    },
    /// Plants each bug of sim/bugs in a copy of the sources, and looks whether it is found. Before all of them it looks where none
    /// is planted, and must find nothing there.
    Bugs {
        /// Only those with this in their name.
        #[arg(default_value = "")]
        filter: String,
        /// One part of them, counted from 0; the canary is in each.
        #[arg(long, value_name = "PART/PARTS", value_parser = part)]
        part: Option<(usize, usize)>,
        #[command(flatten)]
        budget: Budget,
        /// Writes the table into sim/bugs/README.md.
        #[arg(long, conflicts_with = "part")]
        write: bool,
    },
    /// Looks for a bug with each engine and says as JSON what was found: what `bugs` asks each build.
    #[command(hide = true)]
    Hunt {
        #[command(flatten)]
        budget: Budget,
    },
    /// Plants each nondeterminism of sim/drill in a copy of the sources, and looks whether it is noticed.
    Drill {
        /// How many seeds.
        #[arg(long, default_value_t = 300)]
        seeds: u64,
    },
    /// Keeps the real program under load, and judges what its clients see. Ctrl-C stops it and says what was seen.
    Soak {
        /// For how many seconds.
        #[arg(long, default_value_t = 60, value_parser = value_parser!(u64).range(1..=60 * MINUTES_MAX))]
        seconds: u64,
        /// The seed of the first round.
        #[arg(long, default_value_t = 0)]
        from: u64,
        /// The program [default: seriatim, beside this one].
        #[arg(long, value_name = "FILE")]
        server: Option<PathBuf>,
        /// Writes what it came to into docs/attacks.md.
        #[arg(long)]
        write: bool,
    },
    /// Measures on one core how fast the core and each engine are.
    Figures {
        /// For how many seconds each.
        #[arg(long, default_value_t = 5, value_parser = value_parser!(u64).range(1..=60 * MINUTES_MAX))]
        seconds: u64,
    },
    /// Prints a hash over everything that happens in these seeds: the same in every process and build.
    Digest {
        /// How many seeds.
        #[arg(long, default_value_t = 1_000)]
        seeds: u64,
    },
}

fn main() -> ExitCode {
    let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
    let result = match Arguments::parse().command {
        Command::Explore { engine, profile, from, seeds, minutes, threads, to } => {
            let time = minutes.map(|minutes| Duration::from_secs(60 * minutes));
            let threads = threads.map_or(cores, usize::from);
            look(Plan { engine, profile, from, seeds, time, threads }, &to)
        }
        Command::Replay { run, profile, trace, html } => replay(&run, profile, trace, html.as_deref()),
        Command::Shrink { run, profile, to, html } => {
            shrink_run(&run, profile, &to, &html.unwrap_or_else(|| to.with_extension("html")))
        }
        Command::Bugs { filter, part, budget, write } => find_bugs(&Which { filter, part }, budget, write),
        Command::Hunt { budget } => {
            // Plain data can always be written.
            say!("{}", serde_json::to_string(&hunt(budget, cores)).unwrap_or_default());
            Ok(ExitCode::SUCCESS)
        }
        Command::Digest { seeds } => digest(seeds).map(|digest| {
            say!("{digest:016x}");
            ExitCode::SUCCESS
        }),
        Command::Figures { seconds } => {
            say!("| on one core, in a second | |\n|---|---|");
            figures::figures(Duration::from_secs(seconds), |figure| {
                say!("| {} | {} |", figure.what, HumanCount(figure.per_second));
            });
            Ok(ExitCode::SUCCESS)
        }
        Command::Soak { seconds, from, server, write } => {
            let beside = || std::env::current_exe().unwrap_or_default().with_file_name("seriatim");
            let server = server.unwrap_or_else(beside);
            soak_it(&server, &soak::Plan { time: Duration::from_secs(seconds), from }, write)
        }
        Command::Drill { seeds } => find_nondeterminism(seeds),
    };
    result.unwrap_or_else(|error| {
        eprintln!("seriatim-sim: {error}");
        ExitCode::from(2)
    })
}

fn look(plan: Plan, to: &Path) -> Result<ExitCode, String> {
    let html = to.with_extension("html");
    check_places(to, &html)?;
    signal::watch()?;
    let start = Instant::now();
    let bar = ProgressBar::new(plan.seeds);
    bar.set_style(style("{wide_bar} {pos}/{len} seeds, {msg}"));
    let seen = explore(plan, &signal::ASKED, |seen| {
        bar.set_position(seen.seeds);
        bar.set_message(progress(seen, start.elapsed()));
    });
    bar.finish_and_clear();
    if signal::asked() {
        say!("stopped");
    }
    let seeds = if seen.seeds == 1 { "seed" } else { "seeds" };
    say!("{} {seeds}, {}", seen.seeds, progress(&seen, start.elapsed()));
    if let Some(failed) = &seen.failed {
        report_failed(plan, failed, to, &html)?;
        return Ok(ExitCode::FAILURE);
    }
    // A long look that never saw what it is for has proved nothing.
    let missing = seen.marks.missing();
    let long = plan.profile == Profile::Swarm && plan.engine != Engine::Sockets && seen.seeds >= LONG_SEEDS;
    if !long || missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    missing.iter().for_each(|mark| say!("never met: {mark}"));
    Ok(ExitCode::FAILURE)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// After so many seeds everything must have been met.
const LONG_SEEDS: u64 = 10_000;

/// How fast it goes and what was met.
fn progress(seen: &Seen, took: Duration) -> String {
    let per_second = |count: u64| HumanCount(figures::per_second(count, took));
    format!(
        "{}/s; {} events, {}/s; simulated {}, {}x; {} of {} marks",
        per_second(seen.seeds),
        HumanCount(seen.events),
        per_second(seen.events),
        HumanDuration(Duration::from_millis(seen.simulated_ms)),
        per_second(seen.simulated_ms / 1000),
        WANTED.len() - seen.marks.missing().len(),
        WANTED.len()
    )
}

/// All that helps with a failing seed: what it broke, how to see it again, and a smaller run that fails in the same way.
fn report_failed(plan: Plan, failed: &Failed, to: &Path, html: &Path) -> Result<(), String> {
    let Failed { seed, violation, .. } = failed;
    let plan = Plan { from: *seed, seeds: 1, ..plan };
    say!("seed {seed}: {violation}");
    say!("see it: {}", plan.command());
    if plan.engine == Engine::Volume {
        return shrink_to(failing_of(plan.profile, *seed), to, html);
    }
    let scenario = plan.profile.scenario(*seed);
    if let Some(failing) = in_volume(&scenario, violation, Vec::new()) {
        return shrink_to(failing, to, html);
    }
    if let Some(outcome) = traced(&plan, failed) {
        say!("{}", story(&scenario, &outcome).trim_end());
        let page = page_of_seed(&plan, &Failing::new(scenario, &outcome), &outcome);
        write_page(&page, html)?;
    }
    say!("no schedule of the volume engine breaks that rule, so that it can be neither shrunk nor recorded");
    let test = plan.test(&violation.rule);
    if !test.is_empty() {
        say!("a test that fails as long as this does:\n\n{test}");
    }
    Ok(())
}

/// A seed, or a recorded run.
fn find(run: &str, profile: Profile, record: Record) -> Result<(Failing, Outcome), String> {
    let (scenario, outcome) = match run.parse::<u64>() {
        Ok(seed) => (profile.scenario(seed), run_seed(profile, seed, record)),
        Err(_) => {
            let failing = load(Path::new(run))?;
            let outcome = failing.run(record);
            (failing.scenario, outcome)
        }
    };
    Ok((Failing::new(scenario, &outcome), outcome))
}

/// Whether the record and the page can be written, before anything is done that they are to hold.
fn check_places(record: &Path, html: &Path) -> Result<(), String> {
    if record == html {
        return Err(format!("{}: the record and the page are two files", record.display()));
    }
    for path in [record, html] {
        let is_new = !path.exists();
        OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .map_err(|error| cannot_write(path, &error))?;
        if is_new {
            fs::remove_file(path).map_err(|error| cannot_write(path, &error))?;
        }
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> String {
    format!("cannot write {}: {error}", path.display())
}

fn write_page(page: &str, html: &Path) -> Result<(), String> {
    fs::write(html, page).map_err(|error| cannot_write(html, &error))?;
    say!("look at it in a browser: {}", html.display());
    Ok(())
}

fn replay(run: &str, profile: Profile, trace: bool, html: Option<&Path>) -> Result<ExitCode, String> {
    let (failing, mut outcome) = find(run, profile, Record { digest: false, trace: true })?;
    let page = html.map(|html| (html, page_of(&command_of(run, profile), &failing, &outcome)));
    if !trace {
        outcome.trace.clear();
        outcome.incidents.retain(|incident| !incident.is_turn);
    }
    say!("{}", story(&failing.scenario, &outcome).trim_end());
    say!("{} decisions, {} of them not ordinary", failing.picks.len(), failing.specials());
    if let Some((html, page)) = page {
        write_page(&page, html)?;
    }
    Ok(if outcome.violation.is_some() { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// What shows a run again.
fn command_of(run: &str, profile: Profile) -> String {
    match run.parse() {
        Ok(from) => {
            Plan { engine: Engine::Volume, profile, from, seeds: 1, time: None, threads: 1 }.command()
        }
        Err(_) => format!("cargo sim replay {run}"),
    }
}

fn shrink_run(run: &str, profile: Profile, to: &Path, html: &Path) -> Result<ExitCode, String> {
    check_places(to, html)?;
    signal::watch()?;
    let (failing, outcome) = find(run, profile, Record::default())?;
    if outcome.violation.is_none() {
        return Err(format!("{run} breaks no rule, there is nothing to shrink"));
    }
    shrink_to(failing, to, html)?;
    Ok(ExitCode::FAILURE)
}

/// Makes a failing run small, shows it, and records it.
fn shrink_to(failing: Failing, to: &Path, html: &Path) -> Result<(), String> {
    let before = (failing.ops(), failing.specials());
    let bar =
        ProgressBar::new_spinner().with_message("making it small; Ctrl-C takes what is smallest so far");
    bar.set_style(style("{spinner} {elapsed} {msg}"));
    bar.enable_steady_tick(Duration::from_millis(100));
    let Shrunk { failing: small, minimal } = shrink(failing);
    bar.finish_and_clear();
    save(&small, to)?;
    let outcome = small.run(Record { trace: true, digest: false });
    say!("{}", story(&small.scenario, &outcome).trim_end());
    say!(
        "from {} things that clients do to {}, from {} special decisions to {}, {} of them preemptions",
        before.0,
        small.ops(),
        before.1,
        small.specials(),
        outcome.preemptions()
    );
    if !minimal {
        let why = if signal::asked() { "Ctrl-C ended it" } else { "the effort for that was spent" };
        say!("it might be smaller still: {why}");
    }
    let command = format!("cargo sim replay {}", to.display());
    say!("recorded; see it again: {command}");
    write_page(&page_of(&command, &small, &outcome), html)?;
    say!("a test that fails as long as this does:\n\n{}", regression_test(&small));
    Ok(())
}

/// Prints what came of each round, and of all of them.
fn soak_it(server: &Path, plan: &soak::Plan, write: bool) -> Result<ExitCode, String> {
    signal::watch()?;
    let server = soak::Server::start(server)?;
    let start = Instant::now();
    say!(
        "| round | lines | too slow | broke | memory, KiB |
|---|---|---|---|---|"
    );
    let soaked =
        soak::soak(server, plan, &signal::ASKED, |Round { seed, lines, too_slow, broke, memory_kib }| {
            say!("| {seed} | {} | {too_slow} | {broke} | {memory_kib} |", HumanCount(*lines as u64));
        });
    let soaked = match soaked {
        Ok(soaked) => soaked,
        Err(error) => {
            say!("{error}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if write {
        soak::write_row(&soaked.row(start.elapsed().as_secs()))?;
    }
    let Soaked { rounds, peak_kib } = soaked;
    let lines: usize = rounds.iter().map(|round| round.lines).sum();
    say!(
        "\n{} rounds in {}, {} lines written and read, nothing lost; at most {} KiB of memory",
        rounds.len(),
        HumanDuration(start.elapsed()),
        HumanCount(lines as u64),
        HumanCount(peak_kib)
    );
    Ok(ExitCode::SUCCESS)
}

/// Prints a table of the planted bugs, as Markdown.
fn find_bugs(which: &Which, budget: Budget, write: bool) -> Result<ExitCode, String> {
    if write && !which.filter.is_empty() {
        return Err("--write is for the table of all planted bugs".to_owned());
    }
    if which.is_all() {
        hunt_none(budget)?;
        say!("Where none is planted, nothing is found.\n");
    }
    say!("{}", HEAD.trim_end());
    let mut bugs = Vec::new();
    hunt_all(which, budget, |bug| {
        say!("{}", bug.row().trim_end());
        bugs.push(bug);
    })?;
    say!("\n{}", summary(&bugs));
    if write {
        write_table(&bugs)?;
    }
    Ok(if bugs.iter().all(Bug::found) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Prints a table of the planted nondeterminism, as Markdown.
fn find_nondeterminism(seeds: u64) -> Result<ExitCode, String> {
    let mut missed = 0;
    say!("| planted | what it is | noticed by |\n|---|---|---|");
    drill(seeds, |Drilled { name, what, noticed }| {
        missed += usize::from(noticed.is_none());
        say!("| {name} | {what} | {} |", noticed.as_deref().unwrap_or("**nothing**"));
    })?;
    Ok(if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// A part, and of how many.
fn part(text: &str) -> Result<(usize, usize), String> {
    let numbers = text.split_once('/').and_then(|(part, of)| Some((part.parse().ok()?, of.parse().ok()?)));
    numbers
        .filter(|(part, of)| part < of)
        .ok_or_else(|| "not like 0/4, with the first below the second".to_owned())
}
