//! CONFIG SET and CONFIG REWRITE of what takes its time or fails: all or nothing, one after the other, and OK only for what is done.

use crate::client::{Client, Value, encode};
use crate::harness::{Launch, Server, eventually, free_port, info, subject_is_ours};
use std::fs;
use std::net::TcpListener;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const SPILL: &[(&str, &str)] =
    &[("appendonly", "no"), ("save", "3600 1000000"), ("repl-backlog-size", "1mb")];

/// A server whose log cannot begin.
fn obstructed() -> Option<Server> {
    let server = subject_is_ours().then(|| Launch::ours(SPILL).start())?;
    let in_the_way = server.data().join("appendonlydir/appendonly.aof.1.incr.aof/in the way");
    fs::create_dir_all(in_the_way).unwrap();
    Some(server)
}

fn values(reply: Value) -> Vec<String> {
    match reply {
        Value::Array(values) => values.iter().map(Value::text).collect(),
        other => panic!("{other:?}"),
    }
}

fn get(c: &mut Client, name: &str) -> String {
    values(c.must(&["CONFIG", "GET", name]))[1].clone()
}

/// Each fsync of the server takes so long from here on.
fn slow_down(c: &mut Client, millis: u64) {
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", &(millis * 1000).to_string()]);
}

/// The log comes, the save points go, and that fails after a while: what is acknowledged meanwhile is kept as before.
#[test]
fn a_refused_change_takes_nothing_away() {
    let Some(mut server) = obstructed() else { return };
    let (mut asker, mut c) = (server.connect(), server.connect());
    asker.send_raw(&encode(&["CONFIG", "SET", "appendonly", "yes", "save", ""])).unwrap();
    let value = "v".repeat(10_000);
    let mut acked = 0;
    // More than the ring holds, unless the log's failure stops it.
    while acked < 300 && matches!(c.try_cmd(&["SET", &format!("a{acked}"), &value]), Ok(Value::Simple(_))) {
        acked += 1;
    }
    let refused = asker.read_value().unwrap().text();
    assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
    let mut c = server.connect();
    assert_eq!((get(&mut c, "appendonly"), get(&mut c, "save")), ("no".into(), "3600 1000000".into()));
    server.kill();
    fs::remove_dir_all(server.data().join("appendonlydir/appendonly.aof.1.incr.aof")).unwrap();
    let kept = server.restart_and_connect().1.must(&["DBSIZE"]).int();
    assert!(kept == acked || kept == acked + 1, "{kept} of {acked}, and one of unknown fate");
}

/// What was done at once is taken back when what takes its time fails: the server is found where it was.
#[test]
fn a_refused_change_moves_no_port() {
    let Some(server) = obstructed() else { return };
    let mut c = server.connect();
    let (port, other) = (server.port().to_string(), free_port());
    let refused = c.cmd(&["CONFIG", "SET", "port", &other.to_string(), "appendonly", "yes"]).text();
    assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
    assert_eq!(get(&mut c, "port"), port);
    assert_eq!(server.connect().must(&["PING"]).text(), "PONG");
    assert!(TcpListener::bind(("127.0.0.1", other)).is_ok(), "it still listens there");
}

/// Who asks for what another is still bringing about has the answer when it is there.
#[test]
fn one_change_after_the_other() {
    if !subject_is_ours() {
        return;
    }
    let server = Launch::ours(SPILL).start();
    let (mut first, mut second, mut c) = (server.connect(), server.connect(), server.connect());
    slow_down(&mut c, 300);
    let on = ["CONFIG", "SET", "appendonly", "yes"];
    first.send_raw(&encode(&on)).unwrap();
    eventually("the change to be under way", LIMIT, || (get(&mut c, "appendonly") == "yes").then_some(()));
    second.must(&on);
    assert_eq!(info(&mut c, "aof_enabled"), "1");
    assert_eq!(first.read_value().unwrap(), Value::ok());
}

/// The first fails; the second is not told OK for it, and what others set stays.
#[test]
fn a_change_that_fails_fails_for_all_who_ask_for_it() {
    let Some(server) = obstructed() else { return };
    let (mut first, mut second, mut c) = (server.connect(), server.connect(), server.connect());
    first.send_raw(&encode(&["CONFIG", "SET", "appendonly", "yes", "maxmemory", "1gb"])).unwrap();
    eventually("the change to be under way", LIMIT, || (get(&mut c, "appendonly") == "yes").then_some(()));
    second.send_raw(&encode(&["CONFIG", "SET", "appendonly", "yes"])).unwrap();
    let mut third = server.connect();
    third.must(&["CONFIG", "SET", "maxmemory", "3gb"]);
    for asker in [&mut first, &mut second] {
        let refused = asker.read_value().unwrap().text();
        assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
    }
    assert_eq!((get(&mut c, "appendonly"), get(&mut c, "maxmemory")), ("no".into(), "3221225472".into()));
}

