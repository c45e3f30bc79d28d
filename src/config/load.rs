//! From texts to settings: what a start reads, in the order file, standard input, command line; the last word counts.
//!
//! All three go through one [`Loader`], because `save` lines add up across them and because an error must name its place
//! whichever it was. Files are read by the caller ([`Reader`]), so that loading can be tested, and rewriting can load
//! the file once more to see what it says by itself.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};

use super::conf::{self, Line};
use super::nearest::nearest;
use super::row::{DirectiveId, Flags};
use super::scalars::How;
use super::table::Settings;
use super::toml_file;
use crate::resp::glob;

/// The caller's access to files.
pub trait Reader {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>>;
    /// The files of a directory, for `include conf.d/*.conf`.
    fn list(&mut self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// Standard input to its end.
    fn stdin(&mut self) -> io::Result<Vec<u8>>;
}

/// Where a directive stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    File(PathBuf),
    StandardInput,
    CommandLine,
}

/// Why the start stops.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    pub place: Place,
    /// Number (from 1) and text of the line; `None` where the whole file is concerned.
    pub line: Option<(usize, String)>,
    pub what: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "*** FATAL CONFIG FILE ERROR (Ringhold {}) ***", env!("CARGO_PKG_VERSION"))?;
        match (&self.place, &self.line) {
            (Place::File(path), Some((number, _))) => {
                writeln!(f, "Reading the configuration file {}, at line {number}", path.display())?
            }
            (Place::File(path), None) => writeln!(f, "Reading the configuration file {}", path.display())?,
            (Place::StandardInput, Some((number, _))) => {
                writeln!(f, "Reading standard input, at line {number}")?
            }
            (Place::StandardInput, None) => writeln!(f, "Reading standard input")?,
            (Place::CommandLine, _) => writeln!(f, "Reading the command line")?,
        }
        if let Some((_, text)) = &self.line {
            writeln!(f, ">>> '{text}'")?;
        }
        f.write_str(&self.what)
    }
}

impl std::error::Error for ConfigError {}

/// Something to log about an accepted directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice(pub String);

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why a directive is refused: for a reason of its own, or because of a file that it includes.
pub(super) enum Fault {
    Here(String),
    There(ConfigError),
}

impl<T: Into<String>> From<T> for Fault {
    fn from(what: T) -> Fault {
        Fault::Here(what.into())
    }
}

/// Included files may include others, up to this depth.
const DEEPEST_INCLUDE: usize = 16;

pub(super) struct Loader<'a> {
    pub settings: Settings,
    /// `(command, new name)`; an empty new name removes the command.
    pub renamed: Vec<(Vec<u8>, Vec<u8>)>,
    /// The words of each `user` line after `user`.
    pub users: Vec<Vec<Vec<u8>>>,
    pub notices: Vec<Notice>,
    /// Directives set so far.
    pub seen: HashSet<DirectiveId>,
    /// Those of them that an included file has set.
    pub included: HashSet<DirectiveId>,
    noticed: HashSet<Vec<u8>>,
    reader: &'a mut dyn Reader,
    depth: usize,
}

