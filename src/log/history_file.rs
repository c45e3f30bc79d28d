//! The keeper of `replication.toml`: every change of the history goes through here and is durable when it returns.
//!
//! Changes are rare (a start, a new base, a clean shutdown, later promotions) and made by whichever thread causes
//! them, one at a time; the data thread makes none while it serves.

use std::path::PathBuf;
use std::sync::Arc;

use crate::disk::{Disk, Result, durable, read_all};
use crate::error::Corrupt;
use crate::format::history::{History, RESERVE};

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

    pub fn get(&self) -> &History {
        &self.history
    }

    /// Changes the history; the change is durable when this returns. On an error the file holds the old or
    /// the new text, and this keeper the old.
    pub fn update(&mut self, change: impl FnOnce(&mut History)) -> Result<()> {
        let before = self.history.clone();
        change(&mut self.history);
        if self.history == before {
            return Ok(());
        }
        let written = self.write();
        if written.is_err() {
            self.history = before;
        }
        written
    }

    fn write(&mut self) -> Result<()> {
        durable::replace_in_reserve(&*self.disk, &self.path, &self.history.emit(), RESERVE)
    }
}
