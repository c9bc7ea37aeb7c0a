//! [`World`]: the clock, the choices and the log of one run; [`SimRuntime`], the seam over it.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::future::{Future, poll_fn};
use std::hash::Hasher;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use futures_lite::future::yield_now;
use seriatim::server::runtime::Runtime;
use seriatim::{Effect, Event, Millis};

use crate::choice::Choices;
use crate::marks::Marks;
use crate::net::{SimListener, SimStream};
use crate::scenario::Faults;

/// A task, as an engine takes it.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Whose task it is: the server's all end when its process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Owner {
    /// The server.
    Server,
    /// A client.
    Client,
}

/// What all tasks of a run share.
pub struct World {
    /// What goes wrong by itself.
    pub faults: Faults,
    /// How the engine starts a task.
    spawner: Box<dyn Fn(Owner, Task) + Send + Sync>,
    choices: Mutex<Choices>,
    now: AtomicU64,
    /// Orders what clients do and see.
    stamp: AtomicU64,
    timers: Mutex<Timers>,
    log: Mutex<Log>,
}

#[derive(Default)]
struct Timers {
    next: u64,
    /// By moment, and among equals by age.
    waiting: BTreeMap<(u64, u64), Waker>,
}

/// What happened, as far as anybody wants to know.
#[derive(Default)]
pub struct Log {
    /// Proof of what was met.
    pub marks: Marks,
    /// How many events the broker has been told of.
    pub events: u64,
    /// A hash over all events, effects, bytes and moments; `None` if not wanted.
    digest: Option<Digest>,
    /// Every event and effect in words; `None` if not wanted.
    pub trace: Option<Vec<String>>,
}

/// FNV-1a: the same in every process and version.
struct Digest(u64);

impl Default for Digest {
    fn default() -> Digest {
        Digest(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Digest {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3);
        }
    }
}

/// How much is to be written down about a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// A hash of everything.
    pub digest: bool,
    /// Every event and effect in words.
    pub trace: bool,
}

impl World {
    /// A world at moment 0.
    pub fn new(
        faults: Faults,
        choices: Choices,
        record: Record,
        spawner: impl Fn(Owner, Task) + Send + Sync + 'static,
    ) -> Arc<World> {
        let log = Log {
            digest: record.digest.then(Digest::default),
            trace: record.trace.then(Vec::new),
            ..Log::default()
        };
        Arc::new(World {
            faults,
            spawner: Box::new(spawner),
            choices: Mutex::new(choices),
            now: AtomicU64::new(0),
            stamp: AtomicU64::new(0),
            timers: Mutex::default(),
            log: Mutex::new(log),
        })
    }

    /// Starts a task.
    pub fn spawn(&self, owner: Owner, task: impl Future<Output = ()> + Send + 'static) {
        (self.spawner)(owner, Box::pin(task));
    }

    /// The choices of this run. Nothing that waits or decides may happen while they are held.
    pub fn choices(&self) -> MutexGuard<'_, Choices> {
        lock(&self.choices)
    }

    /// Whether something goes wrong now that does in `permille` of 1000 cases while faults are on.
    pub fn goes_wrong(&self, permille: u32) -> bool {
        self.now() < self.faults.until_ms && self.choices().happens(permille)
    }

    /// The moment it is, in milliseconds.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    /// The next number in the order of what clients do and see.
    pub fn stamp(&self) -> u64 {
        self.stamp.fetch_add(1, Ordering::SeqCst)
    }

    /// The log.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// The hash of everything so far.
    pub fn digest(&self) -> Option<u64> {
        self.log().digest.as_ref().map(Hasher::finish)
    }

    /// Wakes somebody at a moment, or at once if it has come.
    pub fn wake_at(&self, at: u64, waker: &Waker) {
        if at <= self.now() {
            waker.wake_by_ref();
            return;
        }
        let mut timers = lock(&self.timers);
        timers.next += 1;
        let age = timers.next;
        timers.waiting.insert((at, age), waker.clone());
    }

    /// Waits for a moment.
    pub async fn sleep_until(self: Arc<World>, at: u64) {
        poll_fn(|cx| {
            if self.now() >= at {
                return Poll::Ready(());
            }
            self.wake_at(at, cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Lets time pass up to the next moment for which somebody waits. `false` if nobody does.
    pub fn advance(&self) -> bool {
        let Some(at) = lock(&self.timers).waiting.first_key_value().map(|(&(at, _), _)| at) else {
            return false;
        };
        self.advance_to(at);
        true
    }

    /// Lets time pass, and wakes whoever waited for a moment up to then.
    pub fn advance_to(&self, at: u64) {
        self.now.fetch_max(at, Ordering::SeqCst);
        loop {
            let mut timers = lock(&self.timers);
            let due =
                timers.waiting.first_entry().filter(|entry| entry.key().0 <= at).map(OccupiedEntry::remove);
            drop(timers);
            match due {
                Some(waker) => waker.wake(),
                None => break,
            }
        }
    }

    /// Writes down bytes that passed through the network.
    pub fn passed(&self, what: &str, bytes: &[u8]) {
        let mut log = self.log();
        if let Some(digest) = &mut log.digest {
            digest.write(what.as_bytes());
            digest.write(bytes);
            digest.write_u64(self.now());
        }
    }
}

impl Log {
    fn write(&mut self, now: u64, line: impl Fn() -> String) {
        if self.digest.is_none() && self.trace.is_none() {
            return;
        }
        let line = line();
        if let Some(digest) = &mut self.digest {
            digest.write(line.as_bytes());
            digest.write_u64(now);
        }
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>6} ms  {line}"));
        }
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The seam, over a [`World`].
#[derive(Clone)]
pub struct SimRuntime(pub Arc<World>);

impl Runtime for SimRuntime {
    type Listener = SimListener;
    type Stream = SimStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.0.spawn(Owner::Server, task);
    }

    fn now(&self) -> Millis {
        Millis(self.0.now())
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        self.0.clone().sleep_until(at.0)
    }

    fn preempt(&self) -> impl Future<Output = ()> + Send {
        yield_now()
    }

    fn will_step(&self, event: &Event) {
        let mut log = self.0.log();
        log.events += 1;
        log.marks.event(event);
        log.write(self.0.now(), || format!("{event:?}"));
    }

    fn stepped(&self, effects: &[Effect]) {
        let mut log = self.0.log();
        for effect in effects {
            log.marks.effect(effect);
            log.write(self.0.now(), || format!("    {effect:?}"));
        }
    }
}
