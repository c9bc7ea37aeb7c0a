//! [`Request`]: what one line asks for. Reading it needs no knowledge of who sent it: whether a line without a colon is
//! a login or a mistake is for the broker to say.

use bytes::Bytes;

use super::name::NAME_BYTES_MAX;
use super::text::{Text, TextError};

/// What one line from a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum Request {
    /// A line that is neither message nor command, trimmed: a name to log in with, or a message whose colon is missing.
    Plain(Text),
    /// `a, b: text`.
    Message(Message),
    /// `/who`: who is here?
    Who,
    /// `/ping TOKEN`: answer when everything before this has been processed.
    Ping(Text),
    /// `/quit`: say bye and close.
    Quit,
    /// `/help`: how does one talk to you?
    Help,
    /// The line breaks a rule.
    Malformed(LineError),
}

/// Why a line is not a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub enum LineError {
    /// It is longer than the limit.
    #[error("a line has at most {bytes_max} bytes")]
    TooLong {
        /// The limit, in bytes.
        bytes_max: usize,
    },
    /// It is not UTF-8.
    #[error("a line is UTF-8")]
    NotUtf8,
    /// It holds a control character other than tab.
    #[error("a line has no control characters but tabs")]
    BadText,
    /// Nobody stands before the colon.
    #[error("nobody stands before the colon, write NAME: TEXT")]
    NoRecipient,
    /// More recipients than one line may list.
    #[error("a line lists at most {max} recipients")]
    TooManyRecipients {
        /// The limit.
        max: usize,
    },
    /// Nothing stands behind the colon.
    #[error("nothing stands behind the colon, write NAME: TEXT")]
    EmptyMessage,
    /// There is no such command, or it is not used like that. Holds the line.
    #[error("{0}, /help lists the commands")]
    UnknownCommand(Text),
}

impl LineError {
    /// The word that a program goes by; the sentence is for people.
    pub fn code(&self) -> &'static str {
        match self {
            LineError::TooLong { .. } => "line-too-long",
            LineError::NotUtf8 => "not-utf8",
            LineError::BadText => "bad-text",
            LineError::NoRecipient => "no-recipient",
            LineError::TooManyRecipients { .. } => "too-many-recipients",
            LineError::EmptyMessage => "empty-message",
            LineError::UnknownCommand(_) => "unknown-command",
        }
    }
}

/// A message: whom it is for, as written, and what it says.
#[derive(Clone, PartialEq, Eq)]
pub struct Message {
    /// `a, b: text`, trimmed, with its one or more recipients and its text, neither of them empty.
    line: Text,
    /// Where the first colon is, in bytes.
    colon: usize,
}

impl Message {
    fn parse(line: Text, colon: usize, recipients_max: usize) -> Result<Message, LineError> {
        let message = Message { line, colon };
        if !message.surely_has_recipients(recipients_max) {
            match message.recipients().take(recipients_max.saturating_add(1)).count() {
                0 => return Err(LineError::NoRecipient),
                n if n > recipients_max => {
                    return Err(LineError::TooManyRecipients { max: recipients_max });
                }
                _ => {}
            }
        }
        // The line is trimmed, so a text that is all white space is no longer there.
        if message.line.as_bytes().len() == colon + 1 {
            return Err(LineError::EmptyMessage);
        }
        Ok(message)
    }

    /// Whether there is at least one recipient and at most `recipients_max`, as a quick look can tell: no is no answer.
    fn surely_has_recipients(&self, recipients_max: usize) -> bool {
        let list = self.list();
        list.first().is_some_and(|&byte| byte.is_ascii_graphic() && byte != b',')
            && (list.len() < recipients_max || commas(list) < recipients_max)
    }

    /// The recipients as written, all of them in one piece. Messages with equal lists have the same recipients.
    pub(crate) fn list(&self) -> &[u8] {
        self.line.as_bytes().get(..self.colon).unwrap_or_default()
    }

