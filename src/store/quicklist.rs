//! The large form of a list: a deque of counted nodes, each a listpack or one element too big for any.
//!
//! ```text
//! Quicklist ─ VecDeque<Slot> ─ Slot = count │ Arc<Node> ─ Node = Packed(Listpack) | Plain(bytes)
//! ```
//!
//! Redis links its nodes; here they stand side by side in a deque with their counts, so that finding an index adds
//! up a few cache lines of counts instead of chasing pointers, and both ends still cost O(1). An insertion in the
//! middle moves sixteen bytes a node, at most some ten microseconds for a list of a hundred megabytes.
//!
//! Nodes are shared by counted pointer: cloning a list of a million elements clones some thousand handles, and a
//! push onto a list that a snapshot holds copies one node of a few KiB.
//!
//! Where a new element goes, when a node is split and when neighbours are merged follows Redis 7.2, since node
//! sizes are visible in DEBUG, MEMORY USAGE and saved snapshots. Nodes are not compressed in memory
//! (`list-compress-depth` is accepted and has no effect): LZF would save little where snapshots share nodes anyway,
//! and would make every read of the middle a write.
//!
//! Always: no node is empty; a slot's count is its node's; `len` is the sum of the counts; a plain node holds
//! exactly one element.

use std::collections::VecDeque;

use triomphe::Arc;

use super::limits::Limits;
use crate::format::packed::Entry;
use crate::format::packed::listpack::{self, Listpack, Pos};
use crate::resp::number::parse_i64;

/// One end of a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Left,
    Right,
}

/// What a node owns.
#[derive(Clone, Debug)]
pub enum Node {
    Packed(Listpack),
    /// A single element.
    Plain(Box<[u8]>),
}

/// What a node shows: for the snapshot writer.
#[derive(Clone, Copy, Debug)]
pub enum NodeRef<'a> {
    Packed(&'a Listpack),
    Plain(&'a [u8]),
}

/// Bytes per node for `list-max-listpack-size` -1 … -5.
const NODE_BYTES: [usize; 5] = [4 << 10, 8 << 10, 16 << 10, 32 << 10, 64 << 10];
/// Greatest node under a limit by count.
const COUNTED_NODE_BYTES: usize = 8 << 10;
/// What an element may take beside its bytes, as Redis estimates.
const ENTRY_OVERHEAD: usize = 8;
/// Header and end of a listpack, which merging two saves.
const LISTPACK_FRAME: usize = 7;

/// How large a node may be, and from which size on an element gets its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct NodeLimit {
    size: NodeSize,
    plain: usize,
}

#[derive(Clone, Copy, Debug)]
enum NodeSize {
    Bytes(usize),
    Entries(usize),
}

impl NodeLimit {
    pub(super) fn of(limits: &Limits) -> NodeLimit {
        let size = match limits.list_max_listpack_size {
            entries @ 0.. => NodeSize::Entries((entries as usize).max(1)),
            level => NodeSize::Bytes(NODE_BYTES[(level.unsigned_abs() as usize - 1).min(4)]),
        };
        NodeLimit { size, plain: limits.list_plain_element }
    }

    /// Whether a node may grow to this.
    pub(super) fn allows(self, bytes: usize, entries: usize) -> bool {
        match self.size {
            NodeSize::Bytes(most) => bytes <= most,
            NodeSize::Entries(most) => bytes <= COUNTED_NODE_BYTES && entries <= most,
        }
    }

    /// Whether the only node is small enough for the list to become a listpack: below the limit divided by
    /// `divisor`, 2 for a list that shrank (so that it does not change form at every push and pop), else 1.
    pub(super) fn fits_listpack(self, bytes: usize, entries: usize, divisor: usize) -> bool {
        match self.size {
            NodeSize::Bytes(most) => bytes <= most / divisor,
            NodeSize::Entries(most) => entries <= most / divisor,
        }
    }

