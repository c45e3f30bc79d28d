//! Library half of the crash-recovery harness `ringhold-crash`.
//!
//! | module | what lives there |
//! |---|---|
//! | [`world`] | one real server on a simulated disk, single-threaded |
//! | [`model`] | the stream as a witness saw it, and the dataset after any prefix of it |
//! | [`scenario`] | settings and steps, made from a seed |
//! | [`sim`] | runs a scenario, judges every recovery |
//! | [`cluster`] | several servers and the network between them |
//! | [`search`] | many seeds, all short workloads; a failure made small and told |
//! | `planted` | with the feature of that name: deliberate mistakes, each of which must be found |
//! | [`process`] | the server as a process on a real file system, killed and judged |
//! | [`corrupt`] | every byte of every file damaged, the outcome judged |
//!
//! **What is real**: commands, node, driver, ring, log, snapshots, rewrites, recovery, shutdown, and with several servers all of
//! replication: the server's own code.
//! **What is simulated**: the disk ([`crate::disk::SimDisk`]), the network ([`cluster::net`]), clock, randomness, and the order
//! in which threads get on.
//!
//! **What is not covered yet**: the data thread running *while* a snapshot's thread is in the middle of its file (that work is done in one piece, though
//! a crash may end it at any of its disk steps).

pub mod cluster;
pub mod corrupt;
pub mod model;
#[cfg(any(test, feature = "planted"))]
pub mod planted;
pub mod process;
pub mod scenario;
pub mod search;
pub mod sim;
pub mod world;
