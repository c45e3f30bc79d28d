//! LZF, the compression of RDB strings: our own codec, equal to liblzf's format.
//!
//! A compressed block is a sequence of
//!
//! | first byte | then | means |
//! |---|---|---|
//! | `000LLLLL` | L+1 bytes | those bytes, literally (1…32) |
//! | `LLLooooo`, L = 1…6 | 1 byte of offset | copy L+2 bytes (3…8) from o+1 bytes back |
//! | `111ooooo` | 1 byte L, 1 byte of offset | copy L+9 bytes (9…264) from o+1 bytes back |
//!
//! where `ooooo` are the high five of 13 offset bits: nothing refers further back than 8,192 bytes. There is no
//! header; RDB stores both lengths beside the block.
//!
//! **Why our own**: the `lzf` crate zeroes a 512 KiB table per call, which for a value of 100 bytes is all of the
//! time. Here the table is the caller's and is never cleared: a slot holds a position counted over all inputs
//! that the table has seen, so one left by an earlier input is known by being below the present input's first
//! position. 64 KiB (2¹⁴ slots) suffice for a window of 8,192 positions.
//!
//! **Allocation**: one block byte yields at most 88 (three bytes, 264 copied), so a promised length above that
//! multiple is refused before any memory is taken.

use crate::error::Corrupt;

/// The most bytes that one byte of a block can stand for.
pub const MAX_EXPANSION: usize = MAX_COPY / 3;
const MAX_LITERAL: usize = 32;
const MIN_COPY: usize = 3;
const MAX_COPY: usize = 264;
/// How far back a copy can reach.
pub const WINDOW: usize = 1 << 13;
const SLOT_BITS: u32 = 14;
/// A result must be at least this much smaller than its input to be worth keeping (Redis' rule).
const MIN_GAIN: usize = 4;

/// Working memory of [`compress`] (64 KiB); keep one per thread that compresses.
pub struct Table {
    /// Where three bytes with this hash were last seen: `base` of its input plus position there.
    slots: Box<[u32]>,
    /// What position 0 of the next input counts as; all older entries are below.
    base: u32,
}

impl Table {
    pub fn new() -> Table {
        Table { slots: vec![0; 1 << SLOT_BITS].into_boxed_slice(), base: 1 }
    }

