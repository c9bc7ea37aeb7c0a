//! The guarantees that the core alone can break, as properties of random histories, and the core against a naive model.
//!
//! `PROPTEST_CASES=1000000 cargo test --release --test properties` looks longer.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::model::{Action, Model, act, limits, without_words};
use common::parser::{asked, read_all};
use common::world::{Seen, World};
use proptest::prelude::*;
use proptest::test_runner::Config;
use seriatim::protocol::{Refusal, Reply, Request, Session};
use seriatim::{CloseReason, ConnId, Effect, Event, Limits, Millis, Origin, State, step};

const CASES: u32 = 10_000;

fn config() -> Config {
    let cases = std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(CASES);
    Config { cases, failure_persistence: None, ..Config::default() }
}

/// So small that every limit is met, or, so that clients get to say more, such that nobody is kept out and nobody is idle.
fn limits_for(few: bool) -> Limits {
    if few {
        return limits();
    }
    Limits {
        connections_max: usize::MAX,
        connections_per_address_max: None,
        connects_per_minute_max: None,
        logins_pending_max: usize::MAX,
        idle_ms_max: None,
        ..limits()
    }
}

/// Few enough that their limits are met.
fn origin() -> impl Strategy<Value = Origin> {
    let address = |address: &str| Origin::of(address.parse().unwrap());
    prop_oneof![
        4 => Just(Origin::Exempt),
        2 => Just(address("192.0.2.1")),
        1 => Just(address("192.0.2.2")),
        1 => Just(address("2001:db8::1")),
    ]
}

/// Names that have accounts at times.
const ACCOUNTS: [&[&str]; 4] = [&[], &["al"], &["carol", "dave"], &["dave"]];

const NAMES: [&str; 6] = ["al", "AL", "bob", "zoë", "ZOË", "carol"];

fn name() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&NAMES[..])
}

/// A message to up to four; its text is replaced by a unique one.
fn message() -> impl Strategy<Value = String> {
    proptest::collection::vec(name(), 1..=4).prop_map(|to| format!("{}: TEXT", to.join(", ")))
}

/// Lines of every sort, good and bad.
fn any_line() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => name().prop_map(str::to_owned),
        12 => message(),
        3 => Just("/who".to_owned()),
        2 => Just("/quit".to_owned()),
        2 => proptest::sample::select(&["/ping", "/ping  a b", "/pong", "/", "/who x", "/quit  x"][..]).prop_map(str::to_owned),
        4 => proptest::sample::select(&["", " ", "hello", ":x", ", ,: x", "al:", "a b: x", ".al", "-", "a/b", "al: \x1b[0m", "\u{7}", "al,,\tbob : x\t: y "][..]).prop_map(str::to_owned),
        2 => "[abl:, /\t.\u{7}-]{0,12}",
        4 => proptest::sample::select(&["carol carol's secret", "CAROL  carol's secret", "carol guess", "carol carol's secret:x", "dave dave's secret", "dave", "al al's secret", "bob bob's secret"][..]).prop_map(str::to_owned),
    ]
}

const CLIENTS: usize = 6;

fn any_action() -> impl Strategy<Value = Action> {
    let client = 0..CLIENTS;
    prop_oneof![
        3 => origin().prop_map(Action::Connect),
        24 => (client.clone(), any_line()).prop_map(|(client, line)| Action::Send(client, line)),
        1 => client.clone().prop_map(Action::Eof),
        1 => client.clone().prop_map(Action::Reset),
        1 => client.clone().prop_map(Action::Overflow),
        2 => client.clone().prop_map(Action::Secure),
        3 => client.clone().prop_map(Action::Verify),
        1 => client.prop_map(Action::Kick),
        1 => proptest::sample::select(&ACCOUNTS[..]).prop_map(|names| Action::Accounts(names.to_vec())),
        1 => origin().prop_map(Action::Ban),
        1 => origin().prop_map(Action::Unban),
        4 => (0_u64..40).prop_map(Action::Pass),
        1 => (0_u64..40_000).prop_map(Action::Pass),
    ]
}

