//! From command line to running server.
//!
//! ```text
//! arguments ─► settings ─► log ─► directory and lock ─► "Server initialized" ─► recovery ─► listeners ─► "Ready to accept"
//! ```
//!
//! Exit codes: 0 after a clean shutdown; 1 when the start failed or data could not be saved, with the reason as the
//! last line of the log and on standard error.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::task::LocalSet;
use tokio::time::{Duration, Instant, MissedTickBehavior, interval};

use super::actions::{self, Purpose};
use super::clock::{self, ServerClock};
use super::driver::Driver;
use super::logging::{notice, verbose, warning};
use super::persist::{Persist, lock};
use super::process;
use super::recovery::{self, LoadProgress, Recovered};
use super::{feed, listener, logging, reload, resize, shutdown};
use crate::commands::renames::Renames;
use crate::config::{Config, Reader, ShutdownFlags, Start, parse_start_args};
use crate::disk::{DirLock, OsDisk, fault};
use crate::engine::Node;
use crate::format::history::Role;
use crate::log::thread::Waker;
use crate::state::{History, Loading, Server};
use crate::store::Store;
use crate::units::{Offset, ReplId};

/// Reads what the configuration names.
#[derive(Default)]
pub struct Files {
    /// What came from standard input.
    read: Vec<u8>,
}

impl Reader for Files {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
    fn list(&mut self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }
    fn stdin(&mut self) -> io::Result<Vec<u8>> {
        io::stdin().read_to_end(&mut self.read)?;
        Ok(self.read.clone())
    }
}

/// Between two lines about a load that goes on.
const LOAD_NEWS: Duration = Duration::from_secs(5);
/// Two signals within this time are one.
const SAME_ORDER: Duration = Duration::from_millis(200);
/// Between two lines of `loglevel verbose` about what is held and who is connected.
const VERBOSE_NEWS: Duration = Duration::from_secs(5);

/// The same on all Linux architectures but MIPS and PA-RISC.
const SIGXFSZ: i32 = 25;

const HELP: &str = "\
Usage: ringhold [CONFIG|-] [--directive value ...]
       ringhold --version | --help

CONFIG is a file in redis.conf syntax, or TOML if its name ends in .toml; - reads redis.conf syntax from standard
input. Directives on the command line come after the file and win over it; conf/ringhold.toml explains them.
Without arguments the server listens on 127.0.0.1:6379 and keeps its data, with a log synced every second, in ./data.

SIGTERM and SIGINT end it cleanly; a second one ends it at once, as safely as a crash. Exit codes: 0 after a clean end;
1 if it was ended at once, or could not start: then the reason is on standard error.

Examples:
       ringhold
       ringhold conf/ringhold.toml
       ringhold conf/primary.conf --port 7000 --appendfsync always
       ringhold --port 7001 --dir /var/lib/ringhold --save ''
       echo 'maxmemory 100mb' | ringhold - --loglevel verbose
";

pub fn run(args: Vec<std::ffi::OsString>) -> i32 {
    let here = std::env::current_dir().unwrap_or_else(|_| PathBuf::from("."));
    match parse_start_args(&args, here) {
        Start::Version => {
            println!(
                "Ringhold server v=7.2.4 ringhold={} malloc=mimalloc bits={}{}",
                env!("CARGO_PKG_VERSION"),
                usize::BITS,
                if cfg!(feature = "planted") { " planted: not for data" } else { "" }
            );
            0
        }
        Start::Help => {
            print!("{HELP}");
            0
        }
        Start::Run(args) => {
            let mut files = Files::default();
            match Config::load(&args, &mut files) {
                Ok((config, _)) if config.settings.daemonize && !process::is_daemon() => {
                    process::daemonize(&files.read)
                }
                Ok((config, notices)) => serve(config, notices.iter().map(ToString::to_string).collect()),
                Err(error) => {
                    eprintln!("\n{error}");
                    1
                }
            }
        }
    }
}

/// Prints the reason where a person, a service manager and the log see it; the exit code.
fn fail(why: &str) -> i32 {
    warning!("{why}");
    eprintln!("ringhold: {why}");
    1
}

