//! Clients that wait: for keys, for the log, for background work, for the end of a pause.
//!
//! A client that waits for keys keeps its command. When one of its keys is touched the command is run again, as
//! it stands: it pops what it finds, or would block again and then keeps its place. So a blocking command is
//! written once, and fairness is the order of [`Waiters`](crate::state::watch::Waiters).

use super::execute::{Ended, timeout};
use super::node::{Clock, Node};
use crate::commands::{Block, BlockCause, Command};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::state::session::Slot;

impl Node {
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

    /// Ends a session's wait, whatever it was for; its input goes on.
    pub(super) fn unblock(&mut self, slot: Slot) {
        self.stop_waiting(slot);
        self.server.woken.push(slot);
    }

    /// Takes a session out of all queues.
    pub(super) fn stop_waiting(&mut self, slot: Slot) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        let Some(blocked) = session.blocked.take() else { return };
        for key in &blocked.keys {
            self.waiters.remove(blocked.db as u32, key, slot);
            self.store.changes.unwatch(blocked.db as u32, key);
        }
    }

    /// Runs the commands of those waiting for a key that was touched, in the order in which they came, while
    /// the key holds what they want.
    pub(super) fn serve_waiters(&mut self, db: u32, key: Vec<u8>, clock: &mut dyn Clock) {
        let id = (db, key);
        for slot in self.waiters.of(&id) {
            let kind = self.store.dbs[db as usize].entries.get(&id.1).map(|entry| entry.value().kind());
            let Some(session) = self.server.sessions.get(slot) else { continue };
            let Some(blocked) = session.blocked.clone() else { continue };
            if kind.is_none() || blocked.wants != kind {
                continue;
            }
            let Ok(command) = super::dispatch::lookup(blocked.command.as_args()) else { continue };
            let started = self.now_micros;
            match self.run(slot, command, blocked.command.as_args(), None, false) {
                Ended::Blocked(_) => continue,
                Ended::Done | Ended::Failed | Ended::Requested(_) => {}
            }
            self.unblock(slot);
            let finished = self.see_time(clock.unix_micros());
            self.server.account(slot, command, blocked.command.as_args(), finished, finished - started);
            self.stream.close_unit(true);
            self.server.persistence.dirty += std::mem::take(&mut self.store.changes.dirty);
        }
    }

    /// WAITAOF: the reply leaves when this server's log has fsynced all of the client's writes.
    pub(super) fn wait_for_durable(
        &mut self,
        slot: Slot,
        args: Args<'_>,
        local: u32,
        replicas: u32,
        deadline: i64,
    ) {
        let offset = self.stream.end;
        let cause = BlockCause::Durable { offset, local, replicas };
        if self.durable_wait_over(&cause) {
            return self.reply_durable(slot, &cause);
        }
        self.block(slot, args, Vec::new(), None, deadline, cause);
    }

    fn durable_wait_over(&self, cause: &BlockCause) -> bool {
        match cause {
            BlockCause::Durable { offset, local, replicas } => {
                *replicas == 0 && (*local == 0 || self.server.history.durable >= *offset)
            }
            _ => false,
        }
    }

    fn reply_durable(&mut self, slot: Slot, cause: &BlockCause) {
        let BlockCause::Durable { offset, .. } = cause else { return };
        let done = self.server.persistence.aof_enabled && self.server.history.durable >= *offset;
        self.reply_to(slot, |out| {
            out.array(2);
            out.int(i64::from(done));
            out.int(0);
        });
    }

    pub(super) fn finish_durable_waits(&mut self) {
        if self.server.blocked_clients == 0 && self.server.sessions.is_empty() {
            return;
        }
        for (slot, cause) in self.waiting(|cause| matches!(cause, BlockCause::Durable { .. })) {
            if self.durable_wait_over(&cause) {
                self.reply_durable(slot, &cause);
                self.unblock(slot);
            }
        }
    }

    fn waiting(&self, wanted: impl Fn(&BlockCause) -> bool) -> Vec<(Slot, BlockCause)> {
        let blocked = self.server.sessions.iter().filter_map(|(slot, session)| {
            let blocked = session.blocked.as_ref().filter(|blocked| wanted(&blocked.cause))?;
            Some((slot, blocked.cause.clone()))
        });
        blocked.collect()
    }

    /// Ends the waits whose time is up.
    pub(super) fn end_overdue_waits(&mut self) {
        let now = self.now_ms();
        let overdue: Vec<_> = self
            .server
            .sessions
            .iter()
            .filter_map(|(slot, session)| {
                let blocked = session.blocked.as_ref().filter(|blocked| blocked.deadline <= now)?;
                Some((slot, blocked.cause.clone()))
            })
            .collect();
        for (slot, cause) in overdue {
            match &cause {
                BlockCause::Keys(_) => self.reply_to(slot, |out| timeout(out, &cause)),
                BlockCause::Durable { .. } => self.reply_durable(slot, &cause),
                BlockCause::Work | BlockCause::Paused => continue,
            }
            self.unblock(slot);
        }
    }

    /// CLIENT UNBLOCK and the like: ends a wait for keys early. `false` if the client does not wait so.
    pub fn unblock_client(&mut self, slot: Slot, error: Option<ReplyError>) -> bool {
        let cause = self.server.sessions.get(slot).and_then(|s| s.blocked.as_ref()).map(|b| b.cause.clone());
        let Some(cause @ (BlockCause::Keys(_) | BlockCause::Durable { .. })) = cause else { return false };
        match (error, &cause) {
            (Some(error), _) => self.reply_to(slot, |out| out.error(&error)),
            (None, BlockCause::Durable { .. }) => self.reply_durable(slot, &cause),
            (None, _) => self.reply_to(slot, |out| timeout(out, &cause)),
        }
        self.unblock(slot);
        true
    }

    // ---- CLIENT PAUSE ----

    pub(super) fn is_paused(&self, command: &Command, slot: Slot) -> bool {
        let Some(pause) = &self.server.pause else { return false };
        let writes = command.is_write()
            || command.flags.contains(crate::commands::Flags::MAY_REPLICATE)
            || (command.name == "exec"
                && self
                    .server
                    .sessions
                    .get(slot)
                    .and_then(|session| session.multi.as_ref())
                    .is_some_and(|multi| multi.has_writes));
        !pause.writes_only && command.name != "client|unpause" || writes
    }

    pub(super) fn pause(&mut self, slot: Slot, _command: &'static Command, args: Args<'_>) {
        self.block(slot, args, Vec::new(), None, i64::MAX, BlockCause::Paused);
    }

    /// Runs what was held back once the pause is over.
    pub(super) fn end_pause_if_over(&mut self, clock: &mut dyn Clock) {
        if self.server.pause.as_ref().is_some_and(|pause| pause.until_ms > self.now_ms()) {
            return;
        }
        if self.server.pause.take().is_none() && !self.server.pause_ended {
            return;
        }
        self.server.pause_ended = false;
        for (slot, _) in self.waiting(|cause| matches!(cause, BlockCause::Paused)) {
            let Some(session) = self.server.sessions.get_mut(slot) else { continue };
            let Some(blocked) = session.blocked.take() else { continue };
            self.server.woken.push(slot);
            self.dispatch(slot, blocked.command.as_args(), None, clock);
        }
    }
}
