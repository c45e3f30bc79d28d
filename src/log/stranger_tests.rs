//! Pieces of another server, of a copy that went its own way, or of another time: refused by name, never mixed in.

use super::*;
use crate::format::aof::{SegmentWalk, Strip};
use crate::log::segments::{ManifestFound, read_manifest};

/// P3: files of a copy that went on by itself are never mixed with ours.
#[test]
fn files_of_another_copy_are_refused() {
    let conf = Conf { policy: Some(Policy::Always), ring: 64 << 10 };
    let (disk, mut world) = (SimDisk::new(), World::default());
    let live = |disk: &SimDisk, world: &mut World, units: usize| {
        let (mut server, _) = Server::start(disk, world, conf).unwrap();
        for _ in 0..units {
            server.write(world, &set(100)).unwrap();
        }
        server.stop().unwrap();
    };
    live(&disk, &mut world, 3);
    let copy = disk.after_process_crash();
    let replace = |disk: &SimDisk, from: &SimDisk, path: &Path| {
        let bytes = contents(from, path);
        disk.damage(path, |old| *old = bytes);
    };
    live(&disk, &mut world, 3);
    live(&copy, &mut world, 5);
    // its ring
    let one = disk.after_process_crash();
    replace(&one, &copy, &paths().ring());
    assert_eq!(refusal_on(&one, true).file, paths().ring());
    // a segment of it, longer than ours was when it was closed
    let disk = disk.after_process_crash();
    live(&disk, &mut world, 1);
    let ManifestFound::Good(manifest) = read_manifest(&copy, &paths()).unwrap() else {
        panic!("no manifest")
    };
    let longer = paths().log_file(&manifest.incrs.last().unwrap().name);
    for ring_too in [false, true] {
        let mixed = disk.after_process_crash();
        replace(&mixed, &copy, &longer);
        if ring_too {
            mixed.remove(&paths().ring()).unwrap();
        }
        let refusal = refusal_on(&mixed, true);
        assert!(refusal.file == longer && refusal.what.contains("does not know"), "{refusal}");
    }
    // one as long as ours, so that the chain goes on behind it
    let (mut killed, _) = Server::start(&disk, &mut world, conf).unwrap();
    killed.write(&mut world, &set(100)).unwrap();
    killed.sync();
    drop(killed);
    let ManifestFound::Good(manifest) = read_manifest(&disk, &paths()).unwrap() else {
        panic!("no manifest")
    };
    assert!(manifest.incrs.len() >= 3, "{manifest:?}");
    for entry in &manifest.incrs[..2] {
        let (two, path) = (disk.after_process_crash(), paths().log_file(&entry.name));
        let strange = same_stream_under(&contents(&two, &path), id(999));
        two.damage(&path, |bytes| *bytes = strange);
        let refusal = refusal_on(&two, true);
        assert!(refusal.file == path && refusal.what.contains(&id(999).to_string()), "{refusal}");
    }
    // the whole log of another server, under our history and ring
    let (three, mut elsewhere) = (SimDisk::new(), World { starts: 100, ..World::default() });
    live(&three, &mut elsewhere, 20);
    live(&three, &mut elsewhere, 20);
    for path in [paths().history(), paths().ring()] {
        replace(&three, &disk, &path);
    }
    let refusal = refusal_on(&three, true);
    assert!(refusal.file.starts_with(paths().log()) && refusal.what.contains("does not know"), "{refusal}");
}

