//! **Seriatim** ("one after another, in order"): a chat broker in which everything that happens passes through one queue
//! into one pure state machine, so that "did Alice join before Bob sent?" always has one answer.
//!
//! ```text
//! socket bytes ─► Session (pure: bytes → requests) ─┐
//! accepts, EOFs, errors, ticks, signals ────────────┼─► queue ─► step(&mut State, Event) -> Vec<Effect> ─► outboxes ─► bytes
//!                                                   ┘  (the one order)        (pure)                    (bounded)
//! ```
//!
//! # Layout, in reading order
//! - [`protocol`]: the line protocol, bytes ↔ values. Pure.
//! - [`broker`]: [`Event`], [`State`], [`step`], [`Effect`]. Pure.
//! - [`limits`]: every bound the two keep, and [`rate`]: so many in a span of time.
#![cfg_attr(
    feature = "server",
    doc = "- [`server`]: the shell: sockets, tasks and the queue. The only caller of [`step`] in production."
)]
//!
//! Dependencies point one way, from the server to the broker to the protocol. That the first two are pure is proved by
//! the compiler: without the feature `server` this crate is `no_std`, and has no socket, clock or thread to reach for.
//!
//! The guarantees G1–G12 that documentation and tests name are listed in the README.

#![forbid(unsafe_code)]
#![cfg_attr(not(feature = "server"), no_std)]

extern crate alloc;

pub mod limits;
pub mod rate;

pub mod protocol;

pub mod broker;

#[cfg(feature = "server")]
pub mod server;

pub use broker::{
    CloseReason, ConnId, Conns, Counters, Effect, Event, Millis, Origin, State, step, step_into,
};
pub use limits::Limits;

/// The README is a test, and so is what the documents show of the core.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
#[doc = include_str!("../docs/embedding.md")]
struct Documents;
