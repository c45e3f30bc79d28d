//! The zipmap encoding.
