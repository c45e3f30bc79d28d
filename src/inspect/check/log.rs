//! Checks one file of a log: its commands one by one, and in a segment of ours the marks, which prove its bytes.
//!
//! | the file ends … | verdict |
//! |---|---|
//! | between units | sound |
//! | inside a command, a MULTI, an annotation line; in zeros | torn, from the last whole unit on |
//! | in bytes that are no log | corrupt |
//!
//! A base written as commands has no opening; its one line of ours, the last, seals all before it. If that line is gone, the
//! manifest is what tells that it should be there: the check of the whole directory asks.
//!
//! A mark whose seal does not hold, and a command that no server knows, are corruption wherever they stand. Bytes behind the
//! last mark are sound by structure only: a running server has not marked them yet, and whether the ring or another
//! file covers them is a question to the whole directory.

use std::collections::HashMap;
use std::io::Read;

use super::{FileReport, Verdict, unreadable};
use crate::error::Corrupt;
use crate::format::aof::{Ending, SegmentReport, SegmentWalk};
use crate::format::framing::{Command, Framer, Sink};
use crate::inspect::Result;
use crate::inspect::commands;
use crate::inspect::text;

const PIECE: usize = 256 << 10;

/// Checks what `input` holds from byte `report.bytes` of the file on.
pub fn check(input: &mut dyn Read, report: &mut FileReport) -> Result<()> {
    let start = report.bytes;
    let mut walk = SegmentWalk::new(start);
    let mut names = Names::new(start);
    let (mut piece, mut at) = (vec![0; PIECE], start);
    loop {
        let got = input.read(&mut piece).map_err(|error| unreadable(error, &report.file))?;
        if got == 0 {
            break;
        }
        walk.feed(&piece[..got]);
        names.feed(&piece[..got], at);
        at += got as u64;
    }
    report.bytes = at;
    let found = walk.finish();
    names.say(report);
    judge(&found, &names, report);
    report.segment = Some(found);
    Ok(())
}

fn judge(found: &SegmentReport, names: &Names, report: &mut FileReport) {
    if let Some(opening) = found.opening {
        report.facts.push(("from", format!("{}:{}", opening.replid, opening.offset)));
        report.facts.push(("to", found.parsed.offset.to_string()));
        report.facts.push(("marks", found.marks.to_string()));
    }
    if let Some(base) = found.base {
        report.facts.push(("a base that equals", format!("{}:{}", base.replid, base.offset)));
    }
    if let Some(at) = names.state.ours.filter(|_| found.opening.is_none()) {
        let what = "marks, though the segment's opening is missing or damaged";
        report.add(Verdict::Corrupt, Corrupt::new(at, what));
    } else if let Some(at) = found.bad_mark {
        report.add(Verdict::Corrupt, Corrupt::new(at, "a mark whose seal does not hold"));
    }
    if let Some(unknown) = &names.state.unknown {
        report.add(Verdict::Corrupt, unknown.clone());
    }
    let whole = found.parsed.at;
    let behind = format!("; whole up to byte {whole}, {} bytes behind it", found.len - whole);
    match &found.ending {
        Ending::Whole => {}
        Ending::Malformed(damage) if names.zeros => {
            let what = format!("zeros to the end of the file, where a command was expected{behind}");
            report.add(Verdict::Torn, Corrupt::new(damage.at, what));
        }
        Ending::Malformed(damage) => report.add(Verdict::Corrupt, damage.clone()),
        Ending::Cut { at } => {
            report.add(
                Verdict::Torn,
                Corrupt::new(*at, format!("the file ends inside what begins here{behind}")),
            );
        }
        Ending::OpenMulti => {
            report.add(Verdict::Torn, Corrupt::new(whole, format!("the file ends inside a MULTI{behind}")));
        }
    }
    report.cut = (report.verdict == Verdict::Torn).then_some(whole);
    if let Some(from) = found.foreign_from.filter(|_| found.opening.is_some()) {
        report.notes.push(format!("another server wrote here behind byte {from}, without marks"));
    } else if found.opening.is_some() && found.bad_mark.is_none() && found.proven.at < whole {
        let unproven = text::grouped(whole - found.proven.at);
        report.notes.push(format!("the last {unproven} bytes stand behind the last mark, not proven by it"));
    }
}

/// What the commands are called.
struct Names {
    framer: Framer,
    state: State,
    broken: bool,
    /// All bytes from the malformed place on are zero.
    zeros: bool,
}

