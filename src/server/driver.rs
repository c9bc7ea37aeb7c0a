//! The driver: the only caller of [`step`](crate::step). It takes inputs from the queue, one after another, and carries
//! out what the broker orders. It never waits for anybody.

use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::{thread, vec};

use async_channel::Receiver;
use smol::future::{or, yield_now};
use tracing::{debug, error, info};

use super::Tuning;
use super::ingress::{Input, Permit};
use super::metrics::{Measures, Told};
use super::operator::{Order, Peer};
use super::passwords::Verifier;
use super::runtime::{Observer, Runtime};
use super::shutdown::Shutdown;
use super::staged::{Listed, Push, Staged};
use crate::broker::ConnMap;
use crate::protocol::{Name, Refusal, Reply, Request};
use crate::{ConnId, Effect, Event, Millis, State, step_into};

/// How much one client's lines may cost before it is the next client's turn. Costs are counted in deliveries of a short line.
const TURN_COST: usize = 2048;

/// How much is done before the connections have a turn: a fifth of a millisecond, so that a flood is hardly felt by others.
const YIELD_COST: usize = 3072;

/// What it costs to take a line, whomever it is for.
const LINE_COST: usize = 10;

/// How late a deadline may be noticed to count, in milliseconds. Later than that, the process was stopped, or the machine
/// suspended: what clients sent in time lies in the sockets, and is read before anybody is judged.
const LATE_MS_MAX: u64 = 200;

/// How many bytes cost as much again as the delivery of a short line.
const BYTES_PER_COST: usize = 256;

pub(super) struct Driver<R, O> {
    runtime: R,
    observer: O,
    tuning: Tuning,
    inputs: Receiver<Input>,
    state: State,
    verifier: Verifier<R>,
    clients: ConnMap<Client>,
    /// The clients whose inbox is not empty, each once: they take turns.
    turns: VecDeque<ConnId>,
    /// Whose turn it is or was last.
    turn: Option<ConnId>,
    /// Facts that the driver itself found, to be told to the broker before anything else.
    found: VecDeque<Event>,
    /// What the broker is told, or was told last, and about whom.
    doing: (&'static str, Option<ConnId>),
    alarm: Option<Alarm>,
    /// How far the broker's clock is behind the runtime's: time in which the process was stopped does not pass for the broker.
    paused_ms: u64,
    /// The last deadline that was noticed too late to count. Each has this grace once.
    excused: Option<Millis>,
    stopped: bool,
    /// Who has the turn waits for the verdict on a password.
    held: bool,
    /// An outbox fills while its connection waits for a turn.
    pressed: bool,
    /// What has been done since the connections had their turn.
    cost: usize,
    /// For whom lines are staged, and how many bytes in all.
    staged: StagedConns,
    staged_bytes: usize,
    /// Kept to be filled again: inboxes (as many as can be needed at a time, but for those of clients who end), the effects of
    /// one event, and one rendered reply.
    #[expect(clippy::vec_box, reason = "they go back and forth between here and the clients")]
    inboxes: Vec<Box<Inbox>>,
    effects: Vec<Effect>,
    lines: Vec<u8>,
    /// The last list of peers that was sent, and how it is rendered. It is used until a peer logs in or leaves.
    peers: Option<(Arc<[Name]>, Vec<u8>)>,
    measures: Measures,
}

/// What the driver keeps for one connection.
struct Client {
    staged: Staged,
    /// What it brought and is not processed yet, if anything: there is none for a client that is idle.
    inbox: Option<Box<Inbox>>,
}

impl Client {
    /// Drops what it brought and is not processed yet, but for its end.
    fn forget_requests(&mut self) {
        if let Some(inbox) = &mut self.inbox {
            inbox.brought.retain(|brought| !matches!(brought, Brought::Requests(..)));
        }
    }

