//! Numbered places at which a process ends itself, for the crash harness: before or half-way through each call that changes a
//! file, and each store into a mapped one.
//!
//! Only in builds with the feature `planted`, and there only if the environment variable `RINGHOLD_DIE_AT` has a number: at the
//! step of that number the process gets SIGKILL from itself. In all other builds the functions are empty.

/// A call that changes something follows.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub fn step() {}

/// A call follows that may come to be half done; `half` does that.
#[cfg(not(feature = "planted"))]
#[inline(always)]
pub fn step_within(_half: impl FnOnce()) {}

#[cfg(feature = "planted")]
pub use at_work::{step, step_within};

#[cfg(feature = "planted")]
mod at_work {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};

    use rustix::process::{Signal, getpid, kill_process};

    static LAST: OnceLock<u64> = OnceLock::new();
    static STEPS: AtomicU64 = AtomicU64::new(0);

    pub fn step() {
        step_within(|| {});
    }

    pub fn step_within(half: impl FnOnce()) {
        let number = || std::env::var("RINGHOLD_DIE_AT").ok()?.parse().ok();
        let last = *LAST.get_or_init(|| number().unwrap_or(u64::MAX));
        if STEPS.fetch_add(1, Ordering::Relaxed) + 1 != last {
            return;
        }
        if last.is_multiple_of(2) {
            half();
        }
        let _nothing_is_left_to_do = kill_process(getpid(), Signal::KILL);
        loop {
            std::thread::park(); // until the signal arrives
        }
    }
}
