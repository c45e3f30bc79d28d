//! Scenarios of the rules that need the bytes between two servers: the tests play a replica or a primary themselves.

use crate::client::Client;
use crate::harness::{Launch, Server, aof_files, eventually, info, rewrite_aof, subject_is_ours};
use ringhold::format::history::History;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const SELECT_3: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n";

/// A replica that is nothing but a socket.
pub struct Follower(BufReader<TcpStream>);

impl Follower {
    /// Asks `PSYNC replid offset`; the verdict.
    pub fn ask(port: u16, psync2: bool, replid: &str, offset: &str) -> (Follower, String) {
        let socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut follower = Follower(BufReader::new(socket));
        if psync2 {
            follower.say("REPLCONF capa psync2");
            assert_eq!(follower.line(), "+OK");
        }
        follower.say(&format!("PSYNC {replid} {offset}"));
        let verdict = follower.line();
        (follower, verdict)
    }

    fn say(&mut self, text: &str) {
        self.0.get_mut().write_all(format!("{text}\r\n").as_bytes()).unwrap();
    }

    /// The next line; bare newlines keep the connection alive and say nothing.
    fn line(&mut self) -> String {
        loop {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            if line != "\n" {
                return line.trim_end().to_string();
            }
        }
    }

    /// Takes the snapshot that follows `+FULLRESYNC`.
    pub fn skip_snapshot(&mut self) {
        self.take_payload();
        self.say("REPLCONF ACK 0");
    }

    /// Its bytes: so many as are announced, or up to the mark.
    fn take_payload(&mut self) {
        let head = self.line();
        if let Some(mark) = head.strip_prefix("$EOF:") {
            let mut payload = Vec::new();
            while !payload.ends_with(mark.as_bytes()) {
                let piece = self.0.fill_buf().unwrap();
                assert!(!piece.is_empty(), "the connection ended in the payload");
                payload.push(piece[0]);
                self.0.consume(1);
            }
            return;
        }
        let len: u64 =
            head.strip_prefix('$').and_then(|len| len.parse().ok()).unwrap_or_else(|| panic!("{head}"));
        std::io::copy(&mut self.0.by_ref().take(len), &mut std::io::sink()).unwrap();
    }

    /// The stream's next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> String {
        let mut bytes = vec![0; len];
        self.0.read_exact(&mut bytes).unwrap();
        String::from_utf8(bytes).unwrap()
    }
}

fn place(c: &mut Client) -> (String, i64) {
    (info(c, "master_replid"), info(c, "master_repl_offset").parse().unwrap())
}

const QUIET: [(&str, &str); 2] = [("repl-diskless-sync-delay", "0"), ("repl-ping-replica-period", "3600")];

/// Rule 19, scenario 24: the asked offset is the next byte; what lies outside the history is never continued.
#[test]
fn psync_arithmetic() {
    if !subject_is_ours() {
        return;
    }
    let mut server = Launch::ours(&QUIET).start();
    server.connect().must(&["SET", "a", "1"]);
    let check = |server: &Server, psync2: bool, id: &str, next: i64, expected: &str| {
        let (_, verdict) = Follower::ask(server.port(), psync2, id, &next.to_string());
        assert!(verdict.starts_with(expected), "{id} {next}, psync2 {psync2}: {verdict}, not {expected}");
    };
    let (id, end) = place(&mut server.connect());
    let goes_on = format!("+CONTINUE {id}");
    check(&server, true, &id, end + 1, &goes_on);
    check(&server, true, &id, end, &goes_on);
    check(&server, true, &id, 1, &goes_on);
    for outside in [end + 2, 0, -1, i64::MIN, i64::MAX] {
        check(&server, true, &id, outside, "+FULLRESYNC");
    }
    check(&server, true, "?", -1, "+FULLRESYNC");
    check(&server, true, "?", end + 1, "+FULLRESYNC");
    let (_, verdict) = Follower::ask(server.port(), true, &id, "99999999999999999999");
    assert!(verdict.starts_with("-ERR value is not an integer"), "{verdict}");
    // No name is told to a replica that would not understand it, so only the present one can go on.
    let (_, verdict) = Follower::ask(server.port(), false, &id, &(end + 1).to_string());
    assert_eq!(verdict, "+CONTINUE");
    server.kill();
    let server = server.restart();
    let (new, same_end) = place(&mut server.connect());
    assert_eq!((new == id, same_end), (false, end));
    check(&server, true, &id, end + 1, &format!("+CONTINUE {new}"));
    check(&server, false, &id, end + 1, "+FULLRESYNC");
    // Beyond an end that a start has set: it holds what this server has lost.
    check(&server, true, &id, end + 2, "-NOMASTERLINK");
}

