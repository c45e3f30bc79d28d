//! What the engine knows besides the data: sessions, subscriptions, statistics, persistence status.
//!
//! Commands may read and change it through their context; the driver feeds the parts that come from outside
//! (durable offset, results of background work). Everything here is plain data.

pub mod latency;
pub mod pubsub;
pub mod replication;
mod server;
pub mod session;
pub mod stats;
pub mod watch;

use crate::config::Config;
use crate::error::ReplyError;
use crate::store::Limits;
use crate::units::{Offset, ReplId};

pub use pubsub::PubSub;
pub use replication::{Downstream, Failover, LinkState, Mandate, Past, Role, Stage, Strays, Upstream};
pub use session::{ClientId, Session, Sessions, Slot, Transaction};
pub use stats::{CommandStats, SlowLog, Stats};
pub use watch::Watchers;

/// State of this server beside its data.
pub struct Server {
    pub config: Config,
    /// Derived from `config` whenever it changes.
    pub limits: Limits,
    pub sessions: Sessions,
    pub pubsub: PubSub,
    pub watchers: Watchers,
    /// Sessions in MONITOR.
    pub monitors: Vec<Slot>,
    /// Sessions that have output, or input to go on with, beside the one being served.
    pub woken: Vec<Slot>,
    pub pause: Option<Pause>,
    /// CLIENT UNPAUSE was called, or what else held somebody back has ended: those who may go on do.
    pub pause_ended: bool,
    /// Changes of settings that the driver has not carried out yet: the next CONFIG SET or REWRITE waits for its turn.
    pub configuring: u32,
    pub blocked_clients: usize,
    /// What the running command wants done to other clients, once its unit is closed.
    pub orders: Vec<Order>,
    /// Arguments of the running command that MONITOR and SLOWLOG must not show.
    pub redacted: Vec<usize>,
    pub slowlog: SlowLog,
    /// What took longer than `latency-monitor-threshold`.
    pub latency: latency::Events,
    pub stats: Stats,
    pub history: History,
    pub role: Role,
    pub failover: Option<Failover>,
    pub strays: Strays,
    /// Clients that get the stream, and when the last one left (Unix milliseconds).
    pub followers: usize,
    pub follower_left_ms: Option<i64>,
    pub persistence: Persistence,
    pub random: fastrand::Rng,
    /// Values that wait to be freed by another thread.
    pub lazyfree_pending: u64,
    /// Process-wide facts that the driver knows: for INFO.
    pub process: Process,
    /// Unix microseconds when the running command began.
    pub now_micros: i64,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
    /// DEBUG SET-SKIP-CHECKSUM-VALIDATION: RESTORE believes payloads.
    pub skip_payload_checksum: bool,
    /// Warnings for the log, which the driver takes.
    pub remarks: Vec<String>,
    /// DEBUG PAUSE-CRON.
    pub cron_paused: bool,
}

/// Something to be done to another client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Close its connection; its output is lost.
    Kill(Slot),
    /// End its wait as if its time were up, or with an error.
    Unblock { slot: Slot, with_error: bool },
}

/// CLIENT PAUSE.
#[derive(Clone, Copy, Debug)]
pub struct Pause {
    pub until_ms: i64,
    /// Only commands that write wait.
    pub writes_only: bool,
}

/// Where the stream stands.
#[derive(Clone, Debug)]
pub struct History {
    pub replid: ReplId,
    /// The id before this one and the last offset valid under it (INFO's `master_replid2`, `second_repl_offset`).
    pub previous: Option<(ReplId, Offset)>,
    /// End of the stream: bytes produced so far.
    pub end: Offset,
    /// What the log has `write`n and what it has made durable.
    pub written: Offset,
    pub durable: Offset,
    /// The first offset that ring or log can still give.
    pub held_from: Offset,
    /// Bytes before this are given to nobody (`repl-backlog-ttl`).
    pub given_up: Offset,
    pub past: Past,
}

