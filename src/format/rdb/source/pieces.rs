//! Strings of any length in a bounded amount of memory: in pieces, for readers that look and do not keep.
//!
//! A short string is one piece, lent as [`Source::string`] lends it. A long one comes as it is read; a long LZF block
//! is decompressed through the 8 KiB that its copies can reach back, so that what it promises costs nothing.
//! A packed encoding must be seen whole: [`Source::blob`] lends it up to a limit and steps over it above that.

use super::{Length, LoadError, Place, Result, Source};
use crate::format::lzf;

/// Compressed strings up to this length are decompressed at once.
const WHOLE: u64 = 1 << 20;
/// Bytes of a long compressed string that are given out together.
const STEP: usize = 64 << 10;

/// A part of a string.
#[derive(Clone, Copy, Debug)]
pub struct Piece<'a> {
    /// Where the string begins in the file.
    pub offset: u64,
    /// Bytes of the whole string.
    pub len: u64,
    /// Bytes of the string before these.
    pub at: u64,
    pub bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    /// A string in one piece.
    pub fn whole(offset: u64, bytes: &'a [u8]) -> Piece<'a> {
        Piece { offset, len: bytes.len() as u64, at: 0, bytes }
    }
    pub fn is_first(&self) -> bool {
        self.at == 0
    }
    pub fn is_last(&self) -> bool {
        self.at + self.bytes.len() as u64 == self.len
    }
}

/// A string to be seen whole.
#[derive(Debug)]
pub enum Blob<'a> {
    Lent(&'a [u8]),
    /// Longer than the limit, of this length; it was stepped over.
    TooLong(u64),
}

