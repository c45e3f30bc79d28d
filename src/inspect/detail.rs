//! What in a value is another, when two of one type are compared.
//!
//! | type | compared by |
//! |---|---|
//! | string | its bytes, shown from shortly before the first difference |
//! | hash, set, sorted set | field or member |
//! | list | position, between the longest common beginning and end |
//! | stream | ID; each group, its pending entries, its consumers and what each of them owns |
//!
//! ```text
//! left, right ─► each element: hash of the name, hash of what belongs to it ─► partitions ─► counts, and the first few of each kind
//! left, right again ─► the text of those few
//! ```
//!
//! Values are read twice instead of being kept, so that one of any size is compared in bounded memory. A list of more than
//! [`ITEMS`] items is compared by its length alone, since a shifted list has no elements in common with itself but by position.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;

use super::Result;
use super::dump::id_text;
use super::partitions::{HASH, Partitions};
use super::text::utc;
use super::value::{Role, Visitor};
use crate::format::crc::SealCrc;
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{LoadError, Piece, stream};

/// Bytes of a text that are shown.
const CUT: usize = 60;
/// Of a string that are looked through for the first difference.
const STRING: usize = 256 << 10;
/// Of a string in front of the first difference.
const BEFORE: usize = 10;
/// Items of a list.
const ITEMS: usize = 1 << 20;

/// What differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Detail {
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// The first few of each.
    pub shown: Vec<Element>,
    /// Elements, or bytes of a string, on both sides, where they alone were compared.
    pub lengths: Option<[u64; 2]>,
    /// Of a string: where the first difference is.
    pub at: Option<u64>,
}

/// One element that is not the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// Field, member, position, ID; nothing for a string.
    pub name: Text,
    /// `None`: it is not there. Of a set's member there is only the name, and this is empty.
    pub before: Option<Text>,
    pub after: Option<Text>,
}

/// A beginning of a text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub bytes: Vec<u8>,
    /// There is more of it.
    pub cut: bool,
}

/// Shows the left (0) or the right value (1) to a visitor.
pub type Walk<'w> = dyn FnMut(usize, &mut Each<'_>) -> Result<()> + 'w;

/// Compares two values of the type that TYPE calls `kind`, naming at most `most` elements of each fate.
pub fn compare(kind: &str, most: usize, walk: &mut Walk<'_>) -> Result<Detail> {
    match kind {
        "string" => strings(walk),
        "list" => lists(most, walk),
        "module" => Ok(Detail::default()),
        _ => named(kind == "zset", most, walk),
    }
}

/// What passed of an element.
struct Seen<'s> {
    ordinal: u64,
    name: &'s Passed,
    value: &'s Passed,
}

/// A text that passes in pieces.
struct Passed {
    text: Text,
    /// How much of it is kept.
    most: usize,
    len: u64,
    seal: SealCrc,
}

impl Passed {
    fn new(most: usize) -> Passed {
        Passed { text: Text::default(), most, len: 0, seal: SealCrc::seeded(&[]) }
    }
    fn clear(&mut self) {
        self.text.bytes.clear();
        self.text.cut = false;
        (self.len, self.seal) = (0, SealCrc::seeded(&[]));
    }
    fn put(&mut self, bytes: &[u8]) {
        self.seal.update(bytes);
        self.len += bytes.len() as u64;
        let kept = bytes.len().min(self.most - self.text.bytes.len());
        self.text.bytes.extend_from_slice(&bytes[..kept]);
        self.text.cut |= kept < bytes.len();
    }
    fn words(&self) -> [u64; 2] {
        [self.seal.value(), self.len]
    }
}

/// Hands over a value's elements one by one.
pub struct Each<'s> {
    scored: bool,
    ordinal: u64,
    name: Passed,
    value: Passed,
    /// The stream's group and consumer that are passing, as they are named.
    group: Vec<u8>,
    consumer: Vec<u8>,
    take: &'s mut dyn FnMut(Seen<'_>),
}

