//! Durable file operations: nobody else renames. Each fsync says what it is for.
//!
//! Replacing a file ([`replace`]) leaves, at a crash after step …
//!
//! | step | on disk | found at the next start |
//! |---|---|---|
//! | write temporary | old file, part of a temporary | old; the temporary is overwritten next time |
//! | fsync temporary | old file, whole temporary | old |
//! | rename | one of the two under the name (assumption 3), both whole | old or new |
//! | fsync directory | new file | new |
//!
//! Without the first fsync the rename could become durable before the bytes: an empty file under the name. Without
//! the second the caller could act on a change that a power cut takes back.
//!
//! [`replace_in_reserve`] does the same without needing free space (rule 24): it writes into a spare file whose blocks
//! were allocated beforehand, of constant length, and *exchanges* the two names, so that the old file becomes
//! the next spare. Content is padded with newlines to the reserved length, so it is for text formats only.

use std::path::{Path, PathBuf};

use super::{Disk, Mode, Result};
use crate::planted::{Bug, planted};

/// Suffix of the temporary that a replacement is written to.
pub const TEMPORARY: &str = ".tmp";
/// Suffix of the reserved twin of [`replace_in_reserve`].
pub const SPARE: &str = ".spare";

/// Replaces `path` by `bytes`: after a crash either the old or the new content is found, after return the new.
pub fn replace(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = with_suffix(path, TEMPORARY);
    write_new(disk, &temporary, bytes)?;
    publish(disk, &temporary, path)
}

/// Gives a finished, fsynced file its final name, durably; both names are in one directory.
pub fn publish(disk: &dyn Disk, temporary: &Path, path: &Path) -> Result<()> {
    disk.rename(temporary, path)?;
    if planted(Bug::NameFsync) {
        return Ok(());
    }
    disk.fsync_dir(parent(path)) // the new name must survive before anyone relies on it
}

/// Makes a directory and those above it; their names are durable when it returns.
pub fn make_dirs(disk: &dyn Disk, dir: &Path) -> Result<()> {
    let known = dir.ancestors().find(|above| disk.is_dir(above));
    disk.create_dir(dir)?;
    let mut new = dir.ancestors().take_while(|above| Some(*above) != known && !above.as_os_str().is_empty());
    new.try_for_each(|new| disk.fsync_dir(parent(new))) // or a power cut takes it with all that is in it
}

/// Creates `path` anew with `bytes`, contents fsynced, its name not yet.
pub fn write_new(disk: &dyn Disk, path: &Path, bytes: &[u8]) -> Result<()> {
    if disk.exists(path)? {
        disk.remove(path)?; // left by a crash
    }
    let file = disk.open(path, Mode::CreateNew)?;
    file.write_at(bytes, 0)?;
    file.fdatasync() // the bytes must be there before a rename makes them the file
}

/// Removes `path` if it is there; durable after the caller's next `fsync_dir`.
pub fn remove_if_there(disk: &dyn Disk, path: &Path) -> Result<()> {
    if disk.exists(path)? { disk.remove(path) } else { Ok(()) }
}

/// Like [`replace`], without needing free space once `path` and its spare exist with length `reserve`.
/// Content longer than `reserve` falls back to [`replace`].
pub fn replace_in_reserve(disk: &dyn Disk, path: &Path, text: &str, reserve: usize) -> Result<()> {
    if text.len() > reserve {
        return replace(disk, path, text.as_bytes());
    }
    let mut padded = text.as_bytes().to_vec();
    padded.resize(reserve, b'\n');
    let spare = with_suffix(path, SPARE);
    let ready = disk.len(&spare)? == Some(reserve as u64);
    match disk.open(&spare, Mode::Write) {
        Ok(file) if ready => {
            file.write_at(&padded, 0)?; // over blocks that the file already has
            if !planted(Bug::HistoryFsync) {
                file.fdatasync()?; // before the exchange makes it the file
            }
        }
        // Also one that may not be written to, left by a run as another user.
        _ => write_new(disk, &spare, &padded)?,
    }
    let exchanged = disk.exists(path)? && disk.exchange(&spare, path)?;
    if !exchanged {
        disk.rename(&spare, path)?;
    }
    disk.fsync_dir(parent(path))?; // the commit: the new name must survive before anyone is told
    // What became the spare must have the reserved length for the next time; that it cannot is no failure now.
    if !exchanged || disk.len(&spare)? != Some(reserve as u64) {
        let _next_time = write_new(disk, &spare, &padded);
    }
    Ok(())
}