    fn is_plain(self, value: &[u8]) -> bool {
        value.len() >= self.plain
    }
}

#[derive(Clone, Debug)]
struct Slot {
    node: Arc<Node>,
    count: u32,
}

impl Slot {
    fn packed(list: Listpack) -> Slot {
        Slot { count: list.len() as u32, node: Arc::new(Node::Packed(list)) }
    }

    /// A node for one element.
    fn single(value: &[u8], limit: NodeLimit) -> Slot {
        let node = if limit.is_plain(value) {
            Node::Plain(value.into())
        } else {
            Node::Packed(Listpack::from_iter([value]))
        };
        Slot { node: Arc::new(node), count: 1 }
    }

    fn count(&self) -> usize {
        self.count as usize
    }

    fn view(&self) -> NodeRef<'_> {
        match &*self.node {
            Node::Packed(list) => NodeRef::Packed(list),
            Node::Plain(bytes) => NodeRef::Plain(bytes),
        }
    }

    fn as_packed(&self) -> Option<&Listpack> {
        if let Node::Packed(list) = &*self.node { Some(list) } else { None }
    }

    /// Whether one more element fits in.
    fn takes(&self, value: &[u8], limit: NodeLimit) -> bool {
        let bytes = |list: &Listpack| list.bytes_len() + value.len() + ENTRY_OVERHEAD;
        !limit.is_plain(value)
            && self.as_packed().is_some_and(|list| limit.allows(bytes(list), self.count() + 1))
    }

    /// Changes the listpack (copied first where a snapshot shares it), then its count; `None` for a plain node.
    fn edit<R>(&mut self, added: i32, change: impl FnOnce(&mut Listpack) -> R) -> Option<R> {
        let Node::Packed(list) = Arc::make_mut(&mut self.node) else { return None };
        let result = change(list);
        self.count = self.count.wrapping_add_signed(added);
        Some(result)
    }

    fn push(&mut self, end: End, value: &[u8]) {
        self.edit(1, |list| match end {
            End::Left => list.push_front(value),
            End::Right => list.push(value),
        });
    }

    fn remove_range(&mut self, offset: usize, count: usize) {
        self.edit(-(count as i32), |list| {
            if let Some(at) = list.seek(offset as i64) {
                list.remove_range(at, count);
            }
        });
    }

    /// Cuts off the elements from `at` on; `None` if that leaves one side empty.
    fn split_off(&mut self, at: Option<Pos>) -> Option<Slot> {
        let tail = self.edit(0, |list| match at {
            Some(at) if at > list.first()? && at < list.end() => Some(list.split_off(at)),
            _ => None,
        })??;
        let tail = Slot::packed(tail);
        self.count -= tail.count;
        Some(tail)
    }
}

/// Where an element stands: its slot, and its place there unless the node is plain.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    slot: usize,
    pos: Option<Pos>,
}

impl Place {
    /// In the listpack that has just become the first node.
    pub(super) fn in_first(pos: Pos) -> Place {
        Place { slot: 0, pos: Some(pos) }
    }
}

#[derive(Clone, Debug, Default)]
pub(super) struct Quicklist {
    slots: VecDeque<Slot>,
    len: usize,
}

impl Quicklist {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn node_count(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn node(&self, index: usize) -> Option<NodeRef<'_>> {
        self.slots.get(index).map(Slot::view)
    }

    /// Adds a ready node at the right end; an empty one is dropped.
    pub(super) fn push_node(&mut self, node: Node) {
        let slot = match node {
            Node::Packed(list) => Slot::packed(list),
            plain => Slot { node: Arc::new(plain), count: 1 },
        };
        if slot.count > 0 {
            self.len += slot.count();
            self.slots.push_back(slot);
        }
    }

