//! Runs a scenario and judges it.
//!
//! The runner does a scenario's steps to a [`World`], tells the [`Model`] of every stream byte, and after each recovery asks
//! whether the server kept its promises:
//!
//! | promise | check |
//! |---|---|
//! | P1 | what was answered before a kill is there, with AOF or save points; after a power cut, what `appendfsync always` answered, and all that the log, or a base in force, was said to make durable |
//! | P1 | with a log, seconds and threads make everything durable (but for `appendfsync no`) |
//! | P2 | the stream's end is between two units; the data are what the model makes of the stream up to there |
//! | P3, P5 | the position is true under the name that it is reported with, and so is each one of the lineage; no name is used twice |
//! | P5 | a directory that only crashed is never refused; after a start with I/O errors the next one goes well |
//! | P5 | after a start nothing is left of a torn tail: [`tails`] |
//! | P5 | a killed process leaves no block in the ring's window that does not match its seal (rule 9) |
//! | P1, P7 | on a disk that works again a base that is due comes, and writes are taken again by themselves |
//! | P7 | after an fsync that failed nothing enters the stream until a new base is there; no reply says otherwise |
//! | – | a second start comes to the same; the data served equal what the stream leads to |
//! | P3, P4, P6 | at the end the server is asked what replicas ask: [`asking`] |
//!
//! What is promised is kept as offsets ([`Floors`]). `save ""` without a log promises nothing; then any unit-aligned
//! prefix, the last base, or an empty history is right.

use std::path::PathBuf;
use std::time::Duration;

mod asking;
mod tails;

use super::model::{Model, print_of};
use super::scenario::{Crash, Scenario, Setup, Step, shown};
use super::world::{Answer, DIR, Started, World, file};
use crate::ring::{Found, Ring};
use crate::server::persist::Seen;
use crate::units::{Offset, ReplId};

/// A promise that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Of the design's list, or `–`.
    pub promise: &'static str,
    pub what: String,
    /// Index of the step at which it was seen.
    pub step: usize,
}

/// What a run came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Recoveries after a crash or shutdown, starts that died included.
    pub cycles: u64,
    pub commands: u64,
    pub disk_steps: u64,
    /// Processes that died in the middle of something.
    pub deaths: u64,
    /// Full syncs that were taken over.
    pub syncs: u64,
}

/// Up to where the stream must be found again.
#[derive(Clone, Copy, Debug, Default)]
struct Floors {
    /// After the process was killed.
    process: Offset,
    /// After a power cut.
    power: Offset,
    /// After a power cut that follows a clean shutdown at once.
    shutdown: Offset,
}

/// Redis' wait after a failed save is 5 s, a rewrite that failed three times waits for a minute.
const MOST_SECONDS_TO_HEAL: u32 = 70;

struct Runner<'a> {
    world: World,
    model: Model,
    setup: Setup,
    floors: Floors,
    /// The settings have kept what was acknowledged ever since the history began, or the server has said so since.
    kept: bool,
    /// Starts died, and may have taken names that nobody was told of.
    unknown_names: bool,
    latched_at: Option<Offset>,
    tally: Tally,
    timeline: Option<&'a mut Vec<String>>,
}

