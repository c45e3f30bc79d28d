//! Writes RDB's primitives to any writer through one buffer, with offset and checksum.
//!
//! A string takes the shortest form, as Redis chooses it: an integer's text of up to eleven bytes as integer, one
//! of more than twenty bytes compressed if that is asked for and saves anything, else as it is.

use std::io::{self, Write};

use super::{Opcode, VERSION_VALKEY, ValueType};
use crate::format::crc::RdbCrc;
use crate::format::lzf;
use crate::format::packed::Entry;
use crate::resp::number::parse_i64;

/// The buffer is written when it has grown to this.
const FLUSH_AT: usize = 64 << 10;
/// Strings up to this length may be an integer's text of 32 bits.
const INTEGER_TEXT: usize = 11;
/// Strings up to this length are not compressed.
const SHORT: usize = 20;

/// A writer of RDB's primitives.
pub struct Output<'a> {
    out: &'a mut dyn Write,
    buffer: Vec<u8>,
    written: u64,
    crc: Option<RdbCrc>,
    compress: Option<Compressor>,
}

#[derive(Default)]
struct Compressor {
    table: lzf::Table,
    block: Vec<u8>,
}

impl<'a> Output<'a> {
    /// `compress`: whether strings may be; `checksum`: whether one is computed at all.
    pub fn new(out: &'a mut dyn Write, compress: bool, checksum: bool) -> Output<'a> {
        Output {
            out,
            buffer: Vec::new(),
            written: 0,
            crc: checksum.then(RdbCrc::new),
            compress: compress.then(Compressor::default),
        }
    }

    /// Bytes put so far.
    pub fn offset(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    /// The nine bytes at the start of a file.
    pub fn header(&mut self, version: u16) -> io::Result<()> {
        let name = match version {
            VERSION_VALKEY => format!("VALKEY{version:03}"),
            _ => format!("REDIS{version:04}"),
        };
        self.bytes(name.as_bytes())
    }

    pub fn opcode(&mut self, opcode: Opcode) -> io::Result<()> {
        self.bytes(&[opcode as u8])
    }

    pub fn value_type(&mut self, kind: ValueType) -> io::Result<()> {
        self.bytes(&[kind as u8])
    }

    pub fn aux(&mut self, name: &str, value: &[u8]) -> io::Result<()> {
        self.opcode(Opcode::Aux)?;
        self.string(name.as_bytes())?;
        self.string(value)
    }

    /// The end of a file: opcode, checksum, everything handed to the writer. Returns the checksum, 0 if none.
    pub fn finish(&mut self) -> io::Result<u64> {
        self.opcode(Opcode::End)?;
        self.flush()?;
        let checksum = self.crc.map_or(0, |crc| crc.value());
        self.bytes(&checksum.to_le_bytes())?;
        self.flush()?;
        self.out.flush()?;
        Ok(checksum)
    }

    /// Hands everything put so far to the writer.
    pub fn flush(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.buffer);
        self.write(&buffer)?;
        self.buffer = buffer;
        self.buffer.clear();
        Ok(())
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let Some(crc) = &mut self.crc {
            crc.update(bytes);
        }
        self.out.write_all(bytes)?;
        self.written += bytes.len() as u64;
        Ok(())
    }

    /// These bytes.
    #[inline]
    pub fn bytes(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() >= FLUSH_AT {
            self.flush()?;
            return self.write(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= FLUSH_AT { self.flush() } else { Ok(()) }
    }

    /// A length, or any other number in that form.
    #[inline]
    pub fn length(&mut self, length: u64) -> io::Result<()> {
        match length {
            0..=0x3f => self.bytes(&[length as u8]),
            0x40..=0x3fff => self.bytes(&(0x4000 | length as u16).to_be_bytes()),
            0x4000..=0xffff_ffff => {
                self.bytes(&[0x80])?;
                self.bytes(&(length as u32).to_be_bytes())
            }
            _ => {
                self.bytes(&[0x81])?;
                self.bytes(&length.to_be_bytes())
            }
        }
    }

    /// A string in its shortest form.
    #[inline]
    pub fn string(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() <= INTEGER_TEXT
            && let Some(n) = parse_i64(bytes).and_then(|n| i32::try_from(n).ok())
        {
            return self.short_integer(n);
        }
        self.blob(bytes)
    }

    /// The decimal text of `n`.
    #[inline]
    pub fn integer(&mut self, n: i64) -> io::Result<()> {
        match i32::try_from(n) {
            Ok(n) => self.short_integer(n),
            Err(_) => self.blob(itoa::Buffer::new().format(n).as_bytes()),
        }
    }

    pub fn entry(&mut self, entry: Entry<'_>) -> io::Result<()> {
        match entry {
            Entry::Int(n) => self.integer(n),
            Entry::Str(bytes) => self.string(bytes),
        }
    }

    /// A string that is no integer's text.
    pub fn blob(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > SHORT
            && let Some(mut with) = self.compress.take()
        {
            let gain = lzf::compress(bytes, &mut with.block, &mut with.table);
            let done = if gain { Some(self.compressed(&with.block, bytes.len())) } else { None };
            self.compress = Some(with);
            if let Some(done) = done {
                return done;
            }
        }
        self.length(bytes.len() as u64)?;
        self.bytes(bytes)
    }

    fn compressed(&mut self, block: &[u8], len: usize) -> io::Result<()> {
        self.bytes(&[0xc3])?;
        self.length(block.len() as u64)?;
        self.length(len as u64)?;
        self.bytes(block)
    }

    fn short_integer(&mut self, n: i32) -> io::Result<()> {
        let [a, b, c, d] = n.to_le_bytes();
        match n {
            -0x80..=0x7f => self.bytes(&[0xc0, a]),
            -0x8000..=0x7fff => self.bytes(&[0xc1, a, b]),
            _ => self.bytes(&[0xc2, a, b, c, d]),
        }
    }
}
