//! The files of the log: names, manifest, opening the next segment, committing a base, switching generations.
//!
//! What is durable when, for each operation (assumptions of [`crate::disk`]):
//!
//! | operation | steps | a crash in between leaves |
//! |---|---|---|
//! | next segment | create file with its opening, fsync; fsync directory; replace manifest | an empty file that no manifest names: removed when its name comes up again. One that a power cut brought back, with nothing in it that is needed, is set aside then |
//! | new base | (base written and fsynced under its final, fresh name); fsync directory; manifest names it, and the replaced files as history; delete those, but for segments that replicas still need; manifest without them | old or new manifest, each naming only whole files; history files are deleted at the next start, but for segments that lead on to what is loaded: replicas may come back for them |
//! | new generation (rule 4) | manifest `….manifest.g7` and `backlog.ring.g7` beside the old ones, which `replication.toml` still names; **`replication.toml` with generation 7 is the commit**; then renames | before the commit: [`settle_generation`] deletes the pending files; after it: it finishes the renames |
//!
//! When the replacement of the manifest fails half-way (the rename was done, the directory's fsync failed), the one on disk is
//! the old one or the new one. Files that only the new one names are *doubtful*: neither relied upon nor removed
//! nor their names used, until a later replacement succeeds.
//!
//! A segment's name is never used again while any manifest names it, so nothing is ever overwritten in place.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::survey::{holds_stream, walk_segment};
use crate::disk::{Disk, DiskFile, Mode, Result, durable, read_all};
use crate::error::{Corrupt, IoFailure};
use crate::format::aof::{Chain, Place};
use crate::format::manifest::{Entry, FileType, Manifest, ManifestError};
use crate::planted::{Bug, planted};
use crate::units::Offset;

/// Where things are in a data directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// The data directory.
    pub data: PathBuf,
    /// `appenddirname`
    pub log_dir: String,
    /// `appendfilename`
    pub log_name: String,
    /// `dbfilename`
    pub snapshot: String,
}

impl Paths {
    pub fn log(&self) -> PathBuf {
        self.data.join(&self.log_dir)
    }
    /// A file of the log by its name in the manifest.
    pub fn log_file(&self, name: &str) -> PathBuf {
        self.log().join(name)
    }
    pub fn manifest(&self) -> PathBuf {
        self.log_file(&format!("{}.manifest", self.log_name))
    }
    /// Is this the name of a segment in the log's directory?
    pub fn is_segment(&self, name: &str) -> bool {
        let seq = name.strip_prefix(&self.log_name).and_then(|rest| rest.strip_prefix('.'));
        seq.and_then(|rest| rest.strip_suffix(".incr.aof")).is_some_and(|seq| seq.parse::<u64>().is_ok())
    }
    /// A single-file log as Redis wrote it before 7.0.
    pub fn old_log(&self) -> PathBuf {
        self.data.join(&self.log_name)
    }
    pub fn snapshot(&self) -> PathBuf {
        self.data.join(&self.snapshot)
    }
    pub fn ring(&self) -> PathBuf {
        self.data.join("backlog.ring")
    }
    /// A ring of another size, until it takes the ring's place.
    pub fn new_ring(&self) -> PathBuf {
        durable::with_suffix(&self.ring(), ".new")
    }
    pub fn history(&self) -> PathBuf {
        self.data.join("replication.toml")
    }
    /// A log file's name relative to the data directory, as `replication.toml` has it.
    pub fn relative(&self, name: &str) -> String {
        format!("{}/{name}", self.log_dir)
    }
}

/// A segment open for appending.
pub struct OpenSegment {
    pub file: Arc<dyn DiskFile>,
    pub name: String,
    pub seq: u64,
    /// Where it starts.
    pub place: Place,
    /// Bytes of the opening.
    pub len: u64,
    pub chain: Chain,
}

/// The log's files as the manifest names them.
pub struct Segments {
    disk: Arc<dyn Disk>,
    paths: Paths,
    manifest: Manifest,
    manifest_path: PathBuf,
    /// Named by a manifest that may or may not be the one on disk.
    doubtful: Vec<Entry>,
    /// Another generation has taken the place of this one: the manifest is not this one's to change any more.
    retired: bool,
    needed: Arc<AtomicU64>,
    /// The history is what a crash comes back to: [`Segments::leave_behind`].
    left_behind: bool,
}

