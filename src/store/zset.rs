//! The sorted set value: its representation in memory.
//!
//! | shape | holds | OBJECT ENCODING |
//! |---|---|---|
//! | `Packed` | member, score, member, score … in order, within `zset-max-listpack-entries` and `-value` | listpack |
//! | `Indexed` | a table member → score and the same members in order | skiplist |
//!
//! The small shape is the RDB encoding. The large one answers by member from a partitioned hash table and by
//! place from a counted B+tree ([`super::order`] says why that and no skiplist; `skiplist` remains the word
//! that clients are told). Both share the member's one allocation, and both clone in microseconds, so that a
//! snapshot of a leaderboard of millions costs what was changed since.
//!
//! A range by score or by text is a range of ranks: [`Zset::count_while`] finds its ends, and everything else
//! (reading, counting, removing, skipping an offset) works on ranks.
//!
//! Conversions are Redis 7.2's: to the large shape when either limit is passed, back only when a command or a load
//! builds a new set ([`Zset::settle`]).
//!
//! Always: no score is NaN (callers check; [`Zset::insert`] ignores one); table and order hold the same entries.

use std::fmt;
use std::ops::Range;

use fastrand::Rng;

use super::limits::Limits;
use super::order::{Order, Place};
use super::partitions::{Item, Partitions};
use super::sample;
use super::set::{Member, estimate};
use crate::error::Corrupt;
use crate::format::packed::listpack::{Listpack, Pos};
use crate::format::packed::{Entry, all_distinct};
use crate::resp::number::{format_f64, parse_f64};

/// A member as the table keeps it.
#[derive(Clone)]
pub struct Scored {
    member: Member,
    score: f64,
}

impl Item for Scored {
    fn key(&self) -> &[u8] {
        self.member.bytes()
    }
}

#[derive(Clone)]
pub enum Zset {
    Packed(Listpack),
    Indexed(Box<Indexed>),
}

/// The large shape.
#[derive(Clone, Default)]
pub struct Indexed {
    table: Partitions<Scored>,
    order: Order,
}

impl Default for Zset {
    fn default() -> Zset {
        Zset::Packed(Listpack::new())
    }
}

impl Zset {
    /// An empty sorted set in the shape that suits about `expected` members, the first of `first_len` bytes.
    pub fn for_members(first_len: usize, expected: usize, limits: &Limits) -> Zset {
        let small =
            expected <= limits.zset_max_listpack_entries && first_len <= limits.zset_max_listpack_value;
        if small { Zset::default() } else { Zset::indexed() }
    }

    /// An empty sorted set in its large shape, to be filled by [`Zset::insert_new`] and then [`Zset::settle`]d:
    /// for what is built whole (loads, ZUNIONSTORE).
    pub fn indexed() -> Zset {
        Zset::Indexed(Box::default())
    }

    /// Adds a member to a set under construction. False, and nothing is done, if it is there or `score` is NaN.
    pub fn insert_new(&mut self, member: &[u8], score: f64) -> bool {
        match self {
            _ if score.is_nan() => false,
            Zset::Packed(packed) => {
                let absent = packed.find(member, 1).is_none();
                if absent {
                    insert_packed(packed, member, score);
                }
                absent
            }
            Zset::Indexed(all) => {
                let absent = !all.table.contains(member);
                if absent {
                    all.add(Member::new(member), score);
                }
                absent
            }
        }
    }

    /// The shape for what was built: a listpack, if it holds within both limits.
    pub fn settle(&mut self, limits: &Limits) {
        let Zset::Indexed(all) = self else { return };
        let fits = all.order.len() <= limits.zset_max_listpack_entries
            && all.table.iter().all(|entry| entry.key().len() <= limits.zset_max_listpack_value);
        if fits {
            let mut packed = Listpack::new();
            for place in all.order.range(0..all.order.len()) {
                let end = packed.end();
                push_pair(&mut packed, end, place.member.bytes(), place.score);
            }
            *self = Zset::Packed(packed);
        }
    }

