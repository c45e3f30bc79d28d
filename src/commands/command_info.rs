//! COMMAND: the table of rows as clients see it.
//!
//! Key specifications follow from a row's [`Keys`]; what is done with a key follows from the row's flags, or is in
//! [`KEY_USES`] where it differs. Tips are the manual's. Commands are found as clients call them (`rename-command`), but
//! shown under their own names, as in Redis.

use super::categories::{CATEGORIES, categories, is_in};
use super::command_docs::document;
use super::help::help;
use super::manual::entry;
use super::renames::Renames;
use super::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::glob;
use crate::resp::reply::Reply;

/// What commands do with their keys, one use per key specification, the last one for all keys that follow. Facts
/// of Redis 7.2.
const KEY_USES: &[(&str, &[&str])] = &[
    (
        "RO",
        &[
            "exists",
            "hexists",
            "hlen",
            "hstrlen",
            "llen",
            "memory|usage",
            "object|encoding",
            "object|freq",
            "object|idletime",
            "object|refcount",
            "scard",
            "sismember",
            "strlen",
            "touch",
            "type",
            "watch",
            "xlen",
            "zcard",
        ],
    ),
    (
        "RW update",
        &[
            "expire",
            "expireat",
            "geoadd",
            "hmset",
            "hset",
            "lset",
            "persist",
            "pexpire",
            "pexpireat",
            "setrange",
            "zadd",
        ],
    ),
    (
        "RW access delete",
        &[
            "blmpop", "blpop", "brpop", "bzmpop", "bzpopmax", "bzpopmin", "getdel", "lmpop", "lpop", "rpop",
            "spop", "zmpop", "zpopmax", "zpopmin",
        ],
    ),
    (
        "RW delete",
        &["hdel", "lrem", "ltrim", "srem", "zrem", "zremrangebylex", "zremrangebyrank", "zremrangebyscore"],
    ),
    ("RW insert", &["append", "hsetnx", "linsert", "lpush", "lpushx", "pfadd", "rpush", "rpushx", "sadd"]),
    (
        "OW update/RO access",
        &[
            "bitop",
            "geosearchstore",
            "sdiffstore",
            "sunionstore",
            "zdiffstore",
            "zinterstore",
            "zrangestore",
            "zunionstore",
        ],
    ),
    ("RW access delete/RW insert", &["blmove", "brpoplpush", "lmove", "rpoplpush", "smove"]),
    ("OW update", &["mset", "psetex", "restore", "setex"]),
    ("not_key", &["spublish", "ssubscribe", "sunsubscribe"]),
    ("RM delete", &["del", "unlink"]),
    ("OW insert", &["msetnx", "setnx"]),
    ("RW access", &["pfcount", "pfdebug"]),
    ("RW access update variable_flags", &["bitfield", "set"]),
    ("RO access/OW update", &["copy", "georadius", "georadiusbymember"]),
    ("RW access insert/RO access", &["pfmerge"]),
    ("RW access delete/OW update", &["rename"]),
    ("RW access delete/OW insert", &["renamenx"]),
    ("RW update/RO access", &["sinterstore"]),
];

/// Why a key is used as it says, where that surprises.
const KEY_NOTES: &[(&str, &str)] = &[
    ("bitfield", "Subcommands of either kind may come in one call: some read, some write."),
    ("getex", "The value is read; what may change is the key's deadline."),
    ("pfcount", "Redis stores the count that it computes, so that it may write; here it only reads."),
    ("set", "The old value is read only if the call has GET."),
];

/// What a command does with its keys, by specification.
fn key_uses(row: &Command) -> Vec<&'static str> {
    let listed = KEY_USES.iter().find(|(_, names)| names.contains(&row.name));
    let usual = if row.is_write() { "RW access update" } else { "RO access" };
    listed.map_or(usual, |(uses, _)| uses).split('/').collect()
}

/// Where the keys of one specification stand.
enum Spec {
    Range { first: i32, last: i32, step: i32 },
    Counted { count_at: usize },
    Unknown,
}

