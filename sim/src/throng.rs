//! Everything at once: people who talk, floods, clients who do not read and others who send to them, clients who come and go in
//! every way, and some who never say who they are. For a few seconds of real time.

use fastrand::Rng;
use seriatim::Limits;

use crate::scenario::{BadLine, Op, Scenario, Script};

const TALKERS: usize = 20;
const FLOODERS: usize = 4;
const CHURNERS: usize = 20;
const LAGGARDS: usize = 3;
const STRANGERS: usize = 5;

/// How many messages make a flood.
const FLOOD: usize = 8_000;

/// How long a laggard does not read, in milliseconds: longer than it takes to fill what waits for it.
const STALL_MS: u64 = 3_000;

/// How much a laggard is sent, in messages and bytes each: more than the operating system holds for it and the server may.
const HOSE: (usize, usize) = (4_000, 2_000);

/// What a server is to be started with for this: its outboxes are small, so that laggards are too slow for them.
pub(crate) const OUTBOX_BYTES_MAX: usize = 64 * 1024;
/// The same: strangers are to be thrown out while the others talk.
pub(crate) const LOGIN_MS_MAX: u64 = 1_000;

/// The scenario of this seed. No two have a name in common, so that one server can bear them one after another.
pub(crate) fn throng(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x7_4206);
    let names = Names(seed);
    let mut clients: Vec<Script> = Vec::new();
    clients.extend((0..TALKERS).map(|number| talker(&mut rng, &names, number)));
    clients.extend((0..FLOODERS).map(|number| flooder(&names, number)));
    clients.extend((0..CHURNERS).map(|number| churner(&mut rng, &names, number)));
    clients.extend((0..LAGGARDS).flat_map(|number| [laggard(&names, number), hose(&names, number)]));
    clients.extend((0..STRANGERS).map(|_| Script { ops: vec![Op::Connect, Op::Sleep(2 * LOGIN_MS_MAX)] }));
    rng.shuffle(&mut clients);
    let limits = Limits { login_ms_max: LOGIN_MS_MAX, ..Limits::default() };
    Scenario { limits, outbox_bytes_max: OUTBOX_BYTES_MAX, clients, ..Scenario::default() }
}

struct Names(u64);

impl Names {
    fn of(&self, kind: &str, number: usize) -> String {
        format!("{kind}{number}-{}", self.0)
    }

    /// Somebody who may be there.
    fn any(&self, rng: &mut Rng) -> String {
        match rng.usize(0..10) {
            0..6 => self.of("talker", rng.usize(0..TALKERS)),
            6..8 => self.of("churner", rng.usize(0..CHURNERS)),
            8 => self.of("flooder", rng.usize(0..FLOODERS)),
            _ => self.of("laggard", rng.usize(0..LAGGARDS)),
        }
    }

    fn log_in(&self, kind: &str, number: usize) -> [Op; 2] {
        [Op::Connect, Op::LogIn { name: self.of(kind, number), insist: true }]
    }
}

fn talker(rng: &mut Rng, names: &Names, number: usize) -> Script {
    let mut ops = names.log_in("talker", number).to_vec();
    for _ in 0..400 {
        ops.push(match rng.usize(0..20) {
            0 => Op::Ping { wait: true },
            1 => Op::Who,
            2 => Op::Bad { rule: BadLine::ALL[rng.usize(0..BadLine::ALL.len())] },
            3..8 => Op::Sleep(rng.u64(1..20)),
            _ => {
                let to = (0..rng.usize(1..=3)).map(|_| names.any(rng)).collect();
                Op::Say { to, bytes: [8, 64, 300][rng.usize(0..3)] }
            }
        });
    }
    ops.push(if rng.bool() { Op::Quit } else { Op::HalfClose });
    Script { ops }
}

fn flooder(names: &Names, number: usize) -> Script {
    let mut ops = names.log_in("flooder", number).to_vec();
    let to = vec![names.of("flooder", (number + 1) % FLOODERS), names.of("talker", number)];
    ops.extend((0..FLOOD).map(|_| Op::Say { to: to.clone(), bytes: 64 }));
    ops.push(Op::HalfClose);
    Script { ops }
}

fn churner(rng: &mut Rng, names: &Names, number: usize) -> Script {
    let ends = [Op::Quit, Op::QuitTalking, Op::HalfClose, Op::LastWords, Op::Reset];
    let mut ops = Vec::new();
    for _ in 0..30 {
        ops.push(Op::Connect);
        if rng.usize(0..10) > 0 {
            ops.push(Op::LogIn { name: names.of("churner", number), insist: rng.bool() });
        }
        for _ in 0..rng.usize(0..4) {
            ops.push(Op::Say { to: vec![names.any(rng)], bytes: 8 });
        }
        if rng.bool() {
            ops.push(Op::Sleep(rng.u64(1..30)));
        }
        ops.push(ends[rng.usize(0..ends.len())].clone());
    }
    Script { ops }
}

fn laggard(names: &Names, number: usize) -> Script {
    let mut ops = names.log_in("laggard", number).to_vec();
    ops.extend([Op::Stall(STALL_MS), Op::Sleep(STALL_MS), Op::Ping { wait: true }, Op::Quit]);
    Script { ops }
}

/// Sends all it can to one laggard.
fn hose(names: &Names, number: usize) -> Script {
    let mut ops = names.log_in("hose", number).to_vec();
    ops.push(Op::Sleep(100));
    let say = Op::Say { to: vec![names.of("laggard", number)], bytes: HOSE.1 };
    ops.extend((0..HOSE.0).map(|_| say.clone()));
    ops.push(Op::Quit);
    Script { ops }
}
