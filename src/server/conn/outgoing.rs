//! The half of a connection that goes out: writes what waits in the outbox.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures::io::AsyncWrite;

use super::{Conn, Sleep};
use crate::server::outbox::Take;
use crate::server::runtime::Runtime;

/// How the half that goes out ended.
pub(super) enum WriteEnd {
    Flushed,
    Aborted,
    Stalled,
    Broken(io::Error),
}

/// The half that goes out.
#[derive(Default)]
pub(super) struct Outgoing {
    batch: Vec<u8>,
    /// How much of the batch is written.
    written: usize,
    /// Something is written and may not be with the operating system yet.
    unflushed: bool,
    /// Runs out if the client takes nothing. Only a write that has to wait sets a timer.
    stalled: Option<Box<Sleep>>,
    /// How much has been written so far, for the log.
    pub(super) bytes: u64,
}

impl Outgoing {
    /// Writes what waits, all there is in one call, until the broker closes the connection.
    pub(super) fn poll_write<R: Runtime>(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut R::Stream,
        of: &Conn<R>,
    ) -> Poll<WriteEnd> {
        loop {
            if self.written == self.batch.len() && !self.unflushed {
                self.batch.clear();
                self.written = 0;
                match ready!(of.outbox.poll_take(cx, &mut self.batch)) {
                    Take::Write => {}
                    Take::Close => return Poll::Ready(WriteEnd::Flushed),
                    Take::Abort => return Poll::Ready(WriteEnd::Aborted),
                }
            }
            if of.outbox.poll_abort(cx).is_ready() {
                return Poll::Ready(WriteEnd::Aborted);
            }
            let Poll::Ready(written) = self.poll_batch(cx, stream) else {
                return self.poll_stalled(cx, of).map(|()| WriteEnd::Stalled);
            };
            self.stalled = None;
            match written {
                Ok(length) => {
                    of.outbox.wrote(length);
                    self.bytes += length as u64;
                    self.written += length;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Poll::Ready(WriteEnd::Broken(error)),
            }
        }
    }

    /// Writes some of the batch, at least a byte, and says how much; or flushes, if all of it is written.
    fn poll_batch(
        &mut self,
        cx: &mut Context<'_>,
        stream: &mut (impl AsyncWrite + Unpin),
    ) -> Poll<io::Result<usize>> {
        let rest = &self.batch[self.written..];
        if rest.is_empty() {
            ready!(Pin::new(stream).poll_flush(cx))?;
            self.unflushed = false;
            return Poll::Ready(Ok(0));
        }
        let length = ready!(Pin::new(&mut *stream).poll_write(cx, rest))?;
        if length == 0 {
            return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
        }
        // If it has to wait, or fails, that shows itself again.
        self.unflushed =
            length < rest.len() || !matches!(Pin::new(stream).poll_flush(cx), Poll::Ready(Ok(())));
        Poll::Ready(Ok(length))
    }

    /// Ready when the client has taken nothing for too long.
    fn poll_stalled<R: Runtime>(&mut self, cx: &mut Context<'_>, of: &Conn<R>) -> Poll<()> {
        let world = &of.world;
        let Some(ms) = world.config.write_ms_max else { return Poll::Pending };
        let sleep =
            || -> Box<Sleep> { Box::new(Box::pin(world.runtime.sleep_until(world.runtime.now().plus(ms)))) };
        Pin::new(&mut **self.stalled.get_or_insert_with(sleep)).poll(cx)
    }
}