struct State {
    commands: u64,
    /// The command's first bytes.
    head: Vec<u8>,
    /// Where the command began.
    began: u64,
    at: u64,
    unknown: Option<Corrupt>,
    more_unknown: u64,
    of_modules: u64,
    times: Option<(i64, i64)>,
    /// The first line of ours that stands in a segment only, sound or not.
    ours: Option<u64>,
    /// Annotation lines that are neither ours nor timestamps.
    strange: u64,
    /// By name in lower case: how many, and their bytes. Unknown names are one.
    counts: HashMap<Box<[u8]>, (u64, u64)>,
    lower: Vec<u8>,
}

/// Holds the name of every command that servers know.
const HEAD: usize = 64;

impl Names {
    fn new(at: u64) -> Names {
        let state = State {
            commands: 0,
            head: Vec::with_capacity(HEAD),
            began: at,
            at,
            unknown: None,
            more_unknown: 0,
            of_modules: 0,
            times: None,
            ours: None,
            strange: 0,
            counts: HashMap::new(),
            lower: Vec::new(),
        };
        Names { framer: Framer::new(at), state, broken: false, zeros: false }
    }

    fn feed(&mut self, bytes: &[u8], at: u64) {
        let mut from = 0;
        if !self.broken
            && let Err(damage) = self.framer.feed(bytes, &mut self.state)
        {
            (self.broken, self.zeros) = (true, true);
            from = damage.at.saturating_sub(at).min(bytes.len() as u64) as usize;
        }
        if self.broken && self.zeros {
            self.zeros = bytes[from..].iter().all(|byte| *byte == 0);
        }
    }

    fn say(&self, report: &mut FileReport) {
        report.facts.push(("commands", self.state.commands.to_string()));
        if let Some((first, last)) = self.state.times {
            let times = [first, last].map(|seconds| text::utc(seconds.saturating_mul(1000)));
            report.facts.push(("timestamps", format!("{} to {}", times[0], times[1])));
        }
        report.more += self.state.more_unknown;
        let counts = self.state.counts.iter();
        report.commands = counts
            .map(|(name, (count, bytes))| (String::from_utf8_lossy(name).to_uppercase(), *count, *bytes))
            .collect();
        report.commands.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        if self.state.strange > 0 {
            report
                .notes
                .push(format!("{} annotation lines of an unknown kind", text::grouped(self.state.strange)));
        }
        if self.state.of_modules > 0 {
            let count = text::grouped(self.state.of_modules);
            report
                .notes
                .push(format!("{count} commands of modules, which only a server with the module can load"));
        }
    }
}

impl Sink for State {
    fn stream(&mut self, bytes: &[u8]) {
        self.at += bytes.len() as u64;
        let room = HEAD - self.head.len();
        if room > 0 {
            self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    fn line(&mut self, line: &[u8], at: u64) -> std::result::Result<(), Corrupt> {
        self.at = at + line.len() as u64;
        self.began = self.at;
        if let Some(seconds) = timestamp(line) {
            let first = self.times.map_or(seconds, |(first, _)| first);
            self.times = Some((first, seconds));
        } else if line.starts_with(b"#RH:1 base ") {
            // The last line of a base of commands, which has no opening; its seal is the walk's question.
        } else if line.starts_with(b"#RH:") {
            self.ours.get_or_insert(at);
        } else {
            self.strange += 1;
        }
        Ok(())
    }

    fn command_end(&mut self, _: Command, at: u64) {
        self.commands += 1;
        let name = commands::name(&self.head);
        self.lower.clear();
        self.lower.extend(name.unwrap_or_default().iter().map(u8::to_ascii_lowercase));
        if let Some(seen) = self.counts.get_mut(self.lower.as_slice()) {
            *seen = (seen.0 + 1, seen.1 + at - self.began);
        } else {
            self.new_name(at);
        }
        self.head.clear();
        self.began = at;
    }
}

impl State {
    /// A command of a name that was not seen before, or that is not kept.
    fn new_name(&mut self, at: u64) {
        match commands::name(&self.head) {
            // A bare newline that a primary put into its stream.
            _ if self.head == b"\n" => {}
            Some(name) if commands::is_known(name) => {
                self.counts.insert(self.lower.as_slice().into(), (1, at - self.began));
            }
            Some(name) if name.contains(&b'.') => self.of_modules += 1,
            name => {
                let shown = text::shortened(name.unwrap_or(&self.head), 40);
                let what = format!("unknown command '{shown}': no server would load this");
                match self.unknown {
                    Some(_) => self.more_unknown += 1,
                    None => self.unknown = Some(Corrupt::new(self.began, what)),
                }
            }
        }
    }
}

/// The seconds of a `#TS:` line.
pub fn timestamp(line: &[u8]) -> Option<i64> {
    let digits = line.strip_prefix(b"#TS:")?.strip_suffix(b"\r\n")?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}
