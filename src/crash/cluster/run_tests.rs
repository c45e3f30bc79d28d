//! Scenarios of several servers, made by hand; what was found by seeds and made small.

use super::super::scenario::{Fault, Setup, words};
use super::super::search::try_run;
use super::scenario::{Follows, OPERATOR, Scenario, Step, replicaof};

fn setup(appendonly: bool, fsync: &'static str) -> Setup {
    let rest = "repl-timeout 5\nrepl-ping-replica-period 1\nrepl-diskless-sync-delay 0\n".into();
    Setup { appendonly, fsync, save: true, ring: 16384, rest }
}

/// node1 follows node0, and has its data.
fn replicated(setups: [Setup; 2], then: impl IntoIterator<Item = Step>) -> Scenario {
    let first = [Step::Send(1, OPERATOR, replicaof(Some(0))), Step::Live(2000)];
    Scenario { seed: 1, setups: setups.to_vec(), steps: first.into_iter().chain(then).collect() }
}

fn set(n: u8, text: &str) -> Step {
    Step::Send(n, 0, words(text))
}

#[test]
fn a_replica_comes_back_by_partial_resync_whoever_was_killed() {
    for (down, power) in [(0, None), (1, None), (0, Some(9)), (1, Some(9))] {
        let steps = [
            set(0, "SET a 1"),
            Step::Live(300),
            Step::Down(down, power),
            set(0, "SET b 2"),
            Step::Live(1100),
            Step::Up(down, Follows::AsBefore),
            set(0, "SET c 3"),
            Step::Quiet,
        ];
        let scenario = replicated([setup(true, "always"), setup(true, "everysec")], steps);
        let mut timeline = Vec::new();
        let tally = try_run(&scenario, Some(&mut timeline)).unwrap();
        assert_eq!(tally.syncs, 1, "{timeline:#?}");
        assert!(timeline.iter().any(|line| line.contains("node1 asks node0: continue")), "{timeline:#?}");
    }
}

#[test]
fn a_promoted_replica_takes_the_old_primary_back() {
    let steps = [
        set(0, "SET a 1"),
        Step::Live(300),
        Step::Down(0, None),
        Step::Send(1, OPERATOR, replicaof(None)),
        Step::Live(300),
        set(1, "SET b 2"),
        Step::Up(0, Follows::Machine(1)),
        Step::Quiet,
    ];
    let mut timeline = Vec::new();
    let scenario = replicated([setup(true, "always"), setup(true, "always")], steps);
    assert_eq!(try_run(&scenario, Some(&mut timeline)).map(|tally| tally.syncs), Ok(1), "{timeline:#?}");
    assert!(timeline.iter().any(|line| line.contains("node0 asks node1: continue")), "{timeline:#?}");
}