    /// The listpack of the only node, if it is one and `fits` its bytes and count.
    pub(super) fn take_only_listpack(&mut self, fits: impl FnOnce(usize, usize) -> bool) -> Option<Listpack> {
        match (self.slots.len(), self.slots.front()?.as_packed()) {
            (1, Some(list)) if fits(list.bytes_len(), self.len) => {}
            _ => return None,
        }
        self.len = 0;
        match Arc::unwrap_or_clone(self.slots.pop_front()?.node) {
            Node::Packed(list) => Some(list),
            Node::Plain(_) => None,
        }
    }

    pub(super) fn push(&mut self, end: End, value: &[u8], limit: NodeLimit) {
        self.len += 1;
        let outer = match end {
            End::Left => self.slots.front_mut(),
            End::Right => self.slots.back_mut(),
        };
        match outer {
            Some(slot) if slot.takes(value, limit) => slot.push(end, value),
            _ if end == End::Left => self.slots.push_front(Slot::single(value, limit)),
            _ => self.slots.push_back(Slot::single(value, limit)),
        }
    }

    /// Slot and offset in it of the element `index`; walks the counts from the nearer end.
    pub(super) fn seek(&self, index: usize) -> Option<(usize, usize)> {
        if index >= self.len {
            return None;
        }
        if index <= self.len / 2 {
            let mut before = 0;
            for (at, slot) in self.slots.iter().enumerate() {
                if index < before + slot.count() {
                    return Some((at, index - before));
                }
                before += slot.count();
            }
        } else {
            let mut start = self.len;
            for (at, slot) in self.slots.iter().enumerate().rev() {
                start -= slot.count();
                if index >= start {
                    return Some((at, index - start));
                }
            }
        }
        None
    }

    fn place_of(&self, index: usize) -> Option<Place> {
        let (slot, offset) = self.seek(index)?;
        let pos = self.slots[slot].as_packed().and_then(|list| list.seek(offset as i64));
        Some(Place { slot, pos })
    }

    /// The first element equal to `value`.
    pub(super) fn find(&self, value: &[u8]) -> Option<Place> {
        self.slots.iter().enumerate().find_map(|(slot, held)| match held.view() {
            NodeRef::Packed(list) => list.find(value, 0).map(|pos| Place { slot, pos: Some(pos) }),
            NodeRef::Plain(bytes) => (bytes == value).then_some(Place { slot, pos: None }),
        })
    }

    /// Puts `value` next to the element at `place`: into its node if that has room, else into the neighbour it
    /// borders on, else into a node of its own or, in the middle of a node, into one half of it.
    pub(super) fn insert(&mut self, place: Place, value: &[u8], after: bool, limit: NodeLimit) {
        let Place { slot: at, pos } = place;
        // The gap to fill, as a place in the node: `None` for its end.
        let node = self.slots[at].as_packed();
        let gap = if after { node.zip(pos).and_then(|(list, pos)| list.next(pos)) } else { pos };
        let inside = node.zip(gap).is_some_and(|(list, gap)| list.first() != Some(gap));
        self.len += 1;
        if self.slots[at].takes(value, limit) {
            self.slots[at].edit(1, |list| list.insert(gap.unwrap_or(list.end()), value));
            return;
        }
        if inside {
            return self.insert_by_splitting(at, gap, value, after, limit);
        }
        let (neighbour, its_end) =
            if after { (Some(at + 1), End::Left) } else { (at.checked_sub(1), End::Right) };
        match neighbour.and_then(|at| self.slots.get_mut(at)) {
            Some(slot) if slot.takes(value, limit) => slot.push(its_end, value),
            _ => self.slots.insert(at + usize::from(after), Slot::single(value, limit)),
        }
    }

    fn insert_by_splitting(
        &mut self,
        at: usize,
        gap: Option<Pos>,
        value: &[u8],
        after: bool,
        limit: NodeLimit,
    ) {
        let Some(mut tail) = self.slots[at].split_off(gap) else { return };
        if limit.is_plain(value) {
            self.slots.insert(at + 1, tail);
            self.slots.insert(at + 1, Slot::single(value, limit));
            return;
        }
        // Redis adds to the half that does not hold the pivot and merges around the other.
        if after {
            tail.push(End::Left, value);
        } else {
            self.slots[at].push(End::Right, value);
        }
        self.slots.insert(at + 1, tail);
        self.merge_around(at + usize::from(!after), limit);
    }

