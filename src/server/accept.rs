//! One task per listener: it accepts, tells the driver, and starts the connection's task.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures_lite::future::or;
use tracing::{debug, warn};

use super::ingress::Input;
use super::outbox::Outbox;
use super::runtime::{Listener, PeerAddr, Runtime};
use super::{World, conn};
use crate::ConnId;

/// How long to wait when accepting fails, in milliseconds: what is exhausted (file descriptors, memory) comes back only
/// when somebody leaves.
const RETRY_MS: u64 = 100;

/// Accepts until `stopped` is ready. No error ends it.
pub(super) async fn run<R: Runtime>(
    world: Arc<World<R>>,
    listener: R::Listener,
    ids: Arc<AtomicU64>,
    stopped: impl Future<Output = ()>,
) {
    let mut stopped = pin!(stopped);
    while let Some(accepted) = or(stop(&mut stopped), accept(&world, &listener)).await {
        let (stream, peer) = accepted;
        // Outside the race with `stopped`: whoever was accepted is served.
        let permit = world.ingress.permit().await;
        let conn = ConnId(ids.fetch_add(1, Ordering::Relaxed));
        debug!(%conn, %peer, "connected");
        let outbox = Arc::new(Outbox::new(world.config.outbox_bytes_max));
        world.ingress.send(Input::Connected(conn, outbox.clone(), permit));
        world.runtime.preempt().await;
        world.runtime.spawn(conn::run(world.clone(), conn, peer, stream, outbox));
    }
}

async fn stop<T>(stopped: &mut Pin<&mut impl Future<Output = ()>>) -> Option<T> {
    stopped.await;
    None
}

/// The next connection, however many attempts fail before.
async fn accept<R: Runtime>(world: &World<R>, listener: &R::Listener) -> Option<(R::Stream, PeerAddr)> {
    loop {
        match listener.accept().await {
            Ok(accepted) => return Some(accepted),
            Err(error) => {
                warn!(%error, "cannot accept a connection");
                world.runtime.sleep_until(world.runtime.now().plus(RETRY_MS)).await;
            }
        }
    }
}