/// No replica needs anything: a value of [`Segments::needed`].
pub const NOTHING: u64 = u64::MAX;

/// What is at the manifest's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ManifestFound {
    None,
    Bad(ManifestError),
    Good(Manifest),
}

/// Manifests are small; a larger one is damage.
const MANIFEST_LIMIT: u64 = 64 << 20;

pub fn read_manifest(disk: &dyn Disk, paths: &Paths) -> Result<ManifestFound> {
    if !disk.exists(&paths.manifest())? {
        return Ok(ManifestFound::None);
    }
    let bytes = read_all(disk, &paths.manifest(), MANIFEST_LIMIT)?;
    Ok(match Manifest::parse(&bytes) {
        Ok(manifest) => ManifestFound::Good(manifest),
        Err(error) => ManifestFound::Bad(error),
    })
}

/// A name that [`set_aside`] gives.
pub fn is_set_aside(name: &str) -> bool {
    name.rsplit_once(".aside").is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Renames `path` (file or directory), if it is there, to the first free `….aside`, `….aside2`, …, which it returns.
pub fn set_aside(disk: &dyn Disk, path: &Path) -> Result<Option<PathBuf>> {
    if !disk.exists(path)? {
        return Ok(None);
    }
    let mut to = durable::with_suffix(path, ".aside");
    let mut n = 2;
    while disk.exists(&to)? {
        to = durable::with_suffix(path, &format!(".aside{n}"));
        n += 1;
    }
    durable::publish(disk, path, &to)?;
    Ok(Some(to))
}

fn make_log_dir(disk: &dyn Disk, paths: &Paths) -> Result<()> {
    if !disk.is_dir(&paths.log()) {
        disk.create_dir(&paths.log())?;
        disk.fsync_dir(&paths.data)?; // or a power cut takes the directory with all that is in it
    }
    Ok(())
}

impl Segments {
    /// `manifest`: what is on disk, or empty. Makes the log's directory if need be.
    pub fn new(disk: Arc<dyn Disk>, paths: Paths, manifest: Manifest) -> Result<Segments> {
        make_log_dir(&*disk, &paths)?;
        let manifest_path = paths.manifest();
        let needed = Arc::new(AtomicU64::new(NOTHING));
        Ok(Segments {
            disk,
            paths,
            manifest,
            manifest_path,
            doubtful: Vec::new(),
            retired: false,
            needed,
            left_behind: false,
        })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }
    pub fn paths(&self) -> &Paths {
        &self.paths
    }
    pub fn disk(&self) -> &Arc<dyn Disk> {
        &self.disk
    }

    /// The oldest byte that a replica still has to be sent. Segments that hold it or what follows stay, as history, also
    /// when a base has replaced them.
    pub fn needed(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.needed)
    }

    /// All segments that can be read: those that a start would load, and those kept for replicas; not those that were
    /// left behind, as there is a gap after them.
    pub fn readable(&self) -> impl Iterator<Item = &Entry> {
        let kept = self
            .manifest
            .history
            .iter()
            .filter(|entry| !self.left_behind && self.paths.is_segment(&entry.name));
        self.manifest.incrs.iter().chain(kept)
    }

    /// Bytes of the base and of all segments but the newest. What cannot be measured counts nothing: this is for INFO
    /// and the rewrite rule.
    pub fn closed_len(&self) -> u64 {
        let newest = self.manifest.incrs.last().map(|entry| &entry.name);
        self.measured(self.manifest.loaded().filter(|entry| Some(&entry.name) != newest))
    }

    /// Bytes of the base and of all segments.
    pub fn loaded_len(&self) -> u64 {
        self.measured(self.manifest.loaded())
    }

    fn measured<'a>(&self, entries: impl Iterator<Item = &'a Entry>) -> u64 {
        entries.filter_map(|entry| self.disk.len(&self.paths.log_file(&entry.name)).ok().flatten()).sum()
    }

    /// The number that the next segment will have.
    pub fn next_seq(&self) -> u64 {
        self.manifest.next_incr_seq()
    }

    /// Name and length of each segment, for the clean mark (rule 14).
    pub fn lens(&self) -> Result<Vec<(String, u64)>> {
        let len = |entry: &Entry| self.disk.len(&self.paths.log_file(&entry.name));
        self.manifest.incrs.iter().map(|entry| Ok((entry.name.clone(), len(entry)?.unwrap_or(0)))).collect()
    }

    /// All segments that the manifest names, oldest first.
    pub fn open_all(&self) -> Result<Vec<Arc<dyn DiskFile>>> {
        let path = |entry: &Entry| self.paths.log_file(&entry.name);
        self.manifest.incrs.iter().map(|entry| self.disk.open(&path(entry), Mode::Write)).collect()
    }

    /// Opens the next segment at `place`, between two units; durable and named by the manifest when it returns.
    pub fn open_next(&mut self, place: Place) -> Result<OpenSegment> {
        self.check_retired()?;
        make_log_dir(&*self.disk, &self.paths)?; // an operator may have removed it while the log was off
        let doubtful = self.doubtful.iter().filter(|entry| entry.file_type == FileType::Incr);
        let seq = doubtful.map(|entry| entry.seq + 1).fold(self.manifest.next_incr_seq(), u64::max);
        let name = format!("{}.{seq}.incr.aof", self.paths.log_name);
        let path = self.paths.log_file(&name);
        if self.disk.exists(&path)? && holds_stream(&*self.disk, &path)? {
            // A power cut brings back a segment that had been deleted, as what it holds is in a base; and a start that found
            // the bytes before a segment lost may die before it has set that aside. Beyond that it is data.
            let report = walk_segment(&*self.disk, &path)?;
            let is_behind = report.parsed.offset <= place.offset && report.unproven() == 0;
            let nothing_leads_to = |opening: Place| opening.offset > place.offset;
            if report.opening.is_some_and(|opening| is_behind || nothing_leads_to(opening)) {
                set_aside(&*self.disk, &path)?;
                return self.open_next(place);
            }
            let why = format!(
                "it holds stream bytes up to offset {}, but the manifest does not name it; put the manifest back that \
                 does, or move this file away to go on without it",
                report.parsed.offset
            );
            return Err(IoFailure::new("making the next segment", &path, std::io::Error::other(why)));
        }
        durable::remove_if_there(&*self.disk, &path)?; // named by no manifest: left by a crash
        let mut opening = Vec::new();
        let place = if planted(Bug::SegmentDb) { Place { db: 0, ..place } } else { place };
        let chain = Chain::open(place, &mut opening);
        let file = self.disk.open(&path, Mode::CreateNew)?;
        file.write_at(&opening, 0)?;
        file.fdatasync()?; // before the manifest relies on it
        self.disk.fsync_dir(&self.paths.log())?; // likewise its name
        let mut manifest = self.manifest.clone();
        let start_offset = Some(place.offset);
        manifest.incrs.push(Entry { name: name.clone(), seq, file_type: FileType::Incr, start_offset });
        self.replace(manifest)?;
        Ok(OpenSegment { file, name, seq, place, len: opening.len() as u64, chain })
    }

    /// Name and sequence number for the base that goes with segment `first_incr`, whose number it takes where that is
    /// free; `commands`: it is written as commands. The caller writes and fsyncs it under this name in [`Paths::log`], then calls [`Segments::commit_base`].
    pub fn next_base(&self, first_incr: u64, commands: bool) -> (String, u64) {
        let doubtful = self.doubtful.iter().filter(|entry| entry.file_type == FileType::Base);
        let free = doubtful.map(|entry| entry.seq + 1).fold(self.manifest.next_base_seq(), u64::max);
        let seq = free.max(first_incr);
        let ending = if commands { "aof" } else { "rdb" };
        (format!("{}.{seq}.base.{ending}", self.paths.log_name), seq)
    }

    /// The base at `cut` replaces the old one and every segment before `first_incr`, the segment opened at `cut`.
    /// When it returns the manifest names only what is needed and the rest is deleted.
    pub fn commit_base(&mut self, name: &str, seq: u64, cut: Offset, first_incr: u64) -> Result<()> {
        self.disk.fsync_dir(&self.paths.log())?; // the base's name, before the manifest relies on it
        let mut manifest = self.manifest.clone();
        let (kept, replaced): (Vec<Entry>, Vec<Entry>) =
            manifest.incrs.drain(..).partition(|entry| entry.seq >= first_incr);
        let old = manifest.base.take().into_iter().chain(replaced);
        manifest.history.extend(old.map(|entry| Entry { file_type: FileType::History, ..entry }));
        let name = name.to_string();
        manifest.base = Some(Entry { name, seq, file_type: FileType::Base, start_offset: Some(cut) });
        manifest.incrs = kept;
        for entry in manifest.history.iter().filter(|_| planted(Bug::StaleManifest)) {
            durable::remove_if_there(&*self.disk, &self.paths.log_file(&entry.name))?;
        }
        self.replace(manifest)?;
        self.left_behind = false;
        self.delete_passed()
    }

    /// AOF off: a snapshot at `cut` outside the log made everything before the segment opened there needless.
    pub fn drop_before(&mut self, first_incr: u64) -> Result<()> {
        let mut manifest = self.manifest.clone();
        let (kept, replaced): (Vec<Entry>, Vec<Entry>) =
            manifest.incrs.drain(..).partition(|entry| entry.seq >= first_incr);
        let old = manifest.base.take().into_iter().chain(replaced);
        manifest.history.extend(old.map(|entry| Entry { file_type: FileType::History, ..entry }));
        manifest.incrs = kept;
        if manifest.history.is_empty() {
            return Ok(());
        }
        self.replace(manifest)?;
        self.left_behind = false;
        self.delete_passed()
    }

    /// Another log is to begin that does not go on where this one ends, and no base of it is there yet: what the manifest names
    /// becomes history *without being deleted*, so that a crash before that base is in force comes back to it
    /// ([`restore_past`]). Also segments without a base: they may go on from a snapshot beside them, or from birth.
    pub fn leave_behind(&mut self) -> Result<()> {
        let mut manifest = self.manifest.clone();
        let old = manifest.base.take().into_iter().chain(manifest.incrs.drain(..));
        manifest.history.extend(old.map(|entry| Entry { file_type: FileType::History, ..entry }));
        if manifest == self.manifest {
            return Ok(());
        }
        self.replace(manifest)?;
        self.left_behind = true;
        Ok(())
    }

    /// Forgets all but `names`, without touching files: what a recovery plan keeps.
    pub fn keep_only(&mut self, names: &[String]) -> Result<()> {
        let mut manifest = self.manifest.clone();
        manifest.incrs.retain(|entry| names.contains(&entry.name));
        manifest.base = manifest.base.filter(|entry| names.contains(&entry.name));
        if manifest == self.manifest {
            return Ok(());
        }
        self.replace(manifest)
    }

    /// Removes a segment that turned out to hold no stream byte, so that idle restarts leave no files behind.
    pub fn drop_segment(&mut self, name: &str) -> Result<()> {
        let mut manifest = self.manifest.clone();
        manifest.incrs.retain(|entry| entry.name != name);
        self.replace(manifest)?;
        durable::remove_if_there(&*self.disk, &self.paths.log_file(name))
    }

    /// Deletes what the manifest calls history, then forgets it.
    pub fn delete_history(&mut self) -> Result<()> {
        self.delete_history_but(Vec::new())
    }

    /// The same, but for what replicas still need.
    pub fn delete_passed(&mut self) -> Result<()> {
        if self.left_behind {
            return Ok(());
        }
        let kept = self.manifest.history.iter().filter(|entry| self.is_needed(entry)).cloned().collect();
        self.delete_history_but(kept)
    }

    /// Whether there is history that no replica needs.
    pub fn has_passed(&self) -> bool {
        !self.left_behind && self.manifest.history.iter().any(|entry| !self.is_needed(entry))
    }

    /// The segment that begins last at or before what replicas need, if there are others before it.
    pub fn first_needed(&self) -> Option<u64> {
        let needed = Offset(self.needed.load(Ordering::Acquire));
        let reaching = |entry: &&Entry| entry.start_offset.is_some_and(|start| start <= needed);
        let first = self.manifest.incrs.iter().filter(reaching).map(|entry| entry.seq).max()?;
        self.manifest.incrs.iter().any(|entry| entry.seq < first).then_some(first)
    }

    /// Also at start, for what a crash left.
    pub fn delete_history_but(&mut self, kept: Vec<Entry>) -> Result<()> {
        if self.manifest.history.len() == kept.len() {
            return Ok(());
        }
        for entry in self.manifest.history.iter().filter(|entry| !kept.contains(entry)) {
            durable::remove_if_there(&*self.disk, &self.paths.log_file(&entry.name))?;
        }
        let manifest = Manifest { history: kept, ..self.manifest.clone() };
        self.replace(manifest)
    }

    /// A segment that was replaced, and whose end, the start of the one behind it, a replica has not passed.
    fn is_needed(&self, entry: &Entry) -> bool {
        let needed = self.needed.load(Ordering::Acquire);
        let behind = self.readable().filter(|other| other.seq > entry.seq);
        let end = behind.filter_map(|other| other.start_offset).min();
        needed != NOTHING
            && self.paths.is_segment(&entry.name)
            && entry.start_offset.is_some()
            && end.is_none_or(|end| end > Offset(needed))
    }

    /// Takes an old single-file log into the directory, as Redis ≥ 7.0 does: manifest first, then the rename,
    /// so that a crash in between is recognised by either server.
    pub fn adopt_old_log(&mut self) -> Result<()> {
        let name = self.paths.log_name.clone();
        let base = Entry { name: name.clone(), seq: 1, file_type: FileType::Base, start_offset: None };
        self.replace(Manifest { base: Some(base), ..Manifest::default() })?;
        self.disk.rename(&self.paths.old_log(), &self.paths.log_file(&name))?;
        self.disk.fsync_dir(&self.paths.log())?; // both ends of the rename, before segments build on it
        self.disk.fsync_dir(&self.paths.data)
    }

    /// A new generation that replaces all files of this one (rule 4): its manifest is pending until
    /// `replication.toml` names the generation. Fill it with `open_next`.
    pub fn next_generation(&self, generation: u64) -> Segments {
        let old = self.manifest.loaded().chain(&self.manifest.history).cloned();
        let history = old.map(|entry| Entry { file_type: FileType::History, ..entry }).collect();
        Segments {
            disk: self.disk.clone(),
            paths: self.paths.clone(),
            manifest: Manifest { history, ..Manifest::default() },
            manifest_path: pending(&self.paths.manifest(), generation),
            doubtful: self.doubtful.clone(),
            retired: false,
            needed: Arc::new(AtomicU64::new(NOTHING)),
            left_behind: false,
        }
    }

    /// After the commit of another generation, before its manifest takes the place: whoever still works on this one (a
    /// snapshot, a log that is being closed) changes nothing any more.
    pub fn retire(&mut self) {
        self.retired = true;
    }

    /// Puts the pending manifest there, if it has anything to say: what is to be deleted after the commit.
    pub fn name_pending(&mut self) -> Result<()> {
        self.replace(self.manifest.clone())
    }

    /// After the commit: the pending manifest becomes the manifest, the old generation is deleted.
    pub fn finish_generation(&mut self) -> Result<()> {
        let path = self.paths.manifest();
        if self.manifest_path != path {
            if self.disk.exists(&self.manifest_path)? {
                self.disk.rename(&self.manifest_path, &path)?;
                self.disk.fsync_dir(&self.paths.log())?; // before the old generation's files go
            }
            self.manifest_path = path;
        }
        self.delete_history()
    }

    /// Whether the manifest on disk names this file, or may.
    pub fn may_name(&self, name: &str) -> bool {
        self.manifest.loaded().chain(&self.doubtful).any(|entry| entry.name == name)
    }

    /// Segments that the manifest does not name, which a power cut brought back: a start that finds them without a manifest
    /// would ask for the one that named them.
    fn set_leftovers_aside(&self) -> Result<()> {
        let named =
            |name: &str| self.manifest.loaded().chain(&self.manifest.history).any(|entry| entry.name == name);
        for name in self.disk.list(&self.paths.log())? {
            if self.paths.is_segment(&name) && !named(&name) {
                set_aside(&*self.disk, &self.paths.log_file(&name))?;
            }
        }
        Ok(())
    }

    fn check_retired(&self) -> Result<()> {
        let why = || std::io::Error::other("another generation has taken its place");
        if self.retired { Err(IoFailure::new("changing", &self.manifest_path, why())) } else { Ok(()) }
    }

    fn replace(&mut self, manifest: Manifest) -> Result<()> {
        self.check_retired()?;
        let text = manifest.emit();
        let temporary = durable::with_suffix(&self.manifest_path, durable::TEMPORARY);
        if !text.is_empty() {
            durable::write_new(&*self.disk, &temporary, text.as_bytes())?;
        }
        let replaced = match text.is_empty() {
            // Stock servers refuse an empty manifest; none at all is an empty log.
            true => self
                .set_leftovers_aside()
                .and_then(|()| durable::remove_if_there(&*self.disk, &self.manifest_path))
                .and_then(|()| self.disk.fsync_dir(&self.paths.log())),
            false => durable::publish(&*self.disk, &temporary, &self.manifest_path),
        };
        if replaced.is_err() {
            let named =
                |name: &str| self.manifest.loaded().any(|entry| entry.name == name) || self.may_name(name);
            let fresh: Vec<Entry> = manifest.loaded().filter(|entry| !named(&entry.name)).cloned().collect();
            self.doubtful.extend(fresh);
            return replaced;
        }
        self.manifest = manifest;
        for entry in std::mem::take(&mut self.doubtful) {
            if self.manifest.loaded().all(|kept| kept.name != entry.name) {
                // Nothing names it any more. That it cannot be removed is no failure of this change.
                let _leftover = durable::remove_if_there(&*self.disk, &self.paths.log_file(&entry.name));
            }
        }
        Ok(())
    }
}

