//! FAILOVER: a primary hands over to one of its replicas without losing a write.
//!
//! ```text
//!            FAILOVER                    the target acknowledged the end        the target took over
//! (primary) ──────────► WaitingForSync ────────────────────────────────► HandingOver ─────► (replica)
//!     ▲                  │ writes wait    (or: time is up and FORCE)         │ follows the target,
//!     │  ABORT, time is up                                                   │ PSYNC … FAILOVER
//!     └──────────────────┴───────────────────────────────────────────────────┘ ABORT, refused
//! ```
//!
//! Writes are held back as by CLIENT PAUSE WRITE from the beginning to the end, so that the end of the stream stands
//! still while the target catches up. The target becomes a primary when it is asked by PSYNC … FAILOVER under the id
//! that it follows; its answer is then that of any primary.

use super::node::{Action, Node};
use super::replicas::Psync;
use crate::commands::FailoverOrder;
use crate::error::ReplyError;
use crate::state::session::Slot;
use crate::state::{Failover, Stage};

impl Node {
    /// FAILOVER, but for ABORT.
    pub(super) fn begin_failover(&mut self, order: FailoverOrder) -> Result<(), ReplyError> {
        let FailoverOrder { target, force, timeout_ms } = order;
        if self.server.failover.is_some() {
            return Err(ReplyError::new("ERR FAILOVER already in progress."));
        }
        if self.is_replica() {
            return Err(ReplyError::new("ERR FAILOVER is not valid when server is a replica."));
        }
        if self.server.followers == 0 {
            return Err(ReplyError::new("ERR FAILOVER requires connected replicas."));
        }
        if force && (timeout_ms.is_none() || target.is_none()) {
            return Err(ReplyError::new(
                "ERR FAILOVER with force option requires both a timeout and target HOST and IP.",
            ));
        }
        if let Some(target) = &target {
            let replicas = self.server.replicas();
            let found = replicas.iter().find(|(_, session, _)| session.replica_address() == *target);
            let Some((_, _, replica)) = found else {
                return Err(ReplyError::new("ERR FAILOVER target HOST and PORT is not a replica."));
            };
            if replica.stage != Stage::Online {
                return Err(ReplyError::new("ERR FAILOVER target replica is not online."));
            }
        }
        let until_ms = timeout_ms.map(|timeout| self.now_ms().saturating_add(timeout));
        self.server.failover = Some(Failover { target, force, until_ms, handing_over: false });
        self.ask_for_acks();
        Ok(())
    }

    /// FAILOVER ABORT.
    pub(super) fn abort_failover(&mut self) -> Result<(), ReplyError> {
        if self.server.failover.is_none() {
            return Err(ReplyError::new("ERR No failover in progress."));
        }
        self.failover_failed("Failover manually aborted");
        Ok(())
    }

    /// After an ACK, and on every tick.
    pub(super) fn tend_failover(&mut self, now: i64) {
        let Some(failover) = self.server.failover.clone().filter(|failover| !failover.handing_over) else {
            return;
        };
        let end = self.stream.end;
        let replicas = self.server.replicas();
        let synced = replicas.iter().find_map(|(_, session, replica)| {
            let address = session.replica_address();
            let wanted = failover.target.as_ref().is_none_or(|target| *target == address);
            (wanted && replica.stage == Stage::Online && replica.ack == end).then_some(address)
        });
        let late = failover.until_ms.is_some_and(|until| now >= until);
        match (synced, late) {
            (Some(target), _) => self.hand_over(target, true),
            (None, true) if failover.force => {
                if let Some(target) = failover.target {
                    self.hand_over(target, false);
                }
            }
            (None, true) => self.failover_failed("Replica never caught up before timeout"),
            (None, false) => {}
        }
    }

    fn hand_over(&mut self, target: (String, u16), synced: bool) {
        if let Some(failover) = &mut self.server.failover {
            failover.handing_over = true;
            failover.target = Some(target.clone());
        }
        let (ip, port) = &target;
        self.server.remark(match synced {
            true => format!("Failover target {ip}:{port} is synced, failing over."),
            false => format!("FAILOVER to {ip}:{port} time out exceeded, failing over."),
        });
        self.actions.push_back(Action::HandOver(target.0, target.1));
    }

    /// The target has taken over: this server is its replica.
    pub fn failover_done(&mut self) {
        self.end_failover();
    }

    /// Writes go on here. If this server follows the target already, it becomes a primary again.
    pub fn failover_failed(&mut self, why: &str) {
        let Some(failover) = self.server.failover.as_ref() else { return };
        let handing_over = failover.handing_over;
        self.server.remark(format!("FAILOVER aborted: {why}"));
        self.end_failover();
        if handing_over {
            self.will_lead();
            self.actions.push_back(Action::TakeBack);
        }
    }

    fn end_failover(&mut self) {
        self.server.pause_ended |= self.server.failover.take().is_some();
    }

    /// PSYNC … FAILOVER: this replica is to become a primary first.
    pub(super) fn take_over(&mut self, slot: Slot, asked: Psync) -> Result<(), ReplyError> {
        if asked.replid != Some(self.server.history.replid) {
            return Err(ReplyError::new("ERR PSYNC FAILOVER replid must match my replid."));
        }
        self.actions.push_back(Action::TakeOver(slot, asked));
        Ok(())
    }

    /// Now a primary: PSYNC is answered.
    pub fn taken_over(&mut self, slot: Slot, asked: Psync) {
        self.stop_waiting(slot);
        let mut out = self.take_output(slot);
        self.psync(slot, Psync { failover: false, ..asked }, &mut out);
        if let Some(session) = self.server.sessions.get_mut(slot) {
            session.out = out;
        }
        self.server.woken.push(slot);
    }
}

#[cfg(test)]
#[path = "failover_tests.rs"]
mod tests;
