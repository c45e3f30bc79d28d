//! The way out: SHUTDOWN, SIGTERM, SIGINT.
//!
//! ```text
//! requested ─► a primary's replicas lag? let them catch up, for shutdown-timeout, unless NOW; ABORT ends it here
//!           ─► a snapshot job runs? cancel it, go on when it has ended (but stay, unless FORCE, if it is the log's first base
//!              and nothing else holds the data)
//!           ─► a new base of the log, if it holds less than the data do: clients wrote on this replica (rule 18)
//!           ─► save, if save points say so or SAVE was asked        (on failure: stay, unless FORCE);
//!              no client is read from meanwhile
//!           ─► the link to the primary ends
//!           ─► log: write, mark, fsync, close
//!           ─► replication.toml: clean mark with the end and every segment's length
//!           ─► ring flushed, pid file and Unix socket removed, exit 0
//! ```
//!
//! A log that cannot be written (a full disk, a failed fsync) does not hold the end up: it is tried for a second, then
//! said. Nothing acknowledged is lost by that, as the ring has what the log lacks, but the shutdown was not clean: no clean
//! mark, exit 1. (Stock Redis drops its unwritten buffer there and exits 0.)
//!
//! A second signal hurries, also while the snapshot is written: the process ends at once, with nothing more lost than
//! by a crash.

use std::path::Path;
use std::rc::Rc;

use super::actions::{self, Purpose};
use super::driver::Driver;
use super::logging::{self, notice, warning};
use super::{clock, upstream};
use crate::disk::durable;
use crate::error::ReplyError;
use crate::state::Slot;

/// A shutdown on its way.
#[derive(Debug)]
pub struct Plan {
    /// Clients that get a reply if it fails.
    askers: Vec<Slot>,
    /// `None`: as the save points say.
    save: Option<bool>,
    force: bool,
    stage: Stage,
    /// The primary whose stream ended for the final snapshot; taken up again if the shutdown fails.
    followed: Option<(String, u16)>,
}

/// What the shutdown waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Replicas that lag.
    CatchingUp,
    /// The end of a job that was cancelled.
    Cancelling,
    /// A base of the log, which needs one.
    Basing,
    /// The snapshot that it asked for itself.
    Saving,
}

pub fn requested(driver: &Rc<Driver>, asker: Option<Slot>, save: Option<bool>, now: bool, force: bool) {
    if driver.shutdown_is_on_its_way() {
        if let Some(mut plan) = driver.shutdown.take() {
            plan.askers.extend(asker);
            driver.shutdown.set(Some(plan));
        }
        return;
    }
    notice!("User requested shutdown...");
    let plan =
        Plan { askers: asker.into_iter().collect(), save, force, stage: Stage::CatchingUp, followed: None };
    let patience = driver.node.borrow().config().settings.shutdown_timeout;
    if !now && driver.with_node(|node| node.wait_for_replicas(patience)) {
        notice!("Waiting for replicas before shutting down.");
        return driver.shutdown.set(Some(plan));
    }
    cancel_job(driver, plan);
}

/// The replicas have everything, or have had their time.
pub fn replicas_done(driver: &Rc<Driver>) {
    match driver.shutdown.take() {
        Some(plan) if plan.stage == Stage::CatchingUp => cancel_job(driver, plan),
        other => driver.shutdown.set(other),
    }
}

/// SHUTDOWN ABORT, for as long as nothing is lost by it.
pub fn aborted(driver: &Rc<Driver>, asker: Slot) {
    match driver.shutdown.take() {
        Some(plan) if plan.stage == Stage::CatchingUp => {
            notice!("Shutdown manually aborted.");
            stay(driver, plan);
            actions::reply(driver, asker, Ok("OK"));
        }
        other => {
            driver.shutdown.set(other);
            actions::reply(driver, asker, Err(ReplyError::new("ERR No shutdown in progress.")));
        }
    }
}

fn cancel_job(driver: &Rc<Driver>, plan: Plan) {
    driver.node.borrow().farewell().iter().for_each(|line| notice!("{line}"));
    if !plan.force && !will_save(driver, &plan) && driver.running() == Some(Purpose::Rewrite) {
        // With the log just switched on over a cache, what is being written may be all that will be left of the data.
        let lost = driver.is_open() && driver.persist().appendonly && !driver.persist().is_whole();
        if lost {
            warning!("Writing initial AOF, can't exit");
            warning!("Errors trying to shut down the server. Check the logs for more information.");
            return stay(driver, plan);
        }
    }
    if !plan.force
        && driver.running() == Some(Purpose::Rewrite)
        && driver.is_open()
        && log_is_no_whole(driver, &plan)
    {
        notice!(
            "The log's first base is being written: other servers could load only a part of the data without it. Exiting \
                 when it is there"
        );
        driver.shutdown.set(Some(Plan { stage: Stage::Cancelling, ..plan }));
        return;
    }
    let remark = match driver.running() {
        Some(Purpose::Rewrite) => "There is a background AOF rewrite running. Cancelling it before exiting.",
        Some(Purpose::Switch) => "The data of a full sync are being put in place. Exiting when they are.",
        _ => "There is a background save running. Cancelling it before exiting.",
    };
    if actions::give_up(driver, remark) {
        driver.shutdown.set(Some(Plan { stage: Stage::Cancelling, ..plan }));
        return;
    }
    go(driver, plan);
}

