//! Whether a primary's answer to PSYNC was right.
//!
//! The truth is in the streams themselves, as they were seen: what the replica holds either is a beginning of what the
//! primary holds, or it is not.
//!
//! | answer | right only if |
//! |---|---|
//! | continue | the replica's stream is a beginning of the primary's (P3) |
//! | full, refused | it is not; or the primary holds the bytes behind it no more, or knows none of its names (P4) |
//! | full | the replica's data may go: it holds nothing, the operator said so, a promotion parted the two, or it holds no more of the primary's history than the primary itself; lost by a start, that is, which no power cut can have caused (P6) |

use super::machine::Machine;
use crate::units::{Offset, ReplId};

/// What was counted of a primary's answers.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Count {
    full: u64,
    continued: u64,
    refused: u64,
}

impl Count {
    fn of(machine: &Machine) -> Option<Count> {
        machine.world.look(|node| {
            let stats = &node.server.stats;
            Count { full: stats.sync_full, continued: stats.sync_partial_ok, refused: stats.sync_partial_err }
        })
    }
}

/// A replica's words reach a primary.
pub struct Asked {
    count: Option<Count>,
    at: Offset,
    /// The operator has said that its data may go.
    ordered: bool,
    /// What the primary can send.
    held_from: Offset,
}

impl Asked {
    pub fn before(replica: &Machine, primary: &Machine) -> Asked {
        let mandate =
            |node: &crate::engine::Node| node.server.upstream().is_some_and(|to| to.mandate.is_some());
        Asked {
            count: Count::of(primary),
            at: replica.end(),
            ordered: replica.world.look(mandate).unwrap_or(false),
            held_from: primary.world.look(|node| node.server.history.held_from).unwrap_or(Offset::ZERO),
        }
    }

    /// After the primary has acted on them: its answer, if it gave one.
    pub fn judge(
        self,
        replica: &Machine,
        primary: &Machine,
    ) -> Result<Option<&'static str>, (&'static str, String)> {
        let (Some(before), Some(after)) = (self.count, Count::of(primary)) else { return Ok(None) };
        let sum = replica.sum_at(self.at);
        let is_beginning = sum.is_some() && primary.sum_at(self.at) == sum;
        let where_it_is = format!("{}:{}", replica.name, self.at);
        if after.continued > before.continued {
            return match is_beginning {
                true => Ok(Some("continue")),
                false => {
                    Err(("P3", format!("is continued at {where_it_is}, which is not the primary's stream")))
                }
            };
        }
        let (full, refused) = (after.full > before.full, after.refused > before.refused);
        if !full && !refused {
            return Ok(None);
        }
        let held = self.at >= self.held_from && self.at > Offset::ZERO;
        if is_beginning
            && held
            && let Some(name) = self.known(replica, primary)
        {
            let what = format!(
                "is not continued at {where_it_is}, though the primary holds all from {} on and knows {name}",
                self.held_from
            );
            return Err(("P4", what));
        }
        if full && !self.ordered && self.at > Offset::ZERO {
            self.may_be_wiped(replica, primary)?;
        }
        Ok(Some(if full { "full" } else { "refused" }))
    }

    /// A name that both know for the place where the replica is.
    fn known(&self, replica: &Machine, primary: &Machine) -> Option<ReplId> {
        let theirs = primary.names();
        let valid = replica.names().into_iter().filter(|(_, end)| *end >= self.at);
        let known = |name: &ReplId| theirs.iter().any(|(other, end)| other == name && *end >= self.at);
        valid.map(|(name, _)| name).find(known)
    }

    fn may_be_wiped(&self, replica: &Machine, primary: &Machine) -> Result<(), (&'static str, String)> {
        let forgives = primary.world.look(|node| {
            let past = &node.server.history.past;
            past.overwrite || past.declared_loss > 0
        });
        let Some(shared) = replica.shares(primary).filter(|_| forgives != Some(true)) else { return Ok(()) };
        let had_more = primary.lost_of(replica, shared);
        if primary.fell_back_to == Some(shared) && shared < self.at && had_more {
            let what = format!(
                "is to copy a primary that came back at {shared}, where it had left less than the replica's {}",
                self.at
            );
            return Err(("P6", what));
        }
        Ok(())
    }
}
