//! Starts, watches, stops and kills servers.
//!
//! A [`Launch`] says what to run (program, directives, directory, perhaps a wrapper such as `ulimit`) and can be run
//! any number of times in the same directory; a [`Server`] is one running process. Waiting for a state is always
//! polling with a limit ([`eventually`]); a server that is dropped is killed, by its process id.

use crate::client::{Client, Value};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a server may take to answer PING after its start, and to end after SIGTERM.
pub const START_LIMIT: Duration = Duration::from_secs(60);
pub const STOP_LIMIT: Duration = Duration::from_secs(20);

/// The server under test: this build's, unless `RINGHOLD_IT_SERVER` names another.
pub fn subject() -> PathBuf {
    std::env::var_os("RINGHOLD_IT_SERVER")
        .map_or_else(|| env!("CARGO_BIN_EXE_ringhold").into(), PathBuf::from)
}

/// Whether the server under test is ours, so that what only Ringhold promises can be asked.
pub fn subject_is_ours() -> bool {
    std::env::var_os("RINGHOLD_IT_SERVER").is_none()
}

/// A stock tool by name; `None` (with a note) where it is missing, which under `CI` is a failure.
pub fn stock_tool(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|dir| dir.join(name)).find(|p| p.is_file());
    if found.is_none() {
        assert!(std::env::var_os("CI").is_none(), "{name} is not installed, and CI demands it");
        eprintln!("skipped: {name} is not installed");
    }
    found
}

/// What to run. Cloning shares the directory.
#[derive(Clone)]
pub struct Launch {
    program: PathBuf,
    wrapper: Vec<String>,
    /// Directives given as `--name value`, the last of a name winning.
    directives: Vec<(String, String)>,
    /// Arguments before the directives: a configuration file, or `-`.
    leading: Vec<String>,
    stdin: Vec<u8>,
    dir: Arc<TempDir>,
    data: PathBuf,
    port: u16,
}

impl Launch {
    pub fn ours(directives: &[(&str, &str)]) -> Launch {
        Launch::of(subject(), directives)
    }

    pub fn stock(directives: &[(&str, &str)]) -> Option<Launch> {
        Some(Launch::of(stock_tool("redis-server")?, directives))
    }

    fn of(program: PathBuf, directives: &[(&str, &str)]) -> Launch {
        let dir = Arc::new(tempfile::Builder::new().prefix("ringhold-it-").tempdir().unwrap());
        let data = dir.path().join("data");
        fs::create_dir(&data).unwrap();
        let launch = Launch {
            program,
            wrapper: Vec::new(),
            directives: Vec::new(),
            leading: Vec::new(),
            stdin: Vec::new(),
            dir,
            data,
            port: free_port(),
        };
        let launch = launch.with("save", "").with("enable-debug-command", "yes");
        directives.iter().fold(launch, |launch, (name, value)| launch.with(name, value))
    }

    /// Adds or replaces a directive.
    pub fn with(mut self, name: &str, value: &str) -> Launch {
        self.directives.retain(|(n, _)| n != name);
        self.directives.push((name.to_string(), value.to_string()));
        self
    }

    pub fn without_directives(mut self) -> Launch {
        self.directives.clear();
        self
    }

    /// Another program over the same directory, such as stock Redis over ours.
    pub fn with_program(mut self, program: PathBuf) -> Launch {
        self.program = program;
        self
    }

    /// Runs under `wrapper PROGRAM ARGS`; it must `exec`, so that the process id stays the server's.
    pub fn wrapped(mut self, wrapper: &[&str]) -> Launch {
        self.wrapper = wrapper.iter().map(|w| w.to_string()).collect();
        self
    }

    pub fn with_arguments(mut self, leading: &[&str]) -> Launch {
        self.leading = leading.iter().map(|w| w.to_string()).collect();
        self
    }

    pub fn with_stdin(mut self, text: &str) -> Launch {
        self.stdin = text.as_bytes().to_vec();
        self
    }

    /// Uses `data` (which need not exist) as the data directory.
    pub fn in_data(mut self, data: &Path) -> Launch {
        self.data = data.to_path_buf();
        self
    }

