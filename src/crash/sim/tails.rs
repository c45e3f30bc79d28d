//! After a start the log's segments are whole and follow one another: what a torn tail left was cut (P5).
//!
//! Our own recovery would find its way past such a rest, as marks say where each segment's proven part ends. Other
//! servers load segments to their last byte: they refuse, or execute once more what the next segment says again.

use super::{Runner, Verdict};
use crate::format::aof::Ending;
use crate::log::segments::{ManifestFound, read_manifest};
use crate::log::survey::walk_segment;
use crate::server::recovery;

impl Runner<'_> {
    pub(super) fn verify_tails(&self) -> Verdict {
        self.look_at_tails().map_err(|what| ("P5", what))
    }

    fn look_at_tails(&self) -> Result<(), String> {
        let (disk, paths) = (&self.world.disk, recovery::paths(&self.world.config));
        let found = read_manifest(disk, &paths).map_err(|failure| failure.to_string())?;
        let ManifestFound::Good(manifest) = found else { return Ok(()) };
        let mut before = None;
        for segment in &manifest.incrs {
            let path = paths.log_file(&segment.name);
            let report = walk_segment(disk, &path).map_err(|failure| failure.to_string())?;
            if report.ending != Ending::Whole {
                return Err(format!("after a start {} does not end between two units", segment.name));
            }
            let begins = report.opening.map(|opening| opening.offset);
            if let (Some(end), Some(start)) = (before, begins)
                && end != start
            {
                return Err(format!(
                    "after a start {} begins at {start}, though other servers load up to {end} from those before it",
                    segment.name
                ));
            }
            before = begins.map(|_| report.parsed.offset);
        }
        Ok(())
    }
}