    /// Adopts a listpack of members and scores as loaded; the large shape if it is longer than the limit. A member
    /// twice or a score that is no number is corruption; an unsorted listpack is sorted.
    pub fn from_listpack(packed: Listpack, limits: &Limits) -> Result<Zset, Corrupt> {
        if !packed.len().is_multiple_of(2) {
            return Err(Corrupt::new(0, "sorted set listpack with a member without score"));
        }
        if !all_distinct(packed.pairs().map(|(member, _)| member)) {
            return Err(Corrupt::new(0, "sorted set listpack with a member twice"));
        }
        let mut text = itoa::Buffer::new();
        let mut last: Option<Place> = None;
        let mut sorted = true;
        for (member, score) in packed.pairs() {
            let score = parse_score(score)
                .ok_or_else(|| Corrupt::new(0, "sorted set listpack with a score that is no number"))?;
            let member = member.bytes(&mut text);
            sorted &= last.is_none_or(|last| last.cmp_to(score, member).is_lt());
            last = Some(Place { score, member: Member::new(member) });
        }
        let too_long = packed.len() / 2 > limits.zset_max_listpack_entries;
        let mut set = Zset::Packed(packed);
        if too_long || !sorted {
            set.become_indexed();
        }
        if !too_long && !sorted {
            set.settle(&Limits { zset_max_listpack_value: usize::MAX, ..*limits });
        }
        Ok(set)
    }

    pub fn len(&self) -> usize {
        match self {
            Zset::Packed(packed) => packed.len() / 2,
            Zset::Indexed(all) => all.order.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Zset::Packed(packed) => packed.is_empty(),
            Zset::Indexed(all) => all.order.is_empty(),
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match self {
            Zset::Packed(_) => "listpack",
            Zset::Indexed(_) => "skiplist",
        }
    }

    /// Members and scores in order.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Zset::Packed(packed) = self { Some(packed) } else { None }
    }

