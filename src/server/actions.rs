//! What the node asks for and the core cannot do: background saves and rewrites first of all.
//!
//! One snapshot job runs at a time (a save, a rewrite, or an export); a second one is refused or scheduled, with
//! Redis' words. The job's thread reports through a channel to a task of the runtime, which brings state, INFO and
//! waiting clients up to date.

use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::clock::ServerClock;
use super::driver::Driver;
use super::logging::{notice, warning};
use super::persist::Cut;
use super::snapshots::{self, AsCommands, Job, Kind, Placed, Progress, Written};
use super::upstream;
use super::{clock, process, settings};
use crate::commands::Request;
use crate::config::AppendFsync;
use crate::engine::{Clock, Node};
use crate::error::ReplyError;
use crate::state::Slot;
use crate::store::commands;
use crate::units::ReplId;

/// After a failed background job, before it is tried again by itself.
const RETRY_MS: i64 = 5000;
/// So many failed rewrites in a row are put off for longer, twice as long each time: each leaves a segment behind.
const REWRITES_FAILED: u64 = 3;
const PUT_OFF_MOST_MINUTES: u32 = 60;

/// A task that is told to end has done so after as many turns of the others.
const TURNS_TO_CLOSE: usize = 3;

const SAVING_FAILED: &str = "ERR Saving failed, see the server's log";

/// A snapshot job that runs.
pub struct Running {
    pub purpose: Purpose,
    pub progress: Arc<Progress>,
    asker: Option<Asker>,
    /// `dirty` when the snapshot was taken: what it covers.
    dirty_at_start: u64,
    started_ms: i64,
    pub used_at_start: u64,
}

impl Running {
    fn now(driver: &Driver, purpose: Purpose, asker: Option<Asker>, progress: Arc<Progress>) -> Running {
        let node = driver.node.borrow();
        let dirty_at_start = node.server.persistence.dirty;
        let used_at_start = super::alloc::used();
        Running { purpose, progress, asker, dirty_at_start, started_ms: node.now_ms(), used_at_start }
    }
}

/// A client that waits for the end of the job (SAVE, FLUSHALL), and what it is told if that failed.
#[derive(Clone, Copy)]
pub struct Asker {
    slot: Slot,
    on_failure: Result<&'static str, &'static str>,
}

/// Where a snapshot of this server goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Where {
    /// To `dir`, under `dbfilename`, as these are now.
    Configured,
    /// To where recovery looks for it, though CONFIG SET may have sent other saves elsewhere (rule 26).
    InPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    Save,
    Rewrite,
    /// For replicas that wait for a full sync.
    Sync,
    /// None: other data come into force ([`super::adopt`]).
    Switch,
}

/// A client's command that needs the outside.
pub fn command(driver: &Rc<Driver>, slot: Slot, request: Request) {
    let while_loading = matches!(request, Request::Shutdown { .. } | Request::Sleep { .. });
    if !driver.is_open() && !while_loading {
        let loading = ReplyError::new("LOADING Redis is loading the dataset in memory");
        return reply(driver, slot, Err(loading));
    }
    match request {
        Request::Sleep { micros } => stand_still(driver, slot, micros),
        Request::Save => save_for(driver, slot),
        Request::BgSave { schedule } => bgsave(driver, slot, schedule),
        Request::BgRewriteAof => bgrewriteaof(driver, slot),
        Request::SaveAfterFlush { waits } => save_after_flush(driver, waits.then_some(slot)),
        Request::Shutdown { save, now, force } => {
            super::shutdown::requested(driver, Some(slot), save, now, force)
        }
        Request::ShutdownAbort => super::shutdown::aborted(driver, slot),
        Request::ConfigSet { pairs } => settings::set(driver, slot, pairs),
        Request::ConfigRewrite { all } => settings::rewrite_file(driver, slot, all),
        Request::DebugReload { .. } | Request::DebugLoadAof => super::reload::debug(driver, slot, request),
        Request::DebugSyncDelay { micros } => {
            driver.persist().files.disk.set_sync_delay(Duration::from_micros(micros));
            reply(driver, slot, Ok("OK"));
        }
        Request::DebugChangeReplId => super::reload::change_replid(driver, slot),
        Request::ReplicaOf(whom) => replica_of(driver, slot, whom),
        Request::Failover(_)
        | Request::Psync { .. }
        | Request::Acknowledged
        | Request::ShowLineage(_)
        | Request::Exec
        | Request::Wait { .. }
        | Request::WaitAof { .. } => {
            reply(driver, slot, Err(ReplyError::new("ERR not a request for the driver")));
        }
    }
}