    pub fn on_port(mut self, port: u16) -> Launch {
        self.port = port;
        self
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn data(&self) -> &Path {
        &self.data
    }

    /// A folder of this launch's own that is not the data directory.
    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// Starts and waits until PING is answered with PONG.
    pub fn start(&self) -> Server {
        match self.spawn().ready(START_LIMIT) {
            Ok(server) => server,
            Err(end) => panic!("the server did not start: {end}"),
        }
    }

    /// Starts what must not come up: waits for its end.
    pub fn start_failing(&self) -> End {
        match self.spawn().ready(START_LIMIT) {
            Ok(_) => panic!("the server started, though it should have refused"),
            Err(end) => end,
        }
    }

    /// Starts without waiting for anything.
    pub fn spawn(&self) -> Server {
        static RUN: AtomicU32 = AtomicU32::new(0);
        let run = RUN.fetch_add(1, Ordering::Relaxed);
        let (out, err) =
            (self.dir.path().join(format!("out-{run}")), self.dir.path().join(format!("err-{run}")));
        let words = self.wrapper.iter().map(AsRef::<OsStr>::as_ref).chain([self.program.as_os_str()]);
        let words: Vec<&OsStr> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(&self.leading);
        if !self.directives.is_empty() {
            let (port, data) = (self.port.to_string(), self.data.to_string_lossy().into_owned());
            command.args(["--port", &port, "--bind", "127.0.0.1", "--dir", &data]);
        }
        for (name, value) in &self.directives {
            command.arg(format!("--{name}")).arg(value);
        }
        command.current_dir(self.dir.path()).stdin(Stdio::piped());
        command.stdout(File::create(&out).unwrap()).stderr(File::create(&err).unwrap());
        let mut child = command.spawn().unwrap_or_else(|e| panic!("{words:?}: {e}"));
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(&self.stdin).ok();
        drop(stdin);
        Server { launch: self.clone(), child, out, err, ended: None }
    }
}

/// How a process ended.
#[derive(Clone, Debug)]
pub struct End {
    pub code: Option<i32>,
    pub signal: Option<i32>,
    /// Standard output, which is the log.
    pub log: String,
    pub stderr: String,
}

impl End {
    /// Both streams, where a message may stand in either.
    pub fn said(&self) -> String {
        format!("{}{}", self.log, self.stderr)
    }
}

impl std::fmt::Display for End {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "exit code {:?}, signal {:?}\n--- log\n{}", self.code, self.signal, self.log)?;
        write!(f, "--- stderr\n{}", self.stderr)
    }
}

pub struct Server {
    launch: Launch,
    child: Child,
    out: PathBuf,
    err: PathBuf,
    ended: Option<End>,
}

impl Server {
    pub fn launch(&self) -> &Launch {
        &self.launch
    }

    pub fn port(&self) -> u16 {
        self.launch.port
    }

    pub fn data(&self) -> &Path {
        &self.launch.data
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.port()).unwrap_or_else(|e| panic!("connecting to port {}: {e}", self.port()))
    }

    /// The ordinary client.
    pub fn redis(&self) -> redis::Connection {
        let url = format!("redis://127.0.0.1:{}/", self.port());
        redis::Client::open(url).and_then(|c| c.get_connection()).unwrap()
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        lossy(&self.out)
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until PING is served; the process's end if that comes first. Panics at the limit.
    pub fn ready(mut self, limit: Duration) -> Result<Server, End> {
        let deadline = Instant::now() + limit;
        loop {
            if let Some(end) = self.poll_end() {
                return Err(end);
            }
            match self.asked_for_pid(limit) {
                // NOAUTH stands before LOADING and hides it, so that only the log tells when the data is in; MISCONF is
                // said by a server that is up and whose disk is full.
                Ok(Value::Error(why)) if why.starts_with("NOAUTH") || why.starts_with("MISCONF") => {
                    if self.log().contains("Ready to accept connections") {
                        return Ok(self);
                    }
                    assert!(Instant::now() < deadline, "not ready within {limit:?}: {}", self.log());
                    thread::sleep(Duration::from_millis(5));
                }
                // A taken port is answered by its owner: the process must be the one that we started.
                Ok(text) if text.text().contains(&format!("process_id:{}\r", self.child.id())) => {
                    return Ok(self);
                }
                // Other errors than these will not pass by waiting.
                Ok(Value::Error(why)) if !why.starts_with("LOADING") && !why.starts_with("MASTERDOWN") => {
                    panic!("PING is refused: {why}\n{}{}", self.log(), lossy(&self.err))
                }
                _ if Instant::now() < deadline => thread::sleep(Duration::from_millis(5)),
                other => panic!("not ready within {limit:?}: {other:?}\n{}{}", self.log(), lossy(&self.err)),
            }
        }
    }

    /// PING, and then the INFO section that holds `process_id`; the error reply where PING got one.
    fn asked_for_pid(&self, limit: Duration) -> std::io::Result<Value> {
        let mut c = Client::connect(self.port())?;
        c.set_patience(limit)?;
        match c.try_cmd(&["PING"])? {
            error @ Value::Error(_) => Ok(error),
            _ => c.try_cmd(&["INFO", "server"]),
        }
    }

    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            kill_process(self.pid(), signal).ok();
        }
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) -> End {
        self.signal(Signal::TERM);
        self.wait(STOP_LIMIT)
    }

    /// SIGKILL: what `kill -9` does.
    pub fn kill(&mut self) -> End {
        self.signal(Signal::KILL);
        self.wait(STOP_LIMIT)
    }

    pub fn wait(&mut self, limit: Duration) -> End {
        let deadline = Instant::now() + limit;
        loop {
            match self.poll_end() {
                Some(end) => return end,
                None if Instant::now() < deadline => thread::sleep(Duration::from_millis(2)),
                None => panic!("still running after {limit:?}\n{}", self.log()),
            }
        }
    }

    /// Stops if it runs, and starts again over the same directory and port.
    pub fn restart(mut self) -> Server {
        if self.ended.is_none() {
            self.stop();
        }
        self.launch.start()
    }

    /// The same, with a client.
    pub fn restart_and_connect(self) -> (Server, Client) {
        let server = self.restart();
        let client = server.connect();
        (server, client)
    }

    pub fn poll_end(&mut self) -> Option<End> {
        if self.ended.is_none() {
            let status = self.child.try_wait().unwrap()?;
            let (log, stderr) = (lossy(&self.out), lossy(&self.err));
            self.ended = Some(End { code: status.code(), signal: status.signal(), log, stderr });
        }
        self.ended.clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.ended.is_none() {
            self.signal(Signal::KILL);
            self.child.wait().ok();
        }
        if thread::panicking() {
            eprintln!(
                "--- log of {}\n{}{}",
                self.launch.program.display(),
                tail(&self.log()),
                lossy(&self.err)
            );
        }
    }
}

