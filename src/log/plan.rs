//! From the verdict to what exactly is loaded: files, byte ranges, position, lineage, what is cut and healed.
//!
//! For [`Verdict::Continue`] the longest provable prefix is searched (rule 16): from each base (the log's, the snapshot, or
//! nothing, if the history was born empty) as far as log and ring lead, in turns, whichever holds the next byte.
//! The base that reaches furthest wins, of equals the one with the latest cut, because less is replayed.
//!
//! Names: the recovered position is `(id, end)` with the id *in band* at `end` (rule 1). Ends in the lineage that lie
//! beyond `end` are lowered to it: what was lost is no longer held, and an entry must never claim more than the
//! bytes prove. In-band names that `replication.toml` lacks are newer than it only if they follow one that it has;
//! older ones were forgotten there, and anything else is another copy's.

use std::path::{Path, PathBuf};

use super::recovery::{Blame, HistoryKind, Inputs, LogKind, RingKind, SnapshotKind, Tail, Verdict, decide};
use super::segments::Paths;
use super::survey::{
    HistoryFact, LogFacts, LogFile, LogShape, RdbProbe, Refusal, SnapshotFact, Survey, survey,
};
use crate::disk::{Disk, Result};
use crate::format::aof::Place;
use crate::format::framing::UnitWalk;
use crate::format::history::{Base, BaseFile, Born, Cause, History, Role, Sealed};
use crate::planted::{Bug, planted};
use crate::ring::{Check, Ring};
use crate::units::{Offset, ReplId};
use fresh::stock_load;
use words::LastRun;

/// What recovery is told besides the files.
#[derive(Clone, Debug)]
pub struct Settings {
    pub appendonly: bool,
    pub load_truncated: bool,
    /// Name and ring tag of the history, should a new one begin.
    pub fresh_replid: ReplId,
    pub fresh_tag: u64,
    /// Of the running machine; empty: not known.
    pub boot_id: String,
}

/// A file to load before anything is replayed, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Load {
    pub path: PathBuf,
    /// Leading bytes that are RDB (0: none).
    pub rdb: u64,
    /// Commands of another server from `rdb` up to here, the stream's db being 0 at the start of each file; `rdb` if
    /// there are none.
    pub commands_end: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Stream bytes between annotations, from file position `body` to `to`, the first `skip` stream bytes left out.
    Segment {
        path: PathBuf,
        body: u64,
        to: u64,
        skip: u64,
    },
    Ring,
}

/// Stream bytes to replay, whole units.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    pub source: Source,
    pub start: Offset,
    pub end: Offset,
    /// Selected at `start`.
    pub db: u32,
}

