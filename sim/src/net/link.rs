//! One connection of the network, and its two ends.

use std::collections::VecDeque;
use std::io::{self, Read as _};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};

use futures::io::{AsyncRead, AsyncWrite};
use hashbrown::{HashMap, HashSet};
use seriatim::server::runtime::Stream;

use crate::scenario::Scenario;
use crate::world::{World, lock};

/// How long a clogged link passes nothing on, in milliseconds.
const CLOGS_MS: [u64; 3] = [100, 2_000, 40_000];

/// How long a slow write takes nothing, in milliseconds.
const SLOW_MS: [u64; 3] = [10, 500, 5_000];

/// How long bytes are on their way if they are late, in milliseconds.
const DELAYS_MS: [u64; 3] = [10, 100, 1_000];

/// What is kept of each connection when it is gone, by its number.
#[derive(Default)]
pub(super) struct Kept {
    /// When the server let go of it.
    pub(super) gone_ms: HashMap<usize, u64>,
    /// Those that did not take at once what the server wrote.
    pub(super) waited: HashSet<usize>,
    /// How many lines the server has taken.
    pub(super) lines_taken: HashMap<usize, usize>,
}

/// What one end does to a pipe.
enum Does {
    Read,
    Write,
}

/// One of the two ends.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Server = 0,
    Client = 1,
}

/// One connection.
pub(super) struct Link {
    number: usize,
    kept: Arc<Mutex<Kept>>,
    /// Both ends are on the same machine.
    local: bool,
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
    pub(super) fn new(number: usize, scenario: &Scenario, kept: &Arc<Mutex<Kept>>) -> Link {
        Link {
            number,
            kept: kept.clone(),
            local: scenario.address(number).ip().is_loopback(),
            taken: Taken::default(),
            to_server: Pipe::default(),
            to_client: Pipe::default(),
            reset: false,
            told: [false; 2],
            pipe_bytes: scenario.pipe_bytes.max(1),
            read_bytes_max: scenario.read_bytes_max.max(1),
            write_ms_max: scenario.write_ms_max,
            write_waits_since: None,
            clogged_until: 0,
        }
    }

    fn incoming(&mut self, side: Side) -> &mut Pipe {
        if side == Side::Server { &mut self.to_server } else { &mut self.to_client }
    }

    fn outgoing(&mut self, side: Side) -> &mut Pipe {
        if side == Side::Server { &mut self.to_client } else { &mut self.to_server }
    }

