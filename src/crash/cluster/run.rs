//! Runs a scenario of several servers and judges it.
//!
//! | promise | check |
//! |---|---|
//! | P1, P2, P5 | after each recovery, as with one server ([`super::machine`]) |
//! | P3 | whoever stands at a name and an offset has the same stream as all who ever stood there, and the same data ([`super::truth`]) |
//! | P3, P4, P6 | each answer to PSYNC ([`super::verdict`]) |
//! | P3 | with `appendfsync always` nobody was sent what its primary's power cut takes |
//! | P3 | a full sync brings the data that its sender's stream leads to |
//! | – | WAIT counts no replica that never had the write |
//! | – | when all is well and quiet, replicas are where their primaries are |
//!
//! A process that dies in the middle of something has told nobody of what came after: what it has sent since it last was
//! seen alive is taken back ([`super::net::Net::retract`]).

use std::collections::HashMap;
use std::time::Duration;

use super::super::scenario::Fault;
use super::super::sim::{Tally, Violation};
use super::super::world::World;
use super::machine::{Machine, Verdict};
use super::net::{Net, host};
use super::scenario::{Follows, Scenario, Step};
use super::truth::Truth;
use super::verdict::Asked;
use crate::server::persist::{Cut, Seen};

/// Time passes in pieces of this, where everything gets on; of the second where it is long.
const SLICE: Duration = Duration::from_millis(100);
const LONG_SLICE: Duration = Duration::from_millis(250);
/// Rounds in which machines get on without time passing.
const ROUNDS: usize = 12;
const ALL: usize = 1 << 30;

pub(super) struct Runner<'a> {
    pub machines: Vec<Machine>,
    pub net: Net,
    pub truth: Truth,
    /// When something of the first machine last arrived at the second (Unix microseconds).
    pub heard: HashMap<(usize, usize), i64>,
    tally: Tally,
    timeline: Option<&'a mut Vec<String>>,
}

/// Runs a scenario. With a timeline every step and every line of the servers' logs is told.
pub fn run(scenario: &Scenario, timeline: Option<&mut Vec<String>>) -> Result<Tally, Violation> {
    let at_start = |what| Violation { promise: "–", what, step: 0 };
    let violation = |step| move |(promise, what)| Violation { promise, what, step };
    let mut machines: Vec<Machine> = Vec::new();
    for (n, setup) in scenario.setups.iter().enumerate() {
        let world = match machines.first() {
            None => World::new(scenario.seed, &setup.options()),
            Some(first) => first.world.beside(n, &setup.options()),
        };
        machines.push(Machine::new(world.map_err(at_start)?, setup.clone()));
    }
    if timeline.is_some() {
        machines.iter().take(1).for_each(|first| first.world.stage.keep_lines());
    }
    let net = Net::new(machines.len());
    let (truth, heard, tally) = (Truth::default(), HashMap::new(), Tally::default());
    let mut runner = Runner { machines, net, truth, heard, tally, timeline };
    for n in 0..runner.machines.len() {
        let options = scenario.setups[n].options();
        runner.tell(|| format!("{}: {}", host(n), options.trim_end().replace('\n', "; ")));
        runner.up(n, Follows::AsBefore).map_err(violation(0))?;
    }
    for (n, step) in scenario.steps.iter().enumerate() {
        let done = runner.step(step);
        runner.tell_lines();
        done.map_err(violation(n))?;
    }
    Ok(runner.tally)
}

