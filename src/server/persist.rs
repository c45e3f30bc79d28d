//! Ring and log as the driver sees them: where stream bytes go, and how far they are.
//!
//! | setting | ring | log thread |
//! |---|---|---|
//! | `appendonly yes` | every byte | every byte, fsynced as `appendfsync` says |
//! | `appendonly no`, save points | every byte | from the last cut on, once the ring is about to overrun it (the spill, rule 7); at once where a start, or the log's switching off, leaves segments that reach further back than the ring: replicas may need them |
//! | `appendonly no`, `save ""` | every byte | none |
//!
//! From where on the ring must hold the stream, and where a log therefore begins, is said in one place:
//! [`Promise`]. Everything that moves the ring's start passes [`Persist::may_begin_at`].
//!
//! The order within a batch: ring first, then the hand-over to the log, then replies. A byte is in the ring's file
//! as soon as it is copied, so a process crash after any reply loses nothing of it.
//!
//! **When the ring is full of what the log does not prove yet** (rule 6). Clients are not read from before a batch could
//! overrun such bytes, but what they send may grow when it is executed (EXEC of a long queue), and a disk may fill up
//! in the middle of it. Then the units wait in memory ([`Persist::waiting`]), handed to the log but not yet in the
//! ring, and every reply waits until the log has them: nothing that was acknowledged is overwritten, and this
//! thread never waits. It is no more than one batch: the next one is held back, or, while the disk is full, finds
//! the gate closed ([`Driver::feed`](super::driver::Driver::feed)). Rejected: to wait here for the log, as a full
//! disk has no end in sight; to overrun the ring, as the bytes would be in memory only, though acknowledged.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;
use std::{io, iter};

use super::logging::{notice, warning};
use super::promise::Promise;
use crate::config::{AppendFsync, Settings};
use crate::disk::Disk;
use crate::engine::Node;
use crate::format::aof::Place;
use crate::format::framing::leads;
use crate::format::history::{Base, History, Sealed};
use crate::log::hands;
use crate::log::history_file::HistoryFile;
use crate::log::segments::{Paths, Segments};
use crate::log::thread::{HealthKind, LogSender, LogThread, Waker};
use crate::log::writer::{Closed, Health, Options, Policy, mark_interval};
use crate::planted::{Bug, planted};
use crate::ring::Ring;
use crate::state::Slot;
use crate::units::{Offset, ReplId};
use pins::{Awaited, Pin};
use turns::{Ending, Unopened};

/// How a transaction begins.
const MULTI: &[u8] = b"*1\r\n$5\r\nMULTI\r\n";
/// Between two attempts to record that the log has failed.
const SEAL_AGAIN: Duration = Duration::from_secs(1);

mod bases;
mod pins;
mod turns;

/// How far the log is, or why it stopped.
pub enum LogStatus {
    At {
        written: Offset,
        durable: Offset,
    },
    /// Nothing is lost; writes are tried again.
    Healing {
        written: Offset,
        durable: Offset,
        why: String,
    },
    Failed(String),
}

/// A place between two units with the database selected there.
#[derive(Clone, Copy, Debug)]
pub struct Cut {
    pub replid: ReplId,
    pub offset: Offset,
    pub db: u32,
}

impl Cut {
    pub fn place(self) -> Place {
        Place { replid: self.replid, offset: self.offset, db: self.db }
    }
}

/// What a witness of the stream is told.
#[derive(Clone, Debug)]
pub enum Seen {
    /// Whole units, and where they end.
    Units(Vec<u8>, Offset),
    /// From the present end on the history has this name.
    Named(ReplId),
    /// Another history goes on from here.
    Replaced(Cut),
}

/// Shared with the threads that write snapshots.
#[derive(Clone)]
pub struct Files {
    pub disk: Arc<dyn Disk>,
    pub paths: Paths,
    pub history: Arc<Mutex<HistoryFile>>,
    pub segments: Arc<Mutex<Segments>>,
}