/// Who comes by SYNC is sent a payload of unknown length if it said that it takes one, and files are not to be used.
#[test]
fn sync_brings_a_payload_of_either_kind() {
    if !subject_is_ours() {
        return;
    }
    for (diskless, says, marked) in [("yes", true, true), ("yes", false, false), ("no", true, false)] {
        let server = Launch::ours(&[QUIET.as_slice(), &[("repl-diskless-sync", diskless)]].concat()).start();
        let socket = TcpStream::connect(("127.0.0.1", server.port())).unwrap();
        socket.set_read_timeout(Some(LIMIT)).unwrap();
        let mut follower = Follower(BufReader::new(socket));
        if says {
            follower.say("REPLCONF capa eof");
            assert_eq!(follower.line(), "+OK");
        }
        follower.say("SYNC");
        let head = follower.line();
        assert!(head.starts_with('$'), "{head}");
        assert_eq!(head.starts_with("$EOF:"), marked, "{diskless} {says}: {head}");
    }
}

/// A replica that needs longer than repl-timeout to load its payload says a newline each second, as Redis' do, and is kept;
/// one that falls silent is not.
#[test]
fn a_replica_that_loads_and_says_so_is_kept() {
    if !subject_is_ours() {
        return;
    }
    const TIMEOUT: u32 = 3;
    let timeout = TIMEOUT.to_string();
    let server = Launch::ours(&[QUIET.as_slice(), &[("repl-timeout", timeout.as_str())]].concat()).start();
    let mut c = server.connect();
    let mut followers: Vec<Follower> = ["yes", "no"]
        .into_iter()
        .map(|diskless| {
            c.must(&["CONFIG", "SET", "repl-diskless-sync", diskless]);
            let mut follower =
                Follower(BufReader::new(TcpStream::connect(("127.0.0.1", server.port())).unwrap()));
            follower.say("REPLCONF capa eof capa psync2");
            assert_eq!(follower.line(), "+OK");
            follower.say("PSYNC ? -1");
            assert!(follower.line().starts_with("+FULLRESYNC"));
            follower.take_payload();
            follower
        })
        .collect();
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_secs(2 * u64::from(TIMEOUT) + 1) {
        for follower in &mut followers {
            follower.0.get_mut().write_all(b"\n").unwrap();
        }
        assert_eq!(info(&mut c, "connected_slaves"), "2", "{}", server.log());
        std::thread::sleep(Duration::from_millis(200)); // the replicas' pace
    }
    eventually("the silent ones to be given up", LIMIT, || {
        (info(&mut c, "connected_slaves") == "0").then_some(())
    });
}

/// Rule 5: what a crash of the machine may have taken, a replica may lose as well; what a crash of the process cannot have
/// taken, or what was synced before it was sent, it may not.
#[test]
fn a_replica_ahead_of_a_machine_crash_is_overwritten() {
    if !subject_is_ours() {
        return;
    }
    let ring = 1 << 20;
    let check = |log: &[(&str, &str)], same_boot: bool, ahead: i64, expected: &str| {
        let mut launch = Launch::ours(&QUIET).with("repl-backlog-size", &ring.to_string());
        for (name, value) in log {
            launch = launch.with(name, value);
        }
        let mut server = launch.start();
        server.connect().must(&["SET", "a", "1"]);
        let (id, end) = place(&mut server.connect());
        server.kill();
        let path = server.data().join("replication.toml");
        let mut history = History::parse(&fs::read(&path).unwrap()).unwrap();
        assert!(!history.boot_id.is_empty());
        if !same_boot {
            history.boot_id = "another".into();
            fs::write(&path, history.emit()).unwrap();
        }
        let server = server.restart();
        let (_, verdict) = Follower::ask(server.port(), true, &id, &(end + 1 + ahead).to_string());
        assert!(verdict.starts_with(expected), "{log:?}, same boot {same_boot}, {ahead}: {verdict}");
    };
    let everysec = [("appendonly", "yes"), ("appendfsync", "everysec")];
    let always = [("appendonly", "yes"), ("appendfsync", "always")];
    check(&everysec, true, 1, "-NOMASTERLINK");
    check(&everysec, false, 1, "+FULLRESYNC");
    check(&everysec, false, ring, "+FULLRESYNC");
    check(&everysec, false, ring + 1, "-NOMASTERLINK");
    check(&always, false, 1, "-NOMASTERLINK");
    check(&[("appendonly", "no"), ("save", "3600 1")], false, 1, "+FULLRESYNC");
}

