//! A node that follows: what a primary's bytes do to data, stream and clients, however they come.

use proptest::prelude::*;

use super::*;
use crate::engine::replay::Replay;
use crate::engine::testing::NodeBench;
use crate::resp::args::encode_command;
use crate::store::digest::of_dataset;

/// Commands as words, separated by `|`; nothing is a bare newline.
fn encode(lines: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for line in lines.split('|') {
        let words: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        match line {
            "" => bytes.push(b'\n'),
            _ => encode_command(words.into_iter(), &mut bytes),
        }
    }
    bytes
}

fn follow(bench: &mut NodeBench) -> Follower {
    Follower::new(&mut bench.node, 0, "10.0.0.1:6379".into(), "127.0.0.1:40000".into())
}

fn feed(bench: &mut NodeBench, follower: &mut Follower, lines: &str) -> Fed {
    follower.feed(&mut bench.node, &encode(lines), &mut bench.clock).expect("a stream that can be followed")
}

fn pending(bench: &NodeBench) -> Vec<u8> {
    bench.node.poll_stream().map(|(bytes, _)| bytes.to_vec()).unwrap_or_default()
}

#[test]
fn the_stream_is_the_primarys_byte_for_byte() {
    let mut bench = NodeBench::default();
    bench.node.stream = crate::engine::stream::Stream::at(Offset(1000));
    let mut follower = follow(&mut bench);
    assert_eq!(bench.node.stream.db(), Some(0));
    let lines = "SELECT 3|set k v|PING||MULTI|INCR n|SELECT 4|APPEND a x|EXEC|PUBLISH c m";
    let fed = feed(&mut bench, &mut follower, lines);
    let bytes = encode(lines);
    assert_eq!(fed, Fed { applied: bytes.len() as u64, ack_wanted: false, errors: 0 });
    assert_eq!(pending(&bench), bytes);
    let stream = &bench.node.stream;
    assert_eq!((stream.end, stream.db()), (Offset(1000) + bytes.len() as u64, Some(4)));
    assert_eq!(stream.end - stream.data_end, encode("PUBLISH c m").len() as u64, "messages hold no replies");
    assert_eq!(bench.node.server.history.end, stream.end);
    let fed = feed(&mut bench, &mut follower, "REPLCONF GETACK *");
    assert!(fed.ack_wanted && fed.applied == encode("REPLCONF GETACK *").len() as u64);
    let a = bench.connect();
    bench.check(a, "SELECT 4", "+OK");
    bench.check(a, "GET a", "$1 x");
    follower.finish(&mut bench.node);
    assert_eq!(bench.node.server.sessions.len(), 1);
}

/// Rule 10: what is no whole unit is neither applied nor appended.
#[test]
fn a_cut_transaction_leaves_no_trace() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    let mut follower = follow(&mut bench);
    feed(&mut bench, &mut follower, "SET k 1");
    bench.send(a, "WATCH k");
    let (end, bytes) = (bench.node.stream.end, pending(&bench));
    feed(&mut bench, &mut follower, "MULTI|SET k 2|SELECT 5|SET k 3");
    assert!(follower.kept() > 0);
    follower.finish(&mut bench.node);
    assert_eq!((bench.node.stream.end, pending(&bench), bench.node.stream.db()), (end, bytes, Some(0)));
    bench.check(a, "GET k", "$1 1");
    bench.send(a, "MULTI");
    bench.check(a, "EXEC", "*0");
    // The next link begins with the unit.
    let mut follower = follow(&mut bench);
    feed(&mut bench, &mut follower, "MULTI|SET k 2|EXEC");
    bench.check(a, "GET k", "$1 2");
}

