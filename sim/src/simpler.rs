//! Simpler scenarios: the same, without one thing.

use std::ops::Range;

use fastrand::Rng;

use crate::judge::same;
use crate::scenario::{Command, Faults, Op, Scenario, When};
use crate::swarm::NAMES;

/// Among how many clients each may do what another did: there are as many pairs as the square of that.
const JOINED_MAX: usize = 4;

/// What few bytes an outbox may be made to hold: less than a line, or a few lines.
const OUTBOX_BYTES: [usize; 4] = [128, 256, 512, 1024];

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
    /// No stop; or no second signal; or an earlier one; or one that is for good.
    Stop,
    Signal,
    Earlier,
    ForGood,
    /// Some of what the operator orders; or one of them given earlier.
    Orders(Range<usize>),
    Sooner(usize),
    /// One client left out, and another does what it did, and gets what it got.
    Joined(usize, usize, Does),
    /// A limit as it is by default, or all of them.
    Usual(usize),
    /// Some of the accounts.
    Accounts(Range<usize>),
}

/// When a client does what another did that is left out.
#[derive(Clone, Copy)]
enum Does {
    Never,
    First,
    Last,
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
        let count = if let Op::Say { to, .. } | Op::Tell { to, .. } = &scenario.clients[client].ops[op] {
            to.len()
        } else {
            0
        };
        let count = if count > 1 { count } else { 0 };
        (0..count).map(move |recipient| Change::Recipient(client, op, recipient))
    };
    let few = if scenario.clients.len() <= JOINED_MAX { scenario.clients.len() } else { 0 };
    let joined = (0..few).flat_map(move |one| {
        (0..few).filter(move |&other| one != other).flat_map(move |other| {
            [Does::Never, Does::First, Does::Last].map(|does| Change::Joined(one, other, does))
        })
    });
    blocks(scenario.clients.len())
        .map(Change::Clients)
        .chain(blocks_of_ops)
        .chain((0..FAULTS.len()).map(Change::Fault))
        .chain([Change::Stop, Change::Signal, Change::Earlier, Change::ForGood])
        .chain(blocks(scenario.orders.len()).map(Change::Orders))
        .chain((0..scenario.orders.len()).map(Change::Sooner))
        .chain(simple)
        .chain(all_ops().flat_map(recipients))
        .chain((0..USUAL.len()).map(Change::Usual))
        .chain(blocks(scenario.accounts.len()).map(Change::Accounts))
        .chain(joined)
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
            if let Op::Say { to, .. } | Op::Tell { to, .. } = &mut scenario.clients[client].ops[op] {
                drop(to.remove(recipient));
            }
        }
        Change::Fault(fault) => {
            *FAULTS[fault].0(&mut scenario.faults) = 0;
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
        Change::Earlier => {
            if let Some(stop) = &mut scenario.stop {
                *number(&mut stop.at) /= 2;
            }
        }
        Change::ForGood => {
            if let Some(stop) = &mut scenario.stop {
                stop.restart = false;
            }
        }
        Change::Orders(range) => drop(scenario.orders.drain(range)),
        Change::Sooner(order) => *number(&mut scenario.orders[order].at) /= 2,
        Change::Joined(one, other, does) => join(scenario, one, other, does),
        Change::Usual(limit) => USUAL[limit](scenario, &Scenario::default()),
        Change::Accounts(range) => drop(scenario.accounts.drain(range)),
    }
}

/// Which moment it is, or after how many events.
fn number(when: &mut When) -> &mut u64 {
    let (When::Ms(at) | When::Event(at)) = when;
    at
}

/// One client is left out, and another does what it did, under its own name.
fn join(scenario: &mut Scenario, one: usize, other: usize, does: Does) {
    let is_login = |op: &Op| matches!(op, Op::LogIn { .. } | Op::Prove { .. });
    let name = |client: usize| scenario.clients[client].ops.iter().find_map(Op::asks_for).cloned();
    let names = name(one).zip(name(other));
    let done = scenario.clients[one].ops.iter().filter(|op| !is_login(op) && **op != Op::Connect);
    let done: Vec<Op> = if matches!(does, Does::Never) { Vec::new() } else { done.cloned().collect() };
    let ops = &mut scenario.clients[other].ops;
    let logged_in = ops.iter().position(is_login).map_or(0, |login| login + 1);
    let at = if matches!(does, Does::First) { logged_in } else { ops.len() };
    ops.splice(at..at, done);
    scenario.clients.remove(one);
    let Some((old, new)) = names else { return };
    for op in scenario.clients.iter_mut().flat_map(|client| &mut client.ops) {
        if let Op::Say { to, .. } | Op::Tell { to, .. } | Op::Slam { to } = op {
            to.iter_mut().filter(|name| **name == old).for_each(|name| name.clone_from(&new));
        }
    }
    for order in &mut scenario.orders {
        if let Command::Kick(name) = &mut order.what
            && same(name) == same(&old)
        {
            name.clone_from(&new);
        }
    }
}

