//! The writer against the simulated disk: what is marked, what is durable, what survives which failure.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::mpsc;

use super::*;
use crate::disk::{Disk, Fault, PowerCut, SimDisk, read_all};
use crate::format::aof::{SegmentReport, SegmentWalk};
use crate::format::manifest::Manifest;
use crate::log::segments::paths;

const FIRST: &str = "/d/appendonlydir/appendonly.aof.1.incr.aof";
const SECOND: &str = "/d/appendonlydir/appendonly.aof.2.incr.aof";

fn id(n: u8) -> ReplId {
    ReplId::from_random([n; 20])
}

struct Rig {
    disk: SimDisk,
    writer: LogWriter,
    end: Offset,
    now: Now,
}

fn set(len: usize) -> Vec<u8> {
    format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n{}\r\n", "v".repeat(len)).into_bytes()
}

fn walk(disk: &SimDisk, path: &str) -> SegmentReport {
    let bytes = read_all(disk, Path::new(path), 1 << 30).unwrap();
    let mut walk = SegmentWalk::new(0);
    walk.feed(&bytes);
    walk.finish()
}

impl Rig {
    fn new(policy: Policy) -> Rig {
        let disk = SimDisk::new();
        let segments = Segments::new(Arc::new(disk.clone()), paths(), Manifest::default()).unwrap();
        let options =
            Options { policy, timestamps: false, no_fsync_on_rewrite: false, mark_interval: MARK_INTERVAL };
        let place = Place { replid: id(1), offset: Offset(1000), db: 3 };
        let now = Now { millis: 5_000, unix_seconds: 77 };
        let segments = Arc::new(Mutex::new(segments));
        let writer = LogWriter::open(segments, options, place, Offset(1000), now).unwrap();
        Rig { disk, writer, end: Offset(1000), now }
    }

    fn batch(&mut self, units: &[usize]) -> Batch {
        let mut batch = Batch::default();
        for &len in units {
            batch.bytes.extend_from_slice(&set(len));
            self.end += set(len).len() as u64;
            batch.bounds.push(Bound { at: batch.bytes.len(), end: self.end, db: 3 });
        }
        batch
    }

    fn write(&mut self, units: &[usize]) {
        let batch = self.batch(units);
        self.writer.take(batch);
        self.writer.advance(self.now);
    }

    fn order(&mut self, order: Order) {
        let batch = Batch { orders: vec![(0, order)], ..Batch::default() };
        self.writer.take(batch);
        self.writer.advance(self.now);
    }

    fn sync(&mut self) -> bool {
        let Some(job) = self.writer.sync_due(self.now) else { return false };
        let result = job.run();
        self.writer.synced(&job, result);
        true
    }

    fn proven(&self, path: &str) -> Offset {
        walk(&self.disk, path).proven.offset
    }
}

#[test]
fn always_marks_and_syncs_each_batch() {
    let mut rig = Rig::new(Policy::Always);
    for units in [vec![1], vec![10, 20, 30], vec![70_000, 5]] {
        rig.write(&units);
        assert_eq!((rig.writer.written(), rig.proven(FIRST)), (rig.end, rig.end));
        assert!(rig.sync());
        assert_eq!(rig.writer.durable(), rig.end);
        let after = rig.disk.after_power_cut(PowerCut::LoseAll);
        assert_eq!(walk(&after, FIRST).proven.offset, rig.end);
    }
    assert!(!rig.sync(), "nothing new to sync");
}

#[test]
fn everysec_syncs_each_second_and_marks_before_it() {
    let mut rig = Rig::new(Policy::EverySec);
    rig.write(&[5]);
    assert!(!rig.sync());
    assert_eq!(rig.writer.next_due(), Some(6_000));
    rig.now.millis = 6_000;
    assert!(rig.sync());
    assert_eq!((rig.writer.durable(), rig.proven(FIRST)), (rig.end, rig.end));
    rig.now.millis = 9_000;
    assert!(!rig.sync());
    // a job under way does not stop the writing
    rig.write(&[5]);
    let job = rig.writer.sync_due(rig.now).unwrap();
    let promised = rig.end;
    rig.write(&[6]);
    assert!(rig.writer.sync_due(rig.now).is_none());
    rig.writer.synced(&job, job.run());
    assert_eq!((rig.writer.durable(), rig.writer.written()), (promised, rig.end));
}

