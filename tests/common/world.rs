//! The test world: the core with clients around it, without sockets, tasks or a real clock.

use std::collections::{BTreeMap, VecDeque};

use seriatim::protocol::Session;
use seriatim::{ConnId, Effect, Event, Limits, Origin, State, step};

/// What a client sees.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Seen {
    /// A line, without its newline.
    Line(String),
    /// The server closed the connection when all was written.
    Closed,
    /// The server gave the connection up.
    Aborted,
}

/// The broker, its clients' sessions, and everything that was seen.
pub struct World {
    pub limits: Limits,
    pub state: State,
    sessions: BTreeMap<ConnId, Session>,
    next: u64,
    /// What was seen since somebody last asked, in the order in which the broker ordered it.
    seen: Vec<(ConnId, Seen)>,
    /// Whether the broker ordered the end.
    pub stopped: bool,
    /// Reading stops and connections close at once when the broker says so; if this is false, the test says when.
    pub obedient: bool,
    /// Passwords are verified at once; if this is false, the test says when, and until then the world keeps what that client
    /// does.
    pub hasty: bool,
    verifying: BTreeMap<ConnId, Verifying>,
    /// What happens because of what was ordered.
    following: VecDeque<Event>,
    /// Every event and effect, as JSON lines, if that is wanted.
    pub log: Option<Vec<String>>,
}

/// A password that is being verified.
struct Verifying {
    is_right: bool,
    /// What its client has done since.
    kept: VecDeque<Event>,
}

impl World {
    pub fn new(limits: Limits) -> World {
        World::with_seed(limits, [7, 7])
    }

    pub fn with_seed(limits: Limits, hash_seed: [u64; 2]) -> World {
        World {
            state: State::new(limits.clone(), hash_seed),
            limits,
            sessions: BTreeMap::new(),
            next: 1,
            seen: Vec::new(),
            stopped: false,
            obedient: true,
            hasty: true,
            verifying: BTreeMap::new(),
            following: VecDeque::new(),
            log: None,
        }
    }

    pub fn connect(&mut self, origin: Origin) -> ConnId {
        let conn = ConnId(self.next);
        self.next += 1;
        self.sessions.insert(conn, Session::new(&self.limits));
        self.tell(Event::Connected(conn, origin));
        conn
    }

    /// The client sends bytes. Ignored when it is gone.
    pub fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        let mut requests = Vec::new();
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.feed(bytes, &mut requests);
        }
        for request in requests {
            self.bring(conn, Event::Requested(conn, request));
        }
    }

    /// The client closes its side.
    pub fn end_input(&mut self, conn: ConnId) {
        let mut requests = Vec::new();
        if let Some(session) = self.sessions.get_mut(&conn) {
            session.finish(&mut requests);
        }
        for request in requests {
            self.bring(conn, Event::Requested(conn, request));
        }
        self.bring(conn, Event::InputEnded(conn));
    }

    /// The connection breaks.
    pub fn disconnect(&mut self, conn: ConnId) {
        if self.sessions.remove(&conn).is_some() {
            self.bring(conn, Event::Disconnected(conn));
        }
    }

    /// The connection has closed, as it was told to. For a world that is not `obedient`.
    pub fn close(&mut self, conn: ConnId) {
        assert!(self.sessions.remove(&conn).is_some(), "it is there");
        self.bring(conn, Event::Disconnected(conn));
    }

    /// Time passes.
    pub fn pass(&mut self, ms: u64) {
        self.tell(Event::Ticked(self.state.now().plus(ms)));
    }

    pub fn is_connected(&self, conn: ConnId) -> bool {
        self.sessions.contains_key(&conn)
    }

    /// What was seen since this was last asked.
    pub fn take_seen(&mut self) -> Vec<(ConnId, Seen)> {
        std::mem::take(&mut self.seen)
    }

    /// It turns out whether the password of this client is right.
    pub fn verify(&mut self, conn: ConnId) {
        let Some(Verifying { is_right, mut kept }) = self.verifying.remove(&conn) else { return };
        self.tell(Event::PasswordVerified(conn, is_right));
        while let Some(event) = kept.pop_front() {
            self.bring(conn, event);
        }
    }

    /// A client that waits for its password to be verified.
    pub fn next_verifying(&self) -> Option<ConnId> {
        self.verifying.keys().next().copied()
    }

    /// A client has done something, which waits if its password is being verified.
    fn bring(&mut self, conn: ConnId, event: Event) {
        match self.verifying.get_mut(&conn) {
            Some(verifying) => verifying.kept.push_back(event),
            None => self.tell(event),
        }
    }

    pub fn tell(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            self.write_down(&event);
            for effect in step(&mut self.state, event) {
                self.write_down(&effect);
                self.carry_out(effect);
            }
            next = self.following.pop_front();
        }
    }

    fn write_down(&mut self, item: &impl serde::Serialize) {
        if let Some(log) = &mut self.log {
            log.push(serde_json::to_string(item).unwrap());
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, reply } => {
                let mut lines = Vec::new();
                reply.render(self.limits.line_bytes_max, &mut lines);
                let lines = String::from_utf8(lines).expect("every server line is UTF-8");
                assert!(lines.ends_with('\n'), "{lines:?}");
                for conn in to {
                    self.seen.extend(lines.lines().map(|line| (conn, Seen::Line(line.to_owned()))));
                }
            }
            // Who has an account has this password.
            Effect::VerifyPassword { conn, name, password, .. } => {
                let is_right = password.as_str() == format!("{}'s secret", name.key());
                if self.hasty {
                    self.following.push_back(Event::PasswordVerified(conn, is_right));
                } else {
                    self.verifying.insert(conn, Verifying { is_right, kept: VecDeque::new() });
                }
            }
            Effect::StopReading(conn) if self.obedient => self.follow(conn, Event::InputEnded(conn)),
            Effect::StopReading(_) => {}
            Effect::Close { conn, .. } => {
                self.seen.push((conn, Seen::Closed));
                self.release(conn);
                if self.obedient && self.sessions.remove(&conn).is_some() {
                    self.follow(conn, Event::Disconnected(conn));
                }
            }
            Effect::Abort(conn) => {
                self.release(conn);
                if self.sessions.remove(&conn).is_some() {
                    self.seen.push((conn, Seen::Aborted));
                    self.follow(conn, Event::Disconnected(conn));
                }
            }
            Effect::Stop => self.stopped = true,
        }
    }

    /// The session is over: nothing waits for its password any more.
    fn release(&mut self, conn: ConnId) {
        if let Some(Verifying { kept, .. }) = self.verifying.remove(&conn) {
            self.following.extend(kept);
        }
    }

    /// A client has done something because of what was ordered.
    fn follow(&mut self, conn: ConnId, event: Event) {
        match self.verifying.get_mut(&conn) {
            Some(verifying) => verifying.kept.push_back(event),
            None => self.following.push_back(event),
        }
    }
}
