//! What a run has found: counted, told as it goes, and written as JSON at the end.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ringhold::crash::search::{Failure, Figures};
use ringhold::inspect::status_line::{StatusLine, bar};
use ringhold::inspect::text::{Json, grouped};
use rustix::time::{ClockId, clock_gettime};

/// When a run is over that finds nothing: after so long or so many recoveries, whichever comes first. `None`: not known.
#[derive(Clone, Copy, Default)]
pub struct Goal {
    pub time: Option<Duration>,
    pub cycles: Option<u64>,
}

impl Goal {
    /// How much of it is done, 0 to 1.
    fn share(&self, spent: Duration, cycles: u64) -> Option<f64> {
        let by_time = self.time.map(|time| spent.as_secs_f64() / time.as_secs_f64().max(1e-9));
        let by_cycles = self.cycles.map(|most| cycles as f64 / most.max(1) as f64);
        by_time.into_iter().chain(by_cycles).reduce(f64::max)
    }
}

/// A line of the table of planted bugs.
pub struct Hunted {
    pub number: u8,
    pub promise: &'static str,
    pub mistake: &'static str,
    /// What finds it, recoveries judged until then, seconds; `None`: not found.
    pub found: Option<(String, u64, f64)>,
}

/// A line of the table of damages.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Row {
    pub directory: &'static str,
    pub file: String,
    pub kind: &'static str,
    pub outcome: String,
}

struct Wrong {
    seed: Option<u64>,
    place: String,
    what: String,
    timeline: Vec<String>,
}

pub struct Report {
    pub figures: Figures,
    pub seeds: Option<RangeInclusive<u64>>,
    pub goal: Goal,
    /// What only this kind of run counts, for the JSON.
    pub counted: Vec<(&'static str, u64)>,
    pub bugs: Vec<Hunted>,
    began: Instant,
    line: Option<StatusLine>,
    most: usize,
    wrong: Vec<Wrong>,
    rows: BTreeMap<Row, u64>,
}

impl Report {
    /// `most` violations are enough.
    pub fn new(most: usize) -> Report {
        Report {
            figures: Figures::default(),
            seeds: None,
            goal: Goal::default(),
            counted: Vec::new(),
            bugs: Vec::new(),
            began: Instant::now(),
            line: StatusLine::on_terminal(),
            most: most.max(1),
            wrong: Vec::new(),
            rows: BTreeMap::new(),
        }
    }

    pub fn is_full(&self) -> bool {
        self.wrong.len() >= self.most
    }

    /// A line of what is found while the run goes on.
    #[cfg(feature = "planted")]
    pub fn say(&mut self, text: &str) {
        self.clear();
        println!("{text}");
    }

    pub fn failed(&mut self, failure: Failure) {
        self.clear();
        println!("{}", crate::told(&failure));
        self.wrong.push(Wrong {
            seed: Some(failure.seed),
            place: failure.violation.promise.into(),
            what: failure.violation.what,
            timeline: failure.timeline,
        });
    }

    pub fn wrong(&mut self, place: String, what: String) {
        self.told(place, what, Vec::new());
    }

    /// With what led there.
    pub fn told(&mut self, place: String, what: String, timeline: Vec<String>) {
        self.clear();
        println!("{place}: {what}");
        timeline.iter().for_each(|line| println!("  {line}"));
        self.wrong.push(Wrong { seed: None, place, what, timeline });
    }

    pub fn count(&mut self, row: Row) {
        *self.rows.entry(row).or_default() += 1;
    }

    pub fn progress(&mut self, figures: &Figures) {
        let Report { line: Some(line), goal, wrong, .. } = self else { return };
        line.show(|spent| {
            let rate = figures.cycles as f64 / spent.as_secs_f64();
            let cycles = grouped(figures.cycles);
            let share = goal.share(spent, figures.cycles).map(|share| format!(" {}", bar(share, spent)));
            let violations = wrong.len();
            format!(
                "{cycles} crashes and recoveries, {rate:.0}/s, violations: {violations}{}",
                share.unwrap_or_default()
            )
        });
    }

    fn clear(&self) {
        if self.line.is_some() {
            StatusLine::wipe();
        }
    }

