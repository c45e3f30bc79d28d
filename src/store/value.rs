//! Values and entries: what one key costs.
//!
//! An entry is one counted allocation of 64 bytes that holds the key (in place up to 22 bytes), the value's
//! sixteen bytes, the expiry and the access stamp; the table holds an eight-byte pointer to it. So
//! `SET key:000000000001 xyz` costs 64 bytes and its share of the table (about 14), where Redis spends a
//! dictEntry, a key string, a value object and a bucket. A plain `std::sync::Arc` would cost eight bytes more.
//!
//! The access stamp is atomic and changed through a shared reference: reading a key must not copy an entry only
//! because a snapshot holds it too. It is never persisted and takes no part in equality of data.

use std::sync::atomic::{AtomicU32, Ordering};

use triomphe::Arc;

use super::partitions::Item;
use super::{Hash, List, Set, Str, Stream, Zset};
use crate::error::ReplyError;

/// The expiry of a key without one.
pub const NEVER: i64 = i64::MAX;

#[derive(Clone, Debug)]
pub enum Value {
    Str(Str),
    List(Arc<List>),
    Hash(Arc<Hash>),
    Set(Arc<Set>),
    Zset(Arc<Zset>),
    Stream(Arc<Stream>),
}

const _: () = assert!(size_of::<Value>() == 16 && size_of::<EntryData>() == 56);

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Type {
    Str,
    List,
    Hash,
    Set,
    Zset,
    Stream,
}

impl Type {
    pub const ALL: [Type; 6] = [Type::Str, Type::List, Type::Hash, Type::Set, Type::Zset, Type::Stream];

    /// TYPE's word.
    pub fn name(self) -> &'static str {
        match self {
            Type::Str => "string",
            Type::List => "list",
            Type::Hash => "hash",
            Type::Set => "set",
            Type::Zset => "zset",
            Type::Stream => "stream",
        }
    }
}

impl Value {
    pub fn kind(&self) -> Type {
        match self {
            Value::Str(_) => Type::Str,
            Value::List(_) => Type::List,
            Value::Hash(_) => Type::Hash,
            Value::Set(_) => Type::Set,
            Value::Zset(_) => Type::Zset,
            Value::Stream(_) => Type::Stream,
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match self {
            Value::Str(text) => text.encoding(),
            Value::List(list) => list.encoding(),
            Value::Hash(hash) => hash.encoding(),
            Value::Set(set) => set.encoding(),
            Value::Zset(zset) => zset.encoding(),
            Value::Stream(_) => "stream",
        }
    }

    /// Elements, members, fields or entries; one for a string.
    pub fn elements(&self) -> usize {
        match self {
            Value::Str(_) => 1,
            Value::List(list) => list.len(),
            Value::Hash(hash) => hash.len(),
            Value::Set(set) => set.len(),
            Value::Zset(zset) => zset.len(),
            Value::Stream(stream) => stream.len() as usize,
        }
    }

    /// Bytes on the heap beside the entry (large collections are sampled).
    pub fn heap_bytes(&self) -> usize {
        match self {
            Value::Str(text) => text.heap_bytes(),
            Value::List(list) => list.heap_bytes(),
            Value::Hash(hash) => hash.heap_bytes(),
            Value::Set(set) => set.heap_bytes(),
            Value::Zset(zset) => zset.heap_bytes(),
            Value::Stream(stream) => stream.heap_bytes(),
        }
    }

    /// The value as type `T`, or WRONGTYPE.
    pub fn expect<T: Kind>(&self) -> Result<&T, ReplyError> {
        T::of(self).ok_or(ReplyError::WRONG_TYPE)
    }

    /// The value as type `T` for change (copied first if a snapshot shares it), or WRONGTYPE.
    pub fn expect_mut<T: Kind>(&mut self) -> Result<&mut T, ReplyError> {
        T::of_mut(self).ok_or(ReplyError::WRONG_TYPE)
    }
}

/// Ties a representation to its [`Value`] variant.
pub trait Kind: Sized {
    const TYPE: Type;
    fn of(value: &Value) -> Option<&Self>;
    fn of_mut(value: &mut Value) -> Option<&mut Self>;
    fn wrap(self) -> Value;
}

impl Kind for Str {
    const TYPE: Type = Type::Str;
    fn of(value: &Value) -> Option<&Str> {
        if let Value::Str(text) = value { Some(text) } else { None }
    }
    fn of_mut(value: &mut Value) -> Option<&mut Str> {
        if let Value::Str(text) = value { Some(text) } else { None }
    }
    fn wrap(self) -> Value {
        Value::Str(self)
    }
}

macro_rules! kinds {
    ($($name:ident),*) => {$(
        impl Kind for $name {
            const TYPE: Type = Type::$name;
            fn of(value: &Value) -> Option<&$name> {
                if let Value::$name(inner) = value { Some(inner) } else { None }
            }
            fn of_mut(value: &mut Value) -> Option<&mut $name> {
                if let Value::$name(inner) = value { Some(Arc::make_mut(inner)) } else { None }
            }
            fn wrap(self) -> Value {
                Value::$name(Arc::new(self))
            }
        }
    )*};
}
kinds!(List, Hash, Set, Zset, Stream);

const INLINE_KEY: usize = 22;

#[derive(Clone, Debug)]
enum Key {
    Inline { len: u8, bytes: [u8; INLINE_KEY] },
    Heap(Box<[u8]>),
}

impl Key {
    fn new(key: &[u8]) -> Key {
        if key.len() > INLINE_KEY {
            return Key::Heap(key.into());
        }
        let mut bytes = [0; INLINE_KEY];
        bytes[..key.len()].copy_from_slice(key);
        Key::Inline { len: key.len() as u8, bytes }
    }

