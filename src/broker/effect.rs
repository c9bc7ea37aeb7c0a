//! [`Effect`]: what the shell is to do.

use smallvec::SmallVec;

use super::event::ConnId;
use crate::protocol::Reply;

/// The connections that an effect is for: each once.
pub type Conns = SmallVec<[ConnId; 2]>;

/// An order to the shell, to be carried out in the order given. Plain data.
#[must_use]
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Effect {
    /// Put this reply behind what already waits for each of these connections.
    Send {
        /// Who gets it.
        to: Conns,
        /// What they get.
        reply: Reply,
    },
    /// Read no more from this connection and report [`InputEnded`](super::Event::InputEnded) behind what was read; go on
    /// writing.
    StopReading(ConnId),
    /// Write what waits for this connection, then close it. Whatever else it sends is of no interest.
    Close {
        /// Which connection.
        conn: ConnId,
        /// Why, for the log.
        reason: CloseReason,
    },
    /// Close this connection at once, whatever waits for it: its time is over.
    Abort(ConnId),
    /// Everybody is gone and nobody may come: end the server.
    Stop,
}

/// Why the broker closes a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CloseReason {
    /// The client closed its side.
    #[error("end of input")]
    InputEnded,
    /// The client said `/quit`.
    #[error("quit")]
    Quit,
    /// The client did not log in in time.
    #[error("login timeout")]
    LoginTimeout,
    /// The client's outbox overflowed.
    #[error("too slow")]
    TooSlow,
    /// The server is going away.
    #[error("server shutting down")]
    ShuttingDown,
}
