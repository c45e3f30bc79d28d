//! What happens in a simulated run: settings, and a list of steps that follows from a seed.
//!
//! A scenario is data. The runner ([`super::sim`]) does one step after the other and never asks for randomness, so that a
//! scenario with fewer steps is as good as the first one: that is how a failure is minimised. Steps that make no sense
//! any more (a thread's work that nobody asked for) do nothing.
//!
//! A run consists of lives. A life ends with [`Step::Crash`] or [`Step::Shutdown`]; a process that died earlier, in the
//! middle of something ([`Step::DieIn`]), skips what is left of it.

use std::fmt;
use std::io::ErrorKind;

use fastrand::Rng;

mod lapping;
mod switching;

use switching::Spice;

pub type Words = Vec<Vec<u8>>;

/// Settings that a life runs under.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    pub appendonly: bool,
    pub fsync: &'static str,
    pub save: bool,
    pub ring: u32,
    /// Lines for what is never changed.
    pub rest: String,
}

impl Setup {
    pub fn options(&self) -> String {
        let Setup { appendonly, fsync, save, ring, rest } = self;
        let appendonly = if *appendonly { "yes" } else { "no" };
        let save = if *save { "900 1" } else { "\"\"" };
        format!(
            "databases 4\nappendonly {appendonly}\nappendfsync {fsync}\nsave {save}\nrepl-backlog-size {ring}\n{rest}"
        )
    }
}

/// How a life ends, and what happens until the next one serves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crash {
    /// The machine loses power; the seed says what of the unsynced state is found afterwards.
    pub power: Option<u64>,
    /// Starts that die at these disk steps, each followed by a power cut of this seed, if any.
    pub dying: Vec<(u32, Option<u64>)>,
    /// A start during which calls fail.
    pub fault: Option<Fault>,
    /// Settings of the next life, if others.
    pub setup: Option<Setup>,
    /// Afterwards the process is killed at once and started again: that must change nothing.
    pub again: bool,
}

impl Crash {
    pub fn kill() -> Crash {
        Crash { power: None, dying: Vec::new(), fault: None, setup: None, again: false }
    }
    pub fn power(seed: u64) -> Crash {
        Crash { power: Some(seed), ..Crash::kill() }
    }
}

/// Calls that fail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub call: &'static str,
    /// Part of the file's path.
    pub path: &'static str,
    pub full: bool,
    pub times: u32,
}

impl Fault {
    pub fn on_disk(&self) -> crate::disk::Fault {
        let error = if self.full { ErrorKind::StorageFull } else { ErrorKind::Other };
        crate::disk::Fault { call: self.call, path: self.path.into(), error, times: self.times }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client sends a command, unless it still waits for a reply.
    Send(u8, Words),
    /// The log's writer works; `true`: also a running fsync ends.
    Log(bool),
    /// The oldest piece of work that waits for a thread is done.
    Thread,
    /// Milliseconds pass, the timer strikes once.
    Time(u32),
    /// The kernel writes some dirty pages to the medium.
    WriteBack(u64),
    /// The next calls of a kind fail.
    Fails(Fault),
    /// So many bytes are free; `None`: enough.
    Space(Option<u32>),
    /// The process dies at this disk step from now.
    DieIn(u32),
    /// What is served is compared with the stream that led there.
    Compare,
    /// A second passes and all threads work: everything must be durable that should be.
    Settle,
    /// A clean shutdown, with SAVE or NOSAVE if said, and what comes then.
    Shutdown(Option<bool>, Crash),
    Crash(Crash),
}

impl Step {
    pub fn ends_a_life(&self) -> bool {
        matches!(self, Step::Shutdown(..) | Step::Crash(_))
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub seed: u64,
    pub setup: Setup,
    pub steps: Vec<Step>,
}

/// What a seed comes to modulo this says of what kind its scenario is.
pub const KINDS: u64 = 16;
/// The ring goes round.
pub const LAPPING: u64 = 6;

/// How many cycles of crash and recovery a scenario has at most.
const LIVES: u32 = 4;

impl Scenario {
    /// Every fourth seed is about one thing: the log and save points switched on and off over a ring that moves on quickly,
    /// with saves and rewrites under way and a disk that is full or fails now and then; in a quarter of these several at once, which
    /// may be refused, and in a fifth one commands that save by themselves and clean ends of all kinds. Every sixteenth is a ring
    /// that goes round, and deaths in the middle of an append. The others are a bit of everything. A new kind takes a residue that
    /// no regression seed has, so that these stay what they were.
    pub fn generate(seed: u64) -> Scenario {
        match seed % KINDS {
            0 | 4 | 8 => switching::generate(seed, Spice::Plain),
            LAPPING => lapping::generate(seed),
            11 => switching::generate(seed, Spice::Ends),
            12 => switching::generate(seed, Spice::Together),
            _ => Scenario::mixed(seed),
        }
    }

