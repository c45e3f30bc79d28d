//! The ring against a plain byte string, at every step of an append, and with damaged files.

use proptest::prelude::*;

use super::*;
use crate::disk::{PowerCut, SimDisk};
use crate::format::ring::MIN_CAPACITY;

const PATH: &str = "/d/backlog.ring";

fn id(n: u8) -> ReplId {
    ReplId::from_random([n; 20])
}

fn begin(at: u64) -> Begin {
    Begin { replid: id(1), begun: Offset(at), tag: 77, at: Offset(at), db: 0 }
}

fn create(disk: &SimDisk, capacity: u64, at: u64) -> Ring {
    Ring::create(disk, Path::new(PATH), capacity, begin(at)).unwrap()
}

fn open(disk: &SimDisk) -> (Box<Ring>, Check) {
    match Ring::open(disk, Path::new(PATH)).unwrap() {
        Found::Ring(mut ring, check) => {
            keep_last(&mut ring, &check);
            (ring, check)
        }
        Found::Missing => panic!("missing"),
        Found::Damaged(damage) => panic!("{damage}"),
    }
}

fn keep_last(ring: &mut Ring, check: &Check) {
    let end = check.claimed.end;
    ring.keep(check.proven.last().cloned().unwrap_or(end..end), ring.db());
}

/// The stream byte at an offset, so that contents are checked without a second copy.
fn byte(offset: u64) -> u8 {
    (offset.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56) as u8
}

fn stream(from: u64, len: u64) -> Vec<u8> {
    (from..from + len).map(byte).collect()
}

fn assert_holds_the_stream(ring: &Ring) {
    let (a, b) = ring.read(ring.start(), usize::MAX).unwrap();
    assert_eq!((a.len() + b.len()) as u64, ring.end() - ring.start());
    assert!([a, b].concat() == stream(ring.start().0, ring.end() - ring.start()), "contents");
}

fn append(ring: &mut Ring, len: u64) {
    ring.append(&stream(ring.end().0, len), 0);
}

#[test]
fn it_holds_the_newest_bytes_and_comes_back() {
    let disk = SimDisk::new();
    let mut ring = create(&disk, 100_000, 12_345);
    for len in [1, 50, 4096, 9000, 0, 30_000, 60_000, 50, 77_000, 5] {
        append(&mut ring, len);
        assert_holds_the_stream(&ring);
    }
    assert!(ring.end() - ring.start() > ring.capacity() - 2 * BLOCK - ring.slack());
    ring.append(&stream(ring.end().0, 9), 5);
    ring.note_durable(Offset(7), Offset(6));
    let window = ring.start()..ring.end();
    drop(ring);
    let (ring, check) = open(&disk);
    assert_eq!((ring.start()..ring.end(), ring.db(), ring.replid()), (window.clone(), 5, id(1)));
    assert_eq!((check.proven, check.claimed, check.damage), (vec![window.clone()], window, None));
    assert_eq!((check.written, check.durable), (Offset(7), Offset(6)));
    assert_holds_the_stream(&ring);
}

/// Scenario 10: one unit larger than the ring.
#[test]
fn a_unit_larger_than_the_ring_empties_it() {
    let disk = SimDisk::new();
    let mut ring = create(&disk, MIN_CAPACITY, 100);
    append(&mut ring, 3000);
    let huge = ring.limit() + 1;
    assert_eq!(ring.start_after(huge), Offset(3100 + huge));
    append(&mut ring, huge);
    assert_eq!((ring.start(), ring.end()), (Offset(3100 + huge), Offset(3100 + huge)));
    append(&mut ring, 5000);
    assert_holds_the_stream(&ring);
    drop(ring);
    let (ring, check) = open(&disk);
    assert_eq!((ring.start(), check.damage), (Offset(3100 + huge), None));
    assert_holds_the_stream(&ring);
}

/// Scenario 11: killed at any instruction of an append, the window is old or new and every byte in it is right.
#[test]
fn a_process_crash_at_any_step_leaves_a_valid_ring() {
    let disk = SimDisk::new();
    let mut ring = create(&disk, MIN_CAPACITY, 4090);
    let mut snapshots = Vec::new();
    for len in [5, 1, 4000, 96, 8000, 8192, 1, 4095, 4097, 50, 2000, 8190, 8192] {
        let bytes = stream(ring.end().0, len);
        let before = (ring.start(), ring.end());
        snapshots.push((before, ring.region.bytes().to_vec()));
        let mut seen = Vec::new();
        ring.append_in_steps(&bytes, 0, |map| seen.push(map.to_vec()));
        let after = (ring.start(), ring.end());
        // also torn in the middle of a step: the first half of what changed
        let mut last = snapshots.last().unwrap().1.clone();
        seen.push(ring.region.bytes().to_vec());
        for map in seen {
            let changed: Vec<usize> = (0..map.len()).filter(|&i| map[i] != last[i]).collect();
            for keep in [0, 1, changed.len() / 2, changed.len().saturating_sub(1), changed.len()] {
                let mut torn = last.clone();
                changed.iter().take(keep).for_each(|&i| torn[i] = map[i]);
                let mut torn_back = last.clone();
                changed.iter().rev().take(keep).for_each(|&i| torn_back[i] = map[i]);
                for torn in [torn, torn_back] {
                    let crashed = SimDisk::new();
                    durable::write_new(&crashed, Path::new(PATH), &torn).unwrap();
                    let (ring, check) = open(&crashed);
                    assert_eq!(check.damage, None);
                    assert!(ring.end() == before.1 || ring.end() == after.1);
                    assert!(ring.start() == before.0 || ring.start() >= after.0);
                    assert_holds_the_stream(&ring);
                }
            }
            last = map;
        }
    }
}

