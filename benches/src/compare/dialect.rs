//! [`Dialect`]: how one says the same things to different brokers.

mod irc;
mod line;
mod mqtt;
mod nats;

pub(crate) use irc::Irc;
pub(crate) use line::{Forwarded, Line};
pub(crate) use mqtt::Mqtt;
pub(crate) use nats::Nats;

/// Something to say, and what the answer to it contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    /// To be written.
    pub(crate) say: Vec<u8>,
    /// Once this has come, the answer has.
    pub(crate) until: Vec<u8>,
}

impl Step {
    fn new(say: impl Into<Vec<u8>>, until: impl Into<Vec<u8>>) -> Step {
        Step { say: say.into(), until: until.into() }
    }
}

/// Whom a message is for.
#[derive(Clone, Copy, Debug)]
pub(crate) enum To<'a> {
    /// One peer.
    Peer(&'a str),
    /// All who have joined a group, and their names.
    Group(&'a str, &'a [String]),
}

impl<'a> To<'a> {
    /// What a message for it is addressed to: the peer's name, or the group's.
    fn name(self) -> &'a str {
        match self {
            To::Peer(name) | To::Group(name, _) => name,
        }
    }
}

/// How one talks to a broker.
pub(crate) trait Dialect: Sync {
    /// Logs in, and asks for whatever is sent to that name.
    fn log_in(&self, name: &str) -> Vec<Step>;

    /// Asks for whatever is sent to a group, too. Nothing where a sender lists names.
    fn join(&self, group: &str) -> Vec<Step>;

    /// Asks for an answer. When it is there, all that was to come before is there. Nothing if there is no such thing.
    fn ping(&self) -> Option<Step>;

    /// A message, as it is written: in one piece, or in several for some of the recipients each.
    fn message(&self, to: To, text: &[u8]) -> Vec<Vec<u8>>;

    /// The same message as it arrives at a peer, if that can be what `begin` begins with: some parts of it may be the
    /// broker's choice. `None` while there is too little of it.
    fn arriving(&self, from: &str, to: To, text: &[u8], begin: &[u8]) -> Option<Vec<u8>>;

    /// How long the thing is that a broker may say at any time, and the answer that it wants. `None` if this is none.
    fn aside(&self, begin: &[u8]) -> Option<(usize, Vec<u8>)>;

    /// The longest text, in bytes.
    fn text_bytes_max(&self) -> usize {
        usize::MAX
    }
}

/// Up to the end of the first line and with it.
fn first_line(begin: &[u8]) -> Option<&[u8]> {
    let newline = begin.iter().position(|&byte| byte == b'\n')?;
    Some(&begin[..=newline])
}
