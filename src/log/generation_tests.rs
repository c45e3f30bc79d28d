//! Scenario 2: a full sync that ends anywhere leaves the old generation or the new one, whole, never a mixture.
//!
//! A server with files of every kind takes another history over and is stopped at every step, by a kill or by a power
//! cut that keeps all, nothing or any part of what was not synced. Before `replication.toml` names the new generation
//! a start comes back with the old bytes under the old id, after it with the payload at its cut; either way nothing of
//! the other generation is left, and the server goes on from there over a further kill.

use std::path::PathBuf;

use super::*;
use crate::log::generation::{Adopted, Arrived, adopt};
use crate::log::segments::{ManifestFound, read_manifest};

const TEMPORARY: &str = "/d/temp-sync-1.rdb";
const PAYLOAD: &[u8] = b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n";

#[derive(Clone, Copy, Debug)]
enum Old {
    Nothing,
    Segments,
    BaseAndSegments,
    Dump,
    DumpAndSpill,
}

impl Old {
    fn conf(self) -> Conf {
        match self {
            Old::Dump | Old::DumpAndSpill => Conf { policy: None, ring: 16 << 10 },
            _ => Conf { policy: Some(Policy::Always), ring: 16 << 10 },
        }
    }

    /// A running server with such files, all on the medium.
    fn server(self, world: &mut World) -> Server {
        let (mut server, _) = Server::start(&SimDisk::new(), world, self.conf()).unwrap();
        let units = if matches!(self, Old::Nothing) { 0 } else { 30 };
        for unit in 0..units {
            server.write(world, &set(900)).unwrap();
            match self {
                Old::Dump if unit == 20 => server.save().unwrap(),
                Old::DumpAndSpill if unit == 2 => server.save().unwrap(),
                Old::BaseAndSegments if unit == 10 => server.rewrite().unwrap(),
                _ => {}
            }
        }
        server.sync();
        if let Some(writer) = &server.writer {
            for entry in &server.segments.lock().unwrap().manifest().incrs {
                server.disk.open(&paths().log_file(&entry.name), Mode::Write).unwrap().fdatasync().unwrap();
            }
            server.ring.note(writer.written(), writer.durable());
        }
        server.ring.flush().unwrap();
        server
    }
}

/// The old server's files and position, and what takes their place.
struct Switch {
    disk: SimDisk,
    history: Mutex<HistoryFile>,
    segments: Arc<Mutex<Segments>>,
    old_id: ReplId,
    old_stream: Vec<u8>,
}

fn new_id() -> ReplId {
    id(9999)
}

impl Switch {
    fn of(old: Old, world: &mut World) -> Switch {
        let Server { disk, store, ring, segments, writer, stream, .. } = old.server(world);
        drop((ring, writer));
        let cut = Offset(PAYLOAD.len() as u64);
        durable::write_new(&disk, Path::new(TEMPORARY), &rdb(Some((new_id(), cut)), PAYLOAD)).unwrap();
        let old_id = store.get().replid;
        Switch { disk, history: Mutex::new(store), segments, old_id, old_stream: stream }
    }

    fn run(&self, with_log: bool) -> Result<Adopted> {
        let mark_interval = mark_interval(16 << 10);
        let policy = Policy::EverySec;
        let options = Options { policy, timestamps: false, no_fsync_on_rewrite: false, mark_interval };
        let arrived = Arrived {
            payload: Path::new(TEMPORARY),
            cut: Place { replid: new_id(), offset: Offset(PAYLOAD.len() as u64), db: 0 },
            begun: Offset::ZERO,
            born: Born::Copy,
            lineage: Vec::new(),
            role: Role::Replica { host: "primary".into(), port: 6379 },
            tag: 4711,
            ring_capacity: 16 << 10,
            log: with_log.then(|| (options, Arc::new(|| ()) as crate::log::thread::Waker)),
        };
        let disk: Arc<dyn Disk> = Arc::new(self.disk.clone());
        adopt(&disk, &paths(), &self.history, &self.segments, arrived)
    }

