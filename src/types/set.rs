//! Sets, one key at a time: SADD, SREM, SPOP and their kin, SRANDMEMBER, SSCAN.
//!
//! What is chosen at random enters the stream by name: SPOP becomes the SREM of what it took, a thousand members
//! to a command, or the DEL of a key that it emptied. Where it takes nearly all of a set, the few that remain make
//! a new set (which may be a compact one again, as in Redis) instead of the many being removed one by one.
//!
//! Intersection, union and difference are in [`super::set_ops`]; the representation is [`crate::store::set`].

use super::common::{bulk_entry, empty_scan, owned, random_count};
use crate::commands::scan::{ScanOptions, parse_cursor};
use crate::commands::{Command, Ctx, Effect, Flags, Group, Keys, Outcome, UNCHANGED, rewrite, verbatim_if};
use crate::error::ReplyError;
use crate::planted::{Bug, planted};
use crate::resp::args::{Args, OwnedArgs};
use crate::store::{Events, Kind, Set, Type};

/// Members in one SREM that stands for an SPOP.
const POPPED_PER_COMMAND: usize = 1024;
/// SPOP rebuilds the set from what remains if that is so many times smaller than what is taken.
const REBUILD_SHARE: usize = 5;

/// SADD key member [member …]
fn sadd(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (key, limits, expected) = (&args[1], ctx.server.limits, args.len() - 2);
    let set = ctx.db.write_or_create(key, || Set::for_members(&args[2], expected, &limits))?;
    set.expect(expected, &limits);
    let added = args.tail(2).iter().filter(|member| set.insert(*member, &limits)).count();
    if added > 0 {
        ctx.db.changed(key, added as u64);
        ctx.db.notify(Events::SET, "sadd", key);
    }
    ctx.out.int(added as i64);
    verbatim_if(added > 0)
}

/// SREM key member [member …]
fn srem(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let removed = match ctx.db.write_as::<Set>(key)? {
        Some(set) => args.tail(2).iter().filter(|member| set.remove(*member)).count(),
        None => 0,
    };
    if removed > 0 {
        ctx.db.changed(key, removed as u64);
        ctx.db.notify(Events::SET, "srem", key);
        ctx.db.remove_if_empty(key);
    }
    ctx.out.int(removed as i64);
    verbatim_if(removed > 0)
}

/// SMOVE source destination member
fn smove(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (from, to, member, limits) = (&args[1], &args[2], &args[3], ctx.server.limits);
    let wrong_target = ctx.db.type_of(to).is_some_and(|kind| kind != Type::Set);
    let moved = match ctx.db.write_as::<Set>(from)? {
        None => false,
        Some(_) if wrong_target => return Err(ReplyError::WRONG_TYPE),
        Some(set) if from == to => {
            ctx.out.int(set.contains(member).into());
            return UNCHANGED;
        }
        Some(set) => set.remove(member),
    };
    if moved {
        ctx.db.changed(from, 1);
        ctx.db.notify(Events::SET, "srem", from);
        ctx.db.remove_if_empty(from);
        let set = ctx.db.write_or_create(to, || Set::for_members(member, 1, &limits))?;
        if set.insert(member, &limits) {
            ctx.db.changed(to, 1);
            ctx.db.notify(Events::SET, "sadd", to);
        }
    }
    ctx.out.int(moved.into());
    verbatim_if(moved)
}

/// SCARD key
fn scard(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let len = ctx.db.read_as::<Set>(&args[1])?.map_or(0, Set::len);
    ctx.out.int(len as i64);
    UNCHANGED
}

/// SISMEMBER key member
fn sismember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let is_member = ctx.db.read_as::<Set>(&args[1])?.is_some_and(|set| set.contains(&args[2]));
    ctx.out.int(is_member.into());
    UNCHANGED
}

