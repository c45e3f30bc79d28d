//! DEBUG RELOAD, LOADAOF and CHANGE-REPL-ID: the data or its name change outside the stream.
//!
//! | command | data | history |
//! |---|---|---|
//! | RELOAD | saved, then loaded from that file: the same | goes on |
//! | RELOAD NOSAVE, NOFLUSH, MERGE | what a file held is loaded, over the old or instead | ends (rule 18) |
//! | LOADAOF | log closed, directory recovered as at a start (also without a log): the same | goes on under a new name, as after a start |
//! | CHANGE-REPL-ID | untouched | ends (rule 18) |
//!
//! A history that ends is followed by a fresh one whose base is durable before the next command runs. The server
//! stands still meanwhile: these are tools of tests.

use std::ops::ControlFlow;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::actions::{self, reply};
use super::driver::Driver;
use super::logging::{self, warning};
use super::persist::lock;
use super::recovery::{self, LoadProgress};
use super::{adopt, clock, process, resize, snapshots, start, upstream};
use crate::commands::Request;
use crate::disk::{Disk, Mode, durable};
use crate::error::ReplyError;
use crate::format::history::{Born, Role};
use crate::log::generation::Arrived;
use crate::log::segments::Paths;
use crate::state::{Loading, Slot, Strays};
use crate::store::rdb::{LoadOptions, load};
use crate::store::{Limits, Snapshot};

/// How often it is looked whether the job that runs is over.
const POLL: Duration = Duration::from_millis(5);

/// Does it once no snapshot is being written: that must come into force neither in another history than its own nor in the place
/// of a newer one. All but the client that asked are served meanwhile.
fn when_free(driver: &Rc<Driver>, act: impl FnOnce(&Rc<Driver>) + 'static) {
    if driver.running().is_none() {
        return act(driver);
    }
    let driver = Rc::clone(driver);
    tokio::task::spawn_local(async move {
        while driver.is_open() && driver.running().is_some() {
            process::pause(POLL).await;
        }
        if driver.is_open() {
            act(&driver);
        }
    });
}

pub fn debug(driver: &Rc<Driver>, slot: Slot, request: Request) {
    when_free(driver, move |driver| reload_or_load(driver, slot, request));
}

fn reload_or_load(driver: &Rc<Driver>, slot: Slot, request: Request) {
    if let Err(why) = resize::check(driver) {
        return reply(driver, slot, Err(ReplyError::from(format!("ERR {why}"))));
    }
    let (done, what) = match request {
        Request::DebugReload { save, flush, merge } => (reload(driver, save, flush, merge), "DEBUG RELOAD"),
        _ => (load_aof(driver), "DEBUG LOADAOF"),
    };
    match done {
        Ok(()) => reply(driver, slot, Ok("OK")),
        Err(why) => {
            warning!("{what}: {why}");
            reply(driver, slot, Err(ReplyError::from(format!("ERR Error trying to load the data: {why}"))));
        }
    }
}

pub fn change_replid(driver: &Rc<Driver>, slot: Slot) {
    when_free(driver, move |driver| {
        match resize::check(driver).and_then(|()| new_history(driver, role(driver))) {
            Ok(()) => reply(driver, slot, Ok("OK")),
            Err(why) => reply(driver, slot, Err(ReplyError::from(format!("ERR {why}")))),
        }
    });
}

fn reload(driver: &Rc<Driver>, save: bool, flush: bool, merge: bool) -> Result<(), String> {
    if save {
        actions::save_here(driver)?;
    }
    let (path, options) = {
        let node = driver.node.borrow();
        let options = LoadOptions {
            limits: Limits::from_settings(&node.config().settings),
            replace: merge,
            now_ms: node.now_ms(),
            ..LoadOptions::default()
        };
        let persist = driver.persist();
        let settings = &node.config().settings;
        let path = match persist.exports(settings) {
            true => persist.export_paths(settings).0,
            false => persist.snapshot_paths().0,
        };
        (path, options)
    };
    let mut into = {
        let node = driver.node.borrow();
        if flush { Snapshot::empty(node.store.dbs.len()) } else { node.store.snapshot() }
    };
    read_into(&driver.persist().files.disk, &path, &options, &mut into)?;
    driver.node.borrow_mut().restore(into);
    if save && flush { Ok(()) } else { new_history(driver, role(driver)) }
}

