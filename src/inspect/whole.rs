//! A dataset as an RDB file that can be read more than once and anywhere in it, whatever it comes from.
//!
//! | path | becomes |
//! |---|---|
//! | snapshot | itself |
//! | packed snapshot, standard input, server | a temporary copy, unpacked |
//! | directory whose snapshot has nothing behind it | that snapshot |
//! | directory with a log, manifest, log of one file | replayed ([`at`]) into a temporary copy: takes the memory of a server |
//!
//! For what compares and merges: a key that only the log has is no key that is not there. Temporary copies have no
//! name and are gone with the process ([`Spool`]); `TMPDIR` says where they lie. Rejected: asking for files only.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::at::{self, Moment};
use super::check::{self, layout, look};
use super::input::{self, Found, Input, Kind, OwnedFile};
use super::snapshot::Snapshot;
use super::spool::Spool;
use super::text;
use super::{Failure, Result};
use crate::disk::{Disk, DiskFile, Mode, OsDisk};
use crate::log::rdb_probe::Positioned;
use crate::units::UnixMillis;

/// Bytes of a copy in memory while it is made.
const IN_MEMORY: usize = 1 << 20;
const STEP: usize = 256 << 10;
/// Of a value that is read alone; a longer one is read in several steps.
const GLANCE: usize = 8 << 10;

pub struct Whole {
    /// As messages call it.
    pub name: PathBuf,
    file: Arc<dyn DiskFile>,
    /// What should be said of it.
    pub note: Option<String>,
}

impl Whole {
    pub fn open(path: &Path, options: &check::Options, now: UnixMillis) -> Result<Whole> {
        Whole::of(path, input::open(path, &options.watch)?, options, now)
    }

    /// What was found at `path`.
    pub fn of(path: &Path, found: Found, options: &check::Options, now: UnixMillis) -> Result<Whole> {
        let input = match found {
            Found::Directory(directory) => return of_directory(&directory, options, now),
            Found::File(input) => input,
        };
        match input.kind {
            Kind::Rdb | Kind::Log => {}
            Kind::Manifest if !input::comes_once(path) => {
                let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty());
                return of_directory(directory.unwrap_or(Path::new(".")), options, now);
            }
            other => {
                let name = input.file.display();
                return Err(Failure::Usage(format!("{name} is a {}: it holds no keys", other.word())));
            }
        }
        let (name, is_log) = (input.file.clone(), is_log(&input));
        let is_plain = input.packing.is_none() && input.size.is_some() && !input::comes_once(path);
        let file = if is_plain { OsDisk::new().open(path, Mode::Read)? } else { copied(input)? };
        if !is_log {
            return Ok(Whole { name, file, note: None });
        }
        if name.as_os_str().as_encoded_bytes().ends_with(b".incr.aof") {
            let what = "a segment of a log builds on what is before it: give the directory or the manifest";
            return Err(Failure::Usage(format!("{}: {what}", name.display())));
        }
        let mut spool = Spool::new(IN_MEMORY);
        let torn = at::of_log(&*file, &name, &options.watch, now, &mut spool)?;
        let note =
            format!("{}: the last {} are no whole command: left out", name.display(), text::size(torn));
        Ok(Whole { name, file: spool.into_file()?, note: (torn > 0).then_some(note) })
    }

    /// From its first byte, once more.
    pub fn input(&self, watch: &input::Watch) -> Result<Input> {
        let raw = OwnedFile { file: Arc::clone(&self.file), at: 0 };
        input::watched(Box::new(raw), &self.name, Some(self.file.size()?), watch)
    }

    /// Calls `look` with a walk that begins at the key of database `db` at byte `at`.
    pub fn glance<T>(
        &self,
        version: u16,
        (db, at): (u64, u64),
        look: impl FnOnce(&mut Snapshot<'_>) -> Result<T>,
    ) -> Result<T> {
        let mut input = Positioned { file: &*self.file, at };
        look(&mut Snapshot::resume_briefly(&mut input, &self.name, version, at, db, GLANCE))
    }
}

