//! The keys of a snapshot, one by one, as far as a filter lets them through.
//!
//! ```text
//! open ─► a snapshot, or the one on which a directory's log builds
//! walk ─► each key: name, type, deadline decide whether its value is looked at (else it is stepped over)
//!              └► value walked ─► Row ─► size, elements, encoding decide whether it counts
//! ```
//!
//! Of a data directory the snapshot is shown that a start would load, and what is left out is said: the log behind it is
//! replayed only if that is asked for ([`replayed`]), because it needs the whole dataset in memory.

use std::path::Path;

use regex::bytes::Regex;

use super::check::{self, layout, look};
use super::input::{self, Found, Input, Kind};
use super::snapshot::Snapshot;
use super::text::{self, shown};
use super::value::{self, Facts, Visitor};
use super::whole::{Whole, is_log};
use super::{Failure, Result};
use crate::disk::OsDisk;
use crate::format::rdb::{Attributes, Item, ValueType};
use crate::resp::glob;
use crate::units::UnixMillis;

/// A snapshot to be walked, and what should be said about it first.
pub struct Source {
    pub input: Input,
    pub note: Option<String>,
}

/// Opens the snapshot that `path` is, or the one that a start in this directory would load.
pub fn open(path: &Path, options: &check::Options) -> Result<Source> {
    let directory = match input::open(path, &options.watch)? {
        Found::File(input) if input.kind == Kind::Rdb => {
            let what = "commands behind the snapshot in this log are not applied; --replay applies them";
            let note = is_log(&input).then(|| format!("{}: {what}", shown_name(&input)));
            return Ok(Source { input, note });
        }
        Found::File(input) => {
            let (name, what) = (input.file.display(), input.kind.word());
            let hint = if input.kind == Kind::Log { "; --replay makes them" } else { "" };
            return Err(Failure::Usage(format!("{name} is a {what}: it holds no keys by itself{hint}")));
        }
        Found::Directory(directory) => directory,
    };
    let disk = OsDisk::new();
    let paths = layout(&disk, &directory, &options.names)?;
    let plan = look(&disk, &paths)?.plan;
    let plan = plan.map_err(|refusal| Failure::Usage(format!("a start would be refused: {refusal}")))?;
    let Some(load) = plan.load.iter().find(|load| load.rdb > 0) else {
        let name = directory.display();
        return Err(Failure::Usage(format!(
            "{name}: no snapshot; all that this directory holds are commands, which --replay applies"
        )));
    };
    let Found::File(input) = input::open(&load.path, &options.watch)? else {
        return Err(Failure::Usage(format!("{} is a directory", load.path.display())));
    };
    let behind: u64 = plan.replay.iter().map(|run| run.end.since(run.start)).sum::<u64>()
        + plan.load.iter().map(|load| load.commands_end.saturating_sub(load.rdb)).sum::<u64>();
    let name = shown_name(&input);
    let note = (behind > 0).then(|| {
        format!(
            "keys as of {name}: {} of commands behind it are not applied; --replay applies them",
            text::size(behind)
        )
    });
    Ok(Source { input, note })
}

/// The same with all commands of the log applied: what a start would have, in the memory of a server.
pub fn replayed(path: &Path, options: &check::Options, now: UnixMillis) -> Result<Source> {
    let whole = Whole::open(path, options, now)?;
    Ok(Source { input: whole.input(&options.watch)?, note: whole.note })
}

fn shown_name(input: &Input) -> String {
    shown(input.file.as_os_str().as_encoded_bytes())
}

/// Which keys are wanted. Empty lists and open ranges want all.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    pub dbs: Vec<u64>,
    /// As TYPE and OBJECT ENCODING call them.
    pub types: Vec<String>,
    pub encodings: Vec<String>,
    /// Only this key.
    pub name: Option<Vec<u8>>,
    /// As in KEYS.
    pub glob: Option<Vec<u8>>,
    pub regex: Option<Regex>,
    /// Milliseconds left from `now`; those without a deadline have none.
    pub ttl: Span,
    /// Only keys without a deadline, or only those with one.
    pub volatile: Option<bool>,
    /// Bytes in the file.
    pub size: Span,
    pub elements: Span,
    /// Seconds.
    pub idle: Span,
    pub freq: Span,
}

/// A range with ends that may be missing, both inclusive.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Span {
    pub from: Option<i64>,
    pub to: Option<i64>,
}

impl Span {
    pub fn is_open(&self) -> bool {
        *self == Span::default()
    }
    fn holds(&self, value: Option<i64>) -> bool {
        match value {
            None => self.is_open(),
            Some(value) => self.from.is_none_or(|from| value >= from) && self.to.is_none_or(|to| value <= to),
        }
    }
}

