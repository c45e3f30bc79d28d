//! The log writer's thread, and the sender that the data thread holds.
//!
//! The data thread copies bytes into a buffer under a mutex and goes on; the writer swaps that buffer for an empty one, so
//! the lock is held for a copy or a swap, never during a system call (rule 6: the data thread never waits in one).
//! While a batch is written or synced the next one grows: group commit without a timer. With `everysec` the fsync
//! runs on a second thread, so that a slow disk delays `durable`, not `written`; with `always` it runs here,
//! because nothing may be acknowledged before it anyway. There the next batch waits a moment for those whom the last one
//! released ([`REJOIN`]).
//!
//! Progress is published in atomics (Release after the fact, Acquire by the reader) and announced by a waker.
//!
//! In a simulator ([`super::hands`]) there is no thread: the same turns are made by whoever lends a hand
//! ([`LogSender::work`]).

use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::hands;
use super::segments::Segments;
use super::writer::{
    Batch, Bound, Closed, Done, Health, LogWriter, Now, Options, Order, Policy, Rotated, SyncJob, Unclosed,
    lock,
};
use crate::disk::Result;
use crate::error::IoFailure;
use crate::format::aof::Place;
use crate::format::framing::unit_bounds;
use crate::units::{Offset, ReplId};

/// Called from the writer's threads after `written`, `durable` or the health changed.
pub type Waker = Arc<dyn Fn() + Send + Sync>;

/// Unless replies wait for it, the writer lets bytes gather so long: they are safe from a process crash in the ring,
/// and a `write` for each batch would cost more than all the rest of a request (measured: 5 µs of 9).
const GATHER: Duration = Duration::from_millis(10);
/// So many bytes are not left to gather.
const GATHER_BYTES: usize = 256 * 1024;
/// `always`: for so long, or the fourth part of the last fsync if that is shorter, those whose replies it released are waited
/// for, so that one fsync serves all clients, and not by turns one half of them and the other (measured, 50 clients: 19 writes
/// a sync without, 42 in Redis).
const REJOIN: Duration = Duration::from_millis(2);
/// An fsync that lasts so long while more is written counts as a delay: `aof_delayed_fsync`.
const SLOW_SYNC_MS: u64 = 2000;
/// How long the writer waits before it tries a full disk again.
const RETRY: Duration = Duration::from_millis(100);
/// How often it is tried while the server waits to end.
const TRIES_AT_THE_END: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthKind {
    Ok,
    Healing,
    Latched,
}

/// The data thread's end. Cheap to clone.
#[derive(Clone)]
pub struct LogSender {
    shared: Arc<Shared>,
}

/// Where a log begins, over which files.
pub struct Opening {
    pub segments: Arc<Mutex<Segments>>,
    pub options: Options,
    /// Between two units.
    pub place: Place,
    /// How far what leads to there is known to be durable.
    pub durable: Offset,
    /// What has to happen to the files first. If it or the opening fails, both are tried again.
    pub before: Box<dyn FnMut() -> Result<()> + Send>,
}

impl Opening {
    /// With nothing to be done first.
    pub fn new(segments: Arc<Mutex<Segments>>, options: Options, place: Place, durable: Offset) -> Opening {
        Opening { segments, options, place, durable, before: Box::new(|| Ok(())) }
    }

    fn open(&mut self, clock: &Clock) -> Result<LogWriter> {
        (self.before)()?;
        LogWriter::open(Arc::clone(&self.segments), self.options, self.place, self.durable, clock.now())
    }
}

struct Shared {
    mailbox: Mutex<Mailbox>,
    news: Condvar,
    open: AtomicBool,
    handed: AtomicU64,
    written: AtomicU64,
    marked: AtomicU64,
    mark_interval: AtomicU64,
    mark_wanted: AtomicBool,
    durable: AtomicU64,
    segment_len: AtomicU64,
    syncing: AtomicBool,
    delays: AtomicU64,
    health: AtomicU8,
    health_text: Mutex<String>,
    waker: Waker,
    /// The writer, where it has no thread.
    here: Mutex<Option<Worker>>,
}

