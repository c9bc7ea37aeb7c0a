//! [`Pace`]: how many lines of one client are taken at a time, and how fast. What may not pass yet is held, and nothing is lost.

use memchr::memchr_iter;
use zeroize::Zeroizing;

use crate::Millis;
use crate::rate::{Rate, TokenBucket};

/// Holds back what one client sends too fast, or too much at a time. A client that does neither costs next to nothing.
#[derive(Debug)]
pub(super) struct Pace {
    /// The rate that lines are limited to, if they are.
    limited: Option<Box<Limited>>,
    /// Bytes that were read and may not pass yet, from the start of a line on. They may include a password.
    held: Option<Box<Zeroizing<Vec<u8>>>>,
}

#[derive(Debug)]
struct Limited {
    rate: Rate,
    lines: TokenBucket,
}

impl Pace {
    pub(super) fn new(lines_per_second_max: Option<u32>) -> Pace {
        let limited = lines_per_second_max.map(|count| {
            Box::new(Limited { rate: Rate { count, per_ms: 1000 }, lines: TokenBucket::default() })
        });
        Pace { limited, held: None }
    }

    /// Whether the rate of lines is limited.
    pub(super) fn is_limited(&self) -> bool {
        self.limited.is_some()
    }

    /// When the next line may pass; `None`: at any time.
    pub(super) fn ready_at(&self) -> Option<Millis> {
        self.limited.as_ref().map(|limited| limited.lines.ready_at(limited.rate))
    }

    /// Whether something is held that is to pass before more is read.
    pub(super) fn holds(&self) -> bool {
        self.held.is_some()
    }

    /// Takes what has been read, and returns as much of it as may pass, `lines_max` lines at most; the rest is held. Nothing is held
    /// before.
    pub(super) fn pass<'a>(&mut self, bytes: &'a [u8], lines_max: usize, now: Millis) -> &'a [u8] {
        let (passing, rest) = bytes.split_at(self.length(bytes, lines_max, now));
        if !rest.is_empty() {
            self.held = Some(Box::new(rest.to_vec().into()));
        }
        passing
    }

    /// Hands out as much of what is held as may pass, `lines_max` lines at most.
    pub(super) fn release(&mut self, lines_max: usize, now: Millis, hear: impl FnOnce(&[u8])) {
        if let Some(held) = self.held.take() {
            hear(self.pass(&held, lines_max, now));
        }
    }

    /// Hands out all that is held: no more will be read.
    pub(super) fn release_all(&mut self, hear: impl FnOnce(&[u8])) {
        if let Some(held) = self.held.take() {
            hear(&held);
        }
    }

    /// How many bytes may pass: up to the end of the last line that may. The beginning of a line is none.
    fn length(&mut self, bytes: &[u8], mut lines_max: usize, now: Millis) -> usize {
        if lines_max == usize::MAX && self.limited.is_none() {
            return bytes.len();
        }
        let mut start = 0;
        for newline in memchr_iter(b'\n', bytes) {
            let in_time = |limited: &mut Box<Limited>| limited.lines.take(limited.rate, now);
            if lines_max == 0 || !self.limited.as_mut().is_none_or(in_time) {
                return start;
            }
            lines_max -= 1;
            start = newline + 1;
        }
        bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: usize = usize::MAX;

    #[test]
    fn without_a_limit_everything_passes() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.pass(b"a\nb\nc", ALL, Millis(0)), b"a\nb\nc");
        assert!(!pace.holds() && pace.ready_at().is_none() && !pace.is_limited());
    }

    #[test]
    fn lines_pass_at_their_pace_and_none_is_lost() {
        let mut pace = Pace::new(Some(2));
        assert_eq!(pace.pass(b"a\nb", ALL, Millis(0)), b"a\nb");
        assert_eq!(pace.pass(b"\nc\nd\ne", ALL, Millis(0)), b"\n", "one second's worth at once");
        let mut passed = Vec::new();
        while pace.holds() {
            let now = pace.ready_at().unwrap();
            pace.release(ALL, now, |bytes| passed.push((now.0, String::from_utf8(bytes.to_vec()).unwrap())));
        }
        // The beginning of a line goes with the line before it.
        assert_eq!(passed, [(500, "c\n".to_owned()), (1000, "d\ne".to_owned())]);
    }

    #[test]
    fn only_so_many_lines_pass_at_a_time_and_at_the_end_all() {
        let mut pace = Pace::new(None);
        assert_eq!(pace.pass(b"a\nb\nc\nd\ne", 2, Millis(0)), b"a\nb\n");
        pace.release(1, Millis(0), |bytes| assert_eq!(bytes, b"c\n"));
        assert!(pace.holds());
        pace.release(1, Millis(0), |bytes| assert_eq!(bytes, b"d\ne", "no line is held"));
        assert!(!pace.holds());
        // Lines beyond that many use up no rate.
        let mut pace = Pace::new(Some(2));
        assert_eq!(pace.pass(b"a\nb\nc\nd", 1, Millis(0)), b"a\n");
        pace.release(1, Millis(0), |bytes| assert_eq!(bytes, b"b\n"));
        pace.release(1, Millis(0), |bytes| assert_eq!(bytes, b"", "it is too early"));
        pace.release_all(|bytes| assert_eq!(bytes, b"c\nd"));
        assert!(!pace.holds());
    }
}
