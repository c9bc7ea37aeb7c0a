//! The network: connections that hold few bytes, break, tear, stall and lie about being ready.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, Weak};
use std::task::{Context, Poll, Waker};

use futures_io::AsyncWrite;
use hashbrown::{HashMap, HashSet};
use seriatim::server::runtime::{Listener, PeerAddr, Reader, Stream, Writer};

use crate::scenario::Scenario;
use crate::world::{World, lock};

/// How long a clogged link passes nothing on, in milliseconds.
const CLOGS_MS: [u64; 3] = [100, 2_000, 40_000];

/// How long a slow write takes nothing, in milliseconds.
const SLOW_MS: [u64; 3] = [10, 500, 5_000];

/// The network of one run: the place where clients find the server.
pub struct Net {
    world: Arc<World>,
    scenario: Arc<Scenario>,
    /// One for each listener.
    doors: Vec<Mutex<Door>>,
    made: Mutex<Made>,
}

/// What is known of the connections ever made.
#[derive(Default)]
struct Made {
    links: Vec<Weak<Mutex<Link>>>,
    /// Those that the server never accepted, by their number.
    unserved: Vec<usize>,
    /// When somebody first found nobody listening.
    found_closed_at: Option<u64>,
    /// When the last listener so far was gone, as a stamp.
    closed_at: Option<u64>,
    /// When the server let go of each connection, by its number.
    gone_ms: Arc<Mutex<HashMap<usize, u64>>>,
    kept: Arc<Mutex<Kept>>,
}

/// What is kept of each connection when it is gone, by its number.
#[derive(Default)]
struct Kept {
    /// Those that did not take at once what the server wrote.
    waited: HashSet<usize>,
    /// How many lines the server has taken.
    lines_taken: HashMap<usize, usize>,
}

#[derive(Default)]
struct Door {
    waiting: VecDeque<(usize, SimStream, PeerAddr)>,
    closed: bool,
    listener: Option<Waker>,
    /// Accepting fails before this moment.
    failing_until: u64,
    /// When it failed last, and how often it has done so at that moment.
    failed: (u64, u32),
}

impl Net {
    /// A network in which nobody is connected.
    pub fn new(world: Arc<World>, scenario: &Arc<Scenario>) -> Arc<Net> {
        Arc::new(Net {
            world,
            scenario: scenario.clone(),
            doors: (0..scenario.listeners.max(1)).map(|_| Mutex::default()).collect(),
            made: Mutex::default(),
        })
    }

    /// Connects to the server.
    ///
    /// # Errors
    /// Nobody listens any more, or the connection is refused by chance.
    pub fn connect(&self) -> io::Result<SimStream> {
        let mut made = lock(&self.made);
        let number = made.links.len();
        let mut door = lock(&self.doors[number % self.doors.len()]);
        if door.closed {
            made.found_closed_at.get_or_insert(self.world.now());
        }
        if door.closed || self.world.goes_wrong(self.world.faults.refuse) {
            self.world.log().marks.hit("a connection was refused");
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let peer = PeerAddr::Tcp(self.scenario.address(number));
        let link = Arc::new(Mutex::new(Link {
            number,
            gone_ms: made.gone_ms.clone(),
            kept: made.kept.clone(),
            taken: Taken::default(),
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            reset: false,
            told: [false; 2],
            pipe_bytes: self.scenario.pipe_bytes.max(1),
            read_bytes_max: self.scenario.read_bytes_max.max(1),
            write_ms_max: self.scenario.write_ms_max,
            write_waits_since: None,
            clogged_until: 0,
        }));
        made.links.push(Arc::downgrade(&link));
        door.waiting.push_back((number, SimStream::new(&self.world, &link, Side::Server), peer));
        if let Some(listener) = door.listener.take() {
            listener.wake();
        }
        Ok(SimStream::new(&self.world, &link, Side::Client))
    }

    /// When somebody first found nobody listening.
    pub fn found_closed_at(&self) -> Option<u64> {
        lock(&self.made).found_closed_at
    }

    /// When the server let go of each connection, in milliseconds, by the number of the connection.
    pub fn gone_ms(&self) -> HashMap<usize, u64> {
        lock(&lock(&self.made).gone_ms).clone()
    }

    /// When the last listener was gone, as a stamp.
    pub fn closed_at(&self) -> Option<u64> {
        lock(&self.made).closed_at
    }

    /// How many lines the server has taken so far from each connection that is still there, by the number of the connection.
    pub fn lines_taken(&self) -> HashMap<usize, usize> {
        let made = lock(&self.made);
        made.links.iter().filter_map(Weak::upgrade).map(|link| lock(&link).lines_taken()).collect()
    }

    /// The connections that did not take at once what the server wrote, by their number.
    pub fn waited(&self) -> HashSet<usize> {
        lock(&lock(&self.made).kept).waited.clone()
    }

    /// How many lines the server took in all from each connection that it let go of, by the number of the connection.
    pub fn lines_taken_in_all(&self) -> HashMap<usize, usize> {
        lock(&lock(&self.made).kept).lines_taken.clone()
    }

    /// The connections that the server never accepted, by their number in the order in which they were made.
    pub fn unserved(&self) -> Vec<usize> {
        lock(&self.made).unserved.clone()
    }

    /// Breaks every connection that is still there.
    pub fn break_all(&self) {
        let links = lock(&self.made).links.clone();
        links.iter().filter_map(Weak::upgrade).for_each(|link| lock(&link).reset(&self.world));
    }
}

/// One of the server's doors. Whoever has not been let in when it closes is reset.
pub struct SimListener {
    net: Arc<Net>,
    number: usize,
}

impl SimListener {
    /// All the doors there are.
    pub fn all(net: &Arc<Net>) -> Vec<SimListener> {
        (0..net.doors.len()).map(|number| SimListener { net: net.clone(), number }).collect()
    }

