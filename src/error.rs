//! The three kinds of error, told apart by whose fault they are and what follows.
//!
//! * the client's: [`ReplyError`] — becomes an error reply, nothing else happens;
//! * the data's: [`Corrupt`] — bytes on disk or from a peer that are not what they should be; names the place
//!   and ends what was being read (a start, a load, a link), never the process by a panic;
//! * the machine's: [`IoFailure`] — a failed system call; names operation and file, and latches (P7).
//!
//! An error is logged where it is handled, not where it is passed on.

use std::borrow::Cow;
use std::fmt;
use std::path::{Path, PathBuf};

/// An error reply, with its code (`ERR`, `WRONGTYPE`, …) as first word and without the leading `-` or the CRLF.
/// It may quote what the client sent, and so hold any bytes (the reply writer replaces CR and LF).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplyError(Cow<'static, [u8]>);

impl ReplyError {
    pub const fn new(text: &'static str) -> ReplyError {
        ReplyError(Cow::Borrowed(text.as_bytes()))
    }
    pub const SYNTAX: ReplyError = ReplyError::new("ERR syntax error");
    pub const NOT_INTEGER: ReplyError = ReplyError::new("ERR value is not an integer or out of range");
    pub const NOT_FLOAT: ReplyError = ReplyError::new("ERR value is not a valid float");
    pub const WRONG_TYPE: ReplyError =
        ReplyError::new("WRONGTYPE Operation against a key holding the wrong kind of value");
    pub const NO_SUCH_KEY: ReplyError = ReplyError::new("ERR no such key");
    pub const INDEX_OUT_OF_RANGE: ReplyError = ReplyError::new("ERR index out of range");

    pub fn wrong_arity(command: &str) -> ReplyError {
        format!("ERR wrong number of arguments for '{command}' command").into()
    }
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
    /// For logs.
    pub fn text(&self) -> Cow<'_, str> {
        String::from_utf8_lossy(&self.0)
    }
}

impl From<String> for ReplyError {
    fn from(text: String) -> ReplyError {
        ReplyError(Cow::Owned(text.into_bytes()))
    }
}

impl From<Vec<u8>> for ReplyError {
    fn from(text: Vec<u8>) -> ReplyError {
        ReplyError(Cow::Owned(text))
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

/// Damaged bytes: where (file when known, byte offset in it) and what was expected there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Corrupt {
    pub file: Option<PathBuf>,
    /// Byte offset in the file (or in the payload, where there is no file).
    pub at: u64,
    pub what: Cow<'static, str>,
}

impl Corrupt {
    pub fn new(at: u64, what: impl Into<Cow<'static, str>>) -> Corrupt {
        Corrupt { file: None, at, what: what.into() }
    }
    /// Names the file, unless a lower layer already did.
    pub fn in_file(mut self, file: &Path) -> Corrupt {
        self.file.get_or_insert_with(|| file.to_path_buf());
        self
    }
    /// The same damage seen from an enclosing payload that starts at `base`.
    pub fn shifted(mut self, base: u64) -> Corrupt {
        self.at += base;
        self
    }
}

impl fmt::Display for Corrupt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}: at byte {}: {}", file.display(), self.at, self.what),
            None => write!(f, "at byte {}: {}", self.at, self.what),
        }
    }
}

impl std::error::Error for Corrupt {}

/// A system call that failed: what was being done, on which file, and the operating system's word.
#[derive(Debug)]
pub struct IoFailure {
    pub doing: &'static str,
    pub file: PathBuf,
    pub source: std::io::Error,
}

impl IoFailure {
    pub fn new(doing: &'static str, file: &Path, source: std::io::Error) -> IoFailure {
        IoFailure { doing, file: file.to_path_buf(), source }
    }
    pub fn is_disk_full(&self) -> bool {
        matches!(
            self.source.kind(),
            std::io::ErrorKind::StorageFull
                | std::io::ErrorKind::QuotaExceeded
                | std::io::ErrorKind::FileTooLarge
        )
    }
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.doing, self.file.display(), self.source)
    }
}

impl std::error::Error for IoFailure {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
