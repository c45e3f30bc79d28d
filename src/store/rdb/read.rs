//! Reads one value of any type that RDB ever had into its present form.

use crate::error::Corrupt;
use crate::format::packed::intset::Intset;
use crate::format::packed::listpack::Listpack;
use crate::format::packed::{Entry, ziplist, zipmap};
use crate::format::rdb::{LoadError, Source, ValueType, stream};
use crate::store::list::{End, Node};
use crate::store::value::{Kind, Value};
use crate::store::{Hash, Limits, List, Set, Str, Stream, Zset};

type Result<T> = std::result::Result<T, LoadError>;

/// Reads the value that follows in `source`. `None`: it is a collection without elements, which no key may have.
/// `scratch` is working memory.
pub fn read_value(
    source: &mut Source<'_>,
    kind: ValueType,
    limits: &Limits,
    scratch: &mut Vec<u8>,
) -> Result<Option<Value>> {
    let value = match kind {
        ValueType::Str => Str::new(source.string(scratch)?).wrap(),
        ValueType::List => list_of_strings(source, limits, scratch)?.wrap(),
        ValueType::Set => set_of_strings(source, limits, scratch)?.wrap(),
        ValueType::Zset | ValueType::Zset2 => zset_of_pairs(source, kind, limits, scratch)?.wrap(),
        ValueType::Hash => hash_of_pairs(source, limits, scratch)?.wrap(),
        ValueType::ListQuicklist | ValueType::ListQuicklist2 => quicklist(source, kind, limits)?.wrap(),
        ValueType::Stream | ValueType::Stream2 | ValueType::Stream3 => {
            source.record();
            let facts = stream::check(source, kind)?;
            return Ok(Some(Stream::from_checked(kind, &source.end_recording(), facts).wrap()));
        }
        ValueType::Module | ValueType::ModulePreGa => return Err(source.refuse_module(kind)),
        ValueType::HashDeadlines | ValueType::HashMetadata | ValueType::HashListpackEx => {
            let number = kind as u8;
            let what =
                format!("unknown type {number}: a hash whose fields have deadlines cannot be held here");
            return Err(LoadError::corrupt(source.offset(), what));
        }
        ValueType::HashZipmap
        | ValueType::ListZiplist
        | ValueType::SetIntset
        | ValueType::ZsetZiplist
        | ValueType::HashZiplist
        | ValueType::HashListpack
        | ValueType::ZsetListpack
        | ValueType::SetListpack => {
            let at = source.offset();
            let blob = source.owned()?;
            packed(kind, blob, limits).map_err(|corrupt| failed_check(kind, at, &corrupt))?
        }
    };
    Ok(Some(value).filter(|value| !value.view().is_empty()))
}

/// Damage inside the blob at `at`, in the words that Redis uses.
fn failed_check(kind: ValueType, at: u64, corrupt: &Corrupt) -> LoadError {
    LoadError::corrupt(at, format!("{} integrity check failed: {corrupt}", kind.word()))
}

/// A value that is one blob.
fn packed(kind: ValueType, blob: Vec<u8>, limits: &Limits) -> std::result::Result<Value, Corrupt> {
    Ok(match kind {
        ValueType::HashListpack => Hash::from_listpack(Listpack::from_bytes(blob)?, limits)?.wrap(),
        ValueType::HashZiplist => Hash::from_listpack(ziplist::to_listpack(&blob)?, limits)?.wrap(),
        ValueType::HashZipmap => hash_of_zipmap(&blob, limits)?.wrap(),
        ValueType::ZsetListpack => Zset::from_listpack(Listpack::from_bytes(blob)?, limits)?.wrap(),
        ValueType::ZsetZiplist => Zset::from_listpack(ziplist::to_listpack(&blob)?, limits)?.wrap(),
        ValueType::SetListpack => Set::from_listpack(Listpack::from_bytes(blob)?, limits)?.wrap(),
        ValueType::SetIntset => Set::from_intset(Intset::from_bytes(blob)?, limits).wrap(),
        _ => list_of_ziplist(&blob, limits)?.wrap(),
    })
}

