//! The settings of a server: one table of directives, and everything that acts on it.
//!
//! [`table`] says what there is: a row per directive with its names, type, default and limits. Starting (file, standard
//! input, command line), CONFIG GET, CONFIG SET, CONFIG REWRITE and the defaults are each one function over those rows;
//! none of them knows a directive by name. Pure: the caller reads and writes files and acts on changes.
//!
//! What always holds: a [`Settings`] has only values that its rows allow, and a refused CONFIG SET leaves it untouched.

mod args;
mod checks;
mod conf;
#[cfg(test)]
mod file_tests;
mod lists;
mod load;
mod nearest;
mod rewrite;
mod row;
mod scalars;
mod table;
#[cfg(test)]
mod tests;
mod toml_file;
mod users;
mod words;

use std::path::{Path, PathBuf};

pub use args::{Start, StartArgs, parse_start_args};
pub use checks::names_differ;
pub use lists::{
    ClientMemory, ClientOutputBufferLimits, FileMode, KeyspaceEvents, OomScores, OutputLimit, Percentiles,
    ReplicaOf, SavePoint, SavePoints, ShutdownFlags,
};
pub use load::{ConfigError, Notice, Place, Reader};
pub use row::{DirectiveId, Flags, Row};
pub use scalars::{Secret, Word};
pub use table::{ROWS, Settings};
pub use words::{
    AclPubsubDefault, Allow, AppendFsync, BetterReplica, DisklessLoad, LogLevel, MaxmemoryPolicy,
    OomScoreAdj, Sanitize,
};

use crate::error::ReplyError;
use crate::resp::glob;
use load::{Loader, settle};
use scalars::How;

/// The settings in force, and where they came from.
#[derive(Clone, Debug, Default)]
pub struct Config {
    pub settings: Settings,
    /// The configuration file (absolute); `None` if the server runs without one.
    pub file: Option<PathBuf>,
    /// `rename-command` lines: command and new name, empty for none.
    pub renamed: Vec<(Vec<u8>, Vec<u8>)>,
    /// `user` lines that `requirepass` cannot say, each as the words after `user`.
    pub users: Vec<Vec<Vec<u8>>>,
    working_directory: PathBuf,
}

/// Who asks for a change, and when.
#[derive(Clone, Copy, Debug)]
pub struct SetContext {
    /// The client is on this machine.
    pub local: bool,
    /// A dataset is being loaded.
    pub loading: bool,
}

/// A CONFIG SET that was accepted: which rows now have another value, and how to take it back.
#[derive(Clone, Debug)]
pub struct Change {
    pub changed: Vec<DirectiveId>,
    before: Box<Settings>,
    after: Box<Settings>,
}

impl Change {
    pub fn before(&self) -> &Settings {
        &self.before
    }

    /// These are the settings that it led to.
    pub fn came_to(&mut self, settings: &Settings) {
        *self.after = settings.clone();
    }

    pub fn names(&self, directive: &str) -> bool {
        self.changed.iter().any(|id| id.name() == directive)
    }
}

impl Config {
    /// Reads what the command line names. Relative paths count from the working directory given there.
    pub fn load(args: &StartArgs, reader: &mut dyn Reader) -> Result<(Config, Vec<Notice>), ConfigError> {
        let mut loader = Loader::new(reader);
        let file = args.config.as_ref().map(|path| args.working_directory.join(path));
        if let Some(file) = &file {
            loader.file(file)?;
        }
        if args.stdin {
            loader.stdin()?;
        }
        loader.conf_text(&args.options, &Place::CommandLine)?;
        loader.note_idle();
        let Loader { mut settings, renamed, mut users, notices, .. } = loader;
        settle(&mut settings, &args.working_directory);
        users::absorb(&mut settings, &mut users);
        let working_directory = args.working_directory.clone();
        Ok((Config { settings, file, renamed, users, working_directory }, notices))
    }

