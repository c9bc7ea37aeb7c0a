//! From the first signal to the last byte: stop accepting, then tell the broker, which ends everything in order.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_channel::Receiver;

use super::ingress::Input;
use super::runtime::Runtime;
use super::{World, accept};

/// Starts to accept on all listeners, until `shutdown` is ready. When the last listener has stopped, so that nobody new
/// can come behind it, the broker is told.
pub(super) fn accept_until<R: Runtime>(
    world: &Arc<World<R>>,
    listeners: Vec<R::Listener>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let ids = Arc::new(AtomicU64::new(1));
    // Nothing is ever sent on these two: each tells its receivers something by being dropped.
    let (accepting, stopped) = async_channel::bounded::<()>(1);
    let (listening, all_stopped) = async_channel::bounded::<()>(1);
    for listener in listeners {
        let (world, ids, stopped, listening) =
            (world.clone(), ids.clone(), stopped.clone(), listening.clone());
        let runtime = world.runtime.clone();
        runtime.spawn(async move {
            accept::run(world, listener, ids, dropped(stopped)).await;
            drop(listening);
        });
    }
    drop(listening);
    let world = world.clone();
    let runtime = world.runtime.clone();
    runtime.spawn(async move {
        shutdown.await;
        drop(accepting);
        dropped(all_stopped).await;
        world.ingress.send(Input::ShutdownRequested);
    });
}

/// Ready when the other end is gone.
async fn dropped(receiver: Receiver<()>) {
    while receiver.recv().await.is_ok() {}
}
