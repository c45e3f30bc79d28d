//! What recovery's plan changes on disk.
//!
//! At start, in this order; a crash after any step finds a directory for which recovery reaches the same position:
//!
//! | step | a crash after it leaves |
//! |---|---|
//! | the torn tail, unless the ring holds the same, is copied aside, fsynced | the same directory and a copy |
//! | the file is cut (and its end marked), fsynced | the same log without the tail |
//! | the kept files and the names in the log's directory are fsynced: a killed server leaves both in the page cache only | the same log |
//! | an old log is taken in; what does not belong is moved aside | the same, under the manifest |
//! | the manifest names what is kept; of its history, segments kept for replicas that lead to the first of these, if their seals prove them and their names are this history's (rules 2, 3) | the same |
//! | [`super::history_file::HistoryFile::begin`]: `replication.toml` with the new name (**commit**) | the recovered position, named in the lineage |
//! | ring header, then the first segment's opening under the new name | the same; in-band names and `replication.toml` agree |
//!
//! **After a failed fsync** (rule 23). The bytes in doubt are those from `durable` to `written`; memory has all of them. They
//! are recorded as `sealed` in `replication.toml`, a new segment is opened behind them, a base is written at its start,
//! and only when both are durable and the manifest names them is a byte appended again:
//!
//! | the process or the machine ends | what a start finds | and does |
//! |---|---|---|
//! | before `sealed` is recorded | a log that reads well (page cache), or a torn one (power) | as after any crash, see below |
//! | before the base is committed, process | the bytes in doubt in page cache and ring, proven by their marks | loads them, syncs nothing of them, and writes a base at their end before it serves |
//! | the same, machine | some of the bytes lost, in any pattern | what is missing from `from` on is a torn tail, whatever stands there; nothing lost was called durable |
//! | the log was switched off, process | the same, and behind the last mark of the sealed segment what was written since, in segments and ring | the same |
//! | the same, machine | as above; segments may begin beyond what is left | goes on to the gap, sets those aside, and says from where to where (without AOF a crash of the machine promises no more) |
//! | after the base | base and new segment | the old segments are named as history: they are deleted |
//!
//! Rejected: to cut the sealed bytes and hand them to the new segment from the ring, as `durable` may lie before the ring's
//! start; to write the same bytes once more, as the medium has just shown that it cannot keep them.
//!
//! **Without a record of it** a start cannot tell pages that a failed fsync left clean from those that the medium has, nor
//! would its own fsync write them. So every start after an unclean end writes what no mark calls durable to the same
//! place once more before it syncs the log, whatever the last run came to: with `everysec` that is what one or two seconds
//! brought, with a spill or `appendfsync no` what the last run wrote. A crash in between leaves the same bytes, old or new.
//! Rejected: a new file for them, as every segment's name would have to be committed again; to do so after a recorded
//! failure as well, as there the base that is due comes first anyway.
//!
//! A change of name while running ([`super::history_file::HistoryFile::begin`]) is fsynced in `replication.toml` first, then stands in the ring's
//! header, then in the log's next mark, and only then a byte may be appended under it (rule 1).

use std::path::Path;
use std::sync::Arc;

use super::plan::{Cut, Plan};
use super::segments::{
    ManifestFound, Paths, Segments, read_manifest, restore_past, set_aside, settle_generation,
};
use super::survey::{seal_file, walk_segment};
use crate::disk::durable::{self, TEMPORARY, with_suffix};
use crate::disk::{Disk, DiskFile, Mode, Result, read_all};
use crate::format::history::History;
use crate::format::manifest::{Entry, Manifest};
use crate::planted::{Bug, planted};

/// The log's files, ready to be written on.
pub struct Prepared {
    pub segments: Segments,
    /// A segment without a stream byte: to be dropped (`Segments::drop_segment`) once the next one is open.
    pub idle_segment: Option<String>,
}

/// The first thing at a start, before [`super::plan::recover`]: finishes or takes back what a crash interrupted
/// (rule 4, a resize of the ring), so that recovery sees one generation. Returns what was done, for the log.
pub fn tidy_up(disk: &dyn Disk, paths: &Paths) -> Result<Tidied> {
    let (mut done, mut lost) = (Vec::new(), None);
    if disk.exists(&paths.history())?
        && let Ok(history) = History::parse(&read_all(disk, &paths.history(), 1 << 20)?)
    {
        done = settle_generation(disk, paths, history.generation)?;
        match restore_past(disk, paths, &history)? {
            Some(Some(at)) => {
                lost = Some(format!(
                    "the log that began anew at stream offset {at} never got a base: what was written from there on is \
                     lost. Its segments are set aside as ….aside, so is the backlog if it begins behind a gap, and the \
                     log of before is taken up again"
                ));
            }
            Some(None) => done.push("took up again the segments that nothing has followed yet".into()),
            None => {}
        }
    }
    let resized = paths.new_ring();
    let unnamed = |path: &Path| with_suffix(path, TEMPORARY); // killed while the file was made
    for unfinished in [unnamed(&resized), resized, unnamed(&paths.ring())] {
        if disk.exists(&unfinished)? {
            disk.remove(&unfinished)?;
            done.push(format!("removed {}, an unfinished resize of the ring", unfinished.display()));
        }
    }
    Ok(Tidied { done, lost })
}

