//! BITFIELD: integers of any width up to 64 bits at any bit of a string.
//!
//! All operations are parsed before the first is done, so an error changes nothing; room up to the furthest bit
//! that is written is made once. Sums are taken in 128 bits, where nothing overflows, and then brought into the
//! field's range as the client has asked for. A field is read and written through a window of nine bytes, the most
//! that 64 bits can touch.
//!
//! One thing differs from Redis on purpose: a write that only made the string longer (all its operations failed by
//! OVERFLOW FAIL) enters the stream, too. There it does not, and replicas have another string afterwards.

use super::bitmap::{bit_offset, grown, row};
use crate::commands::{Command, Ctx, Flags, Keys, Outcome, UNCHANGED, verbatim_if};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::number::parse_i64;
use crate::resp::reply::Reply;
use crate::store::Events;
use crate::store::string::IntText;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Overflow {
    Wrap,
    Saturate,
    Fail,
}

#[derive(Clone, Copy, Debug)]
enum Action {
    Get,
    Set(i64),
    Add(i64),
}

/// Where a field is and how wide.
#[derive(Clone, Copy, Debug)]
struct Field {
    signed: bool,
    bits: u32,
    offset: u64,
}

struct Operation {
    action: Action,
    field: Field,
    overflow: Overflow,
}

impl Field {
    fn parse(ctx: &Ctx<'_>, kind: &[u8], offset: &[u8]) -> Result<Field, ReplyError> {
        let (signed, digits) = match kind {
            [b'i', digits @ ..] => (true, digits),
            [b'u', digits @ ..] => (false, digits),
            _ => (false, &b""[..]),
        };
        let widest = if signed { 64 } else { 63 };
        let bits = parse_i64(digits).filter(|bits| (1..=widest).contains(bits)).ok_or(ReplyError::new(
            "ERR Invalid bitfield type. Use something like i16 u8. Note that u64 is not supported but i64 is.",
        ))?;
        Ok(Field { signed, bits: bits as u32, offset: bit_offset(ctx, offset, Some(bits))? })
    }

    /// Bytes of a string that reaches to the field's end.
    fn reach(self) -> usize {
        ((self.offset + u64::from(self.bits) - 1) / 8) as usize + 1
    }

    fn range(self) -> (i128, i128) {
        if self.signed {
            let half = 1i128 << (self.bits - 1);
            (-half, half - 1)
        } else {
            (0, (1i128 << self.bits) - 1)
        }
    }

    /// The low bits of `value` as this field reads them.
    fn wrap(self, value: i128) -> i128 {
        let low = value & ((1i128 << self.bits) - 1);
        if self.signed && low >> (self.bits - 1) == 1 { low - (1i128 << self.bits) } else { low }
    }

    /// `value`, a sum or (`setting`) a number given by the client, brought into range; `None` if it is out of range
    /// and that is a failure.
    fn fit(self, value: i128, overflow: Overflow, setting: bool) -> Option<i128> {
        let (min, max) = self.range();
        match overflow {
            _ if (min..=max).contains(&value) => Some(value),
            Overflow::Wrap => Some(self.wrap(value)),
            // Redis takes a number for too great that is so low that its distance from the top overflows;
            // stock replicas replay the command itself, so they have to find the same here.
            Overflow::Saturate if setting && max - value > i64::MAX.into() => Some(max),
            Overflow::Saturate => Some(value.clamp(min, max)),
            Overflow::Fail => None,
        }
    }

    /// Bits to the right of the field in its window.
    fn shift(self) -> u32 {
        72 - (self.offset % 8) as u32 - self.bits
    }

    fn window(self, bytes: &[u8]) -> u128 {
        let mut window = [0u8; 16];
        let from = usize::try_from(self.offset / 8).unwrap_or(usize::MAX);
        let there = bytes.get(from..).unwrap_or_default();
        let there = &there[..there.len().min(9)];
        window[7..7 + there.len()].copy_from_slice(there);
        u128::from_be_bytes(window)
    }

    fn read(self, bytes: &[u8]) -> i128 {
        self.wrap((self.window(bytes) >> self.shift()) as i128)
    }

    /// `bytes` reach to the field's end.
    fn write(self, bytes: &mut [u8], value: i128) {
        let mask = ((1u128 << self.bits) - 1) << self.shift();
        let window = self.window(bytes) & !mask | ((value as u128) << self.shift()) & mask;
        let from = (self.offset / 8) as usize;
        let there = &mut bytes[from..self.reach()];
        let len = there.len();
        there.copy_from_slice(&window.to_be_bytes()[7..7 + len]);
    }
}

