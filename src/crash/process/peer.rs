//! Real servers and connections to them: a process that is started, watched and killed; a client; and a replica that only
//! takes notes.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::resp::args::encode_command;
use crate::units::Offset;

/// How long a server may take to answer after its start, or to come to a state that is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Between two looks.
pub const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// What to run.
#[derive(Clone, Debug)]
pub struct Launch {
    pub program: PathBuf,
    pub dir: PathBuf,
    pub port: u16,
    /// `--name value`.
    pub directives: Vec<(String, String)>,
    /// With fail points: the process ends itself at this one.
    pub die_at: Option<u64>,
    /// Where it notes what a power cut would leave.
    pub medium: Option<PathBuf>,
}

/// A running server.
pub struct Process {
    child: Child,
    log: PathBuf,
    pub port: u16,
}

/// How a start ended that did not come to serve.
pub struct Ended {
    /// By SIGKILL, as at a fail point; else it refused.
    pub killed: bool,
    pub log: String,
}

pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind(("127.0.0.1", 0))?.local_addr()?.port())
}

impl Launch {
    /// Starts, and waits for nothing.
    pub fn spawn(&self) -> io::Result<Process> {
        std::fs::create_dir_all(&self.dir)?;
        let log = self.dir.with_extension("log");
        let mut command = Command::new(&self.program);
        let (port, dir) = (self.port.to_string(), self.dir.to_string_lossy().into_owned());
        command.args([
            "--port",
            &port,
            "--bind",
            "127.0.0.1",
            "--dir",
            &dir,
            "--enable-debug-command",
            "yes",
        ]);
        for (name, value) in &self.directives {
            command.arg(format!("--{name}")).arg(value);
        }
        if let Some(step) = self.die_at {
            command.env("RINGHOLD_DIE_AT", step.to_string());
        }
        if let Some(medium) = &self.medium {
            command.env("RINGHOLD_MEDIUM", medium);
        }
        let out = File::create(&log)?;
        command.stdin(Stdio::null()).stdout(out.try_clone()?).stderr(out);
        Ok(Process { child: command.spawn()?, log, port: self.port })
    }

    /// Starts, and waits for an answer to PING.
    pub fn start(&self) -> io::Result<Result<Process, Ended>> {
        let mut process = self.spawn()?;
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(ended) = process.ended()? {
                return Ok(Err(ended));
            }
            if Peer::connect(self.port)
                .and_then(|mut peer| peer.call(&["PING"]))
                .is_ok_and(|r| r.text == "PONG")
            {
                return Ok(Ok(process));
            }
            if Instant::now() > until {
                return Err(io::Error::other(format!("no PONG in {PATIENCE:?}")));
            }
            std::thread::sleep(LOOK_AGAIN);
        }
    }
}

impl Process {
    pub fn ended(&mut self) -> io::Result<Option<Ended>> {
        use std::os::unix::process::ExitStatusExt;
        let Some(status) = self.child.try_wait()? else { return Ok(None) };
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log).into_owned();
        Ok(Some(Ended { killed: status.signal() == Some(9), log }))
    }

    pub fn kill(&mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Ends by itself, after SHUTDOWN; the exit code.
    pub fn wait(&mut self) -> io::Result<Option<i32>> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status.code());
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        Err(io::Error::other("the server does not end"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _gone_already = self.child.kill();
        let _reaped = self.child.wait();
    }
}

/// A reply: its first line or its bytes; items of an array are left out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reply {
    pub text: String,
    pub is_error: bool,
}

/// A connection that asks and waits.
pub struct Peer {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Peer {
    pub fn connect(port: u16) -> io::Result<Peer> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        Ok(Peer { stream, buffer: Vec::new() })
    }

    pub fn call(&mut self, words: &[&str]) -> io::Result<Reply> {
        let words: Vec<&[u8]> = words.iter().map(|word| word.as_bytes()).collect();
        self.call_bytes(&words)
    }

