//! What time, followers and Sentinel bring about in the stream.

use crate::engine::testing::NodeBench;
use crate::state::{Slot, Stage};

/// A follower that has just reached the stream.
fn follower(bench: &mut NodeBench) -> Slot {
    let slot = bench.connect();
    bench.send(slot, "REPLCONF capa eof capa psync2");
    bench.send(slot, "PSYNC ? -1");
    bench.actions();
    bench.node.follower_is(slot, Stage::Online);
    slot
}

fn acknowledge(bench: &mut NodeBench, follower: Slot) {
    let end = bench.node.stream.end;
    bench.check(follower, &format!("REPLCONF ACK {end}"), "");
}

/// Rule 12: a primary that stood still appends nothing of its own until it knows that it is still one.
#[test]
fn a_primary_that_stood_still_is_silent() {
    let check = |what: &str, wake: fn(&mut NodeBench, Slot, Slot), silent_until: i64, speaks: bool| {
        let mut bench = NodeBench::default();
        let (client, replica) = (bench.connect(), follower(&mut bench));
        bench.set("repl-ping-replica-period", "1");
        bench.send(client, "SET soon gone PX 5000");
        bench.pass(100);
        bench.stream();
        // Ten seconds in which nothing ran.
        bench.pass(10_000);
        wake(&mut bench, client, replica);
        bench.stream();
        bench.pass(silent_until);
        let said = bench.stream();
        assert_eq!(said.contains("PING"), speaks, "{what}: {said}");
        assert_eq!(bench.node.store.dbs[0].volatile == 0, speaks, "{what}: the key");
        bench.check(client, "GET soon", "$-1");
    };
    check("nobody says anything", |_, _, _| {}, 1500, false);
    check(
        "what a follower had said before is read",
        |bench, _, replica| acknowledge(bench, replica),
        1500,
        false,
    );
    check("hello", |bench, client, _| drop(bench.send(client, "PUBLISH __sentinel__:hello x")), 1500, false);
    check(
        "the follower is still there",
        |bench, _, replica| {
            bench.pass(1001);
            acknowledge(bench, replica);
        },
        1500,
        true,
    );
    check("a client has written", |bench, client, _| drop(bench.send(client, "INCR n")), 1500, true);
}

/// Rule 25: messages go to replicas; what Sentinels say they say to each server themselves.
#[test]
fn messages_enter_the_stream_for_followers() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    bench.check(client, "PUBLISH c 1", ":0");
    assert_eq!(bench.stream(), "");
    follower(&mut bench);
    bench.stream();
    bench.check(client, "PUBLISH c 2", ":0");
    assert_eq!(bench.stream(), "PUBLISH c 2");
    bench.check(client, "PUBLISH __sentinel__:hello 3", ":0");
    assert_eq!(bench.stream(), "");
}

/// CLIENT PAUSE holds clients back, not the sign of life that replicas wait for; who hands over keeps still.
#[test]
fn a_pause_does_not_stop_pings() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    follower(&mut bench);
    bench.set("repl-ping-replica-period", "1");
    bench.check(client, "CLIENT PAUSE 100000", "+OK");
    bench.stream();
    for _ in 0..3 {
        bench.pass(1000);
        assert_eq!(bench.stream(), "PING");
    }
    bench.node.server.persistence.shutdown_until_ms = Some(i64::MAX);
    bench.pass(1000);
    assert_eq!(bench.stream(), "");
}

/// WAIT counts followers that have the client's last write, WAITAOF those that have made it durable (FACK).
#[test]
fn waiting_for_followers() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    let replicas = [follower(&mut bench), follower(&mut bench)];
    let ack = |bench: &mut NodeBench, n: usize, text: &str| bench.check(replicas[n], text, "");
    bench.check(client, "WAIT 1 0", ":2"); // nothing written: all have it
    bench.send(client, "SET k v");
    let end = bench.node.stream.end.0;
    bench.stream();
    bench.check(client, "WAIT 2 5000", "");
    assert_eq!(bench.stream(), "REPLCONF GETACK");
    ack(&mut bench, 0, &format!("REPLCONF ACK {}", end - 1));
    ack(&mut bench, 1, &format!("REPLCONF ACK {end}"));
    bench.check_output(client, "");
    ack(&mut bench, 0, &format!("REPLCONF ACK {}", end + 37));
    bench.check_output(client, ":2");
    bench.check(client, "WAIT 1 0", ":2");
    // Of the second the log is off: it never says FACK.
    bench.check(client, "WAITAOF 0 1 5000", "");
    ack(&mut bench, 1, &format!("REPLCONF ACK {}", end + 74));
    ack(&mut bench, 0, &format!("REPLCONF ACK {} FACK {}", end + 74, end - 1));
    bench.check_output(client, "");
    ack(&mut bench, 0, &format!("REPLCONF ACK {} FACK {end}", end + 74));
    bench.check_output(client, "*2 :0 :1");
    // A number that goes back, or is none, changes nothing.
    ack(&mut bench, 0, "REPLCONF ACK 1 FACK 1");
    ack(&mut bench, 0, "REPLCONF ACK x FACK -5");
    bench.check(client, "WAITAOF 0 1 1", "*2 :0 :1");
    bench.check(client, "WAITAOF 0 2 1", "");
    bench.pass(1);
    bench.check_output(client, "*2 :0 :1");
    bench.check(
        client,
        "WAITAOF 1 0 0",
        "-ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
    );
    // Who leaves is not counted.
    bench.disconnect(replicas[1]);
    bench.check(client, "WAIT 2 1", "");
    bench.pass(1);
    bench.check_output(client, ":1");
}

/// min-replicas-to-write counts followers that are online and have spoken within min-replicas-max-lag.
#[test]
fn writes_need_good_followers() {
    const REFUSED: &str = "-NOREPLICAS Not enough good replicas to write.";
    let mut bench = NodeBench::default();
    let client = bench.connect();
    bench.set("min-replicas-to-write", "1");
    bench.set("min-replicas-max-lag", "3");
    bench.check(client, "SET k v", REFUSED);
    bench.check(client, "GET k", "$-1");
    let replica = follower(&mut bench);
    bench.check(client, "SET k v", "+OK");
    for (after, answer) in [(3999, "+OK"), (1, REFUSED)] {
        bench.pass(after);
        bench.check(client, "SET k v", answer);
    }
    acknowledge(&mut bench, replica);
    bench.check(client, "SET k v", "+OK");
    bench.node.follower_is(replica, Stage::SendSnapshot);
    bench.check(client, "SET k v", REFUSED);
    bench.set("min-replicas-max-lag", "0");
    bench.check(client, "SET k v", "+OK");
}
