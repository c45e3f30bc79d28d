//! Databases, and the view through which commands read and change them.
//!
//! [`Store`] is plain data; [`Db`] is a borrowed view of it with one database selected and the rules of key
//! access applied: expired keys are hidden or deleted ([`Expiry`]), hits and misses are counted, and every change
//! is recorded in [`Changes`]. The node reads `Changes` after each command: how much changed (`dirty`, for save
//! points), which watched or waited-for keys were touched, which keys expired on access (they must be deleted in
//! the stream too) and which keyspace events to publish. Commands never do those things themselves.
//!
//! Always: `volatile` equals the number of entries with an expiry.

use super::changes::{Changes, Events, Garbage};
use super::entry::Entry;
use super::partitions::{Item, Partitions, Place};
use super::string::{Str, Text};
use super::value::{Kind, NEVER, Type, Value, View};
use crate::error::ReplyError;

/// One numbered database.
#[derive(Clone, Default)]
pub struct Database {
    pub entries: Partitions<Entry>,
    /// Entries that have an expiry.
    pub volatile: usize,
    /// Where the active expiry sweep goes on.
    pub expire_cursor: usize,
}

/// What a past deadline means for this access.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Expiry {
    /// A primary that may write: the key is deleted and the deletion enters the stream.
    #[default]
    Delete,
    /// A replica's reader, or a started primary that is still silent (rule 12): the key looks absent, nothing changes.
    Hide,
    /// A client's write on a writable replica: the key is deleted here and in no stream. Deadlines that are set are
    /// noted, as no primary will say DEL for them.
    Local,
    /// Replay, and commands from upstream (rule 11): bytes alone decide, the key is there.
    Ignore,
}

/// The code of libraries of functions; shared between store and snapshots.
pub type Libraries = triomphe::Arc<Vec<Vec<u8>>>;

/// All databases.
pub struct Store {
    pub dbs: Vec<Database>,
    /// Libraries of functions, as the code they were loaded from.
    pub libraries: Libraries,
    pub changes: Changes,
}

/// The data as they were at one instant. Immutable, `Send`, cheap to take; costs memory only as the live store
/// moves away from it.
#[derive(Clone)]
pub struct Snapshot {
    pub dbs: Vec<Database>,
    pub libraries: Libraries,
}

impl Snapshot {
    /// Of a store without data: what a load fills.
    pub fn empty(databases: usize) -> Snapshot {
        Store::new(databases).snapshot()
    }
}

impl Store {
    pub fn new(databases: usize) -> Store {
        Store {
            dbs: vec![Database::default(); databases.max(1)],
            libraries: Libraries::default(),
            changes: Changes::default(),
        }
    }

    /// The data become those of `snapshot`; who is interested in which key stays.
    pub fn restore(&mut self, snapshot: Snapshot) {
        self.dbs = snapshot.dbs;
        self.libraries = snapshot.libraries;
    }

    pub fn snapshot(&self) -> Snapshot {
        Snapshot { dbs: self.dbs.clone(), libraries: self.libraries.clone() }
    }

    /// A view with database `index` selected. `now` in Unix milliseconds; `stamp` is the access stamp that
    /// reads leave on entries.
    pub fn db(&mut self, index: usize, now: i64, expiry: Expiry, stamp: u32) -> Db<'_> {
        Db { store: self, index, now, expiry, stamp, touch_access: true }
    }

    pub fn key_count(&self) -> usize {
        self.dbs.iter().map(|db| db.entries.len()).sum()
    }
}

impl Database {
    /// Inserts or replaces, keeping `volatile` right.
    pub fn put(&mut self, entry: Entry) -> Option<Entry> {
        self.volatile += usize::from(entry.expires() != NEVER);
        let old = self.entries.insert(entry);
        self.volatile -= usize::from(old.as_ref().is_some_and(|old| old.expires() != NEVER));
        old
    }

