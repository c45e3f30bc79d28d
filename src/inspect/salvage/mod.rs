//! What is whole in a damaged snapshot or log, as a sound file; and what is lost, and where.
//!
//! ```text
//! file (what is packed or piped: a temporary copy) ─► read up to damage ─► look for the next sound place ─► read on …
//!                                                        └► a loss: from, to, why
//! ```
//!
//! | module | finds the next sound place by |
//! |---|---|
//! | [`rdb`] | the damaged value's length, else byte by byte: records that decode, several in a row |
//! | [`log`] | the next whole command with a name that servers know |
//!
//! Found by structure, not by a checksum: text that looks like records, inside a value that is lost, can be
//! taken for them, and a flipped bit inside a text leaves no trace in the structure. The report says when a file's
//! checksum shows that there is more than was found. Files may be hostile: memory is bounded, and so is the work.

mod log;
mod rdb;
#[cfg(test)]
mod tests;

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::input::{self, Found, Kind};
use super::spool::Spool;
use super::text::Json;
use super::unpack::Damage;
use super::{Failure, Result, check};
use crate::disk::{Disk, DiskFile, Mode, OsDisk};
use crate::units::UnixMillis;

/// Losses that are named; more are counted.
const NAMED: usize = 1000;
const STEP: usize = 256 << 10;
/// Bytes of a file in memory while it is copied.
const IN_MEMORY: usize = 1 << 20;

/// A stretch that is not in the new file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    pub from: u64,
    pub to: u64,
    pub why: String,
}

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salvaged {
    pub kind: Kind,
    /// Of the file, unpacked.
    pub bytes: u64,
    /// Keys of a snapshot, commands of a log.
    pub kept: u64,
    /// Bytes.
    pub lost: u64,
    pub losses: Vec<Loss>,
    /// Losses that are not named.
    pub more: u64,
    pub notes: Vec<String>,
}

impl Salvaged {
    /// Nothing is lost, as far as can be told.
    pub fn is_whole(&self) -> bool {
        self.losses.is_empty() && self.notes.is_empty()
    }

    /// What [`Salvaged::kept`] counts.
    pub fn what(&self) -> &'static str {
        if self.kind == Kind::Log { "commands" } else { "keys" }
    }

    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Json::new();
        json.object(|j| {
            j.key("kind").text(self.kind.word().as_bytes());
            j.key("bytes").plain(self.bytes);
            j.key(self.what()).plain(self.kept);
            j.key("lost_bytes").plain(self.lost);
            j.key("losses").array(|j| {
                for loss in &self.losses {
                    j.object(|j| {
                        j.key("from").plain(loss.from);
                        j.key("to").plain(loss.to);
                        j.key("why").text(loss.why.as_bytes());
                    });
                }
            });
            j.key("more_losses").plain(self.more);
            j.key("notes").array(|j| self.notes.iter().for_each(|note| j.text(note.as_bytes())));
        });
        json.into_bytes()
    }

    fn lose(&mut self, from: u64, to: u64, why: impl Into<String>) {
        self.lost += to - from;
        if self.losses.len() < NAMED {
            self.losses.push(Loss { from, to, why: why.into() });
        } else {
            self.more += 1;
        }
    }
}

/// A damaged file.
struct Wreck {
    name: PathBuf,
    file: Arc<dyn DiskFile>,
    size: u64,
    watch: input::Watch,
}

impl Wreck {
    fn progress(&self, at: u64) {
        if let Some(watch) = &self.watch {
            watch(&self.name, at, Some(self.size));
        }
    }
}

/// Writes to `out` what is whole in `path`, a snapshot or a single log file.
pub fn salvage(
    path: &Path,
    options: &check::Options,
    now: UnixMillis,
    out: &mut dyn Write,
) -> Result<Salvaged> {
    let (kind, wreck, note) = open(path, options)?;
    let mut found = Salvaged {
        kind,
        bytes: wreck.size,
        kept: 0,
        lost: 0,
        losses: Vec::new(),
        more: 0,
        notes: note.into_iter().collect(),
    };
    match kind {
        Kind::Rdb => rdb::salvage(&wreck, now, out, &mut found)?,
        Kind::Log => log::salvage(&wreck, out, &mut found)?,
        other => {
            let what = format!(
                "{} is a {}: only snapshots and logs are salvaged",
                wreck.name.display(),
                other.word()
            );
            return Err(Failure::Usage(what));
        }
    }
    Ok(found)
}

/// The file, to be read anywhere, and what should be said about it.
fn open(path: &Path, options: &check::Options) -> Result<(Kind, Wreck, Option<String>)> {
    let Found::File(mut input) = input::open(path, &options.watch)? else {
        let what = format!("{} is a directory: its files are salvaged one by one", path.display());
        return Err(Failure::Usage(what));
    };
    let (name, kind) = (input.file.clone(), input.kind);
    let wreck = |file: Arc<dyn DiskFile>| -> Result<Wreck> {
        let size = file.size()?;
        Ok(Wreck { name: name.clone(), file, size, watch: options.watch.clone() })
    };
    if input.packing.is_none() && input.size.is_some() && !input::comes_once(path) {
        return Ok((kind, wreck(OsDisk::new().open(path, Mode::Read)?)?, None));
    }
    let (mut spool, mut note) = (Spool::new(IN_MEMORY), None);
    let mut piece = vec![0; STEP];
    loop {
        match input.read(&mut piece) {
            Ok(0) => break,
            Ok(got) => spool.put(&piece[..got]),
            Err(error) if Damage::of(&error).is_some() => {
                note = Some(format!("unpacked {} bytes, no more: {error}", spool.len()));
                break;
            }
            Err(error) => return Err(Failure::reading(&name, error)),
        }
    }
    Ok((kind, wreck(spool.into_file()?)?, note))
}
