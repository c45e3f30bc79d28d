//! What the server must have: the stream as it was seen, and the dataset after any prefix of it.
//!
//! The model keeps every byte that a server appended, told by a witness between execution and ring, and makes the dataset
//! of a prefix by replaying it into an empty node of its own. So it knows nothing of files, marks or recovery, and its
//! answer does not depend on what they do. It shares the commands with the server: a command that executes wrongly
//! is wrong in both (other tests compare with Redis); one whose *effect* is not what it did is found, because
//! the running server's dataset is compared with the replay of what it emitted.
//!
//! Snapshots at places asked for before are kept, so that asking again costs only the replay from there.

use std::collections::{BTreeMap, HashSet};

use crate::config::Config;
use crate::engine::Node;
use crate::engine::replay::Replay;
use crate::format::framing::unit_bounds;
use crate::state::{History, Process, Server};
use crate::store::digest::{of_dataset, of_value};
use crate::store::partitions::Item;
use crate::store::{Database, Snapshot, Store};
use crate::units::{Offset, ReplId};

/// A dataset in sixteen bytes: keys, values, deadlines, databases.
pub type Print = u128;

/// The print of a dataset. Whether a deadline has passed makes no difference.
pub fn print_of(dbs: &[Database]) -> Print {
    let mut print = 0;
    for (n, db) in dbs.iter().enumerate() {
        for entry in db.entries.iter() {
            let mut bytes = Vec::with_capacity(64);
            bytes.extend_from_slice(&of_value(entry));
            bytes.extend_from_slice(&entry.expires().to_le_bytes());
            bytes.extend_from_slice(&(n as u32).to_le_bytes());
            bytes.extend_from_slice(entry.key());
            let digest = crate::format::sha1::sha1(&bytes);
            let half = |from: usize| digest[from..from + 8].iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            print ^= u128::from(half(0)) << 64 | u128::from(half(8));
        }
    }
    print
}

pub struct Model {
    node: Node,
    databases: usize,
    /// Where the history began, as far as the model knows it.
    origin: u64,
    /// The stream from there on.
    stream: Vec<u8>,
    /// Ends of units, with the database selected there.
    bounds: BTreeMap<u64, u32>,
    /// Datasets at some of them.
    kept: BTreeMap<u64, (Snapshot, Print)>,
    /// Names of the history, each with the offset up to which its bytes are this stream's.
    names: Vec<(ReplId, Offset)>,
    /// All names ever taken.
    used: HashSet<ReplId>,
}

impl Model {
    pub fn new(config: &Config) -> Model {
        let databases = config.settings.databases as usize;
        let server = Server::new(config.clone(), History::new(ReplId::NONE), Process::default(), 0);
        let mut model = Model {
            node: Node::new(Store::new(databases), server, 0),
            databases,
            origin: 0,
            stream: Vec::new(),
            bounds: BTreeMap::new(),
            kept: BTreeMap::new(),
            names: Vec::new(),
            used: HashSet::new(),
        };
        model.forget_all();
        model
    }

    /// A new, empty history.
    pub fn forget_all(&mut self) {
        self.begin_with(Offset::ZERO, Snapshot::empty(self.databases), 0);
    }

    /// A new history that begins at `origin` with these data.
    pub fn begin_with(&mut self, origin: Offset, data: Snapshot, print: Print) {
        self.begin_at(origin, 0, data, print);
    }

    /// The same with a database selected there.
    pub fn begin_at(&mut self, origin: Offset, db: u32, data: Snapshot, print: Print) {
        self.origin = origin.0;
        self.stream.clear();
        self.names.clear();
        self.bounds = BTreeMap::from([(origin.0, db)]);
        self.kept = BTreeMap::from([(origin.0, (data, print))]);
    }

    pub fn end(&self) -> Offset {
        Offset(self.origin + self.stream.len() as u64)
    }

    /// Takes whole units that end at `end`; an error says what is wrong with them.
    pub fn append(&mut self, units: &[u8], end: Offset) -> Result<(), String> {
        let start = self.end().0;
        if start + units.len() as u64 != end.0 {
            return Err(format!("{} bytes of stream end at {end}, though {start} was the end", units.len()));
        }
        let db = self.db_at(start).unwrap_or(0);
        let bounds = unit_bounds(units, db, 0);
        if bounds.last().map(|last| last.0) != Some(units.len() as u64) {
            return Err(format!("what was appended at {start} does not end with a unit"));
        }
        self.bounds.extend(bounds.into_iter().map(|(at, db)| (start + at, db)));
        self.stream.extend_from_slice(units);
        Ok(())
    }

