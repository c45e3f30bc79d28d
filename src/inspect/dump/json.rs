//! One JSON object a line:
//!
//! ```text
//! {"db":0,"key":"k","type":"hash","expires":1700000000000,"value":{"field":"value"}}
//! ```
//!
//! | type | value |
//! |---|---|
//! | string | text |
//! | list, set | array of texts |
//! | hash | object |
//! | zset | array of `[member, score]`, infinite scores as `"inf"` and `"-inf"` |
//! | stream | `{"entries":[[id,[field,value,…]],…],"length":…,"last":id,"groups":[{"name":…,"last":id,"pending":[[id,time,deliveries],…],"consumers":[{"name":…,"pending":[id,…]},…]},…]}` |
//! | module | `null` |
//!
//! Bytes are written as [`text`](crate::inspect::text) says: any byte string comes back exactly.

use super::{Sink, id_text};
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{LoadError, Piece, stream};
use crate::inspect::keys::{Head, Row, Take};
use crate::inspect::text::push_json;
use crate::inspect::value::{Role, Visitor};
use crate::inspect::{Failure, Result};

type Walked = std::result::Result<(), LoadError>;

pub struct JsonLines<'o> {
    sink: Sink<'o>,
    /// What ends the value.
    closing: &'static str,
    /// An element was written before.
    follows: bool,
    part: Part,
    written: u64,
    most: u64,
}

/// Where in a stream.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Entries,
    Groups,
    Pending,
    Consumers,
    Owned,
}

impl<'o> JsonLines<'o> {
    pub fn new(sink: Sink<'o>) -> JsonLines<'o> {
        JsonLines { sink, closing: "", follows: false, part: Part::Entries, written: 0, most: u64::MAX }
    }

    /// For the first key alone.
    pub fn first(sink: Sink<'o>) -> JsonLines<'o> {
        JsonLines { most: 1, ..JsonLines::new(sink) }
    }

    /// Writes what is still in memory. How many keys there were.
    pub fn finish(mut self) -> Result<u64> {
        self.sink.flush().map_err(|error| self.sink.failed(error))?;
        Ok(self.written)
    }

    fn put(&mut self, text: &str) {
        self.sink.buffer.extend_from_slice(text.as_bytes());
    }
    fn quoted(&mut self, bytes: &[u8]) {
        self.sink.buffer.push(b'"');
        push_json(&mut self.sink.buffer, bytes);
        self.sink.buffer.push(b'"');
    }
    /// A comma before every element but the first.
    fn next(&mut self) {
        if std::mem::replace(&mut self.follows, true) {
            self.sink.buffer.push(b',');
        }
    }
    /// Ends what is open in a stream, to stand in `part`.
    fn enter(&mut self, part: Part) {
        let closing = match (self.part, part) {
            (Part::Owned, Part::Consumers) => "]}",
            (Part::Owned, _) => "]}]}",
            (Part::Consumers, Part::Groups) => "]}",
            (Part::Pending, Part::Groups) => "],\"consumers\":[]}",
            (Part::Pending, Part::Consumers) => "],\"consumers\":[",
            _ => "",
        };
        self.put(closing);
        self.part = part;
    }
}

impl Visitor for JsonLines<'_> {
    #[inline]
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> Walked {
        if piece.is_first() {
            match role {
                Role::Text => {}
                Role::Value => self.put(":"),
                Role::Member if self.closing == "]]" => {
                    self.next();
                    self.put("[");
                }
                Role::Item | Role::Member | Role::Field => self.next(),
            }
            self.sink.buffer.push(b'"');
        }
        push_json(&mut self.sink.buffer, piece.bytes);
        if piece.is_last() {
            self.sink.buffer.push(b'"');
        }
        self.sink.spill()
    }

    fn score(&mut self, score: f64) -> Walked {
        match score {
            f64::INFINITY => self.put(",\"inf\"]"),
            f64::NEG_INFINITY => self.put(",\"-inf\"]"),
            score => {
                self.put(",");
                crate::resp::number::format_f64(score, &mut self.sink.buffer);
                self.put("]");
            }
        }
        Ok(())
    }
}

impl stream::Visit for JsonLines<'_> {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> Walked {
        let mut digits = itoa::Buffer::new();
        let mut spilled = Ok(());
        let whole = stream::block_entries(first, block, &mut |(ms, seq), fields| {
            self.next();
            self.put(&format!("[\"{ms}-{seq}\",["));
            for (i, (field, value)) in fields.into_iter().enumerate() {
                self.put(if i > 0 { "," } else { "" });
                self.quoted(field.bytes(&mut digits));
                self.put(",");
                self.quoted(value.bytes(&mut digits));
            }
            self.put("]]");
            if spilled.is_ok() {
                spilled = self.sink.spill();
            }
        });
        // The block was checked before it was shown.
        debug_assert!(whole.is_some());
        spilled
    }

    fn tail(&mut self, numbers: &[u64]) -> Walked {
        let [length, ms, seq, ..] = numbers else { return Ok(()) };
        self.put(&format!("],\"length\":{length},\"last\":\"{ms}-{seq}\",\"groups\":["));
        (self.part, self.follows) = (Part::Groups, false);
        Ok(())
    }

    fn group(&mut self, name: &[u8], numbers: &[u64]) -> Walked {
        let first = self.part == Part::Groups;
        self.enter(Part::Groups);
        self.put(if first { "{\"name\":" } else { ",{\"name\":" });
        self.quoted(name);
        if let [ms, seq, ..] = numbers {
            self.put(&format!(",\"last\":\"{ms}-{seq}\",\"pending\":["));
        }
        (self.part, self.follows) = (Part::Pending, false);
        self.sink.spill()
    }

    fn pending(&mut self, id: stream::Id, time: i64, deliveries: u64) -> Walked {
        self.next();
        self.put(&format!("[\"{}\",{time},{deliveries}]", id_text(id)));
        self.sink.spill()
    }

    fn consumer(&mut self, name: &[u8]) -> Walked {
        let first = self.part == Part::Pending;
        self.enter(Part::Consumers);
        self.put(if first { "{\"name\":" } else { ",{\"name\":" });
        self.quoted(name);
        self.put(",\"pending\":[");
        (self.part, self.follows) = (Part::Owned, false);
        self.sink.spill()
    }

    fn owned(&mut self, id: stream::Id) -> Walked {
        self.next();
        self.put(&format!("\"{}\"", id_text(id)));
        self.sink.spill()
    }
}

