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
use std::task::{Context, Poll, ready};

use futures::future::FutureExt;
use futures::io::AsyncWrite;
use smol::future::or;
use tracing::error;

use self::end::End;
pub(super) use self::end::{EndLog, How};
use self::incoming::{Incoming, ReadEnd};
use self::outgoing::{Outgoing, WriteEnd};
use super::World;
use super::ingress::Input;
use super::outbox::Outbox;
use super::runtime::{PeerAddr, Runtime, Stream};
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
    let (incoming, outgoing) = (Incoming::new(&world, conn, &stream), Outgoing::default());
    let since = world.runtime.now();
    let conn = Conn { world, conn, peer, outbox, since };
    let mut served = Served { conn, stream, incoming, outgoing, ended: None };
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

/// A connection. The fields are dropped in this order: that it is gone is said before its socket closes.
struct Served<R: Runtime> {
    conn: Conn<R>,
    stream: R::Stream,
    incoming: Incoming,
    outgoing: Outgoing,
    /// How reading has ended, while writing goes on.
    ended: Option<ReadEnd>,
}

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
            let (written, read) = poll_fn(|cx| self.poll_both(cx)).await;
            Box::pin(self.wind_up(written, read)).await
        }
    }

    /// Ready when writing has ended or reading has failed.
    fn poll_both(&mut self, cx: &mut Context<'_>) -> Poll<(Option<WriteEnd>, Option<io::Result<ReadEnd>>)> {
        let Served { conn, stream, incoming, outgoing, ended } = self;
        if let Poll::Ready(written) = outgoing.poll_write(cx, stream, conn) {
            return Poll::Ready((Some(written), ended.take().map(Ok)));
        }
        if ended.is_none() {
            match ready!(incoming.poll_read(cx, stream, conn)) {
                Ok(end) => *ended = Some(end),
                Err(error) => return Poll::Ready((None, Some(Err(error)))),
            }
        }
        Poll::Pending
    }

    /// Ends what is left when one half has ended, or both.
    async fn wind_up(&mut self, written: Option<WriteEnd>, read: Option<io::Result<ReadEnd>>) -> End {
        let Served { conn, stream, incoming, .. } = self;
        let closed = conn.outbox.closed();
        let how = match (written, read) {
            (None, Some(Err(error))) => How::Broken(error),
            (None, _) | (Some(WriteEnd::Aborted), _) => {
                stream.reset();
                if closed.is_some() { How::GaveUp } else { How::Dropped }
            }
            (Some(WriteEnd::Stalled), _) => {
                stream.reset();
                How::Stalled
            }
            (Some(WriteEnd::Flushed), read) => {
                let ended = matches!(read, Some(Ok(ReadEnd::Eof)));
                incoming.leave_queue();
                linger(conn, async {
                    // If this fails, the client is gone and has what it has.
                    let _ = poll_fn(|cx| Pin::new(&mut *stream).poll_close(cx)).await;
                    if !ended {
                        let _ = poll_fn(|cx| incoming.poll_discard(cx, stream)).await;
                    }
                })
                .await;
                How::Flushed
            }
            (Some(WriteEnd::Broken(error)), read) => {
                // The client takes no more, but what it said before it left still counts.
                incoming.broken = true;
                if read.is_none() {
                    linger(conn, poll_fn(|cx| incoming.poll_read(cx, stream, conn))).await;
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
