//! Strings changed or read in part: APPEND, SETRANGE, GETRANGE, STRLEN, and the counters INCR to INCRBYFLOAT.
//!
//! A counter stays a bare integer in its entry and is changed there; a string that is edited becomes a growable
//! buffer ([`crate::store::string`]). INCRBYFLOAT adds in the extended precision of Redis and enters the stream
//! as the SET of its result, so that no replay depends on how a machine rounds. Limits on a string's length
//! bind clients only: what the stream or the log already holds is applied whatever the limit is now.

use super::string::row;
use crate::commands::{Command, Ctx, Flags, Keys, Outcome, UNCHANGED, VERBATIM, rewrite};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::extended::Extended;
use crate::store::string::IntText;
use crate::store::{Entry, Events, Expiry, Str, Text, Value};

const OVERFLOW: ReplyError = ReplyError::new("ERR increment or decrement would overflow");

/// Redis' error if a string of `len + more` bytes would be too long for this client.
pub fn check_string_length(ctx: &Ctx<'_>, len: usize, more: usize) -> Result<(), ReplyError> {
    let fits = len.checked_add(more).is_some_and(|total| total <= ctx.server.limits.string_max_bytes);
    if fits || ctx.db.expiry_mode() == Expiry::Ignore {
        return Ok(());
    }
    Err(ReplyError::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)"))
}

/// APPEND key value
fn append(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (key, tail) = (&args[1], &args[2]);
    let len = ctx.db.write_string(key)?.map(|entry| entry.text().len());
    check_string_length(ctx, len.unwrap_or(0), tail.len())?;
    let len = match ctx.db.write_string(key)?.and_then(Entry::buffer) {
        Some(bytes) => {
            bytes.extend_from_slice(tail);
            let len = bytes.len();
            ctx.db.changed(key, 1);
            len
        }
        None => {
            ctx.db.set(key, Value::Str(Str::new(tail)));
            tail.len()
        }
    };
    ctx.db.notify(Events::STRING, "append", key);
    ctx.out.int(len as i64);
    VERBATIM
}

/// STRLEN key
fn strlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let len = ctx.db.read_text(&args[1])?.map_or(0, Text::len);
    ctx.out.int(len as i64);
    UNCHANGED
}

/// GETRANGE key start end, SUBSTR
fn getrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (start, end) = (args.int(2)?, args.int(3)?);
    let mut text = IntText::new();
    let bytes = ctx.db.read_text(&args[1])?.map_or(&b""[..], |value| value.bytes(&mut text));
    ctx.out.bulk(slice(bytes, start, end));
    UNCHANGED
}

/// The bytes from `start` to `end`, both included; negative ones count from the end.
fn slice(bytes: &[u8], start: i64, end: i64) -> &[u8] {
    let len = bytes.len() as i64;
    if len == 0 || (start < 0 && end < 0 && start > end) {
        return &[];
    }
    let from_start = |at: i64| if at < 0 { (len + at).max(0) } else { at };
    let (start, end) = (from_start(start), from_start(end).min(len - 1));
    if start > end { &[] } else { &bytes[start as usize..=end as usize] }
}

/// SETRANGE key offset value
fn setrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (key, patch) = (&args[1], &args[3]);
    let offset = usize::try_from(args.int(2)?).map_err(|_| ReplyError::new("ERR offset is out of range"))?;
    let len = ctx.db.write_string(key)?.map(|entry| entry.text().len());
    if patch.is_empty() {
        ctx.out.int(len.unwrap_or(0) as i64);
        return UNCHANGED;
    }
    check_string_length(ctx, offset, patch.len())?;
    let end = offset + patch.len();
    let len = match ctx.db.write_string(key)?.and_then(Entry::buffer) {
        Some(bytes) => {
            if bytes.len() < end {
                bytes.resize(end, 0);
            }
            bytes[offset..end].copy_from_slice(patch);
            let len = bytes.len();
            ctx.db.changed(key, 1);
            len
        }
        None => {
            let mut bytes = vec![0; end];
            bytes[offset..].copy_from_slice(patch);
            ctx.db.set(key, Value::Str(Str::from_vec(bytes)));
            end
        }
    };
    ctx.db.notify(Events::STRING, "setrange", key);
    ctx.out.int(len as i64);
    VERBATIM
}

