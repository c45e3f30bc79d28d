//! Random choice without bias, for SPOP, SRANDMEMBER, ZRANDMEMBER and HRANDFIELD.
//!
//! A draw of distinct items is made in one of two ways. *Selection sampling* (Knuth, TAOCP vol. 2, algorithm S)
//! walks all items once and takes each with probability still-needed / still-left: exact, one pass, no set beside
//! it. Where few are wanted of many in a table, single draws are repeated until enough distinct ones came, which
//! at a third of the table costs fewer than two draws an item. Shuffling a copy was rejected: it costs the copy.
//!
//! Every subset of the wanted size is equally likely; the order of the result is not random (Redis promises none).

use fastrand::Rng;

use super::hash::MapSet;
use super::partitions::{Item, Partitions};

/// Above this share of the table one pass over it is cheaper than repeated draws.
const PASS_SHARE: usize = 3;

/// `count` of the `len` items that `items` yields (all, if there are not so many).
pub fn choose<T>(items: impl Iterator<Item = T>, len: usize, count: usize, random: &mut Rng) -> Vec<T> {
    let mut needed = count.min(len);
    let mut chosen = Vec::with_capacity(needed);
    for (seen, item) in items.enumerate() {
        if needed == 0 {
            break;
        }
        if random.usize(..len.saturating_sub(seen).max(1)) < needed {
            chosen.push(item);
            needed -= 1;
        }
    }
    chosen
}

/// `count` distinct items of a table (all, if there are not so many).
pub fn choose_of_table<'a, T: Item>(table: &'a Partitions<T>, count: usize, random: &mut Rng) -> Vec<&'a T> {
    if count.saturating_mul(PASS_SHARE) > table.len() {
        return choose(table.iter(), table.len(), count, random);
    }
    let mut seen = MapSet::default();
    let mut chosen = Vec::with_capacity(count);
    while chosen.len() < count
        && let Some(item) = table.random(|| random.u64(..))
    {
        // Items do not move while the table is borrowed: the address tells them apart.
        if seen.insert(std::ptr::from_ref(item).addr()) {
            chosen.push(item);
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::set::Member;

    /// How often each of `len` items is chosen in `rounds` draws of `count`.
    fn frequencies(len: usize, rounds: usize, mut draw: impl FnMut(&mut Rng) -> Vec<usize>) -> Vec<usize> {
        let mut random = Rng::with_seed(7);
        let mut counts = vec![0; len];
        for _ in 0..rounds {
            let mut chosen = draw(&mut random);
            chosen.iter().for_each(|item| counts[*item] += 1);
            let all = chosen.len();
            chosen.sort_unstable();
            chosen.dedup();
            assert_eq!(chosen.len(), all, "an item twice");
        }
        counts
    }

    /// Chi-square against equal frequencies stays below the 0.1 % bound for 63 degrees of freedom.
    fn check_uniform(counts: &[usize]) {
        let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
        let chi: f64 = counts.iter().map(|n| (*n as f64 - mean).powi(2) / mean).sum();
        assert!(chi < 103.5, "chi-square {chi}: {counts:?}");
    }

    #[test]
    fn every_item_is_equally_likely() {
        for count in [1, 5, 40] {
            check_uniform(&frequencies(64, 2000, |random| choose(0..64, 64, count, random)));
        }
        let mut table = Partitions::new();
        (0..64).for_each(|n: usize| drop(table.insert(Member::new(n.to_string().as_bytes()))));
        for count in [1, 8, 40] {
            check_uniform(&frequencies(64, 2000, |random| {
                let chosen = choose_of_table(&table, count, random);
                let number = |member: &&Member| std::str::from_utf8(member.bytes()).ok()?.parse().ok();
                chosen.iter().filter_map(number).collect()
            }));
        }
    }

    #[test]
    fn never_more_than_there_are() {
        let mut random = Rng::with_seed(1);
        assert_eq!(choose(0..5, 5, 9, &mut random), [0, 1, 2, 3, 4]);
        assert_eq!(choose(0..5, 5, 0, &mut random), [0; 0]);
        assert!(choose_of_table(&Partitions::<Member>::new(), 3, &mut random).is_empty());
    }
}
