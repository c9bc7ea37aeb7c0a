//! [`World`]: the clock, the choices and the log of one run.

use std::collections::BTreeMap;
use std::collections::btree_map::OccupiedEntry;
use std::future::{Future, poll_fn};
use std::hash::Hasher;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};

use serde::{Deserialize, Serialize};
use seriatim::server::runtime::TaskName;
use seriatim::{ConnId, Effect, Event};

use crate::choice::Choices;
use crate::history::{History, Recorder, session_of};
use crate::marks::Marks;
use crate::scenario::{Faults, When};

/// How far a clock jumps, in milliseconds.
const JUMPS_MS: [u64; 3] = [100, 1_000, 5_000];

/// A task, as an engine takes it.
pub type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Which task one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// The server's first: the broker.
    Driver,
    /// Another one of the server's; `None` if it has no name.
    Server(Option<TaskName>),
    /// A client, by its place among all.
    Client(usize),
    /// What reads for a client, by the number of its session.
    Reader(usize),
    /// Whoever runs the server.
    Operator,
}

impl Who {
    /// The server's tasks all end when its process does.
    pub fn is_server(self) -> bool {
        matches!(self, Who::Driver | Who::Server(_))
    }
}

/// What neither a client nor the broker did: the network, the clock, a second signal, or whoever says which task runs next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Incident {
    /// Its place among all that clients did and saw.
    pub at: u64,
    /// When that was, in simulated milliseconds.
    pub now_ms: u64,
    /// The session that it befell, if it is one.
    pub session: Option<usize>,
    /// A task was held back: that is nothing out of the ordinary.
    pub is_turn: bool,
    /// In words.
    pub what: String,
}

/// What all tasks of a run share.
pub struct World {
    /// What goes wrong by itself.
    pub faults: Faults,
    /// How the engine starts a task.
    spawner: Box<dyn Fn(Who, Task) + Send + Sync>,
    choices: Mutex<Choices>,
    now: AtomicU64,
    timers: Mutex<Timers>,
    log: Mutex<Log>,
    /// The trace is wanted.
    pub traced: bool,
    recorder: Arc<Recorder>,
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
    /// Every event with its effects; `None` if not wanted.
    pub trace: Option<Vec<Step>>,
    /// What nobody did, if the trace is wanted.
    pub incidents: Vec<Incident>,
    /// Those who wait for the broker to be told of so many events.
    watchers: Vec<(u64, Waker)>,
}

/// The broker was told of an event.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// Its place among all that clients did and saw.
    pub at: u64,
    /// When that was, in simulated milliseconds.
    pub now_ms: u64,
    /// What it was told.
    pub event: Event,
    /// What it ordered.
    pub effects: Vec<Effect>,
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
    /// Every event with its effects.
    pub trace: bool,
}

