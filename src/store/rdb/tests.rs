//! Round trips and damage.

use std::ops::ControlFlow;

use super::*;
use crate::store::list::End;
use crate::store::value::{Kind, NEVER};
use crate::store::{Expiry, Hash, List, Set, Snapshot, Store, Str, Zset};

const FULL: SaveOptions = SaveOptions {
    compress: true,
    checksum: true,
    cut: None,
    aof_base: false,
    ctime: 1_700_000_000,
    used_mem: 1 << 20,
    access: None,
    aux: Vec::new(),
};

fn bytes_of(snapshot: &Snapshot, options: &SaveOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    let saved = save(snapshot, options, &mut bytes, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(saved.bytes, bytes.len() as u64);
    bytes
}

fn read(bytes: &[u8], options: &LoadOptions) -> Result<(Snapshot, Loaded), LoadError> {
    let mut snapshot = Snapshot::empty(16);
    let loaded = load(&mut &bytes[..], options, &mut snapshot, &mut |_| ControlFlow::Continue(()))?;
    Ok((snapshot, loaded))
}

/// One line a key: database, key, type, encoding, deadline, content.
fn describe(snapshot: &Snapshot) -> Vec<String> {
    let mut lines = Vec::new();
    for (db, database) in snapshot.dbs.iter().enumerate() {
        for entry in database.entries.iter() {
            use crate::store::partitions::Item;
            let deadline = if entry.expires() == NEVER { "-".into() } else { entry.expires().to_string() };
            let (encoding, content) = content_of(entry.value());
            lines.push(format!(
                "{db} {} {} {encoding} {deadline} {content}",
                entry.key().escape_ascii(),
                entry.value().kind().name()
            ));
        }
    }
    lines.sort();
    lines
}

fn content_of(value: &Value) -> (&'static str, String) {
    let text = |bytes: Vec<u8>| bytes.escape_ascii().to_string();
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all.join(",")
    };
    match value {
        Value::Str(value) => (value.encoding(), text(value.to_vec())),
        Value::List(list) => {
            let all: Vec<_> = list.iter().map(|e| text(e.to_vec())).collect();
            (list.encoding(), all.join(","))
        }
        Value::Set(set) => (set.encoding(), sorted(set.iter().map(|e| text(e.to_vec())).collect())),
        Value::Hash(hash) => {
            let pairs = hash.iter().map(|(f, v)| format!("{}={}", text(f.to_vec()), text(v.to_vec())));
            (hash.encoding(), sorted(pairs.collect()))
        }
        Value::Zset(zset) => {
            let pairs: Vec<_> =
                zset.iter().map(|(m, score)| format!("{}:{score}", text(m.to_vec()))).collect();
            (zset.encoding(), pairs.join(","))
        }
        Value::Stream(stream) => {
            let crc = crate::format::crc::seal(&[], stream.payload());
            (stream.encoding(), format!("{} {} {crc:016x}", stream.kind() as u8, stream.len()))
        }
    }
}

/// Every type in every encoding.
fn sample() -> Store {
    let limits = Limits::default();
    let mut store = Store::new(16);
    let mut db = store.db(0, 0, Expiry::Ignore, 7);
    for (key, text) in [
        ("empty", ""),
        ("int", "-12345"),
        ("big", "9223372036854775807"),
        ("text", "hello"),
        ("zeros", "000"),
    ] {
        db.set(key.as_bytes(), Str::new(text.as_bytes()).wrap());
    }
    db.set(b"long", Str::new(&[b'x'; 5000]).wrap());
    db.set_with_expiry(b"volatile", Str::new(b"1").wrap(), 1_600_000_000_123);
    let texts: Vec<String> = (0..300).map(|n| format!("element-{n}-{}", n * n)).collect();
    for (name, count) in [("small", 5), ("large", 300)] {
        let key = |kind: &str| format!("{kind}-{name}").into_bytes();
        let mut list = List::new();
        list.push_all(End::Right, texts[..count].iter().map(|t| t.as_bytes()), &limits);
        let (mut set, mut hash, mut zset) = (Set::for_load(count, &limits), Hash::new(), Zset::indexed());
        for (n, text) in texts[..count].iter().enumerate() {
            set.insert(text.as_str(), &limits);
            hash.set(text.as_bytes(), n.to_string().as_bytes(), &limits);
            zset.insert_new(text.as_bytes(), n as f64 / 4.0);
        }
        zset.settle(&limits);
        let mut ints = Set::for_load(0, &limits);
        (0..count as i64 * 3).for_each(|n| {
            ints.insert(n * 1_000_003, &limits);
        });
        db.set(&key("list"), list.wrap());
        db.set(&key("set"), set.wrap());
        db.set(&key("hash"), hash.wrap());
        db.set(&key("zset"), zset.wrap());
        db.set(&key("ints"), ints.wrap());
    }
    db.select(9);
    db.set_with_expiry(b"elsewhere", Str::new(b"value").wrap(), 4_000_000_000_000);
    store.libraries =
        vec![b"#!lua name=lib\nredis.register_function('f', function() return 1 end)".to_vec()].into();
    store
}

#[test]
fn everything_comes_back_as_it_was() {
    let snapshot = sample().snapshot();
    for compress in [false, true] {
        for checksum in [false, true] {
            let bytes = bytes_of(&snapshot, &SaveOptions { compress, checksum, ..FULL });
            assert_eq!(&bytes[..9], b"REDIS0010");
            let (back, loaded) = read(&bytes, &LoadOptions::default()).unwrap();
            assert_eq!(describe(&back), describe(&snapshot));
            assert_eq!(back.libraries, snapshot.libraries);
            assert_eq!(back.dbs[0].volatile, 1);
            assert_eq!(
                (loaded.keys, loaded.bytes, loaded.checksum.is_some()),
                (18, bytes.len() as u64, checksum)
            );
        }
    }
}
