//! [`History`]: what each client wrote and read, in one order. This is all that the judge gets.

use serde::{Deserialize, Serialize};

use crate::scenario::BadLine;

/// What all clients wrote and read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct History {
    /// How many recipients a line may list, the receipt among them.
    pub recipients_max: usize,
    /// One for each connection, in the order in which they were made.
    pub sessions: Vec<SessionHistory>,
}

/// What one client wrote and read over one connection.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SessionHistory {
    /// In order.
    pub items: Vec<Item>,
}

/// Something a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Item {
    /// Its place among all that clients did and saw: what is written may take effect only after, what is read has only
    /// before.
    pub at: u64,
    /// What it was.
    pub what: What,
}

/// What a client did or saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum What {
    /// It began to write a line. If the connection breaks, perhaps not all of it went out.
    Wrote(Sent),
    /// It closed its side.
    Ended,
    /// It broke the connection.
    Reset,
    /// It read a line, here without the newline.
    Read(String),
    /// The server closed the connection. Text that came without a newline, if any.
    Closed(String),
    /// The connection broke.
    Broke,
}

/// What a client wrote, as it means it. Every line of a session has a number of its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sent {
    /// A name.
    Name(String),
    /// A message to these, with a text that begins with its [`tag`], and with the recipient `~TAG`, who does not exist: so the
    /// sender is always told, and told of which message.
    Say {
        /// The number of the line in its session.
        number: usize,
        /// To whom, as written.
        to: Vec<String>,
        /// The whole text.
        text: String,
    },
    /// `/ping TAG`.
    Ping {
        /// The number of the line in its session.
        number: usize,
    },
    /// `/who`.
    Who,
    /// A line that breaks a rule.
    Bad(BadLine),
    /// `/quit`.
    Quit,
}

/// What makes a line unique: its session and its number in it.
pub fn tag(session: usize, number: usize) -> String {
    format!("{session}.{number}")
}

/// The session and the number that a tag stands for.
pub fn untag(tag: &str) -> Option<(usize, usize)> {
    let (session, number) = tag.split_once('.')?;
    Some((session.parse().ok()?, number.parse().ok()?))
}
