//! Several servers and the network between them, on one stage: each with its own disk, all with one clock.
//!
//! | module | what lives there |
//! |---|---|
//! | [`scenario`] | settings and steps, made from a seed |
//! | `shrink` | a scenario made smaller |
//! | [`net`] | connections, and what becomes of what is under way |
//! | [`machine`] | one server as it is judged: its stream, what it must not lose |
//! | [`truth`] | what each name of a history stands for |
//! | [`verdict`] | whether an answer to PSYNC was right |
//! | [`run`] | runs a scenario |
//! | `answers` | whether what clients are told is true |
//! | `quiet` | what must be reached when all is well |
//!
//! **What is real**, besides what is with one server: REPLICAOF, the link, the handshake with its lineages, the verdict, full
//! syncs at both ends, the feed from ring and log, promotion, WAIT, restarts of either side.

mod answers;
pub mod machine;
pub mod net;
mod quiet;
pub mod run;
#[cfg(test)]
mod run_tests;
pub mod scenario;
mod shrink;
pub mod truth;
pub mod verdict;