    fn mixed(seed: u64) -> Scenario {
        let mut rng = Rng::with_seed(seed);
        let setup = first_setup(&mut rng);
        let mut steps = Vec::new();
        let lives = rng.u32(1..=LIVES);
        let mut now = setup.clone();
        // Faults make a run one of its own kind: most have none.
        let troubled = rng.u8(0..4) == 0;
        for _ in 0..lives {
            let len = if rng.u8(0..8) == 0 { rng.u32(20..60) } else { rng.u32(0..18) };
            let dies = (rng.u8(0..3) == 0).then(|| rng.u32(0..=len));
            for n in 0..len {
                if dies == Some(n) {
                    let within = if rng.bool() { 6 } else { 60 };
                    steps.push(Step::DieIn(rng.u32(1..within)));
                }
                push_step(&mut rng, &mut steps, troubled);
            }
            let crash = crash(&mut rng, &mut now, troubled);
            steps.push(match rng.u8(0..6) {
                0 => Step::Shutdown([None, None, Some(true), Some(false)][rng.usize(0..4)], crash),
                _ => Step::Crash(crash),
            });
        }
        Scenario { seed, setup, steps }
    }
}

fn first_setup(rng: &mut Rng) -> Setup {
    let mut rest =
        String::from("auto-aof-rewrite-min-size 1\nlist-max-listpack-size 16\nhash-max-listpack-entries 8\n");
    for (name, values) in [
        ("auto-aof-rewrite-percentage", ["0", "0", "300"]),
        ("aof-use-rdb-preamble", ["yes", "yes", "no"]),
        ("aof-timestamp-enabled", ["no", "no", "yes"]),
        ("rdbcompression", ["no", "yes", "yes"]),
    ] {
        rest.push_str(&format!("{name} {}\n", values[rng.usize(0..3)]));
    }
    Setup {
        appendonly: rng.u8(0..3) > 0,
        fsync: ["always", "always", "everysec", "everysec", "no"][rng.usize(0..5)],
        save: rng.u8(0..5) > 0,
        ring: ring_size(rng),
        rest,
    }
}

fn ring_size(rng: &mut Rng) -> u32 {
    [16384, 16384, 20480, 32768][rng.usize(0..4)]
}

fn crash(rng: &mut Rng, now: &mut Setup, troubled: bool) -> Crash {
    let power = |rng: &mut Rng| rng.bool().then(|| rng.u64(..) >> 16);
    let mut crash = Crash { power: power(rng), again: rng.u8(0..4) == 0, ..Crash::kill() };
    if rng.u8(0..4) == 0 {
        for _ in 0..rng.u8(1..=2) {
            crash.dying.push((rng.u32(1..80), power(rng)));
        }
    }
    if troubled && rng.u8(0..3) == 0 {
        crash.fault = Some(fault(rng, true));
    }
    if rng.u8(0..5) == 0 {
        match rng.u8(0..4) {
            0 => now.appendonly ^= true,
            1 => now.save ^= true,
            2 => now.fsync = ["always", "everysec", "no"][rng.usize(0..3)],
            _ => now.ring = ring_size(rng),
        }
        crash.setup = Some(now.clone());
    }
    crash
}

/// Calls of some kind; not reads, unless a start may refuse for it.
pub fn fault(rng: &mut Rng, at_start: bool) -> Fault {
    let calls: &[&str] = &[
        "fdatasync",
        "fdatasync",
        "write",
        "rename",
        "create",
        "fsync_dir",
        "remove",
        "truncate",
        "fallocate",
        "read",
    ];
    let call = if at_start { calls[rng.usize(0..10)] } else { calls[rng.usize(0..9)] };
    let path = ["", "", "incr", "base", "manifest", "replication", "ring", "rdb"][rng.usize(0..8)];
    Fault { call, path, full: rng.u8(0..3) == 0 && call != "fdatasync", times: rng.u32(1..=3) }
}

fn push_step(rng: &mut Rng, steps: &mut Vec<Step>, troubled: bool) {
    steps.push(match rng.u8(0..64) {
        0..44 => return command(rng, steps),
        44..49 => Step::Log(rng.bool()),
        49..52 => Step::Thread,
        52..56 => Step::Time([1, 15, 120, 1100, 1100, 6000][rng.usize(0..6)]),
        56..58 => Step::WriteBack(rng.u64(..) >> 16),
        58 => Step::Compare,
        59 => Step::Settle,
        60 if troubled => Step::Space([Some(0), Some(200), Some(3000), None][rng.usize(0..4)]),
        61 if troubled => Step::Space(None),
        62.. if troubled => Step::Fails(fault(rng, false)),
        _ => return command(rng, steps),
    });
}

/// Words of a command, parted by spaces.
pub fn words(text: &str) -> Words {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn command(rng: &mut Rng, steps: &mut Vec<Step>) {
    let client = rng.u8(0..3);
    if rng.u8(0..9) == 0 {
        steps.push(Step::Send(client, words("MULTI")));
        for _ in 0..rng.u8(1..4) {
            steps.push(Step::Send(client, write(rng)));
        }
        let last = if rng.u8(0..8) == 0 { "DISCARD" } else { "EXEC" };
        return steps.push(Step::Send(client, words(last)));
    }
    let words = match rng.u8(0..24) {
        0 => words(&format!("SELECT {}", rng.u8(0..4))),
        1 => words(["BGSAVE", "BGSAVE", "SAVE", "BGREWRITEAOF", "BGREWRITEAOF"][rng.usize(0..5)]),
        2 => setting(rng),
        3 => words(&format!("GET {}", key(rng, 's'))),
        4 if rng.u8(0..2) == 0 => words("PUBLISH news item"),
        _ => write(rng),
    };
    steps.push(Step::Send(client, words));
}

/// CONFIG SET of something that moves files.
pub fn setting(rng: &mut Rng) -> Words {
    let text = match rng.u8(0..12) {
        0..2 => "CONFIG SET appendonly yes",
        2..4 => "CONFIG SET appendonly no",
        4 => return vec![b"CONFIG".into(), b"SET".into(), b"save".into(), b"".into()],
        5..7 => return vec![b"CONFIG".into(), b"SET".into(), b"save".into(), b"900 1".into()],
        7 => "CONFIG SET appendfsync always",
        8 => "CONFIG SET appendfsync everysec",
        _ => return words(&format!("CONFIG SET repl-backlog-size {}", ring_size(rng))),
    };
    words(text)
}

fn key(rng: &mut Rng, kind: char) -> String {
    format!("{kind}{}", rng.u8(0..4))
}

/// A word of some length, hard to mistake for another.
fn value(rng: &mut Rng) -> String {
    let len = match rng.u8(0..32) {
        0..24 => rng.usize(1..12),
        24..30 => rng.usize(12..700),
        30 => rng.usize(700..6000),
        _ => rng.usize(6000..24000),
    };
    let start = rng.u32(..);
    let mut text = format!("v{start:x}");
    while text.len() < len {
        text.push_str(&format!("{:x}", rng.u64(..)));
    }
    text.truncate(len.max(1));
    text
}

/// Any command that may write.
pub fn write(rng: &mut Rng) -> Words {
    let (s, l, h, t, z, n) =
        (key(rng, 's'), key(rng, 'l'), key(rng, 'h'), key(rng, 't'), key(rng, 'z'), key(rng, 'n'));
    let (v, small) = (value(rng), rng.u8(0..6));
    let any = [&s, &l, &h, &t, &z, &n][rng.usize(0..6)].clone();
    let text = match rng.u8(0..44) {
        0..6 => format!("SET {s} {v}"),
        6 => format!("SET {s} {v} PX {}", rng.u32(1..3000)),
        7 => format!("APPEND {s} {v}"),
        8 => format!("SETRANGE {s} {} {v}", rng.u8(0..20)),
        9 => format!("SETBIT {s} {} {}", rng.u16(0..300), rng.u8(0..2)),
        10..13 => format!("INCR {n}"),
        13 => format!("INCRBYFLOAT {n} 1.5"),
        14 => format!("GETSET {s} {v}"),
        15 => format!("PEXPIRE {any} {}", rng.u32(1..2500)),
        16 => format!("PERSIST {any}"),
        17 => format!("DEL {any}"),
        18 => format!("UNLINK {s} {l} {h}"),
        19 => format!("RENAME {s} {}", key(rng, 's')),
        20 => format!("COPY {any} {} REPLACE", key(rng, 's')),
        21 => format!("MOVE {any} {}", rng.u8(0..4)),
        22 => format!("SWAPDB {} {}", rng.u8(0..4), rng.u8(0..4)),
        23..26 => format!("RPUSH {l} {v} {small}"),
        26 => format!("LPUSH {l} {v}"),
        27 => format!("LPOP {l} {}", 1 + small),
        28 => format!("LTRIM {l} 0 {small}"),
        29 => format!("BLPOP {l} 0.5"),
        30..32 => format!("HSET {h} f{small} {v}"),
        32 => format!("HINCRBY {h} count {small}"),
        33 => format!("HDEL {h} f{small}"),
        34..36 => format!("SADD {t} {v} {small}"),
        36 => format!("SPOP {t}"),
        37 => format!("SREM {t} {small}"),
        38..40 => format!("ZADD {z} {small} m{small} 1.25 {v}"),
        40 => format!("ZPOPMIN {z}"),
        41 => format!("PFADD p{small} {v}"),
        42 if rng.u8(0..3) == 0 => "FLUSHALL".to_string(),
        42 => "FLUSHDB".to_string(),
        _ => format!("GETDEL {s}"),
    };
    words(&text)
}

// ---- as a person reads it ----

/// A command's words, long ones shortened.
pub fn shown(words: &[Vec<u8>]) -> String {
    let mut text = String::new();
    for word in words {
        let word = String::from_utf8_lossy(word);
        let separator = if text.is_empty() { "" } else { " " };
        text.push_str(separator);
        match word.len() {
            0 => text.push_str("\"\""),
            1..40 => text.push_str(&word),
            len => text.push_str(&format!("{}…({len} bytes)", &word[..16])),
        }
    }
    text
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Send(client, words) => write!(f, "client {client}: {}", shown(words)),
            Step::Log(false) => f.write_str("the log's writer works"),
            Step::Log(true) => f.write_str("the log's writer works, a running fsync ends"),
            Step::Thread => f.write_str("the oldest background work is done"),
            Step::Time(ms) => write!(f, "{ms} ms pass"),
            Step::WriteBack(seed) => write!(f, "the kernel writes some pages back (seed {seed})"),
            Step::Fails(fault) => write!(f, "{fault}"),
            Step::Space(None) => f.write_str("the disk has space"),
            Step::Space(Some(bytes)) => write!(f, "the disk has {bytes} bytes left"),
            Step::DieIn(steps) => write!(f, "the process will die at its {steps}th disk step from here"),
            Step::Compare => f.write_str("what is served is compared with the stream"),
            Step::Settle => f.write_str("seconds pass and all threads work"),
            Step::Shutdown(save, crash) => {
                let save = match save {
                    None => "",
                    Some(true) => " SAVE",
                    Some(false) => " NOSAVE",
                };
                write!(f, "SHUTDOWN{save}, then: {crash}")
            }
            Step::Crash(crash) => write!(f, "{crash}"),
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let error = if self.full { "ENOSPC" } else { "EIO" };
        let path = if self.path.is_empty() { "any file" } else { self.path };
        write!(f, "the next {} × {} of {path} fails with {error}", self.times, self.call)
    }
}

impl fmt::Display for Crash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.power {
            None => f.write_str("kill -9")?,
            Some(seed) => write!(f, "power cut (seed {seed})")?,
        }
        for (step, power) in &self.dying {
            write!(f, "; a start that dies at its {step}th disk step")?;
            if let Some(seed) = power {
                write!(f, " by a power cut (seed {seed})")?;
            }
        }
        if let Some(fault) = &self.fault {
            write!(f, "; a start during which {fault}")?;
        }
        if let Some(Setup { appendonly, fsync, save, ring, .. }) = &self.setup {
            write!(
                f,
                "; from now on appendonly {appendonly}, appendfsync {fsync}, save points {save}, ring {ring}"
            )?;
        }
        if self.again {
            f.write_str("; started twice")?;
        }
        Ok(())
    }
}
