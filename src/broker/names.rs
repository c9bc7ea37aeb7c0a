//! [`Names`]: who holds which name.

use core::hash::BuildHasher;

use hashbrown::HashTable;
use hashbrown::hash_table::OccupiedEntry;

use super::conn_map::ConnMap;
use super::event::ConnId;
use super::hash::TextHash;
use super::state::Conn;
use crate::protocol::Name;

/// The connections that hold a name, found by it. The name itself is with the connection, and is not here again.
#[derive(Clone, Debug)]
pub(super) struct Names {
    holders: HashTable<ConnId>,
    hash: TextHash,
}

fn name(conn: ConnId, conns: &ConnMap<Conn>) -> Option<&Name> {
    conns.get(conn)?.phase.name()
}

impl Names {
    pub(super) fn new(hash: TextHash) -> Names {
        Names { holders: HashTable::new(), hash }
    }

    pub(super) fn len(&self) -> usize {
        self.holders.len()
    }

    /// Who holds the name with this key.
    pub(super) fn holder(&self, key: &str, conns: &ConnMap<Conn>) -> Option<ConnId> {
        let holds = |conn: &ConnId| name(*conn, conns).is_some_and(|name| name.key() == key);
        self.holders.find(self.hash.hash_one(key), holds).copied()
    }

    /// This connection holds a name from now on that nobody held.
    pub(super) fn insert(&mut self, conn: ConnId, conns: &ConnMap<Conn>) {
        let Names { holders, hash } = self;
        let hash = |conn| name(conn, conns).map_or(0, |name| hash.hash_one(name.key()));
        holders.insert_unique(hash(conn), conn, |&conn| hash(conn));
    }

    /// It holds this name no more. Whether it did.
    pub(super) fn remove(&mut self, conn: ConnId, name: &Name) -> bool {
        let held = self.holders.find_entry(self.hash.hash_one(name.key()), |holder| *holder == conn);
        held.map(OccupiedEntry::remove).is_ok()
    }

    /// All of them, in no order.
    pub(super) fn iter<'a>(&'a self, conns: &'a ConnMap<Conn>) -> impl Iterator<Item = (&'a Name, ConnId)> {
        self.holders.iter().filter_map(|&conn| Some((name(conn, conns)?, conn)))
    }
}