/// Removes the log's base and its segments before `next`: a snapshot holds what they held.
fn drop_log(files: &Files, next: u64) -> io::Result<()> {
    lock(&files.segments).drop_before(next).map_err(io::Error::other)?;
    lock(&files.segments).delete_history().map_err(io::Error::other)?;
    if lock(&files.segments).manifest().base.is_some() {
        return Ok(());
    }
    // Last: a log's base that nothing names would be taken for another server's (rule 15).
    let of_the_log = files.paths.relative("");
    let gone = |base: &Base| base.files.iter().all(|file| file.name.starts_with(&of_the_log));
    lock(&files.history).update(|history| history.bases.retain(|base| !gone(base))).map_err(io::Error::other)
}

/// Where each id came into force here that followed another, newest first: no later than the one that followed it.
fn names(history: &History) -> Vec<(Offset, ReplId)> {
    let ids = iter::once(history.replid).chain(history.lineage.iter().map(|past| past.replid));
    let mut latest = history.begun;
    let ends = history.lineage.iter().map(|past| {
        latest = latest.min(past.end);
        latest
    });
    ends.zip(ids).collect()
}

/// A poisoned lock means that a background thread panicked while changing what is on disk: the values are still
/// those last written.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub struct Persist {
    pub files: Files,
    pub ring: Ring,
    log: Option<LogThread>,
    /// Its end; `None`: bytes go to the ring only.
    sender: Option<LogSender>,
    unopened: Option<Unopened>,
    ending: Option<Ending>,
    /// Clients are served: nothing here may wait.
    pub serves: bool,
    waker: Waker,
    replid: ReplId,
    /// Where each id of this history came into force, newest first, as `replication.toml` has it.
    names: Vec<(Offset, ReplId)>,
    end: Offset,
    db: u32,
    /// Units that are with the log and not yet in the ring, each with the database after it: see the module's head.
    waiting: VecDeque<(Vec<u8>, u32)>,
    promise: Promise,
    /// The spill was due and could not begin: units wait, writes are refused.
    spill_failure: Option<String>,
    /// A change of name failed: `replication.toml` may have it all the same, and no byte may come under the name of before until
    /// the file says that one again (rule 1).
    pub name_in_doubt: bool,
    /// The log's base was due and could not be written: writes are refused.
    base_failed: Option<String>,
    /// Removes segments that are not needed any more.
    tidying: Option<hands::Task>,
    pub appendonly: bool,
    /// Bytes of closed segments and of the base of the log.
    log_closed_len: Arc<AtomicU64>,
    /// The oldest byte that segments hold, as it was last seen.
    oldest_in_log: Option<Offset>,
    /// What replicas still need: the log keeps it when the ring does not.
    pins: BTreeMap<Slot, Pin>,
    awaited: Option<Awaited>,
    /// The oldest byte of all of that, for those who replace segments.
    needed: Arc<AtomicU64>,
    /// With `appendfsync always` nothing is sent to replicas that is not durable (rule 13).
    sends_durable: bool,
    /// The log was handed bytes and has not been told of them.
    unannounced: bool,
    /// Told of everything that makes the stream, before it goes anywhere: how a harness knows what the stream is.
    pub witness: Option<mpsc::Sender<Seen>>,
}

impl Persist {
    /// Over files as recovery left them. `at`: the end of the stream; what base and segments lead to, unless
    /// [`Persist::recovered`] says otherwise.
    pub fn new(files: Files, ring: Ring, at: Cut, waker: Waker, history: &History) -> Persist {
        let needed = lock(&files.segments).needed();
        Persist {
            files,
            needed,
            names: names(history),
            ring,
            log: None,
            sender: None,
            unopened: None,
            ending: None,
            serves: false,
            waker,
            replid: at.replid,
            end: at.offset,
            db: at.db,
            waiting: VecDeque::new(),
            promise: Promise::new(at, false),
            spill_failure: None,
            name_in_doubt: false,
            base_failed: None,
            tidying: None,
            appendonly: false,
            log_closed_len: Arc::default(),
            oldest_in_log: None,
            pins: BTreeMap::new(),
            awaited: None,
            sends_durable: false,
            unannounced: false,
            witness: None,
        }
    }

