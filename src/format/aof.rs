//! Annotation lines of the append-only log: openings, marks, timestamps; and the walk that proves a segment.
//!
//! A segment is the stream, verbatim, from some offset on. What does not belong to the stream stands in `#` lines
//! between commands, which stock servers and tools skip:
//!
//! ```text
//! #RH:1 open id=<40 hex> off=1000 db=3 skip=23 crc=<16 hex>␍␊     first line of a segment
//! *2␍␊$6␍␊SELECT␍␊$1␍␊3␍␊                                         `skip` bytes, no part of the stream: stock
//!                                                                 servers start each file in db 0
//! … commands …
//! #TS:1790000000␍␊                                                wall clock in seconds, if switched on
//! … commands …
//! #RH:1 mark id=<40 hex> off=70211 db=3 dur=69000 crc=<16 hex>␍␊
//! ```
//!
//! | field | meaning |
//! |---|---|
//! | `id` | replid in force *after* this point: the next stream byte is written under it (rule 1) |
//! | `off` | stream offset of this point |
//! | `db` | the stream's selected db at this point |
//! | `skip` | bytes that follow this line and are no part of the stream |
//! | `dur` | the highest offset known durable when the mark was written: damage below it is no torn tail (rule 17). A log that goes idle states its last fsync in one mark more |
//! | `crc` | chained seal, below |
//!
//! **The chain.** A seal covers all file bytes since the line before (stream and timestamps alike) and this line up to
//! and including ` crc=`; it is seeded with the seal of the line before. The opening starts the chain with a
//! constant; it names history and offset itself, so that a spliced or stale piece never validates (rule 3). The skipped
//! SELECT must be literally the one that `db` asks for. An id or offset is therefore never
//! believed without its seal, and a mark proves every byte of its file before it.
//!
//! **A base of commands** (`aof-use-rdb-preamble no`) is no part of the stream. It ends with one line that says what it equals:
//!
//! ```text
//! #RH:1 base id=<40 hex> off=70211 db=3 crc=<16 hex>␍␊            seal of all bytes of the file before, and of this line
//! ```
//!
//! A bad mark is not the end of the walk: if a later one is sound *given the bad one's stated seal*, the damage lies in
//! the middle and the tail is not torn. Where not even commands can be told apart any more, the marks behind are searched for.

use std::fmt::Write;

use super::crc::SealCrc;
use super::framing::MAX_LINE;
use crate::units::{Offset, ReplId};

mod search;
mod walk;

pub use search::MarkSearch;
pub use walk::{Ending, Point, SegmentReport, SegmentWalk, Strip};

/// Stream bytes after which the writer puts a mark at the next unit boundary (rule 21).
pub const MARK_INTERVAL: u64 = 64 * 1024;

const PREFIX: &[u8] = b"#RH:";
const CHAIN_START: u64 = 0x5248_6f70_656e_3031;
const BASE_START: u64 = 0x5248_6261_7365_3031;

/// A place in the stream as an annotation states it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// In force for the bytes after it.
    pub replid: ReplId,
    pub offset: Offset,
    pub db: u32,
}

/// The running seal of a segment, advanced by the writer and the walk alike.
#[derive(Clone, Copy, Debug)]
pub struct Chain {
    seal: SealCrc,
}

impl Chain {
    /// Starts a segment: appends opening and SELECT to `out`.
    pub fn open(place: Place, out: &mut Vec<u8>) -> Chain {
        let select = select_command(place.db);
        let mut line = String::new();
        let Place { replid, offset, db } = place;
        let _infallible =
            write!(line, "#RH:1 open id={replid} off={offset} db={db} skip={} crc=", select.len());
        let mut chain = Chain { seal: SealCrc::seeded(&[CHAIN_START]) };
        chain.close_line(line, out);
        chain.cover(&select);
        out.extend_from_slice(&select);
        chain
    }

    /// Accounts for bytes that were written to the file.
    pub fn cover(&mut self, bytes: &[u8]) {
        self.seal.update(bytes);
    }

    /// Appends a mark to `out`; everything covered so far is proven by it.
    pub fn mark(&mut self, place: Place, durable: Offset, out: &mut Vec<u8>) {
        let Place { replid, offset, db } = place;
        let mut line = String::new();
        let _infallible = write!(line, "#RH:1 mark id={replid} off={offset} db={db} dur={durable} crc=");
        self.close_line(line, out);
    }

    /// Starts a base of commands.
    pub fn base() -> Chain {
        Chain { seal: SealCrc::seeded(&[BASE_START]) }
    }

    /// Appends the last line of a base that equals `place` to `out`.
    pub fn end_base(&mut self, place: Place, out: &mut Vec<u8>) {
        let Place { replid, offset, db } = place;
        self.close_line(format!("#RH:1 base id={replid} off={offset} db={db} crc="), out);
    }

    fn close_line(&mut self, mut line: String, out: &mut Vec<u8>) {
        self.cover(line.as_bytes());
        let value = self.seal.value();
        let _infallible = write!(line, "{value:016x}\r\n");
        out.extend_from_slice(line.as_bytes());
        self.seal = SealCrc::seeded(&[value]);
    }
}

/// A `#TS:` line; part of the file, not of the stream. The caller covers it with the chain.
pub fn timestamp(seconds: i64) -> Vec<u8> {
    format!("#TS:{seconds}\r\n").into_bytes()
}

/// SELECT as it stands out of stream at a segment's start; empty for db 0, where each file begins.
fn select_command(db: u32) -> Vec<u8> {
    if db == 0 {
        return Vec::new();
    }
    let db = db.to_string();
    format!("*2\r\n$6\r\nSELECT\r\n${}\r\n{db}\r\n", db.len()).into_bytes()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Open { skip: u64 },
    Mark { durable: Offset },
    Base,
}

/// A parsed `#RH:` line. Its seal is stated, not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Annotation {
    kind: Kind,
    place: Place,
    seal: u64,
    /// Bytes of the line that the seal covers.
    covered: usize,
}

impl Annotation {
    /// `line` with its line end. `None`: not one of ours, or not whole.
    fn parse(line: &[u8]) -> Option<Annotation> {
        let text = std::str::from_utf8(line.strip_suffix(b"\r\n")?).ok()?;
        let covered = text.rfind(" crc=")? + 5;
        let mut words = text.strip_prefix("#RH:1 ")?.split(' ');
        let kind = words.next()?;
        let mut field = |name: &str| words.next()?.strip_prefix(name)?.strip_prefix('=');
        let replid = ReplId::parse(field("id")?.as_bytes())?;
        let offset = Offset(field("off")?.parse().ok()?);
        let db = field("db")?.parse().ok()?;
        let kind = match kind {
            "open" => Kind::Open { skip: field("skip")?.parse().ok()? },
            "mark" => Kind::Mark { durable: Offset(field("dur")?.parse().ok()?) },
            "base" => Kind::Base,
            _ => return None,
        };
        let hex = field("crc")?;
        let digit = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let seal = u64::from_str_radix(hex, 16).ok().filter(|_| hex.len() == 16 && hex.bytes().all(digit))?;
        words.next().is_none().then_some(Annotation {
            kind,
            place: Place { replid, offset, db },
            seal,
            covered,
        })
    }
}

const _: () = assert!(MAX_LINE >= 200, "the longest line of ours: two 20-digit numbers, an id, a seal");
