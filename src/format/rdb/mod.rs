//! RDB, the snapshot format of Redis: bytes and structure, without any idea of how values live in memory.
//!
//! ```text
//! file     = "REDIS" 4 digits | "VALKEY" 3 digits      version, nine bytes in all
//!            item…                                      see the opcodes
//!            ff                                         the end
//!            8 bytes                                    CRC-64/REDIS of all before, little-endian, 0 = not computed
//!                                                       (absent below version 5)
//! key      = [fc | fd deadline] [f8 idle | f9 freq] type, key string, value
//! payload  = type, value, 2 bytes version, 8 bytes CRC-64/REDIS        what DUMP answers
//! ```
//!
//! **Lengths** (big-endian) and the string forms that share their first byte:
//!
//! | first byte | then | means |
//! |---|---|---|
//! | `00LLLLLL` | – | length 0…63 |
//! | `01LLLLLL` | 1 byte | length of 14 bits |
//! | `80` | 4 bytes | length of 32 bits |
//! | `81` | 8 bytes | length of 64 bits (version 9) |
//! | `c0` `c1` `c2` | 1, 2, 4 bytes, little-endian | string: the decimal text of a signed integer |
//! | `c3` | length c, length n, c bytes | string: n bytes, LZF-compressed |
//!
//! **Opcodes** are in [`Opcode`], **value types** in [`ValueType`]; each variant says what follows it.
//!
//! This layer reads ([`Source`], [`Reader`]) and writes ([`Output`]) these parts; turning a value into the form it
//! has in memory, and back, is `store::rdb`. The parser is *pulled* (`Reader::next_item`, then the value from
//! the same source), so that loading, peeking and inspecting share it and none of them buffers a value twice.
//! Rejected: a decoded tree between the layers (every element allocated twice) and a visitor with a method for
//! each kind of element (one more indirection per element for no reader that needs it).
//!
//! **Distrust**: every length is checked against what really follows. Memory grows with bytes that were read,
//! never by a number that was read; LZF's promise is bounded by its block's size. Whatever is wrong is
//! [`Corrupt`] with its offset, a short file included.
//!
//! **Versions**: 1 to 11 are read whole; 12 (Redis 7.4) and 80 (Valkey 9) as far as they hold types known here. Hashes
//! whose fields have deadlines are known only to be stepped over and looked at.
//! We write the oldest version that can express the data: 10, which Redis 7.0 still reads, unless a stream of
//! Redis 7.2 is among it.

mod output;
mod payload;
mod reader;
mod source;
pub mod stream;

use std::io;

use crate::error::Corrupt;
pub use output::Output;
pub use payload::{open_payload, seal_payload};
pub use reader::{Attributes, Item, Peek, Reader, peek, verify};
pub use source::{Blob, Piece, Source};

/// The Redis whose behaviour is ours: what clients are told, and what `redis-ver` says.
pub const REDIS_VERSION: &str = "7.2.4";
/// The version written where nothing needs a later one: Redis 7.0's.
pub const VERSION: u16 = 10;
/// The version of Redis 7.2, for streams that remember when a consumer was last active.
pub const VERSION_STREAMS_3: u16 = 11;
/// Redis 7.4's: read, except for hashes whose fields expire.
pub const VERSION_MAX: u16 = 12;
/// Valkey 9's: read, except for hashes whose fields expire.
pub const VERSION_VALKEY: u16 = 80;
/// An AUX field of ours, which every server ignores that does not know it: the snapshot was written to go elsewhere, as an
/// export or to a replica, and not as a base of the directory that wrote it.
pub const EXPORT_AUX: &str = "ringhold-export";
/// The first version with AUX fields.
pub const VERSION_AUX: u16 = 7;
/// The first version that tells how a key was last used.
pub const VERSION_ACCESS: u16 = 9;
/// The first version with functions.
pub const VERSION_FUNCTIONS: u16 = 10;
/// The first version with a checksum at the end.
pub const VERSION_CHECKSUM: u16 = 5;

/// Whether a file or payload of this version can be read here.
fn version_is_known(version: u16) -> bool {
    (1..=VERSION_MAX).contains(&version) || version == VERSION_VALKEY
}

