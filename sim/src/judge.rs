//! The judge: an independent checker of the guarantees. It gets what the clients wrote and read and nothing else, and it
//! shares no code with the core.
//!
//! Every message of the simulator's clients is unique and carries a receipt (a recipient who cannot exist) or has a ping
//! behind it, so for every line that was answered the judge knows who was told what. It works in time linear in the history
//! (but for one sort):
//! 1. `session`: each session by itself: is every line one that the server may say, in answer to what was asked, in the
//!    order in which it was asked?
//! 2. `mail`: each message that was read: is it one that was sent, as it was sent, to this name, once?
//! 3. `messages`: each message that was sent: was it either delivered or reported, for each of its names?
//! 4. `names`: each name by itself: did two sessions hold it at once?
//! 5. `order`: all together (G1): does one order of all lines explain what everybody saw, given that what was read before
//!    something was written happened before it?
//!
//! What is known on the way is kept in the `case`.

mod case;
mod mail;
mod messages;
mod names;
mod order;
mod session;

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::history::{History, Item, What};
use case::Case;

/// A guarantee was broken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Violation {
    /// Which one: `G1` … `G12`, or `protocol`.
    pub rule: String,
    /// What happened.
    pub what: String,
    /// The fewest things seen that prove it: sessions, and places in their histories.
    pub witness: Vec<(usize, usize)>,
}

impl Violation {
    /// A violation, with what proves it.
    pub fn new(rule: &str, what: String, witness: &[(usize, usize)]) -> Violation {
        Violation { rule: rule.to_owned(), what, witness: witness.to_vec() }
    }

    /// Somebody waits for ever.
    pub fn stuck(history: &History, what: String) -> Violation {
        Violation::new("G11", what, still_there(history).as_slice())
    }
}

/// Where the first session stands still that is not over.
pub(crate) fn still_there(history: &History) -> Option<(usize, usize)> {
    let over = |items: &[Item]| {
        items.iter().any(|item| matches!(item.what, What::Closed(_) | What::Broke | What::Reset))
    };
    let session = history.sessions.iter().position(|session| !over(&session.items))?;
    Some((session, history.sessions[session].items.len().saturating_sub(1)))
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.rule, self.what)
    }
}

/// Checks a history.
///
/// # Errors
/// The first violation found.
pub fn judge(history: &History) -> Result<(), Violation> {
    let mut case = Case::of(history);
    for (number, session) in history.sessions.iter().enumerate() {
        session::read(&mut case, history, number, &session.items)?;
    }
    case.sort_holders();
    mail::check(&mut case)?;
    messages::check(&case)?;
    names::check(&case)?;
    order::check(&case)
}

/// Why somebody is not let in.
pub(crate) const REFUSALS: [&str; 5] = [
    "banned",
    "server full",
    "too many connections from your address",
    "too many new connections from your address",
    "too many logins pending",
];

/// How the judge compares names: the simulator's are simple enough for that.
pub(crate) fn same(name: &str) -> String {
    let name = name.to_lowercase();
    if name.is_ascii() { name } else { name.replace("e\u{308}", "\u{eb}") }
}
