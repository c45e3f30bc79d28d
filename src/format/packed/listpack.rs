//! The listpack: a sequence of byte strings and integers in one allocation, walkable both ways.
//!
//! ```text
//! total bytes u32 LE │ count u16 LE, 65535 = count by walking │ entry … │ FF
//! entry = head and content │ backlen: size of head and content, read from its last byte backwards
//! ```
//!
//! | first byte | then | entry |
//! |---|---|---|
//! | `0nnnnnnn` | – | integer 0…127 |
//! | `10llllll` | l bytes | string up to 63 bytes |
//! | `110nnnnn` | 1 byte, low bits | integer of 13 bits, two's complement |
//! | `1110llll` | 1 byte, low bits of l; l bytes | string up to 4,095 bytes |
//! | `F0` | u32 LE l; l bytes | string |
//! | `F1` `F2` `F3` `F4` | 2, 3, 4, 8 bytes LE | integer |
//! | `FF` | – | end |
//!
//! This is the layout of Redis 7, in memory as in RDB, so that a collection is saved by copying and loaded by
//! checking. [`Listpack`] owns a blob, [`ListpackRef`] borrows one; both exist only of blobs in which every entry,
//! backlen and count is right, therefore reading them cannot fail. What may differ from what we would write: a
//! longer head than needed, and a number kept as text; both are accepted as Redis does.
//!
//! A place in a listpack is a [`Pos`], so that a command finds an entry once and then reads, replaces or removes
//! it. A tree or an index beside the blob was not considered: these collections are small by definition (128
//! entries by default), and walking 1 KiB costs less than following pointers.
//!
//! **Growth**: room is taken an eighth ahead and given back below a half, as the count of bytes per key matters
//! more here than the copy.

use super::Entry;
use crate::error::Corrupt;
use crate::resp::number::parse_i64;
use crate::units::allocation_size;

const HEADER: usize = 6;
const COUNT_AT: usize = 4;
const END: u8 = 0xff;
/// Count field of a listpack with that many entries or more.
const COUNT_UNKNOWN: usize = u16::MAX as usize;
/// A listpack that commands let grow beyond this would not be one in Redis either.
const MAX_BYTES: usize = 1 << 30;
/// Bytes below which a listpack keeps next to no room to grow into.
const SMALL: usize = 1024;

/// A place in a listpack: an entry, or the end. It stays good while nothing before it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Pos(u32);

/// An owned listpack.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listpack(Vec<u8>);

/// A borrowed listpack.
#[derive(Clone, Copy, Debug)]
pub struct ListpackRef<'a>(&'a [u8]);

impl Listpack {
    pub fn new() -> Listpack {
        Listpack(vec![HEADER as u8 + 1, 0, 0, 0, 0, 0, END])
    }