    /// The end of the stream, as a place for a snapshot.
    pub fn cut(&self) -> Cut {
        Cut { replid: self.replid, offset: self.end, db: self.db }
    }

    /// Takes the node's new stream bytes: into the ring, and to the log. `true`: there were any.
    pub fn take_stream(&mut self, node: &mut Node) -> bool {
        let Some((bytes, cuts)) = node.poll_stream() else { return false };
        let (mut from, mut in_ring) = (0, true);
        for cut in cuts {
            in_ring &= self.append(&bytes[from..cut.at], cut.db.unwrap_or(self.db));
            from = cut.at;
        }
        node.stream_taken();
        if !in_ring {
            node.await_log();
        }
        self.describe(node);
        true
    }

    /// With `appendfsync always` the log is told of all that one turn of the clients brings at once, so that one fsync serves
    /// them all: [`Persist::announce`] is due at the turn's end.
    pub fn is_unannounced(&self) -> bool {
        self.unannounced
    }

    pub fn announce(&mut self) {
        if std::mem::take(&mut self.unannounced)
            && let Some(sender) = &self.sender
        {
            sender.announce();
        }
    }

    /// False: the log has them, or will have, but the ring has not.
    fn append(&mut self, units: &[u8], db: u32) -> bool {
        debug_assert!(leads(units, self.db, db), "what stands at a cut must be what was written");
        // Early, so that its opening does not have to be waited for.
        let ahead = (units.len() as u64 + self.ring.limit() / 4).min(self.ring.limit());
        self.spill_before(self.ring.start_after((units.len() as u64).max(ahead)));
        self.end += units.len() as u64;
        self.db = db;
        self.tell_witness(|| Seen::Units(units.to_vec(), self.end));
        if !self.waiting.is_empty() || self.would_overrun(units.len() as u64) {
            self.waiting.push_back((units.to_vec(), db));
        } else {
            self.put_in_ring(units, db);
        }
        if let Some(sender) = &self.sender {
            if self.sends_durable {
                self.unannounced |= sender.push_quietly(units, self.end, db);
            } else {
                sender.push(units, self.end, db);
            }
            if !self.waiting.is_empty() {
                sender.mark();
            }
        }
        let fits = units.len() as u64 <= self.ring.limit(); // else rule 8
        self.waiting.is_empty() && (fits || self.sender.is_none())
    }

    fn tell_witness(&self, seen: impl FnOnce() -> Seen) {
        if let Some(witness) = &self.witness {
            let _nobody_listens = witness.send(seen());
        }
    }

    /// The gate before everything that moves the ring's start: whether all that recovery needs before `start` is in
    /// segments.
    fn may_begin_at(&self, start: Offset) -> bool {
        match (&self.sender, &self.ending) {
            (Some(log), _) => log.marked() >= start.min(self.ring.end()) || planted(Bug::RingOverrun),
            // What comes now is not in it.
            (None, Some(Ending { sender, .. })) => !self.promise.is_kept() || sender.marked() >= start,
            (None, None) if planted(Bug::NoSpill) => true,
            (None, None) => self.promise.needed_from().is_none_or(|from| start <= from.offset),
        }
    }

    fn would_overrun(&self, len: u64) -> bool {
        !self.may_begin_at(self.ring.start_after(len))
    }

    fn put_in_ring(&mut self, units: &[u8], db: u32) {
        let open = self.present_log().filter(|log| log.is_open() && self.promise.is_whole());
        if let Some((written, durable)) = open.map(|log| (log.written(), log.durable())) {
            // Before the ring gives up what only the log holds then: so its file says that a log led to its start.
            self.ring.note(written, durable);
        }
        if planted(Bug::TornMulti) && units.starts_with(MULTI) {
            let (first, rest) = units.split_at(MULTI.len());
            self.ring.append(first, self.ring.db());
            self.ring.append(rest, db);
        } else {
            self.ring.append(units, db);
        }
        if self.present_log().is_none() {
            let start = self.ring.start();
            debug_assert!(self.may_begin_at(start), "the ring gave up what recovery needs (rule 7)");
            self.promise.ring_begins_at(start);
        }
    }

