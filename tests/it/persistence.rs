//! Saving, stopping and coming back when nothing goes wrong; how the server is configured; how it ends.

use crate::client::{Client, Value};
use crate::compare::{assert_same, dataset};
use crate::fill::{fill, wrong_encodings};
use crate::harness::{Launch, Server, bgsave, eventually, info, rewrite_aof, subject, subject_is_ours};
use rustix::process::Signal;
use std::fs;
use std::process::Command;
use std::time::Duration;

/// How a server is brought down between writing and reading back.
enum Ending {
    Term,
    Int,
    Shutdown(&'static [&'static str]),
    Kill,
}

#[test]
fn everything_survives_every_way_to_end() {
    let aof: &[(&str, &str)] = &[("appendonly", "yes")];
    let points: &[(&str, &str)] = &[("appendonly", "no"), ("save", "3600 1")];
    let cases = [
        (aof, Ending::Term),
        (aof, Ending::Int),
        (aof, Ending::Shutdown(&["SHUTDOWN"])),
        (aof, Ending::Shutdown(&["SHUTDOWN", "NOSAVE"])),
        (aof, Ending::Kill),
        (points, Ending::Term),
        (points, Ending::Shutdown(&["SHUTDOWN"])),
        (&[("appendonly", "no")], Ending::Shutdown(&["SHUTDOWN", "SAVE"])),
    ];
    for (directives, ending) in &cases {
        let mut server = Launch::ours(directives).start();
        let mut c = server.connect();
        fill(&mut c);
        let before = dataset(&mut c);
        end_by(&mut server, &mut c, ending);
        let server = server.restart();
        let mut c = server.connect();
        assert_same(&before, &dataset(&mut c));
        if subject_is_ours() {
            assert_eq!(wrong_encodings(&mut c), [] as [String; 0]);
        }
    }
}

fn end_by(server: &mut Server, c: &mut Client, ending: &Ending) {
    match ending {
        Ending::Term => server.signal(Signal::TERM),
        Ending::Int => server.signal(Signal::INT),
        Ending::Shutdown(command) => assert!(c.try_cmd(command).is_err(), "SHUTDOWN answers by closing"),
        Ending::Kill => server.signal(Signal::KILL),
    }
    let end = server.wait(Duration::from_secs(20));
    let expected = if matches!(ending, Ending::Kill) { (None, Some(9)) } else { (Some(0), None) };
    assert_eq!((end.code, end.signal), expected, "{end}");
    assert_eq!(end.stderr, "", "nothing on stderr in a good life");
}

#[test]
fn save_and_bgsave_write_a_snapshot() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    let dump = server.data().join("dump.rdb");
    assert!(!dump.exists());
    c.must(&["SET", "a", "1"]);
    assert_eq!(info(&mut c, "rdb_changes_since_last_save"), "1");
    assert_eq!(c.must(&["SAVE"]), Value::ok());
    assert!(fs::read(&dump).unwrap().starts_with(b"REDIS00"));
    assert_eq!(info(&mut c, "rdb_changes_since_last_save"), "0");
    c.must(&["SET", "b", "1"]);
    assert_eq!(c.must(&["BGSAVE"]), Value::Simple("Background saving started".into()));
    eventually("BGSAVE ends", Duration::from_secs(10), || {
        (info(&mut c, "rdb_bgsave_in_progress") == "0").then_some(())
    });
    assert_eq!(info(&mut c, "rdb_last_bgsave_status"), "ok");
    assert!(c.must(&["LASTSAVE"]).int() > 1_600_000_000);
    let left: Vec<_> = fs::read_dir(server.data()).unwrap().flatten().map(|e| e.file_name()).collect();
    assert!(!left.iter().any(|name| name.to_string_lossy().contains("temp")), "{left:?}");
}

#[test]
fn a_save_point_saves_by_itself() {
    let server = Launch::ours(&[("appendonly", "no"), ("save", "1 1")]).start();
    server.connect().must(&["SET", "a", "1"]);
    eventually("a snapshot", Duration::from_secs(10), || {
        server.data().join("dump.rdb").exists().then_some(())
    });
}

