//! Reply writer: one set of calls, two protocols.
//!
//! A command says what it answers (a map, a double, null) and the writer spells it for the client's protocol, so
//! that no command asks which one is spoken. It appends to the connection's output buffer directly; a tree of
//! reply values was rejected because it would be built only to be walked once. Where the length of an array is
//! known only after its elements, [`Reply::deferred_array`] leaves room for a one-digit header and closing it
//! moves the elements by the few digits that were missing.
//!
//! What always holds: simple strings and errors never carry CR or LF, so a reply cannot be split by its content.

use super::number::format_f64;
use crate::error::ReplyError;

/// The protocol a client has negotiated by HELLO.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Protocol {
    #[default]
    Resp2,
    Resp3,
}

/// Appends replies to `out`.
pub struct Reply<'a> {
    out: &'a mut Vec<u8>,
    proto: Protocol,
}

/// An aggregate whose header is still open; see [`Reply::close`].
#[must_use = "an aggregate that is never closed corrupts the reply"]
pub struct Deferred {
    at: usize,
    kind: Aggregate,
}

#[derive(Clone, Copy)]
enum Aggregate {
    Array,
    Map,
    Set,
}

impl<'a> Reply<'a> {
    pub fn new(out: &'a mut Vec<u8>, proto: Protocol) -> Reply<'a> {
        Reply { out, proto }
    }
    pub fn proto(&self) -> Protocol {
        self.proto
    }
    /// What follows is in this protocol (HELLO answers in the one it chooses).
    pub fn set_proto(&mut self, proto: Protocol) {
        self.proto = proto;
    }
    fn resp3(&self) -> bool {
        self.proto == Protocol::Resp3
    }
    /// Bytes in the output buffer so far.
    pub fn len(&self) -> usize {
        self.out.len()
    }
    pub fn is_empty(&self) -> bool {
        self.out.is_empty()
    }
    /// Takes back everything after `len` (from [`Reply::len`]), as when an error follows a part of the reply.
    pub fn truncate(&mut self, len: usize) {
        self.out.truncate(len);
    }
    /// Bytes that are a reply already.
    pub fn raw(&mut self, bytes: &[u8]) {
        self.out.extend_from_slice(bytes);
    }

    pub fn ok(&mut self) {
        self.raw(b"+OK\r\n");
    }
    pub fn simple(&mut self, text: &str) {
        self.line(b'+', text.as_bytes());
    }
    /// `-` and the text; the text brings its own code (`ERR …`).
    pub fn error(&mut self, error: &ReplyError) {
        let text = error.bytes();
        let end = text.iter().rposition(|byte| !b"\r\n".contains(byte)).map_or(0, |last| last + 1);
        self.line(b'-', &text[..end]);
    }
    pub fn int(&mut self, n: i64) {
        match n {
            0..=9 => self.raw(&[b':', b'0' + n as u8, b'\r', b'\n']),
            _ => self.line(b':', itoa::Buffer::new().format(n).as_bytes()),
        }
    }
    pub fn bulk(&mut self, bytes: &[u8]) {
        self.out.reserve(bytes.len() + 24);
        self.header(b'$', bytes.len());
        self.raw(bytes);
        self.raw(b"\r\n");
    }
    pub fn bulk_str(&mut self, text: &str) {
        self.bulk(text.as_bytes());
    }
    /// An integer as a bulk string.
    pub fn bulk_int(&mut self, n: i64) {
        self.bulk(itoa::Buffer::new().format(n).as_bytes());
    }
    /// No value: `$-1` in RESP2, `_` in RESP3.
    pub fn null(&mut self) {
        self.raw(if self.resp3() { b"_\r\n" } else { b"$-1\r\n" });
    }
    /// No array: `*-1` in RESP2, `_` in RESP3.
    pub fn null_array(&mut self) {
        self.raw(if self.resp3() { b"_\r\n" } else { b"*-1\r\n" });
    }

    /// `n` replies follow.
    pub fn array(&mut self, n: usize) {
        self.header(b'*', n);
    }
    /// `pairs` × two replies follow; RESP2 sees an array of twice as many.
    pub fn map(&mut self, pairs: usize) {
        self.aggregate(Aggregate::Map, pairs);
    }
    pub fn set(&mut self, n: usize) {
        self.aggregate(Aggregate::Set, n);
    }
    /// Out-of-band data; RESP2 sees an array.
    pub fn push(&mut self, n: usize) {
        self.header(if self.resp3() { b'>' } else { b'*' }, n);
    }
    /// Opens an attribute of `pairs` × two replies, to be followed by the reply proper. RESP2 has none: then
    /// nothing is written and `false` says to leave the pairs out.
    #[must_use]
    pub fn attribute(&mut self, pairs: usize) -> bool {
        if self.resp3() {
            self.header(b'|', pairs);
        }
        self.resp3()
    }

    /// Shortest text that reads back as the same double (a bulk string in RESP2).
    pub fn double(&mut self, value: f64) {
        // Formatted where it will not stay, for its length stands before it.
        let at = self.out.len();
        format_f64(value, self.out);
        let mut text = [0; LONGEST_DOUBLE];
        let len = self.out.len() - at;
        text[..len].copy_from_slice(&self.out[at..]);
        self.out.truncate(at);
        self.double_text(&text[..len]);
    }
    /// A number already spelled out, as INCRBYFLOAT's sums are: `,x` in RESP3, a bulk string in RESP2.
    pub fn double_text(&mut self, text: &[u8]) {
        if self.resp3() {
            self.line(b',', text);
        } else {
            self.bulk(text);
        }
    }
    pub fn bool(&mut self, value: bool) {
        self.raw(match (self.proto, value) {
            (Protocol::Resp2, true) => b":1\r\n",
            (Protocol::Resp2, false) => b":0\r\n",
            (Protocol::Resp3, true) => b"#t\r\n",
            (Protocol::Resp3, false) => b"#f\r\n",
        });
    }
    /// Decimal digits of any length (a bulk string in RESP2).
    pub fn big_number(&mut self, digits: &str) {
        if self.resp3() {
            self.line(b'(', digits.as_bytes());
        } else {
            self.bulk_str(digits);
        }
    }
    /// Text with a three-letter kind (`txt`, `mkd`); a bulk string in RESP2. A shorter kind is filled with
    /// spaces, a longer one cut.
    pub fn verbatim(&mut self, ext: &str, text: &[u8]) {
        if !self.resp3() {
            return self.bulk(text);
        }
        let mut kind = *b"   :";
        for (to, from) in kind[..3].iter_mut().zip(ext.bytes()) {
            *to = from;
        }
        self.out.reserve(text.len() + 28);
        self.header(b'=', text.len() + 4);
        self.raw(&kind);
        self.raw(text);
        self.raw(b"\r\n");
    }

    /// Opens an array whose length is told to [`Reply::close`]. Several may be open, closed in reverse order.
    pub fn deferred_array(&mut self) -> Deferred {
        self.deferred(Aggregate::Array)
    }
    /// Like [`Reply::deferred_array`]; its length counts pairs.
    pub fn deferred_map(&mut self) -> Deferred {
        self.deferred(Aggregate::Map)
    }
    pub fn deferred_set(&mut self) -> Deferred {
        self.deferred(Aggregate::Set)
    }
    /// Fills in the header: `n` elements (pairs of a map) were written since it was opened.
    pub fn close(&mut self, open: Deferred, n: usize) {
        let (mark, n) = self.spelled(open.kind, n);
        let mut digits = itoa::Buffer::new();
        let digits = digits.format(n).as_bytes();
        let written = self.out.len();
        let missing = digits.len() - 1;
        if missing > 0 {
            self.out.resize(written + missing, 0);
            self.out.copy_within(open.at + ROOM.len()..written, open.at + ROOM.len() + missing);
        }
        let header = &mut self.out[open.at..open.at + ROOM.len() + missing];
        header[0] = mark;
        header[1..=digits.len()].copy_from_slice(digits);
        header[digits.len() + 1..].copy_from_slice(b"\r\n");
    }

    fn deferred(&mut self, kind: Aggregate) -> Deferred {
        let at = self.out.len();
        self.raw(ROOM);
        Deferred { at, kind }
    }
    fn aggregate(&mut self, kind: Aggregate, n: usize) {
        let (mark, n) = self.spelled(kind, n);
        self.header(mark, n);
    }
    fn spelled(&self, kind: Aggregate, n: usize) -> (u8, usize) {
        match (kind, self.proto) {
            (Aggregate::Map, Protocol::Resp3) => (b'%', n),
            (Aggregate::Map, Protocol::Resp2) => (b'*', 2 * n),
            (Aggregate::Set, Protocol::Resp3) => (b'~', n),
            (Aggregate::Set, Protocol::Resp2) | (Aggregate::Array, _) => (b'*', n),
        }
    }
    fn header(&mut self, mark: u8, n: usize) {
        if n < 10 {
            self.raw(&[mark, b'0' + n as u8, b'\r', b'\n']);
        } else {
            self.raw(&[mark]);
            self.raw(itoa::Buffer::new().format(n).as_bytes());
            self.raw(b"\r\n");
        }
    }
    fn line(&mut self, mark: u8, text: &[u8]) {
        self.out.reserve(text.len() + 3);
        self.raw(&[mark]);
        let at = self.out.len();
        self.raw(text);
        for byte in &mut self.out[at..] {
            if matches!(byte, b'\r' | b'\n') {
                *byte = b' ';
            }
        }
        self.raw(b"\r\n");
    }
}

/// Room for every text of [`format_f64`]: at most a sign, `0.`, six zeros and 17 digits.
const LONGEST_DOUBLE: usize = 32;
/// Where a header of one digit will stand.
const ROOM: &[u8] = b"*0\r\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn check(write: impl Fn(&mut Reply<'_>), resp2: &str, resp3: &str) {
        for (proto, expected) in [(Protocol::Resp2, resp2), (Protocol::Resp3, resp3)] {
            let mut out = Vec::new();
            write(&mut Reply::new(&mut out, proto));
            assert_eq!(String::from_utf8_lossy(&out), expected, "{proto:?}");
        }
    }

    #[test]
    fn spells_every_kind_in_both_protocols() {
        check(|r| r.ok(), "+OK\r\n", "+OK\r\n");
        check(|r| r.simple("a\r\nb"), "+a  b\r\n", "+a  b\r\n");
        check(|r| r.error(&ReplyError::new("ERR a\nb\r\n")), "-ERR a b\r\n", "-ERR a b\r\n");
        check(|r| [0, 9, 10, -1, i64::MIN].into_iter().for_each(|n| r.int(n)), INTS, INTS);
        check(|r| r.bulk(b""), "$0\r\n\r\n", "$0\r\n\r\n");
        check(|r| r.bulk(b"0123456789"), "$10\r\n0123456789\r\n", "$10\r\n0123456789\r\n");
        check(|r| r.bulk_int(-42), "$3\r\n-42\r\n", "$3\r\n-42\r\n");
        check(|r| r.null(), "$-1\r\n", "_\r\n");
        check(|r| r.null_array(), "*-1\r\n", "_\r\n");
        check(|r| r.array(12), "*12\r\n", "*12\r\n");
        check(|r| r.map(5), "*10\r\n", "%5\r\n");
        check(|r| r.set(3), "*3\r\n", "~3\r\n");
        check(|r| r.push(3), "*3\r\n", ">3\r\n");
        check(|r| assert_eq!(r.attribute(1), r.resp3()), "", "|1\r\n");
        check(|r| r.double(0.1), "$3\r\n0.1\r\n", ",0.1\r\n");
        check(|r| r.double(f64::NEG_INFINITY), "$4\r\n-inf\r\n", ",-inf\r\n");
        check(|r| r.double(f64::NAN), "$3\r\nnan\r\n", ",nan\r\n");
        check(|r| r.bool(true), ":1\r\n", "#t\r\n");
        check(|r| r.bool(false), ":0\r\n", "#f\r\n");
        check(|r| r.big_number("123"), "$3\r\n123\r\n", "(123\r\n");
        check(|r| r.verbatim("txt", b"hi"), "$2\r\nhi\r\n", "=6\r\ntxt:hi\r\n");
    }

    const INTS: &str = ":0\r\n:9\r\n:10\r\n:-1\r\n:-9223372036854775808\r\n";

    #[test]
    fn deferred_headers_equal_known_ones() {
        for n in [0usize, 1, 9, 10, 99, 100, 12345] {
            let known = |r: &mut Reply<'_>| {
                r.array(2);
                r.map(n);
                (0..2 * n).for_each(|i| r.int(i as i64));
                r.set(1);
                r.ok();
            };
            let deferred = |r: &mut Reply<'_>| {
                let outer = r.deferred_array();
                let map = r.deferred_map();
                (0..2 * n).for_each(|i| r.int(i as i64));
                r.close(map, n);
                let set = r.deferred_set();
                r.ok();
                r.close(set, 1);
                r.close(outer, 2);
            };
            for proto in [Protocol::Resp2, Protocol::Resp3] {
                let (mut a, mut b) = (b"x".to_vec(), b"x".to_vec());
                known(&mut Reply::new(&mut a, proto));
                deferred(&mut Reply::new(&mut b, proto));
                assert_eq!(a, b, "{n} {proto:?}");
            }
        }
    }
}
