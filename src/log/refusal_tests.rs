//! Files that were lost, exchanged or damaged: never silently less, never a mixture.

use super::*;
use crate::format::aof::SegmentWalk;
use crate::format::history::MAX_LINEAGE;

/// A clean shutdown promised everything: less is refused, whoever held the rest.
#[test]
fn a_clean_end_is_reached_or_refused() {
    type Damage = fn(&SimDisk);
    let cases: &[(Option<Policy>, Damage, &str)] = &[
        (
            None,
            |disk| {
                disk.damage(&paths().ring(), |bytes| {
                    let at = bytes.windows(20).rposition(|w| w == [b'v'; 20]).unwrap();
                    bytes[at] ^= 1;
                })
            },
            "/d/backlog.ring: ",
        ),
        (None, |disk| disk.remove(&paths().ring()).unwrap(), "/d/backlog.ring: "),
        (
            Some(Policy::EverySec),
            |disk| disk.rename(&paths().log(), Path::new("/d/elsewhere")).unwrap(),
            "/d/appendonlydir/appendonly.aof.manifest: ",
        ),
    ];
    for (policy, damage, named) in cases {
        let (disk, _, server) = saved_and_more(*policy);
        server.stop().unwrap();
        damage(&disk);
        if policy.is_some() {
            disk.remove(&paths().ring()).unwrap(); // or it would hold all that the log did
        }
        let refusal = refusal_on(&disk, true);
        assert!(refusal.to_string().starts_with(named), "{refusal}");
        assert!(refusal.what.contains("would be lost"), "{refusal}");
        // the operator opts in
        disk.remove(&paths().history()).unwrap();
        durable::remove_if_there(&disk, &paths().ring()).unwrap();
        assert_eq!(start_on(&disk, policy.is_some()).0.verdict, Verdict::SnapshotAlone);
    }
}

fn other_name() -> Paths {
    Paths { snapshot: "other.rdb".into(), ..paths() }
}

fn start_under(disk: &SimDisk, policy: Option<Policy>, paths: &Paths) -> (Plan, Vec<u8>) {
    let settings = settings(&mut World { starts: 500, ..World::default() }, Conf { policy, ring: 64 << 10 });
    let recovered = recover(disk, paths, &Probe, &settings).unwrap();
    let plan = recovered.plan.unwrap_or_else(|refusal| panic!("{refusal} {:?}", recovered.inputs));
    let dataset = load(disk, &plan, recovered.ring.as_deref());
    (plan, dataset)
}

/// `dbfilename` was changed, perhaps an export written under the new name (rule 26), and the server killed or stopped: nobody
/// restored anything while the snapshot lies there as `replication.toml` names it. Another snapshot under the new name is a
/// restore.
#[test]
fn a_changed_dbfilename_is_no_restore() {
    let other = other_name();
    for policy in [None, Some(Policy::EverySec)] {
        for stops in [false, true] {
            let (disk, mut world, mut server) = saved_and_more(policy);
            let (name, at, there) = (server.store.get().replid, server.end(), server.stream.clone());
            server.write(&mut world, &set(100)).unwrap();
            let all = server.stream.clone();
            if stops {
                server.stop().unwrap();
            } else {
                drop(server);
            }
            let check = |expected: Verdict, dataset: &[u8]| {
                let (plan, found) = start_under(&disk, policy, &other);
                assert_eq!(
                    (plan.verdict, found.as_slice()),
                    (expected, dataset),
                    "{policy:?} {}",
                    plan.log_line
                );
                plan
            };
            let kept = check(Verdict::Continue, &all);
            assert!(kept.history.bases.iter().any(|base| base.files[0].name == "dump.rdb"), "{policy:?}");
            let export = |position: &str, data: &[u8]| {
                let text = [format!("REDIS {position} export\n").as_bytes(), data].concat();
                let seal = crate::format::crc::seal(&[], &text);
                [&text[..], &seal.to_le_bytes()].concat()
            };
            let put = |bytes: &[u8]| {
                durable::remove_if_there(&disk, &other.snapshot()).unwrap();
                durable::write_new(&disk, &other.snapshot(), bytes).unwrap();
            };
            put(&export(&format!("{name} {at}"), &there));
            check(Verdict::Continue, &all);
            put(&export(&format!("{name} {}", all.len() + 1), b"further"));
            check(Verdict::SnapshotAlone, b"further");
            put(&export(&format!("{} {at}", id(77)), b"of another history"));
            check(Verdict::SnapshotAlone, b"of another history");
            put(&rdb(None, b"of another server"));
            check(Verdict::SnapshotAlone, b"of another server");
            // the named one was replaced by an export: a restore
            put(&export(&format!("{name} {at}"), &there));
            disk.remove(Path::new(DUMP)).unwrap();
            check(Verdict::SnapshotAlone, &there);
        }
    }
}

