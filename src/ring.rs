//! The ring: the memory-mapped, disk-backed backlog, holding the last bytes of the stream.
//!
//! A store into the map is in the file as soon as it is executed, so a process crash loses nothing and costs no system
//! call per write; a power cut may lose any subset of pages, which the block seals find out. The ring is not
//! fsynced while the log is on (rule 29): it is a cache that heals. Rejected: a plain file written by `pwrite` (a call
//! per batch on the data thread), an in-memory ring (lost with the process: no partial resync after a crash).
//!
//! **Order of an append** (rule 9), one writer, compiler fences between the steps:
//!
//! | crash after … | window slot says | its blocks |
//! |---|---|---|
//! | nothing | old start, old end | untouched |
//! | 1. new `start` published (if space is needed) | new start, old end | untouched; what will be overwritten is outside |
//! | 2. bytes copied, in part or whole | the same | only places outside the window changed, and the partial block *behind* `end` |
//! | 3. seals of filled blocks stored | the same | the table entries belong to places outside the window, or to the partial block, whose seal is in the slot |
//! | 4. new `end` published | new start, new end | all sealed |
//! | half of 1 or 4 | the other slot: the state before | as before that step |
//!
//! `start` moves by whole blocks and some more ([`Ring::slack`]), so that step 1 is rare. The same holds for a change
//! of name ([`Ring::set_replid`]): the name slot is written beside the one in use, the window slot switches.
//!
//! Always: `origin ≤ start ≤ end ≤ start + capacity`; `start` is a block's start or `origin`; nothing past `end` is ever
//! interpreted.

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::atomic::{Ordering, compiler_fence};

use crate::disk::{Disk, Mode, Region, Result, durable};
use crate::error::Corrupt;
use crate::format::crc::SealCrc;
use crate::format::ring::{
    BLOCK, Layout, NAME_SLOTS, Name, WINDOW_SLOTS, Window, WindowSeal, block_seal, block_start,
    decode_header, has_lost_window,
};
use crate::planted::{Bug, planted};
use crate::units::{Offset, ReplId};

/// A new ring's beginning.
#[derive(Clone, Copy, Debug)]
pub struct Begin {
    pub replid: ReplId,
    /// Where `replid` came into force.
    pub begun: Offset,
    /// Drawn when the history was born: `History::tag`.
    pub tag: u64,
    /// The ring is empty here.
    pub at: Offset,
    pub db: u32,
}

/// An open ring. Belongs to the data thread.
pub struct Ring {
    region: Box<dyn Region>,
    layout: Layout,
    name: Name,
    window: Window,
    window_seal: WindowSeal,
    /// Of `[max(block_start(end), origin), end)`.
    partial: SealCrc,
    /// Another file that receives the same appends until it takes over (resize).
    twin: Option<Box<Ring>>,
    path: PathBuf,
}

/// What `open` found.
pub enum Found {
    Missing,
    /// Not usable as a whole: header, length.
    Damaged(Corrupt),
    Ring(Box<Ring>, Check),
}

/// Which parts of the window are proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// Maximal proven ranges, in order; empty ranges are left out.
    pub proven: Vec<Range<Offset>>,
    /// What the header claims.
    pub claimed: Range<Offset>,
    /// The first block whose seal does not hold: its place in the file.
    pub damage: Option<Corrupt>,
    /// Offsets the header knows to be in the log.
    pub written: Offset,
    pub durable: Offset,
    /// One of the two window slots cannot be read: it may have claimed more.
    pub lost_window: bool,
}

impl Ring {
    /// Creates the file, reserved to its full size and durable under its name, replacing what is there.
    /// A full disk is an error that names the file.
    pub fn create(disk: &dyn Disk, path: &Path, capacity: u64, begin: Begin) -> Result<Ring> {
        let temporary = durable::with_suffix(path, durable::TEMPORARY);
        durable::remove_if_there(disk, &temporary)?;
        let made = Ring::create_file(disk, &temporary, path, capacity, begin);
        if made.is_err() {
            // Gives the space back; the failure that matters is reported already.
            let _secondary = durable::remove_if_there(disk, &temporary);
        }
        made
    }

