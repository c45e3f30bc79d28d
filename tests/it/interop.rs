//! Files that pass between Ringhold and stock Redis, in both directions, and what Redis' own check tools say of ours.
//!
//! Datasets are compared element by element and by DEBUG DIGEST. Stock is 7.0, so what ours writes must not need RDB 11.
//! Ours digests a sorted set with fractional scores as Redis 7.2 does, which is not what 7.0 makes of the same set: such keys
//! are compared by their elements between the two, and by digest where the same server reads its data back.

use crate::client::{Client, Value};
use crate::compare::{Dataset, assert_same, dataset, digest};
use crate::fill::{fill, fill_streams, noise};
use crate::harness::{
    Launch, Server, aof_files, bgsave, copy_dir, eventually, info, rewrite_aof, run, stock_tool, subject,
    subject_is_ours,
};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// What a server held when it was stopped.
struct Held {
    dataset: Dataset,
    digest: Option<String>,
    /// Of each key by itself, but for sorted sets whose scores Redis 7.0 spells otherwise.
    digests: Vec<String>,
    version: String,
}

impl Held {
    fn of(c: &mut Client) -> Held {
        let dataset = dataset(c);
        let digests = value_digests(c, &dataset);
        Held { dataset, digest: digest(c), digests, version: info(c, "redis_version") }
    }

    /// The digest of the whole only between servers that spell scores alike: Redis up to 7.0 digests the text of a
    /// score with 17 digits, later ones the shortest text.
    fn assert_in(&self, c: &mut Client) {
        let other = Held::of(c);
        assert_same(&self.dataset, &other.dataset);
        assert_eq!(self.digests, other.digests, "DEBUG DIGEST-VALUE, though every element is equal");
        if self.digest.is_some() && other.digest.is_some() && self.version == other.version {
            assert_eq!(self.digest, other.digest, "DEBUG DIGEST, though every element is equal");
        }
    }
}

/// Database, name and DEBUG DIGEST-VALUE of each key whose digest does not depend on how scores are spelt.
fn value_digests(c: &mut Client, dataset: &Dataset) -> Vec<String> {
    let alike = |score: &Value| {
        let score: f64 = score.text().parse().unwrap();
        score.is_infinite() || (score.fract() == 0.0 && score.abs() < 1e17)
    };
    let mut found = Vec::new();
    for ((db, key), (kind, _, elements)) in dataset {
        if kind != "zset" || elements.iter().skip(1).step_by(2).all(alike) {
            c.must(&["SELECT", &db.to_string()]);
            let digest = c.must(&[b"DEBUG".as_slice(), b"DIGEST-VALUE", key]).items().remove(0).text();
            found.push(format!("db {db} {:?} {digest}", key.escape_ascii().to_string()));
        }
    }
    c.must(&["SELECT", "0"]);
    found
}

/// Stops `server` and starts `next` over a copy of the named file or folder.
fn hand_over(mut server: Server, what: &str, next: Launch) -> Server {
    let end = server.stop();
    assert_eq!(end.code, Some(0), "{end}");
    let (from, to) = (server.data().join(what), next.data().join(what));
    if from.is_dir() {
        copy_dir(&from, &to);
    } else {
        fs::copy(&from, &to).unwrap_or_else(|e| panic!("{}: {e}", from.display()));
    }
    next.start()
}

