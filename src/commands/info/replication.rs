//! INFO replication: fields in the order in which Redis gives them, which Sentinel and tools rely on.

use super::{Facts, Text};
use crate::state::{Failover, LinkState, Stage, Upstream};
use crate::units::{Offset, ReplId};

pub fn replication(facts: &Facts<'_>, text: &mut Text) {
    let server = facts.server;
    let settings = &server.config.settings;
    let history = &server.history;
    match server.shown_upstream() {
        None => text.put("role", "master"),
        Some(upstream) => replica(facts, upstream, text),
    }
    let replicas = server.replicas();
    text.put("connected_slaves", replicas.len());
    if settings.min_replicas_to_write > 0 && settings.min_replicas_max_lag > 0 {
        text.put("min_slaves_good_slaves", server.good_replicas(facts.now));
    }
    for (n, (_, session, replica)) in replicas.iter().enumerate() {
        let (ip, port) = session.replica_address();
        let lag = if replica.stage == Stage::Online { (facts.now - replica.ack_ms).max(0) / 1000 } else { 0 };
        let (state, offset) = (replica.stage.word(), replica.ack);
        text.put(
            &format!("slave{n}"),
            format_args!("ip={ip},port={port},state={state},offset={offset},lag={lag}"),
        );
    }
    text.put("master_failover_state", Failover::word(server.failover.as_ref()));
    let (replid2, end2) = match history.previous {
        Some((id, end)) => (id, end.next_byte() as i64),
        None => (ReplId::NONE, -1),
    };
    text.put("master_replid", history.replid);
    text.put("master_replid2", replid2);
    text.put("master_repl_offset", history.end);
    text.put("second_repl_offset", end2);
    text.put("repl_backlog_active", 1);
    text.put("repl_backlog_size", settings.repl_backlog_size);
    let first = history.offered_from();
    text.put("repl_backlog_first_byte_offset", first.next_byte());
    text.put("repl_backlog_histlen", history.end.since(first));
}

/// What a replica says of its primary.
fn replica(facts: &Facts<'_>, upstream: &Upstream, text: &mut Text) {
    let settings = &facts.server.config.settings;
    let connected = upstream.link == LinkState::Connected;
    let seconds = |since: i64| if since > 0 { (facts.now - since).max(0) / 1000 } else { -1 };
    let end: Offset = facts.server.history.end;
    text.put("role", "slave");
    text.put("master_host", &upstream.host);
    text.put("master_port", upstream.port);
    text.put("master_link_status", if connected { "up" } else { "down" });
    text.put("master_last_io_seconds_ago", if connected { seconds(upstream.last_io_ms) } else { -1 });
    let syncing = matches!(upstream.link, LinkState::Sync { .. });
    text.put("master_sync_in_progress", u8::from(syncing));
    text.put("slave_read_repl_offset", end);
    text.put("slave_repl_offset", end);
    if let LinkState::Sync { total, read } = upstream.link {
        let total = total.unwrap_or(0);
        text.put("master_sync_total_bytes", total);
        text.put("master_sync_read_bytes", read);
        text.put("master_sync_left_bytes", total as i64 - read as i64);
        text.ratio("master_sync_perc", 100.0 * read as f64 / total.max(1) as f64);
        text.put("master_sync_last_io_seconds_ago", seconds(upstream.last_io_ms));
    }
    if !connected {
        text.put("master_link_down_since_seconds", seconds(upstream.down_since_ms));
        if let Some(why) = &upstream.trouble {
            text.put("master_link_trouble", why);
        }
    }
    text.put("slave_priority", settings.replica_priority);
    text.put("slave_read_only", u8::from(settings.replica_read_only));
    text.put("replica_announced", u8::from(settings.replica_announced));
}
