//! The half of a connection that goes out: writes what waits in the outbox.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::AsyncWrite;

use super::{Conn, Sleep, WriterOf};
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
pub(super) struct Outgoing<R: Runtime> {
    pub(super) writer: WriterOf<R>,
    /// How much has been written so far, for the log.
    pub(super) bytes: u64,
}

impl<R: Runtime> Outgoing<R> {
    pub(super) fn new(writer: WriterOf<R>) -> Outgoing<R> {
        Outgoing { writer, bytes: 0 }
    }

    /// Writes what waits, all there is in one call, until the broker closes the connection.
    pub(super) fn write<'a>(&'a mut self, of: &'a Conn<R>) -> Writing<'a, R> {
        Writing { of, outgoing: self, batch: Vec::new(), written: 0, stalled: None }
    }
}

/// The writing itself: what it needs only while it goes on is gone when it has ended.
pub(super) struct Writing<'a, R: Runtime> {
    of: &'a Conn<R>,
    outgoing: &'a mut Outgoing<R>,
    batch: Vec<u8>,
    /// How much of the batch is written.
    written: usize,
    /// Runs out if the client takes nothing. Only a write that has to wait sets a timer.
    stalled: Option<Sleep>,
}

impl<R: Runtime> Writing<'_, R> {
    /// Writes some of the batch, at least a byte, and says how much; or how writing has ended.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<Result<usize, WriteEnd>> {
        loop {
            if self.of.outbox.poll_abort(cx).is_ready() {
                return Poll::Ready(Err(WriteEnd::Aborted));
            }
            let rest = &self.batch[self.written..];
            return Poll::Ready(match ready!(Pin::new(&mut self.outgoing.writer).poll_write(cx, rest)) {
                Ok(0) => Err(WriteEnd::Broken(io::ErrorKind::WriteZero.into())),
                Ok(length) => Ok(length),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(WriteEnd::Broken(error)),
            });
        }
    }

    /// Ready when the client has taken nothing for too long.
    fn poll_stalled(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let world = &self.of.world;
        let Some(ms) = world.config.write_ms_max else { return Poll::Pending };
        let sleep = || -> Sleep { Box::pin(world.runtime.sleep_until(world.runtime.now().plus(ms))) };
        self.stalled.get_or_insert_with(sleep).as_mut().poll(cx)
    }
}

impl<R: Runtime> Future for Writing<'_, R> {
    type Output = WriteEnd;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<WriteEnd> {
        loop {
            if self.written == self.batch.len() {
                self.batch.clear();
                self.written = 0;
                let of = self.of;
                match ready!(of.outbox.poll_take(cx, &mut self.batch)) {
                    Take::Write => {}
                    Take::Close => return Poll::Ready(WriteEnd::Flushed),
                    Take::Abort => return Poll::Ready(WriteEnd::Aborted),
                }
            }
            let Poll::Ready(written) = self.poll_write(cx) else {
                return self.poll_stalled(cx).map(|()| WriteEnd::Stalled);
            };
            self.stalled = None;
            match written {
                Ok(length) => {
                    self.of.outbox.wrote(length);
                    self.outgoing.bytes += length as u64;
                    self.written += length;
                }
                Err(end) => return Poll::Ready(end),
            }
        }
    }
}
