//! TLS over TCP, by [rustls](https://docs.rs/rustls).
//!
//! rustls does no input and no output: a connection's session gets the records that were read from the socket, and says
//! which are to be written. Both halves of a connection share it. To whoever uses them they are halves like others:
//!
//! - what counts as written has been handed to the operating system, not to the session, so that an outbox that is behind
//!   and a client that takes nothing are noticed as they are without TLS. The session never holds more than
//!   `WRITE_BYTES_MAX` and a record's overhead;
//! - the handshake goes on whenever either half is polled, and what is written before it is done waits for its end;
//! - a clean close tells the client so (`close_notify`) behind all that was written; a reset does not;
//! - a client that closes TCP without a `close_notify`, as many do, has come to the end of its input if all that it said
//!   is whole lines. In mid-line the connection is broken: somebody on the way may have cut the line short.
//!
//! [`settings`]: certificates, keys, and how they are replaced; [`certificate`]: what a certificate says.

pub mod certificate;
pub mod settings;

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::{Mutex, OnceLock};
use std::task::{Context, Poll, Waker, ready};

use ::mio::net::TcpStream;
use rustls::{Error, ServerConnection};

use super::lock;
use super::readiness::Watched;

pub use settings::{TlsSettings, TlsSource};

/// The most that is encrypted at once, in bytes: two records.
const WRITE_BYTES_MAX: usize = 32 * 1024;

/// How often a read asks the socket, at most: rustls takes 4 KiB each time, and what a client sends need not contain a
/// byte of text.
const READS_MAX: usize = 32;

/// How a record of a handshake begins. Nothing else may come first.
const HANDSHAKE: u8 = 22;

/// A TCP connection with a TLS session on it.
pub(super) struct TlsStream {
    socket: TcpStream,
    session: Mutex<Session>,
    /// The name in the client's certificate, or that there is none, once the handshake is done.
    identity: OnceLock<Option<Box<str>>>,
}

struct Session {
    tls: ServerConnection,
    /// Records to be sent, of which as many bytes have been.
    outgoing: Vec<u8>,
    sent: usize,
    /// How many bytes of the text that is being written are among those records.
    owed: usize,
    /// Waits for the end of the handshake, to write.
    writer: Option<Waker>,
    ending: Ending,
    /// The first byte that came.
    first: Option<u8>,
    /// More may have been decrypted than the last read had room for; others have their turn before the next.
    more: bool,
    had_turn: bool,
    /// All that was read is whole lines.
    whole: bool,
    /// Why no more can be read, behind what can.
    failed: Option<io::Error>,
}

/// How far the end of what is sent is.
enum Ending {
    /// More may come.
    Open,
    /// Nothing more comes, and the client is to be told when it has all.
    Wanted,
    /// It is among the records to be sent.
    Announced,
    Done,
}

impl TlsStream {
    pub(super) fn new(socket: TcpStream, settings: &TlsSettings) -> io::Result<TlsStream> {
        let mut tls = ServerConnection::new(settings.current()).map_err(io::Error::other)?;
        tls.set_buffer_limit(Some(WRITE_BYTES_MAX));
        let session = Mutex::new(Session {
            tls,
            outgoing: Vec::new(),
            sent: 0,
            owed: 0,
            writer: None,
            ending: Ending::Open,
            first: None,
            more: false,
            had_turn: false,
            whole: true,
            failed: None,
        });
        Ok(TlsStream { socket, session, identity: OnceLock::new() })
    }

    pub(super) fn socket(&self) -> &TcpStream {
        &self.socket
    }

    pub(super) fn socket_mut(&mut self) -> &mut TcpStream {
        &mut self.socket
    }

    /// How many bytes it holds back.
    #[cfg(test)]
    fn held(&self) -> usize {
        let session = lock(&self.session);
        session.outgoing.len() - session.sent
    }

    pub(super) fn identity(&self) -> Option<&str> {
        self.identity.get()?.as_deref()
    }

