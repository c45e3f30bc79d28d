//! What files and payloads are read as, that they come back as they were, and that damage is refused.
//!
//! Golden results are texts: one line a key. `RINGHOLD_GOLDEN=write cargo test` writes them anew.

use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use super::*;
use crate::format::rdb::{peek, verify};
use crate::store::list::End;
use crate::store::partitions::Item;
use crate::store::value::{Kind, NEVER, View};
use crate::store::{Entry, Expiry, Hash, List, Set, Snapshot, Store, Str, Zset};
use crate::units::{Offset, Position, ReplId};

fn full() -> SaveOptions {
    SaveOptions { compress: true, checksum: true, ctime: 1_700_000_000, ..SaveOptions::default() }
}

fn bytes_of(snapshot: &Snapshot, options: &SaveOptions) -> Vec<u8> {
    let mut bytes = Vec::new();
    let saved = save(snapshot, options, &mut bytes, &mut |_| ControlFlow::Continue(())).unwrap();
    assert_eq!(saved.bytes, bytes.len() as u64);
    bytes
}

fn read_with(bytes: &[u8], options: &LoadOptions) -> Result<(Snapshot, Loaded), LoadError> {
    let mut snapshot = Snapshot::empty(16);
    let loaded = load(&mut &bytes[..], options, &mut snapshot, &mut |_| ControlFlow::Continue(()))?;
    Ok((snapshot, loaded))
}

fn read(bytes: &[u8]) -> Result<(Snapshot, Loaded), LoadError> {
    read_with(bytes, &LoadOptions::default())
}

/// Where and why `bytes` are refused.
#[track_caller]
fn refused(bytes: &[u8]) -> Corrupt {
    match read(bytes) {
        Err(LoadError::Corrupt(corrupt)) => corrupt,
        Err(other) => panic!("{other}"),
        Ok(_) => panic!("not refused"),
    }
}

/// One line a key: database, key, type, encoding, deadline, content.
fn describe(snapshot: &Snapshot) -> Vec<String> {
    let entries = |(db, database)| {
        let database: &crate::store::Database = database;
        database.entries.iter().map(move |entry| describe_entry(db, entry))
    };
    let mut lines: Vec<String> = snapshot.dbs.iter().enumerate().flat_map(entries).collect();
    lines.sort();
    lines
}

fn describe_entry(db: usize, entry: &Entry) -> String {
    let deadline = if entry.expires() == NEVER { "-".to_string() } else { entry.expires().to_string() };
    let (encoding, content) = content_of(entry.value());
    let kind = entry.value().kind().name();
    let key = entry.key().escape_ascii().to_string().replace(' ', "\\x20");
    format!("{db} {key} {kind} {encoding} {deadline} {content}")
}

fn content_of(value: View<'_>) -> (&'static str, String) {
    let text = |bytes: Vec<u8>| bytes.escape_ascii().to_string();
    let sorted = |mut all: Vec<String>| {
        all.sort();
        all.join(",")
    };
    match value {
        View::Str(value) => (value.encoding(), text(value.to_vec())),
        View::List(list) => {
            let all: Vec<_> = list.iter().map(|e| text(e.to_vec())).collect();
            (list.encoding(), all.join(","))
        }
        View::Set(set) => (set.encoding(), sorted(set.iter().map(|e| text(e.to_vec())).collect())),
        View::Hash(hash) => {
            let pairs = hash.iter().map(|(f, v)| format!("{}={}", text(f.to_vec()), text(v.to_vec())));
            (hash.encoding(), sorted(pairs.collect()))
        }
        View::Zset(zset) => {
            let pairs: Vec<_> =
                zset.iter().map(|(m, score)| format!("{}:{score}", text(m.to_vec()))).collect();
            (zset.encoding(), pairs.join(","))
        }
        View::Stream(stream) => {
            let content = text(stream.payload().to_vec());
            (stream.encoding(), format!("{} {} {content}", stream.kind() as u8, stream.len()))
        }
    }
}

// ---- files of other servers ----

