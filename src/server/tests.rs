//! What a bug costs: bugs are planted in the world that the server lives in, on real sockets. And what an idle connection
//! costs.

use std::future::pending;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_channel::Sender;
use tracing::Subscriber;

use super::accept::Door;
use super::conn::EndLog;
use super::mio::Mio;
use super::mio::sockets::{Address, Half, MioListener, MioStream};
use super::outbox::{Outbox, Room};
use super::runtime::{Listener, PeerAddr, Reader, Runtime, Stream};
use super::{Config, World, conn, driver, ingress, serve, start};
use crate::{ConnId, Event, Millis};

/// The world as it is, but for the bugs in it.
#[derive(Clone)]
struct Trapped {
    mio: Mio,
    /// How often anybody waited for a moment.
    sleeps: Arc<AtomicUsize>,
}

impl Trapped {
    fn new() -> Trapped {
        Trapped { mio: Mio::new().unwrap(), sleeps: Arc::default() }
    }

    fn listen(&self) -> TrappedListener {
        let listener = MioListener::bind(&self.mio, &Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
        TrappedListener { listener, deaf: Arc::default(), failures: Mutex::default() }
    }
}

impl Runtime for Trapped {
    type Listener = TrappedListener;
    type Stream = TrappedStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.mio.spawn(task);
    }

    fn now(&self) -> Millis {
        self.mio.now()
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        self.sleeps.fetch_add(1, Ordering::SeqCst);
        self.mio.sleep_until(at)
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

    /// As if the broker did, at this word.
    fn will_step(&self, event: &Event) {
        assert!(!format!("{event:?}").contains("boom"), "planted: boom");
    }
}

struct TrappedListener {
    listener: MioListener,
    /// Accepting panics.
    deaf: Arc<AtomicBool>,
    /// What it says before it accepts anybody.
    failures: Mutex<Vec<io::ErrorKind>>,
}

impl Listener for TrappedListener {
    type Stream = TrappedStream;

    async fn accept(&self) -> io::Result<(TrappedStream, PeerAddr)> {
        if let Some(failure) = self.failures.lock().unwrap().pop() {
            return Err(failure.into());
        }
        let (stream, peer) = self.listener.accept().await?;
        assert!(!self.deaf.load(Ordering::SeqCst), "planted: deaf");
        Ok((TrappedStream(stream), peer))
    }
}

struct TrappedStream(MioStream);

impl Stream for TrappedStream {
    type Reader = TrappedReader;
    type Writer = Half;

    fn split(self) -> (TrappedReader, Half) {
        let (reader, writer) = self.0.split();
        (TrappedReader(reader), writer)
    }
}

struct TrappedReader(Half);

impl Reader for TrappedReader {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_readable(cx)
    }

    /// Panics at this word.
    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.try_read(buffer)?;
        assert!(!buffer[..length].starts_with(b"bang"), "planted: bang");
        Ok(length)
    }
}

/// What is logged.
#[derive(Clone, Default)]
pub(super) struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    /// What writes there.
    pub(super) fn logger(&self) -> impl Subscriber + Send + Sync + use<> {
        let log = self.clone();
        tracing_subscriber::fmt().with_ansi(false).with_writer(move || log.clone()).finish()
    }

    /// The line that says this.
    pub(super) fn line(&self, what: &str) -> String {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        let line = log.lines().find(|line| line.contains(what));
        line.unwrap_or_else(|| panic!("no {what:?} in {log}")).to_owned()
    }
}

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A server in a thread of its own.
struct Server {
    address: String,
    deaf: Arc<AtomicBool>,
    /// Anything sent here stops it in order; `true` makes it panic on the way.
    stop: Sender<bool>,
    log: Log,
    thread: JoinHandle<()>,
}

impl Server {
    fn start() -> Server {
        let runtime = Trapped::new();
        let listener = runtime.listen();
        let (address, deaf) = (listener.listener.address().to_string(), listener.deaf.clone());
        let (stop, stopped) = async_channel::bounded::<bool>(1);
        let listeners = vec![listener];
        let log = Log::default();
        let logger = log.logger();
        let thread = thread::spawn(move || {
            let shutdown = async move { assert!(!stopped.recv().await.unwrap(), "planted: no end") };
            let serving = serve(runtime.clone(), listeners, Config::default(), shutdown);
            tracing::subscriber::with_default(logger, || runtime.mio.block_on(serving));
        });
        Server { address, deaf, stop, log, thread }
    }

    fn connect(&self) -> Client {
        let stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        Client(BufReader::new(stream))
    }

    fn log_in(&self, name: &str) -> Client {
        let mut client = self.connect();
        client.say(name);
        assert_eq!(client.line().unwrap(), format!("welcome {name}"));
        client
    }

    /// Whether it ended in order, and not by a panic.
    fn ends_in_order(self) -> bool {
        self.thread.join().is_ok()
    }
}

struct Client(BufReader<TcpStream>);

impl Client {
    fn say(&mut self, line: &str) {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
    }

