//! Pops from either end of sorted sets: ZPOPMIN, ZPOPMAX, ZMPOP and the blocking BZPOPMIN, BZPOPMAX, BZMPOP.
//!
//! All are one pop ([`take`]); the forms differ in how they reply. What looks at several keys enters the stream
//! as the ZPOPMIN or ZPOPMAX of the key it took from, with the number it took, so a replay neither waits nor
//! chooses. A blocking command pops or says that it waits; the node runs it again when a key may serve it.

use crate::commands::{
    Block, Command, Ctx, Effect, Flags, Group, Keys, Outcome, TimeoutReply, UNCHANGED, deadline_after,
    verbatim_if,
};
use crate::error::ReplyError;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::reply::Protocol;
use crate::store::{Events, Type, Zset};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Min,
    Max,
}

impl End {
    fn command(self) -> &'static [u8] {
        match self {
            End::Min => b"ZPOPMIN",
            End::Max => b"ZPOPMAX",
        }
    }
}

/// Removes up to `count` members from one end of the sorted set at `key`, nearest to the end first.
fn take(ctx: &mut Ctx<'_>, key: &[u8], end: End, count: usize) -> Result<Vec<(Vec<u8>, f64)>, ReplyError> {
    let Some(set) = ctx.db.write_as::<Zset>(key)? else { return Ok(Vec::new()) };
    let len = set.len();
    let count = count.min(len);
    let ranks = if end == End::Min { 0..count } else { len - count..len };
    let mut taken: Vec<_> =
        set.range(ranks.clone()).map(|(member, score)| (member.to_vec(), score)).collect();
    if end == End::Max {
        taken.reverse();
    }
    if set.remove_range(ranks) > 0 {
        ctx.db.changed(key, taken.len() as u64);
        ctx.db.notify(Events::ZSET, if end == End::Min { "zpopmin" } else { "zpopmax" }, key);
        ctx.db.remove_if_empty(key);
    }
    Ok(taken)
}

/// The first of `keys` that is there; an error if it is no sorted set.
fn first_present<'a>(ctx: &mut Ctx<'_>, keys: Args<'a>) -> Result<Option<&'a [u8]>, ReplyError> {
    for key in keys {
        match ctx.db.type_of(key) {
            None => {}
            Some(Type::Zset) => return Ok(Some(key)),
            Some(_) => return Err(ReplyError::WRONG_TYPE),
        }
    }
    Ok(None)
}

/// ZPOPMIN key [count]
fn zpopmin(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    pop(ctx, args, End::Min)
}

/// ZPOPMAX key [count]
fn zpopmax(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    pop(ctx, args, End::Max)
}

fn pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<Outcome, ReplyError> {
    const NEGATIVE: ReplyError = ReplyError::new("ERR value is out of range, must be positive");
    if args.len() > 3 {
        return Err(ReplyError::SYNTAX);
    }
    let counted = args.len() == 3;
    let count = match counted {
        true => args.int(2).ok().and_then(|n| usize::try_from(n).ok()).ok_or(NEGATIVE)?,
        false => 1,
    };
    let taken = take(ctx, &args[1], end, count)?;
    if counted && ctx.out.proto() == Protocol::Resp3 {
        pairs(ctx, &taken);
    } else {
        ctx.out.array(2 * taken.len());
        flat(ctx, &taken);
    }
    verbatim_if(!taken.is_empty())
}

fn flat(ctx: &mut Ctx<'_>, taken: &[(Vec<u8>, f64)]) {
    for (member, score) in taken {
        ctx.out.bulk(member);
        ctx.out.double(*score);
    }
}

fn pairs(ctx: &mut Ctx<'_>, taken: &[(Vec<u8>, f64)]) {
    ctx.out.array(taken.len());
    for pair in taken {
        ctx.out.array(2);
        flat(ctx, std::slice::from_ref(pair));
    }
}

/// What follows the number of keys in ZMPOP and BZMPOP.
struct Several<'a> {
    keys: Args<'a>,
    end: End,
    count: usize,
}

