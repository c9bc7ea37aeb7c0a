//! [`History`]: what each client wrote and read, in one order. This is all that the judge gets. [`Recorder`] keeps it.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

use seriatim::{ConnId, Millis};

use crate::scenario::{BadLine, Command, Scenario};
use crate::world::lock;

/// What all clients wrote and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// How many recipients a line may list, the receipt among them.
    pub recipients_max: usize,
    /// Who may log in, and how.
    #[serde(default)]
    pub logins: Logins,
    /// What the operator may have ordered.
    #[serde(default)]
    pub orders: Orders,
    /// One for each connection, in the order in which they were made.
    pub sessions: Vec<SessionHistory>,
}

/// What the judge has to know of logins.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Logins {
    /// The names that are reserved.
    pub accounts: Vec<String>,
    /// Their passwords are looked at; otherwise others might read them on the way.
    pub taken: bool,
    /// Nobody else may log in.
    pub required: bool,
    /// What verifies a password may panic, and then it is wrong.
    pub may_panic: bool,
}

/// What the judge has to know of the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Orders {
    /// All that it may order while the server serves.
    pub commands: Vec<Command>,
    /// From how many addresses clients come, in turn; 0: from one that cannot be banned.
    pub origins: usize,
    /// If it stops the server, then for another one to take its place.
    pub restart: bool,
}

/// What one client wrote and read over one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHistory {
    /// When the connection was made, in milliseconds of the run.
    pub ms: u64,
    /// In order.
    pub items: Vec<Item>,
}

impl SessionHistory {
    /// What was read last, and where. A goodbye is nowhere else: behind it nothing may come, or the judge objects.
    pub(crate) fn last_read(&self) -> Option<(usize, &Item)> {
        self.items.iter().enumerate().rev().find(|(_, item)| matches!(item.what, What::Read(_)))
    }
}

/// Something a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its place among all that clients did and saw: what is written may take effect only after, what is read has only
    /// before.
    pub at: u64,
    /// When that was, in milliseconds of the run.
    pub ms: u64,
    /// What it was.
    pub what: What,
}

/// What a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It began to write a line. If the connection breaks, perhaps not all of it went out.
    Wrote(Sent),
    /// It closed its side.
    Ended,
    /// It broke the connection.
    Reset,
    /// It read a line, here without the newline.
    Read(String),
    /// The server closed the connection. Text that came without a newline, if any.
    Closed(String),
    /// The connection broke.
    Broke,
}

impl What {
    /// The server says that this client is too slow.
    pub(crate) fn is_bye_too_slow(&self) -> bool {
        matches!(self, What::Read(line) if line == "bye too slow")
    }

    /// The server says that it ends.
    pub(crate) fn is_goodbye(&self) -> bool {
        matches!(self, What::Read(line) if is_goodbye(line))
    }

    /// The server lets the client be somebody.
    pub(crate) fn is_welcome(&self) -> bool {
        matches!(self, What::Read(line) if line.starts_with("welcome "))
    }

    /// The server's last word, whatever the reason.
    pub(crate) fn is_bye(&self) -> bool {
        matches!(self, What::Read(line) if line.starts_with("bye "))
    }

    /// One of the two sides is done with the connection.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, What::Ended | What::Reset | What::Closed(_) | What::Broke)
    }

    /// From here on a session may be over.
    pub(crate) fn is_over(&self) -> bool {
        self.is_bye() || self.is_gone() || matches!(self, What::Wrote(Sent::Quit))
    }
}

/// What a client wrote, as it means it. Every line of a session has a number of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    /// A name.
    Name(String),
    /// A name with a password.
    Proof {
        /// The name.
        name: String,
        /// The password is its own.
        right: bool,
    },
    /// A message to these, with a text that begins with its [`tag`], and with a receipt, the recipient `~TAG`, who does not
    /// exist: so the sender is always told, and told of which message.
    Say {
        /// The number of the line in its session.
        number: usize,
        /// To whom, as written.
        to: Vec<String>,
        /// The whole text.
        text: String,
        /// Without a receipt: what is answered for sure is the ping behind it.
        #[serde(default)]
        bare: bool,
    },
    /// `/ping` with a [`token`].
    Ping {
        /// The number of the line in its session.
        number: usize,
    },
    /// `/who`.
    Who,
    /// A line that breaks a rule.
    Bad(BadLine),
    /// `/quit`.
    Quit,
}

/// As a violation names it.
impl fmt::Display for Sent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sent::Name(name) => write!(f, "the name {name:?}"),
            Sent::Proof { name, right: true } => write!(f, "the name {name:?} with its password"),
            Sent::Proof { name, right: false } => write!(f, "the name {name:?} with a wrong password"),
            Sent::Say { text, .. } => write!(f, "{text:?}"),
            Sent::Ping { .. } => f.write_str("/ping"),
            Sent::Who => f.write_str("/who"),
            Sent::Bad(rule) => write!(f, "a bad line ({})", rule.code()),
            Sent::Quit => f.write_str("/quit"),
        }
    }
}

/// Whether this line of the server's reports who did not get a message that had no receipt.
pub(crate) fn is_bare_report(line: &str) -> bool {
    line.starts_with("error no-such-peer: ") && !line.contains('~')
}

