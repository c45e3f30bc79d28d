//! Walks an RDB file item by item.
//!
//! ```text
//! open ─► next_item ─► Aux | Select | Resize | Function ─► next_item …
//!              ├► Key ─► the value is read from `source`, or skipped ─► next_item …
//!              └► End (checksum verified)
//! ```

use std::io::Read;

use super::{
    LoadError, NODE_PACKED, NODE_PLAIN, Opcode, Source, VERSION_CHECKSUM, VERSION_VALKEY, ValueType,
    module_name, version_is_known,
};
use crate::format::crc::RdbCrc;

type Result<T> = std::result::Result<T, LoadError>;

/// What stands before a key and concerns only it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes {
    /// Unix milliseconds.
    pub expires: Option<i64>,
    /// Seconds since it was last used.
    pub idle: Option<u64>,
    pub freq: Option<u8>,
}

#[derive(Debug, PartialEq, Eq)]
pub enum Item {
    Aux {
        name: Vec<u8>,
        value: Vec<u8>,
    },
    Select(u64),
    Resize {
        keys: u64,
        volatile: u64,
    },
    Function(Vec<u8>),
    /// A key, in [`Reader::key`]; its value is next in the source and must be taken from there.
    Key(ValueType, Attributes),
    /// A module's data besides keys (its id): nothing of ours can load it, but it can be skipped.
    ModuleAux(u64),
    /// The file is over. The checksum as stored; `None` if it has none.
    End(Option<u64>),
}

/// A file being read.
pub struct Reader<'a> {
    pub source: Source<'a>,
    pub version: u16,
    /// The key of the last [`Item::Key`].
    pub key: Vec<u8>,
    scratch: Vec<u8>,
    verify: bool,
}

