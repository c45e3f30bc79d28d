//! What time, followers and Sentinel bring about in the stream.

use crate::engine::testing::NodeBench;
use crate::engine::{Action, Input};
use crate::format::history::Born;
use crate::repl::verdict::Verdict;
use crate::state::{Slot, Stage};
use crate::units::{Offset, ReplId};

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
        assert_eq!(said.contains("DEL soon"), speaks, "{what}: {said}");
        assert!(speaks || !said.contains("PING"), "{what}: {said}");
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

/// The same where the followers are connected and say nothing: a network that is gone looks like this.
#[test]
fn a_primary_that_hears_nobody_is_silent() {
    let check = |what: &str, psync: &str, each_second: fn(&mut NodeBench, Slot, Slot), speaks: bool| {
        let mut bench = NodeBench::default();
        let (client, replica) = (bench.connect(), bench.connect());
        bench.send(replica, psync);
        bench.actions();
        bench.node.follower_is(replica, Stage::Online);
        bench.set("repl-ping-replica-period", "1");
        bench.send(client, "SET soon gone PX 2500");
        bench.stream();
        for _ in 0..5 {
            bench.pass(500);
            bench.pass(500);
            each_second(&mut bench, client, replica);
        }
        let said = bench.stream();
        assert_eq!((said.contains("PING"), said.contains("DEL soon")), (speaks, speaks), "{what}: {said}");
        bench.check(client, "GET soon", "$-1");
    };
    check("nobody says anything", "PSYNC ? -1", |_, _, _| {}, false);
    check("it is there", "PSYNC ? -1", |bench, _, replica| acknowledge(bench, replica), true);
    check("one that came by SYNC has nothing to say", "SYNC", |_, _, _| {}, true);
}

/// A PING that is due waits for a sign of life, so that a network that is gone finds none of them unsent.
#[test]
fn a_ping_follows_a_word_of_a_follower() {
    let mut bench = NodeBench::default();
    let replica = follower(&mut bench);
    bench.set("repl-ping-replica-period", "1");
    bench.stream();
    bench.pass(1500);
    assert_eq!(bench.stream(), "");
    acknowledge(&mut bench, replica);
    assert_eq!(bench.stream(), "PING");
    acknowledge(&mut bench, replica);
    assert_eq!(bench.stream(), "");
    // Who is sent a snapshot says nothing, and counts on them.
    bench.node.follower_is(replica, Stage::SendSnapshot);
    bench.pass(1500);
    assert_eq!(bench.stream(), "PING");
}

/// repl-timeout: a follower that says nothing is let go, unless it never would.
#[test]
fn a_silent_follower_is_late() {
    for (psync, late) in [("PSYNC ? -1", true), ("SYNC", false)] {
        let mut bench = NodeBench::default();
        let replica = bench.connect();
        bench.send(replica, psync);
        bench.node.follower_is(replica, Stage::Online);
        bench.actions();
        let is_late = |bench: &mut NodeBench| {
            bench.actions().iter().any(|action| matches!(action, Action::Late(slot) if *slot == replica))
        };
        bench.pass(60_000);
        assert!(!is_late(&mut bench), "{psync}");
        bench.pass(1);
        assert_eq!(is_late(&mut bench), late, "{psync}");
    }
}

/// A promotion that is taken back before anybody wrote costs no full sync: nothing was appended meanwhile.
#[test]
fn a_promoted_server_appends_nothing_of_its_own_at_first() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    bench.check(client, "SET short v PX 50", "+OK");
    bench.node.will_follow("10.0.0.1", 6379, true);
    bench.node.will_lead();
    bench.node.lead();
    bench.stream();
    bench.pass(1000);
    assert_eq!((bench.stream(), bench.send(client, "GET short")), (String::new(), "$-1".into()));
    bench.check(client, "SET k v", "+OK");
    bench.pass(100);
    assert_eq!(bench.stream(), "SET k v DEL short");
}

