//! Chat with lines piped in and out: what comes in is sent as it is, what the server says comes out as it is.

use std::io::{self, BufWriter, Read, Write};
use std::net::Shutdown;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use super::link::{End, Lines, Link};
use super::{Session, complain};

/// How much of standard input is sent at once, at most.
const CHUNK_BYTES: usize = 64 * 1024;

pub(super) fn run(session: Session) -> ExitCode {
    let Session { mut link, mut lines, welcome } = session;
    let input_failed = Arc::new(AtomicBool::new(false));
    let failed = input_failed.clone();
    // The thread may wait for input for ever. It ends with the process, which ends with the session.
    thread::spawn(move || send_input(&mut link, &failed));
    let end = match print_lines(&mut lines, welcome, &mut BufWriter::new(io::stdout().lock())) {
        Ok(end) => end,
        Err(error) => {
            // Who reads the output has enough of it: nothing to talk about.
            if error.kind() != io::ErrorKind::BrokenPipe {
                complain(format_args!("cannot write to standard output: {error}"));
            }
            return ExitCode::FAILURE;
        }
    };
    if !end.is_quit() {
        complain(match &end {
            End::Broken(error) => format!("the connection broke: {error}"),
            End::Bye(_) | End::Closed => end.to_string(),
        });
        return ExitCode::FAILURE;
    }
    if input_failed.load(Ordering::SeqCst) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// Prints every line until the session ends. An error is one of the output.
fn print_lines(lines: &mut Lines<Link>, welcome: String, out: &mut impl Write) -> io::Result<End> {
    let mut line = welcome;
    loop {
        writeln!(out, "{line}")?;
        let bye = End::of_line(&line);
        if bye.is_some() || !lines.has_whole_line() {
            out.flush()?;
        }
        if let Some(end) = bye {
            return Ok(end);
        }
        line = match lines.next() {
            Ok(Some(line)) => line,
            Ok(None) => return Ok(End::Closed),
            Err(error) => return Ok(End::Broken(error)),
        };
    }
}

/// Sends standard input, and then `/quit`.
fn send_input(link: &mut Link, failed: &AtomicBool) {
    let mut last = b'\n';
    let result = copy(&mut io::stdin().lock(), link, &mut last);
    if let Err(Broken::Input(error)) = &result {
        failed.store(true, Ordering::SeqCst);
        complain(format_args!("cannot read standard input: {error}"));
    }
    // If the connection broke, the other direction has the last word on why.
    if !matches!(result, Err(Broken::Link)) {
        let _ = link.write_all(if last == b'\n' { b"/quit\n" } else { b"\n/quit\n" });
        let _ = link.shutdown(Shutdown::Write);
    }
}

enum Broken {
    Input(io::Error),
    Link,
}

/// Sends all input, and remembers its last byte.
fn copy(input: &mut impl Read, link: &mut Link, last: &mut u8) -> Result<(), Broken> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let length = match input.read(&mut chunk) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Broken::Input(error)),
        };
        let Some(&end) = chunk[..length].last() else { return Ok(()) };
        *last = end;
        link.write_all(&chunk[..length]).map_err(|_| Broken::Link)?;
    }
}
