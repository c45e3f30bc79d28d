//! The wire as a client meets it: both protocol versions, inline commands, pipelines, requests cut anywhere, and the
//! gates in front of a command (authentication, client limits).

use crate::client::{Client, Value, encode};
use crate::harness::{Launch, Server, eventually, info};
use std::time::Duration;

fn server() -> Server {
    Launch::ours(&[("appendonly", "no")]).start()
}

/// Commands and the exact bytes of their replies, in RESP2.
const REPLIES: &[(&[&str], &str)] = &[
    (&["PING"], "+PONG\r\n"),
    (&["PING", "hi"], "$2\r\nhi\r\n"),
    (&["SET", "k", "v"], "+OK\r\n"),
    (&["GET", "k"], "$1\r\nv\r\n"),
    (&["GET", "none"], "$-1\r\n"),
    (&["SET", "n", "10"], "+OK\r\n"),
    (&["INCR", "n"], ":11\r\n"),
    (&["INCR", "k"], "-ERR value is not an integer or out of range\r\n"),
    (&["LPUSH", "k", "x"], "-WRONGTYPE Operation against a key holding the wrong kind of value\r\n"),
    (&["RPUSH", "l", "a", "b"], ":2\r\n"),
    (&["LRANGE", "l", "0", "-1"], "*2\r\n$1\r\na\r\n$1\r\nb\r\n"),
    (&["LRANGE", "none", "0", "-1"], "*0\r\n"),
    (&["LPOP", "none", "1"], "*-1\r\n"),
    (&["MGET", "k", "none"], "*2\r\n$1\r\nv\r\n$-1\r\n"),
    (&["HSET", "h", "f", "v"], ":1\r\n"),
    (&["HGETALL", "h"], "*2\r\n$1\r\nf\r\n$1\r\nv\r\n"),
    (&["ZADD", "z", "1.5", "m"], ":1\r\n"),
    (&["ZSCORE", "z", "m"], "$3\r\n1.5\r\n"),
    (&["SISMEMBER", "s", "x"], ":0\r\n"),
    (&["EXPIRE", "k", "100"], ":1\r\n"),
    (&["TYPE", "l"], "+list\r\n"),
    (&["NOSUCH", "a", "b"], "-ERR unknown command 'NOSUCH', with args beginning with: 'a' 'b' \r\n"),
    (&["GET"], "-ERR wrong number of arguments for 'get' command\r\n"),
    (&["EXEC"], "-ERR EXEC without MULTI\r\n"),
    (&["SELECT", "99"], "-ERR DB index is out of range\r\n"),
    (&["SELECT", "x"], "-ERR value is not an integer or out of range\r\n"),
];

#[test]
fn replies_are_byte_exact_one_by_one_and_in_a_pipeline() {
    let server = server();
    let mut c = server.connect();
    for (command, expected) in REPLIES {
        assert_eq!(exchange(&mut c, &encode(command), expected.len()), *expected, "{command:?}");
    }
    c.must(&["FLUSHALL"]);
    let (requests, replies) = pipeline();
    assert_eq!(exchange(&mut c, &requests, replies.len()), replies);
}

#[test]
fn a_request_may_be_cut_at_any_byte() {
    let server = server();
    let (requests, replies) = pipeline();
    let mut whole = server.connect();
    for cut in 1..requests.len() {
        whole.must(&["FLUSHALL"]);
        let mut c = server.connect();
        c.send_raw(&requests[..cut]).unwrap();
        // An answer on another connection shows that the first part has been read.
        whole.must(&["PING"]);
        assert_eq!(exchange(&mut c, &requests[cut..], replies.len()), replies, "cut at {cut}");
    }
    whole.must(&["FLUSHALL"]);
    for byte in &requests {
        whole.send_raw(&[*byte]).unwrap();
    }
    assert_eq!(exchange(&mut whole, b"", replies.len()), replies, "byte by byte");
}

#[test]
fn inline_commands_work_with_quotes() {
    let server = server();
    let mut c = server.connect();
    let cases: &[(&str, &str)] = &[
        ("PING\r\n", "+PONG\r\n"),
        ("PING\n", "+PONG\r\n"),
        ("\r\n\r\nPING\r\n", "+PONG\r\n"),
        ("  ECHO   \"a b\\x41\\n\"  \r\n", "$5\r\na bA\n\r\n"),
        ("ECHO 'a\\'b\"'\r\n", "$4\r\na'b\"\r\n"),
        ("SET k \"\"\r\nGET k\r\n", "+OK\r\n$0\r\n\r\n"),
        ("*0\r\nPING\r\n", "+PONG\r\n"),
        ("*-1\r\nPING\r\n", "+PONG\r\n"),
    ];
    for (request, expected) in cases {
        assert_eq!(exchange(&mut c, request.as_bytes(), expected.len()), *expected, "{request:?}");
    }
}

