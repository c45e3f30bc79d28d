//! Following a primary: REPLICAOF, the connection, and what its bytes do.
//!
//! ```text
//! REPLICAOF ─► connect ─► handshake ([`Link`]) ─► +CONTINUE ─► (new id: recorded, then in force, rule 1) ─► stream
//!                 ▲                            └► +FULLRESYNC ─► payload ([`adopt`]) ─► switch ─────────────► stream
//!                 └──── any failure: wait (0.1 s, twice as long each time up to 1 s, half more by chance) ◄───┘
//! REPLICAOF NO ONE ─► the link ends ─► new id recorded, then in force ─► writes are taken
//! ```
//!
//! The position after any failure is the last whole unit that was applied; nothing is given up before something
//! better is durable. While the log cannot take more, the stream is not read (rule 6).
//!
//! A link may end at any await. So what must not be left half done is not the link's: a change of name ([`rename`]) and a switch
//! to other data ([`adopt::take_over`]) are tasks of their own, one after the other.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::actions;
use super::adopt::{self, Incoming, Plan};
use super::clock::{self, ServerClock};
use super::driver::Driver;
use super::logging::{notice, warning};
use super::persist::{Cut, lock};
use super::process;
use super::socket::Socket;
use super::{pipe, reload, resize};
use crate::engine::follow::Follower;
use crate::engine::replicas::Psync;
use crate::error::ReplyError;
use crate::format::history::{Ancestor, Born, Cause, Role as Recorded};
use crate::format::rdb::REDIS_VERSION;
use crate::log::hands;
use crate::planted::{Bug, planted};
use crate::repl::lineage::Lineage;
use crate::repl::link::{Ask, Event, Hello, Link};
use crate::state::{LinkState, Slot};
use crate::units::{Offset, ReplId};

const READ: usize = 64 * 1024;
/// Between two attempts: the first of these after a link that was up for a while, then twice as long each time up to the
/// second, and up to half of it more.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_secs(1);
/// Between two looks at what must end first.
const POLL: Duration = Duration::from_millis(5);

/// The link as others reach it.
#[derive(Default)]
pub struct Following {
    task: Option<JoinHandle<()>>,
    /// Its client, while the stream flows.
    slot: Option<Slot>,
    /// Told of the log's progress.
    news: Rc<Notify>,
    /// Told when a client closes the present connection.
    closed: Rc<Notify>,
    /// The target of a FAILOVER has said no.
    rejected: bool,
}

/// Begins to follow, or follows another.
pub fn follow(driver: &Rc<Driver>, host: String, port: u16, by_order: bool) {
    let _followed = end_link(driver);
    driver.node.borrow_mut().will_follow(&host, port, by_order);
    // Replicas stay: until this link brings another name or other data, they are where they were.
    driver.settle();
    let task = tokio::task::spawn_local(keep_following(Rc::clone(driver), host, port));
    driver.following.borrow_mut().task = Some(task);
}

/// REPLICAOF NO ONE: another name from here on, and clients may write. The old name is kept with its end.
/// If that fails, all is as before. The link ends at once, the rest is the future's.
pub fn promote(driver: Rc<Driver>) -> impl Future<Output = Result<(), String>> {
    driver.node.borrow_mut().will_lead();
    let _followed = end_link(&driver);
    driver.settle();
    async move {
        let done = lead(&driver).await;
        let before = done.is_err().then(|| driver.node.borrow_mut().stay_replica()).flatten();
        if let Some((host, port)) = before.filter(|_| !driver.shutdown_is_on_its_way()) {
            follow(&driver, host, port, false);
        }
        driver.with_node(|node| node.handle_deadlines(&mut ServerClock));
        done
    }
}

/// The new name, recorded and in force.
async fn lead(driver: &Rc<Driver>) -> Result<(), String> {
    let strayed = driver.node.borrow().server.strays.wrote;
    if strayed {
        let _alone = driver.naming.lock().await;
        free_hands(driver).await?;
        if driver.following.borrow().task.is_none() {
            // Rule 18. The server stands still for as long as a save takes: nothing may be acknowledged before.
            notice!("Clients have written on this replica: its data begin a history of their own");
            reload::new_history(driver, Recorded::Primary)?;
        }
    } else {
        if !planted(Bug::PromotionKept) {
            rename(driver, process::random_id(), None, Recorded::Primary).await?;
        }
    }
    if driver.following.borrow().task.is_some() {
        return Err("another REPLICAOF came meanwhile".into());
    }
    let end = driver.persist().cut().offset;
    driver.node.borrow_mut().lead();
    driver.settle();
    notice!("MASTER MODE enabled at offset {end}");
    Ok(())
}

