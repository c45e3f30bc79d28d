//! Corruption mode: every byte of every file of small data directories, damaged in every simple way.
//!
//! Directories are made by the server itself ([`recipes`]) and damaged one place at a time: a bit is flipped, a byte
//! zeroed, a file cut at each length, emptied, removed, or replaced by an older version of itself. Then the server
//! starts, and what comes out must be one of these:
//!
//! | outcome | condition |
//! |---|---|
//! | the same data at the same position | |
//! | the same data as a new history | a line of the log says so |
//! | a shorter prefix | whole units; nothing below what was durable; never after a clean shutdown; a line of the log says what was lost |
//! | a refusal | names a file and a place in it |
//! | an older base alone (rule 15) | only where a base was replaced by an older one |
//! | the state of an earlier start | only where a ring that nothing but itself tells of was replaced by the one of that time, not after a clean shutdown |
//!
//! The last row is what cannot be told: `replication.toml` then names a later history than the ring does, just as after a start
//! that died between recording its name in the one and in the other (rule 1), which must be accepted.
//!
//! After an accepted start a second one must come to the same, and what is written then must survive a third.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::model::{Model, Print, print_of};
use super::world::World;
use crate::disk::SimDisk;
use crate::units::Offset;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Damage {
    Flip { at: usize, bit: u8 },
    Zero { at: usize },
    Cut { len: usize },
    Remove,
    Older,
}

impl Damage {
    pub fn kind(self) -> &'static str {
        match self {
            Damage::Flip { .. } => "flip",
            Damage::Zero { .. } => "zero",
            Damage::Cut { .. } => "cut",
            Damage::Remove => "remove",
            Damage::Older => "older",
        }
    }
    /// Where in the file.
    pub fn place(self) -> Option<usize> {
        match self {
            Damage::Flip { at, .. } | Damage::Zero { at } | Damage::Cut { len: at } => Some(at),
            Damage::Remove | Damage::Older => None,
        }
    }

    /// The file afterwards; `None`: there is none. `Err`: nothing would change.
    fn apply(self, bytes: &[u8], older: Option<&Vec<u8>>) -> Result<Option<Vec<u8>>, ()> {
        let mut changed = bytes.to_vec();
        match self {
            Damage::Flip { at, bit } => changed[at] ^= 1 << bit,
            Damage::Zero { at } => changed[at] = 0,
            Damage::Cut { len } => changed.truncate(len),
            Damage::Remove => return Ok(None),
            Damage::Older => changed.clone_from(older.ok_or(())?),
        }
        if changed == bytes { Err(()) } else { Ok(Some(changed)) }
    }
}

/// What a start came to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    Same,
    /// The same data, as a new history.
    Renamed,
    Shorter,
    Restored,
    Earlier,
    /// `true`: the refusal names the damaged file, else another.
    Refused(bool),
    Violation(String),
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Outcome::Same => "same",
            Outcome::Renamed => "same, new history",
            Outcome::Shorter => "shorter, reported",
            Outcome::Restored => "older base alone",
            Outcome::Earlier => "as it was then",
            Outcome::Refused(true) => "refused, naming it",
            Outcome::Refused(false) => "refused, naming another file",
            Outcome::Violation(_) => "VIOLATION",
        })
    }
}

/// How a directory comes about.
#[derive(Clone, Copy, Debug)]
pub struct Recipe {
    pub name: &'static str,
    options: &'static str,
    /// A rewrite and a second segment, or a snapshot, in the middle.
    base: &'static str,
    /// Bytes of one big value.
    big: usize,
    /// More of the stream than the ring holds.
    overrun: bool,
    clean: bool,
}

const RING: &str = "repl-backlog-size 16384\nauto-aof-rewrite-percentage 0\n";

/// The directories.
pub fn recipes() -> Vec<Recipe> {
    let mut all = Vec::new();
    for clean in [true, false] {
        let name =
            |clean_name: &'static str, crash_name: &'static str| if clean { clean_name } else { crash_name };
        let aof = Recipe {
            name: name("log-clean", "log-crash"),
            options: "appendonly yes\nsave 3600 1000000\n",
            base: "BGREWRITEAOF",
            big: 3000,
            overrun: false,
            clean,
        };
        all.push(aof);
        all.push(Recipe {
            name: name("always-clean", "always-crash"),
            options: "appendonly yes\nappendfsync always\nsave \"\"\n",
            ..aof
        });
        all.push(Recipe { name: name("log-no-base-clean", "log-no-base-crash"), base: "", ..aof });
        all.push(Recipe { name: name("both-clean", "both-crash"), base: "SAVE", ..aof });
        let off = Recipe {
            name: name("snapshot-clean", "snapshot-crash"),
            options: "appendonly no\nsave 3600 1000000\n",
            base: "SAVE",
            ..aof
        };
        all.push(off);
        all.push(Recipe { name: name("ring-only-clean", "ring-only-crash"), base: "", ..off });
        all.push(Recipe { name: name("spill-clean", "spill-crash"), overrun: true, big: 0, ..off });
    }
    all
}

