//! A scenario of several servers made smaller: steps with less to them, machines left out.

use super::super::search::Story;
use super::super::sim::{Tally, Violation};
use super::net::{host, machine_of};
use super::run::run;
use super::scenario::{Follows, Scenario, Step};

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
    fn smaller(&self) -> Vec<Scenario> {
        let machines = self.setups.len();
        let all = (0..machines).filter(|_| machines > 2);
        all.filter_map(|n| self.without(u8::try_from(n).ok()?)).collect()
    }
}

impl Scenario {
    /// The same without this machine, and without the steps that are about it.
    fn without(&self, gone: u8) -> Option<Scenario> {
        let mut setups = self.setups.clone();
        setups.remove(gone.into());
        let steps = self.steps.iter().filter_map(|step| stays(step, gone)).collect();
        Some(Scenario { seed: self.seed, setups, steps })
    }
}

/// The step where that machine is not, and those behind it have moved up.
fn stays(step: &Step, gone: u8) -> Option<Step> {
    let moved = |n: u8| (n != gone).then(|| n - u8::from(n > gone));
    Some(match step.clone() {
        Step::Send(n, client, mut words) => {
            for word in &mut words {
                let named = std::str::from_utf8(word).ok().and_then(machine_of);
                if let Some(other) = named.and_then(|other| u8::try_from(other).ok()) {
                    *word = host(moved(other)?.into()).into_bytes();
                }
            }
            Step::Send(moved(n)?, client, words)
        }
        Step::Log(n, sync) => Step::Log(moved(n)?, sync),
        Step::Thread(n) => Step::Thread(moved(n)?),
        Step::Part(a, b) => Step::Part(moved(a)?, moved(b)?),
        Step::WriteBack(n, seed) => Step::WriteBack(moved(n)?, seed),
        Step::Fails(n, fault) => Step::Fails(moved(n)?, fault),
        Step::Space(n, bytes) => Step::Space(moved(n)?, bytes),
        Step::DieIn(n, steps) => Step::DieIn(moved(n)?, steps),
        Step::Down(n, power) => Step::Down(moved(n)?, power),
        Step::Up(n, Follows::Machine(primary)) => Step::Up(moved(n)?, Follows::Machine(moved(primary)?)),
        Step::Up(n, follows) => Step::Up(moved(n)?, follows),
        Step::UpDying(n, steps, power) => Step::UpDying(moved(n)?, steps, power),
        Step::UpFailing(n, fault) => Step::UpFailing(moved(n)?, fault),
        Step::Shutdown(n, save) => Step::Shutdown(moved(n)?, save),
        common @ (Step::Time(_)
        | Step::Move(..)
        | Step::Flow(_)
        | Step::Live(_)
        | Step::Cut(..)
        | Step::Heal
        | Step::Compare
        | Step::Quiet) => common,
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::search::try_run;
    use super::super::scenario::{OPERATOR, replicaof};
    use super::*;

    #[test]
    fn a_machine_is_left_out() {
        let check = |step: Step, expected: Option<Step>| {
            assert_eq!(stays(&step, 1), expected, "{step:?}");
        };
        let follow = |n: u8, primary: u8| Step::Send(n, OPERATOR, replicaof(Some(primary)));
        check(follow(2, 0), Some(follow(1, 0)));
        check(follow(0, 3), Some(follow(0, 2)));
        check(follow(0, 1), None);
        check(follow(1, 0), None);
        check(Step::Part(0, 2), Some(Step::Part(0, 1)));
        check(Step::Up(2, Follows::Machine(1)), None);
        check(Step::Quiet, Some(Step::Quiet));
    }

    /// Whatever is left of a scenario can be run.
    #[test]
    fn what_is_left_runs() {
        for seed in 1..4 {
            for fewer in Scenario::generate(seed, 4).smaller() {
                assert_eq!(fewer.setups.len(), 3);
                assert_eq!(try_run(&fewer, None).err(), None, "seed {seed}");
            }
        }
    }
}
