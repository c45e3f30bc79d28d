//! `ringhold-crash`: crashes, damages and restarts the server, simulated, and checks what it promises.
//!
//! Each way of looking is a subcommand; what they do lives in [`ringhold::crash`]. Figures go to standard output at the
//! end, progress to standard error if that is a terminal, violations as they are found.

mod planted;
mod process;
mod report;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand};
use ringhold::crash::cluster::scenario::Scenario as Cluster;
use ringhold::crash::corrupt::{self, Directory, Outcome};
use ringhold::crash::scenario::Scenario;
use ringhold::crash::search::{self, Failure, Figures, Story};

use report::{Goal, Report, Row};

const EXAMPLES: &str = "\
Examples:
  ringhold-crash sim --minutes 5
  ringhold-crash sim --seed 1000000 --cycles 1000000 --json night.json
  ringhold-crash sim --nodes 3 --minutes 5
  (one core each: for a second one start another beside it, with --seed 500000000)
  ringhold-crash replay 4711
  ringhold-crash enumerate --operations 2
  ringhold-crash corrupt
  ringhold-crash process --rounds 500
  ringhold-crash planted --bug 7

Exit codes:
  0  no promise was broken
  1  a promise was broken: seed, steps and the server's own lines are printed
  2  wrong usage, or the report cannot be written";

#[derive(Parser)]
#[command(name = "ringhold-crash", version, max_term_width = 100)]
#[command(about = "Crash the store at any place, on a simulated disk, and check what it promises")]
#[command(after_help = EXAMPLES)]
struct Args {
    /// Also write the figures and violations to FILE, as JSON
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// End after so many violations
    #[arg(long, global = true, value_name = "N", default_value_t = 3)]
    most: usize,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Random commands, faults and crashes, one scenario for each seed
    Sim {
        /// The first seed; the next ones follow
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Go on for so long (default: one minute, unless --cycles is given)
        #[arg(long)]
        minutes: Option<f64>,
        /// Go on until so many recoveries were judged
        #[arg(long)]
        cycles: Option<u64>,
        /// So many servers, with replicas and a network between them
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
        nodes: u8,
    },
    /// Run one seed again and tell what happens, whole and minimised
    Replay {
        seed: u64,
        /// As it was given to `sim`
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
        nodes: u8,
    },
    /// All workloads of a few operations, ended at each of their disk steps in each way
    Enumerate {
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=3))]
        operations: u8,
    },
    /// Flip, zero and cut away the bytes of every file of small data directories
    Corrupt {
        /// Look at each N-th byte only
        #[arg(long, default_value_t = 1)]
        stride: usize,
        /// Only directories whose name contains this
        #[arg(long, default_value = "")]
        only: String,
    },
    /// Real servers on the real file system, killed at any instant and at fail points
    Process(process::Options),
    /// Deliberate mistakes in the server, each of which must be found (in builds with the feature `planted`)
    Planted {
        /// Only this one
        #[arg(long)]
        bug: Option<u8>,
        /// Give up looking for one after so many seconds of a core
        #[arg(long, default_value_t = 60)]
        seconds: u64,
    },
}

fn main() -> ExitCode {
    let args = Args::parse();
    // A panic of the server is a violation, told as one.
    std::panic::set_hook(Box::new(|_| {}));
    let mut report = Report::new(args.most);
    match args.command {
        Command::Sim { seed, minutes, cycles, nodes: 1 } => {
            sim(&mut report, Scenario::generate, seed, minutes, cycles)
        }
        Command::Sim { seed, minutes, cycles, nodes } => {
            sim(&mut report, |seed| Cluster::generate(seed, nodes), seed, minutes, cycles)
        }
        Command::Replay { seed, nodes: 1 } => replay(&mut report, &Scenario::generate(seed)),
        Command::Replay { seed, nodes } => replay(&mut report, &Cluster::generate(seed, nodes)),
        Command::Enumerate { operations } => enumerate(&mut report, operations.into()),
        Command::Corrupt { stride, only } => damage(&mut report, stride, &only),
        Command::Process(options) => process::run(&mut report, &options),
        Command::Planted { bug, seconds } => {
            planted::run(&mut report, bug, seconds);
        }
    }
    report.finish(args.json.as_deref())
}

