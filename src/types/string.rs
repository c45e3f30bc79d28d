//! Strings read and stored whole: GET, SET and their kin.
//!
//! GET and SET are the hot path of the server: SET makes the value's one allocation and its key's entry, nothing
//! else; GET copies the value's bytes into the reply. All forms of SET meet in [`store`], all expiry options of SET
//! and GETEX in [`Ttl`].
//!
//! What enters the stream must not depend on when it is replayed: relative times become PXAT or PEXPIREAT, GETEX
//! becomes what it did to the expiry, GETDEL a DEL. The value is never looked at again after the reply was begun,
//! and every check comes before the first change.
//!
//! Partial changes and counters are in [`super::string_edit`], LCS in [`super::lcs`]; the representation is
//! [`crate::store::string`].

use crate::commands::{Command, Ctx, Effect, Flags, Group, Keys, Outcome, UNCHANGED, VERBATIM, rewrite};
use crate::error::ReplyError;
use crate::resp::args::{Args, OwnedArgs};
use crate::store::string::IntText;
use crate::store::{Db, Events, Expiry, NEVER, View};

/// What happens to the key's expiry: the options EX, PX, EXAT, PXAT, KEEPTTL and PERSIST.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ttl {
    /// No option was given.
    Unsaid,
    Keep,
    Persist,
    /// The number at this argument, in these units of milliseconds; counted from now, or from 1970.
    At {
        arg: usize,
        millis: i64,
        relative: bool,
    },
}

impl Ttl {
    /// The deadline in Unix milliseconds, if one was given.
    fn deadline(self, ctx: &Ctx<'_>, args: Args<'_>) -> Result<Option<i64>, ReplyError> {
        let Ttl::At { arg, millis, relative } = self else { return Ok(None) };
        let given = args.int(arg)?;
        let invalid =
            || ReplyError::from(format!("ERR invalid expire time in '{}' command", ctx.command.name));
        if given <= 0 {
            return Err(invalid());
        }
        let time = given.checked_mul(millis).ok_or_else(invalid)?;
        let base = if relative { ctx.now } else { 0 };
        // The last millisecond there is means none: what is stored, and enters the stream, is the one before.
        time.checked_add(base).map(|deadline| Some(deadline.min(NEVER - 1))).ok_or_else(invalid)
    }

    /// Reads one option at `at`; returns how many arguments it takes, or `None` if it is no such option or does
    /// not go with an earlier one.
    fn read(&mut self, args: Args<'_>, at: usize, words: &[(&str, Ttl)]) -> Option<usize> {
        let (_, found) = words.iter().find(|(word, _)| args.is(at, word))?;
        let (next, taken) = match *found {
            Ttl::At { millis, relative, .. } if at + 1 < args.len() => {
                (Ttl::At { arg: at + 1, millis, relative }, 2)
            }
            Ttl::At { .. } => return None,
            other => (other, 1),
        };
        // The same option may be repeated (the last one counts), two different ones may not meet.
        let same = match (*self, next) {
            (Ttl::Unsaid, _) => true,
            (Ttl::At { millis: a, relative: b, .. }, Ttl::At { millis: c, relative: d, .. }) => {
                (a, b) == (c, d)
            }
            (a, b) => a == b,
        };
        *self = next;
        same.then_some(taken)
    }
}

const fn at(millis: i64, relative: bool) -> Ttl {
    Ttl::At { arg: 0, millis, relative }
}

const SET_TTL: &[(&str, Ttl)] = &[
    ("EX", at(1000, true)),
    ("PX", at(1, true)),
    ("EXAT", at(1000, false)),
    ("PXAT", at(1, false)),
    ("KEEPTTL", Ttl::Keep),
];
const GETEX_TTL: &[(&str, Ttl)] = &[
    ("EX", at(1000, true)),
    ("PX", at(1, true)),
    ("EXAT", at(1000, false)),
    ("PXAT", at(1, false)),
    ("PERSIST", Ttl::Persist),
];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Only {
    Always,
    IfAbsent,
    IfPresent,
}