/// FAILOVER failed after this server began to follow its target.
pub fn take_back(driver: &Rc<Driver>) {
    let promoted = promote(Rc::clone(driver));
    tokio::task::spawn_local(async move {
        if let Err(why) = promoted.await {
            warning!("Becoming a primary again after a failed FAILOVER: {why}");
        }
    });
}

/// PSYNC … FAILOVER: this replica takes over from its primary.
pub fn take_over(driver: &Rc<Driver>, slot: Slot, asked: Psync) {
    let driver = Rc::clone(driver);
    notice!("Failover request was accepted: becoming a primary");
    let promoted = promote(Rc::clone(&driver));
    tokio::task::spawn_local(async move {
        match promoted.await {
            Ok(()) => driver.with_node(|node| node.taken_over(slot, asked)),
            Err(why) => actions::reply(&driver, slot, Err(ReplyError::from(format!("ERR {why}")))),
        }
    });
}

/// Nothing comes from the primary any more. Whom this server followed until now.
pub fn end_link(driver: &Rc<Driver>) -> Option<(String, u16)> {
    let following = std::mem::take(&mut *driver.following.borrow_mut());
    following.task?.abort();
    if let Some(slot) = following.slot {
        driver.with_node(|node| node.handle_disconnect(slot));
    }
    let node = driver.node.borrow();
    node.server.upstream().map(|upstream| (upstream.host.clone(), upstream.port))
}

/// Another id from the end of the stream on: a primary's, with the earlier names that it tells, or that of a promotion. Once
/// begun it goes on to its end, also if the asker's task is aborted.
async fn rename(
    driver: &Rc<Driver>,
    replid: ReplId,
    told: Option<Vec<Ancestor>>,
    role: Recorded,
) -> Result<(), String> {
    let renamed = tokio::task::spawn_local(record_name(Rc::clone(driver), replid, told, role));
    renamed.await.map_err(|_| "recording the new id ended early".to_string())?
}

/// Rule 1: recorded durably, then in the ring and the log, then in force. No other name and no stream meanwhile. Replicas
/// are cut off with it, whatever became of the asker: they come back and learn the name.
async fn record_name(
    driver: Rc<Driver>,
    replid: ReplId,
    told: Option<Vec<Ancestor>>,
    role: Recorded,
) -> Result<(), String> {
    let _alone = driver.naming.lock().await;
    let at = driver.try_persist().ok_or("the server ends")?.cut().offset;
    let history = Arc::clone(&driver.persist().files.history);
    let recorded = process::aside("history", move || {
        let mut history = lock(&history);
        let recorded = history.update(|history| {
            match &told {
                Some(told) => history.go_on(replid, at, told),
                None => history.rename(replid, at, Cause::Promotion),
            }
            history.told = told.is_some();
            history.role = role;
        });
        recorded.map(|()| history.get().clone())
    });
    let recorded = recorded.await.ok_or("recording the new id ended early")?;
    let mut persist = driver.try_persist().ok_or("the server ends")?;
    persist.name_in_doubt = recorded.is_err();
    let recorded = recorded.map_err(|failure| failure.to_string())?;
    persist.rename_in_band(replid);
    let mut node = driver.node.borrow_mut();
    node.server.history.remember(&recorded);
    persist.describe(&mut node);
    drop((persist, node));
    driver.drop_followers();
    Ok(())
}

/// The name in force is what the file says, also after a change of it that failed half-way.
async fn confirm_name(driver: &Rc<Driver>) -> Result<(), String> {
    if !driver.persist().name_in_doubt {
        return Ok(());
    }
    let _alone = driver.naming.lock().await;
    let history = Arc::clone(&driver.persist().files.history);
    let saved = process::aside("history", move || lock(&history).save()).await;
    saved.ok_or("recording the id ended early")?.map_err(|failure| failure.to_string())?;
    driver.try_persist().ok_or("the server ends")?.name_in_doubt = false;
    Ok(())
}