impl World {
    /// A world at moment 0.
    pub fn new(
        faults: Faults,
        choices: Choices,
        record: Record,
        recorder: Arc<Recorder>,
        spawner: impl Fn(Who, Task) + Send + Sync + 'static,
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
            timers: Mutex::default(),
            log: Mutex::new(log),
            traced: record.trace,
            recorder,
        })
    }

    /// Starts a task.
    pub fn spawn(&self, who: Who, task: impl Future<Output = ()> + Send + 'static) {
        (self.spawner)(who, Box::pin(task));
    }

    /// The choices of this run. Nothing that waits or decides may happen while they are held.
    pub fn choices(&self) -> MutexGuard<'_, Choices> {
        lock(&self.choices)
    }

    /// Whether something goes wrong now that does in `permille` of 1000 cases while faults are on.
    pub fn goes_wrong(&self, permille: u32) -> bool {
        permille > 0 && self.now() < self.faults.until_ms && self.choices().happens(permille)
    }

    /// The stamp of what comes next.
    pub fn next_stamp(&self) -> u64 {
        self.recorder.next_stamp()
    }

    /// The moment it is, in milliseconds.
    pub fn now(&self) -> u64 {
        self.now.load(Ordering::SeqCst)
    }

    /// The log.
    pub fn log(&self) -> MutexGuard<'_, Log> {
        lock(&self.log)
    }

    /// The hash of everything so far, of every decision, and of what the clients wrote and read.
    pub fn digest(&self, history: &History) -> Option<u64> {
        let mut log = self.log();
        let digest = log.digest.as_mut()?;
        self.choices().taken.iter().for_each(|choice| digest.write_u32(choice.picked));
        digest.write(format!("{history:?}").as_bytes());
        Some(digest.finish())
    }

    /// Waits for a moment, or for the broker to be told of so many events.
    pub async fn wait_for(self: Arc<World>, when: When) {
        match when {
            When::Ms(at) => self.sleep_until(at).await,
            When::Event(count) => {
                poll_fn(|cx| {
                    let mut log = self.log();
                    if log.events >= count {
                        return Poll::Ready(());
                    }
                    log.watchers.push((count, cx.waker().clone()));
                    Poll::Pending
                })
                .await;
            }
        }
    }

    /// Something happened that nobody did: a mark, and words for whoever reads the trace.
    pub fn befalls(&self, mark: &'static str, session: Option<usize>, what: impl FnOnce() -> String) {
        self.log().marks.hit(mark);
        self.note(session, false, what);
    }

    /// Something for whoever reads the trace.
    pub fn note(&self, session: Option<usize>, is_turn: bool, what: impl FnOnce() -> String) {
        if self.traced {
            let (at, now_ms) = (self.recorder.stamp(), self.now());
            self.log().incidents.push(Incident { at, now_ms, session, is_turn, what: what() });
        }
    }

    /// This task could run, and others do first.
    pub fn holds_back(&self, who: Who) {
        let session = |conn: ConnId| session_of(conn, usize::MAX);
        let (session, what) = match who {
            Who::Driver => (None, "the broker"),
            Who::Server(Some(TaskName::Accept)) => (None, "the server's task that accepts"),
            Who::Server(Some(TaskName::ShutDown)) => (None, "the server's task that ends it"),
            Who::Server(Some(TaskName::Connection(conn))) => (session(conn), "the server's task for it"),
            Who::Server(Some(TaskName::Password(conn))) => (session(conn), "the verdict on its password"),
            Who::Server(None) => (None, "a task of the server's"),
            Who::Client(client) => {
                return self.note(None, true, || format!("client {} is held back", client + 1));
            }
            Who::Reader(session) => (Some(session), "what it reads"),
            Who::Operator => (None, "the operator"),
        };
        self.note(session, true, || format!("{what} is held back"));
    }

    /// The broker is being told of an event.
    pub fn will_step(&self, event: &Event) {
        let mut log = self.log();
        log.events += 1;
        log.marks.event(event);
        let (now_ms, count) = (self.now(), log.events);
        if let Some(digest) = &mut log.digest {
            digest.write(format!("{event:?}").as_bytes());
            digest.write_u64(now_ms);
        }
        if let Some(trace) = &mut log.trace {
            let at = self.recorder.stamp();
            trace.push(Step { at, now_ms, event: event.clone(), effects: Vec::new() });
        }
        if !log.watchers.is_empty() {
            let due = log.watchers.extract_if(.., |(at, _)| *at <= count).collect::<Vec<_>>();
            drop(log);
            due.into_iter().for_each(|(_, waker)| waker.wake());
        }
    }

    /// The broker has ordered this.
    pub fn stepped(&self, effects: &[Effect]) {
        let mut log = self.log();
        let log = &mut *log;
        effects.iter().for_each(|effect| log.marks.effect(effect));
        if let Some(digest) = &mut log.digest {
            digest.write(format!("{effects:?}").as_bytes());
        }
        if let Some(step) = log.trace.as_mut().and_then(|trace| trace.last_mut()) {
            step.effects.extend_from_slice(effects);
        }
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

    /// The clock may jump ahead, though there is something to do.
    pub fn perhaps_jump(&self) {
        if self.goes_wrong(self.faults.clock_jump) {
            let jump_ms = JUMPS_MS[self.choices().pick(JUMPS_MS.len())];
            self.befalls("the clock jumped", None, || format!("the clock jumps {jump_ms} ms ahead"));
            self.advance_to(self.now() + jump_ms);
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

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
