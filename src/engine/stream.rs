//! From effects to stream bytes: SELECT, MULTI/EXEC wrapping, encoding once.
//!
//! A unit is what one command (or one transaction, or one expiry) did. Its operations are collected while it
//! runs and closed together: one operation stands alone, several are wrapped in MULTI … EXEC, and a SELECT is put
//! before the first operation of another database (inside the MULTI, as stock does, so that a replica cut off
//! before EXEC has not moved). Nothing of a unit is visible before it is closed, so the stream's end always stands
//! between units.
//!
//! The database that the stream has selected is unknown after a start, a promotion and a full-sync cut; the
//! next operation then emits SELECT whatever its database (rule 22).

use crate::resp::args::{Args, encode_command};
use crate::units::Offset;

/// Bytes after which a unit's end is remembered as a place where the log may put a mark: a quarter of the distance
/// that a reader of the log tolerates between marks.
const CUT_EVERY: usize = 16 * 1024;

struct Op {
    db: Option<u32>,
    end: usize,
}

#[derive(Default)]
pub struct Stream {
    /// Bytes of closed units not yet taken by the driver.
    out: Vec<u8>,
    /// Ends of units within `out`, at least [`CUT_EVERY`] apart; the end of `out` is one implicitly.
    cuts: Vec<usize>,
    /// Operations of the open unit, encoded one after the other.
    scratch: Vec<u8>,
    ops: Vec<Op>,
    /// The database that the stream has selected.
    db: Option<u32>,
    pub end: Offset,
    /// End of the last unit that changed data: what replies wait for with `appendfsync always`.
    pub data_end: Offset,
    /// Units longer than this do not fit into the ring.
    pub ring_limit: u64,
    /// End of the last unit that did not.
    pub oversized_end: Offset,
}

impl Stream {
    /// A stream that goes on at `end`, its database unknown to readers.
    pub fn at(end: Offset) -> Stream {
        Stream { end, data_end: end, ring_limit: u64::MAX, ..Stream::default() }
    }

    /// The next operation must say its database.
    pub fn forget_db(&mut self) {
        self.db = None;
    }

    pub fn db(&self) -> Option<u32> {
        self.db
    }

    pub fn set_db(&mut self, db: Option<u32>) {
        self.db = db;
    }

    /// Adds an operation to the open unit. `canonical` bytes are used as they are.
    pub fn op(&mut self, db: u32, args: Args<'_>, canonical: Option<&[u8]>) {
        match canonical {
            Some(bytes) => self.scratch.extend_from_slice(bytes),
            None => args.encode(&mut self.scratch),
        }
        self.ops.push(Op { db: Some(db), end: self.scratch.len() });
    }

    /// Adds an operation that belongs to no database (PING, GETACK).
    pub fn op_without_db(&mut self, args: &[&[u8]]) {
        encode_command(args.iter().copied(), &mut self.scratch);
        self.ops.push(Op { db: None, end: self.scratch.len() });
    }

    /// The same for a client's command (PUBLISH).
    pub fn message(&mut self, args: Args<'_>) {
        args.encode(&mut self.scratch);
        self.ops.push(Op { db: None, end: self.scratch.len() });
    }

    pub fn open_ops(&self) -> usize {
        self.ops.len()
    }

    /// Closes the open unit; `true` if it had any operation. One without a database holds no replies (rule 13).
    pub fn close_unit(&mut self) -> bool {
        if self.ops.is_empty() {
            return false;
        }
        let data = self.ops.iter().any(|op| op.db.is_some());
        let before = self.out.len();
        let wrap = self.ops.len() > 1;
        if wrap {
            self.out.extend_from_slice(b"*1\r\n$5\r\nMULTI\r\n");
        }
        let mut start = 0;
        for op in &self.ops {
            if op.db.is_some() && op.db != self.db {
                let mut number = itoa::Buffer::new();
                let number = number.format(op.db.unwrap_or(0)).as_bytes();
                encode_command([b"SELECT".as_slice(), number].into_iter(), &mut self.out);
                self.db = op.db;
            }
            self.out.extend_from_slice(&self.scratch[start..op.end]);
            start = op.end;
        }
        if wrap {
            self.out.extend_from_slice(b"*1\r\n$4\r\nEXEC\r\n");
        }
        self.ops.clear();
        self.scratch.clear();
        if self.scratch.capacity() > 1 << 20 {
            self.scratch = Vec::new();
        }
        self.count((self.out.len() - before) as u64, data);
        true
    }

