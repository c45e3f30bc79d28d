//! Walks over keys: SCAN, KEYS, RANDOMKEY, DBSIZE; and the options that every SCAN-like command shares.
//!
//! A cursor is a place in the order of [`crate::store::partitions`], so a key that is there from the start of a
//! scan to its end is returned, and nothing is kept between the calls. Keys whose deadline has passed are left out;
//! SCAN and RANDOMKEY also delete those they meet, where this server may delete.

use super::{Command, Ctx, Flags, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::glob;
use crate::resp::number::parse_u64;
use crate::store::partitions::Item;
use crate::store::{Entry, Expiry, Type};

/// COUNT, MATCH and TYPE.
#[derive(Clone, Copy, Debug)]
pub struct ScanOptions<'a> {
    pub count: usize,
    /// `None` for no pattern, and for `*`.
    pattern: Option<&'a [u8]>,
    kind: Option<Option<Type>>,
}

impl<'a> ScanOptions<'a> {
    /// Reads the options from argument `from` on; TYPE only if `with_type` (SCAN itself).
    pub fn parse(args: &Args<'a>, from: usize, with_type: bool) -> Result<ScanOptions<'a>, ReplyError> {
        let mut options = ScanOptions { count: 10, pattern: None, kind: None };
        for i in (from..args.len()).step_by(2) {
            let value = args.get(i + 1).ok_or(ReplyError::SYNTAX)?;
            if args.is(i, "COUNT") {
                options.count = usize::try_from(args.int(i + 1)?).map_err(|_| ReplyError::SYNTAX)?;
                if options.count == 0 {
                    return Err(ReplyError::SYNTAX);
                }
            } else if args.is(i, "MATCH") {
                options.pattern = (value != b"*").then_some(value);
            } else if args.is(i, "TYPE") && with_type {
                options.kind = Some(Type::ALL.into_iter().find(|kind| args.is(i + 1, kind.name())));
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        Ok(options)
    }

    /// Whether MATCH lets this element through.
    pub fn matches(&self, element: &[u8]) -> bool {
        self.pattern.is_none_or(|pattern| glob::matches(pattern, element, false))
    }

    /// Whether TYPE lets this key through; a type that does not exist lets none.
    fn wants(&self, kind: Type) -> bool {
        self.kind.is_none_or(|wanted| wanted == Some(kind))
    }
}

/// A cursor as `strtoul` reads it.
pub fn parse_cursor(text: &[u8]) -> Result<u64, ReplyError> {
    let (negative, digits) = match text {
        [] => return Ok(0),
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] | digits => (false, digits),
    };
    let zeros = digits.iter().take_while(|byte| **byte == b'0').count();
    let significant = &digits[zeros..];
    let value = match significant {
        [] if zeros > 0 => Some(0),
        digits => parse_u64(digits),
    };
    let value = value.ok_or(ReplyError::new("ERR invalid cursor"))?;
    Ok(if negative { value.wrapping_neg() } else { value })
}

/// SCAN cursor [MATCH pattern] [COUNT n] [TYPE type]
fn scan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let cursor = parse_cursor(&args[1])?;
    let options = ScanOptions::parse(&args, 2, true)?;
    let mut found: Vec<&Entry> = Vec::new();
    let mut passed = Vec::new();
    let next = ctx.db.entries().scan(cursor, options.count, |entry| {
        if !options.matches(entry.key()) {
        } else if ctx.db.has_passed(entry) {
            passed.push(entry.key().to_vec());
        } else if options.wants(entry.value().kind()) {
            found.push(entry);
        }
    });
    ctx.out.array(2);
    ctx.out.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.out.array(found.len());
    for entry in found {
        ctx.out.bulk(entry.key());
    }
    for key in passed {
        ctx.db.exists(&key);
    }
    UNCHANGED
}

/// KEYS pattern
fn keys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let pattern = &args[1];
    let open = ctx.out.deferred_array();
    let mut count = 0;
    for entry in ctx.db.entries().iter() {
        let matches = pattern == b"*" || glob::matches(pattern, entry.key(), false);
        if matches && !ctx.db.has_passed(entry) {
            ctx.out.bulk(entry.key());
            count += 1;
        }
    }
    ctx.out.close(open, count);
    UNCHANGED
}

/// RANDOMKEY
fn randomkey(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    /// Keys whose deadline has passed and that stay (on a replica) are not drawn for ever.
    const TRIES: usize = 100;
    let mut tries = 0;
    while tries < TRIES {
        let random = &mut ctx.server.random;
        let Some(entry) = ctx.db.entries().random(|| random.u64(..)) else { break };
        if !ctx.db.has_passed(entry) {
            ctx.out.bulk(entry.key());
            return UNCHANGED;
        }
        let key = entry.key().to_vec();
        ctx.db.exists(&key);
        tries += usize::from(ctx.db.expiry_mode() != Expiry::Delete);
    }
    match ctx.db.entries().iter().find(|entry| !ctx.db.has_passed(entry)) {
        Some(entry) => ctx.out.bulk(entry.key()),
        None => ctx.out.null(),
    }
    UNCHANGED
}