/// P3: base and idle segment of another server, which vouch for each other; and another server's `replication.toml`.
#[test]
fn an_idle_log_of_another_server_is_refused() {
    let mut world = World::default();
    let mut rewritten = |policy: Option<Policy>, units: usize| {
        let disk = SimDisk::new();
        let (mut server, _) = Server::start(&disk, &mut world, Conf { policy, ring: 64 << 10 }).unwrap();
        for _ in 0..units {
            server.write(&mut world, &set(100)).unwrap();
        }
        if policy.is_some() {
            server.rewrite().unwrap()
        } else {
            server.save().unwrap()
        }
        let idle = disk.after_process_crash();
        server.write(&mut world, &set(100)).unwrap();
        (idle, disk)
    };
    let always = Some(Policy::Always);
    let (ours, theirs) = (rewritten(always, 20), rewritten(always, 30));
    let check = |disk: &SimDisk, from: &SimDisk, paths: &[PathBuf], names: &Path| {
        let mixed = disk.after_process_crash();
        for path in paths {
            let bytes = contents(from, path);
            mixed.damage(path, |old| *old = bytes);
        }
        let refusal = refusal_on(&mixed, true);
        assert!(refusal.file.starts_with(names) && refusal.what.contains("not know"), "{refusal}");
    };
    check(&theirs.0, &ours.1, &[paths().history(), paths().ring()], &paths().log());
    check(&ours.1, &theirs.1, &[paths().history()], &paths().log());
    check(&ours.0, &theirs.1, &[paths().history()], &paths().log());
    // nor a log that was begun a moment ago, before its first byte
    let fresh = || {
        let disk = SimDisk::new();
        let mut world = World { starts: 700, ..World::default() };
        let conf = Conf { policy: Some(Policy::EverySec), ring: 64 << 10 };
        let (server, _) = Server::start(&disk, &mut world, conf).unwrap();
        drop(server);
        disk
    };
    check(&fresh(), &theirs.1, &[paths().history()], &paths().log());
    // without a log: snapshot and ring agree with each other
    let (ours, theirs) = (rewritten(None, 20), rewritten(None, 30));
    check(&ours.1, &theirs.1, &[paths().history()], &paths().history());
}

/// P3: with the log off, ring and `replication.toml` of the start before, under a newer snapshot and a segment that is idle yet.
#[test]
fn older_names_under_a_newer_snapshot_are_refused() {
    let conf = Conf { policy: None, ring: 16 << 10 };
    let (disk, mut world) = (SimDisk::new(), World::default());
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(100)).unwrap();
    server.save().unwrap();
    server.write(&mut world, &set(100)).unwrap();
    drop(server);
    let older = [paths().ring(), paths().history()].map(|path| (contents(&disk, &path), path));
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    for _ in 0..60 {
        server.write(&mut world, &set(1000)).unwrap();
    }
    server.save().unwrap();
    let at_cut = Place { replid: server.store.get().replid, offset: server.end(), db: 0 };
    server.segments.lock().unwrap().open_next(at_cut).unwrap();
    drop(server);
    start_on(&disk, false);
    for (bytes, path) in older {
        disk.damage(&path, |newer| *newer = bytes);
    }
    let refusal = refusal_on(&disk, false);
    assert!(refusal.what.contains("does not know"), "{refusal}");
}

/// P1: an older log under a ring that goes on far behind it is no crash of the process.
#[test]
fn a_log_older_than_the_ring_is_refused_or_said() {
    for policy in [Some(Policy::Always), Some(Policy::EverySec)] {
        let (disk, mut world) = (SimDisk::new(), World::default());
        let (mut server, _) = Server::start(&disk, &mut world, Conf { policy, ring: 16 << 10 }).unwrap();
        server.write(&mut world, &set(100)).unwrap();
        server.sync();
        let older = contents(&disk, Path::new(FIRST));
        for _ in 0..60 {
            server.write(&mut world, &set(1000)).unwrap();
        }
        let end = server.end();
        drop(server);
        assert_eq!(start_on(&disk, true).0.end, end);
        disk.damage(Path::new(FIRST), |bytes| *bytes = older);
        let refusal = refusal_on(&disk, true);
        assert!(refusal.what.contains("where backlog.ring begins"), "{refusal}");
        // a crash of the machine may leave that, if the header's `durable` does not contradict
        let mut history = History::parse(&contents(&disk, &paths().history())).unwrap();
        history.boot_id = "another".into();
        disk.damage(&paths().history(), |bytes| *bytes = history.emit().into_bytes());
        if policy == Some(Policy::EverySec) {
            let (plan, _) = start_on(&disk, true);
            let said = plan.loss.unwrap();
            assert!(said.contains(&format!("behind offset {} are lost", plan.end)), "{said}");
        }
    }
}

