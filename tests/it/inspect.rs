//! `ringhold-inspect` as a program: exit codes, output, real servers' directories, what stock's checkers say beside it.

use crate::harness::{Launch, aof_files, eventually, info, rewrite_aof, stock_tool, subject_is_ours};
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

/// What cannot be done says what, where, and what there is instead; what is not found says so.
#[test]
fn usage_errors_and_help() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("a.rdb");
    fs::write(&file, b"REDIS0004\0\x01a\x01v\xff").unwrap();
    let file = text(&file);
    let new = format!("{file}.new");
    for (args, code, expected) in [
        (vec!["check", "/no/such/file"], 3, "/no/such/file: No such file"),
        (vec!["no-such-command"], 3, "unrecognized subcommand"),
        (vec!["get", file, "none"], 1, "a.rdb: no key 'none' in any database"),
        (vec!["get", "--db", "7", file, "a"], 1, "no key 'a' in db 7"),
        (vec!["log", file], 3, "a.rdb is a snapshot with no commands behind it"),
        (vec!["keys", "--type", "strng", file], 3, "possible values: string, list"),
        (vec!["keys", "--encoding", "none", file], 3, "possible values: int, embstr"),
        (vec!["keys", "--size", "9..1", file], 3, "it ends before it begins"),
        (vec!["keys", "--regex", "[", file], 3, "--regex: unclosed character class"),
        (vec!["convert", "--rdb-version", "5", "-o", &new, file], 3, "there are 6 to 12, and 80"),
        (vec!["convert", "-o", file, file], 3, "is there already; nothing is replaced"),
        (vec!["summary", "redis://127.0.0.1:1"], 3, "connecting to redis://127.0.0.1:1: Connection refused"),
    ] {
        let (found, out) = said(&args);
        assert!(found == code && out.contains(expected), "{args:?}: {found} {out}");
    }
    assert!(!Path::new(&new).exists());
    let (code, help) = said(&["--help"]);
    assert!(code == 0 && help.contains("Exit codes:") && help.contains("Examples:"), "{help}");
    let (code, script) = said(&["completions", "bash"]);
    assert!(code == 0 && script.contains("ringhold-inspect"), "{script}");
    let (code, page) = said(&["man"]);
    assert!(code == 0 && page.contains(".TH"), "{page}");
}

/// Several files at once: each is looked at, also behind one that cannot be, and the worst one gives the exit code.
#[test]
fn several_files_are_looked_at_one_after_another() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let (sound, torn, none) = (at("a.rdb"), at("b.aof"), at("none"));
    fs::write(&sound, b"REDIS0004\0\x01a\x01v\xff").unwrap();
    fs::write(&torn, b"*1\r\n$4\r\nPING\r\n*1\r\n").unwrap();
    let [sound, torn, none] = [&sound, &torn, &none].map(|path| text(path));
    let (code, out) = said(&["check", sound, torn]);
    assert!(code == 1 && out.contains("a.rdb: snapshot") && out.contains("b.aof: log"), "{out}");
    let (code, out) = said(&["check", none, sound]);
    assert!(code == 3 && out.contains("a.rdb: snapshot") && out.contains("No such file"), "{out}");
    let output = inspect(&["summary", "--json", sound, none, torn]);
    let found: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let kinds: Vec<&str> =
        found.as_array().unwrap().iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!((output.status.code(), kinds), (Some(3), vec!["snapshot", "log"]));
    assert_eq!(found[1]["facts"]["commands"], 1);
    let output = inspect(&["check", "--fix", "--json", torn]);
    let mut lines = output.stdout.split(|byte| *byte == b'\n');
    let mut next = || serde_json::from_slice::<serde_json::Value>(lines.next().unwrap()).unwrap();
    assert_eq!(next()["verdict"], "torn tail");
    assert_eq!(next()["fixed"][0]["cut"], 4);
    assert_eq!(said(&["check", sound, torn]).0, 0);
}

