//! The value of a stream, read only to be proved sound and to find its end.
//!
//! | what | form |
//! |---|---|
//! | number of blocks, then each | string: first ID (16 bytes, big-endian); blob: listpack of its entries |
//! | length | length |
//! | last ID | two lengths: milliseconds, sequence |
//! | first ID, greatest deleted ID, entries ever added (type 19 on) | five lengths |
//! | number of groups, then each | string: name; two lengths: last delivered ID; length: entries read (type 19 on); |
//! | … its pending entries: number, then each | ID (16 bytes); delivery time (8 bytes, little-endian); length: deliveries |
//! | … its consumers: number, then each | string: name; seen time (8 bytes); active time (8 bytes, type 21 on); |
//! | … … pending entries: number, then each | ID (16 bytes) |
//!
//! A block's listpack starts with `count, deleted, number of fields, fields…, 0` and goes on with one record an
//! entry, deleted ones included: `flags, ID offset (two integers), [number of fields, fields…] values…, number of
//! elements before this one`; the part in brackets is left out if the flags say "same fields as the block".
//!
//! Checked as deeply as Redis does with `sanitize-dump-payload yes`, and besides that IDs ascend and a pending
//! entry has exactly one owner.

use std::collections::BTreeSet;

use super::{LoadError, Source, ValueType};
use crate::format::packed::Entry;
use crate::format::packed::listpack::ListpackRef;

type Result<T> = std::result::Result<T, LoadError>;
/// Milliseconds and sequence, big-endian.
pub type Id = [u8; 16];

/// A record of a deleted entry.
const DELETED: i64 = 1;
/// A record has the block's fields.
const SAME_FIELDS: i64 = 2;

/// What is known of a stream without understanding its entries.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Facts {
    /// Number of entries.
    pub length: u64,
}

/// Sees the parts of a stream as [`walk`] passes them, each after it was checked.
pub trait Visit {
    /// A block's first ID and its listpack: see [`block_entries`].
    fn block(&mut self, _first: Id, _block: ListpackRef<'_>) -> Result<()> {
        Ok(())
    }
    /// Behind all blocks: length, last ID (two numbers) and, from type 19 on, first ID, greatest deleted ID and the
    /// count of entries ever added.
    fn tail(&mut self, _numbers: &[u64]) -> Result<()> {
        Ok(())
    }
    /// A group's name and its last delivered ID (two numbers) and, from type 19 on, the count of entries read.
    fn group(&mut self, _name: &[u8], _numbers: &[u64]) -> Result<()> {
        Ok(())
    }
    /// A pending entry of the last group: when it was delivered (Unix milliseconds) and how often.
    fn pending(&mut self, _id: Id, _time: i64, _deliveries: u64) -> Result<()> {
        Ok(())
    }
    /// A consumer of the last group.
    fn consumer(&mut self, _name: &[u8]) -> Result<()> {
        Ok(())
    }
    /// A pending entry of the last consumer.
    fn owned(&mut self, _id: Id) -> Result<()> {
        Ok(())
    }
}

/// Sees nothing.
struct Blind;
impl Visit for Blind {}

/// Reads a stream's value, of one of the three stream types, to its end.
pub fn check(source: &mut Source<'_>, kind: ValueType) -> Result<Facts> {
    walk(source, kind, &mut Blind)
}

/// The same, showing its parts to `visitor`.
pub fn walk(source: &mut Source<'_>, kind: ValueType, visitor: &mut impl Visit) -> Result<Facts> {
    let blocks = source.length()?;
    let (mut last, mut scratch) = (None, Vec::new());
    for _ in 0..blocks {
        let at = source.offset();
        let id = Id::try_from(source.string(&mut scratch)?)
            .map_err(|_| LoadError::corrupt(at, "Stream block with a key that is no ID"))?;
        if last.is_some_and(|last| last >= id) {
            return Err(LoadError::corrupt(at, "Stream blocks out of order, or one twice"));
        }
        last = Some(id);
        let at = source.offset();
        let block = source.string(&mut scratch)?;
        let block = check_block(block).map_err(|what| {
            LoadError::corrupt(at, format!("Stream listpack integrity check failed: {what}"))
        })?;
        visitor.block(id, block)?;
    }
    let at = source.offset();
    let length = source.length()?;
    if length > 0 && blocks == 0 {
        return Err(LoadError::corrupt(at, "Stream of some length without entries"));
    }
    let numbers = if kind >= ValueType::Stream2 { 2 + 5 } else { 2 };
    let mut tail = [length; 8];
    for number in &mut tail[1..=numbers] {
        *number = source.length()?;
    }
    visitor.tail(&tail[..=numbers])?;
    let mut names = BTreeSet::new();
    for _ in 0..source.length()? {
        let at = source.offset();
        let name = source.owned()?;
        if names.contains(&name) {
            return Err(LoadError::corrupt(at, "Duplicated consumer group name"));
        }
        walk_group(source, kind, &name, visitor)?;
        names.insert(name);
    }
    Ok(Facts { length })
}