#[test]
fn what_cannot_be_run_stops_before_its_unit() {
    for (lines, command, why) in [
        ("NOSUCH a", "NOSUCH", "unknown command 'NOSUCH', with args beginning with: 'a' "),
        (
            "MULTI|SET k 2|FUNCTIONS LOAD|EXEC",
            "FUNCTIONS",
            "unknown command 'FUNCTIONS', with args beginning with: 'LOAD' ",
        ),
        ("SET k", "SET", "wrong number of arguments for 'set' command"),
        ("SELECT 16", "SELECT", "this server has 16 databases"),
    ] {
        let mut bench = NodeBench::default();
        let mut follower = follow(&mut bench);
        let bytes = [encode("SET k 1"), encode(lines), encode("SET k 3")].concat();
        let stopped = follower.feed(&mut bench.node, &bytes, &mut bench.clock).unwrap_err();
        let at = bench.node.stream.end;
        assert_eq!(stopped, Stopped { at, command: command.into(), why: why.into() });
        assert_eq!(pending(&bench), encode("SET k 1"));
        let a = bench.connect();
        bench.check(a, "GET k", "$1 1");
        assert_eq!(
            stopped.to_string(),
            format!("the primary's stream cannot be followed beyond offset {at}: command '{command}': {why}")
        );
    }
    let mut bench = NodeBench::default();
    let mut follower = Follower::new(&mut bench.node, 16, String::new(), String::new());
    let stopped = follower.feed(&mut bench.node, &encode("SET k 1"), &mut bench.clock).unwrap_err();
    assert_eq!(stopped.why, "the stream has selected database 16, this server has 16 databases");
    assert_eq!((stopped.at, pending(&bench).len()), (bench.node.stream.end, 0));
    // Another is selected before anything is done.
    let mut bench = NodeBench::default();
    let mut follower = Follower::new(&mut bench.node, 16, String::new(), String::new());
    feed(&mut bench, &mut follower, "PING|MULTI|SELECT 3|SET k 1|EXEC|SET k 2");
    let a = bench.connect();
    bench.check(a, "SELECT 3", "+OK");
    bench.check(a, "GET k", "$1 2");
    let mut bench = NodeBench::default();
    let mut follower = follow(&mut bench);
    bench.node.handle_disconnect(follower.slot());
    let a = bench.connect();
    assert_eq!(a.place(), follower.slot().place(), "its place is another's now");
    let stopped = follower.feed(&mut bench.node, &encode("SET k 1"), &mut bench.clock).unwrap_err();
    assert_eq!((stopped.why.as_str(), pending(&bench).len()), ("the link was closed", 0));
    follower.finish(&mut bench.node);
    bench.check(a, "GET k", "$-1");
}

#[test]
fn no_gate_and_no_deadline_stands_in_its_way() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.set("maxmemory", "1");
    bench.set("requirepass", "secret");
    bench.set("min-replicas-to-write", "3");
    bench.node.server.process.used_memory = 2;
    bench.node.server.persistence.last_save_ok = false;
    let mut follower = follow(&mut bench);
    bench.check(a, "CLIENT PAUSE 100000", "+OK"); // holds clients, and not the primary's stream
    feed(&mut bench, &mut follower, "SET n 1|PEXPIREAT n 5|INCR n|PERSIST n|SET gone 1 PXAT 5|APPEND gone 2");
    feed(&mut bench, &mut follower, "RENAME gone there|PERSIST there");
    bench.set("requirepass", "");
    bench.node.server.process.used_memory = 0;
    bench.check(a, "CLIENT UNPAUSE", "+OK");
    bench.check(a, "GET n", "$1 2");
    bench.check(a, "GET there", "$2 12");
}

#[test]
fn memory_stops_the_stream_where_the_operator_says_so() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.set("maxmemory", "1");
    bench.set("replica-ignore-maxmemory", "no");
    let mut follower = follow(&mut bench);
    feed(&mut bench, &mut follower, "SET k 1");
    bench.node.server.process.used_memory = 2;
    feed(&mut bench, &mut follower, "PING|DEL other|PEXPIREAT k 99999999999999");
    let before = (bench.node.stream.end, pending(&bench));
    for lines in ["SET k 2", "MULTI|DEL k|APPEND k 2|EXEC"] {
        let mut follower = follow(&mut bench);
        let stopped = follower.feed(&mut bench.node, &encode(lines), &mut bench.clock).unwrap_err();
        assert!(stopped.why.contains("replica-ignore-maxmemory"), "{stopped}");
        assert_eq!((bench.node.stream.end, pending(&bench)), before);
        follower.finish(&mut bench.node);
        bench.check(a, "GET k", "$1 1");
    }
    bench.node.server.process.used_memory = 0;
    let mut follower = follow(&mut bench);
    feed(&mut bench, &mut follower, "SET k 2");
    bench.check(a, "GET k", "$1 2");
}

