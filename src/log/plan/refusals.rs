//! Why not to start: the file, what is the matter with it, and what to do.

use super::{LogShape, Planner, Tail, file_name};
use crate::log::survey::Refusal;
use crate::units::{Offset, ReplId};

pub(super) const RESTORE_OR_LEAVE: &str = "restore it from a copy, or move replication.toml and backlog.ring away to start with \
                                what is left";
const RING_OR_LEAVE: &str = "restore it from a copy, or move it away to go on without what it held";
pub(super) const OF_NO_HISTORY: &str = "replication.toml does not know: it comes from another server, or from a copy of this directory that went on by itself";

impl Planner<'_> {
    /// A ring of a history that only `replication.toml` could tell, and does not.
    pub(super) fn without_history(&self) -> Refusal {
        let ring = file_name(&self.paths.ring());
        let what = match self.survey.history.good() {
            None => format!("the file is missing, but {ring} holds a part of its history"),
            Some(_) => format!(
                "the file is older than {ring} and {}, or another server's: it does not know the name that both have",
                self.paths.snapshot
            ),
        };
        Refusal { file: self.paths.history(), what, ..self.refusal(RESTORE_OR_LEAVE) }
    }

    pub(super) fn strange_ring(&self) -> Refusal {
        let name = self.survey.ring.as_ref().map_or(ReplId::NONE, |(ring, _)| ring.replid());
        let what = format!("it was written under the name {name}, which {OF_NO_HISTORY}");
        Refusal { file: self.paths.ring(), what, ..self.refusal(RESTORE_OR_LEAVE) }
    }

    /// Our log goes on where a snapshot ended that is not there.
    pub(super) fn without_base(&self) -> Refusal {
        let file = self.log().files.get(self.log().first);
        let path = file.map_or(self.paths.log(), |file| file.path.clone());
        let start = self.log().range().map_or(Offset::ZERO, |range| range.0);
        let what = format!("it begins at stream offset {start}, and no snapshot of that place is there");
        Refusal { file: path, what, ..self.refusal("restore the snapshot from a copy, or move the log away") }
    }

    /// What was there according to `replication.toml`, and is not.
    pub(super) fn missing(&self) -> Refusal {
        let reached = self.reached().unwrap_or_default();
        let refusal = self.refusal(RESTORE_OR_LEAVE);
        let Some(history) = self.survey.history.good() else { return refusal };
        let gone = history.bases.iter().filter(|base| base.placed).max_by_key(|base| base.cut);
        if let Some(base) = gone.filter(|base| self.reached().is_none_or(|reached| reached < base.cut)) {
            let name = base.files.first().map_or("", |file| file.name.as_str());
            let renamed = !name.contains('/') && name != self.paths.snapshot;
            let other =
                if renamed { format!(" (dbfilename is {})", self.paths.snapshot) } else { String::new() };
            let what = format!(
                "replication.toml names it as the state at stream offset {}, but it is not there as it was \
                 written{other}, and what is there leads only to {reached}",
                base.cut
            );
            return Refusal { file: self.paths.data.join(name), what, ..refusal };
        }
        let held = self.ring_held().filter(|held| reached < *held);
        if let Some(damage) = &self.survey.ring_damage
            && history.clean.is_none()
            && (held.is_some() || self.ring_is_damaged_whole())
        {
            let lost = match held {
                Some(held) => format!("{} bytes of stream behind offset {reached}", held.since(reached)),
                None => format!("all that it alone held of the stream behind offset {reached}"),
            };
            let what = format!(
                "{}, though the machine has not crashed, by its boot id, and a crash of the process damages nothing: \
                 {lost} would be lost",
                damage.what
            );
            return Refusal { file: self.paths.ring(), at: damage.at, what, to_do: RING_OR_LEAVE, ..refusal };
        }
        let Some(clean) = &history.clean else {
            let led = self.led_to_ring().unwrap_or(reached);
            let damaged = self.log().refusal.as_ref().filter(|_| self.log().tail != Tail::Whole);
            let (file, at, gone) = match (&self.log().shape, damaged) {
                (LogShape::None, _) => (self.paths.manifest(), 0, "the log is not there"),
                (_, Some(damage)) => (damage.file.clone(), damage.at, "the log is damaged or cut here"),
                (_, None) => (self.paths.manifest(), 0, "the log is an older one"),
            };
            let what = format!(
                "{gone}: it led to stream offset {led}, where backlog.ring begins, and what is there leads only to {reached}"
            );
            return Refusal { file, at, what, ..refusal };
        };
        let end = clean.end;
        let had_log = !clean.segments.is_empty();
        let (file, at, why) = match (&self.survey.ring_damage, &self.survey.ring) {
            _ if had_log && matches!(self.log().shape, LogShape::None) => {
                (self.paths.manifest(), 0, "the log is not there".to_string())
            }
            (Some(damage), _) => (self.paths.ring(), damage.at, damage.what.to_string()),
            (None, None) => (self.paths.ring(), 0, "the file is not there".to_string()),
            (None, Some((_, check)))
                if check.claimed.end < end && matches!(self.log().shape, LogShape::None) =>
            {
                (
                    self.paths.ring(),
                    0,
                    format!("it is an older one, which ends at offset {}", check.claimed.end),
                )
            }
            (None, Some(_)) => (self.paths.data.clone(), 0, "files are missing or older".to_string()),
        };
        let what = format!(
            "{why}: the directory was closed cleanly at stream offset {end}, and {} bytes of stream behind offset \
             {reached} would be lost",
            end.since(reached)
        );
        Refusal { file, at, what, ..refusal }
    }
}
