//! Compact encodings shared by memory and RDB: a value is saved by copying its blob and loaded by checking it.
//!
//! | encoding | holds | here |
//! |---|---|---|
//! | [`listpack`] | small lists, hashes, sets, sorted sets, stream blocks | read and write |
//! | [`intset`] | small sets of integers | read and write |
//! | [`ziplist`] | what listpack replaced in Redis 7 | read, becomes a listpack |
//! | [`zipmap`] | hashes before Redis 2.6 | read, becomes a listpack |
//!
//! Blobs come from files and from clients (RESTORE), so each is checked entry by entry before it is used; that
//! check is the only parse which may fail, and after it reading needs no errors. All three sequence encodings
//! yield [`Entry`].

mod entry;
pub mod intset;
pub mod listpack;
pub mod ziplist;
pub mod zipmap;

pub use entry::{Entry, all_distinct};

use crate::error::Corrupt;

/// Puts what a checking reader yields into a listpack.
fn collect<'a>(
    entries: impl Iterator<Item = Result<Entry<'a>, Corrupt>>,
) -> Result<listpack::Listpack, Corrupt> {
    let mut all = listpack::Listpack::new();
    for entry in entries {
        let entry = entry?;
        if !all.may_grow_by(listpack::Listpack::entry_size(entry)) {
            return Err(Corrupt::new(0, "more than 1 GiB in a packed value"));
        }
        all.push(entry);
    }
    Ok(all)
}
