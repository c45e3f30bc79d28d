//! `kill -9` under load, again and again: nothing acknowledged is lost, nothing is half there, and the position that
//! the server reports afterwards is true (promises P1 and P2).
//!
//! Independent writers each keep two numbers, what was *sent* and what was *acknowledged*; after a crash the server
//! must show something between the two. Each writer has its own kind of write ([`KINDS`]), so that a lost tail, a
//! doubled replay and a torn transaction are told apart. A watcher samples INFO meanwhile: a process crash loses
//! nothing that was produced, so the recovered offset may not lie below the last sample, nor the lineage lose a name.
//!
//! Three rounds for each combination by default; `RINGHOLD_CRASH_ROUNDS=50` for the long form. With
//! `RINGHOLD_CRASH_KEEP=FOLDER` each test keeps there its data directory as the last crash left it, to
//! look into a failure.

use crate::client::{Client, Value};
use crate::harness::{Launch, Server, copy_dir, info, subject_is_ours};
use std::fs;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// One way to write, and how to find out how far it came.
struct Kind {
    name: &'static str,
    /// Sends write number `n` (counted from 1) of writer `id` and waits for the acknowledgement.
    write: fn(&mut Client, id: u64, n: u64) -> std::io::Result<Value>,
    /// The number of the last write that is there; panics at anything partial.
    read: fn(&mut Client, id: u64) -> u64,
}

const KINDS: &[Kind] = &[
    Kind { name: "SET", write: write_set, read: read_set },
    Kind { name: "INCR", write: write_incr, read: read_set },
    Kind { name: "RPUSH", write: write_push, read: read_pushed },
    Kind { name: "MULTI", write: write_multi, read: read_multi },
    Kind { name: "big SET", write: write_big, read: read_big },
];

/// What one writer knows.
struct Writer {
    id: u64,
    kind: &'static Kind,
    sent: AtomicU64,
    acked: AtomicU64,
}

/// What INFO said last before the crash.
#[derive(Clone, Debug, Default)]
struct Sample {
    replid: String,
    offset: u64,
}

#[test]
fn aof_off_ring_64_mib() {
    crash_rounds(&[("appendonly", "no"), ("save", "3600 1 300 100 60 10000"), ("repl-backlog-size", "64mb")]);
}

#[test]
fn aof_off_ring_1_mib() {
    crash_rounds(&[("appendonly", "no"), ("save", "3600 1 300 100 60 10000"), ("repl-backlog-size", "1mb")]);
}

#[test]
fn everysec_ring_64_mib() {
    crash_rounds(&[("appendonly", "yes"), ("appendfsync", "everysec"), ("repl-backlog-size", "64mb")]);
}

#[test]
fn everysec_ring_1_mib() {
    crash_rounds(&[("appendonly", "yes"), ("appendfsync", "everysec"), ("repl-backlog-size", "1mb")]);
}

#[test]
fn always_ring_64_mib() {
    crash_rounds(&[("appendonly", "yes"), ("appendfsync", "always"), ("repl-backlog-size", "64mb")]);
}

#[test]
fn always_ring_1_mib() {
    crash_rounds(&[("appendonly", "yes"), ("appendfsync", "always"), ("repl-backlog-size", "1mb")]);
}

/// The page cache outlives the process, so even a sync that takes five seconds may lose nothing; nor does anybody wait for it.
#[test]
fn a_slow_disk_loses_nothing_everysec() {
    let directives = [("appendonly", "yes"), ("appendfsync", "everysec"), ("repl-backlog-size", "1mb")];
    slow_disk(&directives, SLOW_SYNC + Duration::from_secs(3), Some(ping));
}

/// At the ring's first lap the spill begins, which takes several syncs; no client is read from until it has (rule 6).
#[test]
fn a_slow_disk_loses_nothing_with_the_log_off() {
    let directives = [("appendonly", "no"), ("save", "3600 1"), ("repl-backlog-size", "1mb")];
    slow_disk(&directives, SLOW_SYNC, None);
    slow_disk(&directives, 4 * SLOW_SYNC, None);
}

