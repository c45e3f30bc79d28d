//! Each arrow of the two diagrams: handing over to a replica, and waiting for replicas before the end.

use crate::engine::Action;
use crate::engine::testing::NodeBench;
use crate::repl::verdict::Verdict;
use crate::state::{Role, Slot, Stage};
use crate::units::Offset;

/// A client, a follower at port 7001 and one at 7002.
fn bench() -> (NodeBench, Slot, [Slot; 2]) {
    let mut bench = NodeBench::default();
    let client = bench.connect();
    let followers = [7001, 7002].map(|port| {
        let slot = bench.connect();
        bench.send(slot, &format!("REPLCONF listening-port {port} capa psync2"));
        bench.send(slot, "PSYNC ? -1");
        bench.node.follower_is(slot, Stage::Online);
        slot
    });
    bench.set("save", "");
    bench.send(client, "SET k v");
    bench.actions();
    bench.stream();
    (bench, client, followers)
}

/// A follower says that it has all but `lacking` bytes.
fn ack(bench: &mut NodeBench, follower: Slot, lacking: u64) {
    let at = bench.node.stream.end.0 - lacking;
    bench.check(follower, &format!("REPLCONF ACK {at}"), "");
}

/// What the driver was told to do, in words.
fn told(bench: &mut NodeBench) -> Vec<String> {
    let word = |action| match action {
        Action::HandOver(ip, port) => format!("hand over to {ip}:{port}"),
        Action::TakeBack => "take back".into(),
        Action::LeaveNow => "leave".into(),
        other => format!("{other:?}"),
    };
    bench.actions().into_iter().map(word).collect()
}

#[track_caller]
fn check_state(bench: &mut NodeBench, expected: &str) {
    let client = bench.connect();
    let info = bench.send(client, "INFO replication");
    assert!(info.contains(&format!("master_failover_state:{expected} ")), "{info}");
}

#[test]
fn what_no_failover_can_begin_with() {
    let (mut bench, client, [a, b]) = bench();
    bench.check(client, "FAILOVER ABORT", "-ERR No failover in progress.");
    let check =
        |bench: &mut NodeBench, line: &str, error: &str| bench.check(client, line, &format!("-ERR {error}"));
    check(&mut bench, "FAILOVER TO 127.0.0.1 7003", "FAILOVER target HOST and PORT is not a replica.");
    let force = "FAILOVER with force option requires both a timeout and target HOST and IP.";
    check(&mut bench, "FAILOVER TO 127.0.0.1 7001 FORCE", force);
    check(&mut bench, "FAILOVER FORCE TIMEOUT 5", force);
    check(&mut bench, "FAILOVER TIMEOUT 0", "FAILOVER timeout must be greater than 0");
    check(&mut bench, "FAILOVER TO 127.0.0.1", "syntax error");
    bench.node.follower_is(a, Stage::SendSnapshot);
    check(&mut bench, "FAILOVER TO 127.0.0.1 7001", "FAILOVER target replica is not online.");
    bench.check(client, "FAILOVER TO 127.0.0.1 7002", "+OK");
    check(&mut bench, "FAILOVER", "FAILOVER already in progress.");
    bench.check(client, "FAILOVER ABORT", "+OK");
    [a, b].into_iter().for_each(|follower| bench.disconnect(follower));
    check(&mut bench, "FAILOVER", "FAILOVER requires connected replicas.");
    bench.node.will_follow("10.0.0.1", 6379, true);
    check(&mut bench, "FAILOVER", "FAILOVER is not valid when server is a replica.");
    assert_eq!((told(&mut bench), bench.stream()), (vec![], "REPLCONF GETACK".into()));
}

