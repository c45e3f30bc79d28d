//! Sorted sets combined: union, intersection and difference, replied or stored.
//!
//! Operands may be sorted sets or sets (every member's score is then 1). They are shared handles, so the destination
//! may be one of them. Results are gathered as (member, score), sorted once, and only then replied or made
//! into a sorted set, whose shape is that of one built whole ([`Zset::settle`]).
//!
//! A product or sum that is no number (0 × ∞, ∞ − ∞) counts as 0, as in Redis. Operands are taken smallest first,
//! so sums of doubles are added in the order in which Redis adds them.

use triomphe::Arc;

use super::common::store_or_remove;
use super::zset::{member, open_members};
use crate::commands::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::format::packed::Entry;
use crate::resp::args::Args;
use crate::resp::number::parse_f64;
use crate::store::hash::Map;
use crate::store::{Events, Kind, Set, View, Zset};

#[derive(Clone)]
enum Operand {
    Absent,
    Set(Arc<Set>),
    Zset(Arc<Zset>),
}

impl Operand {
    fn len(&self) -> usize {
        match self {
            Operand::Absent => 0,
            Operand::Set(set) => set.len(),
            Operand::Zset(set) => set.len(),
        }
    }

    fn score(&self, member: Entry<'_>) -> Option<f64> {
        match self {
            Operand::Absent => None,
            Operand::Set(set) => set.contains(member).then_some(1.0),
            Operand::Zset(set) => set.score(member.bytes(&mut itoa::Buffer::new())),
        }
    }

