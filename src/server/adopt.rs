//! A full sync at the replica: the payload received, loaded and taken over, while the old data are served.
//!
//! ```text
//! link task ──chunks──► thread: temporary file, fsynced ─► loaded into a store of its own
//!     ▲                                                              │
//!     └──────────────────────── store and file ◄─────────────────────┘
//!     │
//!     ├─► snapshot job cancelled and ended, resize of the ring ended; from here on this is the job that runs
//!     ├─► thread: generation::adopt (commit)
//!     └─► on the data thread, in one go: store, ring and log in the place of the old ones
//! ```
//!
//! Until the commit anything may fail, and the link may end (REPLICAOF, a lost primary, a shutdown): the old data, their
//! position and their files are untouched, and the temporary file goes with its owner. Once begun it is finished, whatever
//! becomes of the link.
//!
//! **The commit is a job** like a save ([`Purpose::Switch`]), as nothing else may change files of the old generation meanwhile:
//! no snapshot begins, a shutdown waits for its end, DEBUG RELOAD and its kin are refused, CONFIG SET appendonly waits, another
//! name is not taken ([`Driver::naming`]). The old log's thread, which nobody stops, waits for the lock of its segments. No
//! byte of the stream comes meanwhile: it is the primary's, whose link waits for this. Rejected: the commit on the data
//! thread, which stood still for some ten fsyncs.

use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::{mpsc, oneshot};

use super::driver::Driver;
use super::logging::{notice, warning};
use super::persist::{Cut, Files, Persist, lock};
use super::snapshots::Growing;
use super::{actions, clock, process, recovery, upstream};
use crate::config::{Config, Settings};
use crate::disk::{Disk, durable};
use crate::format::history::{Ancestor, Born, Role};
use crate::log::generation::{Adopted, Arrived, adopt};
use crate::log::hands;
use crate::store::Store;
use crate::units::Offset;

const THREAD: &str = "full-sync";
/// Chunks of the payload that may wait for the disk.
const CHUNKS: usize = 8;
/// On a stage they wait for the last one, however small the pieces are: a thread's work is done in one piece there.
const CHUNKS_ON_STAGE: usize = 1 << 24;
/// Two receptions, one of them given up and still ending, must not share a file.
static SERIAL: AtomicU64 = AtomicU64::new(0);

/// What arrives.
pub struct Plan {
    pub cut: Cut,
    /// Where the primary's id came into force, and its earlier names.
    pub begun: Offset,
    pub born: Born,
    pub lineage: Vec<Ancestor>,
    pub role: Role,
    pub config: Config,
    pub files: Files,
}

/// Loaded, and not yet in force.
pub struct Ready {
    store: Store,
    payload: Temporary,
    plan: Plan,
}

/// A file that is removed with its owner, unless it has another name by then.
struct Temporary {
    disk: Arc<dyn Disk>,
    path: PathBuf,
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // If it cannot be removed now, the next full sync or start does it.
        let _leftover = durable::remove_if_there(&*self.disk, &self.path);
    }
}

/// The thread's end of a reception; dropped without [`Incoming::finish`] it gives up.
pub struct Incoming {
    chunks: mpsc::Sender<Piece>,
    result: oneshot::Receiver<Result<Ready, String>>,
    /// On a stage: what the thread will do when all has come.
    later: Option<Box<dyn FnOnce() + Send>>,
}

enum Piece {
    Bytes(Vec<u8>),
    End,
}

impl Incoming {
    pub fn begin(plan: Plan) -> Result<Incoming, String> {
        let staged = hands::is_simulated();
        let (chunks, receive) = mpsc::channel(if staged { CHUNKS_ON_STAGE } else { CHUNKS });
        let (send, result) = oneshot::channel();
        let work = move || {
            let _link_gone = send.send(receive_and_adopt(plan, receive));
        };
        if staged {
            return Ok(Incoming { chunks, result, later: Some(Box::new(work)) });
        }
        hands::spawn(THREAD, work).map_err(|error| format!("starting a thread: {error}"))?;
        Ok(Incoming { chunks, result, later: None })
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
        if let Some(work) = self.later {
            let _a_stage_has_room = hands::spawn(THREAD, work);
        }
        self.result
    }
}

fn receive_and_adopt(mut plan: Plan, chunks: mpsc::Receiver<Piece>) -> Result<Ready, String> {
    let disk = Arc::clone(&plan.files.disk);
    let (process, serial) = (std::process::id(), SERIAL.fetch_add(1, Ordering::Relaxed));
    let path = plan.files.paths.data.join(format!("temp-sync-{process}-{serial}.rdb"));
    let payload = Temporary { disk, path };
    let len = receive(&payload, chunks)?;
    notice!("MASTER <-> REPLICA sync: Loading DB in memory ({len} bytes)");
    let (store, origin) = recovery::load_file(&*payload.disk, &payload.path, len, &plan.config)?;
    // A primary's stream goes on with a SELECT; one that only hands on its primary's says here where it stands.
    plan.cut.db = origin.stream_db.and_then(|db| u32::try_from(db).ok()).unwrap_or(0);
    Ok(Ready { store, payload, plan })
}

fn receive(payload: &Temporary, mut chunks: mpsc::Receiver<Piece>) -> Result<u64, String> {
    let failed = |error: std::io::Error| format!("writing {}: {error}", payload.path.display());
    let file = Growing::create(&*payload.disk, &payload.path).map_err(|failure| failure.to_string())?;
    let mut file = BufWriter::with_capacity(256 * 1024, file);
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
    file.sync().map_err(|failure| failure.to_string())?;
    Ok(len)
}

