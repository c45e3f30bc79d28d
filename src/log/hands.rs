//! Who does the work that must not hold up the data thread: threads of its own, or the one thread of a simulator.
//!
//! In a server each piece of such work (the log's writes and fsyncs, a snapshot, the removal of old segments) has a
//! thread. On a [`Stage`] none has: work waits in a queue until the simulator runs it, the log's writer works
//! when it is lent a hand ([`super::thread::LogSender::work`]), and clock and randomness are the stage's own, so
//! that a run depends on its seed alone. What is simulated is the code that serves, not a copy of it.
//!
//! Several machines may share a stage: whoever runs one says which it is ([`Stage::on`]). Work, boots and lines are each
//! machine's own, clock and randomness are common.
//!
//! A stage belongs to the thread that entered it. Rejected: to hand it through every constructor between a command
//! and a file, for something that no server ever has.
//!
//! Always: without a stage every function here does what the operating system does.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::thread::JoinHandle;
use std::time::Duration;

type Work = Box<dyn FnOnce() + Send>;

/// No stage: the clock is the system's.
const REAL: i64 = i64::MIN;

thread_local! {
    static MACHINE: Cell<usize> = const { Cell::new(0) };
    static BOOTS: RefCell<BTreeMap<usize, u64>> = const { RefCell::new(BTreeMap::new()) };
    static NOW: Cell<i64> = const { Cell::new(REAL) };
    static QUEUE: RefCell<Queue> = RefCell::default();
    static RANDOM: RefCell<fastrand::Rng> = const { RefCell::new(fastrand::Rng::with_seed(0)) };
    static LINES: RefCell<Option<Vec<(usize, String)>>> = const { RefCell::new(None) };
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    next: u64,
}

struct Waiting {
    machine: usize,
    number: u64,
    name: &'static str,
    work: Work,
}

/// While it lives, this thread is simulated.
pub struct Stage(());

impl Stage {
    /// `now`: Unix microseconds. Ids and random commands follow from `seed`.
    pub fn enter(now: i64, seed: u64) -> Stage {
        NOW.set(now);
        MACHINE.set(0);
        BOOTS.take();
        RANDOM.set(fastrand::Rng::with_seed(seed));
        Stage(())
    }
    pub fn now(&self) -> i64 {
        NOW.get()
    }
    /// From here on it is this machine that runs; the first is 0.
    pub fn on(&self, machine: usize) {
        MACHINE.set(machine);
    }
    /// The machine starts anew: another boot id.
    pub fn reboot(&self) {
        BOOTS.with_borrow_mut(|boots| *boots.entry(machine()).or_default() += 1);
    }
    pub fn advance(&self, by: Duration) {
        NOW.set(NOW.get() + by.as_micros() as i64);
    }
    /// Names of the work that waits, oldest first.
    pub fn waiting(&self) -> Vec<&'static str> {
        let here = |waiting: &&Waiting| waiting.machine == machine();
        QUEUE.with_borrow(|queue| queue.waiting.iter().filter(here).map(|waiting| waiting.name).collect())
    }
    /// Does the oldest piece of work that waits; its name.
    pub fn run_one(&self) -> Option<&'static str> {
        let Waiting { name, work, .. } = take_waiting(|waiting| waiting.machine == machine())?;
        work();
        Some(name)
    }
    /// The process has ended: what waited is never done.
    pub fn forget_work(&self) {
        while let Some(forgotten) = take_waiting(|waiting| waiting.machine == machine()) {
            drop(forgotten);
        }
    }
    /// Keeps the lines that the server logs from now on, for [`Stage::lines`].
    pub fn keep_lines(&self) {
        LINES.set(Some(Vec::new()));
    }
    /// The lines logged by this machine since the last call.
    pub fn lines(&self) -> Vec<String> {
        LINES.with_borrow_mut(|lines| {
            let Some(lines) = lines else { return Vec::new() };
            let mine = lines.extract_if(.., |(whose, _)| *whose == machine());
            mine.map(|(_, line)| line).collect()
        })
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        let forgotten = QUEUE.with_borrow_mut(|queue| std::mem::take(&mut queue.waiting));
        drop(forgotten);
        NOW.set(REAL);
        LINES.set(None);
    }
}

fn take_waiting(which: impl Fn(&Waiting) -> bool) -> Option<Waiting> {
    QUEUE.with_borrow_mut(|queue| {
        let at = queue.waiting.iter().position(which)?;
        queue.waiting.remove(at)
    })
}

/// Which machine of the stage it is that runs.
pub fn machine() -> usize {
    MACHINE.get()
}

