//! The TOML form of a configuration file: the same directives, as keys.
//!
//! Keys may use `-` or `_`. They stand at the top or in sections, which only group (a directive may stand in any of
//! them, once per file). Values are turned into the words that `redis.conf` would have, so every check is the row's:
//! `true` is `yes`, an array is several words, nested arrays are flattened (`save = [[3600, 1], [300, 100]]`).
//! What only files may say has natural forms too: `include = ["more.toml"]`, `user = ["alice on …"]`,
//! `rename-command = { flushall = "" }`. Files are taken in order, so what follows an `include` wins over it.
//!
//! Deserializing into a struct with serde was rejected: it would be a second list of directives, and its errors would
//! not be the rows'.

use std::collections::HashMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

use super::conf::words;
use super::load::{ConfigError, Fault, Loader, Place, at, unknown};
use super::nearest::nearest;
use super::row::{DirectiveId, Flags};

/// The sections that may be used; [`REWRITTEN`] takes what CONFIG REWRITE adds.
const SECTIONS: [&str; 12] = [
    "network",
    "process",
    "security",
    "persistence",
    "replication",
    "limits",
    "memory",
    "encodings",
    "monitoring",
    "cluster",
    "tls",
    REWRITTEN,
];
pub(super) const REWRITTEN: &str = "rewritten";

/// A key that is a directive.
pub(super) struct Entry<'t> {
    /// With `-`, as rows spell it.
    pub name: String,
    pub key: Range<usize>,
    pub value: Range<usize>,
    content: DeValue<'t>,
}

/// A parsed file.
pub(super) struct Document<'t> {
    /// In the order of the file.
    pub entries: Vec<Entry<'t>>,
    /// Where the key of the section for additions stands.
    pub rewritten: Option<Range<usize>>,
}

pub(super) fn load(loader: &mut Loader<'_>, text: &[u8], place: &Place) -> Result<(), ConfigError> {
    let text = std::str::from_utf8(text)
        .map_err(|error| at("not valid UTF-8".into(), place, line_number(text, error.valid_up_to()), b""))?;
    let mut lines: HashMap<DirectiveId, usize> = HashMap::new();
    for entry in parse(text, place)?.entries {
        let number = line_number(text.as_bytes(), entry.key.start);
        let twice = DirectiveId::find(entry.name.as_bytes()).and_then(|(id, _)| lines.insert(id, number));
        let result = match twice {
            Some(first) => Err(format!("'{}' is set twice in this file (line {first})", entry.name).into()),
            None => apply(loader, &entry),
        };
        result.map_err(|fault| at(fault, place, number, line_at(text, entry.key.start)))?;
    }
    Ok(())
}

/// All directives of a file, wherever they stand in it.
pub(super) fn parse<'t>(text: &'t str, place: &Place) -> Result<Document<'t>, ConfigError> {
    let fail = |what: String, start: usize| {
        at(what.into(), place, line_number(text.as_bytes(), start), line_at(text, start))
    };
    let table = DeTable::parse(text)
        .map_err(|error| fail(error.message().to_owned(), error.span().map_or(0, |span| span.start)))?;
    let mut document = Document { entries: Vec::new(), rewritten: None };
    for (key, value) in table.into_inner() {
        let (at_key, at_value) = (key.span(), value.span());
        let name = spelled(key.get_ref());
        match value.into_inner() {
            DeValue::Table(section) if SECTIONS.contains(&name.as_str()) => {
                if name == REWRITTEN && line_at(text, at_key.start).starts_with(b"[") {
                    document.rewritten = Some(at_key);
                }
                document.entries.extend(section.into_iter().map(|(key, value)| Entry {
                    name: spelled(key.get_ref()),
                    key: key.span(),
                    value: value.span(),
                    content: value.into_inner(),
                }));
            }
            DeValue::Table(_) if name != "rename-command" => {
                let hint = nearest(&name, SECTIONS.into_iter());
                let hint = hint.map_or(String::new(), |known| format!("; did you mean [{known}]?"));
                return Err(fail(format!("section [{name}] is not known{hint}"), at_key.start));
            }
            content => document.entries.push(Entry { name, key: at_key, value: at_value, content }),
        }
    }
    document.entries.sort_by_key(|entry| entry.key.start);
    Ok(document)
}

