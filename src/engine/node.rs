//! The node itself: what it holds, how it is fed, what it gives back.
//!
//! `now` never goes back within a process (rule 31): the largest time ever shown is the time.

use std::collections::{BTreeMap, VecDeque};

use super::afterwork::Afterwork;
use super::blocking::Queues;
use super::input::Input;
use super::replicas::{Psync, STOOD_STILL_MS, Silence};
use super::stream::{Stream, UnitEnd};
use crate::commands::renames::Renames;
use crate::commands::{BlockCause, Request};
use crate::config::{AppendFsync, Change, Config, SetContext};
use crate::error::ReplyError;
use crate::planted::{Bug, planted};
use crate::repl::verdict::Verdict;
use crate::resp::reply::Reply;
use crate::state::session::{ReplyMode, Slot};
use crate::state::watch::Waiters;
use crate::state::{Server, Session, Strays};
use crate::store::{Expiry, Garbage, Limits, Snapshot, Store};
use crate::units::Offset;

/// The time, as the caller sees it. Read once per command; never by the data itself.
pub trait Clock {
    /// Microseconds since 1970.
    fn unix_micros(&mut self) -> i64;

    /// Lets so much time pass with the data standing still (DEBUG SLEEP).
    fn sleep(&mut self, micros: u64);
}

/// How long replies wait for a full disk, in milliseconds.
const HEALING_PATIENCE_MS: i64 = 1000;

/// What CONFIG SET makes of a smaller `repl-backlog-size`, as in Redis.
const LEAST_BACKLOG: u64 = 16 * 1024;

/// A clock that stands still, unless somebody sleeps.
impl Clock for i64 {
    fn unix_micros(&mut self) -> i64 {
        *self
    }
    fn sleep(&mut self, micros: u64) {
        *self += micros as i64;
    }
}

/// Work for the driver.
#[derive(Debug)]
pub enum Action {
    /// A client's command that needs the outside; answer with [`Node::finish`].
    Command(Slot, Request),
    /// A save point is due, or a scheduled save may start now.
    AutoSave,
    /// The same, but it must be one that recovery finds, wherever CONFIG SET dir sends other saves (rule 26).
    AutoBase,
    /// The log has grown past the auto-rewrite rule, or a scheduled rewrite may start now.
    AutoRewrite,
    /// Settings were changed and are in force here; the driver acts on those that concern it. If it cannot, it
    /// takes the change back with [`Config::undo`]. The slot's client waits for the answer; [`Node::configured`] comes before
    /// it.
    ConfigChanged(Slot, Change),
    /// A client is a replica from here on; how the stream reaches it.
    Follow { slot: Slot, verdict: Verdict, old: bool },
    /// FAILOVER: follow this replica and ask it to take over.
    HandOver(String, u16),
    /// FAILOVER failed while this server followed the target already: be a primary again.
    TakeBack,
    /// PSYNC … FAILOVER: become a primary, then [`Node::taken_over`].
    TakeOver(Slot, Psync),
    /// A replica has the snapshot and waits for the stream.
    Loaded(Slot),
    /// A replica has been silent for longer than repl-timeout.
    Late(Slot),
    /// A shutdown need not wait for replicas any longer. Repeated until [`Node::stay`] or the end.
    LeaveNow,
    /// Close the connection: its output is lost.
    Close(Slot),
    /// The same, because it speaks HTTP: a possible cross-protocol attack, to be logged.
    Suspicious(Slot),
}

pub struct Node {
    pub store: Store,
    pub server: Server,
    pub stream: Stream,
    pub(super) waiters: Waiters,
    pub(super) actions: VecDeque<Action>,
    /// Sessions whose replies wait for `durable`, with what they wait for, oldest first.
    pub(super) held: VecDeque<(Offset, Slot)>,
    /// Microseconds: the latest time seen.
    pub(super) now_micros: i64,
    /// A primary that was started, or stood still, appends nothing of its own for now (rule 12).
    pub(super) silence: Option<Silence>,
    /// Who waits, by what ends the wait.
    pub(super) queues: Queues,
    /// Touched keys that somebody waits for.
    pub(super) ready_keys: Vec<(u32, Vec<u8>)>,
    pub(super) in_transaction: bool,
    /// What transactions asked of the driver.
    pub(super) afterwork: BTreeMap<Slot, Afterwork>,
    /// When a PING was last put into the stream, in Unix milliseconds.
    pub(super) pinged_ms: i64,
    pub(super) renames: Renames,
}