impl Shared {
    fn new(opening: &Opening, waker: Waker) -> Arc<Shared> {
        let Opening { options, place, durable, .. } = opening;
        let begin = || AtomicU64::new(place.offset.0);
        Arc::new(Shared {
            mailbox: Mutex::default(),
            news: Condvar::new(),
            open: AtomicBool::new(false),
            handed: begin(),
            written: begin(),
            marked: begin(),
            mark_interval: AtomicU64::new(options.mark_interval),
            mark_wanted: AtomicBool::new(false),
            durable: AtomicU64::new(durable.0),
            segment_len: AtomicU64::new(0),
            syncing: AtomicBool::new(false),
            delays: AtomicU64::new(0),
            health: AtomicU8::new(HealthKind::Ok as u8),
            health_text: Mutex::default(),
            waker,
            here: Mutex::default(),
        })
    }
}

#[derive(Default)]
struct Mailbox {
    batch: Batch,
    /// The writer waits for so many bytes.
    enough: Option<usize>,
    synced: Option<(SyncJob, Result<()>)>,
    stop: bool,
    /// The thread reads no more: whoever still has a sender is told so at once.
    ended: bool,
    closed: Option<std::result::Result<Closed, Unclosed>>,
}

const ENDED: &str = "the log has ended";

/// Owns the threads; ends them when told to [`LogThread::stop`].
pub struct LogThread {
    sender: LogSender,
    thread: Option<JoinHandle<()>>,
}

impl LogThread {
    /// Opens the next segment and starts writing. Blocks while the opening is synced: not for the data thread while it
    /// serves.
    pub fn start(mut opening: Opening, waker: Waker) -> Result<LogThread> {
        let clock = Clock::start();
        let writer = opening.open(&clock)?;
        let shared = Shared::new(&opening, waker);
        let worker = Worker::new(writer, clock);
        worker.is_open(&shared);
        if hands::is_simulated() {
            *lock(&shared.here) = Some(worker);
            return Ok(LogThread { sender: LogSender { shared }, thread: None });
        }
        LogThread::run(shared, move |_| Some(worker))
    }

    /// The same for a data thread that serves: its thread opens the segment. Until then nothing counts as written; while
    /// it cannot be opened the log is healing, as one on a full disk is. The waker is called when it is open.
    pub fn start_soon(mut opening: Opening, waker: Waker) -> Result<LogThread> {
        if hands::is_simulated() {
            return LogThread::start(opening, waker);
        }
        LogThread::run(Shared::new(&opening, waker), move |shared| {
            let clock = Clock::start();
            let writer = open_patiently(shared, || opening.open(&clock))?;
            let worker = Worker::new(writer, clock);
            worker.is_open(shared);
            (shared.waker)();
            Some(worker)
        })
    }

    fn run(
        shared: Arc<Shared>,
        begin: impl FnOnce(&Shared) -> Option<Worker> + Send + 'static,
    ) -> Result<LogThread> {
        let sender = LogSender { shared: Arc::clone(&shared) };
        let failed = |e| IoFailure::new("starting the log writer's thread for", "log".as_ref(), e);
        let (jobs, job_queue) = mpsc::channel::<SyncJob>();
        let for_sync = Arc::clone(&shared);
        spawn("log-sync", move || sync_loop(&for_sync, &job_queue)).map_err(failed)?;
        let work = move || {
            if let Some(worker) = begin(&shared) {
                write_loop(&shared, worker, &jobs);
            }
        };
        let thread = spawn("log-writer", work).map_err(failed)?;
        Ok(LogThread { sender, thread: Some(thread) })
    }

    pub fn sender(&self) -> LogSender {
        self.sender.clone()
    }

    /// Writes, marks and syncs all that was handed over, and ends; `Err` if the disk did not take it within about a
    /// second. Blocks: not for the data thread while it serves.
    pub fn stop(mut self) -> std::result::Result<Closed, Unclosed> {
        let shared = &self.sender.shared;
        lock(&shared.mailbox).stop = true;
        shared.news.notify_one();
        if let Some(thread) = self.thread.take() {
            thread.join().map_err(|_| Unclosed::lost("the log writer's thread panicked"))?;
        }
        self.sender.work(true);
        let closed = lock(&shared.mailbox).closed.take();
        closed.unwrap_or_else(|| Err(Unclosed::lost("the log writer ended early")))
    }
}

