//! One connected client.

use std::collections::{BTreeSet, VecDeque};

use slab::Slab;

use super::pubsub::Kind;

use crate::resp::args::OwnedArgs;
use crate::resp::reply::{Protocol, Reply};
use crate::store::Type;
use crate::units::Offset;

/// Client ids as in CLIENT ID: they start at 1, grow, and are never reused in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientId(pub u64);

/// A queue of commands between MULTI and EXEC.
#[derive(Clone, Debug, Default)]
pub struct Transaction {
    pub queue: Vec<OwnedArgs>,
    /// A command was refused while queueing: EXEC answers EXECABORT.
    pub aborted: bool,
    /// Union of the queued commands' flags.
    pub has_writes: bool,
    pub may_replicate: bool,
    pub denies_oom: bool,
    /// One of them may not run while data are being loaded.
    pub denies_loading: bool,
    /// One of them may not run on a replica whose data are stale.
    pub denies_stale: bool,
}

impl Transaction {
    pub fn heap_bytes(&self) -> usize {
        let queued: usize = self.queue.iter().map(|args| args.heap_bytes()).sum();
        queued + self.queue.capacity() * size_of::<OwnedArgs>()
    }
}

/// A key that must stay as it is for the next transaction to run.
#[derive(Clone, Debug)]
pub struct Watched {
    pub db: u32,
    pub key: Vec<u8>,
    /// It held a value: if it did not and does not now (absent or past its deadline), nothing has changed.
    pub was_live: bool,
}

/// What a client gets whose wait for keys ends without success.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutReply {
    NullArray,
    Null,
}

/// What a blocked session waits for.
#[derive(Clone, Debug)]
pub enum BlockCause {
    Keys(TimeoutReply),
    /// WAIT and WAITAOF: until enough others have the client's writes.
    Others(Wait),
    /// Background work whose end writes the reply (SAVE, SHUTDOWN, DEBUG RELOAD …).
    Work,
    /// CLIENT PAUSE.
    Paused,
}

/// What WAIT (`aof` false) and WAITAOF wait for: that so many replicas, and with `local` this server's log, have
/// the stream up to `offset`. The counts reached are the reply, whether in time or not.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    pub offset: Offset,
    pub local: u32,
    pub replicas: u32,
    pub aof: bool,
}

impl Wait {
    /// The reply: whether the own log has what is waited for, and how many replicas.
    pub fn counts(&self, local: bool, replicas: u32, out: &mut Reply<'_>) {
        if self.aof {
            out.array(2);
            out.int(local.into());
        }
        out.int(replicas.into());
    }
}

/// A wait: the command, what it waits for, until when.
#[derive(Clone, Debug)]
pub struct Blocked {
    /// The command to run again when one of `keys` may serve it.
    pub command: OwnedArgs,
    pub db: usize,
    pub keys: Vec<Vec<u8>>,
    /// The type whose arrival at a key is worth a new try.
    pub wants: Option<Type>,
    /// Unix milliseconds, `i64::MAX` for ever.
    pub deadline: i64,
    pub since_ms: i64,
    pub cause: BlockCause,
}

/// CLIENT REPLY.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReplyMode {
    #[default]
    On,
    Off,
    /// The next command gets no reply.
    SkipNext,
    /// This command gets no reply.
    Skip,
}

/// The first `upto` bytes of the output may leave once the log is durable up to `need`.
#[derive(Clone, Copy, Debug)]
pub struct Hold {
    pub upto: usize,
    pub need: Offset,
}

#[derive(Clone, Debug)]
pub struct Session {
    pub id: ClientId,
    pub addr: String,
    pub laddr: String,
    pub fd: i32,
    pub unix_socket: bool,
    pub name: Vec<u8>,
    pub lib_name: Vec<u8>,
    pub lib_ver: Vec<u8>,
    pub created_ms: i64,
    pub last_active_ms: i64,
    pub db: usize,
    pub proto: Protocol,
    pub authenticated: bool,
    /// This is the link to our primary: its commands are the stream, nobody reads its replies, no time-out ends it.
    pub upstream: bool,
    pub user: String,
    pub multi: Option<Transaction>,
    pub watched: Vec<Watched>,
    /// A watched key was changed: EXEC answers null.
    pub watch_broken: bool,
    pub channels: BTreeSet<Vec<u8>>,
    pub patterns: BTreeSet<Vec<u8>>,
    pub shard_channels: BTreeSet<Vec<u8>>,
    pub reply_mode: ReplyMode,
    pub monitor: bool,
    pub no_evict: bool,
    pub no_touch: bool,
    pub blocked: Option<Blocked>,
    /// Close once the output has been written (QUIT, protocol errors, CLIENT KILL of oneself).
    pub close_after_reply: bool,
    /// Close now.
    pub closing: bool,
    /// Name of the last command, for CLIENT LIST.
    pub last_command: &'static str,
    /// Replies and pushes not yet handed to the driver.
    pub out: Vec<u8>,
    /// Parts of `out` that wait for the log (rule 13), in order.
    pub holds: VecDeque<Hold>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub commands: u64,
    /// End of the stream after the client's last write, for WAIT and WAITAOF.
    pub last_write: Offset,
    /// Input bytes that the driver held for this client before or after the batch that runs, and the memory that
    /// it has for them.
    pub query_len: usize,
    pub query_buffer: usize,
    /// Output bytes not yet taken by the socket.
    pub output_buffer: usize,
    /// Since when the output is above the soft limit of `client-output-buffer-limit`.
    pub over_soft_since_ms: Option<i64>,
    /// What it said of itself as a replica.
    pub replica: Option<Box<super::Downstream>>,
}