/// Every reply waits for its sync.
#[test]
fn a_slow_disk_loses_nothing_always() {
    let directives = [("appendonly", "yes"), ("appendfsync", "always"), ("repl-backlog-size", "1mb")];
    slow_disk(&directives, SLOW_SYNC + Duration::from_secs(3), None);
}

const SLOW_SYNC: Duration = Duration::from_secs(5);

fn slow_disk(directives: &[(&str, &str)], load: Duration, disturb: Option<fn(u16)>) {
    if !subject_is_ours() {
        return;
    }
    // A rewrite opens a segment, and what waits for that waits for its syncs.
    let server = Launch::ours(directives).with("auto-aof-rewrite-percentage", "0").start();
    let mut c = server.connect();
    c.must(&["SET", "before", "1"]);
    c.must(&["DEBUG", "AOF-FLUSH-SLEEP", &SLOW_SYNC.as_micros().to_string()]);
    let writers = writers();
    let server = crash(server, &writers, 1, load, disturb);
    assert_eq!(server.connect().must(&["GET", "before"]).text(), "1");
    assert!(load <= SLOW_SYNC || acknowledged(&writers) > 0, "{load:?} and no write");
}

/// Until the connection breaks: no answer takes as long as a sync.
fn ping(port: u16) {
    let Ok(mut c) = Client::connect(port) else { return };
    loop {
        let asked = Instant::now();
        if c.try_cmd(&["PING"]).is_err() {
            return;
        }
        assert!(asked.elapsed() < SLOW_SYNC / 2, "PING took {:?}", asked.elapsed());
        thread::sleep(Duration::from_millis(10));
    }
}

/// Rule 9: another size for the ring, up and down, all through the load.
#[test]
fn everysec_ring_that_changes_its_size() {
    resizing_rounds(&[("appendonly", "yes"), ("appendfsync", "everysec"), ("repl-backlog-size", "1mb")]);
}

#[test]
fn aof_off_ring_that_changes_its_size() {
    resizing_rounds(&[("appendonly", "no"), ("save", "3600 1"), ("repl-backlog-size", "1mb")]);
}

fn resizing_rounds(directives: &[(&str, &str)]) {
    if subject_is_ours() {
        run_rounds(Launch::ours(directives).start(), rounds(), Duration::from_millis(700), Some(resize));
    }
}

/// Until the connection breaks.
fn resize(port: u16) {
    let Ok(mut c) = Client::connect(port) else { return };
    for size in ["16mb", "64kb", "3mb", "1mb", "128mb", "16kb"].iter().cycle() {
        match c.try_cmd(&["CONFIG", "SET", "repl-backlog-size", size]) {
            Ok(reply) => assert_eq!(reply, Value::ok()),
            Err(_) => return,
        }
    }
}

/// Writes that are acknowledged before each kill.
const LEAST: u64 = 50;

fn crash_rounds(directives: &[(&str, &str)]) {
    if directives.contains(&("appendonly", "no")) && !subject_is_ours() {
        return; // stock promises nothing here
    }
    run_rounds(Launch::ours(directives).start(), rounds(), Duration::from_millis(700), None);
}

fn rounds() -> u64 {
    std::env::var("RINGHOLD_CRASH_ROUNDS").ok().and_then(|v| v.parse().ok()).unwrap_or(3)
}

/// `disturb`: what else a client at this port does meanwhile.
fn run_rounds(mut server: Server, rounds: u64, load: Duration, disturb: Option<fn(u16)>) {
    let writers = writers();
    for round in 1..=rounds {
        // A different instant each time, so that the kill meets different states.
        let load = load + Duration::from_millis((round * 137) % 400);
        server = crash(server, &writers, round, load, disturb);
    }
    let total = acknowledged(&writers);
    assert!(total >= LEAST * rounds, "only {total} writes in {rounds} rounds prove little");
}

fn writers() -> Vec<Writer> {
    let writer = |id| Writer {
        id,
        kind: &KINDS[id as usize % KINDS.len()],
        sent: AtomicU64::new(0),
        acked: AtomicU64::new(0),
    };
    (0..2 * KINDS.len() as u64).map(writer).collect()
}

fn acknowledged(writers: &[Writer]) -> u64 {
    writers.iter().map(|w| w.acked.load(Ordering::SeqCst)).sum()
}

