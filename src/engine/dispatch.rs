//! From parsed bytes to an executed command: one visible order of gates.
//!
//! ```text
//! known? → arity? → authenticated? → MULTI queue → loading? → disk failure? → memory? → subscriber in RESP2? → paused? → execute
//! ```
//!
//! A refused command inside MULTI spoils the transaction, as in Redis.

use super::input::Input;
use super::node::{Clock, Node};
use crate::commands::{Command, Flags, find};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::parse::Limits;
use crate::resp::reply::{Protocol, Reply};
use crate::state::session::{ReplyMode, Slot};

impl Node {
    pub(super) fn run_input(&mut self, slot: Slot, input: &mut Input, clock: &mut dyn Clock) -> usize {
        let max_bulk = self.server.config.settings.proto_max_bulk_len;
        let start = self.see_time(clock.unix_micros());
        self.server.begin_batch(slot, start / 1000, input.len());
        loop {
            let Some(session) = self.server.sessions.get(slot) else { return 0 };
            if session.blocked.is_some() || session.close_after_reply || session.closing {
                return 0;
            }
            let limits = Limits { max_bulk, authenticated: session.authenticated };
            let step = match input.advance(&limits) {
                Ok(Ok(step)) => step,
                Ok(Err(hint)) => return hint,
                Err(error) => {
                    self.reply_to(slot, |out| out.error(&error.into()));
                    if let Some(session) = self.server.sessions.get_mut(slot) {
                        session.close_after_reply = true;
                    }
                    return 0;
                }
            };
            let taken = input.taken(&step);
            self.dispatch(slot, taken.args, taken.canonical, clock);
        }
    }

    /// One command of a client: gates, then queue or execution. `canonical` are the client's own bytes where the
    /// stream may carry them.
    pub fn dispatch(&mut self, slot: Slot, args: Args<'_>, canonical: Option<&[u8]>, clock: &mut dyn Clock) {
        let command = match self.admit(slot, args) {
            Ok(Gate::Run(command)) => command,
            Ok(Gate::Queue(command)) => return self.queue(slot, command, args),
            Ok(Gate::Wait(command)) => return self.pause(slot, command, args),
            Err(error) => return self.refuse(slot, &error),
        };
        self.server.take_reply_mode(slot);
        self.execute(slot, command, args, canonical, clock);
    }

    fn refuse(&mut self, slot: Slot, error: &ReplyError) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        if let Some(multi) = &mut session.multi {
            multi.aborted = true;
        }
        let silent = !matches!(session.reply_mode, ReplyMode::On);
        if !silent {
            Reply::new(&mut session.out, session.proto).error(error);
        }
        self.server.stats.error(error);
        self.server.take_reply_mode(slot);
    }

    /// The gates, in order.
    fn admit(&mut self, slot: Slot, args: Args<'_>) -> Result<Gate, ReplyError> {
        let command = lookup(args)?;
        if !command.arity_fits(args.len()) {
            return Err(ReplyError::wrong_arity(command.name));
        }
        let Some(session) = self.server.sessions.get(slot) else {
            return Err(ReplyError::new("ERR client is gone"));
        };
        let flags = command.flags;
        if !session.authenticated && !flags.contains(Flags::NO_AUTH) {
            return Err(ReplyError::new("NOAUTH Authentication required."));
        }
        let in_multi = session.multi.is_some();
        if in_multi && flags.contains(Flags::NO_MULTI) {
            return Err(ReplyError::new("ERR Command not allowed inside a transaction"));
        }
        if flags.contains(Flags::DENYOOM) && self.server.over_memory() {
            return Err(ReplyError::new("OOM command not allowed when used memory > 'maxmemory'."));
        }
        if command.is_write() {
            self.admit_write()?;
        }
        if session.proto == Protocol::Resp2
            && session.subscriptions() > 0
            && !allowed_while_subscribed(command)
        {
            return Err(ReplyError::from(format!(
                "ERR Can't execute '{}': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are allowed in this context",
                command.name
            )));
        }
        if self.server.persistence.loading.is_some() && !flags.contains(Flags::LOADING) {
            return Err(ReplyError::new("LOADING Redis is loading the dataset in memory"));
        }
        if in_multi && !runs_inside_multi(command) {
            return Ok(Gate::Queue(command));
        }
        if self.is_paused(command, slot) {
            return Ok(Gate::Wait(command));
        }
        Ok(Gate::Run(command))
    }

    /// Whether writes may be accepted at all: after a failed save (if so configured) or a failed log they may not.
    pub(super) fn admit_write(&self) -> Result<(), ReplyError> {
        let persistence = &self.server.persistence;
        if let Some(why) = &persistence.failed {
            return Err(ReplyError::from(format!("MISCONF Errors writing to the AOF file: {why}")));
        }
        let settings = &self.server.config.settings;
        if settings.stop_writes_on_bgsave_error && !settings.save.0.is_empty() && !persistence.last_save_ok {
            return Err(ReplyError::new(
                "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk. Commands that may modify the data set are disabled, because this instance is configured to report errors during writes if RDB snapshotting fails (stop-writes-on-bgsave-error option). Please check the Redis logs for details about the RDB error.",
            ));
        }
        Ok(())
    }
}

enum Gate {
    Run(&'static Command),
    Queue(&'static Command),
    /// CLIENT PAUSE: try again when it ends.
    Wait(&'static Command),
}

/// The row for `args`, subcommands resolved.
pub fn lookup(args: Args<'_>) -> Result<&'static Command, ReplyError> {
    let Some(command) = find(args.name()) else { return Err(unknown(args)) };
    if command.subcommands.is_empty() {
        return Ok(command);
    }
    match args.get(1) {
        None => Ok(command),
        Some(name) => command.subcommand(name).ok_or_else(|| {
            ReplyError::from(format!(
                "ERR unknown subcommand '{}'. Try {} HELP.",
                String::from_utf8_lossy(&name[..name.len().min(128)]),
                command.name.to_ascii_uppercase()
            ))
        }),
    }
}

fn unknown(args: Args<'_>) -> ReplyError {
    let mut list = String::new();
    for arg in args.tail(1).iter() {
        if list.len() >= 128 {
            break;
        }
        let room = 128 - list.len();
        list.push_str(&format!("'{}' ", String::from_utf8_lossy(&arg[..arg.len().min(room)])));
    }
    let name = args.name();
    let name = String::from_utf8_lossy(&name[..name.len().min(128)]);
    ReplyError::from(format!("ERR unknown command '{name}', with args beginning with: {list}"))
}

fn runs_inside_multi(command: &Command) -> bool {
    matches!(command.name, "exec" | "discard" | "multi" | "watch" | "quit" | "reset")
}

fn allowed_while_subscribed(command: &Command) -> bool {
    matches!(
        command.name,
        "ping"
            | "subscribe"
            | "unsubscribe"
            | "psubscribe"
            | "punsubscribe"
            | "ssubscribe"
            | "sunsubscribe"
            | "quit"
            | "reset"
    )
}
