//! Which snapshot the log stands on, where snapshots go, and what is kept without a log.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::{Cut, Persist, lock};
use crate::config::Settings;
use crate::server::promise::Promise;
use crate::units::Offset;

impl Persist {
    /// What recovery found base and segments to lead to; `in_log`: the segments end there. `sealed`: behind that place a
    /// failed fsync leaves them in doubt (rule 23).
    pub fn recovered(&mut self, to: Cut, in_log: bool, sealed: Option<Offset>) {
        self.promise = Promise::new(to, in_log);
        if let Some(from) = sealed {
            self.promise.log_ended(Some(to), from.min(to.offset));
            self.promise.log_was_sealed();
        }
        self.promise.ring_begins_at(self.ring.start());
    }

    /// Whether what is acknowledged is kept, as the settings have it: also while their log is on its way (rule 7). While one
    /// ends it is decided then what takes its place.
    pub fn keep(&mut self, settings: &Settings) {
        self.note_kept(settings.keeps());
        if settings.keeps() && !settings.appendonly && !self.is_ending() {
            self.go_on_without_aof();
        }
        if !settings.keeps() && self.serves_replicas() && !self.is_pinned() && !self.awaits_replicas() {
            self.end_log_soon(); // what it holds stays, as a state of the past
        }
    }

    /// A snapshot is to be taken now: base, segments and ring do not lead to the end of the stream any more, or only by bytes
    /// that a failed fsync did not save.
    pub fn base_is_due(&self) -> bool {
        let due = !self.promise.is_whole() || self.promise.is_in_doubt();
        due && self.promise.is_kept()
    }

    /// A base could not be written. If it is due, what is acknowledged from here on would be lost by a crash: writes are refused.
    pub fn base_failed(&mut self, why: &str) {
        if self.appendonly && self.base_is_due() {
            self.base_failed = Some(why.to_string());
            (self.waker)();
        }
    }

    /// Only a snapshot beside the log holds what it stands on (also where the history begins with another server's
    /// snapshot): whoever else loads the log would load it alone.
    pub fn stands_elsewhere(&self) -> bool {
        if !self.lacks_base() {
            return false;
        }
        let first = lock(&self.files.segments).manifest().incrs.first().and_then(|first| first.start_offset);
        let beside =
            |first: Offset| lock(&self.files.history).get().bases.iter().any(|base| base.cut <= first);
        first.is_some_and(|first| first > Offset::ZERO || beside(first))
    }

    /// A base is in force that holds the state at `cut`: `dump.rdb`, or the log's own.
    pub fn base_written(&mut self, cut: Cut, in_log: bool) {
        let was_broken = self.promise.broken_at().is_some();
        if self.present_log().is_some() {
            self.promise.base_placed_under_log(cut);
            self.base_placed_before_log(cut);
        } else if !in_log {
            self.base_placed(cut);
        }
        let mends = !self.base_is_due() && self.base_failed.take().is_some();
        if mends || was_broken && self.promise.broken_at().is_none() {
            (self.waker)();
        }
    }

    /// The same, where no log runs.
    pub(super) fn base_placed(&mut self, cut: Cut) {
        if self.promise.snapshot_placed(cut, self.ring.start()) {
            self.drop_segments();
        }
    }

    /// Only we can load the log: it goes on from a snapshot beside it.
    fn lacks_base(&self) -> bool {
        let segments = lock(&self.files.segments);
        segments.manifest().base.is_none() && !segments.manifest().incrs.is_empty()
    }

    /// Looks at the lengths of the files anew: a few system calls, no wait for the disk.
    pub fn measure_log(&self) {
        self.log_rewritten(lock(&self.files.segments).closed_len());
    }

    /// A rewrite has ended: the log's files but the newest segment are so long now.
    pub fn log_rewritten(&self, closed_len: u64) {
        self.log_closed_len.store(closed_len, Ordering::Relaxed);
    }

    /// CONFIG SET dir or dbfilename has pointed snapshots elsewhere: they are exports (rule 26). By where they go, not by whether
    /// anything was set: back in its place a snapshot is a base again, as an export there would pass for an
    /// operator's restore.
    pub fn exports(&self, settings: &Settings) -> bool {
        let own = &self.files.paths;
        let same_dir = settings.dir == own.data
            || match (settings.dir.metadata(), own.data.metadata()) {
                (Ok(there), Ok(here)) => (there.dev(), there.ino()) == (here.dev(), here.ino()),
                _ => false,
            };
        !same_dir || settings.dbfilename != own.snapshot
    }

    /// Where an export goes and under which temporary name it is written.
    pub fn export_paths(&self, settings: &Settings) -> (PathBuf, PathBuf) {
        let temporary = settings.dir.join(format!("temp-{}.rdb", std::process::id()));
        (settings.dir.join(&settings.dbfilename), temporary)
    }

    /// Where the snapshot goes and under which temporary name it is written.
    pub fn snapshot_paths(&self) -> (PathBuf, PathBuf) {
        let target = self.files.paths.snapshot();
        let temporary = self.files.paths.data.join(format!("temp-{}.rdb", std::process::id()));
        (target, temporary)
    }
}
