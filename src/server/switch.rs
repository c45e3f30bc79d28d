//! CONFIG SET appendonly: the log is switched on or off while the server serves.
//!
//! ```text
//! yes ─► (a log that ends has ended) ─► a log begins, or the spill is the log ─► its segment is there ─► on, and a base is begun
//! no  ─► the log ends ─► it has ended ─► what keeps the data without it (rule 7)
//! ```
//!
//! All of it asks threads and looks again later (`persist/turns.rs`): other clients are served meanwhile, the one that asked is
//! answered at the end. One at a time, as of all changes of settings ([`super::settings`]).

use std::rc::Rc;

use super::actions::{self, Purpose};
use super::driver::Driver;
use super::logging::{notice, warning};
use super::process::pause;
use super::settings::{ENDED, POLL};
use crate::config::Settings;

/// The directive.
pub const NAME: &str = "appendonly";

/// Does what the setting says; the error is why the log cannot be switched on. As stock has it, a base that a transaction
/// brings about (`scheduled`) is begun on the next tick.
pub async fn run(driver: &Rc<Driver>, scheduled: bool) -> Result<(), String> {
    if !driver.node.borrow().config().settings.appendonly {
        switch_off(driver);
        return has_ended(driver).await;
    }
    let done = switch_on(driver, scheduled).await;
    if let Err(why) = &done {
        warning!("The log cannot be switched on: {why}");
        driver.try_persist().ok_or(ENDED)?.give_aof_up();
        has_ended(driver).await?;
    }
    done
}

/// Until no log is on its way out, and no other data on their way in.
async fn has_ended(driver: &Driver) -> Result<(), String> {
    let switches = || driver.running() == Some(Purpose::Switch);
    while driver.try_persist().ok_or(ENDED)?.is_ending() || switches() {
        pause(POLL).await;
    }
    Ok(())
}

async fn switch_on(driver: &Rc<Driver>, scheduled: bool) -> Result<(), String> {
    has_ended(driver).await?;
    no_doubt(driver).await?;
    let settings = || driver.node.borrow().config().settings.clone();
    driver.try_persist().ok_or(ENDED)?.begin_aof(&settings())?;
    while !driver.try_persist().ok_or(ENDED)?.opening_of_aof()? {
        pause(POLL).await;
    }
    driver.try_persist().ok_or(ENDED)?.aof_is_on(&settings());
    // It may begin at the end of the stream and so never move: what waits for it is looked at now.
    driver.persist().waker()();
    {
        let mut node = driver.node.borrow_mut();
        let persistence = &mut node.server.persistence;
        (persistence.aof_enabled, persistence.rewrite_scheduled) = (true, true);
        persistence.base_due = driver.persist().base_is_due();
    }
    if driver.running().is_some() {
        notice!("An AOF background was scheduled: it starts when the job that runs has ended");
    } else if scheduled {
        notice!("An AOF background was scheduled: it starts after the transaction");
    } else if let Err(why) = actions::rewrite(driver) {
        warning!("Can't rewrite append only file in background: {why}"); // it is tried again
    }
    Ok(())
}

/// What a failed fsync has left in doubt may never be called durable (rules 13, 23): a base holds it first.
async fn no_doubt(driver: &Rc<Driver>) -> Result<(), String> {
    let in_doubt = || driver.try_persist().ok_or(ENDED).map(|persist| persist.is_in_doubt());
    if !in_doubt()? {
        return Ok(());
    }
    notice!(
        "An fsync of the log failed before: a base holds what it left in doubt before the log is on again"
    );
    while driver.running().is_some() {
        pause(POLL).await;
    }
    if in_doubt()? {
        actions::save_in_place(driver)?;
    }
    while driver.running().is_some() {
        pause(POLL).await;
    }
    if in_doubt()? {
        Err("an fsync failed before, and no base could be written since".into())
    } else {
        Ok(())
    }
}

fn switch_off(driver: &Rc<Driver>) {
    if !driver.try_persist().is_some_and(|persist| persist.appendonly) {
        return;
    }
    actions::cancel(
        driver,
        Purpose::Rewrite,
        "Killing running AOF rewrite child: the thread that writes the base gives up",
    );
    driver.persist_mut().switch_aof_off();
    let mut node = driver.node.borrow_mut();
    let persistence = &mut node.server.persistence;
    (persistence.aof_enabled, persistence.rewrite_scheduled) = (false, false);
    (persistence.failed, persistence.latched) = (None, false);
}

/// Whether what is acknowledged is kept without a log (rule 7). If nothing on disk leads to the end of the stream a snapshot
/// comes first.
pub fn keep(driver: &Rc<Driver>, settings: &Settings) {
    let Some(mut persist) = driver.try_persist() else { return };
    persist.keep(settings);
    let mut node = driver.node.borrow_mut();
    persist.describe(&mut node);
    node.server.persistence.base_due = persist.base_is_due();
}