impl LogSender {
    /// Hands over whole units that end at `end`, with `db` selected there. Never blocks on the disk.
    /// No more than one mark interval (and the unit that crosses it) at a time: marks are put between two calls, and
    /// a longer run without one would look like another server's (rule 14). See [`LogSender::push_units`].
    pub fn push(&self, bytes: &[u8], end: Offset, db: u32) {
        if self.push_quietly(bytes, end, db) {
            self.announce();
        }
    }

    /// The same without waking the writer. `true`: it may sleep, and [`LogSender::announce`] must follow soon.
    pub fn push_quietly(&self, bytes: &[u8], end: Offset, db: u32) -> bool {
        let mut mailbox = lock(&self.shared.mailbox);
        let enough = mailbox.enough.unwrap_or(GATHER_BYTES);
        let batch = &mut mailbox.batch;
        let before_len = batch.bytes.len();
        batch.bytes.extend_from_slice(bytes);
        let full = before_len < enough && batch.bytes.len() >= enough;
        let bound = Bound { at: batch.bytes.len(), end, db };
        // A boundary each half of a mark interval is enough, but never across an order.
        let interval = self.shared.mark_interval.load(Ordering::Relaxed) as usize / 2;
        let n = batch.bounds.len();
        let before = if n >= 2 { batch.bounds[n - 2].at } else { 0 };
        let order_at = batch.orders.last().map_or(0, |(at, _)| *at);
        match batch.bounds.last_mut() {
            Some(last) if bound.at - before < interval && last.at > order_at => *last = bound,
            _ => batch.bounds.push(bound),
        }
        self.shared.handed.store(end.0, Ordering::Relaxed);
        before_len == 0 || full
    }

    /// Wakes the writer for what was pushed.
    pub fn announce(&self) {
        self.shared.news.notify_one();
    }

    /// Hands over a long run of whole units, finding the boundaries itself: what the ring holds beyond the log.
    /// Returns the database at their end.
    pub fn push_units(&self, bytes: &[u8], start: Offset, db: u32) -> u32 {
        let (mut from, mut now) = (0, db);
        for (len, db) in unit_bounds(bytes, db, self.shared.mark_interval.load(Ordering::Relaxed)) {
            self.push(&bytes[from..len as usize], start + len, db);
            (from, now) = (len as usize, db);
        }
        now
    }

    /// Its first segment is there.
    pub fn is_open(&self) -> bool {
        self.shared.open.load(Ordering::Acquire)
    }
    /// Every byte before it is in the file (and survives a process crash).
    pub fn written(&self) -> Offset {
        Offset(self.shared.written.load(Ordering::Acquire))
    }
    /// Every byte before it is proven by a mark: the ring may overrun it. Clients are not read from while
    /// `ring.start_after(batch) > marked()` (rule 6); [`LogSender::mark`] hastens it.
    pub fn marked(&self) -> Offset {
        Offset(self.shared.marked.load(Ordering::Acquire))
    }
    /// Every byte before it survives a power cut.
    pub fn durable(&self) -> Offset {
        Offset(self.shared.durable.load(Ordering::Acquire))
    }
    /// Bytes handed over and not yet written.
    pub fn unwritten(&self) -> u64 {
        Offset(self.shared.handed.load(Ordering::Relaxed)).since(self.written())
    }
    /// Bytes in the current segment.
    pub fn segment_len(&self) -> u64 {
        self.shared.segment_len.load(Ordering::Relaxed)
    }
    /// An fsync is under way: `aof_pending_bio_fsync`.
    pub fn syncing(&self) -> bool {
        self.shared.syncing.load(Ordering::Relaxed)
    }
    /// How often, since the last call, two seconds passed in an fsync while there was more to write.
    pub fn take_delays(&self) -> u64 {
        self.shared.delays.swap(0, Ordering::Relaxed)
    }
    pub fn health_kind(&self) -> HealthKind {
        match self.shared.health.load(Ordering::Acquire) {
            0 => HealthKind::Ok,
            1 => HealthKind::Healing,
            _ => HealthKind::Latched,
        }
    }
    /// With the text for reply, INFO and log.
    pub fn health(&self) -> Health {
        let text = lock(&self.shared.health_text).clone();
        match self.health_kind() {
            HealthKind::Ok => Health::Ok,
            HealthKind::Healing => Health::Healing(text),
            HealthKind::Latched => Health::Latched(text),
        }
    }

