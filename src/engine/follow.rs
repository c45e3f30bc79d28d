//! Following a primary: its stream, as it comes, applied to the node and appended to the node's own stream.
//!
//! A [`Follower`] is fed what the link reads after the verdict or payload, in any pieces. Each whole unit is run
//! and, in the same step, its bytes are appended verbatim (rule 10), so that the end of our stream is always the
//! upstream's offset of what the data are; of a unit that is not whole nothing is to be seen anywhere. Reading the
//! bytes is shared with recovery ([`Incoming`]): what a replica applies live is what it will replay.
//!
//! Upstream's commands pass no gate (password, pause, failed log; memory only with `replica-ignore-maxmemory no`, which
//! stops the link before a unit instead of leaving it out) and no deadline acts on them: a key that
//! has expired is there until the stream says DEL (rule 11). In everything else they are commands of a client whose
//! replies nobody reads: they are counted and shown to MONITOR, break WATCHes, publish keyspace events and
//! messages. They serve nobody who waits for a key: what such a client would take, the primary's stream would not
//! know of.
//!
//! A command that fails has failed at the primary as well, or our data are not its data: as in Redis it is reported
//! and the stream goes on. A command that cannot be run at all stops the link before its unit (rule 28).

use super::incoming::{Deed, Incoming, Misfit, Unit};
use super::node::{Action, Clock, Node};
use crate::commands::{Command, Flags, Outcome, Request};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::state::Session;
use crate::state::session::Slot;
use crate::units::Offset;

/// Why the stream cannot be applied any further: the link ends, at this position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// The end of our stream: before the unit that could not be applied.
    pub at: Offset,
    /// The name of the command that does not fit, as sent; empty if it is not even a command.
    pub command: String,
    pub why: String,
}

impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the primary's stream cannot be followed beyond offset {}: ", self.at)?;
        if !self.command.is_empty() {
            write!(f, "command '{}': ", self.command)?;
        }
        f.write_str(&self.why)
    }
}

impl std::error::Error for Stopped {}

/// What feeding has done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// Bytes of whole units applied and appended.
    pub applied: u64,
    /// The primary asked for an ACK, which is to be sent now.
    pub ack_wanted: bool,
    /// Commands that answered an error.
    pub errors: u64,
}

/// One link's stream.
pub struct Follower {
    slot: Slot,
    incoming: Incoming,
}

impl Follower {
    /// For a stream that goes on at `node.stream.end` with `db` selected. The link is a client of the node:
    /// `addr` is the primary's address, `laddr` our end of the connection.
    pub fn new(node: &mut Node, db: u32, addr: String, laddr: String) -> Follower {
        let id = node.server.sessions.next_id();
        let mut session = Session::new(id, addr, laddr, node.now_ms());
        session.upstream = true;
        session.user = "(superuser)".into();
        session.db = db as usize;
        node.stream.set_db(Some(db));
        Follower { slot: node.server.sessions.add(session), incoming: Incoming::default() }
    }

    /// Its client, for those who close it (CLIENT KILL).
    pub fn slot(&self) -> Slot {
        self.slot
    }

    /// Bytes kept of a unit that is not whole.
    pub fn kept(&self) -> usize {
        self.incoming.kept()
    }

    /// Applies and appends the units that `bytes` complete. After [`Stopped`] nothing more may be fed.
    pub fn feed(&mut self, node: &mut Node, bytes: &[u8], clock: &mut dyn Clock) -> Result<Fed, Stopped> {
        let started = node.see_time(clock.unix_micros());
        let stopped = |node: &Node, command: &str, why: &str| Stopped {
            at: node.stream.end,
            command: command.into(),
            why: why.into(),
        };
        let misfit = |node: &Node, misfit: Misfit| stopped(node, &misfit.command, &misfit.why.text());
        if node.server.sessions.get(self.slot).is_none() {
            return Err(stopped(node, "", "the link was closed"));
        }
        node.server.begin_batch(self.slot, started / 1000, bytes.len());
        self.incoming.push(bytes);
        let mut fed = Fed::default();
        let end = loop {
            let databases = node.store.dbs.len();
            match self.incoming.advance(databases) {
                Ok(true) => {
                    if let Some(command) = node.has_no_room_for(&self.incoming.unit()) {
                        let why = "used memory > 'maxmemory', and replica-ignore-maxmemory is 'no'";
                        break Err(stopped(node, command.name, why));
                    }
                    let db = node.server.sessions.get(self.slot).map_or(0, |session| session.db);
                    if let Err(why) = self.incoming.judge_db(db, databases) {
                        break Err(misfit(node, why));
                    }
                    node.apply_unit(self.slot, &self.incoming.unit(), &mut fed, clock);
                }
                Ok(false) => break Ok(()),
                Err(why) => break Err(misfit(node, why)),
            }
            self.incoming.taken();
        };
        node.server.stats.turn(node.now_micros - started);
        node.end_batch(self.slot);
        end.map(|()| fed)
    }

