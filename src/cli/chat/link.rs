//! [`Link`]: a connection to a server, and [`Lines`]: what comes over it.

mod tls;

use std::fmt;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use seriatim::server::smol::sockets::Address;

use self::tls::TlsLink;
use super::show::harmless;
use super::trust::Trust;

/// How long one address may take to accept a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest line shown; what is beyond is cut off.
const LINE_BYTES_MAX: usize = 64 * 1024;

/// Where a server is, and how to speak with it.
#[derive(Clone)]
pub(super) enum Server {
    Plain(Address),
    /// HOST:PORT, and by what its certificate is judged.
    Tls(String, Arc<Trust>),
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Server::Plain(address) => address.fmt(f),
            Server::Tls(address, _) => write!(f, "tls:{address}"),
        }
    }
}

/// A connection to a server. A clone is the same connection, for the other direction.
pub(super) enum Link {
    Tcp(TcpStream),
    Unix(UnixStream),
    Tls(TlsLink),
}

impl Link {
    pub(super) fn connect(server: &Server) -> io::Result<Link> {
        match server {
            Server::Plain(Address::Tcp(address)) => connect_tcp(address).map(Link::Tcp),
            Server::Plain(Address::Unix(path)) => UnixStream::connect(path).map(Link::Unix),
            Server::Tls(address, trust) => {
                TlsLink::start(connect_tcp(address)?, address, trust.clone()).map(Link::Tls)
            }
        }
    }

    pub(super) fn try_clone(&self) -> io::Result<Link> {
        match self {
            Link::Tcp(stream) => stream.try_clone().map(Link::Tcp),
            Link::Unix(stream) => stream.try_clone().map(Link::Unix),
            Link::Tls(link) => Ok(Link::Tls(link.clone())),
        }
    }

    pub(super) fn set_read_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Link::Tcp(stream) => stream.set_read_timeout(timeout),
            Link::Unix(stream) => stream.set_read_timeout(timeout),
            Link::Tls(link) => {
                link.set_read_timeout(timeout);
                Ok(())
            }
        }
    }

    pub(super) fn set_write_timeout(&self, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Link::Tcp(stream) => stream.set_write_timeout(timeout),
            Link::Unix(stream) => stream.set_write_timeout(timeout),
            Link::Tls(link) => {
                link.set_write_timeout(timeout);
                Ok(())
            }
        }
    }

    /// Whether nobody on the way can read what is sent.
    pub(super) fn is_private(&self) -> bool {
        match self {
            Link::Tcp(stream) => stream.peer_addr().is_ok_and(|peer| peer.ip().to_canonical().is_loopback()),
            Link::Unix(_) | Link::Tls(_) => true,
        }
    }

    pub(super) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        match self {
            Link::Tcp(stream) => stream.shutdown(how),
            Link::Unix(stream) => stream.shutdown(how),
            Link::Tls(link) => link.shutdown(how),
        }
    }
}

/// Tries every address of the host, one after another.
fn connect_tcp(address: &str) -> io::Result<TcpStream> {
    let mut error = io::Error::new(io::ErrorKind::AddrNotAvailable, "the host has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, CONNECT_TIMEOUT) {
            // Nobody listens, but the port that the operating system chose for this end happens to be the very port
            // called: TCP then connects the socket to itself.
            Ok(stream) if stream.local_addr().is_ok_and(|local| local == address) => {
                error = io::ErrorKind::ConnectionRefused.into();
            }
            Ok(stream) => {
                // A line typed is to go out at once.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(e) => error = e,
        }
    }
    Err(error)
}

impl Read for Link {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Link::Tcp(stream) => stream.read(buffer),
            Link::Unix(stream) => stream.read(buffer),
            Link::Tls(link) => link.read(buffer),
        }
    }
}

impl Write for Link {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Link::Tcp(stream) => stream.write(bytes),
            Link::Unix(stream) => stream.write(bytes),
            Link::Tls(link) => link.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(()) // nothing is held back
    }
}

/// How a session ended.
pub(super) enum End {
    /// The server said goodbye, for this reason.
    Bye(String),
    /// The server closed the connection without a word.
    Closed,
    Broken(io::Error),
}

impl End {
    /// The reason, if this line is a goodbye: nothing follows it.
    pub(super) fn of_line(line: &str) -> Option<End> {
        line.strip_prefix("bye ").map(|reason| End::Bye(reason.to_owned()))
    }

    /// Whether it makes no sense to come back.
    pub(super) fn is_final(&self) -> bool {
        matches!(self, End::Bye(reason) if reason == "kicked" || reason == "banned")
    }

    /// The goodbye that `/quit` asks for.
    pub(super) fn is_quit(&self) -> bool {
        matches!(self, End::Bye(reason) if reason == "quit")
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Bye(reason) => write!(f, "the server ended the session: {reason}"),
            End::Closed => f.write_str("the server closed the connection"),
            End::Broken(error) => write!(f, "{error}"),
        }
    }
}

/// The server's lines, of bounded length and harmless to show.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
}

impl<R: Read> Lines<R> {
    pub(super) fn new(reader: R) -> Lines<R> {
        Lines { reader: BufReader::with_capacity(LINE_BYTES_MAX, reader) }
    }

    /// Waits for the next line; `None` at the end of the stream.
    pub(super) fn next(&mut self) -> io::Result<Option<String>> {
        let mut line = Vec::new();
        loop {
            let chunk = match self.reader.fill_buf() {
                Ok(chunk) => chunk,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            if chunk.is_empty() && line.is_empty() {
                return Ok(None);
            }
            let newline = memchr::memchr(b'\n', chunk);
            let piece = &chunk[..newline.unwrap_or(chunk.len())];
            line.extend_from_slice(&piece[..piece.len().min(LINE_BYTES_MAX - line.len())]);
            let ended = newline.is_some() || chunk.is_empty();
            let used = newline.map_or(chunk.len(), |newline| newline + 1);
            self.reader.consume(used);
            if ended {
                return Ok(Some(harmless(&String::from_utf8_lossy(&line)).into_owned()));
            }
        }
    }

    /// Whether the next line is here already.
    pub(super) fn has_whole_line(&self) -> bool {
        memchr::memchr(b'\n', self.reader.buffer()).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Gives its bytes one at a time.
    struct Dribble<'a>(&'a [u8]);

    impl Read for Dribble<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = self.0.len().min(1);
            buffer[..length].copy_from_slice(&self.0[..length]);
            self.0 = &self.0[length..];
            Ok(length)
        }
    }

    fn all(reader: impl Read) -> Vec<String> {
        let mut lines = Lines::new(reader);
        std::iter::from_fn(|| lines.next().unwrap()).collect()
    }

    #[test]
    fn lines_come_whole_however_they_are_split() {
        let bytes = "a\n\nb\té\nlast".as_bytes();
        assert_eq!(all(bytes), ["a", "", "b\té", "last"]);
        assert_eq!(all(Dribble(bytes)), ["a", "", "b\té", "last"]);
    }

    #[test]
    fn a_long_line_is_cut_and_the_next_one_is_not() {
        let bytes = [vec![b'x'; 3 * LINE_BYTES_MAX], b"\nnext\n".to_vec()].concat();
        let lines = all(&bytes[..]);
        assert_eq!(lines.iter().map(String::len).collect::<Vec<_>>(), [LINE_BYTES_MAX, 4]);
    }

    #[test]
    fn what_is_not_utf8_or_not_harmless_is_made_so() {
        assert_eq!(all(&b"\xff\x1b[2J\r\n"[..]), ["\u{fffd}\\u{1b}[2J\\u{d}"]);
    }
}
