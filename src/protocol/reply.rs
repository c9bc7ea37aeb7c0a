//! [`Reply`]: what the server says, and how it is written.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::name::{Name, NameError};
use super::request::LineError;
use super::text::Text;

/// What the server says to a client. Each is one line, but for [`Peers`](Reply::Peers) and [`Help`](Reply::Help).
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Reply {
    /// `welcome NAME`: the name is yours from here on.
    Welcome(Name),
    /// `from NAME: TEXT`.
    From {
        /// Who says it: the session that held this name.
        from: Name,
        /// What it says.
        text: Text,
    },
    /// `error CODE: …`: one of your lines was not carried out, or not in full.
    Error(Refusal),
    /// `peers N: a, b, …`: all N who are here, over as many lines as they need.
    Peers(Arc<[Name]>),
    /// `pong TOKEN`: everything you sent before that ping has been processed.
    Pong(Text),
    /// `help …`: a few lines.
    Help,
    /// `bye REASON`: the last line of a session.
    Bye(Farewell),
}

/// Why a line was not carried out, or not in full.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Refusal {
    /// Somebody holds an equal name.
    #[error("{0} is taken, choose another name")]
    NameTaken(Name),
    /// The name belongs to an account, and no password was given.
    #[error("{0} is reserved, log in as: NAME PASSWORD")]
    NameReserved(Name),
    /// The password is not the one of this account.
    #[error("that is not the password of {0}")]
    WrongPassword(Name),
    /// A password was given, and the name belongs to no account.
    #[error("{0} has no account here, a name alone has no white space")]
    NoSuchAccount(Name),
    /// Only who has an account may log in.
    #[error("only accounts may log in, as: NAME PASSWORD")]
    AccountRequired,
    /// A password was given, and others may read it on its way.
    #[error("a password is not taken over a connection that is not encrypted")]
    Unencrypted,
    /// The line is not a name, and its sender has none yet.
    #[error("{0}")]
    BadName(NameError),
    /// The line has no colon and is no command.
    #[error("write NAME: TEXT, or /help")]
    NoColon,
    /// Nobody of these names is here; whoever else was named has got the message.
    #[error("{}", Listed(.0))]
    NoSuchPeer(Vec<Text>),
    /// The line breaks a rule of the protocol.
    #[error("{0}")]
    Line(LineError),
}

impl Refusal {
    /// All words that there are, sorted.
    pub const CODES: [&str; 16] = [
        "account-required",
        "bad-name",
        "bad-text",
        "empty-message",
        "line-too-long",
        "name-reserved",
        "name-taken",
        "no-colon",
        "no-recipient",
        "no-such-account",
        "no-such-peer",
        "not-utf8",
        "too-many-recipients",
        "unencrypted",
        "unknown-command",
        "wrong-password",
    ];

    /// The word that a program goes by; the sentence is for people.
    pub fn code(&self) -> &'static str {
        Self::CODES[self.place()]
    }

    /// The place of its word among all that there are: so what comes as often as messages do is counted without a search.
    pub(crate) fn place(&self) -> usize {
        match self {
            Refusal::AccountRequired => 0,
            Refusal::BadName(_) => 1,
            Refusal::Line(LineError::BadText) => 2,
            Refusal::Line(LineError::EmptyMessage) => 3,
            Refusal::Line(LineError::TooLong { .. }) => 4,
            Refusal::NameReserved(_) => 5,
            Refusal::NameTaken(_) => 6,
            Refusal::NoColon => 7,
            Refusal::Line(LineError::NoRecipient) => 8,
            Refusal::NoSuchAccount(_) => 9,
            Refusal::NoSuchPeer(_) => 10,
            Refusal::Line(LineError::NotUtf8) => 11,
            Refusal::Line(LineError::TooManyRecipients { .. }) => 12,
            Refusal::Unencrypted => 13,
            Refusal::Line(LineError::UnknownCommand(_)) => 14,
            Refusal::WrongPassword(_) => 15,
        }
    }
}

/// `a, b, c`.
struct Listed<'a>(&'a [Text]);

