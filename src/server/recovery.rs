//! From a data directory to a running history: the plan of [`crate::log::recovery`] carried out.
//!
//! ```text
//! tidy up ─► plan (decides, changes nothing) ─► load bases ─► replay log and ring ─► prepare the log's files
//!         ─► ring kept or refilled ─► new id (rule 1) ─► ready to append (and the ring may be resized)
//! ```
//!
//! Files are cut and moved only when everything is loaded: a start that fails or is ended before leaves the directory as
//! it found it, so that what the operator does about it meets the same files. Tidying up comes first: it only finishes or
//! takes back what a crash interrupted.
//!
//! All of it runs on a thread of its own while the server answers -LOADING. Replay goes through the engine's own
//! [`Replay`], so that a command means the same here and there. The position that comes out was counted from the bytes
//! that were applied; if it is not the one that the plan promised, the start is refused.

use std::io::{self, Read};
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::logging::{notice, warning};
use super::persist::{Cut, Files};
use super::{clock, process};
use crate::config::{AppendFsync, Config, names_differ};
use crate::disk::{Disk, DiskFile, Mode, OsDisk, durable};
use crate::engine::Node;
use crate::engine::replay::Replay;
use crate::error::{Corrupt, IoFailure};
use crate::format::history::{Cause, Role};
use crate::format::rdb::LoadError;
use crate::log::commit::{prepare, remove_leftovers, tidy_up};
use crate::log::history_file::HistoryFile;
use crate::log::plan::{self, Load, Plan, RingPlan};
use crate::log::rdb_probe::FormatProbe;
use crate::log::replay::RunReader;
use crate::log::segments::Paths;
use crate::planted::{Bug, planted};
use crate::ring::{Begin, Ring};
use crate::state::{History, Process, Server};
use crate::store::rdb::{LoadOptions, Origin, load};
use crate::store::{Limits, Store};
use crate::units::Offset;

/// A directory that is ready to be written to.
pub struct Recovered {
    pub store: Store,
    pub files: Files,
    pub ring: Ring,
    pub at: Cut,
    /// The log goes on here; what lies between this and `at` is in the ring only.
    pub log_from: Cut,
    /// Files of the log are kept, and end at `log_from`.
    pub has_segments: bool,
    /// A log without a base of its own: one is due if the log is on.
    pub needs_base: bool,
    /// The name before this start, and where it ended.
    pub previous: Option<Cut>,
    pub keys: u64,
    /// Those of them whose deadline has passed: hidden, and deleted later, as a part of the stream (rules 11, 12).
    pub expired: u64,
    /// An fsync of the log failed in the last run: a base is due before anything is served (rule 23).
    pub sealed: bool,
    /// A base holds what clients wrote on a writable replica.
    pub strays: bool,
    /// Bytes behind `at` that a crash of the machine may have taken, at most: replicas may have them (rule 5).
    pub declared_loss: u64,
    /// A segment without a stream byte, to be dropped once the next one is open.
    pub idle_segment: Option<String>,
}

/// How far loading is; for INFO and the log.
#[derive(Default)]
pub struct LoadProgress {
    pub total_bytes: AtomicU64,
    pub loaded_bytes: AtomicU64,
    pub keys: AtomicU64,
    /// As the snapshot being loaded tells it.
    pub used_mem: AtomicU64,
}

impl LoadProgress {
    /// For the log: how much of what.
    pub fn describe(&self) -> String {
        let (total, loaded) =
            (self.total_bytes.load(Ordering::Relaxed), self.loaded_bytes.load(Ordering::Relaxed));
        let keys = self.keys.load(Ordering::Relaxed);
        if total == 0 {
            return "looking at the files".into();
        }
        let percent = 100.0 * loaded as f64 / total as f64;
        format!("{percent:.0} % ({loaded} of {total} bytes, {keys} keys)")
    }
}

pub fn paths(config: &Config) -> Paths {
    let settings = &config.settings;
    Paths {
        data: settings.dir.clone(),
        log_dir: settings.appenddirname.clone(),
        log_name: settings.appendfilename.clone(),
        snapshot: settings.dbfilename.clone(),
    }
}

/// Makes the data directory if it is not there, durably: a power cut that took it would take what is acknowledged by then.
pub fn make_directory(dir: &Path) -> Result<(), String> {
    let disk = OsDisk::new();
    durable::make_dirs(&disk, dir).map_err(|failure| {
        let error = failure.source;
        format!("the data directory {} cannot be made: {error}; choose another with --dir", dir.display())
    })?;
    // A start may have died between the two. Who made it may have kept it to himself what is beside it.
    let is_new = !dir.join("replication.toml").exists();
    if let Some(failure) = is_new.then(|| disk.fsync_dir(durable::parent(dir)).err()).flatten() {
        warning!("Whether the data directory's own name survives a power cut is not known: {failure}");
    }
    Ok(())
}

