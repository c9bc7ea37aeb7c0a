//! The world in production: one thread that runs the tasks and asks the operating system which sockets are ready.
//!
//! The shell is written as tasks that wait, as it would be for any runtime; what runs them here is thin, on
//! [mio](https://docs.rs/mio), which tells what sockets are ready, and [async-task](https://docs.rs/async-task). A general
//! runtime would do, but it asks the operating system about a socket whenever somebody waits for it, and sets a timer for
//! the waits. Here each socket is registered once, and the operating system tells of changes alone: in a round trip a message
//! costs one read, one write and one wait, where it cost 13 system calls, and about a quarter less of the server's CPU.
//!
//! - `executor`: the tasks, and the queue of those whose turn it is;
//! - `readiness`: which sockets are ready, and who waits for them;
//! - `timers`: who sleeps, and until when;
//! - [`sockets`]: TCP and unix sockets;
//! - [`tls`]: TLS over TCP.

mod executor;
mod readiness;
pub mod sockets;
mod timers;
pub mod tls;

use std::future::{Future, ready};
use std::io;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Context;
use std::time::{Duration, Instant};

use ::mio::{Events, Poll, Token, Waker};

use self::executor::{Executor, Job, Outset};
use self::readiness::Sockets;
use self::sockets::{MioListener, MioStream};
use self::timers::{Sleep, Timers};
use super::runtime::Runtime;
use crate::Millis;

/// How long tasks run before sockets and timers have their turn: whoever has nothing to do with those who keep them busy waits
/// no longer, and the task's turn that goes on by then.
const RUN_MAX: Duration = Duration::from_micros(100);

/// How many sockets one wait tells of at most.
const EVENTS_MAX: usize = 1024;

/// What the poller says when it is to wait no longer, and no socket is ready.
const WOKEN: Token = Token(usize::MAX);

/// Tasks, sockets and timers, driven by the thread that calls [`block_on`](Mio::block_on).
#[derive(Clone)]
pub struct Mio {
    executor: Arc<Executor>,
    sockets: Arc<Sockets>,
    timers: Arc<Timers>,
    /// Whoever drives the tasks holds it.
    poller: Arc<Mutex<Poller>>,
    start: Instant,
}

/// What waits for the operating system.
struct Poller {
    poll: Poll,
    events: Events,
}

impl Mio {
    /// A runtime whose clock starts now.
    ///
    /// # Errors
    /// The operating system has no more files or memory for it.
    pub fn new() -> io::Result<Mio> {
        let poll = Poll::new()?;
        let executor = Arc::new(Executor::new(Waker::new(poll.registry(), WOKEN)?));
        let sockets = Arc::new(Sockets::new(poll.registry().try_clone()?));
        let timers = Arc::new(Timers::new(executor.clone()));
        let poller = Arc::new(Mutex::new(Poller { poll, events: Events::with_capacity(EVENTS_MAX) }));
        Ok(Mio { executor, sockets, timers, poller, start: Instant::now() })
    }

    /// Runs the future and all tasks spawned, on this thread, until the future is ready. Tasks that are left then are
    /// dropped, with all that they hold.
    ///
    /// # Panics
    /// The runtime is being driven already, or a panic has ended that.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        let mut poller = self.poller.try_lock().expect("nobody else drives the runtime");
        let _end = End(&self.executor);
        let mut future = pin!(future);
        let outset = Arc::new(Outset::new(self.executor.clone()));
        let waker = outset.clone().into();
        let mut context = Context::from_waker(&waker);
        waker.wake_by_ref();
        loop {
            let begin = Instant::now();
            while begin.elapsed() < RUN_MAX {
                match self.executor.next() {
                    None => break,
                    Some(Job::Task(task)) => {
                        task.run();
                    }
                    Some(Job::Outset) => {
                        outset.begin();
                        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
                            return value;
                        }
                    }
                }
            }
            self.look(&mut poller);
        }
    }

    /// Looks which sockets are ready and whose time has come. Waits for them if there is nothing else to do.
    fn look(&self, Poller { poll, events }: &mut Poller) {
        let timeout = if self.executor.rest() { self.timers.time_left() } else { Some(Duration::ZERO) };
        let polled = poll.poll(events, timeout);
        self.executor.go_on();
        match polled {
            Ok(()) => {
                for event in events.iter().filter(|event| event.token() != WOKEN) {
                    self.sockets.tell(event);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // Only a bug does that, and to go on would be to spin.
            Err(error) => panic!("cannot wait for sockets: {error}"),
        }
        self.timers.ring();
    }
}

/// The end of a run, in order or not.
struct End<'a>(&'a Executor);

impl Drop for End<'_> {
    /// Tasks hold what wakes them, and so themselves: nothing else would ever drop them.
    fn drop(&mut self) {
        self.0.drop_all();
    }
}

impl Runtime for Mio {
    type Listener = MioListener;
    type Stream = MioStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(task);
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        Sleep::until(&self.timers, self.start.checked_add(Duration::from_millis(at.0)))
    }

    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        blocking::unblock(work)
    }

    fn preempt(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
