//! Snapshots at a cut, written on a thread of their own: BGSAVE, SAVE, the base of a log rewrite.
//!
//! All are one thing: the store is cloned at a place between two units (a fraction of a millisecond), and a thread
//! encodes the clone while writes go on. They differ in where the file goes and in what becomes of the log:
//!
//! | kind | file | on disk, in this order (a crash in between leaves the old base in force) |
//! |---|---|---|
//! | save | `temp-PID.rdb` → `dump.rdb` | contents fsynced; `replication.toml` names old and new; rename, directory fsynced; `replication.toml` forgets the old; spill segments before the cut dropped |
//! | rewrite | `….N.base.rdb` (`.aof`, if written as commands), a fresh name | contents fsynced; `replication.toml` names it; manifest committed, old segments dropped; `replication.toml` forgets bases before the cut |
//! | payload | none, or one without a name | nothing of this directory |
//! | export | any file | contents fsynced, rename; no base, nothing recorded (rule 26) |
//!
//! Payload and export say so in an AUX field: should an operator put one in the place of `dump.rdb`, it is his restore, and
//! no base of the history that it names.
//!
//! A snapshot that a full sync overtakes is of a history that ends: it is given up, and the switch waits for its end
//! ([`super::adopt`]).
//!
//! With `appendfsync always` a base is published only when the log is durable up to its cut (rule 13): a base ahead of
//! a log that a power cut shortened would claim bytes that no client was promised.

use std::io::{self, BufWriter, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::persist::{Cut, Files, lock};
use crate::disk::{Disk, DiskFile, Mode, durable};
use crate::format::history::{Base, BaseFile};
use crate::format::rdb::EXPORT_AUX;
use crate::log::hands;
use crate::log::history_file::HistoryFile;
use crate::log::thread::LogSender;
use crate::log::writer::Rotated;
use crate::planted::{Bug, planted};
use crate::store::rdb::{self, SaveOptions};
use crate::store::{Snapshot, commands};
use crate::units::Position;

/// What is done with the file.
pub enum Kind {
    /// `dump.rdb`; `rotated` if a spill was rotated at the cut.
    Save {
        temporary: PathBuf,
        target: PathBuf,
        rotated: Option<mpsc::Receiver<Result<Rotated, String>>>,
    },
    Rewrite {
        rotated: mpsc::Receiver<Result<Rotated, String>>,
        /// `aof-use-rdb-preamble no`.
        commands: Option<AsCommands>,
    },
    Export {
        temporary: PathBuf,
        target: PathBuf,
    },
    /// For replicas: [`super::full_sync`] says where the bytes go.
    Payload,
}

/// How a base is written as commands.
pub struct AsCommands {
    /// With a timestamp at the top.
    pub timestamp: bool,
}

/// A snapshot to be written.
pub struct Job {
    pub kind: Kind,
    pub snapshot: Snapshot,
    pub cut: Cut,
    pub files: Files,
    /// It holds what clients wrote on a writable replica.
    pub strays: bool,
    pub compress: bool,
    pub checksum: bool,
    /// Microseconds to wait after each key (`rdb-key-save-delay`, a test's tool).
    pub key_delay_micros: u64,
    pub progress: Arc<Progress>,
    /// With `appendfsync always`: wait until this log is durable up to the cut.
    pub durable_first: Option<LogSender>,
    /// The log failed, and goes on in a new segment at the cut once this snapshot is in force (rule 23).
    pub reopened: Option<LogSender>,
    pub used_memory: u64,
    pub ctime: i64,
    pub started: Instant,
}

impl Job {
    pub(super) fn written(&self, saved: &Saved) -> Written {
        let placed = match &self.kind {
            Kind::Save { .. } => Placed::Snapshot,
            Kind::Rewrite { .. } => Placed::InLog,
            Kind::Export { .. } | Kind::Payload => Placed::Nowhere,
        };
        Written { placed, bytes: saved.bytes, keys: saved.keys, took: self.started.elapsed(), cut: self.cut }
    }
}

/// Seen by the data thread while a snapshot is written.
#[derive(Default)]
pub struct Progress {
    pub keys: AtomicU64,
    /// At the end: `Segments::closed_len`.
    pub log_closed_len: AtomicU64,
    pub cancelled: AtomicBool,
}

/// What recovery makes of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placed {
    Snapshot,
    InLog,
    /// It is no base (rule 26).
    Nowhere,
}

/// A snapshot that is in force.
#[derive(Debug)]
pub struct Written {
    pub placed: Placed,
    pub bytes: u64,
    pub keys: u64,
    pub took: Duration,
    pub cut: Cut,
}

