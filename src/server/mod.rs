//! The shell: sockets, tasks, time and the queue. It decides nothing: what is to be done, [`step`](crate::step) says.
//!
//! In reading order:
//! - [`runtime`]: the seam: all that the shell needs of the world, so that a simulator can stand in for it;
//! - [`mod@smol`]: the world in production;
//! - `ingress`: the one queue, bounded, into the driver;
//! - [`outbox`]: the bounded queue to one client, and the driver's orders about it;
//! - `driver`: takes from the queue, steps, carries out the effects. The only caller of `step`;
//! - `conn`: one task per connection;
//! - `accept`: one task per listener;
//! - `shutdown`: from the first signal to the last byte.
//!
//! No channel of this graph can block in a circle: connections wait for the queue, the driver waits for nobody, and an
//! outbox never waits (guarantee G11).

mod accept;
mod conn;
mod driver;
mod ingress;
pub mod outbox;
pub mod runtime;
mod shutdown;
pub mod smol;

use std::future::Future;
use std::sync::Arc;

use crate::{Limits, State};
use runtime::Runtime;

/// How a server is to behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// What the core allows.
    pub limits: Limits,
    /// How many bytes may wait for one client. Beyond that it is closed as too slow.
    pub outbox_bytes_max: usize,
    /// Keys the hash of names: random in production, fixed in a simulation.
    pub hash_seed: [u64; 2],
}

impl Default for Config {
    /// The default limits, 1 MiB for each outbox, and a seed from the operating system's randomness.
    fn default() -> Config {
        use std::hash::{BuildHasher, RandomState};
        let random = || RandomState::new().hash_one(0);
        Config { limits: Limits::default(), outbox_bytes_max: 1024 * 1024, hash_seed: [random(), random()] }
    }
}

/// Serves all that connect to `listeners`, until `shutdown` is ready and everybody has been flushed and gone, or the
/// drain deadline has passed.
pub async fn serve<R: Runtime>(
    runtime: R,
    listeners: Vec<R::Listener>,
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) {
    let (ingress, inputs) = ingress::queue();
    let state = State::new(config.limits.clone(), config.hash_seed);
    let world = Arc::new(World { runtime: runtime.clone(), ingress, config });
    shutdown::accept_until(&world, listeners, shutdown);
    driver::Driver::new(runtime, inputs, state).run().await;
}

/// What every task of one server shares.
struct World<R> {
    runtime: R,
    ingress: ingress::Ingress,
    config: Config,
}