    /// Heap bytes; a table's members are estimated from the first ones.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Zset::Packed(packed) => packed.heap_bytes(),
            Zset::Indexed(all) => {
                let members = estimate(&all.table, |entry| entry.member.heap_bytes());
                size_of::<Indexed>() + all.table.overhead_bytes() + all.order.heap_bytes() + members
            }
        }
    }

    pub fn score(&self, member: &[u8]) -> Option<f64> {
        match self {
            Zset::Packed(packed) => find_packed(packed, member).map(|(_, score)| score),
            Zset::Indexed(all) => all.table.get(member).map(|entry| entry.score),
        }
    }

    /// Takes the shape for about `expected` members more, before they are added (a hint, as in Redis).
    pub fn expect(&mut self, expected: usize, limits: &Limits) {
        if expected > limits.zset_max_listpack_entries {
            self.become_indexed();
        }
    }

    /// Adds a member or moves it to a new score; the score it had.
    pub fn insert(&mut self, member: &[u8], score: f64, limits: &Limits) -> Option<f64> {
        if score.is_nan() {
            debug_assert!(false, "a score that is no number");
            return self.score(member);
        }
        match self {
            Zset::Packed(packed) => {
                if let Some((at, old)) = find_packed(packed, member) {
                    if old != score {
                        packed.remove_range(at, 2);
                        insert_packed(packed, member, score);
                    }
                    return Some(old);
                }
                let fits = packed.len() / 2 < limits.zset_max_listpack_entries
                    && member.len() <= limits.zset_max_listpack_value
                    && packed.may_grow_by(member.len());
                if fits {
                    insert_packed(packed, member, score);
                    return None;
                }
                self.become_indexed();
                self.insert(member, score, limits)
            }
            Zset::Indexed(all) => {
                let Some(entry) = all.table.get(member) else {
                    all.add(Member::new(member), score);
                    return None;
                };
                let (member, old) = (entry.member.clone(), entry.score);
                if old != score {
                    all.order.remove(old, member.bytes());
                    all.table.insert(Scored { member: member.clone(), score });
                    all.order.insert(Place { score, member });
                }
                Some(old)
            }
        }
    }

    /// The score the member had.
    pub fn remove(&mut self, member: &[u8]) -> Option<f64> {
        match self {
            Zset::Packed(packed) => {
                let (at, score) = find_packed(packed, member)?;
                packed.remove_range(at, 2);
                Some(score)
            }
            Zset::Indexed(all) => {
                let entry = all.table.remove(member)?;
                all.order.remove(entry.score, member);
                Some(entry.score)
            }
        }
    }

    /// Number of members before this one, and its score.
    pub fn rank(&self, member: &[u8]) -> Option<(usize, f64)> {
        match self {
            Zset::Packed(packed) => {
                let (rank, (_, score)) =
                    packed.pairs().enumerate().find(|(_, (other, _))| other.eq_bytes(member))?;
                Some((rank, score_of(score)))
            }
            Zset::Indexed(all) => {
                let score = all.table.get(member)?.score;
                Some((all.order.rank(score, member), score))
            }
        }
    }

    /// Number of leading members for which `holds` (of score and bytes), which must not hold again after it once
    /// did not.
    pub fn count_while(&self, holds: impl Fn(f64, &[u8]) -> bool) -> usize {
        match self {
            Zset::Packed(packed) => {
                let mut text = itoa::Buffer::new();
                packed
                    .pairs()
                    .take_while(|(member, score)| holds(score_of(*score), member.bytes(&mut text)))
                    .count()
            }
            Zset::Indexed(all) => all.order.count_while(|place| holds(place.score, place.member.bytes())),
        }
    }

    /// Members and scores of these ranks, ascending; ranks past the end are cut off.
    pub fn range(&self, ranks: Range<usize>) -> Box<dyn DoubleEndedIterator<Item = (Entry<'_>, f64)> + '_> {
        match self {
            Zset::Packed(packed) => {
                let wanted = packed.pairs().skip(ranks.start).take(ranks.len());
                let entries: Vec<_> = wanted.map(|(member, score)| (member, score_of(score))).collect();
                Box::new(entries.into_iter())
            }
            Zset::Indexed(all) => {
                Box::new(all.order.range(ranks).map(|place| (Entry::Str(place.member.bytes()), place.score)))
            }
        }
    }

    /// All members and scores, ascending.
    pub fn iter(&self) -> Box<dyn DoubleEndedIterator<Item = (Entry<'_>, f64)> + '_> {
        self.range(0..self.len())
    }

    /// Removes the members of these ranks; returns how many there were.
    pub fn remove_range(&mut self, ranks: Range<usize>) -> usize {
        match self {
            Zset::Packed(packed) => match packed.seek(2 * ranks.start as i64) {
                Some(at) => packed.remove_range(at, 2 * ranks.len()) / 2,
                None => 0,
            },
            Zset::Indexed(all) => {
                let doomed: Vec<Place> = all.order.range(ranks).cloned().collect();
                for place in &doomed {
                    all.order.remove(place.score, place.member.bytes());
                    all.table.remove(place.member.bytes());
                }
                doomed.len()
            }
        }
    }

    /// A member and its score, each equally likely.
    pub fn random(&self, random: &mut Rng) -> Option<(Entry<'_>, f64)> {
        match self {
            Zset::Packed(packed) if packed.is_empty() => None,
            Zset::Packed(packed) => {
                let at = packed.seek(2 * random.usize(..packed.len() / 2) as i64)?;
                pair_at(packed, at)
            }
            Zset::Indexed(all) => all.table.random(|| random.u64(..)).map(pair_of),
        }
    }

    /// `count` distinct members with scores (all, if there are not so many), every choice equally likely.
    pub fn sample(&self, count: usize, random: &mut Rng) -> Vec<(Entry<'_>, f64)> {
        match self {
            Zset::Packed(_) => sample::choose(self.iter(), self.len(), count, random),
            Zset::Indexed(all) => {
                sample::choose_of_table(&all.table, count, random).into_iter().map(pair_of).collect()
            }
        }
    }

    /// One step of ZSCAN: visits about `count` members from `cursor` on and returns the next cursor, 0 at the
    /// end. A listpack is visited whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Entry<'_>, f64)) -> u64 {
        match self {
            Zset::Packed(_) => {
                self.iter().for_each(|(member, score)| visit(member, score));
                0
            }
            Zset::Indexed(all) => {
                all.table.scan(cursor, count, |entry| visit(Entry::Str(entry.key()), entry.score))
            }
        }
    }

    fn become_indexed(&mut self) {
        let Zset::Packed(packed) = self else { return };
        let mut all = Indexed::default();
        let mut text = itoa::Buffer::new();
        for (member, score) in packed.pairs() {
            all.add(Member::new(member.bytes(&mut text)), score_of(score));
        }
        *self = Zset::Indexed(Box::new(all));
    }
}