/// What once was a fault of the server, made small.
#[test]
fn what_was_found_stays_mended() {
    let check = |story: &str, scenario: Scenario| {
        let outcome = try_run(&scenario, None);
        assert!(outcome.is_ok(), "{story}: {outcome:?}");
    };
    check(
        "a power cut took a name from the ring and left it in replication.toml; what a replica then appended stood under \
         the name of before, and the next kill -9 lost it",
        replicated(
            [setup(false, "no"), setup(false, "no")],
            [
                Step::Down(0, None),
                Step::Down(1, None),
                Step::Quiet,
                Step::Down(1, Some(8)),
                Step::Quiet,
                set(0, "SET a 1"),
                Step::Flow(1 << 20),
                Step::Down(1, None),
                Step::Quiet,
            ],
        ),
    );
    check(
        "a power cut took from a promoted server more than it had taken in since, and its second start from there let a \
         replica that held the rest copy it, as if the promotion had parted them",
        replicated(
            [setup(false, "no"), setup(false, "no")],
            [
                set(0, "SET a 1"),
                Step::Live(300),
                Step::Send(1, OPERATOR, replicaof(None)),
                Step::Live(300),
                Step::Down(1, Some(8)),
                Step::Up(1, Follows::AsBefore),
                Step::Shutdown(1, None),
                Step::Send(0, OPERATOR, replicaof(Some(1))),
                Step::Live(1100),
                Step::Quiet,
            ],
        ),
    );
    let large = format!("SET s {}", "v".repeat(8514));
    check(
        "a server died after a full sync was committed and before the old segments were removed: its start took them up \
         again, as they began under a name that both histories had, and put their end behind the new data",
        replicated(
            [setup(false, "everysec"), setup(false, "no")],
            [
                set(0, &large),
                Step::Live(1100),
                Step::Send(1, OPERATOR, replicaof(None)),
                Step::Fails(0, Fault { call: "remove", path: "incr", full: true, times: 3 }),
                set(0, "INCR n"),
                Step::Send(0, OPERATOR, replicaof(Some(1))),
                Step::Live(3000),
                Step::Up(0, Follows::AsBefore),
                Step::Quiet,
            ],
        ),
    );
    check(
        "a replica that had just started called durable what it had recovered from its ring and not synced yet",
        replicated(
            [setup(true, "no"), setup(true, "everysec")],
            [
                set(0, "SET a 1"),
                Step::Flow(1 << 20),
                Step::Down(1, None),
                set(0, "WAITAOF 0 1 1000"),
                Step::Up(1, Follows::AsBefore),
                Step::Flow(1 << 20),
                Step::Thread(0),
                Step::Flow(1 << 20),
                Step::Quiet,
            ],
        ),
    );
    check(
        "PUBLISH entered the stream of a server whose log could not be written",
        replicated(
            [setup(true, "everysec"), setup(true, "everysec")],
            [
                Step::Fails(0, Fault { call: "fdatasync", path: "", full: false, times: 3 }),
                Step::Live(1100),
                set(0, "PUBLISH news item"),
                Step::Quiet,
            ],
        ),
    );
    check(
        "WAIT counted a replica twice that came back while its old connection seemed to be there",
        replicated(
            [setup(true, "always"), setup(true, "always")],
            [
                set(0, "SET a 1"),
                Step::Live(300),
                Step::Down(1, Some(9)),
                Step::Up(1, Follows::AsBefore),
                Step::Live(300),
                set(0, "WAIT 2 50"),
                Step::Live(100),
            ],
        ),
    );
}

/// A promotion that failed stood in `replication.toml` all the same, and what the replica took in under the name of before was lost
/// by the next kill -9.
#[test]
fn a_promotion_that_failed_takes_nothing_away() {
    let steps = [
        Step::Fails(1, Fault { call: "fsync_dir", path: "", full: false, times: 1 }),
        set(0, "SET s2 v"),
        Step::Send(1, OPERATOR, replicaof(None)),
        Step::Thread(1),
        Step::Flow(1 << 20),
        Step::Thread(0),
        Step::Flow(1 << 20),
        Step::Thread(1),
        Step::Flow(1 << 20),
        Step::Down(1, None),
        Step::Up(1, Follows::AsBefore),
        Step::Quiet,
    ];
    let outcome = try_run(&replicated([setup(false, "no"), setup(false, "no")], steps), None);
    assert!(outcome.is_ok(), "{outcome:?}");
}

#[test]
fn a_run_follows_from_its_seed() {
    for seed in 1..10 {
        let scenario = Scenario::generate(seed, 2 + (seed % 3) as u8);
        let [first, second] = [(); 2].map(|()| {
            let mut timeline = Vec::new();
            let outcome = try_run(&scenario, Some(&mut timeline));
            // How long something took is the only thing that differs.
            timeline.retain(|line| !line.contains(" seconds") && !line.contains(" ms"));
            (outcome, timeline)
        });
        assert_eq!(first, second, "seed {seed}");
        assert!(first.0.is_ok(), "seed {seed}: {:?}", first.0);
    }
}
