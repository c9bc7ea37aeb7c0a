//! A scenario from a seed, of one of several [`Profile`]s. Swarm testing (Groce et al., ISSTA 2012): each seed turns on a random part of the faults and of
//! what clients do, with random rates, so that some runs are all of one thing and none of another.

use std::collections::BTreeSet;
use std::mem;

use clap::ValueEnum;
use fastrand::Rng;
use seriatim::Limits;
use seriatim::server::Tuning;

use crate::judge::same;
use crate::scenario::{BadLine, Command, Faults, Op, Order, Scenario, Script, Stop, When};
use crate::throng::throng;

/// What clients are called.
pub(crate) const NAMES: [&str; 6] = ["al", "bob", "carol", "dave", "erin", "Zoë"];

/// A kind of scenarios.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Profile {
    /// A few clients do everything, and half of the time everything goes wrong.
    #[default]
    Swarm,
    /// The same clients, but nothing goes wrong by itself, and there is no operator.
    Calm,
    /// Three clients, four messages each.
    Duel,
    /// Clients come and go under one name.
    Churn,
    /// 200 clients talk for an hour.
    Crowd,
    /// A few clients are silent for days, and then say something.
    Idle,
    /// Talkers, floods, laggards, resets and strangers, all at once.
    Throng,
}

impl Profile {
    /// The scenario of this kind that belongs to this seed.
    pub fn scenario(self, seed: u64) -> Scenario {
        match self {
            Profile::Swarm => scenario(seed),
            Profile::Calm => {
                Scenario { faults: Faults::default(), stop: None, orders: Vec::new(), ..scenario(seed) }
            }
            Profile::Duel => duel(),
            Profile::Churn => churn(seed),
            Profile::Crowd => crowd(seed),
            Profile::Idle => idle(seed),
            Profile::Throng => throng(seed),
        }
    }
}

/// Each sends to both others.
fn duel() -> Scenario {
    let names = ["al", "bob", "carol"];
    let script = |name: &str| {
        let to: Vec<String> =
            names.iter().filter(|other| **other != name).map(|&other| other.to_owned()).collect();
        let say = Op::Say { to, bytes: 8 };
        let log_in = Op::LogIn { name: name.to_owned(), insist: true };
        Script { ops: vec![Op::Connect, log_in, say.clone(), say.clone(), say.clone(), say, Op::Quit] }
    };
    Scenario { clients: names.map(script).into(), ..Scenario::default() }
}

fn churn(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0xc4_0a17);
    let mut script = |_| {
        let mut ops = Vec::new();
        for _ in 0..rng.usize(2..=40) {
            ops.push(Op::Connect);
            ops.push(Op::LogIn { name: "al".to_owned(), insist: rng.bool() });
            ops.push(Op::Say { to: vec!["al".to_owned()], bytes: 8 });
            if rng.bool() {
                ops.push(Op::Sleep(rng.u64(1..100)));
            }
            let ends = [Op::Quit, Op::HalfClose, Op::Reset, Op::LastWords];
            ops.push(ends[rng.usize(0..ends.len())].clone());
        }
        Script { ops }
    };
    let mut clients: Vec<Script> = (0..4).map(&mut script).collect();
    // And one who never says who it is.
    clients.push(Script { ops: vec![Op::Connect, Op::Sleep(12_000)] });
    Scenario { clients, ..Scenario::default() }
}

/// A name that is about as long as one may be: a list of many takes several lines.
fn long(number: usize) -> String {
    format!("x{number}{}", "é".repeat(29))
}

/// A few with long names ask for lists of which no line may be long.
fn roll_call(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x40_11ca);
    let mut script = |number: usize| {
        let mut ops = vec![Op::Connect, Op::LogIn { name: long(number), insist: true }];
        for _ in 0..rng.usize(1..=4) {
            ops.extend([Op::Sleep(rng.u64(1..10)), Op::Who]);
        }
        Script { ops }
    };
    let limits = Limits { line_bytes_max: 128, ..Limits::default() };
    Scenario { limits, clients: (0..6).map(&mut script).collect(), ..Scenario::default() }
}

