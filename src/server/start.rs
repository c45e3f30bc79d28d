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

use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::LocalSet;
use tokio::time::{Duration, MissedTickBehavior, interval};

use super::driver::Driver;
use super::logging::{notice, warning};
use super::persist::Persist;
use super::process::{self, WallClock};
use super::{listener, logging};
use crate::config::{Config, Reader, Start, parse_start_args};
use crate::engine::Node;
use crate::state::{History, Server};
use crate::store::Store;

/// Reads what the configuration names.
struct Files;

impl Reader for Files {
    fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }
    fn list(&mut self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(dir)?.map(|entry| entry.map(|entry| entry.path())).collect()
    }
    fn stdin(&mut self) -> io::Result<Vec<u8>> {
        let mut text = Vec::new();
        io::stdin().read_to_end(&mut text)?;
        Ok(text)
    }
}

const HELP: &str = "\
Usage: ringhold [CONFIG|-] [--directive value ...]
       ringhold --version | --help

CONFIG is a file in redis.conf syntax, or TOML if its name ends in .toml; - reads redis.conf syntax from standard
input. Directives on the command line come after the file and win over it. Without arguments the server listens on
127.0.0.1:6379 and keeps its data in ./data.

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
                "Ringhold server v=7.2.4 ringhold={} malloc=mimalloc bits={}",
                env!("CARGO_PKG_VERSION"),
                usize::BITS
            );
            0
        }
        Start::Help => {
            print!("{HELP}");
            0
        }
        Start::Run(args) => match Config::load(&args, &mut Files) {
            Ok((config, notices)) => serve(config, notices.iter().map(ToString::to_string).collect()),
            Err(error) => {
                eprintln!("\n{error}");
                1
            }
        },
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
    if !settings.logfile.is_empty() {
        logging::set_file(Some(config.working_directory().join(&settings.logfile)));
    }
    crate::store::hash::set_seed(process::random_u64());
    let built = runtime::Builder::new_current_thread().enable_all().build();
    let runtime = match built {
        Ok(runtime) => runtime,
        Err(error) => return fail(&format!("cannot start the event loop: {error}")),
    };
    let local = LocalSet::new();
    local.block_on(&runtime, async {
        match start(config, notices).await {
            Ok(driver) => until_exit(driver).await,
            Err(why) => fail(&why),
        }
    })
}

async fn start(config: Config, notices: Vec<String>) -> Result<Rc<Driver>, String> {
    let settings = config.settings.clone();
    let config_file = config.file.as_ref().map(|path| path.display().to_string()).unwrap_or_default();
    notice!("Ringhold {} starting, PID: {}", env!("CARGO_PKG_VERSION"), std::process::id());
    notices.iter().for_each(|text| notice!("{text}"));
    let listeners = listener::bind_tcp(&settings, settings.port)?;
    println!(" PID: {}", std::process::id());
    notice!("Server initialized");

    let facts = process::facts(settings.port, config_file);
    let server = Server::new(config, History::new(process::random_id()), facts, process::random_u64());
    let end = server.history.end;
    let node = Node::new(Store::new(settings.databases as usize), server, process::now_ms());
    let driver = Driver::new(node, Persist::new(end));
    listener::accept_tcp(&driver, listeners);
    if !settings.unixsocket.is_empty() {
        let path = Path::new(&settings.unixsocket);
        let socket = listener::bind_unix(path, settings.unixsocketperm.0)?;
        listener::accept_unix(&driver, socket, settings.unixsocket.clone());
    }
    tokio::task::spawn_local(tick(Rc::clone(&driver)));
    notice!("Ready to accept connections");
    Ok(driver)
}

/// Calls the node `hz` times a second.
async fn tick(driver: Rc<Driver>) {
    loop {
        let hz = u64::from(driver.node.borrow().config().settings.hz.clamp(1, 500));
        let mut pace = interval(Duration::from_millis(1000 / hz));
        pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
        pace.tick().await;
        for _ in 0..hz {
            pace.tick().await;
            driver.with_node(|node| {
                process::refresh(&mut node.server.process);
                node.handle_tick(&mut WallClock);
            });
        }
    }
}

async fn until_exit(driver: Rc<Driver>) -> i32 {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return fail("cannot listen for signals");
    };
    loop {
        tokio::select! {
            _ = driver.exiting.notified() => {}
            _ = term.recv() => driver.end_with(0),
            _ = int.recv() => driver.end_with(0),
        }
        if let Some(code) = driver.exit.get() {
            return code;
        }
    }
}
