//! What a path is, and its bytes as one reader, whatever stands around them.
//!
//! ```text
//! file | standard input | server ─► counted (progress) ─► gzip | zstd | as it is ─► first bytes say what it is ─► the walk
//! ```
//!
//! | kind | known by |
//! |---|---|
//! | RDB | `REDIS` or `VALKEY`; commands may follow it (a log of Redis 4 to 6 with a preamble) |
//! | log | `*` or an annotation line (`#RH:`, `#TS:`) |
//! | ring | its magic in one of the two name slots |
//! | `replication.toml` | its first line, the checksum |
//! | manifest | a line that begins with `file ` |
//!
//! An empty file is what its name says. Bytes are never sought in, so that everything works from a pipe. Offsets that are
//! reported count in the decompressed bytes.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::unpack::{Packing, packing, unpack};
use super::{Failure, Result, live};
use crate::disk::{Disk, Mode, OsDisk};
use crate::error::Corrupt;
use crate::format::ring::{NAME_SLOTS, Name};
use crate::log::rdb_probe::Positioned;

/// What a file is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Rdb,
    Log,
    Ring,
    History,
    Manifest,
}

impl Kind {
    pub fn word(self) -> &'static str {
        match self {
            Kind::Rdb => "snapshot",
            Kind::Log => "log",
            Kind::Ring => "ring",
            Kind::History => "history",
            Kind::Manifest => "manifest",
        }
    }
}

/// Told how far the reading of a file is: its name, bytes read (of the packed file), its size if known.
pub type Watch = Option<Rc<dyn Fn(&Path, u64, Option<u64>)>>;

/// A path that was found.
pub enum Found {
    File(Input),
    Directory(PathBuf),
}

/// An open file of a known kind.
pub struct Input {
    /// `-` is standard input; of a URL without user and password.
    pub file: PathBuf,
    pub kind: Kind,
    pub packing: Option<Packing>,
    /// In bytes, as it lies on the disk.
    pub size: Option<u64>,
    reader: Box<dyn Read>,
}

/// Enough for the magic of a ring's second name slot.
const HEAD: usize = 1024;

/// Opens `path`; `-` is standard input, a URL a running server ([`live`]).
pub fn open(path: &Path, watch: &Watch) -> Result<Found> {
    let disk = OsDisk::new();
    let (raw, size): (Box<dyn Read>, Option<u64>) = if live::is_url(path) {
        live::open(path)?
    } else if path.as_os_str() == "-" {
        (Box::new(io::stdin()), None)
    } else if disk.is_dir(path) {
        return Ok(Found::Directory(path.to_path_buf()));
    } else {
        let file = disk.open(path, Mode::Read)?;
        let size = file.size()?;
        (Box::new(OwnedFile { file, at: 0 }), Some(size).filter(|size| *size > 0))
    };
    watched(raw, &live::name_of(path), size, watch).map(Found::File)
}

/// An input that is no file, of which progress is told.
pub fn watched(raw: Box<dyn Read>, name: &Path, size: Option<u64>, watch: &Watch) -> Result<Input> {
    let counted = Counted { inner: raw, file: name.to_path_buf(), done: 0, size, watch: watch.clone() };
    of_reader(Box::new(counted), name, size)
}

/// Whether what comes from this path comes only once: standard input, or a server, which goes on.
pub fn comes_once(path: &Path) -> bool {
    path.as_os_str() == "-" || live::is_url(path)
}

/// An input that is no file. `name` is what messages call it.
pub fn of_reader(mut raw: Box<dyn Read>, name: &Path, size: Option<u64>) -> Result<Input> {
    let failed = |error| Failure::reading(name, error);
    let mut head = Vec::new();
    read_head(&mut raw, &mut head).map_err(failed)?;
    let packing = packing(&head);
    if let Some(packing) = packing {
        let packed: Box<dyn Read> = Box::new(io::Cursor::new(std::mem::take(&mut head)).chain(raw));
        raw = unpack(packing, packed);
        match read_head(&mut raw, &mut head) {
            Ok(()) => {}
            // What was unpacked before is shown before this is told.
            Err(error) if !head.is_empty() => raw = Box::new(Broken(Some(error))),
            Err(error) => return Err(failed(error)),
        }
    }
    let Some(kind) = kind_of(&head, name) else {
        let start = super::text::shortened(&head[..head.len().min(16)], 40);
        let what =
            format!("neither a snapshot, a log, a ring, a manifest nor a history: it begins with '{start}'");
        return Err(Failure::Corrupt(Corrupt::new(0, what).in_file(name)));
    };
    let reader = Box::new(io::Cursor::new(head).chain(raw));
    Ok(Input { file: name.to_path_buf(), kind, packing, size, reader })
}