    fn create_file(disk: &dyn Disk, at: &Path, path: &Path, capacity: u64, begin: Begin) -> Result<Ring> {
        let layout = Layout::for_capacity(capacity);
        let file = disk.open(at, Mode::CreateNew)?;
        file.fallocate(layout.file_len())?;
        let region = file.map(layout.file_len() as usize)?;
        let name = Name {
            seq: 0,
            capacity: layout.capacity,
            tag: begin.tag,
            origin: begin.at,
            begun: begin.begun,
            replid: begin.replid,
        };
        let mut ring = Ring {
            region,
            layout,
            name,
            window: Window::default(),
            window_seal: WindowSeal::default(),
            partial: block_seal(begin.tag, block_start(begin.at)),
            twin: None,
            path: path.to_path_buf(),
        };
        ring.restart(begin);
        ring.region.flush()?; // size and header, before the name makes them the ring
        durable::publish(disk, at, path)?;
        Ok(ring)
    }

    /// Opens and checks every block, changing nothing. The window is what the header claims: [`Ring::keep`] a proven
    /// range or [`Ring::restart`] before the first append.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<Found> {
        let Some(len) = disk.len(path)? else { return Ok(Found::Missing) };
        let file = disk.open(path, Mode::Write)?;
        let mut head = [0; 4096];
        let got = file.read_at(&mut head, 0)?;
        let (name, window) = match decode_header(&head[..got]) {
            Ok(found) => found,
            Err(damage) => return Ok(Found::Damaged(damage.in_file(path))),
        };
        let layout = Layout { capacity: name.capacity };
        if len < layout.file_len() {
            let what = format!("cut to {len} of {} bytes", layout.file_len());
            return Ok(Found::Damaged(Corrupt::new(len, what).in_file(path)));
        }
        let region = file.map(layout.file_len() as usize)?;
        let partial = block_seal(name.tag, block_start(window.end));
        let ring = Ring {
            region,
            layout,
            name,
            window,
            window_seal: WindowSeal::default(),
            partial,
            twin: None,
            path: path.to_path_buf(),
        };
        let check = ring.check();
        Ok(Found::Ring(Box::new(ring), check))
    }

    pub fn start(&self) -> Offset {
        self.window.start
    }
    pub fn end(&self) -> Offset {
        self.window.end
    }
    /// Bytes the file was made for, a multiple of 4096.
    pub fn capacity(&self) -> u64 {
        self.layout.capacity
    }
    pub fn replid(&self) -> ReplId {
        self.name.replid
    }
    /// Where [`Ring::replid`] came into force.
    pub fn begun(&self) -> Offset {
        self.name.begun
    }
    pub fn tag(&self) -> u64 {
        self.name.tag
    }
    /// The stream's db at `end`.
    pub fn db(&self) -> u32 {
        self.window.db
    }
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The largest append that leaves its bytes in the ring; a larger one empties it (rule 8). During a resize: in
    /// both files.
    pub fn limit(&self) -> u64 {
        self.twin.as_ref().map_or(u64::MAX, |twin| twin.own_limit()).min(self.own_limit())
    }
    /// The oldest offset after an append of `len` bytes: what must be `written` before it (rule 6). During a resize:
    /// the oldest that both files hold.
    pub fn start_after(&self, len: u64) -> Offset {
        let own = if len > self.own_limit() {
            self.window.end + len
        } else {
            self.new_start(self.window.end + len).unwrap_or(self.window.start)
        };
        self.twin.as_ref().map_or(own, |twin| own.max(twin.start_after(len)))
    }

    /// Appends whole units; `db` is the stream's after them. In the file when it returns.
    pub fn append(&mut self, bytes: &[u8], db: u32) {
        self.append_in_steps(bytes, db, |_| {});
        if let Some(twin) = self.twin.as_mut().filter(|_| !planted(Bug::ResizeUnfed)) {
            twin.append(bytes, db);
        }
    }

    /// Remembers how far the log is; rides along with the next append.
    pub fn note(&mut self, written: Offset, durable: Offset) {
        (self.window.written, self.window.durable) = (written, durable);
        if let Some(twin) = &mut self.twin {
            twin.note(written, durable);
        }
    }

    /// Up to `len` bytes from `offset` on, in two pieces where they wrap around. `None`: not in the window.
    pub fn read(&self, offset: Offset, len: usize) -> Option<(&[u8], &[u8])> {
        if offset < self.window.start || offset > self.window.end {
            return None;
        }
        let len = (self.window.end - offset).min(len as u64) as usize;
        let from = self.layout.data_at(offset);
        let data = self.region.bytes();
        let first = len.min(data.len() - from);
        let rest = self.layout.data();
        Some((&data[from..from + first], &data[rest..rest + len - first]))
    }

    /// From `end` on bytes are written under `replid`; in the file when it returns (rule 1: after
    /// `replication.toml`, before the first byte).
    pub fn set_replid(&mut self, replid: ReplId) {
        (self.name.replid, self.name.begun) = (replid, self.window.end);
        self.publish_name();
        if let Some(twin) = &mut self.twin {
            twin.set_replid(replid);
        }
    }

    /// The same at once, if more of the log is durable than the file says: after the last append nothing else would
    /// tell recovery which of its bytes cannot be a torn tail (rule 17).
    pub fn note_durable(&mut self, written: Offset, durable: Offset) {
        if durable <= self.window.durable {
            return;
        }
        (self.window.written, self.window.durable) = (written, durable);
        self.publish();
        if let Some(twin) = &mut self.twin {
            twin.note_durable(written, durable);
        }
    }

    /// The log is removed, so that recovery must not ask for one.
    pub fn forget_log(&mut self) {
        (self.window.written, self.window.durable) = (Offset::ZERO, Offset::ZERO);
        self.publish();
        if let Some(twin) = &mut self.twin {
            twin.forget_log();
        }
    }

    /// Empties the ring at another place of the same or another history.
    pub fn restart(&mut self, begin: Begin) {
        self.name.tag = begin.tag;
        (self.name.replid, self.name.begun) = (begin.replid, begin.begun);
        (self.window.written, self.window.durable) = (Offset::ZERO, Offset::ZERO);
        self.empty_at(begin.at, begin.db);
    }

    /// Narrows the window to `range`, a part of a proven one; `db` is the stream's at its end. The start is rounded
    /// up to a block.
    pub fn keep(&mut self, range: Range<Offset>, db: u32) {
        let end = range.end;
        let mut start = range.start.max(self.name.origin);
        if start != self.name.origin {
            start = Offset(start.0.next_multiple_of(BLOCK));
        }
        if start >= end {
            return self.empty_at(end, db);
        }
        let block = block_start(end).max(self.name.origin);
        let mut partial = block_seal(self.name.tag, block_start(end));
        partial.update(self.bytes_of(block, end));
        self.partial = partial;
        (self.window.start, self.window.end, self.window.db) = (start, end, db);
        self.publish();
    }

    /// After [`Ring::keep`] at a start, before the first append: seals of blocks outside the window go, durably. A start may
    /// come back to a place before bytes that are still sealed in the file (after a power cut that took a block between).
    /// The stream then goes on with *other* bytes at the same offsets, and a second power cut that loses these and keeps
    /// the newer header would prove the old ones: seals know offset and history, not which of two branches. Flushed
    /// before, as what the window holds must not depend on the seals that go.
    pub fn forget_outside(&mut self) -> Result<()> {
        self.flush()?;
        if planted(Bug::BranchSeals) {
            return Ok(());
        }
        let table =
            self.layout.seal_at(Offset::ZERO)..self.layout.seal_at(Offset(self.layout.capacity - 1)) + 8;
        let mut seals = vec![0; table.len()];
        let mut block = block_start(self.window.start);
        while block + BLOCK <= self.window.end {
            let at = self.layout.seal_at(block);
            seals[at - table.start..][..8].copy_from_slice(&self.region.bytes()[at..at + 8]);
            block += BLOCK;
        }
        self.region.bytes_mut()[table].copy_from_slice(&seals);
        self.flush()
    }

    /// All stores so far survive a power cut, whichever of two files a resize leaves. Blocks: not for the data thread while it
    /// serves.
    pub fn flush(&self) -> Result<()> {
        self.twin.as_ref().map_or(Ok(()), |twin| twin.flush())?;
        self.region.flush()
    }

    /// Where a ring of `capacity` that is to take this one's place begins: with the newest bytes that it can hold.
    pub fn twin_begin(&self, capacity: u64) -> Begin {
        let room =
            (Layout::for_capacity(capacity).capacity - 2 * BLOCK).min(self.window.end - self.window.start);
        let at = Offset(self.window.end.0 - room);
        Begin { replid: self.name.replid, begun: self.name.begun, tag: self.name.tag, at, db: self.window.db }
    }

    /// Touches every page of a new file, so that the data thread finds them there. Not for the data thread.
    pub fn prefault(&mut self) {
        let data = self.layout.data();
        self.region.bytes_mut()[data..].fill(0);
        self.restart(Begin {
            replid: self.name.replid,
            begun: self.name.begun,
            tag: self.name.tag,
            at: self.window.end,
            db: self.window.db,
        });
    }

    /// Copies up to `most` more bytes of the window into `twin`. `true`: it has all up to the end.
    pub fn copy_to(&self, twin: &mut Ring, mut most: u64) -> bool {
        let same = (twin.name.tag, twin.name.replid, twin.name.begun)
            == (self.name.tag, self.name.replid, self.name.begun);
        if !same || !(self.window.start..=self.window.end).contains(&twin.window.end) {
            twin.restart(self.twin_begin(twin.capacity()));
        }
        while most > 0 && twin.window.end < self.window.end {
            let piece = most.min(twin.own_limit());
            let Some((first, rest)) = self.read(twin.window.end, piece as usize) else { break };
            twin.append(first, self.window.db);
            twin.append(rest, self.window.db);
            most -= piece;
        }
        twin.window.end == self.window.end
    }

    /// Starts a resize (rule 9): `twin` is a ring made for it at another path. What [`Ring::copy_to`] has not given it is
    /// copied now, and it receives all appends from now on. When its file has been renamed over this one's,
    /// durably, call [`Ring::switch_to_twin`].
    pub fn attach_twin(&mut self, mut twin: Ring) {
        while !self.copy_to(&mut twin, u64::MAX) {}
        twin.note(self.window.written, self.window.durable);
        self.twin = Some(Box::new(twin));
    }

    /// Ends a resize: the twin's file has this ring's name now. Returns what was the ring, whose file has no name any
    /// more: dropping it frees its space, which takes a while.
    pub fn switch_to_twin(&mut self) -> Option<Ring> {
        let mut twin = self.twin.take()?;
        twin.path.clone_from(&self.path);
        Some(std::mem::replace(self, *twin))
    }

    /// The file has another name now.
    pub fn is_now_at(&mut self, path: &Path) {
        self.path = path.to_path_buf();
    }

    /// Gives a resize up; the caller removes the file.
    pub fn drop_twin(&mut self) {
        self.twin = None;
    }

    fn own_limit(&self) -> u64 {
        self.layout.capacity - 2 * BLOCK
    }

    fn append_in_steps(&mut self, mut bytes: &[u8], db: u32, mut observe: impl FnMut(&[u8])) {
        let new_end = self.window.end + bytes.len() as u64;
        if bytes.len() as u64 > self.own_limit() {
            if planted(Bug::BigUnit) {
                self.window.end = new_end;
                return self.publish();
            }
            return self.empty_at(new_end, db);
        }
        let late = planted(Bug::RingStartLate);
        let room = self.new_start(new_end);
        if let Some(start) = room.filter(|_| !late) {
            self.window.start = start;
            self.publish();
            observe(self.region.bytes());
        }
        if planted(Bug::RingEndFirst) {
            let end = std::mem::replace(&mut self.window.end, new_end);
            self.publish();
            self.window.end = end;
        }
        let mut at = self.window.end;
        while !bytes.is_empty() {
            let (now, later) = bytes.split_at(bytes.len().min((BLOCK - at.0 % BLOCK) as usize));
            let place = self.layout.data_at(at);
            self.region.bytes_mut()[place..place + now.len()].copy_from_slice(now);
            self.partial.update(now);
            at += now.len() as u64;
            bytes = later;
            observe(self.region.bytes());
            if at.0.is_multiple_of(BLOCK) {
                let seal_at = self.layout.seal_at(Offset(at.0 - 1));
                let value = self.partial.value().to_le_bytes();
                self.region.bytes_mut()[seal_at..seal_at + 8].copy_from_slice(&value);
                self.partial = block_seal(self.name.tag, at);
                observe(self.region.bytes());
            }
        }
        (self.window.end, self.window.db) = (new_end, db);
        if late {
            self.window.start = room.unwrap_or(self.window.start);
        }
        self.publish();
    }

    /// Where the window must begin before bytes up to `new_end` are stored; `None`: where it does.
    fn new_start(&self, new_end: Offset) -> Option<Offset> {
        let needed = new_end.0.next_multiple_of(BLOCK).saturating_sub(self.layout.capacity);
        let most = block_start(self.window.end).0;
        (self.window.start.0 < needed).then(|| Offset((needed + self.slack()).min(most)))
    }

    /// Bytes given up beyond what is needed, so that `start` is published once per many appends.
    fn slack(&self) -> u64 {
        (self.layout.capacity / 64).min(64 * 1024) / BLOCK * BLOCK
    }

    fn empty_at(&mut self, at: Offset, db: u32) {
        self.name.origin = at;
        self.partial = block_seal(self.name.tag, block_start(at));
        (self.window.start, self.window.end, self.window.db) = (at, at, db);
        self.publish_name();
    }

    fn publish_name(&mut self) {
        self.name.seq += 1;
        let at = NAME_SLOTS[(self.name.seq % 2) as usize];
        self.region.bytes_mut()[at..at + Name::LEN].copy_from_slice(&self.name.encode());
        self.window.name_seq = self.name.seq;
        self.publish();
        // Also the other window slot, so that no slot refers to a name that the next change overwrites.
        self.publish();
    }

    #[inline]
    fn publish(&mut self) {
        self.window.seq += 1;
        self.window.partial_seal = self.partial.value();
        let at = WINDOW_SLOTS[(self.window.seq % 2) as usize];
        let slot = self.window_seal.encode(&self.window);
        compiler_fence(Ordering::Release);
        self.region.bytes_mut()[at..at + Window::LEN].copy_from_slice(&slot);
        compiler_fence(Ordering::Release);
    }

    /// Stored bytes within one block.
    fn bytes_of(&self, from: Offset, to: Offset) -> &[u8] {
        let at = self.layout.data_at(from);
        &self.region.bytes()[at..at + (to - from) as usize]
    }

    fn check(&self) -> Check {
        let Window { start, end, written, durable, .. } = self.window;
        let lost_window = has_lost_window(self.region.bytes());
        let (proven, damage) = (Vec::new(), None);
        let mut check = Check { proven, claimed: start..end, damage, written, durable, lost_window };
        let mut block = block_start(start);
        let mut run: Option<Range<Offset>> = None;
        while block < end {
            let next = block + BLOCK;
            if self.block_is_sound(block) {
                let from = run.take().map_or(block.max(start), |run| run.start);
                run = Some(from..next.min(end));
            } else {
                check.proven.extend(run.take());
                let what = format!("the block of stream offset {block} does not match its seal");
                let at = self.layout.data_at(block) as u64;
                check.damage.get_or_insert_with(|| Corrupt::new(at, what).in_file(&self.path));
            }
            block = next;
        }
        check.proven.extend(run);
        check
    }

    fn block_is_sound(&self, block: Offset) -> bool {
        let (from, next) = (block.max(self.name.origin), block + BLOCK);
        let mut found = block_seal(self.name.tag, block);
        found.update(self.bytes_of(from, next.min(self.window.end)));
        if next > self.window.end {
            return found.value() == self.window.partial_seal;
        }
        let at = self.layout.seal_at(block);
        self.region.bytes()[at..at + 8] == found.value().to_le_bytes()
    }
}

#[cfg(test)]
mod tests;
