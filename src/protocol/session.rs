//! [`Session`]: one connection's bytes → requests.

use alloc::vec::Vec;

use bytes::Bytes;

use super::framing::{Framed, Framer, TooLong};
use super::request::{self, LineError, Request};
use crate::Limits;

/// How long a line is for which memory is set aside before it is read: most are shorter, and many are in a long chunk.
const LINE_BYTES: usize = 128;

/// Reads what one client sends. How the bytes are split makes no difference to what comes out.
///
/// ```
/// use seriatim::protocol::{Request, Session};
/// # use seriatim::Limits;
/// let mut session = Session::new(&Limits::default());
/// let mut requests = Vec::new();
/// session.feed(b"/wh", &mut requests);
/// session.feed(b"o\n\n/quit\n", &mut requests);
/// assert_eq!(requests, [Request::Who, Request::Quit]);
/// ```
#[derive(Clone, Debug)]
pub struct Session {
    framer: Framer,
    recipients_max: usize,
}

impl Session {
    /// A session at its first byte.
    pub fn new(limits: &Limits) -> Session {
        Session { framer: Framer::new(limits.line_bytes_max), recipients_max: limits.recipients_max }
    }

    /// Takes the next bytes and appends what they ask for. Copies the bytes, all at once.
    pub fn feed(&mut self, chunk: &[u8], requests: &mut Vec<Request>) {
        self.feed_bytes(&Bytes::copy_from_slice(chunk), requests);
    }

    /// As [`feed`](Session::feed), but copies nothing: the requests share the memory of the chunk. Returns how many lines ended in
    /// it, blank ones among them: that is how much work it was.
    pub fn feed_bytes(&mut self, chunk: &Bytes, requests: &mut Vec<Request>) -> usize {
        let (bytes_max, recipients_max) = (self.framer.line_bytes_max(), self.recipients_max);
        requests.reserve(chunk.len() / LINE_BYTES); // not to grow step by step
        let mut lines = 0;
        self.framer.feed_bytes(chunk, &mut |line| {
            lines += 1;
            requests.extend(read(line, bytes_max, recipients_max));
        });
        lines
    }

    /// The client will send no more: appends what its last line asks for, if that had no newline.
    pub fn finish(&mut self, requests: &mut Vec<Request>) {
        let (bytes_max, recipients_max) = (self.framer.line_bytes_max(), self.recipients_max);
        self.framer.finish(&mut |line| requests.extend(read(line, bytes_max, recipients_max)));
    }

    /// How much memory a line that is not complete takes.
    pub fn memory_bytes(&self) -> usize {
        self.framer.memory_bytes()
    }
}

fn read(line: Framed, bytes_max: usize, recipients_max: usize) -> Option<Request> {
    match line {
        Ok(line) => request::parse(line, recipients_max),
        Err(TooLong) => Some(Request::Malformed(LineError::TooLong { bytes_max })),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g9_it_says_how_much_it_holds() {
        let limits = Limits { line_bytes_max: 100, ..Limits::default() };
        let (mut session, mut requests) = (Session::new(&limits), Vec::new());
        assert_eq!(session.memory_bytes(), 0);
        session.feed(&[b'x'; 90], &mut requests);
        assert!((90..=200).contains(&session.memory_bytes()), "{} bytes", session.memory_bytes());
        session.feed(b"\n", &mut requests);
        assert_eq!(session.memory_bytes(), 0);
    }

    #[test]
    fn g9_it_reserves_for_lines_of_a_usual_length() {
        let (mut session, mut requests) = (Session::new(&Limits::default()), Vec::new());
        session.feed(&b"/ping\n".repeat(1_000), &mut requests);
        assert_eq!(requests.len(), 1_000);
        assert_eq!(session.feed_bytes(&Bytes::from_static(b"/who\n\n\r\nal"), &mut requests), 3);
        let mut session = Session::new(&Limits::default());
        let mut requests = Vec::new();
        session.feed(&[b'x'; 6_400], &mut requests);
        let places = requests.capacity();
        assert!((50..100).contains(&places), "{places} places");
    }
}
