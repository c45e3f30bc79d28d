//! A small server around ring, log and `replication.toml`, killed and cut off power everywhere, and started again.
//!
//! The dataset is the stream itself: what recovery loads and replays must be byte for byte a unit-aligned prefix of what
//! was written (P2), long enough for what was promised (P1), and every name in the lineage must be true (P3).

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use super::*;
use crate::disk::{Disk, DiskFile, Fault, Mode, PowerCut, SimDisk, durable};
use crate::error::Corrupt;
use crate::format::aof::Chain;
use crate::format::framing::unit_bounds;
use crate::format::history::{Role, Sealed};
use crate::log::commit::{prepare, tidy_up};
use crate::log::history_file::HistoryFile;
use crate::log::replay::RunReader;
use crate::log::segments::{Segments, paths};
use crate::log::survey::RdbPeek;
use crate::log::writer::{
    Batch, Bound, Closed, Health, LogWriter, Now, Options, Order, Policy, Unclosed, mark_interval,
};
use crate::ring::Begin;

#[path = "refusal_tests.rs"]
mod refusals;
#[path = "stranger_tests.rs"]
mod strangers;
#[path = "takeover_tests.rs"]
mod takeover;

const DUMP: &str = "/d/dump.rdb";

/// A stand-in for RDB: magic, position as text (and a word more for an export), the dataset (the stream's prefix), a checksum.
fn rdb(position: Option<(ReplId, Offset)>, dataset: &[u8]) -> Vec<u8> {
    let head = match position {
        Some((replid, offset)) => format!("REDIS {replid} {offset}\n"),
        None => "REDIS - -\n".into(),
    };
    let mut bytes = [head.as_bytes(), dataset].concat();
    let seal = crate::format::crc::seal(&[], &bytes);
    bytes.extend_from_slice(&seal.to_le_bytes());
    bytes
}

/// A base of commands: the stream's prefix is one.
fn as_commands(place: Place, stream: &[u8]) -> Vec<u8> {
    let (mut chain, mut bytes) = (Chain::base(), stream.to_vec());
    chain.cover(stream);
    chain.end_base(place, &mut bytes);
    bytes
}

struct Probe;

impl RdbProbe for Probe {
    fn peek(&self, file: &dyn DiskFile) -> Result<std::result::Result<RdbPeek, Corrupt>> {
        let mut bytes = vec![0; file.size()? as usize];
        file.read_at(&mut bytes, 0)?;
        let Some(end) = bytes.iter().position(|b| *b == b'\n').filter(|_| bytes.starts_with(b"REDIS "))
        else {
            return Ok(Err(Corrupt::new(0, "no RDB")));
        };
        let head = String::from_utf8_lossy(&bytes[6..end]).into_owned();
        let mut words = head.split(' ');
        let (replid, offset) = (words.next().unwrap(), words.next().unwrap());
        let export = words.next().is_some();
        let checksum = u64::from_le_bytes(bytes[bytes.len() - 8..].try_into().unwrap());
        let replid = ReplId::parse(replid.as_bytes());
        let offset = offset.parse().ok().map(Offset);
        Ok(Ok(RdbPeek { replid, offset, db: Some(0), export, checksum }))
    }
    fn preamble_end(&self, file: &dyn DiskFile) -> Result<std::result::Result<u64, Corrupt>> {
        Ok(Ok(file.size()?))
    }
}

fn dataset_of(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let bytes = crate::disk::read_all(disk, path, 1 << 30).unwrap();
    let head = bytes.iter().position(|b| *b == b'\n').unwrap() + 1;
    bytes[head..bytes.len() - 8].to_vec()
}

fn id(n: u32) -> ReplId {
    let mut bytes = [0; 20];
    bytes[..4].copy_from_slice(&n.to_le_bytes());
    ReplId::from_random(bytes)
}

fn set(len: usize) -> Vec<u8> {
    format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${len}\r\n{}\r\n", "v".repeat(len)).into_bytes()
}

#[derive(Clone, Copy)]
struct Conf {
    policy: Option<Policy>,
    ring: u64,
}

/// What the world remembers over restarts.
#[derive(Default)]
struct World {
    /// Everything ever written under each name, with what came before it.
    names: HashMap<ReplId, Vec<u8>>,
    starts: u32,
    /// How often the machine has crashed.
    boots: u32,
}

