//! Ctrl-C while a failing run is made small. A test in a program of its own, since there is one Ctrl-C for all of it.

use std::sync::atomic::Ordering;

use seriatim_sim::choice::Choices;
use seriatim_sim::engine::volume::run;
use seriatim_sim::scenario::{Op, Scenario, Script};
use seriatim_sim::shrink::{Failing, Shrunk, shrink};
use seriatim_sim::signal::ASKED;
use seriatim_sim::world::Record;

#[test]
fn ctrl_c_ends_the_shrinking_with_what_is_smallest_so_far() {
    // Two lines where a client says that it writes one: the judge holds that against the server.
    let log_in = Op::LogIn { name: "al\nbob".to_owned(), insist: false };
    let client = Script { ops: vec![Op::Connect, log_in, Op::Who, Op::Blank, Op::Who, Op::HalfClose] };
    let scenario = Scenario { clients: vec![client], ..Scenario::default() };
    let failing = Failing::new(scenario.clone(), &run(&scenario, Choices::of_seed(0), Record::default()));
    assert_ne!(failing.rule, "", "a run that fails");
    let Shrunk { failing: small, minimal } = shrink(failing.clone());
    assert!(minimal && small.ops() < failing.ops(), "{} things", small.ops());
    ASKED.store(true, Ordering::SeqCst);
    assert_eq!(shrink(failing.clone()), Shrunk { failing, minimal: false });
}
