//! The pure core, exhaustively: every interleaving of a few clients' events, each step held against what it must do.
//!
//! Interleavings that lead to equal states are followed once and counted together, so that 63 million take no time; that
//! the states are equal is checked, not assumed. (What a state has only to save work may differ all the same: so each way with
//! departures is followed by itself.)

use std::collections::BTreeMap;
use std::fmt;

use seriatim::protocol::{Name, Refusal, Reply, Session};
use seriatim::{ConnId, Effect, Event, Limits, Origin, State, step};

/// One event of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// It sends a line.
    Line(&'static str),
    /// Its connection breaks.
    Leave,
}

/// How many interleavings there are, and how many states it took to look at all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Interleavings of all clients' events.
    pub interleavings: u64,
    /// Different points on the way.
    pub points: usize,
}

/// The core did what it must not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrong {
    /// The rule that is broken.
    pub rule: &'static str,
    /// What happened, and behind which events.
    pub what: String,
}

impl Wrong {
    fn at(self, place: impl fmt::Debug) -> Wrong {
        Wrong { what: format!("behind {place:?}: {}", self.what), ..self }
    }
}

/// Looks at all that clients do here in every order there is: what the tests of this look at. Counts the events.
///
/// # Errors
/// What went wrong.
pub fn look(events: &mut u64) -> Result<(), Wrong> {
    exhaust(&four_who_talk(), events)?;
    exhaust_with_departures(&three_who_fight(), events)?;
    Ok(())
}

/// Four clients join, send twice and leave.
fn four_who_talk() -> [Vec<Move>; 4] {
    use Move::{Leave, Line};
    [
        vec![Line("al"), Line("bob: 1"), Line("al, bob, carol, dave: 2"), Leave],
        vec![Line("bob"), Line("carol, al: 1"), Line("dave: 2"), Leave],
        vec![Line("carol"), Line("bob: 1"), Line("dave, al: 2"), Leave],
        vec![Line("dave"), Line("al: 1"), Line("bob, carol: 2"), Leave],
    ]
}

/// Three clients, two of whom want one name, to leave at any point.
fn three_who_fight() -> [Vec<Move>; 3] {
    use Move::Line;
    [
        vec![Line("al"), Line("bob: 1"), Line("al: 2")],
        vec![Line("AL"), Line("bob, al: 1"), Line("bob, al: 2")],
        vec![Line("bob"), Line("al: 1"), Line("al: 2")], // to the same, or to whoever has that name by then
    ]
}

/// Where a set of interleavings has come to: how far each client is, and in which order those who left did.
type Point = (Vec<usize>, Vec<usize>);

/// Tries all interleavings of these scripts; the connections are there from the beginning. Counts the events.
///
/// # Errors
/// What went wrong.
pub fn exhaust(scripts: &[Vec<Move>], events: &mut u64) -> Result<Count, Wrong> {
    let mut count = Count { interleavings: 0, points: 0 };
    let mut level: BTreeMap<Point, (Tried, u64)> = BTreeMap::new();
    level.insert((vec![0; scripts.len()], Vec::new()), (Tried::connected(scripts.len())?, 1));
    loop {
        let mut next: BTreeMap<Point, (Tried, u64)> = BTreeMap::new();
        for ((progress, left), (tried, ways)) in &level {
            count.points += 1;
            for (client, script) in scripts.iter().enumerate() {
                let Some(its_move) = script.get(progress[client]) else { continue };
                *events += 1;
                let mut after = tried.clone();
                after.take(client, its_move).map_err(|wrong| wrong.at((progress, left)))?;
                let (mut progress, mut left) = (progress.clone(), left.clone());
                progress[client] += 1;
                if *its_move == Move::Leave {
                    left.push(client);
                }
                match next.get_mut(&(progress.clone(), left.clone())) {
                    Some((same, all)) if *same == after => *all += ways,
                    Some(_) => {
                        let what = "what was done in another order leads to another state".to_owned();
                        return Err(Wrong { rule: "protocol", what }.at((progress, left)));
                    }
                    None => drop(next.insert((progress, left), (after, *ways))),
                }
            }
        }
        if next.is_empty() {
            count.interleavings = level.values().map(|(_, ways)| ways).sum();
            return Ok(count);
        }
        level = next;
    }
}

/// Tries all interleavings in which each client plays any beginning of its script and then leaves, one by one, without
/// merging any. Returns how many there were. Counts the events.
///
/// # Errors
/// What went wrong.
pub fn exhaust_with_departures(scripts: &[Vec<Move>], events: &mut u64) -> Result<u64, Wrong> {
    let tried = Tried::connected(scripts.len())?;
    depart(&tried, scripts, &mut vec![Some(0); scripts.len()], &mut Vec::new(), events)
}

fn depart(
    tried: &Tried,
    scripts: &[Vec<Move>],
    progress: &mut Vec<Option<usize>>,
    path: &mut Vec<(usize, Move)>,
    events: &mut u64,
) -> Result<u64, Wrong> {
    if progress.iter().all(Option::is_none) {
        return Ok(1);
    }
    let mut count = 0;
    for client in 0..scripts.len() {
        let Some(at) = progress[client] else { continue };
        let script_goes_on = scripts[client].get(at).map(|its_move| (its_move.clone(), Some(at + 1)));
        for (its_move, next) in script_goes_on.into_iter().chain([(Move::Leave, None)]) {
            let mut after = tried.clone();
            *events += 1;
            after.take(client, &its_move).map_err(|wrong| wrong.at(&path))?;
            progress[client] = next;
            path.push((client, its_move));
            count += depart(&after, scripts, progress, path, events)?;
            path.pop();
            progress[client] = Some(at);
        }
    }
    Ok(count)
}