    fn take_brought(&mut self) -> Option<Brought> {
        let inbox = self.inbox.as_mut()?;
        if inbox.verifying { None } else { inbox.brought.pop_front() }
    }
}

/// What a client brought, in order.
#[derive(Default)]
struct Inbox {
    brought: VecDeque<Brought>,
    /// What it has cost so far to process what it brought.
    cost: usize,
    /// Its password is being verified: until then it has no turns.
    verifying: bool,
}

#[cfg(test)]
pub(super) const CLIENT_BYTES: usize = size_of::<Client>();

/// Something that one connection brought.
enum Brought {
    /// What one read brought, and when it was taken, in nanoseconds; not if it brought nothing.
    Requests(vec::IntoIter<Request>, Option<Permit>, Option<u64>),
    InputEnded,
    Disconnected,
}

/// The timer for the broker's next deadline.
struct Alarm {
    at: Millis,
    timer: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<R: Runtime, O: Observer> Driver<R, O> {
    pub(super) fn new(
        runtime: R,
        observer: O,
        tuning: Tuning,
        inputs: Receiver<Input>,
        state: State,
        verifier: Verifier<R>,
    ) -> Driver<R, O> {
        Driver {
            runtime,
            observer,
            tuning,
            inputs,
            state,
            verifier,
            clients: ConnMap::default(),
            turns: VecDeque::new(),
            turn: None,
            found: VecDeque::new(),
            doing: ("nothing", None),
            alarm: None,
            paused_ms: 0,
            excused: None,
            stopped: false,
            held: false,
            pressed: false,
            cost: 0,
            staged: StagedConns::default(),
            staged_bytes: 0,
            inboxes: Vec::new(),
            effects: Vec::new(),
            lines: Vec::new(),
            peers: None,
            measures: Measures::new(),
        }
    }

    /// Runs until the broker says stop.
    pub(super) async fn run(mut self) {
        // Whether the connections have had a turn since the last input.
        let mut asked = false;
        while !self.stopped {
            if self.turns.is_empty() && !self.staged.is_empty() && !asked {
                // What they bring now is written along with what is there.
                asked = true;
                self.measures.pass();
                yield_now().await;
            } else if self.turns.is_empty() && self.hand_over(self.tuning.broadcast_writes_max) {
                self.measures.pass();
                yield_now().await;
            } else if self.turns.is_empty() {
                self.runtime.yield_point().await;
                match self.next().await {
                    Some(input) => self.take(input),
                    None => self.tell_time(),
                }
            }
            // All that is there at once, so that writers find much to write.
            self.runtime.yield_point().await;
            while let Ok(input) = self.inputs.try_recv() {
                asked = false;
                self.take(input);
                self.runtime.yield_point().await;
            }
            if let Some(conn) = self.turns.pop_front() {
                self.tell_time();
                self.give_turn(conn);
            }
            if self.pressed || self.cost >= YIELD_COST {
                // To be too slow, a client must have had the chance to be fast: let the connections run.
                self.hand_over(if self.pressed { usize::MAX } else { self.tuning.broadcast_writes_max });
                self.measures.pass();
                yield_now().await;
            }
        }
    }

    /// Waits for an input or the broker's next deadline, whichever comes first.
    async fn next(&mut self) -> Option<Input> {
        let input = async { self.inputs.recv().await.ok() };
        let Some(at) = self.state.next_deadline() else {
            self.alarm = None;
            return input.await;
        };
        if self.alarm.as_ref().is_none_or(|alarm| alarm.at != at) {
            self.alarm =
                Some(Alarm { at, timer: Box::pin(self.runtime.sleep_until(at.plus(self.paused_ms))) });
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
        let now = self.look_at_clock();
        if now > self.state.now() || self.state.next_deadline().is_some_and(|at| at <= now) {
            self.tell(Event::Ticked(now));
        }
    }

    /// What time it is for the broker.
    fn look_at_clock(&mut self) -> Millis {
        let now = Millis((self.measures.look(&self.runtime) / 1_000_000).saturating_sub(self.paused_ms));
        let late = |at: &Millis| at.plus(LATE_MS_MAX) < now && self.excused != Some(*at);
        let Some(at) = self.state.next_deadline().filter(late) else { return now };
        self.excused = Some(at);
        self.alarm = None;
        let resumed = Millis(at.0.saturating_sub(LATE_MS_MAX)).max(self.state.now());
        self.paused_ms += now.0 - resumed.0;
        resumed
    }

    /// Takes an input. What a client brought waits for its turn.
    fn take(&mut self, input: Input) {
        self.tell_time();
        match input {
            Input::Connected(conn, origin, outbox, _permit) => {
                self.clients.insert(conn, Client { staged: Staged::new(outbox), inbox: None });
                self.tell(Event::Connected(conn, origin));
            }
            Input::Secured(conn) => self.tell(Event::Secured(conn)),
            Input::AccountsChanged(names) => self.tell(Event::AccountsChanged(names)),
            Input::PasswordVerified(conn, is_right) => self.take_verdict(conn, is_right),
            Input::Requests(conn, requests, permit) => {
                self.put_requests(conn, requests, permit);
            }
            Input::Ended(conn, requests) => {
                self.put_requests(conn, requests, None);
                self.put(conn, Brought::InputEnded);
            }
            Input::Disconnected(conn) => self.put(conn, Brought::Disconnected),
            Input::Certified(conn, name) => self.tell(Event::Certified(conn, name)),
            Input::Ordered(order) => self.obey(order),
            Input::ShutdownRequested(Shutdown::Stop) => self.tell(Event::ShutdownRequested),
            Input::ShutdownRequested(Shutdown::Restart) => self.tell(Event::RestartRequested),
            Input::Asked(answer) => {
                // Whoever has given up waiting does not want to know.
                let _ = answer.try_send(self.told());
            }
            Input::Panicked(task) => panic!("{task} has panicked, and without it the server is none"),
        }
    }

    fn put_requests(&mut self, conn: ConnId, requests: Vec<Request>, permit: Option<Permit>) {
        let taken = self.measures.take(requests.len(), &self.runtime);
        self.put(conn, Brought::Requests(requests.into_iter(), permit, taken));
    }

    fn put(&mut self, conn: ConnId, brought: Brought) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        let inbox = client.inbox.get_or_insert_with(|| self.inboxes.pop().unwrap_or_default());
        if inbox.brought.is_empty() && !inbox.verifying {
            self.turns.push_back(conn);
        }
        inbox.brought.push_back(brought);
    }

    /// Does what the operator wants. Whoever has given up waiting does not want to know.
    fn obey(&mut self, order: Order) {
        match order {
            Order::Peers(answer) => {
                let peers = self.state.peers_with_origins();
                let peers = peers.into_iter().map(|(name, conn, origin)| Peer { name, conn, origin });
                let _ = answer.try_send(peers.collect());
            }
            Order::Kick(name, answer) => {
                let conn = self.state.holder(&name);
                let name = conn.and_then(|conn| self.state.name(conn)).cloned();
                conn.into_iter().for_each(|conn| self.tell(Event::Kicked(conn)));
                let _ = answer.try_send(name);
            }
            Order::Ban(origin, answer) => {
                self.tell(Event::Banned(origin));
                let _ = answer.try_send(());
            }
            Order::Unban(origin, answer) => {
                self.tell(Event::Unbanned(origin));
                let _ = answer.try_send(());
            }
        }
    }

    /// The client whose password was verified has turns again.
    fn take_verdict(&mut self, conn: ConnId, is_right: bool) {
        if self.stop_verifying(conn) {
            self.tell(Event::PasswordVerified(conn, is_right));
            self.end_turn(conn);
        }
    }

    /// A connection is over: that it is gone need not wait for its password, and nobody wants to know any more.
    fn release(&mut self, conn: ConnId) {
        if self.stop_verifying(conn) && self.turn != Some(conn) {
            self.end_turn(conn);
        }
    }

    /// Whether the password of this client was being verified.
    fn stop_verifying(&mut self, conn: ConnId) -> bool {
        let inbox = self.clients.get_mut(conn).and_then(|client| client.inbox.as_mut());
        inbox.is_some_and(|inbox| std::mem::take(&mut inbox.verifying))
    }

    /// Processes what a client brought, all of it or as much as one turn allows.
    fn give_turn(&mut self, conn: ConnId) {
        (self.turn, self.held) = (Some(conn), false);
        let begin = self.measures.clock(&self.runtime);
        let (start, end) = (self.cost, self.cost + TURN_COST);
        while let Some(client) = self.clients.get_mut(conn)
            && let Some(brought) = client.take_brought()
        {
            match brought {
                Brought::Requests(requests, permit, taken) => {
                    self.process(conn, requests, permit, taken, end);
                }
                Brought::InputEnded => self.tell(Event::InputEnded(conn)),
                Brought::Disconnected => self.forget(conn),
            }
            self.cost += LINE_COST;
            if self.pressed || self.cost >= end {
                break;
            }
        }
        self.turn = None;
        if let Some(inbox) = self.clients.get_mut(conn).and_then(|client| client.inbox.as_mut()) {
            inbox.cost += self.cost - start;
        }
        self.end_turn(conn);
        self.measures.turned(begin, &self.runtime);
    }

    /// Waits for what the client brings, or lets it wait for its next turn.
    fn end_turn(&mut self, conn: ConnId) {
        let Some(client) = self.clients.get_mut(conn) else { return };
        if client.inbox.as_ref().is_some_and(|inbox| inbox.verifying) {
            return;
        }
        match client.inbox.take_if(|inbox| inbox.brought.is_empty()) {
            Some(mut inbox) => {
                client.staged.outbox().go_on_reading(std::mem::take(&mut inbox.cost));
                if self.inboxes.len() < self.tuning.permits {
                    self.inboxes.push(inbox);
                }
            }
            None => self.turns.push_back(conn),
        }
    }

    /// Processes lines until the turn ends; what is left waits for the next.
    fn process(
        &mut self,
        conn: ConnId,
        mut requests: vec::IntoIter<Request>,
        permit: Option<Permit>,
        taken: Option<u64>,
        end: usize,
    ) {
        for request in requests.by_ref() {
            self.tell(Event::Requested(conn, request));
            self.cost += LINE_COST;
            if self.pressed || self.cost >= end || self.held {
                break;
            }
        }
        if requests.as_slice().is_empty() {
            self.measures.processed(taken, self.staged.end());
        } else if let Some(client) = self.clients.get_mut(conn)
            && let Some(inbox) = &mut client.inbox
        {
            inbox.brought.push_front(Brought::Requests(requests, permit, taken));
        }
    }

    /// The connection is gone, and with it what waits for its client.
    fn forget(&mut self, conn: ConnId) {
        self.tell(Event::Disconnected(conn));
        if let Some(mut client) = self.clients.remove(conn) {
            client.staged.hand_over(&mut self.staged_bytes);
        }
    }

    /// Steps, and carries out what the broker says, and so on until nothing is left to be told.
    fn tell(&mut self, event: Event) {
        let mut next = Some(event);
        while let Some(event) = next {
            let mut effects = std::mem::take(&mut self.effects);
            self.doing = (event.kind(), event.conn());
            self.observer.before_step(&event);
            let before = self.state.work();
            step_into(&mut self.state, event, &mut effects);
            self.cost += usize::try_from(self.state.work() - before).unwrap_or_default();
            self.observer.after_step(&effects);
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
                match (&to[..], &reply) {
                    (&[conn], Reply::Peers(names)) => self.send_peers(conn, names, &reply),
                    // By far the most frequent: written where it belongs at once.
                    (&[conn], _) => self.send(conn, &reply, None, false),
                    _ => {
                        let is_broadcast = to.len() >= self.tuning.broadcast_min;
                        let mut lines = std::mem::take(&mut self.lines);
                        lines.clear();
                        reply.render(self.state.limits().line_bytes_max, &mut lines);
                        for conn in to {
                            self.send(conn, &reply, Some(&lines), is_broadcast);
                        }
                        self.lines = lines;
                    }
                }
            }
            Effect::VerifyPassword { conn, name, password, at } => {
                if let Some(client) = self.clients.get_mut(conn) {
                    client.inbox.get_or_insert_default().verifying = true;
                    self.held = true;
                    self.verifier.start(conn, name, password, at.plus(self.paused_ms));
                }
            }
            Effect::StopReading(conn) => {
                if let Some(client) = self.clients.get(conn) {
                    client.staged.outbox().stop_reading();
                }
            }
            Effect::Close { conn, reason } => {
                debug!(%conn, %reason, "closing");
                if let Some(client) = self.clients.get_mut(conn) {
                    client.staged.close(reason, &mut self.staged_bytes);
                }
                self.release(conn);
            }
            Effect::Abort(conn) => {
                debug!(%conn, "giving up what still waits for it");
                if let Some(client) = self.clients.get_mut(conn) {
                    client.staged.abort(&mut self.staged_bytes);
                    client.forget_requests();
                }
                self.release(conn);
            }
            Effect::Stop => self.stopped = true,
        }
    }

