//! Damaged files, hostile clients, full disks: each ends in a clear error, exit code or reply, with nothing lost that
//! was there, and never in a panic.

use crate::client::{Client, Value, encode};
use crate::fill::noise;
use crate::harness::{
    Launch, START_LIMIT, Server, aof_files, eventually, info, rewrite_aof, stock_tool, subject_is_ours,
};
use rustix::process::{Resource, Rlimit, geteuid, getrlimit, setrlimit};
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

// ---- damaged files ----

/// A way to spoil a file of `len` bytes.
type Damage = (&'static str, fn(&mut Vec<u8>));

const DAMAGES: &[Damage] = &[
    ("none", |_| {}),
    ("empty", |b| b.clear()),
    ("cut by one byte", |b| b.truncate(b.len().saturating_sub(1))),
    ("cut in half", |b| b.truncate(b.len() / 2)),
    ("cut to ten bytes", |b| b.truncate(10)),
    ("one bit flipped near the start", |b| flip(b, |_| 12)),
    ("one bit flipped in the middle", |b| flip(b, |len| len / 2)),
    ("one bit flipped at the end", |b| flip(b, |len| len.saturating_sub(3))),
    ("4 KiB of zeros in the middle", |b| {
        let (from, to) = (b.len() / 2, (b.len() / 2 + 4096).min(b.len()));
        b[from..to].fill(0);
    }),
    ("all zeros", |b| b.fill(0)),
    ("noise", |b| *b = noise(7, b.len())),
    ("noise behind it", |b| b.extend(noise(8, 3000))),
];

fn flip(bytes: &mut [u8], place: fn(usize) -> usize) {
    let at = place(bytes.len());
    if let Some(byte) = bytes.get_mut(at) {
        *byte ^= 0x10;
    }
}

/// What may come of a damaged file.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Allowed {
    /// Refuse by name, or come up with everything (another file may hold the same bytes).
    RefuseOrWhole,
    /// As before, or with a prefix of what was written: damage that cannot be told from a torn tail.
    RefuseOrPrefix,
    /// As before, but nothing proves the bytes: a flipped bit may have made another value of one.
    Unproven,
    /// Come up with everything: the file is a cache of others.
    Whole,
    /// Another server's is obeyed, as an operator's restore (rule 15).
    Restored,
}
use Allowed::{RefuseOrPrefix, RefuseOrWhole, Restored, Unproven, Whole};

struct Target {
    name: &'static str,
    find: fn(&Path) -> Vec<PathBuf>,
    life: Life,
    damaged: Allowed,
    /// With the file removed, and with another server's of the same kind in its place.
    gone: Allowed,
    strange: Allowed,
}

/// What the server was started with, whether it wrote a base at the half, and how it went down.
#[derive(Clone, Copy)]
struct Life {
    directives: &'static [(&'static str, &'static str)],
    base: bool,
    killed: bool,
    /// Another server has written it all, as the log of one file that there was before Redis 7.0.
    old: bool,
}

const AOF_ON: &[(&str, &str)] = &[("appendonly", "yes"), ("repl-backlog-size", "1mb")];
const AOF_OFF: &[(&str, &str)] = &[("appendonly", "no"), ("save", "3600 1"), ("repl-backlog-size", "1mb")];
/// What was written runs over the ring.
const SPILL: &[(&str, &str)] = &[("appendonly", "no"), ("save", "3600 1"), ("repl-backlog-size", "64kb")];

/// The log's base holds commands.
const AOF_PLAIN: &[(&str, &str)] =
    &[("appendonly", "yes"), ("repl-backlog-size", "1mb"), ("aof-use-rdb-preamble", "no")];

const STOPPED: Life = Life { directives: AOF_ON, base: true, killed: false, old: false };
const KILLED: Life = Life { killed: true, ..STOPPED };
const KILLED_WITHOUT_BASE: Life = Life { base: false, ..KILLED };
const PLAIN_STOPPED: Life = Life { directives: AOF_PLAIN, ..STOPPED };
const PLAIN_KILLED: Life = Life { directives: AOF_PLAIN, ..KILLED };
const OLD: Life = Life { base: false, old: true, ..STOPPED };
const OFF_STOPPED: Life = Life { directives: AOF_OFF, base: false, ..STOPPED };
const OFF_KILLED: Life = Life { base: true, killed: true, ..OFF_STOPPED };
const OFF_KILLED_WITHOUT_BASE: Life = Life { base: false, ..OFF_KILLED };
const SPILL_KILLED: Life = Life { directives: SPILL, ..OFF_KILLED };
const SPILL_KILLED_WITHOUT_BASE: Life = Life { base: false, ..SPILL_KILLED };