#[test]
fn clients_see_what_the_primary_does() {
    let mut bench = NodeBench::default();
    let [watcher, listener, monitor, waiter, other] = std::array::from_fn(|_| bench.connect());
    bench.set("notify-keyspace-events", "KA");
    bench.send(watcher, "WATCH k");
    bench.send(listener, "PSUBSCRIBE *");
    bench.send(monitor, "MONITOR");
    bench.send(waiter, "BLPOP list 0");
    let mut follower = follow(&mut bench);
    bench.node.server.persistence.dirty = 0;
    feed(
        &mut bench,
        &mut follower,
        "SELECT 0|SET k v|MULTI|RPUSH list x|EXEC|PUBLISH c m|PING|REPLCONF GETACK *",
    );
    let messages = "*4 $8 pmessage $1 * $16 __keyspace@0__:k $3 set *4 $8 pmessage $1 * $19 __keyspace@0__:list $5 rpush";
    let published = bench.output(listener);
    assert!(
        published.starts_with("*4 $8 pmessage $1 * $1 c $1 m") || published.starts_with(messages),
        "{published}"
    );
    assert!(
        published.contains("__keyspace@0__:list $5 rpush") && published.contains("$1 c $1 m"),
        "{published}"
    );
    let shown = bench.output(monitor);
    for part in [
        "[0 10.0.0.1:6379] \"SET\" \"k\" \"v\"",
        "\"MULTI\"",
        "\"RPUSH\" \"list\" \"x\"",
        "\"PING\"",
        "\"SELECT\" \"0\"",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    assert!(!shown.contains("REPLCONF"), "{shown}");
    bench.check_output(waiter, "");
    bench.send(watcher, "MULTI");
    bench.check(watcher, "EXEC", "*-1");
    assert_eq!(bench.node.server.persistence.dirty, 2);
    let calls = |bench: &mut NodeBench, name: &str| {
        let row = crate::commands::find(name.as_bytes()).unwrap();
        bench.node.server.stats_of(row).calls
    };
    assert_eq!((calls(&mut bench, "rpush"), calls(&mut bench, "ping")), (1, 1));
    assert!(
        bench.send(other, "CLIENT LIST TYPE master").contains("addr=10.0.0.1:6379 laddr=127.0.0.1:40000")
    );
    assert!(bench.send(other, "CLIENT LIST TYPE master").contains(" flags=M db=0 "));
    // Nobody is served behind the primary's back, whatever follows.
    assert_eq!(bench.node.store.key_count(), 2);
    let bytes = pending(&bench);
    bench.pass(1000);
    assert_eq!(pending(&bench), bytes);
}

#[test]
fn replies_wait_for_what_was_followed() {
    let mut bench = NodeBench::default();
    let a = bench.connect();
    bench.node.server.persistence.aof_enabled = true;
    bench.set("appendfsync", "always");
    let mut follower = follow(&mut bench);
    feed(&mut bench, &mut follower, "SET k v");
    bench.check(a, "GET k", "");
    let end = bench.node.stream.end;
    bench.node.handle_log(end, end, None);
    bench.check_output(a, "$1 v");
    feed(&mut bench, &mut follower, "PING|REPLCONF GETACK *");
    bench.check(a, "GET k", "$1 v");
}

#[test]
fn errors_are_reported_and_flushes_are_saved() {
    let mut bench = NodeBench::default();
    let mut follower = follow(&mut bench);
    let fed = feed(&mut bench, &mut follower, "SET k v|LPUSH k x|SET k w|FLUSHALL");
    assert_eq!((fed.errors, bench.node.server.stats.unexpected_errors), (1, 1));
    assert_eq!(
        bench.node.server.remarks,
        [
            "== CRITICAL == This replica is sending an error to its master: 'WRONGTYPE Operation against a key holding the wrong kind of value' after processing the command 'lpush'"
        ]
    );
    let actions = bench.actions();
    assert!(
        matches!(actions[..], [Action::Command(slot, Request::SaveAfterFlush { waits: false })] if slot == follower.slot()),
        "{actions:?}"
    );
    assert_eq!(bench.node.store.key_count(), 0);
    // Idle as long as it may be: repl-timeout judges the link, not `timeout`.
    bench.set("timeout", "1");
    bench.pass(5000);
    assert!(!bench.actions().iter().any(|action| matches!(action, Action::Close(_))));
}

fn a_unit() -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec!["a", "b", "c"]);
    let command = (key, 0..10u32).prop_flat_map(|(key, n)| {
        prop::sample::select(vec![
            format!("SET {key} {n}"),
            format!("INCRBY {key} {n}"),
            format!("APPEND {key} {n}"),
            format!("RPUSH list{key} {n}"),
            format!("LPOP list{key}"),
            format!("DEL {key}"),
            format!("PEXPIREAT {key} {n}"),
            format!("PERSIST {key}"),
            format!("SELECT {n}"),
            format!("MOVE {key} {n}"),
            format!("HSET hash{key} f{n} {n}"),
            "PING".into(),
            "REPLCONF GETACK *".into(),
            "PUBLISH c m".into(),
            String::new(),
        ])
    });
    let several = prop::collection::vec(command.clone(), 1..5);
    prop_oneof![3 => command, 1 => several.prop_map(|all| format!("MULTI|{}|EXEC", all.join("|")))]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// In any pieces, cut off anywhere: the data and the end are those of the whole units, as recovery finds them.
    #[test]
    fn any_pieces_give_the_same(units in prop::collection::vec(a_unit(), 1..20),
                                sizes in prop::collection::vec(1usize..90, 1..9), cut in 0usize..2000) {
        let ends: Vec<usize> = units.iter().scan(0, |end, unit| {
            *end += encode(unit).len();
            Some(*end)
        }).collect();
        let bytes = encode(&units.join("|"));
        let fed = &bytes[..cut.min(bytes.len())];
        let whole = ends.iter().copied().filter(|end| *end <= fed.len()).max().unwrap_or(0);

        let mut pieces = NodeBench::default();
        let mut follower = follow(&mut pieces);
        let (mut rest, mut sizes, mut applied) = (fed, sizes.iter().cycle(), 0);
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(sizes.next().unwrap().min(&rest.len()).to_owned());
            applied += follower.feed(&mut pieces.node, piece, &mut pieces.clock).unwrap().applied;
            rest = after;
        }
        prop_assert_eq!(applied as usize, whole);
        prop_assert_eq!(pieces.node.stream.end, Offset(whole as u64));
        prop_assert_eq!(&pending(&pieces)[..], &bytes[..whole]);

        let mut at_once = NodeBench::default();
        let mut other = follow(&mut at_once);
        other.feed(&mut at_once.node, &bytes[..whole], &mut at_once.clock).unwrap();
        let mut recovered = NodeBench::default();
        let mut replay = Replay::new(&mut recovered.node, 0);
        replay.feed(&mut recovered.node, fed).unwrap();
        prop_assert_eq!(replay.applied() as usize, whole);
        prop_assert_eq!(Some(replay.db(&recovered.node)), pieces.node.stream.db());
        let digest = of_dataset(&pieces.node.store.dbs);
        prop_assert_eq!(of_dataset(&at_once.node.store.dbs), digest);
        prop_assert_eq!(of_dataset(&recovered.node.store.dbs), digest);
    }
}