/// SET key value [NX | XX] [GET] [EX s | PX ms | EXAT s | PXAT ms | KEEPTTL]
fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len() == 3 {
        put(&mut ctx.db, &args[1], &args[2], NEVER);
        ctx.out.ok();
        return VERBATIM;
    }
    let (mut only, mut get, mut ttl) = (Only::Always, false, Ttl::Unsaid);
    let mut i = 3;
    while i < args.len() {
        if args.is(i, "NX") && only != Only::IfPresent {
            only = Only::IfAbsent;
        } else if args.is(i, "XX") && only != Only::IfAbsent {
            only = Only::IfPresent;
        } else if args.is(i, "GET") {
            get = true;
        } else {
            i += ttl.read(args, i, SET_TTL).ok_or(ReplyError::SYNTAX)?;
            continue;
        }
        i += 1;
    }
    let deadline = ttl.deadline(ctx, args)?;
    if get {
        read_into_reply(ctx, &args[1])?;
    }
    if !allowed(&mut ctx.db, &args[1], only) {
        if !get {
            ctx.out.null();
        }
        return UNCHANGED;
    }
    let effect = set_effect(args, ttl, get, deadline);
    store(ctx, &args[1], &args[2], ttl, deadline);
    if !get {
        ctx.out.ok();
    }
    Ok(Outcome::Done(effect))
}

fn allowed(db: &mut Db<'_>, key: &[u8], only: Only) -> bool {
    match only {
        Only::Always => true,
        Only::IfAbsent => !db.exists(key),
        Only::IfPresent => db.exists(key),
    }
}

/// A SET with a deadline enters the stream with PXAT (as it came, if it has one and means it), one without loses GET.
fn set_effect(args: Args<'_>, ttl: Ttl, get: bool, deadline: Option<i64>) -> Effect {
    if let Some(deadline) = deadline {
        return match ttl {
            Ttl::At { millis: 1, relative: false, .. } if deadline < NEVER - 1 => Effect::Verbatim,
            _ => set_with_deadline(&args[1], &args[2], deadline),
        };
    }
    if !get {
        return Effect::Verbatim;
    }
    let mut kept = OwnedArgs::with_capacity(args.len() - 1, args.total_len());
    for (i, arg) in args.iter().enumerate() {
        if i < 3 || !arg.eq_ignore_ascii_case(b"GET") {
            kept.push(arg);
        }
    }
    Effect::Rewrite(vec![kept])
}

fn set_with_deadline(key: &[u8], value: &[u8], deadline: i64) -> Effect {
    let set = OwnedArgs::with_capacity(5, key.len() + value.len() + 32);
    Effect::Rewrite(vec![set.with(b"SET").with(key).with(value).with(b"PXAT").with_int(deadline)])
}

/// Stores and announces.
fn store(ctx: &mut Ctx<'_>, key: &[u8], value: &[u8], ttl: Ttl, deadline: Option<i64>) {
    let expires = match (ttl, deadline) {
        (Ttl::Keep, _) => ctx.db.expires(key).unwrap_or(NEVER),
        (_, deadline) => deadline.unwrap_or(NEVER),
    };
    put(&mut ctx.db, key, value, expires);
    if deadline.is_some() {
        ctx.db.notify(Events::GENERIC, "expire", key);
    }
}

fn put(db: &mut Db<'_>, key: &[u8], value: &[u8], expires: i64) {
    db.set_string(key, value, expires);
    db.notify(Events::STRING, "set", key);
}

/// SETNX key value
fn setnx(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let absent = !ctx.db.exists(&args[1]);
    if absent {
        put(&mut ctx.db, &args[1], &args[2], NEVER);
    }
    ctx.out.int(absent.into());
    crate::commands::verbatim_if(absent)
}

