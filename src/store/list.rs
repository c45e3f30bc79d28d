//! The list value: one listpack while small, a quicklist of nodes beyond.
//!
//! | shape | while | OBJECT ENCODING |
//! |---|---|---|
//! | `Packed` | the whole list fits in one node (`list-max-listpack-size`) | listpack |
//! | `Quick` | else; see [`super::quicklist`] | quicklist |
//!
//! The form changes as in Redis 7.2: a listpack gives way *before* elements are added that could make it too
//! large, judged by their bytes without looking how they would pack; a quicklist goes back only after a removal or
//! replacement, when a single packed node is left and it is below half the limit. Therefore growth and shrinking
//! are said separately ([`List::push_all`], [`List::shrink`]), by the command as a whole and not by each element.
//!
//! A single form (a quicklist of one node) would be less code; it was rejected because most lists are small and
//! the deque and the counted node would triple what an empty one costs.
//!
//! Every element is a byte string; a number in a listpack stands for its decimal text ([`Entry`]).

use super::limits::Limits;
use super::quicklist::{self, NodeIter, NodeLimit, Place, Quicklist};
pub use super::quicklist::{End, Node, NodeRef};
use crate::format::packed::Entry;
use crate::format::packed::listpack::Listpack;

/// A list.
#[derive(Clone, Debug, Default)]
pub struct List(Shape);

#[derive(Clone, Debug)]
enum Shape {
    Packed(Listpack),
    Quick(Box<Quicklist>),
}

impl Default for Shape {
    fn default() -> Shape {
        Shape::Packed(Listpack::new())
    }
}

impl List {
    pub fn new() -> List {
        List::default()
    }

    /// A list stored as one listpack.
    pub fn from_listpack(elements: Listpack, limits: &Limits) -> List {
        let mut list = List(Shape::Packed(elements));
        list.make_room(0, 0, limits);
        list
    }

    /// A list stored as nodes, in order; empty nodes are dropped.
    pub fn from_nodes(nodes: impl IntoIterator<Item = Node>, limits: &Limits) -> List {
        let mut quick = Quicklist::default();
        nodes.into_iter().for_each(|node| quick.push_node(node));
        List::from_quick(quick, limits)
    }

