//! The half of a connection that comes in: waits until it may read, reads, and sends what it has read into the queue.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};
use std::thread;

use bytes::Bytes;
use futures::io::AsyncRead;
use tracing::{error, info};
use zeroize::{Zeroize, Zeroizing};

use super::{Conn, Sleep};
use crate::ConnId;
use crate::protocol::{Name, Request, Session};
use crate::server::World;
use crate::server::buffers::COPIED_BYTES_MAX;
use crate::server::ingress::{Input, Permit, Waiting};
use crate::server::pace::Pace;
use crate::server::runtime::{Runtime, Stream};

/// The largest that [`Tuning::first_bytes_max`](crate::server::Tuning::first_bytes_max) may be.
const FIRST_BYTES_MAX: usize = COPIED_BYTES_MAX;

/// How much a read may bring if the last one brought next to nothing, in bytes. Otherwise it may bring twice as much as that:
/// nobody who says little for a while can then say very much that is work at once.
const FIRST_READ_BYTES_MAX: u32 = 4096;

/// How many lines a read should bring at most: if one brings more, the next is smaller. The driver never hears of blank lines, but
/// to read them is work all the same.
const LINES_MAX: usize = 2048;

/// How many lines a read brings without a permit.
const FEW_LINES: usize = 8;

/// The half that comes in.
pub(super) struct Incoming {
    session: Session,
    pace: Pace,
    until: Until,
    /// How much the next read may bring with a permit, in bytes; 0 up to the login.
    read_bytes_max: u32,
    /// What reading has failed with, to be reported after what was read before it.
    failed: Option<io::Error>,
    /// Writing has failed. The operating system may say that only once, and show the end of the stream to who reads on.
    pub(super) broken: bool,
    /// What has come so far, for the log. A line is whatever the session makes a request of.
    pub(super) lines: u64,
    pub(super) bytes: u64,
}

/// What the half that comes in waits for, one after another.
enum Until {
    /// One read at a time, and after everybody else's: nobody gets more turns than others.
    Processed,
    /// It may say no more yet. A limit is rare, and a timer as large as two pointers.
    Paced(Box<Sleep>),
    Readable,
    /// More has come than a few bytes.
    Permitted(Box<Queued>),
}

/// A connection in the queue for a permit.
struct Queued {
    waiting: Waiting,
    /// What has come already.
    first: Zeroizing<Vec<u8>>,
}

/// What there is to go on with.
enum Found {
    /// What was read before and held back.
    Held,
    Bytes(Option<Permit>, Bytes),
    End,
}

/// How the half that comes in ended, unless the socket broke.
pub(super) enum ReadEnd {
    /// The client closed its side.
    Eof,
    /// The broker wants no more.
    Stopped,
}

impl Incoming {
    pub(super) fn new<R: Runtime>(world: &World<R>, conn: ConnId, stream: &R::Stream) -> Incoming {
        if world.config.passwords.is_some() && stream.is_private() {
            world.ingress.send(Input::Secured(conn));
        }
        Incoming {
            session: Session::new(&world.config.limits),
            pace: Pace::new(world.config.lines_per_second_max),
            until: Until::Processed,
            read_bytes_max: 0,
            failed: None,
            broken: false,
            lines: 0,
            bytes: 0,
        }
    }