#[test]
fn without_fsync_marks_come_each_second_and_each_64_kib() {
    for policy in [Policy::No, Policy::Spill] {
        let mut rig = Rig::new(policy);
        rig.write(&vec![1000; 200]);
        let report = walk(&rig.disk, FIRST);
        assert!(rig.end - report.proven.offset < MARK_INTERVAL + 1100 && report.marks == 3);
        assert_eq!(report.foreign_from, None);
        rig.now.millis += 1000;
        assert!(!rig.sync());
        assert_eq!(rig.proven(FIRST), rig.end);
        assert_eq!(rig.writer.durable(), Offset(1000));
    }
}

/// Scenario 27: a unit longer than the mark interval.
#[test]
fn a_huge_unit_is_marked_at_its_end() {
    let mut rig = Rig::new(Policy::EverySec);
    rig.write(&[10, 3_000_000, 10]);
    rig.now.millis += 1000;
    rig.sync();
    let report = walk(&rig.disk, FIRST);
    assert_eq!((report.proven.offset, report.foreign_from), (rig.end, None));
}

#[test]
fn the_id_changes_in_band_before_its_first_byte() {
    let mut rig = Rig::new(Policy::No);
    rig.write(&[5]);
    let at = rig.end;
    rig.order(Order::SetReplId(id(2)));
    rig.write(&[5]);
    assert_eq!(walk(&rig.disk, FIRST).ids, [(id(1), Offset(1000)), (id(2), at)]);
}

#[test]
fn rotation_opens_the_next_segment_between_two_units() {
    let mut rig = Rig::new(Policy::EverySec);
    let (tell, told) = mpsc::channel();
    let mut batch = rig.batch(&[5, 6]);
    let cut = rig.end;
    let at = batch.bytes.len();
    batch.orders.push((at, Order::Rotate(Box::new(move |r| tell.send(r).unwrap()))));
    batch.bytes.extend_from_slice(&set(7));
    rig.end += set(7).len() as u64;
    batch.bounds.push(Bound { at: batch.bytes.len(), end: rig.end, db: 3 });
    rig.writer.take(batch);
    rig.writer.advance(rig.now);
    assert_eq!(told.recv().unwrap(), Ok(Rotated { seq: 2, start: cut }));
    assert_eq!(rig.proven(FIRST), cut);
    let second = walk(&rig.disk, SECOND);
    assert_eq!((second.opening.map(|p| (p.offset, p.db)), second.parsed.offset), (Some((cut, 3)), rig.end));
    // the old segment's bytes are synced before anything of the new one counts
    rig.now.millis += 1000;
    assert!(rig.sync());
    let after = rig.disk.after_power_cut(PowerCut::LoseAll);
    assert_eq!((walk(&after, FIRST).proven.offset, walk(&after, SECOND).proven.offset), (cut, rig.end));
}

/// ENOSPC loses nothing and heals when space returns (P7).
#[test]
fn a_full_disk_heals() {
    let mut rig = Rig::new(Policy::Always);
    rig.write(&[5]);
    rig.sync();
    let before = rig.end;
    rig.disk.set_free_space(Some(50));
    rig.write(&[100, 200]);
    assert!(matches!(rig.writer.health(), Health::Healing(text) if text.contains(FIRST)));
    assert!(rig.writer.has_work());
    assert_eq!(
        (rig.writer.written(), rig.proven(FIRST), walk(&rig.disk, FIRST).unproven()),
        (before, before, 0)
    );
    for _ in 0..3 {
        rig.disk.set_free_space(Some(250)); // for a mark, not for what waits
        rig.now.millis += 1000;
        rig.sync();
        assert!(rig.writer.has_work() && matches!(rig.writer.health(), Health::Healing(_)), "still full");
    }
    rig.disk.set_free_space(None);
    rig.writer.advance(rig.now);
    assert_eq!((rig.writer.health(), rig.writer.has_work()), (&Health::Ok, false));
    assert!(rig.sync());
    assert_eq!((rig.writer.durable(), rig.proven(FIRST)), (rig.end, rig.end));
}

