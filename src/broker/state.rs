//! [`State`]: all that the broker remembers.

use alloc::borrow::Cow;
use alloc::boxed::Box;
use alloc::collections::{BTreeSet, VecDeque};
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::hash::BuildHasher;
use core::ops::{Deref, DerefMut};

use hashbrown::{HashMap, HashSet};

use super::admission::{Admission, Standing};
use super::conn_map::ConnMap;
use super::counters::Counters;
use super::effect::{CloseReason, Conns};
use super::event::{ConnId, Millis};
use super::guesses::Guesses;
use super::hash::{SecretHash, TextHash};
use super::names::Names;
use super::origin::Origin;
use crate::Limits;
use crate::protocol::Name;

/// All that the broker remembers. Changed by [`step`](crate::step) alone.
///
/// The life of one connection:
///
/// ```text
///  Connected            a free name            InputEnded, /quit, kicked,
///      │                     │                 overflow, shutdown
///      ▼                     ▼                        │
///  ┌──────────┐         ┌──────────┐                  ▼        ┌──────────┐
///  │ Greeting │────────►│  Active  │──────────────────────────►│ Closing  │
///  └──────────┘         └──────────┘                           └──────────┘
///    ▲ │  │             ▲ right                                  ▲    │ flushed, or given up
///    │ │  ▼ a password  │                                        │    ▼
///    │ │ ┌───────────┐  │               Disconnected, from anywhere: forgotten
///    │ │ │ Verifying │──┘                                        │
///    │ │ └───────────┘                                           │
///    └─┼──────┤ wrong                                            │
///      └──────┴──────────────────────────────────────────────────┘
///             login timeout, InputEnded, kicked, overflow, shutdown
/// ```
///
/// A connection that is refused is `Closing` from the beginning. A name is held by exactly the connections that are
/// `Active`, one each.
///
/// Equal states answer all events to come with equal effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub(super) limits: Limits,
    pub(super) now: Millis,
    pub(super) conns: ConnMap<Conn>,
    /// Who holds which name.
    names: Shortcut<Names>,
    /// How many names have been given back.
    pub(super) names_freed: Shortcut<u64>,
    /// The names that belong to accounts.
    pub(super) accounts: HashSet<Name, TextHash>,
    /// The names for which connections that have not logged in yet have shown certificates.
    pub(super) certified: HashMap<ConnId, Name, foldhash::fast::FixedState>,
    pub(super) admission: Admission,
    pub(super) guesses: Guesses,
    /// When each greeting connection must have logged in.
    pub(super) logins: Deadlines,
    /// When to look whether a peer has said something lately: one moment for each peer, and none later than it must.
    idles: BTreeSet<(Millis, ConnId)>,
    /// When each closing connection must be gone.
    pub(super) flushes: Deadlines,
    /// When each refused connection must be gone.
    pub(super) refusals: Deadlines,
    pub(super) drain: Drain,
    /// Why the drain, for those who are told.
    pub(super) farewell: CloseReason,
    pub(super) counters: Shortcut<Counters>,
    /// See [`State::work`].
    pub(super) work: Shortcut<u64>,
    /// The names of all peers, sorted, if somebody has asked since the last of them came or went.
    peer_names: Shortcut<Option<Arc<[Name]>>>,
}

/// What it costs to fold a byte of a name that is not ASCII, and to sort a name among others, as [`State::work`] counts it.
pub(super) const FOLDED_BYTE_WORK: u64 = 3;
const SORTED_NAME_WORK: u64 = 4;

/// What the broker knows of one connection. Most are idle, and there are many: what few of them need is in a box.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conn {
    pub(super) phase: Phase,
    /// More may come from it.
    pub(super) input_open: bool,
    /// Nobody reads on the way what it sends.
    pub(super) secured: bool,
    pub(super) standing: Standing,
    /// How long it has said nothing, if that has a limit.
    silence: Option<Box<Silence>>,
    route: Shortcut<Option<Box<Route>>>,
}

/// How long a peer has said nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Silence {
    /// When its last line came.
    heard_at: Millis,
    /// Its place among the `idles`.
    idle_at: Millis,
}

/// To whom a peer has last sent something: most say the next thing to the same.
#[derive(Clone, Debug)]
struct Route {
    /// The list of recipients as it was written.
    list: Box<[u8]>,
    /// Who that was, and how many names had been given back by then: since none was, they still hold their names.
    to: Conns,
    names_freed: u64,
}