/// A few say much at once to one another, all of them read, and an outbox holds only a few lines. All but the first may leave
/// in the middle.
fn chatter(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0xc4a7);
    let names = &NAMES[..rng.usize(1..=3)];
    let (insist, bytes) = (rng.bool(), pick(&mut rng, &[8, 300]));
    let mut script = |name: &&str| {
        let mut ops = vec![Op::Connect, Op::LogIn { name: (*name).to_owned(), insist }];
        for _ in 0..rng.usize(0..=8) {
            ops.push(Op::Say { to: vec![pick(&mut rng, names).to_owned()], bytes });
        }
        let stays = *name == names[0] || rng.u32(0..4) == 0;
        ops.push(if stays { Op::Sleep(100) } else { Op::Slam { to: vec![names[0].to_owned()] } });
        Script { ops }
    };
    let clients = names.iter().map(&mut script).collect();
    let outbox_bytes_max = if bytes == 8 { 64 * 1024 } else { 1024 };
    // Where a pipe holds next to nothing, who leaves is mostly still being written to.
    let pipe_bytes = pick(&mut rng, &[64, 4096]);
    bare(Scenario { outbox_bytes_max, pipe_bytes, clients, ..Scenario::default() }, seed)
}

/// A few come and break off while somebody talks to them, and all outboxes together hold little more than one line: what was
/// for the gone must leave its room to the others.
fn leavers(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x1ea_4e5);
    let log_in = |name: &str| [Op::Connect, Op::LogIn { name: name.to_owned(), insist: true }];
    let say = |to: &str| Op::Say { to: vec![to.to_owned()], bytes: 600 };
    let (mut leaves, mut talks) = (Vec::new(), log_in("al").to_vec());
    for _ in 0..rng.usize(1..=4) {
        leaves.extend(log_in("bob"));
        leaves.extend([Op::Sleep(rng.u64(1..=3)), Op::Reset, Op::Sleep(rng.u64(1..=3))]);
    }
    for _ in 0..rng.usize(1..=8) {
        talks.extend([Op::Sleep(rng.u64(1..=3)), say("bob")]);
    }
    talks.extend([Op::Sleep(1_000), say("al"), Op::Quit]);
    let clients = [talks, leaves].map(|ops| Script { ops }).into();
    Scenario { clients, outbox_bytes_total_max: 1024, outbox_bytes_floor: 512, ..Scenario::default() }
}

/// They all log in, and then each says something to a few others every few seconds.
fn crowd(seed: u64) -> Scenario {
    const CLIENTS: usize = 200;
    const MS: u64 = 60 * 60 * 1000;
    let mut rng = Rng::with_seed(seed ^ 0xc0_4d);
    let name = |number: usize| format!("peer{number}");
    let mut script = |number: usize| {
        let mut ops = vec![Op::Connect, Op::LogIn { name: name(number), insist: true }, Op::Sleep(1_000)];
        let mut left = MS;
        while let Some(later) = left.checked_sub(rng.u64(1..=20_000)) {
            ops.push(Op::Sleep(left - later));
            left = later;
            // What somebody has to say comes in several lines.
            for _ in 0..rng.usize(1..=8) {
                let to = (0..rng.usize(1..=4)).map(|_| name(rng.usize(0..CLIENTS))).collect();
                ops.push(Op::Say { to, bytes: 40 });
            }
        }
        ops.push(Op::Quit);
        Script { ops }
    };
    let limits = Limits { recipients_max: 10, ..Limits::default() };
    Scenario { limits, clients: (0..CLIENTS).map(&mut script).collect(), ..Scenario::default() }
}

fn idle(seed: u64) -> Scenario {
    const HOUR_MS: u64 = 60 * 60 * 1000;
    let mut rng = Rng::with_seed(seed ^ 0x1d1e);
    let mut script = |name: &&str| {
        let mut ops = vec![Op::Connect, Op::LogIn { name: (*name).to_owned(), insist: true }];
        for _ in 0..10 {
            ops.push(Op::Sleep(rng.u64(HOUR_MS..24 * HOUR_MS)));
            ops.push(Op::Ping { wait: true });
        }
        ops.push(Op::Quit);
        Script { ops }
    };
    Scenario { clients: NAMES.iter().map(&mut script).collect(), ..Scenario::default() }
}

