//! The server's log, in the shape that operators of Redis (and its test suite) read:
//!
//! ```text
//! 4711:M 23 Nov 2026 03:24:09.123 * Ready to accept connections
//! pid role                        level: . debug, - verbose, * notice, # warning
//! ```
//!
//! Lines go to standard output, or to `logfile`, opened per line so that log rotation needs no signal. Any thread
//! may log. A log that cannot be written is silently lost: it must never stop the server.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::config::LogLevel;
use crate::disk::fault;
use crate::log::hands;

static LEVEL: AtomicU8 = AtomicU8::new(2);
static ROLE: AtomicU8 = AtomicU8::new(b'M');
static FILE: Mutex<Option<PathBuf>> = Mutex::new(None);

fn rank(level: LogLevel) -> u8 {
    match level {
        LogLevel::Debug => 0,
        LogLevel::Verbose => 1,
        LogLevel::Notice => 2,
        LogLevel::Warning => 3,
        LogLevel::Nothing => 4,
    }
}

/// Least important level that is logged from now on.
pub fn set_level(level: LogLevel) {
    LEVEL.store(rank(level), Ordering::Relaxed);
}

/// `M` for a primary, `S` for a replica, `X` for a tool.
pub fn set_role(role: u8) {
    ROLE.store(role, Ordering::Relaxed);
}

/// Where lines go from now on; `None` for standard output. A file that cannot be written to is an error.
pub fn set_file(path: Option<PathBuf>) -> std::io::Result<()> {
    if let Some(path) = &path {
        OpenOptions::new().append(true).create(true).open(path)?;
    }
    fault::log_to(path.as_deref());
    if let Ok(mut file) = FILE.lock() {
        *file = path;
    }
    Ok(())
}

pub fn log(level: LogLevel, text: &str) {
    if hands::take_line(text) || !is_logged(level) {
        return;
    }
    let wanted = rank(level);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mark = [b'.', b'-', b'*', b'#', b'#'][wanted as usize];
    let line = format!(
        "{}:{} {} {} {}\n",
        std::process::id(),
        char::from(ROLE.load(Ordering::Relaxed)),
        calendar(now.as_millis() as i64),
        char::from(mark),
        text
    );
    let Ok(file) = FILE.lock() else { return };
    let _ = match &*file {
        None => std::io::stdout().lock().write_all(line.as_bytes()),
        Some(path) => OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .and_then(|mut file| file.write_all(line.as_bytes())),
    };
}

/// Logs a warning that the person at the terminal, or the service manager, must see too.
pub fn shout(text: &str) {
    log(LogLevel::Warning, text);
    if !hands::is_simulated() {
        eprintln!("ringhold: {text}");
    }
}

/// `23 Nov 2026 03:24:09.123`, in UTC.
pub fn calendar(unix_ms: i64) -> String {
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, ms) = (unix_ms.div_euclid(86_400_000), unix_ms.rem_euclid(86_400_000));
    // Days since 0000-03-01, so that the leap day ends a year (Howard Hinnant's civil-from-days).
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (h, m, s) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1000 % 60);
    let name = MONTHS[(month - 1) as usize];
    format!("{day:02} {name} {year} {h:02}:{m:02}:{s:02}.{:03}", ms % 1000)
}

/// Whether a line of this level would be written: asked before one that is dear to make.
pub fn is_logged(level: LogLevel) -> bool {
    rank(level) >= LEVEL.load(Ordering::Relaxed)
}

/// Logs what is of use when somebody looks for something.
macro_rules! verbose {
    ($($arg:tt)*) => {
        if $crate::server::logging::is_logged($crate::config::LogLevel::Verbose) {
            $crate::server::logging::log($crate::config::LogLevel::Verbose, &format!($($arg)*))
        }
    };
}

/// Logs at notice level, the default.
macro_rules! notice {
    ($($arg:tt)*) => { $crate::server::logging::log($crate::config::LogLevel::Notice, &format!($($arg)*)) };
}

/// Logs what an operator must see.
macro_rules! warning {
    ($($arg:tt)*) => { $crate::server::logging::log($crate::config::LogLevel::Warning, &format!($($arg)*)) };
}

pub(crate) use {notice, verbose, warning};

#[cfg(test)]
mod tests {
    use super::calendar;

    #[test]
    fn dates() {
        let check = |ms, expected: &str| assert_eq!(calendar(ms), expected);
        check(0, "01 Jan 1970 00:00:00.000");
        check(951_782_400_123, "29 Feb 2000 00:00:00.123");
        check(1_795_404_249_007, "23 Nov 2026 03:24:09.007");
    }
}
