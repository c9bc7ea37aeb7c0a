//! Sockets that the service manager has opened and passes on, as systemd's sd_listen_fds(3) says.
//!
//! So it can open ports that the server itself may not, and hold whoever connects while the server is started again.

use std::os::fd::AsFd;
use std::{env, process};

use listenfd::ListenFd;
use rustix::net::sockopt;
use seriatim::server::smol::sockets::SmolListener;

/// More than anybody passes; a number that is larger is a mistake.
const COUNT_MAX: usize = 1024;

/// Where the passed files begin.
const FIRST_FILE: usize = 3;

/// The name of a passed socket that clients are to speak TLS to.
const TLS: &str = "tls";

/// A listening socket that was passed.
pub(crate) struct Passed {
    socket: Socket,
    /// It has the name [`TLS`].
    pub(crate) is_tls: bool,
}

enum Socket {
    Tcp(std::net::TcpListener),
    Unix(std::os::unix::net::UnixListener),
}

impl Passed {
    /// All that were passed to this process, none if the environment speaks of none. To be called before anything else is
    /// opened or a thread is started: it takes the files by their numbers, and removes what announced them.
    pub(crate) fn all() -> Result<Vec<Passed>, String> {
        let variable = |name: &str| env::var_os(name).map(|value| value.to_string_lossy().into_owned());
        let announced = Announced::read(variable)?;
        let mut files = ListenFd::from_env();
        (0..announced.count).map(|index| take(&mut files, index, &announced)).collect()
    }

    /// Serves it.
    pub(crate) fn listen(self) -> Result<SmolListener, String> {
        let listener = match self.socket {
            Socket::Tcp(listener) => SmolListener::from_tcp(listener),
            Socket::Unix(listener) => SmolListener::from_unix(listener),
        };
        listener.map_err(|error| format!("cannot listen on a socket that was passed: {error}"))
    }
}

/// Takes one of them, if it listens.
fn take(files: &mut ListenFd, index: usize, announced: &Announced) -> Result<Passed, String> {
    let socket = match files.take_tcp_listener(index) {
        Ok(Some(listener)) if listens(&listener) => Some(Socket::Tcp(listener)),
        Ok(_) => None,
        Err(_) => match files.take_unix_listener(index) {
            Ok(Some(listener)) if listens(&listener) => Some(Socket::Unix(listener)),
            _ => None,
        },
    };
    let name = announced.names.get(index);
    let is_tls = name.is_some_and(|name| name == TLS);
    let file = FIRST_FILE + index;
    if is_tls && matches!(socket, Some(Socket::Unix(_))) {
        return Err(format!(
            "file {file} ({TLS}) of LISTEN_FDS={} is a unix socket, which needs no TLS",
            announced.count
        ));
    }
    let passed = socket.map(|socket| Passed { socket, is_tls });
    passed.ok_or_else(|| {
        let name = name.map(|name| format!(" ({name})")).unwrap_or_default();
        format!(
            "file {file}{name} of LISTEN_FDS={} is no listening TCP or unix stream socket: its unit needs \
             ListenStream= and Accept=no",
            announced.count
        )
    })
}

/// A connection is a stream socket as well. Where the operating system does not say, accepting fails.
fn listens(socket: impl AsFd) -> bool {
    sockopt::socket_acceptconn(socket).unwrap_or(true)
}

/// What the environment says of passed files.
#[derive(Debug, PartialEq, Eq)]
struct Announced {
    count: usize,
    /// What their units call them, if anybody says.
    names: Vec<String>,
}

impl Announced {
    fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Announced, String> {
        let none = Announced { count: 0, names: Vec::new() };
        let Some(count) = variable("LISTEN_FDS") else { return Ok(none) };
        if let Some(pid) = variable("LISTEN_PID") {
            let pid: u32 = pid.parse().map_err(|_| format!("LISTEN_PID={pid} is no process: unset it"))?;
            if pid != process::id() {
                return Ok(none); // inherited from one to whom they were passed
            }
        }
        let Ok(files @ 0..=COUNT_MAX) = count.parse() else {
            return Err(format!("LISTEN_FDS={count} is no number from 0 to {COUNT_MAX}: unset it"));
        };
        let names: Vec<String> = match variable("LISTEN_FDNAMES") {
            Some(names) => names.split(':').map(str::to_owned).collect(),
            None => Vec::new(),
        };
        if !names.is_empty() && names.len() != files {
            return Err(format!("LISTEN_FDNAMES={} does not name {files} files: unset it", names.join(":")));
        }
        Ok(Announced { count: files, names })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Announced, String> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        Announced::read(|name| find(name).map(|(_, value)| (*value).to_owned()))
    }

    #[test]
    fn what_is_announced_is_for_one_process() {
        let own = process::id().to_string();
        let count = |variables: &[(&str, &str)]| read(variables).unwrap().count;
        assert_eq!(count(&[]), 0);
        assert_eq!(count(&[("LISTEN_FDS", "2")]), 2);
        assert_eq!(count(&[("LISTEN_FDS", "2"), ("LISTEN_PID", &own)]), 2);
        assert_eq!(count(&[("LISTEN_FDS", "2"), ("LISTEN_PID", "1")]), 0, "another's");
        assert_eq!(count(&[("LISTEN_FDS", "x"), ("LISTEN_PID", "1")]), 0, "another's mistake");
        let named = read(&[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a:b.socket")]).unwrap();
        assert_eq!(named.names, ["a", "b.socket"]);
    }

    #[test]
    fn nonsense_is_named() {
        for (variables, culprit) in [
            (&[("LISTEN_FDS", "abc")][..], "LISTEN_FDS=abc is no number"),
            (&[("LISTEN_FDS", "-1")], "LISTEN_FDS=-1 is no number"),
            (&[("LISTEN_FDS", "1025")], "LISTEN_FDS=1025 is no number"),
            (&[("LISTEN_FDS", "1"), ("LISTEN_PID", "me")], "LISTEN_PID=me is no process"),
            (&[("LISTEN_FDS", "2"), ("LISTEN_FDNAMES", "a")], "LISTEN_FDNAMES=a does not name 2 files"),
        ] {
            let error = read(variables).unwrap_err();
            assert!(error.starts_with(culprit), "{error}");
        }
    }
}
