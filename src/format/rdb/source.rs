//! Reads RDB's primitives from any reader through one buffer, knowing offset and checksum at every byte.
//!
//! Short strings are lent from the buffer, so that a file of small values is read without an allocation per
//! string. The checksum is advanced over whole stretches of the buffer and only when it is refilled or asked for.
//!
//! Always: `at ≤ end ≤ buffer.len()`; buffer[0] is byte `base` of the input; bytes before `hashed` are in the CRC,
//! bytes before `recorded` in the recording.

mod pieces;

use std::io::{ErrorKind, Read};
use std::ops::Range;

use super::LoadError;
use crate::format::crc::RdbCrc;
use crate::format::lzf;
pub use pieces::{Blob, Piece};

type Result<T> = std::result::Result<T, LoadError>;

/// Enough to make system calls rare, little enough to stay in the second-level cache.
const BUFFER: usize = 128 << 10;

/// A reader of RDB's primitives.
pub struct Source<'a> {
    input: &'a mut dyn Read,
    buffer: Box<[u8]>,
    at: usize,
    end: usize,
    base: u64,
    crc: RdbCrc,
    hashed: usize,
    recording: Option<Recording>,
    recorded: usize,
    /// An LZF block that is longer than the buffer.
    block: Vec<u8>,
    /// The longest string that [`Source::string`] and [`Source::owned`] put into memory; above it they say
    /// [`LoadError::TooLong`]. Without limit unless set.
    pub longest: u64,
}

/// Where [`Source::string`] left its bytes.
enum Place {
    Buffer(Range<usize>),
    Scratch,
}

/// Takes bytes as they are read.
pub type Taker = Box<dyn FnMut(&[u8])>;

/// Who gets a copy of what is read.
enum Recording {
    Memory(Vec<u8>),
    Elsewhere(Taker),
}

enum Length {
    Plain(u64),
    /// A string form: the low six bits of its first byte.
    Special(u8),
}

impl<'a> Source<'a> {
    /// `size`: how much is expected, if little; only the buffer's size depends on it. More than the RDB file may be
    /// taken from `input`: what must stay there is for the caller to fence off (`Read::take`).
    pub fn new(input: &'a mut dyn Read, size: Option<usize>) -> Source<'a> {
        let capacity = size.unwrap_or(BUFFER).clamp(64, BUFFER);
        Source {
            input,
            buffer: vec![0; capacity].into_boxed_slice(),
            at: 0,
            end: 0,
            base: 0,
            crc: RdbCrc::new(),
            hashed: 0,
            recording: None,
            recorded: 0,
            block: Vec::new(),
            longest: u64::MAX,
        }
    }

    /// Bytes read so far: the offset of the next one.
    pub fn offset(&self) -> u64 {
        self.base + self.at as u64
    }

    /// CRC-64/REDIS of all bytes read so far.
    pub fn checksum(&mut self) -> u64 {
        self.settle();
        self.crc.value()
    }

    /// As if the input's first byte were byte `base` of a file.
    pub fn starting_at(self, base: u64) -> Source<'a> {
        Source { base, ..self }
    }

    /// Keeps a copy of all bytes from here on, until [`Source::end_recording`].
    pub fn record(&mut self) {
        self.begin_recording(Recording::Memory(Vec::new()));
    }

    /// Hands a copy of all bytes from here on to `taker`, until [`Source::end_recording`].
    pub fn record_to(&mut self, taker: Taker) {
        self.begin_recording(Recording::Elsewhere(taker));
    }

    fn begin_recording(&mut self, recording: Recording) {
        self.settle();
        self.recording = Some(recording);
        self.recorded = self.at;
    }

    /// The bytes read since [`Source::record`].
    pub fn end_recording(&mut self) -> Vec<u8> {
        self.settle();
        match self.recording.take() {
            Some(Recording::Memory(bytes)) => bytes,
            Some(Recording::Elsewhere(_)) | None => Vec::new(),
        }
    }

