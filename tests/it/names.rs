//! What a replica has from its primary besides the stream: the names of its history (rule 20), and payloads that take their time.

use crate::client::Client;
use crate::harness::{Launch, Server, bgsave, eventually, info, subject_is_ours};
use crate::scenarios::{Follower, next_call};
use std::io::Write;
use std::net::TcpListener;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const QUICK: [(&str, &str); 2] = [("repl-diskless-sync-delay", "0"), ("enable-debug-command", "yes")];

fn replica_of(primary: &Server) -> Server {
    Launch::ours(&QUICK).with("replicaof", &format!("127.0.0.1 {}", primary.port())).start()
}

/// The same name and end, and the link is up.
fn at_the_same_place(primary: &Server, replica: &Server) {
    eventually("the replica to be where its primary is", LIMIT, || {
        let (mut p, mut r) = (primary.connect(), replica.connect());
        let place = |c: &mut Client| (info(c, "master_replid"), info(c, "master_repl_offset"));
        (info(&mut r, "master_link_status") == "up" && place(&mut p) == place(&mut r)).then_some(())
    });
}

fn position(server: &Server) -> (String, u64) {
    let mut c = server.connect();
    (info(&mut c, "master_replid"), info(&mut c, "master_repl_offset").parse().unwrap())
}

fn verdict(server: &Server, (id, at): &(String, u64), beyond: u64) -> String {
    let answer = Follower::ask(server.port(), true, id, &(at + beyond + 1).to_string()).1;
    answer.split(' ').next().unwrap_or_default().to_string()
}

/// The primary was restarted twice while one replica was away; another one, which was not, comes to that replica.
#[test]
fn a_replica_knows_the_names_that_its_primary_had_meanwhile() {
    if !subject_is_ours() {
        return;
    }
    let mut primary = Launch::ours(&QUICK).start();
    let mut replica = replica_of(&primary);
    primary.connect().must(&["SET", "a", "1"]);
    at_the_same_place(&primary, &replica);
    replica.kill();
    let mut names = Vec::new();
    for round in ["one", "two"] {
        for n in 0..10 {
            primary.connect().must(&["SET", &format!("{round}:{n}"), "1"]);
        }
        names.push(position(&primary));
        primary.kill();
        primary = primary.restart();
    }
    let check = |what: &str, server: &Server, beyond: &str| {
        for name in &names {
            assert_eq!(verdict(server, name, 0), "+CONTINUE", "{what}: {name:?}\n{}", server.log());
            assert_eq!(verdict(server, name, 5000), beyond, "{what}: {name:?}\n{}", server.log());
        }
    };
    check("primary", &primary, "-NOMASTERLINK");
    replica = replica.restart();
    primary.connect().must(&["SET", "b", "1"]);
    at_the_same_place(&primary, &replica);
    check("replica", &replica, "-NOMASTERLINK");
    replica.kill();
    replica = replica.restart();
    at_the_same_place(&primary, &replica);
    check("restarted", &replica, "-NOMASTERLINK");
    primary.kill();
    replica.connect().must(&["REPLICAOF", "NO", "ONE"]);
    check("promoted", &replica, "+FULLRESYNC"); // it was ordered to lead
}

/// DEBUG LOADAOF makes another name: who follows must hear of it before it gets a byte under it (rule 1).
#[test]
fn followers_hear_of_the_name_after_a_reload_of_the_log() {
    if !subject_is_ours() {
        return;
    }
    let primary = Launch::ours(&QUICK).start();
    let replica = replica_of(&primary);
    let mut p = primary.connect();
    p.must(&["SET", "a", "1"]);
    at_the_same_place(&primary, &replica);
    p.must(&["DEBUG", "LOADAOF"]);
    p.must(&["SET", "b", "1"]);
    at_the_same_place(&primary, &replica);
    p.must(&["CLIENT", "KILL", "TYPE", "replica"]);
    p.must(&["SET", "c", "1"]);
    at_the_same_place(&primary, &replica);
    assert_eq!(info(&mut p, "sync_full"), "1", "{}", primary.log());
}

/// A payload that has arrived whole is taken over also if its sender is gone by then.
#[test]
fn a_whole_payload_outlives_its_sender() {
    if !subject_is_ours() {
        return;
    }
    let source = Launch::ours(&QUICK).start();
    let mut c = source.connect();
    c.must(&["DEBUG", "POPULATE", "2500"]);
    bgsave(&mut c);
    let payload = std::fs::read(source.data().join("dump.rdb")).unwrap();
    let id = "0123456789abcdef0123456789abcdef01234567";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let upstream = format!("127.0.0.1 {}", listener.local_addr().unwrap().port());
    let replica = Launch::ours(&QUICK).with("key-load-delay", "1000").with("replicaof", &upstream).start();
    let (mut call, ..) = next_call(&listener);
    let head = format!("+FULLRESYNC {id} 1000\r\n${}\r\n", payload.len());
    call.get_mut().write_all(&[head.as_bytes(), &payload].concat()).unwrap();
    drop(call);
    let (_call, asked, next) = next_call(&listener);
    assert_eq!((asked.as_str(), next), (id, 1001), "{}", replica.log());
    assert_eq!(replica.connect().must(&["DBSIZE"]).int(), 2500);
}

/// Loading may take longer than the primary's repl-timeout: the replica says meanwhile that it lives.
#[test]
fn a_load_longer_than_the_primarys_patience_ends_in_sync() {
    if !subject_is_ours() {
        return;
    }
    for diskless in ["yes", "no"] {
        let primary =
            Launch::ours(&QUICK).with("repl-timeout", "4").with("repl-diskless-sync", diskless).start();
        let mut p = primary.connect();
        p.must(&["DEBUG", "POPULATE", "6000"]);
        let upstream = format!("127.0.0.1 {}", primary.port());
        let slow = Launch::ours(&QUICK).with("key-load-delay", "1000").with("replicaof", &upstream);
        let replica = slow.start();
        at_the_same_place(&primary, &replica);
        assert_eq!(
            (info(&mut p, "sync_full"), info(&mut p, "sync_partial_ok")),
            ("1".into(), "0".into()),
            "{}",
            primary.log()
        );
    }
}

/// A server in the middle learns its primary's new name, and is told meanwhile to follow the same primary under another address:
/// the name comes into force, and with it those below hear of it.
#[test]
fn followers_hear_of_a_name_that_another_replicaof_overtook() {
    if !subject_is_ours() {
        return;
    }
    let mut primary = Launch::ours(&QUICK).start();
    let middle = replica_of(&primary);
    let last = replica_of(&middle);
    primary.connect().must(&["SET", "a", "1"]);
    at_the_same_place(&primary, &last);
    middle.connect().must(&["DEBUG", "AOF-FLUSH-SLEEP", "500000"]);
    primary.kill();
    primary = primary.restart();
    let port = primary.port().to_string();
    eventually("the primary to answer the middle", LIMIT, || {
        primary.log().contains("Partial resynchronization request").then_some(())
    });
    middle.connect().must(&["REPLICAOF", "localhost", &port]);
    middle.connect().must(&["DEBUG", "AOF-FLUSH-SLEEP", "0"]);
    primary.connect().must(&["SET", "b", "1"]);
    at_the_same_place(&primary, &middle);
    at_the_same_place(&middle, &last);
    let full = last.log().matches("Full resync from master").count();
    assert_eq!(full, 1, "{}", last.log());
}