    /// The link is down. What was not a whole unit is forgotten; the database to go on with is the stream's.
    pub fn finish(self, node: &mut Node) {
        node.handle_disconnect(self.slot);
    }
}

impl Node {
    /// The command that makes data grow, where the operator lets `maxmemory` hold for the stream, too. Redis leaves such a
    /// command out and goes on with other data than its primary's.
    fn has_no_room_for(&self, unit: &Unit<'_>) -> Option<&'static Command> {
        if self.server.config.settings.replica_ignore_maxmemory || !self.server.over_memory() {
            return None;
        }
        unit.commands().find_map(|(deed, _)| match deed {
            Deed::Run(command) if command.flags.contains(Flags::DENYOOM) => Some(command),
            _ => None,
        })
    }

    fn apply_unit(&mut self, slot: Slot, unit: &Unit<'_>, fed: &mut Fed, clock: &mut dyn Clock) {
        let mut data = false;
        let mut save = false;
        for (deed, args) in unit.commands() {
            match deed {
                Deed::Run(command) => {
                    data |= command.is_write();
                    save |= self.run_upstream(slot, command, args, fed, clock);
                }
                Deed::Nothing(Some(command)) => self.note_upstream(slot, command, args, false, clock),
                Deed::Nothing(None) => {}
                Deed::Acknowledge => fed.ack_wanted = true,
            }
        }
        let changed = std::mem::take(&mut self.store.changes.dirty);
        self.server.persistence.dirty += changed;
        let db = self.server.sessions.get(slot).map_or(0, |session| session.db as u32);
        self.stream.append_verbatim(unit.bytes, db, data || changed > 0);
        self.server.history.end = self.stream.end;
        fed.applied += unit.bytes.len() as u64;
        self.note_touched();
        self.publish_events();
        self.ready_keys.clear();
        if save {
            self.actions.push_back(Action::Command(slot, Request::SaveAfterFlush { waits: false }));
        }
    }

    /// Whether a snapshot is to be made after the unit.
    fn run_upstream(
        &mut self,
        slot: Slot,
        command: &'static Command,
        args: Args<'_>,
        fed: &mut Fed,
        clock: &mut dyn Clock,
    ) -> bool {
        let stamp = self.server.access_stamp(self.now_ms());
        let result = self.run_of_stream(slot, command, args, stamp);
        if let Err(error) = &result {
            fed.errors += 1;
            self.report_error(command, error);
        }
        self.note_upstream(slot, command, args, result.is_err(), clock);
        matches!(result, Ok(Outcome::Both(_, Request::SaveAfterFlush { .. })))
    }

    /// Shows a command of the primary's to MONITOR and counts it.
    fn note_upstream(
        &mut self,
        slot: Slot,
        command: &'static Command,
        args: Args<'_>,
        failed: bool,
        clock: &mut dyn Clock,
    ) {
        let started = self.now_micros;
        let finished = self.see_time(clock.unix_micros());
        if !self.server.monitors.is_empty() {
            self.server.feed_monitors(slot, command, args, finished);
        }
        self.server.account(slot, command, args, finished, finished - started, failed);
        if let Some(session) = self.server.sessions.get_mut(slot) {
            session.last_command = command.name;
        }
    }

    fn report_error(&mut self, command: &Command, error: &ReplyError) {
        self.server.stats.error(error);
        self.server.stats.unexpected_errors += 1;
        self.server.remark(format!(
            "== CRITICAL == This replica is sending an error to its master: '{error}' after processing the command '{}'",
            command.name
        ));
    }
}

#[cfg(test)]
#[path = "follow_tests.rs"]
mod tests;