    fn as_bytes(&self) -> &[u8] {
        match self {
            Key::Inline { len, bytes } => &bytes[..*len as usize],
            Key::Heap(bytes) => bytes,
        }
    }
}

#[derive(Debug)]
struct EntryData {
    value: Value,
    expires: i64,
    key: Key,
    access: AtomicU32,
}

impl Clone for EntryData {
    fn clone(&self) -> EntryData {
        EntryData {
            value: self.value.clone(),
            expires: self.expires,
            key: self.key.clone(),
            access: AtomicU32::new(self.access.load(Ordering::Relaxed)),
        }
    }
}

/// One key with all that belongs to it. Cloning shares.
#[derive(Clone, Debug)]
pub struct Entry(Arc<EntryData>);

impl Entry {
    /// `expires` in Unix milliseconds, [`NEVER`] for none; `access` is an LRU or LFU stamp.
    pub fn new(key: &[u8], value: Value, expires: i64, access: u32) -> Entry {
        Entry(Arc::new(EntryData { value, expires, key: Key::new(key), access: AtomicU32::new(access) }))
    }

    pub fn value(&self) -> &Value {
        &self.0.value
    }

    /// The value for change; copies the entry (not what it points to) if a snapshot shares it.
    pub fn value_mut(&mut self) -> &mut Value {
        &mut Arc::make_mut(&mut self.0).value
    }

    pub fn into_value(self) -> Value {
        self.0.value.clone()
    }

    /// Unix milliseconds, [`NEVER`] for none.
    pub fn expires(&self) -> i64 {
        self.0.expires
    }

    pub fn set_expires(&mut self, expires: i64) {
        Arc::make_mut(&mut self.0).expires = expires;
    }

    /// Replaces value and expiry, keeping the allocation if it is not shared.
    pub fn replace(&mut self, value: Value, expires: i64) -> Value {
        let data = Arc::make_mut(&mut self.0);
        data.expires = expires;
        std::mem::replace(&mut data.value, value)
    }

    /// Replaces a string by one of the same length in its own allocation; false if that cannot be.
    pub fn overwrite(&mut self, bytes: &[u8], expires: i64) -> bool {
        let Some(data) = Arc::get_mut(&mut self.0) else { return false };
        let Value::Str(text) = &mut data.value else { return false };
        let done = text.overwrite(bytes);
        if done {
            data.expires = expires;
        }
        done
    }

    pub fn access(&self) -> u32 {
        self.0.access.load(Ordering::Relaxed)
    }

    pub fn set_access(&self, stamp: u32) {
        self.0.access.store(stamp, Ordering::Relaxed);
    }

    /// Bytes of the entry and a long key's own allocation, without the value's heap.
    pub fn own_bytes(&self) -> usize {
        let key = match &self.0.key {
            Key::Inline { .. } => 0,
            Key::Heap(bytes) => bytes.len(),
        };
        size_of::<EntryData>() + size_of::<usize>() + key
    }
}

impl Item for Entry {
    fn key(&self) -> &[u8] {
        self.0.key.as_bytes()
    }
    fn due(&self) -> i64 {
        self.0.expires
    }
}
