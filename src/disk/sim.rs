//! A simulated disk: files in memory that can lose power, run full, fail a call, or stop a process at any step.
//!
//! Each file has two contents, what reads see and what is on the medium, and a set of dirty 4 KiB pages between
//! them; names likewise, as a journal of directory operations not yet synced, and those of directories, with which goes what is
//! in them. So assumptions 1 to 5 of the
//! parent module are the model itself: `fdatasync` copies dirty pages, a *failed* one marks them clean without
//! copying, [`SimDisk::after_power_cut`] keeps a chosen subset of what was not synced, a process crash
//! ([`SimDisk::fail_from`]) keeps everything up to the step and half of a write that it interrupts;
//! [`SimDisk::write_back`] is the kernel, which puts some pages on the medium at a time of its own.
//!
//! A mapped region is a copy that is stored back when it is flushed or dropped (dropping is how a test ends the
//! process); until then reads of the file do not see it. Each borrow for storing is a step as a write is: if the process
//! ends there, the region stays as it was then, with some words of what is stored next (memcpy copies in no order).

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Error, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::{Disk, DiskFile, Mode, Region, Result};
use crate::error::IoFailure;

const PAGE: usize = 4096;
const SECTOR: usize = 512;

/// What of the unsynced state survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PowerCut {
    LoseAll,
    KeepAll,
    /// Any subset of pages, some of them by sectors, and a prefix of each directory's operations, chosen by the seed.
    Seeded(u64),
}

/// A call made to fail.
#[derive(Clone, Debug)]
pub struct Fault {
    /// `write`, `fdatasync`, `fsync_dir`, `rename`, `create`, `remove`, `truncate`, `fallocate`, `read`.
    pub call: &'static str,
    /// Substring of the path.
    pub path: String,
    pub error: ErrorKind,
    /// How many calls fail; the ones after succeed.
    pub times: u32,
}

type SyncHook = Arc<dyn Fn(&Path) + Send + Sync>;

#[derive(Clone, Default)]
pub struct SimDisk {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    journal: Vec<(PathBuf, Option<usize>, PathBuf, Option<usize>)>,
    dirs: BTreeSet<PathBuf>,
    /// Directories that were made, or renamed, and not yet synced where their names are.
    dir_journal: Vec<(Option<PathBuf>, PathBuf)>,
    inodes: Vec<Inode>,
    faults: Vec<Fault>,
    /// Mutating steps until the process is dead.
    steps_left: Option<u64>,
    steps: u64,
    /// Seeds of [`SimDisk::write_back`], for regions that were mapped then.
    write_backs: Vec<u64>,
    free: Option<u64>,
    sync_hook: Option<SyncHook>,
}

/// A small generator, as a whole disk must follow from one number.
struct Choice(u64);

impl Choice {
    fn new(seed: u64) -> Choice {
        Choice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }
    /// 0 to `most`.
    fn up_to(&mut self, most: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % (most as u64 + 1)) as usize
    }
}

#[derive(Clone, Default)]
struct Inode {
    seen: Vec<u8>,
    medium: Vec<u8>,
    dirty: BTreeSet<usize>,
}

impl Inode {
    fn touch(&mut self, from: usize, to: usize) {
        self.dirty.extend(from / PAGE..to.div_ceil(PAGE));
    }
    fn sync(&mut self) {
        self.medium.resize(self.seen.len(), 0);
        for page in std::mem::take(&mut self.dirty) {
            let from = (page * PAGE).min(self.seen.len());
            let to = (from + PAGE).min(self.seen.len());
            self.medium[from..to].copy_from_slice(&self.seen[from..to]);
        }
    }
    /// Some dirty pages go to the medium, which is as long then as they need it to be.
    fn write_back(&mut self, choice: &mut Choice) {
        for page in self.dirty.clone() {
            let (from, to) = (page * PAGE, ((page + 1) * PAGE).min(self.seen.len()));
            if from >= to || choice.up_to(1) == 0 {
                continue;
            }
            if self.medium.len() < to {
                self.medium.resize(to, 0);
            }
            self.medium[from..to].copy_from_slice(&self.seen[from..to]);
            self.dirty.remove(&page);
        }
    }
}

