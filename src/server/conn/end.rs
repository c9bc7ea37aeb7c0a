//! How a connection ended, and what the log says of it: whoever asks why they were disconnected finds the answer there, and
//! nobody can fill it by coming and going.

use std::fmt;
use std::io;
use std::mem;
use std::sync::{Mutex, PoisonError};

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

/// How a connection ended.
pub(super) enum End {
    /// The broker closed it, and all that waited is written.
    Closed(CloseReason),
    /// What waited could not be written in time.
    GaveUp,
    /// It was given up before anything was said: nobody had the time to tell it why.
    Dropped,
    /// It took nothing of what was being written to it for too long.
    Stalled,
    /// The socket broke.
    Broken(io::Error),
}

impl End {
    /// The client was never let in.
    fn is_refusal(&self) -> bool {
        matches!(self, End::Closed(reason) if reason.is_refusal()) || matches!(self, End::Dropped)
    }

    fn is_like(&self, other: &End) -> bool {
        match (self, other) {
            (End::Closed(reason), End::Closed(other)) => reason == other,
            (End::Broken(error), End::Broken(other)) => error.kind() == other.kind(),
            _ => mem::discriminant(self) == mem::discriminant(other),
        }
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed(reason) => reason.fmt(f),
            End::GaveUp => f.write_str("did not read its last lines in time"),
            End::Dropped => f.write_str("dropped"),
            End::Stalled => f.write_str("stalled"),
            End::Broken(error) => error.fmt(f),
        }
    }
}

impl<R: Runtime> Served<R> {
    /// What they said is nobody's business.
    pub(super) fn log(&self, end: End) {
        let Conn { world, conn, peer, since, .. } = &self.conn;
        let (now, lines_received) = (world.runtime.now(), self.incoming.lines);
        let reason = end.to_string();
        let is_refusal = end.is_refusal();
        let Some(others) = world.ends.let_through(now, end, lines_received > 0) else {
            return debug!(%conn, %peer, %reason, lines_received, "disconnected, as others were");
        };
        if is_refusal {
            return warn!(%conn, %peer, %reason, others, "refused a connection");
        }
        info!(
            %conn,
            %peer,
            %reason,
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
        let quit = || End::Closed(CloseReason::Quit);
        let broken = |kind: io::ErrorKind| End::Broken(kind.into());
        for _ in 0..ENDS_OF_SPEAKERS.count {
            assert_eq!(log.let_through(Millis(0), quit(), true), Some(0));
        }
        for _ in 0..3 {
            assert_eq!(log.let_through(Millis(0), quit(), true), None);
        }
        assert_eq!(log.let_through(Millis(0), End::Closed(CloseReason::TooSlow), true), Some(0));
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
}