    /// Checks `bytes` whole and adopts them.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Listpack, Corrupt> {
        check(&bytes)?;
        Ok(Listpack(bytes))
    }

    pub fn view(&self) -> ListpackRef<'_> {
        ListpackRef(&self.0)
    }
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
    /// Size of the blob.
    pub fn bytes_len(&self) -> usize {
        self.0.len()
    }
    /// Size of the allocation.
    pub fn heap_bytes(&self) -> usize {
        self.0.capacity()
    }
    pub fn len(&self) -> usize {
        self.view().len()
    }
    pub fn is_empty(&self) -> bool {
        self.view().is_empty()
    }
    pub fn first(&self) -> Option<Pos> {
        self.view().first()
    }
    pub fn last(&self) -> Option<Pos> {
        self.view().last()
    }
    pub fn end(&self) -> Pos {
        self.view().end()
    }
    pub fn next(&self, pos: Pos) -> Option<Pos> {
        self.view().next(pos)
    }
    pub fn prev(&self, pos: Pos) -> Option<Pos> {
        self.view().prev(pos)
    }
    pub fn seek(&self, index: i64) -> Option<Pos> {
        self.view().seek(index)
    }
    pub fn entry(&self, pos: Pos) -> Option<Entry<'_>> {
        self.view().entry(pos)
    }
    pub fn get(&self, index: i64) -> Option<Entry<'_>> {
        self.view().get(index)
    }
    pub fn find(&self, value: &[u8], skip: usize) -> Option<Pos> {
        self.view().find(value, skip)
    }
    pub fn find_from(&self, from: Pos, value: &[u8], skip: usize) -> Option<Pos> {
        self.view().find_from(from, value, skip)
    }
    pub fn iter(&self) -> Iter<'_> {
        self.view().iter()
    }
    pub fn positions(&self) -> Positions<'_> {
        self.view().positions()
    }
    pub fn pairs(&self) -> Pairs<'_> {
        self.view().pairs()
    }

    /// Whether `more` bytes may be added; asked by commands before they do, as Redis asks.
    pub fn may_grow_by(&self, more: usize) -> bool {
        self.0.len().saturating_add(more) <= MAX_BYTES
    }

    /// Bytes that `value` takes as an entry.
    pub fn entry_size<'v>(value: impl Into<Entry<'v>>) -> usize {
        Encoded::of(value.into()).size()
    }

    pub fn push<'v>(&mut self, value: impl Into<Entry<'v>>) {
        self.insert(self.end(), value);
    }
    pub fn push_front<'v>(&mut self, value: impl Into<Entry<'v>>) {
        self.insert(Pos(HEADER as u32), value);
    }

    /// Puts `value` before the entry at `at`, or last if that is the end; `at` then is the new entry. A string
    /// that is an integer's text is kept as integer.
    ///
    /// Panics if the blob would pass 4 GiB, which [`Listpack::may_grow_by`] prevents long before.
    pub fn insert<'v>(&mut self, at: Pos, value: impl Into<Entry<'v>>) {
        let encoded = Encoded::of(value.into());
        self.splice(at.0 as usize, 0, &encoded);
        self.set_count(|count| count + 1);
    }

    /// Puts `value` in the place of the entry at `at`, which stays its position.
    pub fn replace<'v>(&mut self, at: Pos, value: impl Into<Entry<'v>>) {
        let at = at.0 as usize;
        let Some(old) = entry_end(body(&self.0), at) else { return };
        self.splice(at, old - at, &Encoded::of(value.into()));
    }

    /// Removes the entry at `at`, where then the following entry, or the end, is.
    pub fn remove(&mut self, at: Pos) {
        self.remove_range(at, 1);
    }

    /// Removes the entry at `at` and those after it, `count` in all or as many as there are; returns how many.
    pub fn remove_range(&mut self, at: Pos, count: usize) -> usize {
        let at = at.0 as usize;
        let (mut end, mut removed) = (at, 0);
        while removed < count
            && let Some(next) = entry_end(body(&self.0), end)
        {
            (end, removed) = (next, removed + 1);
        }
        self.0.copy_within(end.., at);
        self.truncate(self.0.len() - (end - at));
        self.set_count(|count| count - removed);
        removed
    }

    /// Cuts off the entries from `at` on and returns them.
    pub fn split_off(&mut self, at: Pos) -> Listpack {
        let mut tail = Listpack::new();
        let at = at.0 as usize;
        let moved = &self.0[at..self.0.len() - 1];
        tail.open_gap(HEADER, 0, moved.len());
        tail.0[HEADER..HEADER + moved.len()].copy_from_slice(moved);
        let count = tail.view().count_by_walking();
        tail.set_count(|_| count);
        self.0[at] = END;
        self.truncate(at + 1);
        self.set_count(|all| all - count);
        tail
    }

    /// Adds all entries of `other` at the end. Panics like [`Listpack::insert`].
    pub fn append(&mut self, other: ListpackRef<'_>) {
        let at = self.0.len() - 1;
        let added = body(other.0).get(HEADER..).unwrap_or_default();
        self.open_gap(at, 0, added.len());
        self.0[at..at + added.len()].copy_from_slice(added);
        let count = other.len();
        self.set_count(|all| all + count);
    }

    fn splice(&mut self, at: usize, old: usize, encoded: &Encoded<'_>) {
        self.open_gap(at, old, encoded.size());
        encoded.write(&mut self.0[at..]);
    }

    /// Makes the `old` bytes at `at` into `new` bytes, of any content.
    fn open_gap(&mut self, at: usize, old: usize, new: usize) {
        let len = self.0.len();
        if new > old {
            let grown = len + new - old;
            assert!(u32::try_from(grown).is_ok(), "a listpack of {grown} bytes");
            if grown > self.0.capacity() {
                // Small ones are many and rarely change: they get the allocator's next size and no more. Whole sizes for all,
                // so that a list's full node of 8 KiB lies in a block of that.
                let room = if grown < SMALL { grown } else { grown + grown / 8 };
                self.0.reserve_exact(allocation_size(room) - len);
            }
            self.0.resize(grown, 0);
            self.0.copy_within(at + old..len, at + new);
            self.set_total();
        } else if new < old {
            self.0.copy_within(at + old.., at + new);
            self.truncate(len + new - old);
        }
    }

    fn truncate(&mut self, len: usize) {
        self.0.truncate(len);
        if len < self.0.capacity() / 2 {
            self.0.shrink_to(len + len / 8);
        }
        self.set_total();
    }

    fn set_total(&mut self) {
        let total = self.0.len() as u32;
        self.0[..COUNT_AT].copy_from_slice(&total.to_le_bytes());
    }

    /// Once unknown the count stays so: to learn it takes a walk, which [`ListpackRef::len`] does.
    fn set_count(&mut self, change: impl FnOnce(usize) -> usize) {
        let field = count_field(&self.0);
        if field != COUNT_UNKNOWN {
            let count = change(field).min(COUNT_UNKNOWN) as u16;
            self.0[COUNT_AT..HEADER].copy_from_slice(&count.to_le_bytes());
        }
    }
}

