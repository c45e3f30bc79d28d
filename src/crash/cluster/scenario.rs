//! What happens to several servers in a simulated run: a list of steps that follows from a seed.
//!
//! As with one server ([`super::super::scenario`]) a scenario is data, and any part of its steps is a scenario, too. A step that
//! makes no sense any more (a machine that is up is started) does nothing. Machines are counted from 0; which of
//! them is a primary is a matter of REPLICAOF, and of the steps before.

use std::fmt;

use fastrand::Rng;

use super::super::scenario::{Fault, Setup, Words, fault, setting, shown, words, write};
use super::net::{Learns, host};

/// The connection on which operators give their orders.
pub const OPERATOR: u8 = 3;

/// Whom a machine follows when its process starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Follows {
    /// As when the last one ended.
    AsBefore,
    Nobody,
    Machine(u8),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A client of this machine sends a command, unless it still waits for a reply.
    Send(u8, u8, Words),
    /// The log's writer works; `true`: also a running fsync ends.
    Log(u8, bool),
    /// The oldest piece of work that waits for a thread is done.
    Thread(u8),
    /// Milliseconds pass everywhere, the timers strike once.
    Time(u32),
    /// One direction of one connection gets on by so many bytes: the `pick`th of those that can.
    Move(u16, u32),
    /// All that is under way arrives, in pieces of so many bytes.
    Flow(u32),
    /// So many milliseconds in which everything gets on.
    Live(u32),
    /// The `pick`th connection breaks.
    Cut(u16, Learns),
    /// Two machines do not reach each other.
    Part(u8, u8),
    /// All do.
    Heal,
    /// The kernel writes some dirty pages to the medium.
    WriteBack(u8, u64),
    /// The next calls of a kind fail.
    Fails(u8, Fault),
    /// So many bytes are free; `None`: enough.
    Space(u8, Option<u32>),
    /// The process dies at this disk step from now.
    DieIn(u8, u32),
    /// The process is killed, or, with a seed, the machine loses power.
    Down(u8, Option<u64>),
    /// It is started, unless it runs.
    Up(u8, Follows),
    /// It is started, dies at this disk step, and perhaps by a power cut.
    UpDying(u8, u32, Option<u64>),
    /// It is started while calls fail, and killed.
    UpFailing(u8, Fault),
    /// A clean shutdown, with SAVE or NOSAVE if said.
    Shutdown(u8, Option<bool>),
    /// What is served is compared with the stream that led there.
    Compare,
    /// All faults end, all machines are up, seconds pass: replicas must be where their primaries are.
    Quiet,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub seed: u64,
    /// Of each machine.
    pub setups: Vec<Setup>,
    pub steps: Vec<Step>,
}

/// REPLICAOF, or NO ONE.
pub fn replicaof(primary: Option<u8>) -> Words {
    match primary {
        Some(primary) => words(&format!("REPLICAOF {} 6379", host(primary.into()))),
        None => words("REPLICAOF NO ONE"),
    }
}

impl Scenario {
    pub fn generate(seed: u64, machines: u8) -> Scenario {
        let mut rng = Rng::with_seed(seed ^ u64::from(machines) << 56);
        let setups = (0..machines).map(|_| setup(&mut rng)).collect();
        let mut steps = Vec::new();
        for machine in 1..machines {
            let primary = if rng.u8(0..3) == 0 { rng.u8(0..machine) } else { 0 };
            steps.push(Step::Send(machine, OPERATOR, replicaof(Some(primary))));
        }
        if rng.u8(0..8) > 0 {
            steps.push(Step::Live(2000));
        }
        let len = if rng.u8(0..4) == 0 { rng.u32(40..160) } else { rng.u32(5..50) };
        // Faults make a run one of its own kind: most have none.
        let troubled = rng.u8(0..4) == 0;
        for _ in 0..len {
            if troubled && rng.u8(0..8) == 0 {
                steps.push(trouble(&mut rng, machines));
            }
            push_step(&mut rng, &mut steps, machines);
        }
        steps.push(Step::Quiet);
        Scenario { seed, setups, steps }
    }
}

