//! What the machine would find after a power cut, noted beside the files, for the crash harness.
//!
//! Only in builds with the feature `planted`, and there only if the environment variable `RINGHOLD_MEDIUM` names a directory, on
//! the file system of the data. A kill leaves a process's writes in the page cache; here each fsync also leaves a copy of
//! what it made durable, of which the harness makes what a power cut leaves (`crash::process::power`):
//!
//! | in the directory | content |
//! |---|---|
//! | `f<inode>` | a file as it was at its last fsync or flush of its map |
//! | `d<inode>` | a directory at its last fsync: a line `<inode> <name>` for each file in it |
//! | `k<inode>` | a link to a file that lost its name, so that its number is not given to another one |
//! | `boot` | the boot id that the server sees |
//!
//! A copy is made before the fsync and gets its name after it: what is written meanwhile does not count. Directories
//! themselves are durable at once. In all other builds the functions are empty.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

#[cfg(not(feature = "planted"))]
mod at_work {
    use std::fs::File;
    use std::path::Path;

    /// Syncs the file, and notes what that makes durable.
    #[inline(always)]
    pub fn syncing<R, E>(_: &File, sync: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        sync()
    }

    /// The same for the map of a whole file with this inode number.
    #[inline(always)]
    pub fn syncing_map<R, E>(_: u64, _: &[u8], sync: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        sync()
    }

    /// The same for the names in a directory.
    #[inline(always)]
    pub fn syncing_dir<R, E>(_: &Path, sync: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        sync()
    }

    /// A file is about to lose this name.
    #[inline(always)]
    pub fn keep(_: &Path) {}

    /// The boot id to be seen, if not the kernel's.
    #[inline(always)]
    pub fn boot_id() -> Option<String> {
        None
    }
}

#[cfg(feature = "planted")]
mod at_work {
    use std::fs::File;
    use std::io::{self, Write};
    use std::os::unix::fs::{FileExt, MetadataExt};
    use std::path::{Path, PathBuf};
    use std::sync::{Mutex, OnceLock, PoisonError};

    static DIRECTORY: OnceLock<Option<PathBuf>> = OnceLock::new();
    /// One fsync at a time, so that an older copy never replaces a newer one.
    static TURN: Mutex<()> = Mutex::new(());

    fn directory() -> Option<&'static Path> {
        DIRECTORY.get_or_init(|| std::env::var_os("RINGHOLD_MEDIUM").map(PathBuf::from)).as_deref()
    }

    pub fn syncing<R, E>(file: &File, sync: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let Some(directory) = directory() else { return sync() };
        noting(directory, || copy(file).map(|(inode, bytes)| (format!("f{inode}"), bytes)), sync)
    }

    pub fn syncing_map<R, E>(inode: u64, map: &[u8], sync: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let Some(directory) = directory() else { return sync() };
        noting(directory, || Ok((format!("f{inode}"), map.to_vec())), sync)
    }

    pub fn syncing_dir<R, E>(dir: &Path, sync: impl FnOnce() -> Result<R, E>) -> Result<R, E> {
        let Some(directory) = directory() else { return sync() };
        let listed =
            || Ok((format!("d{}", std::fs::metadata(dir)?.ino()), super::names_in(dir)?.into_bytes()));
        noting(directory, listed, sync)
    }

    pub fn keep(path: &Path) {
        if let (Some(directory), Ok(found)) = (directory(), std::fs::symlink_metadata(path)) {
            let _kept_already = std::fs::hard_link(path, directory.join(format!("k{}", found.ino())));
        }
    }

    pub fn boot_id() -> Option<String> {
        std::fs::read_to_string(directory()?.join("boot")).ok()
    }

    fn noting<R, E>(
        directory: &Path,
        note: impl FnOnce() -> io::Result<(String, Vec<u8>)>,
        sync: impl FnOnce() -> Result<R, E>,
    ) -> Result<R, E> {
        let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = note();
        let done = sync()?;
        let put = |(name, bytes): (String, Vec<u8>)| {
            let new = directory.join("new");
            File::create(&new)?.write_all(&bytes)?;
            std::fs::rename(new, directory.join(name))
        };
        if let Err(error) = noted.and_then(put) {
            eprintln!("RINGHOLD_MEDIUM: {error}"); // the harness sees a loss that is none
        }
        Ok(done)
    }

    fn copy(file: &File) -> io::Result<(u64, Vec<u8>)> {
        let found = file.metadata()?;
        let mut bytes = vec![0; found.len() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        Ok((found.ino(), bytes))
    }
}

/// A line `<inode> <name>` for each file in the directory.
pub fn names_in(dir: &Path) -> io::Result<String> {
    let mut text = String::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_file() {
            text += &format!("{} {}\n", found.ino(), entry.file_name().to_string_lossy());
        }
    }
    Ok(text)
}

pub use at_work::{boot_id, keep, syncing, syncing_dir, syncing_map};
