//! CONFIG: the settings table as clients see it. What a change sets in motion is the node's and the driver's.

use super::help::help;
use super::{Command, Ctx, Flags, Group, Keys, Outcome, Request, UNCHANGED};
use crate::config::{DirectiveId, Flags as Setting};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::state::Stats;

/// CONFIG GET pattern ...
fn get(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let found = ctx.server.config.get(args.tail(2));
    ctx.out.map(found.len());
    for (name, value) in found {
        ctx.out.bulk(&name);
        ctx.out.bulk(&value);
    }
    UNCHANGED
}

/// CONFIG SET name value ...
fn set(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if !args.len().is_multiple_of(2) {
        return Err(ReplyError::SYNTAX);
    }
    let mut pairs = Vec::new();
    for i in (2..args.len()).step_by(2) {
        let secret = |(id, _): (DirectiveId, _)| id.row().flags.contains(Setting::SENSITIVE);
        if DirectiveId::find(&args[i]).is_some_and(secret) {
            ctx.server.redacted.push(i + 1);
        }
        pairs.push((args[i].to_vec(), args[i + 1].to_vec()));
    }
    Ok(Outcome::Request(Request::ConfigSet { pairs }))
}

/// CONFIG RESETSTAT
fn resetstat(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.server.stats = Stats::default();
    ctx.db.changes().stats = Default::default();
    ctx.server.process.used_memory_peak = ctx.server.process.used_memory;
    ctx.out.ok();
    UNCHANGED
}

/// CONFIG REWRITE
fn rewrite(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    if ctx.server.config.file.is_none() {
        return Err(ReplyError::new("ERR The server is running without a config file"));
    }
    Ok(Outcome::Request(Request::ConfigRewrite { all: false }))
}

const ADMIN: Flags = Flags::ADMIN.union(Flags::NOSCRIPT).union(Flags::LOADING).union(Flags::STALE);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] =
    &[row("config", -2, Flags::empty(), help).doc("2.0.0", "Reads and changes settings.").subcommands(&[
        row("config|get", -3, ADMIN, get).doc("2.0.0", "Returns the settings whose names match patterns."),
        row("config|set", -4, ADMIN, set).doc("2.0.0", "Changes settings, all of them or none."),
        row("config|resetstat", 2, ADMIN, resetstat).doc("2.0.0", "Sets the statistics of INFO to zero."),
        row("config|rewrite", 2, ADMIN, rewrite)
            .doc("2.8.0", "Writes the settings to the configuration file."),
        row("config|help", 2, Flags::LOADING.union(Flags::STALE), help)
            .doc("5.0.0", "Lists the subcommands."),
    ])];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    #[test]
    fn settings_are_read_and_asked_to_change() {
        let mut bench = Bench::default();
        bench.check("CONFIG GET maxclient?", "*2 $10 maxclients $5 10000");
        bench.check("CONFIG GET nothing", "*0");
        bench.run("CONFIG SET timeout 5 requirepass x");
        let wanted = [("timeout", "5"), ("requirepass", "x")];
        let pairs = wanted.map(|(name, value)| (name.into(), value.into())).to_vec();
        assert!(
            matches!(&bench.last, Some(Outcome::Request(Request::ConfigSet { pairs: p })) if *p == pairs)
        );
        assert_eq!(bench.server.redacted, [5]);
        bench.check("CONFIG SET timeout 5 hz", "-ERR syntax error");
        bench.check("CONFIG REWRITE", "-ERR The server is running without a config file");
        bench.proto = Protocol::Resp3;
        bench.check("CONFIG GET hz", "%1 $2 hz $2 10");
        assert!(bench.run("CONFIG HELP").starts_with("*11 +CONFIG <subcommand> [<arg>"));
    }
}
