//! What happens to the server's books around each command: counts, the slow log, monitors.

use crate::commands::{Command, Flags, Request, table};
use crate::resp::args::Args;
use crate::resp::reply::Reply;
use crate::state::stats::{CommandStats, Slow};
use crate::state::{Server, Slot};

/// Arguments of a slow command that are kept, and bytes of each.
const SLOW_ARGS: usize = 32;
const SLOW_ARG_BYTES: usize = 128;
/// What is shown of passwords.
const REDACTED: &[u8] = b"(redacted)";

impl Server {
    /// Counts a finished command, and notes it if it was slow.
    pub fn account(
        &mut self,
        slot: Slot,
        command: &Command,
        args: Args<'_>,
        now_micros: i64,
        micros: i64,
        failed: bool,
    ) {
        self.stats.commands_processed += 1;
        let tracks = self.config.settings.latency_tracking;
        let stats = self.stats_of(command);
        stats.calls += 1;
        stats.micros += micros as u64;
        stats.failed += u64::from(failed);
        if tracks {
            stats.latency.get_or_insert_default().add(micros as u64);
        }
        if let Some(session) = self.sessions.get_mut(slot) {
            session.commands += 1;
        }
        let settings = &self.config.settings;
        let ms = micros as u64 / 1000;
        if settings.latency_monitor_threshold > 0 && ms >= settings.latency_monitor_threshold {
            let fast = command.flags.contains(Flags::FAST);
            self.latency.add(if fast { "fast-command" } else { "command" }, now_micros / 1_000_000, ms);
        }
        let threshold = settings.slowlog_log_slower_than;
        if threshold >= 0 && micros >= threshold && !command.flags.contains(Flags::SKIP_SLOWLOG) {
            self.note_slow(slot, args, now_micros, micros);
        }
    }

    /// The counters of a command's row.
    pub fn stats_of(&mut self, command: &Command) -> &mut CommandStats {
        if self.stats.commands.len() <= command.id {
            self.stats.commands.resize(table::count(), CommandStats::default());
        }
        &mut self.stats.commands[command.id]
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
            args: trimmed(args, &self.redacted),
            addr: session.addr.clone(),
            name: session.name.clone(),
        };
        self.slowlog.entries.push_front(slow);
        self.slowlog.entries.truncate(most);
    }

    /// BGSAVE or BGREWRITEAOF that must wait: started by the cron.
    pub fn schedule(&mut self, request: &Request) {
        match request {
            Request::BgSave { .. } => self.persistence.save_scheduled = true,
            Request::BgRewriteAof => self.persistence.rewrite_scheduled = true,
            _ => {}
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
        for (i, arg) in args.iter().enumerate() {
            line.push(' ');
            quote(if self.redacted.contains(&i) { REDACTED } else { arg }, &mut line);
        }
        for monitor in self.monitors.clone() {
            if let Some(session) = self.sessions.get_mut(monitor) {
                Reply::new(&mut session.out, session.proto).simple(&line);
                self.woken.push(monitor);
            }
        }
    }
}

fn trimmed(args: Args<'_>, redacted: &[usize]) -> Vec<Vec<u8>> {
    let keep = if args.len() > SLOW_ARGS { SLOW_ARGS - 1 } else { args.len() };
    let mut list: Vec<Vec<u8>> = Vec::with_capacity(SLOW_ARGS);
    for (i, arg) in args.head(keep).iter().enumerate() {
        if redacted.contains(&i) {
            list.push(REDACTED.to_vec());
        } else if arg.len() > SLOW_ARG_BYTES {
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
