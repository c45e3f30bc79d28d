//! Library half of the inspection tool.