const fn target(
    name: &'static str,
    find: fn(&Path) -> Vec<PathBuf>,
    life: Life,
    [damaged, gone, strange]: [Allowed; 3],
) -> Target {
    Target { name, find, life, damaged, gone, strange }
}

const AFTER_A_STOP: &[Target] = &[
    target("dump.rdb", snapshot, OFF_STOPPED, [RefuseOrWhole, RefuseOrWhole, Restored]),
    target("base", base, STOPPED, [RefuseOrWhole, RefuseOrWhole, Restored]),
    target("base as commands", plain_base, PLAIN_STOPPED, [RefuseOrWhole, RefuseOrWhole, Restored]),
    target("log of one file", old_log, OLD, [Unproven, RefuseOrPrefix, Restored]),
    target("manifest", manifest, STOPPED, [RefuseOrWhole; 3]),
    target("segment", last_segment, STOPPED, [RefuseOrWhole; 3]),
    target("ring", ring, STOPPED, [Whole; 3]),
    target("replication.toml", history, STOPPED, [RefuseOrWhole; 3]),
];

const AFTER_A_KILL: &[Target] = &[
    target("base", base, KILLED, [RefuseOrWhole, RefuseOrWhole, Restored]),
    target("base as commands", plain_base, PLAIN_KILLED, [RefuseOrWhole, RefuseOrWhole, Restored]),
    target("manifest", manifest, KILLED, [RefuseOrWhole; 3]),
    target("segment", last_segment, KILLED, [RefuseOrWhole; 3]),
    target("ring", ring, KILLED, [RefuseOrPrefix; 3]),
    target("replication.toml", history, KILLED, [RefuseOrWhole; 3]),
    target("only segment", last_segment, KILLED_WITHOUT_BASE, [RefuseOrWhole; 3]),
    target("manifest without base", manifest, KILLED_WITHOUT_BASE, [RefuseOrWhole; 3]),
    target("replication.toml without base", history, KILLED_WITHOUT_BASE, [RefuseOrWhole; 3]),
];

const AFTER_A_KILL_WITH_THE_LOG_OFF: &[Target] = &[
    target("dump.rdb", snapshot, OFF_KILLED, [RefuseOrWhole, RefuseOrWhole, Restored]),
    target("ring", ring, OFF_KILLED, [RefuseOrPrefix; 3]),
    target("replication.toml", history, OFF_KILLED, [RefuseOrWhole; 3]),
    target("ring without base", ring, OFF_KILLED_WITHOUT_BASE, [RefuseOrPrefix; 3]),
    // Of a ring alone that is not of the history that replication.toml tells nobody knows anything: that history begins anew.
    target(
        "replication.toml, ring alone",
        history,
        OFF_KILLED_WITHOUT_BASE,
        [RefuseOrWhole, RefuseOrWhole, RefuseOrPrefix],
    ),
    target("dump.rdb under a spill", snapshot, SPILL_KILLED, [RefuseOrWhole, RefuseOrWhole, Restored]),
    target("spilled segment", last_segment, SPILL_KILLED, [RefuseOrWhole; 3]),
    target("spill's manifest", manifest, SPILL_KILLED, [RefuseOrWhole; 3]),
    target("replication.toml of a spill", history, SPILL_KILLED, [RefuseOrWhole; 3]),
    target("only spilled segment", last_segment, SPILL_KILLED_WITHOUT_BASE, [RefuseOrWhole; 3]),
];

fn snapshot(data: &Path) -> Vec<PathBuf> {
    vec![data.join("dump.rdb")]
}

fn base(data: &Path) -> Vec<PathBuf> {
    aof_files(data, ".base.rdb")
}

fn plain_base(data: &Path) -> Vec<PathBuf> {
    aof_files(data, ".base.aof")
}