impl<'a> Several<'a> {
    /// Reads `numkeys key [key …] MIN | MAX [COUNT count]` from argument `at` on.
    fn parse(args: Args<'a>, at: usize) -> Result<Several<'a>, ReplyError> {
        const NO_KEYS: ReplyError = ReplyError::new("ERR numkeys should be greater than 0");
        const NO_COUNT: ReplyError = ReplyError::new("ERR count should be greater than 0");
        let positive = |i| args.int(i).ok().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0);
        let keys = positive(at).ok_or(NO_KEYS)?;
        let end_at = keys.saturating_add(at + 1);
        let end = if args.is(end_at, "MIN") {
            End::Min
        } else if args.is(end_at, "MAX") {
            End::Max
        } else {
            return Err(ReplyError::SYNTAX);
        };
        let count = match args.len() - end_at {
            1 => 1,
            3 if args.is(end_at + 1, "COUNT") => positive(end_at + 2).ok_or(NO_COUNT)?,
            // A second COUNT, or anything else; a bad first count is told first.
            len if len > 3 && args.is(end_at + 1, "COUNT") && positive(end_at + 2).is_none() => {
                return Err(NO_COUNT);
            }
            _ => return Err(ReplyError::SYNTAX),
        };
        Ok(Several { keys: args.tail(at + 1).head(keys), end, count })
    }

    /// Pops from the first key that is there; `None`, and no reply, if none is.
    fn serve(&self, ctx: &mut Ctx<'_>) -> Result<Option<Outcome>, ReplyError> {
        let Some(key) = first_present(ctx, self.keys)? else { return Ok(None) };
        let taken = take(ctx, key, self.end, self.count)?;
        ctx.out.array(2);
        ctx.out.bulk(key);
        pairs(ctx, &taken);
        let effect = OwnedArgs::new().with(self.end.command()).with(key).with_int(taken.len() as i64);
        Ok(Some(Outcome::Done(Effect::Rewrite(vec![effect]))))
    }
}

/// ZMPOP numkeys key [key …] MIN | MAX [COUNT count]
fn zmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    match Several::parse(args, 1)?.serve(ctx)? {
        Some(outcome) => Ok(outcome),
        None => {
            ctx.out.null_array();
            UNCHANGED
        }
    }
}

/// BZMPOP timeout numkeys key [key …] MIN | MAX [COUNT count]
fn bzmpop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let several = Several::parse(args, 2)?;
    let deadline = deadline_after(ctx.now, &args[1])?;
    match several.serve(ctx)? {
        Some(outcome) => Ok(outcome),
        None => wait(ctx, several.keys, deadline),
    }
}

/// BZPOPMIN key [key …] timeout
fn bzpopmin(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    blocking_pop(ctx, args, End::Min)
}

/// BZPOPMAX key [key …] timeout
fn bzpopmax(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    blocking_pop(ctx, args, End::Max)
}

fn blocking_pop(ctx: &mut Ctx<'_>, args: Args<'_>, end: End) -> Result<Outcome, ReplyError> {
    let last = args.len() - 1;
    let deadline = deadline_after(ctx.now, &args[last])?;
    let keys = args.head(last).tail(1);
    let Some(key) = first_present(ctx, keys)? else { return wait(ctx, keys, deadline) };
    let taken = take(ctx, key, end, 1)?;
    ctx.out.array(1 + 2 * taken.len());
    ctx.out.bulk(key);
    flat(ctx, &taken);
    Ok(Outcome::Done(Effect::rewrite(&[end.command(), key])))
}

fn wait(ctx: &mut Ctx<'_>, keys: Args<'_>, deadline: i64) -> Result<Outcome, ReplyError> {
    if ctx.deny_blocking {
        ctx.out.null_array();
        return UNCHANGED;
    }
    let keys = keys.iter().map(<[u8]>::to_vec).collect();
    Ok(Outcome::Block(Block { keys, wants: Type::Zset, deadline, on_timeout: TimeoutReply::NullArray }))
}

