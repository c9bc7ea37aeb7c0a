//! `seriatim chat`.

mod link;
mod peers;
mod piped;
mod screen;
mod show;
mod terminal;
mod trust;

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use seriatim::protocol::Name;

use self::link::{Lines, Link, Server};
use self::trust::Trust;
use super::args::ChatOptions;
use super::complain;

/// How long the server may take to answer to a name. It gives up after 10 s by default, and says so.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) fn run(options: &ChatOptions) -> ExitCode {
    let target = match Target::of(options) {
        Ok(target) => target,
        Err(why) => {
            complain(why);
            return ExitCode::from(2);
        }
    };
    let session = match log_in(&target) {
        Ok(session) => session,
        Err(why) => {
            complain(why);
            return ExitCode::FAILURE;
        }
    };
    if io::stdin().is_terminal() && io::stdout().is_terminal() {
        terminal::run(&target, session)
    } else {
        piped::run(session)
    }
}

/// Who wants to talk, and where.
#[derive(Clone)]
struct Target {
    name: Name,
    server: Server,
}

impl Target {
    /// What was asked for, or why that is not possible.
    fn of(options: &ChatOptions) -> Result<Target, String> {
        let target = &options.target;
        let server = if target.tls {
            Server::Tls(target.address.to_string(), Arc::new(Trust::load(&options.trust)?))
        } else if let Some(flag) = options.trust.any() {
            return Err(format!("{flag} is for TLS: write NAME@tls:{}", target.address));
        } else {
            Server::Plain(target.address.clone())
        };
        Ok(Target { name: target.name.clone(), server })
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
    let server = &target.server;
    let mut link = Link::connect(server).map_err(|error| format!("cannot connect to {server}: {error}"))?;
    let (lines, answer) =
        introduce(&mut link, target).map_err(|error| format!("cannot log in at {server}: {error}"))?;
    if !answer.starts_with("welcome ") {
        return Err(format!("cannot log in: {answer}"));
    }
    Ok(Session { link, lines, welcome: answer })
}

/// Sends the name and reads the answer.
fn introduce(link: &mut Link, target: &Target) -> io::Result<(Lines<Link>, String)> {
    link.set_read_timeout(Some(LOGIN_TIMEOUT))?;
    let sent = link.write_all(format!("{}\n", target.name).as_bytes());
    let mut lines = Lines::new(link.try_clone()?);
    // A server that takes nothing may have said why.
    let answer = match lines.next() {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            return Err(sent.err().unwrap_or_else(|| io::Error::other("the server closed the connection")));
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
            return Err(io::Error::other("the server does not answer"));
        }
        Err(error) => return Err(error),
    };
    link.set_read_timeout(None)?;
    Ok((lines, answer))
}