    pub fn u8(&mut self) -> Result<u8> {
        self.array().map(|[byte]| byte)
    }

    pub fn array<const N: usize>(&mut self) -> Result<[u8; N]> {
        self.need(N)?;
        let bytes = self.buffer[self.at..self.end].first_chunk().copied();
        self.at += N;
        // `need` has seen to it that they are there.
        Ok(bytes.unwrap_or([0; N]))
    }

    /// A length, or any other number in that form.
    pub fn length(&mut self) -> Result<u64> {
        let at = self.offset();
        match self.length_or_form()? {
            Length::Plain(length) => Ok(length),
            Length::Special(form) => {
                Err(LoadError::corrupt(at, format!("a string form ({form}) where a length should be")))
            }
        }
    }

    /// A string's bytes: lent from the buffer, or put into `scratch`.
    pub fn string<'s>(&'s mut self, scratch: &'s mut Vec<u8>) -> Result<&'s [u8]> {
        match self.read_string(scratch)? {
            Place::Buffer(range) => Ok(&self.buffer[range]),
            Place::Scratch => Ok(scratch),
        }
    }

    /// A string as a vector of its own.
    pub fn owned(&mut self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        match self.read_string(&mut bytes)? {
            Place::Buffer(range) => Ok(self.buffer[range].to_vec()),
            Place::Scratch => {
                bytes.shrink_to_fit();
                Ok(bytes)
            }
        }
    }

    /// Steps over `len` bytes.
    pub fn skip(&mut self, mut len: u64) -> Result<()> {
        while len > 0 {
            self.need(1)?;
            let step = len.min((self.end - self.at) as u64);
            self.at += step as usize;
            len -= step;
        }
        Ok(())
    }

    /// Steps over a string.
    pub fn skip_string(&mut self) -> Result<()> {
        let at = self.offset();
        let len = match self.length_or_form()? {
            Length::Plain(len) => len,
            Length::Special(form @ 0..=2) => 1 << form,
            Length::Special(3) => {
                let packed = self.length()?;
                self.length()?;
                packed
            }
            Length::Special(form) => return Err(unknown_form(at, form)),
        };
        self.skip(len)
    }

    /// Bytes taken from the input and not read yet: behind the end of an RDB file, the start of what follows it.
    pub fn buffered(&self) -> &[u8] {
        &self.buffer[self.at..self.end]
    }

    /// Whether the input ends here.
    pub fn is_at_end(&mut self) -> Result<bool> {
        Ok(self.fill(1)? < 1)
    }

    fn length_or_form(&mut self) -> Result<Length> {
        let at = self.offset();
        let first = self.u8()?;
        Ok(match first {
            0x00..=0x3f => Length::Plain(first.into()),
            0x40..=0x7f => Length::Plain(u16::from_be_bytes([first & 0x3f, self.u8()?]).into()),
            0x80 => Length::Plain(u32::from_be_bytes(self.array()?).into()),
            0x81 => Length::Plain(u64::from_be_bytes(self.array()?)),
            0x82..=0xbf => return Err(LoadError::corrupt(at, format!("unknown length form {first:#04x}"))),
            0xc0..=0xff => Length::Special(first & 0x3f),
        })
    }

    fn read_string(&mut self, scratch: &mut Vec<u8>) -> Result<Place> {
        let at = self.offset();
        let form = self.length_or_form()?;
        self.read_form(at, form, scratch)
    }

    /// The string at `at` whose length or form was read.
    fn read_form(&mut self, at: u64, form: Length, scratch: &mut Vec<u8>) -> Result<Place> {
        let number = match form {
            Length::Plain(len) => {
                self.check_limit(at, len, len)?;
                return self.raw(len, scratch);
            }
            Length::Special(0) => i8::from_le_bytes(self.array()?).into(),
            Length::Special(1) => i16::from_le_bytes(self.array()?).into(),
            Length::Special(2) => i32::from_le_bytes(self.array()?),
            Length::Special(3) => {
                let (packed, len) = (self.length()?, self.length()?);
                self.check_limit(at, packed, len)?;
                return self.compressed_block(at, packed, len, scratch);
            }
            Length::Special(form) => return Err(unknown_form(at, form)),
        };
        scratch.clear();
        scratch.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        Ok(Place::Scratch)
    }

