//! The simulator: it drives the very code of `seriatim::server`, over a network and a clock of its own, through as many
//! interleavings and faults as it is given time for, and judges it by the clients' bytes, the network and the clock alone.
//!
//! # Layout, in reading order
//! - [`scenario`]: what clients do and what goes wrong, as plain data;
//! - [`choice`]: every decision of a run, drawn from one recorded stream;
//! - [`world`]: the clock and the log, and [`net`], the network in it; [`seam`]: the server's seam over both;
//! - [`client`]: the clients, which keep a [`history`] of what they wrote and read;
//! - [`engine`]: what lets it all run: on one thread in volume, under shuttle, or over real sockets;
//! - [`judge`]: the independent checker of the guarantees: it shares nothing with the core;
//! - [`timing`]: the rules that need a clock: [`refusals`] has those about who is let in, [`fairness`] about who is too slow,
//!   [`unanswered`] about lines whose sender never learns what became of them, and [`orders`] about what the operator orders;
//! - [`marks`]: proof that a run met what it was meant to meet;
//! - [`swarm`]: a scenario from a seed; `throng`, the one for a server under all kinds of load at once;
//! - [`explore`](mod@explore): many of them, on all cores;
//! - [`shrink`]: a failing run, made small: `simpler` scenarios, simpler schedules;
//! - [`signal`]: Ctrl-C, which ends either with what there is by then;
//! - [`report`]: a run in the words of its clients, and files to keep it in;
//! - [`page`]: a run as a picture, on a page of its own;
//! - [`bugs`]: planted bugs, which it must find, and [`hunt`](mod@hunt), what each is put to;
//! - [`drill`](mod@drill): planted nondeterminism, which it must notice; `plant` builds both kinds;
//! - [`soak`](mod@soak): the real program, under that load for minutes;
//! - [`figures`](mod@figures): how fast each of these is;
//! - [`core`]: the pure core, exhaustively.
//!
//! Nothing in the server knows this crate.

#![forbid(unsafe_code)]

pub mod bugs;
pub mod choice;
pub mod client;
pub mod core;
pub mod drill;
pub mod engine;
pub mod explore;
pub mod fairness;
pub mod figures;
pub mod history;
pub mod hunt;
pub mod judge;
pub mod marks;
pub mod net;
pub mod orders;
pub mod page;
mod plant;
pub mod refusals;
pub mod report;
pub mod scenario;
pub mod seam;
pub mod shrink;
pub mod signal;
mod simpler;
pub mod soak;
pub mod swarm;
mod throng;
pub mod timing;
pub mod unanswered;
pub mod world;
