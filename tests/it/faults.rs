//! A network between primary and replica that cuts, falls silent, or is slow: whatever it does, the replica ends up with
//! the same data, by partial resync, or by the one full sync that was under way begun again.
//!
//! The network is a [`Proxy`]: the replica is told that the primary is there. The long run of the slow replica is asked for by
//! `RINGHOLD_SLOW_REPLICA="SNAPSHOT-MB KB-PER-SECOND WRITTEN-MB-PER-SECOND"`, such as `200 100 20`, which takes 35 minutes
//! and 40 GB of disk.

use crate::client::{Client, Value};
use crate::compare::{assert_same, dataset};
use crate::fill::noise;
use crate::harness::{Launch, Server, aof_files, bgsave, eventually, info, subject_is_ours};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

const LIMIT: Duration = Duration::from_secs(60);
/// Nothing is cut.
const WHOLE: i64 = i64::MAX;

/// What is done to bytes on their way to the replica.
struct Faults {
    /// Bytes that still pass before the connection is cut.
    left: AtomicI64,
    /// Nothing passes in either direction, and nobody is told.
    silent: AtomicBool,
    /// Bytes per second; 0 is no limit.
    rate: AtomicU64,
    passed: AtomicU64,
}

/// A port that leads to another one. Its threads end with the test's process.
struct Proxy {
    port: u16,
    faults: Arc<Faults>,
}

impl Proxy {
    fn to(primary: &Server) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, target) = (listener.local_addr().unwrap().port(), primary.port());
        let faults = Arc::new(Faults {
            left: AtomicI64::new(WHOLE),
            silent: AtomicBool::new(false),
            rate: AtomicU64::new(0),
            passed: AtomicU64::new(0),
        });
        let shared = Arc::clone(&faults);
        thread::spawn(move || {
            for replica in listener.incoming() {
                let replica = replica.unwrap();
                let Ok(primary) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                for (from, to, down) in [(&primary, &replica, true), (&replica, &primary, false)] {
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    let faults = Arc::clone(&shared);
                    thread::spawn(move || faults.pump(from, to, down));
                }
            }
        });
        Proxy { port, faults }
    }

    /// A replica of ours behind it.
    fn replica(&self, directives: &[(&str, &str)]) -> Server {
        Launch::ours(directives).with("replicaof", &format!("127.0.0.1 {}", self.port)).start()
    }
}

impl Faults {
    /// Until either side ends, or the cut.
    fn pump(&self, mut from: TcpStream, mut to: TcpStream, down: bool) {
        let mut piece = [0; 16 * 1024];
        while let Ok(got) = from.read(&mut piece) {
            let left = if down { self.left.fetch_sub(got as i64, Relaxed).max(0) } else { WHOLE };
            let passes = got.min(left as usize);
            while self.silent.load(Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
            if to.write_all(&piece[..passes]).is_err() || passes == 0 {
                break;
            }
            if down {
                self.passed.fetch_add(passes as u64, Relaxed);
                let rate = self.rate.load(Relaxed);
                if rate > 0 {
                    thread::sleep(Duration::from_secs_f64(passes as f64 / rate as f64));
                }
            }
            if passes < got {
                break;
            }
        }
        for end in [from, to] {
            let _closed_already = end.shutdown(Shutdown::Both);
        }
    }
}

fn count(c: &mut Client, field: &str) -> u64 {
    info(c, field).parse().unwrap()
}

fn in_sync(primary: &mut Client, replica: &mut Client) {
    eventually("the replica to have everything", LIMIT, || {
        let up = info(replica, "master_link_status") == "up";
        (up && info(replica, "slave_repl_offset") == info(primary, "master_repl_offset")).then_some(())
    });
}

fn transaction(c: &mut Client, n: u64) {
    c.must(&["MULTI"]);
    c.must(&["INCR", "count"]);
    c.must(&[b"SET".as_slice(), format!("k{}", n % 7).as_bytes(), &noise(n, 5000)]);
    c.must(&["RPUSH", "list", &n.to_string()]);
    c.must(&["EXEC"]);
}

const DIRECTIVES: [(&str, &str); 2] = [("repl-diskless-sync-delay", "0"), ("repl-ping-replica-period", "1")];

#[test]
fn a_connection_cut_in_the_middle_of_anything_goes_on_where_it_was() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&DIRECTIVES).start();
    let proxy = Proxy::to(&primary);
    let replica = proxy.replica(&DIRECTIVES);
    let (mut p, mut r) = (primary.connect(), replica.connect());
    in_sync(&mut p, &mut r);
    // In the first word, a transaction, a value, the second transaction.
    for (round, cut) in [1, 30, 2000, 7000].into_iter().enumerate() {
        proxy.faults.left.store(cut, Relaxed);
        for n in 0..3 {
            transaction(&mut p, round as u64 * 3 + n);
        }
        eventually("the cut", LIMIT, || (proxy.faults.left.load(Relaxed) <= 0).then_some(()));
        proxy.faults.left.store(WHOLE, Relaxed);
        in_sync(&mut p, &mut r);
        assert_same(&dataset(&mut p), &dataset(&mut r));
        assert_eq!(count(&mut p, "sync_full"), 1, "cut after {cut} bytes\n{}", replica.log());
    }
    assert!(count(&mut p, "sync_partial_ok") >= 4);
}