    /// Stages the list of all peers, which is rendered once for all who ask before it changes.
    fn send_peers(&mut self, conn: ConnId, names: &Arc<[Name]>, reply: &Reply) {
        let peers = self.peers.take().filter(|(rendered, _)| Arc::ptr_eq(rendered, names));
        let peers = peers.unwrap_or_else(|| {
            self.cost += names.len();
            let mut lines = Vec::new();
            reply.render(self.state.limits().line_bytes_max, &mut lines);
            (names.clone(), lines)
        });
        self.send(conn, reply, Some(&peers.1), false);
        self.peers = Some(peers);
    }

    /// Stages a reply for one client, which may have been rendered for others as well.
    fn send(&mut self, conn: ConnId, reply: &Reply, rendered: Option<&[u8]>, is_broadcast: bool) {
        let Some(Client { staged, .. }) = self.clients.get_mut(conn) else { return };
        let line_bytes_max = self.state.limits().line_bytes_max;
        let write = |lines: &mut Vec<u8>| match rendered {
            Some(rendered) => lines.extend_from_slice(rendered),
            None => reply.render(line_bytes_max, lines),
        };
        match reply {
            Reply::Welcome(_) => staged.outbox().welcome(),
            Reply::Bye(_) => {
                let mut line = Vec::new();
                write(&mut line);
                return staged.push_farewell(&line, &mut self.staged_bytes);
            }
            Reply::Error(why) => log_refusal(conn, why),
            _ => {}
        }
        let before = self.staged_bytes;
        let pushed = staged.push(&mut self.staged_bytes, write);
        self.cost += 1 + (self.staged_bytes - before) / BYTES_PER_COST;
        if !staged.is_empty() {
            self.staged.list(conn, is_broadcast, &mut staged.listed);
        }
        match pushed {
            Push::Accepted | Push::Sealed => {}
            Push::Pressing => self.pressed = true,
            Push::Overflowed => self.found.push_back(Event::OutboxOverflowed(conn)),
        }
    }