fn key_specs(row: &Command) -> Vec<(Spec, &'static str)> {
    let uses = key_uses(row);
    let rest = uses.get(1).copied().unwrap_or(uses[0]);
    match row.keys {
        Keys::None => Vec::new(),
        Keys::Range { first, last, step } if uses.len() > 1 && last != first => vec![
            (Spec::Range { first, last: 0, step: 1 }, uses[0]),
            (Spec::Range { first: first + 1, last: relative(last, first + 1), step }, rest),
        ],
        Keys::Range { first, last, step } => {
            vec![(Spec::Range { first, last: relative(last, first), step }, uses[0])]
        }
        Keys::Counted { count_at, also: 0 } => vec![(Spec::Counted { count_at }, uses[0])],
        Keys::Counted { count_at, also } => vec![
            (Spec::Range { first: also as i32, last: 0, step: 1 }, uses[0]),
            (Spec::Counted { count_at }, rest),
        ],
        Keys::Custom(_) => vec![(Spec::Unknown, uses[0])],
    }
}

/// The last key as a specification says it: from the first one on, or, if negative, from the end.
fn relative(last: i32, first: i32) -> i32 {
    if last < 0 { last } else { last - first }
}

/// First key, last key and step, as they were before there were specifications.
fn legacy_range(row: &Command) -> [i32; 3] {
    match row.keys {
        Keys::Range { first, last, step } => [first, last, step],
        Keys::Counted { also, .. } if also > 0 => [also as i32, also as i32, 1],
        _ => [0; 3],
    }
}

const FLAG_NAMES: &[(Flags, &str)] = &[
    (Flags::WRITE, "write"),
    (Flags::READONLY, "readonly"),
    (Flags::DENYOOM, "denyoom"),
    (Flags::ADMIN, "admin"),
    (Flags::PUBSUB, "pubsub"),
    (Flags::NOSCRIPT, "noscript"),
    (Flags::BLOCKING, "blocking"),
    (Flags::LOADING, "loading"),
    (Flags::STALE, "stale"),
    (Flags::SKIP_MONITOR, "skip_monitor"),
    (Flags::SKIP_SLOWLOG, "skip_slowlog"),
    (Flags::FAST, "fast"),
    (Flags::NO_AUTH, "no_auth"),
    (Flags::NO_MANDATORY_KEYS, "no_mandatory_keys"),
    (Flags::NO_ASYNC_LOADING, "no_async_loading"),
    (Flags::NO_MULTI, "no_multi"),
    (Flags::MOVABLE_KEYS, "movablekeys"),
    (Flags::ALLOW_BUSY, "allow_busy"),
];

fn words<'w>(out: &mut Reply<'_>, words: impl ExactSizeIterator<Item = &'w str>) {
    out.set(words.len());
    words.for_each(|word| out.simple(word));
}

/// Writes what COMMAND INFO says of a row.
fn describe(row: &Command, out: &mut Reply<'_>) {
    let moves = matches!(row.keys, Keys::Counted { .. } | Keys::Custom(_));
    let flags = row.flags | if moves { Flags::MOVABLE_KEYS } else { Flags::empty() };
    let names: Vec<&str> = FLAG_NAMES.iter().filter(|(flag, _)| flags.contains(*flag)).map(|f| f.1).collect();
    out.array(10);
    out.bulk_str(row.name);
    out.int(row.arity.into());
    words(out, names.into_iter());
    legacy_range(row).into_iter().for_each(|n| out.int(n.into()));
    let categories: Vec<String> = categories(row).iter().map(|name| format!("@{name}")).collect();
    words(out, categories.iter().map(String::as_str));
    words(out, entry(row.name).tips.iter().copied());
    let specs = key_specs(row);
    out.set(specs.len());
    let note = KEY_NOTES.iter().find(|(name, _)| *name == row.name).map(|(_, note)| *note);
    specs.iter().for_each(|(spec, uses)| describe_keys(spec, uses, note, out));
    if row.subcommands.is_empty() {
        out.set(0);
    } else {
        out.array(row.subcommands.len());
        row.subcommands.iter().for_each(|row| describe(row, out));
    }
}

