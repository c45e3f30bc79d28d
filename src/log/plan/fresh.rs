//! Plans that begin a new history: one file or another server's log is loaded as it is, or nothing, and no stream follows.

use super::{Cut, Load, LogShape, Plan, Planner, Settings, SnapshotFact, Tail, Verdict};
use crate::format::history::{Base, BaseFile, Born, History};
use crate::log::survey::LogFile;
use crate::units::Offset;

impl Planner<'_> {
    pub(super) fn snapshot_alone(&self) -> Plan {
        let SnapshotFact::Found { file, peek, .. } = &self.survey.snapshot else { return self.empty() };
        let position = peek.replid.zip(peek.offset);
        let (mut history, end) = match position {
            Some((replid, offset)) => {
                (History::new(replid, offset, Born::Import, self.settings.fresh_tag), offset)
            }
            None => (self.fresh_history(Born::Import), Offset::ZERO),
        };
        let db = peek.db.unwrap_or(0);
        history.bases = vec![Base { cut: end, db, placed: true, files: vec![file.clone()] }];
        let mut plan = self.plan(Verdict::SnapshotAlone, history, end, db);
        plan.fresh = position.is_none();
        plan.load = vec![Load { path: self.paths.snapshot(), rdb: file.len, commands_end: file.len }];
        self.set_log_aside(&mut plan);
        let name = &self.paths.snapshot;
        plan.log_line = match position {
            Some((replid, offset)) => format!("loading {name} alone, at its position {replid}:{offset}"),
            None => format!("loading {name} alone, as a new history"),
        };
        if !plan.aside.is_empty() {
            plan.log_line += "; the log belongs to another dataset and is kept aside: to roll it forward instead, \
                              put it back and remove the snapshot";
        }
        plan
    }

    pub(super) fn log_base_alone(&self) -> Plan {
        let mut history = self.fresh_history(Born::Import);
        let base = &self.log().files[0];
        history.bases =
            vec![Base { cut: Offset::ZERO, db: 0, placed: true, files: vec![self.base_file(base)] }];
        let mut plan = self.plan(Verdict::LogBaseAlone, history, Offset::ZERO, 0);
        plan.fresh = true;
        plan.load = vec![stock_load(base)];
        plan.log_has_base = true;
        plan.keep_segments = vec![base.name.clone()];
        plan.aside = self.log().files[1..].iter().map(|file| file.path.clone()).collect();
        plan.log_line = format!(
            "loading {} alone, as a new history: it is not the base on which the log was written; the log's \
             segments are kept aside",
            base.name
        );
        self.set_snapshot_aside(&mut plan);
        plan
    }

    pub(super) fn take_over(&self) -> Plan {
        let log = self.log();
        let mut history = self.fresh_history(Born::Import);
        let mut plan = self.plan(Verdict::TakeOver, self.fresh_history(Born::Import), Offset::ZERO, 0);
        plan.fresh = true;
        // Files of two servers are one base only as long as `replication.toml` says so: a base of ours is due.
        plan.log_has_base = !matches!(log.shape, LogShape::ForeignTail);
        plan.adopt_old_log = matches!(log.shape, LogShape::OldSingle);
        plan.load = log.files.iter().map(stock_load).collect();
        plan.keep_segments = log.files.iter().map(|file| file.name.clone()).collect();
        let mut files: Vec<BaseFile> = log.files.iter().map(|file| self.base_file(file)).collect();
        if let (Tail::Torn, Some(last), Some(record)) = (log.tail, log.files.last(), files.last_mut()) {
            let keep = last.report.as_ref().map_or(last.len, |report| report.parsed.at);
            let name = format!("{}.torn-{keep}", last.name);
            let path = self.paths.log_file(&last.name); // where an old log is by then
            let aside = Some(self.paths.log_file(&name));
            plan.cut = Some(Cut { path, keep, bytes: last.len - keep, aside, mark: Vec::new() });
            // The seal is taken again after the cut, by `prepare`.
            (record.len, record.checksum) = (keep, 0);
        }
        history.bases = vec![Base { cut: Offset::ZERO, db: 0, placed: true, files }];
        plan.history = history;
        let what = match log.shape {
            LogShape::OldSingle => "an old single-file log",
            LogShape::ForeignTail => "our log, with another server's writes behind it,",
            _ => "another server's log",
        };
        plan.log_line = format!("taking over {what} as a new history: {} files", plan.load.len());
        plan.log_line += &self.cut_words(&plan);
        self.set_snapshot_aside(&mut plan);
        plan
    }

    pub(super) fn empty(&self) -> Plan {
        let mut plan = self.plan(Verdict::Empty, self.fresh_history(Born::Empty), Offset::ZERO, 0);
        plan.fresh = true;
        self.set_log_aside(&mut plan);
        plan.log_line = match self.survey.history.good() {
            Some(history) => format!(
                "no base of history {} is within reach of log and ring: a new, empty history begins",
                history.replid
            ),
            None => "an empty directory: a new history begins".into(),
        };
        plan.loss = match (&self.survey.ring_damage, &self.survey.ring, self.survey.history.good()) {
            (Some(damage), _, _) => Some(format!("{damage}: what it held is lost")),
            (None, None, Some(history)) if history.offset_hint > Offset::ZERO => Some(format!(
                "{} is not there: what it held of the stream, which had reached offset {}, is lost",
                self.paths.ring().display(),
                history.offset_hint
            )),
            _ => None,
        };
        plan
    }

    fn set_log_aside(&self, plan: &mut Plan) {
        if !matches!(self.log().shape, LogShape::None) {
            plan.aside = match self.log().shape {
                LogShape::OldSingle => vec![self.paths.old_log()],
                _ => vec![self.paths.log()],
            };
        }
    }

    fn fresh_history(&self, born: Born) -> History {
        let Settings { fresh_replid, fresh_tag, .. } = *self.settings;
        let mut history = History::new(fresh_replid, Offset::ZERO, born, fresh_tag);
        if let Some(old) = self.survey.history.good() {
            (history.generation, history.role) = (old.generation, old.role.clone());
        }
        history
    }
}

/// A file as another server loads it: its RDB, then its commands.
pub(super) fn stock_load(file: &LogFile) -> Load {
    let commands_end = file.report.as_ref().map_or(file.rdb, |report| report.parsed.at);
    Load { path: file.path.clone(), rdb: file.rdb, commands_end }
}