/// EXEC is answered when what it asks for is done, with what came of it.
#[test]
fn a_transaction_is_answered_when_all_is_done() {
    let Some(server) = obstructed() else { return };
    let taken = TcpListener::bind(("127.0.0.1", free_port())).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let mut c = server.connect();
    c.must(&["MULTI"]);
    c.must(&["CONFIG", "SET", "maxmemory", "123mb", "port", &port]);
    c.must(&["SET", "between", "1"]);
    c.must(&["CONFIG", "SET", "maxmemory", "456mb", "appendonly", "yes"]);
    c.must(&["CONFIG", "SET", "timeout", "7"]);
    let answers = values(c.must(&["EXEC"]));
    assert!(answers[0].starts_with("ERR CONFIG SET failed"), "{answers:?}");
    assert_eq!(answers[1], "OK");
    assert!(answers[2].starts_with("ERR CONFIG SET failed"), "{answers:?}");
    assert_eq!(answers[3], "OK");
    assert_eq!((get(&mut c, "maxmemory"), get(&mut c, "timeout")), ("0".into(), "7".into()));
    assert_eq!(c.must(&["PING"]).text(), "PONG");
}

/// A client that goes takes back nothing of what its transaction asked for.
#[test]
fn a_transaction_outlives_its_client() {
    if !subject_is_ours() {
        return;
    }
    let server = Launch::ours(SPILL).start();
    let (mut asker, mut c) = (server.connect(), server.connect());
    slow_down(&mut c, 300);
    let commands: [&[&str]; 4] = [
        &["MULTI"],
        &["CONFIG", "SET", "appendonly", "yes"],
        &["CONFIG", "SET", "appendfsync", "always"],
        &["EXEC"],
    ];
    commands.iter().for_each(|command| asker.send_raw(&encode(command)).unwrap());
    eventually("the change to be under way", LIMIT, || (get(&mut c, "appendonly") == "yes").then_some(()));
    drop(asker);
    eventually("the log", LIMIT, || (info(&mut c, "aof_enabled") == "1").then_some(()));
    assert_eq!(get(&mut c, "appendfsync"), "always");
    c.must(&["CONFIG", "SET", "timeout", "7"]);
    assert_eq!(get(&mut c, "timeout"), "7");
}

/// An operator removes the log's directory while the log is off.
#[test]
fn the_logs_directory_is_made_anew() {
    if !subject_is_ours() {
        return;
    }
    let mut server = Launch::ours(SPILL).start();
    let mut c = server.connect();
    fs::remove_dir_all(server.data().join("appendonlydir")).unwrap();
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    c.must(&["SET", "key", "value"]);
    server.kill();
    assert_eq!(server.restart_and_connect().1.must(&["GET", "key"]).text(), "value");
}

/// A transaction writes the configuration down while another client's change is under way, which is refused afterwards.
#[test]
fn what_is_refused_is_not_written_down() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(SPILL);
    let file = launch.scratch().join("redis.conf");
    fs::write(&file, "timeout 9\n").unwrap();
    let server = launch.with_arguments(&[file.to_str().unwrap()]).start();
    let in_the_way = server.data().join("appendonlydir/appendonly.aof.1.incr.aof/in the way");
    fs::create_dir_all(in_the_way).unwrap();
    let (mut writer, mut other, mut c) = (server.connect(), server.connect(), server.connect());
    c.must(&["REPLICAOF", "127.0.0.1", "1"]);
    slow_down(&mut c, 300);
    let commands: [&[&str]; 4] = [&["MULTI"], &["REPLICAOF", "NO", "ONE"], &["CONFIG", "REWRITE"], &["EXEC"]];
    commands.iter().for_each(|command| writer.send_raw(&encode(command)).unwrap());
    (0..3).for_each(|_| drop(writer.read_value().unwrap()));
    other.send_raw(&encode(&["CONFIG", "SET", "appendonly", "yes", "maxmemory", "77mb"])).unwrap();
    assert_eq!(values(writer.read_value().unwrap()), ["OK", "OK"]);
    let refused = other.read_value().unwrap().text();
    assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.contains("timeout 9") && !text.contains("maxmemory"), "{text}");
}
