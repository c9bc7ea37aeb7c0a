//! What one message costs on its way through the core: no sockets, no tasks, and always the same input.
//!
//! In reading order:
//! - [`talk`]: who is there and what they say;
//! - [`stage`]: the pieces of a message's way, each to be measured alone, and the whole of it;
//! - [`instructions`]: counts the instructions of each, and compares;
//! - [`table`]: the table that it compares with.

pub mod instructions;
pub mod stage;
pub mod table;
pub mod talk;
