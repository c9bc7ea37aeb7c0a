//! Everything that happened, in one order: a row for each thing.

use std::collections::BTreeMap;

use serde::Serialize;
use seriatim::{ConnId, Effect, Event, State, step};

use super::words;
use crate::client;
use crate::engine::Outcome;
use crate::history::{History, Item, Sent, SessionHistory, What};
use crate::scenario::{Op, Scenario};
use crate::shrink::Failing;
use crate::world::Step;

/// How long to look for the clients that made the sessions.
const TRIES: usize = 10_000;

/// A run as the page tells it.
pub(super) struct Story {
    /// One for each session, in the order of their numbers.
    pub(super) lanes: Vec<Lane>,
    /// In the order in which everything happened.
    pub(super) rows: Vec<Row>,
    /// What passed through each connection.
    pub(super) passed: Vec<Passed>,
}

/// One session of a client.
#[derive(Serialize)]
pub(super) struct Lane {
    /// The name under which it was welcome.
    pub(super) name: Option<String>,
    /// How it is called on the page: by its name alone if no other session had that name.
    pub(super) label: String,
    /// Whose it is, if that can be told.
    client: Option<usize>,
}

/// One thing that happened.
#[derive(Default, Serialize)]
pub(super) struct Row {
    ms: u64,
    /// The session that did or saw it; `None` for the broker.
    pub(super) lane: Option<usize>,
    /// Which session it is about, for the broker.
    about: Option<usize>,
    /// `wrote`, `read`, `ended`, `reset`, `closed`, `broke`, or what kind of event it was.
    kind: &'static str,
    /// In words; and the line of the protocol, if it is one.
    #[serde(flatten)]
    pub(super) said: Said,
    /// What the broker ordered.
    effects: Vec<Said>,
    /// Its number among the things that prove the violation, from 1.
    witness: Option<usize>,
    /// The broker behind it.
    state: Option<After>,
}

/// Words, and perhaps a line of the protocol behind them.
#[derive(Default, Serialize)]
pub(super) struct Said {
    pub(super) says: String,
    pub(super) line: Option<String>,
    /// In fewer words, if it is an order that sends nothing.
    pub(super) brief: Option<String>,
}

/// The broker after an event: what it says of itself, and what has changed.
#[derive(Serialize)]
struct After {
    connections: usize,
    peers: usize,
    now: u64,
    changed: Vec<View>,
    /// Connections whose session was ended without a word to them, by an event that was not about them.
    bereft: Vec<u64>,
    /// The broker of this program does something else than was recorded.
    differs: bool,
}

/// One connection, as seen from outside.
#[derive(Clone, PartialEq, Eq, Serialize)]
struct View {
    conn: u64,
    phase: &'static str,
    name: Option<String>,
    /// Whoever asks for that name finds this connection.
    found: bool,
}

/// What passed through one connection: rows, with what makes a line what it is.
#[derive(Default)]
pub(super) struct Passed {
    pub(super) written: Vec<(usize, String)>,
    pub(super) requested: Vec<(usize, String)>,
    pub(super) sent: Vec<(usize, String)>,
    pub(super) read: Vec<(usize, String)>,
    /// Rows in which the client ended or broke it.
    pub(super) left: Vec<usize>,
    /// Rows in which the broker was told that it ended.
    pub(super) gone: Vec<usize>,
    /// Rows in which the broker closed it or gave it up.
    pub(super) closing: Vec<usize>,
    /// Rows in which the client saw it end.
    pub(super) over: Vec<usize>,
    /// The row of each item of its history.
    pub(super) items: Vec<usize>,
}

/// The session of a connection: they are accepted in the order in which they were made.
fn session_of(conn: ConnId, sessions: usize) -> Option<usize> {
    usize::try_from(conn.0).ok()?.checked_sub(1).filter(|&session| session < sessions)
}