pub fn reply(driver: &Rc<Driver>, slot: Slot, reply: Result<&str, ReplyError>) {
    driver.with_node(|node| node.finish(slot, reply));
}

/// DEBUG SLEEP of a transaction. Connections that it has closed before are closed at their other end, too, while this
/// server stands still: their tasks are let end first.
fn stand_still(driver: &Rc<Driver>, slot: Slot, micros: u64) {
    let driver = Rc::clone(driver);
    tokio::task::spawn_local(async move {
        for _ in 0..TURNS_TO_CLOSE {
            tokio::task::yield_now().await;
        }
        ServerClock.sleep(micros);
        reply(&driver, slot, Ok("OK"));
    });
}

/// REPLICAOF.
fn replica_of(driver: &Rc<Driver>, slot: Slot, whom: Option<(String, u16)>) {
    let Some((host, port)) = whom else {
        if !driver.node.borrow().is_replica() {
            driver.node.borrow_mut().server.history.past.overwrite = true;
            return reply(driver, slot, Ok("OK"));
        }
        let driver = Rc::clone(driver);
        let promoted = upstream::promote(Rc::clone(&driver));
        tokio::task::spawn_local(async move {
            let done = promoted.await;
            if let Err(why) = &done {
                warning!("REPLICAOF NO ONE: {why}");
            }
            let done = done.map(|()| "OK").map_err(|why| ReplyError::from(format!("ERR {why}")));
            reply(&driver, slot, done);
        });
        return;
    };
    notice!("REPLICAOF {host}:{port} enabled");
    upstream::follow(driver, host, port, true);
    reply(driver, slot, Ok("OK"));
}

// ---- saves ----

fn save_for(driver: &Rc<Driver>, slot: Slot) {
    if driver.running().is_some() {
        return reply(driver, slot, Err(ReplyError::new("ERR Background save already in progress")));
    }
    if let Err(why) = start(driver, Purpose::Save, Some(Asker { slot, on_failure: Err(SAVING_FAILED) })) {
        warning!("Saving failed: {why}");
        reply(driver, slot, Err(ReplyError::new(SAVING_FAILED)));
    }
}

fn bgsave(driver: &Rc<Driver>, slot: Slot, schedule: bool) {
    match driver.running() {
        Some(Purpose::Save | Purpose::Sync | Purpose::Switch) => {
            reply(driver, slot, Err(ReplyError::new("ERR Background save already in progress")))
        }
        Some(Purpose::Rewrite) if !schedule => reply(
            driver,
            slot,
            Err(ReplyError::new(
                "ERR Another child process is active (AOF?): can't BGSAVE right now. Use BGSAVE SCHEDULE in order to schedule a BGSAVE whenever possible.",
            )),
        ),
        Some(Purpose::Rewrite) => {
            driver.node.borrow_mut().server.persistence.save_scheduled = true;
            reply(driver, slot, Ok("Background saving scheduled"));
        }
        None => match start(driver, Purpose::Save, None) {
            Ok(()) => reply(driver, slot, Ok("Background saving started")),
            Err(why) => {
                warning!("Can't save in background: {why}");
                reply(
                    driver,
                    slot,
                    Err(ReplyError::new("ERR Background saving failed, see the server's log")),
                );
            }
        },
    }
}

fn bgrewriteaof(driver: &Rc<Driver>, slot: Slot) {
    match driver.running() {
        Some(Purpose::Rewrite) => reply(
            driver,
            slot,
            Err(ReplyError::new("ERR Background append only file rewriting already in progress")),
        ),
        Some(Purpose::Save | Purpose::Sync | Purpose::Switch) => {
            driver.node.borrow_mut().server.persistence.rewrite_scheduled = true;
            reply(driver, slot, Ok("Background append only file rewriting scheduled"));
        }
        None => match start(driver, Purpose::Rewrite, None) {
            Ok(()) => reply(driver, slot, Ok("Background append only file rewriting started")),
            Err(why) => {
                warning!("Can't rewrite append only file in background: {why}");
                reply(
                    driver,
                    slot,
                    Err(ReplyError::new(
                        "ERR Can't execute an AOF background rewriting. Please check the server logs for more information.",
                    )),
                );
            }
        },
    }
}

