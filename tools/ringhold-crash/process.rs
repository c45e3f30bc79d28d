//! `ringhold-crash process`: real servers, killed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use clap::Args;
use ringhold::crash::process::{Plan, Tally, campaign};
use ringhold::crash::search::Figures;

use super::report::{Goal, Report};

#[derive(Args)]
pub struct Options {
    /// End after so many kills (default: 100, unless --minutes is given)
    #[arg(long)]
    rounds: Option<u64>,
    /// Go on for so long
    #[arg(long)]
    minutes: Option<f64>,
    /// Choices follow from it; each directory takes the next
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The server to kill (default: the `ringhold` beside this program)
    #[arg(long)]
    server: Option<PathBuf>,
    /// No stock redis-server as a replica, even if one is installed
    #[arg(long)]
    no_stock: bool,
}

/// Kills in one directory, before the next one begins with other settings.
const ROUNDS_EACH: u32 = 12;

pub fn run(report: &mut Report, options: &Options) {
    let server = match options.server.clone().map_or_else(beside, Ok) {
        Ok(server) => server,
        Err(why) => return report.wrong("the server".into(), why),
    };
    let plan = Plan {
        fail_points: has_fail_points(&server),
        stock: if options.no_stock { None } else { stock() },
        server,
    };
    let rounds = options.rounds.unwrap_or(if options.minutes.is_some() { u64::MAX } else { 100 });
    let limit = options.minutes.map_or(Duration::MAX, |m| Duration::from_secs_f64(m.max(0.0) * 60.0));
    let began = Instant::now();
    report.goal = Goal {
        time: Some(limit).filter(|limit| *limit < Duration::MAX),
        cycles: Some(rounds).filter(|rounds| *rounds < u64::MAX),
    };
    let mut tally = Tally::default();
    for seed in options.seed.. {
        let enough = |tally: &Tally| tally.rounds >= rounds || began.elapsed() >= limit;
        let done = campaign(&plan, seed, ROUNDS_EACH, &mut tally, |tally| {
            let figures = Figures { cycles: tally.rounds, commands: tally.writes, ..Figures::default() };
            report.progress(&figures);
            report.figures = figures;
            !enough(tally)
        });
        if let Err(broken) = done {
            let place = format!("seed {seed}: {} ({} is left)", broken.promise, broken.directory.display());
            report.told(place, broken.what, broken.timeline);
        }
        if enough(&tally) || report.is_full() {
            report.seeds = Some(options.seed..=seed);
            break;
        }
    }
    report.counted = vec![
        ("kills", tally.kills),
        ("deaths_at_fail_points", tally.deaths),
        ("power_cuts", tally.power_cuts),
        ("power_cuts_with_stock", tally.stock_after_cuts),
        ("live_copies", tally.copies),
        ("replicas", tally.replicas),
        ("false_primaries", tally.false_primaries),
        ("writes", tally.writes),
        ("lost_track", tally.lost_track),
    ];
    let words = |has: bool| if has { "yes" } else { "no" };
    println!(
        "{} starts judged, {} kills ({} at fail points), {} power cuts ({} with a stock replica), {} live copies, {} replicas killed, too, {} conversations with false primaries, {} writes; \
         stock replica: {}; fail points: {}; {} directories given up early, as the backlog did not reach back to the notes",
        tally.rounds,
        tally.kills,
        tally.deaths,
        tally.power_cuts,
        tally.stock_after_cuts,
        tally.copies,
        tally.replicas,
        tally.false_primaries,
        tally.writes,
        words(plan.stock.is_some()),
        if plan.fail_points { "yes" } else { "no (build the server with --features planted)" },
        tally.lost_track
    );
}

fn beside() -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|error| error.to_string())?;
    let server = own.with_file_name("ringhold");
    if server.is_file() {
        return Ok(server);
    }
    Err(format!("{} is not there; build it, or name one with --server", server.display()))
}

fn has_fail_points(server: &Path) -> bool {
    let output = Command::new(server).arg("--version").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("planted"))
}

fn stock() -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join("redis-server")).find(|program| program.is_file())
}