impl<'s> Each<'s> {
    fn new(scored: bool, most: usize, take: &'s mut dyn FnMut(Seen<'_>)) -> Each<'s> {
        let (name, value) = (Passed::new(CUT), Passed::new(most));
        Each { scored, ordinal: 0, name, value, group: Vec::new(), consumer: Vec::new(), take }
    }

    fn emit(&mut self) {
        (self.take)(Seen { ordinal: self.ordinal, name: &self.name, value: &self.value });
        self.ordinal += 1;
        self.name.clear();
        self.value.clear();
    }

    fn number(&mut self, number: u64) {
        self.value.put(itoa::Buffer::new().format(number).as_bytes());
        self.value.put(b" ");
    }
}

type Walked = std::result::Result<(), LoadError>;

impl Visitor for Each<'_> {
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> Walked {
        match role {
            Role::Member | Role::Field => self.name.put(piece.bytes),
            Role::Text | Role::Item | Role::Value => self.value.put(piece.bytes),
        }
        let waits = role == Role::Field || role == Role::Member && self.scored;
        if piece.is_last() && !waits {
            self.emit();
        }
        Ok(())
    }

    fn score(&mut self, score: f64) -> Walked {
        let mut text = Vec::new();
        // Both zeros are one score.
        crate::resp::number::format_f64(score + 0.0, &mut text);
        self.value.put(&text);
        self.emit();
        Ok(())
    }
}

impl stream::Visit for Each<'_> {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> Walked {
        let mut digits = itoa::Buffer::new();
        let whole = stream::block_entries(first, block, &mut |(ms, seq), fields| {
            self.name.put(format!("{ms}-{seq}").as_bytes());
            for (i, (field, value)) in fields.into_iter().enumerate() {
                self.value.put(if i > 0 { b" " } else { b"" });
                self.value.put(field.bytes(&mut digits));
                self.value.put(b" ");
                self.value.put(value.bytes(&mut digits));
            }
            self.emit();
        });
        // The block was checked before it was shown.
        debug_assert!(whole.is_some());
        Ok(())
    }
    fn tail(&mut self, numbers: &[u64]) -> Walked {
        self.name.put(b"length and last ID");
        numbers[..numbers.len().min(3)].iter().for_each(|number| self.number(*number));
        self.emit();
        Ok(())
    }
    fn group(&mut self, name: &[u8], numbers: &[u64]) -> Walked {
        self.group = [b"group ", name].concat();
        self.name.put(&self.group);
        let [ms, seq, ..] = numbers else { return Ok(()) };
        self.value.put(format!("last {ms}-{seq}").as_bytes());
        self.emit();
        Ok(())
    }
    fn pending(&mut self, id: stream::Id, time: i64, deliveries: u64) -> Walked {
        self.name.put(&self.group);
        self.name.put(format!(": pending {}", id_text(id)).as_bytes());
        self.value.put(format!("at {} UTC, {deliveries} times", utc(time)).as_bytes());
        self.emit();
        Ok(())
    }
    fn consumer(&mut self, name: &[u8]) -> Walked {
        self.consumer = [&self.group, b": consumer ".as_slice(), name].concat();
        self.name.put(&self.consumer);
        self.emit();
        Ok(())
    }
    fn owned(&mut self, id: stream::Id) -> Walked {
        self.name.put(&self.consumer);
        self.name.put(format!(": {}", id_text(id)).as_bytes());
        self.emit();
        Ok(())
    }
}

/// Which elements shall be shown, by their ordinals: the few smallest.
#[derive(Default)]
struct Chosen {
    removed: BTreeSet<u64>,
    added: BTreeSet<u64>,
    /// In the right value, in the left one.
    changed: BTreeSet<(u64, u64)>,
}

fn keep<T: Ord>(set: &mut BTreeSet<T>, most: usize, one: T) {
    set.insert(one);
    if set.len() > most {
        set.pop_last();
    }
}

/// An element in a partition: hash of the name, side, ordinal, hash of what belongs to it.
const ENTRY: usize = HASH + 1 + 8 + 8;

