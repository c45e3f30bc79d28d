//! Bytes of any number in a bounded amount of memory, and files that appear only when they are whole.
//!
//! A [`Spool`] holds what must be known to its end before it can be written (is this value sound, how many elements
//! has it?) and what is compared later. Its first bytes stay in memory; what is more goes to a file without a name in
//! the directory for temporary files (`TMPDIR`), which is gone with the process, however that ends.
//!
//! A [`NewFile`] is written beside its final name and takes it when it is finished and synced. Nothing that is there is replaced.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::{Failure, Result};
use crate::disk::{Disk, DiskFile, Mode, OsDisk, durable};
use crate::error::IoFailure;

/// Temporary names that are tried before giving up.
const TRIES: usize = 1000;

pub struct Spool {
    /// What stands behind the file's bytes.
    memory: Vec<u8>,
    most: usize,
    file: Option<Arc<dyn DiskFile>>,
    in_file: u64,
    failure: Option<IoFailure>,
}

impl Spool {
    /// Keeps up to `most` bytes in memory.
    pub fn new(most: usize) -> Spool {
        Spool { memory: Vec::new(), most, file: None, in_file: 0, failure: None }
    }

    /// Appends. A failure is kept for [`Spool::check`].
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.memory.extend_from_slice(bytes);
        if self.memory.len() > self.most && self.failure.is_none() {
            self.failure = self.spill().err();
            self.memory.clear();
        }
    }

    fn spill(&mut self) -> std::result::Result<(), IoFailure> {
        let file = match &self.file {
            Some(file) => file,
            None => self.file.insert(temporary()?),
        };
        file.write_at(&self.memory, self.in_file)?;
        self.in_file += self.memory.len() as u64;
        Ok(())
    }

    pub fn clear(&mut self) {
        self.memory.clear();
        self.in_file = 0;
    }

    pub fn len(&self) -> u64 {
        self.in_file + self.memory.len() as u64
    }
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all that was put is there.
    pub fn check(&mut self) -> Result<()> {
        self.failure.take().map_or(Ok(()), |failure| Err(Failure::Io(failure)))
    }

    /// Reads all of it.
    pub fn reader(&self) -> SpoolReader<'_> {
        SpoolReader { spool: self, at: 0 }
    }

    /// Everything in memory, if it is there anyway.
    pub fn in_memory(&self) -> Option<&[u8]> {
        (self.in_file == 0).then_some(&self.memory)
    }

    /// As a file to be read anywhere.
    pub fn into_file(mut self) -> Result<Arc<dyn DiskFile>> {
        self.check()?;
        self.spill()?;
        let file = self.file.map_or_else(temporary, Ok)?;
        // What an earlier use left behind the end is none of it.
        file.truncate(self.in_file)?;
        Ok(file)
    }
}

/// Never fails: see [`Spool::check`].
impl Write for Spool {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub struct SpoolReader<'s> {
    spool: &'s Spool,
    at: u64,
}

impl Read for SpoolReader<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let in_file = self.spool.in_file;
        let got = match &self.spool.file {
            Some(file) if self.at < in_file => {
                let want = (buf.len() as u64).min(in_file - self.at) as usize;
                file.read_at(&mut buf[..want], self.at).map_err(|failure| failure.source)?
            }
            _ => {
                let rest = &self.spool.memory[(self.at - in_file) as usize..];
                let got = rest.len().min(buf.len());
                buf[..got].copy_from_slice(&rest[..got]);
                got
            }
        };
        self.at += got as u64;
        Ok(got)
    }
}

/// A file that has no name.
fn temporary() -> std::result::Result<Arc<dyn DiskFile>, IoFailure> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let disk = OsDisk::new();
    let mut tries = 0;
    loop {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("ringhold-inspect-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        match disk.open(&path, Mode::CreateNew) {
            Ok(file) => {
                disk.remove(&path)?;
                return Ok(file);
            }
            Err(failure) if failure.source.kind() == io::ErrorKind::AlreadyExists && tries < TRIES => {
                tries += 1;
            }
            Err(failure) => return Err(failure),
        }
    }
}

/// A file that is being written; it has its name when [`NewFile::finish`] has returned.
pub struct NewFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Arc<dyn DiskFile>,
    at: u64,
    finished: bool,
}

impl NewFile {
    /// What is there is not replaced.
    pub fn create(path: &Path) -> Result<NewFile> {
        let disk = OsDisk::new();
        if disk.exists(path)? || disk.is_dir(path) {
            return Err(Failure::Usage(format!(
                "{} is there already; nothing is replaced, so choose another name",
                path.display()
            )));
        }
        let temporary = durable::with_suffix(path, &format!(".part-{}", std::process::id()));
        let file = disk.open(&temporary, Mode::CreateNew)?;
        Ok(NewFile { path: path.to_path_buf(), temporary, file, at: 0, finished: false })
    }

    pub fn finish(mut self) -> Result<()> {
        self.file.fdatasync()?;
        durable::publish(&OsDisk::new(), &self.temporary, &self.path)?;
        self.finished = true;
        Ok(())
    }
}

impl Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write_at(bytes, self.at).map_err(|failure| failure.source)?;
        self.at += bytes.len() as u64;
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for NewFile {
    fn drop(&mut self) {
        if !self.finished {
            // What is left over is only a nuisance, and the failure that led here is told.
            let _left_over = OsDisk::new().remove(&self.temporary);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spool_gives_back_what_it_got() {
        let mut spool = Spool::new(1000);
        for round in [0, 1, 999, 1000, 1001, 5000, 3] {
            spool.clear();
            let bytes: Vec<u8> = (0..round).map(|n: usize| n as u8).collect();
            bytes.chunks(7).for_each(|piece| spool.put(piece));
            let mut back = Vec::new();
            spool.reader().read_to_end(&mut back).unwrap();
            assert!(back == bytes && spool.len() == round as u64, "{round}");
            assert_eq!(spool.in_memory().is_some(), round <= 1000);
        }
        spool.check().unwrap();
        let file = spool.into_file().unwrap();
        let mut back = [0; 9];
        assert_eq!(file.read_at(&mut back, 0).unwrap(), 3);
    }

    #[test]
    fn a_file_is_there_when_it_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new.rdb");
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"half").unwrap();
        drop(file);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
        let mut file = NewFile::create(&path).unwrap();
        file.write_all(b"whole").unwrap();
        file.finish().unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"whole");
        assert!(matches!(NewFile::create(&path), Err(Failure::Usage(_))));
    }
}