impl SimDisk {
    pub fn new() -> SimDisk {
        SimDisk::default()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    /// Every mutating call after the next `steps` fails: the process has ended there.
    pub fn fail_from(&self, steps: u64) {
        self.lock().steps_left = Some(steps);
    }
    /// No process ends here by itself any more.
    pub fn live_on(&self) {
        let mut state = self.lock();
        state.steps_left = state.steps_left.filter(|left| *left == 0);
    }
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }
    /// No call fails any more, and there is space.
    pub fn mend(&self) {
        let mut state = self.lock();
        (state.faults, state.free) = (Vec::new(), None);
    }
    /// Bytes that may still be allocated; `None`: no limit.
    pub fn set_free_space(&self, bytes: Option<u64>) {
        self.lock().free = bytes;
    }
    /// Called before each `fdatasync`, without the disk being locked: to delay it or to look around.
    pub fn on_sync(&self, hook: impl Fn(&Path) + Send + Sync + 'static) {
        self.lock().sync_hook = Some(Arc::new(hook));
    }
    /// Changes a file behind everyone's back, on the medium too.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.lock();
        if let Some(&id) = state.names.get(path) {
            let inode = &mut state.inodes[id];
            change(&mut inode.seen);
            inode.medium.clone_from(&inode.seen);
            inode.dirty.clear();
        }
    }

    /// The kernel writes some dirty pages to the medium, and some new names, chosen by the seed.
    pub fn write_back(&self, seed: u64) {
        let mut state = self.lock();
        let mut choice = Choice::new(seed);
        state.inodes.iter_mut().for_each(|inode| inode.write_back(&mut choice));
        state.write_backs.push(seed);
        let kept = choice.up_to(state.journal.len());
        for (from, from_id, to, to_id) in state.journal.drain(..kept).collect::<Vec<_>>() {
            set_name(&mut state.durable_names, &from, from_id);
            set_name(&mut state.durable_names, &to, to_id);
        }
        if !state.dir_journal.is_empty() {
            let kept = choice.up_to(state.dir_journal.len());
            state.dir_journal.drain(..kept);
        }
    }

    /// Whether [`SimDisk::fail_from`]'s last step was made.
    pub fn is_dead(&self) -> bool {
        self.lock().steps_left == Some(0)
    }

    /// Calls are still to fail, or space is short.
    pub fn is_troubled(&self) -> bool {
        let state = self.lock();
        state.free.is_some() || state.faults.iter().any(|fault| fault.times > 0)
    }

    /// Mutating steps made so far.
    pub fn steps(&self) -> u64 {
        self.lock().steps
    }

    /// All files as they are read now.
    pub fn files(&self) -> Vec<(PathBuf, Vec<u8>)> {
        let state = self.lock();
        state.names.iter().map(|(path, &id)| (path.clone(), state.inodes[id].seen.clone())).collect()
    }

    /// A disk that holds these files, durably.
    pub fn with_files<'a>(files: impl IntoIterator<Item = (&'a Path, Vec<u8>)>) -> SimDisk {
        let mut state = State::default();
        for (path, bytes) in files {
            state.dirs.extend(path.parent().map(Path::to_path_buf));
            state.names.insert(path.to_path_buf(), state.inodes.len());
            state.inodes.push(Inode { medium: bytes.clone(), seen: bytes, dirty: BTreeSet::new() });
        }
        state.durable_names = state.names.clone();
        SimDisk { state: Arc::new(Mutex::new(state)) }
    }

    /// The disk as a new process finds it after the old one was killed: nothing is lost.
    pub fn after_process_crash(&self) -> SimDisk {
        let state = self.lock();
        let mut inodes = state.inodes.clone();
        let journaled = state.journal.iter().flat_map(|(_, from, _, to)| from.iter().chain(to));
        forget_nameless(
            &mut inodes,
            state.names.values().chain(state.durable_names.values()).chain(journaled),
        );
        let copy = State {
            names: state.names.clone(),
            durable_names: state.durable_names.clone(),
            journal: state.journal.clone(),
            dirs: state.dirs.clone(),
            dir_journal: state.dir_journal.clone(),
            inodes,
            ..State::default()
        };
        SimDisk { state: Arc::new(Mutex::new(copy)) }
    }

    /// The disk as found after the power failed now.
    pub fn after_power_cut(&self, cut: PowerCut) -> SimDisk {
        let state = self.lock();
        let mut choice = Choice::new(if let PowerCut::Seeded(seed) = cut { seed } else { 1 });
        let mut keep = |among: usize| -> usize {
            match cut {
                PowerCut::LoseAll => 0,
                PowerCut::KeepAll => among,
                PowerCut::Seeded(_) => choice.up_to(among),
            }
        };
        let mut names = state.durable_names.clone();
        let dirs: BTreeSet<Option<&Path>> = state.journal.iter().map(|(.., to, _)| to.parent()).collect();
        for dir in dirs {
            let inside = || state.journal.iter().filter(|(.., to, _)| to.parent() == dir);
            for (from, from_id, to, to_id) in inside().take(keep(inside().count())) {
                set_name(&mut names, from, *from_id);
                set_name(&mut names, to, *to_id);
            }
        }
        let mut dirs = state.dirs.clone();
        let kept = if state.dir_journal.is_empty() { 0 } else { keep(state.dir_journal.len()) };
        for (from, to) in state.dir_journal[kept..].iter().rev() {
            dirs.remove(to);
            dirs.extend(from.clone());
            names = names
                .into_iter()
                .filter_map(|(path, id)| Some((back(path, from.as_deref(), to)?, id)))
                .collect();
        }
        let mut inodes = state.inodes.clone();
        for inode in &mut inodes {
            let grown = inode.seen.len() > inode.medium.len();
            if inode.seen.len() != inode.medium.len() && keep(1) == 1 {
                inode.medium.resize(inode.seen.len(), 0);
            } else if grown && keep(1) == 1 {
                let len = inode.medium.len() + keep(inode.seen.len() - inode.medium.len());
                inode.medium.resize(len, 0);
            }
            for page in std::mem::take(&mut inode.dirty) {
                let from = page * PAGE;
                let to = (from + PAGE).min(inode.medium.len()).min(inode.seen.len());
                let kept = if from < to { keep(8) } else { 0 };
                if kept > 4 {
                    inode.medium[from..to].copy_from_slice(&inode.seen[from..to]);
                } else if kept == 4 {
                    for at in (from..to).step_by(SECTOR).filter(|_| keep(1) == 1) {
                        let end = (at + SECTOR).min(to);
                        inode.medium[at..end].copy_from_slice(&inode.seen[at..end]);
                    }
                }
            }
            inode.seen.clone_from(&inode.medium);
        }
        forget_nameless(&mut inodes, names.values());
        let copy = State { durable_names: names.clone(), names, dirs, inodes, ..State::default() };
        SimDisk { state: Arc::new(Mutex::new(copy)) }
    }
}