/// Commands, perhaps behind a snapshot.
pub fn is_log(input: &Input) -> bool {
    input.kind == Kind::Log || input.file.as_os_str().as_encoded_bytes().ends_with(b".aof")
}

fn copied(mut input: Input) -> Result<Arc<dyn DiskFile>> {
    let (mut spool, mut piece) = (Spool::new(IN_MEMORY), vec![0; STEP]);
    loop {
        let got = input.read(&mut piece);
        match got.map_err(|error| Failure::reading(&input.file, error))? {
            0 => return spool.into_file(),
            got => spool.put(&piece[..got]),
        }
    }
}

/// What a start in this directory would have at its end.
fn of_directory(directory: &Path, options: &check::Options, now: UnixMillis) -> Result<Whole> {
    let disk = OsDisk::new();
    let plan = look(&disk, &layout(&disk, directory, &options.names)?)?.plan;
    let plan = plan.map_err(|refusal| Failure::Usage(format!("a start would be refused: {refusal}")))?;
    if let ([load], true) = (plan.load.as_slice(), plan.replay.is_empty())
        && load.rdb > 0
        && load.commands_end <= load.rdb
    {
        let file = disk.open(&load.path, Mode::Read)?;
        return Ok(Whole { name: load.path.clone(), file, note: None });
    }
    let mut spool = Spool::new(IN_MEMORY);
    at::write(directory, Moment::End, options, now, &mut spool)?;
    Ok(Whole { name: directory.to_path_buf(), file: spool.into_file()?, note: None })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::keys::{Filter, Source, walk};
    use crate::inspect::memory::Memory;

    const LOG: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n1\r\n#TS:1700000000\r\n*3\r\n$3\r\nSET\r\n$1\r\na\r\n$1\r\nv\r\n\
        *1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nSET\r\n$1\r\nb\r\n$1\r\nv\r\n*1\r\n$4\r\nEXEC\r\n";

    fn keys(path: &Path) -> Result<(u64, Option<String>)> {
        let whole = Whole::open(path, &check::Options::default(), UnixMillis(0))?;
        let mut memory = Memory::new(1, b':', UnixMillis(0));
        let mut source = Source { input: whole.input(&None)?, note: None };
        walk(&mut source, &Filter::default(), UnixMillis(0), &mut memory)?;
        Ok((memory.total().keys, whole.note))
    }

    #[test]
    fn logs_are_what_their_whole_units_make() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.aof");
        let preamble = b"REDIS0004\xfe\0\0\x01k\x01v\xff";
        for (head, more) in [(&b""[..], 0), (&preamble[..], 1)] {
            for cut in 0..=LOG.len() {
                std::fs::write(&path, [head, &LOG.as_bytes()[..cut]].concat()).unwrap();
                let (found, note) = keys(&path).unwrap();
                let first = LOG.find("*1\r\n$5").unwrap();
                let expected = if cut == LOG.len() { 2 } else { u64::from(cut >= first) };
                assert_eq!(found, expected + more, "cut to {cut}");
                assert!(note.is_none() || cut < LOG.len(), "{note:?}");
            }
        }
        // Flipped bits end with a place in the file, or are another log.
        for at in 0..LOG.len() {
            let mut damaged = LOG.as_bytes().to_vec();
            damaged[at] ^= 1 << (at % 8);
            std::fs::write(&path, &damaged).unwrap();
            match keys(&path) {
                Ok(_) => {}
                Err(Failure::Corrupt(damage)) => {
                    assert!(
                        damage.file.as_deref() == Some(&path) && damage.at <= LOG.len() as u64,
                        "{damage}"
                    )
                }
                Err(failure) => panic!("flipped at {at}: {failure}"),
            }
        }
    }
}
