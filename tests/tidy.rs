//! Style as a test: what can be checked by reading the tree is checked here, so that review is left for ideas.
//!
//! Every check is a pure function from text to complaints; one test per rule walks the tree and prints all its
//! complaints at once. Rust is not parsed but *blanked* ([`blank`]): comments and the inside of literals become
//! spaces, line by line, and what remains is plain enough for braces, words and paths to be found by scanning.
//! A full parser (`syn`) was rejected: it costs more build time than all these rules are worth.
//!
//! Limits are a ratchet. What exceeds one stands in a table with its present size: larger fails, and smaller
//! fails too until the table says so; an entry that is no longer needed fails. The tables may only shrink.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Lines a file, lines a function. The aim is 700 and 70; `cargo test --test tidy -- --nocapture` lists what is above.
const FILE_LIMIT: usize = 900;
const FUNCTION_LIMIT: usize = 110;
const FILE_AIM: usize = 700;
const FUNCTION_AIM: usize = 70;

/// (file, lines)
const LONG_FILES: &[(&str, usize)] = &[];
/// (file, function, lines)
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// (file, module above it that it names all the same, why)
const LAYER_EXCEPTIONS: &[(&str, &str, &str)] =
    &[("src/commands/table.rs", "types", "the index gathers every table")];

const IMPURE: &[&str] = &[
    "tokio",
    "std::fs",
    "std::net",
    "std::os",
    "std::process",
    "std::thread",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::time::UNIX_EPOCH",
];

/// The only places for `unsafe`: the file mapping, faults in it, and the allocator hook.
const UNSAFE_ALLOWED: &[&str] = &["src/disk/fault.rs", "src/disk/mmap.rs", "src/server/alloc.rs"];

#[test]
fn every_file_opens_with_its_idea() {
    report(
        rust_files()
            .iter()
            .filter(|f| !f.text.starts_with("//! "))
            .map(|f| format!("{}: no `//!` head", f.name)),
    );
}

#[test]
fn files_stay_short() {
    let sizes: Vec<(String, usize)> =
        rust_files().into_iter().map(|f| (f.name, f.text.lines().count())).collect();
    note_above_aim(&sizes, FILE_AIM);
    let listed: Vec<(String, usize)> = LONG_FILES.iter().map(|(name, n)| (name.to_string(), *n)).collect();
    report(ratchet(&sizes, &listed, FILE_LIMIT));
}

#[test]
fn functions_stay_short() {
    let sizes: Vec<(String, usize)> = rust_files()
        .iter()
        .flat_map(|f| {
            functions(&blank(&f.text)).into_iter().map(|(name, n)| (format!("{} {name}", f.name), n))
        })
        .collect();
    note_above_aim(&sizes, FUNCTION_AIM);
    let listed: Vec<(String, usize)> =
        LONG_FUNCTIONS.iter().map(|(file, name, n)| (format!("{file} {name}"), *n)).collect();
    report(ratchet(&sizes, &listed, FUNCTION_LIMIT));
}

#[test]
fn layers_hold() {
    let layers = layers(&read("src/lib.rs"));
    report(rust_files().iter().filter(|f| is_product(f)).flat_map(|f| {
        let module = top_module(&f.name);
        let Some(layer) = layers.iter().find(|l| l.name == module) else {
            return Vec::new(); // lib.rs and main.rs stand above all layers
        };
        let mut allowed = reach(&layers, module);
        allowed.extend(LAYER_EXCEPTIONS.iter().filter(|e| e.0 == f.name).map(|e| e.1));
        let code = without_tests(&blank(&f.text));
        layer_complaints(&code, &allowed, layer.pure).into_iter().map(|c| format!("{}{c}", f.name)).collect()
    }));
}

