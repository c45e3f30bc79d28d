//! The hash value: its representation in memory.

/// A hash.
#[derive(Clone, Debug, Default)]
pub struct Hash {}

impl Hash {
    pub fn len(&self) -> usize {
        0
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