async fn keep_following(driver: Rc<Driver>, host: String, port: u16) {
    let mut pause = FIRST_PAUSE;
    loop {
        if driver.is_open() {
            let began = Instant::now();
            let why = match attempt(&driver, &host, port).await {
                Err(why) => why,
                Ok(never) => match never {},
            };
            warning!("MASTER <-> REPLICA link: {why}");
            if lost(&driver, why) && began.elapsed() > PAUSE {
                pause = FIRST_PAUSE;
            }
            if driver.following.borrow().rejected {
                return driver
                    .with_node(|node| node.failover_failed("Failover target rejected psync request"));
            }
        }
        let spread = pause.mul_f64((process::random_u64() % 500) as f64 / 1000.0);
        tokio::time::sleep(pause + spread).await;
        pause = PAUSE.min(pause * 2);
    }
}

/// Whether the link was up.
fn lost(driver: &Rc<Driver>, why: String) -> bool {
    let slot = driver.following.borrow_mut().slot.take();
    driver.with_node(|node| {
        if let Some(slot) = slot {
            node.handle_disconnect(slot);
        }
        let now = node.now_ms();
        let Some(upstream) = node.server.upstream_mut() else { return false };
        let was_up = upstream.link == LinkState::Connected;
        if was_up {
            upstream.down_since_ms = now;
        }
        upstream.link = LinkState::Connect;
        upstream.loads = false;
        upstream.trouble = Some(why);
        was_up
    })
}

fn set_link(driver: &Driver, link: LinkState) {
    let mut node = driver.node.borrow_mut();
    let now = clock::now_ms();
    if let Some(upstream) = node.server.upstream_mut() {
        upstream.link = link;
        upstream.last_io_ms = now;
        if link == LinkState::Connected {
            (upstream.trouble, upstream.mandate, upstream.down_since_ms) = (None, None, 0);
        }
    }
}

/// One connection, from its beginning to its end.
async fn attempt(driver: &Rc<Driver>, host: &str, port: u16) -> Result<std::convert::Infallible, String> {
    notice!("Connecting to MASTER {host}:{port}");
    set_link(driver, LinkState::Connecting);
    let patience = Duration::from_secs(driver.node.borrow().config().settings.repl_timeout.into());
    let source = driver.node.borrow().config().settings.bind_source_addr.clone();
    let socket = match tokio::time::timeout(patience, connect(host, port, &source)).await {
        Ok(Ok(connected)) => connected,
        Ok(Err(error)) => {
            if error.kind() == io::ErrorKind::ConnectionRefused
                && let Some(upstream) = driver.node.borrow_mut().server.upstream_mut()
            {
                upstream.refused();
            }
            return Err(format!("connecting to {host}:{port}: {error}"));
        }
        Err(_) => return Err(format!("connecting to {host}:{port}: no answer within repl-timeout")),
    };
    socket.hurry(true);
    set_link(driver, LinkState::Handshake);
    drop(driver.naming.lock().await); // a name that an earlier link was given comes into force first
    let (hello, mine) = present(driver);
    let (news, closed) = (Rc::clone(&driver.following.borrow().news), Rc::<Notify>::default());
    driver.following.borrow_mut().closed = Rc::clone(&closed);
    let link = Link::new(hello, clock::now_ms());
    let connection = Connection {
        driver: Rc::clone(driver),
        socket,
        link,
        news,
        closed,
        host: host.into(),
        port,
        mine,
        theirs: None,
        incoming: None,
        follower: None,
        out: Vec::new(),
    };
    connection.run().await
}

/// To any address of `host`, from the address `source` where it names one that can be used, as Redis does.
async fn connect(host: &str, port: u16, source: &str) -> io::Result<Socket> {
    if hands::is_simulated() {
        return pipe::connect(host, port).await.map(Socket::Pipe);
    }
    connect_tcp(host, port, source).await.map(Socket::Tcp)
}

async fn connect_tcp(host: &str, port: u16, source: &str) -> io::Result<TcpStream> {
    let Ok(source) = source.parse::<IpAddr>() else { return TcpStream::connect((host, port)).await };
    let mut failure = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Err(error) = socket.bind(SocketAddr::new(source, 0)) {
            warning!("bind-source-addr {source} cannot be used to connect to {address}: {error}");
        }
        match socket.connect(address).await {
            Ok(connected) => return Ok(connected),
            Err(error) => failure = error,
        }
    }
    Err(failure)
}

