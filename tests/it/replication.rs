//! Replicas of a server of ours, and what becomes of them when it is stopped, killed, or loses its data.

use crate::client::Client;
use crate::compare::{assert_same, dataset};
use crate::fill::{fill, noise};
use crate::harness::{Launch, Server, eventually, info, stock_tool, subject_is_ours};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

/// Waits until the replica's link is up and it has all that its primary has.
fn in_sync(primary: &mut Client, replica: &mut Client) {
    eventually("the link to be up", LIMIT, || (info(replica, "master_link_status") == "up").then_some(()));
    eventually("the replica to have everything", LIMIT, || {
        (info(replica, "slave_repl_offset") == info(primary, "master_repl_offset")).then_some(())
    });
}

fn count(c: &mut Client, field: &str) -> u64 {
    info(c, field).parse().unwrap()
}

fn stock_replica(of: &Server) -> Option<Server> {
    let primary = format!("127.0.0.1 {}", of.port());
    Some(Launch::stock(&[("replicaof", &primary), ("save", "")])?.start())
}

/// The common case of ten years of issues: the primary is restarted, by order or by `kill -9`, and its replicas must
/// not copy everything again.
#[test]
fn a_stock_replica_goes_on_after_every_restart_of_its_primary() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let off = [("appendonly", "no"), ("save", "3600 1")];
    for setting in [&[("appendfsync", "everysec")][..], &[("appendfsync", "always")], &off] {
        for diskless in ["yes", "no"] {
            let mut directives = setting.to_vec();
            directives.extend([("repl-diskless-sync", diskless), ("repl-diskless-sync-delay", "0")]);
            let mut primary = Launch::ours(&directives).start();
            fill(&mut primary.connect());
            let replica = stock_replica(&primary).unwrap();
            let mut r = replica.connect();
            in_sync(&mut primary.connect(), &mut r);
            assert_same(&dataset(&mut primary.connect()), &dataset(&mut r));
            for (round, killed) in [true, false, true].into_iter().enumerate() {
                let mut c = primary.connect();
                c.must(&["SELECT", "3"]);
                c.must(&["RPUSH", "rounds", &round.to_string()]);
                if killed {
                    primary.kill();
                } else {
                    primary.stop();
                }
                primary = primary.restart();
                let mut c = primary.connect();
                in_sync(&mut c, &mut r);
                assert_eq!((count(&mut c, "sync_full"), count(&mut c, "sync_partial_ok")), (0, 1));
                c.must(&["SELECT", "3"]);
                c.must(&["RPUSH", "rounds", "after"]);
                assert_eq!(c.must(&["WAIT", "1", "10000"]).int(), 1);
                assert_same(&dataset(&mut c), &dataset(&mut r));
            }
        }
    }
}

/// Writes to a primary whose replica stands still, until its socket is full and `until` sees that.
fn fill_socket(c: &mut Client, mut until: impl FnMut() -> bool) {
    for n in 0..20_000 {
        c.must(&[b"SET".as_slice(), format!("k{}", n % 50).as_bytes(), &noise(n, 10_000)]);
        if n % 500 == 499 && until() {
            return;
        }
    }
    panic!("200 MB did not fill the socket");
}

/// Rule 30, scenario 40: a replica that is slower than the ring is long is fed from the log and does not need a second full sync.
#[test]
fn a_replica_behind_the_ring_is_fed_from_the_log() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    for setting in [[("appendonly", "yes"), ("save", "")], [("appendonly", "no"), ("save", "3600 1")]] {
        let mut directives = setting.to_vec();
        directives.extend([("repl-backlog-size", "64kb"), ("repl-diskless-sync-delay", "0")]);
        let primary = Launch::ours(&directives).start();
        let replica = stock_replica(&primary).unwrap();
        let (mut c, mut other, mut r) = (primary.connect(), primary.connect(), replica.connect());
        in_sync(&mut c, &mut r);
        replica.signal(rustix::process::Signal::STOP);
        fill_socket(&mut c, || count(&mut other, "mem_total_replication_buffers") > 1 << 20);
        replica.signal(rustix::process::Signal::CONT);
        in_sync(&mut c, &mut r);
        assert_same(&dataset(&mut c), &dataset(&mut r));
        assert_eq!(count(&mut c, "sync_full"), 1, "{}", primary.log());
    }
}