/// Rule 22, scenario 25: whoever joins the stream at a start, a promotion or a cut is told the database before the first
/// command, though the stream was in it before.
#[test]
fn select_comes_first_after_start_promotion_and_cut() {
    if !subject_is_ours() {
        return;
    }
    let write = |server: &Server, key: &str| {
        let mut c = server.connect();
        c.must(&["SELECT", "3"]);
        c.must(&["SET", key, "1"]);
    };
    let first = |follower: &mut Follower, what: &str| {
        assert_eq!(follower.bytes(SELECT_3.len()), SELECT_3, "{what}");
    };
    let mut server = Launch::ours(&QUIET).start();
    write(&server, "a");

    let (mut follower, verdict) = Follower::ask(server.port(), true, "?", "-1");
    assert!(verdict.starts_with("+FULLRESYNC"), "{verdict}");
    follower.skip_snapshot();
    write(&server, "b");
    first(&mut follower, "after a cut");
    drop(follower);

    server.kill();
    let server = server.restart();
    let (id, end) = place(&mut server.connect());
    let (mut follower, verdict) = Follower::ask(server.port(), true, &id, &(end + 1).to_string());
    assert!(verdict.starts_with("+CONTINUE"), "{verdict}");
    write(&server, "c");
    first(&mut follower, "after a start");

    let replica = Launch::ours(&QUIET).with("replicaof", &format!("127.0.0.1 {}", server.port())).start();
    let (mut c, mut r) = (server.connect(), replica.connect());
    eventually("the replica is in sync", LIMIT, || {
        (info(&mut r, "master_link_status") == "up" && place(&mut r) == place(&mut c)).then_some(())
    });
    write(&server, "d");
    eventually("the replica is in sync", LIMIT, || (place(&mut r) == place(&mut c)).then_some(()));
    r.must(&["REPLICAOF", "NO", "ONE"]);
    let (id, end) = place(&mut r);
    let (mut follower, verdict) = Follower::ask(replica.port(), true, &id, &(end + 1).to_string());
    assert!(verdict.starts_with("+CONTINUE"), "{verdict}");
    write(&replica, "e");
    first(&mut follower, "after a promotion");
}

/// Rule 21, scenario 26: segments begin and end between units, on a primary and on its replica, however a rewrite falls into
/// transactions.
#[test]
fn rotation_falls_between_units() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&[("appendonly", "yes"), QUIET[0]]).start();
    let replica = Launch::ours(&[("appendonly", "yes")])
        .with("replicaof", &format!("127.0.0.1 {}", primary.port()))
        .start();
    let (mut c, mut r) = (primary.connect(), replica.connect());
    eventually("the link", LIMIT, || (info(&mut r, "master_link_status") == "up").then_some(()));
    let stop = std::sync::atomic::AtomicBool::new(false);
    let mut kept = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut writer = primary.connect();
            let mut n = 0;
            while !stop.load(std::sync::atomic::Ordering::Relaxed) {
                writer.must(&["MULTI"]);
                for key in ["a", "b", "c"] {
                    writer.must(&["SET", key, &format!("{n}{}", "x".repeat(2000))]);
                }
                writer.must(&["EXEC"]);
                n += 1;
            }
        });
        for server in [&primary, &replica, &primary, &replica] {
            // A second name, under which it can be looked at after the rewrite has dropped it.
            for segment in aof_files(server.data(), ".incr.aof") {
                fs::hard_link(&segment, server.launch().scratch().join(format!("kept-{kept}"))).unwrap();
                kept += 1;
            }
            rewrite_aof(if std::ptr::eq(server, &primary) { &mut c } else { &mut r });
        }
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    for mut server in [primary, replica] {
        server.stop();
        let mut segments = aof_files(server.data(), ".incr.aof");
        segments.extend(
            (0..kept).map(|n| server.launch().scratch().join(format!("kept-{n}"))).filter(|p| p.exists()),
        );
        assert!(segments.len() > 2);
        for segment in segments {
            let words = words(&fs::read(&segment).unwrap());
            let ends: Vec<&str> =
                words.iter().map(String::as_str).filter(|word| matches!(*word, "MULTI" | "EXEC")).collect();
            assert!(ends.len().is_multiple_of(2), "{}: half a unit", segment.display());
            assert!(ends.chunks(2).all(|pair| pair == ["MULTI", "EXEC"]), "{}: {ends:?}", segment.display());
        }
    }
}