/// A few clients, everything, and half of the time everything goes wrong.
pub fn scenario(seed: u64) -> Scenario {
    ordered(outlasted(without_orders(seed), seed), seed)
}

/// The same, but what goes wrong by itself does so up to some moment, and mostly some clients come once more when that is over:
/// they must be served like anybody. That has a stream of random numbers of its own.
fn outlasted(mut scenario: Scenario, seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x0a_f7e4);
    if scenario.faults == Faults::default() {
        return scenario;
    }
    let until_ms = rng.u64(100..=20_000);
    scenario.faults.until_ms = until_ms;
    let names = asked_for(&scenario);
    if names.is_empty() || rng.u32(0..3) == 0 {
        return scenario;
    }
    for Script { ops } in &mut scenario.clients {
        let log_in = ops.iter().rfind(|op| matches!(op, Op::LogIn { .. } | Op::Prove { .. })).cloned();
        let Some(log_in) = log_in.filter(|_| rng.bool()) else { continue };
        let to = vec![spelled(&mut rng, &names), spelled(&mut rng, &names)];
        let stay = Op::Sleep(rng.u64(0..=500));
        ops.extend([Op::Sleep(until_ms), Op::Connect, log_in, Op::Say { to, bytes: 8 }, stay, Op::Quit]);
    }
    scenario
}

fn without_orders(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x5e71_a71b);
    if rng.u32(0..40) == 0 {
        return churn(seed);
    }
    match Rng::with_seed(seed ^ 0x4011).u32(0..40) {
        0 => return roll_call(seed),
        1..=3 => return chatter(seed),
        4 => return leavers(seed),
        _ => {}
    }
    let long_names = rng.u32(0..10) == 0;
    let count = if long_names { 14 } else { rng.usize(1..=NAMES.len()) };
    let names: Vec<String> =
        (0..count).map(|number| if long_names { long(number) } else { NAMES[number].to_owned() }).collect();
    // More than the queue has places.
    let many = rng.u32(0..16) == 0;
    let clients = if many { rng.usize(17..=24) } else { rng.usize(2..=if long_names { 20 } else { 8 }) };
    let limits = Limits {
        line_bytes_max: 512,
        recipients_max: rng.usize(2..=8),
        login_ms_max: pick(&mut rng, &[200, 2_000, 10_000]),
        flush_ms_max: pick(&mut rng, &[500, 5_000, 30_000]),
        drain_ms_max: pick(&mut rng, &[50, 1_000, 5_000]),
        ..Limits::default()
    };
    let faults = if rng.bool() { Faults::default() } else { faults(&mut rng) };
    let mut habits = Habits::random(&mut rng);
    if many {
        (habits.sessions_max, habits.ops_max) = (2, 6);
    }
    if habits.choke {
        habits.weights = [12, 0, 1, 0, 0, 0, 1, 3, 0, 0, 0, 0, 0];
    }
    let (outbox_bytes_max, pipe_bytes) = if habits.choke {
        (1024, 64)
    } else {
        (pick(&mut rng, &[1024, 8 * 1024, 64 * 1024]), pick(&mut rng, &[64, 512, 4096, 65_536]))
    };
    let scenario = Scenario {
        limits,
        listeners: if rng.u32(0..4) == 0 { 2 } else { 1 },
        outbox_bytes_max,
        pipe_bytes,
        read_bytes_max: usize::MAX,
        stop: (rng.u32(0..3) == 0).then(|| stop(&mut rng)),
        faults,
        clients: (0..clients).map(|_| script(&mut rng, &names, &habits)).collect(),
        ..Scenario::default()
    };
    reserved(bare(limited(tuned(scenario, seed), seed), seed), seed)
}

