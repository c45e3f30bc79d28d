//! One stream, one offset: what INFO, the log on disk, a snapshot and the next start say of it must be one number.
//!
//! The log is read here by a walk of its own ([`segment`]), not by the product's code: it knows only that lines
//! beginning with `#` stand between commands and that an opening names how many bytes after it are not of the stream.

use crate::client::Client;
use crate::fill::{fill, noise};
use crate::harness::{
    Launch, Server, aof_files, bgsave, eventually, info, rewrite_aof, run, stock_tool, subject_is_ours,
};
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// What INFO says of the history.
#[derive(Clone, Debug, PartialEq)]
struct Place {
    replid: String,
    replid2: String,
    offset: u64,
    second_offset: i64,
}

fn place(c: &mut Client) -> Place {
    Place {
        replid: info(c, "master_replid"),
        replid2: info(c, "master_replid2"),
        offset: info(c, "master_repl_offset").parse().unwrap(),
        second_offset: info(c, "second_repl_offset").parse().unwrap(),
    }
}

const AOF_ON: &[(&str, &str)] = &[("appendonly", "yes"), ("repl-backlog-size", "1mb")];
const AOF_OFF: &[(&str, &str)] = &[("appendonly", "no"), ("save", "3600 1"), ("repl-backlog-size", "1mb")];

#[test]
fn every_start_continues_the_history_under_a_new_name() {
    if !subject_is_ours() {
        return;
    }
    for directives in [AOF_ON, AOF_OFF] {
        let mut server = Launch::ours(directives).start();
        let mut c = server.connect();
        fill(&mut c);
        let mut last = place(&mut c);
        assert!(last.offset > 100_000, "{last:?}");
        for killed in [false, true, true, false] {
            if killed {
                server.kill()
            } else {
                server.stop()
            };
            server = server.restart();
            let mut c = server.connect();
            let now = place(&mut c);
            assert_eq!(now.offset, last.offset, "killed: {killed}");
            assert_eq!(now.replid2, last.replid);
            assert_eq!(now.second_offset, last.offset as i64 + 1);
            assert_ne!(now.replid, last.replid);
            assert!(server.log().contains(&now.offset.to_string()), "the start log names the offset");
            c.must(&["INCR", "starts"]);
            last = place(&mut c);
        }
    }
}

#[test]
fn reads_move_nothing_and_writes_move_by_their_bytes() {
    if !subject_is_ours() {
        return;
    }
    let server = Launch::ours(AOF_ON).start();
    let mut c = server.connect();
    c.must(&["SET", "first", "select is behind us"]);
    let check = |c: &mut Client, command: &[&str], bytes: usize| {
        let before = place(c).offset;
        c.must(command);
        assert_eq!(place(c).offset - before, bytes as u64, "{command:?}");
    };
    check(&mut c, &["GET", "first"], 0);
    check(&mut c, &["DEL", "none"], 0);
    check(&mut c, &["SETNX", "first", "x"], 0);
    check(&mut c, &["PUBLISH", "channel", "x"], 0); // no replica: rule 25
    let set = ["SET", "key", "value"];
    check(&mut c, &set, crate::client::encode(&set).len());
    check(
        &mut c,
        &["EXPIRE", "key", "100"],
        crate::client::encode(&["PEXPIREAT", "key", "1790000000000"]).len(),
    );
    let del = ["DEL", "key"];
    check(&mut c, &del, crate::client::encode(&del).len());
}

/// CONFIG SET repl-backlog-size: the window follows, the position stays, and a crash right after it finds both.
#[test]
fn the_ring_changes_its_size_while_it_serves() {
    if !subject_is_ours() {
        return;
    }
    for directives in [AOF_ON, AOF_OFF] {
        let mut server = Launch::ours(directives).start();
        let mut c = server.connect();
        for i in 0..300 {
            c.must(&["SET", &format!("k{i}"), &"x".repeat(10_000)]);
        }
        for (size, least) in [("4mb", 900_000), ("64kb", 50_000), ("2mb", 50_000)] {
            let before = place(&mut c);
            c.must(&["CONFIG", "SET", "repl-backlog-size", size]);
            assert_eq!(place(&mut c), before, "{size}");
            let held: u64 = info(&mut c, "repl_backlog_histlen").parse().unwrap();
            assert!(held >= least, "{size}: {held}"); // or more, as the log has it

            let bytes = c.must(&["CONFIG", "GET", "repl-backlog-size"]).items()[1].int() as u64;
            let file = server.data().join("backlog.ring").metadata().unwrap().len();
            assert!((bytes..bytes + bytes / 4 + 20_000).contains(&file), "{size}: the file has {file} bytes");
            assert!(!server.data().join("backlog.ring.new").exists());
            server.kill();
            // Without the size on the command line the next start would go back to the first.
            server = server.launch().clone().with("repl-backlog-size", size).start();
            c = server.connect();
            assert_eq!(place(&mut c).offset, before.offset, "{size}");
            assert_eq!(c.must(&["DBSIZE"]).int(), 300);
        }
    }
}

