//! DEBUG: what tests and repair need. Refused by dispatch unless `enable-debug-command` allows it.
//!
//! POPULATE enters the stream as the keys it made, so that replicas and the log have them too. RELOAD, LOADAOF and
//! CHANGE-REPL-ID change data or history outside the stream and are the driver's work.

use super::help::{unknown_form, write_help};
use super::object::references;
use super::{Command, Ctx, Effect, Flags, Group, Keys, Outcome, Request, UNCHANGED};
use crate::error::ReplyError;
use crate::format::sha1::hex;
use crate::resp::args::{Args, OwnedArgs};
use crate::resp::number::{memory_size, parse_f64, parse_i64};
use crate::resp::reply::Protocol;
use crate::store::partitions::Item;
use crate::store::{Entry, NEVER, Str, View, digest, rdb};

/// DEBUG subcommand ...
fn debug(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let Some(form) = FORMS.iter().find(|form| args.is(1, form.name)) else { return Err(unknown_form(args)) };
    if !(form.least..=form.most).contains(&(args.len() - 2)) {
        return Err(unknown_form(args));
    }
    (form.run)(ctx, args)
}

/// One form of DEBUG: so many arguments follow its name.
struct Form {
    name: &'static str,
    least: usize,
    most: usize,
    run: super::Execute,
    usage: &'static str,
    meaning: &'static str,
}

const fn form(
    name: &'static str,
    arguments: (usize, usize),
    run: super::Execute,
    usage: &'static str,
    meaning: &'static str,
) -> Form {
    Form { name, least: arguments.0, most: arguments.1, run, usage, meaning }
}

const MANY: usize = usize::MAX - 2;

const FORMS: &[Form] = &[
    form(
        "AOF-FLUSH-SLEEP",
        (1, 1),
        aof_flush_sleep,
        "AOF-FLUSH-SLEEP <microsec>",
        "Makes every sync of the log take longer.",
    ),
    form("CHANGE-REPL-ID", (0, 0), change_repl_id, "CHANGE-REPL-ID", "Gives the history a new name."),
    form(
        "CONFIG-REWRITE-FORCE-ALL",
        (0, 0),
        rewrite_all,
        "CONFIG-REWRITE-FORCE-ALL",
        "CONFIG REWRITE with every setting.",
    ),
    form("DICT-RESIZING", (1, 1), accepted, "DICT-RESIZING <0|1>", "Accepted without effect."),
    form("DIGEST", (0, 0), digest_of_all, "DIGEST", "Prints a digest of all data."),
    form(
        "DIGEST-VALUE",
        (0, MANY),
        digest_of_values,
        "DIGEST-VALUE <key> [<key> ...]",
        "Prints digests of values.",
    ),
    form("ERROR", (1, 1), error, "ERROR <string>", "Answers with this error."),
    form("HTSTATS", (1, 2), htstats, "HTSTATS <db> [full]", "Describes the table of a database."),
    form("HTSTATS-KEY", (1, 2), htstats_key, "HTSTATS-KEY <key> [full]", "Describes the table of a value."),
    form("LOADAOF", (0, 0), loadaof, "LOADAOF", "Forgets all data and loads them from the append-only log."),
    form("LOG", (1, 1), log, "LOG <message>", "Writes to the server's log."),
    form("OBJECT", (1, 2), object, "OBJECT <key>", "Describes a key and its value."),
    form("PAUSE-CRON", (1, 1), pause_cron, "PAUSE-CRON <0|1>", "Lets the server do nothing by itself."),
    form(
        "POPULATE",
        (1, 3),
        populate,
        "POPULATE <count> [<prefix>] [<size>]",
        "Makes keys <prefix>:0, <prefix>:1 …",
    ),
    form("PROTOCOL", (1, 1), protocol, "PROTOCOL <type>", "Answers with a value of a type of the protocol."),
    form(
        "QUICKLIST-PACKED-THRESHOLD",
        (1, 1),
        plain_elements,
        "QUICKLIST-PACKED-THRESHOLD <size>",
        "From which size list elements stand alone.",
    ),
    form(
        "RELOAD",
        (0, MANY),
        reload,
        "RELOAD [NOSAVE] [NOFLUSH] [MERGE]",
        "Saves, forgets and loads all data.",
    ),
    form("REPLYBUFFER", (2, 2), accepted, "REPLYBUFFER <option> <value>", "Accepted without effect."),
    form(
        "SET-ACTIVE-EXPIRE",
        (1, 1),
        set_active_expire,
        "SET-ACTIVE-EXPIRE <0|1>",
        "Whether keys expire that nobody asks for.",
    ),
    form(
        "SET-DISABLE-DENY-SCRIPTS",
        (1, 1),
        accepted,
        "SET-DISABLE-DENY-SCRIPTS <0|1>",
        "Accepted without effect.",
    ),
    form(
        "SET-SKIP-CHECKSUM-VALIDATION",
        (1, 1),
        set_skip_checksum,
        "SET-SKIP-CHECKSUM-VALIDATION <0|1>",
        "Whether RESTORE believes damaged payloads.",
    ),
    form("SLEEP", (1, 1), sleep, "SLEEP <seconds>", "Stands still."),
    form(
        "STRINGMATCH-LEN",
        (2, 2),
        stringmatch,
        "STRINGMATCH-LEN <pattern> <string>",
        "Matches a glob pattern.",
    ),
    form("STRUCTSIZE", (0, 0), structsize, "STRUCTSIZE", "Prints the sizes of what a key is made of."),
    form("HELP", (0, 0), help, "HELP", ""),
];