/// The ring is long past a log without a base, and the log, or its manifest, is gone after a kill: the stream was kept, so that
/// beginning anew would be a silent loss. A cache, which kept nothing, begins anew (rule 7).
#[test]
fn a_log_that_led_to_the_ring_is_asked_for() {
    let elsewhere = Path::new("/d/elsewhere");
    for policy in [None, Some(Policy::EverySec)] {
        for forgets in [false, true] {
            let (disk, mut world) = (SimDisk::new(), World::default());
            let (mut server, _) = Server::start(&disk, &mut world, Conf { policy, ring: 64 << 10 }).unwrap();
            for _ in 0..200 {
                server.write(&mut world, &set(1000)).unwrap();
            }
            if forgets {
                server.ring.forget_log(); // as the server does that removes the log
            }
            let all = server.stream.clone();
            drop(server);
            disk.rename(&paths().log(), elsewhere).unwrap();
            if forgets {
                assert_eq!(start_on(&disk, false).0.verdict, Verdict::Empty, "{policy:?}");
                continue;
            }
            let refusal = refusal_on(&disk, true);
            assert_eq!(refusal.file, paths().manifest(), "{policy:?} {refusal}");
            assert!(refusal.what.contains("the log is not there"), "{policy:?} {refusal}");
            disk.rename(elsewhere, &paths().log()).unwrap();
            assert!(start_on(&disk, false).1 == all, "put back, it is all there");
            disk.remove(&paths().manifest()).unwrap();
            let refusal = refusal_on(&disk, true);
            assert_eq!(refusal.file, paths().manifest(), "{policy:?} {refusal}");
        }
    }
}

/// A ring that is gone, or an older one, can be a crash of the machine: no refusal, but it is said what is lost.
#[test]
fn a_ring_that_went_back_is_said() {
    let conf = Conf { policy: Some(Policy::EverySec), ring: 64 << 10 };
    let (disk, mut world) = (SimDisk::new(), World::default());
    let mut older = Vec::new();
    for _ in 0..3 {
        let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
        older.push(contents(&disk, &paths().ring()));
        for _ in 0..5 {
            server.write(&mut world, &set(100)).unwrap();
        }
        server.order(Order::Mark);
        drop(server);
    }
    assert_eq!(start_on(&disk, true).0.loss, None);
    let exchanged = disk.after_process_crash();
    exchanged.damage(&paths().ring(), |bytes| bytes.clone_from(&older[1]));
    let said = start_on(&exchanged, true).0;
    let loss = said.loss.unwrap();
    assert!(loss.starts_with("backlog.ring is older than replication.toml: "), "{loss}");
    assert!(!said.log_line.contains("of the process"), "{}", said.log_line);
    let without = disk.after_process_crash();
    without.remove(&paths().ring()).unwrap();
    let loss = start_on(&without, true).0.loss.unwrap();
    assert!(loss.starts_with("backlog.ring is not there: what it alone held"), "{loss}");
}

/// Neither ring nor `replication.toml`: what the log holds is loaded, and what it may lack is said.
#[test]
fn a_log_alone_says_what_it_may_lack() {
    let (disk, stream) = ran(Some(Policy::Always), 20, false);
    disk.remove(&paths().ring()).unwrap();
    disk.remove(&paths().history()).unwrap();
    let (plan, dataset) = start_on(&disk, true);
    assert!(dataset == stream);
    let said = format!("backlog.ring are not there: what was acknowledged behind stream offset {}", plan.end);
    assert!(plan.loss.as_ref().is_some_and(|loss| loss.contains(&said)), "{:?}", plan.loss);
}

