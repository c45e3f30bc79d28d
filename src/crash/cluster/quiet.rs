//! When all is well and quiet: every replica must find its primary, every server be able to keep what it is given.

use std::time::Duration;

use super::super::scenario::words;
use super::machine::Verdict;
use super::net::host;
use super::run::Runner;
use super::scenario::{Follows, OPERATOR, replicaof};
use crate::state::LinkState;

/// Half-seconds until replicas must have found their primaries.
const PATIENCE: usize = 80;
/// The same where disks had failed: Redis' wait after a failed save is 5 s, a rewrite that failed three times waits for a minute.
const MORE: usize = 240;
/// After so many of them the operator repeats his order where a replica was refused.
const REFUSED: usize = 8;

impl Runner<'_> {
    /// Faults end, and time passes until replicas are where their primaries are.
    pub(super) fn quiet(&mut self) -> Verdict {
        self.net.heal();
        for n in self.all() {
            self.machines[n].world.disk.live_on();
            self.machines[n].world.disk.mend();
            self.up(n, Follows::AsBefore)?;
        }
        let patience = if self.machines.iter().any(|machine| machine.was_troubled) { MORE } else { PATIENCE };
        for round in 0..patience {
            self.live(Duration::from_millis(500))?;
            for n in self.all() {
                self.up(n, Follows::AsBefore)?;
            }
            let behind = self.behind();
            if behind.is_empty() && self.all().all(|n| self.machines[n].ails().is_none()) {
                return self.compare();
            }
            if round % REFUSED == REFUSED - 1 {
                self.abort_failovers()?;
                self.obey_again(&behind)?;
            }
        }
        for n in self.all() {
            if let Some(why) = self.machines[n].ails() {
                return Err(("P7", format!("{}: on a disk that works: {why}", host(n))));
            }
        }
        let told: Vec<String> =
            self.behind().into_iter().map(|(n, _, why)| format!("{}: {why}", host(n))).collect();
        Err(("–", format!("when all is quiet, replicas do not find their primaries: {}", told.join("; "))))
    }

    /// Replicas that are not where their primary is, with that and why.
    fn behind(&self) -> Vec<(usize, usize, String)> {
        let mut behind = Vec::new();
        for n in self.all() {
            let Some(root) = self.root_of(n).filter(|root| *root != n) else { continue };
            let (mine, theirs) = (&self.machines[n], &self.machines[root]);
            if (mine.name, mine.end(), mine.sum()) == (theirs.name, theirs.end(), theirs.sum()) {
                continue;
            }
            let link = self.machines[n].world.look(|node| {
                let upstream = node.server.upstream();
                upstream.map(|to| (to.host.clone(), to.link, to.trouble.clone()))
            });
            if let Some(Some((to, link, trouble))) = link
                && let Some(to) = self.all().find(|other| host(*other) == to)
            {
                let why = format!(
                    "at {}:{} instead of {}:{} of {}, link {}, {}",
                    mine.name,
                    mine.end(),
                    theirs.name,
                    theirs.end(),
                    host(root),
                    link.word(),
                    trouble.unwrap_or_default()
                );
                let refused = link != LinkState::Connected;
                behind.push((n, if refused { to } else { usize::MAX }, why));
            }
        }
        behind
    }

    /// The primary at the end of the chain that a machine follows; `None` if they follow each other.
    fn root_of(&self, n: usize) -> Option<usize> {
        let mut at = n;
        for _ in self.all() {
            let upstream =
                self.machines[at].world.look(|node| node.server.upstream().map(|to| to.host.clone()))?;
            match upstream {
                None => return Some(at),
                Some(to) => at = self.all().find(|other| host(*other) == to)?,
            }
        }
        None
    }

    /// One without a timeout waits for its replica for ever, and lets none attach meanwhile; so does Redis'.
    fn abort_failovers(&mut self) -> Verdict {
        for n in self.all() {
            if self.machines[n].world.look(|node| node.server.failover.is_some()) == Some(true) {
                self.send(n, OPERATOR, &words("FAILOVER ABORT"))?;
            }
        }
        Ok(())
    }

    /// A replica that is refused goes on only when the operator says that its data may go.
    fn obey_again(&mut self, behind: &[(usize, usize, String)]) -> Verdict {
        for (n, to, _) in behind.iter().filter(|(_, to, _)| *to != usize::MAX) {
            self.send(*n, OPERATOR, &replicaof(u8::try_from(*to).ok()))?;
        }
        Ok(())
    }
}
