//! Brokers side by side, under the same load.
//!
//! - [`dialect`]: how one says the same things to different brokers;
//! - [`record`]: a message as it stands on the wire;
//! - [`delivery`]: checks what arrives;
//! - [`client`]: connects and logs in;
//! - [`talk`]: clients who talk, driven by one thread;
//! - [`broker`]: what is measured, and how it is started;
//! - [`forward`]: the least that a broker must do;
//! - [`process`] and [`figure`]: what is measured;
//! - [`workload`]: what is done to a broker;
//! - [`outcome`]: what has come out, as a table; [`aim`]: whether it is what was wanted; [`page`]: all of it.

mod aim;
mod broker;
mod client;
mod delivery;
mod dialect;
mod figure;
mod forward;
mod outcome;
mod page;
mod process;
mod record;
mod talk;
mod workload;

use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;

use broker::Broker;
use workload::{WORKLOADS, Workload};

pub(crate) use forward::run as forward;

/// What to measure.
#[derive(Args)]
pub(crate) struct Arguments {
    /// Programs to measure as Seriatim, the first for the others to be compared with; NAME=FILE says what one is called
    #[arg(long = "server", value_name = "FILE", default_value = "target/release/seriatim")]
    servers: Vec<PathBuf>,
    /// Only workloads whose names begin so
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Only other brokers whose names begin so; `none` for none
    #[arg(long, value_name = "NAME")]
    beside: Vec<String>,
    /// How often each is run
    #[arg(long, value_name = "N", default_value_t = 5)]
    runs: usize,
    /// How much of each workload, in per cent
    #[arg(long, value_name = "PERCENT", default_value_t = 100)]
    amount: u64,
    /// Put what comes out into docs/speed.md, after each workload, so that nothing is lost if it ends early
    #[arg(long, conflicts_with_all = ["only", "beside", "amount"])]
    write: bool,
}

impl Arguments {
    /// Measures, and prints a table for each workload.
    ///
    /// # Errors
    /// A program is not there, or a broker does not do what it must.
    pub(crate) fn run(&self) -> Result<(), String> {
        let brokers = self.brokers()?;
        let workloads: Vec<&Workload> =
            WORKLOADS.iter().filter(|workload| is_asked(&self.only, workload.name)).collect();
        let mut outcomes = Vec::new();
        for (number, workload) in workloads.iter().enumerate() {
            let amount = (workload.amount * self.amount / 100).max(1);
            let begin = Instant::now();
            outcomes
                .push(outcome::compare(workload, &brokers, self.runs, amount, |what| eprintln!("{what}"))?);
            eprintln!("{}: {} s", workload.name, begin.elapsed().as_secs());
            if self.write {
                page::write(&page::text(&outcomes, &workloads[number + 1..], self.runs))?;
            }
        }
        println!("{}", page::text(&outcomes, &[], self.runs));
        Ok(())
    }

    /// Seriatim as often as it is given, the bare forwarder, and whatever else is installed.
    fn brokers(&self) -> Result<Vec<Broker>, String> {
        let mut brokers = Vec::new();
        for file in &self.servers {
            let written = file.to_string_lossy();
            brokers.push(match written.split_once('=') {
                Some((name, file)) => seriatim(name, Path::new(file))?,
                None if self.servers.len() == 1 => seriatim("seriatim", file)?,
                None => seriatim(&written, file)?,
            });
        }
        let two_threads = brokers.first().map(broker::two_threads);
        let own = std::env::current_exe().map_err(|error| error.to_string())?;
        let (others, missing) = broker::others();
        for name in missing {
            eprintln!("{name} is not installed and not measured: benches/install-peers");
        }
        let others = two_threads.into_iter().chain([broker::forwarder(&own)]).chain(others);
        brokers.extend(others.filter(|broker| is_asked(&self.beside, &broker.name)));
        Ok(brokers)
    }
}

fn is_asked(asked: &[String], name: &str) -> bool {
    asked.is_empty() || asked.iter().any(|asked| name.starts_with(asked))
}

fn seriatim(name: &str, file: &Path) -> Result<Broker, String> {
    if !file.is_file() {
        return Err(format!("{} is not there: cargo build --release", file.display()));
    }
    Ok(broker::seriatim(name, file))
}

/// Does a little of every workload to Seriatim, the program `server`. No figure matters.
///
/// # Errors
/// A message is lost, double, out of order or changed.
pub(crate) fn check(server: &Path) -> Result<(), String> {
    let brokers = [seriatim("seriatim", server)?];
    for workload in &WORKLOADS {
        outcome::compare(workload, &brokers, 1, workload.little(), |_| ())?;
        println!("{}: nothing lost, double, out of order or changed", workload.name);
    }
    Ok(())
}
