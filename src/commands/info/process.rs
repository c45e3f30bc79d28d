//! INFO about the process: server, clients, memory, CPU.

use std::collections::BTreeSet;

use super::{Facts, Text};
use crate::format::rdb::REDIS_VERSION;
use crate::state::Process;

pub fn server(facts: &Facts<'_>, text: &mut Text) {
    let process = &facts.server.process;
    let settings = &facts.server.config.settings;
    let uptime = (facts.now - process.started_ms).max(0) / 1000;
    text.put("redis_version", REDIS_VERSION);
    text.put("redis_git_sha1", "00000000");
    text.put("redis_git_dirty", 0);
    text.put("redis_build_id", "0");
    text.put("ringhold_version", env!("CARGO_PKG_VERSION"));
    text.put("redis_mode", "standalone");
    text.put("os", &process.os);
    text.put("arch_bits", usize::BITS);
    text.put("monotonic_clock", "POSIX clock_gettime");
    text.put("multiplexing_api", "epoll");
    text.put("atomicvar_api", "rust");
    text.put("gcc_version", "0.0.0");
    text.put("process_id", process.pid);
    text.put("process_supervised", "no");
    text.put("run_id", &process.run_id);
    text.put("tcp_port", process.port);
    text.put("server_time_usec", facts.now * 1000);
    text.put("uptime_in_seconds", uptime);
    text.put("uptime_in_days", uptime / (24 * 3600));
    text.put("hz", settings.hz);
    text.put("configured_hz", settings.hz);
    text.put("lru_clock", (facts.now / 1000) & 0xff_ffff);
    text.put("executable", &process.executable);
    text.put("config_file", &process.config_file);
    text.put("io_threads_active", 0);
    if let Some(until) = facts.server.persistence.shutdown_until_ms {
        text.put("shutdown_in_milliseconds", (until - facts.now).max(0));
    }
    let mut listeners = 0;
    if process.port > 0 {
        let addresses: String = settings.bind.iter().map(|address| format!(",bind={address}")).collect();
        text.put("listener0", format_args!("name=tcp{addresses},port={}", process.port));
        listeners += 1;
    }
    if !settings.unixsocket.is_empty() {
        text.put(&format!("listener{listeners}"), format_args!("name=unix,bind={}", settings.unixsocket));
    }
}

pub fn clients(facts: &Facts<'_>, text: &mut Text) {
    let sessions = || facts.server.sessions.iter().map(|(_, session)| session);
    let blocked = || sessions().filter_map(|session| session.blocked.as_ref());
    let keys: BTreeSet<_> = blocked().flat_map(|b| b.keys.iter().map(move |key| (b.db, key))).collect();
    // As Redis counts: without those who follow.
    text.put("connected_clients", sessions().filter(|session| session.downstream().is_none()).count());
    text.put("cluster_connections", 0);
    text.put("maxclients", facts.server.config.settings.maxclients);
    text.put("client_recent_max_input_buffer", sessions().map(|s| s.query_buffer).max().unwrap_or(0));
    text.put("client_recent_max_output_buffer", sessions().map(|s| s.output_buffer).max().unwrap_or(0));
    text.put("blocked_clients", facts.server.blocked_clients);
    text.put("tracking_clients", 0);
    text.put("clients_in_timeout_table", blocked().filter(|b| b.deadline != i64::MAX).count());
    text.put("total_blocking_keys", keys.len());
    text.put("total_blocking_keys_on_nokey", 0);
}

/// Bytes that are not data: clients, and what the server took at its start.
pub fn overhead(facts: &Facts<'_>) -> u64 {
    facts.server.process.used_memory_startup + client_bytes(facts)
}

fn client_bytes(facts: &Facts<'_>) -> u64 {
    facts.server.sessions.iter().map(|(_, session)| session.heap_bytes() as u64).sum()
}

fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