    fn door(&self) -> MutexGuard<'_, Door> {
        lock(&self.net.doors[self.number])
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let mut door = self.door();
        door.closed = true;
        let waiting = std::mem::take(&mut door.waiting);
        drop(door);
        {
            let mut made = lock(&self.net.made);
            made.closed_at = Some(self.net.world.seen());
            made.unserved.extend(waiting.iter().map(|(number, ..)| number));
        }
        for (_, stream, _) in waiting {
            stream.0.link().reset(&stream.0.world);
        }
    }
}

impl Listener for SimListener {
    type Stream = SimStream;

    async fn accept(&self) -> io::Result<(SimStream, PeerAddr)> {
        poll_fn(|cx| {
            let mut door = self.door();
            if door.waiting.is_empty() {
                door.listener = Some(cx.waker().clone());
                return Poll::Pending;
            }
            let world = &self.net.world;
            if door.failing_until > world.now() || world.goes_wrong(world.faults.accept_error) {
                door.fails(world);
                let errors =
                    [io::ErrorKind::ConnectionAborted, io::ErrorKind::Other, io::ErrorKind::NotConnected];
                let error = world.choices().pick(errors.len());
                return Poll::Ready(Err(errors[error].into()));
            }
            match door.waiting.pop_front() {
                Some((_, stream, peer)) => Poll::Ready(Ok((stream, peer))),
                None => Poll::Pending,
            }
        })
        .await
    }
}

