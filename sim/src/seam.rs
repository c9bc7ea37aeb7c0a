//! [`SimRuntime`]: the seam, over a simulated world and its network.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;

use futures::future::FutureExt;
use seriatim::server::runtime::{Observer, Runtime, TaskName};
use seriatim::{Effect, Event, Millis};
use smol::future::yield_now;

use crate::client::Place;
use crate::net::{Net, SimListener, SimStream};
use crate::world::{Who, World};

/// How many turns others have at most while something is done beside all tasks, unless that is slow.
const TURNS_MAX: usize = 8;

/// How long that takes then, in milliseconds.
const SLOW_MS: [u64; 4] = [1, 100, 1_000, 5_000];

/// The seam, for the server or for a client.
#[derive(Clone)]
pub struct SimRuntime {
    /// Time, tasks and choices.
    pub world: Arc<World>,
    /// Where clients find the server.
    pub net: Arc<Net>,
}

impl Runtime for SimRuntime {
    type Listener = SimListener;
    type Stream = SimStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn(Who::Server(None), survive(task));
    }

    fn spawn_named(&self, name: TaskName, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn(Who::Server(Some(name)), survive(task));
    }

    fn now(&self) -> Millis {
        Millis(self.world.now())
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        self.world.clone().sleep_until(at.0)
    }

    /// As long as it takes others to have a few turns, or much longer.
    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        let turns = 1 + self.world.choices().pick(TURNS_MAX);
        for _ in 0..turns {
            yield_now().await;
        }
        if self.world.goes_wrong(self.world.faults.slow_password) {
            let ms = SLOW_MS[self.world.choices().pick(SLOW_MS.len())];
            let what = || format!("verifying a password takes {ms} ms");
            self.world.befalls("a password took its time", None, what);
            self.world.clone().sleep_until(self.world.now() + ms).await;
        }
        if self.world.goes_wrong(self.world.faults.password_panic) {
            let what = || "what verifies a password panics".to_owned();
            self.world.befalls("what verifies a password panicked", None, what);
            resume_unwind(Box::new(Planned));
        }
        work()
    }

    fn yield_point(&self) -> impl Future<Output = ()> + Send {
        yield_now()
    }
}

/// Keeps the log of a run.
impl Observer for SimRuntime {
    fn before_step(&mut self, event: &Event) {
        self.world.will_step(event);
    }

    fn after_step(&mut self, effects: &[Effect]) {
        self.world.stepped(effects);
    }
}

/// A panic that is no bug.
struct Planned;

/// Runs a task that may panic as planned: that ends it and no other.
async fn survive(task: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await
        && !panic.is::<Planned>()
    {
        resume_unwind(panic);
    }
}

impl Place for SimRuntime {
    type Connection = SimStream;

    async fn connect(&self) -> io::Result<SimStream> {
        self.net.connect()
    }

    fn break_off(connection: &SimStream) {
        connection.break_off();
    }

    fn spawn_reader(&self, session: usize, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn(Who::Reader(session), task);
    }
}