impl Filter {
    /// Whether it lets every key through.
    pub fn wants_all(&self) -> bool {
        let Filter { dbs, types, encodings, name, glob, regex, ttl, volatile, size, elements, idle, freq } =
            self;
        let lists = dbs.is_empty() && types.is_empty() && encodings.is_empty();
        let names = name.is_none() && glob.is_none() && regex.is_none() && volatile.is_none();
        lists && names && [ttl, size, elements, idle, freq].iter().all(|span| span.is_open())
    }

    /// What can be told before the value is read.
    pub fn wants_head(&self, head: &Head<'_>, now: UnixMillis) -> bool {
        let ttl = head.attributes.expires.map(|at| at.saturating_sub(now.0));
        let number = |value: Option<u64>| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX));
        (self.dbs.is_empty() || self.dbs.contains(&head.db))
            && (self.types.is_empty() || self.types.iter().any(|word| word == head.type_word()))
            && self.volatile.is_none_or(|wanted| wanted == head.attributes.expires.is_some())
            && self.ttl.holds(ttl)
            && self.idle.holds(number(head.attributes.idle))
            && self.freq.holds(number(head.attributes.freq.map(u64::from)))
            && self.name.as_ref().is_none_or(|name| name == head.key)
            && self.glob.as_ref().is_none_or(|pattern| glob::matches(pattern, head.key, false))
            && self.regex.as_ref().is_none_or(|regex| regex.is_match(head.key))
    }

    /// What only the value tells.
    pub fn wants_value(&self, row: &Row<'_>) -> bool {
        let number = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
        (self.encodings.is_empty() || self.encodings.iter().any(|word| word == row.encoding))
            && self.size.holds(number(row.bytes))
            && self.elements.holds(number(row.facts.elements))
    }
}

/// A key before its value.
#[derive(Clone, Copy)]
pub struct Head<'a> {
    pub db: u64,
    pub key: &'a [u8],
    pub kind: ValueType,
    pub attributes: Attributes,
    /// Where it begins in the file.
    pub at: u64,
}

impl Head<'_> {
    pub fn type_word(&self) -> &'static str {
        value::type_word(self.kind)
    }
}

/// A key and what its value was found to be.
pub struct Row<'a> {
    pub head: Head<'a>,
    pub encoding: &'static str,
    /// In the file, key and attributes included.
    pub bytes: u64,
    pub facts: Facts,
}

/// What a command does with the keys that a filter lets through.
pub trait Take: Visitor {
    /// Before the value's elements are shown. `false`: step over it.
    fn key(&mut self, _head: &Head<'_>) -> Result<bool> {
        Ok(true)
    }
    /// Behind its elements. `false`: that was enough, the walk ends.
    fn row(&mut self, row: &Row<'_>) -> Result<bool>;
    /// A library of functions; of a filter that lets every key through.
    fn function(&mut self, _code: &[u8]) -> Result<()> {
        Ok(())
    }
    /// Why a visitor's error ended the walk, if the fault was not the file's.
    fn failure(&mut self) -> Option<Failure> {
        None
    }
}

/// Walks all keys. The checksum is verified at the end.
pub fn walk(source: &mut Source, filter: &Filter, now: UnixMillis, take: &mut impl Take) -> Result<()> {
    let file = source.input.file.clone();
    let mut snapshot = Snapshot::open(&mut source.input, &file)?;
    let mut name = Vec::new();
    loop {
        let (kind, attributes) = match snapshot.next_item()? {
            Item::Key(kind, attributes) => (kind, attributes),
            Item::Function(code) => {
                // Who wants only some keys wants keys.
                if filter.wants_all() {
                    take.function(&code)?;
                }
                continue;
            }
            Item::End(_) => return Ok(()),
            _ => continue,
        };
        let (db, at) = (snapshot.db, snapshot.at);
        name.clear();
        name.extend_from_slice(snapshot.key());
        let head = Head { db, key: &name, kind, attributes, at };
        if !filter.wants_head(&head, now) || !take.key(&head)? {
            snapshot.skip(kind)?;
            continue;
        }
        let facts = match snapshot.value(kind, take) {
            Ok(facts) => facts,
            Err(failure) => return Err(take.failure().unwrap_or(failure)),
        };
        let encoding = value::encoding_word(kind, &facts);
        let row = Row { head, encoding, bytes: snapshot.offset() - at, facts };
        if filter.wants_value(&row) && !take.row(&row)? {
            return Ok(());
        }
    }
}

/// What can be told of a key in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Column {
    Db,
    Type,
    Encoding,
    Bytes,
    Elements,
    Longest,
    Ttl,
    Expires,
    Idle,
    Freq,
    Offset,
    Key,
}

