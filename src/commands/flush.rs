//! FLUSHDB and FLUSHALL: everything in one database, or in all.
//!
//! The tables are taken out whole and freed on another thread, whether SYNC or ASYNC is asked for. Both enter the
//! stream even if there was nothing to delete, as in Redis. FLUSHALL also asks for a snapshot where there are save
//! points, so that a restart does not bring the data back, and answers when that is written; it is taken after the
//! unit is closed (rule 31), since one taken from here would carry an offset that does not yet cover the command.

use super::{Command, Ctx, Effect, Flags, Group, Keys, Outcome, Request, VERBATIM};
use crate::error::ReplyError;
use crate::resp::args::Args;

/// SYNC and ASYNC differ in nothing that a client can see.
fn check_mode(args: Args<'_>) -> Result<(), ReplyError> {
    let known = args.len() == 1 || args.len() == 2 && (args.is(1, "SYNC") || args.is(1, "ASYNC"));
    if known { Ok(()) } else { Err(ReplyError::SYNTAX) }
}

/// FLUSHDB [ASYNC | SYNC]
fn flushdb(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    check_mode(args)?;
    ctx.db.flush(ctx.db.index());
    ctx.out.ok();
    VERBATIM
}

/// FLUSHALL [ASYNC | SYNC]
fn flushall(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    check_mode(args)?;
    (0..ctx.db.count()).for_each(|index| ctx.db.flush(index));
    Ok(Outcome::Both(Effect::Verbatim, Request::SaveAfterFlush { waits: true }))
}

const FLAGS: Flags = Flags::WRITE.union(Flags::DANGEROUS);

pub const COMMANDS: &[Command] = &[
    Command::new("flushdb", -1, FLAGS, Keys::None, flushdb)
        .group(Group::Server)
        .doc("1.0.0", "Deletes all keys of the database."),
    Command::new("flushall", -1, FLAGS, Keys::None, flushall)
        .group(Group::Server)
        .doc("1.0.0", "Deletes all keys of all databases."),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;

    #[test]
    fn flushing() {
        let mut bench = Bench::default();
        bench.run("MSET a 1 b 2");
        bench.run("COPY a a DB 3");
        bench.run("EXPIRE a 10");
        bench.store.changes.watch(0, b"a");
        bench.store.changes.watch(0, b"absent");
        bench.store.changes.watch(3, b"a");
        bench.store.changes.dirty = 0;
        bench.effects.clear();
        bench.check("FLUSHDB LATER", "-ERR syntax error");
        bench.check("FLUSHDB", "+OK");
        assert_eq!(bench.store.changes.touched, [(0, b"a".to_vec())]);
        assert_eq!((bench.store.key_count(), bench.store.dbs[0].volatile), (1, 0));
        bench.check("FLUSHDB sync", "+OK");
        bench.check("FLUSHALL ASYNC SYNC", "-ERR syntax error");
        bench.check("FLUSHALL ASYNC", "");
        let asked = Request::SaveAfterFlush { waits: true };
        assert!(matches!(&bench.last, Some(Outcome::Both(Effect::Verbatim, request)) if *request == asked));
        assert_eq!((bench.store.key_count(), bench.store.changes.dirty), (0, 3));
        bench.check_effects(&["FLUSHDB", "FLUSHDB sync", "FLUSHALL ASYNC"]);
    }
}
