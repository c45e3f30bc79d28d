//! One partition of a table: its items in runs, each a dense array with a byte of every item's hash beside it.
//!
//! ```text
//! Partition = Arc<soonest │ Run × 1 or 8>        Run = tags: 8 bits of hash per item, eight in a word │ items
//! ```
//!
//! A lookup picks the run by three bits of the hash, compares eight tags at once, and looks at the items whose tag is
//! equal: of about 32, so one in eight searches looks at an item in vain. A run is as long as it needs to be and its
//! arrays grow by the allocator's sizes, so an item costs its own size, a byte of tag, some tenth of both and 1.7
//! bytes of the run, whatever the number of items. Nothing is hashed again when a run grows.
//!
//! Rejected: an open-addressed table (hashbrown, used here before), which doubles and so costs up to twice as much
//! for most numbers of items; for a million keys it was 26 bytes a key. One long run per partition: a lookup
//! would read all its tags; one partition per run: a snapshot would count up eight times as many references.
//!
//! Always: tag `i` is that of item `i`; bytes of the last word beyond the items mean nothing; a partition has one run while
//! it is alone and small, else eight, and then an item stands in the run that the low bits of its hash say.

use smallvec::SmallVec;
use triomphe::{Arc, HeaderSlice};

use super::hash::hash;
use super::partitions::Item;
use crate::units::allocation_size;

/// Runs of a partition that is not small.
pub const RUNS: usize = 8;
/// Items that one run holds before there are more.
const SINGLE: usize = 32;
/// Least room of a run, in bytes of items.
const LEAST_ROOM: usize = 64;

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

fn tag(hash: u64) -> u8 {
    (hash >> 56) as u8
}

/// Where an item is in its partition.
#[derive(Clone, Copy, Debug)]
pub struct Spot {
    run: u32,
    at: u32,
}

#[derive(Clone)]
pub struct Run<T> {
    tags: Vec<u64>,
    items: Vec<T>,
}

/// Cloning shares.
#[derive(Clone)]
pub struct Partition<T>(Arc<HeaderSlice<i64, [Run<T>]>>);

impl<T: Item> Partition<T> {
    /// Of a table that may stay small.
    pub fn small() -> Partition<T> {
        Partition::with(std::iter::once(Run::with_room(0)))
    }

    /// One among others, with room for `room` items in each run.
    pub fn large(room: usize) -> Partition<T> {
        Partition::with((0..RUNS).map(|_| Run::with_room(room)))
    }

    fn with(runs: impl ExactSizeIterator<Item = Run<T>>) -> Partition<T> {
        Partition(Arc::from_header_and_iter(i64::MAX, runs))
    }

    fn runs(&self) -> &[Run<T>] {
        &self.0.slice
    }

    /// For change; copied first (handles, not what they point to) if a snapshot shares it.
    fn make_mut(&mut self) -> &mut HeaderSlice<i64, [Run<T>]> {
        if !self.0.is_unique() {
            self.0 = Arc::from_header_and_iter(self.0.header, self.0.slice.iter().cloned());
        }
        match Arc::get_mut(&mut self.0) {
            Some(alone) => alone,
            None => unreachable!("just made the only one"),
        }
    }

    fn run_of(&self, hash: u64) -> usize {
        hash as usize & (self.runs().len() - 1)
    }

    /// At most the earliest [`Item::due`] in it.
    pub fn soonest(&self) -> i64 {
        self.0.header
    }

    pub fn set_soonest(&mut self, due: i64) {
        self.make_mut().header = due;
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.runs().iter().flat_map(|run| run.items.iter())
    }

    pub fn len(&self) -> usize {
        self.runs().iter().map(|run| run.items.len()).sum()
    }

    pub fn run_count(&self) -> usize {
        self.runs().len()
    }

    /// Items of the longest run.
    pub fn longest(&self) -> usize {
        self.runs().iter().map(|run| run.items.len()).max().unwrap_or(0)
    }

    pub fn find(&self, hash: u64, key: &[u8]) -> Option<Spot> {
        let run = self.run_of(hash);
        let at = self.runs()[run].find(tag(hash), key)?;
        Some(Spot { run: run as u32, at: at as u32 })
    }

    pub fn get(&self, spot: Spot) -> Option<&T> {
        self.runs().get(spot.run as usize)?.items.get(spot.at as usize)
    }

    pub fn get_mut(&mut self, spot: Spot) -> Option<&mut T> {
        self.make_mut().slice.get_mut(spot.run as usize)?.items.get_mut(spot.at as usize)
    }

    /// The item number `at` of run `run`.
    pub fn nth(&self, run: usize, at: usize) -> Option<&T> {
        self.runs().get(run)?.items.get(at)
    }

    /// Adds an item whose key is not there; returns how long its run is now.
    pub fn add(&mut self, hash_of_item: u64, item: T) -> usize {
        if self.runs().len() == 1 && self.runs()[0].items.len() >= SINGLE {
            self.become_large();
        }
        let run = self.run_of(hash_of_item);
        let data = self.make_mut();
        data.header = data.header.min(item.due());
        data.slice[run].push(tag(hash_of_item), item);
        data.slice[run].items.len()
    }

    pub fn remove(&mut self, spot: Spot) -> T {
        self.make_mut().slice[spot.run as usize].remove(spot.at as usize)
    }

