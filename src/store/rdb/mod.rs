//! Values and databases to RDB and back: a snapshot is what this module writes, and any Redis' snapshot is what it
//! reads. The bytes themselves are [`crate::format::rdb`]'s.
//!
//! | value | written as | because |
//! |---|---|---|
//! | string | 0 | |
//! | list | 18, listpack nodes; a small list is one node | the nodes are copied as they are |
//! | intset | 11 | copied |
//! | other sets | 2, member by member | the set listpack (20) is unknown to Redis 7.0 |
//! | sorted set, hash | 17, 16 while a listpack, else 5, 4 | copied while small |
//! | stream | as it came ([`super::stream`]) | |
//!
//! All other types are read only. Reading applies the current [`Limits`](super::Limits), as Redis does: a listpack
//! that is too long now becomes a table. It drops nothing whose deadline has passed (rule 11: a base plus its log
//! must give the same data tomorrow), and it keeps the order of no table.
//!
//! A key whose collection is empty, which some old servers wrote, is left out and counted, as in Redis 7. A key or
//! a member that comes twice, a blob that does not hold what its type says, a module's data: [`Corrupt`]
//! (crate::error::Corrupt), with the offset in the file.

mod load;
mod read;
mod save;
#[cfg(test)]
mod tests;
mod write;

pub use load::{LoadOptions, Loaded, Origin, Progress, load};
pub use read::read_value;
pub use save::{Cut, SaveOptions, Saved, save};
pub use write::{payload_version, write_value};

use super::value::{Value, View};
use super::{Limits, value};
use crate::error::Corrupt;
use crate::format::rdb::{LoadError, Output, Source, ValueType, open_payload, seal_payload};

/// How the access stamps of entries are to be understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessKind {
    /// Unix seconds of the last use.
    #[default]
    Lru,
    /// Unix minutes (16 bits) above a logarithmic counter (8 bits).
    Lfu,
}

impl AccessKind {
    /// The stamp that a snapshot or RESTORE asks for; `None` if it says nothing that counts here.
    pub fn stamp(self, idle_seconds: Option<u64>, freq: Option<u8>, now_ms: i64) -> Option<u32> {
        match self {
            AccessKind::Lru => {
                let idle = i64::try_from(idle_seconds?).unwrap_or(i64::MAX);
                Some((now_ms / 1000).saturating_sub(idle).max(0) as u32)
            }
            AccessKind::Lfu => Some((((now_ms / 60_000) & 0xffff) as u32) << 8 | u32::from(freq?)),
        }
    }
}

/// What DUMP answers for `value`.
pub fn dump(value: View<'_>) -> Vec<u8> {
    let mut payload = Vec::new();
    {
        let mut output = Output::new(&mut payload, true, false);
        // Writing to memory cannot fail.
        let _ = write::write_typed_value(&mut output, value, &[]).and_then(|()| output.flush());
    }
    seal_payload(&mut payload, payload_version(value));
    payload
}

/// Why RESTORE refuses a payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadPayload {
    /// Version or checksum.
    Footer(Corrupt),
    /// The value.
    Content(Corrupt),
}

/// The value of a payload that DUMP answered. `verify`: whether its checksum must be right. As in Redis, what
/// follows the value inside the checksum is ignored.
pub fn restore(payload: &[u8], limits: &Limits, verify: bool) -> Result<Value, BadPayload> {
    let content = open_payload(payload, verify).map_err(BadPayload::Footer)?;
    let mut rest = content;
    let mut source = Source::new(&mut rest, Some(content.len()));
    read_typed(&mut source, limits).map_err(|error| {
        BadPayload::Content(match error {
            LoadError::Corrupt(corrupt) => corrupt,
            // None happens while reading from memory without a limit.
            LoadError::Io(_) | LoadError::Stopped | LoadError::TooLong { .. } => {
                Corrupt::new(0, "unreadable")
            }
        })
    })
}

fn read_typed(source: &mut Source<'_>, limits: &Limits) -> Result<Value, LoadError> {
    let byte = source.u8()?;
    let Some(kind) = ValueType::from_byte(byte) else {
        return Err(LoadError::corrupt(0, format!("unknown type {byte}")));
    };
    let value = read_value(source, kind, limits, &mut Vec::new())?;
    value.ok_or_else(|| LoadError::corrupt(1, "an empty collection"))
}

/// Whether a deadline is one.
fn is_deadline(expires: i64) -> bool {
    expires != value::NEVER
}