/// What [`tidy_up`] found, in words for the log.
pub struct Tidied {
    pub done: Vec<String>,
    /// Stream bytes that nothing leads to.
    pub lost: Option<String>,
}

/// Removes `temp-….rdb` files of ours whose writer was killed (a save, a full sync sent or received), and names them. The
/// caller holds the directory's lock; a file whose writer's pid `runs` may be another server's export, and stays.
pub fn remove_leftovers(disk: &dyn Disk, data: &Path, runs: impl Fn(u32) -> bool) -> Result<Vec<String>> {
    let mut gone = Vec::new();
    for name in disk.list(data)? {
        let path = data.join(&name);
        if writer_of(&name).is_some_and(|pid| !runs(pid)) && !disk.is_dir(&path) {
            disk.remove(&path)?;
            gone.push(name);
        }
    }
    Ok(gone)
}

/// The process whose temporary file this is: `temp-PID.rdb`, `temp-repl-PID.rdb` or `temp-sync-PID-SERIAL.rdb`.
pub fn writer_of(name: &str) -> Option<u32> {
    const MOST: u32 = 1 << 22; // Linux has no larger pids; `temp-20261124.rdb` is a person's
    let middle = name.strip_prefix("temp-")?.strip_suffix(".rdb")?;
    let number = |text: &str| {
        text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?.filter(|pid| *pid <= MOST)
    };
    match middle.split_once('-') {
        None => number(middle),
        Some(("repl", pid)) => number(pid),
        Some(("sync", rest)) => {
            let (pid, serial) = rest.split_once('-')?;
            number(serial).and(number(pid))
        }
        _ => None,
    }
}

/// Carries the plan out on the log's files. `manifest` is what is on disk now. Fills the plan's history with what
/// is known only afterwards (the seal of a file that was cut).
pub fn prepare(disk: Arc<dyn Disk>, paths: &Paths, plan: &mut Plan) -> Result<Prepared> {
    if plan.aside.contains(&paths.log()) {
        set_aside_and_say(&*disk, &paths.log(), plan)?;
    }
    let manifest = match read_manifest(&*disk, paths)? {
        ManifestFound::Good(manifest) => manifest,
        _ => Manifest::default(),
    };
    let mut segments = Segments::new(disk.clone(), paths.clone(), manifest)?;
    if plan.adopt_old_log {
        segments.adopt_old_log()?;
    }
    if let Some(cut) = &plan.cut {
        apply_cut(&*disk, cut)?;
        reseal(&*disk, paths, cut, &mut plan.history)?;
    }
    let sealed = plan.history.sealed.is_some(); // never synced again (rule 23): a base comes before service
    for (name, from) in plan.unsynced.iter().filter(|_| !sealed && !planted(Bug::StartUnsynced)) {
        write_again(&*disk.open(&paths.log_file(name), Mode::Write)?, *from)?;
    }
    for name in plan.keep_segments.iter().filter(|_| !sealed && !planted(Bug::StartUnsynced)) {
        // A killed server leaves bytes in the page cache that no fsync covered; those to come must not be called
        // durable before these are.
        disk.open(&paths.log_file(name), Mode::Write)?.fdatasync()?;
    }
    if disk.is_dir(&paths.log()) {
        // Likewise names: a base that this start takes to be in force must be named after any other crash.
        disk.fsync_dir(&paths.log())?;
    }
    if !plan.keep_segments.is_empty() && !sealed {
        plan.durable = plan.durable.max(plan.log_from.offset);
    }
    if plan.drop_log {
        segments.drop_before(u64::MAX)?;
    }
    segments.keep_only(&plan.keep_segments)?; // before the files go that it no longer names
    for path in plan.aside.clone().iter().filter(|path| **path != paths.log()) {
        set_aside_and_say(&*disk, path, plan)?;
    }
    let kept = leading_on(&*disk, paths, segments.manifest(), &plan.history);
    segments.delete_history_but(kept)?;
    Ok(Prepared { segments, idle_segment: plan.idle_segment.clone() })
}