/// A directory, and what is in it.
pub struct Directory {
    pub recipe: Recipe,
    pub files: Vec<(PathBuf, Vec<u8>)>,
    older: BTreeMap<PathBuf, Vec<u8>>,
    /// Where the stream ended then.
    older_end: Offset,
    model: Model,
    print: Print,
    end: Offset,
    /// What may not be missing.
    durable: Offset,
    world: World,
}

impl Directory {
    pub fn make(recipe: Recipe, seed: u64) -> Result<Directory, String> {
        let mut world = World::new(seed, &format!("{RING}{}", recipe.options))?;
        world.stage.keep_lines();
        let mut model = Model::new(&world.config);
        world.start()?;
        write_some(&mut world, 0, recipe.big)?;
        if !recipe.base.is_empty() {
            call(&mut world, &[recipe.base])?;
            world.work_off();
        }
        write_some(&mut world, 1, 0)?;
        learn(&mut world, &mut model)?;
        world.log_works(true);
        world.time_passes(Duration::from_millis(1500));
        world.log_works(true);
        world.crash();
        let older = world.disk.files().into_iter().collect();
        let older_end = model.end();
        world.start()?;
        write_some(&mut world, 2, 0)?;
        if recipe.overrun {
            for n in 0..60 {
                call(&mut world, &["SET", &format!("long:{}", n % 7), &"x".repeat(400 + n)])?;
            }
        }
        world.time_passes(Duration::from_millis(1500));
        world.log_works(true);
        write_some(&mut world, 3, 0)?; // behind the last fsync: in the ring, perhaps not in the log
        learn(&mut world, &mut model)?;
        let end = model.end();
        let durable =
            world.durable().unwrap_or(Offset::ZERO).max(world.newest_base().unwrap_or(Offset::ZERO));
        let served = world.look(|node| print_of(&node.store.dbs)).unwrap_or_default();
        if recipe.clean {
            let (code, _) = world.shut_down(Some(false));
            if code != Some(0) {
                return Err(format!(
                    "{}: the shutdown was not clean: {:?}",
                    recipe.name,
                    world.stage.lines()
                ));
            }
        }
        world.kill();
        let print = model.print_at(end)?;
        if print != served {
            return Err(format!("{}: the stream does not lead to what is served", recipe.name));
        }
        let durable = if recipe.clean { end } else { durable };
        let files: Vec<_> =
            world.disk.files().into_iter().filter(|(path, _)| !path.ends_with("ringhold.lock")).collect();
        Ok(Directory { recipe, files, older, older_end, model, print, end, durable, world })
    }

    /// All cases for file `n`: every `stride`-th place.
    pub fn cases(&self, n: usize, stride: usize) -> Vec<Damage> {
        let (path, bytes) = &self.files[n];
        let mut cases = vec![Damage::Remove];
        if self.older.contains_key(path) {
            cases.push(Damage::Older);
        }
        for at in (0..bytes.len()).step_by(stride.max(1)) {
            cases.extend([
                Damage::Flip { at, bit: (at % 8) as u8 },
                Damage::Zero { at },
                Damage::Cut { len: at },
            ]);
        }
        cases
    }

    /// Damages, starts, judges. `None`: the damage changes nothing.
    pub fn judge(&mut self, n: usize, damage: Damage) -> Option<Outcome> {
        let (path, bytes) = &self.files[n];
        let changed = damage.apply(bytes, self.older.get(path)).ok()?;
        let others = self.files.iter().enumerate().filter(|(i, _)| *i != n).map(|(_, file)| file);
        let all = others.map(|(path, bytes)| (path.as_path(), bytes.clone()));
        self.world.kill();
        self.world.disk = SimDisk::with_files(all.chain(changed.map(|bytes| (path.as_path(), bytes))));
        let path = path.clone();
        Some(self.start_and_judge(&path, damage).unwrap_or_else(Outcome::Violation))
    }

    fn start_and_judge(&mut self, path: &Path, damage: Damage) -> Result<Outcome, String> {
        self.world.stage.lines();
        let started = match self.world.start() {
            Ok(started) => started,
            Err(refusal) => return refused(path, &refusal),
        };
        let lines = self.world.stage.lines();
        let print = self.served();
        let outcome = self.compare(path, damage, started.end, print, &lines)?;
        self.start_again(started.end, print)?;
        Ok(outcome)
    }

    fn served(&self) -> Print {
        self.world.look(|node| print_of(&node.store.dbs)).unwrap_or_default()
    }

