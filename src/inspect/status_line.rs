//! One line on the terminal that tells how far long work has come: redrawn at most ten times a second, shown only for work
//! of more than half a second, wiped when the work is done. The programs beside the server share it.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_millis(500);
const REDRAW: Duration = Duration::from_millis(100);
/// Places in a bar.
const PLACES: usize = 20;

/// The line, on standard error.
pub struct StatusLine {
    began: Instant,
    drawn: Instant,
}

impl StatusLine {
    /// `None`: standard error is no terminal.
    pub fn on_terminal() -> Option<StatusLine> {
        let now = Instant::now();
        std::io::stderr().is_terminal().then_some(StatusLine { began: now, drawn: now })
    }

    /// Other work begins.
    pub fn begin(&mut self) {
        self.began = Instant::now();
    }

    /// Draws `text`, which is told how long the work has taken so far, if it is time to.
    pub fn show(&mut self, text: impl FnOnce(Duration) -> String) {
        let now = Instant::now();
        let spent = now - self.began;
        if spent < PATIENCE || now - self.drawn < REDRAW {
            return;
        }
        self.drawn = now;
        // A terminal that is gone is no reason to end.
        let _gone = write!(std::io::stderr(), "\r\x1b[K{}", text(spent));
    }

    /// Removes the line.
    pub fn wipe() {
        let _gone = write!(std::io::stderr(), "\r\x1b[K");
    }
}

/// A bar and what is left to wait, for work of which this share (0 to 1) is done: `[#####               ] 25%, 0:06 left`.
pub fn bar(share: f64, spent: Duration) -> String {
    let share = share.clamp(0.0, 1.0);
    let full = (share * PLACES as f64) as usize;
    let mut text = format!("[{}{}] {}%", "#".repeat(full), " ".repeat(PLACES - full), (share * 100.0) as u64);
    if share > 0.0 {
        let left = (spent.as_secs_f64() * (1.0 - share) / share).ceil() as u64;
        text += &format!(", {}:{:02} left", left / 60, left % 60);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_tells_share_and_rest() {
        let spent = Duration::from_secs(2);
        assert_eq!(bar(0.25, spent), "[#####               ] 25%, 0:06 left");
        assert_eq!(bar(0.0, spent), "[                    ] 0%");
        assert_eq!(bar(7.0, spent), "[####################] 100%, 0:00 left");
    }
}
