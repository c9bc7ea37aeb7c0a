//! [`Counters`]: how often what has happened, for whoever watches the server.

use super::effect::CloseReason;

/// How often what has happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that came, refused or not.
    pub connected: u64,
    /// Connections that were refused without a word, because too many others were just being refused.
    pub dropped: u64,
    /// Connections that were given up while something still waited for them.
    pub aborted: u64,
    closed: [u64; CloseReason::ALL.len()],
}

impl Counters {
    /// How many connections the broker has closed, or refused, for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }
}
