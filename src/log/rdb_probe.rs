//! What recovery must know about an RDB file, read with the codec of [`crate::format::rdb`].
//!
//! Peeking stops at the first key, so that a snapshot of any size costs one read; only the preamble of an old-style log
//! is walked to its end, because nothing else says where the commands begin. Checksums are compared when the file is
//! loaded, not here.

use std::io::{self, Read};

use super::survey::{RdbPeek, RdbProbe};
use crate::disk::{DiskFile, Result};
use crate::error::{Corrupt, IoFailure};
use crate::format::rdb::{EXPORT_AUX, Item, LoadError, Reader, peek};
use crate::units::{Offset, ReplId};

pub struct FormatProbe;

/// No server ever comes so far, and clients and replicas read an offset as a signed number: beyond, a file says no place.
const OFFSET_MOST: u64 = 1 << 62;

/// RDB files of this version on end with a checksum.
const CHECKSUM_SINCE: u16 = 5;

type Found<T> = Result<std::result::Result<T, Corrupt>>;

impl RdbProbe for FormatProbe {
    fn peek(&self, file: &dyn DiskFile) -> Found<RdbPeek> {
        let head = match peek(&mut Positioned { file, at: 0 }) {
            Ok(head) => head,
            Err(error) => return failed(error, file),
        };
        let mut found = RdbPeek::default();
        for (name, value) in &head.aux {
            let number = || std::str::from_utf8(value).ok()?.parse::<u64>().ok();
            match name.as_slice() {
                b"repl-id" => found.replid = ReplId::parse(value).filter(|id| *id != ReplId::NONE),
                b"repl-offset" => found.offset = number().filter(|at| *at < OFFSET_MOST).map(Offset),
                b"repl-stream-db" => found.db = number().and_then(|db| u32::try_from(db).ok()),
                name if name == EXPORT_AUX.as_bytes() => found.export = true,
                _ => {}
            }
        }
        let mut trailer = [0; 8];
        let len = file.size()?;
        if head.version >= CHECKSUM_SINCE && len >= 8 && file.read_at(&mut trailer, len - 8)? == 8 {
            found.checksum = u64::from_le_bytes(trailer);
        }
        Ok(Ok(found))
    }

    fn preamble_end(&self, file: &dyn DiskFile) -> Found<u64> {
        match walk(&mut Positioned { file, at: 0 }) {
            Ok(end) => Ok(Ok(end)),
            Err(error) => failed(error, file),
        }
    }
}

fn walk(input: &mut dyn Read) -> std::result::Result<u64, LoadError> {
    let mut reader = Reader::open(input, false)?;
    loop {
        match reader.next_item()? {
            Item::Key(kind, _) => reader.skip_value(kind)?,
            Item::ModuleAux(_) => reader.skip_module()?,
            Item::End(_) => return Ok(reader.source.offset()),
            _ => {}
        }
    }
}

/// A failed system call stays one; everything else is the file's fault.
fn failed<T>(error: LoadError, file: &dyn DiskFile) -> Found<T> {
    match error {
        LoadError::Corrupt(damage) => Ok(Err(damage.in_file(file.path()))),
        LoadError::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
            Ok(Err(Corrupt::new(file.size()?, "the file ends too early").in_file(file.path())))
        }
        LoadError::Io(error) => Err(IoFailure::new("reading", file.path(), error)),
        LoadError::Stopped | LoadError::TooLong { .. } => {
            Ok(Err(Corrupt::new(0, "not read").in_file(file.path())))
        }
    }
}

/// Reads a disk's file from a position on.
pub struct Positioned<'a> {
    pub file: &'a dyn DiskFile,
    pub at: u64,
}

impl Read for Positioned<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.file.read_at(buf, self.at).map_err(|failure| failure.source)?;
        self.at += got as u64;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::disk::{Disk, Mode, SimDisk, durable};

    /// RDB 10 with a position, one string key in db 0, a checksum of zero.
    fn sample() -> Vec<u8> {
        sample_at("777")
    }

    fn sample_at(offset: &str) -> Vec<u8> {
        let aux = |name: &str, value: &str| {
            let string = |text: &str| [&[text.len() as u8], text.as_bytes()].concat();
            [vec![0xfa], string(name), string(value)].concat()
        };
        [
            b"REDIS0010".to_vec(),
            aux("repl-id", &"ab".repeat(20)),
            aux("repl-offset", offset),
            aux("repl-stream-db", "3"),
            vec![0xfe, 0, 0, 1, b'k', 1, b'v', 0xff],
            7u64.to_le_bytes().to_vec(),
        ]
        .concat()
    }

    fn on_disk(bytes: &[u8]) -> std::sync::Arc<dyn DiskFile> {
        let disk = SimDisk::new();
        durable::write_new(&disk, Path::new("/f"), bytes).unwrap();
        disk.open(Path::new("/f"), Mode::Read).unwrap()
    }

    #[test]
    fn a_snapshot_says_where_it_is() {
        let found = FormatProbe.peek(&*on_disk(&sample())).unwrap().unwrap();
        assert_eq!(found.replid, Some(ReplId::from_random([0xab; 20])));
        assert_eq!((found.offset, found.db, found.checksum), (Some(Offset(777)), Some(3), 7));
        let field = [&[0xfa, EXPORT_AUX.len() as u8], EXPORT_AUX.as_bytes(), &[0xc0, 1]].concat();
        let export = [&sample()[..9], &field, &sample()[9..]].concat();
        let marked = FormatProbe.peek(&*on_disk(&export)).unwrap().unwrap();
        assert_eq!(marked, RdbPeek { export: true, ..found });
        for (said, expected) in [
            ("4611686018427387903", Some(Offset(OFFSET_MOST - 1))),
            ("4611686018427387904", None),
            ("9223372036854775808", None),
            ("18446744073709551615", None),
            ("-1", None),
            ("x", None),
        ] {
            let found = FormatProbe.peek(&*on_disk(&sample_at(said))).unwrap().unwrap();
            assert_eq!(found.offset, expected, "{said}");
        }
    }

    #[test]
    fn the_preamble_ends_where_the_commands_begin() {
        let file = [sample(), b"*1\r\n$4\r\nPING\r\n".to_vec()].concat();
        assert_eq!(FormatProbe.preamble_end(&*on_disk(&file)).unwrap(), Ok(sample().len() as u64));
    }

    #[test]
    fn damage_names_the_file() {
        for bytes in [&b""[..], b"REDI", b"GARBAGE!!", &sample()[..20]] {
            let damage = FormatProbe.peek(&*on_disk(bytes)).unwrap().unwrap_err();
            assert_eq!(damage.file.as_deref(), Some(Path::new("/f")));
            assert!(FormatProbe.preamble_end(&*on_disk(bytes)).unwrap().is_err());
        }
    }
}