fn old_log(data: &Path) -> Vec<PathBuf> {
    vec![data.join("appendonly.aof")]
}

fn manifest(data: &Path) -> Vec<PathBuf> {
    aof_files(data, ".manifest")
}

fn last_segment(data: &Path) -> Vec<PathBuf> {
    aof_files(data, ".incr.aof").pop().into_iter().collect()
}

fn ring(data: &Path) -> Vec<PathBuf> {
    vec![data.join("backlog.ring")]
}

fn history(data: &Path) -> Vec<PathBuf> {
    vec![data.join("replication.toml")]
}

/// Writes a list whose length tells how much came back, 20,000 numbers, and goes down. The stream's end comes with it.
fn written(life: Life, list: &str) -> (Server, String) {
    let launch = Launch::ours(life.directives);
    let pushes = |from: i64| {
        (from..from + LENGTH / 2).step_by(100).map(|start| {
            let numbers = (start..start + 100).map(|i| i.to_string());
            ["RPUSH".to_string(), list.to_string()].into_iter().chain(numbers).collect::<Vec<_>>()
        })
    };
    if life.old {
        let commands = pushes(0).chain(pushes(LENGTH / 2));
        let log = [encode(&["SELECT", "0"]), commands.flat_map(|args| encode(&args)).collect()].concat();
        return taken_over(&launch, log);
    }
    let mut server = launch.start();
    let mut c = server.connect();
    let push = |c: &mut Client, from: i64| pushes(from).for_each(|args| drop(c.must(&args)));
    push(&mut c, 0);
    if life.base && life.directives.contains(&("appendonly", "yes")) {
        rewrite_aof(&mut c);
    } else if life.base {
        c.must(&["SAVE"]);
    }
    push(&mut c, LENGTH / 2);
    let end = info(&mut c, "master_repl_offset");
    if life.killed {
        server.kill()
    } else {
        server.stop()
    };
    (server, end)
}

/// The directory that holds nothing but the old `log`. The end of the stream is where a server that takes it over is.
fn taken_over(launch: &Launch, log: Vec<u8>) -> (Server, String) {
    let only = [(launch.data().join("appendonly.aof"), log)];
    restore(launch.data(), &only);
    let mut server = launch.start();
    let end = info(&mut server.connect(), "master_repl_offset");
    server.stop();
    restore(launch.data(), &only);
    (server, end)
}

const LENGTH: i64 = 20_000;
const LIST: &str = "list";
/// In another server.
const STRANGE_LIST: &str = "another list";

#[test]
fn files_damaged_after_a_stop_are_healed_or_refused_by_name() {
    damage_all(AFTER_A_STOP);
}

#[test]
fn files_damaged_after_a_kill_are_healed_or_refused_by_name() {
    damage_all(AFTER_A_KILL);
}

#[test]
fn files_damaged_after_a_kill_with_the_log_off_are_healed_or_refused_by_name() {
    damage_all(AFTER_A_KILL_WITH_THE_LOG_OFF);
}

fn damage_all(targets: &[Target]) {
    if !subject_is_ours() {
        return; // stock loads many of these silently
    }
    let mut complaints = Vec::new();
    for target in targets {
        let (server, end) = written(target.life, LIST);
        let found = (target.find)(server.data());
        assert!(!found.is_empty(), "{}: no such file", target.name);
        let saved: Vec<(PathBuf, Vec<u8>)> = all_files(server.data());
        let mut check = |damage: &str, allowed: Allowed, spoil: &dyn Fn(&Path)| {
            restore(server.data(), &saved);
            found.iter().for_each(|file| spoil(file));
            if let Err(why) = judge(allowed, &found[0], &end, server.launch()) {
                complaints.push(format!("{}, {damage}: {why}", target.name));
            }
        };
        for (damage, spoil) in DAMAGES {
            check(damage, target.damaged, &|file| {
                let mut bytes = fs::read(file).unwrap();
                spoil(&mut bytes);
                fs::write(file, bytes).unwrap();
            });
        }
        check("gone", target.gone, &|file| fs::remove_file(file).unwrap());
        let (other, _) = written(target.life, STRANGE_LIST);
        let theirs = (target.find)(other.data());
        check("another server's", target.strange, &|file| {
            fs::copy(&theirs[0], file).unwrap();
        });
    }
    assert!(complaints.is_empty(), "{} cases:\n{}", complaints.len(), complaints.join("\n"));
}

