//! Hashes: HSET, HGET, HINCRBY, HRANDFIELD, HSCAN and their kin.
//!
//! The representation is [`crate::store::hashes`]. A command reads and checks the old value before it makes the
//! hash that is to hold the new one, so a failing counter leaves no empty hash behind. HINCRBYFLOAT adds in the
//! extended precision of Redis and enters the stream as the HSET of its result, so that no replay depends on how a
//! machine rounds.

use super::common::{bulk_entry, empty_scan, random_count};
use crate::commands::scan::{ScanOptions, parse_cursor};
use crate::commands::{
    Command, Ctx, Execute, Flags, Group, Keys, Outcome, UNCHANGED, VERBATIM, rewrite, verbatim_if,
};
use crate::error::ReplyError;
use crate::format::packed::Entry;
use crate::resp::args::Args;
use crate::resp::extended::Extended;
use crate::resp::reply::{Protocol, Reply};
use crate::store::{Events, Hash};

/// HSET key field value ..., HMSET key field value ...
fn hset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if !args.len().is_multiple_of(2) {
        return Err(ReplyError::wrong_arity(ctx.command.name));
    }
    let pairs = args.len() / 2 - 1;
    let hash = ctx.db.write_or_create(&args[1], Hash::new)?;
    hash.expect_pairs(pairs, &ctx.server.limits);
    let mut created = 0;
    for i in (2..args.len()).step_by(2) {
        created += i64::from(hash.set(&args[i], &args[i + 1], &ctx.server.limits));
    }
    match ctx.command.name {
        "hmset" => ctx.out.ok(),
        _ => ctx.out.int(created),
    }
    ctx.db.changed(&args[1], pairs as u64);
    ctx.db.notify(Events::HASH, "hset", &args[1]);
    VERBATIM
}

/// HSETNX key field value
fn hsetnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if ctx.db.write_as::<Hash>(&args[1])?.is_some_and(|hash| hash.contains(&args[2])) {
        ctx.out.int(0);
        return UNCHANGED;
    }
    store(ctx, args, &args[3], "hset")?;
    ctx.out.int(1);
    VERBATIM
}

/// Stores `value` at the key and field that are arguments 1 and 2, and reports it as one change.
fn store(ctx: &mut Ctx<'_>, args: Args<'_>, value: &[u8], event: &'static str) -> Result<(), ReplyError> {
    ctx.db.write_or_create(&args[1], Hash::new)?.set(&args[2], value, &ctx.server.limits);
    ctx.db.changed(&args[1], 1);
    ctx.db.notify(Events::HASH, event, &args[1]);
    Ok(())
}

/// HINCRBY key field increment
fn hincrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let increment = args.int(3)?;
    let old = match ctx.db.write_as::<Hash>(&args[1])?.and_then(|hash| hash.get(&args[2])) {
        Some(value) => value.to_i64().ok_or(ReplyError::new("ERR hash value is not an integer"))?,
        None => 0,
    };
    let new =
        old.checked_add(increment).ok_or(ReplyError::new("ERR increment or decrement would overflow"))?;
    store(ctx, args, itoa::Buffer::new().format(new).as_bytes(), "hincrby")?;
    ctx.out.int(new);
    VERBATIM
}

/// HINCRBYFLOAT key field increment
fn hincrbyfloat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let increment = Extended::parse(&args[3]).ok_or(ReplyError::NOT_FLOAT)?;
    if !increment.is_finite() {
        return Err(ReplyError::new("ERR value is NaN or Infinity"));
    }
    let old = match ctx.db.write_as::<Hash>(&args[1])?.and_then(|hash| hash.get(&args[2])) {
        Some(value) => Extended::parse(value.bytes(&mut itoa::Buffer::new()))
            .ok_or(ReplyError::new("ERR hash value is not a float"))?,
        None => Extended::ZERO,
    };
    let sum = old + increment;
    if !sum.is_finite() {
        return Err(ReplyError::new("ERR increment would produce NaN or Infinity"));
    }
    let mut text = Vec::with_capacity(32);
    sum.format_human(&mut text);
    store(ctx, args, &text, "hincrbyfloat")?;
    ctx.out.bulk(&text);
    rewrite(&[b"HSET", &args[1], &args[2], &text])
}

