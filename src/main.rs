//! The command `seriatim`: arguments, signals, logging. All else is in the library.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

use cli::args::{Command, ConfigCommand, Parsed};

fn main() -> ExitCode {
    let Parsed { command, settings, matches } = match cli::args::parse() {
        Ok(parsed) => parsed,
        Err(code) => return code,
    };
    match command {
        Command::Serve(options) => cli::serve::run(&options),
        Command::Chat(options) => cli::chat::run(&options),
        Command::Account(options) => cli::account::run(&options),
        Command::Config { command } => match command {
            ConfigCommand::Check(options) => cli::config::check(&options),
            ConfigCommand::Show(_) => cli::config::show(&cli::args::flags(), &matches, &settings),
            ConfigCommand::Default => cli::config::default(&cli::args::flags()),
        },
        Command::Ctl(options) => cli::ctl::run(&options),
        Command::Completions { shell } => cli::pages::completions(shell),
        Command::Man { folder } => cli::pages::man(folder.as_deref()),
    }
}
