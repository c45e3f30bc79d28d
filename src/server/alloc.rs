//! The allocator, and what it has given out.
//!
//! `used_memory` (INFO, maxmemory) is the sum of the sizes asked for, counted at each allocation. Counting at the
//! allocator is exact and costs about a nanosecond; asking the allocator for its own statistics costs a walk over
//! its heaps. Threads count into one shared number in steps of [`STEP`], so that they do not fight for its cache
//! line.
//!
//! The allocator is mimalloc: its size classes are finer than jemalloc's between 32 and 64 bytes, where a key's
//! entry lives.

use std::alloc::{GlobalAlloc, Layout};
use std::cell::Cell;
use std::sync::atomic::{AtomicI64, Ordering};

/// Bytes that a thread may hold uncounted.
const STEP: i64 = 32 * 1024;

static USED: AtomicI64 = AtomicI64::new(0);

thread_local! {
    static UNCOUNTED: Cell<i64> = const { Cell::new(0) };
}

/// mimalloc that counts.
pub struct Counting;

/// Bytes in use, within [`STEP`] bytes per thread.
pub fn used() -> u64 {
    let here = UNCOUNTED.try_with(Cell::get).unwrap_or(0);
    (USED.load(Ordering::Relaxed) + here).max(0) as u64
}

fn count(bytes: i64) {
    // A thread being torn down has no cell any more; its few bytes go straight to the sum.
    let counted = UNCOUNTED.try_with(|cell| {
        let sum = cell.get() + bytes;
        if sum.abs() >= STEP {
            USED.fetch_add(sum, Ordering::Relaxed);
            cell.set(0);
        } else {
            cell.set(sum);
        }
    });
    if counted.is_err() {
        USED.fetch_add(bytes, Ordering::Relaxed);
    }
}

// SAFETY: every call is passed on to mimalloc with the caller's own arguments; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: the caller's obligations are mimalloc's.
        unsafe { mimalloc::MiMalloc.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as i64);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.alloc_zeroed(layout) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        count(-(layout.size() as i64));
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.dealloc(ptr, layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size as i64 - layout.size() as i64);
        // SAFETY: as above.
        unsafe { mimalloc::MiMalloc.realloc(ptr, layout, new_size) }
    }
}
