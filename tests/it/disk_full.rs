//! A full disk: during an append, a rewrite, BGSAVE and the ring's creation. Writes are refused in words, reads go on,
//! nothing acknowledged is lost, and service returns when space does (promise P7).
//!
//! The disk is a small tmpfs where mounting is permitted. Elsewhere a file-size limit stands in for it, which can be
//! run into but not healed.

use crate::client::{Client, Value};
use crate::harness::{Launch, Server, bgsave, eventually, info, subject_is_ours};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use tempfile::TempDir;

/// A tmpfs mounted on a folder of its own; both go when it is dropped.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// `None` (with a note) where mounting is not permitted.
    fn mount(mib: u32) -> Option<SmallDisk> {
        let dir = tempfile::Builder::new().prefix("ringhold-disk-").tempdir().unwrap();
        let size = format!("size={mib}m");
        let status =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if !status.is_ok_and(|o| o.status.success()) {
            eprintln!("no tmpfs may be mounted here");
            return None;
        }
        Some(SmallDisk { dir })
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Takes all space but about `kib`.
    fn fill_up(&self, leaving_kib: u64) {
        let vfs = rustix::fs::statvfs(self.path()).unwrap();
        let free = vfs.f_bavail * vfs.f_frsize;
        let taken = free.saturating_sub(leaving_kib * 1024);
        fs::write(self.path().join("ballast"), vec![0u8; taken as usize]).unwrap();
    }

    fn relieve(&self) {
        // Cut first: a child that another test has just begun may have the file open until it is another program.
        let ballast = self.path().join("ballast");
        fs::File::create(&ballast).unwrap();
        fs::remove_file(ballast).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").args(["-l".as_ref(), self.path().as_os_str()]).status().ok();
    }
}

/// A server whose data directory is a small disk.
fn on_small_disk(mib: u32, directives: &[(&str, &str)]) -> Option<(Server, SmallDisk)> {
    let launch = Launch::ours(directives);
    let disk = SmallDisk::mount(mib)?;
    let data = disk.path().to_path_buf();
    Some((launch.in_data(&data).start(), disk))
}

/// Appends until a write is refused: how many were acknowledged, and the refusal. With `always` the write that finds the
/// disk full is neither acknowledged nor refused: its connection is closed, and the next write is refused.
fn write_until_refused(server: &Server, c: &mut Client, most: u64) -> (u64, String) {
    let value = "v".repeat(32 * 1024);
    c.set_patience(Duration::from_secs(10)).unwrap();
    let mut closed = 0;
    for n in 0..most {
        match c.try_cmd(&["SET", &format!("key:{n}"), &value]) {
            Ok(Value::Error(why)) => return (n - closed, why),
            Ok(_) => assert_eq!(closed, 0, "write {n} is taken though the one before was not"),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => {
                *c = server.connect();
                closed += 1;
            }
            Err(e) => panic!("write {n} got no answer: {e}"),
        }
    }
    panic!("{most} writes were taken by a full disk");
}

#[test]
fn an_append_that_finds_no_space() {
    if !subject_is_ours() {
        return; // stock loses what `everysec` had acknowledged, or exits under `always`
    }
    for fsync in ["everysec", "always"] {
        let directives = [("appendonly", "yes"), ("appendfsync", fsync), ("repl-backlog-size", "1mb")];
        let Some((server, disk)) = on_small_disk(32, &directives) else { return };
        let mut c = server.connect();
        c.must(&["SET", "early", "1"]);
        disk.fill_up(2048);
        let (acked, why) = write_until_refused(&server, &mut c, 2000);
        assert!(why.starts_with("MISCONF"), "{fsync}: {why}");
        assert_eq!(c.must(&["GET", "early"]).text(), "1", "reads go on");
        assert_eq!(info(&mut c, "aof_last_write_status"), "err");
        disk.relieve();
        eventually("writes are taken again", Duration::from_secs(15), || {
            (c.cmd(&["SET", "healed", "1"]) == Value::ok()).then_some(())
        });
        assert_eq!(info(&mut c, "aof_last_write_status"), "ok");
        let mut server = server;
        server.kill();
        let server = server.restart();
        verify(&mut server.connect(), acked, fsync);
        assert_eq!(server.connect().must(&["GET", "healed"]).text(), "1");
        drop(server);
        drop(disk);
    }
}