/// `client-output-buffer-limit replica`: at once above the hard limit, which is never below the ring's size, and after a time
/// above the soft one. What it has not been sent is still there for it when it comes back.
#[test]
fn a_replica_is_closed_at_its_output_limit() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    for limit in ["replica 1kb 0 0", "replica 0 1kb 1"] {
        let primary = Launch::ours(&[
            ("repl-backlog-size", "64kb"),
            ("repl-diskless-sync-delay", "0"),
            ("auto-aof-rewrite-percentage", "0"),
            ("client-output-buffer-limit", limit),
        ])
        .start();
        let replica = stock_replica(&primary).unwrap();
        let (mut c, mut other, mut r) = (primary.connect(), primary.connect(), replica.connect());
        in_sync(&mut c, &mut r);
        c.must(&[b"SET".as_slice(), b"small", &noise(1, 30_000)]);
        in_sync(&mut c, &mut r);
        replica.signal(rustix::process::Signal::STOP);
        fill_socket(&mut c, || {
            let unsent = count(&mut other, "mem_total_replication_buffers");
            unsent > 1 << 20 || count(&mut other, "connected_slaves") == 0
        });
        eventually("the replica's end", LIMIT, || (count(&mut c, "connected_slaves") == 0).then_some(()));
        assert!(primary.log().contains("closed for overcoming of output buffer limits"), "{limit}");
        replica.signal(rustix::process::Signal::CONT);
        in_sync(&mut c, &mut r);
        assert_same(&dataset(&mut c), &dataset(&mut r));
        assert_eq!(count(&mut c, "sync_full"), 1, "{limit}: {}", primary.log());
    }
}

/// A primary that streams commands by other names (`rename-command` of Redis) cannot be followed beyond the first of them:
/// the data stay as they were before it, and it is said which one it was.
#[test]
fn commands_renamed_by_a_stock_primary_stop_the_link() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let launch = Launch::stock(&[("save", ""), ("repl-diskless-sync-delay", "0")]).unwrap();
    let conf = launch.scratch().join("renamed.conf");
    std::fs::write(&conf, "rename-command APPEND plus\n").unwrap();
    let primary = launch.with_arguments(&[conf.to_str().unwrap()]).start();
    let replica = our_replica(&primary, &[]);
    let (mut p, mut r) = (primary.connect(), replica.connect());
    in_sync(&mut p, &mut r);
    p.must(&["SET", "k", "v"]);
    p.must(&["PLUS", "k", "w"]);
    let why = eventually("the link to be down", LIMIT, || {
        let why = info(&mut r, "master_link_trouble");
        why.contains("unknown command").then_some(why)
    });
    assert!(why.contains("'PLUS'"), "{why}");
    assert_eq!(r.must(&["GET", "k"]).text(), "v");
}

/// P6, scenario 12: a primary whose directory is gone does not make its replicas copy its emptiness.
#[test]
fn an_emptied_primary_does_not_wipe_its_replica() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let mut primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    primary.connect().must(&["SET", "a", "1"]);
    let replica = stock_replica(&primary).unwrap();
    let mut r = replica.connect();
    in_sync(&mut primary.connect(), &mut r);
    primary.kill();
    empty(&primary);
    let primary = primary.restart();
    eventually("the refusal in the log", LIMIT, || {
        primary.log().contains("began on an empty directory").then_some(())
    });
    assert_eq!(r.must(&["GET", "a"]).text(), "1");
    // The operator says that it may be so.
    let mut c = primary.connect();
    c.must(&["CONFIG", "SET", "repl-better-replica", "overwrite"]);
    in_sync(&mut c, &mut r);
    assert_eq!(r.must(&["DBSIZE"]).int(), 0);
}

/// Removes all that the directory of a server holds.
fn empty(server: &Server) {
    for entry in std::fs::read_dir(server.data()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap()
        } else {
            std::fs::remove_file(path).unwrap()
        }
    }
}

