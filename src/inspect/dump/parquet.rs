//! A writer of Parquet files, as much of the format as a flat table needs.
//!
//! ```text
//! PAR1 │ row group: one column chunk after another, each one page │ … │ metadata │ length of the metadata (4) │ PAR1
//! page = header │ if the column has empty cells: length (4), runs of "there" and "not there" │ values, one behind the other
//! ```
//!
//! | what | written as |
//! |---|---|
//! | header, metadata | Thrift's compact protocol: field number and type in a byte, numbers as zigzag varints |
//! | whether a cell is there | RLE of bit width 1: varint of twice the run's length, a byte 0 or 1 |
//! | numbers | 8 bytes, little-endian |
//! | texts | length (4 bytes, little-endian), bytes |
//!
//! Neither compressed nor with dictionaries: a file of this kind is an intermediate that analysis reads once, and any tool makes
//! it smaller. The crate `parquet` was rejected: it and Arrow are more code than all of this project, for one
//! output of one command. What is written here was read by pyarrow. In memory there is one row group, of
//! about [`GROUP`] bytes, and a few hundred bytes of metadata for each that was written.
//!
//! (Apache Parquet: README.md, Encodings.md and parquet.thrift of the format's repository)

use std::io::{self, Write};

const MAGIC: &[u8; 4] = b"PAR1";
/// Bytes of cells, and rows, of a row group.
const GROUP: usize = 8 << 20;
const ROWS: u64 = 1 << 20;

/// What a column holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Number,
    /// Milliseconds since 1970, UTC.
    Time,
    Float,
    /// UTF-8.
    Text,
}

impl Kind {
    /// parquet.thrift: Type
    fn physical(self) -> i64 {
        match self {
            Kind::Number | Kind::Time => 2,
            Kind::Float => 5,
            Kind::Text => 6,
        }
    }
    /// parquet.thrift: ConvertedType
    fn converted(self) -> Option<i64> {
        match self {
            Kind::Text => Some(0),
            Kind::Time => Some(9),
            Kind::Number | Kind::Float => None,
        }
    }
}

/// A column's name, what it holds, and whether cells may be empty.
pub type Field = (&'static str, Kind, bool);

#[derive(Clone, Copy, Debug)]
pub enum Cell<'c> {
    Number(i64),
    Float(f64),
    Text(&'c str),
    Empty,
}

pub struct Parquet<'o> {
    out: &'o mut dyn Write,
    fields: &'static [Field],
    columns: Vec<Column>,
    /// Rows in the group that is being filled.
    rows: u64,
    /// Written before it.
    all_rows: u64,
    at: u64,
    groups: Thrift,
    group_count: usize,
}

/// A column's part of the group.
#[derive(Default)]
struct Column {
    values: Vec<u8>,
    /// Runs of cells that are there, or not.
    runs: Vec<(bool, u64)>,
}

impl<'o> Parquet<'o> {
    pub fn new(fields: &'static [Field], out: &'o mut dyn Write) -> io::Result<Parquet<'o>> {
        out.write_all(MAGIC)?;
        let columns = fields.iter().map(|_| Column::default()).collect();
        let (at, groups) = (MAGIC.len() as u64, Thrift::default());
        Ok(Parquet { out, fields, columns, rows: 0, all_rows: 0, at, groups, group_count: 0 })
    }

    /// Adds a row, a cell for each column. A cell of another kind than its column's counts as empty.
    pub fn row(&mut self, cells: &[Cell<'_>]) -> io::Result<()> {
        let mut bytes = 0;
        for ((column, (_, kind, _)), cell) in self.columns.iter_mut().zip(self.fields).zip(cells) {
            column.put(*kind, *cell);
            bytes += column.values.len();
        }
        self.rows += 1;
        if bytes >= GROUP || self.rows >= ROWS { self.end_group() } else { Ok(()) }
    }

    fn end_group(&mut self) -> io::Result<()> {
        let (mut chunks, mut group_bytes) = (Thrift::default(), 0);
        for (column, (name, kind, optional)) in self.columns.iter_mut().zip(self.fields) {
            let mut page = Vec::new();
            if *optional {
                page.extend_from_slice(&[0; 4]);
                for (is_there, count) in column.runs.drain(..) {
                    varint(count << 1, &mut page);
                    page.push(u8::from(is_there));
                }
                let len = (page.len() - 4) as u32;
                page[..4].copy_from_slice(&len.to_le_bytes());
            }
            column.runs.clear();
            let size = (page.len() + column.values.len()) as i64;
            let header = page_header(size, self.rows as i64);
            for part in [&header, &page, &column.values] {
                self.out.write_all(part)?;
            }
            column.values.clear();
            let bytes = header.len() as i64 + size;
            chunks.chunk(name, *kind, [self.rows as i64, bytes, self.at as i64]);
            self.at += bytes as u64;
            group_bytes += bytes;
        }
        self.groups.begin();
        self.groups.list(1, STRUCT, self.fields.len());
        self.groups.bytes.append(&mut chunks.bytes);
        self.groups.i64(2, group_bytes).i64(3, self.rows as i64).stop();
        self.group_count += 1;
        self.all_rows += std::mem::take(&mut self.rows);
        Ok(())
    }

    /// Writes what is still in memory, and the metadata. How many rows there are.
    pub fn finish(mut self) -> io::Result<u64> {
        if self.rows > 0 {
            self.end_group()?;
        }
        let mut meta = Thrift::default();
        meta.begin();
        meta.i32(1, 1).list(2, STRUCT, self.fields.len() + 1);
        meta.schema(self.fields);
        meta.i64(3, self.all_rows as i64).list(4, STRUCT, self.group_count);
        meta.bytes.append(&mut self.groups.bytes);
        meta.binary(6, "ringhold-inspect").stop();
        self.out.write_all(&meta.bytes)?;
        self.out.write_all(&(meta.bytes.len() as u32).to_le_bytes())?;
        self.out.write_all(MAGIC)?;
        Ok(self.all_rows)
    }
}

