//! The data: databases of entries in copy-on-write partitions.
//!
//! ```text
//! Store ─ Database* ─ Partitions<Entry> ─ Arc<Partition> ─ Entry = Arc<value, access, expiry, key, text>
//!                                                                      └ string | Arc<List | Hash | Set | Zset | Stream>
//! ```
//!
//! Every level is shared by `Arc` and changed through `Arc::make_mut`, so a [`Snapshot`] is a clone of the top
//! level and stays what it was while writes go on ([`partitions`] has the argument). Commands see the data only
//! through [`Db`], which hides expired keys and records what a change means for others ([`Changes`]).

pub mod changes;
pub mod commands;
pub mod db;
pub mod digest;
pub mod entry;
pub mod hash;
pub mod hashes;
pub mod limits;
pub mod list;
pub mod order;
pub mod partitions;
mod quicklist;
pub mod rdb;
mod runs;
pub mod sample;
pub mod set;
pub mod stream;
pub mod string;
pub mod value;
pub mod zset;

pub use changes::{Changes, Event, Events, Garbage};
pub use db::{Database, Db, Expiry, Libraries, Snapshot, Store};
pub use entry::Entry;
pub use hashes::Hash;
pub use limits::Limits;
pub use list::List;
pub use set::Set;
pub use stream::Stream;
pub use string::{Str, Text};
pub use value::{Kind, NEVER, Type, Value, View};
pub use zset::Zset;
