//! The entry: one key with all that belongs to it, in one counted allocation.
//!
//! ```text
//! count 8 │ Head 16: kind, whether it has a deadline, access stamp, one word of value │ [deadline 8] key [text]
//! ```
//!
//! | kind | the word | text behind the key |
//! |---|---|---|
//! | `Text` | the key's length | the string |
//! | `Int` | the number | – |
//! | `Blob` | a counted pointer to bytes of their own | – |
//! | `Buf` and the collections | a counted pointer | – |
//!
//! The table holds the pointer and the length of the tail, sixteen bytes. So `SET key:000000000001 12` costs one block of
//! 48 bytes and a share of the table (about 20), where Redis spends a dictEntry, a key string, a value object and a
//! bucket; a value of 100 bytes costs one block of 160, and reading it one cache miss less than two blocks would. Whether a
//! string lies behind its key or in a block of its own is decided by which takes less of the allocator's sizes
//! ([`allocation_size`]), up to [`LONGEST_TEXT`]: copying an entry that a snapshot shares must stay cheap.
//!
//! A string of the same length is replaced in place, and so is a number; else a new value is a new entry. The length
//! stands in the pointer and not in the block (a thin pointer), because only so the word can be borrowed for change
//! without `unsafe`; it costs the same in the table as it would save in the block.
//!
//! The access stamp is atomic and changed through a shared reference: reading a key must not copy an entry only
//! because a snapshot holds it too. It is never persisted and takes no part in equality of data.
//!
//! Always: a tail of an entry with a deadline begins with it; a `Text`'s key is not longer than a u16 can say.

use std::sync::atomic::{AtomicU32, Ordering};

use triomphe::{Arc, HeaderSlice, ThinArc};

use super::partitions::Item;
use super::string::{LONGEST_INT, Text};
use super::value::{Kind, NEVER, Value, View};
use super::{Hash, List, Set, Str, Stream, Zset};
use crate::resp::number::parse_i64;
use crate::units::allocation_size;

/// Strings beyond this always have a block of their own.
const LONGEST_TEXT: usize = 4096;
const DEADLINE: usize = size_of::<i64>();

pub enum Head {
    Text { volatile: bool, key_len: u16, access: AtomicU32 },
    Int { volatile: bool, access: AtomicU32, number: i64 },
    Blob { volatile: bool, access: AtomicU32, bytes: ThinArc<(), u8> },
    Buf { volatile: bool, access: AtomicU32, buf: Arc<Vec<u8>> },
    List { volatile: bool, access: AtomicU32, list: Arc<List> },
    Hash { volatile: bool, access: AtomicU32, hash: Arc<Hash> },
    Set { volatile: bool, access: AtomicU32, set: Arc<Set> },
    Zset { volatile: bool, access: AtomicU32, zset: Arc<Zset> },
    Stream { volatile: bool, access: AtomicU32, stream: Arc<Stream> },
}

const _: () = assert!(size_of::<Head>() == 16 && size_of::<Entry>() == 16);

/// A field that every kind has.
macro_rules! common {
    ($head:expr, $field:ident) => {
        match $head {
            Head::Text { $field, .. }
            | Head::Int { $field, .. }
            | Head::Blob { $field, .. }
            | Head::Buf { $field, .. }
            | Head::List { $field, .. }
            | Head::Hash { $field, .. }
            | Head::Set { $field, .. }
            | Head::Zset { $field, .. }
            | Head::Stream { $field, .. } => $field,
        }
    };
}

/// One key with all that belongs to it. Cloning shares.
#[derive(Clone)]
pub struct Entry(Arc<HeaderSlice<Head, [u8]>>);

impl Entry {
    /// Bytes of count and head, before the tail.
    pub const FIXED: usize = 8 + size_of::<Head>();