/// How we present ourselves: the names of our history, and which of them we would go on under.
fn present(driver: &Driver) -> (Hello, Lineage) {
    let mut node = driver.node.borrow_mut();
    let patience_ms = i64::from(node.config().settings.repl_timeout) * 1000;
    let upstream = node.server.upstream_mut();
    let by_order = upstream.is_some_and(|upstream| upstream.is_ordered(clock::now_ms(), patience_ms));
    let settings = &node.config().settings;
    let end = node.stream.end;
    let history = &node.server.history;
    let mine = Lineage {
        replid: history.replid,
        end,
        told: history.past.told,
        past: history.past.lineage.clone(),
        operator: by_order,
        from_nothing: history.past.born.from_nothing(),
    };
    let secret = |secret: &crate::config::Secret| secret.get().map(|text| text.to_vec());
    let announced = settings.replica_announce_port;
    let hello = Hello {
        user: secret(&settings.masteruser),
        password: secret(&settings.masterauth),
        port: if announced != 0 { announced } else { settings.port },
        ip: (!settings.replica_announce_ip.is_empty()).then(|| settings.replica_announce_ip.clone()),
        version: REDIS_VERSION,
        lineage: Some(mine.encode()),
        ask: offer(&mine, None),
        failover: node.server.failover.is_some(),
        allow_sync: false,
        payload_only: false,
    };
    (hello, mine)
}

/// Which name to go on under (rule 20): of those under which our position is valid, one that the primary knows; to a
/// primary that tells nothing, the newest that any peer was ever told.
fn offer(mine: &Lineage, theirs: Option<&Lineage>) -> Ask {
    let at = mine.end;
    let begun = mine.past.first().map_or(Offset::ZERO, |past: &Ancestor| past.end);
    let valid = || {
        let past = mine.past.iter().filter(|past| past.end >= at).map(|past| (past.replid, past.told));
        [(mine.replid, mine.told || begun < at)].into_iter().chain(past)
    };
    let known = |id: ReplId| {
        theirs.is_some_and(|theirs| {
            theirs.replid == id && theirs.end >= at
                || theirs.past.iter().any(|past| past.replid == id && past.end >= at)
        })
    };
    let by_primary = valid().find(|(id, _)| known(*id));
    let by_peers = || valid().find(|(_, told)| *told);
    let shared = by_primary.or_else(by_peers).map(|(id, _)| id);
    // A beginning that nobody shares is nothing to go on from.
    Ask { replid: shared.or((at > Offset::ZERO).then_some(mine.replid)), at }
}

struct Connection {
    driver: Rc<Driver>,
    socket: Socket,
    link: Link,
    news: Rc<Notify>,
    closed: Rc<Notify>,
    host: String,
    port: u16,
    mine: Lineage,
    theirs: Option<Lineage>,
    incoming: Option<(Incoming, u64, Option<u64>)>,
    follower: Option<Follower>,
    out: Vec<u8>,
}

