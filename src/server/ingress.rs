//! The one queue into the driver.
//!
//! It is bounded by permits, which a connection gets before it reads: so what was read never waits outside the queue, and
//! what the queue holds is bounded whatever the number of connections. That a connection has ended needs no permit, so
//! it can always be said.

use std::sync::Arc;

use async_channel::{Receiver, Sender};
use async_lock::{Semaphore, SemaphoreGuardArc};

use super::outbox::Outbox;
use crate::protocol::Request;
use crate::{ConnId, Origin};

/// How many reads (of up to [`READ_BYTES_MAX`](super::conn::READ_BYTES_MAX) each) and new connections wait at most.
const PERMITS: usize = 16;

/// What the driver is told.
pub(super) enum Input {
    /// A client has connected, from there; what is for it goes into this outbox.
    Connected(ConnId, Origin, Arc<Outbox>, Permit),
    /// What one read brought, in order.
    Requests(ConnId, Vec<Request>, Permit),
    /// The client's last words, if any, and then no more.
    Ended(ConnId, Vec<Request>),
    /// The connection is gone.
    Disconnected(ConnId),
    /// The operator wants the server to stop.
    ShutdownRequested,
}

/// The right to put one input into the queue; given back when the driver has taken it out.
pub(super) type Permit = SemaphoreGuardArc;

/// The end that everybody sends to.
pub(super) struct Ingress {
    sender: Sender<Input>,
    permits: Arc<Semaphore>,
}

pub(super) fn queue() -> (Ingress, Receiver<Input>) {
    let (sender, receiver) = async_channel::unbounded();
    (Ingress { sender, permits: Arc::new(Semaphore::new(PERMITS)) }, receiver)
}

impl Ingress {
    /// Waits for a place in the queue.
    pub(super) async fn permit(&self) -> Permit {
        match self.permits.try_acquire_arc() {
            Some(permit) => permit,
            None => self.permits.acquire_arc().await,
        }
    }

    /// Puts an input into the queue. Never waits: whoever could send without end has a permit.
    pub(super) fn send(&self, input: Input) {
        // The driver is gone only when the server has ended; then nobody wants to know.
        let _ = self.sender.try_send(input);
    }
}