    /// Replaces the element `index`; `false` if there is none.
    pub(super) fn set(&mut self, index: usize, value: &[u8], limit: NodeLimit) -> bool {
        let Some(place) = self.place_of(index) else { return false };
        let slot = &mut self.slots[place.slot];
        let grows_in_place = slot.as_packed().is_some_and(|list| list.may_grow_by(value.len()));
        match place.pos {
            Some(pos) if grows_in_place && !limit.is_plain(value) => {
                slot.edit(0, |list| list.replace(pos, value));
            }
            None if limit.is_plain(value) => *slot = Slot::single(value, limit),
            None => {
                self.insert(place, value, true, limit);
                self.slots.remove(place.slot);
                self.len -= 1;
            }
            Some(pos) => self.set_by_splitting(place.slot, pos, value, limit),
        }
        true
    }

    /// The element gets a node of its own between what stood before and after it.
    fn set_by_splitting(&mut self, at: usize, pos: Pos, value: &[u8], limit: NodeLimit) {
        let next = self.slots[at].as_packed().and_then(|list| list.next(pos));
        let tail = self.slots[at].split_off(next);
        if self.slots[at].count > 1 {
            self.slots[at].edit(-1, |list| list.remove(pos));
            self.slots.insert(at + 1, Slot::single(value, limit));
            tail.into_iter().for_each(|tail| self.slots.insert(at + 2, tail));
            self.merge_around(at + 1, limit);
        } else {
            self.slots[at] = Slot::single(value, limit);
            tail.into_iter().for_each(|tail| self.slots.insert(at + 1, tail));
        }
    }

    /// Merges small neighbours up to two nodes from `center`, in Redis' order.
    fn merge_around(&mut self, center: usize, limit: NodeLimit) {
        let mut center = center;
        if center >= 2 && self.merge(center - 2, limit) {
            center -= 1;
        }
        self.merge(center + 1, limit);
        if center >= 1 && self.merge(center - 1, limit) {
            center -= 1;
        }
        self.merge(center, limit);
    }

    /// Joins slot `left` and the next one, if a node may hold both.
    fn merge(&mut self, left: usize, limit: NodeLimit) -> bool {
        let (Some(a), Some(b)) = (self.slots.get(left), self.slots.get(left + 1)) else { return false };
        let fits = a.as_packed().zip(b.as_packed()).is_some_and(|(x, y)| {
            limit.allows(x.bytes_len() + y.bytes_len() - LISTPACK_FRAME, a.count() + b.count())
        });
        if fits && let Some(slot) = self.slots.remove(left + 1) {
            let count = slot.count as i32;
            if let Some(other) = slot.as_packed() {
                self.slots[left].edit(count, |list| list.append(other.view()));
            }
        }
        fits
    }

    /// Removes `count` elements from number `start` on, or as many as there are.
    pub(super) fn remove_range(&mut self, start: usize, count: usize) {
        let Some((mut at, mut offset)) = self.seek(start) else { return };
        let mut left = count.min(self.len - start);
        self.len -= left;
        while left > 0 {
            if offset == 0 {
                let mut whole = 0;
                while let Some(slot) = self.slots.get(at + whole)
                    && slot.count() <= left
                {
                    left -= slot.count();
                    whole += 1;
                }
                self.slots.drain(at..at + whole);
            }
            if left > 0 {
                let slot = &mut self.slots[at];
                let here = left.min(slot.count() - offset);
                slot.remove_range(offset, here);
                left -= here;
                (at, offset) = (at + 1, 0);
            }
        }
    }

