//! The set value: its representation in memory.
//!
//! | shape | holds | OBJECT ENCODING |
//! |---|---|---|
//! | `Ints` | integers only, up to `set-max-intset-entries` | intset |
//! | `Packed` | up to `set-max-listpack-entries` members of up to `set-max-listpack-value` bytes | listpack |
//! | `Table` | anything | hashtable |
//!
//! The first two are the RDB encodings, so a small set is saved by copying and costs no pointer per member. The
//! table is the partitioned one of the keyspace, because a set of a million members must be cloned for a snapshot
//! in the same fraction of a millisecond. A member there is one counted allocation, shared by every clone.
//!
//! Conversions are Redis 7.2's, since OBJECT ENCODING and the saved bytes show them: an intset that outgrows its
//! limit becomes a table, never a listpack; one that gets a text becomes a listpack if both limits allow, else a
//! table; nothing turns back, except where a command builds a new set ([`Set::most_compact`]).
//!
//! Rejected: a B-tree (ordered sets are another type; hashing finds a member in one cache miss) and members stored
//! as integers in the table (twice the code for a few bytes).

use std::fmt;

use fastrand::Rng;
use triomphe::ThinArc;

use super::limits::Limits;
use super::partitions::{Item, Partitions};
use super::sample;
use crate::error::Corrupt;
use crate::format::packed::intset::Intset;
use crate::format::packed::listpack::Listpack;
use crate::format::packed::{Entry, all_distinct};

/// A member's bytes in one counted allocation; cloning shares them.
#[derive(Clone)]
pub struct Member(ThinArc<(), u8>);

impl Member {
    pub fn new(bytes: &[u8]) -> Member {
        Member(ThinArc::from_header_and_slice((), bytes))
    }

    pub fn bytes(&self) -> &[u8] {
        &self.0.slice
    }

    /// Bytes of the allocation: count, length and content.
    pub fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>() + self.bytes().len().next_multiple_of(8)
    }
}

impl Item for Member {
    fn key(&self) -> &[u8] {
        self.bytes()
    }
}

impl fmt::Debug for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.bytes().escape_ascii())
    }
}

#[derive(Clone)]
pub enum Set {
    Ints(Intset),
    Packed(Listpack),
    Table(Partitions<Member>),
}

impl Default for Set {
    fn default() -> Set {
        Set::Ints(Intset::new())
    }
}

impl Set {
    /// An empty set in the shape that suits `first` and about `expected` members.
    pub fn for_members(first: &[u8], expected: usize, limits: &Limits) -> Set {
        if Entry::Str(first).to_i64().is_some() && expected <= limits.set_max_intset_entries {
            Set::Ints(Intset::new())
        } else if expected <= limits.set_max_listpack_entries {
            Set::Packed(Listpack::new())
        } else {
            Set::Table(Partitions::new())
        }
    }

    /// An empty set in the compact shape nearest to this one's.
    pub fn like_new(&self) -> Set {
        match self {
            Set::Ints(_) => Set::Ints(Intset::new()),
            Set::Packed(_) | Set::Table(_) => Set::Packed(Listpack::new()),
        }
    }

    /// An empty set to load `expected` members into by [`Set::insert`], from an encoding that lists them (RDB's
    /// plain set). It takes the shape that Redis gives to such a set.
    pub fn for_load(expected: usize, limits: &Limits) -> Set {
        if expected <= intset_limit(limits) { Set::default() } else { Set::Table(Partitions::new()) }
    }

    /// Adopts an intset as loaded; a table if it is longer than the limit.
    pub fn from_intset(ints: Intset, limits: &Limits) -> Set {
        let mut set = Set::Ints(ints);
        set.check_intset(limits);
        set
    }

    /// Adopts a listpack as loaded; a table if it is longer than the limit. A member twice is corruption.
    pub fn from_listpack(packed: Listpack, limits: &Limits) -> Result<Set, Corrupt> {
        if !all_distinct(packed.iter()) {
            return Err(Corrupt::new(0, "set listpack with a member twice"));
        }
        let too_long = packed.len() > limits.set_max_listpack_entries;
        let mut set = Set::Packed(packed);
        if too_long {
            set.become_table();
        }
        Ok(set)
    }

