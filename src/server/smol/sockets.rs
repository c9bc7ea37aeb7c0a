//! TCP and unix sockets, and TCP behind TLS.

use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::mem;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::os::fd::AsFd;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::smol::Async;
use futures::io::{AsyncRead, AsyncWrite};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::tls::{TlsSettings, TlsStream};
use crate::server::runtime::{Listener, PeerAddr, Stream};

/// Connections that the operating system holds ready to be accepted.
const BACKLOG: i32 = 4096;

/// How long a TCP connection may be silent before its peer is asked whether it is still there.
const KEEPALIVE: Duration = Duration::from_secs(60);

/// How long the peer has to answer, and how often it is asked.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;

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
    socket: Listening,
    /// How long a TCP connection may be silent before the operating system asks whether its peer is still there.
    keepalive: Option<Duration>,
    /// TLS is spoken here, if anything.
    tls: Option<TlsSettings>,
}

enum Listening {
    Tcp(Async<TcpListener>),
    /// The file is somebody else's if the socket was not bound here.
    Unix {
        file: Option<SocketFile>,
        listener: Async<UnixListener>,
    },
}

/// The file of a unix socket. It is removed just before the listener is dropped: later it might be another server's.
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
                let listener = UnixListener::bind(path)?;
                Listening::Unix { file: Some(SocketFile(path.clone())), listener: Async::new(listener)? }
            }
        };
        Ok(SmolListener::new(listening))
    }

    /// A TCP socket that listens already.
    ///
    /// # Errors
    /// The operating system has no more room to watch it.
    pub fn from_tcp(listener: TcpListener) -> io::Result<SmolListener> {
        Ok(SmolListener::new(Listening::Tcp(Async::new(listener)?)))
    }

    /// A unix socket that listens already. Its file stays when the server ends.
    ///
    /// # Errors
    /// The operating system has no more room to watch it.
    pub fn from_unix(listener: UnixListener) -> io::Result<SmolListener> {
        Ok(SmolListener::new(Listening::Unix { file: None, listener: Async::new(listener)? }))
    }

    fn new(socket: Listening) -> SmolListener {
        SmolListener { socket, keepalive: Some(KEEPALIVE), tls: None }
    }

    /// Speaks TLS with whoever comes over TCP, each with the settings in force when it comes.
    #[must_use]
    pub fn with_tls(self, settings: TlsSettings) -> SmolListener {
        SmolListener { tls: Some(settings), ..self }
    }

    /// Whether TLS is spoken here.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
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
        match &self.socket {
            Listening::Tcp(listener) => Address::Tcp(
                listener.get_ref().local_addr().map_or_else(|e| e.to_string(), |address| address.to_string()),
            ),
            Listening::Unix { file: Some(file), .. } => Address::Unix(file.0.clone()),
            Listening::Unix { file: None, listener } => Address::Unix(bound_to(listener.get_ref())),
        }
    }
}

/// The path of a socket that was bound elsewhere; of one that has none, its name behind an `@`.
fn bound_to(listener: &UnixListener) -> PathBuf {
    let Ok(address) = listener.local_addr() else { return PathBuf::new() };
    #[cfg(target_os = "linux")]
    if let Some(name) = std::os::linux::net::SocketAddrExt::as_abstract_name(&address) {
        return format!("@{}", String::from_utf8_lossy(name)).into();
    }
    address.as_pathname().map(Path::to_path_buf).unwrap_or_default()
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

impl Listener for SmolListener {
    type Stream = SmolStream;

    async fn accept(&self) -> io::Result<(SmolStream, PeerAddr)> {
        match &self.socket {
            Listening::Tcp(listener) => {
                let (stream, peer) = listener.accept().await?;
                prepare(stream.get_ref(), self.keepalive);
                let stream = Connection::new(stream);
                let stream = match &self.tls {
                    Some(settings) => SmolStream::Tls(Box::new(TlsStream::new(stream, settings))),
                    None => SmolStream::Tcp(stream),
                };
                Ok((stream, PeerAddr::Tcp(peer)))
            }
            Listening::Unix { listener, .. } => {
                let (stream, _) = listener.accept().await?;
                Ok((SmolStream::Unix(Connection::new(stream)), PeerAddr::Unix))
            }
        }
    }
}

/// Sets what a TCP connection needs. Whatever cannot be set, it serves without.
fn prepare(stream: &TcpStream, keepalive: Option<Duration>) {
    // Batches are whole already: nothing is gained by waiting for more.
    let _ = stream.set_nodelay(true);
    if let Some(silent) = keepalive {
        let asking = TcpKeepalive::new().with_time(silent);
        let asking = asking.with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES);
        let socket = SockRef::from(stream);
        let _ = socket.set_tcp_keepalive(&asking);
        // While something is on its way to the peer, nobody asks: it would be sent again for a quarter of an hour. This
        // gives it up after the same time.
        #[cfg(target_os = "linux")]
        let _ = socket.set_tcp_user_timeout(Some(silent + KEEPALIVE_INTERVAL * KEEPALIVE_PROBES));
    }
}