impl World {
    fn boot_id(&self) -> String {
        if self.boots == 0 { BOOT.into() } else { format!("boot {}", self.boots) }
    }
}

/// A running server.
struct Server {
    disk: SimDisk,
    store: HistoryFile,
    ring: Box<Ring>,
    segments: Arc<Mutex<Segments>>,
    writer: Option<LogWriter>,
    stream: Vec<u8>,
    unit_ends: Vec<u64>,
    acked: Offset,
    now: Now,
    policy: Policy,
    inputs: Inputs,
}

const BOOT: &str = "this boot";

fn settings(world: &mut World, conf: Conf) -> Settings {
    world.starts += 1;
    Settings {
        appendonly: conf.policy.is_some(),
        load_truncated: true,
        fresh_replid: id(world.starts * 2),
        fresh_tag: u64::from(world.starts) * 7919,
        boot_id: world.boot_id(),
    }
}

/// Loads and replays a plan: the dataset as bytes.
fn load(disk: &SimDisk, plan: &Plan, ring: Option<&Ring>) -> Vec<u8> {
    let mut stream = Vec::new();
    let mut piece = Vec::new();
    for load in &plan.load {
        if load.rdb > 0 {
            stream.extend(dataset_of(disk, &load.path));
        }
        if let Some(mut reader) = RunReader::of_load(disk, load).unwrap() {
            while reader.next(None, &mut piece).unwrap() {
                stream.extend_from_slice(&piece);
            }
        }
    }
    for run in &plan.replay {
        let mut reader = RunReader::of_run(disk, run).unwrap();
        while reader.next(ring, &mut piece).unwrap() {
            stream.extend_from_slice(&piece);
        }
    }
    stream
}

fn refused(what: &'static str) -> crate::error::IoFailure {
    crate::error::IoFailure::new(what, Path::new("log"), std::io::Error::other("refused"))
}

impl Server {
    /// `Err`: the simulated process ended while starting.
    fn start(disk: &SimDisk, world: &mut World, conf: Conf) -> Result<(Server, Plan)> {
        let settings = settings(world, conf);
        disk.create_dir(Path::new("/d"))?;
        disk.fsync_dir(Path::new("/"))?;
        tidy_up(disk, &paths())?;
        let Recovered { plan, ring, inputs, .. } = recover(disk, &paths(), &Probe, &settings)?;
        let mut plan = plan.unwrap_or_else(|refusal| panic!("start {}: {refusal}\n{inputs:?}", world.starts));
        let shared: Arc<dyn Disk> = Arc::new(disk.clone());
        let stream = load(disk, &plan, ring.as_deref());
        let prepared = prepare(shared.clone(), &paths(), &mut plan)?;
        let begin = |at: Offset, db: u32| Begin {
            replid: plan.history.replid,
            begun: plan.history.begun,
            tag: plan.history.tag,
            at,
            db,
        };
        let mut ring = match ring {
            Some(mut ring) => {
                match plan.ring {
                    RingPlan::Keep { start } => {
                        ring.keep(start..plan.end, plan.db);
                        ring.forget_outside()?;
                    }
                    RingPlan::Refill { at, db } => ring.restart(begin(at, db)),
                }
                ring
            }
            None => Box::new(Ring::create(disk, &paths().ring(), conf.ring, begin(plan.end, plan.db))?),
        };
        if ring.end() < plan.end {
            ring.append(&stream[ring.end().0 as usize..], plan.db);
        }
        let mut store =
            HistoryFile::recovered(shared, paths().history(), plan.history.clone(), &world.boot_id());
        if plan.fresh {
            store.save()?;
        } else {
            let cause =
                if matches!(plan.history.role, Role::Primary) { Cause::Start } else { Cause::Promotion };
            store.begin(id(world.starts * 2 + 1), cause, plan.end, &mut ring, None)?;
        }
        let segments = Arc::new(Mutex::new(prepared.segments));
        let now = Now { millis: 0, unix_seconds: 0 };
        let policy = conf.policy.unwrap_or(Policy::Spill);
        let mut server = Server {
            disk: disk.clone(),
            store,
            ring,
            segments,
            writer: None,
            unit_ends: vec![plan.end.0],
            acked: plan.end,
            stream,
            now,
            policy,
            inputs,
        };
        if plan.history.sealed.is_some() && conf.policy.is_some() {
            // Rule 23: a base before anything else.
            let place = Place { replid: server.store.get().replid, offset: plan.end, db: plan.db };
            server.open_log(place, plan.end)?;
            server.rewrite()?;
            assert_eq!(server.store.get().sealed, None);
        } else if conf.policy.is_some() {
            server.open_log(plan.log_from, plan.durable)?;
            if let Some(name) = &prepared.idle_segment {
                server.segments.lock().unwrap().drop_segment(name)?;
            }
            if !plan.log_has_base && plan.end.0 > 0 {
                server.rewrite()?;
            }
        } else if plan.log_from.offset < plan.end || !plan.keep_segments.is_empty() {
            server.open_log(plan.log_from, plan.durable)?;
        }
        Ok((server, plan))
    }

