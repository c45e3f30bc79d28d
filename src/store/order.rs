//! The order index of a big sorted set: a counted B+tree that clones share.
//!
//! Leaves hold (score, member) in the order of score, then bytes; an inner node knows of each child how many
//! entries lie below it and a bound that separates it from its left neighbour. Counts make rank → entry and
//! entry → rank O(log n), so every range (by rank, score or text) is first turned into a range of ranks, and
//! counting a range or skipping an offset in it costs no walk.
//!
//! Why not a skiplist, as Redis has: its nodes point at each other, forwards and backwards, so two versions
//! cannot share them; a snapshot would have to copy it whole. Here nodes hang below their parent only, each behind
//! an `Arc`: cloning the index is cloning the root, and a change afterwards copies the few nodes on its path
//! (`Arc::make_mut`), once. A tree also keeps 64 entries side by side (about 21 bytes each with slack), where a
//! skiplist spends a node and 1.33 links on every one. Rejected, too: a `BTreeSet` (no ranks, no sharing) and a
//! treap (a pointer and an allocation per entry).
//!
//! A full node is split in halves, except at either end of the order, where the new entry gets a node of its own:
//! entries that come in ascending or descending order (time stamps, snapshots) fill their leaves. A node below
//! a quarter is merged with a neighbour if both fit in one.
//!
//! Always: entries ascend strictly; a child's `count` is the number of entries below it; but for the first child
//! of a node, whose bound means nothing, `bound` ≤ every entry of the child and > every entry before it;
//! no node but the root is empty; all leaves have the same depth.

use std::cmp::Ordering;
use std::ops::Range;
use std::slice;

use triomphe::Arc;

use super::set::Member;

/// Most entries in a leaf, and most children of an inner node.
const LEAF: usize = 64;
const INNER: usize = 64;

/// An entry of the index.
#[derive(Clone)]
pub struct Place {
    /// Never NaN.
    pub score: f64,
    pub member: Member,
}

impl Place {
    /// Score first, then bytes; the two zeros are one score.
    pub fn cmp_to(&self, score: f64, member: &[u8]) -> Ordering {
        match self.score.partial_cmp(&score) {
            Some(Ordering::Equal) | None => self.member.bytes().cmp(member),
            Some(unequal) => unequal,
        }
    }

    fn cmp(&self, other: &Place) -> Ordering {
        self.cmp_to(other.score, other.member.bytes())
    }
}

#[derive(Clone)]
pub struct Order {
    root: Arc<Node>,
    len: usize,
}

#[derive(Clone)]
enum Node {
    Leaf(Vec<Place>),
    Inner(Vec<Child>),
}

#[derive(Clone)]
struct Child {
    bound: Place,
    count: usize,
    node: Arc<Node>,
}

/// Which ends of the whole order a node touches.
#[derive(Clone, Copy)]
struct Edges {
    front: bool,
    back: bool,
}

impl Default for Order {
    fn default() -> Order {
        Order { root: Arc::new(Node::Leaf(Vec::new())), len: 0 }
    }
}

impl Order {
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Adds an entry that is not there yet.
    pub fn insert(&mut self, place: Place) {
        let edges = Edges { front: true, back: true };
        self.len += 1;
        if let Some(right) = Arc::make_mut(&mut self.root).insert(place, edges) {
            let left = Child {
                bound: right.bound.clone(), // a first child's bound means nothing
                count: self.len - right.count,
                node: self.root.clone(),
            };
            self.root = Arc::new(Node::Inner(vec![left, right]));
        }
    }

