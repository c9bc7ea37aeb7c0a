//! What the log says of those who are not let in: enough to know, and never so much that they fill it.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};

use tracing::{debug, warn};

use super::runtime::PeerAddr;
use crate::rate::{Rate, TokenBucket};
use crate::{ConnId, Millis};

/// How often the log warns of a refusal.
const WARNINGS: Rate = Rate { count: 10, per_ms: 60_000 };

/// Logs refusals: some as warnings, with the number of those in between, and all of them for whoever debugs.
#[derive(Debug, Default)]
pub(super) struct RefusalLog {
    inner: Mutex<(TokenBucket, u64)>,
}

impl RefusalLog {
    pub(super) fn log(&self, now: Millis, conn: ConnId, peer: PeerAddr, reason: impl Display) {
        debug!(%conn, %peer, %reason, "refused");
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        let (warnings, others) = &mut *inner;
        if warnings.take(WARNINGS, now) {
            warn!(%conn, %peer, %reason, others, "refused a connection");
            *others = 0;
        } else {
            *others += 1;
        }
    }
}