    fn open_log(&mut self, place: Place, durable: Offset) -> Result<()> {
        let mark_interval = mark_interval(self.ring.capacity());
        let options =
            Options { policy: self.policy, timestamps: false, no_fsync_on_rewrite: false, mark_interval };
        let mut writer = LogWriter::open(self.segments.clone(), options, place, durable, self.now)?;
        let (from, end) = (place.offset.0 as usize, self.stream.len());
        let mut batch = Batch::default();
        batch.bytes.extend_from_slice(&self.stream[from..]);
        for (len, db) in unit_bounds(&batch.bytes, 0, mark_interval) {
            batch.bounds.push(Bound { at: len as usize, end: place.offset + len, db });
        }
        batch.orders.push((end - from, Order::SetReplId(self.store.get().replid)));
        writer.take(batch);
        writer.advance(self.now);
        self.writer = Some(writer);
        Ok(())
    }

    fn end(&self) -> Offset {
        Offset(self.stream.len() as u64)
    }

    /// Ring first, then the log, as the driver does; spills before the ring overruns the last cut.
    fn write(&mut self, world: &mut World, bytes: &[u8]) -> Result<()> {
        if self.is_latched() {
            return Ok(()); // the gate is closed
        }
        let end = self.end() + bytes.len() as u64;
        let cut =
            self.store.get().bases.iter().filter(|b| b.placed).map(|b| b.cut).max().unwrap_or(Offset::ZERO);
        if self.writer.is_none() && self.ring.start_after(bytes.len() as u64) > cut {
            let place = Place { replid: self.store.get().replid, offset: cut, db: 0 };
            self.open_log(place, cut)?;
        }
        let overrun = self.ring.start_after(bytes.len() as u64).min(self.end());
        if let Some(writer) = &mut self.writer
            && overrun > writer.marked()
        {
            writer.take(Batch { orders: vec![(0, Order::Mark)], ..Batch::default() });
            writer.advance(self.now);
            if overrun > writer.marked() {
                return Err(refused("reading from clients (rule 6)"));
            }
        }
        self.stream.extend_from_slice(bytes);
        world.names.insert(self.store.get().replid, self.stream.clone());
        self.ring.append(bytes, 0);
        self.unit_ends.push(end.0);
        if let Some(writer) = &mut self.writer {
            let mut batch = Batch { bytes: bytes.to_vec(), ..Batch::default() };
            batch.bounds.push(Bound { at: bytes.len(), end, db: 0 });
            writer.take(batch);
            writer.advance(self.now);
            self.ring.note(writer.written(), writer.durable());
        }
        if self.disk.is_dead() {
            return Err(refused("answering")); // it ended while it stored into the ring
        }
        // Rule 8: a unit that the ring cannot hold is acknowledged when the log proves it.
        let proven = self.writer.as_ref().map_or(cut, |writer| writer.marked());
        if self.ring.start() <= proven || proven >= end {
            self.acked = end;
        }
        Ok(())
    }

    fn is_latched(&self) -> bool {
        self.writer.as_ref().is_some_and(|writer| matches!(writer.health(), Health::Latched(_)))
    }

    /// Rule 23: the failure is recorded, then a base and a new segment bring service back.
    fn mend(&mut self) -> Result<()> {
        if !self.is_latched() {
            return Ok(());
        }
        self.rewrite()?;
        self.order(Order::BaseDurable);
        assert!(!self.is_latched());
        Ok(())
    }

