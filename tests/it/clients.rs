//! What clients may count on while the server is busy with something else, and what it demands of them: -LOADING during a
//! long load, protected mode, whole iterations over a keyspace that grows, an end for those that do not read, CLIENT NO-TOUCH and NO-EVICT.

use crate::client::{Client, Value, encode};
use crate::harness::{Launch, START_LIMIT, Server, eventually, info, subject_is_ours};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{IpAddr, TcpStream, UdpSocket};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_long_load_is_answered_with_loading() {
    let launch = Launch::ours(&[("appendonly", "no"), ("save", "3600 1")]);
    let mut first = launch.start();
    let mut c = first.connect();
    c.must(&["DEBUG", "POPULATE", "10000"]);
    c.must(&["SAVE"]);
    first.kill();
    let loading = launch.with("key-load-delay", "300").spawn();
    let mut c = eventually("the port to be open", LIMIT, || Client::connect(loading.port()).ok());
    for command in [&["PING"][..], &["GET", "key:1"], &["SET", "a", "b"], &["DBSIZE"]] {
        assert_eq!(c.cmd(command).text(), "LOADING Redis is loading the dataset in memory", "{command:?}");
    }
    // Settings can be changed, but for the few that decide what is loaded.
    c.must(&["CONFIG", "SET", "save", "", "repl-backlog-size", "2mb", "maxmemory", "1gb"]);
    assert!(c.cmd(&["CONFIG", "SET", "appendonly", "yes"]).text().starts_with("LOADING "));
    // What shows how far it is works, and so does what a monitoring tool asks first.
    eventually("progress", LIMIT, || {
        let figure = |c: &mut Client, name| info(c, name).parse::<u64>().ok();
        let [loaded, used] =
            ["loading_loaded_bytes", "loading_rdb_used_mem"].map(|name| figure(&mut c, name));
        (loaded? > 0 && used? > 100_000).then_some(())
    });
    assert_eq!(info(&mut c, "loading"), "1");
    c.must(&["CONFIG", "GET", "port"]);
    c.must(&["COMMAND", "COUNT"]);
    let Ok(server) = loading.ready(START_LIMIT) else { panic!("it ended") };
    assert_eq!(c.must(&["DBSIZE"]).int(), 10_000);
    assert_eq!(c.must(&["GET", "key:1"]), Value::bulk("value:1"));
    assert_eq!(c.must(&["CONFIG", "GET", "save"]).items()[1], Value::bulk(""));
    if !subject_is_ours() {
        return;
    }
    let ring = server.data().join("backlog.ring");
    eventually("the backlog to have the size that was asked for", LIMIT, || {
        let bytes = fs::metadata(&ring).ok()?.len();
        (2 << 20..3 << 20).contains(&bytes).then_some(())
    });
}

/// One iteration over everything; `between` is called after each step.
fn scan(c: &mut Client, command: &[&str], mut between: impl FnMut(&mut Client, usize)) -> Vec<Value> {
    let (mut cursor, mut found, mut step) = ("0".to_string(), Vec::new(), 0);
    loop {
        let at = command.iter().position(|word| *word == "CURSOR").unwrap();
        let mut words = command.to_vec();
        words[at] = &cursor;
        let mut reply = c.must(&words).items();
        found.extend(reply.remove(1).items());
        cursor = reply[0].text();
        if cursor == "0" {
            return found;
        }
        between(c, step);
        step += 1;
    }
}

/// Keys that are there all the time are returned, whether the table grows to a multiple of its size meanwhile or shrinks.
#[test]
fn an_iteration_finds_every_key_that_stays() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    let stays: BTreeSet<String> = (0..2000).map(|n| format!("stays:{n}")).collect();
    let fill = |c: &mut Client, prefix: &str, from: usize, count: usize| {
        let words: Vec<String> =
            (from..from + count).flat_map(|n| [format!("{prefix}{n}"), "v".into()]).collect();
        let command: Vec<&str> = std::iter::once("MSET").chain(words.iter().map(String::as_str)).collect();
        c.must(&command);
    };
    let clear = |c: &mut Client, prefix: &str, from: usize, count: usize| {
        let words: Vec<String> = (from..from + count).map(|n| format!("{prefix}{n}")).collect();
        let command: Vec<&str> = std::iter::once("DEL").chain(words.iter().map(String::as_str)).collect();
        c.must(&command);
    };
    fill(&mut c, "stays:", 0, 2000);
    let check = |found: Vec<Value>, what: &str| {
        let found: BTreeSet<String> = found.iter().map(Value::text).collect();
        let missed: Vec<&String> = stays.difference(&found).collect();
        assert!(missed.is_empty(), "{what}: {missed:?}");
    };
    // Twenty times as many keys after the first hundred steps.
    let found = scan(&mut c, &["SCAN", "CURSOR", "COUNT", "10"], |c, step| {
        if step < 100 {
            fill(c, "new:", step * 400, 400);
        }
    });
    check(found, "growing");
    assert_eq!(c.must(&["DBSIZE"]).int(), 42_000);
    let found = scan(&mut c, &["SCAN", "CURSOR", "COUNT", "100"], |c, step| {
        if step < 100 {
            clear(c, "new:", step * 400, 400);
        }
    });
    check(found, "shrinking");
    assert_eq!(c.must(&["DBSIZE"]).int(), 2000);
}