/// Other numbers and names at random: what has less in it may need them. Outboxes and the time up to what the operator does
/// become only smaller.
pub(crate) fn other_numbers(scenario: &mut Scenario, rng: &mut Rng) {
    let long = rng.bool();
    for op in scenario.clients.iter_mut().flat_map(|client| &mut client.ops) {
        if let Op::Say { bytes, .. } | Op::Tell { bytes, .. } = op {
            *bytes = if long { usize::MAX } else { rng.usize(0..scenario.limits.line_bytes_max) };
        }
    }
    if rng.bool() {
        let outbox = OUTBOX_BYTES[rng.usize(0..OUTBOX_BYTES.len())];
        scenario.outbox_bytes_max = scenario.outbox_bytes_max.min(outbox);
    }
    let stop = scenario.stop.iter_mut().map(|stop| &mut stop.at);
    for when in stop.chain(scenario.orders.iter_mut().map(|order| &mut order.at)) {
        let at = number(when);
        *at = rng.u64(0..=*at);
    }
    if rng.bool() {
        exchange(scenario, rng.choice(NAMES).unwrap_or_default(), rng.choice(NAMES).unwrap_or_default());
    }
}

/// Whoever had one of the two names has the other.
fn exchange(scenario: &mut Scenario, one: &str, other: &str) {
    let ops = scenario.clients.iter_mut().flat_map(|client| &mut client.ops);
    let kicked = scenario.orders.iter_mut().filter_map(|order| match &mut order.what {
        Command::Kick(name) => Some(name),
        _ => None,
    });
    for name in ops.flat_map(Op::names_mut).chain(kicked).chain(&mut scenario.accounts) {
        if *name == one {
            other.clone_into(name);
        } else if *name == other {
            one.clone_into(name);
        }
    }
}

/// One step towards the simplest of its kind.
fn simplify(op: &mut Op) {
    match op {
        Op::LogIn { insist, .. } | Op::Prove { insist, .. } => *insist = false,
        Op::Say { bytes, .. } | Op::Tell { bytes, .. } => *bytes = 0,
        Op::Ping { wait } => *wait = false,
        Op::Sleep(ms) | Op::Stall(ms) => *ms /= 2,
        _ => {}
    }
}

/// The rate of one kind of faults.
type Knob = fn(&mut Faults) -> &mut u32;

/// Every kind of fault, and the mark of having met it.
const FAULTS: [(Knob, &str); 14] = [
    (|faults| &mut faults.torn_read, "a read was torn"),
    (|faults| &mut faults.torn_write, "a write was torn"),
    (|faults| &mut faults.spurious_wake, "there was nothing to read, though it had been said"),
    (|faults| &mut faults.interrupt, "a read was interrupted"),
    (|faults| &mut faults.delay, "what was written took its time"),
    (|faults| &mut faults.slow_write, "a write had to wait"),
    (|faults| &mut faults.clog, "a link was clogged"),
    (|faults| &mut faults.reset, "a connection broke by itself"),
    (|faults| &mut faults.accept_error, "accepting failed"),
    (|faults| &mut faults.refuse, "a connection was refused"),
    (|faults| &mut faults.reset_loses, "a reset destroyed bytes on their way"),
    (|faults| &mut faults.slow_password, "a password took its time"),
    (|faults| &mut faults.password_panic, "what verifies a password panicked"),
    (|faults| &mut faults.clock_jump, "the clock jumped"),
];

