//! Sound files are sound; of a damaged one, whatever the damage, file and offset are told, and nothing panics.

use std::io::{Cursor, Read};
use std::path::{Path, PathBuf};

use super::*;
use crate::disk::{Disk, Mode, SimDisk, read_all};
use crate::format::aof::{Chain, Place};
use crate::ring::{Begin, Ring};
use crate::units::{Offset, ReplId};

const NAME: &str = "the file";

fn checked(bytes: impl Read + 'static, name: &str) -> FileReport {
    let found = input::of_reader(Box::new(bytes), Path::new(name), None);
    match found.and_then(check_input) {
        Ok(report) => report,
        // A damaged length may ask for more memory than there is to be.
        Err(Failure::Corrupt(damage) | Failure::TooLong(damage)) => {
            let mut report = FileReport::new(Path::new(name), "unknown");
            report.add(Verdict::Corrupt, damage);
            report
        }
        Err(failure) => panic!("{failure}"),
    }
}

fn of(bytes: &[u8], name: &str) -> FileReport {
    checked(Cursor::new(bytes.to_vec()), name)
}

/// A problem names the file and a place in it.
fn is_placed(report: &FileReport, len: usize, what: &str) {
    if report.verdict == Verdict::Sound {
        assert!(report.problem.is_none(), "{what}");
        return;
    }
    let problem = report.problem.as_ref().unwrap_or_else(|| panic!("{what}: no problem"));
    assert!(problem.file.is_some(), "{what}: {problem}");
    assert!(problem.at <= len as u64, "{what}: {problem} of {len} bytes");
}

/// Our samples, and real servers' files where they are beside the project.
fn samples() -> Vec<(String, Vec<u8>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut found = Vec::new();
    for directory in ["data/samples", "../shared/rdb"] {
        let Ok(entries) = std::fs::read_dir(root.join(directory)) else { continue };
        let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        for path in paths.iter().filter(|path| path.extension().is_some_and(|e| e == "rdb")) {
            found.push((path.display().to_string(), std::fs::read(path).unwrap()));
        }
    }
    found
}

/// A log of ours: opening, commands, marks.
fn segment(db: u32) -> Vec<u8> {
    let place = |offset: u64| Place { replid: ReplId::from_random([7; 20]), offset: Offset(offset), db };
    let mut file = Vec::new();
    let mut chain = Chain::open(place(100), &mut file);
    let units = [
        "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n",
        "*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n*1\r\n$4\r\nEXEC\r\n",
        "*2\r\n$3\r\nDEL\r\n$1\r\nk\r\n",
    ];
    let mut offset = 100;
    for unit in units {
        file.extend_from_slice(unit.as_bytes());
        chain.cover(unit.as_bytes());
        offset += unit.len() as u64;
        chain.mark(place(offset), Offset(100), &mut file);
    }
    file
}

/// A base of ours that was written as commands.
fn base_of_commands() -> Vec<u8> {
    let mut file = STOCK.as_bytes().to_vec();
    let mut chain = Chain::base();
    chain.cover(&file);
    let place = Place { replid: ReplId::from_random([7; 20]), offset: Offset(100), db: 0 };
    chain.end_base(place, &mut file);
    file
}

const STOCK: &str = "*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n#TS:1700000000\r\n*1\r\n$5\r\nMULTI\r\n*3\r\n$3\r\nset\r\n$1\r\nk\r\n\
                     $3\r\nv\r\n\r\n*1\r\n$4\r\nEXEC\r\n*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\nx\r\n";

#[test]
fn samples_are_sound_and_every_prefix_is_not() {
    for (name, bytes) in samples() {
        let report = of(&bytes, &name);
        assert_eq!(report.verdict, Verdict::Sound, "{name}: {:?}", report.problem);
        assert_eq!(report.bytes, bytes.len() as u64, "{name}");
        let step = 1 + bytes.len() / 700;
        let marked = report.notes.iter().any(|note| note.contains("end mark"));
        for len in (0..bytes.len()).step_by(step).filter(|len| !marked || len + 40 != bytes.len()) {
            let report = of(&bytes[..len], &name);
            assert_ne!(report.verdict, Verdict::Sound, "{name} cut to {len}");
            is_placed(&report, len, &format!("{name} cut to {len}"));
        }
    }
}

#[test]
fn every_flipped_bit_is_placed_or_harmless() {
    for (name, bytes) in samples() {
        let has_checksum =
            of(&bytes, &name).facts.iter().any(|(fact, sum)| *fact == "checksum" && sum != "none");
        let step = 1 + bytes.len() / 700;
        for at in (0..bytes.len()).step_by(step) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let report = of(&damaged, &name);
            let what = format!("{name} flipped at {at}");
            is_placed(&report, bytes.len(), &what);
            assert!(report.verdict == Verdict::Corrupt || !has_checksum, "{what}");
        }
    }
}