fn describe_keys(spec: &Spec, uses: &str, note: Option<&str>, out: &mut Reply<'_>) {
    let pair = |out: &mut Reply<'_>, name: &str, kind: &str, fields: &[(&str, i32)]| {
        out.bulk_str(name);
        out.map(2);
        out.bulk_str("type");
        out.bulk_str(kind);
        out.bulk_str("spec");
        out.map(fields.len());
        for (field, value) in fields {
            out.bulk_str(field);
            out.int((*value).into());
        }
    };
    out.map(3 + usize::from(note.is_some()));
    if let Some(note) = note {
        out.bulk_str("notes");
        out.bulk_str(note);
    }
    out.bulk_str("flags");
    words(out, uses.split(' ').collect::<Vec<_>>().into_iter());
    match *spec {
        Spec::Range { first, last, step } => {
            pair(out, "begin_search", "index", &[("index", first)]);
            pair(out, "find_keys", "range", &[("lastkey", last), ("keystep", step), ("limit", 0)]);
        }
        Spec::Counted { count_at } => {
            pair(out, "begin_search", "index", &[("index", count_at as i32)]);
            pair(out, "find_keys", "keynum", &[("keynumidx", 0), ("firstkey", 1), ("keystep", 1)]);
        }
        Spec::Unknown => {
            pair(out, "begin_search", "unknown", &[]);
            pair(out, "find_keys", "unknown", &[]);
        }
    }
}

/// The commands as clients may call them.
fn names(ctx: &Ctx<'_>) -> Renames {
    Renames::new(&ctx.server.config.renamed).unwrap_or_default() // a start refuses bad lines
}

/// A row by what clients call it, subcommands as `container|sub`.
fn named(names: &Renames, name: &[u8]) -> Option<&'static Command> {
    let mut parts = name.splitn(2, |byte| *byte == b'|');
    let row = names.find(parts.next()?)?;
    match parts.next() {
        None => Some(row),
        Some(sub) => row.subcommand(sub),
    }
}

/// COMMAND, COMMAND INFO [name ...]
fn info(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let names = names(ctx);
    if args.len() <= 2 {
        let rows = names.all();
        ctx.out.array(rows.len());
        rows.iter().for_each(|row| describe(row, &mut ctx.out));
        return UNCHANGED;
    }
    ctx.out.array(args.len() - 2);
    for name in args.tail(2) {
        match named(&names, name) {
            Some(row) => describe(row, &mut ctx.out),
            None => ctx.out.null(),
        }
    }
    UNCHANGED
}

/// COMMAND COUNT
fn count(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let count = names(ctx).all().len();
    ctx.out.int(count as i64);
    UNCHANGED
}

/// COMMAND LIST [FILTERBY MODULE name | ACLCAT category | PATTERN pattern]
fn list(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let value = args.get(4).unwrap_or_default();
    let wanted: Box<dyn Fn(&Command) -> bool> = match args.len() {
        2 => Box::new(|_| true),
        5 if args.is(2, "FILTERBY") && args.is(3, "MODULE") => Box::new(|_| false),
        5 if args.is(2, "FILTERBY") && args.is(3, "ACLCAT") => {
            let value = String::from_utf8_lossy(value).to_lowercase();
            Box::new(move |row| CATEGORIES.contains(&value.as_str()) && is_in(row, &value))
        }
        5 if args.is(2, "FILTERBY") && args.is(3, "PATTERN") => {
            Box::new(move |row| glob::matches(value, row.name.as_bytes(), true))
        }
        _ => return Err(ReplyError::SYNTAX),
    };
    let rows = names(ctx).all();
    let rows = rows.iter().flat_map(|row| std::iter::once(*row).chain(row.subcommands));
    let names: Vec<&str> = rows.filter(|row| wanted(row)).map(|row| row.name).collect();
    ctx.out.array(names.len());
    names.iter().for_each(|name| ctx.out.bulk_str(name));
    UNCHANGED
}

/// COMMAND DOCS [name ...]
fn docs(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let names = names(ctx);
    let asked = args.tail(2);
    let rows = if asked.is_empty() {
        names.all()
    } else {
        asked.iter().filter_map(|name| named(&names, name)).collect()
    };
    ctx.out.map(rows.len());
    for row in rows {
        ctx.out.bulk_str(row.name);
        document(row, &mut ctx.out);
    }
    UNCHANGED
}