impl Read for Input {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buf)
    }
}

fn read_head(from: &mut dyn Read, head: &mut Vec<u8>) -> io::Result<()> {
    from.take(HEAD as u64).read_to_end(head).map(|_| ())
}

/// Fails, and ends.
struct Broken(Option<io::Error>);

impl Read for Broken {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

fn kind_of(head: &[u8], name: &Path) -> Option<Kind> {
    let name = name.file_name().unwrap_or_default().to_string_lossy();
    let in_slot = |at: &usize| head.get(*at..).is_some_and(|slot| slot.starts_with(Name::MAGIC));
    match head {
        [] if name.ends_with(".rdb") => Some(Kind::Rdb),
        [] if name.ends_with(".manifest") => Some(Kind::Manifest),
        [] if name.ends_with(".aof") => Some(Kind::Log),
        _ if name.ends_with(".manifest") => Some(Kind::Manifest),
        _ if NAME_SLOTS.iter().any(in_slot) => Some(Kind::Ring),
        _ if head.starts_with(b"REDIS") || head.starts_with(b"VALKEY") => Some(Kind::Rdb),
        _ if head.starts_with(b"checksum = \"") => Some(Kind::History),
        _ if head.starts_with(b"file ") => Some(Kind::Manifest),
        [b'*', ..] => Some(Kind::Log),
        _ if head.starts_with(b"#RH:") || head.starts_with(b"#TS:") => Some(Kind::Log),
        _ if name.ends_with(".rdb") => Some(Kind::Rdb),
        _ if name.ends_with(".aof") => Some(Kind::Log),
        _ if name == "backlog.ring" => Some(Kind::Ring),
        _ if name == "replication.toml" => Some(Kind::History),
        _ => None,
    }
}

/// A disk's file, read on from byte `at`.
pub(super) struct OwnedFile {
    pub file: std::sync::Arc<dyn crate::disk::DiskFile>,
    pub at: u64,
}

impl Read for OwnedFile {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut here = Positioned { file: &*self.file, at: self.at };
        let got = here.read(buf)?;
        self.at = here.at;
        Ok(got)
    }
}

/// Tells the watcher about what passes.
struct Counted {
    inner: Box<dyn Read>,
    file: PathBuf,
    done: u64,
    size: Option<u64>,
    watch: Watch,
}

impl Read for Counted {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.inner.read(buf)?;
        self.done += got as u64;
        if let Some(watch) = &self.watch {
            watch(&self.file, self.done, self.size);
        }
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_what_its_first_bytes_say() {
        let check = |head: &[u8], name: &str, kind: Option<Kind>| {
            assert_eq!(kind_of(head, Path::new(name)), kind, "{name} {}", head.escape_ascii());
        };
        check(b"REDIS0011", "x", Some(Kind::Rdb));
        check(b"VALKEY080", "x.aof", Some(Kind::Rdb));
        check(b"*2\r\n", "x", Some(Kind::Log));
        check(b"#TS:1\r\n", "x", Some(Kind::Log));
        check(b"#RH:1 open", "x", Some(Kind::Log));
        check(b"# comment\nfile a seq 1 type b\n", "a.manifest", Some(Kind::Manifest));
        check(b"file a seq 1 type b\n", "x", Some(Kind::Manifest));
        check(b"checksum = \"00\"\n", "x", Some(Kind::History));
        check(b"", "appendonly.aof.1.incr.aof", Some(Kind::Log));
        check(b"", "x", None);
        check(b"PK\x03\x04", "x", None);
        check(b"\0\0\0", "dump.rdb", Some(Kind::Rdb));
    }

    #[test]
    fn compressed_input_is_read_as_if_it_were_not() {
        let plain = b"REDIS0003\xfe\0\0\x01k\x01v\xff";
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        io::Write::write_all(&mut gzip, plain).unwrap();
        let zstd = ruzstd::encoding::compress_to_vec(&plain[..], ruzstd::encoding::CompressionLevel::Fastest);
        for (bytes, packing) in [
            (plain.to_vec(), None),
            (gzip.finish().unwrap(), Some(Packing::Gzip)),
            (zstd, Some(Packing::Zstd)),
        ] {
            let mut input = of_reader(Box::new(io::Cursor::new(bytes)), Path::new("x"), None).unwrap();
            assert_eq!((input.kind, input.packing), (Kind::Rdb, packing));
            let mut all = Vec::new();
            input.read_to_end(&mut all).unwrap();
            assert_eq!(all, plain);
        }
    }
}
