//! Compact encodings shared by memory and RDB: a value is saved by copying its blob and loaded by checking it.

pub mod intset;
pub mod listpack;
pub mod ziplist;
pub mod zipmap;
