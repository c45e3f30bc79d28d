//! Walks a value of any type, showing its elements in pieces and checking its structure.
//!
//! | value | elements shown |
//! |---|---|
//! | string | one [`Role::Text`] |
//! | list | [`Role::Item`], head first |
//! | set | [`Role::Member`] |
//! | sorted set | [`Role::Member`], then its score, in the order of the file |
//! | hash | [`Role::Field`], then [`Role::Value`]; deadlines of fields are checked, not shown |
//! | stream | as [`stream::Visit`] says: blocks, numbers, groups, pending entries, consumers |
//! | module's | nothing: stepped over |
//!
//! A packed value is checked entry by entry and then shown; one of more than [`BLOB_LIMIT`] bytes is stepped over and
//! counted, because it would have to be in memory as a whole. The visitor is a type parameter: for the commands that only
//! count, showing an element costs nothing.

use crate::error::Corrupt;
use crate::format::packed::Entry;
use crate::format::packed::intset::Intset;
use crate::format::packed::listpack::ListpackRef;
use crate::format::packed::ziplist::Ziplist;
use crate::format::packed::zipmap::Zipmap;
use crate::format::rdb::{Blob, LoadError, Piece, Reader, Source, ValueType, stream};
use crate::resp::number::parse_f64;

/// Packed values above this size (of uncompressed bytes) are not looked into.
pub const BLOB_LIMIT: u64 = 16 << 20;

type Result<T> = std::result::Result<T, LoadError>;

/// What a string is in its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Text,
    Item,
    Member,
    Field,
    Value,
}

/// Sees the elements of a value.
pub trait Visitor: stream::Visit {
    fn piece(&mut self, _role: Role, _piece: Piece<'_>) -> Result<()> {
        Ok(())
    }
    /// A packed blob of this many bytes was entered.
    fn blob(&mut self, _bytes: u64) {}
    /// Of the member before.
    fn score(&mut self, _score: f64) -> Result<()> {
        Ok(())
    }
}

/// Sees nothing.
pub struct Nothing;
impl stream::Visit for Nothing {}
impl Visitor for Nothing {}

/// What a walk found out about a value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Items, members, pairs, entries; 1 for a string.
    pub elements: u64,
    /// Bytes of all strings in it, of packed blocks for a stream.
    pub bytes: u64,
    /// Bytes of the longest string in it.
    pub longest: u64,
    /// Packed blobs in it.
    pub blobs: u64,
    /// Their bytes.
    pub packed: u64,
    /// Packed blobs that were stepped over.
    pub unread: u64,
    /// A string that is an integer.
    pub is_integer: bool,
}

/// Working memory.
#[derive(Default)]
pub struct Scratch {
    text: Vec<u8>,
    integers: Vec<u8>,
}

/// All that [`type_word`] says.
pub const TYPES: [&str; 7] = ["string", "list", "set", "zset", "hash", "stream", "module"];
/// All that [`encoding_word`] says.
pub const ENCODINGS: [&str; 14] = [
    "int",
    "embstr",
    "raw",
    "quicklist",
    "linkedlist",
    "hashtable",
    "listpack",
    "listpackex",
    "ziplist",
    "zipmap",
    "intset",
    "skiplist",
    "stream",
    "module",
];

/// The data type's name, as TYPE answers it.
pub fn type_word(kind: ValueType) -> &'static str {
    match kind {
        ValueType::Str => "string",
        ValueType::List | ValueType::ListZiplist | ValueType::ListQuicklist | ValueType::ListQuicklist2 => {
            "list"
        }
        ValueType::Set | ValueType::SetIntset | ValueType::SetListpack => "set",
        ValueType::Zset | ValueType::Zset2 | ValueType::ZsetZiplist | ValueType::ZsetListpack => "zset",
        ValueType::Hash
        | ValueType::HashZipmap
        | ValueType::HashZiplist
        | ValueType::HashListpack
        | ValueType::HashDeadlines
        | ValueType::HashMetadata
        | ValueType::HashListpackEx => "hash",
        ValueType::Stream | ValueType::Stream2 | ValueType::Stream3 => "stream",
        ValueType::Module | ValueType::ModulePreGa => "module",
    }
}

