//! What is acknowledged can be recovered at every moment: through changes of settings, of the log and of the base, and
//! when one of these fails half-way. Each test opens with its story; all end with `kill -9` and a new start.
//!
//! The ring has 1 MiB throughout and a value 10 kB, so that about a hundred writes overrun it.

use crate::client::{Client, Value, encode};
use crate::fill::noise;
use crate::harness::{Launch, Server, aof_files, eventually, info, rewrite_aof, stock_tool, subject_is_ours};
use std::fs;
use std::time::Duration;

const LOG: &[(&str, &str)] = &[
    ("appendonly", "yes"),
    ("save", "3600 1000000"),
    ("repl-backlog-size", "1mb"),
    ("auto-aof-rewrite-percentage", "0"),
];
const SPILL: &[(&str, &str)] =
    &[("appendonly", "no"), ("save", "3600 1000000"), ("repl-backlog-size", "1mb")];

fn launch(directives: &[(&str, &str)]) -> Option<Launch> {
    subject_is_ours().then(|| Launch::ours(directives))
}

/// The same directory under other directives.
fn again(server: &Server, directives: &[(&str, &str)]) -> Launch {
    directives.iter().fold(server.launch().clone(), |launch, (name, value)| launch.with(name, value))
}

/// Sets `n` keys of 10 kB whose names begin with `prefix`, all acknowledged.
fn fill(c: &mut Client, prefix: &str, n: u64) {
    let value = "v".repeat(10_000);
    for i in 0..n {
        c.must(&["SET", &format!("{prefix}{i}"), &value]);
    }
}

fn keys(server: &Server) -> i64 {
    server.connect().must(&["DBSIZE"]).int()
}

fn shut_down_without_saving(server: &mut Server) {
    server.connect().send_raw(&encode(&["SHUTDOWN", "NOSAVE"])).unwrap();
    server.wait(Duration::from_secs(20));
}

/// The log is switched off, the server ends cleanly, a stock server takes the directory and appends to our last
/// segment: those writes are another server's, not a torn tail (rule 14).
#[test]
fn another_server_wrote_behind_a_log_that_was_switched_off() {
    let Some(ours) = launch(LOG) else { return };
    let Some(stock) = stock_tool("redis-server") else { return };
    let mut server = ours.start();
    let mut c = server.connect();
    fill(&mut c, "a", 10);
    c.must(&["CONFIG", "SET", "appendonly", "no"]);
    shut_down_without_saving(&mut server);
    let mut other = again(&server, &[("save", ""), ("appendonly", "yes")]).with_program(stock).start();
    fill(&mut other.connect(), "stock", 5);
    other.stop();
    let server = ours.start();
    assert_eq!(keys(&server), 15, "{}", server.log());
}