    /// A list stored element by element.
    pub fn from_values<'a>(values: impl IntoIterator<Item = &'a [u8]>, limits: &Limits) -> List {
        let limit = NodeLimit::of(limits);
        let mut quick = Quicklist::default();
        values.into_iter().for_each(|value| quick.push(End::Right, value, limit));
        List::from_quick(quick, limits)
    }

    fn from_quick(quick: Quicklist, limits: &Limits) -> List {
        if quick.len() == 0 {
            return List::new();
        }
        let mut list = List(Shape::Quick(Box::new(quick)));
        list.try_listpack(limits, 1);
        list
    }

    pub fn len(&self) -> usize {
        match &self.0 {
            Shape::Packed(list) => list.len(),
            Shape::Quick(quick) => quick.len(),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match &self.0 {
            Shape::Packed(_) => "listpack",
            Shape::Quick(_) => "quicklist",
        }
    }

    /// Heap bytes beside the pointer in the entry; extrapolated from the first nodes of a long list.
    pub fn heap_bytes(&self) -> usize {
        let content = match &self.0 {
            Shape::Packed(list) => list.heap_bytes(),
            Shape::Quick(quick) => quick.heap_bytes(),
        };
        size_of::<usize>() + size_of::<List>() + content
    }

    /// The whole list, while it is one listpack.
    pub fn as_listpack(&self) -> Option<&Listpack> {
        if let Shape::Packed(list) = &self.0 { Some(list) } else { None }
    }

    pub fn node_count(&self) -> usize {
        match &self.0 {
            Shape::Packed(_) => 1,
            Shape::Quick(quick) => quick.node_count(),
        }
    }

    /// The nodes in order; a listpack is one node.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = NodeRef<'_>> {
        // `node` is there for every number below the count.
        (0..self.node_count()).map(|at| self.node(at).unwrap_or(NodeRef::Plain(&[])))
    }

    fn node(&self, at: usize) -> Option<NodeRef<'_>> {
        match &self.0 {
            Shape::Packed(list) => (at == 0).then_some(NodeRef::Packed(list)),
            Shape::Quick(quick) => quick.node(at),
        }
    }

    // ---- reading ----

    /// The element `index` from the left.
    pub fn get(&self, index: usize) -> Option<Entry<'_>> {
        match &self.0 {
            Shape::Packed(list) => list.get(index as i64),
            Shape::Quick(_) => self.range(index, 1).next(),
        }
    }

    /// The outermost element.
    pub fn peek(&self, end: End) -> Option<Entry<'_>> {
        match end {
            End::Left => self.iter().next(),
            End::Right => self.iter().next_back(),
        }
    }

    pub fn iter(&self) -> Iter<'_> {
        self.range(0, usize::MAX)
    }

    /// At most `count` elements from number `start` on, readable from both ends.
    pub fn range(&self, start: usize, count: usize) -> Iter<'_> {
        let len = self.len();
        let start = start.min(len);
        Iter { list: self, start, end: start + count.min(len - start), front: None, back: None }
    }

    fn seek(&self, index: usize) -> (usize, usize) {
        match &self.0 {
            Shape::Packed(_) => (0, index),
            Shape::Quick(quick) => quick.seek(index).unwrap_or((quick.node_count(), 0)),
        }
    }

    // ---- changing ----

    /// Adds the elements one after the other at that end.
    pub fn push_all<'a, V>(&mut self, end: End, values: V, limits: &Limits)
    where
        V: IntoIterator<Item = &'a [u8], IntoIter: Clone>,
    {
        let values = values.into_iter();
        let (count, bytes) = values.clone().fold((0, 0), |(count, bytes), v| (count + 1, bytes + v.len()));
        self.make_room(count, bytes, limits);
        match &mut self.0 {
            Shape::Packed(list) => match end {
                End::Left => values.for_each(|value| list.push_front(value)),
                End::Right => values.for_each(|value| list.push(value)),
            },
            Shape::Quick(quick) => {
                let limit = NodeLimit::of(limits);
                values.for_each(|value| quick.push(end, value, limit));
            }
        }
    }

    /// Puts `value` after (else before) the first element equal to `pivot`; `false` if there is none.
    pub fn insert_beside(&mut self, pivot: &[u8], value: &[u8], after: bool, limits: &Limits) -> bool {
        let place = match &self.0 {
            Shape::Packed(list) => list.find(pivot, 0).map(Place::in_first),
            Shape::Quick(quick) => quick.find(pivot),
        };
        let Some(place) = place else { return false };
        self.make_room(1, value.len(), limits);
        match &mut self.0 {
            Shape::Packed(list) => {
                let found = list.find(pivot, 0);
                let at = if after { found.and_then(|at| list.next(at)) } else { found };
                list.insert(at.unwrap_or(list.end()), value);
            }
            Shape::Quick(quick) => quick.insert(place, value, after, NodeLimit::of(limits)),
        }
        true
    }

    /// Replaces the element `index`; `false` if there is none.
    pub fn set(&mut self, index: usize, value: &[u8], limits: &Limits) -> bool {
        if index >= self.len() {
            return false;
        }
        self.make_room(1, value.len(), limits);
        match &mut self.0 {
            Shape::Packed(list) => {
                if let Some(at) = list.seek(index as i64) {
                    list.replace(at, value);
                }
            }
            Shape::Quick(quick) => {
                quick.set(index, value, NodeLimit::of(limits));
            }
        }
        self.shrink(limits);
        true
    }

    /// Removes `count` elements from number `start` on, or as many as there are.
    pub fn remove_range(&mut self, start: usize, count: usize) {
        match &mut self.0 {
            Shape::Packed(list) => {
                if let Some(at) = list.seek(start as i64) {
                    list.remove_range(at, count);
                }
            }
            Shape::Quick(quick) => quick.remove_range(start, count),
        }
    }

    /// Removes `count` elements at that end, or as many as there are.
    pub fn drop_end(&mut self, end: End, count: usize) {
        match end {
            End::Left => self.remove_range(0, count),
            End::Right => self.remove_range(self.len() - count.min(self.len()), count),
        }
    }

    /// Removes at most `most` elements equal to `value`, the first met from `from` on; returns how many.
    pub fn remove_equal(&mut self, value: &[u8], from: End, most: usize) -> usize {
        match &mut self.0 {
            Shape::Packed(list) => {
                let places = quicklist::equal_places(list, value, from, most);
                quicklist::remove_places(list, &places);
                places.len()
            }
            Shape::Quick(quick) => quick.remove_equal(value, from, most),
        }
    }

    /// After removals: back to a listpack if what is left is small enough.
    pub fn shrink(&mut self, limits: &Limits) {
        self.try_listpack(limits, 2);
    }

    fn try_listpack(&mut self, limits: &Limits, divisor: usize) {
        let limit = NodeLimit::of(limits);
        let Shape::Quick(quick) = &mut self.0 else { return };
        let fits = |bytes, count| limit.fits_listpack(bytes, count, divisor);
        if let Some(list) = quick.take_only_listpack(fits) {
            self.0 = Shape::Packed(list);
        }
    }

    /// Becomes a quicklist if a listpack with `count` elements of together `bytes` more might be too large.
    fn make_room(&mut self, count: usize, bytes: usize, limits: &Limits) {
        let Shape::Packed(list) = &mut self.0 else { return };
        if NodeLimit::of(limits).allows(list.bytes_len() + bytes, list.len() + count) {
            return;
        }
        let mut quick = Quicklist::default();
        quick.push_node(Node::Packed(std::mem::take(list)));
        self.0 = Shape::Quick(Box::new(quick));
    }
}

