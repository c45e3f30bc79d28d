//! Saving, waiting for what was saved or replicated, shutting down, and whom to follow.
//!
//! The commands check their arguments; the work is the driver's, asked for by a [`Request`] (a command never saves
//! from inside its own execution, rule 31). LASTSAVE stands with INFO.

use super::{Command, Ctx, Flags, Group, Keys, Outcome, Request};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::number::parse_i64;

/// SAVE
fn save(_: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    Ok(Outcome::Request(Request::Save))
}

/// BGSAVE [SCHEDULE]
fn bgsave(_: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let schedule = args.is(1, "SCHEDULE");
    if args.len() > 1 && !(args.len() == 2 && schedule) {
        return Err(ReplyError::SYNTAX);
    }
    Ok(Outcome::Request(Request::BgSave { schedule }))
}

/// BGREWRITEAOF
fn bgrewriteaof(_: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    Ok(Outcome::Request(Request::BgRewriteAof))
}

/// SHUTDOWN [NOSAVE|SAVE] [NOW] [FORCE] [ABORT]
fn shutdown(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let has = |word| (1..args.len()).any(|i| args.is(i, word));
    let known = |i| ["NOSAVE", "SAVE", "NOW", "FORCE", "ABORT"].iter().any(|word| args.is(i, word));
    let (nosave, save, now, force) = (has("NOSAVE"), has("SAVE"), has("NOW"), has("FORCE"));
    let abort = has("ABORT");
    let good = (1..args.len()).all(known);
    if !good || nosave && save || abort && (nosave || save || now || force) {
        return Err(ReplyError::SYNTAX);
    }
    if abort {
        return Ok(Outcome::Request(Request::ShutdownAbort));
    }
    if ctx.deny_blocking && !now {
        return Err(ReplyError::new(
            "ERR SHUTDOWN without NOW or ABORT isn't allowed for DENY BLOCKING client",
        ));
    }
    let save = (save || nosave).then_some(save);
    Ok(Outcome::Request(Request::Shutdown { save, now, force }))
}

/// A count of replicas, or of servers; an integer in a range.
fn count(text: &[u8], most: i64) -> Result<u32, ReplyError> {
    let number = parse_i64(text).ok_or(ReplyError::NOT_INTEGER)?;
    if !(0..=most).contains(&number) {
        return Err(if most == 1 {
            ReplyError::new("ERR value is out of range, value must between 0 and 1")
        } else {
            ReplyError::new("ERR value is out of range, must be positive")
        });
    }
    Ok(u32::try_from(number).unwrap_or(u32::MAX))
}

/// The end of a wait of so many milliseconds; 0 is for ever.
fn deadline(ctx: &Ctx<'_>, text: &[u8]) -> Result<i64, ReplyError> {
    let error = ReplyError::new("ERR timeout is not an integer or out of range");
    match parse_i64(text).ok_or(error)? {
        ..0 => Err(ReplyError::new("ERR timeout is negative")),
        0 => Ok(i64::MAX),
        time => ctx.now.checked_add(time).ok_or(ReplyError::new("ERR timeout is out of range")),
    }
}

const NO_WAIT: &str = "ERR WAIT cannot be used with replica instances. Please also note that since Redis 4.0 if a replica is configured \
    to be writable (which is not the default) writes to replicas are just local and are not propagated.";
const NO_WAITAOF: &str = "ERR WAITAOF cannot be used with replica instances. Please also note that writes to replicas are just local \
    and are not propagated.";

fn not_on_replicas(ctx: &Ctx<'_>, error: &'static str) -> Result<(), ReplyError> {
    ctx.server.upstream().map_or(Ok(()), |_| Err(ReplyError::new(error)))
}

/// WAIT numreplicas timeout
fn wait(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    not_on_replicas(ctx, NO_WAIT)?;
    let replicas = parse_i64(&args[1]).ok_or(ReplyError::NOT_INTEGER)?;
    let deadline = deadline(ctx, &args[2])?;
    let replicas = u32::try_from(replicas.max(0)).unwrap_or(u32::MAX);
    Ok(Outcome::Request(Request::Wait { replicas, deadline }))
}

