//! [`Marks`]: what a run has met. A simulator that never meets what it is for proves nothing, so a full run in which one
//! of [`WANTED`] was never met has failed.

use std::borrow::Cow;
use std::collections::VecDeque;

use hashbrown::{HashMap, HashSet};
use seriatim::protocol::{Farewell, LineError, NameError, Refusal, Reply, Request};
use seriatim::{ConnId, Effect, Event};

use crate::history::{History, Item, Sent, SessionHistory, What};

/// What a full run must meet at least once.
pub const WANTED: &[&str] = &[
    // Of the broker.
    "somebody logged in",
    "a name was taken",
    "a line came before the name",
    "a name was bad",
    "a name was taken again after its holder had left",
    "a name was taken again while its last holder's mail waited",
    "a session ended without a name",
    "a password was right",
    "a password was wrong",
    "a name was reserved",
    "a password for a name without an account",
    "a name without an account where one is required",
    "a password that others may have read",
    "a password took its time",
    "what verifies a password panicked",
    "the login deadline came while a password was verified",
    "the server was asked to stop while a password was verified",
    "a message to one",
    "a message to several",
    "a message to oneself",
    "a message in part to nobody",
    "a line was too long",
    "a line was not UTF-8",
    "a line had control characters",
    "a line had no recipient",
    "a line had too many recipients",
    "a line had no text",
    "a line had no colon",
    "a command was unknown",
    "a line came from a session that was over",
    "a line after the end of the server was asked for",
    "bye: quit",
    "bye: login timeout",
    "bye: too slow",
    "bye: server shutting down",
    "bye: server restarting",
    "bye: kicked",
    "bye: banned",
    "bye: idle",
    "bye: server full",
    "bye: too many connections from your address",
    "bye: too many new connections from your address",
    "bye: too many logins pending",
    "a connection was dropped without a word",
    "a client closed its side",
    "a client closed its side during the shutdown",
    "an outbox overflowed",
    "a connection was given up",
    "a connection ended that was active",
    "the server stopped",
    "a session was kicked",
    "a kick found nobody",
    "an address was banned",
    "an address was banned no more",
    // Of the network.
    "a connection was reset",
    "a reset destroyed bytes on their way",
    "a connection broke by itself",
    "a connection was refused",
    "nobody listened any more",
    "accepting failed",
    "a read was torn",
    "a write was torn",
    "a read was interrupted",
    "a write was interrupted",
    "there was nothing to read, though it had been said",
    "what was written took its time",
    "the clock jumped",
    "the server had to wait for a client to read",
    "a link was clogged",
    "a write had to wait",
    "a connection that took nothing was reset",
    "a second signal ended the process",
    // Of what clients saw.
    "a send raced a login and came behind it",
    "a send raced a login and came before it",
    "a client read to the end after it had closed its side",
    "a client's connection broke",
    "a client was closed in the middle of its mail",
    "a client got a message out after it had got one",
    "lines were written behind a password before it was verified",
    "a client left while its password was verified",
    "lines were taken at their pace",
    "all outboxes together were full",
    "mail came to somebody who came when faults were over",
    "a list of peers took several lines",
    "a message without a receipt went to the same as the one before",
];

/// A line of a list of peers that has fewer names than the list.
fn is_part_of_a_list(item: &Item) -> bool {
    let What::Read(line) = &item.what else { return false };
    let list = line.strip_prefix("peers ").and_then(|list| list.split_once(':'));
    list.is_some_and(|(count, names)| {
        count.parse().is_ok_and(|count: usize| names.split(',').count() < count)
    })
}

/// To whom a message goes that has no receipt.
fn bare(item: &Item) -> Option<&[String]> {
    match &item.what {
        What::Wrote(Sent::Say { to, bare: true, .. }) => Some(to),
        _ => None,
    }
}

/// What was met, and how often.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// How often each was met.
    pub met: HashMap<Cow<'static, str>, u64>,
    conns: HashMap<ConnId, ConnState>,
    names_left: HashMap<String, ConnId>,
    stopping: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct ConnState {
    name: Option<String>,
    over: bool,
    verifying: bool,
}

impl Marks {
    /// It was met.
    pub fn hit(&mut self, mark: &'static str) {
        *self.met.entry(Cow::Borrowed(mark)).or_default() += 1;
    }

    pub(crate) fn hit_owned(&mut self, mark: String) {
        *self.met.entry(Cow::Owned(mark)).or_default() += 1;
    }

    /// Takes over what another run met.
    pub fn add(&mut self, other: &Marks) {
        if self.met.is_empty() {
            self.met.clone_from(&other.met);
            return;
        }
        for (mark, count) in &other.met {
            *self.met.entry(mark.clone()).or_default() += count;
        }
    }

