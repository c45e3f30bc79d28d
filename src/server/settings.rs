//! Settings that live outside the node: what CONFIG SET does to sockets, log, ring and process, and CONFIG REWRITE.
//!
//! The table has checked the values before they come here ([`crate::config`]). What fails here takes the whole change back, so
//! that CONFIG SET is all or nothing; what takes its time ([`resize`], [`switch`]) comes last, is waited for by a task, and takes
//! itself back if it fails.

use std::path::PathBuf;
use std::rc::Rc;

use super::actions;
use super::driver::Driver;
use super::logging::{self, notice, warning};
use super::start::Files;
use super::{process, resize, switch};
use crate::config::{Change, DirectiveId, Settings, apply_failed, names_differ};
use crate::disk::durable;
use crate::error::ReplyError;
use crate::state::Slot;

/// Settings were changed: those that live outside the node are brought up to date, or the change is taken back.
pub fn changed(driver: &Rc<Driver>, slot: Option<Slot>, change: Change) {
    let settings = driver.node.borrow().config().settings.clone();
    let mut refused = None;
    for id in &change.changed {
        if let Err(why) = apply(driver, id.name(), &settings, change.before()) {
            refused = Some(apply_failed(*id, &why));
            break;
        }
    }
    if driver.is_open() {
        driver.persist_mut().settings_changed(&settings);
    }
    let answer = match refused {
        None if switch::is_asked_for(&change) || resize::is_asked_for(driver, &change) => {
            if switch::is_asked_for(&change) {
                switch::prepare(driver, &settings);
            }
            tokio::task::spawn_local(finish_change(Rc::clone(driver), slot, change));
            return;
        }
        None => Ok("OK"),
        Some(error) => {
            undo(driver, change);
            Err(error)
        }
    };
    if let Some(slot) = slot {
        actions::reply(driver, slot, answer);
    }
}

/// What lives outside the node is as the settings are again.
fn undo(driver: &Rc<Driver>, change: Change) -> Settings {
    driver.with_node(|node| {
        node.server.config.undo(change);
        node.settings_changed();
    });
    let settings = driver.node.borrow().config().settings.clone();
    logging::set_level(settings.loglevel);
    if let Some(mut persist) = driver.try_persist() {
        persist.settings_changed(&settings);
    }
    switch::keep(driver, &settings);
    settings
}

/// What takes its time: the client is answered at the end.
async fn finish_change(driver: Rc<Driver>, slot: Option<Slot>, change: Change) {
    let mut done = Ok(());
    if switch::is_asked_for(&change) {
        done = switch::run(&driver, slot.is_none()).await.map_err(|why| refusal(switch::NAME, &why));
    }
    if done.is_ok() && resize::is_asked_for(&driver, &change) {
        done = resize::run(&driver).await.map_err(|why| refusal(resize::NAME, &why));
    }
    if done.is_err() {
        let switched = switch::is_asked_for(&change);
        let settings = undo(&driver, change);
        if switched {
            switch::prepare(&driver, &settings);
            done = done.and(switch::run(&driver, false).await.map_err(ReplyError::from));
        }
    }
    match (slot, done) {
        (Some(slot), done) => actions::reply(&driver, slot, done.map(|()| "OK")),
        (None, _) => driver.settle(),
    }
}

fn refusal(name: &str, why: &str) -> ReplyError {
    match DirectiveId::find(name.as_bytes()) {
        Some((id, _)) => apply_failed(id, why),
        None => ReplyError::from(format!("ERR {why}")),
    }
}

fn apply(driver: &Rc<Driver>, name: &str, settings: &Settings, before: &Settings) -> Result<(), String> {
    match name {
        switch::NAME | "save" | "dir" | "dbfilename" | resize::NAME if !driver.is_open() => {
            return Err("the dataset is being loaded".into());
        }
        "loglevel" => logging::set_level(settings.loglevel),
        "save" => switch::keep(driver, settings),
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

/// The text is that of now; it is written on a thread, one after the other. Who asked in a transaction has its answer.
pub fn rewrite_file(driver: &Rc<Driver>, slot: Slot, all: bool) {
    let asker = driver.node.borrow().waits_for_work(slot).then_some(slot);
    let rewritten = driver.node.borrow().config().rewrite(&mut Files::default(), all);
    let driver = Rc::clone(driver);
    tokio::task::spawn_local(async move {
        let _one_at_a_time = driver.configuring.lock().await;
        let written = match rewritten {
            Ok(None) => Err("The server is running without a config file".to_string()),
            Ok(Some((path, text))) => replace(&driver, path, text).await,
            Err(error) => Err(format!("Rewriting config file: {error}")),
        };
        let answer = match written {
            Ok(()) => {
                notice!("CONFIG REWRITE executed with success.");
                Ok("OK")
            }
            Err(why) => {
                warning!("CONFIG REWRITE failed: {why}");
                Err(ReplyError::from(format!("ERR {why}")))
            }
        };
        if let Some(slot) = asker {
            actions::reply(&driver, slot, answer);
        }
    });
}

async fn replace(driver: &Driver, path: PathBuf, text: Vec<u8>) -> Result<(), String> {
    let disk = driver.try_persist().ok_or("the server ends")?.files.disk.clone();
    let written = process::on_thread("config", move || {
        durable::replace(&*disk, &path, &text).map_err(|e| format!("Rewriting config file: {e}"))
    })?;
    written.await.map_err(|_| "Rewriting config file: the thread ended early".to_string())?
}