/// Writes the snapshot; on an error everything is as before, but for the log having a segment more.
pub fn write(job: &Job) -> Result<Written, String> {
    let (path, base) = match &job.kind {
        Kind::Save { temporary, .. } | Kind::Export { temporary, .. } => (temporary.clone(), None),
        Kind::Payload => return Err("a payload has no file".into()),
        Kind::Rewrite { rotated, commands } => {
            let first_segment = rotation(job, rotated)?.seq;
            let (name, seq) = lock(&job.files.segments).next_base(first_segment, commands.is_some());
            (job.files.paths.log_file(&name), Some(NewBase { name, seq, first_segment }))
        }
    };
    let result = encode(job, &path).and_then(|saved| {
        wait_until_durable(job)?;
        match (&job.kind, &base) {
            (Kind::Save { target, rotated, .. }, _) => publish(job, &path, target, rotated.as_ref(), &saved)?,
            (Kind::Rewrite { .. }, Some(base)) => commit(job, base, &saved)?,
            (Kind::Export { target, .. }, _) => rename(job, &path, target)?,
            (Kind::Rewrite { .. } | Kind::Payload, _) => {}
        }
        if let Some(log) = &job.reopened {
            log.base_is_durable();
        }
        Ok(job.written(&saved))
    });
    // A step after the manifest's replacement may have failed, or that half-way: then the manifest may name the file.
    let named = base.as_ref().is_some_and(|base| lock(&job.files.segments).may_name(&base.name));
    if result.is_err() && !named {
        // The failure that matters is reported; this only gives space back.
        let _secondary = durable::remove_if_there(&*job.files.disk, &path);
    }
    job.progress.log_closed_len.store(lock(&job.files.segments).closed_len(), Ordering::Relaxed);
    result
}

/// The file as written and fsynced, not yet in force.
pub(super) struct Saved {
    pub bytes: u64,
    pub keys: u64,
    checksum: u64,
}

pub(super) fn wait_until_durable(job: &Job) -> Result<(), String> {
    let Some(log) = &job.durable_first else { return Ok(()) };
    if planted(Bug::PayloadEarly) {
        return Ok(());
    }
    let (send, receive) = mpsc::channel();
    log.sync(Box::new(move |done| {
        let _asker_gone = send.send(done);
    }));
    log.work(true);
    // A log that was switched off meanwhile synced all it had when it was closed.
    let durable = await_log(job, &receive).or_else(|why| {
        let durable = log.durable();
        if durable >= job.cut.offset { Ok(durable) } else { Err(why) }
    })?;
    if durable < job.cut.offset {
        return Err(format!("the log is durable only up to {durable}, before the cut {}", job.cut.offset));
    }
    Ok(())
}

/// What the log's thread answers to an order. A full disk may delay it; that must not keep a cancelled job.
fn await_log<T>(job: &Job, receive: &mpsc::Receiver<Result<T, String>>) -> Result<T, String> {
    loop {
        match receive.recv_timeout(Duration::from_millis(20)) {
            Ok(answer) => return answer,
            Err(RecvTimeoutError::Timeout) if job.progress.cancelled.load(Ordering::Relaxed) => {
                return Err("cancelled while it waited for the log".into());
            }
            Err(RecvTimeoutError::Timeout) if hands::is_simulated() => {
                return Err("the log does not answer".into()); // it had its turn, and there is no other thread
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => {
                return Err("the log ended before it did what was asked of it".into());
            }
        }
    }
}

/// A base of the log that is being written.
struct NewBase {
    name: String,
    seq: u64,
    /// The segment opened at the cut.
    first_segment: u64,
}

/// The segment that the log opens at the cut.
fn rotation(job: &Job, receive: &mpsc::Receiver<Result<Rotated, String>>) -> Result<Rotated, String> {
    let cut = job.cut.offset;
    let rotated = await_log(job, receive)?;
    if rotated.start != cut {
        return Err(format!("the log opened its segment at {}, not at the cut {cut}", rotated.start));
    }
    Ok(rotated)
}

fn publish(
    job: &Job,
    temporary: &Path,
    target: &Path,
    rotated: Option<&mpsc::Receiver<Result<Rotated, String>>>,
    saved: &Saved,
) -> Result<(), String> {
    let rotated = rotated.map(|receive| rotation(job, receive)).transpose()?;
    let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    let base = base(job, &name, saved);
    let mut history = lock(&job.files.history);
    note_strays(job, &mut history)?;
    history.announce_base(base.clone()).map_err(|e| e.to_string())?;
    let same_name = |other: &Base| other.files.iter().any(|file| file.name == name);
    if planted(Bug::BaseEarly) {
        history.confirm_base(&base, same_name).map_err(|e| e.to_string())?;
    }
    rename(job, temporary, target)?;
    history.confirm_base(&base, same_name).map_err(|e| e.to_string())?;
    drop(history);
    match rotated {
        Some(rotated) => lock(&job.files.segments).drop_before(rotated.seq).map_err(|e| e.to_string()),
        None => Ok(()),
    }
}

fn rename(job: &Job, temporary: &Path, target: &Path) -> Result<(), String> {
    durable::publish(&*job.files.disk, temporary, target).map_err(|e| e.to_string())
}

/// Before a base with strays is there: a restart must know.
fn note_strays(job: &Job, history: &mut HistoryFile) -> Result<(), String> {
    history.update(|history| history.strays |= job.strays).map_err(|e| e.to_string())
}

fn commit(job: &Job, new: &NewBase, saved: &Saved) -> Result<(), String> {
    let base = base(job, &job.files.paths.relative(&new.name), saved);
    let mut history = lock(&job.files.history);
    note_strays(job, &mut history)?;
    history.announce_base(base.clone()).map_err(|e| e.to_string())?;
    lock(&job.files.segments)
        .commit_base(&new.name, new.seq, job.cut.offset, new.first_segment)
        .map_err(|e| e.to_string())?;
    // dump.rdb stays named as long as it is there: without a name it would be an operator's restore (rule 15).
    let of_the_log =
        |other: &Base| other.files.iter().any(|file| file.name.starts_with(&job.files.paths.relative("")));
    history.confirm_base(&base, of_the_log).map_err(|e| e.to_string())
}

fn base(job: &Job, name: &str, saved: &Saved) -> Base {
    let file = BaseFile { name: name.to_string(), len: saved.bytes, checksum: saved.checksum };
    Base { cut: job.cut.offset, db: job.cut.db, placed: false, files: vec![file] }
}

/// Bytes between two fsyncs while a snapshot is written, so that the last one is short.
const SYNC_EVERY: u64 = 32 << 20;

/// A new file that hands its bytes to the disk as it grows.
pub(super) struct Growing {
    file: Arc<dyn DiskFile>,
    len: u64,
    unsynced: u64,
}

impl Growing {
    /// Replaces what a crash may have left under this temporary or fresh name.
    pub(super) fn create(disk: &dyn Disk, path: &Path) -> crate::disk::Result<Growing> {
        durable::remove_if_there(disk, path)?;
        Ok(Growing { file: disk.open(path, Mode::CreateNew)?, len: 0, unsynced: 0 })
    }

    pub(super) fn sync(&self) -> crate::disk::Result<()> {
        self.file.fdatasync()
    }
}

impl Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.len).map_err(|failure| failure.source)?;
        self.len += bytes.len() as u64;
        self.unsynced += bytes.len() as u64;
        if self.unsynced >= SYNC_EVERY {
            self.sync().map_err(|failure| failure.source)?;
            self.unsynced = 0;
        }
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(super) fn encode(job: &Job, path: &Path) -> Result<Saved, String> {
    let failed = |error: io::Error| format!("writing {}: {error}", path.display());
    let file = Growing::create(&*job.files.disk, path).map_err(|failure| failure.to_string())?;
    let mut out = BufWriter::with_capacity(256 * 1024, file);
    let saved = encode_into(job, &mut out).map_err(failed)?;
    let file = out.into_inner().map_err(|error| failed(error.into_error()))?;
    if !planted(Bug::SnapshotFsync) {
        file.sync().map_err(|failure| failure.to_string())?;
    }
    Ok(saved)
}

