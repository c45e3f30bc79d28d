//! What fills a server's memory: by type, by prefix, the largest keys.
//!
//! One pass; held are the sums, a tree of prefixes of bounded size and the few largest keys. The estimates are
//! [`sizes`](super::sizes)'.
//!
//! As a page ([`Memory::to_html`]): one file with its styles and its script, which asks no network for anything. The data lie
//! in it as JSON, in which nothing can end the element that holds it, and the script makes only text of them.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt::Write as _;

use super::Result;
use super::keys::{Head, Row, Take};
use super::prefixes::{Prefixes, Shown, Sums};
use super::sizes::{Cost, Measure};
use super::summary::{LIVES, life, table};
use super::text::{Json, counted, grouped, shortened, size};
use super::value::{Role, Visitor};
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{LoadError, Piece, stream};
use crate::units::UnixMillis;

const PAGE: &str = include_str!("memory.html");
/// Where the page's data belong.
const DATA: &str = "@DATA@";

/// Bytes that are kept of a large key's name.
const LONGEST_NAME: usize = 1024;

/// Adds up the keys that a filter lets through.
pub struct Memory {
    measure: Measure,
    prefixes: Prefixes,
    /// By type and encoding.
    kinds: Vec<(&'static str, &'static str, Sums)>,
    largest: Top,
    longest: Top,
    volatile: u64,
    now: UnixMillis,
    /// By time to live: past, then as [`LIVES`], then without a deadline.
    lives: [Sums; LIVES.len() + 2],
}

/// A key among the largest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Large {
    /// What it is large by.
    pub weight: u64,
    pub db: u64,
    /// Of a longer name the first bytes, of which 1024 are kept.
    pub key: Vec<u8>,
    /// Bytes of the whole name.
    pub key_len: u64,
    pub kind: &'static str,
    pub encoding: &'static str,
    pub elements: u64,
    pub redis: u64,
    pub ours: u64,
    /// Unix milliseconds.
    pub expires: Option<i64>,
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
            key: row.head.key[..row.head.key.len().min(LONGEST_NAME)].to_vec(),
            key_len: row.head.key.len() as u64,
            kind: row.head.type_word(),
            encoding: row.encoding,
            elements: row.facts.elements,
            redis: cost.redis,
            ours: cost.ours,
            expires: row.head.attributes.expires,
        }));
    }

    fn sorted(&self) -> Vec<Large> {
        let mut all: Vec<Large> = self.kept.iter().map(|Reverse(large)| large.clone()).collect();
        all.sort_by(|a, b| b.weight.cmp(&a.weight).then_with(|| (a.db, &a.key).cmp(&(b.db, &b.key))));
        all
    }
}

