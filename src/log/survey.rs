//! What is in a data directory, read and proven, not yet judged.
//!
//! Every log file is walked once, streaming; the ring's blocks are checked by `Ring::open`; snapshots are only peeked at
//! (AUX fields, length, trailer), because whoever loads one checks its trailer anyway. Values are never looked at.
//!
//! A log is *ours* if `replication.toml` names its leading files as a base (by length and seal), or if at least one file
//! begins with a proven opening. What is named comes first: files that were taken over may begin with an opening of an
//! earlier history. Without a name, the files before the first opening are the base, if they are an RDB that fits.
//! After the base only segments of ours may follow, each starting where the one before is proven to end; where that
//! chain breaks is the log's *tail*.

use std::path::{Path, PathBuf};

use super::recovery::Tail;
use super::segments::{ManifestFound, Paths, manifest_damage, read_manifest};
use crate::disk::{Disk, DiskFile, Mode, Result, read_all};
use crate::error::Corrupt;
use crate::format::aof::{Place, SegmentReport, SegmentWalk};
use crate::format::crc::SealCrc;
use crate::format::history::{Base, BaseFile, Born, Clean, History};
use crate::format::manifest::{Entry, FileType, Manifest};
use crate::planted::{Bug, planted};
use crate::ring::{Check, Found, Ring};
use crate::units::{Offset, ReplId};

/// What an RDB file says about itself, read by the codec's owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RdbPeek {
    /// AUX `repl-id`, `repl-offset`, `repl-stream-db`.
    pub replid: Option<ReplId>,
    pub offset: Option<Offset>,
    pub db: Option<u32>,
    /// AUX `ringhold-export`: it was written to go elsewhere, as an export or to a replica.
    pub export: bool,
    /// The last eight bytes; 0 if the file was written without a checksum.
    pub checksum: u64,
}

/// The little that recovery must know about RDB.
pub trait RdbProbe {
    /// Looks at the header's AUX fields and the last eight bytes of a whole RDB file.
    fn peek(&self, file: &dyn DiskFile) -> Result<std::result::Result<RdbPeek, Corrupt>>;
    /// Where the RDB that begins an old-style log ends (position after its trailer).
    fn preamble_end(&self, file: &dyn DiskFile) -> Result<std::result::Result<u64, Corrupt>>;
}

/// Why the server must not start. `Display` names file, place, what and what to do, behind the words in which Redis
/// says it, all on one line: tools look for these words in the last line of the log, and count the lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    pub file: PathBuf,
    pub at: u64,
    pub what: String,
    pub to_do: &'static str,
    /// What Redis would log.
    pub stock_words: Option<String>,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(words) = &self.stock_words {
            write!(f, "{words}: ")?;
        }
        write!(f, "{}: at byte {}: {}; {}", self.file.display(), self.at, self.what, self.to_do)
    }
}

pub enum HistoryFact {
    None,
    Good(Box<History>),
    Corrupt(Corrupt),
}

impl HistoryFact {
    pub fn good(&self) -> Option<&History> {
        match self {
            HistoryFact::Good(history) => Some(history),
            _ => None,
        }
    }
}

pub enum SnapshotFact {
    None,
    Found {
        file: BaseFile,
        peek: RdbPeek,
        /// As `replication.toml` names it.
        named: Option<Base>,
    },
    Unreadable(Corrupt),
}

/// One file of the log, in loading order.
#[derive(Clone, Debug)]
pub struct LogFile {
    pub name: String,
    pub path: PathBuf,
    pub len: u64,
    /// Leading bytes that are RDB; all of them for a base of ours.
    pub rdb: u64,
    pub peek: Option<RdbPeek>,
    /// The walk of what is no RDB.
    pub report: Option<SegmentReport>,
    /// RDB: the trailer; else the seal of all bytes.
    pub checksum: u64,
}

impl LogFile {
    pub fn is_ours(&self) -> bool {
        self.report.as_ref().is_some_and(|report| report.opening.is_some())
    }
    /// What it equals, if it is a base of commands that is whole.
    fn base_of_commands(&self) -> Option<Place> {
        self.report.as_ref().and_then(|report| report.base)
    }
    /// A segment of ours in which no stream byte was written.
    fn is_idle(&self) -> bool {
        self.is_ours() && self.report.as_ref().is_some_and(|report| report.body == self.len)
    }
}