/// P5, P7: after a kill the ring alone holds what came since the last base. Damage to it is no trace of a kill: a start is
/// refused, by file and place, and goes on when the operator moves the ring away. Pages that a crash of the machine took are
/// said.
#[test]
fn a_damaged_ring_that_alone_holds_the_stream_is_refused() {
    type Damage = fn(&mut Vec<u8>);
    let flip: Damage = |bytes| {
        let at = bytes.len() - 60 * 1024;
        bytes[at] ^= 4;
    };
    let cases: [(&str, Damage); 3] = [
        ("a bit", flip),
        ("header", |bytes| bytes[..4096].fill(7)),
        ("cut", |bytes| bytes.truncate(bytes.len() / 2)),
    ];
    for saved in [false, true] {
        for (what, damage) in cases {
            let (disk, mut world) = (SimDisk::new(), World::default());
            let (mut server, _) =
                Server::start(&disk, &mut world, Conf { policy: None, ring: 64 << 10 }).unwrap();
            server.write(&mut world, &set(100)).unwrap();
            if saved {
                server.save().unwrap();
            }
            for _ in 0..40 {
                server.write(&mut world, &set(1000)).unwrap();
            }
            let end = server.end();
            drop(server);
            let ring = paths().ring();
            disk.damage(&ring, damage);
            let refusal = refusal_on(&disk, true);
            assert_eq!(refusal.file, ring, "{saved} {what}: {refusal}");
            assert!(refusal.what.contains("would be lost"), "{saved} {what}: {refusal}");
            let machine = disk.after_process_crash();
            on_another_boot(&machine);
            let (plan, _) = start_on(&machine, false);
            assert!(plan.end < end, "{}", plan.log_line);
            match what {
                "a bit" => {
                    assert!(plan.log_line.contains("are lost: the ring was damaged"), "{}", plan.log_line)
                }
                _ => assert!(plan.loss.is_some(), "{what} {}", plan.log_line),
            }
            disk.remove(&ring).unwrap();
            assert_eq!(start_on(&disk, false).1.len(), if saved { set(100).len() } else { 0 }, "{what}");
        }
    }
}

/// With the log on it held what was acknowledged and not yet written or marked there.
#[test]
fn a_ring_without_header_is_refused_beside_a_log() {
    for policy in [Policy::Always, Policy::EverySec] {
        let (disk, _) = ran(Some(policy), 20, false);
        disk.damage(&paths().ring(), |bytes| bytes[..4096].fill(7));
        let refusal = refusal_on(&disk, true);
        assert!(
            refusal.file == paths().ring() && refusal.what.contains("a crash of the process damages nothing"),
            "{refusal}"
        );
        disk.remove(&paths().ring()).unwrap();
        assert!(start_on(&disk, true).0.loss.is_some(), "{policy:?}");
        let (clean, stream) = ran(Some(policy), 20, true);
        clean.damage(&paths().ring(), |bytes| bytes[..4096].fill(7));
        assert!(start_on(&clean, true).1 == stream, "closed cleanly, the log has it all");
    }
}

/// A cache is killed while it writes segments for a replica that lags: no base leads to them, and they are set aside.
#[test]
fn segments_for_the_replicas_of_a_cache_are_no_older_log() {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let conf = Conf { policy: None, ring: 16 << 10 };
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(100)).unwrap();
    server.save().unwrap();
    let saved = server.stream.clone();
    for begun in [false, true] {
        if begun {
            let place = Place { replid: server.store.get().replid, offset: server.end(), db: 0 };
            server.open_log(place, place.offset).unwrap();
        }
        for _ in 0..40 {
            let unit = set(1000);
            server.stream.extend_from_slice(&unit);
            server.ring.append(&unit, 0); // `save ""`: the ring moves on
            let Some(writer) = &mut server.writer else { continue };
            let mut batch = Batch { bytes: unit.clone(), ..Batch::default() };
            batch.bounds.push(Bound { at: unit.len(), end: Offset(server.stream.len() as u64), db: 0 });
            batch.orders.push((unit.len(), Order::Mark));
            writer.take(batch);
            writer.advance(server.now);
            server.ring.note(writer.written(), writer.durable());
        }
    }
    drop(server);
    for _ in 0..2 {
        let (plan, dataset) = start_on(&disk, false);
        assert!(dataset == saved, "{}", plan.log_line);
        assert_eq!(plan.aside, [paths().log()]);
    }
    let (_, plan) = Server::start(&disk, &mut world, conf).unwrap();
    assert_eq!(plan.end.0, saved.len() as u64);
    assert_eq!(start_on(&disk, true).1, saved, "and again");
}