#[test]
fn a_stock_rdb_loads_here_and_goes_back_with_its_streams() {
    let Some(stock) = Launch::stock(&[("appendonly", "no")]) else { return };
    let theirs = stock.start();
    let mut c = theirs.connect();
    fill(&mut c);
    fill_streams(&mut c);
    c.must(&["FUNCTION", "LOAD", "#!lua name=lib\nredis.register_function('f', function() return 1 end)"]);
    let held = Held::of(&mut c);
    c.must(&["SAVE"]);

    let ours = hand_over(theirs, "dump.rdb", Launch::ours(&[("appendonly", "no")]));
    let mut c = ours.connect();
    assert_eq!(c.must(&["DBSIZE"]).int() as usize, held.dataset.keys().filter(|k| k.0 == 0).count());
    assert_eq!(c.must(&["TYPE", "stream:many"]).text(), "stream");
    assert_eq!(bgsave(&mut c), "ok");
    check_rdb(&ours.data().join("dump.rdb"));

    let back = hand_over(ours, "dump.rdb", Launch::stock(&[("appendonly", "no")]).unwrap());
    let mut c = back.connect();
    held.assert_in(&mut c);
    assert!(c.must(&["XINFO", "STREAM", "stream:many", "FULL"]).items().len() > 10);
    assert_eq!(c.must(&["XPENDING", "stream:many", "group"]).items()[0].int(), 5);
    assert_eq!(c.must(&["FCALL", "f", "0"]).int(), 1);
}

#[test]
fn our_rdb_loads_in_stock() {
    let Some(stock) = Launch::stock(&[("appendonly", "no")]) else { return };
    for (compression, checksum) in [("yes", "yes"), ("no", "yes"), ("yes", "no")] {
        let directives = [("appendonly", "no"), ("rdbcompression", compression), ("rdbchecksum", checksum)];
        let ours = Launch::ours(&directives).start();
        let mut c = ours.connect();
        fill(&mut c);
        let held = Held::of(&mut c);
        c.must(&["SAVE"]);
        check_rdb(&ours.data().join("dump.rdb"));
        let theirs = hand_over(ours, "dump.rdb", Launch::stock(&[("appendonly", "no")]).unwrap());
        held.assert_in(&mut theirs.connect());
    }
    drop(stock);
}

/// Writes that follow the dataset.
type Filler = fn(&mut Client);

/// How an AOF came about before it is handed over.
struct AofCase {
    name: &'static str,
    directives: &'static [(&'static str, &'static str)],
    more: Filler,
    killed: bool,
}

const AOF_CASES: &[AofCase] = &[
    AofCase { name: "commands only", directives: &[], more: |_| (), killed: false },
    AofCase { name: "rewritten", directives: &[], more: rewrite_aof, killed: false },
    AofCase {
        name: "without preamble",
        directives: &[("aof-use-rdb-preamble", "no")],
        more: rewrite_aof,
        killed: false,
    },
    AofCase {
        name: "without preamble, with timestamps, killed",
        directives: &[("aof-use-rdb-preamble", "no"), ("aof-timestamp-enabled", "yes")],
        more: |c| {
            rewrite_aof(c);
            rotated_in_db_3(c);
        },
        killed: true,
    },
    AofCase {
        name: "timestamps",
        directives: &[("aof-timestamp-enabled", "yes")],
        more: counters,
        killed: false,
    },
    AofCase { name: "a transaction over many marks", directives: &[], more: long_transaction, killed: false },
    AofCase { name: "rotated in database 3", directives: &[], more: rotated_in_db_3, killed: false },
    AofCase { name: "always", directives: &[("appendfsync", "always")], more: counters, killed: false },
    AofCase { name: "no fsync", directives: &[("appendfsync", "no")], more: counters, killed: false },
    AofCase { name: "killed", directives: &[], more: long_transaction, killed: true },
    AofCase { name: "rotated in database 3, killed", directives: &[], more: rotated_in_db_3, killed: true },
    AofCase {
        name: "small ring, killed",
        directives: &[("repl-backlog-size", "1mb")],
        more: long_transaction,
        killed: true,
    },
];

