//! A primary that is told to end while a replica lags: it waits for it, up to `shutdown-timeout`.

use crate::client::{Client, Value};
use crate::harness::{Launch, Server, eventually, info, subject_is_ours};
use rustix::process::Signal;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(20);
const WAITING: &str = "Waiting for replicas before shutting down.";

/// A primary and its replica, which stands still and lacks a write.
fn lagging(timeout: &str) -> (Server, Client, Server) {
    let quick = [("repl-diskless-sync-delay", "0"), ("shutdown-timeout", timeout)];
    let primary = Launch::ours(&quick).start();
    let replica = Launch::ours(&[]).with("replicaof", &format!("127.0.0.1 {}", primary.port())).start();
    let mut c = primary.connect();
    c.must(&["SET", "a", "1"]);
    assert_eq!(c.must(&["WAIT", "1", "20000"]).int(), 1);
    replica.signal(Signal::STOP);
    c.must(&["SET", "b", "2"]);
    (primary, c, replica)
}

fn logged(server: &Server, text: &str) {
    eventually(text, LIMIT, || server.log().contains(text).then_some(()));
}

#[test]
fn a_lagging_replica_is_waited_for() {
    if !subject_is_ours() {
        return;
    }
    let (mut primary, mut c, replica) = lagging("60");
    primary.signal(Signal::TERM);
    logged(&primary, WAITING);
    // Reads go on, a write waits: it must not be accepted and then lost.
    assert_eq!(c.must(&["GET", "b"]).text(), "2");
    let left: u64 = info(&mut c, "shutdown_in_milliseconds").parse().unwrap();
    assert!((1..=60_000).contains(&left), "{left}");
    let mut writer = primary.connect();
    writer.send_raw(b"SET late 1\r\n").unwrap();
    eventually("the write waits", LIMIT, || (info(&mut c, "blocked_clients") == "1").then_some(()));
    replica.signal(Signal::CONT);
    let end = primary.wait(LIMIT);
    assert_eq!(end.code, Some(0), "{end}");
    assert!(end.log.contains("1 of 1 replicas are in sync when shutting down."), "{end}");
    assert!(writer.read_value().is_err(), "never accepted");
    let mut r = replica.connect();
    assert_eq!(r.must(&["GET", "b"]).text(), "2");
    assert_eq!(r.must(&["EXISTS", "late"]).int(), 0);
}

#[test]
fn patience_ends_with_the_timeout() {
    if !subject_is_ours() {
        return;
    }
    let (mut primary, mut c, _replica) = lagging("1");
    c.send_raw(b"SHUTDOWN\r\n").unwrap();
    let end = primary.wait(LIMIT);
    assert_eq!(end.code, Some(0), "{end}");
    assert!(end.log.contains(WAITING) && end.log.contains("Lagging replica 127.0.0.1:"), "{end}");
    assert!(end.log.contains("0 of 1 replicas are in sync when shutting down."), "{end}");
}

#[test]
fn now_does_not_wait_and_abort_goes_on() {
    if !subject_is_ours() {
        return;
    }
    let (mut primary, mut c, _replica) = lagging("60");
    assert_eq!(c.cmd(&["SHUTDOWN", "ABORT"]).text(), "ERR No shutdown in progress.");
    let mut asker = primary.connect();
    asker.send_raw(b"SHUTDOWN\r\n").unwrap();
    logged(&primary, WAITING);
    let mut writer = primary.connect();
    writer.send_raw(b"SET late 1\r\n").unwrap();
    eventually("the write waits", LIMIT, || (info(&mut c, "blocked_clients") == "2").then_some(()));
    assert_eq!(c.must(&["SHUTDOWN", "ABORT"]), Value::ok());
    assert_eq!(asker.read_value().unwrap().text(), "ERR Errors trying to SHUTDOWN. Check logs.");
    assert_eq!(writer.read_value().unwrap(), Value::ok());
    assert!(primary.log().contains("Shutdown manually aborted."));
    assert_eq!(info(&mut c, "shutdown_in_milliseconds"), "");
    let asked = Instant::now();
    c.send_raw(b"SHUTDOWN NOW\r\n").unwrap();
    assert_eq!(primary.wait(LIMIT).code, Some(0));
    assert!(asked.elapsed() < Duration::from_secs(30));
}

/// The log was switched on over a cache, and its first base is not there yet: the data would be lost.
#[test]
fn the_first_base_of_a_log_is_not_given_up() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("appendonly", "no"), ("save", ""), ("repl-backlog-size", "16kb")];
    let mut server = Launch::ours(&directives).start();
    let mut c = server.connect();
    for n in 0..100 {
        c.must(&["SET", &format!("k{n}"), &"x".repeat(1000)]);
    }
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "1000000", "appendonly", "yes"]);
    assert_eq!(c.cmd(&["SHUTDOWN"]).text(), "ERR Errors trying to SHUTDOWN. Check logs.");
    logged(&server, "Writing initial AOF, can't exit");
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    c.send_raw(b"SHUTDOWN FORCE\r\n").unwrap();
    let end = server.wait(LIMIT);
    assert_eq!(end.code, Some(0), "{end}");
}