    /// Numbers for an input of `len` bytes, clearing the table only when they run out (every 4 GiB).
    fn take(&mut self, len: u32) -> u32 {
        if self.base.checked_add(len).is_none() {
            self.slots.fill(0);
            self.base = 1;
        }
        let base = self.base;
        self.base = base.saturating_add(len);
        base
    }
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

/// Replaces `out` by the compressed form of `input`. False, with `out` of no meaning, unless that saves at least
/// four bytes; then the input is to be stored as it is.
pub fn compress(input: &[u8], out: &mut Vec<u8>, table: &mut Table) -> bool {
    out.clear();
    // One below the limit, so that a fresh table always has numbers for it.
    let Some(len) = u32::try_from(input.len()).ok().filter(|len| *len < u32::MAX) else { return false };
    if input.len() <= MIN_GAIN {
        return false;
    }
    let limit = input.len() - MIN_GAIN;
    out.reserve(limit);
    let base = table.take(len);
    let slots = &mut table.slots[..1 << SLOT_BITS];

    let mut literals_from = 0;
    let mut at = 0;
    while let Some(here) = three(input, at) {
        let slot = &mut slots[hash(here)];
        let seen = slot.wrapping_sub(base) as usize;
        let from_here = *slot >= base;
        *slot = base + at as u32;
        if !from_here || at - seen > WINDOW || three(input, seen) != Some(here) {
            // Where nothing has matched for long, look at fewer places: data that does not compress costs less.
            at += 1 + ((at - literals_from) >> 7);
            continue;
        }
        let copied = MIN_COPY + common_prefix(input, seen + MIN_COPY, at + MIN_COPY, MAX_COPY - MIN_COPY);
        put_literals(out, &input[literals_from..at]);
        put_copy(out, at - seen, copied);
        if out.len() > limit {
            return false;
        }
        // The last two positions of the copy start matches that go on beyond it.
        for inside in at + copied - 2..at + copied {
            if let Some(there) = three(input, inside) {
                slots[hash(there)] = base + inside as u32;
            }
        }
        at += copied;
        literals_from = at;
    }
    put_literals(out, &input[literals_from..]);
    out.len() <= limit
}

/// Replaces `out` by the `expected` bytes that `block` stands for. Refuses a block that yields more or fewer; the
/// error's offset counts within `block`.
pub fn decompress(block: &[u8], expected: usize, out: &mut Vec<u8>) -> Result<(), Corrupt> {
    out.clear();
    if expected > block.len().saturating_mul(MAX_EXPANSION) {
        return Err(Corrupt::new(0, format!("LZF: {} bytes cannot stand for {expected}", block.len())));
    }
    out.resize(expected, 0);
    let (mut at, mut filled) = (0, 0);
    while at < block.len() {
        let corrupt = |what| Err(Corrupt::new(at as u64, what));
        let control = block[at] as usize;
        if control < MAX_LITERAL {
            let len = control + 1;
            let Some(bytes) = block.get(at + 1..at + 1 + len) else {
                return corrupt("LZF: literal cut short");
            };
            let Some(to) = out.get_mut(filled..filled + len) else { return corrupt(TOO_LONG) };
            match block.get(at + 1..at + 1 + MAX_LITERAL) {
                // A copy of fixed size is two registers; what it writes too much is overwritten next.
                Some(wide) if expected - filled >= MAX_LITERAL => {
                    out[filled..filled + MAX_LITERAL].copy_from_slice(wide)
                }
                _ => to.copy_from_slice(bytes),
            }
            (at, filled) = (at + 1 + len, filled + len);
            continue;
        }
        let long = control >> 5 == 7;
        let Some(tail) = block.get(at + 1..at + 2 + long as usize) else {
            return corrupt("LZF: copy cut short");
        };
        let len = 2 + if long { 7 + tail[0] as usize } else { control >> 5 };
        let distance = 1 + ((control & 31) << 8 | tail[long as usize] as usize);
        if distance > filled {
            return corrupt("LZF: copy from before the start");
        }
        if len > expected - filled {
            return corrupt(TOO_LONG);
        }
        copy_back(out, filled, distance, len);
        (at, filled) = (at + 1 + tail.len(), filled + len);
    }
    if filled != expected {
        return Err(Corrupt::new(at as u64, format!("LZF: yields {filled} bytes, not {expected}")));
    }
    Ok(())
}

const TOO_LONG: &str = "LZF: yields more than was promised";

/// Repeats in `out` at `to` the `len` bytes that start `distance` before it; they may overlap. The caller has
/// checked that both lie within.
fn copy_back(out: &mut [u8], to: usize, distance: usize, len: usize) {
    const STEP: usize = 16;
    let from = to - distance;
    if distance >= STEP && out.len() - to >= len + STEP {
        for done in (0..len).step_by(STEP) {
            out.copy_within(from + done..from + done + STEP, to + done);
        }
    } else if distance == 1 {
        let byte = out[from];
        out[to..to + len].fill(byte);
    } else {
        // What is there doubles with each step, as a multiple of the distance.
        let mut done = 0;
        while done < len {
            let step = (distance + done).min(len - done);
            out.copy_within(from..from + step, to + done);
            done += step;
        }
    }
}

/// The three bytes at `at`, as a number below 2²⁴.
#[inline]
fn three(input: &[u8], at: usize) -> Option<u32> {
    if let Some(&[a, b, c, _]) = input.get(at..at + 4).and_then(|s| s.first_chunk()) {
        return Some(u32::from_le_bytes([a, b, c, 0]));
    }
    input.get(at..at + 3).map(|s| u32::from_le_bytes([s[0], s[1], s[2], 0]))
}

#[inline]
fn hash(three: u32) -> usize {
    (three.wrapping_mul(0x9e37_79b1) >> (32 - SLOT_BITS)) as usize
}

/// How many bytes, at most `max`, are equal from `a` and from `b` (`a < b`) on.
#[inline]
fn common_prefix(input: &[u8], a: usize, b: usize, max: usize) -> usize {
    let max = max.min(input.len() - b);
    let (left, right) = (&input[a..a + max], &input[b..b + max]);
    let (left_words, left_rest) = left.as_chunks::<8>();
    let (right_words, right_rest) = right.as_chunks::<8>();
    for (i, (x, y)) in left_words.iter().zip(right_words).enumerate() {
        let differ = u64::from_le_bytes(*x) ^ u64::from_le_bytes(*y);
        if differ != 0 {
            return i * 8 + differ.trailing_zeros() as usize / 8;
        }
    }
    left_words.len() * 8 + left_rest.iter().zip(right_rest).take_while(|(x, y)| x == y).count()
}

fn put_literals(out: &mut Vec<u8>, literals: &[u8]) {
    for run in literals.chunks(MAX_LITERAL) {
        out.push(run.len() as u8 - 1);
        out.extend_from_slice(run);
    }
}

fn put_copy(out: &mut Vec<u8>, distance: usize, len: usize) {
    let (offset, len) = (distance - 1, len - 2);
    let high = (offset >> 8) as u8;
    if len < 7 {
        out.extend_from_slice(&[(len as u8) << 5 | high, offset as u8]);
    } else {
        out.extend_from_slice(&[7 << 5 | high, (len - 7) as u8, offset as u8]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(input: &[u8], table: &mut Table) -> Option<usize> {
        let (mut block, mut back) = (Vec::new(), Vec::new());
        let worth = compress(input, &mut block, table);
        if !worth {
            return None;
        }
        assert!(block.len() + MIN_GAIN <= input.len());
        decompress(&block, input.len(), &mut back).unwrap();
        assert_eq!(back, input);
        assert_eq!(lzf::decompress(&block, input.len()).unwrap(), input, "liblzf reads it too");
        Some(block.len())
    }

    #[test]
    fn blocks_of_every_shape() {
        let check = |block: &[u8], expected: &[u8]| {
            let mut out = vec![9; 3];
            decompress(block, expected.len(), &mut out).unwrap();
            assert_eq!(out, expected);
        };
        check(b"", b"");
        check(b"\x00a", b"a");
        check(b"\x02abc\x20\x02", b"abcabc"); // shortest copy
        check(b"\x00a\x20\x00", b"aaaa"); // overlapping by one
        check(b"\x01ab\x60\x01", b"abababa"); // overlapping by two
        check(b"\x00a\xe0\x00\x00", b"aaaaaaaaaa"); // long form, nine bytes
        check(b"\x00a\xe0\xff\x00", &[b'a'; 265]); // longest copy
    }

    #[test]
    fn damaged_blocks_are_refused_with_their_place() {
        let check = |block: &[u8], expected: usize, at: u64| {
            let error = decompress(block, expected, &mut Vec::new()).unwrap_err();
            assert_eq!(error.at, at, "{block:?}: {error}");
        };
        check(b"", 1, 0);
        check(b"\x00", 1, 0);
        check(b"\x05abc", 6, 0);
        check(b"\x00a\x20", 4, 2);
        check(b"\x00a\xe0\x00", 10, 2);
        check(b"\x00a\x20\x01", 4, 2); // from before the start
        check(b"\x00a\x20\x00", 3, 2); // more than promised
        check(b"\x00a\x20\x00", 5, 4); // less than promised
        check(b"\x01ab", 1, 0);
        check(b"\x00a\xe0\xff\x00", usize::MAX, 0); // no allocation by a length that nothing proves
    }

    #[test]
    fn compresses_what_repeats_and_leaves_the_rest() {
        let mut table = Table::new();
        let text = b"the ring holds the last bytes of the stream; the ring is the backlog; ".repeat(20);
        let random: Vec<u8> = (0..4000u32).map(|i| (i.wrapping_mul(0x9e37_79b1) >> 11) as u8).collect();
        assert!(round_trip(&text, &mut table).unwrap() < text.len() / 8);
        assert!(round_trip(&[0; 100_000], &mut table).unwrap() <= 100_000 / 80);
        assert_eq!(round_trip(b"", &mut table), None);
        assert_eq!(round_trip(b"aaaa", &mut table), None);
        assert_eq!(round_trip(b"abcdefghijklmnopqrstuvwxyz", &mut table), None);
        assert!(round_trip(&random, &mut table).is_none_or(|len| len < random.len()));
    }

    #[test]
    fn numbers_that_run_out_start_anew() {
        let mut table = Table::new();
        let text = b"again and again and again and again".repeat(3);
        for base in [u32::MAX - 1000, u32::MAX - 105, u32::MAX - 104, u32::MAX] {
            table.base = base;
            assert!(round_trip(&text, &mut table).is_some());
            assert!(round_trip(&text, &mut table).is_some());
        }
    }

    /// Text of few letters with far repeats, so that copies of every length and distance occur.
    fn repetitive() -> impl Strategy<Value = Vec<u8>> {
        let piece = (proptest::collection::vec(0u8..4, 1..40), 1usize..40);
        proptest::collection::vec(piece, 0..60)
            .prop_map(|pieces| pieces.into_iter().flat_map(|(bytes, times)| bytes.repeat(times)).collect())
    }

    proptest! {
        #[test]
        fn round_trips(inputs in proptest::collection::vec(repetitive(), 1..4)) {
            let mut table = Table::new();
            for input in inputs {
                round_trip(&input, &mut table);
            }
        }

        #[test]
        fn reads_what_liblzf_writes(input in repetitive()) {
            if let Ok(block) = lzf::compress(&input) {
                let mut back = Vec::new();
                decompress(&block, input.len(), &mut back).unwrap();
                prop_assert_eq!(back, input);
            }
        }

        #[test]
        fn garbage_never_panics(block in proptest::collection::vec(any::<u8>(), 0..200), expected in 0usize..4000) {
            let mut out = Vec::new();
            if decompress(&block, expected, &mut out).is_ok() {
                prop_assert_eq!(out.len(), expected);
                prop_assert_eq!(out, lzf::decompress(&block, expected).unwrap_or_default());
            }
            prop_assert!(out_capacity_is_bounded(&block, expected));
        }

        #[test]
        fn flipped_bits_never_panic(input in repetitive(), byte in any::<prop::sample::Index>(), bit in 0u8..8) {
            let mut block = Vec::new();
            if compress(&input, &mut block, &mut Table::new()) {
                let byte = byte.index(block.len());
                block[byte] ^= 1 << bit;
                let mut out = Vec::new();
                if decompress(&block, input.len(), &mut out).is_ok() {
                    prop_assert_eq!(out.len(), input.len());
                }
            }
        }
    }

    fn out_capacity_is_bounded(block: &[u8], expected: usize) -> bool {
        let mut out = Vec::new();
        let _ = decompress(block, expected.saturating_mul(1 << 30), &mut out);
        out.capacity() <= block.len() * MAX_EXPANSION
    }
}