/// DBSIZE
fn dbsize(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.int(ctx.db.len() as i64);
    UNCHANGED
}

pub const COMMANDS: &[Command] = &[
    Command::new("scan", -2, Flags::READONLY.union(Flags::ANY_KEYS), Keys::None, scan)
        .doc("2.8.0", "Walks over the keys of the database, some at a time."),
    Command::new("keys", 2, Flags::READONLY.union(Flags::DANGEROUS), Keys::None, keys)
        .doc("1.0.0", "Returns all keys that match a pattern."),
    Command::new("randomkey", 1, Flags::READONLY.union(Flags::ANY_KEYS), Keys::None, randomkey)
        .doc("1.0.0", "Returns a key chosen at random."),
    Command::new("dbsize", 1, Flags::READONLY.union(Flags::FAST), Keys::None, dbsize)
        .group(super::Group::Server)
        .doc("1.0.0", "Returns the number of keys in the database."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use std::collections::BTreeSet;

    #[test]
    fn cursors_as_strtoul_reads_them() {
        let bad = Err(ReplyError::new("ERR invalid cursor"));
        for (text, expected) in [
            ("0", Ok(0)),
            ("", Ok(0)),
            ("007", Ok(7)),
            ("+7", Ok(7)),
            ("-1", Ok(u64::MAX)),
            ("18446744073709551615", Ok(u64::MAX)),
            ("18446744073709551616", bad.clone()),
            ("+", bad.clone()),
            (" 1", bad.clone()),
            ("1x", bad.clone()),
        ] {
            assert_eq!(parse_cursor(text.as_bytes()), expected, "{text:?}");
        }
    }

    fn words(reply: &str) -> Vec<&str> {
        reply.split(' ').filter(|word| !word.starts_with(['$', '*'])).collect()
    }

    #[test]
    fn a_scan_returns_every_key_that_it_should() {
        let mut bench = Bench::default();
        (0..500).for_each(|n| drop(bench.run(&format!("SET key:{n} v"))));
        (0..50).for_each(|n| drop(bench.run(&format!("SET old:{n} v PX 5"))));
        bench.now += 5;
        bench.effects.clear();
        let mut check = |options: &str, expected: usize| {
            let (mut cursor, mut seen) = ("0".to_string(), BTreeSet::new());
            loop {
                let reply = bench.run(&format!("SCAN {cursor} {options}"));
                let reply = words(&reply);
                seen.extend(reply[1..].iter().map(|key| key.to_string()));
                cursor = reply[0].to_string();
                if cursor == "0" {
                    break;
                }
            }
            assert_eq!(seen.len(), expected, "{options}");
        };
        check("MATCH key:1*", 111);
        check("", 500);
        check("COUNT 1000", 500);
        check("TYPE string COUNT 3", 500);
        check("TYPE list", 0);
        check("TYPE nonesuch MATCH *", 0);
        assert_eq!(bench.effects.len(), 50);
        assert!(bench.effects.iter().all(|effect| effect.starts_with("DEL old:")));
        bench.check("DBSIZE", ":500");
    }

    #[test]
    fn bad_options() {
        let mut bench = Bench::default();
        bench.check("SCAN 0", "*2 $1 0 *0");
        bench.check("SCAN x", "-ERR invalid cursor");
        bench.check("SCAN 0 COUNT 0", "-ERR syntax error");
        bench.check("SCAN 0 COUNT -1", "-ERR syntax error");
        bench.check("SCAN 0 COUNT x", "-ERR value is not an integer or out of range");
        bench.check("SCAN 0 MATCH", "-ERR syntax error");
        bench.check("SCAN 0 FOO bar", "-ERR syntax error");
    }

    #[test]
    fn keys_and_a_random_one() {
        let mut bench = Bench::default();
        bench.check("RANDOMKEY", "$-1");
        bench.run("MSET abc 1 abd 1 xyz 1");
        bench.run("SET abe 1 PX 1");
        bench.now += 1;
        let reply = bench.run("KEYS ab?");
        assert_eq!(words(&reply).into_iter().collect::<BTreeSet<_>>(), BTreeSet::from(["abc", "abd"]));
        bench.check("DBSIZE", ":4");
        bench.check("KEYS xyz", "*1 $3 xyz");
        bench.check("KEYS none", "*0");
        let mut seen = BTreeSet::new();
        seen.extend((0..100).map(|_| bench.run("RANDOMKEY")));
        assert_eq!(seen.len(), 3);
        bench.check("DBSIZE", ":3");
    }
}
