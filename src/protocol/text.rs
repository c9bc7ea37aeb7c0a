//! [`Text`]: a piece of a line that is safe to pass on.

use alloc::string::String;
use bytes::Bytes;
use core::fmt;
use core::str;

/// UTF-8 without control characters other than tab, so that no line feed can forge a line and no escape sequence can
/// reach a terminal (guarantee G8). Only [`Text::parse`] makes one.
///
/// It shares the bytes it was read from: a clone or a slice counts a reference and copies nothing.
#[derive(Clone, Default, PartialEq, Eq, Hash)]
pub struct Text(Bytes);

/// Why bytes are not a [`Text`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TextError {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    NotUtf8,
    /// They hold a control character (Unicode category Cc) other than tab.
    #[error("a control character other than tab")]
    Control,
}

impl Text {
    /// Checks `bytes`.
    ///
    /// # Errors
    /// [`TextError`] names the first rule that the bytes break; that they are UTF-8 is looked at first.
    pub fn parse(bytes: Bytes) -> Result<Text, TextError> {
        Text::parse_or(bytes).map_err(|(error, _)| error)
    }

    /// As [`parse`](Text::parse), and hands back what is none.
    pub(crate) fn parse_or(bytes: Bytes) -> Result<Text, (TextError, Bytes)> {
        match check(&bytes) {
            Ok(()) => Ok(Text(bytes)),
            Err(error) => Err((error, bytes)),
        }
    }

    /// The text as a string. Costs a pass over the bytes; use [`as_bytes`](Text::as_bytes) where bytes will do.
    pub fn as_str(&self) -> &str {
        str::from_utf8(&self.0).unwrap_or_default() // checked when it was made
    }

    /// The text as UTF-8 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The part of this text that `part`, borrowed from [`as_str`](Text::as_str), stands for.
    pub(crate) fn share(&self, part: &str) -> Text {
        Text(self.0.slice_ref(part.as_bytes()))
    }

    /// The text from byte `start` on, which must be a character boundary inside it.
    pub(crate) fn into_tail(mut self, start: usize) -> Text {
        bytes::Buf::advance(&mut self.0, start);
        self
    }

    /// The text up to byte `end`, which must be a character boundary inside it.
    pub(crate) fn truncated(mut self, end: usize) -> Text {
        self.0.truncate(end);
        self
    }
}

fn check(bytes: &[u8]) -> Result<(), TextError> {
    if is_plain(bytes) {
        return Ok(()); // almost every line
    }
    let text = str::from_utf8(bytes).map_err(|_| TextError::NotUtf8)?;
    if text.chars().any(|c| c.is_control() && c != '\t') {
        return Err(TextError::Control);
    }
    Ok(())
}

/// Whether all of it is ASCII that shows, or spaces.
fn is_plain(bytes: &[u8]) -> bool {
    /// A look at so many bytes at once is one that the compiler makes a few vector instructions of.
    const AT_ONCE: usize = 32;
    let all = |bytes: &[u8]| bytes.iter().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~'));
    let (whole, rest) = bytes.as_chunks::<AT_ONCE>();
    whole.iter().all(|bytes| all(bytes))
        // Some of the last bytes are looked at twice, which costs less than to look at the others one by one.
        && bytes.last_chunk::<AT_ONCE>().map_or_else(|| all(rest), |bytes| all(bytes))
}

impl TryFrom<&str> for Text {
    type Error = TextError;

    fn try_from(text: &str) -> Result<Text, TextError> {
        Text::parse(Bytes::copy_from_slice(text.as_bytes()))
    }
}

impl TryFrom<String> for Text {
    type Error = TextError;

    fn try_from(text: String) -> Result<Text, TextError> {
        Text::parse(Bytes::from(text))
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for Text {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

#[cfg(feature = "serde")]
impl<'de> serde::Deserialize<'de> for Text {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Text, D::Error> {
        Text::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(bytes: &'static [u8]) -> Result<Text, TextError> {
        Text::parse(Bytes::from_static(bytes))
    }

    #[test]
    fn g8_control_characters_never_pass() {
        for code in (0..0x20).chain(0x7f..0xa0) {
            let c = char::from_u32(code).unwrap();
            let verdict = Text::try_from(alloc::format!("a{c}b"));
            assert_eq!(verdict.is_ok(), c == '\t', "U+{code:04X}");
        }
    }

    #[test]
    fn g8_a_control_character_is_seen_wherever_it_is() {
        for length in 0..70 {
            let text = alloc::vec![b'a'; length];
            assert!(Text::parse(Bytes::from(text.clone())).is_ok());
            for at in 0..length {
                for (byte, error) in [(b'\x1b', TextError::Control), (b'\xff', TextError::NotUtf8)] {
                    let mut text = text.clone();
                    text[at] = byte;
                    assert_eq!(Text::parse(Bytes::from(text)), Err(error), "{at} of {length}");
                }
            }
        }
    }

    #[test]
    fn utf8_is_looked_at_before_control_characters() {
        assert_eq!(parse(b"\x1b[31m\xff"), Err(TextError::NotUtf8));
        assert_eq!(parse(b"\x1b[31m"), Err(TextError::Control));
        assert_eq!(parse("grüß dich, 世界".as_bytes()).unwrap().as_str(), "grüß dich, 世界");
    }

    #[test]
    fn it_is_quoted_for_the_log() {
        let text = Text::try_from("a\tb \"ü\"").unwrap();
        assert_eq!(alloc::format!("{text:?}"), r#""a\tb \"ü\"""#);
    }
}
