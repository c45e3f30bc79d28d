//! The node as clients see it: transactions, waits, messages, pauses, in their order.

use super::Action;
use super::testing::NodeBench;
use crate::commands::Request;
use crate::commands::renames::Renames;
use crate::error::ReplyError;
use crate::state::{Downstream, Role, Stage};
use crate::store::{Garbage, Store};
use crate::units::Offset;

#[test]
fn a_transaction_is_one_unit() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.check(a, "MULTI", "+OK");
    bench.check(a, "SET k 1", "+QUEUED");
    bench.check(a, "INCR k", "+QUEUED");
    bench.check(a, "GET k", "+QUEUED");
    bench.check(a, "LPUSH k x", "+QUEUED");
    assert_eq!(bench.stream(), "");
    let wrong = "-WRONGTYPE Operation against a key holding the wrong kind of value";
    bench.check(a, "EXEC", &format!("*4 +OK :2 $1 2 {wrong}"));
    assert_eq!(bench.stream(), "MULTI SET k 1 INCR k EXEC");
    bench.check(a, "EXEC", "-ERR EXEC without MULTI");
}

#[test]
fn a_refused_command_spoils_the_transaction() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    for bad in ["NOSUCH", "GET", "CLIENT NOSUCH", "SAVE"] {
        bench.check(a, "MULTI", "+OK");
        bench.check(a, "SET k 1", "+QUEUED");
        assert!(bench.send(a, bad).starts_with("-ERR "), "{bad}");
        bench.check(a, "SET k 2", "+QUEUED");
        bench.check(a, "EXEC", "-EXECABORT Transaction discarded because of previous errors.");
    }
    bench.check(a, "EXISTS k", ":0");
    // EXEC itself may be what is refused.
    bench.send(a, "MULTI");
    bench.send(a, "SET k 1");
    bench.node.server.persistence.last_save_ok = false;
    let reply = bench.send(a, "EXEC");
    assert!(reply.starts_with("-EXECABORT Transaction discarded because of: MISCONF"), "{reply}");
    assert!(bench.send(a, "PING").starts_with("-MISCONF"));
    bench.check(a, "EXISTS k", ":0");
    bench.check(
        a,
        "EXEC x",
        "-EXECABORT Transaction discarded because of: wrong number of arguments for 'exec' command",
    );
}

#[test]
fn watched_keys() {
    let mut bench = NodeBench::default();
    let (a, b) = (bench.connect(), bench.connect());
    for (change, broken) in [("SET k 1", true), ("SET other 1", false), ("FLUSHALL", true), ("GET k", false)]
    {
        bench.send(b, "SET k 0");
        bench.send(a, "WATCH k");
        bench.send(b, change);
        bench.send(a, "MULTI");
        bench.send(a, "PING");
        bench.check(a, "EXEC", if broken { "*-1" } else { "*1 +PONG" });
    }
    bench.disconnect(a);
    assert!(bench.node.store.changes.interest.is_empty());
}

#[test]
fn a_watched_key_that_held_nothing_and_holds_nothing_is_unchanged() {
    let cases = [
        // What the key was when it was watched, what happens to it, whether EXEC refuses.
        ("stale", "GET k", false),
        ("stale", "DEL k", false),
        ("stale", "FLUSHDB", false),
        ("stale", "SWAPDB 0 1", false),
        ("stale", "SWAPDB 0 2", false),
        ("stale", "SWAPDB 0 3", true),
        ("stale", "SET k 1", true),
        ("absent", "SWAPDB 0 2", false),
        ("absent", "SWAPDB 0 3", true),
        ("live", "SWAPDB 0 2", true),
    ];
    for (was, change, broken) in cases {
        let mut bench = NodeBench::default();
        let (a, b) = (bench.connect(), bench.connect());
        bench.send(b, "SET live 1");
        bench.send(b, "COPY live k DB 3");
        bench.send(b, "SET stale 1 PX 1");
        bench.send(b, "COPY stale k DB 2");
        if was != "absent" {
            bench.send(b, &format!("RENAME {was} k"));
        }
        bench.clock += 2000;
        bench.check(a, "WATCH k", "+OK");
        bench.send(b, change);
        bench.send(a, "MULTI");
        bench.send(a, "PING");
        bench.check(a, "EXEC", if broken { "*-1" } else { "*1 +PONG" });
    }
}

