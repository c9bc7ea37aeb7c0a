//! The command `seriatim-bench`: how fast is it, and what does it cost, beside other brokers?

#![forbid(unsafe_code)]

mod broker;
mod client;
mod compare;
mod delivery;
mod dialect;
mod figure;
mod forward;
mod process;
mod record;
mod talk;
mod workload;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use broker::Broker;
use workload::WORKLOADS;

/// How fast is it, and what does it cost, beside other brokers?
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures brokers side by side
    Compare(Compare),
    /// Does a little of every workload to Seriatim, and fails on wrong results alone
    Check {
        /// The program to check
        #[arg(long, value_name = "FILE", default_value = "target/release/seriatim")]
        server: PathBuf,
    },
    /// Forwards, and does nothing else: the least that a broker must do
    #[command(hide = true)]
    Forward,
}

#[derive(Args)]
struct Compare {
    /// Programs to measure as Seriatim, the first for the others to be compared with
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
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Compare(options) => compare(&options),
        Command::Check { server } => check(&server),
        Command::Forward => forward::run().map_err(|error| error.to_string()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seriatim-bench: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Seriatim as often as it is given, the bare forwarder, and whatever else is installed.
fn brokers(options: &Compare) -> Result<Vec<Broker>, String> {
    let mut brokers: Vec<Broker> = Vec::new();
    for file in &options.servers {
        if !file.is_file() {
            return Err(format!("{} is not there: cargo build --release", file.display()));
        }
        let name =
            if options.servers.len() == 1 { "seriatim".to_owned() } else { file.display().to_string() };
        brokers.push(broker::seriatim(&name, file));
    }
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let (others, missing) = broker::others();
    for name in missing {
        eprintln!("{name} is not installed and not measured: benches/install-peers");
    }
    let asked =
        |name: &str| options.beside.is_empty() || options.beside.iter().any(|asked| name.starts_with(asked));
    brokers.extend([broker::forwarder(&own)].into_iter().chain(others).filter(|broker| asked(&broker.name)));
    Ok(brokers)
}

fn compare(options: &Compare) -> Result<(), String> {
    let brokers = brokers(options)?;
    let asked =
        |name: &str| options.only.is_empty() || options.only.iter().any(|asked| name.starts_with(asked));
    for workload in WORKLOADS.iter().filter(|workload| asked(workload.name)) {
        let amount = (workload.amount * options.amount / 100).max(1);
        let outcome = compare::compare(workload, &brokers, options.runs, amount, |what| eprintln!("{what}"))?;
        println!("{}", outcome.table());
    }
    Ok(())
}

fn check(server: &std::path::Path) -> Result<(), String> {
    let brokers = [broker::seriatim("seriatim", server)];
    for workload in &WORKLOADS {
        let amount = (workload.amount / 50).max(100);
        compare::compare(workload, &brokers, 1, amount, |_| ())?;
        println!("{}: nothing lost, double, out of order or changed", workload.name);
    }
    Ok(())
}
