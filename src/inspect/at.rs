//! The state of a data directory at an earlier place, or at its end, as an RDB file.
//!
//! ```text
//! the plan of a start (changes nothing) ─► base loaded ─► log and ring replayed through the engine, up to the place ─► RDB
//! ```
//!
//! The plan takes the latest base, which may lie behind the place; then the log's own is tried, as if the snapshot
//! were not there; for a time, that one first. What the file holds is the state after the last whole unit up to the place. It is an export:
//! it names no position, since a server that went on from it would go another way than the history did.
//!
//! A log of another server that stands alone, as one file, is replayed the same way, from its first byte to its end.
//!
//! This alone, besides the server, needs the whole dataset in memory.

use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::check::{self, layout, look};
use super::input::Watch;
use super::text::grouped;
use super::{Failure, Result};
use crate::config::Config;
use crate::disk::{Disk, DiskFile, Mode, OsDisk};
use crate::engine::Node;
use crate::engine::replay::Replay;
use crate::error::{Corrupt, IoFailure};
use crate::format::aof::Strip;
use crate::format::framing::{Command, Framer, Sink, Units};
use crate::log::plan::{Plan, Run, Source};
use crate::log::rdb_probe::{FormatProbe, Positioned};
use crate::log::replay::{ReplayError, RunReader};
use crate::log::segments::Paths;
use crate::log::survey::RdbProbe;
use crate::ring::Ring;
use crate::state::{History, Process, Server};
use crate::store::Store;
use crate::store::rdb::{LoadOptions, SaveOptions, load, save};
use crate::units::{Offset, ReplId, UnixMillis};

/// Databases that a log may select.
const DATABASES: usize = 1024;
const PIECE: usize = 256 << 10;

/// Which state is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Offset(Offset),
    /// The last unit in front of the first `#TS:` line that is later, in Unix seconds.
    Time(i64),
    End,
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    pub replid: ReplId,
    /// Behind the last unit that is in it; `None` for what another server wrote, whose offsets nobody knows.
    pub offset: Option<Offset>,
    pub keys: u64,
    /// Bytes of commands that were replayed.
    pub replayed: u64,
}

/// Writes the state of `directory` at `moment` to `out`.
pub fn write(
    directory: &Path,
    moment: Moment,
    options: &check::Options,
    now: UnixMillis,
    out: &mut dyn Write,
) -> Result<State> {
    let disk = OsDisk::new();
    if !disk.is_dir(directory) {
        return Err(Failure::Usage(format!("{} is no data directory", directory.display())));
    }
    let paths = layout(&disk, directory, &options.names)?;
    let (mut plan, mut ring) = planned(&disk, &paths)?;
    // How old a snapshot is nobody knows for sure: the log's own base is older than the log's times.
    if matches!(moment, Moment::Time(_))
        && let Ok(of_log) = planned_from_log(&paths)
        && !of_log.0.replay.is_empty()
    {
        (plan, ring) = of_log;
    }
    let mut place = place(&disk, &plan, moment)?;
    if place.is_some_and(|place| place < base(&plan)) {
        let latest = base(&plan);
        (plan, ring) = planned_from_log(&paths)?;
        place = self::place(&disk, &plan, moment)?;
        if let Some(place) = place.filter(|place| *place < base(&plan)) {
            let earliest = latest.min(base(&plan));
            let what = format!("nothing is held of the state at offset {place}: the earliest is {earliest}");
            return Err(Failure::Usage(what));
        }
    }
    if let Some(place) = place.filter(|place| *place > plan.end) {
        let what = format!("the stream ends at offset {}, in front of {place}", plan.end);
        return Err(Failure::Usage(what));
    }
    let mut state = Replayed::new(now, &options.watch);
    let counted = state.load(&disk, &plan, now)?;
    let offset = state.replay(&disk, &plan, ring.as_deref(), place)?;
    let keys = state.save(now, out)?;
    let offset = (!plan.fresh && counted).then_some(offset);
    Ok(State { replid: plan.history.replid, offset, keys, replayed: state.bytes })
}

