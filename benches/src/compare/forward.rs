//! The bare forwarder: the least that a broker must do. It reads, and writes what it has read to whoever it is for; it looks
//! at nothing. `s0007` sends to `r0007`; whatever `s0000` sends goes to every receiver if it is sent to `all`;
//! `a0007` and `b0007` send to each other.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};

use rustix::event::epoll;
use rustix::fd::OwnedFd;

/// The most bytes that one read brings.
const READ_BYTES_MAX: usize = 64 * 1024;

struct Conn {
    socket: TcpStream,
    name: String,
    out: Vec<u8>,
    waits: bool,
}

struct Forwarder {
    epoll: OwnedFd,
    conns: Vec<Conn>,
    /// By the number in the name: who receives.
    receivers: Vec<usize>,
}

/// Forwards for ever.
///
/// # Errors
/// Whatever the operating system says.
pub(crate) fn run() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    eprintln!("listening on {}", listener.local_addr()?);
    let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    epoll::add(&epoll, &listener, epoll::EventData::new_u64(u64::MAX), epoll::EventFlags::IN)?;
    let mut forwarder = Forwarder { epoll, conns: Vec::new(), receivers: Vec::new() };
    let mut buffer = vec![0; READ_BYTES_MAX];
    let nothing = epoll::Event { flags: epoll::EventFlags::empty(), data: epoll::EventData::new_u64(0) };
    let mut events = [nothing; 256];
    loop {
        let count = epoll::wait(&forwarder.epoll, &mut events, None)?;
        for event in &events[..count] {
            let data = event.data;
            match usize::try_from(data.u64()) {
                Ok(number) if number < forwarder.conns.len() => forwarder.serve(number, &mut buffer)?,
                _ => forwarder.accept(&listener)?,
            }
        }
    }
}

impl Forwarder {
    fn accept(&mut self, listener: &TcpListener) -> std::io::Result<()> {
        while let Ok((socket, _)) = listener.accept() {
            socket.set_nonblocking(true)?;
            socket.set_nodelay(true)?;
            let data = epoll::EventData::new_u64(self.conns.len() as u64);
            epoll::add(&self.epoll, &socket, data, epoll::EventFlags::IN)?;
            self.conns.push(Conn { socket, name: String::new(), out: Vec::new(), waits: false });
        }
        Ok(())
    }

    fn serve(&mut self, number: usize, buffer: &mut [u8]) -> std::io::Result<()> {
        if self.conns[number].waits {
            self.write(number, &[])?;
        }
        let conn = &mut self.conns[number];
        let length = match conn.socket.read(buffer) {
            Ok(0) => return epoll::delete(&self.epoll, &conn.socket).map_err(Into::into),
            Ok(length) => length,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {
                return Ok(());
            }
            Err(_) => return epoll::delete(&self.epoll, &conn.socket).map_err(Into::into),
        };
        let bytes = &buffer[..length];
        if conn.name.is_empty() {
            conn.name = String::from_utf8_lossy(bytes).trim().to_owned();
            let welcome = format!("welcome {}\n", conn.name);
            if conn.name.starts_with('r') {
                self.receivers.push(number);
            }
            return self.write(number, welcome.as_bytes());
        }
        if bytes.starts_with(b"all") {
            // A write tears no line: all who listen get all that is read.
            for i in 0..self.receivers.len() {
                self.write(self.receivers[i], bytes)?;
            }
            return Ok(());
        }
        let partner = self.partner(number);
        self.write(partner, bytes)
    }

    /// Who receives what this one sends.
    fn partner(&self, number: usize) -> usize {
        let (kind, digits) = self.conns[number].name.split_at_checked(1).unwrap_or_default();
        let partner = match kind {
            "s" => digits.parse().ok().and_then(|index: usize| self.receivers.get(index).copied()),
            "a" => self.named("b", digits),
            _ => self.named("a", digits),
        };
        partner.unwrap_or(number)
    }

    fn named(&self, kind: &str, digits: &str) -> Option<usize> {
        self.conns.iter().position(|conn| conn.name.strip_prefix(kind) == Some(digits))
    }

    fn write(&mut self, number: usize, bytes: &[u8]) -> std::io::Result<()> {
        let conn = &mut self.conns[number];
        let mut rest = bytes;
        if !conn.out.is_empty() {
            conn.out.extend_from_slice(bytes);
            rest = &conn.out;
        }
        let mut written = 0;
        while written < rest.len() {
            match conn.socket.write(&rest[written..]) {
                Ok(length) => written += length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => return Ok(()), // it is gone
            }
        }
        conn.out = rest[written..].to_vec();
        let waits = !conn.out.is_empty();
        if waits != conn.waits {
            conn.waits = waits;
            let out = if waits { epoll::EventFlags::OUT } else { epoll::EventFlags::empty() };
            let data = epoll::EventData::new_u64(number as u64);
            epoll::modify(&self.epoll, &conn.socket, data, epoll::EventFlags::IN | out)?;
        }
        Ok(())
    }
}