    /// `expires` in Unix milliseconds, [`NEVER`] for none; `access` is an LRU or LFU stamp.
    pub fn new(key: &[u8], value: Value, expires: i64, access: u32) -> Entry {
        let volatile = expires != NEVER;
        let access = AtomicU32::new(access);
        let head = match value {
            Value::Str(Str::Short { len, bytes }) => {
                return Entry::of_text(key, &bytes[..len as usize], expires, access.into_inner());
            }
            Value::Str(Str::Blob(bytes)) if lies_behind(key, &bytes.slice, volatile) => {
                return Entry::of_text(key, &bytes.slice, expires, access.into_inner());
            }
            Value::Str(Str::Int(number)) => Head::Int { volatile, access, number },
            Value::Str(Str::Blob(bytes)) => Head::Blob { volatile, access, bytes },
            Value::Str(Str::Buf(buf)) => Head::Buf { volatile, access, buf },
            Value::List(list) => Head::List { volatile, access, list },
            Value::Hash(hash) => Head::Hash { volatile, access, hash },
            Value::Set(set) => Head::Set { volatile, access, set },
            Value::Zset(zset) => Head::Zset { volatile, access, zset },
            Value::Stream(stream) => Head::Stream { volatile, access, stream },
        };
        Entry::assemble(head, expires, key, &[])
    }

    /// A string as SET stores it: an integer if `bytes` are exactly its decimal text.
    pub fn string(key: &[u8], bytes: &[u8], expires: i64, access: u32) -> Entry {
        match number(bytes) {
            Some(n) => Entry::new(key, Value::Str(Str::Int(n)), expires, access),
            None => Entry::of_text(key, bytes, expires, access),
        }
    }

    fn of_text(key: &[u8], bytes: &[u8], expires: i64, access: u32) -> Entry {
        let (volatile, access) = (expires != NEVER, AtomicU32::new(access));
        match u16::try_from(key.len()) {
            Ok(key_len) if lies_behind(key, bytes, volatile) => {
                Entry::assemble(Head::Text { volatile, key_len, access }, expires, key, bytes)
            }
            _ => {
                let bytes = ThinArc::from_header_and_slice((), bytes);
                Entry::assemble(Head::Blob { volatile, access, bytes }, expires, key, &[])
            }
        }
    }

    fn assemble(head: Head, expires: i64, key: &[u8], text: &[u8]) -> Entry {
        let deadline = expires.to_le_bytes();
        let deadline = if expires == NEVER { &[][..] } else { &deadline };
        let len = deadline.len() + key.len() + text.len();
        if len == key.len() {
            return Entry(Arc::from_header_and_slice(head, key));
        }
        let mut short = [0; 256];
        let Some(tail) = short.get_mut(..len) else {
            return Entry(Arc::from_header_and_slice(head, &[deadline, key, text].concat()));
        };
        let (to_deadline, rest) = tail.split_at_mut(deadline.len());
        let (to_key, to_text) = rest.split_at_mut(key.len());
        to_deadline.copy_from_slice(deadline);
        to_key.copy_from_slice(key);
        to_text.copy_from_slice(text);
        Entry(Arc::from_header_and_slice(head, tail))
    }

    /// Deadline, key and what is behind it.
    fn tail(&self) -> (i64, &[u8], &[u8]) {
        let (expires, rest) = match self.0.slice.split_first_chunk() {
            Some((deadline, rest)) if *common!(&self.0.header, volatile) => {
                (i64::from_le_bytes(*deadline), rest)
            }
            _ => (NEVER, &self.0.slice),
        };
        let key_len =
            if let Head::Text { key_len, .. } = self.0.header { key_len.into() } else { rest.len() };
        let (key, text) = rest.split_at(key_len);
        (expires, key, text)
    }

