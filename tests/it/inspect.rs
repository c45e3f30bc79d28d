//! `ringhold-inspect` as a program: exit codes, output, real servers' directories, what stock's checkers say beside it.

use crate::harness::{Launch, aof_files, eventually, info, stock_tool, subject_is_ours};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

fn inspect(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_ringhold-inspect")).args(args).output().unwrap()
}

/// Exit code and both outputs together.
fn said(args: &[&str]) -> (i32, String) {
    let output = inspect(args);
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn samples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "rdb")).collect()
}

#[test]
fn samples_are_sound_packed_or_not_from_a_file_or_a_pipe() {
    let scratch = tempfile::tempdir().unwrap();
    for file in samples() {
        let (code, out) = said(&["check", text(&file)]);
        assert_eq!(code, 0, "{out}");
        let (code, summary) = said(&["summary", "--json", text(&file)]);
        assert_eq!(code, 0, "{summary}");

        let packed = scratch.path().join("packed.gz");
        let gzip = Command::new("gzip").arg("-c").arg(&file).output().unwrap();
        fs::write(&packed, gzip.stdout).unwrap();
        assert_eq!(said(&["check", text(&packed)]).0, 0);
        let (code, from_packed) = said(&["summary", "--json", text(&packed)]);
        assert_eq!((code, from_packed.replace(text(&packed), text(&file))), (0, summary.clone()));

        let mut piped = Command::new(env!("CARGO_BIN_EXE_ringhold-inspect"))
            .args(["summary", "--json", "-"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        piped.stdin.take().unwrap().write_all(&fs::read(&file).unwrap()).unwrap();
        let output = piped.wait_with_output().unwrap();
        let from_pipe = String::from_utf8(output.stdout).unwrap();
        assert_eq!(from_pipe.replace("\"-\"", &format!("{:?}", text(&file))), summary);
    }
}

#[test]
fn a_data_directory_is_checked_as_a_whole() {
    let launch = Launch::ours(&[]);
    let server = launch.start();
    let mut c = server.connect();
    for n in 0..1000 {
        c.must(&["SET", &format!("key:{n}"), "value"]);
    }
    c.must(&["SAVE"]);
    drop(c);
    drop(server); // killed
    let data = launch.data();
    let (code, out) = said(&["check", text(data)]);
    assert!(code <= 1, "{out}");
    assert!(out.contains("a start would say"), "{out}");
    launch.start().stop();
    let (code, out) = said(&["check", text(data)]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("together: sound"), "{out}");
    let (code, out) = said(&["summary", text(data)]);
    assert_eq!(code, 0, "{out}");
    assert!(out.contains("1,000"), "{out}");

    let (code, out) = said(&["log", "-A", "3", text(data)]);
    assert_eq!(code, 0, "{out}");
    let (code, out) = said(&["ring", text(data)]);
    assert!(code == 0 && out.contains("in the window are sound") && out.contains("#"), "{out}");
    let (code, out) = said(&["lineage", text(data)]);
    assert!(code == 0 && out.contains("closed cleanly") && out.contains("backlog.ring"), "{out}");
    let (code, out) = said(&["keys", "--csv", "--columns", "key", text(data)]);
    assert_eq!((code, out.lines().filter(|line| line.starts_with("key:")).count()), (0, 1000), "{out}");

    // Damage is found, and the file is named.
    let snapshot = data.join("dump.rdb");
    let mut bytes = fs::read(&snapshot).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    fs::write(&snapshot, bytes).unwrap();
    let (code, out) = said(&["check", text(data)]);
    assert_eq!(code, 2, "{out}");
    assert!(out.contains(text(&snapshot)), "{out}");
}

#[test]
fn a_torn_log_is_cut_and_what_is_cut_is_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("appendonly.aof");
    let sound = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n";
    for torn in ["*3\r\n$3\r\nSET\r\n$1\r\nk", "#TS:17", "*1\r\n$5\r\nMULTI\r\n", "\0\0\0\0"] {
        fs::write(&log, format!("{sound}{torn}")).unwrap();
        let (code, out) = said(&["check", text(&log)]);
        assert_eq!(code, 1, "{torn:?}: {out}");
        let (code, out) = said(&["check", "--fix", text(&log)]);
        assert_eq!(code, 0, "{torn:?}: {out}");
        assert_eq!(fs::read_to_string(&log).unwrap(), sound);
        let aside = fs::read_dir(scratch.path()).unwrap().map(|entry| entry.unwrap().path());
        let aside: Vec<PathBuf> = aside.filter(|path| text(path).contains(".torn-")).collect();
        assert_eq!(fs::read_to_string(&aside[0]).unwrap(), torn);
        fs::remove_file(&aside[0]).unwrap();
        assert_eq!(said(&["check", text(&log)]).0, 0);
        if let Some(checker) = stock_tool("redis-check-aof") {
            assert!(Command::new(checker).arg(&log).output().unwrap().status.success());
        }
    }
    let corrupt = format!("{sound}*1\r\n$4\r\nPONG\r\n{sound}");
    fs::write(&log, &corrupt).unwrap();
    let (code, out) = said(&["check", "--fix", text(&log)]);
    assert_eq!(code, 2, "{out}");
    assert_eq!(fs::read_to_string(&log).unwrap(), corrupt, "a corrupt log is left as it is");
}

#[test]
fn a_log_is_cut_at_a_time() {
    let scratch = tempfile::tempdir().unwrap();
    let log = scratch.path().join("appendonly.aof");
    let early = "#TS:1000\r\n*1\r\n$4\r\nPING\r\n";
    fs::write(&log, format!("{early}#TS:2000\r\n*1\r\n$4\r\nPING\r\n")).unwrap();
    let (code, out) = said(&["check", "--truncate-to-timestamp", "2000", text(&log)]);
    assert_eq!((code, out.as_str()), (0, "nothing in it is later\n"));
    let (code, out) = said(&["check", "--truncate-to-timestamp", "1999", text(&log)]);
    assert_eq!(code, 0, "{out}");
    assert_eq!(fs::read_to_string(&log).unwrap(), early);
}

/// What was cut does not come back from the ring, nor is it missed, after a clean stop or a kill; what was written in time
/// is all there, without a mark of the server's behind it.
#[test]
fn what_is_cut_at_a_time_stays_away() {
    if !subject_is_ours() {
        return;
    }
    for (killed, stock) in [(false, false), (true, false), (false, true)] {
        let directives = [("appendonly", "yes"), ("aof-timestamp-enabled", "yes"), ("save", "")];
        let mut server = Launch::ours(&directives).start();
        let mut c = server.connect();
        let second = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
        c.must(&["SELECT", "3"]);
        for key in ["a", "b"] {
            c.must(&["SET", key, "early"]);
        }
        c.must(&["WAITAOF", "1", "0", "0"]);
        let time = second();
        eventually("the next second", Duration::from_secs(10), || (second() > time).then_some(()));
        c.must(&["SET", "a", "late"]);
        c.must(&["FLUSHALL"]);
        c.must(&["WAITAOF", "1", "0", "0"]);
        let _end = if killed { server.kill() } else { server.stop() };
        let log = aof_files(server.data(), ".incr.aof").pop().unwrap();
        let (code, out) = said(&["check", "--truncate-to-timestamp", &time.to_string(), text(&log)]);
        assert_eq!(code, 0, "{out}");
        assert!(out.contains("backlog.ring.aside") && out.contains("replication.toml.aside"), "{out}");
        assert_eq!(said(&["check", text(server.data())]).0, 0);
        let server = match stock {
            false => server.restart(),
            true => {
                let Some(stock) = Launch::stock(&directives) else { continue };
                stock.in_data(server.data()).start()
            }
        };
        let mut c = server.connect();
        c.must(&["SELECT", "3"]);
        let values = ["a", "b"].map(|key| c.must(&["GET", key]).text());
        assert_eq!(values, ["early", "early"], "killed {killed}, stock {stock}");
    }
}

#[test]
fn names_cannot_move_the_cursor() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("bad\x1b[31m.rdb");
    fs::write(&file, b"REDIS0009\0\x05k\x1b[2J\x01v\0\x05k\x1b[2J\x01v\xff\0\0\0\0\0\0\0\0").unwrap();
    for command in ["check", "summary"] {
        let (code, out) = said(&[command, text(&file)]);
        assert_eq!(code, if command == "check" { 2 } else { 0 }, "{out}");
        assert!(!out.contains('\x1b'), "{out:?}");
    }
    let (_, out) = said(&["check", text(&file)]);
    assert!(out.contains("duplicated key 'k\\x1b[2J'"), "{out}");
}

