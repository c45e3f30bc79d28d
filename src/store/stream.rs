//! The stream value, kept as a snapshot describes it.
//!
//! A server of this version has no commands for the entries of a stream, but it must lose none: a stream that
//! comes by a snapshot or RESTORE is checked whole ([`crate::format::rdb::stream`]) and kept as the bytes that it
//! came in, to be saved, dumped and copied like any other key. Cloning shares the bytes.

use triomphe::Arc;

use crate::format::rdb::ValueType;
use crate::format::rdb::stream::Facts;

/// A stream.
#[derive(Clone, Debug)]
pub struct Stream {
    kind: ValueType,
    payload: Arc<[u8]>,
    facts: Facts,
}

impl Stream {
    /// `payload` is a value of type `kind`, one of the three stream types, as `check` has found it sound.
    pub fn from_checked(kind: ValueType, payload: &[u8], facts: Facts) -> Stream {
        Stream { kind, payload: payload.into(), facts }
    }

    /// How [`Stream::payload`] is to be read.
    pub fn kind(&self) -> ValueType {
        self.kind
    }

    /// The value as RDB has it: equal bytes and kind mean equal streams (not the reverse).
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// Number of entries.
    pub fn len(&self) -> u64 {
        self.facts.length
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        "stream"
    }

    /// Heap bytes beside the pointer in the entry.
    pub fn heap_bytes(&self) -> usize {
        2 * size_of::<usize>() + size_of::<Stream>() + self.payload.len()
    }
}
