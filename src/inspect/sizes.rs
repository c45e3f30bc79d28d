//! What a key would cost in a server's memory, from what passes of it in a file.
//!
//! **Redis**: what MEMORY USAGE with SAMPLES 0 answers in version 7.2 on a 64-bit machine with jemalloc, the default: the sum of the
//! allocations, each rounded up to its size class.
//!
//! | part | allocations |
//! |---|---|
//! | key | its string; dictionary entry 24 |
//! | string | object 16, alone (integer), with the text (up to 44 bytes), or beside it |
//! | packed | object 16, blob |
//! | list of nodes | object 16, list 40, for each node 32 and its blob |
//! | hash table | object 16, table 56, 8 for each slot (a power of two), for each element an entry of 24 and its strings |
//! | skiplist | as a hash table, and 16 + 32 + 536, for each member a node of 24 and 16 for each of its levels |
//!
//! **Ringhold**: what its MEMORY USAGE answers: an entry, with the string in it where that takes less, in the allocator's classes,
//! and other allocations without them. Values that a table is too good for are taken as the listpacks that either server would make of them.
//! Both are estimates: fragmentation, buffers and the keyspace's own tables come on top.

use super::value::{Facts, Role, Visitor};
use crate::format::packed::listpack::{Listpack, ListpackRef};
use crate::format::rdb::{LoadError, Piece, ValueType, stream};
use crate::units::allocation_size;

/// Elements, and bytes of the longest, up to which a collection is a listpack.
const PACKED_ELEMENTS: u64 = 128;
const PACKED_LONGEST: u64 = 64;
/// The same for lists: bytes of a listpack.
const NODE_BYTES: u64 = 8192;

/// Bytes in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    pub redis: u64,
    pub ours: u64,
}

impl std::ops::AddAssign for Cost {
    fn add_assign(&mut self, more: Cost) {
        self.redis += more.redis;
        self.ours += more.ours;
    }
}

/// Adds up one value at a time.
#[derive(Default)]
pub struct Measure {
    /// Elements as those of a table, of both servers.
    table: Cost,
    /// Elements as those of a listpack.
    packed: u64,
    /// Blobs as nodes.
    nodes: Cost,
    /// A string, or elements that are nodes of their own.
    text: Cost,
    /// Length of a string.
    len: u64,
    scored: bool,
}

impl Measure {
    pub fn begin(&mut self) {
        *self = Measure::default();
    }

    /// What the value costs with a key of `key` bytes, once all of it was seen.
    pub fn cost(&self, key: usize, volatile: bool, kind: ValueType, facts: &Facts) -> Cost {
        let mut cost = self.value(kind, facts);
        let text = (kind == ValueType::Str && !facts.is_integer).then_some(self.len);
        cost += entry_cost(key as u64, text, volatile);
        cost
    }

    fn value(&self, kind: ValueType, facts: &Facts) -> Cost {
        let fits = facts.elements <= PACKED_ELEMENTS && facts.longest <= PACKED_LONGEST;
        // Header and end.
        let packed = packed_cost(self.packed + 7);
        match kind {
            ValueType::Str if facts.is_integer => Cost { redis: 16, ours: 0 },
            ValueType::Str => self.text,
            ValueType::SetIntset
            | ValueType::HashListpack
            | ValueType::HashZiplist
            | ValueType::HashZipmap
            | ValueType::HashListpackEx
            | ValueType::ZsetListpack
            | ValueType::ZsetZiplist
            | ValueType::SetListpack => packed_cost(facts.packed),
            ValueType::ListQuicklist | ValueType::ListQuicklist2 | ValueType::ListZiplist => {
                if facts.blobs == 1 && facts.packed <= NODE_BYTES {
                    return packed_cost(facts.packed);
                }
                Cost {
                    redis: 16 + 48 + self.nodes.redis + self.text.redis,
                    ours: 56 + self.nodes.ours + self.text.ours,
                }
            }
            ValueType::List if self.packed <= NODE_BYTES => packed,
            ValueType::List => {
                let nodes = self.packed.div_ceil(NODE_BYTES);
                Cost { redis: 64 + nodes * (32 + class(NODE_BYTES)), ours: 56 + self.packed + 48 * nodes }
            }
            ValueType::Stream | ValueType::Stream2 | ValueType::Stream3 => {
                Cost { redis: 16 + 160 + self.nodes.redis, ours: 64 + facts.packed }
            }
            ValueType::Module | ValueType::ModulePreGa => Cost::default(),
            _ if fits => packed,
            _ => self.table_cost(facts.elements),
        }
    }

    fn table_cost(&self, elements: u64) -> Cost {
        let slots = elements.next_power_of_two().max(4);
        let list = if self.scored { 16 + 32 + class(536) } else { 0 };
        let redis = 16 + class(56) + class(8 * slots) + list + self.table.redis;
        // A pointer and a byte of its hash, in tables that are full to three quarters on average.
        Cost { redis, ours: 160 + elements * 12 + self.table.ours }
    }
}

