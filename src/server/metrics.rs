//! What can be seen of a server from outside: [`Watch`] asks, [`Figures`] is the answer.
//!
//! Whoever wants to know puts a question into the driver's queue, and the driver answers between two inputs. So the figures
//! are of one moment, and nobody else pays for them: what the driver does anyway, it counts in plain numbers of its own.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::conn::How;
use super::ingress::{Ingress, Input};
use super::outbox::Room;
use super::runtime::Runtime;
use crate::{Counters, Millis};

/// Looks at a server.
#[derive(Clone)]
pub struct Watch {
    ingress: Ingress,
    room: Arc<Room>,
    tally: Arc<Tally>,
}

/// What the tasks beside the driver count.
#[derive(Debug, Default)]
pub(super) struct Tally {
    /// How connections ended, by the places of [`How::CODES`].
    pub(super) ends: [AtomicU64; How::CODES.len()],
    /// Reads that had to wait because their clients had sent too many lines.
    pub(super) reads_delayed: AtomicU64,
    /// How often it failed to accept a client.
    pub(super) accept_failures: Arc<AtomicU64>,
}

impl Watch {
    pub(super) fn new(ingress: Ingress, room: Arc<Room>, tally: Arc<Tally>) -> Watch {
        Watch { ingress, room, tally }
    }

    /// Asks the driver how things are; `None` if it has ended. Whoever asks should not do so again before it has the answer: a
    /// question needs no place in the queue.
    pub async fn figures(&self) -> Option<Figures> {
        let (answer, answered) = async_channel::bounded(1);
        self.ingress.send(Input::Asked(answer));
        let told: Told = answered.recv().await.ok()?;
        let ends = self.tally.ends.each_ref().map(|count| count.load(Ordering::Relaxed));
        Some(Figures {
            told,
            ends: How::CODES.into_iter().zip(ends).collect(),
            reads_delayed: self.tally.reads_delayed.load(Ordering::Relaxed),
            accept_failures: self.tally.accept_failures.load(Ordering::Relaxed),
            received_bytes: self.ingress.received_bytes(),
            sent_bytes: self.room.sent(),
            outbox_bytes: self.room.used(),
            outbox_bytes_total_max: self.room.bytes_total_max,
            permits: self.ingress.permits(),
            permits_used: self.ingress.permits_used(),
        })
    }
}

/// How a server is at one moment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Figures {
    /// What the driver knows.
    pub told: Told,
    /// How connections ended, as a word, and how many did so.
    pub ends: Vec<(&'static str, u64)>,
    /// Reads that had to wait because their clients had sent too many lines.
    pub reads_delayed: u64,
    /// How often it failed to accept a client.
    pub accept_failures: u64,
    /// Bytes read from clients.
    pub received_bytes: u64,
    /// Bytes that clients' sockets have taken.
    pub sent_bytes: u64,
    /// Bytes that wait for clients, those being written among them.
    pub outbox_bytes: usize,
    /// How many may.
    pub outbox_bytes_total_max: usize,
    /// How many reads and new connections may wait for the driver.
    pub permits: usize,
    /// How many do, with those whose turn it is.
    pub permits_used: usize,
}

/// What the driver tells of itself and of the broker.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Told {
    /// How long the server has been there.
    pub now: Millis,
    /// The server has been asked to stop.
    pub draining: bool,
    /// Connections there are, in whatever phase.
    pub connections: usize,
    /// Peers who are logged in.
    pub peers: usize,
    /// How often what has happened.
    pub counters: Counters,
    /// Inputs that wait in the queue.
    pub inputs_waiting: usize,
    /// What was measured on the way.
    pub measures: Measures,
}

/// What the driver measures of its own work.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Measures {
    /// Lines that one read has brought, if it has brought any.
    pub read_lines: Histogram,
    /// How long one client's turn took, in nanoseconds: the broker's steps, and to write down what comes of them.
    pub turn_ns: Histogram,
    /// From when the driver took what a read had brought to when all that comes of it was handed over to be written, in
    /// nanoseconds.
    pub delivery_ns: Histogram,
    /// The clock, if nobody else has had a turn since it was looked at.
    clock_ns: Option<u64>,
    /// When each of the reads was taken that are processed and not handed over yet, and how many connections will have been
    /// handed what was staged for them when all of it is.
    processed: VecDeque<(u64, u64)>,
}

