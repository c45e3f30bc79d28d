//! How a server starts: in the background, with few file descriptors, with names relative to its directory, with files
//! that it may not write; and what stays its own affair when it may not.

use crate::client::Client;
use crate::harness::{Launch, eventually, info, rewrite_aof, subject_is_ours};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

#[test]
fn in_the_background_it_runs_with_the_configuration_that_it_was_given() {
    if !subject_is_ours() {
        return;
    }
    for by_stdin in [true, false] {
        let launch = Launch::ours(&[]);
        let text = format!(
            "port {}\ndir {}\ndaemonize yes\nrequirepass secret\nlogfile server.log\npidfile server.pid\nmaxmemory 77mb\n",
            launch.port(),
            launch.data().display()
        );
        let file = launch.scratch().join("it.conf");
        std::fs::write(&file, &text).unwrap();
        let (data, launch) = (launch.data().to_path_buf(), launch.without_directives());
        let launch = match by_stdin {
            true => launch.with_arguments(&["-"]).with_stdin(&text),
            false => launch.with_arguments(&[file.to_str().unwrap()]),
        };
        let mut parent = launch.spawn();
        assert_eq!(parent.wait(LIMIT).code, Some(0));
        let mut c = eventually("the server in the background", LIMIT, || Client::connect(launch.port()).ok());
        eventually("the password to be asked for", LIMIT, || {
            c.cmd(&["PING"]).text().starts_with("NOAUTH").then_some(())
        });
        c.must(&["AUTH", "secret"]);
        assert_eq!(info(&mut c, "maxmemory"), (77 << 20).to_string());
        // Relative names count from `dir`, as in Redis.
        let pid = std::fs::read_to_string(data.join("server.pid")).unwrap();
        assert_eq!(pid.trim(), info(&mut c, "process_id"));
        assert!(data.join("server.log").exists());
        c.try_cmd(&["SHUTDOWN", "NOSAVE"]).ok();
        eventually("the end", LIMIT, || (!data.join("server.pid").exists()).then_some(()));
    }
}

#[test]
fn a_pid_file_that_cannot_be_written_does_not_stop_the_start() {
    let mut server = Launch::ours(&[("pidfile", "/nonexistent/server.pid")]).start();
    assert!(server.log().contains("Failed to write PID file /nonexistent/server.pid"), "{}", server.log());
    assert_eq!(server.stop().code, Some(0));
}

