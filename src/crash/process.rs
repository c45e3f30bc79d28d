//! Process mode: the real binary on a real file system, killed at any instant, and judged by a replica that takes notes.
//!
//! The harness follows the server as a replica without data ([`peer::Follower`]) and so knows the stream byte by byte; the
//! [`Model`] makes the dataset of any prefix of it. After each kill and start:
//!
//! | promise | check |
//! |---|---|
//! | P1 | the offset is not below the last one that INFO told, nor below what the notes hold; counters stand between acknowledged and sent |
//! | P2 | DEBUG DIGEST is the model's at the offset that the server tells |
//! | P3, P4 | `PSYNC` under the name of before, at the end of the notes, goes on, if the backlog says that it reaches back so far |
//! | P5 | no start refuses, whether the one before was killed half-way or not |
//! | – | a stock replica that was there all the time comes to the same offset and digest |
//! | – | a copy of the running server's directory, its files taken in any order, starts or refuses, goes on by itself, and becomes equal to the original when it is told to follow it |
//!
//! Kills are SIGKILL from outside, at an instant that nobody chose; and, with a server built with the feature `planted`, from inside
//! at a numbered fail point: before or half-way through a write, fsync, rename, truncation or flush (`RINGHOLD_DIE_AT`). A killed process
//! loses nothing that it wrote, so all settings are judged alike, but for caches, which are left out. Power cuts are the simulator's.
//!
//! Choices follow from the seed; what the threads make of them does not.

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fastrand::Rng;

use super::model::Model;
use super::scenario::write;
use super::world::configured;
use crate::units::Offset;
use peer::{Follower, LOOK_AGAIN, Launch, PATIENCE, Peer, Process, copy_live, free_port};

mod peer;

/// What is run.
#[derive(Clone, Debug)]
pub struct Plan {
    pub server: PathBuf,
    /// A stock `redis-server`, to be a replica.
    pub stock: Option<PathBuf>,
    /// The server heeds `RINGHOLD_DIE_AT`.
    pub fail_points: bool,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    pub rounds: u64,
    pub kills: u64,
    /// Of these at fail points.
    pub deaths: u64,
    pub copies: u64,
    pub writes: u64,
    /// Rounds in which the backlog did not reach back to the notes: no more was judged in that directory.
    pub lost_track: u64,
}

/// A promise that was broken.
#[derive(Clone, Debug)]
pub struct Broken {
    pub promise: &'static str,
    pub what: String,
    pub timeline: Vec<String>,
    /// Left as it was.
    pub directory: PathBuf,
}

type Verdict<T = ()> = Result<T, Wrong>;

struct Wrong(&'static str, String);

impl From<io::Error> for Wrong {
    fn from(error: io::Error) -> Wrong {
        Wrong(NO_PROMISE, error.to_string())
    }
}

/// Every so many directories have a stock replica, which takes a second to come back.
const WITH_STOCK: u64 = 4;
/// Something else went wrong.
const NO_PROMISE: &str = "–";
/// In which database counters are, out of reach of the other writers.
const COUNTERS: &str = "9";

/// One directory, killed and started again and again.
struct Campaign<'a> {
    plan: &'a Plan,
    rng: Rng,
    dir: PathBuf,
    launch: Launch,
    model: Model,
    /// Stream bytes behind the model's end: no whole unit.
    rest: Vec<u8>,
    /// Under which name the notes end.
    name: Option<String>,
    reached: Offset,
    sent: [AtomicU64; 2],
    acked: [AtomicU64; 2],
    has_stock: bool,
    stock: Option<Process>,
    follower: Option<Follower>,
    is_over: bool,
    tally: Tally,
    timeline: Vec<String>,
}

/// Runs `rounds` kills in a directory of its own; `tell` is shown the tally after each, and says whether to go on.
pub fn campaign(
    plan: &Plan,
    seed: u64,
    rounds: u32,
    tally: &mut Tally,
    mut tell: impl FnMut(&Tally) -> bool,
) -> Result<(), Broken> {
    let dir = std::env::temp_dir().join(format!("ringhold-crash-{}-{seed}", std::process::id()));
    let broken = |promise, what, timeline| Broken { promise, what, timeline, directory: dir.clone() };
    let mut campaign = match Campaign::new(plan, seed, dir.clone()) {
        Ok(campaign) => campaign,
        Err(Wrong(promise, what)) => return Err(broken(promise, what, Vec::new())),
    };
    for _ in 0..rounds {
        let done = campaign.round();
        *tally = campaign.tally.plus(tally);
        campaign.tally = Tally::default();
        if let Err(Wrong(promise, what)) = done {
            return Err(broken(promise, what, std::mem::take(&mut campaign.timeline)));
        }
        if !tell(tally) || campaign.is_over {
            break;
        }
    }
    drop(campaign);
    let _nobody_needs_it = std::fs::remove_dir_all(&dir);
    Ok(())
}

