//! The seam: all that the shell needs of the world.
//!
//! Production implements it over real sockets ([`mio`](super::mio)), a simulator over a network and a clock
//! of its own. Nothing else in the shell spawns, sleeps, reads a clock or touches a socket.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use futures_io::AsyncWrite;

use crate::{ConnId, Effect, Event, Millis};

/// Tasks and time.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// Where clients come from.
    type Listener: Listener<Stream = Self::Stream>;
    /// What connects one of them.
    type Stream: Stream;

    /// Runs a task beside the others, to its end.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// The same. Which task that is, is for whoever draws a picture of them.
    fn spawn_named(&self, _name: TaskName, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(task);
    }

    /// The time since the start, by a clock that never runs backwards.
    fn now(&self) -> Millis;

    /// The same in nanoseconds, for whoever measures.
    fn now_ns(&self) -> u64 {
        self.now().0.saturating_mul(1_000_000)
    }

    /// Ready at the given moment or soon after, and never before: [`now`](Runtime::now) is then at least `at`.
    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static;

    /// Does something that takes the processor for long, beside all tasks.
    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    /// A point at which another task may run first: awaited wherever the order of tasks can matter, so that a simulator
    /// can try every order. Nothing at all in production.
    fn preempt(&self) -> impl Future<Output = ()> + Send;

    /// Told of every event before the broker is. For whoever keeps a log; nothing at all in production.
    fn will_step(&self, _event: &Event) {}

    /// Told of what the broker orders, before it is carried out.
    fn stepped(&self, _effects: &[Effect]) {}
}

/// Which of the server's tasks one is, besides the driver, which nobody spawns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskName {
    /// Accepts connections.
    Accept,
    /// Waits for whatever ends the server.
    ShutDown,
    /// Reads and writes for one connection.
    Connection(ConnId),
    /// Verifies the password that a client gave.
    Password(ConnId),
}

/// A source of connections.
pub trait Listener: Send + Sync + 'static {
    /// What it hands out.
    type Stream;

    /// Waits for the next connection. Cancel safe: a future dropped has taken none.
    ///
    /// # Errors
    /// Whatever the operating system says. None of it ends the server.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, PeerAddr)>> + Send;
}

/// A connection: two halves that one task uses side by side.
pub trait Stream: Send + 'static {
    /// The half that comes in.
    type Reader: Reader;
    /// The half that goes out.
    type Writer: Writer;

    /// Takes the two apart. The connection is closed when both are dropped.
    fn split(self) -> (Self::Reader, Self::Writer);
}

/// The half of a connection that goes out. Closing it (`poll_close`) sends the end of the stream and leaves the other half
/// alone.
pub trait Writer: AsyncWrite + Send + Unpin + 'static {
    /// Makes the connection break, not end, when both halves are dropped: so a client that has not got all that waited
    /// for it can tell.
    fn reset(&mut self);
}

/// The half of a connection that comes in. To wait and to read are two things, so that a connection that waits holds
/// neither a buffer nor a place in the queue.
pub trait Reader: Send + Unpin + 'static {
    /// Ready when [`try_read`](Reader::try_read) is worth a try.
    ///
    /// # Errors
    /// The connection is broken.
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>>;

    /// Reads what is there, without waiting. 0 bytes are the end of the stream.
    ///
    /// # Errors
    /// [`io::ErrorKind::WouldBlock`] if nothing is there; anything else: the connection is broken.
    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize>;

    /// Who the client has proved to be, if it has: the name in its certificate. Known as soon as anything has been read.
    fn identity(&self) -> Option<&str> {
        None
    }

    /// Whether nobody on the way between the two can read what is sent.
    fn is_private(&self) -> bool {
        false
    }
}

/// Where a client connects from. For the log and for limits, never an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerAddr {
    /// A TCP address.
    Tcp(SocketAddr),
    /// The other end of a unix socket, which has no name.
    Unix,
}

impl fmt::Display for PeerAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerAddr::Tcp(address) => address.fmt(f),
            PeerAddr::Unix => f.write_str("unix"),
        }
    }
}
