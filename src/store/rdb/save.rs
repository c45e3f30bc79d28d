//! Writes a snapshot as an RDB file.
//!
//! The writer holds one buffer and, if it compresses, one table; what it costs besides is the time of whoever
//! calls, which is not the data thread: a [`Snapshot`] does not change.

use std::io::{self, Write};
use std::ops::ControlFlow;

use super::load::Progress;
use super::write::{payload_version, write_typed_value};
use super::{AccessKind, is_deadline};
use crate::format::rdb::{Opcode, Output, REDIS_VERSION, VERSION};
use crate::store::Entry;
use crate::store::partitions::Item;
use crate::store::{Database, Snapshot};
use crate::units::Position;

/// Keys between two calls of the progress function.
const STRIDE: u64 = 1024;

/// The place in the stream that a snapshot equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    pub position: Position,
    /// The stream's selected database there; -1 if it has not selected any.
    pub db: i64,
}

/// How and with which facts a snapshot is written.
#[derive(Clone, Debug, Default)]
pub struct SaveOptions {
    /// `rdbcompression`
    pub compress: bool,
    /// `rdbchecksum`
    pub checksum: bool,
    /// Where in which history the snapshot stands.
    pub cut: Option<Cut>,
    /// Whether it is the base of an append-only log.
    pub aof_base: bool,
    /// Unix seconds.
    pub ctime: i64,
    /// Bytes in use while it was taken.
    pub used_mem: u64,
    /// Writes each key's access stamp, too, where eviction goes by it. With Unix milliseconds, now.
    pub access: Option<(AccessKind, i64)>,
    /// Call the progress function after every key, for `rdb-key-save-delay`.
    pub each_key: bool,
    /// Further AUX fields, which all known servers ignore.
    pub aux: Vec<(String, Vec<u8>)>,
}

/// What was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Saved {
    pub bytes: u64,
    pub keys: u64,
    /// 0 if none was to be computed.
    pub checksum: u64,
}

/// Writes `snapshot` to `out`, which is flushed but not synced. `progress` is called about every thousand keys;
/// if it breaks, writing ends with an error of kind `Other`.
pub fn save(
    snapshot: &Snapshot,
    options: &SaveOptions,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> io::Result<Saved> {
    let mut output = Output::new(out, options.compress, options.checksum);
    output.header(version_for(snapshot))?;
    write_facts(&mut output, options)?;
    for library in snapshot.libraries.iter() {
        output.opcode(Opcode::Function)?;
        output.string(library)?;
    }
    let stride = if options.each_key { 1 } else { STRIDE };
    let mut keys = 0u64;
    for (index, database) in snapshot.dbs.iter().enumerate() {
        if database.entries.is_empty() {
            continue;
        }
        write_database_head(&mut output, index, database)?;
        for entry in database.entries.iter() {
            write_entry(&mut output, entry, options.access)?;
            keys += 1;
            if keys.is_multiple_of(stride)
                && progress(Progress { bytes: output.offset(), keys, used_mem: 0 }).is_break()
            {
                return Err(io::Error::other("stopped"));
            }
        }
    }
    let checksum = output.finish()?;
    Ok(Saved { bytes: output.offset(), keys, checksum })
}

/// The oldest version that can express the data.
fn version_for(snapshot: &Snapshot) -> u16 {
    let entries = snapshot.dbs.iter().flat_map(|database| database.entries.iter());
    entries.map(|entry| payload_version(entry.value())).max().unwrap_or(VERSION)
}

fn write_facts(output: &mut Output<'_>, options: &SaveOptions) -> io::Result<()> {
    let number = |n: i64| n.to_string().into_bytes();
    output.aux("redis-ver", REDIS_VERSION.as_bytes())?;
    output.aux("redis-bits", &number(i64::from(usize::BITS)))?;
    output.aux("ctime", &number(options.ctime))?;
    output.aux("used-mem", &number(options.used_mem as i64))?;
    if let Some(cut) = options.cut {
        output.aux("repl-stream-db", &number(cut.db))?;
        output.aux("repl-id", cut.position.replid.as_bytes())?;
        output.aux("repl-offset", &number(cut.position.offset.0 as i64))?;
    }
    output.aux("aof-base", &number(options.aof_base.into()))?;
    options.aux.iter().try_for_each(|(name, value)| output.aux(name, value))
}

fn write_database_head(output: &mut Output<'_>, index: usize, database: &Database) -> io::Result<()> {
    output.opcode(Opcode::SelectDb)?;
    output.length(index as u64)?;
    output.opcode(Opcode::ResizeDb)?;
    output.length(database.entries.len() as u64)?;
    output.length(database.volatile as u64)
}

fn write_entry(output: &mut Output<'_>, entry: &Entry, access: Option<(AccessKind, i64)>) -> io::Result<()> {
    if is_deadline(entry.expires()) {
        output.opcode(Opcode::ExpireMillis)?;
        output.bytes(&entry.expires().to_le_bytes())?;
    }
    match access {
        Some((AccessKind::Lru, now_ms)) => {
            let idle = (now_ms / 1000).saturating_sub(i64::from(entry.access())).max(0);
            output.opcode(Opcode::Idle)?;
            output.length(idle as u64)?;
        }
        Some((AccessKind::Lfu, _)) => {
            output.opcode(Opcode::Freq)?;
            output.bytes(&[entry.access() as u8])?;
        }
        None => {}
    }
    write_typed_value(output, entry.value(), &[entry.key()])
}