    pub(super) fn poll_readable<T>(&self, watched: &Watched<T>, cx: &mut Context<'_>) -> Poll<()> {
        let mut session = lock(&self.session);
        // Answers to what was read, and the end, when nobody writes. A failure shows itself when reading.
        let _ = session.poll_send(watched, &self.socket, cx);
        if !session.more {
            return watched.poll_readable(cx);
        }
        if session.had_turn {
            session.had_turn = false;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        Poll::Ready(())
    }

    pub(super) fn try_read<T>(&self, watched: &Watched<T>, buffer: &mut [u8]) -> io::Result<usize> {
        let mut session = lock(&self.session);
        (session.more, session.had_turn) = (false, false);
        let (filled, end) = session.read(watched, &self.socket, buffer);
        if !session.tls.is_handshaking() {
            self.identity.get_or_init(|| session.peer_name());
            if let Some(writer) = session.writer.take() {
                writer.wake();
            }
        }
        if filled > 0 {
            session.whole = buffer[filled - 1] == b'\n';
            if let Err(error) = end
                && error.kind() != io::ErrorKind::WouldBlock
            {
                session.failed = Some(error);
                session.more = true;
            }
            return Ok(filled);
        }
        end.map(|()| 0).or_else(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => session.cut_off(),
            _ => Err(error),
        })
    }

    pub(super) fn poll_write<T>(
        &self,
        watched: &Watched<T>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut session = lock(&self.session);
        if session.tls.is_handshaking() {
            let _ = session.poll_send(watched, &self.socket, cx);
            return match session.tls.writer().write(bytes) {
                Ok(0) => {
                    session.writer = Some(cx.waker().clone());
                    Poll::Pending
                }
                result => Poll::Ready(result),
            };
        }
        loop {
            let sent = session.poll_send(watched, &self.socket, cx)?;
            let unsent = session.outgoing.len() - session.sent;
            // Encrypted, a text is no shorter than it was.
            let done = session.owed.saturating_sub(unsent);
            if done > 0 {
                session.owed -= done;
                return Poll::Ready(Ok(done.min(bytes.len())));
            }
            ready!(sent);
            session.owed = session.encrypt(&bytes[..bytes.len().min(WRITE_BYTES_MAX)])?;
        }
    }

    /// Tells the client that nothing more comes, behind what is still to be sent.
    pub(super) fn close<T>(&self, watched: &Watched<T>, cx: &mut Context<'_>) -> io::Result<()> {
        let mut session = lock(&self.session);
        if matches!(session.ending, Ending::Open) {
            session.ending = Ending::Wanted;
        }
        match session.poll_send(watched, &self.socket, cx) {
            Poll::Ready(result) => result,
            // All text is on its way. Whoever goes on reading sends the rest, and nobody else need wait for it.
            Poll::Pending => Ok(()),
        }
    }
}

