//! The half of a connection that comes in: waits for its turn, reads, and sends what it has read into the queue.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::io;
use std::mem;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Bytes;
use tracing::{error, info};

use super::{Conn, ReaderOf, Sleep};
use crate::ConnId;
use crate::protocol::{Name, Request, Session};
use crate::server::World;
use crate::server::ingress::{Input, PERMITS, Permit, Waiting};
use crate::server::pace::Pace;
use crate::server::runtime::{Reader, Runtime};

/// The most bytes one read brings.
const READ_BYTES_MAX: usize = 64 * 1024;

/// What is no more than that is copied, and the large buffer is free for the next read at once: what waits in the queue, a line
/// or two of everybody, needs no large ones.
const COPIED_BYTES_MAX: usize = 1024;

/// How much of what a read has brought is wiped when it has been processed: whatever is copied, in both places.
const WIPED_BYTES: usize = COPIED_BYTES_MAX;

thread_local! {
    /// Buffers to read into, for all connections of a thread: none holds one while it waits.
    static BUFFERS: RefCell<Buffers> = const { RefCell::new(Buffers { large: Vec::new(), small: Vec::new() }) };
}

/// Those that are free.
struct Buffers {
    large: Vec<Vec<u8>>,
    small: Vec<Vec<u8>>,
}

impl Buffers {
    fn of(&mut self, size: usize) -> &mut Vec<Vec<u8>> {
        if size > COPIED_BYTES_MAX { &mut self.large } else { &mut self.small }
    }
}

/// What one read has brought, in a buffer that is used again when all of it has been processed.
struct Lent {
    buffer: Vec<u8>,
    length: usize,
}

impl Lent {
    /// An empty buffer of this size.
    fn new(size: usize) -> Lent {
        let buffer = BUFFERS.with_borrow_mut(|buffers| buffers.of(size).pop());
        Lent { buffer: buffer.unwrap_or_else(|| vec![0; size]), length: 0 }
    }

    /// The same, in no larger a buffer than it needs.
    fn fitted(self) -> Lent {
        if self.length > COPIED_BYTES_MAX {
            return self;
        }
        let mut small = Lent::new(COPIED_BYTES_MAX);
        small.length = self.length;
        small.buffer[..self.length].copy_from_slice(self.as_ref());
        small
    }
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let mut buffer = mem::take(&mut self.buffer);
        // There a login line stands, if there is one, and in it perhaps a password.
        buffer[..self.length.min(WIPED_BYTES)].fill(0);
        // Behind the thread's end there is nobody to use it.
        let _ = BUFFERS.try_with(|buffers| {
            let mut buffers = buffers.borrow_mut();
            let free = buffers.of(buffer.len());
            if free.len() < PERMITS {
                free.push(buffer);
            }
        });
    }
}

/// The half that comes in.
pub(super) struct Incoming<R: Runtime> {
    reader: ReaderOf<R>,
    session: Session,
    pace: Pace,
    /// Writing has failed. The operating system may say that only once, and show the end of the stream to who reads on.
    pub(super) broken: bool,
    /// What has come so far, for the log. A line is whatever the session makes a request of.
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// How the half that comes in ended, unless the socket broke.
pub(super) enum ReadEnd {
    /// The client closed its side.
    Eof,
    /// The broker wants no more.
    Stopped,
}

impl<R: Runtime> Incoming<R> {
    pub(super) fn new(world: &World<R>, conn: ConnId, reader: ReaderOf<R>) -> Incoming<R> {
        if world.config.passwords.is_some() && reader.is_private() {
            world.ingress.send(Input::Secured(conn));
        }
        let session = Session::new(&world.config.limits);
        let pace = Pace::new(world.config.lines_per_second_max);
        Incoming { reader, session, pace, broken: false, lines: 0, bytes: 0 }
    }