/// Writes the state behind the last whole unit of a log of one file, which may begin with a snapshot. `name` is what messages
/// call it. How many of its last bytes are no whole unit.
pub fn of_log(
    file: &dyn DiskFile,
    name: &Path,
    watch: &Watch,
    now: UnixMillis,
    out: &mut dyn Write,
) -> Result<u64> {
    let mut magic = [0; 6];
    let got = file.read_at(&mut magic, 0)?;
    let begins_with_rdb = magic[..got].starts_with(b"REDIS") || &magic[..got] == b"VALKEY";
    let rdb = if begins_with_rdb {
        let end = FormatProbe.preamble_end(file)?;
        end.map_err(|damage| Failure::Corrupt(damage.in_file(name)))?
    } else {
        0
    };
    let mut state = Replayed::new(now, watch);
    if rdb > 0 {
        state.load_rdb(file, name, rdb, now)?;
    }
    let torn = state.commands(file, name, rdb)?;
    state.save(now, out)?;
    Ok(torn)
}

/// The plan of a start that finds no snapshot beside the log, under whichever name.
fn planned_from_log(paths: &Paths) -> Result<(Plan, Option<Box<Ring>>)> {
    let mut disk = Hiding { disk: OsDisk::new(), hidden: vec![paths.snapshot()] };
    loop {
        let (plan, ring) = planned(&disk, paths)?;
        let is_beside = |path: &PathBuf| path.parent() == Some(&paths.data) && *path != paths.old_log();
        match plan.load.iter().map(|load| load.path.clone()).find(is_beside) {
            Some(path) if !disk.hidden.contains(&path) => disk.hidden.push(path),
            _ => return Ok((plan, ring)),
        }
    }
}

fn planned(disk: &dyn Disk, paths: &Paths) -> Result<(Plan, Option<Box<Ring>>)> {
    let found = look(disk, paths)?;
    let plan =
        found.plan.map_err(|refusal| Failure::Usage(format!("a start would be refused: {refusal}")))?;
    Ok((plan, found.ring))
}

/// The offset that is loaded before anything is replayed.
fn base(plan: &Plan) -> Offset {
    plan.replay.first().map_or(plan.end, |run| run.start)
}

/// The offset that is wanted; `None`: the end.
fn place(disk: &OsDisk, plan: &Plan, moment: Moment) -> Result<Option<Offset>> {
    let is_foreign = plan.load.iter().any(|load| load.commands_end > load.rdb);
    if is_foreign && moment != Moment::End {
        let what = "another server wrote this log: it has no offsets, and only its end can be shown";
        return Err(Failure::Usage(what.into()));
    }
    match moment {
        Moment::End => Ok(None),
        Moment::Offset(offset) => Ok(Some(offset)),
        Moment::Time(seconds) => at_time(disk, plan, seconds).map(Some),
    }
}

/// Where the first time line later than this stands.
fn at_time(disk: &OsDisk, plan: &Plan, seconds: i64) -> Result<Offset> {
    let mut any = false;
    for run in &plan.replay {
        let Source::Segment { path, body, to, skip } = &run.source else { continue };
        let start = run.start.0.saturating_sub(*skip);
        let mut times =
            Times { offset: start, unit: start, units: Units::new(run.db), seconds, any: false, found: None };
        let (mut framer, mut at, mut piece) = (Framer::new(*body), *body, vec![0; PIECE]);
        let file = disk.open(path, Mode::Read)?;
        while at < *to && times.found.is_none() {
            let want = (*to - at).min(PIECE as u64) as usize;
            let got = file.read_at(&mut piece[..want], at)?;
            if got == 0 {
                break;
            }
            at += got as u64;
            let fed = framer.feed(&piece[..got], &mut times);
            fed.map_err(|damage| Failure::Corrupt(damage.in_file(path)))?;
        }
        if let Some(found) = times.found {
            return Ok(Offset(found));
        }
        any |= times.any;
    }
    if any {
        return Ok(plan.end);
    }
    let what = "no #TS: lines in the log that a start would replay (aof-timestamp-enabled makes them)";
    Err(Failure::Usage(what.into()))
}

/// Looks for a time line that is later than `seconds`.
struct Times {
    offset: u64,
    /// Behind the last whole unit.
    unit: u64,
    units: Units,
    seconds: i64,
    any: bool,
    found: Option<u64>,
}

