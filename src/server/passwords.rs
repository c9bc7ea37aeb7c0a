//! Passwords are verified beside the messages: it takes so long by design that everybody else would wait.

use std::sync::Arc;

use super::ingress::{Ingress, Input, Places};
use super::runtime::{Runtime, TaskName};
use crate::protocol::{Name, Password};
use crate::{ConnId, Millis};

/// Knows the passwords of accounts.
pub trait Passwords: Send + Sync + 'static {
    /// Whether this is the password of this name. May take its time, and should take as long for a wrong one as for a right
    /// one.
    fn verify(&self, name: &Name, password: &Password) -> bool;
}

/// Verifies passwords, a few at once, in the order in which their time comes.
pub(super) struct Verifier<R> {
    runtime: R,
    ingress: Ingress,
    /// Without any, none is right.
    passwords: Option<Arc<dyn Passwords>>,
    places: Arc<Places>,
}

impl<R: Runtime> Verifier<R> {
    pub(super) fn new(
        runtime: R,
        ingress: Ingress,
        passwords: Option<Arc<dyn Passwords>>,
        at_once: usize,
    ) -> Verifier<R> {
        Verifier { runtime, ingress, passwords, places: Arc::new(Places::new(at_once)) }
    }

    /// Starts a task that looks at this password, not before that moment, and tells the driver.
    pub(super) fn start(&self, conn: ConnId, name: Name, password: Password, at: Millis) {
        let (runtime, passwords, places) =
            (self.runtime.clone(), self.passwords.clone(), self.places.clone());
        let mut verdict = Verdict { ingress: self.ingress.clone(), conn, is_right: false };
        self.runtime.spawn_named(TaskName::Password(conn), async move {
            if at > runtime.now() {
                runtime.sleep_until(at).await;
            }
            let place = match Places::ask(&places) {
                Ok(place) => place,
                Err(waiting) => waiting.await,
            };
            if let Some(passwords) = passwords {
                verdict.is_right = runtime.unblock(move || passwords.verify(&name, &password)).await;
            }
            drop(place);
            runtime.yield_point().await;
            drop(verdict);
        });
    }
}

/// Tells the driver when it goes, however that comes: nothing of what the client sends is processed before.
struct Verdict {
    ingress: Ingress,
    conn: ConnId,
    is_right: bool,
}

impl Drop for Verdict {
    fn drop(&mut self) {
        self.ingress.send(Input::PasswordVerified(self.conn, self.is_right));
    }
}
