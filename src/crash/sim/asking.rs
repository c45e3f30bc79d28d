//! At the end of a run the server is asked as replicas would ask: for every name of its history, at the ends of what it
//! holds and one byte beyond.
//!
//! | asked | answer |
//! |---|---|
//! | a name of the lineage, within its end, bytes held | goes on (P4) |
//! | the same, beyond its end | never goes on (P3), and is not given this server's copy, unless recovery declared a loss (P6) |
//! | a next byte below 1, or no name | a snapshot (rule 19) |
//! | a name that the server never had | no copy of a history that was born empty (P6) |
//!
//! What answers "go on" must also be true of the model's stream.

use super::{Runner, Verdict};
use crate::units::{Offset, ReplId};

/// What a server says to PSYNC.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Said {
    GoesOn,
    Snapshot,
    Refused(String),
    /// It cannot be asked now.
    Nothing,
}

/// Connections from here on are replicas.
const FIRST_REPLICA: usize = 8;

impl Runner<'_> {
    pub(super) fn ask_as_replicas(&mut self) -> Verdict {
        let facts = self.world.look(|node| {
            let history = &node.server.history;
            let past = &history.past;
            let held = history.offered_from();
            (history.replid, held, past.declared_loss, past.born.from_nothing() && !past.overwrite)
        });
        let Some((current, held, declared_loss, from_nothing)) = facts else { return Ok(()) };
        let end = self.model.end();
        let mut connection = FIRST_REPLICA;
        let mut ask = |runner: &mut Self, name: Option<ReplId>, next: i64| {
            connection += 1;
            runner.ask(connection, name, next)
        };
        let names = self.world.lineage();
        let newest_end = names.first().map(|(_, at)| *at);
        let mut all = vec![(current, end)];
        all.extend(names);
        let served = self.model.names().iter().map(|(name, until)| (*name, end.min(*until)));
        let forgotten = |name: ReplId| all.iter().all(|(known, _)| *known != name);
        // Who holds nothing yet shows no history.
        let shows = |until: Offset| until >= held && until > Offset::ZERO;
        let missing: Vec<_> = served.filter(|(name, until)| forgotten(*name) && shows(*until)).collect();
        all.extend(missing);
        for (name, until) in all {
            for position in [held.min(until), until] {
                let said = ask(self, Some(name), position.next_byte() as i64);
                let is_true = !self.model.knows(name) || self.model.may_be_called(name, position);
                match said {
                    Said::GoesOn if !is_true || position > end => {
                        return Err((
                            "P3",
                            format!("{name}:{position} goes on, though it never was a place of this stream"),
                        ));
                    }
                    Said::Snapshot | Said::Refused(_) if (held..=end).contains(&position) => {
                        return Err((
                            "P4",
                            format!("{name}:{position} is held from {held} on, and yet: {said:?}"),
                        ));
                    }
                    _ => {}
                }
            }
            let said = ask(self, Some(name), until.next_byte() as i64 + 1);
            let may_lose = declared_loss > 0 && Some(until) == newest_end || name == current;
            match said {
                Said::GoesOn => {
                    return Err(("P3", format!("{name} goes on one byte beyond its end {until}")));
                }
                Said::Snapshot if !may_lose => {
                    return Err((
                        "P6",
                        format!("a replica one byte beyond {name}:{until} is given a copy of less"),
                    ));
                }
                _ => is_a_word_that_replicas_heed(&said)?,
            }
        }
        for next in [0, -1] {
            let said = ask(self, Some(current), next);
            if !matches!(said, Said::Snapshot | Said::Nothing) {
                return Err(("P3", format!("who asks for byte {next} is answered: {said:?}")));
            }
        }
        let stranger = ReplId::from_random([0x5a; 20]);
        let said = ask(self, Some(stranger), 1000);
        if from_nothing && matches!(said, Said::Snapshot | Said::GoesOn) {
            return Err((
                "P6",
                "a replica of another history is given a copy of one that began on nothing".into(),
            ));
        }
        is_a_word_that_replicas_heed(&said)
    }

    fn ask(&mut self, connection: usize, name: Option<ReplId>, next: i64) -> Said {
        let counted = |runner: &Self| {
            runner.world.look(|node| {
                let stats = &node.server.stats;
                (stats.sync_partial_ok, stats.sync_full)
            })
        };
        let before = counted(self).unwrap_or_default();
        self.world.send(connection, &[b"REPLCONF", b"capa", b"psync2"]);
        self.world.answers();
        let name = name.map_or_else(|| "?".to_string(), |name| name.to_string());
        self.world.send(connection, &[b"PSYNC", name.as_bytes(), next.to_string().as_bytes()]);
        let answers = self.world.answers();
        let refused = answers.iter().find(|answer| answer.is_error());
        let after = counted(self).unwrap_or_default();
        match refused {
            Some(answer) => Said::Refused(String::from_utf8_lossy(&answer.reply).into_owned()),
            None if after.0 > before.0 => Said::GoesOn,
            None if after.1 > before.1 => Said::Snapshot,
            None => Said::Nothing,
        }
    }
}

/// After any other error a stock replica sends SYNC on the same connection and is wiped.
fn is_a_word_that_replicas_heed(said: &Said) -> Verdict {
    match said {
        Said::Refused(why) if !why.starts_with("-NOMASTERLINK ") && !why.starts_with("-LOADING ") => {
            Err(("P6", format!("a stock replica falls back to SYNC after {why}")))
        }
        _ => Ok(()),
    }
}
