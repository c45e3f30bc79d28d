//! Integration tests against real processes, one binary.