/// A snapshot that is under way belongs to the history in which it was taken: what would change that waits for its end.
#[test]
fn the_history_is_not_changed_under_a_running_snapshot() {
    for (directives, command, change) in [
        (LOG, "BGREWRITEAOF", "CHANGE-REPL-ID"),
        (LOG, "BGREWRITEAOF", "LOADAOF"),
        (SPILL, "BGSAVE", "CHANGE-REPL-ID"),
        (SPILL, "BGSAVE", "RELOAD"),
    ] {
        let Some(launch) = launch(directives) else { return };
        let mut server = launch.start();
        let mut c = server.connect();
        fill(&mut c, "a", 50);
        c.must(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
        c.must(&[command]);
        c.must(&["DEBUG", change]);
        let log = server.log();
        let ended =
            ["Background saving terminated with success", "Background AOF rewrite finished successfully"];
        assert!(ended.iter().any(|line| log.contains(line)), "{command}, {change}: {log}");
        fill(&mut c, "b", 5);
        server.kill();
        assert_eq!(keys(&server.restart()), 55);
    }
}

/// DEBUG RELOAD loads what it saved, also where CONFIG SET dir has pointed it; DEBUG LOADAOF what the server stands on.
#[test]
fn a_reload_reads_the_file_that_it_wrote() {
    let Some(launch) = launch(LOG) else { return };
    let server = launch.with("enable-protected-configs", "yes").start();
    let mut c = server.connect();
    fill(&mut c, "a", 3);
    c.must(&["SAVE"]);
    fill(&mut c, "b", 3);
    let elsewhere = server.launch().scratch().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    c.must(&["CONFIG", "SET", "dir", elsewhere.to_str().unwrap()]);
    c.must(&["DEBUG", "RELOAD"]);
    assert_eq!(c.must(&["DBSIZE"]).int(), 6);
    eventually("a base of the log", Duration::from_secs(20), || {
        (c.cmd(&["DEBUG", "LOADAOF"]) == Value::ok()).then_some(())
    });
    fill(&mut c, "c", 3);
    kill_and_expect(server, LOG, 9);
}

/// A server is killed while a resize makes its file.
#[test]
fn what_a_killed_resize_leaves_goes() {
    let Some(launch) = launch(LOG) else { return };
    let mut server = launch.start();
    fill(&mut server.connect(), "a", 3);
    server.kill();
    let left =
        ["backlog.ring.new", "backlog.ring.new.tmp", "backlog.ring.tmp"].map(|name| server.data().join(name));
    left.iter().for_each(|path| fs::write(path, "unfinished").unwrap());
    let server = kill_and_expect(server.restart(), LOG, 3);
    assert!(left.iter().all(|path| !path.exists()), "{}", server.log());
}

/// A log that continues a snapshot of no keys stands on its own soon, so that it may be read without the snapshot.
#[test]
fn an_emptied_dataset_gets_a_base_too() {
    let Some(launch) = launch(SPILL) else { return };
    let mut server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 5);
    c.must(&["FLUSHALL"]);
    server.kill();
    let mut server = again(&server, LOG).start();
    let mut c = server.connect();
    eventually("a base of the log", Duration::from_secs(20), || {
        (aof_files(server.data(), ".base.rdb").len() == 1 && info(&mut c, "aof_rewrite_in_progress") == "0")
            .then_some(())
    });
    fill(&mut c, "b", 50);
    server.kill();
    fs::remove_file(server.data().join("dump.rdb")).unwrap();
    assert_eq!(keys(&server.restart()), 50);
}

/// The log was switched on over a cache, and its first base cannot be written: what it holds is less than what is served.
#[test]
fn a_log_without_its_base_is_not_loaded_in_place_of_the_data() {
    let Some(launch) = launch(SPILL) else { return };
    let server = launch.with("save", "").with("repl-backlog-size", "16kb").start();
    let mut c = server.connect();
    fill(&mut c, "a", 20);
    for n in 1..4 {
        fs::create_dir_all(server.data().join(format!("appendonlydir/appendonly.aof.{n}.base.rdb/x")))
            .unwrap();
    }
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    let Value::Error(why) = c.cmd(&["DEBUG", "LOADAOF"]) else { panic!("the data are gone") };
    assert!(why.contains("base"), "{why}");
    assert_eq!(keys(&server), 20);
}

/// DEBUG LOADAOF over a damaged log: the server has closed its files and cannot open them again. It must not go on as if
/// it could keep what it acknowledges.
#[test]
fn a_log_that_cannot_be_loaded_again_ends_the_server() {
    let Some(launch) = launch(LOG) else { return };
    let mut server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 50);
    let manifest = server.data().join("appendonlydir/appendonly.aof.manifest");
    let sound = fs::read(&manifest).unwrap();
    fs::write(&manifest, "garbage\n").unwrap();
    c.send_raw(&[encode(&["DEBUG", "LOADAOF"]), encode(&["SET", "lost", "1"])].concat()).unwrap();
    let mut said = Vec::new();
    while let Ok(value) = c.read_value() {
        assert!(matches!(value, Value::Error(_)), "{value:?}");
        said.push(value.text());
    }
    assert!(said[0].contains("manifest"), "{said:?}");
    assert_eq!(server.wait(Duration::from_secs(20)).code, Some(1));
    fs::write(&manifest, sound).unwrap();
    assert_eq!(keys(&server.restart()), 50);
}