/// A packed file that is cut off or damaged is damaged, wherever; packed by several workers or in several pieces it is sound.
#[test]
fn packed_files_are_sound_or_damaged() {
    let scratch = tempfile::tempdir().unwrap();
    let mut bytes = b"REDIS0004\xfe\0".to_vec();
    for n in 0..9000 {
        bytes.extend_from_slice(format!("\0\x05{n:05}\x05{:05}", n * 7919 % 99_991).as_bytes());
    }
    bytes.push(0xff);
    let zstd =
        |bytes: &[u8]| ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest);
    let pack = |bytes: &[u8]| {
        let plain = scratch.path().join("plain");
        fs::write(&plain, bytes).unwrap();
        Command::new("gzip").arg("-c").arg(&plain).output().unwrap().stdout
    };
    let (a, b) = bytes.split_at(50_000);
    let skipped = b"\x50\x2a\x4d\x18\x04\0\0\0size".to_vec();
    let file = scratch.path().join("packed");
    for whole in [[skipped, zstd(a), zstd(b)].concat(), [pack(a), pack(b)].concat()] {
        fs::write(&file, &whole).unwrap();
        let (code, out) = said(&["check", text(&file)]);
        assert_eq!(code, 0, "{out}");
        fs::write(&file, &whole[..whole.len() - 200]).unwrap();
        for command in ["check", "summary", "keys", "diff"] {
            let both = [text(&file), text(&file)];
            let (code, out) = said(&[&[command], &both[..if command == "diff" { 2 } else { 1 }]].concat());
            assert!(code == 2 && out.contains("packed: at byte ") && out.contains("data end here"), "{out}");
        }
    }
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
    c.must(&["SAVE"]);
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
    assert!(
        out.contains("~ 0   string  key  (value: from byte 0, length 5 → 4)")
            && out.contains("+ 0   string  more"),
        "{out}"
    );
    assert!(out.contains("1 added, 0 removed, 1 changed, 1 the same"), "{out}");
    assert_eq!(said(&["at", "--offset", "999999999", "-o", text(&scratch.path().join("x")), data]).0, 3);
}

/// A running server, ours or stock, is read as its snapshot would be; it has no replica more afterwards.
#[test]
fn a_running_server_is_read_as_a_file_is() {
    let stock = Launch::stock(&[("appendonly", "no"), ("repl-diskless-sync-delay", "0")]);
    for launch in [Some(Launch::ours(&[])), stock].into_iter().flatten() {
        let server = launch.start();
        let mut c = server.connect();
        c.must(&["SET", "text", "value"]);
        c.must(&["HSET", "hash", "a", "1", "b", "2"]);
        c.must(&["CONFIG", "SET", "requirepass", "p@ss"]);
        let (with, without) = (
            format!("redis://:p%40ss@127.0.0.1:{}", server.port()),
            format!("redis://127.0.0.1:{}", server.port()),
        );
        let (code, out) = said(&["check", &with]);
        assert!(code == 0 && out.starts_with(&without) && !out.contains("p%40ss"), "{out}");
        let (code, out) = said(&["keys", "--csv", "--columns", "type,key", &with]);
        let mut lines: Vec<&str> = out.lines().collect();
        lines.sort();
        assert_eq!((code, lines), (0, vec!["hash,hash", "string,text", "type,key"]));
        let (code, out) = said(&["summary", &without]);
        assert!(code == 3 && out.contains("NOAUTH"), "{out}");
        let (code, out) = said(&["summary", &with.replace("p%40ss", "wrong")]);
        assert!(code == 3 && out.contains("WRONGPASS") && !out.contains("wrong@"), "{out}");

        let scratch = tempfile::tempdir().unwrap();
        let before = scratch.path().join("before.rdb");
        let (code, out) = said(&["convert", "-o", text(&before), &with]);
        assert_eq!(code, 0, "{out}");
        c.must(&["HSET", "hash", "b", "3", "c", "4"]);
        c.must(&["APPEND", "text", "s"]);
        let (code, out) = said(&["diff", text(&before), &with]);
        let expected = [
            "~ 0   hash    hash  (value: 1 added, 1 changed)",
            "      + c  4",
            "      ~ b  2 → 3",
            "~ 0   string  text  (value: from byte 5, length 5 → 6)",
            "      ~ value → values",
        ];
        assert!(code == 1 && expected.iter().all(|line| out.lines().any(|said| said == *line)), "{out}");
        eventually("the reader is no replica any more", Duration::from_secs(60), || {
            (info(&mut c, "connected_slaves") == "0").then_some(())
        });
    }
    let (code, out) = said(&["log", "--follow", "redis://127.0.0.1:1"]);
    assert!(code == 3 && out.contains("can be followed"), "{out}");
    let (code, out) = said(&["summary", "redis://127.0.0.1:1"]);
    assert!(code == 3 && out.contains("refused"), "{out}");
}

