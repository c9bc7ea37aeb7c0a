//! [`Scenario`]: what clients do and what goes wrong, as plain data that a failing report can show.

mod check;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::slice;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use seriatim::protocol::{Name, Password};
use seriatim::server::passwords::Passwords;
use seriatim::server::{Config, Tuning};
use seriatim::{Limits, Origin};

use crate::judge::same;

/// Everything that a run depends on, but for the choices.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Scenario {
    /// What the broker allows.
    pub limits: Limits,
    /// How many listeners the server has; clients take them in turn.
    pub listeners: usize,
    /// How many bytes may wait for one client.
    pub outbox_bytes_max: usize,
    /// How many bytes may wait for all clients together, and for each of them even then.
    pub outbox_bytes_total_max: usize,
    /// See `outbox_bytes_total_max`.
    pub outbox_bytes_floor: usize,
    /// How many lines the server takes from one client in a second.
    pub lines_per_second_max: Option<u32>,
    /// How long a client may take nothing of what is being written to it, in milliseconds.
    pub write_ms_max: Option<u64>,
    /// From how many addresses clients come, in turn; 0: from one to which no limit for each address applies.
    pub origins: usize,
    /// Names that are reserved for those who know their passwords.
    pub accounts: Vec<String>,
    /// How many bytes the network holds in each direction of a connection.
    pub pipe_bytes: usize,
    /// How many bytes one read of the server brings at most.
    pub read_bytes_max: usize,
    /// How the server divides its work.
    #[serde(default)]
    pub tuning: Tuning,
    /// When the operator stops the server; everybody must be done without that otherwise.
    pub stop: Option<Stop>,
    /// What else the operator orders, one after another.
    pub orders: Vec<Order>,
    /// What goes wrong by itself.
    pub faults: Faults,
    /// Who takes part.
    pub clients: Vec<Script>,
}

/// The operator stops the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// When the first signal comes.
    pub at: When,
    /// How many milliseconds later a second one ends the process at once, if it is still there.
    pub again_after_ms: Option<u64>,
    /// Another server takes its place, and clients are told so.
    #[serde(default)]
    pub restart: bool,
}

/// The operator orders something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// When, unless the orders before it take longer.
    pub at: When,
    /// What.
    pub what: Command,
}

/// What the operator may order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Ends the session of whoever holds this name.
    Kick(String),
    /// Ends all sessions from one of the addresses, by its number, and lets nobody in from there. Where there is only the one to
    /// which no limit applies, nothing comes of it.
    Ban(usize),
    /// Lets whoever comes from there in again.
    Unban(usize),
}

impl Command {
    /// Whether this ends the session over a connection, by its number, if it is there and has this name; with so many addresses.
    pub(crate) fn ends(&self, origins: usize, connection: usize, name: Option<&str>) -> bool {
        match self {
            Command::Kick(kicked) => name.is_some_and(|name| same(name) == same(kicked)),
            Command::Ban(origin) => comes_from(origins, connection, *origin),
            Command::Unban(_) => false,
        }
    }

    /// Whether this bans the address that a connection comes from, by its number.
    pub(crate) fn bans(&self, origins: usize, connection: usize) -> bool {
        matches!(self, Command::Ban(origin) if comes_from(origins, connection, *origin))
    }

    /// Whether this lets whoever comes from there in again.
    pub(crate) fn unbans(&self, origins: usize, connection: usize) -> bool {
        matches!(self, Command::Unban(origin) if comes_from(origins, connection, *origin))
    }
}

/// Whether a connection comes from an address, both by their numbers.
fn comes_from(origins: usize, connection: usize, origin: usize) -> bool {
    origins > 0 && connection % origins == origin % origins
}

/// A point in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum When {
    /// A moment, in milliseconds.
    Ms(u64),
    /// As soon as the broker has been told of so many events.
    Event(u64),
}

/// How often the network misbehaves, each in 1/1000 of the occasions. All of it ends at `until_ms`: then everybody who is
/// still there must be served to the end.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// When the network begins to behave, in milliseconds.
    pub until_ms: u64,
    /// A read brings a part of what is there, down to a single byte.
    pub torn_read: u32,
    /// A write takes a part of what it is given, down to a single byte.
    pub torn_write: u32,
    /// A socket that was said to be readable is not.
    pub spurious_wake: u32,
    /// A read or a write of the server is interrupted.
    pub interrupt: u32,
    /// What is written arrives only after up to a second.
    pub delay: u32,
    /// A client's link takes nothing from the server for up to five seconds.
    pub slow_write: u32,
    /// A connection passes nothing on, in both directions, for up to forty seconds.
    pub clog: u32,
    /// A connection is reset when it is written to.
    pub reset: u32,
    /// Accepting fails, for up to a third of a second.
    pub accept_error: u32,
    /// A connection is refused.
    pub refuse: u32,
    /// What has arrived but not been read is lost in a reset.
    pub reset_loses: u32,
    /// A password takes up to five seconds to verify.
    pub slow_password: u32,
    /// What verifies a password panics.
    pub password_panic: u32,
    /// The clock jumps ahead by up to five seconds, though there is something to do.
    pub clock_jump: u32,
}

