//! Replaying stream bytes into a node: recovery.
//!
//! Commands run without gates and without a clock (rule 11): nothing expires, past deadlines are only set, and
//! nothing they do enters a stream, since they *are* the stream. Whole units are applied, or nothing of them
//! ([`Incoming`], which the link to a primary reads with too): a transaction without EXEC at the end of the input
//! leaves no trace, and the position stays before it.

use super::incoming::{Deed, Incoming, Misfit, Why};
use super::node::Node;
use crate::error::Corrupt;
use crate::state::Session;
use crate::state::session::Slot;

/// Feeds bytes of whole or partial commands to a node.
pub struct Replay {
    slot: Slot,
    incoming: Incoming,
    pub commands: u64,
}

impl Replay {
    /// `db`: the database selected where the bytes begin.
    pub fn new(node: &mut Node, db: u32) -> Replay {
        let id = node.server.sessions.next_id();
        let mut session = Session::new(id, String::new(), String::new(), node.now_ms());
        session.db = db as usize;
        let slot = node.server.sessions.add(session);
        Replay { slot, incoming: Incoming::default(), commands: 0 }
    }

    /// Applies what `bytes` complete. An error names the byte (counted from the first one fed) of the command
    /// that could not be applied.
    pub fn feed(&mut self, node: &mut Node, bytes: &[u8]) -> Result<(), Corrupt> {
        self.incoming.push(bytes);
        while self.incoming.advance(node.store.dbs.len()).map_err(damage)? {
            self.incoming.judge_db(self.db(node) as usize, node.store.dbs.len()).map_err(damage)?;
            for (deed, args) in self.incoming.unit().commands() {
                self.commands += 1;
                if let Deed::Run(command) = deed {
                    // An error reply is a part of history: the command failed there and fails here, with the
                    // same data.
                    let _ = node.run_of_stream(self.slot, command, args, 0);
                    node.store.changes.forget();
                }
            }
            self.incoming.taken();
        }
        Ok(())
    }

    /// Bytes of whole units applied so far.
    pub fn applied(&self) -> u64 {
        self.incoming.passed()
    }

    /// The database selected after what was applied.
    pub fn db(&self, node: &Node) -> u32 {
        node.server.sessions.get(self.slot).map_or(0, |session| session.db as u32)
    }

    /// Ends the replay; what was not a whole unit is forgotten.
    pub fn finish(self, node: &mut Node) -> u64 {
        node.server.sessions.remove(self.slot);
        self.incoming.passed()
    }
}

fn damage(misfit: Misfit) -> Corrupt {
    let what = match &misfit.why {
        Why::Unknown(_) => format!("Unknown command '{}' reading the append only file", misfit.command),
        Why::Other(text) if misfit.command.is_empty() => text.clone(),
        Why::Other(text) => format!("{}: {text}", misfit.command),
    };
    Corrupt::new(misfit.at, what)
}