/// The longest list of recipients that is remembered, in bytes.
const ROUTE_BYTES_MAX: usize = 1024;

/// What is only there to save work or to be looked at: with it and without it, the effects are the same. So states that differ
/// in nothing else are equal.
#[derive(Clone, Debug)]
pub(super) struct Shortcut<T>(T);

impl<T> Deref for Shortcut<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> DerefMut for Shortcut<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.0
    }
}

impl<T> PartialEq for Shortcut<T> {
    fn eq(&self, _: &Shortcut<T>) -> bool {
        true
    }
}

impl<T> Eq for Shortcut<T> {}

impl Conn {
    pub(super) fn new(phase: Phase, input_open: bool, standing: Standing) -> Conn {
        Conn { phase, input_open, secured: false, standing, silence: None, route: Shortcut(None) }
    }

    /// The recipients of its last message, if this is the same list and they surely still hold their names: so many names have
    /// been given back by now.
    pub(super) fn route(&self, list: &[u8], names_freed: u64) -> Option<Conns> {
        let route = self.route.0.as_deref()?;
        (route.names_freed == names_freed && *route.list == *list).then(|| Conns::from_slice(&route.to))
    }

    /// A line has come from it.
    pub(super) fn hear(&mut self, now: Millis) {
        if let Some(silence) = &mut self.silence {
            silence.heard_at = now;
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Greeting,
    /// It has given a password for this name, and nobody knows yet whether that is right.
    Verifying(Name),
    Active(Name),
    Closing,
}

impl Phase {
    /// The name that it holds.
    pub(super) fn name(&self) -> Option<&Name> {
        match self {
            Phase::Active(name) => Some(name),
            Phase::Greeting | Phase::Verifying(_) | Phase::Closing => None,
        }
    }

    /// It has not logged in yet, and may still do so.
    pub(super) fn is_login(&self) -> bool {
        matches!(self, Phase::Greeting | Phase::Verifying(_))
    }
}

/// How far the server's own end has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Drain {
    /// Nobody asked for it.
    No,
    /// No input is read any more; what was read is still being processed. Whatever is left at this moment is aborted.
    Inputs(Millis),
    /// Everybody has been told goodbye; what waits for them is being written.
    Outputs(Millis),
    /// The time was not enough: what was left has been aborted.
    Aborted,
}

impl Drain {
    pub(super) fn deadline(&self) -> Option<Millis> {
        match *self {
            Drain::Inputs(deadline) | Drain::Outputs(deadline) => Some(deadline),
            Drain::No | Drain::Aborted => None,
        }
    }
}

impl State {
    /// A broker without connections, at moment 0.
    ///
    /// `seed` keys the hash of names, so that nobody outside can choose names that collide. It has no influence on the
    /// effects.
    pub fn new(limits: Limits, seed: [u64; 2]) -> State {
        State {
            limits,
            now: Millis(0),
            conns: ConnMap::default(),
            names: Shortcut(Names::new(TextHash(seed))),
            names_freed: Shortcut(0),
            accounts: HashSet::with_hasher(TextHash(seed)),
            certified: HashMap::default(),
            admission: Admission::new(SecretHash(seed)),
            guesses: Guesses::new(SecretHash(seed)),
            logins: Deadlines::default(),
            idles: BTreeSet::new(),
            flushes: Deadlines::default(),
            refusals: Deadlines::default(),
            drain: Drain::No,
            farewell: CloseReason::ShuttingDown,
            counters: Shortcut(Counters::default()),
            work: Shortcut(0),
            peer_names: Shortcut(None),
        }
    }

    /// The moment as of which the broker wants to be told the time, if any: at the latest then, an
    /// [`Event::Ticked`](super::Event::Ticked) is due.
    pub fn next_deadline(&self) -> Option<Millis> {
        // Whoever cannot be heard any more is not idle.
        let idle = self.idles.first().filter(|_| self.drain == Drain::No).map(|&(at, _)| at);
        let all =
            [self.logins.next(), idle, self.flushes.next(), self.refusals.next(), self.drain.deadline()];
        all.into_iter().flatten().min()
    }