impl Node {
    /// A node over recovered data. `server.history` says where the stream stands.
    pub fn new(store: Store, server: Server, now_ms: i64) -> Node {
        let mut node = Node {
            stream: Stream::at(server.history.end),
            store,
            waiters: Waiters::default(),
            actions: VecDeque::new(),
            held: VecDeque::new(),
            now_micros: now_ms * 1000,
            silence: Some(Silence::of(&server, now_ms)),
            queues: Queues::default(),
            ready_keys: Vec::new(),
            in_transaction: false,
            afterwork: BTreeMap::new(),
            pinged_ms: now_ms,
            renames: Renames::new(&server.config.renamed).unwrap_or_default(), // a start refuses bad lines
            server,
        };
        node.settings_changed();
        node
    }

    /// Serves `store` from the end of the stream on, silently at first (rule 12).
    fn go_live(&mut self, store: Store, end: Offset, now_ms: i64) {
        let old = std::mem::replace(&mut self.store.dbs, store.dbs);
        let old = old.into_iter().map(|db| db.entries).filter(|entries| !entries.is_empty());
        self.store.changes.garbage.extend(old.map(Garbage::Keys));
        self.store.libraries = store.libraries;
        self.stream = Stream::at(end);
        let history = &mut self.server.history;
        (history.end, history.written, history.durable) = (end, end, end);
        self.server.strays = Strays::default();
        self.server.persistence.loading = None;
        self.server.persistence.last_save_time = now_ms / 1000;
        self.silence = Some(Silence::of(&self.server, now_ms));
    }

    /// Loading is over, or another dataset takes the place of this one (a full sync): watched keys count as touched, unless
    /// they held nothing and hold nothing.
    pub fn replace(&mut self, store: Store, end: Offset, now_ms: i64) {
        self.go_live(store, end, now_ms);
        self.break_all_watches();
    }

    /// The data are those of a snapshot from now on (DEBUG RELOAD).
    pub fn restore(&mut self, from: Snapshot) {
        self.store.restore(from);
        self.break_all_watches();
    }

    fn break_all_watches(&mut self) {
        let now = self.now_ms();
        for id in self.server.watchers.all() {
            let entry = self.store.dbs.get(id.0 as usize).and_then(|db| db.entries.get(&id.1));
            let is_live = entry.is_some_and(|entry| entry.expires() > now);
            self.server.break_watches(&id, is_live);
        }
    }

    pub fn config(&self) -> &Config {
        &self.server.config
    }

    /// Unix milliseconds.
    pub fn now_ms(&self) -> i64 {
        self.now_micros / 1000
    }

    /// Takes a time from outside; returns the node's, which never goes back.
    pub(super) fn see_time(&mut self, micros: i64) -> i64 {
        if (micros - self.now_micros) / 1000 >= STOOD_STILL_MS {
            self.stood_still(micros / 1000);
        }
        self.now_micros = self.now_micros.max(micros);
        self.now_micros
    }

    /// Brings everything derived from settings up to date.
    pub fn settings_changed(&mut self) {
        let plain = self.server.limits.list_plain_element;
        self.server.limits = Limits::from_settings(&self.server.config.settings);
        self.server.limits.list_plain_element = plain; // a DEBUG matter, not a setting
        self.store.changes.notify = self.server.config.settings.notify_keyspace_events;
    }

    /// CONFIG SET: checked and in force at once; the driver then acts on the change, or takes it back.
    pub fn config_set(&mut self, slot: Slot, pairs: &[(Vec<u8>, Vec<u8>)]) -> Result<Change, ReplyError> {
        let local = self.server.sessions.get(slot).is_some_and(Session::is_local);
        let context = SetContext { local, loading: self.server.persistence.loading.is_some() };
        let pairs: Vec<(&[u8], &[u8])> = pairs.iter().map(|(name, value)| (&**name, &**value)).collect();
        let mut change = self.server.config.set(&pairs, context)?;
        let settings = &mut self.server.config.settings;
        if change.names("repl-backlog-size") {
            settings.repl_backlog_size = settings.repl_backlog_size.max(LEAST_BACKLOG);
            change.came_to(settings);
        }
        self.settings_changed();
        self.server.configuring += 1;
        Ok(change)
    }

    /// A change of settings was carried out, or taken back. Who waited for that goes on with [`Node::handle_deadlines`].
    pub fn configured(&mut self) {
        self.server.configuring -= 1;
        self.server.pause_ended = true;
    }

    // ---- connections ----

    /// A new client. `Err` is what to tell it before closing.
    pub fn handle_connect(&mut self, mut session: Session, now_ms: i64) -> Result<Slot, ReplyError> {
        self.see_time(now_ms * 1000);
        self.server.stats.connections_received += 1;
        let settings = &self.server.config.settings;
        if self.server.sessions.len() >= settings.maxclients as usize {
            self.server.stats.connections_rejected += 1;
            return Err(ReplyError::new("ERR max number of clients reached"));
        }
        session.authenticated = settings.requirepass.get().is_none();
        Ok(self.server.sessions.add(session))
    }