/// What only the log has is compared and written, too: of a directory, of a manifest, of stock's old single file.
#[test]
fn directories_and_logs_are_compared_as_what_they_amount_to() {
    let launch = Launch::ours(&[]);
    let mut server = launch.start();
    let mut c = server.connect();
    c.must(&["SET", "base", "x"]);
    rewrite_aof(&mut c);
    c.must(&["RPUSH", "list", "a", "b", "c"]);
    drop(c);
    server.stop();
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let old = at("old.aof");
    let words = |words: &[&str]| crate::client::encode(words);
    let commands =
        [words(&["SELECT", "0"]), words(&["SET", "base", "x"]), words(&["RPUSH", "list", "a", "b"])];
    fs::write(&old, [commands.concat(), b"*3\r\n$3\r\nSET".to_vec()].concat()).unwrap();
    let data = launch.data();
    let manifest = aof_files(data, ".manifest").remove(0);
    for right in [text(data), text(&manifest)] {
        let (code, out) = said(&["diff", text(&old), right]);
        let lines: Vec<&str> = out.lines().collect();
        assert_eq!(
            (code, lines[..2].to_vec()),
            (1, vec!["~ 0   list    list  (value: 1 added)", "      + 2  c"]),
            "{out}"
        );
        assert!(out.contains("are no whole command: left out"), "{out}");
    }
    // What looks at keys applies the log if it is asked to.
    for path in [text(data), text(&manifest), text(&old)] {
        let (code, out) = said(&["keys", "--replay", "--csv", "--columns", "type,key", path]);
        assert!(code == 0 && out.contains("string,base\nlist,list\n"), "{out}");
        let (code, out) = said(&["get", "--replay", path, "list"]);
        assert!(code == 0 && out.contains("\na\nb\n"), "{out}");
    }
    let (code, out) = said(&["keys", text(&old)]);
    assert!(code == 3 && out.contains("--replay makes them"), "{out}");
    let (new, merged) = (at("new.rdb"), at("merged.rdb"));
    let (code, out) = said(&["convert", "-o", text(&new), text(data)]);
    assert_eq!(code, 0, "{out}");
    let (code, out) = said(&["diff", text(&new), text(data)]);
    assert_eq!(code, 0, "{out}");
    let (code, out) = said(&["convert", "-o", text(&merged), text(data), text(&old)]);
    assert!(code == 0 && out.contains("2 keys came again later"), "{out}");
    let segment = aof_files(data, ".incr.aof").pop().unwrap();
    let (code, out) = said(&["diff", text(&old), text(&segment)]);
    assert!(code == 3 && out.contains("builds on what is before it"), "{out}");
}

/// The state at a second: what was written up to it, though a snapshot is newer.
#[test]
fn the_state_of_a_directory_at_a_time() {
    let launch = Launch::ours(&[("aof-timestamp-enabled", "yes")]);
    let mut server = launch.start();
    let mut c = server.connect();
    let second = |c: &mut crate::client::Client| c.must(&["TIME"]).items()[0].text().parse::<i64>().unwrap();
    c.must(&["SET", "early", "x"]);
    let then = second(&mut c);
    eventually("the next second", Duration::from_secs(60), || (second(&mut c) > then + 1).then_some(()));
    c.must(&["SET", "late", "x"]);
    c.must(&["SAVE"]);
    c.must(&["SET", "last", "x"]);
    drop(c);
    server.stop();
    let scratch = tempfile::tempdir().unwrap();
    let data = text(launch.data());
    for (time, keys) in [(then, "1 key"), (then + 1_000_000, "3 keys")] {
        let file = scratch.path().join(time.to_string());
        let (code, out) = said(&["at", "--time", &time.to_string(), "-o", text(&file), data]);
        assert!(code == 0 && out.starts_with(keys), "{out}");
    }
}

