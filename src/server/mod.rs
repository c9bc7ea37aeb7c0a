//! The shell: sockets, tasks, time and the queue. It decides nothing: what is to be done, [`step`](crate::step) says.
//!
//! In reading order:
//! - [`runtime`]: the seam: all that the shell needs of the world, so that a simulator can stand in for it;
//! - [`mod@smol`]: the runtime in production;
//! - `ingress`: the one queue, bounded, into the driver;
//! - `buffers`: memory to read into;
//! - [`outbox`]: the bounded queue to one client, and the driver's orders about it;
//! - [`staged`]: the driver's end of an outbox;
//! - `driver`: takes from the queue, steps, carries out the effects. The only caller of `step`;
//! - [`passwords`]: whether they are right, found out beside all else;
//! - `pace`: how fast one client's lines are taken;
//! - `conn`: one task per connection;
//! - [`accept`]: one task per listener;
//! - `repeats`: what the log says again and again;
//! - `shutdown`: from the first signal to the last byte;
//! - [`operator`]: what whoever runs it can ask of it;
//! - [`metrics`]: what can be seen of it from outside;
//! - `http`, with the feature of that name: the same for whoever speaks HTTP.
//!
//! No channel of this graph can block in a circle: connections wait for the queue, the driver waits for nobody, and an
//! outbox never waits (guarantee G11).

pub mod accept;
mod buffers;
mod conn;
mod driver;
#[cfg(feature = "http")]
pub mod http;
mod ingress;
pub mod metrics;
pub mod operator;
pub mod outbox;
mod pace;
pub mod passwords;
mod repeats;
pub mod runtime;
mod shutdown;
pub mod smol;
pub mod staged;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

use crate::protocol::Name;
use crate::{Limits, State};
use ingress::Input;
use metrics::{Tally, Watch};
use operator::Operator;
use outbox::Room;
use passwords::{Passwords, Verifier};
use runtime::{Observer, Runtime};
pub use shutdown::Shutdown;

/// How a server is to behave.
#[derive(Clone)]
pub struct Config {
    /// What the core allows.
    pub limits: Limits,
    /// How many bytes may wait for one client. Beyond that it is closed as too slow.
    pub outbox_bytes_max: usize,
    /// How many bytes may wait for all clients together. Beyond that, whoever has more than the floor waiting is closed as
    /// too slow when more comes.
    pub outbox_bytes_total_max: usize,
    /// How many bytes may wait for one client whatever waits for the others.
    pub outbox_bytes_floor: usize,
    /// How many lines a client may send in a second; beyond that it is read more slowly.
    pub lines_per_second_max: Option<u32>,
    /// How long a client may take nothing of what is being written to it, in milliseconds. Beyond that its connection is
    /// reset.
    pub write_ms_max: Option<u64>,
    /// Addresses to which the limits for each address do not apply.
    pub exempt: Vec<IpNet>,
    /// Knows the passwords of accounts, whose names the broker is told.
    pub passwords: Option<Arc<dyn Passwords>>,
    /// How many passwords are verified side by side: each takes a processor, and some memory, for a while.
    pub passwords_at_once: usize,
    /// Their names, to begin with.
    pub accounts: Vec<Name>,
    /// Keys the hash of names: random in production, fixed in a simulation.
    pub hash_seed: [u64; 2],
    /// How work is divided.
    pub tuning: Tuning,
}

/// How the server divides its work. The defaults are measured; a simulation tries others, which must keep every guarantee.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tuning {
    /// Maximum number of reads and new connections in the driver's queue, at least 1.
    pub permits: usize,
    /// Maximum number of bytes that a connection reads while there is no permit, at least 1 and at most 1,024. Only a connection
    /// over which something has come waits for a permit.
    pub first_bytes_max: usize,
    /// A reply to so many recipients or more is a broadcast.
    pub broadcast_min: usize,
    /// Maximum number of recipients of broadcasts that are handed what is staged for them before the connections have a turn, at
    /// least 1. The smaller, the more comes together for each while it waits, and the fewer writers stand between a client and
    /// its turn.
    pub broadcast_writes_max: usize,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning { permits: 16, first_bytes_max: 512, broadcast_min: 32, broadcast_writes_max: 64 }
    }
}