#[test]
fn our_aof_loads_in_stock_and_its_tools_call_it_sound() {
    if stock_tool("redis-server").is_none() {
        return;
    }
    for case in AOF_CASES {
        println!("case: {}", case.name);
        let mut ours = Launch::ours(&[("appendonly", "yes")]);
        for (name, value) in case.directives {
            ours = ours.with(name, value);
        }
        let mut ours = ours.start();
        let mut c = ours.connect();
        fill(&mut c);
        (case.more)(&mut c);
        if case.killed {
            ours.kill();
            ours = ours.restart();
            c = ours.connect();
            c.must(&["SET", "after the crash", "1"]);
        }
        let held = Held::of(&mut c);
        let end = ours.stop();
        assert_eq!(end.code, Some(0), "{end}");
        check_aof(ours.data());
        if case.directives.contains(&("aof-use-rdb-preamble", "no")) && subject_is_ours() {
            assert_eq!(aof_files(ours.data(), ".base.aof").len(), 1, "{}", case.name);
        }
        let theirs = Launch::stock(&[("appendonly", "yes")]).unwrap();
        copy_dir(&ours.data().join("appendonlydir"), &theirs.data().join("appendonlydir"));
        held.assert_in(&mut theirs.start().connect());
        held.assert_in(&mut ours.restart().connect());
    }
}

#[test]
fn a_stock_aof_loads_here() {
    let cases: [(&str, Filler); 4] = [
        ("commands only", |_| ()),
        ("rewritten, with more behind", |c| {
            rewrite_aof(c);
            counters(c);
        }),
        ("rotated in database 3", rotated_in_db_3),
        ("a long transaction", long_transaction),
    ];
    for (name, more) in cases {
        for preamble in ["yes", "no"] {
            println!("case: {name}, preamble {preamble}");
            let directives = [("appendonly", "yes"), ("aof-use-rdb-preamble", preamble)];
            let Some(stock) = Launch::stock(&directives) else { return };
            let theirs = stock.start();
            let mut c = theirs.connect();
            fill(&mut c);
            more(&mut c);
            let held = Held::of(&mut c);
            let ours = hand_over(theirs, "appendonlydir", Launch::ours(&[("appendonly", "yes")]));
            held.assert_in(&mut ours.connect());
            let ours = ours.restart();
            held.assert_in(&mut ours.connect());
        }
    }
}

#[test]
fn an_old_single_file_aof_is_taken_over() {
    let launch = Launch::ours(&[("appendonly", "yes")]);
    let mut text = crate::client::encode(&["SELECT", "0"]);
    for i in 0..100 {
        text.extend(crate::client::encode(&["RPUSH", "list", &i.to_string()]));
    }
    fs::write(launch.data().join("appendonly.aof"), text).unwrap();
    let server = launch.start();
    assert_eq!(server.connect().must(&["LLEN", "list"]).int(), 100);
    server.connect().must(&["RPUSH", "list", "new"]);
    let server = server.restart();
    assert_eq!(server.connect().must(&["LLEN", "list"]).int(), 101);
    assert!(!aof_files(server.data(), ".manifest").is_empty());
}

#[test]
fn a_directory_that_stock_wrote_to_since_is_loaded_whole() {
    if stock_tool("redis-server").is_none() || !subject_is_ours() {
        return;
    }
    let mut ours = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = ours.connect();
    fill(&mut c);
    counters(&mut c);
    let before = info(&mut c, "master_replid");
    ours.stop();
    let stock = ours.launch().clone().with_program(stock_tool("redis-server").unwrap());
    let mut theirs = stock.start();
    let mut c = theirs.connect();
    for i in 0..500 {
        c.must(&["RPUSH", "theirs", &i.to_string()]);
    }
    let held = Held::of(&mut c);
    theirs.stop();
    let ours = ours.restart();
    let mut c = ours.connect();
    held.assert_in(&mut c);
    assert_ne!(info(&mut c, "master_replid"), before, "another server's writes end the history");
    assert_eq!(info(&mut c, "master_replid2"), "0".repeat(40), "a new history has no lineage");
}

#[test]
fn a_dump_put_in_place_by_the_operator_is_what_gets_loaded() {
    let donor = Launch::ours(&[("appendonly", "no")]).start();
    donor.connect().must(&["SET", "restored", "yes"]);
    donor.connect().must(&["SAVE"]);
    let mut server = Launch::ours(&[("appendonly", "no"), ("save", "3600 1")]).start();
    server.connect().must(&["SET", "lost", "yes"]);
    server.stop();
    fs::copy(donor.data().join("dump.rdb"), server.data().join("dump.rdb")).unwrap();
    let server = server.restart();
    assert_eq!(server.connect().must(&["GET", "restored"]).text(), "yes");
    assert_eq!(server.connect().must(&["EXISTS", "lost"]).int(), 0);
}