fn help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let lines: Vec<_> =
        FORMS.iter().filter(|form| form.name != "HELP").map(|form| (form.usage, form.meaning)).collect();
    write_help(ctx, args, &lines)
}

fn ok(ctx: &mut Ctx<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.ok();
    UNCHANGED
}

fn accepted(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ok(ctx)
}

/// A switch as C's `atoi` reads it.
fn switch(args: Args<'_>) -> bool {
    parse_i64(&args[2]).is_some_and(|n| n != 0)
}

// ---- data ----

fn digest_of_all(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let digest = digest::of_dataset(&ctx.db.store().dbs);
    ctx.out.simple(&hex(&digest));
    UNCHANGED
}

fn digest_of_values(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.array(args.len() - 2);
    for key in args.tail(2) {
        let digest = ctx.db.entries().get(key).map(digest::of_value).unwrap_or_default();
        ctx.out.simple(&hex(&digest));
    }
    UNCHANGED
}

fn object(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let entry = ctx.db.entries().get(&args[2]).ok_or(ReplyError::NO_SUCH_KEY)?;
    let value = entry.value();
    // Without type byte, version and checksum.
    let length = rdb::dump(value).len() - 11;
    let idle = (ctx.now / 1000 - i64::from(entry.access())).max(0);
    let list = match value {
        View::List(list) if value.encoding() == "quicklist" => {
            let nodes = list.node_count();
            let limits = &ctx.server.limits;
            format!(
                " ql_nodes:{nodes} ql_avg_node:{:.2} ql_listpack_max:{} ql_compressed:{} ql_uncompressed_size:{}",
                list.len() as f64 / nodes.max(1) as f64,
                limits.list_max_listpack_size,
                u8::from(limits.list_compress_depth > 0),
                list.heap_bytes()
            )
        }
        _ => String::new(),
    };
    let line = format!(
        "Value at:{:p} refcount:{} encoding:{} serializedlength:{length} lru:{} lru_seconds_idle:{idle}{list}",
        entry.key().as_ptr(),
        references(value),
        value.encoding(),
        entry.access() & 0xff_ffff,
    );
    ctx.out.simple(&line);
    UNCHANGED
}

/// Keys in one command of the stream.
const BATCH: usize = 512;

fn populate(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let positive = |i: usize| {
        let count = parse_i64(&args[i]).and_then(|n| usize::try_from(n).ok());
        count.ok_or(ReplyError::new("ERR value is out of range, must be positive"))
    };
    let count = positive(2)?;
    let prefix = args.get(3).unwrap_or(b"key");
    let size = if args.len() == 5 { positive(4)? } else { 0 };
    if let Some(refusal) = ctx.server.persistence.log_failure() {
        return Err(refusal); // no command that writes by its row, so that no gate has asked
    }
    if size > ctx.server.limits.string_max_bytes {
        return Err(ReplyError::new("ERR string exceeds maximum allowed size (proto-max-bulk-len)"));
    }
    let mut commands: Vec<OwnedArgs> = Vec::new();
    for n in 0..count {
        let key = [prefix, b":", itoa::Buffer::new().format(n).as_bytes()].concat();
        if ctx.db.exists(&key) {
            continue;
        }
        let mut value = format!("value:{n}").into_bytes();
        if size > 0 {
            value.resize(size, 0);
        }
        ctx.db.set_with_expiry(&key, Str::new(&value).wrap(), NEVER);
        if commands.last().is_none_or(|command| command.len() > 2 * BATCH) {
            commands.push(OwnedArgs::new().with(b"MSET"));
        }
        if let Some(command) = commands.last_mut() {
            command.push(&key).push(&value);
        }
    }
    ctx.out.ok();
    Ok(Outcome::Done(Effect::Rewrite(commands)))
}