/// P5: the opening of a log that has no base of its own is damaged or gone: it is no other server's log.
#[test]
fn a_log_without_base_is_asked_for_its_opening() {
    for (policy, saved) in [(Some(Policy::Always), false), (Some(Policy::EverySec), false), (None, true)] {
        let (disk, mut world) = (SimDisk::new(), World::default());
        let (mut server, _) = Server::start(&disk, &mut world, Conf { policy, ring: 16 << 10 }).unwrap();
        server.write(&mut world, &set(100)).unwrap();
        if saved {
            server.save().unwrap();
        }
        for _ in 0..30 {
            server.write(&mut world, &set(1000)).unwrap();
        }
        let end = server.end();
        drop(server);
        assert_eq!(start_on(&disk, policy.is_some()).0.end, end);
        let damages: [fn(&mut Vec<u8>); 4] =
            [Vec::clear, |bytes| bytes.truncate(60), |bytes| bytes[20] ^= 1, |bytes| bytes[..200].fill(0)];
        for damage in damages {
            let hurt = disk.after_process_crash();
            hurt.damage(Path::new(FIRST), damage);
            let refusal = refusal_on(&hurt, true);
            assert!(refusal.file == Path::new(FIRST) && refusal.what.contains("opening"), "{refusal}");
        }
    }
}

/// What a refusal advises: with `replication.toml` and ring away a log without base goes on, also after the next kill.
#[test]
fn a_log_from_birth_is_its_own_base_without_its_history() {
    let conf = Conf { policy: Some(Policy::Always), ring: 64 << 10 };
    let (disk, _) = ran(conf.policy, 20, false);
    for gone in [paths().history(), paths().ring()] {
        disk.remove(&gone).unwrap();
    }
    let mut world = World { starts: 50, ..World::default() };
    for _ in 0..3 {
        let (mut server, plan) = Server::start(&disk, &mut world, conf).unwrap();
        assert_eq!((plan.verdict, plan.history.born), (Verdict::Continue, Born::Empty), "{}", plan.log_line);
        server.write(&mut world, &set(100)).unwrap();
        let (end, stream) = (server.end(), server.stream.clone());
        drop(server);
        let (plan, dataset) = start_on(&disk, true);
        assert!((plan.end, dataset.len()) == (end, stream.len()), "{}", plan.log_line);
    }
}

/// A log without its manifest is no empty directory, whatever else is gone.
#[test]
fn a_manifest_is_asked_for_also_without_its_history() {
    let (disk, _) = ran(Some(Policy::Always), 20, false);
    for gone in [paths().manifest(), paths().ring(), paths().history()] {
        disk.remove(&gone).unwrap();
        let refusal = refusal_on(&disk, true);
        assert!(refusal.file == paths().manifest() && refusal.what.contains("does not name"), "{refusal}");
    }
}

/// A ring that goes on from a snapshot of an earlier life is not dropped with `replication.toml` gone or older.
#[test]
fn a_ring_of_a_later_life_is_not_dropped() {
    let conf = Conf { policy: None, ring: 64 << 10 };
    let (disk, mut world) = (SimDisk::new(), World::default());
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(100)).unwrap();
    let older = contents(&disk, &paths().history());
    server.save().unwrap();
    server.write(&mut world, &set(100)).unwrap();
    drop(server);
    for _ in 0..2 {
        let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
        server.write(&mut world, &set(100)).unwrap();
        drop(server);
        let without = disk.after_process_crash();
        without.remove(&paths().history()).unwrap();
        assert_eq!(refusal_on(&without, true).file, paths().history());
        without.damage(&paths().history(), |bytes| bytes.clone_from(&older));
        assert_eq!(refusal_on(&without, true).file, paths().history());
        // with it, the same snapshot put back by hand is a restore
        let restored = disk.after_process_crash();
        restored.damage(Path::new(DUMP), |bytes| *bytes = rdb(Some((id(999), Offset(80))), b"restored"));
        assert_eq!(start_on(&restored, false).0.verdict, Verdict::SnapshotAlone);
    }
}

/// A sound segment with the stream bytes of `own` under another name.
fn same_stream_under(own: &[u8], replid: ReplId) -> Vec<u8> {
    let mut walk = SegmentWalk::new(0);
    walk.feed(own);
    let report = walk.finish();
    let mut stream = Vec::new();
    Strip::new(report.body).feed(&own[report.body as usize..], &mut stream).unwrap();
    let mut out = Vec::new();
    let mut chain = Chain::open(Place { replid, ..report.opening.unwrap() }, &mut out);
    chain.cover(&stream);
    out.extend_from_slice(&stream);
    let end = Place { replid, offset: report.proven.offset, db: 0 };
    chain.mark(end, end.offset, &mut out);
    out
}