/// The data that a dump makes in an empty stock server are those of the original.
#[test]
fn a_dump_makes_the_same_data_again() {
    let Some(cli) = stock_tool("redis-cli") else { return };
    for file in samples() {
        let directives = [("appendonly", "no"), ("enable-debug-command", "yes"), ("databases", "16")];
        let Some(original) = Launch::stock(&directives) else { return };
        fs::copy(&file, original.data().join("dump.rdb")).unwrap();
        let original = original.start();
        let expected = original.connect().must(&["DEBUG", "DIGEST"]).text();
        for (format, pipe) in [("resp", true), ("commands", false)] {
            let Some(copy) = Launch::stock(&directives) else { return };
            let copy = copy.start();
            let dump = inspect(&["dump", "--format", format, text(&file)]);
            assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
            let mut client = Command::new(&cli);
            client.args(["-p", &copy.port().to_string()]).args(pipe.then_some("--pipe"));
            let mut client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
            let mut input = client.stdin.take().unwrap();
            let writer = std::thread::spawn(move || input.write_all(&dump.stdout).unwrap());
            let output = client.wait_with_output().unwrap();
            writer.join().unwrap();
            let said = String::from_utf8_lossy(&output.stdout).into_owned();
            assert!(!said.contains("ERR"), "{format} of {}: {said}", file.display());
            let found = copy.connect().must(&["DEBUG", "DIGEST"]).text();
            assert_eq!(found, expected, "{format} of {}", file.display());
        }
    }
}

