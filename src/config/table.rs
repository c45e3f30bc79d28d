//! The table: one row per directive, and the only place where a directive is described.
//!
//! A row reads: name, old spelling if any, field and type of [`Settings`], default, what values are allowed, flags.
//! Start-up parsing, CONFIG GET / SET / REWRITE, the defaults and the documentation are all driven by it; there is no
//! second list to keep in step. It stays in one file, although long, because being one table is its point.
//!
//! Names, ranges and defaults are those of Redis 7.2; the deviations are Ringhold's own safe defaults (`bind`, `dir`,
//! `appendonly`, `repl-backlog-size`) and its own directives (`repl-better-replica`, `repl-pin-max-bytes`).
//! `INERT` marks rows whose value is checked, kept and given back, but changes nothing here; `LATER` those of which
//! this is true for now. A start that sets any of them says so in the log.

use std::path::PathBuf;

use super::checks;
use super::lists::{
    ClientMemory, ClientOutputBufferLimits, FileMode, KeyspaceEvents, OomScores, Percentiles, ReplicaOf,
    SavePoint, SavePoints, ShutdownFlags,
};
use super::row::{Spec, bytes, check, count, one_of, settings};
use super::scalars::{Secret, Word};
use super::words::{
    AclPubsubDefault, Allow, AppendFsync, BetterReplica, DisklessLoad, LogLevel, MaxmemoryPolicy,
    OomScoreAdj, Sanitize,
};

const I32: i128 = i32::MAX as i128;
const U32: i128 = u32::MAX as i128;
const I64: i128 = i64::MAX as i128;
const U64: i128 = u64::MAX as i128;
const PORT: Spec = count(0, 65535);
const ANY: Spec = Spec::Any;

