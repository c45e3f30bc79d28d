//! Annotation lines of the append-only log: marks, openings, timestamps.