/// SETEX key seconds value, PSETEX key milliseconds value
fn setex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let millis = if ctx.command.name == "setex" { 1000 } else { 1 };
    let ttl = Ttl::At { arg: 2, millis, relative: true };
    let deadline = ttl.deadline(ctx, args)?;
    store(ctx, &args[1], &args[3], ttl, deadline);
    ctx.out.ok();
    Ok(Outcome::Done(set_with_deadline(&args[1], &args[3], deadline.unwrap_or(NEVER))))
}

/// Replies the string at `key`, or null. An error leaves the reply untouched.
fn read_into_reply(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<bool, ReplyError> {
    match ctx.db.read_text(key)? {
        Some(text) => ctx.out.bulk(text.bytes(&mut IntText::new())),
        None => {
            ctx.out.null();
            return Ok(false);
        }
    }
    Ok(true)
}

/// GET key
fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_into_reply(ctx, &args[1])?;
    UNCHANGED
}

/// GETSET key value
fn getset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    read_into_reply(ctx, &args[1])?;
    put(&mut ctx.db, &args[1], &args[2], NEVER);
    rewrite(&[b"SET", &args[1], &args[2]])
}

/// GETDEL key
fn getdel(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if !read_into_reply(ctx, &args[1])? {
        return UNCHANGED;
    }
    delete(ctx, &args[1])
}

