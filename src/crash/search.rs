//! Looks for broken promises: seed after seed, or all short workloads at all places where a process can die. What is
//! found is made small and told.
//!
//! A failing scenario is minimised by leaving steps out, large runs of them first, then single ones, then the
//! particulars of each crash, as long as *a* promise stays broken, whichever: insisting on the same message would keep
//! offsets and with them the steps that made them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::scenario::{Crash, Scenario, Setup, Step};
use super::sim::{Tally, Violation, run};

/// A scenario of any kind: steps that can be run, and run again with some of them left out.
pub trait Story: Clone {
    type Step: Clone;
    fn seed(&self) -> u64;
    fn steps(&mut self) -> &mut Vec<Self::Step>;
    /// With a timeline every step and every line of the server's log is told.
    fn play(&self, timeline: Option<&mut Vec<String>>) -> Result<Tally, Violation>;
    /// The same step with less to it.
    fn simpler(step: &Self::Step) -> Vec<Self::Step>;
    /// The same steps with less around them.
    fn smaller(&self) -> Vec<Self> {
        Vec::new()
    }
}

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
        simpler(step)
    }
}

/// A broken promise with all that is needed to see it again.
#[derive(Clone, Debug)]
pub struct Failure {
    pub seed: u64,
    /// Seen in the whole scenario.
    pub violation: Violation,
    /// Seen in what is left of it.
    pub reduced: Violation,
    /// The minimal scenario, step by step, with the server's own lines.
    pub timeline: Vec<String>,
}

/// Figures of a search.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub scenarios: u64,
    pub cycles: u64,
    pub commands: u64,
    pub disk_steps: u64,
    pub syncs: u64,
}

impl Figures {
    pub fn add(&mut self, tally: Tally) {
        self.scenarios += 1;
        self.cycles += tally.cycles;
        self.commands += tally.commands;
        self.disk_steps += tally.disk_steps;
        self.syncs += tally.syncs;
    }
}

/// Runs a scenario; a panic is a violation like any other.
pub fn try_run<S: Story>(scenario: &S, timeline: Option<&mut Vec<String>>) -> Result<Tally, Violation> {
    catch_unwind(AssertUnwindSafe(|| scenario.play(timeline))).unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default();
        Err(Violation {
            promise: "–",
            what: format!("the server panicked: {text}"),
            step: scenario.clone().steps().len(),
        })
    })
}

/// Makes the failing scenario small and tells it.
pub fn examine<S: Story>(scenario: &S, violation: Violation) -> Failure {
    let minimal = minimise(scenario.clone());
    let mut timeline = Vec::new();
    let reduced = try_run(&minimal, Some(&mut timeline)).err().unwrap_or_else(|| violation.clone());
    timeline.push(format!("VIOLATION of {}: {}", reduced.promise, reduced.what));
    Failure { seed: scenario.seed(), violation, reduced, timeline }
}

fn minimise<S: Story>(mut scenario: S) -> S {
    if let Err(violation) = try_run(&scenario, None) {
        scenario.steps().truncate(violation.step + 1);
    }
    let mut size = scenario.steps().len().next_power_of_two();
    while size > 0 {
        let mut at = 0;
        while at < scenario.steps().len() {
            let mut fewer = scenario.clone();
            let end = (at + size).min(fewer.steps().len());
            fewer.steps().drain(at..end);
            match try_run(&fewer, None) {
                Err(_) => scenario = fewer,
                Ok(_) => at += size,
            }
        }
        size /= 2;
    }
    while let Some(smaller) = scenario.smaller().into_iter().find(|smaller| try_run(smaller, None).is_err()) {
        scenario = smaller;
    }
    for at in 0..scenario.steps().len() {
        for simpler in S::simpler(&scenario.steps()[at].clone()) {
            let mut changed = scenario.clone();
            changed.steps()[at] = simpler;
            if try_run(&changed, None).is_err() {
                scenario = changed;
            }
        }
    }
    scenario
}