/// Recovers the directory; the error is what an operator reads.
pub fn recover(disk: Arc<dyn Disk>, config: &Config, progress: &LoadProgress) -> Result<Recovered, String> {
    let started = Instant::now();
    names_differ(&config.settings)?;
    let paths = paths(config);
    let tidied = tidy_up(&*disk, &paths).map_err(text)?;
    tidied.done.iter().for_each(|done| notice!("{done}"));
    if let Some(lost) = tidied.lost {
        warning!("{lost}");
    }
    let settings = plan::Settings {
        appendonly: config.settings.appendonly,
        load_truncated: config.settings.aof_load_truncated,
        fresh_replid: process::random_id(),
        fresh_tag: process::random_u64(),
        boot_id: process::boot_id(),
    };
    let found = plan::recover(&*disk, &paths, &FormatProbe, &settings).map_err(text)?;
    let mut plan = found.plan.map_err(|refusal| refusal.to_string())?;
    let mut node = replaying_node(config);
    load_bases(&*disk, &plan, &mut node, config, progress)?;
    let mut ring = found.ring.map(|ring| *ring);
    replay(&*disk, &plan, &mut node, ring.as_ref(), progress)?;
    let mut refilled = None;
    if plan.aside.contains(&paths.log()) {
        // Before the log goes: a crash in between must not find a ring that asks for it.
        match (&plan.ring, &mut ring) {
            (RingPlan::Keep { start }, Some(ring)) => {
                if !planted(Bug::ForgetUnsealed) {
                    ring.keep(*start..plan.end, plan.db);
                }
                ring.forget_log();
                ring.flush().map_err(text)?;
            }
            (RingPlan::Refill { .. }, Some(_)) => {
                let capacity = config.settings.repl_backlog_size;
                refilled = Some(ready_ring(&*disk, &paths, &plan, ring.take(), capacity)?);
            }
            (_, None) => {}
        }
    }
    let prepared = prepare(Arc::clone(&disk), &paths, &mut plan).map_err(text)?;
    for name in remove_leftovers(&*disk, &paths.data, process::another_runs).map_err(text)? {
        notice!("removed {name}: the save that wrote it was killed");
    }
    let ring = match refilled {
        Some(ring) => ring,
        None => ready_ring(&*disk, &paths, &plan, ring, config.settings.repl_backlog_size)?,
    };
    if let Some(system) = disk.open(ring.path(), Mode::Read).map_err(text)?.unreserved_overwrites() {
        warning!(
            "{} lies on {system}, which reserves no space for overwrites: a full disk ends the server there. Keep space \
             free, or put the data directory on ext4 or XFS",
            ring.path().display()
        );
    }
    let synced = config.settings.appendonly && config.settings.appendfsync == AppendFsync::Always;
    let declared_loss = if plan.machine_crash && !synced { ring.capacity() } else { 0 };
    let mut recovered = begin(disk, paths, plan, prepared.segments, ring, role(config), &settings.boot_id)?;
    recovered.declared_loss = declared_loss;
    recovered.keys = node.store.key_count() as u64;
    recovered.expired = expired(&node.store, clock::now_ms());
    recovered.store = node.store;
    recovered.idle_segment = prepared.idle_segment;
    notice!(
        "DB loaded: {} keys at {}:{} in {:.3} seconds",
        recovered.keys,
        recovered.previous.map_or(recovered.at.replid, |previous| previous.replid),
        recovered.at.offset,
        started.elapsed().as_secs_f64()
    );
    Ok(recovered)
}

fn expired(store: &Store, now: i64) -> u64 {
    let volatile = store.dbs.iter().filter(|db| db.volatile > 0);
    volatile.map(|db| db.entries.iter().filter(|entry| entry.expires() <= now).count() as u64).sum()
}

fn text(failure: IoFailure) -> String {
    failure.to_string()
}

/// A node whose only use is to apply what is replayed.
fn replaying_node(config: &Config) -> Node {
    let store = Store::new(config.settings.databases as usize);
    let history = History::new(crate::units::ReplId::NONE);
    let server = Server::new(config.clone(), history, Process::default(), 0);
    Node::new(store, server, clock::now_ms())
}

// ---- loading ----

