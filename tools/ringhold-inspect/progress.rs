//! How much of the file is read, how fast, how long it still takes: in the line on the terminal.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use ringhold::inspect::input::Watch;
use ringhold::inspect::status_line::{StatusLine, bar};
use ringhold::inspect::text::{shortened, size};

/// `None` where standard error is no terminal.
pub fn watch() -> Watch {
    let state = RefCell::new((StatusLine::on_terminal()?, PathBuf::new()));
    Some(Rc::new(move |file: &Path, done: u64, total: Option<u64>| {
        let (line, shown) = &mut *state.borrow_mut();
        if shown != file {
            *shown = file.to_path_buf();
            line.begin();
        }
        line.show(|spent| {
            let name = shortened(file.file_name().unwrap_or(file.as_os_str()).as_encoded_bytes(), 30);
            describe(&name, done, total, spent)
        });
    }))
}

/// Wipes the line.
pub fn clear(watch: &Watch) {
    if watch.is_some() {
        StatusLine::wipe();
    }
}

fn describe(name: &str, done: u64, total: Option<u64>, spent: Duration) -> String {
    let rate = size((done as f64 / spent.as_secs_f64()) as u64);
    match total.filter(|total| *total >= done) {
        Some(total) => {
            let share = done as f64 / total.max(1) as f64;
            format!("{name}: {} of {}, {rate}/s {}", size(done), size(total), bar(share, spent))
        }
        None => format!("{name}: {}, {rate}/s", size(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rate_and_rest_are_told() {
        let spent = Duration::from_secs(2);
        assert_eq!(
            describe("a", 100 << 20, Some(400 << 20), spent),
            "a: 100 MiB of 400 MiB, 50.0 MiB/s [#####               ] 25%, 0:06 left"
        );
        assert_eq!(describe("-", 100 << 20, None, spent), "-: 100 MiB, 50.0 MiB/s");
    }
}