    /// Closes the segment at the end of what was handed over; the callback runs on the writer's thread.
    pub fn rotate(&self, done: Done<std::result::Result<Rotated, String>>) {
        self.order(Order::Rotate(done));
    }
    /// Rule 1: after `replication.toml` and the ring, before the first byte under it.
    pub fn set_replid(&self, replid: ReplId) {
        self.order(Order::SetReplId(replid));
    }
    pub fn set_options(&self, options: Options) {
        self.shared.mark_interval.store(options.mark_interval, Ordering::Relaxed);
        self.order(Order::SetOptions(options));
    }
    /// Asks for a mark behind what was handed over; asking again before it is there does nothing.
    pub fn mark(&self) {
        if !self.shared.mark_wanted.swap(true, Ordering::AcqRel) {
            self.order(Order::Mark);
        }
    }
    pub fn set_rewriting(&self, rewriting: bool) {
        self.order(Order::Rewriting(rewriting));
    }
    /// Syncs everything so far, whatever the policy; answers with `durable`.
    pub fn sync(&self, done: Done<std::result::Result<Offset, String>>) {
        self.order(Order::Sync(done));
    }
    /// After a latched failure (rule 23): see [`Order::Reopen`].
    pub fn reopen(&self, place: Place, done: Done<std::result::Result<Rotated, String>>) {
        self.order(Order::Reopen(place, done));
    }
    pub fn base_is_durable(&self) {
        self.order(Order::BaseDurable);
    }

    /// Does what the writer has to do, fsyncs included if `sync`; nothing if it has a thread of its own. Before every wait
    /// for an answer of the writer.
    pub fn work(&self, sync: bool) {
        let shared = &*self.shared;
        let mut here = lock(&shared.here);
        while let Some(worker) = &mut *here {
            let stop = lock(&shared.mailbox).stop;
            let running = if sync || stop { worker.syncing.take() } else { None };
            if let Some(job) = running {
                let result = job.run();
                lock(&shared.mailbox).synced = Some((job, result));
            }
            if !worker.is_due(&lock(&shared.mailbox)) {
                return;
            }
            match worker.turn(shared, lock(&shared.mailbox)) {
                Turn::Done if worker.writer.has_work() && !stop => return, // a full disk is tried again later
                Turn::Done => {}
                Turn::Sync(job) => worker.syncing = Some(job),
                Turn::Ended => {
                    if let Some(worker) = here.take() {
                        worker.close(shared);
                    }
                }
            }
        }
    }

    fn order(&self, order: Order) {
        let mut mailbox = lock(&self.shared.mailbox);
        let at = mailbox.batch.bytes.len();
        mailbox.batch.orders.push((at, order));
        if mailbox.ended {
            mailbox.batch.refuse_orders(ENDED);
        }
        drop(mailbox);
        self.shared.news.notify_one();
    }
}

struct Clock(Instant);

impl Clock {
    fn start() -> Clock {
        Clock(Instant::now())
    }

