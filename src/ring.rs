//! The ring: the memory-mapped, disk-backed backlog.