    /// Reads the client's lines into the queue, until no more come or no more are wanted.
    ///
    /// Cancel safe: nothing waits between the read and the queue, except first bytes that wait for a permit.
    pub(super) fn poll_read<R: Runtime>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R::Stream,
        of: &Conn<R>,
    ) -> Poll<io::Result<ReadEnd>> {
        loop {
            let mut requests = Vec::new();
            if of.outbox.poll_stop_reading(cx).is_ready() {
                self.take_rest(of, stream, &mut requests);
                return Poll::Ready(Ok(self.end(of, requests, ReadEnd::Stopped)));
            }
            let permit = match ready!(self.poll_found(cx, stream, of))? {
                Found::End => {
                    self.finish(of, &mut requests);
                    return Poll::Ready(Ok(self.end(of, requests, ReadEnd::Eof)));
                }
                Found::Held => {
                    self.release(of, &mut requests);
                    None
                }
                Found::Bytes(permit, bytes) => {
                    let lines_max = if permit.is_some() { usize::MAX } else { self.few_lines() };
                    self.take(of, stream, &bytes, lines_max, &mut requests);
                    permit.filter(|_| bytes.len() > first_bytes_max(of) || requests.len() > FEW_LINES)
                }
            };
            if requests.is_empty() {
                // A client that sends a line without end must not take all turns.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.lines += requests.len() as u64;
            of.outbox.wait_for_driver();
            of.world.ingress.send(Input::Requests(of.conn, requests, permit));
        }
    }

    /// Waits for something to go on with, and if it is more than a little, for a permit.
    fn poll_found<R: Runtime>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R::Stream,
        of: &Conn<R>,
    ) -> Poll<io::Result<Found>> {
        loop {
            self.until = match &mut self.until {
                Until::Processed => {
                    let most = ready!(of.outbox.poll_processed(cx));
                    self.read_bytes_max = self.read_bytes_max.max(FIRST_READ_BYTES_MAX).min(most);
                    let runtime = &of.world.runtime;
                    match self.pace.ready_at().filter(|&at| at > runtime.now()) {
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
                Until::Readable => match ready!(self.poll_readable(cx, stream, of))? {
                    Ok(found) => {
                        self.until = Until::Processed;
                        return Poll::Ready(Ok(found));
                    }
                    Err(queued) => Until::Permitted(queued),
                },
                Until::Permitted(queued) => {
                    let permit = ready!(Pin::new(&mut queued.waiting).poll(cx));
                    let first = std::mem::take(&mut queued.first);
                    self.until = Until::Processed;
                    let bytes = self.read_on(cx, stream, of, &first);
                    return Poll::Ready(Ok(Found::Bytes(Some(permit), bytes)));
                }
            }
        }
    }

    /// Takes a permit, if one is free, and reads into a buffer, which it keeps only if something is there. Without a permit it reads
    /// a few bytes, and if there are more it queues for one. Before the login it reads a few bytes and needs none.
    fn poll_readable<R: Runtime>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R::Stream,
        of: &Conn<R>,
    ) -> Poll<io::Result<Result<Found, Box<Queued>>>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        if self.pace.holds() {
            return Poll::Ready(Ok(Ok(Found::Held)));
        }
        let few = first_bytes_max(of);
        let takes_more = self.room_bytes() > few && !self.pace.is_limited();
        if let Some(permit) = of.world.ingress.try_permit().filter(|_| takes_more) {
            let mut buffer = of.world.ingress.buffer();
            let length = ready!(poll_some(cx, stream, buffer.room(self.room_bytes())))?;
            buffer.fill(length);
            return Poll::Ready(Ok(Ok(match length {
                0 => Found::End,
                _ => Found::Bytes(Some(permit), buffer.into_bytes()),
            })));
        }
        let mut first = [0; FIRST_BYTES_MAX];
        let length = ready!(poll_some(cx, stream, &mut first[..few]))?;
        let found = match &first[..length] {
            [] => Ok(Found::End),
            first if takes_more && length == few => {
                Err(Box::new(Queued { waiting: of.world.ingress.wait(), first: first.to_vec().into() }))
            }
            first => Ok(Found::Bytes(None, of.world.ingress.copy(first))),
        };
        first.zeroize();
        Poll::Ready(Ok(found))
    }

    /// Reads what is there after the first bytes, which came before there was a permit.
    fn read_on<R: Runtime>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R::Stream,
        of: &Conn<R>,
        first: &[u8],
    ) -> Bytes {
        let mut buffer = of.world.ingress.buffer();
        let room = buffer.room(self.room_bytes());
        let mut length = first.len();
        room[..length].copy_from_slice(first);
        match poll_some(cx, stream, &mut room[length..]) {
            Poll::Ready(Ok(more)) => length += more, // the end shows itself again
            Poll::Ready(Err(error)) => self.failed = Some(error),
            Poll::Pending => {}
        }
        buffer.fill(length);
        buffer.into_bytes()
    }

    /// Makes requests of what has been read.
    fn take<R: Runtime>(
        &mut self,
        of: &Conn<R>,
        stream: &R::Stream,
        bytes: &Bytes,
        lines_max: usize,
        requests: &mut Vec<Request>,
    ) {
        if self.bytes == 0 {
            introduce(of, stream);
        }
        self.bytes += bytes.len() as u64;
        of.world.ingress.received(bytes.len());
        if of.outbox.closed().is_some() {
            return; // the session is over: nothing more counts
        }
        let passing = bytes.slice_ref(self.pace.pass(bytes, lines_max, of.world.runtime.now()));
        let lines = hear(of.conn, &mut self.session, Some(&passing), requests);
        let next = if lines > LINES_MAX { bytes.len() * LINES_MAX / lines } else { 2 * bytes.len() };
        self.read_bytes_max = u32::try_from(next).unwrap_or(u32::MAX);
    }

    /// Makes requests of what has been read before there was a permit, and of what was held back: no more is to be read, but that
    /// was, and counts.
    fn take_rest<R: Runtime>(&mut self, of: &Conn<R>, stream: &R::Stream, requests: &mut Vec<Request>) {
        if let Until::Permitted(queued) = &mut self.until {
            let first = std::mem::take(&mut queued.first);
            self.leave_queue();
            self.take(of, stream, &of.world.ingress.copy(&first), usize::MAX, requests);
        }
        if of.outbox.closed().is_none() {
            let Incoming { session, pace, .. } = self;
            pace.release_all(|bytes| {
                hear(of.conn, session, Some(&of.world.ingress.copy(bytes)), requests);
            });
        }
    }

    /// Makes requests of what was held back and may pass by now.
    fn release<R: Runtime>(&mut self, of: &Conn<R>, requests: &mut Vec<Request>) {
        let lines_max = self.few_lines();
        let Incoming { session, pace, .. } = self;
        pace.release(lines_max, of.world.runtime.now(), |bytes| {
            hear(of.conn, session, Some(&of.world.ingress.copy(bytes)), requests);
        });
    }

    /// How much the next read may bring, with a permit.
    fn room_bytes(&self) -> usize {
        self.read_bytes_max as usize
    }

    /// How many lines the client may bring without a permit. Up to its login it is one at a time: what is behind a password waits
    /// with the connection until that is verified.
    fn few_lines(&self) -> usize {
        if self.read_bytes_max == 0 { 1 } else { FEW_LINES }
    }

    /// The client says no more. A line that broke off with the connection is none.
    fn finish<R: Runtime>(&mut self, of: &Conn<R>, requests: &mut Vec<Request>) {
        if of.outbox.closed().is_none() && !self.broken {
            hear(of.conn, &mut self.session, None, requests);
        }
    }

    /// Tells the driver the last requests, and that no more come.
    fn end<R: Runtime>(&mut self, of: &Conn<R>, requests: Vec<Request>, end: ReadEnd) -> ReadEnd {
        self.lines += requests.len() as u64;
        of.world.ingress.send(Input::Ended(of.conn, requests));
        end
    }

    /// Waits for a permit no more: it might have one by now, which others need.
    pub(super) fn leave_queue(&mut self) {
        self.until = Until::Processed;
    }

    /// Throws away what the client sends, until it sends no more.
    pub(super) fn poll_discard(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncRead + Unpin),
    ) -> Poll<io::Result<()>> {
        let length = ready!(poll_some(cx, stream, &mut [0; 4096]))?;
        self.bytes += length as u64;
        if length == 0 {
            return Poll::Ready(Ok(()));
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Tells the broker who the client has proved to be, which is known with the first bytes and counts before them.
fn introduce<R: Runtime>(of: &Conn<R>, stream: &R::Stream) {
    let Some(identity) = stream.identity() else { return };
    match Name::parse(identity) {
        Ok(name) => of.world.ingress.send(Input::Certified(of.conn, name)),
        Err(error) => info!(conn = %of.conn, identity, %error, "a certificate is for what is no name"),
    }
}

/// How many bytes are read at most while there is no permit.
fn first_bytes_max<R: Runtime>(of: &Conn<R>) -> usize {
    of.world.config.tuning.first_bytes_max.min(FIRST_BYTES_MAX)
}

/// Reads what is there, however often a signal interrupts that.
fn poll_some(
    cx: &mut Context<'_>,
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut [u8],
) -> Poll<io::Result<usize>> {
    loop {
        match ready!(Pin::new(&mut *stream).poll_read(cx, buffer)) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            read => return Poll::Ready(read),
        }
    }
}

/// Reads what the client said, or, without bytes, that it will say no more. Says how many lines that were.
fn hear(conn: ConnId, session: &mut Session, bytes: Option<&Bytes>, requests: &mut Vec<Request>) -> usize {
    // A long line that comes in many pieces is not to be copied with each.
    let before = (session.memory_bytes() <= KEPT_BYTES_MAX).then(|| session.clone());
    let _reading = Reading { conn, before, bytes };
    match bytes {
        Some(bytes) => session.feed_bytes(bytes, requests),
        None => {
            session.finish(requests);
            1
        }
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