/// What cannot be sought in is copied, unpacked, and salvaged as any file; a packed one may end anywhere.
#[test]
fn damaged_files_are_salvaged_packed_and_from_a_pipe() {
    let scratch = tempfile::tempdir().unwrap();
    let mut bytes = b"REDIS0004\xfe\0".to_vec();
    for n in 0..200 {
        bytes.extend_from_slice(format!("\0\x03{n:03}\x03abc").as_bytes());
    }
    bytes.push(0xff);
    // A length that reaches far behind the end.
    bytes[11 + 9 * 100 + 5] = 0x80;
    let damaged = scratch.path().join("damaged.rdb");
    fs::write(&damaged, &bytes).unwrap();
    let packed = Command::new("gzip").arg("-c").arg(&damaged).output().unwrap().stdout;
    let salvaged = |input: &[u8], number: u32| {
        let rest = scratch.path().join(format!("rest{number}.rdb"));
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringhold-inspect"));
        let child = child.args(["salvage", "--json", "-o", text(&rest), "-"]).stdin(Stdio::piped());
        let mut child = child.stdout(Stdio::piped()).spawn().unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(said(&["check", text(&rest)]).0, 0);
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, out) = salvaged(&bytes, 1);
    assert!(code == Some(1) && out.contains("\"keys\":199"), "{out}");
    assert_eq!(salvaged(&packed, 2), (code, out.clone()));
    let file = scratch.path().join("damaged.rdb.gz");
    fs::write(&file, &packed).unwrap();
    let (code, from_file) =
        said(&["salvage", "--json", "-o", text(&scratch.path().join("rest3.rdb")), text(&file)]);
    assert_eq!((code, from_file), (1, out));
    let (code, out) = salvaged(&packed[..packed.len() / 2], 4);
    assert!(code == Some(1) && out.contains("unpacked"), "{out}");
}

/// What is written is shown as it comes, until the reader goes away.
#[test]
fn a_running_servers_log_is_followed() {
    let launch = Launch::ours(&[]);
    let server = launch.start();
    let mut c = server.connect();
    c.must(&["SET", "before", "x"]);
    let mut child = Command::new(env!("CARGO_BIN_EXE_ringhold-inspect"))
        .args(["log", "--follow", "--json", text(launch.data())])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let (lines, found) = std::sync::mpsc::channel();
    let output = std::io::BufReader::new(child.stdout.take().unwrap());
    let reader = std::thread::spawn(move || {
        std::io::BufRead::lines(output).map_while(Result::ok).try_for_each(|line| lines.send(line))
    });
    let shown = |what: &str| loop {
        let line = found.recv_timeout(Duration::from_secs(120)).expect("a line of the log");
        if line.contains(what) {
            return;
        }
    };
    shown("\"SET\",\"before\"");
    c.must(&["SET", "after", "x"]);
    shown("\"SET\",\"after\"");
    rewrite_aof(&mut c);
    c.must(&["SET", "behind the rewrite", "x"]);
    shown("\"SET\",\"behind the rewrite\"");
    child.kill().unwrap();
    child.wait().unwrap();
    drop(found);
    let _ended = reader.join().unwrap();
}

/// Every way to look at a dataset, with the same file on both sides where there are two.
fn every_look(file: &str) -> Vec<Vec<&str>> {
    let dump = |format: &'static str| vec!["dump", "--format", format, file];
    vec![
        vec!["check", file],
        vec!["summary", file],
        vec!["summary", "--json", file],
        vec!["keys", file],
        vec!["keys", "--csv", file],
        vec!["get", file, "none"],
        vec!["memory", file],
        vec!["memory", "--html", "-", file],
        dump("json"),
        dump("csv"),
        dump("commands"),
        dump("parquet"),
        vec!["log", file],
        vec!["diff", file, file],
        vec!["convert", "-o", "-", file],
        vec!["salvage", "-o", "-", file],
    ]
}