    fn now(&self) -> Now {
        if let Some(micros) = hands::simulated_micros() {
            return Now { millis: (micros / 1000) as u64, unix_seconds: micros / 1_000_000 };
        }
        let unix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Now { millis: self.0.elapsed().as_millis() as u64, unix_seconds: unix.as_secs() as i64 }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> std::io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(name.into()).spawn(run)
}

/// Runs `everysec` syncs until the writer's end of the queue is dropped.
fn sync_loop(shared: &Shared, jobs: &mpsc::Receiver<SyncJob>) {
    while let Ok(job) = jobs.recv() {
        let result = job.run();
        lock(&shared.mailbox).synced = Some((job, result));
        shared.news.notify_one();
    }
}

/// The writer with what its turns remember.
struct Worker {
    writer: LogWriter,
    clock: Clock,
    buffers: Batch,
    sync_began: u64,
    tries: u32,
    /// Under way where there is no thread for it.
    syncing: Option<SyncJob>,
    /// Bytes since the last fsync of `always`.
    taken: usize,
    rejoin: Rejoin,
}

/// Whom an fsync of `always` released: they will be back with as many bytes, until then.
#[derive(Clone, Copy, Default)]
struct Rejoin {
    bytes: usize,
    until: Option<Instant>,
}

/// How a turn of the writer ended.
enum Turn {
    Done,
    /// An fsync is to be made, and reported in the mailbox.
    Sync(SyncJob),
    /// It was told to stop, and nothing is left to do.
    Ended,
}

impl Worker {
    fn new(writer: LogWriter, clock: Clock) -> Worker {
        let buffers = Batch::default();
        let (tries, rejoin) = (TRIES_AT_THE_END, Rejoin::default());
        Worker { writer, clock, buffers, sync_began: 0, tries, syncing: None, taken: 0, rejoin }
    }

    /// Its segment has just been opened.
    fn is_open(&self, shared: &Shared) {
        shared.health.store(HealthKind::Ok as u8, Ordering::Release);
        shared.segment_len.store(self.writer.segment_len(), Ordering::Relaxed);
        shared.open.store(true, Ordering::Release);
    }

    /// Takes what is in the mailbox and does what is due.
    fn turn(&mut self, shared: &Shared, mut mailbox: MutexGuard<'_, Mailbox>) -> Turn {
        let Worker { writer, clock, .. } = self;
        let fresh = !mailbox.batch.bytes.is_empty() || !mailbox.batch.orders.is_empty();
        let now = clock.now().millis;
        if fresh && shared.syncing.load(Ordering::Relaxed) && now - self.sync_began >= SLOW_SYNC_MS {
            shared.delays.fetch_add(1, Ordering::Relaxed);
            self.sync_began = now;
        }
        if fresh && !writer.has_work() {
            let batch = std::mem::replace(&mut mailbox.batch, std::mem::take(&mut self.buffers));
            self.taken += batch.bytes.len();
            self.buffers = writer.take(batch);
            shrink(&mut self.buffers);
        }
        let (synced, stop, drained) = (mailbox.synced.take(), mailbox.stop, mailbox.batch.bytes.is_empty());
        drop(mailbox);
        if let Some((job, result)) = synced {
            shared.syncing.store(false, Ordering::Relaxed);
            writer.synced(&job, result);
        }
        writer.advance(clock.now());
        if let (true, Health::Healing(why)) = (writer.has_work(), writer.health()) {
            lock(&shared.mailbox).batch.refuse_orders(why);
            self.tries -= u32::from(stop && self.tries > 0);
        }
        publish(shared, writer);
        let finished = drained && !writer.has_work() || self.tries == 0;
        if stop && finished && !shared.syncing.load(Ordering::Relaxed) {
            return Turn::Ended;
        }
        let Some(job) = writer.sync_due(clock.now()) else {
            publish(shared, writer);
            return Turn::Done;
        };
        shared.syncing.store(true, Ordering::Relaxed);
        self.sync_began = clock.now().millis;
        if writer.policy() != Policy::Always {
            publish(shared, writer);
            return Turn::Sync(job);
        }
        let began = Instant::now();
        let result = job.run();
        let ended = Instant::now();
        let until = Some(ended + REJOIN.min((ended - began) / 4));
        self.rejoin = Rejoin { bytes: std::mem::take(&mut self.taken), until };
        shared.syncing.store(false, Ordering::Relaxed);
        writer.synced(&job, result);
        publish(shared, writer);
        Turn::Done
    }

    /// Whether a turn has anything to do now, where nobody waits for news.
    fn is_due(&self, mailbox: &Mailbox) -> bool {
        let fresh = !mailbox.batch.bytes.is_empty() || !mailbox.batch.orders.is_empty();
        let now = self.clock.now().millis;
        let stopping = mailbox.stop && self.syncing.is_none();
        let timely = self.writer.next_due().is_some_and(|due| due <= now);
        fresh || stopping || timely || mailbox.synced.is_some() || self.writer.has_work()
    }