fn load_bases(
    disk: &dyn Disk,
    plan: &Plan,
    node: &mut Node,
    config: &Config,
    progress: &LoadProgress,
) -> Result<(), String> {
    let total = plan.load.iter().map(|load| load.commands_end.max(load.rdb)).sum::<u64>()
        + plan.replay.iter().map(|run| run.end.since(run.start)).sum::<u64>();
    progress.total_bytes.store(total, Ordering::Relaxed);
    for file in &plan.load {
        if file.rdb > 0 {
            load_rdb(disk, file, node, config, progress)?;
        }
        let Some(mut reader) = RunReader::of_load(disk, file).map_err(|e| e.to_string())? else { continue };
        let mut replay = Replay::new(node, 0);
        let mut bytes = Vec::new();
        while reader.next(None, &mut bytes).map_err(|e| e.to_string())? {
            apply(&mut replay, node, &bytes, progress)
                .map_err(|damage| damage.shifted(file.rdb).in_file(&file.path).to_string())?;
        }
        replay.finish(node);
    }
    Ok(())
}

fn load_rdb(
    disk: &dyn Disk,
    file: &Load,
    node: &mut Node,
    config: &Config,
    progress: &LoadProgress,
) -> Result<Origin, String> {
    let opened = disk.open(&file.path, Mode::Read).map_err(text)?;
    let mut input = FileReader::new(&*opened, file.rdb);
    let options = LoadOptions {
        limits: Limits::from_settings(&config.settings),
        verify: config.settings.rdbchecksum,
        now_ms: clock::now_ms(),
        input_len: file.rdb,
        ..LoadOptions::default()
    };
    let before = progress.loaded_bytes.load(Ordering::Relaxed);
    let key_delay = config.settings.key_load_delay.max(0) as u64;
    let mut into = node.store.snapshot();
    let loaded = load(&mut input, &options, &mut into, &mut |now| {
        progress.loaded_bytes.store(before + now.bytes, Ordering::Relaxed);
        progress.used_mem.store(now.used_mem, Ordering::Relaxed);
        let new = now.keys - progress.keys.swap(now.keys, Ordering::Relaxed).min(now.keys);
        // `key-load-delay`: makes a load slow enough for a test to look at.
        std::thread::sleep(Duration::from_micros(key_delay * new));
        ControlFlow::Continue(())
    });
    node.store.restore(into);
    match loaded {
        Ok(loaded) => {
            loaded.log_lines().iter().for_each(|line| notice!("{line}"));
            progress.loaded_bytes.store(before + file.rdb, Ordering::Relaxed);
            Ok(loaded.origin)
        }
        Err(error) => {
            let why = match (error, input.failure) {
                (_, Some(failure)) => failure.to_string(),
                (LoadError::Corrupt(damage), None) => damage.in_file(&file.path).to_string(),
                (LoadError::Io(error), None) => format!("{}: {error}", file.path.display()),
                (LoadError::Stopped, None) => format!("{}: loading was stopped", file.path.display()),
                (error @ LoadError::TooLong { .. }, None) => format!("{}: {error}", file.path.display()),
            };
            warning!("Terminating server after rdb file reading failure.");
            Err(format!("{why}; restore the file from a copy, or see what it holds with ringhold-inspect"))
        }
    }
}

/// A snapshot file of a full sync, as a store of its own.
pub fn load_file(disk: &dyn Disk, path: &Path, len: u64, config: &Config) -> Result<(Store, Origin), String> {
    let mut node = replaying_node(config);
    let file = Load { path: path.to_path_buf(), rdb: len, commands_end: len };
    let origin = load_rdb(disk, &file, &mut node, config, &LoadProgress::default())?;
    Ok((node.store, origin))
}

fn replay(
    disk: &dyn Disk,
    plan: &Plan,
    node: &mut Node,
    ring: Option<&Ring>,
    progress: &LoadProgress,
) -> Result<(), String> {
    for run in &plan.replay {
        let mut reader = RunReader::of_run(disk, run).map_err(|e| e.to_string())?;
        let mut replay = Replay::new(node, run.db);
        let mut bytes = Vec::new();
        while reader.next(ring, &mut bytes).map_err(|e| e.to_string())? {
            apply(&mut replay, node, &bytes, progress)
                .map_err(|damage| format!("replaying the stream from offset {}: {damage}", run.start))?;
        }
        let applied = replay.finish(node);
        if run.start + applied != run.end {
            return Err(format!(
                "replaying the stream from offset {}: whole units end at {}, not at {} as was proven before",
                run.start,
                run.start + applied,
                run.end
            ));
        }
    }
    Ok(())
}

fn apply(replay: &mut Replay, node: &mut Node, bytes: &[u8], progress: &LoadProgress) -> Result<(), Corrupt> {
    progress.loaded_bytes.fetch_add(bytes.len() as u64, Ordering::Relaxed);
    replay.feed(node, bytes)
}

// ---- ring and history ----

