//! `rename-command`: what commands are called by clients.
//!
//! A renamed command is found by its new name and executed under its own: the stream, the queue of a transaction, MONITOR
//! and the slow log carry the command's own name, so that a log or a replica needs no configuration to understand it.
//! (Stock Redis propagates the client's spelling, and its documentation warns of it.) Therefore the stream from a primary
//! is never looked up here.

use super::table;
use super::{Command, find};
use crate::resp::args::{Args, OwnedArgs};

/// Names that differ from the table of commands; usually none.
#[derive(Default)]
pub struct Renames(Vec<(Vec<u8>, Option<&'static Command>)>);

impl Renames {
    /// `lines`: command and new name, empty for none; each acts on what those before it left. The error is what an
    /// operator reads.
    pub fn new(lines: &[(Vec<u8>, Vec<u8>)]) -> Result<Renames, String> {
        let mut renames = Renames::default();
        for (old, new) in lines {
            let refused = |why: &str| {
                format!("rename-command {}: {why}", String::from_utf8_lossy(&[&old[..], new].join(&b' ')))
            };
            let row = renames.find(old).ok_or_else(|| refused("No such command in rename-command"))?;
            renames.put(old, None);
            if !new.is_empty() {
                if renames.find(new).is_some() {
                    return Err(refused("Target command name already exists"));
                }
                renames.put(new, Some(row));
            }
        }
        Ok(renames)
    }

    /// What `name` is after renaming: `None` if no line is about it, `Some(None)` if it is no command any more.
    pub fn of(&self, name: &[u8]) -> Option<Option<&'static Command>> {
        self.0.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, row)| *row)
    }

    /// All commands that clients may call, in table order.
    pub fn all(&self) -> Vec<&'static Command> {
        let hidden = |row: &Command| self.of(row.name.as_bytes()).is_some();
        let renamed = |row: &Command| self.0.iter().any(|(_, to)| to.is_some_and(|to| to.id == row.id));
        table::all().filter(|row| !hidden(row) || renamed(row)).collect()
    }

    /// What clients call `name`, in any case.
    pub fn find(&self, name: &[u8]) -> Option<&'static Command> {
        self.of(name).unwrap_or_else(|| find(name))
    }

    fn put(&mut self, name: &[u8], row: Option<&'static Command>) {
        self.0.retain(|(known, _)| !known.eq_ignore_ascii_case(name));
        self.0.push((name.to_vec(), row));
    }
}

/// The same call under the command's own name.
pub fn under_own_name(args: Args<'_>, command: &Command) -> OwnedArgs {
    let mut own = OwnedArgs::from_slices(&[command.name.to_ascii_uppercase().as_bytes()]);
    args.tail(1).iter().for_each(|arg| {
        own.push(arg);
    });
    own
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_act_one_after_another() {
        let check = |text: &str, name: &str, expected: Result<Option<&str>, &str>| {
            let lines: Vec<(Vec<u8>, Vec<u8>)> = text
                .split(", ")
                .filter_map(|line| line.split_once(' '))
                .map(|(old, new)| (old.into(), new.into()))
                .collect();
            let found = Renames::new(&lines).map(|r| r.find(name.as_bytes()).map(|command| command.name));
            match expected {
                Ok(expected) => assert_eq!(found, Ok(expected), "{text}: {name}"),
                Err(expected) => assert!(found.unwrap_err().contains(expected), "{text}"),
            }
        };
        check("FLUSHALL wipe", "WIPE", Ok(Some("flushall")));
        check("FLUSHALL wipe", "flushall", Ok(None));
        check("FLUSHALL wipe", "GET", Ok(Some("get")));
        check("FLUSHALL ", "FLUSHALL", Ok(None));
        check("GET a, SET get, a set", "get", Ok(Some("set")));
        check("GET a, SET get, a set", "set", Ok(Some("get")));
        check("GET a, SET get, a set", "a", Ok(None));
        check("GET set", "GET", Err("rename-command GET set: Target command name already exists"));
        check("GET a, GET b", "GET", Err("No such command in rename-command"));
        check("NOSUCH b", "GET", Err("No such command in rename-command"));
    }
}
