//! Signals: SIGINT and SIGTERM stop the server, SIGHUP makes it read again what can be read again.

use std::future::{Future, pending};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use async_signal::{Signal, Signals};
use futures::stream::StreamExt;
use seriatim::server::runtime::Runtime;
use seriatim::server::smol::Smol;
use signal_hook::flag;
use tracing::info;

use super::reload::Reloads;

/// A future that is ready at the first signal. From now on a second one ends the process at once, whatever it does.
pub(crate) fn first() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    let stopping = Arc::new(AtomicBool::new(false));
    for signal in [Signal::Int, Signal::Term].map(|signal| signal as i32) {
        // In this order: the first signal finds that none came before it.
        flag::register_conditional_shutdown(signal, 128 + signal, stopping.clone())?;
        flag::register(signal, stopping.clone())?;
    }
    let mut signals = Signals::new([Signal::Int, Signal::Term])?;
    Ok(async move {
        let signal = next(&mut signals).await;
        info!(?signal, "stopping; a second signal stops at once");
    })
}

/// Reads everything again whenever SIGHUP comes. If there is nothing, and no service manager that may send it anyway, SIGHUP is
/// left to mean what it always did: the terminal is gone, and so is the server.
pub(crate) fn reload_at_hangup(runtime: &Smol, reloads: Arc<Reloads>) -> io::Result<()> {
    if reloads.list.is_empty() && !reloads.manager.is_there() {
        return Ok(());
    }
    let mut signals = Signals::new([Signal::Hup])?;
    runtime.spawn(async move {
        loop {
            next(&mut signals).await;
            let _ = reloads.run().await; // the log says what came of it
        }
    });
    Ok(())
}

/// The next signal. Signals that come faster than they are taken may count as one.
async fn next(signals: &mut Signals) -> Signal {
    match signals.next().await {
        Some(Ok(signal)) => signal,
        Some(Err(_)) | None => pending().await, // no signal can come any more
    }
}
