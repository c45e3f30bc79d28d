//! Writes a snapshot as the commands that make it: the base of a log with `aof-use-rdb-preamble no`.
//!
//! ```text
//! #TS:1790000000␍␊                      if timestamps are switched on
//! SELECT 3
//! SET k v    RPUSH k …    SADD k …    ZADD k score member …    HMSET k field value …    RESTORE k 0 …   (a stream)
//! PEXPIREAT k 1790000000123             behind the key that it is for
//! #RH:1 base …                          the place that the base equals, and the seal of all of it
//! ```
//!
//! Any Redis reads it, and so does whoever edits the log by hand, which is what it is for. It is larger than RDB and takes
//! longer to load. Collections are cut into commands of [`ITEMS`] items, so that no command is much larger than a value of
//! its own. A stream has no commands here: RESTORE carries it.
//!
//! There is no command that makes libraries of functions yet: a snapshot that has some is written as RDB.

use std::io::{self, Write};
use std::ops::ControlFlow;

use super::partitions::Item;
use super::rdb::{self, Cut, Progress, Saved};
use super::value::{NEVER, View};
use super::{Entry, Libraries, Snapshot, Text};
use crate::format::aof::{Chain, Place, timestamp};
use crate::format::crc::SealCrc;
use crate::resp::args::encode_command;
use crate::resp::number::format_shortest;

/// Items of a collection in one command, as many as Redis writes.
const ITEMS: usize = 64;
/// Keys between two calls of the progress function.
const STRIDE: u64 = 1024;

pub struct Options {
    pub cut: Cut,
    /// Unix seconds, to be written at the top.
    pub timestamp: Option<i64>,
    /// Call the progress function after every key.
    pub each_key: bool,
}

/// Whether commands can express the data.
pub fn can_express(libraries: &Libraries) -> bool {
    libraries.is_empty()
}

/// Writes `snapshot` to `out`, which is flushed but not synced. `progress` is called about every thousand keys; if it
/// breaks, writing ends with an error of kind `Other`. The checksum is the seal of all bytes.
pub fn save(
    snapshot: &Snapshot,
    options: &Options,
    out: &mut dyn Write,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> io::Result<Saved> {
    let mut sink = Sink { out, chain: Chain::base(), seal: SealCrc::seeded(&[]), bytes: 0 };
    let mut buf = options.timestamp.map(timestamp).unwrap_or_default();
    let stride = if options.each_key { 1 } else { STRIDE };
    let mut keys = 0u64;
    for (index, database) in snapshot.dbs.iter().enumerate().filter(|(_, db)| !db.entries.is_empty()) {
        command(&[b"SELECT", itoa::Buffer::new().format(index).as_bytes()], &mut buf);
        for entry in database.entries.iter() {
            write_entry(entry, &mut buf);
            sink.take(&mut buf)?;
            keys += 1;
            if keys.is_multiple_of(stride)
                && progress(Progress { bytes: sink.bytes, keys, used_mem: 0 }).is_break()
            {
                return Err(io::Error::other("stopped"));
            }
        }
    }
    sink.take(&mut buf)?;
    let Cut { position, db } = options.cut;
    let place =
        Place { replid: position.replid, offset: position.offset, db: u32::try_from(db).unwrap_or(0) };
    sink.chain.end_base(place, &mut buf);
    sink.seal.update(&buf);
    sink.bytes += buf.len() as u64;
    sink.out.write_all(&buf)?;
    sink.out.flush()?;
    Ok(Saved { bytes: sink.bytes, keys, checksum: sink.seal.value() })
}

struct Sink<'a> {
    out: &'a mut dyn Write,
    chain: Chain,
    seal: SealCrc,
    bytes: u64,
}

impl Sink<'_> {
    fn take(&mut self, buf: &mut Vec<u8>) -> io::Result<()> {
        self.chain.cover(buf);
        self.seal.update(buf);
        self.bytes += buf.len() as u64;
        self.out.write_all(buf)?;
        buf.clear();
        Ok(())
    }
}

