//! The engine that keeps the others honest: the real runtime over real sockets, on loopback. What the simulated network does
//! not do like a real one, or a client gets wrong, shows here.
//!
//! Nothing can be decided here, and nothing goes wrong by itself; only time is made to pass faster.

use std::future::Future;
use std::io;
use std::sync::Arc;

use futures_lite::future::or;
use seriatim::server::mio::Mio;
use seriatim::server::mio::sockets::{Address, MioListener, MioStream};
use seriatim::server::runtime::Runtime;
use seriatim::server::{Shutdown, start};
use seriatim::{Effect, Event, Millis};

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
    mio: Mio,
    speed: u64,
    /// Where the server listens.
    address: Address,
    /// Keeps the log; its clock follows the real one.
    world: Arc<World>,
}

impl Hurried {
    fn new(mio: Mio, speed: u64, address: Address, record: Record, recorder: &Arc<Recorder>) -> Hurried {
        let choices = Choices::replay(Vec::new());
        // Nothing is spawned, decided or waited for through it.
        let world = World::new(Faults::default(), choices, record, recorder.clone(), |_, _| {});
        Hurried { mio, speed, address, world }
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
    type Listener = MioListener;
    type Stream = MioStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.mio.spawn(task);
    }

    fn now(&self) -> Millis {
        Millis(self.mio.now().0.saturating_mul(self.speed))
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        self.mio.sleep_until(Millis(at.0.div_ceil(self.speed)))
    }

    fn unblock<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = T> + Send {
        self.mio.unblock(work)
    }

    fn preempt(&self) -> impl Future<Output = ()> + Send {
        self.mio.preempt()
    }

    fn will_step(&self, event: &Event) {
        self.world.advance_to(self.now().0);
        self.world.will_step(event);
    }

    fn stepped(&self, effects: &[Effect]) {
        self.world.stepped(effects);
    }
}

impl Place for Hurried {
    fn connect(&self) -> impl Future<Output = io::Result<MioStream>> + Send {
        MioStream::connect(&self.mio, &self.address)
    }
}

/// Runs what the clients of a scenario do over real sockets, `speed` times as fast as it says, and judges it. Its faults,
/// its second signal and the sizes of its pipes do not count here.
///
/// # Errors
/// No socket can be had.
pub fn run(scenario: &Scenario, speed: u64, record: Record) -> io::Result<Outcome> {
    let mio = Mio::new()?;
    let listener = MioListener::bind(&mio, &Address::Tcp("127.0.0.1:0".to_owned()))?;
    // Everybody comes from this machine.
    let recorder = Recorder::new(&Scenario { origins: 0, ..scenario.clone() });
    let place = Hurried::new(mio, speed, listener.address(), record, &recorder);
    start_server(scenario, &place, listener);
    let (history, violation) = play_all(&place, &recorder, scenario, RUN_MS_MAX);
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
}

/// Lets the clients of a scenario talk, in real time, through a server that is there already, and judges what they saw.
///
/// # Errors
/// No sockets can be watched.
pub fn visit(scenario: &Scenario, address: &Address) -> io::Result<(History, Option<Violation>)> {
    let recorder = Recorder::new(scenario);
    let place = Hurried::new(Mio::new()?, 1, address.clone(), Record::default(), &recorder);
    Ok(play_all(&place, &recorder, scenario, VISIT_MS_MAX))
}

/// Lets all clients play to their end, but for so many milliseconds at most, and judges what they saw.
fn play_all(
    place: &Hurried,
    recorder: &Arc<Recorder>,
    scenario: &Scenario,
    most_ms: u64,
) -> (History, Option<Violation>) {
    let (finished, finishes) = async_channel::unbounded();
    let scenario = Arc::new(scenario.clone());
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
    place.mio.clone().block_on(or(all_done, place.sleep_until(Millis(most_ms))));
    let history = recorder.take();
    let violation = judge(&history).err().or_else(|| {
        (came < clients)
            .then(|| Violation::stuck(&history, format!("{came} of {clients} clients came to their end")))
    });
    (history, violation)
}

fn start_server(scenario: &Scenario, place: &Hurried, listener: MioListener) {
    let config = scenario.config();
    let (stop, waiting) = (scenario.stop, place.clone());
    let shutdown = async move {
        let Some(stop) = stop else { return std::future::pending().await };
        waiting.wait_for(stop.at).await;
        if stop.restart { Shutdown::Restart } else { Shutdown::Stop }
    };
    let (_, operator, serving) = start(place.clone(), vec![listener], config, shutdown);
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
