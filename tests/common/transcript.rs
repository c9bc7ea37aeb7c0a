//! Transcripts: whole sessions as text that anybody can read.
//!
//! ```text
//! # A comment. A blank line ends a step.
//! limits line_bytes_max=64      (first, if at all; `off` for none)
//! slow                          (first, if at all: connections close when the transcript says so)
//! accounts alice bob            (first, if at all: these names are reserved; "alice's secret" is alice's password)
//! alice> alice                  alice sends a line (and connects first, if she has not)
//! alice from 192.0.2.1          alice connects from this address
//! alice secured                 alice connects, and nobody reads on the way what she sends
//! alice< welcome alice          alice sees a line
//! bob>| half a                  bob sends bytes without a newline
//! bob eof                       bob closes his side
//! bob resets                    bob's connection breaks
//! bob closed                    the server closes bob's connection
//! bob is gone                   and now it has closed (in a slow transcript)
//! bob aborted                   the server gives bob's connection up
//! pass 9999                     so many milliseconds pass
//! kick alice                    the operator ends alice's session
//! ban 192.0.2.1                 the operator wants nobody from there
//! unban 192.0.2.1               or somebody again
//! stop                          the operator stops the server
//! restart                       the same, and the server comes back at once
//! stopped                       the server is down
//! ```
//! In what is sent, `\r`, `\n`, `\t`, `\\`, `\xff` stand for bytes and `{ab*3}` for `ababab`; the same in what is seen.

use seriatim::protocol::Name;
use seriatim::{Limits, Origin};

/// A whole session: what is done, each with what is seen after it.
pub struct Transcript {
    pub limits: Limits,
    pub slow: bool,
    pub accounts: Vec<Name>,
    pub steps: Vec<Step>,
}

pub struct Step {
    /// The line of the file.
    pub line: usize,
    pub action: Action,
    /// As in the file: `alice< welcome alice`, `bob closed`, `stopped`.
    pub seen: Vec<String>,
    /// The comments and the action, as in the file.
    source: Vec<String>,
}

pub enum Action {
    Send(String, Vec<u8>),
    Connect(String, Origin),
    Secure(String),
    Close(String),
    Eof(String),
    Reset(String),
    Pass(u64),
    Kick(String),
    Ban(Origin),
    Unban(Origin),
    Stop,
    Restart,
}

impl Transcript {
    pub fn parse(text: &str) -> Transcript {
        let mut transcript =
            Transcript { limits: Limits::default(), slow: false, accounts: Vec::new(), steps: Vec::new() };
        let mut source = Vec::new();
        for (number, line) in text.lines().enumerate() {
            if line.starts_with('#') || line.trim().is_empty() {
                source.push(line.to_owned());
            } else if let Some(limits) = line.strip_prefix("limits ") {
                source.push(line.to_owned());
                limits.split_whitespace().for_each(|limit| set_limit(&mut transcript.limits, limit));
            } else if let Some(accounts) = line.strip_prefix("accounts ") {
                source.push(line.to_owned());
                let name = |name| Name::parse(name).expect("a name");
                transcript.accounts.extend(accounts.split_whitespace().map(name));
            } else if line == "slow" {
                source.push(line.to_owned());
                transcript.slow = true;
            } else if let Some(action) = parse_action(line) {
                source.push(line.to_owned());
                let source = std::mem::take(&mut source);
                transcript.steps.push(Step { line: number + 1, action, seen: Vec::new(), source });
            } else {
                let step = transcript.steps.last_mut().expect("something is done before something is seen");
                assert!(
                    source.is_empty(),
                    "line {}: what is seen stands right under what is done",
                    number + 1
                );
                step.seen.push(line.to_owned());
            }
        }
        transcript
    }

    /// The file again, with what was really seen.
    pub fn rewritten(&self, seen: &[Vec<String>]) -> String {
        let mut out = String::new();
        for (step, seen) in self.steps.iter().zip(seen) {
            for line in step.source.iter().chain(seen) {
                out.push_str(line);
                out.push('\n');
            }
        }
        out
    }
}

