//! Stream bytes of a run, piece by piece, for whoever applies them.
//!
//! Annotations and the out-of-stream SELECT are taken out, so that what is delivered is exactly the stream from the run's
//! start to its end: the sum of the pieces' lengths is checked against it. Pieces are cut anywhere; a parser that
//! accepts partial input puts the commands together.

use std::path::PathBuf;
use std::sync::Arc;

use super::plan::{Load, Run, Source};
use crate::disk::{Disk, DiskFile, Mode};
use crate::error::{Corrupt, IoFailure};
use crate::format::aof::Strip;
use crate::ring::Ring;
use crate::units::Offset;

#[derive(Debug)]
pub enum ReplayError {
    Io(IoFailure),
    Corrupt(Corrupt),
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ReplayError::Io(failure) => failure.fmt(f),
            ReplayError::Corrupt(damage) => damage.fmt(f),
        }
    }
}

impl std::error::Error for ReplayError {}

const PIECE: usize = 1 << 20;

/// Reads a run, or the commands of a file that was taken over.
pub struct RunReader {
    from: From,
    /// Stream bytes still to be left out at the start.
    skip: u64,
    /// Stream bytes still to come; `None` for taken-over files, which are not counted.
    left: Option<u64>,
}

enum From {
    File { file: Arc<dyn DiskFile>, path: PathBuf, at: u64, to: u64, strip: Strip, piece: Vec<u8> },
    Ring { at: Offset },
}

impl RunReader {
    pub fn of_run(disk: &dyn Disk, run: &Run) -> Result<RunReader, ReplayError> {
        let left = Some(run.end - run.start);
        match &run.source {
            Source::Segment { path, body, to, skip } => {
                let reader = RunReader::of_file(disk, path.clone(), *body, *to)?;
                Ok(RunReader { skip: *skip, left, ..reader })
            }
            Source::Ring => Ok(RunReader { from: From::Ring { at: run.start }, skip: 0, left }),
        }
    }

    /// The commands behind a file's RDB; `None`: it has none.
    pub fn of_load(disk: &dyn Disk, load: &Load) -> Result<Option<RunReader>, ReplayError> {
        if load.commands_end <= load.rdb {
            return Ok(None);
        }
        RunReader::of_file(disk, load.path.clone(), load.rdb, load.commands_end).map(Some)
    }

    fn of_file(disk: &dyn Disk, path: PathBuf, at: u64, to: u64) -> Result<RunReader, ReplayError> {
        let file = disk.open(&path, Mode::Read).map_err(ReplayError::Io)?;
        let from = From::File { file, path, at, to, strip: Strip::new(at), piece: vec![0; PIECE] };
        Ok(RunReader { from, skip: 0, left: None })
    }

    /// Replaces `out` by the next stream bytes. False: the end. `ring` is needed for runs of the ring, still as it was opened.
    pub fn next(&mut self, ring: Option<&Ring>, out: &mut Vec<u8>) -> Result<bool, ReplayError> {
        out.clear();
        while out.is_empty() {
            if !self.more(ring, out)? {
                return match self.left {
                    Some(1..) => Err(self.short()),
                    _ => Ok(false),
                };
            }
            let skipped = self.skip.min(out.len() as u64);
            out.drain(..skipped as usize);
            self.skip -= skipped;
            if let Some(left) = &mut self.left {
                out.truncate(usize::try_from(*left).unwrap_or(usize::MAX));
                *left -= out.len() as u64;
            }
        }
        Ok(true)
    }

    fn more(&mut self, ring: Option<&Ring>, out: &mut Vec<u8>) -> Result<bool, ReplayError> {
        match &mut self.from {
            From::File { file, path, at, to, strip, piece } => {
                let want = (*to - *at).min(PIECE as u64) as usize;
                let got = file.read_at(&mut piece[..want], *at).map_err(ReplayError::Io)?;
                *at += got as u64;
                strip
                    .feed(&piece[..got], out)
                    .map_err(|damage| ReplayError::Corrupt(damage.in_file(path)))?;
                Ok(got > 0)
            }
            From::Ring { at } => {
                let want = self.left.unwrap_or(0).min(PIECE as u64) as usize;
                let Some((first, rest)) = ring.and_then(|ring| ring.read(*at, want)) else {
                    return Ok(false);
                };
                out.extend_from_slice(first);
                out.extend_from_slice(rest);
                *at += out.len() as u64;
                Ok(!out.is_empty())
            }
        }
    }

    fn short(&self) -> ReplayError {
        let what = "fewer stream bytes than were proven before: the file changed meanwhile";
        ReplayError::Corrupt(match &self.from {
            From::File { path, at, .. } => Corrupt::new(*at, what).in_file(path),
            From::Ring { at } => Corrupt::new(at.0, what),
        })
    }
}