#[test]
fn hello_switches_protocols() {
    let server = server();
    let mut c = server.connect();
    let field = |v: &Value, name: &str| {
        let items = v.clone().items();
        items.chunks(2).find(|p| p[0].text() == name).map(|p| p[1].clone())
    };
    let hello = c.must(&["HELLO", "3", "SETNAME", "tester"]);
    assert!(matches!(hello, Value::Map(_)), "{hello:?}");
    assert_eq!(field(&hello, "proto"), Some(Value::Int(3)));
    assert_eq!(field(&hello, "server"), Some(Value::bulk("redis")));
    assert_eq!(field(&hello, "role"), Some(Value::bulk("master")));
    assert_eq!(c.must(&["CLIENT", "GETNAME"]), Value::bulk("tester"));
    c.must(&["HSET", "h", "f", "v"]);
    c.must(&["SADD", "s", "m"]);
    c.must(&["ZADD", "z", "1.5", "m"]);
    assert_eq!(c.must(&["HGETALL", "h"]), Value::Map(vec![(Value::bulk("f"), Value::bulk("v"))]));
    assert_eq!(c.must(&["SMEMBERS", "s"]), Value::Set(vec![Value::bulk("m")]));
    assert_eq!(c.must(&["ZSCORE", "z", "m"]), Value::Double("1.5".into()));
    assert_eq!(exchange(&mut c, &encode(&["GET", "none"]), 3), "_\r\n");
    assert!(matches!(c.must(&["INFO", "server"]), Value::Verbatim(..)));
    assert!(matches!(c.must(&["CONFIG", "GET", "port"]), Value::Map(_)));
    assert!(matches!(c.must(&["SUBSCRIBE", "channel"]), Value::Push(_)));
    assert_eq!(c.must(&["GET", "none"]), Value::Nil, "RESP3 may mix subscriptions and commands");
    assert!(matches!(c.must(&["UNSUBSCRIBE", "channel"]), Value::Push(_)));
    assert!(matches!(c.must(&["HELLO", "2"]), Value::Array(_)));
    assert_eq!(c.cmd(&["HELLO", "4"]), Value::Error("NOPROTO unsupported protocol version".into()));
    assert!(c.cmd(&["HELLO", "x"]).is_error());
}

#[test]
fn authentication_stands_before_everything() {
    let server = Launch::ours(&[("appendonly", "no"), ("requirepass", "secret")]).start();
    let mut c = server.connect();
    let refused = Value::Error("NOAUTH Authentication required.".into());
    for command in [&["GET", "k"][..], &["PING"], &["INFO"], &["CONFIG", "GET", "*"], &["SUBSCRIBE", "c"]] {
        assert_eq!(c.cmd(command), refused, "{command:?}");
    }
    let wrong = c.cmd(&["AUTH", "wrong"]).text();
    assert_eq!(wrong, "WRONGPASS invalid username-password pair or user is disabled.");
    assert!(c.cmd(&["HELLO", "3"]).text().starts_with("NOAUTH HELLO must be called"));
    assert!(matches!(c.cmd(&["HELLO", "3", "AUTH", "default", "secret"]), Value::Map(_)));
    assert_eq!(c.cmd(&["PING"]), Value::Simple("PONG".into()));
    let mut other = server.connect();
    assert_eq!(other.cmd(&["AUTH", "secret"]), Value::ok());
    assert_eq!(other.cmd(&["RESET"]), Value::Simple("RESET".into()));
    assert_eq!(other.cmd(&["GET", "k"]), refused);
}

#[test]
fn transactions_and_blocking_calls() {
    let server = server();
    let (mut a, mut b) = (server.connect(), server.connect());
    a.must(&["WATCH", "k"]);
    a.must(&["MULTI"]);
    assert_eq!(a.must(&["SET", "k", "a"]), Value::Simple("QUEUED".into()));
    b.must(&["SET", "k", "b"]);
    assert_eq!(a.must(&["EXEC"]), Value::Nil);
    a.must(&["MULTI"]);
    assert!(a.cmd(&["NOSUCH"]).is_error());
    assert!(a.cmd(&["EXEC"]).text().starts_with("EXECABORT"));
    a.send_raw(&encode(&["BLPOP", "list", "other", "20"])).unwrap();
    eventually("the client blocks", Duration::from_secs(5), || {
        (info(&mut b, "blocked_clients") == "1").then_some(())
    });
    b.must(&["MULTI"]);
    b.must(&["RPUSH", "other", "1", "2"]);
    b.must(&["LPOP", "other"]);
    b.must(&["EXEC"]);
    assert_eq!(a.read_value().unwrap(), Value::Array(vec![Value::bulk("other"), Value::bulk("2")]));
    assert_eq!(exchange(&mut a, &encode(&["BLPOP", "list", "0.05"]), 5), "*-1\r\n");
}