    /// How things are.
    fn told(&self) -> Told {
        Told {
            now: self.runtime.now(),
            draining: self.state.is_draining(),
            connections: self.state.connections(),
            peers: self.state.peers(),
            counters: self.state.counters().clone(),
            inputs_waiting: self.inputs.len(),
            measures: self.measures.clone(),
        }
    }

    /// Hands over what is staged, for the connections to write: all that is urgent, and of the recipients of broadcasts those who
    /// have waited longest, `most` of them. Says whether there are more.
    fn hand_over(&mut self, most: usize) -> bool {
        (self.pressed, self.cost) = (false, 0);
        for (conn, listed) in self.staged.take(most) {
            if let Some(client) = self.clients.get_mut(conn) {
                client.staged.listed.remove(listed);
                client.staged.hand_over(&mut self.staged_bytes);
            }
        }
        self.measures.handed_over(self.staged.taken, &self.runtime);
        !self.staged.is_empty()
    }
}

/// The connections for which lines are staged. Each is in each of the two lists once at most.
#[derive(Default)]
struct StagedConns {
    urgent: Vec<ConnId>,
    /// What was staged for them was broadcast, or some of them have become urgent since.
    waiting: VecDeque<ConnId>,
    /// How many have ever been taken out of `waiting`.
    taken: u64,
}

impl StagedConns {
    /// Lists a connection for which something is staged; `listed` says in which lists it is.
    fn list(&mut self, conn: ConnId, is_broadcast: bool, listed: &mut Listed) {
        if listed.urgent {
            return; // everything that is staged for it goes together
        }
        if !is_broadcast {
            listed.urgent = true;
            self.urgent.push(conn);
        } else if !listed.waiting {
            listed.waiting = true;
            self.waiting.push_back(conn);
        }
    }

