//! The intset encoding.