    /// `appendonly no` after a failed fsync: the stream is spilled from where the sealed log is proven to end.
    fn switch_off(&mut self) -> Result<()> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let Err(Unclosed { proven: Some(place), durable, sealed: true, .. }) = writer.close(self.now) else {
            return Err(refused("closing the log"));
        };
        self.policy = Policy::Spill;
        self.open_log(place, durable)
    }

    fn order(&mut self, order: Order) {
        let Some(writer) = &mut self.writer else { return };
        writer.take(Batch { orders: vec![(0, order)], ..Batch::default() });
        writer.advance(self.now);
    }

    fn sync(&mut self) {
        self.now.millis += 1001;
        if let Some(writer) = &mut self.writer
            && let Some(job) = writer.sync_due(self.now)
        {
            let result = job.run();
            writer.synced(&job, result);
            let sealed = Sealed { from: writer.durable(), to: writer.written() };
            // A few attempts, as faults are few; a process that has ended makes none.
            let _recorded = self.is_latched() && (0..5).any(|_| self.store.seal(sealed).is_ok());
        }
    }

    fn base(&self, name: String, bytes: &[u8]) -> Base {
        let checksum = match name.ends_with(".aof") {
            true => crate::format::crc::seal(&[], bytes),
            false => u64::from_le_bytes(bytes[bytes.len() - 8..].try_into().unwrap()),
        };
        let file = BaseFile { name, len: bytes.len() as u64, checksum };
        Base { cut: self.end(), db: 0, placed: false, files: vec![file] }
    }

    /// BGSAVE: named before its rename (rule 15), spilled segments go after it.
    fn save(&mut self) -> Result<()> {
        let bytes = rdb(Some((self.store.get().replid, self.end())), &self.stream);
        let base = self.base("dump.rdb".into(), &bytes);
        let temporary = Path::new("/d/temp.rdb");
        durable::write_new(&self.disk, temporary, &bytes)?;
        self.store.announce_base(base.clone())?;
        durable::publish(&self.disk, temporary, Path::new(DUMP))?;
        self.store.confirm_base(&base, |old| old.files[0].name == "dump.rdb")?;
        if self.policy == Policy::Spill && self.writer.take().is_some() {
            let mut segments = self.segments.lock().unwrap();
            segments.drop_before(u64::MAX)?;
            self.store.confirm_base(&base, |_| true)?;
        }
        Ok(())
    }

    fn rewrite(&mut self) -> Result<()> {
        let (tell, told) = std::sync::mpsc::channel();
        let done = Box::new(move |rotated| tell.send(rotated).unwrap());
        let place = Place { replid: self.store.get().replid, offset: self.end(), db: 0 };
        self.order(if self.is_latched() { Order::Reopen(place, done) } else { Order::Rotate(done) });
        let Ok(Ok(rotated)) = told.recv() else { return Err(refused("opening a segment")) };
        assert_eq!(rotated.start, self.end());
        let commands = rotated.seq.is_multiple_of(2); // both forms, in turns
        let bytes = match commands {
            true => as_commands(place, &self.stream),
            false => rdb(Some((place.replid, place.offset)), &self.stream),
        };
        let mut segments = self.segments.lock().unwrap();
        let (name, seq) = segments.next_base(rotated.seq, commands);
        let path = paths().log_file(&name);
        let base = self.base(paths().relative(&name), &bytes);
        let committed = durable::write_new(&self.disk, &path, &bytes)
            .and_then(|()| self.store.announce_base(base.clone()))
            .and_then(|()| segments.commit_base(&name, seq, rotated.start, rotated.seq));
        if committed.is_err() && !segments.may_name(&name) {
            let _secondary = durable::remove_if_there(&self.disk, &path);
        }
        committed?;
        self.store.confirm_base(&base, |old| old.files[0].name != "dump.rdb")
    }

    fn stop(mut self) -> Result<()> {
        let place = Place { replid: self.store.get().replid, offset: self.end(), db: 0 };
        let mut closed = Closed { place, durable: place.offset, segments: Vec::new() };
        if let Some(writer) = self.writer.take() {
            let Ok(of_the_log) = writer.close(self.now) else { return Ok(()) };
            closed = of_the_log;
        }
        self.ring.flush()?;
        self.store.mark_clean(&closed)
    }
}