#[test]
fn a_lone_dump_is_loaded_when_the_aof_is_switched_on() {
    if !subject_is_ours() {
        return; // stock starts empty here
    }
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    fill(&mut c);
    c.must(&["SAVE"]);
    let held = Held::of(&mut c);
    let server = hand_over(server, "dump.rdb", Launch::ours(&[("appendonly", "yes")]));
    held.assert_in(&mut server.connect());
}

/// The log that begins over a stock snapshot needs it until it has a base of its own: a clean stop before that writes one.
#[test]
fn a_log_over_a_lone_dump_is_handed_back_whole() {
    let Some(stock) = Launch::stock(&[("appendonly", "no")]) else { return };
    if !subject_is_ours() {
        return;
    }
    let theirs = stock.start();
    let mut c = theirs.connect();
    fill(&mut c);
    c.must(&["SAVE"]);
    let ours = hand_over(theirs, "dump.rdb", Launch::ours(&[("appendonly", "yes"), ("hz", "1")]));
    let mut c = ours.connect();
    c.must(&["SET", "since", "1"]);
    let held = Held::of(&mut c);
    let theirs = hand_over(ours, "appendonlydir", Launch::stock(&[("appendonly", "yes")]).unwrap());
    held.assert_in(&mut theirs.connect());
}

#[test]
fn the_ordinary_client_and_redis_cli_work() {
    let server = Launch::ours(&[]).start();
    let mut connection = server.redis();
    let replies: (String, i64, Vec<String>) = redis::pipe()
        .atomic()
        .set("a", "1")
        .ignore()
        .get("a")
        .incr("a", 41)
        .cmd("LPUSH")
        .arg("l")
        .arg(&["x", "y"])
        .ignore()
        .lrange("l", 0, -1)
        .query(&mut connection)
        .unwrap();
    assert_eq!(replies, ("1".to_string(), 42, vec!["y".to_string(), "x".to_string()]));
    let Some(cli) = stock_tool("redis-cli") else { return };
    let port = server.port().to_string();
    for (args, expected) in [
        (&["GET", "a"][..], "42\n"),
        (&["-3", "HGETALL", "none"], "\n"),
        (&["--scan", "--pattern", "[al]"], "a\nl\n"),
    ] {
        let words: Vec<&std::ffi::OsStr> =
            ["-p", &port].into_iter().chain(args.iter().copied()).map(AsRef::as_ref).collect();
        let (code, said) = run(&cli, &words);
        let mut lines: Vec<&str> = said.lines().collect();
        lines.sort();
        assert_eq!((code, lines.join("\n") + "\n"), (Some(0), expected.to_string()), "{args:?}");
    }
}

// ---- ways to fill an AOF ----

fn counters(c: &mut Client) {
    for i in 0..2000 {
        c.must(&["INCR", "counter"]);
        c.must(&["RPUSH", "pushed", &i.to_string()]);
    }
    c.must(&["SPOP", "set:many-ints", "100"]);
    c.must(&["INCRBYFLOAT", "float", "3.14159"]);
    c.must(&["EXPIRE", "pushed", "100000"]);
}

/// One unit of about a megabyte: many marks would be due inside.
fn long_transaction(c: &mut Client) {
    c.must(&["MULTI"]);
    for i in 0..64 {
        c.must(&[b"SET".to_vec(), format!("multi:{i}").into_bytes(), noise(i, 16_000)]);
        c.must(&["SELECT", if i % 2 == 0 { "3" } else { "0" }]);
    }
    c.must(&["EXEC"]);
    c.must(&["SELECT", "0"]);
    counters(c);
}

