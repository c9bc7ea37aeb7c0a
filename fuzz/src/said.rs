//! What every line of the server must look like, as docs/protocol.md has it.

use seriatim::Limits;
use seriatim::protocol::Name;

const CODES: [&str; 16] = [
    "name-reserved",
    "wrong-password",
    "no-such-account",
    "account-required",
    "unencrypted",
    "name-taken",
    "bad-name",
    "no-colon",
    "no-such-peer",
    "line-too-long",
    "not-utf8",
    "bad-text",
    "no-recipient",
    "too-many-recipients",
    "empty-message",
    "unknown-command",
];

const FAREWELLS: [&str; 12] = [
    "banned",
    "kicked",
    "server restarting",
    "quit",
    "login timeout",
    "too slow",
    "server shutting down",
    "idle",
    "server full",
    "too many connections from your address",
    "too many new connections from your address",
    "too many logins pending",
];

/// A line of the server.
#[derive(Debug, PartialEq, Eq)]
pub enum Said<'a> {
    Welcome(&'a str),
    From(&'a str),
    Error,
    /// How many peers there are, and how many of them this line lists.
    Peers(usize, usize),
    Pong,
    Help,
    Bye,
}

/// Reads a line, without its newline, that must be one of the protocol's.
pub fn said<'a>(line: &'a str, limits: &Limits) -> Said<'a> {
    assert!(line.chars().all(|c| c == '\t' || !c.is_control()), "a control character: {line:?}");
    assert!(line.len() <= limits.line_bytes_max + 256 + limits.recipients_max, "too long: {line:?}");
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    match word {
        "welcome" => Said::Welcome(name(rest)),
        "from" => {
            let (from, text) = rest.split_once(": ").expect("from NAME: TEXT");
            assert!(!text.is_empty() && text.trim() == text, "{line:?}");
            Said::From(name(from))
        }
        "error" => {
            let (code, words) = rest.split_once(": ").expect("error CODE: …");
            assert!(CODES.contains(&code) && !words.is_empty(), "{line:?}");
            Said::Error
        }
        "peers" => {
            let (count, names) = rest.split_once(": ").expect("peers N: …");
            assert!(line.len() <= limits.line_bytes_max || !names.contains(", "), "not split: {line:?}");
            let count = count.parse().expect("peers N: …");
            Said::Peers(count, names.split(", ").map(name).count())
        }
        "pong" => Said::Pong,
        "help" => Said::Help,
        "bye" => {
            assert!(FAREWELLS.contains(&rest), "{line:?}");
            Said::Bye
        }
        _ => panic!("not a line of the protocol: {line:?}"),
    }
}

fn name(name: &str) -> &str {
    assert!(Name::parse(name).is_ok(), "not a name: {name:?}");
    name
}
