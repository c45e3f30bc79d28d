//! The tree of key prefixes, in bounded memory.
//!
//! A key `user:1000:name` counts for `user:` and for `user:1000:`. Each node's sums include all that is below it. When there are
//! more than [`MOST`] nodes, the leaves that weigh least are folded into the node above, which keeps their sums: totals
//! are always exact, only the detail of small branches is lost, and a branch that was folded and grew again shows less
//! than it has (it is marked). This is the idea of "space saving" counters on a tree. Rejected: exact counts of all prefixes
//! (as many as keys) and sampling (misses the one large branch).
//!
//! Names may be long: what of a prefix is behind its first [`LONGEST`] bytes counts for the node above, as what is deeper
//! than [`DEEPEST`] levels does.

use std::collections::HashMap;

use super::sizes::Cost;

/// Nodes; each takes about 200 bytes.
const MOST: usize = 40_000;
/// Levels below the root.
const DEEPEST: usize = 16;
/// Bytes of a prefix.
const LONGEST: usize = 128;

/// What is known of the keys below a prefix.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    pub keys: u64,
    pub elements: u64,
    pub cost: Cost,
}

impl Sums {
    fn add(&mut self, other: Sums) {
        self.keys += other.keys;
        self.elements += other.elements;
        self.cost += other.cost;
    }
}

#[derive(Default)]
struct Node {
    sums: Sums,
    below: HashMap<Box<[u8]>, usize>,
    /// Branches below were folded into this one.
    folded: bool,
    free: bool,
}

pub struct Prefixes {
    separator: u8,
    nodes: Vec<Node>,
    free: Vec<usize>,
    /// Some branch was folded.
    pub folded: bool,
}

/// A prefix as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    pub prefix: Vec<u8>,
    /// Separators in it.
    pub depth: usize,
    pub sums: Sums,
    /// It may have more than it shows: it was folded once, or branches of its parent were.
    pub at_least: bool,
}

impl Prefixes {
    pub fn new(separator: u8) -> Prefixes {
        Prefixes { separator, nodes: vec![Node::default()], free: Vec::new(), folded: false }
    }

    /// All keys together.
    pub fn total(&self) -> Sums {
        self.nodes[0].sums
    }

    pub fn add(&mut self, key: &[u8], elements: u64, cost: Cost) {
        let sums = Sums { keys: 1, elements, cost };
        let (mut node, mut rest) = (0, key);
        self.nodes[0].sums.add(sums);
        for _ in 0..DEEPEST {
            let above = key.len() - rest.len();
            let seen = &rest[..rest.len().min(LONGEST - above)];
            let Some(end) = memchr::memchr(self.separator, seen) else { break };
            let (part, after) = rest.split_at(end + 1);
            rest = after;
            node = self.child(node, part);
            self.nodes[node].sums.add(sums);
        }
        if self.nodes.len() - self.free.len() > MOST {
            self.fold();
        }
    }

