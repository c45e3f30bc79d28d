//! The append-only log: segments, writer, recovery.
