//! Are the mistakes of [`crate::planted`] found? Each one is planted, and looked for in the ways that users have.
//!
//! A find counts only if the same run is clean without the bug: what is wrong anyway proves nothing about the harness.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use super::cluster::scenario::Scenario as Cluster;
use super::corrupt::{self, Damage, Directory, Outcome};
use super::scenario::{KINDS, LAPPING, Scenario};
use super::search::{Failure, Story, examine, try_run};
use super::sim::Violation;
use crate::planted::{Bug, Row, plant};

/// What found a bug.
#[derive(Clone, Debug)]
pub enum By {
    /// `sim`, which a seed repeats.
    Sim { seed: u64 },
    /// `sim --nodes`.
    Cluster { nodes: u8, seed: u64 },
    /// `corrupt`.
    Corrupt { directory: &'static str, file: String, damage: Damage },
}

impl std::fmt::Display for By {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            By::Sim { seed } => write!(f, "sim --seed {seed}"),
            By::Cluster { nodes, seed } => write!(f, "sim --nodes {nodes} --seed {seed}"),
            By::Corrupt { directory, file, damage } => {
                write!(f, "corrupt --only {directory}: {file} {damage:?}")
            }
        }
    }
}

#[derive(Clone, Debug)]
pub struct Found {
    pub by: By,
    pub violation: Violation,
    /// Recoveries judged until then.
    pub cycles: u64,
    /// Of one core.
    pub took: Duration,
}

/// What this thread has had of its core so far: the simulator never waits, so on an idle machine it is the time that passes.
pub fn core_time() -> Duration {
    let spent = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(spent.tv_sec as u64, spent.tv_nsec as u32)
}

/// Looks for the bug until `enough` says, asked with the recoveries judged so far.
pub fn hunt(row: &Row, enough: impl Fn(u64) -> bool) -> Option<Found> {
    let began = core_time();
    let (mut cycles, mut found) = (0, None);
    while found.is_none() && !enough(cycles) {
        found = match (damaged_directory(row.bug), needs_replicas(row.bug)) {
            (Some(name), _) => by_damage(row.bug, name, &mut cycles, &enough),
            (None, true) => by_cluster(row.bug, &mut cycles, &enough),
            (None, false) => by_sim(row.bug, &mut cycles, &enough),
        };
    }
    found.map(|(by, violation)| Found { by, violation, cycles, took: core_time() - began })
}

/// The steps that lead to what was found, with the server's own lines.
pub fn timeline(bug: Bug, found: &Found) -> Vec<String> {
    let told = |failure: Failure| failure.timeline;
    match &found.by {
        By::Sim { seed } => with(bug, || told(examine(&Scenario::generate(*seed), found.violation.clone()))),
        By::Cluster { nodes, seed } => {
            with(bug, || told(examine(&Cluster::generate(*seed, *nodes), found.violation.clone())))
        }
        By::Corrupt { .. } => Vec::new(),
    }
}

/// What showed it when it was a real one.
fn regression(bug: Bug) -> &'static [u64] {
    match bug {
        Bug::CloseUnsynced => &[309],
        Bug::SpillDurable => &[2291],
        Bug::ForgetUnsealed => &[20266],
        Bug::BrokenServed => &[201584, 300988],
        _ => &[],
    }
}

/// It shows soonest where the ring goes round: in which share of the seeds that is, see [`Scenario::generate`].
fn needs_laps(bug: Bug) -> bool {
    matches!(bug, Bug::RingStartLate | Bug::SealPlace | Bug::BranchSeals)
}

/// It shows only where files are damaged at rest, in such a directory.
fn damaged_directory(bug: Bug) -> Option<&'static str> {
    (bug == Bug::DamageTorn).then_some("spill-clean")
}

fn needs_replicas(bug: Bug) -> bool {
    use Bug::{EndsKept, PayloadEarly, PromotionKept, ReplicaExpiry, SentEarly, WaitWritten};
    matches!(bug, ReplicaExpiry | PayloadEarly | SentEarly | PromotionKept | EndsKept | WaitWritten)
}

fn by_sim(bug: Bug, cycles: &mut u64, enough: &impl Fn(u64) -> bool) -> Option<(By, Violation)> {
    let (first, step) = if needs_laps(bug) { (LAPPING, KINDS) } else { (1, 1) };
    let seeds = regression(bug).iter().copied().chain((first..).step_by(step as usize));
    by_stories(bug, seeds.map(|seed| (By::Sim { seed }, Scenario::generate(seed))), cycles, enough)
}

fn by_cluster(bug: Bug, cycles: &mut u64, enough: &impl Fn(u64) -> bool) -> Option<(By, Violation)> {
    let story = |seed: u64| {
        let nodes = if seed.is_multiple_of(2) { 2 } else { 3 };
        (By::Cluster { nodes, seed }, Cluster::generate(seed, nodes))
    };
    by_stories(bug, (1..).map(story), cycles, enough)
}

fn by_stories<S: Story>(
    bug: Bug,
    stories: impl Iterator<Item = (By, S)>,
    cycles: &mut u64,
    enough: &impl Fn(u64) -> bool,
) -> Option<(By, Violation)> {
    for (by, story) in stories {
        match with(bug, || try_run(&story, None)) {
            Ok(tally) => *cycles += tally.cycles,
            Err(violation) if try_run(&story, None).is_ok() => return Some((by, violation)),
            Err(_) => {}
        }
        if enough(*cycles) {
            break;
        }
    }
    None
}

/// So far apart are the bytes that are damaged.
const STRIDE: usize = 23;

fn by_damage(
    bug: Bug,
    directory: &str,
    cycles: &mut u64,
    enough: &impl Fn(u64) -> bool,
) -> Option<(By, Violation)> {
    for recipe in corrupt::recipes().into_iter().filter(|recipe| recipe.name == directory) {
        let Ok(mut directory) = Directory::make(recipe, 1) else { continue };
        for n in 0..directory.files.len() {
            for damage in directory.cases(n, STRIDE) {
                let outcome = with(bug, || directory.judge(n, damage));
                *cycles += 1;
                if let Some(Outcome::Violation(what)) = outcome
                    && !matches!(directory.judge(n, damage), Some(Outcome::Violation(_)))
                {
                    let file = directory.files[n].0.file_name().unwrap_or_default();
                    let file = file.to_string_lossy().into_owned();
                    let by = By::Corrupt { directory: recipe.name, file, damage };
                    return Some((by, Violation { promise: "P5", what, step: 0 }));
                }
                if enough(*cycles) {
                    return None;
                }
            }
        }
    }
    None
}

/// Does it with the bug planted.
fn with<R>(bug: Bug, run: impl FnOnce() -> R) -> R {
    plant(Some(bug));
    let result = run(); // whoever runs scenarios catches their panics
    plant(None);
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Those that a second finds; `ringhold-crash planted` looks for all.
    #[test]
    fn the_quickest_are_found() {
        for bug in [
            Bug::LogFsync,
            Bug::SnapshotFsync,
            Bug::HistoryFsync,
            Bug::EarlyReply,
            Bug::RingEndFirst,
            Bug::RingOverrun,
            Bug::NoSpill,
            Bug::BigUnit,
            Bug::TornMulti,
            Bug::NameUnrecorded,
            Bug::NameKept,
            Bug::OtherPrefix,
        ] {
            let found = hunt(bug.row(), |cycles| cycles > 1000);
            assert!(found.is_some(), "{bug:?}");
        }
    }
}