/// A full sync, or DEBUG RELOAD.
#[test]
fn other_data_touch_watched_keys_that_held_something_or_do_now() {
    for (before, after, broken) in
        [(false, false, false), (true, false, true), (false, true, true), (true, true, true)]
    {
        let (mut bench, mut other) = (NodeBench::default(), NodeBench::default());
        let (a, b) = (bench.connect(), other.connect());
        if before {
            bench.send(a, "SET k 1");
        }
        if after {
            other.send(b, "SET k 1");
        }
        bench.send(a, "WATCH k");
        let now = bench.clock / 1000;
        bench.node.replace(other.node.store, Offset(100), now);
        bench.send(a, "MULTI");
        bench.send(a, "PING");
        bench.check(a, "EXEC", if broken { "*-1" } else { "*1 +PONG" });
    }
}

/// Scenario 41: who is woken by a transaction is served by a unit of his own behind it.
#[test]
fn waiting_clients_are_served_in_order_after_the_unit() {
    let mut bench = NodeBench::default();
    let (a, b, c) = (bench.connect(), bench.connect(), bench.connect());
    bench.check(a, "BLPOP x list 0", "");
    bench.check(b, "BLPOP list 0", "");
    bench.check(c, "MULTI", "+OK");
    bench.send(c, "RPUSH list 1");
    bench.send(c, "RPUSH list 2 3");
    bench.check(c, "EXEC", "*2 :1 :3");
    bench.check_output(a, "*2 $4 list $1 1");
    bench.check_output(b, "*2 $4 list $1 2");
    assert_eq!(bench.stream(), "MULTI RPUSH list 1 RPUSH list 2 3 EXEC LPOP list LPOP list");
    assert_eq!(bench.node.server.blocked_clients, 0);
    assert!(bench.node.store.changes.interest.is_empty());
}

#[test]
fn a_wait_ends_at_its_deadline_and_input_goes_on() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.check(a, "BLPOP list 0.05", "");
    bench.check(a, "PING", "");
    let now = bench.clock / 1000;
    assert_eq!(bench.node.next_deadline(), Some(now + 50));
    bench.clock += 49_000;
    bench.node.handle_deadlines(&mut bench.clock);
    bench.check_output(a, "");
    bench.clock += 1_000;
    bench.node.handle_deadlines(&mut bench.clock);
    bench.check_output(a, "*-1 +PONG");
    assert_eq!(bench.node.next_deadline(), None);
}

#[test]
fn waits_end_early() {
    let mut bench = NodeBench::default();
    let (a, b) = (bench.connect(), bench.connect());
    for (order, got) in [
        ("CLIENT UNBLOCK 1", "*-1"),
        ("CLIENT UNBLOCK 1 ERROR", "-UNBLOCKED client unblocked via CLIENT UNBLOCK"),
    ] {
        bench.check(a, "BLPOP list 0", "");
        bench.check(b, order, ":1");
        bench.check_output(a, got);
        bench.check(b, order, ":0");
    }
    let stats = &bench.node.server.stats_of(crate::commands::find(b"blpop").expect("a command")).clone();
    assert_eq!((stats.calls, stats.failed), (2, 1));
    bench.send(a, "BLPOP list 0");
    bench.check(b, "CLIENT KILL ID 1", ":1");
    assert!(matches!(bench.actions()[..], [Action::Close(slot)] if slot == a));
    bench.check(b, "RPUSH list 1", ":1");
    bench.check(b, "LLEN list", ":1");
    assert!(!bench.send(b, "CLIENT LIST").contains("id=1 "));
}

