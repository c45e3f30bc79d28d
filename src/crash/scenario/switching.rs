//! Scenarios in which the log and save points are switched on and off while the ring moves on.
//!
//! What leads to the end of the stream changes hands then (base, segments, spill, ring: [`crate::server::promise`]), and a
//! thread may be in the middle of a save whose cut lies before the change. Few kinds of commands and small pieces of
//! work, so that many orders of them are seen; lives are longer than those of mixed scenarios, and deaths come soon after a switch.

use fastrand::Rng;

use super::{Crash, Fault, Scenario, Setup, Step, Words, crash, first_setup, words};

const LIVES: u32 = 3;

/// What is mixed in.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Spice {
    Plain,
    /// Several settings are changed at once, some of which cannot be.
    Together,
    /// Clean ends of all kinds, and commands that save by themselves or make units larger than the ring.
    Ends,
}

pub fn generate(seed: u64, spice: Spice) -> Scenario {
    let mut rng = Rng::with_seed(seed);
    let setup = Setup { ring: 16384, ..first_setup(&mut rng) };
    let mut now = setup.clone();
    let troubled = rng.bool();
    let mut steps = Vec::new();
    for _ in 0..rng.u32(1..=LIVES) {
        for _ in 0..rng.u32(4..32) {
            match spice {
                Spice::Together if rng.u8(0..6) == 0 => steps.push(Step::Send(0, at_once(&mut rng))),
                Spice::Ends if rng.u8(0..6) == 0 => other_command(&mut rng, &mut steps),
                _ => step(&mut rng, &mut steps, troubled),
            }
        }
        let crash = match rng.u8(0..3) {
            0 => crash(&mut rng, &mut now, false),
            1 => Crash::kill(),
            _ => Crash::power(rng.u64(..) >> 16),
        };
        steps.push(match spice {
            Spice::Ends if rng.bool() => {
                Step::Shutdown([None, Some(true), Some(false)][rng.usize(0..3)], crash)
            }
            _ if rng.u8(0..8) == 0 => Step::Shutdown(None, crash),
            _ => Step::Crash(crash),
        });
    }
    Scenario { seed, setup, steps }
}

fn step(rng: &mut Rng, steps: &mut Vec<Step>, troubled: bool) {
    let client = rng.u8(0..2);
    let step = match rng.u8(0..52) {
        0..8 => Step::Send(client, words(&format!("INCR n{}", rng.u8(0..4)))),
        8..13 => Step::Send(client, large(rng)),
        13..22 => {
            if rng.u8(0..3) == 0 {
                steps.push(Step::DieIn(rng.u32(1..16)));
            }
            Step::Send(client, switch(rng))
        }
        22..25 => Step::Send(client, words("BGSAVE")),
        25..27 => Step::Send(client, words("BGREWRITEAOF")),
        27..32 => Step::Log(rng.bool()),
        32..39 => Step::Thread,
        39..43 => Step::Time([1, 120, 1100, 6000][rng.usize(0..4)]),
        43 => Step::Settle,
        44 => Step::Compare,
        45 if troubled => Step::Space([Some(0), Some(300)][rng.usize(0..2)]),
        46..48 if troubled => Step::Space(None),
        48.. if troubled => Step::Fails(failure(rng)),
        _ => Step::Log(true),
    };
    steps.push(step);
}

fn other_command(rng: &mut Rng, steps: &mut Vec<Step>) {
    let client = rng.u8(0..2);
    match rng.u8(0..5) {
        0 => steps.push(Step::Send(client, words("FLUSHALL"))),
        1 => steps.push(Step::Send(client, words("SAVE"))),
        2 => steps.push(Step::Send(client, words(&format!("GET n{}", rng.u8(0..4))))),
        3 => steps.push(Step::Send(client, words(&format!("DEL s{}", rng.u8(0..4))))),
        _ => {
            steps.push(Step::Send(client, words("MULTI")));
            (0..rng.u8(1..4)).for_each(|_| steps.push(Step::Send(client, large(rng))));
            steps.push(Step::Send(client, words("EXEC")));
        }
    }
}

/// Several settings in one command: all or none. There is no TLS.
fn at_once(rng: &mut Rng) -> Words {
    let pairs = [
        ("appendonly", "yes"),
        ("appendonly", "no"),
        ("save", ""),
        ("save", "900 1"),
        ("repl-backlog-size", "32768"),
        ("tls-port", "1"),
    ];
    let mut all = vec!["CONFIG", "SET"];
    let first = pairs[rng.usize(0..4)];
    let second = pairs[rng.usize(0..pairs.len())];
    all.extend([first.0, first.1]);
    if second.0 != first.0 {
        all.extend([second.0, second.1]);
    }
    all.into_iter().map(|word| word.as_bytes().to_vec()).collect()
}

/// A switch of what keeps the data.
fn switch(rng: &mut Rng) -> Words {
    let set = |name: &str, value: &str| {
        ["CONFIG", "SET", name, value].map(|word| word.as_bytes().to_vec()).to_vec()
    };
    match rng.u8(0..10) {
        0..3 => set("appendonly", "yes"),
        3..6 => set("appendonly", "no"),
        6 => set("save", ""),
        7 => set("save", "900 1"),
        8 => set("appendfsync", ["always", "everysec"][rng.usize(0..2)]),
        _ => set("repl-backlog-size", ["16384", "32768"][rng.usize(0..2)]),
    }
}

/// A value of which two or three fill the ring.
fn large(rng: &mut Rng) -> Words {
    let value = format!("{:x}", rng.u64(..)).repeat(rng.usize(200..1400));
    words(&format!("SET s{} {value}", rng.u8(0..4)))
}

fn failure(rng: &mut Rng) -> Fault {
    let (call, path) = [
        ("fdatasync", "incr"),
        ("fdatasync", "incr"),
        ("fdatasync", ""),
        ("create", "incr"),
        ("write", "incr"),
        ("rename", "manifest"),
        ("remove", ""),
        ("fsync_dir", ""),
        ("write", "rdb"),
    ][rng.usize(0..9)];
    Fault { call, path, full: false, times: rng.u32(1..=2) }
}