#[test]
fn the_code_map_names_every_module() {
    let lib = read("src/lib.rs");
    let declared: BTreeSet<&str> =
        lib.lines().filter_map(|l| l.strip_prefix("pub mod ")?.strip_suffix(';')).collect();
    let layers = layers(&lib);
    let mapped: BTreeSet<&str> = layers.iter().map(|l| l.name.as_str()).collect();
    assert_eq!(declared, mapped, "modules of src/lib.rs and rows of its code map");
    for word in layers.iter().flat_map(|l| &l.may_use) {
        assert!(mapped.contains(word.as_str()), "the code map lets a module use `{word}`, which is none");
    }
}

#[test]
fn unsafe_stays_where_it_is_argued() {
    report(rust_files().iter().filter(|f| !UNSAFE_ALLOWED.contains(&f.name.as_str())).flat_map(|f| {
        words(&blank(&f.text), "unsafe")
            .into_iter()
            .map(|l| format!("{}:{l}: `unsafe`", f.name))
            .collect::<Vec<_>>()
    }));
}

#[test]
fn only_disk_renames() {
    report(rust_files().iter().filter(|f| is_product(f) && !f.name.starts_with("src/disk")).flat_map(|f| {
        let code = without_tests(&blank(&f.text));
        let found = paths(&code).into_iter().filter(|(_, p)| p.contains("fs::rename"));
        found.map(|(l, p)| format!("{}:{l}: `{p}` outside src/disk", f.name)).collect::<Vec<_>>()
    }));
}

#[test]
fn nothing_is_left_undone() {
    report(rust_files().iter().flat_map(|f| {
        let code = blank(&f.text);
        let found = ["todo", "unimplemented", "dbg"].into_iter().flat_map(|word| {
            let lines: Vec<&str> = code.lines().collect();
            let is_macro = |l: &usize| lines[l - 1].contains(&format!("{word}!"));
            words(&code, word)
                .into_iter()
                .filter(is_macro)
                .map(|l| format!("{}:{l}: `{word}!`", f.name))
                .collect::<Vec<_>>()
        });
        found.collect::<Vec<_>>()
    }));
}

#[test]
fn no_machine_paths() {
    // Spelt in halves, since this file is read too.
    let banned =
        [concat!("/tmp", "/wt"), concat!("/wo", "rk/"), concat!("/tmp", "/tools"), concat!("/tmp", "/ref")];
    report(all_text_files().iter().flat_map(|f| {
        let lines = f.text.lines().enumerate();
        let bad = lines.filter(|(_, line)| banned.iter().any(|b| line.contains(b)));
        bad.map(|(i, line)| format!("{}:{}: {}", f.name, i + 1, line.trim())).collect::<Vec<_>>()
    }));
}

#[test]
fn readme_code_map_exists() {
    let Ok(readme) = std::fs::read_to_string(root().join("README.md")) else { return };
    report(
        code_map(&readme)
            .into_iter()
            .filter(|p| !root().join(p).exists())
            .map(|p| format!("README.md: no {p}")),
    );
}

#[test]
fn markdown_links_resolve() {
    report(all_text_files().iter().filter(|f| f.name.ends_with(".md")).flat_map(|f| {
        let dir = root().join(&f.name).parent().map(Path::to_path_buf).unwrap_or_default();
        let dead = relative_links(&f.text).into_iter().filter(|(_, target)| !dir.join(target).exists());
        dead.map(|(l, target)| format!("{}:{l}: {target}", f.name)).collect::<Vec<_>>()
    }));
}

// ---- the rules as pure functions ----

/// Sizes against a limit and the table of exceptions.
fn ratchet(sizes: &[(String, usize)], listed: &[(String, usize)], limit: usize) -> Vec<String> {
    let mut complaints = Vec::new();
    for (name, size) in sizes {
        match listed.iter().find(|(listed, _)| listed == name) {
            None if *size > limit => complaints.push(format!("{name}: {size} lines, at most {limit}")),
            Some((_, was)) if size > was => {
                complaints.push(format!("{name}: grew from {was} to {size} lines"))
            }
            Some((_, was)) if size < was => {
                complaints.push(format!("{name}: {size} lines now, table says {was}"))
            }
            _ => {}
        }
    }
    for (name, size) in listed {
        if *size <= limit || !sizes.iter().any(|(s, _)| s == name) {
            complaints.push(format!("{name}: needs no exception any more"));
        }
    }
    complaints
}