/// A history, with the server stopping somewhere in one of four.
fn history() -> impl Strategy<Value = Vec<Action>> {
    let stop = prop_oneof![6 => Just(None), 2 => (0_usize..60, any::<bool>()).prop_map(Some)];
    (proptest::collection::vec(any_action(), 0..60), stop).prop_map(|(mut actions, stop)| {
        // Without somebody logged in not much can happen.
        let mut history = vec![Action::Connect(Origin::Exempt), Action::Connect(Origin::Exempt)];
        history.extend([Action::Send(0, "al".into()), Action::Send(1, "bob".into())]);
        history.push(Action::Accounts(vec!["carol", "dave"]));
        if let Some((stop, restart)) = stop {
            actions.insert(stop.min(actions.len()), if restart { Action::Restart } else { Action::Stop });
        }
        history.append(&mut actions);
        for (number, action) in history.iter_mut().enumerate() {
            if let Action::Send(_, line) = action {
                *line = line.replace("TEXT", &format!("m{number}"));
            }
        }
        history
    })
}

/// A world in which the test, not the broker, says when a connection has closed.
fn slow_world(few: bool) -> World {
    let mut world = World::new(limits_for(few));
    world.obedient = false;
    world
}

/// The same, and the test says when a password has been verified.
fn slower_world(few: bool) -> World {
    let mut world = slow_world(few);
    world.hasty = false;
    world
}

/// The number of the message that a line delivers.
fn delivered(seen: &Seen) -> Option<usize> {
    let Seen::Line(line) = seen else { return None };
    line.strip_prefix("from ")?.split_once(": m")?.1.parse().ok()
}

/// What each client saw, in order.
fn mailboxes(history: &[Action], few: bool) -> BTreeMap<usize, Vec<Seen>> {
    let mut world = slow_world(few);
    let mut mailboxes: BTreeMap<usize, Vec<Seen>> = BTreeMap::new();
    for action in history {
        for (client, seen) in act(&mut world, action) {
            mailboxes.entry(client).or_default().push(seen);
        }
    }
    mailboxes
}