#[test]
fn a_unix_socket_takes_the_place_of_a_stale_one_only() {
    let launch = Launch::ours(&[("unixsocket", "server.sock"), ("unixsocketperm", "700")]);
    let path = launch.data().join("server.sock");
    let mut server = launch.start();
    let made = std::fs::metadata(&path).unwrap();
    assert!(made.file_type().is_socket());
    assert_eq!(made.permissions().mode() & 0o777, 0o700);
    server.kill(); // leaves it
    assert!(path.exists());
    launch.start().stop();
    if !subject_is_ours() {
        return; // Redis removes whatever is there
    }
    std::fs::write(&path, "somebody's").unwrap();
    let end = launch.start_failing();
    assert!(end.said().contains("server.sock: there is a file that is not a socket"), "{end}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "somebody's");
}

/// A start that cannot be leaves nothing behind.
#[test]
fn a_taken_port_or_a_wish_for_tls_ends_the_start() {
    if !subject_is_ours() {
        return;
    }
    let launch = Launch::ours(&[]);
    let taken = std::net::TcpListener::bind(("127.0.0.1", launch.port())).unwrap();
    let data = launch.scratch().join("not-there");
    let launch = launch.in_data(&data);
    let end = launch.spawn().wait(LIMIT);
    assert_eq!(end.code, Some(1));
    assert!(end.stderr.contains("Address already in use"), "{end}");
    assert!(!data.exists());
    drop(taken);
    let end = launch.with("tls-port", "6380").start_failing();
    assert_eq!(end.code, Some(1));
    assert!(end.stderr.contains("TLS is not supported"), "{end}");
    assert!(!data.join("ringhold.lock").exists());
}

/// With few file descriptors idle clients are turned away, and what the server needs for its own files is kept.
#[test]
fn few_file_descriptors_leave_room_for_the_servers_files() {
    let server = Launch::ours(&[("appendonly", "yes")])
        .wrapped(&["sh", "-c", "ulimit -n 200; exec \"$@\"", "sh"])
        .start();
    let mut c = server.connect();
    let room: usize = info(&mut c, "maxclients").parse().unwrap();
    assert!((100..200).contains(&room), "{room}");
    let mut others: Vec<Client> = (1..room).map(|_| server.connect()).collect();
    eventually("one too many", LIMIT, || {
        let mut more = Client::connect(server.port()).ok()?;
        let refused =
            more.read_value().ok().is_some_and(|reply| reply.text().contains("max number of clients"));
        if !refused {
            others.push(more);
        }
        refused.then_some(())
    });
    c.must(&["SET", "a", "1"]);
    c.must(&["BGREWRITEAOF"]);
    eventually("the rewrite", LIMIT, || (info(&mut c, "aof_rewrite_in_progress") == "0").then_some(()));
    c.must(&["SAVE"]);
    assert_eq!(info(&mut c, "aof_last_bgrewrite_status"), "ok", "{}", server.log());
    c.must(&["SET", "a", "2"]);
    let refused = c.cmd(&["CONFIG", "SET", "maxclients", "100000"]).text();
    assert!(refused.contains("The operating system is not able to handle"), "{refused}");
}

/// `loglevel verbose` shows who comes and goes.
#[test]
fn verbose_logs_show_clients_come_and_go() {
    let server = Launch::ours(&[("loglevel", "verbose")]).start();
    let mut c = server.connect();
    c.must(&["CLIENT", "SETNAME", "passing-by"]);
    drop(c);
    eventually("both lines", LIMIT, || {
        let log = server.log();
        let gone =
            log.lines().any(|line| line.contains("Client closed connection") && line.contains("passing-by"));
        (gone && log.contains("- Accepted 127.0.0.1:")).then_some(())
    });
}

/// A keyspace that DEBUG RELOAD has exchanged breaks WATCH, and a SAVE that failed does not stop writes.
#[test]
fn a_reload_breaks_watches_and_a_failed_save_stops_nothing() {
    let server = Launch::ours(&[("save", "3600 1")]).start();
    let mut c = server.connect();
    c.must(&["SET", "a", "1"]);
    c.must(&["WATCH", "a"]);
    c.must(&["DEBUG", "RELOAD"]);
    c.must(&["MULTI"]);
    c.must(&["SET", "a", "2"]);
    assert_eq!(c.must(&["EXEC"]), crate::client::Value::Nil);
    if !subject_is_ours() {
        return;
    }
    // A directory in the place of the temporary file makes the save fail.
    let temporary = server.data().join(format!("temp-{}.rdb", info(&mut c, "process_id")));
    std::fs::create_dir(&temporary).unwrap();
    assert!(c.cmd(&["SAVE"]).is_error());
    c.must(&["SET", "a", "3"]);
    std::fs::remove_dir(&temporary).unwrap();
    c.must(&["SAVE"]);
}

/// The data directory is held, not followed by its name: moved, it is where the server goes on, and another server that starts
/// at the name is left alone.
#[test]
fn a_directory_that_is_moved_is_followed() {
    if !subject_is_ours() {
        return;
    }
    let mut server = Launch::ours(&[("appendonly", "yes"), ("save", "3600 1")]).start();
    let (at, moved) = (server.data().to_path_buf(), server.data().with_extension("old"));
    let mut c = server.connect();
    c.must(&["SET", "before", "1"]);
    std::fs::rename(&at, &moved).unwrap();
    std::fs::create_dir(&at).unwrap();
    let other = Launch::ours(&[("appendonly", "yes")]).in_data(&at).start();
    other.connect().must(&["SET", "other", "1"]);
    c.must(&["SAVE"]);
    rewrite_aof(&mut c);
    c.must(&["CONFIG", "SET", "repl-backlog-size", "2mb"]);
    c.must(&["SET", "after", "1"]);
    server.kill();
    drop(other);
    for (directory, expected) in [(&moved, 2), (&at, 1)] {
        let server = Launch::ours(&[("appendonly", "yes")]).in_data(directory).start();
        assert_eq!(server.connect().must(&["DBSIZE"]).int(), expected, "{}", server.log());
    }
}

/// Whoever asks a replica that is loading, such as Sentinel, must not take it for a primary.
#[test]
fn a_replica_says_so_while_it_loads() {
    let mut server = Launch::ours(&[("enable-debug-command", "yes")]).start();
    let mut c = server.connect();
    c.must(&["DEBUG", "POPULATE", "3000"]);
    c.must(&["SAVE"]);
    server.kill();
    let slow = server.launch().clone().with("key-load-delay", "1000").with("replicaof", "127.0.0.1 1");
    let server = slow.spawn();
    let mut c = eventually("the port", LIMIT, || Client::connect(server.port()).ok());
    let role = c.must(&["ROLE"]).items();
    assert_eq!(info(&mut c, "loading"), "1", "{}", server.log());
    let words: Vec<String> = role[..2].iter().map(|word| word.text()).collect();
    assert_eq!((words, role[2].int()), (vec!["slave".into(), "127.0.0.1".into()], 1));
    let shown = ["role", "master_host", "master_port", "master_link_status", "slave_priority"];
    assert_eq!(shown.map(|field| info(&mut c, field)), ["slave", "127.0.0.1", "1", "down", "100"]);
}
