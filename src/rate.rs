//! [`TokenBucket`]: so many at once, and then so many in a span of time.

use crate::Millis;

/// So many in so many milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many tokens a full bucket holds, and how many come in the time.
    pub count: u32,
    /// The time, in milliseconds.
    pub per_ms: u64,
}

/// A token bucket, full at first. It counts in whole numbers and forgets no fraction of a token; and two buckets that will
/// give out the same tokens are equal.
///
/// A bucket is to be asked with one and the same [`Rate`], which it does not keep: one number is all that it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TokenBucket {
    /// When it will be full again, in units of a millisecond divided by the rate's count: one token takes `per_ms` units.
    full_at: u128,
}

impl TokenBucket {
    /// Takes a token, if there is one.
    #[must_use]
    pub fn take(&mut self, rate: Rate, now: Millis) -> bool {
        let (now, count, cost) = (units(rate, now), u128::from(rate.count), u128::from(rate.per_ms));
        let full_at = self.full_at.max(now) + cost;
        if full_at > now + count * cost {
            return false;
        }
        self.full_at = full_at;
        true
    }

    /// The moment from which on there is a token (never, if the rate is none at all).
    pub fn ready_at(&self, rate: Rate) -> Millis {
        let Some(spare) = rate.count.checked_sub(1) else { return Millis(u64::MAX) };
        moment(rate, self.full_at.saturating_sub(u128::from(spare) * u128::from(rate.per_ms)))
    }

    /// The moment from which on it is full, and need not be remembered.
    pub fn full_at(&self, rate: Rate) -> Millis {
        moment(rate, self.full_at)
    }
}

fn units(rate: Rate, at: Millis) -> u128 {
    u128::from(at.0) * u128::from(rate.count)
}

fn moment(rate: Rate, units: u128) -> Millis {
    Millis(u64::try_from(units.div_ceil(u128::from(rate.count.max(1)))).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many tokens there are to take at this moment.
    fn drain(bucket: &mut TokenBucket, rate: Rate, at: u64) -> usize {
        core::iter::from_fn(|| bucket.take(rate, Millis(at)).then_some(())).count()
    }

    #[test]
    fn it_is_full_at_first_and_fills_again() {
        let rate = Rate { count: 3, per_ms: 1000 };
        let mut bucket = TokenBucket::default();
        assert_eq!((bucket.ready_at(rate), bucket.full_at(rate)), (Millis(0), Millis(0)));
        // A third of a second a token, and no fraction is lost.
        for (at, tokens) in [(0, 3), (333, 0), (334, 1), (666, 0), (667, 1), (1000, 1), (2000, 3), (9000, 3)]
        {
            assert_eq!(drain(&mut bucket, rate, at), tokens, "at {at}");
        }
        assert_eq!((bucket.ready_at(rate), bucket.full_at(rate)), (Millis(9334), Millis(10_000)));
    }

    #[test]
    fn it_says_when_the_next_token_is_there() {
        let rate = Rate { count: 7, per_ms: 1000 };
        let mut bucket = TokenBucket::default();
        let mut now = 0;
        for taken in 0..1000 {
            let ready = bucket.ready_at(rate).0;
            if ready > now {
                assert!(!bucket.take(rate, Millis(ready - 1)), "too early at {}", ready - 1);
                now = ready;
            }
            assert!(bucket.take(rate, Millis(now)), "token {taken} at {now}");
        }
        // All but the first seven took their time.
        assert_eq!(now, (993 * 1000_u64).div_ceil(7));
    }

    #[test]
    fn extreme_rates_and_moments_do_not_overflow() {
        for rate in [Rate { count: 0, per_ms: 1000 }, Rate { count: u32::MAX, per_ms: u64::MAX }] {
            let mut bucket = TokenBucket::default();
            for now in [0, u64::MAX] {
                assert_eq!(bucket.take(rate, Millis(now)), rate.count > 0, "{rate:?} at {now}");
                assert!(
                    bucket.ready_at(rate) <= Millis(u64::MAX) && bucket.full_at(rate) <= Millis(u64::MAX)
                );
            }
        }
        assert_eq!(TokenBucket::default().ready_at(Rate { count: 0, per_ms: 1 }), Millis(u64::MAX));
    }
}