/// P6 through a chain: the middle, which lost its data too, copies the emptiness and yet does not pass it on.
#[test]
fn an_emptied_chain_does_not_wipe_its_last_replica() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let mut primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    primary.connect().must(&["SET", "a", "1"]);
    let mut middle = our_replica(&primary, &[("repl-diskless-sync-delay", "0")]);
    in_sync(&mut primary.connect(), &mut middle.connect());
    let lasts = [our_replica(&middle, &[]), stock_replica(&middle).unwrap()];
    for last in &lasts {
        in_sync(&mut middle.connect(), &mut last.connect());
    }
    primary.kill();
    middle.kill();
    empty(&primary);
    empty(&middle);
    let primary = primary.restart();
    let middle = middle.restart();
    in_sync(&mut primary.connect(), &mut middle.connect());
    eventually("both to be refused", LIMIT, || {
        (middle.log().matches("began on an empty directory").count() >= 2).then_some(())
    });
    for last in &lasts {
        assert_eq!(last.connect().must(&["GET", "a"]).text(), "1");
    }
    // Also after a restart of the middle, and with the middle promoted: it copied a history that began with nothing.
    let middle = middle.restart();
    eventually("the refusal after a restart", LIMIT, || {
        middle.log().contains("began on an empty directory").then_some(())
    });
    // The operator's word to the last one is enough.
    let mut last = lasts[0].connect();
    last.must(&["REPLICAOF", "127.0.0.1", &middle.port().to_string()]);
    in_sync(&mut middle.connect(), &mut last);
    assert_eq!(last.must(&["DBSIZE"]).int(), 0);
}

/// The operator points the middle of a chain to another primary: who followed it then, follows it there.
#[test]
fn followers_go_with_a_middle_that_is_pointed_elsewhere() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let middle = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    middle.connect().must(&["SET", "a", "1"]);
    let lasts = [our_replica(&middle, &[]), stock_replica(&middle).unwrap()];
    for last in &lasts {
        in_sync(&mut middle.connect(), &mut last.connect());
    }
    let primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    primary.connect().must(&["SET", "b", "2"]);
    middle.connect().must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    in_sync(&mut primary.connect(), &mut middle.connect());
    for last in &lasts {
        let mut c = last.connect();
        eventually("the new data", LIMIT, || (c.cmd(&["GET", "b"]).text() == "2").then_some(()));
        in_sync(&mut primary.connect(), &mut c);
        assert_same(&dataset(&mut primary.connect()), &dataset(&mut c));
    }
}

// ---- a replica of ours ----

fn our_replica(of: &Server, directives: &[(&str, &str)]) -> Server {
    let primary = format!("127.0.0.1 {}", of.port());
    Launch::ours(directives).with("replicaof", &primary).start()
}

const SETTINGS: [&[(&str, &str)]; 3] = [
    &[("appendfsync", "everysec")],
    &[("appendfsync", "always")],
    &[("appendonly", "no"), ("save", "3600 1")],
];

/// Whatever is restarted, in whatever way: nobody copies everything again.
#[test]
fn primary_and_replica_of_ours_go_on_after_restarts_of_either() {
    if !subject_is_ours() {
        return;
    }
    for setting in SETTINGS {
        let mut directives = setting.to_vec();
        directives.push(("repl-diskless-sync-delay", "0"));
        let mut primary = Launch::ours(&directives).start();
        fill(&mut primary.connect());
        let mut replica = our_replica(&primary, &directives);
        in_sync(&mut primary.connect(), &mut replica.connect());
        assert_same(&dataset(&mut primary.connect()), &dataset(&mut replica.connect()));
        let reply = replica.connect().cmd(&["SET", "a", "1"]);
        assert!(reply.text().starts_with("READONLY"), "{reply:?}");
        for (round, (who, killed)) in
            [("primary", true), ("replica", true), ("replica", false), ("both", true), ("primary", false)]
                .into_iter()
                .enumerate()
        {
            primary.connect().must(&["RPUSH", "rounds", &round.to_string()]);
            let end = |server: &mut Server| if killed { server.kill() } else { server.stop() };
            if who != "replica" {
                end(&mut primary);
            }
            if who != "primary" {
                end(&mut replica);
            }
            if who != "replica" {
                primary = primary.restart();
            }
            primary.connect().must(&["RPUSH", "rounds", who]);
            if who != "primary" {
                replica = replica.restart();
            }
            in_sync(&mut primary.connect(), &mut replica.connect());
            let mut c = primary.connect();
            assert_eq!(c.must(&["WAIT", "1", "10000"]).int(), 1);
            assert_same(&dataset(&mut c), &dataset(&mut replica.connect()));
            assert_eq!(info(&mut c, "master_replid"), info(&mut replica.connect(), "master_replid"));
            let full = count(&mut c, "sync_full");
            assert!(
                full == u64::from(round == 0 && who == "replica"),
                "{who} {killed}: {full} full syncs\n{}",
                primary.log()
            );
        }
    }
}

