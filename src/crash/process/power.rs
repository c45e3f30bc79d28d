//! A power cut after the process has ended: the directory becomes what the fsyncs left of it ([`crate::disk::medium`]).
//!
//! | | of what was not synced is kept |
//! |---|---|
//! | a third of the cuts | nothing |
//! | a ninth | everything |
//! | the others | per directory the names of now or those of its last fsync; per file any subset of its pages, and its length of now or of then |

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use fastrand::Rng;

use crate::disk::medium::names_in;

const PAGE: usize = 4096;

/// How much of what was not synced is found.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keep {
    Nothing,
    All,
    Some,
}

/// A directory for the notes, before the first start.
pub fn prepare(medium: &Path, rng: &mut Rng) -> io::Result<()> {
    std::fs::create_dir_all(medium)?;
    std::fs::write(medium.join("boot"), format!("simulated-{:016x}", rng.u64(..)))
}

/// Cuts the power of the machine on which `data` is.
pub fn cut(data: &Path, medium: &Path, rng: &mut Rng) -> io::Result<()> {
    let keep = match rng.u8(0..9) {
        0..3 => Keep::Nothing,
        3 => Keep::All,
        _ => Keep::Some,
    };
    let mut seen = BTreeMap::new();
    let mut dirs = vec![data.to_path_buf()];
    let mut at = 0;
    while let Some(dir) = dirs.get(at).cloned() {
        at += 1;
        for entry in std::fs::read_dir(&dir)? {
            let entry = entry?;
            let found = entry.metadata()?;
            match found.is_dir() {
                true => dirs.push(entry.path()),
                false => drop(seen.insert(found.ino(), entry.path())),
            }
        }
    }
    for entry in std::fs::read_dir(medium)? {
        let path = entry?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if let Some(inode) = name.strip_prefix('k').and_then(|number| number.parse().ok()) {
            seen.entry(inode).or_insert(path);
        }
    }
    let mut left = Vec::new();
    for dir in &dirs {
        for (name, inode) in names(dir, medium, keep, rng)? {
            let synced = std::fs::read(medium.join(format!("f{inode}"))).unwrap_or_default();
            let now = seen.get(&inode).map(std::fs::read).transpose()?;
            left.push((dir.join(name), contents(synced, now, keep, rng)));
        }
    }
    put_back(data, &dirs, &left)?;
    std::fs::remove_dir_all(medium)?;
    prepare(medium, rng)?;
    note_all(&dirs, medium)
}

/// Names in a directory, with the inodes that they stand for.
fn names(dir: &Path, medium: &Path, keep: Keep, rng: &mut Rng) -> io::Result<Vec<(String, u64)>> {
    let mut now = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let found = entry.metadata()?;
        if found.is_file() {
            now.push((entry.file_name().to_string_lossy().into_owned(), found.ino()));
        }
    }
    if keep == Keep::All || keep == Keep::Some && rng.bool() {
        return Ok(now);
    }
    let noted = medium.join(format!("d{}", std::fs::metadata(dir)?.ino()));
    let text = std::fs::read_to_string(noted).unwrap_or_default(); // never synced
    let entry = |line: &str| {
        let (inode, name) = line.split_once(' ')?;
        Some((name.to_string(), inode.parse().ok()?))
    };
    Ok(text.lines().filter_map(entry).collect())
}

fn contents(synced: Vec<u8>, now: Option<Vec<u8>>, keep: Keep, rng: &mut Rng) -> Vec<u8> {
    let Some(now) = now.filter(|_| keep != Keep::Nothing) else { return synced };
    if keep == Keep::All {
        return now;
    }
    let mut found = synced;
    if rng.bool() {
        found.resize(now.len(), 0);
    }
    let len = found.len().min(now.len());
    for from in (0..len).step_by(PAGE) {
        let to = (from + PAGE).min(len);
        if rng.bool() {
            found[from..to].copy_from_slice(&now[from..to]);
        }
    }
    found
}

fn put_back(data: &Path, dirs: &[PathBuf], files: &[(PathBuf, Vec<u8>)]) -> io::Result<()> {
    std::fs::remove_dir_all(data)?;
    dirs.iter().try_for_each(std::fs::create_dir_all)?;
    files.iter().try_for_each(|(path, bytes)| std::fs::write(path, bytes))
}

/// All that is found after a power cut is on the medium.
fn note_all(dirs: &[PathBuf], medium: &Path) -> io::Result<()> {
    for dir in dirs {
        let names = names_in(dir)?;
        for (inode, name) in names.lines().filter_map(|line| line.split_once(' ')) {
            std::fs::copy(dir.join(name), medium.join(format!("f{inode}")))?;
        }
        std::fs::write(medium.join(format!("d{}", std::fs::metadata(dir)?.ino())), names)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_synced_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (data, medium) = (dir.path().join("data"), dir.path().join("medium"));
        let mut rng = Rng::with_seed(1);
        std::fs::create_dir_all(data.join("sub")).unwrap();
        prepare(&medium, &mut rng).unwrap();
        std::fs::write(data.join("a"), vec![1; 8192]).unwrap();
        std::fs::write(data.join("sub/b"), b"b").unwrap();
        note_all(&[data.clone(), data.join("sub")], &medium).unwrap();
        std::fs::write(data.join("new"), b"unknown").unwrap();
        for round in 0..40 {
            std::fs::write(data.join("a"), vec![2; 20480]).unwrap();
            cut(&data, &medium, &mut rng).unwrap();
            let a = std::fs::read(data.join("a")).unwrap();
            assert!(a.len() == 8192 || a.len() == 20480, "{round}");
            assert!(a.chunks(PAGE).all(|page| page.iter().all(|byte| *byte == page[0])), "{round}");
            assert_eq!(std::fs::read(data.join("sub/b")).unwrap(), b"b");
            std::fs::write(data.join("a"), vec![1; 8192]).unwrap();
            note_all(&[data.clone(), data.join("sub")], &medium).unwrap();
        }
    }
}
