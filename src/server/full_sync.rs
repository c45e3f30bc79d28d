//! Full syncs: one snapshot for all replicas that wait for one.
//!
//! ```text
//! follow ─► waiting ─► (no other job; diskless: repl-diskless-sync-delay or enough replicas) ─► cut, pins, thread
//!                                                                                                   │
//!                       each feed: +FULLRESYNC id cut ◄─────────────────────────────────────────────┤
//!                       `$EOF:mark` … bytes … mark    ◄── diskless: encoded once, handed to all     │
//!                       `$length` … bytes             ◄── else: a file first, then read for each ◄──┘
//! ```
//!
//! The stream from the cut on is pinned for each replica: the ring, and the log behind it, keep it until the feed has
//! passed. The first command after the cut says its database (rule 22). With `appendfsync always` no byte of a
//! snapshot leaves before the log is durable up to the cut (rule 13).

use std::io::{self, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::actions::{self, Purpose};
use super::driver::Driver;
use super::feed::{Beginning, Begun, Chunk, Feed, log_verdict};
use super::logging::{notice, warning};
use super::persist::lock;
use super::process;
use super::snapshots::{self, Job, Kind, Written};
use crate::disk::{DiskFile, Mode};
use crate::log::hands;
use crate::repl::verdict::Verdict;
use crate::state::{Slot, Stage};

/// Bytes handed to the feeds at a time, and chunks that may wait for the slowest.
const CHUNK: usize = 128 * 1024;
const CHUNKS: usize = 4;
/// On a stage a thread's work is done in one piece and may wait for nobody.
const CHUNKS_ON_STAGE: usize = 1024;
const MARK: usize = 40;

/// Replicas that wait for a snapshot.
#[derive(Default)]
pub struct Waiting {
    list: Vec<Waiter>,
    /// The delay of a diskless sync runs.
    delayed: bool,
}

struct Waiter {
    slot: Slot,
    begun: oneshot::Sender<Begun>,
    takes_mark: bool,
    alone: bool,
    functions_only: bool,
}

/// The node has accepted a replica.
pub fn follow(driver: &Rc<Driver>, slot: Slot, verdict: Verdict, old: bool) {
    let Some(socket) = driver.socket_of(slot) else { return };
    socket.hurry(!driver.node.borrow().config().settings.repl_disable_tcp_nodelay);
    let news = Rc::new(Notify::new());
    let feed = Feed { driver: Rc::clone(driver), socket, slot, news: Rc::clone(&news) };
    let (name, psync2, waiter) = {
        let node = driver.node.borrow();
        let Some(session) = node.server.sessions.get(slot) else { return };
        let (ip, port) = session.replica_address();
        let replica = session.replica.clone().unwrap_or_default();
        (format!("{ip}:{port}"), replica.psync2, replica)
    };
    log_verdict(&name, &verdict);
    let beginning = match verdict {
        Verdict::Continue(from) => {
            let id = driver.node.borrow().server.history.replid;
            let line = if psync2 { format!("+CONTINUE {id}\r\n") } else { "+CONTINUE\r\n".to_string() };
            driver.persist_mut().pin(slot, from);
            Beginning::Continue(line, from)
        }
        _ => {
            let (begun, receive) = oneshot::channel();
            driver.waiting.borrow_mut().list.push(Waiter {
                slot,
                begun,
                takes_mark: waiter.eof,
                alone: waiter.rdb_only,
                functions_only: waiter.functions_only,
            });
            Beginning::Snapshot { begun: receive, old }
        }
    };
    let task = tokio::task::spawn_local(begin(Rc::clone(driver), feed, beginning));
    driver.add_feed(slot, news, task.abort_handle());
}

/// Before this id is told to anyone, it is noted that it was (rule 20).
async fn begin(driver: Rc<Driver>, feed: Feed, beginning: Beginning) {
    let history = Arc::clone(&driver.persist().files.history);
    let noted = process::aside("history", move || lock(&history).update(|history| history.told = true)).await;
    match noted {
        Some(Err(failure)) => warning!("Noting that the id was told to a replica: {failure}"),
        _ => driver.node.borrow_mut().server.history.past.told = true,
    }
    let waits = matches!(beginning, Beginning::Snapshot { .. });
    if waits {
        consider(&driver);
    }
    feed.run(beginning).await;
}

/// Starts a snapshot for those who wait, if it is time.
pub fn consider(driver: &Rc<Driver>) {
    driver.waiting.borrow_mut().list.retain(|waiter| !waiter.begun.is_closed());
    let (count, marks) = {
        let waiting = driver.waiting.borrow();
        (waiting.list.len(), waiting.list.iter().all(|waiter| waiter.takes_mark))
    };
    if count == 0 || driver.running().is_some() || !driver.is_open() {
        return;
    }
    let (diskless, delay, enough) = {
        let node = driver.node.borrow();
        let settings = &node.config().settings;
        let enough = settings.repl_diskless_sync_max_replicas as usize;
        (settings.repl_diskless_sync, settings.repl_diskless_sync_delay, enough)
    };
    if diskless && delay > 0 && !(enough > 0 && count >= enough) {
        if !std::mem::replace(&mut driver.waiting.borrow_mut().delayed, true) {
            notice!("Delay next BGSAVE for diskless SYNC");
            let driver = Rc::clone(driver);
            tokio::task::spawn_local(async move {
                tokio::time::sleep(Duration::from_secs(delay.into())).await;
                if std::mem::take(&mut driver.waiting.borrow_mut().delayed) {
                    start(&driver, diskless && marks);
                }
            });
        }
        return;
    }
    start(driver, diskless && marks);
}

/// Takes the snapshot and starts the thread that sends it.
fn start(driver: &Rc<Driver>, diskless: bool) {
    driver.waiting.borrow_mut().delayed = false;
    if driver.running().is_some() || !driver.is_open() {
        return; // considered again when the job ends
    }
    driver.settle();
    let mut list = std::mem::take(&mut driver.waiting.borrow_mut().list);
    list.retain(|waiter| !waiter.begun.is_closed());
    let Some(functions_only) = list.first().map(|waiter| waiter.functions_only) else { return };
    let (now, later): (Vec<Waiter>, Vec<Waiter>) =
        list.into_iter().partition(|waiter| waiter.functions_only == functions_only);
    driver.waiting.borrow_mut().list = later;
    let diskless = diskless && now.iter().all(|waiter| waiter.takes_mark);

    notice!("Starting BGSAVE for SYNC with target: {}", if diskless { "replicas sockets" } else { "disk" });
    let mut job = actions::job(driver, Kind::Payload);
    if functions_only {
        job.snapshot.dbs.iter_mut().for_each(|db| db.entries = Default::default());
    }
    driver.node.borrow_mut().stream.forget_db();
    let mut outs = Vec::new();
    for waiter in now {
        let (send, chunks) = mpsc::channel(if hands::is_simulated() { CHUNKS_ON_STAGE } else { CHUNKS });
        driver.persist_mut().pin_cut(waiter.slot, job.cut);
        let begun = Begun { cut: job.cut, chunks, marked: diskless, alone: waiter.alone };
        // A replica that has gone meanwhile is noticed when the first bytes are handed to it.
        let _gone = waiter.begun.send(begun);
        outs.push(send);
    }
    let mark = diskless.then(process::random_id);
    let temporary = job.files.paths.data.join(format!("temp-repl-{}.rdb", std::process::id()));
    let write = move |job: &Job| match mark {
        Some(mark) => straight(job, outs, *mark.as_bytes()),
        None => by_file(job, outs, temporary),
    };
    if let Err(why) = actions::start_job(driver, Purpose::Sync, None, job, write) {
        warning!("Can't start the snapshot for replicas: {why}");
    }
}

/// A replica has gone. A snapshot that nobody waits for any more is given up.
pub fn replica_left(driver: &Driver) {
    if takers(driver).is_empty() {
        actions::cancel(driver, Purpose::Sync, "No replica waits for the snapshot any more: it is given up.");
    }
}

/// The snapshot will not be finished: those that wait for it come back and ask again.
pub fn cut_off(driver: &Driver) {
    takers(driver).into_iter().for_each(|slot| driver.close(slot));
}

/// Replicas that wait for a snapshot or are sent one.
fn takers(driver: &Driver) -> Vec<Slot> {
    let node = driver.node.borrow();
    let takes = |stage| matches!(stage, Stage::WaitSnapshot | Stage::SendSnapshot);
    let replicas = node.server.replicas().into_iter();
    replicas.filter(|(_, _, replica)| takes(replica.stage)).map(|(slot, ..)| slot).collect()
}

/// Encodes straight to the feeds.
fn straight(job: &Job, outs: Vec<mpsc::Sender<Chunk>>, mark: [u8; MARK]) -> Result<Written, String> {
    let mut fan = Fan { outs, chunk: Vec::with_capacity(CHUNK) };
    snapshots::wait_until_durable(job)?;
    let write = |fan: &mut Fan| {
        fan.write_all(b"$EOF:")?;
        fan.write_all(&mark)?;
        fan.write_all(b"\r\n")?;
        let saved = snapshots::encode_into(job, fan)?;
        fan.write_all(&mark)?;
        fan.end()?;
        notice!("Diskless rdb transfer, done reading from pipe, {} replicas still up.", fan.outs.len());
        Ok(saved)
    };
    let saved = write(&mut fan).map_err(|error: io::Error| format!("sending the snapshot: {error}"))?;
    Ok(job.written(&saved))
}

/// Writes a file and sends it to each.
fn by_file(job: &Job, outs: Vec<mpsc::Sender<Chunk>>, path: PathBuf) -> Result<Written, String> {
    let disk = &job.files.disk;
    let saved = snapshots::encode(job, &path);
    let file = disk.open(&path, Mode::Read);
    // The name is not needed any more; the file goes with its last reader.
    let _already_gone = disk.remove(&path);
    let (saved, file) = (saved?, file.map_err(|failure| failure.to_string())?);
    snapshots::wait_until_durable(job)?;
    for out in outs {
        let (file, len) = (Arc::clone(&file), saved.bytes);
        let send = move || {
            // A failure closes the channel early, which tells the feed.
            let _told_by_the_channel = send_file(&*file, len, out);
        };
        hands::spawn("payload", send).map_err(|error| format!("starting a thread: {error}"))?;
    }
    Ok(job.written(&saved))
}

fn send_file(file: &dyn DiskFile, len: u64, out: mpsc::Sender<Chunk>) -> io::Result<()> {
    let mut fan = Fan { outs: vec![out], chunk: Vec::with_capacity(CHUNK) };
    fan.write_all(format!("${len}\r\n").as_bytes())?;
    let (mut at, mut piece) = (0, vec![0; CHUNK]);
    while at < len {
        let got = file.read_at(&mut piece, at).map_err(|failure| failure.source)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        at += got as u64;
        fan.write_all(&piece[..got])?;
    }
    fan.end()
}

/// Hands the same bytes to several feeds, at the pace of the slowest. One that has gone is forgotten.
struct Fan {
    outs: Vec<mpsc::Sender<Chunk>>,
    chunk: Vec<u8>,
}

impl Fan {
    fn hand_over(&mut self, chunk: Chunk) -> io::Result<()> {
        self.outs.retain(|out| out.blocking_send(chunk.clone()).is_ok());
        if self.outs.is_empty() {
            return Err(io::Error::new(io::ErrorKind::BrokenPipe, "all replicas have gone"));
        }
        Ok(())
    }

    fn end(&mut self) -> io::Result<()> {
        self.flush()?;
        self.hand_over(Chunk::End)
    }
}

impl Write for Fan {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.chunk.extend_from_slice(bytes);
        if self.chunk.len() >= CHUNK {
            self.flush()?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.chunk.is_empty() {
            return Ok(());
        }
        let chunk = Arc::from(self.chunk.as_slice());
        self.chunk.clear();
        self.hand_over(Chunk::Bytes(chunk))
    }
}