impl Indexed {
    /// Adds a member that is not there.
    fn add(&mut self, member: Member, score: f64) {
        self.table.insert(Scored { member: member.clone(), score });
        self.order.insert(Place { score, member });
    }
}

impl fmt::Debug for Zset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

fn pair_of(entry: &Scored) -> (Entry<'_>, f64) {
    (Entry::Str(entry.key()), entry.score)
}

/// The member at `at` and the score behind it.
fn pair_at(packed: &Listpack, at: Pos) -> Option<(Entry<'_>, f64)> {
    Some((packed.entry(at)?, score_of(packed.entry(packed.next(at)?)?)))
}

fn find_packed(packed: &Listpack, member: &[u8]) -> Option<(Pos, f64)> {
    let at = packed.find(member, 1)?;
    Some((at, pair_at(packed, at)?.1))
}

/// Puts an absent member into its place.
fn insert_packed(packed: &mut Listpack, member: &[u8], score: f64) {
    let mut text = itoa::Buffer::new();
    let mut at = packed.first();
    while let Some(here) = at
        && let Some((other, other_score)) = pair_at(packed, here)
    {
        if other_score > score || (other_score == score && other.bytes(&mut text) > member) {
            break;
        }
        at = packed.next(here).and_then(|score_at| packed.next(score_at));
    }
    let at = at.unwrap_or(packed.end());
    push_pair(packed, at, member, score);
}

/// Inserts member and score before what is at `at`. As in Redis, a whole score is kept as integer (which makes
/// minus zero a zero), any other as its shortest text.
fn push_pair(packed: &mut Listpack, at: Pos, member: &[u8], score: f64) {
    const WHOLE: f64 = (i64::MAX / 2) as f64;
    if score.abs() <= WHOLE && score.trunc() == score {
        packed.insert(at, score as i64);
    } else {
        let mut text = Vec::new();
        format_f64(score, &mut text);
        packed.insert(at, &text);
    }
    packed.insert(at, member);
}

fn parse_score(score: Entry<'_>) -> Option<f64> {
    match score {
        Entry::Int(n) => Some(n as f64),
        Entry::Str(text) => parse_f64(text),
    }
}

