//! Clients that wait: for keys, for the log, for background work, for the end of a pause.
//!
//! A client that waits for keys keeps its command. When one of its keys is touched the command is run again, as
//! it stands: it pops what it finds, or would block again and then keeps its place. So a blocking command is
//! written once, and fairness is the order of [`Waiters`](crate::state::watch::Waiters).
//!
//! Always: a session is blocked if and only if [`Queues`] counts it, and is listed there under its deadline (if it
//! has one) and under what it waits for, so that no event has to look at all sessions.

use std::collections::{BTreeSet, VecDeque};

use super::execute::{Ended, timeout};
use super::node::{Clock, Node};
use crate::commands::{Block, BlockCause, Command, Flags};
use crate::error::ReplyError;
use crate::planted::{Bug, planted};
use crate::resp::args::{Args, OwnedArgs};
use crate::state::session::{Blocked, Slot, Wait};
use crate::store::Type;
use crate::units::Offset;

/// Who waits, by what ends the wait.
#[derive(Default)]
pub(super) struct Queues {
    /// By deadline in Unix milliseconds.
    deadlines: BTreeSet<(i64, Slot)>,
    /// WAIT and WAITAOF.
    others: BTreeSet<Slot>,
    /// Held back by CLIENT PAUSE, a hand-over or a promotion, in the order in which they came.
    paused: VecDeque<Slot>,
}

/// Whether the command changes settings or writes them down: one after the other.
fn configures(command: &Command) -> bool {
    matches!(command.name, "config|set" | "config|rewrite")
}

impl Node {
    // ---- beginning and ending any wait ----

    /// Marks a session blocked.
    pub(super) fn block(
        &mut self,
        slot: Slot,
        args: Args<'_>,
        keys: Vec<Vec<u8>>,
        wants: Option<Type>,
        deadline: i64,
        cause: BlockCause,
    ) {
        let since_ms = self.now_ms();
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        match cause {
            BlockCause::Others(_) => drop(self.queues.others.insert(slot)),
            BlockCause::Paused => self.queues.paused.push_back(slot),
            BlockCause::Keys(_) | BlockCause::Work => {}
        }
        if deadline != i64::MAX {
            self.queues.deadlines.insert((deadline, slot));
        }
        self.server.blocked_clients += 1;
        let (command, db) = (OwnedArgs::from(args), session.db);
        session.blocked = Some(Blocked { command, db, keys, wants, deadline, since_ms, cause });
    }

    pub(super) fn blocked_cause(&self, slot: Slot) -> Option<&BlockCause> {
        self.server.sessions.get(slot)?.blocked.as_ref().map(|blocked| &blocked.cause)
    }

    /// Ends a session's wait, whatever it was for; its input goes on.
    pub(super) fn unblock(&mut self, slot: Slot) {
        self.stop_waiting(slot);
        self.server.woken.push(slot);
    }

    /// Takes a session out of all queues.
    pub(super) fn stop_waiting(&mut self, slot: Slot) -> Option<Blocked> {
        let blocked = self.server.sessions.get_mut(slot)?.blocked.take()?;
        self.server.blocked_clients -= 1;
        self.queues.deadlines.remove(&(blocked.deadline, slot));
        match blocked.cause {
            BlockCause::Others(_) => drop(self.queues.others.remove(&slot)),
            BlockCause::Paused => self.queues.paused.retain(|other| *other != slot),
            BlockCause::Keys(_) | BlockCause::Work => {}
        }
        for key in &blocked.keys {
            self.waiters.remove(blocked.db as u32, key, slot);
            self.store.changes.unwatch(blocked.db as u32, key);
        }
        Some(blocked)
    }

    /// When [`Node::handle_deadlines`] wants to be called next, in Unix milliseconds.
    pub fn next_deadline(&self) -> Option<i64> {
        let pause = self.server.pause.map(|pause| pause.until_ms);
        let wait = self.queues.deadlines.first().map(|(deadline, _)| *deadline);
        pause.into_iter().chain(wait).min()
    }

    /// Ends the waits and the pause whose time is up. Ticks do so too, but may come later.
    pub fn handle_deadlines(&mut self, clock: &mut dyn Clock) {
        self.see_time(clock.unix_micros());
        self.end_overdue_waits();
        self.end_pause_if_over(clock);
    }