/// What was replaced, kept for replicas, and leads without a gap to the segments that are loaded. Recovery has not looked at
/// these files; what cannot be read or proven is not worth a refusal, as nothing but replicas' convenience rests on it.
fn leading_on(disk: &dyn Disk, paths: &Paths, manifest: &Manifest, history: &History) -> Vec<Entry> {
    let Some(first) = manifest.incrs.first() else { return Vec::new() };
    let mut older: Vec<&Entry> = manifest
        .history
        .iter()
        .filter(|entry| entry.seq < first.seq && paths.is_segment(&entry.name))
        .collect();
    older.sort_by_key(|entry| entry.seq);
    let mut next = first.start_offset;
    let mut leads = |entry: &&Entry| {
        let (Some(start), Some(end)) = (entry.start_offset, next) else { return false };
        next = entry.start_offset;
        walk_segment(disk, &paths.log_file(&entry.name)).is_ok_and(|report| {
            report.opening.is_some_and(|opening| opening.offset == start)
                && (report.proven.offset, report.unproven()) == (end, 0)
                && report
                    .ids
                    .last()
                    .is_some_and(|(id, _)| history.end_of(*id).is_some_and(|known| end <= known))
        })
    };
    let mut kept: Vec<Entry> = older.into_iter().rev().take_while(&mut leads).cloned().collect();
    kept.reverse();
    kept
}

fn set_aside_and_say(disk: &dyn Disk, path: &Path, plan: &mut Plan) -> Result<()> {
    if let Some(to) = set_aside(disk, path)? {
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        plan.log_line += &format!("; {} is now {}", name(path), name(&to));
    }
    Ok(())
}

fn apply_cut(disk: &dyn Disk, cut: &Cut) -> Result<()> {
    let file = disk.open(&cut.path, Mode::Write)?;
    let len = file.size()?;
    if len > cut.keep {
        if let Some(aside) = &cut.aside {
            copy_tail(disk, &*file, cut.keep, aside)?; // before the original goes
        }
        if planted(Bug::TailKept) {
            return Ok(());
        }
        file.truncate(cut.keep)?;
    }
    if !cut.mark.is_empty() {
        file.write_at(&cut.mark, cut.keep)?;
    }
    file.fdatasync() // before a segment is opened that begins where this one now ends
}

/// Copies what stands from `from` on; durable when it returns.
pub fn copy_tail(disk: &dyn Disk, file: &dyn DiskFile, from: u64, to: &Path) -> Result<()> {
    durable::remove_if_there(disk, to)?;
    let copy = disk.open(to, Mode::CreateNew)?;
    let mut piece = vec![0; 1 << 20];
    let mut at = from;
    loop {
        let got = file.read_at(&mut piece, at)?;
        if got == 0 {
            break;
        }
        copy.write_at(&piece[..got], at - from)?;
        at += got as u64;
    }
    copy.fdatasync()?;
    disk.fsync_dir(durable::parent(to))
}

/// Writes what stands from `from` on to the same place: an fsync may have failed without a record of it, which leaves pages
/// that the kernel calls clean though the medium never got them (assumption 5). Now they are dirty.
fn write_again(file: &dyn DiskFile, from: u64) -> Result<()> {
    let mut piece = vec![0; 1 << 20];
    let mut at = from;
    loop {
        let got = file.read_at(&mut piece, at)?;
        if got == 0 {
            return Ok(());
        }
        file.write_at(&piece[..got], at)?;
        at += got as u64;
    }
}