fn parse(ctx: &Ctx<'_>, args: Args<'_>) -> Result<Vec<Operation>, ReplyError> {
    let mut overflow = Overflow::Wrap;
    let mut operations = Vec::new();
    let mut i = 2;
    while i < args.len() {
        let left = args.len() - i - 1;
        if args.is(i, "OVERFLOW") && left >= 1 {
            const WORDS: [(&str, Overflow); 3] =
                [("WRAP", Overflow::Wrap), ("SAT", Overflow::Saturate), ("FAIL", Overflow::Fail)];
            let found = WORDS.iter().find(|(word, _)| args.is(i + 1, word));
            overflow = found.ok_or(ReplyError::new("ERR Invalid OVERFLOW type specified"))?.1;
            i += 2;
            continue;
        }
        let (get, set, add) = (args.is(i, "GET"), args.is(i, "SET"), args.is(i, "INCRBY"));
        let wanted = if get { 2 } else { 3 };
        if !(get || set || add) || left < wanted {
            return Err(ReplyError::SYNTAX);
        }
        let field = Field::parse(ctx, &args[i + 1], &args[i + 2])?;
        let action = match (get, set) {
            (true, _) => Action::Get,
            (_, true) => Action::Set(args.int(i + 3)?),
            _ => Action::Add(args.int(i + 3)?),
        };
        operations.push(Operation { action, field, overflow });
        i += 1 + wanted;
    }
    Ok(operations)
}

/// BITFIELD key [GET type offset | [OVERFLOW WRAP | SAT | FAIL] SET type offset value | INCRBY type offset increment] ...,
/// and BITFIELD_RO, which knows only GET
fn bitfield(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let operations = parse(ctx, args)?;
    let writes = operations.iter().filter(|operation| !matches!(operation.action, Action::Get));
    let Some(reach) = writes.map(|operation| operation.field.reach()).max() else {
        let mut text = IntText::new();
        let bytes = ctx.db.read_text(key)?.map_or(&b""[..], |value| value.bytes(&mut text));
        ctx.out.array(operations.len());
        for operation in &operations {
            ctx.out.int(operation.field.read(bytes) as i64);
        }
        return UNCHANGED;
    };
    if ctx.command.name == "bitfield_ro" {
        return Err(ReplyError::new("ERR BITFIELD_RO only supports the GET subcommand"));
    }
    let before = ctx.db.write_string(key)?.map_or(0, |entry| entry.text().len());
    let bytes = grown(&mut ctx.db, key, reach)?;
    let longer = before < reach;
    ctx.out.array(operations.len());
    let written = operations.iter().filter(|operation| operation.run(bytes, &mut ctx.out, longer)).count();
    let changes = written.max(longer.into());
    if changes > 0 {
        ctx.db.changed(key, changes as u64);
        ctx.db.notify(Events::STRING, "setbit", key);
    }
    verbatim_if(changes > 0)
}

impl Operation {
    /// Does it and replies; true if it counts as a change, as every write does to a string just made `longer`.
    fn run(&self, bytes: &mut [u8], out: &mut Reply<'_>, longer: bool) -> bool {
        let old = self.field.read(bytes);
        let wanted = match self.action {
            Action::Get => {
                out.int(old as i64);
                return false;
            }
            Action::Set(value) if self.field.signed => value.into(),
            Action::Set(value) => (value as u64).into(),
            Action::Add(by) => old + i128::from(by),
        };
        let setting = matches!(self.action, Action::Set(_));
        let Some(new) = self.field.fit(wanted, self.overflow, setting) else {
            out.null();
            return false;
        };
        self.field.write(bytes, new);
        out.int(if setting { old } else { new } as i64);
        longer || old != new
    }
}