impl Story {
    /// Puts together what clients and the broker saw.
    pub(super) fn of(failing: &Failing, outcome: &Outcome) -> Story {
        let history = &outcome.history;
        let mut story = Story {
            lanes: lanes(&failing.scenario, history),
            rows: Vec::new(),
            passed: history.sessions.iter().map(|_| Passed::default()).collect(),
        };
        let mut broker = Broker::new(&failing.scenario);
        let mut steps = outcome.trace.iter().peekable();
        for (session, place) in in_order(history) {
            let item = &history.sessions[session].items[place];
            while let Some(step) = steps.next_if(|step| step.at < item.at) {
                story.step(&mut broker, step, failing);
            }
            story.item(session, item, failing, history.recipients_max);
        }
        steps.for_each(|step| story.step(&mut broker, step, failing));
        let witness = outcome.violation.iter().flat_map(|violation| &violation.witness);
        for (number, &(session, place)) in witness.enumerate() {
            let row = story.passed.get(session).and_then(|passed| passed.items.get(place));
            if let Some(&row) = row {
                story.rows[row].witness.get_or_insert(number + 1);
            }
        }
        story
    }

    /// What a connection is called.
    pub(super) fn label(&self, conn: ConnId) -> String {
        match session_of(conn, self.lanes.len()) {
            Some(session) => self.lanes[session].label.clone(),
            None => conn.to_string(),
        }
    }

    /// Something that a client did or saw.
    fn item(&mut self, session: usize, item: &Item, failing: &Failing, recipients_max: usize) {
        let row = self.rows.len();
        let passed = &mut self.passed[session];
        passed.items.push(row);
        let said = |says: &str, line: Option<String>| Said { says: says.to_owned(), line, brief: None };
        let (kind, said) = match &item.what {
            What::Wrote(sent) => {
                let line = client::line(sent, session, &failing.scenario.limits);
                let line = String::from_utf8_lossy(&line).into_owned();
                passed.written.push((row, words::key_of_sent(sent, &line, recipients_max)));
                ("wrote", said("writes", Some(line)))
            }
            What::Read(line) => {
                passed.read.push((row, line.clone()));
                ("read", said("reads", Some(line.clone())))
            }
            What::Ended => {
                passed.left.push(row);
                ("ended", said("closes its side", None))
            }
            What::Reset => {
                passed.left.push(row);
                ("reset", said("breaks the connection", None))
            }
            What::Closed(rest) => {
                passed.over.push(row);
                if rest.is_empty() {
                    ("closed", said("reads the end", None))
                } else {
                    passed.read.push((row, rest.clone()));
                    ("closed", said("reads the end, in the middle of", Some(rest.clone())))
                }
            }
            What::Broke => {
                passed.over.push(row);
                ("broke", said("finds the connection broken", None))
            }
        };
        self.rows.push(Row { ms: item.ms, lane: Some(session), kind, said, ..Row::default() });
    }

    /// Something that the broker was told.
    fn step(&mut self, broker: &mut Broker, step: &Step, failing: &Failing) {
        let row = self.rows.len();
        let (kind, conn) = words::kind(&step.event);
        let about = conn.and_then(|conn| session_of(conn, self.lanes.len()));
        if let Some(passed) = about.map(|session| &mut self.passed[session]) {
            match &step.event {
                Event::Requested(_, request) => passed.requested.push((row, words::key_of_request(request))),
                Event::InputEnded(_) | Event::Disconnected(_) => passed.gone.push(row),
                _ => {}
            }
        }
        let line_bytes_max = failing.scenario.limits.line_bytes_max;
        let mut effects = Vec::new();
        for effect in &step.effects {
            effects.extend(words::effect(effect, line_bytes_max, |conn| self.label(conn)));
            self.effect(row, effect, line_bytes_max);
        }
        let said = words::event(&step.event, |conn| self.label(conn));
        let state = Some(broker.after(step));
        self.rows.push(Row { ms: step.now_ms, about, kind, said, effects, state, ..Row::default() });
    }

