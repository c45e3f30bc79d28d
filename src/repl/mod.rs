//! Lineage and PSYNC verdict.

pub mod lineage;
pub mod link;
mod payload;