/// Puts what arrived in the place of the old data: commit and switch. Followers are cut off: their history ended here. Who asks
/// may be gone before it has begun, and then it does not begin.
pub async fn take_over(driver: &Rc<Driver>, ready: Ready) -> Result<Cut, String> {
    let asked = Rc::new(());
    let task = tokio::task::spawn_local(switch(Rc::clone(driver), ready, Rc::downgrade(&asked)));
    let done = task.await.map_err(|_| "the switch ended early".to_string());
    drop(asked);
    done?
}

async fn switch(driver: Rc<Driver>, ready: Ready, asked: Weak<()>) -> Result<Cut, String> {
    let _no_other_name = driver.naming.lock().await;
    let free = upstream::free_hands(&driver).await;
    let begins = match (free, asked.strong_count()) {
        (Ok(()), 0) => Err("the link ended".to_string()),
        (free, _) => free,
    };
    if let Err(why) = begins {
        let _goes_with_the_process = hands::spawn("given-up", move || drop(ready));
        return Err(why);
    }
    actions::begin_switch(&driver);
    let done = commit_and_switch(&driver, ready).await;
    actions::end_switch(&driver);
    done
}

async fn commit_and_switch(driver: &Rc<Driver>, ready: Ready) -> Result<Cut, String> {
    let Ready { store, payload, plan: Plan { cut, begun, born, lineage, role, .. } } = ready;
    let settings = driver.node.borrow().config().settings.clone();
    let (files, log, tidying) = {
        let mut persist = driver.try_persist().ok_or("the server ends")?;
        (persist.files.clone(), persist.log_plan(&settings), persist.take_tidying())
    };
    let (cut_place, tag) = (cut.place(), process::random_u64());
    let adopted = process::on_thread("switch", move || {
        if let Some(task) = tidying {
            task.finish();
        }
        let ring_capacity = settings.repl_backlog_size;
        let arrived = Arrived {
            payload: &payload.path,
            cut: cut_place,
            begun,
            born,
            lineage,
            role,
            tag,
            ring_capacity,
            log,
        };
        commit_files(&files, arrived)
    })?;
    let adopted = adopted.await.map_err(|_| "the thread ended early".to_string())?;
    let adopted = adopted.map_err(|failed| failed.heed(driver))?;
    let keys = store.key_count();
    {
        let mut node = driver.node.borrow_mut();
        node.server.persistence.dirty = 0;
        node.replace(store, cut.offset, clock::now_ms());
        node.stream.set_db(Some(cut.db));
    }
    install(driver, adopted, cut);
    notice!("MASTER <-> REPLICA sync: Finished with success: {keys} keys at {}", cut.offset);
    Ok(cut)
}

/// A commit that failed.
struct Failed {
    why: String,
    /// The new data are in force on disk nevertheless.
    in_force: bool,
}

impl Failed {
    /// After the commit there is no way back: the process ends, and the next start finishes it.
    fn heed(self, driver: &Driver) -> String {
        if self.in_force {
            let why = &self.why;
            warning!(
                "The new data are in force on disk, and the server cannot go on in them: {why}. Exiting"
            );
            driver.end_with(1);
        }
        self.why
    }
}

fn commit_files(files: &Files, arrived: Arrived<'_>) -> Result<Adopted, Failed> {
    let Files { disk, paths, history, segments } = files;
    let generation = lock(history).get().generation;
    adopt(disk, paths, history, segments, arrived).map_err(|failure| Failed {
        why: failure.to_string(),
        in_force: lock(history).get().generation != generation,
    })
}

/// Makes another generation the one in force on disk, with the server standing still.
pub fn commit<'a>(
    driver: &Rc<Driver>,
    payload: &'a Path,
    arrived: impl FnOnce(&'a Path, &Persist, &Settings) -> Arrived<'a>,
) -> Result<Adopted, String> {
    let settings = driver.node.borrow().config().settings.clone();
    let mut persist = driver.persist_mut();
    persist.finish_tidying();
    let arrived = arrived(payload, &persist, &settings);
    commit_files(&persist.files, arrived).map_err(|failed| failed.heed(driver))
}

/// Goes on in the files of another generation, whose base holds the state at `cut`, the end of the stream.
pub fn install(driver: &Rc<Driver>, adopted: Adopted, cut: Cut) {
    driver.drop_followers();
    let mut old = driver.close_persist();
    let (waker, witness) = (old.waker(), old.witness.take());
    let settings = driver.node.borrow().config().settings.clone();
    let files = Files { segments: adopted.segments, ..old.files.clone() };
    // Closing its log means writing: not here.
    let _lost_with_the_process = hands::spawn("old-log", move || old.abandon());
    let mut persist = Persist::new(files, adopted.ring, cut, waker, &adopted.history);
    persist.succeed(witness);
    if let Some(log) = adopted.log {
        persist.go_on(log, &settings);
        if !settings.appendonly {
            persist.switch_aof_off(); // asked for meanwhile
        }
    }
    persist.keep(&settings);
    {
        let mut node = driver.node.borrow_mut();
        node.server.history.replace_names();
        node.server.history.remember(&adopted.history);
        node.server.persistence.rewrite_scheduled = settings.appendonly;
        node.server.persistence.base_due = persist.base_is_due();
        persist.describe(&mut node);
    }
    driver.open(persist);
}
