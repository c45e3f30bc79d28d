//! A damaged snapshot: read up to the damage, then on from the next place where records follow one another.
//!
//! ```text
//! survey: item ─► item ─► damage in a value ─► stepped over by its length, and two keys or the end follow? ─► on
//!                              └► else byte by byte: three different keys in a row that decode, or the end? ─► on
//! write:  the stretches that were sound, without keys that come again later
//! ```
//!
//! Two passes, because a server refuses a file in which a key comes twice, and that is known only at the end.
//!
//! Rows of one byte must not pass for records: zeros are strings without names, so a record that is looked for has a
//! name, and two in a row without one are damage; ones are lists named `\x01`, so names in a row differ.

use std::cell::RefCell;
use std::io::{Read, Write};
use std::rc::Rc;

use super::{STEP, Salvaged, Wreck};
use crate::error::Corrupt;
use crate::format::rdb::{
    self, Item, LoadError, Opcode, Reader, VERSION_CHECKSUM, VERSION_STREAMS_3, ValueType,
};
use crate::inspect::check::rdb::Judge;
use crate::inspect::convert::spool;
use crate::inspect::keys::Head;
use crate::inspect::partitions::{Marks, Repeats};
use crate::inspect::rebuild::{OLDEST, Writer};
use crate::inspect::snapshot::Snapshot;
use crate::inspect::spool::Spool;
use crate::inspect::value::{self, Nothing, Scratch};
use crate::inspect::{Failure, Result};
use crate::log::rdb_probe::Positioned;
use crate::units::UnixMillis;

/// Bytes of the magic and version.
const HEAD: u64 = 9;
/// Bytes of the end: opcode and checksum.
const TRAILER: u64 = 9;
/// Different keys in a row that make a place believable; behind a value that has a length, fewer.
const ENOUGH: usize = 3;
const ENOUGH_BEHIND_VALUE: usize = 2;
/// The longest name, and the highest database, of a record that is looked for.
const LONGEST_NAME: u64 = 4096;
const HIGHEST_DB: u64 = 16_384;
/// Bytes that are read to judge a place; fewer when places have cost as many times the file as this.
const ATTEMPT: u64 = 32 << 20;
const CHEAP_ATTEMPT: u64 = 64 << 10;
const MOST_WORK: u64 = 16;
/// Sound stretches that are remembered.
const MOST_STRETCHES: usize = 1_000_000;
/// Keys between two looks at the progress bar.
const STRIDE: u64 = 1024;

/// A part of the file without damage.
struct Stretch {
    from: u64,
    to: u64,
    /// Selected at its start.
    db: u64,
}

/// Where a stretch ended.
enum Stop {
    /// Behind the end of the snapshot.
    End(u64),
    Damage(Damage),
}

struct Damage {
    /// The item begins here.
    at: u64,
    why: Corrupt,
    /// Where the value begins, if the damage is in one.
    value: Option<(ValueType, u64)>,
}

pub fn salvage(wreck: &Wreck, now: UnixMillis, out: &mut dyn Write, found: &mut Salvaged) -> Result<()> {
    let version = version(wreck, found)?;
    let mut survey = Survey {
        wreck,
        version,
        stretches: Vec::new(),
        dropped: Marks::default(),
        repeats: Repeats::default(),
        next: 0,
        work: 0,
        spool: spool(),
        found,
    };
    survey.all()?;
    let Survey { stretches, mut dropped, repeats, .. } = survey;
    let repeated = repeats.finish()?;
    if repeated.count > 0 {
        found.notes.push(format!("{} keys came again later: the last one of each stands", repeated.count));
    }
    dropped.add(&repeated);
    let mut writer = Writer::begin(out, version.max(OLDEST), now)?;
    write(wreck, version, &stretches, &dropped, &mut writer)?;
    found.kept = writer.keys;
    if writer.left_out > 0 {
        found.notes.push(format!("{} keys are of no form that can be written", writer.left_out));
    }
    writer.finish()?;
    check_seal(wreck, version, found);
    Ok(())
}

