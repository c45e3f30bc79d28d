//! The wire protocol: what clients send (`parse`, `inline`, `args`), what they get (`reply`), and how numbers and patterns
//! are spelled in both (`number`).
//!
//! Pure functions over byte slices: no sockets here, so the same code parses a client, a primary's stream and a
//! log segment.

pub mod args;
pub mod extended;
pub mod glob;
pub mod inline;
pub mod number;
pub mod parse;
pub mod reply;
