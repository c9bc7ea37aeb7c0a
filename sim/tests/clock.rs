//! The rules that need more than an order, fed runs with something wrong in them.

use seriatim::Limits;
use seriatim_sim::choice::Choices;
use seriatim_sim::engine::volume::run;
use seriatim_sim::history::{History, Item, SessionHistory, What};
use seriatim_sim::judge::judge;
use seriatim_sim::orders::{Answer, Given};
use seriatim_sim::scenario::{Command, Faults, Op, Order, Scenario, Script, Stop, When};
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

/// Whoever comes while things go wrong by themselves may be broken by that, and nobody who comes later.
#[test]
fn g6_when_faults_are_over_nobody_is_broken_who_comes_and_reads() {
    let ops = [Op::Connect, log_in("al"), Op::Sleep(100), say("al", 8), Op::Quit];
    let faults = |until_ms| Faults { until_ms, spurious_wake: 1, ..Faults::default() };
    let scenario = |until_ms| Scenario {
        faults: faults(until_ms),
        clients: vec![Script { ops: [&[Op::Sleep(50)], &ops[..]].concat() }],
        ..Scenario::default()
    };
    let mut history = good(&scenario(50));
    let around = around(&history);
    assert_eq!(check(&history, &scenario(50), &around), Ok(()));
    history.sessions[0].items.last_mut().unwrap().what = What::Broke;
    assert_eq!(judge(&history), Ok(()), "an order alone does not tell");
    assert_eq!(check(&history, &scenario(51), &around), Ok(()));
    assert_eq!(rule(&history, &scenario(50), &around).as_deref(), Some("G6"));
}

fn is_message(item: &Item) -> bool {
    matches!(&item.what, What::Read(line) if line.starts_with("from "))
}

