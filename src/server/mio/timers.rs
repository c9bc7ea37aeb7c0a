//! Who sleeps, and until when. Nobody is woken before the time, and whoever gives up is forgotten.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::executor::Executor;
use super::lock;

pub(super) struct Timers {
    sleepers: Mutex<Sleepers>,
    /// Waits for the first of them, and must learn when that is another.
    executor: Arc<Executor>,
}

#[derive(Default)]
struct Sleepers {
    /// By the moment, and a number that tells those of one moment apart.
    wakers: BTreeMap<(Instant, u64), Waker>,
    next: u64,
}

impl Timers {
    pub(super) fn new(executor: Arc<Executor>) -> Timers {
        Timers { sleepers: Mutex::default(), executor }
    }

    /// How long the poller may wait; `None`: nobody sleeps.
    pub(super) fn time_left(&self) -> Option<Duration> {
        let first = lock(&self.sleepers).wakers.first_key_value().map(|((at, _), _)| *at);
        first.map(|at| at.saturating_duration_since(Instant::now()))
    }

    /// Wakes all whose time has come.
    pub(super) fn ring(&self) {
        let mut now = None;
        loop {
            let mut sleepers = lock(&self.sleepers);
            // Where nobody sleeps, nobody looks at the clock.
            let Some(first) = sleepers.wakers.first_entry() else { return };
            if first.key().0 > *now.get_or_insert_with(Instant::now) {
                return;
            }
            let waker = first.remove();
            drop(sleepers);
            waker.wake();
        }
    }

    #[cfg(test)]
    pub(super) fn sleepers(&self) -> usize {
        lock(&self.sleepers).wakers.len()
    }
}

/// Ready at its moment or soon after.
pub(super) struct Sleep {
    timers: Arc<Timers>,
    /// `None`: never.
    at: Option<Instant>,
    /// Its number among the sleepers, once it has been polled.
    number: Option<u64>,
}

impl Sleep {
    pub(super) fn until(timers: &Arc<Timers>, at: Option<Instant>) -> Sleep {
        Sleep { timers: timers.clone(), at, number: None }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let Some(at) = self.at else { return Poll::Pending };
        if Instant::now() >= at {
            return Poll::Ready(());
        }
        let timers = self.timers.clone();
        let mut sleepers = lock(&timers.sleepers);
        let number = *self.number.get_or_insert_with(|| {
            sleepers.next += 1;
            sleepers.next
        });
        let waker = sleepers.wakers.entry((at, number)).or_insert_with(|| cx.waker().clone());
        waker.clone_from(cx.waker());
        let is_first = sleepers.wakers.first_key_value().is_some_and(|(key, _)| *key == (at, number));
        drop(sleepers);
        if is_first {
            timers.executor.interrupt();
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        if let (Some(at), Some(number)) = (self.at, self.number) {
            let waker = lock(&self.timers.sleepers).wakers.remove(&(at, number));
            drop(waker); // outside the lock: with it may go what holds another sleep
        }
    }
}