#[test]
fn a_log_is_sound_between_units_and_torn_elsewhere() {
    for file in [segment(0), segment(3), base_of_commands(), STOCK.as_bytes().to_vec()] {
        let ours = file != STOCK.as_bytes();
        assert_eq!(of(&file, "a.aof").verdict, Verdict::Sound, "{:?}", of(&file, "a.aof").problem);
        for len in 0..file.len() {
            let report = of(&file[..len], "a.aof");
            let what = format!("cut to {len}: {:?}", report.problem);
            assert_ne!(report.verdict, Verdict::Corrupt, "{what}");
            is_placed(&report, len, &what);
            let Some(cut) = report.cut else { continue };
            let kept = of(&file[..cut as usize], "a.aof");
            assert_eq!(kept.verdict, Verdict::Sound, "{what}: cut at {cut}: {:?}", kept.problem);
            assert!(cut == 0 || file[..cut as usize].ends_with(b"\n"), "{what}");
        }
        for at in 0..file.len() {
            for bit in 0..8 {
                let mut damaged = file.clone();
                damaged[at] ^= 1 << bit;
                let report = of(&damaged, "a.aof");
                let what = format!("flipped at {at}.{bit} of {:?}", String::from_utf8_lossy(&file));
                is_placed(&report, file.len(), &what);
                // The digits of a seal may be in either case.
                let harmless = damaged.eq_ignore_ascii_case(&file) || !report.notes.is_empty();
                assert!(!ours || report.verdict != Verdict::Sound || harmless, "{what}");
            }
        }
    }
}

#[test]
fn nothing_is_cut_under_a_running_server() {
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("appendonlydir");
    std::fs::create_dir(&directory).unwrap();
    let log = directory.join("a.aof");
    std::fs::write(&log, "*1\r\n$4\r\nPING\r\n*1").unwrap();
    let report = check(&log, &Options::default()).unwrap();
    let running = crate::disk::DirLock::acquire(scratch.path()).unwrap();
    let refused = fix(&report).unwrap_err();
    assert!(matches!(&refused, Failure::Usage(why) if why.contains("in use by process")), "{refused}");
    assert_eq!(std::fs::metadata(&log).unwrap().len(), 16);
    drop(running);
    assert_eq!(fix(&report).unwrap()[0].cut, 2);
}

#[test]
fn what_is_wrong_with_a_log_is_named() {
    let check = |tail: &str, verdict: Verdict, at: u64, what: &str| {
        let file = format!("*1\r\n$4\r\nPING\r\n{tail}");
        let report = of(file.as_bytes(), "a.aof");
        assert_eq!(report.verdict, verdict, "{tail:?}: {:?}", report.problem);
        let problem = report.problem.unwrap();
        assert!(problem.at == at && problem.what.contains(what), "{tail:?}: {problem}");
    };
    check("*1\r\n$4\r\nPONG\r\n", Verdict::Corrupt, 14, "unknown command 'PONG'");
    check("#TS:17", Verdict::Torn, 14, "ends inside what begins here");
    check("#RH:off=12*2\r\n$6\r\nSELECT\r\n$1\r\n0\r\n", Verdict::Corrupt, 14, "opening is missing");
    check("*1\r\n$5\r\nMULTI\r\n", Verdict::Torn, 14, "inside a MULTI");
    check("*2\r\n$3\r\nGET\r\n$3\r\nab", Verdict::Torn, 14, "whole up to byte 14, 19 bytes behind it");
    check("\0\0\0\0\0", Verdict::Torn, 14, "zeros to the end");
    check("\0\0\0\0x", Verdict::Corrupt, 14, "neither a command");
    check("*9999999999999\r\n", Verdict::Corrupt, 14, "bad number of arguments");
    check("*1\r\n$99999999999\r\n", Verdict::Corrupt, 18, "bad length");
    check(&format!("#{}\r\n", "x".repeat(2000)), Verdict::Corrupt, 14, "too long");
    let module = "*1\r\n$8\r\nJSON.SET\r\n";
    assert_eq!(of(module.as_bytes(), "a.aof").verdict, Verdict::Sound);
}