/// What stands between keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Opcode {
    /// Three lengths: a cluster slot, its keys, those of them with a deadline. A hint. (Redis 7.4, Valkey 8)
    SlotInfo = 0xf4,
    /// A string: the code of a library of functions. (Redis 7.0)
    Function = 0xf5,
    /// The same in Redis 7.0's release candidates; refused.
    FunctionPreGa = 0xf6,
    /// Length: the module's id; lengths 2 and `when`; a module value. Refused, by name.
    ModuleAux = 0xf7,
    /// Length: seconds since the next key was last used.
    Idle = 0xf8,
    /// One byte: how often the next key is used, logarithmic.
    Freq = 0xf9,
    /// Two strings: a name and a value. Unknown names are to be ignored.
    Aux = 0xfa,
    /// Two lengths: keys of this database, those of them with a deadline. A hint.
    ResizeDb = 0xfb,
    /// Eight bytes, little-endian: the next key's deadline in Unix milliseconds.
    ExpireMillis = 0xfc,
    /// Four bytes, little-endian: the next key's deadline in Unix seconds.
    ExpireSeconds = 0xfd,
    /// Length: the database of the keys that follow.
    SelectDb = 0xfe,
    End = 0xff,
}

impl Opcode {
    const FIRST: u8 = 0xf4;
    const ALL: [Opcode; 12] = [
        Opcode::SlotInfo,
        Opcode::Function,
        Opcode::FunctionPreGa,
        Opcode::ModuleAux,
        Opcode::Idle,
        Opcode::Freq,
        Opcode::Aux,
        Opcode::ResizeDb,
        Opcode::ExpireMillis,
        Opcode::ExpireSeconds,
        Opcode::SelectDb,
        Opcode::End,
    ];

    pub fn from_byte(byte: u8) -> Option<Opcode> {
        let index = byte.checked_sub(Opcode::FIRST)?;
        Opcode::ALL.get(usize::from(index)).copied()
    }
}

