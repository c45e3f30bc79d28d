//! What a transaction asks for and the node cannot do: CONFIG SET, CONFIG REWRITE, REPLICAOF, SHUTDOWN.
//!
//! The driver does it, one after the other, when all commands of the transaction have run, and EXEC is answered when the
//! last of it is done, with what came of each in its place: who is told OK (a Sentinel, of a rewritten configuration) can
//! rely on it. The settings of a CONFIG SET that comes first, while nobody else changes any, are in the table at once, so that
//! what stands behind it in the transaction sees them. A client that goes meanwhile takes nothing back.
//!
//! Rejected: to stop EXEC in the middle, as all other clients would have to wait for a disk with it; to answer OK at once.

use std::collections::VecDeque;

use super::node::{Action, Node};
use crate::error::ReplyError;
use crate::resp::reply::Reply;
use crate::state::Slot;

/// A transaction's open ends.
#[derive(Default)]
pub(super) struct Afterwork {
    /// EXEC's reply without the answers that are still to come.
    reply: Vec<u8>,
    /// Where in `reply` these have their places, and what they answer; the driver has the first.
    open: VecDeque<(usize, Option<Action>)>,
    /// What of `reply` is complete, with the answers in it.
    told: Vec<u8>,
    /// So much of `reply` stands there.
    taken: usize,
}

impl Afterwork {
    /// To be done after the transaction; its answer has its place at `at` in what EXEC answers.
    pub(super) fn put_off(&mut self, at: usize, action: Action) {
        self.open.push_back((at, Some(action)));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    fn next(&mut self) -> Option<Action> {
        self.open.front_mut()?.1.take()
    }

    fn answered(&mut self, answer: impl FnOnce(&mut Vec<u8>)) {
        if let Some((at, _)) = self.open.pop_front() {
            self.told.extend_from_slice(&self.reply[self.taken..at]);
            answer(&mut self.told);
            self.taken = at;
        }
    }
}

impl Node {
    /// EXEC has run its commands. `true`: its reply, `reply`, has to wait for what they ask for.
    pub(super) fn ask_for_the_rest(
        &mut self,
        slot: Slot,
        mut work: Afterwork,
        reply: impl FnOnce() -> Vec<u8>,
    ) -> bool {
        let Some(first) = work.next() else { return false };
        self.actions.push_back(first);
        self.afterwork.insert(slot, Afterwork { reply: reply(), ..work });
        true
    }

    /// What is done now was asked for in a transaction.
    pub fn serves_transaction(&self, slot: Slot) -> bool {
        self.afterwork.contains_key(&slot)
    }

    /// One of a transaction's requests is done, and the next is handed over; `true`: none is left, the client has its reply.
    pub(super) fn transaction_goes_on(&mut self, slot: Slot, answer: &Result<&str, ReplyError>) -> bool {
        let Some(work) = self.afterwork.get_mut(&slot) else { return true };
        let proto = self.server.sessions.get(slot).map(|session| session.proto).unwrap_or_default();
        work.answered(|out| match answer {
            Ok(text) => Reply::new(out, proto).simple(text),
            Err(error) => Reply::new(out, proto).error(error),
        });
        if let Some(next) = work.next() {
            self.actions.push_back(next);
            return false;
        }
        if let Some(Afterwork { reply, told, taken, .. }) = self.afterwork.remove(&slot) {
            self.reply_to(slot, |out| {
                out.raw(&told);
                out.raw(&reply[taken..]);
            });
        }
        true
    }

    /// The client has gone: what its transaction asked for is done all the same.
    pub(super) fn do_the_rest(&mut self, slot: Slot) {
        let rest = self.afterwork.remove(&slot).into_iter().flat_map(|work| work.open);
        self.actions.extend(rest.filter_map(|(_, action)| action));
    }
}
