//! The log writer as a plain state machine: no thread, no clock, no waiting but for the disk calls themselves.
//!
//! It is given batches of stream bytes with their unit boundaries and orders in between, and writes them with
//! marks into the current segment. Every write is composed first, together with the state after it
//! ([`Cursor`]), and the state is taken only when the write succeeded: so a failed one is cut back to where it began,
//! which is a unit boundary, and can be composed again.
//!
//! ```text
//!            ENOSPC on write, cut back                 write accepted
//!   Ok ───────────────────────────────► Healing ─────────────────────────► Ok
//!    │                                     │
//!    │ any other failed write, a failed    │ the same
//!    │ cut, a failed fsync (seals)         ▼
//!    └─────────────────────────────────► Latched ── Reopen at a new cut ──► Latched, with a fresh segment in
//!                                        (bytes handed over are             reserve ── BaseDurable ──► Ok
//!                                         dropped: the base replaces them)
//! ```
//! Until the base is durable nothing has changed: `written`, `marked` and `durable` stand where the sealed segment left
//! them, the ring keeps what lies beyond, and no stream byte is made. One that is handed over in spite of that
//! gives the reserved segment up, as it would be missing from it.
//!
//! What is on disk when the process is killed: every byte up to `written`, marked at least each 64 KiB and each
//! second; what was handed over and not written is in the ring (rule 6). On power failure: every byte up to
//! `durable`. A mark is written before each fsync, so that what was synced is proven; it cannot say so yet, and a log that
//! goes idle would never say it. So one more mark follows a second after the last fsync, with what that reached: without it
//! damage to synced bytes could pass for a torn tail (rule 17). It proves nothing new and asks for no fsync of its own.
//!
//! Rule 23 is kept by the *epoch*: a failed fsync ends the segment's epoch, results of older jobs are ignored, and its
//! file is never synced again.

use std::sync::{Arc, Mutex, PoisonError};

use super::segments::{OpenSegment, Segments};
use crate::disk::{DiskFile, Result};
use crate::error::IoFailure;
use crate::format::aof::{Chain, MARK_INTERVAL, Place, timestamp};
use crate::planted::{Bug, planted};
use crate::units::{Offset, ReplId};

/// `appendfsync`, and the spill of AOF off (rule 7), which is `No` under another name for INFO.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    No,
    EverySec,
    Always,
    Spill,
}

#[derive(Clone, Copy, Debug)]
pub struct Options {
    pub policy: Policy,
    /// `aof-timestamp-enabled`
    pub timestamps: bool,
    /// `no-appendfsync-on-rewrite`
    pub no_fsync_on_rewrite: bool,
    /// Stream bytes after which a mark is put: see [`mark_interval`].
    pub mark_interval: u64,
}

/// Bytes leave the ring only when a mark proves them in the log, so a small ring asks for marks closer than
/// [`MARK_INTERVAL`]: the log's unproven tail must fit into it. Never more than half of that: units arrive in pieces of up
/// to a quarter, and whoever reads the log takes a unit end [`MARK_INTERVAL`] behind the last mark for another
/// server's writing (rule 14).
pub fn mark_interval(ring_capacity: u64) -> u64 {
    (ring_capacity / 4).clamp(1024, MARK_INTERVAL / 2)
}

/// Now, for the writer: monotonic milliseconds and wall-clock seconds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    pub millis: u64,
    pub unix_seconds: i64,
}

/// Where a run of units ends in a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bound {
    pub at: usize,
    pub end: Offset,
    pub db: u32,
}

/// Bytes with their boundaries, and orders that take effect between them.
#[derive(Default)]
pub struct Batch {
    pub bytes: Vec<u8>,
    /// Ascending; the last one is at the end of `bytes`.
    pub bounds: Vec<Bound>,
    /// Each with the number of bytes before it.
    pub orders: Vec<(usize, Order)>,
}

impl Batch {
    /// The disk is full, perhaps for long, or the log has ended: orders with somebody waiting for them are answered that they cannot be done.
    pub fn refuse_orders(&mut self, why: &str) {
        for (at, order) in std::mem::take(&mut self.orders) {
            match order {
                Order::Rotate(done) | Order::Reopen(_, done) => done(Err(why.to_string())),
                Order::Sync(done) => done(Err(why.to_string())),
                other => self.orders.push((at, other)),
            }
        }
    }
}

