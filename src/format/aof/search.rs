//! Marks behind a place where the walk came to its end, for what they call durable.
//!
//! A zeroed or flipped length leaves nothing by which the commands behind it could be told apart, so marks are found by
//! their look. One counts if it is sound given the seal that the one before it states; that a value holds such a pair
//! is possible (a client may write one on purpose), so no byte is ever proven by it: it can only show that more was
//! there, which makes a start ask for it instead of taking the end for a torn tail (rule 17).

use std::ops::RangeInclusive;

use super::{Annotation, Chain, Kind, MAX_LINE};
use crate::format::crc::SealCrc;
use crate::units::{Offset, ReplId};

/// Is fed the rest of a segment in pieces of any size.
pub struct MarkSearch {
    names: Vec<ReplId>,
    places: RangeInclusive<Offset>,
    /// Not searched yet, and how much of it the chain has covered.
    held: Vec<u8>,
    covered: usize,
    /// Since the last line that looked like a mark.
    chain: Option<Chain>,
    durable: Offset,
}

/// A mark stands at the beginning of a line.
const BEGINS: &[u8] = b"\n#RH:1 mark ";

impl MarkSearch {
    /// Marks under other names, or at places that such a file cannot hold, are not of this log.
    pub fn new(names: Vec<ReplId>, places: RangeInclusive<Offset>) -> MarkSearch {
        MarkSearch { names, places, held: Vec::new(), covered: 0, chain: None, durable: Offset::ZERO }
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        let mut held = std::mem::take(&mut self.held);
        held.extend_from_slice(bytes);
        let mut from = 0;
        let keep = loop {
            let Some(found) = memchr::memmem::find(&held[from..], BEGINS) else {
                let keep = held.len().saturating_sub(BEGINS.len() - 1).max(from);
                self.cover(&held, keep);
                break keep;
            };
            let line = from + found + 1;
            let most = (line + MAX_LINE).min(held.len());
            from = match memchr::memchr(b'\n', &held[line..most]) {
                Some(end) => {
                    self.cover(&held, line);
                    self.line(&held[line..=line + end]);
                    self.covered = line + end + 1;
                    line + end // its end may begin the next one
                }
                None if most == held.len() => {
                    self.cover(&held, line - 1);
                    break line - 1;
                }
                None => line,
            };
        };
        held.drain(..keep);
        self.covered -= keep.min(self.covered);
        self.held = held;
    }

    /// The highest offset that a sound mark among them calls durable; 0 if there is none.
    pub fn durable(&self) -> Offset {
        self.durable
    }

    fn cover(&mut self, held: &[u8], to: usize) {
        if to > self.covered {
            if let Some(chain) = &mut self.chain {
                chain.cover(&held[self.covered..to]);
            }
            self.covered = to;
        }
    }

    fn line(&mut self, line: &[u8]) {
        let found = Annotation::parse(line).and_then(|found| match found.kind {
            Kind::Mark { durable } => Some((found, durable)),
            _ => None,
        });
        let Some((found, durable)) = found else {
            self.chain.iter_mut().for_each(|chain| chain.cover(line)); // part of a value
            return;
        };
        let sound = self.chain.is_some_and(|mut chain| {
            chain.cover(&line[..found.covered]);
            chain.seal.value() == found.seal
        });
        let fits = self.names.contains(&found.place.replid) && self.places.contains(&found.place.offset);
        if sound && fits && durable <= found.place.offset {
            self.durable = self.durable.max(durable);
        }
        self.chain = Some(Chain { seal: SealCrc::seeded(&[found.seal]) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::aof::Place;

    const NAME: ReplId = ReplId::NONE;
    const UNIT: &[u8] = b"*2\r\n$4\r\nECHO\r\n$14\r\n\n#RH:1 mark id\r\n";

    /// Units with a mark behind each; each mark calls durable what the one before it proves.
    fn log(units: u64) -> Vec<u8> {
        let mut file = Vec::new();
        let mut place = Place { replid: NAME, offset: Offset(100), db: 0 };
        let mut chain = Chain::open(place, &mut file);
        for _ in 0..units {
            chain.cover(UNIT);
            file.extend_from_slice(UNIT);
            let durable = place.offset;
            place.offset += UNIT.len() as u64;
            chain.mark(place, durable, &mut file);
        }
        file
    }

    fn search(bytes: &[u8], piece: usize, names: Vec<ReplId>, most: u64) -> Offset {
        let mut search = MarkSearch::new(names, Offset(100)..=Offset(most));
        bytes.chunks(piece).for_each(|piece| search.feed(piece));
        search.durable()
    }

    #[test]
    fn what_marks_behind_damage_call_durable_is_found() {
        let file = log(5);
        let [last, before] = [4, 3].map(|units| Offset(100 + units * UNIT.len() as u64));
        for piece in [1, 7, 100, 10_000] {
            for skipped in [0, 3, 50, file.len() / 2] {
                assert_eq!(search(&file[skipped..], piece, vec![NAME], 10_000), last, "{piece} {skipped}");
            }
            let one_left = file.len() - 150;
            assert_eq!(
                search(&file[one_left..], piece, vec![NAME], 10_000),
                Offset::ZERO,
                "nothing seals it"
            );
            assert_eq!(search(&file, piece, vec![], 10_000), Offset::ZERO, "of another history");
            assert_eq!(search(&file, piece, vec![NAME], 110), Offset::ZERO, "more than the file can hold");
            let mut flipped = file.clone();
            let at = flipped.len() - 110; // in the last unit
            flipped[at] ^= 1;
            assert_eq!(search(&flipped, piece, vec![NAME], 10_000), before, "{piece}");
        }
    }
}
