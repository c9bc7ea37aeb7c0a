//! TCP and unix sockets, and TCP behind TLS.

use std::fmt;
use std::fs;
use std::future::poll_fn;
use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, ToSocketAddrs};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use ::mio::event::Source;
use ::mio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use futures_io::AsyncWrite;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

use super::Mio;
use super::readiness::{self, Watched};
use super::tls::{TlsSettings, TlsStream};
use crate::server::runtime::{self, PeerAddr};

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
pub struct MioListener {
    socket: Arc<Watched<Listening>>,
    /// How long a TCP connection may be silent before the operating system asks whether its peer is still there.
    keepalive: Option<Duration>,
    /// TLS is spoken here, if anything.
    tls: Option<TlsSettings>,
}

enum Listening {
    Tcp(TcpListener),
    /// The file is somebody else's if the socket was not bound here.
    Unix {
        file: Option<SocketFile>,
        listener: UnixListener,
    },
}

impl readiness::Socket for Listening {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Listening::Tcp(listener) => listener,
            Listening::Unix { listener, .. } => listener,
        }
    }
}

/// The file of a unix socket, removed just before the listener goes: behind it, it might be another server's.
struct SocketFile(PathBuf);

impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

impl MioListener {
    /// Starts to listen. `[::]` means IPv6 alone, so that `0.0.0.0` may stand beside it.
    ///
    /// # Errors
    /// Whatever the operating system says: the address is busy, unknown or forbidden.
    pub fn bind(mio: &Mio, address: &Address) -> io::Result<MioListener> {
        let listening = match address {
            Address::Tcp(address) => Listening::Tcp(bind_tcp(address)?),
            Address::Unix(path) => {
                remove_stale(path)?;
                let listener = net::UnixListener::bind(path)?;
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener);
                Listening::Unix { file: Some(SocketFile(path.clone())), listener }
            }
        };
        MioListener::watch(mio, listening)
    }

    /// A TCP socket that listens already.
    ///
    /// # Errors
    /// The operating system has no more room to watch it.
    pub fn from_tcp(mio: &Mio, listener: std::net::TcpListener) -> io::Result<MioListener> {
        listener.set_nonblocking(true)?;
        MioListener::watch(mio, Listening::Tcp(TcpListener::from_std(listener)))
    }

    /// A unix socket that listens already. Its file stays when the server goes.
    ///
    /// # Errors
    /// The operating system has no more room to watch it.
    pub fn from_unix(mio: &Mio, listener: net::UnixListener) -> io::Result<MioListener> {
        listener.set_nonblocking(true)?;
        MioListener::watch(mio, Listening::Unix { file: None, listener: UnixListener::from_std(listener) })
    }

    fn watch(mio: &Mio, listening: Listening) -> io::Result<MioListener> {
        let socket = mio.sockets.watch_listening(listening)?;
        Ok(MioListener { socket, keepalive: Some(KEEPALIVE), tls: None })
    }

    /// Speaks TLS with whoever comes over TCP, each with the settings in force when it comes.
    #[must_use]
    pub fn with_tls(self, settings: TlsSettings) -> MioListener {
        MioListener { tls: Some(settings), ..self }
    }

    /// Whether TLS is spoken here.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// How long a TCP connection may be silent before its peer is asked whether it is still there, if ever; a minute if
    /// nothing is said. Whoever does not answer three times, 10 s apart, is gone; so is whoever takes nothing of what is on
    /// its way to it for as long as all that.
    #[must_use]
    pub fn with_keepalive(self, keepalive: Option<Duration>) -> MioListener {
        MioListener { keepalive, ..self }
    }

    /// Where it listens: the real port for port 0.
    pub fn address(&self) -> Address {
        match self.socket.socket() {
            Listening::Tcp(listener) => Address::Tcp(
                listener.local_addr().map_or_else(|e| e.to_string(), |address| address.to_string()),
            ),
            Listening::Unix { file: Some(file), .. } => Address::Unix(file.0.clone()),
            Listening::Unix { file: None, listener } => Address::Unix(bound_to(listener)),
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
    socket.set_nonblocking(true)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Removes the socket file of a server that is gone; one that somebody answers on stays.
fn remove_stale(path: &Path) -> io::Result<()> {
    let is_socket = fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    if is_socket
        && net::UnixStream::connect(path).is_err_and(|e| e.kind() == io::ErrorKind::ConnectionRefused)
    {
        fs::remove_file(path)?;
    }
    Ok(())
}

impl runtime::Listener for MioListener {
    type Stream = MioStream;

    async fn accept(&self) -> io::Result<(MioStream, PeerAddr)> {
        let (mut stream, peer) = poll_fn(|cx| self.poll_accept(cx)).await?;
        if let Connected::Tcp(tcp) = stream {
            prepare(&tcp, self.keepalive);
            stream = match &self.tls {
                Some(settings) => Connected::Tls(Box::new(TlsStream::new(tcp, settings)?)),
                None => Connected::Tcp(tcp),
            };
        }
        Ok((MioStream(self.socket.sockets().watch(stream)?), peer))
    }
}

impl MioListener {
    fn poll_accept(&self, cx: &mut Context<'_>) -> Poll<io::Result<(Connected, PeerAddr)>> {
        loop {
            ready!(self.socket.poll_readable(cx));
            match self.socket.read(Listening::accept, |_| false) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return Poll::Ready(result),
            }
        }
    }
}

impl Listening {
    fn accept(&self) -> io::Result<(Connected, PeerAddr)> {
        match self {
            Listening::Tcp(listener) => {
                let (stream, address) = listener.accept()?;
                Ok((Connected::Tcp(stream), PeerAddr::Tcp(address)))
            }
            Listening::Unix { listener, .. } => {
                let (stream, _) = listener.accept()?;
                Ok((Connected::Unix(stream), PeerAddr::Unix))
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
pub struct MioStream(Arc<Watched<Connected>>);

enum Connected {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(Box<TlsStream>),
}

impl readiness::Socket for Connected {
    fn source(&mut self) -> &mut dyn Source {
        match self {
            Connected::Tcp(stream) => stream,
            Connected::Unix(stream) => stream,
            Connected::Tls(stream) => stream.socket_mut(),
        }
    }
}

impl Connected {
    /// The socket of TCP, if it is one.
    fn tcp(&self) -> Option<&TcpStream> {
        match self {
            Connected::Tcp(stream) => Some(stream),
            Connected::Tls(stream) => Some(stream.socket()),
            Connected::Unix(_) => None,
        }
    }
}

impl MioStream {
    /// Connects to a server.
    ///
    /// # Errors
    /// Whatever the operating system says: nobody listens there, or the host is unknown (names are looked up while everything
    /// else waits).
    pub async fn connect(mio: &Mio, address: &Address) -> io::Result<MioStream> {
        match address {
            Address::Tcp(address) => {
                let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
                for address in address.to_socket_addrs()? {
                    match connect_tcp(mio, address).await {
                        Ok(stream) => return Ok(stream),
                        Err(e) => error = e,
                    }
                }
                Err(error)
            }
            Address::Unix(path) => {
                let stream = Connected::Unix(UnixStream::connect(path)?);
                Ok(MioStream(mio.sockets.watch(stream)?))
            }
        }
    }

    /// A unix socket that is connected already: one end of a pair, for instance.
    ///
    /// # Errors
    /// The operating system has no more room to watch it.
    pub fn from_unix(mio: &Mio, stream: net::UnixStream) -> io::Result<MioStream> {
        stream.set_nonblocking(true)?;
        Ok(MioStream(mio.sockets.watch(Connected::Unix(UnixStream::from_std(stream)))?))
    }
}

async fn connect_tcp(mio: &Mio, address: SocketAddr) -> io::Result<MioStream> {
    let socket = mio.sockets.watch_connecting(Connected::Tcp(TcpStream::connect(address)?))?;
    poll_fn(|cx| socket.poll_writable(cx)).await;
    if let Some(stream) = socket.socket().tcp() {
        if let Some(error) = stream.take_error()? {
            return Err(error);
        }
        stream.set_nodelay(true)?;
    }
    Ok(MioStream(socket))
}

/// One half of a connected socket: both halves share it, and it closes with the second.
pub struct Half(Arc<Watched<Connected>>);

impl runtime::Stream for MioStream {
    type Reader = Half;
    type Writer = Half;

    fn split(self) -> (Half, Half) {
        (Half(self.0.clone()), Half(self.0))
    }
}

#[cfg(test)]
impl Half {
    /// The session that the two halves share, if it is TLS.
    pub(super) fn tls(&self) -> &TlsStream {
        let Connected::Tls(stream) = self.0.socket() else { panic!("it is TLS") };
        stream
    }
}

impl runtime::Reader for Half {
    fn poll_readable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.0.socket() {
            Connected::Tls(stream) => stream.poll_readable(&self.0, cx).map(Ok),
            Connected::Tcp(_) | Connected::Unix(_) => self.0.poll_readable(cx).map(Ok),
        }
    }

    fn try_read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let room = buffer.len();
        match self.0.socket() {
            // Of TCP, Linux promises that a read that does not fill the buffer leaves nothing behind.
            Connected::Tcp(stream) => {
                self.0.read(|_| (&*stream).read(buffer), |&length| cfg!(target_os = "linux") && length < room)
            }
            // A unix socket can keep more, if the client sends files along.
            Connected::Unix(stream) => self.0.read(|_| (&*stream).read(buffer), |_| false),
            Connected::Tls(stream) => stream.try_read(&self.0, buffer),
        }
    }

    fn identity(&self) -> Option<&str> {
        match self.0.socket() {
            Connected::Tls(stream) => stream.identity(),
            Connected::Tcp(_) | Connected::Unix(_) => None,
        }
    }

    /// Behind TLS, and where nothing leaves the machine: on a unix socket, and between addresses of the loopback.
    fn is_private(&self) -> bool {
        match self.0.socket() {
            Connected::Tls(_) | Connected::Unix(_) => true,
            Connected::Tcp(stream) => {
                stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback())
            }
        }
    }
}

impl AsyncWrite for Half {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.0.socket() {
            Connected::Tcp(stream) => self.0.poll_write(cx, |_| (&*stream).write(bytes)),
            Connected::Unix(stream) => self.0.poll_write(cx, |_| (&*stream).write(bytes)),
            Connected::Tls(stream) => stream.poll_write(&self.0, cx, bytes),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(())) // nothing that counts as written is held back
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(match self.0.socket() {
            Connected::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Connected::Unix(stream) => stream.shutdown(Shutdown::Write),
            Connected::Tls(stream) => stream.close(&self.0, cx),
        })
    }
}

impl runtime::Writer for Half {
    fn reset(&mut self) {
        // With the option SO_LINGER and no time to linger, TCP resets; a unix socket has no such thing.
        if let Some(stream) = self.0.socket().tcp() {
            let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
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
            let mio = Mio::new().unwrap();
            let listener = MioListener::bind(&mio, &Address::Tcp("127.0.0.1:0".to_owned())).unwrap();
            let listener = listener.with_keepalive(keepalive);
            let _client = std::net::TcpStream::connect(listener.address().to_string()).unwrap();
            let (stream, _) = mio.block_on(listener.accept()).unwrap();
            let Connected::Tcp(stream) = stream.0.socket() else { panic!("it is TCP") };
            let socket = SockRef::from(stream);
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
