//! The tasks, and the queue of those whose turn it is: first woken, first run.

use std::collections::VecDeque;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake};

use ::mio::Waker;
use async_task::{Builder, Runnable, Task};
use pin_project_lite::pin_project;
use slab::Slab;

use super::lock;

pub(super) struct Executor {
    queue: Mutex<Queue>,
    /// Every task that is not done. A handle that is dropped cancels its task.
    tasks: Mutex<Slab<Task<()>>>,
    /// Ends a wait of the poller.
    waker: Waker,
}

#[derive(Default)]
struct Queue {
    jobs: VecDeque<Job>,
    /// The poller waits, or is about to: whoever brings a job must wake it. Nobody else need.
    resting: bool,
}

/// What has been woken.
pub(super) enum Job {
    /// The future that the run is all about.
    Outset,
    Task(Runnable),
}

impl Executor {
    pub(super) fn new(waker: Waker) -> Executor {
        Executor { queue: Mutex::default(), tasks: Mutex::default(), waker }
    }

    /// Starts a task. A panic in it ends it and no other.
    pub(super) fn spawn(self: &Arc<Self>, future: impl Future<Output = ()> + Send + 'static) {
        let executor = self.clone();
        let schedule = move |task| executor.push(Job::Task(task));
        let mut tasks = lock(&self.tasks);
        let entry = tasks.vacant_entry();
        let listed = Listed { executor: self.clone(), key: entry.key() };
        let future = Listing { future, listed };
        let (runnable, task) = Builder::new().propagate_panic(true).spawn(|()| future, schedule);
        entry.insert(task);
        drop(tasks);
        runnable.schedule();
    }

    pub(super) fn next(&self) -> Option<Job> {
        lock(&self.queue).jobs.pop_front()
    }

    fn push(&self, job: Job) {
        let mut queue = lock(&self.queue);
        queue.jobs.push_back(job);
        let resting = mem::take(&mut queue.resting);
        drop(queue);
        if resting {
            self.wake();
        }
    }

    /// Says that the poller is about to wait, unless there are jobs.
    pub(super) fn rest(&self) -> bool {
        let mut queue = lock(&self.queue);
        queue.resting = queue.jobs.is_empty();
        queue.resting
    }

    /// The poller waits no longer.
    pub(super) fn go_on(&self) {
        lock(&self.queue).resting = false;
    }

    /// Ends the poller's wait, if it waits.
    pub(super) fn interrupt(&self) {
        if mem::take(&mut lock(&self.queue).resting) {
            self.wake();
        }
    }

    fn wake(&self) {
        self.waker.wake().expect("the poller is there as long as its waker");
    }

    /// Drops all tasks, and those that they start while they are dropped.
    pub(super) fn drop_all(&self) {
        loop {
            let tasks = mem::take(&mut *lock(&self.tasks));
            // A task that is cancelled has one turn more, in which it is dropped.
            drop(tasks);
            let jobs = mem::take(&mut lock(&self.queue).jobs);
            if jobs.is_empty() && lock(&self.tasks).is_empty() {
                return;
            }
            drop(jobs);
        }
    }
}

/// A place in the list of tasks, which ends with the task.
struct Listed {
    executor: Arc<Executor>,
    key: usize,
}

impl Drop for Listed {
    fn drop(&mut self) {
        let task = lock(&self.executor.tasks).try_remove(self.key);
        if let Some(task) = task {
            task.detach();
        }
    }
}

pin_project! {
    /// A future that is listed. An async block that awaits it would hold it twice.
    struct Listing<F> {
        #[pin]
        future: F,
        listed: Listed,
    }
}

impl<F: Future> Future for Listing<F> {
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        self.project().future.poll(cx)
    }
}

/// Puts the future that the run is all about into the queue like the tasks, once however often it is woken.
pub(super) struct Outset {
    executor: Arc<Executor>,
    queued: AtomicBool,
}

impl Outset {
    pub(super) fn new(executor: Arc<Executor>) -> Outset {
        Outset { executor, queued: AtomicBool::new(false) }
    }

    /// Its turn begins: from now on it can be woken again.
    pub(super) fn begin(&self) {
        self.queued.store(false, Ordering::SeqCst);
    }
}

impl Wake for Outset {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if !self.queued.swap(true, Ordering::SeqCst) {
            self.executor.push(Job::Outset);
        }
    }
}