impl Column {
    pub const ALL: [(&'static str, Column); 12] = [
        ("db", Column::Db),
        ("type", Column::Type),
        ("encoding", Column::Encoding),
        ("bytes", Column::Bytes),
        ("elements", Column::Elements),
        ("longest", Column::Longest),
        ("ttl", Column::Ttl),
        ("expires", Column::Expires),
        ("idle", Column::Idle),
        ("freq", Column::Freq),
        ("offset", Column::Offset),
        ("key", Column::Key),
    ];
    pub const USUAL: [Column; 7] = [
        Column::Db,
        Column::Type,
        Column::Encoding,
        Column::Bytes,
        Column::Elements,
        Column::Ttl,
        Column::Key,
    ];

    pub fn from_word(word: &str) -> Option<Column> {
        Column::ALL.iter().find(|(name, _)| *name == word).map(|(_, column)| *column)
    }
    pub fn word(self) -> &'static str {
        Column::ALL.iter().find(|(_, column)| *column == self).map_or("", |(name, _)| name)
    }
    /// Characters that most of its cells take in a table.
    fn width(self) -> usize {
        match self {
            Column::Db => 3,
            Column::Type => 6,
            Column::Encoding | Column::Elements | Column::Longest | Column::Bytes | Column::Idle => 10,
            Column::Ttl => 12,
            Column::Expires => 13,
            Column::Freq => 4,
            Column::Offset => 12,
            Column::Key => 0,
        }
    }
    fn is_text(self) -> bool {
        matches!(self, Column::Type | Column::Encoding | Column::Key)
    }

    /// A number, or nothing where the key has none.
    fn number(self, row: &Row<'_>, now: UnixMillis) -> Option<i128> {
        let attributes = &row.head.attributes;
        match self {
            Column::Db => Some(row.head.db.into()),
            Column::Bytes => Some(row.bytes.into()),
            Column::Elements => Some(row.facts.elements.into()),
            Column::Longest => Some(row.facts.longest.into()),
            Column::Ttl => attributes.expires.map(|at| i128::from(at) - i128::from(now.0)),
            Column::Expires => attributes.expires.map(i128::from),
            Column::Idle => attributes.idle.map(i128::from),
            Column::Freq => attributes.freq.map(i128::from),
            Column::Offset => Some(row.head.at.into()),
            Column::Type | Column::Encoding | Column::Key => None,
        }
    }
    fn text<'a>(self, row: &'a Row<'_>) -> &'a [u8] {
        match self {
            Column::Type => row.head.type_word().as_bytes(),
            Column::Encoding => row.encoding.as_bytes(),
            _ => row.head.key,
        }
    }
}

/// How a list of keys is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Table,
    Csv,
    /// An object a line.
    Json,
}

/// The line above a list, if its format has one.
pub fn heading(columns: &[Column], format: Format) -> String {
    match format {
        Format::Json => String::new(),
        Format::Csv => columns.iter().map(|c| c.word()).collect::<Vec<_>>().join(",") + "\n",
        Format::Table => {
            let cells = columns.iter().map(|column| pad(column.word(), *column));
            cells.collect::<Vec<_>>().join("  ").trim_end().to_string() + "\n"
        }
    }
}

/// Appends a key's line, with its end.
pub fn line(row: &Row<'_>, columns: &[Column], format: Format, now: UnixMillis, out: &mut Vec<u8>) {
    for (i, column) in columns.iter().enumerate() {
        match format {
            Format::Json => {
                out.extend_from_slice(if i > 0 { b",\"" } else { b"{\"" });
                out.extend_from_slice(column.word().as_bytes());
                out.extend_from_slice(b"\":");
            }
            Format::Csv => out.extend_from_slice(if i > 0 { b"," } else { b"" }),
            Format::Table => out.extend_from_slice(if i > 0 { b"  " } else { b"" }),
        }
        if column.is_text() {
            push_text(column.text(row), *column, format, out);
        } else {
            push_number(column.number(row, now), *column, format, out);
        }
    }
    out.extend_from_slice(if format == Format::Json { b"}\n" } else { b"\n" });
}

fn push_text(text: &[u8], column: Column, format: Format, out: &mut Vec<u8>) {
    let plain = text.iter().all(|byte| matches!(byte, b'!'..=b'~') && !matches!(byte, b'"' | b'\\' | b','));
    let start = out.len();
    match format {
        Format::Json => {
            out.push(b'"');
            text::push_json(out, text);
            out.push(b'"');
        }
        _ if plain => out.extend_from_slice(text),
        Format::Csv => out.extend_from_slice(csv(&shown(text)).as_bytes()),
        Format::Table => out.extend_from_slice(shown(text).as_bytes()),
    }
    if format == Format::Table {
        out.resize(out.len().max(start + column.width()), b' ');
    }
}