impl Sink for Times {
    fn stream(&mut self, bytes: &[u8]) {
        self.offset += bytes.len() as u64;
    }
    fn line(&mut self, line: &[u8], _at: u64) -> std::result::Result<(), Corrupt> {
        let digits = line.strip_prefix(b"#TS:").and_then(|rest| std::str::from_utf8(rest).ok());
        if let Some(time) = digits.and_then(|digits| digits.trim_end().parse::<i64>().ok()) {
            self.any = true;
            if time > self.seconds && self.found.is_none() {
                self.found = Some(self.unit);
            }
        }
        Ok(())
    }
    fn command_end(&mut self, command: Command, _at: u64) {
        if self.units.command_end(command) {
            self.unit = self.offset;
        }
    }
}

/// A dataset that is being put together.
struct Replayed {
    node: Node,
    bytes: u64,
    watch: Watch,
}

impl Replayed {
    fn new(now: UnixMillis, watch: &Watch) -> Replayed {
        let server = Server::new(Config::default(), History::new(ReplId::NONE), Process::default(), 0);
        let node = Node::new(Store::new(DATABASES), server, now.0);
        Replayed { node, bytes: 0, watch: watch.clone() }
    }

    /// Loads the bases. Whether offsets are known behind them.
    fn load(&mut self, disk: &OsDisk, plan: &Plan, now: UnixMillis) -> Result<bool> {
        let mut counted = true;
        for file in &plan.load {
            if file.rdb > 0 {
                let opened = disk.open(&file.path, Mode::Read)?;
                self.load_rdb(&*opened, &file.path, file.rdb, now)?;
            }
            let Some(mut reader) = RunReader::of_load(disk, file).map_err(failed)? else { continue };
            counted = false;
            let mut done = file.rdb;
            let (mut replay, mut bytes) = (Replay::new(&mut self.node, 0), Vec::new());
            while reader.next(None, &mut bytes).map_err(failed)? {
                self.bytes += bytes.len() as u64;
                done += bytes.len() as u64;
                tell(&self.watch, &file.path, done, file.commands_end);
                let fed = replay.feed(&mut self.node, &bytes);
                fed.map_err(|damage| Failure::Corrupt(damage.shifted(file.rdb).in_file(&file.path)))?;
            }
            replay.finish(&mut self.node);
        }
        Ok(counted)
    }

    /// The first `len` bytes of a file.
    fn load_rdb(&mut self, file: &dyn DiskFile, name: &Path, len: u64, now: UnixMillis) -> Result<()> {
        let mut input = std::io::Read::take(Positioned { file, at: 0 }, len);
        let options = LoadOptions { now_ms: now.0, input_len: len, ..LoadOptions::default() };
        let mut into = self.node.store.snapshot();
        let loaded = load(&mut input, &options, &mut into, &mut |read| {
            tell(&self.watch, name, read.bytes, len);
            ControlFlow::Continue(())
        });
        self.node.store.restore(into);
        loaded.map(|_| ()).map_err(|error| Failure::of(error, name))
    }

    /// Commands from byte `from` to the end of a file. How many bytes at its end are no whole unit.
    fn commands(&mut self, file: &dyn DiskFile, name: &Path, from: u64) -> Result<u64> {
        let (mut strip, mut replay) = (Strip::new(from), Replay::new(&mut self.node, 0));
        let (mut at, mut piece, mut bytes) = (from, vec![0; PIECE], Vec::new());
        let corrupt = |damage: Corrupt| Failure::Corrupt(damage.in_file(name));
        let (mut fed, size) = (0, file.size()?);
        loop {
            tell(&self.watch, name, at, size);
            let got = file.read_at(&mut piece, at)?;
            if got == 0 {
                break;
            }
            at += got as u64;
            bytes.clear();
            strip.feed(&piece[..got], &mut bytes).map_err(corrupt)?;
            fed += bytes.len() as u64;
            replay.feed(&mut self.node, &bytes).map_err(|damage| corrupt(damage.shifted(from)))?;
        }
        self.bytes += fed;
        Ok(fed - replay.finish(&mut self.node))
    }