    fn iter(&self) -> Box<dyn Iterator<Item = (Entry<'_>, f64)> + '_> {
        match self {
            Operand::Absent => Box::new(std::iter::empty()),
            Operand::Set(set) => Box::new(set.iter().map(|member| (member, 1.0))),
            Operand::Zset(set) => set.iter(),
        }
    }

    fn is_same(&self, other: &Operand) -> bool {
        match (self, other) {
            (Operand::Set(a), Operand::Set(b)) => Arc::ptr_eq(a, b),
            (Operand::Zset(a), Operand::Zset(b)) => Arc::ptr_eq(a, b),
            _ => false,
        }
    }
}

#[derive(Clone)]
struct Source {
    operand: Operand,
    weight: f64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Aggregate {
    Sum,
    Min,
    Max,
}

impl Aggregate {
    fn of(self, so_far: f64, next: f64) -> f64 {
        match self {
            Aggregate::Sum => number_or_zero(so_far + next),
            Aggregate::Min => {
                if next < so_far {
                    next
                } else {
                    so_far
                }
            }
            Aggregate::Max => {
                if next > so_far {
                    next
                } else {
                    so_far
                }
            }
        }
    }
}

fn number_or_zero(score: f64) -> f64 {
    if score.is_nan() { 0.0 } else { score }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operation {
    Union,
    Intersection,
    Difference,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Reply,
    Store,
    Count,
}

/// A parsed command.
struct Query {
    sources: Vec<Source>,
    aggregate: Aggregate,
    with_scores: bool,
    /// 0: no limit.
    limit: usize,
}

impl Query {
    /// Reads `numkeys key [key …] [options]` from argument `at` on, and the operands from the database.
    fn parse(
        ctx: &mut Ctx<'_>,
        args: Args<'_>,
        at: usize,
        operation: Operation,
        form: Form,
    ) -> Result<Query, ReplyError> {
        const WEIGHT: ReplyError = ReplyError::new("ERR weight value is not a float");
        const NEGATIVE: ReplyError = ReplyError::new("ERR LIMIT can't be negative");
        let Ok(keys) = usize::try_from(args.int(at)?.max(0)) else { return Err(ReplyError::SYNTAX) };
        if keys == 0 {
            let name = ctx.command.name;
            return Err(format!("ERR at least 1 input key is needed for '{name}' command").into());
        }
        if keys > args.len() - (at + 1) {
            return Err(ReplyError::SYNTAX);
        }
        let mut sources = Vec::with_capacity(keys);
        for key in args.tail(at + 1).head(keys) {
            let operand = match ctx.db.read(key) {
                None => Operand::Absent,
                Some(View::Set(set)) => Operand::Set(set.clone()),
                Some(View::Zset(set)) => Operand::Zset(set.clone()),
                Some(_) => return Err(ReplyError::WRONG_TYPE),
            };
            sources.push(Source { operand, weight: 1.0 });
        }
        let mut query = Query { sources, aggregate: Aggregate::Sum, with_scores: false, limit: 0 };
        let scored = operation != Operation::Difference && form != Form::Count;
        let mut i = at + 1 + keys;
        while i < args.len() {
            let left = args.len() - i;
            if scored && left > keys && args.is(i, "WEIGHTS") {
                for (source, at) in query.sources.iter_mut().zip(i + 1..) {
                    source.weight = parse_f64(&args[at]).ok_or(WEIGHT)?;
                }
                i += 1 + keys;
            } else if scored && left >= 2 && args.is(i, "AGGREGATE") {
                let words = [("SUM", Aggregate::Sum), ("MIN", Aggregate::Min), ("MAX", Aggregate::Max)];
                let found = words.into_iter().find(|(word, _)| args.is(i + 1, word));
                query.aggregate = found.ok_or(ReplyError::SYNTAX)?.1;
                i += 2;
            } else if form == Form::Reply && args.is(i, "WITHSCORES") {
                query.with_scores = true;
                i += 1;
            } else if form == Form::Count && left >= 2 && args.is(i, "LIMIT") {
                query.limit = args.int(i + 1).ok().and_then(|n| usize::try_from(n).ok()).ok_or(NEGATIVE)?;
                i += 2;
            } else {
                return Err(ReplyError::SYNTAX);
            }
        }
        if operation != Operation::Difference {
            query.sources.sort_by_key(|source| source.operand.len());
        }
        Ok(query)
    }

    /// Visits the members that every source has, with their aggregated score, until `visit` says enough.
    fn intersect<'a>(&'a self, mut visit: impl FnMut(Entry<'a>, f64) -> bool) {
        let Some((first, others)) = self.sources.split_first() else { return };
        for (member, own) in first.operand.iter() {
            let start = number_or_zero(first.weight * own);
            let score = others.iter().try_fold(start, |score, source| {
                let found = if source.operand.is_same(&first.operand) {
                    own
                } else {
                    source.operand.score(member)?
                };
                Some(self.aggregate.of(score, found * source.weight))
            });
            if score.is_some_and(|score| !visit(member, score)) {
                return;
            }
        }
    }

    fn union(&self) -> Map<Vec<u8>, f64> {
        let mut all: Map<Vec<u8>, f64> = Map::default();
        for source in &self.sources {
            for (member, score) in source.operand.iter() {
                let score = number_or_zero(source.weight * score);
                all.entry(member.to_vec())
                    .and_modify(|so_far| *so_far = self.aggregate.of(*so_far, score))
                    .or_insert(score);
            }
        }
        all
    }

    fn difference(&self) -> Vec<(Vec<u8>, f64)> {
        let Some((first, others)) = self.sources.split_first() else { return Vec::new() };
        let first = &first.operand;
        let mut others: Vec<_> = others.iter().map(|source| &source.operand).collect();
        if others.iter().any(|other| other.is_same(first)) {
            return Vec::new();
        }
        // As for sets: ask the others about each member, or take their members out, whichever is less work.
        let asking = first.len() * (1 + others.len()) / 2;
        let removing = first.len() + others.iter().map(|other| other.len()).sum::<usize>();
        if asking <= removing {
            others.sort_by_key(|other| std::cmp::Reverse(other.len()));
            let kept =
                first.iter().filter(|(member, _)| !others.iter().any(|other| other.score(*member).is_some()));
            return kept.map(|(member, score)| (member.to_vec(), score)).collect();
        }
        let mut left: Map<Vec<u8>, f64> =
            first.iter().map(|(member, score)| (member.to_vec(), score)).collect();
        let mut text = itoa::Buffer::new();
        for (member, _) in others.iter().flat_map(|other| other.iter()) {
            left.remove(member.bytes(&mut text));
        }
        left.into_iter().collect()
    }
}

/// Members and scores of the result, ascending.
fn result(query: &Query, operation: Operation) -> Vec<(Vec<u8>, f64)> {
    let mut all = match operation {
        Operation::Union => query.union().into_iter().collect(),
        Operation::Difference => query.difference(),
        Operation::Intersection => {
            let mut all = Vec::new();
            query.intersect(|member, score| {
                all.push((member.to_vec(), score));
                true
            });
            all
        }
    };
    all.sort_unstable_by(|(a, score), (b, other)| {
        score.partial_cmp(other).unwrap_or(std::cmp::Ordering::Equal).then_with(|| a.cmp(b))
    });
    all
}

fn reply(ctx: &mut Ctx<'_>, args: Args<'_>, operation: Operation) -> Result<Outcome, ReplyError> {
    let query = Query::parse(ctx, args, 1, operation, Form::Reply)?;
    let all = result(&query, operation);
    open_members(&mut ctx.out, all.len(), query.with_scores);
    for (name, score) in &all {
        member(&mut ctx.out, Entry::Str(name), *score, query.with_scores);
    }
    UNCHANGED
}

fn store(
    ctx: &mut Ctx<'_>,
    args: Args<'_>,
    operation: Operation,
    event: &'static str,
) -> Result<Outcome, ReplyError> {
    let query = Query::parse(ctx, args, 2, operation, Form::Store)?;
    let mut set = Zset::indexed();
    for (name, score) in result(&query, operation) {
        set.insert_new(&name, score);
    }
    drop(query);
    set.settle(&ctx.server.limits);
    let len = set.len();
    store_or_remove(ctx, &args[1], set.wrap(), len, Events::ZSET, event)
}

/// ZUNION numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
fn zunion(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    reply(ctx, args, Operation::Union)
}

/// ZINTER numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM | MIN | MAX] [WITHSCORES]
fn zinter(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    reply(ctx, args, Operation::Intersection)
}

/// ZDIFF numkeys key [key …] [WITHSCORES]
fn zdiff(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    reply(ctx, args, Operation::Difference)
}

/// ZUNIONSTORE destination numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM | MIN | MAX]
fn zunionstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    store(ctx, args, Operation::Union, "zunionstore")
}

/// ZINTERSTORE destination numkeys key [key …] [WEIGHTS weight …] [AGGREGATE SUM | MIN | MAX]
fn zinterstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    store(ctx, args, Operation::Intersection, "zinterstore")
}

/// ZDIFFSTORE destination numkeys key [key …]
fn zdiffstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    store(ctx, args, Operation::Difference, "zdiffstore")
}

