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
//! | P6 | after a power cut that took what it holds it may also be refused, and then keeps what it has |
//! | – | a copy of the running server's directory, its files taken in any order, starts or refuses, goes on by itself, and becomes equal to the original when it is told to follow it |
//! | P3, P4 | a replica of ours loses nothing to primaries that answer wrongly ([`primaries`]) |
//! | – | a replica of ours that is killed again and again starts, and becomes equal when it is left alone |
//!
//! Kills are SIGKILL from outside, at an instant that nobody chose, of running servers and of starts; and, with a server built with the
//! feature `planted`, from inside at a numbered fail point: before or half-way through a write, fsync, rename, truncation or flush
//! (`RINGHOLD_DIE_AT`). A killed process loses nothing that it wrote, so all settings are judged alike, but for caches, which are left out.
//!
//! With such a server every third directory also loses its power ([`power`]). Then nothing that was called durable may be missing, with
//! `appendfsync always` no acknowledged counter and no byte that a replica was sent.
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
use others::refused;
use peer::{Follower, LOOK_AGAIN, Launch, PATIENCE, Peer, Process, free_port};

mod others;
mod peer;
mod power;
mod primaries;

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
    /// Replicas of ours that were killed, too, and became equal.
    pub replicas: u64,
    pub power_cuts: u64,
    /// Power cuts with a stock replica attached, after which it was equal, or refused and as it had been.
    pub stock_after_cuts: u64,
    /// Conversations of a replica of ours with a primary that is none.
    pub false_primaries: u64,
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

/// Every so many directories have a stock replica, which takes a second to come back,
const WITH_STOCK: u64 = 4;
/// and half of those that lose their power, where the server notes what that takes: every so many.
const WITH_POWER_CUTS: u64 = 3;
/// Before every so many a replica of ours meets primaries that answer wrongly.
const WITH_FALSE_PRIMARIES: u64 = 5;
/// One in so many is emptied by FLUSHALL now and then.
const WITH_FLUSHES: u8 = 3;
/// Something else went wrong.
const NO_PROMISE: &str = "–";
/// In which database counters are, out of reach of the other writers.
const COUNTERS: &str = "9";

/// Who joins for a while.
#[derive(Clone, Copy)]
enum Beside {
    Copy,
    Replica,
}