    fn child(&mut self, node: usize, part: &[u8]) -> usize {
        if let Some(child) = self.nodes[node].below.get(part) {
            return *child;
        }
        let child = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            self.nodes.len() - 1
        });
        self.nodes[child] = Node::default();
        self.nodes[node].below.insert(part.into(), child);
        child
    }

    /// Folds the lightest leaves until half of the nodes are left.
    fn fold(&mut self) {
        self.folded = true;
        let goal = MOST / 2;
        while self.nodes.len() - self.free.len() > goal {
            let leaves: Vec<u64> = self
                .nodes
                .iter()
                .skip(1)
                .filter(|node| !node.free && node.below.is_empty())
                .map(|node| node.sums.cost.redis)
                .collect();
            let surplus = (self.nodes.len() - self.free.len() - goal).min(leaves.len());
            let mut weights = leaves;
            let Some(last) = surplus.checked_sub(1) else { return };
            let (_, limit, _) = weights.select_nth_unstable(last);
            self.fold_up_to(*limit, surplus);
        }
    }

    /// Folds at most `most` leaves that weigh no more than `limit`.
    fn fold_up_to(&mut self, limit: u64, most: usize) {
        let mut left = most;
        for parent in 0..self.nodes.len() {
            if left == 0 {
                return;
            }
            let light: Vec<(Box<[u8]>, usize)> = self.nodes[parent]
                .below
                .iter()
                .filter(|(_, child)| {
                    let child = &self.nodes[**child];
                    child.below.is_empty() && child.sums.cost.redis <= limit
                })
                .take(left)
                .map(|(part, child)| (part.clone(), *child))
                .collect();
            left -= light.len();
            for (part, child) in light {
                self.nodes[parent].below.remove(&part);
                self.nodes[parent].folded = true;
                self.nodes[child] = Node { free: true, ..Node::default() };
                self.free.push(child);
            }
        }
    }

    /// The branches with at least `least` bytes (as Redis holds them), each before its own branches, heaviest first.
    pub fn heaviest(&self, least: u64) -> Vec<Shown> {
        let mut shown = Vec::new();
        self.collect(0, &mut Vec::new(), 0, least, &mut shown);
        shown
    }

    fn collect(&self, node: usize, prefix: &mut Vec<u8>, depth: usize, least: u64, out: &mut Vec<Shown>) {
        let mut below: Vec<(&Box<[u8]>, usize)> =
            self.nodes[node].below.iter().map(|(part, child)| (part, *child)).collect();
        below.retain(|(_, child)| self.nodes[*child].sums.cost.redis >= least);
        below.sort_by(|a, b| {
            let weight = |child: usize| self.nodes[child].sums.cost.redis;
            weight(b.1).cmp(&weight(a.1)).then_with(|| a.0.cmp(b.0))
        });
        for (part, child) in below {
            let len = prefix.len();
            prefix.extend_from_slice(part);
            let at_least = self.nodes[node].folded;
            let sums = self.nodes[child].sums;
            out.push(Shown { prefix: prefix.clone(), depth, sums, at_least });
            // At most DEEPEST levels.
            self.collect(child, prefix, depth + 1, least, out);
            prefix.truncate(len);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(bytes: u64) -> Cost {
        Cost { redis: bytes, ours: bytes / 2 }
    }

    #[test]
    fn every_prefix_counts_all_below_it() {
        let mut tree = Prefixes::new(b':');
        for (key, bytes) in
            [("user:1:name", 10), ("user:1:mail", 20), ("user:2:name", 5), ("plain", 7), ("q:", 1)]
        {
            tree.add(key.as_bytes(), 1, cost(bytes));
        }
        assert_eq!((tree.total().keys, tree.total().cost.redis), (5, 43));
        let shown: Vec<(String, usize, u64, u64)> = tree
            .heaviest(2)
            .into_iter()
            .map(|s| (String::from_utf8(s.prefix).unwrap(), s.depth, s.sums.keys, s.sums.cost.redis))
            .collect();
        let expected = [("user:", 0, 3, 35), ("user:1:", 1, 2, 30), ("user:2:", 1, 1, 5)]
            .map(|(p, d, k, b)| (p.to_string(), d, k, b));
        assert_eq!(shown, expected);
    }

    #[test]
    fn memory_is_bounded_and_heavy_branches_stay() {
        let mut tree = Prefixes::new(b':');
        for n in 0..200_000u64 {
            tree.add(format!("user:{n}:name").as_bytes(), 1, cost(100));
            if n % 100 == 0 {
                tree.add(format!("heavy:{}:x", n % 7).as_bytes(), 1, cost(100_000));
            }
        }
        assert!(tree.folded && tree.nodes.len() <= MOST + 2, "{}", tree.nodes.len());
        assert_eq!(tree.total().keys, 202_000);
        let shown = tree.heaviest(1_000_000);
        let names: Vec<&[u8]> = shown.iter().map(|s| s.prefix.as_slice()).collect();
        assert_eq!(names.len(), 9, "{names:?}");
        assert_eq!(shown[0].sums.keys, 2_000);
        assert!(shown.iter().any(|s| s.prefix == b"user:" && s.sums.keys == 200_000 && !s.at_least));
    }

    #[test]
    fn hostile_names_are_as_any() {
        let mut tree = Prefixes::new(b':');
        tree.add(&[b':'; 100_000], 1, cost(1));
        tree.add(b"", 1, cost(1));
        assert_eq!(tree.heaviest(1).len(), DEEPEST);

        let mut tree = Prefixes::new(b':');
        for len in [LONGEST - 1, LONGEST, 1 << 20] {
            tree.add(&[&vec![b'a'; len], b":x".as_slice()].concat(), 1, cost(1));
        }
        let shown = tree.heaviest(1);
        assert_eq!((shown.len(), shown[0].prefix.len(), tree.total().keys), (1, LONGEST, 3));
    }
}
