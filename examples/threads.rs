//! A chat server of its own around the core: plain threads and `std::net`, and nothing of `seriatim::server`.
//!
//! ```text
//! cargo run --example threads --no-default-features -- 127.0.0.1:7878
//! ```
//!
//! It stops at the end of its standard input. One thread owns the broker and takes facts from one queue; every connection
//! has a thread that reads and one that writes. docs/embedding.md says what the core expects of whoever embeds it.

#![forbid(unsafe_code)]

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::mem;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use seriatim::protocol::{Reply, Request, Session};
use seriatim::{ConnId, Effect, Event, Limits, Millis, Origin, State, step};

/// How much one read brings at most, in bytes, and how many reads wait for the broker at most. Whoever brings more has to
/// wait, and so do those who send to it.
const READ_BYTES: usize = 64 * 1024;
const FACTS_MAX: usize = 64;

/// How much may wait for one client, in bytes.
const OUTBOX_BYTES_MAX: usize = 1024 * 1024;

/// How often a thread that reads looks whether it still should: nothing else would wake it.
const LOOK_UP: Duration = Duration::from_millis(100);

/// How long a client may take to close its side when all is written to it.
const LINGER: Duration = Duration::from_secs(1);

fn main() -> io::Result<()> {
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:7878".to_owned());
    let listener = TcpListener::bind(address)?;
    println!("listening on {}", listener.local_addr()?);
    let limits = Limits::default();
    let (queue, facts) = sync_channel(FACTS_MAX);
    let broker = {
        let limits = limits.clone();
        thread::spawn(move || Broker::new(limits).run(&facts))
    };
    let accepting = queue.clone();
    thread::spawn(move || accept(&listener, &limits, &accepting));
    io::copy(&mut io::stdin(), &mut io::sink())?;
    // Whoever connects from now on is told so by the broker.
    let _ = queue.send(Fact::ShutdownRequested);
    broker.join().map_err(|_| io::Error::other("a bug in the broker"))
}

/// What the other threads tell the broker's.
enum Fact {
    Connected(ConnId, Origin, Arc<Client>),
    Requested(ConnId, Vec<Request>),
    InputEnded(ConnId),
    Disconnected(ConnId),
    ShutdownRequested,
}

fn accept(listener: &TcpListener, limits: &Limits, queue: &SyncSender<Fact>) {
    for number in 1.. {
        let (stream, peer) = match listener.accept() {
            Ok(accepted) => accepted,
            Err(error) => {
                eprintln!("cannot accept: {error}");
                thread::sleep(LOOK_UP); // what is exhausted comes back when somebody leaves
                continue;
            }
        };
        let conn = ConnId(number);
        let client = Arc::new(Client { stream, outbox: Mutex::default(), changed: Condvar::new() });
        // Before anything else is said about the connection.
        let address = peer.ip();
        let origin = if address.is_loopback() { Origin::Exempt } else { Origin::of(address) };
        if queue.send(Fact::Connected(conn, origin, client.clone())).is_err() {
            return;
        }
        let (session, queue) = (Session::new(limits), queue.clone());
        thread::spawn(move || converse(conn, session, &client, &queue));
    }
}

/// What the broker's thread and those of one connection share.
struct Client {
    stream: TcpStream,
    outbox: Mutex<Outbox>,
    changed: Condvar,
}

#[derive(Default)]
struct Outbox {
    /// What waits for the client.
    bytes: Vec<u8>,
    /// Something did not fit: nothing but a goodbye may stand behind the gap.
    overflowed: bool,
    stop_reading: bool,
    close: bool,
    abort: bool,
}

impl Client {
    fn outbox(&self) -> MutexGuard<'_, Outbox> {
        self.outbox.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives an order, for whoever waits for one.
    fn order(&self, order: impl FnOnce(&mut Outbox)) {
        order(&mut self.outbox());
        self.changed.notify_one();
    }

    /// Puts a line behind the others. Says whether the outbox has just overflowed.
    fn push(&self, reply: &Reply, line: &[u8]) -> bool {
        let is_farewell = matches!(reply, Reply::Bye(_));
        let mut outbox = self.outbox();
        let overflows = !is_farewell && outbox.bytes.len() + line.len() > OUTBOX_BYTES_MAX;
        let overflows = overflows && !mem::replace(&mut outbox.overflowed, true);
        if is_farewell || !outbox.overflowed {
            outbox.bytes.extend_from_slice(line);
        }
        drop(outbox);
        self.changed.notify_one();
        overflows
    }

    /// Waits for something to write; `None`: there will be nothing more.
    fn next_batch(&self) -> Option<Vec<u8>> {
        let outbox = self.outbox();
        let idle = |outbox: &mut Outbox| outbox.bytes.is_empty() && !outbox.close && !outbox.abort;
        let outbox = self.changed.wait_while(outbox, idle);
        let mut outbox = outbox.unwrap_or_else(PoisonError::into_inner);
        let is_over = outbox.abort || outbox.bytes.is_empty();
        (!is_over).then(|| mem::take(&mut outbox.bytes))
    }

