//! A scenario from a seed. Swarm testing (Groce et al., ISSTA 2012): each seed turns on a random part of the faults and of
//! what clients do, with random rates, so that some runs are all of one thing and none of another.

use fastrand::Rng;
use seriatim::Limits;

use crate::scenario::{BadLine, Faults, Op, Scenario, Script, Stop, When};

const NAMES: [&str; 6] = ["al", "bob", "carol", "dave", "erin", "Zoë"];

/// The scenario that belongs to this seed.
pub fn scenario(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x5e71_a71b);
    let names = rng.usize(1..=NAMES.len());
    let clients = rng.usize(2..=8);
    let limits = Limits {
        line_bytes_max: 512,
        recipients_max: rng.usize(2..=8),
        login_ms_max: pick(&mut rng, &[200, 2_000, 10_000]),
        flush_ms_max: pick(&mut rng, &[500, 5_000, 30_000]),
        drain_ms_max: pick(&mut rng, &[50, 1_000, 5_000]),
    };
    let faults = if rng.bool() { Faults::default() } else { faults(&mut rng) };
    let habits = Habits::random(&mut rng);
    Scenario {
        limits,
        outbox_bytes_max: pick(&mut rng, &[1024, 8 * 1024, 64 * 1024]),
        pipe_bytes: pick(&mut rng, &[64, 512, 4096, 65_536]),
        stop: (rng.u32(0..3) == 0).then(|| stop(&mut rng)),
        faults,
        clients: (0..clients).map(|_| script(&mut rng, &NAMES[..names], &habits)).collect(),
    }
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}

/// Somewhere in the middle of it, early more often than late.
fn stop(rng: &mut Rng) -> Stop {
    let most = 1 << rng.u32(0..10);
    let at = if rng.bool() { When::Ms(rng.u64(0..3_000)) } else { When::Event(rng.u64(0..most)) };
    Stop { at, again_after_ms: (rng.u32(0..8) == 0).then(|| pick(rng, &[0, 1, 500])) }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut rate = |most: u32| if rng.bool() { rng.u32(1..=most) } else { 0 };
    Faults {
        torn_read: rate(500),
        torn_write: rate(500),
        spurious_wake: rate(200),
        delay: rate(100),
        slow_write: rate(50),
        clog: rate(10),
        reset: rate(20),
        accept_error: rate(300),
        refuse: rate(200),
        reset_loses: rate(500),
        clock_jump: rate(5),
        until_ms: 20_000,
    }
}

/// How often clients of one scenario do what, by weight.
struct Habits {
    weights: [u32; 12],
    sessions_max: usize,
    ops_max: usize,
}

impl Habits {
    fn random(rng: &mut Rng) -> Habits {
        let mut weights = [0; 12];
        for weight in &mut weights {
            *weight = if rng.bool() { rng.u32(1..=4) } else { 0 };
        }
        weights[0] += rng.u32(2..=20); // somebody should say something
        Habits { weights, sessions_max: rng.usize(1..=4), ops_max: rng.usize(1..=20) }
    }
}

fn script(rng: &mut Rng, names: &[&str], habits: &Habits) -> Script {
    let mut ops = Vec::new();
    for _ in 0..rng.usize(1..=habits.sessions_max) {
        ops.push(Op::Connect);
        if rng.u32(0..20) == 0 {
            ops.push(Op::LogIn { name: "no name".to_owned(), insist: false });
        }
        if rng.u32(0..20) > 0 {
            ops.push(Op::LogIn { name: pick(rng, names).to_owned(), insist: rng.u32(0..4) > 0 });
        }
        for _ in 0..rng.usize(0..=habits.ops_max) {
            let op = op(rng, names, habits);
            let last = matches!(op, Op::Quit | Op::HalfClose | Op::LastWords | Op::Reset);
            ops.push(op);
            if last {
                break;
            }
        }
    }
    Script { ops }
}

fn op(rng: &mut Rng, names: &[&str], habits: &Habits) -> Op {
    let total: u32 = habits.weights.iter().sum();
    let mut at = rng.u32(0..total);
    let choice = habits.weights.iter().position(|&weight| {
        let here = at < weight;
        at = at.saturating_sub(weight);
        here
    });
    match choice.unwrap_or_default() {
        0 => {
            let to = (0..rng.usize(1..=3)).map(|_| pick(rng, names).to_owned()).collect();
            Op::Say { to, bytes: pick(rng, &[8, 8, 64, 300]) }
        }
        1 => Op::Ping { wait: true },
        2 => Op::Ping { wait: false },
        3 => Op::Who,
        4 => Op::Bad { rule: pick(rng, &BadLine::ALL) },
        5 => Op::Sleep(pick(rng, &[1, 50, 500])),
        6 => Op::Sleep(pick(rng, &[1, 10, 12_000])),
        7 => Op::Stall(pick(rng, &[10, 1_000, 40_000])),
        8 => Op::Trickle,
        9 => Op::Quit,
        10 if rng.bool() => Op::LastWords,
        10 => Op::HalfClose,
        _ => Op::Reset,
    }
}
