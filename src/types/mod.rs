//! Data types: one file per type with its commands and its `COMMANDS` table; the representations they work on
//! live in [`crate::store`].

use crate::commands::Command;

mod bitfield;
mod bitmap;
mod common;
mod hash;
mod hyperloglog;
mod lcs;
mod list;
mod list_blocking;
mod set;
mod set_ops;
mod string;
mod string_edit;
mod zset;
mod zset_ops;
mod zset_pop;
mod zset_range;

/// One line per file.
pub const TABLES: &[&[Command]] = &[
    string::COMMANDS,
    string_edit::COMMANDS,
    lcs::COMMANDS,
    bitmap::COMMANDS,
    bitfield::COMMANDS,
    hash::COMMANDS,
    hyperloglog::COMMANDS,
    list::COMMANDS,
    list_blocking::COMMANDS,
    set::COMMANDS,
    set_ops::COMMANDS,
    zset::COMMANDS,
    zset_range::COMMANDS,
    zset_pop::COMMANDS,
    zset_ops::COMMANDS,
];
