//! Settings that live outside the node: what CONFIG SET does to sockets, log, ring and process, and CONFIG REWRITE.
//!
//! The table has checked the values before they come here ([`crate::config`]). What fails here takes the whole change back, so
//! that CONFIG SET is all or nothing; what takes its time ([`resize`]) answers at its own end.

use std::rc::Rc;

use super::actions::{self, Purpose};
use super::driver::Driver;
use super::logging::{self, notice, warning};
use super::start::Files;
use super::{process, resize};
use crate::config::{Change, Settings, apply_failed, names_differ};
use crate::disk::durable;
use crate::error::ReplyError;
use crate::state::Slot;

/// Settings were changed: those that live outside the node are brought up to date, or the change is taken back.
pub fn changed(driver: &Rc<Driver>, slot: Option<Slot>, change: Change) {
    let settings = driver.node.borrow().config().settings.clone();
    let mut refused = None;
    for id in &change.changed {
        if let Err(why) = apply(driver, id.name(), &settings, change.before(), slot.is_none()) {
            refused = Some(apply_failed(*id, &why));
            break;
        }
    }
    if driver.is_open() {
        driver.persist_mut().settings_changed(&settings);
    }
    let answer = match refused {
        // It answers at its end.
        None if resize::start(driver, slot, &change) => return,
        None => Ok("OK"),
        Some(error) => {
            driver.with_node(|node| {
                node.server.config.undo(change);
                node.settings_changed();
            });
            Err(error)
        }
    };
    if let Some(slot) = slot {
        actions::reply(driver, slot, answer);
    }
}

fn apply(
    driver: &Rc<Driver>,
    name: &str,
    settings: &Settings,
    before: &Settings,
    in_transaction: bool,
) -> Result<(), String> {
    match name {
        "appendonly" | "save" | "dir" | "dbfilename" | resize::NAME if !driver.is_open() => {
            return Err("the dataset is being loaded".into());
        }
        "loglevel" => logging::set_level(settings.loglevel),
        "appendonly" if settings.appendonly => start_aof(driver, settings, in_transaction)?,
        "appendonly" => stop_aof(driver, settings),
        "save" => keep(driver, settings),
        "port" | "bind" => driver.rebind(settings, before).map_err(|_| {
            let why = if name == "port" {
                "Unable to listen on this port"
            } else {
                "Failed to bind to specified addresses"
            };
            format!("{why}. Check server logs.")
        })?,
        "dbfilename" => names_differ(settings)?,
        "dir" if !settings.dir.is_dir() => return Err("No such file or directory".into()),
        "tls-port" if settings.tls_port != 0 => return Err("TLS is not supported".into()),
        "oom-score-adj" | "oom-score-adj-values" => process::adjust_oom_score(settings).map_err(|why| {
            warning!("Unable to write oom_score_adj: {why}");
            "Failed to apply new oom_score_adj configuration, check server logs.".to_string()
        })?,
        "maxclients" if settings.maxclients > before.maxclients => {
            let possible = process::raise_file_limit(settings.maxclients);
            if possible < settings.maxclients {
                return Err(format!(
                    "The operating system is not able to handle the specified number of clients, try with {possible}"
                ));
            }
        }
        _ => {}
    }
    Ok(())
}

/// CONFIG SET appendonly yes: the log begins here; it counts for recovery once its base is durable (rule 26).
fn start_aof(driver: &Rc<Driver>, settings: &Settings, in_transaction: bool) -> Result<(), String> {
    driver.persist_mut().start_aof(settings)?;
    // It may begin at the end of the stream and so never move: what waits for it is looked at now.
    driver.persist().waker()();
    {
        let mut node = driver.node.borrow_mut();
        node.server.persistence.aof_enabled = true;
        node.server.persistence.rewrite_scheduled = true;
    }
    if driver.running().is_some() {
        notice!("An AOF background was scheduled: it starts when the job that runs has ended");
    } else if in_transaction {
        notice!("An AOF background was scheduled: it starts after the transaction");
    } else {
        actions::start(driver, Purpose::Rewrite, None)?;
    }
    Ok(())
}

fn stop_aof(driver: &Rc<Driver>, settings: &Settings) {
    actions::cancel(
        driver,
        Purpose::Rewrite,
        "Killing running AOF rewrite child: the thread that writes the base gives up",
    );
    let mut persist = driver.persist_mut();
    persist.stop_log();
    let mut node = driver.node.borrow_mut();
    node.server.persistence.aof_enabled = false;
    node.server.persistence.rewrite_scheduled = false;
    node.server.persistence.failed = None;
    node.server.persistence.latched = false;
    drop(node);
    drop(persist);
    // From here on the ring, and then the spill, hold what the log lacks.
    keep(driver, settings);
}

/// Whether what is acknowledged is kept without a log (rule 7). If nothing on disk leads to the end of the stream a snapshot
/// comes first.
fn keep(driver: &Rc<Driver>, settings: &Settings) {
    let snapshot_due = driver.persist_mut().keep(!settings.save.0.is_empty());
    let mut node = driver.node.borrow_mut();
    driver.persist_mut().describe(&mut node);
    node.server.persistence.base_due = snapshot_due;
}

/// CONFIG REWRITE.
pub fn rewrite_file(driver: &Rc<Driver>, slot: Slot, all: bool) {
    let rewritten = driver.node.borrow().config().rewrite(&mut Files::default(), all);
    let written = match rewritten {
        Ok(None) => Err("The server is running without a config file".to_string()),
        Ok(Some((path, text))) => {
            let disk = driver.persist().files.disk.clone();
            durable::replace(&*disk, &path, &text).map_err(|e| format!("Rewriting config file: {e}"))
        }
        Err(error) => Err(format!("Rewriting config file: {error}")),
    };
    match written {
        Ok(()) => {
            notice!("CONFIG REWRITE executed with success.");
            actions::reply(driver, slot, Ok("OK"));
        }
        Err(why) => {
            warning!("CONFIG REWRITE failed: {why}");
            actions::reply(driver, slot, Err(ReplyError::from(format!("ERR {why}"))));
        }
    }
}