pub type Done<T> = Box<dyn FnOnce(T) + Send>;

/// What the writer is asked besides writing. Positions are those of the stream where the order stands.
pub enum Order {
    /// Close the segment here and open the next. Answers with its sequence number, or what went wrong (the old
    /// segment goes on).
    Rotate(Done<std::result::Result<Rotated, String>>),
    /// Bytes from here on are written under this id (rule 1: `replication.toml` and ring say so already).
    SetReplId(ReplId),
    SetOptions(Options),
    /// A rewrite runs or has ended: for `no-appendfsync-on-rewrite`.
    Rewriting(bool),
    /// Put a mark: the ring is about to overrun what none proves yet.
    Mark,
    /// Mark and fsync everything so far, whatever the policy.
    Sync(Done<std::result::Result<Offset, String>>),
    /// After a latched failure: a new segment here, in reserve; what was handed over before is dropped, a base at this
    /// offset replaces it. Asked again at the same place, it answers with the same segment.
    Reopen(Place, Done<std::result::Result<Rotated, String>>),
    /// That base is durable and named by the manifest: the reserved segment is written to from now on.
    BaseDurable,
}

/// A segment was opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotated {
    pub seq: u64,
    pub start: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    Ok,
    /// The disk is full: nothing is lost, writes are tried again.
    Healing(String),
    /// A failure that is not retried (P7).
    Latched(String),
}

/// An fsync to be made, here or on another thread, and reported by [`LogWriter::synced`].
pub struct SyncJob {
    files: Vec<Arc<dyn DiskFile>>,
    upto: Offset,
    epoch: u64,
}

impl SyncJob {
    pub fn run(&self) -> Result<()> {
        if planted(Bug::LogFsync) {
            return Ok(());
        }
        for _ in 0..3 * usize::from(planted(Bug::FsyncForgiven)) {
            let _again = self.files.iter().try_for_each(|file| file.fdatasync());
        }
        self.files.iter().try_for_each(|file| file.fdatasync())
    }
}

/// Everything that a successful write changes.
#[derive(Clone, Copy)]
struct Cursor {
    file_len: u64,
    place: Place,
    chain: Chain,
    /// Behind the last mark: the place, and the length of the file.
    proven: (Place, u64),
    /// File bytes since the last mark.
    unmarked: u64,
    /// What the last mark calls durable.
    stated: Offset,
    last_timestamp: i64,
}

pub struct LogWriter {
    segments: Arc<Mutex<Segments>>,
    options: Options,
    segment: OpenSegment,
    cursor: Cursor,
    /// Closed segments whose bytes are not synced yet, oldest first.
    unsynced: Vec<Arc<dyn DiskFile>>,
    durable: Offset,
    epoch: u64,
    sync_running: bool,
    last_sync: u64,
    last_mark: u64,
    rewriting: bool,
    /// Opened while latched, waiting for its base.
    reserved: Option<(OpenSegment, Place)>,
    health: Health,
    waiting_for_sync: Vec<(Offset, Done<std::result::Result<Offset, String>>)>,
    sync_wanted: bool,
    work: Batch,
    done: usize,
    out: Vec<u8>,
}

/// Larger runs between two boundaries are written from where they are instead of being copied.
const COPY_BELOW: usize = 1 << 20;
/// `everysec`
const SYNC_INTERVAL_MS: u64 = 1000;

impl LogWriter {
    /// Opens the next segment at `place`. `durable`: how far the log before it is known durable; if not to its end, the
    /// next fsync is of that log's segments, too.
    pub fn open(
        segments: Arc<Mutex<Segments>>,
        options: Options,
        place: Place,
        durable: Offset,
        now: Now,
    ) -> Result<LogWriter> {
        let unsynced = if durable < place.offset { lock(&segments).open_all()? } else { Vec::new() };
        let segment = lock(&segments).open_next(place)?;
        let cursor = Cursor::at(&segment, place);
        Ok(LogWriter {
            segments,
            options,
            segment,
            cursor,
            unsynced,
            durable,
            epoch: 0,
            sync_running: false,
            last_sync: now.millis,
            last_mark: now.millis,
            rewriting: false,
            reserved: None,
            health: Health::Ok,
            waiting_for_sync: Vec::new(),
            sync_wanted: false,
            work: Batch::default(),
            done: 0,
            out: Vec::new(),
        })
    }

