//! Cuts what a check called a torn tail, and keeps what it cuts.
//!
//! A log is cut behind its last whole unit, never inside or behind an annotation that is not whole, because a server appends at
//! the end of the file and would make one line of both. The bytes go to `NAME.torn-OFFSET` first and are synced there;
//! then the file is cut and synced. A crash in between leaves both, and the next fix begins anew. A directory on which a server of ours runs is left alone. Nothing but a torn tail is
//! repaired: of a corrupt file it is not known what to keep (that is `salvage`'s task).
//!
//! **To a time.** What is cut off then was sound, and in a data directory of ours two files tell of it: the ring holds it,
//! and would bring it back at the next start, and `replication.toml` knows that it was there. Both are set aside first, so
//! that the log alone says where the server is; whatever the moment of a crash, a start finds all or nothing of what
//! was to go. A mark is written at the new end, or what stands behind the last one would be no more than a torn tail.
//! Replicas that are ahead of that place keep what they have until somebody decides (rule 5).

use std::io::Read;
use std::path::{Path, PathBuf};

use super::log::timestamp;
use super::{Report, Verdict};
use crate::disk::{DirLock, Disk, DiskFile, Mode, OsDisk, durable, read_all};
use crate::error::Corrupt;
use crate::format::aof::{Place, SegmentWalk};
use crate::format::framing::{Command, Framer, Sink, Units};
use crate::format::manifest::Manifest;
use crate::inspect::text::Json;
use crate::inspect::{Failure, Result};
use crate::log::commit::copy_tail;
use crate::log::rdb_probe::{FormatProbe, Positioned};
use crate::log::segments::set_aside;
use crate::log::survey::RdbProbe;

/// A file that was cut.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub file: PathBuf,
    /// Its length now.
    pub keep: u64,
    /// Bytes that were cut off, and where they are kept.
    pub cut: u64,
    pub aside: PathBuf,
    /// The new names of files that told of what was cut.
    pub withdrawn: Vec<PathBuf>,
}

impl Fixed {
    pub fn write_json(&self, json: &mut Json) {
        json.object(|j| {
            j.key("file").text(self.file.as_os_str().as_encoded_bytes());
            j.key("bytes").plain(self.keep);
            j.key("cut").plain(self.cut);
            j.key("kept_in").text(self.aside.as_os_str().as_encoded_bytes());
            j.key("set_aside").array(|j| {
                self.withdrawn.iter().for_each(|path| j.text(path.as_os_str().as_encoded_bytes()));
            });
        });
    }
}

const PIECE: usize = 256 << 10;
const MANIFEST_MOST: u64 = 64 << 20;

/// Cuts the torn tails of a report's files; they must be plain files. Empty: there is none.
pub fn fix(report: &Report) -> Result<Vec<Fixed>> {
    let disk = OsDisk::new();
    let torn = report.files.iter().filter(|file| file.verdict == Verdict::Torn);
    let fixed = torn.filter_map(|file| Some((file, file.cut?))).map(|(file, keep)| {
        let _no_server = lock_above(&disk, &file.file)?;
        cut(&disk, &file.file, keep, &[])
    });
    fixed.collect()
}

/// Cuts the file at `keep` and writes `end` there.
fn cut(disk: &OsDisk, path: &Path, keep: u64, end: &[u8]) -> Result<Fixed> {
    if path.as_os_str() == "-" {
        return Err(Failure::Usage("standard input cannot be fixed".into()));
    }
    let file = disk.open(path, Mode::Write)?;
    let mut magic = [0; 4];
    file.read_at(&mut magic, 0)?;
    if magic.starts_with(&[0x1f, 0x8b]) || magic == [0x28, 0xb5, 0x2f, 0xfd] {
        return Err(Failure::Usage(format!("{} is compressed: unpack it first", path.display())));
    }
    let len = file.size()?;
    let aside = free_name(disk, path, keep)?;
    copy_tail(disk, &*file, keep, &aside)?;
    file.truncate(keep)?;
    file.write_at(end, keep)?;
    file.fdatasync()?;
    let cut = len.saturating_sub(keep);
    let keep = keep + end.len() as u64;
    Ok(Fixed { file: path.to_path_buf(), keep, cut, aside, withdrawn: Vec::new() })
}

/// The lock of the data directory that a log is in, so that no server of ours writes it meanwhile. A stock server has none.
fn lock_above(disk: &OsDisk, path: &Path) -> Result<Option<DirLock>> {
    let absolute = std::path::absolute(path).map_err(|error| super::unreadable(error, path))?;
    for directory in absolute.ancestors().skip(1).take(2) {
        if disk.exists(&directory.join("ringhold.lock"))? {
            let lock = DirLock::acquire(directory);
            return lock.map(Some).map_err(|refused| Failure::Usage(format!("nothing was cut: {refused}")));
        }
    }
    Ok(None)
}

fn free_name(disk: &OsDisk, path: &Path, keep: u64) -> Result<PathBuf> {
    let name = durable::with_suffix(path, &format!(".torn-{keep}"));
    if !disk.exists(&name)? {
        return Ok(name);
    }
    for n in 2.. {
        let next = durable::with_suffix(&name, &format!(".{n}"));
        if !disk.exists(&next)? {
            return Ok(next);
        }
    }
    Ok(name)
}

