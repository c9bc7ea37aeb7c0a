//! What the command, the benches and the tests of this crate share.
//!
//! - [`cost`]: what one message costs on its way through the core, in instructions, time and allocations.

#![forbid(unsafe_code)]

pub mod cost;