/// What one client does, one thing after another. It reads all the time, unless it says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    /// What it does.
    pub ops: Vec<Op>,
}

/// One thing that a client does. Whatever it sends is written without waiting for an answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Op {
    /// Connects, anew if it is connected.
    Connect,
    /// Sends a name, and waits for the welcome if `wait`.
    LogIn {
        /// The name.
        name: String,
        /// Tries again, under the same name, until it is welcome (or the connection ends).
        insist: bool,
    },
    /// Sends a name with a password, and waits for the welcome if `insist`.
    Prove {
        /// The name.
        name: String,
        /// With its own password, or with another.
        right: bool,
        /// As for [`Op::LogIn`].
        insist: bool,
    },
    /// Sends a message. The text is unique; the sender asks for a receipt.
    Say {
        /// To whom.
        to: Vec<String>,
        /// How long the text is, at least, in bytes, as far as the line may be so long.
        bytes: usize,
    },
    /// Sends a message without a receipt, and `/ping` in the same write. (With a receipt as long as it is not welcome, or if it
    /// lists too many.)
    Tell {
        /// To whom.
        to: Vec<String>,
        /// As for [`Op::Say`].
        bytes: usize,
    },
    /// Sends `/ping`, and waits for the answer if `wait`.
    Ping {
        /// Goes on only when the pong is there (or the connection has ended).
        wait: bool,
    },
    /// Sends `/who`.
    Who,
    /// Sends a blank line.
    Blank,
    /// Ends lines with `\r\n` from now on.
    CrLf,
    /// Sends a line that breaks a rule; the code it is to be answered with.
    Bad {
        /// Which rule.
        rule: BadLine,
    },
    /// Does nothing for so many milliseconds.
    Sleep(u64),
    /// Reads nothing for so many milliseconds, while it goes on with what it does.
    Stall(u64),
    /// Sends what follows one byte at a time.
    Trickle,
    /// Sends `/quit` and reads to the end.
    Quit,
    /// Sends `/quit` and, in the same write, a message behind it; then reads to the end.
    QuitTalking,
    /// Closes its side and reads to the end.
    HalfClose,
    /// Sends `/ping` without a newline, closes its side and reads to the end.
    LastWords,
    /// Closes both sides at once, whatever is on its way.
    Reset,
    /// Sends a message without a newline, closes its side and, a moment later, both.
    Slam {
        /// To whom.
        to: Vec<String>,
    },
}

/// A rule to break.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BadLine {
    /// Longer than the limit, by one byte.
    TooLong,
    /// Longer than the limit, and what is behind the limit looks like a line.
    LongTail,
    /// Not UTF-8.
    NotUtf8,
    /// An escape sequence.
    Escape,
    /// An escape sequence at the end of the line.
    EscapeLate,
    /// An escape sequence that begins with a single character (U+009B).
    EscapeC1,
    /// Nobody before the colon.
    NoRecipient,
    /// No colon.
    NoColon,
    /// Nothing behind the colon.
    Empty,
    /// No such command.
    Command,
}

impl Faults {
    /// Each kind by its name, and how often it happens.
    pub(crate) fn rates(&self) -> impl Iterator<Item = (String, u64)> {
        let all = serde_json::to_value(self).and_then(serde_json::from_value::<BTreeMap<String, u64>>);
        // Plain numbers can always be written and read.
        all.unwrap_or_default().into_iter().filter(|(name, _)| name != "until_ms")
    }
}

impl Op {
    /// The name that it asks for.
    pub fn asks_for(&self) -> Option<&String> {
        match self {
            Op::LogIn { name, .. } | Op::Prove { name, .. } => Some(name),
            _ => None,
        }
    }

    /// All names in it: the one that it asks for, or those that it writes to.
    pub fn names(&self) -> &[String] {
        match self {
            Op::LogIn { name, .. } | Op::Prove { name, .. } => slice::from_ref(name),
            Op::Say { to, .. } | Op::Tell { to, .. } | Op::Slam { to } => to,
            _ => &[],
        }
    }

    /// The same, to be changed.
    pub fn names_mut(&mut self) -> &mut [String] {
        match self {
            Op::LogIn { name, .. } | Op::Prove { name, .. } => slice::from_mut(name),
            Op::Say { to, .. } | Op::Tell { to, .. } | Op::Slam { to } => to,
            _ => &mut [],
        }
    }
}

