//! The one settings table.
