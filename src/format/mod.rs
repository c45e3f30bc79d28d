//! Index of every persisted byte.
//!
//! | file | codec |
//! |---|---|
//! | `dump.rdb`, `*.base.rdb` | [`rdb`], with [`lzf`], [`crc`] and the [`packed`] encodings inside |
//! | `*.incr.aof` | stream bytes verbatim, with the marks of [`aof`] between commands ([`framing`]) |
//! | `*.manifest` | [`manifest`] |
//! | `backlog.ring` | [`ring`] |
//! | `replication.toml` | [`history`] |

pub mod aof;
pub mod crc;
pub mod framing;
pub mod history;
pub mod lzf;
pub mod manifest;
pub mod packed;
pub mod rdb;
pub mod ring;
pub mod sha1;
