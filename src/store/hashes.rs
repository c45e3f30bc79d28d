//! The hash value: one listpack of field, value, field, value … while small, a table of fields beyond.
//!
//! | shape | while | OBJECT ENCODING |
//! |---|---|---|
//! | `Packed` | at most `hash-max-listpack-entries` fields, none and no value above `hash-max-listpack-value` bytes | listpack |
//! | `Table` | else, and from then on for ever | hashtable |
//!
//! In the table a field and its value are one counted allocation ([`Field`]), so that a field costs one block of
//! 17 bytes more than its content (25 from 255 bytes on) and a handle in the table, where Redis spends a dictEntry,
//! two strings and a bucket. Changing a value makes a new block; that costs what a reallocation would, and is what
//! lets a snapshot share the old one. Numbers are kept as text: a tag would save bytes on few and cost all.
//!
//! The table is [`Partitions`], so a hash of a million fields is cloned in microseconds when a snapshot holds it.
//!
//! Always: no field occurs twice; a listpack holds whole pairs.

use fastrand::Rng;
use smallvec::SmallVec;
use triomphe::ThinArc;

use super::hash::{MapSet, hash};
use super::limits::Limits;
use super::partitions::{Item, Partitions};
use super::sample;
use crate::error::Corrupt;
use crate::format::packed::Entry;
use crate::format::packed::listpack::Listpack;

/// A hash.
#[derive(Clone, Debug, Default)]
pub struct Hash(Shape);

#[derive(Clone)]
enum Shape {
    Packed(Listpack),
    Table(Box<Partitions<Field>>),
}

impl Default for Shape {
    fn default() -> Shape {
        Shape::Packed(Listpack::new())
    }
}

impl std::fmt::Debug for Shape {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Shape::Packed(pairs) => pairs.fmt(f),
            Shape::Table(table) => f.debug_list().entries(table.iter()).finish(),
        }
    }
}

/// A field of a table with its value: `field's length │ field │ value`, the length one byte, or from 255 on the
/// byte 255 and a u32 LE. Cloning shares.
#[derive(Clone)]
pub struct Field(ThinArc<(), u8>);

const LONG: u8 = u8::MAX;

impl Field {
    pub fn new(field: &[u8], value: &[u8]) -> Field {
        let long = (field.len() as u32).to_le_bytes();
        let head: &[u8] = if field.len() < LONG as usize {
            &[field.len() as u8]
        } else {
            &[LONG, long[0], long[1], long[2], long[3]]
        };
        let mut bytes: SmallVec<[u8; 256]> = SmallVec::with_capacity(head.len() + field.len() + value.len());
        [head, field, value].into_iter().for_each(|part| bytes.extend_from_slice(part));
        Field(ThinArc::from_header_and_slice((), &bytes))
    }

    fn parts(&self) -> (&[u8], &[u8]) {
        match &self.0.slice {
            [LONG, a, b, c, d, rest @ ..] => rest.split_at(u32::from_le_bytes([*a, *b, *c, *d]) as usize),
            [len, rest @ ..] => rest.split_at(*len as usize),
            [] => (&[], &[]),
        }
    }

    pub fn value(&self) -> &[u8] {
        self.parts().1
    }

    fn pair(&self) -> (Entry<'_>, Entry<'_>) {
        let (field, value) = self.parts();
        (Entry::Str(field), Entry::Str(value))
    }

    fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>() + self.0.slice.len()
    }
}

impl Item for Field {
    fn key(&self) -> &[u8] {
        self.parts().0
    }
}

impl std::fmt::Debug for Field {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.key().escape_ascii(), self.value().escape_ascii())
    }
}

impl Hash {
    pub fn new() -> Hash {
        Hash::default()
    }

    /// A hash stored as one listpack of pairs; `Corrupt` if a field is twice in it or without value.
    pub fn from_listpack(pairs: Listpack, limits: &Limits) -> Result<Hash, Corrupt> {
        let count = pairs.len() / 2;
        if pairs.len() % 2 == 1 || has_twins(&pairs) {
            return Err(Corrupt::new(0, "hash with a field twice or without value"));
        }
        let mut hash = Hash(Shape::Packed(pairs));
        hash.expect_pairs(count, limits);
        Ok(hash)
    }