/// The names of a segment's commands.
fn words(bytes: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(bytes);
    let mut lines = text.split("\r\n");
    let mut names = Vec::new();
    while let Some(line) = lines.next() {
        if line.starts_with('*') {
            names.extend(lines.by_ref().nth(1).map(str::to_uppercase));
        }
    }
    names
}

/// Rule 26, scenario 33: what CONFIG SET dir and dbfilename name are exports; a restart goes by the directory of the start.
#[test]
fn a_directory_set_at_run_time_takes_exports_only() {
    if !subject_is_ours() {
        return;
    }
    for appendonly in ["yes", "no"] {
        let settings = [("appendonly", appendonly), ("save", "3600 1"), ("enable-protected-configs", "yes")];
        let mut server = Launch::ours(&settings).start();
        let mut c = server.connect();
        c.must(&["SET", "a", "1"]);
        let elsewhere = server.launch().scratch().join("elsewhere");
        fs::create_dir(&elsewhere).unwrap();
        c.must(&["CONFIG", "SET", "dir", elsewhere.to_str().unwrap()]);
        c.must(&["CONFIG", "SET", "dbfilename", "export.rdb"]);
        c.must(&["SET", "b", "2"]);
        c.must(&["SAVE"]);
        c.must(&["SET", "c", "3"]);
        assert!(elsewhere.join("export.rdb").is_file() && !server.data().join("export.rdb").exists());
        let (id, end) = place(&mut c);
        server.kill();
        let server = server.restart();
        let mut c = server.connect();
        let values: Vec<String> = ["a", "b", "c"].iter().map(|key| c.must(&["GET", key]).text()).collect();
        assert_eq!(values, ["1", "2", "3"], "appendonly {appendonly}");
        assert_eq!((info(&mut c, "master_replid2"), place(&mut c).1), (id, end), "appendonly {appendonly}");
        // The export is a snapshot like any other.
        let import = Launch::ours(&[("dbfilename", "export.rdb")]).in_data(&elsewhere).start();
        assert_eq!(import.connect().must(&["DBSIZE"]).int(), 2);
    }
}

/// Rule 27, scenario 36: the configuration decides the role; `replication.toml` only tells what that change is.
#[test]
fn the_configuration_decides_the_role() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&QUIET).start();
    primary.connect().must(&["SET", "a", "1"]);
    let follows = format!("127.0.0.1 {}", primary.port());
    for killed in [false, true] {
        let launch = Launch::ours(&QUIET);
        let recorded = || fs::read_to_string(launch.data().join("replication.toml")).unwrap();
        let mut server = launch.clone().with("replicaof", &follows).start();
        let (mut c, mut p) = (server.connect(), primary.connect());
        eventually("the replica is in sync", LIMIT, || {
            (info(&mut c, "master_link_status") == "up" && place(&mut c) == place(&mut p)).then_some(())
        });
        assert!(recorded().contains("role = \"replica\""), "{}", recorded());
        let before = place(&mut c);
        let end = |server: &mut Server| if killed { server.kill() } else { server.stop() };
        end(&mut server);

        // Recorded as a replica, configured as a primary: a promotion.
        let mut server = launch.start();
        let mut c = server.connect();
        assert_eq!((info(&mut c, "role").as_str(), place(&mut c).1), ("master", before.1));
        assert_eq!(info(&mut c, "master_replid2"), before.0);
        assert!(
            recorded().contains("role = \"primary\"") && recorded().contains("promotion"),
            "{}",
            recorded()
        );
        c.must(&["SET", "b", "2"]);
        let (id, at) = place(&mut c);
        end(&mut server);

        // Recorded as a primary, configured as a replica of nobody who answers: no new name.
        let nobody = Launch::ours(&[]).port();
        let mut server = launch.clone().with("replicaof", &format!("127.0.0.1 {nobody}")).start();
        let mut c = server.connect();
        assert_eq!((info(&mut c, "role").as_str(), place(&mut c)), ("slave", (id, at)));
        assert!(recorded().contains("role = \"replica\""), "{}", recorded());
        end(&mut server);
    }
}