proptest! {
    #![proptest_config(config())]

    /// Every line that anybody sees, in the order of the effects, is the one that the naive model says.
    #[test]
    fn the_core_does_what_the_model_does(history in history(), few: bool, account_required in 0..8) {
        let limits = Limits { account_required: account_required == 0, ..limits_for(few) };
        let (mut world, mut model) = (World::new(limits.clone()), Model::new(limits));
        (world.obedient, world.hasty) = (false, false);
        for (number, action) in history.iter().enumerate() {
            let (real, expected) = (act(&mut world, action), model.act(action));
            prop_assert_eq!(without_words(real), expected, "after {}: {:?}", number, action);
        }
    }

    /// Any bytes, read in any two pieces, ask for what the naive parser says.
    #[test]
    fn any_bytes_are_read_as_the_naive_parser_reads_them(
        lines in proptest::collection::vec((proptest::collection::vec(any::<u8>(), 0..3), any_line()), 0..6),
        end in proptest::sample::select(&["\n", "\r\n"][..]),
        line_bytes_max in 0_usize..30,
        cut: proptest::sample::Index,
    ) {
        let limits = Limits { line_bytes_max, ..limits() };
        let bytes: Vec<u8> = lines.into_iter().flat_map(|(odd, line)| [odd, (line + end).into_bytes()].concat()).collect();
        let (first, second) = bytes.split_at(cut.index(bytes.len() + 1));
        let (mut session, mut requests) = (Session::new(&limits), Vec::new());
        session.feed(first, &mut requests);
        session.feed(second, &mut requests);
        session.finish(&mut requests);
        prop_assert_eq!(requests.into_iter().map(asked).collect::<Vec<_>>(), read_all(&bytes, &limits));
    }

    /// G1, G2, G3, G4: what anybody receives is in the one order in which it was sent. That order is the same for all
    /// (G1, G3), agrees with each sender's (G2), and has every answer behind what it answers (G4).
    #[test]
    fn g1_g2_g3_g4_everybody_sees_the_one_order(history in history(), few: bool) {
        for (client, mailbox) in mailboxes(&history, few) {
            let numbers: Vec<usize> = mailbox.iter().filter_map(delivered).collect();
            prop_assert!(numbers.is_sorted_by(|a, b| a < b), "client {} received {:?}", client, numbers);
        }
    }

    /// G5, G7, G8: a message reaches exactly those who hold a name in it at that moment, once each, from whoever holds
    /// the sender's name; and its sender hears exactly of the others.
    #[test]
    fn g5_g7_g8_join_or_send(history in history(), few: bool) {
        let mut world = slow_world(few);
        for (number, action) in history.iter().enumerate() {
            let mut expected = BTreeSet::new();
            let mut missing = BTreeSet::new();
            if let Action::Send(client, line) = action
                && let Some(sender) = world.state.name(ConnId(*client as u64 + 1)).cloned()
                && let Some((to, _)) = line.split_once(&format!(": m{number}"))
                && to.split(", ").count() <= limits().recipients_max
            {
                for name in to.split(", ") {
                    match world.state.holder(name) {
                        Some(holder) => drop(expected.insert((holder.0 as usize - 1, format!("from {sender}: m{number}")))),
                        None => drop(missing.insert(name.to_lowercase())),
                    }
                }
            }
            let seen = act(&mut world, action);
            let got: Vec<(usize, String)> = seen.iter().filter_map(|(client, seen)| match seen {
                Seen::Line(line) if line.starts_with("from ") && delivered(seen).is_some() => Some((*client, line.clone())),
                _ => None,
            }).collect();
            prop_assert_eq!(got.len(), expected.len(), "each once: {:?}", got);
            prop_assert_eq!(got.into_iter().collect::<BTreeSet<_>>(), expected);
            let told: BTreeSet<String> = seen.iter().filter_map(|(_, seen)| match seen {
                Seen::Line(line) => line.strip_prefix("error no-such-peer: "),
                Seen::Closed | Seen::Aborted => None,
            }).flat_map(|names| names.split(", ")).map(str::to_lowercase).collect();
            if matches!(action, Action::Send(_, line) if line.contains(": m")) {
                prop_assert_eq!(told, missing);
            }
        }
    }

    /// G6: what a client sees is gap-free to its end: nothing comes behind the goodbye or the close, and nothing twice.
    #[test]
    fn g6_a_mailbox_ends_once(history in history(), few: bool) {
        for (client, mailbox) in mailboxes(&history, few) {
            let closed = mailbox.iter().position(|seen| *seen == Seen::Closed);
            let behind = closed.map_or(&[][..], |closed| &mailbox[closed + 1..]);
            prop_assert!(behind.iter().all(|seen| *seen == Seen::Aborted), "client {}: {:?}", client, behind);
            prop_assert!(behind.len() <= 1);
            let bye = mailbox.iter().position(|seen| matches!(seen, Seen::Line(line) if line.starts_with("bye ")));
            prop_assert!(bye.is_none() || bye.map(|bye| bye + 1) == closed, "client {}: {:?}", client, mailbox);
        }
    }

    /// G7: at every moment a name is held by one connection, and a connection holds one name.
    #[test]
    fn g7_one_session_a_name(history in history(), few: bool) {
        let mut world = slow_world(few);
        for action in &history {
            act(&mut world, action);
            let mut names = 0;
            for client in 0..CLIENTS + 60 {
                let conn = ConnId(client as u64 + 1);
                if let Some(name) = world.state.name(conn) {
                    prop_assert_eq!(world.state.holder(name.as_str()), Some(conn));
                    names += 1;
                }
            }
            prop_assert_eq!(names, world.state.peers());
        }
    }

    /// What the broker counts, and why it says that it closes a connection, is what those see to whom it happens.
    #[test]
    fn what_is_counted_is_what_is_seen(history in history(), few: bool) {
        let mut world = slow_world(few);
        world.log = Some(Vec::new());
        for action in &history {
            act(&mut world, action);
            let here = (0..history.len() as u64).filter(|&client| world.is_connected(ConnId(client + 1))).count();
            prop_assert_eq!(world.state.connections(), here);
        }
        let (mut connected, mut aborted, mut dropped, mut stopping) = (0, 0, 0, false);
        let mut closed: Vec<CloseReason> = Vec::new();
        let mut newest = None;
        let mut bye = None;
        let (mut logins, mut messages, mut deliveries, mut lost) = (0, 0, 0, 0);
        let mut errors: BTreeMap<&str, u64> = Refusal::CODES.into_iter().map(|code| (code, 0)).collect();
        // Those whose sessions are not over; and whether a message is what follows is about.
        let (mut open, mut is_message) = (BTreeSet::new(), false);
        for line in world.log.iter().flatten() {
            if let Ok(event) = serde_json::from_str(line) {
                connected += u64::from(matches!(event, Event::Connected(..)));
                stopping |= matches!(event, Event::ShutdownRequested | Event::RestartRequested);
                newest = if let Event::Connected(conn, _) = event { Some(conn) } else { None };
                open.extend(newest);
                if let Event::Disconnected(conn) = event {
                    lost += u64::from(open.remove(&conn));
                }
                is_message = matches!(event, Event::Requested(_, Request::Message(_)));
                continue;
            }
            let effect = serde_json::from_str(line).unwrap();
            if let Effect::Send { to, reply } = &effect {
                logins += u64::from(matches!(reply, Reply::Welcome(_)));
                deliveries += if matches!(reply, Reply::From { .. }) { to.len() as u64 } else { 0 };
                let of_a_message = matches!(reply, Reply::From { .. } | Reply::Error(Refusal::NoSuchPeer(_)));
                messages += u64::from(of_a_message && std::mem::take(&mut is_message));
                if let Reply::Error(refusal) = reply {
                    *errors.get_mut(refusal.code()).unwrap() += 1;
                }
            }
            match effect {
                Effect::Close { conn, reason } => {
                    open.remove(&conn);
                    let told = bye.take().unwrap_or_else(|| (conn, "end of input".to_owned()));
                    prop_assert_eq!(told, (conn, reason.to_string()));
                    prop_assert_eq!(reason.is_refusal(), newest == Some(conn) && !stopping);
                    closed.push(reason);
                }
                Effect::Abort(conn) if newest == Some(conn) && !stopping => {
                    open.remove(&conn);
                    dropped += 1;
                }
                Effect::Abort(_) => aborted += 1,
                Effect::Send { to, reply: Reply::Bye(why) } => bye = Some((to[0], why.to_string())),
                Effect::Send { .. }
                | Effect::VerifyPassword { .. }
                | Effect::StopReading(_)
                | Effect::Stop => {}
            }
        }
        let counters = world.state.counters();
        prop_assert_eq!((counters.connected, counters.aborted, counters.dropped), (connected, aborted, dropped));
        prop_assert_eq!((counters.logins, counters.messages, counters.deliveries), (logins, messages, deliveries));
        prop_assert_eq!((counters.lost, counters.errors().collect()), (lost, errors));
        for reason in CloseReason::ALL {
            let (counted, seen) = (counters.closed(reason), closed.iter().filter(|&&other| other == reason).count() as u64);
            // Whoever was dropped was not told why.
            prop_assert!(counted == seen || counted > seen && reason.is_refusal(), "{}: {} {}", reason, counted, seen);
        }
        let counted: u64 = CloseReason::ALL.into_iter().map(|reason| counters.closed(reason)).sum();
        prop_assert_eq!(counted, closed.len() as u64 + dropped);
    }

    /// Nothing becomes due before the moment that the broker gives, and at that moment all that is due is done.
    #[test]
    fn the_next_deadline_is_the_next_moment_at_which_something_happens(history in history(), few: bool) {
        let mut world = slower_world(few);
        for action in &history {
            act(&mut world, action);
            let before = world.state.next_deadline().map_or(u64::MAX, |at| at.0 - 1);
            let mut state = world.state.clone();
            prop_assert_eq!(step(&mut state, Event::Ticked(Millis(before))), []);
            if let Some(at) = state.next_deadline() {
                let _effects = step(&mut state, Event::Ticked(at));
                prop_assert!(state.next_deadline().is_none_or(|next| next > at), "{:?} again", at);
            }
        }
    }

    /// G10, G11: from wherever it is asked, a shutdown says goodbye to all who are there, and ends: when all input has
    /// ended and all are flushed, or at its deadline. It waits for nobody's password.
    #[test]
    fn g10_g11_a_shutdown_ends(history in history(), few: bool, clients_obey: bool) {
        let mut world = slower_world(few);
        for action in &history {
            act(&mut world, action);
        }
        act(&mut world, &Action::Stop);
        for client in 0..CLIENTS + 60 {
            if clients_obey {
                act(&mut world, &Action::Eof(client));
            }
        }
        prop_assert!(!clients_obey || world.state.peers() == 0, "goodbye to all");
        for client in 0..CLIENTS + 60 {
            if clients_obey {
                act(&mut world, &Action::Reset(client));
            }
        }
        if !clients_obey {
            act(&mut world, &Action::Pass(limits().drain_ms_max));
        }
        prop_assert_eq!(world.next_verifying(), None);
        prop_assert!(world.stopped);
        prop_assert_eq!(world.state.connections(), 0);
    }

    /// G12: the same events give the same effects, whatever the key of the hash; and events survive being written down.
    #[test]
    fn g12_the_same_events_give_the_same_effects(history in history(), few: bool, seed: [u64; 2]) {
        let (mut one, mut other) = (slower_world(few), World::with_seed(limits_for(few), seed));
        (other.obedient, other.hasty) = (false, false);
        (one.log, other.log) = (Some(Vec::new()), Some(Vec::new()));
        for action in &history {
            act(&mut one, action);
            act(&mut other, action);
        }
        prop_assert_eq!(&one.log, &other.log);
        prop_assert_eq!(one.state.limits(), &limits_for(few), "what they answer by");
        let mut state = State::new(limits_for(few), seed);
        let log = one.log.unwrap();
        let mut log = log.iter();
        while let Some(line) = log.next() {
            let event: Event = serde_json::from_str(line).unwrap();
            for effect in step(&mut state, event) {
                let written: Effect = serde_json::from_str(log.next().unwrap()).unwrap();
                prop_assert_eq!(effect, written);
            }
        }
    }
}

/// An event about a connection that is not there orders nothing: a server that has been told to stop is not told again.
#[test]
fn an_event_about_nobody_orders_nothing() {
    let mut state = State::new(limits(), [0, 0]);
    assert_eq!(step(&mut state, Event::ShutdownRequested), [Effect::Stop]);
    let before = state.clone();
    let nobody = ConnId(1);
    for event in [
        Event::Secured(nobody),
        Event::PasswordVerified(nobody, true),
        Event::InputEnded(nobody),
        Event::OutboxOverflowed(nobody),
        Event::Disconnected(nobody),
        Event::Kicked(nobody),
        Event::RestartRequested,
    ] {
        assert_eq!(step(&mut state, event), []);
        assert_eq!(state, before);
    }
}