type Verdict = Result<(), (&'static str, String)>;

/// Runs a scenario. With a timeline every step and every line of the server's log is told.
pub fn run(scenario: &Scenario, timeline: Option<&mut Vec<String>>) -> Result<Tally, Violation> {
    let at_start = |what| Violation { promise: "–", what, step: 0 };
    let world = World::new(scenario.seed, &scenario.setup.options()).map_err(at_start)?;
    if timeline.is_some() {
        world.stage.keep_lines();
    }
    let model = Model::new(&world.config);
    let mut runner = Runner {
        world,
        model,
        setup: scenario.setup.clone(),
        floors: Floors::default(),
        kept: true,
        unknown_names: false,
        latched_at: None,
        tally: Tally::default(),
        timeline,
    };
    let violation = |step| move |(promise, what)| Violation { promise, what, step };
    runner.first_start().map_err(violation(0))?;
    for (n, step) in scenario.steps.iter().enumerate() {
        let done = runner.step(step);
        runner.tell_lines();
        done.map_err(violation(n))?;
    }
    if runner.world.is_live() {
        let last = scenario.steps.len();
        runner.ask_as_replicas().map_err(violation(last))?;
        runner.crash(&Crash { again: true, ..Crash::kill() }).map_err(violation(last))?;
    }
    Ok(runner.tally)
}

impl Runner<'_> {
    fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(timeline) = &mut self.timeline {
            timeline.push(text());
        }
    }

    fn tell_lines(&mut self) {
        if self.timeline.is_some() {
            for line in self.world.stage.lines() {
                self.tell(|| format!("      | {line}"));
            }
        }
    }

    fn first_start(&mut self) -> Verdict {
        let options = self.setup.options();
        self.tell(|| format!("settings: {}", options.trim_end().replace('\n', "; ")));
        let started =
            self.world.start().map_err(|why| ("P5", format!("an empty directory is refused: {why}")))?;
        self.tell_lines();
        self.model.named(started.replid).map_err(|why| ("P5", why))?;
        self.kept = self.keeps();
        Ok(())
    }

    /// The settings in force keep what is acknowledged.
    fn keeps(&self) -> bool {
        let keeps = |appendonly: bool, save: bool| appendonly || save;
        self.world
            .look(|node| {
                let saves = !node.config().settings.save.0.is_empty();
                keeps(node.server.persistence.aof_enabled, saves)
            })
            .unwrap_or(keeps(self.setup.appendonly, self.setup.save))
    }

    fn step(&mut self, step: &Step) -> Verdict {
        let dead = self.world.disk.is_dead();
        if dead && !step.ends_a_life() {
            return Ok(());
        }
        self.tell(|| format!("- {step}"));
        match step {
            Step::Send(client, words) => {
                if !self.world.send((*client).into(), &as_slices(words)) {
                    return Ok(());
                }
                self.tally.commands += 1;
            }
            Step::Log(sync) => self.world.log_works(*sync),
            Step::Thread => {
                let name = self.world.one_thread_works();
                self.tell(|| format!("      ({})", name.unwrap_or("there was none")));
            }
            Step::Time(ms) => self.world.time_passes(Duration::from_millis((*ms).into())),
            Step::WriteBack(seed) => self.world.disk.write_back(*seed),
            Step::Fails(fault) => self.world.disk.fail(fault.on_disk()),
            Step::Space(bytes) => self.world.disk.set_free_space(bytes.map(u64::from)),
            Step::DieIn(steps) => self.world.disk.fail_from((*steps).into()),
            Step::Compare => {
                self.observe()?;
                self.compare()?;
            }
            Step::Settle => self.settle()?,
            Step::Shutdown(save, crash) => return self.shut_down(*save, crash),
            Step::Crash(crash) => return self.crash(crash),
        }
        self.observe()
    }

    /// Takes in what the step did.
    fn observe(&mut self) -> Verdict {
        self.learn_stream()?;
        if self.world.disk.is_dead() {
            self.tell(|| "      (the process is dead)".into());
            return Ok(());
        }
        self.heed_latch()?;
        let answers = self.world.answers();
        self.learn_stream()?;
        if self.world.disk.is_dead() {
            return Ok(());
        }
        let kept = self.keeps();
        self.kept = kept && (self.kept || self.world.is_whole());
        for answer in answers {
            self.answered(&answer)?;
        }
        if !kept {
            self.floors = Floors::default();
        } else if self.kept {
            let durable = self.world.durable().unwrap_or(Offset::ZERO);
            let base = self.world.newest_base().unwrap_or(Offset::ZERO);
            self.floors.power = self.floors.power.max(durable).max(base);
            if self.floors.power > self.model.end() {
                let (durable, end) = (self.floors.power, self.model.end());
                return Err(("P1", format!("{durable} is called durable, though the stream ends at {end}")));
            }
        }
        Ok(())
    }

    fn learn_stream(&mut self) -> Verdict {
        for (units, end) in self.world.appended() {
            self.model.append(&units, end).map_err(|why| ("P2", why))?;
        }
        Ok(())
    }

    /// A latched server makes no stream bytes (rule 23).
    fn heed_latch(&mut self) -> Verdict {
        let latched = self.world.look(|node| node.server.persistence.latched).unwrap_or(false);
        let end = self.model.end();
        match (latched, self.latched_at) {
            (true, None) => self.latched_at = Some(end),
            (true, Some(at)) if end > at => {
                return Err((
                    "P7",
                    format!("{} bytes entered the stream after a failed fsync at {at}", end.since(at)),
                ));
            }
            (true, Some(_)) => {}
            (false, _) => self.latched_at = None,
        }
        Ok(())
    }

    fn answered(&mut self, answer: &Answer) -> Verdict {
        self.tell(|| {
            let reply = shown(std::slice::from_ref(&answer.reply)).replace("\r\n", " ");
            let wrote = answer.wrote().map(|end| format!(" (stream to {end})")).unwrap_or_default();
            format!("      {} -> {reply}{wrote}", shown(&answer.asked.words[..1]))
        });
        if let (Some(end), true) = (answer.wrote(), self.kept) {
            self.floors.process = self.floors.process.max(end);
            if answer.synced {
                self.floors.power = self.floors.power.max(end);
            }
        }
        Ok(())
    }

    fn compare(&mut self) -> Verdict {
        let Some(served) = self.world.look(|node| print_of(&node.store.dbs)) else { return Ok(()) };
        if self.world.disk.is_dead() {
            return Ok(());
        }
        let end = self.model.end();
        let expected = self.model.print_at(end).map_err(|why| ("P2", why))?;
        if served != expected {
            return Err(("P2", format!("the data served at {end} are not what the stream leads to")));
        }
        Ok(())
    }

    /// Seconds, with every thread at work.
    fn settle(&mut self) -> Verdict {
        self.observe()?;
        let end = self.model.end();
        for _ in 0..3 {
            self.world.time_passes(Duration::from_millis(1100));
            self.world.work_off();
            self.observe()?;
        }
        self.heal()?;
        let is_well = |node: &crate::engine::Node| {
            let settings = &node.config().settings;
            node.server.persistence.aof_enabled
                && settings.appendfsync != crate::config::AppendFsync::No
                && node.server.persistence.failed.is_none()
        };
        let due = !self.world.disk.is_dead() && self.world.look(is_well).unwrap_or(false);
        match self.world.durable() {
            Some(durable) if due && durable < end => {
                Err(("P1", format!("seconds later the log is durable only up to {durable} of {end}")))
            }
            _ => Ok(()),
        }
    }

    /// On a disk that works: a base that is due comes, and writes are taken again.
    fn heal(&mut self) -> Verdict {
        for _ in 0..MOST_SECONDS_TO_HEAL {
            let still = self.world.look(|node| node.server.persistence.failed.clone()).flatten();
            let ill = self.keeps() && !self.world.is_whole() || still.is_some();
            if self.world.disk.is_dead() || self.world.disk.is_troubled() || !ill {
                return Ok(());
            }
            self.world.time_passes(Duration::from_millis(1100));
            self.world.work_off();
            self.observe()?;
        }
        let still = self.world.look(|node| node.server.persistence.failed.clone()).flatten();
        Err(match still {
            Some(why) => ("P7", format!("on a disk that works writes are not taken again: {why}")),
            None => ("P1", "nothing on disk leads to what is acknowledged, and no base comes".into()),
        })
    }

    fn shut_down(&mut self, save: Option<bool>, crash: &Crash) -> Verdict {
        self.observe()?;
        if self.world.disk.is_dead() {
            return self.crash(crash);
        }
        let (code, seen) = self.world.shut_down(save);
        for seen in seen {
            if let Seen::Units(units, end) = seen {
                self.model.append(&units, end).map_err(|why| ("P2", why))?;
            }
        }
        self.tell_lines();
        self.tell(|| format!("      (exit code {code:?})"));
        if code == Some(0) && !self.world.disk.is_dead() && self.kept {
            let end = self.model.end();
            self.floors = Floors { process: end, shutdown: end, ..self.floors };
        }
        self.crash(crash)
    }

    // ---- recovery ----

    fn crash(&mut self, crash: &Crash) -> Verdict {
        self.learn_stream()?;
        self.latched_at = None;
        let mut power = self.end_process(crash.power);
        if !power {
            self.verify_ring()?;
        }
        if let Some(setup) = &crash.setup {
            self.world.configure(&setup.options()).map_err(|why| ("–", why))?;
            self.setup = setup.clone();
        }
        for &(step, cut) in &crash.dying {
            self.world.disk.fail_from(step.into());
            let started = self.world.start();
            self.tally.cycles += 1;
            match started {
                Err(why) if !self.world.disk.is_dead() => {
                    return Err(("P5", format!("a start refuses: {why}")));
                }
                Ok(_) | Err(_) => {}
            }
            self.tell_lines();
            self.tell(|| "      (that start is over)".into());
            self.unknown_names = true;
            power |= self.end_process(cut);
            if cut.is_some() {
                self.floors.shutdown = Offset::ZERO; // the ring was open for writing again
            }
        }
        if let Some(fault) = &crash.fault {
            self.world.disk.fail(fault.on_disk());
            let refused = self.world.start().err();
            self.tell_lines();
            self.tell(|| format!("      (with faults: {refused:?})"));
            self.tally.cycles += 1;
            self.unknown_names = true;
            self.end_process(None);
        }
        let last = self.last_segment();
        let started = self.start("the directory only crashed, and a start refuses")?;
        self.verify(&started, power)?;
        self.verify_tail(last)?;
        if crash.again {
            self.start_again(&started)?;
        }
        self.kept = self.keeps() && (self.kept || self.world.is_whole());
        if !self.kept {
            self.floors = Floors::default();
        }
        self.observe()
    }

    /// The process, and perhaps the machine, ends. `true`: it was the machine.
    fn end_process(&mut self, power: Option<u64>) -> bool {
        self.tally.deaths += u64::from(self.world.disk.is_dead());
        self.tally.disk_steps += self.world.disk.steps();
        self.world.end_process(power);
        if self.timeline.is_some() {
            let named = |(path, bytes): &(PathBuf, Vec<u8>)| {
                let path = path.strip_prefix(DIR).unwrap_or(path);
                format!("{} ({})", path.display(), bytes.len())
            };
            let files: Vec<String> = self.world.disk.files().iter().map(named).collect();
            self.tell(|| format!("      (files: {})", files.join(", ")));
        }
        power.is_some()
    }

    /// However an append was interrupted: what the header claims is there (rule 9).
    fn verify_ring(&self) -> Verdict {
        let path = file("backlog.ring");
        let damage = match Ring::open(&self.world.disk, &path) {
            Ok(Found::Ring(_, check)) => check.damage,
            Ok(Found::Damaged(damage)) => Some(damage),
            Ok(Found::Missing) => None,
            Err(failure) => return Err(("–", failure.to_string())),
        };
        damage.map_or(Ok(()), |damage| Err(("P5", format!("a kill -9 left the backlog damaged: {damage}"))))
    }

    fn start(&mut self, what: &str) -> Result<Started, (&'static str, String)> {
        self.tally.cycles += 1;
        let started = self.world.start();
        self.tell_lines();
        started.map_err(|why| ("P5", format!("{what}: {why}")))
    }

    fn verify(&mut self, started: &Started, power: bool) -> Verdict {
        let end = started.end;
        self.tell(|| {
            format!("      (serves as {} at {end}, before that {:?})", started.replid, started.previous)
        });
        let (floor, how) = if power {
            (self.floors.power.max(self.floors.shutdown), "power cut")
        } else {
            (self.floors.process, "kill -9")
        };
        let Some(previous) = started.previous else {
            return self.verify_fresh(started, floor, how);
        };
        if end < floor {
            return Err((
                "P1",
                format!("after a {how} the stream ends at {end}, though all up to {floor} was promised"),
            ));
        }
        if !self.model.is_bound(end) {
            let known = self.model.end();
            return Err(("P2", format!("comes back at {end}, where no unit ends (the stream had {known})")));
        }
        let served = self.world.look(|node| print_of(&node.store.dbs)).unwrap_or_default();
        if self.model.print_at(end).map_err(|why| ("P2", why))? != served {
            return Err(("P2", format!("other data than the stream's first {end} bytes lead to")));
        }
        self.verify_name(previous, end)?;
        self.model.cut(end);
        self.named(started.replid)?;
        self.floors = Floors { process: end, power: self.floors.power.min(end), shutdown: Offset::ZERO };
        Ok(())
    }

    fn named(&mut self, name: ReplId) -> Verdict {
        self.model.named(name).map_err(|why| ("P5", why))
    }

    fn verify_name(&self, previous: ReplId, end: Offset) -> Verdict {
        for (name, at) in self.world.lineage().into_iter().chain([(previous, end)]) {
            let known = self.model.knows(name);
            let is_true = if known { self.model.may_be_called(name, at) } else { self.unknown_names };
            if !is_true || at > end {
                let what = format!("{name}:{at} is called a position of this history, which ends at {end}");
                return Err(("P3", what));
            }
        }
        Ok(())
    }

    /// A new history: nothing may be missing that was promised, and its data must have been there once.
    fn verify_fresh(&mut self, started: &Started, floor: Offset, how: &str) -> Verdict {
        if floor > Offset::ZERO {
            return Err((
                "P1",
                format!("after a {how} a new history begins, though all up to {floor} was promised"),
            ));
        }
        let served = self.world.look(|node| print_of(&node.store.dbs)).unwrap_or_default();
        let once = |model: &mut Model| model.bounds().into_iter().any(|at| model.print_at(at) == Ok(served));
        if served != 0 && !once(&mut self.model) {
            return Err(("P2", "a new history begins with data that never were".into()));
        }
        if let Some(data) = self.world.look(|node| node.store.snapshot()) {
            self.model.begin_with(started.end, data, served);
        }
        self.floors = Floors::default();
        self.kept = true;
        self.named(started.replid)
    }

    /// A start that is followed by a kill changes nothing.
    fn start_again(&mut self, first: &Started) -> Verdict {
        let served = self.world.look(|node| print_of(&node.store.dbs)).unwrap_or_default();
        self.learn_stream()?;
        if self.model.end() != first.end {
            return Ok(());
        }
        self.end_process(None);
        let second = self.start("the second start refuses")?;
        let again = self.world.look(|node| print_of(&node.store.dbs)).unwrap_or_default();
        if (second.end, again) != (first.end, served) {
            return Err(("–", format!("the second start comes to {} instead of {}", second.end, first.end)));
        }
        if let Some(previous) = second.previous {
            self.verify_name(previous, second.end)?;
        }
        self.named(second.replid)
    }
}

