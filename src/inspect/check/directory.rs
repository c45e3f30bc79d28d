//! Checks a data directory or a multi-part log: each file by itself, then how they agree.
//!
//! | files | agree if |
//! |---|---|
//! | manifest, log | every file that it names is there; only the last one ends early; each segment of ours begins where the one before is proven to end |
//! | all four | the server's own recovery finds a way to start: [`recover`] is asked, which changes nothing, and its sentence is repeated |
//!
//! Asking recovery instead of writing its rules once more means that this tool cannot be of another opinion than the server.

use std::path::{Path, PathBuf};

use super::{FileReport, Options, Report, Verdict, check_input, read_manifest};
use crate::disk::{Disk, OsDisk};
use crate::error::Corrupt;
use crate::inspect::input::{self, Found, Input, Kind};
use crate::inspect::{Failure, Result};
use crate::log::commit::writer_of;
use crate::log::plan::{Recovered, Settings, recover};
use crate::log::rdb_probe::FormatProbe;
use crate::log::segments::{ManifestFound, Paths, is_set_aside, read_manifest as read_manifest_of};
use crate::units::ReplId;

pub fn check(directory: &Path, options: &Options) -> Result<Report> {
    let disk = OsDisk::new();
    let paths = layout(&disk, directory, &options.names)?;
    let mut report = Report::default();
    for path in files_beside_the_log(&disk, &paths)? {
        report.files.push(check_path(&path, options)?);
    }
    if disk.exists(&paths.manifest())? {
        let Found::File(manifest) = input::open(&paths.manifest(), &options.watch)? else {
            return Err(Failure::Usage(format!("{} is a directory", paths.manifest().display())));
        };
        report.files.extend(check_log(&paths.log(), manifest, options)?.files);
    }
    if report.files.is_empty() {
        let what =
            format!("{}: neither snapshot nor log, ring or history in this directory", directory.display());
        return Err(Failure::Usage(what));
    }
    report.agreement = Some(agreement(&disk, &paths)?);
    Ok(report)
}

fn files_beside_the_log(disk: &OsDisk, paths: &Paths) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in [paths.history(), paths.snapshot(), paths.old_log(), paths.ring()] {
        if disk.exists(&path)? && !disk.is_dir(&path) {
            files.push(path);
        }
    }
    Ok(files)
}

/// The files of a data directory that are there, those of the log in its order.
pub fn files_of(directory: &Path, options: &Options) -> Result<Vec<PathBuf>> {
    let disk = OsDisk::new();
    let paths = layout(&disk, directory, &options.names)?;
    let mut files = files_beside_the_log(&disk, &paths)?;
    if let ManifestFound::Good(manifest) = read_manifest_of(&disk, &paths)? {
        for entry in manifest.loaded() {
            let path = paths.log_file(&entry.name);
            if disk.exists(&path)? {
                files.push(path);
            }
        }
    }
    if files.is_empty() {
        return Err(nothing_in(directory));
    }
    Ok(files)
}

fn nothing_in(directory: &Path) -> Failure {
    let name = directory.display();
    Failure::Usage(format!("{name}: neither snapshot nor log, ring or history in this directory"))
}

/// A file of a directory; what it is, is part of the check.
fn check_path(path: &Path, options: &Options) -> Result<FileReport> {
    match input::open(path, &options.watch) {
        Ok(Found::File(input)) => check_input(input),
        Ok(Found::Directory(_)) => Err(Failure::Usage(format!("{} is a directory", path.display()))),
        Err(failure) => {
            let mut report = FileReport::new(path, "unknown");
            report.absorb(failure)?;
            Ok(report)
        }
    }
}

/// A manifest and the files that it names, in their order.
pub fn check_log(directory: &Path, mut manifest: Input, options: &Options) -> Result<Report> {
    let mut head = FileReport::new(&manifest.file.clone(), Kind::Manifest.word());
    let named = read_manifest(&mut manifest, &mut head)?.unwrap_or_default();
    let mut files = Vec::new();
    for entry in named.loaded() {
        let path = directory.join(&entry.name);
        if OsDisk::new().exists(&path)? {
            files.push(check_path(&path, options)?);
        } else {
            let what =
                format!("names {}, which does not exist", crate::inspect::text::shown(entry.name.as_bytes()));
            head.add(Verdict::Corrupt, Corrupt::new(0, what));
        }
    }
    chain(&mut files);
    files.insert(0, head);
    Ok(Report { files, agreement: None })
}

