//! Ranges of sorted sets: by rank, by score, by text; read, counted, stored or removed.
//!
//! Whatever a range is asked by, it becomes a range of ranks ([`Span::ranks`]) before anything is read: two
//! descents in the order index, after which counting is a subtraction and LIMIT's offset costs nothing (Redis walks
//! both). All reading commands are one function; the older names fix what the options of ZRANGE choose.
//!
//! A range by text means something only if all scores are equal, as in Redis; with others the result is some
//! part of the set.

use std::ops::Range;

use super::common::store_or_remove;
use super::zset::{member, open_members};
use crate::commands::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED, verbatim_if};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::number::parse_f64;
use crate::store::{Events, Kind, View, Zset};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum By {
    Rank,
    Score,
    Lex,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct ScoreBound {
    value: f64,
    /// `(`: the bound itself is outside.
    open: bool,
}

impl ScoreBound {
    fn parse(text: &[u8]) -> Option<ScoreBound> {
        let (open, number) = match text {
            [b'(', number @ ..] => (true, number),
            number => (false, number),
        };
        // Where other arguments must be representable, Redis takes what strtod makes of a bound: no text is zero,
        // and too large a number is infinite.
        let lenient = || match number {
            [] => Some(0.0),
            _ => std::str::from_utf8(number).ok()?.parse().ok().filter(|value: &f64| !value.is_nan()),
        };
        Some(ScoreBound { value: parse_f64(number).or_else(lenient)?, open })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LexBound<'a> {
    /// `-`: before everything.
    Lowest,
    /// `+`: after everything.
    Highest,
    /// `[text`
    Closed(&'a [u8]),
    /// `(text`
    Open(&'a [u8]),
}

impl<'a> LexBound<'a> {
    fn parse(text: &'a [u8]) -> Option<LexBound<'a>> {
        match text {
            b"-" => Some(LexBound::Lowest),
            b"+" => Some(LexBound::Highest),
            [b'[', text @ ..] => Some(LexBound::Closed(text)),
            [b'(', text @ ..] => Some(LexBound::Open(text)),
            _ => None,
        }
    }

    /// Whether `member` lies before this lower bound.
    fn cuts_below(self, member: &[u8]) -> bool {
        match self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(text) => member < text,
            LexBound::Open(text) => member <= text,
        }
    }

    /// Whether `member` lies within this upper bound.
    fn reaches(self, member: &[u8]) -> bool {
        match self {
            LexBound::Lowest => false,
            LexBound::Highest => true,
            LexBound::Closed(text) => member <= text,
            LexBound::Open(text) => member < text,
        }
    }
}

/// A range as asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Span<'a> {
    /// First and last rank, negative ones from the end.
    Ranks(i64, i64),
    Scores(ScoreBound, ScoreBound),
    Lex(LexBound<'a>, LexBound<'a>),
}

impl<'a> Span<'a> {
    fn parse(by: By, min: &'a [u8], max: &'a [u8]) -> Result<Span<'a>, ReplyError> {
        const NO_SCORE: ReplyError = ReplyError::new("ERR min or max is not a float");
        const NO_LEX: ReplyError = ReplyError::new("ERR min or max not valid string range item");
        match by {
            By::Rank => {
                let rank = |text| crate::resp::number::parse_i64(text).ok_or(ReplyError::NOT_INTEGER);
                Ok(Span::Ranks(rank(min)?, rank(max)?))
            }
            By::Score => ScoreBound::parse(min)
                .zip(ScoreBound::parse(max))
                .map(|(a, b)| Span::Scores(a, b))
                .ok_or(NO_SCORE),
            By::Lex => {
                LexBound::parse(min).zip(LexBound::parse(max)).map(|(a, b)| Span::Lex(a, b)).ok_or(NO_LEX)
            }
        }
    }

    /// The ranks of the members in this range, counted from the lowest score. `reverse` counts the ranks that
    /// were asked for from the highest.
    fn ranks(self, set: &Zset, reverse: bool) -> Range<usize> {
        let (start, end) = match self {
            Span::Ranks(first, last) => {
                let ranks = rank_range(first, last, set.len());
                return if reverse { set.len() - ranks.end..set.len() - ranks.start } else { ranks };
            }
            Span::Scores(min, max) => (
                set.count_while(|score, _| score < min.value || (min.open && score == min.value)),
                set.count_while(|score, _| score < max.value || (!max.open && score == max.value)),
            ),
            Span::Lex(min, max) => (
                set.count_while(|_, member| min.cuts_below(member)),
                set.count_while(|_, member| max.reaches(member)),
            ),
        };
        start..end.max(start)
    }
}

/// First and last index, negative ones from the end, as a range within `len`.
fn rank_range(first: i64, last: i64, len: usize) -> Range<usize> {
    let from_end = |index: i64| if index < 0 { index + len as i64 } else { index };
    let (first, last) = (from_end(first).max(0), from_end(last).min(len as i64 - 1));
    if first > last { 0..0 } else { first as usize..last as usize + 1 }
}

/// What a reading command asks for.
struct Query<'a> {
    key: &'a [u8],
    span: Span<'a>,
    reverse: bool,
    with_scores: bool,
    offset: i64,
    /// Negative: no limit.
    limit: i64,
}

impl<'a> Query<'a> {
    /// Reads `key min max [options]`, beginning with the key at argument `at`. What the command's name fixes
    /// (`by`, `reverse`) cannot be chosen by option.
    fn parse(
        args: Args<'a>,
        at: usize,
        by: Option<By>,
        reverse: Option<bool>,
    ) -> Result<Query<'a>, ReplyError> {
        const LIMIT_BY_RANK: ReplyError = ReplyError::new(
            "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
        );
        const SCORES_BY_LEX: ReplyError =
            ReplyError::new("ERR syntax error, WITHSCORES not supported in combination with BYLEX");
        let stores = at > 1;
        let (mut asked_by, mut asked_reverse) = (by, reverse);
        let (mut with_scores, mut offset, mut limit) = (false, 0, -1);
        let mut i = at + 3;
        while i < args.len() {
            if !stores && args.is(i, "WITHSCORES") {
                with_scores = true;
            } else if args.is(i, "LIMIT") && i + 2 < args.len() {
                (offset, limit) = (args.int(i + 1)?, args.int(i + 2)?);
                i += 2;
            } else if asked_reverse.is_none() && args.is(i, "REV") {
                asked_reverse = Some(true);
            } else if asked_by.is_none() && args.is(i, "BYLEX") {
                asked_by = Some(By::Lex);
            } else if asked_by.is_none() && args.is(i, "BYSCORE") {
                asked_by = Some(By::Score);
            } else {
                return Err(ReplyError::SYNTAX);
            }
            i += 1;
        }
        let (by, reverse) = (asked_by.unwrap_or(By::Rank), asked_reverse.unwrap_or(false));
        if limit != -1 && by == By::Rank {
            return Err(LIMIT_BY_RANK);
        }
        if with_scores && by == By::Lex {
            return Err(SCORES_BY_LEX);
        }
        let word = |i: usize| args.get(i).unwrap_or_default();
        // Reversed, the greater bound comes first; ranks are counted from the other end instead.
        let (min, max) = if reverse && by != By::Rank { (at + 2, at + 1) } else { (at + 1, at + 2) };
        let span = Span::parse(by, word(min), word(max))?;
        Ok(Query { key: word(at), span, reverse, with_scores, offset, limit })
    }

    fn ranks(&self, set: &Zset) -> Range<usize> {
        let Range { mut start, mut end } = self.span.ranks(set, self.reverse);
        if matches!(self.span, Span::Ranks(..)) {
            return start..end;
        }
        let len = end - start;
        let skip = usize::try_from(self.offset).unwrap_or(len).min(len);
        let take = usize::try_from(self.limit).unwrap_or(len).min(len - skip);
        if self.reverse {
            end -= skip;
            start = end - take;
        } else {
            start += skip;
            end = start + take;
        }
        start..end
    }
}