fn as_slices(words: &[Vec<u8>]) -> Vec<&[u8]> {
    words.iter().map(Vec::as_slice).collect()
}

#[cfg(test)]
mod tests {
    use super::super::scenario::Fault;
    use super::super::search::try_run;
    use super::*;

    /// Seeds that once found a fault of the server, each with what it was.
    const FOUND: &[(u64, &str)] = &[
        (
            30_009_607,
            "a shutdown whose log could not be closed let a unit that nobody was told of take the place of acknowledged ones \
             in the ring",
        ),
        (
            20_050_084,
            "what waited for the ring while the log was switched off stood in that log, and was written a second time into \
             the segment behind it: a log that went further than the stream",
        ),
        (
            309,
            "a clean shutdown of a spill fsynced the log before its last mark, not after it: a power cut took the mark, and \
             the next start refused the directory",
        ),
        (
            2291,
            "CONFIG SET appendonly yes went on behind a spill that no fsync had covered, and the first fsync of the new \
             segment called all of it durable",
        ),
        (
            3191,
            "a start after a failed write could not write the base that is due, and the next start forgot what the ring held \
             of a history born empty, as the log now began behind it",
        ),
        (
            8617,
            "a killed rewrite left the new manifest in the page cache, a start relied on it, a power cut brought the old one \
             back, and the next start refused the log for the base that it did not name",
        ),
        (
            11601,
            "a power cut took the sector in which the synced part of the log ends and left the next one: with fewer than 64 \
             bytes between, the tail was called damaged and refused",
        ),
        (
            20415,
            "likewise where the kernel had written an older state of that sector: it ends in zeros, though it does not begin \
             with them",
        ),
        (
            20266,
            "the ring was told to forget its log before its last block was summed up again: the header that said so sealed \
             nothing",
        ),
        (
            106606,
            "a segment that a power cut had brought back outlived the manifest when the log was given up, and the next start \
             asked for the manifest that named it",
        ),
        (
            11690,
            "a start set a log aside that the backlog asked for, and a power cut came before the backlog was made anew: the \
             next start refused for the log that was gone",
        ),
        (
            100264,
            "a spill that could not be opened once was never tried again when a save had made it needless: writes were \
             refused for ever, on a disk that worked",
        ),
        (
            104644,
            "CONFIG SET appendonly yes while a spill could not be opened: all since the last base was lost",
        ),
        (
            302341,
            "a start that found the bytes before a segment lost forgot that segment in the manifest and died before it set it \
             aside: the next start refused for it",
        ),
        (
            200380,
            "a cancelled rewrite placed its base under a log begun elsewhere since, and a start set that log's \
             directory aside with the base in it: the second start asked for the base",
        ),
        (
            200620,
            "CONFIG SET of save points with something that is refused: the setting came back, and nothing was kept \
             any more",
        ),
        (
            201500,
            "CONFIG SET appendonly no after a failed write, before it was known what the log had taken: what followed \
             led on from nothing",
        ),
        (
            202716,
            "CONFIG SET appendonly no with something that is refused: the setting came back, the log did not",
        ),
        (204060, "likewise, and a spill passed for the log: nothing was fsynced"),
        (
            204340,
            "CONFIG SET appendonly no on a full disk: the reply to a unit larger than the ring left, though neither \
             log nor ring held it",
        ),
        (
            206466,
            "a resize that a clean end cut short left one of two rings on the medium, and the next start refused for \
             the bytes in the other",
        ),
        (
            201584,
            "a log ended on a full disk without a unit larger than the ring, and the reply to it left before a base \
             held it",
        ),
        (300988, "likewise, with the snapshot that was due put off by another fault"),
        (
            213740,
            "the end of a resize, while a log was on its way out, counted as a gap behind the place where that log \
             had begun; the log that began anew was noted in the ring, and a power cut later the one of before was \
             refused for not being it",
        ),
        (
            401656,
            "a log that began behind such a gap after a failed write was called durable before it had a base",
        ),
        (404424, "a write behind such a gap was acknowledged before a base held it"),
        (
            407465,
            "FLUSHALL's reply, which waits for a snapshot, did not wait for the log that had failed meanwhile",
        ),
    ];

