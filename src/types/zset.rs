//! Sorted sets, one key and member by member: ZADD, ZINCRBY, ZREM, ZSCORE, ZRANK, ZRANDMEMBER, ZSCAN.
//!
//! ZADD with all its options and ZINCRBY are one function, as in Redis: what an option permits is decided per
//! member in [`Options::admits`], before anything changes. Commands enter the stream as they were sent: a sum of
//! two doubles is the same everywhere.
//!
//! Ranges are in [`super::zset_range`], pops in [`super::zset_pop`], unions and the like in [`super::zset_ops`]; the
//! representation is [`crate::store::zset`].

use super::common::{bulk_entry, empty_scan, random_count};
use crate::commands::scan::{ScanOptions, parse_cursor};
use crate::commands::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED, verbatim_if};
use crate::error::ReplyError;
use crate::format::packed::Entry;
use crate::resp::args::Args;
use crate::resp::number::parse_f64;
use crate::resp::reply::{Protocol, Reply};
use crate::store::{Events, Zset};

/// Opens an array of `len` members. With scores RESP2 gets a flat list, RESP3 pairs.
pub(super) fn open_members(out: &mut Reply<'_>, len: usize, with_scores: bool) {
    let flat = with_scores && out.proto() == Protocol::Resp2;
    out.array(if flat { len.saturating_mul(2) } else { len });
}

/// One member of such an array.
pub(super) fn member(out: &mut Reply<'_>, member: Entry<'_>, score: f64, with_scores: bool) {
    if with_scores && out.proto() == Protocol::Resp3 {
        out.array(2);
    }
    bulk_entry(out, member);
    if with_scores {
        out.double(score);
    }
}

/// ZADD's options.
#[derive(Clone, Copy, Default)]
struct Options {
    nx: bool,
    xx: bool,
    gt: bool,
    lt: bool,
    changed: bool,
    incr: bool,
}

impl Options {
    /// Reads the options from argument 2 on; returns them and where the first score stands.
    fn parse(args: Args<'_>, incr: bool) -> (Options, usize) {
        let mut options = Options { incr, ..Options::default() };
        for i in 2.. {
            let option = if args.is(i, "NX") {
                &mut options.nx
            } else if args.is(i, "XX") {
                &mut options.xx
            } else if args.is(i, "GT") {
                &mut options.gt
            } else if args.is(i, "LT") {
                &mut options.lt
            } else if args.is(i, "CH") {
                &mut options.changed
            } else if args.is(i, "INCR") {
                &mut options.incr
            } else {
                return (options, i);
            };
            *option = true;
        }
        unreachable!("a command's arguments end")
    }

    fn check(self, pairs: usize) -> Result<(), ReplyError> {
        let Options { nx, xx, gt, lt, incr, .. } = self;
        let refusal = if nx && xx {
            "ERR XX and NX options at the same time are not compatible"
        } else if [nx, gt, lt].into_iter().filter(|set| *set).count() > 1 {
            "ERR GT, LT, and/or NX options at the same time are not compatible"
        } else if incr && pairs > 1 {
            "ERR INCR option supports a single increment-element pair"
        } else {
            return Ok(());
        };
        Err(ReplyError::new(refusal))
    }

    /// The score that a member with score `old` gets when `given` is asked for; `None` if it is not to be touched.
    fn admits(self, old: Option<f64>, given: f64) -> Result<Option<f64>, ReplyError> {
        const NAN: ReplyError = ReplyError::new("ERR resulting score is not a number (NaN)");
        let Some(old) = old else { return Ok((!self.xx).then_some(given)) };
        if self.nx {
            return Ok(None);
        }
        let score = if self.incr { old + given } else { given };
        if score.is_nan() {
            return Err(NAN);
        }
        let held_back = (self.lt && score >= old) || (self.gt && score <= old);
        Ok((!held_back).then_some(score))
    }
}

/// ZADD key [NX | XX] [GT | LT] [CH] [INCR] score member [score member …]
fn zadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    add(ctx, args, false)
}

/// ZINCRBY key increment member
fn zincrby(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    add(ctx, args, true)
}