/// A base in force that is gone is asked for, by its name.
#[test]
fn a_base_that_is_gone_is_refused() {
    for policy in [None, Some(Policy::EverySec)] {
        let (disk, _, server) = saved_and_more(policy);
        drop(server);
        let _maybe_none = disk.rename(&paths().log(), Path::new("/d/elsewhere"));
        disk.remove(Path::new(DUMP)).unwrap();
        assert_eq!(refusal_on(&disk, true).file, Path::new(DUMP));
        let refusal = refusal_with(&disk, true, &other_name());
        assert_eq!(refusal.file, Path::new(DUMP));
        assert!(refusal.what.contains("dbfilename is other.rdb"), "{refusal}");
    }
}

/// A ring that only `replication.toml` could tell the history of is not thrown away.
#[test]
fn a_ring_without_its_history_is_refused() {
    let (disk, _) = ran(None, 10, true);
    disk.remove(&paths().history()).unwrap();
    let refusal = refusal_on(&disk, true);
    assert_eq!(refusal.file, paths().history());
    disk.remove(&paths().ring()).unwrap();
    assert_eq!(start_on(&disk, false).0.verdict, Verdict::Empty);
}

/// Likewise where a log is there, but ends before what the ring holds under the log's last name; and where an older
/// `replication.toml` lies beside a newer snapshot from which the ring goes on.
#[test]
fn a_ring_beyond_what_the_history_file_can_tell_is_not_dropped() {
    for policy in [None, Some(Policy::EverySec)] {
        let (disk, mut world) = (SimDisk::new(), World::default());
        let (mut server, _) = Server::start(&disk, &mut world, Conf { policy, ring: 64 << 10 }).unwrap();
        for _ in 0..200 {
            server.write(&mut world, &set(1000)).unwrap();
        }
        server.ring.append(&set(10), 0);
        drop(server);
        disk.remove(&paths().history()).unwrap();
        assert_eq!(refusal_on(&disk, true).file, paths().history(), "{policy:?}");
    }
    let (disk, mut world, server) = saved_and_more(None);
    drop(server);
    let old = contents(&disk, &paths().history());
    let (mut server, _) = Server::start(&disk, &mut world, Conf { policy: None, ring: 64 << 10 }).unwrap();
    server.write(&mut world, &set(100)).unwrap();
    server.save().unwrap();
    server.write(&mut world, &set(100)).unwrap();
    drop(server);
    disk.damage(&paths().history(), |bytes| bytes.clone_from(&old));
    let refusal = refusal_on(&disk, true);
    assert_eq!(refusal.file, paths().history());
    assert!(refusal.what.contains("older than backlog.ring"), "{refusal}");
}

/// `replication.toml` lost: the snapshot that lies in the log stays a base, another one is no restore.
#[test]
fn a_lost_history_does_not_make_the_snapshot_a_restore() {
    let conf = Conf { policy: Some(Policy::EverySec), ring: 64 << 10 };
    for ours in [true, false] {
        let (disk, mut world, mut server) = saved_and_more(conf.policy);
        server.sync();
        drop(server);
        disk.remove(&paths().history()).unwrap();
        if !ours {
            disk.damage(Path::new(DUMP), |bytes| *bytes = rdb(None, b"of another server"));
        }
        let mut len = 0;
        for _ in 0..3 {
            let (mut server, plan) = Server::start(&disk, &mut world, conf).unwrap();
            assert_eq!(plan.verdict, Verdict::Continue);
            assert!(plan.end.0 >= len && plan.end.0 > 2000, "{}", plan.log_line);
            assert_eq!(disk.exists(Path::new(DUMP)).unwrap(), ours, "{}", plan.log_line);
            server.write(&mut world, &set(100)).unwrap();
            server.sync();
            len = server.end().0;
        }
    }
}

