//! Several servers and the network between them, on one stage: each with its own disk, all with one clock.
//!
//! | module | what lives there |
//! |---|---|
//! | [`scenario`] | settings and steps, made from a seed |
//! | [`net`] | connections, and what becomes of what is under way |
//! | [`machine`] | one server as it is judged: its stream, what it must not lose |
//! | [`truth`] | what each name of a history stands for |
//! | [`verdict`] | whether an answer to PSYNC was right |
//! | [`run`] | runs a scenario |
//!
//! **What is real**, besides what is with one server: REPLICAOF, the link, the handshake with its lineages, the verdict, full
//! syncs at both ends, the feed from ring and log, promotion, WAIT, restarts of either side.

pub mod machine;
pub mod net;
pub mod run;
pub mod scenario;
pub mod truth;
pub mod verdict;