    /// The connection is gone.
    pub fn handle_disconnect(&mut self, slot: Slot) {
        self.stop_waiting(slot);
        self.do_the_rest(slot);
        self.server.forget_client(&mut self.store.changes, slot);
        if self.server.sessions.get(slot).is_some_and(|session| session.downstream().is_some()) {
            self.server.followers -= 1;
            self.server.follower_left_ms = Some(self.now_ms());
        }
        self.server.sessions.remove(slot);
    }

    fn measure(&mut self, slot: Slot, input: &Input) {
        if let Some(session) = self.server.sessions.get_mut(slot) {
            session.query_len = input.len();
            session.query_buffer = input.heap_bytes();
        }
    }

    /// Executes what whole commands `input` holds, until the client blocks. Returns how many more bytes the next
    /// command needs at least (0: the client does not read now).
    pub fn handle_input(&mut self, slot: Slot, input: &mut Input, clock: &mut dyn Clock) -> usize {
        let started = self.see_time(clock.unix_micros());
        self.server.begin_batch(slot, started / 1000, input.len());
        self.measure(slot, input);
        let need = self.run_input(slot, input, clock);
        self.measure(slot, input);
        self.server.stats.turn(self.now_micros - started);
        if self.server.pause_ended {
            self.handle_deadlines(clock);
        }
        self.end_batch(slot);
        need
    }

    /// After a batch of one client: replies that must wait for the log are marked so.
    pub(super) fn end_batch(&mut self, slot: Slot) {
        if self.holds_replies() {
            self.hold(slot);
            for other in std::mem::take(&mut self.server.woken) {
                self.hold(other);
                self.server.woken.push(other);
            }
        }
    }

    /// Closes the open unit; `true` if it had any operation. From here on INFO tells its end, also to the next command of
    /// the same batch.
    pub(super) fn close_unit(&mut self) -> bool {
        let any = self.stream.close_unit();
        if any {
            self.server.history.end = self.stream.end;
        }
        any
    }

    /// Whether replies wait for fsyncs (rule 13).
    fn is_always(&self) -> bool {
        let always = self.server.config.settings.appendfsync == AppendFsync::Always;
        always && self.server.persistence.log_is_in_force()
    }

    /// The end of what replies produced now depend on: all data with `always`; otherwise only units that the ring
    /// could not hold, which are nowhere until the log has them (rule 8).
    fn awaited(&self) -> Offset {
        if self.is_always() { self.stream.data_end } else { self.stream.oversized_end }
    }

    /// How far the log covers what replies may depend on.
    fn covered(&self) -> Offset {
        if self.is_always() { self.server.history.durable } else { self.server.history.written }
    }

    /// Whether replies produced now must wait. While the log cannot be written only reads are answered; they do not
    /// (P7), those produced before do.
    fn holds_replies(&self) -> bool {
        self.server.persistence.failed.is_none() && self.covered() < self.awaited()
    }

    /// Units of this batch are with the log but, for the time being, not in the ring: its replies wait for the log.
    pub fn await_log(&mut self) {
        self.stream.oversized_end = self.stream.end;
        if self.holds_replies() {
            let woken = self.server.woken.clone();
            woken.into_iter().for_each(|slot| self.hold(slot));
        }
    }

    fn hold(&mut self, slot: Slot) {
        let need = self.awaited();
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        let upto = session.out.len();
        let held = session.holds.back().map_or(0, |hold| hold.upto);
        if upto > held {
            session.holds.push_back(crate::state::session::Hold { upto, need });
            self.held.push_back((need, slot));
        }
    }

    // ---- log ----

    /// The log proves so much under a mark, and has made so much durable.
    /// `healing`: why it cannot write more for now; writes are refused until it can (nothing is lost).
    pub fn handle_log(&mut self, written: Offset, durable: Offset, healing: Option<String>) {
        let persistence = &mut self.server.persistence;
        if healing.is_some() && persistence.failed.is_none() {
            persistence.failed_since_ms = self.now_micros / 1000;
        }
        (persistence.failed, persistence.latched) = (healing, false);
        self.server.history.written = written;
        self.server.history.durable = durable;
        let covered = self.covered();
        while self.held.front().is_some_and(|(need, _)| *need <= covered) {
            if let Some((_, slot)) = self.held.pop_front() {
                self.server.woken.push(slot);
            }
        }
        self.finish_waits_for_others();
    }

    /// Replies that wait for a durability that will not come are never sent: their clients are closed, which
    /// tells them that the write's fate is unknown (P7).
    pub fn handle_log_failure(&mut self, why: String) {
        self.server.persistence.failed = Some(why);
        self.server.persistence.latched = true;
        self.close_held();
    }