pub const COMMANDS: &[Command] = &[
    row("bitfield", -2, Flags::WRITE.union(Flags::DENYOOM), Keys::ONE, bitfield)
        .doc("3.2.0", "Reads and changes integers of any width in a string."),
    row("bitfield_ro", -2, Flags::READONLY.union(Flags::FAST), Keys::ONE, bitfield)
        .doc("6.0.0", "Reads integers of any width in a string."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use proptest::prelude::*;

    #[test]
    fn operations_and_errors() {
        let mut bench = Bench::default();
        for (line, reply) in [
            ("BITFIELD k", "*0"),
            ("BITFIELD k GET u8 0", "*1 :0"),
            ("BITFIELD k SET i8 0 -100 SET i8 0 101 GET i8 0", "*3 :0 :-100 :101"),
            ("BITFIELD k SET u8 0 255 GET u8 0 GET i8 0", "*3 :101 :255 :-1"),
            ("BITFIELD k SET u8 #0 65 SET u8 #1 66 SET u8 #2 67 GET u24 0", "*4 :255 :0 :0 :4276803"),
            ("BITFIELD k INCRBY u8 #0 10 GET u4 6", "*2 :75 :13"),
            ("BITFIELD k OVERFLOW FAIL INCRBY u8 0 200 OVERFLOW SAT INCRBY u8 0 200", "*2 $-1 :255"),
            ("BITFIELD k OVERFLOW sat SET u8 0 -5 OVERFLOW wrap SET u8 0 257", "*2 :255 :255"),
            (
                "BITFIELD s OVERFLOW SAT SET i8 0 -9223372036854775808 SET i8 0 -9000 GET i8 0",
                "*3 :0 :127 :-128",
            ),
            ("BITFIELD k GET u8 0", "*1 :1"),
            ("BITFIELD k SET i64 64 -1 GET i64 64 GET u63 65", "*3 :0 :-1 :9223372036854775807"),
            ("BITFIELD k INCRBY i64 64 -9223372036854775808", "*1 :9223372036854775807"),
            ("BITFIELD k OVERFLOW SAT INCRBY i64 64 1", "*1 :9223372036854775807"),
            ("BITFIELD k GET i64 1000000", "*1 :0"),
            ("BITFIELD_RO k GET u8 0", "*1 :1"),
            ("BITFIELD_RO k GET u8 0 SET u8 0 1", "-ERR BITFIELD_RO only supports the GET subcommand"),
            ("BITFIELD k SET u8 0", "-ERR syntax error"),
            ("BITFIELD k SET u8 0 x", "-ERR value is not an integer or out of range"),
            ("BITFIELD k OVERFLOW never GET u8 0", "-ERR Invalid OVERFLOW type specified"),
            ("BITFIELD k GET u8 -1", "-ERR bit offset is not an integer or out of range"),
            ("BITFIELD k GET u8 #536870912", "-ERR bit offset is not an integer or out of range"),
            ("BITFIELD k GET u8 #9223372036854775807", "-ERR bit offset is not an integer or out of range"),
        ] {
            bench.check(line, reply);
        }
        for kind in ["u64", "i65", "u0", "x8", "i", "8"] {
            let reply = bench.run(&format!("BITFIELD k GET {kind} 0"));
            assert!(reply.starts_with("-ERR Invalid bitfield type."), "{kind}: {reply}");
        }
    }

    #[test]
    fn only_changes_enter_the_stream() {
        let mut bench = Bench::default();
        bench.run("BITFIELD k OVERFLOW FAIL INCRBY u2 0 100");
        bench.run("BITFIELD k OVERFLOW FAIL INCRBY u2 0 100");
        bench.run("BITFIELD k SET u2 0 0");
        bench.run("BITFIELD k GET u2 0");
        bench.run("BITFIELD k SET u2 0 1 SET u2 2 1");
        bench
            .check_effects(&["BITFIELD k OVERFLOW FAIL INCRBY u2 0 100", "BITFIELD k SET u2 0 1 SET u2 2 1"]);
        assert_eq!(bench.store.changes.dirty, 3);
    }

    proptest! {
        #[test]
        fn a_field_reads_what_was_written_and_leaves_its_neighbours(
            mut bytes in proptest::collection::vec(any::<u8>(), 20), signed: bool, bits in 1u32..=64, offset in 0u64..90, value: i64,
        ) {
            let field = Field { signed, bits: if signed { bits } else { bits.min(63) }, offset };
            let value = field.wrap(value.into());
            let bit = |bytes: &[u8], at: u64| bytes[(at / 8) as usize] & (0x80 >> (at % 8)) != 0;
            let before = bytes.clone();
            field.write(&mut bytes, value);
            prop_assert_eq!(field.read(&bytes), value);
            for at in (0..160).filter(|at| *at < offset || *at >= offset + u64::from(field.bits)) {
                prop_assert_eq!(bit(&bytes, at), bit(&before, at));
            }
            for i in 0..u64::from(field.bits) {
                prop_assert_eq!(bit(&bytes, offset + i), value >> (u64::from(field.bits) - 1 - i) & 1 == 1);
            }
        }
    }
}