fn conn(client: usize) -> ConnId {
    ConnId(client as u64)
}

/// The core, and who holds which name by another account than its own.
#[derive(Clone, PartialEq, Eq)]
struct Tried {
    state: State,
    /// The name of each client, as it was written.
    names: Vec<Option<&'static str>>,
}

impl Tried {
    /// So many clients are connected, and nobody has said anything.
    fn connected(clients: usize) -> Result<Tried, Wrong> {
        let mut state = State::new(Limits::default(), [0, 0]);
        for client in 0..clients {
            let effects = step(&mut state, Event::Connected(conn(client), Origin::Exempt));
            if !effects.is_empty() {
                return Err(Wrong { rule: "protocol", what: format!("connecting had effects: {effects:?}") });
            }
        }
        Ok(Tried { state, names: vec![None; clients] })
    }

    /// Who holds a name. The names here are ASCII.
    fn holder(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|held| held.is_some_and(|held| held.eq_ignore_ascii_case(name)))
    }

    /// One event, and what must come of it.
    fn take(&mut self, client: usize, its_move: &Move) -> Result<(), Wrong> {
        let effects = match its_move {
            Move::Leave => step(&mut self.state, Event::Disconnected(conn(client))),
            Move::Line(line) => self.send(client, line),
        };
        let fault = match (its_move, self.names[client]) {
            (Move::Leave, _) => {
                self.names[client] = None;
                (!effects.is_empty()).then_some(("protocol", "to leave has no effects"))
            }
            (Move::Line(name), None) => self.check_login(client, name, &effects),
            (Move::Line(line), Some(from)) => self.check_message(line, from, &effects),
        };
        let holds = |client: usize| self.state.name(conn(client)).map(Name::as_str);
        let agreed = (0..self.names.len()).all(|client| holds(client) == self.names[client]);
        let fault = fault.or((!agreed).then_some(("G7", "who holds which name is not what it was told")));
        match fault {
            None => Ok(()),
            Some((rule, what)) => {
                Err(Wrong { rule, what: format!("{client} {its_move:?}: {what}: {effects:?}") })
            }
        }
    }

    fn send(&mut self, client: usize, line: &str) -> Vec<Effect> {
        let mut requests = Vec::new();
        Session::new(&Limits::default()).feed(format!("{line}\n").as_bytes(), &mut requests);
        let requested = |request| step(&mut self.state, Event::Requested(conn(client), request));
        requests.into_iter().flat_map(requested).collect()
    }

    /// A line of somebody without a name.
    fn check_login(&mut self, client: usize, name: &'static str, effects: &[Effect]) -> Option<Fault> {
        let is_free = !name.contains(':') && self.holder(name).is_none();
        let (welcome, refused) = match effects {
            [Effect::Send { to, reply }] if **to == [conn(client)] => {
                (matches!(reply, Reply::Welcome(_)), matches!(reply, Reply::Error(_)))
            }
            _ => (false, false),
        };
        if welcome {
            self.names[client] = Some(name);
        }
        let fits = if is_free { welcome } else { refused };
        (!fits).then_some(("G7", "a name is given if and only if it is free"))
    }

    /// A message.
    fn check_message(&self, line: &str, from: &str, effects: &[Effect]) -> Option<Fault> {
        let names = line.split(':').next().unwrap_or_default().split(", ");
        let holders: Vec<Option<usize>> = names.map(|name| self.holder(name)).collect();
        let to: Vec<ConnId> = holders.iter().flatten().map(|&client| conn(client)).collect();
        let delivered = effects.iter().find_map(|effect| match effect {
            Effect::Send { to, reply: Reply::From { from, .. } } => Some((to.to_vec(), from.as_str())),
            _ => None,
        });
        if delivered != (!to.is_empty()).then_some((to, from)) {
            return Some(("G5", "a message reaches those who are there, from whom it is"));
        }
        let reported = effects.iter().find_map(|effect| match effect {
            Effect::Send { reply: Reply::Error(Refusal::NoSuchPeer(missing)), .. } => Some(missing.len()),
            _ => None,
        });
        let missing = holders.iter().filter(|holder| holder.is_none()).count();
        (reported.unwrap_or(0) != missing).then_some(("G5", "its sender is told of the others"))
    }
}

/// A rule, and how it is broken.
type Fault = (&'static str, &'static str);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_clients_join_send_twice_and_leave_in_all_63_063_000_ways() {
        let mut events = 0;
        let count = exhaust(&four_who_talk(), &mut events).unwrap();
        // 16! / (4!)^4
        assert_eq!(count.interleavings, 63_063_000);
        assert_eq!((count.points, events), (824, 2_272));
    }

    #[test]
    fn three_clients_fight_for_a_name_and_leave_at_every_point() {
        // Each plays 0 to 3 lines and leaves: the sum of all (a+b+c)! / (a! b! c!) with a, b, c from 1 to 4.
        let factorial = |n: u64| (1..=n).product::<u64>();
        let sizes = || 1..=4_u64;
        let expected: u64 = sizes()
            .flat_map(|a| sizes().flat_map(move |b| sizes().map(move |c| [a, b, c])))
            .map(|sizes| factorial(sizes.iter().sum()) / sizes.iter().map(|&n| factorial(n)).product::<u64>())
            .sum();
        assert_eq!(exhaust_with_departures(&three_who_fight(), &mut 0), Ok(expected));
    }
}
