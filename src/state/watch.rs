//! Who watches which key (WATCH), and who waits for which key (BLPOP and the like).
//!
//! Both are sets of sessions by (database, key). `Changes::interest` in the store counts them together, so that a
//! write pays one look-up only while anybody is interested in anything; the node asks here who it was.

use std::collections::VecDeque;

use super::session::Slot;
use crate::store::hash::Map;

#[derive(Default)]
pub struct Watchers {
    by_key: Map<(u32, Vec<u8>), Vec<Slot>>,
}

impl Watchers {
    /// `false` if this session watches the key already.
    pub fn add(&mut self, db: u32, key: &[u8], slot: Slot) -> bool {
        let slots = self.by_key.entry((db, key.to_vec())).or_default();
        let new = !slots.contains(&slot);
        if new {
            slots.push(slot);
        }
        new
    }

    pub fn remove(&mut self, db: u32, key: &[u8], slot: Slot) {
        let id = (db, key.to_vec());
        if let Some(slots) = self.by_key.get_mut(&id) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_key.remove(&id);
            }
        }
    }

    pub fn of(&self, id: &(u32, Vec<u8>)) -> &[Slot] {
        self.by_key.get(id).map_or(&[], Vec::as_slice)
    }

    /// Everything that is watched.
    pub fn all(&self) -> Vec<(u32, Vec<u8>)> {
        self.by_key.keys().cloned().collect()
    }

    /// All watched keys of one database, for FLUSHDB and SWAPDB.
    pub fn in_db(&self, db: u32) -> impl Iterator<Item = (&[u8], &[Slot])> {
        self.by_key.iter().filter(move |(id, _)| id.0 == db).map(|(id, slots)| (&*id.1, &**slots))
    }
}

/// Sessions waiting for keys, first come first served.
#[derive(Default)]
pub struct Waiters {
    by_key: Map<(u32, Vec<u8>), VecDeque<Slot>>,
}

impl Waiters {
    pub fn add(&mut self, db: u32, key: &[u8], slot: Slot) {
        self.by_key.entry((db, key.to_vec())).or_default().push_back(slot);
    }

    pub fn remove(&mut self, db: u32, key: &[u8], slot: Slot) {
        let id = (db, key.to_vec());
        if let Some(slots) = self.by_key.get_mut(&id) {
            slots.retain(|other| *other != slot);
            if slots.is_empty() {
                self.by_key.remove(&id);
            }
        }
    }

    /// Those waiting for the key now, in order.
    pub fn of(&self, id: &(u32, Vec<u8>)) -> Vec<Slot> {
        self.by_key.get(id).map(|slots| slots.iter().copied().collect()).unwrap_or_default()
    }

    pub fn keys_in_db(&self, db: u32) -> Vec<(u32, Vec<u8>)> {
        self.by_key.keys().filter(|id| id.0 == db).cloned().collect()
    }
}
