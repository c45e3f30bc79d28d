//! What is inside, on one screen: origin, position, keys by type and encoding, sizes, deadlines, a log's commands.
//!
//! A snapshot is walked to its end (so its checksum is verified on the way); of every other kind of file the summary is
//! what a check of it found. Sizes are bytes in the file, which is all that a stream can know for sure; what a server would
//! need is `memory`'s estimate.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use super::check::{self, FileReport, Verdict};
use super::input::{self, Found, Input, Kind, Watch};
use super::snapshot::Snapshot;
use super::text::{self, Json, counted, grouped, message, shown, size};
use super::value::{self, Facts, Nothing};
use super::{Failure, Result};
use crate::format::rdb::{Attributes, Item, ValueType};
use crate::units::UnixMillis;

/// Upper ends of the classes of time to live, in milliseconds, and their names; before them "past", behind them "later".
pub(super) const LIVES: [(i64, &str); 7] = [
    (60_000, "within a minute"),
    (3_600_000, "within an hour"),
    (86_400_000, "within a day"),
    (7 * 86_400_000, "within a week"),
    (30 * 86_400_000, "within 30 days"),
    (365 * 86_400_000, "within a year"),
    (i64::MAX, "later"),
];
/// Upper ends of the classes of size (key and value in the file).
const SIZES: [u64; 9] = [32, 128, 512, 2 << 10, 8 << 10, 32 << 10, 1 << 20, 32 << 20, u64::MAX];
/// Databases and AUX fields told apart; what is beyond is counted with the last.
const MOST: usize = 1000;
/// Bytes of an AUX field's name, and of its value, that are kept.
const LONGEST_AUX: usize = 4096;

/// One file.
pub struct Summary {
    /// What a check of the file's frame found; of a snapshot, whether the walk came to its end.
    pub report: FileReport,
    /// Of a snapshot, or of the one that a log begins with.
    pub data: Option<Data>,
}

/// What is in a snapshot.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Data {
    pub version: u16,
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
    pub functions: u64,
    pub module_aux: u64,
    pub databases: BTreeMap<u64, Database>,
    pub kinds: Vec<Row>,
    /// Keys by time to live: past, then as [`LIVES`].
    pub lives: [u64; LIVES.len() + 1],
    /// Keys and bytes by size, as [`SIZES`].
    pub sizes: [(u64, u64); SIZES.len()],
    pub keys: u64,
    pub volatile: u64,
    pub elements: u64,
    /// With an idle time, with a frequency.
    pub idle: u64,
    pub freq: u64,
    /// The largest one in the file: bytes, database, name.
    pub largest: Option<(u64, u64, Vec<u8>)>,
    pub most_elements: Option<(u64, u64, Vec<u8>)>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Database {
    pub keys: u64,
    pub volatile: u64,
}

/// The keys of one type in one encoding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Row {
    pub kind: &'static str,
    pub encoding: &'static str,
    pub keys: u64,
    pub elements: u64,
    /// In the file, key and attributes included.
    pub bytes: u64,
}

/// Summaries of a file, or of all files of a data directory. `now`: from when times to live are counted.
pub fn summarize(path: &Path, options: &check::Options, now: UnixMillis) -> Result<Vec<Summary>> {
    match input::open(path, &options.watch)? {
        Found::File(input) => Ok(vec![of_input(input, now)?]),
        Found::Directory(directory) => check::files_of(&directory, options)?
            .iter()
            .map(|file| of_path(file, &options.watch, now))
            .collect(),
    }
}

fn of_path(path: &Path, watch: &Watch, now: UnixMillis) -> Result<Summary> {
    match input::open(path, watch)? {
        Found::File(input) => of_input(input, now),
        Found::Directory(_) => Err(Failure::Usage(format!("{} is a directory", path.display()))),
    }
}

