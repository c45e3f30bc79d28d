//! What others put into the directory: another server's writes and logs, an operator's snapshot.

use super::*;

/// Scenario 6: another server's writes behind ours are loaded whole, as a new history, never cut.
#[test]
fn a_foreign_tail_is_taken_over() {
    let (disk, stream) = ran(Some(Policy::EverySec), 10, true);
    let foreign = b"*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n*1\r\n$4\r\nPING\r\n";
    disk.damage(Path::new(FIRST), |bytes| bytes.extend_from_slice(foreign));
    let (plan, dataset) = start_on(&disk, true);
    assert_eq!(plan.verdict, Verdict::TakeOver);
    assert!(dataset == [&stream[..], foreign].concat());
    assert!(plan.fresh && plan.end == Offset::ZERO && plan.history.lineage.is_empty());
    assert_eq!(plan.history.bases[0].files.len(), 1);
}

/// Scenario 6, the starts after it: what was taken over is the base of the history from then on, found by its name in
/// `replication.toml`, though it begins with an opening of the history before.
#[test]
fn a_taken_over_tail_is_found_again() {
    let (disk, stream) = ran(Some(Policy::EverySec), 10, true);
    let foreign = b"*1\r\n$4\r\nPING\r\n";
    disk.damage(Path::new(FIRST), |bytes| bytes.extend_from_slice(foreign));
    let (mut plan, _) = start_on(&disk, true);
    assert!(!plan.log_has_base, "a rewrite is due");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut prepared = prepare(shared.clone(), &paths(), &mut plan).unwrap();
    assert_eq!(prepared.idle_segment, None, "it holds data");
    HistoryFile::recovered(shared, paths().history(), plan.history.clone(), BOOT).save().unwrap();
    for opened in [false, true] {
        if opened {
            prepared.segments.open_next(plan.log_from).unwrap();
        }
        let (again, dataset) = start_on(&disk, true);
        assert_eq!((again.verdict, again.end), (Verdict::Continue, Offset::ZERO), "{opened}");
        assert!(dataset == [&stream[..], foreign].concat(), "{opened}");
        assert_eq!(again.keep_segments.len(), 1 + usize::from(opened));
        assert_eq!(again.idle_segment.is_some(), opened);
    }
    // and if the base that it names is gone, nothing of it counts
    disk.damage(Path::new(FIRST), |bytes| bytes.truncate(bytes.len() - foreign.len()));
    let refusal = refusal_on(&disk, true);
    assert!(refusal.to_string().contains(FIRST), "{refusal}");
}

/// The other server loaded the log without the snapshot on which it stands: that is not the dataset.
#[test]
fn a_foreign_tail_behind_a_log_without_its_base_is_refused() {
    for born in [Born::Empty, Born::Copy, Born::Import] {
        let (disk, _) = ran(Some(Policy::EverySec), 10, true);
        disk.damage(&paths().history(), |bytes| {
            *bytes = History { born, ..History::parse(bytes).unwrap() }.emit().into_bytes();
        });
        disk.damage(Path::new(FIRST), |bytes| bytes.extend_from_slice(b"*1\r\n$4\r\nPING\r\n"));
        if born == Born::Empty {
            assert_eq!(start_on(&disk, true).0.verdict, Verdict::TakeOver);
            continue;
        }
        for appendonly in [true, false] {
            let refusal = refusal_on(&disk, appendonly).to_string();
            assert!(
                refusal.contains(FIRST) && refusal.contains("dump.rdb, is not a part of it"),
                "{refusal}"
            );
        }
    }
}

/// Scenario 7: yesterday's dump.rdb, put in place to undo FLUSHALL, is what gets loaded.
#[test]
fn an_operators_restore_is_obeyed() {
    for policy in [None, Some(Policy::EverySec)] {
        let (disk, _) = ran(policy, 10, true);
        durable::write_new(&disk, Path::new(DUMP), &rdb(None, b"yesterday")).unwrap();
        let (plan, dataset) = start_on(&disk, policy.is_some());
        assert_eq!((plan.verdict, dataset.as_slice()), (Verdict::SnapshotAlone, b"yesterday".as_slice()));
        assert!(plan.fresh && plan.replay.is_empty());
        assert_eq!(plan.log_line.contains("kept aside"), policy.is_some(), "{}", plan.log_line);
    }
}

/// Scenario 7, with a position: the replicas of the server that wrote the snapshot continue.
#[test]
fn a_snapshot_with_a_position_is_loaded_as_one() {
    let disk = SimDisk::new();
    durable::write_new(&disk, Path::new(DUMP), &rdb(Some((id(9), Offset(777))), b"data")).unwrap();
    let (plan, _) = start_on(&disk, true);
    assert_eq!((plan.history.replid, plan.end, plan.fresh), (id(9), Offset(777), false));
}