impl Default for Listpack {
    fn default() -> Listpack {
        Listpack::new()
    }
}

impl<'v, V: Into<Entry<'v>>> FromIterator<V> for Listpack {
    fn from_iter<I: IntoIterator<Item = V>>(values: I) -> Listpack {
        let mut all = Listpack::new();
        values.into_iter().for_each(|value| all.push(value));
        all
    }
}

impl<'a> ListpackRef<'a> {
    /// Checks `bytes` whole.
    pub fn new(bytes: &'a [u8]) -> Result<ListpackRef<'a>, Corrupt> {
        check(bytes)?;
        Ok(ListpackRef(bytes))
    }
    pub fn as_bytes(self) -> &'a [u8] {
        self.0
    }
    /// Number of entries; from the header below 65,535, else by a walk.
    pub fn len(self) -> usize {
        match count_field(self.0) {
            COUNT_UNKNOWN => self.count_by_walking(),
            count => count,
        }
    }
    pub fn is_empty(self) -> bool {
        self.first().is_none()
    }
    pub fn first(self) -> Option<Pos> {
        self.at(HEADER)
    }
    pub fn last(self) -> Option<Pos> {
        self.prev(self.end())
    }
    pub fn end(self) -> Pos {
        Pos(self.0.len() as u32 - 1)
    }
    /// The entry after that at `pos`.
    #[inline]
    pub fn next(self, pos: Pos) -> Option<Pos> {
        self.at(entry_end(body(self.0), pos.0 as usize)?)
    }
    /// The entry before that at `pos`, or before the end.
    #[inline]
    pub fn prev(self, pos: Pos) -> Option<Pos> {
        entry_start(self.0, pos.0 as usize).map(|at| Pos(at as u32))
    }
    /// The entry with this index; -1 is the last. Walks from the nearer end.
    pub fn seek(self, index: i64) -> Option<Pos> {
        let len = self.len();
        let index = usize::try_from(if index < 0 { index.checked_add_unsigned(len as u64)? } else { index })
            .ok()
            .filter(|index| *index < len)?;
        if index <= len / 2 {
            (0..index).try_fold(self.first()?, |pos, _| self.next(pos))
        } else {
            (index + 1..len).try_fold(self.last()?, |pos, _| self.prev(pos))
        }
    }
    /// What is at `pos`; `None` at the end.
    #[inline]
    pub fn entry(self, pos: Pos) -> Option<Entry<'a>> {
        decode(body(self.0).get(pos.0 as usize..)?).map(|(entry, _)| entry)
    }
    pub fn get(self, index: i64) -> Option<Entry<'a>> {
        self.entry(self.seek(index)?)
    }
    /// The first entry equal to `value` among every `skip + 1`th: 0 looks at all, 1 at the fields of a hash.
    pub fn find(self, value: &[u8], skip: usize) -> Option<Pos> {
        self.find_from(Pos(HEADER as u32), value, skip)
    }
    /// As [`ListpackRef::find`], looking first at the entry at `from`.
    pub fn find_from(self, from: Pos, value: &[u8], skip: usize) -> Option<Pos> {
        let body = body(self.0);
        let number = parse_i64(value);
        let mut at = from.0 as usize;
        loop {
            let (entry, size) = decode(body.get(at..)?)?;
            let equal = match entry {
                Entry::Int(n) => number == Some(n),
                // Names in a collection differ at the end more often than at the start.
                Entry::Str(bytes) => {
                    bytes.len() == value.len() && bytes.last() == value.last() && bytes == value
                }
            };
            if equal {
                return Some(Pos(at as u32));
            }
            at += size + backlen_size(size);
            for _ in 0..skip {
                at = entry_end(body, at)?;
            }
        }
    }
    pub fn iter(self) -> Iter<'a> {
        Iter(self.positions())
    }
    /// All entries with their places.
    pub fn positions(self) -> Positions<'a> {
        Positions { all: self, front: HEADER, back: self.0.len() - 1 }
    }
    /// All entries two by two: field and value, member and score.
    pub fn pairs(self) -> Pairs<'a> {
        Pairs(self.iter())
    }

    fn at(self, at: usize) -> Option<Pos> {
        (at + 1 < self.0.len()).then_some(Pos(at as u32))
    }
    fn count_by_walking(self) -> usize {
        let mut at = HEADER;
        std::iter::from_fn(|| entry_end(body(self.0), at).inspect(|next| at = *next)).count()
    }
}