#[test]
fn g10_at_a_stop_the_doors_close_first_and_what_was_read_is_answered() {
    let ops = vec![Op::Connect, log_in("al"), Op::Sleep(100)];
    let stop = Some(Stop { at: When::Ms(10), again_after_ms: None, restart: false });
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
        stop: Some(Stop { at: When::Event(4), again_after_ms: None, restart: false }),
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

#[test]
fn g10_whoever_is_there_at_a_restart_is_told_at_once_and_told_so() {
    let ops = vec![Op::Connect, log_in("al"), Op::Sleep(100)];
    let stop = Some(Stop { at: When::Ms(10), again_after_ms: None, restart: true });
    let scenario = Scenario { clients: vec![Script { ops }], stop, ..Scenario::default() };
    let mut history = good(&scenario);
    let told = read(&mut history, "bye server restarting").at;
    let around =
        Around { stopping: Some((told, 10)), over_ms: Some(10), closed_at: Some(told), ..around(&history) };
    assert_eq!((judge(&history), check(&history, &scenario, &around)), (Ok(()), Ok(())));
    let too_soon = Around { stopping: Some((told + 1, 10)), ..around.clone() };
    assert_eq!(rule(&history, &scenario, &too_soon).as_deref(), Some("G9"));
    let more_taken = Around { lines_taken: [(0, 2)].into(), ..around.clone() };
    assert_eq!(rule(&history, &scenario, &more_taken).as_deref(), Some("G10"));
    read(&mut history, "bye server restarting").ms = 11;
    assert_eq!(rule(&history, &scenario, &around).as_deref(), Some("G10"));
    read(&mut history, "bye server restarting").what = What::Read("bye server shutting down".to_owned());
    assert_eq!(judge(&history).map_err(|violation| violation.rule), Err("protocol".to_owned()));
    let mut for_good = good(&Scenario { stop: stop.map(|stop| Stop { restart: false, ..stop }), ..scenario });
    read(&mut for_good, "bye server shutting down").what = What::Read("bye server restarting".to_owned());
    assert_eq!(judge(&for_good).map_err(|violation| violation.rule), Err("protocol".to_owned()));
}

/// Of orders that were carried out at once.
fn orders(given: &[(&Command, (u64, u64))]) -> Vec<Given> {
    let order = |&(what, at): &(&Command, _)| {
        let mut given = Given::new(what.clone(), at);
        given.answer(Answer::Done, at);
        given
    };
    given.iter().map(order).collect()
}

/// Nothing was read of what the server said when it ended this session.
fn not_ended(history: &History, session: usize) -> History {
    let mut history = history.clone();
    let told = |item: &Item| match &item.what {
        What::Read(line) => line.starts_with("bye "),
        What::Closed(_) => true,
        _ => false,
    };
    history.sessions[session].items.retain(|item| !told(item));
    history
}

#[test]
fn g9_whoever_is_kicked_is_told_so_at_once_and_nobody_else_is() {
    let ops = vec![Op::Connect, log_in("al"), Op::Sleep(100)];
    let kick = Command::Kick("AL".to_owned());
    let order = Order { at: When::Ms(10), what: kick.clone() };
    let scenario = Scenario { clients: vec![Script { ops }], orders: vec![order], ..Scenario::default() };
    let mut history = good(&scenario);
    let told = read(&mut history, "bye kicked").at;
    let kicked = |what, stamp, ms| Around { orders: orders(&[(what, (stamp, ms))]), ..around(&history) };
    let there = kicked(&kick, told - 1, 10);
    assert_eq!(check(&history, &scenario, &there), Ok(()));
    let bob = Command::Kick("bob".to_owned());
    for wrong in [
        around(&history),
        kicked(&kick, told + 1, 10),
        kicked(&kick, told - 1, 9),
        kicked(&bob, told - 1, 10),
        Around { orders: vec![Given { found_nobody: true, ..there.orders[0].clone() }], ..there.clone() },
    ] {
        assert_eq!(rule(&history, &scenario, &wrong).as_deref(), Some("G9"), "{:?}", wrong.orders);
    }
    assert_eq!(rule(&not_ended(&history, 0), &scenario, &there).as_deref(), Some("G9"));
    for wrong in [
        Given { settled: false, done: None, ..there.orders[0].clone() },
        Given { done: None, ..there.orders[0].clone() },
        Given { done: Some((told, 11)), ..there.orders[0].clone() },
    ] {
        let around = Around { orders: vec![wrong], ..there.clone() };
        assert_eq!(rule(&history, &scenario, &around).as_deref(), Some("G11"), "{:?}", around.orders);
    }
    assert_eq!(judge(&history), Ok(()));
    history.orders.commands = vec![bob];
    assert_eq!(judge(&history).map_err(|violation| violation.rule), Err("protocol".to_owned()));
}

/// Clients come from two addresses in turn, and the first is banned from 10 ms to 200 ms: al is there, comes while it is, and
/// comes again behind that.
fn banned() -> (Scenario, History, [Given; 2]) {
    let al = vec![Op::Connect, log_in("al"), Op::Sleep(100), Op::Connect, Op::Sleep(200), Op::Connect];
    let al = [al, vec![log_in("al"), Op::Quit]].concat();
    let bob = [Op::Connect, log_in("bob"), Op::Sleep(250), Op::Connect, log_in("bob"), Op::Quit];
    let (ban, unban) = (Command::Ban(0), Command::Unban(0));
    let order = |at, what: &Command| Order { at: When::Ms(at), what: what.clone() };
    let scenario = Scenario {
        origins: 2,
        orders: vec![order(10, &ban), order(200, &unban)],
        clients: vec![Script { ops: al }, Script { ops: bob.into() }],
        ..Scenario::default()
    };
    let mut history = good(&scenario);
    let told = read(&mut history, "bye kicked").at;
    let later = history.sessions[3].items[0].at;
    let orders = orders(&[(&ban, (told - 1, 10)), (&unban, (later - 1, 200))]);
    (scenario, history, orders.try_into().expect("two of them"))
}

#[test]
fn g9_whoever_comes_from_where_nobody_is_let_in_from_is_told_so_and_nobody_else_is() {
    let (scenario, mut history, [ban, unban]) = banned();
    let ordered = |orders: &[&Given]| {
        let orders = orders.iter().map(|&given| given.clone()).collect();
        Around { orders, ..around(&history) }
    };
    let as_it_was = ordered(&[&ban, &unban]);
    assert_eq!(check(&history, &scenario, &as_it_was), Ok(()));
    let never_lifted = ordered(&[&ban]);
    assert_eq!(rule(&history, &scenario, &never_lifted).as_deref(), Some("G9"), "al is let in again");
    let mut lifted = unban.clone();
    (lifted.at, lifted.done) = ((unban.at.0, 50), Some((unban.at.0, 50)));
    let lifted = ordered(&[&ban, &lifted]);
    assert_eq!(rule(&history, &scenario, &lifted).as_deref(), Some("G9"), "it is not let in at 100 ms");
    assert_eq!(rule(&not_ended(&history, 0), &scenario, &as_it_was).as_deref(), Some("G9"));
    assert_eq!(rule(&not_ended(&history, 2), &scenario, &as_it_was).as_deref(), Some("G9"));
    // To be banned from there is no reason to end a session from elsewhere.
    let other = Given { what: Command::Ban(1), ..ban };
    let other = ordered(&[&other]);
    assert_eq!(rule(&history, &scenario, &other).as_deref(), Some("G9"));
    // Nor is a name, to be let in with.
    read(&mut history, "bye banned").what = What::Read("error bad-name: a line came".to_owned());
    let anybody = Scenario { faults: Faults { until_ms: 1, torn_read: 1, ..Faults::default() }, ..scenario };
    assert_eq!(rule(&history, &anybody, &as_it_was).as_deref(), Some("G9"), "whatever goes wrong by itself");
}

/// Four who come one after another; the third says nothing. At most three are there at once, and two from one address.
fn some_at_once() -> (Scenario, History) {
    let client = |(name, from_ms, until_ms): (Option<&str>, u64, u64)| {
        let mut ops = vec![Op::Sleep(from_ms), Op::Connect];
        ops.extend(name.map(log_in));
        ops.extend([Op::Sleep(until_ms - from_ms), Op::HalfClose]);
        Script { ops }
    };
    let clients = [(Some("al"), 0, 100), (Some("bob"), 50, 150), (None, 100, 200), (Some("dave"), 120, 300)];
    let scenario = Scenario { origins: 2, clients: clients.map(client).into(), ..Scenario::default() };
    let history = good(&scenario);
    (scenario, history)
}

#[test]
fn g9_no_more_are_there_than_may_be() {
    let (scenario, history) = some_at_once();
    let limited = |limits: Limits| {
        let scenario = Scenario { limits, ..scenario.clone() };
        check(&history, &scenario, &around(&history))
    };
    let most = Limits {
        connections_max: 3,
        logins_pending_max: 1,
        connections_per_address_max: Some(2),
        connects_per_minute_max: Some(1),
        ..scenario.limits.clone()
    };
    assert_eq!(limited(most.clone()), Ok(()));
    for (limits, witness, what) in [
        (Limits { connections_max: 2, ..most.clone() }, &[1, 2, 3][..], "at 120 ms there are 3 connections,"),
        (Limits { logins_pending_max: 0, ..most.clone() }, &[2], "at 100 ms there are 1 connections without"),
        (
            Limits { connections_per_address_max: Some(1), ..most.clone() },
            &[1, 3],
            "at 120 ms there are 2 conn",
        ),
        (Limits { connects_per_minute_max: Some(0), ..most }, &[0], "at 0 ms there are 1 new connections"),
    ] {
        let violation = limited(limits).expect_err("more than may be");
        assert_eq!(violation.rule, "G9");
        assert!(violation.what.starts_with(what), "{violation}");
        let sessions: Vec<usize> = violation.witness.iter().map(|(number, _)| *number).collect();
        assert_eq!(sessions, witness, "{violation}");
    }
}

#[test]
fn g9_nobody_is_refused_while_there_is_room() {
    let (scenario, mut history) = some_at_once();
    // The last is refused; while it comes, the second and the third are there, one of them from its address.
    let dave = &mut history.sessions[3].items;
    dave.retain(|item| matches!(item.what, What::Ended | What::Closed(_)));
    // If lines may have to wait, nothing is known of when who was there.
    let paced = Some(1_000_000);
    for (lines_per_second_max, reason, others) in [
        (None, "server full", 3), // al is gone, but not for so long that it surely is forgotten
        (None, "too many logins pending", 1),
        (None, "too many connections from your address", 1),
        (None, "too many new connections from your address", 1),
        (paced, "server full", 3),
        (paced, "too many logins pending", 3),
        (paced, "too many connections from your address", 1),
        (paced, "too many new connections from your address", 1),
    ] {
        let mut history = history.clone();
        let Item { at, ms, .. } = history.sessions[3].items[0];
        let bye = Item { at, ms: ms.min(120), what: What::Read(format!("bye {reason}")) };
        history.sessions[3].items.insert(0, bye);
        for (max, is_believed) in [(others, true), (others + 1, false)] {
            let limits = Limits {
                connections_max: max,
                logins_pending_max: max,
                connections_per_address_max: Some(max),
                connects_per_minute_max: u32::try_from(max).ok(),
                ..scenario.limits.clone()
            };
            let scenario = Scenario { limits, lines_per_second_max, ..scenario.clone() };
            let verdict = check(&history, &scenario, &around(&history));
            let refused = verdict
                .as_ref()
                .err()
                .filter(|violation| violation.what.contains("others can have been there"));
            assert_eq!(refused.is_none(), is_believed, "{reason} of {max}: {verdict:?}");
        }
    }
}

/// Two are told that the server is full, at 0 ms; a third is dropped without a word, later.
fn dropped(at_ms: u64) -> History {
    let item = |at, ms, what| Item { at, ms, what };
    let told = |at| SessionHistory {
        ms: 0,
        items: vec![
            item(at, 0, What::Read("bye server full".to_owned())),
            item(at + 1, 0, What::Closed(String::new())),
        ],
    };
    let dropped = SessionHistory { ms: at_ms, items: vec![item(9, at_ms, What::Broke)] };
    History { sessions: vec![told(1), told(3), dropped], ..History::default() }
}

#[test]
fn g6_nobody_is_dropped_without_a_word_unless_as_many_as_may_be_are_being_told() {
    let verdict = |refusals_max, at_ms, until_ms| {
        let limits = Limits { connections_max: 0, refusals_max, refusal_ms_max: 500, ..Limits::default() };
        let faults = Faults { until_ms, ..Faults::default() };
        let client = Script { ops: vec![Op::Connect] };
        let scenario = Scenario { limits, faults, clients: vec![client; 3], ..Scenario::default() };
        let history = dropped(at_ms);
        rule(&history, &scenario, &around(&history))
    };
    assert_eq!(verdict(2, 0, 0), None);
    assert_eq!(verdict(2, 500, 0), None, "they may still be being told");
    assert_eq!(verdict(2, 501, 0).as_deref(), Some("G6"), "they are not any more");
    assert_eq!(verdict(3, 0, 0).as_deref(), Some("G6"), "it is not one of those itself");
    assert_eq!(verdict(2, 5_000, 100), None, "who came while accepting might fail may be told at any time");
    assert_eq!(verdict(3, 600, 100).as_deref(), Some("G6"), "nor is it then");
}

#[test]
fn without_orders_nobody_is_kicked_or_banned() {
    let (_, mut history, _) = banned();
    assert_eq!(judge(&history), Ok(()));
    history.orders.origins = 0;
    assert_eq!(judge(&history).map_err(|violation| violation.rule), Err("protocol".to_owned()));
    history.sessions.truncate(3);
    history.sessions.remove(0);
    assert!(history.sessions.iter().flat_map(|session| &session.items).all(|item| !is_kicked(item)));
    assert_eq!(judge(&history).map_err(|violation| violation.rule), Err("protocol".to_owned()));
}

fn is_kicked(item: &Item) -> bool {
    matches!(&item.what, What::Read(line) if line == "bye kicked")
}
