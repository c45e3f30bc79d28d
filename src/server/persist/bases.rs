//! Which snapshot the log stands on, where snapshots go, and what is kept without a log.

use std::path::PathBuf;

use super::{Cut, Persist, lock};
use crate::config::Settings;
use crate::log::thread::LogThread;
use crate::log::writer::{Options, Policy};
use crate::server::logging::warning;
use crate::server::promise::Promise;

impl Persist {
    /// What recovery found base and segments to lead to; `in_log`: the segments end there.
    pub fn recovered(&mut self, to: Cut, in_log: bool) {
        self.promise = Promise::new(to, in_log);
        self.promise.ring_begins_at(self.ring.start());
    }

    /// Save points: whether what is acknowledged is kept without `appendonly` too (rule 7). `true`: a snapshot is to be taken now,
    /// as base, segments and ring do not lead to the end of the stream any more, or only by bytes that a failed fsync did
    /// not save.
    pub fn keep(&mut self, kept: bool) -> bool {
        self.promise.keep(kept || self.appendonly);
        if !kept || self.appendonly {
            return false;
        }
        if self.promise.is_whole() {
            self.go_on_for_replicas();
            return self.promise.is_in_doubt();
        }
        if self.sender.is_none() {
            let options = Options { policy: Policy::Spill, ..self.options_off() };
            if let Err(why) = self.start_log(LogThread::start_soon, options, self.cut()) {
                warning!("Cannot write the stream to segments: {why}");
            }
        }
        true
    }

    /// The segments reach further back than the ring: the log goes on where they end, as only a log that runs gives them to
    /// replicas and keeps them while these need them. The ring would overrun that place sooner or later anyway.
    fn go_on_for_replicas(&mut self) {
        let sealed = || lock(&self.files.history).get().sealed.is_some();
        let goes_on = self.sender.is_none() && self.promise.is_in_log() && self.spill_failure.is_none();
        if !goes_on || self.promise.is_in_doubt() || self.log_reaches_beyond_ring().is_none() || sealed() {
            return;
        }
        let options = Options { policy: Policy::Spill, ..self.options_off() };
        if let Err(why) = self.start_log(LogThread::start, options, self.promise.to()) {
            warning!("Cannot write the stream to segments for replicas: {why}");
        }
    }

    /// A base is in force that holds the state at `cut`: `dump.rdb`, or the log's own.
    pub fn base_written(&mut self, cut: Cut, in_log: bool) {
        if self.sender.is_some() {
            self.promise.base_placed_under_log(cut);
        } else if !in_log && self.promise.snapshot_placed(cut, self.ring.start()) {
            self.drop_segments();
        }
    }

    /// Only we can load the log: it goes on from a snapshot beside it.
    pub fn lacks_base(&self) -> bool {
        let segments = lock(&self.files.segments);
        segments.manifest().base.is_none() && !segments.manifest().incrs.is_empty()
    }

    /// Looks at the lengths of the files anew: a few system calls, no wait for the disk.
    pub fn measure_log(&mut self) {
        self.log_closed_len = lock(&self.files.segments).closed_len();
    }

    /// A rewrite has ended: the log's files but the newest segment are so long now.
    pub fn log_rewritten(&mut self, closed_len: u64) {
        self.log_closed_len = closed_len;
    }

    /// CONFIG SET dir or dbfilename has pointed snapshots elsewhere: they are exports (rule 26). By where they go, not by whether
    /// anything was set: back in its place a snapshot is a base again, as an export there would pass for an
    /// operator's restore.
    pub fn exports(&self, settings: &Settings) -> bool {
        let own = &self.files.paths;
        let same_dir = settings.dir == own.data
            || match (settings.dir.canonicalize(), own.data.canonicalize()) {
                (Ok(there), Ok(here)) => there == here,
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
