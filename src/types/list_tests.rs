//! The list commands, step by step: replies, effects, events, encodings.

use crate::commands::testing::{Bench, steps};
use crate::commands::{Outcome, TimeoutReply};
use crate::resp::reply::Protocol;
use crate::store::{Events, NEVER, Type};

/// Runs the lines and returns the events and the count of changes of the last one.
fn events_of(lines: &[&str]) -> (Vec<String>, u64) {
    let mut bench = Bench::default();
    bench.store.changes.notify = Events::KEYEVENT | Events::ALL;
    let (last, before) = lines.split_last().expect("a line");
    before.iter().for_each(|line| drop(bench.run(line)));
    bench.store.changes.events.clear();
    bench.store.changes.dirty = 0;
    bench.run(last);
    let changes = &bench.store.changes;
    let named =
        |event: &crate::store::Event| format!("{} {}", event.name, String::from_utf8_lossy(&event.key));
    (changes.events.iter().map(named).collect(), changes.dirty)
}

#[test]
fn push_and_pop() {
    let mut bench = steps(&[
        ("LPUSHX l a", ":0"),
        ("RPUSHX l a", ":0"),
        ("RPUSH l a b 3", ":3"),
        ("LPUSH l x y", ":5"),
        ("LRANGE l 0 -1", "*5 $1 y $1 x $1 a $1 b $1 3"),
        ("LPUSHX l p q", ":7"),
        ("RPUSHX l r", ":8"),
        ("LLEN l", ":8"),
        ("LLEN none", ":0"),
        ("LPOP l", "$1 q"),
        ("RPOP l", "$1 r"),
        ("RPOP l 2", "*2 $1 3 $1 b"),
        ("LPOP l 0", "*0"),
        ("LPOP l 2", "*2 $1 p $1 y"),
        ("LPOP l 9", "*2 $1 x $1 a"),
        ("LLEN l", ":0"),
        ("LPOP l", "$-1"),
        ("LPOP l 1", "*-1"),
        ("LPOP l 0", "*-1"),
        ("LPOP l -1", "-ERR value is out of range, must be positive"),
        ("RPOP l x", "-ERR value is out of range, must be positive"),
        ("LPOP l 1 2", "-ERR wrong number of arguments for 'lpop' command"),
        ("SET s v", "+OK"),
        ("LPUSH s a", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("LPOP s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("LLEN s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
    bench.proto = Protocol::Resp3;
    bench.check("LPOP l", "_");
    bench.check("LPOP l 1", "_");
    bench.check_effects(&[
        "RPUSH l a b 3",
        "LPUSH l x y",
        "LPUSHX l p q",
        "RPUSHX l r",
        "LPOP l",
        "RPOP l",
        "RPOP l 2",
        "LPOP l 2",
        "LPOP l 9",
        "SET s v",
    ]);
}

#[test]
fn reading_by_index() {
    let mut bench = steps(&[
        ("RPUSH l a b c d", ":4"),
        ("LINDEX l 0", "$1 a"),
        ("LINDEX l -1", "$1 d"),
        ("LINDEX l 4", "$-1"),
        ("LINDEX l -5", "$-1"),
        ("LINDEX l -9223372036854775808", "$-1"),
        ("LINDEX l x", "-ERR value is not an integer or out of range"),
        ("LINDEX none x", "$-1"),
        ("LRANGE l 1 2", "*2 $1 b $1 c"),
        ("LRANGE l -2 100", "*2 $1 c $1 d"),
        ("LRANGE l -100 0", "*1 $1 a"),
        ("LRANGE l 3 1", "*0"),
        ("LRANGE l 4 9", "*0"),
        ("LRANGE l -1 -9223372036854775808", "*0"),
        ("LRANGE none 0 -1", "*0"),
        ("LRANGE none x -1", "-ERR value is not an integer or out of range"),
        ("LSET l -1 z", "+OK"),
        ("LSET l 4 z", "-ERR index out of range"),
        ("LSET l -5 z", "-ERR index out of range"),
        ("LSET l x z", "-ERR value is not an integer or out of range"),
        ("LSET none x z", "-ERR no such key"),
        ("LRANGE l 0 -1", "*4 $1 a $1 b $1 c $1 z"),
    ]);
    bench.check_effects(&["RPUSH l a b c d", "LSET l -1 z"]);
}

#[test]
fn trimming() {
    let check = |start: i64, stop: i64, expected: &str, changed: bool| {
        let mut bench = steps(&[("RPUSH l 1 2 3 4 5", ":5")]);
        bench.effects.clear();
        bench.check(&format!("LTRIM l {start} {stop}"), "+OK");
        bench.check("LRANGE l 0 -1", expected);
        assert_eq!(bench.effects.len(), usize::from(changed), "{start} {stop}");
    };
    check(0, -1, "*5 $1 1 $1 2 $1 3 $1 4 $1 5", false);
    check(-100, 100, "*5 $1 1 $1 2 $1 3 $1 4 $1 5", false);
    check(1, 2, "*2 $1 2 $1 3", true);
    check(-2, -1, "*2 $1 4 $1 5", true);
    check(2, 1, "*0", true);
    check(5, 9, "*0", true);
    assert_eq!(events_of(&["RPUSH l 1 2 3", "LTRIM l 1 1"]), (vec!["ltrim l".into()], 2));
    assert_eq!(events_of(&["RPUSH l 1 2", "LTRIM l 2 1"]), (vec!["ltrim l".into(), "del l".into()], 2));
}

#[test]
fn removing_and_inserting() {
    steps(&[
        ("RPUSH l a b a c a", ":5"),
        ("LREM l -1 a", ":1"),
        ("LRANGE l 0 -1", "*4 $1 a $1 b $1 a $1 c"),
        ("LREM l 1 a", ":1"),
        ("LREM l 0 none", ":0"),
        ("LREM none 0 a", ":0"),
        ("LREM none x a", "-ERR value is not an integer or out of range"),
        ("LINSERT l BEFORE a 5", ":4"),
        ("LINSERT l after 5 6", ":5"),
        ("LRANGE l 0 -1", "*5 $1 b $1 5 $1 6 $1 a $1 c"),
        ("LINSERT l AFTER none x", ":-1"),
        ("LINSERT none AFTER a x", ":0"),
        ("LINSERT none NEAR a x", "-ERR syntax error"),
        ("LREM l 0 5", ":1"),
        ("LREM l -9223372036854775808 6", ":1"),
        ("LLEN l", ":3"),
    ]);
    assert_eq!(events_of(&["RPUSH l a b a", "LREM l 0 a"]), (vec!["lrem l".into()], 2));
    assert_eq!(events_of(&["RPUSH l a a", "LREM l -3 a"]), (vec!["lrem l".into(), "del l".into()], 2));
    assert_eq!(events_of(&["RPUSH l a", "LINSERT l BEFORE a b"]), (vec!["linsert l".into()], 1));
    assert_eq!(events_of(&["RPUSH l a", "LSET l 0 b"]), (vec!["lset l".into()], 1));
    assert_eq!(events_of(&["LPUSH l a b"]), (vec!["lpush l".into()], 2));
    assert_eq!(events_of(&["RPUSH l a b", "RPOP l 5"]), (vec!["rpop l".into(), "del l".into()], 2));
}

#[test]
fn positions() {
    steps(&[
        ("RPUSH l a b c 1 2 3 c c", ":8"),
        ("LPOS l a", ":0"),
        ("LPOS l c", ":2"),
        ("LPOS l c RANK 2", ":6"),
        ("LPOS l c RANK -1", ":7"),
        ("LPOS l c RANK -2", ":6"),
        ("LPOS l c RANK 4", "$-1"),
        ("LPOS l c COUNT 0", "*3 :2 :6 :7"),
        ("LPOS l c COUNT 2", "*2 :2 :6"),
        ("LPOS l c COUNT 2 RANK -1", "*2 :7 :6"),
        ("LPOS l c COUNT 0 RANK 2", "*2 :6 :7"),
        ("LPOS l c COUNT 0 MAXLEN 7 RANK 2", "*1 :6"),
        ("LPOS l c COUNT 0 MAXLEN 1", "*0"),
        ("LPOS l c RANK -1 MAXLEN 1", ":7"),
        ("LPOS l a RANK -1 MAXLEN 7", "$-1"),
        ("LPOS l x", "$-1"),
        ("LPOS l x COUNT 5", "*0"),
        ("LPOS none x", "$-1"),
        ("LPOS none x COUNT 5", "*0"),
        ("LPOS l c COUNT -1", "-ERR COUNT can't be negative"),
        ("LPOS l c MAXLEN -1", "-ERR MAXLEN can't be negative"),
        (
            "LPOS l c RANK 0",
            "-ERR RANK can't be zero: use 1 to start from the first match, 2 from the second ... or use negative \
             to start from the end of the list",
        ),
        (
            "LPOS l c RANK -9223372036854775808",
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807",
        ),
        ("LPOS l c RANK", "-ERR syntax error"),
        ("LPOS l c FOO 1", "-ERR syntax error"),
    ]);
}

#[test]
fn moving() {
    let mut bench = steps(&[
        ("RPUSH a 1 2 3", ":3"),
        ("LMOVE a b LEFT RIGHT", "$1 1"),
        ("LMOVE a b right left", "$1 3"),
        ("RPOPLPUSH a b", "$1 2"),
        ("LLEN a", ":0"),
        ("LRANGE b 0 -1", "*3 $1 2 $1 3 $1 1"),
        ("LMOVE b b LEFT RIGHT", "$1 2"),
        ("LRANGE b 0 -1", "*3 $1 3 $1 1 $1 2"),
        ("LMOVE a b LEFT LEFT", "$-1"),
        ("LMOVE b c UP LEFT", "-ERR syntax error"),
        ("SET s v", "+OK"),
        ("RPOPLPUSH b s", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("RPOPLPUSH s b", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("RPOPLPUSH none s", "$-1"),
        ("LLEN b", ":3"),
        ("RPUSH one 1", ":1"),
        ("RPOPLPUSH one one", "$1 1"),
        ("LLEN one", ":1"),
    ]);
    bench.check_effects(&[
        "RPUSH a 1 2 3",
        "LMOVE a b LEFT RIGHT",
        "LMOVE a b right left",
        "RPOPLPUSH a b",
        "LMOVE b b LEFT RIGHT",
        "SET s v",
        "RPUSH one 1",
        "RPOPLPUSH one one",
    ]);
    let moved = vec!["lpush b".to_string(), "rpop a".into(), "del a".into()];
    assert_eq!(events_of(&["RPUSH a 1", "RPOPLPUSH a b"]), (moved, 1));
}

#[test]
fn popping_from_the_first_of_several() {
    let mut bench = steps(&[
        ("RPUSH b 1 2 3", ":3"),
        ("LMPOP 2 a b LEFT", "*2 $1 b *1 $1 1"),
        ("LMPOP 2 a b RIGHT COUNT 9", "*2 $1 b *2 $1 3 $1 2"),
        ("LMPOP 2 a b RIGHT COUNT 9", "*-1"),
        ("LMPOP 0 a LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP x a LEFT", "-ERR numkeys should be greater than 0"),
        ("LMPOP 2 a LEFT", "-ERR syntax error"),
        ("LMPOP 9223372036854775807 a LEFT", "-ERR syntax error"),
        ("LMPOP 1 a UP", "-ERR syntax error"),
        ("LMPOP 1 a LEFT COUNT 0", "-ERR count should be greater than 0"),
        ("LMPOP 1 a LEFT COUNT", "-ERR syntax error"),
        ("LMPOP 1 a LEFT COUNT 1 COUNT 2", "-ERR syntax error"),
    ]);
    bench.check_effects(&["RPUSH b 1 2 3", "LPOP b 1", "RPOP b 2"]);
}

#[test]
fn what_is_there_is_not_waited_for() {
    let mut bench = steps(&[
        ("RPUSH b 1 2 3 4 5 6 7", ":7"),
        ("BLPOP a b 0", "*2 $1 b $1 1"),
        ("BRPOP b 1.5", "*2 $1 b $1 7"),
        ("BLMPOP 0 2 a b RIGHT COUNT 2", "*2 $1 b *2 $1 6 $1 5"),
        ("BLMOVE b c LEFT RIGHT 0", "$1 2"),
        ("BRPOPLPUSH b c 0", "$1 4"),
        ("LRANGE c 0 -1", "*2 $1 4 $1 2"),
        ("BLPOP b x", "-ERR timeout is not a float or out of range"),
        ("BLPOP b -1", "-ERR timeout is negative"),
        ("BLPOP b 0x7FFFFFFFFFFFFF", "-ERR timeout is out of range"),
        ("BLPOP b inf", "-ERR timeout is out of range"),
        ("BLMPOP x 1 a UP", "-ERR syntax error"),
        ("BLMPOP x 1 a LEFT", "-ERR timeout is not a float or out of range"),
        ("BLMOVE a b UP LEFT x", "-ERR syntax error"),
        ("SET s v", "+OK"),
        ("BLPOP a s 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
        ("BRPOPLPUSH b s 0", "-WRONGTYPE Operation against a key holding the wrong kind of value"),
    ]);
    bench.check_effects(&[
        "RPUSH b 1 2 3 4 5 6 7",
        "LPOP b",
        "RPOP b",
        "RPOP b 2",
        "LMOVE b c LEFT RIGHT",
        "RPOPLPUSH b c",
        "SET s v",
    ]);
}

#[test]
fn what_is_not_there_is_waited_for() {
    let check = |line: &str, keys: &[&str], wait: i64| {
        let mut bench = Bench::default();
        bench.check(line, "");
        let Some(Outcome::Block(block)) = bench.last else { panic!("{line} does not wait") };
        let names: Vec<_> = block.keys.iter().map(|key| String::from_utf8_lossy(key)).collect();
        assert_eq!(names, keys, "{line}");
        let deadline = if wait == 0 { NEVER } else { bench.now + wait };
        assert_eq!((block.wants, block.deadline), (Type::List, deadline), "{line}");
        assert_eq!(block.on_timeout, TimeoutReply::NullArray);
    };
    check("BLPOP a b 0", &["a", "b"], 0);
    check("BRPOP a 0.0001", &["a"], 1);
    check("BRPOP a 1.5", &["a"], 1500);
    check("BLMPOP 2 2 a b LEFT COUNT 3", &["a", "b"], 2000);
    check("BLMOVE a b LEFT LEFT 1", &["a"], 1000);
    check("BRPOPLPUSH a b 1", &["a"], 1000);
}

#[test]
fn encodings_change_as_in_redis() {
    let mut bench = Bench::default();
    bench.server.limits.list_max_listpack_size = 4;
    let encoding = |bench: &mut Bench, key: &str| {
        let mut db = bench.store.db(0, 0, Default::default(), 0);
        match db.read(key.as_bytes()) {
            Some(crate::store::View::List(list)) => list.encoding(),
            _ => "none",
        }
    };
    for (line, expected) in [
        ("RPUSH l 1 2 3 4", "listpack"),
        ("RPUSH l 5", "quicklist"),
        ("LPOP l", "quicklist"),
        ("LMOVE l l LEFT RIGHT", "quicklist"),
        ("LTRIM l 0 2", "quicklist"),
        ("LREM l 0 3", "quicklist"),
        ("LTRIM l 0 0", "listpack"),
        ("LINSERT l BEFORE none x", "listpack"),
        ("RPUSH l 5 6 7", "listpack"),
        ("LINSERT l BEFORE 5 x", "quicklist"),
        ("LPOP l 3", "listpack"),
    ] {
        bench.run(line);
        assert_eq!(encoding(&mut bench, "l"), expected, "{line}");
    }
}