/// P2 and P3 of a start: the dataset is a prefix of what was, in whole units, and every name is true.
fn check_start(server: &Server, plan: &Plan, before: &[u8], unit_ends: &[u64], world: &World, what: &str) {
    let taken = matches!(plan.verdict, Verdict::Continue | Verdict::Empty);
    let same = before.iter().zip(&server.stream).take_while(|(a, b)| a == b).count();
    let lens = (before.len(), server.stream.len(), same);
    assert!(
        taken && before.starts_with(&server.stream),
        "{what}: not a prefix {lens:?} {:?}: {}",
        server.inputs,
        plan.log_line
    );
    assert_eq!(server.end(), plan.end, "{what}: the position lies");
    assert!(unit_ends.contains(&plan.end.0), "{what}: {} is inside a unit", plan.end);
    for past in &server.store.get().lineage {
        let Some(bytes) = world.names.get(&past.replid) else { continue };
        let end = past.end.0 as usize;
        assert!(bytes.len() >= end && bytes[..end] == server.stream[..end], "{what}: {past:?} is not true");
    }
    assert_eq!(server.ring.end(), plan.end, "{what}");
    let (a, b) = server.ring.read(server.ring.start(), usize::MAX).unwrap();
    let held = [a, b].concat();
    assert!(held == server.stream[server.ring.start().0 as usize..], "{what}: the ring differs");
}

/// Everything at once: random work, ended by a clean stop, a kill at a random step, or a power cut, several times over.
#[test]
fn whatever_happens_the_position_is_true() {
    for seed in 0..200u64 {
        let policies = [Some(Policy::Always), Some(Policy::EverySec), Some(Policy::No), None];
        let policy = policies[(seed % 4) as usize];
        let conf = Conf { policy, ring: if seed % 3 == 0 { 16 << 10 } else { 256 << 10 } };
        let (mut disk, mut world) = (SimDisk::new(), World::default());
        let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
        let mut next = move |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % n
        };
        let (mut before, mut unit_ends) = (Vec::new(), vec![0]);
        let (mut at_least, mut life) = (0, 0);
        while life < 6 {
            life += 1;
            let what = format!("seed {seed} life {life} {policy:?}");
            if next(3) > 0 {
                disk.fail_from(next(120));
            }
            let started = Server::start(&disk, &mut world, conf);
            let Ok((mut server, plan)) = started else {
                disk = disk.after_process_crash();
                continue;
            };
            check_start(&server, &plan, &before, &unit_ends, &world, &what);
            assert!(plan.end.0 >= at_least, "{what}: {} of {at_least} promised: {}", plan.end, plan.log_line);
            unit_ends.retain(|end| *end <= plan.end.0);
            let mut alive = true;
            for _ in 0..next(30) {
                if next(60) == 0 {
                    let calls = [("fdatasync", "incr"), ("fdatasync", ""), ("fsync_dir", ""), ("rename", "")];
                    let (call, path) = calls[next(4) as usize];
                    let times = 1 + next(2) as u32;
                    disk.fail(Fault { call, path: path.into(), error: std::io::ErrorKind::Other, times });
                }
                let done = match next(20) {
                    // A failure of one of these ends nothing but itself; that of the process shows at the next write.
                    0 => server.save().or(Ok(())),
                    1 if server.policy != Policy::Spill => server.rewrite().or(Ok(())),
                    6 if server.is_latched() => server.switch_off(),
                    6 | 7 => server.mend().or(Ok(())),
                    2..6 => {
                        server.sync();
                        Ok(())
                    }
                    _ => {
                        let most = if next(8) == 0 { 30_000 } else { 900 };
                        server.write(&mut world, &set(next(most) as usize))
                    }
                };
                if done.is_err() {
                    alive = false;
                    break;
                }
            }
            unit_ends.extend(&server.unit_ends);
            before.clone_from(&server.stream);
            let durable = server.writer.as_ref().map_or(0, |writer| writer.durable().0);
            let end = server.acked.0;
            let stopping = alive && next(4) == 0;
            let old = disk.clone();
            if stopping {
                let _maybe_interrupted = server.stop();
            } else {
                drop(server);
            }
            let cut = next(3);
            world.boots += u32::from(cut == 0);
            (disk, at_least) = match cut {
                // AOF off promises nothing over a power cut; a ring may be gone with it
                0 => (
                    old.after_power_cut(PowerCut::Seeded(next(1 << 30))),
                    if policy.is_some() { durable } else { 0 },
                ),
                _ => (old.after_process_crash(), end),
            };
            if cut == 0 && policy.is_none() {
                break; // what a power cut does without a log is shown elsewhere: it may refuse
            }
        }
    }
}

