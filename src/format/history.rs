//! `replication.toml`: replid, lineage, generation, clean mark.