/// The same for the members of one large key.
#[test]
fn an_iteration_finds_every_member_that_stays() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    // (iteration, command that adds, argument before the member, arguments after it, members' distance in the reply)
    type Case = (&'static str, &'static str, Option<&'static str>, Option<&'static str>, usize);
    let cases: [Case; 3] = [
        ("SSCAN", "SADD", None, None, 1),
        ("HSCAN", "HSET", None, Some("v"), 2),
        ("ZSCAN", "ZADD", Some("1"), None, 2),
    ];
    for (iteration, adds, before, after, distance) in cases {
        let fill = |c: &mut Client, prefix: &str, from: usize, count: usize| {
            let names: Vec<String> = (from..from + count).map(|n| format!("{prefix}{n}")).collect();
            let mut command = vec![adds, adds];
            for name in &names {
                command.extend(before.into_iter().chain([name.as_str()]).chain(after));
            }
            c.must(&command);
        };
        fill(&mut c, "stays:", 0, 1000);
        let found = scan(&mut c, &[iteration, adds, "CURSOR", "COUNT", "10"], |c, step| {
            if step < 50 {
                fill(c, "new:", step * 400, 400);
            }
        });
        let found: BTreeSet<String> = found.iter().step_by(distance).map(Value::text).collect();
        let missed: Vec<String> =
            (0..1000).map(|n| format!("stays:{n}")).filter(|name| !found.contains(name)).collect();
        assert!(missed.is_empty(), "{iteration}: {missed:?}");
    }
}

fn named(server: &Server, name: &str) -> Client {
    let mut client = server.connect();
    client.must(&["CLIENT", "SETNAME", name]);
    client
}

/// Its line of CLIENT LIST.
fn row(c: &mut Client, name: &str) -> Option<String> {
    let list = c.must(&["CLIENT", "LIST"]).text();
    list.lines().find(|line| line.contains(&format!(" name={name} "))).map(str::to_string)
}

fn field(row: &str, name: &str) -> u64 {
    let value = row.split(' ').find_map(|word| word.strip_prefix(name)?.strip_prefix('='));
    value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("no {name}: {row}"))
}

/// More than the limit waits for a client that does not read: its connection ends, and nobody else's.
#[test]
fn a_client_that_does_not_read_is_ended() {
    let server = Launch::ours(&[
        ("appendonly", "no"),
        ("client-output-buffer-limit", "normal 1mb 0 0 pubsub 1mb 0 0"),
    ])
    .start();
    let mut c = server.connect();
    c.must(&["SET", "large", &"x".repeat(100_000)]);
    let mut reader = named(&server, "reader");
    reader.send_raw(&encode(&["GET", "large"]).repeat(300)).ok();
    eventually("the end of the one that asks and does not read", LIMIT, || {
        row(&mut c, "reader").is_none().then_some(())
    });
    let mut subscriber = named(&server, "subscriber");
    subscriber.must(&["SUBSCRIBE", "news"]);
    let message = "x".repeat(100_000);
    eventually("the end of the one that listens and does not read", LIMIT, || {
        (0..20).for_each(|_| {
            c.must(&["PUBLISH", "news", &message]);
        });
        row(&mut c, "subscriber").is_none().then_some(())
    });
    let log = server.log();
    for name in ["reader", "subscriber"] {
        let said = |line: &&str| {
            line.contains(&format!(" name={name} ")) && line.contains("overcoming of output buffer limits")
        };
        assert_eq!(log.lines().filter(said).count(), 1, "{name}: {log}");
    }
}

/// The soft limit lets a client be slow for a while.
#[test]
fn a_client_that_is_slow_for_too_long_is_ended() {
    let server =
        Launch::ours(&[("appendonly", "no"), ("client-output-buffer-limit", "normal 0 100kb 1")]).start();
    let mut c = server.connect();
    c.must(&["SET", "large", &"x".repeat(1_000_000)]);
    let mut patient = named(&server, "patient");
    let mut slow = named(&server, "slow");
    slow.send_raw(&encode(&["GET", "large"]).repeat(40)).ok();
    eventually("the end of the slow one", LIMIT, || {
        assert_eq!(patient.must(&["GET", "large"]).text().len(), 1_000_000);
        row(&mut c, "slow").is_none().then_some(())
    });
    assert!(row(&mut c, "patient").is_some());
    patient.must(&["PING"]);
}

