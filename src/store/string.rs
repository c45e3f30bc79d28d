//! The string value: four shapes in sixteen bytes.
//!
//! | shape | holds | OBJECT ENCODING |
//! |---|---|---|
//! | `Int` | a canonical decimal i64 | int |
//! | `Short` | up to 14 bytes, in place | embstr |
//! | `Blob` | immutable bytes behind one thin, counted pointer | embstr up to 44 bytes, else raw |
//! | `Buf` | a growable buffer, once APPEND, SETRANGE or SETBIT has touched it | raw |
//!
//! SET makes one of the first three, so the common value costs at most one allocation beside its entry. A value
//! that is changed in place becomes `Buf` and stays so, since more such changes are likely; as in Redis, its
//! encoding is `raw` from then on. Sharing is by counted pointer: cloning never copies bytes, and a change to a
//! `Buf` that a snapshot still holds copies it first.

use triomphe::{Arc, ThinArc};

use crate::resp::number::parse_i64;

const SHORT: usize = 14;
/// Digits and sign of the longest i64.
const LONGEST_INT: usize = 20;
/// Longest string that Redis embeds in its object header.
const EMBSTR: usize = 44;

#[derive(Clone, Debug)]
pub enum Str {
    Int(i64),
    Short { len: u8, bytes: [u8; SHORT] },
    Blob(ThinArc<(), u8>),
    Buf(Arc<Vec<u8>>),
}

/// Room for the text of an `Int`, so that every shape can be seen as bytes.
pub type IntText = itoa::Buffer;

impl Str {
    /// As SET stores: an integer if `bytes` are exactly its decimal text.
    pub fn new(bytes: &[u8]) -> Str {
        if bytes.len() <= LONGEST_INT
            && let Some(n) = parse_i64(bytes)
        {
            return Str::Int(n);
        }
        Str::text(bytes)
    }

    /// The bytes as they are, never as an integer.
    pub fn text(bytes: &[u8]) -> Str {
        if bytes.len() <= SHORT {
            let mut short = [0; SHORT];
            short[..bytes.len()].copy_from_slice(bytes);
            return Str::Short { len: bytes.len() as u8, bytes: short };
        }
        Str::Blob(ThinArc::from_header_and_slice((), bytes))
    }

    /// Becomes what [`Str::new`] makes of `bytes` where that needs no other allocation: both are blobs of one length, and
    /// no snapshot holds this one. False: nothing was done.
    pub fn overwrite(&mut self, bytes: &[u8]) -> bool {
        let Str::Blob(blob) = self else { return false };
        if blob.slice.len() != bytes.len() || bytes.len() <= LONGEST_INT {
            return false;
        }
        blob.with_arc_mut(|blob| match Arc::get_mut(blob) {
            Some(alone) => {
                alone.slice_mut().copy_from_slice(bytes);
                true
            }
            None => false,
        })
    }

    /// Takes over a buffer that was built in place.
    pub fn from_vec(bytes: Vec<u8>) -> Str {
        Str::Buf(Arc::new(bytes))
    }

    pub fn bytes<'a>(&'a self, text: &'a mut IntText) -> &'a [u8] {
        match self {
            Str::Int(n) => text.format(*n).as_bytes(),
            Str::Short { len, bytes } => &bytes[..*len as usize],
            Str::Blob(blob) => &blob.slice,
            Str::Buf(buf) => buf,
        }
    }

    pub fn to_vec(&self) -> Vec<u8> {
        self.bytes(&mut IntText::new()).to_vec()
    }

    pub fn len(&self) -> usize {
        self.bytes(&mut IntText::new()).len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The integer this string is the canonical text of.
    pub fn as_i64(&self) -> Option<i64> {
        match self {
            Str::Int(n) => Some(*n),
            other => parse_i64(other.bytes(&mut IntText::new())),
        }
    }

    /// The bytes for change in place; from here on the shape is `Buf`.
    pub fn make_mut(&mut self) -> &mut Vec<u8> {
        if !matches!(self, Str::Buf(_)) {
            *self = Str::Buf(Arc::new(self.to_vec()));
        }
        match self {
            Str::Buf(buf) => Arc::make_mut(buf),
            _ => unreachable!("just made a Buf"),
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(&self) -> &'static str {
        match self {
            Str::Int(_) => "int",
            Str::Short { .. } => "embstr",
            Str::Blob(blob) if blob.slice.len() <= EMBSTR => "embstr",
            Str::Blob(_) | Str::Buf(_) => "raw",
        }
    }

    /// Heap bytes beside the sixteen in the entry.
    pub fn heap_bytes(&self) -> usize {
        match self {
            Str::Int(_) | Str::Short { .. } => 0,
            Str::Blob(blob) => 16 + blob.slice.len(),
            Str::Buf(buf) => 8 + size_of::<Vec<u8>>() + buf.capacity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_and_encodings() {
        let check = |input: &[u8], encoding: &str| {
            let value = Str::new(input);
            assert_eq!((value.encoding(), value.to_vec().as_slice()), (encoding, input));
        };
        check(b"", "embstr");
        check(b"12", "int");
        check(b"-9223372036854775808", "int");
        check(b"9223372036854775808", "embstr");
        check(b"012", "embstr");
        check(&[b'x'; 44], "embstr");
        check(&[b'x'; 45], "raw");
    }

    #[test]
    fn change_in_place_leaves_clones_alone() {
        let mut value = Str::new(b"12");
        let before = value.clone();
        value.make_mut().extend(b"ab");
        let between = value.clone();
        value.make_mut().extend(b"cd");
        assert_eq!((before.to_vec(), between.to_vec()), (b"12".to_vec(), b"12ab".to_vec()));
        assert_eq!((value.to_vec(), value.encoding()), (b"12abcd".to_vec(), "raw"));
    }
}
