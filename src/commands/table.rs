//! Command rows and their lookup by name.
//!
//! A row says what COMMAND INFO, COMMAND DOCS, dispatch and ACLs need to know. Rows are `const`, built by
//! chaining, so that a table reads as a table:
//!
//! ```ignore
//! pub const COMMANDS: &[Command] = &[
//!     Command::new("get", 2, Flags::READONLY.union(Flags::FAST), Keys::ONE, get).doc("1.0.0", "Value of a key."),
//! ];
//! ```

use std::sync::LazyLock;

use super::Execute;
use crate::resp::args::Args;

bitflags::bitflags! {
    /// As COMMAND INFO shows them.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub struct Flags: u32 {
        const WRITE = 1 << 0;
        const READONLY = 1 << 1;
        const DENYOOM = 1 << 2;
        const ADMIN = 1 << 3;
        const PUBSUB = 1 << 4;
        const NOSCRIPT = 1 << 5;
        const BLOCKING = 1 << 6;
        const LOADING = 1 << 7;
        const STALE = 1 << 8;
        const SKIP_MONITOR = 1 << 9;
        const SKIP_SLOWLOG = 1 << 10;
        const FAST = 1 << 11;
        const NO_AUTH = 1 << 12;
        const MAY_REPLICATE = 1 << 13;
        const NO_MULTI = 1 << 14;
        const MOVABLE_KEYS = 1 << 15;
        const ALLOW_BUSY = 1 << 16;
        const NO_ASYNC_LOADING = 1 << 17;
        /// ACL category `dangerous` beyond what the other flags imply.
        const DANGEROUS = 1 << 18;
        const NO_MANDATORY_KEYS = 1 << 19;
        /// Allowed only as `enable-debug-command` says.
        const PROTECTED = 1 << 20;
        /// Meets keys that its arguments do not name: those that it finds expired are deleted each by itself.
        const ANY_KEYS = 1 << 21;
    }
}

/// Which arguments are keys. Positions count the command name as 0.
#[derive(Clone, Copy)]
pub enum Keys {
    None,
    /// `last` < 0 counts from the end.
    Range {
        first: i32,
        last: i32,
        step: i32,
    },
    /// `numkeys` stands at `count_at`, the keys follow it; `also` is one more key position (0: none).
    Counted {
        count_at: usize,
        also: usize,
    },
    /// Anything else: appends positions; `None` if the arguments make no sense.
    Custom(fn(Args<'_>, &mut Vec<usize>) -> Option<()>),
}

impl Keys {
    pub const ONE: Keys = Keys::Range { first: 1, last: 1, step: 1 };
    pub const TWO: Keys = Keys::Range { first: 1, last: 2, step: 1 };
    /// Shard channels are found like keys.
    pub const CHANNEL: Keys = Keys::ONE;
    pub const CHANNELS: Keys = Keys::ALL;
    pub const ALL: Keys = Keys::Range { first: 1, last: -1, step: 1 };

    /// Appends the positions of the keys in `args`; `None` if the arguments make no sense.
    pub fn positions(&self, args: Args<'_>, into: &mut Vec<usize>) -> Option<()> {
        match *self {
            Keys::None => Some(()),
            Keys::Range { first, last, step } => {
                let last = if last < 0 { args.len() as i32 + last } else { last };
                if last >= args.len() as i32 {
                    return None;
                }
                into.extend((first..=last).step_by(step as usize).map(|at| at as usize));
                Some(())
            }
            Keys::Counted { count_at, also } => {
                let count = args.get(count_at).and_then(crate::resp::number::parse_i64)?;
                let count = usize::try_from(count).ok()?;
                if count == 0 || count > args.len().saturating_sub(count_at + 1) {
                    return None;
                }
                if also > 0 {
                    into.push(also);
                }
                into.extend(count_at + 1..count_at + 1 + count);
                Some(())
            }
            Keys::Custom(find) => find(args, into),
        }
    }
}

/// COMMAND DOCS' group, and the ACL category that goes with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Group {
    Generic,
    String,
    List,
    Set,
    SortedSet,
    Hash,
    Pubsub,
    Transactions,
    Connection,
    Server,
    Scripting,
    HyperLogLog,
    Geo,
    Stream,
    Bitmap,
    Cluster,
}

#[derive(Clone)]
pub struct Command {
    /// Lower case; a subcommand's name is `container|sub`.
    pub name: &'static str,
    /// Positive: exactly so many arguments, the name included; negative: at least.
    pub arity: i32,
    pub flags: Flags,
    pub keys: Keys,
    pub run: Execute,
    pub since: &'static str,
    pub summary: &'static str,
    pub group: Group,
    /// Rows of a container's subcommands; the container itself is dispatched by its second argument.
    pub subcommands: &'static [Command],
    /// Dense number of this row (subcommands included), for tables of statistics.
    pub id: usize,
}

impl Command {
    pub const fn new(name: &'static str, arity: i32, flags: Flags, keys: Keys, run: Execute) -> Command {
        Command {
            name,
            arity,
            flags,
            keys,
            run,
            since: "1.0.0",
            summary: "",
            group: Group::Generic,
            subcommands: &[],
            id: 0,
        }
    }

