//! INFO, ROLE, LASTSAVE and TIME: what the server says about itself.
//!
//! A section is a function that appends its lines; the table of sections gives INFO its order, its names and what
//! belongs to `default`. Field names are Redis 7.2's, since monitoring tools read them; a figure that has no
//! meaning here (forks, active defragmentation) is given as zero, so that a tool that reads it finds it.

mod process;
mod replication;
mod statistics;
mod storage;

use std::fmt::{Display, Write};

use super::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;

/// What the sections are made from.
pub(super) struct Facts<'a> {
    server: &'a crate::state::Server,
    store: &'a crate::store::Store,
    /// Unix milliseconds.
    now: i64,
}

/// The text being written.
pub(super) struct Text(String);

impl Text {
    fn put(&mut self, field: &str, value: impl Display) {
        let _ = write!(self.0, "{field}:{value}\r\n");
    }

    /// A byte count, and once more as people read it.
    fn bytes(&mut self, field: &str, bytes: u64) {
        self.put(field, bytes);
        self.put(&format!("{field}_human"), Human(bytes));
    }

    fn ratio(&mut self, field: &str, value: f64) {
        self.put(field, format_args!("{value:.2}"));
    }

    fn switch(&mut self, field: &str, on: bool) {
        self.put(field, u8::from(on));
    }

    fn status(&mut self, field: &str, good: bool) {
        self.put(field, if good { "ok" } else { "err" });
    }
}

/// `1023B`, `1.00K`, `2.50M` …
struct Human(u64);

impl Display for Human {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const UNITS: [(&str, u32); 5] = [("P", 50), ("T", 40), ("G", 30), ("M", 20), ("K", 10)];
        match UNITS.iter().find(|(_, bits)| self.0 >> bits > 0) {
            Some((unit, bits)) => write!(f, "{:.2}{unit}", self.0 as f64 / (1u64 << bits) as f64),
            None => write!(f, "{}B", self.0),
        }
    }
}

/// One part of INFO.
struct Section {
    /// As asked for, in any case, and as its head says it.
    name: &'static str,
    head: &'static str,
    shown: Shown,
    write: fn(&Facts<'_>, &mut Text),
}

/// When a section is shown that is not asked for by name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// With `default`, and so also when nothing is asked for.
    ByDefault,
    WithAll,
    Never,
}
use Shown::{ByDefault, Never, WithAll};

const fn section(
    name: &'static str,
    head: &'static str,
    shown: Shown,
    write: fn(&Facts<'_>, &mut Text),
) -> Section {
    Section { name, head, shown, write }
}

const SECTIONS: &[Section] = &[
    section("server", "Server", ByDefault, process::server),
    section("clients", "Clients", ByDefault, process::clients),
    section("memory", "Memory", ByDefault, process::memory),
    section("persistence", "Persistence", ByDefault, storage::persistence),
    section("stats", "Stats", ByDefault, statistics::stats),
    section("replication", "Replication", ByDefault, replication::replication),
    section("cpu", "CPU", ByDefault, process::cpu),
    section("modules", "Modules", ByDefault, |_, _| ()),
    section("commandstats", "Commandstats", WithAll, statistics::commands),
    section("errorstats", "Errorstats", ByDefault, statistics::errors),
    section("latencystats", "Latencystats", WithAll, statistics::latencies),
    section("cluster", "Cluster", ByDefault, |_, text| text.put("cluster_enabled", 0)),
    section("keyspace", "Keyspace", ByDefault, storage::keyspace),
    section("debug", "Debug", Never, statistics::turns),
];

/// INFO [section ...]
fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let wanted = args.tail(1);
    let all = wanted
        .iter()
        .any(|word| word.eq_ignore_ascii_case(b"all") || word.eq_ignore_ascii_case(b"everything"));
    let default = wanted.is_empty() || wanted.iter().any(|word| word.eq_ignore_ascii_case(b"default"));
    let facts = Facts { now: ctx.now, store: ctx.db.store(), server: ctx.server };
    let mut text = Text(String::with_capacity(8192));
    for section in SECTIONS {
        let named = |word: &[u8]| {
            word.eq_ignore_ascii_case(section.name.as_bytes())
                || section.name == "modules" && word.eq_ignore_ascii_case(b"module_list")
        };
        if all && section.shown != Never || default && section.shown == ByDefault || wanted.iter().any(named)
        {
            if !text.0.is_empty() {
                text.0.push_str("\r\n");
            }
            let _ = write!(text.0, "# {}\r\n", section.head);
            (section.write)(&facts, &mut text);
        }
    }
    ctx.out.verbatim("txt", text.0.as_bytes());
    UNCHANGED
}

/// LASTSAVE
fn lastsave(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.int(ctx.server.persistence.last_save_time);
    UNCHANGED
}

