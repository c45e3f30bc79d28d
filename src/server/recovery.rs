//! From a data directory to a running history: recovery as the driver sees it.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::persist::{Cut, Files};
use super::process;
use crate::config::Settings;
use crate::disk::OsDisk;
use crate::format::history::{Born, History};
use crate::format::manifest::Manifest;
use crate::log::history_file::HistoryFile;
use crate::log::segments::{Paths, Segments};
use crate::ring::{Begin, Ring};
use crate::store::Store;
use crate::units::Offset;

/// A directory that is ready to be written to.
pub struct Recovered {
    pub store: Store,
    pub files: Files,
    pub ring: Ring,
    pub at: Cut,
    /// The base that the ring must not run away from while the log is off.
    pub base: Option<Cut>,
}

pub fn paths(settings: &Settings) -> Paths {
    Paths {
        data: settings.dir.clone(),
        log_dir: settings.appenddirname.clone(),
        log_name: settings.appendfilename.clone(),
        snapshot: settings.dbfilename.clone(),
    }
}

pub fn recover(settings: &Settings) -> Result<Recovered, String> {
    let disk: Arc<dyn crate::disk::Disk> = Arc::new(OsDisk::new());
    let paths = paths(settings);
    let replid = process::random_id();
    let tag = process::random_u64();
    let history = History::new(replid, Offset::ZERO, Born::Empty, tag);
    let text = |failure: crate::error::IoFailure| failure.to_string();
    let history = HistoryFile::create(disk.clone(), paths.history(), history).map_err(text)?;
    let begin = Begin { replid, begun: Offset::ZERO, tag, at: Offset::ZERO, db: 0 };
    let ring = Ring::create(&*disk, &paths.ring(), settings.repl_backlog_size, begin).map_err(text)?;
    let segments = Segments::new(disk.clone(), paths.clone(), Manifest::default()).map_err(text)?;
    let at = Cut { replid, offset: Offset::ZERO, db: 0 };
    let files = Files {
        disk,
        paths,
        history: Arc::new(Mutex::new(history)),
        segments: Arc::new(Mutex::new(segments)),
    };
    Ok(Recovered { store: Store::new(settings.databases as usize), files, ring, at, base: None })
}

/// Makes the data directory if it is not there.
pub fn make_directory(dir: &Path) -> Result<(), String> {
    std::fs::create_dir_all(dir).map_err(|error| {
        format!("the data directory {} cannot be made: {error}; choose another with --dir", dir.display())
    })
}
