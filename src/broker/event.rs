//! [`Event`]: what has happened.

use core::fmt;

use super::origin::Origin;
use crate::protocol::{Name, Request};
use alloc::vec::Vec;

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
    /// What this client sends can be read by nobody on the way: passwords are welcome.
    Secured(ConnId),
    /// A client has shown a certificate for this name: that is as good as its password.
    Certified(ConnId, Name),
    /// A client has sent a line. Between [`VerifyPassword`](super::Effect::VerifyPassword) and its answer, the shell keeps what
    /// this client sends.
    Requested(ConnId, Request),
    /// Whether the password that a client gave is the one of its name.
    PasswordVerified(ConnId, bool),
    /// Nothing more comes from this client: it closed its side, or the shell stopped reading as told.
    InputEnded(ConnId),
    /// More was sent to this connection than its outbox holds. What did not fit is gone, and nothing has been put behind
    /// the gap.
    OutboxOverflowed(ConnId),
    /// The connection is gone, for whatever reason. Said exactly once, and nothing more follows about it.
    Disconnected(ConnId),
    /// These are the names that belong to accounts from now on. Whoever holds one of them keeps it.
    AccountsChanged(Vec<Name>),
    /// The operator wants this session to end.
    Kicked(ConnId),
    /// The operator wants nobody from there: who is there is kicked, and who comes is refused. Whoever is exempt from limits on
    /// addresses cannot be banned.
    Banned(Origin),
    /// Whoever comes from there is welcome again.
    Unbanned(Origin),
    /// The operator wants the server to stop.
    ShutdownRequested,
    /// The same, and that it comes back at once.
    RestartRequested,
}

impl Event {
    /// What happened, without whatever was said.
    pub fn kind(&self) -> &'static str {
        match self {
            Event::Ticked(_) => "ticked",
            Event::Connected(..) => "connected",
            Event::Secured(_) => "secured",
            Event::Certified(..) => "certified",
            Event::Requested(..) => "requested",
            Event::PasswordVerified(..) => "password verified",
            Event::InputEnded(_) => "input ended",
            Event::OutboxOverflowed(_) => "outbox overflowed",
            Event::Disconnected(_) => "disconnected",
            Event::AccountsChanged(_) => "accounts changed",
            Event::Kicked(_) => "kicked",
            Event::Banned(_) => "banned",
            Event::Unbanned(_) => "unbanned",
            Event::ShutdownRequested => "shutdown requested",
            Event::RestartRequested => "restart requested",
        }
    }

    /// The one connection that it is about, if it is about one.
    pub fn conn(&self) -> Option<ConnId> {
        match *self {
            Event::Connected(conn, _)
            | Event::Secured(conn)
            | Event::Certified(conn, _)
            | Event::Requested(conn, _)
            | Event::PasswordVerified(conn, _)
            | Event::InputEnded(conn)
            | Event::OutboxOverflowed(conn)
            | Event::Disconnected(conn)
            | Event::Kicked(conn) => Some(conn),
            Event::Ticked(_)
            | Event::AccountsChanged(_)
            | Event::Banned(_)
            | Event::Unbanned(_)
            | Event::ShutdownRequested
            | Event::RestartRequested => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// For the log of a bug, which says which kind of event it was, and about whom.
    #[test]
    fn each_event_has_a_kind_and_says_about_whom_it_is() {
        let al = ConnId(7);
        let about = [
            Event::Connected(al, Origin::Exempt),
            Event::Secured(al),
            Event::Certified(al, Name::parse("al").unwrap()),
            Event::Requested(al, Request::Who),
            Event::PasswordVerified(al, true),
            Event::InputEnded(al),
            Event::OutboxOverflowed(al),
            Event::Disconnected(al),
            Event::Kicked(al),
        ];
        let others = [
            Event::Ticked(Millis(1)),
            Event::AccountsChanged(Vec::new()),
            Event::Banned(Origin::Exempt),
            Event::Unbanned(Origin::Exempt),
            Event::ShutdownRequested,
            Event::RestartRequested,
        ];
        assert!(about.iter().all(|event| event.conn() == Some(al)));
        assert!(others.iter().all(|event| event.conn().is_none()));
        // It is how the event is called in the code, in words.
        for event in about.iter().chain(&others) {
            let words = |text: &str| text.to_lowercase().replace(' ', "");
            let called = alloc::format!("{event:?}");
            let called = called.split('(').next().unwrap();
            assert_eq!(words(event.kind()), words(called));
        }
    }

    #[test]
    fn a_connection_is_written_with_its_number() {
        assert_eq!(alloc::format!("{0} {0:?}", ConnId(7)), "#7 #7");
    }
}