    /// Reads the client's lines into the queue, until no more come or no more are wanted.
    ///
    /// Cancel safe: between the read and the queue there is no waiting.
    pub(super) fn read<'a>(&'a mut self, of: &'a Conn<R>) -> impl Future<Output = io::Result<ReadEnd>> + 'a {
        let mut turn = Turn { incoming: self, of, until: Until::Processed };
        async move {
            loop {
                let Some(permit) = (&mut turn).await else {
                    of.world.ingress.send(Input::Ended(of.conn, Vec::new()));
                    return Ok(ReadEnd::Stopped);
                };
                of.world.runtime.preempt().await;
                let mut requests = Vec::new();
                let ended = turn.incoming.take(of, &mut requests)?;
                turn.incoming.lines += requests.len() as u64;
                if ended {
                    of.world.ingress.send(Input::Ended(of.conn, requests));
                    return Ok(ReadEnd::Eof);
                }
                if !requests.is_empty() {
                    of.outbox.wait_for_driver();
                    of.world.ingress.send(Input::Requests(of.conn, requests, permit));
                }
            }
        }
    }

    /// Reads once, or goes on with what was read before and held back. Says whether that was the end of the stream.
    fn take(&mut self, of: &Conn<R>, requests: &mut Vec<Request>) -> io::Result<bool> {
        let Incoming { reader, session, pace, broken, .. } = self;
        let (conn, now) = (of.conn, of.world.runtime.now());
        if pace.holds() {
            pace.release(now, |bytes| {
                hear(conn, session, Some(&Bytes::copy_from_slice(bytes)), requests);
            });
            return Ok(false);
        }
        let most = pace.read_bytes_max(READ_BYTES_MAX);
        let length = try_read(reader, most, |bytes| match of.outbox.closed() {
            Some(_) => {}                             // the session is over: nothing more counts
            None if bytes.is_empty() && *broken => {} // a line that broke off is none
            None if bytes.is_empty() => hear(conn, session, None, requests),
            None => {
                let passing = bytes.slice_ref(pace.pass(bytes, now));
                hear(conn, session, Some(&passing), requests);
            }
        })?;
        if self.bytes == 0 && length > Some(0) {
            self.introduce(of);
        }
        self.bytes += length.unwrap_or(0) as u64;
        of.world.ingress.received(length.unwrap_or(0));
        Ok(length == Some(0))
    }

    /// Tells the broker who the client has proved to be, which is known with the first bytes and counts before them.
    fn introduce(&self, of: &Conn<R>) {
        let Some(identity) = self.reader.identity() else { return };
        match Name::parse(identity) {
            Ok(name) => of.world.ingress.send(Input::Certified(of.conn, name)),
            Err(error) => info!(conn = %of.conn, identity, %error, "a certificate is for what is no name"),
        }
    }

    /// Throws away what the client sends, until it sends no more.
    pub(super) async fn discard(&mut self, of: &Conn<R>) -> io::Result<()> {
        loop {
            // An error counts: it shows itself again when reading.
            let _ = poll_fn(|cx| self.reader.poll_readable(cx)).await;
            of.world.runtime.preempt().await;
            let length = try_read(&mut self.reader, READ_BYTES_MAX, |_| ())?;
            self.bytes += length.unwrap_or(0) as u64;
            if length == Some(0) {
                return Ok(());
            }
        }
    }
}

/// Waits for a client's turn to be read from, again and again: ready with a place in the queue, or with nothing if no more is to be read.
struct Turn<'a, R: Runtime> {
    incoming: &'a mut Incoming<R>,
    of: &'a Conn<R>,
    until: Until,
}

/// What the turn waits for, one after another.
enum Until {
    /// One read at a time, and behind everybody else's: nobody gets more turns than others.
    Processed,
    /// It may say no more yet. A limit is rare, and a timer as large as two pointers.
    Paced(Box<Sleep>),
    Readable,
    Permitted(Waiting),
}

