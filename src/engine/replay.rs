//! Replaying stream bytes into a node: recovery, and later the link to a primary.
//!
//! Commands run without gates and without a clock (rule 11): nothing expires, past deadlines are only set, and
//! nothing they do enters a stream, since they *are* the stream. MULTI … EXEC is applied whole or not at all: a
//! transaction without EXEC at the end of the input leaves no trace, and the position stays before it.

use super::node::Node;
use crate::commands::find;
use crate::error::{Corrupt, ReplyError};
use crate::resp::args::OwnedArgs;
use crate::resp::parse::{Limits, Parsed, Parser};
use crate::state::Session;
use crate::state::session::Slot;

/// Feeds bytes of whole or partial commands to a node.
pub struct Replay {
    slot: Slot,
    parser: Parser,
    buf: Vec<u8>,
    /// Bytes handed over so far, and how many of them are whole units that were applied.
    fed: u64,
    applied: u64,
    /// Commands since MULTI.
    multi: Option<Vec<OwnedArgs>>,
    pub commands: u64,
}

impl Replay {
    /// `db`: the database selected where the bytes begin.
    pub fn new(node: &mut Node, db: u32) -> Replay {
        let id = node.server.sessions.next_id();
        let mut session = Session::new(id, String::new(), String::new(), node.now_ms());
        session.db = db as usize;
        let slot = node.server.sessions.add(session);
        Replay { slot, parser: Parser::new(), buf: Vec::new(), fed: 0, applied: 0, multi: None, commands: 0 }
    }

    /// Applies what `bytes` complete. An error names the byte (counted from the first one fed) of the command
    /// that could not be applied.
    pub fn feed(&mut self, node: &mut Node, bytes: &[u8]) -> Result<(), Corrupt> {
        self.fed += bytes.len() as u64;
        self.buf.extend_from_slice(bytes);
        let mut taken = 0;
        loop {
            let at = self.fed - (self.buf.len() - taken) as u64;
            let parsed = self.parser.parse(&self.buf[taken..], &Limits::TRUSTED);
            match parsed.map_err(|error| Corrupt::new(at, error.to_string()))? {
                Parsed::NeedMore { .. } => break,
                Parsed::Empty { consumed } => taken += consumed,
                Parsed::Command { consumed, .. } => {
                    let args = OwnedArgs::from(self.parser.args(&self.buf[taken..]));
                    taken += consumed;
                    self.apply(node, args).map_err(|error| Corrupt::new(at, error.0))?;
                    if self.multi.is_none() {
                        self.applied = at + consumed as u64;
                    }
                }
            }
        }
        self.buf.drain(..taken);
        Ok(())
    }

    /// Bytes of whole units applied so far.
    pub fn applied(&self) -> u64 {
        self.applied
    }

    /// The database selected after what was applied.
    pub fn db(&self, node: &Node) -> u32 {
        node.server.sessions.get(self.slot).map_or(0, |session| session.db as u32)
    }

    /// Ends the replay; what was not a whole unit is forgotten.
    pub fn finish(self, node: &mut Node) -> u64 {
        node.server.sessions.remove(self.slot);
        self.applied
    }

    fn apply(&mut self, node: &mut Node, args: OwnedArgs) -> Result<(), ReplyError> {
        let name = args.as_args().name();
        if name.eq_ignore_ascii_case(b"MULTI") {
            self.multi = Some(Vec::new());
            return Ok(());
        }
        if name.eq_ignore_ascii_case(b"EXEC") {
            for queued in self.multi.take().unwrap_or_default() {
                self.apply_one(node, &queued)?;
            }
            return Ok(());
        }
        match &mut self.multi {
            Some(queue) => queue.push(args),
            None => self.apply_one(node, &args)?,
        }
        Ok(())
    }

    fn apply_one(&mut self, node: &mut Node, args: &OwnedArgs) -> Result<(), ReplyError> {
        let args = args.as_args();
        self.commands += 1;
        if [b"REPLCONF".as_slice(), b"PUBLISH", b"SPUBLISH", b"PING"]
            .iter()
            .any(|n| args.name().eq_ignore_ascii_case(n))
        {
            return Ok(());
        }
        if find(args.name()).is_none() {
            let name = String::from_utf8_lossy(args.name());
            return Err(ReplyError::from(format!("Unknown command '{name}' reading the append only file")));
        }
        let command = super::dispatch::lookup(args)?;
        if !command.arity_fits(args.len()) {
            return Err(ReplyError::wrong_arity(command.name));
        }
        // An error reply is a part of history: the command failed there and fails here, with the same data.
        let _ = node.run_replayed(self.slot, command, args);
        Ok(())
    }
}