/// Kills the server, starts it under `directives`, and expects so many keys; twice, as the first start may hide what it
/// did to the files.
fn kill_and_expect(mut server: Server, directives: &[(&str, &str)], expected: i64) -> Server {
    for _ in 0..2 {
        server.kill();
        let launch = again(&server, directives);
        server = launch.start();
        assert_eq!(keys(&server), expected, "{}", server.log());
    }
    server
}

/// AOF off, a crash, and what was recovered lies in the ring only: the promise reaches back to before the restart.
#[test]
fn a_restart_does_not_begin_the_promise_anew() {
    let Some(launch) = launch(SPILL) else { return };
    let mut server = launch.start();
    fill(&mut server.connect(), "a", 50);
    server.kill();
    let server = server.restart();
    fill(&mut server.connect(), "b", 90);
    kill_and_expect(server, SPILL, 140);
}

/// AOF off, a crash, and the next start asks for a ring that cannot hold what only the ring holds.
#[test]
fn a_smaller_ring_waits_until_it_is_enough() {
    let Some(launch) = launch(SPILL) else { return };
    let server = launch.clone().with("repl-backlog-size", "8mb").start();
    fill(&mut server.connect(), "a", 300);
    let server = kill_and_expect(server, SPILL, 300);
    let mut c = server.connect();
    c.must(&["SAVE"]);
    let server = kill_and_expect(server, SPILL, 300);
    eventually("the smaller ring", Duration::from_secs(20), || {
        (fs::metadata(server.data().join("backlog.ring")).unwrap().len() < 2 << 20).then_some(())
    });
}

/// Rule 26, scenario 34: the log is switched on, and the ring overrun before the log's base is there.
#[test]
fn a_log_begins_where_the_base_before_it_ends() {
    let Some(launch) = launch(SPILL) else { return };
    let server = launch.clone().with("rdb-key-save-delay", "200000").start();
    let mut c = server.connect();
    fill(&mut c, "a", 50);
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    fill(&mut c, "b", 200);
    kill_and_expect(server, LOG, 250);
    // the same, switched on by a start
    let mut server = Launch::ours(SPILL).start();
    fill(&mut server.connect(), "a", 50);
    server.kill();
    let server = again(&server, LOG).with("rdb-key-save-delay", "200000").start();
    fill(&mut server.connect(), "b", 200);
    kill_and_expect(server, LOG, 250);
}

/// A snapshot makes an ended log needless; a spill that begins at the snapshot is not a part of that log.
#[test]
fn a_spill_behind_a_snapshot_does_not_follow_an_older_log() {
    if !subject_is_ours() {
        return;
    }
    for (spills, next) in [(0, LOG), (0, SPILL), (200, LOG), (200, SPILL)] {
        let server = Launch::ours(LOG).start();
        let mut c = server.connect();
        fill(&mut c, "a", 20);
        c.must(&["CONFIG", "SET", "appendonly", "no"]);
        fill(&mut c, "b", 60);
        c.must(&["SAVE"]);
        fill(&mut c, "c", 50 + spills);
        let server = kill_and_expect(server, next, 130 + spills as i64);
        fill(&mut server.connect(), "d", 200);
        kill_and_expect(server, next, 330 + spills as i64);
    }
    // and across a clean end, with the log ended by an earlier run
    let mut server = Launch::ours(LOG).start();
    fill(&mut server.connect(), "a", 20);
    server.stop();
    let mut server = again(&server, SPILL).start();
    let mut c = server.connect();
    fill(&mut c, "b", 60);
    c.must(&["SAVE"]);
    fill(&mut c, "c", 60);
    server.stop();
    kill_and_expect(server.restart(), LOG, 140);
}

/// A snapshot that was begun under the log is done when the log has ended further on: the log stays.
#[test]
fn a_snapshot_that_a_log_has_overtaken_moves_nothing() {
    let Some(launch) = launch(LOG) else { return };
    let server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 20);
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "50000"]);
    c.must(&["BGSAVE"]);
    fill(&mut c, "b", 20);
    c.must(&["CONFIG", "SET", "appendonly", "no"]);
    eventually("the snapshot", Duration::from_secs(20), || {
        (info(&mut c, "rdb_bgsave_in_progress") == "0").then_some(())
    });
    fill(&mut c, "c", 200);
    kill_and_expect(server, SPILL, 240);
}

