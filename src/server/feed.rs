//! The stream on its way to one replica.
//!
//! ```text
//!                ┌─ +CONTINUE ───────────────────────────────────────────────┐
//! PSYNC accepted ┤                                                           ├─► stream: from the ring,
//!                └─ wait (a newline each second) ─► +FULLRESYNC ─► snapshot ─┘   where older from the log
//! ```
//!
//! A feed is a cursor: it copies nothing, whatever the replica's pace, and writes from the ring's memory straight into the
//! socket. A replica behind the ring's start is fed from the log, read on another thread, and the log keeps what it
//! needs (its *pin*). With `appendfsync always` nothing is sent that is not durable (rule 13).
//!
//! A snapshot that ends by a mark is followed by the stream only after the replica's first ACK: it looks for the mark
//! at the end of what it has read.

use std::cell::{Ref, RefMut};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, oneshot};

use super::driver::{Driver, row};
use super::logging::{notice, warning};
use super::persist::{Cut, Persist};
use super::socket::Socket;
use super::{clock, process};
use crate::log::cursor::LogCursor;
use crate::state::{Slot, Stage};
use crate::units::Offset;

/// Bytes sent in one go before others have their turn.
const TURN: usize = 1 << 20;
const PIECE: usize = 256 * 1024;
/// A snapshot alone was asked for: its reader closes. Not at once only if it hangs.
const GRACE: Duration = Duration::from_secs(20);

/// How the stream begins.
pub enum Beginning {
    /// The line to say, and where the stream goes on.
    Continue(String, Offset),
    /// A snapshot that will be taken; SYNC (`old`) is answered without a line.
    Snapshot { begun: oneshot::Receiver<Begun>, old: bool },
}

/// A snapshot was taken.
pub struct Begun {
    pub cut: Cut,
    pub chunks: mpsc::Receiver<Chunk>,
    /// It ends by a mark.
    pub marked: bool,
    pub alone: bool,
}

/// A part of a snapshot as it is sent. A channel that closes before the end is a snapshot that failed.
#[derive(Clone)]
pub enum Chunk {
    Bytes(Arc<[u8]>),
    End,
}

/// Why a feed ended.
struct Over(String);

impl From<io::Error> for Over {
    fn from(error: io::Error) -> Over {
        Over(error.to_string())
    }
}

pub struct Feed {
    pub driver: Rc<Driver>,
    pub socket: Rc<Socket>,
    pub slot: Slot,
    /// New stream bytes, something durable, an ACK.
    pub news: Rc<Notify>,
}

impl Feed {
    /// Feeds until the connection ends, one way or the other.
    pub async fn run(self, beginning: Beginning) {
        let Err(Over(why)) = self.feed(beginning).await;
        notice!("The stream to the replica at {} ended: {why}", self.name());
        self.driver.close(self.slot);
    }

    fn name(&self) -> String {
        let node = self.driver.node.borrow();
        node.server.sessions.get(self.slot).map_or("?".into(), |session| {
            let (ip, port) = session.replica_address();
            format!("{ip}:{port}")
        })
    }

    async fn feed(&self, beginning: Beginning) -> Result<std::convert::Infallible, Over> {
        let from = match beginning {
            Beginning::Continue(line, from) => {
                self.send(line.as_bytes()).await?;
                from
            }
            Beginning::Snapshot { begun, old } => self.snapshot(begun, old).await?,
        };
        self.driver.with_node(|node| node.follower_is(self.slot, Stage::Online));
        self.count(0, Some(from));
        notice!("Synchronization with replica {} succeeded", self.name());
        self.stream(from).await
    }

    // ---- snapshot ----

    async fn snapshot(&self, mut begun: oneshot::Receiver<Begun>, old: bool) -> Result<Offset, Over> {
        let mut begun = loop {
            tokio::select! {
                biased;
                begun = &mut begun => break begun.map_err(|_| Over("the snapshot could not be taken".into()))?,
                () = tokio::time::sleep(Duration::from_secs(1)) => self.send(b"\n").await?,
            }
        };
        self.count(0, Some(begun.cut.offset));
        if !old {
            let line = format!("+FULLRESYNC {} {}\r\n", begun.cut.replid, begun.cut.offset);
            self.send(line.as_bytes()).await?;
        }
        let mut sending = false;
        loop {
            let chunk = tokio::select! {
                biased;
                chunk = begun.chunks.recv() => chunk,
                () = tokio::time::sleep(Duration::from_secs(1)), if !sending && !begun.marked => {
                    self.send(b"\n").await?;
                    continue;
                }
            };
            match chunk {
                Some(Chunk::Bytes(bytes)) => {
                    if !std::mem::replace(&mut sending, true) {
                        self.driver.with_node(|node| node.follower_is(self.slot, Stage::SendSnapshot));
                    }
                    self.send(&bytes).await?;
                }
                Some(Chunk::End) => break,
                None => return Err(Over("the snapshot was not written to its end".into())),
            }
        }
        if begun.alone {
            tokio::time::sleep(GRACE).await;
            return Err(Over("it asked for a snapshot only, and has it".into()));
        }
        if begun.marked {
            self.first_ack().await?;
        }
        Ok(begun.cut.offset)
    }

