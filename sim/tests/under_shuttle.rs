//! The same server and clients under shuttle's schedulers.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use seriatim::Event;
use seriatim::protocol::Request;
use seriatim_sim::choice::Choices;
use seriatim_sim::engine::Outcome;
use seriatim_sim::engine::under_shuttle::{Order, Window, run};
use seriatim_sim::marks::Marks;
use seriatim_sim::report::explain;
use seriatim_sim::scenario::{Op, Scenario, Script};
use seriatim_sim::swarm;
use seriatim_sim::world::Record;

#[test]
fn no_schedule_breaks_a_guarantee_and_every_mark_is_met() {
    let marks = Arc::new(Mutex::new(Marks::default()));
    for order in [Order::Random, Order::Urw, Order::Pct] {
        for seed in 0..300 {
            let marks = marks.clone();
            let choices = move |schedule| Choices::random(seed ^ schedule << 32);
            let scenario = swarm::scenario(seed);
            // What takes more than a task's stack is done outside.
            let failed = Arc::new(Mutex::new(None));
            let failing = failed.clone();
            let judge = move |schedule, outcome: Outcome| {
                marks.lock().unwrap().add(&outcome.marks);
                let is_fine = outcome.violation.is_none();
                if !is_fine {
                    *failing.lock().unwrap() = Some((schedule, outcome));
                }
                is_fine
            };
            run(&scenario, order, seed, 5, Record::default(), choices, judge);
            if let Some((schedule, outcome)) = failed.lock().unwrap().take() {
                let told = explain(&scenario, &outcome, "run this test again");
                panic!("{order:?}, seed {seed}, schedule {schedule}: {told}");
            }
        }
    }
    assert_eq!(marks.lock().unwrap().missing(), [""; 0]);
}

/// Two clients have written so many messages each before the server gets to read any: all orders in which the broker can
/// learn of them, with how often each came.
fn arrivals(messages: usize, driver_first: bool) -> (usize, BTreeMap<Vec<u64>, usize>) {
    let script = |name: &str| {
        let mut ops = vec![Op::Connect, Op::LogIn { name: name.to_owned(), insist: true }, Op::Stall(1_000)];
        ops.push(Op::Sleep(10));
        ops.extend((0..messages).map(|_| Op::Say { to: vec!["x".to_owned()], bytes: 4 }));
        Script { ops }
    };
    let scenario =
        Scenario { clients: vec![script("al"), script("bo")], read_bytes_max: 14, ..Scenario::default() };
    // Two that connect and log in, the time, and the messages.
    let window = Window { from_ms: 10, events: 4 + 2 * messages as u64, driver_first };
    let orders = Arc::new(Mutex::new(BTreeMap::new()));
    let seen = orders.clone();
    let record = Record { trace: true, digest: false };
    let judge = move |_, outcome: Outcome| {
        assert_eq!(outcome.violation, None);
        let order = outcome.trace.iter().filter_map(|step| match &step.event {
            Event::Requested(conn, Request::Message(_)) => Some(conn.0),
            _ => None,
        });
        *seen.lock().unwrap_or_else(PoisonError::into_inner).entry(order.collect()).or_default() += 1;
        true
    };
    let choices = |_| Choices::replay(Vec::new());
    let schedules = run(&scenario, Order::Dfs(window), 0, u64::MAX, record, choices, judge);
    let orders = std::mem::take(&mut *orders.lock().unwrap_or_else(PoisonError::into_inner));
    (schedules, orders)
}

/// Asserts that every order of arrival is among all the schedules there are, and says how many those are.
fn every_order(messages: usize, driver_first: bool, orders_expected: usize) -> usize {
    let start = Instant::now();
    let (schedules, orders) = arrivals(messages, driver_first);
    println!("{messages} messages each: {schedules} schedules in {:?}", start.elapsed());
    // 2n messages, n of them the first client's, arrive in (2n)! / n! / n! orders.
    assert_eq!(orders.len(), orders_expected, "{orders:?}");
    for (order, times) in &orders {
        let mirrored: Vec<u64> = order.iter().map(|conn| 3 - conn).collect();
        assert_eq!(orders.get(&mirrored), Some(times), "the two are alike: {order:?}");
    }
    schedules
}

#[test]
fn dfs_sees_every_order_in_which_two_producers_can_arrive() {
    assert_eq!(every_order(1, false, 2), 86);
    assert_eq!(every_order(2, false, 6), 65_424);
}

/// With more messages there are too many schedules of all the server's tasks together; who sends first is decided by those
/// that send.
#[test]
fn dfs_sees_every_order_of_more_messages_where_the_driver_does_not_wait() {
    assert_eq!(every_order(1, true, 2), 2);
    assert_eq!(every_order(2, true, 6), 8);
    assert_eq!(every_order(3, true, 20), 32);
}
