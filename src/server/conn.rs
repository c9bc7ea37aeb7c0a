//! One task per connection: it reads what the client says into the queue, writes what waits for the client, and reports
//! its end exactly once.

mod end;
mod incoming;
mod outgoing;

use std::future::{Future, poll_fn};
use std::io;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_io::AsyncWrite;
use futures_lite::FutureExt;
use futures_lite::future::or;
use pin_project_lite::pin_project;
use tracing::error;

use self::end::End;
pub(super) use self::end::{EndLog, How};
use self::incoming::{Incoming, ReadEnd};
use self::outgoing::{Outgoing, WriteEnd};
use super::World;
use super::ingress::Input;
use super::outbox::Outbox;
use super::runtime::{PeerAddr, Runtime, Stream, Writer};
use crate::{ConnId, Millis};

/// How long a connection is kept for the client's end of the stream when all is written, in milliseconds. To close a
/// socket that holds unread bytes resets the connection, and a reset can destroy what is still on its way to the client.
const LINGER_MS_MAX: u64 = 1_000;

/// A timer. Few are set at a time, and those who have none need no room for one.
type Sleep = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Serves one connection, from its first byte to its last.
///
/// Most connections are idle most of the time, and what one costs then is mainly this future. So everything in it is held
/// once: an async function holds what it is given twice, once as given and once as used; an async block does not. And what is
/// done rarely is in a box, for which an idle connection has no room.
pub(super) fn run<R: Runtime>(
    world: Arc<World<R>>,
    conn: ConnId,
    peer: PeerAddr,
    stream: R::Stream,
    outbox: Arc<Outbox>,
) -> impl Future<Output = ()> + Send {
    let (reader, writer) = stream.split();
    let (incoming, outgoing) = (Incoming::new(&world, conn, reader), Outgoing::new(writer));
    let since = world.runtime.now();
    let mut served = Served { conn: Conn { world, conn, peer, outbox, since }, incoming, outgoing };
    async move {
        match AssertUnwindSafe(served.converse()).catch_unwind().await {
            Ok(end) => served.log(end),
            Err(panic) => {
                // A bug, which costs this connection and no other. Whoever runs the tasks may want to know.
                let Conn { conn, peer, .. } = &served.conn;
                error!(%conn, %peer, reason = %How::Panicked, "disconnected");
                served.conn.count(&How::Panicked);
                resume_unwind(panic);
            }
        }
    }
}

/// A connection and its two halves, which go in this order: that it is gone is said before its socket closes.
struct Served<R: Runtime> {
    conn: Conn<R>,
    incoming: Incoming<R>,
    outgoing: Outgoing<R>,
}

type ReaderOf<R> = <<R as Runtime>::Stream as Stream>::Reader;
type WriterOf<R> = <<R as Runtime>::Stream as Stream>::Writer;

/// What both halves of a connection need.
struct Conn<R: Runtime> {
    world: Arc<World<R>>,
    conn: ConnId,
    peer: PeerAddr,
    outbox: Arc<Outbox>,
    since: Millis,
}

impl<R: Runtime> Drop for Conn<R> {
    /// Says that the connection is gone when it goes, however it goes.
    fn drop(&mut self) {
        self.world.ingress.send(Input::Disconnected(self.conn));
    }
}

impl<R: Runtime> Served<R> {
    /// Reads and writes side by side; neither ever waits for the other.
    #[expect(clippy::manual_async_fn, reason = "it would hold what it is given twice")]
    fn converse(&mut self) -> impl Future<Output = End> {
        async move {
            let (first, second) = (self.outgoing.write(&self.conn), self.incoming.read(&self.conn));
            let (written, read) = Both { first, second, ended: None }.await;
            Box::pin(self.wind_up(written, read)).await
        }
    }

    /// Ends what is left when one half has ended, or both.
    async fn wind_up(&mut self, written: Option<WriteEnd>, read: Option<io::Result<ReadEnd>>) -> End {
        let Served { conn, incoming, outgoing } = self;
        let (writer, closed) = (&mut outgoing.writer, conn.outbox.closed());
        let how = match (written, read) {
            (None, Some(Err(error))) => How::Broken(error),
            (None, _) | (Some(WriteEnd::Aborted), _) => {
                writer.reset();
                if closed.is_some() { How::GaveUp } else { How::Dropped }
            }
            (Some(WriteEnd::Stalled), _) => {
                writer.reset();
                How::Stalled
            }
            (Some(WriteEnd::Flushed), read) => {
                // If this fails, the client is gone and has what it has.
                let _ = poll_fn(|cx| Pin::new(&mut *writer).poll_close(cx)).await;
                if !matches!(read, Some(Ok(ReadEnd::Eof))) {
                    linger(conn, incoming.discard(conn)).await;
                }
                How::Flushed
            }
            (Some(WriteEnd::Broken(error)), read) => {
                // The client takes no more, but what it said before it left still counts.
                incoming.broken = true;
                if read.is_none() {
                    linger(conn, incoming.read(conn)).await;
                }
                How::Broken(error)
            }
        };
        End { how, closed }
    }
}

/// Goes on with `reading` until the client closes its side, for a limited time.
async fn linger<R: Runtime>(Conn { world, outbox, .. }: &Conn<R>, reading: impl Future) {
    let reading = async {
        reading.await;
    };
    let timer = world.runtime.sleep_until(world.runtime.now().plus(LINGER_MS_MAX));
    or(reading, or(timer, poll_fn(|cx| outbox.poll_abort(cx)))).await;
}

pin_project! {
    /// Runs both until the first has ended or the second has failed.
    struct Both<A, B> {
        #[pin]
        first: A,
        #[pin]
        second: B,
        ended: Option<ReadEnd>,
    }
}

impl<A: Future, B: Future<Output = io::Result<ReadEnd>>> Future for Both<A, B> {
    type Output = (Option<A::Output>, Option<io::Result<ReadEnd>>);

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let both = self.project();
        if let Poll::Ready(a) = both.first.poll(cx) {
            return Poll::Ready((Some(a), both.ended.take().map(Ok)));
        }
        if both.ended.is_none() {
            match both.second.poll(cx) {
                Poll::Ready(Ok(b)) => *both.ended = Some(b),
                Poll::Ready(Err(error)) => return Poll::Ready((None, Some(Err(error)))),
                Poll::Pending => {}
            }
        }
        Poll::Pending
    }
}