/// Entries with their places, from both ends.
#[derive(Clone)]
pub struct Positions<'a> {
    all: ListpackRef<'a>,
    front: usize,
    back: usize,
}

impl<'a> Iterator for Positions<'a> {
    type Item = (Pos, Entry<'a>);
    #[inline]
    fn next(&mut self) -> Option<(Pos, Entry<'a>)> {
        let at = self.front;
        let (entry, size) = decode(self.all.0.get(at..self.back)?)?;
        self.front = at + size + backlen_size(size);
        Some((Pos(at as u32), entry))
    }
}

impl<'a> DoubleEndedIterator for Positions<'a> {
    fn next_back(&mut self) -> Option<(Pos, Entry<'a>)> {
        if self.back <= self.front {
            return None;
        }
        let at = entry_start(self.all.0, self.back)?;
        let (entry, _) = decode(&self.all.0[at..self.back])?;
        self.back = at;
        Some((Pos(at as u32), entry))
    }
}

/// Entries, from both ends.
#[derive(Clone)]
pub struct Iter<'a>(Positions<'a>);

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;
    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        self.0.next().map(|(_, entry)| entry)
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    fn next_back(&mut self) -> Option<Entry<'a>> {
        self.0.next_back().map(|(_, entry)| entry)
    }
}

/// Entries two by two, from both ends; an odd one at the end would not be yielded.
#[derive(Clone)]
pub struct Pairs<'a>(Iter<'a>);

impl<'a> Iterator for Pairs<'a> {
    type Item = (Entry<'a>, Entry<'a>);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        Some((self.0.next()?, self.0.next()?))
    }
}

