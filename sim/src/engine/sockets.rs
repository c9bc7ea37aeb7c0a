//! The engine that keeps the others honest: the real runtime over real sockets, on loopback. What the simulated network does
//! not do like a real one, or a client gets wrong, shows here.
//!
//! Nothing can be decided here, and nothing goes wrong by itself; only time is made to pass faster.

use std::future::Future;
use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use seriatim::server::runtime::{Observer, Runtime};
use seriatim::server::smol::sockets::{Address, SmolListener, SmolStream};
use seriatim::server::smol::{Smol, run as run_smol};
use seriatim::server::{Shutdown, start_observed};
use seriatim::{Effect, Event, Millis};
use smol::future::or;
use smol::net::TcpStream;

use super::Outcome;
use crate::choice::Choices;
use crate::client::{self, Place};
use crate::history::{History, Recorder};
use crate::judge::{Violation, judge};
use crate::orders::give;
use crate::scenario::{Faults, Scenario, When};
use crate::world::{Record, World};

/// How long a run may take, in milliseconds of its own time, before somebody must be stuck.
const RUN_MS_MAX: u64 = 3_000_000;

/// The same for a visit, which lasts seconds if all is well.
const VISIT_MS_MAX: u64 = 120_000;

/// The real runtime, for the server and for clients, with a clock that runs faster.
#[derive(Clone)]
struct Hurried {
    smol: Smol,
    speed: u64,
    /// Where the server listens.
    address: Address,
    /// Keeps the log; its clock follows the real one.
    world: Arc<World>,
}

impl Hurried {
    fn new(smol: Smol, speed: u64, address: Address, record: Record, recorder: &Arc<Recorder>) -> Hurried {
        let choices = Choices::replay(Vec::new());
        // Nothing is spawned, decided or waited for through it.
        let world = World::new(Faults::default(), choices, record, recorder.clone(), |_, _| {});
        Hurried { smol, speed, address, world }
    }

    /// Waits for a moment, or for the broker to be told of so many events.
    async fn wait_for(&self, when: When) {
        match when {
            When::Ms(at) => self.sleep_until(Millis(at)).await,
            When::Event(_) => self.world.clone().wait_for(when).await,
        }
    }
}

impl Runtime for Hurried {
    type Listener = SmolListener;
    type Stream = SmolStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.smol.spawn(task);
    }

    fn now(&self) -> Millis {
        Millis(self.smol.now().0.saturating_mul(self.speed))
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        self.smol.sleep_until(Millis(at.0.div_ceil(self.speed)))
    }

    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        self.smol.unblock(work)
    }

    fn yield_point(&self) -> impl Future<Output = ()> + Send {
        self.smol.yield_point()
    }
}

impl Observer for Hurried {
    fn before_step(&mut self, event: &Event) {
        self.world.advance_to(self.now().0);
        self.world.will_step(event);
    }

    fn after_step(&mut self, effects: &[Effect]) {
        self.world.stepped(effects);
    }
}

impl Place for Hurried {
    type Connection = TcpStream;

    async fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address.to_string()).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Lingers for no time at all, which makes TCP reset.
    fn break_off(connection: &TcpStream) {
        let _ = rustix::net::sockopt::set_socket_linger(connection, Some(Duration::ZERO));
    }
}

/// On how many threads the run of a seed is: 1, 2 or 4.
pub fn threads(seed: u64) -> NonZeroUsize {
    NonZeroUsize::new(1 << (seed % 3)).unwrap_or(NonZeroUsize::MIN)
}

/// Runs what the clients of a scenario do over real sockets, on so many threads, `speed` times as fast as it says, and judges
/// it. Its faults, its second signal and the sizes of its pipes do not count here.
///
/// # Errors
/// No socket can be had.
pub fn run(scenario: &Scenario, speed: u64, threads: NonZeroUsize, record: Record) -> io::Result<Outcome> {
    let scenario = scenario.clone();
    run_smol(threads, |smol| async move {
        let listener = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned()))?;
        // Everybody comes from this machine.
        let recorder = Recorder::new(&Scenario { origins: 0, ..scenario.clone() });
        let place = Hurried::new(smol, speed, listener.address(), record, &recorder);
        start_server(&scenario, &place, listener);
        let (history, violation) = play_all(&place, &recorder, scenario, RUN_MS_MAX).await;
        let mut log = place.world.log();
        log.marks.history(&history);
        let (marks, events, trace) =
            (std::mem::take(&mut log.marks), log.events, log.trace.take().unwrap_or_default());
        drop(log);
        let now_ms = place.now().0;
        Ok(Outcome {
            violation,
            history,
            taken: Vec::new(),
            marks,
            events,
            steps: 0,
            now_ms,
            digest: None,
            trace,
            incidents: Vec::new(),
        })
    })
}

/// Lets the clients of a scenario talk, in real time, through a server that is there already, and judges what they saw.
pub fn visit(scenario: &Scenario, address: &Address) -> (History, Option<Violation>) {
    let (scenario, address) = (scenario.clone(), address.clone());
    run_smol(NonZeroUsize::MIN, |smol| async move {
        let recorder = Recorder::new(&scenario);
        let place = Hurried::new(smol, 1, address, Record::default(), &recorder);
        play_all(&place, &recorder, scenario, VISIT_MS_MAX).await
    })
}

/// Lets all clients play to their end, but for so many milliseconds at most, and judges what they saw.
async fn play_all(
    place: &Hurried,
    recorder: &Arc<Recorder>,
    scenario: Scenario,
    most_ms: u64,
) -> (History, Option<Violation>) {
    let (finished, finishes) = async_channel::unbounded();
    let scenario = Arc::new(scenario);
    let clients = scenario.clients.len();
    for client in 0..clients {
        let playing = client::play(place.clone(), recorder.clone(), scenario.clone(), client);
        let finished = finished.clone();
        place.spawn(async move {
            playing.await;
            let _ = finished.send(()).await;
        });
    }
    let mut came = 0;
    let all_done = async {
        while came < clients && finishes.recv().await.is_ok() {
            came += 1;
        }
    };
    or(all_done, place.sleep_until(Millis(most_ms))).await;
    let history = recorder.take();
    let violation = judge(&history).err().or_else(|| {
        (came < clients)
            .then(|| Violation::stuck(&history, format!("{came} of {clients} clients came to their end")))
    });
    (history, violation)
}

fn start_server(scenario: &Scenario, place: &Hurried, listener: SmolListener) {
    let config = scenario.config();
    let (stop, waiting) = (scenario.stop, place.clone());
    let shutdown = async move {
        let Some(stop) = stop else { return std::future::pending().await };
        waiting.wait_for(stop.at).await;
        if stop.restart { Shutdown::Restart } else { Shutdown::Stop }
    };
    let (_, operator, serving) =
        start_observed(place.clone(), place.clone(), vec![listener], config, shutdown);
    place.spawn(serving);
    // Everybody comes from this machine, which cannot be banned.
    let (scenario, waiting) = (Scenario { origins: 0, ..scenario.clone() }, place.clone());
    place.spawn(async move {
        for order in &scenario.orders {
            waiting.wait_for(order.at).await;
            give(&order.what, &operator, &scenario, &waiting.world).await;
        }
    });
}