/// SMISMEMBER key member [member …]
fn smismember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let set = ctx.db.read_as::<Set>(&args[1])?;
    ctx.out.array(args.len() - 2);
    for member in args.tail(2) {
        ctx.out.int(set.is_some_and(|set| set.contains(member)).into());
    }
    UNCHANGED
}

/// SMEMBERS key
fn smembers(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let set = ctx.db.read_as::<Set>(&args[1])?;
    ctx.out.set(set.map_or(0, Set::len));
    set.into_iter().flat_map(Set::iter).for_each(|member| bulk_entry(&mut ctx.out, member));
    UNCHANGED
}

/// SPOP key [count]
fn spop(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() > 2 {
        return spop_count(ctx, args);
    }
    let key = &args[1];
    let Some(set) = ctx.db.write_as::<Set>(key)? else {
        ctx.out.null();
        return UNCHANGED;
    };
    let Some(member) = set.random(&mut ctx.server.random).map(|member| member.to_vec()) else {
        ctx.out.null();
        return UNCHANGED;
    };
    set.remove(&member);
    ctx.db.changed(key, 1);
    ctx.db.notify(Events::SET, "spop", key);
    ctx.db.remove_if_empty(key);
    ctx.out.bulk(&member);
    if planted(Bug::EffectVerbatim) {
        return rewrite(&[b"SPOP", key]);
    }
    rewrite(&[b"SREM", key, &member])
}

fn spop_count(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() > 3 {
        return Err(ReplyError::SYNTAX);
    }
    const NEGATIVE: ReplyError = ReplyError::new("ERR value is out of range, must be positive");
    let count = args.int(2).ok().and_then(|n| usize::try_from(n).ok()).ok_or(NEGATIVE)?;
    let (key, limits) = (&args[1], ctx.server.limits);
    let Some(set) = ctx.db.write_as::<Set>(key)?.filter(|_| count > 0) else {
        ctx.out.set(0);
        return UNCHANGED;
    };
    let size = set.len();
    if count >= size {
        ctx.out.set(size);
        set.iter().for_each(|member| bulk_entry(&mut ctx.out, member));
        ctx.db.changed(key, size as u64 - 1); // and one for the removal
        ctx.db.notify(Events::SET, "spop", key);
        if let Some(entry) = ctx.db.remove(key) {
            ctx.db.discard(entry);
        }
        ctx.db.notify(Events::GENERIC, "del", key);
        return rewrite(&[b"DEL", key]);
    }
    let remaining = size - count;
    let popped = if remaining * REBUILD_SHARE > count {
        let popped = owned(set.sample(count, &mut ctx.server.random));
        for member in &popped {
            set.remove(member);
        }
        popped
    } else {
        let kept = set.sample(remaining, &mut ctx.server.random);
        let mut rest = set.like_new();
        for member in kept {
            rest.insert(member, &limits);
        }
        let popped = owned(set.iter().filter(|member| !rest.contains(*member)));
        let old = std::mem::replace(set, rest);
        ctx.db.discard(old.wrap());
        popped
    };
    ctx.db.changed(key, count as u64);
    ctx.db.notify(Events::SET, "spop", key);
    ctx.out.set(popped.len());
    popped.iter().for_each(|member| ctx.out.bulk(member));
    let removals = popped.chunks(POPPED_PER_COMMAND).map(|chunk| {
        let command = OwnedArgs::new().with(b"SREM").with(key);
        chunk.iter().fold(command, |command, member| command.with(member))
    });
    Ok(Outcome::Done(Effect::Rewrite(removals.collect())))
}

