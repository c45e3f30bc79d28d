//! Files and mapped regions behind a trait: the only place that touches a file system.
//!
//! Everything above asks a [`Disk`], so that recovery, the log writer and the ring run unchanged on the operating
//! system ([`OsDisk`]) and on a simulated disk ([`SimDisk`]) that can lose power, run full or return EIO at a chosen
//! step. The trait is as small as its callers allow: whole files are named by path, contents by position; there
//! is no seek pointer, no buffering and no retry. A failure says what was being done on which file
//! ([`IoFailure`]) and is never swallowed here.
//!
//! What is assumed of the medium (cited by number where durability is argued):
//!
//! 1. after `fdatasync` returned, the file's bytes and length survive a power cut;
//! 2. before that, any subset of its 4 KiB pages (512-byte sectors when torn) may be old or new;
//! 3. a created, renamed or removed name survives a power cut only after `fsync_dir` of its directory; a rename
//!    is atomic: afterwards either the old or the new state is found, never none;
//! 4. a process crash loses nothing that was written or stored into a shared map;
//! 5. after a failed `fdatasync` the pages may be marked clean without being on the medium: calling it again
//!    proves nothing (rule 23).

pub mod durable;
mod fail_points;
pub mod fault;
mod lock;
pub mod medium;
mod mmap;
mod os;
mod sim;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

pub use lock::{DirLock, LockRefused};
pub use os::OsDisk;
pub use sim::{Fault, PowerCut, SimDisk};

use crate::error::IoFailure;

pub type Result<T> = std::result::Result<T, IoFailure>;

/// How a file is opened. Nothing here truncates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Must exist; reading only.
    Read,
    /// Must exist; reading and writing.
    Write,
    /// Must not exist; reading and writing.
    CreateNew,
}

/// A file system.
pub trait Disk: Send + Sync {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn DiskFile>>;
    /// Replaces `to` atomically; durable after `fsync_dir` (of both directories, if they differ).
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;
    /// Swaps two names atomically. `Ok(false)`: this file system cannot, nothing happened.
    fn exchange(&self, a: &Path, b: &Path) -> Result<bool>;
    fn remove(&self, path: &Path) -> Result<()>;
    /// Names (not paths) of the files and directories in `dir`, sorted; empty if there is no such directory.
    /// Names that are not UTF-8 are none of ours and left out.
    fn list(&self, dir: &Path) -> Result<Vec<String>>;
    /// Length in bytes of the file; `None` if there is none of that name.
    fn len(&self, path: &Path) -> Result<Option<u64>>;
    fn create_dir(&self, dir: &Path) -> Result<()>;
    fn is_dir(&self, path: &Path) -> bool;
    fn fsync_dir(&self, dir: &Path) -> Result<()>;
    /// From now on each `fdatasync` and `fsync_dir` takes `delay` longer, also on files that are open already: for tests of slow
    /// disks against a real process (DEBUG AOF-FLUSH-SLEEP).
    fn set_sync_delay(&self, _delay: Duration) {}

    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.len(path)?.is_some())
    }
}

/// An open file. Shared between threads; positions are arguments.
pub trait DiskFile: Send + Sync {
    fn path(&self) -> &Path;
    /// Reads up to `buf.len()` bytes at `at`; fewer only at the end of the file.
    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<usize>;
    /// Writes all of `bytes` at `at` or fails, possibly after a part (the caller knows where to cut back to).
    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()>;
    fn fdatasync(&self) -> Result<()>;
    fn size(&self) -> Result<u64>;
    fn truncate(&self, len: u64) -> Result<()>;
    /// Reserves blocks for the first `len` bytes and makes the file at least that long.
    fn fallocate(&self, len: u64) -> Result<()>;
    /// Maps the first `len` bytes, shared: stores reach the file.
    fn map(&self, len: usize) -> Result<Box<dyn Region>>;
    /// Why `fallocate` does not keep later overwrites from finding the disk full, if so (rule 29).
    fn unreserved_overwrites(&self) -> Option<&'static str> {
        None
    }
}

/// A mapped file. One owner writes it; stores are visible in the file after a process crash (assumption 4).
pub trait Region: Send {
    fn bytes(&self) -> &[u8];
    fn bytes_mut(&mut self) -> &mut [u8];
    /// Like `fdatasync`: all stores so far survive a power cut. Never called by the data thread while it serves.
    fn flush(&self) -> Result<()>;
}

/// Reads a whole file, at most `limit` bytes of it.
pub fn read_all(disk: &dyn Disk, path: &Path, limit: u64) -> Result<Vec<u8>> {
    let file = disk.open(path, Mode::Read)?;
    let len = file.size()?.min(limit);
    let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
    let got = file.read_at(&mut bytes, 0)?;
    bytes.truncate(got);
    Ok(bytes)
}
