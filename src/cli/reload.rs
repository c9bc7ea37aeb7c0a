//! What a server can read again while it runs: at SIGHUP, or when the operator says so.

use std::sync::{Arc, Mutex, PoisonError};

use seriatim::server::runtime::Runtime;
use seriatim::server::smol::Smol;
use tracing::{error, info};

use super::systemd::Manager;

/// Something that can be read again.
pub(crate) struct Reloadable {
    /// What it is, for the log.
    pub(crate) what: String,
    /// Reads it again. If that fails, says why in one line, and leaves in force what was.
    pub(crate) reload: Box<dyn Fn() -> Result<(), String> + Send + Sync>,
}

/// All that can be read again.
pub(crate) struct Reloads {
    pub(crate) list: Vec<Reloadable>,
    /// Who is told that it is happening.
    pub(crate) manager: Manager,
    pub(crate) runtime: Smol,
    /// One at a time: what is read last is in force.
    pub(crate) running: Mutex<()>,
}

impl Reloads {
    /// Reads all of it again, whatever becomes of the others, and says what was. Nobody who is served waits for the files: they may
    /// be large, or on a disk that does not answer.
    ///
    /// # Errors
    /// Why something could not be; the rest was.
    pub(crate) async fn run(self: &Arc<Self>) -> Result<Vec<String>, String> {
        let reloads = self.clone();
        self.runtime.unblock(move || reloads.run_blocking()).await
    }

    fn run_blocking(&self) -> Result<Vec<String>, String> {
        let _running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        self.manager.reloading();
        let (mut done, mut failed) = (Vec::new(), Vec::new());
        for Reloadable { what, reload } in &self.list {
            match reload() {
                Ok(()) => {
                    info!("reloaded {what}: whoever connects from now on gets that");
                    done.push(what.clone());
                }
                Err(why) => {
                    error!("cannot reload {what}, what was in force still is: {why}");
                    failed.push(why);
                }
            }
        }
        self.manager.reloaded();
        if failed.is_empty() { Ok(done) } else { Err(failed.join("; ")) }
    }
}
