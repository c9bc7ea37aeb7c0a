//! The pure core, exhaustively: every interleaving of a few clients' events, each step held against what it must do.
//!
//! Interleavings that lead to equal states are followed once and counted together, so that 63 million take no time; that
//! the states are equal is checked, not assumed. (What a state has only to save work may differ all the same: so each way with
//! departures is followed by itself.)

use std::collections::BTreeMap;

use seriatim::protocol::{Refusal, Reply, Session};
use seriatim::{ConnId, Effect, Event, Limits, Origin, State, step};

/// One event of one client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Move {
    /// It sends a line.
    Line(&'static str),
    /// Its connection breaks.
    Leave,
}

/// How many interleavings there are, and how many states and steps it took to look at all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Count {
    /// Interleavings of all clients' events.
    pub interleavings: u64,
    /// Different points on the way.
    pub points: usize,
    /// Events processed and judged.
    pub steps: u64,
}

/// Where a set of interleavings has come to: how far each client is, and in which order those who left did.
type Point = (Vec<usize>, Vec<usize>);

/// Tries all interleavings of these scripts; the connections are there from the beginning.
///
/// # Errors
/// What went wrong, and behind which events.
pub fn exhaust(scripts: &[Vec<Move>]) -> Result<Count, String> {
    let mut state = State::new(Limits::default(), [0, 0]);
    for client in 0..scripts.len() {
        let effects = step(&mut state, Event::Connected(conn(client), Origin::Exempt));
        if !effects.is_empty() {
            return Err(format!("connecting had effects: {effects:?}"));
        }
    }
    let mut count = Count { interleavings: 0, points: 0, steps: 0 };
    let mut level: BTreeMap<Point, (State, u64)> = BTreeMap::new();
    level.insert((vec![0; scripts.len()], Vec::new()), (state, 1));
    loop {
        let mut next: BTreeMap<Point, (State, u64)> = BTreeMap::new();
        for ((progress, left), (state, ways)) in &level {
            count.points += 1;
            for (client, script) in scripts.iter().enumerate() {
                let Some(its_move) = script.get(progress[client]) else { continue };
                count.steps += 1;
                let mut after = state.clone();
                take(&mut after, client, its_move).map_err(|what| format!("at {progress:?}: {what}"))?;
                let (mut progress, mut left) = (progress.clone(), left.clone());
                progress[client] += 1;
                if *its_move == Move::Leave {
                    left.push(client);
                }
                match next.get_mut(&(progress.clone(), left.clone())) {
                    Some((same, all)) if *same == after => *all += ways,
                    Some(_) => return Err(format!("{progress:?} can be told apart by how it was reached")),
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
/// merging any. Returns how many there were.
///
/// # Errors
/// What went wrong, and behind which events.
pub fn exhaust_with_departures(scripts: &[Vec<Move>]) -> Result<u64, String> {
    let mut state = State::new(Limits::default(), [0, 0]);
    for client in 0..scripts.len() {
        let _nothing = step(&mut state, Event::Connected(conn(client), Origin::Exempt));
    }
    depart(&state, scripts, &mut vec![Some(0); scripts.len()], &mut Vec::new())
}

fn depart(
    state: &State,
    scripts: &[Vec<Move>],
    progress: &mut Vec<Option<usize>>,
    path: &mut Vec<(usize, Move)>,
) -> Result<u64, String> {
    if progress.iter().all(Option::is_none) {
        return Ok(1);
    }
    let mut count = 0;
    for client in 0..scripts.len() {
        let Some(at) = progress[client] else { continue };
        let script_goes_on = scripts[client].get(at).map(|its_move| (its_move.clone(), Some(at + 1)));
        for (its_move, next) in script_goes_on.into_iter().chain([(Move::Leave, None)]) {
            let mut after = state.clone();
            take(&mut after, client, &its_move).map_err(|what| format!("behind {path:?}: {what}"))?;
            progress[client] = next;
            path.push((client, its_move));
            count += depart(&after, scripts, progress, path)?;
            path.pop();
            progress[client] = Some(at);
        }
    }
    Ok(count)
}

fn conn(client: usize) -> ConnId {
    ConnId(client as u64)
}

/// One event, and what must come of it, told from who holds which name before.
fn take(state: &mut State, client: usize, its_move: &Move) -> Result<(), String> {
    let before = state.clone();
    let effects = match its_move {
        Move::Leave => step(state, Event::Disconnected(conn(client))),
        Move::Line(line) => {
            let mut requests = Vec::new();
            Session::new(&Limits::default()).feed(format!("{line}\n").as_bytes(), &mut requests);
            requests
                .into_iter()
                .flat_map(|request| step(state, Event::Requested(conn(client), request)))
                .collect()
        }
    };
    let wrong = |what: &str| Err(format!("{client} {its_move:?}: {what}: {effects:?}"));
    match (its_move, before.name(conn(client))) {
        (Move::Leave, held) => {
            if !effects.is_empty() {
                return wrong("to leave has no effects");
            }
            if held.is_some_and(|name| state.holder(name.as_str()).is_some()) {
                return wrong("who left still holds a name (G7)");
            }
        }
        (Move::Line(name), None) => {
            let free = before.holder(name).is_none();
            let welcome = matches!(&effects[..], [Effect::Send { reply: Reply::Welcome(_), .. }]);
            let taken = matches!(
                &effects[..],
                [Effect::Send {
                    reply: Reply::Error(
                        Refusal::NameTaken(_) | Refusal::BadName(_) | Refusal::NoSuchAccount(_)
                    ),
                    ..
                }]
            );
            let is_a_name = !name.contains(':');
            if welcome != (free && is_a_name) || taken == (free && is_a_name) {
                return wrong("a name is given if and only if it is free (G7)");
            }
        }
        (Move::Line(line), Some(from)) => {
            let (to, missing) = holders(&before, line);
            let delivered = effects.iter().find_map(|effect| match effect {
                Effect::Send { to, reply: Reply::From { from, .. } } => Some((to.to_vec(), from.clone())),
                _ => None,
            });
            let reported = effects.iter().find_map(|effect| match effect {
                Effect::Send { reply: Reply::Error(Refusal::NoSuchPeer(missing)), .. } => Some(missing.len()),
                _ => None,
            });
            let colon = line.contains(':');
            if colon && delivered != (!to.is_empty()).then(|| (to, from.clone())) {
                return wrong("a message reaches those who are there, from whom it is (G5, G8)");
            }
            if colon && reported.unwrap_or(0) != missing {
                return wrong("its sender is told of the others (G5)");
            }
        }
    }
    Ok(())
}

/// Who holds a name that the line lists, in its order, and how many of the names nobody does.
fn holders(state: &State, line: &str) -> (Vec<ConnId>, usize) {
    let names = line.split(':').next().unwrap_or_default().split(", ");
    let holders: Vec<Option<ConnId>> = names.map(|name| state.holder(name)).collect();
    let missing = holders.iter().filter(|holder| holder.is_none()).count();
    (holders.into_iter().flatten().collect(), missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Move::{Leave, Line};

    #[test]
    fn four_clients_join_send_twice_and_leave_in_all_63_063_000_ways() {
        let scripts = [
            vec![Line("al"), Line("bob: 1"), Line("al, bob, carol, dave: 2"), Leave],
            vec![Line("bob"), Line("carol, al: 1"), Line("dave: 2"), Leave],
            vec![Line("carol"), Line("bob: 1"), Line("dave, al: 2"), Leave],
            vec![Line("dave"), Line("al: 1"), Line("bob, carol: 2"), Leave],
        ];
        let count = exhaust(&scripts).unwrap();
        // 16! / (4!)^4
        assert_eq!(count.interleavings, 63_063_000);
        assert_eq!((count.points, count.steps), (824, 2_272));
    }

    #[test]
    fn three_clients_fight_for_a_name_and_leave_at_every_point() {
        let scripts = [
            vec![Line("al"), Line("bob: 1"), Line("al: 2")],
            vec![Line("AL"), Line("bob, al: 1"), Line("bob, al: 2")],
            vec![Line("bob"), Line("al: 1"), Line("al: 2")], // to the same, or to whoever has that name by then
        ];
        // Each plays 0 to 3 lines and leaves: the sum of all (a+b+c)! / (a! b! c!) with a, b, c from 1 to 4.
        let factorial = |n: u64| (1..=n).product::<u64>();
        let sizes = || 1..=4_u64;
        let expected: u64 = sizes()
            .flat_map(|a| sizes().flat_map(move |b| sizes().map(move |c| [a, b, c])))
            .map(|sizes| factorial(sizes.iter().sum()) / sizes.iter().map(|&n| factorial(n)).product::<u64>())
            .sum();
        assert_eq!(exhaust_with_departures(&scripts), Ok(expected));
    }
}