fn parse_action(line: &str) -> Option<Action> {
    match line.split_once(' ').unwrap_or((line, "")) {
        ("stop", "") => return Some(Action::Stop),
        ("restart", "") => return Some(Action::Restart),
        ("pass", ms) => return Some(Action::Pass(ms.parse().expect("pass MILLISECONDS"))),
        ("kick", who) => return Some(Action::Kick(who.to_owned())),
        ("ban", address) => return Some(Action::Ban(origin(address))),
        ("unban", address) => return Some(Action::Unban(origin(address))),
        _ => {}
    }
    let end = line.find(['>', '<', ' '])?;
    let (who, rest) = (line[..end].to_owned(), &line[end..]);
    if let Some(bytes) = rest.strip_prefix(">|") {
        return Some(Action::Send(who, unescape(bytes.strip_prefix(' ').unwrap_or(bytes))));
    }
    if let Some(text) = rest.strip_prefix('>') {
        let mut bytes = unescape(text.strip_prefix(' ').unwrap_or(text));
        bytes.push(b'\n');
        return Some(Action::Send(who, bytes));
    }
    if let Some(address) = rest.strip_prefix(" from ") {
        return Some(Action::Connect(who, origin(address)));
    }
    match rest {
        " secured" => Some(Action::Secure(who)),
        " is gone" => Some(Action::Close(who)),
        " eof" => Some(Action::Eof(who)),
        " resets" => Some(Action::Reset(who)),
        _ => None,
    }
}

fn origin(address: &str) -> Origin {
    Origin::of(address.parse().expect("an address"))
}

fn set_limit(limits: &mut Limits, limit: &str) {
    let (name, value) = limit.split_once('=').expect("NAME=VALUE");
    let bound: Option<usize> = (value != "off").then(|| value.parse().expect("a number"));
    let value = bound.unwrap_or(usize::MAX);
    match name {
        "connections_max" => limits.connections_max = value,
        "connections_per_address_max" => limits.connections_per_address_max = bound,
        "connects_per_minute_max" => limits.connects_per_minute_max = bound.map(|bound| bound as u32),
        "logins_pending_max" => limits.logins_pending_max = value,
        "refusals_max" => limits.refusals_max = value,
        "idle_ms_max" => limits.idle_ms_max = bound.map(|bound| bound as u64),
        "line_bytes_max" => limits.line_bytes_max = value,
        "recipients_max" => limits.recipients_max = value,
        "login_ms_max" => limits.login_ms_max = value as u64,
        "flush_ms_max" => limits.flush_ms_max = value as u64,
        "account_required" => limits.account_required = value != 0,
        "clear_passwords_allowed" => limits.clear_passwords_allowed = value != 0,
        "drain_ms_max" => limits.drain_ms_max = value as u64,
        _ => panic!("no such limit: {name}"),
    }
}

/// `\n`, `\xff` and so on, and `{ab*3}`.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\\' => {
                let escape = rest.chars().next().expect("an escape");
                rest = &rest[1..];
                match escape {
                    'n' => bytes.push(b'\n'),
                    'r' => bytes.push(b'\r'),
                    't' => bytes.push(b'\t'),
                    '\\' => bytes.push(b'\\'),
                    'x' => {
                        bytes.push(u8::from_str_radix(&rest[..2], 16).expect("two hexadecimal digits"));
                        rest = &rest[2..];
                    }
                    _ => panic!("no such escape: \\{escape}"),
                }
            }
            '{' => {
                let (inside, behind) = rest.split_once('}').expect("{TEXT*COUNT}");
                let (repeated, count) = inside.rsplit_once('*').expect("{TEXT*COUNT}");
                let count: usize = count.parse().expect("a count");
                (0..count).for_each(|_| bytes.extend(unescape(repeated)));
                rest = behind;
            }
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    bytes
}

/// A line that was seen, as a transcript writes it: long runs of one character shortened.
pub fn escape(line: &str) -> String {
    let mut out = String::new();
    let mut rest = line;
    while let Some(c) = rest.chars().next() {
        let run = rest.chars().take_while(|&other| other == c).count();
        rest = &rest[run * c.len_utf8()..];
        let one = match c {
            '\t' => "\\t".to_owned(),
            '\\' => "\\\\".to_owned(),
            c => c.to_string(),
        };
        if run > 20 {
            out.push_str(&format!("{{{one}*{run}}}"));
        } else {
            (0..run).for_each(|_| out.push_str(&one));
        }
    }
    out
}
