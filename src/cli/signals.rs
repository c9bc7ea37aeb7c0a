//! Signals: SIGINT and SIGTERM stop the server, SIGHUP makes it read again what can be read again.

use std::future::{Future, pending, poll_fn};
use std::io;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use futures_lite::future::or;
use seriatim::server::mio::Mio;
use seriatim::server::mio::sockets::{Half, MioStream};
use seriatim::server::runtime::{Reader, Runtime, Stream};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::{flag, low_level::pipe};
use tracing::info;

use super::reload::Reloads;

/// A future that is ready at the first signal. From now on a second one ends the process at once, whatever it does.
pub(crate) fn first(mio: &Mio) -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let stopping = Arc::new(AtomicBool::new(false));
    let mut interrupted = watch_to_stop(mio, SIGINT, &stopping)?;
    let mut terminated = watch_to_stop(mio, SIGTERM, &stopping)?;
    Ok(async move {
        let interrupt = async {
            interrupted.come().await;
            "Int"
        };
        let terminate = async {
            terminated.come().await;
            "Term"
        };
        let signal = or(interrupt, terminate).await;
        info!(signal, "stopping; a second signal stops at once");
    })
}

/// Reads everything again whenever SIGHUP comes. If there is nothing, and no service manager that may send it anyway, SIGHUP is
/// left to mean what it always did: the terminal is gone, and so is the server.
pub(crate) fn reload_at_hangup(mio: &Mio, reloads: Arc<Reloads>) -> io::Result<()> {
    if reloads.list.is_empty() && !reloads.manager.is_there() {
        return Ok(());
    }
    let mut hung_up = watch(mio, SIGHUP)?;
    mio.spawn(async move {
        loop {
            hung_up.come().await;
            let _ = reloads.run(); // the log says what came of it
        }
    });
    Ok(())
}

/// Where a signal shows itself.
struct Signal(Half);

fn watch_to_stop(mio: &Mio, signal: i32, stopping: &Arc<AtomicBool>) -> io::Result<Signal> {
    // In this order: the first signal finds that none came before it.
    flag::register_conditional_shutdown(signal, 128 + signal, stopping.clone())?;
    flag::register(signal, stopping.clone())?;
    watch(mio, signal)
}

/// What can be read from when the signal has come: a signal may interrupt anything, so that to write a byte is about all
/// that may be done then.
fn watch(mio: &Mio, signal: i32) -> io::Result<Signal> {
    let (here, there) = UnixStream::pair()?;
    pipe::register(signal, there)?;
    let (reader, _writer) = MioStream::from_unix(mio, here)?.split();
    Ok(Signal(reader))
}

impl Signal {
    /// Ready when the signal has come, however often.
    async fn come(&mut self) {
        let Signal(reader) = self;
        while poll_fn(|cx| reader.poll_readable(cx)).await.is_ok() {
            match reader.try_read(&mut [0; 64]) {
                Ok(1..) => return,
                Err(error)
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                _ => break,
            }
        }
        pending::<()>().await; // no signal can come any more
    }
}
