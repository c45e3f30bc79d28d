//! Reads an RDB file into databases.
//!
//! The result is a [`Snapshot`], built by whichever thread reads and then handed to the store as a whole: a load
//! that fails leaves the store as it was.

use std::io::Read;
use std::ops::ControlFlow;

use super::AccessKind;
use super::read::read_value;
use super::save::Cut;
use crate::format::rdb::{Attributes, Item, LoadError, Reader, ValueType, module_name};
use crate::resp::number::parse_i64;
use crate::store::Entry;
use crate::store::value::NEVER;
use crate::store::{Limits, Snapshot};
use crate::units::{Offset, Position, ReplId};

/// Keys between two calls of the progress function.
const STRIDE: u64 = 1024;
/// No key takes less in a file: type, length, one byte of key, length and one byte of value.
const LEAST_KEY_BYTES: u64 = 5;
/// As many keys without elements are named; the others are counted.
const EMPTY_KEYS_NAMED: usize = 10;

/// How far a save or a load is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    pub bytes: u64,
    pub keys: u64,
    /// Of a load: the memory that the data took where the file was written, in bytes; 0 where it does not say.
    pub used_mem: u64,
}

/// How a file is read.
#[derive(Clone, Debug)]
pub struct LoadOptions {
    pub limits: Limits,
    /// Whether the checksum must be right (`rdbchecksum`); 0 in the file always passes.
    pub verify: bool,
    /// A key that is there already, or comes twice, is replaced (DEBUG RELOAD MERGE), else it is damage.
    pub replace: bool,
    /// Something may follow the file (the commands of an old append-only file). Else that is damage.
    pub tail: bool,
    pub access: AccessKind,
    /// Bytes of the file, if known: what it says of its number of keys is believed as far as these could hold them.
    pub input_len: u64,
    /// Only for access stamps: no data depends on it. Unix milliseconds.
    pub now_ms: i64,
}

impl Default for LoadOptions {
    fn default() -> LoadOptions {
        LoadOptions {
            limits: Limits::default(),
            verify: true,
            replace: false,
            tail: false,
            access: AccessKind::Lru,
            input_len: 0,
            now_ms: 0,
        }
    }
}

/// What a file says of its origin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    pub replid: Option<ReplId>,
    pub offset: Option<Offset>,
    pub stream_db: Option<i64>,
    /// The version of the server that wrote it.
    pub server: Option<String>,
    /// Unix seconds.
    pub ctime: Option<i64>,
    pub used_mem: Option<i64>,
    /// It is the base of an append-only log.
    pub aof_base: bool,
    /// All fields not listed above, in order.
    pub aux: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Origin {
    /// From AUX fields in the order of the file.
    pub fn of(aux: impl IntoIterator<Item = (Vec<u8>, Vec<u8>)>) -> Origin {
        let mut origin = Origin::default();
        aux.into_iter().for_each(|(name, value)| origin.note(name, value));
        origin
    }

    /// The place in a stream that the file equals, if it says one.
    pub fn cut(&self) -> Option<Cut> {
        let position = Position { replid: self.replid?, offset: self.offset? };
        Some(Cut { position, db: self.stream_db.unwrap_or(0) })
    }

    fn note(&mut self, name: Vec<u8>, value: Vec<u8>) {
        match name.to_ascii_lowercase().as_slice() {
            b"repl-id" => self.replid = ReplId::parse(&value),
            b"repl-offset" => {
                self.offset = parse_i64(&value).and_then(|n| u64::try_from(n).ok()).map(Offset);
            }
            b"repl-stream-db" => self.stream_db = parse_i64(&value),
            b"redis-ver" | b"valkey-ver" => self.server = Some(String::from_utf8_lossy(&value).into()),
            b"ctime" => self.ctime = parse_i64(&value),
            b"used-mem" => self.used_mem = parse_i64(&value),
            b"aof-base" => self.aof_base = value == b"1",
            _ => self.aux.push((name, value)),
        }
    }
}

/// What was read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Loaded {
    pub version: u16,
    /// Size of the file, without what follows it.
    pub bytes: u64,
    pub keys: u64,
    pub origin: Origin,
    /// As stored in the file; `None` if it has none.
    pub checksum: Option<u64>,
    /// Keys left out because their collections had no elements.
    pub empty: u64,
    /// The first of these.
    pub empty_keys: Vec<Vec<u8>>,
}