    /// Every byte before it was accepted by `write`.
    pub fn written(&self) -> Offset {
        self.cursor.place.offset
    }
    /// Every byte before it is proven by a mark in the file: the ring may overrun it (rule 6).
    pub fn marked(&self) -> Offset {
        self.cursor.proven.0.offset
    }
    /// Every byte before it survives a power cut.
    pub fn durable(&self) -> Offset {
        self.durable
    }
    pub fn health(&self) -> &Health {
        &self.health
    }
    pub fn policy(&self) -> Policy {
        self.options.policy
    }
    /// Bytes in the current segment.
    pub fn segment_len(&self) -> u64 {
        self.cursor.file_len
    }
    pub fn segment_name(&self) -> &str {
        &self.segment.name
    }
    /// True if a batch is not finished, because the disk is full.
    pub fn has_work(&self) -> bool {
        self.done < self.work.bytes.len() || !self.work.orders.is_empty()
    }

    /// Takes a batch; the one before must be finished. Gives back its buffers for reuse.
    pub fn take(&mut self, batch: Batch) -> Batch {
        debug_assert!(!self.has_work());
        self.done = 0;
        std::mem::replace(&mut self.work, batch)
    }

    /// Writes as much of the batch as the disk accepts and obeys the orders in it. Call again while
    /// [`LogWriter::has_work`], after a pause.
    pub fn advance(&mut self, now: Now) {
        while self.has_work() {
            let next = self.work.orders.first().map_or(self.work.bytes.len(), |(at, _)| *at);
            if self.done < next {
                if !self.write_some(next, now) && !self.latched() {
                    return self.refuse_orders();
                }
                continue;
            }
            let (_, order) = self.work.orders.remove(0);
            if let Some(again) = self.obey(order, now) {
                self.work.orders.insert(0, (self.done, again));
                return self.refuse_orders();
            }
        }
        self.work.bytes.clear();
        self.work.bounds.clear();
        self.done = 0;
    }

    fn refuse_orders(&mut self) {
        if let Health::Healing(why) = &self.health {
            self.work.refuse_orders(why);
            for (_, done) in std::mem::take(&mut self.waiting_for_sync) {
                done(Err(why.clone()));
            }
        }
    }

    /// What is due now: a mark each second, an fsync by policy. The job's result comes back by
    /// [`LogWriter::synced`]; there is never more than one.
    pub fn sync_due(&mut self, now: Now) -> Option<SyncJob> {
        if self.latched() || self.sync_running {
            return None;
        }
        let second_over = |last: u64| now.millis.saturating_sub(last) >= SYNC_INTERVAL_MS;
        let due = self.sync_wanted
            || self.policy_asks() && (self.options.policy == Policy::Always || second_over(self.last_sync));
        if (due || second_over(self.last_mark)) && !self.put_mark(now) {
            self.refuse_orders();
            return None;
        }
        if !due {
            return None;
        }
        self.sync_wanted = false;
        self.sync_running = true;
        self.last_sync = now.millis;
        let mut files = std::mem::take(&mut self.unsynced);
        files.push(self.segment.file.clone());
        Some(SyncJob { files, upto: self.written(), epoch: self.epoch })
    }

    /// The monotonic millisecond at which [`LogWriter::sync_due`] should be asked again if nothing happens. Never one at
    /// which it could do nothing: the caller would ask without end.
    pub fn next_due(&self) -> Option<u64> {
        if self.has_work() || self.latched() || self.sync_running {
            return None; // the caller retries at its own pace; an order ends the failure, its result the fsync
        }
        let after_mark = self.last_mark + SYNC_INTERVAL_MS;
        if matches!(self.health, Health::Healing(_)) {
            return Some(after_mark); // what found the disk full was a mark
        }
        if self.policy_asks() {
            return Some(self.last_sync + SYNC_INTERVAL_MS);
        }
        self.mark_asked().then_some(after_mark)
    }

