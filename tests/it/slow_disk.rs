//! A disk whose fsyncs take three seconds: whatever one client asks for, the others are served meanwhile. (What becomes of
//! acknowledged writes on such a disk: `crash.rs`.)

use crate::client::{Client, Value, encode};
use crate::harness::{Launch, Server, eventually, info, subject_is_ours};
use std::fs;
use std::time::{Duration, Instant};

const SYNC: Duration = Duration::from_secs(3);
/// Several syncs, one after the other.
const LIMIT: Duration = Duration::from_secs(90);

const CACHE: &[(&str, &str)] = &[("appendonly", "no"), ("save", ""), ("repl-backlog-size", "1mb")];
const SPILL: &[(&str, &str)] =
    &[("appendonly", "no"), ("save", "3600 1000000"), ("repl-backlog-size", "1mb")];
const LOG: &[(&str, &str)] = &[("appendonly", "yes"), ("appendfsync", "everysec"), ("save", "3600 1000000")];

/// More than the ring of 1 MiB holds.
fn lap(c: &mut Client) {
    let value = "v".repeat(10_000);
    (0..150).for_each(|n| drop(c.must(&["SET", &format!("key:{n}"), &value])));
}

fn slow_down(c: &mut Client) {
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", &SYNC.as_micros().to_string()]);
}

/// The commands one after the other; until each is answered PING is answered at once.
fn nobody_waits(server: &Server, commands: &[&[&str]]) {
    let (mut asker, mut other) = (server.connect(), server.connect());
    asker.set_patience(LIMIT).unwrap();
    other.set_patience(LIMIT).unwrap();
    for command in commands {
        let answer = std::thread::scope(|scope| {
            asker.send_raw(&encode(command)).unwrap();
            let asked = scope.spawn(|| asker.read_value().unwrap());
            loop {
                let answered = asked.is_finished();
                let began = Instant::now();
                assert_eq!(other.must(&["PING"]).text(), "PONG");
                assert!(began.elapsed() < SYNC * 4 / 5, "{command:?}: PING took {:?}", began.elapsed());
                if answered {
                    return asked.join().unwrap();
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        });
        assert!(!matches!(answer, Value::Error(_)), "{command:?}: {answer:?}");
    }
}

const ON: &[&str] = &["CONFIG", "SET", "appendonly", "yes"];
const OFF: &[&str] = &["CONFIG", "SET", "appendonly", "no"];

fn check(directives: &[(&str, &str)], commands: &[&[&str]]) {
    if !subject_is_ours() {
        return;
    }
    let server = Launch::ours(directives).start();
    let mut c = server.connect();
    lap(&mut c);
    slow_down(&mut c);
    nobody_waits(&server, commands);
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", "0"]);
    eventually("all jobs to end", LIMIT, || {
        let busy = ["aof_rewrite_scheduled", "aof_rewrite_in_progress", "rdb_bgsave_in_progress"];
        busy.iter().all(|field| info(&mut c, field) == "0").then_some(())
    });
    lap(&mut c);
    let mut server = server;
    server.kill();
    let (_server, mut c) = server.restart_and_connect();
    assert_eq!(c.must(&["DBSIZE"]), Value::Int(150), "{directives:?} {commands:?}");
}

#[test]
fn the_log_of_a_cache_is_switched_on() {
    check(CACHE, &[ON]);
}

#[test]
fn the_log_is_switched_off_and_on() {
    check(LOG, &[OFF, ON]);
}

#[test]
fn a_spill_becomes_the_log_and_ends() {
    check(SPILL, &[ON, OFF]);
}

#[test]
fn a_cache_is_to_be_kept() {
    if !subject_is_ours() {
        return;
    }
    let server = Launch::ours(CACHE).start();
    let mut c = server.connect();
    lap(&mut c);
    slow_down(&mut c);
    let due = &["CONFIG", "SET", "save", "3600 1000000"];
    nobody_waits(&server, &[due, &["SET", "a", "1"], &["CONFIG", "SET", "save", ""], due]);
}

#[test]
fn jobs_and_settings() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(LOG);
    let file = launch.scratch().join("ringhold.conf");
    fs::write(&file, "# by hand\n").unwrap();
    let server = launch.with_arguments(&[file.to_str().unwrap()]).start();
    let mut c = server.connect();
    c.must(&["SET", "a", "1"]);
    eventually("the log's first base", LIMIT, || {
        (info(&mut c, "aof_rewrite_in_progress") == "0").then_some(())
    });
    slow_down(&mut c);
    nobody_waits(
        &server,
        &[
            &["CONFIG", "SET", "repl-backlog-size", "2mb"],
            &["CONFIG", "REWRITE"],
            &["SAVE"],
            &["BGREWRITEAOF"],
            &["REPLICAOF", "127.0.0.1", "1"],
            &["REPLICAOF", "NO", "ONE"],
            &["FLUSHALL"],
        ],
    );
    assert!(fs::read_to_string(&file).unwrap().contains("repl-backlog-size 2mb"));
}

/// A full sync is put in the place of the old data by some ten syncs, one after the other.
#[test]
fn a_full_sync_comes_into_force() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&[("repl-diskless-sync-delay", "0")]).start();
    primary.connect().must(&["SET", "theirs", "1"]);
    let replica = Launch::ours(LOG).start();
    let mut c = replica.connect();
    c.must(&["SET", "mine", "1"]);
    slow_down(&mut c);
    c.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    eventually("the replica to be in sync", LIMIT, || {
        let began = Instant::now();
        let up = info(&mut c, "master_link_status") == "up";
        assert!(began.elapsed() < SYNC * 4 / 5, "INFO took {:?}", began.elapsed());
        up.then_some(())
    });
    assert_eq!(c.must(&["EXISTS", "mine", "theirs"]), Value::Int(1));
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", "0"]);
    primary.connect().must(&["SET", "more", "1"]);
    assert_eq!(primary.connect().must(&["WAIT", "1", "30000"]), Value::Int(1));
    let mut replica = replica;
    replica.kill();
    let (_replica, mut c) = replica.restart_and_connect();
    assert_eq!(c.must(&["EXISTS", "mine", "theirs", "more"]), Value::Int(2));
}