impl core::fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        for (i, item) in self.0.iter().enumerate() {
            write!(f, "{}{item}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// Why the server ends a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Farewell {
    /// The client asked for it.
    #[error("quit")]
    Quit,
    /// It did not log in in time.
    #[error("login timeout")]
    LoginTimeout,
    /// More waited for it than its outbox holds.
    #[error("too slow")]
    TooSlow,
    /// The server is going away.
    #[error("server shutting down")]
    ShuttingDown,
    /// It said nothing for too long.
    #[error("idle")]
    Idle,
    /// It is not let in: the server has as many connections as it allows.
    #[error("server full")]
    ServerFull,
    /// It is not let in: as many connections are there from its address as may be.
    #[error("too many connections from your address")]
    AddressFull,
    /// It is not let in: as many connections were made from its address in the last minute as may be.
    #[error("too many new connections from your address")]
    AddressTooFast,
    /// It is not let in: as many connections have not logged in yet as may be.
    #[error("too many logins pending")]
    TooManyLogins,
    /// It is not let in: the operator wants nobody from its address.
    #[error("banned")]
    Banned,
    /// The operator ended its session.
    #[error("kicked")]
    Kicked,
    /// The server is going away, and comes back at once.
    #[error("server restarting")]
    Restarting,
}

const HELP: &str = "\
help NAME: TEXT          say TEXT to NAME; several names: NAME, NAME: TEXT\n\
help /who                who is here\n\
help /ping TOKEN         answers pong TOKEN when all you sent before is processed\n\
help /quit               say bye and close\n\
help /help               these lines\n";

impl Reply {
    /// Appends the reply as lines, each with its `\n`. A list of peers is split so that no line of it is longer than
    /// `line_bytes_max` bytes (but for a name that alone is).
    pub fn render(&self, line_bytes_max: usize, out: &mut Vec<u8>) {
        match self {
            Reply::From { from, text } => {
                // By far the most frequent: no formatting machinery.
                out.reserve(5 + from.as_str().len() + 2 + text.as_bytes().len() + 1);
                out.extend_from_slice(b"from ");
                out.extend_from_slice(from.as_str().as_bytes());
                out.extend_from_slice(b": ");
                out.extend_from_slice(text.as_bytes());
                out.push(b'\n');
            }
            Reply::Welcome(name) => line(out, format_args!("welcome {name}")),
            Reply::Error(refusal) => line(out, format_args!("error {}: {refusal}", refusal.code())),
            Reply::Peers(names) => render_peers(names, line_bytes_max, out),
            Reply::Pong(token) if token.as_bytes().is_empty() => line(out, format_args!("pong")),
            Reply::Pong(token) => line(out, format_args!("pong {token}")),
            Reply::Help => out.extend_from_slice(HELP.as_bytes()),
            Reply::Bye(why) => line(out, format_args!("bye {why}")),
        }
    }
}

fn render_peers(names: &[Name], line_bytes_max: usize, out: &mut Vec<u8>) {
    let head = alloc::format!("peers {}:", names.len());
    let mut length = usize::MAX; // of the line begun; no line is
    for name in names {
        let name = name.as_str();
        if length.saturating_add(2 + name.len()) > line_bytes_max {
            if length != usize::MAX {
                out.push(b'\n');
            }
            out.extend_from_slice(head.as_bytes());
            length = head.len();
        } else {
            out.push(b',');
            length += 1;
        }
        out.push(b' ');
        out.extend_from_slice(name.as_bytes());
        length += 1 + name.len();
    }
    out.push(b'\n');
}

fn line(out: &mut Vec<u8>, text: core::fmt::Arguments<'_>) {
    struct Out<'a>(&'a mut Vec<u8>);
    impl core::fmt::Write for Out<'_> {
        fn write_str(&mut self, text: &str) -> core::fmt::Result {
            self.0.extend_from_slice(text.as_bytes());
            Ok(())
        }
    }
    // Writing to a Vec does not fail.
    let _ = core::fmt::Write::write_fmt(&mut Out(out), text);
    out.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;
    use alloc::vec;

    fn rendered(reply: &Reply, line_bytes_max: usize) -> String {
        let mut out = Vec::new();
        reply.render(line_bytes_max, &mut out);
        String::from_utf8(out).unwrap()
    }

    fn name(name: &str) -> Name {
        Name::parse(name).unwrap()
    }

    #[test]
    fn peers_are_split_over_lines_that_fit() {
        let peers = Reply::Peers([name("al"), name("bob"), name("carol"), name("d")].into());
        assert_eq!(rendered(&peers, 100), "peers 4: al, bob, carol, d\n");
        assert_eq!(rendered(&peers, 17), "peers 4: al, bob\npeers 4: carol, d\n");
        assert_eq!(rendered(&peers, 1), "peers 4: al\npeers 4: bob\npeers 4: carol\npeers 4: d\n");
        for line_bytes_max in 14..40 {
            let lines = rendered(&peers, line_bytes_max);
            assert!(lines.lines().all(|line| line.len() <= line_bytes_max), "{line_bytes_max}: {lines}");
        }
    }

    #[test]
    fn a_message_takes_as_much_memory_as_it_is_long() {
        for from in ["d", "alice", "bartholomew"] {
            let text = Text::try_from("how are you?").unwrap();
            let mut out = Vec::new();
            Reply::From { from: name(from), text }.render(8192, &mut out);
            assert_eq!(out, alloc::format!("from {from}: how are you?\n").into_bytes());
            assert_eq!(out.capacity(), out.len(), "set aside at once, and no more");
        }
    }

    #[test]
    fn every_code_is_listed() {
        let lines = [
            LineError::TooLong { bytes_max: 1 },
            LineError::NotUtf8,
            LineError::BadText,
            LineError::NoRecipient,
            LineError::TooManyRecipients { max: 1 },
            LineError::EmptyMessage,
            LineError::UnknownCommand(Text::try_from("/x").unwrap()),
        ];
        let others = [
            (Refusal::NameTaken(name("al")), "name-taken"),
            (Refusal::NameReserved(name("al")), "name-reserved"),
            (Refusal::WrongPassword(name("al")), "wrong-password"),
            (Refusal::NoSuchAccount(name("al")), "no-such-account"),
            (Refusal::AccountRequired, "account-required"),
            (Refusal::Unencrypted, "unencrypted"),
            (Refusal::BadName(NameError::NotLoggedIn), "bad-name"),
            (Refusal::NoColon, "no-colon"),
            (Refusal::NoSuchPeer(vec![]), "no-such-peer"),
        ];
        let lines = lines.map(|error| (Refusal::Line(error.clone()), error.code()));
        let mut codes: Vec<&str> = Vec::new();
        for (refusal, code) in lines.into_iter().chain(others) {
            assert_eq!(refusal.code(), code);
            codes.push(code);
        }
        codes.sort_unstable();
        assert_eq!(codes, Refusal::CODES);
    }

    #[test]
    fn every_help_line_is_a_help_line() {
        assert!(rendered(&Reply::Help, 8192).lines().all(|line| line.starts_with("help ")));
    }
}
