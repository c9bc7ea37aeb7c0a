//! One task per connection: it reads what the client says into the queue, writes what waits for the client, and reports
//! its end exactly once.

use std::cell::RefCell;
use std::fmt;
use std::future::{Future, pending, poll_fn};
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Poll, ready};
use std::thread;

use bytes::Bytes;
use futures_io::AsyncWrite;
use futures_lite::FutureExt;
use futures_lite::future::or;
use tracing::{error, info};

use super::World;
use super::ingress::{Input, PERMITS};
use super::outbox::{Outbox, Take};
use super::pace::Pace;
use super::runtime::{PeerAddr, Reader, Runtime, Stream, Writer};
use crate::protocol::{Request, Session};
use crate::{CloseReason, ConnId};

/// The most bytes one read brings.
pub(super) const READ_BYTES_MAX: usize = 64 * 1024;

/// How long a connection is kept for the client's end of the stream when all is written, in milliseconds. To close a
/// socket that holds unread bytes resets the connection, and a reset can destroy what is still on its way to the client.
const LINGER_MS_MAX: u64 = 1_000;

thread_local! {
    /// Buffers to read into, for all connections of a thread: none holds one while it waits.
    static BUFFERS: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// What one read has brought, in a buffer that is used again when all of it has been processed.
struct Lent {
    buffer: Vec<u8>,
    length: usize,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.length]
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let buffer = mem::take(&mut self.buffer);
        // Behind the thread's end there is nobody to use it.
        let _ = BUFFERS.try_with(|buffers| {
            let mut buffers = buffers.borrow_mut();
            if buffers.len() < PERMITS {
                buffers.push(buffer);
            }
        });
    }
}

/// Serves one connection, from its first byte to its last.
///
/// Most connections are idle most of the time, and what one costs then is mainly this future. An async function holds what
/// it is given twice, once as given and once as used; an async block does not. What is done rarely is in a box, for
/// which an idle connection has no room.
#[expect(clippy::manual_async_fn, reason = "it would be 56 bytes larger")]
pub(super) fn run<R: Runtime>(
    world: Arc<World<R>>,
    conn: ConnId,
    peer: PeerAddr,
    stream: R::Stream,
    outbox: Arc<Outbox>,
) -> impl Future<Output = ()> + Send {
    async move {
        let report = Report { world: &world, conn };
        let (reader, mut writer) = stream.split();
        let session = Session::new(&world.config.limits);
        let pace = Pace::new(world.config.lines_per_second_max);
        let mut served = Conn { world: &world, conn, outbox: &outbox, reader, session, pace, broken: false };
        match AssertUnwindSafe(served.converse(&mut writer)).catch_unwind().await {
            Ok(end) if end.is_refusal() => world.refusals.log(world.runtime.now(), conn, peer, end),
            Ok(end) => info!(%conn, %peer, reason = %end, "disconnected"),
            Err(panic) => {
                // A bug, which costs this connection and no other. Whoever runs the tasks may want to know.
                error!(%conn, %peer, reason = "a bug", "disconnected");
                resume_unwind(panic);
            }
        }
        drop(report);
    }
}

/// Says that the connection is gone when it goes, however it goes.
struct Report<'a, R: Runtime> {
    world: &'a World<R>,
    conn: ConnId,
}

impl<R: Runtime> Drop for Report<'_, R> {
    fn drop(&mut self) {
        self.world.ingress.send(Input::Disconnected(self.conn));
    }
}

struct Conn<'a, R: Runtime> {
    world: &'a World<R>,
    conn: ConnId,
    outbox: &'a Outbox,
    reader: <R::Stream as Stream>::Reader,
    session: Session,
    pace: Pace,
    /// Writing has failed. The operating system may say that only once, and show the end of the stream to who reads on.
    broken: bool,
}

/// How a connection ended, for the log.
enum End {
    /// The broker closed it, and all that waited is written.
    Closed(CloseReason),
    /// What waited could not be written in time.
    GaveUp,
    /// It was given up before anything was said: nobody had the time to tell it why.
    Dropped,
    /// It took nothing of what was being written to it for too long.
    Stalled,
    /// The socket broke.
    Broken(io::Error),
}

