//! What becomes of the log's files when the history goes on.

use super::{Cut, LogShape, Plan, Planner, Tail, name_at};
use crate::disk::Mode;
use crate::format::aof::{Chain, Place, SegmentReport, Strip};
use crate::log::survey::LogFile;
use crate::units::Offset;

/// Bytes compared at a time.
const PIECE: usize = 1 << 20;

impl Planner<'_> {
    /// What becomes of our segments: kept up to the proven end, the rest cut or moved aside.
    pub(super) fn settle_log(&self, plan: &mut Plan) {
        let log = self.log();
        if !matches!(log.shape, LogShape::Ours) {
            return;
        }
        let Some((start, end)) = log.range() else { return };
        if plan.end < start {
            // Of a cache, for its replicas: nothing leads to it, and the next segments must not follow these.
            plan.aside = vec![self.paths.log()];
            return;
        }
        if plan.end < end {
            return; // cannot be: the log itself leads to its end from any base within it
        }
        if end < plan.log_from.offset {
            // The base is further: the next segment could not follow these.
            return self.give_log_up(plan);
        }
        plan.log_has_base = log.base.is_some();
        let (kept, behind) = log.files.split_at(log.first + log.segments().len());
        plan.keep_segments = kept.iter().map(|file| file.name.clone()).collect();
        plan.aside = behind.iter().map(|file| file.path.clone()).collect();
        plan.log_from = Place { replid: name_at(&plan.history, end), offset: end, db: log.end_db() };
        plan.unsynced = log.segments().iter().filter_map(|file| self.unsynced(file)).collect();
        let sealed_from = plan.history.sealed.map_or(end, |sealed| sealed.from);
        plan.durable = log.known_durable.min(end).min(sealed_from);
        let Some((file, report)) = log.segments().last().and_then(|f| Some((f, f.report.as_ref()?))) else {
            return;
        };
        if report.opening.is_some_and(|opening| opening.offset == end) {
            plan.idle_segment = Some(file.name.clone());
        }
        if report.unproven() == 0 {
            return;
        }
        let mut mark = Vec::new();
        if report.marked.at > report.proven.at
            && let Some(mut chain) = report.chain_at_proven
        {
            Chain::mark(&mut chain, plan.log_from, plan.durable, &mut mark);
        }
        let damaged = log.tail == Tail::Damaged; // some of it was synced, which the ring may not be
        let aside = self.paths.log_file(&format!("{}.torn-{end}", file.name));
        plan.cut = Some(Cut {
            path: file.path.clone(),
            keep: report.proven.at,
            bytes: report.unproven(),
            aside: (damaged || !self.ring_has_tail(file, report, plan.end)).then_some(aside),
            mark,
        });
    }

    /// From which position on nothing shows that the medium has what this segment proves.
    fn unsynced(&self, file: &LogFile) -> Option<(String, u64)> {
        let report = file.report.as_ref().filter(|report| report.proven.offset > self.log().known_durable)?;
        Some((file.name.clone(), report.synced_at))
    }

    /// The log's files hold nothing that the base does not: they go, but a damaged log is kept aside.
    fn give_log_up(&self, plan: &mut Plan) {
        let log = self.log();
        plan.drop_log = matches!(log.tail, Tail::Whole);
        if !plan.drop_log {
            plan.aside = vec![self.paths.log()]; // in one step: a manifest without its files is a refusal
        }
        let of_the_log = self.paths.relative("");
        plan.history.bases.retain(|base| base.files.iter().any(|file| !file.name.starts_with(&of_the_log)));
    }

    /// Every stream byte behind the proven part stands likewise in the ring, which is recovered up to `end`. What cannot be
    /// read or told apart does not.
    fn ring_has_tail(&self, file: &LogFile, report: &SegmentReport, end: Offset) -> bool {
        let (Ok(open), Some((ring, ..))) = (self.disk.open(&file.path, Mode::Read), self.ring()) else {
            return false;
        };
        let mut strip = Strip::new(report.proven.at);
        let (mut at, mut offset) = (report.proven.at, report.proven.offset);
        let (mut piece, mut stream) = (vec![0; PIECE], Vec::new());
        while at < file.len {
            let Ok(got @ 1..) = open.read_at(&mut piece, at) else { return false };
            stream.clear();
            if strip.feed(&piece[..got], &mut stream).is_err() {
                return false;
            }
            let held = ring.read(offset, stream.len()).map(|(first, rest)| stream == [first, rest].concat());
            at += got as u64;
            offset += stream.len() as u64;
            if offset > end || held != Some(true) {
                return false;
            }
        }
        true
    }
}