/// HDEL key field ...
fn hdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let removed = match ctx.db.write_as::<Hash>(key)? {
        Some(hash) => args.tail(2).iter().filter(|field| hash.remove(field)).count(),
        None => 0,
    };
    ctx.out.int(removed as i64);
    if removed > 0 {
        ctx.db.changed(key, removed as u64);
        ctx.db.notify(Events::HASH, "hdel", key);
        ctx.db.remove_if_empty(key);
    }
    verbatim_if(removed > 0)
}

/// HGET key field
fn hget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let hash = ctx.db.read_as::<Hash>(&args[1])?;
    value_or_null(&mut ctx.out, hash, &args[2]);
    UNCHANGED
}

/// HMGET key field ...
fn hmget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let hash = ctx.db.read_as::<Hash>(&args[1])?;
    let fields = args.tail(2);
    ctx.out.array(fields.len());
    fields.iter().for_each(|field| value_or_null(&mut ctx.out, hash, field));
    UNCHANGED
}

fn value_or_null(out: &mut Reply<'_>, hash: Option<&Hash>, field: &[u8]) {
    match hash.and_then(|hash| hash.get(field)) {
        Some(value) => bulk_entry(out, value),
        None => out.null(),
    }
}

/// HGETALL key
fn hgetall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let hash = ctx.db.read_as::<Hash>(&args[1])?;
    ctx.out.map(hash.map_or(0, Hash::len));
    for (field, value) in hash.into_iter().flat_map(Hash::iter) {
        bulk_entry(&mut ctx.out, field);
        bulk_entry(&mut ctx.out, value);
    }
    UNCHANGED
}

/// HKEYS key
fn hkeys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let hash = ctx.db.read_as::<Hash>(&args[1])?;
    ctx.out.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(field, _)| bulk_entry(&mut ctx.out, field));
    UNCHANGED
}

/// HVALS key
fn hvals(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let hash = ctx.db.read_as::<Hash>(&args[1])?;
    ctx.out.array(hash.map_or(0, Hash::len));
    hash.into_iter().flat_map(Hash::iter).for_each(|(_, value)| bulk_entry(&mut ctx.out, value));
    UNCHANGED
}

/// HLEN key
fn hlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let len = ctx.db.read_as::<Hash>(&args[1])?.map_or(0, Hash::len);
    ctx.out.int(len as i64);
    UNCHANGED
}

/// HSTRLEN key field
fn hstrlen(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let value = ctx.db.read_as::<Hash>(&args[1])?.and_then(|hash| hash.get(&args[2]));
    ctx.out.int(value.map_or(0, Entry::bytes_len) as i64);
    UNCHANGED
}

/// HEXISTS key field
fn hexists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let found = ctx.db.read_as::<Hash>(&args[1])?.is_some_and(|hash| hash.contains(&args[2]));
    ctx.out.int(found.into());
    UNCHANGED
}