impl Memory {
    /// `top`: how many of the largest keys are kept. `now`: from when times to live are counted.
    pub fn new(top: usize, separator: u8, now: UnixMillis) -> Memory {
        let top = || Top { most: top, kept: BinaryHeap::new() };
        Memory {
            measure: Measure::default(),
            prefixes: Prefixes::new(separator),
            kinds: Vec::new(),
            largest: top(),
            longest: top(),
            volatile: 0,
            now,
            lives: [Sums::default(); LIVES.len() + 2],
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
            "{}, {} with a deadline, {}: about {} in Redis, {} in Ringhold\n",
            counted(total.keys, "key", "keys"),
            grouped(self.volatile),
            counted(total.elements, "element", "elements"),
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
        json.object(|j| self.write(share, j));
        json.into_bytes()
    }

    /// A page to look at, of the dataset called `name`.
    pub fn to_html(&self, name: &[u8], share: f64) -> Vec<u8> {
        let mut json = Json::new();
        json.object(|j| {
            j.key("name").text(name);
            j.key("least_percent").plain(100.0 * share);
            self.write(share, j);
        });
        let (head, tail) = PAGE.split_once(DATA).unwrap_or((PAGE, ""));
        let mut page = head.as_bytes().to_vec();
        for byte in json.into_bytes() {
            match byte {
                // Only inside of texts: there an escape says the same.
                b'<' => page.extend_from_slice(b"\\u003c"),
                byte => page.push(byte),
            }
        }
        page.extend_from_slice(tail.as_bytes());
        page
    }

    fn write(&self, share: f64, j: &mut Json) {
        let total = self.total();
        let least = (total.cost.redis as f64 * share) as u64;
        let write = |j: &mut Json, sums: &Sums| {
            j.key("keys").plain(sums.keys);
            j.key("elements").plain(sums.elements);
            j.key("redis").plain(sums.cost.redis);
            j.key("ringhold").plain(sums.cost.ours);
        };
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
        let lives = std::iter::once("past").chain(LIVES.iter().map(|(_, name)| *name)).chain(["never"]);
        j.key("lives").array(|j| {
            for (name, sums) in lives.zip(&self.lives).filter(|(_, sums)| sums.keys > 0) {
                j.object(|j| {
                    j.key("life").text(name.as_bytes());
                    write(j, sums);
                });
            }
        });
        for (name, top) in [("largest", &self.largest), ("most_elements", &self.longest)] {
            j.key(name).array(|j| top.sorted().iter().for_each(|large| large.write(j)));
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
    }
}

impl Large {
    fn write(&self, json: &mut Json) {
        json.object(|j| {
            j.key("db").plain(self.db);
            j.key("key").text(&self.key);
            if self.key_len > self.key.len() as u64 {
                j.key("key_bytes").plain(self.key_len);
            }
            j.key("type").text(self.kind.as_bytes());
            j.key("encoding").text(self.encoding.as_bytes());
            j.key("elements").plain(self.elements);
            j.key("redis").plain(self.redis);
            j.key("ringhold").plain(self.ours);
            j.key("expires").maybe(self.expires);
        });
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
        let class = row.head.attributes.expires.map_or(LIVES.len() + 1, |at| life(at, self.now));
        for sums in [&mut self.kinds[place].2, &mut self.lives[class]] {
            sums.keys += 1;
            sums.elements += elements;
            sums.cost += cost;
        }
        self.prefixes.add(row.head.key, elements, cost);
        self.largest.offer(cost.redis, row, cost);
        self.longest.offer(elements, row, cost);
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::input;
    use crate::inspect::keys::{Filter, Source, walk};
    use std::path::Path;

    fn memory(file: &[u8]) -> Memory {
        let raw = Box::new(std::io::Cursor::new(file.to_vec()));
        let input = input::of_reader(raw, Path::new("x"), None).unwrap();
        let mut memory = Memory::new(10, b':', UnixMillis(1_000));
        walk(&mut Source { input, note: None }, &Filter::default(), UnixMillis(0), &mut memory).unwrap();
        memory
    }

    /// A name of any length takes no more than its first bytes.
    #[test]
    fn long_names_are_cut() {
        let name = vec![b'n'; 40_000];
        let file = [b"REDIS0003\0\x80\0\0\x9c\x40".as_slice(), &name, b"\x01v\0\x01k\x01v\xff"].concat();
        let memory = memory(&file);
        let largest = memory.largest();
        assert_eq!((largest[0].key.len(), largest[0].key_len), (LONGEST_NAME, 40_000));
        let json: serde_json::Value = serde_json::from_slice(&memory.to_json(0.0)).unwrap();
        assert_eq!(json["largest"][0]["key_bytes"], 40_000);
        assert_eq!(json["largest"][1].get("key_bytes"), None);
    }

    /// Whatever a key is called, the page's markup stays as it is, and the data are JSON that say the name.
    #[test]
    fn names_cannot_leave_the_data_of_a_page() {
        let name = b"</script><!--<script>:'\"`${x}&\x1b\xff\xe2\x80\xa8";
        let file =
            [b"REDIS0003\xfd\x09\0\0\0\0".as_slice(), &[name.len() as u8], name, b"\x01v\xff"].concat();
        let page = String::from_utf8(memory(&file).to_html(name, 0.0)).unwrap();
        let plain = String::from_utf8(memory(b"REDIS0003\xff").to_html(b"x", 0.0)).unwrap();
        for tag in ["<script", "</script", "<!", "<"] {
            assert_eq!(page.matches(tag).count(), plain.matches(tag).count(), "{tag}");
        }
        assert!(
            !page.contains("http://") && !page.contains("https://") && !page.contains(DATA),
            "asks the network"
        );
        let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
        assert!(
            data.starts_with("{\"name\":\"\\u003c/script>\\u003c!--") && data.contains("\\udcff"),
            "{data}"
        );
        // The stray byte is a lone surrogate, which JSON allows and serde_json does not.
        let data: serde_json::Value = serde_json::from_str(&data.replace("\\udcff", "?")).unwrap();
        assert_eq!(data["largest"][0]["expires"], 9000);
        assert_eq!(data["lives"][0]["life"], "within a minute");
        assert_eq!(data["prefixes"][0]["prefix"], "</script><!--<script>:");
    }
}