    /// Moves the items that `go` into a new partition.
    pub fn split(&mut self, go: impl Fn(&T) -> bool) -> Partition<T> {
        self.become_large();
        let mut other = Partition::large(0);
        let data = other.make_mut();
        for (run, into) in self.make_mut().slice.iter_mut().zip(&mut data.slice) {
            *into = run.split(&go);
            data.header = into.items.iter().map(Item::due).fold(data.header, i64::min);
        }
        other
    }

    /// Takes all items of `other` over.
    pub fn absorb(&mut self, mut other: Partition<T>) {
        self.become_large();
        other.become_large();
        let data = self.make_mut();
        let others = other.make_mut();
        data.header = data.header.min(others.header);
        for (run, from) in data.slice.iter_mut().zip(&mut others.slice) {
            for (at, item) in std::mem::take(&mut from.items).into_iter().enumerate() {
                run.push(from.tag(at), item);
            }
        }
    }

    /// Goes back to one run if there are few items.
    pub fn become_small(&mut self) {
        if self.runs().len() > 1 && self.len() <= SINGLE / 2 {
            self.lay_out(Partition::small());
        }
    }

    fn become_large(&mut self) {
        if self.runs().len() == 1 {
            self.lay_out(Partition::large(0));
        }
    }

    fn lay_out(&mut self, mut into: Partition<T>) {
        self.make_mut().slice.iter_mut().flat_map(|run| std::mem::take(&mut run.items)).for_each(|item| {
            into.add(hash(item.key()), item);
        });
        into.set_soonest(self.soonest());
        *self = into;
    }

    /// Bytes of the allocations, without what the items point to.
    pub fn heap_bytes(&self) -> usize {
        let arrays = |run: &Run<T>| {
            size_of::<Run<T>>() + 8 * run.tags.capacity() + size_of::<T>() * run.items.capacity()
        };
        size_of::<usize>() + size_of::<i64>() + self.runs().iter().map(arrays).sum::<usize>()
    }
}

impl<T: Item> Run<T> {
    fn with_room(items: usize) -> Run<T> {
        let mut run = Run { tags: Vec::new(), items: Vec::new() };
        if items > 0 {
            run.make_room(items);
        }
        run
    }

    /// Room for `items` in all, and for as many more as the allocator gives anyway.
    fn make_room(&mut self, items: usize) {
        let bytes = (items * size_of::<T>()).max(LEAST_ROOM).next_multiple_of(2 * size_of::<T>());
        let room = (allocation_size(bytes) / size_of::<T>()).max(items);
        self.items.reserve_exact(room - self.items.len());
        let words = room.div_ceil(8).next_multiple_of(2);
        self.tags.reserve_exact(words.saturating_sub(self.tags.len()));
    }

    fn find(&self, tag: u8, key: &[u8]) -> Option<usize> {
        let pattern = LOW_BITS * u64::from(tag);
        for (word, tags) in self.tags.iter().enumerate() {
            // A byte that is zero now had the tag. The bit of a byte above such a one may be wrong, which costs a look.
            let different = tags ^ pattern;
            let mut hits = different.wrapping_sub(LOW_BITS) & !different & HIGH_BITS;
            while hits != 0 {
                let at = 8 * word + hits.trailing_zeros() as usize / 8;
                match self.items.get(at) {
                    Some(item) if item.key() == key => return Some(at),
                    Some(_) => hits &= hits - 1,
                    None => return None,
                }
            }
        }
        None
    }

    fn tag(&self, at: usize) -> u8 {
        (self.tags[at / 8] >> (at % 8 * 8)) as u8
    }

    fn set_tag(&mut self, at: usize, tag: u8) {
        let (word, shift) = (at / 8, at % 8 * 8);
        if word == self.tags.len() {
            self.tags.push(0);
        }
        self.tags[word] = self.tags[word] & !(0xff << shift) | u64::from(tag) << shift;
    }

    fn push(&mut self, tag: u8, item: T) {
        let at = self.items.len();
        if at == self.items.capacity() {
            self.make_room(at + 1);
        }
        self.items.push(item);
        self.set_tag(at, tag);
    }

    /// The last item takes the place of the removed one.
    fn remove(&mut self, at: usize) -> T {
        let last = self.items.len() - 1;
        self.set_tag(at, self.tag(last));
        let item = self.items.swap_remove(at);
        self.tags.truncate(last.div_ceil(8));
        if 2 * last < self.items.capacity() && self.items.capacity() * size_of::<T>() > LEAST_ROOM {
            self.items.shrink_to(last + last / 8 + 1);
            self.tags.shrink_to(self.items.capacity().div_ceil(8));
        }
        item
    }

    fn split(&mut self, go: impl Fn(&T) -> bool) -> Run<T> {
        let goes: SmallVec<[bool; 128]> = self.items.iter().map(go).collect();
        let going = goes.iter().filter(|goes| **goes).count();
        let stay = Run::with_room(goes.len() - going);
        let mut gone = Run::with_room(going);
        let all = std::mem::replace(self, stay);
        let tags = (0..goes.len()).map(|at| (all.tags[at / 8] >> (at % 8 * 8)) as u8);
        for ((item, tag), goes) in all.items.into_iter().zip(tags).zip(goes) {
            if goes { &mut gone } else { &mut *self }.push(tag, item);
        }
        gone
    }
}
