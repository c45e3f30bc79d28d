//! Partitioned hash table with copy-on-write sharing: the keyspace, and every collection too big to clone whole.
//!
//! The table is a vector of partitions of about [`TARGET`] items, each behind an `Arc` ([`super::runs`] has what is in one).
//! Cloning the whole table clones that vector (one reference count per partition), which is how a snapshot of a million
//! keys is taken in a fraction of a millisecond. A write then copies a partition that a snapshot shares,
//! handles only, once. There is no fork and no page table.
//!
//! Partitions are added one at a time by *linear hashing*: with `n = 2^level + split` of them, an item whose low
//! partition bits fall below `split` uses one bit more. So growing never rehashes more than one partition, and
//! shrinking merges the last one back. No directory is needed.
//!
//! **Cursor.** A partition at depth `d` holds exactly the items whose bit-reversed partition bits start with a
//! given `d`-bit prefix, so visiting partitions in prefix order visits items in the order of
//! `order(hash)`, whatever splits and merges happen meanwhile. A SCAN cursor is a place in that order: an item
//! present from start to end of a scan is returned exactly once per pass over its place, never skipped.
//!
//! Hash bits: 0..3 choose the run inside a partition, 56..64 are its tags, 16..56 choose the partition.
//!
//! Rejected: one big table (rehash pauses, whole-table copies under a snapshot); an extendible-hashing directory
//! (a second vector to keep in step); a persistent trie (pointer chasing on every lookup).
//!
//! Always: `len` equals the sum of the partitions' lengths; every item stands in `index_of(its hash)`;
//! `soonest` of a partition is at most the earliest [`Item::due`] in it; no run is longer than `widest`; of several
//! partitions each has [`RUNS`] runs.

use super::hash::hash;
use super::runs::{Partition, RUNS, Spot};

/// Mean number of items per partition before another is added.
pub const TARGET: usize = 256;

const PARTITION_SHIFT: u32 = 16;
const ORDER_BITS: u32 = 40;
const ORDER_MASK: u64 = (1 << ORDER_BITS) - 1;

/// What a table holds. Cloning must be cheap (a reference count): it happens to a whole partition at once.
pub trait Item: Clone {
    fn key(&self) -> &[u8];
    /// When this item wants attention (expiry), in Unix milliseconds; `i64::MAX` for never.
    fn due(&self) -> i64 {
        i64::MAX
    }
}

/// Where an item is, until items are added or removed. Copying a shared partition keeps its items in place.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    part: usize,
    spot: Spot,
}

#[derive(Clone)]
pub struct Partitions<T> {
    parts: Vec<Partition<T>>,
    len: usize,
    /// Upper bound of any run's length, for uniform random choice.
    widest: usize,
}

impl<T: Item> Default for Partitions<T> {
    fn default() -> Self {
        Partitions::new()
    }
}

/// Place of an item in scan order: its partition bits, reversed.
fn order(hash: u64) -> u64 {
    ((hash >> PARTITION_SHIFT) & ORDER_MASK).reverse_bits() >> (64 - ORDER_BITS)
}