#[test]
fn a_full_sync_that_is_cut_begins_once_more_and_leaves_nothing_behind() {
    if !subject_is_ours() {
        return;
    }
    for diskless in ["yes", "no"] {
        let primary = Launch::ours(&DIRECTIVES).with("repl-diskless-sync", diskless).start();
        let proxy = Proxy::to(&primary);
        let mut p = primary.connect();
        for n in 0..40 {
            p.must(&[b"SET".as_slice(), format!("big{n}").as_bytes(), &noise(n, 100_000)]);
        }
        proxy.faults.left.store(1_000_000, Relaxed);
        let replica = proxy.replica(&DIRECTIVES);
        let mut r = replica.connect();
        eventually("the cut", LIMIT, || (proxy.faults.left.load(Relaxed) <= 0).then_some(()));
        assert_eq!(r.must(&["DBSIZE"]).int(), 0, "nothing of half a snapshot is to be seen");
        proxy.faults.left.store(WHOLE, Relaxed);
        in_sync(&mut p, &mut r);
        assert_same(&dataset(&mut p), &dataset(&mut r));
        assert_eq!(count(&mut p, "sync_full"), 2, "{}", primary.log());
        eventually("the snapshots' files to be gone", LIMIT, || {
            let of = |server: &Server| std::fs::read_dir(server.data()).unwrap().flatten();
            let mut names = of(&primary).chain(of(&replica)).map(|e| e.file_name());
            names.all(|name| !name.to_string_lossy().starts_with("temp-")).then_some(())
        });
    }
}

/// Half-open: no byte comes, and no end. Both give up after repl-timeout, and then go on.
#[test]
fn a_connection_that_falls_silent_is_given_up_by_both() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&DIRECTIVES).with("repl-timeout", "3").start();
    let proxy = Proxy::to(&primary);
    let replica = proxy.replica(&DIRECTIVES);
    let (mut p, mut r) = (primary.connect(), replica.connect());
    r.must(&["CONFIG", "SET", "repl-timeout", "3"]);
    in_sync(&mut p, &mut r);
    transaction(&mut p, 1);
    in_sync(&mut p, &mut r);
    proxy.faults.silent.store(true, Relaxed);
    let since = Instant::now();
    eventually("the primary to give up", LIMIT, || {
        primary.log().contains("silent for longer than repl-timeout").then_some(())
    });
    eventually("the replica to give up", LIMIT, || {
        replica.log().contains("MASTER timeout: no data nor PING received").then_some(())
    });
    assert!(since.elapsed() > Duration::from_secs(2), "not before repl-timeout");
    transaction(&mut p, 2);
    proxy.faults.silent.store(false, Relaxed);
    in_sync(&mut p, &mut r);
    assert_same(&dataset(&mut p), &dataset(&mut r));
    assert_eq!(count(&mut p, "sync_full"), 1, "{}", replica.log());
}