/// Rule 12, scenarios 14 and 19: until a client writes, a started primary appends nothing under its new name.
#[test]
fn a_started_primary_is_silent() {
    if !subject_is_ours() {
        return;
    }
    let mut server = Launch::ours(AOF_ON).start();
    let mut c = server.connect();
    for i in 0..100 {
        c.must(&["SET", &format!("short:{i}"), "x", "PX", "300"]);
    }
    let before = place(&mut c).offset;
    server.kill();
    let dead = Instant::now();
    eventually("all deadlines have passed", Duration::from_secs(2), || {
        (dead.elapsed() > Duration::from_millis(400)).then_some(())
    });
    let server = server.restart();
    let mut c = server.connect();
    assert_eq!(c.must(&["EXISTS", "short:1"]).int(), 0, "expired keys are hidden");
    let until = Instant::now() + Duration::from_secs(1);
    while Instant::now() < until {
        assert_eq!(place(&mut c).offset, before);
    }
    c.must(&["SET", "a", "1"]);
    eventually("their DELs follow the first write", Duration::from_secs(10), || {
        (c.must(&["DBSIZE"]).int() == 1 && place(&mut c).offset > before + 1000).then_some(())
    });
}

#[test]
fn the_log_is_the_stream() {
    if !subject_is_ours() {
        return;
    }
    for killed in [false, true] {
        let mut server = Launch::ours(AOF_ON).start();
        let mut c = server.connect();
        fill(&mut c);
        c.must(&["SELECT", "3"]);
        rewrite_aof(&mut c);
        for i in 0..500 {
            c.must(&["RPUSH", "list", &i.to_string()]);
        }
        c.must(&["MULTI"]);
        for i in 0..20 {
            c.must(&[b"SET".to_vec(), format!("big:{i}").into_bytes(), noise(i, 16_000)]);
        }
        c.must(&["EXEC"]);
        if killed {
            server.kill();
            server = server.restart();
            c = server.connect();
            c.must(&["SET", "after", "the crash"]);
        }
        let end = place(&mut c).offset;
        server.stop();
        assert_eq!(log_end(server.data()), end, "killed: {killed}");
    }
}

#[test]
fn a_snapshot_names_its_cut() {
    if !subject_is_ours() {
        return;
    }
    let server = Launch::ours(AOF_OFF).start();
    let mut c = server.connect();
    fill(&mut c);
    c.must(&["SELECT", "9"]);
    c.must(&["SET", "last", "1"]);
    assert_eq!(bgsave(&mut c), "ok");
    let at = place(&mut c);
    let Some(tool) = stock_tool("redis-check-rdb") else { return };
    let (_, said) = run(&tool, &[server.data().join("dump.rdb").as_ref()]);
    for (field, value) in
        [("repl-id", at.replid), ("repl-offset", at.offset.to_string()), ("repl-stream-db", "9".to_string())]
    {
        assert!(said.contains(&format!("AUX FIELD {field} = '{value}'")), "{field} is not {value}: {said}");
    }
}

/// An operator's `dump.rdb` from elsewhere starts a history of its own; an empty directory too.
#[test]
fn empty_directories_share_no_history() {
    if !subject_is_ours() {
        return;
    }
    let name = |server: Server| place(&mut server.connect());
    let (one, two) = (name(Launch::ours(AOF_ON).start()), name(Launch::ours(AOF_ON).start()));
    assert_ne!(one.replid, two.replid);
    for place in [one, two] {
        assert_eq!((place.offset, place.replid2.as_str()), (0, "0".repeat(40).as_str()));
        assert_eq!(place.second_offset, -1);
    }
}

/// Walks all segments in order, checks that each begins where the one before ended, and returns the last end.
fn log_end(data: &Path) -> u64 {
    let mut end = None;
    for file in aof_files(data, ".incr.aof") {
        let bytes = fs::read(&file).unwrap();
        let (from, to) = segment(&bytes).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        assert!(end.is_none_or(|end| end == from), "{} begins at {from}, after {end:?}", file.display());
        end = Some(to);
    }
    end.expect("no segment")
}