/// The same, but in half of the scenarios the server divides its work in other ways, and sometimes clients say so much at once that
/// they need permits.
fn tuned(mut scenario: Scenario, seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x7e41_0b5c);
    if rng.bool() {
        return scenario;
    }
    let tuning = Tuning {
        permits: pick(&mut rng, &[1, 2, 3, 16]),
        first_bytes_max: pick(&mut rng, &[1, 5, 20, 64]),
        broadcast_min: pick(&mut rng, &[1, 2, 3]),
        broadcast_writes_max: pick(&mut rng, &[1, 2, 64]),
    };
    if tuning.permits < 16 && rng.u32(0..4) == 0 {
        let is_login = |op: &Op| matches!(op, Op::LogIn { .. });
        for client in &mut scenario.clients {
            if let Some(login) = client.ops.iter().position(is_login) {
                let pings = (0..rng.usize(0..12)).map(|_| Op::Ping { wait: false });
                client.ops.splice(login + 1..login + 1, pings);
            }
        }
    }
    if tuning.permits < 16 && rng.u32(0..8) == 0 {
        // In the middle of that.
        let at = When::Event(rng.u64(8..40));
        scenario.stop = Some(Stop { at, again_after_ms: None, restart: false });
    }
    Scenario { tuning, ..scenario }
}

/// The same, but in some scenarios a few names are reserved, and clients give passwords, most of them the right ones.
fn reserved(mut scenario: Scenario, seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0xacc0_0417);
    if rng.u32(0..5) > 0 {
        return scenario;
    }
    let asked_for = |op: &Op| if let Op::LogIn { name, .. } = op { Some(same(name)) } else { None };
    let names: BTreeSet<String> =
        scenario.clients.iter().flat_map(|client| client.ops.iter().filter_map(asked_for)).collect();
    scenario.accounts = names.into_iter().filter(|name| !name.contains([' ', '!']) && rng.bool()).collect();
    for client in &mut scenario.clients {
        for op in mem::take(&mut client.ops) {
            let Op::LogIn { name, insist } = op else {
                client.ops.push(op);
                continue;
            };
            let is_reserved = scenario.accounts.contains(&same(&name));
            if rng.u32(0..8) == 0 {
                client.ops.push(Op::Prove { name: name.clone(), right: rng.bool(), insist: false });
            }
            client.ops.push(if rng.u32(0..16) < if is_reserved { 14 } else { 1 } {
                Op::Prove { name, right: rng.u32(0..8) > 0, insist: insist && rng.bool() }
            } else {
                Op::LogIn { name, insist }
            });
        }
    }
    scenario.limits.account_required = !scenario.accounts.is_empty() && rng.u32(0..8) == 0;
    scenario.limits.clear_passwords_allowed = rng.u32(0..4) > 0;
    let delays_guesses = scenario.delays_guesses();
    if let Some(stop) = scenario.stop.as_mut().filter(|_| delays_guesses && rng.bool()) {
        // A guess is still waiting for its verdict by then; the first client is seldom refused.
        (stop.at, stop.again_after_ms) = (When::Ms(rng.u64(1..250)), None);
        let name = scenario.accounts[rng.usize(0..scenario.accounts.len())].clone();
        let guess = Op::Prove { name, right: false, insist: false };
        scenario.clients[0].ops.splice(0..0, [Op::Connect, guess.clone(), guess]);
        // Where all is calm, the clock can tell who waits for whom.
        scenario.faults = Faults::default();
        for client in &mut scenario.clients {
            client.ops.retain(|op| !matches!(op, Op::Stall(_)));
        }
        return scenario;
    }
    if scenario.faults != Faults::default() && rng.bool() {
        scenario.faults.slow_password = rng.u32(1..=1_000);
    } else if rng.u32(0..4) == 0 {
        scenario.faults.password_panic = rng.u32(1..=500);
        scenario.faults.until_ms = 20_000;
    } else if scenario.faults == Faults::default() && rng.bool() {
        scenario.faults.slow_password = rng.u32(1..=1_000);
        scenario.faults.until_ms = 20_000;
    }
    scenario
}

/// The same, but in some scenarios messages often go without a receipt, and to the same as the one before. A stream of random
/// numbers of its own keeps everything else as it is.
fn bare(mut scenario: Scenario, seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0xba_4e);
    if rng.u32(0..3) > 0 {
        return scenario;
    }
    for client in &mut scenario.clients {
        let mut last = None;
        for op in &mut client.ops {
            if let Op::Say { to, bytes } = op
                && rng.u32(0..3) > 0
            {
                let to = last.filter(|_| rng.u32(0..4) > 0).unwrap_or_else(|| to.clone());
                *op = Op::Tell { to: to.clone(), bytes: *bytes };
                last = Some(to);
            }
        }
    }
    scenario
}

