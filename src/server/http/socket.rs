//! [`Socket`]: what hyper reads from and writes to.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::AsyncWrite;
use hyper::rt::{Read, ReadBufCursor, Write};

use super::super::runtime::{Reader, Stream};

/// The most bytes that one read brings: a request has a few hundred.
const READ_BYTES_MAX: usize = 1024;

/// Both halves of a connection.
pub(super) struct Socket<S: Stream> {
    reader: S::Reader,
    writer: S::Writer,
}

impl<S: Stream> Socket<S> {
    pub(super) fn new((reader, writer): (S::Reader, S::Writer)) -> Socket<S> {
        Socket { reader, writer }
    }

    /// Reads what is there, or waits for it.
    fn poll_some(&mut self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.reader.poll_readable(cx))?;
            match self.reader.try_read(buffer) {
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                read => return Poll::Ready(read),
            }
        }
    }

    /// Throws away what comes, until no more does.
    pub(super) async fn discard(&mut self) {
        let mut buffer = [0; READ_BYTES_MAX];
        while poll_fn(|cx| self.poll_some(cx, &mut buffer)).await.is_ok_and(|length| length > 0) {}
    }
}

impl<S: Stream> Read for Socket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut unfilled: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // Room that is not initialised cannot be read into without unsafe code.
        let mut buffer = [0; READ_BYTES_MAX];
        let most = unfilled.remaining().min(READ_BYTES_MAX);
        let length = ready!(self.poll_some(cx, &mut buffer[..most]))?;
        unfilled.put_slice(&buffer[..length]);
        Poll::Ready(Ok(()))
    }
}

impl<S: Stream> Write for Socket<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.writer).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.writer).poll_close(cx)
    }
}
