//! Incremental request parser: multi-bulk and inline.
