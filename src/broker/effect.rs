//! [`Effect`]: what the shell is to do.

use core::fmt;

use smallvec::SmallVec;

use super::event::{ConnId, Millis};
use crate::protocol::{Farewell, Name, Password, Reply};

/// The connections that an effect is for: each once.
pub type Conns = SmallVec<[ConnId; 4]>;

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
    /// Find out whether this is the password of this name, but not before that moment, and report
    /// [`PasswordVerified`](super::Event::PasswordVerified). Until then, or until it is closed or given up, tell nothing of
    /// what this client sends.
    VerifyPassword {
        /// Who gave it.
        conn: ConnId,
        /// Whose it is said to be.
        name: Name,
        /// What was given.
        password: Password,
        /// When it may be looked at: who guesses has to wait.
        at: Millis,
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
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum CloseReason {
    /// The client closed its side.
    InputEnded,
    /// The client said `/quit`.
    Quit,
    /// The client did not log in in time.
    LoginTimeout,
    /// The client's outbox overflowed.
    TooSlow,
    /// The server is going away.
    ShuttingDown,
    /// The client was logged in and said nothing for too long.
    Idle,
    /// As many connections are there as may be.
    ServerFull,
    /// As many connections are there from its address as may be.
    AddressFull,
    /// As many connections were made from its address in the last minute as may be.
    AddressTooFast,
    /// As many connections have not logged in yet as may be.
    TooManyLogins,
    /// The operator wants nobody from its address.
    Banned,
    /// The operator ended it.
    Kicked,
    /// The server is going away, and comes back at once.
    Restarting,
}

/// What the client is told, or that it left first.
impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.farewell() {
            Some(farewell) => farewell.fmt(f),
            None => f.write_str("end of input"),
        }
    }
}

impl core::error::Error for CloseReason {}

impl CloseReason {
    /// All of them, in order.
    pub const ALL: [CloseReason; 13] = [
        CloseReason::InputEnded,
        CloseReason::Quit,
        CloseReason::LoginTimeout,
        CloseReason::TooSlow,
        CloseReason::ShuttingDown,
        CloseReason::Idle,
        CloseReason::ServerFull,
        CloseReason::AddressFull,
        CloseReason::AddressTooFast,
        CloseReason::TooManyLogins,
        CloseReason::Banned,
        CloseReason::Kicked,
        CloseReason::Restarting,
    ];

    /// The word that a program goes by; the sentence is for people.
    pub fn code(self) -> &'static str {
        match self {
            CloseReason::InputEnded => "input-ended",
            CloseReason::Quit => "quit",
            CloseReason::LoginTimeout => "login-timeout",
            CloseReason::TooSlow => "too-slow",
            CloseReason::ShuttingDown => "shutting-down",
            CloseReason::Idle => "idle",
            CloseReason::ServerFull => "server-full",
            CloseReason::AddressFull => "address-full",
            CloseReason::AddressTooFast => "address-too-fast",
            CloseReason::TooManyLogins => "too-many-logins",
            CloseReason::Banned => "banned",
            CloseReason::Kicked => "kicked",
            CloseReason::Restarting => "restarting",
        }
    }

    /// Whether the connection was never let in.
    pub fn is_refusal(self) -> bool {
        match self {
            CloseReason::ServerFull
            | CloseReason::AddressFull
            | CloseReason::AddressTooFast
            | CloseReason::TooManyLogins
            | CloseReason::Banned => true,
            CloseReason::InputEnded
            | CloseReason::Quit
            | CloseReason::LoginTimeout
            | CloseReason::TooSlow
            | CloseReason::ShuttingDown
            | CloseReason::Idle
            | CloseReason::Kicked
            | CloseReason::Restarting => false,
        }
    }

    /// What the client is told; nothing if it left first.
    pub(super) fn farewell(self) -> Option<Farewell> {
        Some(match self {
            CloseReason::InputEnded => return None,
            CloseReason::Quit => Farewell::Quit,
            CloseReason::LoginTimeout => Farewell::LoginTimeout,
            CloseReason::TooSlow => Farewell::TooSlow,
            CloseReason::ShuttingDown => Farewell::ShuttingDown,
            CloseReason::Idle => Farewell::Idle,
            CloseReason::ServerFull => Farewell::ServerFull,
            CloseReason::AddressFull => Farewell::AddressFull,
            CloseReason::AddressTooFast => Farewell::AddressTooFast,
            CloseReason::TooManyLogins => Farewell::TooManyLogins,
            CloseReason::Banned => Farewell::Banned,
            CloseReason::Kicked => Farewell::Kicked,
            CloseReason::Restarting => Farewell::Restarting,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_a_word_of_its_own() {
        let codes = CloseReason::ALL.map(CloseReason::code);
        for (place, code) in codes.iter().enumerate() {
            assert!(
                code.len() > 1 && code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'),
                "{code:?}"
            );
            assert_eq!(codes.iter().position(|other| other == code), Some(place), "{code:?}");
        }
    }
}
