//! Is it sound? One report for a snapshot, a log, a ring, a history, a manifest, or a data directory with all of them.
//!
//! | verdict | means | exit code |
//! |---|---|---|
//! | [`Verdict::Sound`] | every checksum holds, every structure is whole | 0 |
//! | [`Verdict::Torn`] | a log that ends in the middle of a unit, as a crash leaves it: the rest is sound, `--fix` cuts it | 1 |
//! | [`Verdict::Corrupt`] | anything else | 2 |
//!
//! The first problem is reported with file, offset and what was expected there. What can be read behind it is read (a
//! duplicate is no reason to stop) and further problems are counted; where the structure itself is broken the walk
//! ends, because nothing behind such a place can be believed.
//!
//! **Stricter than stock.** `redis-check-aof` takes a log with unknown commands for sound, and one that ends inside an
//! annotation, behind which a server would then append; both are problems here. `redis-check-rdb` looks into
//! packed values only in part, and not for duplicates.

mod directory;
mod duplicates;
mod fix;
mod log;
pub(super) mod rdb;
mod ring;

use std::io::Read;
use std::path::{Path, PathBuf};

pub use directory::{files_of, layout, look};
pub use fix::{Fixed, fix, truncate_to_timestamp};
pub use ring::{Block, Blocks};

use super::input::{self, Found, Input, Kind, Watch};
use super::live;
use super::text::Json;
use super::{Failure, Result};
use crate::error::Corrupt;
use crate::format::aof::SegmentReport;
use crate::format::history::History;
use crate::format::manifest::Manifest;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    Sound,
    Torn,
    Corrupt,
}

impl Verdict {
    pub fn word(self) -> &'static str {
        match self {
            Verdict::Sound => "sound",
            Verdict::Torn => "torn tail",
            Verdict::Corrupt => "corrupt",
        }
    }
    pub fn exit_code(self) -> i32 {
        self as i32
    }
}

/// What a check is told.
#[derive(Clone)]
pub struct Options {
    pub watch: Watch,
    /// `appenddirname`, `appendfilename` and `dbfilename` of a data directory.
    pub names: [String; 3],
}

impl Default for Options {
    fn default() -> Options {
        Options { watch: None, names: ["appendonlydir", "appendonly.aof", "dump.rdb"].map(String::from) }
    }
}

/// One file's part of a report.
#[derive(Debug)]
pub struct FileReport {
    pub file: PathBuf,
    pub kind: &'static str,
    /// Decompressed bytes that were read.
    pub bytes: u64,
    pub verdict: Verdict,
    /// The first problem; its file is named in it.
    pub problem: Option<Corrupt>,
    /// Further problems.
    pub more: u64,
    /// What is in it, as name and value.
    pub facts: Vec<(&'static str, String)>,
    /// What is no problem and yet worth knowing.
    pub notes: Vec<String>,
    /// Where a torn tail begins.
    pub cut: Option<u64>,
    /// A log's commands: name, how many, bytes in the file; the most frequent first.
    pub commands: Vec<(String, u64, u64)>,
    /// A log's walk.
    segment: Option<SegmentReport>,
}

impl FileReport {
    pub(super) fn new(file: &Path, kind: &'static str) -> FileReport {
        FileReport {
            file: file.to_path_buf(),
            kind,
            bytes: 0,
            verdict: Verdict::Sound,
            problem: None,
            more: 0,
            facts: Vec::new(),
            notes: Vec::new(),
            cut: None,
            commands: Vec::new(),
            segment: None,
        }
    }

    /// Adds a problem. The first one in the file is shown.
    pub(super) fn add(&mut self, verdict: Verdict, damage: Corrupt) {
        self.verdict = self.verdict.max(verdict);
        self.more += u64::from(self.problem.is_some());
        if self.problem.as_ref().is_none_or(|first| damage.at < first.at) {
            self.problem = Some(damage.in_file(&self.file));
        }
    }

    /// What is in it, as members of an object.
    pub(super) fn write_facts(&self, json: &mut Json) {
        for (name, value) in &self.facts {
            match NUMBERS.contains(name) {
                true => json.key(name).plain(value),
                false => json.key(name).text(value.as_bytes()),
            }
        }
    }

    /// Takes damage in; anything else stays a failure.
    pub(super) fn absorb(&mut self, failure: Failure) -> Result<()> {
        match failure {
            Failure::Corrupt(damage) => {
                self.add(Verdict::Corrupt, damage);
                Ok(())
            }
            other => Err(other),
        }
    }
}

/// The facts that are numbers.
const NUMBERS: [&str; 9] =
    ["version", "keys", "elements", "commands", "marks", "to", "names", "files", "capacity"];

/// What a check found.
#[derive(Debug, Default)]
pub struct Report {
    /// In the order in which they were read.
    pub files: Vec<FileReport>,
    /// How the files of a directory agree: what a server would do with them, or why it would refuse.
    pub agreement: Option<FileReport>,
}

impl Report {
    /// The worst of all.
    pub fn verdict(&self) -> Verdict {
        self.parts().map(|file| file.verdict).max().unwrap_or(Verdict::Sound)
    }
    /// Files, then their agreement.
    pub fn parts(&self) -> impl Iterator<Item = &FileReport> {
        self.files.iter().chain(&self.agreement)
    }
    /// The first problem of the worst file.
    pub fn problem(&self) -> Option<&Corrupt> {
        let worst = self.verdict();
        self.parts().filter(|file| file.verdict == worst).find_map(|file| file.problem.as_ref())
    }

    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Json::new();
        json.object(|j| {
            j.key("verdict").text(self.verdict().word().as_bytes());
            j.key("files").array(|j| self.parts().for_each(|file| file.write(j)));
        });
        json.into_bytes()
    }
}

