//! The string value: [`Str`] where it is on its own, four shapes in sixteen bytes, and [`Text`] where it is read.
//!
//! | shape | holds | OBJECT ENCODING |
//! |---|---|---|
//! | `Int` | a canonical decimal i64 | int |
//! | `Short` | up to 14 bytes, in place | embstr |
//! | `Blob` | immutable bytes behind one thin, counted pointer | embstr up to 44 bytes, else raw |
//! | `Buf` | a growable buffer, once APPEND, SETRANGE or SETBIT has touched it | raw |
//!
//! In an entry there are neither `Short` nor, where that takes less, `Blob`: their bytes lie behind the key
//! ([`super::entry`]). A value that is changed in place becomes `Buf` and stays so, since more such changes are likely; as
//! in Redis, its encoding is `raw` from then on. Cloning never copies bytes beyond `Short`.

use triomphe::{Arc, ThinArc};

use crate::resp::number::parse_i64;

const SHORT: usize = 14;
/// Digits and sign of the longest i64.
pub const LONGEST_INT: usize = 20;
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

    /// Takes over a buffer that was built in place.
    pub fn from_vec(bytes: Vec<u8>) -> Str {
        Str::Buf(Arc::new(bytes))
    }

    pub fn view(&self) -> Text<'_> {
        match self {
            Str::Int(n) => Text::Int(*n),
            Str::Short { len, bytes } => Text::Bytes(&bytes[..*len as usize]),
            Str::Blob(blob) => Text::Bytes(&blob.slice),
            Str::Buf(buf) => Text::Buf(buf),
        }
    }
}

/// A string as a reader sees it, wherever it lies.
#[derive(Clone, Copy, Debug)]
pub enum Text<'a> {
    Int(i64),
    Bytes(&'a [u8]),
    Buf(&'a Vec<u8>),
}

impl<'a> Text<'a> {
    pub fn bytes(self, text: &'a mut IntText) -> &'a [u8] {
        match self {
            Text::Int(n) => text.format(n).as_bytes(),
            Text::Bytes(bytes) => bytes,
            Text::Buf(buf) => buf,
        }
    }

    pub fn to_vec(self) -> Vec<u8> {
        self.bytes(&mut IntText::new()).to_vec()
    }

    pub fn len(self) -> usize {
        self.bytes(&mut IntText::new()).len()
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The integer this string is the canonical text of.
    pub fn as_i64(self) -> Option<i64> {
        match self {
            Text::Int(n) => Some(n),
            other => parse_i64(other.bytes(&mut IntText::new())),
        }
    }

    /// OBJECT ENCODING's word.
    pub fn encoding(self) -> &'static str {
        match self {
            Text::Int(_) => "int",
            Text::Bytes(bytes) if bytes.len() <= EMBSTR => "embstr",
            Text::Bytes(_) | Text::Buf(_) => "raw",
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
            assert_eq!((value.view().encoding(), value.view().to_vec().as_slice()), (encoding, input));
        };
        check(b"", "embstr");
        check(b"12", "int");
        check(b"-9223372036854775808", "int");
        check(b"9223372036854775808", "embstr");
        check(b"012", "embstr");
        check(&[b'x'; 44], "embstr");
        check(&[b'x'; 45], "raw");
    }
}
