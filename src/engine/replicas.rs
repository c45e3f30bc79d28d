//! The node's part in replication: whom it follows, verdicts for those who follow, what time brings about.
//!
//! The node decides and keeps the books; sockets, snapshots and the bytes of a feed are the driver's. A follower's
//! session takes no replies from the moment its PSYNC is accepted: its socket carries the stream.
//!
//! Rule 12: a started primary appends nothing until a client writes, a replica attaches or repl-timeout has passed. The same
//! goes for one that was promoted, which may be taken back, and for one that stood still (SIGSTOP, a suspended machine), for others may have taken its place meanwhile: what it
//! would append by itself (PING, DEL of what expired) would take it beyond where its replicas left it, and cost it a
//! full sync when it is made their replica. And the same goes for one whose followers are connected and say nothing: it
//! may be the network that is gone. A follower that is there speaks each second, which ends this silence; a PING that is
//! due waits for such a word and is appended together with it.
//! Rule 25: PING and PUBLISH enter the stream only while somebody follows, or left within repl-timeout.

use super::node::{Action, Node};
use crate::config::{BetterReplica, ReplicaOf};
use crate::error::ReplyError;
use crate::planted::{Bug, planted};
use crate::repl::lineage::Lineage;
use crate::repl::verdict::{Ask, Held, Verdict};
use crate::resp::reply::Reply;
use crate::state::session::{ReplyMode, Session, Slot};
use crate::state::{LinkState, Mandate, Role, Server, Stage, Upstream};
use crate::units::{Offset, ReplId};

const FORCED: ReplyError = ReplyError::new(
    "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)",
);

/// Between two looks at the clock: whoever takes so long was not running.
pub(super) const STOOD_STILL_MS: i64 = 2000;
/// Of the last follower to say something: then it may be this server that is cut off.
const UNHEARD_MS: i64 = 2000;
/// What followers had said before is read within this time.
const READ_UP_MS: i64 = 1000;

/// When a server began to append nothing of its own, and until when (Unix milliseconds).
pub(super) struct Silence {
    since_ms: i64,
    pub until_ms: i64,
}

impl Silence {
    pub fn of(server: &Server, now_ms: i64) -> Silence {
        Silence { since_ms: now_ms, until_ms: now_ms + i64::from(server.config.settings.repl_timeout) * 1000 }
    }
}

/// What a client's PSYNC says; SYNC says nothing and is `old`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Psync {
    pub replid: Option<ReplId>,
    pub next: i64,
    pub failover: bool,
    pub old: bool,
}

impl Server {
    /// Somebody follows, or did until a moment ago.
    pub fn is_followed(&self, now_ms: i64) -> bool {
        let kept = i64::from(self.config.settings.repl_timeout) * 1000;
        self.followers > 0 || self.follower_left_ms.is_some_and(|left| now_ms - left < kept)
    }
}

impl Node {
    pub fn is_replica(&self) -> bool {
        matches!(self.server.role, Role::Replica(_))
    }

    /// From here on another server's stream is this one's; its link is the driver's to make. Who waits for keys will
    /// not be served here as it was, and the writes that WAIT is to count may go.
    pub fn will_follow(&mut self, host: &str, port: u16, by_order: bool) {
        let now = self.now_ms();
        let down_since_ms = match self.server.upstream() {
            Some(left) if left.link == LinkState::Connected => now,
            left => left.map_or(0, |left| left.down_since_ms),
        };
        self.server.config.settings.replicaof = Some(ReplicaOf { host: host.into(), port });
        self.server.role = Role::Replica(Upstream {
            host: host.into(),
            port,
            link: LinkState::Connect,
            last_io_ms: 0,
            down_since_ms,
            trouble: None,
            loads: false,
            mandate: by_order.then_some(Mandate::Given(now)),
            leaving: false,
        });
        self.disconnect_waiting(&FORCED);
    }

    /// REPLICAOF NO ONE: shown as done from here on (in a transaction others stand behind it), while clients may write only
    /// once the new name is recorded. Until then they wait: an error would be wrong after the `+OK`.
    pub fn will_lead(&mut self) {
        self.server.config.settings.replicaof = None;
        if let Some(upstream) = self.server.upstream_mut() {
            upstream.leaving = true;
        }
    }

    /// The new name is in force: clients may write. Who waited for it goes on with [`Node::handle_deadlines`].
    pub fn lead(&mut self) {
        self.server.config.settings.replicaof = None;
        self.server.role = Role::Primary;
        self.server.history.past.overwrite = true;
        self.stream.forget_db();
        self.server.pause_ended = true;
        self.silence = Some(Silence::of(&self.server, self.now_ms()));
    }

