//! Configuration files as stock servers and their packages leave them: we start on them as they are.

use crate::client::{Client, Value};
use crate::harness::{Launch, Server, free_port, subject, subject_is_ours};
use std::fs;
use std::path::Path;

/// A stock server with a configuration file of `text`; it rewrites the file after `commands`, and ours takes its place.
fn after_a_rewrite_by_stock(text: &str, commands: &[&[&str]]) -> Option<(Server, String)> {
    let stock = Launch::stock(&[])?;
    let path = stock.scratch().join("redis.conf");
    fs::write(&path, text).unwrap();
    let stock = stock.with_arguments(&[path.to_str().unwrap()]);
    let mut server = stock.start();
    let mut c = server.connect();
    for command in commands {
        c.must(command);
    }
    c.must(&["CONFIG", "REWRITE"]);
    server.stop();
    let text = fs::read_to_string(&path).unwrap();
    Some((stock.with_program(subject()).without_directives().start(), text))
}

fn setting(c: &mut Client, name: &str) -> String {
    match c.must(&["CONFIG", "GET", name]) {
        Value::Array(pair) => pair[1].text(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_file_that_stock_has_rewritten() {
    if !subject_is_ours() {
        return;
    }
    let changes: &[&[&str]] =
        &[&["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"], &["CONFIG", "SET", "hz", "20"]];
    let Some((server, text)) = after_a_rewrite_by_stock("timeout 0\n", changes) else { return };
    assert!(text.contains("user default on nopass"), "{text}");
    let mut c = server.connect();
    assert_eq!(setting(&mut c, "hz"), "20");
    c.must(&["SET", "k", "v"]);
    // Our own rewrite gives both of us a file again.
    c.must(&["CONFIG", "SET", "requirepass", "secret"]);
    c.must(&["CONFIG", "REWRITE"]);
    let rewritten = fs::read_to_string(server.launch().scratch().join("redis.conf")).unwrap();
    assert!(
        !rewritten.contains("user default") && rewritten.contains("requirepass \"secret\""),
        "{rewritten}"
    );
}

#[test]
fn a_file_with_a_password_that_stock_has_rewritten() {
    if !subject_is_ours() {
        return;
    }
    let Some((server, text)) = after_a_rewrite_by_stock("", &[&["CONFIG", "SET", "requirepass", "secret"]])
    else {
        return;
    };
    assert!(text.contains("user default on #"), "{text}");
    let mut c = server.connect();
    assert!(matches!(c.cmd(&["GET", "k"]), Value::Error(why) if why.starts_with("NOAUTH")));
    assert!(matches!(c.cmd(&["AUTH", "wrong"]), Value::Error(why) if why.starts_with("WRONGPASS")));
    assert_eq!(c.must(&["AUTH", "secret"]), Value::ok());
    c.must(&["SET", "k", "v"]);
}

#[test]
fn users_that_are_not_supported_stop_the_start() {
    if !subject_is_ours() {
        return;
    }
    for line in
        ["user alice on nopass ~* &* +@all", "user default on nopass ~x:* &* +@all", "aclfile users.acl"]
    {
        let launch = Launch::ours(&[]);
        let path = launch.scratch().join("x.conf");
        fs::write(&path, line).unwrap();
        let end = launch.with_arguments(&[path.to_str().unwrap()]).start_failing();
        assert!(end.stderr.contains("ACL users are not supported yet"), "{line}: {end}");
    }
}

/// Debian's own file, with only the paths and the port replaced.
#[test]
fn debians_file() {
    let Ok(text) = fs::read_to_string("/etc/redis/redis.conf") else {
        eprintln!("skipped: no /etc/redis/redis.conf");
        return;
    };
    let launch = Launch::ours(&[]).without_directives().on_port(free_port());
    let (port, here) = (launch.port().to_string(), launch.scratch().to_path_buf());
    let mut replaced = String::new();
    for line in text.lines() {
        let word = |path: &Path| path.display().to_string();
        let new = match line.split(' ').next() {
            Some("port") => format!("port {port}"),
            Some("dir") => format!("dir {}", word(launch.data())),
            Some("pidfile") => format!("pidfile {}", word(&here.join("redis.pid"))),
            Some("logfile") => format!("logfile {}", word(&here.join("redis.log"))),
            Some("daemonize") => "daemonize no".into(), // the harness watches its child
            _ => line.to_string(),
        };
        replaced += &(new + "\n");
    }
    let path = here.join("redis.conf");
    fs::write(&path, replaced).unwrap();
    let server = launch.with_arguments(&[path.to_str().unwrap()]).start();
    let mut c = server.connect();
    c.must(&["SET", "k", "v"]);
    assert_eq!(setting(&mut c, "dir"), server.data().display().to_string());
    let pid = fs::read_to_string(here.join("redis.pid")).unwrap();
    assert_eq!(pid.trim(), server.pid().as_raw_nonzero().to_string());
}

/// A renamed command goes into the log and to replicas under its own name.
#[test]
fn a_renamed_command_is_its_own_name_to_all_others() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(&[("appendonly", "yes"), ("appendfsync", "always")]);
    let path = launch.scratch().join("x.conf");
    fs::write(&path, "rename-command SET put\nrename-command FLUSHALL \"\"\n").unwrap();
    let mut server = launch.clone().with_arguments(&[path.to_str().unwrap()]).start();
    let mut c: Client = server.connect();
    for unknown in ["SET", "FLUSHALL"] {
        assert!(
            matches!(c.cmd(&[unknown, "k", "v"]), Value::Error(why) if why.starts_with("ERR unknown command"))
        );
    }
    assert_eq!(c.must(&["Put", "k", "v"]), Value::ok());
    server.stop();
    // Without the file: whoever reads the log needs to know nothing of it.
    let server = launch.start();
    assert_eq!(server.connect().must(&["GET", "k"]).text(), "v");
}
