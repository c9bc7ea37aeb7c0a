//! The simulated server, judged, in volume.

use std::collections::BTreeSet;
use std::process::Command;

use seriatim::server::Tuning;
use seriatim_sim::choice::{Choices, Search};
use seriatim_sim::engine::volume::run;
use seriatim_sim::engine::{Outcome, fold_digest};
use seriatim_sim::marks::Marks;
use seriatim_sim::report::explain;
use seriatim_sim::scenario::{Faults, Op, Scenario, Script, Stop, When};
use seriatim_sim::swarm;
use seriatim_sim::world::Record;

/// `SERIATIM_SEEDS=1000000 cargo test --release -p seriatim-sim` looks longer.
fn seeds() -> u64 {
    std::env::var("SERIATIM_SEEDS").map_or(10_000, |seeds| seeds.parse().expect("a number of seeds"))
}

#[test]
fn no_seed_breaks_a_guarantee_and_every_mark_is_met() {
    let mut marks = Marks::default();
    for seed in 0..seeds() {
        let scenario = swarm::scenario(seed);
        let outcome = run(&scenario, Choices::of_seed(seed), Record::default());
        if outcome.violation.is_some() {
            panic!("seed {seed}: {}", explain(&scenario, &outcome, &format!("cargo sim replay {seed}")));
        }
        marks.add(&outcome.marks);
    }
    assert_eq!(marks.missing(), [""; 0], "never met");
}

#[test]
fn g12_a_seed_is_the_same_run_every_time() {
    let record = Record { digest: true, trace: false };
    let digest = |seed| {
        let outcome = run(&swarm::scenario(seed), Choices::of_seed(seed), record);
        (outcome.digest, outcome.steps, outcome.history)
    };
    for seed in 0..200 {
        assert_eq!(digest(seed), digest(seed), "seed {seed}");
    }
    // And in another process.
    let output =
        Command::new(env!("CARGO_BIN_EXE_seriatim-sim")).args(["digest", "--seeds", "100"]).output().unwrap();
    let here = (0..100).fold(0, |all, seed| fold_digest(all, digest(seed).0));
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim(), format!("{here:016x}"));
}

/// Whatever nobody did is in the trace: marks, and words that stand there as often as each was met.
const INCIDENTS: [(&str, &str); 18] = [
    ("a reset destroyed bytes on their way", " are lost"),
    ("a connection broke by itself", "the connection breaks by itself"),
    ("a connection was refused", "a connection is refused"),
    ("nobody listened any more", "nobody listens any more"),
    ("accepting failed", "accepting fails: "),
    ("a read was torn", " reads only "),
    ("a write was torn", " writes only "),
    ("a read was interrupted", "a signal interrupts the server's read"),
    ("a write was interrupted", "a signal interrupts the server's write"),
    ("there was nothing to read, though it had been said", "there is nothing to read, though it was said"),
    ("what was written took its time", " writes takes "),
    ("the clock jumped", "the clock jumps "),
    ("a link was clogged", "nothing passes for "),
    ("a write had to wait", "nothing that the server writes is taken for "),
    ("a connection that took nothing was reset", "it has taken nothing for "),
    ("a password took its time", "verifying a password takes "),
    ("what verifies a password panicked", "what verifies a password panics"),
    ("a second signal ended the process", "a second signal ends the process"),
];

#[test]
fn whatever_nobody_did_is_in_the_trace() {
    let mut all = Marks::default();
    for seed in 0..1_500 {
        let record = Record { digest: false, trace: true };
        let outcome = run(&swarm::scenario(seed), Choices::of_seed(seed), record);
        let told = |words: &str| outcome.incidents.iter().filter(|told| told.what.contains(words)).count();
        for (mark, words) in INCIDENTS {
            let met = outcome.marks.met.get(mark).copied().unwrap_or_default();
            assert_eq!(told(words) as u64, met, "seed {seed}: {mark}");
        }
        let held_back = outcome.incidents.iter().filter(|told| told.is_turn).count();
        assert!(held_back >= outcome.preemptions(), "seed {seed}");
        assert_eq!(held_back == 0, outcome.preemptions() == 0, "seed {seed}");
        all.add(&outcome.marks);
    }
    for (mark, _) in INCIDENTS {
        assert!(all.met.contains_key(mark), "never met: {mark}");
    }
}

