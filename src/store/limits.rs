//! Thresholds between a type's compact and its large form, with Redis 7.2's defaults. Configuration changes
//! them at run time; loading a snapshot and executing a command read them.

use crate::config::Settings;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    pub hash_max_listpack_entries: usize,
    pub hash_max_listpack_value: usize,
    pub set_max_intset_entries: usize,
    pub set_max_listpack_entries: usize,
    pub set_max_listpack_value: usize,
    pub zset_max_listpack_entries: usize,
    pub zset_max_listpack_value: usize,
    /// Positive: entries per node; negative -1..-5: 4, 8, 16, 32, 64 KiB per node.
    pub list_max_listpack_size: i32,
    pub list_compress_depth: u32,
    pub stream_node_max_bytes: usize,
    pub stream_node_max_entries: usize,
    pub hll_sparse_max_bytes: usize,
    /// DEBUG QUICKLIST-PACKED-THRESHOLD: elements of at least this many bytes get a node of their own.
    pub list_plain_element: usize,
    /// Largest string value, `proto-max-bulk-len`.
    pub string_max_bytes: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            hash_max_listpack_entries: 128,
            hash_max_listpack_value: 64,
            set_max_intset_entries: 512,
            set_max_listpack_entries: 128,
            set_max_listpack_value: 64,
            zset_max_listpack_entries: 128,
            zset_max_listpack_value: 64,
            list_max_listpack_size: -2,
            list_compress_depth: 0,
            stream_node_max_bytes: 4096,
            stream_node_max_entries: 100,
            hll_sparse_max_bytes: 3000,
            list_plain_element: 1 << 30,
            string_max_bytes: 512 << 20,
        }
    }
}

impl Limits {
    pub fn from_settings(settings: &Settings) -> Limits {
        Limits {
            hash_max_listpack_entries: settings.hash_max_listpack_entries,
            hash_max_listpack_value: settings.hash_max_listpack_value,
            set_max_intset_entries: settings.set_max_intset_entries,
            set_max_listpack_entries: settings.set_max_listpack_entries,
            set_max_listpack_value: settings.set_max_listpack_value,
            zset_max_listpack_entries: settings.zset_max_listpack_entries,
            zset_max_listpack_value: settings.zset_max_listpack_value,
            list_max_listpack_size: settings.list_max_listpack_size,
            list_compress_depth: settings.list_compress_depth,
            stream_node_max_bytes: settings.stream_node_max_bytes,
            stream_node_max_entries: settings.stream_node_max_entries as usize,
            hll_sparse_max_bytes: settings.hll_sparse_max_bytes,
            string_max_bytes: settings.proto_max_bulk_len as usize,
            ..Limits::default()
        }
    }
}