/// A row of the code map in `src/lib.rs`, which is the layer rule.
struct Layer {
    name: String,
    may_use: Vec<String>,
    pure: bool,
}

/// Rows `| [`name`], … | what | may use |`, lowest first. `all` and `all above` mean every row before; a remark in
/// parentheses is not a module. The rule below the table says that all down to `engine` is pure.
fn layers(lib: &str) -> Vec<Layer> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut pure = true;
    for line in lib.lines().filter(|l| l.starts_with("//! | [`")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let names: Vec<String> = cells[1].split('`').skip(1).step_by(2).map(str::to_string).collect();
        let uses = cells[3].split('(').next().unwrap_or("").split(',').map(str::trim);
        let mut may_use: Vec<String> =
            uses.filter(|u| u.starts_with(char::is_alphabetic)).map(str::to_string).collect();
        if may_use.iter().any(|u| u.starts_with("all")) {
            may_use = layers.iter().map(|l| l.name.clone()).collect();
        }
        let is_engine = names.iter().any(|n| n == "engine");
        for name in &names {
            let beside = names.iter().filter(|n| *n != name);
            let may_use = may_use.iter().chain(beside).cloned().collect();
            layers.push(Layer { name: name.clone(), may_use, pure });
        }
        pure &= !is_engine;
    }
    layers
}

/// `:LINE: complaint` for each path that leaves its layer.
fn layer_complaints(code: &str, allowed: &BTreeSet<&str>, pure: bool) -> Vec<String> {
    let mut complaints = Vec::new();
    for (line, path) in paths(code) {
        if let Some(rest) = path.strip_prefix("crate::") {
            let target = rest.split("::").next().unwrap_or(rest);
            if target.starts_with(char::is_lowercase) && !allowed.contains(target) {
                complaints.push(format!(":{line}: `{path}` is not below this layer"));
            }
        }
        let hit = IMPURE.iter().find(|p| path == **p || path.starts_with(&format!("{p}::")));
        if let (true, Some(hit)) = (pure, hit) {
            complaints.push(format!(":{line}: `{hit}` in a pure module"));
        }
    }
    complaints
}

/// A module and everything it may use, directly or through another.
fn reach<'a>(layers: &'a [Layer], module: &'a str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::from([module]);
    let mut open = vec![module];
    while let Some(next) = open.pop() {
        for used in layers.iter().filter(|l| l.name == next).flat_map(|l| &l.may_use) {
            if seen.insert(used) {
                open.push(used);
            }
        }
    }
    seen
}

fn top_module(name: &str) -> &str {
    let rest = name.strip_prefix("src/").unwrap_or(name);
    rest.split('/').next().unwrap_or(rest).trim_end_matches(".rs")
}

/// Directories and files named in backticks in README's code map section, up to the next heading.
fn code_map(readme: &str) -> Vec<String> {
    let is_heading = |l: &&str| l.starts_with('#');
    let body =
        readme.lines().skip_while(|l| !(is_heading(l) && l.to_lowercase().contains("code map"))).skip(1);
    let body: Vec<&str> = body.take_while(|l| !is_heading(l)).collect();
    let spans = body.iter().flat_map(|l| l.split('`').skip(1).step_by(2));
    spans.filter(|s| s.contains('/') && !s.contains([' ', '*', '<', ':'])).map(str::to_string).collect()
}

/// (line, target) of each relative link outside fenced blocks, without its anchor.
fn relative_links(text: &str) -> Vec<(usize, String)> {
    let mut links = Vec::new();
    let mut fenced = false;
    for (i, line) in text.lines().enumerate() {
        fenced ^= line.trim_start().starts_with("```");
        if fenced {
            continue;
        }
        for after in line.split("](").skip(1) {
            let target = after.split([')', ' ', '#']).next().unwrap_or("");
            if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
                links.push((i + 1, target.to_string()));
            }
        }
    }
    links
}

