//! The target `session`: several clients talk to the whole core, and each line that anybody sees is one of the protocol's.

use std::collections::BTreeMap;

use arbitrary::Arbitrary;
use seriatim::{ConnId, Event, Limits, Origin};

use super::common::world::{Seen, World};
use super::said::{Said, said};
use super::step::names_are_held_once;

/// What some clients do, under narrow limits.
#[derive(Arbitrary, Debug, PartialEq)]
pub struct Traffic<'a> {
    /// Connections close as soon as the broker says so; if not, they close with [`Op::Reset`].
    pub obedient: bool,
    pub line_bytes_max: u8,
    pub recipients_max: u8,
    pub ops: Vec<Op<'a>>,
}

impl Traffic<'_> {
    pub fn limits(&self) -> Limits {
        Limits {
            line_bytes_max: self.line_bytes_max.into(),
            recipients_max: self.recipients_max.into(),
            ..Limits::default()
        }
    }
}

/// What happens next. Each client has a number; one that is not connected connects first.
#[derive(Arbitrary, Clone, Copy, Debug, PartialEq)]
pub enum Op<'a> {
    Send(u8, &'a [u8]),
    Eof(u8),
    Reset(u8),
    Overflow(u8),
    Pass(u16),
    Stop,
}

/// How many clients there are.
pub const CLIENTS: u8 = 8;

/// What one connection has seen.
#[derive(Default)]
struct Mailbox {
    name: Option<String>,
    /// How many peers a list began to list, and how many are still to come.
    listing: Option<(usize, usize)>,
    bye: bool,
    closed: bool,
    aborted: bool,
}

/// Plays the traffic and looks at every line and, after each step, at the state.
pub fn session(traffic: &Traffic) {
    let mut world = World::new(traffic.limits());
    world.obedient = traffic.obedient;
    let mut conns: BTreeMap<u8, ConnId> = BTreeMap::new();
    let mut mailboxes: BTreeMap<ConnId, Mailbox> = BTreeMap::new();
    for op in &traffic.ops {
        let actor = play(&mut world, &mut conns, op);
        for (conn, seen) in world.take_seen() {
            // Only one client did something, so all that is said is said in its name.
            let from = see(mailboxes.entry(conn).or_default(), &seen, &world.limits);
            let speaker = actor.and_then(|actor| mailboxes.get(&actor)?.name.as_deref());
            assert!(from.is_none() || from.as_deref() == speaker, "{from:?} is not {speaker:?}");
        }
        assert!(mailboxes.values().all(|mailbox| mailbox.listing.is_none()), "a list is not complete");
        names_are_held_once(&world.state, mailboxes.keys().copied());
    }
}

/// Lets one client do what it does, and says who that is.
fn play(world: &mut World, conns: &mut BTreeMap<u8, ConnId>, op: &Op) -> Option<ConnId> {
    let client = match *op {
        Op::Send(client, _) | Op::Eof(client) | Op::Reset(client) | Op::Overflow(client) => client % CLIENTS,
        Op::Pass(ms) => {
            world.pass(ms.into());
            let now = world.state.now();
            assert!(world.state.next_deadline().is_none_or(|at| at > now), "a deadline was missed");
            return None;
        }
        Op::Stop => {
            world.tell(Event::ShutdownRequested);
            return None;
        }
    };
    let conn = match conns.get(&client) {
        Some(&conn) if world.is_connected(conn) => conn,
        _ => world.connect(Origin::Exempt),
    };
    conns.insert(client, conn);
    if !world.is_connected(conn) {
        return None; // the server is going away
    }
    match op {
        Op::Send(_, bytes) => world.send(conn, bytes),
        Op::Eof(_) => world.end_input(conn),
        Op::Reset(_) => world.disconnect(conn),
        Op::Overflow(_) => world.tell(Event::OutboxOverflowed(conn)),
        Op::Pass(_) | Op::Stop => {}
    }
    Some(conn)
}

/// One client sees something; who has sent it, if it is a message.
fn see(mailbox: &mut Mailbox, seen: &Seen, limits: &Limits) -> Option<String> {
    assert!(!mailbox.aborted, "something comes behind the end: {seen:?}");
    let line = match seen {
        Seen::Line(line) => said(line, limits),
        Seen::Closed => {
            assert!(!mailbox.closed, "closed twice");
            mailbox.closed = true;
            return None;
        }
        Seen::Aborted => {
            mailbox.aborted = true;
            return None;
        }
    };
    assert!(!mailbox.closed && !mailbox.bye, "a line comes behind the last: {seen:?}");
    let is_greeted = mailbox.name.is_some();
    assert!(
        is_greeted || matches!(line, Said::Welcome(_) | Said::Error | Said::Bye),
        "before login: {seen:?}"
    );
    assert!(mailbox.listing.is_none() || matches!(line, Said::Peers(..)), "in a list: {seen:?}");
    match line {
        Said::Welcome(name) => {
            assert!(!is_greeted, "welcome twice");
            mailbox.name = Some(name.to_owned());
        }
        Said::From(name) => return Some(name.to_owned()),
        Said::Peers(count, listed) => {
            let (promised, missing) = mailbox.listing.unwrap_or((count, count));
            assert!(count == promised && listed <= missing, "{seen:?}");
            mailbox.listing = (listed < missing).then(|| (count, missing - listed));
        }
        Said::Bye => mailbox.bye = true,
        Said::Error | Said::Pong | Said::Help => {}
    }
    None
}
