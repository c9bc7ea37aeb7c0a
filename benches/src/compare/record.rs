//! [`Record`]: a message as it stands on the wire, one of a numbered row.

/// How many digits a number has.
const DIGITS: usize = 8;

/// The most bytes in front of a text's number.
const SENDER_DIGITS: usize = 4;

/// The shortest text: who says it, and its number.
pub(crate) const TEXT_BYTES_MIN: usize = SENDER_DIGITS + 1 + DIGITS;

/// The text of a sender's message number 0, so many bytes long.
pub(crate) fn text(sender: usize, bytes: usize) -> Vec<u8> {
    let mut text = format!("{sender:04} {:08}", 0).into_bytes();
    text.resize(bytes.max(TEXT_BYTES_MIN), b'x');
    text
}

/// Which sender a text names.
pub(crate) fn sender_of(text: &[u8]) -> Option<usize> {
    let digits = text.get(..SENDER_DIGITS)?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// A message as it stands on the wire: the same for every message of a row but for its number. To go on to the next is to
/// count up in place, so that neither writing nor checking costs more than a look at each byte.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    bytes: Vec<u8>,
    /// Where the text begins.
    text_at: usize,
}

impl Record {
    /// The first of the row; `text` is the part of it that [`text`] made.
    pub(crate) fn new(bytes: Vec<u8>, text: &[u8]) -> Option<Record> {
        let text_at = bytes.windows(text.len()).position(|part| part == text)?;
        Some(Record { bytes, text_at })
    }

    /// The message as it is written.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where in it the text begins.
    pub(crate) fn text_at(&self) -> usize {
        self.text_at
    }

    /// Goes on to the next number.
    pub(crate) fn advance(&mut self) {
        let end = self.text_at + TEXT_BYTES_MIN;
        for digit in self.bytes[end - DIGITS..end].iter_mut().rev() {
            if *digit < b'9' {
                *digit += 1;
                return;
            }
            *digit = b'0';
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_counts_up() {
        let text = text(7, 20);
        assert_eq!(sender_of(&text), Some(7));
        let mut record = Record::new([b"from a: ", &text[..], b"\n"].concat(), &text).unwrap();
        assert_eq!(record.bytes(), b"from a: 0007 00000000xxxxxxx\n");
        for _ in 0..1234 {
            record.advance();
        }
        assert_eq!(record.bytes(), b"from a: 0007 00001234xxxxxxx\n");
    }
}