#[test]
fn idle_clients_are_woken_to_give_their_input_buffer_back() {
    let mut bench = NodeBench::default();
    let woken = |bench: &mut NodeBench| {
        let mut slots: Vec<_> = std::iter::from_fn(|| bench.node.poll_woken()).collect();
        slots.dedup();
        slots
    };
    let a = bench.connect();
    bench.check(a, "PING", "+PONG");
    bench.pass(1000);
    assert_eq!(woken(&mut bench), []);
    bench.pass(1100);
    assert_eq!(woken(&mut bench), [a]);
    assert_eq!(bench.release_input(a), 0);
    bench.pass(1000);
    assert_eq!(woken(&mut bench), []);
    let b = bench.connect();
    assert!(bench.send(b, "CLIENT LIST ID 1").contains(" idle=3 "), "being woken is not activity");
}

#[test]
fn messages() {
    let mut bench = NodeBench::default();
    let (a, b) = (bench.connect(), bench.connect());
    bench.check(a, "SUBSCRIBE c", "*3 $9 subscribe $1 c :1");
    let error = "-ERR Can't execute 'get': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context";
    bench.check(a, "GET k", error);
    bench.check(b, "PUBLISH c hi", ":1");
    bench.check_output(a, "*3 $7 message $1 c $2 hi");
    bench.disconnect(a);
    bench.check(b, "PUBLISH c hi", ":0");
    assert_eq!(bench.stream(), "");
    // One's own messages come behind the reply, never inside of it.
    assert!(bench.send(b, "HELLO 3").starts_with("%7"));
    bench.send(b, "SUBSCRIBE c");
    bench.check(b, "PUBLISH c 1", ":1 >3 $7 message $1 c $1 1");
    bench.send(b, "MULTI");
    bench.send(b, "PUBLISH c 2");
    bench.send(b, "PING");
    bench.check(b, "EXEC", "*2 :1 +PONG >3 $7 message $1 c $1 2");
}

#[test]
fn keyspace_events_are_published() {
    let mut bench = NodeBench::default();
    let (a, b) = (bench.connect(), bench.connect());
    bench.set("notify-keyspace-events", "KEA");
    bench.send(a, "PSUBSCRIBE __key*");
    bench.send(b, "SET k v");
    bench.check_output(
        a,
        "*4 $8 pmessage $6 __key* $16 __keyspace@0__:k $3 set *4 $8 pmessage $6 __key* $18 __keyevent@0__:set $1 k",
    );
}

#[test]
fn a_pause_holds_writes_back_in_order() {
    let mut bench = NodeBench::default();
    let (a, b, c) = (bench.connect(), bench.connect(), bench.connect());
    bench.send(c, "SET soon gone PX 10");
    bench.stream();
    bench.check(c, "CLIENT PAUSE 100 WRITE", "+OK");
    bench.check(b, "APPEND k 1", "");
    bench.check(a, "APPEND k 2", "");
    bench.check(c, "GET k", "$-1");
    assert_eq!(bench.node.server.blocked_clients, 2);
    // Nothing expires during a pause, it is only hidden.
    bench.pass(50);
    bench.check(c, "GET soon", "$-1");
    assert_eq!((bench.stream().as_str(), bench.node.store.key_count()), ("", 1));
    bench.pass(50);
    bench.check_output(b, ":1");
    bench.check_output(a, ":2");
    assert_eq!(bench.stream(), "APPEND k 1 APPEND k 2");
    bench.check(c, "CLIENT PAUSE 100000", "+OK");
    bench.check(a, "PING", "");
    bench.check(c, "CLIENT UNPAUSE", "+OK");
    bench.check_output(a, "+PONG");
}