fn setup(rng: &mut Rng) -> Setup {
    let mut rest = String::from(
        "auto-aof-rewrite-min-size 1\nauto-aof-rewrite-percentage 0\nrepl-timeout 5\nrepl-ping-replica-period 1\n\
         repl-diskless-sync-delay 0\n",
    );
    if rng.u8(0..3) == 0 {
        rest.push_str("repl-diskless-sync no\n");
    }
    if rng.u8(0..8) == 0 {
        rest.push_str("min-replicas-to-write 1\nmin-replicas-max-lag 2\n");
    }
    Setup {
        appendonly: rng.u8(0..3) > 0,
        fsync: ["always", "everysec", "everysec", "no"][rng.usize(0..4)],
        save: rng.u8(0..5) > 0,
        ring: [16384, 16384, 32768][rng.usize(0..3)],
        rest,
    }
}

/// Machine 0 begins as the primary: most commands go there.
fn any(rng: &mut Rng, machines: u8) -> u8 {
    if rng.u8(0..3) == 0 { rng.u8(0..machines) } else { 0 }
}

fn push_step(rng: &mut Rng, steps: &mut Vec<Step>, machines: u8) {
    let machine = rng.u8(0..machines);
    let power = |rng: &mut Rng| rng.bool().then(|| rng.u64(..) >> 16);
    steps.push(match rng.u8(0..108) {
        0..46 => return command(rng, steps, machines),
        46..56 => Step::Live([60, 300, 1100, 1100, 3000, 7000][rng.usize(0..6)]),
        56..64 => Step::Flow([1, 7, 100, 1000, 1 << 20][rng.usize(0..5)]),
        64..72 => Step::Move(rng.u16(..), [1, 3, 20, 200, 3000, 1 << 20][rng.usize(0..6)]),
        72..76 => Step::Thread(machine),
        76..80 => Step::Log(machine, rng.bool()),
        80..82 => Step::Time([1, 120, 1100, 6000][rng.usize(0..4)]),
        82..84 => Step::WriteBack(machine, rng.u64(..) >> 16),
        84..88 => Step::Cut(rng.u16(..), [Learns::Both, Learns::Caller, Learns::Called][rng.usize(0..3)]),
        88 => Step::Part(machine, rng.u8(0..machines)),
        89 => Step::Heal,
        90 => Step::DieIn(machine, rng.u32(1..40)),
        91..94 => Step::Down(machine, power(rng)),
        94..97 => Step::Up(machine, follows(rng, machines)),
        97 => return steps.push(Step::Send(machine, OPERATOR, order(rng, machine, machines))),
        98 => Step::Compare,
        99 => Step::UpDying(machine, rng.u32(1..60), power(rng)),
        100 => Step::Shutdown(machine, [None, Some(true), Some(false)][rng.usize(0..3)]),
        101..105 => return by_inches(rng, steps, machines),
        105 => return copied_by_inches(rng, steps, machines),
        _ => Step::Quiet,
    });
}

fn trouble(rng: &mut Rng, machines: u8) -> Step {
    let machine = rng.u8(0..machines);
    match rng.u8(0..4) {
        0 => Step::Space(machine, [Some(0), Some(200), Some(3000)][rng.usize(0..3)]),
        1 => Step::Space(machine, None),
        2 => Step::UpFailing(machine, fault(rng, true)),
        _ => Step::Fails(machine, fault(rng, false)),
    }
}

