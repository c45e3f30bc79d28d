//! COMMAND DOCS: rows and what the manual says of them, in the form that `redis-cli` takes its hints from.

use super::manual::{Entry, entry};
use super::syntax::Argument;
use super::{Command, Group};
use crate::resp::reply::Reply;

/// Writes what COMMAND DOCS says of a row.
pub fn document(row: &Command, out: &mut Reply<'_>) {
    let Entry { cost, arguments, history, deprecated, internal, tips: _ } = entry(row.name);
    let texts = [
        ("summary", Some(row.summary)),
        ("since", Some(row.since)),
        ("group", Some(group_name(row.group))),
        ("complexity", Some(*cost).filter(|cost| !cost.is_empty())),
    ];
    let flags: Vec<&str> = [("deprecated", deprecated.is_some()), ("syscmd", *internal)]
        .iter()
        .filter_map(|(flag, set)| set.then_some(*flag))
        .collect();
    let fields = present(&texts).count()
        + usize::from(!flags.is_empty())
        + 2 * usize::from(deprecated.is_some())
        + [history.is_empty(), arguments.is_empty(), row.subcommands.is_empty()]
            .iter()
            .filter(|none| !**none)
            .count();
    out.map(fields);
    write_texts(&texts, out);
    if !flags.is_empty() {
        out.bulk_str("doc_flags");
        write_flags(&flags, out);
    }
    if let Some((since, instead)) = deprecated {
        write_texts(&[("deprecated_since", Some(since)), ("replaced_by", Some(instead))], out);
    }
    if !history.is_empty() {
        out.bulk_str("history");
        out.set(history.len());
        for (version, change) in history {
            out.array(2);
            out.bulk_str(version);
            out.bulk_str(change);
        }
    }
    if !arguments.is_empty() {
        out.bulk_str("arguments");
        write_arguments(arguments, out);
    }
    if !row.subcommands.is_empty() {
        out.bulk_str("subcommands");
        out.map(row.subcommands.len());
        for row in row.subcommands {
            out.bulk_str(row.name);
            document(row, out);
        }
    }
}

type Text<'t> = (&'t str, Option<&'t str>);

fn present<'t>(texts: &'t [Text<'t>]) -> impl Iterator<Item = (&'t str, &'t str)> {
    texts.iter().filter_map(|(field, text)| Some((*field, (*text)?)))
}

fn write_texts(texts: &[Text<'_>], out: &mut Reply<'_>) {
    for (field, text) in present(texts) {
        out.bulk_str(field);
        out.bulk_str(text);
    }
}

fn write_flags(flags: &[&str], out: &mut Reply<'_>) {
    out.set(flags.len());
    flags.iter().for_each(|flag| out.simple(flag));
}

/// The manual's groups are nested a few levels deep: recursion is bounded.
fn write_arguments(arguments: &[Argument], out: &mut Reply<'_>) {
    out.array(arguments.len());
    arguments.iter().for_each(|argument| write_argument(argument, out));
}

fn write_argument(argument: &Argument, out: &mut Reply<'_>) {
    let members = argument.kind.members();
    let shown = members.is_none().then_some(argument.shown.unwrap_or(argument.name));
    let first =
        [("name", Some(argument.name)), ("type", Some(argument.kind.name())), ("display_text", shown)];
    let rest =
        [("token", argument.token), ("since", argument.since), ("deprecated_since", argument.deprecated)];
    let flags = [
        ("optional", argument.optional),
        ("multiple", argument.multiple),
        ("multiple_token", argument.multiple_token),
    ];
    let flags: Vec<&str> = flags.iter().filter_map(|(flag, set)| set.then_some(*flag)).collect();
    let others = [argument.key_spec.is_some(), !flags.is_empty(), members.is_some()];
    out.map(present(&first).count() + present(&rest).count() + others.iter().filter(|there| **there).count());
    write_texts(&first, out);
    if let Some(spec) = argument.key_spec {
        out.bulk_str("key_spec_index");
        out.int(spec.into());
    }
    write_texts(&rest, out);
    if !flags.is_empty() {
        out.bulk_str("flags");
        write_flags(&flags, out);
    }
    if let Some(members) = members {
        out.bulk_str("arguments");
        write_arguments(members, out);
    }
}

fn group_name(group: Group) -> &'static str {
    match group {
        Group::Generic => "generic",
        Group::String => "string",
        Group::List => "list",
        Group::Set => "set",
        Group::SortedSet => "sorted-set",
        Group::Hash => "hash",
        Group::Pubsub => "pubsub",
        Group::Transactions => "transactions",
        Group::Connection => "connection",
        Group::Server => "server",
        Group::Scripting => "scripting",
        Group::HyperLogLog => "hyperloglog",
        Group::Geo => "geo",
        Group::Stream => "stream",
        Group::Bitmap => "bitmap",
        Group::Cluster => "cluster",
    }
}

#[cfg(test)]
mod tests {
    use crate::commands::testing::Bench;
    use crate::resp::reply::Protocol;

    #[test]
    fn commands_are_documented() {
        let mut bench = Bench::default();
        bench.check(
            "COMMAND DOCS echo nosuch",
            "*2 $4 echo *10 $7 summary $24 Gives its argument back. $5 since $5 1.0.0 $5 group $10 connection \
             $10 complexity $4 O(1) $9 arguments *1 \
             *6 $4 name $7 message $4 type $6 string $12 display_text $7 message",
        );
        let getset = bench.run("COMMAND DOCS getset");
        assert!(
            getset.contains(
                "$9 doc_flags *1 +deprecated $16 deprecated_since $5 6.2.0 $11 replaced_by $12 SET with GET"
            ),
            "{getset}"
        );
        bench.proto = Protocol::Resp3;
        let expire = bench.run("COMMAND DOCS expire");
        assert!(
            expire.contains(
                "$7 history ~1 *2 $5 7.0.0 $17 NX, XX, GT and LT $9 arguments *3 %4 $4 name $3 key $4 type $3 key \
                 $12 display_text $3 key $14 key_spec_index :0 %3 $4 name $7 seconds $4 type $7 integer"
            ),
            "{expire}"
        );
        assert!(
            expire.contains(
                "%5 $4 name $9 condition $4 type $5 oneof $5 since $5 7.0.0 $5 flags ~1 +optional $9 arguments *4 \
                 %4 $4 name $2 nx $4 type $10 pure-token $12 display_text $2 nx $5 token $2 NX"
            ),
            "{expire}"
        );
        let acl = bench.run("COMMAND DOCS acl");
        assert!(acl.contains("$11 subcommands"), "{acl}");
    }
}
