//! What the service manager is told: that the server listens, that it is alive, that it stops. Whoever started the server
//! without one is told nothing.
//!
//! The protocol is systemd's sd_notify(3): each message is one datagram of lines `KEY=VALUE`, sent to the socket that
//! NOTIFY_SOCKET names. An abstract name begins with `@`.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use std::time::Duration;
use std::{env, process};

use rustix::time::{ClockId, clock_gettime};
use seriatim::server::runtime::Runtime;
use seriatim::server::smol::Smol;

/// What the server takes for itself when it stops, beyond what draining may take.
const STOP_MARGIN: Duration = Duration::from_secs(5);

/// Whoever started the server, if it wants to know how it is.
#[derive(Clone)]
pub(crate) struct Manager {
    socket: Option<Arc<UnixDatagram>>,
    /// If it hears nothing for so long, it starts the server anew.
    watchdog: Option<Duration>,
}

impl Manager {
    /// Whom the environment names.
    pub(crate) fn from_env() -> Result<Manager, String> {
        Manager::read(|name| env::var_os(name))
    }

    fn read(variable: impl Fn(&str) -> Option<OsString>) -> Result<Manager, String> {
        let Some(name) = variable("NOTIFY_SOCKET").filter(|name| !name.is_empty()) else {
            return Ok(Manager { socket: None, watchdog: None });
        };
        let socket = connect(&name).map_err(|error| {
            format!("cannot reach the service manager at NOTIFY_SOCKET={}: {error}", name.display())
        })?;
        let text = |name| variable(name).map(|value| value.to_string_lossy().into_owned());
        let is_other = |pid: String| pid.parse() != Ok(process::id());
        let watchdog = match text("WATCHDOG_USEC") {
            Some(_) if text("WATCHDOG_PID").is_some_and(is_other) => None,
            Some(span) => match span.parse() {
                Ok(micros @ 1..) => Some(Duration::from_micros(micros)),
                _ => return Err(format!("WATCHDOG_USEC={span} is no number of microseconds: unset it")),
            },
            None => None,
        };
        Ok(Manager { socket: Some(Arc::new(socket)), watchdog })
    }

    /// Whether there is one.
    pub(crate) fn is_there(&self) -> bool {
        self.socket.is_some()
    }

    /// Tells it that the server is ready, and from then on that it is alive, twice as often as it wants to hear that. A task
    /// among those that serve: if they hang, it hangs with them, and the server is started anew.
    pub(crate) fn attend(&self, runtime: &Smol, status: &str) {
        let Some(socket) = self.socket.clone() else { return };
        let (manager, clock) = (self.clone(), runtime.clone());
        let ready = format!("READY=1\nSTATUS={status}");
        runtime.spawn(async move {
            manager.tell(&ready);
            // Nobody must wait for a manager that does not listen. What it must not miss, it has.
            let _ = socket.set_nonblocking(true);
            let Some(span) = manager.watchdog else { return };
            let span_ms = u64::try_from(span.as_millis() / 2).unwrap_or(u64::MAX).max(1);
            loop {
                clock.sleep_until(clock.now().plus(span_ms)).await;
                manager.tell("WATCHDOG=1");
            }
        });
    }

    /// Tells it that the server begins to read its configuration anew.
    pub(crate) fn reloading(&self) {
        self.tell(&reloading());
    }

    /// Tells it that this is over.
    pub(crate) fn reloaded(&self) {
        self.tell("READY=1");
    }

    /// Tells it that the server has stopped accepting, and how long it may take from now on.
    pub(crate) fn stopping(&self, drain_ms_max: u64) {
        let span = Duration::from_millis(drain_ms_max).saturating_add(STOP_MARGIN);
        self.tell(&format!(
            "STOPPING=1\nSTATUS=stopping: flushing what was accepted\nEXTEND_TIMEOUT_USEC={}",
            span.as_micros()
        ));
    }

    /// What cannot be said is not said: the server serves without.
    fn tell(&self, message: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(message.as_bytes());
        }
    }
}