/// The same, but some stops are restarts, and in some scenarios the operator has orders to give, more often where somebody can
/// be banned, and sometimes just when it stops the server. They have a stream of random numbers of their own, too.
fn ordered(mut scenario: Scenario, seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x0_4de4);
    if let Some(stop) = &mut scenario.stop {
        stop.restart = rng.u32(0..3) == 0;
    }
    if rng.u32(0..6) > u32::from(scenario.origins > 0) {
        return scenario;
    }
    let names = asked_for(&scenario);
    let mut banned = Vec::new();
    for _ in 0..rng.usize(1..=4) {
        let what = match rng.u32(0..6) {
            0..3 if scenario.origins > 0 => {
                banned.push(rng.usize(0..scenario.origins));
                Command::Ban(banned[banned.len() - 1])
            }
            3..5 if !banned.is_empty() => Command::Unban(banned.swap_remove(rng.usize(0..banned.len()))),
            _ if names.is_empty() => continue,
            _ => Command::Kick(spelled(&mut rng, &names)),
        };
        let stop = scenario.stop.filter(|_| rng.u32(0..4) == 0);
        scenario.orders.push(Order { at: stop.map_or_else(|| moment(&mut rng), |stop| stop.at), what });
    }
    scenario
}

/// The names that clients ask for.
fn asked_for(scenario: &Scenario) -> Vec<String> {
    let names = scenario.clients.iter().flat_map(|client| client.ops.iter().filter_map(Op::asks_for));
    let names: BTreeSet<String> =
        names.map(|name| same(name)).filter(|name| !name.contains([' ', '!'])).collect();
    names.into_iter().collect()
}

/// The same with a few tighter limits. They have a stream of random numbers of their own, so that what clients do does not
/// depend on what the server allows.
fn limited(mut scenario: Scenario, seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed ^ 0x11_3175);
    let limits = &mut scenario.limits;
    scenario.write_ms_max = Some(pick(&mut rng, &[30_000, 30_000, 5_000, 1_000]));
    if rng.u32(0..4) == 0 {
        limits.idle_ms_max = Some(pick(&mut rng, &[40, 500, 8_000]));
    }
    if rng.u32(0..6) == 0 {
        limits.connections_max = pick(&mut rng, &[1, 2, 4]);
    }
    if rng.u32(0..4) == 0 {
        scenario.origins = rng.usize(1..=3);
        limits.connections_per_address_max = pick(&mut rng, &[None, Some(1), Some(2)]);
        limits.connects_per_minute_max = pick(&mut rng, &[None, Some(2), Some(5)]);
    }
    if rng.u32(0..6) == 0 {
        limits.logins_pending_max = rng.usize(1..=3);
    }
    limits.refusals_max = pick(&mut rng, &[0, 1, 64, 64]);
    if rng.u32(0..6) == 0 {
        scenario.lines_per_second_max = Some(pick(&mut rng, &[1, 4, 20]));
    }
    if rng.u32(0..3) == 0 {
        scenario.outbox_bytes_total_max = pick(&mut rng, &[1024, 4096]);
        scenario.outbox_bytes_floor = 512;
    }
    scenario
}

fn pick<T: Copy>(rng: &mut Rng, from: &[T]) -> T {
    from[rng.usize(0..from.len())]
}

/// Somewhere in the middle of it, early more often than late.
fn moment(rng: &mut Rng) -> When {
    let most = 1 << rng.u32(0..10);
    if rng.bool() { When::Ms(rng.u64(0..3_000)) } else { When::Event(rng.u64(0..most)) }
}

fn stop(rng: &mut Rng) -> Stop {
    let at = moment(rng);
    Stop { at, again_after_ms: (rng.u32(0..8) == 0).then(|| pick(rng, &[0, 1, 500])), restart: false }
}

