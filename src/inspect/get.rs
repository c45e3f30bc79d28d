//! One key's value, for a person: a line that says what it is, then an element a line.
//!
//! | type | a line |
//! |---|---|
//! | string | the text |
//! | list, set | an element |
//! | hash | field, tab, value |
//! | zset | score, tab, member |
//! | stream | ID, then fields and values, between tabs; `group`, `consumer`, `pending` lines |
//!
//! Everything is escaped, except the text of a string that is asked for raw. A sorted set's member waits for its score, no other
//! element is held.

use std::io::{Read, Write as _};

use super::dump::Sink;
use super::keys::{Head, Row, Take};
use super::spool::Spool;
use super::text::{shown, utc};
use super::value::{Role, Visitor};
use super::{Failure, Result};
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{LoadError, Piece, stream};

/// Of a member that waits for its score; as much of it is escaped at a time.
const IN_MEMORY: usize = 64 << 10;

type Walked = std::result::Result<(), LoadError>;

/// Shows the first key that it meets; the filter must be for its name.
pub struct Show<'o> {
    raw: bool,
    sink: Sink<'o>,
    /// Waits for its score.
    member: Spool,
    has_scores: bool,
    found: bool,
}

impl<'o> Show<'o> {
    /// `raw`: nothing but the bytes of a string.
    pub fn new(raw: bool, sink: Sink<'o>) -> Show<'o> {
        Show { raw, sink, member: Spool::new(IN_MEMORY), has_scores: false, found: false }
    }

    /// Writes what is still in memory. Whether the key was there.
    pub fn finish(mut self) -> Result<bool> {
        self.sink.flush().map_err(|error| self.sink.failed(error))?;
        Ok(self.found)
    }

    fn put(&mut self, text: &str) {
        self.sink.buffer.extend_from_slice(text.as_bytes());
    }
    fn line(&mut self, text: &str) -> Walked {
        self.put(text);
        self.put("\n");
        self.sink.spill()
    }
}

impl Show<'_> {
    /// A text of any length, escaped a piece at a time.
    fn long(&mut self, text: &mut dyn Read) -> Walked {
        let mut piece = vec![0; IN_MEMORY];
        loop {
            match text.read(&mut piece).map_err(|error| self.sink.stop(Failure::Output(error)))? {
                0 => return Ok(()),
                got => self.put(&shown(&piece[..got])),
            }
            self.sink.spill()?;
        }
    }
}

impl Visitor for Show<'_> {
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> Walked {
        if self.raw {
            self.sink.buffer.extend_from_slice(piece.bytes);
            return self.sink.spill();
        }
        if role == Role::Member && self.has_scores {
            self.member.put(piece.bytes);
            return Ok(());
        }
        self.put(&shown(piece.bytes));
        if piece.is_last() {
            self.put(if role == Role::Field { "\t" } else { "\n" });
        }
        self.sink.spill()
    }

    fn score(&mut self, score: f64) -> Walked {
        let mut text = Vec::new();
        crate::resp::number::format_f64(score, &mut text);
        text.push(b'\t');
        self.sink.buffer.extend_from_slice(&text);
        let mut member = std::mem::replace(&mut self.member, Spool::new(IN_MEMORY));
        member.check().map_err(|failure| self.sink.stop(failure))?;
        match member.in_memory() {
            Some(bytes) => self.put(&shown(bytes)),
            None => self.long(&mut member.reader())?,
        }
        member.clear();
        self.member = member;
        self.put("\n");
        self.sink.spill()
    }
}

impl stream::Visit for Show<'_> {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> Walked {
        let mut spilled = Ok(());
        let whole = stream::block_entries(first, block, &mut |(ms, seq), fields| {
            let mut line = format!("{ms}-{seq}");
            for (field, value) in fields {
                line += &format!("\t{}\t{}", shown(&field.to_vec()), shown(&value.to_vec()));
            }
            let written = self.line(&line);
            if spilled.is_ok() {
                spilled = written;
            }
        });
        // The block was checked before it was shown.
        debug_assert!(whole.is_some());
        spilled
    }
    fn group(&mut self, name: &[u8], numbers: &[u64]) -> Walked {
        let last = numbers.iter().take(2).map(u64::to_string).collect::<Vec<_>>().join("-");
        self.line(&format!("group\t{}\tlast {last}", shown(name)))
    }
    fn pending(&mut self, id: stream::Id, time: i64, deliveries: u64) -> Walked {
        let id = super::dump::id_text(id);
        self.line(&format!("pending\t{id}\t{} UTC\t{deliveries} times", utc(time)))
    }
    fn consumer(&mut self, name: &[u8]) -> Walked {
        self.line(&format!("consumer\t{}", shown(name)))
    }
}

impl Take for Show<'_> {
    fn key(&mut self, head: &Head<'_>) -> Result<bool> {
        self.found = true;
        self.has_scores = head.type_word() == "zset";
        if self.raw {
            if head.type_word() != "string" {
                let what =
                    format!("'{}' is a {}: only strings can be raw", shown(head.key), head.type_word());
                return Err(Failure::Usage(what));
            }
            return Ok(true);
        }
        let expires = match head.attributes.expires {
            Some(at) => format!("expires {} UTC", utc(at)),
            None => "no deadline".into(),
        };
        // Writing to memory cannot fail.
        let _infallible = writeln!(
            self.sink.buffer,
            "# {} in db {}, {expires}, at byte {} of the file",
            head.type_word(),
            head.db,
            head.at
        );
        Ok(true)
    }

    fn row(&mut self, _: &Row<'_>) -> Result<bool> {
        Ok(false)
    }

    fn failure(&mut self) -> Option<Failure> {
        self.sink.take_failure()
    }
}