    /// Writes all that waits, until there will be nothing more.
    fn write(&self) {
        while let Some(batch) = self.next_batch() {
            if (&self.stream).write_all(&batch).is_err() {
                return self.order(|outbox| outbox.abort = true); // the client is gone
            }
        }
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Reads what is there: nothing at the end, `None` if there is nothing yet.
    fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<Option<&'a [u8]>> {
        match (&self.stream).read(buffer) {
            Ok(length) => Ok(Some(&buffer[..length])),
            Err(e)
                if matches!(
                    e.kind(),
                    ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                ) =>
            {
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }
}

/// Serves one connection from its first byte to its last, and says exactly once that it is gone.
fn converse(conn: ConnId, session: Session, client: &Arc<Client>, queue: &SyncSender<Fact>) {
    let writer = {
        let client = client.clone();
        thread::spawn(move || client.write())
    };
    if listen(conn, session, client, queue).is_err() {
        client.order(|outbox| outbox.abort = true);
    }
    let _ = writer.join();
    linger(client);
    let _ = queue.send(Fact::Disconnected(conn));
}

/// Reads the client's lines into the queue, until no more come or no more are wanted.
fn listen(conn: ConnId, mut session: Session, client: &Client, queue: &SyncSender<Fact>) -> io::Result<()> {
    client.stream.set_read_timeout(Some(LOOK_UP))?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let Outbox { stop_reading, close, abort, .. } = *client.outbox();
        if stop_reading || close || abort {
            break;
        }
        let Some(bytes) = client.read(&mut buffer)? else { continue };
        let mut requests = Vec::new();
        let ended = bytes.is_empty();
        if ended {
            session.finish(&mut requests);
        } else {
            session.feed(bytes, &mut requests);
        }
        let _ = queue.send(Fact::Requested(conn, requests));
        if ended {
            break;
        }
    }
    let _ = queue.send(Fact::InputEnded(conn));
    Ok(())
}

/// Throws away what the client still sends, until it closes its side: to close a socket with bytes unread resets the
/// connection, and a reset can destroy what is still on its way to the client.
fn linger(client: &Client) {
    let end = Instant::now() + LINGER;
    let mut buffer = vec![0; READ_BYTES];
    while Instant::now() < end && !client.outbox().abort {
        if !matches!(client.read(&mut buffer), Ok(None | Some([_, ..]))) {
            return;
        }
    }
}

/// The only caller of [`step`]. It waits for nobody but for the next fact.
struct Broker {
    state: State,
    start: Instant,
    clients: HashMap<ConnId, Arc<Client>>,
    /// What is to be told, in this order.
    events: VecDeque<Event>,
    line: Vec<u8>,
    stopped: bool,
}

impl Broker {
    fn new(limits: Limits) -> Broker {
        // Nobody outside may know how names are hashed.
        let random = || RandomState::new().hash_one(0);
        let state = State::new(limits, [random(), random()]);
        let (clients, events) = (HashMap::new(), VecDeque::new());
        Broker { state, start: Instant::now(), clients, events, line: Vec::new(), stopped: false }
    }

    fn run(mut self, facts: &Receiver<Fact>) {
        while !self.stopped {
            // The broker sets no timer: it says until when it wants to know the time.
            let deadline =
                self.state.next_deadline().map(|Millis(at)| self.start + Duration::from_millis(at));
            let patience = deadline.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()));
            let fact = facts.recv_timeout(patience).ok();
            let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX);
            self.events.push_back(Event::Ticked(Millis(now)));
            if let Some(fact) = fact {
                self.learn(fact);
            }
            while let Some(event) = self.events.pop_front() {
                for effect in step(&mut self.state, event) {
                    self.carry_out(effect);
                }
            }
        }
    }

    fn learn(&mut self, fact: Fact) {
        match fact {
            Fact::Connected(conn, origin, client) => {
                self.clients.insert(conn, client);
                self.events.push_back(Event::Connected(conn, origin));
            }
            Fact::Requested(conn, requests) => {
                self.events.extend(requests.into_iter().map(|request| Event::Requested(conn, request)));
            }
            Fact::InputEnded(conn) => self.events.push_back(Event::InputEnded(conn)),
            Fact::Disconnected(conn) => {
                self.clients.remove(&conn);
                self.events.push_back(Event::Disconnected(conn));
            }
            Fact::ShutdownRequested => self.events.push_back(Event::ShutdownRequested),
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::Send { to, reply } => self.send(&to, &reply),
            // It was never told of accounts, so nobody needs a password.
            Effect::VerifyPassword { conn, .. } => {
                self.events.push_front(Event::PasswordVerified(conn, false));
            }
            Effect::StopReading(conn) => self.order(conn, |outbox| outbox.stop_reading = true),
            Effect::Close { conn, reason } => {
                eprintln!("{conn} closes: {reason}");
                self.order(conn, |outbox| outbox.close = true);
            }
            Effect::Abort(conn) => {
                self.order(conn, |outbox| outbox.abort = true);
                if let Some(client) = self.clients.get(&conn) {
                    let _ = client.stream.shutdown(Shutdown::Both); // wakes whoever reads or writes
                }
            }
            Effect::Stop => self.stopped = true,
        }
    }

    /// Renders a reply once, for all who get it.
    fn send(&mut self, to: &[ConnId], reply: &Reply) {
        self.line.clear();
        reply.render(self.state.limits().line_bytes_max, &mut self.line);
        for conn in to {
            let overflowed = self.clients.get(conn).is_some_and(|client| client.push(reply, &self.line));
            if overflowed {
                // A fact that this thread has found itself comes before all that waits.
                self.events.push_front(Event::OutboxOverflowed(*conn));
            }
        }
    }

    fn order(&self, conn: ConnId, order: impl FnOnce(&mut Outbox)) {
        if let Some(client) = self.clients.get(&conn) {
            client.order(order);
        }
    }
}
