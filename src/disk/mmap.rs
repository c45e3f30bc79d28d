//! The unsafe corner of file I/O: a shared, writable map of a file.
//!
//! `memmap2` calls mapping unsafe because another writer, or a truncation, changes what safe code holds a
//! reference to. Here: the data directory is locked against a second server ([`super::lock`]), a mapped file is
//! reserved to its full length before it is mapped and nothing in this program truncates or replaces its contents
//! while mapped (a resize makes another file). What another program does to the file in spite of the lock ends
//! in checksum failures or SIGBUS, which is reported as an I/O error naming the file ([`super::fault`], rule 29).
//! The bytes are plain integers: no value of them is invalid for `[u8]`.

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use memmap2::{MmapMut, MmapOptions};

use super::fault::Registration;
use super::{Region, Result};
use crate::error::IoFailure;

pub struct MappedFile {
    /// Goes before the map does.
    _faults: Registration,
    map: MmapMut,
    file: File,
    path: PathBuf,
    inode: u64,
}

impl MappedFile {
    /// `len` bytes from the start of `file`, which is at least that long.
    pub fn new(file: &File, path: &Path, len: usize) -> Result<MappedFile> {
        let failed = |e| IoFailure::new("mapping", path, e);
        let found = file.metadata().map_err(failed)?;
        if found.len() < len as u64 {
            return Err(failed(std::io::Error::other("the file is shorter than the map")));
        }
        // SAFETY: see the module head; the length was checked above, so that touching the map does not fault.
        let map = unsafe { MmapOptions::new().len(len).map_mut(file) }.map_err(failed)?;
        let faults = Registration::new(&map, file, path).map_err(failed)?;
        let own = file.try_clone().map_err(failed)?;
        Ok(MappedFile { _faults: faults, map, file: own, path: path.to_path_buf(), inode: found.ino() })
    }
}

impl Region for MappedFile {
    fn bytes(&self) -> &[u8] {
        &self.map
    }
    fn bytes_mut(&mut self) -> &mut [u8] {
        super::fail_points::step();
        &mut self.map
    }
    fn flush(&self) -> Result<()> {
        super::fail_points::step();
        let failed = |e| IoFailure::new("syncing the map of", &self.path, e);
        // The kernel notes the time of a page's first write only; who copies by size and time would leave the file out. A
        // service, not an assurance: it may not be this user's file.
        let _of_use_to_copies = self.file.set_modified(SystemTime::now());
        super::medium::syncing_map(self.inode, &self.map, || self.map.flush().map_err(failed))
    }
}
