//! The header and block checksums of `backlog.ring`.
//!
//! | from | bytes | content |
//! |---|---|---|
//! | 0 | 512 | name slot 0 |
//! | 512 | 512 | name slot 1 |
//! | 1024 | 512 | window slot 0 |
//! | 1536 | 512 | window slot 1 |
//! | 4096 | 8 × blocks, rounded up to 4096 | seal of each whole block |
//! | after it | capacity | data: stream byte `o` at `o % capacity` |
//!
//! Each slot has a 512-byte sector of its own. *Name slots* change with the history: id, capacity, tag, origin. *Window
//! slots* change with every append. Of each kind two alternate: a new state is written over the older one, with
//! the next sequence number, so that a slot torn at any byte leaves the other. The window slot says which name slot
//! (by sequence number) it belongs to, hence a change of the id is one step: the window slot's.
//!
//! **What a block's seal is bound to** (rule 3): `(tag, stream offset of the block)`. The offset rejects an earlier lap
//! and a misplaced page. The *tag* is a random word drawn when a history is born or replaced by a full sync, kept in
//! `replication.toml`, and constant over changes of the id, because those do not change the bytes before them: one
//! byte sequence, several names. Seeding with the id instead would ask, for a block in which the id changes, under
//! which of both it was sealed. Which id a byte was written under follows from `begun` here and the lineage in `replication.toml`:
//! bytes from `begun` on are `replid`'s.
//!
//! A block that holds `origin` (where the ring was begun or emptied in mid-block) is sealed from `origin` on; the last,
//! partial block up to `end`, with its seal in the window slot.

use super::crc::{SealCrc, seal};
use crate::error::Corrupt;
use crate::planted::{Bug, planted};
use crate::units::{Offset, ReplId};

pub const BLOCK: u64 = 4096;
pub const MIN_CAPACITY: u64 = 4 * BLOCK;

pub const NAME_SLOTS: [usize; 2] = [0, 512];
pub const WINDOW_SLOTS: [usize; 2] = [1024, 1536];
const TABLE: usize = 4096;

const NAME_SEED: u64 = 0x5248_6e61_6d65_0001;
const WINDOW_SEED: u64 = 0x5248_7769_6e64_0002;

/// Where things lie in a file of this capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    pub capacity: u64,
}

impl Layout {
    /// Rounds up to whole blocks and to [`MIN_CAPACITY`].
    pub fn for_capacity(wanted: u64) -> Layout {
        Layout { capacity: wanted.clamp(MIN_CAPACITY, 1 << 46).next_multiple_of(BLOCK) }
    }
    pub fn blocks(self) -> u64 {
        self.capacity / BLOCK
    }
    /// Position of the seal of the block that holds stream byte `offset`.
    pub fn seal_at(self, offset: Offset) -> usize {
        TABLE + 8 * (offset.0 / BLOCK % self.blocks()) as usize
    }
    pub fn data(self) -> usize {
        TABLE + (8 * self.blocks()).next_multiple_of(BLOCK) as usize
    }
    pub fn data_at(self, offset: Offset) -> usize {
        self.data() + (offset.0 % self.capacity) as usize
    }
    pub fn file_len(self) -> u64 {
        self.data() as u64 + self.capacity
    }
}

pub fn block_start(offset: Offset) -> Offset {
    Offset(offset.0 / BLOCK * BLOCK)
}

/// A running seal of the block at `block`, bound to its place.
pub fn block_seal(tag: u64, block: Offset) -> SealCrc {
    if planted(Bug::SealPlace) {
        return SealCrc::seeded(&[tag]);
    }
    SealCrc::seeded(&[tag, block.0])
}

/// Content of a name slot.
///
/// | at | bytes | field |
/// |---|---|---|
/// | 0 | 8 | magic, with the format's version |
/// | 8 | 8 | sequence number |
/// | 16 | 8 | capacity |
/// | 24 | 8 | tag |
/// | 32 | 8 | origin |
/// | 40 | 8 | begun |
/// | 48 | 40 | replid, as text |
/// | 88 | 8 | seal of the above |
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Name {
    pub seq: u64,
    pub capacity: u64,
    pub tag: u64,
    /// No byte before it was ever in the ring.
    pub origin: Offset,
    /// Where `replid` came into force.
    pub begun: Offset,
    pub replid: ReplId,
}

impl Name {
    pub const LEN: usize = 96;
    /// What a slot begins with: the format's name and version.
    pub const MAGIC: &[u8; 8] = b"RHRING02";

