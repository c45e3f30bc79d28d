//! Checks of text values that a row names. The errors are Redis' texts.

use super::Settings;

pub const NO_DEFRAG: &str =
    "Active defragmentation cannot be enabled: the allocator of this server has no support for it";

/// What the server calls files of its own in `dir`; names that begin like this are taken.
const KEPT_NAMES: [&str; 3] = ["replication.toml", "backlog.ring", "ringhold.lock"];

pub fn dbfilename(name: &str) -> Result<(), &'static str> {
    match name {
        _ if !base_name(name) => Err("dbfilename can't be a path, just a filename"),
        _ if is_kept(name) => Err("dbfilename can't be the name of a file that the server keeps for itself"),
        _ => Ok(()),
    }
}

pub fn appendfilename(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        _ if !base_name(name) => Err("appendfilename can't be a path, just a filename"),
        _ if is_kept(name) => {
            Err("appendfilename can't be the name of a file that the server keeps for itself")
        }
        _ => Ok(()),
    }
}

pub fn appenddirname(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        _ if !base_name(name) => Err("appenddirname can't be a path, just a dirname"),
        _ if is_kept(name) => {
            Err("appenddirname can't be the name of a file that the server keeps for itself")
        }
        _ => Ok(()),
    }
}

/// Snapshot, log and the log's directory may lie side by side under these names: an old log of one file has `appendfilename`.
pub fn names_differ(settings: &Settings) -> Result<(), String> {
    let names = [
        ("dbfilename", &settings.dbfilename),
        ("appendfilename", &settings.appendfilename),
        ("appenddirname", &settings.appenddirname),
    ];
    for (n, (one, name)) in names.iter().enumerate() {
        if let Some((other, _)) = names[..n].iter().find(|(_, other)| other == name) {
            return Err(format!("{other} and {one} are both {name}: each needs a name of its own"));
        }
    }
    Ok(())
}

impl Settings {
    /// What is acknowledged survives the process: by the log, or by save points (rule 7).
    pub fn keeps(&self) -> bool {
        self.appendonly || !self.save.0.is_empty()
    }
}

fn base_name(name: &str) -> bool {
    !name.contains(['/', '\\'])
}

fn is_kept(name: &str) -> bool {
    KEPT_NAMES.iter().any(|kept| name.starts_with(kept))
}

/// `{name}` with a known name, `{{` for a brace; something must be left to show.
pub fn proc_title_template(template: &str) -> Result<(), &'static str> {
    const KNOWN: [&str; 7] =
        ["title", "listen-addr", "server-mode", "port", "tls-port", "config-file", "unixsocket"];
    const BAD: &str = "template format is invalid or contains unknown variables";
    let mut rest = template;
    while let Some((_, after)) = rest.split_once('{') {
        rest = match after.strip_prefix('{') {
            Some(after) => after,
            None => {
                let (name, after) = after.split_once('}').ok_or(BAD)?;
                if !KNOWN.contains(&name) {
                    return Err(BAD);
                }
                after
            }
        };
    }
    if template.is_empty() { Err(BAD) } else { Ok(()) }
}

pub fn announced_hostname(name: &str) -> Result<(), &'static str> {
    if name.len() >= 256 {
        return Err("Hostnames must be less than 256 characters");
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    name.bytes()
        .all(fits)
        .then_some(())
        .ok_or("Hostnames may only contain alphanumeric characters, hyphens or dots")
}

pub fn announced_nodename(name: &str) -> Result<(), &'static str> {
    name.bytes()
        .all(|byte| !b"!#$%&()*+:;<>?@[]^{|}~".contains(&byte))
        .then_some(())
        .ok_or("Announced human node name contained invalid character")
}