    /// The log has moved, is open, or has ended: what waited for it goes into the ring.
    pub fn catch_up(&mut self) {
        self.look_for_turn();
        while let Some((units, db)) = self.waiting.pop_front() {
            if self.would_overrun(units.len() as u64) {
                self.waiting.push_front((units, db));
                break;
            }
            self.put_in_ring(&units, db);
        }
        let Some(log) = self.present_log() else { return };
        if !self.waiting.is_empty() {
            log.mark();
        }
        if log.is_open() && self.promise.is_whole() {
            // Not before: until then a start looks at another log's files, which must not be asked for that much.
            let (written, durable) = (log.written(), log.durable());
            self.ring.note_durable(written, durable);
        }
    }

    /// Closes everything as a clean shutdown does; the waker for the next to be opened. On an error the directory is as
    /// after a crash of the process: what is acknowledged and not in the log is in the ring.
    pub fn close(mut self) -> Result<Waker, String> {
        self.finish_tidying();
        let cut = self.cut();
        if let (false, false, Some(sender)) = (self.appendonly, self.is_in_doubt(), &self.sender) {
            // A spill is not fsynced by itself, and the clean mark must not claim more than the disk holds, the log's
            // own last mark included.
            sender.set_options(self.options_off());
        }
        let closed = self.end_log();
        let flushed = self.ring.flush().map_err(|failure| failure.to_string()); // needs no space
        flushed?;
        if !self.waiting.is_empty() {
            return Err(closed
                .err()
                .unwrap_or_else(|| "the log did not take all that was acknowledged".into()));
        }
        let in_doubt = self.is_in_doubt();
        if in_doubt && self.promise.is_kept() {
            return Err("an fsync of the log failed, and no base has replaced it since".into());
        }
        if let Some(at) = self.promise.broken_at() {
            // Not acknowledged, but served to whoever read it.
            return Err(format!(
                "nothing on disk leads further than {at}, and no base has replaced the log since"
            ));
        }
        let mut closed = match closed? {
            Some(closed) => closed,
            None => {
                // Also segments that are not written to now: another server may append to the last of them (rule 14).
                let segments = lock(&self.files.segments);
                if !in_doubt {
                    // A spill that ended was not fsynced.
                    let synced =
                        segments.open_all().and_then(|all| all.iter().try_for_each(|file| file.fdatasync()));
                    synced.map_err(|failure| failure.to_string())?;
                }
                let segments = segments.lens().map_err(|failure| failure.to_string())?;
                Closed { place: cut.place(), durable: cut.offset, segments }
            }
        };
        if !self.promise.is_whole() || in_doubt {
            // Nothing is kept, and the ring has moved on: no start need come back to the end, so the mark must not say so.
            closed.place.offset = Offset::ZERO;
        }
        lock(&self.files.history).mark_clean(&closed).map_err(|failure| failure.to_string())?;
        Ok(self.waker)
    }

    /// The log failed in a way that fsync cannot mend: `replication.toml` says how far it is to be relied on, for the case
    /// that this process ends before a base has replaced it (rule 23). On a thread of its own, as the disk is slow
    /// just when it fails.
    pub fn seal_log(&self) {
        let Some(sender) = &self.sender else { return };
        let range = Sealed { from: sender.durable(), to: sender.written() };
        let (history, sender, tag) = (Arc::clone(&self.files.history), sender.clone(), self.ring.tag());
        let seal = move || {
            while sender.health_kind() == HealthKind::Latched {
                let mut history = lock(&history);
                if history.get().tag != tag {
                    return; // a full sync has put another history in its place
                }
                let Err(failure) = history.seal(range) else { return };
                drop(history);
                warning!("The failure cannot be recorded yet, a restart would not know of it: {failure}");
                if hands::is_simulated() {
                    return; // no time passes here: one attempt
                }
                std::thread::sleep(SEAL_AGAIN);
            }
        };
        if let Err(error) = hands::spawn("seal", seal) {
            warning!("The failure cannot be recorded: starting a thread: {error}");
        }
    }

