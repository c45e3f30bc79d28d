//! What the log says about itself is what was written: positions, databases and lengths that a restart relies on.
//!
//! Each case writes something that is awkward to account for, kills the server, and starts it twice: once from ring and
//! log, and once more from what the first start left.

use crate::client::{Client, encode};
use crate::harness::{Launch, Server, info};

/// Sends all commands in one piece and reads as many answers, none of them an error.
fn pipeline(c: &mut Client, commands: &[Vec<String>]) {
    let bytes: Vec<u8> = commands.iter().flat_map(|args| encode(args)).collect();
    c.send_raw(&bytes).unwrap();
    for args in commands {
        let answer = c.read_value().unwrap();
        assert!(!answer.is_error(), "{args:?}: {answer:?}");
    }
}

fn words(args: &[&str]) -> Vec<String> {
    args.iter().map(ToString::to_string).collect()
}

/// The position, and the keys of each database as INFO counts them.
fn state(c: &mut Client) -> (u64, Vec<String>) {
    let offset = info(c, "master_repl_offset").parse().unwrap();
    (offset, (0..4).map(|db| info(c, &format!("db{db}"))).map(|line| first_field(&line)).collect())
}

fn first_field(line: &str) -> String {
    line.split(',').next().unwrap_or_default().to_string()
}

/// Kills and starts it `times` times; what is there and where it stands must not change.
fn survives(mut server: Server, times: u32) -> Server {
    let before = state(&mut server.connect());
    for n in 1..=times {
        assert_eq!(server.kill().signal, Some(9));
        server = server.restart();
        assert_eq!(state(&mut server.connect()), before, "start {n} after kill -9: {}", server.log());
    }
    server
}

/// One batch over several databases: each mark and each ring append names the one that is selected there, not the
/// one at the batch's end.
#[test]
fn a_pipeline_over_several_databases() {
    for directives in [&[][..], &[("appendonly", "no")], &[("repl-backlog-size", "16kb")]] {
        let server = Launch::ours(directives).start();
        let mut c = server.connect();
        let value = "v".repeat(1000);
        let mut commands = Vec::new();
        for db in ["0", "1", "2", "3"] {
            commands.push(words(&["SELECT", db]));
            commands.extend((0..60).map(|n| words(&["SET", &format!("k{n}"), &value])));
        }
        pipeline(&mut c, &commands);
        let server = survives(server, 2);
        let mut c = server.connect();
        c.must(&["SET", "after", "1"]);
        survives(server, 2);
    }
}
