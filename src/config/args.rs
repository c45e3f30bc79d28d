//! The command line: `ringhold [CONFIG|-] [--directive value …]`, read as `redis-server` reads its own.
//!
//! Options are turned into lines of `redis.conf` syntax and parsed as such, after the file and standard input. A word
//! with `--` begins a directive only where the one before it has its value; that is how values may begin with `--`.

use std::ffi::OsString;
use std::path::PathBuf;

use super::conf::{quoted, words};

/// What the command line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Start {
    Version,
    Help,
    Run(StartArgs),
}

/// Where the configuration of a run comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartArgs {
    pub config: Option<PathBuf>,
    /// Read standard input too, after the file.
    pub stdin: bool,
    /// Lines of `redis.conf` syntax, after both.
    pub options: Vec<u8>,
    /// Working directory of the process, from which relative paths count.
    pub working_directory: PathBuf,
}

/// `args` without the program's own name.
pub fn parse_start_args(args: &[OsString], working_directory: PathBuf) -> Start {
    match args.first().map(|arg| arg.as_encoded_bytes()) {
        Some(b"-v" | b"--version") => return Start::Version,
        Some(b"-h" | b"--help") => return Start::Help,
        _ => (),
    }
    let mut start = StartArgs { working_directory, ..StartArgs::default() };
    let mut rest = args;
    if let Some((first, after)) = args.split_first()
        && !first.as_encoded_bytes().starts_with(b"-")
    {
        start.config = Some(PathBuf::from(first));
        rest = after;
    }
    let mut has_value = true;
    let rest: Vec<&[u8]> = rest.iter().map(|arg| arg.as_encoded_bytes()).collect();
    for (i, arg) in rest.iter().enumerate() {
        let next = rest.get(i + 1);
        let at_an_end = next.is_none() || (i == 0 && start.config.is_none());
        if *arg == b"-" && at_an_end {
            start.stdin = true;
        } else if let Some(option) = arg.strip_prefix(b"--").filter(|_| has_value) {
            if !start.options.is_empty() {
                start.options.push(b'\n');
            }
            start.options.extend_from_slice(option);
            start.options.push(b' ');
            let name_alone = words(arg).is_some_and(|words| words.len() == 1);
            let empty_save = name_alone
                && arg.eq_ignore_ascii_case(b"--save")
                && next.is_none_or(|next| next.starts_with(b"--"));
            if empty_save {
                start.options.extend_from_slice(b"\"\"");
            }
            has_value = !name_alone || empty_save;
        } else {
            start.options.extend_from_slice(&quoted(arg));
            start.options.push(b' ');
            has_value = true;
        }
    }
    Start::Run(start)
}
