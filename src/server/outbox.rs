//! [`Outbox`]: the bounded queue to one client, and the driver's orders about its connection.
//!
//! The driver puts lines in and never waits; the connection's task takes all there is and writes it in one call. An
//! outbox that is full is sealed: nothing is put behind the gap, so that a client sees a gap-free prefix of its mailbox
//! (guarantee G6).

use std::mem;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use crate::CloseReason;

/// Room beyond the limit that only the last line of a session, its goodbye, may use.
const FAREWELL_BYTES: usize = 64;

/// What all outboxes of a server may hold, each and together.
#[derive(Debug)]
pub struct Room {
    /// The most bytes that one outbox holds.
    pub bytes_max: usize,
    /// The most bytes that all of them hold, but for the floor.
    pub bytes_total_max: usize,
    /// What each may hold even then.
    pub bytes_floor: usize,
    used: AtomicUsize,
}

impl Room {
    /// Room in which nothing is used.
    pub fn new(bytes_max: usize, bytes_total_max: usize, bytes_floor: usize) -> Arc<Room> {
        Arc::new(Room { bytes_max, bytes_total_max, bytes_floor, used: AtomicUsize::new(0) })
    }

    /// How many bytes wait in all outboxes, those being written among them.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many bytes an outbox may hold, so many more among them.
    fn bytes_max_with(&self, more: usize) -> usize {
        if self.used().saturating_add(more) > self.bytes_total_max {
            self.bytes_max.min(self.bytes_floor)
        } else {
            self.bytes_max
        }
    }
}

/// The bounded queue to one client.
#[derive(Debug)]
pub struct Outbox {
    room: Arc<Room>,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    queued: Vec<u8>,
    /// Taken by the writer and not written yet, in bytes.
    in_flight: usize,
    /// Nothing more is accepted.
    sealed: bool,
    orders: Orders,
    writer: Writer,
    /// Wakes the connection's task, if it waits.
    waker: Option<Waker>,
}

/// What the connection's task is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Writer {
    /// It writes, or waits for the socket.
    Busy,
    /// It waits for lines.
    Idle,
    /// It has been woken and has not had its turn yet.
    #[default]
    Woken,
}

#[derive(Debug, Default)]
struct Orders {
    /// Read no more for now: the driver has not processed yet what was read before.
    wait: bool,
    stop_reading: bool,
    close: Option<CloseReason>,
    abort: bool,
}

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Push {
    /// It will be written.
    Accepted,
    /// It will be written; but the outbox is half full, and the connection's task had no turn to do anything about it.
    Pressing,
    /// It did not fit, and nothing will be accepted from now on. Said once.
    Overflowed,
    /// The outbox was sealed before.
    Sealed,
}

/// What the writer is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Take {
    /// Write the batch.
    Write,
    /// Everything is written and nothing more will come: close.
    Close,
    /// Drop the connection, whatever waits.
    Abort,
}

impl Outbox {
    /// An empty outbox, which takes its place in the room of all.
    pub fn new(room: Arc<Room>) -> Outbox {
        Outbox { room, inner: Mutex::default() }
    }

    /// For the driver: puts whole lines in, or seals the outbox if they do not fit.
    pub fn push(&self, lines: &[u8]) -> Push {
        let mut inner = self.lock();
        if inner.sealed {
            return Push::Sealed;
        }
        let bytes_max = self.room.bytes_max_with(lines.len());
        if inner.queued.len() + inner.in_flight + lines.len() > bytes_max {
            inner.sealed = true;
            return Push::Overflowed;
        }
        self.put(&mut inner, lines);
        let pressing = inner.writer != Writer::Busy && inner.queued.len() > bytes_max / 2;
        if inner.writer == Writer::Idle {
            wake(inner);
        }
        if pressing { Push::Pressing } else { Push::Accepted }
    }

    /// For the driver: puts the last line in, if it fits at all, and seals the outbox.
    pub fn push_farewell(&self, line: &[u8]) {
        let mut inner = self.lock();
        inner.sealed = true;
        if inner.queued.len() + inner.in_flight + line.len() <= self.room.bytes_max + FAREWELL_BYTES {
            self.put(&mut inner, line);
        }
        wake(inner);
    }

    fn put(&self, inner: &mut Inner, lines: &[u8]) {
        inner.queued.extend_from_slice(lines);
        self.room.used.fetch_add(lines.len(), Ordering::Relaxed);
    }

    /// For the driver: all that was read from this client has been processed; more may be read.
    pub fn go_on_reading(&self) {
        let mut inner = self.lock();
        inner.orders.wait = false;
        wake(inner);
    }

