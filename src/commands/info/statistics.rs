//! INFO's counters: totals, and those by command and by error.

use super::{Facts, Text};
use crate::commands::Command;
use crate::commands::table::all;
use crate::state::CommandStats;

pub fn stats(facts: &Facts<'_>, text: &mut Text) {
    let stats = &facts.server.stats;
    let access = &facts.store.changes.stats;
    let [commands, input, output, turns, turning] = stats.rates.each_ref().map(|rate| rate.per_second());
    text.put("total_connections_received", stats.connections_received);
    text.put("total_commands_processed", stats.commands_processed);
    text.put("instantaneous_ops_per_sec", commands);
    text.put("total_net_input_bytes", stats.net_input_bytes);
    text.put("total_net_output_bytes", stats.net_output_bytes);
    text.put("total_net_repl_input_bytes", stats.net_repl_input_bytes);
    text.put("total_net_repl_output_bytes", stats.net_repl_output_bytes);
    text.ratio("instantaneous_input_kbps", input as f64 / 1024.0);
    text.ratio("instantaneous_output_kbps", output as f64 / 1024.0);
    text.ratio("instantaneous_input_repl_kbps", 0.0);
    text.ratio("instantaneous_output_repl_kbps", 0.0);
    text.put("rejected_connections", stats.connections_rejected);
    text.put("sync_full", stats.sync_full);
    text.put("sync_partial_ok", stats.sync_partial_ok);
    text.put("sync_partial_err", stats.sync_partial_err);
    text.put("expired_keys", access.expired);
    text.ratio("expired_stale_perc", 0.0);
    text.put("expired_time_cap_reached_count", stats.expire_capped);
    text.put("expire_cycle_cpu_milliseconds", stats.expire_micros / 1000);
    text.put("evicted_keys", stats.evicted_keys);
    text.put("evicted_clients", stats.evicted_clients);
    text.put("total_eviction_exceeded_time", 0);
    text.put("current_eviction_exceeded_time", 0);
    text.put("keyspace_hits", access.hits);
    text.put("keyspace_misses", access.misses);
    text.put("pubsub_channels", facts.server.pubsub.channels.len());
    text.put("pubsub_patterns", facts.server.pubsub.patterns.len());
    text.put("pubsubshard_channels", facts.server.pubsub.shard_channels.len());
    text.put("latest_fork_usec", stats.last_snapshot_micros);
    text.put("total_forks", stats.snapshots);
    text.put("migrate_cached_sockets", 0);
    text.put("slave_expires_tracked_keys", facts.server.strays.deadlines.len());
    for unused in UNUSED {
        text.put(unused, 0);
    }
    text.put("unexpected_error_replies", stats.unexpected_errors);
    text.put("total_error_replies", stats.error_replies);
    text.put("dump_payload_sanitizations", stats.payloads_checked);
    text.put("total_reads_processed", stats.reads);
    text.put("total_writes_processed", stats.writes);
    text.put("io_threaded_reads_processed", 0);
    text.put("io_threaded_writes_processed", 0);
    text.put("reply_buffer_shrinks", 0);
    text.put("reply_buffer_expands", 0);
    text.put("eventloop_cycles", stats.loop_turns);
    text.put("eventloop_duration_sum", stats.loop_micros);
    text.put("eventloop_duration_cmd_sum", stats.commands.iter().map(|row| row.micros).sum::<u64>());
    text.put("instantaneous_eventloop_cycles_per_sec", turns);
    text.put("instantaneous_eventloop_duration_usec", turning / turns.max(1));
    text.put("acl_access_denied_auth", stats.denied_auth);
    text.put("acl_access_denied_cmd", stats.denied_command);
    text.put("acl_access_denied_key", stats.denied_key);
    text.put("acl_access_denied_channel", stats.denied_channel);
}

/// Given only where it is asked for by name. The log is written by a thread of its own, which takes no time here.
pub fn turns(facts: &Facts<'_>, text: &mut Text) {
    let stats = &facts.server.stats;
    text.put("eventloop_duration_aof_sum", 0);
    text.put("eventloop_duration_cron_sum", stats.cron_micros);
    text.put("eventloop_duration_max", stats.loop_micros_most);
    text.put("eventloop_cmd_per_cycle_max", stats.turn_commands_most);
}

/// What this server does not do.
const UNUSED: [&str; 9] = [
    "active_defrag_hits",
    "active_defrag_misses",
    "active_defrag_key_hits",
    "active_defrag_key_misses",
    "total_active_defrag_time",
    "current_active_defrag_time",
    "tracking_total_keys",
    "tracking_total_items",
    "tracking_total_prefixes",
];

/// Rows with what was counted for them, subcommands behind their containers.
fn counted<'a>(facts: &'a Facts<'_>) -> impl Iterator<Item = (&'static Command, &'a CommandStats)> {
    let rows = all().flat_map(|row| std::iter::once(row).chain(row.subcommands));
    rows.filter_map(|row| Some((row, facts.server.stats.commands.get(row.id)?)))
}

pub fn commands(facts: &Facts<'_>, text: &mut Text) {
    for (row, stats) in counted(facts) {
        let CommandStats { calls, micros, rejected, failed, .. } = *stats;
        if calls + rejected + failed > 0 {
            let mean = micros as f64 / calls.max(1) as f64;
            text.put(
                &format!("cmdstat_{}", row.name),
                format_args!(
                    "calls={calls},usec={micros},usec_per_call={mean:.2},rejected_calls={rejected},failed_calls={failed}"
                ),
            );
        }
    }
}

pub fn errors(facts: &Facts<'_>, text: &mut Text) {
    for (code, count) in &facts.server.stats.errors {
        text.put(&format!("errorstat_{code}"), format_args!("count={count}"));
    }
}

pub fn latencies(facts: &Facts<'_>, text: &mut Text) {
    let settings = &facts.server.config.settings;
    if !settings.latency_tracking {
        return;
    }
    for (row, stats) in counted(facts) {
        let Some(histogram) = &stats.latency else { continue };
        let shares = settings.latency_tracking_info_percentiles.0.iter();
        let shares = shares.map(|share| format!("p{share}={:.3}", histogram.percentile(*share) as f64));
        let field = format!("latency_percentiles_usec_{}", row.name);
        text.put(&field, shares.collect::<Vec<_>>().join(","));
    }
}
