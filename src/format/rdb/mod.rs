//! The RDB snapshot format.
