//! Writes one value.

use std::io;

use crate::format::rdb::{NODE_PACKED, NODE_PLAIN, Output, VERSION, VERSION_STREAMS_3, ValueType};
use crate::store::list::NodeRef;

use crate::store::{Hash, List, Set, Text, View, Zset};

/// The oldest RDB version in which `value` can be written.
pub fn payload_version(value: View<'_>) -> u16 {
    match value {
        View::Stream(stream) if stream.kind() >= ValueType::Stream3 => VERSION_STREAMS_3,
        _ => VERSION,
    }
}

/// The type of `value` as [`write_value`] writes it.
fn type_of(value: View<'_>) -> ValueType {
    match value {
        View::Str(_) => ValueType::Str,
        View::List(_) => ValueType::ListQuicklist2,
        View::Set(set) if set.as_intset().is_some() => ValueType::SetIntset,
        View::Set(_) => ValueType::Set,
        View::Zset(zset) if zset.as_listpack().is_some() => ValueType::ZsetListpack,
        View::Zset(_) => ValueType::Zset2,
        View::Hash(hash) if hash.as_listpack().is_some() => ValueType::HashListpack,
        View::Hash(_) => ValueType::Hash,
        View::Stream(stream) => stream.kind(),
    }
}

/// Type byte, `between` (a key as string, or nothing) and value.
pub(super) fn write_typed_value(
    output: &mut Output<'_>,
    value: View<'_>,
    between: &[&[u8]],
) -> io::Result<()> {
    output.value_type(type_of(value))?;
    for string in between {
        output.string(string)?;
    }
    write_value(output, value)
}

/// The value alone, behind type byte and key.
pub fn write_value(output: &mut Output<'_>, value: View<'_>) -> io::Result<()> {
    match value {
        View::Str(Text::Int(n)) => output.integer(n),
        View::Str(text) => output.string(text.bytes(&mut itoa::Buffer::new())),
        View::List(list) => write_list(output, list),
        View::Set(set) => write_set(output, set),
        View::Zset(zset) => write_zset(output, zset),
        View::Hash(hash) => write_hash(output, hash),
        View::Stream(stream) => output.bytes(stream.payload()),
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