/// The snapshot job has ended: goes on with a shutdown that waited for it.
pub fn job_ended(driver: &Rc<Driver>, failure: Option<String>) {
    match (driver.shutdown.take(), failure) {
        (Some(plan), _) if plan.stage == Stage::Cancelling => go(driver, plan),
        (Some(plan), Some(why)) if plan.stage == Stage::Basing => without_base(driver, plan, &why),
        (Some(plan), None) if plan.stage == Stage::Basing => save(driver, plan),
        // A job's end does not hurry the replicas.
        (Some(plan), _) if plan.stage == Stage::CatchingUp => driver.shutdown.set(Some(plan)),
        (Some(plan), Some(why)) => not_saved(driver, plan, &why),
        (Some(_), None) => close(driver),
        (None, _) => {}
    }
}

/// A second signal: no file of a snapshot that will never be whole is left behind.
pub fn at_once(driver: &Driver) {
    if driver.running().is_some() {
        // If it cannot be removed now, the next start does it.
        let persist = driver.persist();
        let _leftover = durable::remove_if_there(&*persist.files.disk, &persist.snapshot_paths().1);
    }
    driver.end_with(1);
}

fn go(driver: &Rc<Driver>, plan: Plan) {
    driver.settle();
    if !driver.is_open() {
        notice!("Shutting down while loading: the files stay as they are");
        remove_traces(driver);
        return driver.end_with(0);
    }
    if needs_base(driver, &plan) {
        driver.read_no_clients(true);
        match actions::rewrite(driver) {
            Ok(()) => return driver.shutdown.set(Some(Plan { stage: Stage::Basing, ..plan })),
            Err(why) => return without_base(driver, plan, &why),
        }
    }
    save(driver, plan);
}

/// The log does not hold what clients wrote on a replica, or is none to go on from.
fn needs_base(driver: &Driver, plan: &Plan) -> bool {
    let strayed = driver.node.borrow().server.strays.wrote;
    driver.persist().appendonly && (strayed || log_is_no_whole(driver, plan))
}

/// Nothing on disk leads to where the log begins; or only a snapshot beside it does, which other servers would not load. (One
/// that began with the history is whole without a base.)
fn log_is_no_whole(driver: &Driver, plan: &Plan) -> bool {
    let persist = driver.persist();
    persist.stands_elsewhere() || persist.base_is_due() && !will_save(driver, plan)
}

/// It could not be written: no reason to stay, unless everything would be lost.
fn without_base(driver: &Rc<Driver>, plan: Plan, why: &str) {
    if driver.persist().base_is_due() && !will_save(driver, &plan) {
        return not_saved(driver, plan, why);
    }
    if driver.node.borrow().server.strays.wrote {
        warning!("What clients wrote on this replica is lost: {why}");
    } else {
        warning!("The log has no base of its own, and other servers cannot load it: {why}");
    }
    save(driver, plan);
}

fn save(driver: &Rc<Driver>, mut plan: Plan) {
    if will_save(driver, &plan) {
        notice!("Saving the final RDB snapshot before exiting.");
        driver.persist_mut().await_replicas(clock::now_ms());
        driver.read_no_clients(true);
        plan.followed = upstream::end_link(driver);
        plan.stage = Stage::Saving;
        driver.settle();
        driver.shutdown.set(Some(plan));
        if let Err(why) = actions::save(driver)
            && let Some(plan) = driver.shutdown.take()
        {
            not_saved(driver, plan, &why);
        }
        return;
    }
    close(driver);
}

fn will_save(driver: &Driver, plan: &Plan) -> bool {
    plan.save.unwrap_or_else(|| !driver.node.borrow().config().settings.save.0.is_empty())
}

fn not_saved(driver: &Rc<Driver>, plan: Plan, why: &str) {
    warning!("Error trying to save the DB, can't exit. {why}");
    if plan.force {
        return close(driver);
    }
    warning!("Errors trying to shut down the server. Check the logs for more information.");
    stay(driver, plan);
}

/// The server goes on.
fn stay(driver: &Rc<Driver>, plan: Plan) {
    driver.read_no_clients(false);
    driver.with_node(|node| node.stay());
    if let Some((host, port)) = plan.followed {
        upstream::follow(driver, host, port, false);
    }
    for slot in plan.askers {
        actions::reply(driver, slot, Err(ReplyError::new("ERR Errors trying to SHUTDOWN. Check logs.")));
    }
}

fn close(driver: &Rc<Driver>) {
    let _followed = upstream::end_link(driver); // before the mark: nothing is applied behind it
    driver.settle();
    let closed = driver.close_persist().close();
    remove_traces(driver);
    if let Err(why) = closed {
        let why = format!(
            "not a clean shutdown: {why}. What is acknowledged and not in the log is in the ring: the next start \
             recovers as after a crash"
        );
        logging::shout(&why);
        return driver.end_with(1);
    }
    notice!("Ringhold is now ready to exit, bye bye...");
    driver.end_with(0);
}

/// Pid file and Unix socket go with the process.
fn remove_traces(driver: &Driver) {
    let node = driver.node.borrow();
    let settings = &node.config().settings;
    for path in [&settings.pidfile, &settings.unixsocket] {
        if !path.is_empty() {
            // Whether it is still there does not matter any more.
            let _leftover = std::fs::remove_file(Path::new(path));
        }
    }
}