/// The name under which a file of a generation waits for the commit.
pub fn pending(path: &Path, generation: u64) -> PathBuf {
    durable::with_suffix(path, &format!(".g{generation}"))
}

/// At start, knowing the committed generation: finishes its renames, removes what waits for any other.
/// Returns what was done, for the log.
pub fn settle_generation(disk: &dyn Disk, paths: &Paths, committed: u64) -> Result<Vec<String>> {
    let mut done = Vec::new();
    for dir in [paths.log(), paths.data.clone()] {
        let mut changed = false;
        for name in disk.list(&dir)? {
            let whole = name.strip_suffix(durable::TEMPORARY);
            let Some((stem, generation)) = split_pending(whole.unwrap_or(&name), paths) else { continue };
            let path = dir.join(&name);
            changed = true;
            if generation == committed && whole.is_none() {
                disk.rename(&path, &dir.join(stem))?;
                done.push(format!("finished the switch to generation {generation}: {stem}"));
                continue;
            }
            if path == pending(&paths.manifest(), generation) {
                remove_uncommitted(disk, paths, &path)?;
            }
            disk.remove(&path)?;
            done.push(format!("removed {name}, left by an unfinished full sync"));
        }
        if changed {
            disk.fsync_dir(&dir)?; // before anything is written that assumes it
        }
    }
    Ok(done)
}

