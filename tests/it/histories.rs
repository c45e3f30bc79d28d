//! Scenarios of the rules on names, time and order that need whole servers: what is sent when, what a restart makes of
//! deadlines, which names a server answers to.

use crate::client::{Client, encode};
use crate::harness::{Launch, Server, eventually, info, subject_is_ours};
use crate::scenarios::Follower;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(30);
const QUIET: [(&str, &str); 2] = [("repl-diskless-sync-delay", "0"), ("repl-ping-replica-period", "3600")];

fn place(c: &mut Client) -> (String, i64) {
    (info(c, "master_replid"), info(c, "master_repl_offset").parse().unwrap())
}

fn quiet(directives: &[(&str, &str)]) -> Launch {
    directives.iter().fold(Launch::ours(&QUIET), |launch, (name, value)| launch.with(name, value))
}

/// Rule 13, scenarios 15 and 16: with `always` nobody sees what is not durable yet: no reader, subscriber or replica, and no
/// snapshot holds it.
#[test]
fn always_shows_nothing_before_it_is_durable() {
    if !subject_is_ours() {
        return;
    }
    let slow = Duration::from_millis(400);
    let always = [("appendonly", "yes"), ("appendfsync", "always"), ("notify-keyspace-events", "K$")];
    let server = quiet(&always).start();
    let (mut writer, mut reader) = (server.connect(), server.connect());
    writer.must(&["SET", "before", "1"]);
    let mut subscriber = server.connect();
    subscriber.must(&["PSUBSCRIBE", "__keyspace@0__:*"]);
    let (id, end) = place(&mut reader);
    let (mut follower, verdict) = Follower::ask(server.port(), true, &id, &(end + 1).to_string());
    assert!(verdict.starts_with("+CONTINUE"), "{verdict}");
    reader.must(&["DEBUG", "AOF-FLUSH-SLEEP", &slow.as_micros().to_string()]);

    let started = Instant::now();
    writer.send_raw(&encode(&["SET", "k", "v"])).unwrap();
    let waits = std::thread::scope(|scope| {
        let reads = scope.spawn(|| {
            while reader.must(&["GET", "k"]).text() != "v" {}
            started.elapsed()
        });
        let hears = scope.spawn(|| {
            subscriber.read_value().unwrap();
            started.elapsed()
        });
        let follows = scope.spawn(|| {
            follower.bytes(1);
            started.elapsed()
        });
        let replied = scope.spawn(|| {
            writer.read_value().unwrap();
            started.elapsed()
        });
        [reads, hears, follows, replied].map(|thread| thread.join().unwrap())
    });
    assert!(waits.iter().all(|waited| *waited >= slow), "{waits:?}");

    // A full sync that is asked for meanwhile: what it brings is durable.
    let end = place(&mut writer).1;
    let started = Instant::now();
    writer.send_raw(&encode(&["SET", "l", "v"])).unwrap();
    let (mut follower, verdict) = Follower::ask(server.port(), true, "?", "-1");
    let cut: i64 = verdict.rsplit(' ').next().and_then(|cut| cut.parse().ok()).unwrap();
    follower.skip_snapshot();
    assert!(cut == end || started.elapsed() >= slow, "{verdict} after {:?}", started.elapsed());
    writer.read_value().unwrap();
    server.connect().must(&["DEBUG", "AOF-FLUSH-SLEEP", "0"]);
}

/// Rule 11, scenario 18: a restart replays what happened, however late it is: nothing expires meanwhile.
#[test]
fn a_replay_has_no_clock() {
    if !subject_is_ours() {
        return;
    }
    let log = [("appendonly", "yes"), ("save", "")];
    let ring = [("appendonly", "no"), ("save", "3600 1")];
    for settings in [log, ring] {
        let mut server = quiet(&settings).start();
        let mut c = server.connect();
        let commands: [&[&str]; 9] = [
            &["MULTI"],
            &["SET", "based", "5", "PX", "1500"],
            &["SET", "x", "1", "PX", "1500"],
            &["INCR", "x"],
            &["PERSIST", "x"],
            &["SET", "gone", "5", "PX", "1500"],
            &["EXEC"],
            &["SAVE"],
            &["PERSIST", "based"],
        ];
        c.send_raw(&commands.map(encode).concat()).unwrap();
        let replies = commands.map(|_| c.read_value().unwrap());
        assert_eq!(replies[8].int(), 1, "within the deadline: {replies:?}");
        let (id, end) = place(&mut c);
        server.kill();
        let over = Instant::now() + Duration::from_millis(1500);
        eventually("the deadlines have passed", LIMIT, || (Instant::now() > over).then_some(()));
        let server = server.restart();
        let mut c = server.connect();
        assert_eq!((info(&mut c, "master_replid2"), place(&mut c).1), (id, end), "{settings:?}");
        assert_eq!(c.must(&["INCR", "based"]).int(), 6, "{settings:?}");
        assert_eq!((c.must(&["GET", "x"]).text().as_str(), c.must(&["TTL", "x"]).int()), ("2", -1));
        assert_eq!(c.must(&["EXISTS", "gone"]).int(), 0, "{settings:?}");
    }
}