/// What is a cache for a while keeps nothing, and does not refuse to start; what becomes a store again keeps everything from
/// its next snapshot on.
#[test]
fn save_points_that_come_back_bring_the_promise_back() {
    let Some(launch) = launch(SPILL) else { return };
    let never = [("appendonly", "no"), ("save", "")];
    let mut server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 5);
    c.must(&["CONFIG", "SET", "save", ""]);
    c.must(&["CONFIG", "SET", "save", "3600 1000000"]);
    fill(&mut c, "b", 200); // the ring still led on
    server.kill();
    let server = again(&server, &never).start();
    let mut c = server.connect();
    assert_eq!(c.must(&["DBSIZE"]).int(), 205);
    fill(&mut c, "c", 200); // a cache: the ring moves on
    let before = info(&mut c, "rdb_saves");
    c.must(&["CONFIG", "SET", "save", "3600 1000000"]);
    eventually("a snapshot", Duration::from_secs(20), || (info(&mut c, "rdb_saves") != before).then_some(()));
    fill(&mut c, "d", 200);
    let mut server = kill_and_expect(server, SPILL, 605);
    server.kill();
    let mut server = again(&server, &never).start();
    fill(&mut server.connect(), "e", 200);
    server.stop();
    let server = again(&server, &never).start();
    assert!(keys(&server) >= 405, "no refusal, and no less than the last base");
}

/// After CONFIG SET dir snapshots are exports: no recovery reads them (rule 26).
#[test]
fn an_export_is_no_base() {
    let Some(launch) = launch(SPILL) else { return };
    let server = launch.with("enable-protected-configs", "yes").start();
    let mut c = server.connect();
    fill(&mut c, "a", 5);
    c.must(&["SAVE"]);
    let elsewhere = server.launch().scratch().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    c.must(&["CONFIG", "SET", "dir", elsewhere.to_str().unwrap()]);
    fill(&mut c, "b", 60);
    c.must(&["SAVE"]);
    fill(&mut c, "c", 90);
    kill_and_expect(server, SPILL, 155);
}

/// With CONFIG SET dir elsewhere the spill is still shortened, by snapshots that recovery finds: no export could end it.
#[test]
fn a_spill_ends_though_saves_go_elsewhere() {
    let Some(launch) = launch(SPILL) else { return };
    let launch = launch.with("enable-protected-configs", "yes").with("auto-aof-rewrite-min-size", "1mb");
    let server = launch.start();
    let mut c = server.connect();
    let elsewhere = server.launch().scratch().join("elsewhere");
    fs::create_dir(&elsewhere).unwrap();
    c.must(&["CONFIG", "SET", "dir", elsewhere.to_str().unwrap()]);
    for _ in 0..10 {
        fill(&mut c, "a", 100); // ten laps of the ring over the same keys
    }
    eventually("the end of the spill", Duration::from_secs(30), || {
        let segments = aof_files(server.data(), ".incr.aof");
        let spilled: u64 = segments.iter().flat_map(fs::metadata).map(|m| m.len()).sum();
        (spilled < 3 << 20 && info(&mut c, "rdb_bgsave_in_progress") == "0").then_some(())
    });
    assert!(server.data().join("dump.rdb").exists() && !elsewhere.join("dump.rdb").exists());
    c.must(&["SAVE"]);
    assert!(elsewhere.join("dump.rdb").exists());
    fill(&mut c, "b", 10);
    kill_and_expect(server, SPILL, 110);
}