/// Ours follows stock, stock follows ours, and a promotion in the middle costs nobody a full sync.
#[test]
fn a_chain_with_stock_at_both_ends_and_a_promotion() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let mut top = Launch::stock(&[("save", ""), ("repl-diskless-sync-delay", "0")]).unwrap().start();
    fill(&mut top.connect());
    let middle = our_replica(&top, &[("repl-diskless-sync-delay", "0")]);
    in_sync(&mut top.connect(), &mut middle.connect());
    let bottom = stock_replica(&middle).unwrap();
    in_sync(&mut middle.connect(), &mut bottom.connect());
    top.connect().must(&["SET", "through", "all"]);
    in_sync(&mut top.connect(), &mut middle.connect());
    in_sync(&mut middle.connect(), &mut bottom.connect());
    assert_same(&dataset(&mut top.connect()), &dataset(&mut bottom.connect()));
    top.kill();
    let mut m = middle.connect();
    m.must(&["REPLICAOF", "NO", "ONE"]);
    m.must(&["SET", "written", "here"]);
    in_sync(&mut m, &mut bottom.connect());
    assert_eq!(bottom.connect().must(&["GET", "written"]).text(), "here");
    assert_eq!(count(&mut m, "sync_full"), 1, "only the first\n{}", middle.log());
}

/// The failover of every day: the replica is promoted, the old primary comes back as its replica.
#[test]
fn an_old_primary_returns_as_a_replica_by_partial_resync() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("repl-diskless-sync-delay", "0")];
    let mut old = Launch::ours(&directives).start();
    let new = our_replica(&old, &directives);
    old.connect().must(&["SET", "a", "1"]);
    in_sync(&mut old.connect(), &mut new.connect());
    old.kill();
    let mut n = new.connect();
    n.must(&["REPLICAOF", "NO", "ONE"]);
    n.must(&["SET", "b", "2"]);
    let old = old.restart();
    let mut o = old.connect();
    o.must(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    in_sync(&mut n, &mut o);
    assert_same(&dataset(&mut n), &dataset(&mut o));
    assert_eq!((count(&mut n, "sync_full"), count(&mut n, "sync_partial_ok")), (0, 1), "{}", new.log());
}

/// FAILOVER: the two change places and no write is lost or refused for good.
#[test]
fn failover_hands_over_to_the_replica() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("repl-diskless-sync-delay", "0")];
    let primary = Launch::ours(&directives).start();
    let replica = our_replica(&primary, &directives);
    let (mut p, mut r) = (primary.connect(), replica.connect());
    in_sync(&mut p, &mut r);
    assert!(p.cmd(&["FAILOVER", "TO", "127.0.0.1", "1"]).text().contains("is not a replica"));
    assert!(p.cmd(&["FAILOVER", "ABORT"]).text().contains("No failover in progress"));
    assert!(r.cmd(&["FAILOVER"]).text().contains("not valid when server is a replica"));
    p.must(&["SET", "a", "1"]);
    // A replica counts as online from its first ACK on.
    eventually("FAILOVER to be accepted", LIMIT, || {
        let reply = p.cmd(&["FAILOVER", "TO", "127.0.0.1", &replica.port().to_string(), "TIMEOUT", "20000"]);
        (reply.text() == "OK").then_some(())
    });
    eventually("the replica to be the primary", LIMIT, || (info(&mut r, "role") == "master").then_some(()));
    in_sync(&mut r, &mut p);
    assert_eq!(info(&mut p, "master_failover_state"), "no-failover");
    r.must(&["SET", "b", "2"]);
    in_sync(&mut r, &mut p);
    assert_same(&dataset(&mut r), &dataset(&mut p));
    assert_eq!((count(&mut r, "sync_full"), count(&mut r, "sync_partial_ok")), (0, 1), "{}", replica.log());
}