// ---- reading Rust without parsing it ----

/// The same text with comments and the inside of string and character literals replaced by spaces; newlines stay.
fn blank(text: &str) -> String {
    let src: Vec<char> = text.chars().collect();
    let mut out = String::with_capacity(text.len());
    let mut i = 0;
    while i < src.len() {
        let end = literal_end(&src, i);
        if end == i {
            out.push(src[i]);
            i += 1;
        } else {
            out.extend(src[i..end].iter().map(|&c| if c == '\n' { '\n' } else { ' ' }));
            i = end;
        }
    }
    out
}

/// Where the comment or literal that starts at `i` ends; `i` itself if none starts there.
fn literal_end(src: &[char], i: usize) -> usize {
    let at = |k: usize| src.get(k).copied().unwrap_or('\0');
    match (at(i), at(i + 1)) {
        ('/', '/') => (i..src.len()).find(|&k| src[k] == '\n').unwrap_or(src.len()),
        ('/', '*') => block_comment_end(src, i),
        ('"', _) => quoted_end(src, i + 1, '"'),
        ('r', '"' | '#') if i == 0 || !is_word(at(i - 1)) || matches!(at(i - 1), 'b' | 'c') => {
            raw_string_end(src, i)
        }
        ('\'', '\\') => quoted_end(src, i + 1, '\''),
        ('\'', _) if at(i + 2) == '\'' => i + 3,
        _ => i,
    }
}

fn block_comment_end(src: &[char], start: usize) -> usize {
    let (mut k, mut depth) = (start, 0);
    while k + 1 < src.len() {
        match (src[k], src[k + 1]) {
            ('/', '*') => (depth, k) = (depth + 1, k + 2),
            ('*', '/') if depth == 1 => return k + 2,
            ('*', '/') => (depth, k) = (depth - 1, k + 2),
            _ => k += 1,
        }
    }
    src.len()
}

fn quoted_end(src: &[char], mut k: usize, quote: char) -> usize {
    while k < src.len() && src[k] != quote {
        k += if src[k] == '\\' { 2 } else { 1 };
    }
    (k + 1).min(src.len())
}

fn raw_string_end(src: &[char], start: usize) -> usize {
    let hashes = src[start + 1..].iter().take_while(|c| **c == '#').count();
    let open = start + 1 + hashes;
    if src.get(open) != Some(&'"') {
        return start; // r#ident
    }
    let closes = |k: &usize| {
        src[*k] == '"' && src[k + 1..].iter().take(hashes).filter(|c| **c == '#').count() == hashes
    };
    (open + 1..src.len()).find(closes).map_or(src.len(), |k| k + 1 + hashes)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Lines (from one) on which `word` stands as a whole word.
fn words(code: &str, word: &str) -> Vec<usize> {
    let hits = |line: &str| line.split(|c: char| !is_word(c)).any(|w| w == word);
    code.lines().enumerate().filter(|(_, l)| hits(l)).map(|(i, _)| i + 1).collect()
}

/// (name, lines) of each function with a body.
fn functions(code: &str) -> Vec<(String, usize)> {
    let mut found = Vec::new();
    for (at, _) in code.match_indices("fn ") {
        let name: String = code[at + 3..].chars().take_while(|c| is_word(*c)).collect();
        if name.is_empty() || code[..at].chars().next_back().is_some_and(is_word) {
            continue;
        }
        let mut depth = 0;
        let open = code[at..].find(|c: char| {
            depth += i32::from(matches!(c, '(' | '[')) - i32::from(matches!(c, ')' | ']'));
            depth == 0 && matches!(c, '{' | ';')
        });
        let Some(open) = open.map(|o| at + o).filter(|o| code[*o..].starts_with('{')) else { continue };
        let body = &code[at..brace_end(code, open)];
        found.push((name, body.matches('\n').count() + 1));
    }
    found
}

/// The byte after the brace that closes the one at `open`.
fn brace_end(code: &str, open: usize) -> usize {
    let mut depth = 0;
    for (k, c) in code[open..].char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 {
            return open + k + 1;
        }
    }
    code.len()
}