#[test]
fn the_aof_is_switched_on_and_off_at_run_time() {
    let server = Launch::ours(&[("appendonly", "no")]).start();
    let mut c = server.connect();
    c.must(&["SET", "before", "1"]);
    c.must(&["CONFIG", "SET", "appendonly", "yes"]);
    c.must(&["SET", "after", "1"]);
    eventually("the first base", Duration::from_secs(10), || {
        (info(&mut c, "aof_rewrite_in_progress") == "0" && info(&mut c, "aof_enabled") == "1").then_some(())
    });
    let mut server = server;
    server.kill();
    let launch = server.launch().clone().with("appendonly", "yes");
    let server = launch.start();
    let mut c = server.connect();
    assert_eq!(c.must(&["EXISTS", "before", "after"]), Value::Int(2));
    c.must(&["CONFIG", "SET", "appendonly", "no"]);
    c.must(&["SET", "later", "1"]);
    assert_eq!(info(&mut c, "aof_enabled"), "0");
}

#[test]
fn writes_go_on_while_the_log_is_rewritten() {
    let server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    c.must(&["DEBUG", "POPULATE", "200000", "key", "100"]);
    c.must(&["BGREWRITEAOF"]);
    let mut n = 0;
    while info(&mut c, "aof_rewrite_in_progress") == "1" || n < 1000 {
        c.must(&["INCR", "counter"]);
        n += 1;
    }
    let before = (c.must(&["DBSIZE"]), c.must(&["DEBUG", "DIGEST"]));
    let mut server = server;
    server.kill();
    let server = server.restart();
    let mut c = server.connect();
    assert_eq!(c.must(&["GET", "counter"]).int(), n);
    assert_eq!((c.must(&["DBSIZE"]), c.must(&["DEBUG", "DIGEST"])), before);
    rewrite_aof(&mut c);
    assert_eq!(bgsave(&mut c), "ok");
}

#[test]
fn deadlines_are_kept_over_restarts() {
    let server = Launch::ours(&[("appendonly", "yes")]).start();
    let mut c = server.connect();
    c.must(&["SET", "soon", "x", "PX", "50"]);
    c.must(&["SET", "later", "x", "EX", "1000"]);
    c.must(&["GETEX", "later", "EX", "2000"]);
    let deadline = c.must(&["PEXPIRETIME", "later"]);
    let server = server.restart();
    let mut c = server.connect();
    assert_eq!(c.must(&["PEXPIRETIME", "later"]), deadline);
    eventually("the short one is gone", Duration::from_secs(5), || {
        (c.must(&["EXISTS", "soon"]) == Value::Int(0)).then_some(())
    });
}

#[test]
fn configuration_comes_from_file_stdin_and_arguments() {
    let launch = Launch::ours(&[]);
    let (port, data) = (launch.port().to_string(), launch.data().display().to_string());
    let text = format!(
        "# a comment\nport {port}\nbind 127.0.0.1\ndir \"{data}\"\nsave ''\nhash-max-listpack-entries 7\n"
    );
    let file = launch.scratch().join("test.conf");
    fs::write(&file, &text).unwrap();
    let path = file.to_string_lossy().into_owned();
    let bare = launch.without_directives();
    let cases: [(&[&str], &str, &str); 3] = [
        (&[&path], "", "7"),
        (&["-"], &text, "7"),
        (&[&path, "--hash-max-listpack-entries", "9", "--appendonly", "no"], "", "9"),
    ];
    for (arguments, stdin, expected) in cases {
        let server = bare.clone().with_arguments(arguments).with_stdin(stdin).start();
        let mut c = server.connect();
        let got = c.must(&["CONFIG", "GET", "hash-max-listpack-entries"]).items();
        assert_eq!(got[1].text(), expected, "{arguments:?}");
    }
    let server = bare.with_arguments(&[&path]).start();
    let mut c = server.connect();
    c.must(&["CONFIG", "SET", "hash-max-listpack-entries", "11", "maxclients", "99"]);
    c.must(&["CONFIG", "REWRITE"]);
    let rewritten = fs::read_to_string(&file).unwrap();
    assert!(
        rewritten.contains("# a comment") && rewritten.contains("hash-max-listpack-entries 11"),
        "{rewritten}"
    );
    assert!(rewritten.contains("maxclients 99"), "{rewritten}");
    let refused = c.cmd(&["CONFIG", "SET", "maxclients", "50", "appendfsync", "sometimes"]);
    assert!(refused.text().starts_with("ERR CONFIG SET failed"), "{refused:?}");
    assert_eq!(c.must(&["CONFIG", "GET", "maxclients"]).items()[1].text(), "99", "all or nothing");
}

