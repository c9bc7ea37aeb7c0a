//! The one queue into the driver.
//!
//! What it holds is bounded: a connection has one read in it at a time, of a few lines without a permit, and of more with one.
//! There are few permits, and they stand for bounded work as well: how much a read brings follows what the last one cost. So
//! clients that send much wait for each other, and nobody who says a line now and then waits for a permit. New connections have
//! permits of their own. That a connection has ended needs none, so it can always be said.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use async_channel::{Receiver, Sender};
use bytes::Bytes;
use futures::stream::Stream;

use super::buffers::{Buffer, Buffers};
use super::metrics::Told;
use super::operator::Order;
use super::outbox::Outbox;
use super::shutdown::Shutdown;
use crate::protocol::{Name, Request};
use crate::{ConnId, Origin};

/// What the driver is told.
pub(super) enum Input {
    /// A client has connected, from there; what is for it goes into this outbox.
    Connected(ConnId, Origin, Arc<Outbox>, Permit),
    /// Nobody reads on the way what this client sends.
    Secured(ConnId),
    /// What one read brought, in order. More than a few lines need a permit.
    Requests(ConnId, Vec<Request>, Option<Permit>),
    /// The client's last words, if any, and then no more.
    Ended(ConnId, Vec<Request>),
    /// The connection is gone.
    Disconnected(ConnId),
    /// These are the names that have accounts.
    AccountsChanged(Vec<Name>),
    /// Whether the password of a client is right.
    PasswordVerified(ConnId, bool),
    /// What the certificate of a client calls it.
    Certified(ConnId, Name),
    /// The operator wants something.
    Ordered(Order),
    /// The operator wants the server to stop.
    ShutdownRequested(Shutdown),
    /// A task that the server cannot do without has panicked.
    Panicked(&'static str),
    /// Somebody wants to know how things are.
    Asked(Sender<Told>),
}

/// The end that everybody sends to.
#[derive(Clone)]
pub(super) struct Ingress {
    sender: Sender<Input>,
    places: Arc<Places>,
    arrivals: Arc<Places>,
    buffers: Buffers,
    permits: usize,
    received_bytes: Arc<AtomicU64>,
}

/// The queue, in which so many large reads and as many new connections wait at most.
pub(super) fn queue(permits: usize) -> (Ingress, Receiver<Input>) {
    let (sender, receiver) = async_channel::unbounded();
    let [places, arrivals] = [(); 2].map(|()| Arc::new(Places::new(permits)));
    let buffers = Buffers::new(permits);
    (Ingress { sender, places, arrivals, buffers, permits, received_bytes: Arc::default() }, receiver)
}

impl Ingress {
    /// Waits for a place in the queue for a new connection.
    pub(super) async fn arrival(&self) -> Permit {
        match Places::ask(&self.arrivals) {
            Ok(permit) => permit,
            Err(waiting) => waiting.await,
        }
    }

    /// A place in the queue for a large read, if one is free.
    pub(super) fn try_permit(&self) -> Option<Permit> {
        Places::take(&self.places)
    }

    /// A place among those who wait for one in the queue.
    pub(super) fn wait(&self) -> Waiting {
        Places::wait(&self.places)
    }

    /// Memory to read into.
    pub(super) fn buffer(&self) -> Buffer {
        self.buffers.take()
    }

    /// A small buffer with these bytes, as few as are read without a permit.
    pub(super) fn copy(&self, bytes: &[u8]) -> Bytes {
        self.buffers.copy(bytes)
    }

