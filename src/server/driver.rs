//! One batch, from a client's bytes to everything they set in motion.
//!
//! ```text
//! feed ─► node.handle_input ─► settle:
//!           1. stream bytes: memcpy into the ring, hand the same bytes to the log      (before any reply leaves)
//!           2. large garbage to the freeing thread
//!           3. wake sessions that have output now
//!           4. do what the node asks for (actions)
//! when all connections that were ready have had their turn, with `appendfsync always`:
//!           5. wake the log's thread for what was handed to it                        (one fsync for all of them)
//! ```
//!
//! The driver is borrowed by tasks of one thread; no borrow lives across an await. The log thread reports progress
//! through [`Driver::log_moved`]; replies held for it leave then.
//!
//! Back pressure (rule 6): while the log has not yet written so many bytes that the next batch could overwrite
//! them in the ring, clients are not read from; they are woken when the log moves. Unless the log *cannot* be written
//! (a full disk): then the node knows and refuses every command that would append, so that clients are read from and
//! served, and no batch makes stream bytes (P7).

use std::cell::{Cell, OnceCell, Ref, RefCell, RefMut};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::task::{Context, Waker};

use tokio::sync::Notify;
use tokio::task::AbortHandle;

use super::actions::{Purpose, Running, Where};
use super::clock::{self, ServerClock};
use super::garbage::Bin;
use super::listener::Listeners;
use super::logging::{self, verbose, warning};
use super::persist::{LogStatus, Persist};
use super::recovery::LoadProgress;
use super::socket::Socket;
use crate::commands::client::describe;
use crate::config::{LogLevel, Settings};
use crate::engine::{Action, Input, Node};
use crate::state::{Session, Slot};

/// Output that may wait for a client that has not authenticated.
const OUTPUT_KEPT_UNAUTHENTICATED: u64 = 1024;
/// Unparsed input of a client that does not run (blocked, paused) before it is no longer read.
pub const INPUT_KEPT: usize = 64 * 1024;

/// How other tasks reach a connection's task.
#[derive(Default)]
pub struct Wake {
    woken: Cell<bool>,
    closed: Cell<bool>,
    waker: RefCell<Option<Waker>>,
    socket: OnceCell<Rc<Socket>>,
}

impl Wake {
    /// `true` once for all calls of [`Wake::wake`] since the last time; leaves a waker for the next.
    pub fn take(&self, cx: &mut Context<'_>) -> bool {
        let mut waker = self.waker.borrow_mut();
        if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        self.woken.replace(false)
    }

    pub fn wake(&self) {
        self.woken.set(true);
        if let Some(waker) = &*self.waker.borrow() {
            waker.wake_by_ref();
        }
    }

    pub fn close(&self) {
        self.closed.set(true);
        self.wake();
    }

    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// The connection's socket, for a feed to write to.
    pub fn set_socket(&self, socket: Rc<Socket>) {
        let _set_once = self.socket.set(socket);
    }
}

/// Who sits in a place, and how to reach that connection's task.
struct Client {
    slot: Slot,
    wake: Rc<Wake>,
}

/// A replica's feed.
struct Feeding {
    slot: Slot,
    /// Told of new stream bytes, of something durable, of an ACK.
    news: Rc<Notify>,
    task: AbortHandle,
}

pub struct Driver {
    pub node: RefCell<Node>,
    /// `None` while the dataset is being loaded: nothing enters the stream then.
    persist: RefCell<Option<Persist>>,
    /// By place; a slot whose client has gone finds nothing.
    wakes: RefCell<Vec<Option<Client>>>,
    /// Connections that wait for the log to catch up (rule 6), or while a shutdown saves.
    stalled: RefCell<Vec<Slot>>,
    /// Set when the process should end; the code to end with.
    pub exit: Cell<Option<i32>>,
    pub exiting: Notify,
    /// When the node wants [`Node::handle_deadlines`], in Unix milliseconds; a change is announced.
    pub deadline: Cell<Option<i64>>,
    pub deadline_moved: Notify,
    /// The log is to be told of new bytes at the end of the turn.
    log_untold: Notify,
    garbage: Bin,
    running: RefCell<Option<Running>>,
    listening: RefCell<Listeners>,
    loading: RefCell<Option<std::sync::Arc<LoadProgress>>>,
    /// Feeds of replicas, to be told of news.
    feeds: RefCell<Vec<Feeding>>,
    /// The link to our primary, if we are a replica.
    pub following: RefCell<super::upstream::Following>,
    /// Held while the history gets another name.
    pub naming: tokio::sync::Mutex<()>,
    /// Held while a change of settings is carried out.
    pub setting: tokio::sync::Mutex<()>,
    /// Held while the configuration file is being written.
    pub rewriting_config: tokio::sync::Mutex<()>,
    /// Replicas that wait for a snapshot.
    pub waiting: RefCell<super::full_sync::Waiting>,
    /// A shutdown saves: clients wait.
    deaf: Cell<bool>,
    /// A resize of the ring is under way.
    pub resizing: Cell<bool>,
    /// Waits for a snapshot job to end.
    pub shutdown: Cell<Option<super::shutdown::Plan>>,
}