    /// `stored`: the bytes that a string of `len` bytes takes here. What is too long must at least be there.
    #[inline]
    fn check_limit(&mut self, at: u64, stored: u64, len: u64) -> Result<()> {
        if len.max(stored) <= self.longest {
            return Ok(());
        }
        self.skip(stored)?;
        Err(LoadError::TooLong { at, len, longest: self.longest })
    }

    /// The next `len` bytes.
    fn raw(&mut self, len: u64, scratch: &mut Vec<u8>) -> Result<Place> {
        if len <= self.buffer.len() as u64 {
            let len = len as usize;
            self.need(len)?;
            let range = self.at..self.at + len;
            self.at += len;
            return Ok(Place::Buffer(range));
        }
        // Grows with what arrives, not with what is promised.
        scratch.clear();
        while (scratch.len() as u64) < len {
            self.need(1)?;
            let step = (len - scratch.len() as u64).min((self.end - self.at) as u64) as usize;
            scratch.extend_from_slice(&self.buffer[self.at..self.at + step]);
            self.at += step;
        }
        Ok(Place::Scratch)
    }

    /// `len` bytes from an LZF block of `packed` bytes.
    fn compressed_block(&mut self, at: u64, packed: u64, len: u64, scratch: &mut Vec<u8>) -> Result<Place> {
        let from = self.offset();
        let Ok(len) = usize::try_from(len) else {
            return Err(LoadError::corrupt(at, "a compressed string too long for memory"));
        };
        let mut block = std::mem::take(&mut self.block);
        let result = match self.raw(packed, &mut block)? {
            Place::Buffer(range) => lzf::decompress(&self.buffer[range], len, scratch),
            Place::Scratch => lzf::decompress(&block, len, scratch),
        };
        result.map_err(|corrupt| corrupt.shifted(from))?;
        self.block = block;
        Ok(Place::Scratch)
    }

    /// Sees to it that `len` bytes, no more than the buffer holds, are there to read.
    #[inline]
    fn need(&mut self, len: usize) -> Result<()> {
        if self.end - self.at >= len {
            return Ok(());
        }
        let there = self.fill(len)?;
        if there < len {
            let at = self.offset() + there as u64;
            return Err(LoadError::corrupt(at, format!("ends here, {} or more bytes too soon", len - there)));
        }
        Ok(())
    }

    /// Reads until `len` bytes are there or the input ends; how many are there.
    fn fill(&mut self, len: usize) -> Result<usize> {
        if self.end - self.at >= len {
            return Ok(self.end - self.at);
        }
        self.settle();
        self.buffer.copy_within(self.at..self.end, 0);
        self.base += self.at as u64;
        self.end -= self.at;
        (self.at, self.hashed, self.recorded) = (0, 0, 0);
        while self.end < len {
            match self.input.read(&mut self.buffer[self.end..]) {
                Ok(0) => break,
                Ok(count) => self.end += count,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(LoadError::Io(error)),
            }
        }
        Ok(self.end)
    }

    /// Brings checksum and recording up to here.
    fn settle(&mut self) {
        self.crc.update(&self.buffer[self.hashed..self.at]);
        self.hashed = self.at;
        let news = &self.buffer[self.recorded..self.at];
        match &mut self.recording {
            Some(Recording::Memory(bytes)) => bytes.extend_from_slice(news),
            Some(Recording::Elsewhere(taker)) if !news.is_empty() => taker(news),
            Some(Recording::Elsewhere(_)) | None => {}
        }
        self.recorded = self.at;
    }
}

fn unknown_form(at: u64, form: u8) -> LoadError {
    LoadError::corrupt(at, format!("unknown string form {form}"))
}