pub enum LogShape {
    None,
    Ours,
    ForeignBase,
    ForeignTail,
    Stock,
    OldSingle,
    Damaged,
}

pub struct LogFacts {
    pub shape: LogShape,
    pub manifest: Manifest,
    pub files: Vec<LogFile>,
    /// Index of the first segment of ours; the files before it are the base. There may be none yet.
    pub first: usize,
    /// Index of the segment in which the proven chain ends; `first` if there is none.
    pub last: usize,
    /// The base, if the log has one of its own that may be trusted.
    pub base: Option<Base>,
    pub tail: Tail,
    /// The highest offset that must be there (rule 17).
    pub known_durable: Offset,
    /// Why to refuse, if the verdict blames the log.
    pub refusal: Option<Refusal>,
}

impl LogFacts {
    fn empty(shape: LogShape) -> LogFacts {
        LogFacts {
            shape,
            manifest: Manifest::default(),
            files: Vec::new(),
            first: 0,
            last: 0,
            base: None,
            tail: Tail::Whole,
            known_durable: Offset::ZERO,
            refusal: None,
        }
    }
    fn report(&self, i: usize) -> Option<&SegmentReport> {
        self.files.get(i)?.report.as_ref()
    }
    /// Our segments as far as the chain holds.
    pub fn segments(&self) -> &[LogFile] {
        self.files.get(self.first..=self.last).unwrap_or_default()
    }
    /// The last of them, as it was walked.
    pub fn last_report(&self) -> Option<&SegmentReport> {
        self.report(self.last)
    }
    /// The proven bytes of our segments; none of them is there yet: the base's cut.
    pub fn range(&self) -> Option<(Offset, Offset)> {
        if self.segments().is_empty() {
            return self.base.as_ref().map(|base| (base.cut, base.cut));
        }
        let start = self.report(self.first)?.opening?.offset;
        Some((start, self.last_report()?.proven.offset))
    }
    /// The db at the end of the proven bytes.
    pub fn end_db(&self) -> u32 {
        let base = self.base.as_ref().map_or(0, |base| base.db);
        self.last_report().map_or(base, |report| report.proven.db)
    }
}

pub struct Survey {
    pub history: HistoryFact,
    pub snapshot: SnapshotFact,
    /// Where `dbfilename` names no file, or one that was written to go elsewhere: the latest snapshot that `replication.toml`
    /// names, found as it was written under its own name (`dbfilename` was changed; rule 26).
    pub recorded: Option<SnapshotFact>,
    pub log: LogFacts,
    pub ring: Option<(Box<Ring>, Check)>,
    pub ring_damage: Option<Corrupt>,
}

const HISTORY_LIMIT: u64 = 1 << 20;
const PIECE: usize = 1 << 20;

/// Looks at everything. `Err` only for failed system calls.
pub fn survey(disk: &dyn Disk, paths: &Paths, probe: &dyn RdbProbe) -> Result<Survey> {
    let history = read_history(disk, paths)?;
    let (ring, ring_damage) = match Ring::open(disk, &paths.ring())? {
        Found::Missing => (None, None),
        Found::Damaged(damage) => (None, Some(damage)),
        Found::Ring(ring, check) => {
            let damage = check.damage.clone();
            (Some((ring, check)), damage)
        }
    };
    let snapshot = read_snapshot(disk, paths, &paths.snapshot, probe, history.good())?;
    let recorded = read_recorded(disk, paths, probe, history.good(), &snapshot)?;
    let noted = ring.as_ref().filter(|(ring, _)| history.good().is_some_and(|h| h.tag == ring.tag()));
    let noted = noted.map_or(Offset::ZERO, |(_, check)| check.durable);
    let log = LogReader { disk, paths, probe, history: history.good(), noted }.read()?;
    Ok(Survey { history, snapshot, recorded, log, ring, ring_damage })
}

fn read_history(disk: &dyn Disk, paths: &Paths) -> Result<HistoryFact> {
    if !disk.exists(&paths.history())? {
        return Ok(HistoryFact::None);
    }
    let bytes = read_all(disk, &paths.history(), HISTORY_LIMIT)?;
    Ok(match History::parse(&bytes) {
        Ok(history) => HistoryFact::Good(Box::new(history)),
        Err(damage) => HistoryFact::Corrupt(damage.in_file(&paths.history())),
    })
}