settings! {
    // ---- network ----
    /// Addresses to listen on; a leading `-` allows one to be missing, an empty list listens on no address.
    "bind" => bind: Vec<String> = vec!["127.0.0.1".into()], ANY, MULTI;
    /// TCP port to listen on; 0 listens on none.
    "port" => port: u16 = 6379, PORT;
    /// Unix socket to listen on; empty for none.
    "unixsocket" => unixsocket: String = String::new(), ANY, IMMUTABLE;
    /// Permission bits of the Unix socket, in octal; 0 leaves them to the umask.
    "unixsocketperm" => unixsocketperm: FileMode = FileMode(0), ANY, IMMUTABLE;
    /// Refuse clients from elsewhere as long as no password is set and no address was chosen.
    "protected-mode" => protected_mode: bool = true, ANY;
    /// Seconds after which an idle client is closed; 0 never closes one.
    "timeout" => timeout: u32 = 0, count(0, I32);
    /// Seconds between TCP keep-alive probes; 0 sends none.
    "tcp-keepalive" => tcp_keepalive: u32 = 300, count(0, I32);
    /// Length of the listen queue (the kernel's own limit also applies).
    "tcp-backlog" => tcp_backlog: u32 = 511, count(0, I32), IMMUTABLE;
    /// Most clients connected at one time.
    "maxclients" => maxclients: u32 = 10000, count(1, U32);
    /// Address from which outgoing connections are made; empty lets the kernel choose.
    "bind-source-addr" => bind_source_addr: String = String::new(), ANY;
    /// Mark for the sockets of this server, for packet filters.
    "socket-mark-id" => socket_mark_id: u32 = 0, count(0, U32), IMMUTABLE, INERT;

    // ---- process ----
    /// Run in the background.
    "daemonize" => daemonize: bool = false, ANY, IMMUTABLE;
    /// File that holds the process id while the server runs; empty for none (unless daemonized).
    "pidfile" => pidfile: String = String::new(), ANY, IMMUTABLE;
    /// Which service manager to tell that the server is ready.
    "supervised" => supervised: Word = Word("no"), one_of(&["upstart", "systemd", "auto", "no"]), IMMUTABLE, INERT;
    /// Least important message that is logged.
    "loglevel" => loglevel: LogLevel = LogLevel::Notice, ANY;
    /// File to log to; empty logs to standard output.
    "logfile" => logfile: String = String::new(), ANY, IMMUTABLE;
    /// Also log to syslog.
    "syslog-enabled" => syslog_enabled: bool = false, ANY, IMMUTABLE, INERT;
    /// Name under which syslog messages appear.
    "syslog-ident" => syslog_ident: String = "redis".into(), ANY, IMMUTABLE, INERT;
    /// Syslog facility.
    "syslog-facility" => syslog_facility: Word = Word("local0"), one_of(&["user", "local0", "local1", "local2", "local3", "local4", "local5", "local6", "local7"]), IMMUTABLE, INERT;
    /// Number of databases.
    "databases" => databases: u32 = 16, count(1, I32), IMMUTABLE;
    /// Background tasks per second (1 to 500; other values are brought into that range).
    "hz" => hz: u32 = 10, count(0, I32);
    /// Raise `hz` with the number of clients.
    "dynamic-hz" => dynamic_hz: bool = true, ANY, INERT;
    /// Seconds to wait at shutdown for replicas that are behind.
    "shutdown-timeout" => shutdown_timeout: u32 = 10, count(0, I32);
    /// How SIGINT shuts down: `default`, or any of `save`, `nosave`, `now`, `force`.
    "shutdown-on-sigint" => shutdown_on_sigint: ShutdownFlags = ShutdownFlags::empty(), ANY, MULTI;
    /// How SIGTERM shuts down: `default`, or any of `save`, `nosave`, `now`, `force`.
    "shutdown-on-sigterm" => shutdown_on_sigterm: ShutdownFlags = ShutdownFlags::empty(), ANY, MULTI;
    /// Print the logo at start.
    "always-show-logo" => always_show_logo: bool = false, ANY, IMMUTABLE, INERT;
    /// Change the process title.
    "set-proc-title" => set_proc_title: bool = true, ANY, IMMUTABLE, INERT;
    /// Form of the process title.
    "proc-title-template" => proc_title_template: String = "{title} {listen-addr} {server-mode}".into(), check(checks::proc_title_template), INERT;
    /// Locale by which strings are collated.
    "locale-collate" => locale_collate: String = String::new(), ANY, INERT;
    /// Start-up warnings to suppress.
    "ignore-warnings" => ignore_warnings: String = String::new(), ANY, INERT;
    /// Threads for socket reads and writes.
    "io-threads" => io_threads: u32 = 1, count(1, 128), IMMUTABLE, INERT;
    /// Use those threads for reading too.
    "io-threads-do-reads" => io_threads_do_reads: bool = false, ANY, IMMUTABLE, INERT;
    /// CPUs for the server's threads.
    "server_cpulist" => server_cpulist: String = String::new(), ANY, IMMUTABLE, INERT;
    /// CPUs for background work.
    "bio_cpulist" => bio_cpulist: String = String::new(), ANY, IMMUTABLE, INERT;
    /// CPUs for rewriting the append-only log.
    "aof_rewrite_cpulist" => aof_rewrite_cpulist: String = String::new(), ANY, IMMUTABLE, INERT;
    /// CPUs for saving snapshots.
    "bgsave_cpulist" => bgsave_cpulist: String = String::new(), ANY, IMMUTABLE, INERT;
    /// Switch transparent huge pages off for the process.
    "disable-thp" => disable_thp: bool = true, ANY, IMMUTABLE, INERT;
    /// Whether the kernel's out-of-memory score is set, and how the values below count.
    "oom-score-adj" => oom_score_adj: OomScoreAdj = OomScoreAdj::No, ANY;
    /// Out-of-memory scores of a primary, a replica and a background process.
    "oom-score-adj-values" => oom_score_adj_values: OomScores = OomScores([0, 200, 800]), ANY, MULTI;
    /// Print a report when the process crashes.
    "crash-log-enabled" => crash_log_enabled: bool = true, ANY, INERT;
    /// Check memory when the process crashes.
    "crash-memcheck-enabled" => crash_memcheck_enabled: bool = true, ANY, INERT;
    /// Exit instead of aborting on a failed assertion.
    "use-exit-on-panic" => use_exit_on_panic: bool = false, ANY, HIDDEN, INERT;
    /// Milliseconds of silence after which the watchdog reports; 0 is off.
    "watchdog-period" => watchdog_period: u32 = 0, count(0, I32), HIDDEN, INERT;

    // ---- security ----
    /// Password of the default user; empty for none.
    "requirepass" => requirepass: Secret = Secret::NONE, ANY, SENSITIVE;
    /// File with users and their rights; empty for none.
    "aclfile" => aclfile: String = String::new(), ANY, IMMUTABLE;
    /// Channels that a new user may use.
    "acl-pubsub-default" => acl_pubsub_default: AclPubsubDefault = AclPubsubDefault::ResetChannels, ANY, LATER;
    /// Most entries kept by ACL LOG.
    "acllog-max-len" => acllog_max_len: u64 = 128, count(0, I64), LATER;
    /// Who may CONFIG SET the protected directives (`dir`, `dbfilename`).
    "enable-protected-configs" => enable_protected_configs: Allow = Allow::No, ANY, IMMUTABLE;
    /// Who may use DEBUG.
    "enable-debug-command" => enable_debug_command: Allow = Allow::No, ANY, IMMUTABLE;
    /// Who may use MODULE.
    "enable-module-command" => enable_module_command: Allow = Allow::No, ANY, IMMUTABLE, INERT;
    /// Whether payloads from RDB files, replication and RESTORE are checked in depth: they always are.
    "sanitize-dump-payload" => sanitize_dump_payload: Sanitize = Sanitize::No, ANY, INERT;

    // ---- snapshot ----
    /// Data directory; a relative one counts from where the server was started.
    "dir" => dir: PathBuf = PathBuf::from("data"), ANY, PROTECTED, DENY_LOADING;
    /// Name of the snapshot file.
    "dbfilename" => dbfilename: String = "dump.rdb".into(), check(checks::dbfilename), PROTECTED;
    /// When to save by itself: pairs of seconds and changes; empty for never.
    "save" => save: SavePoints = SavePoints(vec![SavePoint::new(3600, 1), SavePoint::new(300, 100), SavePoint::new(60, 10000)]), ANY, MULTI;
    /// Compress strings in snapshots.
    "rdbcompression" => rdbcompression: bool = true, ANY;
    /// Write and check the checksum at a snapshot's end.
    "rdbchecksum" => rdbchecksum: bool = true, ANY, IMMUTABLE;
    /// Refuse writes while the last background save failed.
    "stop-writes-on-bgsave-error" => stop_writes_on_bgsave_error: bool = true, ANY;
    /// Sync snapshot files piece by piece while they are written.
    "rdb-save-incremental-fsync" => rdb_save_incremental_fsync: bool = true, ANY, INERT;
    /// Delete snapshot files that only served replication.
    "rdb-del-sync-files" => rdb_del_sync_files: bool = false, ANY, INERT;
    /// Microseconds to wait after each key while saving (negative: keys per microsecond). For tests.
    "rdb-key-save-delay" => rdb_key_save_delay: i32 = 0, count(i32::MIN as i128, I32), HIDDEN;
    /// Microseconds to wait after each key while loading (negative: keys per microsecond). For tests.
    "key-load-delay" => key_load_delay: i32 = 0, count(i32::MIN as i128, I32), HIDDEN;
    /// Bytes of a file that are loaded between two looks at the clients.
    "loading-process-events-interval-bytes" => loading_process_events_interval_bytes: u64 = 2 << 20, count(1024, I32), HIDDEN, INERT;

    // ---- append-only log ----
    /// Keep the append-only log.
    "appendonly" => appendonly: bool = true, ANY, DENY_LOADING;
    /// Stem of the log's file names.
    "appendfilename" => appendfilename: String = "appendonly.aof".into(), check(checks::appendfilename), IMMUTABLE;
    /// Directory of the log, inside `dir`.
    "appenddirname" => appenddirname: String = "appendonlydir".into(), check(checks::appenddirname), IMMUTABLE;
    /// When the log reaches the medium: before each reply, every second, or as the kernel likes.
    "appendfsync" => appendfsync: AppendFsync = AppendFsync::Everysec, ANY;
    /// Put off fsyncs of the log while a snapshot is being written.
    "no-appendfsync-on-rewrite" => no_appendfsync_on_rewrite: bool = false, ANY;
    /// Growth of the log, in percent since its last rewrite, that starts a rewrite; 0 never does.
    "auto-aof-rewrite-percentage" => auto_aof_rewrite_percentage: u32 = 100, count(0, I32);
    /// Size in bytes below which the log is not rewritten by itself.
    "auto-aof-rewrite-min-size" => auto_aof_rewrite_min_size: u64 = 64 << 20, bytes(0, I64);
    /// Start even if the log ends in an unfinished command (which is cut).
    "aof-load-truncated" => aof_load_truncated: bool = true, ANY;
    /// Write the log's base in the snapshot format; if not, as commands.
    "aof-use-rdb-preamble" => aof_use_rdb_preamble: bool = true, ANY;
    /// Write timestamps into the log.
    "aof-timestamp-enabled" => aof_timestamp_enabled: bool = false, ANY;
    /// Sync the log's base piece by piece while it is written.
    "aof-rewrite-incremental-fsync" => aof_rewrite_incremental_fsync: bool = true, ANY, INERT;
    /// Keep log files that are no longer needed.
    "aof-disable-auto-gc" => aof_disable_auto_gc: bool = false, ANY, HIDDEN, INERT;

    // ---- replication ----
    /// Primary to follow, as host and port; `no one` for none.
    "replicaof" | "slaveof" => replicaof: Option<ReplicaOf> = None, ANY, IMMUTABLE, MULTI;
    /// Password to present to the primary; empty for none.
    "masterauth" => masterauth: Secret = Secret::NONE, ANY, SENSITIVE;
    /// User to authenticate as at the primary; empty for the default user.
    "masteruser" => masteruser: Secret = Secret::NONE, ANY, SENSITIVE;
    /// Size in bytes of the ring, the disk-backed backlog.
    "repl-backlog-size" => repl_backlog_size: u64 = 64 << 20, bytes(1, I64);
    /// Seconds after which a replica that left gets a full sync if nobody else follows; 0: never. The ring is kept.
    "repl-backlog-ttl" => repl_backlog_ttl: u64 = 0, count(0, I64);
    /// What a primary does with a replica that holds more than itself: `refuse` it or `overwrite` it.
    "repl-better-replica" => repl_better_replica: BetterReplica = BetterReplica::Refuse, ANY;
    /// Most bytes of stream kept on disk for a full sync in progress; 0 for no limit.
    "repl-pin-max-bytes" => repl_pin_max_bytes: u64 = 0, bytes(0, I64);
    /// Seconds of silence after which a replication link counts as broken.
    "repl-timeout" => repl_timeout: u32 = 60, count(1, I32);
    /// Seconds between the primary's PINGs.
    "repl-ping-replica-period" | "repl-ping-slave-period" => repl_ping_replica_period: u32 = 10, count(1, I32);
    /// Send to replicas in larger packets, at the price of delay.
    "repl-disable-tcp-nodelay" => repl_disable_tcp_nodelay: bool = false, ANY;
    /// Send the snapshot of a full sync without a file in between.
    "repl-diskless-sync" => repl_diskless_sync: bool = true, ANY;
    /// Seconds to wait for more replicas before such a snapshot starts.
    "repl-diskless-sync-delay" => repl_diskless_sync_delay: u32 = 5, count(0, I32);
    /// Number of waiting replicas that starts it at once; 0 for none.
    "repl-diskless-sync-max-replicas" => repl_diskless_sync_max_replicas: u32 = 0, count(0, I32);
    /// Whether a replica loads a full sync without a file in between: it never does.
    "repl-diskless-load" => repl_diskless_load: DisklessLoad = DisklessLoad::Disabled, ANY, DENY_LOADING, INERT;
    /// Answer reads while the link to the primary is down.
    "replica-serve-stale-data" | "slave-serve-stale-data" => replica_serve_stale_data: bool = true, ANY;
    /// Refuse clients' writes on a replica.
    "replica-read-only" | "slave-read-only" => replica_read_only: bool = true, ANY;
    /// Free the old dataset in the background at a full sync: that is always done.
    "replica-lazy-flush" | "slave-lazy-flush" => replica_lazy_flush: bool = false, ANY, INERT;
    /// Apply the primary's stream whatever `maxmemory` says; if not, the link stops while more than that is in use.
    "replica-ignore-maxmemory" | "slave-ignore-maxmemory" => replica_ignore_maxmemory: bool = true, ANY;
    /// A replica goes on after a failed disk write.
    "replica-ignore-disk-write-errors" => replica_ignore_disk_write_errors: bool = false, ANY, INERT;
    /// Rank for promotion by Sentinel, lower first; 0 is never promoted.
    "replica-priority" | "slave-priority" => replica_priority: u32 = 100, count(0, I32);
    /// Let Sentinel know this replica.
    "replica-announced" => replica_announced: bool = true, ANY;
    /// Address that a replica gives as its own; empty for the real one.
    "replica-announce-ip" | "slave-announce-ip" => replica_announce_ip: String = String::new(), ANY;
    /// Port that a replica gives as its own; 0 for the real one.
    "replica-announce-port" | "slave-announce-port" => replica_announce_port: u16 = 0, PORT;
    /// Refuse writes with fewer good replicas than this; 0 never does.
    "min-replicas-to-write" | "min-slaves-to-write" => min_replicas_to_write: u32 = 0, count(0, I32);
    /// Seconds since its last ACK within which a replica counts as good.
    "min-replicas-max-lag" | "min-slaves-max-lag" => min_replicas_max_lag: u32 = 10, count(0, I32);
    /// What happens when a replicated command fails on a replica.
    "propagation-error-behavior" => propagation_error_behavior: Word = Word("ignore"), one_of(&["ignore", "panic", "panic-on-replicas"]), INERT;

    // ---- memory and limits ----
    /// Most bytes of memory for the dataset; 0 for no limit.
    "maxmemory" => maxmemory: u64 = 0, bytes(0, U64);
    /// Which keys go when `maxmemory` is reached.
    "maxmemory-policy" => maxmemory_policy: MaxmemoryPolicy = MaxmemoryPolicy::NoEviction, ANY, LATER;
    /// Keys looked at for each one evicted.
    "maxmemory-samples" => maxmemory_samples: u32 = 5, count(1, I32), LATER;
    /// Effort spent on eviction, from 0 to 100.
    "maxmemory-eviction-tenacity" => maxmemory_eviction_tenacity: u32 = 10, count(0, 100), LATER;
    /// Most memory for all clients together, in bytes or percent of `maxmemory`; 0 for no limit.
    "maxmemory-clients" => maxmemory_clients: ClientMemory = ClientMemory::Bytes(0), ANY;
    /// Resolution of the access counter of LFU eviction.
    "lfu-log-factor" => lfu_log_factor: u32 = 10, count(0, I32), LATER;
    /// Minutes after which that counter decays.
    "lfu-decay-time" => lfu_decay_time: u32 = 1, count(0, I32);
    /// Per kind of client: hard limit, soft limit and soft seconds of unsent output.
    "client-output-buffer-limit" => client_output_buffer_limit: ClientOutputBufferLimits = ClientOutputBufferLimits::DEFAULT, ANY, MULTI;
    /// Most bytes of one client's unparsed input.
    "client-query-buffer-limit" => client_query_buffer_limit: u64 = 1 << 30, bytes(1 << 20, I64);
    /// Most bytes of one string in a request.
    "proto-max-bulk-len" => proto_max_bulk_len: u64 = 512 << 20, bytes(1 << 20, I64);
    /// Most keys remembered for client-side caching; 0 for no limit.
    "tracking-table-max-keys" => tracking_table_max_keys: u64 = 1_000_000, count(0, I64), LATER;
    /// Effort spent on finding expired keys, from 1 to 10.
    "active-expire-effort" => active_expire_effort: u32 = 1, count(1, 10);
    /// Free evicted values on another thread: large ones always are.
    "lazyfree-lazy-eviction" => lazyfree_lazy_eviction: bool = false, ANY, INERT;
    /// Free expired values on another thread: large ones always are.
    "lazyfree-lazy-expire" => lazyfree_lazy_expire: bool = false, ANY, INERT;
    /// Free overwritten values on another thread: large ones always are.
    "lazyfree-lazy-server-del" => lazyfree_lazy_server_del: bool = false, ANY, INERT;
    /// Treat DEL as UNLINK: it always frees large values on another thread.
    "lazyfree-lazy-user-del" => lazyfree_lazy_user_del: bool = false, ANY, INERT;
    /// Treat FLUSHALL and FLUSHDB as ASYNC unless they say SYNC: both free on another thread.
    "lazyfree-lazy-user-flush" => lazyfree_lazy_user_flush: bool = false, ANY, INERT;
    /// Rehash in the background.
    "activerehashing" => activerehashing: bool = true, ANY, INERT;
    /// Let the allocator return memory on a thread of its own.
    "jemalloc-bg-thread" => jemalloc_bg_thread: bool = true, ANY, INERT;
    /// Defragment memory in the background: not offered.
    "activedefrag" => activedefrag: bool = false, Spec::Never(checks::NO_DEFRAG), INERT;
    /// Fragmentation in bytes below which defragmentation does not start.
    "active-defrag-ignore-bytes" => active_defrag_ignore_bytes: u64 = 100 << 20, bytes(1, I64), INERT;
    /// Fragmentation in percent at which defragmentation starts.
    "active-defrag-threshold-lower" => active_defrag_threshold_lower: u32 = 10, count(0, 1000), INERT;
    /// Fragmentation in percent at which it works hardest.
    "active-defrag-threshold-upper" => active_defrag_threshold_upper: u32 = 100, count(0, 1000), INERT;
    /// Least CPU percentage for defragmentation.
    "active-defrag-cycle-min" => active_defrag_cycle_min: u32 = 1, count(1, 99), INERT;
    /// Most CPU percentage for defragmentation.
    "active-defrag-cycle-max" => active_defrag_cycle_max: u32 = 25, count(1, 99), INERT;
    /// Most elements defragmented in one go.
    "active-defrag-max-scan-fields" => active_defrag_max_scan_fields: u64 = 1000, count(1, I64), INERT;

    // ---- encodings ----
    /// Most fields of a hash kept as a listpack.
    "hash-max-listpack-entries" | "hash-max-ziplist-entries" => hash_max_listpack_entries: usize = 512, count(0, I64);
    /// Longest field or value, in bytes, of a hash kept as a listpack.
    "hash-max-listpack-value" | "hash-max-ziplist-value" => hash_max_listpack_value: usize = 64, bytes(0, I64);
    /// Size of a list's node: elements if positive, -1 to -5 for 4 to 64 KiB.
    "list-max-listpack-size" | "list-max-ziplist-size" => list_max_listpack_size: i32 = -2, count(i32::MIN as i128, I32);
    /// Nodes at each end of a list that are not compressed; 0 compresses none.
    "list-compress-depth" => list_compress_depth: u32 = 0, count(0, I32), INERT;
    /// Most members of a set kept as an intset.
    "set-max-intset-entries" => set_max_intset_entries: usize = 512, count(0, I64);
    /// Most members of a set kept as a listpack.
    "set-max-listpack-entries" => set_max_listpack_entries: usize = 128, count(0, I64);
    /// Longest member, in bytes, of a set kept as a listpack.
    "set-max-listpack-value" => set_max_listpack_value: usize = 64, count(0, I64);
    /// Most members of a sorted set kept as a listpack.
    "zset-max-listpack-entries" | "zset-max-ziplist-entries" => zset_max_listpack_entries: usize = 128, count(0, I64);
    /// Longest member, in bytes, of a sorted set kept as a listpack.
    "zset-max-listpack-value" | "zset-max-ziplist-value" => zset_max_listpack_value: usize = 64, bytes(0, I64);
    /// Most bytes of one node of a stream; 0 for no limit.
    "stream-node-max-bytes" => stream_node_max_bytes: usize = 4096, bytes(0, I64);
    /// Most entries of one node of a stream; 0 for no limit.
    "stream-node-max-entries" => stream_node_max_entries: u64 = 100, count(0, I64);
    /// Most bytes of a HyperLogLog in its sparse form.
    "hll-sparse-max-bytes" => hll_sparse_max_bytes: usize = 3000, bytes(0, I64);

    // ---- scripts, events, monitoring ----
    /// Milliseconds after which a running script makes other clients be told BUSY.
    "busy-reply-threshold" | "lua-time-limit" => busy_reply_threshold: u64 = 5000, count(0, I64), LATER;
    /// Which changes of keys are published, as a set of letters; empty for none.
    "notify-keyspace-events" => notify_keyspace_events: KeyspaceEvents = KeyspaceEvents::empty(), ANY;
    /// Microseconds from which a command enters the slow log; -1 switches it off, 0 takes all.
    "slowlog-log-slower-than" => slowlog_log_slower_than: i64 = 10000, count(-1, I64);
    /// Most entries of the slow log.
    "slowlog-max-len" => slowlog_max_len: u64 = 128, count(0, I64);
    /// Milliseconds from which an event enters the latency history; 0 switches it off.
    "latency-monitor-threshold" => latency_monitor_threshold: u64 = 0, count(0, I64);
    /// Keep a latency histogram per command.
    "latency-tracking" => latency_tracking: bool = true, ANY;
    /// Percentiles of it shown by INFO.
    "latency-tracking-info-percentiles" => latency_tracking_info_percentiles: Percentiles = Percentiles(vec![50.0, 99.0, 99.9]), ANY, MULTI;

    // ---- cluster ----
    /// Be a node of a cluster.
    "cluster-enabled" => cluster_enabled: bool = false, ANY, IMMUTABLE, INERT;
    /// File in which a node keeps what it knows of the cluster.
    "cluster-config-file" => cluster_config_file: String = "nodes.conf".into(), ANY, IMMUTABLE, INERT;
    /// Milliseconds after which an unreachable node counts as failed.
    "cluster-node-timeout" => cluster_node_timeout: u64 = 15000, count(0, I64), INERT;
    /// Milliseconds between pings of a node.
    "cluster-ping-interval" => cluster_ping_interval: u64 = 0, count(0, I64), HIDDEN, INERT;
    /// Port of the cluster bus; 0 for the port plus 10000.
    "cluster-port" => cluster_port: u16 = 0, PORT, IMMUTABLE, INERT;
    /// Age of its data, in node timeouts, up to which a replica may take over.
    "cluster-replica-validity-factor" | "cluster-slave-validity-factor" => cluster_replica_validity_factor: u32 = 10, count(0, I32), INERT;
    /// Never start a failover by itself.
    "cluster-replica-no-failover" | "cluster-slave-no-failover" => cluster_replica_no_failover: bool = false, ANY, INERT;
    /// Replicas that a primary keeps when one moves to an orphaned primary.
    "cluster-migration-barrier" => cluster_migration_barrier: u32 = 1, count(0, I32), INERT;
    /// Let replicas move to orphaned primaries.
    "cluster-allow-replica-migration" => cluster_allow_replica_migration: bool = true, ANY, INERT;
    /// Refuse queries while a slot is not covered.
    "cluster-require-full-coverage" => cluster_require_full_coverage: bool = true, ANY, INERT;
    /// Answer reads while the cluster is down.
    "cluster-allow-reads-when-down" => cluster_allow_reads_when_down: bool = false, ANY, INERT;
    /// Serve sharded channels while the cluster is down.
    "cluster-allow-pubsubshard-when-down" => cluster_allow_pubsubshard_when_down: bool = true, ANY, INERT;
    /// Most unsent bytes of one cluster link; 0 for no limit.
    "cluster-link-sendbuf-limit" => cluster_link_sendbuf_limit: u64 = 0, bytes(0, U64), INERT;
    /// Address that a node gives as its own.
    "cluster-announce-ip" => cluster_announce_ip: String = String::new(), ANY, INERT;
    /// Port that a node gives as its own.
    "cluster-announce-port" => cluster_announce_port: u16 = 0, PORT, INERT;
    /// TLS port that a node gives as its own.
    "cluster-announce-tls-port" => cluster_announce_tls_port: u16 = 0, PORT, INERT;
    /// Bus port that a node gives as its own.
    "cluster-announce-bus-port" => cluster_announce_bus_port: u16 = 0, PORT, INERT;
    /// Host name that a node gives as its own.
    "cluster-announce-hostname" => cluster_announce_hostname: String = String::new(), check(checks::announced_hostname), INERT;
    /// Name of a node in logs.
    "cluster-announce-human-nodename" => cluster_announce_human_nodename: String = String::new(), check(checks::announced_nodename), INERT;
    /// How nodes are named in redirections.
    "cluster-preferred-endpoint-type" => cluster_preferred_endpoint_type: Word = Word("ip"), one_of(&["ip", "hostname", "unknown-endpoint"]), INERT;

    // ---- TLS ----
    /// TLS port to listen on; 0 listens on none.
    "tls-port" => tls_port: u16 = 0, PORT, INERT;
    /// Speak TLS on the cluster bus.
    "tls-cluster" => tls_cluster: bool = false, ANY, INERT;
    /// Speak TLS to the primary.
    "tls-replication" => tls_replication: bool = false, ANY, INERT;
    /// Whether clients must show a certificate.
    "tls-auth-clients" => tls_auth_clients: Word = Word("yes"), one_of(&["no", "yes", "optional"]), INERT;
    /// Protocol versions offered.
    "tls-protocols" => tls_protocols: String = String::new(), ANY, INERT;
    /// Ciphers offered up to TLS 1.2.
    "tls-ciphers" => tls_ciphers: String = String::new(), ANY, INERT;
    /// Cipher suites offered in TLS 1.3.
    "tls-ciphersuites" => tls_ciphersuites: String = String::new(), ANY, INERT;
    /// Let the server's order of ciphers decide.
    "tls-prefer-server-ciphers" => tls_prefer_server_ciphers: bool = false, ANY, INERT;
    /// Keep sessions for resumption.
    "tls-session-caching" => tls_session_caching: bool = true, ANY, INERT;
    /// Sessions kept.
    "tls-session-cache-size" => tls_session_cache_size: u32 = 20 * 1024, count(0, I32), INERT;
    /// Seconds a session is kept.
    "tls-session-cache-timeout" => tls_session_cache_timeout: u32 = 300, count(0, I32), INERT;
    /// Certificate of the server.
    "tls-cert-file" => tls_cert_file: String = String::new(), ANY, INERT;
    /// Key of the server's certificate.
    "tls-key-file" => tls_key_file: String = String::new(), ANY, INERT;
    /// Passphrase of that key.
    "tls-key-file-pass" => tls_key_file_pass: Secret = Secret::NONE, ANY, INERT;
    /// Certificate for outgoing connections.
    "tls-client-cert-file" => tls_client_cert_file: String = String::new(), ANY, INERT;
    /// Key of that certificate.
    "tls-client-key-file" => tls_client_key_file: String = String::new(), ANY, INERT;
    /// Passphrase of that key.
    "tls-client-key-file-pass" => tls_client_key_file_pass: Secret = Secret::NONE, ANY, INERT;
    /// Diffie-Hellman parameters.
    "tls-dh-params-file" => tls_dh_params_file: String = String::new(), ANY, INERT;
    /// Certificate authorities, in one file.
    "tls-ca-cert-file" => tls_ca_cert_file: String = String::new(), ANY, INERT;
    /// Certificate authorities, as a directory.
    "tls-ca-cert-dir" => tls_ca_cert_dir: String = String::new(), ANY, INERT;
}
