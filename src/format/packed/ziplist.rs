//! The ziplist, which listpack replaced in Redis 7: read only, for RDB files from Redis 2.6 to 6.2.
//!
//! ```text
//! total bytes u32 LE │ offset of the last entry u32 LE │ count u16 LE, 65535 = count by walking │ entry … │ FF
//! entry = size of the entry before it │ head │ content
//! ```
//!
//! The size before is one byte, or `FE` and u32 LE (also for small ones, after a cascade). Heads:
//!
//! | head | then | entry |
//! |---|---|---|
//! | `00llllll` | l bytes | string up to 63 bytes |
//! | `01llllll` | 1 byte, low bits of l; l bytes | string up to 16,383 bytes |
//! | `10……` | u32 **BE** l; l bytes | string |
//! | `C0` `D0` `E0` `F0` `FE` | 2, 4, 8, 3, 1 bytes LE | integer |
//! | `F1`…`FD` | – | integer 0…12 |
//!
//! Reading checks: a [`Ziplist`] is an iterator of results that ends with the first error, so that a blob is
//! parsed once, on its way into a [`Listpack`] or a table. Whoever stops early has checked only what was read.

use super::Entry;
use super::listpack::Listpack;
use crate::error::Corrupt;

const HEADER: usize = 10;
const LAST_AT: usize = 4;
const COUNT_AT: usize = 8;
const END: u8 = 0xff;
const BIG_SIZE: u8 = 0xfe;
const COUNT_UNKNOWN: u16 = u16::MAX;

/// The entries of a ziplist, checked as they are read; after an error nothing follows.
#[derive(Clone, Debug)]
pub struct Ziplist<'a> {
    /// Header and entries, without the end byte.
    body: &'a [u8],
    at: usize,
    last_at: usize,
    last_size: usize,
    read: usize,
    /// From the header.
    said_last: u32,
    said_count: u16,
    done: bool,
}

impl<'a> Ziplist<'a> {
    /// Checks the header.
    pub fn open(bytes: &'a [u8]) -> Result<Ziplist<'a>, Corrupt> {
        let (&[a, b, c, d, e, f, g, h, i, j], _) = bytes
            .split_first_chunk::<HEADER>()
            .filter(|(_, rest)| !rest.is_empty())
            .ok_or_else(|| Corrupt::new(0, "ziplist shorter than its header"))?;
        let total = u32::from_le_bytes([a, b, c, d]);
        if total as usize != bytes.len() {
            return Err(Corrupt::new(0, format!("ziplist of {} bytes says it has {total}", bytes.len())));
        }
        let end = bytes.len() - 1;
        if bytes[end] != END {
            return Err(Corrupt::new(end as u64, "ziplist without end"));
        }
        Ok(Ziplist {
            body: &bytes[..end],
            at: HEADER,
            last_at: HEADER,
            last_size: 0,
            read: 0,
            said_last: u32::from_le_bytes([e, f, g, h]),
            said_count: u16::from_le_bytes([i, j]),
            done: false,
        })
    }

    fn read_entry(&mut self) -> Result<Entry<'a>, Corrupt> {
        let corrupt = |what| Corrupt::new(self.at as u64, what);
        let rest = &self.body[self.at..];
        let (before, head_at) = match *rest {
            [BIG_SIZE, a, b, c, d, ..] => (u32::from_le_bytes([a, b, c, d]) as usize, 5),
            [size @ ..BIG_SIZE, ..] => (size.into(), 1),
            _ => return Err(corrupt("ziplist entry unknown or cut short")),
        };
        if before != self.last_size {
            return Err(corrupt("ziplist entry that gives another size for the entry before it"));
        }
        let (entry, size) =
            decode(&rest[head_at..]).ok_or_else(|| corrupt("ziplist entry unknown or cut short"))?;
        self.last_at = self.at;
        self.last_size = head_at + size;
        self.at += self.last_size;
        self.read += 1;
        Ok(entry)
    }

    /// What the header says about all entries, once they are read.
    fn check_header(&self) -> Result<(), Corrupt> {
        if self.said_count != COUNT_UNKNOWN && usize::from(self.said_count) != self.read {
            let what = format!("ziplist of {} entries says it has {}", self.read, self.said_count);
            return Err(Corrupt::new(COUNT_AT as u64, what));
        }
        let last_is_right = match self.read {
            0 => self.said_last as usize <= self.body.len(),
            _ => self.said_last as usize == self.last_at,
        };
        if !last_is_right {
            let what = format!("ziplist with its last entry at {} says {}", self.last_at, self.said_last);
            return Err(Corrupt::new(LAST_AT as u64, what));
        }
        Ok(())
    }
}

