//! Writes keys out: as JSON, as commands in RESP (what `redis-cli --pipe` takes), as lines for `redis-cli`, as a table.
//!
//! ```text
//! keys::walk ─► Dump ─┬─► json      one object a line and key
//!                     ├─► table     a row for each element ─► CSV | parquet
//!                     └─► commands  SELECT, SET/RPUSH/SADD/ZADD/HSET/XADD…, PEXPIREAT ─► RESP | text
//! ```
//!
//! Elements are written as they pass; what a command must hold before it can be written (a batch of elements, because RESP
//! begins with their number) is at most [`commands::BATCH`] elements or a piece of 64 KiB, whichever comes first. A filter on
//! size or encoding cannot be asked here: it is known only when the value has passed.

mod commands;
mod json;
mod parquet;
mod table;

use std::io::Write;

pub use commands::{Commands, Form};
pub use json::JsonLines;
pub use table::Table;

use super::Failure;
use crate::format::rdb::LoadError;

/// Where output is collected before it is written.
const SPILL: usize = 64 << 10;

/// A buffered output whose failure ends a walk.
pub struct Sink<'o> {
    out: &'o mut dyn Write,
    pub buffer: Vec<u8>,
    failure: Option<Failure>,
}

impl<'o> Sink<'o> {
    pub fn new(out: &'o mut dyn Write) -> Sink<'o> {
        Sink { out, buffer: Vec::with_capacity(2 * SPILL), failure: None }
    }

    /// Writes the buffer out if it is large.
    #[inline]
    pub fn spill(&mut self) -> Result<(), LoadError> {
        if self.buffer.len() < SPILL { Ok(()) } else { self.flush() }
    }

    pub fn flush(&mut self) -> Result<(), LoadError> {
        let written = self.out.write_all(&self.buffer);
        self.buffer.clear();
        written.map_err(|error| {
            self.failure = Some(Failure::Output(error));
            LoadError::Stopped
        })
    }

    /// Another failure that ends the walk.
    pub(super) fn stop(&mut self, failure: Failure) -> LoadError {
        self.failure = Some(failure);
        LoadError::Stopped
    }

    pub fn take_failure(&mut self) -> Option<Failure> {
        self.failure.take()
    }
    /// The failure behind an error of [`Sink::flush`].
    pub fn failed(&mut self, error: LoadError) -> Failure {
        self.take_failure().unwrap_or_else(|| Failure::Usage(error.to_string()))
    }
}

/// A stream's ID as text.
pub(super) fn id_text(id: [u8; 16]) -> String {
    let id = u128::from_be_bytes(id);
    format!("{}-{}", (id >> 64) as u64, id as u64)
}

#[cfg(test)]
mod tests;