/// A score of a listpack that was checked or written here.
fn score_of(score: Entry<'_>) -> f64 {
    parse_score(score).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn pairs(set: &Zset) -> Vec<(String, f64)> {
        set.iter().map(|(member, score)| (String::from_utf8_lossy(&member.to_vec()).into(), score)).collect()
    }

    fn packed(pairs: &[(&str, &str)]) -> Listpack {
        pairs.iter().flat_map(|(member, score)| [*member, *score]).collect()
    }

    #[test]
    fn shapes_and_their_limits() {
        let limits = Limits::default();
        let mut set = Zset::for_members(1, 3, &limits);
        (0..128).for_each(|n| assert_eq!(set.insert(format!("m{n}").as_bytes(), 1.5, &limits), None));
        assert_eq!(set.encoding(), "listpack");
        assert_eq!(set.insert(b"m5", 2.0, &limits), Some(1.5));
        assert_eq!(set.encoding(), "listpack");
        set.insert(b"one more", 0.0, &limits);
        assert_eq!((set.encoding(), set.len()), ("skiplist", 129));
        set.remove(b"one more");
        assert_eq!(set.encoding(), "skiplist");
        set.settle(&limits);
        assert_eq!((set.encoding(), set.score(b"m5")), ("listpack", Some(2.0)));
        set.insert(&[b'x'; 65], 1.0, &limits);
        assert_eq!(set.encoding(), "skiplist");
        set.settle(&limits);
        assert_eq!(set.encoding(), "skiplist");
        assert_eq!(Zset::for_members(1, 129, &limits).encoding(), "skiplist");
        assert_eq!(Zset::for_members(65, 1, &limits).encoding(), "skiplist");
    }

    #[test]
    fn loaded_blobs_are_checked_sorted_and_follow_the_limits() {
        let check = |blob: &[(&str, &str)], entries, expected: Option<(&str, &[(&str, f64)])>| {
            let limits = Limits { zset_max_listpack_entries: entries, ..Limits::default() };
            let set = Zset::from_listpack(packed(blob), &limits).ok();
            let seen = set.as_ref().map(|set| (set.encoding(), pairs(set)));
            let expected = expected.map(|(word, all)| {
                (word, all.iter().map(|(member, score)| (member.to_string(), *score)).collect())
            });
            assert_eq!(seen, expected, "{blob:?}");
        };
        check(&[("a", "1"), ("b", "2.5")], 2, Some(("listpack", &[("a", 1.0), ("b", 2.5)])));
        check(&[("a", "1"), ("b", "2.5")], 1, Some(("skiplist", &[("a", 1.0), ("b", 2.5)])));
        check(&[("b", "2.5"), ("a", "1")], 2, Some(("listpack", &[("a", 1.0), ("b", 2.5)])));
        check(
            &[("b", "-inf"), ("a", "inf")],
            2,
            Some(("listpack", &[("b", f64::NEG_INFINITY), ("a", f64::INFINITY)])),
        );
        check(&[("a", "1"), ("a", "2")], 2, None);
        check(&[("a", "nan")], 2, None);
        check(&[("a", "one")], 2, None);
        let odd: Listpack = ["a", "1", "b"].into_iter().collect();
        assert!(Zset::from_listpack(odd, &Limits::default()).is_err());
    }

    #[test]
    fn equal_scores_are_ordered_by_bytes() {
        for limit in [0, 100] {
            let limits = Limits { zset_max_listpack_entries: limit, ..Limits::default() };
            let mut set = Zset::for_members(1, 1, &limits);
            for member in ["b", "10", "9", "a", "", "B"] {
                set.insert(member.as_bytes(), 0.0, &limits);
            }
            let order: Vec<_> = pairs(&set).into_iter().map(|(member, _)| member).collect();
            assert_eq!(order, ["", "10", "9", "B", "a", "b"]);
        }
    }

    type Model = BTreeMap<String, i32>;

    fn sorted(model: &Model) -> Vec<(String, f64)> {
        let mut all: Vec<_> =
            model.iter().map(|(member, score)| (member.clone(), f64::from(*score) / 2.0)).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then_with(|| a.0.cmp(&b.0)));
        all
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_a_map_in_order(
            ops in proptest::collection::vec((0u32..150, -20i32..20, 0u8..4), 0..400),
            entries in 0usize..60,
            (from, to) in (0usize..100, 0usize..100),
        ) {
            let limits = Limits { zset_max_listpack_entries: entries, ..Limits::default() };
            let (mut set, mut model) = (Zset::for_members(1, 1, &limits), Model::new());
            for (n, score, kind) in ops {
                let member = if n % 2 == 0 { n.to_string() } else { format!("m{n}") };
                if kind > 0 {
                    let old = set.insert(member.as_bytes(), f64::from(score) / 2.0, &limits);
                    prop_assert_eq!(old, model.insert(member, score).map(|old| f64::from(old) / 2.0));
                } else {
                    prop_assert_eq!(set.remove(member.as_bytes()).is_some(), model.remove(&member).is_some());
                }
            }
            let all = sorted(&model);
            prop_assert_eq!(&pairs(&set), &all);
            for (rank, (member, score)) in all.iter().enumerate() {
                prop_assert_eq!(set.rank(member.as_bytes()), Some((rank, *score)));
                prop_assert_eq!(set.score(member.as_bytes()), Some(*score));
            }
            let below = all.iter().filter(|(_, score)| *score < 3.0).count();
            prop_assert_eq!(set.count_while(|score, _| score < 3.0), below);
            let (from, to) = (from.min(to), from.max(to));
            let before = set.clone();
            let kept: Vec<_> = all.iter().enumerate().filter(|(i, _)| *i < from || *i >= to).map(|(_, p)| p.clone()).collect();
            prop_assert_eq!(set.remove_range(from..to), all.len() - kept.len());
            prop_assert_eq!(&pairs(&set), &kept);
            prop_assert_eq!(&pairs(&before), &all);
            let mut settled = before;
            settled.settle(&Limits::default());
            prop_assert_eq!(&pairs(&settled), &all);
            let mut seen = 0;
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, 7, |_, _| seen += 1);
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(seen, kept.len());
            prop_assert_eq!(set.sample(9, &mut fastrand::Rng::with_seed(5)).len(), kept.len().min(9));
        }
    }
}
