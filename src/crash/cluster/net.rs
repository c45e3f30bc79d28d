//! The network between simulated machines: what is under way, and what becomes of it.
//!
//! Nothing moves by itself. Whoever runs the scenario says which direction of which connection gets on, and by how many
//! bytes, which connections break and for which end, and which machines cannot reach each other. A machine is reached
//! by the name `node0`, `node1`, …; one whose process has ended refuses, one without power says nothing.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use crate::server::pipe::{self, Dial, Pipe, Wire, take_dials};

/// A connection, for as long as one of its ends is there.
struct Line {
    wire: Wire,
    /// Who connected, and to whom.
    ends: [usize; 2],
    /// So much of what is under way from each side was sent by a process that lived on.
    sent: [usize; 2],
}

/// Which end of a connection learns that it broke.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Learns {
    Both,
    Caller,
    Called,
}

/// What a machine is to the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    Listens,
    /// Its process has ended.
    Refuses,
    /// It has no power.
    Dark,
}

/// Something under way has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    pub from: usize,
    pub to: usize,
    pub bytes: usize,
    /// Sent by who connected, which has not closed meanwhile.
    pub asks: bool,
}

pub struct Net {
    lines: Vec<Line>,
    dials: Vec<Dial>,
    presence: Vec<Presence>,
    parted: BTreeSet<(usize, usize)>,
}

/// The name by which a machine is reached.
pub fn host(machine: usize) -> String {
    format!("node{machine}")
}

/// The machine of this name.
pub fn machine_of(host: &str) -> Option<usize> {
    host.strip_prefix("node")?.parse().ok()
}

impl Net {
    pub fn new(machines: usize) -> Net {
        drop(take_dials()); // of a stage before this one
        let presence = vec![Presence::Refuses; machines];
        Net { lines: Vec::new(), dials: Vec::new(), presence, parted: BTreeSet::new() }
    }

    fn reach(&self, a: usize, b: usize) -> bool {
        !self.parted.contains(&(a.min(b), a.max(b)))
    }

    /// Connections that can be made are, by `accept`, which says whether it took one.
    pub fn connect(&mut self, mut accept: impl FnMut(usize, Pipe, usize) -> bool) -> bool {
        self.dials.extend(take_dials());
        self.dials.retain(|dial| !dial.is_given_up());
        let mut made = false;
        for dial in std::mem::take(&mut self.dials) {
            let to = machine_of(&dial.host).filter(|to| *to < self.presence.len());
            match to.map(|to| (to, self.presence[to])) {
                Some((to, Presence::Dark)) if to != dial.from => self.dials.push(dial),
                Some((to, _)) if !self.reach(dial.from, to) => self.dials.push(dial),
                Some((to, Presence::Listens)) => {
                    let (caller, called, wire) = pipe::pair();
                    let from = dial.from;
                    if accept(to, called, from) {
                        dial.answer(Ok(caller));
                        self.lines.push(Line { wire, ends: [from, to], sent: [0, 0] });
                    } else {
                        dial.answer(Err(ErrorKind::ConnectionRefused.into()));
                    }
                    made = true;
                }
                _ => {
                    dial.answer(Err(ErrorKind::ConnectionRefused.into()));
                    made = true;
                }
            }
        }
        made
    }

    /// Directions in which something could move: line and side that sends.
    fn busy(&mut self) -> Vec<(usize, usize)> {
        self.lines.retain(|line| !(line.wire.is_gone(0) && line.wire.is_gone(1)));
        let mut busy = Vec::new();
        for (n, line) in self.lines.iter().enumerate() {
            let [a, b] = line.ends;
            if !self.reach(a, b) {
                continue;
            }
            for side in 0..2 {
                if line.wire.is_busy(side) && self.presence[line.ends[1 - side]] != Presence::Dark {
                    busy.push((n, side));
                }
            }
        }
        busy
    }

    /// How many directions have something to move.
    pub fn count_busy(&mut self) -> usize {
        self.busy().len()
    }

    /// The `pick`th of the directions that could move does, by up to `bytes`.
    pub fn move_one(&mut self, pick: usize, bytes: usize) -> Option<Arrival> {
        let busy = self.busy();
        let (n, side) = *busy.get(pick.checked_rem(busy.len())?)?;
        let line = &mut self.lines[n];
        let came = line.wire.deliver(side, bytes.max(1));
        line.sent[side] = line.wire.under_way(side);
        let asks = side == 0 && !line.wire.is_gone(0);
        Some(Arrival { from: line.ends[side], to: line.ends[1 - side], bytes: came.len(), asks })
    }

    /// A connection breaks; what was under way is lost. Its ends.
    pub fn cut(&mut self, pick: usize, learns: Learns) -> Option<[usize; 2]> {
        self.busy(); // forgets those that are over
        let line = self.lines.get(pick.checked_rem(self.lines.len())?)?;
        for side in 0..2 {
            line.wire.take_back(side, 0);
        }
        let told = [learns != Learns::Called, learns != Learns::Caller];
        for side in [0, 1].into_iter().filter(|side| told[*side]) {
            line.wire.reset(side);
        }
        Some(line.ends)
    }

    /// What the machine has sent so far was sent.
    pub fn stands_by(&mut self, machine: usize) {
        for line in &mut self.lines {
            for side in (0..2).filter(|side| line.ends[*side] == machine) {
                line.sent[side] = line.wire.under_way(side);
            }
        }
    }

    /// The process has died meanwhile: what it has sent since it stood by the rest never was.
    pub fn retract(&mut self, machine: usize) {
        for line in &self.lines {
            for side in (0..2).filter(|side| line.ends[*side] == machine) {
                line.wire.take_back(side, line.sent[side]);
            }
        }
    }

    pub fn part(&mut self, a: usize, b: usize) {
        if a != b {
            self.parted.insert((a.min(b), a.max(b)));
        }
    }

    /// All machines reach each other.
    pub fn heal(&mut self) {
        self.parted.clear();
    }

    pub fn is_whole(&self) -> bool {
        self.parted.is_empty()
    }

    pub fn listens(&mut self, machine: usize) {
        self.presence[machine] = Presence::Listens;
    }

    /// Before the process goes: its connections are closed by the system, or, without power, by nobody.
    pub fn ends(&mut self, machine: usize, power: bool) {
        self.presence[machine] = if power { Presence::Dark } else { Presence::Refuses };
        self.dials.extend(take_dials());
        self.dials.retain(|dial| dial.from != machine);
        for line in self.lines.iter().filter(|_| power) {
            for side in (0..2).filter(|side| line.ends[*side] == machine) {
                line.wire.take_back(side, 0);
                line.wire.vanish(side);
            }
        }
    }
}