/// Scenarios 3, 5: after a power cut only proven ranges are left, and an earlier lap never validates.
#[test]
fn a_power_cut_loses_pages_but_never_lies() {
    for seed in 0..200 {
        let disk = SimDisk::new();
        let mut ring = create(&disk, 64 * 1024, 1000);
        for _ in 0..seed {
            append(&mut ring, 700 + seed * 13);
        }
        if seed % 3 == 0 {
            ring.flush().unwrap();
        }
        append(&mut ring, 5000 + seed);
        drop(ring);
        let cut = [PowerCut::Seeded(seed), PowerCut::LoseAll, PowerCut::KeepAll][(seed % 7).min(2) as usize];
        let after = disk.after_power_cut(cut);
        match Ring::open(&after, Path::new(PATH)).unwrap() {
            Found::Ring(mut ring, check) => {
                let end = ring.end();
                if check.proven.is_empty() {
                    ring.keep(end..end, 0);
                }
                for range in check.proven {
                    let from = range.start.max(ring.start());
                    let len = range.end.since(from) as usize;
                    let (a, b) = ring.read(from, len).unwrap_or((&[], &[]));
                    assert!([a, b].concat() == stream(from.0, (a.len() + b.len()) as u64));
                    ring.keep(range.clone(), 0);
                    assert_holds_the_stream(&ring);
                }
                append(&mut ring, 100);
                assert_holds_the_stream(&ring);
            }
            Found::Damaged(_) => {}
            Found::Missing => panic!("a durable file is missing"),
        }
    }
}

/// A start comes back to a place before bytes that are still sealed in the file; the stream goes on with others, and a power
/// cut brings the old pages back under the new header. Nothing may prove the old bytes.
#[test]
fn bytes_of_a_branch_that_was_left_are_never_proven() {
    let disk = SimDisk::new();
    let mut ring = create(&disk, 64 << 10, 0);
    append(&mut ring, 5 * BLOCK);
    ring.flush().unwrap();
    ring.keep(Offset(0)..Offset(BLOCK + 100), 0);
    ring.forget_outside().unwrap();
    let left = disk.files().remove(0).1;
    ring.append(&vec![0; 3 * BLOCK as usize], 0);
    ring.flush().unwrap();
    drop(ring);
    let table = Layout::for_capacity(64 << 10).seal_at(Offset::ZERO);
    disk.damage(Path::new(PATH), |bytes| bytes[table..].copy_from_slice(&left[table..]));
    let (_, check) = open(&disk);
    assert_eq!((check.claimed.end, check.proven), (Offset(4 * BLOCK + 100), vec![Offset(0)..Offset(BLOCK)]));
}

#[test]
fn an_id_changes_in_mid_block_and_the_bytes_stay_proven() {
    let disk = SimDisk::new();
    let mut ring = create(&disk, MIN_CAPACITY, 0);
    append(&mut ring, 100);
    ring.set_replid(id(2));
    append(&mut ring, 100);
    ring.set_replid(id(3));
    drop(ring);
    let (ring, check) = open(&disk);
    assert_eq!((ring.replid(), ring.begun(), check.damage), (id(3), Offset(200), None));
    assert_eq!((ring.start(), ring.end()), (Offset(0), Offset(200)));
}

#[test]
fn a_narrowed_window_goes_on() {
    let disk = SimDisk::new();
    let mut ring = create(&disk, 64 * 1024, 10);
    append(&mut ring, 20_000);
    ring.keep(Offset(5000)..Offset(9100), 4);
    assert_eq!((ring.start(), ring.end(), ring.db()), (Offset(8192), Offset(9100), 4));
    append(&mut ring, 20_000);
    assert_holds_the_stream(&ring);
    drop(ring);
    let (mut ring, check) = open(&disk);
    assert_eq!(check.damage, None);
    ring.keep(Offset(9000)..Offset(9100), 0);
    assert_eq!((ring.start(), ring.end()), (Offset(9100), Offset(9100)));
    append(&mut ring, 10);
    assert_holds_the_stream(&ring);
}

/// Where a resize is cut short by a crash.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Crash {
    Copying,
    Attached,
    Renamed,
    Switched,
}

