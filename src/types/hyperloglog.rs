//! HyperLogLog: PFADD, PFCOUNT, PFMERGE. How many different elements were added, in at most 12 KiB, within 0.81 %.
//!
//! The sketch is a string in Redis' layout, byte for byte, so that snapshots and commands mean the same everywhere:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | `HYLL` |
//! | 4 | encoding: 0 dense, 1 sparse |
//! | 5..8 | zero |
//! | 8..16 | cached count, little-endian; stale if the top bit is set |
//! | 16.. | registers: dense, 16,384 of six bits each, lowest bits first; or sparse, opcodes |
//!
//! | sparse opcode | registers |
//! |---|---|
//! | `00llllll` | l + 1 of zero |
//! | `01llllll llllllll` | l + 1 of zero |
//! | `1vvvvvll` | l + 1 of value v + 1 |
//!
//! The sparse form splits and merges opcodes in the same places as Redis, not in the best ones: replicas replay the
//! command, and the digests have to agree. It becomes dense above `hll-sparse-max-bytes` or for a value over 32.
//!
//! PFCOUNT reads only. Redis stores the count that it has computed and lets the command enter the stream, a write
//! that none of the gates for writes has seen; here only PFCOUNTs that come with the stream store it.
//!
//! The estimate is Ertl's (arXiv:1702.01284), the hash MurmurHash64A.

use crate::commands::{Command, Ctx, Execute, Flags, Group, Keys, Outcome, UNCHANGED, VERBATIM, verbatim_if};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::store::string::IntText;
use crate::store::{Db, Entry, Events, Expiry, Str, Value};

const REGISTERS: usize = 1 << INDEX_BITS;
const INDEX_BITS: u32 = 14;
/// Bits of the hash in which leading places are counted.
const RANK_BITS: usize = 64 - INDEX_BITS as usize;
const HEADER: usize = 16;
const DENSE_LEN: usize = HEADER + REGISTERS * 6 / 8;
const DENSE: u8 = 0;
const SPARSE: u8 = 1;
/// Largest value and longest runs of the sparse opcodes.
const VALUE_MAX: u8 = 32;
const VALUE_RUN_MAX: usize = 4;
const ZERO_RUN_MAX: usize = 64;

const CORRUPT: ReplyError = ReplyError::new("INVALIDOBJ Corrupted HLL object detected");
const NOT_A_SKETCH: ReplyError = ReplyError::new("WRONGTYPE Key is not a valid HyperLogLog string value.");

type Registers = [u8; REGISTERS];

/// A sketch on its way to being changed.
struct Sketch {
    bytes: Vec<u8>,
}

/// A run of equal registers, and the length of its opcode.
#[derive(Clone, Copy)]
struct Run {
    value: u8,
    registers: usize,
    opcode: usize,
}

fn run_at(code: &[u8]) -> Option<Run> {
    let (value, registers, opcode) = match *code {
        [first, ..] if first & 0x80 != 0 => ((first >> 2 & 31) + 1, usize::from(first & 3) + 1, 1),
        [first, ..] if first & 0x40 == 0 => (0, usize::from(first) + 1, 1),
        [first, second, ..] => (0, (usize::from(first & 63) << 8 | usize::from(second)) + 1, 2),
        _ => return None,
    };
    Some(Run { value, registers, opcode })
}

fn push_zeros(code: &mut Vec<u8>, registers: usize) {
    match registers {
        0 => {}
        1..=ZERO_RUN_MAX => code.push(registers as u8 - 1),
        _ => code.extend([0x40 | ((registers - 1) >> 8) as u8, (registers - 1) as u8]),
    }
}

fn value_code(value: u8, registers: usize) -> u8 {
    0x80 | (value - 1) << 2 | (registers as u8 - 1)
}

fn check(bytes: &[u8]) -> Result<(), ReplyError> {
    let sound = bytes.len() >= HEADER
        && bytes.starts_with(b"HYLL")
        && match bytes[4] {
            DENSE => bytes.len() == DENSE_LEN,
            encoding => encoding == SPARSE,
        };
    if sound { Ok(()) } else { Err(NOT_A_SKETCH) }
}

fn dense_get(registers: &[u8], index: usize) -> u8 {
    let (byte, shift) = (index * 6 / 8, index * 6 % 8);
    let pair = u16::from(registers[byte]) | u16::from(registers.get(byte + 1).copied().unwrap_or(0)) << 8;
    (pair >> shift) as u8 & 63
}

fn dense_set(registers: &mut [u8], index: usize, value: u8) {
    let (byte, shift) = (index * 6 / 8, index * 6 % 8);
    registers[byte] = registers[byte] & !((63u16 << shift) as u8) | (u16::from(value) << shift) as u8;
    if shift > 2 {
        let next = &mut registers[byte + 1];
        *next = *next & !(63 >> (8 - shift)) | value >> (8 - shift);
    }
}