fn serve(config: Config, notices: Vec<String>) -> i32 {
    let settings = &config.settings;
    logging::set_level(settings.loglevel);
    let built = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the event loop: {error}")),
    };
    // A start that cannot listen makes no directory.
    let listeners = {
        let _inside = runtime.enter();
        listener::Listeners::open(settings)
    };
    if let Err(why) = &listeners
        && !settings.dir.exists()
    {
        return fail(why);
    }
    // Relative names of the log, the pid file and the Unix socket count from there.
    let entered = recovery::make_directory(&settings.dir).and_then(|()| {
        std::env::set_current_dir(&settings.dir).map_err(|error| {
            format!("the data directory {} cannot be entered: {error}", settings.dir.display())
        })
    });
    if let Err(why) = entered {
        return fail(&why);
    }
    if !settings.logfile.is_empty()
        && let Err(error) = logging::set_file(Some(settings.dir.join(&settings.logfile)))
    {
        eprintln!("ringhold: Can't open the log file {}: {error}", settings.logfile);
        return 1;
    }
    fault::install();
    crate::store::hash::set_seed(process::random_u64());
    let local = LocalSet::new();
    let code = local.block_on(&runtime, async {
        match start(config, notices, listeners) {
            // Signals are heeded while the dataset is still being loaded.
            Ok((driver, lock)) => tokio::select! {
                code = until_exit(Rc::clone(&driver)) => code,
                Err(why) = load(driver, lock) => fail(&why),
            },
            Err(why) => fail(&why),
        }
    });
    // The dataset goes with the process: freeing it value by value would only delay the end.
    std::mem::forget(local);
    code
}

/// A server that listens and answers -LOADING, and the lock on its directory.
fn start(
    mut config: Config,
    notices: Vec<String>,
    listeners: Result<listener::Listeners, String>,
) -> Result<(Rc<Driver>, DirLock), String> {
    let settings = config.settings.clone();
    let config_file = config.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    notice!("Ringhold {} starting as process {}", env!("CARGO_PKG_VERSION"), std::process::id());
    notices.iter().for_each(|text| notice!("{text}"));
    Renames::new(&config.renamed)?;
    if !config.users.is_empty() || !settings.aclfile.is_empty() {
        return Err("`user` and `aclfile`: ACL users are not supported yet, but for `user default on nopass ~* &* +@all`, \
                    or with the password that requirepass has; use requirepass"
            .into());
    }
    if settings.tls_port != 0 {
        return Err(
            "`tls-port`: TLS is not supported, and nobody shall believe that it is there; leave it at 0"
                .into(),
        );
    }
    let listeners = listeners?;
    let lock = DirLock::acquire(&settings.dir).map_err(|refused| refused.to_string())?;
    let clients = process::raise_file_limit(settings.maxclients);
    if clients < settings.maxclients {
        warning!(
            "The limit on open files allows only {clients} of {} clients: maxclients is {clients} now",
            settings.maxclients
        );
        config.settings.maxclients = clients;
    }
    if let Err(why) = process::adjust_oom_score(&settings) {
        warning!("Unable to write oom_score_adj: {why}");
    }
    if listeners.is_empty() && settings.unixsocket.is_empty() {
        let why = if settings.port == 0 { "port 0" } else { "bind names no address that is there" };
        return Err(format!("Configured to not listen anywhere, exiting. ({why}, and no unixsocket)"));
    }
    process::write_pid_file(&settings);
    println!(" PID: {}", std::process::id());
    notice!("Server initialized");

    let driver = loading_server(config, config_file);
    driver.listen_with(listeners);
    if !settings.unixsocket.is_empty() {
        let path = Path::new(&settings.unixsocket);
        let socket = listener::bind_unix(path, settings.unixsocketperm.0)?;
        listener::accept_unix(&driver, socket, settings.unixsocket.clone());
    }
    tokio::task::spawn_local(tick(Rc::clone(&driver)));
    tokio::task::spawn_local(keep_deadlines(Rc::clone(&driver)));
    tokio::task::spawn_local(Rc::clone(&driver).tell_log());
    Ok((driver, lock))
}

