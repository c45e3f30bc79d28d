//! The operating system's files.
//!
//! Plain positioned reads and writes; interrupted calls are continued, short writes are continued until the system
//! says why. `fallocate` really reserves: where the file system cannot, the space is written with zeros, because a sparse
//! file under a map turns a full disk into SIGBUS. On copy-on-write file systems even that reserves nothing for
//! *over*writes; they are named by [`DiskFile::unreserved_overwrites`].
//!
//! The data directory is held, not followed by its name ([`OsDisk::holding`]): where it is moved, or something else is mounted or
//! linked at its name, a running server goes on in it, and touches nothing of what lies there now (which another server may
//! have locked). Stock servers do so by making it their working directory; here other paths stay as they are.

use std::borrow::Cow;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::fs::{CWD, FallocateFlags, RenameFlags, fallocate, fdatasync, fstatfs, fstatvfs, renameat_with};
use rustix::io::Errno;

use super::fail_points::step;
use super::medium;
use super::mmap::MappedFile;
use super::{Disk, DiskFile, Mode, Region, Result};
use crate::error::IoFailure;

#[derive(Default)]
pub struct OsDisk {
    sync_delay: SyncDelay,
    held: Option<Held>,
}

/// A directory that is reached by its descriptor.
struct Held {
    dir: PathBuf,
    by: PathBuf,
    _open: File,
}

/// Milliseconds that every fsync is made to take longer: for tests of slow disks against a real process.
#[derive(Clone, Default)]
struct SyncDelay(Arc<AtomicU64>);

impl SyncDelay {
    fn wait(&self) {
        let delay = self.0.load(Ordering::Relaxed);
        if delay > 0 {
            std::thread::sleep(Duration::from_millis(delay));
        }
    }
}

impl OsDisk {
    pub fn new() -> OsDisk {
        OsDisk::default()
    }

    /// What is named below `dir` is looked up in the directory that is open, wherever it lies by then. Without `/proc` by name.
    pub fn holding(dir: &Path, open: File) -> OsDisk {
        let by = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
        let held = by.is_dir().then(|| Held { dir: dir.to_path_buf(), by, _open: open });
        OsDisk { held, ..OsDisk::default() }
    }

    fn at<'a>(&self, path: &'a Path) -> Cow<'a, Path> {
        let below =
            self.held.as_ref().and_then(|held| Some(held.by.join(path.strip_prefix(&held.dir).ok()?)));
        below.map_or(Cow::Borrowed(path), Cow::Owned)
    }
}