/// What `memory` says of a key is what stock's MEMORY USAGE answers, within what differs between versions.
#[test]
fn memory_is_estimated_as_stock_counts_it() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples/types.rdb");
    let Some(stock) = Launch::stock(&[("appendonly", "no")]) else { return };
    fs::copy(&file, stock.data().join("dump.rdb")).unwrap();
    let stock = stock.start();
    let mut c = stock.connect();
    let (code, json) = said(&["memory", "--json", "--top", "1000", text(&file)]);
    assert_eq!(code, 0, "{json}");
    let largest = json.split("\"largest\":[").nth(1).unwrap().split("],\"most_elements\"").next().unwrap();
    let field = |object: &str, name: &str| -> String {
        let rest = object.split(&format!("\"{name}\":")).nth(1).unwrap();
        rest.split([',', '}']).next().unwrap().trim_matches('"').to_string()
    };
    let mut compared = 0;
    // Small sets of texts are listpacks since Redis 7.2.
    let comparable = |object: &&str| !object.contains('\\') && !object.contains("\"type\":\"set\"");
    for object in largest.split("},{").filter(comparable) {
        let (key, estimate) = (field(object, "key"), field(object, "redis").parse::<f64>().unwrap());
        c.must(&["SELECT", &field(object, "db")]);
        let Ok(counted) = c.must(&["MEMORY", "USAGE", &key, "SAMPLES", "0"]).text().parse::<f64>() else {
            continue;
        };
        let off = (estimate - counted).abs();
        assert!(off <= 120.0 || off <= counted * 0.3, "{key}: estimated {estimate}, counted {counted}");
        compared += 1;
    }
    assert!(compared > 5, "{largest}");
}

