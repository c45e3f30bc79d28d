//! Keys as a table, for analysis: a row for each element, with the key's own columns repeated. As CSV (RFC 4180) or Parquet.
//!
//! | column | holds |
//! |---|---|
//! | db, key, type | |
//! | expires | Unix milliseconds (Parquet: a time); empty without a deadline |
//! | position | of the element in its value, from 0 |
//! | element | member, field, a stream entry's ID; empty for strings and lists |
//! | score | of a sorted set's member |
//! | length | bytes of the value |
//! | value | text of a string, item of a list, value of a field; of a stream entry a JSON array of fields and values |
//!
//! A value of a module is a row without element and value. Bytes that are no UTF-8 are written as `\xHH`, in CSV also whatever is not
//! printable, so that a row is a line; and what is longer than [`LONGEST`] bytes is cut, which `length` shows. For a copy that
//! loses nothing there are JSON and RESP. Groups of streams are not in the table.

use super::Sink;
use super::id_text;
use super::parquet::{Cell, Field, Kind, Parquet};
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{LoadError, Piece, stream};
use crate::inspect::keys::{Head, Row, Take};
use crate::inspect::text::{Json, shown};
use crate::inspect::value::{Role, Visitor};
use crate::inspect::{Failure, Result};

/// Bytes of a text that are written.
pub const LONGEST: usize = 1 << 20;

const FIELDS: [Field; 9] = [
    ("db", Kind::Number, false),
    ("key", Kind::Text, false),
    ("type", Kind::Text, false),
    ("expires", Kind::Time, true),
    ("position", Kind::Number, false),
    ("element", Kind::Text, true),
    ("score", Kind::Float, true),
    ("length", Kind::Number, true),
    ("value", Kind::Text, true),
];

enum Output<'o> {
    Csv(Sink<'o>),
    Parquet(Box<Parquet<'o>>),
}

pub struct Table<'o> {
    output: Output<'o>,
    failure: Option<Failure>,
    /// Of the key.
    db: i64,
    key: String,
    kind: &'static str,
    expires: Option<i64>,
    position: i64,
    element: Option<Vec<u8>>,
    score: Option<f64>,
    value: Option<Vec<u8>>,
    length: u64,
}

