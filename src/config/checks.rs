//! Checks of text values that a row names. The errors are Redis' texts.

pub const NO_DEFRAG: &str =
    "Active defragmentation cannot be enabled: the allocator of this server has no support for it";

pub fn dbfilename(name: &str) -> Result<(), &'static str> {
    base_name(name).then_some(()).ok_or("dbfilename can't be a path, just a filename")
}

pub fn appendfilename(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appendfilename can't be empty"),
        _ if !base_name(name) => Err("appendfilename can't be a path, just a filename"),
        _ => Ok(()),
    }
}

pub fn appenddirname(name: &str) -> Result<(), &'static str> {
    match name {
        "" => Err("appenddirname can't be empty"),
        _ if !base_name(name) => Err("appenddirname can't be a path, just a dirname"),
        _ => Ok(()),
    }
}

fn base_name(name: &str) -> bool {
    !name.contains(['/', '\\'])
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