/// What Sentinel sends in one transaction: the file that CONFIG REWRITE leaves must say the new role.
#[test]
fn sentinels_transaction_leaves_the_right_config_file() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&[]).start();
    let launch = Launch::ours(&[]);
    let conf = launch.scratch().join("replica.conf");
    std::fs::write(&conf, format!("replicaof 127.0.0.1 {}\n", primary.port())).unwrap();
    let replica = launch.with_arguments(&[conf.to_str().unwrap()]).start();
    let mut r = replica.connect();
    let transact = |r: &mut Client, slaveof: &[&str]| {
        r.must(&["MULTI"]);
        for command in [slaveof, &["CONFIG", "REWRITE"], &["CLIENT", "KILL", "TYPE", "normal"]] {
            assert_eq!(r.must(command).text(), "QUEUED");
        }
        r.must(&["EXEC"]);
    };
    transact(&mut r, &["SLAVEOF", "NO", "ONE"]);
    let mut r = eventually("the promotion", LIMIT, || {
        let mut r = replica.connect();
        (info(&mut r, "role") == "master").then_some(r)
    });
    eventually("the file to name no primary", LIMIT, || {
        (!std::fs::read_to_string(&conf).unwrap().contains("replicaof")).then_some(())
    });
    transact(&mut r, &["SLAVEOF", "127.0.0.1", &primary.port().to_string()]);
    let wanted = format!("replicaof 127.0.0.1 {}", primary.port());
    eventually("the file to name the primary", LIMIT, || {
        std::fs::read_to_string(&conf).unwrap().contains(&wanted).then_some(())
    });
}

/// Once `+OK` has left, nobody is told that this is a replica: as in stock, where the promotion is over by then. Here it is
/// over when the new name is durable, and whoever writes meanwhile waits.
#[test]
fn after_a_promotion_in_a_transaction_writes_are_taken() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    let replica = our_replica(&primary, &[]);
    let mut r = replica.connect();
    in_sync(&mut primary.connect(), &mut r);
    r.must(&["DEBUG", "AOF-FLUSH-SLEEP", "300000"]);
    let mut other = replica.connect();
    r.must(&["MULTI"]);
    r.must(&["REPLICAOF", "NO", "ONE"]);
    r.must(&["EXEC"]);
    assert_eq!(other.must(&["SET", "k", "w"]).text(), "OK");
    assert_eq!(r.must(&["APPEND", "k", "v"]).int(), 2);
    assert_eq!(info(&mut other, "role"), "master");
    let former = info(&mut primary.connect(), "master_replid");
    assert_eq!(info(&mut other, "master_replid2"), former, "written under the new name");
    r.must(&["DEBUG", "AOF-FLUSH-SLEEP", "0"]);
    // The last word of a transaction counts.
    r.must(&["MULTI"]);
    r.must(&["REPLICAOF", "NO", "ONE"]);
    r.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    r.must(&["EXEC"]);
    in_sync(&mut primary.connect(), &mut r);
    r.must(&["MULTI"]);
    r.must(&["REPLICAOF", "NO", "ONE"]);
    r.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    r.must(&["EXEC"]);
    in_sync(&mut primary.connect(), &mut r);
    assert_eq!(info(&mut r, "role"), "slave");
}

/// `replica-read-only no`: local writes must not enter the stream, whose bytes are the primary's.
#[test]
fn a_writable_replica_keeps_its_writes_to_itself() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("repl-diskless-sync-delay", "0"), ("replica-read-only", "no")];
    let primary = Launch::ours(&directives).start();
    let mut replica = our_replica(&primary, &directives);
    let mut p = primary.connect();
    in_sync(&mut p, &mut replica.connect());
    replica.connect().must(&["SET", "local", "1"]);
    p.must(&["SET", "shared", "1"]);
    in_sync(&mut p, &mut replica.connect());
    replica.kill();
    replica = replica.restart();
    p.must(&["SET", "shared", "2"]);
    in_sync(&mut p, &mut replica.connect());
    assert_eq!(replica.connect().must(&["GET", "shared"]).text(), "2");
    assert_eq!(count(&mut p, "sync_full"), 1, "{}", primary.log());
}

/// As stock does: a clean stop keeps what clients wrote on a writable replica, whatever keeps its data.
#[test]
fn a_writable_replica_keeps_its_writes_over_a_clean_stop() {
    for logged in [[("appendonly", "yes"), ("save", "")], [("appendonly", "no"), ("save", "3600 1")]] {
        let primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
        let mut replica = our_replica(&primary, &[&logged[..], &[("replica-read-only", "no")]].concat());
        let mut p = primary.connect();
        in_sync(&mut p, &mut replica.connect());
        replica.connect().must(&["SET", "local", "1"]);
        p.must(&["SET", "shared", "1"]);
        in_sync(&mut p, &mut replica.connect());
        assert_eq!(replica.stop().code, Some(0), "{}", replica.log());
        replica = replica.launch().clone().with("replicaof", "127.0.0.1 1").start();
        let mut r = replica.connect();
        assert_eq!(r.must(&["GET", "local"]).text(), "1", "{logged:?}");
        assert_eq!(r.must(&["GET", "shared"]).text(), "1", "{logged:?}");
        if subject_is_ours() {
            r.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
            p.must(&["SET", "shared", "2"]);
            in_sync(&mut p, &mut r);
            assert_eq!(count(&mut p, "sync_full"), 1, "{}", primary.log());
        }
    }
}

