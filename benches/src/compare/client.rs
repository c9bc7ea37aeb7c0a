//! [`Client`]: a connection to a broker, logged in.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crate::compare::dialect::{Dialect, Step};

/// How long a broker may take to answer.
const ANSWER_MAX: Duration = Duration::from_secs(60);

/// How many log in side by side, and how many at a broker that lets everybody wait for seconds.
pub(crate) const LOGINS_AT_ONCE: usize = 64;
pub(crate) const MOST_AT_ONCE: usize = 512;

/// A connection to a broker.
pub(crate) struct Client {
    /// The connection itself.
    pub(crate) socket: TcpStream,
    name: String,
    /// What has come and belongs to no answer yet.
    read: Vec<u8>,
}

impl Client {
    /// Connects.
    ///
    /// # Errors
    /// Nobody answers there.
    pub(crate) fn connect(address: SocketAddr, name: &str) -> Result<Client, String> {
        let socket = TcpStream::connect(address).map_err(|error| format!("cannot connect: {error}"))?;
        let prepared = socket.set_nodelay(true).and_then(|()| socket.set_read_timeout(Some(ANSWER_MAX)));
        prepared.map_err(|error| error.to_string())?;
        Ok(Client { socket, name: name.to_owned(), read: Vec::new() })
    }

    /// Says something.
    ///
    /// # Errors
    /// The connection is broken.
    pub(crate) fn say(&mut self, step: &Step) -> Result<(), String> {
        self.socket.write_all(&step.say).map_err(|error| format!("{} cannot write: {error}", self.name))
    }

    /// Waits for the answer, and forgets it and all that came before.
    ///
    /// # Errors
    /// It does not come.
    pub(crate) fn hear(&mut self, step: &Step) -> Result<(), String> {
        loop {
            let mut parts = self.read.windows(step.until.len());
            if let Some(at) = parts.position(|part| part == step.until) {
                self.read.drain(..at + step.until.len());
                return Ok(());
            }
            let mut buffer = [0; 4096];
            match self.socket.read(&mut buffer) {
                Ok(0) => return Err(self.missing(step, "the broker has closed the connection")),
                Ok(length) => self.read.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.missing(step, &error.to_string())),
            }
        }
    }

    fn missing(&self, step: &Step, why: &str) -> String {
        let (until, read) = (step.until.escape_ascii(), self.read.escape_ascii());
        format!("{} waits for \"{until}\", but {why}; before came \"{read}\"", self.name)
    }

    /// What has come beside the answers; from here on, reading and writing do not wait.
    ///
    /// # Errors
    /// Whatever the operating system says.
    pub(crate) fn into_parts(self) -> io::Result<(TcpStream, Vec<u8>)> {
        self.socket.set_nonblocking(true)?;
        Ok((self.socket, self.read))
    }
}

/// Lets all of these say what `steps` gives for each of them, step by step, many side by side.
///
/// # Errors
/// An answer does not come.
pub(crate) fn converse(clients: &mut [Client], steps: impl Fn(&str) -> Vec<Step>) -> Result<(), String> {
    for clients in clients.chunks_mut(MOST_AT_ONCE) {
        let steps: Vec<Vec<Step>> = clients.iter().map(|client| steps(&client.name)).collect();
        for i in 0..steps.iter().map(Vec::len).max().unwrap_or(0) {
            for (client, steps) in clients.iter_mut().zip(&steps) {
                steps.get(i).map_or(Ok(()), |step| client.say(step))?;
            }
            for (client, steps) in clients.iter_mut().zip(&steps) {
                steps.get(i).map_or(Ok(()), |step| client.hear(step))?;
            }
        }
    }
    Ok(())
}

/// Connects and logs in all of these, so many at once.
///
/// # Errors
/// One of them cannot.
pub(crate) fn log_in(
    address: SocketAddr,
    dialect: &dyn Dialect,
    names: &[String],
    at_once: usize,
) -> Result<Vec<Client>, String> {
    let mut clients = Vec::new();
    for names in names.chunks(at_once.min(MOST_AT_ONCE)) {
        let connect = |name: &String| Client::connect(address, name);
        let mut group = names.iter().map(connect).collect::<Result<Vec<_>, _>>()?;
        converse(&mut group, |name| dialect.log_in(name))?;
        clients.append(&mut group);
    }
    Ok(clients)
}
