//! From the first signal to the last byte: stop accepting, then tell the broker, which ends everything in order.

use std::future::Future;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_channel::Receiver;
use futures::future::FutureExt;

use super::ingress::Input;
use super::runtime::{Runtime, TaskName};
use super::{World, accept};

/// Why a server is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shutdown {
    /// It is over.
    Stop,
    /// Another one takes its place at once, and clients are told so.
    Restart,
}

/// Nothing is said of a reason.
impl From<()> for Shutdown {
    fn from((): ()) -> Shutdown {
        Shutdown::Stop
    }
}

/// Starts to accept on all listeners, until `shutdown` is ready. When the last listener has stopped, so that nobody new
/// can come behind it, the broker is told.
pub(super) fn accept_until<R: Runtime>(
    world: &Arc<World<R>>,
    listeners: Vec<R::Listener>,
    shutdown: impl Future<Output: Into<Shutdown>> + Send + 'static,
) {
    let ids = Arc::new(AtomicU64::new(1));
    // Nothing is ever sent on these two: each tells its receivers something by being dropped.
    let (accepting, stopped) = async_channel::bounded::<()>(1);
    let (listening, all_stopped) = async_channel::bounded::<()>(1);
    for listener in listeners {
        let (ids, stopped, listening) = (ids.clone(), stopped.clone(), listening.clone());
        let accepting = accept::run(world.clone(), listener, ids, dropped(stopped));
        let task = vital(world.clone(), "the task that accepts", async move {
            accepting.await;
            drop(listening);
        });
        world.runtime.spawn_named(TaskName::Accept, task);
    }
    drop(listening);
    let told = world.clone();
    let task = vital(world.clone(), "the task that shuts down", async move {
        let why = shutdown.await.into();
        drop(accepting);
        dropped(all_stopped).await;
        told.ingress.send(Input::ShutdownRequested(why));
    });
    world.runtime.spawn_named(TaskName::ShutDown, task);
}

/// Runs a task that the server cannot do without. If it panics, the driver is told: a server that accepts nobody, or that
/// nobody can stop, must not look like one that serves.
async fn vital<R: Runtime>(world: Arc<World<R>>, name: &'static str, task: impl Future<Output = ()>) {
    if let Err(panic) = AssertUnwindSafe(task).catch_unwind().await {
        world.ingress.send(Input::Panicked(name));
        resume_unwind(panic);
    }
}

/// Ready when the other end is gone.
async fn dropped(receiver: Receiver<()>) {
    while receiver.recv().await.is_ok() {}
}
