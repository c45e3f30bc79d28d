//! From parsed bytes to an executed command: one visible order of gates.
//!
//! ```text
//! known? → arity? → protected? → authenticated? → allowed in MULTI? → memory? → disk failure? → replicas?
//!        → subscriber in RESP2? → loading? → monitor? → paused? → queue or execute
//! ```
//!
//! A refused command inside MULTI spoils the transaction, as in Redis; EXEC is judged by what is in its queue.

use super::input::Input;
use super::node::{Action, Clock, Node};
use crate::commands::renames::under_own_name;
use crate::commands::{Command, Flags, find};
use crate::error::ReplyError;
use crate::resp::args::Args;
use crate::resp::parse::Limits;
use crate::resp::reply::{Protocol, Reply};
use crate::state::session::{ReplyMode, Slot};
use crate::state::{LinkState, Upstream};

impl Node {
    pub(super) fn run_input(&mut self, slot: Slot, input: &mut Input, clock: &mut dyn Clock) -> usize {
        let max_bulk = self.server.config.settings.proto_max_bulk_len;
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
        self.server.take_reply_mode(slot);
        if is_http(args.name()) {
            return self.hang_up(slot);
        }
        match self.renames.of(args.name()) {
            None => self.judge(slot, args, canonical, clock),
            Some(None) => self.refuse(slot, None, &unknown(args)),
            Some(Some(command)) => self.judge(slot, under_own_name(args, command).as_args(), None, clock),
        }
    }

    /// [`Node::dispatch`] of a command under its own name.
    pub(super) fn judge(
        &mut self,
        slot: Slot,
        args: Args<'_>,
        canonical: Option<&[u8]>,
        clock: &mut dyn Clock,
    ) {
        let command = match lookup(args) {
            Ok(command) => command,
            Err(error) => return self.refuse(slot, None, &error),
        };
        if let Some(session) = self.server.sessions.get_mut(slot) {
            session.last_command = command.name;
        }
        match self.admit(slot, command, args) {
            Ok(Gate::Run) => self.execute(slot, command, args, canonical, clock),
            Ok(Gate::Queue) => self.queue(slot, command, args),
            Ok(Gate::Wait) => self.pause(slot, args),
            Err(error) => self.refuse(slot, Some(command), &error),
        }
    }

    /// Answers a refused command. It spoils the transaction it would have been queued for; EXEC ends its own.
    fn refuse(&mut self, slot: Slot, command: Option<&Command>, error: &ReplyError) {
        let Some(session) = self.server.sessions.get_mut(slot) else { return };
        if let Some(multi) = &mut session.multi {
            multi.aborted = true;
        }
        let ends = command.is_some_and(|command| command.name == "exec");
        let aborted = ends.then(|| {
            session.multi = None;
            let why = error.text();
            let why = why.strip_prefix("ERR ").unwrap_or(&why);
            ReplyError::from(format!("EXECABORT Transaction discarded because of: {why}"))
        });
        let error = aborted.as_ref().unwrap_or(error);
        let follows = session.downstream().is_some();
        if session.reply_mode == ReplyMode::On {
            Reply::new(&mut session.out, session.proto).error(error);
        }
        self.server.stats.error(error);
        if follows {
            let name = command.map_or("(unknown)", |command| command.name);
            self.cut_off_for_reply(slot, name, format!("-{error}").as_bytes());
        }
        if ends {
            self.server.unwatch(&mut self.store.changes, slot);
        }
        if let Some(command) = command {
            self.server.stats_of(command).rejected += 1;
        }
    }

    /// Closes the connection without a reply.
    fn hang_up(&mut self, slot: Slot) {
        if let Some(session) = self.server.sessions.get_mut(slot) {
            session.closing = true;
        }
        self.actions.push_back(Action::Suspicious(slot));
    }