/// A primary that is cut off, and whose place its replica takes: what it would write by itself meanwhile (PING, DEL of what
/// expired) would take it beyond where the replica left it, and cost it a full sync when it returns.
#[test]
fn a_primary_that_was_cut_off_returns_by_partial_resync() {
    if !subject_is_ours() {
        return;
    }
    let old = Launch::ours(&DIRECTIVES).start();
    let proxy = Proxy::to(&old);
    let new = proxy.replica(&DIRECTIVES);
    let (mut o, mut n) = (old.connect(), new.connect());
    in_sync(&mut o, &mut n);
    transaction(&mut o, 1);
    o.must(&["SET", "short", "x", "PX", "4000"]);
    assert_eq!(o.must(&["WAIT", "1", "30000"]).int(), 1);
    proxy.faults.silent.store(true, Relaxed);
    n.must(&["REPLICAOF", "NO", "ONE"]);
    transaction(&mut n, 2);
    // Time for several PINGs, and for the key.
    let since = Instant::now();
    eventually("the key to be gone", LIMIT, || {
        let gone = o.must(&["GET", "short"]) == Value::Nil && since.elapsed() > Duration::from_secs(6);
        gone.then_some(())
    });
    o.must(&["REPLICAOF", "127.0.0.1", &new.port().to_string()]);
    in_sync(&mut n, &mut o);
    assert_same(&dataset(&mut n), &dataset(&mut o));
    assert_eq!((count(&mut n, "sync_full"), count(&mut n, "sync_partial_ok")), (0, 1), "{}", new.log());
}

/// A full sync that takes longer than the ring is long: what is written meanwhile is kept on disk, and sent, also where a new
/// base of the log has replaced it by then.
#[test]
fn a_slow_replica_gets_there_with_one_full_sync_and_the_primarys_memory_is_bounded() {
    if !subject_is_ours() {
        return;
    }
    let wish = std::env::var("RINGHOLD_SLOW_REPLICA").unwrap_or_else(|_| "8 2000 5".into());
    let wish: Vec<u64> = wish.split(' ').map(|n| n.parse().unwrap()).collect();
    let [megabytes, rate, written] = wish[..] else { panic!("three numbers") };
    let primary = Launch::ours(&DIRECTIVES).with("repl-backlog-size", "1mb").start();
    let proxy = Proxy::to(&primary);
    let mut p = primary.connect();
    for n in 0..megabytes * 10 {
        p.must(&[b"SET".as_slice(), format!("big{n}").as_bytes(), &noise(n, 100_000)]);
    }
    let resting = anonymous(&primary);
    proxy.faults.rate.store(rate * 1000, Relaxed);
    let replica = proxy.replica(&[]);
    let mut r = replica.connect();
    eventually("the full sync to begin", LIMIT, || {
        primary.log().contains("Starting BGSAVE for SYNC").then_some(())
    });
    p.must(&["BGREWRITEAOF"]); // as soon as the snapshot is sent
    let (mut peak, mut most_behind, began) = (0, 0, Instant::now());
    let mut sent = 0;
    while info(&mut r, "master_link_status") != "up" {
        // At an even pace, over the same keys, none of which was in the snapshot.
        while sent < began.elapsed().as_millis() as u64 * written / 10 {
            let value = noise(sent, 100).repeat(100);
            p.must(&[b"SET".as_slice(), format!("hot{}", sent % 100).as_bytes(), &value]);
            sent += 1;
        }
        peak = peak.max(anonymous(&primary));
        most_behind = sent * 10_000;
        let needed = Duration::from_secs(megabytes * 1000 / rate * 3) + LIMIT;
        assert!(began.elapsed() < needed, "it does not end\n{}", primary.log());
    }
    let since = Instant::now();
    eventually("the log's new base", LIMIT, || {
        let busy = ["aof_rewrite_in_progress", "aof_rewrite_scheduled"];
        busy.iter().all(|field| info(&mut p, field) == "0").then_some(())
    });
    assert!(aof_files(primary.data(), ".incr.aof").len() > 1, "the replica still needs what was replaced");
    proxy.faults.rate.store(0, Relaxed);
    eventually("the replica to catch up", LIMIT + Duration::from_secs(most_behind / (5 << 20)), || {
        peak = peak.max(anonymous(&primary));
        let end = info(&mut p, "master_repl_offset");
        (info(&mut r, "slave_repl_offset") == end).then_some(())
    });
    eprintln!(
        "full sync of {megabytes} MB in {:?}, the primary's memory at its peak {} KiB over {} KiB; then {} MB of stream in {:?}",
        since - began,
        peak.saturating_sub(resting) >> 10,
        resting >> 10,
        most_behind >> 20,
        since.elapsed()
    );
    in_sync(&mut p, &mut r);
    assert_same(&dataset(&mut p), &dataset(&mut r));
    assert_eq!(count(&mut p, "sync_full"), 1, "{}", primary.log());
    eventually("what was kept for it to go", LIMIT, || {
        (aof_files(primary.data(), ".incr.aof").len() == 1).then_some(())
    });
    assert!(most_behind > 2 << 20, "the ring alone would have held {most_behind} bytes");
    let grown = peak.saturating_sub(resting);
    assert!(grown < 64 << 20, "the primary grew by {grown} bytes");
}