/// How often how much has been measured.
#[derive(Clone, Debug)]
pub struct Histogram {
    /// The largest value of each bucket but the last.
    bounds: &'static [u64],
    counts: [u64; BUCKETS],
    sum: u64,
}

const BUCKETS: usize = LINES.len() + 1;

/// The buckets for lines: a read brings up to 64 KiB, and the shortest line is one byte.
const LINES: [u64; 17] =
    [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16_384, 32_768, 65_536];

/// The buckets for durations, in nanoseconds: from 1 µs to 1 s.
const NANOSECONDS: [u64; 17] = [
    1_000,
    2_000,
    5_000,
    10_000,
    20_000,
    50_000,
    100_000,
    200_000,
    500_000,
    1_000_000,
    2_000_000,
    5_000_000,
    10_000_000,
    20_000_000,
    50_000_000,
    100_000_000,
    1_000_000_000,
];

impl Histogram {
    fn new(bounds: &'static [u64; BUCKETS - 1]) -> Histogram {
        Histogram { bounds, counts: [0; BUCKETS], sum: 0 }
    }

    fn observe(&mut self, value: u64) {
        self.counts[self.bounds.partition_point(|&bound| bound < value)] += 1;
        self.sum = self.sum.saturating_add(value);
    }

    /// Each bucket: the largest value that belongs in it, none for the last; and how many are in it and in no smaller one.
    pub fn buckets(&self) -> impl Iterator<Item = (Option<u64>, u64)> {
        self.bounds.iter().copied().map(Some).chain([None]).zip(self.counts)
    }

    /// How many values there were.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All values together.
    pub fn sum(&self) -> u64 {
        self.sum
    }
}

impl Measures {
    pub(super) fn new() -> Measures {
        Measures {
            read_lines: Histogram::new(&LINES),
            turn_ns: Histogram::new(&NANOSECONDS),
            delivery_ns: Histogram::new(&NANOSECONDS),
            clock_ns: None,
            processed: VecDeque::new(),
        }
    }

    /// Looks at the clock.
    pub(super) fn look<R: Runtime>(&mut self, runtime: &R) -> u64 {
        *self.clock_ns.insert(runtime.now_ns())
    }

    /// What the clock has just shown: to look again costs as much as to process a short line.
    pub(super) fn clock<R: Runtime>(&mut self, runtime: &R) -> u64 {
        self.clock_ns.unwrap_or_else(|| self.look(runtime))
    }

    /// Others have a turn, and time passes.
    pub(super) fn pass(&mut self) {
        self.clock_ns = None;
    }

    /// The driver takes so many lines, which one read has brought. Says when that is, if it has brought any.
    pub(super) fn take<R: Runtime>(&mut self, lines: usize, runtime: &R) -> Option<u64> {
        (lines > 0).then(|| {
            self.read_lines.observe(lines as u64);
            self.clock(runtime)
        })
    }

    /// What was taken at this moment has been processed, all of it; what comes of it is handed over when so many connections have
    /// been handed what was staged for them.
    pub(super) fn processed(&mut self, taken_ns: Option<u64>, end: u64) {
        self.processed.extend(taken_ns.map(|taken| (taken, end)));
    }

    /// A client's turn, which began at this moment, is over.
    pub(super) fn turned<R: Runtime>(&mut self, begin_ns: u64, runtime: &R) {
        let now = self.look(runtime);
        self.turn_ns.observe(now.saturating_sub(begin_ns));
    }

    /// So many connections have been handed what was staged for them.
    pub(super) fn handed_over<R: Runtime>(&mut self, count: u64, runtime: &R) {
        while let Some((taken, _)) = self.processed.pop_front_if(|(_, end)| *end <= count) {
            let now = self.clock(runtime);
            self.delivery_ns.observe(now.saturating_sub(taken));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_in_the_smallest_bucket_that_holds_it() {
        let mut histogram = Histogram::new(&LINES);
        for value in [0, 1, 2, 3, 4, 65_536, 65_537, u64::MAX] {
            histogram.observe(value);
        }
        let full: Vec<_> = histogram.buckets().filter(|&(_, count)| count > 0).collect();
        assert_eq!(full, [(Some(1), 2), (Some(2), 1), (Some(4), 2), (Some(65_536), 1), (None, 2)]);
        assert_eq!((histogram.count(), histogram.sum()), (8, u64::MAX));
    }

    #[test]
    fn the_buckets_grow() {
        assert!(LINES.is_sorted_by(|a, b| a < b) && NANOSECONDS.is_sorted_by(|a, b| a < b));
    }
}