/// Pointed elsewhere and back, as for a backup: what goes into the named snapshot's place is a base again.
#[test]
fn a_snapshot_that_is_pointed_elsewhere_and_back_is_a_base() {
    for directives in [LOG, SPILL] {
        let Some(launch) = launch(directives) else { return };
        let server = launch.with("enable-protected-configs", "yes").start();
        let mut c = server.connect();
        fill(&mut c, "a", 5);
        c.must(&["SAVE"]);
        let elsewhere = server.launch().scratch().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        let here = server.data().to_str().unwrap().to_string();
        for (name, there, back) in
            [("dir", elsewhere.to_str().unwrap(), here.as_str()), ("dbfilename", "other.rdb", "dump.rdb")]
        {
            c.must(&["CONFIG", "SET", name, there]);
            c.must(&["CONFIG", "SET", name, back]);
        }
        c.must(&["CONFIG", "SET", "dir", &format!("{here}/.")]);
        fill(&mut c, "b", 60);
        c.must(&["SAVE"]);
        fill(&mut c, "c", 90);
        kill_and_expect(server, directives, 155);
    }
}

/// The spill cannot open its segment: writes are refused in words, reads go on, and when it can they are taken again.
#[test]
fn a_spill_that_cannot_begin_refuses_writes() {
    let Some(launch) = launch(SPILL) else { return };
    let server = launch.start();
    let obstacle = server.data().join("appendonlydir/appendonly.aof.1.incr.aof");
    fs::create_dir_all(&obstacle).unwrap();
    let mut c = server.connect();
    let value = "v".repeat(10_000);
    let mut acked = 0;
    let refusal = eventually("a refusal", Duration::from_secs(20), || {
        match c.try_cmd(&["SET", &format!("a{acked}"), &value]) {
            Ok(Value::Error(why)) => return Some(why),
            Ok(_) => acked += 1,
            Err(_) => c = server.connect(), // its write's fate is unknown
        }
        None
    });
    assert!(refusal.starts_with("MISCONF"), "{refusal}");
    assert_eq!(c.must(&["GET", "a0"]).text(), value);
    fs::remove_dir(&obstacle).unwrap();
    eventually("writes again", Duration::from_secs(20), || {
        (!matches!(c.cmd(&["SET", "healed", "1"]), Value::Error(_))).then_some(())
    });
    let mut server = server;
    server.kill();
    let server = server.restart();
    let mut c = server.connect();
    assert_eq!(c.must(&["GET", "healed"]).text(), "1");
    for n in 0..acked {
        assert_eq!(c.must(&["STRLEN", &format!("a{n}")]).int(), 10_000);
    }
}

/// DEBUG CHANGE-REPL-ID is killed while it writes the base of the new history: the old one is still whole.
#[test]
fn a_new_history_comes_into_force_with_its_base() {
    for directives in [LOG, SPILL] {
        let Some(launch) = launch(directives) else { return };
        let server = launch.start();
        let mut c = server.connect();
        fill(&mut c, "a", 130);
        let old = info(&mut c, "master_replid");
        c.must(&["CONFIG", "SET", "rdb-key-save-delay", "100000"]);
        c.send_raw(&encode(&["DEBUG", "CHANGE-REPL-ID"])).unwrap();
        eventually("the base is being written", Duration::from_secs(20), || {
            let names = fs::read_dir(server.data()).unwrap().flatten();
            names.map(|e| e.file_name().into_string().unwrap()).find(|name| name.starts_with("temp-"))
        });
        let server = kill_and_expect(server, directives, 130);
        let toml = fs::read_to_string(server.data().join("replication.toml")).unwrap();
        assert!(toml.contains(&old), "{toml}");
        let mut c = server.connect();
        eventually("no rewrite is under way", Duration::from_secs(20), || {
            (!c.cmd(&["DEBUG", "CHANGE-REPL-ID"]).is_error()).then_some(())
        });
        let new = info(&mut c, "master_replid");
        fill(&mut c, "b", 130);
        let server = kill_and_expect(server, directives, 260);
        let toml = fs::read_to_string(server.data().join("replication.toml")).unwrap();
        assert!(toml.contains(&new) && !toml.contains(&old), "{toml}");
    }
}

