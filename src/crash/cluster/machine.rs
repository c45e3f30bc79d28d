//! One of several servers, with what is known of it: its stream as it was seen, and what it must not lose.

use std::collections::{BTreeMap, HashSet};

use super::super::model::{Model, Print, print_of};
use super::super::scenario::{Fault, Setup};
use super::super::world::{Started, World};
use super::scenario::Follows;
use super::truth::{NOTHING, Sum, Truth, sum};
use crate::server::persist::{Cut, Seen};
use crate::state::Stage;
use crate::store::Snapshot;
use crate::units::{Offset, ReplId};

pub type Verdict = Result<(), (&'static str, String)>;

/// Up to where the stream must be found again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Floors {
    /// After the process was killed.
    pub process: Offset,
    /// After a power cut.
    pub power: Offset,
}

pub struct Machine {
    pub world: World,
    pub model: Model,
    /// Of the stream at each end of a unit, from the oldest that this machine's data go back to.
    sums: BTreeMap<u64, Sum>,
    /// The name in force.
    pub name: ReplId,
    /// All places where this machine ever stood, and under which name.
    ever: HashSet<(Offset, Sum, ReplId)>,
    /// The same, for those that its log was said to make durable.
    ever_durable: HashSet<(Offset, Sum)>,
    setup: Setup,
    /// The settings have kept what was acknowledged ever since the history began, or the server has said so since.
    pub kept: bool,
    follows: Option<(String, u16)>,
    pub floors: Floors,
    /// What the data of its last full sync are is known.
    pub is_known: bool,
    /// A primary with `appendfsync always` ever since its stream ended here: what it has sent of later bytes is on the medium (rule 13).
    sends_durable_from: Option<Offset>,
    /// It has no power.
    pub is_dark: bool,
    /// The last process ended with the power.
    lost_power: bool,
    /// Where its last start as a primary that lost something came back.
    pub fell_back_to: Option<Offset>,
    /// What such starts lost, by where it led.
    lost: HashSet<(Offset, Sum)>,
    /// Its directory is a replica's: a start as a primary is a promotion (rule 27).
    is_replicas: bool,
    /// Of its files, as far as this process has told.
    generation: u64,
    /// When it last took a word of its own for one of a replica that has said nothing yet (Unix microseconds).
    pub joined: Option<i64>,
    /// Its disk has failed, or been full.
    pub was_troubled: bool,
    /// Where the stream ended when an fsync failed that no base has made good yet.
    latched_at: Option<Offset>,
}

impl Machine {
    pub fn new(world: World, setup: Setup) -> Machine {
        let model = Model::new(&world.config);
        Machine {
            world,
            model,
            sums: BTreeMap::from([(0, NOTHING)]),
            name: ReplId::NONE,
            ever: HashSet::new(),
            ever_durable: HashSet::new(),
            kept: setup.appendonly || setup.save,
            setup,
            follows: None,
            floors: Floors::default(),
            is_known: true,
            sends_durable_from: None,
            is_dark: false,
            lost_power: false,
            fell_back_to: None,
            lost: HashSet::new(),
            is_replicas: false,
            generation: 0,
            joined: None,
            was_troubled: false,
            latched_at: None,
        }
    }

    /// The settings in force keep what is acknowledged.
    fn keeps(&self) -> bool {
        let now = |node: &crate::engine::Node| {
            let settings = &node.config().settings;
            settings.appendonly || !settings.save.0.is_empty()
        };
        self.world.look(now).unwrap_or(self.setup.appendonly || self.setup.save)
    }

    pub fn end(&self) -> Offset {
        self.model.end()
    }

    pub fn sum(&self) -> Sum {
        self.sums.last_key_value().map_or(NOTHING, |(_, sum)| *sum)
    }

    /// What its stream comes to at a place, if a unit ends there.
    pub fn sum_at(&self, at: Offset) -> Option<Sum> {
        self.sums.get(&at.0).copied()
    }

