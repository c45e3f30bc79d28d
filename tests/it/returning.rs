//! Replicas that were away for longer than the ring reaches back, and came to a primary that was restarted meanwhile: what
//! the log holds it gives them, and holds it long enough for them to ask.

use crate::client::Client;
use crate::compare::{assert_same, dataset};
use crate::harness::{Launch, Server, aof_files, eventually, info, subject_is_ours};
use std::path::Path;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const BEGINNING: &str = ".aof.1.incr.aof";

fn primary(directives: &[(&str, &str)]) -> Server {
    let small = [("repl-backlog-size", "64kb"), ("repl-diskless-sync-delay", "0")];
    let launch =
        directives.iter().fold(Launch::ours(&small), |launch, (name, value)| launch.with(name, value));
    launch.start()
}

/// A replica that has had everything, and was stopped so that it knows its place.
fn gone_replica(of: &Server, stock: bool) -> Option<Server> {
    let primary = format!("127.0.0.1 {}", of.port());
    let directives = [("replicaof", primary.as_str()), ("save", "3600 1"), ("appendonly", "no")];
    let launch = if stock { Launch::stock(&directives)? } else { Launch::ours(&directives) };
    let mut replica = launch.start();
    in_sync(&mut of.connect(), &mut replica.connect());
    replica.stop();
    Some(replica)
}

fn in_sync(primary: &mut Client, replica: &mut Client) {
    eventually("the replica to have everything", LIMIT, || {
        let up = info(replica, "master_link_status") == "up";
        (up && info(replica, "master_repl_offset") == info(primary, "master_repl_offset")).then_some(())
    });
}

/// Many times what the ring holds.
fn write_beyond_the_ring(c: &mut Client) {
    let value = "v".repeat(10_000);
    for n in 0..100 {
        c.must(&["SET", &format!("k{}", n % 5), &value]);
    }
}

fn names(data: &Path, name: &str) -> bool {
    let manifest = aof_files(data, ".manifest").first().map(|path| std::fs::read_to_string(path).unwrap());
    manifest.is_some_and(|text| text.contains(name))
}

fn goes_on(primary: &Server, replica: Server, how: &str) {
    let replica = replica.restart();
    let (mut p, mut r) = (primary.connect(), replica.connect());
    in_sync(&mut p, &mut r);
    assert_eq!(
        (info(&mut p, "sync_full"), info(&mut p, "sync_partial_ok")),
        ("0".into(), "1".into()),
        "{how}"
    );
    assert_same(&dataset(&mut p), &dataset(&mut r));
}

/// P4, with the log and without it (rule 7), after SIGTERM, whose snapshot replaces the segments, and after `kill -9`.
#[test]
fn what_the_log_holds_is_offered_after_a_restart() {
    if !subject_is_ours() {
        return;
    }
    let off = [("appendonly", "no"), ("save", "3600 1")];
    for setting in [[("appendonly", "yes"), ("save", "")], off] {
        for (killed, stock) in [(true, false), (false, false), (true, true), (false, true)] {
            let mut primary = primary(&setting);
            primary.connect().must(&["SET", "a", "1"]);
            let Some(replica) = gone_replica(&primary, stock) else { continue };
            write_beyond_the_ring(&mut primary.connect());
            if killed {
                primary.kill();
            }
            primary = primary.restart();
            goes_on(&primary, replica, &format!("{setting:?}, killed: {killed}, stock: {stock}"));
        }
    }
}

/// A log that never had a base gets one at once, and the replica is back only after the next start.
#[test]
fn what_a_base_replaced_is_offered_also_after_one_more_restart() {
    if !subject_is_ours() {
        return;
    }
    let mut primary = primary(&[("appendonly", "yes"), ("save", "")]);
    primary.connect().must(&["SET", "a", "1"]);
    let Some(replica) = gone_replica(&primary, false) else { return };
    write_beyond_the_ring(&mut primary.connect());
    for _ in 0..2 {
        primary.kill();
        primary = primary.restart();
        eventually("the log to have a base", LIMIT, || {
            (!aof_files(primary.data(), ".base.rdb").is_empty() && names(primary.data(), "type b"))
                .then_some(())
        });
        assert!(names(primary.data(), "seq 1 type h"), "{}", primary.log());
    }
    goes_on(&primary, replica, "with a base");
}

/// Nobody came within `repl-timeout`, or more is held than `repl-pin-max-bytes`: the disk gets its space back, though
/// nothing else happens, and who comes then is told so once.
#[test]
fn what_nobody_came_for_goes() {
    if !subject_is_ours() {
        return;
    }
    for limit in [("repl-timeout", "1"), ("repl-pin-max-bytes", "100kb")] {
        let mut primary = primary(&[("appendonly", "yes"), ("save", ""), limit]);
        primary.connect().must(&["SET", "a", "1"]);
        let Some(replica) = gone_replica(&primary, false) else { return };
        write_beyond_the_ring(&mut primary.connect());
        primary.kill();
        primary = primary.restart();
        eventually("the old segment to go", LIMIT, || {
            let gone = aof_files(primary.data(), BEGINNING).is_empty();
            (gone && !names(primary.data(), "type h")).then_some(())
        });
        let replica = replica.restart();
        in_sync(&mut primary.connect(), &mut replica.connect());
        assert_eq!(info(&mut primary.connect(), "sync_full"), "1", "{limit:?}");
    }
}