#[test]
fn no_touch_leaves_the_time_of_last_use() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let (mut c, mut quiet) = (server.connect(), named(&server, "quiet"));
    let idle = |c: &mut Client| c.must(&["OBJECT", "IDLETIME", "k"]).int();
    c.must(&["SET", "k", "v"]);
    quiet.must(&["CLIENT", "NO-TOUCH", "ON"]);
    assert!(row(&mut c, "quiet").unwrap().contains(" flags=T "));
    let before =
        eventually("two seconds without use", LIMIT, || Some(idle(&mut c)).filter(|idle| *idle >= 2));
    quiet.must(&["GET", "k"]);
    quiet.must(&["STRLEN", "k"]);
    assert!(idle(&mut c) >= before);
    quiet.must(&["TOUCH", "k"]);
    assert!(idle(&mut c) < before, "TOUCH says what it is for");
    eventually("two seconds without use", LIMIT, || (idle(&mut c) >= 2).then_some(()));
    quiet.must(&["CLIENT", "NO-TOUCH", "OFF"]);
    quiet.must(&["GET", "k"]);
    assert!(idle(&mut c) < 2);
}

/// `maxmemory-clients` ends the client that costs most, unless it said CLIENT NO-EVICT.
#[test]
fn no_evict_spares_a_client() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    let (mut spared, mut other) = (named(&server, "spared"), named(&server, "other"));
    spared.must(&["CLIENT", "NO-EVICT", "ON"]);
    assert!(row(&mut c, "spared").unwrap().contains(" flags=e "));
    // Most of a large command: it is held until the rest comes.
    let command = encode(&["SET", "k", &"x".repeat(3_000_000)]);
    let part = command.len() - 1000;
    spared.send_raw(&command[..part]).unwrap();
    other.send_raw(&command[..part - 100_000]).unwrap();
    let memory = |c: &mut Client, name: &str| row(c, name).map_or(0, |row| field(&row, "tot-mem"));
    let both = eventually("both parts to arrive", LIMIT, || {
        let held = [memory(&mut c, "spared"), memory(&mut c, "other")];
        held.iter().all(|bytes| *bytes > 2_800_000).then_some(held)
    });
    assert_eq!(info(&mut c, "evicted_clients"), "0");
    let limit = (both[0] + both[1]) * 3 / 4;
    c.must(&["CONFIG", "SET", "maxmemory-clients", &limit.to_string()]);
    eventually("the end of the other", LIMIT, || row(&mut c, "other").is_none().then_some(()));
    assert_eq!(info(&mut c, "evicted_clients"), "1");
    spared.send_raw(&command[part..]).unwrap();
    assert_eq!(spared.read_value().unwrap(), Value::ok());
}

/// `client-query-buffer-limit` is about what cannot be understood yet: whole arguments no longer count.
#[test]
fn the_limit_of_unread_input_spares_whole_arguments() {
    let server = Launch::ours(&[("appendonly", "no"), ("client-query-buffer-limit", "1mb")]).start();
    let mut c = server.connect();
    let large = "x".repeat(600_000);
    c.must(&["MSET", "a", &large, "b", &large, "c", &large]);
    assert_eq!(c.must(&["STRLEN", "c"]).int(), 600_000);
    let whole = encode(&["SET", "a", &"x".repeat(3_000_000)]);
    c.send_raw(&whole[..2_000_000]).ok();
    assert!(c.read_value().is_err(), "one argument above the limit");
    assert_eq!(server.connect().must(&["STRLEN", "a"]).int(), 600_000);
}

/// Without a password only this machine's loopback gets in, whatever the server listens on.
#[test]
fn protected_mode_denies_who_comes_from_elsewhere() {
    let Some(address) = other_address() else {
        return eprintln!("skipped: this machine has no other address than loopback");
    };
    let server = Launch::ours(&[("bind", "*")]).start();
    let say = |c: &mut TcpStream| {
        c.set_read_timeout(Some(LIMIT)).unwrap();
        let mut said = Vec::new();
        c.read_to_end(&mut said).ok();
        String::from_utf8_lossy(&said).into_owned()
    };
    let ping = || {
        let mut c = TcpStream::connect((address, server.port())).unwrap();
        c.write_all(b"PING\r\nQUIT\r\n").ok();
        say(&mut c)
    };
    let mut quiet = TcpStream::connect((address, server.port())).unwrap();
    let denied = say(&mut quiet);
    assert!(denied.starts_with("-DENIED ") && denied.ends_with("\r\n"), "{denied:?}");
    let mut c = server.connect();
    assert_eq!(c.must(&["PING"]).text(), "PONG");
    c.must(&["CONFIG", "SET", "protected-mode", "no"]);
    assert_eq!(ping(), "+PONG\r\n+OK\r\n");
    c.must(&["CONFIG", "SET", "protected-mode", "yes"]);
    c.must(&["CONFIG", "SET", "requirepass", "secret"]);
    assert!(ping().starts_with("-NOAUTH "), "{}", ping());
}

/// This machine's address on the way out; no packet is sent.
fn other_address() -> Option<IpAddr> {
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    let address = socket.local_addr().ok()?.ip();
    (!address.is_loopback() && !address.is_unspecified()).then_some(address)
}