impl Tally {
    fn plus(self, other: &Tally) -> Tally {
        Tally {
            rounds: self.rounds + other.rounds,
            kills: self.kills + other.kills,
            deaths: self.deaths + other.deaths,
            copies: self.copies + other.copies,
            writes: self.writes + other.writes,
            lost_track: self.lost_track + other.lost_track,
        }
    }
}

fn directives(rng: &mut Rng) -> Vec<(String, String)> {
    let appendonly = rng.u8(0..3) > 0;
    let mut all = vec![
        ("appendonly", if appendonly { "yes" } else { "no" }),
        ("appendfsync", ["always", "everysec", "no"][rng.usize(0..3)]),
        ("save", if appendonly && rng.bool() { "" } else { "3600 1 300 100 60 10000" }),
        ("repl-backlog-size", ["256kb", "1mb", "16mb"][rng.usize(0..3)]),
        ("auto-aof-rewrite-min-size", "64kb"),
        ("repl-diskless-sync-delay", "0"),
    ];
    if rng.u8(0..4) == 0 {
        all.push(("aof-use-rdb-preamble", "no"));
    }
    all.into_iter().map(|(name, value)| (name.to_string(), value.to_string())).collect()
}

impl<'a> Campaign<'a> {
    fn new(plan: &'a Plan, seed: u64, dir: PathBuf) -> Verdict<Campaign<'a>> {
        let mut rng = Rng::with_seed(seed);
        std::fs::create_dir_all(&dir)?;
        let config = configured("databases 16").map_err(|why| Wrong(NO_PROMISE, why))?;
        let launch = Launch {
            program: plan.server.clone(),
            dir: dir.join("data"),
            port: free_port()?,
            directives: directives(&mut rng),
            die_at: None,
        };
        let mut campaign = Campaign {
            plan,
            rng,
            dir,
            launch,
            model: Model::new(&config),
            rest: Vec::new(),
            name: None,
            reached: Offset::ZERO,
            sent: Default::default(),
            acked: Default::default(),
            has_stock: seed.is_multiple_of(WITH_STOCK),
            stock: None,
            follower: None,
            is_over: false,
            tally: Tally::default(),
            timeline: Vec::new(),
        };
        campaign.tell(format!("{:?}", campaign.launch.directives));
        Ok(campaign)
    }

    fn tell(&mut self, text: String) {
        self.timeline.push(text);
    }

    fn round(&mut self) -> Verdict {
        self.tally.rounds += 1;
        let mut server = self.start()?;
        let done = self.judge_and_load(&mut server);
        let done = match done {
            // Its fail point came while it was looked at.
            Err(Wrong(NO_PROMISE, why)) if self.died(&mut server)? => {
                self.tell(format!("it died at its fail point: {why}"));
                (self.tally.kills, self.tally.deaths) = (self.tally.kills + 1, self.tally.deaths + 1);
                Ok(())
            }
            done => done,
        };
        drop(server);
        if let Some(follower) = self.follower.take() {
            self.learn(&follower.finish())?;
        }
        self.reached = self.reached.max(self.model.end() + self.rest.len() as u64);
        self.tell(format!("the notes end at {} and {} bytes", self.model.end(), self.rest.len()));
        done
    }

    fn judge_and_load(&mut self, server: &mut Process) -> Verdict {
        let mut peer = Peer::connect(server.port)?;
        self.resume(&mut peer)?;
        if self.is_over {
            return Ok(());
        }
        self.compare(&mut peer)?;
        self.check_counters(&mut peer)?;
        self.check_stock(&mut peer)?;
        let copies = self.rng.u8(0..4) == 0;
        self.load(server, &mut peer, copies)
    }

    /// At its fail point; a connection may break a moment before the process is gone.
    fn died(&self, server: &mut Process) -> Verdict<bool> {
        let until = Instant::now() + Duration::from_secs(1);
        while self.launch.die_at.is_some() && Instant::now() < until {
            if let Some(ended) = server.ended()? {
                return Ok(ended.killed);
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Ok(false)
    }

    // ---- start ----

    fn start(&mut self) -> Verdict<Process> {
        for _ in 0..3 {
            self.launch.die_at = match self.plan.fail_points {
                true => [None, Some(self.rng.u64(1..60)), Some(self.rng.u64(60..4000))][self.rng.usize(0..3)],
                false => None,
            };
            self.tell(format!("start, to die at {:?}", self.launch.die_at));
            match self.launch.start()? {
                Ok(process) => return Ok(process),
                Err(ended) if ended.killed && self.launch.die_at.is_some() => {
                    self.tell("it died before it served".into());
                    (self.tally.kills, self.tally.deaths) = (self.tally.kills + 1, self.tally.deaths + 1);
                }
                Err(ended) => return Err(Wrong("P5", format!("a start refuses: {}", ended.log.trim_end()))),
            }
        }
        self.launch.die_at = None;
        let refused = |log: String| Wrong("P5", format!("a start refuses: {}", log.trim_end()));
        self.launch.start()?.map_err(|ended| refused(ended.log))
    }

    /// Goes on taking notes where they end.
    fn resume(&mut self, peer: &mut Peer) -> Verdict {
        let (offset, now) = (peer.offset()?, peer.info("replication", "master_replid")?);
        let before = self.name.replace(now.clone()).unwrap_or(now);
        self.tell(format!("serves {offset}; followed as {before} from {}", self.model.end()));
        if offset < self.reached {
            return Err(Wrong(
                "P1",
                format!("after a kill -9 the stream ends at {offset}, though {} was reached", self.reached),
            ));
        }
        let next = self.model.end().next_byte();
        let first_held: u64 =
            peer.info("replication", "repl_backlog_first_byte_offset")?.parse().unwrap_or(u64::MAX);
        match Peer::connect(self.launch.port)?.follow(&before, next)? {
            Ok(follower) => {
                self.rest.clear();
                self.follower = Some(follower);
                Ok(())
            }
            Err(said) if first_held <= next => Err(Wrong(
                "P4",
                format!(
                    "bytes from {first_held} on are held, byte {next} is asked for, and the answer is {said}"
                ),
            )),
            Err(_) => {
                self.tally.lost_track += 1;
                self.is_over = true;
                Ok(())
            }
        }
    }

    fn learn(&mut self, bytes: &[u8]) -> Verdict {
        self.rest.extend_from_slice(bytes);
        let whole = self.model.append_whole(&self.rest).map_err(|why| Wrong("P3", why))?;
        self.rest.drain(..whole);
        Ok(())
    }

    /// The data are what the stream leads to.
    fn compare(&mut self, peer: &mut Peer) -> Verdict {
        let (at, digest) = digest(peer)?;
        let until = Instant::now() + PATIENCE;
        while self.model.end() < at {
            let news = self.follower.as_ref().map(Follower::take).unwrap_or_default();
            self.learn(&news)?;
            if Instant::now() > until {
                return Err(Wrong("P4", format!("the stream does not come: {} of {at}", self.model.end())));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        let expected = self.model.digest_at(at).map_err(|why| Wrong("P2", why))?;
        if expected != digest {
            return Err(Wrong("P2", format!("the data served at {at} are not what the stream leads to")));
        }
        Ok(())
    }

    fn check_counters(&mut self, peer: &mut Peer) -> Verdict {
        peer.call(&["SELECT", COUNTERS])?;
        for (id, (sent, acked)) in self.sent.iter().zip(&self.acked).enumerate() {
            let found: u64 = peer.call(&["GET", &format!("counter:{id}")])?.text.parse().unwrap_or(0);
            let (most, least) = (sent.load(Ordering::SeqCst), acked.load(Ordering::SeqCst));
            if !(least..=most).contains(&found) {
                return Err(Wrong(
                    "P1",
                    format!("{least} increments acknowledged, {most} sent, {found} there"),
                ));
            }
            sent.store(found, Ordering::SeqCst);
            acked.store(found, Ordering::SeqCst);
        }
        Ok(())
    }

    // ---- others ----

    /// A stock replica that has been there through all kills.
    fn check_stock(&mut self, peer: &mut Peer) -> Verdict {
        let Some(program) = self.plan.stock.clone().filter(|_| self.has_stock) else { return Ok(()) };
        if self.stock.is_none() {
            let replicaof = format!("127.0.0.1 {}", self.launch.port);
            let named = [("replicaof", replicaof.as_str()), ("save", ""), ("repl-diskless-load", "disabled")];
            let launch = Launch {
                program,
                dir: self.dir.join("stock"),
                port: free_port()?,
                directives: named.map(|(name, value)| (name.to_string(), value.to_string())).to_vec(),
                die_at: None,
            };
            let started = launch.start()?;
            self.stock =
                Some(started.map_err(|ended| Wrong(NO_PROMISE, format!("the stock server: {}", ended.log)))?);
        }
        let Some(stock) = &self.stock else { return Ok(()) };
        let mut replica = Peer::connect(stock.port)?;
        self.agree(peer, &mut replica, "the stock replica")
    }

    /// Waits until a replica is where the server is, and compares.
    fn agree(&mut self, peer: &mut Peer, replica: &mut Peer, who: &str) -> Verdict {
        let until = Instant::now() + PATIENCE;
        loop {
            let (at, expected) = digest(peer)?;
            let up = replica.info("replication", "master_link_status")? == "up";
            if up && replica.offset()? == at {
                let (there, found) = digest(replica)?;
                if there == at && found == expected {
                    return Ok(());
                }
                if there == at {
                    return Err(Wrong("P3", format!("{who} is at {at}, with other data")));
                }
            }
            if Instant::now() > until {
                return Err(Wrong("P4", format!("{who} does not come to {at}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    /// A copy of the directory of the running server is started beside it, written to, and told to follow.
    /// Both are written then; `stop` ends the load, as what is compared has to stand still.
    fn try_copy(&mut self, peer: &mut Peer, stop: &AtomicBool) -> Verdict {
        self.tally.copies += 1;
        let to = self.dir.join(format!("copy-{}", self.tally.copies));
        let rng = &mut self.rng;
        copy_live(&self.launch.dir, &to, &mut |paths| rng.shuffle(paths))?;
        stop.store(true, Ordering::SeqCst);
        let launch = Launch { dir: to.clone(), port: free_port()?, die_at: None, ..self.launch.clone() };
        let copy = match launch.start()? {
            Ok(copy) => copy,
            Err(ended) if ended.log.contains(&*to.to_string_lossy()) => {
                self.tell("the copy refuses".into());
                return Ok(());
            }
            Err(ended) => {
                return Err(Wrong("P5", format!("a copy refuses and names no file: {}", ended.log)));
            }
        };
        let mut other = Peer::connect(copy.port)?;
        self.tell(format!("the copy serves {}", other.offset()?));
        for n in 0..10 {
            other.call(&["SET", &format!("copy:{n}"), "1"])?;
            peer.call(&["SET", &format!("original:{n}"), "1"])?;
        }
        other.call(&["REPLICAOF", "127.0.0.1", &self.launch.port.to_string()])?;
        self.agree(peer, &mut other, "the copy that follows")?;
        drop(copy);
        std::fs::remove_dir_all(&to)?;
        Ok(())
    }

    // ---- load ----

    /// Writers, snapshots, rewrites and resizes; then the end of the process.
    fn load(&mut self, server: &mut Process, peer: &mut Peer, copies: bool) -> Verdict {
        let port = server.port;
        let load = Duration::from_millis(self.rng.u64(20..400));
        let cleanly = self.launch.die_at.is_none() && self.rng.u8(0..6) == 0;
        let seeds: [u64; 3] = std::array::from_fn(|_| self.rng.u64(..));
        let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
        let (sent, acked) = (std::mem::take(&mut self.sent), std::mem::take(&mut self.acked));
        let done = std::thread::scope(|scope| {
            for id in 0..sent.len() {
                let (sent, acked, stop, writes) = (&sent[id], &acked[id], &stop, &writes);
                scope.spawn(move || count_up(port, id, sent, acked, stop, writes));
            }
            for seed in &seeds[..2] {
                let (stop, writes) = (&stop, &writes);
                scope.spawn(move || write_anything(port, *seed, stop, writes));
            }
            let stop_disturbing = &stop;
            scope.spawn(move || disturb(port, seeds[2], stop_disturbing));
            std::thread::sleep(load);
            if copies && self.launch.die_at.is_none() {
                self.try_copy(peer, &stop)?;
            }
            let ended = self.end(server, peer, cleanly);
            stop.store(true, Ordering::SeqCst);
            ended
        });
        (self.sent, self.acked) = (sent, acked);
        self.tally.writes += writes.into_inner();
        done
    }

    fn end(&mut self, server: &mut Process, peer: &mut Peer, cleanly: bool) -> Verdict {
        if let Ok(offset) = peer.offset() {
            self.reached = self.reached.max(offset);
        }
        self.tally.kills += u64::from(!cleanly);
        if self.launch.die_at.is_some() {
            let until = Instant::now() + Duration::from_millis(500);
            while Instant::now() < until {
                match server.ended()? {
                    Some(ended) if ended.killed => {
                        self.tally.deaths += 1;
                        self.tell("it died at its fail point".into());
                        return Ok(());
                    }
                    Some(ended) => return Err(Wrong(NO_PROMISE, format!("the server ended: {}", ended.log))),
                    None => std::thread::sleep(LOOK_AGAIN),
                }
            }
        }
        if cleanly {
            self.tell("SHUTDOWN".into());
            let _no_answer = peer.call(&["SHUTDOWN"]);
            return match server.wait()? {
                Some(0) => Ok(()),
                code => Err(Wrong(NO_PROMISE, format!("SHUTDOWN ends with {code:?}"))),
            };
        }
        self.tell(format!("kill -9, {} seen before", self.reached));
        Ok(server.kill()?)
    }
}

/// Offset and digest of a server in which nothing happens between two looks.
fn digest(peer: &mut Peer) -> Verdict<(Offset, String)> {
    let until = Instant::now() + PATIENCE;
    loop {
        let before = peer.offset()?;
        let digest = peer.call(&["DEBUG", "DIGEST"])?.text;
        if peer.offset()? == before {
            return Ok((before, digest));
        }
        if Instant::now() > until {
            return Err(Wrong(NO_PROMISE, "the stream does not stand still".into()));
        }
    }
}

/// Until the connection ends.
fn count_up(
    port: u16,
    id: usize,
    sent: &AtomicU64,
    acked: &AtomicU64,
    stop: &AtomicBool,
    writes: &AtomicU64,
) {
    let Ok(mut peer) = Peer::connect(port) else { return };
    let key = format!("counter:{id}");
    if peer.call(&["SELECT", COUNTERS]).is_err() {
        return;
    }
    while !stop.load(Ordering::SeqCst) {
        let before = sent.fetch_add(1, Ordering::SeqCst);
        match peer.call(&["INCR", &key]) {
            Ok(reply) if !reply.is_error => acked.store(before + 1, Ordering::SeqCst),
            _ => return,
        }
        writes.fetch_add(1, Ordering::Relaxed);
    }
}

/// All types, transactions, deadlines, in the first databases.
fn write_anything(port: u16, seed: u64, stop: &AtomicBool, writes: &AtomicU64) {
    let Ok(mut peer) = Peer::connect(port) else { return };
    let mut rng = Rng::with_seed(seed);
    while !stop.load(Ordering::SeqCst) {
        let mut batch: Vec<Vec<Vec<u8>>> = vec![write(&mut rng)];
        if rng.u8(0..8) == 0 {
            batch = vec![vec![b"MULTI".to_vec()], write(&mut rng), write(&mut rng), vec![b"EXEC".to_vec()]];
        }
        for words in batch.iter().filter(|words| words[0] != b"FLUSHALL") {
            let words: Vec<&[u8]> = words.iter().map(Vec::as_slice).collect();
            if peer.call_bytes(&words).is_err() {
                return;
            }
            writes.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn disturb(port: u16, seed: u64, stop: &AtomicBool) {
    let Ok(mut peer) = Peer::connect(port) else { return };
    let mut rng = Rng::with_seed(seed);
    while !stop.load(Ordering::SeqCst) {
        let orders: [&[&str]; 6] = [
            &["BGSAVE"],
            &["BGREWRITEAOF"],
            &["BGREWRITEAOF"],
            &["CONFIG", "SET", "repl-backlog-size", "512kb"],
            &["CONFIG", "SET", "repl-backlog-size", "2mb"],
            &["SAVE"],
        ];
        if peer.call(orders[rng.usize(0..orders.len())]).is_err() {
            return;
        }
        std::thread::sleep(Duration::from_millis(rng.u64(1..60)));
    }
}