/// A connected socket.
pub enum SmolStream {
    /// TCP.
    Tcp(Connection<TcpStream>),
    /// A unix socket.
    Unix(Connection<UnixStream>),
    /// TLS over TCP.
    Tls(Box<TlsStream>),
}

impl SmolStream {
    /// The socket of TCP, if it is one.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            SmolStream::Tcp(stream) => Some(stream.socket()),
            SmolStream::Tls(stream) => stream.tcp(),
            SmolStream::Unix(_) => None,
        }
    }

    fn io(self: Pin<&mut Self>) -> Pin<&mut (dyn Io + Send + Unpin)> {
        match self.get_mut() {
            SmolStream::Tcp(stream) => Pin::new(stream),
            SmolStream::Unix(stream) => Pin::new(stream),
            SmolStream::Tls(stream) => Pin::new(&mut **stream),
        }
    }
}

/// Both directions of a connection.
trait Io: AsyncRead + AsyncWrite {}

impl<T: AsyncRead + AsyncWrite> Io for T {}

impl AsyncRead for SmolStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        self.io().poll_read(cx, buffer)
    }
}

impl AsyncWrite for SmolStream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.io().poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_flush(cx)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.io().poll_close(cx)
    }
}

impl Stream for SmolStream {
    /// With the option SO_LINGER and no time to linger, TCP resets; a unix socket has no such thing.
    fn reset(&mut self) {
        if let Some(stream) = self.tcp() {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
        }
    }

    fn identity(&self) -> Option<&str> {
        match self {
            SmolStream::Tls(stream) => stream.identity(),
            SmolStream::Tcp(_) | SmolStream::Unix(_) => None,
        }
    }

    /// TLS is private, and so is what never leaves the machine: unix sockets, and connections between loopback addresses.
    fn is_private(&self) -> bool {
        match self {
            SmolStream::Tls(_) | SmolStream::Unix(_) => true,
            SmolStream::Tcp(stream) => {
                stream.socket().peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
            }
        }
    }
}

/// The longest read after which a connection waits for more without trying first, in bytes. A shorter read has most likely
/// emptied the socket, and the client is one that says a line now and then. After a longer one more is likely there already,
/// and a read costs less than to wait.
const LAST_READ_BYTES_MAX: usize = 4096;

/// A socket on the reactor.
pub struct Connection<T> {
    io: Async<T>,
    /// The last read was a short one: the next waits before it tries.
    emptied: bool,
}

impl<T> Connection<T> {
    fn new(io: Async<T>) -> Connection<T> {
        Connection { io, emptied: false }
    }

    pub(super) fn socket(&self) -> &T {
        self.io.get_ref()
    }
}

impl<T: Unpin> AsyncRead for Connection<T>
where
    for<'a> &'a T: Read,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
    ) -> Poll<io::Result<usize>> {
        if mem::take(&mut self.emptied) {
            ready!(self.io.poll_readable(cx))?;
        }
        // Whoever is woken tries, whatever the reactor says: what became ready while another thread asked the operating system
        // does not count as news to it, and can be missed again and again.
        loop {
            let read = self.io.get_ref().read(buffer);
            match &read {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready!(self.io.poll_readable(cx))?,
                _ => {
                    let most = LAST_READ_BYTES_MAX.min(buffer.len());
                    self.emptied = read.as_ref().is_ok_and(|&length| (1..most).contains(&length));
                    return Poll::Ready(read);
                }
            }
        }
    }
}

impl<T: AsFd> AsyncWrite for Connection<T>
where
    Async<T>: AsyncWrite + Unpin,
{
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, bytes)
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // the operating system has everything that counts as written
    }

    fn poll_close(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(self.socket()).shutdown(Shutdown::Write))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bug: a peer that was gone while something was on its way to it once held its name for a quarter of an hour.
    #[test]
    fn g9_what_is_on_its_way_to_the_dead_is_given_up_like_their_silence() {
        for (keepalive, timeout) in
            [(Some(Duration::from_secs(7)), Some(Duration::from_secs(37))), (None, None)]
        {
            let listener = SmolListener::bind(&Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
            let listener = listener.with_keepalive(keepalive);
            let _client = TcpStream::connect(listener.address().to_string()).unwrap();
            let (stream, _) = ::smol::block_on(listener.accept()).unwrap();
            let socket = SockRef::from(stream.tcp().unwrap());
            assert_eq!(socket.tcp_user_timeout().unwrap(), timeout);
            assert_eq!(socket.keepalive().unwrap(), keepalive.is_some());
            if let Some(silent) = keepalive {
                assert_eq!(socket.tcp_keepalive_time().unwrap(), silent);
                assert_eq!(socket.tcp_keepalive_interval().unwrap(), Duration::from_secs(10));
                assert_eq!(socket.tcp_keepalive_retries().unwrap(), 3);
            }
        }
    }
}