impl Driver {
    pub fn new(node: Node) -> Rc<Driver> {
        Rc::new(Driver {
            node: RefCell::new(node),
            persist: RefCell::new(None),
            wakes: RefCell::new(Vec::new()),
            stalled: RefCell::new(Vec::new()),
            exit: Cell::new(None),
            exiting: Notify::new(),
            deadline: Cell::new(None),
            deadline_moved: Notify::new(),
            log_untold: Notify::new(),
            garbage: Bin::start(),
            running: RefCell::new(None),
            naming: tokio::sync::Mutex::new(()),
            setting: tokio::sync::Mutex::new(()),
            rewriting_config: tokio::sync::Mutex::new(()),
            listening: RefCell::new(Listeners::default()),
            loading: RefCell::new(None),
            feeds: RefCell::new(Vec::new()),
            following: RefCell::default(),
            waiting: RefCell::default(),
            deaf: Cell::new(false),
            resizing: Cell::new(false),
            shutdown: Cell::new(None),
        })
    }

    // ---- connections ----

    /// Registers a client; `Err` holds the bytes to send before closing.
    pub fn connect(
        &self,
        addr: String,
        laddr: String,
        unix_socket: bool,
        fd: i32,
    ) -> Result<(Slot, Rc<Wake>), Vec<u8>> {
        let mut node = self.node.borrow_mut();
        let now = clock::now_ms();
        let id = node.server.sessions.next_id();
        let mut session = Session::new(id, addr, laddr, now);
        session.unix_socket = unix_socket;
        session.fd = fd;
        match node.handle_connect(session, now) {
            Ok(slot) => {
                if let Some(session) = node.server.sessions.get(slot) {
                    verbose!("Accepted {}", session.addr);
                }
                let wake = Rc::new(Wake::default());
                let mut wakes = self.wakes.borrow_mut();
                if wakes.len() <= slot.place() {
                    wakes.resize_with(slot.place() + 1, || None);
                }
                wakes[slot.place()] = Some(Client { slot, wake: Rc::clone(&wake) });
                Ok((slot, wake))
            }
            Err(error) => Err(format!("-{error}\r\n").into_bytes()),
        }
    }

    pub fn disconnect(self: &Rc<Self>, slot: Slot) {
        if logging::is_logged(LogLevel::Verbose) {
            let node = self.node.borrow();
            if let Some(session) = node.server.sessions.get(slot) {
                verbose!("Client closed connection {}", row(session));
            }
        }
        self.with_node(|node| node.handle_disconnect(slot));
        self.end_feed(slot);
        if let Some(wake) = self.wakes.borrow_mut().get_mut(slot.place()) {
            *wake = None;
        }
    }

    /// Executes what `input` holds; returns how many bytes are missing for the next command, 0 if the client does
    /// not run now, however many came.
    pub fn feed(self: &Rc<Self>, slot: Slot, input: &mut Input) -> usize {
        if self.deaf.get() {
            self.stalled.borrow_mut().push(slot);
            return 0;
        }
        let behind = |persist: &Persist| persist.is_behind(input.len() as u64).then(|| persist.log_is_well());
        match self.persist.borrow().as_ref().and_then(behind) {
            None => {}
            Some(true) => {
                self.stalled.borrow_mut().push(slot);
                return 0;
            }
            Some(false) => self.tell_log_status(), // before this batch, not whenever the news arrives
        }
        let need = {
            let mut node = self.node.borrow_mut();
            node.server.process.used_memory = super::alloc::used();
            node.handle_input(slot, input, &mut ServerClock)
        };
        self.settle();
        need
    }

    pub fn count_input(&self, slot: Slot, bytes: usize) {
        let mut node = self.node.borrow_mut();
        node.server.stats.reads += 1;
        node.server.stats.net_input_bytes += bytes as u64;
        if let Some(session) = node.server.sessions.get_mut(slot) {
            session.bytes_in += bytes as u64;
        }
    }

    /// The client has sent nothing for so long that its input buffer is given back.
    pub fn is_idle(&self, slot: Slot) -> bool {
        self.node.borrow().is_idle(slot)
    }