macro_rules! value_types {
    ($($(#[$doc:meta])* $name:ident = $byte:literal, $word:literal;)*) => {
        /// How a value is written. "blob" is a string whose bytes are a packed encoding.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum ValueType { $($(#[$doc])* $name = $byte,)* }

        impl ValueType {
            pub fn from_byte(byte: u8) -> Option<ValueType> {
                match byte { $($byte => Some(ValueType::$name),)* _ => None }
            }

            /// What messages call it.
            pub fn word(self) -> &'static str {
                match self { $(ValueType::$name => $word,)* }
            }
        }
    };
}

value_types! {
    /// A string.
    Str = 0, "String";
    /// Length, then as many strings. (until Redis 3.0)
    List = 1, "List";
    /// Length, then as many strings.
    Set = 2, "Set";
    /// Length, then as many pairs of a string and a double as text: one byte of length and the text, or `fd` not
    /// a number, `fe` infinity, `ff` minus infinity. (until Redis 3.0)
    Zset = 3, "Zset";
    /// Length, then as many pairs of strings.
    Hash = 4, "Hash";
    /// Length, then as many pairs of a string and a double of eight bytes, little-endian. (version 8)
    Zset2 = 5, "Zset";
    /// A module's value of Redis 4.0's release candidates: its end cannot be found.
    ModulePreGa = 6, "Module";
    /// Length: the module's id; then parts, each a length (2, 1 integer; 3 float; 4 double; 5 string) and what
    /// it announces, until 0.
    Module = 7, "Module";
    /// Blob: zipmap. (until Redis 2.4)
    HashZipmap = 9, "Zipmap";
    /// Blob: ziplist. (until Redis 3.0)
    ListZiplist = 10, "List ziplist";
    /// Blob: intset.
    SetIntset = 11, "Intset";
    /// Blob: ziplist of members and scores. (until Redis 6.2)
    ZsetZiplist = 12, "Zset ziplist";
    /// Blob: ziplist of fields and values. (until Redis 6.2)
    HashZiplist = 13, "Hash ziplist";
    /// Length, then as many blobs: ziplists. (Redis 3.2 to 6.2)
    ListQuicklist = 14, "Ziplist";
    /// See [`stream`]. (version 9)
    Stream = 15, "Stream";
    /// Blob: listpack of fields and values. (version 10)
    HashListpack = 16, "Hash listpack";
    /// Blob: listpack of members and scores, ascending. (version 10)
    ZsetListpack = 17, "Zset listpack";
    /// Length, then as many nodes: length 1 and an element of its own, or length 2 and a blob, a listpack.
    /// (version 10)
    ListQuicklist2 = 18, "Listpack";
    /// See [`stream`]. (version 10)
    Stream2 = 19, "Stream";
    /// Blob: listpack of members. (version 11)
    SetListpack = 20, "Set listpack";
    /// See [`stream`]. (version 11)
    Stream3 = 21, "Stream";
    /// Length, then as many fields, values and deadlines: eight bytes, little-endian, Unix milliseconds, -1 none.
    /// (Valkey 9) Stepped over and shown, not loaded, like the next two.
    HashDeadlines = 22, "Hash";
    /// Eight bytes: the earliest deadline. Length, then as many of: length, the field's deadline after the earliest plus
    /// one, 0 none; field; value. (Redis 7.4)
    HashMetadata = 24, "Hash";
    /// Eight bytes: the earliest deadline. Blob: listpack of fields, values and deadlines. (Redis 7.4)
    HashListpackEx = 25, "Hash listpack";
}

impl ValueType {
    /// Whether a file of this version may hold it.
    pub fn is_in(self, version: u16) -> bool {
        let since = match self {
            ValueType::HashDeadlines => return version == VERSION_VALKEY,
            ValueType::HashMetadata | ValueType::HashListpackEx => return version == VERSION_MAX,
            ValueType::ModulePreGa => return false,
            ValueType::Str | ValueType::List | ValueType::Set | ValueType::Zset | ValueType::Hash => 1,
            ValueType::HashZipmap => 2,
            ValueType::ListZiplist | ValueType::SetIntset | ValueType::ZsetZiplist => 2,
            ValueType::HashZiplist => 4,
            ValueType::ListQuicklist => 7,
            ValueType::Zset2 | ValueType::Module => 8,
            ValueType::Stream => 9,
            ValueType::HashListpack | ValueType::ZsetListpack => 10,
            ValueType::ListQuicklist2 | ValueType::Stream2 => 10,
            ValueType::SetListpack | ValueType::Stream3 => 11,
        };
        version >= since
    }
}

/// A node of [`ValueType::ListQuicklist2`] that is one element.
pub const NODE_PLAIN: u64 = 1;
/// A node of [`ValueType::ListQuicklist2`] that is a listpack.
pub const NODE_PACKED: u64 = 2;

/// The nine characters that a module's 64-bit id stands for, six bits each above its ten bits of version.
pub fn module_name(id: u64) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    (0..9).rev().map(|i| LETTERS[(id >> (10 + 6 * i)) as usize & 63] as char).collect()
}

/// Why reading ended early.
#[derive(Debug)]
pub enum LoadError {
    /// The bytes are not what they should be; the offset counts from the start of the file or payload.
    Corrupt(Corrupt),
    /// The string at byte `at` is longer than the reader's limit ([`Source::longest`]).
    TooLong { at: u64, len: u64, longest: u64 },
    /// The reader failed.
    Io(io::Error),
    /// The caller's progress function asked for it.
    Stopped,
}

impl LoadError {
    /// Damage at byte `at` of the file.
    pub fn corrupt(at: u64, what: impl Into<std::borrow::Cow<'static, str>>) -> LoadError {
        LoadError::Corrupt(Corrupt::new(at, what))
    }
}

impl From<Corrupt> for LoadError {
    fn from(corrupt: Corrupt) -> LoadError {
        LoadError::Corrupt(corrupt)
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> LoadError {
        LoadError::Io(error)
    }
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LoadError::Corrupt(corrupt) => corrupt.fmt(f),
            LoadError::TooLong { at, len, longest } => {
                write!(f, "at byte {at}: a string of {len} bytes, more than the {longest} that are read here")
            }
            LoadError::Io(error) => error.fmt(f),
            LoadError::Stopped => f.write_str("stopped"),
        }
    }
}

impl std::error::Error for LoadError {}

#[cfg(test)]
mod tests;
