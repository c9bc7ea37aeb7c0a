//! How a connection ended, and what the log says of it: whoever asks why they were disconnected finds the answer there, and
//! nobody can fill it by coming and going.

use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::Ordering;
use std::sync::{Mutex, PoisonError};

use tracing::field::display;
use tracing::{debug, info, warn};

use super::{Conn, Served};
use crate::rate::Rate;
use crate::server::repeats::Repeats;
use crate::server::runtime::Runtime;
use crate::{CloseReason, Millis};

/// How often the log tells of one and the same end of those who said something.
const ENDS_OF_SPEAKERS: Rate = Rate { count: 600, per_ms: 60_000 };

/// And of those who never said a line: they were not let in, or scan ports, or cannot agree on how to encrypt.
const ENDS_OF_OTHERS: Rate = Rate { count: 10, per_ms: 60_000 };

/// The end of a connection.
pub(super) struct End {
    pub(super) how: How,
    /// Why the broker had closed it, if it had.
    pub(super) closed: Option<CloseReason>,
}

/// How a connection ended.
pub(in crate::server) enum How {
    /// The broker closed it, and all that waited is written.
    Flushed,
    /// What waited could not be written in time.
    GaveUp,
    /// It was given up before anything was said: nobody had the time to tell it why.
    Dropped,
    /// It took nothing of what was being written to it for too long.
    Stalled,
    /// The socket broke.
    Broken(io::Error),
    /// There was a bug in it.
    Panicked,
}

impl End {
    /// The client was never let in.
    fn is_refusal(&self) -> bool {
        self.closed.is_some_and(CloseReason::is_refusal) || matches!(self.how, How::Dropped)
    }

    fn is_like(&self, other: &End) -> bool {
        let is_like = match (&self.how, &other.how) {
            (How::Broken(error), How::Broken(other)) => error.kind() == other.kind(),
            (how, other) => mem::discriminant(how) == mem::discriminant(other),
        };
        is_like && self.closed == other.closed
    }

    /// Why it is over, and why the broker had closed it, if that is something else: then the client may not know.
    fn reasons(&self) -> (String, Option<CloseReason>) {
        match (&self.how, self.closed) {
            (How::Flushed, Some(reason)) => (reason.to_string(), None),
            (how, closed) => (how.to_string(), closed),
        }
    }
}

impl How {
    /// The words that a program goes by, in no order.
    pub(in crate::server) const CODES: [&'static str; 7] =
        ["flushed", "gave-up", "dropped", "stalled", "timed-out", "broken", "bug"];

    /// Where its word is among them.
    fn place(&self) -> usize {
        match self {
            How::Flushed => 0,
            How::GaveUp => 1,
            How::Dropped => 2,
            How::Stalled => 3,
            How::Broken(error) if is_gone(error) => 4,
            How::Broken(_) => 5,
            How::Panicked => 6,
        }
    }
}

/// The operating system has asked the peer in vain, or found no way to it.
fn is_gone(error: &io::Error) -> bool {
    use io::ErrorKind::{HostUnreachable, NetworkUnreachable, TimedOut};
    matches!(error.kind(), TimedOut | HostUnreachable | NetworkUnreachable)
}

impl fmt::Display for How {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            How::Flushed => f.write_str("flushed"),
            How::GaveUp => f.write_str("did not read its last lines in time"),
            How::Dropped => f.write_str("dropped without a word"),
            How::Stalled => f.write_str("stalled"),
            How::Broken(error) => error.fmt(f),
            How::Panicked => f.write_str("a bug"),
        }
    }
}

impl<R: Runtime> Conn<R> {
    /// Counts an end, each just once.
    pub(super) fn count(&self, how: &How) {
        self.world.tally.ends[how.place()].fetch_add(1, Ordering::Relaxed);
    }
}

