//! Executing a command and closing what it did into a unit.
//!
//! After every command, and once after a whole transaction: keys that expired on access are put into the stream
//! before the command itself, the unit is closed, watchers of touched keys are told, keyspace events published,
//! and clients waiting for keys that now have something are served, each as a unit of its own (so a BLPOP woken
//! by EXEC stands after the transaction, rule 41 of the scenarios).

use super::node::{Action, Clock, Node};
use crate::commands::{Block, BlockCause, Command, Ctx, Effect, Outcome, Request};
use crate::error::ReplyError;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::reply::Reply;
use crate::state::Order;
use crate::state::session::{Blocked, ReplyMode, Slot};
use crate::store::Expiry;

const UNBLOCKED: ReplyError = ReplyError::new("UNBLOCKED client unblocked via CLIENT UNBLOCK");

/// How one execution ended.
pub(super) enum Ended {
    Done,
    Blocked(Block),
    Requested(Request),
    Failed,
}

impl Node {
    /// Executes an admitted command as a unit of its own.
    pub(super) fn execute(
        &mut self,
        slot: Slot,
        command: &'static Command,
        args: Args<'_>,
        canonical: Option<&[u8]>,
        clock: &mut dyn Clock,
    ) {
        let started = self.now_micros;
        let ended = self.run(slot, command, args, canonical, false);
        match ended {
            Ended::Done | Ended::Failed => {}
            Ended::Blocked(block) => self.wait_for_keys(slot, args, block),
            Ended::Requested(Request::Exec) => self.run_transaction(slot, clock),
            Ended::Requested(request) => self.request(slot, args, request),
        }
        let finished = self.see_time(clock.unix_micros());
        self.server.account(slot, command, args, finished, finished - started);
        self.after_unit(clock);
    }

    /// Runs one command; its effect is added to the open unit.
    pub(super) fn run(
        &mut self,
        slot: Slot,
        command: &'static Command,
        args: Args<'_>,
        canonical: Option<&[u8]>,
        deny_blocking: bool,
    ) -> Ended {
        let now = self.now_micros / 1000;
        self.server.now_micros = self.now_micros;
        self.server.redacted.clear();
        let expiry = self.expiry_for(command.is_write() || self.in_transaction);
        let stamp = self.server.access_stamp(now);
        let Some(session) = self.server.sessions.get_mut(slot) else { return Ended::Failed };
        session.last_command = command.name;
        let (db, proto, touch) = (session.db, session.proto, !session.no_touch);
        let mut out = std::mem::take(&mut session.out);
        let before = out.len();
        if !self.server.monitors.is_empty() {
            self.server.feed_monitors(slot, command, args, self.now_micros);
        }
        let mut view = self.store.db(db, now, expiry, stamp);
        view.touch_access = touch;
        let mut ctx = Ctx {
            db: view,
            out: Reply::new(&mut out, proto),
            server: &mut self.server,
            slot,
            now,
            command,
            deny_blocking,
        };
        let result = (command.run)(&mut ctx, args);
        self.collect_expired();
        let ended = match result {
            Ok(Outcome::Done(effect)) => {
                self.add_effect(db, effect, args, canonical);
                Ended::Done
            }
            Ok(Outcome::Both(effect, request)) => {
                self.add_effect(db, effect, args, canonical);
                Ended::Requested(request)
            }
            Ok(Outcome::Block(block)) => Ended::Blocked(block),
            Ok(Outcome::Request(request)) => Ended::Requested(request),
            Err(error) => {
                out.truncate(before);
                Reply::new(&mut out, proto).error(&error);
                self.server.stats.error(&error);
                Ended::Failed
            }
        };
        self.put_back(slot, out, before);
        ended
    }