#[test]
fn what_is_wrong_with_a_snapshot_is_named() {
    let check = |body: &[u8], verdict: Verdict, what: &str| {
        let file = [b"REDIS0004", body].concat();
        let report = of(&file, NAME);
        let said = format!("{:?} {:?}", report.problem, report.notes);
        assert_eq!(report.verdict, verdict, "{said}");
        assert!(said.contains(what), "{said}");
    };
    check(b"\0\x01a\x01v\0\x01a\x01v\xff", Verdict::Corrupt, "duplicated key 'a' in db 0");
    check(b"\0\x01a\x01v\xfe\x01\0\x01a\x01v\xff", Verdict::Sound, "None");
    check(b"\x02\x01s\x02\x01x\x01x\xff", Verdict::Corrupt, "duplicated member 'x' (key 's' in db 0)");
    check(b"\x04\x01h\x02\x01f\x01v\x01f\x01w\xff", Verdict::Corrupt, "duplicated field 'f'");
    check(b"\x01\x01l\0\xff", Verdict::Sound, "1 collections without elements");
    check(b"\x02\x01s\x81\x10\0\0\0\0\0\0\0\x01x", Verdict::Corrupt, "ends here");
    check(b"\0\x81\x10\0\0\0\0\0\0\0x", Verdict::Corrupt, "");
    check(b"\0\x01k\xc3\x02\x81\x10\0\0\0\0\0\0\0ab", Verdict::Corrupt, "cannot stand for");
    check(b"\x63", Verdict::Corrupt, "unknown type or opcode 99");
    check(b"\xff\0\0", Verdict::Corrupt, "more behind the end");
    check(b"\xfb\x05\x00\0\x01k\x01v\xff", Verdict::Sound, "db 0 has 1 keys, its size hint says 5");
    check(b"\xfa\x07repl-id\x02no\xff", Verdict::Corrupt, "AUX repl-id with 'no'");
    check(b"\x16\x01h\x01\x01f\x01v\x01\0\0\0\0\0\0\0\xff", Verdict::Corrupt, "unknown type or opcode 22");
    let metadata = b"\x18\x01h\x01\0\0\0\0\0\0\0\x02\0\x01f\x01v\x05\x01g\x01w\xff";
    check(metadata, Verdict::Sound, "None");
    let packed = b"\x19\x01h\x01\0\0\0\0\0\0\0\x0f\x0f\0\0\0\x03\0\x81f\x02\x81v\x02\x07\x01\xff\xff";
    check(packed, Verdict::Sound, "None");
    // A ziplist of "a" 2, "b" 1: out of order.
    let zset = b"\x0c\x01z\x15\x15\0\0\0\x12\0\0\0\x04\0\0\x01a\x03\xf3\x02\x01b\x03\xf2\xff\xff";
    check(zset, Verdict::Corrupt, "sorted set out of order: 'b' with score 1 behind score 2");
}

#[test]
fn a_duplicate_among_many_keys_is_named() {
    let mut file = b"REDIS0004".to_vec();
    let mut second = 0;
    for n in (0..100_000).chain([77_777]) {
        second = file.len() as u64;
        let name = format!("key:{n:06}");
        file.extend_from_slice(&[0, name.len() as u8]);
        file.extend_from_slice(name.as_bytes());
        file.extend_from_slice(b"\x01v");
    }
    file.push(0xff);
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("many.rdb");
    std::fs::write(&path, &file).unwrap();
    let report = check(&path, &Options::default()).unwrap();
    let problem = report.problem().unwrap();
    assert_eq!((problem.at, &*problem.what), (second, "duplicated key 'key:077777' in db 0"));
    // Where it cannot be read again, the place must do.
    let problem = of(&file, NAME).problem.unwrap();
    assert_eq!((problem.at, &*problem.what), (second, "duplicated key in db 0"));
}

#[test]
fn hashes_of_valkey_with_deadlines_are_passed() {
    let file =
        b"VALKEY080\x16\x01h\x02\x01f\x01v\xff\xff\xff\xff\xff\xff\xff\xff\x01g\x01w\x01\0\0\0\0\0\0\0\
                 \xff\0\0\0\0\0\0\0\0";
    let report = of(file, NAME);
    assert_eq!(report.verdict, Verdict::Sound, "{:?}", report.problem);
    assert!(report.facts.contains(&("elements", "2".to_string())), "{:?}", report.facts);
}

#[test]
fn a_preamble_and_its_commands_are_one_file() {
    let preamble = b"REDIS0004\xfe\0\0\x01k\x01v\xff";
    let file = [preamble, STOCK.as_bytes()].concat();
    let report = of(&file, NAME);
    assert_eq!((report.verdict, report.kind, report.bytes), (Verdict::Sound, "log", file.len() as u64));
    let report = of(&file[..file.len() - 3], NAME);
    assert_eq!(report.verdict, Verdict::Torn);
    let last = file.len() - "*3\r\n$5\r\nRPUSH\r\n$1\r\nl\r\n$1\r\nx\r\n".len();
    assert_eq!(report.cut, Some(last as u64));
}

