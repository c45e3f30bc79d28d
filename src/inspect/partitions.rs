//! Keys of any number, compared in bounded memory: sorted into parts by a hash, compared a part at a time.
//!
//! ```text
//! key ─► 128 bits of hash ─► its top bits choose one of 256 spools ─► one spool after another in memory, sorted
//! ```
//!
//! An entry is the hash and what its user adds, of one size, so that what is compared needs no keys; who wants names
//! reads the file again and counts along. The hash is seeded anew in each process, so that no file can be made
//! to collide, and 128 bits of it do not by chance. Rejected: a sort of all keys by name (twice the bytes, several passes).

use std::collections::VecDeque;
use std::hash::{BuildHasher, Hasher};
use std::io::{BufReader, Read};

use foldhash::quality::RandomState;

use super::spool::Spool;
use super::{Failure, Result};

const PARTS: usize = 256;
/// Of a part, before it goes to a file.
const IN_MEMORY: usize = 32 << 10;
/// Of a part's file at a time.
const READ: usize = 64 << 10;
/// Bytes of the hash, in front of each entry.
pub const HASH: usize = 16;

/// Entries of `N` bytes, the first [`HASH`] of which are the key's.
pub struct Partitions<const N: usize> {
    seeds: [RandomState; 2],
    parts: Vec<Spool>,
}

impl<const N: usize> Partitions<N> {
    pub fn new() -> Partitions<N> {
        let parts = (0..PARTS).map(|_| Spool::new(IN_MEMORY)).collect();
        Partitions { seeds: [RandomState::default(), RandomState::default()], parts }
    }

    /// Adds an entry; `rest` is what stands behind the hash.
    pub fn put(&mut self, db: u64, key: &[u8], rest: &[u8]) {
        let mut entry = [0; N];
        for (seed, half) in self.seeds.iter().zip(entry.chunks_exact_mut(HASH / 2)) {
            let mut hasher = seed.build_hasher();
            hasher.write_u64(db);
            hasher.write(key);
            half.copy_from_slice(&hasher.finish().to_be_bytes());
        }
        let end = (HASH + rest.len()).min(N);
        entry[HASH..end].copy_from_slice(&rest[..end - HASH]);
        self.parts[usize::from(entry[0])].put(&entry);
    }

    /// Shows the entries of each key together, sorted.
    pub fn each_key(self, mut show: impl FnMut(&[[u8; N]])) -> Result<()> {
        let mut entries: Vec<[u8; N]> = Vec::new();
        for mut part in self.parts {
            part.check()?;
            entries.clear();
            let mut reader = BufReader::with_capacity(READ, part.reader());
            let mut entry = [0; N];
            for _ in 0..part.len() / N as u64 {
                reader.read_exact(&mut entry).map_err(Failure::Output)?;
                entries.push(entry);
            }
            // By the hash as a number: most comparisons end there.
            let hash = |entry: &[u8; N]| entry.first_chunk().map_or(0, |hash| u128::from_be_bytes(*hash));
            entries.sort_unstable_by(|a, b| hash(a).cmp(&hash(b)).then_with(|| a.cmp(b)));
            entries.chunk_by(|a, b| a[..HASH] == b[..HASH]).for_each(&mut show);
        }
        Ok(())
    }
}

impl<const N: usize> Default for Partitions<N> {
    fn default() -> Self {
        Partitions::new()
    }
}

/// What belongs to ordinals that ascend, a number of 64 bits each: put in any order, taken in theirs.
pub struct Ascending {
    parts: Vec<Spool>,
    /// Ordinals of each part.
    step: u64,
    /// The part that is taken from, and what is left of it.
    open: usize,
    entries: VecDeque<(u64, u64)>,
}

impl Ascending {
    /// For ordinals below `end`.
    pub fn new(end: u64) -> Ascending {
        let parts = (0..PARTS).map(|_| Spool::new(IN_MEMORY)).collect();
        let step = (end / PARTS as u64) + 1;
        Ascending { parts, step, open: usize::MAX, entries: VecDeque::new() }
    }

    pub fn put(&mut self, ordinal: u64, number: u64) {
        if let Some(part) = self.parts.get_mut((ordinal / self.step) as usize) {
            part.put(&ordinal.to_be_bytes());
            part.put(&number.to_be_bytes());
        }
    }