/// A machine is pointed elsewhere, or promoted, or comes back, and what follows from that happens in small pieces, in the
/// middle of which something may end.
fn by_inches(rng: &mut Rng, steps: &mut Vec<Step>, machines: u8) {
    let machine = rng.u8(0..machines);
    if rng.u8(0..3) == 0 {
        steps.push(Step::DieIn(machine, rng.u32(1..25)));
    }
    match rng.u8(0..4) {
        0 => {
            steps.push(Step::Down(machine, rng.bool().then(|| rng.u64(..) >> 16)));
            steps.push(Step::Up(machine, follows(rng, machines)));
        }
        1 => steps.push(Step::Cut(rng.u16(..), Learns::Both)),
        _ => steps.push(Step::Send(machine, OPERATOR, order(rng, machine, machines))),
    }
    for _ in 0..rng.u8(4..30) {
        steps.push(match rng.u8(0..12) {
            0..4 => Step::Flow([20, 100, 1000, 1 << 20][rng.usize(0..4)]),
            4..7 => Step::Thread(rng.u8(0..machines)),
            7 => Step::Time([100, 300, 1100][rng.usize(0..3)]),
            8 => Step::Move(rng.u16(..), [1, 20, 200][rng.usize(0..3)]),
            9 => Step::Log(rng.u8(0..machines), rng.bool()),
            _ => one_write(rng, machines),
        });
    }
    let end = [
        Step::Down(machine, None),
        Step::Down(machine, Some(rng.u64(..) >> 16)),
        Step::Cut(rng.u16(..), Learns::Both),
        Step::Send(machine, OPERATOR, order(rng, machine, machines)),
        Step::Live(300),
    ];
    steps.push(end[rng.usize(0..5)].clone());
}

/// A machine with data of its own copies another one's while that one is written to, and one of them ends in the middle of it, or
/// right after what was sent has arrived.
fn copied_by_inches(rng: &mut Rng, steps: &mut Vec<Step>, machines: u8) {
    let from = rng.u8(0..machines);
    let to = (from + rng.u8(1..machines.max(2))) % machines;
    steps.extend([
        Step::Send(from, OPERATOR, replicaof(None)),
        Step::Send(to, OPERATOR, replicaof(None)),
        Step::Live(300),
        Step::Send(to, 0, write(rng)),
        Step::Send(to, OPERATOR, replicaof(Some(from))),
    ]);
    for _ in 0..rng.u8(6..24) {
        steps.push(match rng.u8(0..16) {
            0..6 => Step::Flow([20, 1000, 1 << 20, 1 << 20][rng.usize(0..4)]),
            6..10 => Step::Thread(from),
            10..12 => Step::Thread(to),
            12 => Step::Time([100, 300, 1100][rng.usize(0..3)]),
            _ => Step::Send(from, rng.u8(0..3), write(rng)),
        });
    }
    let power = |rng: &mut Rng| Some(rng.u64(..) >> 16);
    steps.push(match rng.u8(0..6) {
        0 => Step::Down(from, None),
        1 => Step::Down(to, power(rng)),
        2 => Step::Live(300),
        _ => Step::Down(from, power(rng)),
    });
}

fn one_write(rng: &mut Rng, machines: u8) -> Step {
    Step::Send(any(rng, machines), rng.u8(0..3), write(rng))
}

fn follows(rng: &mut Rng, machines: u8) -> Follows {
    match rng.u8(0..8) {
        0 => Follows::Nobody,
        1 => Follows::Machine(rng.u8(0..machines)),
        _ => Follows::AsBefore,
    }
}

fn order(rng: &mut Rng, machine: u8, machines: u8) -> Words {
    let other = (machine + rng.u8(1..machines.max(2))) % machines;
    let to = host(other.into());
    match rng.u8(0..12) {
        0 => words("FAILOVER"),
        1 => words(&format!("FAILOVER TO {to} 6379 TIMEOUT 1500")),
        2 => words(&format!("FAILOVER TO {to} 6379 FORCE TIMEOUT 300")),
        3 => words("FAILOVER ABORT"),
        4 => words("CLIENT KILL TYPE replica"),
        _ => replicaof((other != machine && rng.bool()).then_some(other)),
    }
}