    /// The log takes no more writes until a base and a new segment replace it.
    pub fn log_is_latched(&self) -> bool {
        self.sender.as_ref().is_some_and(|sender| sender.health_kind() == HealthKind::Latched)
    }

    /// Writes and fsyncs all that was handed over; an error as soon as it is known that this cannot be done now.
    pub fn sync_log(&self) -> Result<(), String> {
        let Some(sender) = &self.sender else { return Ok(()) };
        let (send, receive) = mpsc::channel();
        sender.sync(Box::new(move |done| {
            let _asker_gone = send.send(done);
        }));
        sender.work(true);
        match receive.recv() {
            Ok(done) => done.map(|_| ()),
            Err(_) => Err("the log ended before it was synced".into()),
        }
    }

    /// A failed fsync left a part of the log in doubt, and no base has replaced it yet (rule 23).
    pub fn is_in_doubt(&self) -> bool {
        self.promise.is_in_doubt()
    }

    /// Base, segments and ring lead to the end of the stream.
    pub fn is_whole(&self) -> bool {
        self.promise.is_whole()
    }

    pub fn sender(&self) -> Option<&LogSender> {
        self.sender.as_ref()
    }

    /// Whether `bytes` more could overrun what the log does not prove yet (rule 6).
    pub fn is_behind(&self, bytes: u64) -> bool {
        let Some(log) = self.present_log() else { return !self.waiting.is_empty() };
        // A unit larger than the ring goes through when nothing else waits (rule 8).
        let start = self.ring.start_after(bytes.min(self.ring.limit()));
        let overrun = log.marked() < self.end && start > log.marked() && !self.may_begin_at(start);
        let behind = overrun || !self.waiting.is_empty();
        if behind {
            log.mark();
        }
        behind
    }

    /// The log can be written to, as far as is known.
    pub fn log_is_well(&self) -> bool {
        let well = |sender: &LogSender| sender.health_kind() == HealthKind::Ok;
        let failed = self.spill_failure.is_some() || self.promise.broken_at().is_some();
        !failed && self.sender.as_ref().is_none_or(well)
    }

    pub fn log_status(&self) -> LogStatus {
        let status = self.status_of_log();
        let Some(at) = self.promise.broken_at() else { return status };
        match status {
            LogStatus::At { written, durable } | LogStatus::Healing { written, durable, .. } => {
                let why = "the log ended before it had all, and a snapshot that holds the rest is due".into();
                LogStatus::Healing { written: written.min(at), durable: durable.min(at), why }
            }
            LogStatus::Failed(why) => LogStatus::Failed(why),
        }
    }

    fn status_of_log(&self) -> LogStatus {
        if let Some(Ending { sender, .. }) = &self.ending {
            return LogStatus::At { written: sender.marked(), durable: sender.durable() };
        }
        let Some(sender) = &self.sender else {
            let (written, durable) = (self.ring.end(), self.ring.end());
            return match self.spill_failure.clone() {
                Some(why) => LogStatus::Healing { written, durable, why },
                None => LogStatus::At { written, durable },
            };
        };
        let (written, durable) = (sender.marked(), sender.durable());
        if sender.health_kind() == HealthKind::Ok {
            return match self.base_failed.clone() {
                Some(why) => LogStatus::Healing { written, durable, why },
                None => LogStatus::At { written, durable },
            };
        }
        match sender.health() {
            Health::Ok => LogStatus::At { written, durable },
            Health::Healing(why) => LogStatus::Healing { written, durable, why },
            Health::Latched(why) => LogStatus::Failed(why),
        }
    }

