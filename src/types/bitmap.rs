//! Strings as arrays of bits: SETBIT, GETBIT, BITCOUNT, BITPOS, BITOP. Bit 0 is the highest of the first byte.
//!
//! A string is followed by as many zero bits as anybody asks for. Ranges are turned into a first and a last *bit*
//! once, whatever unit they were given in; counting and searching then go over whole words between the edges.
//! BITFIELD is in [`super::bitfield`].

use crate::commands::{Command, Ctx, Execute, Flags, Group, Keys, Outcome, UNCHANGED, VERBATIM, verbatim_if};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::number::parse_i64;
use crate::store::string::IntText;
use crate::store::{Db, Events, Expiry, Str, Value};

/// A bit offset within what a string may hold for this client; in units of `unit` bits after a `#`, if there is one.
pub fn bit_offset(ctx: &Ctx<'_>, text: &[u8], unit: Option<i64>) -> Result<u64, ReplyError> {
    let (digits, unit) = match (text, unit) {
        ([b'#', digits @ ..], Some(unit)) => (digits, unit),
        _ => (text, 1),
    };
    let offset = parse_i64(digits).and_then(|n| n.checked_mul(unit)).and_then(|n| u64::try_from(n).ok());
    let limit = ctx.server.limits.string_max_bytes as u64;
    offset
        .filter(|offset| offset / 8 < limit || ctx.db.expiry_mode() == Expiry::Ignore)
        .ok_or(ReplyError::new("ERR bit offset is not an integer or out of range"))
}

/// The string at `key` as bytes for change, at least `len` of them; made if absent.
pub fn grown<'a>(db: &'a mut Db<'_>, key: &[u8], len: usize) -> Result<&'a mut Vec<u8>, ReplyError> {
    let bytes = db.buffer_or_create(key)?;
    if bytes.len() < len {
        bytes.resize(len, 0);
    }
    Ok(bytes)
}

fn bit_at(bytes: &[u8], offset: u64) -> bool {
    let byte = usize::try_from(offset / 8).ok().and_then(|at| bytes.get(at)).copied().unwrap_or(0);
    byte & mask(offset) != 0
}

fn mask(offset: u64) -> u8 {
    0x80 >> (offset % 8)
}

/// SETBIT key offset bit
fn setbit(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let offset = bit_offset(ctx, &args[2], None)?;
    let on = match &args[3] {
        b"0" => false,
        b"1" => true,
        _ => return Err(ReplyError::new("ERR bit is not an integer or out of range")),
    };
    let len = (offset / 8) as usize + 1;
    let mut text = IntText::new();
    let before = ctx.db.write_string(key)?.map_or(&b""[..], |entry| entry.text().bytes(&mut text));
    let was = bit_at(before, offset);
    ctx.out.int(was.into());
    if before.len() >= len && was == on {
        return UNCHANGED;
    }
    let byte = &mut grown(&mut ctx.db, key, len)?[len - 1];
    if on {
        *byte |= mask(offset)
    } else {
        *byte &= !mask(offset)
    }
    ctx.db.changed(key, 1);
    ctx.db.notify(Events::STRING, "setbit", key);
    VERBATIM
}

/// GETBIT key offset
fn getbit(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let offset = bit_offset(ctx, &args[2], None)?;
    let mut text = IntText::new();
    let bytes = ctx.db.read_text(&args[1])?.map_or(&b""[..], |value| value.bytes(&mut text));
    ctx.out.int(bit_at(bytes, offset).into());
    UNCHANGED
}

/// Whether argument `i`, if there, says that a range is in bits.
fn in_bits(args: Args<'_>, i: usize) -> Result<bool, ReplyError> {
    match (args.is(i, "BIT"), args.is(i, "BYTE") || i >= args.len()) {
        (true, _) => Ok(true),
        (_, true) => Ok(false),
        _ => Err(ReplyError::SYNTAX),
    }
}

/// First and last bit of a range that is given in bits or bytes, negative numbers counting from the end.
fn bit_range(len: usize, start: i64, end: i64, bits: bool) -> Option<(u64, u64)> {
    let unit = if bits { 1 } else { 8 };
    let total = len as i64 * 8 / unit;
    let place = |at: i64| if at < 0 { (total + at).max(0) } else { at };
    let (start, end) = (place(start), place(end).min(total - 1));
    (start <= end).then(|| ((start * unit) as u64, (end * unit + unit - 1) as u64))
}

