//! TLS, against the real program: on the server's side with clients of every kind, on the client's with certificates of every
//! kind. Nothing sleeps.

#![allow(clippy::unwrap_used, clippy::cast_possible_truncation, reason = "a test may panic")]

mod certificates;
mod chat;
#[path = "../common/mod.rs"]
mod common;
mod reload;
mod serve;
