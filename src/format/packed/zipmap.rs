//! The zipmap, a hash before Redis 2.6: read only.
//!
//! ```text
//! count of pairs u8, 254 and above = count by walking
//! │ length of field │ field │ length of value │ free u8 │ value │ free bytes … │ FF
//! ```
//!
//! A length is one byte up to 253, above that `FE` and u32 LE. Free bytes lie behind a value that was once longer. As for
//! a ziplist, reading checks: a [`Zipmap`] is an iterator of results, field and value in turn.

use super::Entry;
use super::listpack::Listpack;
use crate::error::Corrupt;

const HEADER: usize = 1;
const END: u8 = 0xff;
const BIG: u8 = 0xfe;

/// The fields and values of a zipmap, checked as they are read; after an error nothing follows.
#[derive(Clone, Debug)]
pub struct Zipmap<'a> {
    /// Header and pairs, without the end byte.
    body: &'a [u8],
    at: usize,
    read: usize,
    done: bool,
}

impl<'a> Zipmap<'a> {
    pub fn open(bytes: &'a [u8]) -> Result<Zipmap<'a>, Corrupt> {
        match bytes {
            [body @ .., END] if body.len() >= HEADER => Ok(Zipmap { body, at: HEADER, read: 0, done: false }),
            _ => Err(Corrupt::new(bytes.len().saturating_sub(1) as u64, "zipmap without header or end")),
        }
    }

    fn read_entry(&mut self) -> Result<Entry<'a>, Corrupt> {
        let is_value = self.read % 2 == 1;
        let entry = self.body.get(self.at..).and_then(|rest| {
            let (len, head) = match *rest {
                // No server ever wrote a short length in the long form.
                [BIG, a, b, c, d, ..] if u32::from_le_bytes([a, b, c, d]) >= BIG.into() => {
                    (u32::from_le_bytes([a, b, c, d]) as usize, 5)
                }
                [len @ ..BIG, ..] => (len.into(), 1),
                _ => return None,
            };
            let (head, free) = if is_value { (head + 1, *rest.get(head)?) } else { (head, 0) };
            let size = head + len + usize::from(free);
            (size <= rest.len()).then(|| (Entry::Str(&rest[head..head + len]), size))
        });
        let (entry, size) =
            entry.ok_or_else(|| Corrupt::new(self.at as u64, "zipmap entry unknown or cut short"))?;
        self.at += size;
        self.read += 1;
        Ok(entry)
    }

    fn check_header(&self) -> Result<(), Corrupt> {
        let (said, pairs) = (self.body[0], self.read / 2);
        if self.read % 2 == 1 {
            return Err(Corrupt::new(self.at as u64, "zipmap field without value"));
        }
        if pairs == 0 || said < BIG && usize::from(said) != pairs {
            return Err(Corrupt::new(0, format!("zipmap of {pairs} pairs says it has {said}")));
        }
        Ok(())
    }
}

impl<'a> Iterator for Zipmap<'a> {
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

/// The same pairs as a listpack.
pub fn to_listpack(bytes: &[u8]) -> Result<Listpack, Corrupt> {
    super::collect(Zipmap::open(bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(bytes: &[u8]) -> Result<Vec<Vec<u8>>, Corrupt> {
        Ok(to_listpack(bytes)?.iter().map(Entry::to_vec).collect())
    }

    /// A zipmap of the pairs with so many free bytes behind each value.
    fn build(pairs: &[(Vec<u8>, Vec<u8>)], free: u8) -> Vec<u8> {
        let mut bytes = vec![pairs.len().min(BIG.into()) as u8];
        let length = |bytes: &mut Vec<u8>, len: usize| {
            if len >= BIG.into() {
                bytes.push(BIG);
                bytes.extend_from_slice(&(len as u32).to_le_bytes());
            } else {
                bytes.push(len as u8);
            }
        };
        for (field, value) in pairs {
            length(&mut bytes, field.len());
            bytes.extend_from_slice(field);
            length(&mut bytes, value.len());
            bytes.push(free);
            bytes.extend_from_slice(value);
            bytes.extend(std::iter::repeat_n(0xff, free.into()));
        }
        bytes.push(END);
        bytes
    }

    #[test]
    fn pairs_with_free_bytes_and_long_lengths() {
        assert_eq!(read(b"\x01\x03foo\x03\0bar\xff").unwrap(), [b"foo", b"bar"]);
        assert_eq!(read(b"\x01\x03foo\x01\x02bar\xff").unwrap(), [&b"foo"[..], b"b"]);
        assert_eq!(read(b"\xfe\x00\x02\x0042\xff").unwrap(), [&b""[..], b"42"]);
        for len in [0, 253, 254, 255, 70_000] {
            let long = vec![b'v'; len];
            let pairs = [(b"f".to_vec(), long.clone()), (long.clone(), b"1".to_vec())];
            assert_eq!(read(&build(&pairs, 3)).unwrap(), [b"f", &long[..], &long, b"1"]);
        }
        let many: Vec<_> = (0..300).map(|n| (format!("f{n}").into_bytes(), vec![])).collect();
        assert_eq!(read(&build(&many, 0)).unwrap().len(), 600);
    }

    #[test]
    fn damage_is_refused_with_its_place() {
        let check = |bytes: &[u8], at: u64| {
            let error = read(bytes).unwrap_err();
            assert_eq!(error.at, at, "{bytes:?}: {error}");
        };
        check(b"", 0);
        check(b"\xff", 0);
        check(b"\x00\xff", 0); // empty
        check(b"\x02\x01f\x01\0v\xff", 0); // count
        check(b"\x01\x01f\x01\0v", 5); // no end
        check(b"\x01\x01f\xff", 3); // no value
        check(b"\x01\x05f\x01\0v\xff", 1); // field beyond the end
        check(b"\x01\x01f\x01\x01v\xff", 3); // free bytes beyond the end
        check(b"\x01\x01f\x01\xff", 3);
        check(b"\x01\xff\x01f\x01\0v\xff", 1); // end inside
        check(b"\x01\xfe\xff\xff\xff\xff\xff", 1);
        check(b"\x01\xfe\xff\xff\xff", 1);
    }

    fn bytes(len: usize) -> impl Strategy<Value = Vec<u8>> {
        proptest::collection::vec(any::<u8>(), 0..len)
    }

    proptest! {
        #[test]
        fn flipped_bits_never_panic(
            pairs in proptest::collection::vec((bytes(10), bytes(300)), 1..6), free in 0u8..4,
            at in any::<prop::sample::Index>(), bit in 0u8..8,
        ) {
            let mut blob = build(&pairs, free);
            let flat: Vec<_> = pairs.into_iter().flat_map(|(field, value)| [field, value]).collect();
            prop_assert_eq!(read(&blob).unwrap(), flat);
            let at = at.index(blob.len());
            blob[at] ^= 1 << bit;
            whole_or_refused(&blob);
        }

        #[test]
        fn garbage_never_panics(mut blob in bytes(60), count in 0u8..6) {
            whole_or_refused(&blob);
            blob.insert(0, count);
            blob.push(END);
            whole_or_refused(&blob);
        }
    }

    /// What is read whole is the same as a listpack.
    fn whole_or_refused(bytes: &[u8]) {
        if let Ok(lp) = to_listpack(bytes) {
            assert!(lp.iter().eq(Zipmap::open(bytes).unwrap().map(Result::unwrap)));
            assert!(Listpack::from_bytes(lp.into_bytes()).is_ok());
        }
    }
}