/// Scenario 29: a failed fsync seals the segment; only a new base and segment bring service back.
#[test]
fn a_failed_fsync_seals_the_segment() {
    let mut rig = Rig::new(Policy::Always);
    rig.write(&[5]);
    rig.sync();
    let durable = rig.end;
    let fault = Fault { call: "fdatasync", path: "1.incr".into(), error: ErrorKind::Other, times: 1 };
    rig.disk.fail(fault);
    rig.write(&[6]);
    rig.sync();
    assert!(matches!(rig.writer.health(), Health::Latched(_)));
    assert_eq!(rig.writer.durable(), durable);
    rig.write(&[7]);
    assert!(!rig.sync(), "never synced again");
    let (tell, told) = mpsc::channel();
    let tell_sync = tell.clone();
    rig.order(Order::Sync(Box::new(move |r| tell_sync.send(r.is_err()).unwrap())));
    assert!(told.recv().unwrap());

    let place = Place { replid: id(1), offset: rig.end, db: 3 };
    let (again, answer) = (tell.clone(), |rig: &Rig| (rig.writer.durable(), rig.writer.marked()));
    rig.order(Order::Reopen(place, Box::new(move |r| tell.send(r.is_ok()).unwrap())));
    assert!(told.recv().unwrap());
    assert_eq!(answer(&rig), (durable, durable + set(6).len() as u64));
    assert!(matches!(rig.writer.health(), Health::Latched(_)), "the base is not there yet");
    rig.order(Order::Reopen(
        place,
        Box::new(move |r| again.send(r == Ok(Rotated { seq: 2, start: place.offset })).unwrap()),
    ));
    assert!(told.recv().unwrap(), "another attempt makes no other segment");
    rig.order(Order::BaseDurable);
    assert_eq!((rig.writer.health(), answer(&rig)), (&Health::Ok, (rig.end, rig.end)));
    rig.write(&[8]);
    assert!(rig.sync());
    assert_eq!((rig.writer.durable(), rig.proven(SECOND)), (rig.end, rig.end));
}

/// The log is switched off after a failed fsync: it ends where the last mark stands, and nothing stands behind that.
#[test]
fn a_sealed_segment_ends_at_its_last_mark() {
    for reopened in [false, true] {
        let mut rig = Rig::new(Policy::EverySec);
        rig.write(&[5]);
        rig.now.millis += 1000;
        rig.sync();
        let durable = rig.end;
        rig.write(&[6]);
        rig.now.millis += 1000;
        rig.disk.fail(Fault { call: "fdatasync", path: "1.incr".into(), error: ErrorKind::Other, times: 1 });
        let job = rig.writer.sync_due(rig.now).unwrap();
        let marked = rig.end;
        rig.write(&[7]);
        let failed = job.run();
        rig.writer.synced(&job, failed);
        if reopened {
            let place = Place { replid: id(1), offset: rig.end, db: 3 };
            rig.order(Order::Reopen(place, Box::new(|r| assert!(r.is_ok()))));
        }
        let segments = Arc::clone(&rig.writer.segments);
        let Err(unclosed) = rig.writer.close(rig.now) else { panic!("closed") };
        assert_eq!((unclosed.proven.map(|place| place.offset), unclosed.durable), (Some(marked), durable));
        let report = walk(&rig.disk, FIRST);
        assert!(unclosed.sealed && report.unproven() == 0 && report.proven.offset == marked);
        assert_eq!(lock(&segments).manifest().incrs.len(), 1, "the reserve would stand in between");
    }
}

#[test]
fn bytes_that_come_before_the_base_void_the_new_segment() {
    let mut rig = Rig::new(Policy::Always);
    rig.disk.fail(Fault { call: "fdatasync", path: "1.incr".into(), error: ErrorKind::Other, times: 1 });
    rig.write(&[5]);
    rig.sync();
    let place = Place { replid: id(1), offset: rig.end, db: 3 };
    rig.order(Order::Reopen(place, Box::new(|r| assert!(r.is_ok()))));
    rig.write(&[6]);
    rig.order(Order::BaseDurable);
    assert!(matches!(rig.writer.health(), Health::Latched(_)));
}