/// The key as a row's name: `-` for `_`, unless the name really has one.
fn spelled(key: &str) -> String {
    match DirectiveId::find(key.as_bytes()) {
        Some(_) => key.to_owned(),
        None => key.replace('_', "-"),
    }
}

fn apply(loader: &mut Loader<'_>, entry: &Entry<'_>) -> Result<(), Fault> {
    match entry.name.as_str() {
        "user" | "include" => each(&entry.content, &mut |text| {
            let words = match entry.name.as_str() {
                "user" => words(text.as_bytes()).ok_or("Unbalanced quotes")?,
                _ => vec![text.as_bytes().to_vec()],
            };
            loader.directive(entry.name.as_bytes(), &slices(&words))
        }),
        "rename-command" => {
            let DeValue::Table(renames) = &entry.content else {
                return Err("must be a table: { command = \"new-name\" }".into());
            };
            renames.iter().try_for_each(|(command, new)| {
                let DeValue::String(new) = new.get_ref() else {
                    return Err("a new name must be a text".into());
                };
                loader.directive(b"rename-command", &[command.get_ref().as_bytes(), new.as_bytes()])
            })
        }
        name => {
            let Some((id, _)) = DirectiveId::find(name.as_bytes()) else {
                return Err(unknown(name.as_bytes()));
            };
            let mut values = Vec::new();
            flatten(&entry.content, &mut values)?;
            let several =
                matches!(&entry.content, DeValue::Array(_)) && id.row().flags.contains(Flags::MULTI);
            if several {
                let split: Option<Vec<_>> = values.iter().map(|value| words(value)).collect();
                values = split.ok_or("Unbalanced quotes")?.concat();
            }
            loader.directive(name.as_bytes(), &slices(&values))
        }
    }
}

fn slices(words: &[Vec<u8>]) -> Vec<&[u8]> {
    words.iter().map(Vec::as_slice).collect()
}

fn each(content: &DeValue<'_>, take: &mut dyn FnMut(&str) -> Result<(), Fault>) -> Result<(), Fault> {
    match content {
        DeValue::String(text) => take(text),
        DeValue::Array(items) => items.iter().try_for_each(|item| match item.get_ref() {
            DeValue::String(text) => take(text),
            _ => Err("must be texts".into()),
        }),
        _ => Err("must be a text or an array of texts".into()),
    }
}

/// The words that `redis.conf` would have for a value. The parser bounds how deep arrays nest.
fn flatten(value: &DeValue<'_>, out: &mut Vec<Vec<u8>>) -> Result<(), Fault> {
    let word = match value {
        DeValue::String(text) => text.as_bytes().to_vec(),
        DeValue::Boolean(on) => (if *on { "yes" } else { "no" }).into(),
        DeValue::Integer(number) => match i128::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => number.to_string().into(),
            Err(_) => return Err("number out of range".into()),
        },
        DeValue::Float(number) => number.as_str().into(),
        DeValue::Array(items) => return items.iter().try_for_each(|item| flatten(item.get_ref(), out)),
        DeValue::Datetime(_) | DeValue::Table(_) => {
            return Err(format!("a {} is no value for a directive", value.type_str()).into());
        }
    };
    out.push(word);
    Ok(())
}

fn line_number(text: &[u8], position: usize) -> usize {
    1 + text.iter().take(position).filter(|byte| **byte == b'\n').count()
}

fn line_at(text: &str, position: usize) -> &[u8] {
    let (before, after) = text.as_bytes().split_at(position.min(text.len()));
    let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |i| i + 1);
    let end = after.iter().position(|byte| *byte == b'\n').map_or(text.len(), |i| before.len() + i);
    text.as_bytes()[start..end].trim_ascii()
}