/// The ring as the plan wants it; a new one has the configured capacity.
fn ready_ring(
    disk: &dyn Disk,
    paths: &Paths,
    plan: &Plan,
    ring: Option<Ring>,
    capacity: u64,
) -> Result<Ring, String> {
    let begin = |at: Offset, db: u32| Begin {
        replid: plan.history.replid,
        begun: plan.history.begun,
        tag: plan.history.tag,
        at,
        db,
    };
    if let (RingPlan::Keep { start }, Some(mut ring)) = (&plan.ring, ring) {
        ring.keep(*start..plan.end, plan.db);
        ring.forget_outside().map_err(text)?;
        return Ok(ring); // another size is a matter for later: it may hold what the log lacks
    }
    let (at, db) = match &plan.ring {
        RingPlan::Refill { at, db } => (*at, *db),
        RingPlan::Keep { .. } => (plan.end, plan.db),
    };
    let mut ring = Ring::create(disk, &paths.ring(), capacity, begin(at, db)).map_err(text)?;
    for run in plan.replay.iter().filter(|run| run.end > at) {
        let mut reader = RunReader::of_run(disk, run).map_err(|e| e.to_string())?;
        let (mut bytes, mut offset) = (Vec::new(), run.start);
        while reader.next(None, &mut bytes).map_err(|e| e.to_string())? {
            let skip = at.since(offset).min(bytes.len() as u64) as usize;
            offset += bytes.len() as u64;
            if skip < bytes.len() {
                ring.append(&bytes[skip..], plan.db);
            }
        }
    }
    Ok(ring)
}

/// What the configuration makes of this server.
fn role(config: &Config) -> Role {
    match &config.settings.replicaof {
        None => Role::Primary,
        Some(primary) => Role::Replica { host: primary.host.clone(), port: primary.port },
    }
}

/// The new name of this execution, durable before anything is written under it (rule 1).
fn begin(
    disk: Arc<dyn Disk>,
    paths: Paths,
    plan: Plan,
    segments: crate::log::segments::Segments,
    mut ring: Ring,
    role: Role,
    boot_id: &str,
) -> Result<Recovered, String> {
    notice!("{}", plan.log_line);
    if let Some(loss) = &plan.loss {
        warning!("{loss}");
    }
    let old = plan.history.replid;
    let mut history = HistoryFile::recovered(Arc::clone(&disk), paths.history(), plan.history, boot_id);
    let was_replica = matches!(history.get().role, Role::Replica { .. });
    let stays = plan.fresh || matches!(role, Role::Replica { .. });
    history.update_role(role);
    if stays {
        history.save().map_err(text)?;
        // A power cut may have taken from the ring the name that `replication.toml` knows.
        if ring.replid() != history.get().replid {
            ring.set_replid(history.get().replid);
        }
    } else {
        // The configuration decides the role (rule 27): a replica's directory started as a primary is a promotion.
        let cause = if was_replica { Cause::Promotion } else { Cause::Start };
        let name = if planted(Bug::NameKept) { old } else { process::random_id() };
        history.begin(name, cause, plan.end, &mut ring, None).map_err(text)?;
    }
    let replid = history.get().replid;
    let (sealed, strays) = (history.get().sealed.is_some(), history.get().strays);
    let previous = (!stays).then_some(Cut { replid: old, offset: plan.end, db: plan.db });
    Ok(Recovered {
        store: Store::new(1),
        files: Files {
            disk,
            paths,
            history: Arc::new(Mutex::new(history)),
            segments: Arc::new(Mutex::new(segments)),
        },
        ring,
        at: Cut { replid, offset: plan.end, db: plan.db },
        log_from: Cut { replid: plan.log_from.replid, offset: plan.log_from.offset, db: plan.log_from.db },
        has_segments: !plan.keep_segments.is_empty(),
        needs_base: !plan.log_has_base,
        sealed,
        strays,
        declared_loss: 0,
        previous,
        keys: 0,
        expired: 0,
        idle_segment: None,
    })
}

// ---- reading RDB files ----

/// A part of a file as a reader, remembering what the disk said.
pub(super) struct FileReader<'a> {
    file: &'a dyn DiskFile,
    at: u64,
    end: u64,
    failure: Option<IoFailure>,
}

impl FileReader<'_> {
    /// The first `end` bytes.
    pub(super) fn new(file: &dyn DiskFile, end: u64) -> FileReader<'_> {
        FileReader { file, at: 0, end, failure: None }
    }
}

impl Read for FileReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = (buf.len() as u64).min(self.end - self.at) as usize;
        match self.file.read_at(&mut buf[..want], self.at) {
            Ok(n) => {
                self.at += n as u64;
                Ok(n)
            }
            Err(failure) => {
                self.failure = Some(failure);
                Err(io::Error::other("the disk failed"))
            }
        }
    }
}