/// To whoever is first to have everything, and no write comes between.
#[test]
fn whoever_has_everything_takes_over() {
    let (mut bench, client, [a, b]) = bench();
    let writer = bench.connect();
    bench.check(client, "FAILOVER", "+OK");
    assert_eq!(bench.stream(), "REPLCONF GETACK");
    check_state(&mut bench, "waiting-for-sync");
    bench.check(writer, "SET k w", "");
    ack(&mut bench, a, 1);
    bench.pass(100);
    assert_eq!(told(&mut bench), [""; 0]);
    ack(&mut bench, b, 0);
    ack(&mut bench, a, 0);
    assert_eq!(told(&mut bench), ["hand over to 127.0.0.1:7002"], "once");
    check_state(&mut bench, "failover-in-progress");
    bench.pass(100);
    bench.check_output(writer, "");
    assert_eq!(bench.stream(), "");
    // It took over, and this server is its replica.
    bench.node.will_follow("127.0.0.1", 7002, false);
    bench.node.failover_done();
    check_state(&mut bench, "no-failover");
    bench.pass(100);
    bench.check_output(writer, "-READONLY You can't write against a read only replica.");
}

#[test]
fn the_target_that_was_named_takes_over() {
    let (mut bench, client, [a, b]) = bench();
    bench.check(client, "FAILOVER TO 127.0.0.1 7002", "+OK");
    ack(&mut bench, a, 0);
    assert_eq!(told(&mut bench), [""; 0]);
    ack(&mut bench, b, 0);
    assert_eq!(told(&mut bench), ["hand over to 127.0.0.1:7002"]);
}

#[test]
fn time_and_orders_end_it() {
    let check = |order: &str, what: fn(&mut NodeBench, Slot, Slot), expected: &[&str], writes: bool| {
        let (mut bench, client, [_, b]) = bench();
        let writer = bench.connect();
        bench.check(client, order, "+OK");
        bench.check(writer, "SET k w", "");
        what(&mut bench, client, b);
        assert_eq!(told(&mut bench), expected, "{order}");
        bench.pass(100);
        bench.check_output(writer, if writes { "+OK" } else { "" });
    };
    let late = |bench: &mut NodeBench, _: Slot, _: Slot| bench.pass(500);
    check("FAILOVER TO 127.0.0.1 7002 TIMEOUT 700", late, &[], false);
    check("FAILOVER TO 127.0.0.1 7002 TIMEOUT 500", late, &[], true);
    check("FAILOVER TIMEOUT 500", late, &[], true);
    let forced = "FAILOVER TO 127.0.0.1 7002 FORCE TIMEOUT 500";
    check(forced, late, &["hand over to 127.0.0.1:7002"], false);
    let abort = |bench: &mut NodeBench, client: Slot, _: Slot| bench.check(client, "FAILOVER ABORT", "+OK");
    check("FAILOVER", abort, &[], true);
    let handed_over = ["hand over to 127.0.0.1:7002", "take back"];
    let too_late = |bench: &mut NodeBench, client: Slot, follower: Slot| {
        ack(bench, follower, 0);
        bench.check(client, "FAILOVER ABORT", "+OK");
    };
    check("FAILOVER", too_late, &handed_over, true);
    let rejected = |bench: &mut NodeBench, _: Slot, follower: Slot| {
        ack(bench, follower, 0);
        bench.node.failover_failed("Failover target rejected psync request");
    };
    check("FAILOVER", rejected, &handed_over, true);
}

/// PSYNC … FAILOVER, the other side of it.
#[test]
fn a_replica_takes_over_when_its_primary_asks() {
    let (mut bench, client, _) = bench();
    let asker = bench.connect();
    let id = bench.node.server.history.replid.as_str().to_string();
    let next = bench.node.stream.end.0 + 1;
    let ask = format!("PSYNC {id} {next} FAILOVER");
    bench.check(asker, "REPLCONF capa psync2", "+OK");
    bench.check(asker, &ask, "-ERR PSYNC FAILOVER can't be sent to a master.");
    bench.node.will_follow("127.0.0.1", 7000, true);
    let wrong = ask.replace(&id, &"0".repeat(40));
    bench.check(asker, &wrong, "-ERR PSYNC FAILOVER replid must match my replid.");
    assert_eq!(told(&mut bench), [""; 0]);
    bench.check(asker, &ask, "");
    let mut actions = bench.actions();
    let Some(Action::TakeOver(slot, asked)) = actions.pop() else { panic!("{actions:?}") };
    assert_eq!((slot, asked.next), (asker, next as i64));
    // The driver made it a primary.
    bench.node.server.role = Role::Primary;
    bench.node.taken_over(slot, asked);
    let mut actions = bench.actions();
    let Some(Action::Follow { slot, verdict, old }) = actions.pop() else { panic!("{actions:?}") };
    assert_eq!((slot, verdict, old), (asker, Verdict::Continue(Offset(next - 1)), false));
    bench.check(client, "SET k w", "+OK");
}

