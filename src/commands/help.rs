//! HELP of a container whose rows say enough: made from the table, so that it cannot fall behind.

use super::manual::entry;
use super::syntax::usage;
use super::{Ctx, Outcome, UNCHANGED, find};
use crate::error::ReplyError;
use crate::resp::args::Args;

/// CONTAINER HELP: every subcommand with its arguments, and its summary.
pub fn help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let rows = find(args.name()).map(|row| row.subcommands).unwrap_or_default();
    let usages = rows.iter().map(|row| {
        let name = row.name.split('|').next_back().unwrap_or_default().to_uppercase();
        format!("{name} {}", usage(&entry(row.name).arguments)).trim_end().to_string()
    });
    let usages: Vec<String> = usages.collect();
    let lines = usages.iter().zip(rows).map(|(usage, row)| (usage.as_str(), row.summary));
    let lines: Vec<_> = lines.filter(|(usage, _)| *usage != "HELP").collect();
    write_help(ctx, args, &lines)
}

/// To a subcommand that is not there, or not with so many arguments.
pub fn unknown_form(args: Args<'_>) -> ReplyError {
    let container = String::from_utf8_lossy(args.name()).to_uppercase();
    let name = args.get(1).unwrap_or_default();
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    format!("ERR unknown subcommand or wrong number of arguments for '{name}'. Try {container} HELP.").into()
}

/// The reply of HELP: every form and what it does.
pub fn write_help(ctx: &mut Ctx<'_>, args: Args<'_>, lines: &[(&str, &str)]) -> Result<Outcome, ReplyError> {
    let container = String::from_utf8_lossy(args.name()).to_uppercase();
    ctx.out.array(1 + 2 * (lines.len() + 1));
    ctx.out.simple(&format!("{container} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, meaning) in lines.iter().chain(&[("HELP", "Prints this text.")]) {
        ctx.out.simple(usage);
        ctx.out.simple(&format!("    {meaning}"));
    }
    UNCHANGED
}
