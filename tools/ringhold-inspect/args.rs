//! The command line: what `--help`, the manual page and the shell completions are made of.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use regex::bytes::Regex;
use ringhold::inspect::Failure;
use ringhold::inspect::convert::SLOTS;
use ringhold::inspect::keys::{Column, Filter, Span};
use ringhold::inspect::value::{ENCODINGS, TYPES};
use ringhold::resp::number::memory_size;

const REST: &str = "\
Exit codes:
  0  done; for check: sound
  1  check: a log with a torn tail (--fix cuts it); get: no such key;
     salvage: something is lost; diff: a difference
  2  corrupt: the first problem is named with file, offset and what was
     expected there
  3  not done: wrong usage, a file that cannot be read, an output that cannot
     be written

A PATH is one of
  dump.rdb            a snapshot, of any Redis or Valkey
  appendonly.aof      a log of one file
  FILE.manifest       a log of several files, each of which is a path as well
  backlog.ring, replication.toml
  a directory         the data directory of a server, with all of these
  -                   standard input
  redis://[user:password@]host[:port], unix://[user:password@]/path/of/socket
                      a running server, whose data are taken by a full sync;
                      REDISCLI_AUTH may hold the password
gzip and zstd are unpacked on the way. Memory does not grow with the files, but
for what a log must be replayed for: at, --replay, and diff and convert of logs
and of directories whose log goes on behind the snapshot.";

const EXAMPLES: &str = "\
Examples:
  ringhold-inspect summary dump.rdb
  ringhold-inspect check /var/lib/redis
  ringhold-inspect keys --type hash --size 1mb.. dump.rdb
  ringhold-inspect memory --html page.html redis://127.0.0.1:6379
  ringhold-inspect dump --glob 'session:*' --format resp dump.rdb | redis-cli --pipe
  ringhold-inspect diff yesterday.rdb redis://127.0.0.1:6379
  ringhold-inspect salvage --output rest.rdb damaged.rdb
  zcat backup.rdb.gz | ringhold-inspect summary --json -
Each command's own help (ringhold-inspect keys --help) has more.";