impl Default for Config {
    /// The default limits, 1 MiB for each outbox and 1 GiB for all, 30 s for a write, loopback exempt, and a seed from the operating system's randomness.
    fn default() -> Config {
        use std::hash::{BuildHasher, RandomState};
        let random = || RandomState::new().hash_one(0);
        Config {
            limits: Limits::default(),
            outbox_bytes_max: 1024 * 1024,
            outbox_bytes_total_max: 1024 * 1024 * 1024,
            outbox_bytes_floor: 64 * 1024,
            lines_per_second_max: None,
            write_ms_max: Some(30_000),
            exempt: loopback(),
            passwords: None,
            passwords_at_once: 1,
            accounts: Vec::new(),
            hash_seed: [random(), random()],
            tuning: Tuning::default(),
        }
    }
}

/// The addresses of the machine itself.
fn loopback() -> Vec<IpNet> {
    let v4 = Ipv4Net::new_assert(Ipv4Addr::new(127, 0, 0, 0), 8);
    let v6 = Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128);
    vec![v4.into(), v6.into()]
}

/// Serves all that connect to `listeners`, until `shutdown` is ready and everybody has been flushed and gone, or the
/// drain deadline has passed.
pub async fn serve<R: Runtime>(
    runtime: R,
    listeners: Vec<R::Listener>,
    config: Config,
    shutdown: impl Future<Output: Into<Shutdown>> + Send + 'static,
) {
    let (_, _, served) = start(runtime, listeners, config, shutdown);
    served.await;
}

/// As [`serve`], but begins to accept at once, and returns what looks at the server and what gives it orders beside
/// the future that serves.
pub fn start<R: Runtime>(
    runtime: R,
    listeners: Vec<R::Listener>,
    config: Config,
    shutdown: impl Future<Output: Into<Shutdown>> + Send + 'static,
) -> (Watch, Operator, impl Future<Output = ()> + Send) {
    start_observed(runtime, (), listeners, config, shutdown)
}

/// As [`start`], with an observer of every event and its effects.
pub fn start_observed<R: Runtime>(
    runtime: R,
    observer: impl Observer,
    listeners: Vec<R::Listener>,
    config: Config,
    shutdown: impl Future<Output: Into<Shutdown>> + Send + 'static,
) -> (Watch, Operator, impl Future<Output = ()> + Send) {
    let (ingress, inputs) = ingress::queue(config.tuning.permits);
    let state = State::new(config.limits.clone(), config.hash_seed);
    if !config.accounts.is_empty() {
        ingress.send(Input::AccountsChanged(config.accounts.clone())); // before anybody comes
    }
    let verifier =
        Verifier::new(runtime.clone(), ingress.clone(), config.passwords.clone(), config.passwords_at_once);
    let tuning = config.tuning;
    let room = Room::new(config.outbox_bytes_max, config.outbox_bytes_total_max, config.outbox_bytes_floor);
    let tally = Arc::<Tally>::default();
    let watch = Watch::new(ingress.clone(), room.clone(), tally.clone());
    let operator = Operator::new(ingress.clone());
    let ends = conn::EndLog::default();
    let world = Arc::new(World { runtime: runtime.clone(), ingress, room, ends, tally, config });
    shutdown::accept_until(&world, listeners, shutdown);
    (watch, operator, driver::Driver::new(runtime, observer, tuning, inputs, state, verifier).run())
}

/// What every task of one server shares.
struct World<R> {
    runtime: R,
    ingress: ingress::Ingress,
    /// For the outboxes.
    room: Arc<Room>,
    ends: conn::EndLog,
    tally: Arc<Tally>,
    config: Config,
}