/// The summary of one file.
pub fn of_input(mut input: Input, now: UnixMillis) -> Result<Summary> {
    if input.kind != Kind::Rdb {
        return Ok(Summary { report: check::check_input(input)?, data: None });
    }
    let mut report = FileReport::new(&input.file.clone(), input.kind.word());
    let mut counter = Counter {
        data: Data::default(),
        rows: [Row::default(); 3 * KINDS],
        here: (0, Database::default()),
        now,
    };
    let file = input.file.clone();
    let mut snapshot = match Snapshot::open(&mut input, &file) {
        Ok(snapshot) => snapshot,
        Err(failure) => {
            report.absorb(failure)?;
            return Ok(Summary { report, data: None });
        }
    };
    let walked = counter.walk(&mut snapshot, &mut report);
    report.bytes = snapshot.offset();
    let behind = match walked {
        Ok(()) => snapshot.behind(),
        Err(failure) => Err(failure),
    };
    let rest = match behind {
        Ok(behind) if behind.is_empty() => Ok(()),
        Ok(behind) => check::check_commands(behind, input, &mut report),
        Err(failure) => Err(failure),
    };
    if let Err(failure) = rest {
        report.absorb(failure)?;
    }
    Ok(Summary { report, data: Some(counter.finish()) })
}

/// Fills [`Data`].
struct Counter {
    data: Data,
    rows: [Row; 3 * KINDS],
    /// The selected database and what was counted of it.
    here: (u64, Database),
    now: UnixMillis,
}

/// Value types have smaller numbers.
const KINDS: usize = 32;

impl Counter {
    fn walk(&mut self, snapshot: &mut Snapshot<'_>, report: &mut FileReport) -> Result<()> {
        self.data.version = snapshot.version();
        loop {
            match snapshot.next_item()? {
                Item::Key(kind, attributes) => self.key(snapshot, kind, &attributes)?,
                Item::Select(db) => {
                    self.end_database();
                    self.here.0 = db;
                }
                Item::Aux { name, value } if self.data.aux.len() < MOST => {
                    let begin = |text: Vec<u8>| text[..text.len().min(LONGEST_AUX)].to_vec();
                    self.data.aux.push((begin(name), begin(value)));
                }
                Item::Aux { .. } | Item::Resize { .. } => {}
                Item::Function(_) => self.data.functions += 1,
                Item::ModuleAux(_) => self.data.module_aux += 1,
                Item::End(checksum) => {
                    let said = checksum.map_or("none".to_string(), |sum| format!("{sum:016x}"));
                    report.facts.push(("checksum", said));
                    return Ok(());
                }
            }
        }
    }

    #[inline]
    fn key(&mut self, snapshot: &mut Snapshot<'_>, kind: ValueType, attributes: &Attributes) -> Result<()> {
        let at = snapshot.at;
        let facts = snapshot.value(kind, &mut Nothing)?;
        let bytes = snapshot.offset() - at;
        let data = &mut self.data;
        self.here.1.keys += 1;
        self.here.1.volatile += u64::from(attributes.expires.is_some());
        data.elements += facts.elements;
        data.idle += u64::from(attributes.idle.is_some());
        data.freq += u64::from(attributes.freq.is_some());
        if let Some(expires) = attributes.expires {
            data.lives[life(expires, self.now)] += 1;
        }
        let class = &mut data.sizes[SIZES.iter().position(|most| bytes <= *most).unwrap_or(SIZES.len() - 1)];
        *class = (class.0 + 1, class.1 + bytes);
        note_most(&mut data.largest, bytes, snapshot);
        note_most(&mut data.most_elements, facts.elements, snapshot);
        let row = &mut self.rows[row_of(kind, &facts)];
        if row.keys == 0 {
            (row.kind, row.encoding) = (value::type_word(kind), value::encoding_word(kind, &facts));
        }
        row.keys += 1;
        row.elements += facts.elements;
        row.bytes += bytes;
        Ok(())
    }

    fn end_database(&mut self) {
        let (mut db, here) = std::mem::take(&mut self.here);
        if here.keys == 0 {
            return;
        }
        let databases = &mut self.data.databases;
        if databases.len() >= MOST && !databases.contains_key(&db) {
            db = databases.keys().next_back().copied().unwrap_or(db);
        }
        let sum = databases.entry(db).or_default();
        sum.keys += here.keys;
        sum.volatile += here.volatile;
    }