    /// There is no new name: a replica as before, but without a link. Whose, to make that link again.
    pub fn stay_replica(&mut self) -> Option<(String, u16)> {
        let upstream = self.server.upstream_mut().filter(|upstream| upstream.leaving)?;
        upstream.leaving = false;
        let (host, port) = (upstream.host.clone(), upstream.port);
        self.server.config.settings.replicaof = Some(ReplicaOf { host: host.clone(), port });
        self.server.pause_ended = true;
        Some((host, port))
    }

    // ---- those who follow ----

    /// Answers PSYNC. Whoever may follow takes no more replies; how the stream reaches it is the driver's.
    pub(super) fn psync(&mut self, slot: Slot, asked: Psync, out: &mut Vec<u8>) {
        let verdict = self.verdict(slot, asked);
        let now = self.now_ms();
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        if session.downstream().is_some() {
            return;
        }
        let stats = &mut self.server.stats;
        let stage = match &verdict {
            Verdict::Refuse(why) => {
                stats.sync_partial_err += 1;
                let word = if planted(Bug::OtherPrefix) { "NOHISTORY" } else { "NOMASTERLINK" };
                let error = ReplyError::from(format!("{word} {why}"));
                Reply::new(out, session.proto).error(&error);
                let addr = session.addr.clone();
                self.server.remark(format!("Refused to serve the replica at {addr}: {why}"));
                return;
            }
            Verdict::Continue(_) => {
                stats.sync_partial_ok += 1;
                Stage::Online
            }
            Verdict::Full(_) => {
                stats.sync_full += 1;
                stats.sync_partial_err += u64::from(asked.replid.is_some());
                Stage::WaitSnapshot
            }
        };
        session.reply_mode = ReplyMode::Off;
        let replica = session.replica.get_or_insert_default();
        (replica.stage, replica.ack_ms, replica.mute) = (stage, now, asked.old);
        self.doubt_earlier_lives(slot);
        if self.server.followers == 0 {
            self.pinged_ms = now;
        }
        self.server.followers += 1;
        self.silence = None;
        self.actions.push_back(Action::Follow { slot, verdict, old: asked.old });
    }

    /// A follower whose machine lost power comes back while its old connection still seems to be there: WAIT must not count it
    /// twice. Behind one address several may say the same port; those speak up within a second.
    fn doubt_earlier_lives(&mut self, slot: Slot) {
        let Some(address) = self.server.sessions.get(slot).map(|session| session.replica_address()) else {
            return;
        };
        let is_earlier = |session: &Session| session.replica_address() == address;
        let followers = self.server.replicas().into_iter();
        let earlier = followers.filter(|(other, session, _)| *other != slot && is_earlier(session));
        let earlier: Vec<Slot> = earlier.map(|(other, ..)| other).collect();
        for other in earlier.into_iter().filter(|_| address.1 != 0) {
            let session = self.server.sessions.get_mut(other);
            if let Some(replica) = session.and_then(|session| session.replica.as_mut()) {
                replica.outlived = true;
            }
        }
    }

    fn verdict(&self, slot: Slot, asked: Psync) -> Verdict {
        let replica = self.server.sessions.get(slot).and_then(|session| session.replica.as_deref());
        let ask = Ask {
            replid: asked.replid,
            next: asked.next,
            psync2: replica.is_some_and(|replica| replica.psync2),
            shown: replica.map_or(&[], |replica| &replica.shown),
            operator: replica.is_some_and(|replica| replica.by_order),
        };
        if replica.is_some_and(|replica| replica.rdb_only) {
            return Verdict::Full("it asks for a snapshot only".into());
        }
        let history = &self.server.history;
        let setting = self.server.config.settings.repl_better_replica;
        let held = Held {
            replid: history.replid,
            end: self.stream.end,
            lineage: &history.past.lineage,
            born: history.past.born,
            replaced: &history.past.replaced,
            from: history.offered_from(),
            follows: self.server.upstream().is_some(),
            overwrite: history.past.overwrite || setting == BetterReplica::Overwrite,
            declared_loss: history.past.declared_loss,
        };
        held.verdict(&ask)
    }

    /// A follower of our kind shows under which names its bytes are known; the answer are ours (rule 20).
    pub(super) fn exchange_lineage(&mut self, slot: Slot, text: &[u8], out: &mut Vec<u8>) {
        let mut reply = self.reply_in(slot, out);
        match Lineage::parse(text) {
            Err(why) => reply.error(&ReplyError::from(format!("ERR not a lineage: {why}"))),
            Ok(shown) => {
                let history = &self.server.history;
                let past = history.past.lineage.clone();
                let (replid, end) = (history.replid, self.stream.end);
                let from_nothing = history.past.born.from_nothing();
                let own = Lineage { replid, end, told: true, past, operator: false, from_nothing };
                reply.bulk(own.encode().as_bytes());
                let Some(session) = self.server.sessions.get_mut(slot) else { return };
                let replica = session.replica.get_or_insert_default();
                replica.by_order = shown.operator;
                let past = shown.past.iter().map(|past| (past.replid, past.end));
                replica.shown = [(shown.replid, shown.end)].into_iter().chain(past).collect();
            }
        }
    }