    /// Removes an entry; false, at the price of copied nodes, if it is not there.
    pub fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        if !Arc::make_mut(&mut self.root).remove(score, member) {
            return false;
        }
        self.len -= 1;
        while let Node::Inner(children) = &*self.root
            && let [only] = children.as_slice()
        {
            self.root = only.node.clone();
        }
        true
    }

    /// Number of entries before (score, member), whether or not it is there.
    pub fn rank(&self, score: f64, member: &[u8]) -> usize {
        self.count_while(|place| place.cmp_to(score, member).is_lt())
    }

    /// Number of leading entries for which `holds`, which must not hold again after it once did not.
    pub fn count_while(&self, holds: impl Fn(&Place) -> bool) -> usize {
        let (mut node, mut before) = (&self.root, 0);
        loop {
            match &**node {
                Node::Leaf(places) => return before + places.partition_point(&holds),
                Node::Inner(children) => {
                    // If the bound of a child fails, so does all of it and the answer lies further left.
                    let at = children[1..].partition_point(|child| holds(&child.bound));
                    before += children[..at].iter().map(|child| child.count).sum::<usize>();
                    node = &children[at].node;
                }
            }
        }
    }

    /// The entries of these ranks, ascending; ranks past the end are cut off.
    pub fn range(&self, ranks: Range<usize>) -> Places<'_> {
        let back = ranks.end.min(self.len);
        let front = ranks.start.min(back);
        Places { order: self, front, back, head: [].iter(), tail: [].iter() }
    }

    /// Bytes of the nodes, without the members.
    pub fn heap_bytes(&self) -> usize {
        self.root.heap_bytes()
    }

    /// The leaf that holds the entry of this rank, and the entry's index in it.
    fn leaf_at(&self, rank: usize) -> (&[Place], usize) {
        let (mut node, mut rest) = (&self.root, rank);
        loop {
            match &**node {
                Node::Leaf(places) => return (places, rest),
                Node::Inner(children) => {
                    let mut at = 0;
                    while at + 1 < children.len() && rest >= children[at].count {
                        rest -= children[at].count;
                        at += 1;
                    }
                    node = &children[at].node;
                }
            }
        }
    }
}

impl Node {
    fn len(&self) -> usize {
        match self {
            Node::Leaf(places) => places.len(),
            Node::Inner(children) => children.len(),
        }
    }

    /// Adds an entry below this node; a full node keeps its left part and returns the right one.
    fn insert(&mut self, place: Place, edges: Edges) -> Option<Child> {
        match self {
            Node::Leaf(places) => {
                let at = places.partition_point(|other| other.cmp(&place).is_lt());
                if places.len() < LEAF {
                    places.insert(at, place);
                    return None;
                }
                let cut = cut(at, LEAF, edges);
                let mut right = places.split_off(cut);
                if at < cut || cut == 0 {
                    places.insert(at, place);
                } else {
                    right.insert(at - cut, place);
                }
                Some(Child { bound: right[0].clone(), count: right.len(), node: Arc::new(Node::Leaf(right)) })
            }
            Node::Inner(children) => {
                let at = child_for(children, place.score, place.member.bytes());
                let below =
                    Edges { front: edges.front && at == 0, back: edges.back && at + 1 == children.len() };
                children[at].count += 1;
                let new = Arc::make_mut(&mut children[at].node).insert(place, below)?;
                children[at].count -= new.count;
                let at = at + 1;
                if children.len() < INNER {
                    children.insert(at, new);
                    return None;
                }
                let cut = cut(at, INNER, edges);
                let mut right = children.split_off(cut);
                if at < cut {
                    children.insert(at, new);
                } else {
                    right.insert(at - cut, new);
                }
                let count = right.iter().map(|child| child.count).sum();
                Some(Child { bound: right[0].bound.clone(), count, node: Arc::new(Node::Inner(right)) })
            }
        }
    }

    fn remove(&mut self, score: f64, member: &[u8]) -> bool {
        match self {
            Node::Leaf(places) => {
                let found = places.binary_search_by(|place| place.cmp_to(score, member));
                found.map(|at| places.remove(at)).is_ok()
            }
            Node::Inner(children) => {
                let at = child_for(children, score, member);
                let child = &mut children[at];
                if !Arc::make_mut(&mut child.node).remove(score, member) {
                    return false;
                }
                child.count -= 1;
                let (len, full) = match &*child.node {
                    Node::Leaf(places) => (places.len(), LEAF),
                    Node::Inner(below) => (below.len(), INNER),
                };
                if len < full / 4 {
                    merge_around(children, at, full);
                }
                true
            }
        }
    }

    /// Takes over the entries of the node to the right, whose bound is `bound`.
    fn append(&mut self, right: &mut Node, bound: Place) {
        match (self, right) {
            (Node::Leaf(places), Node::Leaf(more)) => places.append(more),
            (Node::Inner(children), Node::Inner(more)) => {
                if let Some(first) = more.first_mut() {
                    first.bound = bound;
                }
                children.append(more);
            }
            _ => unreachable!("siblings have the same depth"),
        }
    }