    /// Keeps count and attention time right after the expiry of the entry at `place` was changed.
    fn expires_changed(&mut self, place: Place, was: i64, now: i64) {
        self.volatile += usize::from(now != NEVER);
        self.volatile -= usize::from(was != NEVER);
        if now < was {
            self.entries.note_due(place, now);
        }
    }

    pub fn take(&mut self, key: &[u8]) -> Option<Entry> {
        let old = self.entries.remove(key)?;
        self.volatile -= usize::from(old.expires() != NEVER);
        Some(old)
    }
}

/// A view of the store for one command.
pub struct Db<'a> {
    store: &'a mut Store,
    index: usize,
    now: i64,
    expiry: Expiry,
    stamp: u32,
    /// Off for CLIENT NO-TOUCH, OBJECT and the like.
    pub touch_access: bool,
}

impl<'a> Db<'a> {
    pub fn index(&self) -> usize {
        self.index
    }

    /// Number of databases.
    pub fn count(&self) -> usize {
        self.store.dbs.len()
    }

    pub fn now(&self) -> i64 {
        self.now
    }

    pub fn expiry_mode(&self) -> Expiry {
        self.expiry
    }

    /// Selects another database of this view; the caller has checked the number.
    pub fn select(&mut self, index: usize) {
        debug_assert!(index < self.store.dbs.len());
        self.index = index;
    }

    pub fn changes(&mut self) -> &mut Changes {
        &mut self.store.changes
    }

    /// The whole store, for commands about all databases (SWAPDB, FLUSHALL, INFO, DEBUG DIGEST, BGSAVE).
    pub fn store(&mut self) -> &mut Store {
        self.store
    }

    fn database(&mut self) -> &mut Database {
        &mut self.store.dbs[self.index]
    }

    /// Raw table of the selected database, expired keys included.
    pub fn entries(&self) -> &Partitions<Entry> {
        &self.store.dbs[self.index].entries
    }

    /// Keys in the selected database, expired ones included (as DBSIZE counts).
    pub fn len(&self) -> usize {
        self.entries().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    // ---- reading ----

    fn is_past(&self, expires: i64) -> bool {
        expires <= self.now && self.expiry != Expiry::Ignore
    }

    /// Whether the entry's deadline has passed, as far as this view is concerned.
    pub fn has_passed(&self, entry: &Entry) -> bool {
        self.is_past(entry.expires())
    }

    /// The entry as any reader may see it: `None` when absent or expired. Counts nothing, changes nothing.
    pub fn peek(&self, key: &[u8]) -> Option<&Entry> {
        self.entries().get(key).filter(|entry| !self.has_passed(entry))
    }

    /// Where the live entry of `key` is. One whose deadline has passed is deleted, if this view may delete.
    fn locate(&mut self, key: &[u8]) -> Option<Place> {
        let entries = self.entries();
        let place = entries.find(key)?;
        if !self.is_past(entries.at(place)?.expires()) {
            return Some(place);
        }
        if matches!(self.expiry, Expiry::Delete | Expiry::Local) {
            self.expire(key);
        }
        None
    }

    fn at(&self, place: Place) -> Option<&Entry> {
        self.entries().at(place)
    }

    /// Deletes a key whose deadline has passed: recorded for the stream (but with [`Expiry::Local`]), counted and
    /// announced.
    pub fn expire(&mut self, key: &[u8]) {
        let local = self.expiry == Expiry::Local;
        if let Some(entry) = self.database().take(key) {
            let db = self.index as u32;
            let changes = &mut self.store.changes;
            changes.stats.expired += 1;
            if !local {
                changes.expired.push((db, key.to_vec()));
            }
            changes.touch(db, key);
            changes.notify(Events::EXPIRED, "expired", db, key);
            self.discard(entry);
        }
    }

    /// A reader's lookup: expires, counts hit or miss, stamps the access.
    pub fn read(&mut self, key: &[u8]) -> Option<View<'_>> {
        self.read_entry(key).map(Entry::value)
    }