/// Removes the files that a never-committed manifest names as its own.
fn remove_uncommitted(disk: &dyn Disk, paths: &Paths, manifest: &Path) -> Result<()> {
    let bytes = read_all(disk, manifest, MANIFEST_LIMIT)?;
    let Ok(manifest) = Manifest::parse(&bytes) else { return Ok(()) };
    let current = match read_manifest(disk, paths)? {
        ManifestFound::Good(manifest) => manifest,
        _ => Manifest::default(),
    };
    for entry in manifest.loaded() {
        if current.loaded().all(|kept| kept.name != entry.name) {
            durable::remove_if_there(disk, &paths.log_file(&entry.name))?;
        }
    }
    Ok(())
}

/// A directory's first generation took its names without waiting: what is called so is somebody else's copy.
fn split_pending<'a>(name: &'a str, paths: &Paths) -> Option<(&'a str, u64)> {
    let (stem, digits) = name.rsplit_once(".g")?;
    let ours =
        stem.ends_with(".manifest") || Path::new(stem) == paths.ring().file_name()? || stem == paths.snapshot;
    let generation = digits.parse().ok()?;
    (ours && generation > 1).then_some((stem, generation))
}

/// The damage as a refusal that names file and place.
pub fn manifest_damage(paths: &Paths, error: ManifestError) -> Corrupt {
    Corrupt::from(error).in_file(&paths.manifest())
}

