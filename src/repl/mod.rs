//! Lineage and PSYNC verdict.
