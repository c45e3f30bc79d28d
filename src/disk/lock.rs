//! The lock that keeps a second server off a data directory.
//!
//! `flock` on `<dir>/ringhold.lock`: the kernel drops it when the holder ends in any way, so that a crash never
//! leaves a stale lock, which a pid file alone would. The holder's pid is written into the file only to be named in
//! the refusal. The file is never removed: removing a lock file races with the next opener of the old inode.
//!
//! Somebody else may remove it, as a stale one, from under a running server. So the directory itself is locked as well,
//! which can be removed only with all that is in it. It is not locked alone, as a network file system may lock only files
//! that are open for writing; there the file has to do.

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use crate::error::IoFailure;

/// Held as long as the value lives.
#[derive(Debug)]
pub struct DirLock {
    _file: File,
    /// Locked, too, where the file system locks directories.
    dir: File,
}

/// Why the directory could not be locked.
#[derive(Debug)]
pub enum LockRefused {
    /// Another server has it.
    Held {
        dir: PathBuf,
        /// As the holder wrote it; `None` if it has not yet.
        pid: Option<u32>,
    },
    Io(IoFailure),
}

impl fmt::Display for LockRefused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LockRefused::Held { dir, pid: Some(pid) } => {
                write!(f, "the data directory {} is in use by process {pid}", dir.display())
            }
            LockRefused::Held { dir, pid: None } => {
                write!(f, "the data directory {} is in use by another process", dir.display())
            }
            LockRefused::Io(failure) => failure.fmt(f),
        }
    }
}

impl std::error::Error for LockRefused {}

impl DirLock {
    /// Never waits.
    pub fn acquire(dir: &Path) -> Result<DirLock, LockRefused> {
        let path = dir.join("ringhold.lock");
        let io = |doing: &'static str| {
            let path = path.clone();
            move |e: std::io::Error| LockRefused::Io(IoFailure::new(doing, &path, e))
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("opening"))?;
        if !lock(&file).map_err(io("locking"))? {
            let mut text = String::new();
            let pid = file.take(16).read_to_string(&mut text).ok().and_then(|_| text.trim().parse().ok());
            return Err(LockRefused::Held { dir: dir.to_path_buf(), pid });
        }
        let itself = File::open(dir).map_err(io("opening the directory of"))?;
        if let Ok(false) = lock(&itself) {
            return Err(LockRefused::Held { dir: dir.to_path_buf(), pid: None });
        }
        // Only for people to read: a full disk must not keep the server from starting.
        let noted = file.set_len(0).and_then(|()| file.rewind());
        if noted.is_ok() {
            let _unimportant = writeln!(file, "{}", std::process::id());
        }
        Ok(DirLock { _file: file, dir: itself })
    }

    /// The directory, open.
    pub fn dir(&self) -> std::io::Result<File> {
        self.dir.try_clone()
    }
}

/// `false`: another process has it.
fn lock(file: &File) -> std::io::Result<bool> {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_holder_is_refused_by_name_and_pid() {
        let dir = tempfile::tempdir().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        let refused = DirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(refused.contains(&dir.path().display().to_string()), "{refused}");
        assert!(refused.ends_with(&format!("process {}", std::process::id())), "{refused}");
        std::fs::remove_file(dir.path().join("ringhold.lock")).unwrap();
        let refused = DirLock::acquire(dir.path()).unwrap_err().to_string();
        assert!(refused.ends_with("in use by another process"), "{refused}");
        drop(held);
        DirLock::acquire(dir.path()).unwrap();
    }
}