/// Whether this line of the server's says that it ends.
pub(crate) fn is_goodbye(line: &str) -> bool {
    matches!(line, "bye server shutting down" | "bye server restarting")
}

impl Sent {
    /// The name that this line asks for.
    pub fn asks_for(&self) -> Option<&String> {
        match self {
            Sent::Name(name) | Sent::Proof { name, .. } => Some(name),
            _ => None,
        }
    }
}

/// The session of a connection: one listener accepts them in the order in which they were made, and several nearly so.
pub(crate) fn session_of(conn: ConnId, sessions: usize) -> Option<usize> {
    usize::try_from(conn.0).ok()?.checked_sub(1).filter(|&session| session < sessions)
}

/// What makes a line unique: its session and its number in it.
pub fn tag(session: usize, number: usize) -> String {
    let (mut before, mut behind) = (itoa::Buffer::new(), itoa::Buffer::new());
    [before.format(session), ".", behind.format(number)].concat()
}

/// The token of a ping: more than a word.
pub fn token(session: usize, number: usize) -> String {
    format!("{} and  more", tag(session, number))
}

/// The session and the number that a tag stands for.
pub fn untag(tag: &str) -> Option<(usize, usize)> {
    let (session, number) = tag.split_once('.')?;
    Some((session.parse().ok()?, number.parse().ok()?))
}

/// A message as the server hands it on.
pub(crate) struct Delivered<'a> {
    pub(crate) from: &'a str,
    pub(crate) text: &'a str,
    /// The session and the number of the line that it says it is, if it says that.
    pub(crate) cause: Option<(usize, usize)>,
}

/// The message that this line of the server's is, if it is one.
pub(crate) fn delivered(line: &str) -> Option<Delivered<'_>> {
    // No name has a colon in it.
    let (from, text) = line.strip_prefix("from ")?.split_once(':')?;
    let text = text.strip_prefix(' ')?;
    let tag = text.strip_prefix('m').and_then(|text| text.split(' ').next());
    Some(Delivered { from, text, cause: tag.and_then(untag) })
}

/// Writes down what clients do and see while they do it, and knows who waits for the server.
#[derive(Debug, Default)]
pub struct Recorder {
    /// Orders what clients do and see, and whatever else is written down.
    stamp: AtomicU64,
    inner: Mutex<Recorded>,
}

#[derive(Debug, Default)]
struct Recorded {
    history: History,
    /// How much clients have done and seen.
    items: u64,
    /// What each session still has to get: answers, and the end if it asked for that. `None`: it is over.
    waits: Vec<Option<usize>>,
    /// All of these together.
    waiting: usize,
}

impl Recorder {
    /// Nothing has happened yet.
    pub fn new(scenario: &Scenario) -> Arc<Recorder> {
        let recorder = Recorder::default();
        {
            let history = &mut lock(&recorder.inner).history;
            history.recipients_max = scenario.limits.recipients_max;
            history.logins = Logins {
                accounts: scenario.accounts.clone(),
                taken: scenario.takes_passwords(),
                required: scenario.limits.account_required,
                may_panic: scenario.faults.password_panic > 0,
            };
            history.orders = Orders {
                commands: scenario.orders.iter().map(|order| order.what.clone()).collect(),
                origins: scenario.origins,
                restart: scenario.stop.is_some_and(|stop| stop.restart),
            };
        }
        Arc::new(recorder)
    }

    /// The next number in the order of all that happens.
    pub fn stamp(&self) -> u64 {
        self.stamp.fetch_add(1, Ordering::SeqCst)
    }

    /// The number that comes next in that order.
    pub fn next_stamp(&self) -> u64 {
        self.stamp.load(Ordering::SeqCst)
    }

    /// How much clients have done and seen so far, whatever else is written down.
    pub fn items(&self) -> u64 {
        lock(&self.inner).items
    }

    /// A connection was made at this moment; returns the number of its session.
    pub fn open(&self, now: Millis) -> usize {
        let mut inner = lock(&self.inner);
        inner.history.sessions.push(SessionHistory { ms: now.0, items: Vec::new() });
        inner.waits.push(Some(0));
        inner.waits.len() - 1
    }

    /// Something happened in a session at this moment.
    pub fn write_down(&self, session: usize, now: Millis, what: What) {
        let mut inner = lock(&self.inner);
        if let Some(before) = inner.waits[session] {
            let now = match &what {
                What::Wrote(Sent::Say { bare: true, .. }) => Some(before),
                What::Wrote(_) | What::Ended => Some(before + 1),
                What::Read(line) if line.starts_with("from ") || line.starts_with("bye ") => Some(before),
                What::Read(line) if is_bare_report(line) => Some(before),
                What::Read(_) => Some(before.saturating_sub(1)),
                What::Reset | What::Closed(_) | What::Broke => None,
            };
            inner.waits[session] = now;
            inner.waiting = inner.waiting + now.unwrap_or_default() - before;
        }
        inner.items += 1;
        let at = self.stamp();
        inner.history.sessions[session].items.push(Item { at, ms: now.0, what });
    }

    /// Whether anybody has written something, or closed its side, and not got the answer to it yet.
    pub fn anybody_waits(&self) -> bool {
        lock(&self.inner).waiting > 0
    }

    /// What was written down.
    pub fn take(&self) -> History {
        std::mem::take(&mut lock(&self.inner).history)
    }
}