    pub fn synced(&mut self, job: &SyncJob, result: Result<()>) {
        self.sync_running = false;
        if job.epoch != self.epoch {
            return; // of a sealed segment
        }
        if let Err(failure) = result {
            return self.latch(&failure, "fsync");
        }
        let upto = if planted(Bug::EarlyDurable) { self.written() } else { job.upto };
        self.durable = self.durable.max(upto);
        let durable = self.durable;
        let (ready, waiting) =
            std::mem::take(&mut self.waiting_for_sync).into_iter().partition(|(at, _)| *at <= durable);
        self.waiting_for_sync = waiting;
        let ready: Vec<(Offset, Done<_>)> = ready;
        ready.into_iter().for_each(|(_, done)| done(Ok(durable)));
        self.sync_wanted = !self.waiting_for_sync.is_empty();
    }

    /// The clean end: everything written, marked and (unless spilling) synced. Returns the place reached. What cannot be
    /// marked is cut off, so that another segment may go on where this one is proven to end; also behind a failed fsync,
    /// as else nothing would lead to what follows.
    pub fn close(mut self, now: Now) -> std::result::Result<Closed, Unclosed> {
        self.advance(now);
        self.close_file(now).map_err(|why| {
            let (place, len) = self.cursor.proven;
            let cut = self.drop_reserve() && self.segment.file.truncate(len).is_ok();
            let (durable, sealed) = (self.durable.min(place.offset), self.latched());
            Unclosed { why, proven: cut.then_some(place), durable, sealed, never_began: false }
        })
    }

    /// Its base did not come: the segment would stand between this one and the next.
    fn drop_reserve(&mut self) -> bool {
        let Some((segment, _)) = self.reserved.take() else { return true };
        lock(&self.segments).drop_segment(&segment.name).is_ok()
    }

    fn close_file(&mut self, now: Now) -> std::result::Result<Closed, String> {
        match &self.health {
            Health::Ok => {}
            Health::Healing(text) | Health::Latched(text) => return Err(text.clone()),
        }
        self.sync_wanted = self.options.policy != Policy::Spill && !planted(Bug::CloseUnsynced);
        if !self.put_mark(now) {
            return Err("the last mark could not be written".into());
        }
        if let Some(job) = self.sync_due(now) {
            let synced = job.run();
            self.synced(&job, synced);
            if let Health::Latched(text) = &self.health {
                return Err(text.clone());
            }
        }
        let segments = lock(&self.segments).lens().map_err(|failure| failure.to_string())?;
        Ok(Closed { place: self.cursor.place, durable: self.durable, segments })
    }

    /// Whether there is anything that the policy wants synced, now or within a second. `no-appendfsync-on-rewrite`
    /// pauses `everysec` only: with `always` replies wait for the sync (rule 13), so a pause would stop all writes for as
    /// long as the rewrite takes.
    fn policy_asks(&self) -> bool {
        let paused = self.rewriting && self.options.no_fsync_on_rewrite;
        self.durable < self.written()
            && match self.options.policy {
                Policy::Always => true,
                Policy::EverySec => !paused,
                Policy::No | Policy::Spill => false,
            }
    }

    /// Composes and writes the next piece, up to `next` at most. False: the disk refused.
    fn write_some(&mut self, next: usize, now: Now) -> bool {
        if self.latched() {
            self.done = next; // the ring has them; a reopening begins with a base that holds them
            self.reserved = None;
            return true;
        }
        let mut after = self.cursor;
        let mut out = std::mem::take(&mut self.out);
        out.clear();
        let mut direct = None;
        let mut done = self.done;
        if after.unmarked >= self.options.mark_interval {
            after.mark(self.durable, &mut out); // refused before
        }
        if self.options.timestamps && after.last_timestamp != now.unix_seconds {
            after.put(&timestamp(now.unix_seconds), &mut out);
            after.last_timestamp = now.unix_seconds;
        }
        let first = self.work.bounds.partition_point(|bound| bound.at <= done);
        for bound in &self.work.bounds[first..] {
            let bytes = &self.work.bytes[done..bound.at.min(next)];
            if bytes.len() >= COPY_BELOW {
                if out.is_empty() {
                    direct = Some(done..done + bytes.len());
                    after.cover(bytes);
                    after.reach(bound);
                    done = bound.at;
                }
                break;
            }
            after.put(bytes, &mut out);
            after.reach(bound);
            done = bound.at;
            if after.unmarked >= self.options.mark_interval {
                after.mark(self.durable, &mut out);
            }
            if out.len() >= COPY_BELOW || done >= next {
                break;
            }
        }
        let at_end = done == self.work.bytes.len();
        if at_end && direct.is_none() && self.options.policy == Policy::Always {
            after.mark(self.durable, &mut out);
        }
        let at = self.cursor.file_len;
        let result = match direct {
            Some(range) => self.segment.file.write_at(&self.work.bytes[range], at),
            None => self.segment.file.write_at(&out, at),
        };
        self.out = out;
        let accepted = self.settle_write(result, after, now);
        if accepted {
            self.done = done;
            self.recovered();
        }
        // What was written without copying is larger than any interval: its mark follows at once.
        accepted && (self.cursor.unmarked < self.options.mark_interval || self.write_mark(now))
    }

