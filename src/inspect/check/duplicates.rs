//! Duplicated keys: fingerprints are compared beside the walk.
//!
//! A table of millions of fingerprints misses the cache at each key and would cost as much as all the rest of a check. So the
//! first keys are compared at once, and beyond [`HERE`] the table moves to a thread of its own, which is handed
//! fingerprints and offsets in batches. What it finds is an offset; the name is read again from there, where the file
//! can be read again.

use std::io::Read;
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};

use crate::disk::{Disk, Mode, OsDisk};
use crate::format::rdb::{Item, Reader};
use crate::inspect::distinct::Distinct;
use crate::log::rdb_probe::Positioned;

/// Keys that are compared exactly: 38 MiB of fingerprints.
const EXACT: usize = 3_600_000;
/// Keys that are compared before a thread is worth its while.
const HERE: u64 = 50_000;
const BATCH: usize = 8192;

/// A fingerprint, its key's database and place in the file.
type Key = (u64, u64, u64);

pub struct Keys {
    /// For fingerprints; compares as well until the thread does.
    distinct: Distinct,
    seen: u64,
    batch: Vec<Key>,
    worker: Option<Worker>,
}

struct Worker {
    to: SyncSender<Vec<Key>>,
    /// Batches to be filled again.
    from: Receiver<Vec<Key>>,
    thread: JoinHandle<Found>,
}

/// What was found beside the walk.
#[derive(Debug, Default)]
pub struct Found {
    /// Database and offset of the first duplicate.
    pub first: Option<(u64, u64)>,
    pub more: u64,
    /// One in how many keys was compared.
    pub share: u64,
}

impl Keys {
    pub fn new() -> Keys {
        Keys { distinct: Distinct::new(EXACT), seen: 0, batch: Vec::new(), worker: None }
    }

    /// False if the key is known to have been there. From [`HERE`] keys on it is known only at the end.
    #[inline]
    pub fn insert(&mut self, db: u64, name: &[u8], at: u64) -> bool {
        let fingerprint = self.distinct.fingerprint(db, name);
        self.seen += 1;
        if self.seen <= HERE {
            return self.distinct.insert(fingerprint);
        }
        self.batch.push((fingerprint, db, at));
        if self.batch.len() >= BATCH {
            self.hand_over();
        }
        true
    }

    fn hand_over(&mut self) {
        let worker = self.worker.get_or_insert_with(|| {
            let distinct = self.distinct.split_off();
            Worker::start(distinct)
        });
        let empty = worker.from.try_recv().unwrap_or_else(|_| Vec::with_capacity(BATCH));
        // The thread ends only after this end is dropped, or by a panic, which `join` brings here.
        let _gone = worker.to.send(std::mem::replace(&mut self.batch, empty));
    }

    /// What the thread found.
    pub fn finish(mut self) -> Found {
        if !self.batch.is_empty() {
            self.hand_over();
        }
        let Some(Worker { to, thread, .. }) = self.worker else {
            return Found { share: self.distinct.share(), ..Found::default() };
        };
        drop(to);
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    }
}

impl Worker {
    fn start(mut distinct: Distinct) -> Worker {
        let (to, batches) = sync_channel::<Vec<Key>>(4);
        let (empties, from) = sync_channel(8);
        let thread = thread::spawn(move || {
            let mut found = Found::default();
            for mut batch in batches {
                for (fingerprint, db, at) in batch.drain(..) {
                    if !distinct.insert(fingerprint) {
                        found.more += u64::from(found.first.is_some());
                        found.first.get_or_insert((db, at));
                    }
                }
                // Full, or nobody takes it any more: the batch is simply freed.
                let _full = empties.try_send(batch);
            }
            found.share = distinct.share();
            found
        });
        Worker { to, from, thread }
    }
}

/// The key that begins at byte `at` of an RDB file of this version, if it can be read there.
pub fn name_at(file: &Path, version: u16, at: u64) -> Option<Vec<u8>> {
    let disk_file = OsDisk::new().open(file, Mode::Read).ok()?;
    let mut magic = [0; 6];
    disk_file.read_at(&mut magic, 0).ok()?;
    let head = match &magic {
        b"VALKEY" => format!("VALKEY{version:03}"),
        [b'R', b'E', b'D', b'I', b'S', _] => format!("REDIS{version:04}"),
        _ => return None,
    };
    let mut input = std::io::Cursor::new(head.into_bytes()).chain(Positioned { file: &*disk_file, at });
    let mut reader = Reader::open(&mut input, false).ok()?;
    reader.source.longest = crate::inspect::snapshot::LONGEST;
    match reader.next_item().ok()? {
        Item::Key(..) => Some(std::mem::take(&mut reader.key)),
        _ => None,
    }
}
