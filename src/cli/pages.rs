//! What a package is made of besides the program: manual pages and completions, both from the command line as it is.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap::{Command, CommandFactory};
use clap_complete::Shell;
use clap_mangen::Man;

use super::args::Arguments;
use super::{complain, print};

/// The day on which a command or a flag last changed.
const DATE: &str = "2026-11-26";

/// `seriatim completions`: to standard output.
pub(crate) fn completions(shell: Shell) -> ExitCode {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "seriatim", &mut script);
    print(script)
}

/// `seriatim man`: the page of the program to standard output, or one page for each command to a folder.
pub(crate) fn man(folder: Option<&Path>) -> ExitCode {
    // Of `help`, there is nothing to say that the others do not.
    let mut program = Arguments::command().disable_help_subcommand(true);
    program.build();
    let Some(folder) = folder else {
        let mut text = Vec::new();
        return match page(&program).render(&mut text) {
            Ok(()) => print(text),
            Err(error) => fail(&error.to_string()),
        };
    };
    match write(&program, folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("cannot write manual pages to {}: {error}", folder.display())),
    }
}

/// A page for this command, and for each that it has.
fn write(command: &Command, folder: &Path) -> io::Result<()> {
    page(command).generate_to(folder)?;
    command.get_subcommands().try_for_each(|command| write(command, folder))
}

fn page(command: &Command) -> Man {
    let source = concat!("seriatim ", env!("CARGO_PKG_VERSION"));
    Man::new(command.clone()).date(DATE).source(source).manual("Seriatim")
}

fn fail(message: &str) -> ExitCode {
    complain(message);
    ExitCode::from(2)
}