pub(super) fn encode_into(job: &Job, out: &mut dyn Write) -> io::Result<Saved> {
    let position = Position { replid: job.cut.replid, offset: job.cut.offset };
    let cut = rdb::Cut { position, db: i64::from(job.cut.db) };
    let each_key = job.key_delay_micros > 0;
    let mut watch = |progress: rdb::Progress| {
        job.progress.keys.store(progress.keys, Ordering::Relaxed);
        delay(job);
        if job.progress.cancelled.load(Ordering::Relaxed) {
            ControlFlow::Break(())
        } else {
            ControlFlow::Continue(())
        }
    };
    if let Kind::Rewrite { commands: Some(AsCommands { timestamp }), .. } = job.kind {
        let timestamp = timestamp.then_some(job.ctime);
        let options = commands::Options { cut, timestamp, each_key };
        let saved = commands::save(&job.snapshot, &options, out, &mut watch)?;
        return Ok(Saved { bytes: saved.bytes, keys: saved.keys, checksum: saved.checksum });
    }
    let exported = matches!(job.kind, Kind::Save { .. } | Kind::Export { .. });
    let elsewhere = matches!(job.kind, Kind::Export { .. } | Kind::Payload);
    let options = SaveOptions {
        compress: job.compress,
        checksum: job.checksum,
        // Elsewhere, without replication.toml, data with strays are nobody's position.
        cut: Some(cut).filter(|_| !(exported && job.strays)),
        aof_base: matches!(job.kind, Kind::Rewrite { .. }),
        ctime: job.ctime,
        used_mem: job.used_memory,
        each_key,
        aux: elsewhere.then(|| (EXPORT_AUX.to_string(), b"1".to_vec())).into_iter().collect(),
        ..SaveOptions::default()
    };
    let saved = rdb::save(&job.snapshot, &options, out, &mut watch)?;
    Ok(Saved { bytes: saved.bytes, keys: saved.keys, checksum: saved.checksum })
}

/// `rdb-key-save-delay`: makes a save slow enough for a test to look at; heeds a cancellation meanwhile.
fn delay(job: &Job) {
    let until = Instant::now() + Duration::from_micros(job.key_delay_micros);
    while Instant::now() < until && !job.progress.cancelled.load(Ordering::Relaxed) {
        std::thread::sleep((until - Instant::now()).min(Duration::from_millis(20)));
    }
}