fn command(words: &[&[u8]], buf: &mut Vec<u8>) {
    encode_command(words.iter().copied(), buf);
}

fn write_entry(entry: &Entry, buf: &mut Vec<u8>) {
    let key = entry.key();
    let (mut number, mut text) = (itoa::Buffer::new(), Vec::new());
    match entry.value() {
        View::Str(value) => write_string(key, value, buf),
        View::List(list) => {
            let mut items = Items::new(b"RPUSH", key, buf);
            list.iter().for_each(|element| items.add([element.bytes(&mut number)]));
            items.end();
        }
        View::Set(set) => {
            let mut items = Items::new(b"SADD", key, buf);
            set.iter().for_each(|member| items.add([member.bytes(&mut number)]));
            items.end();
        }
        View::Zset(zset) => {
            let mut items = Items::new(b"ZADD", key, buf);
            for (member, score) in zset.iter() {
                text.clear();
                format_shortest(score, &mut text);
                items.add([&text, member.bytes(&mut number)]);
            }
            items.end();
        }
        View::Hash(hash) => {
            let mut items = Items::new(b"HMSET", key, buf);
            let mut other = itoa::Buffer::new();
            for (field, value) in hash.iter() {
                items.add([field.bytes(&mut number), value.bytes(&mut other)]);
            }
            items.end();
        }
        View::Stream(_) => command(&[b"RESTORE", key, b"0", &rdb::dump(entry.value())], buf),
    }
    if entry.expires() != NEVER {
        command(&[b"PEXPIREAT", key, number.format(entry.expires()).as_bytes()], buf);
    }
}

fn write_string(key: &[u8], value: Text<'_>, buf: &mut Vec<u8>) {
    command(&[b"SET", key, value.bytes(&mut itoa::Buffer::new())], buf);
}

/// A collection's items, in commands of up to [`ITEMS`].
struct Items<'a> {
    name: &'static [u8],
    key: &'a [u8],
    buf: &'a mut Vec<u8>,
    /// Arguments of the open command, encoded, and how many they and their items are.
    args: Vec<u8>,
    count: usize,
    items: usize,
}

