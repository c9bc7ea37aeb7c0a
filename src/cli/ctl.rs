//! `seriatim ctl`: gives orders to a server that runs.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::args::CtlOptions;
use super::orders::{Answer, Order, Peer};
use super::{complain, print};

/// How long the server may take to answer.
const TIMEOUT: Duration = Duration::from_secs(15);

pub(crate) fn run(options: &CtlOptions) -> ExitCode {
    let line = match ask(&options.control, &options.order) {
        Ok(line) => line,
        Err(error) => {
            complain(format_args!("cannot reach a server at {}: {error}", options.control.display()));
            return ExitCode::from(2);
        }
    };
    match serde_json::from_str(&line) {
        Ok(Answer::Error(error)) => {
            complain(error);
            ExitCode::from(2)
        }
        Ok(_) if options.json => print(&line),
        Ok(answer) => print(for_people(&answer)),
        Err(error) => {
            complain(format_args!("the server answers what is no answer: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// Sends an order and reads the answer, a line of JSON.
fn ask(path: &Path, order: &Order) -> io::Result<String> {
    let mut stream = UnixStream::connect(path)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_vec(order)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    match BufReader::new(stream).read_line(&mut answer) {
        Ok(0) => Err(io::Error::other("it closed the connection without an answer")),
        Ok(_) => Ok(answer),
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            Err(io::Error::other("it does not answer"))
        }
        Err(error) => Err(error),
    }
}

fn for_people(answer: &Answer) -> String {
    match answer {
        Answer::Peers(peers) => {
            let peer = |peer: &Peer| format!("{}\t{}\t#{}\n", peer.name, peer.address, peer.connection);
            peers.iter().map(peer).collect()
        }
        Answer::Kicked(name) => format!("{name} is kicked\n"),
        Answer::Banned(address) => {
            format!(
                "{address} is banned until the server starts anew, unless it is exempt from limits on addresses\n"
            )
        }
        Answer::Unbanned(address) => format!("{address} is banned no more\n"),
        Answer::Stats(stats) => serde_json::to_value(stats)
            .ok()
            .and_then(|stats| {
                Some(stats.as_object()?.iter().map(|(key, value)| figure(key, value)).collect())
            })
            .unwrap_or_default(),
        Answer::Draining => "the server stops, and tells its clients that it comes back\n".to_owned(),
        Answer::Reloaded(what) if what.is_empty() => "there is nothing to read again\n".to_owned(),
        Answer::Reloaded(what) => what.iter().map(|what| format!("reloaded {what}\n")).collect(),
        Answer::Error(error) => format!("{error}\n"),
    }
}

fn figure(key: &str, value: &serde_json::Value) -> String {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    format!("{}: {value}\n", key.replace('_', " "))
}