    fn finish(mut self) -> Data {
        self.end_database();
        let mut kinds: Vec<Row> = Vec::new();
        for row in self.rows.into_iter().filter(|row| row.keys > 0) {
            match kinds.iter_mut().find(|k| (k.kind, k.encoding) == (row.kind, row.encoding)) {
                Some(same) => {
                    same.keys += row.keys;
                    same.elements += row.elements;
                    same.bytes += row.bytes;
                }
                None => kinds.push(row),
            }
        }
        kinds.sort_by_key(|row| std::cmp::Reverse(row.bytes));
        self.data.kinds = kinds;
        self.data.keys = self.data.databases.values().map(|db| db.keys).sum();
        self.data.volatile = self.data.databases.values().map(|db| db.volatile).sum();
        self.data
    }
}

/// Strings have three encodings, other types one each.
fn row_of(kind: ValueType, facts: &Facts) -> usize {
    let encoding = match value::encoding_word(kind, facts) {
        "embstr" => 1,
        "raw" => 2,
        _ => 0,
    };
    3 * (kind as usize % KINDS) + encoding
}

pub(super) fn life(expires: i64, now: UnixMillis) -> usize {
    let left = expires.saturating_sub(now.0);
    if left <= 0 {
        return 0;
    }
    1 + LIVES.iter().position(|(most, _)| left <= *most).unwrap_or(LIVES.len() - 1)
}

#[inline]
fn note_most(most: &mut Option<(u64, u64, Vec<u8>)>, amount: u64, snapshot: &Snapshot<'_>) {
    match most {
        Some((now, _, _)) if *now >= amount => {}
        Some((now, db, name)) => {
            (*now, *db) = (amount, snapshot.db);
            name.clear();
            name.extend_from_slice(snapshot.key());
        }
        None => *most = Some((amount, snapshot.db, snapshot.key().to_vec())),
    }
}

impl Summary {
    /// For a terminal or a text file.
    pub fn to_text(&self) -> String {
        let report = &self.report;
        let mut out = String::new();
        let name = shown(report.file.as_os_str().as_encoded_bytes());
        let _infallible =
            writeln!(out, "{name}: {}, {}, {}", report.kind, size(report.bytes), report.verdict.word());
        if let Some(problem) = &report.problem {
            let _infallible = writeln!(out, "  {}", message(problem));
        }
        if let Some(data) = &self.data {
            data.write_text(&mut out);
        }
        for (name, value) in &report.facts {
            let _infallible = writeln!(out, "  {name:<14} {}", message(value));
        }
        if !report.commands.is_empty() {
            out.push('\n');
            let head = ["command", "times", "bytes"].map(String::from);
            let rows = report
                .commands
                .iter()
                .map(|(name, count, bytes)| [shown(name.as_bytes()), grouped(*count), size(*bytes)]);
            table(&mut out, head, rows, 1);
        }
        report.notes.iter().for_each(|note| {
            let _infallible = writeln!(out, "  note: {}", message(note));
        });
        out
    }

    pub fn write_json(&self, json: &mut Json) {
        let report = &self.report;
        json.object(|j| {
            j.key("file").text(report.file.as_os_str().as_encoded_bytes());
            j.key("kind").text(report.kind.as_bytes());
            j.key("bytes").plain(report.bytes);
            j.key("verdict").text(report.verdict.word().as_bytes());
            if let Some(problem) = &report.problem {
                j.key("problem").text(problem.to_string().as_bytes());
            }
            if let Some(data) = &self.data {
                data.write_json(j);
            }
            j.key("facts").object(|j| report.write_facts(j));
            if !report.commands.is_empty() {
                j.key("commands").object(|j| {
                    for (name, count, bytes) in &report.commands {
                        j.key(name).object(|j| {
                            j.key("count").plain(count);
                            j.key("bytes").plain(bytes);
                        });
                    }
                });
            }
            j.key("notes").array(|j| report.notes.iter().for_each(|note| j.text(note.as_bytes())));
        });
    }

    /// Whether the walk came to the end.
    pub fn verdict(&self) -> Verdict {
        self.report.verdict
    }
}