/// Rule 18, scenario 20: a change that is no part of the stream ends the history, also over a kill.
#[test]
fn a_change_outside_the_stream_ends_the_history() {
    if !subject_is_ours() {
        return;
    }
    let nobody = "0".repeat(40);
    for appendonly in ["yes", "no"] {
        let mut server = quiet(&[("appendonly", appendonly), ("save", "3600 1")]).start();
        let mut c = server.connect();
        c.must(&["SET", "kept", "1"]);
        c.must(&["SAVE"]);
        c.must(&["SET", "undone", "1"]);
        let (id, end) = place(&mut c);
        c.must(&["DEBUG", "RELOAD", "NOSAVE"]);
        let (new, _) = place(&mut c);
        assert!(new != id && info(&mut c, "master_replid2") == nobody, "{id} {new}");
        let (_, verdict) = Follower::ask(server.port(), true, &id, &(end + 1).to_string());
        assert!(!verdict.starts_with("+CONTINUE"), "{verdict}");
        server.kill();
        let server = server.restart();
        let mut c = server.connect();
        let there = ["kept", "undone"].map(|key| c.must(&["EXISTS", key]).int());
        assert_eq!(there, [1, 0], "appendonly {appendonly}");
        let (_, verdict) = Follower::ask(server.port(), true, &id, &(end + 1).to_string());
        assert!(!verdict.starts_with("+CONTINUE"), "{verdict}");
    }
}

fn follows(server: &Server, primary: &Server) {
    let (mut r, mut p) = (server.connect(), primary.connect());
    r.must(&["REPLICAOF", "127.0.0.1", &primary.port().to_string()]);
    eventually("the replica is in sync", LIMIT, || {
        (info(&mut r, "master_link_status") == "up" && place(&mut r) == place(&mut p)).then_some(())
    });
}

/// Rule 20, scenario 22: earlier names travel with a full sync, so that whoever knows only them is continued.
#[test]
fn names_travel_with_a_full_sync() {
    if !subject_is_ours() {
        return;
    }
    let mut primary = quiet(&[]).start();
    primary.connect().must(&["SET", "a", "1"]);
    let (first, end) = place(&mut primary.connect());
    primary.kill();
    let primary = primary.restart();
    let replica = quiet(&[]).start();
    follows(&replica, &primary);
    let mut c = replica.connect();
    c.must(&["REPLICAOF", "NO", "ONE"]);
    let (name, at) = place(&mut c);
    assert!(name != first && at == end, "{name} {at}");
    let (_, verdict) = Follower::ask(replica.port(), true, &first, &(end + 1).to_string());
    assert_eq!(verdict, format!("+CONTINUE {name}"));
}

/// Rule 20, scenario 23: a primary that was restarted twice without a write comes back under the name that its successor
/// knows, one of ours and a stock one.
#[test]
fn a_primary_restarted_twice_offers_the_name_that_is_known() {
    if !subject_is_ours() {
        return;
    }
    for stock in [false, true] {
        let old = quiet(&[]).start();
        let launch = if stock { Launch::stock(&QUIET) } else { Some(quiet(&[])) };
        let Some(launch) = launch else { continue };
        let new = launch.start();
        old.connect().must(&["SET", "a", "1"]);
        follows(&new, &old);
        let mut n = new.connect();
        n.must(&["REPLICAOF", "NO", "ONE"]);
        let old = old.restart().restart();
        follows(&old, &new);
        let count = |field: &str, c: &mut Client| info(c, field).parse::<u64>().unwrap();
        assert_eq!((count("sync_full", &mut n), count("sync_partial_ok", &mut n)), (0, 1), "stock {stock}");
        n.must(&["SET", "b", "2"]);
        eventually("the write", LIMIT, || (old.connect().must(&["GET", "b"]).text() == "2").then_some(()));
    }
}

/// Rule 7, scenario 39: the stream from a full sync's cut on is kept for the replica, without a log and beyond the ring.
#[test]
fn a_full_sync_is_followed_by_a_stream_longer_than_the_ring() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("appendonly", "no"), ("save", ""), ("repl-backlog-size", "64kb")];
    let server = quiet(&directives).start();
    let mut c = server.connect();
    c.must(&["SET", "a", "1"]);
    let (mut follower, verdict) = Follower::ask(server.port(), true, "?", "-1");
    let cut: i64 = verdict.rsplit(' ').next().and_then(|cut| cut.parse().ok()).unwrap();
    let value = "v".repeat(20_000);
    let mut expected = String::from_utf8(encode(&["SELECT", "0"])).unwrap();
    for n in 0..200 {
        let key = format!("k{n}");
        let words = ["SET", &key, &value];
        c.must(&words);
        expected += &String::from_utf8(encode(&words)).unwrap();
    }
    follower.skip_snapshot();
    assert_eq!(place(&mut c).1 - cut, expected.len() as i64);
    assert!(follower.bytes(expected.len()) == expected);
}