    /// Removes at most `most` elements equal to `value`, the first met from `from` on; returns how many.
    pub(super) fn remove_equal(&mut self, value: &[u8], from: End, most: usize) -> usize {
        let mut removed = 0;
        let mut at = if from == End::Left { 0 } else { self.slots.len() };
        while removed < most {
            if from == End::Right {
                let Some(before) = at.checked_sub(1) else { break };
                at = before;
            }
            let Some(slot) = self.slots.get_mut(at) else { break };
            let here = match slot.view() {
                NodeRef::Plain(bytes) => usize::from(bytes == value),
                NodeRef::Packed(list) => {
                    let found = equal_places(list, value, from, most - removed);
                    if !found.is_empty() {
                        slot.edit(-(found.len() as i32), |list| remove_places(list, &found));
                    }
                    found.len()
                }
            };
            removed += here;
            let emptied = here > 0 && (slot.count == 0 || slot.as_packed().is_none());
            if emptied {
                self.slots.remove(at);
            } else if from == End::Left {
                at += 1;
            }
        }
        self.len -= removed;
        removed
    }

    pub(super) fn heap_bytes(&self) -> usize {
        const SAMPLE: usize = 64;
        let node = |slot: &Slot| {
            let content = match slot.view() {
                NodeRef::Packed(list) => list.heap_bytes(),
                NodeRef::Plain(bytes) => bytes.len(),
            };
            size_of::<usize>() + size_of::<Node>() + content
        };
        let sampled: usize = self.slots.iter().take(SAMPLE).map(node).sum();
        let nodes = sampled * self.slots.len() / self.slots.len().clamp(1, SAMPLE);
        size_of::<Quicklist>() + self.slots.capacity() * size_of::<Slot>() + nodes
    }
}

/// The places of at most `most` elements equal to `value`, as met from `from` on.
pub(super) fn equal_places(list: &Listpack, value: &[u8], from: End, most: usize) -> Vec<Pos> {
    let number = parse_i64(value);
    let equal = |entry: Entry<'_>| match entry {
        Entry::Int(n) => number == Some(n),
        Entry::Str(bytes) => bytes == value,
    };
    let matches = |(pos, entry)| equal(entry).then_some(pos);
    match from {
        End::Left => list.positions().filter_map(matches).take(most).collect(),
        End::Right => list.positions().rev().filter_map(matches).take(most).collect(),
    }
}

/// Removes the elements at these places, given in order of place or its reverse.
pub(super) fn remove_places(list: &mut Listpack, places: &[Pos]) {
    // From the last to the first: a place stays good while nothing before it changes.
    if places.first() < places.last() {
        places.iter().rev().for_each(|at| list.remove(*at));
    } else {
        places.iter().for_each(|at| list.remove(*at));
    }
}

/// The elements of one node, from both ends.
#[derive(Clone)]
pub(super) enum NodeIter<'a> {
    Packed(listpack::Iter<'a>),
    Plain(Option<&'a [u8]>),
}

impl<'a> NodeRef<'a> {
    pub(super) fn iter(self) -> NodeIter<'a> {
        match self {
            NodeRef::Packed(list) => NodeIter::Packed(list.iter()),
            NodeRef::Plain(bytes) => NodeIter::Plain(Some(bytes)),
        }
    }

    /// Number of elements.
    pub fn count(self) -> usize {
        match self {
            NodeRef::Packed(list) => list.len(),
            NodeRef::Plain(_) => 1,
        }
    }
}

impl<'a> Iterator for NodeIter<'a> {
    type Item = Entry<'a>;
    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        match self {
            NodeIter::Packed(entries) => entries.next(),
            NodeIter::Plain(bytes) => bytes.take().map(Entry::Str),
        }
    }
}

impl<'a> DoubleEndedIterator for NodeIter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Entry<'a>> {
        match self {
            NodeIter::Packed(entries) => entries.next_back(),
            NodeIter::Plain(bytes) => bytes.take().map(Entry::Str),
        }
    }
}