impl<'a> Iterator for Ziplist<'a> {
    type Item = Result<Entry<'a>, Corrupt>;
    fn next(&mut self) -> Option<Self::Item> {
        if self.done {
            return None;
        }
        if self.at == self.body.len() {
            self.done = true;
            return self.check_header().err().map(Err);
        }
        let entry = self.read_entry();
        self.done = entry.is_err();
        Some(entry)
    }
}

/// The same entries as a listpack.
pub fn to_listpack(bytes: &[u8]) -> Result<Listpack, Corrupt> {
    super::collect(Ziplist::open(bytes)?)
}

/// The entry whose head is at the start of `bytes`, and the size of head and content.
fn decode(bytes: &[u8]) -> Option<(Entry<'_>, usize)> {
    let string = |head: usize, len: usize| Some((Entry::Str(bytes.get(head..head + len)?), head + len));
    let int = |n: i64, size: usize| Some((Entry::Int(n), size));
    match *bytes {
        [l @ 0..=0x3f, ..] => string(1, l.into()),
        [h @ 0x40..=0x7f, l, ..] => string(2, u16::from_be_bytes([h & 0x3f, l]).into()),
        [0x80..=0xbf, a, b, c, d, ..] => string(5, u32::from_be_bytes([a, b, c, d]) as usize),
        [0xc0, a, b, ..] => int(i16::from_le_bytes([a, b]).into(), 3),
        [0xd0, a, b, c, d, ..] => int(i32::from_le_bytes([a, b, c, d]).into(), 5),
        [0xe0, a, b, c, d, e, f, g, h, ..] => int(i64::from_le_bytes([a, b, c, d, e, f, g, h]), 9),
        [0xf0, a, b, c, ..] => int((i32::from_le_bytes([0, a, b, c]) >> 8).into(), 4),
        [0xfe, a, ..] => int(i8::from_le_bytes([a]).into(), 2),
        [n @ 0xf1..=0xfd, ..] => int(i64::from(n) - 0xf1, 1),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A ziplist of raw entries (head and content); `wide`: sizes in the long form.
    fn build(entries: &[Vec<u8>], wide: bool) -> Vec<u8> {
        let (mut body, mut last_at, mut before) = (Vec::new(), HEADER, 0);
        for entry in entries {
            last_at = HEADER + body.len();
            if wide || before >= BIG_SIZE as usize {
                body.push(BIG_SIZE);
                body.extend_from_slice(&(before as u32).to_le_bytes());
            } else {
                body.push(before as u8);
            }
            body.extend_from_slice(entry);
            before = HEADER + body.len() - last_at;
        }
        let mut bytes = (HEADER as u32 + body.len() as u32 + 1).to_le_bytes().to_vec();
        bytes.extend_from_slice(&(last_at as u32).to_le_bytes());
        bytes.extend_from_slice(&(entries.len().min(65_535) as u16).to_le_bytes());
        bytes.extend_from_slice(&body);
        bytes.push(END);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Corrupt> {
        Ok(to_listpack(bytes)?.iter().map(Entry::to_vec).collect())
    }

    #[test]
    fn every_encoding() {
        let check = |raw: &[u8], value: &str| {
            for wide in [false, true] {
                let bytes = build(&[raw.to_vec(), raw.to_vec()], wide);
                assert_eq!(read(&bytes).unwrap(), [value.as_bytes(); 2], "{raw:?}");
            }
        };
        check(b"\x00", "");
        check(b"\x03abc", "abc");
        check(b"\x40\x03abc", "abc");
        check(b"\x80\0\0\0\x03abc", "abc");
        check(b"\xf1", "0");
        check(b"\xfd", "12");
        check(b"\xfe\x80", "-128");
        check(b"\xfe\x7f", "127");
        check(b"\xc0\x00\x80", "-32768");
        check(b"\xf0\x00\x00\x80", "-8388608");
        check(b"\xf0\xff\xff\x7f", "8388607");
        check(b"\xd0\xff\xff\xff\x7f", "2147483647");
        check(b"\xe0\0\0\0\0\0\0\0\x80", "-9223372036854775808");
    }

    #[test]
    fn a_whole_blob() {
        let bytes = b"\x16\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xf2\x02\x01b\x03\xfe\x20\xff";
        assert_eq!(read(bytes).unwrap(), [&b"a"[..], b"1", b"b", b"32"]);
        assert_eq!(read(b"\x0b\0\0\0\x0a\0\0\0\0\0\xff").unwrap(), Vec::<Vec<u8>>::new());
    }

    #[test]
    fn long_strings_and_unknown_count() {
        let text = vec![b'x'; 20_000];
        let long = [&[0x80, 0, 0, 0x4e, 0x20], &text[..]].concat();
        let middle = [&[0x40 | 0x01, 0x2c], &text[..300]].concat();
        let bytes = build(&[middle, long, b"\xf2".to_vec()], false);
        assert_eq!(read(&bytes).unwrap(), [&text[..300], &text, b"1"]);
        let mut uncounted = bytes;
        uncounted[COUNT_AT..HEADER].fill(0xff);
        assert_eq!(read(&uncounted).unwrap().len(), 3);
    }

    #[test]
    fn damage_is_refused_with_its_place() {
        let check = |bytes: &[u8], at: u64| {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.at, at, "{bytes:?}: {error}");
        };
        check(b"", 0);
        check(b"\x0a\0\0\0\x0a\0\0\0\0\0", 0);
        check(b"\x0c\0\0\0\x0a\0\0\0\0\0\xff", 0); // total
        check(b"\x0b\0\0\0\x0a\0\0\0\0\0\0", 10); // no end
        check(b"\x0b\0\0\0\x0a\0\0\0\x01\0\xff", 8); // count
        check(b"\x0b\0\0\0\x0c\0\0\0\0\0\xff", 4); // last entry of none, beyond the end
        check(b"\x0d\0\0\0\x0b\0\0\0\x01\0\0\xf1\xff", 4); // last entry
        check(b"\x0d\0\0\0\x0a\0\0\0\x01\0\x01\xf1\xff", 10); // size before
        check(b"\x0d\0\0\0\x0a\0\0\0\x01\0\0\x05\xff", 10); // cut short
        check(b"\x0d\0\0\0\x0a\0\0\0\x01\0\0\xc1\xff", 10); // unknown
        check(b"\x0d\0\0\0\x0a\0\0\0\x01\0\xff\xf1\xff", 10); // end inside
        check(b"\x0d\0\0\0\x0a\0\0\0\x01\0\xfe\0\xff", 10); // size cut short
        check(b"\x11\0\0\0\x0a\0\0\0\x01\0\0\x80\xff\xff\xff\xff\xff", 10);
    }

    fn raw_entry() -> impl Strategy<Value = Vec<u8>> {
        let int = prop_oneof![
            (0xf1u8..=0xfd).prop_map(|n| vec![n]),
            any::<i8>().prop_map(|n| vec![0xfe, n as u8]),
            any::<[u8; 3]>().prop_map(|n| [&[0xf0], &n[..]].concat()),
            any::<[u8; 8]>().prop_map(|n| [&[0xe0], &n[..]].concat()),
        ];
        let string = proptest::collection::vec(any::<u8>(), 0..64)
            .prop_map(|content| [&[content.len() as u8], &content[..]].concat());
        let long = (64u16..600).prop_map(|len| {
            let [high, low] = len.to_be_bytes();
            [&[0x40 | high, low], &vec![b'x'; len.into()][..]].concat()
        });
        prop_oneof![int, string, long]
    }

    proptest! {
        #[test]
        fn flipped_bits_never_panic(
            entries in proptest::collection::vec(raw_entry(), 0..8), wide: bool,
            at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut bytes = build(&entries, wide);
            prop_assert_eq!(read(&bytes).unwrap().len(), entries.len());
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            whole_or_refused(&bytes);
        }

        #[test]
        fn garbage_never_panics(body in proptest::collection::vec(any::<u8>(), 0..50), last in 0u32..60, count in 0u16..6) {
            let mut bytes = (HEADER as u32 + body.len() as u32 + 1).to_le_bytes().to_vec();
            bytes.extend_from_slice(&last.to_le_bytes());
            bytes.extend_from_slice(&count.to_le_bytes());
            bytes.extend_from_slice(&body);
            bytes.push(END);
            whole_or_refused(&bytes);
            whole_or_refused(&body);
        }
    }

    /// What is read whole is the same as a listpack.
    fn whole_or_refused(bytes: &[u8]) {
        if let Ok(lp) = to_listpack(bytes) {
            assert!(lp.iter().eq(Ziplist::open(bytes).unwrap().map(Result::unwrap)));
            assert!(Listpack::from_bytes(lp.into_bytes()).is_ok());
        }
    }
}
