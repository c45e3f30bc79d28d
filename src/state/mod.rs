//! What the engine knows besides the data: sessions, subscriptions, statistics, persistence status.
//!
//! Commands may read and change it through their context; the driver feeds the parts that come from outside
//! (durable offset, results of background work). Everything here is plain data.

pub mod session;
pub mod stats;

use crate::store::Limits;
use crate::units::{Offset, ReplId};

pub use session::{ClientId, Session, Sessions, Transaction};
pub use stats::Stats;

/// State of this server beside its data.
pub struct Server {
    pub limits: Limits,
    pub sessions: Sessions,
    pub stats: Stats,
    pub history: History,
    pub persistence: Persistence,
    pub random: fastrand::Rng,
    /// Process-wide facts that the driver knows: for INFO.
    pub process: Process,
    /// DEBUG SET-ACTIVE-EXPIRE.
    pub active_expire: bool,
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
    /// First offset that the ring still holds.
    pub ring_start: Offset,
}

/// Status of background persistence, for INFO and for gates (`stop-writes-on-bgsave-error`, P7).
#[derive(Clone, Debug, Default)]
pub struct Persistence {
    pub loading: Option<Loading>,
    pub saving: bool,
    pub save_scheduled: bool,
    pub rewriting: bool,
    pub rewrite_scheduled: bool,
    pub last_save_ok: bool,
    pub last_rewrite_ok: bool,
    /// Unix seconds of the last successful save.
    pub last_save_time: i64,
    pub last_save_secs: i64,
    pub last_rewrite_secs: i64,
    pub current_save_started_ms: i64,
    pub saves: u64,
    pub rewrites: u64,
    /// Changes since the last save.
    pub dirty: u64,
    pub aof_enabled: bool,
    /// Why writes are refused (a failed write or fsync), if they are.
    pub failed: Option<String>,
    pub aof_current_size: u64,
    pub aof_base_size: u64,
    pub save_keys_total: u64,
    pub save_keys_done: u64,
    /// Of the last load.
    pub load_keys: u64,
    pub load_keys_expired: u64,
}

/// A load in progress.
#[derive(Clone, Debug, Default)]
pub struct Loading {
    pub started_ms: i64,
    pub total_bytes: u64,
    pub loaded_bytes: u64,
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
}

impl Server {
    /// A server at rest, for unit tests.
    #[cfg(test)]
    pub fn for_tests() -> Server {
        Server {
            limits: Limits::default(),
            sessions: Sessions::default(),
            stats: Stats::default(),
            history: History::new(ReplId::from_random([7; 20])),
            persistence: Persistence::default(),
            random: fastrand::Rng::with_seed(1),
            process: Process::default(),
            active_expire: true,
        }
    }
}

impl History {
    /// A history without bytes.
    pub fn new(replid: ReplId) -> History {
        History {
            replid,
            previous: None,
            end: Offset::ZERO,
            written: Offset::ZERO,
            durable: Offset::ZERO,
            ring_start: Offset::ZERO,
        }
    }
}
