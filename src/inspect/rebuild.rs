//! Writes RDB files from keys of other RDB files.
//!
//! | value | becomes |
//! |---|---|
//! | of a form that the new file's version has | the same bytes |
//! | collection of a later form | list, set, hash or sorted set of plain strings, which every version has |
//! | stream of a later form | stream of the latest form that the version has; what that cannot hold is left off |
//! | anything else: hash whose fields have deadlines, stream or module before there were any | nothing: counted |
//!
//! A new file is a set of keys, not a place in a history: AUX fields of the old one, `repl-id` and `repl-offset`
//! among them, are not carried over. Nor are size hints, since nothing is counted in advance.

use std::io::{self, Write};

use super::keys::Head;
use super::snapshot::LONGEST;
use super::spool::Spool;
use super::value::{self, Facts, Role, Scratch, Visitor};
use super::{Failure, Result};
use crate::format::rdb::{
    LoadError, Opcode, Output, Piece, REDIS_VERSION, Reader, Source, VERSION_ACCESS, VERSION_AUX,
    VERSION_FUNCTIONS, VERSION_MAX, VERSION_VALKEY, ValueType, stream,
};
use crate::units::UnixMillis;

/// Where a value's bytes are read again.
const STEP: usize = 256 << 10;
/// The oldest version that is written: Redis 2.6's, the first one whose files of today's shape have a checksum.
pub const OLDEST: u16 = 6;

/// Whether files of this version are written.
pub fn is_writable(version: u16) -> bool {
    (OLDEST..=VERSION_MAX).contains(&version) || version == VERSION_VALKEY
}

/// An RDB file being written.
pub struct Writer<'o> {
    output: Output<'o>,
    version: u16,
    db: Option<u64>,
    libraries: Vec<Vec<u8>>,
    pub keys: u64,
    /// Keys, and libraries of functions, that this version cannot express.
    pub left_out: u64,
    scratch: Vec<u8>,
}

impl<'o> Writer<'o> {
    /// Writes what stands before the keys. `version`: one that [`is_writable`].
    pub fn begin(out: &'o mut dyn Write, version: u16, now: UnixMillis) -> Result<Writer<'o>> {
        let mut output = Output::new(out, true, true);
        let begun = output.header(version).and_then(|()| match version {
            VERSION_AUX.. => {
                output.aux("redis-ver", REDIS_VERSION.as_bytes())?;
                output.aux("redis-bits", b"64")?;
                output.aux("ctime", (now.0 / 1000).to_string().as_bytes())
            }
            _ => Ok(()),
        });
        begun.map_err(Failure::Output)?;
        Ok(Writer {
            output,
            version,
            db: None,
            libraries: Vec::new(),
            keys: 0,
            left_out: 0,
            scratch: Vec::new(),
        })
    }

    /// Writes a key; `value` holds its bytes, `facts` what a walk over it found.
    pub fn key(&mut self, head: &Head<'_>, facts: &Facts, value: &Spool) -> Result<()> {
        let same = head.kind.is_in(self.version);
        let form = if same { Some(head.kind) } else { plain_form(head.kind, facts, self.version) };
        let Some(kind) = form else {
            self.left_out += 1;
            return Ok(());
        };
        self.head(head, kind).map_err(Failure::Output)?;
        let written = match value.in_memory() {
            Some(bytes) if same => self.output.bytes(bytes).map_err(LoadError::Io),
            None if same => self.copy(value).map_err(LoadError::Io),
            _ => self.transcode(head.kind, kind, facts, value),
        };
        self.keys += 1;
        written.map_err(|error| match error {
            LoadError::Io(error) => Failure::Output(error),
            error => Failure::Usage(format!("a value changed while it was written: {error}")),
        })
    }

    fn head(&mut self, head: &Head<'_>, kind: ValueType) -> io::Result<()> {
        let output = &mut self.output;
        if self.db != Some(head.db) {
            self.db = Some(head.db);
            output.opcode(Opcode::SelectDb)?;
            output.length(head.db)?;
        }
        if let Some(expires) = head.attributes.expires {
            output.opcode(Opcode::ExpireMillis)?;
            output.bytes(&expires.to_le_bytes())?;
        }
        if self.version >= VERSION_ACCESS {
            if let Some(idle) = head.attributes.idle {
                output.opcode(Opcode::Idle)?;
                output.length(idle)?;
            }
            if let Some(freq) = head.attributes.freq {
                output.opcode(Opcode::Freq)?;
                output.bytes(&[freq])?;
            }
        }
        output.value_type(kind)?;
        output.string(head.key)
    }

    fn copy(&mut self, value: &Spool) -> io::Result<()> {
        let mut reader = value.reader();
        self.scratch.resize(STEP, 0);
        loop {
            match io::Read::read(&mut reader, &mut self.scratch)? {
                0 => return Ok(()),
                got => self.output.bytes(&self.scratch[..got])?,
            }
        }
    }

    /// Writes a value in another form.
    fn transcode(
        &mut self,
        from: ValueType,
        to: ValueType,
        facts: &Facts,
        value: &Spool,
    ) -> std::result::Result<(), LoadError> {
        let mut input = value.reader();
        // Types mean the same in every version that has them.
        let mut reader = Reader::resume(&mut input, VERSION_VALKEY, 0, usize::try_from(value.len()).ok());
        reader.source.longest = LONGEST;
        if to == ValueType::Stream || to == ValueType::Stream2 {
            let mut copy = StreamCopy { source: &mut reader.source, output: &mut self.output, from, to };
            return copy.all(&mut self.scratch);
        }
        self.output.length(facts.elements)?;
        let mut plain = Plain { output: &mut self.output, form: to };
        value::walk(&mut reader, from, &mut Scratch::default(), &mut plain)?;
        Ok(())
    }

    /// Writes a library of functions, once.
    pub fn function(&mut self, code: &[u8]) -> Result<()> {
        if self.version < VERSION_FUNCTIONS {
            self.left_out += 1;
            return Ok(());
        }
        // Servers refuse a second library of a name; the name is in the first line.
        let line = code.split(|byte| *byte == b'\n').next().unwrap_or_default();
        if self.libraries.iter().any(|known| known == line) {
            return Ok(());
        }
        self.libraries.push(line.to_vec());
        let written = self.output.opcode(Opcode::Function).and_then(|()| self.output.string(code));
        written.map_err(Failure::Output)
    }

    /// Writes what stands behind the keys. Bytes of the whole file.
    pub fn finish(mut self) -> Result<u64> {
        self.output.finish().map_err(Failure::Output)?;
        Ok(self.output.offset())
    }
}

/// A form of the same value that this version has.
fn plain_form(kind: ValueType, facts: &Facts, version: u16) -> Option<ValueType> {
    let form = match kind {
        ValueType::HashDeadlines | ValueType::HashMetadata | ValueType::HashListpackEx => return None,
        ValueType::Stream2 | ValueType::Stream3 => {
            return [ValueType::Stream2, ValueType::Stream].into_iter().find(|form| form.is_in(version));
        }
        _ => match value::type_word(kind) {
            "list" => ValueType::List,
            "set" => ValueType::Set,
            "hash" => ValueType::Hash,
            "zset" if ValueType::Zset2.is_in(version) => ValueType::Zset2,
            "zset" => ValueType::Zset,
            _ => return None,
        },
    };
    // What was stepped over is not known element by element.
    (facts.unread == 0).then_some(form)
}

/// Writes a collection's elements as strings and scores.
struct Plain<'w, 'o> {
    output: &'w mut Output<'o>,
    form: ValueType,
}

impl stream::Visit for Plain<'_, '_> {}

impl Visitor for Plain<'_, '_> {
    fn piece(&mut self, _role: Role, piece: Piece<'_>) -> std::result::Result<(), LoadError> {
        if piece.is_first() && piece.is_last() {
            return Ok(self.output.string(piece.bytes)?);
        }
        if piece.is_first() {
            self.output.length(piece.len)?;
        }
        Ok(self.output.bytes(piece.bytes)?)
    }