/// Blanked code with its `#[cfg(test)]` modules blanked as well; tests may reach anywhere.
fn without_tests(code: &str) -> String {
    let mut out = code.to_string();
    while let Some(at) = out.find("#[cfg(test)]") {
        let open = out[at..].find(['{', ';']).map_or(out.len(), |o| at + o);
        let end =
            if out[open..].starts_with('{') { brace_end(&out, open) } else { (open + 1).min(out.len()) };
        let gone: String = out[at..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
        out.replace_range(at..end, &gone);
    }
    out
}

/// (line, path) of every `a::b::c`, with `use` groups expanded.
fn paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(c) = code[at..].chars().next() {
        let starts = is_word(c) && !code[..at].chars().next_back().is_some_and(is_word);
        at = if starts { path_at(code, at, "", &mut found) } else { at + c.len_utf8() };
    }
    found
}

/// Reads one path (or a group's member) at `at` and returns where it ends.
fn path_at(code: &str, mut at: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let start = at;
    let mut path = prefix.to_string();
    loop {
        let word: &str = &code[at..at + code[at..].find(|c: char| !is_word(c)).unwrap_or(code.len() - at)];
        path.push_str(word);
        at += word.len();
        if !code[at..].starts_with("::") {
            break;
        }
        path.push_str("::");
        at += 2;
        if code[at..].starts_with('{') {
            return group_at(code, at, &path, found);
        }
        if !code[at..].starts_with(is_word) {
            break; // a glob or a turbofish
        }
    }
    if path.contains("::") || !prefix.is_empty() {
        found.push((code[..start].matches('\n').count() + 1, path));
    }
    at
}

fn group_at(code: &str, open: usize, prefix: &str, found: &mut Vec<(usize, String)>) -> usize {
    let mut at = open + 1;
    while let Some(c) = code[at..].chars().next() {
        match c {
            '}' => return at + 1,
            c if is_word(c) => at = path_at(code, at, prefix, found),
            _ => at += c.len_utf8(),
        }
    }
    at
}

// ---- the tree ----

struct File {
    /// Relative to the root, with `/`.
    name: String,
    text: String,
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|e| panic!("{name}: {e}"))
}

fn rust_files() -> Vec<File> {
    let is_code =
        |f: &File| ["src/", "tests/", "tools/", "benches/"].iter().any(|dir| f.name.starts_with(dir));
    all_text_files().into_iter().filter(|f| f.name.ends_with(".rs") && is_code(f)).collect()
}

/// Code of the product itself; a file `tests.rs` is a test module.
fn is_product(f: &File) -> bool {
    f.name.starts_with("src/") && !f.name.ends_with("/tests.rs")
}

/// Everything in the tree that is UTF-8, without build output, version control and the contents of `data/`.
fn all_text_files() -> Vec<File> {
    let mut names = Vec::new();
    walk(&root(), "", &mut names);
    names.sort();
    let read = |name: String| Some(File { text: std::fs::read_to_string(root().join(&name)).ok()?, name });
    names.into_iter().filter_map(read).collect()
}

fn walk(dir: &Path, prefix: &str, names: &mut Vec<String>) {
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    for entry in entries.flatten() {
        let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
        let is_dir = entry.file_type().is_ok_and(|t| t.is_dir());
        match (is_dir, name.as_str()) {
            (_, "target" | ".git") => {}
            (true, _) => walk(&entry.path(), &format!("{name}/"), names),
            (false, _) if prefix == "data/" && !name.ends_with(".md") => {}
            (false, _) => names.push(name),
        }
    }
}

