//! [`Guesses`]: who has lately given wrong passwords, so that it takes them longer and longer to try more.

use alloc::collections::BTreeSet;

use hashbrown::HashMap;

use super::event::Millis;
use super::hash::SecretHash;
use super::origin::Origin;

/// How long the first wrong password delays the next, in milliseconds; each doubles it.
const DELAY_MS: u64 = 250;

/// The longest delay, in milliseconds: whoever shares an address with somebody who guesses can still log in within the time
/// that a login may take.
const DELAY_MS_MAX: u64 = 4_000;

/// How long a wrong password counts, in milliseconds.
const REMEMBERED_MS: u64 = 10 * 60 * 1_000;

/// How many origins are remembered at most; beyond that, those that have been quiet for longest are forgotten.
const ORIGINS_MAX: usize = 65_536;

/// Wrong passwords by origin. Those who are exempt from limits on addresses are not counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Guesses {
    /// How many there were, and when that is forgotten.
    wrong: HashMap<Origin, (u32, Millis), SecretHash>,
    forgets: BTreeSet<(Millis, Origin)>,
}

impl Guesses {
    pub(super) fn new(hash: SecretHash) -> Guesses {
        Guesses { wrong: HashMap::with_hasher(hash), forgets: BTreeSet::new() }
    }

    /// When a password from there may be looked at.
    pub(super) fn ready_at(&self, origin: Origin, now: Millis) -> Millis {
        match self.wrong.get(&origin) {
            Some(&(count, forget_at)) if forget_at > now => {
                let doublings = count.saturating_sub(1).min(16);
                now.plus((DELAY_MS << doublings).min(DELAY_MS_MAX))
            }
            _ => now,
        }
    }

    /// A password from there was wrong.
    pub(super) fn count(&mut self, origin: Origin, now: Millis) {
        if origin == Origin::Exempt {
            return;
        }
        self.forget(now);
        let forget_at = now.plus(REMEMBERED_MS);
        let (count, before) = self.wrong.get(&origin).copied().unwrap_or((0, forget_at));
        self.forgets.remove(&(before, origin));
        self.forgets.insert((forget_at, origin));
        self.wrong.insert(origin, (count.saturating_add(1), forget_at));
        if self.wrong.len() > ORIGINS_MAX {
            self.forget_first();
        }
    }

    fn forget(&mut self, now: Millis) {
        while self.forgets.first().is_some_and(|&(at, _)| at <= now) {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        if let Some((_, origin)) = self.forgets.pop_first() {
            self.wrong.remove(&origin);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn each_wrong_password_delays_the_next_for_longer() {
        let mut guesses = Guesses::new(SecretHash([0, 0]));
        let (here, there, now) = (Origin::V4(1), Origin::V4(2), Millis(1000));
        let mut delays = Vec::new();
        for _ in 0..7 {
            delays.push(guesses.ready_at(here, now).0 - now.0);
            guesses.count(here, now);
        }
        assert_eq!(delays, [0, 250, 500, 1000, 2000, 4000, 4000]);
        assert_eq!(guesses.ready_at(there, now), now, "others are not delayed");
        let later = now.plus(REMEMBERED_MS);
        assert_eq!(guesses.ready_at(here, later), later, "it is forgotten");
        guesses.count(Origin::Exempt, now);
        assert_eq!(guesses.ready_at(Origin::Exempt, now), now);
    }

    #[test]
    fn g9_no_more_is_remembered_than_is_said() {
        let mut guesses = Guesses::new(SecretHash([0, 0]));
        for number in 0..ORIGINS_MAX as u64 + 10 {
            guesses.count(Origin::V6(number.to_be_bytes()), Millis(number));
        }
        assert_eq!((guesses.wrong.len(), guesses.forgets.len()), (ORIGINS_MAX, ORIGINS_MAX));
        let now = Millis(ORIGINS_MAX as u64 + 10);
        assert_eq!(guesses.ready_at(Origin::V6(0_u64.to_be_bytes()), now), now, "the first are forgotten");
        assert!(guesses.ready_at(Origin::V6(10_u64.to_be_bytes()), now) > now);
        guesses.count(Origin::V4(0), now.plus(2 * REMEMBERED_MS));
        assert_eq!((guesses.wrong.len(), guesses.forgets.len()), (1, 1), "time makes room");
    }
}
