//! The intset: a sorted array of distinct integers, all as wide as the widest of them needs.
//!
//! ```text
//! width u32 LE: 2, 4 or 8 │ count u32 LE │ integer, width bytes LE, two's complement, ascending …
//! ```
//!
//! The layout is RDB's. Membership is a binary search; an integer that does not fit rewrites all at the next
//! width, and the array is not narrowed when it leaves (as in Redis, so that blobs stay equal). An [`Intset`] exists
//! only of a blob whose order was checked, therefore reading cannot fail.

use crate::error::Corrupt;
use crate::units::allocation_size;

const HEADER: usize = 8;

/// A set of integers in one allocation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intset(Vec<u8>);

impl Intset {
    pub fn new() -> Intset {
        let mut set = Intset(vec![0; HEADER]);
        set.set_header(2, 0);
        set
    }

    /// Checks `bytes` whole and adopts them. An empty set is refused, as in Redis: it is no value.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Intset, Corrupt> {
        let Some((&[a, b, c, d, e, f, g, h], content)) = bytes.split_first_chunk() else {
            return Err(Corrupt::new(0, "intset shorter than its header"));
        };
        let (width, count) = (u32::from_le_bytes([a, b, c, d]), u32::from_le_bytes([e, f, g, h]));
        if !matches!(width, 2 | 4 | 8) {
            return Err(Corrupt::new(0, format!("intset of width {width}")));
        }
        if count == 0 || u64::from(count) * u64::from(width) != content.len() as u64 {
            let what = format!("intset of {count} integers of {width} bytes has {} bytes", content.len());
            return Err(Corrupt::new(4, what));
        }
        let set = Intset(bytes);
        match (1..set.len()).find(|i| set.at(i - 1) >= set.at(*i)) {
            Some(i) => Err(Corrupt::new((HEADER + i * set.width()) as u64, "intset out of order")),
            None => Ok(set),
        }
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
        (self.0.len() - HEADER) / self.width()
    }
    pub fn is_empty(&self) -> bool {
        self.0.len() == HEADER
    }
    /// The integer with `index` smaller ones; with a random index, a random member.
    pub fn get(&self, index: usize) -> Option<i64> {
        (index < self.len()).then(|| self.at(index))
    }
    pub fn min(&self) -> Option<i64> {
        self.get(0)
    }
    pub fn max(&self) -> Option<i64> {
        self.get(self.len().checked_sub(1)?)
    }
    pub fn contains(&self, n: i64) -> bool {
        self.search(n).is_ok()
    }
    /// All, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = i64> + ExactSizeIterator + Clone + '_ {
        (0..self.len()).map(|index| self.at(index))
    }

    /// False if `n` was there.
    pub fn insert(&mut self, n: i64) -> bool {
        let Err(index) = self.search(n) else { return false };
        let (width, count) = (self.width().max(width_of(n)), self.len());
        let grown = HEADER + (count + 1) * width;
        if grown > self.0.capacity() {
            self.0.reserve_exact(allocation_size(grown + grown / 16) - self.0.len());
        }
        if width > self.width() {
            let all: Vec<i64> = self.iter().collect();
            self.0.resize(HEADER + count * width, 0);
            all.iter().enumerate().for_each(|(i, n)| put(&mut self.0[HEADER + i * width..], width, *n));
        }
        let at = HEADER + index * width;
        let end = self.0.len();
        self.0.resize(grown, 0);
        self.0.copy_within(at..end, at + width);
        put(&mut self.0[at..], width, n);
        self.set_header(width, count + 1);
        true
    }

    /// False if `n` was not there.
    pub fn remove(&mut self, n: i64) -> bool {
        let Ok(index) = self.search(n) else { return false };
        let (width, count) = (self.width(), self.len());
        let at = HEADER + index * width;
        self.0.copy_within(at + width.., at);
        self.0.truncate(self.0.len() - width);
        if self.0.len() < self.0.capacity() / 2 {
            self.0.shrink_to(self.0.len() + self.0.len() / 8);
        }
        self.set_header(width, count - 1);
        true
    }

    fn width(&self) -> usize {
        self.0[0].into()
    }

    #[inline]
    fn at(&self, index: usize) -> i64 {
        let content = &self.0[HEADER..];
        match self.width() {
            2 => i16::from_le_bytes(content.as_chunks().0[index]).into(),
            4 => i32::from_le_bytes(content.as_chunks().0[index]).into(),
            _ => i64::from_le_bytes(content.as_chunks().0[index]),
        }
    }

    /// Where `n` is, or where it would be.
    fn search(&self, n: i64) -> Result<usize, usize> {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low + (high - low) / 2;
            match self.at(middle).cmp(&n) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return Ok(middle),
            }
        }
        Err(low)
    }

    fn set_header(&mut self, width: usize, count: usize) {
        self.0[..4].copy_from_slice(&(width as u32).to_le_bytes());
        self.0[4..HEADER].copy_from_slice(&(count as u32).to_le_bytes());
    }
}