    /// CONFIG GET: names and values that match any of the patterns, each name once. A pattern without wildcards gives
    /// the name as the client spelt it, and only such a one finds a hidden directive.
    pub fn get<'a>(&self, patterns: impl IntoIterator<Item = &'a [u8]>) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut found: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        let mut add = |name: &[u8], row: &Row| {
            if !found.iter().any(|(known, _)| known.eq_ignore_ascii_case(name)) {
                found.push((name.to_vec(), row.show(&self.settings)));
            }
        };
        for pattern in patterns {
            if !pattern.iter().any(|byte| b"[*?".contains(byte)) {
                if let Some((id, _)) = DirectiveId::find(pattern) {
                    add(pattern, id.row());
                }
                continue;
            }
            for row in ROWS.iter().filter(|row| !row.flags.contains(Flags::HIDDEN)) {
                for name in row.names().filter(|name| glob::matches(pattern, name.as_bytes(), true)) {
                    add(name.as_bytes(), row);
                }
            }
        }
        found
    }

    /// CONFIG SET of all pairs or, with an error, of none. The caller then acts on what changed; where that fails it
    /// calls [`Config::undo`] and answers with [`apply_failed`].
    pub fn set(&mut self, pairs: &[(&[u8], &[u8])], context: SetContext) -> Result<Change, ReplyError> {
        let mut targets: Vec<(DirectiveId, &'static str)> = Vec::with_capacity(pairs.len());
        for (name, _) in pairs {
            let target = self.settable(name, context)?;
            if targets.iter().any(|(_, spelling)| *spelling == target.1) {
                return Err(set_failed(name, "duplicate parameter"));
            }
            targets.push(target);
        }
        let mut after = self.settings.clone();
        for ((id, spelling), (_, value)) in targets.iter().zip(pairs) {
            let row = id.row();
            let words: Vec<&[u8]> = match row.flags.contains(Flags::MULTI) {
                true if value.is_empty() => Vec::new(),
                true => value.split(|byte| *byte == b' ').collect(),
                false => vec![value],
            };
            (row.write)(&mut after)
                .set(&words, How::Replace, &row.spec)
                .map_err(|why| set_failed(spelling.as_bytes(), &why))?;
        }
        settle(&mut after, &self.settings.dir);
        let changed = DirectiveId::all().filter(|id| id.differs(&self.settings, &after)).collect();
        let before = Box::new(std::mem::replace(&mut self.settings, after.clone()));
        Ok(Change { changed, before, after: Box::new(after) })
    }

    /// Takes an accepted change back, because acting on it failed. What others have changed since stays.
    pub fn undo(&mut self, change: &Change) {
        for id in &change.changed {
            if !id.differs(&self.settings, &change.after) {
                id.row().copy(&change.before, &mut self.settings);
            }
        }
    }

    /// CONFIG REWRITE: path and new text of the configuration file, which the caller replaces durably; `None` if the
    /// server runs without one. With `all`, every directive is written (`DEBUG CONFIG-REWRITE-FORCE-ALL`).
    pub fn rewrite(
        &self,
        reader: &mut dyn Reader,
        all: bool,
    ) -> Result<Option<(PathBuf, Vec<u8>)>, ConfigError> {
        let Some(path) = &self.file else { return Ok(None) };
        let text = rewrite::rewrite(&self.settings, path, &self.working_directory, reader, all)?;
        Ok(Some((path.clone(), text)))
    }

    fn settable(&self, name: &[u8], context: SetContext) -> Result<(DirectiveId, &'static str), ReplyError> {
        let Some((id, spelling)) = DirectiveId::find(name) else {
            let name = String::from_utf8_lossy(name);
            let text = format!("ERR Unknown option or number of arguments for CONFIG SET - '{name}'");
            return Err(text.into());
        };
        let flags = id.row().flags;
        if flags.contains(Flags::IMMUTABLE) {
            return Err(set_failed(name, "can't set immutable config"));
        }
        if flags.contains(Flags::PROTECTED) && !self.settings.enable_protected_configs.allows(context.local) {
            return Err(set_failed(name, "can't set protected config"));
        }
        if flags.contains(Flags::DENY_LOADING) && context.loading {
            return Err(ReplyError::new("LOADING Redis is loading the dataset in memory"));
        }
        Ok((id, spelling))
    }

    /// The directory that relative paths of the configuration count from.
    pub fn working_directory(&self) -> &Path {
        &self.working_directory
    }
}

/// The reply to a CONFIG SET whose value was fine but could not be put in force.
pub fn apply_failed(id: DirectiveId, why: &str) -> ReplyError {
    set_failed(id.name().as_bytes(), why)
}

fn set_failed(name: &[u8], why: &str) -> ReplyError {
    let name = String::from_utf8_lossy(name);
    format!("ERR CONFIG SET failed (possibly related to argument '{name}') - {why}").into()
}