/// Recovers the dataset and serves it; returns only if that fails.
async fn load(driver: Rc<Driver>, lock: DirLock) -> Result<std::convert::Infallible, String> {
    let config = driver.node.borrow().config().clone();
    let progress = Arc::new(LoadProgress::default());
    driver.follow_load(Arc::clone(&progress));
    let seen = Arc::clone(&progress);
    let held = lock.dir().map_err(|error| format!("holding {}: {error}", config.settings.dir.display()))?;
    let disk = Arc::new(OsDisk::holding(&config.settings.dir, held));
    let mut recovery = process::on_thread("recovery", move || recovery::recover(disk, &config, &progress))?;
    let recovered = loop {
        tokio::select! {
            recovered = &mut recovery => {
                break recovered.map_err(|_| "recovery ended without a result".to_string())??;
            }
            () = tokio::time::sleep(LOAD_NEWS) => notice!("Loading: {}", seen.describe()),
        }
    };
    let log_news = Arc::new(Notify::new());
    let news = Arc::clone(&log_news);
    go_live(&driver, recovered, Arc::new(move || news.notify_one()))?;
    follow_as_configured(&driver);
    notice!("Ready to accept connections");
    let _held_as_long_as_this_runs = lock;
    loop {
        log_news.notified().await;
        driver.log_moved();
    }
}

/// A server without data that answers -LOADING.
fn loading_server(config: Config, config_file: String) -> Rc<Driver> {
    let settings = &config.settings;
    let facts = process::facts(settings.port, config_file);
    let store = Store::new(settings.databases as usize);
    let mut server = Server::new(config, History::new(ReplId::NONE), facts, process::random_u64());
    server.persistence.loading = Some(Loading { started_ms: clock::now_ms(), ..Loading::default() });
    let mut node = Node::new(store, server, clock::now_ms());
    // Whoever asks, such as Sentinel, must not take it for a primary meanwhile.
    if let Some(primary) = node.config().settings.replicaof.clone() {
        node.will_follow(&primary.host, primary.port, false);
    }
    Driver::new(node)
}

/// What recovery found becomes what is served.
pub fn go_live(driver: &Rc<Driver>, recovered: Recovered, waker: Waker) -> Result<(), String> {
    let settings = driver.node.borrow().config().settings.clone();
    let history = lock(&recovered.files.history).get().clone();
    let mut persist = Persist::new(recovered.files, recovered.ring, recovered.at, waker, &history);
    // The log does not go on where a sealed one ends: it may not end there after a power cut. The base comes at once.
    let beyond_seal = recovered.sealed && settings.appendonly;
    let from = if beyond_seal { recovered.at } else { recovered.log_from };
    // With the log on, nothing is served before the base that ends the doubt.
    let in_doubt = history.sealed.filter(|_| recovered.sealed && !settings.appendonly);
    persist.recovered(from, recovered.has_segments, in_doubt.map(|sealed| sealed.from));
    if settings.appendonly {
        persist.start_aof(&settings)?;
    }
    persist.keep(&settings);
    if !recovered.sealed {
        persist.await_replicas(clock::now_ms());
    }
    if let Some(idle) = recovered.idle_segment.filter(|_| persist.sender().is_some()) {
        // Opened by a start that wrote nothing: the next segment takes its place.
        lock(&persist.files.segments).drop_segment(&idle).map_err(|failure| failure.to_string())?;
        persist.measure_log();
    }
    let mut node = driver.node.borrow_mut();
    node.server.history.remember(&history);
    node.server.history.past.declared_loss = recovered.declared_loss;
    node.server.persistence.aof_enabled = settings.appendonly;
    // Also of no keys: the base says that there are none.
    let has_history = recovered.keys > 0 || recovered.at.offset > Offset::ZERO;
    node.server.persistence.rewrite_scheduled = settings.appendonly && recovered.needs_base && has_history;
    node.server.persistence.base_due = persist.base_is_due();
    node.server.persistence.load_keys = recovered.keys - recovered.expired;
    node.server.persistence.load_keys_expired = recovered.expired;
    // What cannot be told counts as small.
    let snapshot = persist.files.disk.len(&persist.files.paths.snapshot());
    node.server.persistence.last_save_bytes = snapshot.ok().flatten().unwrap_or(0);
    persist.describe_log(&mut node);
    node.server.persistence.aof_base_size = node.server.persistence.aof_current_size;
    node.replace(recovered.store, recovered.at.offset, clock::now_ms());
    node.server.strays.wrote = recovered.strays;
    persist.describe(&mut node);
    drop(node);
    driver.open(persist);
    if recovered.strays && settings.replicaof.is_none() {
        notice!("The data hold writes of clients of a replica: they begin a history of their own");
        reload::new_history(driver, Role::Primary)?;
    }
    if recovered.sealed && settings.keeps() {
        notice!(
            "An fsync of the log failed in the last run: a new base is written before anything is served"
        );
        let purpose = if settings.appendonly { Purpose::Rewrite } else { Purpose::Save };
        actions::write_here(driver, purpose)?;
    }
    resize::start_if_needed(driver);
    Ok(())
}