    /// This machine had the other one's stream up to there, now or once.
    pub fn ever_had(&self, other: &Machine, at: Offset) -> bool {
        self.ever.iter().any(|(there, sum, _)| *there >= at && other.sum_at(*there) == Some(*sum))
    }

    /// Its starts as a primary lost something behind `at` that the other one has, by a name under which this machine had it.
    pub fn lost_of(&self, other: &Machine, at: Offset) -> bool {
        let names = other.names();
        let knows = |name: ReplId, there| names.iter().any(|(known, end)| *known == name && *end >= there);
        self.ever.iter().any(|(there, sum, name)| {
            *there > at
                && self.lost.contains(&(*there, *sum))
                && other.sum_at(*there) == Some(*sum)
                && knows(*name, *there)
        })
    }

    /// The same, on its medium.
    pub fn ever_synced(&self, other: &Machine, at: Offset) -> bool {
        self.ever_durable.iter().any(|(there, sum)| *there >= at && other.sum_at(*there) == Some(*sum))
    }

    /// The furthest place at which both have the same stream.
    pub fn shares(&self, other: &Machine) -> Option<Offset> {
        let same = |(at, sum): &(&u64, &Sum)| other.sums.get(at) == Some(sum);
        self.sums.iter().rev().find(same).map(|(at, _)| Offset(*at))
    }

    /// Names under which the machine's present position is known to itself.
    pub fn names(&self) -> Vec<(ReplId, Offset)> {
        let past = self.world.lineage();
        [(self.name, self.end())].into_iter().chain(past).collect()
    }

    /// The data after the stream's first `at` bytes, if this machine's stream comes to that.
    pub fn state_at(&mut self, at: Offset, sum: Sum) -> Option<(Snapshot, Print)> {
        if !self.is_known || self.sum_at(at) != Some(sum) {
            return None;
        }
        self.model.state_at(at).ok()
    }

    // ---- while it runs ----

    /// Units have entered the stream.
    pub fn took(&mut self, units: &[u8], end: Offset, truth: &mut Truth) -> Verdict {
        let start = self.end();
        let mut sum_there = self.sum();
        self.model.append(units, end).map_err(|why| ("P2", why))?;
        let mut from = 0;
        for at in self.model.bounds_after(start) {
            let to = at.since(start) as usize;
            let whose = truth.writer(self.name, at);
            sum_there = sum(sum(sum_there, whose.as_bytes()), &units[from..to]);
            from = to;
            self.stands(at, sum_there);
            truth.stands(self.name, at, sum_there).map_err(|why| ("P3", why))?;
        }
        Ok(())
    }

    fn stands(&mut self, at: Offset, sum: Sum) {
        self.sums.insert(at.0, sum);
        self.ever.insert((at, sum, self.name));
    }

    /// The history has another name from here on: a promotion's, or one that its primary has.
    pub fn renamed(&mut self, name: ReplId, truth: &mut Truth) -> Verdict {
        let (end, sum) = (self.end(), self.sum());
        self.is_replicas = self.world.look(|node| node.is_replica()).unwrap_or(self.is_replicas);
        if truth.knows(name) {
            match truth.sum_at(name, end) {
                Some(known) if known == sum => {}
                _ => {
                    let what =
                        format!("goes on under {name} from {end}, which is no position of that history");
                    return Err(("P3", what));
                }
            }
        } else {
            truth.begins(name, Some(self.name), end, sum).map_err(|why| ("P5", why))?;
        }
        self.name = name;
        self.sends_durable_from = None;
        Ok(())
    }

    /// A full sync has put another history in place, whose stream comes to `sum` at the cut.
    pub fn replaced(&mut self, cut: Cut, sum: Sum, state: Option<(Snapshot, Print)>) {
        self.is_known = state.is_some();
        let empty = || (Snapshot::empty(self.world.config.settings.databases as usize), 0);
        let (data, print) = state.unwrap_or_else(empty);
        self.model.begin_at(cut.offset, cut.db, data, print);
        self.sums = BTreeMap::new();
        self.name = cut.replid;
        self.stands(cut.offset, sum);
        self.sends_durable_from = None;
        (self.fell_back_to, self.is_replicas, self.latched_at) = (None, true, None);
        self.lost.clear();
        self.generation = self.world.generation().unwrap_or(self.generation);
        self.kept = self.keeps();
        self.floors =
            if self.kept { Floors { process: cut.offset, power: cut.offset } } else { Floors::default() };
        self.ever_durable.insert((cut.offset, sum));
    }