fn htstats(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let index = usize::try_from(args.int(2)?).ok().filter(|index| *index < ctx.db.count());
    let index = index.ok_or(ReplyError::new("ERR Out of range database"))?;
    let database = &ctx.db.store().dbs[index];
    let text = format!(
        "[Dictionary HT]\npartitions: {}\nnumber of elements: {}\nbytes of the tables: {}\n[Expires HT]\nnumber of elements: {}\n",
        database.entries.partition_count(),
        database.entries.len(),
        database.entries.overhead_bytes(),
        database.volatile
    );
    ctx.out.verbatim("txt", text.as_bytes());
    UNCHANGED
}

fn htstats_key(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let entry = ctx.db.entries().get(&args[2]).ok_or(ReplyError::NO_SUCH_KEY)?;
    let (value, elements) = (entry.value(), entry.value().elements());
    if !matches!(value.encoding(), "hashtable" | "skiplist") {
        return Err(ReplyError::new(
            "ERR The value stored at the specified key is not represented using an hash table",
        ));
    }
    let text = format!("number of elements: {elements}\nbytes: {}\n", entry.heap_bytes());
    ctx.out.verbatim("txt", text.as_bytes());
    UNCHANGED
}

fn structsize(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let sizes = format!("bits:{} entry:{} slot:{}", usize::BITS, Entry::FIXED, size_of::<Entry>());
    ctx.out.bulk_str(&sizes);
    UNCHANGED
}

// ---- the server ----

fn reload(_: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let (mut save, mut flush, mut merge) = (true, true, false);
    for i in 2..args.len() {
        if args.is(i, "MERGE") {
            merge = true;
        } else if args.is(i, "NOFLUSH") {
            flush = false;
        } else if args.is(i, "NOSAVE") {
            save = false;
        } else {
            return Err(ReplyError::new(
                "ERR DEBUG RELOAD only supports the MERGE, NOFLUSH and NOSAVE options.",
            ));
        }
    }
    Ok(Outcome::Request(Request::DebugReload { save, flush, merge }))
}

fn loadaof(_: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    Ok(Outcome::Request(Request::DebugLoadAof))
}

fn change_repl_id(_: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    Ok(Outcome::Request(Request::DebugChangeReplId))
}

fn rewrite_all(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    if ctx.server.config.file.is_none() {
        return Err(ReplyError::new("ERR The server is running without a config file"));
    }
    Ok(Outcome::Request(Request::ConfigRewrite { all: true }))
}

fn sleep(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let seconds = parse_f64(&args[2]).filter(|seconds| *seconds > 0.0).unwrap_or(0.0);
    ctx.out.ok();
    Ok(Outcome::Request(Request::Sleep { micros: (seconds * 1e6) as u64 }))
}

fn aof_flush_sleep(_: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let micros = parse_i64(&args[2]).and_then(|n| u64::try_from(n).ok()).ok_or(ReplyError::NOT_INTEGER)?;
    Ok(Outcome::Request(Request::DebugSyncDelay { micros }))
}

fn log(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let message = format!("DEBUG LOG: {}", String::from_utf8_lossy(&args[2]));
    ctx.server.remarks.push(message);
    ok(ctx)
}

fn set_active_expire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.server.active_expire = switch(args);
    ok(ctx)
}

fn set_skip_checksum(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.server.skip_payload_checksum = switch(args);
    ok(ctx)
}

fn pause_cron(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.server.cron_paused = switch(args);
    ok(ctx)
}

fn plain_elements(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let size = std::str::from_utf8(&args[2]).ok().and_then(memory_size);
    // Zero, as in Redis, means the default.
    let size = size
        .filter(|size| *size < 1 << 32)
        .ok_or(ReplyError::new("ERR argument must be a memory value bigger than 1 and smaller than 4gb"))?;
    ctx.server.limits.list_plain_element = if size == 0 { 1 << 30 } else { size as usize };
    ok(ctx)
}

// ---- the protocol ----

fn error(_: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    Err(String::from_utf8_lossy(&args[2]).into_owned().into())
}

fn stringmatch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.int(crate::resp::glob::matches(&args[2], &args[3], false).into());
    UNCHANGED
}

fn protocol(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let out = &mut ctx.out;
    let three = |out: &mut crate::resp::reply::Reply<'_>| (0..3).for_each(|n| out.int(n));
    match args[2].to_ascii_lowercase().as_slice() {
        b"string" => out.bulk_str("Hello World"),
        b"integer" => out.int(12345),
        b"double" => out.double(3141.0 / 1000.0),
        b"bignum" => out.big_number("1234567999999999999999999999999999999"),
        b"null" => out.null(),
        b"array" => {
            out.array(3);
            three(out);
        }
        b"set" => {
            out.set(3);
            three(out);
        }
        b"map" => {
            out.map(3);
            (0..3).for_each(|n| {
                out.int(n);
                out.bool(n == 1);
            });
        }
        b"attrib" => {
            if out.attribute(1) {
                out.bulk_str("key-popularity");
                out.array(2);
                out.bulk_str("key:123");
                out.int(90);
            }
            out.bulk_str("Some real reply following the attribute");
        }
        b"push" if out.proto() == Protocol::Resp2 => {
            return Err(ReplyError::new("ERR RESP2 is not supported by this command"));
        }
        b"push" => {
            out.push(2);
            out.bulk_str("server-cpu-usage");
            out.int(42);
            out.bulk_str("Some real reply following the push reply");
        }
        b"true" => out.bool(true),
        b"false" => out.bool(false),
        b"verbatim" => out.verbatim("txt", b"This is a verbatim\nstring"),
        _ => {
            return Err(ReplyError::new(
                "ERR Wrong protocol type name. Please use one of the following: string|integer|double|bignum|null|array|set|map|attrib|push|verbatim|true|false",
            ));
        }
    }
    UNCHANGED
}

