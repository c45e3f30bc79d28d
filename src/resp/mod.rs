//! The wire protocol: what clients send (`parse`) and what they get (`reply`).

pub mod parse;
pub mod reply;