pub fn memory(facts: &Facts<'_>, text: &mut Text) {
    let process = &facts.server.process;
    let settings = &facts.server.config.settings;
    let peak = process.used_memory_peak.max(process.used_memory);
    let overhead = overhead(facts);
    let dataset = process.used_memory.saturating_sub(overhead);
    let beyond_start = process.used_memory.saturating_sub(process.used_memory_startup);
    text.bytes("used_memory", process.used_memory);
    text.bytes("used_memory_rss", process.rss);
    text.bytes("used_memory_peak", peak);
    text.put("used_memory_peak_perc", format_args!("{:.2}%", share(process.used_memory, peak) * 100.0));
    text.put("used_memory_overhead", overhead);
    text.put("used_memory_startup", process.used_memory_startup);
    text.put("used_memory_dataset", dataset);
    text.put("used_memory_dataset_perc", format_args!("{:.2}%", share(dataset, beyond_start) * 100.0));
    text.put("allocator_allocated", process.used_memory);
    text.put("allocator_active", active(process));
    text.put("allocator_resident", resident(process));
    text.bytes("total_system_memory", process.total_system_memory);
    scripts(text);
    text.bytes("maxmemory", settings.maxmemory);
    text.put("maxmemory_policy", settings.maxmemory_policy.name());
    fragmentation(process, text);
    text.put("mem_not_counted_for_evict", facts.server.persistence.aof_buffer_length);
    text.put("mem_replication_backlog", 0);
    // Nothing of it is memory: whoever watches this watches how far replicas are behind.
    text.put("mem_total_replication_buffers", facts.server.unsent());
    text.put("mem_clients_slaves", 0);
    text.put("mem_clients_normal", client_bytes(facts));
    text.put("mem_cluster_links", 0);
    text.put("mem_aof_buffer", facts.server.persistence.aof_buffer_length);
    text.put("mem_allocator", process.allocator);
    text.put("active_defrag_running", 0);
    text.put("lazyfree_pending_objects", facts.server.lazyfree_pending);
    text.put("lazyfreed_objects", facts.server.stats.lazyfreed);
}

/// There are no scripts or functions to count yet.
fn scripts(text: &mut Text) {
    text.put("used_memory_lua", 0);
    text.put("used_memory_vm_eval", 0);
    text.put("used_memory_lua_human", "0B");
    text.put("used_memory_scripts_eval", 0);
    text.put("number_of_cached_scripts", 0);
    text.put("number_of_functions", 0);
    text.put("number_of_libraries", 0);
    text.put("used_memory_vm_functions", 0);
    text.bytes("used_memory_vm_total", 0);
    text.put("used_memory_functions", 0);
    text.bytes("used_memory_scripts", 0);
}

/// What the allocator holds, where it says so; else what is used, so that ratios come out as one.
fn active(process: &Process) -> u64 {
    if process.allocator_active == 0 { process.used_memory } else { process.allocator_active }
}

fn resident(process: &Process) -> u64 {
    if process.allocator_resident == 0 { active(process) } else { process.allocator_resident }
}

fn fragmentation(process: &Process, text: &mut Text) {
    let pairs = [
        ("allocator_frag", active(process), process.used_memory),
        ("allocator_rss", resident(process), active(process)),
        ("rss_overhead", process.rss, resident(process)),
        ("mem_fragmentation", process.rss, process.used_memory),
    ];
    for (name, larger, smaller) in pairs {
        text.ratio(&format!("{name}_ratio"), share(larger, smaller));
        text.put(&format!("{name}_bytes"), larger as i64 - smaller as i64);
    }
}

pub fn cpu(facts: &Facts<'_>, text: &mut Text) {
    let process = &facts.server.process;
    let fields = [
        ("used_cpu_sys", process.cpu_sys),
        ("used_cpu_user", process.cpu_user),
        ("used_cpu_sys_children", 0.0),
        ("used_cpu_user_children", 0.0),
        ("used_cpu_sys_main_thread", process.cpu_sys_main),
        ("used_cpu_user_main_thread", process.cpu_user_main),
    ];
    for (field, seconds) in fields {
        text.put(field, format_args!("{seconds:.6}"));
    }
}