fn named(scored: bool, most: usize, walk: &mut Walk<'_>) -> Result<Detail> {
    let mut parts: Partitions<ENTRY> = Partitions::new();
    let seed = RandomState::default();
    for side in 0..2 {
        let mut take = |seen: Seen<'_>| {
            let mut rest = [0; ENTRY - HASH];
            let mut hasher = seed.build_hasher();
            seen.value.words().iter().for_each(|word| hasher.write_u64(*word));
            rest[0] = side as u8;
            rest[1..9].copy_from_slice(&seen.ordinal.to_be_bytes());
            rest[9..].copy_from_slice(&hasher.finish().to_be_bytes());
            let [seal, len] = seen.name.words();
            parts.put(seal, &len.to_be_bytes(), &rest);
        };
        let mut each = Each::new(scored, 0, &mut take);
        walk(side, &mut each)?;
    }
    let (mut detail, mut chosen) = (Detail::default(), Chosen::default());
    parts.each_key(|entries| {
        let last = |side: u8| entries.iter().rfind(|entry| entry[HASH] == side);
        let ordinal =
            |entry: &[u8; ENTRY]| entry[HASH + 1..HASH + 9].try_into().map_or(0, u64::from_be_bytes);
        match (last(0), last(1)) {
            (Some(left), None) => {
                detail.removed += 1;
                keep(&mut chosen.removed, most, ordinal(left));
            }
            (None, Some(right)) => {
                detail.added += 1;
                keep(&mut chosen.added, most, ordinal(right));
            }
            (Some(left), Some(right)) if left[HASH + 9..] != right[HASH + 9..] => {
                detail.changed += 1;
                keep(&mut chosen.changed, most, (ordinal(right), ordinal(left)));
            }
            _ => {}
        }
    })?;
    tell(&mut detail, &chosen, scored, walk)?;
    Ok(detail)
}

/// Reads both once more for the text of what was chosen.
fn tell(detail: &mut Detail, chosen: &Chosen, scored: bool, walk: &mut Walk<'_>) -> Result<()> {
    let lefts: BTreeSet<u64> =
        chosen.removed.iter().copied().chain(chosen.changed.iter().map(|pair| pair.1)).collect();
    let rights: BTreeSet<u64> =
        chosen.added.iter().copied().chain(chosen.changed.iter().map(|pair| pair.0)).collect();
    let mut found: [BTreeMap<u64, (Text, Text)>; 2] = Default::default();
    for (side, (wanted, found)) in [lefts, rights].into_iter().zip(&mut found).enumerate() {
        let mut take = |seen: Seen<'_>| {
            if wanted.contains(&seen.ordinal) {
                found.insert(seen.ordinal, (seen.name.text.clone(), seen.value.text.clone()));
            }
        };
        let mut each = Each::new(scored, CUT, &mut take);
        if !wanted.is_empty() {
            walk(side, &mut each)?;
        }
    }
    let [mut lefts, mut rights] = found;
    for ordinal in &chosen.removed {
        let (name, value) = lefts.remove(ordinal).unwrap_or_default();
        detail.shown.push(Element { name, before: Some(value), after: None });
    }
    for ordinal in &chosen.added {
        let (name, value) = rights.remove(ordinal).unwrap_or_default();
        detail.shown.push(Element { name, before: None, after: Some(value) });
    }
    for (right, left) in &chosen.changed {
        let (_, before) = lefts.remove(left).unwrap_or_default();
        let (name, after) = rights.remove(right).unwrap_or_default();
        detail.shown.push(Element { name, before: Some(before), after: Some(after) });
    }
    Ok(())
}