/// Load, `kill -9` under it, a start, and whether everything is there.
fn crash(
    mut server: Server,
    writers: &[Writer],
    round: u64,
    load: Duration,
    disturb: Option<fn(u16)>,
) -> Server {
    let last = load_and_kill(&mut server, writers, load, disturb);
    let acked = acknowledged(writers);
    keep_evidence(&server);
    let server = server.restart();
    let mut c = server.connect();
    println!("round {round}: {acked} acknowledged, last seen {}:{}", last.replid, last.offset);
    for writer in writers {
        verify(&mut c, writer, round);
    }
    if subject_is_ours() {
        verify_position(&mut c, &server, &last);
    }
    server
}

fn keep_evidence(server: &Server) {
    let Some(folder) = std::env::var_os("RINGHOLD_CRASH_KEEP") else { return };
    let kept = PathBuf::from(folder).join(thread::current().name().unwrap_or("crash"));
    fs::remove_dir_all(&kept).ok();
    copy_dir(server.data(), &kept);
}

/// Runs all writers and the watcher, kills the server while they run, and returns the last sample.
fn load_and_kill(
    server: &mut Server,
    writers: &[Writer],
    load: Duration,
    disturb: Option<fn(u16)>,
) -> Sample {
    let sample = Mutex::new(Sample::default());
    let stop = AtomicBool::new(false);
    let (port, before, began) = (server.port(), acknowledged(writers), Instant::now());
    thread::scope(|scope| {
        for writer in writers {
            scope.spawn(|| writer.run(port));
        }
        scope.spawn(|| watch(port, &sample, &stop));
        if let Some(disturb) = disturb {
            scope.spawn(move || disturb(port));
        }
        thread::sleep(load);
        while acknowledged(writers) < before + LEAST && began.elapsed() < Duration::from_secs(30) {
            thread::sleep(Duration::from_millis(10)); // a slow machine
        }
        server.kill();
        stop.store(true, Ordering::SeqCst);
    });
    sample.into_inner().unwrap_or_default()
}

impl Writer {
    /// Until the connection breaks; an error reply to a write is a failure.
    fn run(&self, port: u16) {
        let Ok(mut c) = Client::connect(port) else { return };
        loop {
            let n = self.sent.load(Ordering::SeqCst) + 1;
            self.sent.store(n, Ordering::SeqCst);
            match (self.kind.write)(&mut c, self.id, n) {
                Ok(Value::Error(why)) => panic!("{} {n}: {why}", self.kind.name),
                Ok(_) => self.acked.store(n, Ordering::SeqCst),
                Err(_) => return,
            }
        }
    }
}

fn watch(port: u16, sample: &Mutex<Sample>, stop: &AtomicBool) {
    let Ok(mut c) = Client::connect(port) else { return };
    while !stop.load(Ordering::SeqCst) {
        let Ok(reply) = c.try_cmd(&["INFO", "replication"]) else { return };
        let text = reply.text();
        let field = |name: &str| text.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':'));
        let offset = field("master_repl_offset").and_then(|v| v.parse().ok()).unwrap_or(0);
        let replid = field("master_replid").unwrap_or_default().to_string();
        if let Ok(mut sample) = sample.lock() {
            assert!(offset >= sample.offset, "the offset went back from {} to {offset}", sample.offset);
            *sample = Sample { replid, offset };
        }
        thread::sleep(Duration::from_millis(5));
    }
}

/// Between acknowledged and sent; what is there becomes the new start of counting.
fn verify(c: &mut Client, writer: &Writer, round: u64) {
    let (acked, sent) = (writer.acked.load(Ordering::SeqCst), writer.sent.load(Ordering::SeqCst));
    let there = (writer.kind.read)(c, writer.id);
    let name = writer.kind.name;
    assert!(there >= acked, "round {round}, {name}: {acked} acknowledged, {there} there");
    assert!(there <= sent, "round {round}, {name}: {sent} sent, {there} there");
    writer.sent.store(there, Ordering::SeqCst);
    writer.acked.store(there, Ordering::SeqCst);
}