/// Zipmaps never limited their texts as a listpack does, so each pair is set by the rules.
fn hash_of_zipmap(blob: &[u8], limits: &Limits) -> std::result::Result<Hash, Corrupt> {
    let all = zipmap::to_listpack(blob)?;
    let mut hash = Hash::new();
    hash.expect_pairs(all.len() / 2, limits);
    let (mut field_text, mut value_text) = (itoa::Buffer::new(), itoa::Buffer::new());
    for (field, value) in all.pairs() {
        if !hash.set(field.bytes(&mut field_text), value.bytes(&mut value_text), limits) {
            return Err(Corrupt::new(0, "hash zipmap with dup elements"));
        }
    }
    if hash.is_empty() {
        return Err(Corrupt::new(0, "no elements"));
    }
    Ok(hash)
}

fn list_of_ziplist(blob: &[u8], limits: &Limits) -> std::result::Result<List, Corrupt> {
    let all = ziplist::to_listpack(blob)?;
    let mut list = List::new();
    let mut text = itoa::Buffer::new();
    for entry in all.iter() {
        list.push_all(End::Right, std::iter::once(entry.bytes(&mut text)), limits);
    }
    Ok(list)
}

fn list_of_strings(source: &mut Source<'_>, limits: &Limits, scratch: &mut Vec<u8>) -> Result<List> {
    let mut list = List::new();
    for _ in 0..source.length()? {
        list.push_all(End::Right, std::iter::once(source.string(scratch)?), limits);
    }
    Ok(list)
}

fn quicklist(source: &mut Source<'_>, kind: ValueType, limits: &Limits) -> Result<List> {
    let mut nodes = Vec::new();
    for _ in 0..source.length()? {
        let packed = kind == ValueType::ListQuicklist || source.node_kind()?;
        let at = source.offset();
        let bytes = source.owned()?;
        if bytes.is_empty() {
            return Err(LoadError::corrupt(at, "Quicklist integrity check failed: empty node"));
        }
        let listpack = match (packed, kind) {
            (false, _) => {
                nodes.push(Node::Plain(bytes.into()));
                continue;
            }
            (true, ValueType::ListQuicklist) => ziplist::to_listpack(&bytes),
            (true, _) => Listpack::from_bytes(bytes),
        };
        nodes.push(Node::Packed(listpack.map_err(|corrupt| failed_check(kind, at, &corrupt))?));
    }
    Ok(List::from_nodes(nodes, limits))
}

fn set_of_strings(source: &mut Source<'_>, limits: &Limits, scratch: &mut Vec<u8>) -> Result<Set> {
    let count = source.length()?;
    let mut set = Set::for_load(usize::try_from(count).unwrap_or(usize::MAX), limits);
    for _ in 0..count {
        let at = source.offset();
        if !set.insert(Entry::Str(source.string(scratch)?), limits) {
            return Err(LoadError::corrupt(at, "Duplicate set members detected"));
        }
    }
    Ok(set)
}

fn zset_of_pairs(
    source: &mut Source<'_>,
    kind: ValueType,
    limits: &Limits,
    scratch: &mut Vec<u8>,
) -> Result<Zset> {
    let count = source.length()?;
    let mut set = Zset::indexed();
    let mut member = Vec::new();
    for _ in 0..count {
        let at = source.offset();
        member.clear();
        member.extend_from_slice(source.string(scratch)?);
        let score = source.score(kind)?;
        if !set.insert_new(&member, score) {
            return Err(LoadError::corrupt(at, "Duplicate zset fields detected"));
        }
    }
    set.settle(limits);
    Ok(set)
}

fn hash_of_pairs(source: &mut Source<'_>, limits: &Limits, scratch: &mut Vec<u8>) -> Result<Hash> {
    let count = source.length()?;
    let mut hash = Hash::new();
    hash.expect_pairs(usize::try_from(count).unwrap_or(usize::MAX), limits);
    let mut field = Vec::new();
    for _ in 0..count {
        let at = source.offset();
        field.clear();
        field.extend_from_slice(source.string(scratch)?);
        if !hash.set(&field, source.string(scratch)?, limits) {
            return Err(LoadError::corrupt(at, "Duplicate hash fields detected"));
        }
    }
    Ok(hash)
}