    /// client-query-buffer-limit.
    pub fn query_too_long(&self, slot: Slot, bytes: usize) -> bool {
        let node = self.node.borrow();
        let limit = node.config().settings.client_query_buffer_limit;
        let too_long = bytes as u64 > limit;
        if too_long && let Some(session) = node.server.sessions.get(slot) {
            warning!(
                "Closing client {} ({}) that reached max query buffer length ({bytes} > {limit})",
                session.id.0,
                session.addr
            );
        }
        too_long
    }

    /// client-output-buffer-limit; `left` bytes wait for the socket, more may wait in the session. A client that has
    /// not said who it is gets next to nothing kept for it.
    pub fn output_too_long(&self, slot: Slot, left: usize) -> bool {
        let mut node = self.node.borrow_mut();
        let limits = node.config().settings.client_output_buffer_limit;
        let Some(session) = node.server.sessions.get_mut(slot) else { return true };
        let limit = if session.subscriptions() > 0 { limits.pubsub } else { limits.normal };
        let bytes = (left + session.out.len()) as u64;
        session.output_buffer = bytes as usize;
        if !session.authenticated && bytes > OUTPUT_KEPT_UNAUTHENTICATED {
            warning!(
                "Client {} closed: it is not authenticated and does not read its replies.",
                session.addr
            );
            return true;
        }
        if session.downstream().is_some() {
            return false; // its output is the stream: see `feed`
        }
        let too_long = limit.is_passed(bytes, &mut session.over_soft_since_ms, clock::now_ms());
        if too_long {
            warning!("Client {} closed for overcoming of output buffer limits.", row(session));
        }
        too_long
    }

    /// Moves a client's releasable output to `into`; `true`: close when it is written.
    pub fn output(&self, slot: Slot, into: &mut Vec<u8>) -> bool {
        self.node.borrow_mut().poll_output(slot, into)
    }

    // ---- batches ----

    /// Lets `change` act on the node, then settles what follows.
    pub fn with_node<R>(self: &Rc<Self>, change: impl FnOnce(&mut Node) -> R) -> R {
        let result = change(&mut self.node.borrow_mut());
        self.settle();
        result
    }

    /// Everything that must happen after the node did something.
    pub fn settle(self: &Rc<Self>) {
        loop {
            let actions = {
                let mut node = self.node.borrow_mut();
                if let Some(persist) = &mut *self.persist.borrow_mut()
                    && persist.take_stream(&mut node)
                {
                    self.tell_feeds();
                    if persist.is_unannounced() {
                        self.log_untold.notify_one();
                    }
                }
                if !node.store.changes.garbage.is_empty() {
                    self.garbage.throw(std::mem::take(&mut node.store.changes.garbage));
                }
                for remark in std::mem::take(&mut node.server.remarks) {
                    warning!("{remark}");
                }
                while let Some(slot) = node.poll_woken() {
                    self.wake(slot);
                }
                let mut actions = Vec::new();
                while let Some(action) = node.poll_action() {
                    actions.push(action);
                }
                actions
            };
            if actions.is_empty() {
                let deadline = self.node.borrow().next_deadline();
                if self.deadline.replace(deadline) != deadline {
                    self.deadline_moved.notify_one();
                }
                return;
            }
            for action in actions {
                self.act(action);
            }
        }
    }

    /// Tells the log at the end of turns, for ever: woken by the first batch, it stands behind all tasks that were ready then.
    pub async fn tell_log(self: Rc<Self>) {
        loop {
            self.log_untold.notified().await;
            if let Some(persist) = &mut *self.persist.borrow_mut() {
                persist.announce();
            }
        }
    }

    fn act(self: &Rc<Self>, action: Action) {
        match action {
            Action::Close(slot) => self.close(slot),
            Action::Follow { slot, verdict, old } => super::full_sync::follow(self, slot, verdict, old),
            Action::HandOver(host, port) => super::upstream::follow(self, host, port, true),
            Action::TakeBack => super::upstream::take_back(self),
            Action::TakeOver(slot, asked) => super::upstream::take_over(self, slot, asked),
            Action::LeaveNow => super::shutdown::replicas_done(self),
            Action::Loaded(slot) => self.tell_feed(slot),
            Action::Late(slot) => {
                warning!("Disconnecting a replica that was silent for longer than repl-timeout");
                self.close(slot);
            }
            Action::Suspicious(slot) => {
                warning!(
                    "Possible SECURITY ATTACK detected. It looks like somebody is sending POST or Host: commands to \
                     this server. Connection aborted."
                );
                self.close(slot);
            }
            Action::Command(slot, request) => super::actions::command(self, slot, request),
            Action::AutoSave => super::actions::auto_save(self, Where::Configured),
            Action::AutoBase => super::actions::auto_save(self, Where::InPlace),
            Action::AutoRewrite => super::actions::auto_rewrite(self),
            Action::ConfigChanged(slot, change) => super::settings::changed(self, slot, change),
        }
    }