fn push_number(number: Option<i128>, column: Column, format: Format, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let cell = match (number, format) {
        (Some(number), _) => digits.format(number),
        (None, Format::Json) => "null",
        (None, Format::Csv) => "",
        (None, Format::Table) => "-",
    };
    if format == Format::Table {
        out.resize(out.len() + column.width().saturating_sub(cell.len()), b' ');
    }
    out.extend_from_slice(cell.as_bytes());
}

fn pad(cell: &str, column: Column) -> String {
    let width = column.width();
    if column.is_text() { format!("{cell:<width$}") } else { format!("{cell:>width$}") }
}

/// A cell of RFC 4180. One that a spreadsheet would take for a formula stays text.
fn csv(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct All {
        columns: Vec<Column>,
        format: Format,
        out: String,
    }
    impl crate::format::rdb::stream::Visit for All {}
    impl Visitor for All {}
    impl Take for All {
        fn row(&mut self, row: &Row<'_>) -> Result<bool> {
            let mut bytes = Vec::new();
            line(row, &self.columns, self.format, UnixMillis(1_000), &mut bytes);
            self.out += &String::from_utf8(bytes).unwrap();
            Ok(true)
        }
    }

    const FILE: &[u8] = b"REDIS0003\xfd\x01\0\0\0\0\x01a\x01v\xfd\x09\0\0\0\0\x02\xff,\x03xyz\
        \xfe\x03\x02\x05set:1\x02\x01x\x01y\x01\x06list:\x0a\x01\xc0\x07\xff";

    fn listed(filter: &Filter, columns: &[Column], format: Format) -> String {
        let raw = Box::new(std::io::Cursor::new(FILE.to_vec()));
        let input = input::of_reader(raw, Path::new("x"), None).unwrap();
        let mut all = All { columns: columns.to_vec(), format, out: String::new() };
        walk(&mut Source { input, note: None }, filter, UnixMillis(1_000), &mut all).unwrap();
        all.out
    }

    #[test]
    fn formats() {
        let columns = [Column::Db, Column::Ttl, Column::Elements, Column::Key];
        let all = Filter::default();
        assert_eq!(
            listed(&all, &columns, Format::Csv),
            "0,0,1,a\n0,8000,1,\"\\xff,\"\n3,,2,set:1\n3,,1,list:\\n\n"
        );
        assert_eq!(
            listed(&all, &columns, Format::Json),
            "{\"db\":0,\"ttl\":0,\"elements\":1,\"key\":\"a\"}\n{\"db\":0,\"ttl\":8000,\"elements\":1,\"key\":\"\\udcff,\"}\n\
             {\"db\":3,\"ttl\":null,\"elements\":2,\"key\":\"set:1\"}\n{\"db\":3,\"ttl\":null,\"elements\":1,\"key\":\"list:\\n\"}\n"
        );
        let table = listed(&all, &Column::USUAL, Format::Table);
        assert_eq!(
            table.lines().next().unwrap(),
            "  0  string  embstr              10           1             0  a"
        );
        assert_eq!(heading(&columns, Format::Table), " db           ttl    elements  key\n");
        assert_eq!(heading(&columns, Format::Csv), "db,ttl,elements,key\n");
    }

    #[test]
    fn filters() {
        let check = |change: &dyn Fn(&mut Filter), expected: &str| {
            let mut filter = Filter::default();
            change(&mut filter);
            let found = listed(&filter, &[Column::Key], Format::Csv);
            assert_eq!(found.lines().collect::<Vec<_>>().join(" "), expected, "{filter:?}");
        };
        check(&|f| f.dbs = vec![3], "set:1 list:\\n");
        check(&|f| f.types = vec!["list".into()], "list:\\n");
        check(&|f| f.encodings = vec!["hashtable".into()], "set:1");
        check(&|f| f.glob = Some(b"*:*".to_vec()), "set:1 list:\\n");
        check(&|f| f.regex = Some(Regex::new("^(a|set)").unwrap()), "a set:1");
        check(&|f| f.regex = Some(Regex::new(r"(?-u)\xff").unwrap()), "\"\\xff,\"");
        check(&|f| f.volatile = Some(true), "a \"\\xff,\"");
        check(&|f| f.volatile = Some(false), "set:1 list:\\n");
        check(&|f| f.ttl.from = Some(1), "\"\\xff,\"");
        check(&|f| f.ttl.to = Some(0), "a");
        check(&|f| f.size.from = Some(13), "\"\\xff,\"");
        check(&|f| f.elements = Span { from: Some(2), to: Some(2) }, "set:1");
        check(&|f| f.idle.from = Some(0), "");
    }
}