/// A replica that loads for longer than repl-timeout says nothing but newlines meanwhile.
#[test]
fn a_newline_is_a_word() {
    let mut bench = NodeBench::default();
    let replica = follower(&mut bench);
    bench.node.follower_is(replica, Stage::Online);
    for _ in 0..4 {
        bench.pass(40_000);
        bench.actions();
        let mut input = Input::default();
        input.push(b"\n");
        bench.node.handle_input(replica, &mut input, &mut bench.clock);
        bench.pass(59_000);
        assert!(!bench.actions().iter().any(|action| matches!(action, Action::Late(_))));
        let mut input = Input::default();
        input.push(b"\n");
        bench.node.handle_input(replica, &mut input, &mut bench.clock);
    }
}

/// Rule 25, scenario 32: messages go to replicas; what Sentinels say they say to each server themselves.
#[test]
fn messages_enter_the_stream_for_followers() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    bench.check(client, "PUBLISH c 1", ":0");
    assert_eq!(bench.stream(), "");
    let replica = follower(&mut bench);
    bench.stream();
    bench.check(client, "PUBLISH c 2", ":0");
    assert_eq!(bench.stream(), "PUBLISH c 2");
    bench.check(client, "PUBLISH __sentinel__:hello 3", ":0");
    assert_eq!(bench.stream(), "");
    // Rule 23.
    bench.node.server.persistence.failed = Some("the disk is full".into());
    bench.check(client, "PUBLISH c 4", ":0");
    assert_eq!(bench.stream(), "");
    bench.node.server.persistence.failed = None;
    // Until repl-timeout after the last one has left: it may be on its way back.
    bench.disconnect(replica);
    bench.pass(59_999);
    bench.check(client, "PUBLISH c 4", ":0");
    assert_eq!(bench.stream(), "PUBLISH c 4");
    bench.pass(1);
    bench.check(client, "PUBLISH c 5", ":0");
    assert_eq!(bench.stream(), "");
}

/// CLIENT PAUSE holds clients back, not the sign of life that replicas wait for; who hands over keeps still.
#[test]
fn a_pause_does_not_stop_pings() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    let replica = follower(&mut bench);
    bench.set("repl-ping-replica-period", "1");
    bench.check(client, "CLIENT PAUSE 100000", "+OK");
    bench.stream();
    for _ in 0..3 {
        bench.pass(1000);
        acknowledge(&mut bench, replica);
        assert_eq!(bench.stream(), "PING");
    }
    bench.node.server.persistence.shutdown_until_ms = Some(i64::MAX);
    bench.pass(1000);
    acknowledge(&mut bench, replica);
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