/// The directory's snapshots, each with what it is read as.
fn golden_text(directory: &Path) -> String {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<PathBuf> = files.filter(|path| path.extension().is_some_and(|e| e == "rdb")).collect();
    files.sort();
    files.iter().map(|path| golden_section(path)).collect()
}

fn golden_section(path: &Path) -> String {
    const LONGEST: usize = 160;
    let bytes = std::fs::read(path).unwrap();
    let mut text = format!("== {}\n", path.file_name().unwrap().to_string_lossy());
    match read(&bytes) {
        Err(error) => text += &format!("{error}\n"),
        Ok((snapshot, loaded)) => {
            text += &format!("version {}, {} keys, {} bytes", loaded.version, loaded.keys, loaded.bytes);
            text += &format!(", by {:?}, at {:?}\n", loaded.origin.server, loaded.origin.cut());
            for library in snapshot.libraries.iter() {
                text += &format!("library {}\n", library.escape_ascii());
            }
            for mut line in describe(&snapshot) {
                if line.len() > LONGEST {
                    let seal = crate::format::crc::seal(&[], line.as_bytes());
                    line = format!("{}… {} {seal:016x}", &line[..LONGEST / 2], line.len());
                }
                text += &line;
                text.push('\n');
            }
            check_that_it_comes_back(&snapshot);
        }
    }
    text
}

fn check_that_it_comes_back(snapshot: &Snapshot) {
    for compress in [false, true] {
        let bytes = bytes_of(snapshot, &SaveOptions { compress, ..full() });
        let (back, _) = read(&bytes).unwrap();
        assert_eq!(describe(&back), describe(snapshot));
        assert_eq!(back.libraries, snapshot.libraries);
    }
}