/// Whether what comes of a damaged `file` is allowed, and holds: what came back, and a write acknowledged then, is there after
/// a kill, too. `end`: of the stream, before.
fn judge(allowed: Allowed, file: &Path, end: &str, launch: &Launch) -> Result<(), String> {
    let must = |holds: bool, what: String| if holds { Ok(()) } else { Err(what) };
    let last = match launch.spawn().ready(START_LIMIT) {
        Ok(mut server) => {
            let mut c = server.connect();
            let there = c.cmd(&["LRANGE", LIST, "0", "-1"]).items();
            let others = there.iter().enumerate().filter(|(i, v)| v.text() != i.to_string()).count();
            must(others == 0 || others == 1 && allowed == Unproven, "what came back is not a prefix".into())?;
            let (whole, strange) =
                (there.len() as i64 == LENGTH, c.must(&["EXISTS", STRANGE_LIST]).int() == 1);
            must(!strange || there.is_empty(), "the data of two servers are mixed".into())?;
            must(!strange || allowed == Restored, format!("another server's data: {}", server.log()))?;
            let at = info(&mut c, "master_repl_offset");
            must(
                whole || strange || matches!(allowed, RefuseOrPrefix | Unproven),
                format!("{} of {LENGTH} came back: {}", there.len(), server.log()),
            )?;
            must(!whole || at == end, format!("the position is {at}, not {end}: {}", server.log()))?;
            c.must(&["SET", "after it", "1"]);
            let state = |c: &mut Client| {
                let lists = [c.must(&["LLEN", LIST]), c.must(&["LLEN", STRANGE_LIST])];
                (lists, c.must(&["EXISTS", "after it"]).int(), info(c, "master_repl_offset"))
            };
            let before = state(&mut c);
            server.kill();
            let mut server = launch
                .spawn()
                .ready(START_LIMIT)
                .map_err(|end| format!("after a further write and a kill: {end}\n{}", server.log()))?;
            let after = state(&mut server.connect());
            must(after == before, format!("{before:?}, after a kill {after:?}: {}", server.log()))?;
            server.stop()
        }
        Err(end) => {
            must(allowed != Whole, format!("refused: {end}"))?;
            must(end.code != Some(0), format!("refused with exit code 0: {end}"))?;
            let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
            must(end.said().contains(&name), format!("the refusal does not name {name}: {end}"))?;
            end
        }
    };
    must(last.signal.is_none() && !last.said().contains("panicked"), format!("ended badly: {last}"))
}

fn all_files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let entries = fs::read_dir(dir).unwrap().flatten().map(|e| e.path());
    let read = |p: PathBuf| if p.is_dir() { all_files(&p) } else { vec![(p.clone(), fs::read(&p).unwrap())] };
    entries.flat_map(read).collect()
}

fn restore(data: &Path, saved: &[(PathBuf, Vec<u8>)]) {
    fs::remove_dir_all(data).unwrap();
    for (path, bytes) in saved {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }
}

// ---- places that do not work ----

#[test]
fn a_taken_port_ends_the_start() {
    let first = Launch::ours(&[]).start();
    let end = Launch::ours(&[]).on_port(first.port()).start_failing();
    assert_eq!(end.code, Some(1), "{end}");
    assert!(end.said().contains("Failed listening on port"), "{end}");
}

#[test]
fn a_directory_that_is_a_file_ends_the_start() {
    let launch = Launch::ours(&[("appendonly", "yes")]);
    let file = launch.scratch().join("file");
    fs::write(&file, "not a directory").unwrap();
    let end = launch.clone().in_data(&file).start_failing();
    assert_eq!(end.code, Some(1), "{end}");
    assert!(end.said().contains(&*file.to_string_lossy()), "{end}");
    assert_eq!(fs::read(&file).unwrap(), b"not a directory");
}