/// ZINTERCARD numkeys key [key …] [LIMIT limit]
fn zintercard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let query = Query::parse(ctx, args, 1, Operation::Intersection, Form::Count)?;
    let mut count = 0;
    query.intersect(|_, _| {
        count += 1;
        count != query.limit
    });
    ctx.out.int(count as i64);
    UNCHANGED
}

const READ: Flags = Flags::READONLY.union(Flags::MOVABLE_KEYS);
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM).union(Flags::MOVABLE_KEYS);
const COUNTED: Keys = Keys::Counted { count_at: 1, also: 0 };
const STORED: Keys = Keys::Counted { count_at: 2, also: 1 };

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
    row("zunion", -3, READ, COUNTED, zunion).doc("6.2.0", "Returns the union of sorted sets."),
    row("zinter", -3, READ, COUNTED, zinter).doc("6.2.0", "Returns the intersection of sorted sets."),
    row("zdiff", -3, READ, COUNTED, zdiff)
        .doc("6.2.0", "Returns the members of the first sorted set that the others do not have."),
    row("zunionstore", -4, WRITE, STORED, zunionstore)
        .doc("2.0.0", "Stores the union of sorted sets in a key."),
    row("zinterstore", -4, WRITE, STORED, zinterstore)
        .doc("2.0.0", "Stores the intersection of sorted sets in a key."),
    row("zdiffstore", -4, WRITE, STORED, zdiffstore)
        .doc("6.2.0", "Stores the difference of sorted sets in a key."),
    row("zintercard", -3, READ, COUNTED, zintercard)
        .doc("7.0.0", "Returns the number of members in the intersection of sorted sets."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    fn bench() -> Bench {
        let mut bench = Bench::default();
        [
            "ZADD a 1 x 2 y 3 z",
            "ZADD b 10 y 20 z 30 w",
            "SADD s y v",
            "ZADD i inf x",
            "ZADD j -inf x",
            "SET str v",
        ]
        .iter()
        .for_each(|line| drop(bench.run(line)));
        bench.effects.clear();
        bench
    }

    fn words(reply: &str) -> String {
        let words: Vec<_> = reply.split(' ').filter(|word| !word.starts_with(['$', '*'])).collect();
        words.join(" ")
    }

    #[test]
    fn replies() {
        let mut bench = bench();
        let mut check = |line: &str, expected: &str| assert_eq!(words(&bench.run(line)), expected, "{line}");
        check("ZUNION 2 a b WITHSCORES", "x 1 y 12 z 23 w 30");
        check("ZUNION 3 a none s WITHSCORES", "v 1 x 1 y 3 z 3");
        check("ZUNION 2 a b WEIGHTS 2 0.5 WITHSCORES", "x 2 y 9 w 15 z 16");
        check("ZUNION 2 a b AGGREGATE MIN WITHSCORES", "x 1 y 2 z 3 w 30");
        check("ZUNION 2 a b AGGREGATE max WITHSCORES", "x 1 y 10 z 20 w 30");
        check("ZUNION 1 a", "x y z");
        check("ZINTER 2 a b WITHSCORES", "y 12 z 23");
        check("ZINTER 2 a b WEIGHTS 1 -1 AGGREGATE MIN WITHSCORES", "z -20 y -10");
        check("ZINTER 3 a b s WITHSCORES", "y 13");
        check("ZINTER 2 a a WEIGHTS 1 2 WITHSCORES", "x 3 y 6 z 9");
        check("ZINTER 2 a none", "");
        check("ZDIFF 2 a b WITHSCORES", "x 1");
        check("ZDIFF 2 a s WITHSCORES", "x 1 z 3");
        check("ZDIFF 2 a a", "");
        check("ZDIFF 2 none a", "");
        check("ZDIFF 1 s WITHSCORES", "v 1 y 1");
        check("ZUNION 2 i j WITHSCORES", "x 0");
        check("ZINTER 2 i j WITHSCORES", "x 0");
        check("ZUNION 1 i WEIGHTS 0 WITHSCORES", "x 0");
        check("ZINTERCARD 2 a b", ":2");
        check("ZINTERCARD 2 a b LIMIT 1", ":1");
        check("ZINTERCARD 2 a b LIMIT 0", ":2");
        check("ZINTERCARD 2 a none", ":0");
        bench.proto = Protocol::Resp3;
        bench.check("ZINTER 2 a b WITHSCORES", "*2 *2 $1 y ,12 *2 $1 z ,23");
        bench.check_effects(&[]);
    }

    #[test]
    fn refusals() {
        let mut bench = bench();
        for (line, expected) in [
            ("ZUNION 0 a", "ERR at least 1 input key is needed for 'zunion' command"),
            ("ZINTERSTORE d -1 a", "ERR at least 1 input key is needed for 'zinterstore' command"),
            ("ZUNION x a", "ERR value is not an integer or out of range"),
            ("ZUNION 2 a", "ERR syntax error"),
            ("ZUNION 2 a b WEIGHTS 1", "ERR syntax error"),
            ("ZUNION 2 a b WEIGHTS 1 x", "ERR weight value is not a float"),
            ("ZUNION 2 a b AGGREGATE avg", "ERR syntax error"),
            ("ZDIFF 2 a b WEIGHTS 1 2", "ERR syntax error"),
            ("ZUNIONSTORE d 2 a b WITHSCORES", "ERR syntax error"),
            ("ZINTERCARD 2 a b WITHSCORES", "ERR syntax error"),
            ("ZINTERCARD 2 a b LIMIT -1", "ERR LIMIT can't be negative"),
            ("ZINTERCARD 2 a b LIMIT x", "ERR LIMIT can't be negative"),
        ] {
            bench.check(line, &format!("-{expected}"));
        }
        assert!(bench.run("ZUNION 2 a str").starts_with("-WRONGTYPE"));
        bench.check_effects(&[]);
    }

    #[test]
    fn stored_results() {
        let mut bench = bench();
        let mut check = |line: &str, len: usize, left: &str| {
            bench.check(line, &format!(":{len}"));
            assert_eq!(words(&bench.run("ZRANGE a 0 -1 WITHSCORES")), left, "{line}");
            bench.check_effects(&[line]);
        };
        check("ZUNIONSTORE a 2 a b", 4, "x 1 y 12 z 23 w 30");
        check("ZINTERSTORE a 2 a b WEIGHTS 0 1", 3, "y 10 z 20 w 30");
        check("ZDIFFSTORE a 2 a s", 2, "z 20 w 30");
        check("ZINTERSTORE a 2 a none", 0, "");
        bench.check("EXISTS a", ":0");
        bench.check("ZUNIONSTORE str 1 none", ":0");
        bench.check("EXISTS str", ":0");
        bench.check("ZUNIONSTORE d 1 none", ":0");
        bench.check_effects(&["ZUNIONSTORE str 1 none"]);
    }

    #[test]
    fn difference_either_way() {
        let mut bench = Bench::default();
        (0..300).for_each(|n| drop(bench.run(&format!("ZADD big {n} m{n}"))));
        (0..60).for_each(|n| drop(bench.run(&format!("ZADD part{} {n} m{n}", n % 6))));
        bench.check("ZDIFFSTORE d 7 big part0 part1 part2 part3 part4 part5", ":240");
        bench.check("ZDIFFSTORE d 2 big part0", ":290");
        bench.check("ZDIFFSTORE d 2 part0 big", ":0");
    }
}