#[test]
fn a_kill_while_the_disk_is_full() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("appendonly", "yes"), ("repl-backlog-size", "1mb")];
    let Some((mut server, disk)) = on_small_disk(32, &directives) else { return };
    let mut c = server.connect();
    disk.fill_up(2048);
    let (acked, _) = write_until_refused(&server, &mut c, 2000);
    server.kill();
    // Still full: it comes up to read from, or refuses in words; with space everything is there.
    match server.launch().spawn().ready(Duration::from_secs(20)) {
        Ok(mut up) => {
            verify(&mut up.connect(), acked, "while full");
            up.stop();
        }
        Err(end) => assert!(end.signal.is_none() && end.said().contains("space"), "{end}"),
    }
    disk.relieve();
    let server = server.restart();
    verify(&mut server.connect(), acked, "with space again");
    drop(server);
    drop(disk);
}

/// SIGTERM while the disk is full ends the server, which says what is so; the ring has what the log lacks.
#[test]
fn a_shutdown_while_the_disk_is_full() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("appendonly", "yes"), ("repl-backlog-size", "1mb")];
    let Some((mut server, disk)) = on_small_disk(32, &directives) else { return };
    let mut c = server.connect();
    disk.fill_up(2048);
    let (acked, _) = write_until_refused(&server, &mut c, 2000);
    // A rewrite that waits for the log must not hold the end up either.
    c.send_raw(&crate::client::encode(&["BGREWRITEAOF"])).unwrap();
    let end = server.stop();
    assert_eq!((end.code, end.signal), (Some(1), None), "{end}");
    assert!(end.stderr.contains("not a clean shutdown") && end.stderr.contains("space"), "{end}");
    disk.relieve();
    let server = server.restart();
    verify(&mut server.connect(), acked, "with space again");
    drop(server);
    drop(disk);
}

/// What one batch turns into may be larger than the ring, just when the disk is full: such units wait in memory with
/// their replies, and push nothing out of the ring that was acknowledged.
#[test]
fn a_batch_that_outgrows_the_ring_on_a_full_disk() {
    if !subject_is_ours() {
        return;
    }
    let directives = [("appendonly", "yes"), ("repl-backlog-size", "1mb")];
    let Some((mut server, disk)) = on_small_disk(32, &directives) else { return };
    let mut c = server.connect();
    disk.fill_up(1024);
    for n in 0..10 {
        c.must(&["SET".to_string(), format!("key:{n}"), "v".repeat(32 * 1024)]);
    }
    c.send_raw(&crate::client::encode(&["DEBUG", "POPULATE", "40000"])).unwrap(); // some 3 MB of stream
    let mut other = server.connect();
    eventually("writes are refused", Duration::from_secs(15), || match other.cmd(&["SET", "k", "v"]) {
        Value::Error(why) if why.starts_with("MISCONF") => Some(()),
        _ => None,
    });
    assert!(other.must(&["DBSIZE"]).int() >= 40_000, "reads go on");
    server.kill();
    disk.relieve();
    let server = server.restart();
    verify(&mut server.connect(), 10, "after a kill");
    drop(server);
    drop(disk);
}

#[test]
fn a_snapshot_that_finds_no_space() {
    let directives = [("appendonly", "no"), ("save", "3600 1000000"), ("repl-backlog-size", "1mb")];
    let Some((server, disk)) = on_small_disk(64, &directives) else { return };
    let mut c = server.connect();
    // 300 values that compression cannot help.
    for n in 0..300u64 {
        c.must(&[b"SET".to_vec(), format!("key:{n}").into_bytes(), crate::fill::noise(n, 20_000)]);
    }
    assert_eq!(bgsave(&mut c), "ok");
    let good = fs::read(server.data().join("dump.rdb")).unwrap();
    disk.fill_up(1024);
    c.must(&["SET", "more", "1"]);
    c.must(&["BGSAVE"]);
    eventually("BGSAVE fails", Duration::from_secs(20), || {
        (info(&mut c, "rdb_last_bgsave_status") == "err").then_some(())
    });
    assert!(fs::read(server.data().join("dump.rdb")).unwrap() == good, "the last good snapshot is untouched");
    assert!(c.cmd(&["SET", "k", "v"]).text().starts_with("MISCONF"), "stop-writes-on-bgsave-error");
    assert_eq!(c.must(&["GET", "more"]).text(), "1");
    assert_no_leftovers(server.data());
    disk.relieve();
    assert_eq!(bgsave(&mut c), "ok");
    assert_eq!(c.cmd(&["SET", "k", "v"]), Value::ok());
    drop(server);
    drop(disk);
}