/// Rule 7: with the log off, segments that stand in for it are shortened by a snapshot before any save point is due.
#[test]
fn a_spill_that_grows_is_followed_by_a_snapshot() {
    if !subject_is_ours() {
        return;
    }
    let directives = [
        ("appendonly", "no"),
        ("save", "3600 1000000"),
        ("repl-backlog-size", "64kb"),
        ("auto-aof-rewrite-min-size", "256kb"),
    ];
    let server = Launch::ours(&directives).start();
    let mut c = server.connect();
    for n in 0..200 {
        c.must(&[b"SET".as_slice(), b"k", &noise(n, 10_000)]);
    }
    eventually("a snapshot", Duration::from_secs(20), || (info(&mut c, "rdb_saves") != "0").then_some(()));
    // And by no more than it takes: what was shortened does not count again.
    let settled = eventually("the snapshots to end", Duration::from_secs(20), || {
        let (saves, size) = (info(&mut c, "rdb_saves"), info(&mut c, "rdb_bgsave_in_progress"));
        std::thread::sleep(Duration::from_millis(500));
        (size == "0" && info(&mut c, "rdb_saves") == saves).then_some(saves)
    });
    assert!(settled.parse::<u32>().unwrap() <= 12, "{settled} snapshots for 2 MB");
}

/// A save of a cache is under way when save points come back: it is older than they are, so that another one is due.
#[test]
fn an_older_save_does_not_pass_for_the_base_that_is_due() {
    let Some(launch) = launch(&[("appendonly", "no"), ("save", ""), ("repl-backlog-size", "1mb")]) else {
        return;
    };
    let server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 200);
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "10000"]);
    c.must(&["BGSAVE"]);
    fill(&mut c, "b", 1);
    c.must(&["CONFIG", "SET", "save", "3600 1000000"]);
    fill(&mut c, "b", 150);
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    eventually("the save that is due", Duration::from_secs(30), || {
        (info(&mut c, "rdb_saves") == "2").then_some(())
    });
    fill(&mut c, "c", 10);
    kill_and_expect(server, SPILL, 360);
}

/// Segments cannot be opened: writes are refused when the ring is full of what they were to hold. A log that is asked for
/// then cannot be had either, and that takes nothing away; all is well again when the obstacle is gone.
#[test]
fn a_log_that_cannot_be_had_takes_nothing_away() {
    let Some(launch) = launch(SPILL) else { return };
    let server = launch.start();
    let mut c = server.connect();
    let segments = server.data().join("appendonlydir");
    fs::remove_dir_all(&segments).unwrap();
    fs::write(&segments, "in the way").unwrap();
    let value = "v".repeat(10_000);
    let mut acked = 0;
    while let Ok(Value::Simple(_)) = c.try_cmd(&["SET", &format!("a{acked}"), &value]) {
        acked += 1;
        assert!(acked < 1000, "the ring was overrun");
    }
    let mut c = server.connect(); // the fate of the first write that is not acknowledged is unknown
    for _ in 0..2 {
        let refused = c.cmd(&["CONFIG", "SET", "appendonly", "yes"]).text();
        assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
        assert_eq!(info(&mut c, "aof_enabled"), "0");
    }
    fs::remove_file(&segments).unwrap();
    fs::create_dir(&segments).unwrap();
    eventually("writes are taken again", Duration::from_secs(20), || {
        (c.cmd(&["SET", "healed", &value]) == Value::ok()).then_some(())
    });
    for n in 0..acked {
        c.must(&["RENAME", &format!("a{n}"), &format!("b{n}")]);
    }
    c.must(&["DEL", &format!("a{acked}")]);
    kill_and_expect(server, SPILL, acked + 1);
}

/// A log with a base, then a cache whose ring has moved on, then kept again; killed before the first base of the new log is
/// there: the state of the past is still on disk, and the start comes back to it.
#[test]
fn a_state_of_the_past_stays_until_there_is_a_new_base() {
    for kept in [["save", "3600 1000000"], ["appendonly", "yes"]] {
        let Some(ours) = launch(LOG) else { return };
        let mut server = ours.start();
        let mut c = server.connect();
        fill(&mut c, "a", 10);
        rewrite_aof(&mut c);
        c.must(&["CONFIG", "SET", "save", ""]);
        c.must(&["CONFIG", "SET", "appendonly", "no"]);
        fill(&mut c, "b", 200);
        c.must(&["CONFIG", "SET", "rdb-key-save-delay", "50000"]);
        c.must(&["CONFIG", "SET", kept[0], kept[1]]);
        c.must(&["SET", "x", "1"]);
        server.kill();
        let mut server = server.restart();
        assert_eq!(keys(&server), 10, "{kept:?}");
        fill(&mut server.connect(), "c", 5);
        server.kill();
        assert_eq!(keys(&server.restart()), 15, "{kept:?}");
    }
}