impl Connection {
    async fn run(mut self) -> Result<std::convert::Infallible, String> {
        let mut buf: Vec<u8> = Vec::with_capacity(READ);
        let mut pace = tokio::time::interval(Duration::from_secs(1));
        pace.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            self.send().await?;
            tokio::select! {
                biased;
                () = self.closed.notified() => return Err("the link was closed by a client".into()),
                _ = pace.tick() => self.each_second()?,
                read = self.socket.receive(&mut buf) => {
                    if read.map_err(|error| format!("reading from the primary: {error}"))? == 0 {
                        return Err("Connection with master lost.".into());
                    }
                }
            }
            self.count(buf.len());
            let mut input = buf.as_slice();
            loop {
                let now = clock::now_ms();
                match self.link.handle_input(&mut input, now) {
                    None => break,
                    Some(Event::Payload(bytes)) => {
                        let Some((incoming, read, total)) = &mut self.incoming else {
                            return Err("a payload without a cut".into());
                        };
                        incoming.push(&bytes).await?;
                        *read += bytes.len() as u64;
                        set_link(&self.driver, LinkState::Sync { total: *total, read: *read });
                    }
                    Some(Event::Stream(bytes)) => {
                        let bytes = bytes.to_vec();
                        self.apply(&bytes).await?;
                    }
                    Some(Event::Full { replid, cut }) => {
                        self.driver.with_node(|node| node.failover_done());
                        self.begin_full_sync(replid, cut)?;
                    }
                    Some(Event::PayloadSize(size)) => {
                        if let Some((_, _, total)) = &mut self.incoming {
                            *total = size;
                        }
                        set_link(&self.driver, LinkState::Sync { total: size, read: 0 });
                    }
                    Some(Event::PayloadDone) => self.take_over().await?,
                    Some(Event::Continue { replid }) => {
                        self.driver.with_node(|node| node.failover_done());
                        self.go_on(replid).await?;
                    }
                    Some(Event::Lineage(theirs)) => {
                        self.answered(&theirs)?;
                        self.link.set_ask(offer(&self.mine, Some(&theirs)));
                        self.theirs = Some(theirs);
                    }
                    Some(Event::Note(note)) => notice!("{note}"),
                    Some(Event::Sync { why }) => return Err(why),
                    Some(Event::Refused { why }) => {
                        self.note_rejection();
                        return Err(format!(
                            "Master is currently unable to PSYNC but should be in the future: {why}"
                        ));
                    }
                    Some(Event::Failed(why)) => {
                        self.note_rejection();
                        return Err(why);
                    }
                }
                self.send().await?;
            }
            buf.clear();
        }
    }

    /// Before anything is asked for.
    fn answered(&self, theirs: &Lineage) -> Result<(), String> {
        let knows = |id| theirs.replid == id || theirs.past.iter().any(|past| past.replid == id);
        let mut node = self.driver.node.borrow_mut();
        node.server.upstream_mut().map_or(Ok(()), |primary| primary.answered(theirs.replid, knows))?;
        Ok(())
    }

    fn note_rejection(&self) {
        let hands_over = self.driver.node.borrow().server.failover.is_some();
        self.driver.following.borrow_mut().rejected = hands_over;
    }

    async fn send(&mut self) -> Result<(), String> {
        self.link.poll_send(&mut self.out);
        if !self.out.is_empty() {
            let sent = self.socket.write_all(&self.out).await;
            self.out.clear();
            sent.map_err(|error| format!("writing to the primary: {error}"))?;
        }
        Ok(())
    }

    fn count(&self, bytes: usize) {
        let mut node = self.driver.node.borrow_mut();
        node.server.stats.net_repl_input_bytes += bytes as u64;
        let now = clock::now_ms();
        if bytes > 0
            && let Some(upstream) = node.server.upstream_mut()
        {
            upstream.last_io_ms = now;
        }
    }

    fn each_second(&mut self) -> Result<(), String> {
        let limit = {
            let node = self.driver.node.borrow();
            i64::from(node.config().settings.repl_timeout) * 1000
        };
        if let Some(why) = self.link.timed_out(clock::now_ms(), limit) {
            return Err(why.into());
        }
        self.ack();
        Ok(())
    }

    fn ack(&mut self) {
        let node = self.driver.node.borrow();
        let durable = node.server.persistence.log_is_in_force().then_some(node.server.history.durable);
        self.link.ack(node.stream.end, durable);
    }

    // ---- verdicts ----

    /// `+CONTINUE`: from our position on, perhaps under a new name, which is recorded before a byte comes under it.
    async fn go_on(&mut self, replid: Option<ReplId>) -> Result<(), String> {
        let cut = self.driver.persist().cut();
        let new = replid.filter(|replid| *replid != cut.replid);
        if let Some(replid) = new {
            let role = self.recorded();
            let theirs = self.theirs.take().filter(|theirs| theirs.replid == replid);
            rename(&self.driver, replid, Some(theirs.map(|theirs| theirs.past).unwrap_or_default()), role)
                .await?;
        } else {
            confirm_name(&self.driver).await?;
        }
        notice!(
            "MASTER <-> REPLICA sync: Master accepted a Partial Resynchronization at offset {}{}",
            cut.offset,
            new.map(|id| format!(", under the id {id}")).unwrap_or_default()
        );
        self.begin_stream(cut.db);
        Ok(())
    }

    fn recorded(&self) -> Recorded {
        Recorded::Replica { host: self.host.clone(), port: self.port }
    }

    fn begin_stream(&mut self, db: u32) {
        let addr = format!("{}:{}", self.host, self.port);
        let laddr = self.socket.local_address();
        let follower = Follower::new(&mut self.driver.node.borrow_mut(), db, addr, laddr);
        self.driver.following.borrow_mut().slot = Some(follower.slot());
        self.follower = Some(follower);
        set_link(&self.driver, LinkState::Connected);
        self.ack();
    }

    // ---- full sync ----

    fn begin_full_sync(&mut self, replid: ReplId, cut: Offset) -> Result<(), String> {
        notice!("Full resync from master: {replid}:{cut}");
        set_link(&self.driver, LinkState::Sync { total: None, read: 0 });
        let theirs = self.theirs.as_ref().filter(|theirs| theirs.replid == replid);
        let lineage = theirs.map(|theirs| theirs.past.clone()).unwrap_or_default();
        let begun = lineage.first().map_or(Offset::ZERO, |past| past.end.min(cut));
        let born = if theirs.is_some_and(|theirs| theirs.from_nothing) { Born::Copy } else { Born::Import };
        let plan = Plan {
            cut: Cut { replid, offset: cut, db: 0 },
            begun,
            born,
            lineage,
            role: self.recorded(),
            config: self.driver.node.borrow().config().clone(),
            files: self.driver.persist().files.clone(),
        };
        self.incoming = Some((Incoming::begin(plan)?, 0, None));
        Ok(())
    }

    /// The payload is complete: loaded, committed, served.
    async fn take_over(&mut self) -> Result<(), String> {
        let Some((incoming, ..)) = self.incoming.take() else { return Err("a payload without a cut".into()) };
        self.set_loads(true);
        let result = incoming.finish().await;
        let ready = self.keeping_alive(result).await.map_err(|_| "loading ended early".to_string())??;
        let driver = Rc::clone(&self.driver);
        let cut = self.keeping_alive(adopt::take_over(&driver, ready)).await?;
        self.set_loads(false);
        self.driver.node.borrow_mut().server.stats.full_syncs_received += 1;
        let durable = self.driver.node.borrow().server.persistence.aof_enabled.then_some(cut.offset);
        self.link.loaded(cut.offset, durable, clock::now_ms());
        self.begin_stream(cut.db);
        Ok(())
    }

    fn set_loads(&self, loads: bool) {
        if let Some(upstream) = self.driver.node.borrow_mut().server.upstream_mut() {
            upstream.loads = loads;
        }
    }

    /// The primary is told that we live while something takes its time. That it is gone ends nothing: what has arrived is
    /// whole, and the next primary can go on from it.
    async fn keeping_alive<T>(&mut self, work: impl Future<Output = T>) -> T {
        tokio::pin!(work);
        let mut heard = true;
        loop {
            tokio::select! {
                biased;
                done = &mut work => return done,
                () = tokio::time::sleep(Duration::from_secs(1)), if heard => {
                    self.link.keep_alive();
                    heard = self.send().await.is_ok();
                }
            }
        }
    }

    // ---- stream ----

    async fn apply(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min(READ / 4));
            self.wait_for_log(now.len() as u64).await;
            let Some(follower) = &mut self.follower else { return Err("a stream without a position".into()) };
            let fed = self.driver.with_node(|node| follower.feed(node, now, &mut ServerClock));
            let fed = fed.map_err(|stopped| stopped.to_string())?;
            if fed.ack_wanted {
                self.ack();
                self.send().await?;
            }
            bytes = later;
        }
        Ok(())
    }

    /// Rule 6, and P7: nothing is applied that the log cannot take.
    async fn wait_for_log(&self, bytes: u64) {
        loop {
            let failed = self.driver.node.borrow().server.persistence.failed.is_some();
            if !failed && !self.driver.persist().is_behind(bytes) {
                return;
            }
            let _or_a_second = tokio::time::timeout(PAUSE, self.news.notified()).await;
        }
    }
}

/// Until nothing else changes files: a snapshot of the old data is cancelled, as it would be needless.
pub async fn free_hands(driver: &Driver) -> Result<(), String> {
    loop {
        if driver.shutdown_is_on_its_way() {
            return Err("the server ends".into());
        }
        let runs = actions::give_up(driver, "Other data come: the snapshot of those held now is given up");
        if !runs && resize::check(driver).is_ok() {
            return Ok(());
        }
        tokio::time::sleep(POLL).await;
    }
}

/// The link's client is to be closed (CLIENT KILL).
pub fn close_if_ours(driver: &Driver, slot: Slot) {
    let following = driver.following.borrow();
    if following.slot == Some(slot) {
        following.closed.notify_one();
    }
}

/// The log has moved.
pub fn log_moved(driver: &Driver) {
    driver.following.borrow().news.notify_one();
}
