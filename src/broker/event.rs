//! [`Event`]: what has happened.

use core::fmt;

use super::origin::Origin;
use crate::protocol::Request;

/// One connection. Minted by the shell and never used again: neither an address nor a file descriptor.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct ConnId(pub u64);

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A moment, in milliseconds since the server started. The core never looks at a clock: it is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(transparent))]
pub struct Millis(pub u64);

impl Millis {
    /// This moment, `ms` milliseconds later (or the last moment there is).
    #[must_use]
    pub fn plus(self, ms: u64) -> Millis {
        Millis(self.0.saturating_add(ms))
    }
}

/// A fact, handed to [`step`](crate::step) in the one order that everybody observes. Plain data.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Event {
    /// Time has come to this moment. The only way in for time; it never runs backwards.
    Ticked(Millis),
    /// A client has connected.
    Connected(ConnId, Origin),
    /// A client has sent a line.
    Requested(ConnId, Request),
    /// Nothing more comes from this client: it closed its side, or the shell stopped reading as told.
    InputEnded(ConnId),
    /// More was sent to this connection than its outbox holds. What did not fit is gone, and nothing has been put behind
    /// the gap.
    OutboxOverflowed(ConnId),
    /// The connection is gone, for whatever reason. Said exactly once, and nothing more follows about it.
    Disconnected(ConnId),
    /// The operator wants the server to stop.
    ShutdownRequested,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_is_written_with_its_number() {
        assert_eq!(alloc::format!("{0} {0:?}", ConnId(7)), "#7 #7");
    }
}