/// The log is switched off while a snapshot waits for it: it was synced when it ended, so the snapshot succeeds, and writes go on.
#[test]
fn a_snapshot_does_not_wait_for_a_log_that_has_ended() {
    let Some(ours) = launch(LOG) else { return };
    let mut server = ours.with("appendfsync", "always").start();
    let mut c = server.connect();
    fill(&mut c, "a", 20);
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
    c.must(&["BGSAVE"]);
    c.must(&["CONFIG", "SET", "appendonly", "no"]);
    eventually("the snapshot's end", Duration::from_secs(20), || {
        (info(&mut c, "rdb_bgsave_in_progress") == "0").then_some(())
    });
    assert_eq!(info(&mut c, "rdb_last_bgsave_status"), "ok");
    fill(&mut c, "a", 20);
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "0"]);
    let end = server.stop();
    assert_eq!(end.code, Some(0), "{end}");
    assert_eq!(keys(&server.restart()), 20);
}

/// The log of a cache begins at the end of the stream and is durable from its first moment: nothing waits for it.
#[test]
fn a_log_that_is_switched_on_holds_up_nobody() {
    let Some(ours) = launch(&[("appendonly", "no"), ("save", ""), ("repl-backlog-size", "1mb")]) else {
        return;
    };
    let server = ours.with("appendfsync", "always").start();
    let mut c = server.connect();
    fill(&mut c, "a", 200);
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    assert_eq!(server.connect().must(&["PING"]).text(), "PONG");
}

/// SIGTERM while the log's first base is written: other servers find all the data in the log.
#[test]
fn a_log_without_base_gets_it_before_the_server_ends() {
    let Some(stock) = stock_tool("redis-server") else { return };
    let Some(ours) = launch(&[("appendonly", "no"), ("save", "3600 1000000"), ("repl-backlog-size", "1mb")])
    else {
        return;
    };
    let mut server = ours.start();
    let mut c = server.connect();
    fill(&mut c, "a", 30);
    c.must(&["SAVE"]);
    c.must(&["CONFIG", "SET", "rdb-key-save-delay", "20000"]);
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    fill(&mut c, "b", 5);
    let end = server.stop();
    assert_eq!(end.code, Some(0), "{end}");
    let other = again(&server, &[("save", ""), ("appendonly", "yes")]).with_program(stock).start();
    assert_eq!(keys(&other), 35);
}

/// The save points go while the log is being switched on, on a slow disk: what is acknowledged is kept by the log that
/// is on its way.
#[test]
fn save_points_that_go_while_the_log_comes_take_nothing_away() {
    let Some(ours) = launch(LOG) else { return };
    let server = ours.start();
    let (mut c, mut other) = (server.connect(), server.connect());
    fill(&mut c, "a", 50);
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", "500000"]);
    c.must(&["SET", "to be synced", "1"]);
    c.send_raw(&encode(&["CONFIG", "SET", "appendonly", "no"])).unwrap();
    other.must(&["MULTI"]);
    other.must(&["CONFIG", "SET", "appendonly", "yes"]);
    other.must(&["CONFIG", "SET", "save", ""]);
    other.must(&["EXEC"]);
    fill(&mut other, "b", 300);
    kill_and_expect(server, LOG, 351);
}

/// A server whose log cannot begin, and what is in its way.
fn obstructed(directives: &[(&str, &str)]) -> Option<(Server, std::path::PathBuf)> {
    let server = launch(directives)?.start();
    let obstacle = server.data().join("appendonlydir/appendonly.aof.1.incr.aof");
    fs::create_dir_all(obstacle.join("in the way")).unwrap();
    Some((server, obstacle))
}