fn add(ctx: &mut Ctx<'_>, args: Args<'_>, incr: bool) -> Result<Outcome, ReplyError> {
    let (options, first) = Options::parse(args, incr);
    let given = args.len() - first;
    if !given.is_multiple_of(2) || given == 0 {
        return Err(ReplyError::SYNTAX);
    }
    options.check(given / 2)?;
    let scores: Vec<f64> = (first..args.len())
        .step_by(2)
        .map(|i| parse_f64(&args[i]).ok_or(ReplyError::NOT_FLOAT))
        .collect::<Result<_, _>>()?;

    let (key, limits) = (&args[1], ctx.server.limits);
    let existing = ctx.db.write_as::<Zset>(key)?;
    let (mut added, mut updated, mut reached) = (0, 0, None);
    if existing.is_some() || !options.xx {
        let first_len = args[first + 1].len();
        let set = ctx.db.write_or_create(key, || Zset::for_members(first_len, scores.len(), &limits))?;
        set.expect(scores.len(), &limits);
        for (given, name) in scores.iter().zip(args.tail(first + 1).iter().step_by(2)) {
            let old = set.score(name);
            // An error can only come with INCR, that is with a single member: nothing was changed before it.
            let Some(score) = options.admits(old, *given)? else { continue };
            reached = Some(score);
            added += usize::from(old.is_none());
            updated += usize::from(old.is_some_and(|old| old != score));
            if old != Some(score) {
                set.insert(name, score, &limits);
            }
        }
    }
    let changes = added + updated;
    if changes > 0 {
        ctx.db.changed(key, changes as u64);
        ctx.db.notify(Events::ZSET, if options.incr { "zincr" } else { "zadd" }, key);
    }
    match (options.incr, reached) {
        (true, Some(score)) => ctx.out.double(score),
        (true, None) => ctx.out.null(),
        (false, _) => ctx.out.int(if options.changed { changes } else { added } as i64),
    }
    verbatim_if(changes > 0)
}

/// ZREM key member [member …]
fn zrem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let removed = match ctx.db.write_as::<Zset>(key)? {
        Some(set) => args.tail(2).iter().filter(|member| set.remove(member).is_some()).count(),
        None => 0,
    };
    if removed > 0 {
        ctx.db.changed(key, removed as u64);
        ctx.db.notify(Events::ZSET, "zrem", key);
        ctx.db.remove_if_empty(key);
    }
    ctx.out.int(removed as i64);
    verbatim_if(removed > 0)
}

/// ZCARD key
fn zcard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let len = ctx.db.read_as::<Zset>(&args[1])?.map_or(0, Zset::len);
    ctx.out.int(len as i64);
    UNCHANGED
}

/// ZSCORE key member
fn zscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    match ctx.db.read_as::<Zset>(&args[1])?.and_then(|set| set.score(&args[2])) {
        Some(score) => ctx.out.double(score),
        None => ctx.out.null(),
    }
    UNCHANGED
}

/// ZMSCORE key member [member …]
fn zmscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let set = ctx.db.read_as::<Zset>(&args[1])?;
    ctx.out.array(args.len() - 2);
    for member in args.tail(2) {
        match set.and_then(|set| set.score(member)) {
            Some(score) => ctx.out.double(score),
            None => ctx.out.null(),
        }
    }
    UNCHANGED
}

/// ZRANK key member [WITHSCORE]
fn zrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    rank(ctx, args, false)
}

/// ZREVRANK key member [WITHSCORE]
fn zrevrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    rank(ctx, args, true)
}

fn rank(ctx: &mut Ctx<'_>, args: Args<'_>, reverse: bool) -> Result<Outcome, ReplyError> {
    if args.len() > 4 {
        return Err(ReplyError::wrong_arity(ctx.command.name));
    }
    let with_score = args.len() == 4;
    if with_score && !args.is(3, "WITHSCORE") {
        return Err(ReplyError::SYNTAX);
    }
    let found = ctx.db.read_as::<Zset>(&args[1])?.and_then(|set| {
        let (rank, score) = set.rank(&args[2])?;
        Some((if reverse { set.len() - 1 - rank } else { rank }, score))
    });
    match found {
        Some((rank, score)) if with_score => {
            ctx.out.array(2);
            ctx.out.int(rank as i64);
            ctx.out.double(score);
        }
        Some((rank, _)) => ctx.out.int(rank as i64),
        None if with_score => ctx.out.null_array(),
        None => ctx.out.null(),
    }
    UNCHANGED
}