#[test]
fn whatever_a_key_is_called_nothing_acts_on_the_terminal() {
    let scratch = tempfile::tempdir().unwrap();
    let at = |name: &str| scratch.path().join(name);
    let name = b"\x1b[2J\r\x07</script>\xc2\x9b\xff";
    let file = |value: &[u8]| {
        let name = [&[name.len() as u8], &name[..]].concat();
        let value = [&[value.len() as u8], value].concat();
        let parts = [b"REDIS0004\0".to_vec(), name.clone(), value.clone(), b"\x04".to_vec()];
        let hash = [b"\x01h\x01".to_vec(), name.clone(), value, b"\xff".to_vec()];
        [parts.concat(), hash.concat()].concat()
    };
    let (left, right) = (at("left.rdb"), at("right.rdb"));
    fs::write(&left, file(b"\x1b]0;x\x07")).unwrap();
    fs::write(&right, file(b"\x1b]0;y\x07")).unwrap();
    let mut looks = every_look(text(&left));
    // Files for programs, whose bytes are the data's own.
    looks.retain(|args| !matches!(args[0], "convert" | "salvage") && !args.contains(&"parquet"));
    looks.push(vec!["diff", text(&left), text(&right)]);
    looks.push(vec!["diff", "--json", text(&left), text(&right)]);
    for args in looks {
        let output = inspect(&args);
        let bytes = [output.stdout, output.stderr].concat();
        let acts = |byte: &&u8| byte.is_ascii_control() && !matches!(byte, b'\n' | b'\r');
        let found = bytes.iter().find(acts);
        assert!(
            found.is_none() && bytes.windows(2).all(|pair| pair[0] != b'\r' || pair[1] == b'\n'),
            "{args:?}: {found:?}"
        );
        assert!(
            !bytes.windows(2).any(|pair| pair == b"\xc2\x9b")
                || args.contains(&"--json")
                || args.contains(&"json")
                || args.contains(&"--html"),
            "{args:?}"
        );
    }
}

/// Lengths and counts that nothing stands behind, and texts that unpack to a thousand times their size: an answer with file and
/// offset, in little memory, from every command.
#[test]
fn what_a_file_claims_costs_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let file = scratch.path().join("claims.rdb");
    let most = b"\x81\x10\0\0\0\0\0\0\0".as_slice();
    let packed = [b"\xc3\x05".as_slice(), most, b"\0a\0b\0"].concat();
    let claims: Vec<Vec<u8>> = vec![
        [b"\0".as_slice(), most].concat(),
        [b"\0\x01k".as_slice(), most].concat(),
        [b"\0\x01k".as_slice(), &packed].concat(),
        [b"\x01\x01k".as_slice(), most, b"\x01a"].concat(),
        [b"\x02\x01k".as_slice(), most, b"\x01a"].concat(),
        [b"\x04\x01k".as_slice(), most, b"\x01a\x01b"].concat(),
        [b"\x05\x01k".as_slice(), most, b"\x01a"].concat(),
        [b"\x0b\x01k".as_slice(), most].concat(),
        [b"\x12\x01k".as_slice(), most, b"\x02", most].concat(),
        [b"\x10\x01k".as_slice(), most].concat(),
        [b"\x15\x01k".as_slice(), most, b"\x10"].concat(),
        [b"\xfa".as_slice(), most].concat(),
        [b"\xf5".as_slice(), most].concat(),
        [b"\xfb".as_slice(), most, most, b"\0\x01k\x01v\xff\0\0\0\0\0\0\0\0"].concat(),
    ];
    for (number, claim) in claims.iter().enumerate() {
        fs::write(&file, [b"REDIS0011", claim.as_slice()].concat()).unwrap();
        for args in every_look(text(&file)) {
            let limited = "ulimit -v 400000; exec \"$0\" \"$@\"";
            let output = Command::new("sh")
                .args(["-c", limited, env!("CARGO_BIN_EXE_ringhold-inspect")])
                .args(&args)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
            let code = output.status.code();
            // A size hint is a hint; where a string is too long, that is said instead of damage.
            let sound = number + 1 == claims.len();
            assert!(matches!(code, Some(0..=3)), "claim {number}, {args:?}: {code:?} {said}");
            assert!(sound || code != Some(0) || args[0] == "get", "claim {number}, {args:?}: {said}");
            assert!(
                sound || said.contains("claims.rdb") || args[0] == "salvage",
                "claim {number}, {args:?}: {said}"
            );
        }
    }
}
