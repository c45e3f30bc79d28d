//! What happens by itself: expiry, save points, automatic rewrites, time-outs.
//!
//! [`Node::handle_tick`] is called `hz` times a second. Each call does a bounded amount of work.

use super::node::{Action, Clock, Node};
use crate::resp::args::OwnedArgs;
use crate::store::Expiry;
use crate::store::partitions::Item;

/// Partitions looked at per database and tick: with about 256 keys each, a sweep of ten million keys takes a second
/// at ten ticks a second.
const SWEEP: usize = 4096;
/// Keys deleted per database and tick, so that a million keys due at once do not stop the server.
const EXPIRE_MOST: usize = 10_000;

/// How long an idle client keeps its input buffer, in milliseconds.
const BUFFER_KEPT_MS: i64 = 2000;

impl Node {
    pub fn handle_tick(&mut self, clock: &mut dyn Clock) {
        let started = self.see_time(clock.unix_micros());
        if self.server.cron_paused {
            return self.handle_deadlines(clock);
        }
        let now = self.now_ms();
        if self.silent && now >= self.silent_until_ms {
            self.silent = false;
        }
        if self.may_expire() {
            self.sweep_expired(clock);
            let swept = self.see_time(clock.unix_micros());
            self.server.stats.expire_micros += (swept - started).unsigned_abs();
        }
        self.handle_deadlines(clock);
        self.give_up_waiting();
        self.server.sample(now);
        self.close_idle(now);
        self.check_buffers(now);
        self.start_due_work(now);
        self.server.history.end = self.stream.end;
        let finished = self.see_time(clock.unix_micros());
        self.server.stats.turn(finished - started);
    }

    fn may_expire(&self) -> bool {
        self.server.active_expire
            && !self.silent
            && self.server.persistence.loading.is_none()
            && self.server.persistence.failed.is_none()
            && self.server.pause.is_none()
    }

    /// Deletes keys whose deadline has passed; each is a unit of its own in the stream.
    fn sweep_expired(&mut self, clock: &mut dyn Clock) {
        let now = self.now_ms();
        for index in 0..self.store.dbs.len() {
            let database = &mut self.store.dbs[index];
            if database.volatile == 0 {
                continue;
            }
            let from = database.expire_cursor;
            let mut due = Vec::new();
            let next = database.entries.visit_due(from, SWEEP, now, |entry| {
                if due.len() < EXPIRE_MOST {
                    due.push(entry.key().to_vec());
                }
            });
            let complete = due.len() < EXPIRE_MOST;
            self.server.stats.expire_capped += u64::from(!complete);
            for key in due {
                self.store.db(index, now, Expiry::Delete, 0).expire(&key);
                self.collect_expired();
                self.stream.close_unit(true);
            }
            if complete {
                let database = &mut self.store.dbs[index];
                database.entries.refresh_due(from, SWEEP, now);
                database.expire_cursor = next;
            }
        }
        self.after_unit(clock);
    }

    /// Wakes clients that hold memory: idle ones give their input buffer back when they are woken without input,
    /// those above the soft limit of output are judged by it.
    fn check_buffers(&mut self, now: i64) {
        for (slot, session) in self.server.sessions.iter() {
            let empty = session.query_len == 0 && session.query_buffer > 0;
            let idle = empty && now - session.last_active_ms > BUFFER_KEPT_MS;
            if idle || session.over_soft_since_ms.is_some() {
                self.server.woken.push(slot);
            }
        }
    }

    fn close_idle(&mut self, now: i64) {
        let limit = i64::from(self.server.config.settings.timeout) * 1000;
        if limit == 0 {
            return;
        }
        for (slot, session) in self.server.sessions.iter() {
            let exempt = session.blocked.is_some() || session.subscriptions() > 0 || session.monitor;
            if !exempt && now - session.last_active_ms > limit {
                self.actions.push_back(Action::Close(slot));
            }
        }
    }

    fn start_due_work(&mut self, now: i64) {
        let persistence = &self.server.persistence;
        if persistence.loading.is_some() || persistence.saving || persistence.rewriting {
            return;
        }
        let settings = &self.server.config.settings;
        let rewrite = persistence.rewrite_scheduled
            || (persistence.aof_enabled
                && super::cron::log_has_grown(
                    persistence.aof_current_size,
                    persistence.aof_base_size,
                    settings.auto_aof_rewrite_percentage,
                    settings.auto_aof_rewrite_min_size,
                ));
        if rewrite && persistence.failed.is_none() && now >= persistence.retry_rewrite_at_ms {
            self.actions.push_back(Action::AutoRewrite);
            return;
        }
        let since = now / 1000 - persistence.last_save_time;
        let retry_ok = persistence.last_save_ok || now >= persistence.retry_save_at_ms;
        let due = |seconds: u64, changes: u64| persistence.dirty >= changes && since > seconds as i64;
        let save = persistence.save_scheduled
            || (retry_ok && settings.save.0.iter().any(|point| due(point.seconds, point.changes)));
        if save {
            self.actions.push_back(Action::AutoSave);
        }
    }

    /// Appends a command of our own making (no client's) as a unit.
    pub fn emit(&mut self, db: u32, words: &[&[u8]]) {
        self.stream.op(db, OwnedArgs::from_slices(words).as_args(), None);
        self.stream.close_unit(true);
        self.server.history.end = self.stream.end;
    }
}

/// The auto-aof-rewrite rule: the log is at least `min_size` bytes and has grown by `percentage` since the last
/// base.
pub fn log_has_grown(current: u64, base: u64, percentage: u32, min_size: u64) -> bool {
    if percentage == 0 || current < min_size.max(1) {
        return false;
    }
    let base = base.max(1);
    current.saturating_sub(base).saturating_mul(100) / base >= u64::from(percentage)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rewrite_rule() {
        let check = |current, base, percentage, expected| {
            assert_eq!(log_has_grown(current, base, percentage, 1000), expected, "{current} {base}");
        };
        check(999, 0, 100, false);
        check(1000, 0, 100, true);
        check(1999, 1000, 100, false);
        check(2000, 1000, 100, true);
        check(5000, 1000, 0, false);
    }
}