    /// The gates, in order.
    fn admit(&mut self, slot: Slot, command: &Command, args: Args<'_>) -> Result<Gate, ReplyError> {
        if !command.arity_fits(args.len()) {
            return Err(ReplyError::wrong_arity(command.name));
        }
        let Some(session) = self.server.sessions.get(slot) else {
            return Err(ReplyError::new("ERR client is gone"));
        };
        let flags = command.flags;
        let settings = &self.server.config.settings;
        if flags.contains(Flags::PROTECTED) && !settings.enable_debug_command.allows(session.is_local()) {
            return Err(DEBUG_NOT_ALLOWED);
        }
        if !session.authenticated && settings.requirepass.get().is_some() && !flags.contains(Flags::NO_AUTH) {
            return Err(ReplyError::new("NOAUTH Authentication required."));
        }
        let in_multi = session.multi.is_some();
        if in_multi && flags.contains(Flags::NO_MULTI) {
            return Err(ReplyError::new("ERR Command not allowed inside a transaction"));
        }
        // EXEC does what its queue does.
        let queue = session.multi.as_ref().filter(|_| command.name == "exec");
        let ends_multi = in_multi && matches!(command.name, "exec" | "discard" | "quit" | "reset");
        let grows = flags.contains(Flags::DENYOOM) || in_multi && !ends_multi;
        if (grows || queue.is_some_and(|queue| queue.denies_oom)) && self.server.over_memory() {
            return Err(ReplyError::new("OOM command not allowed when used memory > 'maxmemory'."));
        }
        let writes = command.is_write() || queue.is_some_and(|queue| queue.has_writes);
        if writes || command.name == "ping" {
            self.admit_write()?;
        }
        if writes {
            self.admit_by_role()?;
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
        let denies_stale = !flags.contains(Flags::STALE) || queue.is_some_and(|queue| queue.denies_stale);
        if denies_stale && self.serves_nothing_stale() {
            return Err(ReplyError::new(
                "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
            ));
        }
        let denies_loading =
            !flags.contains(Flags::LOADING) || queue.is_some_and(|queue| queue.denies_loading);
        if denies_loading && self.server.persistence.loading.is_some() {
            return Err(ReplyError::new("LOADING Redis is loading the dataset in memory"));
        }
        if (session.monitor || session.downstream().is_some())
            && flags.intersects(Flags::WRITE | Flags::READONLY | Flags::MAY_REPLICATE)
        {
            return Err(ReplyError::new("ERR Replica can't interact with the keyspace"));
        }
        if self.is_paused(command, slot) {
            return Ok(Gate::Wait);
        }
        Ok(if in_multi && !runs_inside_multi(command) { Gate::Queue } else { Gate::Run })
    }

    /// Whether this server's part in replication lets clients write.
    fn admit_by_role(&self) -> Result<(), ReplyError> {
        let settings = &self.server.config.settings;
        if self.is_leaving() {
            return Ok(()); // it waits, and is judged again then
        }
        if self.is_replica() {
            return match settings.replica_read_only {
                true => Err(ReplyError::new("READONLY You can't write against a read only replica.")),
                false => Ok(()),
            };
        }
        let (wanted, lag) = (settings.min_replicas_to_write, settings.min_replicas_max_lag);
        if wanted > 0 && lag > 0 && self.server.good_replicas(self.now_ms()) < wanted {
            return Err(ReplyError::new("NOREPLICAS Not enough good replicas to write."));
        }
        Ok(())
    }

    fn serves_nothing_stale(&self) -> bool {
        let down = |upstream: &Upstream| upstream.link != LinkState::Connected;
        !self.server.config.settings.replica_serve_stale_data
            && self.server.shown_upstream().is_some_and(down)
    }

    /// Whether writes may be accepted at all: after a failed save (if so configured) or a failed log they may not.
    pub(super) fn admit_write(&self) -> Result<(), ReplyError> {
        let persistence = &self.server.persistence;
        if let Some(refusal) = persistence.log_failure() {
            return Err(refusal);
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

/// The first word of a header that a browser sends when a web page makes it talk to this port. Executing what
/// follows would let any page run commands on the visitor's own server.
fn is_http(name: &[u8]) -> bool {
    name.eq_ignore_ascii_case(b"POST") || name.eq_ignore_ascii_case(b"Host:")
}

enum Gate {
    Run,
    Queue,
    /// CLIENT PAUSE and the like: try again when it ends.
    Wait,
}

const DEBUG_NOT_ALLOWED: ReplyError = ReplyError::new(
    "ERR DEBUG command not allowed. If the enable-debug-command option is set to \"local\", you can run it from a local connection, otherwise you need to set this option in the configuration file, and then restart the server.",
);

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
    let mut list = Vec::new();
    for arg in args.tail(1).iter() {
        if list.len() >= 128 {
            break;
        }
        let room = 128 - list.len();
        list.extend_from_slice(&[b"'", &arg[..arg.len().min(room)], b"' "].concat());
    }
    let name = args.name();
    let name = &name[..name.len().min(128)];
    ReplyError::from([b"ERR unknown command '", name, b"', with args beginning with: ", &list].concat())
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
