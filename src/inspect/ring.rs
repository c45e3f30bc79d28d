//! A ring's header, window and block map.
//!
//! The map is drawn in at most [`CELLS`] characters, each standing for as many blocks as it must: `!` if one of them is
//! damaged, `#` if one is in the window, `.` if all are outside.

use std::fmt::Write as _;
use std::path::Path;

use super::check::{self, Block, Blocks, FileReport};
use super::input::{self, Found, Kind};
use super::text::{Json, message, size};
use super::{Failure, Result};

const CELLS: usize = 1024;
const WIDTH: usize = 64;

/// What was found: a report as `check` makes it, and the blocks unless the header is damaged.
pub struct RingView {
    pub report: FileReport,
    pub blocks: Option<Blocks>,
}

/// Reads the ring that `path` is, or that of a data directory.
pub fn view(path: &Path, options: &check::Options) -> Result<RingView> {
    let found = match input::open(path, &options.watch)? {
        Found::Directory(directory) => input::open(&directory.join("backlog.ring"), &options.watch)?,
        file => file,
    };
    match found {
        Found::File(input) if input.kind == Kind::Ring => {
            let (report, blocks) = check::ring_of(input)?;
            Ok(RingView { report, blocks })
        }
        Found::File(input) => {
            let what = format!("{} is a {}, not a ring", input.file.display(), input.kind.word());
            Err(Failure::Usage(what))
        }
        Found::Directory(directory) => Err(Failure::Usage(format!("{} is a directory", directory.display()))),
    }
}

impl RingView {
    pub fn to_text(&self) -> String {
        let mut out = String::new();
        if let Some(problem) = &self.report.problem {
            let _infallible = writeln!(out, "{}", message(problem));
        }
        let Some(blocks) = &self.blocks else { return out };
        let (name, window) = (&blocks.name, &blocks.window);
        let mut line = |what: &str, value: String| {
            let _infallible = writeln!(out, "{what:<10} {value}");
        };
        line("name", format!("{}, from {} on", name.replid, name.begun));
        line("tag", format!("{:016x}", name.tag));
        line("capacity", format!("{} ({} bytes)", size(name.capacity), name.capacity));
        line(
            "window",
            format!("{} to {}: {}", window.start, window.end, size(window.end.since(window.start))),
        );
        line("database", window.db.to_string());
        line("written", format!("{}, durable {}", window.written, window.durable));
        line("updates", format!("{} of the window, {} of the name", window.seq, name.seq));
        line("blocks", format!("{} of {} in the window are sound", blocks.sound, blocks.total));
        let per_cell = blocks.map.len().div_ceil(CELLS).max(1);
        let _infallible =
            writeln!(out, "map: # sound, ! damaged, . outside the window; {per_cell} blocks of 4 KiB each");
        let cells: Vec<u8> = blocks.map.chunks(per_cell).map(cell).collect();
        for row in cells.chunks(WIDTH) {
            let _infallible = writeln!(out, "  {}", String::from_utf8_lossy(row));
        }
        out
    }

    pub fn to_json(&self) -> Vec<u8> {
        let mut json = Json::new();
        json.object(|j| {
            j.key("verdict").text(self.report.verdict.word().as_bytes());
            if let Some(problem) = &self.report.problem {
                j.key("problem").text(problem.to_string().as_bytes());
            }
            let Some(blocks) = &self.blocks else { return };
            j.key("replid").text(blocks.name.replid.as_bytes());
            j.key("begun").plain(blocks.name.begun);
            j.key("capacity").plain(blocks.name.capacity);
            j.key("start").plain(blocks.window.start);
            j.key("end").plain(blocks.window.end);
            j.key("db").plain(blocks.window.db);
            j.key("written").plain(blocks.window.written);
            j.key("durable").plain(blocks.window.durable);
            j.key("blocks").plain(blocks.total);
            j.key("sound").plain(blocks.sound);
            j.key("damaged").array(|j| {
                let damaged = blocks.map.iter().enumerate().filter(|(_, block)| **block == Block::Damaged);
                damaged.for_each(|(index, _)| j.plain(index));
            });
        });
        json.into_bytes()
    }
}

fn cell(blocks: &[Block]) -> u8 {
    if blocks.contains(&Block::Damaged) {
        b'!'
    } else if blocks.contains(&Block::Sound) {
        b'#'
    } else {
        b'.'
    }
}