/// The recovered position continues the history that was seen, and INFO and start log agree about it.
fn verify_position(c: &mut Client, server: &Server, last: &Sample) {
    let field = |c: &mut Client, name: &str| info(c, name);
    let offset: u64 = field(c, "master_repl_offset").parse().unwrap_or(0);
    assert!(offset >= last.offset, "recovered to {offset}, though {} was reached", last.offset);
    // On a loaded machine the kill may come before the first look at the position.
    if !last.replid.is_empty() {
        assert_eq!(field(c, "master_replid2"), last.replid, "the earlier name stays in the lineage");
    }
    assert_ne!(field(c, "master_replid"), last.replid, "a start takes a new name");
    // Redis' field is the first offset that is no longer valid under the second id, counted from one.
    assert_eq!(field(c, "second_repl_offset"), (offset + 1).to_string());
    assert!(server.log().contains(&offset.to_string()), "the start log does not name offset {offset}");
}

// ---- the kinds of write ----

fn write_set(c: &mut Client, id: u64, n: u64) -> std::io::Result<Value> {
    c.try_cmd(&["SET".to_string(), format!("n:{id}"), n.to_string()])
}

fn write_incr(c: &mut Client, id: u64, _n: u64) -> std::io::Result<Value> {
    c.try_cmd(&["INCR".to_string(), format!("n:{id}")])
}

fn read_set(c: &mut Client, id: u64) -> u64 {
    match c.must(&["GET".to_string(), format!("n:{id}")]) {
        Value::Nil => 0,
        value => value.int() as u64,
    }
}

fn write_push(c: &mut Client, id: u64, n: u64) -> std::io::Result<Value> {
    c.try_cmd(&["RPUSH".to_string(), format!("list:{id}"), n.to_string()])
}

fn read_pushed(c: &mut Client, id: u64) -> u64 {
    let items = c.must(&["LRANGE".to_string(), format!("list:{id}"), "0".into(), "-1".into()]).items();
    for (i, item) in items.iter().enumerate() {
        assert_eq!(item.text(), (i + 1).to_string(), "list:{id} holds each number once, in order");
    }
    items.len() as u64
}

/// In database `id`, over two keys and a counter: all three or none.
fn write_multi(c: &mut Client, id: u64, n: u64) -> std::io::Result<Value> {
    let (db, number) = ((id % 16).to_string(), n.to_string());
    let padding = "x".repeat((n % 50) as usize * 20);
    let commands: [&[&str]; 7] = [
        &["SELECT", &db],
        &["MULTI"],
        &["SET", "a", &number],
        &["SET", "padding", &padding],
        &["INCR", "counter"],
        &["SET", "b", &number],
        &["EXEC"],
    ];
    c.send_raw(&commands.iter().flat_map(|command| crate::client::encode(command)).collect::<Vec<u8>>())?;
    let mut last = Value::Nil;
    for _ in commands {
        last = c.read_value()?;
    }
    Ok(last)
}

fn read_multi(c: &mut Client, id: u64) -> u64 {
    c.must(&["SELECT", &(id % 16).to_string()]);
    let values = c.must(&["MGET", "a", "b", "counter"]).items();
    c.must(&["SELECT", "0"]);
    assert!(values[0] == values[1] && values[1] == values[2], "a transaction is torn: {values:?}");
    if values[0] == Value::Nil { 0 } else { values[0].int() as u64 }
}

/// 64 KiB to 8 MiB, self-describing: the number, then a byte that depends on it.
fn write_big(c: &mut Client, id: u64, n: u64) -> std::io::Result<Value> {
    c.try_cmd(&[b"SET".to_vec(), format!("big:{id}").into_bytes(), big_value(id, n)])
}

fn read_big(c: &mut Client, id: u64) -> u64 {
    match c.must(&["GET".to_string(), format!("big:{id}")]) {
        Value::Bulk(bytes) => {
            let n = String::from_utf8_lossy(&bytes[..20]).trim_start_matches('0').parse().unwrap_or(0);
            assert!(bytes == big_value(id, n), "big:{id} is not wholly value {n}");
            n
        }
        _ => 0,
    }
}

fn big_value(id: u64, n: u64) -> Vec<u8> {
    let len = (64 * 1024) << ((n + id) % 8);
    let mut value = format!("{n:020}").into_bytes();
    value.resize(len, b'a' + (n % 26) as u8);
    value
}
