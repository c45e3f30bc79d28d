//! One element of a packed sequence. Numbers are kept as numbers exactly when printing them gives the same bytes
//! back, so an entry means one byte string whichever way it is stored; equality is equality of those strings.

use crate::resp::number::parse_i64;

/// An element as it is stored: borrowed bytes, or an integer that stands for its decimal text.
#[derive(Clone, Copy, Debug)]
pub enum Entry<'a> {
    Int(i64),
    Str(&'a [u8]),
}

impl<'a> Entry<'a> {
    /// The element's bytes; a number is printed into `buffer`.
    #[inline]
    pub fn bytes<'b>(self, buffer: &'b mut itoa::Buffer) -> &'b [u8]
    where
        'a: 'b,
    {
        match self {
            Entry::Int(n) => buffer.format(n).as_bytes(),
            Entry::Str(bytes) => bytes,
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut itoa::Buffer::new()).to_vec()
    }

    #[inline]
    pub fn eq_bytes(self, bytes: &[u8]) -> bool {
        match self {
            Entry::Int(n) => parse_i64(bytes) == Some(n),
            Entry::Str(own) => own == bytes,
        }
    }

    /// Length of the element's bytes.
    pub fn bytes_len(self) -> usize {
        self.bytes(&mut itoa::Buffer::new()).len()
    }

    /// The element as an integer, also if it was stored as text.
    pub fn to_i64(self) -> Option<i64> {
        match self {
            Entry::Int(n) => Some(n),
            Entry::Str(bytes) => parse_i64(bytes),
        }
    }
}

/// Whether no two entries are equal: what a set, or the fields of a hash, must be.
pub fn all_distinct<'a>(entries: impl Iterator<Item = Entry<'a>>) -> bool {
    let mut keys: Vec<(Option<i64>, &[u8])> = entries
        .map(|entry| match (entry.to_i64(), entry) {
            (None, Entry::Str(bytes)) => (None, bytes),
            (number, _) => (number, &[][..]),
        })
        .collect();
    keys.sort_unstable();
    keys.windows(2).all(|pair| pair[0] != pair[1])
}

impl PartialEq for Entry<'_> {
    fn eq(&self, other: &Entry<'_>) -> bool {
        match (*self, *other) {
            (Entry::Int(a), Entry::Int(b)) => a == b,
            (a, Entry::Str(bytes)) | (Entry::Str(bytes), a) => a.eq_bytes(bytes),
        }
    }
}

impl Eq for Entry<'_> {}

impl From<i64> for Entry<'_> {
    fn from(n: i64) -> Self {
        Entry::Int(n)
    }
}

impl<'a> From<&'a [u8]> for Entry<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Entry::Str(bytes)
    }
}

impl<'a> From<&'a Vec<u8>> for Entry<'a> {
    fn from(bytes: &'a Vec<u8>) -> Self {
        Entry::Str(bytes)
    }
}

impl<'a, const N: usize> From<&'a [u8; N]> for Entry<'a> {
    fn from(bytes: &'a [u8; N]) -> Self {
        Entry::Str(bytes)
    }
}

impl<'a> From<&'a str> for Entry<'a> {
    fn from(text: &'a str) -> Self {
        Entry::Str(text.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distinct_by_bytes_however_stored() {
        let check = |entries: &[Entry<'_>], distinct| {
            assert_eq!(all_distinct(entries.iter().copied()), distinct, "{entries:?}");
        };
        check(&[], true);
        check(&[Entry::Int(1), Entry::Str(b"a"), Entry::Str(b""), Entry::Str(b"01")], true);
        check(&[Entry::Int(1), Entry::Str(b"a"), Entry::Str(b"1")], false);
        check(&[Entry::Str(b"a"), Entry::Int(7), Entry::Str(b"a")], false);
    }
}