impl<'a> Loader<'a> {
    pub fn new(reader: &'a mut dyn Reader) -> Loader<'a> {
        Loader {
            settings: Settings::default(),
            renamed: Vec::new(),
            users: Vec::new(),
            notices: Vec::new(),
            seen: HashSet::new(),
            included: HashSet::new(),
            noticed: HashSet::new(),
            reader,
            depth: 0,
        }
    }

    /// A whole file, in the syntax that its name says.
    pub fn file(&mut self, path: &Path) -> Result<(), ConfigError> {
        let place = Place::File(path.to_path_buf());
        let text = self.reader.read(path).map_err(|error| ConfigError {
            place: place.clone(),
            line: None,
            what: format!("can't open config file '{}': {error}", path.display()),
        })?;
        if is_toml(path) { toml_file::load(self, &text, &place) } else { self.conf_text(&text, &place) }
    }

    pub fn stdin(&mut self) -> Result<(), ConfigError> {
        let place = Place::StandardInput;
        let text = self.reader.stdin().map_err(|error| ConfigError {
            place: place.clone(),
            line: None,
            what: format!("can't read standard input: {error}"),
        })?;
        self.conf_text(&text, &place)
    }

    pub fn conf_text(&mut self, text: &[u8], place: &Place) -> Result<(), ConfigError> {
        for (number, line) in conf::lines(text) {
            self.conf_line(line).map_err(|fault| at(fault, place, number, line))?;
        }
        Ok(())
    }

    /// One line of `redis.conf` syntax.
    pub fn conf_line(&mut self, line: &[u8]) -> Result<(), Fault> {
        match conf::parse_line(line) {
            Line::Nothing => Ok(()),
            Line::Unbalanced => Err("Unbalanced quotes in configuration line".into()),
            Line::Words(words) => {
                let values: Vec<&[u8]> = words[1..].iter().map(Vec::as_slice).collect();
                self.directive(&words[0], &values)
            }
        }
    }

    /// One directive with its unquoted values.
    pub fn directive(&mut self, name: &[u8], values: &[&[u8]]) -> Result<(), Fault> {
        match DirectiveId::find(name) {
            Some((id, _)) => self.row(id, values),
            None => self.other(&name.to_ascii_lowercase(), values),
        }
    }

    fn row(&mut self, id: DirectiveId, values: &[&[u8]]) -> Result<(), Fault> {
        let row = id.row();
        if !row.flags.contains(Flags::MULTI) && values.len() != 1 {
            return Err("wrong number of arguments".into());
        }
        // A single text with blanks in it stands for several words: --save "900 1 300 10".
        let split = match values {
            [one] if row.flags.contains(Flags::MULTI) && !one.is_empty() => {
                Some(conf::words(one).ok_or("Unbalanced quotes in configuration line")?)
            }
            _ => None,
        };
        let split: Option<Vec<&[u8]>> = split.as_ref().map(|words| words.iter().map(Vec::as_slice).collect());
        let how = if self.seen.contains(&id) { How::Append } else { How::Replace };
        let words = split.as_deref().unwrap_or(values);
        match ((row.write)(&mut self.settings).set(words, how, &row.spec), &row.spec) {
            (Ok(()), _) => {}
            // A file that asks for it is no reason not to start; CONFIG SET says that it cannot be had.
            (Err(_), super::row::Spec::Never(why)) => {
                self.notice(row.name.as_bytes(), &format!("is without effect: {why}"))
            }
            (Err(refusal), _) => return Err(refusal.into_owned().into()),
        }
        self.seen.insert(id);
        if self.depth > 0 {
            self.included.insert(id);
        }
        Ok(())
    }

    /// What only a configuration file may say.
    fn other(&mut self, name: &[u8], values: &[&[u8]]) -> Result<(), Fault> {
        match (name, values) {
            (b"include", [pattern]) => self.include(pattern),
            (b"rename-command", [command, new]) => {
                self.renamed.push((command.to_vec(), new.to_vec()));
                Ok(())
            }
            (b"user", [_, ..]) => {
                self.users.push(values.iter().map(|word| word.to_vec()).collect());
                Ok(())
            }
            (b"loadmodule", [module, ..]) => Err(format!(
                "Ringhold loads no modules: remove this line ('{}')",
                String::from_utf8_lossy(module)
            )
            .into()),
            (b"sentinel", _) => Err("sentinel directive while not in sentinel mode".into()),
            (b"list-max-ziplist-entries" | b"list-max-ziplist-value" | b"lua-replicate-commands", [_]) => {
                self.notice(name, "is accepted, but has had no effect for several versions of Redis");
                Ok(())
            }
            _ => Err(unknown(name)),
        }
    }

    /// Says which of the directives set change nothing: a line for all of a kind, since redis.conf sets dozens.
    pub fn note_idle(&mut self) {
        let kinds = [
            (Flags::INERT, "Accepted, but without effect in Ringhold"),
            (Flags::LATER, "Accepted, but without effect until Ringhold has what they are for"),
        ];
        for (flag, what) in kinds {
            let idle =
                DirectiveId::all().filter(|id| self.seen.contains(id) && id.row().flags.contains(flag));
            let names: Vec<&str> = idle.map(DirectiveId::name).collect();
            if !names.is_empty() {
                self.notices.push(Notice(format!("{what}: {}", names.join(", "))));
            }
        }
    }

    fn include(&mut self, pattern: &[u8]) -> Result<(), Fault> {
        if self.depth == DEEPEST_INCLUDE {
            return Err("include: files include each other too deeply".into());
        }
        let path =
            PathBuf::from(std::str::from_utf8(pattern).map_err(|_| "include: path is not valid UTF-8")?);
        let files =
            if pattern.iter().any(|byte| b"*?[".contains(byte)) { self.matching(&path) } else { vec![path] };
        self.depth += 1;
        let result = files.iter().try_for_each(|file| self.file(file));
        self.depth -= 1;
        result.map_err(Fault::There)
    }

    /// The files whose name fits the pattern's last part, sorted; none if the directory cannot be listed.
    fn matching(&mut self, pattern: &Path) -> Vec<PathBuf> {
        let directory = match pattern.parent() {
            Some(parent) if parent != Path::new("") => parent,
            _ => Path::new("."),
        };
        let wanted = pattern.file_name().unwrap_or_default().as_encoded_bytes();
        let mut files = self.reader.list(directory).unwrap_or_default();
        files.retain(|file| {
            let name = file.file_name().unwrap_or_default().as_encoded_bytes();
            glob::matches(wanted, name, false) && (wanted.starts_with(b".") || !name.starts_with(b"."))
        });
        files.sort();
        files
    }

    fn notice(&mut self, name: &[u8], what: &str) {
        if self.noticed.insert(name.to_vec()) {
            self.notices.push(Notice(format!("'{}' {what}", String::from_utf8_lossy(name))));
        }
    }
}

pub(super) fn is_toml(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("toml"))
}

/// A fault with its place.
pub(super) fn at(fault: Fault, place: &Place, number: usize, line: &[u8]) -> ConfigError {
    match fault {
        Fault::There(error) => error,
        Fault::Here(what) => ConfigError {
            place: place.clone(),
            line: Some((number, String::from_utf8_lossy(line).into_owned())),
            what,
        },
    }
}

/// Redis' words for an unknown directive, then ours.
pub(super) fn unknown(name: &[u8]) -> Fault {
    const OTHERS: [&str; 4] = ["include", "rename-command", "user", "aclfile"];
    let name = String::from_utf8_lossy(name);
    let known = DirectiveId::all().flat_map(|id| id.row().names()).chain(OTHERS);
    let hint = match nearest(&name, known) {
        Some(known) if known == name => format!("'{name}' takes other arguments"),
        Some(known) => format!("'{name}' is not known; did you mean '{known}'?"),
        None => format!("'{name}' is not known"),
    };
    format!("Bad directive or wrong number of arguments: {hint}").into()
}

/// What follows from other values once all words are taken; `base` is what a relative `dir` counts from.
pub(super) fn settle(settings: &mut Settings, base: &Path) {
    settings.hz = settings.hz.clamp(1, 500);
    let joined = base.join(&settings.dir);
    settings.dir = joined.components().filter(|part| *part != Component::CurDir).collect();
}