/// A follower's machine lost power, and it comes back while its old connection still seems to be there.
#[test]
fn a_follower_that_came_back_is_counted_once() {
    let mut bench = NodeBench::default();
    let (client, other) = (bench.connect(), follower(&mut bench));
    let follow = |bench: &mut NodeBench| {
        let slot = bench.connect();
        bench.send(slot, "REPLCONF listening-port 7000");
        bench.send(slot, "PSYNC ? -1");
        bench.node.follower_is(slot, Stage::Online);
        slot
    };
    bench.send(client, "SET k v");
    let said = format!("REPLCONF ACK {}", bench.node.stream.end.0);
    let first = follow(&mut bench);
    bench.send(first, &said);
    bench.check(client, "WAIT 1 0", ":1");
    let second = follow(&mut bench);
    bench.send(second, &said);
    bench.check(client, "WAIT 1 0", ":1");
    // It was another one at the same address: it goes on saying so.
    bench.send(first, &said);
    bench.check(client, "WAIT 1 0", ":2");
    // Those that never said where they listen are not taken for each other.
    let third = follower(&mut bench);
    for slot in [other, third] {
        bench.send(slot, &said);
    }
    bench.check(client, "WAIT 1 0", ":4");
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

/// Each verdict as the node acts on it: what the replica is told, what is counted, what the driver has to do.
#[test]
fn verdicts_are_acted_on() {
    let check = |next: i64, of: fn(&mut NodeBench), reply: &str, counts: [u64; 3], action: &str| {
        let mut bench = NodeBench::default();
        let client = bench.connect();
        bench.send(client, "SET k v");
        let end = bench.node.stream.end.0 as i64;
        let id = bench.node.server.history.replid.as_str().to_string();
        bench.node.server.history.past.born = Born::Empty;
        of(&mut bench);
        let replica = bench.connect();
        bench.check(replica, "REPLCONF capa psync2", "+OK");
        let answer = bench.send(replica, &format!("PSYNC {id} {}", end + next));
        assert!(answer.starts_with(reply) && answer.is_empty() == reply.is_empty(), "{answer}");
        let stats = &bench.node.server.stats;
        assert_eq!([stats.sync_full, stats.sync_partial_ok, stats.sync_partial_err], counts, "{action}");
        let told: Vec<String> = bench.actions().iter().map(|action| format!("{action:?}")).collect();
        assert!(told.concat().contains(action) && told.is_empty() == action.is_empty(), "{told:?}");
        // Its socket carries the stream now: a second question has no answer.
        if !action.is_empty() {
            bench.check(replica, "PSYNC ? -1", "");
            assert_eq!(bench.node.server.followers, 1);
        }
    };
    check(1, |_| {}, "", [0, 1, 0], "Continue");
    check(2, |_| {}, "", [1, 0, 1], "Full");
    let forget = |bench: &mut NodeBench| bench.node.server.history.replid = ReplId::from_random([8; 20]);
    check(1, forget, "-NOMASTERLINK this server's history began on an empty directory", [0, 0, 1], "");
    let held = |bench: &mut NodeBench| bench.node.held_from(bench.node.stream.end);
    check(1, held, "", [0, 1, 0], "Continue");
    check(0, held, "", [1, 0, 1], "Full");
}

/// The first ACK after a snapshot with an end mark: the feed waits for it.
#[test]
fn an_ack_before_the_stream_is_told() {
    let mut bench = NodeBench::default();
    let replica = follower(&mut bench);
    for (stage, told) in [(Stage::WaitSnapshot, true), (Stage::SendSnapshot, true), (Stage::Online, false)] {
        bench.node.follower_is(replica, stage);
        acknowledge(&mut bench, replica);
        let loaded = bench.actions().iter().any(|action| matches!(action, Action::Loaded(_)));
        assert_eq!(loaded, told, "{stage:?}");
    }
}

/// `repl-backlog-ttl`, counted from when the last follower left.
#[test]
fn a_backlog_that_nobody_wants_is_given_up() {
    let goes_on = |ttl: &str, alone_ms: i64| {
        let mut bench = NodeBench::default();
        let (client, replica) = (bench.connect(), follower(&mut bench));
        bench.set("repl-backlog-ttl", ttl);
        bench.send(client, "SET k v");
        bench.pass(60_000);
        bench.disconnect(replica);
        bench.pass(alone_ms);
        bench.actions();
        let replica = bench.connect();
        let id = bench.node.server.history.replid.as_str().to_string();
        bench.send(replica, &format!("PSYNC {id} 1"));
        let actions = bench.actions();
        let Some(Action::Follow { verdict, .. }) = actions.last() else { panic!("{actions:?}") };
        matches!(verdict, Verdict::Continue(_))
    };
    assert!(goes_on("10", 9_999));
    assert!(!goes_on("10", 10_000));
    assert!(goes_on("0", 10_000_000));
}

/// A reply has no place in a stream: whoever asks for one on such a socket is let go.
#[test]
fn a_follower_that_asks_for_replies_is_let_go() {
    for command in ["PING", "GET k", "NOSUCH"] {
        let mut bench = NodeBench::default();
        let replica = follower(&mut bench);
        bench.check(replica, command, "");
        let actions = bench.actions();
        assert!(matches!(actions[..], [Action::Close(slot)] if slot == replica), "{command}: {actions:?}");
    }
}

/// Who waits for keys on what becomes a replica would wait for ever.
#[test]
fn a_new_role_ends_waiting() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    bench.check(client, "BLPOP list 0", "");
    bench.node.will_follow("10.0.0.1", 6379, true);
    let why = "-UNBLOCKED force unblock from blocking operation, instance state changed (master -> replica?)";
    bench.check_output(client, why);
}

