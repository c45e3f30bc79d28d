//! Reply writer for RESP2 and RESP3.
