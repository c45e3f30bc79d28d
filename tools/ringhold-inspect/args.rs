//! The command line: what `--help`, the manual page and the shell completions are made of.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

const EXIT_CODES: &str = "\
Exit codes:
  0  done; for check: sound
  1  check: a log with a torn tail (--fix cuts it); get: no such key
  2  corrupt: the first problem is named with file, offset and what was expected
  3  not done: wrong usage, a file that cannot be read, an output that cannot be written

PATH is a snapshot (dump.rdb of any Redis or Valkey), a log (one file, or the manifest of a multi-part log), a ring, a
replication.toml, a data directory, or - for standard input; gzip and zstd are unpacked on the way. Memory stays
below 64 MiB however large the files are.";

const EXAMPLES: &str = "\
Examples:
  ringhold-inspect summary dump.rdb
  ringhold-inspect check /var/lib/redis
  ringhold-inspect check --fix appendonlydir/appendonly.aof.1.incr.aof
  zcat backup.rdb.gz | ringhold-inspect summary --json -";

#[derive(Parser)]
#[command(name = "ringhold-inspect", version, max_term_width = 100)]
#[command(about = "Look into snapshots, logs, rings and data directories of Ringhold, Redis and Valkey")]
#[command(after_long_help = format!("{EXAMPLES}\n\n{EXIT_CODES}"), after_help = EXAMPLES)]
pub struct Args {
    /// Write JSON for programs. A byte that is no part of UTF-8 becomes a lone surrogate, \udc80 to \udcff
    #[arg(long, global = true)]
    pub json: bool,
    #[command(flatten)]
    pub names: Names,
    #[command(subcommand)]
    pub command: Command,
}

/// The names of a data directory's parts; what is not there under them is looked for.
#[derive(clap::Args)]
pub struct Names {
    /// The log's directory in a data directory
    #[arg(long, global = true, value_name = "NAME", default_value = "appendonlydir", hide_short_help = true)]
    pub appenddirname: String,
    /// What the log's file names begin with
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "appendonly.aof",
        hide_short_help = true
    )]
    pub appendfilename: String,
    /// The snapshot in a data directory
    #[arg(long, global = true, value_name = "NAME", default_value = "dump.rdb", hide_short_help = true)]
    pub dbfilename: String,
}

#[derive(Subcommand)]
pub enum Command {
    /// What is inside, on one screen: origin, position, keys by type and encoding, sizes, deadlines, commands
    Summary {
        /// File, directory or -
        path: PathBuf,
    },
    /// Is it sound? Every checksum and structure, and whether the files of a directory agree
    Check {
        /// File, directory or -
        path: PathBuf,
        /// Cut a torn tail behind the last whole unit; what is cut is kept beside the file
        #[arg(long)]
        fix: bool,
        /// Cut a log behind the last unit up to this time (Unix seconds), as its #TS: lines tell
        #[arg(long, value_name = "SECONDS", conflicts_with = "fix")]
        truncate_to_timestamp: Option<i64>,
    },
    /// Write a shell's completions to standard output
    Completions { shell: clap_complete::Shell },
    /// Write the manual page to standard output, or one page for each command into a directory
    Man { directory: Option<PathBuf> },
}
