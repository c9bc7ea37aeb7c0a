//! [`ConnMap`]: something for each connection, found by its number.

use alloc::boxed::Box;

use hashbrown::HashMap;

use super::event::ConnId;

/// How many neighbours share a page.
const PAGE: usize = 8;

type Page<T> = [Option<T>; PAGE];

/// A map whose keys are connections. Most are idle and all are counted in bytes: a hash table keeps from an eighth to more than
/// half of its places free. Connections are numbered as they come, so that neighbours share a page, which has no place to spare
/// as long as all of them are there; and only pages are hashed. At worst, a page has been left to one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ConnMap<T> {
    /// None of them is empty.
    pages: HashMap<u64, Box<Page<T>>, foldhash::fast::FixedState>,
    len: usize,
}

impl<T> Default for ConnMap<T> {
    fn default() -> ConnMap<T> {
        ConnMap { pages: HashMap::default(), len: 0 }
    }
}

/// The page of a connection, and its place there.
fn place(ConnId(number): ConnId) -> (u64, usize) {
    #[expect(clippy::cast_possible_truncation, reason = "it is less than the size of a page")]
    let place = (number % PAGE as u64) as usize;
    (number / PAGE as u64, place)
}

impl<T> ConnMap<T> {
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    pub(crate) fn contains_key(&self, conn: ConnId) -> bool {
        self.get(conn).is_some()
    }

    pub(crate) fn get(&self, conn: ConnId) -> Option<&T> {
        let (page, place) = place(conn);
        self.pages.get(&page)?[place].as_ref()
    }

    pub(crate) fn get_mut(&mut self, conn: ConnId) -> Option<&mut T> {
        let (page, place) = place(conn);
        self.pages.get_mut(&page)?[place].as_mut()
    }

    /// What was there before goes.
    pub(crate) fn insert(&mut self, conn: ConnId, value: T) {
        let (page, place) = place(conn);
        let page = self.pages.entry(page).or_insert_with(|| Box::new([const { None }; PAGE]));
        self.len += usize::from(page[place].replace(value).is_none());
    }

    pub(crate) fn remove(&mut self, conn: ConnId) -> Option<T> {
        let (number, place) = place(conn);
        let page = self.pages.get_mut(&number)?;
        let removed = page[place].take()?;
        self.len -= 1;
        if page.iter().all(Option::is_none) {
            self.pages.remove(&number);
        }
        Some(removed)
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (ConnId, &T)> {
        self.pages.iter().flat_map(|(page, places)| {
            let number = move |place| ConnId(page * PAGE as u64 + place as u64);
            let places = places.iter().enumerate();
            places.filter_map(move |(place, value)| Some((number(place), value.as_ref()?)))
        })
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.iter().map(|(_, value)| value)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// It is a map, and equal maps are equal however they came to be so.
        #[test]
        fn it_does_what_another_map_does(inserts in prop::collection::vec((0..40_u64, prop::option::of(0..9_u8)), 0..100)) {
            let (mut map, mut other) = (ConnMap::default(), BTreeMap::new());
            for (conn, value) in inserts {
                // The last number there can be, and those before it, too.
                let conn = ConnId(if conn % 2 == 0 { conn } else { u64::MAX - conn });
                match value {
                    Some(value) => {
                        map.insert(conn, value);
                        other.insert(conn, value);
                    }
                    None => prop_assert_eq!(map.remove(conn), other.remove(&conn)),
                }
                prop_assert_eq!((map.len(), map.is_empty()), (other.len(), other.is_empty()));
                prop_assert_eq!((map.get(conn), map.contains_key(conn)), (other.get(&conn), other.contains_key(&conn)));
                prop_assert_eq!(map.get_mut(conn), other.get_mut(&conn));
            }
            prop_assert_eq!(map.iter().map(|(conn, value)| (conn, *value)).collect::<BTreeMap<_, _>>(), other.clone());
            prop_assert_eq!(map.values().count(), other.len());
            let mut again = ConnMap::default();
            other.iter().for_each(|(conn, value)| again.insert(*conn, *value));
            prop_assert_eq!(&map, &again);
            for conn in other.into_keys() {
                map.remove(conn);
            }
            prop_assert_eq!(map, ConnMap::default());
        }
    }
}