/// (first, last) offset of one segment; every mark in it must agree with the bytes before it.
fn segment(bytes: &[u8]) -> Result<(u64, u64), String> {
    let line_at = |at: usize| {
        let len = bytes[at..].iter().position(|b| *b == b'\n').ok_or("a line without end")? + 1;
        Ok::<(String, usize), String>((String::from_utf8_lossy(&bytes[at..at + len]).into_owned(), len))
    };
    let field = |line: &str, name: &str| {
        let words = line.split_whitespace().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
        words.and_then(|v| v.parse::<u64>().ok()).ok_or(format!("no {name} in {line:?}"))
    };
    let (opening, len) = line_at(0)?;
    let first = field(&opening, "off")?;
    let mut at = len + field(&opening, "skip")? as usize;
    let (mut offset, mut since_mark, mut unit, mut in_multi) = (first, 0, 0, false);
    while at < bytes.len() {
        if bytes[at] == b'#' {
            let (line, len) = line_at(at)?;
            if len > 1023 {
                return Err(format!("an annotation of {len} bytes at {at}"));
            }
            if line.contains(" mark ") && field(&line, "off")? != offset {
                return Err(format!("at byte {at} {line:?} should say {offset}"));
            }
            since_mark = if line.contains(" mark ") { 0 } else { since_mark };
            at += len;
        } else {
            let len = command_len(&bytes[at..]).ok_or(format!("no command at byte {at}"))?;
            let is = |word: &[u8]| bytes[at..at + len].to_ascii_uppercase().ends_with(word);
            in_multi = (in_multi || is(b"*1\r\n$5\r\nMULTI\r\n")) && !is(b"*1\r\n$4\r\nEXEC\r\n");
            unit += len;
            (at, offset, since_mark) = (at + len, offset + len as u64, since_mark + len);
            if !in_multi && since_mark > 64 * 1024 + std::mem::take(&mut unit) {
                return Err(format!("no mark for {since_mark} bytes before byte {at}"));
            }
        }
    }
    Ok((first, offset))
}

/// Bytes of the RESP array that `bytes` starts with.
fn command_len(bytes: &[u8]) -> Option<usize> {
    let number = |at: usize, kind: u8| {
        let line = bytes.get(at..)?.strip_prefix(&[kind])?;
        let end = line.windows(2).position(|w| w == b"\r\n")?;
        Some((std::str::from_utf8(&line[..end]).ok()?.parse::<usize>().ok()?, at + end + 3))
    };
    let (count, mut at) = number(0, b'*')?;
    for _ in 0..count {
        let (len, body) = number(at, b'$')?;
        at = body + len + 2;
    }
    (at <= bytes.len()).then_some(at)
}

/// The walk, on a segment that the product's own format module wrote.
#[test]
fn the_walk_reads_marks_and_sees_a_false_one() {
    use ringhold::format::aof::{Chain, Place};
    use ringhold::units::{Offset, ReplId};
    let place = |offset: u64| Place { replid: ReplId::from_random([7; 20]), offset: Offset(offset), db: 3 };
    let command = crate::client::encode(&["SET", "#key\r\n", "*1\r\n$4\r\nEXEC\r\n"]);
    let len = command.len() as u64;
    for (claimed, sound) in [(1000 + 2 * len, true), (1000 + len, false)] {
        let mut bytes = Vec::new();
        let mut chain = Chain::open(place(1000), &mut bytes);
        for _ in 0..2 {
            chain.cover(&command);
            bytes.extend_from_slice(&command);
        }
        chain.mark(place(claimed), Offset(1000), &mut bytes);
        bytes.extend_from_slice(&command);
        assert_eq!(segment(&bytes).ok(), sound.then_some((1000, 1000 + 3 * len)));
    }
}

/// An RDB of one key that says it is at `offset`, with `db` selected.
fn snapshot_at(offset: &str, db: &str) -> Vec<u8> {
    let string = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
    let aux = |name: &str, value: &str| [vec![0xfa], string(name), string(value)].concat();
    let aux =
        [aux("repl-id", &"a".repeat(40)), aux("repl-offset", offset), aux("repl-stream-db", db)].concat();
    [&b"REDIS0010"[..], &aux, &[0xfe, 0, 0, 1, b'k', 1, b'v', 0xff], &[0; 8]].concat()
}

/// A dump.rdb may state a place that no server has, or a database that this one has not: it is served, and what is written
/// on top of it is there after a kill.
#[test]
fn what_a_snapshot_says_of_its_place_is_not_trusted_blindly() {
    if !subject_is_ours() {
        return;
    }
    for (offset, db, expected) in [
        ("1000", "3", 1000),
        ("1000", "16", 1000),
        ("1000", "99999999999", 1000),
        ("1000", "-1", 1000),
        ("9223372036854775807", "0", 0),
        ("9223372036854775808", "0", 0),
        ("18446744073709551615", "0", 0),
    ] {
        for directives in [AOF_ON, AOF_OFF] {
            let launch = Launch::ours(directives).with("repl-backlog-size", "64kb");
            fs::write(launch.data().join("dump.rdb"), snapshot_at(offset, db)).unwrap();
            let mut server = launch.start();
            let mut c = server.connect();
            assert_eq!(place(&mut c).offset, expected, "{offset} {db}");
            for i in 0..150 {
                c.must(&["SET", &format!("after{i}"), &"v".repeat(1000)]);
            }
            let before = place(&mut c).offset;
            server.kill();
            let (server, mut c) = server.restart_and_connect();
            let found = (c.must(&["DBSIZE"]).int(), place(&mut c).offset);
            assert_eq!(found, (151, before), "{offset} {db} {directives:?}: {}", server.log());
        }
    }
}
