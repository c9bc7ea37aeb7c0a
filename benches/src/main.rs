//! The command `seriatim-bench`: how fast is it, and what does it cost?

#![forbid(unsafe_code)]

mod compare;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use seriatim_bench::cost::instructions;

/// How fast is it, and what does it cost?
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures brokers side by side
    Compare(compare::Arguments),
    /// Does a little of every workload to Seriatim, and fails on wrong results alone
    Check {
        /// The program to check
        #[arg(long, value_name = "FILE", default_value = "target/release/seriatim")]
        server: PathBuf,
    },
    /// Counts the instructions that a message costs, and compares them with the last row of docs/instructions.md
    Instructions(instructions::Arguments),
    /// Forwards, and does nothing else: the least that a broker must do
    #[command(hide = true)]
    Forward,
    /// Does what `instructions` counts.
    #[command(hide = true)]
    Work(instructions::Work),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Compare(arguments) => arguments.run(),
        Command::Check { server } => compare::check(&server),
        Command::Instructions(arguments) => return arguments.run(),
        Command::Forward => compare::forward().map_err(|error| error.to_string()),
        Command::Work(work) => {
            work.run();
            Ok(())
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("seriatim-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