/// The version in the first nine bytes; if they are damaged, one that has all types.
fn version(wreck: &Wreck, found: &mut Salvaged) -> Result<u16> {
    let mut input = Positioned { file: &*wreck.file, at: 0 };
    match Reader::open(&mut input, false) {
        Ok(reader) => Ok(reader.version),
        Err(LoadError::Corrupt(damage)) => {
            found.lose(0, HEAD.min(wreck.size), damage.what);
            Ok(VERSION_STREAMS_3)
        }
        Err(error) => Err(Failure::of(error, &wreck.name)),
    }
}

/// Says so if the checksum knows of more damage than the structure.
fn check_seal(wreck: &Wreck, version: u16, found: &mut Salvaged) {
    let mut input = Positioned { file: &*wreck.file, at: 0 };
    if found.losses.is_empty()
        && version >= VERSION_CHECKSUM
        && let Err(LoadError::Corrupt(damage)) = rdb::verify(&mut input)
    {
        let what = "the structure is whole, so that bits in names, texts or numbers are not what they were";
        found.notes.push(format!("{}; {what}", damage.what));
    }
}

struct Survey<'w> {
    wreck: &'w Wreck,
    version: u16,
    stretches: Vec<Stretch>,
    /// Keys inside stretches that are not whole.
    dropped: Marks,
    repeats: Repeats,
    /// Ordinal of the next key.
    next: u64,
    /// Bytes that were read to judge places.
    work: u64,
    spool: Rc<RefCell<Spool>>,
    found: &'w mut Salvaged,
}