impl Data {
    fn write_text(&self, out: &mut String) {
        let mut line = |name: &str, value: String| {
            let _infallible = writeln!(out, "  {name:<14} {value}");
        };
        line("version", self.version.to_string());
        for (name, value) in &self.aux {
            let mut said = text::shortened(value, 100);
            let number = || std::str::from_utf8(value).ok()?.parse::<i64>().ok();
            match (name.as_slice(), number()) {
                (b"ctime", Some(seconds)) => {
                    said = format!("{} UTC", text::utc(seconds.saturating_mul(1000)))
                }
                (b"used-mem", Some(bytes)) => said = size(bytes.max(0) as u64),
                _ => {}
            }
            line(&text::shortened(name, 40), said);
        }
        if self.functions > 0 {
            line("functions", counted(self.functions, "library", "libraries"));
        }
        if self.module_aux > 0 {
            line("module data", grouped(self.module_aux));
        }
        let mut keys = format!("{}, {} elements", grouped(self.keys), grouped(self.elements));
        if self.databases.len() != 1 || !self.databases.contains_key(&0) {
            let each = self.databases.iter().take(20).map(|(db, d)| format!("db{db}: {}", grouped(d.keys)));
            keys += &format!(" ({})", each.collect::<Vec<_>>().join(", "));
        }
        line("keys", keys);
        if self.idle + self.freq > 0 {
            let (idle, freq) = (grouped(self.idle), grouped(self.freq));
            line("access", format!("{idle} with an idle time, {freq} with a frequency"));
        }
        for (what, most) in [("largest", &self.largest), ("most elements", &self.most_elements)] {
            if let Some((amount, db, name)) = most {
                let amount = if what == "largest" { size(*amount) } else { grouped(*amount) };
                line(what, format!("{amount}: {} in db {db}", text::shortened(name, 60)));
            }
        }
        self.write_tables(out);
    }

    fn write_tables(&self, out: &mut String) {
        let head = ["type", "encoding", "keys", "elements", "bytes"].map(String::from);
        out.push('\n');
        let rows = self.kinds.iter().map(|row| {
            let Row { kind, encoding, keys, elements, bytes } = row;
            [kind.to_string(), encoding.to_string(), grouped(*keys), grouped(*elements), size(*bytes)]
        });
        table(out, head, rows, 2);
        out.push('\n');
        let rows =
            SIZES.iter().zip(&self.sizes).filter(|(_, (keys, _))| *keys > 0).map(|(most, (keys, bytes))| {
                let most = if *most == u64::MAX { "more".into() } else { size(*most) };
                [most, grouped(*keys), size(*bytes)]
            });
        table(out, ["size up to", "keys", "bytes"].map(String::from), rows, 1);
        out.push('\n');
        let lives = std::iter::once("past").chain(LIVES.iter().map(|(_, name)| *name)).zip(self.lives);
        let lives = lives.chain([("never", self.keys - self.volatile)]).filter(|(_, keys)| *keys > 0);
        let rows = lives.map(|(name, keys)| [name.to_string(), grouped(keys)]);
        table(out, ["expires", "keys"].map(String::from), rows, 1);
    }

    fn write_json(&self, json: &mut Json) {
        let named = |most: &Option<(u64, u64, Vec<u8>)>, j: &mut Json| match most {
            None => j.plain("null"),
            Some((amount, db, key)) => j.object(|j| {
                j.key("amount").plain(amount);
                j.key("db").plain(db);
                j.key("key").text(key);
            }),
        };
        json.key("version").plain(self.version);
        json.key("aux").object(|j| {
            for (name, value) in &self.aux {
                j.key_bytes(name).text(value);
            }
        });
        json.key("functions").plain(self.functions);
        json.key("module_data").plain(self.module_aux);
        json.key("keys").plain(self.keys);
        json.key("volatile").plain(self.volatile);
        json.key("elements").plain(self.elements);
        json.key("databases").object(|j| {
            for (db, found) in &self.databases {
                j.key(&db.to_string()).object(|j| {
                    j.key("keys").plain(found.keys);
                    j.key("volatile").plain(found.volatile);
                });
            }
        });
        json.key("kinds").array(|j| {
            for row in &self.kinds {
                j.object(|j| {
                    j.key("type").text(row.kind.as_bytes());
                    j.key("encoding").text(row.encoding.as_bytes());
                    j.key("keys").plain(row.keys);
                    j.key("elements").plain(row.elements);
                    j.key("bytes").plain(row.bytes);
                });
            }
        });
        json.key("sizes").array(|j| {
            for (most, (keys, bytes)) in SIZES.iter().zip(&self.sizes) {
                j.object(|j| {
                    j.key("up_to").maybe(Some(most).filter(|most| **most != u64::MAX));
                    j.key("keys").plain(keys);
                    j.key("bytes").plain(bytes);
                });
            }
        });
        json.key("expires").object(|j| {
            for (name, keys) in std::iter::once("past").chain(LIVES.iter().map(|(_, n)| *n)).zip(self.lives) {
                j.key(name).plain(keys);
            }
            j.key("never").plain(self.keys - self.volatile);
        });
        json.key("largest");
        named(&self.largest, json);
        json.key("most_elements");
        named(&self.most_elements, json);
    }
}