/// The same step with less to it.
fn simpler(step: &Step) -> Vec<Step> {
    let crashes = |crash: &Crash| {
        let mut all = vec![
            Crash::kill(),
            Crash { power: None, ..crash.clone() },
            Crash { again: false, ..crash.clone() },
        ];
        all.push(Crash { dying: Vec::new(), ..crash.clone() });
        all.push(Crash { fault: None, ..crash.clone() });
        all.push(Crash { setup: None, ..crash.clone() });
        all
    };
    match step {
        Step::Crash(crash) => crashes(crash).into_iter().map(Step::Crash).collect(),
        Step::Shutdown(save, crash) => {
            let mut all = vec![Step::Crash(crash.clone())];
            all.extend(crashes(crash).into_iter().map(|crash| Step::Shutdown(*save, crash)));
            all
        }
        _ => Vec::new(),
    }
}

// ---- all short workloads ----

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| if word == "''" { Vec::new() } else { word.as_bytes().to_vec() }).collect()
}

/// What the workloads are made of: each with the work that it causes on other threads.
fn operations() -> Vec<Vec<Step>> {
    let send = |text: &str| Step::Send(0, words(text));
    let big = "x".repeat(9000);
    let mut all: Vec<Vec<Step>> = [
        "SET a 1",
        "APPEND a 2",
        "INCR n",
        "SET b v PX 100000",
        "FLUSHALL",
        "BGSAVE",
        "BGREWRITEAOF",
        "CONFIG SET appendonly yes",
        "CONFIG SET appendonly no",
        "CONFIG SET save ''",
        "CONFIG SET save 900 1",
        "CONFIG SET repl-backlog-size 32768",
    ]
    .iter()
    .map(|text| vec![send(text), Step::Log(true), Step::Thread, Step::Thread])
    .collect();
    if let Some(Step::Send(_, words)) = all[10].first_mut() {
        words.splice(3.., [b"900 1".to_vec()]);
    }
    all.push(vec![send("SELECT 2"), send("SET in:two 1"), Step::Log(true)]);
    all.push(vec![send("MULTI"), send("SET a m"), send("LPUSH l m"), send("EXEC"), Step::Log(true)]);
    all.push(vec![send(&format!("SET big {big}")), send(&format!("SET large {big}")), Step::Log(true)]);
    all.push(vec![Step::Time(1100), Step::Log(true)]);
    all.push(vec![Step::Shutdown(None, Crash::kill())]);
    all
}

fn setups() -> Vec<Setup> {
    let setup = |appendonly, fsync, save| Setup { appendonly, fsync, save, ring: 16384, rest: String::new() };
    vec![
        setup(true, "always", true),
        setup(true, "everysec", false),
        setup(false, "everysec", true),
        setup(false, "everysec", false),
    ]
}

/// The ends that are tried at each place: killed, and power cuts that lose all, keep all, keep some.
const ENDS: [Option<u64>; 5] = [None, Some(8), Some(9), Some(2), Some(3)];

/// All workloads of up to `most` operations under a few settings; `visit` is shown each scenario and its outcome, and says
/// whether to go on. Each workload runs once for each disk step at which it can die, and each way to end there.
pub fn enumerate(most: usize, mut visit: impl FnMut(&Scenario, Result<Tally, Violation>) -> bool) {
    let operations = operations();
    for setup in setups() {
        let mut workload = vec![0];
        loop {
            let steps: Vec<Step> = workload.iter().flat_map(|n: &usize| operations[*n].clone()).collect();
            if !every_death(&setup, &steps, &mut visit) {
                return;
            }
            if !next(&mut workload, operations.len(), most) {
                break;
            }
        }
    }
}

/// Counts up: one operation, then two, …; `false`: all were there.
fn next(workload: &mut Vec<usize>, operations: usize, most: usize) -> bool {
    for digit in workload.iter_mut().rev() {
        *digit += 1;
        if *digit < operations {
            return true;
        }
        *digit = 0;
    }
    workload.push(0);
    workload.len() <= most
}

fn every_death(
    setup: &Setup,
    steps: &[Step],
    visit: &mut impl FnMut(&Scenario, Result<Tally, Violation>) -> bool,
) -> bool {
    for at in 1.. {
        let mut died = false;
        for power in ENDS {
            let mut all = vec![Step::DieIn(at)];
            all.extend_from_slice(steps);
            all.push(Step::Crash(Crash { power, again: true, ..Crash::kill() }));
            let scenario = Scenario { seed: at.into(), setup: setup.clone(), steps: all };
            let outcome = try_run(&scenario, None);
            died |= outcome.as_ref().is_ok_and(|tally| tally.deaths > 0);
            if !visit(&scenario, outcome) {
                return false;
            }
        }
        if !died {
            break; // the workload was over before
        }
    }
    true
}