fn read_into(
    disk: &Arc<dyn Disk>,
    path: &Path,
    options: &LoadOptions,
    into: &mut Snapshot,
) -> Result<(), String> {
    let opened = disk.open(path, Mode::Read).and_then(|file| Ok((file.size()?, file)));
    let (len, file) = opened.map_err(|failure| failure.to_string())?;
    let input = recovery::FileReader::new(&*file, len);
    let mut input = std::io::BufReader::with_capacity(1 << 20, input);
    load(&mut input, options, into, &mut |_| ControlFlow::Continue(()))
        .map(|_| ())
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn load_aof(driver: &Rc<Driver>) -> Result<(), String> {
    driver.settle();
    let mut config = driver.node.borrow().config().clone();
    let Paths { data, snapshot, .. } = driver.persist().files.paths.clone();
    (config.settings.dir, config.settings.dbfilename) = (data, snapshot); // CONFIG SET dir points saves elsewhere, not this
    if driver.persist().base_is_due() {
        return Err(
            "the log does not lead to the present data before the base that is due is in force".into()
        );
    }
    driver.persist().sync_log()?; // while it can still be refused
    let disk = Arc::clone(&driver.persist().files.disk);
    let primary = upstream::end_link(driver); // nothing is applied that nobody would write
    driver.drop_followers(); // they come back and learn the new name (rule 1)
    driver.settle();
    let reopened = driver.close_persist().close().and_then(|waker| {
        let recovered = recovery::recover(disk, &config, &LoadProgress::default())?;
        start::go_live(driver, recovered, waker)
    });
    if let Err(why) = &reopened {
        // There is nowhere to write to any more. As after a failed start, and as stock does here: the end. What was
        // acknowledged is on disk, and until the process is gone every command is answered -LOADING.
        logging::shout(&format!("DEBUG LOADAOF: {why}. Exiting"));
        let loading = Loading { started_ms: clock::now_ms(), ..Loading::default() };
        driver.node.borrow_mut().server.persistence.loading = Some(loading);
        driver.end_with(1);
    } else if let Some((host, port)) = primary {
        upstream::follow(driver, host, port, false);
    }
    reopened
}

fn role(driver: &Driver) -> Role {
    lock(&driver.persist().files.history).get().role.clone()
}

/// Rule 18: another id, no lineage, an empty ring, and a base that is durable when this returns. It comes into force as
/// after a full sync, in one commit (rule 4): before it a crash comes back to the old history, whole.
pub fn new_history(driver: &Rc<Driver>, role: Role) -> Result<(), String> {
    driver.settle();
    let replid = process::random_id();
    let job = actions::payload_here(driver, replid);
    let path = driver.persist().snapshot_paths().1;
    let adopted = snapshots::encode(&job, &path).and_then(|_| {
        adopt::commit(driver, &path, |payload, persist, settings| Arrived {
            payload,
            cut: job.cut.place(),
            begun: job.cut.offset,
            born: Born::Import,
            lineage: Vec::new(),
            role,
            tag: process::random_u64(),
            ring_capacity: persist.ring.capacity(),
            log: persist.log_plan(settings),
        })
    });
    let adopted = adopted.inspect_err(|_| {
        // The failure that matters is reported; this only gives space back.
        let _secondary = durable::remove_if_there(&*driver.persist().files.disk, &path);
    })?;
    adopt::install(driver, adopted, job.cut);
    let mut node = driver.node.borrow_mut();
    node.server.strays = Strays::default(); // they are data like any other now
    node.stream.forget_db();
    Ok(())
}