fn rotated_in_db_3(c: &mut Client) {
    c.must(&["SELECT", "3"]);
    c.must(&["SET", "before", "rotation"]);
    rewrite_aof(c);
    c.must(&["SET", "after", "rotation"]);
    rewrite_aof(c);
    rewrite_aof(c);
    for i in 0..100 {
        c.must(&["RPUSH", "behind", &i.to_string()]);
    }
    c.must(&["SELECT", "0"]);
    c.must(&["SET", "back in", "0"]);
}

// ---- Redis' check tools ----

fn check_rdb(file: &Path) {
    let Some(tool) = stock_tool("redis-check-rdb") else { return };
    let (code, said) = run(&tool, &[file.as_ref()]);
    assert!(code == Some(0) && said.contains("RDB looks OK"), "{code:?} {said}");
}

/// The manifest and each file by itself.
fn check_aof(data: &Path) {
    let Some(tool) = stock_tool("redis-check-aof") else { return };
    for ending in [".manifest", ".incr.aof", ".base.aof"] {
        for file in aof_files(data, ending) {
            let (code, said) = run(&tool, &[file.as_ref()]);
            assert_eq!(code, Some(0), "{}: {said}", file.display());
        }
    }
    for file in aof_files(data, ".base.rdb") {
        check_rdb(&file);
    }
    let manifests = aof_files(data, ".manifest");
    assert_eq!(manifests.len(), 1, "one manifest");
    eventually("no temporary file is left", Duration::from_secs(5), || {
        aof_files(data, ".tmp").is_empty().then_some(())
    });
}

/// Redis with its log on and save points leaves a log and a snapshot. The log is what it loads, and what we take over; the
/// snapshot beside it must not come back as a restore when the first run of ours is killed.
#[test]
fn a_snapshot_beside_the_log_that_was_taken_over_stays_out_of_the_way() {
    if !subject_is_ours() {
        return;
    }
    for killed in [true, false] {
        let Some(launch) = Launch::stock(&[("appendonly", "yes"), ("save", "3600 1")]) else { return };
        let mut stock = launch.start();
        let mut c = stock.connect();
        c.must(&["SET", "a", "1"]);
        c.must(&["SAVE"]);
        c.must(&["SET", "b", "2"]);
        stock.stop();
        let mut server = stock.launch().clone().with_program(subject()).start();
        let mut c = server.connect();
        assert_eq!(c.must(&["DBSIZE"]).int(), 2);
        c.must(&["SET", "c", "3"]);
        if killed {
            server.kill();
        }
        let (_server, mut c) = server.restart_and_connect();
        assert_eq!(c.must(&["DBSIZE"]).int(), 3, "killed: {killed}");
    }
}

/// A start that fails leaves the directory as it found it: with what made it fail taken away, everything is there.
#[test]
fn a_start_that_fails_moves_nothing() {
    if !subject_is_ours() {
        return;
    }
    let few = [("databases", "4"), ("repl-backlog-size", "64kb")];
    let mut server = Launch::ours(&few).start();
    let mut c = server.connect();
    for n in 0..200 {
        c.must(&["SET".to_string(), format!("k{n}"), "v".repeat(1000)]);
    }
    server.kill();
    let other = Launch::ours(&[("appendonly", "no")]).start();
    let mut o = other.connect();
    o.must(&["SELECT", "12"]);
    o.must(&["SET", "q", "1"]);
    o.must(&["SAVE"]);
    let restored = server.data().join("dump.rdb");
    fs::copy(other.data().join("dump.rdb"), &restored).unwrap();
    let names = || {
        let mut names: Vec<_> =
            fs::read_dir(server.data()).unwrap().map(|e| e.unwrap().file_name()).collect();
        names.sort();
        names
    };
    let before = names();
    let end = server.launch().start_failing();
    assert!(end.said().contains("dump.rdb"), "{end}");
    assert_eq!(names(), before);
    fs::remove_file(&restored).unwrap();
    let (_server, mut c) = server.restart_and_connect();
    assert_eq!(c.must(&["DBSIZE"]).int(), 200);
}