#[test]
fn a_ring_is_checked_block_by_block() {
    let disk = SimDisk::new();
    let path = Path::new("/backlog.ring");
    let begin =
        Begin { replid: ReplId::from_random([3; 20]), begun: Offset(0), tag: 9, at: Offset(1000), db: 0 };
    for appended in [0, 10, 5_000, 40_000] {
        let mut ring = Ring::create(&disk, path, 16 * 1024, begin).unwrap();
        (0..appended / 10).for_each(|_| ring.append(b"0123456789", 0));
        ring.flush().unwrap();
        let bytes = read_all(&disk, path, u64::MAX).unwrap();
        let report = of(&bytes, "backlog.ring");
        assert_eq!(report.verdict, Verdict::Sound, "{appended}: {:?}", report.problem);
        let (mut found, mut missed) = (0, 0);
        for at in (0..bytes.len()).step_by(61) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            let report = of(&damaged, "backlog.ring");
            is_placed(&report, bytes.len(), &format!("{appended} flipped at {at}"));
            match report.verdict {
                Verdict::Sound => missed += 1,
                _ => found += 1,
            }
        }
        let window = appended.min(8 * 1024) as usize / 61;
        assert!(found >= window, "{appended}: {found} found, {missed} not");
        for len in [0, 100, 2048, 5000, bytes.len() - 1] {
            assert_eq!(of(&bytes[..len], "backlog.ring").verdict, Verdict::Corrupt, "cut to {len}");
        }
        disk.remove(path).unwrap();
    }
    assert!(disk.open(path, Mode::Read).is_err());
}

#[test]
fn endless_input_ends_in_bounded_memory() {
    let endless =
        |head: &[u8], byte: u8| Cursor::new(head.to_vec()).chain(std::io::repeat(byte).take(1 << 30));
    // A line without end, a name without end.
    assert_eq!(checked(endless(b"#TS:", b'1'), NAME).verdict, Verdict::Corrupt);
    let key = input::of_reader(
        Box::new(endless(b"REDIS0009\0\x81\0\0\0\0\x30\0\0\0", b'k')),
        Path::new(NAME),
        None,
    );
    assert!(matches!(check_input(key.unwrap()), Err(Failure::TooLong(_))));
}

#[test]
fn a_report_is_json() {
    let report = Report { files: vec![of(b"REDIS0004\0\x01a", NAME)], agreement: None };
    assert_eq!(
        String::from_utf8(report.to_json()).unwrap(),
        "{\"verdict\":\"corrupt\",\"files\":[{\"file\":\"the file\",\"kind\":\"snapshot\",\"bytes\":12,\
         \"verdict\":\"corrupt\",\"problem\":{\"file\":\"the file\",\"at\":12,\"what\":\"ends here, 1 or more bytes too \
         soon (key 'a' in db 0)\"},\"more\":0,\"cut\":null,\"facts\":{\"version\":4,\"keys\":1,\
         \"elements\":0},\"notes\":[]}]}"
    );
}

/// What is left after a cut to a time is proven to its end, though no mark stood there; a log that another file goes on from
/// is left alone.
#[test]
fn a_log_cut_to_a_time_is_proven() {
    let place = |offset: u64| Place { replid: ReplId::from_random([7; 20]), offset: Offset(offset), db: 2 };
    let unit = b"*1\r\n$4\r\nPING\r\n";
    let mut file = Vec::new();
    let mut chain = Chain::open(place(100), &mut file);
    for seconds in 1000..1004 {
        let line = crate::format::aof::timestamp(seconds);
        for bytes in [&line[..], unit, unit] {
            chain.cover(bytes);
            file.extend_from_slice(bytes);
        }
    }
    chain.mark(place(100 + 8 * unit.len() as u64), Offset(100), &mut file);
    let scratch = tempfile::tempdir().unwrap();
    let directory = scratch.path().join("appendonlydir");
    std::fs::create_dir(&directory).unwrap();
    let log = directory.join("l.1.incr.aof");
    for (name, refused) in [("replication.toml", false), ("l.2.incr.aof", true)] {
        std::fs::write(&log, &file).unwrap();
        std::fs::write(scratch.path().join("replication.toml"), "any").unwrap();
        let mut manifest = "file l.1.incr.aof seq 1 type i\n".to_string();
        if refused {
            manifest += &format!("file {name} seq 2 type i\n");
        }
        std::fs::write(directory.join("l.manifest"), manifest).unwrap();
        let fixed = truncate_to_timestamp(&log, 1001);
        if refused {
            assert!(matches!(&fixed, Err(Failure::Usage(why)) if why.contains(name)), "{fixed:?}");
            assert_eq!(std::fs::read(&log).unwrap(), file);
            continue;
        }
        let fixed = fixed.unwrap().unwrap();
        assert_eq!(fixed.withdrawn, [scratch.path().join(format!("{name}.aside"))]);
        let mut walk = crate::format::aof::SegmentWalk::new(0);
        walk.feed(&std::fs::read(&log).unwrap());
        let report = walk.finish();
        assert_eq!((report.proven.offset, report.proven.db), (Offset(100 + 4 * unit.len() as u64), 2));
        assert_eq!((report.unproven(), report.len), (0, fixed.keep));
    }
}