/// Status of background persistence, for INFO and for gates (`stop-writes-on-bgsave-error`, P7).
#[derive(Clone, Debug, Default)]
pub struct Persistence {
    pub loading: Option<Loading>,
    pub saving: bool,
    pub save_scheduled: bool,
    /// Nothing on disk leads to the end of the stream: a base of the log is due, or without one a snapshot where recovery
    /// looks for it.
    pub base_due: bool,
    pub rewriting: bool,
    pub rewrite_scheduled: bool,
    pub last_save_ok: bool,
    pub last_rewrite_ok: bool,
    /// Unix seconds of the last successful save.
    pub last_save_time: i64,
    pub last_save_secs: i64,
    /// Bytes of the snapshot in force.
    pub last_save_bytes: u64,
    pub last_rewrite_secs: i64,
    pub current_save_started_ms: i64,
    /// Changes since the last save.
    pub dirty: u64,
    pub aof_enabled: bool,
    /// Why writes are refused (a failed write or fsync), if they are.
    pub failed: Option<String>,
    /// Since when, in Unix milliseconds.
    pub failed_since_ms: i64,
    /// The failure will not heal by itself: replies that wait for the log are never sent.
    pub latched: bool,
    pub aof_current_size: u64,
    pub aof_base_size: u64,
    /// After a failure: not before this time, in Unix milliseconds.
    pub retry_save_at_ms: i64,
    pub retry_rewrite_at_ms: i64,
    /// Minutes by which the last failed rewrite was put off; 0: the rule for repeated failures is not in force.
    pub rewrite_put_off_minutes: u32,
    pub save_keys_total: u64,
    pub save_keys_done: u64,
    /// Bytes by which memory has grown since the snapshot that is being written was taken: what writes copied and
    /// added, and the writer's buffers. Now, at most, and at most during the last save and rewrite.
    pub cow_size: u64,
    pub cow_peak: u64,
    pub last_save_cow: u64,
    pub last_rewrite_cow: u64,
    pub current_rewrite_started_ms: i64,
    /// Bytes handed to the log but not yet written, and fsyncs under way.
    pub aof_buffer_length: u64,
    pub aof_pending_fsyncs: u64,
    /// Set while a shutdown waits for replicas, and writes for it: until when, in Unix milliseconds.
    pub shutdown_until_ms: Option<i64>,
    /// Of the last load.
    pub load_keys: u64,
    pub load_keys_expired: u64,
}

impl Persistence {
    /// What the log holds would be recovered: it is on, and what it stands on is there (rule 26). Nothing that is to be durable
    /// is called so before.
    pub fn log_is_in_force(&self) -> bool {
        self.aof_enabled && !self.base_due
    }
}

impl Persistence {
    /// Why nothing may enter the stream now: the log cannot be written.
    pub fn log_failure(&self) -> Option<ReplyError> {
        let why = self.failed.as_ref()?;
        Some(ReplyError::from(format!("MISCONF Errors writing to the AOF file: {why}")))
    }
}

/// A load in progress.
#[derive(Clone, Debug, Default)]
pub struct Loading {
    pub started_ms: i64,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
    /// What the data took where the snapshot was written.
    pub rdb_used_mem: u64,
}

/// Facts about the process that the pure engine cannot ask the system for.
#[derive(Clone, Debug, Default)]
pub struct Process {
    pub pid: u32,
    pub run_id: String,
    pub started_ms: i64,
    pub executable: String,
    pub config_file: String,
    pub os: String,
    pub port: u16,
    pub used_memory: u64,
    pub used_memory_peak: u64,
    pub used_memory_startup: u64,
    pub rss: u64,
    pub total_system_memory: u64,
    pub cpu_user: f64,
    pub cpu_sys: f64,
    /// Of the thread that owns the data.
    pub cpu_user_main: f64,
    pub cpu_sys_main: f64,
    /// The allocator's name, and what it says of itself, in bytes (0: unknown).
    pub allocator: &'static str,
    pub allocator_active: u64,
    pub allocator_resident: u64,
}

impl Server {
    /// Warns in the log.
    pub fn remark(&mut self, text: String) {
        self.remarks.push(text);
    }

    /// A server at rest over an empty history.
    pub fn new(config: Config, history: History, process: Process, random_seed: u64) -> Server {
        let limits = Limits::from_settings(&config.settings);
        let last_save_time = process.started_ms / 1000;
        Server {
            config,
            limits,
            sessions: Sessions::default(),
            pubsub: PubSub::default(),
            watchers: Watchers::default(),
            monitors: Vec::new(),
            woken: Vec::new(),
            pause: None,
            pause_ended: false,
            configuring: 0,
            blocked_clients: 0,
            orders: Vec::new(),
            redacted: Vec::new(),
            slowlog: SlowLog::default(),
            latency: latency::Events::default(),
            stats: Stats::default(),
            history,
            role: Role::Primary,
            failover: None,
            strays: Strays::default(),
            followers: 0,
            follower_left_ms: None,
            persistence: Persistence {
                last_save_ok: true,
                last_rewrite_ok: true,
                last_save_time,
                ..Persistence::default()
            },
            random: fastrand::Rng::with_seed(random_seed),
            lazyfree_pending: 0,
            process,
            now_micros: 0,
            active_expire: true,
            skip_payload_checksum: false,
            remarks: Vec::new(),
            cron_paused: false,
        }
    }

    #[cfg(test)]
    pub fn for_tests() -> Server {
        let history = History::new(ReplId::from_random([7; 20]));
        Server::new(Config::default(), history, Process::default(), 1)
    }
}

impl History {
    /// The first offset from which a replica may go on.
    pub fn offered_from(&self) -> Offset {
        self.held_from.max(self.given_up)
    }

    /// A history without bytes.
    pub fn new(replid: ReplId) -> History {
        History {
            replid,
            previous: None,
            end: Offset::ZERO,
            written: Offset::ZERO,
            durable: Offset::ZERO,
            held_from: Offset::ZERO,
            given_up: Offset::ZERO,
            past: Past::default(),
        }
    }
}
