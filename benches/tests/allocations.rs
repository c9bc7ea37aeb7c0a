//! What the steady way of a message allocates, counted for the thread of the test alone.
//!
//! What can be filled again is kept, so that all that is left is what a read costs and what a line to many costs.

#![forbid(unsafe_code)]

use seriatim_bench::cost::stage::Whole;
use seriatim_bench::cost::talk::{Kind, Talk};

/// A read of whole lines: their bytes, and the count of references to them.
const PER_READ: usize = 2;

/// More, if it begins and ends inside a line: the beginning is held, grows into a line, and has a count of its own.
const PER_LINE_CUT: usize = 3;

/// A line to fifty: the list of who gets it, which the broker remembers from the last such line.
const PER_LINE_TO_FIFTY: usize = 1;

/// How many allocations one round takes, when a few have gone before.
fn allocations(talk: &Talk) -> usize {
    let mut whole = Whole::new(talk);
    for _ in 0..4 {
        whole.round();
    }
    let counted = allocation_counter::measure(|| whole.round());
    assert_eq!(counted.count_current, 0, "a round leaves nothing behind");
    counted.count_total.try_into().expect("a small number")
}

/// As if the network had cut the stream elsewhere.
fn cut_inside_lines(mut talk: Talk) -> Talk {
    for read in &mut talk.reads {
        read.bytes.rotate_left(40);
    }
    talk
}

#[test]
fn a_message_to_one_allocates_nothing_of_its_own() {
    for lines in [2, 32, 300] {
        let pairs = Talk::new(Kind::Pairs, lines);
        let reads = pairs.reads.len();
        assert_eq!(allocations(&pairs), reads * PER_READ, "{lines} lines a read");
        let cut = cut_inside_lines(pairs);
        assert_eq!(allocations(&cut), reads * (PER_READ + PER_LINE_CUT), "{lines} lines a read, cut");
        let fan_out = Talk::new(Kind::FanOut, lines);
        assert_eq!(allocations(&fan_out), PER_READ + lines * PER_LINE_TO_FIFTY, "{lines} lines to fifty");
    }
}
