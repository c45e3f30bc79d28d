//! Counters behind INFO, and the slow log.

use std::collections::{BTreeMap, VecDeque};

use super::latency::Histogram;
use crate::error::ReplyError;

/// Counters that CONFIG RESETSTAT clears.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    pub connections_received: u64,
    pub connections_rejected: u64,
    pub commands_processed: u64,
    pub net_input_bytes: u64,
    pub net_output_bytes: u64,
    pub error_replies: u64,
    /// Those to commands of our primary.
    pub unexpected_errors: u64,
    pub evicted_keys: u64,
    pub evicted_clients: u64,
    /// Refused for a wrong password, or (by ACL rules) for a command, a key, a channel.
    pub denied_auth: u64,
    pub denied_command: u64,
    pub denied_key: u64,
    pub denied_channel: u64,
    /// Batches read from and written to sockets.
    pub reads: u64,
    pub writes: u64,
    /// Snapshots taken for saves, rewrites and full syncs, and how long the last one took the data thread.
    pub snapshots: u64,
    pub last_snapshot_micros: u64,
    /// Verdicts on replicas that asked to continue.
    /// To replicas and from a primary.
    pub net_repl_output_bytes: u64,
    pub net_repl_input_bytes: u64,
    /// Full syncs that this server received.
    pub full_syncs_received: u64,
    pub sync_full: u64,
    pub sync_partial_ok: u64,
    pub sync_partial_err: u64,
    /// Values freed on another thread.
    pub lazyfreed: u64,
    /// Saves and log rewrites that succeeded, rewrites that failed since, and fsyncs that another one delayed.
    pub saves: u64,
    pub rewrites: u64,
    pub rewrite_failures_in_a_row: u64,
    pub aof_delayed_fsyncs: u64,
    /// Microseconds spent looking for keys whose time has passed, and how often so many were due that some had to
    /// wait for the next tick.
    pub expire_micros: u64,
    pub expire_capped: u64,
    /// Payloads of RESTORE that were checked in depth.
    pub payloads_checked: u64,
    /// Batches of clients and ticks, and microseconds spent in them.
    pub loop_turns: u64,
    pub loop_micros: u64,
    /// The longest turn, and most commands in one.
    pub loop_micros_most: u64,
    pub turn_commands_most: u64,
    pub cron_micros: u64,
    /// Commands up to the last turn.
    commands_before: u64,
    /// Error replies by their first word.
    pub errors: BTreeMap<String, u64>,
    /// By [`crate::commands::Command::id`].
    pub commands: Vec<CommandStats>,
    /// Rates over the last samples, per second: commands, input bytes, output bytes, turns, microseconds in them.
    pub rates: [Rate; RATES],
    last_sample: Option<(i64, [u64; RATES])>,
}

const RATES: usize = 5;
/// Kinds of error counted apart before INFO errorstats stops telling them apart.
const ERROR_KINDS: usize = 128;

impl Stats {
    pub fn error(&mut self, error: &ReplyError) {
        self.error_replies += 1;
        let text = error.text();
        let code = text.split(' ').next().unwrap_or("ERR");
        if let Some(count) = self.errors.get_mut(code) {
            *count += 1;
        } else if self.errors.len() < ERROR_KINDS {
            self.errors.insert(code.to_string(), 1);
        }
    }

    /// Counts a batch or a tick.
    pub fn turn(&mut self, micros: i64) {
        self.loop_turns += 1;
        self.loop_micros += micros.unsigned_abs();
        self.loop_micros_most = self.loop_micros_most.max(micros.unsigned_abs());
        let commands =
            self.commands_processed - std::mem::replace(&mut self.commands_before, self.commands_processed);
        self.turn_commands_most = self.turn_commands_most.max(commands);
    }

    /// Takes a sample of the counters for the `instantaneous_*` figures.
    pub fn sample(&mut self, now_ms: i64) {
        let now = [
            self.commands_processed,
            self.net_input_bytes,
            self.net_output_bytes,
            self.loop_turns,
            self.loop_micros,
        ];
        if let Some((at, before)) = self.last_sample {
            let elapsed = now_ms - at;
            if elapsed < 100 {
                return;
            }
            for (rate, (now, before)) in self.rates.iter_mut().zip(now.iter().zip(before)) {
                rate.push(now.saturating_sub(before) * 1000 / elapsed as u64);
            }
        }
        self.last_sample = Some((now_ms, now));
    }
}

/// Mean of the last sixteen samples.
#[derive(Clone, Debug, Default)]
pub struct Rate {
    samples: [u64; 16],
    at: usize,
}

impl Rate {
    fn push(&mut self, per_second: u64) {
        self.samples[self.at] = per_second;
        self.at = (self.at + 1) % self.samples.len();
    }

    pub fn per_second(&self) -> u64 {
        self.samples.iter().sum::<u64>() / self.samples.len() as u64
    }
}

/// One command's line in INFO commandstats.
#[derive(Clone, Debug, Default)]
pub struct CommandStats {
    pub calls: u64,
    pub micros: u64,
    pub rejected: u64,
    pub failed: u64,
    /// Kept while `latency-tracking` is on.
    pub latency: Option<Histogram>,
}

/// One slow command.
#[derive(Clone, Debug)]
pub struct Slow {
    pub id: u64,
    /// Unix seconds.
    pub at: i64,
    pub micros: i64,
    pub args: Vec<Vec<u8>>,
    pub addr: String,
    pub name: Vec<u8>,
}

/// SLOWLOG, newest first.
#[derive(Clone, Debug, Default)]
pub struct SlowLog {
    pub entries: VecDeque<Slow>,
    pub next_id: u64,
}