#[test]
fn subscribers_hear_in_order() {
    let server = server();
    let (mut reader, mut writer) = (server.connect(), server.connect());
    reader.must(&["SUBSCRIBE", "c"]);
    reader.must(&["PSUBSCRIBE", "[cd]"]);
    for i in 0..1000 {
        assert_eq!(writer.must(&["PUBLISH", "c", &i.to_string()]), Value::Int(2));
    }
    for i in 0..1000 {
        let message = reader.read_value().unwrap().items();
        assert_eq!((message[0].text(), message[2].text()), ("message".into(), i.to_string()));
        let message = reader.read_value().unwrap().items();
        assert_eq!((message[0].text(), message[3].text()), ("pmessage".into(), i.to_string()));
    }
    let text = reader.cmd(&["GET", "x"]).text();
    assert!(text.starts_with("ERR Can't execute 'get': only (P|S)SUBSCRIBE"), "{text}");
}

#[test]
fn a_long_pipeline_is_answered_while_it_is_sent() {
    let server = server();
    let value = "v".repeat(1000);
    let mut reader = server.connect();
    reader.must(&["SET", "k", &value]);
    let batch: Vec<u8> = (0..20_000).flat_map(|_| encode(&["GET", "k"])).collect();
    reader.send_raw(&batch).unwrap();
    for _ in 0..20_000 {
        assert_eq!(reader.read_value().unwrap().text().len(), 1000);
    }
}

#[test]
fn max_clients_is_a_clear_error() {
    let server = Launch::ours(&[("appendonly", "no"), ("maxclients", "3")]).start();
    let mut held: Vec<Client> = (0..3).map(|_| server.connect()).collect();
    eventually("all three are in", Duration::from_secs(5), || {
        held.iter_mut().all(|c| c.try_cmd(&["PING"]).is_ok_and(|v| v.text() == "PONG")).then_some(())
    });
    let mut extra = server.connect();
    assert_eq!(extra.read_value().unwrap(), Value::Error("ERR max number of clients reached".into()));
    held.pop();
    eventually("a place is free again", Duration::from_secs(5), || {
        let mut c = Client::connect(server.port()).ok()?;
        (c.try_cmd(&["PING"]).ok()?.text() == "PONG").then_some(())
    });
}

#[test]
fn addresses_change_while_running_or_stay_as_they_were() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().port().to_string();
    let server = server();
    let mut c = server.connect();
    let port = server.port();
    let serves = |host: &str, port: u16| match std::net::TcpStream::connect((host, port)) {
        Ok(_) => true,
        Err(error) => panic_unless_refused(&error),
    };
    let cases: &[(&[&str], Option<&str>, [bool; 2])] = &[
        (&["bind", "127.0.0.1 127.0.0.2"], None, [true, true]),
        (&["bind", "999.999.999.999"], Some("bind"), [true, true]),
        (&["port", &taken], Some("port"), [true, true]),
        (&["bind", "127.0.0.2"], None, [false, true]),
        (&["bind", "*"], None, [true, true]),
        (&["bind", "127.0.0.1", "port", &taken], Some("bind"), [true, true]),
        (&["bind", "127.0.0.1"], None, [true, false]),
    ];
    for (settings, refused, expected) in cases {
        let reply = c.cmd(&[&["CONFIG", "SET"], *settings].concat());
        let text = reply.text();
        match refused {
            None => assert_eq!(text, "OK", "{settings:?}"),
            Some(_) => {
                assert!(reply.is_error() && text.contains("CONFIG SET failed"), "{settings:?}: {text}")
            }
        }
        assert_eq!([serves("127.0.0.1", port), serves("127.0.0.2", port)], *expected, "{settings:?}");
    }
}

fn panic_unless_refused(error: &std::io::Error) -> bool {
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionRefused, "{error}");
    false
}

#[test]
fn a_unix_socket_serves_too() {
    let launch = Launch::ours(&[("appendonly", "no")]);
    let path = launch.scratch().join("sock");
    let server = launch.with("unixsocket", &path.to_string_lossy()).with("unixsocketperm", "700").start();
    let client = redis::Client::open(format!("redis+unix://{}", path.display())).unwrap();
    let pong: String = redis::cmd("PING").query(&mut client.get_connection().unwrap()).unwrap();
    assert_eq!(pong, "PONG");
    drop(server);
}

/// All of [`REPLIES`] as one request and one answer.
fn pipeline() -> (Vec<u8>, String) {
    let requests = REPLIES.iter().flat_map(|(command, _)| encode(command)).collect();
    (requests, REPLIES.iter().map(|(_, reply)| *reply).collect())
}

/// Sends, and reads as many bytes as the expected reply has (less, if the connection stalls).
fn exchange(c: &mut Client, request: &[u8], expected: usize) -> String {
    c.send_raw(request).unwrap();
    String::from_utf8_lossy(&c.read_bytes(expected)).into_owned()
}
