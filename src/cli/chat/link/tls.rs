//! [`TlsLink`]: a connection behind TLS that one thread reads from while another writes.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustls::ClientConnection;

use super::super::trust::Trust;

/// How long the server may leave the handshake where it is. It gives up after 10 s by default, and says so.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(15);

/// A connection behind TLS. A clone is the same connection. Both directions share a session, and whoever waits for the socket
/// does so without it: reading never holds up writing.
#[derive(Clone)]
pub(in super::super) struct TlsLink(Arc<Shared>);

struct Shared {
    /// It never blocks.
    socket: TcpStream,
    session: Mutex<ClientConnection>,
    trust: Arc<Trust>,
    timeouts: Mutex<Timeouts>,
}

#[derive(Clone, Copy)]
struct Timeouts {
    read: Option<Duration>,
    write: Option<Duration>,
}

impl TlsLink {
    /// Shakes hands with the server at HOST:PORT.
    pub(super) fn start(socket: TcpStream, address: &str, trust: Arc<Trust>) -> io::Result<TlsLink> {
        socket.set_nonblocking(true)?;
        let session = Mutex::new(trust.session(address).map_err(io::Error::other)?);
        let timeouts = Mutex::new(Timeouts { read: None, write: None });
        let link = TlsLink(Arc::new(Shared { socket, session, trust, timeouts }));
        while link.session().is_handshaking() {
            link.advance(Some(HANDSHAKE_TIMEOUT)).map_err(|error| match error.kind() {
                io::ErrorKind::TimedOut => {
                    io::Error::other("the server does not answer: does it speak TLS on this port?")
                }
                _ => error,
            })?;
        }
        link.flush()?;
        Ok(link)
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) {
        self.timeouts().read = timeout;
    }

    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) {
        self.timeouts().write = timeout;
    }

    pub(super) fn read(&self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            // In a statement of its own: the session is not held while this waits.
            let read = self.session().reader().read(buffer);
            match read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    return Err(io::Error::new(error.kind(), "it was cut off before the server closed it"));
                }
                result => return result,
            }
            let timeout = self.timeouts().read;
            self.advance(timeout)?;
        }
    }

    pub(super) fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            // What is on its way goes first, so that there is room.
            self.flush()?;
            let length = self.session().writer().write(bytes)?;
            if length > 0 || bytes.is_empty() {
                self.flush()?;
                return Ok(length);
            }
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        if how != Shutdown::Both {
            self.session().send_close_notify();
            self.flush()?;
        }
        self.0.socket.shutdown(how)
    }

    /// Sends all that is to be sent.
    fn flush(&self) -> io::Result<()> {
        let timeout = self.timeouts().write;
        loop {
            let is_waiting = self.send(&mut self.session())?;
            if !is_waiting {
                return Ok(());
            }
            self.wait(PollFlags::OUT, timeout)?;
        }
    }

    /// Processes what comes next, or waits until something comes.
    fn advance(&self, timeout: Option<Duration>) -> io::Result<()> {
        let flags = {
            let mut session = self.session();
            // What the server said last shows why it takes no more.
            let is_waiting = self.send(&mut session).unwrap_or(false);
            match session.read_tls(&mut &self.0.socket) {
                Ok(0) if session.is_handshaking() => {
                    let why = "the server closed the connection in the middle of the TLS handshake";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, why));
                }
                Ok(_) => return self.process(&mut session),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                Err(_) if is_waiting => PollFlags::IN | PollFlags::OUT,
                Err(_) => PollFlags::IN,
            }
        };
        self.wait(flags, timeout)
    }

    fn process(&self, session: &mut ClientConnection) -> io::Result<()> {
        let is_handshaking = session.is_handshaking();
        let Err(error) = session.process_new_packets() else { return Ok(()) };
        // The server gets to know why, if that is possible at once.
        let _ = self.send(session);
        let why = self.0.trust.explain(&error, is_handshaking);
        Err(io::Error::new(io::ErrorKind::InvalidData, why))
    }

    /// Sends as much as is possible without waiting, and says whether anything is left.
    fn send(&self, session: &mut ClientConnection) -> io::Result<bool> {
        while session.wants_write() {
            match session.write_tls(&mut &self.0.socket) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// Waits for the socket.
    fn wait(&self, flags: PollFlags, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        loop {
            match poll(&mut [PollFd::new(&self.0.socket, flags)], timeout.as_ref()) {
                Ok(0) => return Err(io::ErrorKind::TimedOut.into()),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn session(&self) -> MutexGuard<'_, ClientConnection> {
        self.0.session.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn timeouts(&self) -> MutexGuard<'_, Timeouts> {
        self.0.timeouts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