    pub fn seen(&mut self) -> Vec<Seen> {
        self.world.seen()
    }

    /// Notes what would have to be there after a crash now.
    pub fn heed(&mut self) -> Verdict {
        self.follows = self
            .world
            .look(|node| node.config().settings.replicaof.clone())
            .flatten()
            .map(|to| (to.host, to.port));
        self.heed_latch()?;
        let sends_durable = self.follows.is_none() && self.world.syncs_before_it_sends();
        self.sends_durable_from = sends_durable.then(|| self.sends_durable_from.unwrap_or(self.end()));
        let new_ones = |node: &crate::engine::Node| {
            let replicas = node.server.replicas().into_iter();
            let new = replicas.filter(|(.., replica)| replica.stage == Stage::Online && replica.acks == 0);
            new.map(|(.., replica)| replica.ack_ms * 1000).max()
        };
        self.joined = self.joined.max(self.world.look(new_ones).flatten());
        let kept = self.keeps();
        self.kept = kept && (self.kept || self.world.is_whole());
        if self.world.generation().is_some_and(|now| now != self.generation) {
            return Ok(()); // a full sync is committed, and not in force yet
        }
        if let Some(durable) = self.world.durable()
            && let Some((at, sum)) = self.sums.range(..=durable.0).next_back()
        {
            self.ever_durable.insert((Offset(*at), *sum));
        }
        if !kept {
            self.floors = Floors::default();
        }
        if !self.kept {
            return Ok(());
        }
        // What a replica has it acknowledges, and what is in the ring survives the process.
        self.floors.process = self.floors.process.max(self.world.ring_end().unwrap_or(Offset::ZERO));
        let safe = self.world.durable().max(self.world.newest_base()).unwrap_or(Offset::ZERO);
        self.floors.power = self.floors.power.max(safe);
        if self.floors.power > self.end() {
            return Err((
                "P1",
                format!("{safe} is called durable, though the stream ends at {}", self.end()),
            ));
        }
        Ok(())
    }

    /// A latched server makes no stream bytes (rule 23).
    fn heed_latch(&mut self) -> Verdict {
        let latched = self.world.look(|node| node.server.persistence.latched).unwrap_or(false);
        let end = self.end();
        match (latched, self.latched_at) {
            (true, Some(at)) if end > at => {
                let what = format!("{} bytes entered the stream after a failed fsync at {at}", end.since(at));
                return Err(("P7", what));
            }
            (true, at) => self.latched_at = at.or(Some(end)),
            (false, _) => self.latched_at = None,
        }
        Ok(())
    }

    /// What a server still suffers from, though its disk works.
    pub fn ails(&self) -> Option<String> {
        let failed = self.world.look(|node| node.server.persistence.failed.clone()).flatten();
        let led = || !self.keeps() || !self.world.is_live() || self.world.is_whole();
        failed.or_else(|| (!led()).then(|| "nothing on disk leads to what is acknowledged".into()))
    }

    /// A reply has told of a write; `synced`: up to there it promises the medium.
    pub fn acknowledged(&mut self, end: Offset, synced: Option<Offset>) {
        if self.kept {
            self.floors.process = self.floors.process.max(end);
            self.floors.power = self.floors.power.max(synced.unwrap_or(Offset::ZERO));
        }
    }

    /// A clean shutdown is over; whether it ended well.
    pub fn shut_down(&mut self, well: bool) {
        if well && self.kept {
            self.floors.process = self.end();
        }
    }

