//! What is acknowledged can be recovered at every moment: through changes of settings, of the log and of the base, and
//! when one of these fails half-way. Each test opens with its story; all end with `kill -9` and a new start.
//!
//! The ring has 1 MiB throughout and a value 10 kB, so that about a hundred writes overrun it.

use crate::client::{Client, Value, encode};
use crate::harness::{Launch, Server, aof_files, eventually, info, stock_tool, subject_is_ours};
use std::fs;
use std::time::Duration;

const LOG: &[(&str, &str)] = &[
    ("appendonly", "yes"),
    ("save", "3600 1000000"),
    ("repl-backlog-size", "1mb"),
    ("auto-aof-rewrite-percentage", "0"),
];
const SPILL: &[(&str, &str)] =
    &[("appendonly", "no"), ("save", "3600 1000000"), ("repl-backlog-size", "1mb")];

fn launch(directives: &[(&str, &str)]) -> Option<Launch> {
    subject_is_ours().then(|| Launch::ours(directives))
}

/// The same directory under other directives.
fn again(server: &Server, directives: &[(&str, &str)]) -> Launch {
    directives.iter().fold(server.launch().clone(), |launch, (name, value)| launch.with(name, value))
}

/// Sets `n` keys of 10 kB whose names begin with `prefix`, all acknowledged.
fn fill(c: &mut Client, prefix: &str, n: u64) {
    let value = "v".repeat(10_000);
    for i in 0..n {
        c.must(&["SET", &format!("{prefix}{i}"), &value]);
    }
}

fn keys(server: &Server) -> i64 {
    server.connect().must(&["DBSIZE"]).int()
}

fn shut_down_without_saving(server: &mut Server) {
    server.connect().send_raw(&encode(&["SHUTDOWN", "NOSAVE"])).unwrap();
    server.wait(Duration::from_secs(20));
}

/// The log is switched off, the server ends cleanly, a stock server takes the directory and appends to our last
/// segment: those writes are another server's, not a torn tail (rule 14).
#[test]
fn another_server_wrote_behind_a_log_that_was_switched_off() {
    let Some(ours) = launch(LOG) else { return };
    let Some(stock) = stock_tool("redis-server") else { return };
    let mut server = ours.start();
    let mut c = server.connect();
    fill(&mut c, "a", 10);
    c.must(&["CONFIG", "SET", "appendonly", "no"]);
    shut_down_without_saving(&mut server);
    let mut other = again(&server, &[("save", ""), ("appendonly", "yes")]).with_program(stock).start();
    fill(&mut other.connect(), "stock", 5);
    other.stop();
    let server = ours.start();
    assert_eq!(keys(&server), 15, "{}", server.log());
}

/// A snapshot that is under way belongs to the history in which it was taken.
#[test]
fn the_history_is_not_changed_under_a_running_snapshot() {
    for (directives, command) in [(LOG, "BGREWRITEAOF"), (SPILL, "BGSAVE")] {
        let Some(launch) = launch(directives) else { return };
        let mut server = launch.start();
        let mut c = server.connect();
        fill(&mut c, "a", 50);
        c.must(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
        c.must(&[command]);
        let refused = c.cmd(&["DEBUG", "CHANGE-REPL-ID"]).text();
        assert!(refused.contains("in progress"), "{refused}");
        fill(&mut c, "b", 5);
        server.kill();
        assert_eq!(keys(&server.restart()), 55);
    }
}

/// DEBUG RELOAD loads what it saved, also where CONFIG SET dir has pointed it.
#[test]
fn a_reload_reads_the_file_that_it_wrote() {
    let Some(launch) = launch(LOG) else { return };
    let server = launch.with("enable-protected-configs", "yes").start();
    let mut c = server.connect();
    fill(&mut c, "a", 3);
    c.must(&["SAVE"]);
    fill(&mut c, "b", 3);
    let elsewhere = server.launch().scratch().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    c.must(&["CONFIG", "SET", "dir", elsewhere.to_str().unwrap()]);
    c.must(&["DEBUG", "RELOAD"]);
    assert_eq!(c.must(&["DBSIZE"]).int(), 6);
}

/// A log that continues a snapshot of no keys stands on its own soon, so that it may be read without the snapshot.
#[test]
fn an_emptied_dataset_gets_a_base_too() {
    let Some(launch) = launch(SPILL) else { return };
    let mut server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 5);
    c.must(&["FLUSHALL"]);
    server.kill();
    let mut server = again(&server, LOG).start();
    let mut c = server.connect();
    eventually("a base of the log", Duration::from_secs(20), || {
        (aof_files(server.data(), ".base.rdb").len() == 1 && info(&mut c, "aof_rewrite_in_progress") == "0")
            .then_some(())
    });
    fill(&mut c, "b", 50);
    server.kill();
    fs::remove_file(server.data().join("dump.rdb")).unwrap();
    assert_eq!(keys(&server.restart()), 50);
}

/// DEBUG LOADAOF over a damaged log: the server has closed its files and cannot open them again. It must not go on as if
/// it could keep what it acknowledges.
#[test]
fn a_log_that_cannot_be_loaded_again_ends_the_server() {
    let Some(launch) = launch(LOG) else { return };
    let mut server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 50);
    let manifest = server.data().join("appendonlydir/appendonly.aof.manifest");
    let sound = fs::read(&manifest).unwrap();
    fs::write(&manifest, "garbage\n").unwrap();
    c.send_raw(&[encode(&["DEBUG", "LOADAOF"]), encode(&["SET", "lost", "1"])].concat()).unwrap();
    let mut said = Vec::new();
    while let Ok(value) = c.read_value() {
        assert!(matches!(value, Value::Error(_)), "{value:?}");
        said.push(value.text());
    }
    assert!(said[0].contains("manifest"), "{said:?}");
    assert_eq!(server.wait(Duration::from_secs(20)).code, Some(1));
    fs::write(&manifest, sound).unwrap();
    assert_eq!(keys(&server.restart()), 50);
}
