//! The runtime in production: [smol](https://docs.rs/smol).
//!
//! - [`sockets`]: TCP and unix sockets, on [`smol::Async`];
//! - [`tls`]: TLS over TCP, by futures-rustls.

pub mod sockets;
pub mod tls;

#[cfg(test)]
mod tests;

use std::future::{Future, ready};
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use ::smol::future::{or, yield_now};
use ::smol::{Executor, Timer};

use self::sockets::{SmolListener, SmolStream};
use super::runtime::Runtime;
use crate::Millis;

/// How long tasks run before sockets and timers have their turn, and the task that goes on by then.
const RUN_MAX: Duration = Duration::from_micros(200);

/// A handle to the executor of [`run`], and the clock.
#[derive(Clone)]
pub struct Smol {
    /// Tasks hold this handle. If they owned the executor, which owns the tasks, nothing would ever drop them.
    executor: Weak<Executor<'static>>,
    start: Instant,
}

/// Runs `main` and all tasks that it spawns, on this thread and `threads - 1` others, until `main` is done. Tasks that are left
/// are dropped then, with everything they hold.
///
/// # Panics
/// `main` panics. The operating system has no more threads.
pub fn run<T, F>(threads: NonZeroUsize, main: impl FnOnce(Smol) -> F) -> T
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    let executor = Arc::new(Executor::new());
    let runtime = Smol { executor: Arc::downgrade(&executor), start: Instant::now() };
    // A task like the others: polled by `block_on` itself it would wait for the others each time.
    let main = executor.spawn(main(runtime));
    // Dropping the sender, here or in a panic, ends the other threads.
    let (running, ended) = async_channel::bounded::<()>(1);
    thread::scope(|scope| {
        for _ in 1..threads.get() {
            let (executor, ended) = (&executor, ended.clone());
            scope.spawn(move || {
                ::smol::block_on(or(async { ended.recv().await.is_err() }, run_tasks(executor)))
            });
        }
        let _running = running;
        ::smol::block_on(or(main, run_tasks(&executor)))
    })
}

/// Runs tasks for ever, first woken, first run. [`Executor::run`] would look for ready sockets after 200 tasks, whatever those
/// take: beside a client that floods with blank lines everybody else would wait for 200 of its reads.
async fn run_tasks<T>(executor: &Executor<'static>) -> T {
    loop {
        executor.tick().await;
        let begin = Instant::now();
        while executor.try_tick() {
            if begin.elapsed() >= RUN_MAX {
                yield_now().await;
                break;
            }
        }
    }
}

impl Runtime for Smol {
    type Listener = SmolListener;
    type Stream = SmolStream;

    /// A panic ends the task and no other. After the end of [`run`] the task is dropped at once.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        if let Some(executor) = self.executor.upgrade() {
            executor.spawn(task).detach();
        }
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        let at = self.start.checked_add(Duration::from_millis(at.0));
        let timer = at.map_or_else(Timer::never, Timer::at);
        async {
            timer.await;
        }
    }

    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        ::smol::unblock(work)
    }

    fn yield_point(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// Nothing panics while it holds one of these locks.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