/// BITCOUNT key [start end [BYTE | BIT]]
fn bitcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let mut text = IntText::new();
    let Some(value) = ctx.db.read_text(&args[1])? else {
        ctx.out.int(0);
        return UNCHANGED;
    };
    let bytes = value.bytes(&mut text);
    let range = match args.len() {
        2 => bit_range(bytes.len(), 0, -1, false),
        4 | 5 => {
            let (start, end) = (args.int(2)?, args.int(3)?);
            if start < 0 && end < 0 && start > end {
                None
            } else {
                bit_range(bytes.len(), start, end, in_bits(args, 4)?)
            }
        }
        _ => return Err(ReplyError::SYNTAX),
    };
    ctx.out.int(range.map_or(0, |(first, last)| count(bytes, first, last)) as i64);
    UNCHANGED
}

/// Set bits from `first` to `last`, both included and within `bytes`.
fn count(bytes: &[u8], first: u64, last: u64) -> u64 {
    let bytes = &bytes[(first / 8) as usize..=(last / 8) as usize];
    let (words, rest) = bytes.as_chunks::<8>();
    let in_words: u64 = words.iter().map(|word| u64::from(u64::from_ne_bytes(*word).count_ones())).sum();
    let in_rest: u64 = rest.iter().map(|byte| u64::from(byte.count_ones())).sum();
    // Bits of the edge bytes that lie outside.
    let before = bytes[0] & !(0xffu8 >> (first % 8));
    let after = bytes[bytes.len() - 1] & !(0xff << (7 - last % 8));
    in_words + in_rest - u64::from(before.count_ones()) - u64::from(after.count_ones())
}

/// BITPOS key bit [start [end [BYTE | BIT]]]
fn bitpos(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let bit = match args.int(2)? {
        0 => false,
        1 => true,
        _ => return Err(ReplyError::new("ERR The bit argument must be 1 or 0.")),
    };
    let mut text = IntText::new();
    let Some(value) = ctx.db.read_text(&args[1])? else {
        ctx.out.int(if bit { -1 } else { 0 });
        return UNCHANGED;
    };
    let bytes = value.bytes(&mut text);
    if args.len() > 6 {
        return Err(ReplyError::SYNTAX);
    }
    let start = if args.len() > 3 { args.int(3)? } else { 0 };
    let bits = in_bits(args, 5)?;
    let end = if args.len() > 4 { Some(args.int(4)?) } else { None };
    let found = bit_range(bytes.len(), start, end.unwrap_or(-1), bits).map(|(first, last)| {
        // To the right of the string there are zeros, unless the client has said where to end.
        position(bytes, first, last, bit).or((!bit && end.is_none()).then_some(last + 1))
    });
    ctx.out.int(found.flatten().map_or(-1, |at| at as i64));
    UNCHANGED
}

/// First bit from `first` to `last`, both included and within `bytes`, that is `bit`.
fn position(bytes: &[u8], first: u64, last: u64, bit: bool) -> Option<u64> {
    let dull = if bit { 0x00 } else { 0xff };
    let end = (last / 8) as usize + 1;
    let mut at = (first / 8) as usize;
    // In the first byte, bits before `first` are made dull.
    let head = (bytes[at] ^ dull) & (0xff >> (first % 8));
    let mut different = head;
    if different == 0 {
        at += 1;
        let dull_word = [dull; 8];
        while end - at >= 8 && bytes[at..at + 8] == dull_word {
            at += 8;
        }
        at += bytes[at..end].iter().position(|byte| *byte != dull)?;
        different = bytes[at] ^ dull;
    }
    Some(at as u64 * 8 + u64::from(different.leading_zeros())).filter(|found| *found <= last)
}

