//! `ringhold-crash planted`: is every deliberate mistake found?

use super::report::Report;

/// Looks for all bugs, or for one, which is told with the steps that lead to it.
#[cfg(feature = "planted")]
pub fn run(report: &mut Report, bug: Option<u8>, seconds: u64) {
    use std::cell::RefCell;
    use std::time::Duration;

    use ringhold::crash::planted::{core_time, hunt, timeline};
    use ringhold::crash::search::Figures;
    use ringhold::planted::BUGS;

    use super::report::Hunted;

    println!("| bug | promise | the mistake | found by | recoveries | seconds |\n|---|---|---|---|---|---|");
    let mut judged = 0;
    for row in BUGS.iter().filter(|row| bug.is_none_or(|number| row.number == number)) {
        let until = core_time() + Duration::from_secs(seconds);
        let shared = RefCell::new(&mut *report);
        let found = hunt(row, |cycles| {
            shared.borrow_mut().progress(&Figures { cycles: judged + cycles, ..Figures::default() });
            core_time() >= until
        });
        let (number, promise, mistake) = (row.number, row.promise, row.story);
        if let Some(found) = &found {
            judged += found.cycles;
            report.figures.cycles = judged;
            let seconds = found.took.as_secs_f64();
            report.say(&format!(
                "| {number} | {promise} | {mistake} | `{}` | {} | {seconds:.2} |",
                found.by, found.cycles
            ));
        }
        if let Some(found) = found.as_ref().filter(|_| bug.is_some()) {
            timeline(row.bug, found).iter().for_each(|line| println!("  {line}"));
            println!("{} broken: {}", found.violation.promise, found.violation.what);
        }
        if found.is_none() {
            report.wrong(
                format!("planted bug {number}"),
                format!("not found in {seconds} s of a core: {mistake}"),
            );
        }
        let found = found.map(|found| (found.by.to_string(), found.cycles, found.took.as_secs_f64()));
        report.bugs.push(Hunted { number, promise, mistake, found });
    }
    let found = report.bugs.iter().filter(|hunted| hunted.found.is_some()).count();
    println!("{found} of {} found", report.bugs.len());
}

#[cfg(not(feature = "planted"))]
pub fn run(report: &mut Report, _: Option<u8>, _: u64) {
    let how = "cargo run --release --features planted --bin ringhold-crash -- planted";
    report.wrong("this build".into(), format!("has no planted bugs; build one that has: {how}"));
}