impl Source<'_> {
    /// Visits the string that follows, in order and without gaps; an empty one is one empty piece. Its length.
    #[inline]
    pub fn pieces(
        &mut self,
        scratch: &mut Vec<u8>,
        mut visit: impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<u64> {
        let offset = self.offset();
        let form = self.length_or_form()?;
        match form {
            Length::Plain(len) if len > self.buffer.len() as u64 => {
                self.long_plain(offset, len, &mut visit)?;
                return Ok(len);
            }
            Length::Special(3) => {
                let (packed, len) = (self.length()?, self.length()?);
                if packed.max(len) > WHOLE {
                    self.long_compressed(offset, packed, len, scratch, &mut visit)?;
                    return Ok(len);
                }
                self.compressed_block(offset, packed, len, scratch)?;
                visit(Piece::whole(offset, scratch))?;
                return Ok(len);
            }
            _ => {}
        }
        let bytes = match self.read_form(offset, form, scratch)? {
            Place::Buffer(range) => &self.buffer[range],
            Place::Scratch => scratch.as_slice(),
        };
        let len = bytes.len() as u64;
        visit(Piece::whole(offset, bytes))?;
        Ok(len)
    }

    /// The string that follows if it has at most `limit` bytes; it is stepped over if it has more.
    pub fn blob<'s>(&'s mut self, scratch: &'s mut Vec<u8>, limit: u64) -> Result<Blob<'s>> {
        let offset = self.offset();
        let form = self.length_or_form()?;
        let place = match form {
            Length::Plain(len) if len > limit => {
                self.skip(len)?;
                return Ok(Blob::TooLong(len));
            }
            Length::Special(3) => {
                let (packed, len) = (self.length()?, self.length()?);
                if packed.max(len) > limit {
                    self.long_compressed(offset, packed, len, scratch, &mut |_| Ok(()))?;
                    return Ok(Blob::TooLong(len));
                }
                self.compressed_block(offset, packed, len, scratch)?;
                Place::Scratch
            }
            form => self.read_form(offset, form, scratch)?,
        };
        Ok(Blob::Lent(match place {
            Place::Buffer(range) => &self.buffer[range],
            Place::Scratch => scratch,
        }))
    }

    fn long_plain(
        &mut self,
        offset: u64,
        len: u64,
        visit: &mut impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut at = 0;
        while at < len {
            self.need(1)?;
            let step = (len - at).min((self.end - self.at) as u64) as usize;
            let bytes = &self.buffer[self.at..self.at + step];
            visit(Piece { offset, len, at, bytes })?;
            self.at += step;
            at += step as u64;
        }
        Ok(())
    }

    fn long_compressed(
        &mut self,
        offset: u64,
        packed: u64,
        len: u64,
        out: &mut Vec<u8>,
        visit: &mut impl FnMut(Piece<'_>) -> Result<()>,
    ) -> Result<()> {
        if len > packed.saturating_mul(lzf::MAX_EXPANSION as u64) {
            let what = format!("LZF: {packed} bytes cannot stand for {len}");
            return Err(LoadError::corrupt(offset, what));
        }
        out.clear();
        let end = self.offset().saturating_add(packed);
        // `out[given..]` is not given out yet; `at` bytes of the string are.
        let (mut given, mut at) = (0, 0);
        while self.offset() < end {
            let here = self.offset();
            let wrong = |what| Err(LoadError::corrupt(here, what));
            let control = usize::from(self.u8()?);
            let left = end - self.offset();
            let room = len - at - (out.len() - given) as u64;
            let tail = if control < 32 { control as u64 + 1 } else { 1 + u64::from(control >> 5 == 7) };
            if tail > left {
                return wrong("LZF: block cut short");
            }
            if control < 32 {
                let count = control + 1;
                if count as u64 > room {
                    return wrong("LZF: yields more than was promised");
                }
                self.need(count)?;
                out.extend_from_slice(&self.buffer[self.at..self.at + count]);
                self.at += count;
            } else {
                let count = 2 + if tail == 2 { 7 + usize::from(self.u8()?) } else { control >> 5 };
                let distance = 1 + ((control & 31) << 8 | usize::from(self.u8()?));
                if distance > out.len() {
                    return wrong("LZF: copy from before the start");
                }
                if count as u64 > room {
                    return wrong("LZF: yields more than was promised");
                }
                for _ in 0..count {
                    out.push(out[out.len() - distance]);
                }
            }
            if out.len() - given >= STEP {
                visit(Piece { offset, len, at, bytes: &out[given..] })?;
                at += (out.len() - given) as u64;
                out.drain(..out.len() - lzf::WINDOW);
                given = out.len();
            }
        }
        let rest = (out.len() - given) as u64;
        if at + rest != len {
            let what = format!("LZF: yields {} bytes, not {len}", at + rest);
            return Err(LoadError::corrupt(end, what));
        }
        if rest > 0 || len == 0 {
            visit(Piece { offset, len, at, bytes: &out[given..] })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::rdb::Output;

    fn written(text: &[u8], compress: bool) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut output = Output::new(&mut bytes, compress, false);
        output.string(text).unwrap();
        output.flush().unwrap();
        drop(output);
        bytes
    }

    fn read(bytes: &[u8]) -> Result<(Vec<u8>, usize)> {
        let mut input = bytes;
        let mut source = Source::new(&mut input, None);
        let (mut all, mut largest) = (Vec::new(), 0);
        source.pieces(&mut Vec::new(), |piece| {
            assert_eq!((piece.at, piece.offset), (all.len() as u64, 0));
            all.extend_from_slice(piece.bytes);
            largest = largest.max(piece.bytes.len());
            assert_eq!(piece.is_last(), all.len() as u64 == piece.len);
            Ok(())
        })?;
        assert_eq!(source.offset(), bytes.len() as u64);
        Ok((all, largest))
    }

    #[test]
    fn strings_come_whole_in_bounded_pieces() {
        let noise =
            |len: usize| (0..len).map(|i| ((i as u64 * 2_654_435_761) >> 13) as u8).collect::<Vec<_>>();
        let words =
            |len: usize| b"so many words, so little said ".iter().copied().cycle().take(len).collect();
        for len in [0, 1, 100, 5_000, 70_000, 200_000, 3_000_000] {
            for text in [noise(len), words(len), vec![b'x'; len]] {
                for compress in [false, true] {
                    let (all, largest) = read(&written(&text, compress)).unwrap();
                    assert!(all == text, "{len} {compress}");
                    assert!(largest <= (1 << 20), "{largest}");
                }
            }
        }
        assert_eq!(read(b"\xc0\x85").unwrap().0, b"-123");
    }

    #[test]
    fn blobs_above_the_limit_are_stepped_over() {
        for compress in [false, true] {
            let bytes = [written(&vec![b'x'; 2_000_000], compress), b"\x01y".to_vec()].concat();
            for (limit, fits) in [(1_999_999, false), (2_000_000, true)] {
                let mut input = &bytes[..];
                let mut source = Source::new(&mut input, None);
                let mut scratch = Vec::new();
                match source.blob(&mut scratch, limit).unwrap() {
                    Blob::Lent(found) => assert!(fits && found.len() == 2_000_000),
                    Blob::TooLong(len) => assert!(!fits && len == 2_000_000),
                }
                assert_eq!(source.owned().unwrap(), b"y");
            }
        }
    }

    #[test]
    fn bombs_and_damage_are_errors() {
        let lzf = |packed: u32, len: u64, block: &[u8]| {
            let mut bytes = vec![0xc3, 0x80];
            bytes.extend_from_slice(&packed.to_be_bytes());
            bytes.push(0x81);
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(block);
            bytes
        };
        let check = |bytes: Vec<u8>, what: &str| {
            let error = read(&bytes).unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        check(lzf(3, 1 << 60, b"\0ab"), "cannot stand for");
        check(lzf(2_000_000, 1 << 21, b"\0a"), "ends here");
        check(lzf(2_000_000, 1 << 21, &[0xe0; 9]), "copy from before the start");
        check(lzf(2, 1 << 21, b"\0a"), "cannot stand for");
        check(lzf(1 << 21, 1, &vec![0; 1 << 21]), "more than was promised");
    }
}