/// A log file whose tail goes, before anything is written.
#[derive(Clone, Debug)]
pub struct Cut {
    pub path: PathBuf,
    pub keep: u64,
    /// How many bytes go.
    pub bytes: u64,
    /// Gets them; `None` if they were compared with the ring's, which are recovered.
    pub aside: Option<PathBuf>,
    /// Written at `keep`, so that the rest is proven again; empty if a mark stands there.
    pub mark: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RingPlan {
    /// `Ring::keep` this range; it ends at the position.
    Keep { start: Offset },
    /// Empty it (or make it) at the start of the replay and append what is replayed.
    Refill { at: Offset, db: u32 },
}

/// What to do at start. The caller: load, replay, cut, set aside, then commit `history`.
#[derive(Clone, Debug)]
pub struct Plan {
    pub verdict: Verdict,
    pub load: Vec<Load>,
    pub replay: Vec<Run>,
    /// The position reached: `(history.replid, end)`.
    pub end: Offset,
    pub db: u32,
    /// As recovered. A primary renames it (a new id at every start) unless it is `fresh`.
    pub history: History,
    /// The history begins with this start: its id is unused.
    pub fresh: bool,
    pub cut: Option<Cut>,
    /// Segments (names in the manifest) that lie behind a cut, or an old manifest: moved aside with it.
    pub aside: Vec<PathBuf>,
    /// The manifest's files are needless and are deleted.
    pub drop_log: bool,
    /// Entries to keep in the manifest.
    pub keep_segments: Vec<String>,
    /// Those of them of which nothing shows that the medium has them from this position on.
    pub unsynced: Vec<(String, u64)>,
    /// One of them that holds no stream byte, by what it proves itself: the next segment takes its place.
    pub idle_segment: Option<String>,
    /// The log has a base of its own. If not, and the log is on, one is due: until then stock servers cannot load it.
    pub log_has_base: bool,
    /// `Segments::adopt_old_log` comes first; `load` names the file's place before that, `cut` the one after it.
    pub adopt_old_log: bool,
    /// What base and segments lead to: the next segment opens here; `[log_from, end)` is in the ring only and is handed to
    /// the writer first.
    pub log_from: Place,
    /// How far the log is known durable.
    pub durable: Offset,
    pub ring: RingPlan,
    /// The last run ended without a clean shutdown, and nothing shows that the machine outlived it: what was not synced
    /// may be gone.
    pub machine_crash: bool,
    /// What was found, taken and done, in one line. `prepare` adds under which names it moved files aside.
    pub log_line: String,
    /// Bytes that are known, or have to be feared, to be gone without a clean word of it in the files.
    pub loss: Option<String>,
}

/// Plan and the opened ring, or why not to start.
pub struct Recovered {
    pub plan: std::result::Result<Plan, Refusal>,
    pub inputs: Inputs,
    pub ring: Option<Box<Ring>>,
}

/// Looks at the directory and decides. Changes nothing.
pub fn recover(
    disk: &dyn Disk,
    paths: &Paths,
    probe: &dyn RdbProbe,
    settings: &Settings,
) -> Result<Recovered> {
    let mut survey = survey(disk, paths, probe)?;
    prefer_recorded(disk, &mut survey, paths, settings);
    let planner = Planner::new(disk, &survey, paths, settings);
    let inputs = planner.inputs();
    let verdict = decide(&inputs);
    let plan = match verdict {
        Verdict::Refuse(blame) => Err(planner.refuse(blame)),
        Verdict::Continue => planner.go_on(),
        Verdict::SnapshotAlone => Ok(planner.snapshot_alone()),
        Verdict::LogBaseAlone => Ok(planner.log_base_alone()),
        Verdict::TakeOver if planner.survey.log.tail == Tail::Torn && !settings.load_truncated => {
            Err(planner.refuse(Blame::Log))
        }
        Verdict::TakeOver => Ok(planner.take_over()),
        Verdict::Empty => Ok(planner.empty()),
    };
    Ok(Recovered { plan, inputs, ring: survey.ring.map(|(ring, _)| ring) })
}

/// A changed `dbfilename` is no restore while the snapshot that `replication.toml` names is still there, under its own name,
/// and leads on: to the end, which is beyond what an export of this history under the new name holds. An export that
/// took the place of the named snapshot is one (rule 15).
fn prefer_recorded(disk: &dyn Disk, survey: &mut Survey, paths: &Paths, settings: &Settings) {
    let Some(recorded) = survey.recorded.take() else { return };
    let configured = std::mem::replace(&mut survey.snapshot, recorded);
    let planner = Planner::new(disk, survey, paths, settings);
    let leads_on = planner.reached().is_some_and(|reached| match &configured {
        SnapshotFact::None => true,
        SnapshotFact::Found { peek, .. } => peek.replid.zip(peek.offset).is_some_and(|(id, at)| {
            at <= reached && planner.names().iter().any(|(name, end)| *name == id && at <= *end)
        }),
        SnapshotFact::Unreadable(_) => false,
    });
    if !leads_on {
        survey.snapshot = configured;
    }
}

struct Planner<'a> {
    disk: &'a dyn Disk,
    survey: &'a Survey,
    paths: &'a Paths,
    settings: &'a Settings,
    /// `dump.rdb`, if it is a base of this history.
    snapshot: Option<Base>,
    /// What log and ring of ours lead to.
    best: Option<(Candidate, Reach)>,
    /// A segment among those to be replayed that is another copy's.
    stranger: Option<Refusal>,
}