    /// A hash stored pair by pair; `count` is only a hint at its final size. `Corrupt` if a field comes twice.
    pub fn from_pairs<'a>(
        pairs: impl IntoIterator<Item = (&'a [u8], &'a [u8])>,
        count: usize,
        limits: &Limits,
    ) -> Result<Hash, Corrupt> {
        let mut hash = Hash::new();
        hash.expect_pairs(count, limits);
        for (field, value) in pairs {
            if !hash.set(field, value, limits) {
                return Err(Corrupt::new(0, "hash with a field twice"));
            }
        }
        Ok(hash)
    }

    /// Number of fields.
    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Packed(pairs) => pairs.len() / 2,
            Shape::Table(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Shape::Packed(_) => "listpack",
            Shape::Table(_) => "hashtable",
        }
    }

    /// Heap bytes beside the pointer in the entry; extrapolated from some fields of a large hash.
    pub fn heap_bytes(&self) -> usize {
        const SAMPLE: usize = 64;
        let content = match &self.0 {
            Shape::Packed(pairs) => pairs.heap_bytes(),
            Shape::Table(table) => {
                let sampled: usize = table.iter().take(SAMPLE).map(Field::heap_bytes).sum();
                let fields = sampled * table.len() / table.len().clamp(1, SAMPLE);
                size_of::<Partitions<Field>>() + table.overhead_bytes() + fields
            }
        };
        size_of::<usize>() + size_of::<Hash>() + content
    }

    /// The whole hash, while it is one listpack: field, value, field, value …
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Shape::Packed(pairs) = &self.0 { Some(pairs) } else { None }
    }

    // ---- reading ----

    pub fn get(&self, field: &[u8]) -> Option<Entry<'_>> {
        match &self.0 {
            Shape::Packed(pairs) => pairs.entry(pairs.next(pairs.find(field, 1)?)?),
            Shape::Table(table) => table.get(field).map(|found| Entry::Str(found.value())),
        }
    }

    pub fn contains(&self, field: &[u8]) -> bool {
        match &self.0 {
            Shape::Packed(pairs) => pairs.find(field, 1).is_some(),
            Shape::Table(table) => table.contains(field),
        }
    }

    /// All fields with their values: in order of insertion in a listpack, in none in a table.
    pub fn iter(&self) -> impl Iterator<Item = (Entry<'_>, Entry<'_>)> {
        match &self.0 {
            Shape::Packed(pairs) => Either::Packed(pairs.pairs()),
            Shape::Table(table) => Either::Table(table.iter().map(Field::pair)),
        }
    }

    /// Visits about `count` fields from `cursor` on (0 starts) and returns the next cursor, 0 at the end. A
    /// listpack is visited whole.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(Entry<'a>, Entry<'a>)) -> u64 {
        match &self.0 {
            Shape::Packed(pairs) => {
                pairs.pairs().for_each(|(field, value)| visit(field, value));
                0
            }
            Shape::Table(table) => table.scan(cursor, count, |item| {
                let (field, value) = item.pair();
                visit(field, value);
            }),
        }
    }

    /// A field with its value, each equally likely.
    pub fn random(&self, random: &mut Rng) -> Option<(Entry<'_>, Entry<'_>)> {
        match &self.0 {
            Shape::Packed(pairs) => {
                let at = pairs.seek(2 * random.usize(..(pairs.len() / 2).max(1)) as i64)?;
                Some((pairs.entry(at)?, pairs.entry(pairs.next(at)?)?))
            }
            Shape::Table(table) => table.random(|| random.u64(..)).map(Field::pair),
        }
    }

    /// `count` distinct fields with their values (all, if there are not so many), every choice equally likely.
    pub fn sample(&self, count: usize, random: &mut Rng) -> Vec<(Entry<'_>, Entry<'_>)> {
        match &self.0 {
            Shape::Packed(pairs) => sample::choose(pairs.pairs(), self.len(), count, random),
            Shape::Table(table) => {
                sample::choose_of_table(table, count, random).into_iter().map(Field::pair).collect()
            }
        }
    }

    // ---- changing ----

    /// Sets a field; true if it is new.
    pub fn set(&mut self, field: &[u8], value: &[u8], limits: &Limits) -> bool {
        let largest = limits.hash_max_listpack_value;
        if field.len() > largest || value.len() > largest {
            self.become_table();
        }
        match &mut self.0 {
            Shape::Packed(pairs) => {
                if let Some(at) = pairs.find(field, 1).and_then(|at| pairs.next(at)) {
                    pairs.replace(at, value);
                    return false;
                }
                if !pairs.may_grow_by(field.len() + value.len() + 2 * ENTRY_OVERHEAD) {
                    self.become_table();
                    return self.set(field, value, limits);
                }
                pairs.push(field);
                pairs.push(value);
                let count = pairs.len() / 2;
                self.expect_pairs(count, limits);
                true
            }
            Shape::Table(table) => table.insert(Field::new(field, value)).is_none(),
        }
    }

    /// Removes a field; true if it was there.
    pub fn remove(&mut self, field: &[u8]) -> bool {
        match &mut self.0 {
            Shape::Packed(pairs) => {
                let found = pairs.find(field, 1);
                found.is_some_and(|at| pairs.remove_range(at, 2) > 0)
            }
            Shape::Table(table) => table.remove(field).is_some(),
        }
    }

    /// Becomes a table if a listpack may not hold `count` fields: asked before as many are set at once.
    pub fn expect_pairs(&mut self, count: usize, limits: &Limits) {
        if count > limits.hash_max_listpack_entries {
            self.become_table();
        }
    }

    fn become_table(&mut self) {
        let Shape::Packed(pairs) = &self.0 else { return };
        let mut table = Partitions::new();
        let (mut field_text, mut value_text) = Default::default();
        for (field, value) in pairs.pairs() {
            table.insert(Field::new(field.bytes(&mut field_text), value.bytes(&mut value_text)));
        }
        self.0 = Shape::Table(Box::new(table));
    }
}