fn add(ctx: &mut Ctx<'_>, key: &[u8], by: i64) -> Result<Outcome, ReplyError> {
    let sum = match ctx.db.write_string(key)? {
        Some(entry) => {
            let old = entry.text().as_i64().ok_or(ReplyError::NOT_INTEGER)?;
            let sum = old.checked_add(by).ok_or(OVERFLOW)?;
            entry.set_int(sum);
            ctx.db.changed(key, 1);
            sum
        }
        None => {
            ctx.db.set(key, Value::Str(Str::Int(by)));
            by
        }
    };
    ctx.db.notify(Events::STRING, "incrby", key);
    ctx.out.int(sum);
    VERBATIM
}

/// INCR key
fn incr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    add(ctx, &args[1], 1)
}

/// DECR key
fn decr(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    add(ctx, &args[1], -1)
}

/// INCRBY key increment
fn incrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    add(ctx, &args[1], args.int(2)?)
}

/// DECRBY key decrement
fn decrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let by = args.int(2)?.checked_neg().ok_or(ReplyError::new("ERR decrement would overflow"))?;
    add(ctx, &args[1], by)
}

/// INCRBYFLOAT key increment
fn incrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let old = match ctx.db.write_string(key)? {
        Some(entry) => {
            Extended::parse(entry.text().bytes(&mut IntText::new())).ok_or(ReplyError::NOT_FLOAT)?
        }
        None => Extended::ZERO,
    };
    let sum = old + Extended::parse(&args[2]).ok_or(ReplyError::NOT_FLOAT)?;
    if !sum.is_finite() {
        return Err(ReplyError::new("ERR increment would produce NaN or Infinity"));
    }
    let mut text = Vec::with_capacity(32);
    sum.format_human(&mut text);
    ctx.db.set_keep_expiry(key, Value::Str(Str::text(&text)));
    ctx.db.notify(Events::STRING, "incrbyfloat", key);
    ctx.out.bulk(&text);
    rewrite(&[b"SET", key, &text, b"KEEPTTL"])
}

const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);
const FAST_WRITE: Flags = WRITE.union(Flags::FAST);
const READ: Flags = Flags::READONLY;

