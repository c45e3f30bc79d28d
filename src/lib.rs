//! Ringhold: a Redis-protocol store that never forgets where it was.
//!
//! Every accepted write becomes bytes in one stream, and every byte of that stream has one offset.
//! Snapshot, append-only log, ring (the disk-backed backlog) and replica are four views of that stream.
//!
//! # Code map, lowest layer first
//!
//! | module | what lives there | may use |
//! |---|---|---|
//! | [`units`], [`error`], [`planted`] | quantities as newtypes; the three kinds of error; mistakes for the crash harness to find, in no server that runs | – |
//! | [`resp`] | the wire protocol: incremental parser, reply writer | units, error |
//! | [`format`] | every byte that is persisted: RDB, LZF, CRC, packed encodings, AOF marks, manifest, ring header | units, error, resp (numbers as text) |
//! | [`config`] | the one settings table | resp |
//! | [`store`] | partitions, values, databases, snapshots | format, config |
//! | [`state`] | sessions, statistics, persistence status: what is known besides the data | store, resp, config |
//! | [`commands`] | the vocabulary of a command (row, arguments, context, outcome) and the server-side commands | state |
//! | [`types`] | one file per data type: representation and commands | commands |
//! | [`repl`] | lineage and PSYNC verdict | format |
//! | [`engine`] | the node: sessions, dispatch, effects, blocking, cron; events in, actions out | all above |
//! | [`disk`] | the only file I/O and mapping, behind a trait | units, error |
//! | [`ring`], [`log`] | the ring file; segments, writer, recovery, rewrite | disk, format, store |
//! | [`inspect`] | the library half of the inspection tool; a blocking socket of its own for a server's data | format, log, ring, engine |
//! | [`server`] | the only async code: listener, connections, driver, threads | all |
//! | [`crash`] | the library half of the crash-recovery harness: a server on a simulated disk, a model, verdicts | all |
//!
//! **Layer rule** (checked by `tests/tidy.rs`): everything down to `engine` is pure — no tokio, no files, no
//! sockets, no clock — so that it runs under a simulator and a fuzzer. Only `disk` touches files, only `server`
//! touches sockets, threads and time (and `inspect`, a program's library and no part of the server, a thread and a socket).

pub mod commands;
pub mod config;
pub mod crash;
pub mod disk;
pub mod engine;
pub mod error;
pub mod format;
pub mod inspect;
pub mod log;
pub mod planted;
pub mod repl;
pub mod resp;
pub mod ring;
pub mod server;
pub mod state;
pub mod store;
pub mod types;
pub mod units;