impl FileReport {
    fn write(&self, json: &mut Json) {
        json.object(|j| {
            j.key("file").text(self.file.as_os_str().as_encoded_bytes());
            j.key("kind").text(self.kind.as_bytes());
            j.key("bytes").plain(self.bytes);
            j.key("verdict").text(self.verdict.word().as_bytes());
            if let Some(problem) = &self.problem {
                j.key("problem").object(|j| {
                    let file = problem.file.as_deref().unwrap_or(&self.file);
                    j.key("file").text(file.as_os_str().as_encoded_bytes());
                    j.key("at").plain(problem.at);
                    j.key("what").text(problem.what.as_bytes());
                });
                j.key("more").plain(self.more);
            }
            j.key("cut").maybe(self.cut);
            j.key("facts").object(|j| self.write_facts(j));
            j.key("notes").array(|j| self.notes.iter().for_each(|note| j.text(note.as_bytes())));
        });
    }
}

/// Checks a file, a manifest with the files that it names, or a data directory.
pub fn check(path: &Path, options: &Options) -> Result<Report> {
    match input::open(path, &options.watch) {
        Ok(Found::Directory(directory)) => directory::check(&directory, options),
        Ok(Found::File(input)) if input.kind == Kind::Manifest && path.as_os_str() != "-" => {
            let directory = path.parent().unwrap_or(Path::new("."));
            directory::check_log(directory, input, options)
        }
        Ok(Found::File(input)) => Ok(Report { files: vec![check_input(input)?], agreement: None }),
        Err(Failure::Corrupt(damage)) => {
            let mut file = FileReport::new(&live::name_of(path), "unknown");
            file.add(Verdict::Corrupt, damage);
            Ok(Report { files: vec![file], agreement: None })
        }
        Err(failure) => Err(failure),
    }
}

/// Checks one file by itself.
pub fn check_input(input: Input) -> Result<FileReport> {
    let mut report = FileReport::new(&input.file.clone(), input.kind.word());
    if let Err(failure) = check_into(input, &mut report) {
        report.absorb(failure)?;
    }
    Ok(report)
}

fn check_into(mut input: Input, report: &mut FileReport) -> Result<()> {
    match input.kind {
        Kind::Rdb => {
            if let Some(behind) = rdb::check(&mut input, report)? {
                check_commands(behind, input, report)?;
            }
        }
        Kind::Log => log::check(&mut input, report)?,
        Kind::Ring => ring::check(&mut input, report)?,
        Kind::History => {
            let bytes = read_small(&mut input, report)?;
            match History::parse(&bytes) {
                Ok(found) => {
                    report.facts.push(("position", format!("{}:{}", found.replid, found.offset_hint)));
                    report.facts.push(("names", (found.lineage.len() + 1).to_string()));
                }
                Err(damage) => report.add(Verdict::Corrupt, damage),
            }
        }
        Kind::Manifest => {
            read_manifest(&mut input, report)?;
        }
    }
    Ok(())
}

/// A ring's report, and its blocks unless its header is damaged.
pub fn ring_of(mut input: Input) -> Result<(FileReport, Option<Blocks>)> {
    let mut report = FileReport::new(&input.file.clone(), input.kind.word());
    let blocks = ring::read(&mut input, &mut report)?;
    Ok((report, blocks))
}

/// The commands of a log behind its preamble, which ends at `report.bytes`; `behind` are their first bytes.
pub(super) fn check_commands(behind: Vec<u8>, input: Input, report: &mut FileReport) -> Result<()> {
    report.kind = Kind::Log.word();
    log::check(&mut std::io::Cursor::new(behind).chain(input), report)
}

fn read_manifest(input: &mut Input, report: &mut FileReport) -> Result<Option<Manifest>> {
    let bytes = read_small(input, report)?;
    match Manifest::parse(&bytes) {
        Ok(manifest) => {
            report.facts.push(("files", manifest.loaded().count().to_string()));
            Ok(Some(manifest))
        }
        Err(error) => {
            report.add(Verdict::Corrupt, error.into());
            Ok(None)
        }
    }
}

/// Files of which a person could read all.
const SMALL: u64 = 16 << 20;

fn read_small(input: &mut Input, report: &mut FileReport) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let got = input.take(SMALL).read_to_end(&mut bytes);
    got.map_err(|error| unreadable(error, &report.file))?;
    report.bytes = bytes.len() as u64;
    Ok(bytes)
}

fn unreadable(error: std::io::Error, file: &Path) -> Failure {
    Failure::reading(file, error)
}

#[cfg(test)]
mod tests;