    fn effect(&mut self, row: usize, effect: &Effect, line_bytes_max: usize) {
        let sessions = self.lanes.len();
        match effect {
            Effect::Send { to, reply } => {
                for session in to.iter().filter_map(|&conn| session_of(conn, sessions)) {
                    let lines = words::lines(reply, line_bytes_max);
                    self.passed[session].sent.extend(lines.into_iter().map(|line| (row, line)));
                }
            }
            Effect::Close { conn, .. } | Effect::Abort(conn) => {
                session_of(*conn, sessions)
                    .into_iter()
                    .for_each(|session| self.passed[session].closing.push(row));
            }
            Effect::StopReading(_) | Effect::Stop => {}
        }
    }
}

/// All that clients did and saw: sessions, and places in their histories.
fn in_order(history: &History) -> Vec<(usize, usize)> {
    let places = |(session, its): (usize, &SessionHistory)| {
        (0..its.items.len()).map(move |place| (session, place)).collect::<Vec<_>>()
    };
    let mut all: Vec<(usize, usize)> = history.sessions.iter().enumerate().flat_map(places).collect();
    all.sort_by_key(|&(session, place)| history.sessions[session].items[place].at);
    all
}

/// A broker to which everything is told once more, and what is known of its connections.
struct Broker {
    state: State,
    views: BTreeMap<ConnId, View>,
}

impl Broker {
    fn new(scenario: &Scenario) -> Broker {
        Broker { state: State::new(scenario.limits.clone(), [0, 0]), views: BTreeMap::new() }
    }

    fn after(&mut self, happened: &Step) -> After {
        let effects = step(&mut self.state, happened.event.clone());
        let before = self.views.clone();
        match &happened.event {
            Event::Connected(conn, _) => {
                let view = View { conn: conn.0, phase: "greeting", name: None, found: false };
                self.views.entry(*conn).or_insert(view);
            }
            Event::Disconnected(conn) => {
                self.views.entry(*conn).and_modify(|view| view.phase = "gone");
            }
            _ => {}
        }
        let mut told: Vec<ConnId> = words::kind(&happened.event).1.into_iter().collect();
        for effect in &effects {
            if let Effect::Close { conn, .. } | Effect::Abort(conn) = effect {
                self.views.entry(*conn).and_modify(|view| view.phase = "closing");
                told.push(*conn);
            }
        }
        let mut bereft = Vec::new();
        for (conn, view) in &mut self.views {
            let name = self.state.name(*conn).map(|name| name.as_str().to_owned());
            if view.name.is_some() && name.is_none() && !told.contains(conn) {
                bereft.push(conn.0);
            }
            view.phase = match (&name, &view.name) {
                (Some(_), _) => "active",
                (None, Some(_)) if view.phase == "active" => "closing",
                (None, _) => view.phase,
            };
            view.found = name.as_ref().is_some_and(|name| self.state.holder(name) == Some(*conn));
            view.name = name;
        }
        let changed = |(conn, view): &(&ConnId, &View)| before.get(conn) != Some(view);
        let changed = self.views.iter().filter(changed).map(|(_, view)| view.clone()).collect();
        self.views.retain(|_, view| view.phase != "gone");
        After {
            connections: self.state.connections(),
            peers: self.state.peers(),
            now: self.state.now().0,
            changed,
            bereft,
            differs: effects != happened.effects,
        }
    }
}

fn lanes(scenario: &Scenario, history: &History) -> Vec<Lane> {
    let welcome = |session: &SessionHistory| {
        session.items.iter().find_map(|item| match &item.what {
            What::Read(line) => line.strip_prefix("welcome ").map(str::to_owned),
            _ => None,
        })
    };
    let names: Vec<Option<String>> = history.sessions.iter().map(welcome).collect();
    let clients = clients(scenario, history);
    let lane = |(session, client)| {
        let name: &Option<String> = &names[session];
        let only = names.iter().filter(|other| *other == name).count() == 1;
        let label = match name {
            Some(name) if only => name.clone(),
            Some(name) => format!("{name}/{session}"),
            None => format!("session {session}"),
        };
        Lane { name: name.clone(), label, client }
    };
    clients.into_iter().enumerate().map(lane).collect()
}

