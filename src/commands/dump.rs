//! DUMP and RESTORE: one value as bytes, in the form of a snapshot.
//!
//! RESTORE enters the stream as sent, except that a relative deadline becomes an absolute one; one that has passed
//! already leaves no key, which enters the stream as DEL if one was replaced. The payload says a version of its
//! own, so a dump made here loads into the oldest server that knows the value's type.

use super::{Command, Ctx, Effect, Flags, Keys, Outcome, UNCHANGED, VERBATIM, rewrite};
use crate::config::{Config, MaxmemoryPolicy};
use crate::error::ReplyError;
use crate::resp::args::{Args, OwnedArgs};
use crate::store::rdb::{self, AccessKind, BadPayload};
use crate::store::{Entry, Events, Expiry, NEVER};

const BUSY_KEY: ReplyError = ReplyError::new("BUSYKEY Target key name already exists.");
const BAD_FOOTER: ReplyError = ReplyError::new("ERR DUMP payload version or checksum are wrong");
const BAD_CONTENT: ReplyError = ReplyError::new("ERR Bad data format");

/// DUMP key
fn dump(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    match ctx.db.read(&args[1]) {
        Some(value) => {
            let payload = rdb::dump(value);
            ctx.out.bulk(&payload);
        }
        None => ctx.out.null(),
    }
    UNCHANGED
}

#[derive(Default)]
struct Options {
    replace: bool,
    absolute: bool,
    idle_seconds: Option<u64>,
    freq: Option<u8>,
}

impl Options {
    fn parse(args: Args<'_>) -> Result<Options, ReplyError> {
        let mut options = Options::default();
        let mut i = 4;
        while i < args.len() {
            let has_value = i + 1 < args.len();
            if args.is(i, "REPLACE") {
                options.replace = true;
            } else if args.is(i, "ABSTTL") {
                options.absolute = true;
            } else if args.is(i, "IDLETIME") && has_value && options.freq.is_none() {
                i += 1;
                let idle = u64::try_from(args.int(i)?);
                let error = ReplyError::new("ERR Invalid IDLETIME value, must be >= 0");
                options.idle_seconds = Some(idle.map_err(|_| error)?);
            } else if args.is(i, "FREQ") && has_value && options.idle_seconds.is_none() {
                i += 1;
                let freq = u8::try_from(args.int(i)?);
                let error = ReplyError::new("ERR Invalid FREQ value, must be >= 0 and <= 255");
                options.freq = Some(freq.map_err(|_| error)?);
            } else {
                return Err(ReplyError::SYNTAX);
            }
            i += 1;
        }
        Ok(options)
    }
}

/// RESTORE key ttl serialized-value [REPLACE] [ABSTTL] [IDLETIME seconds] [FREQ frequency]
fn restore(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let options = Options::parse(args)?;
    let (key, payload) = (&args[1], &args[3]);
    if !options.replace && ctx.db.exists(key) {
        return Err(BUSY_KEY);
    }
    let ttl = args.int(2)?;
    if ttl < 0 {
        return Err(ReplyError::new("ERR Invalid TTL value, must be >= 0"));
    }
    let verify = !ctx.server.skip_payload_checksum;
    ctx.server.stats.payloads_checked += 1;
    let value = rdb::restore(payload, &ctx.server.limits, verify).map_err(|bad| match bad {
        BadPayload::Footer(_) => BAD_FOOTER,
        BadPayload::Content(corrupt) => {
            ctx.server.remark(format!("RESTORE refused a payload: {corrupt}"));
            BAD_CONTENT
        }
    })?;
    let expires = match ttl {
        0 => NEVER,
        _ if options.absolute => ttl.min(NEVER - 1),
        _ => ttl.saturating_add(ctx.now).min(NEVER - 1),
    };
    if expires <= ctx.now && ctx.db.expiry_mode() == Expiry::Delete {
        return replaced_by_nothing(ctx, key);
    }
    ctx.db.put(key, value, expires);
    ctx.db.notify(Events::GENERIC, "restore", key);
    let stamp = access_kind(&ctx.server.config).stamp(options.idle_seconds, options.freq, ctx.now);
    if let (Some(stamp), Some(entry)) = (stamp, ctx.db.entries().get(key)) {
        Entry::set_access(entry, stamp);
    }
    ctx.out.ok();
    if ttl == 0 || options.absolute {
        return VERBATIM;
    }
    let mut absolute = OwnedArgs::with_capacity(args.len() + 1, args.total_len() + 32);
    absolute.push(&args[0]).push(key).push_int(expires);
    args.tail(3).iter().for_each(|arg| {
        absolute.push(arg);
    });
    absolute.push(b"ABSTTL");
    Ok(Outcome::Done(Effect::Rewrite(vec![absolute])))
}

/// The deadline of what was to be restored has passed.
fn replaced_by_nothing(ctx: &mut Ctx<'_>, key: &[u8]) -> Result<Outcome, ReplyError> {
    let deleted = ctx.db.delete(key);
    ctx.out.ok();
    if !deleted {
        return UNCHANGED;
    }
    ctx.db.notify(Events::GENERIC, "del", key);
    rewrite(&[b"DEL", key])
}