fn lists(most: usize, walk: &mut Walk<'_>) -> Result<Detail> {
    let seed = RandomState::default();
    let mut sides: [Vec<u64>; 2] = Default::default();
    let mut lengths = [0; 2];
    for (side, (hashes, length)) in sides.iter_mut().zip(&mut lengths).enumerate() {
        let mut take = |seen: Seen<'_>| {
            *length += 1;
            if hashes.len() < ITEMS {
                let mut hasher = seed.build_hasher();
                seen.value.words().iter().for_each(|word| hasher.write_u64(*word));
                hashes.push(hasher.finish());
            }
        };
        walk(side, &mut Each::new(false, 0, &mut take))?;
    }
    if lengths.iter().any(|length| *length > ITEMS as u64) {
        return Ok(Detail { lengths: Some(lengths), ..Detail::default() });
    }
    let [a, b] = sides;
    let begin = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[begin..], &b[begin..]);
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count();
    let (a, b) = (&a[..a.len() - end], &b[..b.len() - end]);
    let (mut detail, mut chosen) = (Detail::default(), Chosen::default());
    for i in 0..a.len().max(b.len()) {
        let ordinal = (begin + i) as u64;
        match (a.get(i), b.get(i)) {
            (Some(_), None) => {
                detail.removed += 1;
                keep(&mut chosen.removed, most, ordinal);
            }
            (None, Some(_)) => {
                detail.added += 1;
                keep(&mut chosen.added, most, ordinal);
            }
            (Some(a), Some(b)) if a != b => {
                detail.changed += 1;
                keep(&mut chosen.changed, most, (ordinal, ordinal));
            }
            _ => {}
        }
    }
    tell(&mut detail, &chosen, false, walk)?;
    let ordinals =
        chosen.removed.iter().chain(&chosen.added).chain(chosen.changed.iter().map(|pair| &pair.0));
    for (element, ordinal) in detail.shown.iter_mut().zip(ordinals) {
        element.name = Text { bytes: ordinal.to_string().into_bytes(), cut: false };
    }
    Ok(detail)
}