/// FLUSHALL: what is being saved is gone; with save points an empty snapshot follows, so that no restart brings the
/// data back. The client has its answer when that is on disk (also if it failed: the data are gone either way), or at
/// once if another job has to end first.
fn save_after_flush(driver: &Rc<Driver>, slot: Option<Slot>) {
    cancel(
        driver,
        Purpose::Save,
        "There is a background save running. Cancelling it: all data were deleted.",
    );
    if !driver.node.borrow().config().settings.save.0.is_empty() {
        if driver.running().is_some() {
            driver.node.borrow_mut().server.persistence.save_scheduled = true;
        } else {
            let asker = slot.map(|slot| Asker { slot, on_failure: Ok("OK") });
            match start(driver, Purpose::Save, asker) {
                Ok(()) => return,
                Err(why) => warning!("Can't save after FLUSHALL: {why}"),
            }
        }
    }
    if let Some(slot) = slot {
        reply(driver, slot, Ok("OK"));
    }
}

/// Tells the thread of this kind of job, if it runs, to give up.
pub fn cancel(driver: &Driver, purpose: Purpose, remark: &str) {
    if driver.running() == Some(purpose) {
        give_up(driver, remark);
    }
}

/// Tells the thread of the job that runs to give up; `false`: none runs. A thread that sends a snapshot may wait for a
/// replica that takes nothing: those that are to have it are cut off.
pub fn give_up(driver: &Driver, remark: &str) -> bool {
    let Some(progress) = driver.job_progress() else { return false };
    if !progress.cancelled.swap(true, Ordering::Relaxed) {
        notice!("{remark}");
        if driver.running() == Some(Purpose::Sync) {
            super::full_sync::cut_off(driver);
        }
    }
    true
}

pub fn auto_save(driver: &Rc<Driver>, to: Where) {
    if driver.running().is_some() {
        return;
    }
    notice!("{} changes since the last save. Saving...", driver.node.borrow().server.persistence.dirty);
    if let Err(why) = start_to(driver, Purpose::Save, to, None) {
        warning!("Can't save in background: {why}");
        failed(&mut driver.node.borrow_mut(), Purpose::Save);
    }
}

pub fn auto_rewrite(driver: &Rc<Driver>) {
    if driver.running().is_some() {
        return;
    }
    notice!("Starting automatic rewriting of AOF");
    if let Err(why) = start(driver, Purpose::Rewrite, None) {
        warning!("Can't rewrite append only file in background: {why}");
        failed(&mut driver.node.borrow_mut(), Purpose::Rewrite);
    }
}

/// A snapshot of now, with all that its thread needs.
pub fn job(driver: &Driver, kind: Kind) -> Job {
    let mut node = driver.node.borrow_mut();
    let persist = driver.persist();
    let settings = &node.server.config.settings;
    let latched = persist.log_is_latched();
    let reopens = latched && matches!(kind, Kind::Rewrite { .. } | Kind::Save { rotated: Some(_), .. });
    let reopened = persist.sender().filter(|_| reopens).cloned();
    let always = persist.appendonly && settings.appendfsync == AppendFsync::Always;
    let began = Instant::now();
    let snapshot = node.store.snapshot();
    let stats = &mut node.server.stats;
    stats.snapshots += 1;
    stats.last_snapshot_micros = began.elapsed().as_micros() as u64;
    let settings = &node.server.config.settings;
    Job {
        kind,
        snapshot,
        cut: persist.cut(),
        files: persist.files.clone(),
        strays: node.server.strays.wrote,
        compress: settings.rdbcompression,
        checksum: settings.rdbchecksum,
        key_delay_micros: settings.rdb_key_save_delay.max(0) as u64,
        progress: Arc::new(Progress::default()),
        durable_first: persist.sender().filter(|_| always && !latched).cloned(),
        reopened,
        used_memory: super::alloc::used(),
        ctime: clock::now_ms() / 1000,
        started: std::time::Instant::now(),
    }
}

