//! `seriatim chat`.

mod link;
mod peers;
mod piped;
mod screen;
mod show;
mod terminal;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use self::link::{Lines, Link};
use super::args::{ChatOptions, Target};
use super::complain;

/// How long the server may take to answer to a name. It gives up after 10 s by default, and says so.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) fn run(options: &ChatOptions) -> ExitCode {
    let target = &options.target;
    let session = match log_in(target) {
        Ok(session) => session,
        Err(why) => {
            complain(why);
            return ExitCode::FAILURE;
        }
    };
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        terminal::run(target, session)
    } else {
        piped::run(session)
    }
}

/// A session that the server has welcomed: the two directions of its connection.
struct Session {
    link: Link,
    lines: Lines<Link>,
    /// The server's first line.
    welcome: String,
}

/// Connects and logs in, or says why that is not possible.
fn log_in(target: &Target) -> Result<Session, String> {
    let address = &target.address;
    let mut link = Link::connect(address).map_err(|error| format!("cannot connect to {address}: {error}"))?;
    let (lines, answer) =
        introduce(&mut link, target).map_err(|error| format!("cannot log in at {address}: {error}"))?;
    if !answer.starts_with("welcome ") {
        return Err(format!("cannot log in: {answer}"));
    }
    Ok(Session { link, lines, welcome: answer })
}

/// Sends the name and reads the answer.
fn introduce(link: &mut Link, target: &Target) -> io::Result<(Lines<Link>, String)> {
    link.set_read_timeout(Some(LOGIN_TIMEOUT))?;
    link.write_all(format!("{}\n", target.name).as_bytes())?;
    let mut lines = Lines::new(link.try_clone()?);
    let answer = match lines.next() {
        Ok(Some(answer)) => answer,
        Ok(None) => return Err(io::Error::other("the server closed the connection")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Err(io::Error::other("the server does not answer"));
        }
        Err(error) => return Err(error),
    };
    link.set_read_timeout(None)?;
    Ok((lines, answer))
}