/// Examples of each command, shown below its options.
mod examples {
    pub const SUMMARY: &str = "\
Examples:
  ringhold-inspect summary dump.rdb
  ringhold-inspect summary --json backups/*.rdb.zst | jq '.[] | {file, keys}'
  ringhold-inspect summary /var/lib/ringhold        # every file of the directory";
    pub const CHECK: &str = "\
Examples:
  ringhold-inspect check /var/lib/redis             # all files, and whether they agree
  ringhold-inspect check backups/*.rdb.gz           # ends with the worst file's code
  ringhold-inspect check --fix appendonlydir/appendonly.aof.1.incr.aof
  ringhold-inspect check --truncate-to-timestamp 1700000000 appendonly.aof

Ends with 0 if all is sound, 1 for a log with a torn tail, 2 for damage, 3 if it
could not be done.";
    pub const KEYS: &str = "\
Examples:
  ringhold-inspect keys --type hash,zset --size 1mb.. dump.rdb
  ringhold-inspect keys --glob 'session:*' --ttl 30d.. dump.rdb
  ringhold-inspect keys --idle 86400.. --columns idle,bytes,key --csv dump.rdb > idle.csv
  ringhold-inspect keys --replay appendonlydir/appendonly.aof.manifest
  ringhold-inspect keys --json dump.rdb | jq -r 'select(.elements > 9999) | .key'";
    pub const GET: &str = "\
Examples:
  ringhold-inspect get dump.rdb user:1000
  ringhold-inspect get --db 3 dump.rdb 'bytes\\x00\\xff'
  ringhold-inspect get --raw redis://10.0.0.7 page:/index > index.html";
    pub const DUMP: &str = "\
Examples:
  ringhold-inspect dump dump.rdb                    # a JSON object a line
  ringhold-inspect dump --glob 'session:*' --format resp dump.rdb | redis-cli --pipe
  ringhold-inspect dump --format parquet dump.rdb > keys.parquet
  ringhold-inspect dump --format csv --type zset redis://10.0.0.7 > boards.csv

Commands (resp, commands) add to what is there: they are meant for an empty
server. Libraries of functions are written too, unless only some keys are wanted.";
    pub const DIFF: &str = "\
Examples:
  ringhold-inspect diff yesterday.rdb today.rdb
  ringhold-inspect diff --glob 'user:*' dump.rdb redis://10.0.0.7
  ringhold-inspect diff --json --elements 0 dump.rdb /var/lib/ringhold | jq -r .key

Ends with 0 if there is no difference, 1 if there is one.";
    pub const MEMORY: &str = "\
Examples:
  ringhold-inspect memory --top 10 dump.rdb
  ringhold-inspect memory --html page.html dump.rdb
  ringhold-inspect memory --separator / --least 0.1 --type hash redis://10.0.0.7
  ringhold-inspect memory --json dump.rdb | jq '.prefixes[:3]'";
    pub const LOG: &str = "\
Examples:
  ringhold-inspect log /var/lib/ringhold            # the end of the stream
  ringhold-inspect log --offset 70211 -B 20 -A 20 /var/lib/ringhold
  ringhold-inspect log --at 4096 --marks appendonly.aof
  ringhold-inspect log --follow --json /var/lib/ringhold";
    pub const RING: &str = "\
Examples:
  ringhold-inspect ring /var/lib/ringhold
  ringhold-inspect ring --json backlog.ring | jq .damaged";
    pub const LINEAGE: &str = "\
Examples:
  ringhold-inspect lineage /var/lib/ringhold
  ringhold-inspect lineage --json /var/lib/ringhold | jq .history.replid";
    pub const CONVERT: &str = "\
Examples:
  ringhold-inspect convert --rdb-version 9 --output old.rdb dump.rdb    # for Redis 5 and 6
  ringhold-inspect convert --output one.rdb a.rdb b.rdb                 # merged
  ringhold-inspect convert --split 3 --output part.rdb dump.rdb         # part.0.rdb …
  ringhold-inspect convert --db 0 --glob 'user:*' -o users.rdb redis://10.0.0.7
  ringhold-inspect convert --output dump.rdb appendonlydir/appendonly.aof.manifest";
    pub const AT: &str = "\
Examples:
  ringhold-inspect at --offset 70211 --output then.rdb /var/lib/ringhold
  ringhold-inspect at --time 1700000000 --output then.rdb /var/lib/ringhold
  ringhold-inspect at --output now.rdb /var/lib/ringhold

lineage and log tell offsets; --time needs a log with aof-timestamp-enabled yes.";
    pub const SALVAGE: &str = "\
Examples:
  ringhold-inspect salvage --output rest.rdb damaged.rdb
  ringhold-inspect salvage --output rest.aof appendonly.aof
  ringhold-inspect salvage --json --output rest.rdb cut.rdb.gz

Ends with 0 if nothing is lost, 1 if something is. A check of the new file ends
with 0.";
}

#[derive(Parser)]
#[command(name = "ringhold-inspect", version, max_term_width = 100)]
#[command(about = "Look into snapshots, logs, rings and data directories of Ringhold, Redis and Valkey")]
#[command(after_long_help = format!("{EXAMPLES}\n\n{REST}"), after_help = EXAMPLES)]
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
#[command(next_help_heading = "Names in a data directory (what has other names is looked for)")]
pub struct Names {
    /// The log's directory
    #[arg(long, global = true, value_name = "NAME", default_value = "appendonlydir", hide_short_help = true)]
    pub appenddirname: String,
    /// What the names of the log's files begin with
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        default_value = "appendonly.aof",
        hide_short_help = true
    )]
    pub appendfilename: String,
    /// The snapshot
    #[arg(long, global = true, value_name = "NAME", default_value = "dump.rdb", hide_short_help = true)]
    pub dbfilename: String,
}

#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum DumpFormat {
    /// A JSON object a line
    Json,
    /// Commands as RESP, for redis-cli --pipe
    Resp,
    /// Commands as lines, for redis-cli
    Commands,
    /// A table with a row for each element: db,key,type,expires,position,element,score,length,value
    Csv,
    /// The same table for analysis (pandas, DuckDB …)
    Parquet,
}

/// What a key's head tells.
#[derive(clap::Args)]
#[command(next_help_heading = "Which keys")]
pub struct Wanted {
    /// Only this database; may be given several times
    #[arg(long, value_name = "N")]
    pub db: Vec<u64>,
    /// Only these types
    #[arg(long = "type", value_delimiter = ',', value_name = "TYPES", value_parser = TYPES)]
    pub types: Vec<String>,
    /// Only keys that match this pattern, as in KEYS
    #[arg(long, value_name = "PATTERN")]
    pub glob: Option<String>,
    /// Only keys in which this regular expression matches; (?-u) for bytes
    #[arg(long, value_name = "REGEX")]
    pub regex: Option<String>,
    /// Only keys that live that long, as FROM..TO: 1h..7d, ..0 (past), 30d..
    #[arg(long, value_name = "RANGE", value_parser = duration_span)]
    pub ttl: Option<Span>,
    /// Only keys with a deadline
    #[arg(long, conflicts_with = "persistent")]
    pub volatile: bool,
    /// Only keys without a deadline
    #[arg(long)]
    pub persistent: bool,
    /// Only keys not used for so many seconds, as FROM..TO
    #[arg(long, value_name = "RANGE", value_parser = number_span)]
    pub idle: Option<Span>,
    /// Only keys of this access frequency (0 to 255), as FROM..TO
    #[arg(long, value_name = "RANGE", value_parser = number_span)]
    pub freq: Option<Span>,
}

/// What only the value tells.
#[derive(clap::Args)]
#[command(next_help_heading = "Which keys")]
pub struct Measured {
    /// Only these encodings, as OBJECT ENCODING calls them
    #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = ENCODINGS)]
    pub encoding: Vec<String>,
    /// Only keys of so many bytes in the file, as FROM..TO: 1mb.., ..100
    #[arg(long, value_name = "RANGE", value_parser = size_span)]
    pub size: Option<Span>,
    /// Only keys of so many elements, as FROM..TO
    #[arg(long, value_name = "RANGE", value_parser = number_span)]
    pub elements: Option<Span>,
}

impl Measured {
    /// Adds to what is asked of the head.
    pub fn narrow(&self, filter: &mut Filter) {
        filter.encodings = self.encoding.clone();
        filter.size = self.size.unwrap_or_default();
        filter.elements = self.elements.unwrap_or_default();
    }
}

impl Wanted {
    pub fn filter(&self) -> Result<Filter, Failure> {
        let regex = self.regex.as_deref().map(Regex::new).transpose();
        Ok(Filter {
            dbs: self.db.clone(),
            types: self.types.clone(),
            glob: self.glob.as_ref().map(|pattern| pattern.clone().into_bytes()),
            regex: regex.map_err(|error| Failure::Usage(format!("--regex: {}", last_line(&error))))?,
            ttl: self.ttl.unwrap_or_default(),
            volatile: (self.volatile || self.persistent).then_some(self.volatile),
            idle: self.idle.unwrap_or_default(),
            freq: self.freq.unwrap_or_default(),
            ..Filter::default()
        })
    }
}

/// What is wrong with an expression; before it stands a drawing of where.
fn last_line(error: &regex::Error) -> String {
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_string()
}

fn column(word: &str) -> Result<Column, String> {
    Column::from_word(word).ok_or_else(|| {
        let known: Vec<&str> = Column::ALL.iter().map(|(name, _)| *name).collect();
        format!("no such column; there are {}", known.join(", "))
    })
}

fn one_byte(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        [byte] => Ok(*byte),
        _ => Err("one byte is needed".into()),
    }
}

/// `FROM..TO`, either missing; one number alone is both.
fn span(text: &str, number: impl Fn(&str) -> Option<i64>) -> Result<Span, String> {
    let end = |text: &str| match text {
        "" => Ok(None),
        text => number(text).map(Some).ok_or_else(|| format!("'{text}' is no number of this kind")),
    };
    let (from, to) = text.split_once("..").unwrap_or((text, text));
    let span = Span { from: end(from)?, to: end(to)? };
    match (span.from, span.to) {
        (Some(from), Some(to)) if from > to => Err("it ends before it begins".into()),
        _ => Ok(span),
    }
}

fn number_span(text: &str) -> Result<Span, String> {
    span(text, |number| number.parse().ok())
}

fn size_span(text: &str) -> Result<Span, String> {
    span(text, |number| memory_size(number).and_then(|bytes| i64::try_from(bytes).ok()))
}

fn slot_span(text: &str) -> Result<(u16, u16), String> {
    let Span { from, to } = number_span(text)?;
    let slot = |number: Option<i64>, otherwise: u16| match number.map(u16::try_from) {
        None => Ok(otherwise),
        Some(Ok(slot)) if slot < SLOTS => Ok(slot),
        Some(_) => Err(format!("slots are 0 to {}", SLOTS - 1)),
    };
    Ok((slot(from, 0)?, slot(to, SLOTS - 1)?))
}

/// Milliseconds, from seconds or a number with one of `ms s m h d`.
fn duration_span(text: &str) -> Result<Span, String> {
    const UNITS: [(&str, i64); 5] =
        [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    span(text, |number| {
        let unit = UNITS.iter().find_map(|(unit, ms)| Some((number.strip_suffix(unit)?, *ms)));
        let (digits, ms) = unit.unwrap_or((number, 1000));
        digits.parse::<i64>().ok()?.checked_mul(ms)
    })
}

#[derive(Subcommand)]
pub enum Command {
    /// What is inside, on one screen: origin, position, keys by type and encoding, sizes, deadlines, commands
    #[command(after_help = examples::SUMMARY)]
    Summary {
        /// Files, directories, servers or -
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
    },
    /// Is it sound? Every checksum and structure, and whether the files of a directory agree
    #[command(after_help = examples::CHECK)]
    Check {
        /// Files, directories, servers or -
        #[arg(required = true, value_name = "PATH")]
        paths: Vec<PathBuf>,
        /// Cut a torn tail behind the last whole unit; what is cut is kept beside the file
        #[arg(long)]
        fix: bool,
        /// Cut a log behind the last unit up to this time (Unix seconds), as its #TS: lines tell
        #[arg(long, value_name = "SECONDS", conflicts_with = "fix")]
        truncate_to_timestamp: Option<i64>,
    },
    #[command(flatten)]
    Keys(Box<KeysCommand>),
    #[command(flatten)]
    Stream(StreamCommand),
    #[command(flatten)]
    Write(Box<WriteCommand>),
    /// Write a shell's completions to standard output
    Completions { shell: clap_complete::Shell },
    /// Write the manual page to standard output, or a page for each command into a directory that is there
    Man {
        #[arg(value_name = "DIR")]
        directory: Option<PathBuf>,
    },
}

/// What looks at the keys of a snapshot.
#[derive(Subcommand)]
pub enum KeysCommand {
    /// List keys: one a line, with what is asked of them
    #[command(after_help = examples::KEYS)]
    Keys {
        /// Snapshot, log, directory, server or -
        path: PathBuf,
        /// Apply the log behind the snapshot first; takes the memory of a server
        #[arg(long)]
        replay: bool,
        /// db,type,encoding,bytes,elements,longest,ttl,expires,idle,freq,offset,key; bytes are those in the file, ttl and
        /// expires milliseconds
        #[arg(long, value_delimiter = ',', value_name = "NAMES", value_parser = column)]
        columns: Vec<Column>,
        /// Comma-separated values (RFC 4180); --json writes an object a line
        #[arg(long)]
        csv: bool,
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        measured: Measured,
    },
    /// Show a key's value: an element a line, escaped
    #[command(after_help = examples::GET)]
    Get {
        /// Snapshot, log, directory, server or -
        path: PathBuf,
        /// \xHH stands for a byte
        key: String,
        /// Apply the log behind the snapshot first; takes the memory of a server
        #[arg(long)]
        replay: bool,
        /// The database; without it, the first one that has the key
        #[arg(long)]
        db: Option<u64>,
        /// Write a string's bytes as they are
        #[arg(long, conflicts_with = "json")]
        raw: bool,
    },
    /// Write keys with their values
    #[command(after_help = examples::DUMP)]
    Dump {
        /// Snapshot, log, directory, server or -
        path: PathBuf,
        /// Apply the log behind the snapshot first; takes the memory of a server
        #[arg(long)]
        replay: bool,
        /// What is written
        #[arg(long, value_enum, default_value_t = DumpFormat::Json)]
        format: DumpFormat,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// Show which keys two datasets do not have in common: - removed, + added, ~ changed, and what in them
    #[command(after_help = examples::DIFF)]
    Diff {
        /// Snapshot, log, directory, server or -
        left: PathBuf,
        /// Snapshot, log, directory, server or -
        right: PathBuf,
        /// So many elements of each fate are shown of a changed key; 0: values are only told to differ
        #[arg(long, value_name = "N", default_value_t = 3)]
        elements: usize,
        #[command(flatten)]
        wanted: Wanted,
    },
    /// What fills the memory of a server: by type and prefix, the largest keys; as Redis and as Ringhold would hold them
    #[command(after_help = examples::MEMORY)]
    Memory {
        /// Snapshot, log, directory, server or -
        path: PathBuf,
        /// Apply the log behind the snapshot first; takes the memory of a server
        #[arg(long)]
        replay: bool,
        /// How many of the largest keys [default: 20, of a page 500]
        #[arg(long, value_name = "N")]
        top: Option<usize>,
        /// What ends the parts of a prefix; one byte
        #[arg(long, value_name = "CHARACTER", default_value = ":", value_parser = one_byte)]
        separator: u8,
        /// Leave out prefixes below so many percent of all bytes [default: 1, of a page 0.05]
        #[arg(long, value_name = "PERCENT")]
        least: Option<f64>,
        /// Write a page to look at in a browser, with a map of prefixes to zoom into: one new file, or - for standard output
        #[arg(long, value_name = "FILE", conflicts_with = "json")]
        html: Option<PathBuf>,
        #[command(flatten)]
        wanted: Wanted,
        #[command(flatten)]
        measured: Measured,
    },
}

/// What writes new files. What is there is never replaced.
#[derive(Subcommand)]
pub enum WriteCommand {
    /// Write an RDB file from others: of another version, only some keys, split by cluster slot, merged
    #[command(after_help = examples::CONVERT)]
    Convert {
        /// Snapshots, logs, directories or servers; of a key in several the last one stands. One may be -
        #[arg(required = true)]
        paths: Vec<PathBuf>,
        /// The new file, or - for standard output; with --split, a number is put in front of the ending
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
        /// 6 (Redis 2.6), 7 (3.2), 8 (4.0), 9 (5.0), 10 (7.0), 11 (7.2), 12 (7.4) or 80 (Valkey 9); without it, that of the
        /// input. What the version cannot express is left out and counted
        #[arg(long, value_name = "VERSION")]
        rdb_version: Option<u16>,
        /// Only keys of these cluster slots, as FIRST..LAST
        #[arg(long, value_name = "RANGE", value_parser = slot_span)]
        slots: Option<(u16, u16)>,
        /// So many files, with equal shares of the cluster slots
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
        split: Option<u16>,
        #[command(flatten)]
        wanted: Box<Wanted>,
        #[command(flatten)]
        measured: Measured,
    },
    /// Write the state of a data directory at an earlier place, or at its end, as an RDB file; takes the memory of a server
    #[command(after_help = examples::AT)]
    At {
        /// Data directory
        path: PathBuf,
        /// Behind the last whole unit up to this offset of the stream
        #[arg(long, value_name = "OFFSET", conflicts_with = "time")]
        offset: Option<u64>,
        /// Behind the last whole unit up to this time (Unix seconds), as #TS: lines tell
        #[arg(long, value_name = "SECONDS")]
        time: Option<i64>,
        /// The new file, or - for standard output
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
    /// Write what is whole in a damaged snapshot or log to a sound one, and tell what is lost and where
    #[command(after_help = examples::SALVAGE)]
    Salvage {
        /// Snapshot, log or -
        path: PathBuf,
        /// The new file, or - for standard output
        #[arg(long, short, value_name = "FILE")]
        output: PathBuf,
    },
}

/// What looks at the stream and its history.
#[derive(Subcommand)]
pub enum StreamCommand {
    /// Show the stream around a place in a log
    #[command(after_help = examples::LOG)]
    Log {
        /// Log, directory or -
        path: PathBuf,
        /// The stream offset; without it and --at, the end
        #[arg(long, value_name = "OFFSET")]
        offset: Option<u64>,
        /// The position in the file
        #[arg(long, value_name = "BYTE", conflicts_with = "offset")]
        at: Option<u64>,
        /// Commands before the place
        #[arg(long, short = 'B', value_name = "N", default_value_t = 5)]
        before: usize,
        /// Commands from the place on
        #[arg(long, short = 'A', value_name = "N", default_value_t = 10)]
        after: usize,
        /// Annotation lines as well
        #[arg(long)]
        marks: bool,
        /// Go on with what is written from now on, until interrupted
        #[arg(long, short)]
        follow: bool,
    },
    /// Show a ring's header, window and block map
    #[command(after_help = examples::RING)]
    Ring {
        /// Ring, directory or -
        path: PathBuf,
    },
    /// Show which history a data directory holds, under which names, and what each file says of it
    #[command(after_help = examples::LINEAGE)]
    Lineage {
        /// Data directory
        path: PathBuf,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Args::command().debug_assert();
    }

    /// Each command shows how it is used, and no example breaks a narrow terminal by much.
    #[test]
    fn every_command_has_examples() {
        let mut command = Args::command();
        command.build();
        for one in
            command.get_subcommands().filter(|c| !matches!(c.get_name(), "help" | "man" | "completions"))
        {
            let text = one.get_after_help().map(ToString::to_string).unwrap_or_default();
            let asked = format!("ringhold-inspect {} ", one.get_name());
            assert!(text.lines().filter(|line| line.contains(&asked)).count() >= 2, "{asked}: {text}");
            assert!(text.lines().all(|line| line.chars().count() <= 96), "{text}");
        }
    }

    #[test]
    fn ranges() {
        let check = |found: Result<Span, String>, from: Option<i64>, to: Option<i64>| {
            assert_eq!(found, Ok(Span { from, to }));
        };
        check(number_span("3..9"), Some(3), Some(9));
        check(number_span("3"), Some(3), Some(3));
        check(number_span("..9"), None, Some(9));
        check(size_span("1mb.."), Some(1 << 20), None);
        check(duration_span("1h..7d"), Some(3_600_000), Some(604_800_000));
        check(duration_span("..0"), None, Some(0));
        check(duration_span("250ms"), Some(250), Some(250));
        assert!(number_span("a..").is_err() && number_span("9..3").is_err());
        assert_eq!(slot_span("5461..10922"), Ok((5461, 10922)));
        assert_eq!(slot_span("..100"), Ok((0, 100)));
        assert!(slot_span("0..16384").is_err());
    }
}
