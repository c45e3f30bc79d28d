//! A damaged log: its whole commands, and its transactions as far as they are whole.
//!
//! ```text
//! unit (a command, or MULTI … EXEC) ─► held in a spool until its end ─► written
//!       damage, or the end inside it ─► looked for behind its first byte: `*N`, `$L`, a name that servers know ─► on
//! ```
//!
//! Offset marks are left out, because they tell of bytes that are lost; `#TS:` lines stay. What follows a gap is applied to
//! whatever the log's commands before it made, so the new log is a salvage and not a state that ever was; the
//! database that was selected inside a gap is not known, and the report says so.

use std::io::Write;

use super::{STEP, Salvaged, Wreck};
use crate::error::Corrupt;
use crate::format::framing::{Command, Framer, Sink, Units};
use crate::inspect::commands;
use crate::inspect::spool::Spool;
use crate::inspect::text::shortened;
use crate::inspect::{Failure, Result};

/// Bytes of a unit that stay in memory.
const IN_MEMORY: usize = 1 << 20;
/// As many times the file, and this much, are read before the rest is given up.
const MOST_WORK: u64 = 16;
const LEAST_WORK: u64 = 64 << 20;
/// Bytes in which a command that is looked for says its name.
const LOOK_AHEAD: usize = 64;

pub fn salvage(wreck: &Wreck, out: &mut dyn Write, found: &mut Salvaged) -> Result<()> {
    let most = wreck.size.saturating_mul(MOST_WORK).saturating_add(LEAST_WORK);
    let (mut at, mut work, mut gap, mut strays) = (0, 0, Gap::None, 0u64);
    while at < wreck.size {
        let mut copy = Copy::new(out, at, gap);
        let (read, damage) = feed(wreck, at, &mut copy)?;
        let damage = damage.or_else(|| copy.unfinished(wreck.size));
        copy.settle_held().map_err(Failure::Output)?;
        work += read;
        found.kept += copy.kept;
        if let Some(end) = copy.dropped {
            found.lose(at, end, "commands of a transaction of which another part is lost");
        }
        let (whole, sound, in_multi) = (copy.whole, copy.sound, copy.units.in_multi());
        strays += copy.strays;
        gap = if in_multi || (gap == Gap::Multi && copy.is_held) { Gap::Multi } else { Gap::Unknown };
        let Some(damage) = damage else { break };
        if work > most {
            found.lose(
                whole,
                wreck.size,
                format!("{}; too much damage: the rest is not looked at", damage.what),
            );
            break;
        }
        at = next_command(wreck, sound + 1)?;
        found.lose(whole, at, damage.what);
    }
    if strays > 0 {
        found.notes.push(format!("{strays} EXEC without MULTI left out"));
    }
    if !found.losses.is_empty() {
        found
            .notes
            .push("commands behind a gap ran on other data than once, perhaps in another database".into());
    }
    Ok(())
}

/// What is missing in front of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Gap {
    None,
    /// Perhaps a MULTI.
    Unknown,
    /// A part of a transaction.
    Multi,
}

/// Copies whole units from byte `at` on. Bytes read, and the damage that ended it.
fn feed(wreck: &Wreck, at: u64, copy: &mut Copy<'_>) -> Result<(u64, Option<Corrupt>)> {
    let mut framer = Framer::new(at);
    let (mut piece, mut from) = (vec![0; STEP], at);
    loop {
        wreck.progress(from);
        let got = wreck.file.read_at(&mut piece, from)?;
        if got == 0 {
            return Ok((from - at, None));
        }
        from += got as u64;
        let fed = framer.feed(&piece[..got], copy);
        copy.unit.check()?;
        copy.held.check()?;
        if let Some(error) = copy.failure.take() {
            return Err(Failure::Output(error));
        }
        if let Some(damage) = copy.unknown.take() {
            return Ok((from - at, Some(damage)));
        }
        if let Err(damage) = fed {
            return Ok((from - at, Some(damage)));
        }
    }
}

/// The next place from `at` on where a command seems to begin; the size of the file if there is none.
fn next_command(wreck: &Wreck, mut at: u64) -> Result<u64> {
    let mut window = vec![0; STEP + LOOK_AHEAD];
    while at < wreck.size {
        let got = wreck.file.read_at(&mut window, at)?;
        let found = memchr::memchr_iter(b'*', &window[..got.min(STEP)])
            .find(|start| begins(&window[*start..got.min(start + LOOK_AHEAD)]));
        if let Some(start) = found {
            return Ok(at + start as u64);
        }
        at += STEP as u64;
    }
    Ok(wreck.size)
}

