//! Keys as such, whatever they hold: deleting, counting, renaming, copying, moving between databases.
//!
//! Values are shared by reference count, so COPY costs an entry and no copy of the value; the first change of
//! either key takes it apart. RENAME and MOVE take the value along with its deadline.

use super::{Command, Ctx, Execute, Flags, Keys, Outcome, UNCHANGED, VERBATIM, verbatim_if};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::store::{Events, Type};

const DB_OUT_OF_RANGE: ReplyError = ReplyError::new("ERR DB index is out of range");
const SAME_OBJECT: ReplyError = ReplyError::new("ERR source and destination objects are the same");

/// DEL key ..., UNLINK key ...
fn del(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let mut deleted = 0;
    for key in args.tail(1) {
        if ctx.db.delete(key) {
            ctx.db.notify(Events::GENERIC, "del", key);
            deleted += 1;
        }
    }
    ctx.out.int(deleted);
    verbatim_if(deleted > 0)
}

/// EXISTS key ...
fn exists(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let count = args.tail(1).iter().filter(|key| ctx.db.inspect(key).is_some()).count();
    ctx.out.int(count as i64);
    UNCHANGED
}

/// TOUCH key ...
fn touch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let count = args.tail(1).iter().filter(|key| ctx.db.read(key).is_some()).count();
    ctx.out.int(count as i64);
    UNCHANGED
}

/// TYPE key
fn kind(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let kind = ctx.db.inspect(&args[1]).map(|entry| entry.value().kind());
    ctx.out.simple(kind.map_or("none", Type::name));
    UNCHANGED
}

/// RENAME key newkey, RENAMENX key newkey
fn rename(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (from, to) = (&args[1], &args[2]);
    let only_new = ctx.command.name == "renamenx";
    if !ctx.db.exists(from) {
        return Err(ReplyError::NO_SUCH_KEY);
    }
    let taken = from == to || only_new && ctx.db.exists(to);
    if !taken {
        ctx.db.relocate(from, ctx.db.index(), to);
        ctx.db.notify(Events::GENERIC, "rename_from", from);
        ctx.db.notify(Events::GENERIC, "rename_to", to);
    }
    if only_new {
        ctx.out.int((!taken).into());
    } else {
        ctx.out.ok();
    }
    verbatim_if(!taken)
}

/// Argument `i` as the number of a database that there is.
pub fn db_index(ctx: &Ctx<'_>, args: Args<'_>, i: usize) -> Result<usize, ReplyError> {
    let number = args.int(i)?;
    if i32::try_from(number).is_err() {
        let (min, max) = (i32::MIN, i32::MAX);
        return Err(format!("ERR value is out of range, value must between {min} and {max}").into());
    }
    usize::try_from(number).ok().filter(|index| *index < ctx.db.count()).ok_or(DB_OUT_OF_RANGE)
}

/// MOVE key db
fn move_key(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let (from, to) = (ctx.db.index(), db_index(ctx, args, 2)?);
    if from == to {
        return Err(SAME_OBJECT);
    }
    let moved = ctx.db.exists(key) && {
        ctx.db.select(to);
        let free = !ctx.db.exists(key);
        ctx.db.select(from);
        free
    };
    if moved {
        ctx.db.relocate(key, to, key);
        ctx.db.notify(Events::GENERIC, "move_from", key);
        ctx.db.select(to);
        ctx.db.notify(Events::GENERIC, "move_to", key);
        ctx.db.select(from);
    }
    ctx.out.int(moved.into());
    verbatim_if(moved)
}