impl Session {
    pub fn new(id: ClientId, addr: String, laddr: String, now_ms: i64) -> Session {
        Session {
            id,
            addr,
            laddr,
            fd: -1,
            unix_socket: false,
            name: Vec::new(),
            lib_name: Vec::new(),
            lib_ver: Vec::new(),
            created_ms: now_ms,
            last_active_ms: now_ms,
            db: 0,
            proto: Protocol::Resp2,
            authenticated: true,
            upstream: false,
            user: "default".into(),
            multi: None,
            watched: Vec::new(),
            watch_broken: false,
            channels: BTreeSet::new(),
            patterns: BTreeSet::new(),
            shard_channels: BTreeSet::new(),
            reply_mode: ReplyMode::On,
            monitor: false,
            no_evict: false,
            no_touch: false,
            blocked: None,
            close_after_reply: false,
            closing: false,
            last_command: "NULL",
            out: Vec::new(),
            holds: VecDeque::new(),
            bytes_in: 0,
            bytes_out: 0,
            commands: 0,
            last_write: Offset::ZERO,
            query_len: 0,
            query_buffer: 0,
            output_buffer: 0,
            over_soft_since_ms: None,
            replica: None,
        }
    }

    /// The client is on this machine.
    pub fn is_local(&self) -> bool {
        self.unix_socket || self.addr.starts_with("127.") || self.addr.starts_with("[::1]")
    }

    /// Bytes that this client costs.
    pub fn heap_bytes(&self) -> usize {
        let names = [&self.channels, &self.patterns, &self.shard_channels].into_iter().flatten();
        size_of::<Session>()
            + self.out.capacity().max(self.output_buffer)
            + self.query_buffer
            + self.multi.as_ref().map_or(0, Transaction::heap_bytes)
            + names.map(|name| name.len() + 64).sum::<usize>()
    }

    /// Names of one kind that this client listens to.
    pub fn subscribed(&mut self, kind: Kind) -> &mut BTreeSet<Vec<u8>> {
        match kind {
            Kind::Channel => &mut self.channels,
            Kind::Pattern => &mut self.patterns,
            Kind::Shard => &mut self.shard_channels,
        }
    }

    /// Number of subscriptions of all kinds; in RESP2 a subscriber may use only a few commands.
    pub fn subscriptions(&self) -> usize {
        self.channels.len() + self.patterns.len() + self.shard_channels.len()
    }
}

/// All sessions. The driver addresses them by [`Slot`], clients by [`ClientId`].
#[derive(Default)]
pub struct Sessions {
    slab: Slab<Session>,
    last_id: u64,
}

/// Address of a session: its place (dense, reused) and who sits there. Once the client has gone it leads nowhere,
/// so that an answer which comes late never reaches the next one in that place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Slot {
    at: usize,
    id: ClientId,
}

impl Slot {
    /// The place, for tables beside [`Sessions`].
    pub fn place(self) -> usize {
        self.at
    }
}

impl Sessions {
    pub fn next_id(&mut self) -> ClientId {
        self.last_id += 1;
        ClientId(self.last_id)
    }
    pub fn add(&mut self, session: Session) -> Slot {
        let id = session.id;
        Slot { at: self.slab.insert(session), id }
    }
    pub fn remove(&mut self, slot: Slot) -> Option<Session> {
        self.get(slot)?;
        self.slab.try_remove(slot.at)
    }
    pub fn get(&self, slot: Slot) -> Option<&Session> {
        self.slab.get(slot.at).filter(|session| session.id == slot.id)
    }
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut Session> {
        self.slab.get_mut(slot.at).filter(|session| session.id == slot.id)
    }
    pub fn len(&self) -> usize {
        self.slab.len()
    }
    pub fn is_empty(&self) -> bool {
        self.slab.is_empty()
    }
    pub fn iter(&self) -> impl Iterator<Item = (Slot, &Session)> {
        self.slab.iter().map(|(at, session)| (Slot { at, id: session.id }, session))
    }
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut Session)> {
        self.slab.iter_mut().map(|(at, session)| (Slot { at, id: session.id }, session))
    }
}
