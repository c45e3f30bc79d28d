//! The 'sorted value: its representation in memory.

/// A 'sorted.
#[derive(Clone, Debug, Default)]
pub struct Zset {}

impl Zset {
    pub fn len(&self) -> usize {
        0
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
