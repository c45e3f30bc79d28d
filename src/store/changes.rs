//! What commands did to the data, as far as somebody beside them wants to know.
//!
//! [`Db`](super::Db) records it while commands run, and the node takes it after each of them: nothing here acts by itself.
//! Keys are recorded as touched only if somebody watches or waits for them, and events only if their class was asked for, so
//! that a store that nobody looks at pays for a comparison.

use super::entry::Entry;
use super::hash::Map;
use super::partitions::Partitions;
use super::string::Text;
use super::value::{Value, View};

/// Classes of keyspace events.
pub use crate::config::KeyspaceEvents as Events;

/// A keyspace event to publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    pub class: Events,
    pub name: &'static str,
    pub db: u32,
    pub key: Vec<u8>,
}

/// What commands did, for the node to act on after each of them.
#[derive(Default)]
pub struct Changes {
    /// Changes since the counter was last taken (Redis' `dirty`).
    pub dirty: u64,
    /// Keys that somebody watches or waits for, with the number of those interested.
    pub interest: Map<(u32, Vec<u8>), u32>,
    /// Keys of `interest` that were changed.
    pub touched: Vec<(u32, Vec<u8>)>,
    /// Keys deleted because their deadline had passed: the stream must say DEL before the command.
    pub expired: Vec<(u32, Vec<u8>)>,
    /// Keys that were given a deadline with [`Expiry::Local`](super::Expiry::Local).
    pub local_deadlines: Vec<(u32, Vec<u8>)>,
    /// Which event classes anybody asked for.
    pub notify: Events,
    pub events: Vec<Event>,
    /// Values that are expensive to free, for another thread.
    pub garbage: Vec<Garbage>,
    /// FLUSHDB, FLUSHALL and SWAPDB touch whole databases: their numbers.
    pub touched_dbs: Vec<u32>,
    pub stats: AccessStats,
}

/// Something to be freed.
pub enum Garbage {
    Value(Value),
    Entry(Entry),
    /// All keys of a flushed database.
    Keys(Partitions<Entry>),
}

impl Garbage {
    /// Values in it.
    pub fn objects(&self) -> u64 {
        match self {
            Garbage::Value(_) | Garbage::Entry(_) => 1,
            Garbage::Keys(entries) => entries.len() as u64,
        }
    }

    pub(super) fn is_expensive(&self) -> bool {
        let value = match self {
            Garbage::Value(value) => value.view(),
            Garbage::Entry(entry) => entry.value(),
            Garbage::Keys(entries) => return !entries.is_empty(),
        };
        match value {
            View::Str(Text::Int(_)) => false,
            View::Str(text) => text.len() > 64 * 1024,
            View::Stream(_) => true,
            collection => collection.elements() > 64,
        }
    }
}

impl From<Value> for Garbage {
    fn from(value: Value) -> Garbage {
        Garbage::Value(value)
    }
}

impl From<Entry> for Garbage {
    fn from(entry: Entry) -> Garbage {
        Garbage::Entry(entry)
    }
}

/// INFO stats that key access maintains.
#[derive(Clone, Copy, Debug, Default)]
pub struct AccessStats {
    pub hits: u64,
    pub misses: u64,
    pub expired: u64,
}

impl Changes {
    pub fn watch(&mut self, db: u32, key: &[u8]) {
        *self.interest.entry((db, key.to_vec())).or_default() += 1;
    }

    pub fn unwatch(&mut self, db: u32, key: &[u8]) {
        let id = (db, key.to_vec());
        if let Some(count) = self.interest.get_mut(&id) {
            *count -= 1;
            if *count == 0 {
                self.interest.remove(&id);
            }
        }
    }

    /// Queues an event if somebody asked for its class.
    pub fn notify(&mut self, class: Events, name: &'static str, db: u32, key: &[u8]) {
        if self.notify.contains(class) && self.notify.intersects(Events::KEYSPACE | Events::KEYEVENT) {
            self.events.push(Event { class, name, db, key: key.to_vec() });
        }
    }

    /// Drops what only those who look on would want to know: while data are recovered there are none.
    pub fn forget(&mut self) {
        self.touched.clear();
        self.touched_dbs.clear();
        self.events.clear();
        self.garbage.clear();
    }

    pub(super) fn touch(&mut self, db: u32, key: &[u8]) {
        if !self.interest.is_empty() && self.interest.contains_key(&(db, key.to_vec())) {
            self.touched.push((db, key.to_vec()));
        }
    }
}