    pub fn call_bytes(&mut self, words: &[&[u8]]) -> io::Result<Reply> {
        let mut bytes = Vec::new();
        encode_command(words.iter().copied(), &mut bytes);
        self.stream.write_all(&bytes)?;
        self.reply()
    }

    fn reply(&mut self) -> io::Result<Reply> {
        let line = self.line()?;
        let (kind, rest) = line.split_at(1.min(line.len()));
        let count = || rest.parse::<i64>().unwrap_or(-1);
        match kind {
            "$" if count() >= 0 => {
                let bytes = self.take(count() as usize + 2)?;
                let text = String::from_utf8_lossy(&bytes[..bytes.len() - 2]).into_owned();
                Ok(Reply { text, is_error: false })
            }
            "*" => {
                let mut all = Reply::default();
                for _ in 0..count() {
                    all.is_error |= self.reply()?.is_error;
                }
                Ok(all)
            }
            _ => Ok(Reply { text: rest.to_string(), is_error: kind == "-" }),
        }
    }

    /// A line without its end; empty ones, as a server sends to keep a connection alive, are passed over.
    fn line(&mut self) -> io::Result<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.buffer.drain(..=end).collect();
                let line = String::from_utf8_lossy(&line).trim_end().to_string();
                if !line.is_empty() {
                    return Ok(line);
                }
                continue;
            }
            self.read_some()?;
        }
    }

    fn take(&mut self, len: usize) -> io::Result<Vec<u8>> {
        while self.buffer.len() < len {
            self.read_some()?;
        }
        Ok(self.buffer.drain(..len).collect())
    }

    fn read_some(&mut self) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        let got = self.stream.read(&mut piece)?;
        if got == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.buffer.extend_from_slice(&piece[..got]);
        Ok(())
    }

    /// A field of INFO.
    pub fn info(&mut self, section: &str, name: &str) -> io::Result<String> {
        let text = self.call(&["INFO", section])?.text;
        let found = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        Ok(found.unwrap_or_default().to_string())
    }

    pub fn offset(&mut self) -> io::Result<Offset> {
        let text = self.info("replication", "master_repl_offset")?;
        text.parse().map(Offset).map_err(|_| io::Error::other(format!("no offset: {text:?}")))
    }

    /// `Err`: what was answered instead of `+CONTINUE`.
    pub fn follow(mut self, replid: &str, next: u64) -> io::Result<Result<Follower, String>> {
        self.call(&["REPLCONF", "capa", "eof", "capa", "psync2"])?;
        let said = self.call(&["PSYNC", replid, &next.to_string()])?;
        if said.is_error || !said.text.starts_with("CONTINUE") {
            return Ok(Err(said.text));
        }
        let taken = Arc::new(Mutex::new(std::mem::take(&mut self.buffer)));
        let notes = Arc::clone(&taken);
        let thread = std::thread::Builder::new().name("follower".into()).spawn(move || {
            while self.read_some().is_ok() {
                lock(&notes).append(&mut self.buffer);
            }
        })?;
        Ok(Ok(Follower { taken, thread }))
    }
}

/// A replica without data: it writes down what it is sent, until the connection ends.
pub struct Follower {
    taken: Arc<Mutex<Vec<u8>>>,
    thread: JoinHandle<()>,
}

impl Follower {
    /// What has come since the last call.
    pub fn take(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.taken))
    }
    /// After the server has ended: the rest.
    pub fn finish(self) -> Vec<u8> {
        let _it_only_reads = self.thread.join();
        std::mem::take(&mut lock(&self.taken))
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Copies a data directory file by file, in this order of its names, as somebody does who does not stop the server. A file
/// that goes meanwhile is left out.
pub fn copy_live(from: &Path, to: &Path, order: &mut impl FnMut(&mut Vec<PathBuf>)) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(from)? {
        paths.push(entry?.path());
    }
    order(&mut paths);
    for path in paths {
        let Some(name) = path.file_name() else { continue };
        if path.is_dir() {
            copy_live(&path, &to.join(name), order)?;
        } else if name != "ringhold.lock"
            && let Err(error) = std::fs::copy(&path, to.join(name))
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
    }
    Ok(())
}
