//! The two commands, and what a person or a script sees of them.

pub(crate) mod args;
pub(crate) mod chat;
mod machine;
pub(crate) mod serve;
mod signals;
mod tls;
mod units;

use std::fmt::Display;

/// One line on standard error, whatever has become of standard error.
fn complain(message: impl Display) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "seriatim: {message}");
}