/// Cuts a log behind the last unit that was written up to `seconds` (Unix), as its `#TS:` lines tell. `None`: nothing in it is
/// later.
pub fn truncate_to_timestamp(path: &Path, seconds: i64) -> Result<Option<Fixed>> {
    let disk = OsDisk::new();
    let file = disk.open(path, Mode::Read)?;
    let start = preamble(&*file)?;
    let mut walk = Search { until: seconds, units: Units::new(0), found: None, seen: false, unit: start };
    let mut framer = Framer::new(start);
    let mut input = Positioned { file: &*file, at: start };
    let mut piece = vec![0; PIECE];
    while walk.found.is_none() {
        let got = input.read(&mut piece).map_err(|error| super::unreadable(error, path))?;
        if got == 0 {
            break;
        }
        framer.feed(&piece[..got], &mut walk).map_err(|damage| Failure::Corrupt(damage.in_file(path)))?;
    }
    match walk.found {
        Some(at) => {
            let _no_server = lock_above(&disk, path)?;
            let end = end_mark(&*file, at)?;
            let withdrawn = withdraw(&disk, path)?;
            Ok(Some(Fixed { withdrawn, ..cut(&disk, path, at, &end)? }))
        }
        None if !walk.seen => {
            Err(Failure::Usage(format!("{} has no timestamps (aof-timestamp-enabled)", path.display())))
        }
        None => Ok(None),
    }
}

/// Sets aside what else tells of the bytes of a log: the ring and `replication.toml` beside it.
fn withdraw(disk: &OsDisk, log: &Path) -> Result<Vec<PathBuf>> {
    let absolute = std::path::absolute(log).map_err(|error| super::unreadable(error, log))?;
    let Some((directory, data)) =
        absolute.parent().and_then(|directory| Some((directory, directory.parent()?)))
    else {
        return Ok(Vec::new());
    };
    let name = log.file_name().unwrap_or_default().to_string_lossy();
    for manifest in disk.list(directory)?.iter().filter(|name| name.ends_with(".manifest")) {
        let bytes = read_all(disk, &directory.join(manifest), MANIFEST_MOST)?;
        let Ok(manifest) = Manifest::parse(&bytes) else { continue };
        let mut names = manifest.loaded().map(|entry| entry.name.as_str()).skip_while(|named| *named != name);
        if names.next().is_none() {
            continue;
        }
        if let Some(next) = names.next() {
            let what = format!(
                "nothing was cut: {next} goes on where {name} ends, so it is to be cut or moved away first"
            );
            return Err(Failure::Usage(what));
        }
        let mut withdrawn = Vec::new();
        for file in ["backlog.ring", "replication.toml"] {
            withdrawn.extend(set_aside(disk, &data.join(file))?);
        }
        return Ok(withdrawn);
    }
    Ok(Vec::new())
}

/// What proves a segment of ours when it is cut at `at`; empty if nothing has to, or nothing can.
fn end_mark(file: &dyn DiskFile, at: u64) -> Result<Vec<u8>> {
    let walk = |to: u64| -> Result<SegmentWalk> {
        let mut walk = SegmentWalk::new(0);
        let (mut piece, mut fed) = (vec![0; PIECE], 0);
        while fed < to {
            let most = (to - fed).min(PIECE as u64) as usize;
            let got = file.read_at(&mut piece[..most], fed)?;
            if got == 0 {
                break;
            }
            walk.feed(&piece[..got]);
            fed += got as u64;
        }
        Ok(walk)
    };
    let proven = walk(file.size()?)?.finish().proven.at >= at;
    let kept = walk(at)?;
    let chain = kept.chain().filter(|_| proven);
    let report = kept.finish();
    let Some((mut chain, (replid, _))) = chain.zip(report.ids.last().copied()) else { return Ok(Vec::new()) };
    let mut mark = Vec::new();
    if report.unproven() > 0 {
        let place = Place { replid, offset: report.parsed.offset, db: report.parsed.db };
        chain.mark(place, report.durable, &mut mark);
    }
    Ok(mark)
}

/// Where the commands begin.
fn preamble(file: &dyn DiskFile) -> Result<u64> {
    let mut magic = [0; 5];
    if file.read_at(&mut magic, 0)? < magic.len() || &magic != b"REDIS" {
        return Ok(0);
    }
    FormatProbe.preamble_end(file)?.map_err(Failure::Corrupt)
}

struct Search {
    until: i64,
    units: Units,
    /// Behind the last unit that is early enough.
    found: Option<u64>,
    seen: bool,
    unit: u64,
}

impl Sink for Search {
    fn stream(&mut self, _: &[u8]) {}
    fn line(&mut self, line: &[u8], at: u64) -> std::result::Result<(), Corrupt> {
        let Some(seconds) = timestamp(line) else { return Ok(()) };
        self.seen = true;
        if seconds > self.until {
            let whole = if self.units.in_multi() { self.unit } else { at };
            self.found.get_or_insert(whole);
        }
        Ok(())
    }
    fn command_end(&mut self, command: Command, at: u64) {
        if self.units.command_end(command) {
            self.unit = at;
        }
    }
}
