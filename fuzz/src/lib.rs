//! What the fuzz targets do. Each target of libFuzzer calls one function here, and so does `cargo test`, with every file
//! of the committed corpora.
//!
//! - [`line`]: bytes → requests, against a naive parser;
//! - [`session`](mod@session): the bytes of several clients → lines, on the whole core;
//! - [`step`](mod@step): events → effects, against a naive model;
//! - [`name`](mod@name): which names there are and which are equal, against the Unicode Standard;
//! - [`said`]: what every line of the server must look like;
//! - [`seeds`]: transcripts as inputs to begin with, and [`draft`]: inputs as transcripts.

#![forbid(unsafe_code)]
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::cast_possible_truncation,
    reason = "this is test code, and part of a test, too"
)]

#[path = "../../tests/common"]
pub mod common {
    pub mod model;
    pub mod parser;
    pub mod transcript;
    pub mod world;
}

pub mod draft;
pub mod line;
pub mod name;
pub mod said;
pub mod seeds;
pub mod session;
pub mod step;

use arbitrary::{Arbitrary, Unstructured};

/// Its name, and what it does with the bytes of a corpus file.
pub type Target = (&'static str, fn(&[u8]));

pub const TARGETS: [Target; 4] = [
    ("line", |bytes| with(bytes, |reads| line::line(&reads))),
    ("session", |bytes| with(bytes, |traffic| session::session(&traffic))),
    ("step", |bytes| with(bytes, |history: Vec<_>| step::step(&history))),
    ("name", |bytes| with(bytes, name::name)),
];

/// Reads an input as libFuzzer's macro does; bytes that are none do nothing.
fn with<'a, T: Arbitrary<'a>>(bytes: &'a [u8], run: impl FnOnce(T)) {
    if let Ok(input) = T::arbitrary_take_rest(Unstructured::new(bytes)) {
        run(input);
    }
}