    pub fn encode(&self) -> [u8; Name::LEN] {
        let mut out = [0; Name::LEN];
        out[..8].copy_from_slice(Name::MAGIC);
        let words = [self.seq, self.capacity, self.tag, self.origin.0, self.begun.0];
        put_words(&mut out[8..48], &words);
        out[48..88].copy_from_slice(self.replid.as_bytes());
        let value = seal(&[NAME_SEED], &out[..88]);
        put_words(&mut out[88..], &[value]);
        out
    }

    pub fn decode(bytes: &[u8]) -> Option<Name> {
        let bytes = bytes.get(..Name::LEN)?;
        let [seq, capacity, tag, origin, begun] = words(&bytes[8..48])?;
        let sealed = seal(&[NAME_SEED], &bytes[..88]) == words::<1>(&bytes[88..])?[0];
        let sound =
            &bytes[..8] == Name::MAGIC && sealed && Layout::for_capacity(capacity).capacity == capacity;
        let replid = ReplId::parse(&bytes[48..88])?;
        sound.then_some(Name { seq, capacity, tag, origin: Offset(origin), begun: Offset(begun), replid })
    }
}

/// Content of a window slot.
///
/// | at | bytes | field |
/// |---|---|---|
/// | 0 | 8 | sequence number of the name slot |
/// | 8 | 8 | start |
/// | 16 | 8 | the stream's db at end |
/// | 24 | 8 | written: known to be in the log when this was published |
/// | 32 | 8 | durable: likewise |
/// | 40 | 8 | sequence number |
/// | 48 | 8 | end |
/// | 56 | 8 | seal of the partial last block |
/// | 64 | 8 | seal of the above |
///
/// What every append changes stands last: the checksum of the rest is kept by [`WindowSeal`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Window {
    pub seq: u64,
    pub name_seq: u64,
    pub start: Offset,
    pub end: Offset,
    pub partial_seal: u64,
    pub written: Offset,
    pub durable: Offset,
    pub db: u32,
}

impl Window {
    pub const LEN: usize = 72;

    pub fn encode(&self) -> [u8; Window::LEN] {
        WindowSeal::default().encode(self)
    }

    pub fn decode(bytes: &[u8]) -> Option<Window> {
        let bytes = bytes.get(..Window::LEN)?;
        let [name_seq, start, db, written, durable, seq, end, partial_seal] = words(&bytes[..64])?;
        let sealed = seal(&[WINDOW_SEED], &bytes[..64]) == words::<1>(&bytes[64..])?[0];
        (sealed && start <= end).then_some(Window {
            seq,
            name_seq,
            start: Offset(start),
            end: Offset(end),
            partial_seal,
            written: Offset(written),
            durable: Offset(durable),
            db: db as u32,
        })
    }
}

/// Encodes windows one after the other, keeping the checksum of what seldom changes: an append costs three words of it
/// instead of nine.
#[derive(Default)]
pub struct WindowSeal {
    rare: Option<([u64; 5], SealCrc)>,
}

impl WindowSeal {
    #[inline]
    pub fn encode(&mut self, window: &Window) -> [u8; Window::LEN] {
        let rare =
            [window.name_seq, window.start.0, u64::from(window.db), window.written.0, window.durable.0];
        let known = self.rare.filter(|(words, _)| *words == rare);
        let (_, before) = known.unwrap_or_else(|| {
            let [name_seq, start, db, written, durable] = rare;
            (rare, SealCrc::seeded(&[WINDOW_SEED, name_seq, start, db, written, durable]))
        });
        self.rare = Some((rare, before));
        let often = [window.seq, window.end.0, window.partial_seal];
        let mut seal = before;
        often.iter().for_each(|word| seal.update(&word.to_le_bytes()));
        let mut out = [0; Window::LEN];
        put_words(&mut out[..40], &rare);
        put_words(&mut out[40..64], &often);
        put_words(&mut out[64..], &[seal.value()]);
        out
    }
}

/// The newest sound state in the first 4096 bytes of the file.
pub fn decode_header(bytes: &[u8]) -> Result<(Name, Window), Corrupt> {
    let names = NAME_SLOTS.map(|at| bytes.get(at..).and_then(Name::decode));
    let windows = WINDOW_SLOTS.map(|at| bytes.get(at..).and_then(Window::decode));
    let mut best: Option<(Name, Window)> = None;
    for window in windows.into_iter().flatten() {
        let name = names.iter().flatten().find(|name| name.seq == window.name_seq);
        let Some(name) = name.filter(|n| n.origin <= window.start && window.end - window.start <= n.capacity)
        else {
            continue;
        };
        if best.is_none_or(|(_, newest)| newest.seq < window.seq) {
            best = Some((*name, window));
        }
    }
    best.ok_or_else(|| Corrupt::new(0, "no sound header slot"))
}