/// Rule 31, scenario 41: the node's time stands still until a clock that went back has caught up.
#[test]
fn a_clock_that_goes_back_changes_nothing() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.check(a, "SET soon v PX 100", "+OK");
    bench.pass(200);
    bench.check(a, "SET later v PX 1000", "+OK");
    for ms in [-5000, 4999] {
        bench.pass(ms);
        bench.check(a, "EXISTS soon", ":0");
        bench.check(a, "PTTL later", ":1000");
    }
    bench.pass(1002);
    bench.check(a, "EXISTS later", ":0");
}

#[test]
fn reply_modes() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.check(a, "CLIENT REPLY SKIP", "");
    bench.check(a, "PING", "");
    bench.check(a, "NOSUCH", "-ERR unknown command 'NOSUCH', with args beginning with:");
    bench.check(a, "CLIENT REPLY SKIP", "");
    bench.check(a, "NOSUCH", "");
    bench.check(a, "PING", "+PONG");
    bench.check(a, "CLIENT REPLY SKIP", "");
    bench.check(a, "BGSAVE", "");
    bench.node.finish(a, Ok("Background saving started"));
    bench.check_output(a, "");
    bench.check(a, "PING", "+PONG");
    bench.check(a, "CLIENT REPLY OFF", "");
    bench.check(a, "PING", "");
    bench.check(a, "NOSUCH", "");
    bench.check(a, "BLPOP list 0", "");
    bench.node.unblock_client(a, None);
    bench.check_output(a, "");
    bench.check(a, "CLIENT REPLY ON", "+OK");
}

#[test]
fn replies_wait_for_the_log() {
    let mut bench = NodeBench::default();
    let (a, b) = (bench.connect(), bench.connect());
    bench.node.server.persistence.aof_enabled = true;
    bench.set("appendfsync", "always");
    bench.check(b, "BLPOP list 0", "");
    bench.check(a, "RPUSH list 1", "");
    bench.check_output(b, "");
    bench.check(a, "PING", "");
    let end = bench.node.stream.end;
    bench.node.handle_log(end, end, None);
    bench.check_output(a, ":1 +PONG");
    bench.check_output(b, "*2 $4 list $1 1");
    // Also those that a tick brings about.
    bench.check(b, "CLIENT PAUSE 10 WRITE", "+OK");
    bench.check(a, "SET k v", "");
    bench.pass(10);
    bench.check_output(a, "");
    let end = bench.node.stream.end;
    bench.node.handle_log(end, end, None);
    bench.check_output(a, "+OK");
}

/// P7: a full disk refuses what would append, lets reads through, and keeps nobody waiting for ever.
#[test]
fn a_full_disk() {
    let mut bench = NodeBench::default();
    let (a, b) = (bench.connect(), bench.connect());
    bench.node.server.persistence.aof_enabled = true;
    bench.set("appendfsync", "always");
    bench.node.server.config.settings.enable_debug_command = crate::config::Allow::Yes;
    bench.check(a, "SET k v PX 500", "");
    let end = bench.node.stream.end;
    let full = || Some("No space left on device".to_string());
    bench.node.handle_log(Offset::ZERO, Offset::ZERO, full());
    bench.check(b, "GET k", "$1 v");
    let refused = "-MISCONF Errors writing to the AOF file: No space left on device";
    for write in ["SET k w", "DEBUG POPULATE 10", "PING"] {
        bench.check(b, write, refused);
    }
    bench.check_output(a, "");
    bench.pass(600);
    bench.check(b, "GET k", "$-1");
    assert_eq!(bench.node.stream.end, end, "an expired key is hidden, its DEL comes later");
    let closes =
        |bench: &mut NodeBench| bench.actions().into_iter().filter(|a| matches!(a, Action::Close(_))).count();
    assert_eq!(closes(&mut bench), 0, "space may return");
    bench.pass(600);
    assert_eq!(closes(&mut bench), 1, "the client whose write is in the balance");
    bench.node.handle_log(end, end, None);
    bench.check(b, "GET k", "");
    assert!(bench.node.stream.end > end);
}