/// ZRANDMEMBER key [count [WITHSCORES]]
fn zrandmember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let most = ctx.output_limit();
    let random = &mut ctx.server.random;
    if args.len() == 2 {
        match ctx.db.read_as::<Zset>(&args[1])?.and_then(|set| set.random(random)) {
            Some((member, _)) => bulk_entry(&mut ctx.out, member),
            None => ctx.out.null(),
        }
        return UNCHANGED;
    }
    let wanted = random_count(args, 2)?;
    let with_scores = args.len() > 3;
    if args.len() > 4 || (with_scores && !args.is(3, "WITHSCORES")) {
        return Err(ReplyError::SYNTAX);
    }
    if with_scores && wanted.unsigned_abs() > i64::MAX as u64 / 2 {
        return Err(ReplyError::new("ERR value is out of range"));
    }
    let Some(set) = ctx.db.read_as::<Zset>(&args[1])?.filter(|set| !set.is_empty()) else {
        ctx.out.array(0);
        return UNCHANGED;
    };
    let count = wanted.unsigned_abs() as usize;
    if wanted >= 0 {
        let chosen = set.sample(count, random);
        open_members(&mut ctx.out, chosen.len(), with_scores);
        for (name, score) in chosen {
            member(&mut ctx.out, name, score, with_scores);
        }
        return UNCHANGED;
    }
    open_members(&mut ctx.out, count, with_scores);
    // A listpack is walked once, not once per draw.
    let all: Vec<_> = if set.as_listpack().is_some() { set.iter().collect() } else { Vec::new() };
    for _ in 0..count {
        if ctx.out.len() > most {
            break;
        }
        let drawn = if all.is_empty() { set.random(random) } else { Some(all[random.usize(..all.len())]) };
        if let Some((name, score)) = drawn {
            member(&mut ctx.out, name, score, with_scores);
        }
    }
    UNCHANGED
}

/// ZSCAN key cursor [MATCH pattern] [COUNT n]
fn zscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let cursor = parse_cursor(&args[2])?;
    let Some(set) = ctx.db.read_as::<Zset>(&args[1])? else {
        empty_scan(&mut ctx.out);
        return UNCHANGED;
    };
    let options = ScanOptions::parse(&args, 3, false)?;
    let mut found = Vec::new();
    let next = set.scan(cursor, options.count, |member, score| {
        let member = member.to_vec();
        if options.matches(&member) {
            found.push((member, score));
        }
    });
    ctx.out.array(2);
    ctx.out.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.out.array(2 * found.len());
    let mut text = Vec::new();
    for (member, score) in &found {
        text.clear();
        match set.as_listpack() {
            Some(_) => crate::resp::number::format_f64(*score, &mut text),
            None => text.extend_from_slice(seventeen_digits(*score).as_bytes()),
        }
        ctx.out.bulk(member);
        ctx.out.bulk(&text);
    }
    UNCHANGED
}

/// As C's `%.17g`, in which Redis' ZSCAN prints the scores of a large sorted set (those of a listpack it prints
/// shortest).
fn seventeen_digits(score: f64) -> String {
    if !score.is_finite() {
        return if score > 0.0 { "inf".into() } else { "-inf".into() };
    }
    let text = format!("{score:.16e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    let trimmed = |number: &str| match number.contains('.') {
        true => number.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => number.to_string(),
    };
    if (-4..17).contains(&exponent) {
        return trimmed(&format!("{score:.*}", (16 - exponent) as usize));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);

const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: Keys,
    run: crate::commands::Execute,
) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::SortedSet)
}