/// Raises `into` to the registers of a checked sketch.
fn merge(bytes: &[u8], into: &mut Registers) -> Result<(), ReplyError> {
    let body = &bytes[HEADER..];
    if bytes[4] == DENSE {
        for (index, register) in into.iter_mut().enumerate() {
            *register = dense_get(body, index).max(*register);
        }
        return Ok(());
    }
    let (mut at, mut index) = (0, 0);
    while at < body.len() {
        let run = run_at(&body[at..]).ok_or(CORRUPT)?;
        let covered = into.get_mut(index..index + run.registers).ok_or(CORRUPT)?;
        covered.iter_mut().for_each(|register| *register = run.value.max(*register));
        at += run.opcode;
        index += run.registers;
    }
    if index == REGISTERS { Ok(()) } else { Err(CORRUPT) }
}

impl Sketch {
    fn new() -> Sketch {
        let mut bytes = b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\0".to_vec();
        push_zeros(&mut bytes, REGISTERS);
        Sketch { bytes }
    }

    fn is_dense(&self) -> bool {
        self.bytes[4] == DENSE
    }

    fn invalidate_count(&mut self) {
        self.bytes[15] |= 0x80;
    }

    fn make_dense(&mut self) -> Result<(), ReplyError> {
        if self.is_dense() {
            return Ok(());
        }
        let mut registers = [0; REGISTERS];
        merge(&self.bytes, &mut registers)?;
        self.bytes.truncate(HEADER);
        self.bytes[4] = DENSE;
        self.bytes.resize(DENSE_LEN, 0);
        for (index, value) in registers.into_iter().enumerate().filter(|(_, value)| *value > 0) {
            dense_set(&mut self.bytes[HEADER..], index, value);
        }
        Ok(())
    }

    fn add(&mut self, element: &[u8], sparse_max: usize) -> Result<bool, ReplyError> {
        let (index, rank) = place(element);
        self.raise(index, rank, sparse_max)
    }

    /// Raises a register to `value`; false if it was as high already.
    fn raise(&mut self, index: usize, value: u8, sparse_max: usize) -> Result<bool, ReplyError> {
        if !self.is_dense() {
            if value <= VALUE_MAX
                && let Some(changed) = self.raise_sparse(index, value, sparse_max)?
            {
                return Ok(changed);
            }
            self.make_dense()?;
        }
        let registers = &mut self.bytes[HEADER..];
        let higher = value > dense_get(registers, index);
        if higher {
            dense_set(registers, index, value);
        }
        Ok(higher)
    }

    /// `None` if the sparse form would become too long.
    fn raise_sparse(&mut self, index: usize, value: u8, longest: usize) -> Result<Option<bool>, ReplyError> {
        let (mut at, mut first, mut previous) = (HEADER, 0, HEADER);
        let run = loop {
            let run = run_at(&self.bytes[at..]).ok_or(CORRUPT)?;
            if index < first + run.registers {
                break run;
            }
            previous = at;
            at += run.opcode;
            first += run.registers;
        };
        if run.value >= value {
            return Ok(Some(false));
        }
        let (before, after) = (index - first, first + run.registers - 1 - index);
        let mut code = Vec::with_capacity(5);
        let push_old = |code: &mut Vec<u8>, registers: usize| match run.value {
            0 => push_zeros(code, registers),
            old if registers > 0 => code.push(value_code(old, registers)),
            _ => {}
        };
        push_old(&mut code, before);
        code.push(value_code(value, 1));
        push_old(&mut code, after);
        if code.len() > run.opcode && self.bytes.len() + code.len() - run.opcode > longest {
            return Ok(None);
        }
        self.bytes.splice(at..at + run.opcode, code);
        self.join_from(previous);
        self.invalidate_count();
        Ok(Some(true))
    }

    /// Joins neighbours of equal value within five opcodes from `at`.
    fn join_from(&mut self, mut at: usize) {
        for _ in 0..5 {
            let Some(run) = run_at(&self.bytes[at..]) else { return };
            let next = run_at(&self.bytes[at + run.opcode..]);
            let joined = run.registers + next.map_or(0, |next| next.registers);
            if run.value > 0 && next.is_some_and(|next| next.value == run.value) && joined <= VALUE_RUN_MAX {
                self.bytes[at] = value_code(run.value, joined);
                self.bytes.remove(at + 1);
            } else {
                at += run.opcode;
            }
        }
    }
}

