//! Deadlines of keys: the EXPIRE family sets them, the TTL family tells them, PERSIST takes them away.
//!
//! A deadline is absolute, in Unix milliseconds, and enters the stream only as such: EXPIRE, PEXPIRE and EXPIREAT
//! become PEXPIREAT with the same options, and a deadline that has already passed becomes a DEL. Replay does
//! neither: there bytes alone decide, and a key whose deadline has passed stays until the stream says DEL.

use super::{Command, Ctx, Effect, Execute, Flags, Keys, Outcome, UNCHANGED, VERBATIM, rewrite};
use crate::error::ReplyError;
use crate::resp::args::{Args, OwnedArgs};
use crate::store::{Entry, Events, Expiry, NEVER};

bitflags::bitflags! {
    /// Which present deadlines a new one may replace.
    #[derive(Clone, Copy, Debug)]
    struct If: u8 {
        const NONE = 1;     // NX
        const ANY = 1 << 1; // XX
        const LATER = 1 << 2; // GT
        const EARLIER = 1 << 3; // LT
    }
}

const OPTIONS: [(&str, If); 4] = [("NX", If::NONE), ("XX", If::ANY), ("GT", If::LATER), ("LT", If::EARLIER)];

impl If {
    fn parse(args: Args<'_>, from: usize) -> Result<If, ReplyError> {
        let mut options = If::empty();
        for i in from..args.len() {
            let Some((_, option)) = OPTIONS.iter().find(|(word, _)| args.is(i, word)) else {
                let word = String::from_utf8_lossy(&args[i]);
                return Err(format!("ERR Unsupported option {word}").into());
            };
            options |= *option;
        }
        if options.contains(If::NONE) && options.intersects(If::ANY | If::LATER | If::EARLIER) {
            return Err(ReplyError::new(
                "ERR NX and XX, GT or LT options at the same time are not compatible",
            ));
        }
        if options.contains(If::LATER | If::EARLIER) {
            return Err(ReplyError::new("ERR GT and LT options at the same time are not compatible"));
        }
        Ok(options)
    }

    /// `current` is [`NEVER`] for a key without deadline, which counts as later than any.
    fn allows(self, current: i64, new: i64) -> bool {
        let has_one = current != NEVER;
        !(self.contains(If::NONE) && has_one
            || self.contains(If::ANY) && !has_one
            || self.contains(If::LATER) && (!has_one || new <= current)
            || self.contains(If::EARLIER) && has_one && new >= current)
    }
}

/// EXPIRE key seconds [NX | XX | GT | LT], and PEXPIRE, EXPIREAT, PEXPIREAT
fn expire(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let options = If::parse(args, 3)?;
    let deadline = deadline(ctx, args.int(2)?)?;
    let key = &args[1];
    let allowed = ctx.db.expires(key).is_some_and(|current| options.allows(current, deadline));
    ctx.out.int(allowed.into());
    if !allowed {
        return UNCHANGED;
    }
    if deadline <= ctx.now && ctx.db.expiry_mode() == Expiry::Delete {
        ctx.db.delete(key);
        ctx.db.notify(Events::GENERIC, "del", key);
        return rewrite(&[b"DEL", key]);
    }
    ctx.db.set_expires(key, deadline);
    ctx.db.changed(key, 1);
    ctx.db.notify(Events::GENERIC, "expire", key);
    if ctx.command.name == "pexpireat" && deadline < NEVER - 1 {
        return VERBATIM;
    }
    let mut absolute = OwnedArgs::with_capacity(args.len(), args.total_len() + 16);
    absolute.push(b"PEXPIREAT").push(key).push_int(deadline);
    for option in args.tail(3) {
        absolute.push(option);
    }
    Ok(Outcome::Done(Effect::Rewrite(vec![absolute])))
}

/// The deadline that the number given to the running command means. [`NEVER`] itself is out of reach.
fn deadline(ctx: &Ctx<'_>, given: i64) -> Result<i64, ReplyError> {
    let name = ctx.command.name;
    let millis = if name.starts_with('p') { Some(given) } else { given.checked_mul(1000) };
    let base = if name.ends_with("at") { 0 } else { ctx.now };
    let deadline = millis.and_then(|millis| millis.checked_add(base));
    match deadline {
        Some(deadline) => Ok(deadline.min(NEVER - 1)),
        None => Err(format!("ERR invalid expire time in '{name}' command").into()),
    }
}

/// TTL key, and PTTL, EXPIRETIME, PEXPIRETIME
fn ttl(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let name = ctx.command.name;
    let expires = ctx.db.inspect(&args[1]).map(Entry::expires);
    let answer = match expires {
        None => -2,
        Some(NEVER) => -1,
        Some(at) => {
            let millis = if name.ends_with("time") { at } else { at.saturating_sub(ctx.now) }.max(0);
            if name.starts_with('p') { millis } else { millis.saturating_add(500) / 1000 }
        }
    };
    ctx.out.int(answer);
    UNCHANGED
}

/// PERSIST key
fn persist(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let key = &args[1];
    let had_one = ctx.db.expires(key).is_some_and(|at| at != NEVER);
    if had_one {
        ctx.db.set_expires(key, NEVER);
        ctx.db.changed(key, 1);
        ctx.db.notify(Events::GENERIC, "persist", key);
    }
    ctx.out.int(had_one.into());
    super::verbatim_if(had_one)
}