fn faults(rng: &mut Rng) -> Faults {
    let mut rate = |most: u32| if rng.bool() { rng.u32(1..=most) } else { 0 };
    Faults {
        torn_read: rate(500),
        torn_write: rate(500),
        spurious_wake: rate(200),
        interrupt: rate(100),
        delay: rate(100),
        slow_write: rate(50),
        clog: rate(10),
        reset: rate(20),
        accept_error: rate(300),
        refuse: rate(200),
        reset_loses: rate(500),
        slow_password: 0,
        password_panic: 0,
        clock_jump: rate(5),
        until_ms: 20_000,
    }
}

/// How often clients of one scenario do what, by weight.
struct Habits {
    weights: [u32; 13],
    /// Many do not read, and others say much to them.
    choke: bool,
    sessions_max: usize,
    ops_max: usize,
}

impl Habits {
    fn random(rng: &mut Rng) -> Habits {
        let mut weights = [0; 13];
        for weight in &mut weights {
            *weight = if rng.bool() { rng.u32(1..=4) } else { 0 };
        }
        weights[0] += rng.u32(2..=20); // somebody should say something
        let choke = rng.u32(0..8) == 0;
        Habits { weights, choke, sessions_max: rng.usize(1..=4), ops_max: rng.usize(1..=20) }
    }
}

fn script(rng: &mut Rng, names: &[String], habits: &Habits) -> Script {
    let mut ops = Vec::new();
    if rng.u32(0..6) == 0 {
        ops.push(Op::CrLf);
    }
    for _ in 0..rng.usize(1..=habits.sessions_max) {
        ops.push(Op::Connect);
        if rng.u32(0..20) == 0 {
            ops.push(Op::Blank);
        }
        if rng.u32(0..20) == 0 {
            let name = if rng.bool() { "no name" } else { "no-name!" };
            ops.push(Op::LogIn { name: name.to_owned(), insist: false });
        }
        if rng.u32(0..20) > 0 {
            ops.push(Op::LogIn { name: spelled(rng, names), insist: rng.u32(0..4) > 0 });
        }
        if habits.choke && rng.bool() {
            ops.push(Op::Stall(40_000));
        }
        for _ in 0..rng.usize(0..=habits.ops_max) {
            let op = op(rng, names, habits);
            let last = matches!(
                op,
                Op::Quit | Op::QuitTalking | Op::HalfClose | Op::LastWords | Op::Reset | Op::Slam { .. }
            );
            ops.push(op);
            if last {
                break;
            }
        }
    }
    Script { ops }
}

/// A name, mostly as it is, sometimes as somebody else might write it.
fn spelled(rng: &mut Rng, names: &[String]) -> String {
    let name = &names[rng.usize(0..names.len())];
    match rng.u32(0..8) {
        0 => name.to_uppercase(),
        1 => name.replace('ë', "e\u{308}"),
        _ => name.clone(),
    }
}

fn op(rng: &mut Rng, names: &[String], habits: &Habits) -> Op {
    let total: u32 = habits.weights.iter().sum();
    let mut at = rng.u32(0..total);
    let choice = habits.weights.iter().position(|&weight| {
        let here = at < weight;
        at = at.saturating_sub(weight);
        here
    });
    match choice.unwrap_or_default() {
        0 => {
            let to = (0..rng.usize(1..=3)).map(|_| spelled(rng, names)).collect();
            Op::Say { to, bytes: if habits.choke { 300 } else { pick(rng, &[8, 8, 64, 300, usize::MAX]) } }
        }
        1 => Op::Ping { wait: true },
        2 => Op::Ping { wait: false },
        3 => Op::Who,
        4 => Op::Bad { rule: pick(rng, &BadLine::ALL) },
        5 => Op::Sleep(pick(rng, &[1, 50, 500])),
        6 => Op::Sleep(pick(rng, &[1, 10, 12_000])),
        7 => Op::Stall(pick(rng, &[10, 1_000, 40_000])),
        8 => Op::Trickle,
        9 if rng.bool() => Op::QuitTalking,
        9 => Op::Quit,
        10 if rng.bool() => Op::LastWords,
        10 if rng.bool() => Op::Slam { to: vec![spelled(rng, names)] },
        10 => Op::HalfClose,
        11 => Op::Blank,
        _ => Op::Reset,
    }
}