/// The register of an element, and the place of the first set bit in the rest of its hash.
fn place(element: &[u8]) -> (usize, u8) {
    let hash = murmur(element);
    let rest = hash >> INDEX_BITS | 1 << RANK_BITS;
    ((hash as usize) & (REGISTERS - 1), rest.trailing_zeros() as u8 + 1)
}

fn murmur(bytes: &[u8]) -> u64 {
    const M: u64 = 0xc6a4_a793_5bd1_e995;
    const SEED: u64 = 0xadc8_3b19;
    let mut hash = SEED ^ (bytes.len() as u64).wrapping_mul(M);
    let (words, rest) = bytes.as_chunks::<8>();
    for word in words {
        let mut k = u64::from_le_bytes(*word).wrapping_mul(M);
        k ^= k >> 47;
        hash = (hash ^ k.wrapping_mul(M)).wrapping_mul(M);
    }
    if !rest.is_empty() {
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        hash = (hash ^ u64::from_le_bytes(last)).wrapping_mul(M);
    }
    hash ^= hash >> 47;
    hash = hash.wrapping_mul(M);
    hash ^ hash >> 47
}

fn estimate(registers: &Registers) -> u64 {
    const HALF_BY_LN_2: f64 = 0.721_347_520_444_481_7;
    let mut histogram = [0u32; 64];
    registers.iter().for_each(|value| histogram[*value as usize & 63] += 1);
    let m = REGISTERS as f64;
    let mut z = m * tau((m - f64::from(histogram[RANK_BITS + 1])) / m);
    for count in histogram[1..=RANK_BITS].iter().rev() {
        z = (z + f64::from(*count)) * 0.5;
    }
    z += m * sigma(f64::from(histogram[0]) / m);
    (HALF_BY_LN_2 * m * m / z).round() as u64
}

fn sigma(mut x: f64) -> f64 {
    if x == 1.0 {
        return f64::INFINITY;
    }
    let (mut y, mut z) = (1.0, x);
    loop {
        x *= x;
        let before = z;
        z += x * y;
        y += y;
        if before == z {
            return z;
        }
    }
}

fn tau(mut x: f64) -> f64 {
    if x == 0.0 || x == 1.0 {
        return 0.0;
    }
    let (mut y, mut z) = (1.0, 1.0 - x);
    loop {
        x = x.sqrt();
        let before = z;
        y *= 0.5;
        z -= (1.0 - x) * (1.0 - x) * y;
        if before == z {
            return z / 3.0;
        }
    }
}

/// The sketch at `key`, checked.
fn read<'a>(db: &'a mut Db<'_>, key: &[u8], text: &'a mut IntText) -> Result<Option<&'a [u8]>, ReplyError> {
    let bytes = db.read_text(key)?.map(|value| value.bytes(text));
    bytes.map(|bytes| check(bytes).map(|()| bytes)).transpose()
}

fn sketch_at(db: &mut Db<'_>, key: &[u8]) -> Result<Option<Sketch>, ReplyError> {
    Ok(read(db, key, &mut IntText::new())?.map(|bytes| Sketch { bytes: bytes.to_vec() }))
}

/// PFADD key [element ...]
fn pfadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let found = sketch_at(&mut ctx.db, key)?;
    let mut changes = u64::from(found.is_none());
    let mut sketch = found.unwrap_or_else(Sketch::new);
    for element in args.tail(2) {
        changes += u64::from(sketch.add(element, ctx.server.limits.hll_sparse_max_bytes)?);
    }
    if changes > 0 {
        sketch.invalidate_count();
        ctx.db.set_keep_expiry(key, Value::Str(Str::from_vec(sketch.bytes)));
        ctx.db.changed(key, changes - 1);
        ctx.db.notify(Events::STRING, "pfadd", key);
    }
    ctx.out.int((changes > 0).into());
    verbatim_if(changes > 0)
}

/// PFCOUNT key ...
fn pfcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let mut registers = [0; REGISTERS];
    for key in args.tail(1) {
        let mut text = IntText::new();
        let Some(bytes) = read(&mut ctx.db, key, &mut text)? else { continue };
        let count: [u8; 8] = bytes[8..HEADER].try_into().unwrap_or([0xff; 8]);
        if args.len() == 2 && count[7] & 0x80 == 0 {
            ctx.out.int(u64::from_le_bytes(count) as i64);
            return UNCHANGED;
        }
        merge(bytes, &mut registers)?;
    }
    let count = estimate(&registers);
    if args.len() == 2
        && ctx.db.expiry_mode() == Expiry::Ignore
        && let Some(bytes) = ctx.db.write_string(&args[1])?.and_then(Entry::buffer)
    {
        bytes[8..HEADER].copy_from_slice(&count.to_le_bytes());
        ctx.db.changed(&args[1], 1);
    }
    ctx.out.int(count as i64);
    UNCHANGED
}

