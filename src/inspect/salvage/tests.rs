//! Files are damaged on purpose: what is written is sound, and nothing is lost but what the damage touched.

use std::path::Path;

use super::*;
use crate::inspect::check::Verdict;

/// What was found, and the new file.
fn salvaged(directory: &Path, name: &str, bytes: &[u8]) -> (Salvaged, Vec<u8>) {
    let path = directory.join(name);
    std::fs::write(&path, bytes).unwrap();
    let mut out = Vec::new();
    let found = salvage(&path, &check::Options::default(), UnixMillis(0), &mut out).unwrap();
    let new = directory.join(format!("new-{name}"));
    std::fs::write(&new, &out).unwrap();
    if !out.is_empty() {
        let report = check::check(&new, &check::Options::default()).unwrap();
        let problem = report.parts().find_map(|part| part.problem.clone());
        assert_eq!(report.verdict(), Verdict::Sound, "{problem:?} of {}", bytes.escape_ascii());
    }
    (found, out)
}

fn sample(name: &str) -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples").join(name)).unwrap()
}

/// Version 6, six keys: strings `a` to `d`, a set with a deadline, `e` in db 3.
const FILE: &[u8] = b"REDIS0006\xfe\0\0\x02ka\x03one\0\x02kb\x03two\0\x02kc\x05three\
    \xfc\x01\0\0\0\0\0\0\0\x02\x02ks\x02\x01x\x01y\0\x02kd\x04four\xfe\x03\0\x02ke\x04five\xff\0\0\0\0\0\0\0\0";

fn at(what: &[u8]) -> usize {
    FILE.windows(what.len()).position(|window| window == what).unwrap()
}

#[test]
fn only_what_is_damaged_is_lost() {
    let directory = tempfile::tempdir().unwrap();
    let check = |change: &dyn Fn(&mut Vec<u8>), kept: u64, losses: &[(usize, usize)]| {
        let mut bytes = FILE.to_vec();
        change(&mut bytes);
        let (found, _) = salvaged(directory.path(), "x.rdb", &bytes);
        let places: Vec<(usize, usize)> =
            found.losses.iter().map(|loss| (loss.from as usize, loss.to as usize)).collect();
        assert_eq!((found.kept, places.as_slice()), (kept, losses), "{:?}", found.losses);
    };
    let [b, c, s, d] = [at(b"\0\x02kb"), at(b"\0\x02kc"), at(b"\xfc\x01"), at(b"\0\x02kd")];
    check(&|_| {}, 6, &[]);
    // A type that is none.
    check(&|file| file[b] = 77, 5, &[(b, c)]);
    // A length of the name, of the value.
    check(&|file| file[b + 1] = 0x82, 5, &[(b, c)]);
    check(&|file| file[b + 4] = 0x82, 5, &[(b, c)]);
    // The same member twice: its end is known.
    check(&|file| file[d - 1] = b'x', 5, &[(s, d)]);
    // A hole.
    check(&|file| file[b..b + 6].fill(0), 5, &[(b, c)]);
    // The magic.
    check(&|file| file[0] = b'X', 6, &[(0, 9)]);
    // Cut off.
    let cut = at(b"\0\x02ke") + 3;
    check(&|file| file.truncate(cut), 5, &[(cut - 3, cut)]);
}

#[test]
fn a_file_that_is_whole_stays_as_it_is() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["types.rdb", "tables.rdb", "streams.rdb", "databases.rdb", "version-2.rdb"] {
        let (found, _) = salvaged(directory.path(), "x.rdb", &sample(name));
        assert!(found.is_whole() && found.kept > 0, "{name}: {found:?}");
    }
}

#[test]
fn a_key_twice_is_written_once() {
    let directory = tempfile::tempdir().unwrap();
    let file = b"REDIS0006\xfe\0\0\x01k\x03one\0\x01l\x01x\0\x01k\x03two\xff\0\0\0\0\0\0\0\0";
    let (found, out) = salvaged(directory.path(), "x.rdb", file);
    assert_eq!((found.kept, found.notes.len()), (2, 1));
    assert!(out.windows(3).any(|window| window == b"two"));
}

