//! What happens to the server's books around each command.

use super::Server;
use super::session::{ReplyMode, Slot};
use super::stats::{CommandStats, Slow};
use crate::commands::{Command, Flags, Request};
use crate::config::MaxmemoryPolicy;
use crate::resp::args::Args;
use crate::resp::reply::Reply;
use crate::store::{Changes, Event, Events};

/// Arguments of a slow command that are kept, and bytes of each.
const SLOW_ARGS: usize = 32;
const SLOW_ARG_BYTES: usize = 128;

impl Server {
    /// A client's bytes are about to be executed.
    pub fn begin_batch(&mut self, slot: Slot, now_ms: i64, _bytes: usize) {
        if let Some(session) = self.sessions.get_mut(slot) {
            session.last_active_ms = now_ms;
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

    /// Counts a finished command, and notes it if it was slow.
    pub fn account(&mut self, slot: Slot, command: &Command, args: Args<'_>, now_micros: i64, micros: i64) {
        self.stats.commands_processed += 1;
        if self.stats.commands.len() <= command.id {
            self.stats.commands.resize(crate::commands::table::count(), CommandStats::default());
        }
        let stats = &mut self.stats.commands[command.id];
        stats.calls += 1;
        stats.micros += micros as u64;
        if let Some(session) = self.sessions.get_mut(slot) {
            session.commands += 1;
        }
        let threshold = self.config.settings.slowlog_log_slower_than;
        if threshold >= 0 && micros >= threshold && !command.flags.contains(Flags::SKIP_SLOWLOG) {
            self.note_slow(slot, args, now_micros, micros);
        }
    }

    fn note_slow(&mut self, slot: Slot, args: Args<'_>, now_micros: i64, micros: i64) {
        let most = self.config.settings.slowlog_max_len as usize;
        let Some(session) = self.sessions.get(slot) else { return };
        let id = self.slowlog.next_id;
        self.slowlog.next_id += 1;
        let slow = Slow {
            id,
            at: now_micros / 1_000_000,
            micros,
            args: trimmed(args),
            addr: session.addr.clone(),
            name: session.name.clone(),
        };
        self.slowlog.entries.push_front(slow);
        self.slowlog.entries.truncate(most);
    }

    /// Ends all WATCHes of a session.
    pub fn unwatch(&mut self, changes: &mut Changes, slot: Slot) {
        let Some(session) = self.sessions.get_mut(slot) else { return };
        session.watch_broken = false;
        for (db, key) in std::mem::take(&mut session.watched) {
            self.watchers.remove(db, &key, slot);
            changes.unwatch(db, &key);
        }
    }

    /// A watched key was touched: the transactions of those who watch it will not run.
    pub fn break_watches(&mut self, id: &(u32, Vec<u8>)) {
        for slot in self.watchers.of(id) {
            if let Some(session) = self.sessions.get_mut(*slot) {
                session.watch_broken = true;
            }
        }
    }

    /// Removes every trace of a session outside of itself.
    pub fn forget_client(&mut self, changes: &mut Changes, slot: Slot) {
        self.unwatch(changes, slot);
        self.pubsub.forget(&mut self.sessions, slot);
        self.monitors.retain(|other| *other != slot);
    }

    /// BGSAVE or BGREWRITEAOF that must wait: started by the cron.
    pub fn schedule(&mut self, request: &Request) {
        match request {
            Request::BgSave { .. } => self.persistence.save_scheduled = true,
            Request::BgRewriteAof => self.persistence.rewrite_scheduled = true,
            _ => {}
        }
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

    /// Shows a command to those in MONITOR.
    pub fn feed_monitors(&mut self, slot: Slot, command: &Command, args: Args<'_>, now_micros: i64) {
        if command.flags.intersects(Flags::SKIP_MONITOR | Flags::ADMIN) {
            return;
        }
        let Some(session) = self.sessions.get(slot) else { return };
        let mut line = format!(
            "{}.{:06} [{} {}]",
            now_micros / 1_000_000,
            now_micros % 1_000_000,
            session.db,
            if session.unix_socket { "unix:".to_string() + &session.addr } else { session.addr.clone() }
        );
        for arg in args.iter() {
            line.push(' ');
            quote(arg, &mut line);
        }
        for monitor in self.monitors.clone() {
            if let Some(session) = self.sessions.get_mut(monitor) {
                Reply::new(&mut session.out, session.proto).simple(&line);
                self.woken.push(monitor);
            }
        }
    }
}

fn trimmed(args: Args<'_>) -> Vec<Vec<u8>> {
    let keep = if args.len() > SLOW_ARGS { SLOW_ARGS - 1 } else { args.len() };
    let mut list: Vec<Vec<u8>> = Vec::with_capacity(SLOW_ARGS);
    for arg in args.head(keep).iter() {
        if arg.len() > SLOW_ARG_BYTES {
            let mut cut = arg[..SLOW_ARG_BYTES].to_vec();
            cut.extend_from_slice(format!("... ({} more bytes)", arg.len() - SLOW_ARG_BYTES).as_bytes());
            list.push(cut);
        } else {
            list.push(arg.to_vec());
        }
    }
    if args.len() > keep {
        list.push(format!("... ({} more arguments)", args.len() - keep).into_bytes());
    }
    list
}

/// Appends `bytes` in double quotes with escapes, as Redis prints arguments.
pub fn quote(bytes: &[u8], into: &mut String) {
    into.push('"');
    for byte in bytes {
        match byte {
            b'"' | b'\\' => {
                into.push('\\');
                into.push(char::from(*byte));
            }
            b'\n' => into.push_str("\\n"),
            b'\r' => into.push_str("\\r"),
            b'\t' => into.push_str("\\t"),
            7 => into.push_str("\\a"),
            8 => into.push_str("\\b"),
            0x20..=0x7e => into.push(char::from(*byte)),
            other => into.push_str(&format!("\\x{other:02x}")),
        }
    }
    into.push('"');
}
