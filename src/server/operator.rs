//! [`Operator`]: what whoever runs a server can ask of it while it serves.

use async_channel::{Sender, bounded};

use super::ingress::{Ingress, Input};
use crate::protocol::Name;
use crate::{ConnId, Origin};

/// Asks things of a server. Each takes its turn among all other events. Ask for one thing at a time: what is asked for needs no
/// place in the queue.
#[derive(Clone)]
pub struct Operator {
    ingress: Ingress,
}

/// A peer who is logged in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Its name.
    pub name: Name,
    /// Its connection.
    pub conn: ConnId,
    /// Where it comes from.
    pub origin: Origin,
}

/// What the driver is asked.
pub(super) enum Order {
    Peers(Sender<Vec<Peer>>),
    Kick(String, Sender<Option<Name>>),
    Ban(Origin, Sender<()>),
    Unban(Origin, Sender<()>),
}

impl Operator {
    pub(super) fn new(ingress: Ingress) -> Operator {
        Operator { ingress }
    }

    /// These are the names that have accounts from now on.
    pub fn change_accounts(&self, names: Vec<Name>) {
        self.ingress.send(Input::AccountsChanged(names));
    }

    /// Who is logged in, sorted by name; `None` if the server has ended.
    pub async fn peers(&self) -> Option<Vec<Peer>> {
        self.ask(Order::Peers).await
    }

    /// Ends the session of whoever holds this name, and says who that was: `Some(None)` if nobody does, `None` if the server has
    /// ended.
    pub async fn kick(&self, name: &str) -> Option<Option<Name>> {
        self.ask(|answer| Order::Kick(name.to_owned(), answer)).await
    }

    /// Ends all sessions from there, and lets nobody in; `None` if the server has ended. Whoever is exempt from limits on
    /// addresses cannot be banned. A server that starts anew has forgotten it.
    pub async fn ban(&self, origin: Origin) -> Option<()> {
        self.ask(|answer| Order::Ban(origin, answer)).await
    }

    /// Lets whoever comes from there in again; `None` if the server has ended.
    pub async fn unban(&self, origin: Origin) -> Option<()> {
        self.ask(|answer| Order::Unban(origin, answer)).await
    }

    async fn ask<T>(&self, order: impl FnOnce(Sender<T>) -> Order) -> Option<T> {
        let (answer, answered) = bounded(1);
        self.ingress.send(Input::Ordered(order(answer)));
        answered.recv().await.ok()
    }
}
