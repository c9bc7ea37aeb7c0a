//! TLS over TCP, by [futures-rustls](https://docs.rs/futures-rustls).
//!
//! - The first read or write shakes hands. So the handshake belongs to the connection's task, counts towards the login
//!   deadline, and delays nobody else; what is to be written waits for its end.
//! - A clean close sends `close_notify` after everything written; a reset does not.
//! - Many clients close TCP without a `close_notify`. That is the end of their input if they have sent whole lines only. In the
//!   middle of a line the connection is broken: somebody on the way may have cut the line short.
//!
//! [`settings`]: certificates, keys, and how they are replaced; [`certificate`]: what a certificate says.

pub mod certificate;
pub mod settings;

use std::io::{self, Read};
use std::net::TcpStream;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::future::FutureExt;
use futures::io::{AsyncRead, AsyncWrite};
use futures_rustls::rustls::{Error, InvalidMessage, ServerConnection};
use futures_rustls::{FallibleAccept, TlsAcceptor, server};

use super::sockets::Connection;

pub use settings::{TlsSettings, TlsSource};

/// The most that is encrypted and not yet with the operating system, in bytes: one record.
const WRITE_BYTES_MAX: usize = 16 * 1024;

/// How often the socket is read without a pause, at most. A session reads until it has text, and what a client sends need not
/// contain a byte of it.
const READS_MAX: u32 = 32;

/// How many bytes of a connection that is given up are read and dropped, at most.
const DROPPED_BYTES_MAX: usize = 128 * 1024;

/// A TCP connection with a TLS session on it.
pub struct TlsStream {
    state: State,
    /// Everything that was read is whole lines.
    whole: bool,
    /// The name in the client's certificate.
    identity: Option<Box<str>>,
}

enum State {
    Handshake(FallibleAccept<Heard>),
    Open(server::TlsStream<Heard>),
    /// The handshake failed, and was reported once.
    Failed(Heard),
}

impl TlsStream {
    pub(super) fn new(socket: Connection<TcpStream>, settings: &TlsSettings) -> TlsStream {
        let limit = |session: &mut ServerConnection| session.set_buffer_limit(Some(WRITE_BYTES_MAX));
        let heard = Heard { socket, any: false, reads: 0 };
        let accept = TlsAcceptor::from(settings.current()).accept_with(heard, limit);
        TlsStream { state: State::Handshake(accept.into_fallible()), whole: true, identity: None }
    }

    pub(super) fn tcp(&self) -> Option<&TcpStream> {
        match &self.state {
            State::Open(stream) => Some(stream.get_ref().0.socket.socket()),
            State::Failed(heard) => Some(heard.socket.socket()),
            // Given up in the middle of its handshake, a connection ends as well as it breaks.
            State::Handshake(_) => None,
        }
    }

    pub(super) fn identity(&self) -> Option<&str> {
        self.identity.as_deref()
    }

    /// Whether the handshake has failed before a byte came.
    fn is_silent(&self) -> bool {
        matches!(&self.state, State::Failed(heard) if !heard.any)
    }

    /// Shakes hands, if that is not done yet.
    fn poll_open(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Pin<&mut server::TlsStream<Heard>>>> {
        if let State::Handshake(accept) = &mut self.state {
            match ready!(accept.poll_unpin(cx)) {
                Ok(stream) => {
                    self.identity = peer_name(stream.get_ref().1);
                    self.state = State::Open(stream);
                }
                Err((error, heard)) => {
                    let why = explain(error, heard.any);
                    heard.drop_unread();
                    self.state = State::Failed(heard);
                    return Poll::Ready(Err(why));
                }
            }
        }
        Poll::Ready(match &mut self.state {
            State::Open(stream) => Ok(Pin::new(stream)),
            State::Handshake(_) | State::Failed(_) => Err(io::ErrorKind::NotConnected.into()),
        })
    }
}

impl AsyncRead for TlsStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = match ready!(self.poll_open(cx)) {
            Ok(stream) => ready!(stream.poll_read(cx, buffer)),
            Err(error) => return Poll::Ready(if self.is_silent() { Ok(0) } else { Err(error) }),
        };
        Poll::Ready(match read {
            Ok(length @ 1..) => {
                self.whole = buffer[length - 1] == b'\n';
                Ok(length)
            }
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof && self.whole => Ok(0),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                Err(io::Error::new(error.kind(), "cut off in the middle of a line"))
            }
            Err(error) if of_tls(&error).is_some() => {
                Err(io::Error::new(error.kind(), format!("TLS: {error}")))
            }
            read => read,
        })
    }
}

impl AsyncWrite for TlsStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        ready!(self.poll_open(cx))?.poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_open(cx))?.poll_close(cx)
    }
}

/// What TLS has to say, if it is not the socket that has.
fn of_tls(error: &io::Error) -> Option<&Error> {
    error.get_ref()?.downcast_ref()
}

/// Says in plain words why a handshake failed.
fn explain(error: io::Error, any: bool) -> io::Error {
    let why = match of_tls(&error) {
        _ if error.kind() == io::ErrorKind::UnexpectedEof && !any => return error,
        _ if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the client left in the middle of the TLS handshake".to_owned()
        }
        Some(Error::InvalidMessage(InvalidMessage::InvalidContentType)) => {
            "plain text, or something else that is not TLS, on a port for TLS".to_owned()
        }
        Some(error) => format!("the TLS handshake failed: {error}"),
        None => return error, // the socket's own
    };
    io::Error::new(error.kind(), why)
}

/// The name in the client's certificate, if it has shown one.
fn peer_name(session: &ServerConnection) -> Option<Box<str>> {
    let certificate = session.peer_certificates()?.first()?;
    certificate::name(certificate).map(Into::into)
}

/// The socket, and whether anything ever came over it.
struct Heard {
    socket: Connection<TcpStream>,
    any: bool,
    /// How often it was read since others had their turn.
    reads: u32,
}

impl Heard {
    /// Reads what is there, and drops it. To close a socket that holds unread bytes resets the connection, and then the client
    /// might not learn why: the alert would be destroyed on its way.
    fn drop_unread(&self) {
        let mut rest = [0; 4096];
        for _ in 0..DROPPED_BYTES_MAX / rest.len() {
            if !matches!(self.socket.socket().read(&mut rest), Ok(1..)) {
                break;
            }
        }
    }
}

impl AsyncRead for Heard {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        self.reads += 1;
        if self.reads > READS_MAX {
            self.reads = 0;
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Poll::Ready(read) = Pin::new(&mut self.socket).poll_read(cx, buffer) else {
            self.reads = 0;
            return Poll::Pending;
        };
        self.any |= read.as_ref().is_ok_and(|&length| length > 0);
        Poll::Ready(read)
    }
}

impl AsyncWrite for Heard {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.socket).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_close(cx)
    }
}

#[cfg(test)]
mod tests;
