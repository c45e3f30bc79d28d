//! A replica between two histories: what is in its way while a full sync arrives, and orders that come in the middle.

use crate::client::Client;
use crate::compare::{assert_same, dataset, digest};
use crate::harness::{Launch, Server, bgsave, eventually, info, rewrite_aof, subject_is_ours};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
/// Of each of the two. A load looks at its delay after each 1,024 keys.
const KEYS: u32 = 1100;
/// Microseconds for each key of a payload: a second and a half for all.
const SLOW: &str = "1500";

fn fill(c: &mut Client, name: &str, keys: u32) {
    for n in 0..keys {
        c.must(&["SET", &format!("{name}:{n}"), &format!("{name} of {n}")]);
    }
}

/// A primary, and a server with data of its own that loads slowly.
fn pair(directives: &[(&str, &str)]) -> (Server, Server) {
    let primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    fill(&mut primary.connect(), "theirs", KEYS);
    let replica = Launch::ours(directives).start();
    fill(&mut replica.connect(), "mine", KEYS);
    replica.connect().must(&["CONFIG", "SET", "key-load-delay", SLOW]);
    (primary, replica)
}

fn follow(primary: &Server, c: &mut Client) {
    c.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
}

fn is_loading(replica: &Server) {
    eventually("the payload to be loaded", LIMIT, || {
        replica.log().contains("MASTER <-> REPLICA sync: Loading DB in memory").then_some(())
    });
}

fn payloads(replica: &Server) -> usize {
    let names = std::fs::read_dir(replica.data()).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("temp-sync-")).count()
}

fn in_sync(primary: &Server, replica: &Server) {
    let (mut p, mut r) = (primary.connect(), replica.connect());
    at_the_same_place(&mut p, &mut r);
    assert_same(&dataset(&mut p), &dataset(&mut r));
}

fn at_the_same_place(p: &mut Client, r: &mut Client) {
    eventually("both to be at the same place", LIMIT, || {
        let up = info(r, "master_link_status") == "up";
        (up && info(r, "slave_repl_offset") == info(p, "master_repl_offset")).then_some(())
    });
}

/// The payload is being loaded when the server is told not to follow any more: nothing of it comes into force, and what is
/// written from then on is there after a kill.
#[test]
fn a_promotion_in_the_middle_of_a_full_sync_keeps_the_old_data() {
    if !subject_is_ours() {
        return;
    }
    for setting in [[("appendonly", "yes"), ("save", "")], [("appendonly", "no"), ("save", "3600 1")]] {
        let (primary, mut replica) = pair(&setting);
        let mut r = replica.connect();
        follow(&primary, &mut r);
        is_loading(&replica);
        // As repl-diskless-load swapdb promises: the old data are served, and INFO says what goes on.
        assert_eq!((info(&mut r, "loading"), info(&mut r, "async_loading")), ("0".into(), "1".into()));
        assert_eq!(r.must(&["GET", "mine:0"]).text(), "mine of 0");
        r.must(&["REPLICAOF", "NO", "ONE"]);
        assert_eq!(info(&mut r, "async_loading"), "0");
        r.must(&["SET", "after", "the promotion"]);
        eventually("the payload to be given up", LIMIT, || (payloads(&replica) == 0).then_some(()));
        r.must(&["SET", "after that", "too"]);
        let mine = dataset(&mut r);
        let end = info(&mut r, "master_repl_offset");
        replica.kill();
        let (_replica, mut r) = replica.restart_and_connect();
        assert_same(&mine, &dataset(&mut r));
        assert_eq!(info(&mut r, "second_repl_offset"), (end.parse::<u64>().unwrap() + 1).to_string());
    }
}

/// The primary dies while its payload, which is complete, is being loaded: the replica has the old data or the new, and the
/// same in memory and on disk.
#[test]
fn a_primary_that_dies_while_its_payload_is_loaded_leaves_one_of_the_two() {
    if !subject_is_ours() {
        return;
    }
    let (mut primary, mut replica) = pair(&[]);
    let mut r = replica.connect();
    let (mine, theirs) = (dataset(&mut r), dataset(&mut primary.connect()));
    follow(&primary, &mut r);
    is_loading(&replica);
    primary.kill();
    eventually("the load to end", LIMIT, || (payloads(&replica) == 0).then_some(()));
    eventually("the link to end", LIMIT, || replica.log().contains("MASTER <-> REPLICA link:").then_some(()));
    let held = dataset(&mut r);
    assert!(held == mine || held == theirs);
    replica.kill();
    let (_replica, mut r) = replica.restart_and_connect();
    assert_same(&held, &dataset(&mut r));
}