    /// A full disk may have space again any moment, or never. A client whose write found it full waits a second for its
    /// reply; then it is closed, for which it can tell that the write's fate is unknown.
    pub(super) fn give_up_waiting(&mut self) {
        let persistence = &self.server.persistence;
        let patience_is_over = self.now_ms() - persistence.failed_since_ms >= HEALING_PATIENCE_MS;
        if persistence.failed.is_some() && patience_is_over {
            self.close_held();
        }
    }

    fn close_held(&mut self) {
        for (_, slot) in std::mem::take(&mut self.held) {
            if self.server.sessions.get(slot).is_some_and(|session| !session.holds.is_empty()) {
                self.actions.push_back(Action::Close(slot));
            }
        }
    }

    // ---- outputs ----

    /// Bytes for the ring and the log: whole units, and places between units where the log may put a mark, the last
    /// one at their end.
    pub fn poll_stream(&self) -> Option<(&[u8], &[UnitEnd])> {
        let (bytes, cuts) = self.stream.pending();
        (!bytes.is_empty()).then_some((bytes, cuts))
    }

    /// The bytes of [`Node::poll_stream`] were taken over.
    pub fn stream_taken(&mut self) {
        self.stream.clear();
    }

    /// Moves the bytes that may leave now to the end of `into`. `true`: close after they are written.
    pub fn poll_output(&mut self, slot: Slot, into: &mut Vec<u8>) -> bool {
        if self.holds_replies() {
            // Whatever was written outside of a batch (a tick, a finished request) waits like the rest.
            self.hold(slot);
        }
        let covered = self.covered();
        let Some(session) = self.server.sessions.get_mut(slot) else { return true };
        let before = into.len();
        let mut ready = 0;
        while let Some(hold) = session.holds.front() {
            if hold.need > covered && !planted(Bug::EarlyReply) {
                break;
            }
            ready = hold.upto;
            session.holds.pop_front();
        }
        if !session.holds.is_empty() {
            into.extend(session.out.drain(..ready));
            session.holds.iter_mut().for_each(|hold| hold.upto -= ready);
        } else if into.is_empty() {
            std::mem::swap(into, &mut session.out);
        } else {
            into.append(&mut session.out);
        }
        let sent = (into.len() - before) as u64;
        self.server.stats.writes += u64::from(sent > 0);
        session.bytes_out += sent;
        self.server.stats.net_output_bytes += sent;
        session.close_after_reply && session.out.is_empty()
    }

    /// Sessions other than the one just fed that have output, or input to go on with.
    pub fn poll_woken(&mut self) -> Option<Slot> {
        self.server.woken.pop()
    }

    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// Ends a client's wait for work done outside with its reply. One that does not wait (it asked inside of a
    /// transaction) has its reply already.
    pub fn finish(&mut self, slot: Slot, reply: Result<&str, ReplyError>) {
        if !matches!(self.blocked_cause(slot), Some(BlockCause::Work)) {
            return;
        }
        if let Err(error) = &reply {
            self.server.stats.error(error);
        }
        if self.afterwork.contains_key(&slot) {
            if !self.transaction_goes_on(slot, &reply) {
                return;
            }
        } else {
            self.reply_to(slot, |out| match &reply {
                Ok(text) => out.simple(text),
                Err(error) => out.error(error),
            });
        }
        let own = self.server.sessions.get(slot).map_or(Offset::ZERO, |session| session.last_write);
        if self.covered() < self.awaited().min(own) {
            self.hold(slot); // FLUSHALL was accepted before the log failed, and its reply comes behind a save
        }
        self.unblock(slot);
    }

    /// Writes a reply to a client's output from outside its own command, unless CLIENT REPLY takes it away.
    pub fn reply_to(&mut self, slot: Slot, write: impl FnOnce(&mut Reply<'_>)) {
        if let Some(session) = self.server.sessions.get_mut(slot) {
            if !matches!(session.reply_mode, ReplyMode::Skip | ReplyMode::Off) {
                write(&mut Reply::new(&mut session.out, session.proto));
            }
            self.server.woken.push(slot);
        }
    }

    /// How a passed deadline acts for a command now.
    pub(super) fn expiry_for(&self, writes: bool) -> Expiry {
        let settings = &self.server.config.settings;
        if self.is_replica() {
            return if writes && !settings.replica_read_only { Expiry::Local } else { Expiry::Hide };
        }
        let writes = writes || self.in_transaction;
        let log_failed = self.server.persistence.failed.is_some(); // then nothing may enter the stream
        if log_failed || (self.silence.is_some() || self.is_pausing()) && !writes {
            Expiry::Hide
        } else {
            Expiry::Delete
        }
    }
}