/// A copy of a live directory: `replication.toml` was copied before a BGSAVE, the rest after it.
#[test]
fn a_snapshot_newer_than_the_history_file_is_ours() {
    for policy in [None, Some(Policy::Always)] {
        let (disk, mut world) = (SimDisk::new(), World::default());
        let (mut server, _) = Server::start(&disk, &mut world, Conf { policy, ring: 64 << 10 }).unwrap();
        let mut states = Vec::new();
        for _ in 0..2 {
            let before = contents(&disk, &paths().history());
            server.write(&mut world, &set(100)).unwrap();
            server.save().unwrap();
            states.push((before, contents(&disk, Path::new(DUMP))));
        }
        server.write(&mut world, &set(100)).unwrap();
        let stream = server.stream.clone();
        drop(server);
        let newest = contents(&disk, &paths().history());
        let put = |path: &Path, bytes: &[u8]| disk.damage(path, |old| *old = bytes.to_vec());
        put(&paths().history(), &states[1].0);
        let (plan, dataset) = start_on(&disk, policy.is_some());
        assert!(dataset == stream, "{policy:?} {}", plan.log_line);
        assert!(plan.history.bases.iter().any(|base| base.cut.0 > 200), "{:?}", plan.history);
        // but one that is older than what the file knows is a restore
        put(&paths().history(), &newest);
        put(Path::new(DUMP), &states[0].1);
        assert_eq!(start_on(&disk, policy.is_some()).0.verdict, Verdict::SnapshotAlone);
    }
}

/// A snapshot that was written to go elsewhere, put in the place of dump.rdb, is what gets loaded, though log and ring hold
/// its place and lead on from it (rule 15).
#[test]
fn an_export_is_never_taken_for_a_base() {
    for (policy, export) in
        [(None, false), (None, true), (Some(Policy::Always), false), (Some(Policy::Always), true)]
    {
        let (disk, mut world, mut server) = saved_and_more(policy);
        let (at, there) = (server.end(), server.stream.clone());
        server.write(&mut world, &set(100)).unwrap();
        let (replid, all) = (server.store.get().replid, server.stream.clone());
        drop(server);
        let word = if export { " export" } else { "" };
        let text = [format!("REDIS {replid} {at}{word}\n").as_bytes(), &there].concat();
        let seal = crate::format::crc::seal(&[], &text);
        let snapshot = [&text[..], &seal.to_le_bytes()].concat();
        disk.damage(Path::new(DUMP), |bytes| *bytes = snapshot.clone());
        let (plan, dataset) = start_on(&disk, policy.is_some());
        let expected = if export { (Verdict::SnapshotAlone, &there) } else { (Verdict::Continue, &all) };
        assert_eq!((plan.verdict, &dataset), expected, "{}", plan.log_line);
        assert_eq!(plan.end.0, dataset.len() as u64);
    }
}

/// Snapshots without checksum are told apart by their place.
#[test]
fn a_restored_snapshot_without_checksum_is_a_restore() {
    let (disk, _, mut server) = saved_and_more(None);
    let unchecked = |bytes: &mut Vec<u8>| {
        let len = bytes.len();
        bytes[len - 8..].fill(0);
    };
    server.save().unwrap();
    disk.damage(Path::new(DUMP), unchecked);
    let len = disk.len(Path::new(DUMP)).unwrap().unwrap();
    server.store.update(|history| history.bases[0].files[0].checksum = 0).unwrap();
    assert_eq!(start_on(&disk, false).0.verdict, Verdict::Continue);
    let position = Some((server.store.get().replid, Offset(1000)));
    let head = rdb(position, b"").len();
    disk.damage(Path::new(DUMP), |bytes| {
        *bytes = rdb(position, &vec![b'x'; len as usize - head]);
        unchecked(bytes);
    });
    assert_eq!(disk.len(Path::new(DUMP)).unwrap(), Some(len));
    let (plan, _) = start_on(&disk, false);
    assert_eq!((plan.verdict, plan.end), (Verdict::SnapshotAlone, Offset(1000)));
}

/// Scenario 1: `replication.toml` restored from an older copy; the name in band is believed.
#[test]
fn the_name_in_band_is_believed() {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let conf = Conf { policy: Some(Policy::Always), ring: 64 << 10 };
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(10)).unwrap();
    drop(server);
    let old_toml = crate::disk::read_all(&disk, &paths().history(), 1 << 20).unwrap();
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    let (name, begun) = (server.store.get().replid, server.end());
    server.write(&mut world, &set(10)).unwrap();
    drop(server);
    disk.damage(&paths().history(), |bytes| *bytes = old_toml);
    let (plan, _) = start_on(&disk, true);
    assert_eq!((plan.history.replid, plan.history.begun), (name, begun));
    assert_eq!(plan.history.lineage[0].end, begun);
    // and without the file at all
    disk.remove(&paths().history()).unwrap();
    let (plan, dataset) = start_on(&disk, true);
    assert_eq!((plan.history.replid, dataset.len() as u64), (name, plan.end.0));
}