/// Whose each session is. The history does not say, because the judge need not know: the scripts do. Clients that do the same
/// cannot be told apart, and need not be.
fn clients(scenario: &Scenario, history: &History) -> Vec<Option<usize>> {
    let parts: Vec<Vec<&[Op]>> = scenario
        .clients
        .iter()
        .map(|script| script.ops.split(|op| *op == Op::Connect).skip(1).collect())
        .collect();
    let mut search = Search { parts, sessions: &history.sessions, tries: 0, found: Vec::new() };
    let next = vec![(0, 0); search.parts.len()];
    search.assign(next);
    search.found.resize(history.sessions.len(), None);
    search.found
}

/// The search for clients that can have made these sessions.
struct Search<'a> {
    /// What each client does over each of its connections.
    parts: Vec<Vec<&'a [Op]>>,
    sessions: &'a [SessionHistory],
    /// How many have been tried: it is no matter of life and death.
    tries: usize,
    found: Vec<Option<usize>>,
}

impl Search<'_> {
    /// Finds a client for the next session, and for all behind it. `next` is, for each client, the connection that it comes to
    /// next, and when the one before was over.
    fn assign(&mut self, next: Vec<(usize, u64)>) -> bool {
        let Some(session) = self.sessions.get(self.found.len()) else { return true };
        let Some(first) = session.items.first() else {
            // It did and saw nothing, so it may be anybody's.
            self.found.push(None);
            let assigned = self.assign(next);
            if !assigned {
                self.found.pop();
            }
            return assigned;
        };
        let reset = session.items.iter().find(|item| item.what == What::Reset);
        let over = reset.or(session.items.last()).map_or(0, |item| item.at);
        for client in 0..next.len() {
            for part in next[client].0..self.parts[client].len() {
                if next[client].1 > first.at || !may_write(self.parts[client][part], session) {
                    continue;
                }
                self.tries += 1;
                if self.tries > TRIES {
                    return false;
                }
                let mut next = next.clone();
                next[client] = (part + 1, over);
                self.found.push(Some(client));
                if self.assign(next) {
                    return true;
                }
                self.found.pop();
            }
        }
        false
    }
}

/// Whether a client that does this may have written what this session wrote.
fn may_write(ops: &[Op], session: &SessionHistory) -> bool {
    let mut written = session.items.iter().filter_map(|item| match &item.what {
        What::Wrote(sent) => Some(sent),
        _ => None,
    });
    let mut sent = written.next();
    for op in ops {
        let Some(line) = sent else { return true };
        let fits = match (op, line) {
            (Op::LogIn { name, .. }, Sent::Name(sent)) => name == sent,
            (Op::Say { to, .. }, Sent::Say { to: sent, .. }) => to == sent,
            (Op::Bad { rule }, Sent::Bad(sent)) => rule == sent,
            (Op::Ping { .. } | Op::LastWords, Sent::Ping { .. })
            | (Op::Who, Sent::Who)
            | (Op::Quit, Sent::Quit) => true,
            (Op::Connect | Op::Sleep(_) | Op::Stall(_) | Op::Trickle | Op::HalfClose | Op::Reset, _) => {
                continue;
            }
            _ => false,
        };
        if !fits {
            return false;
        }
        sent = written.next();
        // Who insists on a name says it again and again.
        while matches!((op, sent), (Op::LogIn { name, insist: true }, Some(Sent::Name(sent))) if name == sent)
        {
            sent = written.next();
        }
    }
    sent.is_none()
}