    /// Gives a session its output back, with what others pushed to it meanwhile behind its reply.
    fn put_back(&mut self, slot: Slot, mut out: Vec<u8>, before: usize) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        if session.reply_mode == ReplyMode::Skip || session.reply_mode == ReplyMode::Off {
            out.truncate(before);
        }
        out.append(&mut session.out);
        session.out = out;
    }

    fn add_effect(&mut self, db: usize, effect: Effect, args: Args<'_>, canonical: Option<&[u8]>) {
        match effect {
            Effect::None => {}
            Effect::Verbatim => self.stream.op(db as u32, args, canonical),
            Effect::Rewrite(commands) => {
                for command in &commands {
                    self.stream.op(db as u32, command.as_args(), None);
                }
            }
        }
    }

    /// Puts DELs for keys that expired on access before the command that met them.
    pub(super) fn collect_expired(&mut self) {
        for (db, key) in std::mem::take(&mut self.store.changes.expired) {
            let del = OwnedArgs::from_slices(&[b"DEL", &key]);
            self.stream.op(db, del.as_args(), None);
        }
    }

    fn run_transaction(&mut self, slot: Slot, clock: &mut dyn Clock) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        let Some(multi) = session.multi.take() else { return };
        self.server.unwatch(&mut self.store.changes, slot);
        self.in_transaction = true;
        self.reply_to_self(slot, |out| out.array(multi.queue.len()));
        for queued in &multi.queue {
            let args = queued.as_args();
            let Ok(command) = super::dispatch::lookup(args) else { continue };
            let started = self.now_micros;
            if command.is_write()
                && let Err(error) = self.admit_write()
            {
                self.reply_to_self(slot, |out| out.error(&error));
                continue;
            }
            match self.run(slot, command, args, None, true) {
                Ended::Done | Ended::Failed => {}
                Ended::Blocked(block) => {
                    self.reply_to_self(slot, |out| timeout(out, &BlockCause::Keys(block.on_timeout)))
                }
                Ended::Requested(request) => self.request_in_transaction(slot, request),
            }
            self.server.account(slot, command, args, self.now_micros, self.now_micros - started);
        }
        self.in_transaction = false;
        self.see_time(clock.unix_micros());
    }

    fn request_in_transaction(&mut self, slot: Slot, request: Request) {
        match request {
            Request::SaveAfterFlush | Request::Sleep { .. } => {
                self.actions.push_back(Action::Command(slot, request));
            }
            Request::BgSave { .. } | Request::BgRewriteAof => {
                self.server.schedule(&request);
                let text = if request == Request::BgRewriteAof {
                    "Background append only file rewriting scheduled"
                } else {
                    "Background saving scheduled"
                };
                self.reply_to_self(slot, |out| out.simple(text));
            }
            Request::WaitAof { .. } => self.reply_to_self(slot, |out| {
                out.array(2);
                out.int(0);
                out.int(0);
            }),
            Request::ConfigSet { pairs } => self.config_set(slot, &pairs, true),
            Request::ConfigRewrite | Request::Shutdown { .. } => {
                self.reply_to_self(slot, |out| out.ok());
                self.actions.push_back(Action::Command(slot, request));
            }
            _ => self.reply_to_self(slot, |out| {
                out.error(&ReplyError::new("ERR Command not allowed inside a transaction"));
            }),
        }
    }

    /// Hands a request to the driver; the client waits unless its reply is already written.
    fn request(&mut self, slot: Slot, args: Args<'_>, request: Request) {
        match request {
            Request::ConfigSet { pairs } => {
                self.block(slot, args, Vec::new(), None, i64::MAX, BlockCause::Work);
                return self.config_set(slot, &pairs, false);
            }
            Request::WaitAof { local, replicas, deadline } => {
                return self.wait_for_durable(slot, args, local, replicas, deadline);
            }
            Request::Sleep { .. } | Request::SaveAfterFlush => {}
            _ => self.block(slot, args, Vec::new(), None, i64::MAX, BlockCause::Work),
        }
        self.actions.push_back(Action::Command(slot, request));
    }

    /// Closes the unit and serves what it set in motion, until nothing more follows.
    pub(super) fn after_unit(&mut self, clock: &mut dyn Clock) {
        loop {
            let data = self.store.changes.dirty > 0 || !self.store.changes.expired.is_empty();
            if self.stream.close_unit(true) || data {
                self.silent &= !data;
                self.server.persistence.dirty += std::mem::take(&mut self.store.changes.dirty);
            }
            self.note_touched();
            self.publish_events();
            self.carry_out_orders();
            if self.ready_keys.is_empty() {
                return;
            }
            let (db, key) = self.ready_keys.remove(0);
            self.serve_waiters(db, key, clock);
        }
    }

    /// Tells watchers of touched keys, and remembers touched keys that somebody waits for.
    fn note_touched(&mut self) {
        let changes = &mut self.store.changes;
        if changes.touched.is_empty() && changes.touched_dbs.is_empty() {
            return;
        }
        for id in std::mem::take(&mut changes.touched) {
            self.server.break_watches(&id);
            if !self.ready_keys.contains(&id) && !self.waiters.of(&id).is_empty() {
                self.ready_keys.push(id);
            }
        }
        for db in std::mem::take(&mut self.store.changes.touched_dbs) {
            self.ready_keys.extend(self.waiters.keys_in_db(db));
        }
    }

    /// What the command wanted done to other clients. A killed one is out of everything at once, so that nothing
    /// that follows in this batch is given to it.
    fn carry_out_orders(&mut self) {
        for order in std::mem::take(&mut self.server.orders) {
            match order {
                Order::Kill(slot) => {
                    self.stop_waiting(slot);
                    self.server.forget_client(&mut self.store.changes, slot);
                    self.actions.push_back(Action::Close(slot));
                }
                Order::Unblock { slot, with_error } => {
                    self.unblock_client(slot, with_error.then_some(UNBLOCKED));
                }
            }
        }
    }

    fn publish_events(&mut self) {
        for event in std::mem::take(&mut self.store.changes.events) {
            self.server.publish_event(&event);
        }
    }

    pub(super) fn reply_to_self(&mut self, slot: Slot, write: impl FnOnce(&mut Reply<'_>)) {
        if let Some(session) = self.server.sessions.get_mut(slot)
            && session.reply_mode == ReplyMode::On
        {
            write(&mut Reply::new(&mut session.out, session.proto));
        }
    }

    /// Adds a command to the client's transaction.
    pub(super) fn queue(&mut self, slot: Slot, command: &'static Command, args: Args<'_>) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        let Some(multi) = &mut session.multi else { return };
        multi.queue.push(OwnedArgs::from(args));
        multi.has_writes |= command.is_write();
        multi.denies_oom |= command.flags.contains(crate::commands::Flags::DENYOOM);
        self.reply_to_self(slot, |out| out.simple("QUEUED"));
        self.server.take_reply_mode(slot);
    }

    /// Marks a session blocked.
    pub(super) fn block(
        &mut self,
        slot: Slot,
        args: Args<'_>,
        keys: Vec<Vec<u8>>,
        wants: Option<crate::store::Type>,
        deadline: i64,
        cause: BlockCause,
    ) {
        let since_ms = self.now_ms();
        if let Some(session) = self.server.sessions.get_mut(slot) {
            let (command, db) = (OwnedArgs::from(args), session.db);
            session.blocked = Some(Blocked { command, db, keys, wants, deadline, since_ms, cause });
        }
    }

    /// Replays one command of a log or ring: bytes alone decide (rule 11).
    pub(super) fn run_replayed(
        &mut self,
        slot: Slot,
        command: &'static Command,
        args: Args<'_>,
    ) -> Result<(), ReplyError> {
        let Some(session) = self.server.sessions.get_mut(slot) else { return Ok(()) };
        let (db, proto) = (session.db, session.proto);
        let mut out = Vec::new();
        let mut ctx = Ctx {
            db: self.store.db(db, self.now_micros / 1000, Expiry::Ignore, 0),
            out: Reply::new(&mut out, proto),
            server: &mut self.server,
            slot,
            now: self.now_micros / 1000,
            command,
            deny_blocking: true,
        };
        let result = (command.run)(&mut ctx, args);
        self.store.changes.touched.clear();
        self.store.changes.touched_dbs.clear();
        self.store.changes.events.clear();
        self.store.changes.garbage.clear();
        result.map(|_| ())
    }
}

/// What a client gets whose wait ended without success.
pub(super) fn timeout(out: &mut Reply<'_>, cause: &BlockCause) {
    use crate::commands::TimeoutReply;
    match cause {
        BlockCause::Keys(TimeoutReply::NullArray) => out.null_array(),
        BlockCause::Keys(TimeoutReply::Null) => out.null(),
        BlockCause::Durable { .. } | BlockCause::Work | BlockCause::Paused => {}
    }
}
