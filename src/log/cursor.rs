//! Reading the stream back from the log while it is being written: what a replica behind the ring is fed from.
//!
//! A cursor walks the segments that the manifest names, in order, those included that a base has replaced and that are
//! kept for replicas; and gives the stream bytes between their annotation lines. It never gives a byte beyond what the
//! caller calls written. Where it read further than that, it forgets its place in the file and finds it again the next
//! time: after a failed write the writer may lay the tail out anew.
//!
//! Behind a failed fsync, or where a log began anew, the next segment begins beyond the end of the one before. What lies
//! between is in no segment and never will be, so that is an error and not a wait: whoever is fed asks again, and is given it
//! from the ring, or a snapshot.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use super::segments::{Paths, Segments};
use super::writer::lock;
use crate::disk::{Disk, DiskFile, Mode, Result};
use crate::error::IoFailure;
use crate::format::aof::{SegmentWalk, Strip};
use crate::format::manifest::Entry;
use crate::units::Offset;

const PIECE: usize = 256 * 1024;
/// The opening and its SELECT are shorter.
const OPENING: usize = 4096;

pub struct LogCursor {
    disk: Arc<dyn Disk>,
    paths: Paths,
    segments: Arc<Mutex<Segments>>,
    at: Offset,
    open: Option<Open>,
}

/// A place in a segment's file.
struct Open {
    file: Arc<dyn DiskFile>,
    path: PathBuf,
    seq: u64,
    read_at: u64,
    strip: Strip,
    /// Stream bytes between the segment's start and the cursor, still to be passed over.
    skip: u64,
}

impl LogCursor {
    pub fn new(disk: Arc<dyn Disk>, paths: Paths, segments: Arc<Mutex<Segments>>, at: Offset) -> LogCursor {
        LogCursor { disk, paths, segments, at, open: None }
    }

    pub fn at(&self) -> Offset {
        self.at
    }

    /// Replaces `out` by the next stream bytes, none from `written` on. Empty: there are no more for now.
    /// An error names the segment; one that is gone means that the log no longer reaches back so far.
    pub fn next(&mut self, written: Offset, out: &mut Vec<u8>) -> Result<()> {
        out.clear();
        let mut piece = vec![0; PIECE];
        while out.is_empty() && self.at < written {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(self.find()?),
            };
            let mut got = open.file.read_at(&mut piece, open.read_at)?;
            if got == 0 {
                let (ended, from) = (open.seq, open.read_at);
                match self.next_start(ended) {
                    None => return Ok(()),
                    Some(start) if start <= self.at => {
                        self.open = None;
                        continue;
                    }
                    Some(start) => got = self.read_again(&mut piece, from, start)?,
                }
            }
            let Some(open) = &mut self.open else { return Ok(()) };
            open.read_at += got as u64;
            open.strip
                .feed(&piece[..got], out)
                .map_err(|damage| unreadable(&open.path, &damage.to_string()))?;
            let passed = open.skip.min(out.len() as u64);
            out.drain(..passed as usize);
            open.skip -= passed;
            let most = written.since(self.at);
            if out.len() as u64 > most {
                out.truncate(most as usize);
                self.open = None;
            }
            self.at += out.len() as u64;
        }
        Ok(())
    }

    /// The segment that holds the byte at the cursor.
    fn find(&self) -> Result<Open> {
        let found = {
            let segments = lock(&self.segments);
            let reaching = segments.readable().filter(|entry| self.reaches(entry));
            reaching.max_by_key(|entry| (entry.start_offset, entry.seq)).cloned()
        };
        let Some(Entry { name, seq, start_offset: Some(start), .. }) = found else {
            return Err(unreadable(
                &self.paths.manifest(),
                &format!("no segment reaches back to offset {}", self.at),
            ));
        };
        let path = self.paths.log_file(&name);
        let file = self.disk.open(&path, Mode::Read)?;
        let mut head = vec![0; OPENING];
        let got = file.read_at(&mut head, 0)?;
        let mut walk = SegmentWalk::new(0);
        walk.feed(&head[..got]);
        let report = walk.finish();
        if report.opening.is_none_or(|opening| opening.offset != start) {
            return Err(unreadable(&path, &format!("the segment does not open at offset {start}")));
        }
        let body = report.body;
        Ok(Open { file, path, seq, read_at: body, strip: Strip::new(body), skip: self.at.since(start) })
    }

    fn reaches(&self, entry: &Entry) -> bool {
        entry.start_offset.is_some_and(|start| start <= self.at)
    }

    /// Where the first segment behind this one begins.
    fn next_start(&self, seq: u64) -> Option<Offset> {
        let segments = lock(&self.segments);
        let behind = segments.readable().filter(|entry| entry.seq > seq);
        behind.filter_map(|entry| entry.start_offset).min()
    }

    /// A segment that begins at `start` has been opened: all that leads up to there is written.
    fn read_again(&self, piece: &mut [u8], from: u64, start: Offset) -> Result<usize> {
        let Some(open) = &self.open else { return Ok(0) };
        match open.file.read_at(piece, from)? {
            0 => Err(unreadable(
                &open.path,
                &format!("the segment ends at offset {}, the next begins at {start} only", self.at),
            )),
            got => Ok(got),
        }
    }
}