    /// A follower's snapshot is on its way, or it has reached the stream, which counts as a word of it; who goes on has been
    /// there since its PSYNC.
    pub fn follower_is(&mut self, slot: Slot, stage: Stage) {
        let now = self.now_ms();
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        if let Some(replica) = session.replica.as_mut().filter(|replica| replica.stage != stage) {
            (replica.stage, replica.ack_ms) = (stage, now);
        }
    }

    /// Nothing was seen until now.
    pub(super) fn stood_still(&mut self, now_ms: i64) {
        if self.server.is_followed(self.now_ms()) {
            self.silence = Some(Silence::of(&self.server, now_ms));
        }
    }

    /// A follower said how far it is.
    pub(super) fn acknowledged(&mut self, slot: Slot) {
        let now = self.now_ms();
        self.silence.take_if(|silence| now - silence.since_ms > READ_UP_MS);
        let downstream = self.server.sessions.get(slot).and_then(|session| session.downstream());
        if downstream.is_some_and(|replica| replica.stage != Stage::Online) {
            self.actions.push_back(Action::Loaded(slot));
        }
        self.ping_if_due(now);
        self.tend_failover(now);
        self.tend_shutdown(now);
        self.finish_waits_for_others();
    }

    /// Called on every tick.
    pub(super) fn tend_replicas(&mut self, now: i64) {
        self.tend_failover(now);
        self.tend_shutdown(now);
        if self.server.followers == 0 {
            return self.tend_backlog(now);
        }
        let timeout = i64::from(self.server.config.settings.repl_timeout) * 1000;
        // Whether somebody need not speak at present, and whether somebody has spoken.
        let (mut needs_no_word, mut heard) = (false, false);
        for (slot, _, replica) in self.server.replicas() {
            let unheard_ms = now - replica.ack_ms;
            if replica.owes_words() && unheard_ms > timeout {
                self.actions.push_back(Action::Late(slot));
            }
            needs_no_word |= !replica.owes_words();
            heard |= unheard_ms < UNHEARD_MS;
        }
        if needs_no_word {
            self.ping_if_due(now);
        } else if !heard && self.silence.is_none() {
            self.silence = Some(Silence::of(&self.server, now));
        }
    }

    fn ping_if_due(&mut self, now: i64) {
        let period = i64::from(self.server.config.settings.repl_ping_replica_period) * 1000;
        let may_ping = self.silence.is_none()
            && !self.is_replica()
            && self.server.persistence.failed.is_none()
            && !self.hands_over();
        if may_ping && now - self.pinged_ms >= period {
            self.pinged_ms = now;
            self.stream.op_without_db(&[b"PING"]);
            self.close_unit();
        }
    }

    /// `repl-backlog-ttl`: nobody has followed for so long.
    fn tend_backlog(&mut self, now: i64) {
        let ttl = self.server.config.settings.repl_backlog_ttl as i64;
        let left = self.server.follower_left_ms.filter(|_| ttl > 0 && !self.is_replica());
        if left.is_some_and(|left| (now - left) / 1000 >= ttl) {
            self.server.history.given_up = self.stream.end;
        }
    }

    /// A follower's socket carries the stream: a reply has no place in it.
    pub(super) fn cut_off_for_reply(&mut self, slot: Slot, command: &str, reply: &[u8]) {
        let Some(session) = self.server.sessions.get(slot) else { return };
        let who = format!("id={} addr={}", session.id.0, session.addr);
        if let Some(error) = reply.strip_prefix(b"-") {
            let error = String::from_utf8_lossy(error);
            self.server.remark(format!(
                "== CRITICAL == This master is sending an error to its replica: '{}' after processing the command '{command}'",
                error.trim_end()
            ));
        }
        self.server
            .remark(format!("Replica generated a reply to command '{command}', disconnecting it: {who}"));
        self.actions.push_back(Action::Close(slot));
    }

    /// REPLCONF GETACK for all followers: WAIT wants to know now.
    pub(super) fn ask_for_acks(&mut self) {
        let paused = self.server.pause.is_some();
        if !paused && !self.is_replica() && self.server.persistence.failed.is_none() {
            self.stream.op_without_db(&[b"REPLCONF", b"GETACK", b"*"]);
            self.close_unit();
        }
    }

    /// Bytes before this can no longer be sent.
    pub fn held_from(&mut self, from: Offset) {
        self.server.history.held_from = from;
    }
}

#[cfg(test)]
#[path = "replicas_tests.rs"]
mod tests;