pub const COMMANDS: &[Command] = &[
    row("zadd", -4, WRITE_FAST.union(Flags::DENYOOM), Keys::ONE, zadd)
        .doc("1.2.0", "Adds members with scores to a sorted set, or changes their scores."),
    row("zincrby", 4, WRITE_FAST.union(Flags::DENYOOM), Keys::ONE, zincrby)
        .doc("1.2.0", "Adds to the score of a member."),
    row("zrem", -3, WRITE_FAST, Keys::ONE, zrem).doc("1.2.0", "Removes members from a sorted set."),
    row("zcard", 2, READ_FAST, Keys::ONE, zcard)
        .doc("1.2.0", "Returns the number of members of a sorted set."),
    row("zscore", 3, READ_FAST, Keys::ONE, zscore).doc("1.2.0", "Returns the score of a member."),
    row("zmscore", -3, READ_FAST, Keys::ONE, zmscore).doc("6.2.0", "Returns the scores of several members."),
    row("zrank", -3, READ_FAST, Keys::ONE, zrank)
        .doc("2.0.0", "Returns the place of a member, counted from the lowest score."),
    row("zrevrank", -3, READ_FAST, Keys::ONE, zrevrank)
        .doc("2.0.0", "Returns the place of a member, counted from the highest score."),
    row("zrandmember", -2, READ, Keys::ONE, zrandmember)
        .doc("6.2.0", "Returns one or more random members of a sorted set."),
    row("zscan", -3, READ, Keys::ONE, zscan)
        .doc("2.8.0", "Walks over the members and scores of a sorted set, some at a time."),
];

#[cfg(test)]
mod tests {
    use super::seventeen_digits;
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    #[test]
    fn zadd_options() {
        let mut bench = Bench::default();
        let mut check = |line: &str, expected: &str, enters: bool| {
            bench.check(line, expected);
            bench.check_effects(&[line][..usize::from(enters)]);
        };
        check("ZADD z XX 1 a", ":0", false);
        check("ZADD z 1 a 2 b", ":2", true);
        check("ZADD z 1 a", ":0", false);
        check("ZADD z 5 a 3 c", ":1", true);
        check("ZADD z CH 6 a 4 d", ":2", true);
        check("ZADD z NX 9 a 9 e", ":1", true);
        check("ZSCORE z a", "$1 6", false);
        check("ZADD z XX CH 7 a 9 f", ":1", true);
        check("ZADD z GT CH 6 a", ":0", false);
        check("ZADD z GT CH 8 a 1 g", ":2", true);
        check("ZADD z LT CH 9 a", ":0", false);
        check("ZADD z LT XX CH 2 a 0 h", ":1", true);
        check("ZADD z INCR 1.5 a", "$3 3.5", true);
        check("ZADD z INCR 0 a", "$3 3.5", false);
        check("ZADD z NX INCR 1 a", "$-1", false);
        check("ZADD z XX INCR 1 nobody", "$-1", false);
        check("ZADD z GT INCR -1 a", "$-1", false);
        check("ZADD z INCR 4 new", "$1 4", true);
        check("ZINCRBY z -3.5 a", "$1 0", true);
        check("ZADD none XX INCR 1 a", "$-1", false);
        check("EXISTS none", ":0", false);
    }

