//! A log that was left behind is taken up again where the one that was to follow it never got a base.

use std::path::Path;

use super::{ManifestFound, Paths, read_manifest, set_aside};
use crate::disk::{Disk, Result, durable};
use crate::format::history::{Born, History};
use crate::format::manifest::{Entry, FileType, Manifest};
use crate::log::survey::walk_segment;
use crate::ring::{Found, Ring};
use crate::units::Offset;

/// At start: a log that had begun anew ([`super::Segments::leave_behind`]) has no base in force, so the one before it is the log
/// again, and the new one's segments are put aside. Returns where that one began (`None`: not yet), if so it was.
pub fn restore_past(disk: &dyn Disk, paths: &Paths, history: &History) -> Result<Option<Option<Offset>>> {
    let ManifestFound::Good(manifest) = read_manifest(disk, paths)? else { return Ok(None) };
    let begun = manifest.incrs.first().map(|first| first.start_offset);
    if manifest.base.is_some() || begun == Some(None) {
        return Ok(None);
    }
    let begun = begun.flatten();
    let newest = history.bases.iter().filter(|base| base.placed).map(|base| base.cut).max();
    let names = |entry: &&Entry| {
        let name = paths.relative(&entry.name);
        history.bases.iter().any(|base| base.placed && base.files.iter().any(|file| file.name == name))
    };
    let base = manifest.history.iter().find(names);
    if begun.is_some() && begun <= newest {
        return Ok(None); // a base of the new log is in force
    }
    let of = |file_type| move |entry: &Entry| Entry { file_type, ..entry.clone() };
    let led_from = base.map_or(Some(Offset::ZERO), |base| base.start_offset);
    let behind = |entry: &&Entry| paths.is_segment(&entry.name) && entry.start_offset >= led_from;
    let mut incrs: Vec<Entry> = manifest.history.iter().filter(behind).map(of(FileType::Incr)).collect();
    incrs.sort_by_key(|entry| entry.seq);
    // Without a base of its own it goes on from a snapshot beside it, or from birth.
    let outside = newest.or((history.born != Born::Import).then_some(Offset::ZERO));
    let leads = |entry: &Entry| entry.start_offset <= outside;
    if base.is_none() && !incrs.first().is_some_and(leads) {
        return Ok(None);
    }
    for entry in base.into_iter().chain(&incrs) {
        if !disk.exists(&paths.log_file(&entry.name))? {
            return Ok(None); // it was being deleted
        }
    }
    // They may also be another history's, which a full sync replaced and a crash left.
    let last = incrs.last().filter(|_| base.is_none() && begun.is_none());
    if !last.map_or(Ok(true), |last| is_of(disk, &paths.log_file(&last.name), history))? {
        return Ok(None);
    }
    // The manifest last: a crash before it finds the same, with less to do.
    for entry in &manifest.incrs {
        set_aside(disk, &paths.log_file(&entry.name))?;
    }
    let mut reach = led_from;
    for entry in &incrs {
        let len = disk.len(&paths.log_file(&entry.name))?.unwrap_or(0); // with marks: more than its stream bytes
        reach = reach.max(entry.start_offset.map(|start| start + len));
    }
    if let Found::Ring(ring, _) = Ring::open(disk, &paths.ring())?
        && Some(ring.start()) > reach.max(newest)
    {
        set_aside(disk, &paths.ring())?; // what it knows of is behind a gap, seen from any base
    }
    let past = Manifest { base: base.map(of(FileType::Base)), history: Vec::new(), incrs };
    durable::replace(disk, &paths.manifest(), past.emit().as_bytes())?;
    Ok(Some(begun))
}

/// Whether the segment, and with it all before it, is of this history: its last mark stands under a name of it, no further than
/// that name's end. One that parted from it goes on behind that, or under names unknown here.
fn is_of(disk: &dyn Disk, path: &Path, history: &History) -> Result<bool> {
    let report = walk_segment(disk, path)?;
    let name = report.ids.last().filter(|_| report.opening.is_some());
    Ok(name.and_then(|(name, _)| history.end_of(*name)).is_some_and(|end| report.marked.offset <= end))
}

#[cfg(test)]
mod tests {
    use super::super::{Segments, paths};
    use super::*;
    use crate::disk::SimDisk;
    use crate::format::aof::Place;
    use crate::format::history::{Base, BaseFile, Cause};
    use crate::ring::Begin;
    use crate::units::ReplId;
    use std::sync::Arc;

    /// A snapshot made the log needless, and the server was killed before its files were removed. What the ring holds from
    /// the snapshot on is not behind a gap, though it is behind that log.
    #[test]
    fn a_ring_that_goes_on_from_a_snapshot_stays() {
        for (ring_start, stays) in [(900, true), (2000, true), (2001, false)] {
            let disk = SimDisk::new();
            let replid = ReplId::from_random([1; 20]);
            let mut log = Segments::new(Arc::new(disk.clone()), paths(), Manifest::default()).unwrap();
            log.open_next(Place { replid, offset: Offset::ZERO, db: 0 }).unwrap();
            log.leave_behind().unwrap(); // as `drop_before` leaves it, before it removes anything
            let mut history = History::new(replid, Offset::ZERO, Born::Empty, 1);
            let files = vec![BaseFile { name: "dump.rdb".into(), len: 5, checksum: 0 }];
            history.bases.push(Base { cut: Offset(2000), db: 0, placed: true, files });
            let begin = Begin { replid, begun: Offset::ZERO, tag: 1, at: Offset(ring_start), db: 0 };
            drop(Ring::create(&disk, &paths().ring(), 1 << 16, begin).unwrap());
            restore_past(&disk, &paths(), &history).unwrap();
            assert_eq!(disk.exists(&paths().ring()).unwrap(), stays, "{ring_start}");
        }
    }

    /// A full sync put another history in the place of this one, which both share up to 300, and the server died before it
    /// had removed the segments.
    #[test]
    fn what_another_history_wrote_stays_where_it_is() {
        for (name, end, expected) in [(1, 300, None), (1, 500, Some(None)), (2, 500, None)] {
            let disk = SimDisk::new();
            let shared = ReplId::from_random([1; 20]);
            let mut log = Segments::new(Arc::new(disk.clone()), paths(), Manifest::default()).unwrap();
            log.open_next(Place { replid: shared, offset: Offset::ZERO, db: 0 }).unwrap();
            let last = ReplId::from_random([name; 20]);
            log.open_next(Place { replid: last, offset: Offset(500), db: 0 }).unwrap();
            log.leave_behind().unwrap();
            let mut history = History::new(shared, Offset::ZERO, Born::Copy, 1);
            history.rename(ReplId::from_random([3; 20]), Offset(end), Cause::Promotion);
            let files = vec![BaseFile { name: "dump.rdb".into(), len: 5, checksum: 0 }];
            history.bases.push(Base { cut: Offset(400), db: 0, placed: true, files });
            assert_eq!(restore_past(&disk, &paths(), &history).unwrap(), expected, "{name} {end}");
        }
    }
}