    pub fn len(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.len(),
            Set::Packed(packed) => packed.len(),
            Set::Table(table) => table.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Set::Packed(packed) => packed.is_empty(),
            other => other.len() == 0,
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match self {
            Set::Ints(_) => "intset",
            Set::Packed(_) => "listpack",
            Set::Table(_) => "hashtable",
        }
    }

    pub fn as_intset(&self) -> Option<&Intset> {
        if let Set::Ints(ints) = self { Some(ints) } else { None }
    }

    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Set::Packed(packed) = self { Some(packed) } else { None }
    }

    /// Heap bytes; a table's members are estimated from the first ones.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Set::Ints(ints) => ints.heap_bytes(),
            Set::Packed(packed) => packed.heap_bytes(),
            Set::Table(table) => table.overhead_bytes() + estimate(table, Member::heap_bytes),
        }
    }

    /// All members: an intset's ascending, a listpack's as they came, a table's in no order.
    pub fn iter(&self) -> Box<dyn Iterator<Item = Entry<'_>> + '_> {
        match self {
            Set::Ints(ints) => Box::new(ints.iter().map(Entry::Int)),
            Set::Packed(packed) => Box::new(packed.iter()),
            Set::Table(table) => Box::new(table.iter().map(|member| Entry::Str(member.bytes()))),
        }
    }

    pub fn contains<'v>(&self, member: impl Into<Entry<'v>>) -> bool {
        let member = member.into();
        match self {
            Set::Ints(ints) => member.to_i64().is_some_and(|n| ints.contains(n)),
            Set::Packed(packed) => packed.find(member.bytes(&mut itoa::Buffer::new()), 0).is_some(),
            Set::Table(table) => table.contains(member.bytes(&mut itoa::Buffer::new())),
        }
    }

    /// Takes the shape for about `expected` members more, before they are added (a hint, as in Redis).
    pub fn expect(&mut self, expected: usize, limits: &Limits) {
        let too_many = match self {
            Set::Ints(_) => expected > limits.set_max_intset_entries,
            Set::Packed(_) => expected > limits.set_max_listpack_entries,
            Set::Table(_) => false,
        };
        if too_many {
            self.become_table();
        }
    }

    /// False if `member` was there.
    pub fn insert<'v>(&mut self, member: impl Into<Entry<'v>>, limits: &Limits) -> bool {
        let member = member.into();
        match self {
            Set::Ints(ints) => match member.to_i64() {
                Some(n) => {
                    let added = ints.insert(n);
                    self.check_intset(limits);
                    added
                }
                None => {
                    self.become_textual(member.bytes_len(), limits);
                    self.insert(member, limits)
                }
            },
            Set::Packed(packed) => {
                let mut text = itoa::Buffer::new();
                let bytes = member.bytes(&mut text);
                if packed.find(bytes, 0).is_some() {
                    return false;
                }
                let fits = packed.len() < limits.set_max_listpack_entries
                    && bytes.len() <= limits.set_max_listpack_value
                    && packed.may_grow_by(bytes.len());
                if fits {
                    packed.push(member);
                    return true;
                }
                self.become_table();
                self.insert(member, limits)
            }
            Set::Table(table) => {
                let mut text = itoa::Buffer::new();
                let bytes = member.bytes(&mut text);
                !table.contains(bytes) && table.insert(Member::new(bytes)).is_none()
            }
        }
    }

    /// False if `member` was not there.
    pub fn remove<'v>(&mut self, member: impl Into<Entry<'v>>) -> bool {
        let member = member.into();
        match self {
            Set::Ints(ints) => member.to_i64().is_some_and(|n| ints.remove(n)),
            Set::Packed(packed) => {
                let found = packed.find(member.bytes(&mut itoa::Buffer::new()), 0);
                found.inspect(|at| packed.remove(*at)).is_some()
            }
            Set::Table(table) => table.remove(member.bytes(&mut itoa::Buffer::new())).is_some(),
        }
    }

    /// A member, each equally likely.
    pub fn random(&self, random: &mut Rng) -> Option<Entry<'_>> {
        match self {
            Set::Ints(ints) if !ints.is_empty() => ints.get(random.usize(..ints.len())).map(Entry::Int),
            Set::Packed(packed) if !packed.is_empty() => packed.get(random.usize(..packed.len()) as i64),
            Set::Table(table) => table.random(|| random.u64(..)).map(|member| Entry::Str(member.bytes())),
            _ => None,
        }
    }

    /// `count` distinct members (all, if there are not so many), every choice equally likely.
    pub fn sample(&self, count: usize, random: &mut Rng) -> Vec<Entry<'_>> {
        match self {
            Set::Table(table) => {
                let chosen = sample::choose_of_table(table, count, random);
                chosen.into_iter().map(|member| Entry::Str(member.bytes())).collect()
            }
            compact => sample::choose(compact.iter(), compact.len(), count, random),
        }
    }

    /// One step of SSCAN: visits about `count` members from `cursor` on and returns the next cursor, 0 at the
    /// end. A compact set is visited whole.
    pub fn scan(&self, cursor: u64, count: usize, mut visit: impl FnMut(Entry<'_>)) -> u64 {
        match self {
            Set::Table(table) => table.scan(cursor, count, |member| visit(Entry::Str(member.bytes()))),
            compact => {
                compact.iter().for_each(visit);
                0
            }
        }
    }

    /// An intset, if all members are integers and not too many; else the set as it is.
    pub fn most_compact(self, limits: &Limits) -> Set {
        if matches!(self, Set::Ints(_)) || self.len() > intset_limit(limits) {
            return self;
        }
        let mut ints = Intset::new();
        let all_integers = self.iter().all(|member| member.to_i64().is_some_and(|n| ints.insert(n)));
        if all_integers { Set::Ints(ints) } else { self }
    }

    fn check_intset(&mut self, limits: &Limits) {
        if let Set::Ints(ints) = self
            && ints.len() > intset_limit(limits)
        {
            self.become_table();
        }
    }

    /// Makes room in an intset for a text of `text_len` bytes: a listpack if it allows one member more.
    fn become_textual(&mut self, text_len: usize, limits: &Limits) {
        let Set::Ints(ints) = self else { return };
        let longest = [ints.min(), ints.max()].into_iter().flatten().map(|n| Entry::Int(n).bytes_len()).max();
        let fits = ints.len() < limits.set_max_listpack_entries
            && text_len.max(longest.unwrap_or(0)) <= limits.set_max_listpack_value;
        if fits {
            *self = Set::Packed(ints.iter().collect());
        } else {
            self.become_table();
        }
    }

    fn become_table(&mut self) {
        let mut table = Partitions::new();
        let mut text = itoa::Buffer::new();
        for member in self.iter() {
            table.insert(Member::new(member.bytes(&mut text)));
        }
        *self = Set::Table(table);
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Redis' internal bound on top of the configured one.
fn intset_limit(limits: &Limits) -> usize {
    limits.set_max_intset_entries.min(1 << 30)
}

/// Total of `size` over a table's items, from a sample of them.
pub(super) fn estimate<T: Item>(table: &Partitions<T>, size: impl Fn(&T) -> usize) -> usize {
    const SAMPLE: usize = 64;
    let (count, bytes) = table.iter().take(SAMPLE).fold((0, 0), |(n, sum), item| (n + 1, sum + size(item)));
    (bytes as u128 * table.len() as u128).checked_div(count).unwrap_or_default() as usize
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn members(set: &Set) -> Vec<String> {
        let mut all: Vec<_> =
            set.iter().map(|member| String::from_utf8_lossy(&member.to_vec()).into_owned()).collect();
        all.sort();
        all
    }

    #[test]
    fn shapes_and_their_limits() {
        let limits = Limits::default();
        let check = |first: Vec<String>, then: &str, before: &str, after: &str| {
            let mut set = Set::for_members(first[0].as_bytes(), first.len(), &limits);
            first.iter().for_each(|member| assert!(set.insert(member.as_str(), &limits), "{member}"));
            assert_eq!(set.encoding(), before, "{first:?}");
            assert!(set.insert(then, &limits));
            assert_eq!((set.encoding(), set.len()), (after, first.len() + 1), "{first:?} {then}");
        };
        let numbers = |n: usize| (0..n).map(|i| i.to_string()).collect::<Vec<_>>();
        let texts = |n: usize| (0..n).map(|i| format!("t{i}")).collect::<Vec<_>>();
        check(numbers(3), "9", "intset", "intset");
        check(numbers(3), "a", "intset", "listpack");
        check(numbers(3), "213244124402402314402033402", "intset", "listpack");
        check(numbers(3), &"x".repeat(65), "intset", "hashtable");
        check(numbers(127), "a", "intset", "listpack");
        check(numbers(128), "a", "intset", "hashtable");
        check(numbers(511), "x511", "intset", "hashtable");
        check(numbers(512), "512", "intset", "hashtable");
        check(texts(127), "1", "listpack", "listpack");
        check(texts(128), "1", "listpack", "hashtable");
        check(texts(1), &"x".repeat(64), "listpack", "listpack");
        check(texts(1), &"x".repeat(65), "listpack", "hashtable");
        check(texts(129), "1", "hashtable", "hashtable");
    }

    #[test]
    fn limits_in_unusual_order() {
        let limits = Limits { set_max_intset_entries: 2, set_max_listpack_value: 3, ..Limits::default() };
        let mut set = Set::from_intset(
            [1000, 2].into_iter().fold(Intset::new(), |mut ints, n| {
                ints.insert(n);
                ints
            }),
            &limits,
        );
        set.insert("a", &limits); // 1000 is longer than a listpack member may be
        assert_eq!(
            (set.encoding(), members(&set)),
            ("hashtable", vec!["1000".into(), "2".into(), "a".into()])
        );
    }

    #[test]
    fn loaded_blobs_follow_the_limits() {
        let small = Limits { set_max_intset_entries: 2, set_max_listpack_entries: 2, ..Limits::default() };
        let packed: Listpack = ["a", "b", "3"].into_iter().collect();
        let check = |limits: &Limits, encoding| {
            let set = Set::from_listpack(packed.clone(), limits).expect("sound");
            assert_eq!((set.encoding(), members(&set)), (encoding, vec!["3".into(), "a".into(), "b".into()]));
        };
        check(&Limits::default(), "listpack");
        check(&small, "hashtable");
        let twice: Listpack = ["a", "3", "a"].into_iter().collect();
        assert!(Set::from_listpack(twice, &small).is_err());
        assert_eq!(Set::for_load(2, &small).encoding(), "intset");
        assert_eq!(Set::for_load(3, &small).encoding(), "hashtable");
    }

    #[test]
    fn compacts_only_what_is_all_integers() {
        let limits = Limits::default();
        let check = |all: &[&str], encoding| {
            let set = Set::from_listpack(all.iter().copied().collect(), &limits).expect("sound");
            assert_eq!(set.most_compact(&limits).encoding(), encoding, "{all:?}");
        };
        check(&["3", "1", "2"], "intset");
        check(&["3", "1", "x"], "listpack");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn behaves_like_a_set(
            ops in proptest::collection::vec((0u32..60, 0u8..4, any::<bool>()), 0..200),
            entries in 1usize..40,
        ) {
            let limits = Limits {
                set_max_intset_entries: entries,
                set_max_listpack_entries: entries / 2,
                ..Limits::default()
            };
            let (mut set, mut model) = (Set::default(), BTreeSet::new());
            for (n, kind, insert) in ops {
                let member = if kind == 0 { format!("m{n}") } else { n.to_string() };
                if insert {
                    prop_assert_eq!(set.insert(member.as_str(), &limits), model.insert(member));
                } else {
                    prop_assert_eq!(set.remove(member.as_str()), model.remove(&member));
                }
                prop_assert_eq!(set.len(), model.len());
            }
            prop_assert!(members(&set).iter().eq(model.iter()));
            for member in &model {
                prop_assert!(set.contains(member.as_str()));
            }
            let mut scanned = BTreeSet::new();
            let mut cursor = 0;
            loop {
                cursor = set.scan(cursor, 5, |member| {
                    scanned.insert(member.to_vec());
                });
                if cursor == 0 {
                    break;
                }
            }
            prop_assert_eq!(scanned.len(), model.len());
            let sample = set.sample(7, &mut fastrand::Rng::with_seed(3));
            prop_assert_eq!(sample.len(), model.len().min(7));
            prop_assert_eq!(set.random(&mut fastrand::Rng::with_seed(3)).is_some(), !model.is_empty());
        }
    }
}