pub const COMMANDS: &[Command] = &[
    row("append", 3, FAST_WRITE, Keys::ONE, append).doc("2.0.0", "Adds bytes to the end of a string."),
    row("strlen", 2, READ.union(Flags::FAST), Keys::ONE, strlen).doc("2.2.0", "Returns a string's length."),
    row("getrange", 4, READ, Keys::ONE, getrange).doc("2.4.0", "Returns a part of a string."),
    row("substr", 4, READ, Keys::ONE, getrange).doc("1.0.0", "Old name of GETRANGE."),
    row("setrange", 4, WRITE, Keys::ONE, setrange).doc("2.2.0", "Overwrites a part of a string."),
    row("incr", 2, FAST_WRITE, Keys::ONE, incr).doc("1.0.0", "Adds one to the integer at a key."),
    row("decr", 2, FAST_WRITE, Keys::ONE, decr).doc("1.0.0", "Takes one from the integer at a key."),
    row("incrby", 3, FAST_WRITE, Keys::ONE, incrby).doc("1.0.0", "Adds to the integer at a key."),
    row("decrby", 3, FAST_WRITE, Keys::ONE, decrby).doc("1.0.0", "Subtracts from the integer at a key."),
    row("incrbyfloat", 3, FAST_WRITE, Keys::ONE, incrbyfloat).doc("2.6.0", "Adds to the float at a key."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::steps;

    #[test]
    fn counters() {
        let mut bench = steps(&[
            ("INCR n", ":1"),
            ("INCRBY n 41", ":42"),
            ("DECR n", ":41"),
            ("DECRBY n 1", ":40"),
            ("GET n", "$2 40"),
            ("SET n 9223372036854775807", "+OK"),
            ("INCR n", "-ERR increment or decrement would overflow"),
            ("DECRBY n -9223372036854775808", "-ERR decrement would overflow"),
            ("SET n -9223372036854775808", "+OK"),
            ("DECR n", "-ERR increment or decrement would overflow"),
            ("SET n 012", "+OK"),
            ("INCR n", "-ERR value is not an integer or out of range"),
            ("INCRBY n 1.5", "-ERR value is not an integer or out of range"),
            ("APPEND m 1", ":1"),
            ("APPEND m 0", ":2"),
            ("INCR m", ":11"),
        ]);
        bench.check_effects(&[
            "INCR n",
            "INCRBY n 41",
            "DECR n",
            "DECRBY n 1",
            "SET n 9223372036854775807",
            "SET n -9223372036854775808",
            "SET n 012",
            "APPEND m 1",
            "APPEND m 0",
            "INCR m",
        ]);
    }

    #[test]
    fn float_counters() {
        let mut bench = steps(&[
            ("INCRBYFLOAT f 1", "$1 1"),
            ("INCRBYFLOAT f 0.25", "$4 1.25"),
            ("SET f 3", "+OK"),
            ("INCRBYFLOAT f 1.1", "$3 4.1"),
            ("INCRBYFLOAT f -4.1", "$1 0"),
            ("SET f 5.0e3", "+OK"),
            ("INCRBYFLOAT f 200", "$4 5200"),
            ("SET f x", "+OK"),
            ("INCRBYFLOAT f 1", "-ERR value is not a valid float"),
            ("SET f 1", "+OK"),
            ("INCRBYFLOAT f x", "-ERR value is not a valid float"),
            ("INCRBYFLOAT f +inf", "-ERR increment would produce NaN or Infinity"),
            ("GET f", "$1 1"),
        ]);
        bench.effects.clear();
        bench.run("SET f 1 PXAT 1700000001000");
        bench.run("INCRBYFLOAT f 0.5");
        bench.check_effects(&["SET f 1 PXAT 1700000001000", "SET f 1.5 KEEPTTL"]);
        bench.now += 1000;
        bench.check("GET f", "$-1");
    }

    #[test]
    fn ranges() {
        let check = |start, end, expected: &str| {
            assert_eq!(slice(b"Hello", start, end), expected.as_bytes(), "{start} {end}");
        };
        check(0, -1, "Hello");
        check(0, 3, "Hell");
        check(-3, -1, "llo");
        check(-1, -3, "");
        check(3, 1, "");
        check(5, 9, "");
        check(4, i64::MAX, "o");
        check(i64::MIN, i64::MAX, "Hello");
        check(i64::MIN, i64::MIN, "H");
        check(-10, -9, "H");
        assert_eq!(slice(b"", 0, -1), b"");
        steps(&[
            ("GETRANGE k 0 -1", "$0"),
            ("GETRANGE k 0 x", "-ERR value is not an integer or out of range"),
            ("SET k 12345", "+OK"),
            ("SUBSTR k 1 2", "$2 23"),
            ("STRLEN k", ":5"),
            ("STRLEN x", ":0"),
        ]);
    }

    #[test]
    fn edits() {
        let mut bench = steps(&[
            ("APPEND k foo", ":3"),
            ("APPEND k bar", ":6"),
            ("GET k", "$6 foobar"),
            ("SETRANGE k 1 OO", ":6"),
            ("GET k", "$6 fOObar"),
            ("SETRANGE k -1 x", "-ERR offset is out of range"),
            ("SETRANGE k 6 !", ":7"),
            ("SETRANGE n 536870912 x", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)"),
            (
                "SETRANGE n 9223372036854775807 x",
                "-ERR string exceeds maximum allowed size (proto-max-bulk-len)",
            ),
            ("GET n", "$-1"),
        ]);
        assert_eq!(bench.run_args(&[b"SETRANGE", b"n", b"9", b""]), b":0\r\n");
        assert_eq!(bench.run_args(&[b"SETRANGE", b"k", b"99", b""]), b":7\r\n");
        assert_eq!(bench.run_args(&[b"SETRANGE", b"n", b"2", b"x"]), b":3\r\n");
        assert_eq!(bench.run_args(&[b"GET", b"n"]), b"$3\r\n\0\0x\r\n");
        bench.server.limits.string_max_bytes = 8;
        bench.check("APPEND k 12", "-ERR string exceeds maximum allowed size (proto-max-bulk-len)");
        bench.check("APPEND k 1", ":8");
    }
}