    /// What should have been met and was not.
    pub fn missing(&self) -> Vec<&'static str> {
        WANTED.iter().copied().filter(|&mark| !self.met.contains_key(mark)).collect()
    }

    pub(crate) fn event(&mut self, event: &Event) {
        match event {
            Event::Connected(conn, _) => drop(self.conns.insert(*conn, ConnState::default())),
            Event::Requested(conn, request) => self.request(*conn, request),
            Event::InputEnded(_) if self.stopping => self.hit("a client closed its side during the shutdown"),
            Event::InputEnded(_) => self.hit("a client closed its side"),
            Event::OutboxOverflowed(_) => self.hit("an outbox overflowed"),
            Event::Disconnected(conn) => {
                if let Some(conn) = self.conns.remove(conn)
                    && !conn.over
                {
                    self.hit("a connection ended that was active");
                }
            }
            Event::ShutdownRequested | Event::RestartRequested => {
                self.stopping = true;
                if self.conns.values().any(|conn| conn.verifying) {
                    self.hit("the server was asked to stop while a password was verified");
                }
            }
            Event::PasswordVerified(conn, is_right) => {
                if let Some(conn) = self.conns.get_mut(conn) {
                    conn.verifying = false;
                }
                self.hit(if *is_right { "a password was right" } else { "a password was wrong" });
            }
            Event::Kicked(_) => self.hit("a session was kicked"),
            Event::Banned(_) => self.hit("an address was banned"),
            Event::Unbanned(_) => self.hit("an address was banned no more"),
            Event::Ticked(_) | Event::Secured(_) | Event::Certified(..) | Event::AccountsChanged(_) => {}
        }
    }

    fn request(&mut self, conn: ConnId, request: &Request) {
        if self.stopping {
            self.hit("a line after the end of the server was asked for");
        }
        if self.conns.get(&conn).is_some_and(|conn| conn.over) {
            self.hit("a line came from a session that was over");
        }
        if let Request::Message(message) = request {
            let name = self.conns.get(&conn).and_then(|conn| conn.name.as_deref());
            if message.recipients().any(|to| Some(to) == name) {
                self.hit("a message to oneself");
            }
        }
    }

    pub(crate) fn effect(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { to, reply } => self.reply(to, reply),
            Effect::Close { conn, .. } => self.close(*conn),
            Effect::Abort(conn) => {
                let told = self.conns.get(conn).is_none_or(|conn| conn.over);
                self.hit(if told || self.stopping {
                    "a connection was given up"
                } else {
                    "a connection was dropped without a word"
                });
            }
            Effect::Stop => self.hit("the server stopped"),
            Effect::VerifyPassword { conn, .. } => {
                if let Some(conn) = self.conns.get_mut(conn) {
                    conn.verifying = true;
                }
            }
            Effect::StopReading(_) => {}
        }
    }

    fn reply(&mut self, to: &[ConnId], reply: &Reply) {
        match reply {
            Reply::Welcome(name) => {
                self.hit("somebody logged in");
                let name = name.key().to_owned();
                if let Some(last) = self.names_left.get(&name) {
                    let waiting = self.conns.contains_key(last);
                    self.hit("a name was taken again after its holder had left");
                    if waiting {
                        self.hit("a name was taken again while its last holder's mail waited");
                    }
                }
                if let Some(conn) = to.first().and_then(|conn| self.conns.get_mut(conn)) {
                    conn.name = Some(name);
                }
            }
            Reply::From { .. } if to.len() == 1 => self.hit("a message to one"),
            Reply::From { .. } => self.hit("a message to several"),
            Reply::Error(refusal) => self.refusal(refusal),
            Reply::Bye(Farewell::LoginTimeout)
                if to.iter().any(|conn| self.conns.get(conn).is_some_and(|conn| conn.verifying)) =>
            {
                self.hit("bye: login timeout");
                self.hit("the login deadline came while a password was verified");
            }
            Reply::Bye(why) => self.hit(match why {
                Farewell::Quit => "bye: quit",
                Farewell::LoginTimeout => "bye: login timeout",
                Farewell::TooSlow => "bye: too slow",
                Farewell::ShuttingDown => "bye: server shutting down",
                Farewell::Idle => "bye: idle",
                Farewell::ServerFull => "bye: server full",
                Farewell::AddressFull => "bye: too many connections from your address",
                Farewell::AddressTooFast => "bye: too many new connections from your address",
                Farewell::TooManyLogins => "bye: too many logins pending",
                Farewell::Banned => "bye: banned",
                Farewell::Kicked => "bye: kicked",
                Farewell::Restarting => "bye: server restarting",
            }),
            Reply::Peers(_) | Reply::Pong(_) | Reply::Help => {}
        }
    }

    fn refusal(&mut self, refusal: &Refusal) {
        self.hit(match refusal {
            Refusal::NameTaken(_) => "a name was taken",
            Refusal::BadName(NameError::NotLoggedIn | NameError::Control) => "a line came before the name",
            Refusal::BadName(_) => "a name was bad",
            Refusal::NameReserved(_) => "a name was reserved",
            Refusal::WrongPassword(_) => "somebody gave a wrong password",
            Refusal::NoSuchAccount(_) => "a password for a name without an account",
            Refusal::AccountRequired => "a name without an account where one is required",
            Refusal::Unencrypted => "a password that others may have read",
            Refusal::NoColon => "a line had no colon",
            // The receipt alone means that everybody else is here.
            Refusal::NoSuchPeer(missing) if matches!(&missing[..], [one] if one.as_str().starts_with('~')) => {
                "a receipt"
            }
            Refusal::NoSuchPeer(_) => "a message in part to nobody",
            Refusal::Line(error) => match error {
                LineError::TooLong { .. } => "a line was too long",
                LineError::NotUtf8 => "a line was not UTF-8",
                LineError::BadText => "a line had control characters",
                LineError::NoRecipient => "a line had no recipient",
                LineError::TooManyRecipients { .. } => "a line had too many recipients",
                LineError::EmptyMessage => "a line had no text",
                LineError::UnknownCommand(_) => "a command was unknown",
            },
        });
    }

    fn close(&mut self, conn: ConnId) {
        let Some(state) = self.conns.get_mut(&conn) else { return };
        state.over = true;
        match state.name.take() {
            Some(name) => drop(self.names_left.insert(name, conn)),
            None => self.hit("a session ended without a name"),
        }
    }

    /// What can be told only from what the clients wrote and read.
    pub(crate) fn history(&mut self, history: &History) {
        for session in &history.sessions {
            let ended = session.items.iter().any(|item| matches!(item.what, What::Ended));
            match session.items.last().map(|item| &item.what) {
                Some(What::Closed(_)) if ended => {
                    self.hit("a client read to the end after it had closed its side");
                }
                Some(What::Broke) => self.hit("a client's connection broke"),
                _ => {}
            }
            let asks = |item: &Item| matches!(item.what, What::Wrote(Sent::Who));
            if session.items.iter().any(asks) && session.items.iter().any(is_part_of_a_list) {
                self.hit("a list of peers took several lines");
            }
            self.passwords(session);
            let bare: Vec<_> = session.items.iter().filter_map(bare).collect();
            if bare.windows(2).any(|pair| pair[0] == pair[1]) {
                self.hit("a message without a receipt went to the same as the one before");
            }
            let lines = session.items.iter().rev().filter_map(|item| match &item.what {
                What::Read(line) => Some(line.as_str()),
                _ => None,
            });
            let last: Vec<&str> = lines.take(2).collect();
            if matches!(last[..], ["bye too slow", before] if before.starts_with("from ")) {
                self.hit("a client was closed in the middle of its mail");
            }
        }
        // That is a matter of the square of the history.
        if history.sessions.len() <= 32 {
            self.races(history);
        }
    }

    /// What clients did while they waited to hear of a password. Until the welcome every line has one answer.
    fn passwords(&mut self, session: &SessionHistory) {
        let (mut waiting, mut behind) = (VecDeque::new(), false);
        for item in &session.items {
            match &item.what {
                What::Wrote(sent) => {
                    behind |= waiting.contains(&true);
                    waiting.push_back(matches!(sent, Sent::Proof { .. }));
                }
                What::Read(line) if line.starts_with("welcome ") => break,
                What::Read(_) => drop(waiting.pop_front()),
                What::Ended | What::Reset if waiting.front() == Some(&true) => {
                    self.hit("a client left while its password was verified");
                    break;
                }
                _ => {}
            }
        }
        if behind {
            self.hit("lines were written behind a password before it was verified");
        }
    }

    fn races(&mut self, history: &History) {
        let mut delivered: HashSet<&str> = HashSet::new();
        for line in history.sessions.iter().flat_map(|session| &session.items) {
            if let What::Read(line) = &line.what
                && let Some((_, text)) = line.strip_prefix("from ").and_then(|line| line.split_once(": "))
            {
                delivered.insert(text);
            }
        }
        for session in &history.sessions {
            let mut answered = false;
            for item in &session.items {
                match &item.what {
                    What::Read(line) => answered |= line.starts_with("from "),
                    What::Wrote(Sent::Say { to, text, .. }) => {
                        let got = delivered.contains(text.as_str());
                        if got && answered {
                            self.hit("a client got a message out after it had got one");
                        }
                        self.race(history, item.at, to, got);
                    }
                    _ => {}
                }
            }
        }
    }

    /// A message was written while somebody whom it is for was logging in.
    fn race(&mut self, history: &History, at: u64, to: &[String], got: bool) {
        for session in &history.sessions {
            let mut asked = None;
            for item in &session.items {
                match &item.what {
                    What::Wrote(Sent::Name(name)) if to.contains(name) => asked = Some(item.at),
                    What::Read(line) if line.starts_with("welcome ") => {
                        if asked.is_some_and(|asked| asked < at && at < item.at) {
                            self.hit(if got {
                                "a send raced a login and came behind it"
                            } else {
                                "a send raced a login and came before it"
                            });
                        }
                        break;
                    }
                    _ => {}
                }
            }
        }
    }
}