#[test]
fn waiting_for_the_log_and_for_replicas() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.check(a, "WAIT 0 0", ":0");
    bench.check(a, "WAIT 1 20", "");
    bench.pass(20);
    bench.check_output(a, ":0");
    bench.node.server.persistence.aof_enabled = true;
    bench.check(a, "WAITAOF 1 0 0", "*2 :1 :0");
    bench.send(a, "SET k v");
    bench.check(a, "WAITAOF 0 0 0", "*2 :0 :0");
    bench.check(a, "WAITAOF 1 0 0", "");
    let end = bench.node.stream.end;
    bench.node.handle_log(end, Offset(end.0 - 1), None);
    bench.check_output(a, "");
    bench.node.handle_log(end, end, None);
    bench.check_output(a, "*2 :1 :0");
    bench.check(a, "WAITAOF 0 1 20", "");
    bench.pass(20);
    bench.check_output(a, "*2 :1 :0");
    bench.send(a, "MULTI");
    bench.send(a, "WAIT 1 0");
    bench.send(a, "WAITAOF 1 1 0");
    bench.check(a, "EXEC", "*2 :0 *2 :1 :0");
}

#[test]
fn work_outside() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.check(a, "BGSAVE", "");
    assert!(
        matches!(bench.actions()[..], [Action::Command(slot, Request::BgSave { schedule: false })] if slot == a)
    );
    bench.node.finish(a, Ok("Background saving started"));
    bench.check_output(a, "+Background saving started");
    bench.send(a, "MULTI");
    bench.send(a, "BGSAVE");
    bench.send(a, "CONFIG SET hz 20");
    bench.send(a, "CONFIG SET hz x");
    let reply = bench.send(a, "EXEC");
    assert_eq!(reply, "");
    assert!(matches!(bench.actions()[..], [Action::ConfigChanged(..)]));
    bench.node.configured();
    bench.node.finish(a, Ok("OK"));
    assert!(matches!(bench.actions()[..], [Action::Command(_, Request::ConfigSet { .. })]));
    bench.node.finish(a, Err(ReplyError::new("ERR CONFIG SET failed")));
    bench.check_output(a, "*3 +Background saving scheduled +OK -ERR CONFIG SET failed");
    bench.check(a, "CONFIG SET hz 30", "");
    bench.check(a, "PING", "");
    assert!(matches!(bench.actions()[..], [Action::ConfigChanged(..)]));
    bench.node.configured();
    bench.node.finish(a, Ok("OK"));
    bench.check_output(a, "+OK +PONG");
}

#[test]
fn late_answers_never_reach_the_next_client_in_a_place() {
    let mut bench = NodeBench::default();
    let gone = bench.connect();
    bench.check(gone, "SAVE", "");
    bench.disconnect(gone);
    let next = bench.connect();
    assert_eq!((next.place(), next == gone), (gone.place(), false));
    bench.check(next, "BGREWRITEAOF", "");
    bench.node.finish(gone, Ok("OK"));
    bench.check_output(next, "");
    bench.node.finish(next, Ok("Background append only file rewriting started"));
    bench.check_output(next, "+Background append only file rewriting started");

    // Nor does the end of a connection whose reply waited for the log.
    bench.node.server.persistence.aof_enabled = true;
    bench.set("appendfsync", "always");
    bench.check(next, "SET a 1", "");
    bench.disconnect(next);
    let last = bench.connect();
    bench.actions();
    bench.node.handle_log_failure("disk".into());
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::Close(slot) if *slot == last)));
    bench.check(last, "GET b", "$-1");
}

