//! What a bug costs: bugs are planted in the world that the server lives in, on real sockets. And what an idle connection
//! costs.

use std::future::{pending, ready};
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::num::NonZeroUsize;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use async_channel::Sender;
use futures::io::{AsyncRead, AsyncWrite};
use tracing::Subscriber;

use super::accept::Door;
use super::conn::EndLog;
use super::outbox::{Outbox, Room};
use super::runtime::{Listener, Observer, PeerAddr, Runtime, Stream};
use super::smol::sockets::{Address, SmolListener, SmolStream};
use super::smol::{Smol, run};
use super::{Config, World, conn, driver, ingress, start, start_observed};
use crate::{ConnId, Event, Millis};

/// The real runtime, with bugs planted in it.
#[derive(Clone)]
struct Trapped {
    smol: Smol,
    /// How many timers were set.
    sleeps: Arc<AtomicUsize>,
}

impl Trapped {
    fn new(smol: Smol) -> Trapped {
        Trapped { smol, sleeps: Arc::default() }
    }
}

impl Runtime for Trapped {
    type Listener = TrappedListener;
    type Stream = TrappedStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.smol.spawn(task);
    }

    fn now(&self) -> Millis {
        self.smol.now()
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        self.sleeps.fetch_add(1, Ordering::SeqCst);
        self.smol.sleep_until(at)
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

/// Panics at the word "boom", as if the broker did.
struct TrappedObserver;

impl Observer for TrappedObserver {
    fn before_step(&mut self, event: &Event) {
        assert!(!format!("{event:?}").contains("boom"), "planted: boom");
    }
}

struct TrappedListener {
    listener: SmolListener,
    /// Accepting panics.
    deaf: Arc<AtomicBool>,
    /// The errors it returns before it accepts anybody.
    failures: Mutex<Vec<io::ErrorKind>>,
}

impl TrappedListener {
    fn bind() -> TrappedListener {
        let listener = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
        TrappedListener { listener, deaf: Arc::default(), failures: Mutex::default() }
    }

    fn address(&self) -> String {
        self.listener.address().to_string()
    }
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

struct TrappedStream(SmolStream);

impl AsyncRead for TrappedStream {
    /// Panics at the word "bang".
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        let read = Pin::new(&mut self.0).poll_read(cx, buffer);
        if let Poll::Ready(Ok(length)) = read {
            assert!(!buffer[..length].starts_with(b"bang"), "planted: bang");
        }
        read
    }
}

impl AsyncWrite for TrappedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_close(cx)
    }
}

impl Stream for TrappedStream {
    fn reset(&mut self) {
        self.0.reset();
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
        let listener = TrappedListener::bind();
        let (address, deaf) = (listener.address(), listener.deaf.clone());
        let (stop, stopped) = async_channel::bounded::<bool>(1);
        let log = Log::default();
        let logger = log.logger();
        let thread = thread::spawn(move || {
            let shutdown = async move { assert!(!stopped.recv().await.unwrap(), "planted: no end") };
            let serve = |smol| {
                let runtime = Trapped::new(smol);
                start_observed(runtime, TrappedObserver, vec![listener], Config::default(), shutdown).2
            };
            tracing::subscriber::with_default(logger, || run(NonZeroUsize::MIN, serve));
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
        let listener = TrappedListener::bind();
        *listener.failures.lock().unwrap() = vec![failure; times];
        let _client = TcpStream::connect(listener.address()).unwrap();
        let sleeps = run(NonZeroUsize::MIN, |smol| async {
            let runtime = Trapped::new(smol);
            let mut door = Door::new(runtime.clone(), listener, "a connection");
            door.accept().await;
            runtime.sleeps.load(Ordering::SeqCst)
        });
        assert_eq!(sleeps, pauses, "{failure}, {times} times");
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
    run(NonZeroUsize::MIN, |smol| {
        let (_, operator, serving) =
            start(Trapped::new(smol), Vec::new(), Config::default(), pending::<()>());
        let mut kicking = pin!(operator.kick("al"));
        let mut cx = Context::from_waker(Waker::noop());
        assert!(kicking.as_mut().poll(&mut cx).is_pending());
        drop(serving);
        assert_eq!(kicking.poll(&mut cx), Poll::Ready(None));
        ready(())
    });
}

/// The README allows a connection 4 KiB beside its buffers, and this is the part of it that the server's own types decide.
#[test]
fn g9_an_idle_connection_is_small() {
    let listener = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
    let _client = TcpStream::connect(listener.address().to_string()).unwrap();
    let task_bytes = run(NonZeroUsize::MIN, |runtime| async move {
        let (stream, peer) = listener.accept().await.unwrap();
        let ((ingress, _inputs), room) = (ingress::queue(16), Room::new(0, 0, 0));
        let outbox = Arc::new(Outbox::new(room.clone()));
        let (ends, tally, config) = (EndLog::default(), Arc::default(), Config::default());
        let world = Arc::new(World { runtime, ingress, room, ends, tally, config });
        size_of_val(&conn::run(world, ConnId(0), peer, stream, outbox))
    });
    for (what, bytes, bytes_max) in [
        ("a connection's task", task_bytes, 304),
        ("a stream, which is part of it", size_of::<SmolStream>(), 32),
        ("an outbox", size_of::<Outbox>(), 72),
        ("a client of the driver", driver::CLIENT_BYTES, 56),
    ] {
        println!("{what}: {bytes} bytes");
        assert!(bytes <= bytes_max, "{what} takes {bytes} bytes, and {bytes_max} at most");
    }
}