/// A snapshot of the old data is being written when the new ones come: it must not come into force over them.
#[test]
fn a_snapshot_under_way_does_not_outlive_the_data_that_it_shows() {
    if !subject_is_ours() {
        return;
    }
    for order in ["BGSAVE", "BGREWRITEAOF"] {
        let (primary, mut replica) = pair(&[("appendonly", "yes")]);
        let mut r = replica.connect();
        r.must(&["CONFIG", "SET", "key-load-delay", "0", "rdb-key-save-delay", "5000"]); // five seconds
        r.must(&[order]);
        follow(&primary, &mut r);
        in_sync(&primary, &replica);
        r.must(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
        primary.connect().must(&["SET", "after", order]);
        in_sync(&primary, &replica);
        replica.kill();
        let (replica, mut r) = replica.restart_and_connect();
        follow(&primary, &mut r);
        in_sync(&primary, &replica);
        assert_eq!(info(&mut r, "async_loading"), "0");
        assert_eq!(info(&mut primary.connect(), "sync_full"), "1", "{}", replica.log());
    }
}

/// A clean stop and DEBUG LOADAOF of a replica under a stream: the position that is left is the end, and it goes on from there.
#[test]
fn a_replica_stops_and_reloads_cleanly_under_a_stream() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    let of = format!("127.0.0.1 {}", primary.port());
    let mut replica = Launch::ours(&[("enable-debug-command", "yes")]).with("replicaof", &of).start();
    in_sync(&primary, &replica);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let mut c = primary.connect();
    let writer = std::thread::spawn(move || {
        let mut n = 0u32;
        while stopped.try_recv() == Err(std::sync::mpsc::TryRecvError::Empty) {
            c.must(&["APPEND", &format!("k{}", n % 50), "more"]);
            n += 1;
        }
    });
    for round in 0..4 {
        if round % 2 == 0 {
            let mut r = replica.connect();
            eventually("the log's new base", LIMIT, || {
                let busy = ["aof_rewrite_scheduled", "aof_rewrite_in_progress"]; // in this order it becomes so
                busy.iter().all(|field| info(&mut r, field) == "0").then_some(())
            });
            r.must(&["DEBUG", "LOADAOF"]);
        } else {
            let end = replica.stop();
            assert_eq!(end.code, Some(0), "{}", end.stderr);
            replica = replica.launch().start();
            assert!(!replica.log().contains("after a crash"), "{}", replica.log());
        }
    }
    drop(stop);
    writer.join().unwrap();
    in_sync(&primary, &replica);
    assert_eq!(info(&mut primary.connect(), "sync_full"), "1", "{}", replica.log());
}

/// A write that WAIT is to count may go with the data that the server had as a primary: whoever waits is told, as those
/// who wait for keys are, and its connection is closed.
#[test]
fn whoever_waits_at_a_primary_that_becomes_a_replica_is_told() {
    let primary = Launch::ours(&[]).start();
    let server = Launch::ours(&[]).start();
    let waits: [&[&str]; 3] = [&["WAIT", "1", "0"], &["BLPOP", "list", "0"], &["WAITAOF", "0", "1", "0"]];
    let mut clients = Vec::new();
    for wait in waits.iter().take(if subject_is_ours() { 3 } else { 2 }) {
        let mut c = server.connect();
        c.must(&["SET", "k", "precious"]);
        c.send_raw(&crate::client::encode(wait)).unwrap();
        clients.push((c, wait));
    }
    let mut c = server.connect();
    eventually("all to wait", LIMIT, || {
        (info(&mut c, "blocked_clients") == clients.len().to_string()).then_some(())
    });
    follow(&primary, &mut c);
    for (mut waiting, wait) in clients {
        let reply = waiting.read_value().unwrap();
        let told =
            "UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
        assert_eq!(reply.text(), told, "{wait:?}");
        assert!(waiting.try_cmd(&["PING"]).is_err(), "{wait:?}: the connection is still open");
    }
}

const SETTINGS: [&[(&str, &str)]; 2] =
    [&[("appendonly", "yes")], &[("appendonly", "no"), ("save", "3600 1")]];

