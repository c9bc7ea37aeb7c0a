//! [`Counters`]: how often what has happened, for whoever watches the server.

use core::fmt;

use super::effect::CloseReason;
use crate::protocol::{Refusal, Reply};

/// How often what has happened since the start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Connections that came, refused or not.
    pub connected: u64,
    /// Connections that were refused without a word, because too many others were just being refused.
    pub dropped: u64,
    /// Connections that were given up at a deadline: they had not taken what waited for them, or not closed their side.
    pub aborted: u64,
    /// Connections that were gone before the broker closed them.
    pub lost: u64,
    /// Clients that have got their name.
    pub logins: u64,
    /// Messages that peers have sent, whether or not those that they were for are here.
    pub messages: u64,
    /// Messages for peers who are here: one to three of them counts three times.
    pub deliveries: u64,
    errors: [u64; Refusal::CODES.len()],
    closed: [u64; CloseReason::ALL.len()],
}

impl Counters {
    /// How many connections the broker has closed, or refused, for this reason.
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// How many times clients were answered with an error, by its code.
    pub fn errors(&self) -> impl Iterator<Item = (&'static str, u64)> {
        Refusal::CODES.into_iter().zip(self.errors)
    }

    /// A client gets this answer to one of its lines.
    pub(super) fn answer(&mut self, reply: &Reply) {
        match reply {
            Reply::Welcome(_) => self.logins += 1,
            Reply::Error(refusal) => self.errors[refusal.place()] += 1,
            _ => {}
        }
    }

    pub(super) fn close(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }
}

/// For people: what has happened at all, and how often.
impl fmt::Display for Counters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} connected", self.connected)?;
        let closed = CloseReason::ALL.into_iter().filter(|&reason| self.closed(reason) > 0);
        closed.into_iter().try_for_each(|reason| write!(f, ", {} {reason}", self.closed(reason)))?;
        let errors = self.errors.iter().sum();
        let others = [
            (self.dropped, "dropped without a word"),
            (self.aborted, "given up"),
            (self.lost, "lost"),
            (errors, if errors == 1 { "line refused" } else { "lines refused" }),
        ];
        others
            .into_iter()
            .filter(|(count, _)| *count > 0)
            .try_for_each(|(count, what)| write!(f, ", {count} {what}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn what_never_happened_is_not_told() {
        let mut counters = Counters { connected: 7, ..Counters::default() };
        assert_eq!(counters.to_string(), "7 connected");
        for reason in [CloseReason::TooSlow, CloseReason::Quit, CloseReason::InputEnded, CloseReason::Quit] {
            counters.close(reason);
        }
        counters.aborted = 1;
        counters.answer(&Reply::Error(Refusal::AccountRequired));
        assert!(counters.to_string().ends_with(", 1 given up, 1 line refused"));
        counters.answer(&Reply::Error(Refusal::Unencrypted));
        assert_eq!(
            counters.to_string(),
            "7 connected, 1 end of input, 2 quit, 1 too slow, 1 given up, 2 lines refused"
        );
    }
}