impl<'a> Reader<'a> {
    /// Reads the first nine bytes. `verify`: whether the checksum must be right.
    pub fn open(input: &'a mut dyn Read, verify: bool) -> Result<Reader<'a>> {
        let mut source = Source::new(input, None);
        let head: [u8; 9] = source.array()?;
        let digits = head.strip_prefix(b"REDIS").or_else(|| head.strip_prefix(b"VALKEY"));
        let Some(digits) = digits.and_then(|digits| std::str::from_utf8(digits).ok()) else {
            return Err(LoadError::corrupt(0, "not an RDB file: it starts with neither REDIS nor VALKEY"));
        };
        let version = digits.bytes().all(|b| b.is_ascii_digit()).then(|| digits.parse().ok()).flatten();
        match version {
            Some(version) if version_is_known(version) => {
                Ok(Reader { source, version, key: Vec::new(), scratch: Vec::new(), verify })
            }
            _ => Err(LoadError::corrupt(5, format!("can't handle RDB format version {digits}"))),
        }
    }

    /// Goes on inside a file of this version, at byte `at`, where an item begins and `input` too. Its checksum is not verified.
    /// `size`: see [`Source::new`].
    pub fn resume(input: &'a mut dyn Read, version: u16, at: u64, size: Option<usize>) -> Reader<'a> {
        let source = Source::new(input, size).starting_at(at);
        Reader { source, version, key: Vec::new(), scratch: Vec::new(), verify: false }
    }

    /// The next item. After [`Item::End`] there is none: do not ask.
    pub fn next_item(&mut self) -> Result<Item> {
        let mut attributes = Attributes::default();
        loop {
            let at = self.source.offset();
            let byte = self.source.u8()?;
            let Some(opcode) = Opcode::from_byte(byte) else {
                // Redis 7.4's release candidates used that number otherwise.
                let strange =
                    |kind: &ValueType| *kind == ValueType::HashDeadlines && self.version != VERSION_VALKEY;
                let Some(kind) = ValueType::from_byte(byte).filter(|kind| !strange(kind)) else {
                    return Err(LoadError::corrupt(at, format!("unknown type or opcode {byte}")));
                };
                let key = self.source.string(&mut self.scratch)?;
                self.key.clear();
                self.key.extend_from_slice(key);
                return Ok(Item::Key(kind, attributes));
            };
            match opcode {
                Opcode::ExpireMillis => {
                    attributes.expires = Some(i64::from_le_bytes(self.source.array()?));
                }
                Opcode::ExpireSeconds => {
                    let seconds = i32::from_le_bytes(self.source.array()?);
                    attributes.expires = Some(i64::from(seconds) * 1000);
                }
                Opcode::Idle => attributes.idle = Some(self.source.length()?),
                Opcode::Freq => attributes.freq = Some(self.source.u8()?),
                Opcode::SlotInfo => {
                    for _ in 0..3 {
                        self.source.length()?;
                    }
                }
                _ if attributes != Attributes::default() => {
                    return Err(LoadError::corrupt(at, "a deadline or access time without a key"));
                }
                opcode => return self.between_keys(opcode, at),
            }
        }
    }

    fn between_keys(&mut self, opcode: Opcode, at: u64) -> Result<Item> {
        let source = &mut self.source;
        Ok(match opcode {
            Opcode::Aux => Item::Aux { name: source.owned()?, value: source.owned()? },
            Opcode::SelectDb => Item::Select(source.length()?),
            Opcode::ResizeDb => Item::Resize { keys: source.length()?, volatile: source.length()? },
            Opcode::Function => Item::Function(source.owned()?),
            Opcode::ModuleAux => {
                let id = source.length()?;
                if source.length()? != 2 {
                    return Err(LoadError::corrupt(at, "module data without its time of loading"));
                }
                source.length()?;
                Item::ModuleAux(id)
            }
            Opcode::End => Item::End(self.trailer()?),
            _ => return Err(LoadError::corrupt(at, "functions of a release candidate of Redis 7.0")),
        })
    }

    fn trailer(&mut self) -> Result<Option<u64>> {
        if self.version < VERSION_CHECKSUM {
            return Ok(None);
        }
        let (at, computed) = (self.source.offset(), self.source.checksum());
        let stored = u64::from_le_bytes(self.source.array()?);
        if self.verify && stored != 0 && stored != computed {
            let what = format!("RDB CRC error: computed {computed:016x}, stored {stored:016x}");
            return Err(LoadError::corrupt(at, what));
        }
        Ok((stored != 0).then_some(stored))
    }

    /// Steps over a value of the last key (after [`Item::Key`]) or of a module (after [`Item::ModuleAux`], with
    /// [`ValueType::Module`] told apart by `id` being read already).
    pub fn skip_value(&mut self, kind: ValueType) -> Result<()> {
        let source = &mut self.source;
        let at = source.offset();
        match kind {
            ValueType::Str
            | ValueType::HashZipmap
            | ValueType::ListZiplist
            | ValueType::SetIntset
            | ValueType::ZsetZiplist
            | ValueType::HashZiplist
            | ValueType::HashListpack
            | ValueType::ZsetListpack
            | ValueType::SetListpack => source.skip_string(),
            ValueType::List | ValueType::Set | ValueType::ListQuicklist => {
                for _ in 0..source.length()? {
                    source.skip_string()?;
                }
                Ok(())
            }
            ValueType::Hash => {
                for _ in 0..source.length()? {
                    source.skip_string()?;
                    source.skip_string()?;
                }
                Ok(())
            }
            ValueType::Zset | ValueType::Zset2 => {
                for _ in 0..source.length()? {
                    source.skip_string()?;
                    source.score(kind)?;
                }
                Ok(())
            }
            ValueType::HashDeadlines => {
                for _ in 0..source.length()? {
                    source.skip_string()?;
                    source.skip_string()?;
                    source.skip(8)?;
                }
                Ok(())
            }
            ValueType::HashMetadata => {
                source.skip(8)?;
                for _ in 0..source.length()? {
                    source.length()?;
                    source.skip_string()?;
                    source.skip_string()?;
                }
                Ok(())
            }
            ValueType::HashListpackEx => {
                source.skip(8)?;
                source.skip_string()
            }
            ValueType::ListQuicklist2 => {
                for _ in 0..source.length()? {
                    source.node_kind()?;
                    source.skip_string()?;
                }
                Ok(())
            }
            ValueType::Stream | ValueType::Stream2 | ValueType::Stream3 => {
                super::stream::check(source, kind).map(|_| ())
            }
            ValueType::Module => {
                source.length()?;
                self.skip_module()
            }
            ValueType::ModulePreGa => Err(LoadError::corrupt(at, PRE_GA)),
        }
    }

    /// Steps over the parts of a module's value, behind its id.
    pub fn skip_module(&mut self) -> Result<()> {
        loop {
            let at = self.source.offset();
            match self.source.length()? {
                0 => return Ok(()),
                1 | 2 => self.source.length().map(|_| ())?,
                3 => self.source.skip(4)?,
                4 => self.source.skip(8)?,
                5 => self.source.skip_string()?,
                part => {
                    return Err(LoadError::corrupt(at, format!("unknown part {part} of a module's value")));
                }
            }
        }
    }
}

const PRE_GA: &str = "a module's value of a release candidate of Redis 4.0";

impl Source<'_> {
    /// A score of [`ValueType::Zset`] or [`ValueType::Zset2`]; never NaN.
    pub fn score(&mut self, kind: ValueType) -> Result<f64> {
        let at = self.offset();
        let score = if kind == ValueType::Zset2 {
            Some(f64::from_le_bytes(self.array()?))
        } else {
            match self.u8()? {
                0xfd => None,
                0xfe => Some(f64::INFINITY),
                0xff => Some(f64::NEG_INFINITY),
                len => {
                    let mut text = [0; 0xfd];
                    let text = &mut text[..len.into()];
                    for byte in text.iter_mut() {
                        *byte = self.u8()?;
                    }
                    crate::resp::number::parse_f64(text)
                }
            }
        };
        let number = score.filter(|score| !score.is_nan());
        number.ok_or_else(|| LoadError::corrupt(at, "Zset with a score that is no number"))
    }

    /// Whether the next node of [`ValueType::ListQuicklist2`] is a listpack.
    pub fn node_kind(&mut self) -> Result<bool> {
        let at = self.offset();
        match self.length()? {
            NODE_PLAIN => Ok(false),
            NODE_PACKED => Ok(true),
            kind => {
                Err(LoadError::corrupt(at, format!("Quicklist integrity check failed: node of kind {kind}")))
            }
        }
    }

    /// Reads a module value's id and refuses it by name.
    pub fn refuse_module(&mut self, kind: ValueType) -> LoadError {
        let at = self.offset();
        match self.length() {
            _ if kind == ValueType::ModulePreGa => LoadError::corrupt(at, PRE_GA),
            Ok(id) => LoadError::corrupt(
                at,
                format!("data of a module: no matching module type '{}'", module_name(id)),
            ),
            Err(error) => error,
        }
    }
}

/// What stands before the first key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Peek {
    pub version: u16,
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Reads version and AUX fields and nothing behind them. Nothing is verified: see [`verify`].
pub fn peek(input: &mut dyn Read) -> Result<Peek> {
    let mut reader = Reader::open(input, false)?;
    let mut found = Peek { version: reader.version, aux: Vec::new() };
    while let Item::Aux { name, value } = reader.next_item()? {
        found.aux.push((name, value));
    }
    Ok(found)
}

/// Reads all of `input` as one RDB file, only to compare its checksum with what its last eight bytes say. The
/// checksum; `None` if the file has none.
pub fn verify(input: &mut dyn Read) -> Result<Option<u64>> {
    const TRAILER: usize = 8;
    let mut head = Vec::new();
    input.take(9).read_to_end(&mut head).map_err(LoadError::Io)?;
    let version = Reader::open(&mut &head[..], false)?.version;
    if version < VERSION_CHECKSUM {
        return Ok(None);
    }
    let mut crc = RdbCrc::new();
    crc.update(&head);
    let (mut buffer, mut kept, mut hashed) = (vec![0; 128 << 10], 0, head.len() as u64);
    loop {
        match input.read(&mut buffer[kept..]) {
            Ok(0) => break,
            Ok(count) => {
                let end = kept + count;
                let settled = end.saturating_sub(TRAILER);
                crc.update(&buffer[..settled]);
                hashed += settled as u64;
                buffer.copy_within(settled..end, 0);
                kept = end - settled;
            }
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(LoadError::Io(error)),
        }
    }
    let Some(stored) = buffer[..kept].first_chunk::<TRAILER>().map(|bytes| u64::from_le_bytes(*bytes)) else {
        return Err(LoadError::corrupt(hashed + kept as u64, "ends here, before its checksum"));
    };
    if stored != 0 && stored != crc.value() {
        let what = format!("RDB CRC error: computed {:016x}, stored {stored:016x}", crc.value());
        return Err(LoadError::corrupt(hashed, what));
    }
    Ok((stored != 0).then_some(stored))
}