    /// Takes what there is of whole units in `bytes`, which come next; how many bytes that were.
    pub fn append_whole(&mut self, bytes: &[u8]) -> Result<usize, String> {
        let end = self.end();
        let bounds = unit_bounds(bytes, self.db_at(end.0).unwrap_or(0), 0);
        let Some((len, _)) = bounds.last().copied() else { return Ok(0) };
        self.append(&bytes[..len as usize], end + len)?;
        Ok(len as usize)
    }

    /// DEBUG DIGEST's answer after the stream's first `upto` bytes.
    pub fn digest_at(&mut self, upto: Offset) -> Result<String, String> {
        self.print_at(upto)?;
        let (snapshot, _) = self.kept.get(&upto.0).ok_or("nothing is kept there")?;
        let digest = of_dataset(&snapshot.dbs);
        Ok(digest.iter().map(|byte| format!("{byte:02x}")).collect())
    }

    /// The ends of all units, oldest first.
    pub fn bounds(&self) -> Vec<Offset> {
        self.bounds.keys().map(|at| Offset(*at)).collect()
    }

    /// The ends of the units behind `start`.
    pub fn bounds_after(&self, start: Offset) -> Vec<Offset> {
        self.bounds.range(start.0 + 1..).map(|(at, _)| Offset(*at)).collect()
    }

    fn db_at(&self, offset: u64) -> Option<u32> {
        self.bounds.get(&offset).copied()
    }

    pub fn is_bound(&self, offset: Offset) -> bool {
        self.bounds.contains_key(&offset.0)
    }

    /// The dataset after the stream's first `upto` bytes; an error if they are not whole units.
    pub fn print_at(&mut self, upto: Offset) -> Result<Print, String> {
        let Some((&from, (snapshot, print))) = self.kept.range(..=upto.0).next_back() else {
            return Err("no beginning".into());
        };
        if from == upto.0 {
            return Ok(*print);
        }
        if !self.is_bound(upto) {
            return Err(format!("offset {upto} is not the end of a unit"));
        }
        let db = self.db_at(from).unwrap_or(0);
        self.node.store.restore(snapshot.clone());
        let mut replay = Replay::new(&mut self.node, db);
        let fed = replay.feed(
            &mut self.node,
            &self.stream[(from - self.origin) as usize..(upto.0 - self.origin) as usize],
        );
        let applied = replay.finish(&mut self.node);
        fed.map_err(|damage| format!("the stream cannot be replayed from {from} on: {damage}"))?;
        if from + applied != upto.0 {
            return Err(format!("replaying from {from} to {upto} applies {applied} bytes"));
        }
        let print = print_of(&self.node.store.dbs);
        self.kept.insert(upto.0, (self.node.store.snapshot(), print));
        Ok(print)
    }

    /// The dataset itself.
    pub fn state_at(&mut self, upto: Offset) -> Result<(Snapshot, Print), String> {
        self.print_at(upto)?;
        self.kept.get(&upto.0).cloned().ok_or_else(|| "no such place".into())
    }

    /// The stream goes on at `end`: what came behind it was lost.
    pub fn cut(&mut self, end: Offset) {
        self.stream.truncate(end.since(Offset(self.origin)) as usize);
        let _lost = (self.bounds.split_off(&(end.0 + 1)), self.kept.split_off(&(end.0 + 1)));
        self.names.iter_mut().for_each(|(_, until)| *until = end.min(*until));
    }

    // ---- names ----

    /// From here on bytes are written under `name`; an error if it was in use before.
    pub fn named(&mut self, name: ReplId) -> Result<(), String> {
        if !self.used.insert(name) {
            return Err(format!("the name {name} is used a second time"));
        }
        self.cut(self.end());
        self.names.push((name, Offset(u64::MAX)));
        Ok(())
    }

    /// The names of this history, each with the offset up to which its bytes are this stream's.
    pub fn names(&self) -> &[(ReplId, Offset)] {
        &self.names
    }

    pub fn knows(&self, name: ReplId) -> bool {
        self.used.contains(&name)
    }

    /// Whether the history of this name begins with this stream's first `offset` bytes: then `(name, offset)` is a true
    /// position, also if the name came into force later.
    pub fn may_be_called(&self, name: ReplId, offset: Offset) -> bool {
        self.names.iter().any(|(known, until)| *known == name && offset <= *until)
    }
}
