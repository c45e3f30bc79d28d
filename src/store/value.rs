//! Values: what a key may hold, owned ([`Value`]) and seen in an entry ([`View`]).
//!
//! A collection is the same in both, one counted pointer. A string is not: in an entry it lies behind its key where that is
//! cheaper ([`super::entry`]), so whoever reads gets a [`Text`], and whoever makes one hands over a [`Str`] or bare bytes.

use triomphe::Arc;

use super::entry::Head;
use super::string::Text;
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

/// A value as it is in its entry.
#[derive(Clone, Copy, Debug)]
pub enum View<'a> {
    Str(Text<'a>),
    List(&'a Arc<List>),
    Hash(&'a Arc<Hash>),
    Set(&'a Arc<Set>),
    Zset(&'a Arc<Zset>),
    Stream(&'a Arc<Stream>),
}

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
    pub fn view(&self) -> View<'_> {
        match self {
            Value::Str(text) => View::Str(text.view()),
            Value::List(list) => View::List(list),
            Value::Hash(hash) => View::Hash(hash),
            Value::Set(set) => View::Set(set),
            Value::Zset(zset) => View::Zset(zset),
            Value::Stream(stream) => View::Stream(stream),
        }
    }
}

impl<'a> View<'a> {
    pub fn kind(self) -> Type {
        match self {
            View::Str(_) => Type::Str,
            View::List(_) => Type::List,
            View::Hash(_) => Type::Hash,
            View::Set(_) => Type::Set,
            View::Zset(_) => Type::Zset,
            View::Stream(_) => Type::Stream,
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(self) -> &'static str {
        match self {
            View::Str(text) => text.encoding(),
            View::List(list) => list.encoding(),
            View::Hash(hash) => hash.encoding(),
            View::Set(set) => set.encoding(),
            View::Zset(zset) => zset.encoding(),
            View::Stream(_) => "stream",
        }
    }

    /// Elements, members, fields or entries; one for a string.
    pub fn elements(self) -> usize {
        match self {
            View::Str(_) => 1,
            View::List(list) => list.len(),
            View::Hash(hash) => hash.len(),
            View::Set(set) => set.len(),
            View::Zset(zset) => zset.len(),
            View::Stream(stream) => stream.len() as usize,
        }
    }

    /// Whether it is a collection without elements, which no key may have.
    pub fn is_empty(self) -> bool {
        !matches!(self, View::Str(_) | View::Stream(_)) && self.elements() == 0
    }

    /// The collection as type `T`, or WRONGTYPE.
    pub fn expect<T: Kind>(self) -> Result<&'a T, ReplyError> {
        T::of(self).ok_or(ReplyError::WRONG_TYPE)
    }

    /// The string, or WRONGTYPE.
    pub fn text(self) -> Result<Text<'a>, ReplyError> {
        if let View::Str(text) = self { Ok(text) } else { Err(ReplyError::WRONG_TYPE) }
    }
}

/// Ties the representation of a collection to its variants.
pub trait Kind: Sized {
    fn of(view: View<'_>) -> Option<&Self>;
    fn is_in(head: &Head) -> bool;
    /// For change, copied first if a snapshot shares it.
    fn of_mut(head: &mut Head) -> Option<&mut Self>;
    fn wrap(self) -> Value;
}

macro_rules! kinds {
    ($($name:ident $field:ident),*) => {$(
        impl Kind for $name {
            fn of(view: View<'_>) -> Option<&$name> {
                if let View::$name(inner) = view { Some(inner) } else { None }
            }
            fn is_in(head: &Head) -> bool {
                matches!(head, Head::$name { .. })
            }
            fn of_mut(head: &mut Head) -> Option<&mut $name> {
                if let Head::$name { $field, .. } = head { Some(Arc::make_mut($field)) } else { None }
            }
            fn wrap(self) -> Value {
                Value::$name(Arc::new(self))
            }
        }
    )*};
}
impl Str {
    pub fn wrap(self) -> Value {
        Value::Str(self)
    }
}

kinds!(List list, Hash hash, Set set, Zset zset, Stream stream);