impl Disk for OsDisk {
    fn open(&self, path: &Path, mode: Mode) -> Result<Arc<dyn DiskFile>> {
        if mode == Mode::CreateNew {
            step();
        }
        let file = OpenOptions::new()
            .read(true)
            .write(mode != Mode::Read)
            .create_new(mode == Mode::CreateNew)
            .open(self.at(path))
            .map_err(|e| {
                IoFailure::new(if mode == Mode::CreateNew { "creating" } else { "opening" }, path, e)
            })?;
        Ok(Arc::new(OsFile { file, path: path.to_path_buf(), sync_delay: self.sync_delay.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        step();
        medium::keep(to);
        std::fs::rename(self.at(from), self.at(to)).map_err(|e| IoFailure::new("renaming", from, e))
    }

    fn exchange(&self, a: &Path, b: &Path) -> Result<bool> {
        step();
        match renameat_with(CWD, &*self.at(a), CWD, &*self.at(b), RenameFlags::EXCHANGE) {
            Ok(()) => Ok(true),
            Err(Errno::NOSYS | Errno::INVAL | Errno::NOTSUP) => Ok(false),
            Err(e) => Err(IoFailure::new("exchanging", a, e.into())),
        }
    }

    fn remove(&self, path: &Path) -> Result<()> {
        step();
        medium::keep(path);
        std::fs::remove_file(self.at(path)).map_err(|e| IoFailure::new("removing", path, e))
    }

    fn list(&self, dir: &Path) -> Result<Vec<String>> {
        let failed = |e| IoFailure::new("listing", dir, e);
        let entries = match std::fs::read_dir(self.at(dir)) {
            Ok(entries) => entries,
            Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(e) => return Err(failed(e)),
        };
        let mut names = Vec::new();
        for entry in entries {
            names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        }
        names.sort();
        Ok(names)
    }

    fn len(&self, path: &Path) -> Result<Option<u64>> {
        match std::fs::metadata(self.at(path)) {
            Ok(found) => Ok(Some(found.len())),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(IoFailure::new("looking up", path, e)),
        }
    }

    fn create_dir(&self, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(self.at(dir)).map_err(|e| IoFailure::new("creating the directory", dir, e))
    }

    fn is_dir(&self, path: &Path) -> bool {
        self.at(path).is_dir()
    }

    fn set_sync_delay(&self, delay: Duration) {
        self.sync_delay.0.store(u64::try_from(delay.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn fsync_dir(&self, dir: &Path) -> Result<()> {
        step();
        self.sync_delay.wait();
        let failed = |e| IoFailure::new("syncing the directory", dir, e);
        medium::syncing_dir(dir, || File::open(self.at(dir)).map_err(failed)?.sync_all().map_err(failed))
    }
}

struct OsFile {
    file: File,
    path: PathBuf,
    sync_delay: SyncDelay,
}

impl OsFile {
    fn failed(&self, doing: &'static str) -> impl Fn(std::io::Error) -> IoFailure + '_ {
        move |e| IoFailure::new(doing, &self.path, e)
    }
}

impl DiskFile for OsFile {
    fn path(&self) -> &Path {
        &self.path
    }

    fn read_at(&self, buf: &mut [u8], at: u64) -> Result<usize> {
        let mut got = 0;
        while got < buf.len() {
            match self.file.read_at(&mut buf[got..], at + got as u64) {
                Ok(0) => break,
                Ok(n) => got += n,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(self.failed("reading")(e)),
            }
        }
        Ok(got)
    }

    fn write_at(&self, bytes: &[u8], at: u64) -> Result<()> {
        super::fail_points::step_within(|| {
            let _half = self.file.write_all_at(&bytes[..bytes.len() / 2], at);
        });
        self.file.write_all_at(bytes, at).map_err(self.failed("writing to"))
    }

    fn fdatasync(&self) -> Result<()> {
        step();
        self.sync_delay.wait();
        medium::syncing(&self.file, || fdatasync(&self.file).map_err(|e| self.failed("syncing")(e.into())))
    }

    fn size(&self) -> Result<u64> {
        Ok(self.file.metadata().map_err(self.failed("looking up"))?.len())
    }

    fn truncate(&self, len: u64) -> Result<()> {
        step();
        self.file.set_len(len).map_err(self.failed("truncating"))
    }

    fn fallocate(&self, len: u64) -> Result<()> {
        step();
        // It would fill the disk, and everybody on it would find it full, before it failed. (Without blocks: no figures.)
        let there =
            fstatvfs(&self.file).map_err(|e| self.failed("looking up the free space for")(e.into()))?;
        let room = there.f_bavail.saturating_mul(there.f_frsize).saturating_add(self.size()?);
        if there.f_blocks > 0 && room < len {
            let why = format!("No space left on device: {len} bytes are wanted, {room} are free");
            let full = std::io::Error::new(ErrorKind::StorageFull, why);
            return Err(self.failed("reserving space for")(full));
        }
        match fallocate(&self.file, FallocateFlags::empty(), 0, len) {
            Ok(()) => Ok(()),
            Err(Errno::NOTSUP | Errno::NOSYS | Errno::INVAL) => self.fill_with_zeros(len),
            Err(e) => Err(self.failed("reserving space for")(e.into())),
        }
    }

    fn map(&self, len: usize) -> Result<Box<dyn Region>> {
        Ok(Box::new(MappedFile::new(&self.file, &self.path, len)?))
    }

    fn unreserved_overwrites(&self) -> Option<&'static str> {
        #[allow(clippy::unnecessary_cast)]
        // the field's type differs between architectures, its low half does not
        copy_on_write(fstatfs(&self.file).ok()?.f_type as u32)
    }
}

/// The name of the file system of this magic number (statfs(2)) if it writes every block to a new place.
fn copy_on_write(magic: u32) -> Option<&'static str> {
    match magic {
        0x9123_683e => Some("btrfs"),
        0x2fc1_2fc1 => Some("ZFS"),
        0xca45_1a4e => Some("bcachefs"),
        _ => None,
    }
}

impl OsFile {
    /// Extends the file to `len` by writing, for file systems without `fallocate`. What is there stays.
    fn fill_with_zeros(&self, len: u64) -> Result<()> {
        let zeros = vec![0; 1 << 16];
        let mut at = self.size()?;
        while at < len {
            let n = (len - at).min(zeros.len() as u64);
            self.write_at(&zeros[..n as usize], at)?;
            at += n;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_systems_that_reserve_no_overwrites_are_known_by_number() {
        let check = |magic, expected| assert_eq!(copy_on_write(magic), expected, "{magic:x}");
        check(0x9123_683e, Some("btrfs"));
        check(0x2fc1_2fc1, Some("ZFS"));
        check(0xca45_1a4e, Some("bcachefs"));
        check(0xef53, None); // ext2, 3 and 4
        check(0x5846_5342, None); // XFS
        check(0x0102_1994, None); // tmpfs
        check(0x794c_7630, None); // overlayfs: what is below is not told
    }

    #[test]
    fn files_are_written_read_mapped_and_exchanged() {
        let dir = tempfile::tempdir().unwrap();
        let disk = OsDisk::new();
        let path = dir.path().join("a");
        let file = disk.open(&path, Mode::CreateNew).unwrap();
        assert!(disk.open(&path, Mode::CreateNew).is_err());
        file.fallocate(8192).unwrap();
        file.write_at(b"hello", 4094).unwrap();
        let mut region = file.map(8192).unwrap();
        assert_eq!(&region.bytes()[4094..4099], b"hello");
        region.bytes_mut()[0] = b'!';
        region.flush().unwrap();
        let mut buf = [0; 5];
        assert_eq!(file.read_at(&mut buf, 8190).unwrap(), 2);
        assert_eq!(file.read_at(&mut buf[..1], 0).unwrap(), 1);
        assert_eq!(buf[0], b'!');
        assert!(file.map(8193).is_err());

        let other = dir.path().join("b");
        disk.open(&other, Mode::CreateNew).unwrap();
        assert!(disk.exchange(&path, &other).unwrap());
        assert_eq!(disk.len(&other).unwrap(), Some(8192));
        assert_eq!(disk.list(dir.path()).unwrap(), ["a", "b"]);
        assert_eq!(disk.len(&dir.path().join("none")).unwrap(), None);
        assert!(disk.open(&dir.path().join("none"), Mode::Read).is_err());
    }
}
