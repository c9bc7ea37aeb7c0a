//! [`Framer`]: bytes, split anywhere, → lines.
//!
//! A line ends at `\n`; one `\r` before it is dropped. Lines over the limit are thrown away up to their newline: the
//! framer never holds more than the limit and one byte, and holds nothing at all between whole lines.

use alloc::vec::Vec;
use bytes::Bytes;
use memchr::{memchr, memchr_iter};

/// One line without its ending, or the news that a line is longer than the limit (said once, as soon as it is known).
pub type Framed = Result<Bytes, TooLong>;

/// A line is longer than the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// Splits a stream of bytes into lines.
#[derive(Clone, Debug)]
pub struct Framer {
    line_bytes_max: usize,
    /// The beginning of a line whose end has not come yet.
    partial: Vec<u8>,
    /// Inside a line that is too long: everything up to its newline is dropped.
    discarding: bool,
}

impl Framer {
    /// A framer for lines of up to `line_bytes_max` bytes.
    pub fn new(line_bytes_max: usize) -> Framer {
        Framer { line_bytes_max, partial: Vec::new(), discarding: false }
    }

    /// How long a line may be, in bytes.
    pub fn line_bytes_max(&self) -> usize {
        self.line_bytes_max
    }

    /// Takes the next bytes and hands every line that ends in them to `on_line`, in order. Copies the bytes, all at once.
    pub fn feed(&mut self, chunk: &[u8], on_line: &mut impl FnMut(Framed)) {
        self.feed_bytes(&Bytes::copy_from_slice(chunk), on_line);
    }

    /// As [`feed`](Framer::feed), but copies nothing: the lines share the memory of the chunk.
    pub fn feed_bytes(&mut self, chunk: &Bytes, on_line: &mut impl FnMut(Framed)) {
        let mut start = 0;
        if self.discarding || !self.partial.is_empty() {
            let Some(newline) = memchr(b'\n', chunk) else { return self.hold(chunk, on_line) };
            self.hold(&chunk[..newline], on_line);
            self.end_line(on_line);
            start = newline + 1;
        }
        let first = start;
        for newline in memchr_iter(b'\n', &chunk[first..]) {
            on_line(self.bounded(chunk.slice(start..first + newline)));
            start = first + newline + 1;
        }
        self.hold(&chunk[start..], on_line);
    }

    /// The stream has ended: a last line without its newline counts as a line.
    pub fn finish(&mut self, on_line: &mut impl FnMut(Framed)) {
        if self.discarding || !self.partial.is_empty() {
            self.end_line(on_line);
        }
    }

    /// How much memory it takes for the beginning of a line: what it holds, and what growing has set aside. At most twice
    /// the limit.
    pub fn memory_bytes(&self) -> usize {
        self.partial.capacity()
    }

    /// Keeps the beginning of a line, or begins to discard it if it is too long already.
    fn hold(&mut self, bytes: &[u8], on_line: &mut impl FnMut(Framed)) {
        if self.discarding {
            return;
        }
        let length = self.partial.len() + bytes.len();
        let last = bytes.last().or(self.partial.last());
        // One byte more may be held if it is the `\r` of the ending.
        if length > self.line_bytes_max && !(length == self.line_bytes_max + 1 && last == Some(&b'\r')) {
            self.partial = Vec::new();
            self.discarding = true;
            on_line(Err(TooLong));
        } else {
            self.partial.extend_from_slice(bytes);
        }
    }

    /// The line held is complete.
    fn end_line(&mut self, on_line: &mut impl FnMut(Framed)) {
        if self.discarding {
            self.discarding = false;
        } else {
            let line = Bytes::from(core::mem::take(&mut self.partial));
            on_line(self.bounded(line));
        }
    }

    fn bounded(&self, mut line: Bytes) -> Framed {
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if line.len() > self.line_bytes_max { Err(TooLong) } else { Ok(line) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    const LINE_BYTES_MAX: usize = 4;

    /// What comes out, as text: one item a line, `!` for a line that is too long.
    fn lines(chunks: &[&[u8]]) -> Vec<String> {
        let mut framer = Framer::new(LINE_BYTES_MAX);
        let mut out = Vec::new();
        let mut on_line = |line: Framed| {
            out.push(line.map_or("!".into(), |line| String::from_utf8_lossy(&line).into_owned()));
        };
        for chunk in chunks {
            framer.feed(chunk, &mut on_line);
            assert!(framer.partial.len() <= LINE_BYTES_MAX + 1, "never past the limit");
        }
        framer.finish(&mut on_line);
        out
    }

    #[test]
    fn every_split_gives_the_same_lines() {
        for (input, expected) in [
            ("", &[][..]),
            ("a\nb\n", &["a", "b"]),
            ("a\r\nb", &["a", "b"]),
            ("\n\r\n", &["", ""]),
            ("a\rb\r\r\n", &["a\rb\r"]),
            ("abcd\nabcde\nx\n", &["abcd", "!", "x"]),
            ("abcd\r\nabcd\r", &["abcd", "abcd"]),
            ("abcd\rx\ny", &["!", "y"]),
            ("abcdefghijklmn", &["!"]),
            ("abcdefghijklmn\n\nz", &["!", "", "z"]),
        ] {
            let bytes = input.as_bytes();
            assert_eq!(lines(&[bytes]), expected, "{input:?} whole");
            let single: Vec<&[u8]> = bytes.chunks(1).collect();
            assert_eq!(lines(&single), expected, "{input:?} byte by byte");
            for i in 0..=bytes.len() {
                for j in i..=bytes.len() {
                    let chunks = [&bytes[..i], &bytes[i..j], &bytes[j..]];
                    assert_eq!(lines(&chunks), expected, "{input:?} split at {i} and {j}");
                }
            }
        }
    }

    #[test]
    fn g9_nothing_is_held_between_lines() {
        let mut framer = Framer::new(LINE_BYTES_MAX);
        framer.feed(b"ab", &mut |_| ());
        framer.feed(b"cd\n", &mut |_| ());
        assert_eq!(framer.memory_bytes(), 0);
    }
}
