//! The rules that need more than an order, fed runs with something wrong in them.

use seriatim::Limits;
use seriatim_sim::choice::Choices;
use seriatim_sim::engine::volume::run;
use seriatim_sim::history::{History, Item, What};
use seriatim_sim::judge::judge;
use seriatim_sim::scenario::{Faults, Op, Scenario, Script, Stop, When};
use seriatim_sim::timing::{Around, check};
use seriatim_sim::world::Record;

fn log_in(name: &str) -> Op {
    Op::LogIn { name: name.to_owned(), insist: true }
}

fn say(to: &str, bytes: usize) -> Op {
    Op::Say { to: vec![to.to_owned()], bytes }
}

/// The history of a run in turn in which nothing is wrong.
fn good(scenario: &Scenario) -> History {
    let outcome = run(scenario, Choices::replay(Vec::new()), Record::default());
    assert_eq!(outcome.violation, None);
    outcome.history
}

/// All connections were let go at once.
fn around(history: &History) -> Around {
    Around { gone_ms: (0..history.sessions.len()).map(|number| (number, 0)).collect(), ..Around::default() }
}

/// The first of all lines read that begins like this.
fn read<'a>(history: &'a mut History, beginning: &str) -> &'a mut Item {
    let mut items = history.sessions.iter_mut().flat_map(|session| &mut session.items);
    let reads = |item: &&mut Item| matches!(&item.what, What::Read(line) if line.starts_with(beginning));
    items.find(reads).expect("a line that begins like this")
}

fn rule(history: &History, scenario: &Scenario, around: &Around) -> Option<String> {
    check(history, scenario, around).err().map(|violation| violation.rule)
}

#[test]
fn g6_what_is_said_before_a_break_reaches_those_who_are_there() {
    let listens = Script { ops: vec![Op::Connect, log_in("bob"), Op::Sleep(100)] };
    let ops = vec![Op::Connect, log_in("al"), Op::Sleep(10), say("bob", 8), Op::Reset];
    let scenario = Scenario { clients: vec![listens, Script { ops }], ..Scenario::default() };
    let mut history = good(&scenario);
    let around = around(&history);
    assert_eq!(check(&history, &scenario, &around), Ok(()));
    let bob = history.sessions.iter_mut().find(|session| session.items.iter().any(is_message));
    bob.unwrap().items.retain(|item| !is_message(item));
    assert_eq!(judge(&history), Ok(()), "an order alone does not tell");
    assert_eq!(rule(&history, &scenario, &around).as_deref(), Some("G6"));
}

fn is_message(item: &Item) -> bool {
    matches!(&item.what, What::Read(line) if line.starts_with("from "))
}

#[test]
fn g10_at_a_stop_the_doors_close_first_and_what_was_read_is_answered() {
    let ops = vec![Op::Connect, log_in("al"), Op::Sleep(100)];
    let stop = Some(Stop { at: When::Ms(10), again_after_ms: None });
    let scenario = Scenario { clients: vec![Script { ops }], stop, ..Scenario::default() };
    let mut history = good(&scenario);
    let told = read(&mut history, "bye server shutting down").at;
    let around = Around {
        stopping: Some((told, 10)),
        over_ms: Some(10),
        closed_at: Some(told),
        lines_taken: [(0, 1)].into(),
        ..around(&history)
    };
    assert_eq!(check(&history, &scenario, &around), Ok(()));
    let more_taken = Around { lines_taken: [(0, 2)].into(), ..around.clone() };
    assert_eq!(rule(&history, &scenario, &more_taken).as_deref(), Some("G10"));
    let still_open = Around { closed_at: Some(told + 1), ..around };
    assert_eq!(rule(&history, &scenario, &still_open).as_deref(), Some("G9"));
}

#[test]
fn g6_nobody_who_reads_is_too_slow_for_less_than_its_outbox_holds() {
    let talks = |lines: usize| {
        let mut ops = vec![Op::Connect, log_in("al")];
        ops.extend(vec![say("al", 100); lines]);
        ops.push(Op::Quit);
        Scenario { outbox_bytes_max: 1024, clients: vec![Script { ops }], ..Scenario::default() }
    };
    let too_slow = |scenario: &Scenario| {
        let mut history = good(scenario);
        read(&mut history, "bye quit").what = What::Read("bye too slow".to_owned());
        history
    };
    let (little, much) = (talks(1), talks(4));
    let (told_for_little, told_for_much) = (too_slow(&little), too_slow(&much));
    let any_order = around(&told_for_little);
    assert_eq!(rule(&told_for_little, &little, &any_order).as_deref(), Some("G6"));
    assert_eq!(rule(&told_for_much, &much, &any_order), None, "it may have had no turn");
    let in_turn = Around { in_turn: true, ..any_order };
    assert_eq!(rule(&told_for_much, &much, &in_turn).as_deref(), Some("G6"));
    let full_pipe = Around { waited: [0].into(), ..in_turn };
    assert_eq!(rule(&told_for_much, &much, &full_pipe), None, "it did not take all at once");
}

/// Bug: a shutdown waited for passwords, and then cut everybody off, and even behind its deadline for those whose session was over.
#[test]
fn g10_a_shutdown_does_not_wait_for_passwords() {
    let prove = Op::Prove { name: "al".to_owned(), right: true, insist: false };
    let scenario = Scenario {
        limits: Limits { drain_ms_max: 50, ..Limits::default() },
        accounts: vec!["al".to_owned()],
        stop: Some(Stop { at: When::Event(4), again_after_ms: None }),
        faults: Faults { until_ms: 20_000, slow_password: 1000, ..Faults::default() },
        clients: vec![Script { ops: vec![Op::Connect, prove, Op::Ping { wait: true }] }],
        ..Scenario::default()
    };
    let mut verifying = false;
    for seed in 0..100 {
        let outcome = run(&scenario, Choices::random(seed), Record::default());
        assert_eq!(outcome.violation, None, "seed {seed}");
        let met = |mark| outcome.marks.met.contains_key(mark);
        verifying |= met("the server was asked to stop while a password was verified");
        assert!(!met("a connection was given up"), "seed {seed}");
    }
    assert!(verifying, "no password took longer");
}