/// PFMERGE destination [source ...]
fn pfmerge(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let mut registers = [0; REGISTERS];
    let mut dense = false;
    for source in args.tail(1) {
        let mut text = IntText::new();
        let Some(bytes) = read(&mut ctx.db, source, &mut text)? else { continue };
        dense |= bytes[4] == DENSE;
        merge(bytes, &mut registers)?;
    }
    let mut merged = sketch_at(&mut ctx.db, key)?.unwrap_or_else(Sketch::new);
    if dense {
        merged.make_dense()?;
    }
    for (index, value) in registers.into_iter().enumerate().filter(|(_, value)| *value > 0) {
        merged.raise(index, value, ctx.server.limits.hll_sparse_max_bytes)?;
    }
    merged.invalidate_count();
    ctx.db.set_keep_expiry(key, Value::Str(Str::from_vec(merged.bytes)));
    ctx.db.notify(Events::STRING, "pfadd", key);
    ctx.out.ok();
    VERBATIM
}

const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);

const fn row(name: &'static str, flags: Flags, keys: Keys, run: Execute) -> Command {
    Command::new(name, -2, flags, keys, run).group(Group::HyperLogLog)
}

pub const COMMANDS: &[Command] = &[
    row("pfadd", WRITE.union(Flags::FAST), Keys::ONE, pfadd).doc("2.8.9", "Adds elements to a HyperLogLog."),
    row("pfcount", Flags::READONLY.union(Flags::MAY_REPLICATE), Keys::ALL, pfcount)
        .doc("2.8.9", "Estimates how many different elements HyperLogLogs have seen."),
    row("pfmerge", WRITE, Keys::ALL, pfmerge).doc("2.8.9", "Unites HyperLogLogs into one."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use proptest::prelude::*;

    fn registers(sketch: &Sketch) -> Registers {
        let mut registers = [0; REGISTERS];
        merge(&sketch.bytes, &mut registers).unwrap();
        registers
    }

    #[test]
    fn adding_counting_merging() {
        let mut bench = Bench::default();
        for (line, reply) in [
            ("PFCOUNT a", ":0"),
            ("PFADD a", ":1"),
            ("PFADD a", ":0"),
            ("PFADD a x y z", ":1"),
            ("PFADD a x", ":0"),
            ("PFCOUNT a", ":3"),
            ("PFADD b z 1 2", ":1"),
            ("PFCOUNT a b none", ":5"),
            ("PFMERGE c a b", "+OK"),
            ("PFCOUNT c", ":5"),
            ("SET s HYLLo", "+OK"),
            ("PFADD s x", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
            ("PFCOUNT a s", "-WRONGTYPE Key is not a valid HyperLogLog string value."),
        ] {
            bench.check(line, reply);
        }
        bench.check_effects(&["PFADD a", "PFADD a x y z", "PFADD b z 1 2", "PFMERGE c a b", "SET s HYLLo"]);
        bench.run("APPEND c x");
        bench.check("PFCOUNT c", "-INVALIDOBJ Corrupted HLL object detected");
    }

    #[test]
    fn estimates_are_near() {
        let mut sketch = Sketch::new();
        for n in 0..100_000u32 {
            sketch.add(n.to_string().as_bytes(), 3000).unwrap();
            if [100, 1000, 10_000, 99_999].contains(&n) {
                let estimated = estimate(&registers(&sketch)) as f64;
                assert!((estimated / f64::from(n + 1) - 1.0).abs() < 0.03, "{n}: {estimated}");
            }
        }
        assert!(sketch.is_dense());
    }

    proptest! {
        #[test]
        fn sparse_and_dense_agree_with_plain_registers(
            steps in proptest::collection::vec((0usize..REGISTERS, 1u8..34), 1..200), near: bool, longest in 100usize..3000,
        ) {
            let mut model = [0u8; REGISTERS];
            let mut sketch = Sketch::new();
            for (index, value) in steps {
                let index = if near { index % 40 } else { index };
                prop_assert_eq!(sketch.raise(index, value, longest).unwrap(), value > model[index]);
                model[index] = model[index].max(value);
            }
            prop_assert!(registers(&sketch) == model);
        }

        #[test]
        fn damaged_sketches_never_panic(code in proptest::collection::vec(any::<u8>(), 0..40), element: [u8; 4]) {
            let mut sketch = Sketch { bytes: [&b"HYLL\x01\0\0\0\0\0\0\0\0\0\0\x80"[..], &code].concat() };
            let _ = sketch.add(&element, 3000);
            let _ = merge(&sketch.bytes, &mut [0; REGISTERS]);
            let _ = sketch.make_dense();
        }
    }
}
