//! Library half of the inspection tool `ringhold-inspect`: looks into any snapshot, log, ring or data directory.
//!
//! | module | what lives there |
//! |---|---|
//! | [`input`] | what a path is; files, standard input, gzip and zstd as one kind of reader that knows its progress |
//! | [`unpack`] | gzip and zstd |
//! | [`live`] | a running server as such a reader: its data by a full sync |
//! | [`snapshot`], [`value`] | a walk over an RDB file: items, keys, the elements of a value in pieces |
//! | [`check`] | is it sound? every checksum and structure, one report for any kind of file; `--fix` |
//! | [`summary`] | what is in it, on one screen |
//! | [`keys`] | the keys of a snapshot behind a filter; lists of them |
//! | [`get`], [`dump`] | one value for a person; all as JSON or as commands |
//! | [`convert`], [`rebuild`] | RDB files from RDB files: of another version, filtered, split by slot, merged |
//! | [`salvage`] | what is whole in a damaged snapshot or log |
//! | [`diff`], [`detail`] | what differs between two datasets; and in a key that has changed |
//! | [`at`] | a data directory's state at an earlier place, as an RDB file |
//! | [`spool`], [`partitions`] | bytes of any number in bounded memory; keys compared by hash, a part at a time |
//! | [`whole`] | a snapshot, packed, piped or replayed, that can be read again and anywhere |
//! | [`memory`], [`sizes`], [`prefixes`] | what keys would cost in a server; the largest; by prefix, in bounded memory |
//! | [`log`], [`ring`], [`lineage`] | the stream around a place; a ring's window and blocks; the names of a history |
//! | [`commands`] | the names of commands |
//! | [`distinct`] | duplicates in bounded memory |
//! | [`text`] | escaping for terminal and JSON, a JSON writer, sizes for people |
//! | [`status_line`] | how far long work has come, on a terminal |
//!
//! **Everything streams.** A command is a visitor of a walk that holds one buffer, one packed value of at most
//! [`value::BLOB_LIMIT`] and what the command counts; a value is never in memory as a whole, so that a file's size
//! and a list's length do not matter. What cannot be bounded this way is refused with its offset
//! ([`Failure::TooLong`]), not attempted. Rejected: loading into the store (exact, but as large as the dataset) and
//! mapping the file (no pipes, no compressed input, a page fault instead of an error).
//!
//! **One parser.** The codecs are the server's own; what passes here loads there. All walks check what they pass, so
//! that `summary` of a damaged file ends with the same file and offset as `check`.
//!
//! ```no_run
//! use ringhold::inspect::{check, input};
//! let report = check::check(std::path::Path::new("dump.rdb"), &check::Options::default())?;
//! assert_eq!(report.verdict(), check::Verdict::Sound);
//! # Ok::<(), ringhold::inspect::Failure>(())
//! ```
//!
//! What a command sees, any program can: here the bytes of each type in a file.
//!
//! ```
//! use ringhold::format::rdb::stream;
//! use ringhold::inspect::{Failure, input, keys, value};
//! use ringhold::units::UnixMillis;
//!
//! #[derive(Default)]
//! struct Bytes(std::collections::BTreeMap<&'static str, u64>);
//! impl stream::Visit for Bytes {}
//! impl value::Visitor for Bytes {} // Would be shown each element, in pieces.
//! impl keys::Take for Bytes {
//!     fn row(&mut self, row: &keys::Row<'_>) -> Result<bool, Failure> {
//!         *self.0.entry(row.head.type_word()).or_default() += row.bytes;
//!         Ok(true)
//!     }
//! }
//!
//! let file = b"REDIS0004\0\x03key\x05value\x04\x04hash\x01\x01f\x01v\xff";
//! let input = input::of_reader(Box::new(&file[..]), "example.rdb".as_ref(), None)?;
//! let mut source = keys::Source { input, note: None };
//! let mut bytes = Bytes::default();
//! keys::walk(&mut source, &keys::Filter::default(), UnixMillis(0), &mut bytes)?;
//! assert_eq!(bytes.0["string"], 11);
//! # Ok::<(), Failure>(())
//! ```

pub mod at;
pub mod check;
pub mod commands;
pub mod convert;
pub mod detail;
pub mod diff;
pub mod distinct;
pub mod dump;
pub mod get;
pub mod input;
pub mod keys;
pub mod lineage;
pub mod live;
pub mod log;
pub mod memory;
pub mod partitions;
pub mod prefixes;
pub mod rebuild;
pub mod ring;
pub mod salvage;
pub mod sizes;
pub mod snapshot;
pub mod spool;
pub mod status_line;
pub mod summary;
pub mod text;
pub mod unpack;
pub mod value;
pub mod whole;

use std::fmt;
use std::path::Path;

use crate::error::{Corrupt, IoFailure};
use crate::format::rdb::LoadError;

/// Why a command ended early. Each names the file, and the offset where there is one.
#[derive(Debug)]
pub enum Failure {
    /// The bytes are not what they should be.
    Corrupt(Corrupt),
    /// Too long a string for the memory that this tool allows itself: nothing is known of its soundness.
    TooLong(Corrupt),
    Io(IoFailure),
    /// The output could not be written.
    Output(std::io::Error),
    /// What was asked does not fit what was found.
    Usage(String),
}

impl Failure {
    /// An error of a walk, in this file.
    pub fn of(error: LoadError, file: &Path) -> Failure {
        match error {
            LoadError::Corrupt(damage) => Failure::Corrupt(damage.in_file(file)),
            LoadError::Io(source) => Failure::reading(file, source),
            LoadError::TooLong { at, len, longest } => {
                let what = format!("a string of {len} bytes; at most {longest} are taken into memory");
                Failure::TooLong(Corrupt::new(at, what).in_file(file))
            }
            LoadError::Stopped => Failure::Usage(format!("{}: stopped", file.display())),
        }
    }

    /// A failed read: damage, if what is wrong is how the file is packed.
    pub fn reading(file: &Path, error: std::io::Error) -> Failure {
        match unpack::Damage::of(&error) {
            Some(damage) => Failure::Corrupt(Corrupt::new(damage.at, damage.what.clone()).in_file(file)),
            None => Failure::Io(IoFailure::new("reading", file, error)),
        }
    }
}

impl From<IoFailure> for Failure {
    fn from(failure: IoFailure) -> Failure {
        Failure::Io(failure)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Failure::Corrupt(damage) | Failure::TooLong(damage) => damage.fmt(f),
            Failure::Io(failure) => failure.fmt(f),
            Failure::Output(error) => write!(f, "writing the output: {error}"),
            Failure::Usage(what) => f.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}

pub type Result<T> = std::result::Result<T, Failure>;