    /// The process ends between an fsync of the log that fails and the record of it: the next start finds pages that read
    /// well and are on no medium, and calls them durable only when they are.
    #[test]
    fn a_failed_fsync_that_nobody_recorded() {
        for (fsync, power) in [("always", 0), ("everysec", 0), ("no", 0), ("everysec", 11), ("everysec", 12)]
        {
            let setup = Setup { appendonly: true, fsync, save: false, ring: 16384, rest: String::new() };
            let set = |n: u8| Step::Send(0, vec![b"SET".to_vec(), vec![b'k', n], vec![b'v'; 3000]]);
            let fails = Fault { call: "fdatasync", path: "incr", full: false, times: 1 };
            let mut steps: Vec<Step> =
                (0..9).flat_map(|n| [set(n), Step::Log(true), Step::Time(1100)]).collect();
            steps.extend([Step::Fails(fails), set(9), Step::Log(true), Step::Time(1100), Step::Log(true)]);
            steps.extend([Step::Crash(Crash::kill()), set(10), Step::Crash(Crash::power(power))]);
            let scenario = Scenario { seed: 1, setup, steps };
            let outcome = try_run(&scenario, None);
            assert!(outcome.is_ok(), "{fsync} {power}: {outcome:?}");
        }
    }

    /// A full disk, and the log ends without a unit larger than the ring: writes are refused until a base holds it, or until
    /// nothing is to be kept any more.
    #[test]
    fn what_nothing_holds_is_not_waited_for_when_nothing_is_kept() {
        let setup = Setup { appendonly: true, fsync: "always", save: true, ring: 16384, rest: String::new() };
        let send = |client, words: &[&str]| {
            Step::Send(client, words.iter().map(|word| word.as_bytes().to_vec()).collect())
        };
        let value = "v".repeat(16300);
        let steps = vec![
            Step::Space(Some(0)),
            send(0, &["SET", "large", &value]),
            Step::Log(false),
            send(1, &["CONFIG", "SET", "appendonly", "no"]),
            Step::Thread,
            send(2, &["CONFIG", "SET", "save", ""]),
            Step::Space(None),
            Step::Settle,
            send(2, &["SET", "small", "v"]),
            Step::Crash(Crash::kill()),
        ];
        let outcome = try_run(&Scenario { seed: 1, setup, steps }, None);
        assert!(outcome.is_ok(), "{outcome:?}");
    }