fn replica_of(primary: &Server, directives: &[(&str, &str)]) -> Server {
    Launch::ours(directives).with("replicaof", &format!("127.0.0.1 {}", primary.port())).start()
}

/// Promoted by mistake and sent back with nothing written, a replica goes on under the name of before, which its
/// lineage holds too, with an end: what came after the return is there after a crash.
#[test]
fn what_comes_after_a_return_to_the_old_primary_survives_a_crash() {
    if !subject_is_ours() {
        return;
    }
    for directives in SETTINGS {
        for (saved, killed) in [(false, true), (true, true), (false, false), (true, false)] {
            let primary = Launch::ours(directives).start();
            let mut p = primary.connect();
            fill(&mut p, "before", 20);
            let mut replica = replica_of(&primary, directives);
            in_sync(&primary, &replica);
            let mut r = replica.connect();
            r.must(&["REPLICAOF", "NO", "ONE"]);
            if saved && directives[0].1 == "yes" {
                rewrite_aof(&mut r);
            } else if saved {
                bgsave(&mut r);
            }
            follow(&primary, &mut r);
            in_sync(&primary, &replica);
            assert_eq!(
                info(&mut r, "master_replid"),
                info(&mut p, "master_replid"),
                "not under the old name"
            );
            fill(&mut p, "after", 50);
            assert_eq!(p.must(&["WAIT", "1", "30000"]).int(), 1);
            let end = if killed { replica.kill() } else { replica.stop() };
            drop(end);
            // Alone, so that nothing but its own files can bring the writes back.
            let replica = replica.launch().clone().with("replicaof", "no one").start();
            assert_eq!(replica.connect().must(&["DBSIZE"]).int(), 70, "{directives:?} {saved} {killed}");
            assert_same(&dataset(&mut p), &dataset(&mut replica.connect()));
        }
    }
}

/// Going back while the server is told to end: what is saved and what is marked as the end are the same place.
#[test]
fn a_return_to_the_old_primary_during_a_shutdown_leaves_files_that_start() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("appendonly", "no"), ("save", "3600 1")];
    let primary = Launch::ours(&directives).start();
    let mut p = primary.connect();
    p.must(&["DEBUG", "POPULATE", "100000", "key", "50"]);
    let mut replica = replica_of(&primary, &directives);
    let mut r = replica.connect();
    at_the_same_place(&mut p, &mut r);
    r.must(&["REPLICAOF", "NO", "ONE"]);
    follow(&primary, &mut r);
    fill(&mut p, "meanwhile", 500);
    let end = replica.stop();
    assert_eq!(end.code, Some(0), "{end}");
    let (_replica, mut r) = replica.restart_and_connect();
    at_the_same_place(&mut p, &mut r);
    assert_eq!(digest(&mut p), digest(&mut r));
    assert_eq!(info(&mut p, "sync_full"), "1");
}

/// A replica hands on its primary's bytes: only the payload can say in which database they go on.
#[test]
fn a_payload_of_a_replica_says_in_which_database_the_stream_goes_on() {
    for middle_is_ours in [true, false] {
        for (diskless, aof) in [("yes", "yes"), ("no", "yes"), ("yes", "no")] {
            let directives =
                [("repl-diskless-sync", diskless), ("repl-diskless-sync-delay", "0"), ("appendonly", aof)];
            let primary = Launch::ours(&directives).with("repl-ping-replica-period", "3600").start();
            let upstream = format!("127.0.0.1 {}", primary.port());
            let middle = match middle_is_ours {
                true => Launch::ours(&directives),
                false => match Launch::stock(&directives) {
                    Some(launch) => launch,
                    None => return,
                },
            };
            let middle = middle.with("replicaof", &upstream).start();
            let mut p = primary.connect();
            p.must(&["SELECT", "2"]);
            p.must(&["SET", "before", "1"]);
            in_sync(&primary, &middle);
            let last = replica_of(&middle, &directives);
            in_sync(&primary, &last);
            p.must(&["SET", "after", "1"]);
            in_sync(&primary, &last);
            // Its own files say so too.
            let mut last = last;
            last.kill();
            let last = last.restart();
            in_sync(&primary, &last);
            let mut c = last.connect();
            c.must(&["SELECT", "2"]);
            assert_eq!(c.must(&["DBSIZE"]).int(), 2);
        }
    }
}