/// Starts on what `prepare_disk` made and gives plan and dataset.
fn start_on(disk: &SimDisk, appendonly: bool) -> (Plan, Vec<u8>) {
    let conf = Conf { policy: appendonly.then_some(Policy::EverySec), ring: 64 << 10 };
    let settings = settings(&mut World { starts: 500, ..World::default() }, conf);
    let recovered = recover(disk, &paths(), &Probe, &settings).unwrap();
    let plan = recovered.plan.unwrap_or_else(|refusal| panic!("{refusal} {:?}", recovered.inputs));
    let dataset = load(disk, &plan, recovered.ring.as_deref());
    (plan, dataset)
}

/// As if the machine had crashed, not the process.
fn on_another_boot(disk: &SimDisk) {
    let mut history = History::parse(&contents(disk, &paths().history())).unwrap();
    history.boot_id = "another".into();
    disk.damage(&paths().history(), |bytes| *bytes = history.emit().into_bytes());
}

fn refusal_on(disk: &SimDisk, load_truncated: bool) -> Refusal {
    refusal_with(disk, load_truncated, &paths())
}

fn refusal_with(disk: &SimDisk, load_truncated: bool, paths: &Paths) -> Refusal {
    let conf = Conf { policy: Some(Policy::EverySec), ring: 64 << 10 };
    let settings = Settings { load_truncated, ..settings(&mut World::default(), conf) };
    match recover(disk, paths, &Probe, &settings).unwrap().plan {
        Ok(plan) => panic!("not refused: {:?} {}", plan.verdict, plan.log_line),
        Err(refusal) => refusal,
    }
}

/// The text of a file.
fn contents(disk: &SimDisk, path: &Path) -> Vec<u8> {
    crate::disk::read_all(disk, path, 1 << 20).unwrap()
}

/// Ten units, kept in `dump.rdb` at `saved`, then ten more.
fn saved_and_more(policy: Option<Policy>) -> (SimDisk, World, Server) {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let (mut server, _) = Server::start(&disk, &mut world, Conf { policy, ring: 64 << 10 }).unwrap();
    for i in 0..20 {
        if i == 10 {
            server.save().unwrap();
        }
        server.write(&mut world, &set(100)).unwrap();
    }
    (disk, world, server)
}

/// A server that wrote `units` with the log on, and its disk after a clean stop or a kill.
fn ran(policy: Option<Policy>, units: usize, clean: bool) -> (SimDisk, Vec<u8>) {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let conf = Conf { policy, ring: 64 << 10 };
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    for i in 0..units {
        server.write(&mut world, &set(100 + i)).unwrap();
        if i == units / 2 {
            server.sync();
        }
    }
    let stream = server.stream.clone();
    if clean {
        server.stop().unwrap();
    }
    (disk, stream)
}

const FIRST: &str = "/d/appendonlydir/appendonly.aof.1.incr.aof";

/// Scenario 5: bytes behind the last mark are recovered from the ring, whatever the boot id says.
#[test]
fn acknowledged_bytes_behind_the_last_mark_come_from_the_ring() {
    let (disk, stream) = ran(Some(Policy::EverySec), 20, false);
    let (plan, dataset) = start_on(&disk, true);
    assert!(dataset == stream);
    assert_eq!(plan.replay.last().map(|run| run.source.clone()), Some(Source::Ring));
    // all that stands behind the mark is in the ring: nothing is lost, kept aside or said
    let cut = plan.cut.unwrap();
    assert!(cut.bytes > 0 && cut.aside.is_none() && !plan.log_line.contains("cut"), "{}", plan.log_line);
    // other bytes there than the ring's, though they are as well formed, are kept
    let other = disk.after_process_crash();
    other.damage(Path::new(FIRST), |bytes| {
        let at = bytes.len() - 10;
        bytes[at] = b'w';
    });
    let (plan, dataset) = start_on(&other, true);
    let cut = plan.cut.unwrap();
    let said = format!(
        "; a torn tail: {} bytes of appendonly.aof.1.incr.aof from byte {} on are cut and kept as \
         appendonly.aof.1.incr.aof.torn-",
        cut.bytes, cut.keep
    );
    assert!(dataset == stream && cut.aside.is_some() && plan.log_line.contains(&said), "{}", plan.log_line);
    // without the ring: the marked prefix
    disk.remove(&paths().ring()).unwrap();
    let (plan, dataset) = start_on(&disk, true);
    assert!(stream.starts_with(&dataset) && plan.cut.is_some() && plan.end.0 > 0);
    assert!(plan.log_line.contains(&said), "{}", plan.log_line);
}

