//! The ziplist encoding.
