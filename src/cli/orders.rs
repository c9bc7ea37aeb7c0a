//! What `seriatim ctl` says to a server and hears from it: a line of JSON each way, over a unix socket.

use clap::Subcommand;
use serde::{Deserialize, Serialize};

/// The longest order, in bytes.
pub(super) const ORDER_BYTES_MAX: usize = 1024;

/// What the operator wants: what stands on the command line is what is sent.
#[derive(Debug, Deserialize, Serialize, Subcommand)]
#[serde(tag = "order", rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum Order {
    /// Show who is logged in, and from where.
    Peers,
    /// End the session of a peer.
    Kick { name: String },
    /// End all sessions from an address (IPv6: from its /64), and let nobody in from there until the server starts anew.
    Ban { address: String },
    /// Let whoever comes from an address in again.
    Unban { address: String },
    /// Show figures.
    Stats,
    /// Stop the server as SIGTERM does, and tell clients that it comes back.
    Drain,
    /// Read certificates and accounts again, as SIGHUP does.
    Reload,
}

/// What came of it.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Answer {
    Peers(Vec<Peer>),
    Kicked(String),
    Banned(String),
    Unbanned(String),
    Stats(Stats),
    Draining,
    /// What was read again.
    Reloaded(Vec<String>),
    Error(String),
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) connection: u64,
    /// As limits count it: an IPv4 address, an IPv6 network, or that it is exempt.
    pub(super) address: String,
}

#[derive(Debug, Deserialize, Serialize)]
pub(super) struct Stats {
    pub(super) version: String,
    pub(super) uptime_seconds: f64,
    pub(super) connections: usize,
    pub(super) peers: usize,
    pub(super) connections_accepted: u64,
    pub(super) logins: u64,
    pub(super) messages_received: u64,
    pub(super) messages_delivered: u64,
    pub(super) received_bytes: u64,
    pub(super) sent_bytes: u64,
    pub(super) outbox_bytes: usize,
    pub(super) draining: bool,
}