/// A snapshot of the present, to be written as the beginning of a history of this name.
pub fn payload_here(driver: &Driver, replid: ReplId) -> Job {
    let job = job(driver, Kind::Payload);
    let cut = Cut { replid, ..job.cut };
    Job { cut, durable_first: None, ..job }
}

/// What becomes of a snapshot that is kept here. A log is rotated at the cut.
fn kept(driver: &Driver, purpose: Purpose, to: Where) -> Kind {
    let node = driver.node.borrow();
    let persist = driver.persist();
    let is_rewrite = purpose == Purpose::Rewrite && persist.appendonly;
    let exports = to == Where::Configured && persist.exports(&node.config().settings);
    let is_spill = !persist.appendonly && !exports; // what replicas need of it stays
    // A log that has no segment yet has none to close.
    let log = persist.sender().filter(|log| log.is_open());
    let rotated = log.filter(|_| is_rewrite || is_spill).map(|sender| {
        let (send, receive) = mpsc::channel();
        let done = Box::new(move |rotated| {
            let _job_gone = send.send(rotated);
        });
        if persist.log_is_latched() {
            sender.reopen(persist.cut().place(), done)
        } else {
            sender.rotate(done)
        }
        sender.work(true);
        receive
    });
    let (target, temporary) = persist.snapshot_paths();
    match rotated {
        Some(rotated) if is_rewrite => {
            let settings = &node.config().settings;
            let wanted = !settings.aof_use_rdb_preamble && commands::can_express(&node.store.libraries);
            let commands = wanted.then_some(AsCommands { timestamp: settings.aof_timestamp_enabled });
            Kind::Rewrite { rotated, commands }
        }
        None if exports => {
            let (target, temporary) = persist.export_paths(&node.config().settings);
            Kind::Export { temporary, target }
        }
        // A rewrite without a log has nothing to shorten: it is a save.
        rotated => Kind::Save { temporary, target, rotated },
    }
}

/// Saves on this thread, with the server standing still.
pub fn save_here(driver: &Rc<Driver>) -> Result<(), String> {
    write_here(driver, Purpose::Save)
}

/// Writes a snapshot on this thread, with the server standing still.
pub fn write_here(driver: &Rc<Driver>, purpose: Purpose) -> Result<(), String> {
    let job = job(driver, kept(driver, purpose, Where::Configured));
    let running = Running::now(driver, purpose, None, Arc::clone(&job.progress));
    let written = snapshots::write(&job)?;
    driver.persist_mut().log_rewritten(running.progress.log_closed_len.load(Ordering::Relaxed));
    succeeded(driver, &mut driver.node.borrow_mut(), &running, &written);
    Ok(())
}

/// Saves in the background, for a shutdown.
pub fn save(driver: &Rc<Driver>) -> Result<(), String> {
    let base_due = driver.node.borrow().server.persistence.base_due;
    let to = if base_due { Where::InPlace } else { Where::Configured };
    start_to(driver, Purpose::Save, to, None)
}

/// Writes the snapshot that recovery looks for, in the background.
pub fn save_in_place(driver: &Rc<Driver>) -> Result<(), String> {
    start_to(driver, Purpose::Save, Where::InPlace, None)
}

/// Writes a base of the log in the background.
pub fn rewrite(driver: &Rc<Driver>) -> Result<(), String> {
    start(driver, Purpose::Rewrite, None)
}

/// Takes a snapshot and starts the thread that writes it.
pub fn start(driver: &Rc<Driver>, purpose: Purpose, asker: Option<Asker>) -> Result<(), String> {
    start_to(driver, purpose, Where::Configured, asker)
}

fn start_to(driver: &Rc<Driver>, purpose: Purpose, to: Where, asker: Option<Asker>) -> Result<(), String> {
    let job = job(driver, kept(driver, purpose, to));
    start_job(driver, purpose, asker, job, snapshots::write)
}

