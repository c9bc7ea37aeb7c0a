//! Everything that happened, in one order: a row for each thing.

use serde::Serialize;
use seriatim::{ConnId, Effect, Event};

use super::lanes::{Lane, lanes};
use super::state::{After, Broker};
use super::words;
use crate::client;
use crate::engine::{Happened, Outcome};
use crate::history::{Item, What, session_of};
use crate::shrink::Failing;
use crate::world::{Incident, Step};

/// A run as the page tells it.
pub(super) struct Story {
    /// One for each session, in the order of their numbers.
    pub(super) lanes: Vec<Lane>,
    /// In the order in which everything happened.
    pub(super) rows: Vec<Row>,
    /// What passed through each connection.
    pub(super) passed: Vec<Passed>,
}

/// One thing that happened.
#[derive(Default, Serialize)]
pub(super) struct Row {
    ms: u64,
    /// The session that did or saw it; `None` for the broker, and for an incident that befell no session.
    pub(super) lane: Option<usize>,
    /// Which session it is about, for the broker.
    about: Option<usize>,
    /// `wrote`, `read`, `ended`, `reset`, `closed`, `broke`, `incident`, `turn`, or what kind of event it was.
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
pub(crate) struct Said {
    pub(crate) says: String,
    pub(crate) line: Option<String>,
    /// In fewer words, if it is an order that sends nothing.
    pub(super) brief: Option<String>,
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
        for happened in outcome.in_order() {
            match happened {
                Happened::Item(session, _, item) => {
                    story.item(session, item, failing, history.recipients_max);
                }
                Happened::Step(step) => story.step(&mut broker, step, failing),
                Happened::Incident(session, incident) => story.incident(session, incident),
            }
        }
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
                let mut line = Vec::new();
                client::push_line(&mut line, sent, session, &failing.scenario.limits);
                let line = client::lossy(line);
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

    /// Something that nobody did.
    fn incident(&mut self, lane: Option<usize>, incident: &Incident) {
        let kind = if incident.is_turn { "turn" } else { "incident" };
        let said = Said { says: format!("[{}]", incident.what), ..Said::default() };
        self.rows.push(Row { ms: incident.now_ms, lane, kind, said, ..Row::default() });
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
            Effect::StopReading(_) | Effect::VerifyPassword { .. } | Effect::Stop => {}
        }
    }
}
