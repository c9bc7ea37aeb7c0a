//! The driver: the only caller of [`step`](crate::step). It takes inputs from the queue, one after another, and carries
//! out what the broker orders. It never waits for anybody.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_channel::Receiver;
use futures_lite::future::{or, yield_now};
use hashbrown::HashMap;
use tracing::debug;

use super::ingress::Input;
use super::outbox::{Outbox, Push};
use super::runtime::Runtime;
use crate::protocol::{Reply, Request};
use crate::{ConnId, Effect, Event, Millis, State, step_into};

pub(super) struct Driver<R> {
    runtime: R,
    inputs: Receiver<Input>,
    state: State,
    outboxes: HashMap<ConnId, Arc<Outbox>, foldhash::fast::FixedState>,
    /// Facts that the driver itself found, to be told to the broker before anything else.
    found: VecDeque<Event>,
    alarm: Option<Alarm>,
    stopped: bool,
    /// An outbox fills while its connection waits for a turn.
    pressed: bool,
    /// Kept to be filled again: the effects of one event, and one rendered reply.
    effects: Vec<Effect>,
    lines: Vec<u8>,
}

/// The timer for the broker's next deadline.
struct Alarm {
    at: Millis,
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<R: Runtime> Driver<R> {
    pub(super) fn new(runtime: R, inputs: Receiver<Input>, state: State) -> Driver<R> {
        Driver {
            runtime,
            inputs,
            state,
            outboxes: HashMap::default(),
            found: VecDeque::new(),
            alarm: None,
            stopped: false,
            pressed: false,
            effects: Vec::new(),
            lines: Vec::new(),
        }
    }

    /// Runs until the broker says stop.
    pub(super) async fn run(mut self) {
        while !self.stopped {
            let input = self.next().await;
            if input.is_none() {
                self.tell_time();
            }
            // All that is there at once, so that writers find much to write.
            let mut next = input;
            while let Some(input) = next {
                self.take(input).await;
                self.runtime.preempt().await;
                next = self.inputs.try_recv().ok();
            }
        }
    }

    /// Waits for an input or the broker's next deadline, whichever comes first.
    async fn next(&mut self) -> Option<Input> {
        self.runtime.preempt().await;
        let input = async { self.inputs.recv().await.ok() };
        let Some(at) = self.state.next_deadline() else {
            self.alarm = None;
            return input.await;
        };
        if self.alarm.as_ref().is_none_or(|alarm| alarm.at != at) {
            self.alarm = Some(Alarm { at, timer: Box::pin(self.runtime.sleep_until(at)) });
        }
        let alarm = async {
            if let Some(alarm) = &mut self.alarm {
                alarm.timer.as_mut().await;
            }
            None
        };
        let input = or(input, alarm).await;
        if input.is_none() {
            self.alarm = None; // it has rung
        }
        input
    }

    fn tell_time(&mut self) {
        let now = self.runtime.now();
        if now > self.state.now() {
            self.tell(Event::Ticked(now));
        }
    }

    async fn take(&mut self, input: Input) {
        self.tell_time();
        match input {
            Input::Connected(conn, outbox, _permit) => {
                self.outboxes.insert(conn, outbox);
                self.tell(Event::Connected(conn));
            }
            Input::Requests(conn, requests, _permit) => self.take_requests(conn, requests).await,
            Input::Ended(conn, requests) => {
                self.take_requests(conn, requests).await;
                self.tell(Event::InputEnded(conn));
            }
            Input::Disconnected(conn) => {
                self.tell(Event::Disconnected(conn));
                self.outboxes.remove(&conn);
            }
            Input::ShutdownRequested => self.tell(Event::ShutdownRequested),
        }
    }

    async fn take_requests(&mut self, conn: ConnId, requests: Vec<Request>) {
        for request in requests {
            self.tell(Event::Requested(conn, request));
            if self.pressed {
                // To be too slow, a client must have had the chance to be fast: let the connections run once.
                self.pressed = false;
                yield_now().await;
            }
        }
    }

    /// Steps, and carries out what the broker says, and so on until nothing is left to be told.
    fn tell(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            let mut effects = std::mem::take(&mut self.effects);
            step_into(&mut self.state, event, &mut effects);
            for effect in effects.drain(..) {
                self.carry_out(effect);
            }
            self.effects = effects;
            next = self.found.pop_front();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, reply } => {
                self.lines.clear();
                reply.render(self.state.limits().line_bytes_max, &mut self.lines);
                for conn in to {
                    let Some(outbox) = self.outboxes.get(&conn) else { continue };
                    if matches!(reply, Reply::Bye(_)) {
                        outbox.push_farewell(&self.lines);
                        continue;
                    }
                    match outbox.push(&self.lines) {
                        Push::Accepted | Push::Sealed => {}
                        Push::Pressing => self.pressed = true,
                        Push::Overflowed => self.found.push_back(Event::OutboxOverflowed(conn)),
                    }
                }
            }
            Effect::StopReading(conn) => self.order(conn, Outbox::stop_reading),
            Effect::Close { conn, reason } => {
                debug!(%conn, %reason, "closing");
                self.order(conn, |outbox| outbox.close(reason));
            }
            Effect::Abort(conn) => {
                debug!(%conn, "giving up what still waits for it");
                self.order(conn, Outbox::abort);
            }
            Effect::Stop => self.stopped = true,
        }
    }

    fn order(&self, conn: ConnId, order: impl FnOnce(&Outbox)) {
        if let Some(outbox) = self.outboxes.get(&conn) {
            order(outbox);
        }
    }
}