/// Reloading begins now, by the clock that the manager compares with.
fn reloading() -> String {
    let now = clock_gettime(ClockId::Monotonic);
    let micros = i128::from(now.tv_sec) * 1_000_000 + i128::from(now.tv_nsec) / 1000;
    format!("RELOADING=1\nMONOTONIC_USEC={micros}")
}

fn connect(name: &OsStr) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    match name.as_bytes() {
        #[cfg(target_os = "linux")]
        [b'@', name @ ..] => {
            use std::os::linux::net::SocketAddrExt;
            use std::os::unix::net::SocketAddr;
            socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
        }
        [b'/', ..] => socket.connect(name)?,
        _ => return Err(io::Error::new(io::ErrorKind::InvalidInput, "a path or an abstract name is needed")),
    }
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use seriatim::server::smol::run;

    use super::*;

    fn read(variables: &[(&str, &str)]) -> Result<Manager, String> {
        let find = |name: &str| variables.iter().find(|(key, _)| *key == name);
        Manager::read(|name| find(name).map(|(_, value)| value.into()))
    }

    #[test]
    fn the_watchdog_is_for_one_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let _socket = UnixDatagram::bind(&path).unwrap();
        let path = path.to_str().unwrap();
        let own = process::id().to_string();
        let watchdog = |variables: &[(&str, &str)]| {
            read(&[&[("NOTIFY_SOCKET", path)], variables].concat()).unwrap().watchdog
        };
        let span = Some(Duration::from_secs(3));
        assert_eq!(watchdog(&[]), None);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000")]), span);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", &own)]), span);
        assert_eq!(watchdog(&[("WATCHDOG_USEC", "3000000"), ("WATCHDOG_PID", "1")]), None);
        let error = read(&[("NOTIFY_SOCKET", path), ("WATCHDOG_USEC", "0")]).err().unwrap();
        assert!(error.starts_with("WATCHDOG_USEC=0 is no number"), "{error}");
    }

    #[test]
    fn without_a_manager_nothing_is_said() {
        for variables in [&[][..], &[("NOTIFY_SOCKET", "")], &[("WATCHDOG_USEC", "1")]] {
            let manager = read(variables).unwrap();
            assert!(manager.socket.is_none() && manager.watchdog.is_none());
            manager.stopping(0);
        }
    }

    #[test]
    fn a_manager_that_cannot_be_reached_is_named() {
        for name in ["/nowhere/notify", "@nobody listens here", "vsock:2:1"] {
            let error = read(&[("NOTIFY_SOCKET", name)]).err().unwrap();
            let beginning = format!("cannot reach the service manager at NOTIFY_SOCKET={name}: ");
            assert!(error.starts_with(&beginning), "{error}");
        }
    }

    #[test]
    fn the_watchdog_hears_nothing_of_a_server_that_hangs() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("notify");
        let socket = UnixDatagram::bind(&path).unwrap();
        let manager = read(&[("NOTIFY_SOCKET", path.to_str().unwrap()), ("WATCHDOG_USEC", "2000")]).unwrap();
        let told = |socket: &UnixDatagram, message: &mut [u8; 64]| {
            socket.recv(message).map(|length| message[..length].to_vec())
        };
        run(NonZeroUsize::MIN, |runtime| async move {
            manager.attend(&runtime, "here");
            socket.set_nonblocking(true).unwrap();
            for expected in ["READY=1\nSTATUS=here", "WATCHDOG=1"] {
                let message = loop {
                    match told(&socket, &mut [0; 64]) {
                        Ok(message) => break message,
                        Err(_) => smol::future::yield_now().await,
                    }
                };
                assert_eq!(message, expected.as_bytes());
            }
            while told(&socket, &mut [0; 64]).is_ok() {}
            // As long as this waits, nobody else on this thread has a turn: were there another thread, it would be heard.
            socket.set_nonblocking(false).unwrap();
            socket.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
            assert!(told(&socket, &mut [0; 64]).is_err(), "it hangs, and says that it is alive");
        });
    }

    #[test]
    fn reloading_begins_now_by_the_clock_that_never_stops() {
        let micros = |message: String| {
            message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().parse::<u64>().unwrap()
        };
        let first = micros(reloading());
        assert!(first > 0 && micros(reloading()) >= first);
    }
}