#[test]
fn a_failed_write_latches() {
    let mut rig = Rig::new(Policy::EverySec);
    let fault = Fault { call: "write", path: "1.incr".into(), error: ErrorKind::Other, times: 1 };
    rig.disk.fail(fault);
    rig.write(&[5]);
    assert!(matches!(rig.writer.health(), Health::Latched(_)));
    rig.write(&[5]);
    assert_eq!(rig.writer.written(), Offset(1000), "never retried as if it had worked");
}

/// Who asked for a rotation is told what the disk said, not that it is full.
#[test]
fn a_rotation_that_fails_says_why() {
    let mut rig = Rig::new(Policy::EverySec);
    rig.write(&[5]);
    rig.disk.fail(Fault { call: "write", path: "1.incr".into(), error: ErrorKind::Other, times: 1 });
    let (tell, told) = std::sync::mpsc::channel();
    rig.order(Order::Rotate(Box::new(move |rotated| tell.send(rotated.unwrap_err()).unwrap())));
    let why = told.recv().unwrap();
    assert!(why.starts_with("write failed, the log takes no more writes") && !why.contains("full"), "{why}");
}

/// A mark before an fsync cannot tell of it. The last one does, once, and asks for nothing itself; a segment without a
/// stream byte stays as it was opened.
#[test]
fn an_idle_log_has_told_what_is_durable() {
    for policy in [Policy::Always, Policy::EverySec] {
        let mut rig = Rig::new(policy);
        rig.write(&[5]);
        rig.now.millis += 1000;
        assert!(rig.sync());
        let (before, due) = (walk(&rig.disk, FIRST), rig.writer.next_due().unwrap());
        assert_eq!((before.durable, before.marks), (Offset(1000), 1), "{policy:?}");
        assert!(due > rig.now.millis, "{policy:?}");
        rig.now.millis = due;
        assert!(!rig.sync(), "{policy:?}: no fsync for it");
        let told = walk(&rig.disk, FIRST);
        assert_eq!((told.durable, told.marks, told.proven.offset), (rig.end, 2, rig.end), "{policy:?}");
        assert_eq!(rig.writer.next_due(), None, "{policy:?}");
        rig.now.millis += 60_000;
        assert!(!rig.sync() && walk(&rig.disk, FIRST).marks == 2, "{policy:?}");

        rig.write(&[5]);
        rig.order(Order::Rotate(Box::new(|rotated| assert!(rotated.is_ok()))));
        rig.now.millis += 1000;
        assert!(rig.sync());
        assert_eq!((rig.writer.durable(), rig.writer.next_due()), (rig.end, None), "{policy:?}");
        rig.now.millis += 60_000;
        assert!(!rig.sync());
        let second = walk(&rig.disk, SECOND);
        assert_eq!((second.marks, second.body), (0, second.len), "{policy:?}");
    }
}

/// The writer's thread sleeps until `next_due`: one that has passed and changes nothing would keep a core busy.
#[test]
fn nothing_is_due_that_cannot_be_done() {
    let rig = || {
        let mut rig = Rig::new(Policy::EverySec);
        rig.write(&[5]);
        assert_eq!(rig.writer.next_due(), Some(6_000));
        rig.now.millis = 9_000;
        rig
    };

    let mut full = rig();
    full.disk.set_free_space(Some(0));
    assert!(!full.sync());
    assert_eq!((full.writer.has_work(), full.writer.next_due()), (false, Some(10_000)));
    full.disk.set_free_space(None);
    full.now.millis = 10_000;
    assert!(full.sync());

    let mut slow = rig();
    let job = slow.writer.sync_due(slow.now).unwrap();
    slow.write(&[5]);
    slow.now.millis = 20_000;
    assert_eq!(slow.writer.next_due(), None, "the running fsync's end comes as news");
    slow.writer.synced(&job, job.run());
    assert_eq!(slow.writer.next_due(), Some(10_000));

    let mut dead = rig();
    dead.disk.fail(Fault { call: "fdatasync", path: "1.incr".into(), error: ErrorKind::Other, times: 1 });
    assert!(dead.sync());
    dead.write(&[5]);
    assert!(matches!(dead.writer.health(), Health::Latched(_)));
    assert_eq!(dead.writer.next_due(), None);
}