/// Whatever has a usual value.
const USUAL: [fn(&mut Scenario, &Scenario); 25] = [
    |scenario, usual| scenario.limits.clone_from(&usual.limits),
    |scenario, usual| scenario.limits.line_bytes_max = usual.limits.line_bytes_max,
    |scenario, usual| scenario.limits.recipients_max = usual.limits.recipients_max,
    |scenario, usual| scenario.limits.connections_max = usual.limits.connections_max,
    |scenario, usual| scenario.limits.connections_per_address_max = usual.limits.connections_per_address_max,
    |scenario, usual| scenario.limits.connects_per_minute_max = usual.limits.connects_per_minute_max,
    |scenario, usual| scenario.limits.logins_pending_max = usual.limits.logins_pending_max,
    |scenario, usual| scenario.limits.refusals_max = usual.limits.refusals_max,
    |scenario, usual| scenario.limits.login_ms_max = usual.limits.login_ms_max,
    |scenario, usual| scenario.limits.account_required = usual.limits.account_required,
    |scenario, usual| scenario.limits.clear_passwords_allowed = usual.limits.clear_passwords_allowed,
    |scenario, usual| scenario.limits.idle_ms_max = usual.limits.idle_ms_max,
    |scenario, usual| scenario.limits.flush_ms_max = usual.limits.flush_ms_max,
    |scenario, usual| scenario.limits.refusal_ms_max = usual.limits.refusal_ms_max,
    |scenario, usual| scenario.limits.drain_ms_max = usual.limits.drain_ms_max,
    |scenario, usual| scenario.listeners = usual.listeners,
    |scenario, usual| scenario.outbox_bytes_max = usual.outbox_bytes_max,
    |scenario, usual| scenario.pipe_bytes = usual.pipe_bytes,
    |scenario, usual| scenario.read_bytes_max = usual.read_bytes_max,
    |scenario, usual| scenario.tuning = usual.tuning,
    |scenario, usual| scenario.outbox_bytes_total_max = usual.outbox_bytes_total_max,
    |scenario, usual| scenario.outbox_bytes_floor = usual.outbox_bytes_floor,
    |scenario, usual| scenario.lines_per_second_max = usual.lines_per_second_max,
    |scenario, usual| scenario.write_ms_max = usual.write_ms_max,
    |scenario, usual| scenario.origins = usual.origins,
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::choice::Choices;
    use crate::engine::volume::run;
    use crate::marks::WANTED;
    use crate::scenario::Script;
    use crate::swarm::Profile;
    use crate::world::Record;

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

    /// Or what is shrunk to might fail without the bug.
    #[test]
    fn other_numbers_alone_break_no_guarantee() {
        for seed in 0..2_000 {
            let mut scenario = Profile::Swarm.scenario(seed);
            other_numbers(&mut scenario, &mut Rng::with_seed(seed));
            let outcome = run(&scenario, Choices::of_seed(seed), Record::default());
            assert_eq!(outcome.violation, None, "of seed {seed}");
        }
    }

    /// Or a knob may do nothing, and nobody would know.
    #[test]
    fn every_fault_is_there_and_shows_by_its_mark_when_it_alone_is_turned_on() {
        let mut all = Faults { until_ms: 1, ..Faults::default() };
        FAULTS.iter().for_each(|(fault, _)| *fault(&mut all) += 1);
        let fields = serde_json::to_value(&all).unwrap();
        assert!(fields.as_object().unwrap().values().all(|rate| *rate == 1), "{fields}");
        // al gives a password, and says something to bob; he answers, and breaks off.
        let al = Op::Prove { name: "al".to_owned(), right: true, insist: true };
        let bob = Op::LogIn { name: "bob".to_owned(), insist: true };
        let say = |to: &str| Op::Say { to: vec![to.to_owned()], bytes: 8 };
        let script =
            |log_in: Op, to: &str, end: Op| Script { ops: vec![Op::Connect, log_in, say(to), say(to), end] };
        let clients = vec![script(al, "bob", Op::Quit), script(bob, "al", Op::Reset)];
        let scenario = Scenario { accounts: vec!["al".to_owned()], clients, ..Scenario::default() };
        for (fault, mark) in FAULTS {
            let is_met = |rate: u32| {
                let mut scenario = scenario.clone();
                scenario.faults.until_ms = 20_000;
                *fault(&mut scenario.faults) = rate;
                (0..20).any(|seed| {
                    run(&scenario, Choices::of_seed(seed), Record::default()).marks.met.contains_key(mark)
                })
            };
            assert!(WANTED.contains(&mark), "{mark}");
            assert!(is_met(300), "never: {mark}");
            assert!(!is_met(0), "without its fault: {mark}");
        }
    }

    #[test]
    fn a_client_does_what_another_did() {
        let log_in = |name: &str| Op::LogIn { name: name.to_owned(), insist: false };
        let say = |to: &str| Op::Say { to: vec![to.to_owned()], bytes: 0 };
        let script = |ops: &[Op]| Script { ops: ops.to_vec() };
        let joined = |does| {
            let al = script(&[Op::Connect, log_in("al"), say("bob"), Op::Quit]);
            let bob = script(&[Op::Connect, log_in("bob"), Op::Who]);
            let mut scenario = Scenario { clients: vec![bob, al], ..Scenario::default() };
            join(&mut scenario, 0, 1, does);
            scenario.clients
        };
        let al = |ops: &[Op]| vec![script(&[&[Op::Connect, log_in("al")], ops].concat())];
        assert_eq!(joined(Does::Never), al(&[say("al"), Op::Quit]));
        assert_eq!(joined(Does::First), al(&[Op::Who, say("al"), Op::Quit]));
        assert_eq!(joined(Does::Last), al(&[say("al"), Op::Quit, Op::Who]));
    }

    #[test]
    fn blocks_halve_down_to_single_ones() {
        let blocks: Vec<_> = blocks(3).collect();
        assert_eq!(blocks, [0..2, 2..3, 0..1, 1..2, 2..3]);
        assert_eq!(super::blocks(0).count(), 0);
    }
}