/// Starts the thread that does `write` with a snapshot.
pub fn start_job(
    driver: &Rc<Driver>,
    purpose: Purpose,
    asker: Option<Asker>,
    job: Job,
    write: impl FnOnce(&Job) -> Result<Written, String> + Send + 'static,
) -> Result<(), String> {
    let running = Running::now(driver, purpose, asker, Arc::clone(&job.progress));
    let keys: usize = job.snapshot.dbs.iter().map(|db| db.entries.len()).sum();
    // The clone is freed there too, before the result is told.
    let receive = process::on_thread("snapshot", move || {
        process::step_back();
        let written = write(&job);
        drop(job);
        written
    })?;
    began(&mut driver.node.borrow_mut(), purpose, running.started_ms, keys as u64);
    driver.set_running(Some(running));
    if let Some(sender) = driver.persist().sender() {
        sender.set_rewriting(true);
    }
    tokio::task::spawn_local(finish(Rc::clone(driver), receive));
    Ok(())
}

/// No job may begin until [`end_switch`]. None runs now.
pub fn begin_switch(driver: &Driver) {
    let running = Running::now(driver, Purpose::Switch, None, Arc::default());
    driver.set_running(Some(running));
}

pub fn end_switch(driver: &Rc<Driver>) {
    driver.take_running();
    driver.settle();
    super::shutdown::job_ended(driver, None);
    super::full_sync::consider(driver);
}

fn began(node: &mut Node, purpose: Purpose, now: i64, keys: u64) {
    let persistence = &mut node.server.persistence;
    persistence.save_keys_total = keys;
    persistence.save_keys_done = 0;
    match purpose {
        Purpose::Save => {
            notice!("Background saving started");
            persistence.saving = true;
            persistence.current_save_started_ms = now;
            persistence.save_scheduled = false;
        }
        Purpose::Sync => persistence.saving = true,
        Purpose::Switch => {}
        Purpose::Rewrite => {
            notice!("Background append only file rewriting started");
            persistence.rewriting = true;
            persistence.current_rewrite_started_ms = now;
            persistence.rewrite_scheduled = false;
        }
    }
}

async fn finish(driver: Rc<Driver>, result: oneshot::Receiver<Result<Written, String>>) {
    let result = result.await.unwrap_or_else(|_| Err("the snapshot thread ended without a result".into()));
    let Some(running) = driver.take_running() else { return };
    if let Some(sender) = driver.persist().sender() {
        sender.set_rewriting(false);
    }
    let mut node = driver.node.borrow_mut();
    let persistence = &mut node.server.persistence;
    persistence.saving = false;
    persistence.rewriting = false;
    persistence.cow_size = 0;
    let grown = std::mem::take(&mut persistence.cow_peak);
    match running.purpose {
        Purpose::Save => persistence.last_save_cow = grown,
        Purpose::Rewrite => persistence.last_rewrite_cow = grown,
        Purpose::Sync | Purpose::Switch => {}
    }
    driver.persist_mut().log_rewritten(running.progress.log_closed_len.load(Ordering::Relaxed));
    match &result {
        Ok(written) => succeeded(&driver, &mut node, &running, written),
        Err(why) => {
            match running.purpose {
                Purpose::Save | Purpose::Sync | Purpose::Switch => {
                    warning!("Background saving error: {why}")
                }
                Purpose::Rewrite => warning!("Background AOF rewrite terminated with error: {why}"),
            }
            // None of these is a failed background save: a job told to stop, the snapshot of a shutdown, which says
            // so, and a SAVE, whose client is told.
            let told = running.asker.as_ref().is_some_and(|asker| asker.on_failure.is_err());
            let cancelled = running.progress.cancelled.load(Ordering::Relaxed);
            if !cancelled && !told && !driver.shutdown_is_on_its_way() {
                failed(&mut node, running.purpose);
                if running.purpose == Purpose::Rewrite {
                    let mut persist = driver.persist_mut();
                    persist.base_failed(why);
                    // The first base is tried until it is there.
                    let due = persist.base_is_due() || persist.stands_elsewhere();
                    node.server.persistence.rewrite_scheduled |= persist.appendonly && due;
                }
            }
        }
    }
    drop(node);
    if let Some(Asker { slot, on_failure }) = running.asker {
        let answer = if result.is_ok() { Ok("OK") } else { on_failure };
        reply(&driver, slot, answer.map_err(ReplyError::new));
    }
    driver.settle();
    super::shutdown::job_ended(&driver, result.err());
    super::full_sync::consider(&driver);
}