    /// What is served is what the stream leads to.
    pub fn compare(&mut self, truth: &mut Truth) -> Verdict {
        let Some(served) = self.world.look(|node| print_of(&node.store.dbs)) else { return Ok(()) };
        let (end, sum) = (self.end(), self.sum());
        truth.holds(end, sum, served).map_err(|why| ("P3", why))?;
        if self.is_known && self.model.print_at(end).map_err(|why| ("P2", why))? != served {
            return Err(("P2", format!("the data served at {end} are not what the stream leads to")));
        }
        Ok(())
    }

    // ---- crash and recovery ----

    /// The process, or the machine, has ended.
    pub fn end_process(&mut self, power: Option<u64>) {
        self.world.end_process(power);
        self.latched_at = None;
        self.is_dark = power.is_some();
        self.lost_power |= power.is_some();
    }

    /// A start that dies at this disk step.
    pub fn start_dying(&mut self, steps: u32, power: Option<u64>) -> Verdict {
        self.world.disk.fail_from(steps.into());
        let refused = self.start(Follows::AsBefore).err();
        let died = self.world.disk.is_dead();
        self.end_process(power);
        refused.filter(|_| !died).map_or(Ok(()), Err)
    }

    /// A start during which calls fail, killed if it came about; else its refusal.
    pub fn start_failing(&mut self, fault: &Fault) -> Option<String> {
        self.world.disk.fail(fault.on_disk());
        let refused = self.start(Follows::AsBefore).err();
        self.end_process(None);
        refused.map(|(_, why)| why)
    }

    /// The process starts; whether it is a primary is in what comes back.
    pub fn start(&mut self, follows: Follows) -> Result<Started, (&'static str, String)> {
        let primary = match follows {
            Follows::AsBefore => self.follows.clone(),
            Follows::Nobody => None,
            Follows::Machine(primary) => Some((super::net::host(primary.into()), 6379)),
        };
        // Recorded also by a start that dies: the next one as a primary is a promotion.
        self.is_replicas |= primary.is_some();
        let role = primary.map(|(host, port)| format!("replicaof {host} {port}\n")).unwrap_or_default();
        self.world.configure(&(self.setup.options() + &role)).map_err(|why| ("–", why))?;
        self.is_dark = false;
        self.world.start().map_err(|why| ("P5", format!("a directory that only crashed is refused: {why}")))
    }

    /// What a start has come back with, if it is a full sync's: the process died between the commit and its being told
    /// (rule 4).
    pub fn adopted(&self, started: &Started, truth: &Truth) -> Option<Cut> {
        let replid = started.previous.unwrap_or(started.replid);
        let is_another = self.world.generation().is_some_and(|now| now > self.generation);
        (is_another && truth.knows(replid)).then_some(Cut { replid, offset: started.end, db: started.db })
    }

    /// What a power cut took, though it must have been on the medium before anybody was sent it: nobody has it.
    pub fn judge_lead(&self, other: &Machine, end: Offset) -> Verdict {
        let Some(from) = self.sends_durable_from.filter(|_| self.lost_power) else { return Ok(()) };
        match other.shares(self) {
            Some(at) if at > end && at > from => {
                let what = format!(
                    "comes back at {end}, though another was sent up to {at} with appendfsync always"
                );
                Err(("P3", what))
            }
            _ => Ok(()),
        }
    }