const WRITE: Flags = Flags::WRITE.union(Flags::FAST);
const READ: Flags = Flags::READONLY.union(Flags::FAST);

const fn row(name: &'static str, arity: i32, flags: Flags, run: Execute) -> Command {
    Command::new(name, arity, flags, Keys::ONE, run)
}

pub const COMMANDS: &[Command] = &[
    row("expire", -3, WRITE, expire).doc("1.0.0", "Lets a key live for some seconds."),
    row("pexpire", -3, WRITE, expire).doc("2.6.0", "Lets a key live for some milliseconds."),
    row("expireat", -3, WRITE, expire).doc("1.2.0", "Lets a key live until a Unix time in seconds."),
    row("pexpireat", -3, WRITE, expire).doc("2.6.0", "Lets a key live until a Unix time in milliseconds."),
    row("ttl", 2, READ, ttl).doc("1.0.0", "Returns the seconds that a key has left."),
    row("pttl", 2, READ, ttl).doc("2.6.0", "Returns the milliseconds that a key has left."),
    row("expiretime", 2, READ, ttl).doc("7.0.0", "Returns the Unix time in seconds at which a key ends."),
    row("pexpiretime", 2, READ, ttl)
        .doc("7.0.0", "Returns the Unix time in milliseconds at which a key ends."),
    row("persist", 2, WRITE, persist).doc("2.2.0", "Lets a key live for ever."),
];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn deadlines_are_set_and_told() {
        let mut bench = Bench::default();
        for (line, reply) in [
            ("EXPIRE k 10", ":0"),
            ("TTL k", ":-2"),
            ("PEXPIRETIME k", ":-2"),
            ("SET k v", "+OK"),
            ("TTL k", ":-1"),
            ("PERSIST k", ":0"),
            ("EXPIRE k 10", ":1"),
            ("TTL k", ":10"),
            ("PTTL k", ":10000"),
            ("EXPIRETIME k", ":1700000010"),
            ("PEXPIRETIME k", ":1700000010000"),
            ("PEXPIRE k 1499", ":1"),
            ("TTL k", ":1"),
            ("PEXPIRE k 1500", ":1"),
            ("TTL k", ":2"),
            ("EXPIREAT k 1700000007", ":1"),
            ("PEXPIREAT k 1700000007001 XX", ":1"),
            ("PTTL k", ":7001"),
            ("PERSIST k", ":1"),
            ("TTL k", ":-1"),
            ("EXPIRE k -1", ":1"),
            ("EXISTS k", ":0"),
        ] {
            bench.check(line, reply);
        }
        bench.check_effects(&[
            "SET k v",
            "PEXPIREAT k 1700000010000",
            "PEXPIREAT k 1700000001499",
            "PEXPIREAT k 1700000001500",
            "PEXPIREAT k 1700000007000",
            "PEXPIREAT k 1700000007001 XX",
            "PERSIST k",
            "DEL k",
        ]);
    }

    #[test]
    fn options_compare_with_the_present_deadline() {
        let check = |present: Option<i64>, line: &str, reply: &str| {
            let mut bench = Bench::default();
            bench.run("SET k v");
            if let Some(seconds) = present {
                bench.run(&format!("EXPIRE k {seconds}"));
            }
            bench.check(line, reply);
        };
        check(None, "EXPIRE k 100 NX", ":1");
        check(Some(50), "EXPIRE k 100 nx", ":0");
        check(None, "EXPIRE k 100 XX", ":0");
        check(Some(50), "EXPIRE k 100 XX", ":1");
        check(None, "EXPIRE k 100 GT", ":0");
        check(Some(50), "EXPIRE k 100 GT", ":1");
        check(Some(100), "EXPIRE k 100 GT", ":0");
        check(None, "EXPIRE k 100 LT", ":1");
        check(Some(50), "EXPIRE k 100 LT", ":0");
        check(Some(150), "EXPIRE k 100 LT", ":1");
        check(None, "EXPIRE k 100 XX LT", ":0");
        check(Some(150), "EXPIRE k 100 XX LT", ":1");
        let nx = "-ERR NX and XX, GT or LT options at the same time are not compatible";
        check(None, "EXPIRE k 100 NX XX", nx);
        check(None, "EXPIRE k 100 LT NX", nx);
        check(None, "EXPIRE k 1 GT LT", "-ERR GT and LT options at the same time are not compatible");
        check(None, "EXPIRE k 1 AB", "-ERR Unsupported option AB");
    }

    #[test]
    fn numbers_out_of_range() {
        let mut bench = Bench::default();
        bench.run("SET k v");
        for (line, command) in [
            ("EXPIRE k 9223372036854775807", "expire"),
            ("EXPIRE k 9223372036854775", "expire"),
            ("EXPIRE k -9223372036854776", "expire"),
            ("PEXPIRE k 9223372036854775807", "pexpire"),
            ("EXPIREAT k 9223372036854776", "expireat"),
        ] {
            bench.check(line, &format!("-ERR invalid expire time in '{command}' command"));
        }
        bench.check("EXPIRE k 1.5", "-ERR value is not an integer or out of range");
        bench.check("TTL k", ":-1");
        bench.check("PEXPIREAT k 9223372036854775807", ":1");
        bench.check("TTL k", ":9223370336854776");
        bench.check("PEXPIRE k -9223372036854775808", ":1");
        bench.check("TTL k", ":-2");
    }
}