fn check_golden(directory: &Path, golden: &str) {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(golden);
    let text = golden_text(directory);
    if std::env::var("RINGHOLD_GOLDEN").is_ok_and(|word| word == "write") {
        std::fs::write(golden, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(golden).unwrap();
    for (seen, expected) in text.lines().zip(expected.lines()) {
        assert_eq!(seen, expected);
    }
    assert_eq!(text.len(), expected.len());
}

fn sample_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples")
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(sample_directory().join(name)).unwrap()
}

/// Of Redis 7.0, and of versions 2 to 8 made by hand.
#[test]
fn samples() {
    check_golden(&sample_directory(), "rdb-samples.txt");
}

/// More files of versions 2 to 9, where they are at hand: they are not part of the project.
#[test]
fn snapshots_of_old_servers() {
    let beside = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/rdb");
    let directory = std::env::var_os("RINGHOLD_OLD_RDB").map_or(beside, PathBuf::from);
    if directory.is_dir() {
        check_golden(&directory, "rdb-old.txt");
    } else {
        eprintln!("skipped: no snapshots of old servers in {}", directory.display());
    }
}

// ---- payloads of every type ----

#[test]
fn every_encoding_there_ever_was() {
    let check = |body: &[u8], expected: &str| {
        let mut payload = body.to_vec();
        seal_payload(&mut payload, 11);
        let value = restore(&payload, &Limits::default(), true).unwrap();
        let (encoding, content) = content_of(value.view());
        assert_eq!(format!("{encoding} {content}"), expected, "{}", body.escape_ascii());
        let again = restore(&dump(value.view()), &Limits::default(), true).unwrap();
        assert_eq!(content_of(again.view()), content_of(value.view()));
    };
    check(b"\x00\x05hello", "embstr hello");
    check(b"\x00\xc1\x39\x30", "int 12345");
    check(b"\x01\x02\x01a\xc0\x05", "listpack a,5");
    check(b"\x02\x02\x01a\xc0\x05", "listpack 5,a");
    check(b"\x02\x02\xc0\x04\xc0\x05", "intset 4,5");
    check(b"\x03\x03\x01a\x032.5\x01b\xfe\x01c\xff", "listpack c:-inf,a:2.5,b:inf");
    check(b"\x04\x01\x01f\x01v", "listpack f=v");
    check(b"\x05\x01\x01a\0\0\0\0\0\0\x04\x40", "listpack a:2.5");
    check(b"\x09\x0c\x02\x01a\x01\0x\x02bb\x00\x00\xff", "listpack a=x,bb=");
    check(b"\x0a\x12\x12\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\x02bb\xff", "listpack a,bb");
    check(b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x01\0\x02\0", "intset 1,2");
    check(b"\x0c\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf3\xff", "listpack a:2");
    check(b"\x0d\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01f\x03\xf3\xff", "listpack f=2");
    check(b"\x0e\x01\x10\x10\0\0\0\x0d\0\0\0\x02\0\0\x01a\x03\xf3\xff", "listpack a,2");
    check(b"\x10\x0c\x0c\0\0\0\x02\0\x81f\x02\x07\x01\xff", "listpack f=7");
    check(b"\x11\x0c\x0c\0\0\0\x02\0\x81m\x02\x07\x01\xff", "listpack m:7");
    check(b"\x12\x01\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff", "listpack a,7");
    check(b"\x12\x02\x01\x05plain\x02\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff", "quicklist plain,a,7");
    check(b"\x14\x0c\x0c\0\0\0\x02\0\x81a\x02\x07\x01\xff", "listpack 7,a");
}

/// A stream of one entry `1-1 f v`, pending at the only consumer of the only group.
fn stream_payload(kind: u8) -> Vec<u8> {
    let id = [0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 1];
    // count, deleted, one field, its name, end of the head; flags, offsets, value, elements
    let elements = ["1", "0", "1", "f", "0", "2", "0", "0", "v", "4"];
    let block: crate::format::packed::listpack::Listpack = elements.into_iter().collect();
    let mut payload = vec![kind, 1, 16];
    payload.extend_from_slice(&id);
    payload.push(block.bytes_len() as u8);
    payload.extend_from_slice(block.as_bytes());
    payload.extend_from_slice(&[1, 1, 1]);
    if kind >= 19 {
        payload.extend_from_slice(&[1, 1, 0, 0, 1]);
    }
    payload.extend_from_slice(b"\x01\x01g\x01\x01");
    if kind >= 19 {
        payload.push(1);
    }
    payload.push(1);
    payload.extend_from_slice(&id);
    payload.extend_from_slice(b"\x01\0\0\0\0\0\0\0\x01\x01\x05alice\x02\0\0\0\0\0\0\0");
    if kind >= 21 {
        payload.extend_from_slice(&3u64.to_le_bytes());
    }
    payload.push(1);
    payload.extend_from_slice(&id);
    payload
}

fn restore_unsealed(body: &[u8]) -> Result<Value, BadPayload> {
    let mut payload = body.to_vec();
    seal_payload(&mut payload, 11);
    restore(&payload, &Limits::default(), true)
}

#[test]
fn streams_are_carried_and_only_new_ones_need_the_new_version() {
    for kind in [15, 19, 21] {
        let payload = stream_payload(kind);
        let value = restore_unsealed(&payload).unwrap();
        let Value::Stream(stream) = &value else { panic!("no stream") };
        assert_eq!((stream.len(), stream.payload()), (1, &payload[1..]));
        let dumped = dump(value.view());
        let footer = if kind == 21 { 11 } else { 10 };
        assert_eq!((&dumped[..payload.len()], dumped[payload.len()]), (&payload[..], footer));
        let mut store = Store::new(1);
        store.db(0, 0, Expiry::Ignore, 0).set(b"s", value);
        let file = bytes_of(&store.snapshot(), &full());
        assert_eq!(&file[..9], format!("REDIS00{footer}").as_bytes());
        check_that_it_comes_back(&store.snapshot());
    }
}

#[test]
fn damaged_streams_are_refused() {
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let mut payload = stream_payload(21);
        change(&mut payload);
        match restore_unsealed(&payload) {
            Err(BadPayload::Content(corrupt)) => assert!(corrupt.what.contains(expected), "{corrupt}"),
            other => panic!("{expected}: {other:?}"),
        }
    };
    let end = stream_payload(21).len();
    check(&|p| p.truncate(end - 1), "too soon");
    check(&|p| p[2] = 15, "no ID");
    check(&|p| p[20 + 6 + 3] += 1, "Stream listpack integrity check failed");
    check(&|p| p[20 + 6] += 1, "Stream listpack integrity check failed");
    check(&|p| p[end - 1] = 2, "not found in group global PEL");
    check(&|p| p[end - 17] = 0, "without consumer");
    check(
        &|p| {
            let id = p[end - 16..].to_vec();
            p[end - 17] = 2;
            p.extend(id);
        },
        "already has a consumer assigned",
    );
    check(
        &|p| {
            let consumer = p[end - 39..].to_vec();
            p[end - 40] = 2;
            p.extend(consumer);
        },
        "Duplicate stream consumer detected",
    );
}

#[test]
fn damaged_payloads_are_refused_in_words_that_redis_uses() {
    let check = |body: &[u8], expected: &str| match restore_unsealed(body) {
        Err(BadPayload::Content(corrupt)) => assert!(corrupt.what.contains(expected), "{corrupt}"),
        other => panic!("{expected}: {other:?}"),
    };
    check(b"", "too soon");
    check(b"\x08", "unknown type 8");
    check(b"\x16\0", "unknown type 22");
    check(b"\x01\0", "empty collection");
    check(b"\x02\x02\x01a\x01a", "Duplicate set members detected");
    check(b"\x02\x81\x7f\0\0\0\0\0\0\0\x01a", "too soon");
    check(b"\x04\x02\x01f\x01a\x01f\x01b", "Duplicate hash fields detected");
    check(b"\x05\x02\x01a\0\0\0\0\0\0\0\0\x01a\0\0\0\0\0\0\0\0", "Duplicate zset fields detected");
    check(b"\x05\x01\x01a\0\0\0\0\0\0\xf8\x7f", "no number");
    check(b"\x03\x01\x01a\xfd", "no number");
    check(b"\x03\x01\x01a\x01x", "no number");
    check(b"\x09\x02\x00\xff", "Zipmap integrity check failed");
    check(b"\x0c\x0b\x0b\0\0\0\x0b\0\0\0\x01\0\xff", "Zset ziplist integrity check failed");
    check(b"\x0d\x0d\x0d\0\0\0\x0a\0\0\0\x01\0\0\xf3\xff", "Hash ziplist integrity check failed");
    check(b"\x10\x09\x09\0\0\0\x01\0\x07\x01\xff", "Hash listpack integrity check failed");
    check(b"\x11\x0c\x0c\0\0\0\x02\0\x81m\x02\x81\x01\xff", "Zset listpack integrity check failed");
    check(b"\x12\x01\x03\x00", "Quicklist integrity check failed");
    check(b"\x12\x01\x02\x00", "Quicklist integrity check failed");
    check(b"\x0b\x0c\x02\0\0\0\x02\0\0\0\x02\0\x01\0", "Intset integrity check failed");
    check(b"\x07\x81\x44\x79\x09\x4b\x86\xfe\xe4\0\0", "no matching module type");
    check(b"\x06\0", "release candidate");
}

// ---- files ----

/// Every type in every encoding, deadlines, two databases, a library.
fn dataset() -> Snapshot {
    let limits = Limits::default();
    let mut store = Store::new(16);
    let mut db = store.db(0, 0, Expiry::Ignore, 7);
    for text in ["", "-12345", "9223372036854775807", "hello", "000"] {
        db.set(format!("text:{text}").as_bytes(), Str::new(text.as_bytes()).wrap());
    }
    db.set(b"long", Str::new(&[b'x'; 5000]).wrap());
    db.set_with_expiry(b"volatile", Str::new(b"1").wrap(), 1_600_000_000_123);
    let texts: Vec<String> = (0..300).map(|n| format!("element-{n}-{}", n * n)).collect();
    for count in [5, 300] {
        let mut list = List::new();
        list.push_all(End::Right, texts[..count].iter().map(|t| t.as_bytes()), &limits);
        let (mut set, mut hash, mut zset) = (Set::for_load(count, &limits), Hash::new(), Zset::indexed());
        let mut ints = Set::default();
        for (n, text) in texts[..count].iter().enumerate() {
            set.insert(text.as_str(), &limits);
            hash.set(text.as_bytes(), n.to_string().as_bytes(), &limits);
            zset.insert_new(text.as_bytes(), n as f64 / 4.0);
            ints.insert(n as i64 * 1_000_003, &limits);
        }
        zset.settle(&limits);
        for (kind, value) in [
            ("list", list.wrap()),
            ("set", set.wrap()),
            ("hash", hash.wrap()),
            ("zset", zset.wrap()),
            ("ints", ints.wrap()),
        ] {
            db.set(format!("{kind}:{count}").as_bytes(), value);
        }
    }
    db.select(9);
    db.set_with_expiry(b"elsewhere", Str::new(b"value").wrap(), 4_000_000_000_000);
    store.libraries = vec![b"#!lua name=lib\nredis.register_function('f', function() end)".to_vec()].into();
    store.snapshot()
}

#[test]
fn everything_comes_back_as_it_was() {
    let snapshot = dataset();
    check_that_it_comes_back(&snapshot);
    for checksum in [false, true] {
        let bytes = bytes_of(&snapshot, &SaveOptions { checksum, ..full() });
        assert_eq!(&bytes[..9], b"REDIS0010");
        let (back, loaded) = read(&bytes).unwrap();
        assert_eq!((back.dbs[0].volatile, back.dbs[9].volatile), (1, 1));
        assert_eq!(
            (loaded.keys, loaded.bytes, loaded.checksum.is_some()),
            (18, bytes.len() as u64, checksum)
        );
        assert_eq!(verify(&mut &bytes[..]).unwrap(), loaded.checksum);
    }
}

#[test]
fn the_cut_travels_along() {
    let position = Position { replid: ReplId::from_random([7; 20]), offset: Offset(123_456_789_012) };
    let cut = Some(Cut { position, db: 3 });
    let aux = vec![("ringhold-lineage".to_string(), b"anything".to_vec())];
    let options = SaveOptions { cut, aof_base: true, aux, used_mem: 5, ..full() };
    let bytes = bytes_of(&dataset(), &options);
    let (_, loaded) = read(&bytes).unwrap();
    assert_eq!(loaded.origin.cut(), cut);
    assert_eq!(loaded.origin, Origin::of(peek(&mut &bytes[..]).unwrap().aux));
    assert!(loaded.origin.aof_base && loaded.origin.ctime == Some(1_700_000_000));
    let rest =
        vec![(b"redis-bits".to_vec(), b"64".to_vec()), (b"ringhold-lineage".to_vec(), b"anything".to_vec())];
    assert_eq!(loaded.origin.aux, rest);
}

#[test]
fn access_stamps() {
    let mut store = Store::new(1);
    let now_ms = 1_700_000_000_000;
    store.db(0, now_ms, Expiry::Ignore, 1_699_999_000).set(b"k", Str::new(b"v").wrap());
    let bytes =
        bytes_of(&store.snapshot(), &SaveOptions { access: Some((AccessKind::Lru, now_ms)), ..full() });
    let check = |bytes: &[u8], access, now_ms, expected| {
        let (back, _) = read_with(bytes, &LoadOptions { access, now_ms, ..LoadOptions::default() }).unwrap();
        assert_eq!(back.dbs[0].entries.get(b"k").unwrap().access(), expected);
    };
    check(&bytes, AccessKind::Lru, now_ms + 5000, 1_699_999_005);
    check(&bytes, AccessKind::Lfu, 60_000, 0x105);
    store.db(0, 0, Expiry::Ignore, 0x12_34).set(b"k", Str::new(b"v").wrap());
    let bytes =
        bytes_of(&store.snapshot(), &SaveOptions { access: Some((AccessKind::Lfu, now_ms)), ..full() });
    check(&bytes, AccessKind::Lfu, 120_000, 0x234);
    check(&bytes, AccessKind::Lru, 9000, 9);
}

#[test]
fn limits_of_today_apply() {
    let bytes = bytes_of(&dataset(), &full());
    let limits = Limits {
        hash_max_listpack_entries: 1,
        zset_max_listpack_entries: 1,
        set_max_listpack_entries: 1,
        set_max_intset_entries: 1,
        list_max_listpack_size: 2,
        ..Limits::default()
    };
    let (back, _) = read_with(&bytes, &LoadOptions { limits, ..LoadOptions::default() }).unwrap();
    for (key, encoding) in [
        ("hash:5", "hashtable"),
        ("zset:5", "skiplist"),
        ("set:5", "hashtable"),
        ("ints:5", "hashtable"),
        ("list:5", "quicklist"),
    ] {
        let entry = back.dbs[0].entries.get(key.as_bytes()).unwrap();
        assert_eq!(content_of(entry.value()).0, encoding, "{key}");
    }
    let (seen, expected) = (describe(&back), describe(&dataset()));
    assert!(seen.iter().map(|l| without_encoding(l)).eq(expected.iter().map(|l| without_encoding(l))));
}

/// Version 4, which has no checksum, around the given items.
fn unchecked(items: &[u8]) -> Vec<u8> {
    [b"REDIS0004", items, b"\xff"].concat()
}

#[test]
fn keys_without_elements_are_left_out_and_counted() {
    let bytes = unchecked(b"\x02\x01s\0\x01\x01l\0\x0a\x01z\x0b\x0b\0\0\0\x0a\0\0\0\0\0\xff\x00\x01k\x01v");
    let (back, loaded) = read(&bytes).unwrap();
    assert_eq!(describe(&back), ["0 k string embstr - v"]);
    assert_eq!((loaded.empty, loaded.keys), (3, 1));
    let log = loaded.log_lines();
    assert_eq!(log[1], "rdbLoadObject skipping empty key: l");
    assert_eq!(log[3], "Done loading RDB, keys loaded: 1, keys expired: 0, empty keys skipped: 3.");
}

#[test]
fn what_a_file_must_not_hold() {
    let check = |items: &[u8], at: u64, expected: &str| {
        let corrupt = refused(&unchecked(items));
        assert!(corrupt.at == at && corrupt.what.contains(expected), "{corrupt}");
    };
    check(b"\x00\x01k\x01v\x00\x01k\x01w", 14, "RDB has duplicated key 'k' in DB 0");
    check(b"\xfe\x10", 9, "database 16");
    check(b"\xf6", 9, "release candidate");
    check(b"\xf7\x81\x44\x79\x09\x4b\x86\xfe\xe4\0\x02\x02", 9, "no matching module");
    check(b"\xf3\x01", 9, "unknown type or opcode 243");
    check(b"\xfc\0\0\0\0\0\0\0\0\xfe\x01", 18, "without a key");
    check(b"\x02\x01k\x02\x01a\x01a", 15, "Duplicate set members detected (key 'k' in DB 0)");
    check(b"\xff", 10, "more behind the end");
}

#[test]
fn a_progress_function_can_stop() {
    let mut store = Store::new(1);
    let mut db = store.db(0, 0, Expiry::Ignore, 0);
    (0..3000).for_each(|n| db.set(n.to_string().as_bytes(), Str::Int(n).wrap()));
    let snapshot = store.snapshot();
    let mut stop =
        |at: Progress| if at.keys == 2048 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) };
    assert!(save(&snapshot, &full(), &mut Vec::new(), &mut stop).is_err());
    let bytes = bytes_of(&snapshot, &full());
    let stopped = load(&mut &bytes[..], &LoadOptions::default(), &mut Snapshot::empty(1), &mut stop);
    assert!(matches!(stopped, Err(LoadError::Stopped)));
}

