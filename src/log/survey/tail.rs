//! Where our segments end, and whether that is an end, a torn tail or damage (rule 17).

use super::{LogFacts, LogFile, LogReader, PIECE, REPAIR, Refusal, refusal_at};
use crate::disk::Mode;
use crate::format::aof::{Ending, MarkSearch};
use crate::log::recovery::Tail;
use crate::planted::{Bug, planted};
use crate::units::{Offset, ReplId};

impl LogReader<'_> {
    /// Follows our segments from the first one on; sets `last` and what is to be said of the tail.
    pub(super) fn follow(&self, facts: &mut LogFacts) {
        facts.known_durable = self.clean().map_or(self.noted, |clean| clean.end.max(self.noted));
        for file in &facts.files[facts.first..] {
            let durable = file.report.as_ref().map_or(Offset::ZERO, |report| report.durable);
            facts.known_durable = facts.known_durable.max(durable);
        }
        let mut last = facts.first;
        while let Some(next) = facts.report(last + 1).and_then(|report| report.opening)
            && facts.report(last).is_some_and(|report| report.proven.offset == next.offset)
        {
            last += 1;
        }
        facts.last = last;
        let behind = facts.files.get(last).map_or(Offset::ZERO, |file| self.durable_behind(file));
        facts.known_durable = facts.known_durable.max(behind);
        let files = facts.files.len();
        let Some(report) = facts.report(last) else { return };
        let sealed = self.history.and_then(|history| history.sealed);
        let in_seal = |at: Offset| sealed.is_some_and(|sealed| (sealed.from..=sealed.to).contains(&at));
        // Behind a failed fsync a segment is opened beyond a gap, which its base is to close.
        let reserved = facts.files[last + 1..].iter().all(LogFile::is_idle) && in_seal(report.proven.offset);
        let whole = report.unproven() == 0 && (last + 1 == files || reserved);
        let early = report.bad_mark.is_none() && !matches!(report.ending, Ending::Malformed(_));
        let proven = report.proven;
        // After a failed fsync anything may be found in the place of the bytes that it did not save.
        let torn = early || in_seal(proven.offset) || self.zeroed_sector(&facts.files[last], proven.at);
        // Also under segments that were synced behind them, until a base holds what both did.
        let undermined = in_seal(proven.offset) && last + 1 < files;
        let (enough, torn) = match planted(Bug::DamageTorn) {
            true => (true, true),
            false => (proven.offset >= facts.known_durable, torn),
        };
        let tail = match (enough, whole, torn) {
            (true, true, _) => Tail::Whole,
            (true, false, true) => Tail::Torn,
            (false, false, true) if undermined => Tail::Torn,
            _ => Tail::Damaged,
        };
        let damaged_at = report.bad_mark.unwrap_or(proven.at);
        let what = match tail {
            Tail::Torn => "the file ends in the middle, and aof-load-truncated is off".to_string(),
            _ => format!(
                "the log is damaged behind stream offset {}, though offset {} is known to have been there",
                proven.offset,
                facts.known_durable.max(report.parsed.offset)
            ),
        };
        let path = facts.files[last].path.clone();
        facts.tail = tail;
        facts.refusal = Some(Refusal { at: damaged_at, what, ..refusal_at(path, REPAIR) });
    }

    /// What marks call durable that the walk did not come to. A failure to read is no evidence.
    fn durable_behind(&self, file: &LogFile) -> Offset {
        let Some(report) = file.report.as_ref().filter(|report| report.ending != Ending::Whole) else {
            return Offset::ZERO;
        };
        let mut names: Vec<ReplId> = report.ids.iter().map(|(name, _)| *name).collect();
        if let Some(history) = self.history {
            names.extend(history.lineage.iter().map(|past| past.replid).chain([history.replid]));
        }
        let from = report.proven;
        let mut search = MarkSearch::new(names, from.offset..=from.offset + report.unproven());
        let Ok(open) = self.disk.open(&file.path, Mode::Read) else { return Offset::ZERO };
        let mut piece = vec![0; PIECE];
        let mut at = from.at;
        while let Ok(got @ 1..) = open.read_at(&mut piece, at) {
            search.feed(&piece[..got]);
            at += got as u64;
        }
        search.durable()
    }

    /// Does a 512-byte sector at or after `from`, or the file, end in zeros? So does a sector that a power cut left as it was
    /// when the file did not reach so far yet. A failure to read is no evidence.
    fn zeroed_sector(&self, file: &LogFile, from: u64) -> bool {
        let Ok(open) = self.disk.open(&file.path, Mode::Read) else { return false };
        let mut piece = vec![0; PIECE];
        let mut at = from / 512 * 512;
        while at < file.len {
            let got = open.read_at(&mut piece, at).unwrap_or(0);
            if got == 0 {
                break;
            }
            for (i, sector) in piece[..got].chunks(512).enumerate() {
                let begins = at + i as u64 * 512;
                let skip = from.saturating_sub(begins).min(sector.len() as u64) as usize;
                if sector[skip..].last() == Some(&0) {
                    return true;
                }
            }
            at += got as u64;
        }
        false
    }
}
