//! Executing a command and closing what it did into a unit.
//!
//! After every command, and once after a whole transaction: keys that expired on access are put into the stream
//! before the command itself, the unit is closed, watchers of touched keys are told, keyspace events published,
//! and clients waiting for keys that now have something are served, each as a unit of its own (so a BLPOP woken
//! by EXEC stands after the transaction, rule 41 of the scenarios).

use super::afterwork::Afterwork;
use super::node::{Action, Clock, Node};
use super::replicas::Psync;
use crate::commands::{Block, BlockCause, Command, Ctx, Effect, Flags, Outcome, Request, UNCHANGED};
use crate::error::ReplyError;
use crate::planted::{Bug, planted};
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::reply::Reply;
use crate::state::Order;
use crate::state::session::{ReplyMode, Slot, Wait};
use crate::store::Expiry;
use crate::units::Offset;

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
        let mut out = self.take_output(slot);
        let before = out.len();
        let ended = self.run(slot, command, args, canonical, &mut out, false);
        let failed = matches!(ended, Ended::Failed);
        match ended {
            Ended::Done | Ended::Failed => {}
            Ended::Blocked(block) => self.wait_for_keys(slot, args, block),
            Ended::Requested(Request::Exec) => self.run_transaction(slot, args, &mut out, clock),
            Ended::Requested(request) => self.request(slot, args, request, &mut out, clock),
        }
        self.put_back(slot, command, out, before);
        let finished = self.see_time(clock.unix_micros());
        if !self.server.monitors.is_empty() {
            self.server.feed_monitors(slot, command, args, finished);
        }
        // What waits for keys has not been done yet: it is counted when it is.
        if self.blocked_cause(slot).is_none_or(|cause| !matches!(cause, BlockCause::Keys(_))) {
            self.server.account(slot, command, args, finished, finished - started, failed);
        }
        let end = self.stream.data_end;
        self.after_unit(clock);
        if self.stream.data_end > end
            && let Some(session) = self.server.sessions.get_mut(slot)
        {
            session.last_write = self.stream.data_end;
        }
    }

    /// Runs one command; its reply is appended to `out`, its effect to the open unit.
    pub(super) fn run(
        &mut self,
        slot: Slot,
        command: &'static Command,
        args: Args<'_>,
        canonical: Option<&[u8]>,
        out: &mut Vec<u8>,
        deny_blocking: bool,
    ) -> Ended {
        let now = self.now_micros / 1000;
        self.server.now_micros = self.now_micros;
        self.server.redacted.clear();
        let expiry = self.expiry_for(command.is_write());
        let stamp = self.server.access_stamp(now);
        let Some(session) = self.server.sessions.get_mut(slot) else { return Ended::Failed };
        let (db, proto, touch) = (session.db, session.proto, !session.no_touch);
        let before = out.len();
        let mut view = self.store.db(db, now, expiry, stamp);
        view.touch_access = touch || command.name == "touch";
        let mut ctx = Ctx {
            db: view,
            out: Reply::new(out, proto),
            server: &mut self.server,
            slot,
            now,
            command,
            deny_blocking,
        };
        let dirty = ctx.db.changes().dirty;
        let result = (command.run)(&mut ctx, args);
        self.collect_expired(command.flags.contains(Flags::ANY_KEYS) && !self.in_transaction);
        if self.is_replica() {
            self.note_strays(dirty);
        }
        match result {
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
                Reply::new(out, proto).error(&error);
                self.server.stats.error(&error);
                Ended::Failed
            }
        }
    }

    /// Takes a session's output for a command to append to. What others push to the session meanwhile goes
    /// behind the reply, so that it never stands inside one.
    pub(super) fn take_output(&mut self, slot: Slot) -> Vec<u8> {
        self.server.sessions.get_mut(slot).map(|session| std::mem::take(&mut session.out)).unwrap_or_default()
    }

    /// Gives a session its output back. CLIENT REPLY may take the reply away, but not what are pushes in truth.
    pub(super) fn put_back(&mut self, slot: Slot, command: &Command, mut out: Vec<u8>, before: usize) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        let pushes = command.flags.contains(Flags::PUBSUB) && command.name.ends_with("subscribe");
        let follows = session.downstream().is_some();
        let reply = if follows { out.split_off(before) } else { Vec::new() };
        if matches!(session.reply_mode, ReplyMode::Skip | ReplyMode::Off) && !pushes {
            out.truncate(before);
        }
        out.append(&mut session.out);
        session.out = out;
        if !reply.is_empty() {
            self.cut_off_for_reply(slot, command.name, &reply);
        }
    }

    fn add_effect(&mut self, db: usize, effect: Effect, args: Args<'_>, canonical: Option<&[u8]>) {
        if self.is_replica() {
            // A replica's stream is its primary's: what clients write here (replica-read-only no) stays here.
            return;
        }
        match effect {
            Effect::None => {}
            Effect::Verbatim => self.stream.op(db as u32, args, canonical),
            Effect::Message => self.stream.message(args),
            Effect::Rewrite(commands) => {
                for command in &commands {
                    self.stream.op(db as u32, command.as_args(), None);
                }
            }
        }
    }

    /// Puts DELs for keys that expired on access before the command that met them; `apart`: each as a unit of its own.
    pub(super) fn collect_expired(&mut self, apart: bool) {
        for (db, key) in std::mem::take(&mut self.store.changes.expired) {
            let del = OwnedArgs::from_slices(&[b"DEL", &key]);
            self.stream.op(db, del.as_args(), None);
            if apart {
                self.close_unit();
            }
        }
    }

    fn run_transaction(&mut self, slot: Slot, exec: Args<'_>, out: &mut Vec<u8>, clock: &mut dyn Clock) {
        let (before, mut later) = (out.len(), Afterwork::default());
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        let Some(multi) = session.multi.take() else { return };
        Reply::new(out, session.proto).array(multi.queue.len());
        self.server.unwatch(&mut self.store.changes, slot);
        self.in_transaction = true;
        let mut started = clock.unix_micros();
        for queued in &multi.queue {
            let args = queued.as_args();
            let Ok(command) = super::dispatch::lookup(args) else { continue };
            let ended = self.run(slot, command, args, None, out, true);
            let failed = matches!(ended, Ended::Failed);
            match ended {
                Ended::Done | Ended::Failed => {}
                Ended::Blocked(block) => {
                    timeout(&mut self.reply_in(slot, out), &BlockCause::Keys(block.on_timeout));
                }
                Ended::Requested(request) => {
                    let action = match request {
                        // It must not build on a change that may yet be taken back.
                        Request::ConfigSet { .. } if !later.is_empty() || self.server.configuring > 0 => {
                            Some(Action::Command(slot, request))
                        }
                        request => self.request_in_transaction(slot, request, out),
                    };
                    if let Some(action) = action {
                        later.put_off(out.len() - before, action);
                    }
                }
            }
            let finished = clock.unix_micros();
            if !self.server.monitors.is_empty() {
                self.server.feed_monitors(slot, command, args, finished);
            }
            self.server.account(slot, command, args, self.now_micros, finished - started, failed);
            started = finished;
        }
        self.in_transaction = false;
        self.server.redacted.clear();
        if self.ask_for_the_rest(slot, later, || out.split_off(before)) {
            self.block(slot, exec, Vec::new(), None, i64::MAX, BlockCause::Work);
        }
    }

    /// What EXEC asks for does not hold up the commands behind it. What is to be done after them has its answer then.
    fn request_in_transaction(&mut self, slot: Slot, request: Request, out: &mut Vec<u8>) -> Option<Action> {
        match request {
            Request::SaveAfterFlush { .. } => {
                self.reply_in(slot, out).ok();
                self.actions.push_back(Action::Command(slot, Request::SaveAfterFlush { waits: false }));
            }
            Request::BgSave { .. } | Request::BgRewriteAof => {
                self.server.schedule(&request);
                self.reply_in(slot, out).simple(if request == Request::BgRewriteAof {
                    "Background append only file rewriting scheduled"
                } else {
                    "Background saving scheduled"
                });
            }
            Request::Wait { .. } => {
                let count = self.server.replicas_at(self.last_write_of(slot), false);
                self.reply_in(slot, out).int(count.into());
            }
            Request::WaitAof { .. } => {
                let last_write = self.last_write_of(slot);
                let local = self.is_durable(last_write);
                let count = self.server.replicas_at(last_write, true);
                let mut out = self.reply_in(slot, out);
                out.array(2);
                out.int(local.into());
                out.int(count.into());
            }
            Request::ConfigSet { pairs } => match self.config_set(slot, &pairs) {
                Ok(change) => return Some(Action::ConfigChanged(slot, change)),
                Err(error) => self.error_in(slot, out, &error),
            },
            Request::ConfigRewrite { .. }
            | Request::Shutdown { .. }
            | Request::ReplicaOf(_)
            | Request::Sleep { .. } => {
                // What stands behind it in the transaction sees that.
                match &request {
                    Request::ReplicaOf(Some((host, port))) => self.will_follow(host, *port, true),
                    Request::ReplicaOf(None) => self.will_lead(),
                    _ => {}
                }
                return Some(Action::Command(slot, request));
            }
            _ => self.error_in(slot, out, &ReplyError::new("ERR Command not allowed inside a transaction")),
        }
        None
    }

    /// Does what a command asks for, or hands it to the driver; the client waits unless it has its reply.
    fn request(
        &mut self,
        slot: Slot,
        args: Args<'_>,
        request: Request,
        out: &mut Vec<u8>,
        clock: &mut dyn Clock,
    ) {
        match request {
            Request::Sleep { micros } => clock.sleep(micros),
            Request::ConfigSet { pairs } => match self.config_set(slot, &pairs) {
                Ok(change) => {
                    self.block(slot, args, Vec::new(), None, i64::MAX, BlockCause::Work);
                    self.actions.push_back(Action::ConfigChanged(slot, change));
                }
                Err(error) => self.error_in(slot, out, &error),
            },
            Request::Psync { replid, next, failover, old } => {
                let asked = Psync { replid, next, failover, old };
                if !failover {
                    return self.psync(slot, asked, out);
                }
                match self.take_over(slot, asked) {
                    Ok(()) => self.block(slot, args, Vec::new(), None, i64::MAX, BlockCause::Work),
                    Err(error) => self.error_in(slot, out, &error),
                }
            }
            Request::Failover(order) => {
                let done = match order {
                    Some(order) => self.begin_failover(order),
                    None => self.abort_failover(),
                };
                match done {
                    Ok(()) => self.reply_in(slot, out).ok(),
                    Err(error) => self.error_in(slot, out, &error),
                }
            }
            Request::Acknowledged => self.acknowledged(slot),
            Request::ShowLineage(text) => self.exchange_lineage(slot, &text, out),
            Request::Wait { replicas, deadline } => {
                let wait = Wait { offset: self.last_write_of(slot), local: 0, replicas, aof: false };
                self.wait_for_others(slot, args, wait, deadline, out);
            }
            Request::WaitAof { local, replicas, deadline } => {
                let wait = Wait { offset: self.last_write_of(slot), local, replicas, aof: true };
                self.wait_for_others(slot, args, wait, deadline, out);
            }
            _ => {
                self.block(slot, args, Vec::new(), None, i64::MAX, BlockCause::Work);
                self.actions.push_back(Action::Command(slot, request));
            }
        }
    }

    /// A reply of `slot` that is written to `out`.
    pub(super) fn reply_in<'o>(&self, slot: Slot, out: &'o mut Vec<u8>) -> Reply<'o> {
        Reply::new(out, self.server.sessions.get(slot).map(|session| session.proto).unwrap_or_default())
    }

    fn error_in(&mut self, slot: Slot, out: &mut Vec<u8>, error: &ReplyError) {
        self.reply_in(slot, out).error(error);
        self.server.stats.error(error);
    }

    /// The end of the stream after the client's last write.
    fn last_write_of(&self, slot: Slot) -> Offset {
        self.server.sessions.get(slot).map(|session| session.last_write).unwrap_or_default()
    }

    /// Closes the unit and serves what it set in motion, until nothing more follows.
    pub(super) fn after_unit(&mut self, clock: &mut dyn Clock) {
        loop {
            let data = self.store.changes.dirty > 0 || !self.store.changes.expired.is_empty();
            if self.close_unit() || data {
                self.silence.take_if(|_| data);
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
    pub(super) fn note_touched(&mut self) {
        let now = self.now_ms();
        let changes = &mut self.store.changes;
        if changes.touched.is_empty() && changes.touched_dbs.is_empty() {
            return;
        }
        for id in std::mem::take(&mut changes.touched) {
            let entry = self.store.dbs.get(id.0 as usize).and_then(|db| db.entries.get(&id.1));
            self.server.break_watches(&id, entry.is_some_and(|entry| entry.expires() > now));
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

    pub(super) fn publish_events(&mut self) {
        for event in std::mem::take(&mut self.store.changes.events) {
            self.server.publish_event(&event);
        }
    }

    /// Adds a command to the client's transaction, unless that is spoilt already.
    pub(super) fn queue(&mut self, slot: Slot, command: &'static Command, args: Args<'_>) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        let Some(multi) = &mut session.multi else { return };
        if !multi.aborted && !session.watch_broken {
            multi.queue.push(OwnedArgs::from(args));
        }
        multi.has_writes |= command.is_write();
        multi.may_replicate |= command.flags.contains(Flags::MAY_REPLICATE);
        multi.denies_oom |= command.flags.contains(Flags::DENYOOM);
        multi.denies_loading |= !command.flags.contains(Flags::LOADING);
        multi.denies_stale |= !command.flags.contains(Flags::STALE);
        if session.reply_mode == ReplyMode::On {
            Reply::new(&mut session.out, session.proto).simple("QUEUED");
        }
    }

    /// Runs one command of a stream, recovered or from upstream: bytes alone decide (rule 11). Its reply and its
    /// effect are dropped, since it stands in the stream already; what it changed is the caller's to look at.
    pub(super) fn run_of_stream(
        &mut self,
        slot: Slot,
        command: &'static Command,
        args: Args<'_>,
        stamp: u32,
    ) -> Result<Outcome, ReplyError> {
        let now = self.now_micros / 1000;
        self.server.now_micros = self.now_micros;
        self.server.redacted.clear();
        let Some(session) = self.server.sessions.get(slot) else { return UNCHANGED };
        let (db, proto) = (session.db, session.proto);
        let mut out = Vec::new();
        let expiry = if planted(Bug::ExpiryInReplay) { Expiry::Local } else { Expiry::Ignore };
        let mut ctx = Ctx {
            db: self.store.db(db, now, expiry, stamp),
            out: Reply::new(&mut out, proto),
            server: &mut self.server,
            slot,
            now,
            command,
            deny_blocking: true,
        };
        (command.run)(&mut ctx, args)
    }
}

/// What a client gets whose wait ended without success.
pub(super) fn timeout(out: &mut Reply<'_>, cause: &BlockCause) {
    use crate::commands::TimeoutReply;
    match cause {
        BlockCause::Keys(TimeoutReply::NullArray) => out.null_array(),
        BlockCause::Keys(TimeoutReply::Null) => out.null(),
        BlockCause::Others(_) | BlockCause::Work | BlockCause::Paused => {}
    }
}