/// Root's servers, too, with the one right taken away that lets root write everywhere.
#[test]
fn a_directory_that_may_not_be_written_ends_the_start() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(AOF_ON);
    let launch = match geteuid().is_root() {
        true if stock_tool("setpriv").is_none() => return,
        true => launch.wrapped(&["setpriv", "--bounding-set=-dac_override"]),
        false => launch,
    };
    let [lived, closed] = ["lived", "closed"].map(|name| launch.data().join(name));
    let within = closed.join("within");
    fs::create_dir(&closed).unwrap();
    let launch_in = |data: &Path| launch.clone().in_data(data);
    let mut server = launch_in(&lived).start();
    server.connect().must(&["SET", "k", "v"]);
    server.stop();
    let mode = |path: &Path, mode: u32| fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    let check = |shut: &Path, data: &Path| {
        mode(shut, 0o555);
        let end = launch_in(data).start_failing();
        mode(shut, 0o755);
        assert_eq!(end.code, Some(1), "{end}");
        let named = end.stderr.contains(&*data.to_string_lossy()) && end.stderr.contains("Permission denied");
        assert!(named && !end.said().contains("panicked"), "{end}");
    };
    check(&closed, &closed);
    check(&closed, &within);
    assert_eq!(fs::read_dir(&closed).unwrap().count(), 0);
    check(&lived, &lived);
    check(&lived.join("appendonlydir"), &lived);
    let server = launch_in(&lived).start();
    assert_eq!(server.connect().must(&["GET", "k"]), Value::bulk("v"));
}

#[test]
fn a_log_directory_that_is_a_file_ends_the_start() {
    let launch = Launch::ours(&[("appendonly", "yes")]);
    fs::write(launch.data().join("appendonlydir"), "x").unwrap();
    let end = launch.start_failing();
    assert!(end.code == Some(1) && end.said().contains("appendonlydir"), "{end}");
}

// ---- hostile clients ----

/// What is sent to a fresh connection and the error that closes it.
const GARBAGE: &[(&str, &str)] = &[
    ("*3\r\n$3\r\nSET\r\n:1\r\n", "-ERR Protocol error: expected '$', got ':'"),
    ("*x\r\n", "-ERR Protocol error: invalid multibulk length"),
    ("*99999999999\r\n", "-ERR Protocol error: invalid multibulk length"),
    ("*1\r\n$-5\r\n", "-ERR Protocol error: invalid bulk length"),
    ("*1\r\n$999999999999\r\n", "-ERR Protocol error: invalid bulk length"),
    ("*1\r\n$x\r\n", "-ERR Protocol error: invalid bulk length"),
    ("ECHO \"unbalanced\r\n", "-ERR Protocol error: unbalanced quotes in request"),
];

#[test]
fn garbage_gets_an_error_and_the_door() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    for (sent, expected) in GARBAGE {
        assert_eq!(last_words(&server, sent.as_bytes()), format!("{expected}\r\n"), "{sent:?}");
    }
    let long = "x".repeat(70_000);
    for (sent, expected) in [
        (long.clone(), "-ERR Protocol error: too big inline request"),
        (format!("*{long}"), "-ERR Protocol error: too big mbulk count string"),
        (format!("*1\r\n${long}"), "-ERR Protocol error: too big bulk count string"),
    ] {
        assert_eq!(last_words(&server, sent.as_bytes()), format!("{expected}\r\n"));
    }
    for seed in 0..50 {
        let mut c = server.connect();
        c.send_raw(&noise(seed, 4000)).ok();
        c.send_raw(b"\r\nQUIT\r\n").ok();
        drop(c);
    }
    // HTTP is told the door before its body can be taken for commands.
    let http = last_words(&server, b"POST / HTTP/1.1\r\nHost: x\r\n\r\nSET evil 1\r\n");
    assert!(http.is_empty() || http.starts_with('-'), "{http}");
    let mut c = server.connect();
    assert_eq!(c.must(&["EXISTS", "evil"]), Value::Int(0));
    assert_eq!(c.must(&["PING"]).text(), "PONG");
}

#[test]
fn strangers_may_not_claim_memory() {
    let server = Launch::ours(&[("appendonly", "no"), ("requirepass", "secret")]).start();
    for (sent, expected) in [
        ("*11\r\n", "-ERR Protocol error: unauthenticated multibulk length\r\n"),
        ("*1\r\n$16385\r\n", "-ERR Protocol error: unauthenticated bulk length\r\n"),
    ] {
        assert_eq!(last_words(&server, sent.as_bytes()), expected, "{sent:?}");
    }
    assert_eq!(server.connect().cmd(&["AUTH", "secret"]), Value::ok());
}

