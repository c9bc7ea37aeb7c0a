//! The command `seriatim-bench`: how fast is it, and what does it cost?

#![forbid(unsafe_code)]

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
    /// Counts the instructions that a message costs, and compares them with the last row of docs/instructions.md.
    Instructions(instructions::Arguments),
    /// Does what `instructions` counts.
    #[command(hide = true)]
    Work(instructions::Work),
}

fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Instructions(arguments) => arguments.run(),
        Command::Work(work) => {
            work.run();
            ExitCode::SUCCESS
        }
    }
}