#[test]
fn a_trace_changes_nothing() {
    let without_stamps = |outcome: &Outcome| {
        let mut history = outcome.history.clone();
        history.sessions.iter_mut().flat_map(|session| &mut session.items).for_each(|item| item.at = 0);
        history
    };
    for seed in 0..300 {
        let run =
            |trace| run(&swarm::scenario(seed), Choices::of_seed(seed), Record { digest: false, trace });
        let (plain, traced) = (run(false), run(true));
        assert_eq!((plain.trace.len(), plain.incidents.len()), (0, 0), "seed {seed}");
        assert_eq!(traced.trace.len() as u64, traced.events, "seed {seed}");
        assert_eq!(plain.taken, traced.taken, "seed {seed}");
        assert_eq!(plain.marks, traced.marks, "seed {seed}");
        assert_eq!((plain.steps, plain.events, plain.now_ms), (traced.steps, traced.events, traced.now_ms));
        assert_eq!(without_stamps(&plain), without_stamps(&traced), "seed {seed}");
    }
}

#[test]
fn a_run_replays_from_its_choices() {
    for seed in 0..200 {
        let scenario = swarm::scenario(seed);
        let record = Record { digest: true, trace: false };
        let original = run(&scenario, Choices::of_seed(seed), record);
        let replayed = run(&scenario, Choices::replay(original.picks()), record);
        assert_eq!(original.digest, replayed.digest, "seed {seed}");
        assert_eq!(original.history, replayed.history, "seed {seed}");
    }
}

/// Alice joins while Bob sends to her, and any one write may break a connection.
fn join_or_send() -> Scenario {
    let name = |name: &str| Op::LogIn { name: name.to_owned(), insist: false };
    let say = |to: &str| Op::Say { to: vec![to.to_owned()], bytes: 0 };
    Scenario {
        faults: Faults { until_ms: 1_000, reset: 1, ..Faults::default() },
        clients: vec![
            Script { ops: vec![Op::Connect, name("alice"), say("bob"), Op::HalfClose] },
            Script { ops: vec![Op::Connect, name("bob"), say("alice"), Op::HalfClose] },
        ],
        ..Scenario::default()
    }
}

/// What is special about a run: at which decisions, and what was decided.
fn specials(outcome: &Outcome) -> Vec<(usize, u32)> {
    let picks = outcome.taken.iter().map(|choice| choice.picked).enumerate();
    picks.filter(|(_, picked)| *picked > 0).collect()
}

/// Every run with at most so many delays or resets, judged, by what is special about it.
fn search(delays_max: u32) -> (BTreeSet<Vec<(usize, u32)>>, Marks) {
    let mut search = Search::new(delays_max);
    let (mut runs, mut marks) = (BTreeSet::new(), Marks::default());
    while let Some(choices) = search.next_run() {
        let outcome = run(&join_or_send(), choices, Record::default());
        assert!(outcome.violation.is_none(), "{}", explain(&join_or_send(), &outcome, "run this test again"));
        search.ran(&outcome.taken);
        marks.add(&outcome.marks);
        assert!(runs.insert(specials(&outcome)), "no run comes twice");
    }
    (runs, marks)
}

#[test]
fn alice_joins_while_bob_sends_in_every_way_with_three_delays() {
    let (runs, marks) = search(3);
    // Whatever run somebody else comes upon is one of them.
    let mut met = BTreeSet::new();
    for seed in 0..4_000 {
        let choices = Choices::in_turn(seed, usize::try_from(seed % 4).unwrap(), 100);
        let specials = specials(&run(&join_or_send(), choices, Record::default()));
        if specials.len() <= 3 {
            assert!(runs.contains(&specials), "{specials:?} of seed {seed}");
            met.insert(specials);
        }
    }
    assert!(met.len() > 100 && met.iter().any(|specials| specials.len() == 3), "{}", met.len());
    for met in [
        "a send raced a login and came behind it",
        "a send raced a login and came before it",
        "a connection was reset",
    ] {
        assert!(marks.met.contains_key(met), "{met}: {marks:?}");
    }
}

/// Three say much at once, and there is one permit: at a stop some have been read in part, and wait for it.
#[test]
fn g10_at_a_stop_what_was_read_before_there_was_a_permit_counts() {
    let clients = ["al", "bob", "carol"].map(|name| {
        let log_in = Op::LogIn { name: name.to_owned(), insist: true };
        let pings = (0..12).map(|_| Op::Ping { wait: false });
        Script { ops: [Op::Connect, log_in].into_iter().chain(pings).collect() }
    });
    for seed in 0..4_000 {
        let at = When::Event(8 + seed % 24);
        let scenario = Scenario {
            tuning: Tuning { permits: 1, first_bytes_max: 20, ..Tuning::default() },
            stop: Some(Stop { at, again_after_ms: None, restart: false }),
            clients: clients.to_vec(),
            ..Scenario::default()
        };
        let outcome = run(&scenario, Choices::of_seed(seed), Record::default());
        if outcome.violation.is_some() {
            panic!("seed {seed}: {}", explain(&scenario, &outcome, "this test"));
        }
    }
}
