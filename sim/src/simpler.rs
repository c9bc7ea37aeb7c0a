//! Simpler scenarios: the same, without one thing.

use std::ops::Range;

use crate::scenario::{Faults, Op, Scenario};

/// One thing that may be left out or made simpler.
enum Change {
    Clients(Range<usize>),
    Ops(usize, Range<usize>),
    /// One thing that a client does, in its simplest form.
    Simple(usize, usize),
    /// One recipient of a message.
    Recipient(usize, usize, usize),
    /// All faults of one kind.
    Fault(usize),
    /// No stop; or no second signal.
    Stop,
    Signal,
    /// A limit as it is by default.
    Usual(usize),
}

/// The scenario without the thing at a position, large parts first; `None` behind the last position. What comes out is
/// always simpler than what went in, so that doing this again and again comes to an end.
pub(crate) fn simpler(scenario: &Scenario, position: usize) -> Option<Scenario> {
    let mut left = position;
    for change in changes(scenario) {
        let mut changed = scenario.clone();
        apply(&mut changed, change);
        if changed == *scenario {
            continue; // there is nothing to leave out
        }
        if left == 0 {
            return Some(changed);
        }
        left -= 1;
    }
    None
}

fn changes(scenario: &Scenario) -> impl Iterator<Item = Change> + '_ {
    let ops = |client: usize| scenario.clients[client].ops.len();
    let clients = 0..scenario.clients.len();
    let blocks_of_ops = clients
        .clone()
        .flat_map(move |client| blocks(ops(client)).map(move |block| Change::Ops(client, block)));
    let all_ops =
        move || clients.clone().flat_map(move |client| (0..ops(client)).map(move |op| (client, op)));
    let simple = all_ops().map(|(client, op)| Change::Simple(client, op));
    let recipients = move |(client, op): (usize, usize)| {
        let count = if let Op::Say { to, .. } = &scenario.clients[client].ops[op] { to.len() } else { 0 };
        let count = if count > 1 { count } else { 0 };
        (0..count).map(move |recipient| Change::Recipient(client, op, recipient))
    };
    blocks(scenario.clients.len())
        .map(Change::Clients)
        .chain(blocks_of_ops)
        .chain((0..FAULTS.len()).map(Change::Fault))
        .chain([Change::Stop, Change::Signal])
        .chain(simple)
        .chain(all_ops().flat_map(recipients))
        .chain((0..USUAL.len()).map(Change::Usual))
}

/// Halves, quarters and so on, down to single ones.
fn blocks(count: usize) -> impl Iterator<Item = Range<usize>> {
    let sizes = std::iter::successors(Some(count.div_ceil(2)), |&size| (size > 1).then(|| size.div_ceil(2)));
    sizes
        .filter(|&size| size > 0)
        .flat_map(move |size| (0..count).step_by(size).map(move |start| start..(start + size).min(count)))
}

fn apply(scenario: &mut Scenario, change: Change) {
    match change {
        Change::Clients(range) => drop(scenario.clients.drain(range)),
        Change::Ops(client, range) => drop(scenario.clients[client].ops.drain(range)),
        Change::Simple(client, op) => simplify(&mut scenario.clients[client].ops[op]),
        Change::Recipient(client, op, recipient) => {
            if let Op::Say { to, .. } = &mut scenario.clients[client].ops[op] {
                drop(to.remove(recipient));
            }
        }
        Change::Fault(fault) => {
            *FAULTS[fault](&mut scenario.faults) = 0;
            let until_ms = std::mem::take(&mut scenario.faults.until_ms);
            if scenario.faults != Faults::default() {
                scenario.faults.until_ms = until_ms;
            }
        }
        Change::Stop => scenario.stop = None,
        Change::Signal => {
            if let Some(stop) = &mut scenario.stop {
                stop.again_after_ms = None;
            }
        }
        Change::Usual(limit) => USUAL[limit](scenario, &Scenario::default()),
    }
}

/// One step towards the simplest of its kind.
fn simplify(op: &mut Op) {
    match op {
        Op::LogIn { insist, .. } => *insist = false,
        Op::Say { bytes, .. } => *bytes = 0,
        Op::Ping { wait } => *wait = false,
        Op::Sleep(ms) | Op::Stall(ms) => *ms /= 2,
        _ => {}
    }
}

/// Every kind of fault.
const FAULTS: [fn(&mut Faults) -> &mut u32; 12] = [
    |faults| &mut faults.torn_read,
    |faults| &mut faults.torn_write,
    |faults| &mut faults.spurious_wake,
    |faults| &mut faults.interrupt,
    |faults| &mut faults.delay,
    |faults| &mut faults.slow_write,
    |faults| &mut faults.clog,
    |faults| &mut faults.reset,
    |faults| &mut faults.accept_error,
    |faults| &mut faults.refuse,
    |faults| &mut faults.reset_loses,
    |faults| &mut faults.clock_jump,
];

/// Whatever has a usual value.
const USUAL: [fn(&mut Scenario, &Scenario); 10] = [
    |scenario, usual| scenario.limits.clone_from(&usual.limits),
    |scenario, usual| scenario.listeners = usual.listeners,
    |scenario, usual| scenario.outbox_bytes_max = usual.outbox_bytes_max,
    |scenario, usual| scenario.pipe_bytes = usual.pipe_bytes,
    |scenario, usual| scenario.read_bytes_max = usual.read_bytes_max,
    |scenario, usual| scenario.outbox_bytes_total_max = usual.outbox_bytes_total_max,
    |scenario, usual| scenario.outbox_bytes_floor = usual.outbox_bytes_floor,
    |scenario, usual| scenario.lines_per_second_max = usual.lines_per_second_max,
    |scenario, usual| scenario.write_ms_max = usual.write_ms_max,
    |scenario, usual| scenario.origins = usual.origins,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::swarm::Profile;

    #[test]
    fn simpler_scenarios_come_to_an_end_at_nothing() {
        for seed in 0..20 {
            let mut scenario = Profile::Swarm.scenario(seed);
            for position in [3, 1, 0] {
                while let Some(next) = simpler(&scenario, position) {
                    scenario = next;
                }
            }
            assert_eq!(scenario, Scenario::default(), "of seed {seed}");
        }
    }

    #[test]
    fn blocks_halve_down_to_single_ones() {
        let blocks: Vec<_> = blocks(3).collect();
        assert_eq!(blocks, [0..2, 2..3, 0..1, 1..2, 2..3]);
        assert_eq!(super::blocks(0).count(), 0);
    }
}
