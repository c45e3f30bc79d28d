//! Whole datasets side by side.
//!
//! A [`Dataset`] is what any client can see: every database, key, type, deadline and element. It is compared rather
//! than DUMP, which differs between versions for equal values; DEBUG DIGEST is compared as well where both have it.

use crate::client::{Client, Value};
use std::collections::BTreeMap;

/// (database, key) → (type, deadline in Unix ms or -1, elements in an order that does not depend on the server)
pub type Dataset = BTreeMap<(i64, Vec<u8>), (String, i64, Vec<Value>)>;

/// Everything that the server holds. Leaves database 0 selected.
pub fn dataset(c: &mut Client) -> Dataset {
    let mut all = Dataset::new();
    for db in databases(c) {
        c.must(&["SELECT", &db.to_string()]);
        for key in keys(c) {
            let kind = c.must(&[b"TYPE".as_slice(), &key]).text();
            let deadline = c.must(&[b"PEXPIRETIME".as_slice(), &key]).int();
            let elements = elements(c, &kind, &key);
            all.insert((db, key), (kind, deadline, elements));
        }
    }
    c.must(&["SELECT", "0"]);
    all
}

/// DEBUG DIGEST, if the server has it.
pub fn digest(c: &mut Client) -> Option<String> {
    let reply = c.cmd(&["DEBUG", "DIGEST"]);
    (!reply.is_error()).then(|| reply.text())
}

/// Fails with the first differences, named.
pub fn assert_same(left: &Dataset, right: &Dataset) {
    let differences = differences(left, right);
    assert!(
        differences.is_empty(),
        "{} differences:\n{}",
        differences.len(),
        differences[..differences.len().min(20)].join("\n")
    );
}

/// Two running servers: digest where both have one, and every element.
pub fn assert_servers_agree(left: &mut Client, right: &mut Client) {
    assert_same(&dataset(left), &dataset(right));
    if let (Some(left), Some(right)) = (digest(left), digest(right)) {
        assert_eq!(left, right, "DEBUG DIGEST, though every element is equal");
    }
}

pub fn differences(left: &Dataset, right: &Dataset) -> Vec<String> {
    let mut found = Vec::new();
    for (name, value) in left {
        match right.get(name) {
            None => found.push(format!("{} is only on the left", show(name))),
            Some(other) if other != value => {
                found.push(format!("{}: {}", show(name), describe(value, other)))
            }
            _ => {}
        }
    }
    let only_right = right.keys().filter(|name| !left.contains_key(*name));
    found.extend(only_right.map(|name| format!("{} is only on the right", show(name))));
    found
}

fn describe(left: &(String, i64, Vec<Value>), right: &(String, i64, Vec<Value>)) -> String {
    if (&left.0, left.1) != (&right.0, right.1) {
        return format!("{} until {} against {} until {}", left.0, left.1, right.0, right.1);
    }
    let at = left.2.iter().zip(&right.2).position(|(l, r)| l != r).unwrap_or(left.2.len().min(right.2.len()));
    let brief = |v: &[Value]| {
        v.get(at).map_or("nothing".into(), |v| format!("{v:?}").chars().take(120).collect::<String>())
    };
    format!(
        "{} of {} and {} elements, at {at}: {} against {}",
        left.0,
        left.2.len(),
        right.2.len(),
        brief(&left.2),
        brief(&right.2)
    )
}

fn show((db, key): &(i64, Vec<u8>)) -> String {
    format!("db {db} {:?}", key.escape_ascii().to_string())
}

fn databases(c: &mut Client) -> Vec<i64> {
    let text = c.must(&["INFO", "keyspace"]).text();
    text.lines().filter_map(|l| l.strip_prefix("db")?.split(':').next()?.parse().ok()).collect()
}

fn keys(c: &mut Client) -> Vec<Vec<u8>> {
    let (mut found, mut cursor) = (Vec::new(), "0".to_string());
    loop {
        let mut reply = c.must(&["SCAN", &cursor, "COUNT", "1000"]).items().into_iter();
        cursor = reply.next().map(|v| v.text()).unwrap_or_default();
        found.extend(reply.next().into_iter().flat_map(Value::items).map(|key| match key {
            Value::Bulk(bytes) => bytes,
            other => panic!("SCAN returned {other:?}"),
        }));
        if cursor == "0" {
            found.sort();
            found.dedup();
            return found;
        }
    }
}

fn elements(c: &mut Client, kind: &str, key: &[u8]) -> Vec<Value> {
    let mut ask = |words: &[&str]| {
        let mut args = vec![words[0].as_bytes(), key];
        args.extend(words[1..].iter().map(|w| w.as_bytes()));
        c.must(&args)
    };
    match kind {
        "string" => vec![ask(&["GET"])],
        "list" => ask(&["LRANGE", "0", "-1"]).items(),
        "set" => sorted(ask(&["SMEMBERS"]).items().into_iter().map(|m| vec![m])),
        "hash" => {
            let flat = ask(&["HGETALL"]).items();
            sorted(flat.chunks(2).map(<[Value]>::to_vec))
        }
        "zset" => same_scores(ask(&["ZRANGE", "0", "-1", "WITHSCORES"]).items()),
        "stream" => vec![ask(&["XRANGE", "-", "+"])],
        other => panic!("a type that is not compared: {other}"),
    }
}

/// Scores as bits: Redis 7.0 spells 0.1 as 0.10000000000000001, 7.2 as 0.1; both mean the same double.
fn same_scores(mut flat: Vec<Value>) -> Vec<Value> {
    for score in flat.iter_mut().skip(1).step_by(2) {
        let text = score.text();
        let double: f64 = text.parse().unwrap_or_else(|_| panic!("a score that is no number: {text}"));
        *score = Value::Bulk(format!("{double:?}").into_bytes());
    }
    flat
}

fn sorted(groups: impl Iterator<Item = Vec<Value>>) -> Vec<Value> {
    let mut groups: Vec<Vec<Value>> = groups.collect();
    groups.sort_by_cached_key(|group| match &group[0] {
        Value::Bulk(bytes) => bytes.clone(),
        other => other.text().into_bytes(),
    });
    groups.into_iter().flatten().collect()
}
