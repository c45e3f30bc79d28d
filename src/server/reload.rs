//! DEBUG RELOAD, LOADAOF and CHANGE-REPL-ID: the data or its name change outside the stream.

use std::rc::Rc;

use super::actions::reply;
use super::driver::Driver;
use crate::commands::Request;
use crate::error::ReplyError;
use crate::state::Slot;

pub fn debug(driver: &Rc<Driver>, slot: Slot, request: Request) {
    let _ = request;
    reply(driver, slot, Err(ReplyError::new("ERR not available")));
}

pub fn change_replid(driver: &Rc<Driver>, slot: Slot) {
    reply(driver, slot, Err(ReplyError::new("ERR not available")));
}