fn command(rng: &mut Rng, steps: &mut Vec<Step>, machines: u8) {
    let (machine, client) = (any(rng, machines), rng.u8(0..3));
    let mut send = |words| steps.push(Step::Send(machine, client, words));
    match rng.u8(0..40) {
        0..3 => {
            send(words("MULTI"));
            for _ in 0..rng.u8(1..4) {
                send(write(rng));
            }
            send(words("EXEC"));
        }
        3 => send(words(&format!("SELECT {}", rng.u8(0..4)))),
        4 => send(words(["BGSAVE", "BGREWRITEAOF"][rng.usize(0..2)])),
        5 => send(words("PUBLISH news item")),
        6 => send(words(&format!("WAIT {} {}", rng.u8(1..3), [50, 1000][rng.usize(0..2)]))),
        7 => send(words(&format!("WAITAOF {} {} 1000", rng.u8(0..2), rng.u8(0..3)))),
        8 => {
            let machine = rng.u8(0..machines);
            steps.push(Step::Send(machine, OPERATOR, setting(rng)));
        }
        _ => send(write(rng)),
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Step::Send(machine, OPERATOR, words) => write!(f, "node{machine}, operator: {}", shown(words)),
            Step::Send(machine, client, words) => {
                write!(f, "node{machine}, client {client}: {}", shown(words))
            }
            Step::Log(machine, false) => write!(f, "node{machine}: the log's writer works"),
            Step::Log(machine, true) => {
                write!(f, "node{machine}: the log's writer works, a running fsync ends")
            }
            Step::Thread(machine) => write!(f, "node{machine}: the oldest background work is done"),
            Step::Time(ms) => write!(f, "{ms} ms pass"),
            Step::Move(pick, bytes) => {
                write!(f, "up to {bytes} bytes arrive (direction {pick} of those that can)")
            }
            Step::Flow(piece) => write!(f, "all that is under way arrives, in pieces of {piece}"),
            Step::Live(ms) => write!(f, "everything gets on for {ms} ms"),
            Step::Cut(pick, learns) => write!(f, "connection {pick} breaks ({learns:?} told)"),
            Step::Part(a, b) => write!(f, "node{a} and node{b} do not reach each other"),
            Step::Heal => f.write_str("all machines reach each other"),
            Step::WriteBack(machine, seed) => {
                write!(f, "node{machine}: the kernel writes some pages back (seed {seed})")
            }
            Step::Fails(machine, fault) => write!(f, "node{machine}: {fault}"),
            Step::Space(machine, None) => write!(f, "node{machine}: the disk has space"),
            Step::Space(machine, Some(bytes)) => write!(f, "node{machine}: the disk has {bytes} bytes left"),
            Step::DieIn(machine, steps) => {
                write!(f, "node{machine} will die at its {steps}th disk step from here")
            }
            Step::Down(machine, None) => write!(f, "node{machine}: kill -9"),
            Step::Down(machine, Some(seed)) => write!(f, "node{machine}: power cut (seed {seed})"),
            Step::Up(machine, follows) => match follows {
                Follows::AsBefore => write!(f, "node{machine} is started"),
                Follows::Nobody => write!(f, "node{machine} is started as a primary"),
                Follows::Machine(primary) => {
                    write!(f, "node{machine} is started as a replica of node{primary}")
                }
            },
            Step::UpDying(machine, steps, None) => {
                write!(f, "node{machine} is started and dies at its {steps}th disk step")
            }
            Step::UpDying(machine, steps, Some(seed)) => {
                write!(
                    f,
                    "node{machine} is started and dies at its {steps}th disk step by a power cut (seed {seed})"
                )
            }
            Step::UpFailing(machine, fault) => write!(f, "node{machine}: a start during which {fault}"),
            Step::Shutdown(machine, None) => write!(f, "node{machine}: SHUTDOWN"),
            Step::Shutdown(machine, Some(true)) => write!(f, "node{machine}: SHUTDOWN SAVE"),
            Step::Shutdown(machine, Some(false)) => write!(f, "node{machine}: SHUTDOWN NOSAVE"),
            Step::Compare => f.write_str("what is served is compared with the streams"),
            Step::Quiet => f.write_str("all is well and quiet"),
        }
    }
}
