//! The vocabulary of a command: row, arguments, context, outcome, effect.
//!
//! A command is a function and a row in its file's `COMMANDS` table. The function gets a [`Ctx`] and [`Args`],
//! writes its reply to `ctx.out`, changes data only through `ctx.db`, and returns what it did:
//!
//! ```text
//! Done(None)        nothing for the stream
//! Done(Verbatim)    the command as the client sent it enters the stream
//! Done(Rewrite(..)) these commands enter the stream instead: they must give the same data wherever and
//!                   whenever they are replayed (EXPIRE → PEXPIREAT, SPOP → SREM, INCRBYFLOAT → SET …)
//! Block(..)         nothing could be done yet: run me again when one of these keys may serve me
//! Request(..)       the server must do something that the core cannot (save, shut down, …); it replies then
//! ```
//!
//! An `Err` is an error reply; a command that returns one has written nothing and changed nothing.
//! Commands never reach upward: no files, no sockets, no clock but `ctx.now`.

mod acl;
mod categories;
pub mod client;
mod command_docs;
mod command_info;
mod config;
pub mod connection;
mod debug;
mod dump;
mod expire;
mod flush;
mod help;
mod info;
pub mod keys;
mod latency;
mod manual;
mod memory;
mod object;
mod observe;
mod persistence;
mod pubsub;
pub mod renames;
mod replication;
pub mod scan;
mod syntax;
pub mod table;
#[cfg(test)]
pub mod testing;
mod transaction;

use crate::error::ReplyError;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::number::parse_f64;
use crate::resp::reply::Reply;
use crate::state::session::Slot;
use crate::state::{Server, Session};
use crate::store::{Db, Type};
use crate::units::ReplId;

pub use crate::state::session::{BlockCause, TimeoutReply};

pub use table::{Command, Flags, Group, Keys, find};

/// Runs a command.
pub type Execute = fn(&mut Ctx<'_>, Args<'_>) -> Result<Outcome, ReplyError>;

/// Everything a command may see.
pub struct Ctx<'a> {
    /// The selected database; all data changes go through it.
    pub db: Db<'a>,
    /// The reply being written, in the client's protocol.
    pub out: Reply<'a>,
    pub server: &'a mut Server,
    /// The calling client's place in `server.sessions`.
    pub slot: Slot,
    /// Unix milliseconds; the same for all commands of a transaction.
    pub now: i64,
    /// The row being executed (its name distinguishes commands that share a function).
    pub command: &'static Command,
    /// Inside EXEC or a script: a command that would block answers as if its time were up.
    pub deny_blocking: bool,
}

impl Ctx<'_> {
    /// The calling client.
    pub fn session(&mut self) -> &mut Session {
        self.server.sessions.get_mut(self.slot).expect("the caller is connected while its command runs")
    }

    /// Length of `out` above which the client will be closed without getting anything of it
    /// (`client-output-buffer-limit`): a command whose arguments alone can ask for more may stop there.
    pub fn output_limit(&self) -> usize {
        let limits = self.server.config.settings.client_output_buffer_limit;
        let subscribed = self.server.sessions.get(self.slot).is_some_and(|s| s.subscriptions() > 0);
        match if subscribed { limits.pubsub.hard } else { limits.normal.hard } {
            0 => usize::MAX,
            hard => usize::try_from(hard).unwrap_or(usize::MAX).max(OUTPUT_JUDGED),
        }
    }
}

/// Output up to here may be written before it is judged by the limits.
pub const OUTPUT_JUDGED: usize = 16 * 1024;

/// What a command did.
#[derive(Debug)]
pub enum Outcome {
    Done(Effect),
    /// An effect of its own, and something more for the server to do after the unit is closed.
    Both(Effect, Request),
    Block(Block),
    Request(Request),
}

/// What enters the stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Effect {
    None,
    Verbatim,
    Rewrite(Vec<OwnedArgs>),
    /// The client's command, which changes no data and belongs to no database (PUBLISH).
    Message,
}

impl Effect {
    /// One command instead of the client's.
    pub fn rewrite(args: &[&[u8]]) -> Effect {
        Effect::Rewrite(vec![OwnedArgs::from_slices(args)])
    }
}

/// `Ok(Outcome::Done(..))`, the usual ends of a command.
pub const UNCHANGED: Result<Outcome, ReplyError> = Ok(Outcome::Done(Effect::None));
pub const VERBATIM: Result<Outcome, ReplyError> = Ok(Outcome::Done(Effect::Verbatim));

