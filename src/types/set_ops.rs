//! Sets combined: intersection, union and difference, replied or stored.
//!
//! The operands are shared handles (cloning one counts a reference), so the destination may be one of them. An
//! intersection walks the smallest operand and asks the others. A difference either walks the first operand
//! and asks the others, or takes the others out of a copy of the first, whichever touches fewer members.
//!
//! What a reply needs is never stored first; what is stored takes the shape that Redis would give it: an
//! intersection of integers is an intset, unions and differences begin as one.

use triomphe::Arc;

use super::common::{bulk_entry, store_or_remove};
use crate::commands::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::format::packed::Entry;
use crate::resp::args::Args;
use crate::store::{Events, Kind, Limits, Set, View};

/// The sets at `keys`; `None` for a key that is not there.
fn operands(ctx: &mut Ctx<'_>, keys: Args<'_>) -> Result<Vec<Option<Arc<Set>>>, ReplyError> {
    keys.iter()
        .map(|key| match ctx.db.read(key) {
            None => Ok(None),
            Some(View::Set(set)) => Ok(Some(set.clone())),
            Some(_) => Err(ReplyError::WRONG_TYPE),
        })
        .collect()
}

/// Visits the members that all of `sets` have, until `visit` says enough.
fn intersect<'a>(sets: &'a [Arc<Set>], mut visit: impl FnMut(Entry<'a>) -> bool) {
    let Some((smallest, others)) = sets.split_first() else { return };
    for member in smallest.iter() {
        if others.iter().all(|set| Arc::ptr_eq(set, smallest) || set.contains(member)) && !visit(member) {
            return;
        }
    }
}

/// The operands of an intersection, smallest first; `None` if one is empty, and so the result.
fn intersection(ctx: &mut Ctx<'_>, keys: Args<'_>) -> Result<Option<Vec<Arc<Set>>>, ReplyError> {
    let sets: Option<Vec<_>> = operands(ctx, keys)?.into_iter().collect();
    Ok(sets.map(|mut sets| {
        sets.sort_by_key(|set| set.len());
        sets
    }))
}

/// SINTER key [key …]
fn sinter(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let sets = intersection(ctx, args.tail(1))?.unwrap_or_default();
    let open = ctx.out.deferred_set();
    let mut count = 0;
    intersect(&sets, |member| {
        bulk_entry(&mut ctx.out, member);
        count += 1;
        true
    });
    ctx.out.close(open, count);
    UNCHANGED
}

/// SINTERCARD numkeys key [key …] [LIMIT limit]
fn sintercard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    const NO_KEYS: ReplyError = ReplyError::new("ERR numkeys should be greater than 0");
    const TOO_MANY: ReplyError = ReplyError::new("ERR Number of keys can't be greater than number of args");
    const NEGATIVE: ReplyError = ReplyError::new("ERR LIMIT can't be negative");
    let keys = args.int(1).ok().and_then(|n| usize::try_from(n).ok()).filter(|n| *n > 0).ok_or(NO_KEYS)?;
    if keys > args.len() - 2 {
        return Err(TOO_MANY);
    }
    let mut limit = 0;
    for i in (2 + keys..args.len()).step_by(2) {
        if !args.is(i, "LIMIT") || i + 1 == args.len() {
            return Err(ReplyError::SYNTAX);
        }
        limit = args.int(i + 1).ok().and_then(|n| u64::try_from(n).ok()).ok_or(NEGATIVE)?;
    }
    let sets = intersection(ctx, args.tail(2).head(keys))?.unwrap_or_default();
    let mut count = 0;
    intersect(&sets, |_| {
        count += 1;
        count != limit
    });
    ctx.out.int(count as i64);
    UNCHANGED
}

/// SINTERSTORE destination key [key …]
fn sinterstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let limits = ctx.server.limits;
    let sets = intersection(ctx, args.tail(2))?.unwrap_or_default();
    let mut result = sets.first().map_or_else(Set::default, |smallest| smallest.like_new());
    intersect(&sets, |member| {
        result.insert(member, &limits);
        true
    });
    store(ctx, &args[1], result.most_compact(&limits), "sinterstore")
}

/// All members of all sets.
fn union(sets: &[Option<Arc<Set>>], limits: &Limits) -> Set {
    let mut result = Set::default();
    for member in sets.iter().flatten().flat_map(|set| set.iter()) {
        result.insert(member, limits);
    }
    result
}

