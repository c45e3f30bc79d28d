//! Another history taken over after a full sync, in one commit (rule 4).
//!
//! The new generation is filled beside the old one; replacing `replication.toml`, which names the generation, is the
//! commit. In this order:
//!
//! | step | a crash after it comes back |
//! |---|---|
//! | the payload becomes `dump.rdb.gN`, the ring `backlog.ring.gN`, the manifest `….manifest.gN` with the first segment, opened at the cut | at the old position; what waits for generation N is removed |
//! | `replication.toml` names generation N, the new id, its lineage and the base (**commit**) | at the cut; the renames are finished |
//! | the three take their names; the old generation's segments go | at the cut |
//!
//! The base is the payload as it came: nothing is encoded again before the switch. A log then begins without a base of
//! its own (as after a start on a lone snapshot); a rewrite gives it one soon.
//!
//! Rejected: dropping the old files first, as stock does, which leaves a replica with nothing when the disk fails or
//! the machine dies in between.

use std::path::Path;
use std::sync::{Arc, Mutex};

use super::history_file::HistoryFile;
use super::segments::{Paths, Segments, pending};
use super::thread::{LogThread, Opening, Waker};
use super::writer::{Options, lock};
use crate::disk::{Disk, Mode, Result, durable};
use crate::format::aof::Place;
use crate::format::history::{Ancestor, Base, BaseFile, Born, History, Role};
use crate::ring::{Begin, Ring};
use crate::units::Offset;

/// A payload that is on disk, fsynced, and was loaded.
pub struct Arrived<'a> {
    pub payload: &'a Path,
    /// What it equals.
    pub cut: Place,
    /// Where `cut.replid` came into force.
    pub begun: Offset,
    pub born: Born,
    pub lineage: Vec<Ancestor>,
    pub role: Role,
    /// Drawn for this history's ring.
    pub tag: u64,
    pub ring_capacity: u64,
    /// The log begins at the cut; `None`: there is none.
    pub log: Option<(Options, Waker)>,
}

/// The new generation, in force.
pub struct Adopted {
    pub segments: Arc<Mutex<Segments>>,
    pub ring: Ring,
    pub log: Option<LogThread>,
    /// What `replication.toml` says now.
    pub history: History,
}

/// Takes the payload over. On an error before the commit the old generation is as it was.
pub fn adopt(
    disk: &Arc<dyn Disk>,
    paths: &Paths,
    history: &Mutex<HistoryFile>,
    old: &Mutex<Segments>,
    arrived: Arrived<'_>,
) -> Result<Adopted> {
    let generation = lock(history).get().generation + 1;
    let (snapshot, ring_path) = (pending(&paths.snapshot(), generation), pending(&paths.ring(), generation));
    let base = base_of(&**disk, paths, &arrived)?;
    durable::publish(&**disk, arrived.payload, &snapshot)?;
    let Place { replid, offset, db } = arrived.cut;
    let begin = Begin { replid, begun: arrived.begun, tag: arrived.tag, at: offset, db };
    let mut ring = Ring::create(&**disk, &ring_path, arrived.ring_capacity, begin)?;
    let mut old = lock(old); // to the end: its log must not open a segment of the same number
    let mut next = old.next_generation(generation);
    next.name_pending()?;
    let segments = Arc::new(Mutex::new(next));
    let log = match arrived.log {
        None => None,
        Some((options, waker)) => {
            let opening = Opening::new(Arc::clone(&segments), options, arrived.cut, offset);
            Some(LogThread::start(opening, waker)?)
        }
    };
    let mut new = History::new(replid, arrived.begun, arrived.born, arrived.tag);
    (new.told, new.generation, new.role) = (true, generation, arrived.role);
    (new.offset_hint, new.db_hint) = (offset, db);
    (new.lineage, new.bases) = (arrived.lineage, vec![base]);
    lock(history).update(|history| *history = new.clone())?;
    old.retire();
    disk.rename(&ring_path, &paths.ring())?;
    disk.rename(&snapshot, &paths.snapshot())?;
    disk.fsync_dir(&paths.data)?; // before the old generation's segments go
    lock(&segments).finish_generation()?;
    ring.is_now_at(&paths.ring());
    Ok(Adopted { segments, ring, log, history: new })
}

fn base_of(disk: &dyn Disk, paths: &Paths, arrived: &Arrived<'_>) -> Result<Base> {
    let file = disk.open(arrived.payload, Mode::Read)?;
    let len = file.size()?;
    let mut trailer = [0; 8];
    file.read_at(&mut trailer, len.saturating_sub(8))?;
    let named = BaseFile { name: paths.snapshot.clone(), len, checksum: u64::from_le_bytes(trailer) };
    Ok(Base { cut: arrived.cut.offset, db: arrived.cut.db, placed: true, files: vec![named] })
}