#[test]
fn toml_configures_as_well() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(&[]);
    let file = launch.scratch().join("ringhold.toml");
    let (port, data) = (launch.port(), launch.data().display());
    fs::write(&file, format!("port = {port}\ndir = \"{data}\"\nbind = \"127.0.0.1\"\nmaxclients = 77\n"))
        .unwrap();
    let server = launch.clone().without_directives().with_arguments(&[&file.to_string_lossy()]).start();
    assert_eq!(server.connect().must(&["CONFIG", "GET", "maxclients"]).items()[1].text(), "77");
}

#[test]
fn a_bad_configuration_stops_the_start_and_says_where() {
    let cases: &[(&str, &[&str])] = &[
        ("save ''\nappendonlyy yes\n", &["appendonlyy"]),
        ("appendfsync sometimes\n", &["appendfsync"]),
        ("port 99999999\n", &["port"]),
        ("maxmemory lots\n", &["maxmemory"]),
        ("save ''\nbind \"unbalanced\n", &["bind"]),
    ];
    for (text, words) in cases {
        let launch = Launch::ours(&[]).without_directives().with_arguments(&["-"]).with_stdin(text);
        let end = launch.spawn().wait(Duration::from_secs(10));
        assert_eq!(end.code, Some(1), "{text:?}: {end}");
        for word in *words {
            assert!(end.said().contains(word), "{text:?} does not name {word}: {end}");
        }
    }
    if subject_is_ours() {
        let launch = Launch::ours(&[])
            .without_directives()
            .with_arguments(&["-"])
            .with_stdin("save ''\nappendonlyy yes\n");
        let said = launch.spawn().wait(Duration::from_secs(10)).said();
        assert!(said.contains('2') && said.contains("appendonly"), "line and nearest name: {said}");
    }
    let missing = Launch::ours(&[]).with_arguments(&["no/such/file.conf"]).start_failing();
    assert!(missing.code == Some(1) && missing.said().contains("no/such/file.conf"), "{missing}");
}

#[test]
fn version_and_help_are_printed() {
    for (word, expected) in [("--version", " v=7."), ("-v", " v=7."), ("--help", "Usage"), ("-h", "Usage")] {
        let output = Command::new(subject()).arg(word).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(said.contains(expected), "{word}: {said}");
    }
}

#[test]
fn start_log_has_what_others_wait_for() {
    let mut server = Launch::ours(&[]).start();
    let pid = format!(" PID: {}", server.pid());
    let end = server.stop();
    let at = |needle: &str| end.log.find(needle).unwrap_or_else(|| panic!("no {needle:?} in\n{}", end.log));
    if subject_is_ours() {
        assert!(at(&pid) < at("Server initialized"));
    }
    assert!(at("Server initialized") < at("Ready to accept"));
    assert_eq!(end.log.matches("Ready to accept").count(), 1);
}

#[test]
fn a_stopped_and_continued_server_still_ends() {
    let mut server = Launch::ours(&[("appendonly", "yes")]).start();
    server.connect().must(&["SET", "a", "1"]);
    server.signal(Signal::STOP);
    server.signal(Signal::TERM);
    server.signal(Signal::CONT);
    assert_eq!(server.wait(Duration::from_secs(10)).code, Some(0));
}

#[test]
fn a_second_server_is_kept_off_the_directory() {
    if !subject_is_ours() {
        return; // stock shares it, to its harm
    }
    let first = Launch::ours(&[("appendonly", "yes")]).start();
    first.connect().must(&["SET", "a", "1"]);
    let second = Launch::ours(&[("appendonly", "yes")]).in_data(first.data());
    let end = second.start_failing();
    assert_eq!(end.code, Some(1), "{end}");
    assert!(end.said().contains(&*first.data().to_string_lossy()), "the directory is named: {end}");
    let mut first = first;
    first.kill();
    assert_eq!(second.start().connect().must(&["GET", "a"]).text(), "1", "a killed server leaves no lock");
}

#[test]
fn the_data_directory_is_made() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(&[("appendonly", "yes")]);
    let data = launch.scratch().join("made/by/the/server");
    let server = launch.in_data(&data).start();
    server.connect().must(&["SET", "a", "1"]);
    assert!(data.join("appendonlydir").is_dir());
}