impl Door {
    /// Accepting fails, and perhaps goes on failing for a while.
    fn fails(&mut self, world: &World) {
        world.log().marks.hit("accepting failed");
        let now = world.now();
        if self.failing_until <= now {
            self.failing_until = now + [0, 30, 300][world.choices().pick(3)];
        }
        self.failed = (now, if self.failed.0 == now { self.failed.1 + 1 } else { 1 });
        // Whoever tries again at once would do so for ever.
        assert!(self.failed.1 < 1_000, "the server tries to accept without a pause");
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Side {
    Server = 0,
    Client = 1,
}

/// One connection.
struct Link {
    number: usize,
    gone_ms: Arc<Mutex<HashMap<usize, u64>>>,
    kept: Arc<Mutex<Kept>>,
    /// What the server has read of it.
    taken: Taken,
    to_server: Pipe,
    to_client: Pipe,
    reset: bool,
    /// Who was told of the reset, the server and the client: an operating system says it once, and afterwards a read finds
    /// the end of the stream.
    told: [bool; 2],
    pipe_bytes: usize,
    /// How many bytes one read of the server brings.
    read_bytes_max: usize,
    /// How long a write of the server may wait before it gives the connection up, and since when it does.
    write_ms_max: Option<u64>,
    write_waits_since: Option<u64>,
    /// Nothing passes before this moment, in either direction.
    clogged_until: u64,
}

/// Whole lines that have been read, but for blank ones, which say nothing. The end of the stream ends a line, too.
#[derive(Default)]
struct Taken {
    lines: usize,
    /// There is more than blanks of the next one.
    begun: bool,
}

impl Taken {
    fn count(&mut self, bytes: &[u8]) {
        for byte in bytes {
            if *byte == b'\n' {
                self.lines += usize::from(std::mem::take(&mut self.begun));
            }
            self.begun |= !byte.is_ascii_whitespace();
        }
        if bytes.is_empty() {
            self.lines += usize::from(std::mem::take(&mut self.begun));
        }
    }
}

/// One direction of it.
#[derive(Default)]
struct Pipe {
    bytes: VecDeque<u8>,
    /// No more will be written.
    ended: bool,
    /// Nobody will read any more.
    abandoned: bool,
    /// What is in it cannot be read before this moment.
    arrives_at: u64,
    /// Nothing is taken before this moment.
    blocked_until: u64,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

impl Pipe {
    fn wake(&mut self) {
        self.reader.take().into_iter().chain(self.writer.take()).for_each(Waker::wake);
    }
}

impl Link {
    fn incoming(&mut self, side: Side) -> &mut Pipe {
        if side == Side::Server { &mut self.to_server } else { &mut self.to_client }
    }

    fn outgoing(&mut self, side: Side) -> &mut Pipe {
        if side == Side::Server { &mut self.to_client } else { &mut self.to_server }
    }

    fn lines_taken(&self) -> (usize, usize) {
        (self.number, self.taken.lines)
    }

    /// A write of the server has to wait from now on, if it does not wait already.
    fn wait(&mut self, now: u64) {
        if self.write_waits_since.is_none() {
            self.write_waits_since = Some(now);
            lock(&self.kept).waited.insert(self.number);
        }
    }

    /// Breaks the connection. What has arrived can still be read, unless it is lost.
    fn reset(&mut self, world: &World) {
        if self.reset {
            return;
        }
        self.reset = true;
        world.log().marks.hit("a connection was reset");
        for pipe in [&mut self.to_server, &mut self.to_client] {
            if !pipe.bytes.is_empty() && world.goes_wrong(world.faults.reset_loses) {
                world.log().marks.hit("a reset destroyed bytes on their way");
                pipe.bytes.clear();
            }
            pipe.wake();
        }
    }

    /// One side is closed, as an operating system does it: with unread bytes, that resets the connection.
    fn close(&mut self, side: Side, world: &World) {
        let unread = !self.incoming(side).bytes.is_empty();
        self.incoming(side).abandoned = true;
        self.incoming(side).wake();
        if unread {
            self.reset(world);
        }
        self.outgoing(side).ended = true;
        self.outgoing(side).wake();
    }
}

/// One end of a connection; its two halves are clones.
#[derive(Clone)]
pub struct SimStream(Arc<End>);

struct End {
    world: Arc<World>,
    link: Arc<Mutex<Link>>,
    side: Side,
}

impl End {
    fn link(&self) -> MutexGuard<'_, Link> {
        lock(&self.link)
    }
}

impl Drop for End {
    fn drop(&mut self) {
        let mut link = self.link();
        if self.side == Side::Server {
            lock(&link.gone_ms).insert(link.number, self.world.now());
            lock(&link.kept).lines_taken.extend([link.lines_taken()]);
        }
        link.close(self.side, &self.world);
    }
}

impl SimStream {
    fn new(world: &Arc<World>, link: &Arc<Mutex<Link>>, side: Side) -> SimStream {
        SimStream(Arc::new(End { world: world.clone(), link: link.clone(), side }))
    }

    /// Breaks the connection.
    pub fn break_off(&self) {
        self.0.link().reset(&self.0.world);
    }

    /// A part of `length` bytes: all of them if nothing goes wrong.
    fn part(&self, length: usize, torn: u32) -> usize {
        if length < 2 || !self.0.world.goes_wrong(torn) {
            return length;
        }
        let parts = [1, length / 2, length - 1];
        let part = self.0.world.choices().pick(parts.len());
        parts[part].max(1)
    }

    fn name(&self) -> &'static str {
        if self.0.side == Side::Server { "server" } else { "client" }
    }
}

impl Stream for SimStream {
    type Reader = SimStream;
    type Writer = SimStream;