fn read_range(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    by: Option<By>,
    reverse: Option<bool>,
) -> Result<Outcome, ReplyError> {
    let query = Query::parse(args, 1, by, reverse)?;
    let Some(set) = ctx.db.read_as::<Zset>(query.key)? else {
        ctx.out.array(0);
        return UNCHANGED;
    };
    let ranks = query.ranks(set);
    open_members(&mut ctx.out, ranks.len(), query.with_scores);
    let mut members = set.range(ranks);
    while let Some((name, score)) = if query.reverse { members.next_back() } else { members.next() } {
        member(&mut ctx.out, name, score, query.with_scores);
    }
    UNCHANGED
}

/// ZRANGE key start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count] [WITHSCORES]
fn zrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_range(ctx, args, None, None)
}

/// ZREVRANGE key start stop [WITHSCORES]
fn zrevrange(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_range(ctx, args, Some(By::Rank), Some(true))
}

/// ZRANGEBYSCORE key min max [WITHSCORES] [LIMIT offset count]
fn zrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_range(ctx, args, Some(By::Score), Some(false))
}

/// ZREVRANGEBYSCORE key max min [WITHSCORES] [LIMIT offset count]
fn zrevrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_range(ctx, args, Some(By::Score), Some(true))
}

/// ZRANGEBYLEX key min max [LIMIT offset count]
fn zrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_range(ctx, args, Some(By::Lex), Some(false))
}

