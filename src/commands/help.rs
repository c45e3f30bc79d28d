//! HELP of every container: its subcommands as the table of rows has them, so that it cannot fall behind.

use super::{Ctx, Outcome, UNCHANGED, find};
use crate::error::ReplyError;
use crate::resp::args::Args;

/// CONTAINER HELP
pub fn help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let rows = find(args.name()).map(|row| row.subcommands).unwrap_or_default();
    let lines: Vec<(&str, &str)> = rows
        .iter()
        .filter(|row| row.run as usize != help as *const () as usize)
        .map(|row| (row.name.split('|').next_back().unwrap_or_default(), row.summary))
        .collect();
    lines_of_help(ctx, args, &lines);
    UNCHANGED
}

/// The reply of HELP: what there is, each with a line of its own on what it does.
pub fn lines_of_help(ctx: &mut Ctx<'_>, args: Args<'_>, lines: &[(&str, &str)]) {
    let name = String::from_utf8_lossy(args.name()).to_uppercase();
    ctx.out.array(1 + 2 * (lines.len() + 1));
    ctx.out.simple(&format!("{name} <subcommand> [<arg> [value] [opt] ...]. Subcommands are:"));
    for (usage, summary) in lines.iter().chain(&[("HELP", "Prints this text.")]) {
        ctx.out.simple(&usage.to_uppercase());
        ctx.out.simple(&format!("    {summary}"));
    }
}
