//! Runs a scenario of several servers and judges it.
//!
//! | promise | check |
//! |---|---|
//! | P1, P2, P5 | after each recovery, as with one server ([`super::machine`]) |
//! | P3 | whoever stands at a name and an offset has the same stream as all who ever stood there, and the same data ([`super::truth`]) |
//! | P3, P4, P6 | each answer to PSYNC ([`super::verdict`]) |
//! | P3 | a full sync brings the data that its sender's stream leads to |
//! | – | WAIT counts no replica that never had the write |
//! | – | when all is well and quiet, replicas are where their primaries are |
//!
//! A process that dies in the middle of something has told nobody of what came after: what it has sent since it last was
//! seen alive is taken back ([`super::net::Net::retract`]).

use std::time::Duration;

use super::super::scenario::shown;
use super::super::search::Story;
use super::super::sim::{Tally, Violation};
use super::super::world::{Answer, World};
use super::machine::{Machine, Verdict};
use super::net::{Net, host};
use super::scenario::{Follows, OPERATOR, Scenario, Step, replicaof};
use super::truth::Truth;
use super::verdict::Asked;
use crate::server::persist::{Cut, Seen};
use crate::state::LinkState;

/// Time passes in pieces of this, where everything gets on.
const SLICE: Duration = Duration::from_millis(100);
/// Rounds in which machines get on without time passing.
const ROUNDS: usize = 12;
/// Half-seconds until replicas must have found their primaries.
const PATIENCE: usize = 80;
/// After so many of them the operator repeats his order where a replica was refused.
const REFUSED: usize = 8;
const ALL: usize = 1 << 30;

impl Story for Scenario {
    type Step = Step;
    fn seed(&self) -> u64 {
        self.seed
    }
    fn steps(&mut self) -> &mut Vec<Step> {
        &mut self.steps
    }
    fn play(&self, timeline: Option<&mut Vec<String>>) -> Result<Tally, Violation> {
        run(self, timeline)
    }
    fn simpler(step: &Step) -> Vec<Step> {
        match step {
            Step::Down(n, Some(_)) => {
                vec![Step::Down(*n, None), Step::Down(*n, Some(8)), Step::Down(*n, Some(9))]
            }
            Step::UpDying(n, steps, Some(_)) => vec![Step::UpDying(*n, *steps, None)],
            Step::Shutdown(n, _) => vec![Step::Down(*n, None), Step::Shutdown(*n, None)],
            Step::Up(n, _) => vec![Step::Up(*n, Follows::AsBefore)],
            Step::Flow(_) => vec![Step::Flow(1 << 20)],
            Step::Move(_, bytes) => vec![Step::Move(0, *bytes), Step::Move(0, 1 << 20)],
            _ => Vec::new(),
        }
    }
}

