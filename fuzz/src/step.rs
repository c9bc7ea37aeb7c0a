//! The target `step`: events in any order, senseless ones too. What must hold always is looked at after each; and the
//! naive model does the same, for as long as the events could come from a real shell.

use std::collections::{BTreeMap, VecDeque};

use arbitrary::Arbitrary;
use bytes::Bytes;
use seriatim::protocol::{Name, Reply, request};
use seriatim::{ConnId, Effect, Event, Limits, Origin, State, step as step_core};

use super::common::model::{self, Action, Model, without_words};
use super::common::world::Seen;
use super::said::said;

/// What happens next. Connections are numbered in the order in which they connect.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Fact<'a> {
    Connected,
    /// A connection that is there, was there, or never will be, connects.
    ConnectedAs(u8),
    /// A line comes, spelled with [`WORDS`].
    Line(u8, &'a [u8]),
    InputEnded(u8),
    Overflowed(u8),
    Disconnected(u8),
    Passed(u8),
    /// It is this moment, and may have been before.
    TickedAt(u64),
    ShutdownRequested,
    Secured(u8),
    /// Whether its password is right; if none is being verified, this is said.
    PasswordVerified(u8, bool),
    /// One of [`ACCOUNTS`].
    AccountsChanged(u8),
    Kicked(u8),
    Banned(u8),
    Unbanned(u8),
    RestartRequested,
}

/// Names that have accounts at times.
pub const ACCOUNTS: [&[&str]; 4] = [&[], &["al"], &["bob", "carol"], &["carol"]];

/// What lines are made of: each byte is one of these. The model knows no other letters.
pub const WORDS: [&str; 25] = [
    "al",
    "AL",
    "bob",
    "zoë",
    "ZOË",
    ":",
    ",",
    " ",
    "/",
    "who",
    "ping",
    "quit",
    "help",
    "\t",
    "\u{7}",
    "-",
    ".",
    "_",
    "x",
    "7",
    "\u{3000}",
    "é",
    "carol",
    "!",
    "'s secret",
];

/// Everything happens; see above.
pub fn step(history: &[Fact]) {
    let mut bench = Bench::new();
    for fact in history {
        bench.happen(fact);
    }
}

/// The line that these words make.
pub fn spell_out(words: &[u8]) -> String {
    words.iter().map(|&word| WORDS[usize::from(word) % WORDS.len()]).collect()
}

/// Those of the properties, with room for a few more to say something.
pub fn limits() -> Limits {
    Limits {
        connections_max: 9,
        connections_per_address_max: Some(3),
        connects_per_minute_max: Some(5),
        logins_pending_max: 6,
        ..model::limits()
    }
}

/// The core twice, under different keys, and what an onlooker knows of it.
struct Bench {
    states: [State; 2],
    /// Until something senseless has happened.
    model: Option<Model>,
    conns: BTreeMap<ConnId, Life>,
    connected: u64,
}

/// What was ordered about a connection.
#[derive(Default)]
struct Life {
    stopped_reading: bool,
    bye: bool,
    closed: bool,
    aborted: bool,
    /// Its password is being verified, and whether it is right.
    verifying: Option<bool>,
}

impl Bench {
    fn new() -> Bench {
        Bench {
            states: [State::new(limits(), [1, 2]), State::new(limits(), [3, 4])],
            model: Some(Model::new(limits())),
            conns: BTreeMap::new(),
            connected: 0,
        }
    }

    fn happen(&mut self, fact: &Fact) {
        let before = self.states[0].now();
        let Some((event, mut action)) = self.translate(fact) else { return };
        if let Event::Requested(conn, _) | Event::InputEnded(conn) | Event::Disconnected(conn) = event
            && self.conns.get(&conn).is_some_and(|life| life.verifying.is_some())
        {
            action = None; // a shell would keep it
        }
        let seen = self.tell(event);
        let now = self.states[0].now();
        assert!(now >= before, "time runs backwards");
        match (action, &mut self.model) {
            (None, model) => *model = None,
            (Some(action), Some(model)) => assert_eq!(without_words(seen), model.act(&action), "{fact:?}"),
            (Some(_), None) => {}
        }
        names_are_held_once(&self.states[0], self.conns.keys().copied());
        assert_eq!(self.states[0].connections(), self.conns.len());
        if let Fact::Passed(_) | Fact::TickedAt(_) = fact {
            // At the end of time all deadlines are in the past.
            let at = self.states[0].next_deadline();
            assert!(at.is_none_or(|at| at > now || now.0 == u64::MAX), "a deadline was missed");
        }
    }