    /// Like [`Db::read`], with expiry and access stamp.
    pub fn read_entry(&mut self, key: &[u8]) -> Option<&Entry> {
        let (stamp, touch) = (self.stamp, self.touch_access);
        let entry = self.inspect(key)?;
        if touch {
            entry.set_access(stamp);
        }
        Some(entry)
    }

    /// Like [`Db::read_entry`], but leaves no stamp: for what asks about the key, not for its value.
    pub fn inspect(&mut self, key: &[u8]) -> Option<&Entry> {
        let place = self.locate(key);
        let changes = &mut self.store.changes;
        match place {
            Some(_) => changes.stats.hits += 1,
            None => {
                changes.stats.misses += 1;
                changes.notify(Events::KEY_MISS, "keymiss", self.index as u32, key);
            }
        }
        self.at(place?)
    }

    /// A reader's lookup of a value that must be a `T`.
    pub fn read_as<T: Kind>(&mut self, key: &[u8]) -> Result<Option<&T>, ReplyError> {
        self.read(key).map(View::expect).transpose()
    }

    /// A reader's lookup of a value that must be a string.
    pub fn read_text(&mut self, key: &[u8]) -> Result<Option<Text<'_>>, ReplyError> {
        self.read(key).map(View::text).transpose()
    }

    pub fn exists(&mut self, key: &[u8]) -> bool {
        self.locate(key).is_some()
    }

    /// TYPE without side effects on statistics.
    pub fn type_of(&mut self, key: &[u8]) -> Option<Type> {
        let place = self.locate(key)?;
        self.at(place).map(|entry| entry.value().kind())
    }

    /// Unix milliseconds, [`NEVER`] without expiry, `None` without key.
    pub fn expires(&mut self, key: &[u8]) -> Option<i64> {
        let place = self.locate(key)?;
        self.at(place).map(Entry::expires)
    }

    // ---- changing ----

    fn write_entry(&mut self, key: &[u8]) -> Option<&mut Entry> {
        let place = self.locate(key)?;
        let (stamp, touch) = (self.stamp, self.touch_access);
        let entry = self.database().entries.at_mut(place)?;
        if touch {
            entry.set_access(stamp);
        }
        Some(entry)
    }

    /// A writer's lookup of a collection that must be a `T`, for change in place (copied first where a snapshot shares it).
    /// The caller then reports with [`Db::changed`], and [`Db::remove_if_empty`].
    pub fn write_as<T: Kind>(&mut self, key: &[u8]) -> Result<Option<&mut T>, ReplyError> {
        self.write_entry(key).map(|entry| entry.value_mut().ok_or(ReplyError::WRONG_TYPE)).transpose()
    }

    /// A writer's lookup of a value that must be a string, for [`Entry::buffer`] or [`Entry::set_int`]. The caller then
    /// reports with [`Db::changed`].
    pub fn write_string(&mut self, key: &[u8]) -> Result<Option<&mut Entry>, ReplyError> {
        match self.write_entry(key) {
            Some(entry) if entry.value().kind() != Type::Str => Err(ReplyError::WRONG_TYPE),
            found => Ok(found),
        }
    }

    /// The value of type `T` at `key` for change, made by `empty` if absent.
    pub fn write_or_create<T: Kind>(
        &mut self,
        key: &[u8],
        empty: impl FnOnce() -> T,
    ) -> Result<&mut T, ReplyError> {
        if self.write_as::<T>(key)?.is_none() {
            self.add(key, empty().wrap(), NEVER);
        }
        self.write_as::<T>(key)?.ok_or(ReplyError::WRONG_TYPE)
    }

    /// The string at `key` as a growable buffer, made empty if absent.
    pub fn buffer_or_create(&mut self, key: &[u8]) -> Result<&mut Vec<u8>, ReplyError> {
        if self.write_string(key)?.is_none() {
            self.add(key, Str::from_vec(Vec::new()).wrap(), NEVER);
        }
        self.write_string(key)?.and_then(Entry::buffer).ok_or(ReplyError::WRONG_TYPE)
    }

    /// Reports that `key` was changed, by `count` of Redis' dirty units.
    pub fn changed(&mut self, key: &[u8], count: u64) {
        self.store.changes.dirty += count;
        let db = self.index as u32;
        self.store.changes.touch(db, key);
    }

    /// Queues a keyspace event for `key` if somebody listens.
    pub fn notify(&mut self, class: Events, name: &'static str, key: &[u8]) {
        let db = self.index as u32;
        self.store.changes.notify(class, name, db, key);
    }

    /// Stores `value` at `key` whatever was there; the expiry goes, too (SET). Reports one change.
    pub fn set(&mut self, key: &[u8], value: Value) {
        self.set_with_expiry(key, value, NEVER);
    }

    /// Stores `value` and keeps the key's expiry (SET KEEPTTL, INCR). Reports one change.
    pub fn set_keep_expiry(&mut self, key: &[u8], value: Value) {
        let expires = self.expires(key).unwrap_or(NEVER);
        self.set_with_expiry(key, value, expires);
    }

    /// Stores `value` with `expires` (Unix milliseconds or [`NEVER`]). Reports one change.
    pub fn set_with_expiry(&mut self, key: &[u8], value: Value, expires: i64) {
        self.add(key, value, expires);
        self.changed(key, 1);
    }

    /// Stores a string as SET does, in the place of one of the same length if there is one: overwriting values is what
    /// many servers do all day. Reports one change.
    pub fn set_string(&mut self, key: &[u8], bytes: &[u8], expires: i64) {
        let place = self.place_for(key);
        if !place.is_some_and(|place| self.overwrite(place, bytes, expires)) {
            self.add_at(place, Entry::string(key, bytes, expires, self.stamp));
        }
        self.note_local_deadline(key, expires);
        self.changed(key, 1);
    }

    fn overwrite(&mut self, place: Place, bytes: &[u8], expires: i64) -> bool {
        let (stamp, database) = (self.stamp, &mut self.store.dbs[self.index]);
        let Some(entry) = database.entries.at_mut(place) else { return false };
        let was = entry.expires();
        if !entry.overwrite(bytes, expires) {
            return false;
        }
        entry.set_access(stamp);
        database.expires_changed(place, was, expires);
        true
    }

    /// See [`Changes::local_deadlines`].
    fn note_local_deadline(&mut self, key: &[u8], expires: i64) {
        if self.expiry == Expiry::Local && expires != NEVER {
            self.store.changes.local_deadlines.push((self.index as u32, key.to_vec()));
        }
    }

    fn add(&mut self, key: &[u8], value: Value, expires: i64) {
        let place = self.place_for(key);
        self.add_at(place, Entry::new(key, value, expires, self.stamp));
        self.note_local_deadline(key, expires);
    }

    /// Where the entry of `key` is that a new value replaces, be it only hidden because its deadline has passed.
    fn place_for(&mut self, key: &[u8]) -> Option<Place> {
        let place = self.locate(key);
        if place.is_none() && self.expiry == Expiry::Hide { self.entries().find(key) } else { place }
    }

    /// Puts the entry at `place`, which is that of its key, or adds it.
    fn add_at(&mut self, place: Option<Place>, entry: Entry) {
        let database = &mut self.store.dbs[self.index];
        let Some(place) = place else {
            self.store.changes.notify(Events::NEW, "new", self.index as u32, entry.key());
            database.volatile += usize::from(entry.expires() != NEVER);
            database.entries.add(entry);
            return;
        };
        let Some(there) = database.entries.at_mut(place) else { return };
        let expires = entry.expires();
        let old = std::mem::replace(there, entry);
        database.expires_changed(place, old.expires(), expires);
        self.discard(old);
    }

    /// Sets or (with [`NEVER`]) takes away the expiry of an existing key. Reports nothing: the command decides.
    pub fn set_expires(&mut self, key: &[u8], expires: i64) -> bool {
        let Some(place) = self.locate(key) else { return false };
        let database = self.database();
        let Some(entry) = database.entries.at_mut(place) else { return false };
        let was = entry.expires();
        entry.set_expires(expires);
        database.expires_changed(place, was, expires);
        self.note_local_deadline(key, expires);
        true
    }

    /// Removes the key and reports one change. A key whose deadline has passed counts as absent.
    pub fn remove(&mut self, key: &[u8]) -> Option<Entry> {
        self.locate(key)?;
        let entry = self.database().take(key)?;
        self.changed(key, 1);
        Some(entry)
    }

    /// Removes the key, its value freed elsewhere if that is expensive. Reports one change; true if it was there.
    pub fn delete(&mut self, key: &[u8]) -> bool {
        let removed = self.remove(key);
        let existed = removed.is_some();
        if let Some(entry) = removed {
            self.discard(entry);
        }
        existed
    }

    /// Removes the key if its collection has become empty, with the `del` event; no change is counted, since
    /// the command that emptied it has reported its own. True if it was removed.
    pub fn remove_if_empty(&mut self, key: &[u8]) -> bool {
        let empty = self.entries().get(key).is_some_and(|entry| entry.value().is_empty());
        if empty {
            self.database().take(key);
            self.notify(Events::GENERIC, "del", key);
        }
        empty
    }

    /// Moves an entry, deadline included, to another name or database, replacing what is there. Reports one change.
    pub fn relocate(&mut self, key: &[u8], to_db: usize, to_key: &[u8]) {
        let Some(entry) = self.remove(key) else { return };
        let expires = entry.expires();
        let from_db = std::mem::replace(&mut self.index, to_db);
        self.add(to_key, entry.to_value(), expires);
        self.changed(to_key, 0);
        self.index = from_db;
    }

    /// Takes all keys out of a database. Every one of them is a change.
    pub fn flush(&mut self, index: usize) {
        self.touch_all(index, index);
        let emptied = std::mem::take(&mut self.store.dbs[index]);
        self.store.changes.dirty += emptied.entries.len() as u64;
        if !emptied.entries.is_empty() {
            self.store.changes.garbage.push(Garbage::Keys(emptied.entries));
        }
    }

    /// Exchanges two databases. Reports one change.
    pub fn swap(&mut self, one: usize, other: usize) {
        self.store.changes.dirty += 1;
        if one != other {
            self.touch_all(one, other);
            self.touch_all(other, one);
            self.store.dbs.swap(one, other);
        }
    }

    /// Touches the keys of interest of database `index` that exist there or in the one that takes its place.
    fn touch_all(&mut self, index: usize, replacement: usize) {
        let Store { dbs, changes, .. } = &mut *self.store;
        let concerned = changes.interest.keys().filter(|(db, key)| {
            *db as usize == index && [index, replacement].iter().any(|at| dbs[*at].entries.contains(key))
        });
        changes.touched.extend(concerned.cloned());
    }

    /// Puts a whole entry in place (RENAME, COPY, RESTORE, load), replacing what is there. Reports one change.
    pub fn put(&mut self, key: &[u8], value: Value, expires: i64) {
        self.set_with_expiry(key, value, expires);
    }

    /// Hands what may be expensive to free to another thread.
    pub fn discard(&mut self, garbage: impl Into<Garbage>) {
        let garbage = garbage.into();
        if garbage.is_expensive() {
            self.store.changes.garbage.push(garbage);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Value {
        Value::Str(Str::new(text.as_bytes()))
    }

    #[test]
    fn a_string_of_the_same_length_takes_the_place_of_the_old_one() {
        let (old, new) = ("o".repeat(40), "n".repeat(40));
        let mut store = Store::new(1);
        let at = |store: &mut Store| {
            let mut db = store.db(0, 100, Expiry::Delete, 0);
            let Ok(Some(Text::Bytes(text))) = db.read_text(b"k") else { panic!("not bytes") };
            (text.as_ptr(), String::from_utf8_lossy(text).into_owned())
        };
        store.db(0, 100, Expiry::Delete, 0).set_string(b"k", old.as_bytes(), 200);
        let first = at(&mut store);
        store.db(0, 100, Expiry::Delete, 0).set_string(b"k", new.as_bytes(), 300);
        assert_eq!(at(&mut store), (first.0, new.clone()));
        store.db(0, 100, Expiry::Delete, 0).set_string(b"k", new.as_bytes(), NEVER);
        assert_eq!(at(&mut store).1, new.clone());
        assert_eq!((store.dbs[0].volatile, store.changes.dirty), (0, 3));

        // What a snapshot holds stays what it was.
        let snapshot = store.snapshot();
        store.db(0, 100, Expiry::Delete, 0).set_string(b"k", old.as_bytes(), NEVER);
        assert_eq!(at(&mut store).1, old);
        let mut then = Store::new(1);
        then.restore(snapshot);
        assert_eq!(at(&mut then).1, new);

        for other in ["12345678901234567890", "short", "y", "-1"] {
            store.db(0, 100, Expiry::Delete, 0).set_string(b"k", other.as_bytes(), 150);
            let mut db = store.db(0, 100, Expiry::Delete, 0);
            let text = db.read_text(b"k").unwrap().unwrap();
            let fresh = Str::new(other.as_bytes());
            assert_eq!((text.to_vec(), text.encoding()), (fresh.view().to_vec(), fresh.view().encoding()));
            assert_eq!(db.expires(b"k"), Some(150));
        }

        // Hidden because its deadline has passed: replaced all the same.
        store.db(0, 200, Expiry::Hide, 0).set_string(b"k", old.as_bytes(), NEVER);
        assert_eq!((at(&mut store).1, store.key_count(), store.dbs[0].volatile), (old, 1, 0));
    }

    #[test]
    fn a_passed_deadline_by_mode() {
        let check = |mode, visible, left, recorded| {
            let mut store = Store::new(1);
            store.db(0, 100, Expiry::Ignore, 0).set_with_expiry(b"k", value("v"), 50);
            let mut db = store.db(0, 100, mode, 0);
            assert_eq!(db.read(b"k").is_some(), visible, "{mode:?}");
            assert_eq!((db.len(), db.changes().expired.len()), (left, recorded), "{mode:?}");
        };
        check(Expiry::Delete, false, 0, 1);
        check(Expiry::Hide, false, 1, 0);
        check(Expiry::Local, false, 0, 0);
        check(Expiry::Ignore, true, 1, 0);
    }

    #[test]
    fn volatile_counts_entries_with_expiry() {
        let mut store = Store::new(1);
        let mut db = store.db(0, 0, Expiry::Delete, 0);
        db.set_with_expiry(b"a", value("1"), 10);
        db.set_with_expiry(b"a", value("2"), 20);
        db.set_with_expiry(b"b", value("1"), 30);
        db.set_expires(b"b", NEVER);
        db.set(b"c", value("1"));
        db.set_expires(b"c", 5);
        assert_eq!(db.store().dbs[0].volatile, 2);
        db.remove(b"a");
        db.set(b"c", value("2"));
        assert_eq!(store.dbs[0].volatile, 0);
    }

    #[test]
    fn only_keys_of_interest_are_recorded_as_touched() {
        let mut store = Store::new(1);
        store.changes.watch(0, b"k");
        let mut db = store.db(0, 0, Expiry::Delete, 0);
        db.set(b"other", value("1"));
        db.set(b"k", value("1"));
        assert_eq!(store.changes.touched, vec![(0, b"k".to_vec())]);
        store.changes.unwatch(0, b"k");
        assert!(store.changes.interest.is_empty());
    }
}