/// COPY source destination [DB n] [REPLACE]
fn copy(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (source, target) = (&args[1], &args[2]);
    let from = ctx.db.index();
    let (mut to, mut replace) = (from, false);
    let mut i = 3;
    while i < args.len() {
        if args.is(i, "REPLACE") {
            replace = true;
        } else if args.is(i, "DB") && i + 1 < args.len() {
            i += 1;
            to = db_index(ctx, args, i)?;
        } else {
            return Err(ReplyError::SYNTAX);
        }
        i += 1;
    }
    if from == to && source == target {
        return Err(SAME_OBJECT);
    }
    let original = ctx.db.read_entry(source).map(|entry| (entry.to_value(), entry.expires()));
    let mut copied = false;
    if let Some((value, expires)) = original {
        ctx.db.select(to);
        copied = replace || !ctx.db.exists(target);
        if copied {
            ctx.db.set_with_expiry(target, value, expires);
            ctx.db.notify(Events::GENERIC, "copy_to", target);
        }
        ctx.db.select(from);
    }
    ctx.out.int(copied.into());
    verbatim_if(copied)
}

/// SWAPDB index1 index2
fn swapdb(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let number = |i: usize, error: &'static str| {
        args.int(i).ok().and_then(|n| i32::try_from(n).ok()).ok_or(ReplyError::new(error))
    };
    let one = number(1, "ERR invalid first DB index")?;
    let other = number(2, "ERR invalid second DB index")?;
    let index = |n: i32| usize::try_from(n).ok().filter(|n| *n < ctx.db.count()).ok_or(DB_OUT_OF_RANGE);
    let (one, other) = (index(one)?, index(other)?);
    ctx.db.swap(one, other);
    ctx.out.ok();
    VERBATIM
}

const READ: Flags = Flags::READONLY.union(Flags::FAST);
const WRITE: Flags = Flags::WRITE;
const FAST_WRITE: Flags = Flags::WRITE.union(Flags::FAST);

const fn row(name: &'static str, arity: i32, flags: Flags, keys: Keys, run: Execute) -> Command {
    Command::new(name, arity, flags, keys, run)
}

