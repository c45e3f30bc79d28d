//! This server's place among others: whom it follows, and who follows it.
//!
//! Plain data for INFO, ROLE, WAIT and the gates. The links are the driver's; what they learn is noted here.
//!
//! A follower's life, as INFO's `state` shows it:
//!
//! ```text
//!                    ┌─ full sync ─► wait_bgsave ─► send_bulk ─┐
//! REPLCONF … PSYNC ──┤                                         ├─► online ─► (connection closed)
//!                    └─ continue ──────────────────────────────┘
//! ```

use std::collections::BTreeSet;

use crate::format::history::{Ancestor, Born, History as Recorded, MAX_LINEAGE};
use crate::units::{Offset, ReplId};

use super::session::{Session, Slot};
use super::{History, Server};

/// Whose writes this server takes.
#[derive(Clone, Debug, Default)]
pub enum Role {
    /// Its clients'.
    #[default]
    Primary,
    /// Another server's.
    Replica(Upstream),
}

/// The server that a replica follows.
#[derive(Clone, Debug)]
pub struct Upstream {
    pub host: String,
    pub port: u16,
    pub link: LinkState,
    /// Unix milliseconds: the last byte from it, and since when the link is down (0: it never was up, which INFO shows as
    /// −1 seconds).
    pub last_io_ms: i64,
    pub down_since_ms: i64,
    /// Why the link is down, if it is not just the network.
    pub trouble: Option<String>,
    /// A payload is complete and being loaded, while the data of before are served.
    pub loads: bool,
    /// An operator's REPLICAOF named it, and the link has not been up since.
    pub mandate: Option<Mandate>,
    /// This server is to be a primary, and the new name is not in force yet: shown as done, while those wait whose
    /// commands depend on it.
    pub leaving: bool,
}

/// The operator's word that the data may give way to what a primary holds (rule 5). It was said of the primary as it was then: one that
/// is started later, and has lost its data meanwhile, is not meant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mandate {
    /// Given at this time (Unix milliseconds), and not heard by the primary yet.
    Given(i64),
    /// The primary has answered, with a history of this name.
    Meant(ReplId),
}

impl Upstream {
    /// Whether the operator's word counts now; if not, it is forgotten. It waits no longer than `patience_ms` for the
    /// primary to answer.
    pub fn is_ordered(&mut self, now_ms: i64, patience_ms: i64) -> bool {
        self.mandate.take_if(|mandate| matches!(mandate, Mandate::Given(at) if now_ms - *at > patience_ms));
        self.mandate.is_some()
    }

    /// Nobody listens there: whoever does later is not the primary that the operator meant.
    pub fn refused(&mut self) {
        self.mandate.take_if(|mandate| matches!(mandate, Mandate::Given(_)));
    }

    /// The primary has said what it holds: `replid` now, and whether it knows a name. An error says that it is another one
    /// than the operator meant, whose word counts no more.
    pub fn answered(&mut self, replid: ReplId, knows: impl Fn(ReplId) -> bool) -> Result<(), &'static str> {
        match self.mandate {
            Some(Mandate::Given(_)) if replid != ReplId::NONE => self.mandate = Some(Mandate::Meant(replid)),
            Some(Mandate::Meant(meant)) if replid != ReplId::NONE && !knows(meant) => {
                self.mandate = None;
                return Err("the primary holds another history than when REPLICAOF was given");
            }
            _ => {}
        }
        Ok(())
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// To be connected.
    Connect,
    Connecting,
    Handshake,
    /// A full sync is under way: bytes to come (if told) and come.
    Sync {
        total: Option<u64>,
        read: u64,
    },
    Connected,
}

impl LinkState {
    /// As ROLE says it.
    pub fn word(self) -> &'static str {
        match self {
            LinkState::Connect => "connect",
            LinkState::Connecting => "connecting",
            LinkState::Handshake => "handshake",
            LinkState::Sync { .. } => "sync",
            LinkState::Connected => "connected",
        }
    }
}

/// What clients have written on a writable replica since its data last were the primary's.
#[derive(Clone, Debug, Default)]
pub struct Strays {
    pub wrote: bool,
    /// Database and key of those that were given a deadline.
    pub deadlines: BTreeSet<(u32, Vec<u8>)>,
    /// The last of them that was looked at, if there are more behind it.
    pub seen: Option<(u32, Vec<u8>)>,
}

/// A FAILOVER in progress.
#[derive(Clone, Debug)]
pub struct Failover {
    /// `None`: whoever catches up first.
    pub target: Option<(String, u16)>,
    pub force: bool,
    /// Unix milliseconds.
    pub until_ms: Option<i64>,
    /// The target has everything, and is asked to take over.
    pub handing_over: bool,
}

