//! One server on a stage: the real driver, node, log, ring and recovery over a simulated disk, with clients that are
//! function calls.
//!
//! Nothing here imitates the server: [`crate::server::recovery`] recovers, [`crate::server::start`] takes it live, the
//! driver executes and settles, and what would run on threads runs when the world is told to
//! ([`crate::log::hands`]). Left out are sockets, the reading of configuration files, and the lock on the directory.
//!
//! A crash is the driver dropped without a word: maps are stored back, as the page cache has them, and the work that
//! waited is forgotten. On the disk's side it is what [`SimDisk`] makes of it.

use std::io;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use tokio::runtime::{Builder, Runtime};
use tokio::task::{LocalSet, yield_now};
use tokio::time;

use crate::config::{AppendFsync, Config, Reader, StartArgs};
use crate::disk::{PowerCut, SimDisk};
use crate::engine::{Input, Node};
use crate::log::hands::{self, Stage};
use crate::resp::args::encode_command;
use crate::server::clock::{self, ServerClock};
use crate::server::connection;
use crate::server::driver::{Driver, Wake};
use crate::server::persist::{Seen, lock};
use crate::server::pipe::Pipe;
use crate::server::process;
use crate::server::recovery::{self, LoadProgress};
use crate::server::socket::Socket;
use crate::server::{shutdown, start};
use crate::state::{History, Process, Server, Slot};
use crate::store::Store;
use crate::units::{Offset, ReplId};

/// The data directory.
pub const DIR: &str = "/data";
/// Turns given to the tasks of the event loop at a time.
const TURNS: usize = 4;
const START_MICROS: i64 = 1_800_000_000_000_000;

/// Settings come as text.
struct NoFiles;

impl Reader for NoFiles {
    fn read(&mut self, _: &Path) -> io::Result<Vec<u8>> {
        Err(io::ErrorKind::NotFound.into())
    }
    fn list(&mut self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
    fn stdin(&mut self) -> io::Result<Vec<u8>> {
        Ok(Vec::new())
    }
}

/// A connection with at most one command under way.
pub struct Client {
    slot: Slot,
    wake: Rc<Wake>,
    input: Input,
    /// What the reply on its way will tell.
    pub asked: Option<Asked>,
    wrote: Option<Offset>,
}

/// A command without a reply yet.
#[derive(Clone, Debug)]
pub struct Asked {
    pub words: Vec<Vec<u8>>,
    /// The stream's end before and, once it was executed, after it.
    pub before: Offset,
    pub after: Option<Offset>,
    /// Where the stream ended behind what this client had written before.
    pub wrote: Option<Offset>,
    /// Where its data ended, if the command changed any.
    pub data: Option<Offset>,
    /// When it was executed (Unix microseconds).
    pub executed: Option<i64>,
}

/// A reply.
#[derive(Clone, Debug)]
pub struct Answer {
    pub asked: Asked,
    pub reply: Vec<u8>,
    /// It left under `appendfsync always`: it promises the medium.
    pub synced: bool,
}

impl Answer {
    pub fn is_error(&self) -> bool {
        self.reply.first() == Some(&b'-')
    }
    /// It was executed and put something into the stream.
    pub fn wrote(&self) -> Option<Offset> {
        self.asked.after.filter(|after| *after > self.asked.before)
    }
}

/// A server that serves.
struct Live {
    driver: Rc<Driver>,
    tasks: LocalSet,
    clients: Vec<Client>,
    stream: mpsc::Receiver<Seen>,
}

/// What a start came to.
#[derive(Clone, Debug)]
pub struct Started {
    /// The name in force before this start, if it took a new one; and the new one.
    pub previous: Option<ReplId>,
    pub replid: ReplId,
    pub end: Offset,
    /// The stream's database there.
    pub db: u32,
}

pub struct World {
    pub stage: Rc<Stage>,
    machine: usize,
    pub disk: SimDisk,
    pub config: Config,
    runtime: Rc<Runtime>,
    moved: Arc<AtomicBool>,
    live: Option<Live>,
}

impl World {
    /// An empty directory. `options`: lines as in `redis.conf`.
    pub fn new(seed: u64, options: &str) -> Result<World, String> {
        let _the_first_call_counts = crate::store::hash::set_seed(0);
        let stage = Rc::new(Stage::enter(START_MICROS, seed));
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        let runtime = Rc::new(runtime.map_err(|error| error.to_string())?);
        let (config, disk) = (configured(options)?, SimDisk::with_files([]));
        Ok(World { stage, machine: 0, disk, config, runtime, moved: Arc::default(), live: None })
    }