/// Names that `replication.toml` has forgotten and the log still states are old, not new.
#[test]
fn forgotten_names_are_not_taken_for_newer_ones() {
    let conf = Conf { policy: Some(Policy::Always), ring: 64 << 10 };
    let (disk, mut world) = (SimDisk::new(), World::default());
    for _ in 0..MAX_LINEAGE + 10 {
        let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
        server.write(&mut world, &set(10)).unwrap();
    }
    let (plan, _) = start_on(&disk, true);
    assert_eq!(plan.history.replid, id(world.starts * 2 + 1), "the name of the last start");
    assert!(plan.history.lineage.windows(2).all(|pair| pair[0].end > pair[1].end));
}

/// One flipped bit is never taken for another server's writing, however many marks stand behind it; nor does such
/// writing hide it.
#[test]
fn a_flipped_bit_is_healed_or_refused_wherever_it_is() {
    let foreign = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$4\r\nPING\r\n";
    for clean in [true, false] {
        let (whole, _) = ran(Some(Policy::Always), 600, clean);
        let len = whole.len(Path::new(FIRST)).unwrap().unwrap() as usize;
        assert!(len > 150_000);
        for at in [500, len / 3, len / 2, len - 30_000, len - 3] {
            let (disk, _) = ran(Some(Policy::Always), 600, clean);
            disk.damage(Path::new(FIRST), |bytes| bytes[at] ^= 2);
            disk.remove(&paths().ring()).unwrap();
            let refusal = refusal_on(&disk, true);
            assert!(refusal.file == Path::new(FIRST) && refusal.what.contains("damaged"), "{at}: {refusal}");
            if clean {
                disk.damage(Path::new(FIRST), |bytes| bytes.extend_from_slice(foreign));
                let refusal = refusal_on(&disk, true);
                assert!(refusal.what.contains("before what another server wrote"), "{at}: {refusal}");
            }
        }
    }
}

/// Scenario 28: a damaged mark is healed by the ring, or refused, never cut.
#[test]
fn damage_below_what_was_durable_is_healed_or_refused() {
    for clean in [true, false] {
        let (disk, stream) = ran(Some(Policy::Always), 20, clean);
        let len = disk.len(Path::new(FIRST)).unwrap().unwrap() as usize;
        disk.damage(Path::new(FIRST), |bytes| bytes[len - 10] ^= 1);
        let (plan, dataset) = start_on(&disk, true);
        assert!(dataset == stream, "healed");
        assert!(plan.log_line.contains("appendonly.aof.1.incr.aof is damaged at byte"), "{}", plan.log_line);
        assert!(plan.cut.is_some_and(|cut| cut.aside.is_some()), "synced bytes are kept: {}", plan.log_line);
        disk.remove(&paths().ring()).unwrap();
        let refusal = refusal_on(&disk, true);
        assert_eq!(refusal.file, Path::new(FIRST));
        assert!(refusal.at as usize > len - 200 && refusal.what.contains("damaged"), "{refusal}");
    }
}

/// Rule 17: synced bytes that a sector of zeros took are no torn tail, also if nothing is left by which the commands behind
/// could be told apart, and only the log itself can tell what was durable.
#[test]
fn a_zeroed_sector_in_synced_bytes_is_refused() {
    for policy in [Policy::Always, Policy::EverySec] {
        let (disk, mut world) = (SimDisk::new(), World::default());
        let conf = Conf { policy: Some(policy), ring: 64 << 10 };
        let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
        for i in 0..60 {
            server.write(&mut world, &set(if i % 7 == 0 { 1500 } else { i })).unwrap();
        }
        server.sync();
        server.sync(); // idle by now: what was synced is told
        let body = (server.end(), disk.len(Path::new(FIRST)).unwrap().unwrap() as usize);
        drop(server);
        disk.remove(&paths().ring()).unwrap();
        // The last sector holds the telling marks themselves.
        for sector in 1..body.1 / 512 - 1 {
            let damaged = disk.after_process_crash();
            damaged.damage(Path::new(FIRST), |bytes| bytes[sector * 512..][..512].fill(0));
            let refusal = refusal_on(&damaged, true);
            let what = format!("{policy:?} {sector}: {refusal}");
            assert!(refusal.file == Path::new(FIRST) && refusal.what.contains("damaged"), "{what}");
            assert!(refusal.what.contains(&body.0.to_string()), "{what}");
        }
        let cut = disk.after_process_crash();
        cut.damage(Path::new(FIRST), |bytes| bytes.truncate(body.1 - 1));
        assert_eq!(start_on(&cut, true).0.end, body.0, "the telling mark itself may be torn");
    }
}