fn strings(walk: &mut Walk<'_>) -> Result<Detail> {
    let mut sides: [(Vec<u8>, u64); 2] = Default::default();
    for (side, found) in sides.iter_mut().enumerate() {
        let mut take = |seen: Seen<'_>| *found = (seen.value.text.bytes.clone(), seen.value.len);
        walk(side, &mut Each::new(false, STRING, &mut take))?;
    }
    let [(a, a_len), (b, b_len)] = sides;
    let at = a.iter().zip(&b).take_while(|(a, b)| a == b).count();
    let mut detail = Detail { lengths: Some([a_len, b_len]), ..Detail::default() };
    if at < STRING {
        let from = if at <= CUT / 2 { 0 } else { at - BEFORE };
        let text = |bytes: &[u8], len: u64| {
            let bytes = bytes.get(from..).unwrap_or_default();
            let kept = bytes.len().min(CUT);
            Text { bytes: bytes[..kept].to_vec(), cut: len > (from + kept) as u64 }
        };
        let (before, after) = (Some(text(&a, a_len)), Some(text(&b, b_len)));
        detail.at = Some(at as u64);
        detail.shown.push(Element { name: Text::default(), before, after });
    }
    Ok(detail)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::rdb::{Reader, ValueType};
    use crate::inspect::value::{self, Scratch};

    fn shown(text: &Text) -> String {
        String::from_utf8_lossy(&text.bytes).into_owned() + if text.cut { "…" } else { "" }
    }

    /// Two values' bytes as a file holds them, and what is said: counts, then each element.
    fn said(kind: ValueType, left: &[u8], right: &[u8]) -> String {
        let mut walk = |side: usize, each: &mut Each<'_>| {
            let mut input = [left, right][side];
            let mut reader = Reader::resume(&mut input, 10, 0, None);
            value::walk(&mut reader, kind, &mut Scratch::default(), each).unwrap();
            Ok(())
        };
        let detail = compare(value::type_word(kind), 2, &mut walk).unwrap();
        let mut text = format!("{} {} {}", detail.removed, detail.added, detail.changed);
        for element in &detail.shown {
            let side = |side: &Option<Text>| side.as_ref().map_or("-".into(), shown);
            text +=
                &format!(" | {} {}>{}", shown(&element.name), side(&element.before), side(&element.after));
        }
        text
    }

    fn texts(count: u8, words: &[&str]) -> Vec<u8> {
        let mut bytes = vec![count];
        words.iter().for_each(|word| {
            bytes.push(word.len() as u8);
            bytes.extend_from_slice(word.as_bytes());
        });
        bytes
    }

    #[test]
    fn elements_are_named() {
        let check = |kind, (n, left): (u8, &[&str]), (m, right): (u8, &[&str]), expected: &str| {
            assert_eq!(said(kind, &texts(n, left), &texts(m, right)), expected, "{left:?} {right:?}");
        };
        let (hash, set, list) = (ValueType::Hash, ValueType::Set, ValueType::List);
        check(hash, (2, &["a", "1", "b", "2"]), (2, &["b", "3", "c", "4"]), "1 1 1 | a 1>- | c ->4 | b 2>3");
        check(set, (2, &["a", "b"]), (2, &["b", "a"]), "0 0 0");
        check(set, (4, &["a", "b", "c", "d"]), (1, &["a"]), "3 0 0 | b >- | c >-");
        check(list, (3, &["a", "b", "c"]), (3, &["a", "x", "c"]), "0 0 1 | 1 b>x");
        check(list, (3, &["a", "b", "c"]), (2, &["a", "c"]), "1 0 0 | 1 b>-");
        check(list, (1, &["a"]), (3, &["z", "y", "a"]), "0 2 0 | 0 ->z | 1 ->y");
        let score = |member: &str, score: f64| [texts(1, &[member]), score.to_le_bytes().to_vec()].concat();
        assert_eq!(said(ValueType::Zset2, &score("m", 1.0), &score("m", 2.5)), "0 0 1 | m 1>2.5");
    }

    /// Who owns what is named, not only that a group is another.
    #[test]
    fn groups_are_compared_part_by_part() {
        let id = |n: u8| [[0; 7].as_slice(), &[n], &[0; 8]].concat();
        // No entries, all numbers zero, one group with one pending entry, two consumers, one of which owns it.
        let stream = |deliveries: u8, owner: usize| {
            let mut bytes = vec![0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, b'g', 7, 0, 1, 1];
            bytes.extend(id(7));
            bytes.extend(5000_i64.to_le_bytes());
            bytes.extend([deliveries, 2]);
            for consumer in 0..2 {
                bytes.extend([1, b'a' + consumer as u8]);
                bytes.extend([0; 16]);
                bytes.push(u8::from(consumer == owner));
                bytes.extend(if consumer == owner { id(7) } else { Vec::new() });
            }
            bytes
        };
        let check = |left: Vec<u8>, right: Vec<u8>, expected: &str| {
            assert_eq!(said(ValueType::Stream3, &left, &right), expected);
        };
        check(stream(1, 0), stream(1, 0), "0 0 0");
        let pending =
            "group g: pending 7-0 at 1970-01-01 00:00:05 UTC, 1 times>at 1970-01-01 00:00:05 UTC, 2 times";
        check(stream(1, 0), stream(2, 0), &format!("0 0 1 | {pending}"));
        check(
            stream(1, 0),
            stream(1, 1),
            "1 1 0 | group g: consumer a: 7-0 >- | group g: consumer b: 7-0 ->",
        );
    }

    #[test]
    fn strings_are_shown_where_they_differ() {
        let text = |text: &str| {
            let mut bytes = vec![0x80];
            bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
            [bytes, text.as_bytes().to_vec()].concat()
        };
        let check = |left: &str, right: &str, expected: &str| {
            assert_eq!(said(ValueType::Str, &text(left), &text(right)), expected);
        };
        check("abc", "abd", "0 0 0 |  abc>abd");
        let long = "x".repeat(100);
        let far = format!("{long}1{long}");
        check(
            &far,
            &format!("{long}2"),
            &format!("0 0 0 |  {}1{}…>{}2", &long[..10], &long[..49], &long[..10]),
        );
        let huge = "x".repeat(STRING);
        check(&format!("{huge}1"), &format!("{huge}2"), "0 0 0");
    }
}