impl End {
    /// The client was never let in.
    fn is_refusal(&self) -> bool {
        matches!(self, End::Closed(reason) if reason.is_refusal()) || matches!(self, End::Dropped)
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            End::Closed(reason) => reason.fmt(f),
            End::GaveUp => f.write_str("did not read its last lines in time"),
            End::Dropped => f.write_str("dropped"),
            End::Stalled => f.write_str("stalled"),
            End::Broken(error) => error.fmt(f),
        }
    }
}

/// How the half that goes out ended.
enum WriteEnd {
    Flushed,
    Aborted,
    Stalled,
    Broken(io::Error),
}

/// How the half that comes in ended, unless the socket broke.
enum ReadEnd {
    /// The client closed its side.
    Eof,
    /// The broker wants no more.
    Stopped,
}

impl<R: Runtime> Conn<'_, R> {
    /// Reads and writes side by side; neither ever waits for the other.
    async fn converse(&mut self, writer: &mut <R::Stream as Stream>::Writer) -> End {
        let outbox = self.outbox;
        let (written, read) = {
            let writing = pin!(write(self.world, outbox, &mut *writer));
            let reading = pin!(self.read());
            both(writing, reading).await
        };
        match (written, read) {
            (None, Some(Err(error))) => End::Broken(error),
            (None, _) | (Some(WriteEnd::Aborted), _) => {
                writer.reset();
                if outbox.closed().is_some() { End::GaveUp } else { End::Dropped }
            }
            (Some(WriteEnd::Stalled), _) => {
                writer.reset();
                End::Stalled
            }
            (Some(WriteEnd::Flushed), read) => {
                // If this fails, the client is gone and has what it has.
                let _ = poll_fn(|cx| Pin::new(&mut *writer).poll_close(cx)).await;
                if !matches!(read, Some(Ok(ReadEnd::Eof))) {
                    Box::pin(linger(self.world, outbox, self.discard())).await;
                }
                outbox.closed().map_or(End::GaveUp, End::Closed)
            }
            (Some(WriteEnd::Broken(error)), read) => {
                // The client takes no more, but what it said before it left still counts.
                self.broken = true;
                if read.is_none() {
                    Box::pin(linger(self.world, outbox, self.read())).await;
                }
                End::Broken(error)
            }
        }
    }

    /// Reads the client's lines into the queue, until no more come or no more are wanted.
    ///
    /// Cancel safe: between the read and the queue there is no waiting.
    async fn read(&mut self) -> io::Result<ReadEnd> {
        let Conn { world, conn, outbox, reader, session, pace, broken } = self;
        loop {
            let stopped = poll_fn(|cx| outbox.poll_stop_reading(cx).map(|()| None));
            let readable = async {
                // One read at a time, and behind everybody else's: nobody gets more turns than others.
                poll_fn(|cx| outbox.poll_processed(cx)).await;
                if let Some(at) = pace.ready_at().filter(|&at| at > world.runtime.now()) {
                    Box::pin(world.runtime.sleep_until(at)).await;
                }
                if !pace.holds() {
                    readable(reader).await;
                }
                Some(world.ingress.permit().await)
            };
            let Some(permit) = or(stopped, readable).await else {
                world.ingress.send(Input::Ended(*conn, Vec::new()));
                return Ok(ReadEnd::Stopped);
            };
            world.runtime.preempt().await;
            let mut requests = Vec::new();
            let mut ended = false;
            let now = world.runtime.now();
            if pace.holds() {
                pace.release(now, |bytes| {
                    hear(*conn, session, Some(&Bytes::copy_from_slice(bytes)), &mut requests);
                });
            } else {
                let most = pace.read_bytes_max(READ_BYTES_MAX);
                let length = try_read(reader, most, |bytes| match outbox.closed() {
                    Some(_) => {}                             // the session is over: nothing more counts
                    None if bytes.is_empty() && *broken => {} // a line that broke off is none
                    None if bytes.is_empty() => hear(*conn, session, None, &mut requests),
                    None => {
                        let passing = bytes.slice_ref(pace.pass(bytes, now));
                        hear(*conn, session, Some(&passing), &mut requests);
                    }
                })?;
                ended = length == Some(0);
                world.ingress.received(length.unwrap_or(0));
            }
            if ended {
                world.ingress.send(Input::Ended(*conn, requests));
                return Ok(ReadEnd::Eof);
            }
            if !requests.is_empty() {
                outbox.wait_for_driver();
                world.ingress.send(Input::Requests(*conn, requests, permit));
            }
        }
    }

    /// Throws away what the client sends, until it sends no more.
    async fn discard(&mut self) -> io::Result<()> {
        loop {
            readable(&mut self.reader).await;
            self.world.runtime.preempt().await;
            if try_read(&mut self.reader, READ_BYTES_MAX, |_| ())? == Some(0) {
                return Ok(());
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

/// Goes on with `reading` until the client closes its side, for a limited time.
async fn linger<R: Runtime>(world: &World<R>, outbox: &Outbox, reading: impl Future) {
    let reading = async {
        reading.await;
    };
    let timer = world.runtime.sleep_until(world.runtime.now().plus(LINGER_MS_MAX));
    or(reading, or(timer, poll_fn(|cx| outbox.poll_abort(cx)))).await;
}

/// Waits until there is something to read. An error counts: it shows itself again when reading.
async fn readable(reader: &mut impl Reader) {
    let _ = poll_fn(|cx| reader.poll_readable(cx)).await;
}

/// Hands what is there, `most` bytes of it, to `read` (nothing at the end of the stream) and says how many bytes it was;
/// `None` if there was nothing to read after all.
fn try_read(reader: &mut impl Reader, most: usize, read: impl FnOnce(&Bytes)) -> io::Result<Option<usize>> {
    let buffer = BUFFERS.with_borrow_mut(Vec::pop).unwrap_or_else(|| vec![0; READ_BYTES_MAX]);
    let mut lent = Lent { buffer, length: 0 };
    match reader.try_read(&mut lent.buffer[..most]) {
        Ok(length) => {
            lent.length = length;
            read(&Bytes::from_owner(lent));
            Ok(Some(length))
        }
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// Runs both until the first has ended or the second has failed.
fn both<A, B>(
    mut first: Pin<&mut impl Future<Output = A>>,
    mut second: Pin<&mut impl Future<Output = io::Result<B>>>,
) -> impl Future<Output = (Option<A>, Option<io::Result<B>>)> {
    let mut ended = None;
    poll_fn(move |cx| {
        if let Poll::Ready(a) = first.as_mut().poll(cx) {
            return Poll::Ready((Some(a), ended.take()));
        }
        if ended.is_none() {
            match second.as_mut().poll(cx) {
                Poll::Ready(Ok(b)) => ended = Some(Ok(b)),
                Poll::Ready(Err(error)) => return Poll::Ready((None, Some(Err(error)))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    })
}

/// Writes what waits, all there is in one call, until the broker closes the connection.
async fn write<R: Runtime, W: AsyncWrite + Unpin>(
    world: &World<R>,
    outbox: &Outbox,
    writer: &mut W,
) -> WriteEnd {
    let mut batch = Vec::new();
    loop {
        match poll_fn(|cx| outbox.poll_take(cx, &mut batch)).await {
            Take::Write => {}
            Take::Close => return WriteEnd::Flushed,
            Take::Abort => return WriteEnd::Aborted,
        }
        let mut rest = &batch[..];
        while !rest.is_empty() {
            // Only a write that has to wait sets a timer.
            let stalled = async {
                let Some(ms) = world.config.write_ms_max else { return pending().await };
                Box::pin(world.runtime.sleep_until(world.runtime.now().plus(ms))).await;
                Err(WriteEnd::Stalled)
            };
            match or(write_some(outbox, writer, rest), stalled).await {
                Ok(length) => {
                    outbox.wrote(length);
                    rest = &rest[length..];
                }
                Err(end) => return end,
            }
        }
        batch.clear();
    }
}

/// Writes some of it, at least a byte, and says how much; or how writing has ended.
fn write_some<W: AsyncWrite + Unpin>(
    outbox: &Outbox,
    writer: &mut W,
    bytes: &[u8],
) -> impl Future<Output = Result<usize, WriteEnd>> {
    poll_fn(move |cx| {
        loop {
            if outbox.poll_abort(cx).is_ready() {
                return Poll::Ready(Err(WriteEnd::Aborted));
            }
            return Poll::Ready(match ready!(Pin::new(&mut *writer).poll_write(cx, bytes)) {
                Ok(0) => Err(WriteEnd::Broken(io::ErrorKind::WriteZero.into())),
                Ok(length) => Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(WriteEnd::Broken(error)),
            });
        }
    })
}
