//! What the log says of a recovery, in one line: how the last run ended, what was taken, what was cut off, where it led.

use super::{Plan, Planner, Source, file_name};
use crate::units::Offset;

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

    pub(super) fn continue_line(&self, plan: &Plan, snapshot: bool, cut: Offset) -> String {
        let base = match (snapshot, plan.load.is_empty()) {
            (_, true) => "nothing".to_string(),
            (true, _) => self.paths.snapshot.clone(),
            (false, _) => file_name(&plan.load[0].path),
        };
        let from_ring: u64 =
            plan.replay.iter().filter(|r| r.source == Source::Ring).map(|r| r.end - r.start).sum();
        let total: u64 = plan.replay.iter().map(|run| run.end - run.start).sum();
        let crash = self.last_run().words();
        let mut line = format!(
            "recovered {crash} from {base} at {cut} and {total} bytes of stream, {from_ring} of them from the ring, to {}:{}",
            plan.history.replid, plan.end
        );
        if let Some(cut) = &plan.cut {
            line += &format!(
                "; a torn tail of {} is cut and kept as {}",
                file_name(&cut.path),
                file_name(&cut.aside)
            );
        }
        let lost = self.ring().map_or(0, |(_, check, end)| check.claimed.end.min(end).since(plan.end));
        match &self.survey.ring_damage {
            Some(damage) if lost > 0 => {
                line +=
                    &format!("; {lost} bytes behind that are lost: the ring was damaged ({})", damage.what);
            }
            Some(damage) => line += &format!("; the ring was damaged ({}) and is made anew", damage.what),
            None => {}
        }
        line
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