    /// Its number, and how many lines the server has taken.
    pub(super) fn lines_taken(&self) -> (usize, usize) {
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
    pub(super) fn reset(&mut self, world: &World) {
        if self.reset {
            return;
        }
        self.reset = true;
        world.log().marks.hit("a connection was reset");
        for (pipe, reader) in [(&mut self.to_server, "the server"), (&mut self.to_client, "it")] {
            if !pipe.bytes.is_empty() && world.goes_wrong(world.faults.reset_loses) {
                let what = || format!("the {} bytes on their way to {reader} are lost", pipe.bytes.len());
                world.befalls("a reset destroyed bytes on their way", Some(self.number), what);
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
            let mut kept = lock(&link.kept);
            kept.gone_ms.insert(link.number, self.world.now());
            kept.lines_taken.extend([link.lines_taken()]);
        }
        link.close(self.side, &self.world);
    }
}

impl SimStream {
    pub(super) fn new(world: &Arc<World>, link: &Arc<Mutex<Link>>, side: Side) -> SimStream {
        SimStream(Arc::new(End { world: world.clone(), link: link.clone(), side }))
    }

    /// Breaks the connection.
    pub fn break_off(&self) {
        self.0.link().reset(&self.0.world);
    }

    /// A part of `length` bytes of a connection: all of them if nothing goes wrong.
    fn part(&self, conn: usize, length: usize, torn: u32, does: Does) -> usize {
        if length < 2 || !self.0.world.goes_wrong(torn) {
            return length;
        }
        let parts = [1, length / 2, length - 1];
        let part = parts[self.0.world.choices().pick(parts.len())].max(1);
        let (mark, verb) = match does {
            Does::Read => ("a read was torn", "reads"),
            Does::Write => ("a write was torn", "writes"),
        };
        let who = if self.0.side == Side::Server { "the server" } else { "it" };
        self.0.world.befalls(mark, Some(conn), || format!("{who} {verb} only {part} of {length} bytes"));
        part
    }

    fn name(&self) -> &'static str {
        if self.0.side == Side::Server { "server" } else { "client" }
    }
}

impl AsyncRead for SimStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        let world = &self.0.world;
        let mut link = self.0.link();
        let (number, reset) = (link.number, link.reset);
        let clogged_until = link.clogged_until;
        let most = if self.0.side == Side::Server { link.read_bytes_max } else { usize::MAX };
        let pipe = link.incoming(self.0.side);
        if pipe.bytes.is_empty() && reset {
            // The client side of the simulation need not be fooled like that.
            let told = std::mem::replace(&mut link.told[self.0.side as usize], true);
            return Poll::Ready(if told && self.0.side == Side::Server {
                Ok(0)
            } else {
                Err(io::ErrorKind::ConnectionReset.into())
            });
        }
        if self.0.side == Side::Server && world.goes_wrong(world.faults.interrupt) {
            let what = || "a signal interrupts the server's read".to_owned();
            world.befalls("a read was interrupted", Some(number), what);
            return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
        }
        let arrives_at = pipe.arrives_at.max(clogged_until);
        let is_late = arrives_at > world.now() && !reset;
        if is_late || (pipe.bytes.is_empty() && !pipe.ended) {
            if is_late {
                world.wake_at(arrives_at, cx.waker());
            }
            pipe.reader = Some(cx.waker().clone());
            return Poll::Pending;
        }
        if world.goes_wrong(world.faults.spurious_wake) {
            let what = || "there is nothing to read, though it was said".to_owned();
            world.befalls("there was nothing to read, though it had been said", Some(number), what);
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let length = pipe.bytes.len().min(buffer.len()).min(most);
        let length = self.part(number, length, world.faults.torn_read, Does::Read);
        pipe.bytes.read_exact(&mut buffer[..length])?;
        if let Some(writer) = pipe.writer.take() {
            writer.wake();
        }
        if self.0.side == Side::Server {
            link.taken.count(&buffer[..length]);
        }
        world.passed(self.name(), &buffer[..length]);
        Poll::Ready(Ok(length))
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let world = &self.0.world;
        let mut link = self.0.link();
        if !link.reset && link.outgoing(self.0.side).abandoned {
            link.reset(world);
        } else if !link.reset && world.goes_wrong(world.faults.reset) {
            let what = || "the connection breaks by itself".to_owned();
            world.befalls("a connection broke by itself", Some(link.number), what);
            link.reset(world);
        }
        if link.reset {
            link.told[self.0.side as usize] = true;
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let is_server = self.0.side == Side::Server;
        if world.goes_wrong(world.faults.clog) {
            let ms = CLOGS_MS[world.choices().pick(CLOGS_MS.len())];
            link.clogged_until = world.now() + ms;
            let what = || format!("nothing passes for {ms} ms");
            world.befalls("a link was clogged", Some(link.number), what);
        }
        if is_server && world.goes_wrong(world.faults.interrupt) {
            let what = || "a signal interrupts the server's write".to_owned();
            world.befalls("a write was interrupted", Some(link.number), what);
            return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
        }
        if is_server && world.goes_wrong(world.faults.slow_write) {
            let ms = SLOW_MS[world.choices().pick(SLOW_MS.len())];
            link.outgoing(self.0.side).blocked_until = world.now() + ms;
            let what = || format!("nothing that the server writes is taken for {ms} ms");
            world.befalls("a write had to wait", Some(link.number), what);
        }
        let (number, capacity, clogged_until) = (link.number, link.pipe_bytes, link.clogged_until);
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
                world.log().marks.hit("the server had to wait for a client to read");
                if link.write_waits_since.is_none() {
                    let what = || "the server has to wait until it reads".to_owned();
                    world.note(Some(link.number), false, what);
                }
                link.wait(world.now());
            }
            return Poll::Pending;
        }
        let length = self.part(number, bytes.len().min(room), world.faults.torn_write, Does::Write);
        pipe.bytes.extend(&bytes[..length]);
        if world.goes_wrong(world.faults.delay) {
            let ms = DELAYS_MS[world.choices().pick(DELAYS_MS.len())];
            pipe.arrives_at = world.now() + ms;
            let who = if is_server { "the server" } else { "it" };
            let what = || format!("what {who} writes takes {ms} ms");
            world.befalls("what was written took its time", Some(number), what);
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

impl Stream for SimStream {
    fn is_private(&self) -> bool {
        self.0.link().local
    }

    fn reset(&mut self) {
        let link = self.0.link();
        let waited = link.write_waits_since.map(|since| self.0.world.now() - since);
        if let (Some(waited), Some(most)) = (waited, link.write_ms_max)
            && waited >= most
            && self.0.side == Side::Server
            && !link.reset
        {
            let what =
                || format!("it has taken nothing for {waited} ms, and the server breaks the connection");
            self.0.world.befalls("a connection that took nothing was reset", Some(link.number), what);
        }
        drop(link);
        self.break_off();
    }
}
