//! Our snapshots under the eyes of stock Redis: its checker passes them, and a stock server that loads one has the
//! very data that it has from the original.

use crate::harness::{Launch, run, stock_tool};
use ringhold::store::Snapshot;
use ringhold::store::rdb::{LoadOptions, SaveOptions, load, save};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

fn samples() -> Vec<PathBuf> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples");
    let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|e| e == "rdb")).collect()
}

/// The same data as we write them.
fn rewritten(file: &Path, compress: bool) -> Vec<u8> {
    let (mut snapshot, mut bytes) = (Snapshot::empty(16), Vec::new());
    let original = fs::read(file).unwrap();
    let go_on = &mut |_| ControlFlow::Continue(());
    load(&mut &original[..], &LoadOptions::default(), &mut snapshot, go_on).unwrap();
    let options = SaveOptions { compress, checksum: true, ..SaveOptions::default() };
    save(&snapshot, &options, &mut bytes, go_on).unwrap();
    bytes
}

/// Digest of all data and list of functions, as a stock server has them that starts with this snapshot.
fn seen_by_stock(snapshot: &[u8]) -> Option<(String, Vec<String>)> {
    let launch = Launch::stock(&[("appendonly", "no"), ("enable-debug-command", "yes")])?;
    fs::write(launch.data().join("dump.rdb"), snapshot).unwrap();
    let server = launch.start();
    let mut c = server.connect();
    let libraries = c.must(&["FUNCTION", "LIST", "WITHCODE"]).items();
    let mut libraries: Vec<String> = libraries.iter().map(|library| format!("{library:?}")).collect();
    libraries.sort();
    Some((c.must(&["DEBUG", "DIGEST"]).text(), libraries))
}

#[test]
fn stock_redis_passes_and_loads_what_we_write() {
    let Some(checker) = stock_tool("redis-check-rdb") else { return };
    let scratch = tempfile::tempdir().unwrap();
    for file in samples() {
        for compress in [false, true] {
            let bytes = rewritten(&file, compress);
            let copy = scratch.path().join("copy.rdb");
            fs::write(&copy, &bytes).unwrap();
            let (code, said) = run(&checker, &[copy.as_os_str()]);
            assert_eq!(code, Some(0), "{}: {said}", file.display());
            let Some(ours) = seen_by_stock(&bytes) else { return };
            let original = seen_by_stock(&fs::read(&file).unwrap()).unwrap();
            assert_eq!(ours, original, "{}", file.display());
        }
    }
}