/// What this very call does with its keys: SET without GET only writes, BITFIELD with nothing but GET only reads.
fn uses_of_call(row: &Command, asked: Args<'_>) -> Vec<&'static str> {
    let has = |word| (2..asked.len()).any(|at| asked.is(at, word));
    match row.name {
        "set" => vec![if has("GET") { "RW access update" } else { "OW update" }],
        "bitfield" => vec![if has("SET") || has("INCRBY") { "RW access update" } else { "RO access" }],
        _ => key_uses(row),
    }
}

/// COMMAND GETKEYS command ..., COMMAND GETKEYSANDFLAGS command ...
fn getkeys(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let with_flags = ctx.command.name == "command|getkeysandflags";
    let asked = args.tail(2);
    let row = names(ctx).find(asked.name());
    let row = match (row, asked.get(1)) {
        (Some(row), Some(sub)) if !row.subcommands.is_empty() => row.subcommand(sub),
        (row, _) => row,
    };
    let row = row.ok_or(ReplyError::new("ERR Invalid command specified"))?;
    if matches!(row.keys, Keys::None) || matches!(row.name, "spublish" | "ssubscribe" | "sunsubscribe") {
        return Err(ReplyError::new("ERR The command has no key arguments"));
    }
    if !row.arity_fits(asked.len()) {
        return Err(ReplyError::new("ERR Invalid number of arguments specified for command"));
    }
    let mut positions = Vec::new();
    if row.keys.positions(asked, &mut positions).is_none()
        || positions.is_empty() && !row.flags.contains(Flags::NO_MANDATORY_KEYS)
    {
        return Err(ReplyError::new("ERR Invalid arguments specified for command"));
    }
    let uses = uses_of_call(row, asked);
    ctx.out.array(positions.len());
    for (i, at) in positions.into_iter().enumerate() {
        if with_flags {
            ctx.out.array(2);
        }
        ctx.out.bulk(&asked[at]);
        if with_flags {
            words(&mut ctx.out, uses[i.min(uses.len() - 1)].split(' ').collect::<Vec<_>>().into_iter());
        }
    }
    UNCHANGED
}

const FLAGS: Flags = Flags::LOADING.union(Flags::STALE);

const fn row(name: &'static str, arity: i32, run: super::Execute) -> Command {
    Command::new(name, arity, FLAGS, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] =
    &[row("command", -1, info).doc("2.8.13", "Describes all commands.").subcommands(&[
        row("command|count", 2, count).doc("2.8.13", "Counts the commands."),
        row("command|docs", -2, docs).doc("7.0.0", "Documents commands."),
        row("command|getkeys", -3, getkeys).doc("2.8.13", "Finds the keys in a command."),
        row("command|getkeysandflags", -3, getkeys)
            .doc("7.0.0", "Finds the keys in a command, and what is done with them."),
        row("command|help", 2, help).doc("5.0.0", "Lists the subcommands."),
        row("command|info", -2, info).doc("2.8.13", "Describes commands."),
        row("command|list", -2, list).doc("7.0.0", "Lists the names of commands."),
    ])];

#[cfg(test)]
mod tests {
    use crate::commands::table::all;
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    #[test]
    fn rows_are_described() {
        let mut bench = Bench::default();
        bench.check(
            "COMMAND INFO get nosuch",
            "*2 *10 $3 get :2 *2 +readonly +fast :1 :1 :1 *3 +@read +@string +@fast *0 *1 *6 $5 flags *2 +RO +access \
             $12 begin_search *4 $4 type $5 index $4 spec *2 $5 index :1 \
             $9 find_keys *4 $4 type $5 range $4 spec *6 $7 lastkey :0 $7 keystep :1 $5 limit :0 *0 $-1",
        );
        let subcommand = bench.run("COMMAND INFO config|get");
        assert!(
            subcommand.starts_with("*1 *10 $10 config|get :-3 *4 +admin +noscript +loading +stale :0 :0 :0")
        );
        assert_eq!(bench.run("COMMAND"), bench.run("COMMAND INFO"));
        assert_eq!(bench.run("COMMAND COUNT"), format!(":{}", all().count()));
        bench.proto = Protocol::Resp3;
        let rename = bench.run("COMMAND INFO rename");
        assert!(rename.contains("~2 %3 $5 flags ~3 +RW +access +delete"), "{rename}");
        let set = bench.run("COMMAND INFO set");
        assert!(
            set.contains("~1 %4 $5 notes $47 The old value is read only if the call has GET. $5 flags"),
            "{set}"
        );
        let failover = bench.run("COMMAND INFO failover");
        assert!(failover.contains("$8 failover :-1 ~3 +admin +noscript +stale :0"), "{failover}");
    }

    #[test]
    fn lists_and_documents() {
        let mut bench = Bench::default();
        bench.check("COMMAND LIST FILTERBY PATTERN xyz*", "*0");
        bench.check("COMMAND LIST FILTERBY PATTERN ech*", "*1 $4 echo");
        bench.check("COMMAND LIST FILTERBY MODULE m", "*0");
        bench.check("COMMAND LIST FILTERBY ACLCAT nosuch", "*0");
        assert!(bench.run("COMMAND LIST FILTERBY ACLCAT transaction").starts_with("*5 "));
        bench.check("COMMAND LIST FILTERBY x y", "-ERR syntax error");
    }

    #[test]
    fn renamed_commands_are_found_by_their_new_names() {
        let mut bench = Bench::default();
        let count = bench.run("COMMAND COUNT");
        bench.server.config.renamed = vec![(b"flushdb".to_vec(), b"abc".to_vec())];
        bench.check("COMMAND COUNT", &count);
        assert!(bench.run("COMMAND INFO abc").starts_with("*1 *10 $7 flushdb"));
        bench.check("COMMAND INFO flushdb", "*1 $-1");
        assert!(bench.run("COMMAND DOCS Abc").starts_with("*2 $7 flushdb"));
        bench.check("COMMAND DOCS flushdb", "*0");
        bench.check("COMMAND LIST FILTERBY PATTERN flushdb", "*1 $7 flushdb");
        bench.server.config.renamed = vec![(b"DEBUG".to_vec(), Vec::new())];
        bench.check("COMMAND COUNT", &format!(":{}", all().count() - 1));
        bench.check("COMMAND LIST FILTERBY PATTERN debug", "*0");
        bench.check("COMMAND GETKEYS debug object k", "-ERR Invalid command specified");
    }

    #[test]
    fn tips_are_shown() {
        let mut bench = Bench::default();
        let keys = bench.run("COMMAND INFO keys");
        assert!(keys.contains("*2 +request_policy:all_shards +nondeterministic_output_order"), "{keys}");
    }

    #[test]
    fn keys_of_commands() {
        let mut bench = Bench::default();
        bench.check("COMMAND GETKEYS GET k", "*1 $1 k");
        bench.check("COMMAND GETKEYS MSET a 1 b 2", "*2 $1 a $1 b");
        bench.check("COMMAND GETKEYS MEMORY USAGE k", "*1 $1 k");
        bench.check("COMMAND GETKEYS NOSUCH", "-ERR Invalid command specified");
        bench.check("COMMAND GETKEYS PING", "-ERR The command has no key arguments");
        bench.check("COMMAND GETKEYS GET", "-ERR Invalid number of arguments specified for command");
        bench.check("COMMAND GETKEYS ZUNIONSTORE d 9 a", "-ERR Invalid arguments specified for command");
        bench.check(
            "COMMAND GETKEYSANDFLAGS RENAME a b",
            "*2 *2 $1 a *3 +RW +access +delete *2 $1 b *2 +OW +update",
        );
    }

    /// Every row can be trusted: named once, documented, subcommands under their container.
    #[test]
    fn rows_are_complete() {
        let mut seen = std::collections::BTreeSet::new();
        for row in all().flat_map(|row| std::iter::once(row).chain(row.subcommands)) {
            assert!(seen.insert(row.name), "{} twice", row.name);
            assert!(!row.summary.is_empty(), "{} without summary", row.name);
            assert_eq!(row.name, row.name.to_lowercase());
            row.subcommands.iter().for_each(|sub| assert!(sub.name.starts_with(&format!("{}|", row.name))));
        }
    }
}