fn walk_group(source: &mut Source<'_>, kind: ValueType, name: &[u8], visitor: &mut impl Visit) -> Result<()> {
    let numbers = if kind >= ValueType::Stream2 { 3 } else { 2 };
    let mut head = [0; 3];
    for number in &mut head[..numbers] {
        *number = source.length()?;
    }
    visitor.group(name, &head[..numbers])?;
    let mut pending: Vec<(Id, bool)> = Vec::new();
    for _ in 0..source.length()? {
        let at = source.offset();
        let id: Id = source.array()?;
        if pending.last().is_some_and(|(last, _)| *last >= id) {
            return Err(LoadError::corrupt(at, "Duplicated global PEL entry loading stream consumer group"));
        }
        let time = i64::from_le_bytes(source.array()?);
        visitor.pending(id, time, source.length()?)?;
        pending.push((id, false));
    }
    let mut names = BTreeSet::new();
    for _ in 0..source.length()? {
        let at = source.offset();
        let name = source.owned()?;
        visitor.consumer(&name)?;
        if !names.insert(name) {
            return Err(LoadError::corrupt(at, "Duplicate stream consumer detected"));
        }
        source.skip(if kind >= ValueType::Stream3 { 16 } else { 8 })?;
        walk_consumer(source, &mut pending, visitor)?;
    }
    match pending.iter().find(|(_, owned)| !owned) {
        Some(_) => Err(LoadError::corrupt(source.offset(), "Stream CG PEL entry without consumer")),
        None => Ok(()),
    }
}

fn walk_consumer(
    source: &mut Source<'_>,
    pending: &mut [(Id, bool)],
    visitor: &mut impl Visit,
) -> Result<()> {
    for _ in 0..source.length()? {
        let at = source.offset();
        let id: Id = source.array()?;
        let Ok(place) = pending.binary_search_by_key(&id, |(id, _)| *id) else {
            return Err(LoadError::corrupt(at, "Consumer entry not found in group global PEL"));
        };
        if std::mem::replace(&mut pending[place].1, true) {
            return Err(LoadError::corrupt(at, "Stream consumer PEL entry already has a consumer assigned"));
        }
        visitor.owned(id)?;
    }
    Ok(())
}

fn check_block(bytes: &[u8]) -> std::result::Result<ListpackRef<'_>, String> {
    let block = ListpackRef::new(bytes).map_err(|corrupt| corrupt.to_string())?;
    let mut elements = block.iter();
    check_records(&mut elements).ok_or("its records do not add up")?;
    if elements.next().is_some() { Err("more in it than its records".into()) } else { Ok(block) }
}

/// `None` if the elements are not a master entry and as many records as it says.
fn check_records<'a>(elements: &mut impl Iterator<Item = Entry<'a>>) -> Option<()> {
    let count = number(elements)?;
    let records = count.checked_add(number(elements)?)?;
    let block_fields = number(elements)?;
    step(elements, block_fields)?;
    (number(elements)? == 0).then_some(())?;
    for _ in 0..records {
        let flags = signed(elements)?;
        signed(elements)?;
        signed(elements)?;
        let (fields, more) = if flags & SAME_FIELDS != 0 {
            (block_fields, 3)
        } else {
            let fields = number(elements)?;
            step(elements, fields)?;
            (fields, fields.checked_add(4)?)
        };
        step(elements, fields)?;
        (number(elements)? == fields.checked_add(more)?).then_some(())?;
    }
    Some(())
}

/// The fields and values of an entry.
pub type Fields<'a> = Vec<(Entry<'a>, Entry<'a>)>;

/// Visits the entries of a stream's value in order: ID (milliseconds, sequence) and fields. Deleted ones are left
/// out. The value must have passed [`check`]; what does not add up ends the walk with an error.
pub fn visit_entries(payload: &[u8], mut visit: impl FnMut((u64, u64), Fields<'_>)) -> Result<()> {
    let mut input = payload;
    let mut source = Source::new(&mut input, Some(payload.len()));
    let mut scratch = Vec::new();
    for _ in 0..source.length()? {
        let at = source.offset();
        let id = Id::try_from(source.string(&mut scratch)?)
            .map_err(|_| LoadError::corrupt(at, "Stream block with a key that is no ID"))?;
        let block = source.owned()?;
        let elements = ListpackRef::new(&block).map_err(LoadError::Corrupt)?;
        block_entries(id, elements, &mut visit)
            .ok_or_else(|| LoadError::corrupt(at, "Stream block whose records do not add up"))?;
    }
    Ok(())
}

/// The same for the entries of one block. `None`: its records do not add up.
pub fn block_entries<'a>(
    first: Id,
    block: ListpackRef<'a>,
    visit: &mut impl FnMut((u64, u64), Fields<'a>),
) -> Option<()> {
    let first = u128::from_be_bytes(first);
    let (first_ms, first_seq) = ((first >> 64) as u64, first as u64);
    let elements = &mut block.iter();
    let records = number(elements)?.checked_add(number(elements)?)?;
    let count = number(elements)?;
    let names: Vec<Entry<'a>> = elements.take(count as usize).collect();
    number(elements)?;
    for _ in 0..records {
        let flags = signed(elements)?;
        let id = (
            first_ms.wrapping_add(signed(elements)? as u64),
            first_seq.wrapping_add(signed(elements)? as u64),
        );
        let fields: Fields<'_> = if flags & SAME_FIELDS != 0 {
            names.iter().copied().zip(elements.by_ref()).collect()
        } else {
            let count = number(elements)?;
            (0..count).map_while(|_| elements.next().zip(elements.next())).collect()
        };
        number(elements)?;
        if flags & DELETED == 0 {
            visit(id, fields);
        }
    }
    Some(())
}

fn signed<'a>(elements: &mut impl Iterator<Item = Entry<'a>>) -> Option<i64> {
    elements.next()?.to_i64()
}

/// A number of things.
fn number<'a>(elements: &mut impl Iterator<Item = Entry<'a>>) -> Option<i64> {
    signed(elements).filter(|n| *n >= 0)
}

fn step<'a>(elements: &mut impl Iterator<Item = Entry<'a>>, count: i64) -> Option<()> {
    (0..count).try_for_each(|_| elements.next().map(|_| ()))
}