    pub const fn doc(mut self, since: &'static str, summary: &'static str) -> Command {
        self.since = since;
        self.summary = summary;
        self
    }

    pub const fn group(mut self, group: Group) -> Command {
        self.group = group;
        self
    }

    pub const fn subcommands(mut self, rows: &'static [Command]) -> Command {
        self.subcommands = rows;
        self
    }

    pub fn is_write(&self) -> bool {
        self.flags.contains(Flags::WRITE)
    }

    pub fn arity_fits(&self, args: usize) -> bool {
        if self.arity >= 0 { args == self.arity as usize } else { args >= self.arity.unsigned_abs() as usize }
    }

    /// The subcommand row named by `name` in any case.
    pub fn subcommand(&self, name: &[u8]) -> Option<&'static Command> {
        let prefix = self.name.len() + 1;
        self.subcommands.iter().find(|row| row.name.as_bytes()[prefix..].eq_ignore_ascii_case(name))
    }
}

/// Every table, one line per file.
fn tables() -> Vec<&'static [Command]> {
    crate::types::TABLES.iter().chain(super::TABLES).copied().collect()
}

/// All rows, numbered, for the life of the process.
struct Registry {
    rows: &'static [Command],
    /// Open addressing by [`place`] of the name: found on every command, so a keyed hash of a lower-case copy (a
    /// tenth of a short command's time) was too much. The names are ours: nobody can make them collide.
    by_name: Box<[Option<&'static Command>]>,
    count: usize,
}

/// No command's name is longer.
const LONGEST_NAME: usize = 32;
/// Places in the table of names: several times the number of rows, so that most stand where they hash to.
const PLACES: usize = 2048;

/// Where the search for a name begins; the case of letters does not matter.
fn place(name: &[u8]) -> usize {
    let folded = name.iter().fold(name.len() as u32, |sum, byte| {
        (sum ^ u32::from(byte | 0x20)).wrapping_mul(0x9e37_79b1).rotate_left(15)
    });
    folded as usize % PLACES
}

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| {
    let mut count = 0;
    let mut number = |rows: Vec<Command>| -> Vec<Command> {
        let numbered = rows.into_iter().map(|mut row| {
            row.id = count;
            count += 1;
            row
        });
        numbered.collect()
    };
    let mut rows = number(tables().into_iter().flatten().cloned().collect());
    for row in rows.iter_mut().filter(|row| !row.subcommands.is_empty()) {
        row.subcommands = number(row.subcommands.to_vec()).leak();
    }
    let rows: &'static [Command] = rows.leak();
    let mut by_name: Box<[Option<&'static Command>]> = vec![None; PLACES].into();
    for row in rows {
        let mut at = place(row.name.as_bytes());
        while by_name[at].is_some() {
            at = (at + 1) % PLACES;
        }
        by_name[at] = Some(row);
    }
    Registry { rows, by_name, count }
});

/// The row of a top-level command, its name in any case.
pub fn find(name: &[u8]) -> Option<&'static Command> {
    if name.len() > LONGEST_NAME {
        return None; // nothing is worth reading megabytes for
    }
    let mut at = place(name);
    while let Some(row) = REGISTRY.by_name[at] {
        if row.name.as_bytes().eq_ignore_ascii_case(name) {
            return Some(row);
        }
        at = (at + 1) % PLACES;
    }
    None
}

/// All top-level rows, in table order.
pub fn all() -> impl Iterator<Item = &'static Command> {
    REGISTRY.rows.iter()
}

/// Number of rows, subcommands included: every [`Command::id`] is below it.
pub fn count() -> usize {
    REGISTRY.count
}