/// A window slot was written and cannot be read: torn when the process ended, or damaged since. Beside the one that [`decode_header`]
/// finds it may have been the newer.
pub fn has_lost_window(bytes: &[u8]) -> bool {
    let mut slots = WINDOW_SLOTS.iter().filter_map(|at| bytes.get(*at..*at + Window::LEN));
    slots.any(|slot| Window::decode(slot).is_none() && slot.iter().any(|byte| *byte != 0))
}

fn put_words(out: &mut [u8], words: &[u64]) {
    for (place, word) in out.chunks_exact_mut(8).zip(words) {
        place.copy_from_slice(&word.to_le_bytes());
    }
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u64; N]> {
    let mut out = [0; N];
    for (word, place) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *word = u64::from_le_bytes(place.try_into().ok()?);
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn name(seq: u64) -> Name {
        let replid = ReplId::from_random([seq as u8; 20]);
        Name { seq, capacity: MIN_CAPACITY, tag: 5, origin: Offset(0), begun: Offset(9), replid }
    }

    fn window(seq: u64, name_seq: u64) -> Window {
        Window { seq, name_seq, start: Offset(3), end: Offset(9 + seq), db: 2, ..Window::default() }
    }

    fn header(names: [Name; 2], windows: [Window; 2]) -> Vec<u8> {
        let mut bytes = vec![0; 4096];
        for i in 0..2 {
            bytes[NAME_SLOTS[i]..][..Name::LEN].copy_from_slice(&names[i].encode());
            bytes[WINDOW_SLOTS[i]..][..Window::LEN].copy_from_slice(&windows[i].encode());
        }
        bytes
    }

    #[test]
    fn the_newest_sound_slot_wins() {
        let mut bytes = header([name(1), name(2)], [window(7, 1), window(8, 2)]);
        assert_eq!(decode_header(&bytes), Ok((name(2), window(8, 2))));
        assert!(!has_lost_window(&bytes));
        bytes[WINDOW_SLOTS[1] + 20] ^= 1;
        assert_eq!(decode_header(&bytes), Ok((name(1), window(7, 1))));
        assert!(has_lost_window(&bytes));
        bytes[WINDOW_SLOTS[1]..][..Window::LEN].fill(0);
        assert!(!has_lost_window(&bytes), "never written");
        bytes[NAME_SLOTS[0] + 50] ^= 1;
        assert!(decode_header(&bytes).is_err());
        assert!(decode_header(&[]).is_err());
        // a new name that no window refers to yet is not in force
        let bytes = header([name(1), name(2)], [window(7, 1), window(6, 1)]);
        assert_eq!(decode_header(&bytes), Ok((name(1), window(7, 1))));
    }

    #[test]
    fn the_parts_of_the_file_do_not_overlap() {
        for wanted in [0, 16 << 10, (16 << 10) + 1, 1 << 20, 64 << 20, 3 << 30] {
            let layout = Layout::for_capacity(wanted);
            assert!(layout.capacity >= wanted && layout.capacity.is_multiple_of(BLOCK));
            assert!(layout.seal_at(Offset(layout.capacity - 1)) + 8 <= layout.data());
            assert_eq!(layout.data_at(Offset(layout.capacity)), layout.data());
            assert_eq!(layout.data() as u64 % BLOCK, 0);
        }
    }

    #[test]
    fn a_kept_seal_equals_a_fresh_one() {
        let mut seal = WindowSeal::default();
        let mut window = window(1, 1);
        for step in 0..40u64 {
            match step % 8 {
                0 => window.start += 1,
                1 => window.written += 2,
                2 => window.durable += 3,
                3 => window.db += 1,
                4 => window.name_seq += 1,
                _ => window.partial_seal ^= 0xff << step,
            }
            (window.seq, window.end) = (window.seq + 1, window.end + step);
            let bytes = seal.encode(&window);
            assert_eq!((bytes, Window::decode(&bytes)), (window.encode(), Some(window)));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _any = (decode_header(&bytes), Name::decode(&bytes), Window::decode(&bytes));
        }
    }
}