impl BadLine {
    /// All of them.
    pub const ALL: [BadLine; 10] = [
        BadLine::TooLong,
        BadLine::LongTail,
        BadLine::NotUtf8,
        BadLine::Escape,
        BadLine::EscapeLate,
        BadLine::EscapeC1,
        BadLine::NoRecipient,
        BadLine::NoColon,
        BadLine::Empty,
        BadLine::Command,
    ];

    /// The code that answers it once somebody is logged in.
    pub fn code(self) -> &'static str {
        match self {
            BadLine::TooLong | BadLine::LongTail => "line-too-long",
            BadLine::NotUtf8 => "not-utf8",
            BadLine::Escape | BadLine::EscapeLate | BadLine::EscapeC1 => "bad-text",
            BadLine::NoRecipient => "no-recipient",
            BadLine::NoColon => "no-colon",
            BadLine::Empty => "empty-message",
            BadLine::Command => "unknown-command",
        }
    }
}

impl Scenario {
    /// Whether nothing goes wrong by itself and everybody always reads: then nobody ever has to wait for anybody, and no
    /// connection breaks unless its client breaks it.
    pub fn is_calm(&self) -> bool {
        self.faults == Faults::default() && self.is_calm_without_faults()
    }

    /// The same, once faults are over.
    pub fn is_calm_without_faults(&self) -> bool {
        let stalls = |op: &Op| matches!(op, Op::Stall(_));
        self.stop.is_none_or(|stop| stop.again_after_ms.is_none())
            && !self.clients.iter().any(|client| client.ops.iter().any(stalls))
    }
}

impl Scenario {
    /// Whether nobody ever has to wait for time to pass: it is calm, and nobody's lines are held back, nor its passwords.
    pub fn is_prompt(&self) -> bool {
        self.is_calm() && self.lines_per_second_max.is_none() && !self.delays_guesses()
    }

    /// Whether who gives a wrong password waits longer for the next.
    pub fn delays_guesses(&self) -> bool {
        self.origins > 0 && self.takes_passwords()
    }

    /// Whether passwords are looked at, wherever clients come from.
    pub fn takes_passwords(&self) -> bool {
        !self.accounts.is_empty() && (self.origins == 0 || self.limits.clear_passwords_allowed)
    }

    /// What the server is started with.
    pub fn config(&self) -> Config {
        Config {
            limits: self.limits.clone(),
            outbox_bytes_max: self.outbox_bytes_max,
            outbox_bytes_total_max: self.outbox_bytes_total_max,
            outbox_bytes_floor: self.outbox_bytes_floor,
            lines_per_second_max: self.lines_per_second_max,
            write_ms_max: self.write_ms_max,
            hash_seed: [0, 0],
            tuning: self.tuning,
            passwords: (!self.accounts.is_empty()).then(|| Arc::new(Secrets) as Arc<dyn Passwords>),
            accounts: self.accounts.iter().filter_map(|name| Name::parse(name).ok()).collect(),
            ..Config::default()
        }
    }

    /// One of the addresses, as the server counts it.
    pub fn origin(&self, number: usize) -> Origin {
        match number.checked_rem(self.origins) {
            Some(number) => Origin::of(self.address(number).ip()),
            None => Origin::Exempt,
        }
    }

    /// Where a connection comes from, by its number.
    pub fn address(&self, connection: usize) -> SocketAddr {
        let port = u16::try_from(connection % 60_000).unwrap_or_default() + 1024;
        let Some(origin) = connection.checked_rem(self.origins) else {
            return (Ipv4Addr::LOCALHOST, port).into();
        };
        let origin = u16::try_from(origin).unwrap_or(u16::MAX);
        if origin.is_multiple_of(2) {
            return (Ipv4Addr::from_bits(0xc000_0200 | u32::from(origin)), port).into();
        }
        // Never the same address twice, but the same network.
        (Ipv6Addr::new(0x2001, 0xdb8, 0, origin, 0, 0, 0, port), port).into()
    }
}

/// Who has an account has this password.
pub fn password(name: &str) -> String {
    format!("{}'s secret", same(name))
}

/// Knows that.
struct Secrets;

impl Passwords for Secrets {
    fn verify(&self, name: &Name, given: &Password) -> bool {
        given.as_str() == password(name.as_str())
    }
}

impl Default for Scenario {
    /// Nobody, nothing wrong, the limits of the server's defaults but small buffers.
    fn default() -> Scenario {
        Scenario {
            limits: Limits::default(),
            listeners: 1,
            outbox_bytes_max: 64 * 1024,
            outbox_bytes_total_max: usize::MAX,
            outbox_bytes_floor: 64 * 1024,
            lines_per_second_max: None,
            write_ms_max: None,
            origins: 0,
            accounts: Vec::new(),
            pipe_bytes: 4096,
            read_bytes_max: usize::MAX,
            tuning: Tuning::default(),
            stop: None,
            orders: Vec::new(),
            faults: Faults::default(),
            clients: Vec::new(),
        }
    }
}
