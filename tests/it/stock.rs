//! The tools of these tests, tried on stock Redis: what they say of our server is worth what they say of Redis.

use crate::client::{Client, Value};
use crate::compare::{assert_servers_agree, dataset, differences};
use crate::fill::{ENCODINGS, fill, fill_streams, wrong_encodings};
use crate::harness::{Launch, bgsave, eventually, info};
use std::time::Duration;

#[test]
fn a_server_starts_stops_dies_and_returns() {
    let Some(launch) = Launch::stock(&[("appendonly", "yes")]) else { return };
    let mut server = launch.start();
    server.connect().must(&["SET", "a", "1"]);
    let end = server.stop();
    assert_eq!((end.code, end.signal), (Some(0), None), "{end}");
    let mut server = server.restart();
    assert_eq!(server.connect().must(&["INCR", "a"]), Value::Int(2));
    assert_eq!(server.kill().signal, Some(9));
    let server = server.restart();
    assert_eq!(server.connect().must(&["GET", "a"]), Value::bulk("2"));
    let value: i64 = redis::cmd("INCR").arg("a").query(&mut server.redis()).unwrap();
    assert_eq!(value, 3);
    assert!(server.log().contains("Ready to accept"));
}

#[test]
fn a_failed_start_is_reported_with_its_words() {
    let Some(launch) = Launch::stock(&[]) else { return };
    let end = launch.clone().with("no-such-directive", "x").start_failing();
    assert_eq!(end.code, Some(1), "{end}");
    assert!(end.said().contains("no-such-directive"), "{end}");
    let first = launch.start();
    let taken = Launch::stock(&[]).unwrap().on_port(first.port());
    assert_eq!(taken.start_failing().code, Some(1));
}

#[test]
fn the_dataset_covers_what_stock_can_hold() {
    let Some(launch) = Launch::stock(&[]) else { return };
    let server = launch.start();
    let mut c = server.connect();
    fill(&mut c);
    fill_streams(&mut c);
    // Redis 7.0 has no listpack sets, and calls a short list a quicklist.
    let is_new = |line: &String| line.starts_with("set:listpack") || line.starts_with("list:listpack");
    let wrong: Vec<String> = wrong_encodings(&mut c).into_iter().filter(|l| !is_new(l)).collect();
    assert_eq!(wrong, [] as [String; 0]);
    assert!(ENCODINGS.len() < dataset(&mut c).len());
    assert_eq!(bgsave(&mut c), "ok");
    assert_eq!(info(&mut c, "role"), "master");
}

#[test]
fn a_comparison_sees_every_kind_of_difference() {
    let Some(launch) = Launch::stock(&[]) else { return };
    let (left, right) = (launch.start(), Launch::stock(&[]).unwrap().start());
    let (mut l, mut r) = (left.connect(), right.connect());
    for c in [&mut l, &mut r] {
        fill(c);
        fill_streams(c);
    }
    assert_servers_agree(&mut l, &mut r);
    let cases: &[(&[&str], &str)] = &[
        (&["SET", "string:raw", "other"], "string:raw"),
        (&["PEXPIREAT", "expires:hash", "4102444800788"], "expires:hash"),
        (&["LSET", "list:quicklist", "1000", "x"], "list:quicklist"),
        (&["SREM", "set:hashtable", "member 7"], "set:hashtable"),
        (&["HSET", "hash:hashtable", "field 9", "x"], "hash:hashtable"),
        (&["ZADD", "zset:scores", "0.2", "c"], "zset:scores"),
        (&["SET", "new", "x"], "new"),
        (&["XADD", "stream:many", "*", "a", "b"], "stream:many"),
    ];
    for (command, name) in cases {
        r.must(&["MULTI"]);
        r.must(command);
        r.must(&["EXEC"]);
        let found = differences(&dataset(&mut l), &dataset(&mut r));
        assert!(found.iter().any(|line| line.contains(name)), "{command:?}: {found:?}");
    }
    assert_eq!(differences(&dataset(&mut l), &dataset(&mut r)).len(), cases.len());
}

#[test]
fn the_client_reads_both_protocols_raw() {
    let Some(launch) = Launch::stock(&[]) else { return };
    let server = launch.start();
    let mut c = server.connect();
    c.send_raw(b"PING\r\n*2\r\n$4\r\nECHO\r\n$2\r\nh").unwrap();
    assert_eq!(c.read_value().unwrap(), Value::Simple("PONG".into()));
    c.send_raw(b"i\r\n").unwrap();
    assert_eq!(c.read_value().unwrap(), Value::bulk("hi"));
    assert!(matches!(c.cmd(&["HELLO", "3"]), Value::Map(_)));
    let check = |c: &mut Client, kind: &str, expected: Value| {
        assert_eq!(c.cmd(&["DEBUG", "PROTOCOL", kind]), expected, "{kind}");
    };
    check(&mut c, "double", Value::Double("3.141".into()));
    check(&mut c, "true", Value::Bool(true));
    check(&mut c, "null", Value::Nil);
    check(&mut c, "verbatim", Value::Verbatim("txt".into(), b"This is a verbatim\nstring".to_vec()));
    check(&mut c, "bignum", Value::BigNumber("1234567999999999999999999999999999999".into()));
    assert_eq!(c.cmd(&["QUIT"]), Value::ok());
    assert_eq!(c.read_to_end().unwrap(), b"");
    eventually("the connection is gone", Duration::from_secs(5), || {
        (info(&mut server.connect(), "connected_clients") == "1").then_some(())
    });
}
