//! The log's beginning and its end: decided by the data thread, carried out by others (rule 6).
//!
//! ```text
//!            start_log                        its segment is there                end_log_soon
//!   no log ────────────► opening, on a thread ────────────────────► running ──────────────────┐
//!     ▲                        │ fails, and only replicas asked for it                         ▼
//!     │                        └─────────────────────────────────────────────► ending, on a thread:
//!     └──────────────────────────────── look_for_end ◄──────────────────────── write, mark, fsync
//! ```
//!
//! From the first moment an opening log is handed what the stream brings, and until the last one the ring keeps what no
//! mark of an ending one proves; so the ring's start passes [`Persist::may_begin_at`] in all four states, and this thread
//! waits in none. Files are changed in order: what removes segments goes before the next opening, on the opening's thread.
//!
//! Rejected: to turn a running log into a spill where it is switched off, as it would be written to for ever after; to
//! open a log only when the one before has ended, in one step, as then the place to begin at is not known yet.

use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{self, TryRecvError};

use super::{Cut, Files, Persist, drop_log, lock};
use crate::config::{AppendFsync, Settings};
use crate::format::aof::Place;
use crate::log::hands;
use crate::log::thread::{HealthKind, LogSender, LogThread, Opening};
use crate::log::writer::{Closed, Health, Options, Policy, Unclosed};
use crate::planted::{Bug, planted};
use crate::server::logging::{notice, warning};
use crate::server::promise::Promise;
use crate::units::{Offset, ReplId};

/// A log whose first segment may not be there yet.
pub(super) struct Unopened {
    /// As it was before: what holds if that segment never comes.
    before: Promise,
    /// It goes on where the manifest's segments end.
    pub(super) leads_on: bool,
    asked_by: Asks,
    /// `dump.rdb` holds the state at this place since then.
    base: Option<Cut>,
}

/// What a log is begun for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asks {
    /// It is tried until it can be had.
    Recovery,
    /// They are given up if it cannot.
    Replicas,
    /// `CONFIG SET appendonly yes`, which then fails.
    Aof,
}

/// A log on its way out.
pub(super) struct Ending {
    /// Says how far it is, and takes no more.
    pub(super) sender: LogSender,
    task: Option<hands::Task>,
    ended: mpsc::Receiver<Result<Closed, Unclosed>>,
}

impl Persist {
    /// The log that holds, or will hold, what the ring may have to give up.
    pub(super) fn present_log(&self) -> Option<&LogSender> {
        self.sender.as_ref().or(self.ending.as_ref().map(|ending| &ending.sender))
    }

    // ---- beginning ----

    /// Starts the spill if the ring is about to begin at `start` and recovery or a replica needs bytes before it (rule 7).
    pub(super) fn spill_before(&mut self, start: Offset) {
        if self.present_log().is_some() || planted(Bug::NoSpill) {
            return;
        }
        let needed = self.promise.needed_from();
        let Some(from) = self.spill_place(needed) else { return };
        if start <= from.offset {
            return;
        }
        if self.spill_failure.is_none() {
            notice!(
                "The ring is about to overrun the last snapshot: writing the stream to segments until the next one"
            );
        }
        let asked_by = if needed.is_some() { Asks::Recovery } else { Asks::Replicas };
        match (self.start_log(self.options_for_spill(), from, asked_by), needed.is_some()) {
            (Ok(()), _) => self.spill_failure = None,
            (Err(why), true) => self.spill_failure = Some(why),
            (Err(why), false) => self.give_replicas_up(&why),
        }
    }

    /// Where a spill would begin. A replica's snapshot may lie before the last base: one log serves both.
    fn spill_place(&self, needed: Option<Cut>) -> Option<Cut> {
        let held = self.pins.values().filter_map(|pin| pin.cut).filter(|cut| cut.offset >= self.ring.start());
        let pinned = held.min_by_key(|cut| cut.offset);
        match (needed, pinned) {
            (Some(needed), Some(pinned)) if !self.promise.is_continued_at(needed) => {
                Some(if pinned.offset < needed.offset { pinned } else { needed })
            }
            (needed, pinned) => needed.or(pinned),
        }
    }

    fn give_replicas_up(&mut self, why: &str) {
        warning!("Cannot write the stream to segments for replicas: {why}");
        if !self.promise.is_kept() {
            self.pins.clear();
            self.note_needed();
        }
    }

    /// A spill that could not begin is tried again. `true`: something may have changed.
    pub fn try_again(&mut self) -> bool {
        let failed = self.spill_failure.is_some();
        if failed {
            if let Some((units, _)) = self.waiting.front() {
                self.spill_before(self.ring.start_after(units.len() as u64));
            }
            self.catch_up();
            if self.waiting.is_empty() {
                self.spill_failure = None; // a base has made it needless
            }
        }
        failed
    }

