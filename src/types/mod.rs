//! Data types: one file per type with its commands and its `COMMANDS` table; the representations they work on
//! live in [`crate::store`].

use crate::commands::Command;

/// One line per type.
pub const TABLES: &[&[Command]] = &[];