    /// The same, and the server is told to end without a save: what was never acknowledged may go, but that was no clean end.
    #[test]
    fn an_end_without_what_nothing_holds_is_not_clean() {
        let setup =
            Setup { appendonly: true, fsync: "everysec", save: true, ring: 16384, rest: String::new() };
        let send = |client, words: &[&str]| {
            Step::Send(client, words.iter().map(|word| word.as_bytes().to_vec()).collect())
        };
        let steps = vec![
            send(0, &["CONFIG", "SET", "appendonly", "no"]),
            Step::Space(Some(300)),
            send(1, &["SET", "large", &"v".repeat(21616)]),
            Step::Thread,
            Step::Thread,
            Step::Shutdown(Some(false), Crash::kill()),
        ];
        let mut timeline = Vec::new();
        let outcome = try_run(&Scenario { seed: 1, setup, steps }, Some(&mut timeline));
        assert!(outcome.is_ok(), "{outcome:?}");
        assert!(timeline.iter().any(|line| line.contains("exit code Some(1)")), "{timeline:#?}");
    }

    #[test]
    fn what_was_found_stays_mended() {
        for (seed, story) in FOUND {
            let outcome = try_run(&Scenario::generate(*seed), None);
            assert!(outcome.is_ok(), "seed {seed}: {story}: {outcome:?}");
        }
    }

    #[test]
    fn a_run_follows_from_its_seed() {
        for seed in 1..20 {
            let scenario = Scenario::generate(seed);
            let [first, second] = [(); 2].map(|()| {
                let mut timeline = Vec::new();
                let outcome = try_run(&scenario, Some(&mut timeline));
                // How long something took is the only thing that differs.
                timeline.retain(|line| !line.contains(" seconds") && !line.contains(" ms"));
                (outcome, timeline)
            });
            assert_eq!(first, second, "seed {seed}");
        }
    }
}