/// Most that an entry takes beside its bytes.
const ENTRY_OVERHEAD: usize = 10;

/// Whether a field occurs twice.
fn has_twins(pairs: &Listpack) -> bool {
    let mut text = itoa::Buffer::new();
    let mut hashes: SmallVec<[u64; 128]> =
        pairs.pairs().map(|(field, _)| hash(field.bytes(&mut text))).collect();
    hashes.sort_unstable();
    if hashes.windows(2).all(|two| two[0] != two[1]) {
        return false;
    }
    // Equal hashes are hardly ever an accident, but only equal bytes are twins.
    let mut seen = MapSet::default();
    pairs.pairs().any(|(field, _)| !seen.insert(field.to_vec()))
}

enum Either<P, T> {
    Packed(P),
    Table(T),
}

impl<I, P: Iterator<Item = I>, T: Iterator<Item = I>> Iterator for Either<P, T> {
    type Item = I;
    #[inline]
    fn next(&mut self) -> Option<I> {
        match self {
            Either::Packed(pairs) => pairs.next(),
            Either::Table(fields) => fields.next(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn limits(entries: usize, value: usize) -> Limits {
        Limits { hash_max_listpack_entries: entries, hash_max_listpack_value: value, ..Limits::default() }
    }

    fn content(hash: &Hash) -> BTreeMap<Vec<u8>, Vec<u8>> {
        hash.iter().map(|(field, value)| (field.to_vec(), value.to_vec())).collect()
    }

    #[test]
    fn a_listpack_becomes_a_table_for_good() {
        let limits = limits(2, 4);
        let check = |pairs: &[(&str, &str)], encoding: &str| {
            let mut hash = Hash::new();
            for (field, value) in pairs {
                hash.set(field.as_bytes(), value.as_bytes(), &limits);
            }
            assert_eq!(hash.encoding(), encoding, "{pairs:?}");
            assert!(pairs[1..].iter().filter(|(field, _)| hash.remove(field.as_bytes())).count() < 3);
            assert_eq!(hash.encoding(), encoding);
        };
        check(&[("a", "1"), ("b", "2")], "listpack");
        check(&[("a", "1"), ("b", "2"), ("a", "3")], "listpack");
        check(&[("a", "1"), ("b", "2"), ("c", "3")], "hashtable");
        check(&[("a", "1234")], "listpack");
        check(&[("a", "12345")], "hashtable");
        check(&[("12345", "a")], "hashtable");
        let mut hash = Hash::new();
        hash.expect_pairs(2, &limits);
        assert_eq!(hash.encoding(), "listpack");
        hash.expect_pairs(3, &limits);
        assert_eq!(hash.encoding(), "hashtable");
    }

    #[test]
    fn loading_refuses_twins_and_odd_ends() {
        let limits = limits(2, 4);
        let check = |words: &[&str], expected: Option<&str>| {
            let pairs: Listpack = words.iter().copied().collect();
            let hash = Hash::from_listpack(pairs, &limits).ok();
            assert_eq!(hash.as_ref().map(Hash::encoding), expected, "{words:?}");
        };
        check(&["a", "1", "b", "a"], Some("listpack"));
        check(&["a", "1", "b", "more than four"], Some("listpack"));
        check(&["a", "1", "b", "2", "c", "3"], Some("hashtable"));
        check(&["a", "1", "b"], None);
        check(&["a", "1", "b", "2", "a", "3"], None);
        check(&["12", "1", "12", "2"], None);

        let pairs = [(&b"a"[..], &b"1"[..]), (b"b", b"2")];
        assert_eq!(Hash::from_pairs(pairs, 2, &limits).map(|hash| hash.len()), Ok(2));
        assert!(Hash::from_pairs([pairs[0], pairs[0]], 2, &limits).is_err());
    }

    #[test]
    fn fields_of_any_length() {
        for len in [0, 1, 254, 255, 256, 70_000] {
            let (field, value) = (vec![b'f'; len], vec![b'v'; len / 2]);
            let stored = Field::new(&field, &value);
            assert_eq!((stored.key(), stored.value()), (&field[..], &value[..]), "{len}");
        }
        // Two counters, one byte of length, the content.
        assert_eq!(Field::new(b"field", b"value").heap_bytes(), 17 + 10);
    }

    #[test]
    fn random_fields_are_spread() {
        for entries in [8, 0] {
            let limits = limits(entries, 64);
            let mut hash = Hash::new();
            assert!((0..8u8).all(|n| hash.set(&[b'a' + n], &[b'0' + n], &limits)));
            let mut random = fastrand::Rng::with_seed(7);
            let mut counts: BTreeMap<Vec<u8>, usize> = BTreeMap::new();
            for _ in 0..8000 {
                let (field, value) = hash.random(&mut random).unwrap();
                assert_eq!(hash.get(&field.to_vec()), Some(value));
                *counts.entry(field.to_vec()).or_default() += 1;
            }
            assert!(counts.len() == 8 && counts.values().all(|n| (800..1200).contains(n)), "{counts:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_a_map(
            entries in prop_oneof![Just(0usize), Just(5), Just(512)],
            ops in proptest::collection::vec(("[a-d]{0,3}|[1-9]{1,2}", "[a-z]{0,80}|-?[1-9]{1,9}", 0u8..4), 0..200),
        ) {
            let limits = limits(entries, 64);
            let mut hash = Hash::new();
            let mut model = BTreeMap::new();
            let mut shared = Vec::new();
            for (field, value, op) in ops {
                let (field, value) = (field.into_bytes(), value.into_bytes());
                match op {
                    0 => prop_assert_eq!(hash.remove(&field), model.remove(&field).is_some()),
                    1 if shared.len() < 3 => shared.push((hash.clone(), model.clone())),
                    _ => {
                        prop_assert_eq!(hash.set(&field, &value, &limits), !model.contains_key(&field));
                        model.insert(field.clone(), value);
                    }
                }
                prop_assert_eq!(hash.get(&field).map(|v| v.to_vec()), model.get(&field).cloned());
                prop_assert_eq!((hash.len(), hash.contains(&field)), (model.len(), model.contains_key(&field)));
            }
            prop_assert_eq!(content(&hash), model);
            for (hash, model) in shared {
                prop_assert_eq!(content(&hash), model);
            }
        }
    }
}
