//! What fills a server's memory: by type, by prefix, the largest keys.
//!
//! One pass; held are the sums, a tree of prefixes of bounded size and the few largest keys. The estimates are
//! [`sizes`](super::sizes)'.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use super::Result;
use super::keys::{Head, Row, Take};
use super::prefixes::{Prefixes, Shown, Sums};
use super::sizes::{Cost, Measure};
use super::summary::table;
use super::text::{Json, grouped, shortened, size};
use super::value::{Role, Visitor};
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{LoadError, Piece, stream};

/// Adds up the keys that a filter lets through.
pub struct Memory {
    measure: Measure,
    prefixes: Prefixes,
    /// By type and encoding.
    kinds: Vec<(&'static str, &'static str, Sums)>,
    largest: Top,
    longest: Top,
    volatile: u64,
}

/// A key among the largest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Large {
    /// What it is large by.
    pub weight: u64,
    pub db: u64,
    pub key: Vec<u8>,
    pub kind: &'static str,
    pub elements: u64,
    pub redis: u64,
    pub ours: u64,
}

/// The `most` largest.
struct Top {
    most: usize,
    kept: BinaryHeap<Reverse<Large>>,
}

impl Top {
    fn offer(&mut self, weight: u64, row: &Row<'_>, cost: Cost) {
        let full = self.kept.len() >= self.most;
        if self.most == 0 || full && self.kept.peek().is_some_and(|least| least.0.weight >= weight) {
            return;
        }
        if full {
            self.kept.pop();
        }
        self.kept.push(Reverse(Large {
            weight,
            db: row.head.db,
            key: row.head.key.to_vec(),
            kind: row.head.type_word(),
            elements: row.facts.elements,
            redis: cost.redis,
            ours: cost.ours,
        }));
    }

    fn sorted(&self) -> Vec<Large> {
        let mut all: Vec<Large> = self.kept.iter().map(|Reverse(large)| large.clone()).collect();
        all.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| (a.db, &a.key).cmp(&(b.db, &b.key))));
        all
    }
}

impl Memory {
    /// `top`: how many of the largest keys are kept.
    pub fn new(top: usize, separator: u8) -> Memory {
        let top = || Top { most: top, kept: BinaryHeap::new() };
        Memory {
            measure: Measure::default(),
            prefixes: Prefixes::new(separator),
            kinds: Vec::new(),
            largest: top(),
            longest: top(),
            volatile: 0,
        }
    }

    pub fn total(&self) -> Sums {
        self.prefixes.total()
    }
    pub fn largest(&self) -> Vec<Large> {
        self.largest.sorted()
    }
    pub fn prefixes(&self, least: u64) -> Vec<Shown> {
        self.prefixes.heaviest(least)
    }

    /// For people; prefixes below `share` of all bytes are left out.
    pub fn to_text(&self, share: f64) -> String {
        let total = self.total();
        let mut out = String::new();
        let _infallible = writeln!(
            out,
            "{} keys, {} with a deadline, {} elements: about {} in Redis, {} in Ringhold\n",
            grouped(total.keys),
            grouped(self.volatile),
            grouped(total.elements),
            size(total.cost.redis),
            size(total.cost.ours)
        );
        let cells = |sums: &Sums| {
            let Sums { keys, elements, cost } = sums;
            [grouped(*keys), grouped(*elements), size(cost.redis), size(cost.ours)]
        };
        let mut kinds = self.kinds.clone();
        kinds.sort_by_key(|(_, _, sums)| Reverse(sums.cost.redis));
        let rows = kinds.iter().map(|(kind, encoding, sums)| {
            let [keys, elements, redis, ours] = cells(sums);
            [kind.to_string(), encoding.to_string(), keys, elements, redis, ours]
        });
        table(
            &mut out,
            ["type", "encoding", "keys", "elements", "Redis", "Ringhold"].map(String::from),
            rows,
            2,
        );
        for (title, top) in [("largest", &self.largest), ("most elements", &self.longest)] {
            let rows = top.sorted().into_iter().map(|large| {
                let Large { db, key, kind, elements, redis, ours, .. } = large;
                let name = shortened(&key, 60);
                [name, kind.to_string(), db.to_string(), grouped(elements), size(redis), size(ours)]
            });
            out.push('\n');
            table(
                &mut out,
                [title, "type", "db", "elements", "Redis", "Ringhold"].map(String::from),
                rows,
                2,
            );
        }
        let least = (total.cost.redis as f64 * share) as u64;
        let rows = self.prefixes(least.max(1)).into_iter().map(|shown| {
            let name = format!("{}{}*", "  ".repeat(shown.depth), shortened(&shown.prefix, 60));
            let [keys, elements, redis, ours] = cells(&shown.sums);
            let part = 100.0 * shown.sums.cost.redis as f64 / total.cost.redis.max(1) as f64;
            let mark = if shown.at_least { "≥ " } else { "" };
            [name, format!("{mark}{part:.1}%"), keys, elements, redis, ours]
        });
        out.push('\n');
        table(
            &mut out,
            ["prefix", "share", "keys", "elements", "Redis", "Ringhold"].map(String::from),
            rows,
            1,
        );
        out
    }