/// SRANDMEMBER key [count]
fn srandmember(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let most = ctx.output_limit();
    let random = &mut ctx.server.random;
    if args.len() == 2 {
        match ctx.db.read_as::<Set>(&args[1])?.and_then(|set| set.random(random)) {
            Some(member) => bulk_entry(&mut ctx.out, member),
            None => ctx.out.null(),
        }
        return UNCHANGED;
    }
    if args.len() > 3 {
        return Err(ReplyError::SYNTAX);
    }
    let wanted = random_count(args, 2)?;
    let Some(set) = ctx.db.read_as::<Set>(&args[1])?.filter(|set| !set.is_empty()) else {
        ctx.out.array(0);
        return UNCHANGED;
    };
    let count = wanted.unsigned_abs() as usize;
    if wanted >= 0 {
        let chosen = set.sample(count, random);
        ctx.out.array(chosen.len());
        chosen.into_iter().for_each(|member| bulk_entry(&mut ctx.out, member));
        return UNCHANGED;
    }
    ctx.out.array(count);
    if matches!(set, Set::Table(_)) {
        for member in (0..count).filter_map(|_| set.random(random)) {
            bulk_entry(&mut ctx.out, member);
            if ctx.out.len() > most {
                break;
            }
        }
    } else {
        // A compact set is walked once, not once per draw.
        let all: Vec<_> = set.iter().collect();
        for _ in 0..count {
            if ctx.out.len() > most {
                break;
            }
            bulk_entry(&mut ctx.out, all[random.usize(..all.len())]);
        }
    }
    UNCHANGED
}

/// SSCAN key cursor [MATCH pattern] [COUNT n]
fn sscan(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let cursor = parse_cursor(&args[2])?;
    let Some(set) = ctx.db.read_as::<Set>(&args[1])? else {
        empty_scan(&mut ctx.out);
        return UNCHANGED;
    };
    let options = ScanOptions::parse(&args, 3, false)?;
    let mut found = Vec::new();
    let next = set.scan(cursor, options.count, |member| {
        let member = member.to_vec();
        if options.matches(&member) {
            found.push(member);
        }
    });
    ctx.out.array(2);
    ctx.out.bulk(itoa::Buffer::new().format(next).as_bytes());
    ctx.out.array(found.len());
    found.iter().for_each(|member| ctx.out.bulk(member));
    UNCHANGED
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
    Command::new(name, arity, flags, keys, run).group(Group::Set)
}