pub fn is_simulated() -> bool {
    NOW.get() != REAL
}

/// Unix microseconds on a stage.
pub fn simulated_micros() -> Option<i64> {
    let now = NOW.get();
    (now != REAL).then_some(now)
}

/// Which start of the simulated machine this is.
pub fn simulated_boot() -> Option<String> {
    let boots = || BOOTS.with_borrow(|boots| boots.get(&machine()).copied().unwrap_or(0));
    is_simulated().then(|| format!("simulated-boot-{}", boots()))
}

/// Fills `bytes` from the stage's seed; false: there is no stage.
pub fn simulated_random(bytes: &mut [u8]) -> bool {
    if is_simulated() {
        RANDOM.with_borrow_mut(|random| random.fill(bytes));
    }
    is_simulated()
}

/// Takes a line of the server's log; false: there is no stage.
pub fn take_line(line: &str) -> bool {
    if is_simulated() {
        LINES.with_borrow_mut(|lines| {
            lines.iter_mut().for_each(|lines| lines.push((machine(), line.to_string())))
        });
    }
    is_simulated()
}

/// Work under way.
pub enum Task {
    Thread(JoinHandle<()>),
    /// By its number in the queue.
    Waiting(u64),
}

/// Does `work` beside the data thread.
pub fn spawn(name: &'static str, work: impl FnOnce() + Send + 'static) -> io::Result<Task> {
    if is_simulated() {
        return Ok(QUEUE.with_borrow_mut(|queue| {
            queue.next += 1;
            let (machine, number) = (machine(), queue.next);
            queue.waiting.push_back(Waiting { machine, number, name, work: Box::new(work) });
            Task::Waiting(number)
        }));
    }
    std::thread::Builder::new().name(name.into()).spawn(work).map(Task::Thread)
}

impl Task {
    pub fn is_finished(&self) -> bool {
        match self {
            Task::Thread(thread) => thread.is_finished(),
            Task::Waiting(number) => {
                QUEUE.with_borrow(|queue| queue.waiting.iter().all(|waiting| waiting.number != *number))
            }
        }
    }

    /// Returns when the work is done, also if it panicked.
    pub fn finish(self) {
        match self {
            Task::Thread(thread) => {
                let _it_reports_itself = thread.join();
            }
            Task::Waiting(number) => {
                if let Some(Waiting { work, .. }) = take_waiting(|waiting| waiting.number == number) {
                    work();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering};

    #[test]
    fn on_a_stage_work_waits_until_it_is_run() {
        let stage = Stage::enter(7, 1);
        let done = Arc::new(AtomicU32::new(0));
        let work = |add: u32| {
            let done = Arc::clone(&done);
            move || {
                let _before = done.fetch_add(add, Ordering::Relaxed);
            }
        };
        let first = spawn("first", work(1)).unwrap();
        let second = spawn("second", work(10)).unwrap();
        assert_eq!((stage.waiting(), done.load(Ordering::Relaxed)), (vec!["first", "second"], 0));
        second.finish();
        assert_eq!((stage.run_one(), done.load(Ordering::Relaxed)), (Some("first"), 11));
        first.finish();
        assert_eq!((simulated_micros(), done.load(Ordering::Relaxed)), (Some(7), 11));
        drop(stage);
        assert_eq!(simulated_micros(), None);
        spawn("thread", work(100)).unwrap().finish();
        assert_eq!(done.load(Ordering::Relaxed), 111);
    }

    #[test]
    fn each_machine_has_its_own_work_and_boots() {
        let stage = Stage::enter(0, 1);
        for machine in 0..2 {
            stage.on(machine);
            spawn(["a", "b"][machine], || {}).unwrap();
        }
        stage.reboot();
        let boot = |machine| {
            stage.on(machine);
            simulated_boot()
        };
        assert_ne!(boot(0), boot(1));
        stage.on(0);
        assert_eq!((stage.waiting(), stage.run_one(), stage.run_one()), (vec!["a"], Some("a"), None));
        stage.on(1);
        assert_eq!((stage.waiting(), stage.forget_work(), stage.run_one()), (vec!["b"], (), None));
    }

    #[test]
    fn randomness_follows_from_the_seed() {
        let draw = |seed| {
            let _stage = Stage::enter(0, seed);
            let mut bytes = [0; 20];
            assert!(simulated_random(&mut bytes));
            bytes
        };
        assert_eq!(draw(3), draw(3));
        assert_ne!(draw(3), draw(4));
        assert!(!simulated_random(&mut [0; 4]));
    }
}