    fn end_overdue_waits(&mut self) {
        let now = self.now_ms();
        while let Some((deadline, slot)) = self.queues.deadlines.first().copied() {
            if deadline > now {
                return;
            }
            self.queues.deadlines.remove(&(deadline, slot));
            self.end_wait(slot, None);
        }
    }

    /// CLIENT UNBLOCK and the like: ends a wait for keys or for others early.
    pub fn unblock_client(&mut self, slot: Slot, error: Option<ReplyError>) -> bool {
        let waits = matches!(self.blocked_cause(slot), Some(BlockCause::Keys(_) | BlockCause::Others(_)));
        if waits {
            self.end_wait(slot, error);
        }
        waits
    }

    /// Answers a wait that did not succeed: with `error`, or as when its time is up.
    fn end_wait(&mut self, slot: Slot, error: Option<ReplyError>) {
        let Some(blocked) = self.stop_waiting(slot) else { return };
        let failed = error.is_some();
        match (error, &blocked.cause) {
            (Some(error), _) => {
                self.server.stats.error(&error);
                self.reply_to(slot, |out| out.error(&error));
            }
            (None, BlockCause::Others(wait)) => self.reply_counts(slot, wait),
            (None, cause) => self.reply_to(slot, |out| timeout(out, cause)),
        }
        // Those that wait for keys are counted when they have their reply.
        let args = blocked.command.as_args();
        if let (BlockCause::Keys(_), Ok(command)) = (&blocked.cause, super::dispatch::lookup(args)) {
            self.server.account(slot, command, args, self.now_micros, 0, failed);
        }
        self.server.woken.push(slot);
    }

    // ---- keys ----

    /// Ends all waits for keys and for others with `error`, and their connections.
    pub(super) fn disconnect_waiting(&mut self, error: &ReplyError) {
        let slots: Vec<Slot> = self.server.sessions.iter().map(|(slot, _)| slot).collect();
        for slot in slots {
            if self.unblock_client(slot, Some(error.clone()))
                && let Some(session) = self.server.sessions.get_mut(slot)
            {
                session.close_after_reply = true;
            }
        }
    }

    pub(super) fn wait_for_keys(&mut self, slot: Slot, args: Args<'_>, block: Block) {
        let Some(session) = self.server.sessions.get(slot) else { return };
        let db = session.db as u32;
        let mut keys: Vec<Vec<u8>> = Vec::new();
        for key in block.keys {
            if !keys.contains(&key) {
                self.waiters.add(db, &key, slot);
                self.store.changes.watch(db, &key);
                keys.push(key);
            }
        }
        self.block(slot, args, keys, Some(block.wants), block.deadline, BlockCause::Keys(block.on_timeout));
    }

    /// Runs the commands of those waiting for a key that was touched, in the order in which they came, while
    /// the key holds what they want. Each is a unit of its own.
    pub(super) fn serve_waiters(&mut self, db: u32, key: Vec<u8>, clock: &mut dyn Clock) {
        let id = (db, key);
        for slot in self.waiters.of(&id) {
            let kind = self.store.dbs[db as usize].entries.get(&id.1).map(|entry| entry.value().kind());
            let Some(session) = self.server.sessions.get(slot) else { continue };
            let Some(blocked) = session.blocked.clone() else { continue };
            if kind.is_none() || blocked.wants != kind {
                continue;
            }
            let args = blocked.command.as_args();
            let Ok(command) = super::dispatch::lookup(args) else { continue };
            let started = self.now_micros;
            let mut out = self.take_output(slot);
            let before = out.len();
            let ended = self.run(slot, command, args, None, &mut out, false);
            self.put_back(slot, command, out, before);
            if matches!(ended, Ended::Blocked(_)) {
                continue;
            }
            self.unblock(slot);
            let finished = self.see_time(clock.unix_micros());
            let failed = matches!(ended, Ended::Failed);
            self.server.account(slot, command, args, finished, finished - started, failed);
            self.close_unit();
            self.server.persistence.dirty += std::mem::take(&mut self.store.changes.dirty);
            if let Some(session) = self.server.sessions.get_mut(slot) {
                session.last_write = self.stream.data_end;
            }
        }
    }

    // ---- the log and replicas ----

    /// WAIT and WAITAOF: answered at once if there is nothing to wait for.
    pub(super) fn wait_for_others(
        &mut self,
        slot: Slot,
        args: Args<'_>,
        wait: Wait,
        deadline: i64,
        out: &mut Vec<u8>,
    ) {
        if self.is_over(&wait) {
            let local = self.is_durable(wait.offset);
            let replicas = self.server.replicas_at(wait.offset, wait.aof);
            return wait.counts(local, replicas, &mut self.reply_in(slot, out));
        }
        if wait.replicas > 0 {
            self.ask_for_acks();
        }
        self.block(slot, args, Vec::new(), None, deadline, BlockCause::Others(wait));
    }

