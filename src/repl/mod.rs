//! Replication without I/O: who may go on from where, and how a link to a primary runs.
//!
//! | file | what |
//! |---|---|
//! | [`verdict`] | the answer to PSYNC |
//! | [`lineage`] | a history's names as servers tell each other |
//! | [`link`] | a link to a primary, from the first PING to the stream |

pub mod lineage;
pub mod link;
mod payload;
pub mod verdict;
