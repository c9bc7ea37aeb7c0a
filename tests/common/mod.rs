//! What several test files share.
#![allow(
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "each test file uses a part of it, and none of it is public"
)]

pub mod http;
pub mod model;
pub mod network;
pub mod openmetrics;
pub mod parser;
pub mod process;
pub mod transcript;
pub mod world;
