//! A dataset that meets every type in every encoding, through any client connection.
//!
//! Names begin with type and encoding; [`ENCODINGS`] says what OBJECT ENCODING must answer, so that a change of a
//! threshold cannot quietly leave an encoding untested.

use crate::client::{Client, Value};

/// (key in db 0, encoding in Redis 7.2)
pub const ENCODINGS: &[(&str, &str)] = &[
    ("string:int", "int"),
    ("string:int:min", "int"),
    ("string:embstr", "embstr"),
    ("string:embstr:44", "embstr"),
    ("string:raw", "raw"),
    ("string:empty", "embstr"),
    ("string:lzf", "raw"),
    ("string:random", "raw"),
    ("list:listpack", "listpack"),
    ("list:quicklist", "quicklist"),
    ("set:intset:16", "intset"),
    ("set:intset:32", "intset"),
    ("set:intset:64", "intset"),
    ("set:listpack", "listpack"),
    ("set:hashtable", "hashtable"),
    ("hash:listpack", "listpack"),
    ("hash:hashtable", "hashtable"),
    ("hash:long-value", "hashtable"),
    ("zset:listpack", "listpack"),
    ("zset:skiplist", "skiplist"),
];

/// Fills an empty server; databases 0, 3 and 9.
pub fn fill(c: &mut Client) {
    strings(c);
    lists(c);
    sets(c);
    hashes(c);
    zsets(c);
    expiries(c);
    other_databases(c);
}

/// Streams with groups and pending entries, where the server knows them.
pub fn fill_streams(c: &mut Client) {
    for i in 1..=300 {
        let id = format!("{}-{}", 1000 + i, i % 3);
        c.must(&["XADD", "stream:many", &id, "field", &i.to_string(), "other", &"v".repeat(i % 50)]);
    }
    c.must(&["XDEL", "stream:many", "1010-1"]);
    c.must(&["XGROUP", "CREATE", "stream:many", "group", "0"]);
    c.must(&["XREADGROUP", "GROUP", "group", "alice", "COUNT", "7", "STREAMS", "stream:many", ">"]);
    c.must(&["XACK", "stream:many", "group", "1001-1", "1002-2"]);
    c.must(&["XGROUP", "CREATE", "stream:empty", "group", "$", "MKSTREAM"]);
}

/// Keys whose encoding is not what Redis 7.2 has, as `key: got, not wanted`.
pub fn wrong_encodings(c: &mut Client) -> Vec<String> {
    let ask = |(key, wanted): &(&str, &str)| {
        let got = c.must(&["OBJECT", "ENCODING", key]).text();
        (got != *wanted).then(|| format!("{key}: {got}, not {wanted}"))
    };
    ENCODINGS.iter().filter_map(ask).collect()
}

fn strings(c: &mut Client) {
    let long = noise(1, 70_000);
    let texts: [(&str, &[u8]); 12] = [
        ("string:int", b"12345"),
        ("string:int:min", b"-9223372036854775808"),
        ("string:int:not", b"9223372036854775808"),
        ("string:embstr", b"hello"),
        ("string:embstr:44", &[b'x'; 44]),
        ("string:raw", &[b'x'; 45]),
        ("string:empty", b""),
        ("string:lzf", &[b'a'; 5000]),
        ("string:random", &long),
        ("string:crlf", b"a\r\n$3\r\nb\r\n#RH:x\r\n"),
        ("string:nul", b"\0\x01\xff\xfe"),
        ("", b"the empty name"),
    ];
    for (key, value) in texts {
        c.must(&[b"SET", key.as_bytes(), value]);
    }
    c.must(&[b"SET".as_slice(), b"bin\0\xff\r\nkey", b"binary name"]);
    c.must(&["APPEND", "string:appended", "12"]);
    c.must(&["APPEND", "string:appended", "34"]);
    c.must(&["SETRANGE", "string:range", "10", "x"]);
}