/// A base and how far it leads.
struct Candidate {
    cut: Offset,
    db: u32,
    load: Vec<Load>,
}

struct Reach {
    end: Offset,
    db: u32,
    runs: Vec<Run>,
}

impl<'a> Planner<'a> {
    fn new(disk: &'a dyn Disk, survey: &'a Survey, paths: &'a Paths, settings: &'a Settings) -> Planner<'a> {
        let mut planner =
            Planner { disk, survey, paths, settings, snapshot: None, best: None, stranger: None };
        planner.snapshot = planner.snapshot_base();
        if matches!(survey.log.shape, LogShape::Ours | LogShape::None) {
            planner.best = planner.furthest();
        }
        planner.stranger = planner.best.as_ref().and_then(|(base, _)| planner.stranger(base.cut));
        planner.stranger = planner.stranger.take().or_else(|| planner.strange_base());
        planner
    }

    fn log(&self) -> &LogFacts {
        &self.survey.log
    }

    fn inputs(&self) -> Inputs {
        let history = match &self.survey.history {
            HistoryFact::None => HistoryKind::None,
            HistoryFact::Good(_) => HistoryKind::Good,
            HistoryFact::Corrupt(_) => HistoryKind::Corrupt,
        };
        let snapshot = match &self.survey.snapshot {
            SnapshotFact::None => SnapshotKind::None,
            SnapshotFact::Unreadable(_) => SnapshotKind::Unreadable,
            SnapshotFact::Found { .. } if self.snapshot.is_some() => SnapshotKind::Named,
            SnapshotFact::Found { peek, .. } if peek.replid.is_some() && peek.offset.is_some() => {
                SnapshotKind::Positioned
            }
            SnapshotFact::Found { .. } => SnapshotKind::Foreign,
        };
        let log = match self.log().shape {
            LogShape::None => LogKind::None,
            LogShape::Ours if self.stranger.is_some() => LogKind::OtherCopy,
            LogShape::Ours => {
                let from_birth = self.log().first == 0
                    && self.born_empty()
                    && self.log().range().is_some_and(|(start, _)| self.leads_from_birth(start));
                let own_base = self.log().base.is_some() || from_birth;
                LogKind::Ours { own_base, tail: self.log().tail }
            }
            LogShape::ForeignBase => LogKind::ForeignBase,
            LogShape::ForeignTail => LogKind::ForeignTail,
            LogShape::Stock => LogKind::Stock,
            LogShape::OldSingle => LogKind::OldSingle,
            LogShape::Damaged => LogKind::StockDamaged,
        };
        let Settings { appendonly, load_truncated, .. } = *self.settings;
        let short = self.promised().is_some_and(|promised| self.reached() < Some(promised))
            || self.ring_is_damaged_whole();
        Inputs { history, snapshot, log, ring: self.ring_kind(), short, appendonly, load_truncated }
    }

    /// The stream from its first byte to where the log begins is in the ring, if the log does not begin there.
    fn leads_from_birth(&self, start: Offset) -> bool {
        let reached = |(base, reach): &(Candidate, Reach)| base.cut == Offset::ZERO && reach.end >= start;
        start == Offset::ZERO || self.best.as_ref().is_some_and(reached)
    }

    fn reached(&self) -> Option<Offset> {
        self.best.as_ref().map(|(_, reach)| reach.end)
    }

    /// What is known to have been there: by `replication.toml`, bases in force and the end of a clean shutdown; by the ring,
    /// that a log led to it, though none is there, and what it held itself where it is damaged now.
    fn promised(&self) -> Option<Offset> {
        let history = self.survey.history.good()?;
        let placed = history.bases.iter().filter(|base| base.placed).map(|base| base.cut);
        let ring = self.led_to_ring().into_iter().chain(self.ring_held());
        placed.chain(history.clean.iter().map(|clean| clean.end)).chain(ring).max()
    }

    /// Where the ring ended, if it is damaged though only the process crashed, as far as the boot id tells, which damages
    /// nothing. A crash of the machine takes pages of it, in any pattern: that is said, and no reason to refuse.
    fn ring_held(&self) -> Option<Offset> {
        self.survey.ring_damage.as_ref().filter(|_| self.last_run() == LastRun::ProcessCrashed)?;
        let (_, check, end) = self.ring()?;
        Some(check.claimed.end.min(end))
    }

    /// The ring is not usable as a whole though only the process crashed, so that nobody knows what it alone held: all since the
    /// last base, or what was acknowledged and not yet in the log.
    fn ring_is_damaged_whole(&self) -> bool {
        let whole = self.survey.ring.is_none() && self.survey.ring_damage.is_some();
        let alone = matches!(self.log().shape, LogShape::None | LogShape::Ours);
        whole && alone && self.last_run() == LastRun::ProcessCrashed
    }

    /// Where the ring begins, if a log led up to there that is gone or an older one: the ring knows what was written to one,
    /// and forgets it when the server removes one. A log once opened outlives any crash; what was written to it, one of the
    /// process.
    fn led_to_ring(&self) -> Option<Offset> {
        let (ring, check) =
            self.tagged_ring().filter(|_| self.survey.history.good().is_some_and(|h| h.clean.is_none()))?;
        let gone = match self.log().shape {
            LogShape::None => ring.start() > Offset::ZERO,
            // One that reaches the ring, though no base leads to it, served the replicas of a cache.
            _ => {
                let ends_before = self.log().range().is_none_or(|(_, end)| end < ring.start());
                ends_before && self.last_run() == LastRun::ProcessCrashed
            }
        };
        (gone && check.written >= ring.start()).then(|| ring.start())
    }

    /// The ring, if it is of the history that `replication.toml` tells, and the end up to which its name stands for it.
    fn ring(&self) -> Option<(&Ring, &Check, Offset)> {
        let (ring, check) = self.tagged_ring()?;
        let (_, end) = self.names().into_iter().find(|(name, _)| *name == ring.replid())?;
        Some((ring, check, end))
    }

    fn tagged_ring(&self) -> Option<(&Ring, &Check)> {
        let history = self.survey.history.good()?;
        let (ring, check) = self.survey.ring.as_ref()?;
        (ring.tag() == history.tag).then_some((ring, check))
    }

    /// Without `replication.toml`, or with one that is older or another server's, nothing says of which history the ring is a
    /// part; does it hold more than the log, or else than a snapshot?
    fn ring_is_orphan(&self) -> bool {
        let Some((ring, _)) = &self.survey.ring else { return false };
        let behind_snapshot = match &self.survey.snapshot {
            SnapshotFact::Found { peek, .. } => {
                Some(peek.replid.zip(peek.offset).is_some_and(|(id, cut)| {
                    // A start gives the ring a newer name, which came into force in the ring, behind the snapshot.
                    let renamed = (ring.start()..ring.begun()).contains(&cut);
                    (id == ring.replid() || renamed) && cut < ring.end()
                }))
            }
            _ => None,
        };
        if self.survey.history.good().is_some() {
            return self.snapshot.is_none() && behind_snapshot == Some(true);
        }
        match (&self.log().shape, self.log().range()) {
            (LogShape::Ours, Some((_, end))) => {
                let last = self.log_names().last().map(|(name, _)| *name);
                last == Some(ring.replid())
                    && ring.end() > self.reached().map_or(end, |reached| reached.max(end))
            }
            _ => behind_snapshot.unwrap_or(ring.end() > Offset::ZERO),
        }
    }

    fn ring_kind(&self) -> RingKind {
        match (self.ring(), self.tagged_ring()) {
            (None, _) if self.ring_is_orphan() => return RingKind::Orphan,
            (None, Some(_)) => return RingKind::OtherCopy,
            _ => {}
        }
        let log = self.log();
        if let (LogShape::Ours, Some((_, end))) = (&log.shape, log.range()) {
            // From any base: a snapshot behind a log that had ended may be what the ring goes on from.
            let reached = self.reached().map_or(end, |reached| reached.max(end));
            let parsed = log.last_report().map_or(Offset::ZERO, |report| report.parsed.offset);
            return match reached {
                _ if reached == end && self.ring().is_none() => RingKind::Unusable,
                _ if reached == end => RingKind::Behind,
                _ if reached >= log.known_durable && reached >= parsed => RingKind::Heals,
                _ => RingKind::Extends,
            };
        }
        if self.ring().is_none() {
            return RingKind::Unusable;
        }
        if let Some(base) = &self.snapshot {
            let further = self.ring_reach(base.cut, base.db).is_some();
            return if further { RingKind::Extends } else { RingKind::Behind };
        }
        match self.never_saved() && self.ring_reach(Offset::ZERO, 0).is_some() {
            true => RingKind::FromBirth,
            false => RingKind::Behind,
        }
    }

    /// No base was ever in force. One that was and is gone was removed: then the ring alone must not bring back what
    /// it happens to hold.
    fn never_saved(&self) -> bool {
        let never = |history: &History| history.bases.iter().all(|base| !base.placed);
        self.born_empty() && self.survey.history.good().is_none_or(never)
    }

    /// The last whole unit that the ring proves from `from` on, if any.
    fn ring_reach(&self, from: Offset, db: u32) -> Option<(Offset, u32)> {
        let (ring, check, vouched) = self.ring()?;
        let range = check.proven.iter().find(|range| range.contains(&from))?;
        let to = range.end.min(vouched);
        let mut walk = UnitWalk::new(from.0, db);
        let mut at = from;
        while at < to {
            let Some((first, rest)) = ring.read(at, (to - at).min(1 << 20) as usize) else { break };
            if walk.feed(first).and_then(|()| walk.feed(rest)).is_err() {
                break;
            }
            at += (first.len() + rest.len()) as u64;
        }
        let (mut end, db) = walk.end();
        if planted(Bug::TornMulti) {
            end = at.0;
        }
        (end > from.0).then_some((Offset(end), db))
    }

    fn refuse(&self, blame: Blame) -> Refusal {
        let found = match (blame, &self.survey.history, &self.survey.snapshot) {
            (Blame::History, HistoryFact::Corrupt(damage), _) => Some(Refusal {
                to_do: "restore it from a copy, or move it away to go on without lineage",
                ..Refusal::from(damage)
            }),
            (Blame::History, ..) => Some(self.without_history()),
            (Blame::Snapshot, _, SnapshotFact::Unreadable(damage)) => Some(Refusal::from(damage)),
            (Blame::Ring, ..) => Some(self.strange_ring()),
            (Blame::Missing, ..) => Some(self.missing()),
            (Blame::Log, ..) if self.stranger.is_some() => self.stranger.clone(),
            (Blame::Log, ..) if matches!(self.log().shape, LogShape::Ours) && self.tail_is_no_matter() => {
                Some(self.without_base())
            }
            _ => self.log().refusal.clone(),
        };
        // The table blames only what was found to be bad.
        let what = "the directory cannot be recovered".into();
        found.unwrap_or_else(|| Refusal { what, ..self.refusal("restore it from a copy") })
    }

    fn tail_is_no_matter(&self) -> bool {
        match self.log().tail {
            Tail::Whole => true,
            Tail::Torn => self.settings.load_truncated,
            Tail::Damaged => false,
        }
    }

    fn refusal(&self, to_do: &'static str) -> Refusal {
        Refusal { file: self.paths.data.clone(), at: 0, what: String::new(), to_do, stock_words: None }
    }

    fn candidates(&self) -> Vec<Candidate> {
        let log = self.log();
        let mut all = Vec::new();
        if let (LogShape::Ours, Some(base)) = (&log.shape, &log.base) {
            let load = log.files[..log.first].iter().map(stock_load).collect();
            all.push(Candidate { cut: base.cut, db: base.db, load });
        }
        if let (SnapshotFact::Found { file, .. }, Some(base)) = (&self.survey.snapshot, &self.snapshot) {
            let path = self.paths.data.join(&file.name);
            let load = vec![Load { path, rdb: file.len, commands_end: file.len }];
            all.push(Candidate { cut: base.cut, db: base.db, load });
        }
        let no_base = log.first == 0 || !matches!(log.shape, LogShape::Ours);
        let since_birth = match log.shape {
            LogShape::Ours => self.born_empty(),
            _ => self.never_saved(),
        };
        if no_base && since_birth && all.is_empty() {
            all.push(Candidate { cut: Offset::ZERO, db: 0, load: Vec::new() });
        }
        all
    }

    /// As far as is known: everything since offset 0 is the whole dataset.
    fn born_empty(&self) -> bool {
        self.survey.history.good().is_none_or(|history| history.born == Born::Empty)
    }

    /// As far as log and ring lead from a base.
    fn reach(&self, from: &Candidate) -> Reach {
        let mut reach = Reach { end: from.cut, db: from.db, runs: Vec::new() };
        loop {
            let before = reach.end;
            if matches!(self.log().shape, LogShape::Ours) {
                self.follow_log(&mut reach);
            }
            if let Some((end, db)) = self.ring_reach(reach.end, reach.db) {
                reach.runs.push(Run { source: Source::Ring, start: reach.end, end, db: reach.db });
                (reach.end, reach.db) = (end, db);
            }
            if reach.end == before {
                return reach;
            }
        }
    }

    fn follow_log(&self, reach: &mut Reach) {
        for file in self.log().segments() {
            let Some((report, opening)) = file.report.as_ref().and_then(|r| Some((r, r.opening?))) else {
                continue;
            };
            if !(opening.offset..report.proven.offset).contains(&reach.end) {
                continue;
            }
            let source = Source::Segment {
                path: file.path.clone(),
                body: report.body,
                to: report.proven.at,
                skip: reach.end - opening.offset,
            };
            reach.runs.push(Run { source, start: reach.end, end: report.proven.offset, db: reach.db });
            (reach.end, reach.db) = (report.proven.offset, report.proven.db);
        }
    }

    /// The base from which most is reached; of equals the one with the latest cut.
    fn furthest(&self) -> Option<(Candidate, Reach)> {
        let reached = self.candidates().into_iter().map(|base| {
            let reach = self.reach(&base);
            (base, reach)
        });
        reached.max_by_key(|(base, reach)| (reach.end, base.cut))
    }

    fn go_on(&self) -> std::result::Result<Plan, Refusal> {
        let Some((base, reach)) = &self.best else { return Err(self.refuse(Blame::Log)) };
        let history = self.history_at(reach.end);
        let mut plan = self.plan(Verdict::Continue, history, reach.end, reach.db);
        plan.load.clone_from(&base.load);
        plan.ring = self.ring_plan(base.cut, base.db, reach.end);
        plan.replay.clone_from(&reach.runs);
        let replid = name_at(&plan.history, base.cut);
        plan.log_from = Place { replid, offset: base.cut, db: base.db };
        plan.machine_crash = matches!(self.last_run(), LastRun::MachineCrashed | LastRun::Crashed);
        self.settle_log(&mut plan);
        plan.loss = self.loss(reach.end);
        plan.log_line = self.continue_line(&plan, base.cut);
        if matches!(self.survey.snapshot, SnapshotFact::Found { .. }) && self.snapshot.is_none() {
            self.set_snapshot_aside(&mut plan); // without replication.toml the log wins
        }
        Ok(plan)
    }

    /// Left in place, a snapshot that the history does not name would be taken for an operator's restore by the next start.
    fn set_snapshot_aside(&self, plan: &mut Plan) {
        if !matches!(self.survey.snapshot, SnapshotFact::None) {
            plan.aside.push(self.paths.snapshot());
            plan.log_line += &format!("; {} is of another history and is moved aside", self.paths.snapshot);
        }
    }

    fn ring_plan(&self, cut: Offset, db: u32, end: Offset) -> RingPlan {
        let range = self.ring().and_then(|(_, check, _)| {
            check.proven.iter().find(|range| range.start <= end && range.end >= end).cloned()
        });
        match range {
            Some(range) if range.start < end || range.start == cut => RingPlan::Keep { start: range.start },
            _ => RingPlan::Refill { at: cut, db },
        }
    }

    /// The names of the history at `end`, in-band ones included.
    fn history_at(&self, end: Offset) -> History {
        let (mut history, newer) = match self.survey.history.good() {
            Some(history) => (history.clone(), self.newer_names()),
            None => {
                let mut names = self.log_names();
                let first = (self.settings.fresh_replid, Offset::ZERO);
                let (replid, begun) = if names.is_empty() { first } else { names.remove(0) };
                // Where the log holds everything since offset 0, it goes on to be a base of itself.
                let from_birth = self.best.as_ref().is_some_and(|(base, _)| base.load.is_empty());
                let born = if from_birth { Born::Empty } else { Born::Import };
                (History::new(replid, begun, born, self.settings.fresh_tag), names)
            }
        };
        for (replid, at) in newer.into_iter().filter(|(_, at)| *at <= end) {
            history.rename(replid, at, Cause::Start);
        }
        for here in [self.log().base.as_ref(), self.snapshot.as_ref()].into_iter().flatten() {
            match history.bases.iter_mut().find(|base| base.files == here.files) {
                Some(base) => base.placed = true,
                None => history.bases.push(here.clone()),
            }
        }
        history.bases.retain(|base| base.placed); // what was announced and never came
        if history.role == Role::Primary {
            for past in history.lineage.iter_mut().filter(|past| past.end > end) {
                (past.end, past.cause) = (end, Cause::Start); // whatever ended the name further on
            }
        } // what a replica knows of names beyond its end is of its primary's history, which it goes on to follow
        history.begun = history.begun.min(end);
        let held = history.sealed.filter(|sealed| sealed.from < end); // what a power cut took needs no base
        history.sealed = held.map(|sealed| Sealed { to: sealed.to.min(end), ..sealed });
        (history.offset_hint, history.clean) = (end, None);
        history
    }

    fn base_file(&self, file: &LogFile) -> BaseFile {
        BaseFile { name: self.paths.relative(&file.name), len: file.len, checksum: file.checksum }
    }

    fn plan(&self, verdict: Verdict, history: History, end: Offset, db: u32) -> Plan {
        Plan {
            verdict,
            load: Vec::new(),
            replay: Vec::new(),
            end,
            db,
            fresh: false,
            cut: None,
            aside: Vec::new(),
            drop_log: false,
            keep_segments: Vec::new(),
            unsynced: Vec::new(),
            idle_segment: None,
            log_has_base: false,
            adopt_old_log: false,
            log_from: Place { replid: history.replid, offset: end, db },
            durable: end,
            ring: RingPlan::Refill { at: end, db },
            machine_crash: false,
            log_line: String::new(),
            loss: None,
            history,
        }
    }
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// The name in force for the byte at `offset`.
fn name_at(history: &History, offset: Offset) -> ReplId {
    if offset >= history.begun {
        return history.replid;
    }
    // Newest first: the oldest entry whose end lies beyond the offset.
    history.lineage.iter().rev().find(|past| past.end > offset).map_or(history.replid, |past| past.replid)
}

mod fresh;
mod names;
mod refusals;
mod settle;
mod words;

#[cfg(test)]
#[path = "recovery_tests.rs"]
mod tests;