    /// Another machine on the same stage, with its own directory.
    pub fn beside(&self, machine: usize, options: &str) -> Result<World, String> {
        let (stage, runtime) = (Rc::clone(&self.stage), Rc::clone(&self.runtime));
        let (config, disk) = (configured(options)?, SimDisk::with_files([]));
        Ok(World { stage, machine, disk, config, runtime, moved: Arc::default(), live: None })
    }

    /// The next start is configured like this.
    pub fn configure(&mut self, options: &str) -> Result<(), String> {
        self.config = configured(options)?;
        Ok(())
    }

    /// Recovers and serves; the error is the refusal.
    pub fn start(&mut self) -> Result<Started, String> {
        self.stage.on(self.machine);
        let tasks = LocalSet::new();
        let _entered = tasks.enter();
        let recovered =
            recovery::recover(Arc::new(self.disk.clone()), &self.config, &LoadProgress::default())?;
        let started = Started {
            previous: recovered.previous.map(|cut| cut.replid),
            replid: recovered.at.replid,
            end: recovered.at.offset,
            db: recovered.at.db,
        };
        let store = Store::new(self.config.settings.databases as usize);
        let facts = Process { started_ms: clock::now_ms(), ..Process::default() };
        let server =
            Server::new(self.config.clone(), History::new(ReplId::NONE), facts, process::random_u64());
        let driver = Driver::new(Node::new(store, server, clock::now_ms()));
        let moved = Arc::clone(&self.moved);
        start::go_live(&driver, recovered, Arc::new(move || moved.store(true, Ordering::Relaxed)))?;
        let (witness, stream) = mpsc::channel();
        driver.persist_mut().witness = Some(witness);
        start::follow_as_configured(&driver);
        drop(_entered);
        self.live = Some(Live { driver, tasks, clients: Vec::new(), stream });
        Ok(started)
    }

    pub fn is_live(&self) -> bool {
        self.live.is_some()
    }

    /// With what the process ends itself, if it does.
    pub fn exit_code(&self) -> Option<i32> {
        self.live.as_ref()?.driver.exit.get()
    }

    /// Looks at what is served.
    pub fn look<R>(&self, look: impl FnOnce(&Node) -> R) -> Option<R> {
        self.live.as_ref().map(|live| look(&live.driver.node.borrow()))
    }

    /// The process ends as by SIGKILL; the disk keeps what it was given.
    pub fn kill(&mut self) {
        self.disk.fail_from(0); // what is dropped now changes no file
        self.end();
    }

    /// The same, and the disk is as the next process finds it.
    pub fn crash(&mut self) {
        self.end_process(None);
    }

    /// The process, or with a seed the machine, has ended, and the disk is as the next process finds it.
    pub fn end_process(&mut self, power: Option<u64>) {
        self.kill();
        self.disk = match power {
            None => self.disk.after_process_crash(),
            Some(seed) => {
                self.stage.reboot();
                self.disk.after_power_cut(match seed % 8 {
                    0 => PowerCut::LoseAll,
                    1 => PowerCut::KeepAll,
                    _ => PowerCut::Seeded(seed),
                })
            }
        };
    }

    fn end(&mut self) {
        self.stage.on(self.machine);
        self.stage.forget_work();
        let server = self.live.take().map(|live| Rc::downgrade(&live.driver));
        let outlived = server.is_some_and(|server| server.strong_count() > 0);
        assert!(!outlived, "what is left of a process that ended holds on to its files");
        self.moved.store(false, Ordering::Relaxed);
    }

    /// What the server has logged since the last call.
    pub fn lines(&self) -> Vec<String> {
        self.stage.on(self.machine);
        self.stage.lines()
    }

    // ---- clients ----

    /// Sends a command on connection `n`, made if need be; false: it still waits for a reply.
    pub fn send(&mut self, n: usize, words: &[&[u8]]) -> bool {
        self.stage.on(self.machine);
        let Some(live) = &mut self.live else { return false };
        while live.clients.len() <= n {
            let Ok((slot, wake)) = live.driver.connect("simulated".into(), String::new(), true, -1) else {
                return false;
            };
            live.clients.push(Client { slot, wake, input: Input::default(), asked: None, wrote: None });
        }
        let client = &mut live.clients[n];
        if client.asked.is_some() {
            return false;
        }
        let mut bytes = Vec::new();
        encode_command(words.iter().copied(), &mut bytes);
        client.input.push(&bytes);
        let before = live.driver.node.borrow().stream.end;
        let words = words.iter().map(|w| w.to_vec()).collect();
        client.asked =
            Some(Asked { words, before, after: None, wrote: client.wrote, data: None, executed: None });
        live.feed(n);
        true
    }

