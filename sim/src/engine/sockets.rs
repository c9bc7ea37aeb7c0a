//! The engine that keeps the others honest: the real runtime over real sockets, on loopback. What the simulated network does
//! not do like a real one, or a client gets wrong, shows here.
//!
//! Nothing can be decided here, and nothing goes wrong by itself; only time is made to pass faster.

use std::future::Future;
use std::io;
use std::sync::Arc;

use futures_lite::future::or;
use seriatim::server::runtime::Runtime;
use seriatim::server::serve;
use seriatim::server::smol::{Address, Smol, SmolListener, SmolStream};
use seriatim::{Effect, Event, Millis};

use super::Outcome;
use crate::choice::Choices;
use crate::client::{self, Place};
use crate::history::Recorder;
use crate::judge::{Violation, judge};
use crate::scenario::{Faults, Scenario};
use crate::world::{Record, World};

/// How long a run may take, in milliseconds of its own time, before somebody must be stuck.
const RUN_MS_MAX: u64 = 3_000_000;

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

    fn preempt(&self) -> impl Future<Output = ()> + Send {
        self.smol.preempt()
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
    fn connect(&self) -> impl Future<Output = io::Result<SmolStream>> + Send {
        SmolStream::connect(&self.address)
    }
}

/// Runs what the clients of a scenario do over real sockets, `speed` times as fast as it says, and judges it. Its faults,
/// its second signal and the sizes of its pipes do not count here.
///
/// # Errors
/// No socket can be had.
pub fn run(scenario: &Scenario, speed: u64, record: Record) -> io::Result<Outcome> {
    let listener = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned()))?;
    let recorder = Recorder::new(scenario.limits.recipients_max);
    // Nothing is spawned, decided or waited for through it.
    let world =
        World::new(Faults::default(), Choices::replay(Vec::new()), record, recorder.clone(), |_, _| {});
    let place = Hurried { smol: Smol::new(), speed, address: listener.address(), world: world.clone() };
    let (finished, finishes) = async_channel::unbounded();
    let played = Arc::new(scenario.clone());
    for client in 0..scenario.clients.len() {
        let playing = client::play(place.clone(), recorder.clone(), played.clone(), client);
        let finished = finished.clone();
        place.spawn(async move {
            playing.await;
            let _ = finished.send(()).await;
        });
    }
    start_server(scenario, &place, listener);
    let clients = scenario.clients.len();
    let mut came = 0;
    let all_done = async {
        while came < clients && finishes.recv().await.is_ok() {
            came += 1;
        }
    };
    place.smol.clone().block_on(or(all_done, place.sleep_until(Millis(RUN_MS_MAX))));
    let history = recorder.take();
    let violation = judge(&history).err().or_else(|| {
        (came < clients)
            .then(|| Violation::stuck(&history, format!("{came} of {clients} clients came to their end")))
    });
    let mut log = world.log();
    log.marks.history(&history);
    let (marks, events, trace) =
        (std::mem::take(&mut log.marks), log.events, log.trace.take().unwrap_or_default());
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
    })
}

fn start_server(scenario: &Scenario, place: &Hurried, listener: SmolListener) {
    let config = scenario.config();
    let (stop, waiting) = (scenario.stop, place.clone());
    let shutdown = async move {
        use crate::scenario::When;
        match stop.map(|stop| stop.at) {
            None => std::future::pending().await,
            Some(When::Ms(at)) => waiting.sleep_until(Millis(at)).await,
            Some(event @ When::Event(_)) => waiting.world.clone().wait_for(event).await,
        }
    };
    place.spawn(serve(place.clone(), vec![listener], config, shutdown));
}