    async fn first_ack(&self) -> Result<(), Over> {
        let told = || {
            let node = self.driver.node.borrow();
            let replica = node.server.sessions.get(self.slot).and_then(|session| session.replica.as_deref());
            replica.map_or((0, 0), |replica| (replica.acks, replica.ack_ms))
        };
        let patience = Duration::from_secs(self.driver.node.borrow().config().settings.repl_timeout.into());
        loop {
            let (acks, heard_ms) = told();
            if acks > 0 {
                return Ok(());
            }
            let news = tokio::time::timeout(patience, self.news.notified()).await;
            // While it loads it says nothing but newlines, which are no news.
            if news.is_err() && told().1 == heard_ms {
                return Err(Over("no ACK came after the snapshot".into()));
            }
        }
    }

    // ---- stream ----

    async fn stream(&self, from: Offset) -> Result<std::convert::Infallible, Over> {
        let mut sent = from;
        let mut turn = 0;
        loop {
            let step = self.persist()?.piece(sent, |first, rest| match self.socket.write(first) {
                Ok(n) if n == first.len() && !rest.is_empty() => match self.socket.write(rest) {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(n),
                    more => more.map(|more| n + more),
                },
                other => other,
            });
            match step {
                Piece::Nothing => {
                    turn = 0;
                    self.persist_mut()?.caught_up(self.slot, sent);
                    self.news.notified().await;
                }
                Piece::Ring(Ok(n)) => {
                    sent += n as u64;
                    turn += n;
                    self.persist_mut()?.sent(self.slot, sent);
                    self.count(n, Some(sent));
                    if turn >= TURN {
                        turn = 0;
                        tokio::task::yield_now().await;
                    }
                }
                Piece::Ring(Err(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.socket.writable().await?;
                }
                Piece::Ring(Err(error)) => return Err(error.into()),
                Piece::Older => sent = self.feed_from_log(sent).await?,
            }
        }
    }

    /// Feeds from the log until the ring holds what comes next.
    async fn feed_from_log(&self, sent: Offset) -> Result<Offset, Over> {
        let cursor = {
            let mut persist = self.persist_mut()?;
            persist.pin(self.slot, sent);
            let files = &persist.files;
            LogCursor::new(files.disk.clone(), files.paths.clone(), files.segments.clone(), sent)
        };
        let mut state = (cursor, Vec::with_capacity(PIECE));
        while state.0.at() < self.persist()?.ring.start() {
            let written = self.persist()?.sendable_from_log();
            let read = process::aside("log-reader", move || {
                let (mut cursor, mut bytes) = state;
                let read = cursor.next(written, &mut bytes);
                (cursor, bytes, read)
            });
            let read = read.await.ok_or_else(|| Over("reading the log ended early".into()))?;
            let (cursor, bytes, read) = read;
            if let Err(failure) = read {
                self.persist_mut()?.await_no_more();
                return Err(Over(failure.to_string()));
            }
            if bytes.is_empty() {
                self.news.notified().await;
            }
            self.send(&bytes).await?;
            self.persist_mut()?.pin(self.slot, cursor.at());
            self.count(0, Some(cursor.at()));
            state = (cursor, bytes);
        }
        Ok(state.0.at())
    }

    /// Ring and log, until the server shuts down.
    fn persist(&self) -> Result<Ref<'_, Persist>, Over> {
        let open = self.driver.is_open().then(|| self.driver.persist());
        open.ok_or_else(|| Over("the server shuts down".into()))
    }