// ---- SHUTDOWN ----

#[test]
fn nobody_is_waited_for_in_vain() {
    let (mut bench, client, [a, b]) = bench();
    assert!(!bench.node.wait_for_replicas(0), "no time is allowed");
    ack(&mut bench, a, 0);
    ack(&mut bench, b, 0);
    assert!(!bench.node.wait_for_replicas(10), "all have everything");
    assert_eq!(bench.node.farewell(), ["2 of 2 replicas are in sync when shutting down."]);
    bench.send(client, "SET k w");
    bench.node.will_follow("10.0.0.1", 6379, true);
    assert!(!bench.node.wait_for_replicas(10), "the stream goes on elsewhere");
    bench.node.server.role = Role::Primary;
    [a, b].into_iter().for_each(|follower| bench.disconnect(follower));
    let reader = bench.connect();
    bench.send(reader, "REPLCONF rdb-only 1");
    bench.send(reader, "PSYNC ? -1");
    assert!(!bench.node.wait_for_replicas(10), "it takes a snapshot and no more");
    let copier = bench.connect();
    bench.send(copier, "PSYNC ? -1");
    assert!(!bench.node.wait_for_replicas(10), "its snapshot has not begun");
    bench.node.follower_is(copier, Stage::SendSnapshot);
    assert!(!bench.node.wait_for_replicas(10), "it takes nothing of its snapshot");
    let replica = bench.node.server.sessions.get_mut(copier).and_then(|s| s.replica.as_mut());
    replica.expect("it follows").took_ms = bench.clock / 1000;
    assert!(bench.node.wait_for_replicas(10), "it takes it");
}

#[test]
fn who_lags_is_waited_for() {
    let check = |what: fn(&mut NodeBench, [Slot; 2]), expected: &[&str], writes: bool| {
        let (mut bench, _, followers) = bench();
        let writer = bench.connect();
        assert!(bench.node.wait_for_replicas(3));
        assert_eq!(bench.stream(), "REPLCONF GETACK");
        bench.check(writer, "SET k w", "");
        what(&mut bench, followers);
        let mut told = told(&mut bench);
        told.dedup();
        assert_eq!(told, expected);
        bench.pass(100);
        bench.check_output(writer, if writes { "+OK" } else { "" });
    };
    let one = |bench: &mut NodeBench, [a, b]: [Slot; 2]| {
        ack(bench, a, 0);
        ack(bench, b, 1);
        let lines = bench.node.farewell();
        assert_eq!(lines[1..], ["1 of 2 replicas are in sync when shutting down."]);
        let lagging = "Lagging replica 127.0.0.1:7002 reported offset 1 behind master, lag=0, state=online.";
        assert_eq!(lines[0], lagging);
    };
    check(one, &[], false);
    let both = |bench: &mut NodeBench, followers: [Slot; 2]| {
        followers.into_iter().for_each(|follower| ack(bench, follower, 0));
    };
    check(both, &["leave"], false);
    check(|bench, [a, b]| [a, b].into_iter().for_each(|f| bench.disconnect(f)), &[], false);
    check(|bench, _| bench.pass(1900), &[], false);
    check(|bench, _| (0..2).for_each(|_| bench.pass(1500)), &["leave"], false);
    check(|bench, _| bench.node.stay(), &[], true);
}