/// The log does not keep more for a replica than it may, also while the replica takes nothing at all.
#[test]
fn a_replica_that_needs_more_than_may_be_kept_is_given_up() {
    if !subject_is_ours() {
        return;
    }
    let limits = [("repl-backlog-size", "64kb"), ("repl-pin-max-bytes", "2mb"), ("appendonly", "no")];
    let primary =
        limits.iter().fold(Launch::ours(&DIRECTIVES).with("save", "3600 1"), |l, (n, v)| l.with(n, v));
    let primary = primary.start();
    let proxy = Proxy::to(&primary);
    let replica = proxy.replica(&[]);
    let (mut p, mut r) = (primary.connect(), replica.connect());
    in_sync(&mut p, &mut r);
    proxy.faults.rate.store(10_000, Relaxed);
    for n in 0..1500 {
        p.must(&[b"SET".as_slice(), format!("k{}", n % 50).as_bytes(), &noise(n, 10_000)]);
    }
    eventually("the replica to be given up", LIMIT, || {
        primary.log().contains("more than repl-pin-max-bytes").then_some(())
    });
    proxy.faults.rate.store(0, Relaxed);
    in_sync(&mut p, &mut r); // partially, where the bytes were kept for another reason
    assert_same(&dataset(&mut p), &dataset(&mut r));
}

/// Bytes of a server's anonymous memory.
fn anonymous(server: &Server) -> u64 {
    let path = format!("/proc/{}/status", server.pid().as_raw_nonzero());
    let status = std::fs::read_to_string(path).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

/// One that takes nothing of a snapshot holds up neither the others for longer than `repl-timeout`, nor BGSAVE.
#[test]
fn a_replica_that_takes_nothing_of_its_snapshot_is_given_up() {
    for diskless in ["yes", "no"] {
        let directives = [
            ("repl-diskless-sync", diskless),
            ("repl-diskless-sync-delay", "0"),
            ("repl-timeout", "3"),
            ("rdbcompression", "no"),
        ];
        let primary = Launch::ours(&directives).start();
        let mut c = primary.connect();
        for n in 0..40 {
            c.must(&[b"SET".as_slice(), format!("k{n}").as_bytes(), &noise(n, 1_000_000)]);
        }
        let mut deaf = primary.connect();
        deaf.must(&["REPLCONF", "capa", "eof", "capa", "psync2"]);
        deaf.send_raw(&crate::client::encode(&["PSYNC", "?", "-1"])).unwrap();
        eventually("the snapshot to be sent", LIMIT, || {
            info(&mut c, "slave0").contains("state=send_bulk").then_some(())
        });
        let replica = Launch::ours(&[]).with("replicaof", &format!("127.0.0.1 {}", primary.port())).start();
        in_sync(&mut c, &mut replica.connect());
        eventually("the deaf one to be cut off", LIMIT, || {
            (info(&mut c, "connected_slaves") == "1").then_some(())
        });
        assert_eq!(bgsave(&mut c), "ok");
        drop(deaf);
    }
}

/// A replica that takes nothing of its diskless snapshot holds up neither the end of its primary nor, where that is a
/// replica itself, new data for it.
#[test]
fn a_snapshot_that_nobody_takes_holds_nothing_up() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("repl-diskless-sync-delay", "0"), ("rdbcompression", "no")];
    let other = Launch::ours(&directives).start();
    other.connect().must(&["SET", "other", "data"]);
    for setting in [[("appendonly", "yes"), ("save", "")], [("appendonly", "no"), ("save", "3600 1")]] {
        let mut server = Launch::ours(&[directives, setting].concat()).start();
        let mut c = server.connect();
        for n in 0..40 {
            c.must(&[b"SET".as_slice(), format!("k{n}").as_bytes(), &noise(n, 1_000_000)]);
        }
        let deaf = |c: &mut Client| {
            let mut deaf = server.connect();
            deaf.must(&["REPLCONF", "capa", "eof", "capa", "psync2"]);
            deaf.send_raw(&crate::client::encode(&["PSYNC", "?", "-1"])).unwrap();
            eventually("the snapshot to be sent", LIMIT, || {
                info(c, "slave0").contains("state=send_bulk").then_some(())
            });
            deaf
        };
        let first = deaf(&mut c);
        c.must(&["REPLICAOF", "127.0.0.1", &other.port().to_string()]);
        in_sync(&mut other.connect(), &mut c);
        c.must(&["REPLICAOF", "NO", "ONE"]);
        drop(first);
        for n in 0..40 {
            c.must(&[b"SET".as_slice(), format!("k{n}").as_bytes(), &noise(n, 1_000_000)]);
        }
        let second = deaf(&mut c);
        eventually("it to be stuck", LIMIT, || {
            let sent = info(&mut c, "total_net_repl_output_bytes");
            std::thread::sleep(Duration::from_millis(1200));
            (info(&mut c, "total_net_repl_output_bytes") == sent).then_some(())
        });
        let since = Instant::now();
        assert_eq!(server.stop().code, Some(0), "{}", server.log());
        assert!(since.elapsed() < Duration::from_secs(5), "{:?}", since.elapsed());
        drop(second);
    }
}

