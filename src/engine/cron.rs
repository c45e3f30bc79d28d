//! What happens by itself: expiry, save points, automatic rewrites, time-outs.
//!
//! [`Node::handle_tick`] is called `hz` times a second. Each call does a bounded amount of work.

use super::node::{Action, Clock, Node};
use crate::config::ClientMemory;
use crate::planted::{Bug, planted};
use crate::resp::args::OwnedArgs;
use crate::state::{Session, Slot};
use crate::store::Expiry;
use crate::store::partitions::Item;

/// Partitions looked at per database and tick, times `active-expire-effort`: with about 256 keys each, a sweep of ten
/// million keys takes a second at ten ticks a second.
const SWEEP: usize = 4096;
/// Keys deleted per database and tick, times `active-expire-effort`, so that a million keys due at once do not stop
/// the server.
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
        self.silence.take_if(|silence| now >= silence.until_ms);
        if self.may_expire() {
            self.sweep_expired(clock);
            let swept = self.see_time(clock.unix_micros());
            self.server.stats.expire_micros += (swept - started).unsigned_abs();
        }
        if self.server.active_expire && !self.server.strays.deadlines.is_empty() {
            self.expire_strays(now);
        }
        self.handle_deadlines(clock);
        self.give_up_waiting();
        self.server.sample(now);
        self.close_idle(now);
        self.tend_replicas(now);
        self.check_buffers(now);
        self.evict_clients();
        self.start_due_work(now);
        let finished = self.see_time(clock.unix_micros());
        self.server.stats.turn(finished - started);
        self.server.stats.cron_micros += (finished - started).unsigned_abs();
    }

    fn may_expire(&self) -> bool {
        self.server.active_expire
            && self.silence.is_none()
            && (!self.is_replica() || planted(Bug::ReplicaExpiry))
            && self.server.persistence.loading.is_none()
            && self.server.persistence.failed.is_none()
            && self.server.pause.is_none()
    }

    /// Deletes keys whose deadline has passed; each is a unit of its own in the stream.
    fn sweep_expired(&mut self, clock: &mut dyn Clock) {
        let now = self.now_ms();
        let effort = self.server.config.settings.active_expire_effort as usize;
        let (sweep, most) = (SWEEP * effort, EXPIRE_MOST * effort);
        for index in 0..self.store.dbs.len() {
            let database = &mut self.store.dbs[index];
            if database.volatile == 0 {
                continue;
            }
            let from = database.expire_cursor;
            let mut due = Vec::new();
            let next = database.entries.visit_due(from, sweep, now, |entry| {
                if due.len() < most {
                    due.push(entry.key().to_vec());
                }
            });
            let complete = due.len() < most;
            self.server.stats.expire_capped += u64::from(!complete);
            for key in due {
                self.store.db(index, now, Expiry::Delete, 0).expire(&key);
                self.collect_expired(true);
            }
            if complete {
                let database = &mut self.store.dbs[index];
                database.entries.refresh_due(from, sweep, now);
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
            if empty && has_rested(session, now) || session.over_soft_since_ms.is_some() {
                self.server.woken.push(slot);
            }
        }
    }

    /// `maxmemory-clients`: closes the clients that cost most until the rest fit. Those with CLIENT NO-EVICT count, but
    /// stay.
    fn evict_clients(&mut self) {
        let settings = &self.server.config.settings;
        let limit = match settings.maxmemory_clients {
            ClientMemory::Bytes(bytes) => bytes,
            ClientMemory::Percent(share) => (settings.maxmemory as u128 * u128::from(share) / 100) as u64,
        };
        if limit == 0 {
            return;
        }
        let cost = |session: &Session| session.heap_bytes() as u64;
        let sessions = || self.server.sessions.iter();
        let mut total: u64 = sessions().map(|(_, session)| cost(session)).sum();
        if total < limit {
            return;
        }
        let evictable = sessions().filter(|(_, session)| !session.no_evict);
        let mut costs: Vec<(u64, Slot)> = evictable.map(|(slot, session)| (cost(session), slot)).collect();
        costs.sort_unstable_by_key(|(cost, _)| std::cmp::Reverse(*cost));
        for (cost, slot) in costs {
            if total < limit {
                break;
            }
            total -= cost;
            self.server.stats.evicted_clients += 1;
            let addr = self.server.sessions.get(slot).map(|session| session.addr.clone()).unwrap_or_default();
            self.server.remark(format!("Evicting client {addr}: it costs {cost} bytes (maxmemory-clients)"));
            self.actions.push_back(Action::Close(slot));
        }
    }

    /// The client has sent nothing for so long that its input buffer is given back.
    pub fn is_idle(&self, slot: Slot) -> bool {
        self.server.sessions.get(slot).is_some_and(|session| has_rested(session, self.now_ms()))
    }

    fn close_idle(&mut self, now: i64) {
        let limit = i64::from(self.server.config.settings.timeout) * 1000;
        if limit == 0 {
            return;
        }
        for (slot, session) in self.server.sessions.iter() {
            let exempt = session.downstream().is_some()
                || session.upstream
                || session.blocked.is_some()
                || session.subscriptions() > 0
                || session.monitor;
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
        let has_grown = |base| {
            let (percentage, least) =
                (settings.auto_aof_rewrite_percentage, settings.auto_aof_rewrite_min_size);
            log_has_grown(persistence.aof_current_size, base, percentage, least)
        };
        let base_due = persistence.aof_enabled && persistence.base_due;
        let rewrite = persistence.rewrite_scheduled
            || base_due
            || persistence.aof_enabled && has_grown(persistence.aof_base_size);
        // Segments written in place of a log are shortened by a snapshot (rule 7).
        let spilled = !persistence.aof_enabled
            && !settings.save.0.is_empty()
            && has_grown(persistence.last_save_bytes.max(settings.auto_aof_rewrite_min_size));
        if persistence.latched {
            // The way back (rule 23), as often as a failure allows.
            if persistence.aof_enabled && now >= persistence.retry_rewrite_at_ms {
                self.actions.push_back(Action::AutoRewrite);
            } else if !persistence.aof_enabled && now >= persistence.retry_save_at_ms {
                self.actions.push_back(Action::AutoBase);
            }
            return;
        }
        if rewrite && (persistence.failed.is_none() || base_due) && now >= persistence.retry_rewrite_at_ms {
            self.actions.push_back(Action::AutoRewrite);
            return;
        }
        let since = now / 1000 - persistence.last_save_time;
        let retry_ok = persistence.last_save_ok || now >= persistence.retry_save_at_ms;
        let due = |seconds: u64, changes: u64| persistence.dirty >= changes && since > seconds as i64;
        if persistence.save_scheduled {
            self.actions.push_back(Action::AutoSave);
        } else if retry_ok && (spilled || persistence.base_due && !persistence.aof_enabled) {
            self.actions.push_back(Action::AutoBase);
        } else if retry_ok && settings.save.0.iter().any(|point| due(point.seconds, point.changes)) {
            self.actions.push_back(Action::AutoSave);
        }
    }

    /// Appends a command of our own making (no client's) as a unit.
    pub fn emit(&mut self, db: u32, words: &[&[u8]]) {
        self.stream.op(db, OwnedArgs::from_slices(words).as_args(), None);
        self.close_unit();
    }
}

fn has_rested(session: &Session, now: i64) -> bool {
    now - session.last_active_ms > BUFFER_KEPT_MS
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
    use crate::engine::testing::NodeBench;

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

    #[test]
    fn the_clients_that_cost_most_go_first() {
        let mut bench = NodeBench::default();
        let (small, large, kept) = (bench.connect(), bench.connect(), bench.connect());
        bench.send(kept, "CLIENT NO-EVICT on");
        for (slot, bytes) in [(small, 1000), (large, 50_000), (kept, 90_000)] {
            bench.node.server.sessions.get_mut(slot).expect("is there").output_buffer = bytes;
        }
        bench.set("maxmemory-clients", "200000");
        bench.pass(100);
        assert!(bench.actions().is_empty());
        bench.set("maxmemory", "1000000");
        bench.set("maxmemory-clients", "10%");
        bench.pass(100);
        assert!(matches!(bench.actions()[..], [Action::Close(slot)] if slot == large));
        assert_eq!(bench.node.server.stats.evicted_clients, 1);
    }
}