/// Scenario 35: a crash at any step of a resize, to a smaller or a larger ring, finds a ring with every byte so far.
#[test]
fn a_resize_keeps_both_files_current() {
    for capacity in [16 * 1024, 256 * 1024] {
        for crash in [Crash::Copying, Crash::Attached, Crash::Renamed, Crash::Switched] {
            let disk = SimDisk::new();
            let ring = resize_until(&disk, capacity, crash);
            let (end, replid) = (ring.end(), ring.replid());
            drop(ring); // what is in the map is in the file
            let (found, check) = open(&disk);
            assert_eq!((found.replid(), found.end(), check.damage), (replid, end, None), "{crash:?}");
            let taken_over = matches!(crash, Crash::Renamed | Crash::Switched);
            assert_eq!(found.capacity(), if taken_over { capacity } else { 64 * 1024 }, "{crash:?}");
            assert!(end - found.start() >= (found.capacity() - 3 * BLOCK).min(50_000), "{crash:?}");
            assert_holds_the_stream(&found);
        }
    }
}

fn resize_until(disk: &SimDisk, capacity: u64, crash: Crash) -> Ring {
    let mut ring = create(disk, 64 * 1024, 0);
    append(&mut ring, 50_000);
    append(&mut ring, 20_000);
    let new_path = Path::new("/d/backlog.ring.new");
    let mut twin = Ring::create(disk, new_path, capacity, ring.twin_begin(capacity)).unwrap();
    twin.prefault();
    while !ring.copy_to(&mut twin, 5000) {
        append(&mut ring, 1000); // meanwhile
        if crash == Crash::Copying {
            return ring;
        }
    }
    append(&mut ring, 2000);
    ring.attach_twin(twin);
    assert_eq!(ring.limit(), capacity.min(64 * 1024) - 2 * BLOCK);
    append(&mut ring, 7000);
    ring.set_replid(id(9));
    append(&mut ring, 3);
    assert_holds_the_stream(&ring);
    if crash == Crash::Attached {
        return ring;
    }
    disk.rename(new_path, Path::new(PATH)).unwrap();
    if crash == Crash::Renamed {
        return ring;
    }
    assert_eq!(ring.switch_to_twin().map(|old| old.capacity()), Some(64 * 1024));
    assert_eq!((ring.capacity(), ring.path()), (capacity, Path::new(PATH)));
    append(&mut ring, 6000);
    assert_holds_the_stream(&ring);
    ring
}

#[test]
fn bad_files_are_named() {
    let check = |change: &dyn Fn(&mut Vec<u8>), expected: &str| {
        let disk = SimDisk::new();
        let mut ring = create(&disk, MIN_CAPACITY, 0);
        append(&mut ring, 6000);
        drop(ring);
        disk.damage(Path::new(PATH), |bytes| change(bytes));
        match Ring::open(&disk, Path::new(PATH)).unwrap() {
            Found::Damaged(damage) => assert!(damage.to_string().contains(expected), "{damage}"),
            Found::Ring(mut ring, check) => {
                keep_last(&mut ring, &check);
                assert!(check.damage.unwrap().to_string().contains(expected));
                assert_holds_the_stream(&ring);
            }
            Found::Missing => panic!("missing"),
        }
    };
    check(&|bytes| bytes.clear(), "/d/backlog.ring: at byte 0: no sound header slot");
    check(&|bytes| bytes.fill(0), "no sound header slot");
    check(&|bytes| bytes.truncate(9000), "cut to 9000 of 24576 bytes");
    check(&|bytes| bytes[8192 + 10] ^= 1, "at byte 8192: the block of stream offset 0 does not match");
    check(&|bytes| bytes[8192 + 4096] ^= 1, "the block of stream offset 4096");
    check(&|bytes| bytes[4096] ^= 1, "the block of stream offset 0");
    assert!(matches!(Ring::open(&SimDisk::new(), Path::new(PATH)).unwrap(), Found::Missing));
}

#[test]
fn a_full_disk_is_an_error_that_leaves_nothing_behind() {
    let disk = SimDisk::new();
    disk.set_free_space(Some(10_000));
    let Err(failure) = Ring::create(&disk, Path::new(PATH), 1 << 20, begin(0)) else { panic!("made") };
    assert!(failure.is_disk_full() && failure.to_string().contains("reserving space for /d/backlog.ring"));
    assert_eq!(disk.list(Path::new("/d")).unwrap(), Vec::<String>::new());
}

proptest! {
    #[test]
    fn any_appends_keep_the_newest_bytes(at in 0u64..100_000, lens in prop::collection::vec(0u64..20_000, 1..40)) {
        let disk = SimDisk::new();
        let mut ring = create(&disk, 32 * 1024, at);
        for len in lens {
            let start = ring.start_after(len);
            append(&mut ring, len);
            prop_assert_eq!(ring.start(), start);
            prop_assert!(ring.start() >= ring.name.origin);
            assert_holds_the_stream(&ring);
        }
        let window = ring.start()..ring.end();
        drop(ring);
        let (ring, check) = open(&disk);
        prop_assert_eq!(check.damage, None);
        prop_assert_eq!(ring.start()..ring.end(), window);
    }
}