impl<R: Runtime> Future for Turn<'_, R> {
    type Output = Option<Permit>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Permit>> {
        let Turn { incoming: Incoming { reader, pace, .. }, of, until } = &mut *self;
        if of.outbox.poll_stop_reading(cx).is_ready() {
            return Poll::Ready(None);
        }
        loop {
            *until = match until {
                Until::Processed => {
                    ready!(of.outbox.poll_processed(cx));
                    let runtime = &of.world.runtime;
                    match pace.ready_at().filter(|&at| at > runtime.now()) {
                        Some(at) => {
                            of.world.tally.reads_delayed.fetch_add(1, Ordering::Relaxed);
                            Until::Paced(Box::new(Box::pin(runtime.sleep_until(at))))
                        }
                        None => Until::Readable,
                    }
                }
                Until::Paced(sleep) => {
                    ready!(Pin::new(&mut **sleep).poll(cx));
                    Until::Readable
                }
                Until::Readable => {
                    if !pace.holds() {
                        // An error counts: it shows itself again when reading.
                        let _ = ready!(reader.poll_readable(cx));
                    }
                    match of.world.ingress.ask() {
                        Ok(permit) => {
                            *until = Until::Processed;
                            return Poll::Ready(Some(permit));
                        }
                        Err(waiting) => Until::Permitted(waiting),
                    }
                }
                Until::Permitted(waiting) => {
                    let permit = ready!(Pin::new(waiting).poll(cx));
                    *until = Until::Processed;
                    return Poll::Ready(Some(permit));
                }
            }
        }
    }
}

/// Reads what the client said, or, without bytes, that it will say no more.
fn hear(conn: ConnId, session: &mut Session, bytes: Option<&Bytes>, requests: &mut Vec<Request>) {
    // A long line that comes in many pieces is not to be copied with each.
    let before = (session.memory_bytes() <= KEPT_BYTES_MAX).then(|| session.clone());
    let _reading = Reading { conn, before, bytes };
    match bytes {
        Some(bytes) => session.feed_bytes(bytes, requests),
        None => session.finish(requests),
    }
}

/// The longest unfinished line that is kept for the log, in bytes.
const KEPT_BYTES_MAX: usize = 4096;

/// What is being read, to be logged if that panics: enough to see it happen again.
struct Reading<'a> {
    conn: ConnId,
    /// The session as it was before, if its unfinished line is short.
    before: Option<Session>,
    bytes: Option<&'a Bytes>,
}

impl Drop for Reading<'_> {
    fn drop(&mut self) {
        if thread::panicking() {
            let Reading { conn, before, bytes } = self;
            let (end, bytes) = (bytes.is_none(), bytes.map_or(&[][..], Bytes::as_ref).escape_ascii());
            error!(%conn, ?before, %bytes, end, "a bug in reading this");
        }
    }
}

/// Hands what is there, `most` bytes of it, to `read` (nothing at the end of the stream) and says how many bytes it was;
/// `None` if there was nothing to read after all.
fn try_read(reader: &mut impl Reader, most: usize, read: impl FnOnce(&Bytes)) -> io::Result<Option<usize>> {
    let mut lent = Lent::new(READ_BYTES_MAX);
    match reader.try_read(&mut lent.buffer[..most]) {
        Ok(length) => {
            lent.length = length;
            read(&Bytes::from_owner(lent.fitted()));
            Ok(Some(length))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::panic::catch_unwind;

    use tracing::subscriber::with_default;

    use super::*;
    use crate::server::tests::Log;

    #[test]
    fn what_panics_while_it_is_read_can_be_read_again() {
        let log = Log::default();
        let read = || {
            let bytes = Bytes::from_static(b"ping\xff\n");
            let _reading = Reading { conn: ConnId(7), before: None, bytes: Some(&bytes) };
            panic!("planted");
        };
        assert!(with_default(log.logger(), || catch_unwind(read)).is_err());
        let line = log.line("a bug in reading this");
        assert!(
            line.contains("ERROR") && line.contains(r"conn=#7 before=None bytes=ping\xff\n end=false"),
            "{line}"
        );
    }
}