    /// Appends a unit that a primary made, byte for byte; `db` is selected after it. No unit of our own may be open.
    pub fn append_verbatim(&mut self, unit: &[u8], db: u32, data: bool) {
        debug_assert!(self.ops.is_empty(), "a replica makes no units of its own");
        self.out.extend_from_slice(unit);
        self.db = Some(db);
        self.count(unit.len() as u64, data);
    }

    /// A unit of `len` bytes was put at the end of `out`.
    fn count(&mut self, len: u64, data: bool) {
        self.end += len;
        if data {
            self.data_end = self.end;
        }
        if len > self.ring_limit {
            self.oversized_end = self.end;
        }
        if self.out.len() - self.cuts.last().copied().unwrap_or(0) >= CUT_EVERY {
            self.cuts.push(self.out.len());
        }
    }

    /// Forgets the operations of the open unit (a transaction that turned out to do nothing).
    pub fn drop_unit(&mut self) {
        self.ops.clear();
        self.scratch.clear();
    }

    /// Bytes of whole units produced since the last [`Stream::clear`], and the unit ends within them.
    pub fn pending(&self) -> (&[u8], &[usize]) {
        (&self.out, &self.cuts)
    }

    pub fn clear(&mut self) {
        self.out.clear();
        self.cuts.clear();
        if self.out.capacity() > 1 << 20 {
            self.out = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::args::OwnedArgs;

    fn text(stream: &Stream) -> String {
        let words: Vec<_> = stream.pending().0.split(|b| *b == b'\n').collect();
        let lines = words.iter().map(|w| String::from_utf8_lossy(w).trim_end().to_string());
        lines.filter(|w| !w.is_empty() && !w.starts_with(['*', '$'])).collect::<Vec<_>>().join(" ")
    }

    fn op(stream: &mut Stream, db: u32, words: &[&[u8]]) {
        stream.op(db, OwnedArgs::from_slices(words).as_args(), None);
    }

    #[test]
    fn one_operation_stands_alone_several_are_wrapped() {
        let mut stream = Stream::at(Offset(100));
        op(&mut stream, 0, &[b"SET", b"a", b"1"]);
        assert!(stream.close_unit());
        op(&mut stream, 0, &[b"DEL", b"a"]);
        op(&mut stream, 3, &[b"DEL", b"b"]);
        op(&mut stream, 3, &[b"DEL", b"c"]);
        assert!(stream.close_unit());
        assert!(!stream.close_unit());
        assert_eq!(text(&stream), "SELECT 0 SET a 1 MULTI DEL a SELECT 3 DEL b DEL c EXEC");
        assert_eq!(stream.end, Offset(100) + stream.pending().0.len() as u64);
    }

    #[test]
    fn publish_selects_nothing_and_holds_no_replies() {
        let mut stream = Stream::at(Offset(0));
        stream.op_without_db(&[b"PUBLISH", b"c", b"m"]);
        stream.close_unit();
        assert_eq!((text(&stream).as_str(), stream.data_end), ("PUBLISH c m", Offset(0)));
    }

    #[test]
    fn after_forgetting_the_database_it_is_said_again() {
        let mut stream = Stream::at(Offset(0));
        for forget in [false, false, true] {
            if forget {
                stream.forget_db();
            }
            op(&mut stream, 0, &[b"INCR", b"a"]);
            stream.close_unit();
        }
        assert_eq!(text(&stream), "SELECT 0 INCR a INCR a SELECT 0 INCR a");
    }
}