const WRITE_FAST: Flags = Flags::WRITE.union(Flags::FAST);
const WRITE_MOVABLE: Flags = Flags::WRITE.union(Flags::MOVABLE_KEYS);
const BUT_LAST: Keys = Keys::Range { first: 1, last: -2, step: 1 };

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
    row("zpopmin", -2, WRITE_FAST, Keys::ONE, zpopmin)
        .doc("5.0.0", "Removes and returns the members with the lowest scores."),
    row("zpopmax", -2, WRITE_FAST, Keys::ONE, zpopmax)
        .doc("5.0.0", "Removes and returns the members with the highest scores."),
    row("zmpop", -4, WRITE_MOVABLE, Keys::Counted { count_at: 1, also: 0 }, zmpop)
        .doc("7.0.0", "Pops from the first of several sorted sets that is there."),
    row("bzpopmin", -3, WRITE_FAST.union(Flags::BLOCKING), BUT_LAST, bzpopmin)
        .doc("5.0.0", "Pops the member with the lowest score, or waits for one."),
    row("bzpopmax", -3, WRITE_FAST.union(Flags::BLOCKING), BUT_LAST, bzpopmax)
        .doc("5.0.0", "Pops the member with the highest score, or waits for one."),
    row("bzmpop", -5, WRITE_MOVABLE.union(Flags::BLOCKING), Keys::Counted { count_at: 2, also: 0 }, bzmpop)
        .doc("7.0.0", "Pops from the first of several sorted sets that is there, or waits for one."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;
    use crate::commands::{Outcome, TimeoutReply};
    use crate::resp::reply::Protocol;
    use crate::store::Type;

    fn bench() -> Bench {
        let mut bench = Bench::default();
        bench.run("ZADD z 1 a 2 b 3 c 4 d 5 e");
        bench.run("SET str v");
        bench.effects.clear();
        bench
    }

    #[test]
    fn pops() {
        let mut bench = bench();
        bench.check("ZPOPMIN z", "*2 $1 a $1 1");
        bench.check("ZPOPMAX z 2", "*4 $1 e $1 5 $1 d $1 4");
        bench.check("ZPOPMIN z 0", "*0");
        bench.check("ZPOPMIN none", "*0");
        bench.check("ZPOPMIN z -1", "-ERR value is out of range, must be positive");
        bench.check("ZPOPMIN z 1 1", "-ERR syntax error");
        bench.check_effects(&["ZPOPMIN z", "ZPOPMAX z 2"]);
        bench.proto = Protocol::Resp3;
        bench.check("ZPOPMIN z", "*2 $1 b ,2");
        bench.check("ZPOPMAX z 9", "*1 *2 $1 c ,3");
        bench.check("EXISTS z", ":0");
    }

    #[test]
    fn from_the_first_key_that_is_there() {
        let mut bench = bench();
        bench.check("ZMPOP 2 none z MIN", "*2 $1 z *1 *2 $1 a $1 1");
        bench.check("ZMPOP 2 z str MAX COUNT 2", "*2 $1 z *2 *2 $1 e $1 5 *2 $1 d $1 4");
        bench.check("ZMPOP 1 z MIN COUNT 9", "*2 $1 z *2 *2 $1 b $1 2 *2 $1 c $1 3");
        bench.check("ZMPOP 1 z MIN", "*-1");
        bench.check_effects(&["ZPOPMIN z 1", "ZPOPMAX z 2", "ZPOPMIN z 2"]);
        for (line, expected) in [
            ("ZMPOP 0 z MIN", "ERR numkeys should be greater than 0"),
            ("ZMPOP x z MIN", "ERR numkeys should be greater than 0"),
            ("ZMPOP 2 z MIN", "ERR syntax error"),
            ("ZMPOP 9223372036854775807 z MIN", "ERR syntax error"),
            ("ZMPOP 1 z FOO", "ERR syntax error"),
            ("ZMPOP 1 z MIN COUNT", "ERR syntax error"),
            ("ZMPOP 1 z MIN COUNT 0", "ERR count should be greater than 0"),
            ("ZMPOP 1 z MIN COUNT 1 COUNT 2", "ERR syntax error"),
            ("BZMPOP x 1 z MIN", "ERR timeout is not a float or out of range"),
        ] {
            bench.check(line, &format!("-{expected}"));
        }
        assert!(bench.run("ZMPOP 2 none str MIN").starts_with("-WRONGTYPE"));
        bench.check_effects(&[]);
    }

    #[test]
    fn blocking_forms_pop_or_wait() {
        let mut bench = bench();
        bench.check("BZPOPMIN none z 0", "*3 $1 z $1 a $1 1");
        bench.check("BZPOPMAX z 0", "*3 $1 z $1 e $1 5");
        bench.check("BZMPOP 0 1 z MAX COUNT 2", "*2 $1 z *2 *2 $1 d $1 4 *2 $1 c $1 3");
        bench.check_effects(&["ZPOPMIN z", "ZPOPMAX z", "ZPOPMAX z 2"]);
        assert!(bench.run("BZPOPMIN str 0").starts_with("-WRONGTYPE"));
        bench.check("BZPOPMIN z -1", "-ERR timeout is negative");
        for line in ["BZPOPMIN x y 1.5", "BZPOPMAX x y 1.5", "BZMPOP 1.5 2 x y MIN"] {
            bench.check(line, "");
            let Some(Outcome::Block(block)) = bench.last.take() else { panic!("{line} does not wait") };
            assert_eq!(block.keys, [b"x", b"y"]);
            assert_eq!((block.wants, block.on_timeout), (Type::Zset, TimeoutReply::NullArray));
            assert_eq!(block.deadline, bench.now + 1500);
        }
        bench.check_effects(&[]);
    }
}
