//! The world in production: smol's executor and reactor, TCP and unix sockets.

use std::fmt;
use std::fs;
use std::future::{Future, ready};
use std::io::{self, Read};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_executor::Executor;
use async_io::{Async, Timer};
use futures_io::AsyncWrite;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::runtime::{self, PeerAddr, Runtime};
use crate::Millis;

/// Connections that the operating system holds ready to be accepted.
const BACKLOG: i32 = 4096;

/// How long a TCP connection may be silent before its peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long the peer has to answer, and how often it is asked.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

/// smol's executor, driven by the thread that calls [`block_on`](Smol::block_on).
#[derive(Clone)]
pub struct Smol {
    executor: Arc<Executor<'static>>,
    start: Instant,
}

impl Smol {
    /// A runtime whose clock starts now.
    pub fn new() -> Smol {
        Smol { executor: Arc::new(Executor::new()), start: Instant::now() }
    }

    /// Runs the future and all tasks spawned, on this thread, until the future is ready.
    pub fn block_on<T>(&self, future: impl Future<Output = T>) -> T {
        async_io::block_on(self.executor.run(future))
    }
}

impl Default for Smol {
    fn default() -> Smol {
        Smol::new()
    }
}

impl Runtime for Smol {
    type Listener = SmolListener;
    type Stream = SmolStream;

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.executor.spawn(task).detach();
    }

    fn now(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }

    fn sleep_until(&self, at: Millis) -> impl Future<Output = ()> + Send + 'static {
        let timer = self.start.checked_add(Duration::from_millis(at.0)).map_or_else(Timer::never, Timer::at);
        async move {
            timer.await;
        }
    }

    fn preempt(&self) -> impl Future<Output = ()> + Send {
        ready(())
    }
}

/// Where to listen: `HOST:PORT` or `unix:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Address {
    /// A TCP host and port; port 0 lets the operating system choose.
    Tcp(String),
    /// The path of a unix socket.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        match text.strip_prefix("unix:") {
            Some("") => Err("a path must follow unix:".to_owned()),
            Some(path) => Ok(Address::Unix(path.into())),
            None if text
                .rsplit_once(':')
                .is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok()) =>
            {
                Ok(Address::Tcp(text.to_owned()))
            }
            None => Err("expected HOST:PORT (IPv6 as [::1]:7878) or unix:PATH".to_owned()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(address) => f.write_str(address),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// A listening socket.
pub struct SmolListener {
    listening: Listening,
    /// How long a TCP connection may be silent before the operating system asks whether its peer is still there.
    keepalive: Option<Duration>,
}

enum Listening {
    Tcp(Async<TcpListener>),
    Unix { file: SocketFile, listener: Async<UnixListener> },
}

/// The file of a unix socket, removed just before the listener goes: behind it, it might be another server's.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl SmolListener {
    /// Starts to listen. `[::]` means IPv6 alone, so that `0.0.0.0` may stand beside it.
    ///
    /// # Errors
    /// Whatever the operating system says: the address is busy, unknown or forbidden.
    pub fn bind(address: &Address) -> io::Result<SmolListener> {
        let listening = match address {
            Address::Tcp(address) => Listening::Tcp(Async::new(bind_tcp(address)?)?),
            Address::Unix(path) => {
                remove_stale(path)?;
                let listener = Async::new(UnixListener::bind(path)?)?;
                Listening::Unix { file: SocketFile(path.clone()), listener }
            }
        };
        Ok(SmolListener { listening, keepalive: Some(KEEPALIVE) })
    }

    /// How long a TCP connection may be silent before its peer is asked whether it is still there, if ever; a minute if
    /// nothing is said. Whoever does not answer three times, 10 s apart, is gone; so is whoever takes nothing of what is on
    /// its way to it for as long as all that.
    #[must_use]
    pub fn with_keepalive(self, keepalive: Option<Duration>) -> SmolListener {
        SmolListener { keepalive, ..self }
    }

    /// Where it listens: the real port for port 0.
    pub fn address(&self) -> Address {
        match &self.listening {
            Listening::Tcp(listener) => Address::Tcp(
                listener.get_ref().local_addr().map_or_else(|e| e.to_string(), |address| address.to_string()),
            ),
            Listening::Unix { file, .. } => Address::Unix(file.0.clone()),
        }
    }
}

fn bind_tcp(address: &str) -> io::Result<TcpListener> {
    let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in address.to_socket_addrs()? {
        match bind_tcp_to(address) {
            Ok(listener) => return Ok(listener),
            Err(e) => error = e,
        }
    }
    Err(error)
}

