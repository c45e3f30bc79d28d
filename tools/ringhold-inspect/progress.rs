//! One line on the terminal: how much of the file is read, how fast, how long it still takes. Redrawn at most ten times a
//! second, shown only for work of more than half a second, wiped when the work is done.

use std::cell::RefCell;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::{Duration, Instant};

use ringhold::inspect::input::Watch;
use ringhold::inspect::text::{shortened, size};

const PATIENCE: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_millis(100);

struct Line {
    file: PathBuf,
    began: Instant,
    drawn: Instant,
}

/// Draws on standard error, which is a terminal.
pub fn watch() -> Watch {
    let now = Instant::now();
    let line = RefCell::new(Line { file: PathBuf::new(), began: now, drawn: now });
    Some(Rc::new(move |file: &Path, done: u64, total: Option<u64>| line.borrow_mut().draw(file, done, total)))
}

/// Wipes the line.
pub fn clear(watch: &Watch) {
    if watch.is_some() {
        eprint!("\r\x1b[K");
    }
}

impl Line {
    fn draw(&mut self, file: &Path, done: u64, total: Option<u64>) {
        let now = Instant::now();
        if self.file != file {
            (self.file, self.began) = (file.to_path_buf(), now);
        }
        let spent = now - self.began;
        if spent < PATIENCE || now - self.drawn < REDRAW {
            return;
        }
        self.drawn = now;
        let name = shortened(file.file_name().unwrap_or(file.as_os_str()).as_encoded_bytes(), 30);
        let text = describe(&name, done, total, spent);
        // A terminal that is gone is no reason to end.
        let _gone = write!(std::io::stderr(), "\r\x1b[K{text}");
    }
}

fn describe(name: &str, done: u64, total: Option<u64>, spent: Duration) -> String {
    let rate = done as f64 / spent.as_secs_f64();
    let mut text = format!("{name}: {}", size(done));
    if let Some(total) = total.filter(|total| *total >= done) {
        let left = ((total - done) as f64 / rate.max(1.0)).ceil() as u64;
        text += &format!(" of {}, {}%", size(total), done * 100 / total.max(1));
        text += &format!(", {}/s, {}:{:02} left", size(rate as u64), left / 60, left % 60);
    } else {
        text += &format!(", {}/s", size(rate as u64));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_rest_are_told() {
        let spent = Duration::from_secs(2);
        assert_eq!(
            describe("a", 100 << 20, Some(400 << 20), spent),
            "a: 100 MiB of 400 MiB, 25%, 50.0 MiB/s, 0:06 left"
        );
        assert_eq!(describe("-", 100 << 20, None, spent), "-: 100 MiB, 50.0 MiB/s");
    }
}