impl Failover {
    /// As INFO says it.
    pub fn word(failover: Option<&Failover>) -> &'static str {
        match failover {
            None => "no-failover",
            Some(Failover { handing_over: false, .. }) => "waiting-for-sync",
            Some(_) => "failover-in-progress",
        }
    }
}

/// A client that has said something about itself as a replica.
#[derive(Clone, Debug, Default)]
pub struct Downstream {
    pub stage: Stage,
    pub port: u16,
    /// `replica-announce-ip`; empty: the connection's own address.
    pub ip: String,
    /// `capa`: takes an RDB of unknown length; takes `+CONTINUE` with another id.
    pub eof: bool,
    pub psync2: bool,
    /// Wants a snapshot and nothing after it.
    pub rdb_only: bool,
    /// Wants only the functions of it.
    pub functions_only: bool,
    /// Came by SYNC, and will not say how far it is.
    pub mute: bool,
    /// The stream up to here was handed to its connection; `None` until its snapshot, if it needs one, is taken.
    pub sent: Option<Offset>,
    /// When its connection last took bytes of snapshot or stream (Unix milliseconds).
    pub took_ms: i64,
    /// Its stream position, what it has made durable, and when it last said anything (Unix milliseconds).
    pub ack: Offset,
    pub durable: Offset,
    pub ack_ms: i64,
    /// How often it has.
    pub acks: u64,
    /// Another follower came from the same address and port since: this connection may be what is left of an earlier life of
    /// that one, unless it says something.
    pub outlived: bool,
    /// Names of its history that it showed: each with the offset up to which its bytes have that name.
    pub shown: Vec<(ReplId, Offset)>,
    /// An operator pointed it here just now.
    pub by_order: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Stage {
    /// Has not asked for the stream.
    #[default]
    Handshake,
    /// Waits for a snapshot to begin or to be written.
    WaitSnapshot,
    /// Is sent a snapshot.
    SendSnapshot,
    Online,
}

impl Stage {
    /// As INFO says it.
    pub fn word(self) -> &'static str {
        match self {
            Stage::Handshake => "handshake",
            Stage::WaitSnapshot => "wait_bgsave",
            Stage::SendSnapshot => "send_bulk",
            Stage::Online => "online",
        }
    }
}

impl Downstream {
    /// Whether it has to say each second how far it is.
    pub fn owes_words(&self) -> bool {
        self.stage == Stage::Online && !self.rdb_only && !self.mute
    }
}

impl Session {
    /// The follower that this client is; `None` for clients that only talk of it.
    pub fn downstream(&self) -> Option<&Downstream> {
        self.replica.as_deref().filter(|replica| replica.stage != Stage::Handshake)
    }

    /// Where a replica's own clients reach it.
    pub fn replica_address(&self) -> (String, u16) {
        let replica = self.replica.as_deref();
        let announced = replica.map(|replica| replica.ip.clone()).unwrap_or_default();
        let peer = self.addr.rsplit_once(':').map_or("", |(ip, _)| ip);
        let ip = if announced.is_empty() { peer.trim_matches(['[', ']']).to_string() } else { announced };
        (ip, replica.map_or(0, |replica| replica.port))
    }
}

impl Server {
    pub fn upstream(&self) -> Option<&Upstream> {
        match &self.role {
            Role::Primary => None,
            Role::Replica(upstream) => Some(upstream),
        }
    }

    /// The same for INFO, ROLE and what readers get.
    pub fn shown_upstream(&self) -> Option<&Upstream> {
        self.upstream().filter(|upstream| !upstream.leaving)
    }

    pub fn upstream_mut(&mut self) -> Option<&mut Upstream> {
        match &mut self.role {
            Role::Primary => None,
            Role::Replica(upstream) => Some(upstream),
        }
    }

    /// All followers, in the order in which they connected.
    pub fn replicas(&self) -> Vec<(Slot, &Session, &Downstream)> {
        let followers = self.sessions.iter();
        let mut list: Vec<_> =
            followers.filter_map(|(slot, session)| Some((slot, session, session.downstream()?))).collect();
        list.sort_by_key(|(_, session, _)| session.id);
        list
    }

    /// Followers that have the stream up to `offset` (and have made it durable).
    pub fn replicas_at(&self, offset: Offset, durable: bool) -> u32 {
        let has = |replica: &Downstream| {
            let at = if durable { replica.durable } else { replica.ack };
            replica.stage == Stage::Online && !replica.outlived && at >= offset
        };
        self.replicas().iter().filter(|(_, _, replica)| has(replica)).count() as u32
    }