/// Only the last file may end early, and segments of ours follow each other without a gap.
fn chain(files: &mut [FileReport]) {
    for i in 1..files.len() {
        let (before, rest) = files.split_at_mut(i);
        let (Some(before), Some(next)) = (before.last_mut(), rest.first_mut()) else { continue };
        if before.verdict == Verdict::Torn {
            let what = "the file ends early, and it is not the last one of its log";
            before.add(Verdict::Corrupt, Corrupt::new(before.cut.unwrap_or(before.bytes), what));
            before.cut = None;
        }
        let ends = |file: &FileReport| {
            let walked = file.segment.as_ref()?;
            walked.opening.map(|_| walked.proven.offset)
        };
        let begins = next.segment.as_ref().and_then(|walked| walked.opening).map(|opening| opening.offset);
        if let (Some(end), Some(begin)) = (ends(before), begins)
            && end != begin
        {
            let what = format!("begins at stream offset {begin}; the file before is proven up to {end}");
            next.notes.push(what);
        }
    }
}

/// What a server would make of all this.
fn agreement(disk: &OsDisk, paths: &Paths) -> Result<FileReport> {
    let mut report = FileReport::new(&paths.data, "directory");
    let recovered = match look(disk, paths) {
        Ok(recovered) => recovered,
        Err(failure) => {
            report.notes.push(format!("recovery was not asked: {failure}"));
            return Ok(report);
        }
    };
    match recovered.plan {
        Ok(plan) => {
            if let Some(cut) = plan.cut.as_ref().filter(|cut| cut.aside.is_some()) {
                let what = "a torn tail: a start would cut the file here";
                report.add(Verdict::Torn, Corrupt::new(cut.keep, what).in_file(&cut.path));
            }
            report.facts.push(("a start would say", plan.log_line));
            report.facts.extend(plan.loss.map(|loss| ("a start would warn", loss)));
        }
        Err(refusal) => {
            let what = format!("a start would be refused: {}; {}", refusal.what, refusal.to_do);
            report.add(Verdict::Corrupt, Corrupt::new(refusal.at, what).in_file(&refusal.file));
        }
    }
    Ok(report)
}

/// What a start would find and do, without doing it.
pub fn look(disk: &dyn Disk, paths: &Paths) -> crate::disk::Result<Recovered> {
    let settings = Settings {
        appendonly: true,
        load_truncated: true,
        fresh_replid: ReplId::from_random([0; 20]),
        fresh_tag: 0,
        boot_id: String::new(),
    };
    recover(disk, paths, &FormatProbe, &settings)
}

/// Where things are in a directory, by the given names or, where those are not there, by what else there is.
pub fn layout(disk: &dyn Disk, directory: &Path, names: &[String; 3]) -> Result<Paths> {
    let [log_dir, log_name, snapshot] = names.clone();
    let mut paths = Paths { data: directory.to_path_buf(), log_dir, log_name, snapshot };
    let manifests = |at: &Path| -> Result<Vec<String>> {
        let names = disk.list(at)?;
        Ok(names.iter().filter_map(|name| name.strip_suffix(".manifest").map(String::from)).collect())
    };
    if !disk.exists(&paths.manifest())? {
        // The directory of the log itself, or one under another name.
        let mut places: Vec<PathBuf> = vec![directory.to_path_buf()];
        let names = disk.list(directory)?;
        let present = names.iter().filter(|name| !is_set_aside(name)).map(|name| directory.join(name));
        places.extend(present.filter(|at| disk.is_dir(at)));
        for place in places {
            if let [log_name] = manifests(&place)?.as_slice() {
                let above = place.parent().filter(|above| !above.as_os_str().is_empty());
                let above = above.unwrap_or(Path::new(".")).to_path_buf();
                paths.log_dir = place.file_name().unwrap_or_default().to_string_lossy().into_owned();
                paths.log_name = log_name.clone();
                if place == directory {
                    paths.data = above;
                }
                break;
            }
        }
    }
    if !disk.exists(&paths.snapshot())? {
        let names = disk.list(&paths.data)?;
        let is_snapshot = |name: &&String| name.ends_with(".rdb") && writer_of(name).is_none();
        let snapshots: Vec<&String> = names.iter().filter(is_snapshot).collect();
        if let [only] = snapshots.as_slice() {
            paths.snapshot = only.to_string();
        }
    }
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log under another name is found; one that a start has set aside is none.
    #[test]
    fn which_directory_is_the_log() {
        for (name, found) in [("aof", true), ("appendonlydir.aside", false), ("appendonlydir.aside2", false)]
        {
            let scratch = tempfile::tempdir().unwrap();
            let log = scratch.path().join(name);
            std::fs::create_dir(&log).unwrap();
            std::fs::write(log.join("l.manifest"), "file l.1.incr.aof seq 1 type i\n").unwrap();
            let names = ["appendonlydir", "appendonly.aof", "dump.rdb"].map(String::from);
            let paths = layout(&OsDisk::new(), scratch.path(), &names).unwrap();
            assert_eq!(paths.log_dir == name, found, "{name}");
        }
    }
}