/// TIME
fn time(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.array(2);
    ctx.out.bulk_int(ctx.server.now_micros / 1_000_000);
    ctx.out.bulk_int(ctx.server.now_micros % 1_000_000);
    UNCHANGED
}

const EARLY: Flags = Flags::LOADING.union(Flags::STALE);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] = &[
    row("info", -1, EARLY.union(Flags::DANGEROUS), info).doc("1.0.0", "Describes the server in figures."),
    row("lastsave", 1, EARLY.union(Flags::FAST).union(Flags::DANGEROUS), lastsave)
        .doc("1.0.0", "Returns when the last save succeeded."),
    row("time", 1, EARLY.union(Flags::FAST), time).doc("2.6.0", "Returns the server's time."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use crate::state::{LinkState, Role, Upstream};

    #[test]
    fn sections_are_chosen() {
        let check = |asked: &str, expected: &str| {
            let reply = Bench::default().run(asked);
            let heads: Vec<&str> = reply.split("# ").skip(1).filter_map(|s| s.split(' ').next()).collect();
            assert_eq!(heads.join(" "), expected, "{asked}");
        };
        let default =
            "Server Clients Memory Persistence Stats Replication CPU Modules Errorstats Cluster Keyspace";
        let all = "Server Clients Memory Persistence Stats Replication CPU Modules Commandstats Errorstats Latencystats Cluster Keyspace";
        check("INFO", default);
        check("INFO default", default);
        check("INFO all", all);
        check("INFO Everything", all);
        check("INFO keyspace SERVER", "Server Keyspace");
        check("INFO commandstats", "Commandstats");
        check("INFO nothing", "");
    }

    #[test]
    fn every_field_of_redis_is_there() {
        let mut bench = Bench::default();
        bench.server.persistence.aof_enabled = true;
        bench.server.persistence.loading = Some(Default::default());
        bench.server.persistence.shutdown_until_ms = Some(1);
        let primary = bench.run("INFO everything");
        let link = LinkState::Sync { total: Some(10), read: 5 };
        bench.server.role = Role::Replica(Upstream {
            host: "h".into(),
            port: 1,
            link,
            last_io_ms: 0,
            down_since_ms: 0,
            trouble: None,
            loads: false,
            mandate: None,
            leaving: false,
        });
        bench.server.config.settings.min_replicas_to_write = 1;
        let reply = bench.run("INFO everything");
        let has = |field: &&str| reply.contains(&format!(" {field}:"));
        let of_roles: Vec<_> = OF_REPLICAS.split_whitespace().filter(|field| !has(field)).collect();
        assert_eq!(of_roles, Vec::<&str>::new());
        let reply = primary;
        let has = |field: &&str| reply.contains(&format!(" {field}:"));
        let elsewhere: Vec<_> = OF_REPLICAS.split_whitespace().filter(has).collect();
        assert_eq!(elsewhere, Vec::<&str>::new(), "of a primary");
        let missing: Vec<_> = REDIS_FIELDS.split_whitespace().filter(|field| !has(field)).collect();
        assert_eq!(missing, Vec::<&str>::new());
        let debug = bench.run("INFO debug");
        let fields: Vec<&str> = debug.split(' ').filter_map(|word| Some(word.split_once(':')?.0)).collect();
        let expected = "eventloop_duration_aof_sum eventloop_duration_cron_sum eventloop_duration_max \
                        eventloop_cmd_per_cycle_max";
        assert_eq!(fields.join(" "), expected);
    }

    /// What only a replica gives (in a full sync, with the link down), and what only min-replicas-to-write brings.
    const OF_REPLICAS: &str = "master_host master_port master_link_status master_last_io_seconds_ago master_sync_in_progress \
         master_link_down_since_seconds master_sync_total_bytes master_sync_read_bytes master_sync_left_bytes \
         master_sync_perc master_sync_last_io_seconds_ago slave_repl_offset slave_read_repl_offset slave_priority \
         slave_read_only replica_announced min_slaves_good_slaves";

    /// Of Redis 7.2 as a primary that loads, with AOF on and no replica.
    const REDIS_FIELDS: &str = "redis_version redis_git_sha1 redis_git_dirty redis_build_id redis_mode os \
        arch_bits monotonic_clock multiplexing_api atomicvar_api gcc_version process_id process_supervised run_id \
        tcp_port server_time_usec uptime_in_seconds uptime_in_days hz configured_hz lru_clock executable \
        config_file io_threads_active connected_clients cluster_connections maxclients \
        client_recent_max_input_buffer client_recent_max_output_buffer blocked_clients tracking_clients \
        clients_in_timeout_table total_blocking_keys total_blocking_keys_on_nokey used_memory used_memory_human \
        used_memory_rss used_memory_rss_human used_memory_peak used_memory_peak_human used_memory_peak_perc \
        used_memory_overhead used_memory_startup used_memory_dataset used_memory_dataset_perc \
        allocator_allocated allocator_active allocator_resident total_system_memory total_system_memory_human \
        used_memory_lua used_memory_vm_eval used_memory_lua_human used_memory_scripts_eval \
        number_of_cached_scripts number_of_functions number_of_libraries used_memory_vm_functions \
        used_memory_vm_total used_memory_vm_total_human used_memory_functions used_memory_scripts \
        used_memory_scripts_human maxmemory maxmemory_human maxmemory_policy allocator_frag_ratio \
        allocator_frag_bytes allocator_rss_ratio allocator_rss_bytes rss_overhead_ratio rss_overhead_bytes \
        mem_fragmentation_ratio mem_fragmentation_bytes mem_not_counted_for_evict mem_replication_backlog \
        mem_total_replication_buffers mem_clients_slaves mem_clients_normal mem_cluster_links mem_aof_buffer \
        mem_allocator active_defrag_running lazyfree_pending_objects lazyfreed_objects loading async_loading \
        current_cow_peak current_cow_size current_cow_size_age current_fork_perc current_save_keys_processed \
        current_save_keys_total rdb_changes_since_last_save rdb_bgsave_in_progress rdb_last_save_time \
        rdb_last_bgsave_status rdb_last_bgsave_time_sec rdb_current_bgsave_time_sec rdb_saves rdb_last_cow_size \
        rdb_last_load_keys_expired rdb_last_load_keys_loaded aof_enabled aof_rewrite_in_progress \
        aof_rewrite_scheduled aof_last_rewrite_time_sec aof_current_rewrite_time_sec aof_last_bgrewrite_status \
        aof_rewrites aof_rewrites_consecutive_failures aof_last_write_status aof_last_cow_size \
        module_fork_in_progress module_fork_last_cow_size aof_current_size aof_base_size aof_pending_rewrite \
        aof_buffer_length aof_pending_bio_fsync aof_delayed_fsync loading_start_time loading_total_bytes \
        loading_rdb_used_mem loading_loaded_bytes loading_loaded_perc loading_eta_seconds \
        shutdown_in_milliseconds total_connections_received total_commands_processed \
        instantaneous_ops_per_sec total_net_input_bytes total_net_output_bytes total_net_repl_input_bytes \
        total_net_repl_output_bytes instantaneous_input_kbps instantaneous_output_kbps \
        instantaneous_input_repl_kbps instantaneous_output_repl_kbps rejected_connections sync_full \
        sync_partial_ok sync_partial_err expired_keys expired_stale_perc expired_time_cap_reached_count \
        expire_cycle_cpu_milliseconds evicted_keys evicted_clients total_eviction_exceeded_time \
        current_eviction_exceeded_time keyspace_hits keyspace_misses pubsub_channels pubsub_patterns \
        pubsubshard_channels latest_fork_usec total_forks migrate_cached_sockets slave_expires_tracked_keys \
        active_defrag_hits active_defrag_misses active_defrag_key_hits active_defrag_key_misses \
        total_active_defrag_time current_active_defrag_time tracking_total_keys tracking_total_items \
        tracking_total_prefixes unexpected_error_replies total_error_replies dump_payload_sanitizations \
        total_reads_processed total_writes_processed io_threaded_reads_processed io_threaded_writes_processed \
        reply_buffer_shrinks reply_buffer_expands eventloop_cycles eventloop_duration_sum \
        eventloop_duration_cmd_sum instantaneous_eventloop_cycles_per_sec \
        instantaneous_eventloop_duration_usec acl_access_denied_auth acl_access_denied_cmd \
        acl_access_denied_key acl_access_denied_channel role connected_slaves master_failover_state \
        master_replid master_replid2 master_repl_offset second_repl_offset repl_backlog_active \
        repl_backlog_size repl_backlog_first_byte_offset repl_backlog_histlen used_cpu_sys used_cpu_user \
        used_cpu_sys_children used_cpu_user_children used_cpu_sys_main_thread used_cpu_user_main_thread \
        cluster_enabled";

    #[test]
    fn figures_of_the_moment() {
        let mut bench = Bench::default();
        bench.run("SET a 1");
        bench.run("SET b 1 PX 2000");
        bench.run("GET a");
        bench.run("GET x");
        bench.check("INFO keyspace", "$47 # Keyspace db0:keys=2,expires=1,avg_ttl=2000");
        let stats = bench.run("INFO stats");
        assert!(stats.contains("keyspace_hits:1 keyspace_misses:1"), "{stats}");
        bench.check("TIME", "*2 $10 1700000000 $1 0");
        bench.check("LASTSAVE", ":0");
    }

    #[test]
    fn bytes_for_people() {
        for (bytes, expected) in
            [(0, "0B"), (1023, "1023B"), (1024, "1.00K"), (1 << 20, "1.00M"), (2684354560, "2.50G")]
        {
            assert_eq!(Human(bytes).to_string(), expected);
        }
    }
}