    /// Judges what a start has come back with.
    pub fn recovered(&mut self, started: &Started, truth: &mut Truth) -> Verdict {
        self.generation = self.world.generation().unwrap_or(self.generation);
        let end = started.end;
        let power = std::mem::take(&mut self.lost_power);
        let (floor, how) =
            if power { (self.floors.power, "power cut") } else { (self.floors.process, "kill -9") };
        let previous = started.previous.unwrap_or(started.replid);
        if started.previous.is_none() && !truth.knows(previous) && self.world.lineage().is_empty() {
            return self.begun_anew(started, floor, how, truth);
        }
        if end < floor {
            let what =
                format!("after a {how} the stream ends at {end}, though all up to {floor} was promised");
            return Err(("P1", what));
        }
        let Some(sum) = self.sum_at(end) else {
            let known = self.end();
            return Err(("P2", format!("comes back at {end}, where no unit ends (the stream had {known})")));
        };
        let served = self.world.look(|node| print_of(&node.store.dbs)).unwrap_or_default();
        if self.is_known && self.model.print_at(end).map_err(|why| ("P2", why))? != served {
            return Err(("P2", format!("other data than the stream's first {end} bytes lead to")));
        }
        truth.holds(end, sum, served).map_err(|why| ("P3", why))?;
        if !truth.knows(previous) {
            // A process died while it took a name, and had told nobody.
            truth.begins(previous, Some(self.name), end, sum).map_err(|why| ("P5", why))?;
        }
        let names: Vec<_> = self.world.lineage().into_iter().chain([(previous, end)]).collect();
        for (name, at) in &names {
            self.judge_name(*name, *at, end, truth)?;
        }
        if !names.iter().any(|(name, _)| *name == self.name) {
            let what = format!("{} was in force, and a start knows nothing of it (rule 1)", self.name);
            return Err(("P3", what));
        }
        let is_replica = started.previous.is_none();
        if std::mem::replace(&mut self.is_replicas, is_replica) || is_replica {
            self.fell_back_to = None;
            self.lost.clear();
        } else if end < self.end() {
            self.fell_back_to = Some(end);
            self.lost.extend(self.sums.range(end.0 + 1..).map(|(at, sum)| (Offset(*at), *sum)));
        }
        self.sends_durable_from = None;
        self.model.cut(end);
        self.sums.split_off(&(end.0 + 1));
        self.name = previous;
        self.floors = Floors { process: self.floors.process.min(end), power: self.floors.power.min(end) };
        self.kept = self.keeps() && (self.kept || self.world.is_whole());
        if self.kept {
            self.floors.process = end;
        }
        match started.previous {
            Some(_) => self.named(started.replid, previous, truth),
            None => Ok(()),
        }
    }

    fn named(&mut self, name: ReplId, before: ReplId, truth: &mut Truth) -> Verdict {
        truth.begins(name, Some(before), self.end(), self.sum()).map_err(|why| ("P5", why))?;
        self.name = name;
        Ok(())
    }

    /// A name of the history with its end, as the server has it: that must be a place of that history, and of this one.
    fn judge_name(&self, name: ReplId, at: Offset, end: Offset, truth: &Truth) -> Verdict {
        let oldest = self.sums.first_key_value().map_or(0, |(at, _)| *at);
        if at > end || at.0 < oldest || !truth.knows(name) {
            return Ok(()); // told by a primary; before what is held; taken by a start that died
        }
        match (self.sum_at(at), truth.sum_at(name, at)) {
            (Some(own), Some(true_one)) if own == true_one => Ok(()),
            _ => {
                Err(("P3", format!("{name}:{at} is called a position of this history, which ends at {end}")))
            }
        }
    }

    /// A new history: nothing may be missing that was promised, and its data must have been there once.
    fn begun_anew(&mut self, started: &Started, floor: Offset, how: &str, truth: &mut Truth) -> Verdict {
        if floor > Offset::ZERO {
            let what = format!("after a {how} a new history begins, though all up to {floor} was promised");
            return Err(("P1", what));
        }
        let served = self.world.look(|node| print_of(&node.store.dbs)).unwrap_or_default();
        let once = |model: &mut Model| model.bounds().into_iter().any(|at| model.print_at(at) == Ok(served));
        if served != 0 && self.is_known && !once(&mut self.model) {
            return Err(("P2", "a new history begins with data that never were".into()));
        }
        let Some(data) = self.world.look(|node| node.store.snapshot()) else { return Ok(()) };
        let nothing = started.end == Offset::ZERO && served == 0;
        let begun = if nothing { NOTHING } else { sum(NOTHING, started.replid.as_bytes()) };
        truth.begins(started.replid, None, started.end, begun).map_err(|why| ("P5", why))?;
        let db = 0;
        self.replaced(Cut { replid: started.replid, offset: started.end, db }, begun, Some((data, served)));
        self.floors = Floors::default();
        self.is_replicas = self.world.look(|node| node.is_replica()).unwrap_or(false);
        Ok(())
    }
}