fn bind_tcp_to(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?; // restart at once on the same port
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// Removes the socket file of a server that is gone; one that somebody answers on stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused) {
        fs::remove_file(path)?;
    }
    Ok(())
}

impl runtime::Listener for SmolListener {
    type Stream = SmolStream;

    async fn accept(&self) -> io::Result<(SmolStream, PeerAddr)> {
        match &self.listening {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept().await?;
                // Batches are whole already: nothing is gained by waiting for more.
                let _ = stream.get_ref().set_nodelay(true);
                if let Some(silent) = self.keepalive {
                    let asking = TcpKeepalive::new().with_time(silent);
                    let asking = asking.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
                    let socket = SockRef::from(stream.get_ref());
                    let _ = socket.set_tcp_keepalive(&asking);
                    // While something is on its way to the peer, nobody asks: it would be sent again for a quarter of an
                    // hour. This gives it up after the same time.
                    #[cfg(target_os = "linux")]
                    let _ = socket.set_tcp_user_timeout(Some(silent + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES));
                }
                Ok((SmolStream(Half::Tcp(Arc::new(stream))), PeerAddr::Tcp(address)))
            }
            Listening::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((SmolStream(Half::Unix(Arc::new(stream))), PeerAddr::Unix))
            }
        }
    }
}

/// A connected socket.
pub struct SmolStream(Half);

impl SmolStream {
    /// Connects to a server.
    ///
    /// # Errors
    /// Whatever the operating system says: nobody listens there, or the host is unknown (names are looked up while everything
    /// else waits).
    pub async fn connect(address: &Address) -> io::Result<SmolStream> {
        Ok(SmolStream(match address {
            Address::Tcp(address) => {
                let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
                let mut connected = None;
                for address in address.to_socket_addrs()? {
                    match Async::<TcpStream>::connect(address).await {
                        Ok(stream) => {
                            connected = Some(stream);
                            break;
                        }
                        Err(e) => error = e,
                    }
                }
                let stream = connected.ok_or(error)?;
                stream.get_ref().set_nodelay(true)?;
                Half::Tcp(Arc::new(stream))
            }
            Address::Unix(path) => Half::Unix(Arc::new(Async::<UnixStream>::connect(path).await?)),
        }))
    }
}

/// One half of a connected socket: both halves share it, and it closes with the second.
#[derive(Clone)]
pub enum Half {
    /// Over TCP.
    Tcp(Arc<Async<TcpStream>>),
    /// Over a unix socket.
    Unix(Arc<Async<UnixStream>>),
}

impl runtime::Stream for SmolStream {
    type Reader = Half;
    type Writer = Half;

    fn split(self) -> (Half, Half) {
        (self.0.clone(), self.0)
    }
}

impl runtime::Reader for Half {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self {
            Half::Tcp(stream) => stream.poll_readable(cx),
            Half::Unix(stream) => stream.poll_readable(cx),
        }
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Half::Tcp(stream) => stream.get_ref().read(buffer),
            Half::Unix(stream) => stream.get_ref().read(buffer),
        }
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Half::Tcp(stream) => Pin::new(&mut &**stream).poll_write(cx, bytes),
            Half::Unix(stream) => Pin::new(&mut &**stream).poll_write(cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // nothing is held back
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.get_mut() {
            Half::Tcp(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Half::Unix(stream) => stream.get_ref().shutdown(Shutdown::Write),
        })
    }
}

impl runtime::Writer for Half {
    fn reset(&mut self) {
        // With the option SO_LINGER and no time to linger, TCP resets; a unix socket has no such thing.
        if let Half::Tcp(stream) = self {
            let _ = SockRef::from(stream.get_ref()).set_linger(Some(Duration::ZERO));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::Listener as _;

    /// Bug: a peer that was gone while something was on its way to it once held its name for a quarter of an hour.
    #[test]
    fn g9_what_is_on_its_way_to_the_dead_is_given_up_like_their_silence() {
        for (keepalive, timeout) in
            [(Some(Duration::from_secs(7)), Some(Duration::from_secs(37))), (None, None)]
        {
            let listener = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
            let listener = listener.with_keepalive(keepalive);
            let _client = TcpStream::connect(listener.address().to_string()).unwrap();
            let (SmolStream(Half::Tcp(stream)), _) = async_io::block_on(listener.accept()).unwrap() else {
                panic!("it is TCP");
            };
            assert_eq!(SockRef::from(stream.get_ref()).tcp_user_timeout().unwrap(), timeout);
        }
    }
}