fn note_above_aim(sizes: &[(String, usize)], aim: usize) {
    for (name, size) in sizes.iter().filter(|(_, size)| *size > aim) {
        println!("above the aim of {aim}: {name}: {size} lines");
    }
}

fn report(complaints: impl IntoIterator<Item = String>) {
    let mut text = String::new();
    for complaint in complaints {
        let _ = writeln!(text, "  {complaint}");
    }
    assert!(text.is_empty(), "\n{text}");
}

// ---- tests of the rules ----

#[test]
fn blanking_keeps_code_and_lines() {
    let check = |text: &str, expected: &str| assert_eq!(blank(text).trim_end(), expected, "{text}");
    check("a // b {\nc", "a       \nc");
    check("x(\"{\\\"\", '{', '\\'', 'a)", "x(     ,    ,     , 'a)");
    check("/* a /* b */ c */d", "                 d");
    check("r#\"} \"# r#fn", "        r#fn");
    check("br\"}\"", "b");
}

#[test]
fn functions_are_measured() {
    let check = |text: &str, expected: &[(&str, usize)]| {
        let expected: Vec<(String, usize)> = expected.iter().map(|(n, l)| (n.to_string(), *l)).collect();
        assert_eq!(functions(&blank(text)), expected, "{text}");
    };
    check("fn a() { 1 }", &[("a", 1)]);
    check("pub const fn a(\n  x: [u8; 3],\n) -> B {\n  if x { \"}\" }\n}\nfn b() {}", &[("a", 5), ("b", 1)]);
    check("trait T { fn a(); }\ntype F = fn (u8);", &[]);
    check("fn a() {\nfn b() {\n}\n}", &[("a", 4), ("b", 2)]);
}

#[test]
fn layer_breaches_are_found() {
    let map = "//! | [`units`], [`error`] | x | – |\n//! | [`format`] | x | units, error (text) |\n\
               //! | [`store`] | x | format |\n//! | [`engine`] | x | all above |\n//! | [`server`] | x | all |";
    let layers = layers(map);
    assert_eq!(layers.iter().map(|l| l.pure).collect::<Vec<_>>(), [true, true, true, true, true, false]);
    assert_eq!(reach(&layers, "server").len(), 6);
    let check = |code: &str, expected: usize| {
        let found = layer_complaints(&without_tests(&blank(code)), &reach(&layers, "store"), true);
        assert_eq!(found.len(), expected, "{code}");
    };
    check("use crate::format::rdb;\nuse crate::units::{Offset, ReplId};", 0);
    check("use crate::{format, engine::node, units::Offset};", 1);
    check("fn f() { crate::server::run() }", 1);
    check("use std::{fs, time::{Duration, Instant}};", 2);
    check("use std::time::Duration; use std::fmt;", 0);
    check("use tokio::net::TcpStream;", 1);
    check("#[cfg(test)]\nmod tests { use std::fs; }", 0);
    check("// std::fs\nlet x = \"std::fs\";", 0);
}

#[test]
fn the_ratchet_only_shrinks() {
    let check = |size: usize, listed: &[usize], expected: usize| {
        let listed: Vec<(String, usize)> = listed.iter().map(|n| ("f".to_string(), *n)).collect();
        assert_eq!(ratchet(&[("f".to_string(), size)], &listed, 10).len(), expected, "{size} {listed:?}");
    };
    check(10, &[], 0);
    check(11, &[], 1);
    check(12, &[12], 0);
    check(13, &[12], 1);
    check(11, &[12], 1);
    check(9, &[9], 1);
}

#[test]
fn links_and_code_maps_are_read() {
    let text = "[a](x.md#h) [b](https://x) [c](#y)\n```\n[d](no.md)\n```\n![e](dir/p.png \"t\")";
    assert_eq!(relative_links(text), [(1, "x.md".to_string()), (5, "dir/p.png".to_string())]);
    let readme = "# A\n`no/`\n## Code map\n- `src/store/` and `cargo run`\n## Next\n`no/`";
    assert_eq!(code_map(readme), ["src/store/"]);
}
