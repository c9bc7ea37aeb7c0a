//! How fast it all is, on one core: the core alone, and the whole server on each engine.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use seriatim::protocol::{Request, Session};
use seriatim::{ConnId, Event, Limits, Origin, State, step_into};

use crate::explore::{Engine, Plan, Seen, explore, run_seed};
use crate::swarm::Profile;
use crate::world::Record;

/// One figure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Figure {
    /// What it counts, and of what.
    pub what: &'static str,
    /// How many in a second; of simulated time, how many seconds pass in one.
    pub per_second: u64,
}

/// Measures everything, each for this long, and tells of each figure as soon as it is known.
pub fn figures(time: Duration, mut told: impl FnMut(Figure)) {
    let mut tell = |what, count, took| told(Figure { what, per_second: per_second(count, took) });
    let limits = Limits::default();
    let (steps, took) = core(&limits, &pairs(&limits), time);
    tell("events through `step` alone, of 200 clients who talk in pairs", steps, took);
    let (steps, took) = core(&Profile::Crowd.scenario(0).limits, &crowd(), time);
    tell("events through `step` alone, of 200 clients who talk to one to four at once", steps, took);
    let (seen, took) = engine(Engine::Shuttle, Profile::Duel, time);
    tell("schedules under shuttle, of 3 clients × 4 messages", seen.runs, took);
    let (seen, took) = engine(Engine::Volume, Profile::Duel, time);
    tell("schedules on the volume engine, of 3 clients × 4 messages", seen.runs, took);
    let (seen, took) = engine(Engine::Volume, Profile::Crowd, time);
    tell("events on the volume engine, of 200 clients who talk", seen.events, took);
    tell("things that those clients do and see", seen.items, took);
    tell("simulated seconds, of 200 clients who talk", seen.simulated_ms / 1000, took);
    let (seen, took) = engine(Engine::Volume, Profile::Idle, time);
    tell("simulated seconds, of clients who are silent for days", seen.simulated_ms / 1000, took);
}

/// So many in so long.
pub fn per_second(count: u64, took: Duration) -> u64 {
    u64::try_from(u128::from(count) * 1_000_000 / took.as_micros().max(1)).unwrap_or(u64::MAX)
}

/// The events that a whole run brings.
fn crowd() -> Vec<Event> {
    let run = run_seed(Profile::Crowd, 0, Record { trace: true, digest: false });
    run.trace.into_iter().map(|step| step.event).collect()
}

fn engine(engine: Engine, profile: Profile, time: Duration) -> (Seen, Duration) {
    let plan = Plan { engine, profile, from: 0, seeds: u64::MAX, time: Some(time), threads: 1 };
    let start = Instant::now();
    (explore(plan, &AtomicBool::new(false), |_| ()), start.elapsed())
}

/// How many events the core is given at once.
const EVENTS_AT_ONCE: usize = 256;

/// These events, again and again, as the server gives them to the core: fresh from the queue, with one list for all effects. To
/// drop both counts; to copy the events, and to make an empty state, does not.
fn core(limits: &Limits, events: &[Event], time: Duration) -> (u64, Duration) {
    let (mut steps, mut took) = (0, Duration::ZERO);
    while took < time && !events.is_empty() {
        let mut state = State::new(limits.clone(), [0, 0]);
        let mut effects = Vec::new();
        for part in events.chunks(EVENTS_AT_ONCE) {
            let part = part.to_vec();
            let start = Instant::now();
            for event in part {
                step_into(&mut state, event, &mut effects);
                std::hint::black_box(&effects);
                effects.clear();
            }
            took += start.elapsed();
        }
        steps += events.len() as u64;
    }
    (steps, took)
}

/// How many clients talk in pairs, and how often each says something.
const PAIRED: u64 = 200;
const SAYS: usize = 500;

/// Everybody logs in, and then says one thing after another to its neighbour.
fn pairs(limits: &Limits) -> Vec<Event> {
    let conns = || (0..PAIRED).map(ConnId);
    let lines: Vec<Vec<Request>> = conns().map(|conn| said_to_neighbour(limits, conn)).collect();
    let mut events: Vec<Event> = conns().map(|conn| Event::Connected(conn, Origin::Exempt)).collect();
    for line in 0..=SAYS {
        events.extend(conns().zip(&lines).map(|(conn, lines)| Event::Requested(conn, lines[line].clone())));
    }
    events
}

/// What one of them sends: its name, and then messages of 40 bytes.
fn said_to_neighbour(limits: &Limits, ConnId(number): ConnId) -> Vec<Request> {
    let line = format!("peer{}: {:x<40}\n", number ^ 1, "");
    let mut requests = Vec::new();
    Session::new(limits).feed(format!("peer{number}\n{}", line.repeat(SAYS)).as_bytes(), &mut requests);
    requests
}

#[cfg(test)]
mod tests {
    use seriatim::Effect;
    use seriatim::protocol::Reply;

    use super::*;

    /// The figure would be a good one if nobody got anything.
    #[test]
    fn whoever_talks_in_pairs_is_heard() {
        let limits = Limits::default();
        let mut state = State::new(limits.clone(), [0, 0]);
        let mut effects = Vec::new();
        pairs(&limits).into_iter().for_each(|event| step_into(&mut state, event, &mut effects));
        let heard = |effect: &&Effect| matches!(effect, Effect::Send { to, reply: Reply::From { .. } } if to.len() == 1);
        assert_eq!(effects.iter().filter(heard).count() as u64, PAIRED * SAYS as u64);
        assert_eq!(effects.len() as u64, PAIRED * (1 + SAYS as u64), "and each is welcome");
    }
}
