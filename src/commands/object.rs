//! OBJECT: how a value is kept, and how long ago or how often its key was used.
//!
//! The access stamp of an entry is read as the eviction policy writes it: under an LFU policy minutes and a
//! logarithmic counter, else seconds. After the policy was changed at run time the figures are off until the keys
//! are used again, as in Redis. Asking leaves no stamp. The reference count says what Redis' does: one, or the
//! largest int for the small integers that it shares between keys.

use super::help::help;
use super::{Command, Ctx, Execute, Flags, Keys, Outcome, UNCHANGED};
use crate::config::MaxmemoryPolicy;
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::store::{Entry, Text, View};

/// The entry that is asked about; nothing is counted, stamped or announced.
fn entry<'a>(ctx: &'a mut Ctx<'_>, args: Args<'_>) -> Option<&'a Entry> {
    ctx.db.exists(&args[2]);
    ctx.db.peek(&args[2])
}

/// OBJECT ENCODING key
fn encoding(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    match entry(ctx, args).map(|entry| entry.value().encoding()) {
        Some(word) => ctx.out.bulk_str(word),
        None => ctx.out.null(),
    }
    UNCHANGED
}

/// OBJECT REFCOUNT key
fn refcount(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    match entry(ctx, args).map(|entry| references(entry.value())) {
        Some(count) => ctx.out.int(count),
        None => ctx.out.null(),
    }
    UNCHANGED
}

/// As Redis counts: the integers that it shares have no end of references.
pub fn references(value: View<'_>) -> i64 {
    if matches!(value, View::Str(Text::Int(0..10_000))) { i32::MAX.into() } else { 1 }
}

/// OBJECT IDLETIME key
fn idletime(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let Some(stamp) = entry(ctx, args).map(Entry::access) else {
        ctx.out.null();
        return UNCHANGED;
    };
    if is_lfu(ctx) {
        return Err(ReplyError::new(
            "ERR An LFU maxmemory policy is selected, idle time not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    ctx.out.int((ctx.now / 1000 - i64::from(stamp)).max(0));
    UNCHANGED
}

/// OBJECT FREQ key
fn freq(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let Some(stamp) = entry(ctx, args).map(Entry::access) else {
        ctx.out.null();
        return UNCHANGED;
    };
    if !is_lfu(ctx) {
        return Err(ReplyError::new(
            "ERR An LFU maxmemory policy is not selected, access frequency not tracked. Please note that when switching between policies at runtime LRU and LFU data will take some time to adjust.",
        ));
    }
    let decay = ctx.server.config.settings.lfu_decay_time;
    ctx.out.int(decayed(stamp, ctx.now, decay).into());
    UNCHANGED
}

fn is_lfu(ctx: &Ctx<'_>) -> bool {
    let policy = ctx.server.config.settings.maxmemory_policy;
    matches!(policy, MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu)
}

/// The counter of an LFU stamp (sixteen bits of minutes, eight of counter), less one for every `decay` minutes
/// without access.
fn decayed(stamp: u32, now_ms: i64, decay: u32) -> u32 {
    let minutes = ((now_ms / 60_000) as u32).wrapping_sub(stamp >> 8) & 0xffff;
    let lost = minutes.checked_div(decay).unwrap_or(0);
    (stamp & 0xff).saturating_sub(lost)
}

/// Only reached without a subcommand, which the arity forbids.
fn object(_: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    Err(ReplyError::SYNTAX)
}

const KEY: Keys = Keys::Range { first: 2, last: 2, step: 1 };

const fn sub(name: &'static str, run: Execute) -> Command {
    Command::new(name, 3, Flags::READONLY, KEY, run)
}

const SUBCOMMANDS: &[Command] = &[
    sub("object|encoding", encoding).doc("2.2.3", "Returns the form in which a value is kept."),
    sub("object|freq", freq).doc("4.0.0", "Returns how often a key is used, on a logarithmic scale."),
    sub("object|idletime", idletime).doc("2.2.3", "Returns the seconds since a key was last used."),
    sub("object|refcount", refcount).doc("2.2.3", "Returns the number of references to a value."),
    Command::new("object|help", 2, Flags::LOADING.union(Flags::STALE), Keys::None, help)
        .doc("6.2.0", "Lists the subcommands."),
];

pub const COMMANDS: &[Command] = &[Command::new("object", -2, Flags::empty(), Keys::None, object)
    .doc("2.2.3", "Looks into how a value is kept.")
    .subcommands(SUBCOMMANDS)];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn forms_and_idle_times() {
        let mut bench = Bench::default();
        bench.run("MSET n 12 s short");
        bench.run_args(&[b"SET", b"r", &[b'x'; 45]]);
        bench.now += 7_900;
        for (line, reply) in [
            ("OBJECT ENCODING n", "$3 int"),
            ("OBJECT encoding s", "$6 embstr"),
            ("OBJECT ENCODING r", "$3 raw"),
            ("OBJECT ENCODING x", "$-1"),
            ("OBJECT REFCOUNT n", ":2147483647"),
            ("OBJECT REFCOUNT s", ":1"),
            ("OBJECT FREQ x", "$-1"),
            ("OBJECT ENCODING", "-ERR wrong number of arguments for 'object|encoding' command"),
        ] {
            bench.check(line, reply);
        }
        assert!(bench.run("OBJECT FREQ n").starts_with("-ERR An LFU maxmemory policy is not selected"));
        let entry = bench.store.dbs[0].entries.get(b"n").unwrap();
        entry.set_access((bench.now / 1000 - 9) as u32);
        bench.check("OBJECT IDLETIME n", ":9");
        bench.server.config.settings.maxmemory_policy = MaxmemoryPolicy::AllkeysLfu;
        assert!(bench.run("OBJECT IDLETIME n").starts_with("-ERR An LFU maxmemory policy is selected"));
        assert!(bench.run("OBJECT HELP").starts_with("*11 +OBJECT <subcommand>"));
    }

    #[test]
    fn counters_decay_with_time() {
        let stamp = |minutes: u32, counter: u32| minutes << 8 | counter;
        let check = |stamp, minutes: i64, decay, expected| {
            assert_eq!(decayed(stamp, minutes * 60_000, decay), expected);
        };
        check(stamp(10, 5), 10, 1, 5);
        check(stamp(10, 5), 13, 1, 2);
        check(stamp(10, 5), 13, 2, 4);
        check(stamp(10, 5), 99, 1, 0);
        check(stamp(10, 5), 99, 0, 5);
        check(stamp(0xffff, 5), 0x10001, 1, 3);
    }
}