#[test]
fn passwords_guard_everything_else() {
    let mut bench = NodeBench::default();
    bench.set("requirepass", "secret");
    let a = bench.connect();
    bench.check(a, "GET k", "-NOAUTH Authentication required.");
    assert!(bench.send(a, "AUTH wrong").starts_with("-WRONGPASS"));
    bench.check(a, "AUTH secret", "+OK");
    bench.check(a, "GET k", "$-1");
    bench.check(a, "RESET", "+RESET");
    bench.check(a, "GET k", "-NOAUTH Authentication required.");
    bench.set("requirepass", "");
    bench.check(a, "GET k", "$-1");
}

#[test]
fn figures_of_commands_and_errors() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.send(a, "SET k v");
    bench.send(a, "LPUSH k v");
    bench.send(a, "LPUSH k");
    bench.send(a, "AUTH x");
    let info = bench.send(a, "INFO commandstats errorstats");
    for part in [
        "cmdstat_set:calls=1,",
        "cmdstat_lpush:calls=1,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=1",
        "errorstat_ERR:count=2",
        "errorstat_WRONGTYPE:count=1",
    ] {
        assert!(info.contains(part), "{part} in {info}");
    }
}

#[test]
fn batches_and_ticks_are_counted() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.send(a, "PING");
    (0..20).for_each(|_| bench.pass(100));
    bench.send(a, "PING");
    let stats = &bench.node.server.stats;
    let per_second = stats.rates.each_ref().map(|rate| rate.per_second());
    assert_eq!((stats.loop_turns, per_second[3]), (22, 10));
}

#[test]
fn a_disabled_command_is_unknown() {
    let mut bench = NodeBench::default();
    bench.node.renames = Renames::new(&[(b"FLUSHALL".to_vec(), Vec::new())]).unwrap();
    let client = bench.connect();
    let refused = bench.send(client, "FLUSHALL");
    assert!(refused.contains("unknown command 'FLUSHALL'"), "{refused}");
}

#[test]
fn a_renamed_command_enters_the_stream_under_its_own_name() {
    let mut bench = NodeBench::default();
    bench.node.renames = Renames::new(&[(b"SET".to_vec(), b"put".to_vec())]).unwrap();
    let client = bench.connect();
    assert!(bench.send(client, "SET k v").contains("unknown command 'SET'"));
    assert_eq!(bench.send(client, "PUT k v"), "+OK");
    assert_eq!(bench.send(client, "put k"), "-ERR wrong number of arguments for 'set' command");
    bench.send(client, "MULTI");
    assert_eq!(bench.send(client, "put k2 v"), "+QUEUED");
    bench.send(client, "EXEC");
    assert_eq!(bench.send(client, "GET k2"), "$1 v");
    assert_eq!(bench.stream(), "SET k v SET k2 v");
}

/// As Redis 7.2: what a read finds expired stands before it in one unit, but for commands that meet any key.
#[test]
fn keys_found_expired_by_a_walk_are_deleted_each_by_itself() {
    let check = |line: &str, expected: &str| {
        let mut bench = NodeBench::default();
        let a = bench.connect();
        bench.node.server.active_expire = false;
        bench.send(a, "SET a 1 PX 1");
        bench.send(a, "SET b 1 PX 1");
        bench.stream();
        bench.clock += 2000;
        line.split('|').for_each(|line| {
            bench.send(a, line);
        });
        let (one, other) = (bench.stream(), expected.replace('a', "x").replace('b', "a").replace('x', "b"));
        assert!(one == expected || one == other, "{line}: {one}");
    };
    check("SCAN 0", "DEL a DEL b");
    check("RANDOMKEY", "DEL a DEL b");
    check("MGET a b", "MULTI DEL a DEL b EXEC");
    check("MULTI|SCAN 0|EXEC", "MULTI DEL a DEL b EXEC");
}

