//! What a torn tail left is cut before the log goes on behind it (P5).
//!
//! Our own recovery would find its way past such a rest, as marks say where each segment's proven part ends. Other
//! servers load segments to their last byte: they refuse, or execute once more what the next segment says again.
//!
//! Looked at is the segment that was the last one when the process ended. One before it may end in a torn mark, if its
//! machine lost power right after the log went on in the next: the rewrite that was under way then takes both away.

use std::path::PathBuf;

use super::{Runner, Verdict};
use crate::format::aof::Ending;
use crate::log::segments::{ManifestFound, read_manifest};
use crate::log::survey::walk_segment;
use crate::server::recovery;

impl Runner<'_> {
    /// The segment that recovery will find last.
    pub(super) fn last_segment(&self) -> Option<PathBuf> {
        let paths = recovery::paths(&self.world.config);
        match read_manifest(&self.world.disk, &paths) {
            Ok(ManifestFound::Good(manifest)) => {
                manifest.incrs.last().map(|segment| paths.log_file(&segment.name))
            }
            _ => None,
        }
    }

    /// If it is still there after a start.
    pub(super) fn verify_tail(&self, segment: Option<PathBuf>) -> Verdict {
        let Some(report) = segment.as_ref().and_then(|path| walk_segment(&self.world.disk, path).ok()) else {
            return Ok(());
        };
        if report.ending == Ending::Whole {
            return Ok(());
        }
        let name = segment.unwrap_or_default();
        Err(("P5", format!("a start leaves a torn tail in {}", name.display())))
    }
}