    fn score(&mut self, score: f64) -> std::result::Result<(), LoadError> {
        if self.form == ValueType::Zset2 {
            return Ok(self.output.bytes(&score.to_le_bytes())?);
        }
        let mut text = vec![0];
        match score {
            f64::INFINITY => text[0] = 0xfe,
            f64::NEG_INFINITY => text[0] = 0xff,
            _ => {
                crate::resp::number::format_f64(score, &mut text);
                text[0] = (text.len() - 1) as u8;
            }
        }
        Ok(self.output.bytes(&text)?)
    }
}

/// Copies a sound stream into an older form; see [`stream`] for the bytes.
struct StreamCopy<'c, 's, 'o> {
    source: &'c mut Source<'s>,
    output: &'c mut Output<'o>,
    from: ValueType,
    to: ValueType,
}

impl StreamCopy<'_, '_, '_> {
    fn all(&mut self, scratch: &mut Vec<u8>) -> std::result::Result<(), LoadError> {
        for _ in 0..self.number()? {
            self.string(scratch)?;
            self.string(scratch)?;
        }
        self.numbers(3, true)?;
        let newer = self.to >= ValueType::Stream2;
        if self.from >= ValueType::Stream2 {
            self.numbers(5, newer)?;
        }
        for _ in 0..self.number()? {
            self.string(scratch)?;
            self.numbers(2, true)?;
            if self.from >= ValueType::Stream2 {
                self.numbers(1, newer)?;
            }
            for _ in 0..self.number()? {
                self.array::<{ 16 + 8 }>(true)?;
                self.number()?;
            }
            for _ in 0..self.number()? {
                self.string(scratch)?;
                self.array::<8>(true)?;
                if self.from == ValueType::Stream3 {
                    self.array::<8>(false)?;
                }
                for _ in 0..self.number()? {
                    self.array::<16>(true)?;
                }
            }
        }
        Ok(())
    }

    fn number(&mut self) -> std::result::Result<u64, LoadError> {
        let number = self.source.length()?;
        self.output.length(number)?;
        Ok(number)
    }

    fn numbers(&mut self, count: usize, kept: bool) -> std::result::Result<(), LoadError> {
        for _ in 0..count {
            let number = self.source.length()?;
            if kept {
                self.output.length(number)?;
            }
        }
        Ok(())
    }

    fn array<const N: usize>(&mut self, kept: bool) -> std::result::Result<(), LoadError> {
        let bytes: [u8; N] = self.source.array()?;
        if kept {
            self.output.bytes(&bytes)?;
        }
        Ok(())
    }

    fn string(&mut self, scratch: &mut Vec<u8>) -> std::result::Result<(), LoadError> {
        let bytes = self.source.string(scratch)?;
        Ok(self.output.string(bytes)?)
    }
}