impl<T: Item> Partitions<T> {
    pub fn new() -> Self {
        Partitions { parts: vec![Partition::small()], len: 0, widest: 1 }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of partitions, for MEMORY and DEBUG figures.
    pub fn partition_count(&self) -> usize {
        self.parts.len()
    }

    pub fn get(&self, key: &[u8]) -> Option<&T> {
        self.at(self.find(key)?)
    }

    /// Where the item of `key` is, for one or more accesses without another search.
    pub fn find(&self, key: &[u8]) -> Option<Place> {
        self.find_hashed(hash(key), key)
    }

    fn find_hashed(&self, hash: u64, key: &[u8]) -> Option<Place> {
        let part = self.index_of(hash);
        let spot = self.parts[part].find(hash, key)?;
        Some(Place { part, spot })
    }

    /// The item at a place that [`Partitions::find`] has told, no item added or removed since.
    pub fn at(&self, place: Place) -> Option<&T> {
        self.parts[place.part].get(place.spot)
    }

    /// Like [`Partitions::at`], for change as with [`Partitions::get_mut`].
    pub fn at_mut(&mut self, place: Place) -> Option<&mut T> {
        self.parts[place.part].get_mut(place.spot)
    }

    pub fn contains(&self, key: &[u8]) -> bool {
        self.find(key).is_some()
    }

    /// The item for in-place change. Its key must stay what it is; if its [`Item::due`] becomes earlier,
    /// say so with [`Partitions::note_due`]. A miss copies nothing.
    pub fn get_mut(&mut self, key: &[u8]) -> Option<&mut T> {
        let place = self.find(key)?;
        self.at_mut(place)
    }

    /// Lowers the attention time of the partition at `place` to `due`.
    pub fn note_due(&mut self, place: Place, due: i64) {
        let part = &mut self.parts[place.part];
        if part.soonest() > due {
            part.set_soonest(due);
        }
    }

    /// Lays an empty table out for `items`, as it would be after so many insertions: none of them then moves another.
    pub fn expect(&mut self, items: usize) {
        if self.len == 0 && items > TARGET {
            self.parts = (0..items / TARGET).map(|_| Partition::large(TARGET / RUNS * 3 / 4)).collect();
        }
    }

    /// Gives room back that was expected to be needed and was not.
    pub fn settle(&mut self) {
        while self.has_too_many() {
            self.merge_last();
        }
    }

    fn has_too_many(&self) -> bool {
        self.parts.len() > 1 && self.len < self.parts.len() * (TARGET / 4)
    }

    /// Inserts or replaces; the replaced item is returned.
    pub fn insert(&mut self, item: T) -> Option<T> {
        let hash = hash(item.key());
        if let Some(place) = self.find_hashed(hash, item.key()) {
            self.note_due(place, item.due());
            return self.at_mut(place).map(|old| std::mem::replace(old, item));
        }
        self.add_hashed(hash, item);
        None
    }

    /// Adds an item whose key is known not to be there.
    pub fn add(&mut self, item: T) {
        self.add_hashed(hash(item.key()), item);
    }

    fn add_hashed(&mut self, hash: u64, item: T) {
        let index = self.index_of(hash);
        let longest = self.parts[index].add(hash, item);
        self.widest = self.widest.max(longest);
        self.len += 1;
        if self.len > self.parts.len() * TARGET {
            self.split_next();
        }
    }

    pub fn remove(&mut self, key: &[u8]) -> Option<T> {
        let place = self.find(key)?;
        let item = self.parts[place.part].remove(place.spot);
        self.len -= 1;
        if self.has_too_many() {
            self.merge_last();
        }
        Some(item)
    }

    pub fn clear(&mut self) {
        *self = Partitions::new();
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.parts.iter().flat_map(Partition::iter)
    }

    /// Visits about `count` items from `cursor` on (0 starts) and returns the next cursor, 0 at the end.
    /// Items with the same place are visited together, so a few more than `count` may come.
    pub fn scan<'a>(&'a self, cursor: u64, count: usize, mut visit: impl FnMut(&'a T)) -> u64 {
        let mut place = cursor & ORDER_MASK;
        let mut visited = 0;
        let mut batch: Vec<(u64, &T)> = Vec::new();
        loop {
            let (index, end) = self.part_at(place);
            let part = &self.parts[index];
            batch.clear();
            batch.extend(
                part.iter().map(|item| (order(hash(item.key())), item)).filter(|(at, _)| *at >= place),
            );
            batch.sort_unstable_by_key(|(at, _)| *at);
            for (i, (at, item)) in batch.iter().enumerate() {
                visit(item);
                visited += 1;
                let more_here = batch.get(i + 1).is_some_and(|(next, _)| next == at);
                if visited >= count && !more_here && i + 1 < batch.len() {
                    return at + 1;
                }
            }
            match end {
                None => return 0,
                Some(next) if visited >= count => return next,
                Some(next) => place = next,
            }
        }
    }

    /// A uniformly chosen item. `random` yields uniform 64-bit values.
    pub fn random(&self, mut random: impl FnMut() -> u64) -> Option<&T> {
        if self.len == 0 {
            return None;
        }
        let runs = self.parts[0].run_count();
        loop {
            let draw = random();
            let part = &self.parts[((draw >> 32) as usize) % self.parts.len()];
            // The number of runs is a power of two.
            let (run, at) = (draw as usize % runs, (draw as u32 as usize / runs) % self.widest);
            if let Some(item) = part.nth(run, at) {
                return Some(item);
            }
            if self.len * 64 < self.widest * runs * self.parts.len() {
                // Sparse after many deletions: walk instead of throwing darts.
                return self.iter().nth((random() % self.len as u64) as usize);
            }
        }
    }

    /// Visits the items of at most `partitions` partitions, from number `from` on, whose attention time is at
    /// or before `now`; returns where to go on (0 after the last) and how many partitions were opened.
    pub fn visit_due(&self, from: usize, partitions: usize, now: i64, mut visit: impl FnMut(&T)) -> usize {
        let end = (from + partitions).min(self.parts.len());
        for part in self.parts.get(from..end).unwrap_or_default() {
            if part.soonest() <= now {
                part.iter().filter(|item| item.due() <= now).for_each(&mut visit);
            }
        }
        if end >= self.parts.len() { 0 } else { end }
    }

    /// Recomputes the attention times of partitions `from..from + partitions` whose time has passed: call after
    /// the items of [`Partitions::visit_due`] were dealt with.
    pub fn refresh_due(&mut self, from: usize, partitions: usize, now: i64) {
        let end = (from + partitions).min(self.parts.len());
        for part in self.parts.get_mut(from..end).unwrap_or_default() {
            if part.soonest() <= now {
                let soonest = part.iter().map(Item::due).min().unwrap_or(i64::MAX);
                part.set_soonest(soonest);
            }
        }
    }

    /// Bytes of the tables themselves, without what the items point to.
    pub fn overhead_bytes(&self) -> usize {
        self.parts.iter().map(Partition::heap_bytes).sum::<usize>()
            + self.parts.capacity() * size_of::<Partition<T>>()
    }

    fn level(&self) -> u32 {
        self.parts.len().ilog2()
    }

    fn index_of(&self, hash: u64) -> usize {
        if self.parts.len() == 1 {
            return 0;
        }
        let bits = hash >> PARTITION_SHIFT;
        let level = self.level();
        let split = self.parts.len() - (1 << level);
        let index = (bits & ((1 << level) - 1)) as usize;
        if index < split { (bits & ((2 << level) - 1)) as usize } else { index }
    }

    /// The partition that holds `place`, and where the next one starts (`None` after the last).
    fn part_at(&self, place: u64) -> (usize, Option<u64>) {
        let bits = place.reverse_bits() >> (64 - ORDER_BITS);
        let index = self.index_of(bits << PARTITION_SHIFT);
        let level = self.level();
        let split = self.parts.len() - (1 << level);
        let depth = if index & ((1 << level) - 1) < split { level + 1 } else { level };
        let next = ((place >> (ORDER_BITS - depth)) + 1) << (ORDER_BITS - depth);
        (index, (next <= ORDER_MASK).then_some(next))
    }

    fn split_next(&mut self) {
        let level = self.level();
        let index = self.parts.len() - (1 << level);
        let bit = 1u64 << (PARTITION_SHIFT + level);
        let high = self.parts[index].split(|item| hash(item.key()) & bit != 0);
        self.parts.push(high);
    }

    fn merge_last(&mut self) {
        let Some(last) = self.parts.pop() else { return };
        let index = self.parts.len() - (1 << self.level());
        let alone = self.parts.len() == 1;
        let into = &mut self.parts[index];
        into.absorb(last);
        self.widest = self.widest.max(into.longest());
        if alone {
            into.become_small();
            self.widest = into.longest().max(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    type Word = triomphe::Arc<(Vec<u8>, i64)>;
    impl Item for Word {
        fn key(&self) -> &[u8] {
            &self.0
        }
        fn due(&self) -> i64 {
            self.1
        }
    }
    fn word(n: u32, due: i64) -> Word {
        triomphe::Arc::new((format!("key:{n}").into_bytes(), due))
    }

    #[test]
    fn a_snapshot_keeps_what_it_saw() {
        let mut table = Partitions::new();
        (0..5000).for_each(|n| drop(table.insert(word(n, i64::MAX))));
        let snapshot = table.clone();
        (0..4000).for_each(|n| drop(table.remove(&word(n, 0).0)));
        (5000..9000).for_each(|n| drop(table.insert(word(n, i64::MAX))));
        assert_eq!((snapshot.len(), snapshot.iter().count()), (5000, 5000));
        assert!((0..5000).all(|n| snapshot.contains(&word(n, 0).0)));
        assert_eq!((table.len(), table.iter().count()), (5000, 5000));
    }

    /// What a file says of its keys is only a hint: right, too small or far too large, the table is the same.
    #[test]
    fn a_table_laid_out_beforehand_is_like_any_other() {
        for expected in [0, 100, 5000, 200_000] {
            let mut table = Partitions::new();
            table.expect(expected);
            (0..5000).for_each(|n| drop(table.insert(word(n, i64::MAX))));
            table.settle();
            assert!(
                table.partition_count() <= 5000 / (TARGET / 4) + 1,
                "{expected}: {}",
                table.partition_count()
            );
            assert!((0..5000).all(|n| table.contains(&word(n, 0).0)));
            let (mut seen, mut at) = (0, 0);
            loop {
                at = table.scan(at, 100, |_| seen += 1);
                if at == 0 {
                    break;
                }
            }
            assert_eq!((seen, table.len()), (5000, 5000), "{expected}");
            (0..5000).for_each(|n| assert!(table.remove(&word(n, 0).0).is_some()));
            assert!(table.is_empty());
        }
    }

    #[test]
    fn random_choice_reaches_everything_about_equally() {
        let mut table = Partitions::new();
        (0..1000).for_each(|n| drop(table.insert(word(n, i64::MAX))));
        let mut state = 1u64;
        let mut counts: BTreeMap<Vec<u8>, u32> = BTreeMap::new();
        for _ in 0..100_000 {
            let item = table.random(|| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                state.rotate_left(32) ^ (state >> 7)
            });
            *counts.entry(item.map(|w| w.0.clone()).unwrap_or_default()).or_default() += 1;
        }
        assert_eq!(counts.len(), 1000);
        assert!(counts.values().all(|&n| (40..200).contains(&n)), "{:?}", counts.values().max());
    }

    #[test]
    fn places_stay_when_a_shared_partition_is_copied() {
        let mut table = Partitions::new();
        (0..3000).for_each(|n| drop(table.insert(word(n, n as i64))));
        (0..3000).step_by(3).for_each(|n| drop(table.remove(format!("key:{n}").as_bytes())));
        let snapshot = table.clone();
        for n in (1..3000).step_by(3) {
            let place = table.find(format!("key:{n}").as_bytes()).unwrap();
            assert_eq!(table.at(place), snapshot.at(place));
            assert_eq!(table.at_mut(place), Some(&mut word(n, n as i64)));
        }
    }

    #[test]
    fn due_items_are_found_and_times_refreshed() {
        let mut table = Partitions::new();
        (0..3000).for_each(|n| drop(table.insert(word(n, if n % 10 == 0 { n as i64 } else { i64::MAX }))));
        let mut due = BTreeSet::new();
        let mut at = 0;
        loop {
            let next = table.visit_due(at, 3, 1500, |item| {
                due.insert(item.0.clone());
            });
            if next == 0 {
                break;
            }
            at = next;
        }
        assert_eq!(due.len(), 151);
        due.iter().for_each(|key| drop(table.remove(key)));
        let parts = table.partition_count();
        table.refresh_due(0, parts, 1500);
        assert_eq!(table.visit_due(0, parts, 1500, |_| panic!("nothing is due")), 0);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]
        #[test]
        fn behaves_like_a_map(ops in proptest::collection::vec((0u32..2000, any::<bool>()), 0..6000)) {
            let mut table = Partitions::new();
            let mut model = BTreeSet::new();
            for (n, insert) in ops {
                let item = word(n, i64::MAX);
                if insert {
                    prop_assert_eq!(table.insert(item).is_none(), model.insert(n));
                } else {
                    prop_assert_eq!(table.remove(&item.0).is_some(), model.remove(&n));
                }
            }
            prop_assert_eq!(table.len(), model.len());
            prop_assert_eq!(table.iter().count(), model.len());
            for n in 0..2000 {
                prop_assert_eq!(table.contains(&word(n, 0).0), model.contains(&n));
            }
        }

        /// Whatever is inserted and removed between the calls, items that stay are returned.
        #[test]
        fn a_scan_never_skips_what_stays(
            stay in 1u32..3000,
            churn in proptest::collection::vec((0u32..4000, any::<bool>()), 0..600),
            count in 1usize..40,
        ) {
            let mut table = Partitions::new();
            (0..stay).for_each(|n| drop(table.insert(word(n, i64::MAX))));
            let mut seen = BTreeSet::new();
            let mut cursor = 0;
            let mut churn = churn.into_iter();
            loop {
                cursor = table.scan(cursor, count, |item| {
                    seen.insert(item.0.clone());
                });
                if cursor == 0 {
                    break;
                }
                for (n, insert) in churn.by_ref().take(40) {
                    let item = word(10_000 + n, i64::MAX);
                    if insert { table.insert(item); } else { table.remove(&item.0); }
                }
            }
            for n in 0..stay {
                prop_assert!(seen.contains(&word(n, 0).0), "{}", n);
            }
        }
    }
}