/// Another server's directory: whole units of every file; only the last may end early, if so configured.
#[test]
fn a_stock_log_is_taken_over() {
    let stock = |last: &[u8]| {
        let disk = SimDisk::new();
        disk.create_dir(&paths().log()).unwrap();
        let put = |name: &str, bytes: &[u8]| {
            durable::write_new(&disk, &paths().log_file(name), bytes).unwrap();
        };
        put("a.base.rdb", &rdb(None, b"base "));
        put("a.1.incr.aof", b"*1\r\n$4\r\nPING\r\n");
        put("a.2.incr.aof", last);
        let lines =
            "file a.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\nfile a.2.incr.aof seq 2 type i\n";
        put("appendonly.aof.manifest", lines.as_bytes());
        disk
    };
    let disk = stock(b"*1\r\n$4\r\nTIME\r\n*1\r\n$5\r\nMULTI\r\n*1\r\n$4\r\nTIME\r\n");
    let (mut plan, dataset) = start_on(&disk, true);
    assert_eq!(dataset, b"base *1\r\n$4\r\nPING\r\n*1\r\n$4\r\nTIME\r\n");
    let refusal = refusal_on(&disk, false);
    assert!(
        refusal.to_string().starts_with("Unexpected end of file reading the append only file a.2.incr.aof")
    );
    // taken over, it is found again as the base of our history
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let mut prepared = prepare(shared.clone(), &paths(), &mut plan).unwrap();
    HistoryFile::recovered(shared, paths().history(), plan.history.clone(), BOOT).save().unwrap();
    prepared.segments.open_next(plan.log_from).unwrap();
    let (again, dataset) = start_on(&disk, true);
    assert_eq!((again.verdict, again.history.replid), (Verdict::Continue, plan.history.replid));
    assert_eq!(dataset, b"base *1\r\n$4\r\nPING\r\n*1\r\n$4\r\nTIME\r\n");

    let disk = stock(b"*1\r\n$4\r\nTIME\r\n!!!*1\r\n");
    let refusal = refusal_on(&disk, true);
    assert!(refusal.to_string().starts_with("Bad file format reading the append only file a.2.incr.aof"));
    assert_eq!(refusal.at, 14);
}

#[test]
fn an_old_single_log_is_taken_over() {
    let disk = SimDisk::new();
    durable::write_new(&disk, &paths().old_log(), b"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPI").unwrap();
    let conf = Conf { policy: Some(Policy::EverySec), ring: 64 << 10 };
    let settings = settings(&mut World::default(), conf);
    let mut plan = recover(&disk, &paths(), &Probe, &settings).unwrap().plan.unwrap();
    assert_eq!(load(&disk, &plan, None), b"*1\r\n$4\r\nPING\r\n");
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    prepare(shared, &paths(), &mut plan).unwrap();
    assert_eq!(plan.history.bases[0].files[0].name, "appendonlydir/appendonly.aof");
    assert_eq!(plan.history.bases[0].files[0].len, 14);
}

/// A snapshot that lay beside the log which was taken over is none of the new history's: it is no restore at the next start,
/// however the server ended.
#[test]
fn a_snapshot_beside_a_taken_over_log_is_moved_aside() {
    let position = (id(9), Offset(50));
    for dump in [rdb(None, b"older"), rdb(Some(position), b"older"), b"damaged".to_vec()] {
        let disk = SimDisk::new();
        durable::write_new(&disk, &paths().old_log(), b"*1\r\n$4\r\nPING\r\n").unwrap();
        durable::write_new(&disk, Path::new(DUMP), &dump).unwrap();
        let (mut plan, _) = start_on(&disk, true);
        assert_eq!(plan.verdict, Verdict::TakeOver);
        assert!(plan.log_line.contains("moved aside"), "{}", plan.log_line);
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let mut prepared = prepare(shared.clone(), &paths(), &mut plan).unwrap();
        // A crash here: the same verdict.
        assert_eq!(start_on(&disk, true).0.verdict, Verdict::TakeOver);
        HistoryFile::recovered(shared, paths().history(), plan.history.clone(), BOOT).save().unwrap();
        prepared.segments.open_next(plan.log_from).unwrap();
        let (again, dataset) = start_on(&disk, true);
        assert_eq!((again.verdict, again.history.replid), (Verdict::Continue, plan.history.replid));
        assert_eq!(dataset, b"*1\r\n$4\r\nPING\r\n");
        assert_eq!(contents(&disk, Path::new("/d/dump.rdb.aside")), dump);
        assert!(plan.log_line.ends_with("; dump.rdb is now dump.rdb.aside"), "{}", plan.log_line);
    }
}