/// ZREVRANGEBYLEX key max min [LIMIT offset count]
fn zrevrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_range(ctx, args, Some(By::Lex), Some(true))
}

/// ZRANGESTORE destination source start stop [BYSCORE | BYLEX] [REV] [LIMIT offset count]
fn zrangestore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let query = Query::parse(args, 2, None, None)?;
    let source = match ctx.db.read(query.key) {
        None => None,
        Some(View::Zset(set)) => Some(set.clone()),
        Some(_) => return Err(ReplyError::WRONG_TYPE),
    };
    let mut result = Zset::indexed();
    let mut text = itoa::Buffer::new();
    if let Some(set) = &source {
        for (name, score) in set.range(query.ranks(set)) {
            result.insert_new(name.bytes(&mut text), score);
        }
    }
    result.settle(&ctx.server.limits);
    let len = result.len();
    store_or_remove(ctx, &args[1], result.wrap(), len, Events::ZSET, "zrangestore")
}

fn count(ctx: &mut Ctx<'_>, args: Args<'_>, by: By) -> Result<Outcome, ReplyError> {
    let span = Span::parse(by, &args[2], &args[3])?;
    let len = ctx.db.read_as::<Zset>(&args[1])?.map_or(0, |set| span.ranks(set, false).len());
    ctx.out.int(len as i64);
    UNCHANGED
}

/// ZCOUNT key min max
fn zcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    count(ctx, args, By::Score)
}

/// ZLEXCOUNT key min max
fn zlexcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    count(ctx, args, By::Lex)
}

fn remove(ctx: &mut Ctx<'_>, args: Args<'_>, by: By, event: &'static str) -> Result<Outcome, ReplyError> {
    let (key, span) = (&args[1], Span::parse(by, &args[2], &args[3])?);
    let removed = match ctx.db.write_as::<Zset>(key)? {
        Some(set) => set.remove_range(span.ranks(set, false)),
        None => 0,
    };
    if removed > 0 {
        ctx.db.changed(key, removed as u64);
        ctx.db.notify(Events::ZSET, event, key);
        ctx.db.remove_if_empty(key);
    }
    ctx.out.int(removed as i64);
    verbatim_if(removed > 0)
}

/// ZREMRANGEBYRANK key start stop
fn zremrangebyrank(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    remove(ctx, args, By::Rank, "zremrangebyrank")
}

/// ZREMRANGEBYSCORE key min max
fn zremrangebyscore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    remove(ctx, args, By::Score, "zremrangebyscore")
}

/// ZREMRANGEBYLEX key min max
fn zremrangebylex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    remove(ctx, args, By::Lex, "zremrangebylex")
}