impl Session {
    /// Sends what is to be sent, and the end, if its time has come.
    fn poll_send<T>(
        &mut self,
        watched: &Watched<T>,
        mut socket: &TcpStream,
        cx: &mut Context<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            while self.tls.wants_write() {
                self.tls.write_tls(&mut self.outgoing)?;
            }
            while self.sent < self.outgoing.len() {
                let rest = &self.outgoing[self.sent..];
                match ready!(watched.poll_write(cx, |_| socket.write(rest))) {
                    Ok(0) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                    Ok(length) => self.sent += length,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Poll::Ready(Err(error)),
                }
            }
            // Who is idle holds no buffer.
            (self.outgoing, self.sent) = (Vec::new(), 0);
            match self.ending {
                Ending::Wanted if !self.tls.is_handshaking() => {
                    self.tls.send_close_notify();
                    self.ending = Ending::Announced;
                }
                Ending::Announced => {
                    self.ending = Ending::Done;
                    return Poll::Ready(socket.shutdown(Shutdown::Write));
                }
                Ending::Open | Ending::Wanted | Ending::Done => return Poll::Ready(Ok(())),
            }
        }
    }

    /// Encrypts some of it, at least a byte, and says how much.
    fn encrypt(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // The first attempt may only find that the key has to be renewed.
        for _ in 0..2 {
            match self.tls.writer().write(bytes)? {
                0 => {}
                length => return Ok(length),
            }
        }
        Err(io::ErrorKind::WriteZero.into())
    }

    /// Fills the buffer as far as that is possible without waiting. Says how far, and why no further: `Ok` is the end that the
    /// client has announced.
    fn read<T>(
        &mut self,
        watched: &Watched<T>,
        socket: &TcpStream,
        buffer: &mut [u8],
    ) -> (usize, io::Result<()>) {
        let mut filled = 0;
        for _ in 0..READS_MAX {
            loop {
                if filled == buffer.len() {
                    (self.more, self.had_turn) = (true, true);
                    return (filled, Err(io::ErrorKind::WouldBlock.into()));
                }
                match self.tls.reader().read(&mut buffer[filled..]) {
                    Ok(0) => {
                        self.more = true;
                        return (filled, Ok(()));
                    }
                    Ok(length) => filled += length,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => return (filled, Err(error)),
                }
            }
            if let Some(error) = self.failed.take() {
                return (filled, Err(error));
            }
            let mut incoming = Incoming { watched, socket, first: &mut self.first };
            if let Err(error) = self.tls.read_tls(&mut incoming) {
                return (filled, Err(error));
            }
            if let Err(error) = self.tls.process_new_packets() {
                self.failed = Some(self.explain(&error));
                self.send_alert(socket);
            }
        }
        (self.more, self.had_turn) = (true, true);
        (filled, Err(io::ErrorKind::WouldBlock.into()))
    }

    /// What the log says of a client that speaks no TLS, or other than it should.
    fn explain(&self, error: &Error) -> io::Error {
        let why = match error {
            _ if self.first.is_some_and(|first| first != HANDSHAKE) => {
                "plain text, or something else that is not TLS, on a port for TLS".to_owned()
            }
            error if self.tls.is_handshaking() => format!("the TLS handshake failed: {error}"),
            error => format!("TLS: {error}"),
        };
        io::Error::new(io::ErrorKind::InvalidData, why)
    }

    /// Says why the connection is given up, if that is possible at once. To close a socket that holds unread bytes resets the
    /// connection, and then the client might not learn it: what is there is thrown away.
    fn send_alert(&mut self, mut socket: &TcpStream) {
        if self.sent == self.outgoing.len() {
            while self.tls.wants_write() && self.tls.write_tls(&mut socket).is_ok() {}
        }
        let mut rest = [0; 4096];
        for _ in 0..READS_MAX {
            if !matches!(socket.read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }

    /// The connection has ended without a word.
    fn cut_off(&self) -> io::Result<usize> {
        let why = match self.first {
            Some(_) if self.tls.is_handshaking() => "the client left in the middle of the TLS handshake",
            Some(_) if !self.whole => "cut off in the middle of a line",
            _ => return Ok(0),
        };
        Err(io::Error::new(io::ErrorKind::UnexpectedEof, why))
    }

    /// The name in the client's certificate, if it has shown one.
    fn peer_name(&self) -> Option<Box<str>> {
        let certificate = self.tls.peer_certificates()?.first()?;
        certificate::name(certificate).map(Into::into)
    }
}

/// What comes over the socket.
struct Incoming<'a, T> {
    watched: &'a Watched<T>,
    socket: &'a TcpStream,
    first: &'a mut Option<u8>,
}

impl<T> Read for Incoming<'_, T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        let is_all = |&length: &usize| cfg!(target_os = "linux") && length < room;
        let mut socket = self.socket;
        let length = self.watched.read(|_| socket.read(buffer), is_all)?;
        if length > 0 {
            self.first.get_or_insert(buffer[0]);
        }
        Ok(length)
    }
}

#[cfg(test)]
mod tests;
