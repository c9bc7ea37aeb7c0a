//! [`Screen`]: what is to appear above the prompt, in order, without disturbing what is being typed.
//!
//! A thread of its own prints, so that a terminal that is slow or busy keeps neither the prompt nor the connection
//! waiting. It prints only while the prompt is open: what rustyline is given at the very moment when it leaves the
//! prompt appears with the next prompt, and so behind what is printed without a prompt in between.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use rustyline::ExternalPrinter;

/// How much may wait before those who can wait have to.
const WAITING_BYTES_MAX: usize = 1 << 20;

/// How much is printed at once if it is many lines: between two prints the prompt takes keys.
const BATCH_BYTES: usize = 16 * 1024;

/// What is to appear above the prompt.
pub(super) struct Screen {
    state: Mutex<State>,
    changed: Condvar,
    /// Whether the prompt stays in place below what is printed.
    has_prompt: bool,
}

struct State {
    /// Whole lines.
    waiting: String,
    printing: bool,
    open: bool,
}

impl Screen {
    /// Starts to print, above the prompt if the terminal can do that.
    pub(super) fn start(printer: Option<impl ExternalPrinter + Send + 'static>) -> Arc<Screen> {
        let has_prompt = printer.is_some();
        let state = State { waiting: String::new(), printing: false, open: !has_prompt };
        let screen = Arc::new(Screen { state: Mutex::new(state), changed: Condvar::new(), has_prompt });
        let printing = screen.clone();
        thread::spawn(move || printing.print_all(printer));
        screen
    }

    /// Shows a line. Never waits.
    pub(super) fn show(&self, line: &str) {
        let mut state = self.lock();
        state.waiting.push_str(line);
        state.waiting.push('\n');
        self.changed.notify_all();
    }

    /// Shows a line as soon as not too many wait already.
    pub(super) fn show_patiently(&self, line: &str) {
        let full = |state: &mut State| state.waiting.len() > WAITING_BYTES_MAX;
        drop(self.changed.wait_while(self.lock(), full));
        self.show(line);
    }

    /// The prompt is there: what waits may appear above it.
    pub(super) fn open(&self) {
        self.lock().open = true;
        self.changed.notify_all();
    }

    /// The prompt is about to go.
    pub(super) fn close(&self) {
        if self.has_prompt {
            self.lock().open = false;
        }
    }

    /// Waits until everything has been printed.
    pub(super) fn flush(&self, timeout: Duration) {
        let busy = |state: &mut State| state.printing || !state.waiting.is_empty();
        drop(self.changed.wait_timeout_while(self.lock(), timeout, busy));
    }

    fn print_all(&self, mut printer: Option<impl ExternalPrinter>) {
        loop {
            let batch = self.next_batch();
            let printed = printer.as_mut().is_some_and(|printer| printer.print(batch.clone()).is_ok());
            if !printed {
                // There is no prompt, or none any more.
                let mut out = io::stdout().lock();
                let _ = out.write_all(batch.as_bytes()).and_then(|()| out.flush());
            }
            self.lock().printing = false;
            self.changed.notify_all();
        }
    }

    /// Waits for lines that may be printed now.
    fn next_batch(&self) -> String {
        let idle = |state: &mut State| !state.open || state.waiting.is_empty();
        let mut state = self.changed.wait_while(self.lock(), idle).unwrap_or_else(PoisonError::into_inner);
        state.printing = true;
        let end = batch_end(&state.waiting);
        let rest = state.waiting.split_off(end);
        std::mem::replace(&mut state.waiting, rest)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The end of the last line that ends within a batch, or else of the first line.
fn batch_end(lines: &str) -> usize {
    let batch = &lines.as_bytes()[..lines.len().min(BATCH_BYTES)];
    let last = memchr::memrchr(b'\n', batch).or_else(|| memchr::memchr(b'\n', lines.as_bytes()));
    last.map_or(lines.len(), |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_whole_lines() {
        assert_eq!(batch_end("a\nb\n"), 4);
        let long = "é".repeat(BATCH_BYTES);
        assert_eq!(batch_end(&format!("{long}\nb\n")), long.len() + 1);
        assert_eq!(batch_end(&format!("a\n{long}\n")), 2);
    }
}