    /// What was put for this ordinal, which is above all that were asked before.
    pub fn take(&mut self, ordinal: u64) -> Result<Option<u64>> {
        let place = (ordinal / self.step) as usize;
        if place != self.open {
            self.open = place;
            self.entries = self.sorted(place)?.into();
        }
        while self.entries.front().is_some_and(|entry| entry.0 < ordinal) {
            self.entries.pop_front();
        }
        Ok(self.entries.front().filter(|entry| entry.0 == ordinal).map(|entry| entry.1))
    }

    fn sorted(&mut self, place: usize) -> Result<Vec<(u64, u64)>> {
        let Some(part) = self.parts.get_mut(place) else { return Ok(Vec::new()) };
        part.check()?;
        let mut reader = BufReader::with_capacity(READ, part.reader());
        let mut entries = Vec::new();
        let mut half = || -> Result<u64> {
            let mut bytes = [0; 8];
            reader.read_exact(&mut bytes).map_err(Failure::Output)?;
            Ok(u64::from_be_bytes(bytes))
        };
        for _ in 0..part.len() / 16 {
            entries.push((half()?, half()?));
        }
        entries.sort_unstable();
        Ok(entries)
    }
}

/// A set of ordinals: one bit each.
#[derive(Clone, Debug, Default)]
pub struct Marks {
    words: Vec<u64>,
    pub count: u64,
}

impl Marks {
    pub fn set(&mut self, ordinal: u64) {
        let word = (ordinal / 64) as usize;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.count += u64::from(!self.has(ordinal));
        self.words[word] |= 1 << (ordinal % 64);
    }
    /// Those of `others` as well.
    pub fn add(&mut self, others: &Marks) {
        self.words.resize(self.words.len().max(others.words.len()), 0);
        self.words.iter_mut().zip(&others.words).for_each(|(word, other)| *word |= other);
        self.count = self.words.iter().map(|word| u64::from(word.count_ones())).sum();
    }
    pub fn has(&self, ordinal: u64) -> bool {
        self.words.get((ordinal / 64) as usize).is_some_and(|word| word >> (ordinal % 64) & 1 == 1)
    }
}

/// Finds keys that come more than once; the last one of each stands.
#[derive(Default)]
pub struct Repeats {
    parts: Partitions<{ HASH + 8 }>,
    next: u64,
}

impl Repeats {
    /// Keys in the order in which they come.
    pub fn put(&mut self, db: u64, key: &[u8]) {
        self.parts.put(db, key, &self.next.to_be_bytes());
        self.next += 1;
    }

    /// A key that counts along and is compared with none.
    pub fn pass(&mut self) {
        self.next += 1;
    }

    /// The ordinals of keys that come again later.
    pub fn finish(self) -> Result<Marks> {
        let mut marks = Marks::default();
        self.parts.each_key(|entries| {
            let before_last = &entries[..entries.len() - 1];
            before_last.iter().filter_map(|entry| entry.last_chunk()).for_each(|ordinal| {
                marks.set(u64::from_be_bytes(*ordinal));
            });
        })?;
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_belongs_to_ordinals_comes_in_their_order() {
        let mut ascending = Ascending::new(1_000_000);
        for n in (0..300_000u64).rev() {
            ascending.put(n * 3, n);
        }
        for n in [0, 3, 5, 6, 30_000, 30_001, 30_003, 899_997, 999_999] {
            assert_eq!(ascending.take(n).unwrap(), (n % 3 == 0 && n < 900_000).then_some(n / 3), "{n}");
        }
    }

    #[test]
    fn the_last_of_each_key_stands() {
        let mut repeats = Repeats::default();
        for n in 0..200_000u32 {
            repeats.put(0, &(n % 150_000).to_le_bytes());
        }
        repeats.put(1, &7u32.to_le_bytes());
        let marks = repeats.finish().unwrap();
        assert_eq!(marks.count, 50_000);
        for (ordinal, expected) in
            [(0, true), (49_999, true), (50_000, false), (150_000, false), (200_000, false)]
        {
            assert_eq!(marks.has(ordinal), expected, "{ordinal}");
        }
    }
}
