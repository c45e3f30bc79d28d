//! The append-only log: segments, writer, recovery. Ignorant of values: it knows bytes, units and offsets.
//!
//! # How the driver uses it
//!
//! ```text
//! disk      Arc<dyn Disk> = Arc::new(OsDisk::new());  DirLock::acquire(dir)
//! paths     Paths { data, log_dir: appenddirname, log_name: appendfilename, snapshot: dbfilename }
//!
//! start     commit::tidy_up(disk, &paths)?
//!           let Recovered { plan, ring, .. } = plan::recover(disk, &paths, &FormatProbe, &Settings { .. })?;   changes nothing
//!           let mut plan = plan.map_err(…)?;          Refusal: log Display, exit
//!           plan.load:    each file's RDB (first `rdb` bytes), then RunReader::of_load(disk, load)? for its commands (db 0)
//!           plan.replay:  RunReader::of_run(disk, run)?; while reader.next(ring, &mut piece)? { feed the node, db = run.db }
//!           let prepared = commit::prepare(disk, &paths, &mut plan)?;    cut, aside, old log, manifest
//!           ring:  Some(r) → RingPlan::Keep { start } → r.keep(start..plan.end, plan.db), r.forget_outside()?
//!                            RingPlan::Refill { at, db } → r.restart(Begin { at, db, replid/begun/tag of plan.history }),
//!                            then append what was replayed (runs read from the ring come first: read before restarting)
//!                  None    → Ring::create(…, Begin { at: plan.end … })
//!           let mut store = HistoryFile::recovered(disk, paths.history(), plan.history, boot_id);
//!           as primary:   plan.fresh → store.save()?, else store.begin(new_id, Cause::Start, plan.end, &mut ring, None)?
//!           as replica:   store.save()?
//!           log on, or plan.log_from.offset < plan.end, or spilled segments are kept:
//!             LogThread::start(segments, options, plan.log_from, plan.durable, waker)?;
//!             sender.push_units(ring bytes [log_from, end), log_from, db);  sender.set_replid(store.get().replid);
//!             drop prepared.idle_segment;   log on and !plan.log_has_base and data → rewrite soon
//!
//! writing   let segments = Arc::new(Mutex::new(prepared.segments));
//!           Options { policy, timestamps, no_fsync_on_rewrite, mark_interval: mark_interval(ring.capacity()) }
//!           per batch, at most 64 KiB or one unit:
//!                       ring.append(bytes, db); sender.push(bytes, end, db); ring.note(sender.written(), sender.durable())
//!           log moved:  ring.note_durable(sender.written(), sender.durable()): no append may follow to take it along
//!           rule 6:     before that, while ring.start_after(len).min(end) > sender.marked(): sender.mark(), read no clients
//!           rule 8:     a unit larger than ring.limit() is answered when sender.marked() >= its end
//!           replies:    sender.durable() >= end (always);  sender.health() (P7);  waker is called on changes
//!           rewrite:    sender.rotate(|Rotated { seq, start }| …); snapshot at `start`, with AUX repl-id and repl-offset of
//!                       that place; write and fsync it as (name, base_seq) = segments.next_base(rotated.seq, as_commands) under paths.log_file(name);
//!                       store.announce_base(base); segments.commit_base(&name, base_seq, start, seq);
//!                       store.confirm_base(&base, |old| old is the log's former base)
//!           BGSAVE:     write and fsync a temporary; store.announce_base(base); durable::publish(temporary, dump.rdb);
//!                       store.confirm_base(&base, |old| old.files[0].name == "dump.rdb")
//!           AOF off:    before ring.start_after(len) passes the cut of the last *placed* base: LogThread::start at that cut
//!                       with Policy::Spill, push_units of the ring from there; after a snapshot at the cut of a rotation:
//!                       segments.drop_before(seq)
//!           sealed:     health Latched → store.seal(durable..written); sender.reopen(place at a new cut, …); base as in a
//!                       rewrite; sender.base_is_durable()
//!           end:        log.stop()? → ring.note_durable(…); ring.flush(); store.mark_clean(&closed)
//!           new id:     store.begin(id, Cause::Promotion, end, &mut ring, Some(&sender))
//!           full sync:  generation::adopt
//!
//! ring      match Ring::open(disk, path)? { Found::Ring(ring, check) | Found::Missing | Found::Damaged(why) }
//!           Ring::create(disk, path, capacity, Begin { replid, begun, tag, at, db })?
//!           open changes nothing; keep or restart before the first append
//!           resize: make one at `backlog.ring.new` on another thread; ring.attach_twin(new); disk.rename + fsync_dir;
//!           ring.switch_to_twin()
//! ```

pub mod commit;
pub mod cursor;
pub mod generation;
pub mod hands;
pub mod history_file;
pub mod plan;
pub mod rdb_probe;
pub mod recovery;
pub mod replay;
pub mod segments;
pub mod survey;
pub mod thread;
pub mod writer;