    /// Writes all as an RDB file. How many keys.
    fn save(&self, now: UnixMillis, out: &mut dyn Write) -> Result<u64> {
        let snapshot = self.node.store.snapshot();
        let facts =
            SaveOptions { compress: true, checksum: true, ctime: now.0 / 1000, ..SaveOptions::default() };
        let saved = save(&snapshot, &facts, out, &mut |_| ControlFlow::Continue(()));
        saved.map(|saved| saved.keys).map_err(Failure::Output)
    }

    /// Replays up to `place`, or to the end. Behind the last unit that was applied.
    fn replay(
        &mut self,
        disk: &OsDisk,
        plan: &Plan,
        ring: Option<&Ring>,
        place: Option<Offset>,
    ) -> Result<Offset> {
        let mut reached = base(plan);
        for run in &plan.replay {
            let end = place.map_or(run.end, |place| place.min(run.end));
            if end <= run.start {
                break;
            }
            reached = self.run(disk, run, ring, end)?;
        }
        Ok(reached)
    }

    fn run(&mut self, disk: &OsDisk, run: &Run, ring: Option<&Ring>, end: Offset) -> Result<Offset> {
        let mut reader = RunReader::of_run(disk, run).map_err(failed)?;
        let (mut replay, mut bytes) = (Replay::new(&mut self.node, run.db), Vec::new());
        let mut left = end.since(run.start);
        while left > 0 && reader.next(ring, &mut bytes).map_err(failed)? {
            bytes.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            left -= bytes.len() as u64;
            self.bytes += bytes.len() as u64;
            let all = end.since(run.start);
            tell(&self.watch, Path::new("replaying"), all - left, all);
            replay.feed(&mut self.node, &bytes).map_err(|damage| {
                let from = grouped(run.start.0);
                Failure::Usage(format!("replaying the stream from offset {from}: {damage}"))
            })?;
        }
        Ok(run.start + replay.finish(&mut self.node))
    }
}

/// A disk on which some files are not there. Only for looking: what changes something passes through.
struct Hiding {
    disk: OsDisk,
    hidden: Vec<PathBuf>,
}

impl Hiding {
    fn hides(&self, path: &Path) -> bool {
        self.hidden.iter().any(|hidden| hidden == path)
    }
}

impl Disk for Hiding {
    fn open(&self, path: &Path, mode: Mode) -> crate::disk::Result<Arc<dyn DiskFile>> {
        if self.hides(path) {
            return Err(IoFailure::new("opening", path, std::io::ErrorKind::NotFound.into()));
        }
        self.disk.open(path, mode)
    }
    fn list(&self, dir: &Path) -> crate::disk::Result<Vec<String>> {
        let mut names = self.disk.list(dir)?;
        names.retain(|name| !self.hides(&dir.join(name)));
        Ok(names)
    }
    fn len(&self, path: &Path) -> crate::disk::Result<Option<u64>> {
        if self.hides(path) { Ok(None) } else { self.disk.len(path) }
    }
    fn rename(&self, from: &Path, to: &Path) -> crate::disk::Result<()> {
        self.disk.rename(from, to)
    }
    fn exchange(&self, a: &Path, b: &Path) -> crate::disk::Result<bool> {
        self.disk.exchange(a, b)
    }
    fn remove(&self, path: &Path) -> crate::disk::Result<()> {
        self.disk.remove(path)
    }
    fn create_dir(&self, dir: &Path) -> crate::disk::Result<()> {
        self.disk.create_dir(dir)
    }
    fn is_dir(&self, path: &Path) -> bool {
        self.disk.is_dir(path)
    }
    fn fsync_dir(&self, dir: &Path) -> crate::disk::Result<()> {
        self.disk.fsync_dir(dir)
    }
}

fn tell(watch: &Watch, name: &Path, done: u64, total: u64) {
    if let Some(watch) = watch {
        watch(name, done, Some(total));
    }
}

fn failed(error: ReplayError) -> Failure {
    match error {
        ReplayError::Io(failure) => Failure::Io(failure),
        ReplayError::Corrupt(damage) => Failure::Corrupt(damage),
    }
}