    // ---- replicas ----

    pub fn socket_of(&self, slot: Slot) -> Option<Rc<Socket>> {
        self.wake_of(slot)?.socket.get().cloned()
    }

    pub fn add_feed(&self, slot: Slot, news: Rc<Notify>, task: AbortHandle) {
        self.feeds.borrow_mut().push(Feeding { slot, news, task });
    }

    /// The replica has gone: its socket is shared with the feed, which must not keep it open.
    fn end_feed(&self, slot: Slot) {
        let feeds = &mut *self.feeds.borrow_mut();
        let Some(at) = feeds.iter().position(|feed| feed.slot == slot) else { return };
        feeds.remove(at).task.abort();
        if let Some(persist) = &mut *self.persist.borrow_mut() {
            persist.unpin(slot);
        }
        super::full_sync::replica_left(self);
    }

    /// Cuts off all replicas: they come back and ask again.
    pub fn drop_followers(&self) {
        let slots: Vec<Slot> = {
            let node = self.node.borrow();
            node.server.replicas().iter().map(|(slot, ..)| *slot).collect()
        };
        slots.into_iter().for_each(|slot| self.close(slot));
    }

    fn tell_feed(&self, slot: Slot) {
        let feeds = self.feeds.borrow();
        feeds.iter().filter(|feed| feed.slot == slot).for_each(|feed| feed.news.notify_one());
    }

    fn tell_feeds(&self) {
        self.feeds.borrow().iter().for_each(|feed| feed.news.notify_one());
    }

    pub fn wake(&self, slot: Slot) {
        if let Some(wake) = self.wake_of(slot) {
            wake.wake();
        }
    }

    pub fn close(&self, slot: Slot) {
        match self.wake_of(slot) {
            Some(wake) => wake.close(),
            None => super::upstream::close_if_ours(self, slot),
        }
    }

    fn wake_of(&self, slot: Slot) -> Option<Rc<Wake>> {
        let wakes = self.wakes.borrow();
        let client = wakes.get(slot.place())?.as_ref()?;
        (client.slot == slot).then(|| Rc::clone(&client.wake))
    }

    /// The log has written or fsynced more, or has failed.
    pub fn log_moved(self: &Rc<Self>) {
        if let Some(persist) = &mut *self.persist.borrow_mut() {
            persist.catch_up();
        }
        self.tell_log_status();
        self.settle();
        self.tell_feeds();
        super::upstream::log_moved(self);
        self.wake_stalled();
    }

    /// What the disk refused is tried again.
    pub fn try_again(self: &Rc<Self>) {
        let tried = self.persist.borrow_mut().as_mut().is_some_and(Persist::try_again);
        if tried {
            self.log_moved();
        }
    }

    fn tell_log_status(&self) {
        let Some(status) = self.persist.borrow().as_ref().map(Persist::log_status) else { return };
        let mut node = self.node.borrow_mut();
        let persistence = &node.server.persistence;
        let (failed_before, latched_before) = (persistence.failed.is_some(), persistence.latched);
        match status {
            LogStatus::At { written, durable } => node.handle_log(written, durable, None),
            LogStatus::Healing { written, durable, why } => node.handle_log(written, durable, Some(why)),
            LogStatus::Failed(why) => node.handle_log_failure(why),
        }
        let latched = node.server.persistence.latched;
        match (&node.server.persistence.failed, failed_before) {
            (Some(why), _) if latched && !latched_before => {
                warning!(
                    "Errors writing to the AOF file: {why}. Writes are refused until a new base and segment replace it"
                );
                if let Some(persist) = &*self.persist.borrow() {
                    persist.seal_log();
                }
            }
            (Some(why), false) => {
                warning!("Errors writing to the AOF file: {why}. Writes are refused until it can be written")
            }
            (None, true) => warning!("AOF write error looks solved, Ringhold can write again."),
            _ => {}
        }
    }

    /// Shows in INFO how far loading is.
    pub fn follow_load(&self, progress: std::sync::Arc<LoadProgress>) {
        *self.loading.borrow_mut() = Some(progress);
    }