#[test]
fn keys_are_listed_and_shown() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("a.rdb");
    fs::write(&file, b"REDIS0004\0\x01a\x02v\n\x04\x05h\x1b[2J\x01\x01f\x01v\xff").unwrap();
    let (code, out) = said(&["keys", "--csv", text(&file)]);
    assert_eq!(
        (code, out.as_str()),
        (
            0,
            "db,type,encoding,bytes,elements,ttl,key\n0,string,embstr,6,1,,a\n0,hash,hashtable,12,1,,h\\x1b[2J\n"
        )
    );
    let (_, out) = said(&["keys", "--type", "hash", "--columns", "key", "--json", text(&file)]);
    assert_eq!(out, "{\"key\":\"h\\u001b[2J\"}\n");
    let (code, out) = said(&["get", text(&file), r"h\x1b[2J"]);
    assert_eq!((code, out.as_str()), (0, "# hash in db 0, no deadline, at byte 15 of the file\nf\tv\n"));
    assert_eq!(said(&["get", "--raw", text(&file), "a"]), (0, "v\n".into()));
    assert_eq!(said(&["get", text(&file), "none"]).0, 1);
    assert_eq!(said(&["get", "--db", "1", text(&file), "a"]).0, 1);
    let (_, out) = said(&["get", "--json", text(&file), "a"]);
    assert_eq!(out, "{\"db\":0,\"key\":\"a\",\"type\":\"string\",\"value\":\"v\\n\"}\n");
}

#[test]
fn usage_errors_and_help() {
    assert_eq!(said(&["check", "/no/such/file"]).0, 3);
    assert_eq!(said(&["no-such-command"]).0, 3);
    let (code, help) = said(&["--help"]);
    assert!(code == 0 && help.contains("Exit codes:") && help.contains("Examples:"), "{help}");
    let (code, script) = said(&["completions", "bash"]);
    assert!(code == 0 && script.contains("ringhold-inspect"), "{script}");
    let (code, page) = said(&["man"]);
    assert!(code == 0 && page.contains(".TH"), "{page}");
}

/// What is written anew is taken by servers and stock's checker, and holds the same keys.
#[test]
fn files_that_are_written_are_what_servers_take() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    for file in samples().into_iter().filter(|file| !file.ends_with("unchecked.rdb")) {
        let new = at("new.rdb");
        let (code, out) = said(&["convert", "--rdb-version", "9", "-o", text(&new), text(&file)]);
        assert_eq!(code, 0, "{out}");
        assert_eq!(said(&["check", text(&new)]).0, 0);
        let (code, out) = said(&["diff", text(&file), text(&new)]);
        assert_eq!(code, 0, "{out}");
        if let Some(checker) = stock_tool("redis-check-rdb") {
            assert!(Command::new(checker).arg(&new).output().unwrap().status.success());
        }
        // What is there is not replaced.
        assert_eq!(said(&["convert", "-o", text(&new), text(&file)]).0, 3);

        let mut bytes = fs::read(&new).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x40;
        fs::write(&new, bytes).unwrap();
        let rest = at("rest.rdb");
        let (code, out) = said(&["salvage", "-o", text(&rest), text(&new)]);
        assert_eq!(code, 1, "{out}");
        assert_eq!(said(&["check", text(&rest)]).0, 0);
        fs::remove_file(new).unwrap();
        fs::remove_file(rest).unwrap();
    }
}

#[test]
fn the_state_of_a_directory_at_an_earlier_place() {
    let launch = Launch::ours(&[]);
    let mut server = launch.start();
    let mut c = server.connect();
    c.must(&["SET", "key", "early"]);
    c.must(&["RPUSH", "list", "a", "b"]);
    let offset = info(&mut c, "master_repl_offset");
    c.must(&["SET", "key", "late"]);
    c.must(&["SET", "more", "x"]);
    drop(c);
    server.stop();
    let scratch = tempfile::tempdir().unwrap();
    let (then, last) = (scratch.path().join("then.rdb"), scratch.path().join("last.rdb"));
    let data = text(launch.data());
    let (code, out) = said(&["at", "--offset", &offset, "-o", text(&then), data]);
    assert!(code == 0 && out.starts_with("2 keys at "), "{out}");
    let (code, out) = said(&["at", "-o", text(&last), data]);
    assert!(code == 0 && out.starts_with("3 keys"), "{out}");
    assert_eq!(said(&["check", text(&then)]).0, 0);
    let (code, out) = said(&["diff", text(&then), text(&last)]);
    assert_eq!(code, 1, "{out}");
    assert!(out.contains("~ 0   string  key  (value)") && out.contains("+ 0   string  more"), "{out}");
    assert!(out.contains("1 added, 0 removed, 1 changed, 1 the same"), "{out}");
    assert_eq!(said(&["at", "--offset", "999999999", "-o", text(&scratch.path().join("x")), data]).0, 3);
}
