//! Ctrl-C: the first asks whatever runs to come to its end with what it has, the second ends the program at once.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a program ends with that SIGINT ended.
const INTERRUPTED: i32 = 130;

/// Whether there was a first one. There is one Ctrl-C for all of a program, so there is one of this.
pub static ASKED: AtomicBool = AtomicBool::new(false);

/// Watches for Ctrl-C and SIGTERM from now on.
///
/// # Errors
/// The operating system does not allow it.
pub fn watch() -> Result<(), String> {
    let come = || {
        if ASKED.swap(true, Ordering::SeqCst) {
            process::exit(INTERRUPTED);
        }
    };
    ctrlc::set_handler(come).map_err(|error| format!("cannot watch for Ctrl-C: {error}"))
}

/// Whether whatever runs is to come to its end.
pub fn asked() -> bool {
    ASKED.load(Ordering::Relaxed)
}