    /// So many bytes have been read.
    pub(super) fn received(&self, bytes: usize) {
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How many bytes have been read from all clients.
    pub(super) fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    /// How many places in the queue there are.
    pub(super) fn permits(&self) -> usize {
        self.permits
    }

    /// How many places in the queue are taken.
    pub(super) fn permits_used(&self) -> usize {
        self.permits - self.places.lock().free
    }

    /// Puts an input into the queue. Never waits: nobody sends a second before the first has been processed.
    pub(super) fn send(&self, input: Input) {
        // The driver is gone only when the server has ended; then nobody wants to know.
        let _ = self.sender.try_send(input);
    }
}

/// The right to put one input into the queue; given back when the driver has taken it out.
pub(super) struct Permit(Option<Arc<Places>>);

/// Waits for a place in the queue. In a box: few wait at a time, and for the others it is no larger than a pointer.
pub(super) struct Waiting(Pin<Box<Receiver<Permit>>>);

impl Future for Waiting {
    type Output = Permit;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Permit> {
        match ready!(self.0.as_mut().poll_next(cx)) {
            Some(permit) => Poll::Ready(permit),
            // Whoever is in the list is handed a place before it is taken out.
            None => Poll::Pending,
        }
    }
}

/// The places in the queue, handed from one to the next in the order in which they are waited for. A place that lay free
/// until somebody took it would go to whoever asks at the right moment, and that is the busy: the others would starve.
pub(super) struct Places(Mutex<Inner>);

struct Inner {
    free: usize,
    /// Nobody waits while a place is free. Some may have given up: their other end is gone.
    waiting: VecDeque<Sender<Permit>>,
}

impl Places {
    pub(super) fn new(free: usize) -> Places {
        Places(Mutex::new(Inner { free, waiting: VecDeque::new() }))
    }

    /// A place, or what waits for one.
    pub(super) fn ask(places: &Arc<Places>) -> Result<Permit, Waiting> {
        Places::take(places).ok_or_else(|| Places::wait(places))
    }

    /// A place, if one is free: then nobody waits.
    fn take(places: &Arc<Places>) -> Option<Permit> {
        let mut inner = places.lock();
        inner.free = inner.free.checked_sub(1)?;
        Some(Permit(Some(places.clone())))
    }

    /// Waits for a place, or takes one that has become free meanwhile.
    fn wait(places: &Arc<Places>) -> Waiting {
        let (hand, handed) = async_channel::bounded(1);
        let mut inner = places.lock();
        if inner.free > 0 {
            inner.free -= 1;
            let _ = hand.try_send(Permit(Some(places.clone())));
        } else {
            inner.waiting.push_back(hand);
        }
        Waiting(Box::pin(handed))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    /// Hands the place to whoever has waited longest. If they give up with it in their hands, it is dropped there.
    fn drop(&mut self) {
        while let Some(places) = self.0.take() {
            let next = {
                let mut inner = places.lock();
                let next = inner.waiting.pop_front();
                inner.free += usize::from(next.is_none());
                next
            };
            let Some(next) = next else { return };
            if let Err(refused) = next.try_send(Permit(Some(places))) {
                self.0 = refused.into_inner().0.take();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::Waker;

    use super::*;

    fn poll(taking: Pin<&mut impl Future<Output = Permit>>) -> Poll<Permit> {
        taking.poll(&mut Context::from_waker(Waker::noop()))
    }

    /// Bug: a hundred who talked without a pause once kept others from logging in for more than ten seconds.
    #[test]
    fn g9_whoever_waits_for_a_place_is_not_overtaken() {
        const PERMITS: usize = 16;
        let (ingress, _inputs) = queue(PERMITS);
        let mut permits: Vec<Permit> = (0..PERMITS)
            .map(|_| match poll(pin!(ingress.arrival())) {
                Poll::Ready(permit) => permit,
                Poll::Pending => panic!("there is room"),
            })
            .collect();
        let (mut first, mut gave_up, mut second) =
            (pin!(ingress.arrival()), Box::pin(ingress.arrival()), pin!(ingress.arrival()));
        assert!(poll(first.as_mut()).is_pending() && poll(gave_up.as_mut()).is_pending());
        assert!(poll(second.as_mut()).is_pending());
        permits.truncate(PERMITS - 2);
        assert!(poll(pin!(ingress.arrival())).is_pending(), "both places have been handed on");
        assert!(poll(second.as_mut()).is_pending(), "it is not its turn");
        let Poll::Ready(permit) = poll(first) else { panic!("it is its turn") };
        drop(gave_up);
        let Poll::Ready(_permit) = poll(second) else { panic!("now it is its turn") };
        drop((permit, permits));
        assert_eq!(ingress.arrivals.lock().free, PERMITS - 1, "no place is lost");
    }
}