mod past;

pub use past::restore_past;

/// Where the tests of this layer have a data directory.
#[cfg(test)]
pub(super) fn paths() -> Paths {
    Paths {
        data: "/d".into(),
        log_dir: "appendonlydir".into(),
        log_name: "appendonly.aof".into(),
        snapshot: "dump.rdb".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{PowerCut, SimDisk};
    use crate::format::history::{Base, BaseFile, Born, History};
    use crate::units::ReplId;

    #[test]
    fn what_waits_for_a_switch_has_exactly_its_name() {
        let check = |name, expected| assert_eq!(split_pending(name, &paths()), expected, "{name}");
        check("dump.rdb.g2", Some(("dump.rdb", 2)));
        check("backlog.ring.g12", Some(("backlog.ring", 12)));
        check("appendonly.aof.manifest.g3", Some(("appendonly.aof.manifest", 3)));
        for persons in
            ["dump.rdb.g1", "dump.rdb.g0", "old.ring.g3", "other.rdb.g2", "dump.rdb.g", "dump.rdb.g2x"]
        {
            check(persons, None);
        }
    }

    fn place(offset: u64) -> Place {
        Place { replid: ReplId::from_random([1; 20]), offset: Offset(offset), db: 0 }
    }

    fn manifest(disk: &SimDisk) -> Manifest {
        match read_manifest(disk, &paths()).unwrap() {
            ManifestFound::Good(manifest) => manifest,
            ManifestFound::None => Manifest::default(),
            ManifestFound::Bad(error) => panic!("{error:?}"),
        }
    }

    fn segments(disk: &SimDisk) -> Segments {
        Segments::new(Arc::new(disk.clone()), paths(), manifest(disk)).unwrap()
    }

    /// One base and two segments, then a rewrite: stopped at every step, the manifest names only files that
    /// are there, and a start clears what is left.
    #[test]
    fn a_rewrite_stopped_at_any_step_leaves_a_loadable_directory() {
        for step in 0.. {
            let disk = SimDisk::new();
            let mut log = segments(&disk);
            log.open_next(place(0)).unwrap();
            disk.fail_from(step);
            let rewrite = |log: &mut Segments| -> Result<()> {
                let first = log.open_next(place(100))?.seq;
                let (name, seq) = log.next_base(first, false);
                durable::write_new(&disk, &paths().log_file(&name), b"REDIS")?;
                log.commit_base(&name, seq, Offset(100), first)
            };
            let done = rewrite(&mut log).is_ok();
            for cut in [PowerCut::LoseAll, PowerCut::KeepAll, PowerCut::Seeded(step)] {
                let after = disk.after_power_cut(cut);
                let mut log = segments(&after);
                log.delete_history().unwrap();
                let names: Vec<&str> = log.manifest.loaded().map(|e| e.name.as_str()).collect();
                for name in &names {
                    assert!(after.exists(&paths().log_file(name)).unwrap(), "step {step} {cut:?} {name}");
                }
                if done {
                    assert_eq!(names, ["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"]);
                    assert_eq!(after.list(&paths().log()).unwrap().len(), 3);
                }
                log.open_next(place(200)).unwrap();
            }
            if done {
                break;
            }
        }
    }

    /// Until the new log has a base, a start finds the old one again; what lies between them is held by nobody.
    #[test]
    fn a_log_that_was_left_behind_stays_until_there_is_a_base() {
        for (based, had_base) in [(false, true), (true, true), (false, false), (true, false)] {
            let disk = SimDisk::new();
            let mut log = segments(&disk);
            log.open_next(place(0)).unwrap();
            let write_base = |log: &mut Segments, at: u64| {
                let first = log.manifest.incrs.last().unwrap().seq;
                let (name, seq) = log.next_base(first, false);
                durable::write_new(&disk, &paths().log_file(&name), b"REDIS").unwrap();
                log.commit_base(&name, seq, Offset(at), first).unwrap();
                name
            };
            let old = had_base.then(|| write_base(&mut log, 0));
            let before = log.manifest.clone();
            log.leave_behind().unwrap();
            let mut history = History::new(place(0).replid, Offset::ZERO, Born::Empty, 1);
            let named = |name: &str, cut: u64| Base {
                cut: Offset(cut),
                db: 0,
                placed: true,
                files: vec![BaseFile { name: paths().relative(name), len: 5, checksum: 0 }],
            };
            history.bases = old.iter().map(|old| named(old, 0)).collect();
            let killed = disk.after_process_crash(); // before it has a segment
            assert_eq!(restore_past(&killed, &paths(), &history).unwrap(), Some(None));
            assert_eq!(manifest(&killed), before);
            log.open_next(place(900)).unwrap();
            let readable: Vec<_> = log.readable().map(|entry| entry.start_offset.unwrap()).collect();
            assert_eq!(readable, [Offset(900)]);
            log.delete_passed().unwrap();
            if based {
                let new = write_base(&mut log, 900);
                history.bases.push(named(&new, 900));
            }
            let expected = (!based).then_some(Some(Offset(900)));
            assert_eq!(restore_past(&disk, &paths(), &history).unwrap(), expected);
            let found = manifest(&disk);
            assert_eq!(found == before, !based, "{found:?}");
            for entry in found.loaded() {
                assert!(disk.exists(&paths().log_file(&entry.name)).unwrap());
            }
            assert_eq!(restore_past(&disk, &paths(), &history).unwrap(), None, "once");
        }
    }

    /// A segment that no manifest names, brought back by a power cut: nothing that is needed, unless it leads further.
    #[test]
    fn a_segment_that_came_back_is_set_aside() {
        let stream = b"*1\r\n$4\r\nPING\r\n";
        let mut bytes = Vec::new();
        let mut chain = Chain::open(place(0), &mut bytes);
        let end = place(stream.len() as u64);
        chain.cover(stream);
        bytes.extend_from_slice(stream);
        chain.mark(end, end.offset, &mut bytes);
        let check = |at: u64, taken: bool| {
            let disk = SimDisk::new();
            let mut log = segments(&disk);
            let name = paths().log_file("appendonly.aof.1.incr.aof");
            durable::write_new(&disk, &name, &bytes).unwrap();
            assert_eq!(log.open_next(place(at)).is_ok(), taken, "at {at}");
            let kept = if taken { durable::with_suffix(&name, ".aside") } else { name };
            assert!(read_all(&disk, &kept, 9999).unwrap() == bytes, "at {at}");
        };
        check(end.offset.0, true);
        check(end.offset.0 + 1, true);
        check(0, false);
    }

    /// The manifest goes with the last segment; one that came back is not left behind without it.
    #[test]
    fn a_segment_that_came_back_does_not_outlive_the_manifest() {
        let disk = SimDisk::new();
        let mut log = segments(&disk);
        log.open_next(place(0)).unwrap();
        let leftover = paths().log_file("appendonly.aof.7.incr.aof");
        durable::write_new(&disk, &leftover, b"*1\r\n$4\r\nPING\r\n").unwrap();
        log.drop_before(u64::MAX).unwrap();
        log.delete_history().unwrap();
        assert!(!disk.exists(&paths().manifest()).unwrap() && !disk.exists(&leftover).unwrap());
        assert!(disk.exists(&durable::with_suffix(&leftover, ".aside")).unwrap());
    }

    #[test]
    fn an_old_log_is_taken_in() {
        let disk = SimDisk::new();
        durable::write_new(&disk, &paths().old_log(), b"*1\r\n$4\r\nPING\r\n").unwrap();
        let mut log = segments(&disk);
        log.adopt_old_log().unwrap();
        log.open_next(place(0)).unwrap();
        let text = read_all(&disk, &paths().manifest(), 9999).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert!(text.starts_with("file appendonly.aof seq 1 type b crc "), "{text}");
        assert!(text.ends_with("\nfile appendonly.aof.1.incr.aof seq 1 type i startoffset 0\n"), "{text}");
        assert!(!disk.exists(&paths().old_log()).unwrap());
    }
}