pub const COMMANDS: &[Command] = &[
    row("sadd", -3, WRITE_FAST.union(Flags::DENYOOM), Keys::ONE, sadd)
        .doc("1.0.0", "Adds members to a set, which is created if needed."),
    row("srem", -3, WRITE_FAST, Keys::ONE, srem).doc("1.0.0", "Removes members from a set."),
    row("smove", 4, WRITE_FAST, Keys::TWO, smove).doc("1.0.0", "Moves a member from one set to another."),
    row("scard", 2, READ_FAST, Keys::ONE, scard).doc("1.0.0", "Returns the number of members of a set."),
    row("sismember", 3, READ_FAST, Keys::ONE, sismember).doc("1.0.0", "Tells whether a set has a member."),
    row("smismember", -3, READ_FAST, Keys::ONE, smismember)
        .doc("6.2.0", "Tells of each of several members whether a set has it."),
    row("smembers", 2, READ, Keys::ONE, smembers).doc("1.0.0", "Returns all members of a set."),
    row("spop", -2, WRITE_FAST, Keys::ONE, spop)
        .doc("1.0.0", "Removes and returns one or more random members of a set."),
    row("srandmember", -2, READ, Keys::ONE, srandmember)
        .doc("1.0.0", "Returns one or more random members of a set."),
    row("sscan", -3, READ, Keys::ONE, sscan).doc("2.8.0", "Walks over the members of a set, some at a time."),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    /// The bulk strings of a reply, in order.
    fn bulks(reply: &str) -> Vec<&str> {
        reply.split(' ').filter(|word| !word.starts_with(['$', '*', '~'])).collect()
    }

    #[test]
    fn membership() {
        let mut bench = Bench::default();
        bench.check("SADD s a b a", ":2");
        bench.check("SADD s a", ":0");
        bench.check("SCARD s", ":2");
        bench.check("SISMEMBER s a", ":1");
        bench.check("SISMEMBER none a", ":0");
        bench.check("SMISMEMBER s a x b", "*3 :1 :0 :1");
        bench.check("SMISMEMBER none a x", "*2 :0 :0");
        bench.check("SMEMBERS s", "*2 $1 a $1 b");
        bench.check("SMEMBERS none", "*0");
        bench.check("SREM s x a", ":1");
        bench.check("SREM none a", ":0");
        bench.check_effects(&["SADD s a b a", "SREM s x a"]);
        bench.check("SREM s b", ":1");
        bench.check("EXISTS s", ":0");
        bench.proto = Protocol::Resp3;
        bench.check("SMEMBERS none", "~0");
        bench.run("SADD n 3 1 2");
        bench.check("SMEMBERS n", "~3 $1 1 $1 2 $1 3");
        bench.check("SPOP none", "_");
        bench.check("SPOP none 3", "~0");
        bench.check("SRANDMEMBER none", "_");
        bench.check("SRANDMEMBER none 3", "*0");
    }

    #[test]
    fn wrong_types_change_nothing() {
        let mut bench = Bench::default();
        bench.run("SET str v");
        bench.run("SADD s a");
        bench.effects.clear();
        for line in
            ["SADD str a", "SREM str a", "SMOVE str s a", "SMOVE s str a", "SCARD str", "SISMEMBER str a"]
        {
            assert!(bench.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        for line in
            ["SMEMBERS str", "SPOP str", "SPOP str 1", "SRANDMEMBER str", "SSCAN str 0", "SINTER s str"]
        {
            assert!(bench.run(line).starts_with("-WRONGTYPE"), "{line}");
        }
        bench.check("SMOVE none str a", ":0");
        bench.check("SMEMBERS s", "*1 $1 a");
        bench.check_effects(&[]);
    }

    #[test]
    fn smove() {
        let mut bench = Bench::default();
        bench.run("SADD a 1 2");
        bench.run("SADD b 2 x");
        bench.effects.clear();
        let dirty = |bench: &mut Bench| std::mem::take(&mut bench.store.changes.dirty);
        dirty(&mut bench);
        bench.check("SMOVE a b 9", ":0");
        bench.check("SMOVE a a 1", ":1");
        bench.check("SMOVE a a 9", ":0");
        bench.check_effects(&[]);
        assert_eq!(dirty(&mut bench), 0);
        bench.check("SMOVE a b 1", ":1");
        assert_eq!(dirty(&mut bench), 2);
        bench.check("SMOVE a b 2", ":1");
        assert_eq!(dirty(&mut bench), 1);
        bench.check("EXISTS a", ":0");
        bench.check("SMOVE b new 1", ":1");
        bench.check_effects(&["SMOVE a b 1", "SMOVE a b 2", "SMOVE b new 1"]);
    }

    #[test]
    fn spop_enters_the_stream_by_name() {
        let mut bench = Bench::default();
        bench.run("SADD s a b c");
        bench.effects.clear();
        let popped = bench.run("SPOP s");
        let member = bulks(&popped)[0].to_string();
        bench.check_effects(&[&format!("SREM s {member}")]);
        bench.check(&format!("SISMEMBER s {member}"), ":0");
        bench.check("SPOP s 0", "*0");
        bench.check_effects(&[]);
        assert_eq!(bulks(&bench.run("SPOP s 5")).len(), 2);
        bench.check_effects(&["DEL s"]);
        bench.check("EXISTS s", ":0");
        bench.check("SPOP s", "$-1");
        bench.check("SPOP s -1", "-ERR value is out of range, must be positive");
        bench.check("SPOP s x", "-ERR value is out of range, must be positive");
        bench.check("SPOP s 1 2", "-ERR syntax error");
    }

    /// Every share taken of every encoding: replied, removed and streamed are the same members.
    #[test]
    fn spop_count_takes_what_it_says() {
        for (prefix, size) in [("", 100), ("", 3000), ("m", 100), ("m", 3000)] {
            for count in [1, size / 2, size - size / 10, size - 1] {
                let mut bench = Bench::default();
                let all: Vec<String> = (0..size).map(|n| format!("{prefix}{n}")).collect();
                bench.run(&format!("SADD s {}", all.join(" ")));
                bench.effects.clear();
                bench.store.changes.dirty = 0;
                let reply = bench.run(&format!("SPOP s {count}"));
                let popped: BTreeSet<&str> = bulks(&reply).into_iter().collect();
                assert_eq!(popped.len(), count);
                assert_eq!(bench.store.changes.dirty, count as u64);
                let streamed: Vec<_> =
                    bench.effects.iter().flat_map(|line| line.split(' ').skip(2)).collect();
                assert_eq!(streamed.iter().copied().collect::<BTreeSet<_>>(), popped);
                assert_eq!(bench.effects.len(), count.div_ceil(1024));
                let left = bench.run("SMEMBERS s");
                let left: BTreeSet<&str> = bulks(&left).into_iter().collect();
                assert_eq!(left.len(), size - count);
                assert!(left.is_disjoint(&popped));
            }
        }
    }

    #[test]
    fn srandmember() {
        for size in [3, 1000] {
            let mut bench = Bench::default();
            (0..size).for_each(|n| drop(bench.run(&format!("SADD s m{n}"))));
            let distinct = |reply: &str| bulks(reply).into_iter().collect::<BTreeSet<_>>().len();
            for count in [0, 1, 2, size / 2, size, size + 5] {
                let reply = bench.run(&format!("SRANDMEMBER s {count}"));
                assert_eq!((distinct(&reply), bulks(&reply).len()), (count.min(size), count.min(size)));
            }
            bench.set("client-output-buffer-limit", "normal 100000 0 0");
            let cut = bench.run_args(&[b"SRANDMEMBER", b"s", b"-999999999"]);
            assert!(
                (100_000..100_100).contains(&cut.len()),
                "it stops where the client is closed: {}",
                cut.len()
            );
            bench.set("client-output-buffer-limit", "normal 0 0 0");
            let reply = bench.run(&format!("SRANDMEMBER s -{}", 20 * size));
            assert_eq!((distinct(&reply), bulks(&reply).len()), (size, 20 * size));
            assert_eq!(bulks(&bench.run("SRANDMEMBER s")).len(), 1);
            bench.check("SRANDMEMBER s x", "-ERR value is not an integer or out of range");
            bench.check("SRANDMEMBER s 1 1", "-ERR syntax error");
            let range = "must between -9223372036854775807 and 9223372036854775807";
            bench.check(
                "SRANDMEMBER s -9223372036854775808",
                &format!("-ERR value is out of range, value {range}"),
            );
        }
    }

    #[test]
    fn sscan() {
        let mut bench = Bench::default();
        bench.check("SSCAN none 0 COUNT x", "*2 $1 0 *0");
        bench.check("SSCAN none x", "-ERR invalid cursor");
        bench.run("SADD small a1 a2 b1");
        bench.check("SSCAN small 0 MATCH a* COUNT 1", "*2 $1 0 *2 $2 a1 $2 a2");
        bench.check("SSCAN small 0 COUNT 0", "-ERR syntax error");
        bench.check("SSCAN small 0 TYPE set", "-ERR syntax error");
        (0..500).for_each(|n| drop(bench.run(&format!("SADD big m{n}"))));
        let (mut seen, mut cursor) = (BTreeSet::new(), "0".to_string());
        loop {
            let reply = bench.run(&format!("SSCAN big {cursor} COUNT 20"));
            let words = bulks(&reply);
            cursor = words[0].into();
            seen.extend(words[1..].iter().map(|word| word.to_string()));
            if cursor == "0" {
                break;
            }
        }
        assert_eq!(seen.len(), 500);
    }
}
