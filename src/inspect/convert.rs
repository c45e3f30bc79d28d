//! RDB files from RDB files: of another version, only some keys, split by cluster slot, several merged.
//!
//! ```text
//! snapshots, or what directories and logs amount to ([`Whole`])
//! several inputs ─► names alone, first: which keys come again later? ─┐
//! each input ─► key ─► wanted? ─► value walked (proved sound) into a spool ─► wanted? ─► the writer of its slot
//! ```
//!
//! Of several inputs a key of the later one stands, as if one were restored after the other; so is one that comes twice in
//! a file that nobody should have written. Values keep their bytes where the new version has their form
//! ([`super::rebuild`]).

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::check;
use super::input::{self, Found, Input, Kind};
use super::keys::{Filter, Head, Row};
use super::partitions::{Marks, Repeats};
use super::rebuild::{Writer, is_writable};
use super::snapshot::Snapshot;
use super::spool::Spool;
use super::value::{self, Nothing};
use super::whole::{self, Whole};
use super::{Failure, Result};
use crate::format::rdb::Item;
use crate::units::UnixMillis;

/// Slots of a cluster.
pub const SLOTS: u16 = 16384;
/// Bytes of a value that stay in memory until it is known to be sound.
const IN_MEMORY: usize = 1 << 20;

/// What is wanted.
pub struct Request<'r> {
    /// `-` is standard input; one at most.
    pub inputs: &'r [PathBuf],
    pub filter: &'r Filter,
    /// First and last cluster slot.
    pub slots: Option<(u16, u16)>,
    /// Of the new file; `None`: the highest of the inputs.
    pub version: Option<u16>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub version: u16,
    /// Of each output.
    pub keys: Vec<u64>,
    /// Keys of which a later one stands.
    pub replaced: u64,
    /// Keys and function libraries that the version cannot express.
    pub left_out: u64,
    /// What of the inputs is not in the output.
    pub notes: Vec<String>,
}

/// Writes one file to each of `outputs`, the slots in equal shares.
pub fn convert(
    request: &Request<'_>,
    options: &check::Options,
    now: UnixMillis,
    outputs: &mut [&mut dyn Write],
) -> Result<Done> {
    let (mut inputs, repeated, notes) = open(request, options, now)?;
    let mut done = Done { replaced: repeated.count, notes, ..Done::default() };
    let mut snapshots = Vec::new();
    for input in &mut inputs {
        let file = input.file.clone();
        snapshots.push(Snapshot::open(input, &file)?);
    }
    let highest = snapshots.iter().map(Snapshot::version).max().unwrap_or_default();
    done.version = request.version.unwrap_or(highest.max(super::rebuild::OLDEST));
    if !is_writable(done.version) {
        let what =
            format!("RDB version {} cannot be written: there are 6 to 12, and 80 (Valkey)", done.version);
        return Err(Failure::Usage(what));
    }
    let mut writers = Vec::new();
    for out in outputs {
        writers.push(Writer::begin(*out, done.version, now)?);
    }
    let mut copy = Copy { request, now, repeated, next: 0, writers, spool: spool() };
    for snapshot in &mut snapshots {
        copy.all(snapshot)?;
    }
    for writer in copy.writers {
        done.keys.push(writer.keys);
        done.left_out += writer.left_out;
        writer.finish()?;
    }
    Ok(done)
}

/// The slot of a key: of what stands between the first `{` and the next `}`, if that is anything.
/// (Redis cluster specification, "Hash tags")
pub fn slot(key: &[u8]) -> u16 {
    let tag = memchr::memchr(b'{', key).and_then(|open| {
        let rest = &key[open + 1..];
        memchr::memchr(b'}', rest).map(|close| &rest[..close])
    });
    crc16(tag.filter(|tag| !tag.is_empty()).unwrap_or(key)) % SLOTS
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |crc: u16, byte| {
        (0..8).fold(
            crc ^ u16::from(*byte) << 8,
            |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            },
        )
    })
}

/// For a value at a time.
pub(super) fn spool() -> Rc<RefCell<Spool>> {
    Rc::new(RefCell::new(Spool::new(IN_MEMORY)))
}