    /// The recipients as written: trimmed, at least one, none empty, repeats still there.
    pub fn recipients(&self) -> impl Iterator<Item = &str> {
        let mut rest = core::str::from_utf8(self.list()).ok();
        // As `split(',')`, in half the time: names are short.
        let names = core::iter::from_fn(move || {
            let list = rest?;
            let comma = list.bytes().position(|byte| byte == b',');
            rest = comma.map(|comma| &list[comma + 1..]);
            Some(trim(&list[..comma.unwrap_or(list.len())]))
        });
        names.filter(|name| !name.is_empty())
    }

    /// The recipient `written`, which [`recipients`](Message::recipients) gave, as a text of its own.
    pub(crate) fn share(&self, written: &str) -> Text {
        self.line.share(written)
    }

    /// What it says: trimmed, not empty.
    pub fn into_text(self) -> Text {
        let tail = self.line.into_tail(self.colon + 1);
        let blanks = tail.as_bytes().iter().take_while(|byte| byte.is_ascii_whitespace()).count();
        let text = tail.into_tail(blanks);
        if text.as_bytes().first().is_some_and(u8::is_ascii) {
            return text; // without looking at every byte
        }
        let start = text.as_str().len() - text.as_str().trim_start().len();
        text.into_tail(start)
    }
}

impl Message {
    /// The whole line, trimmed.
    pub(crate) fn line(&self) -> &str {
        self.line.as_str()
    }
}

impl core::fmt::Debug for Message {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        core::fmt::Debug::fmt(&self.line, f)
    }
}

/// Written as the line it is.
#[cfg(feature = "serde")]
impl serde::Serialize for Message {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.line.serialize(serializer)
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Message {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Message, D::Error> {
        use serde::de::Error;
        match parse_text(Text::deserialize(deserializer)?, usize::MAX) {
            Some(Request::Message(message)) => Ok(message),
            _ => Err(D::Error::custom("not a message: write NAME: TEXT")),
        }
    }
}

/// Reads one line, without its ending. A blank line asks for nothing.
pub fn parse(line: Bytes, recipients_max: usize) -> Option<Request> {
    match Text::parse_or(line) {
        Ok(text) => parse_text(text, recipients_max),
        Err((TextError::NotUtf8, _)) => Some(Request::Malformed(LineError::NotUtf8)),
        Err((TextError::Control, line)) => {
            let blank = core::str::from_utf8(&line).is_ok_and(|line| line.trim().is_empty());
            (!blank).then_some(Request::Malformed(LineError::BadText))
        }
    }
}

fn parse_text(text: Text, recipients_max: usize) -> Option<Request> {
    let text = trimmed(text);
    match text.as_bytes().first() {
        None => return None,
        Some(b'/') => return Some(parse_command(text)),
        Some(_) => {}
    }
    Some(match memchr::memchr(b':', text.as_bytes()) {
        None => Request::Plain(text),
        Some(colon) => match Message::parse(text, colon, recipients_max) {
            Ok(message) => Request::Message(message),
            Err(error) => Request::Malformed(error),
        },
    })
}

fn parse_command(line: Text) -> Request {
    let (word, argument) = match line.as_str().split_once(char::is_whitespace) {
        None => (line.as_str(), ""),
        Some((word, argument)) => (word, argument.trim_start()),
    };
    match (word, argument) {
        ("/who", "") => Request::Who,
        ("/quit", "") => Request::Quit,
        ("/help", "") => Request::Help,
        ("/ping", token) => Request::Ping(line.share(token)),
        _ => {
            // Name the culprit, but do not send a line of 8 KiB back for it.
            let end = line.as_str().floor_char_boundary(NAME_BYTES_MAX);
            Request::Malformed(LineError::UnknownCommand(line.truncated(end)))
        }
    }
}

/// Drops white space (Unicode's `White_Space`) at both ends.
fn trimmed(text: Text) -> Text {
    if has_plain_ends(text.as_bytes()) {
        return text; // without looking at every byte
    }
    let trimmed = text.as_str().trim();
    text.share(trimmed)
}

/// How many commas there are.
fn commas(list: &[u8]) -> usize {
    // So few bytes at once that the count fits into a byte: that is what the compiler makes good vector instructions of.
    let in_chunk = |chunk: &[u8]| chunk.iter().fold(0u8, |count, &byte| count + u8::from(byte == b','));
    list.chunks(128).map(|chunk| usize::from(in_chunk(chunk))).sum()
}

/// As [`str::trim`], but quick where nothing but ASCII is to be dropped.
fn trim(text: &str) -> &str {
    if has_plain_ends(text.as_bytes()) {
        return text;
    }
    let text = text.trim_ascii();
    if has_plain_ends(text.as_bytes()) { text } else { text.trim() }
}

/// What it begins and ends with shows, and is ASCII.
fn has_plain_ends(text: &[u8]) -> bool {
    let plain = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_graphic);
    plain(text.first()) && plain(text.last())
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
    use alloc::string::String;
    use alloc::vec::Vec;

