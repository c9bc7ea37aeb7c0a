//! The command `seriatim`: arguments, signals, logging. All else is in the library.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments = match cli::args::parse() {
        Ok(arguments) => arguments,
        Err(code) => return code,
    };
    match arguments.command {
        cli::args::Command::Serve(options) => cli::serve::run(&options),
        cli::args::Command::Chat(options) => cli::chat::run(&options),
        cli::args::Command::Completions { shell } => cli::pages::completions(shell),
        cli::args::Command::Man { folder } => cli::pages::man(folder.as_deref()),
    }
}
