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

use crate::planted::{Bug, planted};
use crate::resp::args::{Args, encode_command};
use crate::units::Offset;

/// Bytes after which a unit's end is remembered as a place where the log may put a mark: a quarter of the distance
/// that a reader of the log tolerates between marks.
const CUT_EVERY: usize = 16 * 1024;

struct Op {
    db: Option<u32>,
    end: usize,
}

/// Where a unit ends within the bytes that the driver has not taken yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnitEnd {
    pub at: usize,
    /// The database selected there; `None`: the one selected before these bytes.
    pub db: Option<u32>,
}

#[derive(Default)]
pub struct Stream {
    /// Bytes of closed units not yet taken by the driver.
    out: Vec<u8>,
    /// Ends of units within `out`, the last one at its end, the others at least [`CUT_EVERY`] apart unless the ring is
    /// too small for that.
    cuts: Vec<UnitEnd>,
    /// Operations of the open unit, encoded one after the other.
    scratch: Vec<u8>,
    ops: Vec<Op>,
    /// The database that the next operation may rely on.
    db: Option<u32>,
    /// The last one selected in `out`: also after [`Stream::forget_db`] what readers are in.
    selected: Option<u32>,
    pub end: Offset,
    /// End of the last unit that changed data: what replies wait for with `appendfsync always`.
    pub data_end: Offset,
    /// No run of several units between two cuts is longer: it would not fit into the ring, though each of them does.
    pub ring_limit: u64,
    /// End of the last bytes that the ring could not take.
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
            let selected = if planted(Bug::StreamDb) { self.db.or(Some(0)) } else { self.db };
            if op.db.is_some() && op.db != selected {
                let mut number = itoa::Buffer::new();
                let number = number.format(op.db.unwrap_or(0)).as_bytes();
                encode_command([b"SELECT".as_slice(), number].into_iter(), &mut self.out);
                (self.db, self.selected) = (op.db, op.db);
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
        (self.db, self.selected) = (Some(db), Some(db));
        self.count(unit.len() as u64, data);
    }

    /// A unit of `len` bytes was put at the end of `out`.
    fn count(&mut self, len: u64, data: bool) {
        self.end += len;
        if data {
            self.data_end = self.end;
        }
        self.cut();
    }

    /// A unit has ended: it joins the run of those before it, or begins the next.
    fn cut(&mut self) {
        let end = UnitEnd { at: self.out.len(), db: self.selected };
        let runs = self.cuts.len();
        let began = if runs >= 2 { self.cuts[runs - 2].at } else { 0 };
        match self.cuts.last_mut() {
            Some(last) if last.at - began < CUT_EVERY && (end.at - began) as u64 <= self.ring_limit => {
                *last = end;
            }
            _ => self.cuts.push(end),
        }
    }

    /// Forgets the operations of the open unit (a transaction that turned out to do nothing).
    pub fn drop_unit(&mut self) {
        self.ops.clear();
        self.scratch.clear();
    }

    /// Bytes of whole units produced since the last [`Stream::clear`], and unit ends within them, the last at their end.
    pub fn pending(&self) -> (&[u8], &[UnitEnd]) {
        (&self.out, &self.cuts)
    }

    pub fn clear(&mut self) {
        self.out.clear();
        self.cuts.clear();
        self.selected = None;
        if self.out.capacity() > 1 << 20 {
            self.out = Vec::new();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::framing::leads;
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

    /// Each cut, walked to from the one before, is a unit's end in the database it names.
    #[test]
    fn cuts_say_the_database_that_is_selected_there() {
        let mut stream = Stream::at(Offset(0));
        stream.op_without_db(&[b"PING"]);
        stream.close_unit();
        assert_eq!(stream.pending().1, [UnitEnd { at: 14, db: None }]);
        for n in 0..200 {
            op(&mut stream, n / 60, &[b"SET", b"k", &[b'v'; 1000]]);
            stream.close_unit();
        }
        stream.forget_db();
        let (bytes, cuts) = stream.pending();
        assert!(cuts.len() > 10);
        let (mut from, mut db) = (0, 0);
        for cut in cuts {
            let to = cut.db.unwrap_or(db);
            assert!(leads(&bytes[from..cut.at], db, to), "{db} to {cut:?}");
            (from, db) = (cut.at, to);
        }
        assert_eq!((from, db), (bytes.len(), 3));
    }

    /// Rule 8: only a unit that is alone larger than the ring goes past it.
    #[test]
    fn runs_of_units_fit_into_the_ring() {
        let check = |ring_limit: u64, units: &[usize], expected: &[usize]| {
            let mut stream = Stream { ring_limit, ..Stream::at(Offset(0)) };
            for len in units {
                let around = 9 + len.to_string().len(); // *1␍␊$5000␍␊…␍␊
                stream.op_without_db(&[&vec![b'x'; len - around]]);
                stream.close_unit();
            }
            let ends = stream.pending().1.iter().map(|cut| cut.at);
            let runs = std::iter::once(0).chain(ends.clone()).zip(ends).map(|(from, to)| to - from);
            assert_eq!(runs.collect::<Vec<_>>(), expected);
        };
        check(u64::MAX, &[1100, 2000, 20_000, 1100], &[23_100, 1100]);
        check(20_000, &[1100, 2000, 19_999, 1100], &[3100, 19_999, 1100]);
        check(8192, &[5000, 3000, 5000, 3000, 1100, 9000], &[8000, 8000, 1100, 9000]);
        check(4096, &[4096, 4096, 2000, 2000, 2000], &[4096, 4096, 4000, 2000]);
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