impl Survey<'_> {
    fn all(&mut self) -> Result<()> {
        let (mut from, mut db) = (HEAD, 0);
        while from < self.wreck.size {
            if self.stretches.len() >= MOST_STRETCHES {
                let why = format!("more than {MOST_STRETCHES} damaged places: the rest is not looked at");
                self.found.lose(from, self.wreck.size, why);
                return Ok(());
            }
            let wreck = self.wreck;
            let mut input = Positioned { file: &*wreck.file, at: from };
            let mut snapshot = Snapshot::resume(&mut input, &wreck.name, self.version, from, db);
            let stop = self.stretch(&mut snapshot)?;
            let end = match &stop {
                Stop::End(end) => *end,
                Stop::Damage(damage) => damage.at,
            };
            self.stretches.push(Stretch { from, to: end, db });
            db = snapshot.db;
            let (lost, damage) = match stop {
                Stop::End(end) if self.ends_well(end)? => return Ok(()),
                // The end is no end: whatever it was, it was one byte.
                Stop::End(end) => {
                    let why = Corrupt::new(end, "an end, and more behind it");
                    (end, Damage { at: end, why, value: None })
                }
                Stop::Damage(damage) => (damage.at, damage),
            };
            from = self.next_place(&damage)?;
            let why = if from < wreck.size && db > 0 {
                format!(
                    "{}; what follows is taken to be in db {db}, unless it says otherwise",
                    damage.why.what
                )
            } else {
                damage.why.what.into_owned()
            };
            self.found.lose(lost, from, why);
        }
        Ok(())
    }

    /// Walks items up to the end or damage.
    fn stretch(&mut self, snapshot: &mut Snapshot<'_>) -> Result<Stop> {
        let mut judge = Judge::new();
        loop {
            let item = match snapshot.next_item() {
                Ok(item) => item,
                Err(failure) => return damaged(failure, snapshot.at, None),
            };
            let kind = match item {
                Item::Key(kind, _) => kind,
                Item::End(_) => return Ok(Stop::End(snapshot.offset())),
                Item::Select(db) if db > HIGHEST_DB => {
                    let why = Corrupt::new(snapshot.at, format!("database {db}"));
                    return Ok(Stop::Damage(Damage { at: snapshot.at, why, value: None }));
                }
                _ => continue,
            };
            if snapshot.key().is_empty() && self.are_zeros(snapshot.at)? {
                let why = Corrupt::new(snapshot.at, "zeros");
                return Ok(Stop::Damage(Damage { at: snapshot.at, why, value: None }));
            }
            let value_at = snapshot.offset();
            judge.begin(kind);
            if let Err(failure) = snapshot.value_into(kind, &mut judge, &self.spool) {
                return damaged(failure, snapshot.at, Some((kind, value_at)));
            }
            if let Some(problem) = judge.problem.take() {
                let Failure::Corrupt(damage) = snapshot.in_key(LoadError::Corrupt(problem)) else { continue };
                self.found.lose(snapshot.at, snapshot.offset(), damage.what);
                self.dropped.set(self.next);
                self.repeats.pass();
            } else {
                self.repeats.put(snapshot.db, snapshot.key());
            }
            self.next += 1;
            if self.next.is_multiple_of(STRIDE) {
                self.wreck.progress(snapshot.offset());
            }
        }
    }

    /// Two empty strings without a name in a row: the second one cannot be in a sound file.
    fn are_zeros(&self, at: u64) -> Result<bool> {
        let mut two = [1; 6];
        self.wreck.file.read_at(&mut two, at)?;
        Ok(two == [0; 6])
    }

    /// Whether nothing that matters is behind the end.
    fn ends_well(&mut self, end: u64) -> Result<bool> {
        let mut next = [0; 40];
        let got = self.wreck.file.read_at(&mut next, end)?;
        let left = self.wreck.size - end;
        match next[..got].first() {
            None => Ok(true),
            Some(_) if left == 40 && next.iter().all(u8::is_ascii_hexdigit) => Ok(true),
            Some(b'*' | b'#') => {
                let note = format!(
                    "{left} bytes of commands behind the snapshot, from byte {end} on, are not in it"
                );
                self.found.notes.push(note);
                Ok(true)
            }
            Some(_) => Ok(false),
        }
    }

    /// Where to read on; the size of the file if nowhere.
    fn next_place(&mut self, damage: &Damage) -> Result<u64> {
        if let Some((kind, at)) = damage.value {
            let mut input = Positioned { file: &*self.wreck.file, at };
            let mut reader = Reader::resume(&mut input, self.version, at, None);
            if reader.skip_value(kind).is_ok() {
                let behind = reader.source.offset();
                if behind < self.wreck.size && self.chain(behind)? >= ENOUGH_BEHIND_VALUE {
                    return Ok(behind);
                }
            }
        }
        let mut window = vec![0; STEP + LOOK_AHEAD];
        let mut at = damage.at + 1;
        while at < self.wreck.size {
            self.wreck.progress(at);
            let got = self.wreck.file.read_at(&mut window, at)?;
            for start in 0..got.min(STEP) {
                let place = at + start as u64;
                let may_be = may_begin(&window[start..got], place + TRAILER == self.wreck.size);
                if may_be && self.chain(place)? >= ENOUGH {
                    return Ok(place);
                }
            }
            at += STEP as u64;
        }
        Ok(self.wreck.size)
    }

    /// How many different keys follow one another from here on, up to [`ENOUGH`], all sound; as many as are asked for if
    /// the file's end is reached.
    fn chain(&mut self, at: u64) -> Result<usize> {
        let spent = self.work / MOST_WORK > self.wreck.size + ATTEMPT;
        let limit = if spent { CHEAP_ATTEMPT } else { ATTEMPT };
        let mut input = Positioned { file: &*self.wreck.file, at }.take(limit);
        let mut reader = Reader::resume(&mut input, self.version, at, Some(LOOK_AHEAD));
        reader.source.longest = limit;
        let count = links(&mut reader, self.wreck.size);
        self.work += reader.source.offset() - at;
        match count {
            Ok(count) => Ok(count),
            Err(error) => Err(Failure::of(error, &self.wreck.name)),
        }
    }
}

