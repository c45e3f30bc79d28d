//! A disk that fails, not for lack of space: fsync gives EIO, the mapped ring loses its file. The log is not tried again
//! as if nothing had happened (rule 23), and what happened is said.
//!
//! `strace`, attached to the running server, makes the calls on one file fail; skipped where it is missing or may not
//! trace.

use crate::client::{Client, Value};
use crate::harness::{Launch, Server, aof_files, eventually, info, subject_is_ours};
use rustix::process::{Pid, Signal, kill_process};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// While it lives, every fsync and fdatasync of the files fails.
struct FailingSync {
    strace: Child,
}

impl FailingSync {
    fn attach(server: &Server, files: &[&Path]) -> Option<FailingSync> {
        let pid = server.pid().as_raw_nonzero().to_string();
        let mut command = Command::new("strace");
        command.args(["-f", "-q", "-o", "/dev/null", "-p", &pid]);
        command.args(["-e", "trace=fsync,fdatasync", "-e", "inject=fsync,fdatasync:error=EIO"]);
        for file in files {
            command.arg("-P").arg(file);
        }
        let spawned = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let Ok(strace) = spawned else {
            assert!(std::env::var_os("CI").is_none(), "strace is not installed, and CI demands it");
            eprintln!("skipped: strace is missing");
            return None;
        };
        let mut failing = FailingSync { strace };
        let status = format!("/proc/{pid}/status");
        let attached = || !fs::read_to_string(&status).unwrap_or_default().contains("TracerPid:\t0");
        while !attached() {
            if failing.strace.try_wait().unwrap().is_some() {
                eprintln!("skipped: strace may not trace");
                return None;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Some(failing)
    }
}

impl Drop for FailingSync {
    fn drop(&mut self) {
        kill_process(Pid::from_child(&self.strace), Signal::TERM).ok(); // so that it lets go of the server
        self.strace.wait().ok();
    }
}

fn sealed(server: &Server) -> bool {
    fs::read_to_string(server.data().join("replication.toml")).unwrap().contains("\nsealed = ")
}

/// Scenario 29: the segment whose fsync failed is given up, and service comes back with a new base and a new segment.
#[test]
fn a_failed_fsync_is_mended_by_a_new_base() {
    if !subject_is_ours() {
        return;
    }
    for fsync in ["everysec", "always"] {
        let server = Launch::ours(&[("appendonly", "yes"), ("appendfsync", fsync)]).start();
        let mut c = server.connect();
        for n in 0..100 {
            c.must(&["SET".to_string(), format!("key:{n}"), "v".into()]);
        }
        let segment = aof_files(server.data(), ".incr.aof").pop().unwrap();
        let Some(failing) = FailingSync::attach(&server, &[&segment]) else { return };
        let acked = write_until_latched(&server, &mut c);
        assert_eq!(c.must(&["GET", "key:7"]).text(), "v", "reads go on");
        // The other segment's fsyncs succeed, so that service comes back by itself.
        eventually("writes are taken again", LIMIT, || {
            (c.cmd(&["SET", "healed", "1"]) == Value::ok()).then_some(())
        });
        assert_eq!(info(&mut c, "aof_last_write_status"), "ok");
        assert!(!sealed(&server), "the base has ended that");
        drop(failing);
        assert!(!segment.exists(), "{} is given up", segment.display());
        let mut server = server;
        assert_eq!(server.stop().code, Some(0));
        let (_server, mut c) = server.restart_and_connect();
        assert_eq!(c.must(&["GET", "healed"]).text(), "1", "{fsync}");
        for n in 0..acked {
            assert_eq!(c.must(&["GET".to_string(), format!("late:{n}")]).text(), "v", "{fsync}");
        }
    }
}

/// The same, but the process ends before a base is there: the bytes that the fsync did not save still read well, and the
/// restart does not rely on them.
#[test]
fn a_kill_after_a_failed_fsync() {
    let Some((mut server, failing, segment)) = no_fsync_of_the_log("everysec") else { return };
    let mut c = server.connect();
    let acked = write_until_latched(&server, &mut c);
    eventually("the failure is recorded", LIMIT, || sealed(&server).then_some(()));
    eventually("an attempt has failed", LIMIT, || {
        (info(&mut c, "aof_last_bgrewrite_status") == "err").then_some(())
    });
    assert!(matches!(c.cmd(&["SET", "k", "v"]), Value::Error(why) if why.starts_with("MISCONF")));
    server.kill();
    drop(failing);
    let (server, mut c) = server.restart_and_connect();
    assert!(server.log().contains("a new base is written before anything is served"), "{}", server.log());
    assert!(!sealed(&server));
    assert!(!segment.exists(), "{} is given up", segment.display());
    for n in 0..acked {
        assert_eq!(c.must(&["GET".to_string(), format!("late:{n}")]).text(), "v");
    }
}

/// P1: the log is given up after a failed fsync, and more is written than the ring holds before the snapshot that is due
/// is in force. A kill loses nothing of that.
#[test]
fn a_log_that_is_given_up_after_a_failed_fsync() {
    if !subject_is_ours() {
        return;
    }
    for fsync in ["everysec", "always"] {
        let options = [("appendonly", "yes"), ("appendfsync", fsync), ("save", "3600 1")];
        let launch = Launch::ours(&options).with("repl-backlog-size", "64kb");
        let mut server = launch.start();
        let mut c = server.connect();
        c.must(&["SET", "key", "v"]);
        let segment = aof_files(server.data(), ".incr.aof").pop().unwrap();
        let next = segment.with_file_name("appendonly.aof.2.incr.aof");
        let base = segment.with_file_name("appendonly.aof.1.base.rdb");
        c.must(&["CONFIG", "SET", "rdb-key-save-delay", "30000000"]); // no base is in force before the kill
        let Some(failing) = FailingSync::attach(&server, &[&segment, &next, &base]) else { return };
        let acked = write_until_latched(&server, &mut c);
        drop(failing);
        c.must(&["CONFIG", "SET", "appendonly", "no"]);
        eventually("a snapshot is due", LIMIT, || {
            (info(&mut c, "rdb_bgsave_in_progress") == "1").then_some(())
        });
        for n in 0..200 {
            c.must(&["SET".to_string(), format!("after:{n}"), "v".repeat(1000)]);
        }
        server.kill();
        let (_server, mut c) = server.restart_and_connect();
        assert_eq!(c.must(&["GET", "key"]).text(), "v");
        for n in 0..acked {
            assert_eq!(c.must(&["GET".to_string(), format!("late:{n}")]).text(), "v", "{fsync}");
        }
        for n in 0..200 {
            let len = c.must(&["STRLEN".to_string(), format!("after:{n}")]);
            assert_eq!(len, Value::Int(1000), "{fsync} after:{n}");
        }
    }
}

/// P1, P7: the log is switched off and on again after a failed fsync. What it left in doubt is in a base before anything is
/// called durable.
#[test]
fn a_log_that_is_given_up_and_asked_for_again() {
    let Some((server, failing, _)) = no_fsync_of_the_log("always") else { return };
    let mut c = server.connect();
    write_until_latched(&server, &mut c);
    eventually("the failure is recorded", LIMIT, || sealed(&server).then_some(()));
    drop(failing);
    c.must(&["CONFIG", "SET", "appendonly", "no"]);
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    assert!(!sealed(&server), "{}", server.log());
    c.must(&["SET", "after", "v"]);
    let mut server = server;
    server.kill();
    let (_server, mut c) = server.restart_and_connect();
    assert_eq!(c.must(&["MGET", "key", "after"]), Value::Array(vec![Value::bulk("v"), Value::bulk("v")]));
}

/// A server of one key whose log can neither be synced nor replaced from here on; its segment.
fn no_fsync_of_the_log(appendfsync: &str) -> Option<(Server, FailingSync, PathBuf)> {
    let launch =
        subject_is_ours().then(|| Launch::ours(&[("appendonly", "yes"), ("appendfsync", appendfsync)]))?;
    let server = launch.start();
    server.connect().must(&["SET", "key", "v"]);
    let segment = aof_files(server.data(), ".incr.aof").pop().unwrap();
    let next = segment.with_file_name("appendonly.aof.2.incr.aof");
    let base = segment.with_file_name("appendonly.aof.1.base.rdb");
    let failing = FailingSync::attach(&server, &[&segment, &next, &base])?;
    Some((server, failing, segment))
}

/// Writes until the failure is known; how many writes were acknowledged.
fn write_until_latched(server: &Server, c: &mut Client) -> u64 {
    for n in 0..100_000 {
        match c.try_cmd(&["SET".to_string(), format!("late:{n}"), "v".into()]) {
            Ok(Value::Error(why)) => {
                assert!(why.starts_with("MISCONF"), "{why}");
                return n;
            }
            Ok(_) => std::thread::sleep(Duration::from_millis(1)),
            Err(_) => {
                // `always`: its fate is unknown.
                *c = server.connect();
                return n;
            }
        }
    }
    panic!("no fsync failed");
}

/// Rule 29: the ring is not fsynced while the log is on; at a clean end it is, by which the trace is known to show it.
#[test]
fn the_ring_is_not_synced_while_the_log_is_on() {
    if !subject_is_ours() {
        return;
    }
    let mut server = Launch::ours(&[("appendonly", "yes"), ("appendfsync", "everysec")]).start();
    let mut c = server.connect();
    let trace = server.launch().scratch().join("trace");
    let pid = server.pid().as_raw_nonzero().to_string();
    let mut command = Command::new("strace");
    command.args(["-f", "-q", "-y", "-e", "trace=fsync,fdatasync,msync,sync_file_range", "-o"]);
    command.arg(&trace).args(["-p", &pid]).stdout(Stdio::null()).stderr(Stdio::null());
    let Ok(mut strace) = command.spawn() else {
        eprintln!("skipped: strace is missing");
        return;
    };
    let seen = || fs::read_to_string(&trace).unwrap_or_default();
    let status = format!("/proc/{pid}/status");
    while fs::read_to_string(&status).unwrap_or_default().contains("TracerPid:\t0") {
        if strace.try_wait().unwrap().is_some() {
            eprintln!("skipped: strace may not trace");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let value = "v".repeat(1000);
    let mut n = 0;
    eventually("the log is synced several times", LIMIT, || {
        n += 1;
        c.must(&["SET".to_string(), format!("key:{n}"), value.clone()]);
        (seen().matches(".incr.aof").count() >= 3).then_some(())
    });
    let running = seen();
    assert!(!running.contains("msync(") && !running.contains("backlog.ring"), "{running}");
    assert_eq!(server.stop().code, Some(0));
    strace.wait().ok();
    assert!(seen().contains("msync("), "{}", seen());
}

/// Rule 29, scenario 38: the ring's file is cut from outside, so that a store into its map is a SIGBUS. That is said as the I/O error
/// it is, in the log too. The next start does not go on without it unasked; what was acknowledged is in the log.
#[test]
fn a_ring_that_is_cut_from_outside_is_named() {
    if !subject_is_ours() {
        return;
    }
    let options = [("appendonly", "yes"), ("appendfsync", "always"), ("logfile", "server.log")];
    let mut server = Launch::ours(&options).start();
    let mut c = server.connect();
    c.must(&["SET", "key", "v"]);
    let ring = server.data().join("backlog.ring");
    fs::OpenOptions::new().write(true).open(&ring).unwrap().set_len(0).unwrap();
    let mut acked = 0;
    while matches!(c.try_cmd(&["SET".to_string(), format!("late:{acked}"), "v".into()]), Ok(Value::Simple(_)))
    {
        acked += 1;
        assert!(acked < 100_000, "nothing noticed");
    }
    let end = server.wait(LIMIT);
    assert_eq!(end.code, Some(1), "{end}");
    let named = format!("ringhold: I/O error: the mapped file {} cannot be reached (SIGBUS)", ring.display());
    assert!(end.stderr.contains(&named), "{end}");
    let log = fs::read_to_string(server.data().join("server.log")).unwrap();
    assert!(log.contains(&named), "{log}");
    let refused = server.launch().start_failing();
    assert!(refused.stderr.contains("backlog.ring: at byte 0: no sound header slot"), "{refused}");
    fs::remove_file(&ring).unwrap();
    let (_server, mut c) = server.restart_and_connect();
    assert_eq!(c.must(&["GET", "key"]).text(), "v");
    for n in 0..acked {
        assert_eq!(c.must(&["GET".to_string(), format!("late:{n}")]).text(), "v");
    }
}

/// A SIGBUS that is none of the map's has its default action.
#[test]
fn another_bus_error_kills() {
    let mut server = Launch::ours(&[]).start();
    server.signal(Signal::BUS);
    assert_eq!(server.wait(LIMIT).signal, Some(Signal::BUS.as_raw()));
}