    #[test]
    fn zadd_errors_change_nothing() {
        let mut bench = Bench::default();
        bench.run("ZADD z inf a");
        bench.run("SET str v");
        bench.effects.clear();
        for (line, expected) in [
            ("ZADD z 1 x 2", "-ERR syntax error"),
            ("ZADD z NX XX", "-ERR syntax error"),
            ("ZADD z NX XX 1 x", "-ERR XX and NX options at the same time are not compatible"),
            ("ZADD z NX GT 1 x", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z LT GT 1 x", "-ERR GT, LT, and/or NX options at the same time are not compatible"),
            ("ZADD z INCR 1 x 2 y", "-ERR INCR option supports a single increment-element pair"),
            ("ZADD z 1 x nan y", "-ERR value is not a valid float"),
            ("ZINCRBY z x a", "-ERR value is not a valid float"),
            ("ZINCRBY z -inf a", "-ERR resulting score is not a number (NaN)"),
        ] {
            bench.check(line, expected);
        }
        for line in ["ZADD str 1 a", "ZREM str a", "ZCARD str", "ZSCORE str a", "ZRANK str a", "ZSCAN str 0"]
        {
            assert!(bench.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        bench.check("ZRANGE z 0 -1 WITHSCORES", "*2 $1 a $3 inf");
        bench.check_effects(&[]);
    }

    #[test]
    fn scores_and_ranks() {
        let mut bench = Bench::default();
        bench.run("ZADD z 1 a 2 b 2.5 c");
        bench.check("ZCARD z", ":3");
        bench.check("ZMSCORE z a x c", "*3 $1 1 $-1 $3 2.5");
        bench.check("ZMSCORE none a", "*1 $-1");
        bench.check("ZRANK z b", ":1");
        bench.check("ZREVRANK z a", ":2");
        bench.check("ZRANK z x", "$-1");
        bench.check("ZRANK z c WITHSCORE", "*2 :2 $3 2.5");
        bench.check("ZRANK z x WITHSCORE", "*-1");
        bench.check("ZRANK none x WITHSCORE", "*-1");
        bench.check("ZRANK z c FOO", "-ERR syntax error");
        bench.check("ZREVRANK z c WITHSCORE x", "-ERR wrong number of arguments for 'zrevrank' command");
        bench.check("ZREM z a x", ":1");
        bench.check("ZREM z b c", ":2");
        bench.check("EXISTS z", ":0");
        bench.check("ZREM z b", ":0");
        bench.proto = Protocol::Resp3;
        bench.run("ZADD z 1.5 a");
        bench.check("ZSCORE z a", ",1.5");
        bench.check("ZINCRBY z 1 a", ",2.5");
        bench.check("ZSCORE z x", "_");
        bench.check("ZRANK z x WITHSCORE", "_");
    }

    #[test]
    fn random_members() {
        for size in [5, 500] {
            let mut bench = Bench::default();
            (0..size).for_each(|n| drop(bench.run(&format!("ZADD z {n} m{n}"))));
            let members = |reply: &str| {
                let mut all: Vec<String> =
                    reply.split(' ').filter(|word| word.starts_with('m')).map(String::from).collect();
                let len = all.len();
                all.sort();
                all.dedup();
                (all.len(), len)
            };
            for count in [1, 3, size, size + 9] {
                let reply = bench.run(&format!("ZRANDMEMBER z {count} WITHSCORES"));
                assert!(reply.starts_with(&format!("*{} ", 2 * count.min(size))));
                assert_eq!(members(&reply), (count.min(size), count.min(size)));
            }
            assert_eq!(members(&bench.run(&format!("ZRANDMEMBER z -{}", 20 * size))), (size, 20 * size));
            assert_eq!(members(&bench.run("ZRANDMEMBER z")), (1, 1));
            bench.check("ZRANDMEMBER z 0", "*0");
            bench.check("ZRANDMEMBER none", "$-1");
            bench.check("ZRANDMEMBER none 3", "*0");
            bench.check("ZRANDMEMBER z 1 FOO", "-ERR syntax error");
            bench.check("ZRANDMEMBER z -9223372036854775807 WITHSCORES", "-ERR value is out of range");
            bench.proto = Protocol::Resp3;
            assert!(bench.run("ZRANDMEMBER z 2 WITHSCORES").starts_with("*2 *2 $"));
        }
    }

    #[test]
    fn scans() {
        let mut bench = Bench::default();
        bench.check("ZSCAN none 0", "*2 $1 0 *0");
        bench.run("ZADD z 0.1 a 2 b");
        bench.check("ZSCAN z 0", "*2 $1 0 *4 $1 a $3 0.1 $1 b $1 2");
        bench.check("ZSCAN z 0 MATCH b", "*2 $1 0 *2 $1 b $1 2");
        bench.server.limits.zset_max_listpack_entries = 0;
        bench.run("ZADD big 0.1 a");
        bench.check("ZSCAN big 0", "*2 $1 0 *2 $1 a $19 0.10000000000000001");
    }

    #[test]
    fn seventeen_digits_as_c_prints_them() {
        for (score, expected) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (3.0, "3"),
            (100.0, "100"),
            (0.1, "0.10000000000000001"),
            (-2.5, "-2.5"),
            (1e16, "10000000000000000"),
            (1e17, "1e+17"),
            (1.5e300, "1.5000000000000001e+300"),
            (0.0001, "0.0001"),
            (0.00001, "1.0000000000000001e-05"),
            (1e-322, "9.8813129168249309e-323"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(seventeen_digits(score), expected);
        }
    }
}
