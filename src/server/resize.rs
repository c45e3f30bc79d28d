//! CONFIG SET repl-backlog-size: the ring gets another size while the server serves (rule 9). A start over a ring of
//! another size than configured does the same: right after a crash it may hold what the log lacks.
//!
//! ```text
//! make a file of the new size, touch its pages         on a thread
//! copy the window, a slice per turn of the loop        data thread, beside the clients
//! caught up, and the log proves what will not fit  ──► both files get every append
//! rename the new over the old, fsync the directory     on a thread
//! the new one is the ring; free the old one            on a thread
//! ```
//!
//! Until the rename a crash finds the old file, after it the new one; each holds every byte up to the crash. A slice is
//! some microseconds of copying, growing with what clients write meanwhile, so that the copy overtakes them. Rejected:
//! copying on a thread, which would read what the data thread overwrites.

use std::rc::Rc;

use super::driver::Driver;
use super::logging::{notice, warning};
use super::persist::{Files, LogStatus, lock};
use super::process::{on_thread, pause};
use super::settings::{ENDED, POLL};
use crate::config::Change;
use crate::disk::durable;
use crate::format::ring::Layout;
use crate::ring::Ring;
use crate::units::Offset;

/// Bytes copied between two looks at the clients.
const SLICE: u64 = 64 * 1024;
/// The directive.
pub const NAME: &str = "repl-backlog-size";

/// Whether the server's files are there and stay as they are.
pub fn check(driver: &Driver) -> Result<(), String> {
    match (driver.is_open(), driver.resizing.get()) {
        (false, _) => Err("the dataset is being loaded".into()),
        (_, true) => Err("the backlog is being resized".into()),
        _ => Ok(()),
    }
}

/// CONFIG SET asks for another size than the ring has.
pub fn is_asked_for(driver: &Driver, change: &Change) -> bool {
    change.names(NAME) && is_needed(driver)
}

/// After a start: the ring as it was found may have another size than configured.
pub fn start_if_needed(driver: &Rc<Driver>) {
    if is_needed(driver) {
        let driver = Rc::clone(driver);
        tokio::task::spawn_local(async move {
            if run(&driver).await.is_err()
                && let Some(capacity) = present(&driver)
            {
                driver.node.borrow_mut().server.config.settings.repl_backlog_size = capacity;
            }
        });
    }
}

fn wanted(driver: &Driver) -> u64 {
    Layout::for_capacity(driver.node.borrow().config().settings.repl_backlog_size).capacity
}

fn present(driver: &Driver) -> Option<u64> {
    Some(driver.try_persist()?.ring.capacity())
}

fn is_needed(driver: &Driver) -> bool {
    driver.resizing.get() || present(driver).is_some_and(|capacity| capacity != wanted(driver))
}

/// Gives the ring the size that the setting asks for; the error is why it keeps its size.
pub async fn run(driver: &Rc<Driver>) -> Result<(), String> {
    while driver.resizing.replace(true) {
        pause(POLL).await; // one after the other
    }
    let capacity = wanted(driver);
    let done = if present(driver) == Some(capacity) { Ok(()) } else { resize(driver, capacity).await };
    driver.resizing.set(false);
    if let Err(why) = &done {
        warning!("The backlog keeps its size: {why}");
    }
    done
}

async fn resize(driver: &Rc<Driver>, capacity: u64) -> Result<(), String> {
    let (Files { disk, paths, history, .. }, begin) = {
        let persist = driver.try_persist().ok_or(ENDED)?;
        (persist.files.clone(), persist.ring.twin_begin(capacity))
    };
    let (making, path) = (disk.clone(), paths.new_ring());
    let twin = on_thread("ring-new", move || {
        let mut ring =
            Ring::create(&*making, &path, capacity, begin).map_err(|failure| failure.to_string())?;
        ring.prefault();
        Ok::<Ring, String>(ring)
    })?;
    let attached = match twin.await.map_err(|_| ENDED)? {
        Ok(twin) => attach(driver, twin).await,
        Err(why) => Err(why),
    };
    let published = on_thread("ring-new", move || {
        let (from, to) = (paths.new_ring(), paths.ring());
        let (history, ready) = (lock(&history), attached.is_ok());
        let done = match attached {
            // A full sync has put a ring of another history in place.
            Ok(tag) if history.get().tag != tag => Err(ENDED.to_string()),
            Ok(_) => durable::publish(&*disk, &from, &to).map_err(|failure| failure.to_string()),
            Err(why) => Err(why),
        };
        let renamed = done.is_ok() || ready && disk.exists(&from).is_ok_and(|there| !there);
        if !renamed {
            // The failure that matters is reported; this only gives space back.
            let _secondary = durable::remove_if_there(&*disk, &from);
        }
        (renamed, done)
    })?;
    let (renamed, done) = published.await.map_err(|_| ENDED)?;
    finish(driver, renamed);
    done
}

/// Copies until the twin has everything and the log proves what it will not hold; from then on it gets every append.
/// Returns the history's tag.
async fn attach(driver: &Rc<Driver>, mut twin: Ring) -> Result<u64, String> {
    let mut seen = twin.end();
    while !is_complete(driver, &mut twin, &mut seen)? {
        tokio::task::yield_now().await;
    }
    while !may_take_over(driver, &mut twin)? {
        pause(POLL).await;
    }
    let mut persist = driver.try_persist().ok_or(ENDED)?;
    persist.ring.attach_twin(twin);
    persist.ring_changed(&mut driver.node.borrow_mut());
    Ok(persist.ring.tag())
}

/// Copies a slice; `seen` is how far the ring was then.
fn is_complete(driver: &Driver, twin: &mut Ring, seen: &mut Offset) -> Result<bool, String> {
    let persist = driver.try_persist().ok_or(ENDED)?;
    let end = persist.ring.end();
    let written_meanwhile = end.since(std::mem::replace(seen, end));
    Ok(persist.ring.copy_to(twin, SLICE + 2 * written_meanwhile))
}

/// Copies what came meanwhile; whether recovery can do without what the twin does not hold.
fn may_take_over(driver: &Driver, twin: &mut Ring) -> Result<bool, String> {
    let mut persist = driver.try_persist().ok_or(ENDED)?;
    persist.ring.copy_to(twin, u64::MAX);
    if persist.prepare_to_begin_at(twin.start()) {
        return Ok(true);
    }
    match persist.log_status() {
        LogStatus::At { .. } => Ok(false),
        LogStatus::Healing { why, .. } | LogStatus::Failed(why) => {
            persist.need_no_log_yet();
            Err(format!("the log does not take what the smaller one would not hold: {why}"))
        }
    }
}

/// `renamed`: the twin's file has the ring's name, even if that is not known to be durable.
fn finish(driver: &Rc<Driver>, renamed: bool) {
    let Some(mut persist) = driver.try_persist() else { return };
    if renamed {
        let old = persist.ring.switch_to_twin();
        // Its file has no name any more; a thread that cannot be started leaves the work to this one.
        let _freed = on_thread("ring-old", move || drop(old));
        let (capacity, window) = (persist.ring.capacity(), persist.ring.start()..persist.ring.end());
        notice!("The backlog has {capacity} bytes now and holds {} to {}", window.start, window.end);
    } else {
        persist.ring.drop_twin();
    }
    persist.ring_changed(&mut driver.node.borrow_mut());
}