    /// As an event, and as what it means to the model, if anything.
    fn translate(&mut self, fact: &Fact) -> Option<(Event, Option<Action>)> {
        let conn = |client: u8| ConnId(u64::from(client) + 1);
        let now = self.states[0].now();
        Some(match *fact {
            Fact::Connected => {
                self.connected += 1;
                let origin = origin(self.connected);
                (Event::Connected(ConnId(self.connected), origin), Some(Action::Connect(origin)))
            }
            Fact::ConnectedAs(client) => {
                // One that is there already changes nothing, so to the model nothing happens.
                let known = self.conns.contains_key(&conn(client));
                (Event::Connected(conn(client), Origin::Exempt), known.then_some(Action::Pass(0)))
            }
            Fact::Line(client, words) => {
                let line = spell_out(words);
                let request = request::parse(Bytes::from(line.clone()), limits().recipients_max)?;
                (Event::Requested(conn(client), request), Some(Action::Send(client.into(), line)))
            }
            Fact::Secured(client) => (Event::Secured(conn(client)), Some(Action::Secure(client.into()))),
            Fact::PasswordVerified(client, said) => {
                let known = self.conns.get_mut(&conn(client)).and_then(|life| life.verifying.take());
                let action = Some(Action::Verify(client.into()));
                (Event::PasswordVerified(conn(client), known.unwrap_or(said)), action)
            }
            Fact::AccountsChanged(which) => {
                let names = ACCOUNTS[usize::from(which) % ACCOUNTS.len()];
                let parsed = names.iter().map(|name| Name::parse(name).expect("a name")).collect();
                (Event::AccountsChanged(parsed), Some(Action::Accounts(names.to_vec())))
            }
            Fact::Kicked(client) => (Event::Kicked(conn(client)), Some(Action::Kick(client.into()))),
            Fact::Banned(place) => {
                let origin = origin(place.into());
                (Event::Banned(origin), Some(Action::Ban(origin)))
            }
            Fact::Unbanned(place) => {
                let origin = origin(place.into());
                (Event::Unbanned(origin), Some(Action::Unban(origin)))
            }
            Fact::RestartRequested => (Event::RestartRequested, Some(Action::Restart)),
            Fact::InputEnded(client) => (Event::InputEnded(conn(client)), Some(Action::Eof(client.into()))),
            Fact::Overflowed(client) => {
                (Event::OutboxOverflowed(conn(client)), Some(Action::Overflow(client.into())))
            }
            Fact::Disconnected(client) => {
                (Event::Disconnected(conn(client)), Some(Action::Reset(client.into())))
            }
            Fact::Passed(ms) => (Event::Ticked(now.plus(ms.into())), Some(Action::Pass(ms.into()))),
            Fact::TickedAt(at) => {
                // The model counts with plain numbers, which end somewhere.
                let passed = Action::Pass(at.saturating_sub(now.0));
                (Event::Ticked(seriatim::Millis(at)), (at < u64::MAX / 2).then_some(passed))
            }
            Fact::ShutdownRequested => (Event::ShutdownRequested, Some(Action::Stop)),
        })
    }

