//! HELP of a container whose rows say enough: made from the table, so that it cannot fall behind.

use super::{Ctx, Outcome, find};
use crate::error::ReplyError;
use crate::resp::args::Args;

/// CONTAINER HELP: every subcommand and its summary.
pub fn help(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let rows = find(args.name()).map(|row| row.subcommands).unwrap_or_default();
    let names = rows.iter().map(|row| row.name.split('|').next_back().unwrap_or_default().to_uppercase());
    let names: Vec<String> = names.collect();
    let lines = names.iter().zip(rows).map(|(name, row)| (name.as_str(), row.summary));
    let lines: Vec<_> = lines.filter(|(name, _)| *name != "HELP").collect();
    super::help(ctx, &lines)
}