    fn split(self) -> (SimStream, SimStream) {
        (self.clone(), self)
    }
}

impl Reader for SimStream {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = self.0.link();
        let reset = link.reset;
        let clogged_until = link.clogged_until;
        let pipe = link.incoming(self.0.side);
        if reset {
            return Poll::Ready(Ok(()));
        }
        let arrives_at = pipe.arrives_at.max(clogged_until);
        if arrives_at > self.0.world.now() {
            self.0.world.wake_at(arrives_at, cx.waker());
        } else if !pipe.bytes.is_empty() || pipe.ended {
            return Poll::Ready(Ok(()));
        }
        pipe.reader = Some(cx.waker().clone());
        Poll::Pending
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let world = &self.0.world;
        let mut link = self.0.link();
        let reset = link.reset;
        let told = link.told[self.0.side as usize];
        let clogged_until = link.clogged_until;
        let most = if self.0.side == Side::Server { link.read_bytes_max } else { usize::MAX };
        let pipe = link.incoming(self.0.side);
        if pipe.bytes.is_empty() && reset {
            // The client side of the simulation need not be fooled like that.
            return if told && self.0.side == Side::Server {
                Ok(0)
            } else {
                Err(io::ErrorKind::ConnectionReset.into())
            };
        }
        if self.0.side == Side::Server && world.goes_wrong(world.faults.interrupt) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        let late = pipe.arrives_at.max(clogged_until) > world.now() && !reset;
        if late || (pipe.bytes.is_empty() && !pipe.ended) || world.goes_wrong(world.faults.spurious_wake) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let length = self.part(pipe.bytes.len().min(buffer.len()).min(most), world.faults.torn_read);
        pipe.bytes.read_exact(&mut buffer[..length])?;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        if self.0.side == Side::Server {
            link.taken.count(&buffer[..length]);
        }
        world.passed(self.name(), &buffer[..length]);
        Ok(length)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let world = &self.0.world;
        let mut link = self.0.link();
        if !link.reset && (link.outgoing(self.0.side).abandoned || world.goes_wrong(world.faults.reset)) {
            link.reset(world);
        }
        if link.reset {
            link.told[self.0.side as usize] = true;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let is_server = self.0.side == Side::Server;
        if world.goes_wrong(world.faults.clog) {
            link.clogged_until = world.now() + CLOGS_MS[world.choices().pick(CLOGS_MS.len())];
            world.log().marks.hit("a link was clogged");
        }
        if is_server && world.goes_wrong(world.faults.interrupt) {
            world.log().marks.hit("a write was interrupted");
            return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
        }
        if is_server && world.goes_wrong(world.faults.slow_write) {
            let until = world.now() + SLOW_MS[world.choices().pick(SLOW_MS.len())];
            link.outgoing(self.0.side).blocked_until = until;
            world.log().marks.hit("a write had to wait");
        }
        let (capacity, clogged_until) = (link.pipe_bytes, link.clogged_until);
        let pipe = link.outgoing(self.0.side);
        let blocked_until = pipe.blocked_until.max(clogged_until);
        if blocked_until > world.now() {
            world.wake_at(blocked_until, cx.waker());
            pipe.writer = Some(cx.waker().clone());
            if is_server {
                link.wait(world.now());
            }
            return Poll::Pending;
        }
        let room = capacity - pipe.bytes.len().min(capacity);
        if room == 0 {
            pipe.writer = Some(cx.waker().clone());
            if is_server {
                link.wait(world.now());
                world.log().marks.hit("the server had to wait for a client to read");
            }
            return Poll::Pending;
        }
        let length = self.part(bytes.len().min(room), world.faults.torn_write);
        pipe.bytes.extend(&bytes[..length]);
        if world.goes_wrong(world.faults.delay) {
            let delay = [10, 100, 1000];
            pipe.arrives_at = world.now() + delay[world.choices().pick(delay.len())];
        }
        if let Some(reader) = pipe.reader.take() {
            reader.wake();
        }
        if is_server {
            link.write_waits_since = None;
        }
        Poll::Ready(Ok(length))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut link = self.0.link();
        if link.reset {
            return Poll::Ready(Err(io::ErrorKind::NotConnected.into()));
        }
        link.outgoing(self.0.side).ended = true;
        link.outgoing(self.0.side).wake();
        Poll::Ready(Ok(()))
    }
}

impl Writer for SimStream {
    fn reset(&mut self) {
        let link = self.0.link();
        let waited = link.write_waits_since.map(|since| self.0.world.now() - since);
        if waited.is_some() && waited >= link.write_ms_max && link.write_ms_max.is_some() {
            self.0.world.log().marks.hit("a connection that took nothing was reset");
        }
        drop(link);
        self.break_off();
    }
}