    /// Bytes of stream that are kept for the follower that is furthest behind, also while it waits for the end of its
    /// snapshot: in ring and log, not in memory. In blocks, as Redis holds them, so that a PING is no news.
    pub fn unsent(&self) -> u64 {
        const BLOCK: u64 = 16 * 1024;
        let replicas = self.sessions.iter().filter_map(|(_, session)| session.downstream());
        let behind = replicas.filter_map(|replica| replica.sent).map(|sent| self.history.end.since(sent));
        behind.max().unwrap_or(0).next_multiple_of(BLOCK)
    }

    /// Followers in sync whose last word is no older than `min-replicas-max-lag`.
    pub fn good_replicas(&self, now_ms: i64) -> u32 {
        let most = i64::from(self.config.settings.min_replicas_max_lag);
        let good =
            |replica: &Downstream| replica.stage == Stage::Online && (now_ms - replica.ack_ms) / 1000 <= most;
        self.replicas().iter().filter(|(_, _, replica)| good(replica)).count() as u32
    }
}

/// What is known of the history beyond its end; filled by recovery and by changes of the name.
#[derive(Clone, Debug)]
pub struct Past {
    /// Newest first.
    pub lineage: Vec<Ancestor>,
    pub born: Born,
    /// A peer was told the id in force (rule 20).
    pub told: bool,
    /// Bytes that recovery declared lost at this start, at most.
    pub declared_loss: u64,
    /// An operator's REPLICAOF NO ONE: replicas that hold more may be overwritten (rule 5).
    pub overwrite: bool,
    /// Names that the data had here before full syncs since the start replaced them, newest first, the latest
    /// [`MAX_LINEAGE`] of them.
    pub replaced: Vec<ReplId>,
}

impl Default for Past {
    fn default() -> Past {
        Past {
            lineage: Vec::new(),
            born: Born::Import,
            told: false,
            declared_loss: 0,
            overwrite: false,
            replaced: Vec::new(),
        }
    }
}

impl History {
    /// Takes over what `replication.toml` says of the names.
    pub fn remember(&mut self, recorded: &Recorded) {
        self.replid = recorded.replid;
        self.previous = recorded.lineage.first().map(|past| (past.replid, past.end.min(recorded.begun)));
        let (lineage, born, told) = (recorded.lineage.clone(), recorded.born, recorded.told);
        let replaced = std::mem::take(&mut self.past.replaced);
        self.past = Past { lineage, born, told, replaced, ..Past::default() };
    }

    /// The data in force are about to be replaced by those of another history.
    pub fn replace_names(&mut self) {
        let names = std::iter::once(self.replid).chain(self.past.lineage.iter().map(|past| past.replid));
        let names: Vec<ReplId> = names.chain(self.past.replaced.iter().copied()).take(MAX_LINEAGE).collect();
        self.past.replaced = names;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ReplId {
        ReplId::from_random([n; 20])
    }

    /// An order of time 0.
    fn ordered() -> Upstream {
        Upstream {
            host: "10.0.0.1".into(),
            port: 6379,
            link: LinkState::Connect,
            last_io_ms: 0,
            down_since_ms: 0,
            trouble: None,
            loads: false,
            mandate: Some(Mandate::Given(0)),
            leaving: false,
        }
    }

    /// Rule 5's exemption is for the primary that was there when the operator spoke.
    #[test]
    fn the_operators_word_goes_for_the_primary_that_was_there() {
        let check =
            |what: &str, then: fn(&mut Upstream) -> Result<(), &'static str>, expected: (bool, bool)| {
                let mut primary = ordered();
                let answer = then(&mut primary);
                assert_eq!((answer.is_ok(), primary.is_ordered(60_000, 60_000)), expected, "{what}");
            };
        check("nothing", |_| Ok(()), (true, true));
        let refused: fn(&mut Upstream) -> Result<(), &'static str> = |p| {
            p.refused();
            Ok(())
        };
        check("nobody listens", refused, (true, false));
        check("it answers", |p| p.answered(id(1), |_| false), (true, true));
        check("it loads, and knows no name yet", |p| p.answered(ReplId::NONE, |_| false), (true, true));
        let again: fn(&mut Upstream) -> Result<(), &'static str> = |p| {
            p.answered(id(1), |_| false)?;
            p.refused();
            p.answered(ReplId::NONE, |_| false)?;
            p.answered(id(2), |known| known == id(1))
        };
        check("it was restarted with what it had", again, (true, true));
        let reborn: fn(&mut Upstream) -> Result<(), &'static str> = |p| {
            p.answered(id(1), |_| false)?;
            p.answered(id(2), |_| false)
        };
        check("it was restarted with nothing", reborn, (false, false));
        assert!(!ordered().is_ordered(60_001, 60_000), "it does not answer");
    }
}