fn read_snapshot(
    disk: &dyn Disk,
    paths: &Paths,
    name: &str,
    probe: &dyn RdbProbe,
    history: Option<&History>,
) -> Result<SnapshotFact> {
    let path = paths.data.join(name);
    let Some(len) = disk.len(&path)? else { return Ok(SnapshotFact::None) };
    let peek = match probe.peek(&*disk.open(&path, Mode::Read)?)? {
        Ok(peek) => peek,
        Err(damage) => return Ok(SnapshotFact::Unreadable(damage.in_file(&path))),
    };
    let file = BaseFile { name: name.into(), len, checksum: peek.checksum };
    let named = history.and_then(|h| find_base(h, std::slice::from_ref(&file)));
    // A file written without a checksum is told from another of its length by its place.
    let named =
        named.filter(|base| peek.checksum != 0 || peek.offset.is_none_or(|offset| offset == base.cut));
    Ok(SnapshotFact::Found { file, peek, named })
}

fn read_recorded(
    disk: &dyn Disk,
    paths: &Paths,
    probe: &dyn RdbProbe,
    history: Option<&History>,
    configured: &SnapshotFact,
) -> Result<Option<SnapshotFact>> {
    let is_no_base = match configured {
        SnapshotFact::None => true,
        SnapshotFact::Found { peek, named, .. } => named.is_none() && peek.export,
        SnapshotFact::Unreadable(_) => false,
    };
    let Some(history) = history.filter(|_| is_no_base) else { return Ok(None) };
    let name = |base: &Base| match base.files.as_slice() {
        [file] if !file.name.contains('/') && file.name != paths.snapshot => Some(file.name.clone()),
        _ => None,
    };
    let mut bases: Vec<(Offset, String)> =
        history.bases.iter().filter_map(|base| Some((base.cut, name(base)?))).collect();
    bases.sort();
    for (_, name) in bases.iter().rev() {
        let found = read_snapshot(disk, paths, name, probe, Some(history))?;
        if matches!(found, SnapshotFact::Found { named: Some(_), .. }) {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn find_base(history: &History, files: &[BaseFile]) -> Option<Base> {
    history.bases.iter().find(|base| base.files == files).cloned()
}

struct LogReader<'a> {
    disk: &'a dyn Disk,
    paths: &'a Paths,
    probe: &'a dyn RdbProbe,
    history: Option<&'a History>,
    /// What the ring's header calls durable.
    noted: Offset,
}

impl LogReader<'_> {
    fn read(&self) -> Result<LogFacts> {
        let manifest = match read_manifest(self.disk, self.paths)? {
            ManifestFound::Good(manifest) => manifest,
            ManifestFound::None => Manifest::default(),
            ManifestFound::Bad(error) => {
                let mut facts = LogFacts::empty(LogShape::Damaged);
                let stock_words = Some("FATAL AOF MANIFEST FILE ERROR".to_string());
                facts.refusal =
                    Some(Refusal { stock_words, ..refusal(manifest_damage(self.paths, error), REPAIR) });
                return Ok(facts);
            }
        };
        if self.is_old_single(&manifest)? {
            let mut facts = LogFacts::empty(LogShape::OldSingle);
            let file = self.read_file(&self.paths.log_name, self.paths.old_log())?;
            self.add_stock(&mut facts, vec![file]);
            return Ok(facts);
        }
        if let Some(refusal) = self.unnamed(&manifest)? {
            return Ok(LogFacts { refusal: Some(refusal), ..LogFacts::empty(LogShape::Damaged) });
        }
        if manifest.is_empty() {
            return Ok(LogFacts::empty(LogShape::None));
        }
        let mut files = Vec::new();
        for entry in manifest.loaded() {
            let path = self.paths.log_file(&entry.name);
            if !self.disk.exists(&path)? {
                return Ok(self.missing(manifest.clone(), entry, path));
            }
            files.push(self.read_file(&entry.name, path)?);
            let refusal = self.lost_opening(&files, entry).or_else(|| self.broken_base(&files, entry));
            if let Some(refusal) = refusal {
                return Ok(LogFacts {
                    manifest: manifest.clone(),
                    refusal: Some(refusal),
                    ..LogFacts::empty(LogShape::Damaged)
                });
            }
        }
        let mut facts = self.classify(files);
        facts.manifest = manifest;
        Ok(facts)
    }

    /// A log of Redis before 7.0 that is still to be taken in, by the same three conditions as Redis has.
    fn is_old_single(&self, manifest: &Manifest) -> Result<bool> {
        if !self.disk.exists(&self.paths.old_log())? || self.disk.is_dir(&self.paths.old_log()) {
            return Ok(false);
        }
        let interrupted = match &manifest.base {
            Some(base) => {
                manifest.incrs.is_empty()
                    && base.name == self.paths.log_name
                    && !self.disk.exists(&self.paths.log_file(&base.name))?
            }
            None => false,
        };
        Ok(manifest.is_empty() || interrupted)
    }

    /// A file of ours that the manifest no longer names, though `replication.toml` does (as a base in force, or as a
    /// segment of the clean shutdown): the manifest was damaged or lost. Segments that neither names may be what a
    /// crash left, and are not asked about, unless there is no manifest at all: it goes last, after all that hold stream.
    fn unnamed(&self, manifest: &Manifest) -> Result<Option<Refusal>> {
        if !self.disk.is_dir(&self.paths.log()) {
            return Ok(None);
        }
        let named = |name: &str| manifest.loaded().chain(&manifest.history).any(|entry| entry.name == name);
        for name in self.disk.list(&self.paths.log())? {
            let is_base = self.history.is_some_and(|history| {
                let placed = history.bases.iter().filter(|base| base.placed);
                placed.flat_map(|base| &base.files).any(|file| file.name == self.paths.relative(&name))
            });
            let closed =
                self.clean().is_some_and(|clean| clean.segments.iter().any(|kept| kept.name == name));
            let ours = || -> Result<bool> {
                let path = self.paths.log_file(&name);
                let asked = manifest.is_empty() && self.paths.is_segment(&name);
                Ok(asked && holds_stream(self.disk, &path)?)
            };
            let lost = !named(&name) && (is_base || closed || ours()?);
            if lost {
                let what = format!("it does not name {name}, which holds data of this log");
                return Ok(Some(Refusal { what, ..refusal_at(self.paths.manifest(), REPAIR) }));
            }
        }
        Ok(None)
    }

    /// The last of `files` must be a segment of ours, since it continues a file of ours or the history and the manifest gives its offset, but
    /// its opening, which was durable before the manifest named it, is gone.
    fn lost_opening(&self, files: &[LogFile], entry: &Entry) -> Option<Refusal> {
        let (file, before) = files.split_last()?;
        let start = entry.start_offset.filter(|_| !file.is_ours() && file.rdb == 0)?;
        let base: Vec<BaseFile> = before.iter().map(|file| self.base_file(file)).collect();
        let continues =
            before.iter().any(|file| file.is_ours() || file.peek.is_some_and(|p| p.offset == Some(start)))
                || self
                    .history
                    .is_some_and(|history| find_base(history, &base).is_some_and(|base| base.cut == start));
        // The log's first file, where none is a base of it: the history goes on from nothing, or from a snapshot elsewhere.
        let begins = entry.file_type == FileType::Incr
            && before.is_empty()
            && self.history.is_some_and(|history| {
                let from_birth = start == Offset::ZERO && history.born == Born::Empty;
                from_birth || history.bases.iter().any(|base| base.placed && base.cut == start)
            });
        let named = |clean: &Clean| clean.segments.iter().any(|segment| segment.name == file.name);
        let what = format!("the opening of the segment at stream offset {start} is damaged or missing");
        (continues || begins || self.clean().is_some_and(named))
            .then(|| Refusal { what, ..refusal_at(file.path.clone(), REPAIR) })
    }

    /// The last of `files` must be a base of commands of ours, since the manifest, which is sealed, says what it equals; but
    /// it is not whole. (Of an RDB its own checksum tells.)
    fn broken_base(&self, files: &[LogFile], entry: &Entry) -> Option<Refusal> {
        let file = files.last()?;
        let cut = entry.start_offset.filter(|_| entry.file_type == FileType::Base)?;
        let is_commands = !file.name.ends_with(".rdb");
        let whole = file.base_of_commands().is_some_and(|place| place.offset == cut);
        let what = format!("the base, which holds the state at stream offset {cut}, is damaged or cut short");
        let at = file.report.as_ref().map_or(0, |report| report.bad_mark.unwrap_or(report.parsed.at));
        (is_commands && !whole).then(|| Refusal { at, what, ..refusal_at(file.path.clone(), REPAIR) })
    }

    fn missing(&self, manifest: Manifest, entry: &Entry, path: PathBuf) -> LogFacts {
        let mut facts = LogFacts::empty(LogShape::Damaged);
        facts.manifest = manifest;
        let stock =
            format!("Unable to obtain the AOF file {} length. stat: No such file or directory", entry.name);
        facts.refusal = Some(Refusal {
            file: path,
            at: 0,
            what: format!("{}.manifest names this file, but it does not exist", self.paths.log_name),
            to_do: REPAIR,
            stock_words: Some(stock),
        });
        facts
    }

    fn read_file(&self, name: &str, path: PathBuf) -> Result<LogFile> {
        let file = self.disk.open(&path, Mode::Read)?;
        let len = file.size()?;
        let mut out = LogFile { name: name.into(), path, len, rdb: 0, peek: None, report: None, checksum: 0 };
        let mut magic = [0; 5];
        let has_rdb = file.read_at(&mut magic, 0)? == 5 && &magic == b"REDIS";
        if has_rdb && name.ends_with(".rdb") {
            // Damage shows when it is loaded; until then the file is only not the one that was named.
            out.peek = self.probe.peek(&*file)?.ok();
            out.checksum = out.peek.map_or(0, |peek| peek.checksum);
            out.rdb = len;
            return Ok(out);
        }
        if has_rdb {
            // A damaged preamble is found again, and named, when it is loaded.
            out.rdb = self.probe.preamble_end(&*file)?.unwrap_or(len).min(len);
        }
        let mut walk = SegmentWalk::new(out.rdb);
        let mut piece = vec![0; PIECE];
        let mut at = 0;
        loop {
            // The preamble counts for the file's seal only.
            let want = if at < out.rdb { (out.rdb - at).min(PIECE as u64) as usize } else { PIECE };
            let got = file.read_at(&mut piece[..want], at)?;
            if got == 0 {
                break;
            }
            if at < out.rdb {
                walk.preamble(&piece[..got]);
            } else {
                walk.feed(&piece[..got]);
            }
            at += got as u64;
        }
        let report = walk.finish();
        out.checksum = report.file_seal;
        out.report = Some(report);
        Ok(out)
    }

    fn classify(&self, files: Vec<LogFile>) -> LogFacts {
        let mut facts = LogFacts::empty(LogShape::Ours);
        let named = self.named_base(&files);
        let opened = files.iter().position(LogFile::is_ours);
        let Some(first) = named.as_ref().map(|base| base.files.len()).or(opened) else {
            facts.shape = LogShape::Stock;
            self.add_stock(&mut facts, files);
            return facts;
        };
        let unnamed = named.is_none(); // another server's base of commands may well be empty
        let emptied =
            files[..first].iter().find(|file| file.len == 0 && (unnamed || file.name.ends_with(".rdb")));
        if let Some(file) = emptied {
            let what = "the file is empty, but segments of this log build on it".into();
            facts.refusal = Some(Refusal { what, ..refusal_at(file.path.clone(), REPAIR) });
            facts.shape = LogShape::Damaged;
            return facts;
        }
        let foreign =
            files[first..].iter().any(|file| self.has_foreign_bytes(file)) && !planted(Bug::ForeignTail);
        facts.base = named.or_else(|| self.fitting_base(&files[..first], &files[first]));
        let is_base = |file: &LogFile| file.rdb == file.len || file.base_of_commands().is_some();
        if foreign || (first > 0 && facts.base.is_none() && !(first == 1 && is_base(&files[0]))) {
            facts.base = None;
            facts.refusal = files[first..]
                .iter()
                .find_map(|file| self.damaged_seal(file))
                .or_else(|| self.without_its_base(files.first().filter(|_| first == 0)?));
            if facts.refusal.is_some() {
                facts.shape = LogShape::Damaged;
                return facts;
            }
            facts.shape = LogShape::ForeignTail;
            self.add_stock(&mut facts, files);
            return facts;
        }
        if first > 0 && facts.base.is_none() {
            facts.shape = LogShape::ForeignBase;
        }
        facts.files = files;
        facts.first = first;
        self.follow(&mut facts);
        facts
    }

    fn base_file(&self, file: &LogFile) -> BaseFile {
        BaseFile { name: self.paths.relative(&file.name), len: file.len, checksum: file.checksum }
    }

    /// The longest base of `replication.toml` that `files` begin with.
    fn named_base(&self, files: &[LogFile]) -> Option<Base> {
        let files: Vec<BaseFile> = files.iter().map(|file| self.base_file(file)).collect();
        let named = self.history?.bases.iter().filter(|base| !base.files.is_empty());
        named.filter(|base| files.starts_with(&base.files)).max_by_key(|base| base.files.len()).cloned()
    }

    /// A base of ours that proves itself to be the one: at the very place, name and offset, where the first segment
    /// begins (`replication.toml` may be missing, or older in a copied directory).
    fn fitting_base(&self, files: &[LogFile], first: &LogFile) -> Option<Base> {
        let [file] = files else { return None };
        let opening = first.report.as_ref()?.opening?;
        let stated = match file.base_of_commands() {
            Some(place) => (Some(place.replid), Some(place.offset)),
            None => file.peek.map(|peek| (peek.replid, peek.offset))?,
        };
        let fits = stated == (Some(opening.replid), Some(opening.offset));
        let files = vec![self.base_file(file)];
        fits.then_some(Base { cut: opening.offset, db: opening.db, placed: true, files })
    }

    fn clean(&self) -> Option<&Clean> {
        self.history?.clean.as_ref()
    }
}

/// What a segment's own marks prove.
pub fn walk_segment(disk: &dyn Disk, path: &Path) -> Result<SegmentReport> {
    let file = disk.open(path, Mode::Read)?;
    let mut walk = SegmentWalk::new(0);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let got = file.read_at(&mut piece, at)?;
        if got == 0 {
            return Ok(walk.finish());
        }
        walk.feed(&piece[..got]);
        at += got as u64;
    }
}