impl<'o> Table<'o> {
    pub fn csv(mut sink: Sink<'o>) -> Table<'o> {
        let names: Vec<&str> = FIELDS.iter().map(|(name, _, _)| *name).collect();
        sink.buffer.extend_from_slice((names.join(",") + "\r\n").as_bytes());
        Table::new(Output::Csv(sink))
    }

    pub fn parquet(out: &'o mut dyn std::io::Write) -> Result<Table<'o>> {
        let parquet = Parquet::new(&FIELDS, out).map_err(Failure::Output)?;
        Ok(Table::new(Output::Parquet(Box::new(parquet))))
    }

    fn new(output: Output<'o>) -> Table<'o> {
        Table {
            output,
            failure: None,
            db: 0,
            key: String::new(),
            kind: "",
            expires: None,
            position: 0,
            element: None,
            score: None,
            value: None,
            length: 0,
        }
    }

    /// Writes what is still in memory.
    pub fn finish(self) -> Result<()> {
        match self.output {
            Output::Csv(mut sink) => sink.flush().map_err(|error| sink.failed(error)),
            Output::Parquet(parquet) => parquet.finish().map(|_| ()).map_err(Failure::Output),
        }
    }

    fn end_row(&mut self) -> std::result::Result<(), LoadError> {
        let length = self.value.is_some().then_some(self.length as i64);
        let (element, value) = (self.element.take(), self.value.take());
        let score = self.score.take();
        match &mut self.output {
            Output::Csv(sink) => {
                let out = &mut sink.buffer;
                number(Some(self.db), out);
                out.push(b',');
                cell(&self.key, out);
                out.push(b',');
                out.extend_from_slice(self.kind.as_bytes());
                for value in [self.expires, Some(self.position)] {
                    out.push(b',');
                    number(value, out);
                }
                out.push(b',');
                element.iter().for_each(|text| cell(&shown(text), out));
                out.push(b',');
                score.iter().for_each(|score| crate::resp::number::format_f64(*score, out));
                out.push(b',');
                number(length, out);
                out.push(b',');
                value.iter().for_each(|text| cell(&shown(text), out));
                out.extend_from_slice(b"\r\n");
                sink.spill()?;
            }
            Output::Parquet(parquet) => {
                let (element, value) = (element.map(utf8), value.map(utf8));
                let number = |number: Option<i64>| number.map_or(Cell::Empty, Cell::Number);
                let row = [
                    Cell::Number(self.db),
                    Cell::Text(&self.key),
                    Cell::Text(self.kind),
                    number(self.expires),
                    Cell::Number(self.position),
                    element.as_deref().map_or(Cell::Empty, Cell::Text),
                    score.map_or(Cell::Empty, Cell::Float),
                    number(length),
                    value.as_deref().map_or(Cell::Empty, Cell::Text),
                ];
                if let Err(error) = parquet.row(&row) {
                    self.failure = Some(Failure::Output(error));
                    return Err(LoadError::Stopped);
                }
            }
        }
        self.position += 1;
        Ok(())
    }

    /// Takes in a part of the element's name or of its value.
    fn put(place: &mut Option<Vec<u8>>, bytes: &[u8]) {
        let text = place.get_or_insert_default();
        let kept = bytes.len().min(LONGEST - text.len());
        text.extend_from_slice(&bytes[..kept]);
    }
}

fn number(number: Option<i64>, out: &mut Vec<u8>) {
    if let Some(number) = number {
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
}

/// A cell of RFC 4180.
fn cell(text: &str, out: &mut Vec<u8>) {
    if text.contains([',', '"']) {
        out.push(b'"');
        out.extend_from_slice(text.replace('"', "\"\"").as_bytes());
        out.push(b'"');
    } else {
        out.extend_from_slice(text.as_bytes());
    }
}

/// As it is, with bytes that are no part of UTF-8 escaped.
fn utf8(bytes: Vec<u8>) -> String {
    let bytes = match String::from_utf8(bytes) {
        Ok(text) => return text,
        Err(error) => error.into_bytes(),
    };
    let mut out = String::new();
    for chunk in bytes.utf8_chunks() {
        out += chunk.valid();
        chunk.invalid().iter().for_each(|byte| out += &format!("\\x{byte:02x}"));
    }
    out
}

impl Visitor for Table<'_> {
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> std::result::Result<(), LoadError> {
        match role {
            Role::Member | Role::Field => Table::put(&mut self.element, piece.bytes),
            Role::Text | Role::Item | Role::Value => {
                Table::put(&mut self.value, piece.bytes);
                self.length = piece.len;
            }
        }
        let waits = role == Role::Field || role == Role::Member && self.kind == "zset";
        if piece.is_last() && !waits { self.end_row() } else { Ok(()) }
    }

    fn score(&mut self, score: f64) -> std::result::Result<(), LoadError> {
        self.score = Some(score);
        self.end_row()
    }
}

impl stream::Visit for Table<'_> {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> std::result::Result<(), LoadError> {
        let mut digits = itoa::Buffer::new();
        let mut ended = Ok(());
        let whole = stream::block_entries(first, block, &mut |(ms, seq), fields| {
            let mut json = Json::new();
            json.array(|j| {
                for (field, value) in fields {
                    j.text(field.bytes(&mut digits));
                    j.text(value.bytes(&mut digits));
                }
            });
            let id = id_text((u128::from(ms) << 64 | u128::from(seq)).to_be_bytes());
            let json = json.into_bytes();
            self.length = json.len() as u64;
            Table::put(&mut self.element, id.as_bytes());
            Table::put(&mut self.value, &json);
            if ended.is_ok() {
                ended = self.end_row();
            }
        });
        // The block was checked before it was shown.
        debug_assert!(whole.is_some());
        ended
    }
}

impl Take for Table<'_> {
    fn key(&mut self, head: &Head<'_>) -> Result<bool> {
        self.db = i64::try_from(head.db).unwrap_or(i64::MAX);
        let name = &head.key[..head.key.len().min(LONGEST)];
        self.key = match self.output {
            Output::Csv(_) => shown(name),
            Output::Parquet(_) => utf8(name.to_vec()),
        };
        (self.kind, self.expires, self.position) = (head.type_word(), head.attributes.expires, 0);
        Ok(true)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<bool> {
        if row.head.type_word() == "module" {
            self.end_row().map_err(|error| self.failure().unwrap_or(Failure::Usage(error.to_string())))?;
        }
        Ok(true)
    }

    fn failure(&mut self) -> Option<Failure> {
        let ours = self.failure.take();
        ours.or_else(|| match &mut self.output {
            Output::Csv(sink) => sink.take_failure(),
            Output::Parquet(_) => None,
        })
    }
}
