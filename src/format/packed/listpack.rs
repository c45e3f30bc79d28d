//! The listpack encoding.
