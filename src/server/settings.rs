//! Settings that live outside the node: what CONFIG SET does to sockets, log, ring and process, and CONFIG REWRITE.
//!
//! The table has checked the values before they come here ([`crate::config`]). What fails here takes the whole change back, so
//! that CONFIG SET is all or nothing; what takes its time ([`resize`], [`switch`]) comes last and is waited for by a task. One
//! change at a time: the next CONFIG SET is not even looked at before, or it would build on values that may be taken
//! back, and answer OK for what another one has not yet brought about.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use super::actions;
use super::clock::ServerClock;
use super::driver::Driver;
use super::logging::{self, notice, warning};
use super::process::pause;
use super::start::Files;
use super::{process, resize, switch};
use crate::config::{Change, DirectiveId, Settings, apply_failed, names_differ};
use crate::disk::durable;
use crate::error::ReplyError;
use crate::state::Slot;

/// Between two looks at how far threads, or another's change, are.
pub(super) const POLL: Duration = Duration::from_millis(5);
/// Why a change comes to nothing where the server is on its way out, or its files are being loaded anew.
pub(super) const ENDED: &str = "the files are being closed";

/// Settings were changed: those that live outside the node are brought up to date, or the change is taken back. What keeps
/// acknowledged data before it or after it does so all the while; what keeps less comes last, when nothing can fail any more.
pub fn changed(driver: &Rc<Driver>, slot: Slot, change: Change) {
    if (change.before().keeps() || settings(driver).keeps())
        && let Some(mut persist) = driver.try_persist()
    {
        persist.keep_from_now_on();
    }
    let takes_time = change.names(switch::NAME) || resize::is_asked_for(driver, &change);
    if let (false, Ok(_one_at_a_time)) = (takes_time, driver.setting.try_lock()) {
        let done = carry_out(driver, &change);
        return end(driver, slot, &change, done);
    }
    let driver = Rc::clone(driver);
    tokio::task::spawn_local(async move {
        let _one_at_a_time = driver.setting.lock().await;
        let mut done = carry_out(&driver, &change);
        if done.is_ok() {
            done = carry_out_slowly(&driver, slot, &change).await;
            if done.is_err() {
                take_back(&driver, &change.changed, &change);
                if !settings(&driver).appendonly {
                    let _ended = switch::run(&driver, false).await; // an error is that the files are being closed
                }
            }
        }
        end(&driver, slot, &change, done);
    });
}

/// CONFIG SET behind another request of its transaction: its turn comes when nobody's change is under way.
pub fn set(driver: &Rc<Driver>, slot: Slot, pairs: Vec<(Vec<u8>, Vec<u8>)>) {
    let driver = Rc::clone(driver);
    tokio::task::spawn_local(async move {
        nobody_configures(&driver).await;
        let set = driver.node.borrow_mut().config_set(slot, &pairs);
        match set {
            Ok(change) => changed(&driver, slot, change),
            Err(error) => actions::reply(&driver, slot, Err(error)),
        }
    });
}

fn configures(driver: &Driver) -> bool {
    driver.node.borrow().server.configuring > 0
}

async fn nobody_configures(driver: &Driver) {
    while configures(driver) {
        pause(POLL).await;
    }
}

fn settings(driver: &Driver) -> Settings {
    driver.node.borrow().config().settings.clone()
}

/// What is done at once. If one directive is refused those before it are taken back.
fn carry_out(driver: &Rc<Driver>, change: &Change) -> Result<(), ReplyError> {
    let settings = settings(driver);
    for (n, id) in change.changed.iter().enumerate() {
        if let Err(why) = apply(driver, id.name(), &settings, change.before()) {
            take_back(driver, &change.changed[..n], change);
            return Err(apply_failed(*id, &why));
        }
    }
    if let Some(mut persist) = driver.try_persist() {
        persist.settings_changed(&settings);
    }
    Ok(())
}

/// The settings are as before the change; so is what was done for those that were `applied`.
fn take_back(driver: &Rc<Driver>, applied: &[DirectiveId], change: &Change) {
    let tried = settings(driver);
    for id in applied {
        if let Err(why) = apply(driver, id.name(), change.before(), &tried) {
            warning!("{} cannot be taken back: {why}", id.name());
        }
    }
    driver.with_node(|node| {
        node.server.config.undo(change);
        node.settings_changed();
    });
}

/// What asks threads. A log that is switched on comes before what may fail, one that is switched off behind it.
async fn carry_out_slowly(driver: &Rc<Driver>, slot: Slot, change: &Change) -> Result<(), ReplyError> {
    let switched = change.names(switch::NAME);
    let on = settings(driver).appendonly;
    let in_transaction = driver.node.borrow().serves_transaction(slot);
    if switched && on {
        switch::run(driver, in_transaction).await.map_err(|why| refusal(switch::NAME, &why))?;
    }
    if resize::is_asked_for(driver, change) {
        resize::run(driver).await.map_err(|why| refusal(resize::NAME, &why))?;
    }
    if switched && !on {
        switch::run(driver, in_transaction).await.map_err(|why| refusal(switch::NAME, &why))?;
    }
    Ok(())
}

/// The client is answered. The log does what the settings say, or say again.
fn end(driver: &Rc<Driver>, slot: Slot, change: &Change, done: Result<(), ReplyError>) {
    let settings = settings(driver);
    if let Some(mut persist) = driver.try_persist() {
        persist.settings_changed(&settings);
    }
    if change.before().keeps() != settings.keeps() || change.names("save") || change.names(switch::NAME) {
        switch::keep(driver, &settings);
    }
    driver.with_node(|node| {
        node.configured();
        node.finish(slot, done.map(|()| "OK"));
        node.handle_deadlines(&mut ServerClock);
    });
}

fn refusal(name: &str, why: &str) -> ReplyError {
    match DirectiveId::find(name.as_bytes()) {
        Some((id, _)) => apply_failed(id, why),
        None => ReplyError::from(format!("ERR {why}")),
    }
}

fn apply(driver: &Rc<Driver>, name: &str, settings: &Settings, before: &Settings) -> Result<(), String> {
    match name {
        switch::NAME | "dir" | "dbfilename" if !driver.is_open() => {
            return Err("the dataset is being loaded".into());
        }
        "loglevel" => logging::set_level(settings.loglevel),
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

/// The text is that of now, unless somebody's change may yet be taken back; it is written on a thread, one after the other.
pub fn rewrite_file(driver: &Rc<Driver>, slot: Slot, all: bool) {
    let rewrite = move |driver: &Driver| driver.node.borrow().config().rewrite(&mut Files::default(), all);
    let of_now = (!configures(driver)).then(|| rewrite(driver));
    let driver = Rc::clone(driver);
    tokio::task::spawn_local(async move {
        nobody_configures(&driver).await; // what is under way may be taken back: a transaction can ask in the middle of it
        let rewritten = of_now.unwrap_or_else(|| rewrite(&driver));
        let _one_at_a_time = driver.rewriting_config.lock().await;
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
        actions::reply(&driver, slot, answer);
    });
}

async fn replace(driver: &Driver, path: PathBuf, text: Vec<u8>) -> Result<(), String> {
    let disk = driver.try_persist().ok_or("the server ends")?.files.disk.clone();
    let written = process::on_thread("config", move || {
        durable::replace(&*disk, &path, &text).map_err(|e| format!("Rewriting config file: {e}"))
    })?;
    written.await.map_err(|_| "Rewriting config file: the thread ended early".to_string())?
}