    /// Writes a mark if there is anything to say. False: the disk refused.
    fn put_mark(&mut self, now: Now) -> bool {
        self.last_mark = now.millis;
        if !self.mark_asked() || self.latched() {
            return true;
        }
        self.write_mark(now)
    }

    /// Something is not proven, or not called durable though it is. Nothing is called so in a segment that holds none of
    /// it: one without a stream byte has to be known by its length.
    fn mark_asked(&self) -> bool {
        let untold = self.durable > self.cursor.stated && self.durable > self.segment.place.offset;
        self.cursor.unmarked > 0 || untold
    }

    fn write_mark(&mut self, now: Now) -> bool {
        let mut after = self.cursor;
        let mut out = Vec::new();
        after.mark(self.durable, &mut out);
        let result = self.segment.file.write_at(&out, self.cursor.file_len);
        self.settle_write(result, after, now)
    }

    fn settle_write(&mut self, result: Result<()>, after: Cursor, now: Now) -> bool {
        let Err(failure) = result else {
            if after.unmarked == 0 {
                self.last_mark = now.millis;
            }
            self.cursor = after;
            self.recovered();
            return true;
        };
        let cut = self.segment.file.truncate(self.cursor.file_len);
        match cut {
            Ok(()) if failure.is_disk_full() => {
                self.health = Health::Healing(failure.to_string());
            }
            Ok(()) => self.latch(&failure, "write"),
            Err(cut_failed) => self.latch(&cut_failed, "cutting back a failed write"),
        }
        false
    }

    /// The disk took a write. While others wait that says little: a mark finds room where a batch does not.
    fn recovered(&mut self) {
        if !matches!(self.health, Health::Healing(_)) || self.done == self.work.bytes.len() {
            self.health = Health::Ok;
        }
    }

    fn latch(&mut self, failure: &IoFailure, during: &str) {
        let text = format!("{during} failed, the log takes no more writes: {failure}");
        self.epoch += 1;
        self.unsynced.clear();
        self.sync_wanted = false;
        for (_, done) in std::mem::take(&mut self.waiting_for_sync) {
            done(Err(text.clone()));
        }
        self.health = Health::Latched(text);
    }

    fn latched(&self) -> bool {
        matches!(self.health, Health::Latched(_))
    }

    /// Gives the order back if the disk is too full for it now.
    fn obey(&mut self, order: Order, now: Now) -> Option<Order> {
        match order {
            Order::Rotate(done) => {
                let rotated = self.rotate(now);
                done(rotated);
            }
            Order::SetReplId(replid) => {
                self.cursor.place.replid = replid;
                if !self.latched() && !self.write_mark(now) && !self.latched() {
                    return Some(Order::SetReplId(replid)); // in band before its first byte
                }
            }
            Order::SetOptions(options) => self.options = options,
            Order::Mark => {
                if !self.put_mark(now) && !self.latched() {
                    return Some(Order::Mark);
                }
            }
            Order::Rewriting(rewriting) => self.rewriting = rewriting,
            Order::Sync(done) => match &self.health {
                Health::Latched(text) => done(Err(text.clone())),
                _ => {
                    self.sync_wanted = true;
                    self.waiting_for_sync.push((self.written(), done));
                }
            },
            Order::Reopen(place, done) => {
                let reopened = self.reopen(place);
                done(reopened);
            }
            Order::BaseDurable => self.go_on_in_reserve(),
        }
        None
    }