fn succeeded(driver: &Driver, node: &mut Node, running: &Running, written: &Written) {
    let now = clock::now_ms();
    let secs = (now - running.started_ms) / 1000;
    let mut persist = driver.persist_mut();
    if written.placed != Placed::Nowhere {
        persist.base_written(written.cut, written.placed == Placed::InLog);
        persist.describe(node);
        // Not by just any base: this one may be of a moment before it fell due.
        node.server.persistence.base_due = persist.base_is_due();
    }
    let persistence = &mut node.server.persistence;
    match running.purpose {
        Purpose::Save => {
            notice!(
                "DB saved on disk: {} keys, {} bytes in {} ms, at offset {}",
                written.keys,
                written.bytes,
                written.took.as_millis(),
                written.cut.offset
            );
            notice!("Background saving terminated with success");
            persistence.last_save_ok = true;
            persistence.last_save_time = now / 1000;
            persistence.last_save_secs = secs;
            persistence.last_save_bytes = written.bytes;
            node.server.stats.saves += 1;
            persistence.dirty = persistence.dirty.saturating_sub(running.dirty_at_start);
        }
        Purpose::Sync => {
            notice!(
                "Background RDB transfer terminated with success: {} keys, {} bytes in {} ms, at offset {}",
                written.keys,
                written.bytes,
                written.took.as_millis(),
                written.cut.offset
            );
        }
        Purpose::Switch => {}
        Purpose::Rewrite => {
            notice!(
                "Background AOF rewrite finished successfully: base of {} keys, {} bytes in {} ms, at offset {}",
                written.keys,
                written.bytes,
                written.took.as_millis(),
                written.cut.offset
            );
            // Without a log it was a save.
            persistence.last_save_ok |= written.placed == Placed::Snapshot;
            persistence.last_rewrite_ok = true;
            persistence.last_rewrite_secs = secs;
            persistence.rewrite_put_off_minutes = 0;
            persistence.aof_base_size = written.bytes;
            node.server.stats.rewrites += 1;
            node.server.stats.rewrite_failures_in_a_row = 0;
        }
    }
}

fn failed(node: &mut Node, purpose: Purpose) {
    let now = node.now_ms();
    let persistence = &mut node.server.persistence;
    match purpose {
        Purpose::Save => {
            persistence.last_save_ok = false;
            persistence.retry_save_at_ms = now + RETRY_MS;
        }
        // The replicas' connections are closed; they ask again.
        Purpose::Sync | Purpose::Switch => {}
        Purpose::Rewrite if persistence.latched => {
            persistence.last_rewrite_ok = false;
            persistence.retry_rewrite_at_ms = now + RETRY_MS; // nothing can be written before it succeeds
        }
        Purpose::Rewrite => {
            persistence.last_rewrite_ok = false;
            let failures = &mut node.server.stats.rewrite_failures_in_a_row;
            *failures += 1;
            // Without a base that is due a crash comes back to the state of before: nothing can be written meanwhile.
            let minutes = match persistence.base_due {
                true => 0,
                false => put_off(*failures, persistence.rewrite_put_off_minutes),
            };
            persistence.rewrite_put_off_minutes = minutes;
            persistence.retry_rewrite_at_ms = now + RETRY_MS.max(i64::from(minutes) * 60_000);
            if minutes > 0 {
                warning!(
                    "Background AOF rewrite has repeatedly failed and triggered the limit, will retry in {minutes} minutes"
                );
            }
        }
    }
}

/// For how many minutes a rewrite that failed so often is put off, after having been put off for `before`.
fn put_off(failures: u64, before: u32) -> u32 {
    if failures < REWRITES_FAILED { 0 } else { (before * 2).clamp(1, PUT_OFF_MOST_MINUTES) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrites_that_keep_failing_are_put_off() {
        let mut minutes = 0;
        let seen: Vec<u32> = (1..12)
            .map(|failures| {
                minutes = put_off(failures, minutes);
                minutes
            })
            .collect();
        assert_eq!(seen, [0, 0, 1, 2, 4, 8, 16, 32, 60, 60, 60]);
    }
}