/// A key that is set to ever greater numbers by one client.
#[derive(Default)]
struct Counter {
    sent: AtomicU64,
    acked: AtomicU64,
}

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
    /// What a power cut must leave.
    safe: Offset,
    lost_power: bool,
    counters: [Counter; 2],
    flushes: bool,
    /// FLUSHALL was sent since the counters were compared.
    flushed: AtomicBool,
    has_stock: bool,
    stock: Option<Process>,
    /// What the stock replica had when the power was cut.
    stock_held: Option<(Offset, String)>,
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
    for n in 0..rounds {
        let first = n == 0 && seed % WITH_FALSE_PRIMARIES == 1;
        let done = if first { campaign.meet_false_primaries() } else { Ok(()) };
        let done = done.and_then(|()| campaign.round());
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
            replicas: self.replicas + other.replicas,
            power_cuts: self.power_cuts + other.power_cuts,
            stock_after_cuts: self.stock_after_cuts + other.stock_after_cuts,
            false_primaries: self.false_primaries + other.false_primaries,
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
        let cuts_power = plan.fail_points && seed.is_multiple_of(WITH_POWER_CUTS);
        let config = configured("databases 16").map_err(|why| Wrong(NO_PROMISE, why))?;
        let launch = Launch {
            program: plan.server.clone(),
            dir: dir.join("data"),
            port: free_port()?,
            directives: directives(&mut rng),
            die_at: None,
            medium: None,
        };
        let flushes = rng.u8(0..WITH_FLUSHES) == 0;
        let mut campaign = Campaign {
            plan,
            rng,
            dir,
            launch,
            model: Model::new(&config),
            rest: Vec::new(),
            name: None,
            reached: Offset::ZERO,
            safe: Offset::ZERO,
            lost_power: false,
            counters: Default::default(),
            flushes,
            flushed: AtomicBool::new(false),
            has_stock: seed.is_multiple_of(if cuts_power { 2 } else { WITH_STOCK }),
            stock: None,
            stock_held: None,
            follower: None,
            is_over: false,
            tally: Tally::default(),
            timeline: Vec::new(),
        };
        if cuts_power {
            let medium = campaign.dir.join("medium");
            power::prepare(&medium, &mut campaign.rng)?;
            campaign.launch.medium = Some(medium);
        }
        campaign
            .tell(format!("{:?}, power cuts: {cuts_power}, FLUSHALL: {flushes}", campaign.launch.directives));
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
        done?;
        self.perhaps_lose_power()
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
        let beside = [None, None, Some(Beside::Copy), Some(Beside::Replica)][self.rng.usize(0..4)];
        self.load(server, &mut peer, beside)
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

    fn fail_point(&mut self, most: u64) -> Option<u64> {
        let point = [None, Some(self.rng.u64(1..60)), Some(self.rng.u64(60..most))][self.rng.usize(0..3)];
        point.filter(|_| self.plan.fail_points)
    }

    /// A start that serves, perhaps after some that were ended before.
    fn start(&mut self) -> Verdict<Process> {
        for _ in 0..3 {
            if self.rng.u8(0..8) == 0 {
                self.kill_a_start()?;
            }
            self.launch.die_at = self.fail_point(4000);
            self.tell(format!("start, to die at {:?}", self.launch.die_at));
            match self.launch.start()? {
                Ok(process) => return Ok(process),
                Err(ended) if ended.killed && self.launch.die_at.is_some() => {
                    self.tell("it died before it served".into());
                    (self.tally.kills, self.tally.deaths) = (self.tally.kills + 1, self.tally.deaths + 1);
                    self.perhaps_lose_power()?;
                }
                Err(ended) => return Err(refused("the server", &ended.log)),
            }
        }
        self.launch.die_at = None;
        self.launch.start()?.map_err(|ended| refused("the server", &ended.log))
    }

    /// Ended from outside, wherever it is.
    fn kill_a_start(&mut self) -> Verdict {
        self.launch.die_at = None;
        self.tell("a start that is killed".into());
        let mut process = self.launch.spawn()?;
        std::thread::sleep(Duration::from_micros(self.rng.u64(0..60_000)));
        if let Some(ended) = process.ended()? {
            return Err(refused("the server", &ended.log));
        }
        process.kill()?;
        self.tally.kills += 1;
        self.perhaps_lose_power()
    }

    /// The process has ended.
    fn perhaps_lose_power(&mut self) -> Verdict {
        let Some(medium) = self.launch.medium.clone().filter(|_| self.rng.bool()) else { return Ok(()) };
        self.tell("power cut".into());
        self.note_stock()?;
        power::cut(&self.launch.dir, &medium, &mut self.rng)?;
        // It may be ahead now, which the server must not mend silently (P6).
        if self.dir.join("replica").exists() {
            std::fs::remove_dir_all(self.dir.join("replica"))?;
        }
        self.lost_power = true;
        self.tally.power_cuts += 1;
        Ok(())
    }

    fn directive(&self, name: &str) -> &str {
        self.launch.directives.iter().find(|(known, _)| known == name).map_or("", |(_, value)| value)
    }

    /// Every acknowledged write is on the medium.
    fn is_always(&self) -> bool {
        self.directive("appendonly") == "yes" && self.directive("appendfsync") == "always"
    }

    /// What is gone after a power cut may be, and the notes forget it.
    fn after_power_cut(&mut self, offset: Offset) -> Verdict {
        if offset < self.safe {
            let what =
                format!("after a power cut the stream ends at {offset}, though {} was safe", self.safe);
            return Err(Wrong("P1", what));
        }
        if offset < self.model.end() {
            if self.is_always() {
                let what = format!("a power cut took what replicas had: {offset} of {}", self.model.end());
                return Err(Wrong("P3", what));
            }
            if !self.model.is_bound(offset) {
                return Err(Wrong(
                    "P2",
                    format!("after a power cut the stream ends at {offset}, within a unit"),
                ));
            }
            self.model.cut(offset);
        }
        if offset == Offset::ZERO {
            self.model.forget_all();
            self.name = None;
        }
        if !self.is_always() {
            self.counters.iter().for_each(|counter| counter.acked.store(0, Ordering::SeqCst));
        }
        self.rest.clear();
        self.reached = offset;
        Ok(())
    }

    /// Goes on taking notes where they end.
    fn resume(&mut self, peer: &mut Peer) -> Verdict {
        let (offset, now) = (peer.offset()?, peer.info("replication", "master_replid")?);
        if std::mem::take(&mut self.lost_power) {
            self.after_power_cut(offset)?;
        }
        // Who holds nothing shows no history.
        let known = self.name.replace(now.clone()).filter(|_| self.model.end() > Offset::ZERO);
        let before = known.unwrap_or(now);
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
        let flushed = self.flushed.load(Ordering::SeqCst);
        for (id, Counter { sent, acked }) in self.counters.iter().enumerate() {
            let found: u64 = peer.call(&["GET", &format!("counter:{id}")])?.text.parse().unwrap_or(0);
            let (most, least) = (sent.load(Ordering::SeqCst), acked.load(Ordering::SeqCst));
            let is_flushed = flushed && found == 0;
            if !(least..=most).contains(&found) && !is_flushed {
                return Err(Wrong("P1", format!("{least} is acknowledged, {most} sent, {found} there")));
            }
            acked.store(found, Ordering::SeqCst);
        }
        self.flushed.store(false, Ordering::SeqCst);
        Ok(())
    }

    // ---- load ----

    /// Writers, snapshots, rewrites and resizes; then the end of the process.
    fn load(&mut self, server: &mut Process, peer: &mut Peer, beside: Option<Beside>) -> Verdict {
        let port = server.port;
        let load = Duration::from_millis(self.rng.u64(20..400));
        let cleanly = self.launch.die_at.is_none() && self.rng.u8(0..6) == 0;
        let seeds: [u64; 3] = std::array::from_fn(|_| self.rng.u64(..));
        let (stop, writes) = (AtomicBool::new(false), AtomicU64::new(0));
        let counters = std::mem::take(&mut self.counters);
        let flushed = std::mem::take(&mut self.flushed);
        let flushes = self.flushes.then_some(&flushed);
        let done = std::thread::scope(|scope| {
            for (id, counter) in counters.iter().enumerate() {
                let (stop, writes) = (&stop, &writes);
                scope.spawn(move || count_up(port, id, counter, stop, writes));
            }
            for seed in &seeds[..2] {
                let (stop, writes) = (&stop, &writes);
                scope.spawn(move || write_anything(port, *seed, flushes, stop, writes));
            }
            let stop_disturbing = &stop;
            scope.spawn(move || disturb(port, seeds[2], stop_disturbing));
            std::thread::sleep(load);
            match beside.filter(|_| self.launch.die_at.is_none()) {
                Some(Beside::Copy) => self.try_copy(peer, &stop)?,
                Some(Beside::Replica) => self.try_replica(peer, &stop)?,
                None => {}
            }
            let ended = self.end(server, peer, cleanly);
            stop.store(true, Ordering::SeqCst);
            ended
        });
        (self.counters, self.flushed) = (counters, flushed);
        self.tally.writes += writes.into_inner();
        done
    }

    /// What the server says is on the medium; without a log that is a snapshot.
    fn note_what_is_safe(&mut self, peer: &mut Peer) {
        if self.launch.medium.is_none() {
            return;
        }
        let has_log = self.directive("appendonly") == "yes";
        let said = match has_log {
            true => peer.info("persistence", "ringhold_durable_offset").ok(),
            false if self.rng.bool() => {
                let before = peer.offset().ok();
                let saved = peer.call(&["SAVE"]).is_ok_and(|reply| !reply.is_error);
                before.filter(|_| saved).map(|offset| offset.to_string())
            }
            false => None,
        };
        let safe = said.and_then(|text| text.parse().ok()).map_or(Offset::ZERO, Offset);
        self.safe = self.safe.max(safe);
    }

    fn end(&mut self, server: &mut Process, peer: &mut Peer, cleanly: bool) -> Verdict {
        if let Ok(offset) = peer.offset() {
            self.reached = self.reached.max(offset);
        }
        self.note_what_is_safe(peer);
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
                Some(0) => {
                    self.safe = self.safe.max(self.reached);
                    Ok(())
                }
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
fn count_up(port: u16, id: usize, counter: &Counter, stop: &AtomicBool, writes: &AtomicU64) {
    let Ok(mut peer) = Peer::connect(port) else { return };
    let key = format!("counter:{id}");
    if peer.call(&["SELECT", COUNTERS]).is_err() {
        return;
    }
    while !stop.load(Ordering::SeqCst) {
        let next = counter.sent.fetch_add(1, Ordering::SeqCst) + 1;
        match peer.call(&["SET", &key, &next.to_string()]) {
            Ok(reply) if !reply.is_error => counter.acked.store(next, Ordering::SeqCst),
            _ => return,
        }
        writes.fetch_add(1, Ordering::Relaxed);
    }
}

/// All types, transactions, deadlines, in the first databases; FLUSHALL only if it may, which is noted.
fn write_anything(port: u16, seed: u64, flushed: Option<&AtomicBool>, stop: &AtomicBool, writes: &AtomicU64) {
    let Ok(mut peer) = Peer::connect(port) else { return };
    let mut rng = Rng::with_seed(seed);
    while !stop.load(Ordering::SeqCst) {
        let mut batch: Vec<Vec<Vec<u8>>> = vec![write(&mut rng)];
        if rng.u8(0..8) == 0 {
            batch = vec![vec![b"MULTI".to_vec()], write(&mut rng), write(&mut rng), vec![b"EXEC".to_vec()]];
        }
        for words in batch {
            if words[0] == b"FLUSHALL" {
                let Some(flushed) = flushed else { continue };
                flushed.store(true, Ordering::SeqCst);
            }
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
