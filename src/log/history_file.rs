//! The keeper of `replication.toml`: every change of the history goes through here and is durable when it returns.
//!
//! Changes are rare (a start, a new base, a clean shutdown, later promotions) and made by whichever thread causes
//! them, one at a time; the data thread makes none while it serves.

use std::path::PathBuf;
use std::sync::Arc;

use super::thread::LogSender;
use super::writer::Closed;
use crate::disk::{Disk, Result, durable, read_all};
use crate::error::Corrupt;
use crate::format::history::{Base, Cause, Clean, History, RESERVE, Role, Sealed, SegmentLen};
use crate::planted::{Bug, planted};
use crate::ring::Ring;
use crate::units::{Offset, ReplId};

pub struct HistoryFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    history: History,
}

/// What stands in the directory.
pub enum Kept {
    Nothing,
    History(Box<History>),
    Damaged(Corrupt),
}

/// Reads `replication.toml`.
pub fn read(disk: &dyn Disk, path: &std::path::Path) -> Result<Kept> {
    if !disk.exists(path)? {
        return Ok(Kept::Nothing);
    }
    let bytes = read_all(disk, path, 16 << 20)?;
    Ok(match History::parse(&bytes) {
        Ok(history) => Kept::History(Box::new(history)),
        Err(damage) => Kept::Damaged(damage.in_file(path)),
    })
}

impl HistoryFile {
    /// Writes `history` as the first of its file.
    pub fn create(disk: Arc<dyn Disk>, path: PathBuf, history: History) -> Result<HistoryFile> {
        let mut file = HistoryFile { disk, path, history };
        file.write()?;
        Ok(file)
    }

    /// Takes a recovered history. Nothing is written: [`HistoryFile::begin`] or [`HistoryFile::save`] follows. From then on
    /// the file names the running boot, `boot_id`.
    pub fn recovered(disk: Arc<dyn Disk>, path: PathBuf, mut history: History, boot_id: &str) -> HistoryFile {
        history.boot_id = boot_id.into();
        HistoryFile { disk, path, history }
    }

    pub fn get(&self) -> &History {
        &self.history
    }

    /// Changes the history; the change is durable when this returns. On an error the file holds the old or
    /// the new text, and this keeper the old.
    pub fn update(&mut self, change: impl FnOnce(&mut History)) -> Result<()> {
        let before = self.history.clone();
        change(&mut self.history);
        self.history.boot_id.clone_from(&before.boot_id); // a new history is of this boot as well
        if self.history == before {
            return Ok(());
        }
        let written = self.write();
        if written.is_err() {
            self.history = before;
        }
        written
    }

    /// Writes the file as it stands: at a start that takes no new name (a fresh history, a replica).
    pub fn save(&mut self) -> Result<()> {
        self.history.clean = None;
        self.write()
    }

    /// The role is written with the next change.
    pub fn update_role(&mut self, role: Role) {
        self.history.role = role;
    }

    /// The history goes on under `replid` from `at` on (rule 1). `log` is `None` where no segment is open yet: the
    /// first opening then carries the name.
    pub fn begin(
        &mut self,
        replid: ReplId,
        cause: Cause,
        at: Offset,
        ring: &mut Ring,
        log: Option<&LogSender>,
    ) -> Result<()> {
        match planted(Bug::NameUnrecorded) {
            true => self.history.rename(replid, at, cause),
            false => self.update(|history| history.rename(replid, at, cause))?,
        }
        ring.set_replid(replid);
        if let Some(log) = log {
            log.set_replid(replid);
        }
        Ok(())
    }

    /// Names a base beside the present ones, before it gets its name on disk (rule 15).
    pub fn announce_base(&mut self, base: Base) -> Result<()> {
        let base = Base { placed: false, ..base };
        self.update(|history| {
            history.bases.retain(|old| old.files != base.files);
            history.bases.push(base);
        })
    }

    /// The announced base has its name on disk, durably; those that it replaces go.
    pub fn confirm_base(&mut self, base: &Base, replaces: impl Fn(&Base) -> bool) -> Result<()> {
        self.update(|history| {
            history.bases.retain(|old| old.files == base.files || !replaces(old));
            for named in history.bases.iter_mut().filter(|named| named.files == base.files) {
                named.placed = true;
            }
            history.sealed = history.sealed.filter(|sealed| sealed.to > base.cut);
        })
    }

    /// An fsync failed: what the log holds of this range must not be relied on, also after a restart on the same boot, when
    /// the page cache may still show it (rule 23). A base with a later cut ends that.
    pub fn seal(&mut self, range: Sealed) -> Result<()> {
        self.update(|history| {
            if history.bases.iter().any(|base| base.placed && base.cut >= range.to) {
                return; // it came faster than this
            }
            let before = history.sealed.unwrap_or(range);
            history.sealed = Some(Sealed { from: before.from.min(range.from), to: before.to.max(range.to) });
        })
    }

    /// The last act of a clean shutdown, after the log was closed and synced, and the ring flushed. All up to its end
    /// is to be found again, or the next start is refused: a cache names offset 0 (rule 7).
    pub fn mark_clean(&mut self, closed: &Closed) -> Result<()> {
        let segments = closed.segments.iter().map(|(name, len)| SegmentLen { name: name.clone(), len: *len });
        let (end, db) = (closed.place.offset, closed.place.db);
        let clean = Clean { end, db, segments: segments.collect() };
        self.update(|history| {
            (history.offset_hint, history.db_hint) = (clean.end, clean.db);
            history.clean = Some(clean);
        })
    }

    fn write(&mut self) -> Result<()> {
        durable::replace_in_reserve(&*self.disk, &self.path, &self.history.emit(), RESERVE)
    }
}