/// HRANDFIELD key [count [WITHVALUES]]
fn hrandfield(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let most = ctx.output_limit();
    let random = &mut ctx.server.random;
    if args.len() == 2 {
        match ctx.db.read_as::<Hash>(&args[1])?.and_then(|hash| hash.random(random)) {
            Some((field, _)) => bulk_entry(&mut ctx.out, field),
            None => ctx.out.null(),
        }
        return UNCHANGED;
    }
    let wanted = random_count(args, 2)?;
    let with_values = args.len() == 4 && args.is(3, "WITHVALUES");
    if args.len() > 3 && !with_values {
        return Err(ReplyError::SYNTAX);
    }
    if with_values && wanted.unsigned_abs() > (i64::MAX / 2) as u64 {
        return Err(ReplyError::new("ERR value is out of range"));
    }
    let Some(hash) = ctx.db.read_as::<Hash>(&args[1])?.filter(|hash| !hash.is_empty()) else {
        ctx.out.array(0);
        return UNCHANGED;
    };
    let count = wanted.unsigned_abs() as usize;
    if wanted >= 0 {
        let chosen = hash.sample(count, random);
        open_pairs(&mut ctx.out, chosen.len(), with_values);
        chosen.into_iter().for_each(|pair| field_of(&mut ctx.out, pair, with_values));
        return UNCHANGED;
    }
    open_pairs(&mut ctx.out, count, with_values);
    if hash.as_listpack().is_some() {
        // A listpack is walked once, not once per draw.
        let all: Vec<_> = hash.iter().collect();
        for _ in 0..count {
            if ctx.out.len() > most {
                break;
            }
            field_of(&mut ctx.out, all[random.usize(..all.len())], with_values);
        }
    } else {
        for pair in (0..count).filter_map(|_| hash.random(random)) {
            field_of(&mut ctx.out, pair, with_values);
            if ctx.out.len() > most {
                break;
            }
        }
    }
    UNCHANGED
}

/// Fields with values are pairs in RESP3, one flat array in RESP2.
fn open_pairs(out: &mut Reply<'_>, count: usize, with_values: bool) {
    let flat = with_values && out.proto() == Protocol::Resp2;
    out.array(if flat { 2 * count } else { count });
}

fn field_of(out: &mut Reply<'_>, (field, value): (Entry<'_>, Entry<'_>), with_value: bool) {
    if with_value && out.proto() == Protocol::Resp3 {
        out.array(2);
    }
    bulk_entry(out, field);
    if with_value {
        bulk_entry(out, value);
    }
}

/// HSCAN key cursor [MATCH pattern] [COUNT n]
fn hscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let cursor = parse_cursor(&args[2])?;
    let Some(hash) = ctx.db.read_as::<Hash>(&args[1])? else {
        empty_scan(&mut ctx.out);
        return UNCHANGED;
    };
    let options = ScanOptions::parse(&args, 3, false)?;
    let mut found = Vec::new();
    let next = hash.scan(cursor, options.count, |field, value| {
        if options.matches(field.bytes(&mut itoa::Buffer::new())) {
            found.push((field, value));
        }
    });
    ctx.out.array(2);
    ctx.out.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.out.array(2 * found.len());
    for (field, value) in found {
        bulk_entry(&mut ctx.out, field);
        bulk_entry(&mut ctx.out, value);
    }
    UNCHANGED
}

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const TAKE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const WRITE_FAST: Flags = TAKE_FAST.union(Flags::DENYOOM);

pub const COMMANDS: &[Command] = &[
    row("hset", -4, WRITE_FAST, hset).doc("2.0.0", "Sets fields of a hash."),
    row("hsetnx", 4, WRITE_FAST, hsetnx).doc("2.0.0", "Sets a field that does not exist yet."),
    row("hmset", -4, WRITE_FAST, hset).doc("2.0.0", "Sets fields of a hash; HSET does the same."),
    row("hget", 3, READ_FAST, hget).doc("2.0.0", "Returns the value of a field."),
    row("hmget", -3, READ_FAST, hmget).doc("2.0.0", "Returns the values of several fields."),
    row("hgetall", 2, READ, hgetall).doc("2.0.0", "Returns all fields with their values."),
    row("hkeys", 2, READ, hkeys).doc("2.0.0", "Returns all fields."),
    row("hvals", 2, READ, hvals).doc("2.0.0", "Returns all values."),
    row("hlen", 2, READ_FAST, hlen).doc("2.0.0", "Returns the number of fields."),
    row("hstrlen", 3, READ_FAST, hstrlen).doc("3.2.0", "Returns the length of a field's value."),
    row("hexists", 3, READ_FAST, hexists).doc("2.0.0", "Says whether a field exists."),
    row("hdel", -3, TAKE_FAST, hdel).doc("2.0.0", "Removes fields."),
    row("hincrby", 4, WRITE_FAST, hincrby).doc("2.0.0", "Adds to the integer in a field."),
    row("hincrbyfloat", 4, WRITE_FAST, hincrbyfloat).doc("2.6.0", "Adds to the float in a field."),
    row("hrandfield", -2, READ, hrandfield).doc("6.2.0", "Returns fields chosen at random."),
    row("hscan", -3, READ, hscan).doc("2.8.0", "Walks over the fields of a hash, some at a time."),
];