impl<'a> Items<'a> {
    fn new(name: &'static [u8], key: &'a [u8], buf: &'a mut Vec<u8>) -> Items<'a> {
        Items { name, key, buf, args: Vec::new(), count: 0, items: 0 }
    }

    fn add<const N: usize>(&mut self, words: [&[u8]; N]) {
        for word in words {
            bulk(word, &mut self.args);
            self.count += 1;
        }
        self.items += 1;
        if self.items == ITEMS {
            self.close();
        }
    }

    fn close(&mut self) {
        self.buf.push(b'*');
        self.buf.extend_from_slice(itoa::Buffer::new().format(self.count + 2).as_bytes());
        self.buf.extend_from_slice(b"\r\n");
        bulk(self.name, self.buf);
        bulk(self.key, self.buf);
        self.buf.append(&mut self.args);
        (self.count, self.items) = (0, 0);
    }

    fn end(mut self) {
        if self.items > 0 {
            self.close();
        }
    }
}

fn bulk(word: &[u8], out: &mut Vec<u8>) {
    out.push(b'$');
    out.extend_from_slice(itoa::Buffer::new().format(word.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(word);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::replay::Replay;
    use crate::engine::testing::NodeBench;
    use crate::format::aof::{SegmentWalk, Strip};
    use crate::store::digest::of_dataset;
    use crate::units::{Offset, Position, ReplId};

    fn options(timestamp: Option<i64>) -> Options {
        let position = Position { replid: ReplId::from_random([7; 20]), offset: Offset(70_211) };
        Options { cut: Cut { position, db: 3 }, timestamp, each_key: false }
    }

    fn written(snapshot: &Snapshot, options: &Options) -> (Vec<u8>, Saved) {
        let mut out = Vec::new();
        let saved = save(snapshot, options, &mut out, &mut |_| ControlFlow::Continue(())).expect("saved");
        (out, saved)
    }

    /// Every type, in each of its encodings, with and without deadline; loaded again it is the same.
    #[test]
    fn there_and_back() {
        let mut bench = NodeBench::default();
        let a = bench.connect();
        let long = "x".repeat(100);
        for line in
            ["SET n 12", "SET s text", "SELECT 3", "RPUSH l a 1", "SADD ints 1 2 3", "ZADD z 1.5 a inf b"]
        {
            bench.send(a, line);
        }
        for n in 0..200 {
            bench.send(a, &format!("RPUSH list {n} {long}"));
            bench.send(a, &format!("SADD set {n} {long}{n}"));
            bench.send(a, &format!("ZADD zset 0.{n} {n}"));
            bench.send(a, &format!("HSET hash {n} {long}"));
        }
        bench.send(a, "HSET small f v");
        bench.send(a, "PEXPIREAT small 4102444800000");
        let snapshot = bench.node.store.snapshot();
        let (bytes, saved) = written(&snapshot, &options(Some(1_790_000_000)));
        assert!(bytes.starts_with(b"#TS:1790000000\r\n*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n"));
        assert_eq!(saved.keys, snapshot.dbs.iter().map(|db| db.entries.len() as u64).sum::<u64>());

        let mut walk = SegmentWalk::new(0);
        walk.feed(&bytes);
        let report = walk.finish();
        assert_eq!((report.file_seal, report.len), (saved.checksum, saved.bytes));
        let place = Place { replid: ReplId::from_random([7; 20]), offset: Offset(70_211), db: 3 };
        assert_eq!((report.base, report.bad_mark, report.opening), (Some(place), None, None));

        let mut stream = Vec::new();
        Strip::new(0).feed(&bytes, &mut stream).expect("well formed");
        let mut other = NodeBench::default();
        let mut replay = Replay::new(&mut other.node, 0);
        replay.feed(&mut other.node, &stream).expect("commands that are known");
        assert_eq!(replay.finish(&mut other.node), stream.len() as u64);
        assert_eq!(of_dataset(&other.node.store.dbs), of_dataset(&snapshot.dbs));
        let b = other.connect();
        other.send(b, "SELECT 3");
        other.check(b, "PEXPIRETIME small", ":4102444800000");
    }

    /// The bytes themselves, one key of each type (tests/golden/base.aof; RINGHOLD_GOLDEN=write makes it anew).
    #[test]
    fn the_form_is_fixed() {
        let mut bench = NodeBench::default();
        let a = bench.connect();
        for (db, line) in ["SET s text", "RPUSH l a 1", "SADD s 3 1 2", "ZADD z 1.5 a inf b", "HSET h f v"]
            .iter()
            .enumerate()
        {
            bench.send(a, &format!("SELECT {db}"));
            bench.send(a, line);
        }
        bench.send(a, "PEXPIREAT h 4102444800000");
        let (bytes, _) = written(&bench.node.store.snapshot(), &options(Some(1_790_000_000)));
        let golden = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/base.aof");
        if std::env::var("RINGHOLD_GOLDEN").is_ok_and(|word| word == "write") {
            std::fs::write(&golden, &bytes).expect("written");
        }
        assert_eq!(
            bytes.escape_ascii().to_string(),
            std::fs::read(golden).expect("there").escape_ascii().to_string()
        );
    }

    #[test]
    fn no_data_are_no_commands() {
        let (bytes, saved) = written(&Snapshot::empty(16), &options(None));
        assert!(bytes.starts_with(b"#RH:1 base id=0707") && saved.keys == 0);
    }

    #[test]
    fn a_command_has_at_most_so_many_items() {
        let mut buf = Vec::new();
        let mut items = Items::new(b"HMSET", b"k", &mut buf);
        (0..ITEMS * 2).for_each(|_| items.add([b"f", b"v"]));
        items.end();
        assert_eq!(buf.windows(5).filter(|w| w == b"HMSET").count(), 2);
        assert!(buf.starts_with(format!("*{}\r\n", 2 + 2 * ITEMS).as_bytes()));
    }
}