/// The inputs to be read, which of their keys, counted over all, come again later, and what should be said of them.
fn open(
    request: &Request<'_>,
    options: &check::Options,
    now: UnixMillis,
) -> Result<(Vec<Input>, Marks, Vec<String>)> {
    if request.inputs.iter().filter(|path| path.as_os_str() == "-").count() > 1 {
        return Err(Failure::Usage("only one of the inputs may be standard input".into()));
    }
    let mut wholes = Vec::new();
    for path in request.inputs {
        match input::open(path, &options.watch)? {
            // Read once, a snapshot may come from anywhere.
            Found::File(input)
                if request.inputs.len() == 1 && input.kind == Kind::Rdb && !whole::is_log(&input) =>
            {
                return Ok((vec![input], Marks::default(), Vec::new()));
            }
            found => wholes.push(Whole::of(path, found, options, now)?),
        }
    }
    let mut repeats = Repeats::default();
    for whole in wholes.iter().filter(|_| wholes.len() > 1) {
        names(&mut whole.input(&options.watch)?, &whole.name, &mut repeats)?;
    }
    let inputs: Result<Vec<Input>> = wholes.iter().map(|whole| whole.input(&options.watch)).collect();
    Ok((inputs?, repeats.finish()?, wholes.into_iter().filter_map(|whole| whole.note).collect()))
}

/// The names of all keys of a file, in its order.
pub(super) fn names(input: &mut dyn std::io::Read, file: &Path, repeats: &mut Repeats) -> Result<()> {
    let mut snapshot = Snapshot::open(input, file)?;
    loop {
        match snapshot.next_item()? {
            Item::Key(kind, _) => {
                repeats.put(snapshot.db, snapshot.key());
                snapshot.skip(kind)?;
            }
            Item::End(_) => return Ok(()),
            _ => {}
        }
    }
}

struct Copy<'c, 'o> {
    request: &'c Request<'c>,
    now: UnixMillis,
    repeated: Marks,
    /// Ordinal of the next key, over all inputs.
    next: u64,
    writers: Vec<Writer<'o>>,
    spool: Rc<RefCell<Spool>>,
}

