//! Has this been seen before? In bounded memory, for any number of things.
//!
//! Names are kept as fingerprints of 64 bits, seeded anew in each process, so that no file can be made to collide. Up to a
//! limit all are kept and the answer is exact (of two million different names a pair collides once in ten million
//! runs); each time the limit is reached the kept ones are halved by one bit of the fingerprint, and from then on
//! only that share of all names is looked for. A duplicate that an operator's bug makes is seldom a single one; and
//! the report says which share was compared. Rejected: a Bloom filter (false alarms), an external sort (needs disk and
//! tells of a duplicate only at the end).
//!
//! The table is sixteen small ones, because one that doubles needs half as much again while it does.

use std::hash::{BuildHasher, Hasher};

use foldhash::quality::RandomState;
use hashbrown::HashTable;

use crate::format::crc::SealCrc;

/// Up to here fingerprints are compared one by one, which needs no table.
const FEW: usize = 32;
const PARTS: usize = 16;

pub struct Distinct {
    seed: RandomState,
    few: Vec<u64>,
    parts: Vec<HashTable<u64>>,
    kept: usize,
    most: usize,
    /// Fingerprints whose bits of this mask are not all zero are not kept.
    left_out: u64,
}

impl Distinct {
    /// Keeps at most `most` fingerprints, of about ten bytes each.
    pub fn new(most: usize) -> Distinct {
        Distinct {
            seed: RandomState::default(),
            few: Vec::new(),
            parts: Vec::new(),
            kept: 0,
            most: most.max(FEW),
            left_out: 0,
        }
    }

    pub fn clear(&mut self) {
        self.few.clear();
        self.parts.iter_mut().for_each(HashTable::clear);
        (self.kept, self.left_out) = (0, 0);
    }

    /// All that was seen so far; what stays goes on making the same fingerprints.
    pub fn split_off(&mut self) -> Distinct {
        let taken = Distinct {
            seed: self.seed.clone(),
            few: std::mem::take(&mut self.few),
            parts: std::mem::take(&mut self.parts),
            kept: self.kept,
            most: self.most,
            left_out: self.left_out,
        };
        self.clear();
        taken
    }

    /// One in how many names is compared.
    pub fn share(&self) -> u64 {
        self.left_out + 1
    }

    /// The fingerprint of a name that belongs to `group`.
    #[inline]
    pub fn fingerprint(&self, group: u64, name: &[u8]) -> u64 {
        let mut hasher = self.seed.build_hasher();
        hasher.write_u64(group);
        hasher.write(name);
        hasher.finish()
    }

    /// The fingerprint of a name too long to be held, however it is cut.
    pub fn fingerprint_of_seal(&self, group: u64, seal: &SealCrc, len: u64) -> u64 {
        let mut hasher = self.seed.build_hasher();
        [group, seal.value(), len].into_iter().for_each(|word| hasher.write_u64(word));
        hasher.finish()
    }

    /// False if it was there.
    #[inline]
    pub fn insert(&mut self, fingerprint: u64) -> bool {
        if self.kept < FEW {
            if self.few.contains(&fingerprint) {
                return false;
            }
            self.few.push(fingerprint);
            self.kept += 1;
            return true;
        }
        if fingerprint >> 48 & self.left_out != 0 {
            return true;
        }
        if !self.few.is_empty() {
            self.parts.resize_with(PARTS, HashTable::new);
            for old in std::mem::take(&mut self.few) {
                insert(&mut self.parts, old);
            }
        }
        if !insert(&mut self.parts, fingerprint) {
            return false;
        }
        self.kept += 1;
        if self.kept > self.most {
            self.halve();
        }
        true
    }

    fn halve(&mut self) {
        self.left_out = self.left_out << 1 | 1;
        let left_out = self.left_out;
        for part in &mut self.parts {
            part.retain(|kept| *kept >> 48 & left_out == 0);
            // Without the marks of what is gone, or the table would grow instead of filling up again.
            part.shrink_to_fit(|kept| *kept);
        }
        self.kept = self.parts.iter().map(HashTable::len).sum::<usize>().max(FEW);
    }
}

/// False if it was there.
#[inline]
fn insert(parts: &mut [HashTable<u64>], fingerprint: u64) -> bool {
    let part = &mut parts[(fingerprint >> 40) as usize % PARTS];
    match part.entry(fingerprint, |kept| *kept == fingerprint, |kept| *kept) {
        hashbrown::hash_table::Entry::Occupied(_) => false,
        hashbrown::hash_table::Entry::Vacant(vacant) => {
            vacant.insert(fingerprint);
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn add(distinct: &mut Distinct, n: u64) -> bool {
        let fingerprint = distinct.fingerprint(0, &n.to_le_bytes());
        distinct.insert(fingerprint)
    }

    #[test]
    fn exact_up_to_the_limit() {
        let mut distinct = Distinct::new(10_000);
        for round in 0..2 {
            distinct.clear();
            for n in 0..10_000 {
                assert!(add(&mut distinct, n), "{round} {n}");
            }
            assert!((0..10_000).all(|n| !add(&mut distinct, n)), "{round}");
            assert_eq!(distinct.share(), 1);
        }
        let (a, b) = (distinct.fingerprint(1, b"k"), distinct.fingerprint(2, b"k"));
        assert_ne!(a, b);
    }

    #[test]
    fn a_share_beyond_it() {
        let mut distinct = Distinct::new(1_000);
        (0..20_000).for_each(|n| assert!(add(&mut distinct, n)));
        assert!(distinct.share() >= 16, "{}", distinct.share());
        assert!(distinct.kept <= 1_000);
        let found = (0..20_000).filter(|n| !add(&mut distinct, *n)).count();
        assert!((200..3_000).contains(&found), "{found}");
    }
}