/// Polls until `probe` gives something; panics with `what` at the limit.
pub fn eventually<T>(what: &str, limit: Duration, mut probe: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = probe() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

/// A field of INFO, empty if it is not there.
pub fn info(client: &mut Client, field: &str) -> String {
    let text = client.must(&["INFO"]).text();
    let found = text.lines().find_map(|l| l.strip_prefix(field)?.strip_prefix(':').map(str::to_string));
    found.unwrap_or_default()
}

/// BGREWRITEAOF, to its successful end.
pub fn rewrite_aof(client: &mut Client) {
    // A young log's own first rewrite may still run.
    eventually("a free moment to rewrite", Duration::from_secs(30), || {
        (!matches!(client.cmd(&["BGREWRITEAOF"]), Value::Error(_))).then_some(())
    });
    eventually("AOF rewrite", Duration::from_secs(30), || {
        let busy =
            ["aof_rewrite_scheduled", "aof_rewrite_in_progress"].iter().any(|f| info(client, f) == "1");
        (!busy).then_some(())
    });
    assert_eq!(info(client, "aof_last_bgrewrite_status"), "ok");
}

/// BGSAVE, to its end; INFO's verdict.
pub fn bgsave(client: &mut Client) -> String {
    client.must(&["BGSAVE"]);
    eventually("BGSAVE", Duration::from_secs(30), || {
        (info(client, "rdb_bgsave_in_progress") == "0").then_some(())
    });
    info(client, "rdb_last_bgsave_status")
}

pub fn copy_dir(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// A file of the AOF directory by the end of its name.
pub fn aof_files(data: &Path, ending: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(data.join("appendonlydir")) else { return Vec::new() };
    let mut files: Vec<PathBuf> =
        entries.flatten().map(|e| e.path()).filter(|p| p.to_string_lossy().ends_with(ending)).collect();
    files.sort();
    files
}

/// Runs a tool to its end: code and all that it said.
pub fn run(program: &Path, args: &[&OsStr]) -> (Option<i32>, String) {
    let output = Command::new(program).args(args).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&said).into_owned())
}

/// A port that no other test uses, in this process or in another one: a server that is down for a moment keeps its
/// port, and nobody's Sentinel or late client ever reaches a stranger there. Below the ephemeral range, so that no
/// outgoing connection takes it either.
pub fn free_port() -> u16 {
    static PORTS: Mutex<Ports> = Mutex::new(Ports { claims: Vec::new(), free: Vec::new() });
    PORTS.lock().unwrap().take()
}

/// Blocks of ports, each claimed by listening on its first one for as long as this process lives.
struct Ports {
    claims: Vec<TcpListener>,
    free: Vec<u16>,
}

impl Ports {
    const FIRST: u16 = 12_000;
    const BLOCK: u16 = 100;
    const BLOCKS: u16 = 180;

    fn take(&mut self) -> u16 {
        loop {
            match self.free.pop() {
                Some(port) if TcpListener::bind(("127.0.0.1", port)).is_ok() => return port,
                Some(_) => {}
                None => self.claim(),
            }
        }
    }

    fn claim(&mut self) {
        let start = (std::process::id() % u32::from(Self::BLOCKS)) as u16;
        let (claim, base) = (0..Self::BLOCKS)
            .map(|i| Self::FIRST + (start + i) % Self::BLOCKS * Self::BLOCK)
            .find_map(|base| Some((TcpListener::bind(("127.0.0.1", base)).ok()?, base)))
            .expect("all blocks of ports are claimed");
        self.claims.push(claim);
        self.free.extend((base + 1..base + Self::BLOCK).rev());
    }
}

fn lossy(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(60)..].iter().map(|l| format!("{l}\n")).collect()
}
