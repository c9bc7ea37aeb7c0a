//! The signals that stop the server: SIGINT and SIGTERM.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_lite::future::or;
use seriatim::server::mio::Mio;
use seriatim::server::mio::sockets::{Half, MioStream};
use seriatim::server::runtime::{Reader, Stream};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use tracing::info;

/// A future that is ready at the first signal. From now on a second one ends the process at once, whatever it does.
pub(crate) fn first(mio: &Mio) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let stopping = Arc::new(AtomicBool::new(false));
    let interrupted = watch(mio, SIGINT, &stopping)?;
    let terminated = watch(mio, SIGTERM, &stopping)?;
    Ok(async move {
        let signal = or(come(interrupted, "Int"), come(terminated, "Term")).await;
        info!(signal, "stopping; a second signal stops at once");
    })
}

/// What can be read from when the signal has come: a signal may interrupt anything, so that to write a byte is about all
/// that may be done then.
fn watch(mio: &Mio, signal: i32, stopping: &Arc<AtomicBool>) -> io::Result<MioStream> {
    // In this order: the first signal finds that none came before it.
    flag::register_conditional_shutdown(signal, 128 + signal, stopping.clone())?;
    flag::register(signal, stopping.clone())?;
    let (here, there) = UnixStream::pair()?;
    pipe::register(signal, there)?;
    MioStream::from_unix(mio, here)
}

/// Ready when the signal has come.
async fn come(stream: MioStream, name: &'static str) -> &'static str {
    let (mut reader, _writer): (Half, Half) = stream.split();
    while poll_fn(|cx| reader.poll_readable(cx)).await.is_ok() {
        match reader.try_read(&mut [0]) {
            Ok(1..) => return name,
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            _ => break,
        }
    }
    pending().await // no signal can come any more
}
