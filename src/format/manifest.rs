//! The multi-part AOF manifest.
