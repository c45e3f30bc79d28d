//! Whose bytes are they: the names in openings, marks and ring, held against those of `replication.toml`.
//!
//! A name is made by one start or promotion and only that execution writes under it, so a known name proves the bytes.
//! `replication.toml` has each name before log and ring have it (rule 1). A name that it lacks was forgotten (older
//! than the oldest it has), or came later (it is an older copy), or is another copy's.

use super::refusals::{OF_NO_HISTORY, RESTORE_OR_LEAVE};
use super::{LogShape, Planner, SnapshotFact};
use crate::format::history::{Base, MAX_LINEAGE};
use crate::log::survey::{LogFile, Refusal};
use crate::units::{Offset, ReplId};

impl Planner<'_> {
    /// `(id, from)` as openings and marks of our segments state them, oldest first; only names with bytes, and the last.
    pub(super) fn log_names(&self) -> Vec<(ReplId, Offset)> {
        let LogShape::Ours = self.log().shape else { return Vec::new() };
        let reports = self.log().segments().iter().filter_map(|file| file.report.as_ref());
        let mut names: Vec<(ReplId, Offset)> = Vec::new();
        for (name, from) in reports.flat_map(|report| report.ids.iter().copied()) {
            match names.last_mut() {
                Some(last) if last.0 == name => {}
                Some(last) if last.1 == from => *last = (name, from),
                _ => names.push((name, from)),
            }
        }
        names
    }

    /// Those of them that came into force after `replication.toml` was written: an older copy of it was put in place.
    pub(super) fn newer_names(&self) -> Vec<(ReplId, Offset)> {
        let Some(history) = self.survey.history.good() else { return Vec::new() };
        let mut names = self.log_names();
        match names.iter().rposition(|(name, _)| history.end_of(*name).is_some()) {
            Some(last) => names.split_off(last + 1),
            None if self.ring_names_log(&names) => names,
            None => Vec::new(),
        }
    }

    /// A ring of this history (its tag says so) that states a name of the log's.
    pub(super) fn ring_names_log(&self, names: &[(ReplId, Offset)]) -> bool {
        self.tagged_ring().is_some_and(|(ring, _)| names.iter().any(|(name, _)| *name == ring.replid()))
    }

    /// All names of the history, each with the end up to which it stands for the prefix. A name that came into force a
    /// second time stands with its latest end, which comes first.
    pub(super) fn names(&self) -> Vec<(ReplId, Offset)> {
        let Some(history) = self.survey.history.good() else { return Vec::new() };
        let newer = self.newer_names();
        let ends = newer.iter().map(|(_, from)| *from).chain([Offset(u64::MAX)]);
        let current = std::iter::once(history.replid).chain(newer.iter().map(|(name, _)| *name));
        let past = history.lineage.iter().map(|past| (past.replid, past.end));
        current.zip(ends).chain(past).collect()
    }

    /// The segment, among those that are replayed from `cut` on, whose name is none of this history's: unknown, though older
    /// and newer ones (or the oldest) are known.
    pub(super) fn stranger(&self, cut: Offset) -> Option<Refusal> {
        let history = self.survey.history.good()?;
        let log_end = self.log().range().map_or(cut, |range| range.1);
        let names = self.log_names();
        let ends = names.iter().skip(1).map(|(_, from)| *from).chain([log_end]);
        // Where nothing is loaded, or only a snapshot that nobody names, an idle log is all that tells whose directory this is.
        let from_birth = cut == Offset::ZERO && self.log().base.is_none();
        let unnamed = |name| match &self.survey.snapshot {
            SnapshotFact::Found { peek, named: None, .. } => {
                (peek.replid, peek.offset) == (Some(name), Some(cut))
            }
            _ => false,
        };
        let used: Vec<(ReplId, Offset, Offset)> = names
            .iter()
            .zip(ends)
            .map(|((name, from), to)| (*name, *from, to))
            .filter(|n| n.2 > cut || n.2 == cut && (from_birth || unnamed(n.0)))
            .collect();
        let known: Vec<Option<Offset>> = used.iter().map(|(name, ..)| history.end_of(*name)).collect();
        let first = known.iter().position(Option::is_some).unwrap_or(used.len());
        let last = known.iter().rposition(Option::is_some);
        let forgotten = history.lineage.len() >= MAX_LINEAGE;
        let linked = last.is_some() || self.ring_names_log(&names);
        let strange = |(i, (_, from, _)): (usize, &(ReplId, Offset, Offset))| match known[i] {
            Some(_) => false,
            None if last.is_none_or(|last| i > last) => !linked || *from < history.begun,
            None if i < first => !forgotten,
            None => true,
        };
        let (name, from, _) = used[used.iter().enumerate().position(strange)?];
        let states =
            |file: &&LogFile| file.report.as_ref().is_some_and(|report| report.ids.contains(&(name, from)));
        let file = self.log().segments().iter().find(states).map_or(self.paths.log(), |f| f.path.clone());
        let what = format!(
            "it was written under the name {name} from stream offset {from} on, which {OF_NO_HISTORY}"
        );
        Some(Refusal { file, what, ..self.refusal(RESTORE_OR_LEAVE) })
    }

    /// The log's base, if `replication.toml` names neither it nor the history that it states: base and opening vouch for each
    /// other only. It always has a base before that is in force (rule 15).
    pub(super) fn strange_base(&self) -> Option<Refusal> {
        let history = self.survey.history.good()?;
        let base = self.log().base.as_ref().filter(|base| !history.bases.contains(base))?;
        let first = self.log().segments().first()?;
        let opening = first.report.as_ref()?.opening?;
        let of_history = |(name, end): &(ReplId, Offset)| *name == opening.replid && base.cut <= *end;
        if self.names().iter().any(of_history) || self.ring_names_log(&[(opening.replid, base.cut)]) {
            return None;
        }
        let file = self.log().files.first().map_or(self.paths.log(), |file| file.path.clone());
        let what = format!(
            "it is the state of {} at stream offset {}, which {OF_NO_HISTORY}",
            opening.replid, base.cut
        );
        Some(Refusal { file, what, ..self.refusal(RESTORE_OR_LEAVE) })
    }

    /// `dump.rdb` as a base of this history: named by `replication.toml`, or newer than it (it was copied, or lost),
    /// and at a place that log or ring hold under that very name. One that is older is an operator's restore (rule 15), and
    /// so is one that was written to go elsewhere.
    pub(super) fn snapshot_base(&self) -> Option<Base> {
        let SnapshotFact::Found { file, peek, named } = &self.survey.snapshot else { return None };
        if named.is_some() {
            return named.clone();
        }
        let (name, cut) = peek.replid.zip(peek.offset)?;
        if let Some(history) = self.survey.history.good() {
            if peek.export {
                return None;
            }
            let newest = history.bases.iter().map(|base| base.cut).max();
            if cut < history.begun || newest >= Some(cut) {
                return None;
            }
        }
        let names = self.log_names();
        let log = self.log().range().filter(|_| !names.is_empty());
        let ends = names.iter().skip(1).map(|(_, from)| *from).chain(log.map(|range| range.1));
        let in_log = names.iter().zip(ends).any(|((id, from), to)| *id == name && *from <= cut && cut <= to);
        let in_ring = self.ring().is_some_and(|(ring, check, _)| {
            let holds = |range: &std::ops::Range<Offset>| range.start <= cut && cut <= range.end;
            ring.replid() == name && ring.begun() <= cut && check.proven.iter().any(holds)
        });
        let db = peek.db.unwrap_or(0);
        (in_log || in_ring).then(|| Base { cut, db, placed: true, files: vec![file.clone()] })
    }
}
