//! What a session's comings and goings mean for the rest of the server.

use super::Server;
use super::session::{ReplyMode, Slot, Watched};
use crate::config::MaxmemoryPolicy;
use crate::store::{Changes, Event, Events};

impl Server {
    /// A client's bytes are about to be executed.
    pub fn begin_batch(&mut self, slot: Slot, now_ms: i64, bytes: usize) {
        if bytes > 0
            && let Some(session) = self.sessions.get_mut(slot)
        {
            session.last_active_ms = now_ms;
            // Also a bare newline, which is what a replica says while it loads.
            if session.downstream().is_some()
                && let Some(replica) = &mut session.replica
            {
                replica.ack_ms = now_ms;
            }
        }
    }

    /// Applies CLIENT REPLY SKIP: the command after it gets no reply.
    pub fn take_reply_mode(&mut self, slot: Slot) {
        if let Some(session) = self.sessions.get_mut(slot) {
            session.reply_mode = match session.reply_mode {
                ReplyMode::SkipNext => ReplyMode::Skip,
                ReplyMode::Skip => ReplyMode::On,
                other => other,
            };
        }
    }

    pub fn over_memory(&self) -> bool {
        let limit = self.config.settings.maxmemory;
        limit > 0 && self.process.used_memory > limit
    }

    /// What a read leaves on an entry: seconds for LRU, minutes and a counter for LFU.
    pub fn access_stamp(&self, now_ms: i64) -> u32 {
        match self.config.settings.maxmemory_policy {
            MaxmemoryPolicy::AllkeysLfu | MaxmemoryPolicy::VolatileLfu => {
                ((((now_ms / 60_000) & 0xffff) as u32) << 8) | 5
            }
            _ => (now_ms / 1000) as u32,
        }
    }

    /// Ends all WATCHes of a session.
    pub fn unwatch(&mut self, changes: &mut Changes, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.watch_broken = false;
        for Watched { db, key, .. } in std::mem::take(&mut session.watched) {
            self.watchers.remove(db, &key, slot);
            changes.unwatch(db, &key);
        }
    }

    /// A watched key was touched: the transactions of those who watch it will not run, unless it neither held a
    /// value when they began to watch nor does now (`is_live`).
    pub fn break_watches(&mut self, id: &(u32, Vec<u8>), is_live: bool) {
        for slot in self.watchers.of(id) {
            if let Some(session) = self.sessions.get_mut(*slot) {
                let watch = session.watched.iter().find(|watch| (watch.db, &watch.key) == (id.0, &id.1));
                session.watch_broken |= is_live || watch.is_some_and(|watch| watch.was_live);
            }
        }
    }

    /// Removes every trace of a session outside of itself.
    pub fn forget_client(&mut self, changes: &mut Changes, slot: Slot) {
        self.unwatch(changes, slot);
        self.pubsub.forget(&mut self.sessions, slot);
        self.monitors.retain(|other| *other != slot);
    }

    pub fn sample(&mut self, now_ms: i64) {
        self.stats.sample(now_ms);
    }

    /// Publishes to local subscribers.
    pub fn publish(&mut self, channel: &[u8], message: &[u8], shard: bool) -> usize {
        self.pubsub.publish(&mut self.sessions, &mut self.woken, channel, message, shard)
    }

    /// Keyspace notifications: `__keyspace@DB__:KEY` says the event, `__keyevent@DB__:EVENT` the key.
    pub fn publish_event(&mut self, event: &Event) {
        let wanted = self.config.settings.notify_keyspace_events;
        if wanted.contains(Events::KEYSPACE) {
            let mut channel = format!("__keyspace@{}__:", event.db).into_bytes();
            channel.extend_from_slice(&event.key);
            self.publish(&channel, event.name.as_bytes(), false);
        }
        if wanted.contains(Events::KEYEVENT) {
            let channel = format!("__keyevent@{}__:{}", event.db, event.name);
            self.publish(channel.as_bytes(), &event.key, false);
        }
    }
}