    pub fn to_json(&self, share: f64) -> Vec<u8> {
        let mut json = Json::new();
        let total = self.total();
        let least = (total.cost.redis as f64 * share) as u64;
        let write = |j: &mut Json, sums: &Sums| {
            j.key("keys").plain(sums.keys);
            j.key("elements").plain(sums.elements);
            j.key("redis").plain(sums.cost.redis);
            j.key("ringhold").plain(sums.cost.ours);
        };
        json.object(|j| {
            write(j, &total);
            j.key("volatile").plain(self.volatile);
            j.key("kinds").array(|j| {
                for (kind, encoding, sums) in &self.kinds {
                    j.object(|j| {
                        j.key("type").text(kind.as_bytes());
                        j.key("encoding").text(encoding.as_bytes());
                        write(j, sums);
                    });
                }
            });
            for (name, top) in [("largest", &self.largest), ("most_elements", &self.longest)] {
                j.key(name).array(|j| {
                    for large in top.sorted() {
                        j.object(|j| {
                            j.key("db").plain(large.db);
                            j.key("key").text(&large.key);
                            j.key("type").text(large.kind.as_bytes());
                            j.key("elements").plain(large.elements);
                            j.key("redis").plain(large.redis);
                            j.key("ringhold").plain(large.ours);
                        });
                    }
                });
            }
            j.key("prefixes").array(|j| {
                for shown in self.prefixes(least.max(1)) {
                    j.object(|j| {
                        j.key("prefix").text(&shown.prefix);
                        j.key("depth").plain(shown.depth);
                        write(j, &shown.sums);
                        j.key("at_least").plain(shown.at_least);
                    });
                }
            });
        });
        json.into_bytes()
    }
}

impl Visitor for Memory {
    #[inline]
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> std::result::Result<(), LoadError> {
        self.measure.piece(role, piece)
    }
    fn blob(&mut self, bytes: u64) {
        self.measure.blob(bytes);
    }
    #[inline]
    fn score(&mut self, score: f64) -> std::result::Result<(), LoadError> {
        self.measure.score(score)
    }
}

impl stream::Visit for Memory {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> std::result::Result<(), LoadError> {
        self.measure.block(first, block)
    }
    fn pending(&mut self, id: stream::Id, time: i64, count: u64) -> std::result::Result<(), LoadError> {
        self.measure.pending(id, time, count)
    }
}

impl Take for Memory {
    #[inline]
    fn key(&mut self, _: &Head<'_>) -> Result<bool> {
        self.measure.begin();
        Ok(true)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<bool> {
        let volatile = row.head.attributes.expires.is_some();
        let cost = self.measure.cost(row.head.key.len(), volatile, row.head.kind, &row.facts);
        self.volatile += u64::from(volatile);
        let elements = row.facts.elements;
        let kind = (row.head.type_word(), row.encoding);
        let place = self.kinds.iter().position(|(word, encoding, _)| (*word, *encoding) == kind);
        let place = place.unwrap_or_else(|| {
            self.kinds.push((kind.0, kind.1, Sums::default()));
            self.kinds.len() - 1
        });
        let sums = &mut self.kinds[place].2;
        sums.keys += 1;
        sums.elements += elements;
        sums.cost += cost;
        self.prefixes.add(row.head.key, elements, cost);
        self.largest.offer(cost.redis, row, cost);
        self.longest.offer(elements, row, cost);
        Ok(true)
    }
}
