//! INFO about the data and what is kept of them: persistence, keyspace.

use super::{Facts, Text};
use crate::store::NEVER;

pub fn persistence(facts: &Facts<'_>, text: &mut Text) {
    let p = &facts.server.persistence;
    let percent = 100.0 * p.save_keys_done as f64 / p.save_keys_total.max(1) as f64;
    let running = |on: bool, since: i64| if on { (facts.now - since).max(0) / 1000 } else { -1 };
    text.switch("loading", p.loading.is_some());
    text.switch("async_loading", facts.server.upstream().is_some_and(|upstream| upstream.loads));
    text.put("current_cow_peak", p.cow_peak);
    text.put("current_cow_size", p.cow_size);
    text.put("current_cow_size_age", 0);
    text.ratio("current_fork_perc", percent);
    text.put("current_save_keys_processed", p.save_keys_done);
    text.put("current_save_keys_total", p.save_keys_total);
    text.put("rdb_changes_since_last_save", p.dirty + facts.store.changes.dirty);
    text.switch("rdb_bgsave_in_progress", p.saving);
    text.put("rdb_last_save_time", p.last_save_time);
    text.status("rdb_last_bgsave_status", p.last_save_ok);
    text.put("rdb_last_bgsave_time_sec", p.last_save_secs);
    text.put("rdb_current_bgsave_time_sec", running(p.saving, p.current_save_started_ms));
    text.put("rdb_saves", facts.server.stats.saves);
    text.put("rdb_last_cow_size", p.last_save_cow);
    text.put("rdb_last_load_keys_expired", p.load_keys_expired);
    text.put("rdb_last_load_keys_loaded", p.load_keys);
    text.switch("aof_enabled", p.aof_enabled);
    text.switch("aof_rewrite_in_progress", p.rewriting);
    text.switch("aof_rewrite_scheduled", p.rewrite_scheduled);
    text.put("aof_last_rewrite_time_sec", p.last_rewrite_secs);
    text.put("aof_current_rewrite_time_sec", running(p.rewriting, p.current_rewrite_started_ms));
    text.status("aof_last_bgrewrite_status", p.last_rewrite_ok);
    text.put("aof_rewrites", facts.server.stats.rewrites);
    text.put("aof_rewrites_consecutive_failures", facts.server.stats.rewrite_failures_in_a_row);
    text.status("aof_last_write_status", p.failed.is_none());
    text.put("aof_last_cow_size", p.last_rewrite_cow);
    text.put("module_fork_in_progress", 0);
    text.put("module_fork_last_cow_size", 0);
    if let Some(why) = &p.failed {
        text.put("ringhold_write_failure", why);
    }
    let history = &facts.server.history;
    text.put("ringhold_written_offset", history.written);
    text.put("ringhold_durable_offset", history.durable);
    if p.aof_enabled {
        text.put("aof_current_size", p.aof_current_size);
        text.put("aof_base_size", p.aof_base_size);
        text.switch("aof_pending_rewrite", p.rewrite_scheduled);
        text.put("aof_buffer_length", p.aof_buffer_length);
        text.put("aof_pending_bio_fsync", p.aof_pending_fsyncs);
        text.put("aof_delayed_fsync", facts.server.stats.aof_delayed_fsyncs);
    }
    loading(facts, text);
}

fn loading(facts: &Facts<'_>, text: &mut Text) {
    let Some(loading) = &facts.server.persistence.loading else { return };
    let elapsed = (facts.now - loading.started_ms).max(0) as u64 / 1000;
    let left = loading.total_bytes.saturating_sub(loading.loaded_bytes);
    let percent = 100.0 * loading.loaded_bytes as f64 / loading.total_bytes.max(1) as f64;
    text.put("loading_start_time", loading.started_ms / 1000);
    text.put("loading_total_bytes", loading.total_bytes);
    text.put("loading_rdb_used_mem", loading.rdb_used_mem);
    text.put("loading_loaded_bytes", loading.loaded_bytes);
    text.ratio("loading_loaded_perc", percent);
    text.put("loading_eta_seconds", (elapsed.max(1) * left) / (loading.loaded_bytes + 1));
}

pub fn keyspace(facts: &Facts<'_>, text: &mut Text) {
    for (index, database) in facts.store.dbs.iter().enumerate() {
        let (keys, expires) = (database.entries.len(), database.volatile);
        if keys > 0 {
            let ttl = mean_ttl(database, facts.now);
            text.put(&format!("db{index}"), format_args!("keys={keys},expires={expires},avg_ttl={ttl}"));
        }
    }
}

/// Keys looked at for `avg_ttl`.
const TTL_SAMPLE: usize = 1000;

fn mean_ttl(database: &crate::store::Database, now: i64) -> i64 {
    if database.volatile == 0 {
        return 0;
    }
    let deadlines = database.entries.iter().take(TTL_SAMPLE).map(|entry| entry.expires());
    let left: Vec<i64> = deadlines.filter(|at| *at != NEVER).map(|at| (at - now).max(0)).collect();
    let sum: i128 = left.iter().map(|ms| i128::from(*ms)).sum();
    (sum / left.len().max(1) as i128) as i64
}