/// Rule 5: REPLICAOF is the operator's word that the data may go, but not to a primary that was down then and comes back
/// without its own.
#[test]
fn an_order_to_follow_a_dead_primary_does_not_wipe_the_replica_when_it_is_reborn_empty() {
    if !subject_is_ours() {
        return;
    }
    let mut primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    primary.connect().must(&["SET", "precious", "1"]);
    let replica = our_replica(&primary, &[]);
    in_sync(&mut primary.connect(), &mut replica.connect());
    primary.kill();
    let mut r = replica.connect();
    let word = |r: &mut Client| r.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    r.must(&["REPLICAOF", "127.0.0.1", "1"]);
    word(&mut r);
    eventually("the first attempt", LIMIT, || {
        info(&mut r, "master_link_trouble").contains("refused").then_some(())
    });
    let reborn = Launch::ours(&[("repl-diskless-sync-delay", "0")]).on_port(primary.port()).start();
    reborn.connect().must(&["SET", "new", "1"]);
    eventually("the refusal", LIMIT, || {
        info(&mut r, "master_link_trouble").contains("began on an empty directory").then_some(())
    });
    assert_eq!(r.must(&["GET", "precious"]).text(), "1");
    // Given again, to the primary that is there, it counts.
    word(&mut r);
    in_sync(&mut reborn.connect(), &mut r);
    assert_eq!(r.must(&["DBSIZE"]).int(), 1);
}

/// INFO replication: a stock replica's fields and ours are the same, and tell the same of the link, up and down.
#[test]
fn info_of_a_replica_has_the_fields_of_stock() {
    if !subject_is_ours() || stock_tool("redis-server").is_none() {
        return;
    }
    let mut primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    primary.connect().must(&["SET", "a", "1"]);
    let (ours, stock) = (our_replica(&primary, &[]), stock_replica(&primary).unwrap());
    let (mut o, mut s) = (ours.connect(), stock.connect());
    let fields = |c: &mut Client| -> Vec<(String, String)> {
        let text = c.must(&["INFO", "replication"]).text();
        let pairs = text.lines().filter_map(|line| line.split_once(':'));
        pairs.map(|(name, value)| (name.to_string(), value.to_string())).collect()
    };
    let mut p = primary.connect();
    in_sync(&mut p, &mut o);
    in_sync(&mut p, &mut s);
    assert_eq!(info(&mut p, "connected_slaves"), "2");
    let compare = |o: &mut Client, s: &mut Client, link: &str| {
        let (ours, stocks) = (fields(o), fields(s));
        // Our own reason for a link that is down; Redis' figures of its backlog are of another size.
        let names = |fields: &[(String, String)]| -> Vec<String> {
            fields.iter().map(|(name, _)| name.clone()).filter(|name| name != "master_link_trouble").collect()
        };
        assert_eq!(names(&ours), names(&stocks), "{link}");
        let same = ["role", "master_host", "master_port", "master_link_status", "master_sync_in_progress"];
        let same = same.iter().chain(&[
            "slave_priority",
            "slave_read_only",
            "replica_announced",
            "connected_slaves",
        ]);
        for name in same {
            let of = |fields: &[(String, String)]| fields.iter().find(|(n, _)| n == name).unwrap().1.clone();
            assert_eq!(of(&ours), of(&stocks), "{link}: {name}");
        }
        assert!(ours.contains(&("master_link_status".into(), link.into())), "{ours:?}");
    };
    compare(&mut o, &mut s, "up");
    primary.kill();
    for c in [&mut o, &mut s] {
        eventually("the link to be down", LIMIT, || (info(c, "master_link_status") == "down").then_some(()));
    }
    compare(&mut o, &mut s, "down");
}