/// Rules 2 and 5: the boot id tells who crashed, and nothing else.
#[test]
fn the_boot_id_tells_a_crash_of_the_machine() {
    let check = |clean: bool, then: &str, says: &str, lossy: bool| {
        let (disk, stream) = ran(Some(Policy::EverySec), 20, clean);
        let mut history = History::parse(&contents(&disk, &paths().history())).unwrap();
        assert_eq!(history.boot_id, BOOT);
        history.boot_id = then.into();
        disk.damage(&paths().history(), |bytes| *bytes = history.emit().into_bytes());
        let (plan, dataset) = start_on(&disk, true);
        assert!(dataset == stream, "what is checked is trusted, whatever the boot id says");
        assert!(plan.log_line.contains(says), "{}", plan.log_line);
        assert_eq!(plan.machine_crash, lossy, "{}", plan.log_line);
    };
    check(false, BOOT, "after a crash of the process from", false);
    check(false, "another", "after a crash of the machine (its boot id is another one) from", true);
    check(false, "", "after a crash from", true);
    check(true, "another", "after a clean shutdown from", false);
}

/// Scenario 9, 21: AOF off; the last snapshot, spilled segments and the ring together are everything.
#[test]
fn without_a_log_snapshot_spill_and_ring_survive_a_kill() {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let conf = Conf { policy: None, ring: 16 << 10 };
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(500)).unwrap();
    server.save().unwrap();
    for _ in 0..50 {
        server.write(&mut world, &set(1000)).unwrap();
    }
    let stream = server.stream.clone();
    drop(server);
    let (plan, dataset) = start_on(&disk, false);
    assert!(dataset == stream, "{}", plan.log_line);
    assert!(plan.replay.len() >= 2 && plan.load.len() == 1);
}

/// Rule 23, P1: an fsync failed, the log is switched off, and the stream goes on beyond what the ring holds. A kill loses
/// nothing. A crash of the machine may take what the fsync did not save: then what follows it is set aside, and said.
#[test]
fn what_follows_a_failed_fsync_is_chained_to_it() {
    for synced_behind in [false, true] {
        let (disk, mut world) = (SimDisk::new(), World::default());
        let conf = Conf { policy: Some(Policy::EverySec), ring: 16 << 10 };
        let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
        for _ in 0..20 {
            server.write(&mut world, &set(1000)).unwrap();
        }
        server.sync();
        let durable = server.end();
        for _ in 0..20 {
            server.write(&mut world, &set(1000)).unwrap();
        }
        let fault =
            Fault { call: "fdatasync", path: "1.incr".into(), error: std::io::ErrorKind::Other, times: 1 };
        disk.fail(fault);
        server.sync();
        assert!(server.is_latched());
        let off_at = server.end();
        server.switch_off().unwrap();
        for _ in 0..40 {
            server.write(&mut world, &set(1000)).unwrap();
        }
        assert!(server.ring.start() > off_at, "only the segments lead on");
        if synced_behind {
            server.policy = Policy::Always;
            server.order(Order::Sync(Box::new(|done| assert!(done.is_ok()))));
            server.sync();
        }
        let stream = server.stream.clone();
        drop(server);
        let (plan, dataset) = start_on(&disk.after_process_crash(), false);
        assert!(dataset == stream && plan.loss.is_none(), "{} {:?}", plan.log_line, plan.loss);
        assert!(plan.history.sealed.is_some(), "a base is due before service");
        let after = disk.after_power_cut(PowerCut::LoseAll);
        on_another_boot(&after);
        let (plan, dataset) = start_on(&after, false);
        assert!(stream.starts_with(&dataset) && plan.end >= durable, "{}", plan.log_line);
        assert!(plan.end <= off_at);
        let said = plan.loss.is_some_and(|loss| loss.contains("its segments are set aside"));
        assert_eq!(said, synced_behind, "{}", plan.log_line);
    }
}

/// Scenario 17: a MULTI without EXEC and half a command are no part of the position.
#[test]
fn the_position_is_a_whole_unit() {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let (mut server, _) =
        Server::start(&disk, &mut world, Conf { policy: Some(Policy::No), ring: 64 << 10 }).unwrap();
    server.write(&mut world, &set(50)).unwrap();
    let whole = server.end();
    for part in [b"*1\r\n$5\r\nMULTI\r\n".to_vec(), set(20), b"*3\r\n$3\r\nSET\r\n$1".to_vec()] {
        server.write(&mut world, &part).unwrap();
    }
    drop(server);
    assert_eq!(start_on(&disk, true).0.end, whole);
}

