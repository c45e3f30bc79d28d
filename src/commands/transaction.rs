//! MULTI, EXEC and WATCH.
//!
//! The commands here only keep the queue and the watches; queueing itself is a gate of dispatch, and the queue is
//! run by the node, which EXEC asks for. A watch is broken by any touch of the key, and by the key's deadline
//! passing (a key whose deadline had passed when it was watched is as good as absent, then and later).

use super::{Command, Ctx, Flags, Group, Keys, Outcome, Request, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::state::session::{Transaction, Watched};

/// MULTI
fn multi(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let session = ctx.session();
    if session.multi.is_some() {
        return Err(ReplyError::new("ERR MULTI calls can not be nested"));
    }
    session.multi = Some(Transaction::default());
    ctx.out.ok();
    UNCHANGED
}

/// EXEC
fn exec(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let Some(multi) = &ctx.session().multi else {
        return Err(ReplyError::new("ERR EXEC without MULTI"));
    };
    let aborted = multi.aborted;
    let broken = ctx.session().watch_broken || watched_key_has_expired(ctx);
    if !aborted && !broken {
        return Ok(Outcome::Request(Request::Exec));
    }
    drop_transaction(ctx);
    if aborted {
        return Err(ReplyError::new("EXECABORT Transaction discarded because of previous errors."));
    }
    ctx.out.null_array();
    UNCHANGED
}

fn watched_key_has_expired(ctx: &mut Ctx<'_>) -> bool {
    let watched = std::mem::take(&mut ctx.session().watched);
    let now = ctx.now;
    let dbs = &ctx.db.store().dbs;
    let expired = watched.iter().any(|watch| {
        let entry = dbs.get(watch.db as usize).and_then(|db| db.entries.get(&watch.key));
        watch.was_live && entry.is_some_and(|entry| entry.expires() <= now)
    });
    ctx.session().watched = watched;
    expired
}

/// DISCARD
fn discard(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    if ctx.session().multi.is_none() {
        return Err(ReplyError::new("ERR DISCARD without MULTI"));
    }
    drop_transaction(ctx);
    ctx.out.ok();
    UNCHANGED
}

fn drop_transaction(ctx: &mut Ctx<'_>) {
    ctx.session().multi = None;
    ctx.server.unwatch(ctx.db.changes(), ctx.slot);
}

/// WATCH key ...
fn watch(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if ctx.session().multi.is_some() {
        return Err(ReplyError::new("ERR WATCH inside MULTI is not allowed"));
    }
    if !ctx.session().watch_broken {
        let db = ctx.db.index() as u32;
        for key in args.tail(1) {
            if ctx.server.watchers.add(db, key, ctx.slot) {
                ctx.db.changes().watch(db, key);
                let was_live = ctx.db.entries().get(key).is_some_and(|entry| entry.expires() > ctx.now);
                ctx.session().watched.push(Watched { db, key: key.to_vec(), was_live });
            }
        }
    }
    ctx.out.ok();
    UNCHANGED
}

/// UNWATCH
fn unwatch(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.server.unwatch(ctx.db.changes(), ctx.slot);
    ctx.out.ok();
    UNCHANGED
}

const COMMON: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const FAST: Flags = COMMON.union(Flags::FAST).union(Flags::ALLOW_BUSY);

const fn row(name: &'static str, arity: i32, flags: Flags, keys: Keys, run: super::Execute) -> Command {
    Command::new(name, arity, flags, keys, run).group(Group::Transactions)
}

pub const COMMANDS: &[Command] = &[
    row("multi", 1, FAST, Keys::None, multi).doc("1.2.0", "Begins to queue commands."),
    row("exec", 1, COMMON.union(Flags::SKIP_SLOWLOG), Keys::None, exec)
        .doc("1.2.0", "Runs the queued commands as one."),
    row("discard", 1, FAST, Keys::None, discard).doc("2.0.0", "Forgets the queued commands."),
    row("watch", -2, FAST, Keys::ALL, watch)
        .doc("2.2.0", "Lets the next transaction run only if keys stay as they are."),
    row("unwatch", 1, FAST, Keys::None, unwatch).doc("2.2.0", "Forgets the watched keys."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn order_of_commands() {
        let mut bench = Bench::default();
        bench.check("EXEC", "-ERR EXEC without MULTI");
        bench.check("DISCARD", "-ERR DISCARD without MULTI");
        bench.check("MULTI", "+OK");
        bench.check("MULTI", "-ERR MULTI calls can not be nested");
        bench.check("WATCH k", "-ERR WATCH inside MULTI is not allowed");
        bench.run("EXEC");
        assert!(matches!(bench.last, Some(Outcome::Request(Request::Exec))));
        bench.session().multi.as_mut().unwrap().aborted = true;
        bench.check("EXEC", "-EXECABORT Transaction discarded because of previous errors.");
        assert!(bench.session().multi.is_none());
    }

    #[test]
    fn watches_are_counted_once_and_forgotten() {
        let mut bench = Bench::default();
        bench.run("WATCH a a b");
        bench.run("WATCH a");
        assert_eq!(bench.store.changes.interest.len(), 2);
        bench.check("UNWATCH", "+OK");
        assert!(bench.store.changes.interest.is_empty() && bench.session().watched.is_empty());
        for end in ["DISCARD", "EXEC"] {
            bench.run("WATCH a");
            bench.session().watch_broken = true;
            bench.run("MULTI");
            bench.check(end, if end == "EXEC" { "*-1" } else { "+OK" });
            assert!(bench.store.changes.interest.is_empty() && !bench.session().watch_broken);
        }
    }

    #[test]
    fn a_passed_deadline_breaks_a_watch() {
        let mut bench = Bench::default();
        bench.run("SET k v PX 10");
        bench.run("WATCH k");
        bench.now += 10;
        bench.run("MULTI");
        bench.check("EXEC", "*-1");
        // Watched only after its deadline: still absent, nothing changed.
        bench.run("WATCH k");
        bench.now += 1;
        bench.run("MULTI");
        bench.run("EXEC");
        assert!(matches!(bench.last, Some(Outcome::Request(Request::Exec))));
    }
}