/// A snapshot of the data before a full sync that ends after it is of another history: it must not take the place of
/// the new one's base.
#[test]
fn a_snapshot_that_a_full_sync_overtakes_is_given_up() {
    if !subject_is_ours() {
        return;
    }
    for (appendonly, order) in [("no", "BGSAVE"), ("yes", "BGSAVE"), ("yes", "BGREWRITEAOF")] {
        let primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
        let mut c = primary.connect();
        c.must(&["SET", "of the primary", "1"]);
        let mut replica = Launch::ours(&[("appendonly", appendonly), ("save", "3600 1000000")]).start();
        let mut r = replica.connect();
        for n in 0..300 {
            r.must(&["SET", &format!("old {n}"), "1"]);
        }
        r.must(&["CONFIG", "SET", "rdb-key-save-delay", "10000"]);
        r.must(&[order]);
        r.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
        in_sync(&mut c, &mut r);
        c.must(&["SET", "after the sync", "1"]);
        in_sync(&mut c, &mut r);
        assert_eq!(r.must(&["DBSIZE"]).int(), 2);
        eventually("the snapshot to end", LIMIT, || {
            let busy = ["rdb_bgsave_in_progress", "aof_rewrite_in_progress", "aof_rewrite_scheduled"];
            busy.iter().all(|field| info(&mut r, field) == "0").then_some(())
        });
        replica.kill();
        replica = replica.restart();
        let mut r = replica.connect();
        assert_same(&dataset(&mut c), &dataset(&mut r));
        assert!(r.must(&["BGSAVE"]).text().contains("started"), "later ones are taken");
    }
}

/// Rule 18: a replica on which clients wrote is no prefix of its primary's history. Promoted, or started as a primary over
/// such data, it serves others by a full sync, never from where they were.
#[test]
fn a_written_replica_that_is_promoted_begins_a_history_of_its_own() {
    if !subject_is_ours() {
        return;
    }
    let quick = [("repl-diskless-sync-delay", "0"), ("replica-read-only", "no")];
    let cases = ["promoted", "restarted, promoted", "started as a primary"];
    for (case, appendonly) in cases.into_iter().flat_map(|case| [(case, "yes"), (case, "no")]) {
        println!("{case}, appendonly {appendonly}");
        let primary = Launch::ours(&quick).start();
        let mut p = primary.connect();
        p.must(&["SET", "shared", "1"]);
        let logged = [("appendonly", appendonly), ("save", "3600 1")];
        let mut replica = our_replica(&primary, &[quick, logged].concat());
        let mut other = our_replica(&primary, &quick);
        in_sync(&mut p, &mut replica.connect());
        in_sync(&mut p, &mut other.connect());
        let mut r = replica.connect();
        r.must(&["SET", "local", "1"]);
        r.must(&["SET", "passing", "1", "PX", "10"]);
        p.must(&["SET", "shared", "2"]);
        in_sync(&mut p, &mut r);
        let before = info(&mut r, "master_replid");
        if case != "promoted" {
            // Into a base, by whatever makes one.
            rewrite_or_save(&mut r, appendonly);
            replica.kill();
        }
        if case == "restarted, promoted" {
            replica = replica.restart();
            in_sync(&mut p, &mut replica.connect());
            assert_eq!(count(&mut p, "sync_full"), 2, "it goes on where it was");
        } else if case == "started as a primary" {
            replica = replica.launch().clone().with("replicaof", "no one").start();
        }
        r = replica.connect();
        r.must(&["REPLICAOF", "NO", "ONE"]);
        eventually("the promotion", LIMIT, || (info(&mut r, "role") == "master").then_some(()));
        assert_ne!(info(&mut r, "master_replid"), before);
        assert_eq!(info(&mut r, "master_replid2"), "0".repeat(40), "no lineage");
        other.connect().must(&["REPLICAOF", "127.0.0.1", &replica.port().to_string()]);
        in_sync(&mut r, &mut other.connect());
        assert_eq!((count(&mut r, "sync_full"), count(&mut r, "sync_partial_ok")), (1, 0));
        assert_same(&dataset(&mut r), &dataset(&mut other.connect()));
        assert_eq!(r.must(&["GET", "local"]).text(), "1");
        r.must(&["SET", "as a primary", "1"]);
        let held = dataset(&mut r);
        replica.kill();
        replica = replica.restart();
        assert_same(&held, &dataset(&mut replica.connect()));
        other.stop();
    }
}

fn rewrite_or_save(c: &mut Client, appendonly: &str) {
    match appendonly {
        "yes" => crate::harness::rewrite_aof(c),
        _ => assert_eq!(crate::harness::bgsave(c), "ok"),
    }
}