    fn parsed(line: &str) -> Option<Request> {
        parse(Bytes::copy_from_slice(line.as_bytes()), 3)
    }

    fn text(text: &str) -> Text {
        Text::try_from(text).unwrap()
    }

    #[test]
    fn messages() {
        for (line, recipients, said) in [
            ("al: hi", &["al"][..], "hi"),
            ("al:hi", &["al"], "hi"),
            (" al , bob,, carol :  a: b:c \t", &["al", "bob", "carol"], "a: b:c"),
            ("al,al,AL: x", &["al", "al", "AL"], "x"),
            ("李雷: \u{3000}你好\u{3000}", &["李雷"], "你好"),
            (",al: ,:", &["al"], ",:"),
            ("al,,,,,: x", &["al"], "x"),
        ] {
            let Some(Request::Message(message)) = parsed(line) else { panic!("{line}") };
            assert_eq!(message.recipients().collect::<Vec<_>>(), recipients, "{line}");
            assert_eq!(message.into_text(), text(said), "{line}");
        }
    }

    #[test]
    fn everything_else() {
        let long = format!("/{}", "é".repeat(100));
        let clipped = format!("/{}", "é".repeat(31));
        let unknown = |line: &str| Request::Malformed(LineError::UnknownCommand(text(line)));
        for (line, request) in [
            ("", None),
            (" \t ", None),
            ("\u{b}\u{85}", None),
            (" al ", Some(Request::Plain(text("al")))),
            ("/who", Some(Request::Who)),
            ("  /quit ", Some(Request::Quit)),
            ("/help", Some(Request::Help)),
            ("/ping", Some(Request::Ping(text("")))),
            ("/ping  a b: c ", Some(Request::Ping(text("a b: c")))),
            ("/pingx", Some(unknown("/pingx"))),
            ("/WHO", Some(unknown("/WHO"))),
            ("/who al", Some(unknown("/who al"))),
            (&long, Some(unknown(&clipped))),
            (":hi", Some(Request::Malformed(LineError::NoRecipient))),
            (" , ,:", Some(Request::Malformed(LineError::NoRecipient))),
            ("al:  ", Some(Request::Malformed(LineError::EmptyMessage))),
            ("a,b,c,d: x", Some(Request::Malformed(LineError::TooManyRecipients { max: 3 }))),
            ("a,b,c,d,e,f,g: x", Some(Request::Malformed(LineError::TooManyRecipients { max: 3 }))),
            ("al: \x1b[31m", Some(Request::Malformed(LineError::BadText))),
        ] {
            assert_eq!(parsed(line), request, "{line:?}");
        }
        let not_utf8 = parse(Bytes::from_static(b"al: \xff"), 3);
        assert_eq!(not_utf8, Some(Request::Malformed(LineError::NotUtf8)));
    }

    #[test]
    fn a_message_is_logged_as_the_line_it_is() {
        let Some(Request::Message(message)) = parsed(" al, bob:hi ") else { panic!("a message") };
        assert_eq!(format!("{message:?}"), "\"al, bob:hi\"");
    }

    #[test]
    fn the_widest_line_is_read() {
        let line = format!("{}: {}", ["al"; 3].join(","), String::from("x").repeat(8000));
        assert!(matches!(parsed(&line), Some(Request::Message(_))));
    }
}