/// BITOP AND | OR | XOR | NOT destination key ...
fn bitop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    const OPERATIONS: [(&str, BitOp); 4] =
        [("AND", BitOp::And), ("OR", BitOp::Or), ("XOR", BitOp::Xor), ("NOT", BitOp::Not)];
    let operation = OPERATIONS.iter().find(|(word, _)| args.is(1, word));
    let operation = operation.map(|(_, operation)| *operation).ok_or(ReplyError::SYNTAX)?;
    if operation == BitOp::Not && args.len() != 4 {
        return Err(ReplyError::new("ERR BITOP NOT must be called with a single source key."));
    }
    let mut result: Option<Vec<u8>> = None;
    for key in args.tail(3) {
        let mut text = IntText::new();
        let bytes = ctx.db.read_text(key)?.map_or(&b""[..], |value| value.bytes(&mut text));
        match &mut result {
            None if operation == BitOp::Not => result = Some(bytes.iter().map(|byte| !byte).collect()),
            None => result = Some(bytes.to_vec()),
            Some(result) => operation.fold(result, bytes),
        }
    }
    let result = result.unwrap_or_default();
    let (target, len) = (&args[2], result.len());
    ctx.out.int(len as i64);
    if len > 0 {
        ctx.db.set(target, Value::Str(Str::from_vec(result)));
        ctx.db.notify(Events::STRING, "set", target);
        return VERBATIM;
    }
    let deleted = ctx.db.delete(target);
    if deleted {
        ctx.db.notify(Events::GENERIC, "del", target);
    }
    verbatim_if(deleted)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BitOp {
    And,
    Or,
    Xor,
    Not,
}

impl BitOp {
    /// Combines `bytes` into `result`, the shorter one followed by zeros.
    fn fold(self, result: &mut Vec<u8>, bytes: &[u8]) {
        if result.len() < bytes.len() {
            result.resize(bytes.len(), 0);
        }
        let (head, tail) = result.split_at_mut(bytes.len());
        let pairs = head.iter_mut().zip(bytes);
        match self {
            BitOp::And => {
                pairs.for_each(|(a, b)| *a &= b);
                tail.fill(0);
            }
            BitOp::Or => pairs.for_each(|(a, b)| *a |= b),
            BitOp::Xor => pairs.for_each(|(a, b)| *a ^= b),
            BitOp::Not => {}
        }
    }
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);
const AFTER_FIRST: Keys = Keys::Range { first: 2, last: -1, step: 1 };

pub const fn row(name: &'static str, arity: i32, flags: Flags, keys: Keys, run: Execute) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::Bitmap)
}

