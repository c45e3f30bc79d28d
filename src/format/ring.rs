//! The header and block checksums of `backlog.ring`.