/// Elements of a list, from both ends.
#[derive(Clone)]
pub struct Iter<'a> {
    list: &'a List,
    start: usize,
    end: usize,
    front: Option<Cursor<'a>>,
    back: Option<Cursor<'a>>,
}

/// What is left of node number `node`.
#[derive(Clone)]
struct Cursor<'a> {
    node: usize,
    rest: NodeIter<'a>,
}

fn node_iter(list: &List, at: usize) -> NodeIter<'_> {
    list.node(at).map_or(NodeIter::Plain(None), NodeRef::iter)
}

impl<'a> Iter<'a> {
    fn open_front(&self) -> Cursor<'a> {
        let (node, offset) = self.list.seek(self.start);
        let mut rest = node_iter(self.list, node);
        if offset > 0 {
            rest.nth(offset - 1);
        }
        Cursor { node, rest }
    }

    /// Stands behind the last element of the range.
    fn open_back(&self) -> Cursor<'a> {
        let (node, offset) = self.list.seek(self.end - 1);
        let beyond = self.list.node(node).map_or(0, NodeRef::count) - offset - 1;
        let mut rest = node_iter(self.list, node);
        if beyond > 0 {
            rest.nth_back(beyond - 1);
        }
        Cursor { node, rest }
    }
}

impl<'a> Iterator for Iter<'a> {
    type Item = Entry<'a>;

    #[inline]
    fn next(&mut self) -> Option<Entry<'a>> {
        if self.start >= self.end {
            return None;
        }
        if self.front.is_none() {
            self.front = Some(self.open_front());
        }
        let Cursor { node, rest } = self.front.as_mut()?;
        let entry = rest.next().or_else(|| {
            *node += 1;
            *rest = node_iter(self.list, *node);
            rest.next()
        });
        self.start += 1;
        entry
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.end - self.start, Some(self.end - self.start))
    }
}

impl<'a> DoubleEndedIterator for Iter<'a> {
    #[inline]
    fn next_back(&mut self) -> Option<Entry<'a>> {
        if self.start >= self.end {
            return None;
        }
        if self.back.is_none() {
            self.back = Some(self.open_back());
        }
        let Cursor { node, rest } = self.back.as_mut()?;
        let entry = rest.next_back().or_else(|| {
            *node = node.checked_sub(1)?;
            *rest = node_iter(self.list, *node);
            rest.next_back()
        });
        self.end -= 1;
        entry
    }
}

impl ExactSizeIterator for Iter<'_> {}

#[cfg(test)]
#[path = "list_tests.rs"]
mod tests;