/// Rewrites of the log while a replica stands still, in its snapshot or behind it: what it needs stays, and goes when it has it.
#[test]
fn rewrites_keep_what_a_replica_that_lags_needs() {
    if !subject_is_ours() {
        return;
    }
    let directives = [
        ("repl-diskless-sync", "no"),
        ("repl-backlog-size", "64kb"),
        ("appendonly", "yes"),
        ("auto-aof-rewrite-percentage", "0"),
    ];
    let primary = Launch::ours(&[&directives[..], &DIRECTIVES].concat()).start();
    let proxy = Proxy::to(&primary);
    let mut p = primary.connect();
    for n in 0..60 {
        p.must(&[b"SET".as_slice(), format!("big{n}").as_bytes(), &noise(n, 100_000)]);
    }
    let segments = || crate::harness::aof_files(primary.data(), ".incr.aof").len();
    let mut n = 0;
    let mut write = |p: &mut Client| {
        for _ in 0..100 {
            n += 1; // more than sockets keep
            p.must(&[b"SET".as_slice(), format!("k{}", n % 7).as_bytes(), &noise(n, 100_000)]);
        }
    };
    proxy.faults.left.store(WHOLE, Relaxed);
    proxy.faults.rate.store(1_000_000, Relaxed);
    let replica = proxy.replica(&DIRECTIVES);
    let mut r = replica.connect();
    for when in ["in the snapshot", "online"] {
        eventually(when, LIMIT, || {
            let syncs = info(&mut r, "master_sync_in_progress") == "1";
            let passed = proxy.faults.passed.load(Relaxed) > 100_000;
            (if when == "online" { info(&mut r, "master_link_status") == "up" } else { syncs && passed })
                .then_some(())
        });
        proxy.faults.silent.store(true, Relaxed);
        for _ in 0..2 {
            write(&mut p);
            crate::harness::rewrite_aof(&mut p);
        }
        write(&mut p);
        assert!(segments() > 1, "{when}: {}", primary.log());
        proxy.faults.rate.store(0, Relaxed);
        proxy.faults.silent.store(false, Relaxed);
        in_sync(&mut p, &mut r);
        assert_eq!(count(&mut p, "sync_full"), 1, "{when}\n{}", primary.log());
        assert_same(&dataset(&mut p), &dataset(&mut r));
        eventually("what it has to go", LIMIT, || (segments() == 1).then_some(()));
    }
}