    /// Nothing leads to the end of the stream: a log begins there, and counts once a base is in it. Or the segments reach
    /// further back than the ring: the log goes on where they end, as only a log that runs gives them to replicas and keeps
    /// them while these need them. The ring would overrun that place sooner or later anyway.
    pub(super) fn go_on_without_aof(&mut self) {
        if self.present_log().is_some() || self.spill_failure.is_some() {
            return;
        }
        let whole = self.promise.is_whole();
        let goes_on = self.promise.is_in_log() && !self.promise.is_in_doubt();
        if whole && !(goes_on && self.log_reaches_beyond_ring().is_some()) {
            return;
        }
        let (from, asked_by) =
            if whole { (self.promise.to(), Asks::Replicas) } else { (self.cut(), Asks::Recovery) };
        if let Err(why) = self.start_log(self.options_for_spill(), from, asked_by) {
            warning!("Cannot write the stream to segments: {why}");
        }
    }

    pub(super) fn options_for_spill(&self) -> Options {
        Options { policy: Policy::Spill, ..self.options_off() }
    }

    /// The log begins at `from`; what the stream has from there on is handed to it first.
    fn start_log(&mut self, options: Options, from: Cut, asked_by: Asks) -> Result<(), String> {
        if self.ring.start() > from.offset {
            return Err("the ring does not hold what the log lacks".into());
        }
        let leads_on = self.promise.is_continued_at(from);
        let opening = self.opening(options, from, leads_on);
        let start = if self.serves { LogThread::start_soon } else { LogThread::start };
        let log = start(opening, Arc::clone(&self.waker)).map_err(|failure| failure.to_string())?;
        self.hand_over(&log.sender(), from)?;
        let unopened = Unopened { before: self.promise, leads_on, asked_by, base: None };
        self.unopened = (!log.sender().is_open()).then_some(unopened);
        self.promise.log_began(from);
        self.sender = Some(log.sender());
        self.log = Some(log);
        Ok(())
    }

    /// Segments must follow one another. Those of before are needless if all from the base on is in the ring; else they are
    /// what a crash comes back to, until the new log has a base.
    fn opening(&mut self, options: Options, from: Cut, leads_on: bool) -> Opening {
        let needless = self.promise.is_whole() && !self.promise.is_in_log() || planted(Bug::LogDropped);
        if !leads_on && !needless {
            warning!(
                "Nothing on disk leads to the present data until the base that is due now is in force: a crash before \
                 that comes back to the log of before, which stays until then"
            );
        }
        let (segments, closed_len) = (Arc::clone(&self.files.segments), Arc::clone(&self.log_closed_len));
        let mut removing = self.tidying.take();
        let before = move || {
            if let Some(task) = removing.take() {
                task.finish();
            }
            let mut segments = lock(&segments);
            if !leads_on && needless {
                segments.drop_before(u64::MAX)?;
                segments.delete_history()?;
            } else if !leads_on {
                segments.leave_behind()?;
            }
            closed_len.store(segments.loaded_len(), Ordering::Relaxed);
            Ok(())
        };
        let (segments, durable) = (Arc::clone(&self.files.segments), self.promise.durable_at(from));
        Opening { segments, options, place: from.place(), durable, before: Box::new(before) }
    }

    /// Gives the log the stream from `from` on, each part of it under the name that was in force there (rule 1).
    fn hand_over(&self, sender: &LogSender, from: Cut) -> Result<(), String> {
        let end = self.ring.end();
        let within = |(at, _): &&(Offset, ReplId)| (from.offset..=end).contains(at);
        let renames: Vec<(Offset, ReplId)> = self.names.iter().filter(within).copied().rev().collect();
        let last = renames.last().map_or(from.replid, |(_, name)| *name);
        let (mut at, mut db) = (from.offset, from.db);
        for (until, name) in renames.into_iter().map(|(at, name)| (at, Some(name))).chain([(end, None)]) {
            let len = usize::try_from(until.since(at)).unwrap_or(usize::MAX);
            if len > 0 {
                let held = self.ring.read(at, len).ok_or("the ring does not hold what the log lacks")?;
                db = sender.push_units(&[held.0, held.1].concat(), at, db);
            }
            if let Some(name) = name {
                sender.set_replid(name);
            }
            at = until;
        }
        if last != self.replid {
            sender.set_replid(self.replid);
        }
        at = end; // what waits for the ring may be in the log that has just ended
        for (units, db) in &self.waiting {
            at += units.len() as u64;
            if at > from.offset {
                sender.push(units, at, *db);
            }
        }
        Ok(())
    }

