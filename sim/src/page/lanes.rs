//! The sessions, and whose each of them is.

use serde::Serialize;

use crate::history::{History, Sent, SessionHistory, What};
use crate::scenario::{Op, Scenario};

/// How long to look for the clients that made the sessions.
const TRIES: usize = 10_000;

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

/// One for each session, in the order of their numbers.
pub(super) fn lanes(scenario: &Scenario, history: &History) -> Vec<Lane> {
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
        match writes(op, line) {
            None => continue,
            Some(false) => return false,
            Some(true) => sent = written.next(),
        }
        if matches!(op, Op::Tell { .. }) && matches!(line, Sent::Say { bare: true, .. }) {
            sent = written.next(); // the ping behind it
        }
        // Who insists on a name says it again and again.
        while matches!(op, Op::LogIn { insist: true, .. } | Op::Prove { insist: true, .. })
            && sent.is_some_and(|line| writes(op, line) == Some(true))
        {
            sent = written.next();
        }
    }
    sent.is_none()
}

/// Whether this is the line that a client writes when it does that; `None` if it then writes none that is recorded.
fn writes(op: &Op, line: &Sent) -> Option<bool> {
    Some(match op {
        Op::LogIn { name, .. } => matches!(line, Sent::Name(sent) if sent == name),
        Op::Prove { name, right, .. } => {
            matches!(line, Sent::Proof { name: sent, right: was_right } if sent == name && was_right == right)
        }
        Op::Say { to, .. } | Op::Tell { to, .. } | Op::Slam { to } => {
            matches!(line, Sent::Say { to: sent, .. } if sent == to)
        }
        Op::Bad { rule } => matches!(line, Sent::Bad(sent) if sent == rule),
        Op::Ping { .. } | Op::LastWords => matches!(line, Sent::Ping { .. }),
        Op::Who => *line == Sent::Who,
        Op::Quit | Op::QuitTalking => *line == Sent::Quit,
        Op::Connect | Op::Blank | Op::CrLf | Op::Trickle => return None,
        Op::Sleep(_) | Op::Stall(_) | Op::HalfClose | Op::Reset => return None,
    })
}