    /// The moment it is, as far as the broker was told.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// What the broker allows.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// How often what has happened since the start.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How much work all events so far have been besides what their effects say: the names that were looked up, folded and
    /// sorted. A unit is about what it takes to hand out one short line, 0.1 µs. A shell that lets clients take turns charges
    /// each for the work of its requests.
    pub fn work(&self) -> u64 {
        self.work.0
    }

    /// Whether the server has been asked to stop.
    pub fn is_draining(&self) -> bool {
        self.drain != Drain::No
    }

    /// How many connections there are, in whatever phase.
    pub fn connections(&self) -> usize {
        self.conns.len()
    }

    /// How many peers are logged in.
    pub fn peers(&self) -> usize {
        self.names.len()
    }

    /// The name that a connection holds.
    pub fn name(&self, conn: ConnId) -> Option<&Name> {
        self.conns.get(conn)?.phase.name()
    }

    /// All that is known of a connection, for the log of a bug.
    pub fn known_of(&self, conn: ConnId) -> Option<impl fmt::Debug> {
        self.conns.get(conn)
    }

    /// The connection that holds the name `written`.
    pub fn holder(&self, written: &str) -> Option<ConnId> {
        self.holder_of_key(&Name::key_of(written)?)
    }

    /// The connection that holds the name with this key.
    pub(super) fn holder_of_key(&self, key: &str) -> Option<ConnId> {
        self.names.holder(key, &self.conns)
    }

    /// Remembers them.
    pub(super) fn remember_route(&mut self, conn: ConnId, list: &[u8], to: &Conns) {
        if list.len() <= ROUTE_BYTES_MAX
            && let Some(state) = self.conns.get_mut(conn)
        {
            let route =
                Route { list: list.into(), to: Conns::from_slice(to), names_freed: self.names_freed.0 };
            state.route = Shortcut(Some(Box::new(route)));
        }
    }

    /// An empty set of texts from outside.
    pub(super) fn text_set<'a>(&self) -> HashSet<Cow<'a, str>, impl BuildHasher + use<'a>> {
        HashSet::with_hasher(self.accounts.hasher().clone())
    }

    /// Lets `conn` hold `name`, or hands the name back if somebody does.
    pub(super) fn take_name(&mut self, conn: ConnId, name: Name) -> Result<(), Name> {
        if self.names.holder(name.key(), &self.conns).is_some() {
            return Err(name);
        }
        if let Some(state) = self.conns.get_mut(conn) {
            state.phase = Phase::Active(name);
            self.admission.greeted(state.standing);
            self.certified.remove(&conn);
            if let Some(idle_ms_max) = self.limits.idle_ms_max {
                let (heard_at, idle_at) = (self.now, self.now.plus(idle_ms_max));
                state.silence = Some(Box::new(Silence { heard_at, idle_at }));
                self.idles.insert((idle_at, conn));
            }
            self.names.insert(conn, &self.conns);
            self.peer_names.0 = None;
            self.skip_logins();
        }
        Ok(())
    }

    /// Forgets the next login deadlines that are of no more interest, so that nobody is woken for them.
    fn skip_logins(&mut self) {
        let State { logins, conns, .. } = self;
        logins.skip(|conn| !conns.get(conn).is_some_and(|conn| conn.phase.is_login()));
    }

    /// The connection's session is over: its name is free again. `None` if it was over before.
    pub(super) fn end_session(&mut self, conn: ConnId) -> Option<()> {
        let state = self.conns.get_mut(conn)?;
        match core::mem::replace(&mut state.phase, Phase::Closing) {
            Phase::Closing => return None,
            Phase::Greeting | Phase::Verifying(_) => {
                self.admission.greeted(state.standing);
                self.certified.remove(&conn);
                self.skip_logins();
            }
            Phase::Active(name) => {
                if let Some(silence) = state.silence.take() {
                    self.idles.remove(&(silence.idle_at, conn));
                }
                let held = self.names.remove(conn, &name);
                self.peer_names.0 = None;
                self.names_freed.0 += 1;
                state.route = Shortcut(None);
                assert!(held, "the holder of a name is the connection that is active under it");
            }
        }
        let live = |conns: &ConnMap<Conn>, conn| {
            conns.get(conn).is_some_and(|state: &Conn| state.phase == Phase::Closing)
        };
        self.flushes.push(self.now.plus(self.limits.flush_ms_max), conn, self.conns.len(), |conn| {
            live(&self.conns, conn)
        });
        Some(())
    }