pub const COMMANDS: &[Command] = &[
    row("del", -2, WRITE, Keys::ALL, del).doc("1.0.0", "Deletes keys."),
    row("unlink", -2, FAST_WRITE, Keys::ALL, del).doc("4.0.0", "Deletes keys; their memory is freed later."),
    row("exists", -2, READ, Keys::ALL, exists).doc("1.0.0", "Counts the given keys that exist."),
    row("touch", -2, READ, Keys::ALL, touch).doc("3.2.1", "Marks keys as just used and counts them."),
    row("type", 2, READ, Keys::ONE, kind).doc("1.0.0", "Returns the type of the value at a key."),
    row("rename", 3, WRITE, Keys::TWO, rename).doc("1.0.0", "Gives a key another name."),
    row("renamenx", 3, FAST_WRITE, Keys::TWO, rename)
        .doc("1.0.0", "Gives a key another name if that is free."),
    row("move", 3, FAST_WRITE, Keys::ONE, move_key).doc("1.0.0", "Moves a key to another database."),
    row("copy", -3, WRITE.union(Flags::DENYOOM), Keys::TWO, copy)
        .doc("6.2.0", "Copies the value of a key to another."),
    row("swapdb", 3, FAST_WRITE.union(Flags::DANGEROUS), Keys::None, swapdb)
        .group(super::Group::Server)
        .doc("4.0.0", "Exchanges two databases."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Bench, steps};

    fn select(bench: &mut Bench, db: usize) {
        bench.server.sessions.get_mut(bench.slot).unwrap().db = db;
    }

    #[test]
    fn counting_and_deleting() {
        let mut bench = steps(&[
            ("MSET a 1 b 2 c 3", "+OK"),
            ("EXISTS a b a x", ":3"),
            ("TOUCH a b x", ":2"),
            ("TYPE a", "+string"),
            ("TYPE x", "+none"),
            ("DEL x", ":0"),
            ("DEL a x b", ":2"),
            ("UNLINK c", ":1"),
            ("EXISTS a b c", ":0"),
        ]);
        bench.check_effects(&["MSET a 1 b 2 c 3", "DEL a x b", "UNLINK c"]);
        bench.run("SET k v PX 1");
        bench.effects.clear();
        bench.now += 1;
        bench.check("DEL k", ":0");
        bench.check_effects(&["DEL k"]);
    }

    #[test]
    fn renaming() {
        let mut bench = steps(&[
            ("RENAME a b", "-ERR no such key"),
            ("RENAMENX a a", "-ERR no such key"),
            ("SET a 1 PXAT 1700000009000", "+OK"),
            ("SET b 2", "+OK"),
            ("RENAMENX a b", ":0"),
            ("RENAMENX a a", ":0"),
            ("RENAME a a", "+OK"),
            ("RENAME a b", "+OK"),
            ("GET b", "$1 1"),
            ("PTTL b", ":9000"),
            ("EXISTS a", ":0"),
            ("RENAMENX b c", ":1"),
            ("SET b 2", "+OK"),
            ("RENAME b c", "+OK"),
            ("PTTL c", ":-1"),
        ]);
        assert_eq!((bench.store.dbs[0].volatile, bench.store.changes.dirty), (0, 6));
        bench.effects.drain(..2);
        bench.check_effects(&["RENAME a b", "RENAMENX b c", "SET b 2", "RENAME b c"]);
    }

    #[test]
    fn between_databases() {
        let mut bench = steps(&[
            ("MOVE k 1", ":0"),
            ("SET k v PXAT 1700000009000", "+OK"),
            ("MOVE k 0", "-ERR source and destination objects are the same"),
            ("MOVE k 16", "-ERR DB index is out of range"),
            ("MOVE k -1", "-ERR DB index is out of range"),
            ("MOVE k x", "-ERR value is not an integer or out of range"),
            (
                "MOVE k 2147483648",
                "-ERR value is out of range, value must between -2147483648 and 2147483647",
            ),
            ("COPY k k DB 1", ":1"),
            ("MOVE k 1", ":0"),
            ("MOVE k 2", ":1"),
            ("EXISTS k", ":0"),
            ("SWAPDB 0 2", "+OK"),
            ("PTTL k", ":9000"),
            ("SWAPDB a 2", "-ERR invalid first DB index"),
            ("SWAPDB 0 b", "-ERR invalid second DB index"),
            ("SWAPDB 0 16", "-ERR DB index is out of range"),
        ]);
        bench.effects.remove(0);
        bench.check_effects(&["COPY k k DB 1", "MOVE k 2", "SWAPDB 0 2"]);
        assert_eq!(bench.store.dbs.iter().map(|db| db.volatile).collect::<Vec<_>>()[..3], [1, 1, 0]);
        select(&mut bench, 1);
        bench.check("PTTL k", ":9000");
    }

    #[test]
    fn copies_are_independent() {
        let mut bench = steps(&[
            ("COPY a b", ":0"),
            ("SET a hello", "+OK"),
            ("APPEND a !", ":6"),
            ("COPY a a", "-ERR source and destination objects are the same"),
            ("COPY a b", ":1"),
            ("COPY a b", ":0"),
            ("APPEND a !", ":7"),
            ("GET b", "$6 hello!"),
            ("EXPIRE a 10", ":1"),
            ("COPY a b REPLACE", ":1"),
            ("TTL b", ":10"),
            ("COPY a b REPLACE DB", "-ERR syntax error"),
            ("COPY a b DB 99", "-ERR DB index is out of range"),
        ]);
        bench.effects.drain(..2);
        bench.check_effects(&["COPY a b", "APPEND a !", "PEXPIREAT a 1700000010000", "COPY a b REPLACE"]);
    }

    #[test]
    fn swapping_touches_the_keys_that_somebody_watches() {
        let mut bench = Bench::default();
        bench.run("SET here 1");
        for key in [&b"here"[..], b"there", b"nowhere"] {
            bench.store.changes.watch(1, key);
        }
        bench.run("COPY here there DB 1");
        bench.store.changes.touched.clear();
        bench.run("SWAPDB 0 1");
        let mut touched = std::mem::take(&mut bench.store.changes.touched);
        touched.sort();
        assert_eq!(touched, [(1, b"here".to_vec()), (1, b"there".to_vec())]);
    }
}
