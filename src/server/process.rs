//! Facts from the operating system.

use std::fs;
use std::io::Write;
use std::sync::OnceLock;

use tokio::sync::oneshot;

use super::clock::now_ms;
use super::logging::warning;
use crate::config::{OomScoreAdj, Settings};
use crate::disk::medium;
use crate::log::hands;
use crate::state::Process;
use crate::units::ReplId;

/// A new history id or run id. Failing randomness ends the process: an id that is not unique breaks every
/// promise made about positions.
pub fn random_id() -> ReplId {
    ReplId::from_random(random_bytes())
}

pub fn random_u64() -> u64 {
    u64::from_le_bytes(random_bytes())
}

fn random_bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    if hands::simulated_random(&mut bytes) {
        return bytes;
    }
    if let Err(error) = getrandom::fill(&mut bytes) {
        eprintln!("ringhold: the system gives no randomness ({error}); a unique history id cannot be made");
        std::process::exit(1);
    }
    bytes
}

/// Is there another process of this id? What cannot be told is yes.
pub fn another_runs(pid: u32) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(rustix::process::Pid::from_raw) else { return false };
    pid != std::process::id() && rustix::process::test_kill_process(id) != Err(rustix::io::Errno::SRCH)
}

/// Names the time since the machine was started; empty if it cannot be read. A container may have one of its own.
pub fn boot_id() -> String {
    if let Some(simulated) = hands::simulated_boot().or_else(medium::boot_id) {
        return simulated;
    }
    let text = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    text.trim().to_string()
}

/// What INFO says about this process.
pub fn facts(port: u16, config_file: String) -> Process {
    let uname = rustix::system::uname();
    let text = |part: &std::ffi::CStr| part.to_string_lossy().into_owned();
    Process {
        pid: std::process::id(),
        run_id: random_id().to_string(),
        started_ms: now_ms(),
        executable: std::env::current_exe().map(|path| path.display().to_string()).unwrap_or_default(),
        config_file,
        os: format!("{} {} {}", text(uname.sysname()), text(uname.release()), text(uname.machine())),
        port,
        total_system_memory: total_memory(),
        used_memory_startup: super::alloc::used(),
        allocator: "mimalloc",
        ..Process::default()
    }
}

fn total_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().unwrap_or(0) * 1024
}

/// Brings the figures that change up to date: resident set and CPU seconds. Called by the thread that owns the data.
pub fn refresh(process: &mut Process) {
    if hands::is_simulated() {
        return; // figures of the simulator, which reading them would only slow down
    }
    process.used_memory = super::alloc::used();
    process.used_memory_peak = process.used_memory_peak.max(process.used_memory);
    let page = rustix::param::page_size() as u64;
    let statm = fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(1).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    process.rss = pages * page;
    (process.cpu_user, process.cpu_sys) = cpu_seconds("/proc/self/stat");
    (process.cpu_user_main, process.cpu_sys_main) = cpu_seconds("/proc/thread-self/stat");
}

/// Seconds in user code and in the system, to a clock tick.
fn cpu_seconds(stat: &str) -> (f64, f64) {
    let stat = fs::read_to_string(stat).unwrap_or_default();
    let after_name = stat.rsplit(") ").next().unwrap_or_default();
    let ticks =
        |nth: usize| after_name.split(' ').nth(nth).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    (ticks(11) / per_second, ticks(12) / per_second)
}

/// Waits without holding anybody up; on a stage, until the simulator comes round again.
pub async fn pause(time: std::time::Duration) {
    if hands::is_simulated() {
        return tokio::task::yield_now().await;
    }
    tokio::time::sleep(time).await;
}

/// Does `work` that waits for the disk, and not for long, on one of the runtime's threads; `None` if it panicked.
pub async fn aside<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Option<T> {
    if hands::is_simulated() {
        return on_thread(name, work).ok()?.await.ok();
    }
    tokio::task::spawn_blocking(work).await.ok()
}

/// Does `work` on a thread of its own; what it returns, unless it panics.
pub fn on_thread<T: Send + 'static>(
    name: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<oneshot::Receiver<T>, String> {
    let (send, receive) = oneshot::channel();
    let run = move || {
        let _nobody_waits = send.send(work());
    };
    let started = hands::spawn(name, run);
    started.map(|_| receive).map_err(|error| format!("starting a thread: {error}"))
}