#[test]
fn a_job_of_a_sealed_segment_says_nothing_about_the_next() {
    let mut rig = Rig::new(Policy::Always);
    rig.write(&[5]);
    let job = rig.writer.sync_due(rig.now).unwrap();
    rig.disk.fail(Fault { call: "write", path: "1.incr".into(), error: ErrorKind::Other, times: 1 });
    rig.write(&[5]);
    let place = Place { replid: id(1), offset: rig.end + 100, db: 0 };
    rig.order(Order::Reopen(place, Box::new(|_| {})));
    rig.order(Order::BaseDurable);
    rig.writer.synced(&job, Err(IoFailure::new("syncing", Path::new(FIRST), ErrorKind::Other.into())));
    assert_eq!(rig.writer.health(), &Health::Ok);
}

/// With `everysec`, that is, and then nothing is due before the rewrite has ended; `always` goes on, as its replies wait.
#[test]
fn no_fsync_while_a_rewrite_runs_if_so_configured() {
    for (policy, pauses) in [(Policy::EverySec, true), (Policy::Always, false)] {
        let mut rig = Rig::new(policy);
        let options =
            Options { policy, timestamps: true, no_fsync_on_rewrite: true, mark_interval: MARK_INTERVAL };
        rig.order(Order::SetOptions(options));
        rig.order(Order::Rewriting(true));
        rig.write(&[5]);
        rig.now.millis += 1000;
        assert_eq!(rig.sync(), !pauses, "{policy:?}");
        let due = rig.writer.next_due();
        assert!(due.is_none_or(|due| due > rig.now.millis), "{policy:?}: a wait until {due:?} is none");
        rig.order(Order::Rewriting(false));
        assert_eq!(rig.sync(), pauses, "{policy:?}");
        let text = read_all(&rig.disk, Path::new(FIRST), 9999).unwrap();
        assert!(String::from_utf8(text).unwrap().contains("\n#TS:77\r\n*3"));
    }
}

#[test]
fn a_clean_end_syncs_and_tells_the_lengths() {
    let mut rig = Rig::new(Policy::No);
    rig.write(&[5]);
    let closed = rig.writer.close(rig.now).unwrap();
    assert_eq!((closed.place.offset, closed.durable), (rig.end, rig.end));
    let len = rig.disk.len(Path::new(FIRST)).unwrap().unwrap();
    assert_eq!(closed.segments, [("appendonly.aof.1.incr.aof".to_string(), len)]);
    let after = rig.disk.after_power_cut(PowerCut::LoseAll);
    assert_eq!(walk(&after, FIRST).proven.offset, rig.end);
}

/// P1 and P2 for the log alone: stopped at any step or cut off power, what is proven is a unit-aligned prefix that
/// covers what was called durable; after a process crash it covers what was called written, up to the last mark.
#[test]
fn any_crash_leaves_a_proven_prefix() {
    for seed in 0..300u64 {
        let policy = [Policy::Always, Policy::EverySec, Policy::No][(seed % 3) as usize];
        let mut rig = Rig::new(policy);
        let mut ends = vec![rig.end.0];
        rig.disk.fail_from(seed / 3);
        for i in 0..12 {
            let len = ((seed * 31 + i * 7919) % 40_000) as usize;
            rig.write(&[len, 3]);
            ends.extend([rig.end.0 - set(3).len() as u64, rig.end.0]);
            rig.now.millis += 400;
            rig.sync();
        }
        let (durable, written) = (rig.writer.durable(), rig.writer.written());
        let crashed = walk(&rig.disk.after_process_crash(), FIRST);
        assert!(crashed.proven.offset >= durable && crashed.parsed.offset >= written, "seed {seed}");
        for cut in [PowerCut::LoseAll, PowerCut::Seeded(seed)] {
            let report = walk(&rig.disk.after_power_cut(cut), FIRST);
            assert!(report.proven.offset >= durable, "seed {seed} {cut:?}");
            assert!(ends.contains(&report.proven.offset.0), "seed {seed} {cut:?}: {}", report.proven.offset);
        }
    }
}