#[test]
fn a_rewrite_that_finds_no_space() {
    let directives =
        [("appendonly", "yes"), ("repl-backlog-size", "1mb"), ("auto-aof-rewrite-percentage", "0")];
    let Some((server, disk)) = on_small_disk(64, &directives) else { return };
    let mut c = server.connect();
    for n in 0..300u64 {
        c.must(&[b"SET".to_vec(), format!("key:{n}").into_bytes(), crate::fill::noise(n, 20_000)]);
    }
    crate::harness::rewrite_aof(&mut c); // a young log's own first rewrite is over, and needs no space below
    c.must(&["WAITAOF", "1", "0", "0"]); // and the segments that it replaced are closed, so that they give back none
    disk.fill_up(3072);
    c.must(&["BGREWRITEAOF"]);
    eventually("the rewrite fails", Duration::from_secs(20), || {
        (info(&mut c, "aof_last_bgrewrite_status") == "err").then_some(())
    });
    c.must(&["SET", "after", "1"]);
    disk.relieve();
    crate::harness::rewrite_aof(&mut c);
    let server = server.restart();
    assert_eq!(server.connect().must(&["DBSIZE"]), Value::Int(301));
    drop(server);
    drop(disk);
}

#[test]
fn a_ring_that_finds_no_space() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(&[("appendonly", "yes"), ("repl-backlog-size", "64mb")]);
    let Some(disk) = SmallDisk::mount(8) else { return };
    let data = disk.path().to_path_buf();
    let end = launch.clone().in_data(&data).start_failing();
    assert_eq!((end.code, end.signal), (Some(1), None), "{end}");
    assert!(end.said().contains("backlog.ring"), "{end}");
    let smaller = launch.in_data(&data).with("repl-backlog-size", "1mb").start();
    assert_eq!(
        smaller.connect().cmd(&["SET", "a", "1"]),
        Value::ok(),
        "nothing of the failed start is in the way"
    );
    drop(smaller);
    drop(disk);
}

/// The same with a limit on file sizes, which needs no privilege: SIGXFSZ must not kill, EFBIG is a full disk.
#[test]
fn a_file_that_may_not_grow() {
    if !subject_is_ours() {
        return;
    }
    let directives =
        [("appendonly", "yes"), ("repl-backlog-size", "1mb"), ("auto-aof-rewrite-percentage", "0")];
    let limit = "ulimit -f 4096; exec \"$@\""; // 4 MiB
    let mut server = Launch::ours(&directives).wrapped(&["bash", "-c", limit, "bash"]).start();
    let mut c = server.connect();
    let (acked, why) = write_until_refused(&server, &mut c, 2000);
    assert!(why.starts_with("MISCONF"), "{why}");
    // Reads go on; PING is answered MISCONF, as stock does.
    assert_eq!(c.must(&["STRLEN", "key:0"]), Value::Int(32 * 1024));
    let end = server.kill();
    assert_eq!(end.signal, Some(9), "it lived until it was killed: {end}");
    let unlimited = server.launch().clone().wrapped(&[]).start();
    verify(&mut unlimited.connect(), acked, "without the limit");
}

fn verify(c: &mut Client, acked: u64, when: &str) {
    for n in 0..acked {
        assert_eq!(
            c.must(&["STRLEN", &format!("key:{n}")]),
            Value::Int(32 * 1024),
            "{when}: key {n} of {acked}"
        );
    }
}

fn assert_no_leftovers(data: &Path) {
    let names: Vec<String> =
        fs::read_dir(data).unwrap().flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    assert!(!names.iter().any(|n| n.starts_with("temp")), "{names:?}");
}
