//! What the log says of a recovery, in one line: how the last run ended, what was taken, what was cut off, where it led.

use super::{LogShape, Plan, Planner, Source, Tail, file_name};
use crate::units::{Offset, ReplId};

impl Planner<'_> {
    /// By the boot id, which is a hint: it decides about no byte (rule 2).
    pub(super) fn last_run(&self) -> LastRun {
        let Some(history) = self.survey.history.good() else { return LastRun::Unrecorded };
        match (&history.boot_id, &self.settings.boot_id) {
            _ if history.clean.is_some() => LastRun::Stopped,
            (then, now) if then.is_empty() || now.is_empty() => LastRun::Crashed,
            (then, now) if then == now => LastRun::ProcessCrashed,
            _ => LastRun::MachineCrashed,
        }
    }

    /// What is to be feared, or known, to be lost though every file is sound. Where that can be a crash of the machine it is no
    /// reason to refuse (rule 5), but never goes unsaid.
    pub(super) fn loss(&self, end: Offset) -> Option<String> {
        let Some(history) = self.survey.history.good() else { return self.without_history_and_ring(end) };
        if history.clean.is_some() {
            return None;
        }
        let behind = history.begun.since(end); // 0 if it is not
        let log_end = self.log().range().map_or(Offset::ZERO, |range| range.1);
        let cuts = history.bases.iter().filter(|base| base.placed).map(|base| base.cut);
        let used = cuts.chain([log_end]).any(|known| known > history.begun);
        let newer = self.newer_names();
        let newest: Vec<ReplId> = newer.iter().map(|(name, _)| *name).chain([history.replid]).collect();
        let ring = match (&self.survey.ring, self.tagged_ring()) {
            (None, _) if self.survey.ring_damage.is_none() => Some("is not there"),
            (None, _) => Some("is damaged"),
            (Some(_), None) => Some("is of another history"),
            // The ring had the name before any byte of it (rule 1).
            (_, Some((ring, _))) if (used || behind > 0) && !newest.contains(&ring.replid()) => {
                Some("is older than replication.toml")
            }
            _ => None,
        };
        let known = match behind {
            0 => "what it alone held of the stream, if anything, is lost".to_string(),
            _ => format!(
                "the stream had reached offset {}: {behind} bytes and what followed are lost",
                history.begun
            ),
        };
        let name = file_name(&self.paths.ring());
        let ring = ring.map(|what| format!("{name} {what}"));
        if let Some((_, check, to)) =
            self.ring().filter(|_| ring.is_none() && self.survey.ring_damage.is_none())
            && check.claimed.start > end
        {
            let (start, lost) = (check.claimed.start, check.claimed.end.min(to).since(end));
            let gap = format!(
                "{name} begins at offset {start}, and nothing leads there: {lost} bytes of stream behind offset {end} are lost"
            );
            return Some(self.undermined(end).map_or(gap.clone(), |words| format!("{words}; {gap}")));
        }
        let ring = match (ring, behind) {
            (None, 0) => None,
            (None, _) => Some(known),
            (Some(ring), _) => Some(format!("{ring}: {known}")),
        };
        let words: Vec<String> = self.undermined(end).into_iter().chain(ring).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// What the log does not hold is known to nobody then.
    fn without_history_and_ring(&self, end: Offset) -> Option<String> {
        let nothing = self.survey.ring.is_none() && self.survey.ring_damage.is_none();
        nothing.then(|| {
            format!(
                "replication.toml and {} are not there: what was acknowledged behind stream offset {end} and stood in the ring \
                 only, if anything, is lost, and with the names of before replicas may have to copy everything",
                file_name(&self.paths.ring())
            )
        })
    }

    /// Segments that hold stream bytes, but begin beyond the place that is reached.
    fn undermined(&self, end: Offset) -> Option<String> {
        let log = self.log();
        let segments = log.files.iter().skip(log.first).filter(|_| matches!(log.shape, LogShape::Ours));
        let held = segments.filter_map(|file| {
            let report = file.report.as_ref()?;
            Some((report.opening?.offset, report.proven.offset))
        });
        let (from, to) = held.filter(|(from, to)| end < *from && from < to).reduce(|a, b| (a.0, b.1))?;
        Some(format!(
            "the stream from offset {from} to {to} does not follow on what is recovered, {} bytes between them are lost: its \
             segments are set aside",
            from.since(end)
        ))
    }

    pub(super) fn continue_line(&self, plan: &Plan, cut: Offset) -> String {
        let base = plan.load.first().map_or("nothing".to_string(), |load| file_name(&load.path));
        let from_ring: u64 =
            plan.replay.iter().filter(|r| r.source == Source::Ring).map(|r| r.end - r.start).sum();
        let total: u64 = plan.replay.iter().map(|run| run.end - run.start).sum();
        let crash = match self.last_run() {
            LastRun::ProcessCrashed if plan.loss.is_some() => LastRun::Crashed.words(), // that loses nothing
            run => run.words(),
        };
        let mut line = format!(
            "recovered {crash} from {base} at {cut} and {total} bytes of stream, {from_ring} of them from the ring, to {}:{}",
            plan.history.replid, plan.end
        );
        line += &self.healed_words();
        line += &self.cut_words(plan);
        let lost = self.ring().map_or(0, |(_, check, end)| check.claimed.end.min(end).since(plan.end));
        match &self.survey.ring_damage {
            Some(damage) if lost > 0 => {
                line +=
                    &format!("; {lost} bytes behind that are lost: the ring was damaged ({})", damage.what);
            }
            Some(damage) => line += &format!("; the ring was damaged ({}) and is made anew", damage.what),
            None => line += self.lost_window_words(plan).as_deref().unwrap_or_default(),
        }
        line
    }

    /// The last append that the ring's header told of may be gone with one of its two slots: that of a killed process may be torn,
    /// and then was acknowledged to nobody, but nothing tells this from damage.
    fn lost_window_words(&self, plan: &Plan) -> Option<String> {
        let (_, check, _) = self.ring().filter(|_| self.last_run() != LastRun::Stopped)?;
        let is_last = check.lost_window && check.claimed.end == plan.end;
        is_last.then(|| {
            format!(
                "; one of the two window slots of {} is torn or damaged: if it was the newer one, the last append, behind offset {}, \
                 is lost",
                file_name(&self.paths.ring()),
                plan.end
            )
        })
    }

    /// Only what the ring did not bring back is said to be cut.
    pub(super) fn cut_words(&self, plan: &Plan) -> String {
        let Some((cut, aside)) = plan.cut.as_ref().and_then(|cut| Some((cut, cut.aside.as_ref()?))) else {
            return String::new();
        };
        let torn = if self.log().tail == Tail::Torn { "a torn tail: " } else { "" };
        format!(
            "; {torn}{} bytes of {} from byte {} on are cut and kept as {}",
            cut.bytes,
            file_name(&cut.path),
            cut.keep,
            file_name(aside)
        )
    }

    /// A start that goes on in spite of damage has the bytes from the ring.
    fn healed_words(&self) -> String {
        let log = self.log();
        match (&log.shape, log.tail, &log.refusal) {
            (LogShape::Ours, Tail::Damaged, Some(damage)) => {
                let file = file_name(&damage.file);
                format!("; {file} is damaged at byte {}: the ring holds what was there", damage.at)
            }
            _ => String::new(),
        }
    }
}

/// How the run before this start ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum LastRun {
    Unrecorded,
    Stopped,
    ProcessCrashed,
    MachineCrashed,
    /// Of process or machine.
    Crashed,
}

impl LastRun {
    pub(super) fn words(self) -> &'static str {
        match self {
            LastRun::Unrecorded => "without replication.toml",
            LastRun::Stopped => "after a clean shutdown",
            LastRun::ProcessCrashed => "after a crash of the process",
            LastRun::MachineCrashed => "after a crash of the machine (its boot id is another one)",
            LastRun::Crashed => "after a crash",
        }
    }
}