impl Copy<'_, '_> {
    fn all(&mut self, snapshot: &mut Snapshot<'_>) -> Result<()> {
        let mut name = Vec::new();
        loop {
            let (kind, attributes) = match snapshot.next_item()? {
                Item::Key(kind, attributes) => (kind, attributes),
                Item::Function(code) => {
                    self.writers.iter_mut().try_for_each(|writer| writer.function(&code))?;
                    continue;
                }
                Item::End(_) => return Ok(()),
                _ => continue,
            };
            let ordinal = self.next;
            self.next += 1;
            name.clear();
            name.extend_from_slice(snapshot.key());
            let head = Head { db: snapshot.db, key: &name, kind, attributes, at: snapshot.at };
            let slot = slot(&name);
            let in_slots = self.request.slots.is_none_or(|(first, last)| (first..=last).contains(&slot));
            let filter = self.request.filter;
            if self.repeated.has(ordinal) || !in_slots || !filter.wants_head(&head, self.now) {
                snapshot.skip(kind)?;
                continue;
            }
            let facts = snapshot.value_into(kind, &mut Nothing, &self.spool)?;
            let bytes = snapshot.offset() - snapshot.at;
            let row = Row { head, encoding: value::encoding_word(kind, &facts), bytes, facts };
            if filter.wants_value(&row) {
                let share = usize::from(slot) * self.writers.len() / usize::from(SLOTS);
                self.writers[share].key(&head, &facts, &self.spool.borrow())?;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::check::Verdict;
    use crate::inspect::dump::{JsonLines, Sink};
    use crate::inspect::keys;

    #[test]
    fn slots_are_those_of_a_cluster() {
        let check = |key: &str, expected: u16| assert_eq!(slot(key.as_bytes()), expected, "{key}");
        assert_eq!(crc16(b"123456789"), 0x31c3);
        check("foo", 12182);
        check("{foo}bar", 12182);
        check("a{foo}{bar}", 12182);
        check("foo{}bar", crc16(b"foo{}bar") % SLOTS);
        check("foo{{bar}}", crc16(b"{bar") % SLOTS);
        check("", 0);
    }

    fn samples() -> Vec<PathBuf> {
        let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples");
        let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<PathBuf> =
            files.filter(|path| path.extension().is_some_and(|e| e == "rdb")).collect();
        files.sort();
        files
    }

    fn converted(
        inputs: &[PathBuf],
        version: Option<u16>,
        count: usize,
        filter: &Filter,
    ) -> (Done, Vec<Vec<u8>>) {
        let mut bytes = vec![Vec::new(); count];
        let mut outputs: Vec<&mut dyn Write> = bytes.iter_mut().map(|b| b as &mut dyn Write).collect();
        let request = Request { inputs, filter, slots: None, version };
        let done = convert(&request, &check::Options::default(), UnixMillis(0), &mut outputs).unwrap();
        (done, bytes)
    }

    /// Every key and value, as lines.
    fn lines(file: &Path) -> Vec<String> {
        let mut source = keys::open(file, &check::Options::default()).unwrap();
        let mut out = Vec::new();
        let mut lines = JsonLines::new(Sink::new(&mut out));
        keys::walk(&mut source, &Filter::default(), UnixMillis(0), &mut lines).unwrap();
        lines.finish().unwrap();
        let text = String::from_utf8(out).unwrap();
        let mut lines: Vec<String> = text.lines().map(str::to_string).collect();
        lines.sort();
        lines
    }

    fn written(directory: &Path, name: &str, bytes: &[u8]) -> PathBuf {
        let path = directory.join(name);
        std::fs::write(&path, bytes).unwrap();
        let report = check::check(&path, &check::Options::default()).unwrap();
        let problem = report.parts().find_map(|part| part.problem.clone());
        assert_eq!(report.verdict(), Verdict::Sound, "{name}: {problem:?}");
        path
    }

    #[test]
    fn every_version_holds_the_same_keys_as_far_as_it_can() {
        let directory = tempfile::tempdir().unwrap();
        for file in samples().into_iter().filter(|file| !file.ends_with("unchecked.rdb")) {
            let before = lines(&file);
            for version in [6, 7, 8, 9, 10, 11, 12] {
                let inputs = [file.clone()];
                let (done, bytes) = converted(&inputs, Some(version), 1, &Filter::default());
                let path = written(directory.path(), "new.rdb", &bytes[0]);
                assert_eq!(bytes[0][..9], *format!("REDIS{version:04}").as_bytes());
                let after = lines(&path);
                let is_stream = |line: &&String| line.contains("\"type\":\"stream\"");
                // What older streams do not tell is not shown of them either.
                let plain = |lines: &[String]| -> Vec<String> {
                    let keys = lines.iter().filter(|line| !is_stream(line) && line.contains("\"key\""));
                    keys.map(|line| line.replace(",\"idle\":0", "")).collect()
                };
                assert_eq!(plain(&before), plain(&after), "{} as {version}", file.display());
                let streams = before.iter().filter(is_stream).count() as u64;
                match version {
                    9.. => assert_eq!(after.iter().filter(is_stream).count() as u64, streams),
                    _ => assert!(done.left_out >= streams),
                }
            }
        }
    }

    #[test]
    fn parts_merge_into_the_whole() {
        let directory = tempfile::tempdir().unwrap();
        for file in samples().into_iter().filter(|file| !file.ends_with("unchecked.rdb")) {
            let (done, bytes) = converted(std::slice::from_ref(&file), None, 3, &Filter::default());
            let mut parts: Vec<PathBuf> = bytes
                .iter()
                .enumerate()
                .map(|(n, bytes)| written(directory.path(), &format!("{n}.rdb"), bytes))
                .collect();
            parts.push(parts[0].clone());
            let (merged, bytes) = converted(&parts, None, 1, &Filter::default());
            assert_eq!(merged.replaced, done.keys[0]);
            assert_eq!(merged.keys[0], done.keys.iter().sum::<u64>());
            let whole = written(directory.path(), "whole.rdb", &bytes[0]);
            assert_eq!(lines(&whole), lines(&file), "{}", file.display());
        }
    }

    #[test]
    fn only_what_is_wanted() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples/types.rdb");
        let directory = tempfile::tempdir().unwrap();
        let filter = Filter {
            types: vec!["hash".into()],
            elements: keys::Span { from: Some(2), to: None },
            ..Filter::default()
        };
        let (done, bytes) = converted(std::slice::from_ref(&file), None, 1, &filter);
        let after = lines(&written(directory.path(), "new.rdb", &bytes[0]));
        assert_eq!(done.keys[0], after.len() as u64);
        assert!(
            !after.is_empty() && after.iter().all(|line| line.contains("\"type\":\"hash\"")),
            "{after:?}"
        );
    }
}
