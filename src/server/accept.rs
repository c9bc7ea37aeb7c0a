//! One task per listener: it accepts, tells the driver, and starts the connection's task. And [`Door`], for whatever else listens.

use std::future::Future;
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smol::future::or;
use tracing::{debug, warn};

use super::ingress::Input;
use super::outbox::Outbox;
use super::repeats::Repeats;
use super::runtime::{Listener, PeerAddr, Runtime, TaskName};
use super::{Config, World, conn};
use crate::rate::Rate;
use crate::{ConnId, Millis, Origin};

/// How long to wait when accepting fails, in milliseconds: what is exhausted (file descriptors, memory) comes back only
/// when somebody leaves.
const RETRY_MS: u64 = 100;

/// How many failures in a row may concern a connection each before there is a pause all the same: what does not end is no
/// such thing.
const ALONE_IN_A_ROW_MAX: u32 = 16;

/// How often the log tells of that.
const WARNINGS: Rate = Rate { count: 10, per_ms: 60_000 };

/// Accepts until `stopped` is ready. No error ends it.
pub(super) async fn run<R: Runtime>(
    world: Arc<World<R>>,
    listener: R::Listener,
    ids: Arc<AtomicU64>,
    stopped: impl Future<Output = ()>,
) {
    let mut stopped = pin!(stopped);
    let mut door = Door::new(world.runtime.clone(), listener, "a connection");
    door.failed = world.tally.accept_failures.clone();
    while let Some(accepted) = or(stop(&mut stopped), async { Some(door.accept().await) }).await {
        let (stream, peer) = accepted;
        // Outside the race with `stopped`: whoever was accepted is served.
        let permit = world.ingress.arrival().await;
        let conn = ConnId(ids.fetch_add(1, Ordering::Relaxed));
        debug!(%conn, %peer, "connected");
        let outbox = Arc::new(Outbox::new(world.room.clone()));
        let origin = origin(&world.config, peer);
        world.ingress.send(Input::Connected(conn, origin, outbox.clone(), permit));
        world.runtime.yield_point().await;
        let serving = conn::run(world.clone(), conn, peer, stream, outbox);
        world.runtime.spawn_named(TaskName::Connection(conn), serving);
    }
}

/// Where a client comes from, as far as limits go.
fn origin(config: &Config, peer: PeerAddr) -> Origin {
    match peer {
        PeerAddr::Unix => Origin::Exempt,
        PeerAddr::Tcp(address) => {
            let address = address.ip().to_canonical();
            let exempt = config.exempt.iter().any(|network| network.contains(&address));
            if exempt { Origin::Exempt } else { Origin::of(address) }
        }
    }
}

async fn stop<T>(stopped: &mut Pin<&mut impl Future<Output = ()>>) -> Option<T> {
    stopped.await;
    None
}

/// Where connections come in. It is never closed by an error.
pub struct Door<R: Runtime> {
    runtime: R,
    listener: R::Listener,
    what: &'static str,
    failures: Repeats,
    /// How often accepting has failed.
    failed: Arc<AtomicU64>,
}

impl<R: Runtime> Door<R> {
    /// What comes in there is called so in the log.
    pub fn new(runtime: R, listener: R::Listener, what: &'static str) -> Door<R> {
        Door { runtime, listener, what, failures: Repeats::default(), failed: Arc::default() }
    }

    /// The next connection, however many attempts fail before.
    pub async fn accept(&mut self) -> (R::Stream, PeerAddr) {
        let mut alone_in_a_row = 0;
        loop {
            let error = match self.listener.accept().await {
                Ok(accepted) => return accepted,
                Err(error) => error,
            };
            let now = self.runtime.now();
            self.tell(&error, now);
            if is_of_one_connection(&error) && alone_in_a_row < ALONE_IN_A_ROW_MAX {
                alone_in_a_row += 1; // the next is as good as any
            } else {
                alone_in_a_row = 0;
                self.runtime.sleep_until(now.plus(RETRY_MS)).await;
            }
        }
    }

    fn tell(&mut self, error: &io::Error, now: Millis) {
        let what = self.what;
        self.failed.fetch_add(1, Ordering::Relaxed);
        match self.failures.take(WARNINGS, now) {
            Some(others) => warn!(%error, others, "cannot accept {what}"),
            None => debug!(%error, "cannot accept {what}, as before"),
        }
    }
}

/// Whether nothing is wrong but with the connection that was to be accepted: it is gone already, as a rule.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkUnreachable,
    };
    matches!(
        error.kind(),
        ConnectionAborted | ConnectionReset | HostUnreachable | Interrupted | NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_exempt_is_said_by_networks() {
        let config = Config::default();
        let exempt = |config: &Config, address: &str| {
            origin(config, PeerAddr::Tcp(address.parse().unwrap())) == Origin::Exempt
        };
        for address in ["127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
            assert!(exempt(&config, address), "{address}");
        }
        for address in ["192.0.2.1:1", "[::2]:1", "[2001:db8::1]:1", "[::ffff:192.0.2.1]:1"] {
            assert!(!exempt(&config, address), "{address}");
        }
        assert_eq!(origin(&config, PeerAddr::Unix), Origin::Exempt);
        let config = Config { exempt: vec!["2001:db8::/32".parse().unwrap()], ..config };
        assert!(exempt(&config, "[2001:db8:ffff::1]:1") && !exempt(&config, "127.0.0.1:1"));
    }
}