const fn row(name: &'static str, arity: i32, flags: Flags, run: Execute) -> Command {
    Command::new(name, arity, flags, Keys::ONE, run).group(Group::Hash)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Bench, steps};
    use crate::resp::reply::Protocol;
    use crate::store::{Event, Events};
    use std::collections::BTreeSet;

    const WRONG_TYPE: &str = "-WRONGTYPE Operation against a key holding the wrong kind of value";

    /// The words of a reply without lengths.
    fn words(reply: &str) -> Vec<String> {
        reply.split(' ').filter(|word| !word.starts_with(['$', '*', '%'])).map(str::to_string).collect()
    }

    fn make_table(bench: &mut Bench) {
        bench.server.limits.hash_max_listpack_entries = 0;
    }

    #[test]
    fn fields_and_values() {
        for table in [false, true] {
            let mut bench = Bench::default();
            if table {
                make_table(&mut bench);
            }
            for (line, reply) in [
                ("HSET h a 1 b two", ":2"),
                ("HSET h a 2 c 3 c 4", ":1"),
                ("HMSET h d 5", "+OK"),
                ("HSET h a", "-ERR wrong number of arguments for 'hset' command"),
                ("HSET h a 1 b", "-ERR wrong number of arguments for 'hset' command"),
                ("HMSET h a 1 b", "-ERR wrong number of arguments for 'hmset' command"),
                ("HGET h a", "$1 2"),
                ("HGET h none", "$-1"),
                ("HGET none a", "$-1"),
                ("HMGET h b none c", "*3 $3 two $-1 $1 4"),
                ("HMGET none a b", "*2 $-1 $-1"),
                ("HLEN h", ":4"),
                ("HLEN none", ":0"),
                ("HEXISTS h a", ":1"),
                ("HEXISTS h none", ":0"),
                ("HSTRLEN h b", ":3"),
                ("HSTRLEN h none", ":0"),
                ("HSET h min -9223372036854775808", ":1"),
                ("HSTRLEN h min", ":20"),
                ("HSETNX h a 9", ":0"),
                ("HSETNX h e 9", ":1"),
                ("HSETNX new e 9", ":1"),
                ("HDEL h a none b", ":2"),
                ("HDEL none a", ":0"),
                ("HDEL h c d e min c", ":4"),
                ("HLEN h", ":0"),
                ("HGETALL h", "*0"),
                ("HKEYS h", "*0"),
                ("HVALS h", "*0"),
                ("HGETALL new", "*2 $1 e $1 9"),
                ("HKEYS new", "*1 $1 e"),
                ("HVALS new", "*1 $1 9"),
            ] {
                bench.check(line, reply);
            }
            bench.check_effects(&[
                "HSET h a 1 b two",
                "HSET h a 2 c 3 c 4",
                "HMSET h d 5",
                "HSET h min -9223372036854775808",
                "HSETNX h e 9",
                "HSETNX new e 9",
                "HDEL h a none b",
                "HDEL h c d e min c",
            ]);
            bench.proto = Protocol::Resp3;
            bench.check("HGETALL new", "%1 $1 e $1 9");
            bench.check("HGETALL none", "%0");
            bench.check("HKEYS none", "*0");
        }
    }

    #[test]
    fn another_type_is_refused() {
        let mut bench = steps(&[("SET s v", "+OK")]);
        for line in [
            "HSET s a 1",
            "HSETNX s a 1",
            "HMSET s a 1",
            "HGET s a",
            "HMGET s a",
            "HGETALL s",
            "HKEYS s",
            "HVALS s",
            "HLEN s",
            "HSTRLEN s a",
            "HEXISTS s a",
            "HDEL s a",
            "HINCRBY s a 1",
            "HINCRBYFLOAT s a 1",
            "HRANDFIELD s",
            "HRANDFIELD s 1",
            "HSCAN s 0",
        ] {
            bench.check(line, WRONG_TYPE);
        }
    }

    #[test]
    fn counters() {
        let mut bench = steps(&[
            ("HINCRBY h n 5", ":5"),
            ("HINCRBY h n -7", ":-2"),
            ("HINCRBY h n x", "-ERR value is not an integer or out of range"),
            ("HSET h t text s 5x max 9223372036854775807", ":3"),
            ("HINCRBY h t 1", "-ERR hash value is not an integer"),
            ("HINCRBY h s 1", "-ERR hash value is not an integer"),
            ("HINCRBY h max 1", "-ERR increment or decrement would overflow"),
            ("HINCRBY h max -1", ":9223372036854775806"),
            ("HINCRBYFLOAT h f 3", "$1 3"),
            ("HINCRBYFLOAT h f 1.1", "$3 4.1"),
            ("HINCRBYFLOAT h n 0.5", "$4 -1.5"),
            ("HINCRBYFLOAT h f x", "-ERR value is not a valid float"),
            ("HINCRBYFLOAT h f inf", "-ERR value is NaN or Infinity"),
            ("HINCRBYFLOAT h t 1", "-ERR hash value is not a float"),
            ("HINCRBYFLOAT none f x", "-ERR value is not a valid float"),
            ("HLEN none", ":0"),
        ]);
        bench.check_effects(&[
            "HINCRBY h n 5",
            "HINCRBY h n -7",
            "HSET h t text s 5x max 9223372036854775807",
            "HINCRBY h max -1",
            "HSET h f 3",
            "HSET h f 4.1",
            "HSET h n -1.5",
        ]);
    }

    #[test]
    fn events_and_changes() {
        let check = |before: &str, line: &str, expected: &[&str], dirty: u64| {
            let mut bench = Bench::default();
            bench.store.changes.notify = Events::KEYEVENT | Events::ALL;
            bench.run(before);
            bench.store.changes.events.clear();
            bench.store.changes.dirty = 0;
            bench.run(line);
            let named = |event: &Event| event.name;
            let events: Vec<_> = bench.store.changes.events.iter().map(named).collect();
            assert_eq!((events.as_slice(), bench.store.changes.dirty), (expected, dirty), "{line}");
        };
        check("HSET h a 1", "HSET h a 2 b 3", &["hset"], 2);
        check("HSET h a 1", "HSETNX h a 2", &[], 0);
        check("HSET h a 1", "HSETNX h b 2", &["hset"], 1);
        check("HSET h a 1", "HINCRBY h a 2", &["hincrby"], 1);
        check("HSET h a 1", "HINCRBYFLOAT h a 2", &["hincrbyfloat"], 1);
        check("HSET h a 1 b 2", "HDEL h a", &["hdel"], 1);
        check("HSET h a 1 b 2", "HDEL h a b", &["hdel", "del"], 2);
        check("HSET h a 1 b 2", "HDEL h c", &[], 0);
    }

    #[test]
    fn random_fields() {
        for size in [3usize, 1000] {
            let mut bench = Bench::default();
            (0..size).for_each(|n| drop(bench.run(&format!("HSET h f{n} v{n}"))));
            let distinct = |reply: &str| words(reply).into_iter().collect::<BTreeSet<_>>().len();
            for count in [0, 1, 2, size / 2, size, size + 5] {
                let most = count.min(size);
                let reply = bench.run(&format!("HRANDFIELD h {count}"));
                assert_eq!((distinct(&reply), words(&reply).len()), (most, most));
                let reply = bench.run(&format!("HRANDFIELD h {count} withvalues"));
                assert_eq!((distinct(&reply), words(&reply).len()), (2 * most, 2 * most));
                let reply = words(&reply);
                assert!(reply.chunks(2).all(|pair| pair[0][1..] == pair[1][1..]), "{reply:?}");
            }
            let reply = bench.run(&format!("HRANDFIELD h -{}", 20 * size));
            assert_eq!((distinct(&reply), words(&reply).len()), (size, 20 * size));
            assert!(bench.run("HRANDFIELD h -2 WITHVALUES").starts_with("*4 "));
            assert_eq!(words(&bench.run("HRANDFIELD h")).len(), 1);
        }
        let range =
            "-ERR value is out of range, value must between -9223372036854775807 and 9223372036854775807";
        let mut bench = steps(&[
            ("HRANDFIELD none", "$-1"),
            ("HRANDFIELD none 5", "*0"),
            ("HRANDFIELD none x", "-ERR value is not an integer or out of range"),
            ("HRANDFIELD none 1 VALUES", "-ERR syntax error"),
            ("HRANDFIELD none 1 WITHVALUES x", "-ERR syntax error"),
            ("HRANDFIELD none -9223372036854775808", range),
            ("HRANDFIELD none -9223372036854770000 WITHVALUES", "-ERR value is out of range"),
            ("HSET h a 1", ":1"),
            ("HRANDFIELD h 2 WITHVALUES", "*2 $1 a $1 1"),
        ]);
        bench.proto = Protocol::Resp3;
        bench.check("HRANDFIELD h 2 WITHVALUES", "*1 *2 $1 a $1 1");
        bench.check("HRANDFIELD h -2 WITHVALUES", "*2 *2 $1 a $1 1 *2 $1 a $1 1");
    }

    #[test]
    fn scanning() {
        let mut bench = steps(&[
            ("HSCAN none 0 COUNT x", "*2 $1 0 *0"),
            ("HSCAN none x", "-ERR invalid cursor"),
            ("HSET small a1 1 a2 2 b1 3 12 4", ":4"),
            ("HSCAN small 0 MATCH a* COUNT 1", "*2 $1 0 *4 $2 a1 $1 1 $2 a2 $1 2"),
            ("HSCAN small 0 MATCH 1*", "*2 $1 0 *2 $2 12 $1 4"),
            ("HSCAN small 0 COUNT 0", "-ERR syntax error"),
            ("HSCAN small 0 NOVALUES", "-ERR syntax error"),
        ]);
        (0..500).for_each(|n| drop(bench.run(&format!("HSET big f{n} v{n}"))));
        let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_string());
        loop {
            let reply = words(&bench.run(&format!("HSCAN big {cursor} COUNT 20")));
            cursor.clone_from(&reply[0]);
            for pair in reply[1..].chunks(2) {
                assert_eq!(pair[0][1..], pair[1][1..]);
                seen.insert(pair[0].clone());
            }
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
    }

    #[test]
    fn encodings_change_as_in_redis() {
        let check = |lines: &[&str], expected: &str| {
            let mut bench = Bench::default();
            bench.server.limits.hash_max_listpack_entries = 3;
            bench.server.limits.hash_max_listpack_value = 5;
            lines.iter().for_each(|line| drop(bench.run(line)));
            let mut db = bench.store.db(0, 0, Default::default(), 0);
            let found = match db.read(b"h") {
                Some(crate::store::View::Hash(hash)) => hash.encoding(),
                _ => "none",
            };
            assert_eq!(found, expected, "{lines:?}");
        };
        check(&["HSET h a 1 b 2 c 3"], "listpack");
        check(&["HSET h a 1 b 2 c 3", "HSET h d 4"], "hashtable");
        check(&["HSET h a 1 a 2 a 3 a 4"], "hashtable");
        check(&["HSET h a 1 b 2 c 3", "HSET h a 2 b 3"], "listpack");
        check(&["HSET h a 123456"], "hashtable");
        check(&["HSET h a 12345", "HINCRBY h a 99999"], "hashtable");
        check(&["HSET h a 1", "HSETNX h abcdef 1"], "hashtable");
        check(&["HSET h a 1 b 2 c 3 d 4", "HDEL h a b c"], "hashtable");
    }
}