/// `Verbatim` if `changed`, else nothing.
pub fn verbatim_if(changed: bool) -> Result<Outcome, ReplyError> {
    if changed { VERBATIM } else { UNCHANGED }
}

/// Shorthand for a single rewritten command.
pub fn rewrite(args: &[&[u8]]) -> Result<Outcome, ReplyError> {
    Ok(Outcome::Done(Effect::rewrite(args)))
}

/// A wait for keys. The node runs the same command again when a key of type `wants` appears at one of `keys`
/// (clients are served in the order in which they began to wait), or writes `on_timeout` at `deadline`.
#[derive(Clone, Debug)]
pub struct Block {
    pub keys: Vec<Vec<u8>>,
    pub wants: Type,
    /// Unix milliseconds, `i64::MAX` for ever.
    pub deadline: i64,
    pub on_timeout: TimeoutReply,
}

/// When a wait ends that starts at `now` and is to last `seconds`, a float as the client wrote it; 0 is for ever.
pub fn deadline_after(now: i64, seconds: &[u8]) -> Result<i64, ReplyError> {
    const NO_FLOAT: ReplyError = ReplyError::new("ERR timeout is not a float or out of range");
    const OUT_OF_RANGE: ReplyError = ReplyError::new("ERR timeout is out of range");
    let millis = (parse_f64(seconds).ok_or(NO_FLOAT)? * 1000.0).ceil();
    if millis >= i64::MAX as f64 {
        return Err(OUT_OF_RANGE);
    }
    match millis as i64 {
        ..0 => Err(ReplyError::new("ERR timeout is negative")),
        0 => Ok(i64::MAX),
        millis => now.checked_add(millis).ok_or(OUT_OF_RANGE),
    }
}

/// What only the node or the driver can do. The reply is theirs to write, unless said otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Run the queued transaction of this client.
    Exec,
    Save,
    BgSave {
        schedule: bool,
    },
    BgRewriteAof,
    Shutdown {
        save: Option<bool>,
        now: bool,
        force: bool,
    },
    ShutdownAbort,
    Wait {
        replicas: u32,
        deadline: i64,
    },
    WaitAof {
        local: u32,
        replicas: u32,
        deadline: i64,
    },
    /// The reply is already written; the data thread stands still for this long.
    Sleep {
        micros: u64,
    },
    DebugReload {
        save: bool,
        flush: bool,
        merge: bool,
    },
    DebugLoadAof,
    DebugChangeReplId,
    /// Follow this server; `None`: nobody any more.
    ReplicaOf(Option<(String, u16)>),
    /// Hand over to a replica; `None`: stop doing so.
    Failover(Option<FailoverOrder>),
    /// A replica asks for the stream (`old`: by SYNC).
    Psync {
        replid: Option<ReplId>,
        next: i64,
        failover: bool,
        old: bool,
    },
    /// A replica of our kind shows its history's names; the answer are ours.
    ShowLineage(Vec<u8>),
    /// A replica has said how far it is. No reply.
    Acknowledged,
    /// Every fsync of the log takes so much longer from now on.
    DebugSyncDelay {
        micros: u64,
    },
    /// `all`: every setting is written, not only what differs from its default.
    ConfigRewrite {
        all: bool,
    },
    ConfigSet {
        pairs: Vec<(Vec<u8>, Vec<u8>)>,
    },
    /// FLUSHALL: where there are save points, a snapshot after the unit is closed (rule 31), and the reply after that;
    /// inside EXEC the client does not wait. Comes with an effect, in [`Outcome::Both`].
    SaveAfterFlush {
        waits: bool,
    },
}

/// FAILOVER's arguments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FailoverOrder {
    pub target: Option<(String, u16)>,
    pub force: bool,
    pub timeout_ms: Option<i64>,
}

/// The tables of the files in this directory.
pub const TABLES: &[&[Command]] = &[
    keys::COMMANDS,
    dump::COMMANDS,
    expire::COMMANDS,
    scan::COMMANDS,
    flush::COMMANDS,
    object::COMMANDS,
    connection::COMMANDS,
    client::COMMANDS,
    transaction::COMMANDS,
    config::COMMANDS,
    info::COMMANDS,
    pubsub::COMMANDS,
    persistence::COMMANDS,
    replication::COMMANDS,
    debug::COMMANDS,
    command_info::COMMANDS,
    memory::COMMANDS,
    observe::COMMANDS,
    latency::COMMANDS,
    acl::COMMANDS,
];
