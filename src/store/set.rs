//! The set value: its representation in memory.

/// A set.
#[derive(Clone, Debug, Default)]
pub struct Set {}

impl Set {
    pub fn len(&self) -> usize {
        0
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
