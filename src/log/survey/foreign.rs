//! What another server wrote: its own log, or commands behind ours (rule 14).

use super::{LogFacts, LogFile, LogReader, LogShape, REPAIR, Refusal, refusal_at};
use crate::format::aof::Ending;
use crate::format::history::Born;
use crate::log::recovery::Tail;
use crate::units::Offset;

const EITHER: &str = "move the log's directory, replication.toml and backlog.ring away to go on from the snapshot without what the \
                      other server wrote, or the snapshot and these two files to take over what that one had";

impl LogReader<'_> {
    /// Rule 14: bytes behind the place where it was closed. If one of our marks proves some of them, this is not the file
    /// that was closed (each start opens the next one), but another copy's: its names tell.
    pub(super) fn has_foreign_bytes(&self, file: &LogFile) -> bool {
        let Some(report) = file.report.as_ref().filter(|report| report.opening.is_some()) else {
            return true;
        };
        let closed_at = self.clean().and_then(|c| c.segments.iter().find(|s| s.name == file.name));
        let written_on = |len: u64| file.len > len && report.marked.at <= len;
        report.foreign_from.is_some() || closed_at.is_some_and(|closed| written_on(closed.len))
    }

    /// A file with another server's writes in it is loaded whole, by no seal; so those there are must hold: what we
    /// wrote ourselves is not loaded damaged.
    pub(super) fn damaged_seal(&self, file: &LogFile) -> Option<Refusal> {
        let report = file.report.as_ref().filter(|report| report.opening.is_some())?;
        let clean = self.clean().and_then(|c| c.segments.iter().find(|s| s.name == file.name));
        let sealed = clean.map_or(0, |closed| closed.len);
        let short = (report.foreign_from.is_none() && report.proven.at < sealed).then_some(report.proven.at);
        let at = report.bad_mark.or(short)?;
        let what = format!(
            "the log is damaged behind stream offset {}, before what another server wrote behind it",
            report.proven.offset
        );
        Some(Refusal { at, what, ..refusal_at(file.path.clone(), REPAIR) })
    }

    /// `first`, with which the manifest begins, is a segment of ours whose history stands on a snapshot elsewhere. Who else loads this
    /// log loads it alone, and what they wrote behind it stands on less than there is.
    pub(super) fn without_its_base(&self, first: &LogFile) -> Option<Refusal> {
        let opening = first.report.as_ref().filter(|_| first.base_of_commands().is_none())?.opening?;
        let history = self.history.filter(|history| history.end_of(opening.replid).is_some())?;
        if opening.offset == Offset::ZERO && history.born == Born::Empty {
            return None;
        }
        let snapshot = &self.paths.snapshot;
        let what = format!(
            "this log goes on from offset {} of a history whose base, {snapshot}, is not a part of it, and another server \
             has loaded the log without that and written behind it",
            opening.offset
        );
        Some(Refusal { what, ..refusal_at(first.path.clone(), EITHER) })
    }

    /// Another server's files: whole units only, and only the last may end early.
    pub(super) fn add_stock(&self, facts: &mut LogFacts, files: Vec<LogFile>) {
        let count = files.len();
        for (i, file) in files.iter().enumerate() {
            let Some(report) = &file.report else { continue };
            let (stock, at, malformed) = match &report.ending {
                Ending::Whole => continue,
                Ending::Malformed(damage) => (bad_format(file), damage.at, true),
                Ending::Cut { .. } | Ending::OpenMulti if i + 1 == count => {
                    (unexpected_end(file), report.parsed.at, false)
                }
                Ending::Cut { .. } | Ending::OpenMulti => {
                    ("Fatal error: the truncated file is not the last file".into(), report.parsed.at, true)
                }
            };
            let what =
                if malformed { "not a log from here on" } else { "the file ends inside a command or MULTI" };
            facts.refusal = Some(Refusal {
                at,
                what: what.into(),
                stock_words: Some(stock),
                ..refusal_at(file.path.clone(), REPAIR)
            });
            facts.tail = if malformed { Tail::Damaged } else { Tail::Torn };
            if malformed {
                facts.shape = LogShape::Damaged;
                break;
            }
        }
        facts.last = count.saturating_sub(1);
        facts.files = files;
    }
}

fn bad_format(file: &LogFile) -> String {
    format!(
        "Bad file format reading the append only file {}: make a backup of your AOF file, then use \
         ./redis-check-aof --fix <filename.manifest>",
        file.name
    )
}

fn unexpected_end(file: &LogFile) -> String {
    format!(
        "Unexpected end of file reading the append only file {}. You can: 1) Make a backup of your AOF file, then \
         use ./redis-check-aof --fix <filename.manifest>. 2) Alternatively you can set the 'aof-load-truncated' \
         configuration option to yes and restart the server",
        file.name
    )
}