    /// For the driver: [`Effect::StopReading`](crate::Effect::StopReading).
    pub fn stop_reading(&self) {
        let mut inner = self.lock();
        inner.orders.stop_reading = true;
        wake(inner);
    }

    /// For the driver: [`Effect::Close`](crate::Effect::Close).
    pub fn close(&self, reason: CloseReason) {
        let mut inner = self.lock();
        inner.sealed = true;
        inner.orders.close = Some(reason);
        wake(inner);
    }

    /// For the driver: [`Effect::Abort`](crate::Effect::Abort).
    pub fn abort(&self) {
        let mut inner = self.lock();
        inner.sealed = true;
        inner.orders.abort = true;
        wake(inner);
    }

    /// For the connection's task: swaps all that waits into `batch`, which is empty, or says what else there is to do.
    pub fn poll_take(&self, cx: &mut Context<'_>, batch: &mut Vec<u8>) -> Poll<Take> {
        let mut inner = self.lock();
        inner.writer = Writer::Busy;
        if inner.orders.abort {
            return Poll::Ready(Take::Abort);
        }
        if !inner.queued.is_empty() {
            mem::swap(&mut inner.queued, batch);
            inner.in_flight = batch.len();
            return Poll::Ready(Take::Write);
        }
        if inner.orders.close.is_some() {
            return Poll::Ready(Take::Close);
        }
        // A client that is idle costs no buffer.
        inner.queued = Vec::new();
        *batch = Vec::new();
        inner.writer = Writer::Idle;
        inner.wait(cx)
    }

    /// For the connection's task: the socket has taken `bytes` of the batch.
    pub fn wrote(&self, bytes: usize) {
        self.lock().in_flight -= bytes;
        self.room.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// For the connection's task: ready when the connection is to be dropped.
    pub fn poll_abort(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.orders.abort { Poll::Ready(()) } else { inner.wait(cx) }
    }

    /// For the connection's task: ready when no more is to be read.
    pub fn poll_stop_reading(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.orders.stop_reading { Poll::Ready(()) } else { inner.wait(cx) }
    }

    /// For the connection's task: something was read and sent to the driver.
    pub fn wait_for_driver(&self) {
        self.lock().orders.wait = true;
    }

    /// For the connection's task: ready when all that was read before has been processed.
    pub fn poll_processed(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut inner = self.lock();
        if inner.orders.wait { inner.wait(cx) } else { Poll::Ready(()) }
    }

    /// Why the broker has closed the connection, if it has: from then on nothing the client sends is of interest.
    pub fn closed(&self) -> Option<CloseReason> {
        self.lock().orders.close
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing panics while it holds the lock.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Outbox {
    /// What was never written waits no more.
    fn drop(&mut self) {
        let inner = self.lock();
        self.room.used.fetch_sub(inner.queued.len() + inner.in_flight, Ordering::Relaxed);
    }
}

impl Inner {
    fn wait<T>(&mut self, cx: &mut Context<'_>) -> Poll<T> {
        match &mut self.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => self.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

/// Wakes outside the lock, so that whoever wakes up finds it free.
fn wake(mut inner: MutexGuard<'_, Inner>) {
    if inner.writer == Writer::Idle {
        inner.writer = Writer::Woken;
    }
    let waker = inner.waker.take();
    drop(inner);
    if let Some(waker) = waker {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(outbox: &Outbox) -> Vec<u8> {
        let mut batch = Vec::new();
        let taken = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut batch);
        assert_eq!(taken, Poll::Ready(Take::Write));
        batch
    }

    #[test]
    fn g9_beyond_the_room_of_all_each_keeps_a_floor() {
        let room = Room::new(100, 150, 10);
        let [one, two, three] = [(); 3].map(|()| Outbox::new(room.clone()));
        let _pressing = one.push(&[b'x'; 100]);
        let _pressing = two.push(&[b'x'; 50]);
        assert_eq!(room.used(), 150);
        // Whoever holds little goes on; whoever holds more than the floor gets no more.
        assert_ne!(three.push(&[b'x'; 10]), Push::Overflowed);
        assert_eq!(two.push(b"x"), Push::Overflowed);
        two.push_farewell(b"bye\n");
        assert_eq!(three.push(b"x"), Push::Overflowed);
        assert_eq!(room.used(), 164);
        // What is written, or given up, is room for others.
        assert_eq!(take(&one).len(), 100);
        assert_eq!(room.used(), 164, "it is still being written");
        one.wrote(60);
        assert_eq!(room.used(), 104);
        assert_ne!(one.push(&[b'x'; 46]), Push::Overflowed);
        drop((one, two));
        assert_eq!(room.used(), 10);
        drop(three);
        assert_eq!(room.used(), 0);
    }
}
