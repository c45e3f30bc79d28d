//! ACL, as far as a server with one user needs it: who one is, what there is. Users and rules cannot be changed.

use super::categories::{CATEGORIES, is_in};
use super::help::help;
use super::table::all;
use super::{Command, Ctx, Flags, Group, Keys, Outcome, UNCHANGED};
use crate::error::ReplyError;
use crate::resp::args::Args;

/// ACL WHOAMI
fn whoami(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let user = ctx.session().user.clone();
    ctx.out.bulk_str(&user);
    UNCHANGED
}

/// ACL USERS
fn users(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    ctx.out.array(1);
    ctx.out.bulk_str("default");
    UNCHANGED
}

fn has_password(ctx: &Ctx<'_>) -> bool {
    ctx.server.config.settings.requirepass.get().is_some()
}

/// ACL LIST. The password itself is not shown, not even as a hash: it is a setting, not a rule.
fn list(ctx: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    let password = if has_password(ctx) { "" } else { " nopass" };
    ctx.out.array(1);
    ctx.out.bulk_str(&format!("user default on{password} sanitize-payload ~* &* +@all"));
    UNCHANGED
}

/// ACL GETUSER name
fn getuser(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if &args[2] != b"default" {
        ctx.out.null();
        return UNCHANGED;
    }
    let flags: &[&str] =
        if has_password(ctx) { &["on", "sanitize-payload"] } else { &["on", "nopass", "sanitize-payload"] };
    let out = &mut ctx.out;
    out.map(6);
    out.bulk_str("flags");
    out.set(flags.len());
    flags.iter().for_each(|flag| out.bulk_str(flag));
    out.bulk_str("passwords");
    out.array(0);
    for (field, rule) in [("commands", "+@all"), ("keys", "~*"), ("channels", "&*")] {
        out.bulk_str(field);
        out.bulk_str(rule);
    }
    out.bulk_str("selectors");
    out.array(0);
    UNCHANGED
}

/// ACL CAT [category]
fn cat(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    let Some(asked) = args.get(2) else {
        ctx.out.array(CATEGORIES.len());
        CATEGORIES.iter().for_each(|name| ctx.out.bulk_str(name));
        return UNCHANGED;
    };
    let asked = String::from_utf8_lossy(asked).to_lowercase();
    if !CATEGORIES.contains(&asked.as_str()) {
        return Err(format!("ERR Unknown category '{}'", String::from_utf8_lossy(&args[2])).into());
    }
    let rows = all().flat_map(|row| std::iter::once(row).chain(row.subcommands));
    let names: Vec<&str> = rows.filter(|row| is_in(row, &asked)).map(|row| row.name).collect();
    ctx.out.array(names.len());
    names.iter().for_each(|name| ctx.out.bulk_str(name));
    UNCHANGED
}

/// ACL LOG [count | RESET]: with one user nothing is ever denied but a wrong password.
fn log(ctx: &mut Ctx<'_>, args: Args<'_>) -> Result<Outcome, ReplyError> {
    if args.is(2, "RESET") {
        ctx.out.ok();
    } else {
        if args.len() > 2 {
            args.int(2)?;
        }
        ctx.out.array(0);
    }
    UNCHANGED
}

/// What would need users of their own.
fn unavailable(_: &mut Ctx<'_>, _: Args<'_>) -> Result<Outcome, ReplyError> {
    Err(ReplyError::new("ERR ACL users and rules are not available in this version"))
}

const ANY: Flags = Flags::NOSCRIPT.union(Flags::LOADING).union(Flags::STALE);
const ADMIN: Flags = ANY.union(Flags::ADMIN);

const fn row(name: &'static str, arity: i32, flags: Flags, run: super::Execute) -> Command {
    Command::new(name, arity, flags, Keys::None, run).group(Group::Server)
}

pub const COMMANDS: &[Command] =
    &[row("acl", -2, Flags::empty(), help).doc("6.0.0", "Looks into users.").subcommands(&[
        row("acl|cat", -2, ANY, cat).doc("6.0.0", "Lists the categories, or the commands of one."),
        row("acl|deluser", -3, ADMIN, unavailable).doc("6.0.0", "Removes users (not available)."),
        row("acl|dryrun", -4, ADMIN, unavailable).doc("7.0.0", "Tries a command as a user (not available)."),
        row("acl|genpass", -2, ANY, unavailable).doc("6.0.0", "Makes a password (not available)."),
        row("acl|getuser", 3, ADMIN, getuser).doc("6.0.0", "Describes a user."),
        row("acl|help", 2, Flags::LOADING.union(Flags::STALE), help).doc("6.0.0", "Lists the subcommands."),
        row("acl|list", 2, ADMIN, list).doc("6.0.0", "Lists the users with their rules."),
        row("acl|load", 2, ADMIN, unavailable).doc("6.0.0", "Reads users from a file (not available)."),
        row("acl|log", -2, ADMIN, log).doc("6.0.0", "Lists what was denied."),
        row("acl|save", 2, ADMIN, unavailable).doc("6.0.0", "Writes users to a file (not available)."),
        row("acl|setuser", -3, ADMIN, unavailable).doc("6.0.0", "Changes users (not available)."),
        row("acl|users", 2, ADMIN, users).doc("6.0.0", "Lists the users."),
        row("acl|whoami", 2, ANY, whoami).doc("6.0.0", "Returns the user of the connection."),
    ])];

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;

    #[test]
    fn the_one_user() {
        let mut bench = Bench::default();
        bench.check("ACL WHOAMI", "$7 default");
        bench.check("ACL USERS", "*1 $7 default");
        bench.check("ACL LIST", "*1 $51 user default on nopass sanitize-payload ~* &* +@all");
        bench.check("ACL GETUSER joe", "$-1");
        assert!(bench.run("ACL GETUSER default").starts_with("*12 $5 flags *3 $2 on $6 nopass"));
        bench.check("ACL SETUSER joe on", "-ERR ACL users and rules are not available in this version");
        assert!(bench.run("ACL CAT").starts_with("*21 $8 keyspace"));
        assert!(bench.run("ACL CAT transaction").starts_with("*5 $5 multi"));
        bench.check("ACL CAT nosuch", "-ERR Unknown category 'nosuch'");
    }
}
