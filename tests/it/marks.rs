//! What the log says about itself is what was written: positions, databases and lengths that a restart relies on.
//!
//! Each case writes something that is awkward to account for, kills the server, and starts it twice: once from ring and
//! log, and once more from what the first start left.

use crate::client::{Client, Value, encode};
use crate::harness::{Launch, Server, aof_files, eventually, info};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// Sends all commands in one piece and reads as many answers, none of them an error.
fn pipeline(c: &mut Client, commands: &[Vec<String>]) {
    let bytes: Vec<u8> = commands.iter().flat_map(|args| encode(args)).collect();
    c.send_raw(&bytes).unwrap();
    for args in commands {
        let answer = c.read_value().unwrap();
        assert!(!answer.is_error(), "{args:?}: {answer:?}");
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(ToString::to_string).collect()
}

/// The position, and the keys of each database as INFO counts them.
fn state(c: &mut Client) -> (u64, Vec<String>) {
    let offset = info(c, "master_repl_offset").parse().unwrap();
    (offset, (0..4).map(|db| info(c, &format!("db{db}"))).map(|line| first_field(&line)).collect())
}

fn first_field(line: &str) -> String {
    line.split(',').next().unwrap_or_default().to_string()
}

/// Kills and starts it `times` times; what is there and where it stands must not change.
fn survives(mut server: Server, times: u32) -> Server {
    let before = state(&mut server.connect());
    for n in 1..=times {
        assert_eq!(server.kill().signal, Some(9));
        server = server.restart();
        assert_eq!(state(&mut server.connect()), before, "start {n} after kill -9: {}", server.log());
    }
    server
}

/// One batch over several databases: each mark and each ring append names the one that is selected there, not the
/// one at the batch's end.
#[test]
fn a_pipeline_over_several_databases() {
    for directives in [&[][..], &[("appendonly", "no")], &[("repl-backlog-size", "16kb")]] {
        let server = Launch::ours(directives).start();
        let mut c = server.connect();
        let value = "v".repeat(1000);
        let mut commands = Vec::new();
        for db in ["0", "1", "2", "3"] {
            commands.push(words(&["SELECT", db]));
            commands.extend((0..60).map(|n| words(&["SET", &format!("k{n}"), &value])));
        }
        pipeline(&mut c, &commands);
        let server = survives(server, 2);
        let mut c = server.connect();
        c.must(&["SET", "after", "1"]);
        survives(server, 2);
    }
}

/// Changes one file in place.
fn damage(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

fn fill(c: &mut Client, keys: u32) {
    let value = "v".repeat(1000);
    let commands: Vec<_> = (0..keys).map(|n| words(&["SET", &format!("k{n}"), &value])).collect();
    pipeline(c, &commands);
}

/// A bit that flips far from the log's end is no other server's writing.
#[test]
fn a_flipped_bit_in_the_middle_refuses_or_heals() {
    let mut server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    fill(&mut c, 300);
    c.must(&["WAITAOF", "1", "0", "0"]);
    server.kill();
    let log = aof_files(server.data(), ".incr.aof").pop().unwrap();
    damage(&log, |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
    let mut server = server.restart();
    assert_eq!(server.connect().must(&["DBSIZE"]), Value::Int(300), "healed: {}", server.log());
    server.kill();
    damage(&log, |bytes| {
        let at = bytes.len() / 2;
        bytes[at] ^= 1;
    });
    fs::remove_file(server.data().join("backlog.ring")).unwrap();
    let end = server.launch().start_failing();
    assert!(end.said().contains("the log is damaged behind stream offset"), "{end}");
}

/// What was synced last is known to have been, though nothing was written after it: a hole in it is no torn tail.
#[test]
fn damage_in_what_an_idle_server_synced_refuses() {
    let mut server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    fill(&mut c, 30);
    c.must(&["WAITAOF", "1", "0", "0"]);
    server.kill();
    let log = aof_files(server.data(), ".incr.aof").pop().unwrap();
    damage(&log, |bytes| bytes[10_240..10_752].fill(0));
    // The ring's header is whole, what it holds is not.
    damage(&server.data().join("backlog.ring"), |bytes| {
        let value = bytes.windows(1000).position(|run| run == [b'v'; 1000]).unwrap();
        bytes[value] ^= 1;
        bytes[value + 10_000] ^= 1;
    });
    let end = server.launch().start_failing();
    assert!(end.said().contains("the log is damaged behind stream offset"), "{end}");
}

/// Without the ring the log itself must tell of its last fsync, in a mark that follows it though nothing else does.
#[test]
fn an_idle_server_leaves_a_mark_of_its_last_sync() {
    for policy in ["everysec", "always"] {
        let mut server = Launch::ours(&[("appendonly", "yes"), ("appendfsync", policy)]).start();
        let mut c = server.connect();
        fill(&mut c, 30);
        let end = info(&mut c, "master_repl_offset");
        let log = aof_files(server.data(), ".incr.aof").pop().unwrap();
        let told = format!(" off={end} db=0 dur={end} ");
        let text = || String::from_utf8_lossy(&fs::read(&log).unwrap()).into_owned();
        eventually("a mark that tells it", Duration::from_secs(20), || text().contains(&told).then_some(()));
        server.kill();
        assert_eq!(text().matches(&told).count(), 1, "once");
        fs::remove_file(server.data().join("backlog.ring")).unwrap();
        damage(&log, |bytes| bytes[10_240..10_752].fill(0));
        let end = server.launch().start_failing();
        assert!(end.said().contains("the log is damaged behind stream offset"), "{policy}: {end}");
    }
}

/// A position in a database that is not there any more is no position.
#[test]
fn fewer_databases_than_the_log_uses_refuse() {
    let mut server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    c.must(&["SET", "k", "zero"]);
    c.must(&["SELECT", "9"]);
    c.must(&["SET", "k", "nine"]);
    server.stop();
    let end = server.launch().clone().with("databases", "4").start_failing();
    assert!(end.said().contains("database"), "{end}");
    let server = server.restart();
    assert_eq!(server.connect().must(&["GET", "k"]), Value::bulk("zero"));
}

/// As many arguments as the server takes from a client, its log takes as well.
#[test]
fn a_command_of_more_than_a_million_arguments() {
    let mut server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    let mut command = vec!["MSET".to_string()];
    command.extend((0..1_100_000).map(|n| (n / 2).to_string()));
    pipeline(&mut c, &[command]);
    c.must(&["WAITAOF", "1", "0", "0"]);
    server.kill();
    fs::remove_file(server.data().join("backlog.ring")).unwrap();
    let server = server.restart();
    assert_eq!(server.connect().must(&["DBSIZE"]), Value::Int(550_000), "{}", server.log());
}