pub const COMMANDS: &[Command] = &[
    row("setbit", 4, WRITE, Keys::ONE, setbit).doc("2.2.0", "Sets or clears a bit; returns what it was."),
    row("getbit", 3, READ.union(Flags::FAST), Keys::ONE, getbit).doc("2.2.0", "Returns a bit."),
    row("bitcount", -2, READ, Keys::ONE, bitcount).doc("2.6.0", "Counts set bits."),
    row("bitpos", -3, READ, Keys::ONE, bitpos).doc("2.8.7", "Finds the first set or clear bit."),
    row("bitop", -4, WRITE, AFTER_FIRST, bitop).doc("2.6.0", "Combines strings bit by bit."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use proptest::prelude::*;

    fn with(bytes: &[u8]) -> Bench {
        let mut bench = Bench::default();
        bench.run_args(&[b"SET", b"k", bytes]);
        bench
    }

    #[test]
    fn single_bits() {
        let mut bench = Bench::default();
        for (line, reply) in [
            ("SETBIT n 1 1", ":0"),
            ("GET n", "$1 @"),
            ("SETBIT n 1 1", ":1"),
            ("SETBIT n 9 0", ":0"),
            ("STRLEN n", ":2"),
            ("SET i 1", "+OK"),
            ("GETBIT i 2", ":1"),
            ("SETBIT i 6 1", ":0"),
            ("GET i", "$1 3"),
            ("GETBIT i 100", ":0"),
            ("GETBIT x 0", ":0"),
            ("SETBIT i 0 2", "-ERR bit is not an integer or out of range"),
            ("SETBIT i -1 0", "-ERR bit offset is not an integer or out of range"),
            ("SETBIT i 4294967296 0", "-ERR bit offset is not an integer or out of range"),
            ("GETBIT i #1", "-ERR bit offset is not an integer or out of range"),
        ] {
            bench.check(line, reply);
        }
        bench.check_effects(&["SETBIT n 1 1", "SETBIT n 9 0", "SET i 1", "SETBIT i 6 1"]);
    }

    #[test]
    fn counts_in_ranges() {
        let mut bench = with(b"foobar");
        for (line, reply) in [
            ("BITCOUNT k", ":26"),
            ("BITCOUNT k 0 0", ":4"),
            ("BITCOUNT k 1 1 byte", ":6"),
            ("BITCOUNT k 5 30 BIT", ":17"),
            ("BITCOUNT k -1 -2", ":0"),
            ("BITCOUNT k -2 -1", ":7"),
            ("BITCOUNT k 5 5 bit", ":1"),
            ("BITCOUNT k 99 100", ":0"),
            ("BITCOUNT x 0 1 what", ":0"),
            ("BITCOUNT k 0", "-ERR syntax error"),
            ("BITCOUNT k 0 1 what", "-ERR syntax error"),
            ("BITCOUNT k a 1", "-ERR value is not an integer or out of range"),
        ] {
            bench.check(line, reply);
        }
    }

    #[test]
    fn positions() {
        let check = |bytes: &[u8], line: &str, reply: &str| with(bytes).check(line, reply);
        check(b"", "BITPOS k 0", ":-1");
        check(b"", "BITPOS x 0", ":0");
        check(b"", "BITPOS x 1", ":-1");
        check(b"\xff\xf0\x00", "BITPOS k 0", ":12");
        check(b"\x00\xff\xf0", "BITPOS k 1 0", ":8");
        check(b"\x00\xff\xf0", "BITPOS k 1 2", ":16");
        check(b"\x00\x00", "BITPOS k 1", ":-1");
        check(b"\xff\xff", "BITPOS k 0", ":16");
        check(b"\xff\xff", "BITPOS k 0 0", ":16");
        check(b"\xff\xff", "BITPOS k 0 0 -1", ":-1");
        check(b"\x00\xff\xf0", "BITPOS k 1 7 15 BIT", ":8");
        check(b"\x00\xff\xf0", "BITPOS k 0 8 16 bit", ":-1");
        check(b"\xff", "BITPOS k 2", "-ERR The bit argument must be 1 or 0.");
        check(b"\xff", "BITPOS k 1 0 1 2", "-ERR syntax error");
        check(b"\xff", "BITPOS k 1 9", ":-1");
    }

    #[test]
    fn operations() {
        let mut bench = Bench::default();
        bench.run_args(&[b"MSET", b"a", b"\x0f\xff", b"b", b"\xff\x01\x81"]);
        bench.effects.clear();
        let mut check = |line: &str, reply: &str, result: &[u8]| {
            bench.check(line, reply);
            let value = bench.store.dbs[0].entries.get(b"t").map(|entry| entry.text().to_vec());
            assert_eq!(value.unwrap_or_default(), result, "{line}");
        };
        check("BITOP AND t a b", ":3", b"\x0f\x01\x00");
        check("BITOP or t a b", ":3", b"\xff\xff\x81");
        check("BITOP XOR t a b none", ":3", b"\xf0\xfe\x81");
        check("BITOP NOT t a", ":2", b"\xf0\x00");
        check("BITOP AND t none nowhere", ":0", b"");
        check("BITOP AND t none nowhere", ":0", b"");
        check("BITOP NOT t a b", "-ERR BITOP NOT must be called with a single source key.", b"");
        check("BITOP NAND t a b", "-ERR syntax error", b"");
        bench.check_effects(&[
            "BITOP AND t a b",
            "BITOP or t a b",
            "BITOP XOR t a b none",
            "BITOP NOT t a",
            "BITOP AND t none nowhere",
        ]);
    }

    proptest! {
        #[test]
        fn edges_of_words(bytes in proptest::collection::vec(prop_oneof![Just(0u8), Just(0xff), any::<u8>()], 1..40), a: u16, b: u16) {
            let bits: Vec<bool> = (0..bytes.len() as u64 * 8).map(|at| bit_at(&bytes, at)).collect();
            let (a, b) = (a as usize % bits.len(), b as usize % bits.len());
            let (first, last) = (a.min(b), a.max(b));
            let inside = &bits[first..=last];
            prop_assert_eq!(count(&bytes, first as u64, last as u64), inside.iter().filter(|bit| **bit).count() as u64);
            for wanted in [false, true] {
                let expected = inside.iter().position(|bit| *bit == wanted).map(|at| (at + first) as u64);
                prop_assert_eq!(position(&bytes, first as u64, last as u64, wanted), expected);
            }
        }
    }
}