    fn close(self, shared: &Shared) {
        let closed = self.writer.close(self.clock.now());
        if let Ok(closed) = &closed {
            shared.written.store(closed.place.offset.0, Ordering::Release);
            shared.marked.store(closed.place.offset.0, Ordering::Release);
            shared.durable.store(closed.durable.0, Ordering::Release);
        }
        let mut mailbox = lock(&shared.mailbox);
        (mailbox.closed, mailbox.ended) = (Some(closed), true);
        mailbox.batch.refuse_orders(ENDED);
        drop(mailbox);
        (shared.waker)();
    }
}

/// Tries until the segment is open; `None` if the log is to end and it still is not.
fn open_patiently(shared: &Shared, mut open: impl FnMut() -> Result<LogWriter>) -> Option<LogWriter> {
    let mut tries = TRIES_AT_THE_END;
    loop {
        let why = match open() {
            Ok(writer) => return Some(writer),
            Err(failure) => failure.to_string(),
        };
        lock(&shared.health_text).clone_from(&why);
        let known = shared.health.swap(HealthKind::Healing as u8, Ordering::AcqRel);
        let mut mailbox = lock(&shared.mailbox);
        mailbox.batch.refuse_orders(&why);
        tries -= u32::from(mailbox.stop);
        if tries == 0 {
            (mailbox.closed, mailbox.ended) = (Some(Err(Unclosed::never_began(&why))), true);
            drop(mailbox);
            (shared.waker)();
            return None;
        }
        if known != HealthKind::Healing as u8 {
            drop(mailbox);
            (shared.waker)();
            mailbox = lock(&shared.mailbox);
        }
        drop(wait_until(shared, mailbox, Instant::now() + RETRY));
    }
}

fn write_loop(shared: &Shared, mut worker: Worker, jobs: &mpsc::Sender<SyncJob>) {
    loop {
        let mailbox = wait_for_news(shared, &worker);
        match worker.turn(shared, mailbox) {
            Turn::Done => {}
            Turn::Ended => return worker.close(shared),
            Turn::Sync(job) => {
                if let Err(mpsc::SendError(job)) = jobs.send(job) {
                    let gone = std::io::Error::other("the sync thread has ended");
                    shared.syncing.store(false, Ordering::Relaxed);
                    worker.writer.synced(&job, Err(IoFailure::new("syncing", "log".as_ref(), gone)));
                    publish(shared, &worker.writer);
                }
            }
        }
    }
}

/// Returns when there is something to do: news, a due mark or fsync, a retry.
fn wait_for_news<'a>(shared: &'a Shared, worker: &Worker) -> MutexGuard<'a, Mailbox> {
    let Worker { writer, clock, rejoin, .. } = worker;
    let mut mailbox = lock(&shared.mailbox);
    let all_back = rejoin.bytes + mailbox.batch.bytes.len();
    let deadline = match writer.next_due() {
        _ if writer.has_work() => Some(Instant::now() + RETRY),
        Some(due) => Some(clock.0 + Duration::from_millis(due)),
        None => None,
    };
    let mut gathered = false;
    loop {
        let fresh = !mailbox.batch.bytes.is_empty() || !mailbox.batch.orders.is_empty();
        if fresh && !gathered && may_gather(&mailbox, writer) {
            gathered = true;
            mailbox = wait_until(shared, mailbox, Instant::now() + GATHER);
            continue;
        }
        if let Some(until) = rejoin.until.filter(|_| fresh && mailbox.batch.bytes.len() < all_back)
            && can_wait(&mailbox, writer)
            && Instant::now() < until
        {
            mailbox.enough = Some(all_back);
            mailbox = wait_until(shared, mailbox, until);
            mailbox.enough = None;
            continue;
        }
        // A stop waits for a running sync; everything else is handled at once.
        let stopping = mailbox.stop && !shared.syncing.load(Ordering::Relaxed) && !writer.has_work();
        if (fresh && !writer.has_work()) || stopping || mailbox.synced.is_some() {
            return mailbox;
        }
        mailbox = match deadline {
            None => shared.news.wait(mailbox).unwrap_or_else(PoisonError::into_inner),
            Some(deadline) if deadline <= Instant::now() => return mailbox,
            Some(deadline) => wait_until(shared, mailbox, deadline),
        };
    }
}

