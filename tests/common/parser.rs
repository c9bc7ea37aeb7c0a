//! How the bytes of one client are read, once more, as naively as can be: the whole input at once, split and compared as
//! docs/protocol.md has it. It shares no code with the core.

use seriatim::Limits;
use seriatim::protocol::{LineError, Request};

/// A request, in the words of this parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    Plain(String),
    Message {
        to: Vec<String>,
        text: String,
    },
    /// `/who`, `/quit` or `/help`.
    Command(&'static str),
    Ping(String),
    /// No such command; the line, or its beginning.
    Unknown(String),
    /// Another error, by its code.
    Refused(&'static str),
}

/// All that a client asks for with these bytes and no more.
pub fn read_all(bytes: &[u8], limits: &Limits) -> Vec<Asked> {
    let mut lines: Vec<&[u8]> = bytes.split(|&byte| byte == b'\n').collect();
    if lines.last().is_some_and(|line| line.is_empty()) {
        lines.pop();
    }
    lines.into_iter().filter_map(|line| read(line.strip_suffix(b"\r").unwrap_or(line), limits)).collect()
}

fn read(line: &[u8], limits: &Limits) -> Option<Asked> {
    if line.len() > limits.line_bytes_max {
        return Some(Asked::Refused("line-too-long"));
    }
    let Ok(whole) = String::from_utf8(line.to_vec()) else { return Some(Asked::Refused("not-utf8")) };
    let line = whole.trim();
    if line.is_empty() {
        None
    } else if whole.chars().any(|c| c != '\t' && c.is_control()) {
        Some(Asked::Refused("bad-text"))
    } else if line.starts_with('/') {
        Some(command(line))
    } else if let Some((to, text)) = line.split_once(':') {
        Some(message(to, text.trim(), limits))
    } else {
        Some(Asked::Plain(line.to_owned()))
    }
}

fn message(to: &str, text: &str, limits: &Limits) -> Asked {
    let to: Vec<String> = to.split(',').map(|to| to.trim().to_owned()).filter(|to| !to.is_empty()).collect();
    if to.is_empty() {
        Asked::Refused("no-recipient")
    } else if to.len() > limits.recipients_max {
        Asked::Refused("too-many-recipients")
    } else if text.is_empty() {
        Asked::Refused("empty-message")
    } else {
        Asked::Message { to, text: text.to_owned() }
    }
}

fn command(line: &str) -> Asked {
    for command in ["/who", "/quit", "/help"] {
        if line == command {
            return Asked::Command(command);
        }
    }
    match line.strip_prefix("/ping") {
        Some("") => Asked::Ping(String::new()),
        Some(token) if token.starts_with(char::is_whitespace) => Asked::Ping(token.trim().to_owned()),
        // An answer does not repeat more of a line than a name could have.
        _ => {
            let mut beginning = String::new();
            for c in line.chars() {
                if beginning.len() + c.len_utf8() > 64 {
                    break;
                }
                beginning.push(c);
            }
            Asked::Unknown(beginning)
        }
    }
}

/// A request of the core, in the words of this parser.
pub fn asked(request: Request) -> Asked {
    match request {
        Request::Plain(text) => Asked::Plain(text.to_string()),
        Request::Message(message) => {
            let to = message.recipients().map(str::to_owned).collect();
            Asked::Message { to, text: message.into_text().to_string() }
        }
        Request::Who => Asked::Command("/who"),
        Request::Quit => Asked::Command("/quit"),
        Request::Help => Asked::Command("/help"),
        Request::Ping(token) => Asked::Ping(token.to_string()),
        Request::Malformed(LineError::UnknownCommand(line)) => Asked::Unknown(line.to_string()),
        Request::Malformed(error) => Asked::Refused(error.code()),
    }
}
