//! Snapshots and rewrites that are ended early, asked for from EXEC, or slow: FLUSHALL, the log switched off, a second
//! signal, DEBUG AOF-FLUSH-SLEEP; and what the next start says of what it found.

use crate::client::Value;
use crate::harness::{Launch, Server, eventually, info};
use rustix::process::Signal;
use std::fs;
use std::time::{Duration, Instant};

const SOON: Duration = Duration::from_secs(5);

fn idle(server: &Server, field: &str) {
    let mut c = server.connect();
    eventually(field, SOON, || (info(&mut c, field) == "0").then_some(()));
}

/// A save takes so many milliseconds for each key.
fn slow(millis: u32) -> (&'static str, String) {
    ("rdb-key-save-delay", (millis * 1000).to_string())
}

#[test]
fn flushall_ends_a_save_and_has_its_own() {
    let (delay, millis) = slow(1000);
    for (save, left) in [("", false), ("3600 100", true)] {
        let server = Launch::ours(&[("appendonly", "no"), ("save", save), (delay, &millis)]).start();
        let mut c = server.connect();
        for i in 0..20 {
            c.must(&["SET", &i.to_string(), "v"]);
        }
        c.must(&["BGSAVE"]);
        assert_eq!(info(&mut c, "rdb_bgsave_in_progress"), "1");
        assert_eq!(c.must(&["FLUSHALL"]), Value::ok());
        idle(&server, "rdb_bgsave_in_progress");
        if left {
            eventually("the scheduled save", SOON, || {
                (info(&mut c, "rdb_changes_since_last_save") == "0").then_some(())
            });
        } else {
            assert_ne!(info(&mut c, "rdb_changes_since_last_save"), "0", "nothing was saved");
        }
        assert_eq!(info(&mut c, "rdb_last_bgsave_status"), "ok");
        assert_eq!(server.data().join("dump.rdb").exists(), left);
        if left {
            // Nothing runs now: the answer comes when the snapshot is there.
            c.must(&["SET", "k", "v"]);
            c.must(&["FLUSHALL"]);
            assert_eq!(info(&mut c, "rdb_changes_since_last_save"), "0");
            c.must(&["MULTI"]);
            c.must(&["FLUSHALL"]);
            assert_eq!(c.must(&["EXEC"]), Value::Array(vec![Value::ok()]));
        }
    }
}

#[test]
fn switching_the_log_off_ends_its_rewrite() {
    let (delay, millis) = slow(10_000);
    let mut server = Launch::ours(&[("appendonly", "yes"), ("save", "3600 1000"), (delay, &millis)]).start();
    let mut c = server.connect();
    c.must(&["SET", "k", "v"]);
    c.must(&["BGREWRITEAOF"]);
    c.must(&["CONFIG", "SET", "appendonly", "no"]);
    idle(&server, "aof_rewrite_in_progress");
    assert_eq!(info(&mut c, "aof_last_bgrewrite_status"), "ok", "it was told to stop");
    assert!(server.log().contains("Killing running AOF rewrite child"));
    // Without a log, too, LOADAOF is a start on what is there.
    c.must(&["SET", "l", "w"]);
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    c.must(&["DEBUG", "LOADAOF"]);
    assert_eq!(c.must(&["MGET", "k", "l"]), Value::Array(vec![Value::bulk("v"), Value::bulk("w")]));
    server.kill();
    let server = server.restart();
    let kept = server.connect().must(&["MGET", "k", "l"]);
    assert_eq!(kept, Value::Array(vec![Value::bulk("v"), Value::bulk("w")]));
}

#[test]
fn a_transaction_schedules_background_work() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    for commands in [&["BGREWRITEAOF"][..], &["CONFIG", "SET", "appendonly", "yes"]] {
        let before = info(&mut c, "total_forks").parse::<u64>().unwrap();
        c.must(&["MULTI"]);
        c.must(&["SET", "k", "v"]);
        c.must(commands);
        c.must(&["EXEC"]);
        eventually("the job", SOON, || {
            (info(&mut c, "total_forks").parse::<u64>().unwrap() > before).then_some(())
        });
        idle(&server, "aof_rewrite_in_progress");
    }
    assert!(server.log().contains("An AOF background was scheduled: it starts after the transaction"));
}

