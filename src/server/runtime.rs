//! The seam: everything the shell needs from the outside world.
//!
//! In production it is implemented on [`smol`](super::smol), in the simulator on a network and a clock of its own. Nothing else
//! in the shell spawns a task, sleeps, reads a clock or touches a socket.

use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;

use futures::io::{AsyncRead, AsyncWrite};

use crate::{ConnId, Effect, Event, Millis};

/// Tasks and time.
pub trait Runtime: Clone + Send + Sync + 'static {
    /// Accepts clients.
    type Listener: Listener<Stream = Self::Stream>;
    /// Connects one client.
    type Stream: Stream;

    /// Runs a task concurrently with the others, to its end.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static);

    /// The same, for a task that a simulator or a tracer can tell from others.
    fn spawn_named(&self, _name: TaskName, task: impl Future<Output = ()> + Send + 'static) {
        self.spawn(task);
    }

    /// Time since the start, by a clock that never runs backwards.
    fn now(&self) -> Millis;

    /// The same in nanoseconds, for measurements.
    fn now_ns(&self) -> u64 {
        self.now().0.saturating_mul(1_000_000)
    }

    /// Completes at the given time or soon after, and never before: [`now`](Runtime::now) is then at least `at`.
    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static;

    /// Runs blocking or CPU-bound work outside the tasks.
    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send;

    /// A point at which other tasks may run first. The shell awaits one wherever the order of tasks can matter, so that a
    /// simulator can try every order. In production it does nothing.
    fn yield_point(&self) -> impl Future<Output = ()> + Send;
}

/// Watches the broker: the driver calls it around every step.
pub trait Observer: Send + 'static {
    /// Called with each event before the broker steps it.
    fn before_step(&mut self, _event: &Event) {}

    /// Called with the effects of that event before the driver executes them.
    fn after_step(&mut self, _effects: &[Effect]) {}
}

/// Observes nothing.
impl Observer for () {}

/// Names the server's tasks, except the driver, which the caller of [`start`](super::start) runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TaskName {
    /// Accepts connections.
    Accept,
    /// Waits for the request to shut down.
    ShutDown,
    /// Reads and writes for one connection.
    Connection(ConnId),
    /// Verifies the password of one client.
    Password(ConnId),
}

/// A source of connections.
pub trait Listener: Send + Sync + 'static {
    /// The connections it accepts.
    type Stream;

    /// Waits for the next connection. Cancel safe: a dropped future has accepted nothing.
    ///
    /// # Errors
    /// Any error of the operating system. None of them ends the server.
    fn accept(&self) -> impl Future<Output = io::Result<(Self::Stream, PeerAddr)>> + Send;
}

/// A connection. One task reads and writes it; both directions share that task's waker.
///
/// - A read that returns 0 bytes is the end of the stream. Whoever reads in a loop must yield: a read is ready as long as
///   something is there.
/// - Bytes count as written when the operating system has them, or at most 16 KiB of them are buffered until `poll_flush` is
///   ready.
/// - `poll_close` sends the end of the stream, after everything written, and leaves reading alone.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static {
    /// Makes the connection break, rather than end, when it is dropped: so a client that did not get everything can tell.
    fn reset(&mut self);

    /// The name in the client's certificate, if it has proved one. Known after the first read.
    fn identity(&self) -> Option<&str> {
        None
    }

    /// Whether nobody between the two ends can read the traffic.
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