/// WAITAOF numlocal numreplicas timeout
fn waitaof(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    not_on_replicas(ctx, NO_WAITAOF)?;
    let local = count(&args[1], 1)?;
    let replicas = count(&args[2], i64::MAX)?;
    let deadline = deadline(ctx, &args[3])?;
    if local > 0 && !ctx.server.persistence.aof_enabled {
        return Err(ReplyError::new(
            "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled.",
        ));
    }
    Ok(Outcome::Request(Request::WaitAof { local, replicas, deadline }))
}

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT);
const SAVING: Flags = ADMIN.union(Flags::NO_ASYNC_LOADING);
const ENDING: Flags =
    ADMIN.union(Flags::LOADING).union(Flags::STALE).union(Flags::NO_MULTI).union(Flags::ALLOW_BUSY);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] = &[
    row("save", 1, SAVING.union(Flags::NO_MULTI), save).doc("1.0.0", "Saves a snapshot and waits for it."),
    row("bgsave", -1, SAVING, bgsave).doc("1.0.0", "Saves a snapshot in the background."),
    row("bgrewriteaof", 1, SAVING, bgrewriteaof)
        .doc("1.0.0", "Shortens the append-only log in the background."),
    row("shutdown", -1, ENDING, shutdown).doc("1.0.0", "Saves what is to be saved and ends the server."),
    row("wait", 3, Flags::empty(), wait)
        .group(Group::Generic)
        .doc("3.0.0", "Waits until replicas have the client's writes."),
    row("waitaof", 4, Flags::NOSCRIPT, waitaof)
        .group(Group::Generic)
        .doc("7.2.0", "Waits until the client's writes are on disk."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn arguments_become_requests() {
        let check = |line: &str, expected: Request| {
            let mut bench = Bench::default();
            bench.server.persistence.aof_enabled = true;
            bench.now = 1000;
            assert_eq!(bench.run(line), "", "{line}");
            assert!(
                matches!(&bench.last, Some(Outcome::Request(request)) if *request == expected),
                "{line}: {:?}",
                bench.last
            );
        };
        let shutdown = |save, now, force| Request::Shutdown { save, now, force };
        check("SAVE", Request::Save);
        check("BGSAVE", Request::BgSave { schedule: false });
        check("BGSAVE schedule", Request::BgSave { schedule: true });
        check("BGREWRITEAOF", Request::BgRewriteAof);
        check("SHUTDOWN", shutdown(None, false, false));
        check("SHUTDOWN NOSAVE now", shutdown(Some(false), true, false));
        check("SHUTDOWN SAVE force", shutdown(Some(true), false, true));
        check("SHUTDOWN ABORT", Request::ShutdownAbort);
        check("WAIT 2 0", Request::Wait { replicas: 2, deadline: i64::MAX });
        check("WAITAOF 1 0 500", Request::WaitAof { local: 1, replicas: 0, deadline: 1500 });
    }

    #[test]
    fn bad_arguments() {
        let mut bench = Bench::default();
        for (line, error) in [
            ("BGSAVE now", "ERR syntax error"),
            ("SHUTDOWN maybe", "ERR syntax error"),
            ("SHUTDOWN SAVE NOSAVE", "ERR syntax error"),
            ("SHUTDOWN NOW ABORT", "ERR syntax error"),
            ("WAIT x 0", "ERR value is not an integer or out of range"),
            ("WAIT 1 -1", "ERR timeout is negative"),
            ("WAITAOF 2 0 0", "ERR value is out of range, value must between 0 and 1"),
            ("WAITAOF 0 -1 0", "ERR value is out of range, must be positive"),
            ("WAITAOF 0 0 x", "ERR timeout is not an integer or out of range"),
            ("WAITAOF 1 0 0", "ERR WAITAOF cannot be used when numlocal is set but appendonly is disabled."),
        ] {
            bench.check(line, &format!("-{error}"));
        }
    }
}