impl Take for JsonLines<'_> {
    fn key(&mut self, head: &Head<'_>) -> Result<bool> {
        let mut digits = itoa::Buffer::new();
        self.put("{\"db\":");
        self.put(digits.format(head.db));
        self.put(",\"key\":");
        self.quoted(head.key);
        self.put(",\"type\":\"");
        self.put(head.type_word());
        self.put("\"");
        if let Some(expires) = head.attributes.expires {
            self.put(",\"expires\":");
            self.put(digits.format(expires));
        }
        if let Some(idle) = head.attributes.idle {
            self.put(&format!(",\"idle\":{idle}"));
        }
        if let Some(freq) = head.attributes.freq {
            self.put(&format!(",\"freq\":{freq}"));
        }
        let (opening, closing) = match head.type_word() {
            "list" | "set" => ("[", "]"),
            "hash" => ("{", "}"),
            // The second bracket is never written: it tells members that have scores.
            "zset" => ("[", "]]"),
            "stream" => ("{\"entries\":[", ""),
            "module" => ("null", ""),
            _ => ("", ""),
        };
        self.put(",\"value\":");
        self.put(opening);
        (self.closing, self.follows, self.part) = (closing, false, Part::Entries);
        Ok(true)
    }

    fn row(&mut self, row: &Row<'_>) -> Result<bool> {
        if row.head.type_word() == "stream" {
            self.enter(Part::Groups);
            self.put("]}");
        }
        self.put(if self.closing == "]]" { "]" } else { self.closing });
        self.put("}\n");
        self.sink.spill().map_err(|error| self.sink.failed(error))?;
        self.written += 1;
        Ok(self.written < self.most)
    }

    fn failure(&mut self) -> Option<Failure> {
        self.sink.take_failure()
    }
}
