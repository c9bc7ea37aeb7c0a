//! [`SimRuntime`]: the seam, over a simulated world and its network.

use std::future::Future;
use std::io;
use std::sync::Arc;

use futures_lite::future::yield_now;
use seriatim::server::runtime::Runtime;
use seriatim::{Effect, Event, Millis};

use crate::client::Place;
use crate::net::{Net, SimListener, SimStream};
use crate::world::{Owner, World};

/// The seam, for the server or for a client.
#[derive(Clone)]
pub struct SimRuntime {
    /// Time, tasks and choices.
    pub world: Arc<World>,
    /// Where clients find the server.
    pub net: Arc<Net>,
    /// Whose tasks are started through it.
    pub owner: Owner,
}

impl Runtime for SimRuntime {
    type Listener = SimListener;
    type Stream = SimStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.world.spawn(self.owner, task);
    }

    fn now(&self) -> Millis {
        Millis(self.world.now())
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        self.world.clone().sleep_until(at.0)
    }

    /// As long as it takes others to have a turn, or many.
    async fn unblock<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> T {
        yield_now().await;
        work()
    }

    fn preempt(&self) -> impl Future<Output = ()> + Send {
        yield_now()
    }

    fn will_step(&self, event: &Event) {
        self.world.will_step(event);
    }

    fn stepped(&self, effects: &[Effect]) {
        self.world.stepped(effects);
    }
}

impl Place for SimRuntime {
    async fn connect(&self) -> io::Result<SimStream> {
        self.net.connect()
    }
}