const FLAGS: Flags =
    Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE).union(Flags::PROTECTED);

pub const COMMANDS: &[Command] = &[Command::new("debug", -2, FLAGS, Keys::None, debug)
    .group(Group::Server)
    .doc("1.0.0", "Tools for tests and repair.")];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn digests() {
        let mut bench = Bench::default();
        bench.check("DEBUG DIGEST", &format!("+{}", "0".repeat(40)));
        bench.run("SET s hello");
        bench.check(
            "DEBUG DIGEST-VALUE s absent",
            &format!("*2 +36b23a1456b2dce2c3ed252c456761301dba8060 +{}", "0".repeat(40)),
        );
    }

    #[test]
    fn populating_enters_the_stream_as_keys() {
        let mut bench = Bench::default();
        bench.run("SET key:1 old");
        bench.effects.clear();
        bench.check("DEBUG POPULATE 3", "+OK");
        bench.check_effects(&["MSET key:0 value:0 key:2 value:2"]);
        bench.check("GET key:1", "$3 old");
        bench.check("DEBUG POPULATE 1 p 10", "+OK");
        bench.check("STRLEN p:0", ":10");
        bench.effects.clear();
        bench.check("DEBUG POPULATE 2000 q", "+OK");
        assert_eq!(bench.effects.len(), 4);
        for bad in ["-1", "abc", "1 p x", "1 p -1"] {
            bench.check(&format!("DEBUG POPULATE {bad}"), "-ERR value is out of range, must be positive");
        }
    }

    #[test]
    fn forms_and_their_arguments() {
        let mut bench = Bench::default();
        bench.check(
            "DEBUG NOSUCH",
            "-ERR unknown subcommand or wrong number of arguments for 'NOSUCH'. Try DEBUG HELP.",
        );
        bench.check(
            "DEBUG SLEEP",
            "-ERR unknown subcommand or wrong number of arguments for 'SLEEP'. Try DEBUG HELP.",
        );
        bench.check("DEBUG SLEEP 0.5", "+OK");
        assert!(matches!(bench.last, Some(Outcome::Request(Request::Sleep { micros: 500_000 }))));
        bench.check("DEBUG RELOAD NOSAVE merge", "");
        assert!(matches!(
            bench.last,
            Some(Outcome::Request(Request::DebugReload { save: false, flush: true, merge: true }))
        ));
        assert!(bench.run("DEBUG RELOAD NOW").starts_with("-ERR DEBUG RELOAD only supports"));
        bench.check("DEBUG SET-ACTIVE-EXPIRE 0", "+OK");
        assert!(!bench.server.active_expire);
        bench.check("DEBUG QUICKLIST-PACKED-THRESHOLD 100b", "+OK");
        assert_eq!(bench.server.limits.list_plain_element, 100);
        bench.check("DEBUG LOG hi", "+OK");
        assert_eq!(bench.server.remarks, ["DEBUG LOG: hi"]);
        assert!(bench.run("DEBUG HELP").starts_with("*51 +DEBUG <subcommand>"));
        bench.check("DEBUG PROTOCOL map", "*6 :0 :0 :1 :1 :2 :0");
        bench.check("DEBUG PROTOCOL push", "-ERR RESP2 is not supported by this command");
        bench.proto = Protocol::Resp3;
        bench.check("DEBUG PROTOCOL map", "%3 :0 #f :1 #t :2 #f");
    }

    #[test]
    fn objects() {
        let mut bench = Bench::default();
        bench.check("DEBUG OBJECT k", "-ERR no such key");
        bench.run("SET k 12345678901234567890");
        let line = bench.run("DEBUG OBJECT k");
        let after = line.split(" refcount:1 ").nth(1).unwrap_or_default().to_string();
        assert!(after.starts_with("encoding:embstr serializedlength:21 lru:"), "{line}");
        bench.run("RPUSH l a b c");
        assert!(bench.run("DEBUG OBJECT l").contains(" encoding:listpack serializedlength:"));
    }
}