impl Default for Intset {
    fn default() -> Intset {
        Intset::new()
    }
}

fn width_of(n: i64) -> usize {
    if i16::try_from(n).is_ok() {
        2
    } else if i32::try_from(n).is_ok() {
        4
    } else {
        8
    }
}

/// `n` fits `width`, so its lower bytes are it.
fn put(to: &mut [u8], width: usize, n: i64) {
    to[..width].copy_from_slice(&n.to_le_bytes()[..width]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// The blobs are those of redis-server 7.0.15.
    #[test]
    fn equal_to_redis() {
        let check = |members: &[i64], blob: &[u8]| {
            let mut set = Intset::new();
            assert!(members.iter().all(|n| set.insert(*n)));
            assert_eq!(set.as_bytes(), blob, "{members:?}");
            assert_eq!(Intset::from_bytes(blob.to_vec()), Ok(set));
        };
        check(&[1, 2, 3], b"\x02\0\0\0\x03\0\0\0\x01\0\x02\0\x03\0");
        check(&[-1, 100_000, 5], b"\x04\0\0\0\x03\0\0\0\xff\xff\xff\xff\x05\0\0\0\xa0\x86\x01\0");
        check(
            &[i64::MAX, i64::MIN, 0],
            b"\x08\0\0\0\x03\0\0\0\0\0\0\0\0\0\0\x80\0\0\0\0\0\0\0\0\xff\xff\xff\xff\xff\xff\xff\x7f",
        );
    }

    #[test]
    fn damage_is_refused_with_its_place() {
        let check = |bytes: &[u8], at: u64| {
            let error = Intset::from_bytes(bytes.to_vec()).unwrap_err();
            assert_eq!(error.at, at, "{bytes:?}: {error}");
        };
        check(b"", 0);
        check(b"\x02\0\0\0\0\0\0", 0);
        check(b"\x03\0\0\0\x01\0\0\0\x01\0\0", 0);
        check(b"\x02\0\0\0\0\0\0\0", 4); // empty
        check(b"\x02\0\0\0\x02\0\0\0\x01\0", 4);
        check(b"\x08\0\0\0\xff\xff\xff\xff\x01\0", 4);
        check(b"\x02\0\0\0\x02\0\0\0\x01\0\x01\0", 10); // twice
        check(b"\x02\0\0\0\x02\0\0\0\x01\0\xff\xff", 10); // -1 after 1
    }

    fn number() -> impl Strategy<Value = i64> {
        prop_oneof![-20i64..20, any::<i16>().prop_map_into(), any::<i32>().prop_map_into(), any::<i64>()]
    }

    proptest! {
        #[test]
        fn behaves_like_a_set(steps in proptest::collection::vec((any::<bool>(), number()), 0..80)) {
            let (mut set, mut model) = (Intset::new(), BTreeSet::new());
            for (insert, n) in steps {
                if insert {
                    prop_assert_eq!(set.insert(n), model.insert(n));
                } else {
                    prop_assert_eq!(set.remove(n), model.remove(&n));
                }
                prop_assert_eq!(set.contains(n), insert);
            }
            prop_assert!(set.iter().eq(model.iter().copied()));
            prop_assert_eq!((set.len(), set.min(), set.max()), (model.len(), model.first().copied(), model.last().copied()));
            prop_assert_eq!(Intset::from_bytes(set.as_bytes().to_vec()).is_ok(), !set.is_empty());
            prop_assert_eq!(set.get(model.len()), None);
        }

        #[test]
        fn garbage_never_panics(width in 0u32..10, count in 0u32..6, content in proptest::collection::vec(any::<u8>(), 0..40)) {
            let bytes = [&width.to_le_bytes()[..], &count.to_le_bytes(), &content].concat();
            if let Ok(set) = Intset::from_bytes(bytes.clone()) {
                prop_assert_eq!(set.as_bytes(), bytes);
                prop_assert!(set.iter().is_sorted());
            }
            let _ = Intset::from_bytes(content);
        }

        #[test]
        fn flipped_bits_never_panic(members in proptest::collection::vec(number(), 1..10), at in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut set = Intset::new();
            for n in members {
                set.insert(n);
            }
            let mut bytes = set.into_bytes();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            if let Ok(set) = Intset::from_bytes(bytes.clone()) {
                prop_assert!(set.iter().is_sorted());
                prop_assert_eq!(set.as_bytes(), bytes);
            }
        }
    }
}