/// This thread leaves the core that it shares with the clients' to them, for the most part: of a full core a snapshot takes 3
/// tenths. Measured with one core under full writes: the higher the step, the lower is the clients' p99.9 (against Redis'
/// 1.12 without, 1.01 at 3, 0.84 at 5) and the longer, with more memory for what is overwritten meanwhile, the saving
/// (0.32, 0.43, 0.53 of Redis' time; 1.15, 1.25, 1.33 of the memory at rest).
pub fn step_back() {
    const STEP: i32 = 4;
    if hands::is_simulated() {
        return; // the thread is the simulator's
    }
    if let Err(error) = rustix::process::nice(STEP) {
        warning!("a snapshot's thread keeps its priority: {error}");
    }
}

/// `oom-score-adj`: how readily the kernel ends this process when memory is short.
pub fn adjust_oom_score(settings: &Settings) -> Result<(), String> {
    const FILE: &str = "/proc/self/oom_score_adj";
    static AT_START: OnceLock<i32> = OnceLock::new();
    let failed = |error: std::io::Error| format!("{FILE}: {error}");
    if settings.oom_score_adj == OomScoreAdj::No && AT_START.get().is_none() {
        return Ok(()); // never touched
    }
    let read = fs::read_to_string(FILE).map_err(failed)?;
    let base = *AT_START.get_or_init(|| read.trim().parse().unwrap_or(0));
    let [primary, ..] = settings.oom_score_adj_values.0;
    let score = match settings.oom_score_adj {
        OomScoreAdj::No => base,
        OomScoreAdj::Relative => base + primary,
        OomScoreAdj::Absolute => primary,
    };
    fs::write(FILE, score.clamp(-1000, 1000).to_string()).map_err(failed)
}

/// Raises the limit on open files so that `clients` fit; returns how many fit.
pub fn raise_file_limit(clients: u32) -> u32 {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    /// Files that are not clients: listeners, log, ring, snapshots.
    const RESERVED: u64 = 64;
    let limit = getrlimit(Resource::Nofile);
    let wanted = u64::from(clients) + RESERVED;
    let current = limit.current.unwrap_or(u64::MAX);
    if current >= wanted {
        return clients;
    }
    let allowed = limit.maximum.map_or(wanted, |maximum| maximum.min(wanted));
    match setrlimit(Resource::Nofile, Rlimit { current: Some(allowed), maximum: limit.maximum }) {
        Ok(()) => allowed.saturating_sub(RESERVED).min(u64::from(clients)) as u32,
        Err(_) => current.saturating_sub(RESERVED) as u32,
    }
}

/// Tells a child of [`daemonize`] what it is.
const DAEMON: &str = "RINGHOLD_DAEMON";

pub fn is_daemon() -> bool {
    std::env::var_os(DAEMON).is_some()
}

/// Starts this program again in a session of its own, without terminal, and returns the parent's exit code. (Not a
/// fork: a process that is about to have threads should not be copied half-way.) `read`: what this one has read from
/// standard input, for the other to read.
pub fn daemonize(read: &[u8]) -> i32 {
    use std::process::{Command, Stdio};
    let spawned = std::env::current_exe().and_then(|program| {
        let mut child = Command::new(program)
            .args(std::env::args_os().skip(1))
            .env(DAEMON, "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()?;
        child.stdin.take().map_or(Ok(()), |mut pipe| pipe.write_all(read))
    });
    match spawned {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("ringhold: cannot start in the background: {error}");
            1
        }
    }
}

/// In the child: leaves the parent's session. Writes the pid file where one is asked for; as in Redis, a server does
/// not stay away because it cannot.
pub fn write_pid_file(settings: &Settings) {
    if is_daemon() {
        // Fails only for a process that leads a group already, which then needs nothing.
        let _leader = rustix::process::setsid();
    }
    if settings.pidfile.is_empty() {
        return;
    }
    if let Err(error) = fs::write(&settings.pidfile, format!("{}\n", std::process::id())) {
        warning!("Failed to write PID file {}: {error}", settings.pidfile);
    }
}