const READ: Flags = Flags::READONLY;
const READ_FAST: Flags = Flags::READONLY.union(Flags::FAST);

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
    row("zrange", -4, READ, Keys::ONE, zrange)
        .doc("1.2.0", "Returns the members in a range of ranks, scores or texts."),
    row("zrevrange", -4, READ, Keys::ONE, zrevrange)
        .doc("1.2.0", "Returns the members in a range of ranks, highest score first."),
    row("zrangebyscore", -4, READ, Keys::ONE, zrangebyscore)
        .doc("1.0.5", "Returns the members in a range of scores."),
    row("zrevrangebyscore", -4, READ, Keys::ONE, zrevrangebyscore)
        .doc("2.2.0", "Returns the members in a range of scores, highest first."),
    row("zrangebylex", -4, READ, Keys::ONE, zrangebylex)
        .doc("2.8.9", "Returns the members in a range of texts."),
    row("zrevrangebylex", -4, READ, Keys::ONE, zrevrangebylex)
        .doc("2.8.9", "Returns the members in a range of texts, last first."),
    row("zrangestore", -5, Flags::WRITE.union(Flags::DENYOOM), Keys::TWO, zrangestore)
        .doc("6.2.0", "Stores a range of a sorted set in a key."),
    row("zcount", 4, READ_FAST, Keys::ONE, zcount)
        .doc("2.0.0", "Returns the number of members in a range of scores."),
    row("zlexcount", 4, READ_FAST, Keys::ONE, zlexcount)
        .doc("2.8.9", "Returns the number of members in a range of texts."),
    row("zremrangebyrank", 4, Flags::WRITE, Keys::ONE, zremrangebyrank)
        .doc("2.0.0", "Removes the members in a range of ranks."),
    row("zremrangebyscore", 4, Flags::WRITE, Keys::ONE, zremrangebyscore)
        .doc("1.2.0", "Removes the members in a range of scores."),
    row("zremrangebylex", 4, Flags::WRITE, Keys::ONE, zremrangebylex)
        .doc("2.8.9", "Removes the members in a range of texts."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    /// Every range must mean the same in both shapes.
    fn benches() -> [Bench; 2] {
        [128, 0].map(|entries| {
            let mut bench = Bench::default();
            bench.server.limits.zset_max_listpack_entries = entries;
            bench.run("ZADD z 1 a 2 b 3 c 4 d -inf low inf top");
            bench.run("ZADD lex 0 alpha 0 bar 0 cool 0 down 0 elephant 0 foo 0 great");
            bench.run("SET str v");
            bench.effects.clear();
            bench
        })
    }

    fn members(reply: &str) -> String {
        let words: Vec<_> = reply.split(' ').filter(|word| !word.starts_with(['$', '*'])).collect();
        words.join(" ")
    }

    #[track_caller]
    fn check(line: &str, expected: &str) {
        for mut bench in benches() {
            assert_eq!(members(&bench.run(line)), expected, "{line}");
        }
    }

    #[test]
    fn by_rank() {
        check("ZRANGE z 0 -1", "low a b c d top");
        check("ZRANGE z 1 2", "a b");
        check("ZRANGE z -2 -1", "d top");
        check("ZRANGE z -99 1", "low a");
        check("ZRANGE z 4 99", "d top");
        check("ZRANGE z 3 2", "");
        check("ZRANGE z 6 9", "");
        check("ZRANGE z -9223372036854775808 9223372036854775807", "low a b c d top");
        check("ZRANGE z 0 1 REV", "top d");
        check("ZREVRANGE z 0 -5", "top d");
        check("ZREVRANGE z -1 -1", "low");
        check("ZRANGE z 1 2 WITHSCORES", "a 1 b 2");
        check("ZRANGE none 0 -1", "");
    }

    #[test]
    fn by_score() {
        check("ZRANGEBYSCORE z 2 3", "b c");
        check("ZRANGEBYSCORE z (2 (4", "c");
        check("ZRANGEBYSCORE z -inf +inf", "low a b c d top");
        check("ZRANGEBYSCORE z (-inf (inf", "a b c d");
        check("ZRANGEBYSCORE z 5 3", "");
        check("ZRANGEBYSCORE z (2 2", "");
        check("ZREVRANGEBYSCORE z 3 (1", "c b");
        check("ZREVRANGEBYSCORE z inf -inf LIMIT 1 2", "d c");
        check("ZRANGEBYSCORE z 1 4 LIMIT 1 2", "b c");
        check("ZRANGEBYSCORE z 1 4 LIMIT 2 -1", "c d");
        check("ZRANGEBYSCORE z 1 4 LIMIT 9 5", "");
        check("ZRANGEBYSCORE z 1 4 LIMIT -1 5", "");
        check("ZRANGEBYSCORE z 1 4 LIMIT 0 0", "");
        check("ZRANGE z 4 (2 BYSCORE REV LIMIT 0 1 WITHSCORES", "d 4");
        check("ZRANGE z 1 2 BYSCORE", "a b");
        check("ZCOUNT z 1 3", ":3");
        check("ZCOUNT z (1 inf", ":4");
        check("ZCOUNT none 0 1", ":0");
        check("ZRANGEBYSCORE z ( 1", "a");
    }

    #[test]
    fn by_text() {
        check("ZRANGEBYLEX lex - [cool", "alpha bar cool");
        check("ZRANGEBYLEX lex (bar (down", "cool");
        check("ZRANGEBYLEX lex - +", "alpha bar cool down elephant foo great");
        check("ZRANGEBYLEX lex + -", "");
        check("ZRANGEBYLEX lex + [z", "");
        check("ZRANGEBYLEX lex [z -", "");
        check("ZRANGEBYLEX lex (bar (bar", "");
        check("ZRANGEBYLEX lex [bar [bar", "bar");
        check("ZREVRANGEBYLEX lex [d [bar", "cool bar");
        check("ZREVRANGEBYLEX lex + [d LIMIT 1 2", "foo elephant");
        check("ZRANGE lex [b (cool BYLEX", "bar");
        check("ZRANGE lex + [f BYLEX REV", "great foo");
        check("ZLEXCOUNT lex - +", ":7");
        check("ZLEXCOUNT lex (alpha [bar", ":1");
    }

    #[test]
    fn refusals() {
        for mut bench in benches() {
            for (line, expected) in [
                ("ZRANGE z 0 x", "ERR value is not an integer or out of range"),
                ("ZRANGE z 0 1 FOO", "ERR syntax error"),
                ("ZREVRANGE z 0 1 REV", "ERR syntax error"),
                ("ZRANGEBYSCORE z 0 1 BYLEX", "ERR syntax error"),
                ("ZRANGESTORE d z 0 1 WITHSCORES", "ERR syntax error"),
                ("ZRANGEBYSCORE z 1 2 LIMIT 1", "ERR syntax error"),
                ("ZRANGEBYSCORE z 1 2 LIMIT 1 x", "ERR value is not an integer or out of range"),
                ("ZRANGEBYSCORE z nan 2", "ERR min or max is not a float"),
                ("ZRANGEBYSCORE z 1 two", "ERR min or max is not a float"),
                ("ZCOUNT z ((1 2", "ERR min or max is not a float"),
                ("ZREMRANGEBYSCORE z x 2", "ERR min or max is not a float"),
                ("ZRANGEBYLEX z foo [bar", "ERR min or max not valid string range item"),
                ("ZLEXCOUNT z +x [bar", "ERR min or max not valid string range item"),
                (
                    "ZRANGE z 0 1 LIMIT 0 1",
                    "ERR syntax error, LIMIT is only supported in combination with either BYSCORE or BYLEX",
                ),
                (
                    "ZRANGEBYLEX z - + WITHSCORES",
                    "ERR syntax error, WITHSCORES not supported in combination with BYLEX",
                ),
            ] {
                bench.check(line, &format!("-{expected}"));
            }
            for line in
                ["ZRANGE str 0 1", "ZCOUNT str 0 1", "ZRANGESTORE d str 0 1", "ZREMRANGEBYRANK str 0 1"]
            {
                assert!(bench.run(line).starts_with("-WRONGTYPE"), "{line}");
            }
            bench.check_effects(&[]);
        }
    }

    #[test]
    fn stored_and_removed() {
        for mut bench in benches() {
            let mut check = |line: &str, len: usize, key: &str, left: &str| {
                bench.check(line, &format!(":{len}"));
                assert_eq!(members(&bench.run(&format!("ZRANGE {key} 0 -1"))), left, "{line}");
                bench.check_effects(&[line][..usize::from(len > 0)]);
            };
            check("ZRANGESTORE d z 1 2", 2, "d", "a b");
            check("ZRANGESTORE d z (4 2 BYSCORE REV", 2, "d", "b c");
            check("ZRANGESTORE d lex [e + BYLEX LIMIT 1 1", 1, "d", "foo");
            check("ZREMRANGEBYRANK z 7 9", 0, "z", "low a b c d top");
            check("ZREMRANGEBYRANK z -1 -1", 1, "z", "low a b c d");
            check("ZREMRANGEBYSCORE z (1 3", 2, "z", "low a d");
            check("ZREMRANGEBYLEX lex [b (e", 3, "lex", "alpha elephant foo great");
            check("ZREMRANGEBYRANK z 0 -1", 3, "z", "");
            bench.check("EXISTS z", ":0");
            bench.check("ZRANGESTORE d none 0 -1", ":0");
            bench.check("EXISTS d", ":0");
            bench.check("ZRANGESTORE d none 0 -1", ":0");
            bench.check_effects(&["ZRANGESTORE d none 0 -1"]);
        }
    }

    #[test]
    fn resp3_pairs() {
        let [mut bench, _] = benches();
        bench.proto = Protocol::Resp3;
        bench.check("ZRANGE z 1 2 WITHSCORES", "*2 *2 $1 a ,1 *2 $1 b ,2");
        bench.check("ZRANGE z 0 0", "*1 $3 low");
    }
}
