//! The stream value: its representation in memory.

/// A stream.
#[derive(Clone, Debug, Default)]
pub struct Stream {}