struct Runner<'a> {
    machines: Vec<Machine>,
    net: Net,
    truth: Truth,
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
    let mut runner = Runner { machines, net, truth: Truth::default(), tally: Tally::default(), timeline };
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
    fn tell(&mut self, text: impl FnOnce() -> String) {
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

    fn all(&self) -> std::ops::Range<usize> {
        0..self.machines.len()
    }

    fn is_live(&self, n: usize) -> bool {
        self.machines.get(n).is_some_and(|machine| machine.world.is_live())
    }

    fn step(&mut self, step: &Step) -> Verdict {
        self.tell(|| format!("- {step}"));
        match step {
            Step::Send(n, client, words) => self.send((*n).into(), *client, words),
            Step::Log(n, sync) => self.on(*n, |world| world.log_works(*sync)),
            Step::Thread(n) => self.on(*n, |world| {
                world.one_thread_works();
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
            Step::DieIn(n, steps) => self.on(*n, |world| world.disk.fail_from((*steps).into())),
            Step::Down(n, power) => self.down((*n).into(), *power),
            Step::Up(n, follows) => self.up((*n).into(), *follows),
            Step::UpDying(n, steps, power) => self.up_dying((*n).into(), *steps, *power),
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

    /// The machine's event loop gets on.
    fn turn(&mut self, n: usize) -> Verdict {
        if !self.is_live(n) {
            return Ok(());
        }
        self.machines[n].world.run_tasks();
        self.machines[n].world.hear();
        self.observe(n)
    }

    fn send(&mut self, n: usize, client: u8, words: &[Vec<u8>]) -> Verdict {
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
    fn live(&mut self, by: Duration) -> Verdict {
        let mut left = by;
        while !left.is_zero() {
            let slice = left.min(SLICE);
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
        self.machines[n].heed().map_err(in_place)
    }

    fn died(&mut self, n: usize) -> Verdict {
        self.tell(|| format!("      ({} is dead)", host(n)));
        self.net.retract(n);
        self.tally.deaths += 1;
        self.down(n, None)
    }

    fn learn(&mut self, n: usize) -> Verdict {
        for seen in self.machines[n].seen() {
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

    fn answered(&mut self, n: usize, answer: &Answer) -> Verdict {
        self.tell(|| {
            let reply = shown(std::slice::from_ref(&answer.reply)).replace("\r\n", " ");
            let wrote = answer.wrote().map(|end| format!(" (stream to {end})")).unwrap_or_default();
            format!("      {} {} -> {reply}{wrote}", host(n), shown(&answer.asked.words[..1]))
        });
        if let Some(end) = answer.wrote() {
            // PUBLISH promises nothing of the medium (rule 25).
            self.machines[n].acknowledged(end, answer.asked.data.filter(|_| answer.synced));
        }
        match answer.asked.words.first().map(Vec::as_slice) {
            Some(b"WAIT") => self.judge_wait(n, answer),
            Some(b"WAITAOF") => self.judge_waitaof(n, answer),
            _ => Ok(()),
        }
    }

    /// Who had all of that on the medium? If this server says that it has, that is a promise.
    fn judge_waitaof(&mut self, n: usize, answer: &Answer) -> Verdict {
        let text = String::from_utf8_lossy(&answer.reply);
        let numbers: Option<Vec<usize>> = text.strip_prefix("*2\r\n").map(|text| {
            text.split_terminator("\r\n").filter_map(|n| n.strip_prefix(':')?.parse().ok()).collect()
        });
        let (Some(&[local, told]), Some(at)) = (numbers.as_deref(), answer.asked.wrote) else {
            return Ok(());
        };
        let others = self.all().filter(|other| *other != n);
        let had = others.filter(|other| self.machines[*other].ever_synced(&self.machines[n], at)).count();
        if told > had {
            let what = format!(
                "{}: WAITAOF counts {told} replicas, though {had} ever had the log up to {at} synced",
                host(n)
            );
            return Err(("P1", what));
        }
        if local > 0 {
            self.machines[n].acknowledged(at, Some(at));
        }
        Ok(())
    }

    /// Who had all that the client wrote?
    fn judge_wait(&self, n: usize, answer: &Answer) -> Verdict {
        let text = String::from_utf8_lossy(&answer.reply);
        let Some(told) = text.strip_prefix(':').and_then(|text| text.trim_end().parse::<usize>().ok()) else {
            return Ok(());
        };
        let Some(at) = answer.asked.wrote else { return Ok(()) };
        let others = self.all().filter(|other| *other != n);
        let had = others.filter(|other| self.machines[*other].ever_had(&self.machines[n], at)).count();
        if told > had {
            let what = format!(
                "{}: WAIT counts {told} replicas, though {had} ever had the stream up to {at}",
                host(n)
            );
            return Err(("P1", what));
        }
        Ok(())
    }

    fn compare(&mut self) -> Verdict {
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

    fn up(&mut self, n: usize, follows: Follows) -> Verdict {
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

    fn shut_down(&mut self, n: usize, save: Option<bool>) -> Verdict {
        if !self.is_live(n) {
            return Ok(());
        }
        let (code, appended) = self.machines[n].world.shut_down(save);
        self.tell_lines();
        self.tell(|| format!("      (exit code {code:?})"));
        let died = self.machines[n].world.disk.is_dead();
        if died {
            self.net.retract(n);
        }
        let Runner { machines, truth, .. } = self;
        machines[n].shut_down(appended, code == Some(0) && !died, truth)?;
        self.net.ends(n, false);
        self.machines[n].end_process(None);
        Ok(())
    }

    // ---- quiet ----

    /// Faults end, and time passes until replicas are where their primaries are.
    fn quiet(&mut self) -> Verdict {
        self.net.heal();
        for n in self.all() {
            self.machines[n].world.disk.live_on();
            self.up(n, Follows::AsBefore)?;
        }
        for round in 0..PATIENCE {
            self.live(Duration::from_millis(500))?;
            for n in self.all() {
                self.up(n, Follows::AsBefore)?;
            }
            let behind = self.behind();
            if behind.is_empty() {
                return self.compare();
            }
            if round % REFUSED == REFUSED - 1 {
                self.obey_again(&behind)?;
            }
        }
        let told: Vec<String> =
            self.behind().into_iter().map(|(n, _, why)| format!("{}: {why}", host(n))).collect();
        Err(("–", format!("when all is quiet, replicas do not find their primaries: {}", told.join("; "))))
    }

    /// Replicas that are not where their primary is, with that and why.
    fn behind(&self) -> Vec<(usize, usize, String)> {
        let mut behind = Vec::new();
        for n in self.all() {
            let Some(root) = self.root_of(n).filter(|root| *root != n) else { continue };
            let (mine, theirs) = (&self.machines[n], &self.machines[root]);
            if (mine.name, mine.end(), mine.sum()) == (theirs.name, theirs.end(), theirs.sum()) {
                continue;
            }
            let link = self.machines[n].world.look(|node| {
                let upstream = node.server.upstream();
                upstream.map(|to| (to.host.clone(), to.link, to.trouble.clone()))
            });
            if let Some(Some((to, link, trouble))) = link
                && let Some(to) = self.all().find(|other| host(*other) == to)
            {
                let why = format!(
                    "at {}:{} instead of {}:{} of {}, link {}, {}",
                    mine.name,
                    mine.end(),
                    theirs.name,
                    theirs.end(),
                    host(root),
                    link.word(),
                    trouble.unwrap_or_default()
                );
                let refused = link != LinkState::Connected;
                behind.push((n, if refused { to } else { usize::MAX }, why));
            }
        }
        behind
    }

    /// The primary at the end of the chain that a machine follows; `None` if they follow each other.
    fn root_of(&self, n: usize) -> Option<usize> {
        let mut at = n;
        for _ in self.all() {
            let upstream =
                self.machines[at].world.look(|node| node.server.upstream().map(|to| to.host.clone()))?;
            match upstream {
                None => return Some(at),
                Some(to) => at = self.all().find(|other| host(*other) == to)?,
            }
        }
        None
    }

    /// A replica that is refused goes on only when the operator says that its data may go.
    fn obey_again(&mut self, behind: &[(usize, usize, String)]) -> Verdict {
        for (n, to, _) in behind.iter().filter(|(_, to, _)| *to != usize::MAX) {
            self.send(*n, OPERATOR, &replicaof(u8::try_from(*to).ok()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::scenario::{Setup, words};
    use super::super::super::search::try_run;
    use super::*;

    fn setup(appendonly: bool, fsync: &'static str) -> Setup {
        let rest = "repl-timeout 5\nrepl-ping-replica-period 1\nrepl-diskless-sync-delay 0\n".into();
        Setup { appendonly, fsync, save: true, ring: 16384, rest }
    }

    /// node1 follows node0, and has its data.
    fn replicated(setups: [Setup; 2], then: impl IntoIterator<Item = Step>) -> Scenario {
        let first = [Step::Send(1, OPERATOR, replicaof(Some(0))), Step::Live(2000)];
        Scenario { seed: 1, setups: setups.to_vec(), steps: first.into_iter().chain(then).collect() }
    }

    fn set(n: u8, text: &str) -> Step {
        Step::Send(n, 0, words(text))
    }

    #[test]
    fn a_replica_comes_back_by_partial_resync_whoever_was_killed() {
        for (down, power) in [(0, None), (1, None), (0, Some(9)), (1, Some(9))] {
            let steps = [
                set(0, "SET a 1"),
                Step::Live(300),
                Step::Down(down, power),
                set(0, "SET b 2"),
                Step::Live(1100),
                Step::Up(down, Follows::AsBefore),
                set(0, "SET c 3"),
                Step::Quiet,
            ];
            let scenario = replicated([setup(true, "always"), setup(true, "everysec")], steps);
            let mut timeline = Vec::new();
            let tally = try_run(&scenario, Some(&mut timeline)).unwrap();
            assert_eq!(tally.syncs, 1, "{timeline:#?}");
            assert!(timeline.iter().any(|line| line.contains("node1 asks node0: continue")), "{timeline:#?}");
        }
    }

    #[test]
    fn a_promoted_replica_takes_the_old_primary_back() {
        let steps = [
            set(0, "SET a 1"),
            Step::Live(300),
            Step::Down(0, None),
            Step::Send(1, OPERATOR, replicaof(None)),
            Step::Live(300),
            set(1, "SET b 2"),
            Step::Up(0, Follows::Machine(1)),
            Step::Quiet,
        ];
        let mut timeline = Vec::new();
        let scenario = replicated([setup(true, "always"), setup(true, "always")], steps);
        assert_eq!(try_run(&scenario, Some(&mut timeline)).map(|tally| tally.syncs), Ok(1), "{timeline:#?}");
        assert!(timeline.iter().any(|line| line.contains("node0 asks node1: continue")), "{timeline:#?}");
    }

    /// What once was a fault of the server, made small.
    #[test]
    fn what_was_found_stays_mended() {
        let check = |story: &str, scenario: Scenario| {
            let outcome = try_run(&scenario, None);
            assert!(outcome.is_ok(), "{story}: {outcome:?}");
        };
        check(
            "a power cut took a name from the ring and left it in replication.toml; what a replica then appended stood under \
             the name of before, and the next kill -9 lost it",
            replicated(
                [setup(false, "no"), setup(false, "no")],
                [
                    Step::Down(0, None),
                    Step::Down(1, None),
                    Step::Quiet,
                    Step::Down(1, Some(8)),
                    Step::Quiet,
                    set(0, "SET a 1"),
                    Step::Flow(1 << 20),
                    Step::Down(1, None),
                    Step::Quiet,
                ],
            ),
        );
        check(
            "a power cut took from a promoted server more than it had taken in since, and its second start from there let a \
             replica that held the rest copy it, as if the promotion had parted them",
            replicated(
                [setup(false, "no"), setup(false, "no")],
                [
                    set(0, "SET a 1"),
                    Step::Live(300),
                    Step::Send(1, OPERATOR, replicaof(None)),
                    Step::Live(300),
                    Step::Down(1, Some(8)),
                    Step::Up(1, Follows::AsBefore),
                    Step::Shutdown(1, None),
                    Step::Send(0, OPERATOR, replicaof(Some(1))),
                    Step::Live(1100),
                    Step::Quiet,
                ],
            ),
        );
        check(
            "WAIT counted a replica twice that came back while its old connection seemed to be there",
            replicated(
                [setup(true, "always"), setup(true, "always")],
                [
                    set(0, "SET a 1"),
                    Step::Live(300),
                    Step::Down(1, Some(9)),
                    Step::Up(1, Follows::AsBefore),
                    Step::Live(300),
                    set(0, "WAIT 2 50"),
                    Step::Live(100),
                ],
            ),
        );
    }

    #[test]
    fn a_run_follows_from_its_seed() {
        for seed in 1..10 {
            let scenario = Scenario::generate(seed, 2 + (seed % 3) as u8);
            let [first, second] = [(); 2].map(|()| {
                let mut timeline = Vec::new();
                let outcome = try_run(&scenario, Some(&mut timeline));
                // How long something took is the only thing that differs.
                timeline.retain(|line| !line.contains(" seconds") && !line.contains(" ms"));
                (outcome, timeline)
            });
            assert_eq!(first, second, "seed {seed}");
            assert!(first.0.is_ok(), "seed {seed}: {:?}", first.0);
        }
    }
}