fn begins(head: &[u8]) -> bool {
    let count = head[1..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    count > 0 && head[1 + count..].starts_with(b"\r\n$") && is_known(head)
}

/// Whether a server knows the command that begins so; what modules add has a dot in its name.
fn is_known(head: &[u8]) -> bool {
    head == b"\n" || commands::name(head).is_some_and(|name| commands::is_known(name) || name.contains(&b'.'))
}

/// Copies a stretch without damage. Behind a gap nothing is written until it is known whether it belongs to a transaction
/// that began in the gap: EXEC says yes, MULTI no; at the stretch's end it does if the gap was inside one.
struct Copy<'c> {
    out: &'c mut dyn Write,
    /// The unit that is being read.
    unit: Spool,
    units: Units,
    /// Where the last whole unit ended.
    whole: u64,
    /// Where the last whole command ended.
    sound: u64,
    gap: Gap,
    /// Commands wait in `held`.
    is_held: bool,
    held: Spool,
    /// Commands written, in `held`, and in the unit.
    kept: u64,
    waiting: u64,
    pending: u64,
    /// What waited was a part of a transaction, which ended here.
    dropped: Option<u64>,
    /// EXEC without MULTI, not behind a gap.
    strays: u64,
    /// The first bytes of the command that is being read.
    head: Vec<u8>,
    /// A command that no server knows: nothing counts from it on.
    unknown: Option<Corrupt>,
    failure: Option<std::io::Error>,
}

impl<'c> Copy<'c> {
    fn new(out: &'c mut dyn Write, at: u64, gap: Gap) -> Copy<'c> {
        Copy {
            out,
            unit: Spool::new(IN_MEMORY),
            units: Units::new(0),
            whole: at,
            sound: at,
            gap,
            is_held: gap != Gap::None,
            held: Spool::new(IN_MEMORY),
            kept: 0,
            waiting: 0,
            pending: 0,
            dropped: None,
            strays: 0,
            head: Vec::new(),
            unknown: None,
            failure: None,
        }
    }

    /// Damage if the file ends inside a unit.
    fn unfinished(&self, size: u64) -> Option<Corrupt> {
        (self.whole < size).then(|| Corrupt::new(size, "ends inside a command or a transaction"))
    }

    /// Decides on what still waits at the end of the stretch.
    fn settle_held(&mut self) -> std::io::Result<()> {
        if self.is_held && self.gap == Gap::Multi {
            self.dropped = (self.waiting > 0).then_some(self.whole);
            return Ok(());
        }
        self.write_held()
    }

    fn write_held(&mut self) -> std::io::Result<()> {
        std::io::copy(&mut self.held.reader(), self.out)?;
        self.held.clear();
        self.kept += std::mem::take(&mut self.waiting);
        Ok(())
    }

    /// Writes the unit, or lets it wait.
    fn pass_on(&mut self) -> std::io::Result<()> {
        if self.is_held {
            std::io::copy(&mut self.unit.reader(), &mut self.held)?;
            self.waiting += std::mem::take(&mut self.pending);
        } else {
            std::io::copy(&mut self.unit.reader(), self.out)?;
            self.kept += std::mem::take(&mut self.pending);
        }
        self.unit.clear();
        Ok(())
    }
}

impl Sink for Copy<'_> {
    fn stream(&mut self, bytes: &[u8]) {
        if self.unknown.is_none() {
            let room = LOOK_AHEAD - self.head.len();
            self.head.extend_from_slice(&bytes[..bytes.len().min(room)]);
            self.unit.put(bytes);
        }
    }

    fn line(&mut self, line: &[u8], at: u64) -> std::result::Result<(), Corrupt> {
        if self.unknown.is_some() {
            return Ok(());
        }
        if line.starts_with(b"#TS:") {
            self.unit.put(line);
        }
        if !self.units.in_multi() {
            self.whole = at + line.len() as u64;
        }
        Ok(())
    }

    fn command_end(&mut self, command: Command, at: u64) {
        if self.unknown.is_some() {
            return;
        }
        if !is_known(&self.head) {
            let name = commands::name(&self.head).unwrap_or(&self.head);
            let what = format!("unknown command '{}'", shortened(name, 40));
            self.unknown = Some(Corrupt::new(self.sound, what));
            return;
        }
        self.head.clear();
        let stray = command == Command::Exec && !self.units.in_multi();
        self.pending += 1;
        let ended = self.units.command_end(command);
        let done = match command {
            Command::Multi if self.is_held => {
                self.is_held = false;
                self.write_held()
            }
            _ if stray => {
                self.dropped = self.is_held.then_some(at);
                self.strays += u64::from(!self.is_held);
                self.is_held = false;
                self.unit.clear();
                self.held.clear();
                (self.pending, self.waiting) = (0, 0);
                Ok(())
            }
            _ if ended => self.pass_on(),
            _ => Ok(()),
        };
        self.sound = at;
        if ended {
            self.whole = at;
        }
        if self.failure.is_none() {
            self.failure = done.err();
        }
    }
}