/// Whether bytes may wait for more to come.
fn may_gather(mailbox: &Mailbox, writer: &LogWriter) -> bool {
    writer.policy() != Policy::Always && mailbox.batch.bytes.len() < GATHER_BYTES && can_wait(mailbox, writer)
}

/// Nobody waits for anything but bytes to be written.
fn can_wait(mailbox: &Mailbox, writer: &LogWriter) -> bool {
    !writer.has_work() && mailbox.batch.orders.is_empty() && !mailbox.stop && mailbox.synced.is_none()
}

fn wait_until<'a>(
    shared: &Shared,
    mailbox: MutexGuard<'a, Mailbox>,
    deadline: Instant,
) -> MutexGuard<'a, Mailbox> {
    let left = deadline.saturating_duration_since(Instant::now());
    match shared.news.wait_timeout(mailbox, left) {
        Ok((mailbox, _)) => mailbox,
        Err(poisoned) => poisoned.into_inner().0,
    }
}

/// A buffer that once held a huge unit does not stay huge.
fn shrink(batch: &mut Batch) {
    const KEEP: usize = 8 << 20;
    if batch.bytes.capacity() > KEEP {
        batch.bytes = Vec::new();
    }
}

fn publish(shared: &Shared, writer: &LogWriter) {
    let kind = match writer.health() {
        Health::Ok => HealthKind::Ok,
        Health::Healing(text) | Health::Latched(text) => {
            lock(&shared.health_text).clone_from(text);
            match writer.health() {
                Health::Latched(_) => HealthKind::Latched,
                _ => HealthKind::Healing,
            }
        }
    };
    let changed = [
        shared.marked.swap(writer.marked().0, Ordering::AcqRel) != writer.marked().0,
        shared.written.swap(writer.written().0, Ordering::AcqRel) != writer.written().0,
        shared.durable.fetch_max(writer.durable().0, Ordering::AcqRel) < writer.durable().0,
        shared.health.swap(kind as u8, Ordering::AcqRel) != kind as u8,
    ];
    if writer.marked() == writer.written() {
        shared.mark_wanted.store(false, Ordering::Release);
    }
    shared.segment_len.store(writer.segment_len(), Ordering::Relaxed);
    if changed.contains(&true) {
        (shared.waker)();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::SimDisk;
    use crate::format::manifest::Manifest;
    use crate::log::segments::paths;
    use std::sync::atomic::AtomicU32;

    fn start(disk: &SimDisk, policy: Policy, waker: Waker) -> LogThread {
        let segments = Segments::new(Arc::new(disk.clone()), paths(), Manifest::default()).unwrap();
        let options = Options { policy, timestamps: false, no_fsync_on_rewrite: false, mark_interval: 65536 };
        let place = Place { replid: ReplId::NONE, offset: Offset(0), db: 0 };
        let opening = Opening::new(Arc::new(Mutex::new(segments)), options, place, Offset(0));
        LogThread::start(opening, waker).unwrap()
    }

    const PING: &[u8] = b"*1\r\n$4\r\nPING\r\n";

    #[test]
    fn what_is_pushed_is_written_synced_and_announced() {
        for policy in [Policy::Always, Policy::EverySec, Policy::No] {
            let (disk, woken) = (SimDisk::new(), Arc::new(AtomicU32::new(0)));
            let count = woken.clone();
            let log = start(
                &disk,
                policy,
                Arc::new(move || {
                    let _before = count.fetch_add(1, Ordering::SeqCst);
                }),
            );
            let sender = log.sender();
            let mut end = Offset(0);
            for _ in 0..20_000 {
                end += PING.len() as u64;
                sender.push(PING, end, 0);
            }
            let (tell, told) = mpsc::channel();
            sender.sync(Box::new(move |durable| tell.send(durable).unwrap()));
            assert_eq!(told.recv().unwrap(), Ok(end));
            sender.push(PING, end + 14, 0);
            let closed = log.stop().unwrap();
            assert_eq!((closed.place.offset, closed.durable), (end + 14, end + 14));
            assert_eq!((sender.written(), sender.durable(), sender.unwritten()), (end + 14, end + 14, 0));
            assert!(woken.load(Ordering::SeqCst) > 0);
            let name = &closed.segments[0].0;
            let path = format!("/d/appendonlydir/{name}");
            let bytes = crate::disk::read_all(&disk, path.as_ref(), 1 << 30).unwrap();
            let mut walk = crate::format::aof::SegmentWalk::new(0);
            walk.feed(&bytes);
            assert_eq!(walk.finish().proven.offset, end + 14);
        }
    }

    /// Scenario 8: a stalled fsync delays `durable`, never `written`.
    #[test]
    fn writing_goes_on_while_an_fsync_stalls() {
        let disk = SimDisk::new();
        let (release, gate) = mpsc::channel::<()>();
        let (began, begun) = mpsc::channel::<()>();
        let (wrote, written) = mpsc::channel();
        let log = start(&disk, Policy::EverySec, Arc::new(move || wrote.send(()).unwrap_or(())));
        let gate = Mutex::new(gate);
        disk.on_sync(move |_| {
            let _ended = began.send(());
            let _released = lock(&gate).recv();
        });
        let sender = log.sender();
        sender.push(PING, Offset(14), 0);
        sender.sync(Box::new(|_| {}));
        begun.recv().unwrap();
        sender.push(PING, Offset(28), 0);
        while sender.written() < Offset(28) {
            written.recv().unwrap();
        }
        assert_eq!((sender.durable(), sender.syncing()), (Offset(0), true));
        drop(release);
        assert_eq!(log.stop().unwrap().durable, Offset(28));
    }

    /// A disk that stays full: nobody waits for it for ever.
    #[test]
    fn a_full_disk_holds_no_order_and_no_end_up() {
        let disk = SimDisk::new();
        let log = start(&disk, Policy::EverySec, Arc::new(|| {}));
        let sender = log.sender();
        disk.set_free_space(Some(0));
        sender.push(PING, Offset(14), 0);
        let (tell, told) = mpsc::channel();
        let (sync_tell, rotate_tell) = (tell.clone(), tell);
        sender.sync(Box::new(move |done| sync_tell.send(done.map(|_| ())).unwrap()));
        sender.rotate(Box::new(move |done| rotate_tell.send(done.map(|_| ())).unwrap()));
        for _ in 0..2 {
            assert!(told.recv().unwrap().unwrap_err().contains("appendonly.aof.1.incr.aof"));
        }
        assert!(log.stop().unwrap_err().why.contains("appendonly.aof.1.incr.aof"));
    }

    /// A sender outlives the log, and so would whoever waits for an answer.
    #[test]
    fn a_log_that_has_ended_answers_what_is_asked_of_it() {
        let log = start(&SimDisk::new(), Policy::Always, Arc::new(|| {}));
        let sender = log.sender();
        log.stop().unwrap();
        let (tell, told) = mpsc::channel();
        let (sync_tell, rotate_tell) = (tell.clone(), tell);
        sender.sync(Box::new(move |done| sync_tell.send(done.map(|_| ())).unwrap()));
        sender.rotate(Box::new(move |done| rotate_tell.send(done.map(|_| ())).unwrap()));
        for _ in 0..2 {
            assert_eq!(told.try_recv().unwrap().unwrap_err(), ENDED);
        }
    }

    #[test]
    fn a_full_disk_is_reported_and_heals() {
        let disk = SimDisk::new();
        let (tell, told) = mpsc::channel();
        let log = start(&disk, Policy::Always, Arc::new(move || tell.send(()).unwrap_or(())));
        let sender = log.sender();
        disk.set_free_space(Some(0));
        sender.push(PING, Offset(14), 0);
        while sender.health_kind() != HealthKind::Healing {
            told.recv().unwrap();
        }
        assert!(
            matches!(sender.health(), Health::Healing(text) if text.contains("appendonly.aof.1.incr.aof"))
        );
        assert_eq!(sender.unwritten(), 14);
        disk.set_free_space(None);
        while sender.durable() < Offset(14) {
            told.recv().unwrap();
        }
        assert_eq!(sender.health(), Health::Ok);
        log.stop().unwrap();
    }
}