#[test]
fn a_transaction_that_waits_is_judged_by_how_stale_the_data_are_then() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.set("replica-serve-stale-data", "no");
    bench.send(a, "MULTI");
    bench.check(a, "GET k", "+QUEUED");
    bench.node.will_follow("10.0.0.1", 6379, true);
    let why = "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.";
    bench.check(a, "EXEC", &format!("-EXECABORT Transaction discarded because of: {why}"));
    bench.check(a, "MULTI", "+OK");
    bench.check(a, "GET k", &format!("-{why}"));
    bench.check(a, "DISCARD", "+OK");
    bench.check(a, "MULTI", "+OK");
    bench.node.server.role = Role::Primary;
    bench.check(a, "GET k", "+QUEUED");
    bench.check(a, "EXEC", "*1 $-1");
}

/// What monitoring takes for a buffer is how far the slowest replica is behind.
#[test]
fn the_replica_furthest_behind_is_measured() {
    let mut bench = NodeBench::default();
    let [a, one, other] = [bench.connect(), bench.connect(), bench.connect()];
    let mut figure = |sent: [Option<u64>; 2], stage| {
        for (slot, sent) in [one, other].into_iter().zip(sent) {
            let session = bench.node.server.sessions.get_mut(slot).expect("is there");
            session.replica =
                Some(Box::new(Downstream { stage, sent: sent.map(Offset), ..Downstream::default() }));
        }
        bench.node.server.history.end = Offset(100_000);
        let info = bench.send(a, "INFO memory");
        let at = info.find("mem_total_replication_buffers:").expect("the field") + 30;
        info[at..].split(' ').next().map(str::to_string)
    };
    assert_eq!(figure([Some(100_000); 2], Stage::Online).as_deref(), Some("0"));
    assert_eq!(figure([Some(100_000), Some(30_000)], Stage::Online).as_deref(), Some("81920"));
    assert_eq!(figure([None, Some(30_000)], Stage::SendSnapshot).as_deref(), Some("81920"));
    assert_eq!(figure([None, None], Stage::WaitSnapshot).as_deref(), Some("0"));
    assert!(bench.send(a, "INFO clients").contains(" connected_clients:1 "));
}

/// Each command of a pipeline sees the end of what stands before it.
#[test]
fn a_pipeline_is_told_where_it_is() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    let set = |key| format!("SET {key} 1");
    let [one, other] = ["a", "b"].map(set);
    let reply = bench.send_all(a, &["ROLE", &one, "ROLE", &other, "ROLE"]);
    let ends: Vec<&str> = reply.split(" :").skip(1).filter_map(|rest| rest.split(' ').next()).collect();
    assert_eq!(ends, ["0", "50", "77"], "{reply}");
}

/// What stands behind REPLICAOF in a transaction sees a replica whose link is down.
#[test]
fn replicaof_is_seen_within_its_transaction() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.send(a, "MULTI");
    for line in ["SET k 1", "REPLICAOF 10.0.0.1 6379", "INFO replication", "ROLE"] {
        bench.check(a, line, "+QUEUED");
    }
    bench.check(a, "EXEC", "");
    let order = Request::ReplicaOf(Some(("10.0.0.1".into(), 6379)));
    assert!(matches!(&bench.actions()[..], [Action::Command(_, asked)] if *asked == order));
    bench.node.finish(a, Ok("OK"));
    let reply = bench.output(a);
    assert!(reply.contains("role:slave") && reply.contains("master_link_status:down"), "{reply}");
    assert!(reply.ends_with("$5 slave $8 10.0.0.1 :6379 $7 connect :-1"), "{reply}");
    assert_eq!(bench.stream(), "SET k 1");
}

/// A full sync of gigabytes must not stop clients while what was there before is freed.
#[test]
fn replaced_data_are_freed_by_others() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    for line in ["SET k 1", "SET l 1", "SELECT 3", "SET k 1"] {
        bench.check(a, line, "+OK");
    }
    bench.node.replace(Store::new(16), Offset(1000), bench.node.now_ms());
    let left: Vec<u64> = bench.node.store.changes.garbage.iter().map(Garbage::objects).collect();
    assert_eq!(left, [2, 1]);
    bench.check(a, "DBSIZE", ":0");
}
