//! A primary that is to end lets its replicas catch up first (`shutdown-timeout`).
//!
//! ```text
//!            someone lags          all have acknowledged the end, or time is up
//! SHUTDOWN ─────────────► waiting ──────────────────────────────────────────────► Action::LeaveNow
//!     │ nobody lags, NOW    │ writes are held back
//!     ▼                     └─ SHUTDOWN ABORT ─► as before, writes go on
//!   ends at once
//! ```
//!
//! Writes are held back as by CLIENT PAUSE WRITE, so that the end of the stream stands still. A replica does not wait for
//! its own followers, since the stream goes on elsewhere; nor does anybody wait for one that only takes a snapshot, or in
//! the middle of a full sync takes nothing of it now: it would hold up the end and gain nothing.

use super::node::{Action, Node};
use crate::state::{Downstream, Stage};

/// A replica that took nothing of its snapshot for so long is not waited for.
const STUCK_MS: i64 = 1000;

impl Node {
    /// Begins to wait for followers that lag, at most `seconds`; `false` if there is nothing to wait for.
    pub fn wait_for_replicas(&mut self, seconds: u32) -> bool {
        if seconds == 0 || self.is_replica() || self.all_are_there(self.now_ms()) {
            return false;
        }
        self.ask_for_acks();
        self.server.persistence.shutdown_until_ms = Some(self.now_ms() + i64::from(seconds) * 1000);
        true
    }

    /// Lets writes go on.
    pub fn stay(&mut self) {
        self.server.pause_ended |= self.server.persistence.shutdown_until_ms.take().is_some();
    }

    /// After an ACK, and on every tick.
    pub(super) fn tend_shutdown(&mut self, now: i64) {
        let Some(until) = self.server.persistence.shutdown_until_ms else { return };
        if now >= until || self.all_are_there(now) {
            self.actions.push_back(Action::LeaveNow);
        }
    }

    /// How the followers stand, for the log of a server that ends.
    pub fn farewell(&self) -> Vec<String> {
        let now = self.now_ms();
        let mut lines: Vec<String> = self
            .lagging()
            .map(|(address, replica)| {
                let lag =
                    if replica.stage == Stage::Online { (now - replica.ack_ms).max(0) / 1000 } else { 0 };
                format!(
                    "Lagging replica {address} reported offset {} behind master, lag={lag}, state={}.",
                    self.stream.end.since(replica.ack),
                    replica.stage.word()
                )
            })
            .collect();
        let all = self.server.replicas().len();
        if all > 0 {
            let level = all - lines.len();
            lines.push(format!("{level} of {all} replicas are in sync when shutting down."));
        }
        lines
    }

    fn all_are_there(&self, now: i64) -> bool {
        !self.lagging().any(|(_, replica)| match replica.stage {
            Stage::Handshake | Stage::WaitSnapshot => false,
            Stage::SendSnapshot => now - replica.took_ms < STUCK_MS,
            Stage::Online => true,
        })
    }

    fn lagging(&self) -> impl Iterator<Item = (String, &Downstream)> {
        let end = self.stream.end;
        let replicas = self.server.replicas().into_iter();
        replicas.filter(move |(_, _, replica)| replica.ack != end && !replica.rdb_only).map(
            |(_, session, replica)| {
                let (ip, port) = session.replica_address();
                (format!("{ip}:{port}"), replica)
            },
        )
    }
}