    pub fn value(&self) -> View<'_> {
        match &self.0.header {
            Head::Text { .. } => View::Str(Text::Bytes(self.tail().2)),
            Head::Int { number, .. } => View::Str(Text::Int(*number)),
            Head::Blob { bytes, .. } => View::Str(Text::Bytes(&bytes.slice)),
            Head::Buf { buf, .. } => View::Str(Text::Buf(buf)),
            Head::List { list, .. } => View::List(list),
            Head::Hash { hash, .. } => View::Hash(hash),
            Head::Set { set, .. } => View::Set(set),
            Head::Zset { zset, .. } => View::Zset(zset),
            Head::Stream { stream, .. } => View::Stream(stream),
        }
    }

    /// The string; empty for any other value.
    pub fn text(&self) -> Text<'_> {
        self.value().text().unwrap_or(Text::Bytes(b""))
    }

    /// The value for another place; shared where it is not short.
    pub fn to_value(&self) -> Value {
        match &self.0.header {
            Head::Text { .. } => Value::Str(Str::text(self.tail().2)),
            Head::Int { number, .. } => Value::Str(Str::Int(*number)),
            Head::Blob { bytes, .. } => Value::Str(Str::Blob(bytes.clone())),
            Head::Buf { buf, .. } => Value::Str(Str::Buf(buf.clone())),
            Head::List { list, .. } => Value::List(list.clone()),
            Head::Hash { hash, .. } => Value::Hash(hash.clone()),
            Head::Set { set, .. } => Value::Set(set.clone()),
            Head::Zset { zset, .. } => Value::Zset(zset.clone()),
            Head::Stream { stream, .. } => Value::Stream(stream.clone()),
        }
    }

    /// The collection for change, copied first if a snapshot shares it; `None` if the value is of another type.
    pub fn value_mut<T: Kind>(&mut self) -> Option<&mut T> {
        if !T::is_in(&self.0.header) {
            return None;
        }
        self.be_alone();
        T::of_mut(&mut Arc::get_mut(&mut self.0)?.header)
    }

    /// The string for change in place: a growable buffer from here on. `None` if the value is of another type.
    pub fn buffer(&mut self) -> Option<&mut Vec<u8>> {
        if !matches!(self.0.header, Head::Buf { .. }) {
            let View::Str(text) = self.value() else { return None };
            let buf = Value::Str(Str::from_vec(text.to_vec()));
            let (expires, key, _) = self.tail();
            *self = Entry::new(key, buf, expires, self.access());
        }
        self.be_alone();
        match &mut Arc::get_mut(&mut self.0)?.header {
            Head::Buf { buf, .. } => Some(Arc::make_mut(buf)),
            _ => None,
        }
    }

    /// Unix milliseconds, [`NEVER`] for none.
    pub fn expires(&self) -> i64 {
        self.tail().0
    }

    pub fn set_expires(&mut self, expires: i64) {
        let volatile = expires != NEVER;
        if volatile != *common!(&self.0.header, volatile) {
            let (_, key, text) = self.tail();
            *self = Entry::assemble(self.0.header.copy(volatile), expires, key, text);
        } else if volatile {
            self.be_alone();
            if let Some(data) = Arc::get_mut(&mut self.0) {
                data.slice[..DEADLINE].copy_from_slice(&expires.to_le_bytes());
            }
        }
    }

    /// Replaces a string by what [`Entry::string`] makes of `bytes`, in its own allocation; false if that cannot be.
    pub fn overwrite(&mut self, bytes: &[u8], expires: i64) -> bool {
        let Some(HeaderSlice { header, slice, .. }) = Arc::get_mut(&mut self.0) else { return false };
        let volatile = expires != NEVER;
        if volatile != *common!(&*header, volatile) {
            return false;
        }
        let new_number = number(bytes);
        match (&mut *header, new_number) {
            (Head::Int { number, .. }, Some(new)) => *number = new,
            (Head::Text { key_len, .. }, None) => {
                let at = usize::from(*key_len) + if volatile { DEADLINE } else { 0 };
                if slice.len() - at != bytes.len() {
                    return false;
                }
                slice[at..].copy_from_slice(bytes);
            }
            (Head::Blob { bytes: blob, .. }, None) if blob.slice.len() == bytes.len() => {
                let alone = blob.with_arc_mut(|blob| {
                    Arc::get_mut(blob).map(|blob| blob.slice_mut().copy_from_slice(bytes)).is_some()
                });
                if !alone {
                    return false;
                }
            }
            _ => return false,
        }
        if volatile {
            slice[..DEADLINE].copy_from_slice(&expires.to_le_bytes());
        }
        true
    }

    /// Makes the value a number, in place if it was one.
    pub fn set_int(&mut self, new: i64) {
        self.be_alone();
        if let Some(HeaderSlice { header: Head::Int { number, .. }, .. }) = Arc::get_mut(&mut self.0) {
            *number = new;
            return;
        }
        let (expires, key, _) = self.tail();
        *self = Entry::new(key, Value::Str(Str::Int(new)), expires, self.access());
    }

    pub fn access(&self) -> u32 {
        common!(&self.0.header, access).load(Ordering::Relaxed)
    }

    pub fn set_access(&self, stamp: u32) {
        common!(&self.0.header, access).store(stamp, Ordering::Relaxed);
    }

    /// Bytes of the entry, without blocks that the value has of its own.
    pub fn own_bytes(&self) -> usize {
        allocation_size(Entry::FIXED + self.0.slice.len())
    }

    /// Bytes of blocks that the value has of its own (large collections are sampled).
    pub fn heap_bytes(&self) -> usize {
        match &self.0.header {
            Head::Text { .. } | Head::Int { .. } => 0,
            Head::Blob { bytes, .. } => 2 * size_of::<usize>() + bytes.slice.len(),
            Head::Buf { buf, .. } => size_of::<usize>() + size_of::<Vec<u8>>() + buf.capacity(),
            Head::List { list, .. } => list.heap_bytes(),
            Head::Hash { hash, .. } => hash.heap_bytes(),
            Head::Set { set, .. } => set.heap_bytes(),
            Head::Zset { zset, .. } => zset.heap_bytes(),
            Head::Stream { stream, .. } => stream.heap_bytes(),
        }
    }

    /// Gets an allocation of its own if a snapshot shares this one.
    fn be_alone(&mut self) {
        if !self.0.is_unique() {
            let header = self.0.header.copy(*common!(&self.0.header, volatile));
            self.0 = Arc::from_header_and_slice(header, &self.0.slice);
        }
    }
}