/// Columns as wide as their widest cell; the first `left` ones begin at the left, the others end at the right.
pub fn table<const N: usize>(
    out: &mut String,
    head: [String; N],
    rows: impl Iterator<Item = [String; N]>,
    left: usize,
) {
    let all: Vec<[String; N]> = std::iter::once(head).chain(rows).collect();
    let widths: [usize; N] =
        std::array::from_fn(|i| all.iter().map(|row| row[i].chars().count()).max().unwrap_or(0));
    for row in &all {
        let mut line = String::from(" ");
        for (i, cell) in row.iter().enumerate() {
            let pad = " ".repeat(widths[i].saturating_sub(cell.chars().count()));
            line.push_str("  ");
            line.extend(if i < left { [cell.as_str(), &pad] } else { [pad.as_str(), cell] });
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(bytes: &[u8]) -> Summary {
        let input = input::of_reader(Box::new(std::io::Cursor::new(bytes.to_vec())), Path::new("x"), None);
        of_input(input.unwrap(), UnixMillis(1_000_000)).unwrap()
    }

    #[test]
    fn keys_are_counted_by_what_they_are() {
        let file = [
            &b"REDIS0003\xfe\0\xfd\x01\0\0\0\0\x01a\x01v\0\x01b\xc0\x05"[..],
            b"\xfe\x07\xfc\x41\x42\x0f\0\0\0\0\0\x02\x01s\x02\x01x\x01y\xff",
        ]
        .concat();
        let summary = of(&file);
        let data = summary.data.as_ref().unwrap();
        assert_eq!((data.keys, data.volatile, data.elements), (3, 2, 4));
        let kinds: Vec<_> =
            data.kinds.iter().map(|r| (r.kind, r.encoding, r.keys, r.elements, r.bytes)).collect();
        assert_eq!(
            kinds,
            [("set", "hashtable", 1, 2, 17), ("string", "embstr", 1, 1, 10), ("string", "int", 1, 1, 5)]
        );
        assert_eq!(
            data.databases.iter().map(|(db, d)| (*db, d.keys, d.volatile)).collect::<Vec<_>>(),
            [(0, 2, 1), (7, 1, 1)]
        );
        assert_eq!((data.lives[0], data.lives[1]), (1, 1));
        let text = summary.to_text();
        assert!(text.starts_with("x: snapshot, 46 B, sound\n"), "{text}");
        let mut json = Json::new();
        summary.write_json(&mut json);
        let json = String::from_utf8(json.into_bytes()).unwrap();
        assert!(json.contains(r#""databases":{"0":{"keys":2,"volatile":1},"7""#), "{json}");
    }

    #[test]
    fn what_was_counted_before_damage_is_shown() {
        let summary = of(b"REDIS0003\xfe\0\0\x01a\x01v\0\x01b");
        assert_eq!(summary.verdict(), Verdict::Corrupt);
        assert_eq!(summary.data.unwrap().keys, 1);
        assert_eq!(
            summary.report.problem.unwrap().to_string(),
            "x: at byte 19: ends here, 1 or more bytes too soon (key 'b' in db 0)"
        );
    }
}