/// How access stamps are to be understood under the eviction policy in force.
pub fn access_kind(config: &Config) -> AccessKind {
    match config.settings.maxmemory_policy {
        MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => AccessKind::Lfu,
        _ => AccessKind::Lru,
    }
}

pub const COMMANDS: &[Command] = &[
    Command::new("dump", 2, Flags::READONLY, Keys::ONE, dump)
        .doc("2.6.0", "Returns the value of a key in the form of a snapshot."),
    Command::new(
        "restore",
        -4,
        Flags::WRITE.union(Flags::DENYOOM).union(Flags::DANGEROUS),
        Keys::ONE,
        restore,
    )
    .doc("2.6.0", "Creates a key from what DUMP returned."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    /// The bulk string that is the reply.
    fn dump(bench: &mut Bench, key: &str) -> Vec<u8> {
        let reply = bench.run_args(&[b"DUMP", key.as_bytes()]);
        let start = reply.windows(2).position(|two| two == b"\r\n").unwrap() + 2;
        reply[start..reply.len() - 2].to_vec()
    }

    #[track_caller]
    fn check(bench: &mut Bench, words: &[&[u8]], expected: &str) {
        let reply = bench.run_args(words);
        assert_eq!(String::from_utf8_lossy(&reply).trim_end(), expected);
    }

    #[test]
    fn there_and_back() {
        let mut bench = Bench::default();
        bench.check("DUMP none", "$-1");
        bench.run("SET text hello");
        // As Redis 7.0 dumps it.
        assert_eq!(dump(&mut bench, "text"), b"\x00\x05hello\x0a\x00\x63\x72\xdf\x76\x65\x34\x20\x0a");
        bench.run("RPUSH list a b 3");
        bench.effects.clear();
        let list = dump(&mut bench, "list");
        check(&mut bench, &[b"RESTORE", b"copy", b"0", &list], "+OK");
        bench.check("LRANGE copy 0 -1", "*3 $1 a $1 b $1 3");
        bench.check("PTTL copy", ":-1");
        check(&mut bench, &[b"RESTORE", b"copy", b"0", &list], "-BUSYKEY Target key name already exists.");
        check(&mut bench, &[b"RESTORE", b"text", b"0", &list, b"replace"], "+OK");
        bench.check("TYPE text", "+list");
        assert_eq!(bench.effects.len(), 2);
    }

    #[test]
    fn deadlines() {
        let mut bench = Bench::default();
        bench.run("SET k 7");
        let seven = dump(&mut bench, "k");
        assert!(seven.starts_with(b"\x00\xc0\x07"));
        bench.effects.clear();
        check(&mut bench, &[b"RESTORE", b"a", b"500", &seven, b"IDLETIME", b"60"], "+OK");
        bench.check("PTTL a", ":500");
        let entered = bench.effects.pop().unwrap();
        assert!(entered.starts_with("RESTORE a 1700000000500 "), "{entered}");
        assert!(entered.ends_with(" IDLETIME 60 ABSTTL"), "{entered}");
        let entry = bench.store.dbs[0].entries.get(b"a").unwrap();
        assert_eq!(entry.access(), 1_700_000_000 - 60);
        check(&mut bench, &[b"RESTORE", b"b", b"1700000000001", &seven, b"ABSTTL"], "+OK");
        bench.check("PTTL b", ":1");
        bench.effects.clear();
        check(&mut bench, &[b"RESTORE", b"c", b"1600000000000", &seven, b"ABSTTL"], "+OK");
        bench.check("EXISTS c", ":0");
        bench.check_effects(&[]);
        check(&mut bench, &[b"RESTORE", b"k", b"1600000000000", &seven, b"ABSTTL", b"REPLACE"], "+OK");
        bench.check("EXISTS k", ":0");
        bench.check_effects(&["DEL k"]);
    }

    #[test]
    fn what_is_refused() {
        let mut bench = Bench::default();
        bench.run("SET k value");
        let good = dump(&mut bench, "k");
        let mut refuse = |words: &[&[u8]], expected: &str| {
            let words = [&[b"RESTORE" as &[u8], b"new"], words].concat();
            check(&mut bench, &words, expected);
        };
        let footer = "-ERR DUMP payload version or checksum are wrong";
        refuse(&[b"0", b""], footer);
        refuse(&[b"0", &good[..good.len() - 1]], footer);
        for at in 0..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            refuse(&[b"0", &bad], footer);
        }
        refuse(&[b"x", &good], "-ERR value is not an integer or out of range");
        refuse(&[b"-1", &good], "-ERR Invalid TTL value, must be >= 0");
        refuse(&[b"0", &good, b"IDLETIME"], "-ERR syntax error");
        refuse(&[b"0", &good, b"IDLETIME", b"-1"], "-ERR Invalid IDLETIME value, must be >= 0");
        refuse(&[b"0", &good, b"FREQ", b"256"], "-ERR Invalid FREQ value, must be >= 0 and <= 255");
        refuse(&[b"0", &good, b"FREQ", b"1", b"IDLETIME", b"1"], "-ERR syntax error");
        bench.server.skip_payload_checksum = true;
        let mut payload = good;
        payload[0] = 16;
        check(&mut bench, &[b"RESTORE", b"new", b"0", &payload], "-ERR Bad data format");
        assert!(bench.server.remarks[0].contains("Hash listpack integrity check failed"));
    }
}
