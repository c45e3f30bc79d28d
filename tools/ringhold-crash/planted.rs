//! `ringhold-crash planted`: is every deliberate mistake found?

use super::report::Report;

/// Looks for all bugs, or for one.
#[cfg(feature = "planted")]
pub fn run(report: &mut Report, bug: Option<u8>, seconds: u64) {
    use std::time::Duration;

    use ringhold::crash::planted::{core_time, hunt};
    use ringhold::planted::BUGS;

    println!("| bug | promise | the mistake | found by | recoveries | seconds |\n|---|---|---|---|---|---|");
    for row in BUGS.iter().filter(|row| bug.is_none_or(|number| row.number == number)) {
        let until = core_time() + Duration::from_secs(seconds);
        match hunt(row, |_| core_time() >= until) {
            Some(found) => {
                report.figures.cycles += found.cycles;
                println!(
                    "| {} | {} | {} | `{}` | {} | {:.2} |",
                    row.number,
                    row.promise,
                    row.story,
                    found.by,
                    found.cycles,
                    found.took.as_secs_f64()
                );
                if bug.is_some() {
                    println!("{}: {}", found.violation.promise, found.violation.what);
                }
            }
            None => report.wrong(
                format!("planted bug {}", row.number),
                format!("not found in {seconds} s: {}", row.story),
            ),
        }
    }
}

#[cfg(not(feature = "planted"))]
pub fn run(report: &mut Report, _: Option<u8>, _: u64) {
    let how = "cargo run --release --features planted --bin ringhold-crash -- planted";
    report.wrong("this build".into(), format!("has no planted bugs; build one that has: {how}"));
}
