//! The broker behind each event, as seen from outside.

use std::collections::BTreeMap;

use serde::Serialize;
use seriatim::{ConnId, Effect, Event, State, step};

use super::words;
use crate::scenario::Scenario;
use crate::world::Step;

/// The broker after an event: what it says of itself, and what has changed.
#[derive(Serialize)]
pub(super) struct After {
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

/// A broker to which everything is told once more, and what is known of its connections.
pub(super) struct Broker {
    state: State,
    views: BTreeMap<ConnId, View>,
}

impl Broker {
    pub(super) fn new(scenario: &Scenario) -> Broker {
        Broker { state: State::new(scenario.limits.clone(), [0, 0]), views: BTreeMap::new() }
    }

    /// Tells it what happened next.
    pub(super) fn after(&mut self, happened: &Step) -> After {
        let effects = step(&mut self.state, happened.event.clone());
        let before = self.views.clone();
        let told = self.phases(&happened.event, &effects);
        let bereft = self.names(&told);
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

    /// What an event says of the phases of connections. Returns those that it is about, or that the broker closes for it.
    fn phases(&mut self, event: &Event, effects: &[Effect]) -> Vec<ConnId> {
        match event {
            Event::Connected(conn, _) => {
                let view = View { conn: conn.0, phase: "greeting", name: None, found: false };
                self.views.entry(*conn).or_insert(view);
            }
            Event::Disconnected(conn) => {
                self.views.entry(*conn).and_modify(|view| view.phase = "gone");
            }
            _ => {}
        }
        let mut told: Vec<ConnId> = words::kind(event).1.into_iter().collect();
        for effect in effects {
            if let Effect::Close { conn, .. } | Effect::Abort(conn) = effect {
                self.views.entry(*conn).and_modify(|view| view.phase = "closing");
                told.push(*conn);
            }
        }
        told
    }

    /// Asks for the name of every connection, and for the connection behind every name. Returns those that lost theirs though
    /// they are not among these.
    fn names(&mut self, told: &[ConnId]) -> Vec<u64> {
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
        bereft
    }
}
