//! The server's clock: the wall's time as far as a process can follow it, never back and never still.
//!
//! Deadlines of keys and TIME want the wall's time; timeouts, pauses and PINGs one that goes on; and the node's never goes back
//! (rule 31), as what a reader saw expire would be there again. So the time is that since the machine's start, which only
//! runs (one reading, of the vDSO), plus how far the wall's is ahead of it, looked at on each tick:
//!
//! ```text
//! the wall's is ahead      followed at once
//! the wall's is behind     here time runs at half speed until they meet, and the log says so
//! ```
//!
//! Rejected: the later of wall and last reading (a clock set back by two hours stood still for so long: no key expired, no wait
//! ended, no replica was pinged, SIGTERM waited for ever); to follow it back (rule 31); full speed (wrong for the process's life).

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};
use std::time::Duration;

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::logging::{notice, warning};
use crate::engine::Clock;
use crate::log::hands;

/// How far the wall's clock is ahead of the machine's own, in microseconds; before the first look, nowhere.
static AHEAD: AtomicI64 = AtomicI64::new(UNSEEN);
const UNSEEN: i64 = i64::MIN;
static PURSUIT: Mutex<Pursuit> = Mutex::new(Pursuit { looked: 0, told: false });
/// A step back of so many microseconds is worth a line.
const WORTH_A_LINE: i64 = 1_000_000;

#[derive(Clone, Copy, Default)]
pub struct ServerClock;

impl Clock for ServerClock {
    fn unix_micros(&mut self) -> i64 {
        if let Some(simulated) = hands::simulated_micros() {
            return simulated;
        }
        let ahead = AHEAD.load(Relaxed);
        if ahead == UNSEEN {
            follow_the_wall();
            return self.unix_micros();
        }
        micros(ClockId::Boottime) + ahead
    }

    fn sleep(&mut self, micros: u64) {
        if !hands::is_simulated() {
            std::thread::sleep(Duration::from_micros(micros));
        }
    }
}

/// Unix milliseconds.
pub fn now_ms() -> i64 {
    ServerClock.unix_micros() / 1000
}

/// Looks how far the wall's clock is ahead. To be done on each tick.
pub fn follow_the_wall() {
    if hands::is_simulated() {
        return;
    }
    let Ok(mut pursuit) = PURSUIT.lock() else { return };
    let before = micros(ClockId::Boottime);
    let wall = micros(ClockId::Realtime);
    let after = micros(ClockId::Boottime);
    let seen = Seen { least: wall - after, most: wall - before, at: after };
    let ahead = AHEAD.load(Relaxed);
    let next = pursuit.next(ahead, seen);
    AHEAD.store(next, Relaxed);
    match (pursuit.told, next - seen.most) {
        (false, gap) if gap > WORTH_A_LINE => {
            pursuit.told = true;
            let seconds = gap / 1_000_000;
            warning!(
                "The machine's clock was set back by {seconds} s. Time runs here at half speed until they meet, in {} s: keys \
                 expire and waits end late meanwhile, and TIME is ahead. A restart takes the new time at once",
                2 * seconds
            );
        }
        (true, gap) if gap <= 0 => {
            pursuit.told = false;
            notice!("The time here is that of the machine's clock again");
        }
        _ => {}
    }
}

/// How a wall's clock that was set back is met.
struct Pursuit {
    /// When it was looked at, by the machine's own clock.
    looked: i64,
    told: bool,
}

/// A look at the wall's clock between two at the machine's own.
#[derive(Clone, Copy)]
struct Seen {
    /// The wall's is ahead by so much, at least and at most.
    least: i64,
    most: i64,
    at: i64,
}

impl Pursuit {
    /// How far the server's time is ahead of the machine's own from now on.
    fn next(&mut self, ahead: i64, seen: Seen) -> i64 {
        let since = (seen.at - std::mem::replace(&mut self.looked, seen.at)).max(0);
        if ahead < seen.least { seen.least } else { ahead.min(seen.most.max(ahead - since / 2)) }
    }
}

fn micros(clock: ClockId) -> i64 {
    // `SystemTime`'s checked arithmetic costs as much as the clock itself, which is read twice for each command.
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec * 1_000_000 + tv_nsec / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The wall's clock, second by second, beside one that only runs: what the server's says, in microseconds.
    fn check(walls: &[i64], expected: &[i64]) {
        let mut pursuit = Pursuit { looked: 0, told: false };
        let mut ahead = UNSEEN;
        let times: Vec<i64> = (1..)
            .zip(walls)
            .map(|(n, wall)| {
                let at = n * 1_000_000;
                ahead = pursuit.next(ahead, Seen { least: wall - at, most: wall - at, at });
                at + ahead
            })
            .collect();
        assert_eq!(times, expected);
    }

    #[test]
    fn the_walls_time_is_followed_and_never_back() {
        const S: i64 = 1_000_000;
        check(&[70 * S, 71 * S, 72 * S], &[70 * S, 71 * S, 72 * S]);
        // Set forward: at once.
        check(&[70 * S, 171 * S, 172 * S], &[70 * S, 171 * S, 172 * S]);
        // Set back by two seconds: at half speed until they meet.
        check(
            &[70 * S, 69 * S, 70 * S, 71 * S, 72 * S, 73 * S, 74 * S],
            &[70 * S, 70 * S + S / 2, 71 * S, 71 * S + S / 2, 72 * S, 73 * S, 74 * S],
        );
        // And forward again meanwhile.
        check(&[70 * S, 60 * S, 72 * S], &[70 * S, 70 * S + S / 2, 72 * S]);
    }

    /// What passes between the three readings is no step of the clock.
    #[test]
    fn a_thread_that_was_kept_waiting_sees_no_step() {
        let mut pursuit = Pursuit { looked: 0, told: false };
        let ahead = pursuit.next(UNSEEN, Seen { least: 500, most: 500, at: 1000 });
        assert_eq!(pursuit.next(ahead, Seen { least: 100, most: 900, at: 2000 }), 500);
    }

    #[test]
    fn it_only_runs() {
        let mut last = 0;
        for _ in 0..1000 {
            follow_the_wall();
            let now = ServerClock.unix_micros();
            assert!(now + 1000 >= last, "{now} after {last}"); // a look may take back half of what passed since the one before
            last = now;
        }
    }
}