    /// Whether the ring may begin at `start`; if not, what is missing for it is set in motion.
    pub fn prepare_to_begin_at(&mut self, start: Offset) -> bool {
        self.spill_before(start);
        let may = self.may_begin_at(start);
        if let (false, Some(sender)) = (may, &self.sender) {
            sender.mark();
        }
        may
    }

    /// A resize of the ring has begun or ended: it asks for other marks, and holds another window.
    pub fn ring_changed(&mut self, node: &mut Node) {
        self.describe(node);
        if self.present_log().is_none() {
            self.promise.ring_begins_at(self.ring.start());
        }
        let Some(sender) = &self.sender else { return };
        sender.set_options(if self.appendonly {
            self.options(&node.config().settings)
        } else {
            self.options_for_spill()
        });
    }

    /// Bytes of base and segments, as INFO's `aof_current_size` counts them.
    pub fn log_len(&self) -> u64 {
        let closed = self.log_closed_len.load(Ordering::Relaxed);
        closed + self.sender.as_ref().map_or(0, LogSender::segment_len)
    }

    /// Brings INFO's figures about the log up to date.
    pub fn describe_log(&self, node: &mut Node) {
        let persistence = &mut node.server.persistence;
        persistence.aof_current_size = self.log_len();
        persistence.aof_buffer_length = self.sender.as_ref().map_or(0, LogSender::unwritten);
        persistence.aof_pending_fsyncs = self.sender.as_ref().is_some_and(LogSender::syncing).into();
        node.server.stats.aof_delayed_fsyncs += self.sender.as_ref().map_or(0, LogSender::take_delays);
    }

    /// Brings the node's view of the history up to date.
    pub fn describe(&mut self, node: &mut Node) {
        node.server.history.held_from = self.held_from();
        node.server.history.replid = self.replid;
        node.stream.ring_limit = self.ring.limit();
    }

    // ---- another history ----

    /// The stream goes on under another id, recorded in `replication.toml` already (rule 1).
    pub fn rename_in_band(&mut self, replid: ReplId) {
        self.ring.set_replid(replid);
        if let Some(sender) = &self.sender {
            sender.set_replid(replid);
        }
        self.replid = replid;
        self.names.insert(0, (self.end, replid));
        self.tell_witness(|| Seen::Named(replid));
    }

    /// This goes on with another history where another left off.
    pub fn succeed(&mut self, witness: Option<mpsc::Sender<Seen>>) {
        self.witness = witness;
        self.tell_witness(|| Seen::Replaced(self.cut()));
    }

    pub fn waker(&self) -> Waker {
        Arc::clone(&self.waker)
    }

    /// How a log of a new generation would be opened, if there is to be one.
    pub fn log_plan(&self, settings: &Settings) -> Option<(Options, Waker)> {
        settings.appendonly.then(|| (self.options(settings), self.waker()))
    }

    /// Takes a log that was opened at the end of the stream.
    pub fn go_on(&mut self, log: LogThread, settings: &Settings) {
        self.sender = Some(log.sender());
        self.log = Some(log);
        self.appendonly = true;
        self.promise.keep(true);
        self.promise.log_began(self.cut());
        self.sends_durable = settings.appendfsync == AppendFsync::Always;
    }

    /// Gives up a generation whose files another has replaced. Blocks.
    pub fn abandon(mut self) {
        if let Err(why) = self.end_log() {
            notice!("Closing the log of the history of before: {why}");
        }
        self.finish_tidying();
    }

    fn options_off(&self) -> Options {
        let mark_interval = mark_interval(self.ring.limit());
        Options { policy: Policy::No, timestamps: false, no_fsync_on_rewrite: false, mark_interval }
    }

    fn options(&self, settings: &Settings) -> Options {
        let policy = match settings.appendfsync {
            AppendFsync::No => Policy::No,
            AppendFsync::Everysec => Policy::EverySec,
            AppendFsync::Always => Policy::Always,
        };
        Options {
            policy,
            timestamps: settings.aof_timestamp_enabled,
            no_fsync_on_rewrite: settings.no_appendfsync_on_rewrite,
            ..self.options_off()
        }
    }
}
