//! The append-only log: segments, writer, recovery. Ignorant of values: it knows bytes, units and offsets.
//!
//! # How the driver uses it
//!
//! ```text
//! disk      Arc<dyn Disk> = Arc::new(OsDisk::new());  DirLock::acquire(dir)
//! paths     Paths { data, log_dir: appenddirname, log_name: appendfilename, snapshot: dbfilename }
//!
//! writing   let segments = Arc::new(Mutex::new(Segments::new(disk, paths, manifest)?));
//!           let log = LogThread::start(segments, Options { policy, .. }, Place { replid, offset, db }, durable, waker)?;
//!           let sender = log.sender();
//!           per batch:  ring.append(bytes, db); sender.push(bytes, end, db); ring.note(sender.written(), sender.durable())
//!           replies:    sender.durable() >= end (always);  sender.health() (P7);  waker is called on changes
//!           rule 6:     read no clients while ring.start_after(next batch's limit) > sender.written()
//!           rewrite:    sender.rotate(|Rotated { seq, start }| …); take the snapshot at `start`; write and fsync it as
//!                       segments.next_base() under paths.log_file(name); name it in replication.toml;
//!                       segments.commit_base(&name, base_seq, start, seq); drop the old base from replication.toml
//!           AOF off:    Policy::Spill; after a snapshot at the cut of a rotation: segments.drop_before(seq)
//!           sealed:     health Latched → sender.reopen(place at a new cut, …); base as in a rewrite; sender.base_is_durable()
//!           end:        log.stop()? → Closed { place, durable, segments } for History::clean
//!
//! ring      match Ring::open(disk, path)? { Found::Ring(ring, check) | Found::Missing | Found::Damaged(why) }
//!           Ring::create(disk, path, capacity, Begin { replid, begun, tag, at, db })?
//!           resize: make one at `backlog.ring.new` on another thread; ring.attach_twin(new); disk.rename + fsync_dir;
//!           ring.switch_to_twin()
//! ```

pub mod history_file;
pub mod segments;
pub mod thread;
pub mod writer;