fn lists(c: &mut Client) {
    push(c, "RPUSH", "list:listpack", (0..20).map(|i| format!("item {i}")));
    push(c, "RPUSH", "list:integers", (0..20).map(|i| (i * i * i * 1_000_003i64 - 5).to_string()));
    push(c, "RPUSH", "list:quicklist", (0..2000).map(|i| format!("{i:040}")));
    // A plain node per big element; stock makes them at this size only when told to.
    c.cmd(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", "10000b"]);
    c.must(&[b"RPUSH".as_slice(), b"list:plain", b"small", &noise(2, 20_000), b"between", &[b'p'; 30_000]]);
    c.cmd(&["DEBUG", "QUICKLIST-PACKED-THRESHOLD", "0"]);
    c.must(&["LPUSH", "list:empty-items", "", "", "a"]);
}

fn sets(c: &mut Client) {
    push(c, "SADD", "set:intset:16", (-50..50).map(|i| i.to_string()));
    push(c, "SADD", "set:intset:32", (0..100).map(|i| (i * 100_000).to_string()));
    push(c, "SADD", "set:intset:64", (0..100i64).map(|i| (i * 100_000_000_000 - 7).to_string()));
    push(c, "SADD", "set:listpack", (0..50).map(|i| format!("member {i}")));
    push(c, "SADD", "set:hashtable", (0..1000).map(|i| format!("member {i}")));
    push(c, "SADD", "set:many-ints", (0..2000).map(|i| i.to_string()));
}

fn hashes(c: &mut Client) {
    let pairs = |n: usize| (0..n).flat_map(|i| [format!("field {i}"), format!("{}", i * 7)]);
    push(c, "HSET", "hash:listpack", pairs(30));
    push(c, "HSET", "hash:hashtable", pairs(1000));
    c.must(&["HSET", "hash:long-value", "f", &"v".repeat(100), "", ""]);
}

fn zsets(c: &mut Client) {
    let scored = |n: i64| (0..n).flat_map(|i| [format!("{}", i - 5), format!("member {i}")]);
    push(c, "ZADD", "zset:listpack", scored(30));
    push(c, "ZADD", "zset:skiplist", scored(1000));
    let odd = ["-inf", "a", "+inf", "b", "0.1", "c", "1e300", "d", "3.0000000000000004", "e"];
    push(c, "ZADD", "zset:scores", odd.iter().map(|s| s.to_string()));
    // In a skiplist stock's own text rewrite loses the sign of zero.
    c.must(&["ZADD", "zset:scores", "-0.0", "f"]);
    push(c, "ZADD", "zset:scores:skiplist", scored(200).chain(odd.iter().map(|s| s.to_string())));
}

fn expiries(c: &mut Client) {
    c.must(&["SET", "expires:string", "x", "PXAT", "4102444800123"]);
    for (command, key, member) in
        [("RPUSH", "expires:list", "x"), ("SADD", "expires:set", "1"), ("SADD", "expires:set:text", "x")]
    {
        c.must(&[command, key, member]);
        c.must(&["PEXPIREAT", key, "4102444800456"]);
    }
    c.must(&["HSET", "expires:hash", "f", "v"]);
    c.must(&["PEXPIREAT", "expires:hash", "4102444800789"]);
    c.must(&["ZADD", "expires:zset", "1", "m"]);
    c.must(&["PEXPIREAT", "expires:zset", "4102444800999"]);
}

fn other_databases(c: &mut Client) {
    for db in ["3", "9"] {
        c.must(&["SELECT", db]);
        c.must(&["SET", "where", db]);
        c.must(&["RPUSH", "list", "a", "b", "c"]);
        c.must(&["SET", "expires", "x", "PXAT", "4102444800123"]);
    }
    c.must(&["SELECT", "0"]);
}

/// One command with all of `items`.
fn push(c: &mut Client, command: &str, key: &str, items: impl Iterator<Item = String>) {
    let mut args = vec![command.to_string(), key.to_string()];
    args.extend(items);
    assert!(matches!(c.must(&args), Value::Int(_)));
}

/// Bytes that do not compress, the same for a seed.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..len).map(|_| next()).collect()
}
