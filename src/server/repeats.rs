//! [`Repeats`]: what the log says again and again is said so often, and then counted.

use std::mem;

use crate::Millis;
use crate::rate::{Rate, TokenBucket};

/// How often a line of one kind was logged.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    lines: TokenBucket,
    others: u64,
}

impl Repeats {
    /// Whether to log one more: with how many others there were since the last that was, or not.
    pub(super) fn take(&mut self, rate: Rate, now: Millis) -> Option<u64> {
        if self.lines.take(rate, now) {
            return Some(mem::take(&mut self.others));
        }
        self.others += 1;
        None
    }
}