impl DoubleEndedIterator for Pairs<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let second = self.0.next_back()?;
        Some((self.0.next_back()?, second))
    }
}

/// Everything a blob must be before it is a listpack.
fn check(bytes: &[u8]) -> Result<(), Corrupt> {
    let len = bytes.len();
    if len <= HEADER {
        return Err(Corrupt::new(0, "listpack shorter than its header"));
    }
    let total = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    if total as usize != len {
        return Err(Corrupt::new(0, format!("listpack of {len} bytes says it has {total}")));
    }
    if bytes[len - 1] != END {
        return Err(Corrupt::new(len as u64 - 1, "listpack without end"));
    }
    let body = body(bytes);
    let (mut at, mut count) = (HEADER, 0);
    while at < body.len() {
        let corrupt = |what| Corrupt::new(at as u64, what);
        let (_, size) = decode(&body[at..]).ok_or_else(|| corrupt("listpack entry unknown or cut short"))?;
        let end = at + size + backlen_size(size);
        let backlen_is_right = match size {
            0..=127 => body.get(at + size).is_some_and(|byte| usize::from(*byte) == size),
            _ => body.get(at + size..end) == Some(&backlen(size).0[..end - at - size]),
        };
        if !backlen_is_right {
            return Err(corrupt("listpack entry whose length backwards is another"));
        }
        (at, count) = (end, count + 1);
    }
    let field = count_field(bytes);
    if field != COUNT_UNKNOWN && field != count {
        return Err(Corrupt::new(
            COUNT_AT as u64,
            format!("listpack of {count} entries says it has {field}"),
        ));
    }
    Ok(())
}

/// Header and entries, without the end byte: offsets in it are offsets in the blob.
#[inline]
fn body(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len() - 1]
}

#[inline]
fn count_field(bytes: &[u8]) -> usize {
    u16::from_le_bytes([bytes[COUNT_AT], bytes[COUNT_AT + 1]]) as usize
}

/// The entry at the start of `bytes` and the size of its head and content (without backlen); `None` if `bytes`
/// is empty or does not start with a whole entry.
#[inline]
fn decode(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let string = |head: usize, len: usize| Some((Entry::Str(bytes.get(head..head + len)?), head + len));
    let int = |n: i64, size: usize| Some((Entry::Int(n), size));
    match *bytes {
        [n @ 0..=0x7f, ..] => int(n.into(), 1),
        [l @ 0x80..=0xbf, ..] => string(1, (l & 0x3f).into()),
        // The sign bit is the thirteenth: shifted to the top and back.
        [h @ 0xc0..=0xdf, l, ..] => int((i16::from_be_bytes([h << 3, 0]) >> 3) as i64 | i64::from(l), 2),
        [h @ 0xe0..=0xef, l, ..] => string(2, u16::from_be_bytes([h & 0x0f, l]).into()),
        [0xf0, a, b, c, d, ..] => string(5, u32::from_le_bytes([a, b, c, d]) as usize),
        [0xf1, a, b, ..] => int(i16::from_le_bytes([a, b]).into(), 3),
        [0xf2, a, b, c, ..] => int((i32::from_le_bytes([0, a, b, c]) >> 8).into(), 4),
        [0xf3, a, b, c, d, ..] => int(i32::from_le_bytes([a, b, c, d]).into(), 5),
        [0xf4, a, b, c, d, e, f, g, h, ..] => int(i64::from_le_bytes([a, b, c, d, e, f, g, h]), 9),
        _ => None,
    }
}

/// Where the entry at `at` ends, backlen included; `None` if there is none.
#[inline]
fn entry_end(body: &[u8], at: usize) -> Option<usize> {
    // The commonest entries, whose size the first byte tells and whose backlen is one byte.
    match *body.get(at)? {
        0..=0x7f => return Some(at + 2),
        l @ 0x80..=0xbf => return Some(at + 2 + usize::from(l & 0x3f)),
        _ => {}
    }
    let (_, size) = decode(body.get(at..)?)?;
    Some(at + size + backlen_size(size))
}

