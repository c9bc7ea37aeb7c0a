//! Counts the instructions that a message costs, and compares them with what they were.
//!
//! A count is nearly the same in every run, whatever else the machine does, so that it shows a change that no clock would.
//! The command runs itself under valgrind, once for some rounds and once for twice as many: the difference is what the
//! rounds cost, and to start and to set up costs nothing.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::process::{Command, ExitCode};

use clap::{Args, ValueEnum};

use super::stage::Stage;
use super::table::{COLUMNS, Figures, Row, TOLERANCE_PERCENT, grown, last_row};
use super::talk::{Kind, LINES_PER_READ, Talk};

/// Where the table is.
const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/instructions.md");

/// How many rounds are counted.
const ROUNDS: u64 = 10;

/// What to do with the figures.
#[derive(Args, Debug)]
pub struct Arguments {
    /// Appends a row for the last commit. Nothing may have been changed since.
    #[arg(long)]
    write: bool,
    /// Says in that row why a figure has grown.
    #[arg(long, value_name = "TEXT", requires = "write")]
    why: Option<String>,
}

/// What is to be done again and again, so that it can be counted.
#[derive(Args, Debug)]
pub struct Work {
    /// Which stage.
    #[arg(value_enum)]
    stage: Stage,
    /// On what talk.
    #[arg(long, value_enum, default_value = "pairs")]
    talk: Kind,
    /// How many rounds.
    #[arg(long)]
    rounds: u64,
}

impl Work {
    /// Does it.
    pub fn run(&self) {
        let talk = Talk::new(self.talk, LINES_PER_READ);
        let mut round = self.stage.prepare(&talk);
        for _ in 0..self.rounds {
            round();
        }
    }
}

impl Arguments {
    /// Counts, prints, compares and, if it is to, writes. Succeeds if nothing has grown or it was written why; 2 is the
    /// exit code if nothing can be said.
    pub fn run(&self) -> ExitCode {
        match self.try_run() {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::FAILURE,
            Err(error) => {
                eprintln!("{error}");
                ExitCode::from(2)
            }
        }
    }

    /// Whether nothing has grown, or it was written why.
    fn try_run(&self) -> Result<bool, String> {
        if cfg!(debug_assertions) {
            return Err(
                "only a release build counts: cargo run --release -p seriatim-bench -- instructions".into()
            );
        }
        let of_table = |error: String| format!("docs/instructions.md: {error}");
        let document = fs::read_to_string(TABLE).map_err(|error| of_table(error.to_string()))?;
        let last = last_row(&document).map_err(of_table)?;
        let head = if self.write { Some(clean_head()?) } else { None };
        if let Some(why) = self.why.as_ref().filter(|why| why.contains(['|', '\n'])) {
            return Err(format!("this does not fit into a table: {why}"));
        }
        let figures = count_all(last.as_ref())?;
        let grown = last.map(|row| grown(&row.figures, &figures)).unwrap_or_default();
        for (kind, stage) in &grown {
            eprintln!("{} {} has grown by more than {TOLERANCE_PERCENT} %", label(kind), label(stage));
        }
        let Some((commit, date)) = head else { return Ok(grown.is_empty()) };
        if self.why.is_none() && !grown.is_empty() {
            return Err("not written: say --why".into());
        }
        let row = Row { commit, date, figures, why: self.why.clone().unwrap_or_default() };
        append(&row).map_err(|error| of_table(error.to_string()))?;
        Ok(true)
    }
}

/// Counts everything, and prints each figure as soon as it is known, beside that of the last row.
fn count_all(last: Option<&Row>) -> Result<Figures, String> {
    let mut figures = Figures::default();
    for (number, (kind, stage)) in COLUMNS.into_iter().enumerate() {
        let figure = count(kind, stage)?;
        if number == 0 {
            let since = last.map_or("(none)", |row| &row.commit);
            println!("{:8} {:7} {:>12} {since:>9} {:>8}", "talk", "stage", "instructions", "change");
        }
        print!("{:8} {:7} {figure:>12}", label(&kind), label(&stage));
        match last.map(|row| row.figures[number]) {
            None => println!(),
            Some(before) => {
                let change = (figure as f64 / before as f64 - 1.0) * 100.0;
                println!(" {before:>9} {change:>+6.1} %");
            }
        }
        figures[number] = figure;
    }
    Ok(figures)
}

/// How many instructions one line costs.
fn count(kind: Kind, stage: Stage) -> Result<u64, String> {
    let lines = ROUNDS * Talk::new(kind, LINES_PER_READ).lines as u64;
    let (once, twice) = (total(kind, stage, ROUNDS)?, total(kind, stage, 2 * ROUNDS)?);
    Ok((twice.saturating_sub(once) + lines / 2) / lines)
}

/// How many instructions so many rounds take, with the start and the set-up.
fn total(kind: Kind, stage: Stage, rounds: u64) -> Result<u64, String> {
    let program = env::current_exe().map_err(|error| error.to_string())?;
    let output = Command::new("valgrind")
        .args(["--quiet", "--tool=cachegrind", "--cache-sim=no", "--cachegrind-out-file=/dev/stdout"])
        .arg(program)
        .args(["work", label(&stage).as_str(), "--talk", label(&kind).as_str()])
        .args(["--rounds", &rounds.to_string()])
        .output();
    let output = match output {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err("valgrind is not installed, and nothing else here counts instructions".into());
        }
        output => output.map_err(|error| format!("valgrind: {error}"))?,
    };
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    let total = stdout.lines().find_map(|line| line.strip_prefix("summary:")?.trim().parse().ok());
    total.filter(|_| output.status.success()).ok_or_else(|| format!("valgrind, {}: {stderr}", output.status))
}

/// As it is written on the command line.
fn label(value: &impl ValueEnum) -> String {
    value.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}

/// The short hash and the date of the last commit, if nothing has been changed since.
fn clean_head() -> Result<(String, String), String> {
    if !git(&["status", "--porcelain"])?.is_empty() {
        return Err("not written: something has been changed since the last commit".into());
    }
    let head = git(&["show", "--no-patch", "--format=%h %cs", "HEAD"])?;
    let (commit, date) = head.trim().split_once(' ').ok_or("git: no commit")?;
    Ok((commit.to_owned(), date.to_owned()))
}

fn git(arguments: &[&str]) -> Result<String, String> {
    let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output();
    let output = output.map_err(|error| format!("git: {error}"))?;
    if !output.status.success() {
        return Err(format!("git: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn append(row: &Row) -> io::Result<()> {
    writeln!(OpenOptions::new().append(true).open(TABLE)?, "{row}")
}
