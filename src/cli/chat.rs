//! `seriatim chat`.

mod link;
mod peers;
mod piped;
mod screen;
mod show;
mod terminal;
mod trust;

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal, Write};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use seriatim::protocol::{Name, Password};
use zeroize::Zeroizing;

use self::link::{Lines, Link, Server};
use self::trust::Trust;
use super::args::ChatOptions;
use super::{account, complain};

/// How long the server may take to answer to a name. It gives up after 10 s by default, and says so.
const LOGIN_TIMEOUT: Duration = Duration::from_secs(15);

/// How often a password is asked for.
const PASSWORDS_MAX: usize = 3;

pub(crate) fn run(options: &ChatOptions) -> ExitCode {
    let mut target = match Target::of(options) {
        Ok(target) => target,
        Err(why) => {
            complain(why);
            return ExitCode::from(2);
        }
    };
    let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
    let session = if is_terminal { log_in_asking(&mut target) } else { log_in(&target) };
    let session = match session {
        Ok(session) => session,
        Err(why) => {
            complain(why);
            return ExitCode::FAILURE;
        }
    };
    if is_terminal { terminal::run(&target, session) } else { piped::run(session) }
}

/// Logs in, and asks for the password if there must be one.
fn log_in_asking(target: &mut Target) -> Result<Session, NoSession> {
    let mut result = log_in(target);
    for _ in 0..PASSWORDS_MAX {
        let Err(NoSession::NeedsPassword(why)) = &result else { break };
        if target.password.is_some() {
            complain(why);
        }
        let asked = account::prompt(&format!("password for {}: ", target.name));
        target.password = Some(asked.map_err(NoSession::Other)?);
        result = log_in(target);
    }
    result
}

/// Who wants to talk, and where.
#[derive(Clone)]
struct Target {
    name: Name,
    password: Option<Password>,
    /// It may be sent where others can listen.
    clear_password: bool,
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
        let password = options.password_file.as_deref().map(read_password).transpose()?;
        let clear_password = options.allow_clear_passwords;
        Ok(Target { name: target.name.clone(), password, clear_password, server })
    }
}

/// A session that the server has welcomed: the two directions of its connection.
struct Session {
    link: Link,
    lines: Lines<Link>,
    /// The server's first line.
    welcome: String,
}

/// The first line of a file.
fn read_password(path: &Path) -> Result<Password, String> {
    let cannot = |error| format!("cannot read the password in {}: {error}", path.display());
    let mut line = String::new();
    BufReader::new(File::open(path).map_err(cannot)?).read_line(&mut line).map_err(cannot)?;
    Ok(Password::from(line.trim_end_matches(['\n', '\r']).to_owned()))
}

/// Why there is no session.
enum NoSession {
    /// The name is reserved, and the password is missing or wrong.
    NeedsPassword(String),
    Other(String),
}

impl fmt::Display for NoSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (NoSession::NeedsPassword(why) | NoSession::Other(why)) = self;
        f.write_str(why)
    }
}

/// Connects and logs in, or says why that is not possible.
fn log_in(target: &Target) -> Result<Session, NoSession> {
    let server = &target.server;
    let other = |what: &str, error| NoSession::Other(format!("cannot {what} {server}: {error}"));
    let mut link = Link::connect(server).map_err(|error| other("connect to", error))?;
    if target.password.is_some() && !target.clear_password && !link.is_private() {
        let hint = "whoever can listen would know the password: use tls:, or --allow-clear-passwords";
        return Err(other("log in at", io::Error::other(hint)));
    }
    let (lines, answer) = introduce(&mut link, target).map_err(|error| other("log in at", error))?;
    if answer.starts_with("welcome ") {
        return Ok(Session { link, lines, welcome: answer });
    }
    let why = format!("cannot log in: {answer}");
    let needs_password = ["error name-reserved:", "error wrong-password:", "error account-required:"];
    Err(if needs_password.iter().any(|error| answer.starts_with(error)) {
        NoSession::NeedsPassword(why)
    } else {
        NoSession::Other(why)
    })
}

/// The line that says who it is. It is wiped when it goes.
fn login_line(target: &Target) -> Zeroizing<Vec<u8>> {
    let mut line = Zeroizing::new(target.name.as_str().as_bytes().to_vec());
    if let Some(password) = &target.password {
        line.push(b' ');
        line.extend_from_slice(password.as_str().as_bytes());
    }
    line.push(b'\n');
    line
}

/// Sends the name and reads the answer.
fn introduce(link: &mut Link, target: &Target) -> io::Result<(Lines<Link>, String)> {
    link.set_read_timeout(Some(LOGIN_TIMEOUT))?;
    let sent = link.write_all(&login_line(target));
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