#[test]
fn a_claimed_length_is_not_allocated() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let before = resident_kib(&server);
    let mut held = Vec::new();
    for _ in 0..20 {
        let mut c = server.connect();
        c.send_raw(b"*1000000\r\n$500000000\r\nabc").unwrap();
        held.push(c);
    }
    server.connect().must(&["PING"]);
    let grown = resident_kib(&server).saturating_sub(before);
    assert!(grown < 100 * 1024, "twenty empty claims of 500 MB cost {grown} KiB");
}

#[test]
fn a_value_above_the_limit_is_refused() {
    let server = Launch::ours(&[("appendonly", "no"), ("proto-max-bulk-len", "1mb")]).start();
    let request = b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1048577\r\n";
    assert_eq!(last_words(&server, request), "-ERR Protocol error: invalid bulk length\r\n");
    let mut c = server.connect();
    assert_eq!(c.cmd(&["SET", "k", &"v".repeat(1 << 20)]), Value::ok());
    assert!(c.cmd(&["APPEND", "k", "v"]).text().contains("exceeds maximum allowed size"));
}

#[test]
fn ten_thousand_idle_clients_and_slow_senders() {
    let count = raise_file_limit(10_000);
    let limit = (count + 100).to_string();
    let server = Launch::ours(&[("appendonly", "no"), ("maxclients", &limit)]).start();
    let mut clients: Vec<Client> = (0..count).map(|_| server.connect()).collect();
    let mut c = server.connect();
    eventually("all are accepted", Duration::from_secs(30), || {
        (info(&mut c, "connected_clients").parse::<usize>().ok()? > count).then_some(())
    });
    // Two hundred of them send one byte at a time, in turns; the rest stay silent.
    let request = encode(&["INCR", "slow"]);
    for byte in &request {
        for client in &mut clients[..200.min(count)] {
            client.send_raw(&[*byte]).unwrap();
        }
        assert_eq!(c.must(&["PING"]).text(), "PONG");
    }
    for client in &mut clients[..200.min(count)] {
        assert!(matches!(client.read_value().unwrap(), Value::Int(_)));
    }
    assert_eq!(c.must(&["GET", "slow"]).int() as usize, 200.min(count));
    assert_eq!(clients.last_mut().map(|c| c.must(&["PING"]).text()), Some("PONG".into()));
}

/// Raises this process's limit of open files (servers inherit it); how many of `wanted` connections fit.
fn raise_file_limit(wanted: usize) -> usize {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum }).unwrap();
    let most = limit.maximum.unwrap_or(u64::MAX).min(1 << 20) as usize;
    let fit = wanted.min(most.saturating_sub(500));
    if fit < wanted {
        eprintln!("only {fit} connections: the hard limit is {most} files");
    }
    fit
}

/// Sends, and returns all that comes until the server hangs up.
fn last_words(server: &Server, sent: &[u8]) -> String {
    let mut c = server.connect();
    c.set_patience(Duration::from_secs(10)).unwrap();
    c.send_raw(sent).ok();
    String::from_utf8_lossy(&c.read_to_end().unwrap_or_default()).into_owned()
}

fn resident_kib(server: &Server) -> u64 {
    let status = fs::read_to_string(format!("/proc/{}/status", server.pid())).unwrap();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

/// A server that nobody can reach, or whose words nobody would read, does not start.
#[test]
fn a_server_without_listener_or_log_does_not_start() {
    if !subject_is_ours() {
        return;
    }
    for (directive, value, expected) in [
        ("port", "0", "not listen anywhere"),
        ("bind", "", "not listen anywhere"),
        ("bind", "-192.0.2.77", "not listen anywhere"),
        ("logfile", "/nonexistent/dir/log", "Can't open the log file"),
    ] {
        let end = Launch::ours(&[]).with(directive, value).start_failing();
        assert_eq!(end.code, Some(1), "{}", end.said());
        assert!(end.said().contains(expected), "{}", end.said());
    }
}
