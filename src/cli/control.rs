//! The control socket of a server: what comes from `seriatim ctl` is done here. Whoever may open the socket, which is the owner
//! of its file alone, may do all of it.

use std::fs::{self, Permissions};
use std::io;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use async_channel::Sender;
use futures::io::{AsyncReadExt, AsyncWriteExt};
use ipnet::IpNet;
use seriatim::Origin;
use seriatim::server::Shutdown;
use seriatim::server::accept::Door;
use seriatim::server::metrics::Watch;
use seriatim::server::operator::Operator;
use seriatim::server::runtime::Runtime;
use seriatim::server::smol::Smol;
use seriatim::server::smol::sockets::{Address, SmolListener, SmolStream};
use smol::future::or;
use tracing::info;

use super::orders::{Answer, ORDER_BYTES_MAX, Order, Peer, Stats};
use super::reload::Reloads;

/// How long a connection may take to say what it wants, and to take the answer, in milliseconds.
const CONNECTION_MS_MAX: u64 = 10_000;

/// Connections at a time, each a place that is free or lent. Whoever comes beyond waits.
const CONNECTIONS_MAX: usize = 16;

/// All that orders are carried out with.
pub(super) struct Control {
    pub(super) operator: Operator,
    pub(super) watch: Watch,
    pub(super) reloads: Arc<Reloads>,
    /// Asks the server to stop.
    pub(super) stop: Sender<Shutdown>,
}

/// Listens, for the owner alone.
pub(super) fn listen(path: &Path) -> Result<SmolListener, String> {
    let cannot = |error: io::Error| format!("cannot listen for --control on {}: {error}", path.display());
    let listener = SmolListener::bind(&Address::Unix(path.to_owned())).map_err(cannot)?;
    fs::set_permissions(path, Permissions::from_mode(0o600)).map_err(cannot)?;
    info!("orders by: seriatim ctl --control {}", path.display());
    Ok(listener)
}

/// Carries out what comes, until the server ends.
pub(super) async fn serve(runtime: Smol, listener: SmolListener, control: Control) {
    let control = Arc::new(control);
    let (lent, given_back) = async_channel::bounded::<()>(CONNECTIONS_MAX);
    let mut door = Door::new(runtime.clone(), listener, "an order");
    loop {
        let (stream, _) = door.accept().await;
        if lent.send(()).await.is_err() {
            return; // never: both ends are held here
        }
        let (control, place, now) = (control.clone(), given_back.clone(), runtime.now());
        let deadline = runtime.sleep_until(now.plus(CONNECTION_MS_MAX));
        runtime.spawn(async move {
            or(attend(stream, &control), deadline).await;
            let _ = place.try_recv();
        });
    }
}

/// Reads one order, carries it out and answers.
async fn attend(mut stream: SmolStream, control: &Control) {
    let answer = match read_line(&mut stream).await {
        Ok(Some(line)) => match serde_json::from_slice(&line) {
            Ok(order) => carry_out(order, control).await,
            Err(error) => Answer::Error(format!("this is no order: {error}")),
        },
        Ok(None) => Answer::Error(format!("an order is one line of at most {ORDER_BYTES_MAX} bytes")),
        Err(_) => return, // nobody is there to be told
    };
    if let Ok(mut line) = serde_json::to_vec(&answer) {
        line.push(b'\n');
        // Whoever has left does not want to know.
        let _ = stream.write_all(&line).await;
        let _ = stream.close().await;
    }
}

/// One line without its end; nothing if it is too long or not whole.
async fn read_line(stream: &mut SmolStream) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let mut buffer = [0; ORDER_BYTES_MAX];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(None),
            length => line.extend_from_slice(&buffer[..length]),
        }
        if let Some(end) = line.iter().position(|&byte| byte == b'\n') {
            line.truncate(end);
            return Ok(Some(line));
        }
        if line.len() > ORDER_BYTES_MAX {
            return Ok(None);
        }
    }
}

async fn carry_out(order: Order, control: &Control) -> Answer {
    if !matches!(order, Order::Peers | Order::Stats) {
        info!(?order, "the operator gives an order");
    }
    let answer = match order {
        Order::Peers => peers(control).await,
        Order::Kick { name } => match control.operator.kick(&name).await {
            Some(Some(name)) => Some(Answer::Kicked(name.to_string())),
            Some(None) => Some(Answer::Error(format!("nobody is here as {name:?}"))),
            None => None,
        },
        Order::Ban { address } => match origin(&address) {
            Ok(origin) => control.operator.ban(origin).await.map(|()| Answer::Banned(origin.to_string())),
            Err(error) => Some(Answer::Error(error)),
        },
        Order::Unban { address } => match origin(&address) {
            Ok(origin) => control.operator.unban(origin).await.map(|()| Answer::Unbanned(origin.to_string())),
            Err(error) => Some(Answer::Error(error)),
        },
        Order::Stats => stats(control).await,
        Order::Drain => control.stop.try_send(Shutdown::Restart).ok().map(|()| Answer::Draining),
        Order::Reload => Some(match control.reloads.run().await {
            Ok(what) => Answer::Reloaded(what),
            Err(error) => Answer::Error(error),
        }),
    };
    answer.unwrap_or_else(|| Answer::Error("the server is stopping".to_owned()))
}

async fn peers(control: &Control) -> Option<Answer> {
    let peers = control.operator.peers().await?.into_iter().map(|peer| Peer {
        name: peer.name.to_string(),
        connection: peer.conn.0,
        address: peer.origin.to_string(),
    });
    Some(Answer::Peers(peers.collect()))
}

async fn stats(control: &Control) -> Option<Answer> {
    let figures = control.watch.figures().await?;
    let (told, counters) = (&figures.told, &figures.told.counters);
    #[expect(clippy::cast_precision_loss, reason = "it is exact for 285,000 years")]
    let uptime_seconds = told.now.0 as f64 / 1000.0;
    Some(Answer::Stats(Stats {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds,
        connections: told.connections,
        peers: told.peers,
        connections_accepted: counters.connected,
        logins: counters.logins,
        messages_received: counters.messages,
        messages_delivered: counters.deliveries,
        received_bytes: figures.received_bytes,
        sent_bytes: figures.sent_bytes,
        outbox_bytes: figures.outbox_bytes,
        draining: told.draining,
    }))
}

/// What an address is to limits: IPv4 addresses one by one, IPv6 by /64.
fn origin(address: &str) -> Result<Origin, String> {
    let network = address.parse::<IpNet>().or_else(|_| address.parse::<IpAddr>().map(IpNet::from));
    match network {
        Ok(network @ IpNet::V4(v4)) if v4.prefix_len() == 32 => Ok(Origin::of(network.addr())),
        Ok(network @ IpNet::V6(v6)) if matches!(v6.prefix_len(), 64 | 128) => Ok(Origin::of(network.addr())),
        Ok(_) => Err(format!("{address} is no single IPv4 address and no IPv6 /64: those can be banned")),
        Err(_) => Err(format!("{address:?} is no address: give one as `seriatim ctl peers` shows it")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_peers_shows_can_be_banned() {
        for address in ["192.0.2.1", "2001:db8:1:2::/64", "2001:db8:1:2::7"] {
            let origin = origin(address).unwrap();
            assert_eq!(self::origin(&origin.to_string()), Ok(origin), "{address} is shown as {origin}");
        }
        for address in ["192.0.2.0/24", "2001:db8::/32", "alice", "", "exempt"] {
            assert!(origin(address).is_err(), "{address}");
        }
    }
}