/// How the file holds it, in the words of OBJECT ENCODING.
pub fn encoding_word(kind: ValueType, facts: &Facts) -> &'static str {
    match kind {
        ValueType::Str if facts.is_integer => "int",
        ValueType::Str if facts.bytes <= EMBEDDED => "embstr",
        ValueType::Str => "raw",
        ValueType::List => "linkedlist",
        ValueType::ListQuicklist | ValueType::ListQuicklist2 => "quicklist",
        ValueType::Set | ValueType::Hash | ValueType::HashDeadlines | ValueType::HashMetadata => "hashtable",
        ValueType::HashListpackEx => "listpackex",
        ValueType::Zset | ValueType::Zset2 => "skiplist",
        ValueType::SetIntset => "intset",
        ValueType::HashZipmap => "zipmap",
        ValueType::ListZiplist | ValueType::ZsetZiplist | ValueType::HashZiplist => "ziplist",
        ValueType::HashListpack | ValueType::ZsetListpack | ValueType::SetListpack => "listpack",
        ValueType::Stream | ValueType::Stream2 | ValueType::Stream3 => "stream",
        ValueType::Module | ValueType::ModulePreGa => "module",
    }
}

/// The longest string that Redis keeps together with its header.
const EMBEDDED: u64 = 44;

/// Walks the value that comes next in `reader`, behind its key.
pub fn walk<V: Visitor>(
    reader: &mut Reader<'_>,
    kind: ValueType,
    scratch: &mut Scratch,
    visitor: &mut V,
) -> Result<Facts> {
    let mut walk = Walk { visitor, facts: Facts::default(), scratch };
    match kind {
        ValueType::Module | ValueType::ModulePreGa => reader.skip_value(kind)?,
        _ => walk.value(&mut reader.source, kind)?,
    }
    Ok(walk.facts)
}

struct Walk<'w, V> {
    visitor: &'w mut V,
    facts: Facts,
    scratch: &'w mut Scratch,
}