    fn heap_bytes(&self) -> usize {
        let own = size_of::<Node>() + size_of::<usize>();
        match self {
            Node::Leaf(places) => own + places.capacity() * size_of::<Place>(),
            Node::Inner(children) => {
                let below: usize = children.iter().map(|child| child.node.heap_bytes()).sum();
                own + children.capacity() * size_of::<Child>() + below
            }
        }
    }
}

/// The child below which (score, member) belongs.
fn child_for(children: &[Child], score: f64, member: &[u8]) -> usize {
    children[1..].partition_point(|child| child.bound.cmp_to(score, member).is_le())
}

/// Where a full node of `len` is cut to take an item at index `at`.
fn cut(at: usize, len: usize, edges: Edges) -> usize {
    if edges.back && at == len {
        len
    } else if edges.front && at == 0 {
        0
    } else {
        len / 2
    }
}

/// Merges the child at `at`, which has become small, with a neighbour if both fit in one node; an empty child
/// always does.
fn merge_around(children: &mut Vec<Child>, at: usize, full: usize) {
    for left in [at.checked_sub(1), Some(at)].into_iter().flatten() {
        let Some([a, b]) = children.get_mut(left..left + 2) else { continue };
        if a.node.len() + b.node.len() <= full {
            Arc::make_mut(&mut a.node).append(Arc::make_mut(&mut b.node), b.bound.clone());
            a.count += b.count;
            children.remove(left + 1);
            return;
        }
    }
}

/// Entries of a range of ranks, from both ends: one descent per leaf, a slice walk within.
pub struct Places<'a> {
    order: &'a Order,
    front: usize,
    back: usize,
    head: slice::Iter<'a, Place>,
    tail: slice::Iter<'a, Place>,
}

impl<'a> Iterator for Places<'a> {
    type Item = &'a Place;

    fn next(&mut self) -> Option<&'a Place> {
        if self.front == self.back {
            return None;
        }
        if self.head.len() == 0 {
            let (leaf, at) = self.order.leaf_at(self.front);
            self.head = leaf[at..].iter();
        }
        self.front += 1;
        self.head.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.back - self.front, Some(self.back - self.front))
    }
}

impl<'a> DoubleEndedIterator for Places<'a> {
    fn next_back(&mut self) -> Option<&'a Place> {
        if self.front == self.back {
            return None;
        }
        self.back -= 1;
        if self.tail.len() == 0 {
            let (leaf, at) = self.order.leaf_at(self.back);
            self.tail = leaf[..=at].iter();
        }
        self.tail.next_back()
    }
}

