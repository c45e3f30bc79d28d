//! A full sync at the replica: the payload received, loaded and taken over, while the old data are served.
//!
//! ```text
//! link task ──chunks──► thread: temporary file, fsynced ─► loaded into a store of its own ─► generation::adopt (commit)
//!     ▲                                                                                              │
//!     └───────────────── store, ring, log ◄──────────────────────────────────────────────────────────┘
//!                         │
//!                         └─► the data thread puts them in the place of the old ones between two batches
//! ```
//!
//! Until the commit anything may fail: the old data, their position and their files are untouched.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::rc::Rc;

use tokio::sync::{mpsc, oneshot};

use super::actions::{self, Purpose};
use super::driver::Driver;
use super::logging::notice;
use super::persist::{Cut, Files, Persist, lock};
use super::{process, recovery};
use crate::config::Config;
use crate::format::history::{Ancestor, Role};
use crate::log::generation::{Adopted, Arrived, adopt};
use crate::log::thread::Waker;
use crate::log::writer::Options;
use crate::store::Store;
use crate::units::Offset;

/// Chunks of the payload that may wait for the disk.
const CHUNKS: usize = 8;

/// What the thread needs to know.
pub struct Plan {
    pub cut: Cut,
    /// Where the primary's id came into force, and its earlier names.
    pub begun: Offset,
    pub lineage: Vec<Ancestor>,
    pub role: Role,
    pub config: Config,
    pub files: Files,
    pub ring_capacity: u64,
    pub log: Option<(Options, Waker)>,
}

/// Ready to be served.
pub struct Ready {
    pub store: Store,
    pub adopted: Adopted,
    pub cut: Cut,
    pub keys: usize,
}

/// The thread's end of a reception; dropped without [`Incoming::finish`] it gives up.
pub struct Incoming {
    chunks: mpsc::Sender<Piece>,
    result: oneshot::Receiver<Result<Ready, String>>,
}

enum Piece {
    Bytes(Vec<u8>),
    End,
}

impl Incoming {
    pub fn begin(plan: Plan) -> Result<Incoming, String> {
        let (chunks, receive) = mpsc::channel(CHUNKS);
        let (send, result) = oneshot::channel();
        std::thread::Builder::new()
            .name("full-sync".into())
            .spawn(move || {
                let _link_gone = send.send(receive_and_adopt(plan, receive));
            })
            .map_err(|error| format!("starting a thread: {error}"))?;
        Ok(Incoming { chunks, result })
    }

    /// Waits while the disk is slower than the network.
    pub async fn push(&mut self, bytes: &[u8]) -> Result<(), String> {
        if self.chunks.send(Piece::Bytes(bytes.to_vec())).await.is_ok() {
            return Ok(());
        }
        // The thread has ended: it says why.
        match (&mut self.result).await {
            Ok(Err(why)) => Err(why),
            _ => Err("receiving the payload ended early".into()),
        }
    }

    /// All of it was handed over; the result comes through the receiver.
    pub async fn finish(self) -> oneshot::Receiver<Result<Ready, String>> {
        // A thread that has ended says why through the result.
        let _ended = self.chunks.send(Piece::End).await;
        self.result
    }
}

fn receive_and_adopt(plan: Plan, chunks: mpsc::Receiver<Piece>) -> Result<Ready, String> {
    let path = plan.files.paths.data.join(format!("temp-sync-{}.rdb", std::process::id()));
    let result = receive(&path, chunks).and_then(|len| load_and_adopt(plan, &path, len));
    if result.is_err() {
        // The failure that matters is reported; this only gives space back.
        let _secondary = std::fs::remove_file(&path);
    }
    result
}

fn receive(path: &PathBuf, mut chunks: mpsc::Receiver<Piece>) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("writing {}: {error}", path.display());
    let mut file = BufWriter::with_capacity(256 * 1024, File::create(path).map_err(failed)?);
    let mut len = 0;
    loop {
        match chunks.blocking_recv() {
            Some(Piece::Bytes(bytes)) => {
                len += bytes.len() as u64;
                file.write_all(&bytes).map_err(failed)?;
            }
            Some(Piece::End) => break,
            None => return Err("the link ended before the payload did".into()),
        }
    }
    let file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.sync_all().map_err(failed)?;
    Ok(len)
}

fn load_and_adopt(plan: Plan, path: &std::path::Path, len: u64) -> Result<Ready, String> {
    notice!("MASTER <-> REPLICA sync: Loading DB in memory ({len} bytes)");
    let store = recovery::load_file(&*plan.files.disk, path, len, &plan.config)?;
    let keys = store.key_count();
    let arrived = Arrived {
        payload: path,
        cut: plan.cut.place(),
        begun: plan.begun,
        lineage: plan.lineage,
        role: plan.role,
        tag: process::random_u64(),
        ring_capacity: plan.ring_capacity,
        log: plan.log,
    };
    let Files { disk, paths, history, segments } = &plan.files;
    let adopted = adopt(disk, paths, history, segments, arrived).map_err(|failure| failure.to_string())?;
    Ok(Ready { store, adopted, cut: plan.cut, keys })
}

/// Puts what arrived in the place of the old data. Followers are cut off: their history ended here.
pub fn switch(driver: &Rc<Driver>, ready: Ready) {
    {
        let mut node = driver.node.borrow_mut();
        node.server.persistence.dirty = 0;
        node.replace(ready.store, ready.cut.offset, process::now_ms());
        node.stream.set_db(Some(ready.cut.db));
    }
    install(driver, ready.adopted, ready.cut);
    notice!("MASTER <-> REPLICA sync: Finished with success: {} keys at {}", ready.keys, ready.cut.offset);
}

/// Goes on in the files of another generation, whose base holds the state at `cut`, the end of the stream.
pub fn install(driver: &Rc<Driver>, adopted: Adopted, cut: Cut) {
    driver.drop_followers();
    let overtaken = "A full sync has replaced the data: the snapshot of them is given up";
    for purpose in [Purpose::Save, Purpose::Rewrite] {
        actions::cancel(driver, purpose, overtaken);
    }
    let old = driver.close_persist();
    let waker = old.waker();
    let settings = driver.node.borrow().config().settings.clone();
    let files = Files { segments: adopted.segments, ..old.files.clone() };
    // Closing its log means writing: not here.
    std::thread::spawn(move || old.abandon());
    let mut persist = Persist::new(files, adopted.ring, cut, waker);
    match adopted.log {
        Some(log) => persist.go_on(log, &settings),
        None => {
            let _whole_at_its_base = persist.keep(!settings.save.0.is_empty());
        }
    }
    {
        let mut node = driver.node.borrow_mut();
        node.server.history.remember(lock(&persist.files.history).get());
        node.server.persistence.rewrite_scheduled = settings.appendonly;
        persist.describe(&mut node);
    }
    driver.open(persist);
}