fn delete(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Outcome, ReplyError> {
    if !ctx.db.delete(key) {
        return UNCHANGED;
    }
    ctx.db.notify(Events::GENERIC, "del", key);
    rewrite(&[b"DEL", key])
}

/// GETEX key [EX s | PX ms | EXAT s | PXAT ms | PERSIST]
fn getex(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let mut ttl = Ttl::Unsaid;
    let mut i = 2;
    while i < args.len() {
        i += ttl.read(args, i, GETEX_TTL).ok_or(ReplyError::SYNTAX)?;
    }
    let key = &args[1];
    let before = ctx.out.len();
    if !read_into_reply(ctx, key)? {
        return UNCHANGED;
    }
    let deadline = match ttl.deadline(ctx, args) {
        Ok(deadline) => deadline,
        Err(error) => {
            ctx.out.truncate(before);
            return Err(error);
        }
    };
    let absolute = matches!(ttl, Ttl::At { relative: false, .. });
    match deadline {
        Some(deadline) if absolute && deadline <= ctx.now && ctx.db.expiry_mode() == Expiry::Delete => {
            delete(ctx, key)
        }
        Some(deadline) => {
            ctx.db.set_expires(key, deadline);
            ctx.db.changed(key, 1);
            ctx.db.notify(Events::GENERIC, "expire", key);
            rewrite(&[b"PEXPIREAT", key, itoa::Buffer::new().format(deadline).as_bytes()])
        }
        None if ttl == Ttl::Persist && ctx.db.expires(key).is_some_and(|at| at != NEVER) => {
            ctx.db.set_expires(key, NEVER);
            ctx.db.changed(key, 1);
            ctx.db.notify(Events::GENERIC, "persist", key);
            rewrite(&[b"PERSIST", key])
        }
        None => UNCHANGED,
    }
}

/// MGET key ...
fn mget(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.array(args.len() - 1);
    for key in args.tail(1) {
        match ctx.db.read(key) {
            Some(View::Str(text)) => ctx.out.bulk(text.bytes(&mut IntText::new())),
            _ => ctx.out.null(),
        }
    }
    UNCHANGED
}

/// MSET key value ..., MSETNX key value ...
fn mset(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.len().is_multiple_of(2) {
        return Err(ReplyError::wrong_arity(ctx.command.name));
    }
    let nx = ctx.command.name == "msetnx";
    if nx && args.iter().skip(1).step_by(2).any(|key| ctx.db.exists(key)) {
        ctx.out.int(0);
        return UNCHANGED;
    }
    for i in (1..args.len()).step_by(2) {
        put(&mut ctx.db, &args[i], &args[i + 1], NEVER);
    }
    if nx {
        ctx.out.int(1);
    } else {
        ctx.out.ok();
    }
    VERBATIM
}

const PAIRS: Keys = Keys::Range { first: 1, last: -1, step: 2 };
const WRITE: Flags = Flags::WRITE.union(Flags::DENYOOM);
const FAST_WRITE: Flags = WRITE.union(Flags::FAST);
const FAST_READ: Flags = Flags::READONLY.union(Flags::FAST);
const FAST_TAKE: Flags = Flags::WRITE.union(Flags::FAST);

pub const COMMANDS: &[Command] = &[
    row("get", 2, FAST_READ, Keys::ONE, get).doc("1.0.0", "Returns the string at a key."),
    row("set", -3, WRITE, Keys::ONE, set).doc("1.0.0", "Stores a string, whatever the key held before."),
    row("setnx", 3, FAST_WRITE, Keys::ONE, setnx).doc("1.0.0", "Stores a string if there is no such key."),
    row("setex", 4, WRITE, Keys::ONE, setex).doc("2.0.0", "Stores a string that lives for some seconds."),
    row("psetex", 4, WRITE, Keys::ONE, setex)
        .doc("2.6.0", "Stores a string that lives for some milliseconds."),
    row("getset", 3, FAST_WRITE, Keys::ONE, getset)
        .doc("1.0.0", "Stores a string and returns the one before."),
    row("getdel", 2, FAST_TAKE, Keys::ONE, getdel).doc("6.2.0", "Returns a string and deletes its key."),
    row("getex", -2, FAST_TAKE, Keys::ONE, getex).doc("6.2.0", "Returns a string and changes its expiry."),
    row("mget", -2, FAST_READ, Keys::ALL, mget).doc("1.0.0", "Returns the strings at several keys."),
    row("mset", -3, WRITE, PAIRS, mset).doc("1.0.1", "Stores several strings at once."),
    row("msetnx", -3, WRITE, PAIRS, mset).doc("1.0.1", "Stores several strings if none of the keys exists."),
];

pub const fn row(
    name: &'static str,
    arity: i32,
    flags: Flags,
    keys: Keys,
    run: crate::commands::Execute,
) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::String)
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::{Bench, steps};
    use crate::resp::reply::Protocol;

    const NOW: i64 = 1_700_000_000_000;

    #[test]
    fn set_and_get() {
        steps(&[
            ("GET k", "$-1"),
            ("SET k v", "+OK"),
            ("GET k", "$1 v"),
            ("SET k 12", "+OK"),
            ("GET k", "$2 12"),
            ("GETSET k w", "$2 12"),
            ("GETSET n w", "$-1"),
            ("GETDEL k", "$1 w"),
            ("GETDEL k", "$-1"),
            ("MSET a 1 b 2 a 3", "+OK"),
            ("MGET a x b", "*3 $1 3 $-1 $1 2"),
            ("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command"),
            ("MSETNX c 1 a 1", ":0"),
            ("MSETNX c 1 d 1 c 2", ":1"),
            ("GET c", "$1 2"),
            ("SETNX c 9", ":0"),
            ("SETNX e 9", ":1"),
        ]);
    }

    #[test]
    fn set_options() {
        let mut bench = steps(&[
            ("SET k v XX", "$-1"),
            ("SET k v nx", "+OK"),
            ("SET k w NX", "$-1"),
            ("SET k w NX GET", "$1 v"),
            ("SET n w NX GET", "$-1"),
            ("GET n", "$1 w"),
            ("SET k w GET XX", "$1 v"),
            ("SET k x NX XX", "-ERR syntax error"),
            ("SET k x EX", "-ERR syntax error"),
            ("SET k x EX 10 PX 10", "-ERR syntax error"),
            ("SET k x EX 10 KEEPTTL", "-ERR syntax error"),
            ("SET k x KEEPTTL PXAT 10", "-ERR syntax error"),
            ("SET k x PERSIST", "-ERR syntax error"),
            ("SET k x EX ten", "-ERR value is not an integer or out of range"),
            ("SET k x EX 0", "-ERR invalid expire time in 'set' command"),
            ("SET k x PX -1", "-ERR invalid expire time in 'set' command"),
            ("SET k x EX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("SET k x PX 9223372036854775807", "-ERR invalid expire time in 'set' command"),
            ("SETEX k 0 x", "-ERR invalid expire time in 'setex' command"),
            ("PSETEX k -5 x", "-ERR invalid expire time in 'psetex' command"),
            ("GET k", "$1 w"),
        ]);
        bench.proto = Protocol::Resp3;
        bench.check("SET x v XX", "_");
    }

    #[test]
    fn times_enter_the_stream_absolute() {
        let mut bench = Bench::default();
        bench.run("SET k v EX 10");
        bench.run("SET k v px 1500 GET");
        bench.run("SET k v EXAT 1700000001");
        bench.run("SET k v PXAT 1700000001500 get");
        bench.run("SETEX k 10 v");
        bench.run("PSETEX k 10 v");
        bench.run("SET k v KEEPTTL get");
        bench.run("SET k v GET");
        bench.run("SET k v PXAT 9223372036854775807");
        bench.check_effects(&[
            "SET k v PXAT 1700000010000",
            "SET k v PXAT 1700000001500",
            "SET k v PXAT 1700000001000",
            "SET k v PXAT 1700000001500 get",
            "SET k v PXAT 1700000010000",
            "SET k v PXAT 1700000000010",
            "SET k v KEEPTTL",
            "SET k v",
            "SET k v PXAT 9223372036854775806",
        ]);
    }

    #[test]
    fn set_and_expiry() {
        let mut bench = Bench::default();
        let expires = |bench: &mut Bench| {
            bench.store.dbs[0].entries.get(b"k").map(|entry| {
                use crate::store::NEVER;
                if entry.expires() == NEVER { -1 } else { entry.expires() - NOW }
            })
        };
        bench.run("SET k v PX 100");
        assert_eq!(expires(&mut bench), Some(100));
        bench.run("SET k w KEEPTTL");
        assert_eq!(expires(&mut bench), Some(100));
        bench.run("SET k w");
        assert_eq!(expires(&mut bench), Some(-1));
        bench.run("SETEX k 2 v");
        bench.run("GETSET k v");
        assert_eq!(expires(&mut bench), Some(-1));
        bench.run("SETEX k 2 v");
        bench.effects.clear();
        bench.now += 2000;
        bench.check("SETNX k n", ":1");
        bench.check_effects(&["DEL k", "SETNX k n"]);
    }

    #[test]
    fn getex() {
        let mut bench = steps(&[
            ("GETEX k", "$-1"),
            ("GETEX k EX 0", "$-1"),
            ("GETEX k EX", "-ERR syntax error"),
            ("GETEX k EX 10 PX 5", "-ERR syntax error"),
            ("GETEX k KEEPTTL", "-ERR syntax error"),
            ("GETEX k NX", "-ERR syntax error"),
            ("SET k 1", "+OK"),
            ("GETEX k EX 0", "-ERR invalid expire time in 'getex' command"),
            ("GETEX k", "$1 1"),
            ("GETEX k PERSIST", "$1 1"),
            ("GETEX k EX 10", "$1 1"),
            ("GETEX k PERSIST", "$1 1"),
            ("GETEX k PXAT 1700000000001", "$1 1"),
            ("GETEX k EXAT 1600000000", "$1 1"),
            ("GETEX k", "$-1"),
        ]);
        bench.check_effects(&[
            "SET k 1",
            "PEXPIREAT k 1700000010000",
            "PERSIST k",
            "PEXPIREAT k 1700000000001",
            "DEL k",
        ]);
    }

    #[test]
    fn announcements() {
        use crate::store::Events;
        let mut bench = Bench::default();
        bench.store.changes.notify = Events::all();
        for line in ["SET k v EX 1", "GET k", "GETEX k PERSIST", "GETDEL k", "GET k"] {
            bench.run(line);
        }
        let names: Vec<_> = bench.store.changes.events.iter().map(|event| event.name).collect();
        assert_eq!(names, ["new", "set", "expire", "persist", "del", "keymiss"]);
        assert_eq!(bench.store.changes.dirty, 3);
    }
}