    pub fn finish(self, json: Option<&Path>) -> ExitCode {
        self.clear();
        let seconds = self.began.elapsed().as_secs_f64();
        let Figures { scenarios, cycles, commands, disk_steps, syncs } = self.figures;
        let mut before: Option<(&str, &str)> = None;
        for (Row { directory, file, kind, outcome }, count) in &self.rows {
            if before != Some((directory, file)) {
                println!("{directory} {file}");
            }
            before = Some((directory, file));
            println!("  {kind:<7} {count:>7}  {outcome}");
        }
        println!(
            "{scenarios} scenarios, {cycles} recoveries judged, {commands} commands, {syncs} full syncs, {disk_steps} disk steps in {seconds:.1} s \
             ({:.0} recoveries/s, {:.0} per second of a core); violations: {}",
            cycles as f64 / seconds,
            cycles as f64 / core_seconds(),
            self.wrong.len()
        );
        if let Some(path) = json
            && let Err(error) = std::fs::write(path, self.to_json(seconds))
        {
            eprintln!("{}: {error}", path.display());
            return ExitCode::from(2);
        }
        ExitCode::from(u8::from(!self.wrong.is_empty()))
    }

    fn to_json(&self, seconds: f64) -> Vec<u8> {
        let mut json = Json::new();
        json.object(|j| {
            j.key("version").text(env!("CARGO_PKG_VERSION").as_bytes());
            let arguments: Vec<String> = std::env::args().skip(1).collect();
            j.key("arguments").array(|j| arguments.iter().for_each(|word| j.text(word.as_bytes())));
            j.key("first_seed").maybe(self.seeds.as_ref().map(|seeds| *seeds.start()));
            j.key("last_seed").maybe(self.seeds.as_ref().map(|seeds| *seeds.end()));
            j.key("seconds").plain(format!("{seconds:.3}"));
            j.key("core_seconds").plain(format!("{:.3}", core_seconds()));
            j.key("scenarios").plain(self.figures.scenarios);
            j.key("recoveries").plain(self.figures.cycles);
            j.key("commands").plain(self.figures.commands);
            j.key("full_syncs").plain(self.figures.syncs);
            j.key("disk_steps").plain(self.figures.disk_steps);
            self.counted.iter().for_each(|(name, count)| j.key(name).plain(count));
            j.key("bugs").array(|j| self.bugs.iter().for_each(|hunted| hunted.to_json(j)));
            j.key("damages").array(|j| self.rows.iter().for_each(|(row, count)| row.to_json(*count, j)));
            j.key("violations").array(|j| self.wrong.iter().for_each(|wrong| wrong.to_json(j)));
        });
        let mut bytes = json.into_bytes();
        bytes.push(b'\n');
        bytes
    }
}

/// What this process has had of the cores.
fn core_seconds() -> f64 {
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9
}

impl Row {
    fn to_json(&self, count: u64, json: &mut Json) {
        json.object(|j| {
            j.key("directory").text(self.directory.as_bytes());
            j.key("file").text(self.file.as_bytes());
            j.key("damage").text(self.kind.as_bytes());
            j.key("outcome").text(self.outcome.as_bytes());
            j.key("count").plain(count);
        });
    }
}

impl Hunted {
    fn to_json(&self, json: &mut Json) {
        json.object(|j| {
            j.key("number").plain(self.number);
            j.key("promise").text(self.promise.as_bytes());
            j.key("mistake").text(self.mistake.as_bytes());
            j.key("found").plain(self.found.is_some());
            if let Some((by, cycles, seconds)) = &self.found {
                j.key("by").text(by.as_bytes());
                j.key("recoveries").plain(cycles);
                j.key("seconds").plain(format!("{seconds:.3}"));
            }
        });
    }
}

impl Wrong {
    fn to_json(&self, json: &mut Json) {
        json.object(|j| {
            j.key("seed").maybe(self.seed);
            j.key("place").text(self.place.as_bytes());
            j.key("what").text(self.what.as_bytes());
            j.key("timeline").array(|j| self.timeline.iter().for_each(|line| j.text(line.as_bytes())));
        });
    }
}