    fn is_empty(&self) -> bool {
        self.urgent.is_empty() && self.waiting.is_empty()
    }

    /// How many will have been taken out of `waiting` when all are that are there now.
    fn end(&self) -> u64 {
        self.taken + self.waiting.len() as u64
    }

    /// Takes all who are urgent, and those who have waited longest, `most` of them, each with the list it was in.
    fn take(&mut self, most: usize) -> impl Iterator<Item = (ConnId, Listed)> {
        let count = self.waiting.len().min(most);
        self.taken += count as u64;
        let urgent = self.urgent.drain(..).map(|conn| (conn, Listed { urgent: true, waiting: false }));
        urgent.chain(self.waiting.drain(..count).map(|conn| (conn, Listed { urgent: false, waiting: true })))
    }
}

/// A line was not carried out, or not in full. What it said is nobody's business.
#[cold]
fn log_refusal(conn: ConnId, why: &Refusal) {
    debug!(%conn, code = why.code(), "refused a line");
}

impl<R, O> Drop for Driver<R, O> {
    /// Says what it was all about, and lets nobody wait for it. A bug in the broker stops the server, which must not go on from
    /// a state that nobody knows: then what is known is logged, but for what was said.
    fn drop(&mut self) {
        let (state, (event, conn)) = (&self.state, self.doing);
        if !thread::panicking() {
            info!("served: {}", state.counters());
        } else {
            error!(
                now_ms = state.now().0,
                connections = state.connections(),
                peers = state.peers(),
                event,
                ?conn,
                known = ?conn.and_then(|conn| state.known_of(conn)),
                counters = %state.counters(),
                "a bug stops the server"
            );
        }
        // Whoever waits for an answer hears that there will be none: what is left in the queue would stay there.
        self.inputs.close();
        while self.inputs.try_recv().is_ok() {}
    }
}