impl<R: Runtime> Served<R> {
    /// What they said is nobody's business.
    pub(super) fn log(&self, end: End) {
        self.conn.count(&end.how);
        let Conn { world, conn, peer, since, .. } = &self.conn;
        let (now, lines_received) = (world.runtime.now(), self.incoming.lines);
        let (reason, closed) = end.reasons();
        let closed = closed.map(display);
        let is_refusal = end.is_refusal();
        let Some(others) = world.ends.let_through(now, end, lines_received > 0) else {
            return debug!(%conn, %peer, %reason, closed, lines_received, "disconnected, as others were");
        };
        if is_refusal {
            return warn!(%conn, %peer, %reason, closed, others, "refused a connection");
        }
        info!(
            %conn,
            %peer,
            %reason,
            closed,
            connected_ms = now.0.saturating_sub(since.0),
            lines_received,
            bytes_received = self.incoming.bytes,
            bytes_sent = self.outgoing.bytes,
            others = (others > 0).then_some(others),
            "disconnected"
        );
    }
}

/// How often the log has told of each kind of end.
#[derive(Default)]
pub(in crate::server) struct EndLog {
    told: Mutex<Vec<Told>>,
}

struct Told {
    end: End,
    spoke: bool,
    lines: Repeats,
}

impl EndLog {
    /// Whether to tell of this one: with how many others there were since, or not.
    fn let_through(&self, now: Millis, end: End, spoke: bool) -> Option<u64> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        let known = told.iter().position(|told| told.spoke == spoke && told.end.is_like(&end));
        let place = known.unwrap_or_else(|| {
            told.push(Told { end, spoke, lines: Repeats::default() });
            told.len() - 1
        });
        told[place].lines.take(if spoke { ENDS_OF_SPEAKERS } else { ENDS_OF_OTHERS }, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_end_is_told_so_often_and_then_counted() {
        let log = EndLog::default();
        let closed = |reason| End { how: How::Flushed, closed: Some(reason) };
        let quit = || closed(CloseReason::Quit);
        let broken = |kind: io::ErrorKind| End { how: How::Broken(kind.into()), closed: None };
        for _ in 0..ENDS_OF_SPEAKERS.count {
            assert_eq!(log.let_through(Millis(0), quit(), true), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(log.let_through(Millis(0), quit(), true), None);
        }
        assert_eq!(log.let_through(Millis(0), closed(CloseReason::TooSlow), true), Some(0));
        for _ in 0..ENDS_OF_OTHERS.count {
            assert_eq!(log.let_through(Millis(0), broken(io::ErrorKind::TimedOut), false), Some(0));
        }
        assert_eq!(log.let_through(Millis(0), broken(io::ErrorKind::TimedOut), false), None);
        assert_eq!(log.let_through(Millis(0), broken(io::ErrorKind::InvalidData), false), Some(0));
        assert_eq!(log.let_through(Millis(0), broken(io::ErrorKind::TimedOut), true), Some(0));
        assert_eq!(log.let_through(Millis(100), quit(), true), Some(3));
        assert_eq!(log.let_through(Millis(100), quit(), true), None);
        assert_eq!(log.told.lock().unwrap().len(), 5);
    }

    /// Bug: who overflowed and then took nothing was said to have stalled, and no more.
    #[test]
    fn why_it_was_closed_is_not_forgotten_when_the_rest_gets_nowhere() {
        let log = EndLog::default();
        let ends = [
            (How::Flushed, Some(CloseReason::TooSlow), ("too slow", None)),
            (How::Stalled, Some(CloseReason::TooSlow), ("stalled", Some(CloseReason::TooSlow))),
            (How::Stalled, None, ("stalled", None)),
            (
                How::GaveUp,
                Some(CloseReason::Quit),
                ("did not read its last lines in time", Some(CloseReason::Quit)),
            ),
        ];
        for (how, closed, (reason, why)) in ends {
            let end = End { how, closed };
            assert_eq!(end.reasons(), (reason.to_owned(), why));
            assert!(!end.is_refusal());
            assert_eq!(log.let_through(Millis(0), end, true), Some(0));
        }
        assert_eq!(log.told.lock().unwrap().len(), 4, "each is a kind of its own");
        // Who is refused may be gone before it is told.
        let reset = || How::Broken(io::ErrorKind::ConnectionReset.into());
        assert!(End { how: reset(), closed: Some(CloseReason::ServerFull) }.is_refusal());
        assert!(!End { how: reset(), closed: None }.is_refusal());
        assert!(End { how: How::Dropped, closed: None }.is_refusal());
    }
}
