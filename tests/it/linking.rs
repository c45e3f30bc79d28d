//! How a replica's link comes about, and what it is like: users and passwords, packets, the replica's memory.

use crate::client::Client;
use crate::harness::{Launch, Server, eventually, info, subject_is_ours};
use rustix::net::sockopt::tcp_nodelay;
use rustix::process::{PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

fn replica(of: &Server, directives: &[(&str, &str)]) -> Server {
    let primary = format!("127.0.0.1 {}", of.port());
    Launch::ours(directives).with("replicaof", &primary).start()
}

fn until_up(c: &mut Client) {
    eventually("the link to be up", LIMIT, || (info(c, "master_link_status") == "up").then_some(()));
}

/// Waits until the replica has what is written now.
fn until_written_through(primary: &mut Client, replica: &mut Client, key: &str) {
    primary.must(&["SET", key, "1"]);
    eventually("the write at the replica", LIMIT, || {
        (replica.must(&["EXISTS", key]).int() == 1).then_some(())
    });
}

/// With a password, with the user's name beside it, and under a user of its own at a stock primary.
#[test]
fn a_replica_says_who_it_is() {
    let primary = Launch::ours(&[("requirepass", "secret")]).start();
    let mut at_primary = primary.connect();
    at_primary.must(&["AUTH", "secret"]);
    let named = replica(&primary, &[("masteruser", "default"), ("masterauth", "secret")]);
    let mut c = named.connect();
    until_up(&mut c);
    until_written_through(&mut at_primary, &mut c, "a");
    // Without the password it does not get in, and asks again until it has it.
    let stranger = replica(&primary, &[("masteruser", "default"), ("masterauth", "wrong")]);
    let mut c = stranger.connect();
    eventually("a refusal", LIMIT, || stranger.log().contains("WRONGPASS").then_some(()));
    assert_eq!(info(&mut c, "master_link_status"), "down");
    c.must(&["CONFIG", "SET", "masterauth", "secret"]);
    until_up(&mut c);
    until_written_through(&mut at_primary, &mut c, "b");
    let Some(stock) = Launch::stock(&[]) else { return };
    let primary = stock.start();
    let mut at_primary = primary.connect();
    let rights = ["ACL", "SETUSER", "copier", "on", ">pw", "+psync", "+replconf", "+ping"];
    at_primary.must(&rights);
    at_primary.must(&["CONFIG", "SET", "requirepass", "for others"]);
    let copier = replica(&primary, &[("masteruser", "copier"), ("masterauth", "pw")]);
    let mut c = copier.connect();
    until_up(&mut c);
    until_written_through(&mut at_primary, &mut c, "a");
}

/// The link to the primary and a client, both closed by a transaction that stands still afterwards, end before it does.
#[test]
fn what_a_transaction_closes_is_closed_while_it_stands_still() {
    let primary = Launch::ours(&[]).start();
    let replica = replica(&primary, &[]);
    let (mut at_primary, mut c, mut other) = (primary.connect(), replica.connect(), replica.connect());
    until_up(&mut c);
    let others_id = other.must(&["CLIENT", "ID"]).int().to_string();
    let stands_still = std::thread::spawn(move || {
        c.must(&["MULTI"]);
        c.must(&["CLIENT", "KILL", "TYPE", "master"]);
        c.must(&["CLIENT", "KILL", "ID", &others_id]);
        c.must(&["DEBUG", "SLEEP", "3"]);
        c.must(&["EXEC"]);
    });
    eventually("the replica's leaving", LIMIT, || {
        (info(&mut at_primary, "connected_slaves") == "0").then_some(())
    });
    assert_eq!(other.read_to_end().unwrap(), b"");
    assert!(!stands_still.is_finished(), "the connections were closed after the sleep");
    stands_still.join().unwrap();
}

/// Whether the server sends small packets to its replica at once; `None` where this process may not look.
fn in_a_hurry(server: &Server, c: &mut Client) -> Option<bool> {
    let list = c.must(&["CLIENT", "LIST", "TYPE", "replica"]).text();
    let fd = list.split(' ').find_map(|field| field.strip_prefix("fd=")?.parse().ok()).expect("a replica");
    let process = pidfd_open(server.pid(), PidfdFlags::empty()).ok()?;
    let socket = pidfd_getfd(&process, fd, PidfdGetfdFlags::empty())
        .inspect_err(|error| eprintln!("skipped: the server's sockets cannot be looked at: {error}"));
    Some(tcp_nodelay(socket.ok()?).unwrap())
}

/// `repl-disable-tcp-nodelay` holds for the links that begin from then on.
#[test]
fn packets_to_replicas_wait_where_that_is_asked_for() {
    if !subject_is_ours() {
        return; // stock leaves the links of partial resyncs as they are
    }
    let primary = Launch::ours(&[("repl-disable-tcp-nodelay", "yes")]).start();
    let mut at_primary = primary.connect();
    let replica = replica(&primary, &[]);
    let mut c = replica.connect();
    until_up(&mut c);
    until_written_through(&mut at_primary, &mut c, "a");
    let Some(hurries) = in_a_hurry(&primary, &mut at_primary) else { return };
    assert!(!hurries);
    for (value, hurries) in [("no", true), ("yes", false)] {
        at_primary.must(&["CONFIG", "SET", "repl-disable-tcp-nodelay", value]);
        assert_eq!(in_a_hurry(&primary, &mut at_primary), Some(!hurries), "before the link is a new one");
        let before: u64 = info(&mut at_primary, "sync_partial_ok").parse().unwrap();
        at_primary.must(&["CLIENT", "KILL", "TYPE", "replica"]);
        eventually("another link", LIMIT, || {
            (info(&mut at_primary, "sync_partial_ok").parse::<u64>().unwrap() > before).then_some(())
        });
        until_written_through(&mut at_primary, &mut c, value);
        assert_eq!(in_a_hurry(&primary, &mut at_primary), Some(hurries), "{value}");
    }
}

/// `replica-ignore-maxmemory no`: what the replica has no room for is neither applied nor left out; it waits.
#[test]
fn a_full_replica_goes_on_when_it_has_room() {
    if !subject_is_ours() {
        return; // stock leaves such writes out, and goes on with other data
    }
    let primary = Launch::ours(&[]).start();
    let mut at_primary = primary.connect();
    let replica = replica(&primary, &[("replica-ignore-maxmemory", "no")]);
    let mut c = replica.connect();
    until_up(&mut c);
    until_written_through(&mut at_primary, &mut c, "a");
    c.must(&["CONFIG", "SET", "maxmemory", "1"]);
    at_primary.must(&["SET", "b", "1"]);
    eventually("the reason in the log", LIMIT, || {
        let named = replica.log().contains("command 'set': used memory > 'maxmemory'");
        named.then_some(())
    });
    assert_eq!(c.must(&["EXISTS", "b"]).int(), 0);
    c.must(&["CONFIG", "SET", "maxmemory", "0"]);
    until_written_through(&mut at_primary, &mut c, "c");
    assert_eq!(c.must(&["EXISTS", "a", "b", "c"]).int(), 3);
    assert_eq!(info(&mut at_primary, "sync_full"), "1");
}