impl Runner<'_> {
    pub(super) fn tell(&mut self, text: impl FnOnce() -> String) {
        if let Some(timeline) = &mut self.timeline {
            timeline.push(text());
        }
    }

    fn tell_lines(&mut self) {
        if self.timeline.is_none() {
            return;
        }
        for n in 0..self.machines.len() {
            for line in self.machines[n].world.lines() {
                self.tell(|| format!("      {} | {line}", host(n)));
            }
        }
    }

    pub(super) fn all(&self) -> std::ops::Range<usize> {
        0..self.machines.len()
    }

    pub(super) fn is_live(&self, n: usize) -> bool {
        self.machines.get(n).is_some_and(|machine| machine.world.is_live())
    }

    fn step(&mut self, step: &Step) -> Verdict {
        self.tell(|| format!("- {step}"));
        match step {
            Step::Send(n, client, words) => self.send((*n).into(), *client, words),
            Step::Log(n, sync) => self.on(*n, |world| world.log_works(*sync)),
            Step::Thread(n) => self.on(*n, |world| {
                world.one_thread_is_first();
            }),
            Step::Time(ms) => self.time_passes(Duration::from_millis((*ms).into())),
            Step::Move(pick, bytes) => {
                self.connect();
                self.move_one((*pick).into(), *bytes as usize).map(drop)
            }
            Step::Flow(piece) => self.flow(*piece as usize).map(drop),
            Step::Live(ms) => self.live(Duration::from_millis((*ms).into())),
            Step::Cut(pick, learns) => {
                if let Some([caller, called]) = self.net.cut((*pick).into(), *learns) {
                    self.tell(|| format!("      (between {} and {})", host(caller), host(called)));
                }
                self.all().try_for_each(|n| self.turn(n))
            }
            Step::Part(a, b) => {
                self.net.part((*a).into(), (*b).into());
                Ok(())
            }
            Step::Heal => {
                self.net.heal();
                Ok(())
            }
            Step::WriteBack(n, seed) => self.on(*n, |world| world.disk.write_back(*seed)),
            Step::Fails(n, fault) => self.trouble(*n, |world| world.disk.fail(fault.on_disk())),
            Step::Space(n, bytes) => {
                self.trouble(*n, |world| world.disk.set_free_space(bytes.map(u64::from)))
            }
            Step::DieIn(n, steps) => self.on(*n, |world| world.disk.fail_from((*steps).into())),
            Step::Down(n, power) => self.down((*n).into(), *power),
            Step::Up(n, follows) => self.up((*n).into(), *follows),
            Step::UpDying(n, steps, power) => self.up_dying((*n).into(), *steps, *power),
            Step::UpFailing(n, fault) => self.up_failing((*n).into(), fault),
            Step::Shutdown(n, save) => self.shut_down((*n).into(), *save),
            Step::Compare => self.compare(),
            Step::Quiet => self.quiet(),
        }
    }

    // ---- machines get on ----

    /// Does something with a machine that runs, and takes in what came of it.
    fn on(&mut self, n: u8, act: impl FnOnce(&mut World)) -> Verdict {
        let n = usize::from(n);
        if !self.is_live(n) {
            return Ok(());
        }
        act(&mut self.machines[n].world);
        self.observe(n)?;
        self.turn(n)
    }

    /// A machine's disk fails from here on, or not any more.
    fn trouble(&mut self, n: u8, act: impl FnOnce(&mut World)) -> Verdict {
        if let Some(machine) = self.machines.get_mut(usize::from(n)) {
            machine.was_troubled = true;
        }
        self.on(n, act)
    }

    /// The machine's event loop gets on.
    fn turn(&mut self, n: usize) -> Verdict {
        if !self.is_live(n) {
            return Ok(());
        }
        self.machines[n].world.run_tasks();
        self.machines[n].world.hear();
        self.observe(n)
    }

    pub(super) fn send(&mut self, n: usize, client: u8, words: &[Vec<u8>]) -> Verdict {
        if !self.is_live(n) {
            return Ok(());
        }
        let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
        self.tally.commands += u64::from(self.machines[n].world.send(client.into(), &words));
        self.observe(n)?;
        self.turn(n)
    }

    fn time_passes(&mut self, by: Duration) -> Verdict {
        if let Some(first) = self.machines.first() {
            first.world.clock_goes_on(by);
        }
        for n in self.all() {
            if self.is_live(n) {
                self.machines[n].world.strike();
                self.observe(n)?;
            }
        }
        Ok(())
    }

    /// Everything gets on for a while.
    pub(super) fn live(&mut self, by: Duration) -> Verdict {
        let mut left = by;
        while !left.is_zero() {
            let slice = left.min(if by > 4 * SLICE { LONG_SLICE } else { SLICE });
            left -= slice;
            self.time_passes(slice)?;
            self.get_on()?;
        }
        Ok(())
    }

    /// Everything gets on that can without time passing.
    fn get_on(&mut self) -> Verdict {
        for _ in 0..ROUNDS {
            let mut moved = false;
            for n in self.all().filter(|n| self.is_live(*n)).collect::<Vec<_>>() {
                self.machines[n].world.log_works(true);
                self.observe(n)?;
                while self.is_live(n) && self.machines[n].world.one_thread_works().is_some() {
                    moved = true;
                    self.observe(n)?;
                }
                self.turn(n)?;
            }
            moved |= self.flow(ALL)?;
            if !moved {
                break;
            }
        }
        Ok(())
    }

    // ---- the network ----

    fn connect(&mut self) -> bool {
        let Runner { net, machines, .. } = self;
        net.connect(|to, pipe, from| machines[to].world.accept(pipe, format!("{}:1", host(from))))
    }

    /// All that is under way arrives, and what is sent in answer; whether there was anything.
    fn flow(&mut self, piece: usize) -> Result<bool, (&'static str, String)> {
        let mut any = false;
        for _ in 0..ROUNDS {
            let mut moved = self.connect();
            for n in self.all() {
                self.turn(n)?;
            }
            let mut pieces = 0;
            while self.net.count_busy() > 0 && pieces < 4096 {
                moved = true;
                pieces += 1;
                self.move_one(pieces, piece)?;
            }
            any |= moved;
            if !moved {
                break;
            }
        }
        Ok(any)
    }

    /// One piece arrives, and who gets it acts on it.
    fn move_one(&mut self, pick: usize, bytes: usize) -> Result<bool, (&'static str, String)> {
        let Some(arrival) = self.net.move_one(pick, bytes) else { return Ok(false) };
        let (from, to) = (arrival.from, arrival.to);
        self.heard.insert((from, to), self.machines[to].world.stage.now());
        let asked = (arrival.asks && self.is_live(from) && self.is_live(to))
            .then(|| Asked::before(&self.machines[from], &self.machines[to]));
        self.turn(to)?;
        if let Some(asked) = asked.filter(|_| self.is_live(from) && self.is_live(to)) {
            let told = asked.judge(&self.machines[from], &self.machines[to]);
            let told =
                told.map_err(|(promise, what)| (promise, format!("{} at {}: {what}", host(from), host(to))))?;
            if let Some(answer) = told {
                self.tell(|| format!("      ({} asks {}: {answer})", host(from), host(to)));
            }
        }
        Ok(true)
    }

    // ---- what is seen ----

    /// Takes in what a machine did.
    fn observe(&mut self, n: usize) -> Verdict {
        let in_place = |(promise, what)| (promise, format!("{}: {what}", host(n)));
        self.learn(n).map_err(in_place)?;
        if self.machines[n].world.disk.is_dead() {
            return self.died(n);
        }
        self.net.stands_by(n);
        if !self.is_live(n) {
            return Ok(());
        }
        let answers = self.machines[n].world.answers();
        self.learn(n).map_err(in_place)?;
        if self.machines[n].world.disk.is_dead() {
            return self.died(n); // in the middle of that: nobody was answered
        }
        for answer in answers {
            self.answered(n, &answer)?;
        }
        self.machines[n].heed().map_err(in_place)?;
        match self.machines[n].world.exit_code() {
            Some(code) => self.gave_up(n, code),
            None => Ok(()),
        }
    }

    /// The process has ended itself.
    fn gave_up(&mut self, n: usize, code: i32) -> Verdict {
        self.tell(|| format!("      ({} ends with {code})", host(n)));
        if !self.machines[n].was_troubled {
            return Err(("–", format!("{} ends with {code} for no reason", host(n))));
        }
        self.down(n, None)
    }

    fn died(&mut self, n: usize) -> Verdict {
        self.tell(|| format!("      ({} is dead)", host(n)));
        self.net.retract(n);
        self.tally.deaths += 1;
        self.down(n, None)
    }

    fn learn(&mut self, n: usize) -> Verdict {
        let seen = self.machines[n].seen();
        self.take_in(n, seen)
    }

    fn take_in(&mut self, n: usize, seen: Vec<Seen>) -> Verdict {
        for seen in seen {
            match seen {
                Seen::Units(units, end) => self.machines[n].took(&units, end, &mut self.truth)?,
                Seen::Named(name) => self.machines[n].renamed(name, &mut self.truth)?,
                Seen::Replaced(cut) => self.replaced(n, cut)?,
            }
        }
        Ok(())
    }

    fn replaced(&mut self, n: usize, cut: Cut) -> Verdict {
        let Some(sum) = self.truth.sum_at(cut.replid, cut.offset) else {
            let what = format!("was given {}:{}, where nobody ever stood", cut.replid, cut.offset);
            return Err(("P3", what));
        };
        let state = self.machines.iter_mut().find_map(|machine| machine.state_at(cut.offset, sum));
        self.tally.syncs += 1;
        self.machines[n].replaced(cut, sum, state);
        Ok(())
    }

    pub(super) fn compare(&mut self) -> Verdict {
        for n in self.all() {
            let compared = self.machines[n].compare(&mut self.truth);
            compared.map_err(|(promise, what)| (promise, format!("{}: {what}", host(n))))?;
        }
        Ok(())
    }

    // ---- processes end and start ----

    fn down(&mut self, n: usize, power: Option<u64>) -> Verdict {
        if !self.is_live(n) {
            return Ok(());
        }
        self.learn(n)?;
        self.net.ends(n, power.is_some());
        self.tally.disk_steps += self.machines[n].world.disk.steps();
        self.machines[n].end_process(power);
        Ok(())
    }

    pub(super) fn up(&mut self, n: usize, follows: Follows) -> Verdict {
        if n >= self.machines.len() || self.is_live(n) {
            return Ok(());
        }
        self.tally.cycles += 1;
        let in_place = |(promise, what)| (promise, format!("{}: {what}", host(n)));
        let started = self.machines[n].start(follows);
        self.tell_lines();
        let started = started.map_err(in_place)?;
        self.tell(|| format!("      ({} serves as {} at {})", host(n), started.replid, started.end));
        if let Some(cut) = self.machines[n].adopted(&started, &self.truth) {
            self.tell(|| format!("      ({} has taken over {}:{})", host(n), cut.replid, cut.offset));
            self.replaced(n, cut).map_err(in_place)?;
        }
        for other in self.all().filter(|other| *other != n) {
            self.machines[n].judge_lead(&self.machines[other], started.end).map_err(in_place)?;
        }
        self.machines[n].recovered(&started, &mut self.truth).map_err(in_place)?;
        self.net.listens(n);
        self.observe(n)
    }

    fn up_dying(&mut self, n: usize, steps: u32, power: Option<u64>) -> Verdict {
        if n >= self.machines.len() || self.is_live(n) {
            return Ok(());
        }
        self.tally.cycles += 1;
        let started = self.machines[n].start_dying(steps, power);
        self.net.ends(n, power.is_some());
        started.map_err(|(promise, what)| (promise, format!("{}: {what}", host(n))))
    }

    fn up_failing(&mut self, n: usize, fault: &Fault) -> Verdict {
        if n >= self.machines.len() || self.is_live(n) {
            return Ok(());
        }
        self.tally.cycles += 1;
        let refused = self.machines[n].start_failing(fault);
        self.tell_lines();
        self.tell(|| format!("      (with faults: {refused:?})"));
        self.net.ends(n, false);
        Ok(())
    }

    fn shut_down(&mut self, n: usize, save: Option<bool>) -> Verdict {
        if !self.is_live(n) {
            return Ok(());
        }
        let (code, seen) = self.machines[n].world.shut_down(save);
        self.tell_lines();
        self.tell(|| format!("      (exit code {code:?})"));
        let died = self.machines[n].world.disk.is_dead();
        if died {
            self.net.retract(n);
        }
        self.take_in(n, seen)?;
        self.machines[n].shut_down(code == Some(0) && !died);
        self.net.ends(n, false);
        self.machines[n].end_process(None);
        Ok(())
    }
}