    /// A log that cannot be opened is given up if the ring still has room for what it was begun for.
    pub fn need_no_log_yet(&mut self) {
        let lasts = |unopened: &Unopened| unopened.asked_by == Asks::Recovery && unopened.before.is_whole();
        if self.unopened.as_ref().is_some_and(lasts) && self.waiting.is_empty() {
            self.end_log_soon();
        }
    }

    // ---- appendonly yes ----

    /// `appendonly yes` at a start, which may wait.
    pub fn start_aof(&mut self, settings: &Settings) -> Result<(), String> {
        self.begin_aof(settings)?;
        self.aof_is_on(settings);
        Ok(())
    }

    /// The log goes on where base and segments lead to; what the ring holds from there to the end is handed to it first.
    /// Where they do not lead on, it begins at the end, and counts once it has a base (rule 26). A spill that runs is the
    /// log. [`Persist::aof_is_on`] follows when [`Persist::opening_of_aof`] says so.
    pub fn begin_aof(&mut self, settings: &Settings) -> Result<(), String> {
        if self.sender.is_none() {
            let from = if self.promise.is_whole() { self.promise.to() } else { self.cut() };
            self.start_log(self.options(settings), from, Asks::Aof)?;
            self.spill_failure = None;
        }
        self.promise.keep(true); // or it would pass for a spill that only replicas need
        Ok(())
    }

    /// Whether the log takes bytes; the error is why it cannot.
    pub fn opening_of_aof(&self) -> Result<bool, String> {
        let Some(sender) = &self.sender else { return Err("the log has ended".into()) };
        match sender.health() {
            Health::Healing(why) => Err(why),
            _ => Ok(sender.is_open()),
        }
    }

    pub fn aof_is_on(&mut self, settings: &Settings) {
        self.promise.keep(true);
        self.appendonly = true;
        self.settings_changed(settings);
    }

    /// Settings are being changed that keep what is acknowledged, before or after it: nothing may go before that is settled.
    pub fn keep_from_now_on(&mut self) {
        self.promise.keep(true);
    }

    /// `appendonly yes` came to nothing. A log that could not be opened for it is given up; one that the ring needs is tried
    /// on.
    pub fn give_aof_up(&mut self) {
        if self.unopened.as_ref().is_some_and(|unopened| unopened.asked_by == Asks::Aof) {
            self.end_log_soon();
        }
    }

    // ---- ending ----

    /// Writes, marks and fsyncs all that was handed over, and ends the log, on a thread; [`Persist::look_for_end`] takes
    /// note of it.
    pub(super) fn end_log_soon(&mut self) {
        self.appendonly = false;
        self.sender = None;
        let Some(log) = self.log.take() else { return };
        let (sender, waker) = (log.sender(), self.waker());
        let (tell, ended) = mpsc::channel();
        let work = move || {
            let _nobody_asks = tell.send(log.stop());
            waker();
        };
        let task = hands::spawn("log-end", work);
        if let Err(error) = &task {
            warning!("Ending the log: starting a thread: {error}");
        }
        self.ending = Some(Ending { sender, task: task.ok(), ended });
    }

    /// `appendonly no`; [`Persist::keep`] follows.
    pub fn switch_aof_off(&mut self) {
        if self.appendonly {
            self.end_log_soon();
            self.base_failed = None;
        }
    }

    /// A log that was begun to keep what is not kept any more is not worth a refused write, nor is what none holds.
    pub(super) fn note_kept(&mut self, kept: bool) {
        let was_broken = self.promise.broken_at().is_some();
        self.promise.keep(kept);
        if was_broken && !kept {
            (self.waker)();
        }
        let begun_to_keep = |unopened: &&mut Unopened| unopened.asked_by == Asks::Recovery;
        if let Some(unopened) = self.unopened.as_mut().filter(begun_to_keep)
            && !kept
        {
            unopened.asked_by = Asks::Replicas;
            self.look_for_turn();
        }
    }

    /// A log is on its way out: no other can begin.
    pub fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// Takes note that an opening log is open, or that an ending one has ended; what comes after it begins.
    pub(super) fn look_for_turn(&mut self) {
        match (&self.sender, &self.unopened) {
            (Some(sender), Some(_)) if sender.is_open() => self.unopened = None,
            (Some(sender), Some(unopened)) if unopened.asked_by == Asks::Replicas => {
                if let (HealthKind::Healing, Health::Healing(why)) = (sender.health_kind(), sender.health()) {
                    self.give_replicas_up(&why);
                    self.end_log_soon();
                }
            }
            _ => {}
        }
        let Some(ending) = &self.ending else { return };
        let ended = match ending.ended.try_recv() {
            Ok(ended) => ended,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => Err(Unclosed::lost("the thread that ends it is gone")),
        };
        let never_began = matches!(&ended, Err(unclosed) if unclosed.never_began);
        self.ending = None;
        let _said = self.log_has_ended(ended);
        if self.promise.is_kept() && !never_began {
            self.go_on_without_aof();
        }
        if let Some((units, _)) = self.waiting.front() {
            self.spill_before(self.ring.start_after(units.len() as u64));
        }
    }