fn unreadable(path: &std::path::Path, why: &str) -> IoFailure {
    IoFailure::new("reading the stream back from", path, std::io::Error::other(why.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;
    use crate::format::aof::{Chain, Place};
    use crate::log::segments::paths;
    use crate::units::ReplId;

    fn unit(n: u64) -> Vec<u8> {
        let value = format!("{n:0>9}");
        format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$9\r\n{value}\r\n").into_bytes()
    }

    /// Two segments with a mark after every fifth unit; returns the whole stream.
    fn fill(disk: &SimDisk) -> (Arc<Mutex<Segments>>, Vec<u8>) {
        let mut segments =
            Segments::new(Arc::new(disk.clone()), paths(), crate::format::manifest::Manifest::default())
                .unwrap();
        let (mut stream, replid) = (Vec::new(), ReplId::from_random([1; 20]));
        for db in [3, 0] {
            let place = Place { replid, offset: Offset(100 + stream.len() as u64), db };
            let open = segments.open_next(place).unwrap();
            let mut text = Vec::new();
            let mut chain = Chain::open(place, &mut text);
            for n in 0..50 {
                chain.cover(&unit(n));
                text.extend(unit(n));
                stream.extend(unit(n));
                if n % 5 == 4 {
                    let offset = Offset(100 + stream.len() as u64);
                    chain.mark(Place { replid, offset, db }, Offset(0), &mut text);
                }
            }
            let path = paths().log_file(&open.name);
            disk.open(&path, Mode::Write).unwrap().write_at(&text, 0).unwrap();
        }
        (Arc::new(Mutex::new(segments)), stream)
    }

    #[test]
    fn the_stream_comes_back_from_any_offset_up_to_any_other() {
        let disk = SimDisk::new();
        let (segments, stream) = fill(&disk);
        for from in (0..=stream.len()).step_by(61) {
            for to in (from..=stream.len()).step_by(97) {
                let mut cursor = LogCursor::new(
                    Arc::new(disk.clone()),
                    paths(),
                    segments.clone(),
                    Offset(100 + from as u64),
                );
                let (mut got, mut out) = (Vec::new(), Vec::new());
                for written in [from + (to - from) / 2, to, to] {
                    loop {
                        cursor.next(Offset(100 + written as u64), &mut out).unwrap();
                        if out.is_empty() {
                            break;
                        }
                        got.extend_from_slice(&out);
                    }
                }
                assert!(got == stream[from..to], "{from}..{to}: {} bytes", got.len());
                assert_eq!(cursor.at(), Offset(100 + to as u64));
            }
        }
    }

    /// A base replaces the segments that a cursor is in: they stay until it has passed them.
    #[test]
    fn what_a_replica_needs_outlives_a_new_base() {
        let disk = SimDisk::new();
        let (segments, stream) = fill(&disk);
        let end = Offset(100 + stream.len() as u64);
        let needed = lock(&segments).needed();
        needed.store(110, std::sync::atomic::Ordering::Release);
        let files = || {
            let names = disk.list(&paths().log()).unwrap().into_iter();
            names.filter(|name| name.ends_with(".incr.aof")).count()
        };
        let open =
            lock(&segments).open_next(Place { replid: ReplId::from_random([1; 20]), offset: end, db: 0 });
        lock(&segments).commit_base("appendonly.aof.3.base.rdb", 3, end, open.unwrap().seq).unwrap();
        assert_eq!((lock(&segments).manifest().incrs.len(), files()), (1, 3));
        let mut cursor = LogCursor::new(Arc::new(disk.clone()), paths(), segments.clone(), Offset(110));
        let (mut got, mut out) = (Vec::new(), Vec::new());
        while cursor.at() < end {
            cursor.next(end, &mut out).unwrap();
            got.extend_from_slice(&out);
        }
        assert!(got == stream[10..]);
        for (at, left) in [(100 + stream.len() as u64 / 2, 2), (end.0 - 1, 2), (end.0, 1)] {
            needed.store(at, std::sync::atomic::Ordering::Release);
            lock(&segments).delete_passed().unwrap();
            assert_eq!((files(), lock(&segments).has_passed()), (left, false), "needed from {at}");
        }
        assert_eq!(lock(&segments).manifest().history, []);
    }

    /// A segment that was opened in reserve behind a failed fsync: the feed ends instead of waiting for ever.
    #[test]
    fn a_gap_between_segments_is_an_error() {
        let disk = SimDisk::new();
        let (segments, stream) = fill(&disk);
        let end = Offset(100 + stream.len() as u64);
        let mut cursor = LogCursor::new(Arc::new(disk.clone()), paths(), segments.clone(), end);
        let mut out = Vec::new();
        cursor.next(end + 50, &mut out).unwrap();
        assert!(out.is_empty(), "not there yet");
        let place = Place { replid: ReplId::from_random([1; 20]), offset: end + 50, db: 0 };
        lock(&segments).open_next(place).unwrap();
        let error = cursor.next(end + 50, &mut out).unwrap_err();
        let said = format!("ends at offset {end}, the next begins at {} only", end + 50);
        assert!(error.to_string().contains(&said), "{error}");
    }

    #[test]
    fn what_the_log_no_longer_holds_is_an_error() {
        let disk = SimDisk::new();
        let (segments, _) = fill(&disk);
        let mut cursor = LogCursor::new(Arc::new(disk), paths(), segments, Offset(99));
        let error = cursor.next(Offset(200), &mut Vec::new()).unwrap_err();
        assert!(error.to_string().contains("no segment reaches back to offset 99"), "{error}");
    }
}