    /// The next line, or `None` when the connection is over, in order or not.
    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        match self.0.read_line(&mut line) {
            Err(error) if error.kind() != io::ErrorKind::ConnectionReset => panic!("{error}"),
            _ => line.strip_suffix('\n').map(str::to_owned),
        }
    }
}

#[test]
fn g9_a_bug_in_one_connection_ends_that_connection() {
    let server = Server::start();
    let mut quiet = server.log_in("quiet");
    for _ in 0..20 {
        let mut al = server.log_in("al");
        al.say("bang");
        assert_eq!(al.line(), None);
        // Its end is known before anything else that comes.
        quiet.say("al: are you there?");
        assert_eq!(quiet.line().unwrap(), "error no-such-peer: al");
    }
    // The bug of one is not seen anywhere else, and here is what to see it again with.
    let line = server.log.line("reason=a bug");
    assert!(line.contains("ERROR") && line.contains("disconnected conn=#2"), "{line}");
    server.stop.try_send(false).unwrap();
    assert_eq!(quiet.line().unwrap(), "bye server shutting down");
    drop(quiet);
    assert!(server.ends_in_order());
}

#[test]
fn a_bug_in_the_broker_stops_the_server() {
    let server = Server::start();
    let (_quiet, mut al) = (server.log_in("quiet"), server.log_in("al"));
    al.say("quiet: boom");
    let log = server.log.clone();
    assert!(!server.ends_in_order(), "nobody is served from a state that nobody knows");
    let line = log.line("a bug stops the server");
    for known in
        ["ERROR", "connections=2 peers=2", "event=\"requested\" conn=Some(#2)", "phase: Active(\"al\")"]
    {
        assert!(line.contains(known), "no {known} in {line}");
    }
    assert!(!line.contains("boom"), "what was said is nobody's business: {line}");
}

/// Bug: the server once went on without ever accepting anybody.
#[test]
fn a_bug_in_accepting_stops_the_server() {
    let server = Server::start();
    let _quiet = server.log_in("quiet");
    server.deaf.store(true, Ordering::SeqCst);
    let _unheard = server.connect();
    assert!(!server.ends_in_order());
}

/// Bug: a connection that was gone before it was accepted once held up all that came behind it for a tenth of a second.
#[test]
fn g9_only_what_concerns_everybody_makes_a_door_pause() {
    use io::ErrorKind::{ConnectionAborted, Interrupted, OutOfMemory};
    for (failure, times, pauses) in [
        (ConnectionAborted, 5, 0),
        (Interrupted, 16, 0),
        // It does not spin if that never ends.
        (ConnectionAborted, 17, 1),
        (ConnectionAborted, 40, 2),
        (OutOfMemory, 2, 2),
    ] {
        let runtime = Trapped::new();
        let listener = runtime.listen();
        *listener.failures.lock().unwrap() = vec![failure; times];
        let _client = TcpStream::connect(listener.listener.address().to_string()).unwrap();
        let mut door = Door::new(runtime.clone(), listener, "a connection");
        runtime.mio.block_on(door.accept());
        assert_eq!(runtime.sleeps.load(Ordering::SeqCst), pauses, "{failure}, {times} times");
    }
}

/// Bug: the server once went on, and could not be stopped any more.
#[test]
fn a_bug_in_shutting_down_stops_the_server() {
    let server = Server::start();
    let _quiet = server.log_in("quiet");
    server.stop.try_send(true).unwrap();
    assert!(!server.ends_in_order());
}

/// Bug: an order that the server had not taken when it ended was never answered.
#[test]
fn whoever_orders_too_late_hears_that_the_server_has_ended() {
    let runtime = Trapped::new();
    let (_, operator, serving) = start(runtime, Vec::new(), Config::default(), pending::<()>());
    let mut kicking = pin!(operator.kick("al"));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(kicking.as_mut().poll(&mut cx).is_pending());
    drop(serving);
    assert_eq!(kicking.poll(&mut cx), Poll::Ready(None));
}

/// The README allows a connection 4 KiB beside its buffers, and this is the part of it that the server's own types decide.
#[test]
fn g9_an_idle_connection_is_small() {
    let runtime = Mio::new().unwrap();
    let listener = MioListener::bind(&runtime, &Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
    let _client = TcpStream::connect(listener.address().to_string()).unwrap();
    let (stream, peer) = runtime.block_on(listener.accept()).unwrap();
    let ((ingress, _inputs), room) = (ingress::queue(), Room::new(0, 0, 0));
    let outbox = Arc::new(Outbox::new(room.clone()));
    let (ends, tally, config) = (EndLog::default(), Arc::default(), Config::default());
    let world = Arc::new(World { runtime, ingress, room, ends, tally, config });
    let task = conn::run(world, ConnId(0), peer, stream, outbox);
    for (what, bytes, bytes_max) in [
        ("a connection's task", size_of_val(&task), 328),
        ("an outbox", size_of::<Outbox>(), 72),
        ("a client of the driver", driver::CLIENT_BYTES, 56),
    ] {
        println!("{what}: {bytes} bytes");
        assert!(bytes <= bytes_max, "{what} takes {bytes} bytes, and {bytes_max} at most");
    }
}