/// A taken-over file that was cut is named with its new seal.
fn reseal(disk: &dyn Disk, paths: &Paths, cut: &Cut, history: &mut History) -> Result<()> {
    let name = cut.path.file_name().unwrap_or_default().to_string_lossy();
    let name = paths.relative(&name);
    for file in history.bases.iter_mut().flat_map(|base| &mut base.files) {
        if file.name == name {
            file.checksum = seal_file(&*disk.open(&cut.path, Mode::Read)?)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;
    use crate::format::aof::{Chain, Place};
    use crate::format::history::{Born, Cause};
    use crate::format::manifest::FileType;
    use crate::log::segments::paths;
    use crate::units::{Offset, ReplId};

    /// Each segment ends with a mark at its last byte.
    fn with_history(disk: &SimDisk, replid: ReplId, starts: [u64; 4]) -> Manifest {
        let mut segments = Segments::new(Arc::new(disk.clone()), paths(), Manifest::default()).unwrap();
        let unit = b"*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n";
        for start in starts {
            let place = Place { replid, offset: Offset(start), db: 0 };
            let open = segments.open_next(place).unwrap();
            let (mut chain, mut text) = (open.chain, unit.to_vec());
            chain.cover(unit);
            let end = Place { offset: Offset(start + unit.len() as u64), ..place };
            Chain::mark(&mut chain, end, Offset(0), &mut text);
            open.file.write_at(&text, open.len).unwrap();
        }
        let mut manifest = segments.manifest().clone();
        let old = manifest.incrs.drain(..3);
        manifest.history.extend(old.map(|entry| Entry { file_type: FileType::History, ..entry }));
        manifest
    }

    #[test]
    fn a_file_of_ours_names_its_writer() {
        let check = |name, expected| assert_eq!(writer_of(name), expected, "{name}");
        check("temp-17.rdb", Some(17));
        check("temp-repl-17.rdb", Some(17));
        check("temp-sync-17-3.rdb", Some(17));
        for persons in ["temp-20261124.rdb", "temp-x.rdb", "temp-.rdb", "temp-old-17.rdb", "temp-17.rdb.bak"]
        {
            check(persons, None);
        }
    }

    #[test]
    fn only_segments_that_provably_lead_on_are_kept_for_replicas() {
        const UNIT: u64 = 20;
        let chained = [100, 100 + UNIT, 100 + 2 * UNIT, 100 + 3 * UNIT];
        let check = |starts: [u64; 4], named: Option<u64>, harm: &dyn Fn(&SimDisk), expected: &[u64]| {
            let disk = SimDisk::new();
            let replid = ReplId::from_random([1; 20]);
            let manifest = with_history(&disk, replid, starts);
            let mut history = History::new(ReplId::from_random([9; 20]), Offset(0), Born::Empty, 1);
            if let Some(end) = named {
                history = History::new(replid, Offset(0), Born::Empty, 1);
                history.rename(ReplId::from_random([2; 20]), Offset(end), Cause::Start);
            }
            harm(&disk);
            let kept = leading_on(&disk, &paths(), &manifest, &history);
            let seqs: Vec<u64> = kept.iter().map(|entry| entry.seq).collect();
            assert_eq!(seqs, expected, "{starts:?} {named:?}");
        };
        let end = chained[3] + UNIT;
        let file = |seq: u64| paths().log_file(&format!("appendonly.aof.{seq}.incr.aof"));
        let flip = |disk: &SimDisk, seq: u64| {
            let open = disk.open(&file(seq), Mode::Write).unwrap();
            open.write_at(b"x", open.size().unwrap() / 2).unwrap();
        };
        let truncate = |disk: &SimDisk, seq: u64| {
            let open = disk.open(&file(seq), Mode::Write).unwrap();
            open.truncate(open.size().unwrap() - 1).unwrap();
        };
        check(chained, Some(end), &|_| {}, &[1, 2, 3]);
        check(chained, Some(chained[2]), &|_| {}, &[]);
        check(chained, None, &|_| {}, &[]);
        check([90, chained[1], chained[2], chained[3]], Some(end), &|_| {}, &[2, 3]);
        check([100, 120, 140, 300], Some(400), &|_| {}, &[]);
        for (seq, expected) in [(1, &[2, 3][..]), (2, &[3]), (3, &[])] {
            check(chained, Some(end), &|disk| flip(disk, seq), expected);
            check(chained, Some(end), &|disk| truncate(disk, seq), expected);
            check(chained, Some(end), &|disk| disk.remove(&file(seq)).unwrap(), expected);
        }
    }

    #[test]
    fn files_of_killed_saves_go_and_no_others() {
        let disk = SimDisk::new();
        let data = Path::new("/d");
        disk.create_dir(data).unwrap();
        let stays = [
            "dump.rdb",
            "temp-7.rdb",
            "temp-.rdb",
            "temp-x.rdb",
            "temp-+8.rdb",
            "temp-8.aof",
            "temp-1700.8.rdb",
            "temp-sync-8.rdb",
            "temp-other-8.rdb",
        ];
        let goes = ["temp-8.rdb", "temp-repl-8.rdb", "temp-sync-8-3.rdb"];
        for name in stays.iter().chain(&goes) {
            disk.open(&data.join(name), Mode::CreateNew).unwrap();
        }
        let mut gone = remove_leftovers(&disk, data, |pid| pid == 7).unwrap();
        gone.sort();
        assert_eq!(gone, goes);
        let mut left = disk.list(data).unwrap();
        left.sort();
        let mut expected = stays.map(String::from);
        expected.sort();
        assert_eq!(left, expected);
    }
}