    /// The replies that have left by now.
    pub fn answers(&mut self) -> Vec<Answer> {
        self.stage.on(self.machine);
        let Some(live) = &mut self.live else { return Vec::new() };
        let mut answers = Vec::new();
        for n in 0..live.clients.len() {
            if live.clients[n].asked.as_ref().is_some_and(|asked| asked.after.is_none()) {
                live.feed(n);
            }
            let client = &mut live.clients[n];
            let mut reply = Vec::new();
            let closes = live.driver.output(client.slot, &mut reply);
            if !reply.is_empty()
                && let Some(asked) = client.asked.take()
            {
                let synced = syncs_always(&live.driver.node.borrow());
                answers.push(Answer { asked, reply, synced });
            }
            if closes || client.wake.is_closed() {
                live.driver.disconnect(client.slot);
                if let Ok((slot, wake)) = live.driver.connect("simulated".into(), String::new(), true, -1) {
                    live.clients[n] =
                        Client { slot, wake, input: Input::default(), asked: None, wrote: None };
                }
            }
        }
        answers
    }

    /// A command on connection 0, and everything that it sets in motion; the reply.
    pub fn call(&mut self, words: &[&[u8]]) -> Option<Answer> {
        self.send(0, words);
        for _ in 0..100 {
            let answer = self.answers().pop();
            if answer.is_some() {
                return answer;
            }
            self.work_off();
        }
        None
    }

    /// What was appended to the stream since the last call, in whole units, each piece with the offset of its end.
    pub fn appended(&mut self) -> Vec<(Vec<u8>, Offset)> {
        let units = |seen| if let Seen::Units(units, end) = seen { Some((units, end)) } else { None };
        self.seen().into_iter().filter_map(units).collect()
    }

    /// What became of the stream since the last call.
    pub fn seen(&mut self) -> Vec<Seen> {
        self.live.as_ref().map(|live| live.stream.try_iter().collect()).unwrap_or_default()
    }

    /// Another machine's connection; `false`: nobody listens.
    pub fn accept(&mut self, pipe: Pipe, from: String) -> bool {
        self.stage.on(self.machine);
        let Some(live) = &self.live else { return false };
        let Ok((slot, wake)) = live.driver.connect(from, String::new(), false, -1) else { return false };
        live.tasks.spawn_local(connection::serve(Rc::clone(&live.driver), Socket::Pipe(pipe), slot, wake));
        true
    }

    // ---- what threads and timers do ----

    /// The log's writer works; `sync`: fsyncs under way end.
    pub fn log_works(&mut self, sync: bool) {
        self.stage.on(self.machine);
        let Some(live) = &self.live else { return };
        let sender = live.driver.try_persist().and_then(|persist| persist.sender().cloned());
        if let Some(sender) = sender {
            sender.work(sync);
        }
        self.hear();
    }

    /// The oldest piece of work that waits for a thread is done; its name.
    pub fn one_thread_works(&mut self) -> Option<&'static str> {
        if self.live.is_some() {
            self.log_works(true);
        }
        self.one_thread_is_first()
    }

