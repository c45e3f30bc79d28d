//! ACL categories, made from a row's flags and group; what those do not say is in two small tables.

use super::{Command, Flags, Group};

/// All categories, in the order in which replies list them.
pub const CATEGORIES: [&str; 21] = [
    "keyspace",
    "read",
    "write",
    "set",
    "sortedset",
    "list",
    "hash",
    "string",
    "bitmap",
    "hyperloglog",
    "geo",
    "stream",
    "pubsub",
    "admin",
    "fast",
    "slow",
    "blocking",
    "dangerous",
    "connection",
    "transaction",
    "scripting",
];

/// Categories that neither flags nor group give.
const MORE: &[(&str, &[&str])] = &[
    ("keyspace", &["dbsize", "flushall", "flushdb", "swapdb"]),
    ("admin", &["lastsave", "role"]),
    ("dangerous", &["lastsave", "role", "info", "keys", "sort", "sort_ro", "restore", "migrate"]),
    ("connection", &["command", "wait", "waitaof"]),
    ("set", &["sort", "sort_ro"]),
    ("sortedset", &["sort", "sort_ro"]),
    ("list", &["sort", "sort_ro"]),
];

/// Categories that the group would give, but that the command has not.
const LESS: &[(&str, &[&str])] = &[("keyspace", &["wait", "waitaof", "sort", "sort_ro"])];

/// The categories of a row.
pub fn categories(row: &Command) -> Vec<&'static str> {
    CATEGORIES.into_iter().filter(|category| is_in(row, category)).collect()
}

/// Whether a row belongs to a category.
pub fn is_in(row: &Command, category: &str) -> bool {
    let top = row.name.split('|').next().unwrap_or_default();
    let listed =
        |table: &[(&str, &[&str])]| table.iter().any(|(name, rows)| *name == category && rows.contains(&top));
    if category == "slow" {
        return !row.flags.contains(Flags::FAST);
    }
    // A container without function of its own has no place anywhere.
    let container = !row.subcommands.is_empty() && row.arity == -2;
    let grouped = group_category(row.group) == Some(category) && !container && !row.name.ends_with("|help");
    let helps = row.name.ends_with("|help") && group_category(row.group) == Some(category);
    let flagged = row.flags.intersects(match category {
        "read" => Flags::READONLY,
        "write" => Flags::WRITE,
        "pubsub" => Flags::PUBSUB,
        "admin" => Flags::ADMIN,
        "fast" => Flags::FAST,
        "blocking" => Flags::BLOCKING,
        "dangerous" => Flags::DANGEROUS.union(Flags::ADMIN),
        _ => Flags::empty(),
    });
    flagged || (grouped || helps) && !listed(LESS) || listed(MORE)
}

fn group_category(group: Group) -> Option<&'static str> {
    Some(match group {
        Group::Generic => "keyspace",
        Group::String => "string",
        Group::List => "list",
        Group::Set => "set",
        Group::SortedSet => "sortedset",
        Group::Hash => "hash",
        Group::Transactions => "transaction",
        Group::Connection => "connection",
        Group::Scripting => "scripting",
        Group::HyperLogLog => "hyperloglog",
        Group::Geo => "geo",
        Group::Stream => "stream",
        Group::Bitmap => "bitmap",
        Group::Pubsub | Group::Server | Group::Cluster => return None,
    })
}