/// Bytes in which a record that is looked for says what it is.
const LOOK_AHEAD: usize = 4096;

fn damaged(failure: Failure, at: u64, value: Option<(ValueType, u64)>) -> Result<Stop> {
    match failure {
        Failure::Corrupt(why) | Failure::TooLong(why) => Ok(Stop::Damage(Damage { at, why, value })),
        failure => Err(failure),
    }
}

/// Whether these bytes may begin an item: judged by type and length of the name alone.
fn may_begin(bytes: &[u8], at_trailer: bool) -> bool {
    let (Some(&first), Some(&form)) = (bytes.first(), bytes.get(1)) else { return false };
    match Opcode::from_byte(first) {
        Some(Opcode::End) => at_trailer,
        Some(Opcode::FunctionPreGa | Opcode::ModuleAux | Opcode::SlotInfo) => false,
        Some(_) => true,
        None if ValueType::from_byte(first).is_none() => false,
        None => match form {
            0 => false,
            0x01..=0x3f => true,
            0x40..=0x7f => {
                let low = bytes.get(2).copied().unwrap_or_default();
                (64..=LONGEST_NAME).contains(&u16::from_be_bytes([form & 0x3f, low]).into())
            }
            _ => (0xc0..=0xc3).contains(&form),
        },
    }
}

/// See [`Survey::chain`]. An error is the disk's.
fn links(reader: &mut Reader<'_>, size: u64) -> std::result::Result<usize, LoadError> {
    let mut names: Vec<Vec<u8>> = Vec::new();
    let mut scratch = Scratch::default();
    while names.len() < ENOUGH {
        let sound = match reader.next_item() {
            Ok(Item::Key(kind, _)) => {
                let name = std::mem::take(&mut reader.key);
                if name.is_empty() || name.len() as u64 > LONGEST_NAME || names.contains(&name) {
                    break;
                }
                names.push(name);
                value::walk(reader, kind, &mut scratch, &mut Nothing).map(|_| true)
            }
            Ok(Item::End(_)) if reader.source.offset() == size => return Ok(ENOUGH),
            Ok(Item::End(_)) => break,
            Ok(Item::Select(db)) => Ok(db <= HIGHEST_DB),
            Ok(Item::ModuleAux(_)) => reader.skip_module().map(|()| true),
            Ok(_) => Ok(true),
            Err(LoadError::Io(error)) => return Err(error.into()),
            Err(_) => break,
        };
        match sound {
            Ok(true) => {}
            Ok(false) => break,
            Err(LoadError::Io(error)) => return Err(error.into()),
            Err(_) => {
                names.pop();
                break;
            }
        }
    }
    Ok(names.len())
}

/// Writes what was found sound, except the keys that are marked.
fn write(
    wreck: &Wreck,
    version: u16,
    stretches: &[Stretch],
    dropped: &Marks,
    writer: &mut Writer<'_>,
) -> Result<()> {
    let spool = spool();
    let (mut ordinal, mut name) = (0, Vec::new());
    for Stretch { from, to, db } in stretches {
        let mut input = Positioned { file: &*wreck.file, at: *from };
        let mut snapshot = Snapshot::resume(&mut input, &wreck.name, version, *from, *db);
        while snapshot.offset() < *to {
            match snapshot.next_item()? {
                Item::Key(kind, _) if dropped.has(ordinal) => {
                    ordinal += 1;
                    snapshot.skip(kind)?;
                }
                Item::Key(kind, attributes) => {
                    ordinal += 1;
                    name.clear();
                    name.extend_from_slice(snapshot.key());
                    let facts = snapshot.value_into(kind, &mut Nothing, &spool)?;
                    let head = Head { db: snapshot.db, key: &name, kind, attributes, at: snapshot.at };
                    writer.key(&head, &facts, &spool.borrow())?;
                }
                Item::Function(code) => writer.function(&code)?,
                Item::End(_) => break,
                _ => {}
            }
        }
    }
    Ok(())
}