    /// The same, while the log's writer has not got on; where the work waits for that, it lends a hand.
    pub fn one_thread_is_first(&mut self) -> Option<&'static str> {
        self.stage.on(self.machine);
        let done = self.stage.run_one();
        self.run_tasks();
        self.hear();
        done
    }

    /// Time passes, and the server's timer strikes.
    pub fn time_passes(&mut self, by: Duration) {
        self.clock_goes_on(by);
        self.strike();
    }

    /// Time passes for all machines.
    pub fn clock_goes_on(&self, by: Duration) {
        self.stage.advance(by);
        self.runtime.block_on(time::advance(by));
    }

    /// What the server does on its timer.
    pub fn strike(&mut self) {
        self.stage.on(self.machine);
        let Some(live) = &self.live else { return };
        let driver = Rc::clone(&live.driver);
        {
            let _entered = live.tasks.enter();
            start::strike(&driver);
            driver.with_node(|node| node.handle_deadlines(&mut ServerClock));
        }
        self.run_tasks();
        self.hear();
    }

    /// Everything that is due is done, without time passing.
    pub fn work_off(&mut self) {
        for _ in 0..64 {
            self.log_works(true);
            self.run_tasks();
            if self.one_thread_works().is_none() {
                break;
            }
        }
    }

    /// The tasks of the event loop get on.
    pub fn run_tasks(&mut self) {
        self.stage.on(self.machine);
        let Some(live) = &self.live else { return };
        live.tasks.block_on(&self.runtime, async {
            for _ in 0..TURNS {
                yield_now().await;
            }
        });
    }

    /// The driver hears of the log's progress.
    pub fn hear(&mut self) {
        self.stage.on(self.machine);
        while self.moved.swap(false, Ordering::Relaxed) {
            let Some(live) = &self.live else { return };
            let _entered = live.tasks.enter();
            live.driver.log_moved();
        }
    }

    /// A clean shutdown; the exit code, or `None` if it could not end, and what became of the stream on the way. The server is
    /// gone in any case.
    pub fn shut_down(&mut self, save: Option<bool>) -> (Option<i32>, Vec<Seen>) {
        self.stage.on(self.machine);
        let Some(live) = &self.live else { return (None, Vec::new()) };
        let driver = Rc::clone(&live.driver);
        {
            let _entered = live.tasks.enter();
            shutdown::requested(&driver, None, save, true, false);
        }
        for _ in 0..16 {
            if driver.exit.get().is_some() {
                break;
            }
            self.work_off();
        }
        let code = driver.exit.get();
        drop(driver);
        let seen = self.seen();
        self.end();
        (code, seen)
    }

    // ---- what is known to be safe ----

    /// How far the log that runs is durable, once something leads to it.
    pub fn durable(&self) -> Option<Offset> {
        let live = self.live.as_ref()?;
        let persist = live.driver.try_persist().filter(|persist| persist.is_whole())?;
        persist.sender().map(|sender| sender.durable())
    }

    /// Where the ring ends, if the log leads to its beginning.
    pub fn ring_end(&self) -> Option<Offset> {
        let live = self.live.as_ref()?;
        let persist = live.driver.try_persist()?;
        let leads = persist.sender().is_none_or(|log| log.marked() >= persist.ring.start());
        leads.then(|| persist.ring.end())
    }

    /// Base, segments and ring lead to the end of the stream, says the server.
    pub fn is_whole(&self) -> bool {
        let persist = self.live.as_ref().and_then(|live| live.driver.try_persist());
        persist.is_some_and(|persist| persist.is_whole())
    }

    /// Former names of the history, each with where it stopped being its name.
    pub fn lineage(&self) -> Vec<(ReplId, Offset)> {
        let Some(persist) = self.live.as_ref().and_then(|live| live.driver.try_persist()) else {
            return Vec::new();
        };
        let history = lock(&persist.files.history);
        history.get().lineage.iter().map(|past| (past.replid, past.end)).collect()
    }

    /// Counts the histories that were put in the place of another.
    pub fn generation(&self) -> Option<u64> {
        let persist = self.live.as_ref()?.driver.try_persist()?;
        let generation = lock(&persist.files.history).get().generation;
        Some(generation)
    }

    /// `appendfsync always`, and the log is in force: bytes leave when they are on the medium (rule 13).
    pub fn syncs_before_it_sends(&self) -> bool {
        self.look(syncs_always).unwrap_or(false)
    }

    /// The newest base in force.
    pub fn newest_base(&self) -> Option<Offset> {
        let live = self.live.as_ref()?;
        let persist = live.driver.try_persist()?;
        let history = lock(&persist.files.history);
        history.get().bases.iter().filter(|base| base.placed).map(|base| base.cut).max()
    }
}

fn syncs_always(node: &Node) -> bool {
    node.config().settings.appendfsync == AppendFsync::Always && node.server.persistence.log_is_in_force()
}

pub(super) fn configured(options: &str) -> Result<Config, String> {
    let args = StartArgs {
        options: format!("dir {DIR}\n{options}").into_bytes(),
        working_directory: "/".into(),
        ..StartArgs::default()
    };
    let (config, _) = Config::load(&args, &mut NoFiles).map_err(|error| error.to_string())?;
    Ok(config)
}

impl Live {
    fn feed(&mut self, n: usize) {
        let client = &mut self.clients[n];
        if client.input.is_empty() {
            return;
        }
        let ends = |driver: &Driver| {
            let node = driver.node.borrow();
            (node.stream.end, node.stream.data_end)
        };
        let before = ends(&self.driver);
        {
            let _entered = self.tasks.enter();
            self.driver.feed(client.slot, &mut client.input);
        }
        if let Some(asked) = client.asked.as_mut().filter(|_| client.input.is_empty()) {
            let after = ends(&self.driver);
            (asked.before, asked.after) = (before.0, Some(after.0));
            asked.executed = hands::simulated_micros();
            if after.1 > before.1 {
                (client.wrote, asked.data) = (Some(after.1), Some(after.1));
            }
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A file of the data directory.
pub fn file(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}