/// `path` with `suffix` appended to its file name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_os_string();
    name.push(suffix);
    PathBuf::from(name)
}

pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{PowerCut, SimDisk, read_all};
    use super::*;

    fn read(disk: &SimDisk, path: &str) -> String {
        String::from_utf8(read_all(disk, Path::new(path), 1 << 20).unwrap()).unwrap()
    }

    /// Power fails at every step of a replacement: the content is the old or the new, whole.
    fn at_every_step(replace: impl Fn(&SimDisk, &str) -> Result<()>) {
        for step in 0.. {
            let disk = SimDisk::new();
            replace(&disk, "old").unwrap();
            disk.fail_from(step);
            let done = replace(&disk, "new").is_ok();
            for cut in [PowerCut::LoseAll, PowerCut::KeepAll, PowerCut::Seeded(step)] {
                let after = disk.after_power_cut(cut);
                let found = read(&after, "/d/f");
                let found = found.trim_end();
                assert!(found == "new" || (found == "old" && !done), "step {step} {cut:?}: {found:?}");
            }
            if done {
                break;
            }
        }
    }

    #[test]
    fn a_replaced_file_is_old_or_new() {
        at_every_step(|disk, text| replace(disk, Path::new("/d/f"), text.as_bytes()));
    }

    #[test]
    fn a_file_replaced_in_reserve_is_old_or_new() {
        at_every_step(|disk, text| replace_in_reserve(disk, Path::new("/d/f"), text, 4096));
    }

    #[test]
    fn new_directories_survive_a_power_cut_with_what_is_in_them() {
        let disk = SimDisk::new();
        make_dirs(&disk, Path::new("/d/e/f")).unwrap();
        replace(&disk, Path::new("/d/e/f/g"), b"text").unwrap();
        assert_eq!(read(&disk.after_power_cut(PowerCut::LoseAll), "/d/e/f/g"), "text");
        disk.create_dir(Path::new("/d/x")).unwrap();
        replace(&disk, Path::new("/d/x/g"), b"text").unwrap();
        disk.rename(Path::new("/d/e/f"), Path::new("/d/e/h")).unwrap();
        let after = disk.after_power_cut(PowerCut::LoseAll);
        assert_eq!(read(&after, "/d/e/f/g"), "text");
        assert!(!after.is_dir(Path::new("/d/e/h")) && !after.is_dir(Path::new("/d/x")));
        assert!(!after.exists(Path::new("/d/x/g")).unwrap());
        assert_eq!(read(&disk.after_power_cut(PowerCut::KeepAll), "/d/e/h/g"), "text");
        disk.fsync_dir(Path::new("/d")).unwrap();
        assert_eq!(read(&disk.after_power_cut(PowerCut::LoseAll), "/d/x/g"), "text");
    }

    /// Scenario 30: disk full and failover.
    #[test]
    fn a_full_disk_does_not_block_a_replacement_in_reserve() {
        let disk = SimDisk::new();
        replace_in_reserve(&disk, Path::new("/d/f"), "old", 4096).unwrap();
        replace_in_reserve(&disk, Path::new("/d/f"), "older", 4096).unwrap();
        disk.set_free_space(Some(0));
        for text in ["new", "newer", "newest"] {
            replace_in_reserve(&disk, Path::new("/d/f"), text, 4096).unwrap();
            assert_eq!(read(&disk, "/d/f").trim_end(), text);
        }
        assert!(replace(&disk, Path::new("/d/f"), b"x").unwrap_err().is_disk_full());
    }
}
