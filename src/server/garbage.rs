//! The thread that frees what is expensive to free: big values and flushed databases.
//!
//! A list of a million elements takes tens of milliseconds to free, which the data thread must not spend: it hands
//! such values over, whatever `lazyfree-*` says. Small ones it frees itself, which is cheaper than handing over.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{self, Sender};

use crate::log::hands;
use crate::store::Garbage;

/// The data thread's end; the thread ends with it.
pub struct Bin {
    sender: Sender<Vec<Garbage>>,
    counts: Arc<Counts>,
}

#[derive(Default)]
struct Counts {
    pending: AtomicU64,
    freed: AtomicU64,
}

impl Bin {
    pub fn start() -> Bin {
        let (sender, receive) = mpsc::channel::<Vec<Garbage>>();
        let counts = Arc::new(Counts::default());
        let seen = Arc::clone(&counts);
        if hands::is_simulated() {
            return Bin { sender, counts }; // nobody takes it: it is freed when it is thrown
        }
        std::thread::spawn(move || {
            for garbage in receive.into_iter().flatten() {
                let objects = garbage.objects();
                drop(garbage);
                seen.pending.fetch_sub(objects, Ordering::Relaxed);
                seen.freed.fetch_add(objects, Ordering::Relaxed);
            }
        });
        Bin { sender, counts }
    }

    pub fn throw(&self, garbage: Vec<Garbage>) {
        if hands::is_simulated() {
            return;
        }
        let objects = garbage.iter().map(Garbage::objects).sum();
        self.counts.pending.fetch_add(objects, Ordering::Relaxed);
        // The thread lives as long as this end.
        let _never_closed = self.sender.send(garbage);
    }

    /// Values that still wait.
    pub fn pending(&self) -> u64 {
        self.counts.pending.load(Ordering::Relaxed)
    }

    /// Values freed since the last call.
    pub fn take_freed(&self) -> u64 {
        self.counts.freed.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Str, Value};

    #[test]
    fn what_is_thrown_away_is_counted_until_and_after_it_is_freed() {
        let bin = Bin::start();
        let value = || Garbage::Value(Value::Str(Str::new(&[b'x'; 100_000])));
        bin.throw(vec![value(), value()]);
        bin.throw(vec![value()]);
        let mut freed = 0;
        while freed < 3 {
            freed += bin.take_freed();
            std::thread::yield_now();
        }
        assert_eq!((freed, bin.pending(), bin.take_freed()), (3, 0, 0));
    }
}