    /// Tells the core, and what follows from its orders; and says what is seen because of it.
    fn tell(&mut self, event: Event) -> Vec<(usize, Seen)> {
        let mut seen = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for effect in self.step(event) {
                self.check(&effect);
                if let Effect::Abort(conn) = effect {
                    let life = self.conns.get_mut(&conn).expect("only those who are there can be given up");
                    if std::mem::replace(&mut life.aborted, true) {
                        continue; // for two reasons at once
                    }
                    if life.verifying.is_some() {
                        self.model = None; // it would keep that
                    }
                    events.push_back(Event::Disconnected(conn));
                }
                show(effect, &mut seen);
            }
        }
        seen
    }

    /// One step of both cores. An event about a connection that is not there, or a second one that it is, changes nothing.
    fn step(&mut self, event: Event) -> Vec<Effect> {
        let is_new = matches!(event, Event::Connected(..));
        let senseless = event.conn().is_some_and(|conn| self.conns.contains_key(&conn) == is_new);
        let before = senseless.then(|| self.states[0].clone());
        match event {
            Event::Connected(conn, _) => drop(self.conns.entry(conn).or_default()),
            Event::Disconnected(conn) => drop(self.conns.remove(&conn)),
            _ => {}
        }
        let effects = step_core(&mut self.states[0], event.clone());
        assert_eq!(effects, step_core(&mut self.states[1], event), "the key of the hash has an influence");
        if let Some(before) = before {
            assert!(before == self.states[0] && effects.is_empty(), "{effects:?}");
        }
        effects
    }

    /// An order must make sense: it is about connections that are there, and nothing comes behind a goodbye or a close.
    fn check(&mut self, effect: &Effect) {
        match effect {
            Effect::Send { to, reply } => {
                assert!(!to.is_empty());
                for (number, conn) in to.iter().enumerate() {
                    assert!(!to[..number].contains(conn), "{conn} gets one reply twice");
                    let life = self.conns.get_mut(conn).expect("only those who are there get anything");
                    assert!(!life.bye && !life.closed, "{conn} gets something behind its end");
                    life.bye = matches!(reply, Reply::Bye(_));
                }
            }
            Effect::VerifyPassword { conn, name, password, .. } => {
                let life = self.conns.get_mut(conn).expect("only those who are there give passwords");
                assert!(!life.bye && !life.closed, "{conn} gives a password behind its end");
                assert!(life.verifying.is_none(), "{conn} gives two passwords at once");
                life.verifying = Some(password.as_str() == format!("{}'s secret", name.key()));
            }
            Effect::StopReading(conn) => {
                let life = self.conns.get_mut(conn).expect("only those who are there are read");
                assert!(!std::mem::replace(&mut life.stopped_reading, true), "told to stop twice");
            }
            Effect::Close { conn, .. } => {
                let life = self.conns.get_mut(conn).expect("only those who are there can be closed");
                assert!(!std::mem::replace(&mut life.closed, true), "{conn} is closed twice");
            }
            Effect::Abort(_) => {}
            Effect::Stop => assert!(self.conns.is_empty(), "stopped while somebody is there"),
        }
    }
}

/// One of a few places, one of which does not count.
fn origin(number: u64) -> Origin {
    match u32::try_from(number % 4) {
        Ok(0) | Err(_) => Origin::Exempt,
        Ok(address) => Origin::V4(address),
    }
}

/// What clients see of an effect.
fn show(effect: Effect, seen: &mut Vec<(usize, Seen)>) {
    let mut see = |conn: ConnId, what| seen.push((conn.0 as usize - 1, what));
    match effect {
        Effect::Send { to, reply } => {
            let mut lines = Vec::new();
            reply.render(limits().line_bytes_max, &mut lines);
            let lines = String::from_utf8(lines).expect("every server line is UTF-8");
            for line in lines.strip_suffix('\n').expect("every server line ends").split('\n') {
                said(line, &limits());
                to.iter().for_each(|&conn| see(conn, Seen::Line(line.to_owned())));
            }
        }
        Effect::Close { conn, .. } => see(conn, Seen::Closed),
        Effect::Abort(conn) => see(conn, Seen::Aborted),
        Effect::VerifyPassword { .. } | Effect::StopReading(_) | Effect::Stop => {}
    }
}

/// A name is held by one connection, and a connection holds one name (G7).
pub fn names_are_held_once(state: &State, conns: impl Iterator<Item = ConnId>) {
    let mut names = 0;
    for conn in conns {
        if let Some(name) = state.name(conn) {
            assert_eq!(state.holder(name.as_str()), Some(conn), "{name} is held by somebody else");
            names += 1;
        }
    }
    assert_eq!(names, state.peers(), "a name is held by nobody");
    assert!(state.peers() <= state.connections());
}