impl Loaded {
    /// What a server's log says about it, in Redis' words.
    pub fn log_lines(&self) -> Vec<String> {
        let skipped = |key: &Vec<u8>| format!("rdbLoadObject skipping empty key: {}", key.escape_ascii());
        let mut lines: Vec<String> = self.empty_keys.iter().map(skipped).collect();
        let mut end = format!("Done loading RDB, keys loaded: {}, keys expired: 0", self.keys);
        if self.empty > 0 {
            end += &format!(", empty keys skipped: {}", self.empty);
        }
        lines.push(end + ".");
        lines
    }
}

/// Reads the RDB file that is `input` into `into`, whose databases are all there are. Deadlines are taken over,
/// passed or not. `progress` is called about every thousand keys.
pub fn load(
    input: &mut dyn Read,
    options: &LoadOptions,
    into: &mut Snapshot,
    progress: &mut dyn FnMut(Progress) -> ControlFlow<()>,
) -> Result<Loaded, LoadError> {
    let mut reader = Reader::open(input, options.verify)?;
    let mut loaded = Loaded { version: reader.version, ..Loaded::default() };
    let (mut db, mut scratch) = (0, Vec::new());
    loop {
        let at = reader.source.offset();
        match reader.next_item()? {
            Item::Aux { name, value } => loaded.origin.note(name, value),
            Item::Select(index) => db = checked_index(index, into.dbs.len(), at)?,
            Item::Resize { keys, .. } => {
                let most = options.input_len / LEAST_KEY_BYTES;
                into.dbs[db].entries.expect(keys.min(most) as usize);
            }
            Item::Function(code) => triomphe::Arc::make_mut(&mut into.libraries).push(code),
            Item::ModuleAux(id) => {
                let what = format!("data of a module: no matching module '{}'", module_name(id));
                return Err(LoadError::corrupt(at, what));
            }
            Item::Key(kind, attributes) => {
                let entry = read_entry(&mut reader, kind, attributes, options, &mut scratch)
                    .map_err(|error| in_key(error, &reader.key, db))?;
                let Some(entry) = entry else {
                    loaded.empty += 1;
                    if loaded.empty_keys.len() < EMPTY_KEYS_NAMED {
                        loaded.empty_keys.push(reader.key.clone());
                    }
                    continue;
                };
                if into.dbs[db].put(entry).is_some() && !options.replace {
                    let what = format!("RDB has duplicated key '{}' in DB {db}", reader.key.escape_ascii());
                    return Err(LoadError::corrupt(at, what));
                }
                loaded.keys += 1;
                let sofar = Progress {
                    bytes: reader.source.offset(),
                    keys: loaded.keys,
                    used_mem: loaded.origin.used_mem.map_or(0, |bytes| bytes.max(0) as u64),
                };
                if loaded.keys.is_multiple_of(STRIDE) && progress(sofar).is_break() {
                    return Err(LoadError::Stopped);
                }
            }
            Item::End(checksum) => {
                into.dbs.iter_mut().for_each(|db| db.entries.settle());
                (loaded.checksum, loaded.bytes) = (checksum, reader.source.offset());
                if !options.tail && !reader.source.is_at_end()? {
                    return Err(LoadError::corrupt(loaded.bytes, "more behind the end of the RDB file"));
                }
                return Ok(loaded);
            }
        }
    }
}

fn checked_index(index: u64, databases: usize, at: u64) -> Result<usize, LoadError> {
    usize::try_from(index).ok().filter(|index| *index < databases).ok_or_else(|| {
        LoadError::corrupt(at, format!("database {index}, while only {databases} are configured"))
    })
}

/// The entry of the last key; `None` if it is an empty collection.
fn read_entry(
    reader: &mut Reader<'_>,
    kind: ValueType,
    attributes: Attributes,
    options: &LoadOptions,
    scratch: &mut Vec<u8>,
) -> Result<Option<Entry>, LoadError> {
    let Some(value) = read_value(&mut reader.source, kind, &options.limits, scratch)? else {
        return Ok(None);
    };
    let now_ms = options.now_ms;
    let stamp = options.access.stamp(attributes.idle, attributes.freq, now_ms);
    let stamp = stamp.or(options.access.stamp(Some(0), Some(LFU_START), now_ms)).unwrap_or(0);
    let expires = attributes.expires.map_or(NEVER, |at| at.min(NEVER - 1));
    Ok(Some(Entry::new(&reader.key, value, expires, stamp)))
}

/// The counter of a key that nothing is known of.
const LFU_START: u8 = 5;

fn in_key(error: LoadError, key: &[u8], db: usize) -> LoadError {
    match error {
        LoadError::Corrupt(corrupt) => {
            let what = format!("{} (key '{}' in DB {db})", corrupt.what, key.escape_ascii());
            LoadError::corrupt(corrupt.at, what)
        }
        other => other,
    }
}
