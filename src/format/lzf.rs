//! The LZF codec of RDB strings.