/// Scenario 42: the clone of a *running* machine is two writers under one name, which no name can show (README says so). From
/// the next start of either on, its name is its own.
#[test]
fn a_clone_of_a_running_machine_is_told_apart_from_its_next_start_on() {
    let conf = Conf { policy: Some(Policy::Always), ring: 64 << 10 };
    let (disk, mut world) = (SimDisk::new(), World::default());
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(50)).unwrap();
    let (shared, name) = (server.end(), server.store.get().replid);
    let clone = disk.after_process_crash();
    let mut ends = Vec::new();
    for (disk, len) in [(&disk, 10), (&clone, 20)] {
        // The clone's memory is the original's: it goes on where that stood, under its name.
        let segments = Segments::new(Arc::new(disk.clone()), paths(), manifest_of(disk)).unwrap();
        let place = Place { replid: name, offset: shared, db: 0 };
        let options = Options {
            policy: Policy::Always,
            timestamps: false,
            no_fsync_on_rewrite: false,
            mark_interval: mark_interval(64 << 10),
        };
        let segments = Arc::new(Mutex::new(segments));
        let mut writer = LogWriter::open(segments, options, place, shared, Now::default()).unwrap();
        let mut batch = Batch { bytes: set(len), ..Batch::default() };
        let end = shared + set(len).len() as u64;
        batch.bounds.push(Bound { at: set(len).len(), end, db: 0 });
        writer.take(batch);
        writer.advance(Now::default());
        writer.close(Now::default()).unwrap();
        ends.push(end);
    }
    let mut names = Vec::new();
    for (disk, end) in [(disk, ends[0]), (clone, ends[1])] {
        let (server, plan) = Server::start(&disk, &mut world, conf).unwrap();
        assert_eq!((plan.end, plan.history.replid), (end, name), "neither can tell");
        names.push(server.store.get().replid);
    }
    assert!(names[0] != names[1] && !names.contains(&name));
}

fn manifest_of(disk: &SimDisk) -> crate::format::manifest::Manifest {
    match crate::log::segments::read_manifest(disk, &paths()).unwrap() {
        crate::log::segments::ManifestFound::Good(manifest) => manifest,
        other => panic!("{other:?}"),
    }
}

/// Scenario 31: `save ""` and no log: nothing promised; a new history when the ring no longer reaches back.
#[test]
fn a_cache_without_base_begins_anew() {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let conf = Conf { policy: None, ring: 16 << 10 };
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(10)).unwrap();
    let stream = server.stream.clone();
    drop(server);
    let (plan, dataset) = start_on(&disk, false);
    assert_eq!((plan.verdict, dataset), (Verdict::Continue, stream));
    disk.remove(&paths().ring()).unwrap();
    let (plan, dataset) = start_on(&disk, false);
    assert_eq!((plan.verdict, dataset.len(), plan.history.born), (Verdict::Empty, 0, Born::Empty));
}

/// Rule 24, scenario 30: the name changes on a full disk.
#[test]
fn a_full_disk_does_not_block_a_promotion() {
    let (disk, mut world) = (SimDisk::new(), World::default());
    let conf = Conf { policy: Some(Policy::EverySec), ring: 64 << 10 };
    let (mut server, _) = Server::start(&disk, &mut world, conf).unwrap();
    server.write(&mut world, &set(10)).unwrap();
    server.store.save().unwrap();
    disk.set_free_space(Some(0));
    for n in 900..905 {
        let at = server.end();
        server.store.begin(id(n), Cause::Promotion, at, &mut server.ring, None).unwrap();
    }
    assert_eq!(server.ring.replid(), id(904));
}

#[test]
fn a_file_of_another_mode_is_not_opened_for_writing_by_recovery() {
    let (disk, _) = ran(Some(Policy::EverySec), 5, false);
    disk.fail_from(0); // any change would fail
    let (plan, _) = start_on(&disk, true);
    assert!(plan.end.0 > 0);
    assert!(disk.open(Path::new(FIRST), Mode::Read).is_ok());
}

#[path = "generation_tests.rs"]
mod generation_tests;
