//! What is said about commands beyond their rows: arguments, cost, history, tips, what replaces them.
//!
//! It stands in `manual.txt`, one record a command, and not in the rows: no command's function is better understood
//! with it, and a row of ten lines would no longer be one. The text is read once, when somebody first asks.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::syntax::{Argument, parse};

/// A command's record.
#[derive(Debug, Default)]
pub struct Entry {
    /// Time, in O notation; empty where nothing can be said.
    pub cost: &'static str,
    pub arguments: Vec<Argument>,
    /// Versions and what each brought.
    pub history: Vec<(&'static str, &'static str)>,
    pub tips: Vec<&'static str>,
    /// Since when, and what is used instead.
    pub deprecated: Option<(&'static str, &'static str)>,
    /// For servers and developers only.
    pub internal: bool,
}

static ENTRIES: LazyLock<HashMap<&'static str, Entry>> =
    LazyLock::new(|| read(include_str!("manual.txt")).unwrap_or_default()); // a test reads it first

static NOTHING: LazyLock<Entry> = LazyLock::new(Entry::default);

/// The record of a command (`container|sub` for a subcommand); an empty one if there is none.
pub fn entry(name: &str) -> &'static Entry {
    ENTRIES.get(name).unwrap_or(&NOTHING)
}

/// All records, by name. The error is the line that could not be read.
fn read(text: &'static str) -> Result<HashMap<&'static str, Entry>, &'static str> {
    let mut entries: HashMap<&str, Entry> = HashMap::new();
    let mut name = "";
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(detail) = line.strip_prefix("  ") else {
            let (command, cost) = line.split_once(':').ok_or(line)?;
            let entry = Entry { cost: cost.trim(), ..Entry::default() };
            if entries.insert(command, entry).is_some() {
                return Err(line);
            }
            name = command;
            continue;
        };
        let entry = entries.get_mut(name).ok_or(line)?;
        let (what, text) = detail.split_once(' ').unwrap_or((detail, ""));
        match what {
            "syntax" => entry.arguments = parse(text).map_err(|_| line)?,
            "since" => entry.history.push(text.split_once(' ').ok_or(line)?),
            "tips" => entry.tips = text.split(' ').collect(),
            "deprecated" => entry.deprecated = Some(text.split_once(' ').ok_or(line)?),
            "internal" => entry.internal = true,
            _ => return Err(line),
        }
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::table::all;
    use super::*;

    /// The text can be read, every row has a record, and every record a row.
    #[test]
    fn rows_and_records_agree() {
        let entries = read(include_str!("manual.txt")).unwrap();
        let rows: BTreeSet<&str> =
            all().flat_map(|row| std::iter::once(row).chain(row.subcommands)).map(|row| row.name).collect();
        let known: BTreeSet<&str> = entries.keys().copied().collect();
        assert_eq!(rows, known);
    }

    #[test]
    fn faults_are_found() {
        let check = |text, line| assert_eq!(read(text).unwrap_err(), line, "{text}");
        check("get O(1)", "get O(1)");
        check("  tips x", "  tips x");
        check("get: O(1)\nget: O(1)", "get: O(1)");
        check("get: O(1)\n  syntax [key", "  syntax [key");
        check("get: O(1)\n  since 1.0.0", "  since 1.0.0");
        check("get: O(1)\n  colour blue", "  colour blue");
    }

    /// Arguments, versions and tips as Redis has them, if `REDIS_SOURCE` names a source tree of version 7.2.
    #[test]
    fn facts_are_those_of_redis() {
        let Some(source) = std::env::var_os("REDIS_SOURCE") else {
            eprintln!("skipped: REDIS_SOURCE does not name a source tree of Redis 7.2");
            return;
        };
        let folder = std::path::Path::new(&source).join("src/commands");
        let mut compared = 0;
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            let facts: serde_json::Value = serde_json::from_str(&text).unwrap();
            for (name, facts) in facts.as_object().unwrap() {
                let container =
                    facts["container"].as_str().map(|name| format!("{name}|")).unwrap_or_default();
                compared += usize::from(compare(&format!("{container}{name}").to_lowercase(), facts));
            }
        }
        assert_eq!(compared, ENTRIES.len());
    }

    /// Whether the command is one of ours, and so was compared.
    fn compare(name: &str, facts: &serde_json::Value) -> bool {
        let Some(entry) = ENTRIES.get(name) else { return false };
        let row =
            all().flat_map(|row| std::iter::once(row).chain(row.subcommands)).find(|row| row.name == name);
        assert_eq!(row.map(|row| row.since), facts["since"].as_str(), "{name}: since");
        let of = |value: &serde_json::Value| value.as_array().cloned().unwrap_or_default();
        let ours: Vec<_> = entry.arguments.iter().map(as_json).collect();
        assert_eq!(ours, of(&facts["arguments"]).iter().map(plain).collect::<Vec<_>>(), "{name}: arguments");
        let tips: Vec<_> =
            of(&facts["command_tips"]).iter().map(|tip| tip.as_str().unwrap().to_lowercase()).collect();
        assert_eq!(entry.tips, tips, "{name}: tips");
        let versions: Vec<_> =
            of(&facts["history"]).iter().map(|change| change[0].as_str().unwrap().to_string()).collect();
        assert_eq!(
            entry.history.iter().map(|change| change.0).collect::<Vec<_>>(),
            versions,
            "{name}: history"
        );
        assert_eq!(
            entry.deprecated.map(|since| since.0),
            facts["deprecated_since"].as_str(),
            "{name}: deprecated"
        );
        true
    }

    /// An argument as the source of Redis writes it.
    fn as_json(argument: &Argument) -> serde_json::Value {
        let mut object = serde_json::json!({"name": argument.name, "type": argument.kind.name()});
        let mut put = |field: &str, value: serde_json::Value| object[field] = value;
        let texts =
            [("token", argument.token), ("since", argument.since), ("deprecated_since", argument.deprecated)];
        texts
            .iter()
            .filter_map(|(field, text)| Some((field, (*text)?)))
            .for_each(|(field, text)| put(field, text.into()));
        let flags = [
            ("optional", argument.optional),
            ("multiple", argument.multiple),
            ("multiple_token", argument.multiple_token),
        ];
        flags.iter().filter(|(_, set)| *set).for_each(|(field, _)| put(field, true.into()));
        if let Some(spec) = argument.key_spec {
            put("key_spec_index", spec.into());
        }
        match argument.kind.members() {
            Some(members) => put("arguments", members.iter().map(as_json).collect()),
            None => put("display", argument.shown.unwrap_or(argument.name).into()),
        }
        object
    }

    /// The source's argument with what it leaves out where it is as usual.
    fn plain(argument: &serde_json::Value) -> serde_json::Value {
        let mut argument = argument.clone();
        match argument["arguments"].as_array() {
            Some(members) => {
                let members: Vec<_> = members.iter().map(plain).collect();
                argument["arguments"] = members.into();
                argument.as_object_mut().unwrap().remove("display");
            }
            None => {
                argument.as_object_mut().unwrap().remove("arguments");
                if argument["display"].is_null() {
                    argument["display"] = argument["name"].clone();
                }
            }
        }
        argument
    }
}