fn sim<S: Story>(
    report: &mut Report,
    generate: impl Fn(u64) -> S,
    first: u64,
    minutes: Option<f64>,
    cycles: Option<u64>,
) {
    let limit = match (minutes, cycles) {
        (None, Some(_)) => Duration::MAX,
        (minutes, _) => Duration::from_secs_f64(minutes.unwrap_or(1.0).max(0.0) * 60.0),
    };
    let began = Instant::now();
    report.goal = Goal { time: Some(limit).filter(|limit| *limit < Duration::MAX), cycles };
    let mut figures = Figures::default();
    for seed in first.. {
        let scenario = generate(seed);
        match search::try_run(&scenario, None) {
            Ok(tally) => figures.add(tally),
            Err(violation) => report.failed(search::examine(&scenario, violation)),
        }
        report.progress(&figures);
        let enough = cycles.is_some_and(|cycles| figures.cycles >= cycles);
        if enough || began.elapsed() >= limit || report.is_full() {
            report.seeds = Some(first..=seed);
            break;
        }
    }
    report.figures = figures;
}

fn replay<S: Story>(report: &mut Report, scenario: &S) {
    let seed = scenario.seed();
    let mut timeline = Vec::new();
    let outcome = search::try_run(scenario, Some(&mut timeline));
    timeline.iter().for_each(|line| println!("{line}"));
    report.seeds = Some(seed..=seed);
    match outcome {
        Ok(tally) => report.figures.add(tally),
        Err(violation) => {
            println!("VIOLATION of {}: {}\n\nminimised:", violation.promise, violation.what);
            report.failed(search::examine(scenario, violation));
        }
    }
}

fn enumerate(report: &mut Report, operations: usize) {
    let mut figures = Figures::default();
    search::enumerate(operations, |scenario, outcome| {
        match outcome {
            Ok(tally) => figures.add(tally),
            Err(violation) => report.failed(search::examine(scenario, violation)),
        }
        report.progress(&figures);
        !report.is_full()
    });
    report.figures = figures;
}

fn damage(report: &mut Report, stride: usize, only: &str) {
    let mut figures = Figures::default();
    for recipe in corrupt::recipes().into_iter().filter(|recipe| recipe.name.contains(only)) {
        let mut directory = match Directory::make(recipe, 1) {
            Ok(directory) => directory,
            Err(why) => {
                report.wrong(recipe.name.into(), why);
                continue;
            }
        };
        for n in 0..directory.files.len() {
            let file = directory.files[n].0.file_name().unwrap_or_default().to_string_lossy().into_owned();
            for damage in directory.cases(n, stride) {
                let Some(outcome) = directory.judge(n, damage) else { continue };
                figures.scenarios += 1;
                figures.cycles += 1;
                report.progress(&figures);
                let kind = damage.kind();
                if let Outcome::Violation(why) = &outcome {
                    report.wrong(format!("{} {file} {damage:?}", recipe.name), why.clone());
                }
                report.count(Row {
                    directory: recipe.name,
                    file: file.clone(),
                    kind,
                    outcome: outcome.to_string(),
                });
                if report.is_full() {
                    report.figures = figures;
                    return;
                }
            }
        }
    }
    report.figures = figures;
}

/// For [`Report`]: what a person reads of a failure.
fn told(failure: &Failure) -> String {
    let mut text =
        format!("seed {}: {} broken: {}\n", failure.seed, failure.violation.promise, failure.violation.what);
    for line in &failure.timeline {
        text.push_str(&format!("  {line}\n"));
    }
    text
}