/// Writes until one is refused; so many were acknowledged.
fn overrun(server: &Server) -> i64 {
    let value = "v".repeat(10_000);
    let mut c = server.connect();
    let mut acked = 0;
    eventually("a refusal", Duration::from_secs(20), || {
        match c.try_cmd(&["SET", &format!("a{acked}"), &value]) {
            Ok(Value::Error(_)) => return Some(()),
            Ok(_) => acked += 1,
            Err(_) => c = server.connect(), // its write's fate is unknown
        }
        None
    });
    acked
}

/// Save points are set and taken back where no log can be opened: a cache that keeps nothing refuses nothing.
#[test]
fn what_is_not_kept_is_not_refused() {
    let cache = &[("appendonly", "no"), ("save", ""), ("repl-backlog-size", "1mb")];
    let changes: [&[&[&str]]; 2] = [
        &[&["CONFIG", "SET", "save", "3600 1"], &["CONFIG", "SET", "save", ""]],
        &[&["CONFIG", "SET", "save", "3600 1", "appendonly", "yes"]],
    ];
    for change in changes {
        let Some((server, _)) = obstructed(cache) else { return };
        let mut c = server.connect();
        fill(&mut c, "a", 200);
        for command in change {
            c.cmd(command);
        }
        eventually("writes again", Duration::from_secs(20), || {
            (c.cmd(&["SET", "b", "1"]) == Value::ok()).then_some(())
        });
        fill(&mut c, "a", 200);
    }
}

/// A spill ends when save points go: a cache writes nothing to disk.
#[test]
fn a_spill_ends_with_the_save_points() {
    let Some(launch) = launch(SPILL) else { return };
    let server = launch.start();
    let mut c = server.connect();
    fill(&mut c, "a", 200);
    let len = || -> u64 {
        let segments = aof_files(server.data(), ".incr.aof");
        segments.iter().map(|path| fs::metadata(path).unwrap().len()).sum()
    };
    eventually("the spill", Duration::from_secs(20), || (len() > 1 << 20).then_some(()));
    c.must(&["CONFIG", "SET", "save", ""]);
    fill(&mut c, "b", 600);
    assert!(len() < 4 << 20, "{}", len());
}

/// The spill cannot begin: a save, a smaller ring and a shutdown find an end all the same.
#[test]
fn a_save_stands_in_for_a_spill_that_cannot_begin() {
    let saves: [&[&str]; 3] = [&["BGSAVE"], &["SAVE"], &["SHUTDOWN"]];
    for save in saves {
        let Some((mut server, obstacle)) = obstructed(SPILL) else { return };
        let acked = overrun(&server);
        let mut c = server.connect();
        let refused = c.cmd(&["CONFIG", "SET", "repl-backlog-size", "64kb"]).text();
        assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
        c.send_raw(&encode(save)).unwrap();
        if save == ["SHUTDOWN"] {
            assert_eq!(server.wait(Duration::from_secs(20)).code, Some(0), "{}", server.log());
        } else {
            let mut c = server.connect();
            eventually("writes again", Duration::from_secs(20), || {
                (c.cmd(&["SET", "a0", "1"]) == Value::ok()).then_some(())
            });
        }
        server.kill();
        fs::remove_dir_all(&obstacle).unwrap();
        let kept = keys(&server.restart());
        assert!(kept == acked || kept == acked + 1, "{kept} of {acked}, and one of unknown fate");
    }
}

/// A smaller ring is refused where the log cannot take what it would not hold, and writes go on in the one that is there.
#[test]
fn a_smaller_ring_that_cannot_be_had_costs_nothing() {
    let Some((server, obstacle)) = obstructed(SPILL) else { return };
    let mut c = server.connect();
    fill(&mut c, "a", 50);
    let refused = c.cmd(&["CONFIG", "SET", "repl-backlog-size", "64kb"]).text();
    assert!(refused.starts_with("ERR CONFIG SET failed"), "{refused}");
    eventually("writes again", Duration::from_secs(20), || {
        (c.cmd(&["SET", "b0", "1"]) == Value::ok()).then_some(())
    });
    fill(&mut c, "b", 10);
    fs::remove_dir_all(&obstacle).unwrap();
    kill_and_expect(server, SPILL, 60);
}