/// Where the entry that ends at `end` starts; `None` at the first.
#[inline]
fn entry_start(bytes: &[u8], end: usize) -> Option<usize> {
    let (mut size, mut shift) = (0usize, 0);
    for (read, byte) in bytes.get(HEADER..end)?.iter().rev().take(5).enumerate() {
        size |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return end.checked_sub(size + read + 1);
        }
    }
    None
}

/// Bytes that the size of an entry takes. The limits are Redis': the largest number of two, three and four
/// groups of seven bits already takes a byte more.
#[inline]
fn backlen_size(size: usize) -> usize {
    match size {
        0..=127 => 1,
        128..16_383 => 2,
        16_383..2_097_151 => 3,
        2_097_151..268_435_455 => 4,
        _ => 5,
    }
}

/// The size of an entry, highest seven bits first, all bytes but the first with the top bit set.
fn backlen(size: usize) -> ([u8; 5], usize) {
    let len = backlen_size(size);
    let bytes = std::array::from_fn(|i| match i {
        i if i >= len => 0,
        i => (size >> (7 * (len - 1 - i)) & 0x7f) as u8 | if i == 0 { 0 } else { 0x80 },
    });
    (bytes, len)
}

/// An entry ready to be copied into its place.
struct Encoded<'v> {
    head: [u8; 9],
    head_len: usize,
    content: &'v [u8],
}

impl<'v> Encoded<'v> {
    fn of(value: Entry<'v>) -> Encoded<'v> {
        match value {
            Entry::Int(n) => Encoded::int(n),
            Entry::Str(bytes) => match parse_i64(bytes) {
                Some(n) => Encoded::int(n),
                None => Encoded::string(bytes),
            },
        }
    }

    fn int(n: i64) -> Encoded<'v> {
        let [a, b, c, d, ..] = n.to_le_bytes();
        match n {
            0..=127 => Encoded::new(&[a], &[]),
            -4096..=4095 => Encoded::new(&[0xc0 | b & 0x1f, a], &[]),
            -0x8000..=0x7fff => Encoded::new(&[0xf1, a, b], &[]),
            -0x80_0000..=0x7f_ffff => Encoded::new(&[0xf2, a, b, c], &[]),
            -0x8000_0000..=0x7fff_ffff => Encoded::new(&[0xf3, a, b, c, d], &[]),
            _ => {
                let mut encoded = Encoded { head: [0xf4; 9], head_len: 9, content: &[] };
                encoded.head[1..].copy_from_slice(&n.to_le_bytes());
                encoded
            }
        }
    }

    fn string(bytes: &'v [u8]) -> Encoded<'v> {
        let [a, b, c, d, ..] = bytes.len().to_le_bytes();
        match bytes.len() {
            0..=63 => Encoded::new(&[0x80 | a], bytes),
            64..=4095 => Encoded::new(&[0xe0 | b, a], bytes),
            _ => Encoded::new(&[0xf0, a, b, c, d], bytes),
        }
    }

    fn new(head: &[u8], content: &'v [u8]) -> Encoded<'v> {
        let mut padded = [0; 9];
        padded[..head.len()].copy_from_slice(head);
        Encoded { head: padded, head_len: head.len(), content }
    }

    /// Head, content and backlen.
    fn size(&self) -> usize {
        let size = self.head_len + self.content.len();
        size + backlen_size(size)
    }

    fn write(&self, to: &mut [u8]) {
        let size = self.head_len + self.content.len();
        let (backlen, backlen_size) = backlen(size);
        to[..self.head_len].copy_from_slice(&self.head[..self.head_len]);
        to[self.head_len..size].copy_from_slice(self.content);
        to[size..size + backlen_size].copy_from_slice(&backlen[..backlen_size]);
    }
}

#[cfg(test)]
#[path = "listpack_tests.rs"]
mod tests;