/// Rule 20: each shows the other under which names its bytes are known.
#[test]
fn lineages_are_exchanged() {
    let mut bench = NodeBench::default();
    let (a, b) = (ReplId::from_random([1; 20]), ReplId::from_random([2; 20]));
    let replica = bench.connect();
    let own = bench.node.server.history.replid;
    let told = format!("{own}:0:current:told");
    bench.check(
        replica,
        &format!("REPLCONF ringhold-lineage {a}:90:current,{b}:70:start,operator"),
        &format!("${} {told}", told.len()),
    );
    let shown = bench.node.server.sessions.get(replica).and_then(|s| s.replica.clone()).expect("it spoke");
    assert_eq!((shown.shown, shown.by_order), (vec![(a, Offset(90)), (b, Offset(70))], true));
    bench.check(replica, "REPLCONF ringhold-lineage x", "-ERR not a lineage: a replid is not 40 hex digits");
}

/// What stands behind REPLICAOF in a transaction sees what it brings about, while writes wait for the new name.
#[test]
fn a_transaction_sees_the_role_that_it_gave() {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    let transaction = |bench: &mut NodeBench, order: &str| {
        for line in ["MULTI", order, "ROLE", "CONFIG GET replicaof"] {
            bench.send(client, line);
        }
        bench.check(client, "EXEC", "");
        bench.node.finish(client, Ok("OK"));
        bench.output(client)
    };
    let replica = "*5 $5 slave $8 10.0.0.1 :6379 $7 connect :-1 *2 $9 replicaof $13 10.0.0.1 6379";
    assert_eq!(transaction(&mut bench, "REPLICAOF 10.0.0.1 6379"), format!("*3 +OK {replica}"));
    let primary = "*3 $6 master :0 *0 *2 $9 replicaof $0";
    assert_eq!(transaction(&mut bench, "REPLICAOF NO ONE"), format!("*3 +OK {primary}"));
    bench.node.lead();
    bench.pass(100);
    assert_eq!(transaction(&mut bench, "REPLICAOF 10.0.0.1 6379"), format!("*3 +OK {replica}"));
}

/// Until the new name is in force nobody is told anything that is wrong after it, and EXEC waits, too.
#[test]
fn who_needs_the_new_role_waits_for_it() {
    let check = |line: &str, as_primary: &str, as_replica: &str| {
        for succeeds in [true, false] {
            let mut bench = NodeBench::default();
            let (client, other) = (bench.connect(), bench.connect());
            bench.set("replica-serve-stale-data", "no");
            bench.node.will_follow("10.0.0.1", 6379, true);
            for line in ["MULTI", "REPLICAOF NO ONE", "EXEC"] {
                bench.send(client, line);
            }
            bench.check(other, "GET k", "$-1");
            bench.check(client, "PING", "");
            bench.check(other, line, "");
            bench.pass(100);
            bench.check_output(other, "");
            let expected = if succeeds {
                bench.node.lead();
                as_primary
            } else {
                assert_eq!(bench.node.stay_replica(), Some(("10.0.0.1".into(), 6379)));
                as_replica
            };
            bench.node.handle_deadlines(&mut 0);
            bench.check_output(other, expected);
        }
    };
    let read_only = "-READONLY You can't write against a read only replica.";
    check("SET k v", "+OK", read_only);
    check("BLPOP list 0.001", "", read_only);
    check(
        "FAILOVER",
        "-ERR FAILOVER requires connected replicas.",
        "-ERR FAILOVER is not valid when server is a replica.",
    );
    check(
        "WAIT 0 0",
        ":0",
        "-MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    );
}