    fn persist_mut(&self) -> Result<RefMut<'_, Persist>, Over> {
        let open = self.driver.is_open().then(|| self.driver.persist_mut());
        open.ok_or_else(|| Over("the server shuts down".into()))
    }

    /// A replica that takes nothing for `repl-timeout` is given up: others wait for the same snapshot.
    async fn send(&self, mut bytes: &[u8]) -> Result<(), Over> {
        let patience = self.driver.node.borrow().config().settings.repl_timeout;
        let limit = Duration::from_secs(patience.into());
        while !bytes.is_empty() {
            match self.socket.write(bytes) {
                Ok(n) => {
                    self.count(n, None);
                    bytes = &bytes[n..];
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let writable = tokio::time::timeout(limit, self.socket.writable()).await;
                    writable.map_err(|_| {
                        Over(format!("it took no byte for {patience} seconds (repl-timeout)"))
                    })??;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// So many bytes have gone; with them, the stream up to `sent`.
    fn count(&self, bytes: usize, sent: Option<Offset>) {
        let mut node = self.driver.node.borrow_mut();
        node.server.stats.net_repl_output_bytes += bytes as u64;
        let now = node.now_ms();
        let replica =
            node.server.sessions.get_mut(self.slot).and_then(|session| session.replica.as_deref_mut());
        let Some(replica) = replica else { return };
        if bytes > 0 {
            replica.took_ms = now;
        }
        if let Some(sent) = sent {
            replica.sent = Some(sent);
        }
    }
}

/// What the ring gave.
pub enum Piece {
    /// Everything that may be sent has been.
    Nothing,
    /// What the writer said.
    Ring(io::Result<usize>),
    /// The ring no longer holds it.
    Older,
}

/// Ends what lasts too long or keeps too much: the wait for replicas that a restart cut off, and the feeds of those for
/// which more is kept than is allowed, also while their sockets take nothing. To be done on each tick.
pub fn tend(driver: &Rc<Driver>) {
    if let Some(mut persist) = driver.try_persist() {
        let node = driver.node.borrow();
        let settings = &node.config().settings;
        let patience_ms = i64::from(settings.repl_timeout) * 1000;
        persist.tend_awaited(clock::now_ms(), patience_ms, settings.repl_pin_max_bytes);
    }
    limit_pins(driver);
    limit_outputs(driver);
}

/// `repl-pin-max-bytes`.
fn limit_pins(driver: &Rc<Driver>) {
    let too_far: Vec<(Slot, u64)> = {
        let node = driver.node.borrow();
        let most = node.config().settings.repl_pin_max_bytes;
        let Some(persist) = driver.try_persist().filter(|_| most > 0) else { return };
        let end = persist.cut().offset;
        let behind = |(slot, at): (Slot, Offset)| {
            let replica = node.server.sessions.get(slot).and_then(|session| session.replica.as_deref());
            (slot, end.since(replica.and_then(|replica| replica.sent).unwrap_or(at).max(at)))
        };
        persist.pinned().map(behind).filter(|(_, behind)| *behind > most).collect()
    };
    for (slot, behind) in too_far {
        warning!("A replica is given up: {behind} bytes are kept for it, more than repl-pin-max-bytes");
        driver.close(slot);
    }
}

/// `client-output-buffer-limit replica`. As in Redis the hard limit is never below `repl-backlog-size`: who goes on by a
/// partial resync would be closed at once.
fn limit_outputs(driver: &Rc<Driver>) {
    let Some(end) = driver.try_persist().map(|persist| persist.cut().offset) else { return };
    let too_long: Vec<(Slot, String)> = {
        let mut node = driver.node.borrow_mut();
        let settings = &node.config().settings;
        let mut limit = settings.client_output_buffer_limit.replica;
        if limit.hard == 0 && limit.soft == 0 {
            return;
        }
        if limit.hard > 0 {
            limit.hard = limit.hard.max(settings.repl_backlog_size);
        }
        let now_ms = clock::now_ms();
        let slots: Vec<Slot> = node.server.replicas().iter().map(|(slot, ..)| *slot).collect();
        let passed = |slot: Slot| {
            let session = node.server.sessions.get_mut(slot)?;
            let sent = session.replica.as_deref().and_then(|replica| replica.sent);
            let unsent = sent.map_or(0, |sent| end.since(sent));
            let passed = limit.is_passed(unsent, &mut session.over_soft_since_ms, now_ms);
            passed.then(|| (slot, row(session)))
        };
        slots.into_iter().filter_map(passed).collect()
    };
    for (slot, client) in too_long {
        warning!("Client {client} closed for overcoming of output buffer limits.");
        driver.close(slot);
    }
}

/// Logs why a replica gets a snapshot or goes on.
pub fn log_verdict(name: &str, verdict: &crate::repl::verdict::Verdict) {
    use crate::repl::verdict::Verdict;
    match verdict {
        Verdict::Continue(from) => {
            notice!("Partial resynchronization request from {name} accepted: it goes on at offset {from}.");
        }
        Verdict::Full(why) => notice!("Full resync for replica {name}: {why}."),
        Verdict::Refuse(why) => warning!("Replica {name} refused: {why}"),
    }
}