/// Does this segment hold stream bytes, or anything that is not merely an opening?
pub fn holds_stream(disk: &dyn Disk, path: &Path) -> Result<bool> {
    let (report, got) = read_opening(disk, path)?;
    Ok(got == OPENING_MOST || report.opening.is_some() && report.body < got as u64)
}

/// An annotation of at most 1023 bytes and a SELECT.
const OPENING_MOST: usize = 2048;

/// What the first bytes of a segment say, and how many there were.
pub fn read_opening(disk: &dyn Disk, path: &Path) -> Result<(SegmentReport, usize)> {
    let mut bytes = vec![0; OPENING_MOST];
    let got = disk.open(path, Mode::Read)?.read_at(&mut bytes, 0)?;
    let mut walk = SegmentWalk::new(0);
    walk.feed(&bytes[..got]);
    Ok((walk.finish(), got))
}

mod foreign;
mod tail;

const REPAIR: &str = "restore the file from a copy, or move it away to start without it";

fn refusal(damage: Corrupt, to_do: &'static str) -> Refusal {
    let file = damage.file.unwrap_or_default();
    Refusal { file, at: damage.at, what: damage.what.into_owned(), to_do, stock_words: None }
}

fn refusal_at(file: PathBuf, to_do: &'static str) -> Refusal {
    Refusal { file, at: 0, what: String::new(), to_do, stock_words: None }
}

impl From<&Corrupt> for Refusal {
    fn from(damage: &Corrupt) -> Refusal {
        refusal(damage.clone(), REPAIR)
    }
}

/// The seal of a whole file, as `replication.toml` records files that were taken over.
pub fn seal_file(file: &dyn DiskFile) -> Result<u64> {
    let mut seal = SealCrc::seeded(&[]);
    let mut piece = vec![0; PIECE];
    let mut at = 0;
    loop {
        let got = file.read_at(&mut piece, at)?;
        if got == 0 {
            return Ok(seal.value());
        }
        seal.update(&piece[..got]);
        at += got as u64;
    }
}