/// Of a server that is live.
pub fn follow_as_configured(driver: &Rc<Driver>) {
    let primary = driver.node.borrow().config().settings.replicaof.clone();
    if let Some(primary) = primary {
        super::upstream::follow(driver, primary.host, primary.port, false);
    }
}

/// Calls the node `hz` times a second.
async fn tick(driver: Rc<Driver>) {
    let mut told = Instant::now();
    loop {
        if told.elapsed() >= VERBOSE_NEWS {
            tell_what_is_held(&driver.node.borrow());
            told = Instant::now();
        }
        let hz = u64::from(driver.node.borrow().config().settings.hz.clamp(1, 500));
        let mut pace = interval(Duration::from_millis(1000 / hz));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace.tick().await;
        for _ in 0..hz {
            pace.tick().await;
            strike(&driver);
        }
    }
}

/// What is done at each tick.
pub fn strike(driver: &Rc<Driver>) {
    clock::follow_the_wall();
    driver.try_again();
    feed::tend(driver);
    if let Some(mut persist) = driver.try_persist() {
        persist.drop_passed();
        // Also on a server that stands still: what has gone must not be offered.
        persist.describe(&mut driver.node.borrow_mut());
    }
    driver.with_node(|node| {
        process::refresh(&mut node.server.process);
        driver.note_progress(node);
        node.handle_tick(&mut ServerClock);
    });
}

fn tell_what_is_held(node: &Node) {
    for (n, db) in node.store.dbs.iter().enumerate().filter(|(_, db)| !db.entries.is_empty()) {
        verbose!("DB {n}: {} keys ({} volatile)", db.entries.len(), db.volatile);
    }
    let (clients, replicas) = (node.server.sessions.iter().count(), node.server.replicas().len());
    let used = node.server.process.used_memory;
    verbose!("{clients} clients connected ({replicas} replicas), {used} bytes in use");
}

/// Ends waits and pauses at their time, without waiting for the next tick.
async fn keep_deadlines(driver: Rc<Driver>) {
    loop {
        let left = driver.deadline.get().map(|at| (at - clock::now_ms()).clamp(0, 3_600_000) as u64);
        tokio::select! {
            _ = driver.deadline_moved.notified() => {}
            _ = tokio::time::sleep(Duration::from_millis(left.unwrap_or(3_600_000))) => {
                driver.with_node(|node| node.handle_deadlines(&mut ServerClock));
            }
        }
    }
}

/// Serves until told to end; the exit code.
async fn until_exit(driver: Rc<Driver>) -> i32 {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return fail("cannot listen for signals");
    };
    // Caught to be ignored: a closed terminal is no reason to end, and a write beyond a file-size limit must fail
    // with an error like a full disk instead of killing the process.
    let _ignored = (signal(SignalKind::hangup()), signal(SignalKind::from_raw(SIGXFSZ)));
    let mut asked = None;
    loop {
        tokio::select! {
            _ = driver.exiting.notified() => {}
            _ = term.recv() => signalled(&driver, "SIGTERM", &mut asked),
            _ = int.recv() => signalled(&driver, "SIGINT", &mut asked),
        }
        if let Some(code) = driver.exit.get() {
            return code;
        }
    }
}

/// The first signal asks for a clean shutdown; a second one ends the process as a crash would, unless it comes so
/// soon that it is the same order, sent to the process and to its group.
fn signalled(driver: &Rc<Driver>, name: &str, asked: &mut Option<Instant>) {
    if let Some(first) = asked.replace(Instant::now())
        && driver.shutdown_is_on_its_way()
    {
        if first.elapsed() < SAME_ORDER {
            return;
        }
        warning!("Received {name} again: exiting at once");
        return shutdown::at_once(driver);
    }
    notice!("Received {name} scheduling shutdown...");
    let flags = {
        let node = driver.node.borrow();
        let settings = &node.config().settings;
        if name == "SIGINT" { settings.shutdown_on_sigint } else { settings.shutdown_on_sigterm }
    };
    let save = match (flags.contains(ShutdownFlags::SAVE), flags.contains(ShutdownFlags::NOSAVE)) {
        (true, _) => Some(true),
        (_, true) => Some(false),
        _ => None,
    };
    let [now, force] = [ShutdownFlags::NOW, ShutdownFlags::FORCE].map(|flag| flags.contains(flag));
    shutdown::requested(driver, None, save, now, force);
}