    /// A start on what is left; `what` says of which crash. Returns whether it came back after the commit.
    fn check(&self, left: &SimDisk, with_log: bool, what: &str) -> bool {
        let before = HistoryFile::recovered(
            Arc::new(left.clone()),
            paths().history(),
            History::parse(&crate::disk::read_all(left, &paths().history(), 1 << 20).unwrap()).unwrap(),
            "",
        );
        let committed = before.get().replid == new_id();
        let (expected, expected_id) =
            if committed { (PAYLOAD, new_id()) } else { (&self.old_stream[..], self.old_id) };

        tidy_up(left, &paths()).unwrap();
        let (plan, dataset) = start_on(left, with_log);
        assert_eq!((plan.end, plan.history.replid), (Offset(expected.len() as u64), expected_id), "{what}");
        assert!(dataset == expected, "{what}: committed: {committed}, {}", plan.log_line);
        assert!(plan.cut.is_none() && plan.aside.is_empty(), "{what}: {}", plan.log_line);

        let mut world = World { starts: 700, ..World::default() };
        let conf = Conf { policy: with_log.then_some(Policy::Always), ring: 16 << 10 };
        let (mut server, _) = Server::start(left, &mut world, conf).unwrap();
        if with_log || !server.store.get().bases.is_empty() {
            server.write(&mut world, &set(10)).unwrap();
        }
        let stream = server.stream.clone();
        assert!(stream.starts_with(expected), "{what}");
        drop(server);
        let (_, dataset) = start_on(left, with_log);
        assert!(dataset == stream, "{what}: after a further kill");
        self.check_names(left, what);
        committed
    }

    /// Nothing waits any more, and the log's directory holds only what the manifest names.
    fn check_names(&self, left: &SimDisk, what: &str) {
        let mut allowed: Vec<PathBuf> = vec![paths().manifest()];
        if let ManifestFound::Good(manifest) = read_manifest(left, &paths()).unwrap() {
            allowed.extend(manifest.loaded().map(|entry| paths().log_file(&entry.name)));
        }
        for name in left.list(&paths().log()).unwrap() {
            let temporary = name.ends_with(durable::TEMPORARY);
            assert!(temporary || allowed.contains(&paths().log_file(&name)), "{what}: {name} is left");
        }
        for name in left.list(&paths().data).unwrap() {
            assert!(!name.contains(".g"), "{what}: {name} still waits");
        }
    }
}

#[test]
fn a_full_sync_that_ends_anywhere_leaves_one_generation_whole() {
    let olds = [Old::Nothing, Old::Segments, Old::BaseAndSegments, Old::Dump, Old::DumpAndSpill];
    for (old, with_log) in olds.into_iter().flat_map(|old| [(old, true), (old, false)]) {
        let mut seen = [false; 2];
        for step in 0.. {
            let switch = Switch::of(old, &mut World::default());
            switch.disk.fail_from(step);
            let adopted = switch.run(with_log);
            let done = adopted.is_ok();
            let what = format!("{old:?}, log {with_log}, step {step}");
            let mut left = vec![(switch.disk.after_process_crash(), format!("{what}, killed"))];
            let cuts = [PowerCut::LoseAll, PowerCut::KeepAll];
            for cut in cuts.into_iter().chain((0..3).map(|n| PowerCut::Seeded(step * 7 + n))) {
                left.push((switch.disk.after_power_cut(cut), format!("{what}, {cut:?}")));
            }
            switch.disk.fail_from(u64::MAX); // a log's thread that cannot write takes a second to give up
            drop(adopted);
            for (left, what) in left {
                let committed = switch.check(&left, with_log, &what);
                assert!(committed || !done, "{what}: lost after it was called done");
                seen[usize::from(committed)] = true;
            }
            if done {
                break;
            }
        }
        assert_eq!(seen, [true; 2]);
    }
}

/// Who still works on the old generation when the new one is in force leaves the new one's manifest alone.
#[test]
fn what_comes_late_of_the_old_generation_changes_nothing() {
    for with_log in [true, false] {
        let switch = Switch::of(Old::BaseAndSegments, &mut World::default());
        let adopted = switch.run(with_log).unwrap();
        let manifest = || read_manifest(&switch.disk, &paths()).unwrap();
        let before = manifest();
        {
            let mut old = switch.segments.lock().unwrap();
            assert!(old.drop_before(u64::MAX).is_err());
            assert!(old.commit_base("appendonly.aof.9.base.rdb", 9, Offset(1), 9).is_err());
            assert!(old.open_next(Place { replid: id(1), offset: Offset(1), db: 0 }).is_err());
        }
        assert_eq!(manifest(), before);
        drop(adopted);
    }
}