#[test]
fn what_follows_an_old_preamble_stays() {
    let mut bytes = bytes_of(&dataset(), &full());
    let len = bytes.len() as u64;
    bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n");
    assert_eq!(refused(&bytes).at, len);
    let (_, loaded) = read_with(&bytes, &LoadOptions { tail: true, ..LoadOptions::default() }).unwrap();
    assert_eq!(loaded.bytes, len);
}

// ---- damage ----

#[test]
fn every_prefix_is_refused() {
    for name in ["databases.rdb", "streams.rdb", "types.rdb"] {
        let bytes = sample(name);
        let step = bytes.len() / 2000 + 1;
        for len in (0..bytes.len()).step_by(step) {
            let corrupt = refused(&bytes[..len]);
            assert!(corrupt.at <= len as u64, "{name}, {len} bytes: {corrupt}");
        }
    }
}

#[test]
fn every_flipped_bit_is_refused_and_none_panics_without_checksum() {
    let unverified = LoadOptions { verify: false, ..LoadOptions::default() };
    for name in ["databases.rdb", "streams.rdb"] {
        let mut bytes = sample(name);
        for bit in 0..bytes.len() * 8 {
            bytes[bit / 8] ^= 1 << (bit % 8);
            refused(&bytes);
            let _either = read_with(&bytes, &unverified);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
    }
}

// ---- random data ----

fn text() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        proptest::collection::vec(any::<u8>(), 0..30),
        any::<i64>().prop_map(|n| n.to_string().into_bytes()),
        (-200i64..200).prop_map(|n| n.to_string().into_bytes()),
        (any::<u8>(), 0usize..300).prop_map(|(byte, len)| vec![byte; len]),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let limits = Limits { hash_max_listpack_entries: 8, zset_max_listpack_entries: 8, ..Limits::default() };
    let texts = || proptest::collection::vec(text(), 1..20);
    prop_oneof![
        text().prop_map(|text| Str::new(&text).wrap()),
        texts().prop_map(move |all| List::from_values(all.iter().map(|t| &t[..]), &limits).wrap()),
        texts().prop_map(move |all| {
            let mut set = Set::for_load(all.len(), &limits);
            all.iter().for_each(|member| {
                set.insert(member, &limits);
            });
            set.wrap()
        }),
        texts().prop_map(move |all| {
            let mut hash = Hash::new();
            all.iter().zip(all.iter().rev()).for_each(|(field, value)| {
                hash.set(field, value, &limits);
            });
            hash.wrap()
        }),
        proptest::collection::vec((text(), any::<f64>()), 1..20).prop_filter_map(
            "only not-a-number",
            move |all| {
                let mut zset = Zset::indexed();
                all.iter().for_each(|(member, score)| {
                    // Plus zero: a listpack knows no minus zero.
                    zset.insert_new(member, *score + 0.0);
                });
                zset.settle(&limits);
                (!zset.is_empty()).then(|| zset.wrap())
            }
        ),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_dataset_comes_back(
        all in proptest::collection::vec((0usize..16, text(), value(), proptest::option::of(0i64..i64::MAX)), 0..30),
        flipped in any::<proptest::sample::Index>(), bit in 0u8..8,
    ) {
        let mut snapshot = Snapshot::empty(16);
        for (db, key, value, expires) in all {
            snapshot.dbs[db].put(Entry::new(&key, value, expires.unwrap_or(NEVER), 0));
        }
        let mut bytes = bytes_of(&snapshot, &full());
        let (back, _) = read(&bytes).unwrap();
        let (seen, expected) = (describe(&back), describe(&snapshot));
        prop_assert_eq!(seen.len(), expected.len());
        for (seen, expected) in seen.iter().zip(&expected) {
            prop_assert_eq!(without_encoding(seen), without_encoding(expected));
        }
        let at = flipped.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(read(&bytes).is_err());
        let _either = read_with(&bytes, &LoadOptions { verify: false, ..LoadOptions::default() });
    }

    #[test]
    fn garbage_is_no_payload(body in proptest::collection::vec(any::<u8>(), 1..200), kind in 0u8..22) {
        let _either = restore_unsealed(&[&[kind], &body[..]].concat());
    }
}

/// The line without its fourth word: other limits may be in force when it is read.
fn without_encoding(line: &str) -> Vec<&str> {
    line.split(' ').enumerate().filter(|(i, _)| *i != 3).map(|(_, word)| word).collect()
}