impl Column {
    fn put(&mut self, kind: Kind, cell: Cell<'_>) {
        let is_there = match (kind, cell) {
            (Kind::Number | Kind::Time, Cell::Number(number)) => {
                self.values.extend_from_slice(&number.to_le_bytes());
                true
            }
            (Kind::Float, Cell::Float(number)) => {
                self.values.extend_from_slice(&number.to_le_bytes());
                true
            }
            (Kind::Text, Cell::Text(text)) => {
                self.values.extend_from_slice(&(text.len() as u32).to_le_bytes());
                self.values.extend_from_slice(text.as_bytes());
                true
            }
            _ => false,
        };
        match self.runs.last_mut() {
            Some((last, count)) if *last == is_there => *count += 1,
            _ => self.runs.push((is_there, 1)),
        }
    }
}

/// parquet.thrift: PageHeader of a data page with values one behind the other.
fn page_header(size: i64, cells: i64) -> Vec<u8> {
    const PLAIN: i64 = 0;
    const RLE: i64 = 3;
    let mut header = Thrift::default();
    header.begin();
    header.i32(1, 0).i32(2, size).i32(3, size).field(5, STRUCT);
    header.begin();
    header.i32(1, cells).i32(2, PLAIN).i32(3, RLE).i32(4, RLE).stop();
    header.stop();
    header.bytes
}

const I32: u8 = 5;
const I64: u8 = 6;
const BINARY: u8 = 8;
const LIST: u8 = 9;
const STRUCT: u8 = 12;

/// Structures in Thrift's compact protocol: fields count up in each.
#[derive(Default)]
struct Thrift {
    bytes: Vec<u8>,
    /// The last field of each structure that is open.
    open: Vec<u8>,
}

impl Thrift {
    fn begin(&mut self) {
        self.open.push(0);
    }
    fn stop(&mut self) {
        self.bytes.push(0);
        self.open.pop();
    }
    /// No field here is more than 15 behind the one before it.
    fn field(&mut self, number: u8, kind: u8) {
        if let Some(last) = self.open.last_mut() {
            self.bytes.push((number - *last) << 4 | kind);
            *last = number;
        }
    }
    fn zigzag(&mut self, value: i64) {
        varint((value << 1 ^ value >> 63) as u64, &mut self.bytes);
    }
    fn i32(&mut self, number: u8, value: i64) -> &mut Thrift {
        self.field(number, I32);
        self.zigzag(value);
        self
    }
    fn i64(&mut self, number: u8, value: i64) -> &mut Thrift {
        self.field(number, I64);
        self.zigzag(value);
        self
    }
    fn text(&mut self, text: &str) {
        varint(text.len() as u64, &mut self.bytes);
        self.bytes.extend_from_slice(text.as_bytes());
    }
    fn binary(&mut self, number: u8, text: &str) -> &mut Thrift {
        self.field(number, BINARY);
        self.text(text);
        self
    }
    /// The elements come next.
    fn list(&mut self, number: u8, kind: u8, len: usize) -> &mut Thrift {
        self.field(number, LIST);
        if len < 15 {
            self.bytes.push((len as u8) << 4 | kind);
        } else {
            self.bytes.push(0xf0 | kind);
            varint(len as u64, &mut self.bytes);
        }
        self
    }

    /// parquet.thrift: SchemaElement of the table, then of each column.
    fn schema(&mut self, fields: &[Field]) {
        self.begin();
        self.binary(4, "keys").i32(5, fields.len() as i64).stop();
        for (name, kind, optional) in fields {
            self.begin();
            self.i32(1, kind.physical()).i32(3, i64::from(*optional)).binary(4, name);
            if let Some(converted) = kind.converted() {
                self.i32(6, converted);
            }
            self.stop();
        }
    }

    /// parquet.thrift: ColumnChunk with its ColumnMetaData.
    fn chunk(&mut self, name: &str, kind: Kind, [cells, bytes, at]: [i64; 3]) {
        self.begin();
        self.i64(2, at).field(3, STRUCT);
        self.begin();
        self.i32(1, kind.physical()).list(2, I32, 2);
        self.zigzag(0);
        self.zigzag(3);
        self.list(3, BINARY, 1).text(name);
        self.i32(4, 0).i64(5, cells).i64(6, bytes).i64(7, bytes).i64(9, at).stop();
        self.stop();
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