/// Members of the first set that no other has.
fn difference(sets: &[Option<Arc<Set>>], limits: &Limits) -> Set {
    let mut result = Set::default();
    let Some((Some(first), others)) = sets.split_first() else { return result };
    let mut others: Vec<_> = others.iter().flatten().collect();
    if others.iter().any(|set| Arc::ptr_eq(set, first)) {
        return result;
    }
    // Asking touches fewer members than removing does, and stops at the first hit: it gets a bonus of two.
    let asking = first.len() * (1 + others.len()) / 2;
    let removing = first.len() + others.iter().map(|set| set.len()).sum::<usize>();
    if asking <= removing {
        others.sort_by_key(|set| std::cmp::Reverse(set.len()));
        for member in first.iter().filter(|member| !others.iter().any(|set| set.contains(*member))) {
            result.insert(member, limits);
        }
        return result;
    }
    for member in first.iter() {
        result.insert(member, limits);
    }
    for set in others {
        if result.is_empty() {
            break;
        }
        for member in set.iter() {
            result.remove(member);
        }
    }
    result
}

fn reply(ctx: &mut Ctx<'_>, result: Set) -> Result<Outcome, ReplyError> {
    ctx.out.set(result.len());
    result.iter().for_each(|member| bulk_entry(&mut ctx.out, member));
    ctx.db.discard(result.wrap());
    UNCHANGED
}

fn store(ctx: &mut Ctx<'_>, key: &[u8], result: Set, event: &'static str) -> Result<Outcome, ReplyError> {
    let len = result.len();
    store_or_remove(ctx, key, result.wrap(), len, Events::SET, event)
}

/// SUNION key [key …]
fn sunion(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let sets = operands(ctx, args.tail(1))?;
    let result = union(&sets, &ctx.server.limits);
    reply(ctx, result)
}

/// SUNIONSTORE destination key [key …]
fn sunionstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let sets = operands(ctx, args.tail(2))?;
    let result = union(&sets, &ctx.server.limits);
    store(ctx, &args[1], result, "sunionstore")
}

/// SDIFF key [key …]
fn sdiff(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let sets = operands(ctx, args.tail(1))?;
    let result = difference(&sets, &ctx.server.limits);
    reply(ctx, result)
}

/// SDIFFSTORE destination key [key …]
fn sdiffstore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let sets = operands(ctx, args.tail(2))?;
    let result = difference(&sets, &ctx.server.limits);
    store(ctx, &args[1], result, "sdiffstore")
}

const READ: Flags = Flags::READONLY;
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);

const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: Keys,
    run: crate::commands::Execute,
) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::Set)
}