    /// The next peer that has said nothing for too long. A peer that has said something is looked at again when it could be
    /// so: to say something costs no more than to remember when.
    pub(super) fn next_idle(&mut self) -> Option<ConnId> {
        let idle_ms_max = self.limits.idle_ms_max?;
        while let Some(&(at, conn)) = self.idles.first()
            && at <= self.now
            && let Some(silence) = self.conns.get_mut(conn).and_then(|conn| conn.silence.as_mut())
        {
            silence.idle_at = silence.heard_at.plus(idle_ms_max);
            if silence.idle_at <= at {
                return Some(conn);
            }
            self.idles.pop_first();
            self.idles.insert((silence.idle_at, conn));
        }
        None
    }

    /// The names of all peers, sorted by their folded form.
    pub(super) fn peer_names(&mut self) -> Arc<[Name]> {
        let State { names, conns, work, peer_names, .. } = self;
        let sort = || {
            let mut sorted: Vec<Name> = names.iter(conns).map(|(name, _)| name.clone()).collect();
            sorted.sort_unstable();
            work.0 += SORTED_NAME_WORK * sorted.len() as u64;
            sorted.into()
        };
        peer_names.0.get_or_insert_with(sort).clone()
    }

    /// All peers, with their connections and where those come from, sorted by their folded form.
    pub fn peers_with_origins(&self) -> Vec<(Name, ConnId, Origin)> {
        let origin = |conn| match self.conns.get(conn)?.standing {
            Standing::Admitted(origin) => Some(origin),
            Standing::Refused | Standing::Uncounted => None,
        };
        let peer = |(name, conn): (&Name, ConnId)| Some((name.clone(), conn, origin(conn)?));
        let mut peers: Vec<(Name, ConnId, Origin)> = self.names.iter(&self.conns).filter_map(peer).collect();
        peers.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        peers
    }

    /// All connections that `which` picks, in the order in which they connected.
    pub(super) fn conns_where(&self, which: impl Fn(&Conn) -> bool) -> Vec<ConnId> {
        let mut conns: Vec<ConnId> =
            self.conns.iter().filter(|(_, state)| which(state)).map(|(conn, _)| conn).collect();
        conns.sort_unstable();
        conns
    }
}

/// Deadlines that all lie equally far ahead when they are set, so that the first to be set is the first to come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Deadlines(VecDeque<(Millis, ConnId)>);

impl Deadlines {
    /// Adds a deadline, and throws out those of no more interest when they are the most: there are never more than
    /// twice as many as connections (and a few).
    pub(super) fn push(&mut self, at: Millis, conn: ConnId, conns: usize, live: impl Fn(ConnId) -> bool) {
        if self.0.len() >= 2 * conns + 64 {
            self.0.retain(|&(_, conn)| live(conn));
        }
        self.0.push_back((at, conn));
    }

    /// Takes the next deadline that has come by `now`.
    pub(super) fn pop(&mut self, now: Millis) -> Option<ConnId> {
        self.0.pop_front_if(|&mut (at, _)| at <= now).map(|(_, conn)| conn)
    }

    /// Throws out the next deadlines, as long as they are of no more interest.
    fn skip(&mut self, done: impl Fn(ConnId) -> bool) {
        while self.0.pop_front_if(|&mut (_, conn)| done(conn)).is_some() {}
    }