#[test]
fn damaged_files_refuse_by_name() {
    let (disk, _) = ran(Some(Policy::EverySec), 5, true);
    disk.damage(&paths().history(), |bytes| bytes[100] ^= 1);
    let refusal = refusal_on(&disk, true);
    assert!(
        refusal.to_string().starts_with("/d/replication.toml: at byte 0: line 1: the checksum"),
        "{refusal}"
    );

    let (disk, _) = ran(Some(Policy::EverySec), 5, true);
    disk.remove(Path::new(FIRST)).unwrap();
    let refusal = refusal_on(&disk, true);
    assert!(
        refusal.to_string().contains("appendonly.aof.1.incr.aof length. stat: No such file or directory")
    );

    let (disk, _) = ran(Some(Policy::EverySec), 5, true);
    disk.damage(&paths().manifest(), |bytes| bytes.clear());
    assert!(refusal_on(&disk, true).to_string().contains("Found an empty AOF manifest"));
}

const COMMANDS: &str = "/d/appendonlydir/appendonly.aof.2.base.aof";

/// A log with a base of commands and units behind it, that was killed. What its base leads to.
fn with_a_base_of_commands() -> (SimDisk, Vec<u8>) {
    let conf = Conf { policy: Some(Policy::Always), ring: 64 << 10 };
    let (disk, mut world) = (SimDisk::new(), World::default());
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(100)).unwrap();
    server.write(&mut world, &set(101)).unwrap();
    server.rewrite().unwrap();
    server.write(&mut world, &set(102)).unwrap();
    assert!(disk.exists(Path::new(COMMANDS)).unwrap());
    (disk, server.stream.clone())
}

/// It proves itself: with all that is known of the history, with the log alone, and as another history's.
#[test]
fn a_base_of_commands_is_a_base() {
    let (disk, stream) = with_a_base_of_commands();
    let (plan, dataset) = start_on(&disk, true);
    assert_eq!((plan.verdict, plan.log_has_base), (Verdict::Continue, true), "{}", plan.log_line);
    assert!(dataset == stream && plan.log_line.contains("from appendonly.aof.2.base.aof at "));
    for path in [paths().history(), paths().ring()] {
        disk.remove(&path).unwrap();
    }
    let (plan, dataset) = start_on(&disk, true);
    assert!(plan.verdict == Verdict::Continue && dataset == stream, "{}", plan.log_line);
    assert_eq!(plan.end, Offset(stream.len() as u64));

    // Another base in its place, as the manifest says it: loaded alone, as a new history (rule 15).
    let (disk, _) = with_a_base_of_commands();
    let report = {
        let mut walk = SegmentWalk::new(0);
        walk.feed(&contents(&disk, Path::new(COMMANDS)));
        walk.finish()
    };
    let place = Place { replid: id(999), ..report.base.unwrap() };
    disk.damage(Path::new(COMMANDS), |bytes| *bytes = as_commands(place, &set(7)));
    let (plan, dataset) = start_on(&disk, true);
    assert!(plan.verdict == Verdict::LogBaseAlone && dataset == set(7), "{}", plan.log_line);
}

/// No bit of it may be another, no byte may be missing, whatever else is there.
#[test]
fn a_damaged_base_of_commands_is_refused() {
    let (whole, _) = with_a_base_of_commands();
    let len = contents(&whole, Path::new(COMMANDS)).len();
    for alone in [false, true] {
        let check = |damage: &dyn Fn(&mut Vec<u8>), what: &str| {
            let disk = whole.after_process_crash();
            disk.damage(Path::new(COMMANDS), |bytes| damage(bytes));
            if alone {
                disk.remove(&paths().history()).unwrap();
            }
            let refusal = refusal_on(&disk, true);
            assert_eq!(refusal.file, Path::new(COMMANDS), "{what}: {refusal}");
        };
        for bit in 0..len * 8 {
            check(&|bytes| bytes[bit / 8] ^= 1 << (bit % 8), &format!("bit {bit}"));
        }
        for cut in 0..len {
            check(&|bytes| bytes.truncate(cut), &format!("cut at {cut}"));
        }
        check(&|bytes| bytes.extend_from_slice(&set(1)), "something behind it");
    }
}
