//! The commands, and what a person or a script sees of them.

pub(crate) mod account;
mod accounts;
pub(crate) mod args;
pub(crate) mod chat;
pub(crate) mod config;
mod control;
pub(crate) mod ctl;
mod machine;
mod orders;
pub(crate) mod pages;
mod passed;
mod reload;
pub(crate) mod serve;
mod settings;
mod signals;
mod systemd;
mod tls;
mod units;
mod written;

use std::fmt::Display;
use std::process::ExitCode;

/// One line on standard error, whatever has become of standard error.
fn complain(message: impl Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "seriatim: {message}");
}

/// On standard output. As of any filter, whoever reads no further has enough.
fn print(text: impl AsRef<[u8]>) -> ExitCode {
    use std::io::Write;
    match std::io::stdout().write_all(text.as_ref()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            complain(format_args!("cannot write to standard output: {error}"));
            ExitCode::from(2)
        }
        _ => ExitCode::SUCCESS,
    }
}