pub const COMMANDS: &[Command] = &[
    row("sinter", -2, READ, Keys::ALL, sinter).doc("1.0.0", "Returns the intersection of sets."),
    row(
        "sintercard",
        -3,
        READ.union(Flags::MOVABLE_KEYS),
        Keys::Counted { count_at: 1, also: 0 },
        sintercard,
    )
    .doc("7.0.0", "Returns the number of members in the intersection of sets."),
    row("sinterstore", -3, WRITE, Keys::ALL, sinterstore)
        .doc("1.0.0", "Stores the intersection of sets in a key."),
    row("sunion", -2, READ, Keys::ALL, sunion).doc("1.0.0", "Returns the union of sets."),
    row("sunionstore", -3, WRITE, Keys::ALL, sunionstore).doc("1.0.0", "Stores the union of sets in a key."),
    row("sdiff", -2, READ, Keys::ALL, sdiff)
        .doc("1.0.0", "Returns the members of the first set that the others do not have."),
    row("sdiffstore", -3, WRITE, Keys::ALL, sdiffstore)
        .doc("1.0.0", "Stores the difference of sets in a key."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;
    use crate::store::{Expiry, Set};

    /// A bench with sets a = 1 2 3 x, b = 2 3 4 x, c = 3, t = a b (texts), and no effects so far.
    fn bench() -> Bench {
        let mut bench = Bench::default();
        ["SADD a 1 2 3 x", "SADD b 2 3 4 x", "SADD c 3", "SADD t a b", "SET str v"]
            .iter()
            .for_each(|line| drop(bench.run(line)));
        bench.effects.clear();
        bench
    }

    fn sorted(reply: &str) -> Vec<String> {
        let mut words: Vec<String> =
            reply.split(' ').filter(|word| !word.starts_with(['$', '*'])).map(String::from).collect();
        words.sort();
        words
    }

    fn encoding(bench: &mut Bench, key: &str) -> &'static str {
        let db = bench.store.db(0, bench.now, Expiry::Delete, 0);
        db.peek(key.as_bytes())
            .map_or("none", |entry| entry.value().expect::<Set>().map_or("other", Set::encoding))
    }

    #[test]
    fn replies() {
        let mut bench = bench();
        let mut check =
            |line: &str, expected: &[&str]| assert_eq!(sorted(&bench.run(line)), expected, "{line}");
        check("SINTER a b", &["2", "3", "x"]);
        check("SINTER a b c", &["3"]);
        check("SINTER a a", &["1", "2", "3", "x"]);
        check("SINTER a none b", &[]);
        check("SUNION a b none", &["1", "2", "3", "4", "x"]);
        check("SDIFF a b", &["1"]);
        check("SDIFF a b none a", &[]);
        check("SDIFF none a", &[]);
        check("SDIFF a", &["1", "2", "3", "x"]);
        check("SDIFF b c t", &["2", "4", "x"]);
        for line in
            ["SINTER none str", "SUNION a str", "SDIFF str a", "SINTERCARD 2 none str", "SUNIONSTORE d str"]
        {
            assert!(bench.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        bench.check_effects(&[]);
    }

    #[test]
    fn difference_either_way() {
        let mut bench = bench();
        let members =
            |from: usize, to: usize| (from..to).map(|n| format!("m{n}")).collect::<Vec<_>>().join(" ");
        bench.run(&format!("SADD big {}", members(0, 1000)));
        for i in 0..10 {
            bench.run(&format!("SADD part{i} {}", members(i * 50, i * 50 + 60)));
        }
        let parts = (0..10).map(|i| format!("part{i}")).collect::<Vec<_>>().join(" ");
        assert_eq!(sorted(&bench.run(&format!("SDIFF big {parts}"))).len(), 490);
        assert_eq!(sorted(&bench.run("SDIFF big part0")).len(), 940);
        assert_eq!(sorted(&bench.run("SDIFF part0 big")).len(), 0);
    }

    #[test]
    fn intersection_cardinality() {
        let mut bench = bench();
        bench.check("SINTERCARD 2 a b", ":3");
        bench.check("SINTERCARD 2 a b LIMIT 2", ":2");
        bench.check("SINTERCARD 2 a b LIMIT 0", ":3");
        bench.check("SINTERCARD 1 none LIMIT 10", ":0");
        bench.check("SINTERCARD 0 a", "-ERR numkeys should be greater than 0");
        bench.check("SINTERCARD x a", "-ERR numkeys should be greater than 0");
        bench.check("SINTERCARD 3 a b", "-ERR Number of keys can't be greater than number of args");
        bench.check("SINTERCARD 1 a b", "-ERR syntax error");
        bench.check("SINTERCARD 1 a LIMIT", "-ERR syntax error");
        bench.check("SINTERCARD 1 a LIMIT -1", "-ERR LIMIT can't be negative");
        bench.check("SINTERCARD 1 a LIMIT x", "-ERR LIMIT can't be negative");
    }

    #[test]
    fn stored_results() {
        let mut bench = bench();
        let mut check = |line: &str, len: usize, word: &str| {
            bench.check(line, &format!(":{len}"));
            assert_eq!(encoding(&mut bench, "d"), word, "{line}");
            bench.check_effects(&[line][..usize::from(len > 0)]);
        };
        check("SINTERSTORE d none a", 0, "none");
        check("SINTERSTORE d a b", 3, "listpack");
        check("SINTERSTORE d a b c", 1, "intset");
        check("SUNIONSTORE d c c", 1, "intset");
        check("SUNIONSTORE d c t", 3, "listpack");
        check("SDIFFSTORE d a t", 4, "listpack");
        bench.check("SDIFFSTORE a a b", ":1");
        bench.check("SMEMBERS a", "*1 $1 1");
        bench.check("SUNIONSTORE str none", ":0");
        bench.check("EXISTS str", ":0");
        bench.check("SUNIONSTORE str none", ":0");
        bench.check_effects(&["SDIFFSTORE a a b", "SUNIONSTORE str none"]);
    }
}
