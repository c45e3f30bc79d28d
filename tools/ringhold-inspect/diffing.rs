//! The command `diff`: a line for each key that is not the same, below it the first elements that differ.

use std::path::Path;

use ringhold::inspect::Failure;
use ringhold::inspect::check::Options;
use ringhold::inspect::detail::{Detail, Text};
use ringhold::inspect::diff::{self, Difference, Wanted};
use ringhold::inspect::text::{Json, grouped, message, shown};

use crate::{Out, line, progress, write};

/// What stands in front of an element.
const INDENT: &str = "      ";

/// The exit code: whether there is a difference.
pub fn run(
    paths: [&Path; 2],
    wanted: &Wanted<'_>,
    json: bool,
    options: &Options,
    out: &mut Out<'_>,
) -> Result<i32, Failure> {
    let totals = diff::diff(paths, wanted, options, &mut |difference| {
        if json { line(out, &to_json(difference)) } else { write(out, to_text(difference).as_bytes()) }
    })?;
    progress::clear(&options.watch);
    let [same, added, removed, changed] =
        [totals.same, totals.added, totals.removed, totals.changed].map(grouped);
    if !json {
        eprintln!("{added} added, {removed} removed, {changed} changed, {same} the same");
    }
    for note in &totals.notes {
        eprintln!("ringhold-inspect: {}", message(note));
    }
    Ok(i32::from(totals.differ()))
}

fn to_text(Difference { change, head, detail }: &Difference<'_>) -> String {
    let mut words: Vec<String> = change.words().iter().map(|word| word.to_string()).collect();
    if let (Some(detail), Some(value)) = (detail, words.iter_mut().find(|word| *word == "value")) {
        *value += &counted(detail);
    }
    let what = if words.is_empty() { String::new() } else { format!("  ({})", words.join(", ")) };
    let (sign, db, kind, key) = (change.sign(), head.db, head.type_word(), shown(head.key));
    let mut text = format!("{sign} {db:<3} {kind:<6}  {key}{what}\n");
    let Some(detail) = detail else { return text };
    for element in &detail.shown {
        let name = Some(&element.name).filter(|name| !name.bytes.is_empty()).map(cut);
        let (sign, value) = match (&element.before, &element.after) {
            (Some(before), None) => ("-", cut(before)),
            (None, Some(after)) => ("+", cut(after)),
            (Some(before), Some(after)) => ("~", format!("{} → {}", cut(before), cut(after))),
            (None, None) => continue,
        };
        let parts = [name.unwrap_or_default(), value];
        let parts: Vec<String> = parts.into_iter().filter(|part| !part.is_empty()).collect();
        text += &format!("{INDENT}{sign} {}\n", parts.join("  "));
    }
    let more = (detail.removed + detail.added + detail.changed).saturating_sub(detail.shown.len() as u64);
    if more > 0 {
        text += &format!("{INDENT}… {} more\n", grouped(more));
    }
    text
}

/// How much of a value differs.
fn counted(detail: &Detail) -> String {
    let at = detail.at.map(|at| format!("from byte {}", grouped(at)));
    let lengths = detail.lengths.filter(|[before, after]| before != after);
    let lengths = lengths.map(|both| format!("length {} → {}", grouped(both[0]), grouped(both[1])));
    let counts = [(detail.removed, "removed"), (detail.added, "added"), (detail.changed, "changed")];
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, word)| format!("{} {word}", grouped(*n)));
    let all: Vec<String> = at.into_iter().chain(lengths).chain(counts).collect();
    if all.is_empty() { String::new() } else { format!(": {}", all.join(", ")) }
}

fn cut(text: &Text) -> String {
    shown(&text.bytes) + if text.cut { "…" } else { "" }
}

fn to_json(Difference { change, head, detail }: &Difference<'_>) -> Vec<u8> {
    let mut json = Json::new();
    json.object(|j| {
        j.key("change").text(change.word().as_bytes());
        j.key("db").plain(head.db);
        j.key("type").text(head.type_word().as_bytes());
        j.key("what").array(|j| change.words().iter().for_each(|word| j.text(word.as_bytes())));
        j.key("key").text(head.key);
        let Some(detail) = detail else { return };
        j.key("detail").object(|j| {
            j.key("removed").plain(detail.removed);
            j.key("added").plain(detail.added);
            j.key("changed").plain(detail.changed);
            j.key("at").maybe(detail.at);
            if let Some(lengths) = detail.lengths {
                j.key("lengths").array(|j| lengths.iter().for_each(|length| j.plain(*length)));
            }
            j.key("elements").array(|j| {
                for element in &detail.shown {
                    j.object(|j| {
                        j.key("name").text(&element.name.bytes);
                        let sides = [("before", &element.before), ("after", &element.after)];
                        let is_cut = |text: &Option<Text>| text.as_ref().is_some_and(|text| text.cut);
                        for (word, side) in sides {
                            if let Some(side) = side {
                                j.key(word).text(&side.bytes);
                            }
                        }
                        let cut = element.name.cut || sides.iter().any(|(_, side)| is_cut(side));
                        j.key("cut").plain(cut);
                    });
                }
            });
        });
    });
    json.into_bytes()
}