impl ExactSizeIterator for Places<'_> {}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn place(score: i32, member: u32) -> Place {
        Place { score: f64::from(score), member: Member::new(&member.to_be_bytes()) }
    }

    /// Everything that must always hold; returns the depth.
    fn check(node: &Node, low: Option<&Place>, high: Option<&Place>, root: bool) -> usize {
        assert!(root || node.len() > 0);
        match node {
            Node::Leaf(places) => {
                assert!(places.len() <= LEAF);
                assert!(places.windows(2).all(|pair| pair[0].cmp(&pair[1]).is_lt()));
                for at in places {
                    assert!(low.is_none_or(|low| low.cmp(at).is_le()));
                    assert!(high.is_none_or(|high| at.cmp(high).is_lt()));
                }
                1
            }
            Node::Inner(children) => {
                assert!(children.len() <= INNER && (!root || children.len() > 1));
                let depths: BTreeSet<usize> = (0..children.len())
                    .map(|i| {
                        let low = if i == 0 { low } else { Some(&children[i].bound) };
                        let high = children.get(i + 1).map(|next| &next.bound).or(high);
                        assert_eq!(children[i].count, count(&children[i].node));
                        check(&children[i].node, low, high, false)
                    })
                    .collect();
                assert_eq!(depths.len(), 1);
                1 + depths.first().copied().unwrap_or_default()
            }
        }
    }

    fn count(node: &Node) -> usize {
        match node {
            Node::Leaf(places) => places.len(),
            Node::Inner(children) => children.iter().map(|child| child.count).sum(),
        }
    }

    fn leaves(node: &Node) -> usize {
        match node {
            Node::Leaf(_) => 1,
            Node::Inner(children) => children.iter().map(|child| leaves(&child.node)).sum(),
        }
    }

    fn pairs(order: &Order) -> Vec<(i32, u32)> {
        order.range(0..order.len()).map(pair).collect()
    }

    fn pair(place: &Place) -> (i32, u32) {
        let bytes = place.member.bytes().try_into().expect("four bytes");
        (place.score as i32, u32::from_be_bytes(bytes))
    }

    #[test]
    fn either_direction_fills_the_leaves() {
        for descending in [false, true] {
            let mut order = Order::default();
            for n in 0..20_000 {
                order.insert(place(if descending { -n } else { n }, 0));
            }
            assert!(check(&order.root, None, None, true) <= 4);
            assert_eq!(leaves(&order.root), 20_000usize.div_ceil(LEAF));
        }
    }

    #[test]
    fn empties_and_stays_usable() {
        let mut order = Order::default();
        (0..10_000).for_each(|n| order.insert(place(n % 7, n as u32)));
        for n in 0..10_000 {
            assert!(order.remove(f64::from(n % 7), &(n as u32).to_be_bytes()));
            if n % 500 == 0 {
                check(&order.root, None, None, true);
            }
        }
        assert!(order.is_empty() && matches!(&*order.root, Node::Leaf(places) if places.is_empty()));
        assert!(!order.remove(0.0, b""));
        order.insert(place(1, 1));
        assert_eq!(pairs(&order), [(1, 1)]);
    }

    #[test]
    fn clones_share_until_changed() {
        let mut order = Order::default();
        (0..5_000).for_each(|n| order.insert(place(n, 0)));
        let before = order.clone();
        (0..5_000).step_by(2).for_each(|n| assert!(order.remove(f64::from(n), &[0; 4])));
        assert_eq!((before.len(), pairs(&before).len()), (5_000, 5_000));
        check(&before.root, None, None, true);
        check(&order.root, None, None, true);
        assert_eq!(order.range(0..2).map(pair).collect::<Vec<_>>(), [(1, 0), (3, 0)]);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]
        #[test]
        fn behaves_like_a_sorted_set(
            ops in proptest::collection::vec((0i32..40, 0u32..400, any::<bool>()), 0..4000),
            (from, to) in (0usize..4000, 0usize..4000),
        ) {
            let (mut order, mut model) = (Order::default(), BTreeSet::new());
            for (score, member, insert) in ops {
                if insert {
                    if model.insert((score, member)) {
                        order.insert(place(score, member));
                    }
                } else {
                    let removed = order.remove(f64::from(score), &member.to_be_bytes());
                    prop_assert_eq!(removed, model.remove(&(score, member)));
                }
            }
            check(&order.root, None, None, true);
            let model: Vec<(i32, u32)> = model.into_iter().collect();
            prop_assert_eq!(order.len(), model.len());
            prop_assert_eq!(&pairs(&order), &model);
            let (from, to) = (from.min(to), from.max(to));
            let expected: Vec<_> = model.get(from.min(model.len())..to.min(model.len())).unwrap_or_default().to_vec();
            prop_assert_eq!(order.range(from..to).map(pair).collect::<Vec<_>>(), expected.clone());
            let backwards: Vec<_> = order.range(from..to).rev().map(pair).collect();
            prop_assert!(backwards.iter().eq(expected.iter().rev()));
            let mut both = order.range(from..to);
            let met = std::iter::from_fn(|| Some((both.next()?, both.next_back()))).count();
            prop_assert_eq!(met, expected.len().div_ceil(2));
            for score in -1..41 {
                let below = model.iter().filter(|(other, _)| *other < score).count();
                prop_assert_eq!(order.count_while(|at| at.score < f64::from(score)), below);
            }
            for (rank, (score, member)) in model.iter().enumerate().step_by(17) {
                prop_assert_eq!(order.rank(f64::from(*score), &member.to_be_bytes()), rank);
            }
        }
    }
}
