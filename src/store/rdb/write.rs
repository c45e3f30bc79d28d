//! Writes one value.

use std::io;

use crate::format::rdb::{NODE_PACKED, NODE_PLAIN, Output, VERSION, VERSION_STREAMS_3, ValueType};
use crate::store::list::NodeRef;
use crate::store::value::Value;
use crate::store::{Hash, List, Set, Str, Zset};

/// The oldest RDB version in which `value` can be written.
pub fn payload_version(value: &Value) -> u16 {
    match value {
        Value::Stream(stream) if stream.kind() >= ValueType::Stream3 => VERSION_STREAMS_3,
        _ => VERSION,
    }
}

/// The type of `value` as [`write_value`] writes it.
fn type_of(value: &Value) -> ValueType {
    match value {
        Value::Str(_) => ValueType::Str,
        Value::List(_) => ValueType::ListQuicklist2,
        Value::Set(set) if set.as_intset().is_some() => ValueType::SetIntset,
        Value::Set(_) => ValueType::Set,
        Value::Zset(zset) if zset.as_listpack().is_some() => ValueType::ZsetListpack,
        Value::Zset(_) => ValueType::Zset2,
        Value::Hash(hash) if hash.as_listpack().is_some() => ValueType::HashListpack,
        Value::Hash(_) => ValueType::Hash,
        Value::Stream(stream) => stream.kind(),
    }
}

/// Type byte, `between` (a key as string, or nothing) and value.
pub(super) fn write_typed_value(output: &mut Output<'_>, value: &Value, between: &[&[u8]]) -> io::Result<()> {
    output.value_type(type_of(value))?;
    for string in between {
        output.string(string)?;
    }
    write_value(output, value)
}

/// The value alone, behind type byte and key.
pub fn write_value(output: &mut Output<'_>, value: &Value) -> io::Result<()> {
    match value {
        Value::Str(Str::Int(n)) => output.integer(*n),
        Value::Str(text) => output.string(text.bytes(&mut itoa::Buffer::new())),
        Value::List(list) => write_list(output, list),
        Value::Set(set) => write_set(output, set),
        Value::Zset(zset) => write_zset(output, zset),
        Value::Hash(hash) => write_hash(output, hash),
        Value::Stream(stream) => output.bytes(stream.payload()),
    }
}

fn write_list(output: &mut Output<'_>, list: &List) -> io::Result<()> {
    output.length(list.node_count() as u64)?;
    for node in list.nodes() {
        let (kind, bytes) = match node {
            NodeRef::Packed(listpack) => (NODE_PACKED, listpack.as_bytes()),
            NodeRef::Plain(element) => (NODE_PLAIN, element),
        };
        output.length(kind)?;
        output.blob(bytes)?;
    }
    Ok(())
}

fn write_set(output: &mut Output<'_>, set: &Set) -> io::Result<()> {
    if let Some(ints) = set.as_intset() {
        return output.blob(ints.as_bytes());
    }
    output.length(set.len() as u64)?;
    set.iter().try_for_each(|member| output.entry(member))
}

fn write_zset(output: &mut Output<'_>, zset: &Zset) -> io::Result<()> {
    if let Some(listpack) = zset.as_listpack() {
        return output.blob(listpack.as_bytes());
    }
    output.length(zset.len() as u64)?;
    // From the highest score down: so every insertion into Redis' skiplist is at its head.
    for (member, score) in zset.iter().rev() {
        output.entry(member)?;
        output.bytes(&score.to_le_bytes())?;
    }
    Ok(())
}

fn write_hash(output: &mut Output<'_>, hash: &Hash) -> io::Result<()> {
    if let Some(listpack) = hash.as_listpack() {
        return output.blob(listpack.as_bytes());
    }
    output.length(hash.len() as u64)?;
    for (field, value) in hash.iter() {
        output.entry(field)?;
        output.entry(value)?;
    }
    Ok(())
}
