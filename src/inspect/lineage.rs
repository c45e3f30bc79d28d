//! Which history a data directory holds, under which names, and where each of its files says so.
//!
//! `replication.toml` has the whole story; segments, ring and snapshot each repeat the part that concerns their bytes, in
//! band. Showing them beside each other tells what a copy, a restore or a crash has mixed.

use std::fmt::Write as _;
use std::path::Path;

use super::check::{self, layout};
use super::text::{Json, message};
use super::{Failure, Result};
use crate::disk::OsDisk;
use crate::format::history::{Born, History, Role};
use crate::log::rdb_probe::FormatProbe;
use crate::log::survey::{HistoryFact, SnapshotFact, survey};
use crate::units::{Offset, ReplId};

/// What a directory says of its history.
pub struct Lineage {
    pub history: Option<History>,
    /// Why there is none, or what else could not be read.
    pub notes: Vec<String>,
    pub claims: Vec<Claim>,
}

/// A file's own word: these bytes of the stream are under this name.
pub struct Claim {
    pub source: String,
    pub replid: ReplId,
    pub from: Option<Offset>,
    pub to: Option<Offset>,
}

/// Reads all names in a data directory.
pub fn lineage(directory: &Path, options: &check::Options) -> Result<Lineage> {
    let disk = OsDisk::new();
    if !directory.is_dir() {
        return Err(Failure::Usage(format!("{} is not a data directory", directory.display())));
    }
    let paths = layout(&disk, directory, &options.names)?;
    let found = survey(&disk, &paths, &FormatProbe)?;
    let mut all = Lineage { history: None, notes: Vec::new(), claims: Vec::new() };
    match found.history {
        HistoryFact::Good(history) => all.history = Some(*history),
        HistoryFact::None => {
            all.notes.push("no replication.toml: the files are another server's, or lost it".into())
        }
        HistoryFact::Corrupt(damage) => all.notes.push(damage.to_string()),
    }
    match found.snapshot {
        SnapshotFact::Found { file, peek, .. } => {
            if let Some(replid) = peek.replid {
                all.claims.push(Claim { source: file.name, replid, from: None, to: peek.offset });
            }
        }
        SnapshotFact::Unreadable(damage) => all.notes.push(damage.to_string()),
        SnapshotFact::None => {}
    }
    for file in &found.log.files {
        if let Some(peek) = file.peek
            && let Some(replid) = peek.replid
        {
            all.claims.push(Claim { source: file.name.clone(), replid, from: None, to: peek.offset });
        }
        let Some(report) = &file.report else { continue };
        for (i, (replid, from)) in report.ids.iter().enumerate() {
            let to = report.ids.get(i + 1).map_or(report.parsed.offset, |(_, next)| *next);
            let source = file.name.clone();
            all.claims.push(Claim { source, replid: *replid, from: Some(*from), to: Some(to) });
        }
    }
    if let Some((ring, check)) = found.ring {
        let from = ring.begun().max(check.claimed.start);
        let source = paths.ring().file_name().unwrap_or_default().to_string_lossy().into_owned();
        all.claims.push(Claim {
            source,
            replid: ring.replid(),
            from: Some(from),
            to: Some(check.claimed.end),
        });
    }
    all.notes.extend(found.ring_damage.map(|damage| damage.to_string()));
    Ok(all)
}

impl Lineage {
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if let Some(history) = &self.history {
            write_history(history, &mut out);
        }
        if !self.claims.is_empty() {
            out.push_str("what the files say:\n");
        }
        let width = self.claims.iter().map(|claim| claim.source.len()).max().unwrap_or(0);
        let at = |offset: Option<Offset>| offset.map_or("-".to_string(), |offset| offset.to_string());
        for claim in &self.claims {
            let source = message(&claim.source);
            let (from, to) = (at(claim.from), at(claim.to));
            let _infallible = writeln!(out, "  {source:<width$}  {}  {from:>12} to {to}", claim.replid);
        }
        for note in &self.notes {
            let _infallible = writeln!(out, "note: {}", message(note));
        }
        out
    }

    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Json::new();
        json.object(|j| {
            if let Some(history) = &self.history {
                j.key("history").object(|j| history_json(history, j));
            }
            j.key("claims").array(|j| {
                for claim in &self.claims {
                    j.object(|j| {
                        j.key("file").text(claim.source.as_bytes());
                        j.key("replid").text(claim.replid.as_bytes());
                        j.key("from").maybe(claim.from);
                        j.key("to").maybe(claim.to);
                    });
                }
            });
            j.key("notes").array(|j| self.notes.iter().for_each(|note| j.text(note.as_bytes())));
        });
        json.into_bytes()
    }
}

fn role_of(history: &History) -> String {
    match &history.role {
        Role::Primary => "primary".into(),
        Role::Replica { host, port } => format!("replica of {host}:{port}"),
    }
}

fn write_history(history: &History, out: &mut String) {
    let born = match history.born {
        Born::Empty => "on an empty directory",
        Born::Copy => "as a copy of one that began on an empty directory",
        Born::Import => "from another server's data",
    };
    let closed = match &history.clean {
        Some(clean) => format!("cleanly, at {}", clean.end),
        None => format!("not cleanly, or it runs (last noted offset {})", history.offset_hint),
    };
    let told = |told: bool| if told { "told to peers" } else { "told to nobody" };
    let _infallible = writeln!(
        out,
        "history born {born}, generation {}, as {}; closed {closed}",
        history.generation,
        message(&role_of(history))
    );
    let _infallible =
        writeln!(out, "  {}  {:>12} on     {}", history.replid, history.begun, told(history.told));
    for past in &history.lineage {
        let _infallible = writeln!(
            out,
            "  {}  up to {:>12}  ended by {}, {}",
            past.replid,
            past.end,
            past.cause.word(),
            told(past.told)
        );
    }
    for base in &history.bases {
        let files: Vec<&str> = base.files.iter().map(|file| file.name.as_str()).collect();
        let state = if base.placed { "" } else { ", announced only" };
        let files = message(&files.join(", "));
        let _infallible = writeln!(out, "base at {} in db {}: {files}{state}", base.cut, base.db);
    }
    if let Some(sealed) = history.sealed {
        let _infallible = writeln!(out, "sealed after a failed fsync: {} to {}", sealed.from, sealed.to);
    }
}

fn history_json(history: &History, json: &mut Json) {
    json.key("replid").text(history.replid.as_bytes());
    json.key("begun").plain(history.begun);
    json.key("told").plain(history.told);
    json.key("generation").plain(history.generation);
    json.key("role").text(role_of(history).as_bytes());
    json.key("offset_hint").plain(history.offset_hint);
    json.key("clean_end").maybe(history.clean.as_ref().map(|clean| clean.end));
    json.key("lineage").array(|j| {
        for past in &history.lineage {
            j.object(|j| {
                j.key("replid").text(past.replid.as_bytes());
                j.key("end").plain(past.end);
                j.key("cause").text(past.cause.word().as_bytes());
                j.key("told").plain(past.told);
            });
        }
    });
    json.key("bases").array(|j| {
        for base in &history.bases {
            j.object(|j| {
                j.key("cut").plain(base.cut);
                j.key("db").plain(base.db);
                j.key("placed").plain(base.placed);
                j.key("files").array(|j| base.files.iter().for_each(|file| j.text(file.name.as_bytes())));
            });
        }
    });
}