    fn next(&self) -> Option<Millis> {
        self.0.front().map(|&(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::{Request, Session, Text};
    use crate::{Effect, Event, Origin, step};
    use alloc::borrow::ToOwned;
    use alloc::format;
    use core::cell::Cell;

    fn connect(state: &mut State, conn: u64) {
        assert!(step(state, Event::Connected(ConnId(conn), Origin::Exempt)).is_empty());
    }

    fn log_in(state: &mut State, conn: u64, name: &str) {
        let login = Request::Plain(Text::try_from(name).unwrap());
        assert_eq!(step(state, Event::Requested(ConnId(conn), login)).len(), 1);
    }

    /// Says this, which is a message.
    fn said(state: &mut State, conn: u64, line: &str) {
        let mut requests = Vec::new();
        Session::new(&Limits::default()).feed(line.as_bytes(), &mut requests);
        assert!(!step(state, Event::Requested(ConnId(conn), requests.remove(0))).is_empty());
    }

    #[test]
    fn g9_deadlines_do_not_pile_up_while_clients_come_and_go() {
        let mut state = State::new(Limits::default(), [0, 0]);
        let (staying, closing) = (ConnId(0), ConnId(1));
        for conn in [staying, closing] {
            assert!(step(&mut state, Event::Connected(conn, Origin::Exempt)).is_empty());
        }
        assert_eq!(step(&mut state, Event::InputEnded(closing)).len(), 1, "it is told to close");
        for conn in (2..10_000).map(ConnId) {
            let connected = Event::Connected(conn, Origin::Exempt);
            for event in [connected, Event::InputEnded(conn), Event::Disconnected(conn)] {
                let _effects = step(&mut state, event);
            }
            assert!(state.logins.0.len() <= 70, "{} login deadlines", state.logins.0.len());
            assert!(state.flushes.0.len() <= 70, "{} flush deadlines", state.flushes.0.len());
        }
        // Nothing of interest was thrown out.
        let effects = step(&mut state, Event::Ticked(Millis(10_000)));
        assert!(matches!(effects[..], [_, Effect::Close { conn: ConnId(0), .. }]), "{effects:?}");
        assert_eq!(step(&mut state, Event::Ticked(Millis(30_000))), [Effect::Abort(closing)]);
    }

    /// Bug: the deadline of each login once rang ten seconds later, however long ago the peer had logged in.
    #[test]
    fn nobody_is_woken_for_those_who_have_logged_in() {
        let mut state = State::new(Limits::default(), [0, 0]);
        for conn in 0..3 {
            connect(&mut state, conn);
        }
        log_in(&mut state, 1, "bob");
        assert_eq!(state.next_deadline(), Some(Millis(10_000)), "there are others before bob and behind");
        log_in(&mut state, 0, "al");
        assert_eq!(state.logins.0, [(Millis(10_000), ConnId(2))], "bob's stood behind al's");
        log_in(&mut state, 2, "cy");
        assert_eq!(state.next_deadline(), None, "nobody is waited for");
        assert!(step(&mut state, Event::Ticked(Millis(5))).is_empty());
        connect(&mut state, 3);
        assert_eq!(state.next_deadline(), Some(Millis(10_005)));
        assert!(step(&mut state, Event::Disconnected(ConnId(3))).is_empty());
        assert!(state.logins.0.is_empty(), "it is gone");
    }

    /// Bug: when somebody logged in, the deadline of whoever was having its password verified was forgotten, so that it could
    /// stay for ever without a name.
    #[test]
    fn g9_whose_password_is_being_verified_keeps_its_deadline() {
        let limits = Limits { clear_passwords_allowed: true, ..Limits::default() };
        let mut state = State::new(limits, [0, 0]);
        let (al, bob) = (ConnId(0), ConnId(1));
        let accounts = vec![Name::parse("al").unwrap()];
        assert!(step(&mut state, Event::AccountsChanged(accounts)).is_empty());
        for conn in [al, bob] {
            assert!(step(&mut state, Event::Connected(conn, Origin::Exempt)).is_empty());
        }
        for (conn, login) in [(al, "al guess"), (bob, "bob")] {
            let login = Request::Plain(Text::try_from(login).unwrap());
            assert_eq!(step(&mut state, Event::Requested(conn, login)).len(), 1);
        }
        assert_eq!(step(&mut state, Event::PasswordVerified(al, false)).len(), 1);
        let effects = step(&mut state, Event::Ticked(Millis(10_000)));
        assert!(matches!(effects[..], [_, Effect::Close { conn: ConnId(0), .. }]), "{effects:?}");
    }

    #[test]
    fn to_throw_deadlines_out_costs_little() {
        const STAYING: u64 = 1000;
        const PASSING: u64 = 10_000;
        let (mut deadlines, looks) = (Deadlines::default(), Cell::new(0));
        for conn in 0..STAYING + PASSING {
            let conns = usize::try_from(conn.min(STAYING)).unwrap() + 1;
            deadlines.push(Millis(conn), ConnId(conn), conns, |ConnId(conn)| {
                looks.set(looks.get() + 1);
                conn < STAYING
            });
            assert!(deadlines.0.len() <= 2 * conns + 64, "{} deadlines of {conns}", deadlines.0.len());
        }
        // Twice for each that passes, however many stay.
        assert!(looks.get() <= 2 * PASSING, "{} looks", looks.get());
    }

    #[test]
    fn to_whom_one_has_just_sent_is_remembered_unless_that_is_long_or_somebody_has_left() {
        let mut state = State::new(Limits::default(), [0, 0]);
        for (conn, name) in [(0, "al"), (1, "bob")] {
            connect(&mut state, conn);
            log_in(&mut state, conn, name);
        }
        let route = |state: &State, list: &str| {
            let al = state.conns.get(ConnId(0)).unwrap();
            al.route(list.as_bytes(), *state.names_freed).map(|to| to.to_vec())
        };
        assert_eq!(route(&state, "bob, al"), None, "nobody has said anything yet");
        said(&mut state, 0, "bob, al: hi\n");
        assert_eq!(route(&state, "bob, al"), Some(vec![ConnId(1), ConnId(0)]));
        assert_eq!(route(&state, "al, bob"), None, "that is another list");
        let list = |bytes: usize| "al, bob".to_owned() + &" ".repeat(bytes - "al, bob|".len()) + ",";
        for (bytes, is_remembered) in [(ROUTE_BYTES_MAX, true), (ROUTE_BYTES_MAX + 1, false)] {
            said(&mut state, 0, &format!("{}: hi\n", list(bytes)));
            assert_eq!(route(&state, &list(bytes)).is_some(), is_remembered, "of {bytes} bytes");
        }
        said(&mut state, 0, "bob: hi\n");
        assert_eq!(route(&state, "bob"), Some(vec![ConnId(1)]));
        assert!(step(&mut state, Event::Disconnected(ConnId(1))).is_empty());
        assert_eq!(route(&state, "bob"), None, "bob may be anybody now");
    }

    #[test]
    fn a_certificate_is_as_good_as_the_password_of_its_name_and_of_no_other() {
        let name = |name: &str| Name::parse(name).unwrap();
        for (certified, welcome) in [(Some("AL"), true), (Some("bob"), false), (None, false)] {
            let mut state = State::new(Limits::default(), [0, 0]);
            connect(&mut state, 0);
            let accounts = ["al", "bob"].map(name).into();
            assert!(step(&mut state, Event::AccountsChanged(accounts)).is_empty());
            if let Some(certified) = certified {
                assert!(step(&mut state, Event::Certified(ConnId(0), name(certified))).is_empty());
            }
            log_in(&mut state, 0, "al");
            assert_eq!(state.holder("al").is_some(), welcome, "with one for {certified:?}");
            // It is of no use behind the login, nor to whoever is not there.
            for conn in [0, 7].map(ConnId) {
                assert!(step(&mut state, Event::Certified(conn, name("bob"))).is_empty());
            }
            assert_eq!(state.certified.is_empty(), welcome, "whoever is still to log in may go on to do so");
            assert!(state.certified.keys().all(|conn| *conn == ConnId(0)));
        }
    }

    #[test]
    fn whoever_is_dropped_without_a_word_is_counted() {
        let limits = Limits { connections_max: 0, refusals_max: 1, ..Limits::default() };
        let mut state = State::new(limits, [0, 0]);
        for (conn, dropped) in [(0, 0), (1, 1), (2, 2)] {
            let effects = step(&mut state, Event::Connected(ConnId(conn), Origin::Exempt));
            assert_eq!(effects == [Effect::Abort(ConnId(conn))], conn > 0, "{effects:?}");
            assert_eq!(state.counters().dropped, dropped);
        }
    }

    #[test]
    fn whoever_runs_the_server_sees_who_is_there_and_whether_it_ends() {
        let mut state = State::new(Limits::default(), [0, 0]);
        for conn in 0..3 {
            connect(&mut state, conn);
        }
        for (conn, name) in [(0, "bob"), (2, "Al")] {
            log_in(&mut state, conn, name);
        }
        let peers = state.peers_with_origins();
        let peers: Vec<_> =
            peers.iter().map(|(name, conn, origin)| (name.as_str(), conn.0, *origin)).collect();
        assert_eq!(peers, [("Al", 2, Origin::Exempt), ("bob", 0, Origin::Exempt)]);
        assert!(!state.is_draining());
        assert!(!step(&mut state, Event::ShutdownRequested).is_empty());
        assert!(state.is_draining());
    }

    #[test]
    fn g9_what_is_known_of_a_connection_is_small() {
        let bytes = size_of::<Option<Conn>>();
        assert!(bytes <= 64, "{bytes} bytes");
    }
}