    /// Recovery is done: from here on writes have somewhere to go. What was recovered, the log may still have to write and sync.
    pub fn open(&self, mut persist: Persist) {
        persist.serves = true;
        if let LogStatus::At { written, durable } = persist.log_status() {
            let history = &mut self.node.borrow_mut().server.history;
            (history.written, history.durable) = (written, durable);
        }
        *self.persist.borrow_mut() = Some(persist);
    }

    /// Takes ring and log out of service.
    pub fn close_persist(&self) -> Persist {
        self.persist.borrow_mut().take().expect("refused while loading")
    }

    pub fn is_open(&self) -> bool {
        self.persist.borrow().is_some()
    }

    /// Ring and log. Only for what happens after loading.
    pub fn persist(&self) -> Ref<'_, Persist> {
        Ref::map(self.persist.borrow(), |persist| persist.as_ref().expect("refused while loading"))
    }

    /// The same, if there is any.
    pub fn try_persist(&self) -> Option<RefMut<'_, Persist>> {
        RefMut::filter_map(self.persist.borrow_mut(), Option::as_mut).ok()
    }

    pub fn persist_mut(&self) -> RefMut<'_, Persist> {
        RefMut::map(self.persist.borrow_mut(), |persist| persist.as_mut().expect("refused while loading"))
    }

    // ---- background work ----

    /// What the snapshot job that runs is for.
    pub fn running(&self) -> Option<Purpose> {
        self.running.borrow().as_ref().map(|running| running.purpose)
    }

    pub fn job_progress(&self) -> Option<std::sync::Arc<super::snapshots::Progress>> {
        self.running.borrow().as_ref().map(|running| running.progress.clone())
    }

    pub fn set_running(&self, running: Option<Running>) {
        *self.running.borrow_mut() = running;
    }

    pub fn take_running(&self) -> Option<Running> {
        self.running.borrow_mut().take()
    }

    /// Brings figures of background work that INFO shows up to date.
    pub fn note_progress(&self, node: &mut Node) {
        if let Some(running) = &*self.running.borrow() {
            let done = running.progress.keys.load(Ordering::Relaxed);
            let persistence = &mut node.server.persistence;
            persistence.save_keys_done = done;
            persistence.cow_size = super::alloc::used().saturating_sub(running.used_at_start);
            persistence.cow_peak = persistence.cow_peak.max(persistence.cow_size);
        }
        if let (Some(progress), Some(loading)) =
            (&*self.loading.borrow(), &mut node.server.persistence.loading)
        {
            loading.total_bytes = progress.total_bytes.load(Ordering::Relaxed);
            loading.loaded_bytes = progress.loaded_bytes.load(Ordering::Relaxed);
            loading.rdb_used_mem = progress.used_mem.load(Ordering::Relaxed);
        }
        if let Some(persist) = &*self.persist.borrow() {
            persist.describe_log(node);
        }
        node.server.stats.lazyfreed += self.garbage.take_freed();
        node.server.lazyfree_pending = self.garbage.pending();
    }

    /// CONFIG SET port or bind.
    pub fn rebind(self: &Rc<Self>, settings: &Settings, before: &Settings) -> Result<(), String> {
        let changed = self.listening.borrow_mut().change(settings, before);
        self.listening.borrow_mut().accept(self);
        changed?;
        self.node.borrow_mut().server.process.port = settings.port;
        Ok(())
    }

    /// Whether clients wait with what they send.
    pub fn read_no_clients(&self, deaf: bool) {
        self.deaf.set(deaf);
        if !deaf {
            self.wake_stalled();
        }
    }

    fn wake_stalled(&self) {
        for slot in std::mem::take(&mut *self.stalled.borrow_mut()) {
            self.wake(slot);
        }
    }

    /// A shutdown was asked for and has not failed.
    pub fn shutdown_is_on_its_way(&self) -> bool {
        let plan = self.shutdown.take();
        let on_its_way = plan.is_some();
        self.shutdown.set(plan);
        on_its_way || self.exit.get().is_some()
    }

    /// Accepts clients.
    pub fn listen_with(self: &Rc<Self>, mut listeners: Listeners) {
        listeners.accept(self);
        *self.listening.borrow_mut() = listeners;
    }

    /// Asks the runtime to end with this exit code.
    pub fn end_with(&self, code: i32) {
        self.exit.set(Some(code));
        self.exiting.notify_one();
    }
}

/// A client's line in CLIENT LIST.
pub(super) fn row(session: &Session) -> String {
    let mut text = Vec::new();
    describe(session, clock::now_ms(), 0, &mut text);
    String::from_utf8_lossy(&text).trim_end().to_string()
}
