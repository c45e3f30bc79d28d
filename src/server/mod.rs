//! The only async code.