    fn rotate(&mut self, now: Now) -> std::result::Result<Rotated, String> {
        if let Health::Latched(text) = &self.health {
            return Err(text.clone());
        }
        let place = self.cursor.place;
        if self.cursor.file_len == self.segment.len && place == self.segment.place {
            // Nothing stands behind its opening: it is the segment that starts here.
            return Ok(Rotated { seq: self.segment.seq, start: place.offset });
        }
        if !self.put_mark(now) {
            return Err(match &self.health {
                Health::Latched(text) => text.clone(),
                _ => "the old segment could not be closed: the disk is full".into(),
            });
        }
        let next = lock(&self.segments).open_next(place).map_err(|failure| failure.to_string())?;
        let old = std::mem::replace(&mut self.segment, next);
        self.unsynced.push(old.file);
        self.cursor = Cursor::at(&self.segment, place);
        Ok(Rotated { seq: self.segment.seq, start: place.offset })
    }

    fn reopen(&mut self, place: Place) -> std::result::Result<Rotated, String> {
        if !self.latched() {
            return Err("the log is in order".into());
        }
        if self.reserved.as_ref().is_none_or(|(_, reserved)| *reserved != place) {
            let segment = lock(&self.segments).open_next(place).map_err(|failure| failure.to_string())?;
            self.reserved = Some((segment, place));
        }
        let seq = self.reserved.as_ref().map_or(0, |(segment, _)| segment.seq);
        Ok(Rotated { seq, start: place.offset })
    }

    fn go_on_in_reserve(&mut self) {
        let Some((segment, place)) = self.reserved.take() else { return };
        self.cursor = Cursor::at(&segment, place);
        self.segment = segment;
        self.durable = place.offset;
        self.health = Health::Ok;
    }
}

/// A log that could not be closed as it should.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unclosed {
    pub why: String,
    /// Where the last segment ends, under a mark; `None`: nobody knows what it ends with.
    pub proven: Option<Place>,
    /// So much of it survives a crash of the machine.
    pub durable: Offset,
    /// What follows `durable` was not saved by a failed fsync: it reads well only as long as the page cache has it, and is
    /// never synced again (rule 23).
    pub sealed: bool,
    /// Its first segment could not be opened: what led to its beginning still does.
    pub never_began: bool,
}

impl Unclosed {
    pub fn lost(why: &str) -> Unclosed {
        let why = why.to_string();
        Unclosed { why, proven: None, durable: Offset::ZERO, sealed: false, never_began: false }
    }
    pub(super) fn never_began(why: &str) -> Unclosed {
        Unclosed { never_began: true, ..Unclosed::lost(why) }
    }
}

/// What a clean shutdown reached, for `replication.toml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closed {
    pub place: Place,
    pub durable: Offset,
    /// Name and length of each segment.
    pub segments: Vec<(String, u64)>,
}

impl Cursor {
    fn at(segment: &OpenSegment, place: Place) -> Cursor {
        Cursor {
            file_len: segment.len,
            place,
            chain: segment.chain,
            proven: (place, segment.len),
            unmarked: 0,
            stated: Offset::ZERO,
            last_timestamp: 0,
        }
    }
    fn cover(&mut self, bytes: &[u8]) {
        self.chain.cover(bytes);
        self.file_len += bytes.len() as u64;
        self.unmarked += bytes.len() as u64;
    }
    fn put(&mut self, bytes: &[u8], out: &mut Vec<u8>) {
        self.cover(bytes);
        out.extend_from_slice(bytes);
    }
    fn reach(&mut self, bound: &Bound) {
        (self.place.offset, self.place.db) = (bound.end, bound.db);
    }
    fn mark(&mut self, durable: Offset, out: &mut Vec<u8>) {
        let before = out.len();
        self.chain.mark(self.place, durable, out);
        self.file_len += (out.len() - before) as u64;
        (self.unmarked, self.stated, self.proven) = (0, durable, (self.place, self.file_len));
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
