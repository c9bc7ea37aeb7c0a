//! [`Admission`]: who may come in. It counts the connections, in all and by origin, and remembers no origin for longer than
//! that can matter.

use alloc::collections::BTreeSet;

use hashbrown::hash_map::Entry;
use hashbrown::{HashMap, HashSet};

use super::effect::CloseReason;
use super::event::Millis;
use super::hash::SecretHash;
use super::origin::Origin;
use crate::Limits;
use crate::rate::TokenBucket;

/// Counts the connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Admission {
    /// Connections that were let in and are still there.
    admitted: usize,
    /// Those among them that have not logged in and may still do so.
    greeting: usize,
    /// Connections that were refused and are still being told why.
    refused: usize,
    /// What is known of each origin that has connections, or had some a short while ago.
    origins: HashMap<Origin, Tally, SecretHash>,
    /// Where nobody is welcome from.
    banned: HashSet<Origin, SecretHash>,
    /// When those without connections can be forgotten. That needs no alarm: nothing grows while nobody comes.
    forgets: BTreeSet<(Millis, Origin)>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Tally {
    open: usize,
    connects: TokenBucket,
}

/// In what way a connection is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It was let in.
    Admitted(Origin),
    /// It is being told why it is not let in.
    Refused,
    /// It was dropped without a word, or came when the server was going away.
    Uncounted,
}

impl Admission {
    pub(super) fn new(hash: SecretHash) -> Admission {
        Admission {
            admitted: 0,
            greeting: 0,
            refused: 0,
            banned: HashSet::with_hasher(hash.clone()),
            origins: HashMap::with_hasher(hash),
            forgets: BTreeSet::new(),
        }
    }

    /// Lets a connection in, or says why not. Whoever is refused uses nothing up.
    pub(super) fn admit(
        &mut self,
        origin: Origin,
        limits: &Limits,
        now: Millis,
    ) -> Result<Standing, CloseReason> {
        if self.banned.contains(&origin) {
            return Err(CloseReason::Banned);
        }
        if self.admitted >= limits.connections_max {
            return Err(CloseReason::ServerFull);
        }
        let tally = self.origins.get(&origin).cloned().unwrap_or_default();
        let mut connects = tally.connects;
        if origin != Origin::Exempt {
            if limits.connections_per_address_max.is_some_and(|max| tally.open >= max) {
                return Err(CloseReason::AddressFull);
            }
            if limits.connects().is_some_and(|rate| !connects.take(rate, now)) {
                return Err(CloseReason::AddressTooFast);
            }
        }
        if self.greeting >= limits.logins_pending_max {
            return Err(CloseReason::TooManyLogins);
        }
        self.admitted += 1;
        self.greeting += 1;
        if origin != Origin::Exempt {
            if tally.open == 0 {
                self.forgets.remove(&(full_at(&tally, limits), origin));
            }
            self.origins.insert(origin, Tally { open: tally.open + 1, connects });
        }
        Ok(Standing::Admitted(origin))
    }

    /// Lets nobody in from there, or somebody again. Whoever is exempt cannot be banned.
    pub(super) fn ban(&mut self, origin: Origin, banned: bool) {
        if !banned {
            self.banned.remove(&origin);
        } else if origin != Origin::Exempt {
            self.banned.insert(origin);
        }
    }

    /// Keeps a place for a connection that is refused, so that it can be told why; or says that none is left.
    pub(super) fn refuse(&mut self, limits: &Limits) -> Standing {
        if self.refused >= limits.refusals_max {
            return Standing::Uncounted;
        }
        self.refused += 1;
        Standing::Refused
    }

    /// A connection that was let in has logged in, or will not do so any more.
    pub(super) fn greeted(&mut self, standing: Standing) {
        if let Standing::Admitted(_) = standing {
            self.greeting -= 1;
        }
    }

    /// A connection is gone.
    pub(super) fn leave(&mut self, standing: Standing, limits: &Limits, now: Millis) {
        let origin = match standing {
            Standing::Admitted(origin) => origin,
            Standing::Refused => return self.refused -= 1,
            Standing::Uncounted => return,
        };
        self.admitted -= 1;
        let Entry::Occupied(mut entry) = self.origins.entry(origin) else { return };
        let tally = entry.get_mut();
        tally.open -= 1;
        if tally.open > 0 {
            return;
        }
        let full_at = full_at(tally, limits);
        if full_at <= now {
            entry.remove();
        } else {
            self.forgets.insert((full_at, origin));
        }
    }

    /// Forgets whoever need not be remembered any more.
    pub(super) fn forget(&mut self, now: Millis) {
        while let Some(&(at, origin)) = self.forgets.first()
            && at <= now
        {
            self.forgets.pop_first();
            self.origins.remove(&origin);
        }
    }
}

/// When an origin may make as many connections as one that was never seen.
fn full_at(tally: &Tally, limits: &Limits) -> Millis {
    limits.connects().map_or(Millis(0), |rate| tally.connects.full_at(rate))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn g9_origins_are_forgotten_when_they_no_longer_matter() {
        let limits = Limits { connects_per_minute_max: Some(60), ..Limits::default() };
        let mut admission = Admission::new(SecretHash([0, 0]));
        // One connection each from many addresses, ten new ones every 100 ms.
        for number in 0..10_000_u32 {
            let now = Millis(u64::from(number / 10) * 100);
            admission.forget(now);
            let standing = admission.admit(Origin::V4(number), &limits, now).unwrap();
            admission.greeted(standing);
            admission.leave(standing, &limits, now);
            // Each is remembered for the second that its token takes to come back.
            assert!(admission.origins.len() <= 101, "{} origins", admission.origins.len());
            assert_eq!(admission.origins.len(), admission.forgets.len());
        }
        admission.forget(Millis(1_000_000));
        assert_eq!(admission, Admission::new(SecretHash([0, 0])), "nothing is left of them");
    }

    #[test]
    fn an_origin_with_connections_is_not_forgotten() {
        let limits = Limits {
            connections_per_address_max: Some(2),
            connects_per_minute_max: Some(3),
            ..Limits::default()
        };
        let mut admission = Admission::new(SecretHash([0, 0]));
        let origin = Origin::V6([7; 8]);
        let first = admission.admit(origin, &limits, Millis(0)).unwrap();
        admission.leave(first, &limits, Millis(0));
        assert_eq!(admission.forgets.len(), 1);
        let second = admission.admit(origin, &limits, Millis(1)).unwrap();
        assert_eq!(admission.forgets.len(), 0, "it is back");
        admission.forget(Millis(60_000));
        assert!(admission.admit(origin, &limits, Millis(60_000)).is_ok());
        assert_eq!(admission.admit(origin, &limits, Millis(60_000)), Err(CloseReason::AddressFull));
        admission.leave(second, &limits, Millis(60_000));
        let _third = admission.admit(origin, &limits, Millis(60_000)).unwrap();
        admission.leave(second, &limits, Millis(60_000));
        let _fourth = admission.admit(origin, &limits, Millis(60_000)).unwrap();
        admission.leave(second, &limits, Millis(60_000));
        assert_eq!(admission.admit(origin, &limits, Millis(60_000)), Err(CloseReason::AddressTooFast));
        assert!(admission.admit(origin, &limits, Millis(80_000)).is_ok(), "20 s make a token");
        // Whoever is exempt is never counted by origin.
        for _ in 0..100 {
            assert!(admission.admit(Origin::Exempt, &limits, Millis(0)).is_ok());
        }
        assert_eq!(admission.origins.len(), 1);
    }
}