#[test]
fn a_second_signal_ends_a_server_that_saves() {
    let (delay, millis) = slow(1000);
    let mut server = Launch::ours(&[("appendonly", "no"), ("save", "3600 1"), (delay, &millis)]).start();
    let mut c = server.connect();
    for i in 0..60 {
        c.must(&["SET", &i.to_string(), "v"]);
    }
    let temporary = server.data().join(format!("temp-{}.rdb", server.pid().as_raw_nonzero()));
    server.signal(Signal::TERM);
    eventually("the save on the way out", SOON, || temporary.exists().then_some(()));
    server.signal(Signal::TERM); // perhaps taken for the first one, sent to a group
    let mut again = Instant::now();
    let end = eventually("the end", SOON, || {
        if again.elapsed() > Duration::from_millis(250) {
            server.signal(Signal::TERM);
            again = Instant::now();
        }
        server.poll_end()
    });
    assert_eq!(end.code, Some(1), "{end}");
    assert!(!temporary.exists());
    let server = server.restart();
    assert_eq!(server.connect().must(&["DBSIZE"]).int(), 60);
}

#[test]
fn always_waits_for_a_slow_sync() {
    let server = Launch::ours(&[("appendonly", "yes"), ("appendfsync", "always")]).start();
    let mut c = server.connect();
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", "300000"]);
    let started = Instant::now();
    c.must(&["SET", "k", "v"]);
    assert!(started.elapsed() >= Duration::from_millis(300));
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", "0"]);
}

#[test]
fn a_base_takes_the_number_of_its_segment() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    let files = |wanted: &[&str]| {
        let manifest = || {
            fs::read_to_string(server.data().join("appendonlydir/appendonly.aof.manifest"))
                .unwrap_or_default()
        };
        eventually("the manifest", SOON, || {
            let text = manifest();
            let names: Vec<&str> = text.lines().filter_map(|line| line.split(' ').nth(1)).collect();
            (names == wanted).then_some(())
        });
    };
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    files(&["appendonly.aof.1.base.rdb", "appendonly.aof.1.incr.aof"]);
    idle(&server, "aof_rewrite_in_progress");
    c.must(&["SET", "k", "v"]);
    c.must(&["BGREWRITEAOF"]);
    files(&["appendonly.aof.2.base.rdb", "appendonly.aof.2.incr.aof"]);
}

#[test]
fn a_refused_log_is_one_line_in_redis_words() {
    let check = |log: &[u8], manifest: &str, truncated: &str, words: &str| {
        let launch = Launch::ours(&[("appendonly", "yes"), ("aof-load-truncated", truncated)]);
        let dir = launch.data().join("appendonlydir");
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join("appendonly.aof.1.incr.aof"), log).unwrap();
        fs::write(dir.join("appendonly.aof.manifest"), manifest).unwrap();
        let end = launch.start_failing();
        let last = end.log.lines().last().unwrap_or_default();
        assert!(last.contains(words) && last.contains("at byte"), "{words}: {end}");
        assert_eq!(end.log.matches(words).count(), 1, "{end}");
    };
    const SOUND: &str = "file appendonly.aof.1.incr.aof seq 1 type i\n";
    const SET: &[u8] = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    let behind = |more: &[u8]| [SET, more].concat();
    check(&behind(b"!!!"), SOUND, "yes", "Bad file format reading the append only file");
    check(&behind(b"*1\r\n$4\r\nPI"), SOUND, "no", "Unexpected end of file reading the append only file");
    check(
        &behind(b"*1\r\n$3\r\nbla\r\n"),
        SOUND,
        "yes",
        "Unknown command 'bla' reading the append only file",
    );
    check(SET, "filx a.aof seq 1 type i\n", "yes", "Invalid AOF manifest file format");
}

#[test]
fn a_load_counts_what_had_expired() {
    let mut server = Launch::ours(&[("appendonly", "yes"), ("repl-timeout", "60")]).start();
    let mut c = server.connect();
    c.must(&["DEBUG", "SET-ACTIVE-EXPIRE", "0"]);
    c.must(&["MSET", "a", "1", "b", "2"]);
    c.must(&["SET", "gone", "1", "PX", "1"]);
    let set = Instant::now();
    eventually("the deadline", SOON, || (set.elapsed() > Duration::from_millis(5)).then_some(()));
    server.kill();
    let server = server.restart();
    let mut c = server.connect();
    assert_eq!(info(&mut c, "rdb_last_load_keys_loaded"), "2");
    assert_eq!(info(&mut c, "rdb_last_load_keys_expired"), "1");
}
