//! Checks a ring from its file's first byte to its last, so that it also works on a pipe: header slots, then each block of
//! the window against its seal, in the order in which the blocks lie in the file.

use std::io::{self, BufReader, Read};

use super::{FileReport, Verdict, unreadable};
use crate::error::Corrupt;
use crate::format::ring::{BLOCK, Layout, Name, Window, block_seal, decode_header};
use crate::inspect::Result;
use crate::inspect::spool::Spool;
use crate::units::Offset;

const HEADER: usize = 4096;
/// Of seals, before they go to a file.
const IN_MEMORY: usize = 1 << 20;
/// Larger rings have more blocks than are kept in mind.
const MOST: u64 = 128 << 30;

/// What a ring's header says, and which of its blocks hold.
#[derive(Clone, Debug)]
pub struct Blocks {
    pub name: Name,
    pub window: Window,
    /// Blocks of the window, whole or in part.
    pub total: u64,
    pub sound: u64,
    /// For each block of the file, in file order: outside the window, sound, damaged.
    pub map: Vec<Block>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    Outside,
    Sound,
    Damaged,
}

pub fn check(input: &mut dyn Read, report: &mut FileReport) -> Result<()> {
    let Some(found) = read(input, report)? else { return Ok(()) };
    let Window { start, end, .. } = found.window;
    report.facts.push(("position", format!("{}:{end}", found.name.replid)));
    report.facts.push(("window", format!("{start} to {end}")));
    report.facts.push(("capacity", found.name.capacity.to_string()));
    report.facts.push(("blocks", format!("{} of {} sound", found.sound, found.total)));
    Ok(())
}

/// Reads all of a ring; what is wrong is added to the report. `None`: the header is.
pub fn read(input: &mut dyn Read, report: &mut FileReport) -> Result<Option<Blocks>> {
    let mut reader = Whole { input, at: 0 };
    let mut head = vec![0; HEADER];
    let got = reader.fill(&mut head, report)?;
    let (name, window) = match decode_header(&head[..got]) {
        Ok(found) => found,
        Err(damage) => {
            report.bytes = reader.at;
            report.add(Verdict::Corrupt, damage);
            return Ok(None);
        }
    };
    let layout = Layout { capacity: name.capacity };
    if name.capacity > MOST {
        report.notes.push("too large a ring for its blocks to be checked".into());
        return Ok(None);
    }
    let mut found = Blocks { name, window, total: 0, sound: 0, map: Vec::new() };
    // They stand before the blocks, in their order.
    let mut seals = Spool::new(IN_MEMORY);
    reader.copy(&mut seals, (layout.data() - HEADER) as u64, report)?;
    let mut seals = BufReader::new(seals.reader());
    let mut block = vec![0; BLOCK as usize];
    for index in 0..layout.blocks() {
        let at = reader.at;
        let got = reader.fill(&mut block, report)?;
        if got < block.len() {
            let what = format!("ends here; {} bytes were expected", layout.file_len());
            report.add(Verdict::Corrupt, Corrupt::new(at + got as u64, what));
            break;
        }
        let mut stored = [0; 8];
        seals.read_exact(&mut stored).map_err(|error| unreadable(error, &report.file))?;
        let state = judge(&found, index, &block, u64::from_le_bytes(stored));
        found.map.push(state);
        found.total += u64::from(state != Block::Outside);
        found.sound += u64::from(state == Block::Sound);
        if state == Block::Damaged {
            let offset = offset_of(&found, index).unwrap_or_default();
            let what = format!("the block of stream offset {offset} does not match its seal");
            report.add(Verdict::Corrupt, Corrupt::new(at, what));
        }
    }
    report.bytes = reader.at;
    Ok(Some(found))
}

/// The stream offset at which the block with this place in the file begins, if it is in the window.
fn offset_of(found: &Blocks, index: u64) -> Option<Offset> {
    let (capacity, window) = (found.name.capacity, &found.window);
    let last = window.end.0.checked_sub(1)? / BLOCK;
    let blocks = capacity / BLOCK;
    // The newest block whose place this is.
    let back = (last % blocks + blocks - index) % blocks;
    let block = last.checked_sub(back)? * BLOCK;
    (block + BLOCK > window.start.0 && window.start < window.end).then_some(Offset(block))
}

fn judge(found: &Blocks, index: u64, bytes: &[u8], stored: u64) -> Block {
    let Some(block) = offset_of(found, index) else { return Block::Outside };
    let from = block.max(found.name.origin).since(block) as usize;
    let to = found.window.end.since(block).min(BLOCK) as usize;
    let Some(content) = bytes.get(from..to) else { return Block::Damaged };
    let mut seal = block_seal(found.name.tag, block);
    seal.update(content);
    let expected = if (to as u64) < BLOCK { found.window.partial_seal } else { stored };
    if seal.value() == expected { Block::Sound } else { Block::Damaged }
}

struct Whole<'a> {
    input: &'a mut dyn Read,
    at: u64,
}

impl Whole<'_> {
    /// Fills `buffer`, less at the end of the input; how many bytes.
    fn fill(&mut self, buffer: &mut [u8], report: &FileReport) -> Result<usize> {
        let mut got = 0;
        while got < buffer.len() {
            match self.input.read(&mut buffer[got..]) {
                Ok(0) => break,
                Ok(count) => got += count,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                Err(error) => return Err(unreadable(error, &report.file)),
            }
        }
        self.at += got as u64;
        Ok(got)
    }

    fn copy(&mut self, out: &mut Spool, len: u64, report: &FileReport) -> Result<()> {
        let mut limited = self.input.take(len);
        self.at += io::copy(&mut limited, out).map_err(|error| unreadable(error, &report.file))?;
        out.check()
    }
}