/// The path of a file before its directory was renamed to `to`, or nothing if it was made there.
fn back(path: PathBuf, from: Option<&Path>, to: &Path) -> Option<PathBuf> {
    match path.strip_prefix(to) {
        Ok(inside) => Some(from?.join(inside)),
        Err(_) => Some(path),
    }
}

/// Files without a name go with the process that had them open.
fn forget_nameless<'a>(inodes: &mut [Inode], named: impl Iterator<Item = &'a usize>) {
    let named: BTreeSet<usize> = named.copied().collect();
    let nameless = inodes.iter_mut().enumerate().filter(|(id, _)| !named.contains(id));
    nameless.for_each(|(_, inode)| *inode = Inode::default());
}

fn set_name(names: &mut BTreeMap<PathBuf, usize>, path: &Path, id: Option<usize>) {
    match id {
        Some(id) => {
            names.insert(path.to_path_buf(), id);
        }
        None => {
            names.remove(path);
        }
    }
}

impl State {
    /// Counts a mutating step and applies the faults. `Err` carries whether the call may do half of its work.
    fn step(&mut self, call: &'static str, doing: &'static str, path: &Path) -> Result<()> {
        if self.steps_left == Some(0) {
            return Err(IoFailure::new(doing, path, Error::other("the simulated process has ended")));
        }
        self.count_step();
        self.fault(call, doing, path)
    }