/// One flipped bit costs at most a handful of keys; never a panic, never an unsound file.
#[test]
fn a_flipped_bit_anywhere() {
    let directory = tempfile::tempdir().unwrap();
    for (name, stride) in [("version-2.rdb", 7), ("types.rdb", 41), ("streams.rdb", 23)] {
        let bytes = sample(name);
        let all = salvaged(directory.path(), "x.rdb", &bytes).0.kept;
        for at in (9..bytes.len()).step_by(stride) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << (at % 8);
            let found = salvaged(directory.path(), "x.rdb", &damaged).0;
            assert!(found.kept <= all + 2, "{name} {at}: {found:?}");
            // The oldest has no checksum that could tell.
            let is_told = name != "version-2.rdb" && at < bytes.len() - 8;
            assert!(!found.is_whole() || !is_told, "{name} {at}: {found:?}");
        }
    }
}

#[test]
fn rubbish_and_hostile_lengths() {
    let directory = tempfile::tempdir().unwrap();
    let noise = |len: usize| (0..len).map(|i| ((i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 37) as u8);
    let head = b"REDIS0011".to_vec();
    let long = [&head[..], b"\x12\x01k\x81\xff\xff\xff\xff\xff\xff\xff\xff"].concat();
    let many = [&head[..], &b"\x01\x01k\x81\x00\xff\xff\xff\xff\xff\xff\xff".repeat(500)].concat();
    for bytes in [
        head.clone(),
        head.iter().copied().chain(noise(30_000)).collect(),
        long,
        many,
        [&head[..], &[0; 10_000]].concat(),
        [&head[..], &[1; 10_000]].concat(),
        [&head[..], &[0xff; 10_000]].concat(),
        [&head[..], &b"\xc3\x0a\x81\x00\xff\xff\xff\xff\xff\xff\xff".repeat(100)].concat(),
    ] {
        let (found, _) = salvaged(directory.path(), "x.rdb", &bytes);
        assert!(!found.is_whole() && found.kept <= 2, "{found:?}");
    }
}

#[test]
fn whole_commands_of_a_log() {
    let directory = tempfile::tempdir().unwrap();
    let set = |key: &str| format!("*3\r\n$3\r\nSET\r\n${}\r\n{key}\r\n$1\r\nv\r\n", key.len());
    let check = |log: &str, kept: u64, losses: usize, expected: &str| {
        let (found, out) = salvaged(directory.path(), "x.aof", log.as_bytes());
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        assert_eq!((found.kept, found.losses.len()), (kept, losses), "{:?}", found.losses);
    };
    let [a, b, c] = ["a", "bb", "ccc"].map(set);
    let (multi, exec) = ("*1\r\n$5\r\nMULTI\r\n", "*1\r\n$4\r\nEXEC\r\n");
    check(&format!("{a}{b}{c}"), 3, 0, &format!("{a}{b}{c}"));
    check(&format!("{a}{multi}{b}{exec}{c}"), 5, 0, &format!("{a}{multi}{b}{exec}{c}"));
    // Damage between, in a length, at the end.
    check(&format!("{a}\0\0\0{b}{c}"), 3, 1, &format!("{a}{b}{c}"));
    check(&format!("{a}{}{c}", b.replace("$2", "$1")), 2, 1, &format!("{a}{c}"));
    check(&format!("{a}{}{c}", b.replace("$2", "$900")), 2, 1, &format!("{a}{c}"));
    check(&format!("{a}{b}{}", &c[..c.len() - 1]), 2, 1, &format!("{a}{b}"));
    // A transaction is kept whole or not at all.
    check(&format!("{a}{multi}{b}"), 1, 1, &a);
    check(&format!("{a}{multi}{b}{}", &c[..c.len() - 1]), 1, 1, &a);
    check(&format!("{a}{multi}{b}\0\0{c}{exec}{a}"), 2, 2, &format!("{a}{a}"));
    check(&format!("{a}{}{b}{exec}{c}", multi.replace("$5", "$4")), 2, 2, &format!("{a}{c}"));
    check(&format!("{a}\0{b}{multi}{c}{exec}"), 5, 1, &format!("{a}{b}{multi}{c}{exec}"));
    // Marks tell of bytes that are gone.
    check(&format!("#TS:5\r\n{a}#RH:x\r\n{b}"), 2, 0, &format!("#TS:5\r\n{a}{b}"));
}