    /// Whether this server's own log has fsynced the stream up to there.
    pub(super) fn is_durable(&self, offset: Offset) -> bool {
        let history = &self.server.history;
        let synced = if planted(Bug::WaitWritten) { history.written } else { history.durable };
        self.server.persistence.log_is_in_force() && synced >= offset
    }

    fn is_over(&self, wait: &Wait) -> bool {
        (wait.local == 0 || self.is_durable(wait.offset))
            && (wait.replicas == 0 || self.server.replicas_at(wait.offset, wait.aof) >= wait.replicas)
    }

    fn reply_counts(&mut self, slot: Slot, wait: &Wait) {
        let local = self.is_durable(wait.offset);
        let replicas = self.server.replicas_at(wait.offset, wait.aof);
        self.reply_to(slot, |out| wait.counts(local, replicas, out));
    }

    /// The log moved, or was switched off.
    pub(super) fn finish_waits_for_others(&mut self) {
        for slot in self.queues.others.clone() {
            let Some(BlockCause::Others(wait)) = self.blocked_cause(slot).cloned() else { continue };
            if wait.local > 0 && !self.server.persistence.aof_enabled {
                self.end_wait(slot, Some(NO_LOG));
            } else if self.is_over(&wait) {
                self.end_wait(slot, None);
            }
        }
    }

    // ---- CLIENT PAUSE ----

    /// Followers are to reach the end of the stream, which therefore stands still.
    pub(super) fn hands_over(&self) -> bool {
        self.server.failover.is_some() || self.server.persistence.shutdown_until_ms.is_some()
    }

    /// The new name of what is to be a primary is being recorded.
    pub(super) fn is_leaving(&self) -> bool {
        self.server.upstream().is_some_and(|upstream| upstream.leaving)
    }

    pub(super) fn is_pausing(&self) -> bool {
        self.hands_over()
            || self.is_leaving()
            || self.server.pause.is_some_and(|pause| pause.until_ms > self.now_ms())
    }

    pub(super) fn is_paused(&self, command: &Command, slot: Slot) -> bool {
        let configuring = self.server.configuring > 0;
        if !self.is_pausing() && !configuring {
            return false;
        }
        let writes = Flags::WRITE | Flags::MAY_REPLICATE;
        let session = self.server.sessions.get(slot);
        if session.is_some_and(|session| session.downstream().is_some()) {
            return false; // a follower's ACKs
        }
        let multi = session.and_then(|session| session.multi.as_ref());
        if configuring && configures(command) && multi.is_none() {
            return true; // in a transaction it is put off, and nothing else waits for it
        }
        let queue = multi.filter(|_| command.name == "exec");
        if !self.is_pausing() {
            return false;
        }
        let writing = command.flags.intersects(writes)
            || queue.is_some_and(|multi| multi.has_writes || multi.may_replicate);
        let all = self.server.pause.is_some_and(|pause| !pause.writes_only);
        all && command.name != "client|unpause" || writing || self.is_leaving() && asks_for_role(command)
    }

    pub(super) fn pause(&mut self, slot: Slot, args: Args<'_>) {
        self.block(slot, args, Vec::new(), None, i64::MAX, BlockCause::Paused);
    }

    /// Runs what was held back once the pause is over; what something else holds back waits on.
    fn end_pause_if_over(&mut self, clock: &mut dyn Clock) {
        let over = !self.is_pausing() && self.server.pause.take().is_some();
        if !std::mem::take(&mut self.server.pause_ended) && !over {
            return;
        }
        for slot in std::mem::take(&mut self.queues.paused) {
            if let Some(blocked) = self.stop_waiting(slot) {
                self.server.woken.push(slot);
                self.judge(slot, blocked.command.as_args(), None, clock);
            }
        }
    }
}

/// What such a command does or answers is another thing on a primary than on a replica.
fn asks_for_role(command: &Command) -> bool {
    matches!(
        command.name,
        "exec" | "failover" | "psync" | "replicaof" | "slaveof" | "sync" | "wait" | "waitaof"
    )
}

const NO_LOG: ReplyError =
    ReplyError::new("ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.");