impl Item for Entry {
    fn key(&self) -> &[u8] {
        self.tail().1
    }
    fn due(&self) -> i64 {
        self.expires()
    }
}

impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {:?}", self.key().escape_ascii(), self.value())
    }
}

impl Head {
    /// The same value, shared, for another entry of the key.
    fn copy(&self, volatile: bool) -> Head {
        let access = AtomicU32::new(common!(self, access).load(Ordering::Relaxed));
        match self {
            Head::Text { key_len, .. } => Head::Text { volatile, key_len: *key_len, access },
            Head::Int { number, .. } => Head::Int { volatile, access, number: *number },
            Head::Blob { bytes, .. } => Head::Blob { volatile, access, bytes: bytes.clone() },
            Head::Buf { buf, .. } => Head::Buf { volatile, access, buf: buf.clone() },
            Head::List { list, .. } => Head::List { volatile, access, list: list.clone() },
            Head::Hash { hash, .. } => Head::Hash { volatile, access, hash: hash.clone() },
            Head::Set { set, .. } => Head::Set { volatile, access, set: set.clone() },
            Head::Zset { zset, .. } => Head::Zset { volatile, access, zset: zset.clone() },
            Head::Stream { stream, .. } => Head::Stream { volatile, access, stream: stream.clone() },
        }
    }
}

/// The number that `bytes` are the canonical text of.
fn number(bytes: &[u8]) -> Option<i64> {
    if bytes.len() <= LONGEST_INT { parse_i64(bytes) } else { None }
}

/// Whether a string takes less behind its key than in a block of its own.
fn lies_behind(key: &[u8], text: &[u8], volatile: bool) -> bool {
    if text.len() > LONGEST_TEXT || key.len() > u16::MAX.into() {
        return false;
    }
    let without = Entry::FIXED + key.len() + if volatile { DEADLINE } else { 0 };
    let apart = allocation_size(without) + allocation_size(2 * size_of::<usize>() + text.len());
    allocation_size(without + text.len()) <= apart
}

#[cfg(test)]
#[path = "entry_tests.rs"]
mod tests;
