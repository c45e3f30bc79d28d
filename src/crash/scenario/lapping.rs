//! Scenarios in which the ring goes round, and the process dies in the middle of an append.
//!
//! Values of a tenth to a third of the ring, so that nearly each one overwrites the oldest block, between small commands whose
//! order matters: transactions, deadlines that are taken back, other databases.
//!
//! Half of them are power cuts over units of one length that divides the ring's ([`even`]): a block of an earlier lap, or of a branch
//! that an earlier cut ended, then holds whole commands in the right places, so that nothing but its seal tells that it is stale.

use fastrand::Rng;

use super::{Crash, Scenario, Setup, Step, Words, crash, first_setup, words};

const LIVES: u32 = 3;

pub fn generate(seed: u64) -> Scenario {
    let mut rng = Rng::with_seed(seed);
    if rng.bool() {
        return even(seed, rng);
    }
    let setup = Setup { ring: 16384, ..first_setup(&mut rng) };
    let mut now = setup.clone();
    let mut steps = Vec::new();
    for _ in 0..rng.u32(1..=LIVES) {
        let len = rng.u32(4..24);
        let dies = (rng.u8(0..3) > 0).then(|| rng.u32(0..len));
        for n in 0..len {
            if dies == Some(n) {
                steps.push(Step::DieIn(rng.u32(1..12)));
            }
            step(&mut rng, &mut steps);
        }
        steps.push(Step::Crash(match rng.u8(0..4) {
            0 => crash(&mut rng, &mut now, false),
            1 => Crash::kill(),
            _ => Crash::power(rng.u64(..) >> 16),
        }));
    }
    Scenario { seed, setup, steps }
}

/// Bytes of a value with which `SET s0 …` is a unit of 1024.
const EVEN: usize = 995;

fn even(seed: u64, mut rng: Rng) -> Scenario {
    let mut setup = Setup { ring: 16384, fsync: "everysec", save: true, ..first_setup(&mut rng) };
    setup.appendonly = rng.u8(0..4) == 0;
    let mut steps = Vec::new();
    for _ in 0..rng.u32(2..=LIVES) {
        for _ in 0..rng.u32(4..40) {
            steps.push(match rng.u8(0..16) {
                0..12 => {
                    let value = format!("{:016x}", rng.u64(..)).repeat(EVEN / 16 + 1);
                    Step::Send(0, words(&format!("SET s{} {}", rng.u8(0..4), &value[..EVEN])))
                }
                12 => Step::Log(rng.bool()),
                13 => Step::Log(true),
                _ => Step::WriteBack(rng.u64(..) >> 16),
            });
        }
        steps.push(Step::Crash(Crash::power(rng.u64(..) >> 16)));
    }
    Scenario { seed, setup, steps }
}

fn step(rng: &mut Rng, steps: &mut Vec<Step>) {
    let client = rng.u8(0..2);
    let send = |words: Words| Step::Send(client, words);
    let small = |rng: &mut Rng| words(&format!("INCR n{}", rng.u8(0..4)));
    let step = match rng.u8(0..40) {
        0..12 => send(large(rng)),
        12..16 => send(small(rng)),
        16..19 => {
            steps.extend([send(words("MULTI")), send(small(rng)), send(large(rng)), send(small(rng))]);
            send(words("EXEC"))
        }
        19..22 => send(words(&format!("SET t{} {} PX {}", rng.u8(0..2), rng.u16(..), rng.u16(1..2000)))),
        22..25 => send(words(&format!("PERSIST t{}", rng.u8(0..2)))),
        25..28 => send(words(&format!("SELECT {}", rng.u8(0..4)))),
        28 => send(words(["BGSAVE", "BGREWRITEAOF"][rng.usize(0..2)])),
        29..34 => Step::Log(rng.bool()),
        34 => Step::Thread,
        35..37 => Step::Time([120, 1100, 1100][rng.usize(0..3)]),
        37 => Step::WriteBack(rng.u64(..) >> 16),
        _ => Step::Log(true),
    };
    steps.push(step);
}

fn large(rng: &mut Rng) -> Words {
    let value = format!("{:016x}", rng.u64(..)).repeat(rng.usize(60..340));
    words(&format!("SET s{} {value}", rng.u8(0..4)))
}