    fn compare(
        &mut self,
        path: &Path,
        damage: Damage,
        end: Offset,
        print: Print,
        lines: &[String],
    ) -> Result<Outcome, String> {
        if end == self.end && print == self.print {
            return Ok(Outcome::Same);
        }
        let says = |words: &[&str]| lines.iter().any(|line| words.iter().any(|word| line.contains(word)));
        if end == Offset::ZERO && print == self.print && says(&["new history"]) {
            return Ok(Outcome::Renamed);
        }
        let is_base = path.extension().is_some_and(|extension| extension == "rdb");
        let expected = if end <= self.end { self.model.print_at(end).ok() } else { None };
        if is_base && damage == Damage::Older && expected == Some(print) {
            return Ok(Outcome::Restored);
        }
        match expected {
            None => Err(format!("comes back at {end}, which is no place between units up to {}", self.end)),
            Some(expected) if expected != print => Err(format!("other data than the stream's at {end}")),
            Some(_) if end == self.end => Ok(Outcome::Same),
            Some(_) if self.recipe.clean => {
                Err(format!("cut to {end} of {} after a clean shutdown", self.end))
            }
            Some(_) if end < self.durable => {
                Err(format!("cut to {end}, though {} of {} was durable", self.durable, self.end))
            }
            Some(_) if damage == Damage::Older && path.ends_with("backlog.ring") && end == self.older_end => {
                Ok(Outcome::Earlier)
            }
            Some(_) if !says(&[" lost", "is cut", "are cut", "not there", "missing"]) => {
                Err(format!("cut to {end} of {} without a word", self.end))
            }
            Some(_) => Ok(Outcome::Shorter),
        }
    }

    fn start_again(&mut self, end: Offset, print: Print) -> Result<(), String> {
        self.world.crash();
        let second = self.world.start().map_err(|why| format!("the second start refuses: {why}"))?;
        if (second.end, self.served()) != (end, print) {
            return Err(format!("the second start comes to {} instead of {end}", second.end));
        }
        call(&mut self.world, &["SET", "written:afterwards", "1"])?;
        let print = self.served();
        self.world.crash();
        self.world.start().map_err(|why| format!("the start after a write refuses: {why}"))?;
        if self.served() != print {
            return Err("a write after the accepted start is lost".into());
        }
        Ok(())
    }
}

fn refused(path: &Path, refusal: &str) -> Result<Outcome, String> {
    if !refusal.contains("/data/") || !(refusal.contains("at byte ") || refusal.contains("offset ")) {
        return Err(format!("the refusal names no file and place: {refusal}"));
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(Outcome::Refused(refusal.contains(&*name)))
}

fn call(world: &mut World, words: &[&str]) -> Result<(), String> {
    let bytes: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
    match world.call(&bytes) {
        Some(answer) if !answer.is_error() => Ok(()),
        Some(answer) => Err(format!("{words:?}: {}", String::from_utf8_lossy(&answer.reply))),
        None => Err(format!("{words:?}: no reply")),
    }
}

/// Commands of all kinds, in two databases, with deadlines and a transaction.
fn write_some(world: &mut World, round: usize, big: usize) -> Result<(), String> {
    let n = round.to_string();
    let later = (world.stage.now() / 1000 + 10_000_000).to_string();
    let commands: &[&[&str]] = &[
        &["SELECT", "0"],
        &["SET", "counter", &n],
        &["INCR", "counter"],
        &["RPUSH", "list", "a", &n],
        &["HSET", "hash", "round", &n],
        &["SELECT", "3"],
        &["SADD", "set", "member", &n],
        &["ZADD", "zset", &n, "one"],
        &["MULTI"],
        &["SET", "in:multi", &n],
        &["SETRANGE", "string", "2", &n],
        &["LPOP", "list"],
        &["EXEC"],
        &["SET", "with:deadline", &n, "PXAT", &later],
        &["APPEND", "string", &n],
    ];
    for command in commands {
        call(world, command)?;
    }
    if big > 0 {
        call(world, &["SET", "big", &"0123456789".repeat(big / 10)])?;
    }
    Ok(())
}

fn learn(world: &mut World, model: &mut Model) -> Result<(), String> {
    world.appended().into_iter().try_for_each(|(units, end)| model.append(&units, end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::ring::{WINDOW_SLOTS, Window};

    /// Of the two slots that say how far the ring reaches the newer one is damaged: what only it told of is gone, which is said.
    #[test]
    fn what_a_damaged_window_slot_takes_is_reported() {
        for recipe in recipes().into_iter().filter(|recipe| !recipe.clean) {
            let mut directory = Directory::make(recipe, 1).unwrap();
            let ring = directory.files.iter().position(|(path, _)| path.ends_with("backlog.ring")).unwrap();
            let mut shorter = 0;
            for at in WINDOW_SLOTS.into_iter().flat_map(|slot| slot..slot + Window::LEN).step_by(5) {
                let outcome = directory.judge(ring, Damage::Flip { at, bit: 3 }).unwrap();
                assert!(!matches!(outcome, Outcome::Violation(_)), "{}, byte {at}: {outcome:?}", recipe.name);
                shorter += usize::from(outcome == Outcome::Shorter);
            }
            assert!(shorter > 0 || recipe.name == "always-crash", "{}", recipe.name);
        }
    }
}