    /// A snapshot holds what a log that cannot be opened was begun for: that log is not waited for.
    pub(super) fn base_placed_before_log(&mut self, cut: Cut) {
        let Some(unopened) = &mut self.unopened else { return };
        unopened.base = Some(cut);
        let fails = self.sender.as_ref().is_some_and(|log| log.health_kind() == HealthKind::Healing);
        if fails && unopened.asked_by != Asks::Aof {
            self.end_log_soon();
        }
    }

    /// Ends the log, and waits for that. `Ok(None)`: none was written to any more, or ever.
    pub(super) fn end_log(&mut self) -> Result<Option<Closed>, String> {
        let runs = self.log.is_some();
        self.end_log_soon();
        let Some(Ending { task, ended, .. }) = self.ending.take() else { return Ok(None) };
        if let Some(task) = task {
            task.finish();
        }
        let ended = ended.recv().unwrap_or_else(|_| Err(Unclosed::lost("the thread that ends it is gone")));
        let never_began = matches!(&ended, Err(unclosed) if unclosed.never_began);
        let closed = self.log_has_ended(ended);
        if closed.is_ok() || never_began {
            self.catch_up(); // else the ring alone has what is acknowledged, and gives none of it up for what is not
        }
        if never_began && self.waiting.is_empty() {
            return Ok(None); // all is as before it
        }
        closed.map(|closed| runs.then_some(closed))
    }

    fn log_has_ended(&mut self, ended: Result<Closed, Unclosed>) -> Result<Closed, String> {
        let cut = |place: Place| Cut { replid: place.replid, offset: place.offset, db: place.db };
        let unopened = self.unopened.take();
        let closed = match ended {
            Ok(closed) => {
                self.promise.log_ended(Some(cut(closed.place)), closed.durable);
                self.ring.note_durable(closed.place.offset, closed.durable);
                Ok(closed)
            }
            Err(Unclosed { why, proven, durable, sealed, never_began }) => {
                warning!("Closing the append-only log: {why}");
                match unopened.filter(|_| never_began) {
                    Some(Unopened { before, base, .. }) => {
                        self.promise.log_never_began(before);
                        base.into_iter().for_each(|cut| self.base_placed(cut));
                    }
                    None => self.promise.log_ended(proven.map(cut), durable),
                }
                if sealed {
                    self.promise.log_was_sealed();
                }
                Err(why)
            }
        };
        self.promise.ring_begins_at(self.ring.start());
        closed
    }

    // ---- removing ----

    /// Removes all segments that the manifest names, on a thread.
    pub(super) fn drop_segments(&mut self) {
        self.ring.forget_log(); // here only: as long as there is a log, a start asks for it
        self.tidy("a snapshot made needless", |files| {
            let next = lock(&files.segments).next_seq();
            drop_log(files, next)
        });
    }

    /// One after the other.
    pub(super) fn tidy(
        &mut self,
        what: &'static str,
        remove: impl FnOnce(&Files) -> io::Result<()> + Send + 'static,
    ) {
        let files = self.files.clone();
        let before = self.tidying.take();
        let work = move || {
            if let Some(task) = before {
                task.finish();
            }
            if let Err(why) = remove(&files) {
                warning!("Removing the segments that {what}: {why}");
            }
        };
        match hands::spawn("tidying", work) {
            Ok(task) => self.tidying = Some(task),
            Err(error) => warning!("Removing the segments that {what}: starting a thread: {error}"),
        }
    }

    /// For whoever changes the files next, elsewhere.
    pub fn take_tidying(&mut self) -> Option<hands::Task> {
        self.tidying.take()
    }

    /// Waits for it: not while serving. The directory is left only when nobody changes the manifest.
    pub fn finish_tidying(&mut self) {
        if let Some(task) = self.tidying.take() {
            task.finish();
        }
    }

    // ---- options ----

    pub fn settings_changed(&mut self, settings: &Settings) {
        self.sends_durable = settings.appendfsync == AppendFsync::Always;
        if let (true, Some(sender)) = (self.appendonly, &self.sender) {
            sender.set_options(self.options(settings));
        }
    }
}