impl<V: Visitor> Walk<'_, V> {
    fn value(&mut self, source: &mut Source<'_>, kind: ValueType) -> Result<()> {
        match kind {
            ValueType::Str => {
                self.facts.elements = 1;
                self.string(source, Role::Text)
            }
            ValueType::List => self.strings(source, &[Role::Item]),
            ValueType::Set => self.strings(source, &[Role::Member]),
            ValueType::Hash => self.strings(source, &[Role::Field, Role::Value]),
            ValueType::HashDeadlines | ValueType::HashMetadata => self.mortal(source, kind),
            ValueType::HashListpackEx => {
                source.skip(8)?;
                self.blob(source, kind)
            }
            ValueType::Zset | ValueType::Zset2 => self.scored(source, kind),
            ValueType::ListQuicklist | ValueType::ListQuicklist2 => self.nodes(source, kind),
            ValueType::Stream | ValueType::Stream2 | ValueType::Stream3 => {
                let mut blocks = Blocks { inner: self.visitor, bytes: 0, count: 0 };
                let found = stream::walk(source, kind, &mut blocks)?;
                (self.facts.bytes, self.facts.blobs) = (blocks.bytes, blocks.count);
                (self.facts.packed, self.facts.elements) = (blocks.bytes, found.length);
                Ok(())
            }
            ValueType::Module | ValueType::ModulePreGa => Err(source.refuse_module(kind)),
            _ => self.blob(source, kind),
        }
    }

    #[inline]
    fn string(&mut self, source: &mut Source<'_>, role: Role) -> Result<()> {
        let (visitor, facts) = (&mut *self.visitor, &mut self.facts);
        let len = source.pieces(&mut self.scratch.text, |piece| {
            if role == Role::Text && piece.len <= 20 {
                facts.is_integer = crate::resp::number::parse_i64(piece.bytes).is_some();
            }
            visitor.piece(role, piece)
        })?;
        self.facts.bytes += len;
        self.facts.longest = self.facts.longest.max(len);
        Ok(())
    }

    fn strings(&mut self, source: &mut Source<'_>, roles: &[Role]) -> Result<()> {
        self.facts.elements = source.length()?;
        for _ in 0..self.facts.elements {
            for role in roles {
                self.string(source, *role)?;
            }
        }
        Ok(())
    }

    /// Fields with deadlines, which are not shown.
    fn mortal(&mut self, source: &mut Source<'_>, kind: ValueType) -> Result<()> {
        let after = kind == ValueType::HashDeadlines;
        if !after {
            source.skip(8)?;
        }
        self.facts.elements = source.length()?;
        for _ in 0..self.facts.elements {
            if !after {
                source.length()?;
            }
            self.string(source, Role::Field)?;
            self.string(source, Role::Value)?;
            if after {
                source.skip(8)?;
            }
        }
        Ok(())
    }

    fn scored(&mut self, source: &mut Source<'_>, kind: ValueType) -> Result<()> {
        self.facts.elements = source.length()?;
        for _ in 0..self.facts.elements {
            self.string(source, Role::Member)?;
            self.visitor.score(source.score(kind)?)?;
        }
        Ok(())
    }

    fn nodes(&mut self, source: &mut Source<'_>, kind: ValueType) -> Result<()> {
        for _ in 0..source.length()? {
            if kind == ValueType::ListQuicklist || source.node_kind()? {
                self.blob(source, kind)?;
            } else {
                self.facts.elements += 1;
                self.string(source, Role::Item)?;
            }
        }
        Ok(())
    }

    fn blob(&mut self, source: &mut Source<'_>, kind: ValueType) -> Result<()> {
        let offset = source.offset();
        let mut text = std::mem::take(&mut self.scratch.text);
        let found = match source.blob(&mut text, BLOB_LIMIT)? {
            Blob::Lent(bytes) => {
                self.facts.blobs += 1;
                self.facts.packed += bytes.len() as u64;
                self.visitor.blob(bytes.len() as u64);
                self.packed(kind, offset, bytes)
            }
            Blob::TooLong(len) => {
                self.facts.unread += 1;
                self.facts.bytes += len;
                Ok(())
            }
        };
        self.scratch.text = text;
        found
    }

    fn packed(&mut self, kind: ValueType, offset: u64, bytes: &[u8]) -> Result<()> {
        let failed = |damage: Corrupt| {
            LoadError::corrupt(offset, format!("{} integrity check failed: {damage}", kind.word()))
        };
        let listpack = || ListpackRef::new(bytes).map(|found| found.iter().map(Ok)).map_err(failed);
        let ziplist = || Ziplist::open(bytes).map_err(failed);
        let at = Place { offset, kind };
        match kind {
            ValueType::HashListpack => self.pairs(at, listpack()?),
            ValueType::HashListpackEx => self.triples(at, listpack()?),
            ValueType::HashZiplist => self.pairs(at, ziplist()?),
            ValueType::HashZipmap => self.pairs(at, Zipmap::open(bytes).map_err(failed)?),
            ValueType::ZsetListpack => self.scores(at, listpack()?),
            ValueType::ZsetZiplist => self.scores(at, ziplist()?),
            ValueType::SetListpack => self.entries(at, Role::Member, listpack()?),
            ValueType::ListQuicklist2 => self.entries(at, Role::Item, listpack()?),
            ValueType::SetIntset => {
                let mut copy = std::mem::take(&mut self.scratch.integers);
                copy.clear();
                copy.extend_from_slice(bytes);
                let set = Intset::from_bytes(copy).map_err(failed)?;
                let result = self.entries(at, Role::Member, set.iter().map(|n| Ok(Entry::Int(n))));
                self.scratch.integers = set.into_bytes();
                result
            }
            _ => self.entries(at, Role::Item, ziplist()?),
        }
    }

    fn entries<'a>(
        &mut self,
        place: Place,
        role: Role,
        entries: impl Iterator<Item = std::result::Result<Entry<'a>, Corrupt>>,
    ) -> Result<()> {
        for entry in entries {
            self.entry(place, role, entry.map_err(|damage| place.failed(&damage))?)?;
            self.facts.elements += 1;
        }
        Ok(())
    }

    fn pairs<'a>(
        &mut self,
        place: Place,
        mut entries: impl Iterator<Item = std::result::Result<Entry<'a>, Corrupt>>,
    ) -> Result<()> {
        let failed = |damage: Corrupt| place.failed(&damage);
        while let Some(field) = entries.next() {
            self.entry(place, Role::Field, field.map_err(failed)?)?;
            let value = entries.next().unwrap_or(Err(Corrupt::new(0, "a field without value")));
            self.entry(place, Role::Value, value.map_err(failed)?)?;
            self.facts.elements += 1;
        }
        Ok(())
    }

    /// As pairs, with a deadline behind each.
    fn triples<'a>(
        &mut self,
        place: Place,
        mut entries: impl Iterator<Item = std::result::Result<Entry<'a>, Corrupt>>,
    ) -> Result<()> {
        let failed = |damage: Corrupt| place.failed(&damage);
        while let Some(field) = entries.next() {
            self.entry(place, Role::Field, field.map_err(failed)?)?;
            let mut next =
                || entries.next().unwrap_or(Err(Corrupt::new(0, "a field without value and deadline")));
            self.entry(place, Role::Value, next().map_err(failed)?)?;
            let deadline = next().map_err(failed)?;
            deadline.to_i64().ok_or_else(|| failed(Corrupt::new(0, "a deadline that is no number")))?;
            self.facts.elements += 1;
        }
        Ok(())
    }

    fn scores<'a>(
        &mut self,
        place: Place,
        mut entries: impl Iterator<Item = std::result::Result<Entry<'a>, Corrupt>>,
    ) -> Result<()> {
        let failed = |damage: Corrupt| place.failed(&damage);
        while let Some(member) = entries.next() {
            self.entry(place, Role::Member, member.map_err(failed)?)?;
            let score = entries.next().unwrap_or(Err(Corrupt::new(0, "a member without score")));
            let number = match score.map_err(failed)? {
                Entry::Int(n) => Some(n as f64),
                Entry::Str(text) => parse_f64(text).filter(|n| !n.is_nan()),
            };
            let number = number.ok_or_else(|| failed(Corrupt::new(0, "a score that is no number")))?;
            self.visitor.score(number)?;
            self.facts.elements += 1;
        }
        Ok(())
    }

    #[inline]
    fn entry(&mut self, place: Place, role: Role, entry: Entry<'_>) -> Result<()> {
        let mut digits = itoa::Buffer::new();
        let bytes = entry.bytes(&mut digits);
        let len = bytes.len() as u64;
        self.facts.bytes += len;
        self.facts.longest = self.facts.longest.max(len);
        self.visitor.piece(role, Piece::whole(place.offset, bytes))
    }
}

/// A blob in the file.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    kind: ValueType,
}

impl Place {
    fn failed(self, damage: &Corrupt) -> LoadError {
        LoadError::corrupt(self.offset, format!("{} integrity check failed: {damage}", self.kind.word()))
    }
}

/// Counts a stream's blocks on their way to the visitor.
struct Blocks<'v, V> {
    inner: &'v mut V,
    bytes: u64,
    count: u64,
}

impl<V: Visitor> stream::Visit for Blocks<'_, V> {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> Result<()> {
        self.bytes += block.as_bytes().len() as u64;
        self.count += 1;
        self.inner.block(first, block)
    }
    fn tail(&mut self, numbers: &[u64]) -> Result<()> {
        self.inner.tail(numbers)
    }
    fn group(&mut self, name: &[u8], numbers: &[u64]) -> Result<()> {
        self.inner.group(name, numbers)
    }
    fn pending(&mut self, id: stream::Id, time: i64, deliveries: u64) -> Result<()> {
        self.inner.pending(id, time, deliveries)
    }
    fn consumer(&mut self, name: &[u8]) -> Result<()> {
        self.inner.consumer(name)
    }
    fn owned(&mut self, id: stream::Id) -> Result<()> {
        self.inner.owned(id)
    }
}
