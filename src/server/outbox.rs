//! [`Outbox`]: the bounded queue to one client, and the driver's orders about its connection.
//!
//! The driver puts lines in, as [`staged`](super::staged) has them, and never waits; the connection's task takes all there is
//! and writes it in one call.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use super::buffers::READ_BYTES_MAX;
use crate::CloseReason;

/// How much a read may bring whatever the last one has cost, in bytes.
const LEAST_READ_BYTES_MAX: u32 = 512;

/// The most, in units of that.
const READ_UNITS_MAX: u16 = 256;
const _: () = assert!(READ_UNITS_MAX as u32 * LEAST_READ_BYTES_MAX == READ_BYTES_MAX);

/// How much work what one read brings may be, in the driver's units; a read that brings more makes the next smaller. Those who wait
/// for a permit wait for this work of each who waits in front of them.
const READ_COST_MAX: usize = 32 * 1024;

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
    sent: AtomicU64,
    spare: Mutex<Spare>,
}

/// Empty buffers, to be filled again: the operating system would hand out each page of a new one by itself.
#[derive(Debug, Default)]
struct Spare {
    buffers: Vec<Vec<u8>>,
    /// How much memory they take, in bytes.
    bytes: usize,
}

/// How much memory empty buffers may take, in bytes.
const SPARE_BYTES_MAX: usize = 8 * 1024 * 1024;

impl Room {
    /// Room in which nothing is used.
    pub fn new(bytes_max: usize, bytes_total_max: usize, bytes_floor: usize) -> Arc<Room> {
        let (used, sent, spare) = Default::default();
        Arc::new(Room { bytes_max, bytes_total_max, bytes_floor, used, sent, spare })
    }

    /// How many bytes wait in all outboxes, those being written among them.
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// How many bytes sockets have taken since the start.
    pub fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// How many bytes an outbox may hold, so many more among them.
    pub fn bytes_max_with(&self, more: usize) -> usize {
        if self.used().saturating_add(more) > self.bytes_total_max {
            self.bytes_max.min(self.bytes_floor)
        } else {
            self.bytes_max
        }
    }

    /// An empty buffer, from among those that were filled before.
    pub fn buffer(&self) -> Vec<u8> {
        let mut spare = self.spare();
        let buffer = spare.buffers.pop().unwrap_or_default();
        spare.bytes -= buffer.capacity();
        buffer
    }

    /// Keeps a buffer to be filled again, if there is room for it.
    fn keep(&self, mut buffer: Vec<u8>) {
        let mut spare = self.spare();
        if buffer.capacity() > 0 && spare.bytes + buffer.capacity() <= SPARE_BYTES_MAX {
            buffer.clear();
            spare.bytes += buffer.capacity();
            spare.buffers.push(buffer);
        }
    }

    fn spare(&self) -> MutexGuard<'_, Spare> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
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
    /// How much the next read may bring, in units of [`LEAST_READ_BYTES_MAX`]; 0 before the login.
    read_units_max: u16,
    stop_reading: bool,
    close: Option<CloseReason>,
    abort: bool,
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

    /// What all outboxes may hold.
    pub fn room(&self) -> &Room {
        &self.room
    }

    /// For the driver: how many bytes are in it, and whether its connection has had no turn yet to write some of them.
    pub fn look(&self) -> (usize, bool) {
        let inner = self.lock();
        (inner.bytes(), inner.writer != Writer::Busy)
    }

    /// For the driver: puts whole lines in, for which there must be room, and leaves none behind. Says how many bytes are in
    /// it then.
    pub fn put(&self, lines: &mut Vec<u8>) -> usize {
        let mut inner = self.lock();
        self.append(&mut inner, lines);
        let bytes = inner.bytes();
        if inner.writer == Writer::Idle {
            wake(inner);
        } else {
            drop(inner);
        }
        self.room.keep(mem::take(lines));
        bytes
    }

    /// For the driver: puts the last line in, if it fits at all.
    pub fn put_farewell(&self, line: &[u8]) {
        let mut inner = self.lock();
        if inner.bytes() + line.len() <= self.room.bytes_max + FAREWELL_BYTES {
            self.append(&mut inner, &mut line.to_vec());
        }
        wake(inner);
    }

    /// Puts lines behind those that wait, without copying them if there are none. What is left of `lines` has no meaning.
    fn append(&self, inner: &mut Inner, lines: &mut Vec<u8>) {
        self.room.used.fetch_add(lines.len(), Ordering::Relaxed);
        if inner.queued.is_empty() {
            mem::swap(&mut inner.queued, lines);
        } else {
            inner.queued.extend_from_slice(lines);
        }
    }

    /// For the driver: the client has logged in. From now on a read may bring more than a few bytes.
    pub fn welcome(&self) {
        self.lock().orders.read_units_max = READ_UNITS_MAX;
    }

    /// For the driver: all that was read from this client has been processed, which has cost so much; more may be read. The next
    /// read brings twice as much, or, if that was more work than one may be, as much less.
    pub fn go_on_reading(&self, cost: usize) {
        let mut inner = self.lock();
        let units = inner.orders.read_units_max;
        let next = match u16::try_from(cost / READ_COST_MAX) {
            Ok(0) => 2 * units,
            times => units / times.unwrap_or(u16::MAX).saturating_add(1),
        };
        // Before the login it stays 0.
        inner.orders.read_units_max = next.clamp(units.min(1), READ_UNITS_MAX);
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
        inner.orders.close = Some(reason);
        wake(inner);
    }

    /// For the driver: [`Effect::Abort`](crate::Effect::Abort).
    pub fn abort(&self) {
        let mut inner = self.lock();
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
        self.room.keep(mem::take(&mut inner.queued));
        self.room.keep(mem::take(batch));
        inner.writer = Writer::Idle;
        inner.wait(cx)
    }

    /// For the connection's task: the socket has taken `bytes` of the batch.
    pub fn wrote(&self, bytes: usize) {
        self.lock().in_flight -= bytes;
        self.room.used.fetch_sub(bytes, Ordering::Relaxed);
        self.room.sent.fetch_add(bytes as u64, Ordering::Relaxed);
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

    /// For the connection's task: ready when all that was read before has been processed. Says how many bytes the next read may
    /// bring, if there is a permit; 0 before the login.
    pub fn poll_processed(&self, cx: &mut Context<'_>) -> Poll<u32> {
        let mut inner = self.lock();
        if inner.orders.wait {
            inner.wait(cx)
        } else {
            Poll::Ready(u32::from(inner.orders.read_units_max) * LEAST_READ_BYTES_MAX)
        }
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
        self.room.used.fetch_sub(inner.bytes(), Ordering::Relaxed);
    }
}

impl Inner {
    /// How many bytes wait, those being written among them.
    fn bytes(&self) -> usize {
        self.queued.len() + self.in_flight
    }

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
