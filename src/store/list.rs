//! The list value: its representation in memory.

/// A list.
#[derive(Clone, Debug, Default)]
pub struct List {}

impl List {
    pub fn len(&self) -> usize {
        0
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