impl Visitor for Measure {
    #[inline]
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> Result<(), LoadError> {
        if !piece.is_last() {
            return Ok(());
        }
        let len = piece.len;
        match role {
            Role::Text => (self.text, self.len) = (text_cost(len), len),
            Role::Item => {
                // An item of a packed node is counted with it, one of its own is a node.
                if piece.len > NODE_BYTES {
                    self.text += Cost { redis: 32 + class(len), ours: 48 + len };
                }
            }
            Role::Member | Role::Field => self.table += Cost { redis: 24 + 8 + sds(len), ours: 16 + 8 + len },
            Role::Value => self.table += Cost { redis: sds(len), ours: 2 + len },
        }
        self.packed += if piece.is_first() {
            let entry = crate::resp::number::parse_i64(piece.bytes)
                .map_or_else(|| Listpack::entry_size(piece.bytes), Listpack::entry_size);
            entry as u64
        } else {
            len + 10
        };
        Ok(())
    }

    fn blob(&mut self, bytes: u64) {
        self.nodes += Cost { redis: 32 + class(bytes), ours: 48 + bytes };
    }

    #[inline]
    fn score(&mut self, _: f64) -> Result<(), LoadError> {
        self.scored = true;
        // A node has one level and a third on average; ours keeps score and member in table and order.
        self.table += Cost { redis: 53, ours: 40 };
        self.packed += 5;
        Ok(())
    }
}

impl stream::Visit for Measure {
    fn block(&mut self, _: stream::Id, block: ListpackRef<'_>) -> Result<(), LoadError> {
        // The block, and its share of the radix tree.
        self.nodes += Cost { redis: class(block.as_bytes().len() as u64) + 64, ours: 0 };
        Ok(())
    }
    fn pending(&mut self, _: stream::Id, _: i64, _: u64) -> Result<(), LoadError> {
        self.nodes += Cost { redis: 64, ours: 0 };
        Ok(())
    }
}

/// A key and, for ours, a string with it.
fn entry_cost(key: u64, text: Option<u64>, volatile: bool) -> Cost {
    /// Place in the table, with its share of what is free.
    const SLOT: u64 = 20;
    /// Longer strings always lie apart.
    const LONGEST_TEXT: u64 = 4096;
    let size = |bytes: u64| allocation_size(bytes as usize) as u64;
    let redis = if volatile { 2 * 32 } else { 32 };
    let bare = 24 + key + if volatile { 8 } else { 0 };
    let apart = size(bare) + text.map_or(0, |text| size(16 + text));
    let behind = size(bare + text.unwrap_or(0));
    let ours = if text.is_some_and(|text| text > LONGEST_TEXT) { apart } else { apart.min(behind) };
    Cost { redis: redis + sds(key), ours: SLOT + ours }
}

fn text_cost(len: u64) -> Cost {
    const EMBEDDED: u64 = 44;
    let redis = if len <= EMBEDDED { class(16 + 3 + len + 1) } else { 16 + sds(len) };
    Cost { redis, ours: 0 }
}

fn packed_cost(blob: u64) -> Cost {
    Cost { redis: 16 + class(blob), ours: 32 + blob }
}

/// A string of Redis: header, text, end.
fn sds(len: u64) -> u64 {
    let header = match len {
        0..32 => 1,
        32..256 => 3,
        256..65_536 => 5,
        65_536..0x1_0000_0000 => 9,
        _ => 17,
    };
    class(header + len + 1)
}

/// jemalloc's size class: multiples of 16 up to 128, then four to a doubling.
fn class(bytes: u64) -> u64 {
    match bytes {
        0..=8 => 8,
        9..=128 => bytes.next_multiple_of(16),
        _ => {
            let step = bytes.next_power_of_two() / 8;
            bytes.next_multiple_of(step)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn size_classes() {
        let check = |bytes: u64, expected: u64| assert_eq!(class(bytes), expected, "{bytes}");
        check(1, 8);
        check(24, 32);
        check(128, 128);
        check(129, 160);
        check(161, 192);
        check(256, 256);
        check(257, 320);
        check(536, 640);
        check(4097, 5120);
    }

    #[test]
    fn strings_cost_what_redis_says() {
        // MEMORY USAGE of Redis 7.0.15, keys of one byte.
        let check = |len: u64, expected: u64| {
            let mut cost = text_cost(len);
            cost += entry_cost(1, Some(len), false);
            assert_eq!(cost.redis, expected, "{len}");
        };
        check(1, 32 + 8 + 32);
        check(44, 32 + 8 + 64);
        check(45, 32 + 8 + 16 + 64);
    }
}
