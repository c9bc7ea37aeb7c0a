//! [`Pace`]: how fast one client's lines are taken. Whoever sends faster is read more slowly, and nothing is lost.

use memchr::memchr_iter;

use crate::Millis;
use crate::rate::{Rate, TokenBucket};

/// The most bytes that one read brings if there is a limit: what of it may not pass yet has to be kept.
const READ_BYTES_MAX: usize = 1024;

/// Holds back the lines that one client sends too fast. Without a limit it costs nothing.
#[derive(Debug)]
pub(super) struct Pace(Option<Box<Limited>>);

#[derive(Debug)]
struct Limited {
    rate: Rate,
    lines: TokenBucket,
    /// Read, and not passed on yet.
    held: Vec<u8>,
}

impl Pace {
    pub(super) fn new(lines_per_second_max: Option<u32>) -> Pace {
        Pace(lines_per_second_max.map(|count| {
            let rate = Rate { count, per_ms: 1000 };
            Box::new(Limited { rate, lines: TokenBucket::default(), held: Vec::new() })
        }))
    }

    /// When the next line may pass; `None`: at any time.
    pub(super) fn ready_at(&self) -> Option<Millis> {
        self.0.as_ref().map(|limited| limited.lines.ready_at(limited.rate))
    }

    /// Whether something is held that is to pass before more is read.
    pub(super) fn holds(&self) -> bool {
        self.0.as_ref().is_some_and(|limited| !limited.held.is_empty())
    }

    /// The most bytes that one read is to bring, of so many.
    pub(super) fn read_bytes_max(&self, most: usize) -> usize {
        if self.0.is_some() { most.min(READ_BYTES_MAX) } else { most }
    }

    /// Takes what has been read, and returns as much of it as may pass; the rest is held. Nothing is held before.
    pub(super) fn pass<'a>(&mut self, bytes: &'a [u8], now: Millis) -> &'a [u8] {
        match &mut self.0 {
            Some(limited) => limited.pass(bytes, now),
            None => bytes,
        }
    }

    /// Hands out as much of what is held as may pass.
    pub(super) fn release(&mut self, now: Millis, hear: impl FnOnce(&[u8])) {
        let Some(limited) = &mut self.0 else { return };
        let held = std::mem::take(&mut limited.held);
        hear(limited.pass(&held, now));
    }
}

impl Limited {
    fn pass<'a>(&mut self, bytes: &'a [u8], now: Millis) -> &'a [u8] {
        let (passing, rest) = bytes.split_at(self.length(bytes, now));
        self.held.extend_from_slice(rest);
        passing
    }

    /// How many bytes may pass: up to the end of the last line that may. The beginning of a line is none.
    fn length(&mut self, bytes: &[u8], now: Millis) -> usize {
        let mut start = 0;
        for newline in memchr_iter(b'\n', bytes) {
            if !self.lines.take(self.rate, now) {
                return start;
            }
            start = newline + 1;
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_everything_passes() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.pass(b"a\nb\nc", Millis(0)), b"a\nb\nc");
        assert!(!pace.holds() && pace.ready_at().is_none() && pace.read_bytes_max(9999) == 9999);
    }

    #[test]
    fn lines_pass_at_their_pace_and_none_is_lost() {
        let mut pace = Pace::new(Some(2));
        assert_eq!(pace.pass(b"a\nb", Millis(0)), b"a\nb");
        assert_eq!(pace.pass(b"\nc\nd\ne", Millis(0)), b"\n", "one second's worth at once");
        let mut passed = Vec::new();
        while pace.holds() {
            let now = pace.ready_at().unwrap();
            pace.release(now, |bytes| passed.push((now.0, String::from_utf8(bytes.to_vec()).unwrap())));
        }
        // The beginning of a line goes with the line before it.
        assert_eq!(passed, [(500, "c\n".to_owned()), (1000, "d\ne".to_owned())]);
        assert_eq!(pace.0.unwrap().held.capacity(), 0, "whoever is not held back costs no buffer");
    }
}