    fn count_step(&mut self) {
        self.steps_left = self.steps_left.map(|left| left.saturating_sub(1));
        self.steps += 1;
    }

    fn fault(&mut self, call: &'static str, doing: &'static str, path: &Path) -> Result<()> {
        let shown = path.to_string_lossy();
        let hit = self.faults.iter_mut().find(|f| f.call == call && f.times > 0 && shown.contains(&f.path));
        match hit {
            Some(fault) => {
                fault.times -= 1;
                Err(IoFailure::new(doing, path, fault.error.into()))
            }
            None => Ok(()),
        }
    }

    fn rename_to(&mut self, from: &Path, from_id: Option<usize>, to: &Path, to_id: Option<usize>) {
        set_name(&mut self.names, from, from_id);
        set_name(&mut self.names, to, to_id);
        self.journal.push((from.to_path_buf(), from_id, to.to_path_buf(), to_id));
    }

    /// Takes up to `wanted` bytes of free space.
    fn allocate(&mut self, wanted: u64) -> u64 {
        match &mut self.free {
            None => wanted,
            Some(free) => {
                let got = wanted.min(*free);
                *free -= got;
                got
            }
        }
    }
}

fn not_found(doing: &'static str, path: &Path) -> IoFailure {
    IoFailure::new(doing, path, ErrorKind::NotFound.into())
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        let mut state = self.lock();
        let found = state.names.get(path).copied();
        let inode = match (mode, found) {
            (Mode::CreateNew, None) => {
                state.step("create", "creating", path)?;
                state.inodes.push(Inode::default());
                let id = state.inodes.len() - 1;
                state.rename_to(path, Some(id), path, Some(id));
                id
            }
            (Mode::CreateNew, Some(_)) => {
                return Err(IoFailure::new("creating", path, ErrorKind::AlreadyExists.into()));
            }
            (_, Some(id)) => id,
            (_, None) => return Err(not_found("opening", path)),
        };
        Ok(Arc::new(SimFile { disk: self.clone(), inode, path: path.to_path_buf() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        let mut state = self.lock();
        state.step("rename", "renaming", from)?;
        if state.dirs.remove(from) {
            state.dirs.insert(to.to_path_buf());
            state.dir_journal.push((Some(from.to_path_buf()), to.to_path_buf()));
            let inside: Vec<(PathBuf, usize)> = state
                .names
                .iter()
                .filter(|(p, _)| p.starts_with(from))
                .map(|(p, id)| (p.clone(), *id))
                .collect();
            for (path, id) in inside {
                let moved = to.join(path.strip_prefix(from).unwrap_or(&path));
                // The names inside a directory move with it, in one step.
                set_name(&mut state.names, &path, None);
                set_name(&mut state.names, &moved, Some(id));
                set_name(&mut state.durable_names, &path, None);
                set_name(&mut state.durable_names, &moved, Some(id));
            }
            // So do those whose removal is not durable yet, and those that are not durable themselves.
            let removed: Vec<PathBuf> =
                state.durable_names.keys().filter(|path| path.starts_with(from)).cloned().collect();
            for path in removed {
                let id = state.durable_names.remove(&path);
                let moved = to.join(path.strip_prefix(from).unwrap_or(&path));
                set_name(&mut state.durable_names, &moved, id);
            }
            for (old, _, new, _) in &mut state.journal {
                for path in [old, new] {
                    if let Ok(inside) = path.strip_prefix(from) {
                        *path = to.join(inside);
                    }
                }
            }
            return Ok(());
        }
        let id = *state.names.get(from).ok_or_else(|| not_found("renaming", from))?;
        state.rename_to(from, None, to, Some(id));
        Ok(())
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<bool> {
        let mut state = self.lock();
        state.step("rename", "exchanging", a)?;
        let a_id = *state.names.get(a).ok_or_else(|| not_found("exchanging", a))?;
        let b_id = *state.names.get(b).ok_or_else(|| not_found("exchanging", b))?;
        state.rename_to(a, Some(b_id), b, Some(a_id));
        Ok(true)
    }

    fn remove(&self, path: &Path) -> Result<()> {
        let mut state = self.lock();
        state.step("remove", "removing", path)?;
        let id = *state.names.get(path).ok_or_else(|| not_found("removing", path))?;
        let freed = state.inodes[id].seen.len() as u64;
        state.free = state.free.map(|free| free + freed);
        state.rename_to(path, None, path, None);
        Ok(())
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let state = self.lock();
        let entries = state.names.keys().chain(&state.dirs).filter(|path| path.parent() == Some(dir));
        let names: BTreeSet<String> =
            entries.filter_map(|path| Some(path.file_name()?.to_str()?.to_string())).collect();
        Ok(names.into_iter().collect())
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        let state = self.lock();
        if state.dirs.contains(path) {
            return Ok(Some(0));
        }
        Ok(state.names.get(path).map(|&id| state.inodes[id].seen.len() as u64))
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.lock();
        if state.dirs.insert(dir.to_path_buf()) {
            state.dir_journal.push((None, dir.to_path_buf()));
        }
        Ok(())
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.lock().dirs.contains(path)
    }

    fn fsync_dir(&self, dir: &Path) -> Result<()> {
        let mut state = self.lock();
        state.step("fsync_dir", "syncing the directory", dir)?;
        let mut rest = Vec::new();
        for (from, from_id, to, to_id) in std::mem::take(&mut state.journal) {
            if from.parent() == Some(dir) || to.parent() == Some(dir) {
                set_name(&mut state.durable_names, &from, from_id);
                set_name(&mut state.durable_names, &to, to_id);
            } else {
                rest.push((from, from_id, to, to_id));
            }
        }
        state.journal = rest;
        state.dir_journal.retain(|(_, to)| to.parent() != Some(dir));
        Ok(())
    }
}

struct SimFile {
    disk: SimDisk,
    inode: usize,
    path: PathBuf,
}

impl SimFile {
    fn store(state: &mut State, inode: usize, bytes: &[u8], at: usize) {
        let file = &mut state.inodes[inode];
        let end = at + bytes.len();
        if file.seen.len() < end {
            let old = file.seen.len();
            file.seen.resize(end, 0);
            file.touch(old, end);
        }
        file.seen[at..end].copy_from_slice(bytes);
        file.touch(at, end);
    }
}

impl DiskFile for SimFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<usize> {
        let mut state = self.disk.lock();
        state.fault("read", "reading", &self.path)?;
        let seen = &state.inodes[self.inode].seen;
        let from = (at as usize).min(seen.len());
        let n = buf.len().min(seen.len() - from);
        buf[..n].copy_from_slice(&seen[from..from + n]);
        Ok(n)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        let mut state = self.disk.lock();
        let alive = state.steps_left != Some(0);
        let last_step = state.steps_left == Some(1);
        state.step("write", "writing to", &self.path)?;
        if alive && last_step {
            Self::store(&mut state, self.inode, &bytes[..bytes.len() / 2], at as usize);
            return Err(IoFailure::new("writing to", &self.path, Error::other("the process ended")));
        }
        let len = state.inodes[self.inode].seen.len() as u64;
        let wanted = (at + bytes.len() as u64).saturating_sub(len);
        let got = state.allocate(wanted);
        let part = bytes.len() - (wanted - got) as usize;
        Self::store(&mut state, self.inode, &bytes[..part], at as usize);
        if got < wanted {
            return Err(IoFailure::new("writing to", &self.path, ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    fn fdatasync(&self) -> Result<()> {
        let hook = self.disk.lock().sync_hook.clone();
        if let Some(hook) = hook {
            hook(&self.path);
        }
        let mut state = self.disk.lock();
        match state.step("fdatasync", "syncing", &self.path) {
            Ok(()) => state.inodes[self.inode].sync(),
            Err(failed) => {
                if state.steps_left != Some(0) {
                    state.inodes[self.inode].dirty.clear(); // assumption 5
                }
                return Err(failed);
            }
        }
        Ok(())
    }

    fn size(&self) -> Result<u64> {
        Ok(self.disk.lock().inodes[self.inode].seen.len() as u64)
    }

    fn truncate(&self, len: u64) -> Result<()> {
        let mut state = self.disk.lock();
        state.step("truncate", "truncating", &self.path)?;
        let old = state.inodes[self.inode].seen.len() as u64;
        state.free = state.free.map(|free| free + old.saturating_sub(len));
        state.inodes[self.inode].seen.resize(len as usize, 0);
        Ok(())
    }

    fn fallocate(&self, len: u64) -> Result<()> {
        let mut state = self.disk.lock();
        state.step("fallocate", "reserving space for", &self.path)?;
        let old = state.inodes[self.inode].seen.len() as u64;
        let wanted = len.saturating_sub(old);
        if state.free.is_some_and(|free| free < wanted) {
            return Err(IoFailure::new("reserving space for", &self.path, ErrorKind::StorageFull.into()));
        }
        state.allocate(wanted);
        if old < len {
            let file = &mut state.inodes[self.inode];
            file.seen.resize(len as usize, 0);
            file.touch(old as usize, len as usize);
        }
        Ok(())
    }

    fn map(&self, len: usize) -> Result<Box<dyn Region>> {
        let state = self.disk.lock();
        let seen = &state.inodes[self.inode].seen;
        if seen.len() < len {
            let short = Error::other("the file is shorter than the map");
            return Err(IoFailure::new("mapping", &self.path, short));
        }
        let bytes = seen[..len].to_vec();
        Ok(Box::new(SimRegion {
            disk: self.disk.clone(),
            inode: self.inode,
            path: self.path.clone(),
            bytes,
            write_backs: state.write_backs.len(),
            kept: None,
        }))
    }
}

struct SimRegion {
    disk: SimDisk,
    inode: usize,
    path: PathBuf,
    bytes: Vec<u8>,
    /// How many of them it took part in.
    write_backs: usize,
    kept: Option<Kept>,
}

/// What the file holds, as the process has ended.
struct Kept {
    bytes: Vec<u8>,
    /// The end came while something was stored, some words of which are in the file.
    torn: Option<u64>,
}

impl SimRegion {
    fn store(state: &mut State, inode: usize, from: &[u8]) {
        let file = &mut state.inodes[inode];
        for (page, bytes) in from.chunks(PAGE).enumerate() {
            let at = page * PAGE;
            if file.seen.len() >= at + bytes.len() && file.seen[at..at + bytes.len()] != *bytes {
                file.seen[at..at + bytes.len()].copy_from_slice(bytes);
                file.dirty.insert(page);
            }
        }
    }

    fn tear(&mut self) {
        let Some(Kept { bytes, torn }) = &mut self.kept else { return };
        let Some(seed) = torn.take() else { return };
        let mut choice = Choice::new(seed);
        for (old, new) in bytes.chunks_mut(8).zip(self.bytes.chunks(8)) {
            if old != new && choice.up_to(1) == 1 {
                old.copy_from_slice(new);
            }
        }
    }

    fn store_back(&mut self) {
        self.tear();
        let bytes = self.kept.as_ref().map_or(&self.bytes, |kept| &kept.bytes);
        SimRegion::store(&mut self.disk.lock(), self.inode, bytes);
    }
}

impl Region for SimRegion {
    fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        self.tear();
        let mut state = self.disk.lock();
        if let Some(&seed) = state.write_backs[self.write_backs..].last() {
            self.write_backs = state.write_backs.len();
            SimRegion::store(&mut state, self.inode, &self.bytes);
            state.inodes[self.inode].write_back(&mut Choice::new(seed));
        }
        if self.kept.is_none() {
            let was_dead = state.steps_left == Some(0);
            state.count_step();
            if state.steps_left == Some(0) {
                let torn = (!was_dead).then_some(state.steps);
                self.kept = Some(Kept { bytes: self.bytes.clone(), torn });
            }
        }
        drop(state);
        &mut self.bytes
    }
    fn flush(&self) -> Result<()> {
        let mut state = self.disk.lock();
        if self.kept.is_none() {
            SimRegion::store(&mut state, self.inode, &self.bytes);
        }
        match state.step("fdatasync", "syncing the map of", &self.path) {
            Ok(()) => state.inodes[self.inode].sync(),
            Err(failed) => {
                if state.steps_left != Some(0) {
                    state.inodes[self.inode].dirty.clear(); // assumption 5
                }
                return Err(failed);
            }
        }
        Ok(())
    }
}

impl Drop for SimRegion {
    fn drop(&mut self) {
        self.store_back();
    }
}