/// A primary that is nothing but a socket: answers the handshake of the next replica that calls, up to its PSYNC.
pub fn next_call(listener: &TcpListener) -> (BufReader<TcpStream>, String, i64) {
    let (socket, _) = listener.accept().unwrap();
    socket.set_read_timeout(Some(LIMIT)).unwrap();
    let mut reader = BufReader::new(socket);
    loop {
        let command = command(&mut reader).expect("the replica says PSYNC");
        let reply = match command[0].to_uppercase().as_str() {
            "PSYNC" => return (reader, command[1].clone(), command[2].parse().unwrap()),
            "PING" => "+PONG\r\n",
            _ => "+OK\r\n",
        };
        reader.get_mut().write_all(reply.as_bytes()).unwrap();
    }
}

/// The next command; `None` at the connection's end.
fn command(reader: &mut BufReader<TcpStream>) -> Option<Vec<String>> {
    let mut number = |sign: char| -> Option<usize> {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        line.trim_end().strip_prefix(sign)?.parse().ok()
    };
    let count = number('*')?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut number = String::new();
        reader.read_line(&mut number).ok()?;
        let len: usize = number.trim_end().strip_prefix('$')?.parse().ok()?;
        let mut word = vec![0; len + 2];
        reader.read_exact(&mut word).ok()?;
        words.push(String::from_utf8_lossy(&word[..len]).into_owned());
    }
    Some(words)
}

/// Rule 28, scenario 37: a command that this server does not know is neither applied nor appended; the link stays down at
/// the position before it, and says why. (A name that no version will have.)
#[test]
fn an_unknown_command_from_upstream_stops_the_link() {
    if !subject_is_ours() {
        return;
    }
    const SET: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n1\r\n";
    const UNKNOWN: &str = "*5\r\n$9\r\nXNOSUCH.1\r\n$1\r\ns\r\n$1\r\n*\r\n$1\r\nf\r\n$1\r\nv\r\n";
    const AFTER: &str = "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\n2\r\n";
    let id = "0123456789abcdef0123456789abcdef01234567";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("127.0.0.1 {}", listener.local_addr().unwrap().port());
    let mut replica = Launch::ours(&[("appendonly", "yes")]).with("replicaof", &upstream).start();

    let (mut call, asked, _) = next_call(&listener);
    assert_ne!(asked, id);
    let empty = b"REDIS0009\xff\0\0\0\0\0\0\0\0"; // no checksum
    let full = format!("+FULLRESYNC {id} 1000\r\n${}\r\n", empty.len());
    call.get_mut().write_all(full.as_bytes()).unwrap();
    call.get_mut().write_all(empty).unwrap();
    call.get_mut().write_all([SET, UNKNOWN, AFTER].concat().as_bytes()).unwrap();
    let before = 1000 + SET.len() as i64;

    for restarted in [false, true] {
        // It comes back for the unknown command, which it gets once more, and a third time.
        for _ in 0..2 {
            let (mut call, asked, next) = next_call(&listener);
            assert_eq!((asked.as_str(), next), (id, before + 1), "restarted: {restarted}");
            call.get_mut().write_all(format!("+CONTINUE {id}\r\n{UNKNOWN}{AFTER}").as_bytes()).unwrap();
            while command(&mut call).is_some() {} // until it hangs up
        }
        let mut c = replica.connect();
        eventually("the reason in INFO", LIMIT, || {
            info(&mut c, "master_link_trouble").contains("XNOSUCH.1").then_some(())
        });
        assert_eq!(info(&mut c, "master_link_status"), "down");
        assert_eq!(info(&mut c, "slave_repl_offset"), before.to_string());
        assert_eq!(c.must(&["GET", "a"]).text(), "1");
        assert!(replica.log().contains("XNOSUCH.1"), "{}", replica.log());
        if !restarted {
            replica.kill();
            replica = replica.restart();
        }
    }
}
