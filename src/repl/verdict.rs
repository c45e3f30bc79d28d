//! The answer to PSYNC: one table.
//!
//! A replica presents an id and the next byte it wants; its position is the byte before (rule 19). It may have shown
//! more in the handshake: its lineage, and that an operator pointed it here just now (rule 20).
//!
//! | # | the replica presents | and | answer |
//! |---|---|---|---|
//! | 1 | `?`, or a next byte below 1 | | full |
//! | 2 | an id of our lineage, within its end | bytes held; the id is the current one or `capa psync2` | continue |
//! | 3 | the same | bytes no longer held | full |
//! | 4 | the same | an older id without `capa psync2` | full |
//! | 4a | the same, or the current id of a server that follows a primary | beyond our own end: our primary has it, and we do not have it yet; no `overwrite` | refuse |
//! | 5 | an id of our lineage, beyond its end | a start set that end; nothing exempts | refuse |
//! | 6 | the same | else | full |
//! | 7 | an unknown id | its lineage shows its position under an id of ours, within its end; `capa psync2` | as 2, 3 |
//! | 8 | an unknown id | its lineage reaches beyond an end that a start set, or up to it and goes on from there under other names; nothing exempts | refuse |
//! | 9 | an unknown id | our history was born on an empty directory, or copied from one that was; the replica holds something; nothing exempts | refuse |
//! | 10 | an unknown id | else | full |
//!
//! Ends may have been told by a primary that we go on from (rule 20), together with what caused them: we answer as it would.
//!
//! Row 4a heeds no REPLICAOF at the replica: being pointed to another server of the same history is no order to go back in it, and
//! what is refused comes again in a second, when the bytes that are on their way have arrived.
//!
//! *Exempt* (rule 5): `repl-better-replica overwrite`, REPLICAOF NO ONE given here since the start, the operator's
//! REPLICAOF at the replica, and a loss that recovery declared, as long as the replica is ahead by no more; in row 9 also
//! an id that this server itself held until it copied its primary's data: who followed it then follows it further.
//!
//! "Refuse" keeps a server that lost its history from wiping a replica that still has it (P6). "Continue" is sound by
//! the argument in the project's rules: an id has one writer, so (id, offset) fixes the bytes.

use crate::format::history::{Ancestor, Born, Cause, MAX_LINEAGE};
use crate::planted::{Bug, planted};
use crate::units::{Offset, ReplId};

/// What a replica asks for.
#[derive(Clone, Debug)]
pub struct Ask<'a> {
    /// `None`: `?`.
    pub replid: Option<ReplId>,
    /// As sent: the next byte wanted, counted from 1.
    pub next: i64,
    /// `capa psync2`: understands `+CONTINUE` with a new id.
    pub psync2: bool,
    /// Names of its history, newest first, each with the offset up to which its bytes have that name.
    pub shown: &'a [(ReplId, Offset)],
    /// An operator's REPLICAOF pointed it here just now.
    pub operator: bool,
}

/// What this server holds.
#[derive(Clone, Copy, Debug)]
pub struct Held<'a> {
    pub replid: ReplId,
    pub end: Offset,
    /// Earlier names, newest first.
    pub lineage: &'a [Ancestor],
    pub born: Born,
    /// Names that this server's own data had before a full sync replaced them.
    pub replaced: &'a [ReplId],
    /// The oldest byte that can be sent.
    pub from: Offset,
    /// `repl-better-replica overwrite`, or an operator's REPLICAOF NO ONE.
    pub overwrite: bool,
    /// It follows a primary: the stream goes on beyond `end` there.
    pub follows: bool,
    /// Bytes that recovery declared lost at this start, at most.
    pub declared_loss: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Send the stream from here on.
    Continue(Offset),
    /// Send a snapshot; why nothing less will do, for the log.
    Full(String),
    /// Answer `-NOMASTERLINK` with this text.
    Refuse(String),
}

/// What can be done about a server that lost what its replica holds.
const WAYS: &str = "Start this server from the data that the replica has, or give it REPLICAOF NO ONE (or \
     repl-better-replica overwrite) to let the replica copy what is here";

/// Why a name ended, as the table needs it.
struct Known {
    end: Offset,
    ended_by_start: bool,
    current: bool,
}

impl Held<'_> {
    fn known(&self, id: ReplId) -> Option<Known> {
        if id == self.replid {
            return Some(Known { end: self.end, ended_by_start: false, current: true });
        }
        let past = self.lineage.iter().find(|past| past.replid == id)?;
        Some(Known { end: past.end, ended_by_start: past.cause == Cause::Start, current: false })
    }

    /// The table.
    pub fn verdict(&self, ask: &Ask<'_>) -> Verdict {
        let Some(id) = ask.replid else { return Verdict::Full("it asks for a full resync".into()) };
        let zero = planted(Bug::VerdictZero) && ask.next == 0;
        if ask.next < 1 && !zero {
            return Verdict::Full(format!("it asks for byte {}, which cannot be", ask.next));
        }
        let position = Offset(ask.next.max(1) as u64 - 1);
        match self.known(id) {
            Some(known)
                if position <= known.end + u64::from(planted(Bug::VerdictBeyond))
                    || known.current && self.follows =>
            {
                self.within(known.current, position, ask)
            }
            Some(known) if known.ended_by_start => self.beyond(id, known.end, position, ask),
            Some(known) => {
                Verdict::Full(format!("it is at {position}, beyond the end {} of {id}", known.end))
            }
            None => self.unknown(id, position, ask),
        }
    }

    /// Rows 2 to 4.
    fn within(&self, current: bool, position: Offset, ask: &Ask<'_>) -> Verdict {
        if !current && !ask.psync2 {
            return Verdict::Full(
                "it knows only the id of before, and cannot take a new one (capa psync2)".into(),
            );
        }
        if position > self.end {
            // It holds more than we do of the history that we follow: it may not copy what we have, and need not.
            return match self.overwrite {
                true => {
                    Verdict::Full(format!("it is at {position}, beyond the {} bytes held here", self.end))
                }
                false => Verdict::Refuse(format!(
                    "this server holds the history that the replica has only up to {}, the replica up to {position}. Wait \
                     until it has the rest from its own primary, or give it REPLICAOF NO ONE (or repl-better-replica \
                     overwrite) to let the replica copy what is here",
                    self.end
                )),
            };
        }
        if position < self.from {
            return Verdict::Full(format!("it is at {position}; bytes are held from {} on", self.from));
        }
        Verdict::Continue(position)
    }

    /// Rows 5, 6 and 8.
    fn beyond(&self, id: ReplId, end: Offset, reach: Offset, ask: &Ask<'_>) -> Verdict {
        let ahead = reach.since(end);
        // What earlier starts lost, and declared or not, is not a loss of this one.
        let ends_here = self.lineage.first().is_some_and(|last| last.end == end);
        let lost_here = ends_here && ahead <= self.declared_loss;
        if ask.operator || self.overwrite || lost_here {
            return Verdict::Full(format!("it is at {reach}, beyond the end {end} of {id}"));
        }
        Verdict::Refuse(format!(
            "this server came back with history {id} up to {end}, the replica holds it up to {reach}. {WAYS}"
        ))
    }

    /// Rows 7 to 10.
    fn unknown(&self, id: ReplId, position: Offset, ask: &Ask<'_>) -> Verdict {
        let in_common = ask.shown.iter().filter_map(|(name, reach)| Some((name, reach, self.known(*name)?)));
        for (i, (name, reach, known)) in in_common.enumerate() {
            let reach = position.min(*reach); // its own primary may have told it more of a name than it holds
            if reach > known.end && known.ended_by_start {
                return self.beyond(*name, known.end, reach, ask);
            }
            let last_in_common = i == 0; // behind an older name both went on alike
            if last_in_common
                && reach == known.end
                && position > reach
                && known.ended_by_start
                && !ask.operator
                && !self.overwrite
            {
                return Verdict::Refuse(format!(
                    "this server came back with history {name} up to {reach}, from where the replica went on to {position} \
                     under other names. {WAYS}"
                ));
            }
            if ask.psync2 && position <= reach && (position <= known.end || known.current && self.follows) {
                return self.within(known.current, position, ask);
            }
        }
        let exempt = ask.operator || self.overwrite || self.replaced.contains(&id);
        if self.born.from_nothing() && ask.next > 1 && !exempt && !planted(Bug::BornForgotten) {
            let never = match self.lineage.len() < MAX_LINEAGE {
                true => "never had".to_string(),
                false => format!("does not know (it remembers the latest {MAX_LINEAGE} names)"),
            };
            return Verdict::Refuse(format!(
                "this server's history began on an empty directory and {never} history {id}, of which the replica holds \
                 {position} bytes. If its data may go, give this server REPLICAOF NO ONE (or repl-better-replica \
                 overwrite)"
            ));
        }
        Verdict::Full(format!("history {id} is not known here"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(n: u8) -> ReplId {
        ReplId::from_random([n; 20])
    }

    fn past(n: u8, end: u64, cause: Cause) -> Ancestor {
        Ancestor { replid: id(n), end: Offset(end), cause, told: true }
    }

    /// Current 9 from 500 to 900; before it 8 (promotion at 500), 7 (start at 300).
    fn lineage() -> Vec<Ancestor> {
        vec![past(8, 500, Cause::Promotion), past(7, 300, Cause::Start)]
    }

    fn held(lineage: &[Ancestor]) -> Held<'_> {
        Held {
            replid: id(9),
            end: Offset(900),
            lineage,
            born: Born::Empty,
            replaced: &[],
            from: Offset(100),
            overwrite: false,
            follows: false,
            declared_loss: 0,
        }
    }

    fn ask(replid: Option<u8>, next: i64) -> Ask<'static> {
        Ask { replid: replid.map(id), next, psync2: true, shown: &[], operator: false }
    }

    fn word(verdict: &Verdict) -> String {
        match verdict {
            Verdict::Continue(at) => format!("continue {at}"),
            Verdict::Full(_) => "full".into(),
            Verdict::Refuse(_) => "refuse".into(),
        }
    }

    #[test]
    fn each_row() {
        let lineage = lineage();
        let check = |ask: Ask<'_>, expected: &str| {
            assert_eq!(word(&held(&lineage).verdict(&ask)), expected, "{ask:?}");
        };
        check(ask(None, -1), "full"); // 1
        check(ask(Some(9), 0), "full");
        check(ask(Some(9), -5), "full");
        check(ask(Some(9), i64::MIN), "full");
        check(ask(Some(9), 901), "continue 900"); // 2
        check(ask(Some(9), 101), "continue 100");
        check(ask(Some(8), 501), "continue 500");
        check(ask(Some(7), 301), "continue 300");
        check(ask(Some(7), 101), "continue 100");
        check(ask(Some(9), 100), "full"); // 3
        check(ask(Some(7), 1), "full");
        check(Ask { psync2: false, ..ask(Some(8), 501) }, "full"); // 4
        check(Ask { psync2: false, ..ask(Some(9), 501) }, "continue 500");
        check(ask(Some(7), 302), "refuse"); // 5
        check(Ask { operator: true, ..ask(Some(7), 302) }, "full"); // 6
        check(ask(Some(8), 502), "full");
        check(ask(Some(9), 902), "full");
        check(ask(Some(9), i64::MAX), "full");
        check(ask(Some(1), 2), "refuse"); // 9
        check(ask(Some(1), 1), "full"); // 10: it holds nothing
        check(Ask { operator: true, ..ask(Some(1), 2) }, "full");
    }

    /// A replica that goes on from a primary knows its names, also beyond what it has itself by now.
    #[test]
    fn ends_that_a_primary_told() {
        let told = [past(8, 1500, Cause::Start), past(7, 300, Cause::Start)];
        let check = |asked: Ask<'_>, expected: &str| {
            assert_eq!(word(&held(&told).verdict(&asked)), expected, "{asked:?}");
        };
        check(ask(Some(8), 901), "continue 900");
        check(ask(Some(8), 902), "refuse"); // 4a
        check(Ask { operator: true, ..ask(Some(8), 902) }, "refuse");
        check(ask(Some(8), 1502), "refuse"); // 5
        let shown = [(id(1), Offset(1000)), (id(8), Offset(1000))];
        check(Ask { shown: &shown, ..ask(Some(1), 1001) }, "refuse");
    }

    /// A replica does not have all of its primary's history yet: whoever is ahead of it waits.
    #[test]
    fn a_replica_is_asked() {
        let lineage = lineage();
        let follows = Held { follows: true, ..held(&lineage) };
        let check = |held: Held<'_>, asked: Ask<'_>, expected: &str| {
            assert_eq!(word(&held.verdict(&asked)), expected, "{asked:?}");
        };
        check(follows, ask(Some(9), 901), "continue 900");
        check(follows, ask(Some(9), 902), "refuse"); // 4a
        check(follows, Ask { operator: true, ..ask(Some(9), 902) }, "refuse");
        check(follows, Ask { psync2: false, ..ask(Some(9), 902) }, "refuse");
        check(follows, ask(Some(8), 502), "full"); // 6: a promotion ended it
        check(Held { overwrite: true, ..follows }, ask(Some(9), 902), "full");
        let shown = [(id(1), Offset(950)), (id(9), Offset(950))];
        check(follows, Ask { shown: &shown, ..ask(Some(1), 951) }, "refuse");
    }

    #[test]
    fn what_the_replica_shows_counts() {
        let lineage = lineage();
        let check = |next: i64, shown: &[(ReplId, Offset)], expected: &str| {
            let ask = Ask { shown, ..ask(Some(1), next) };
            assert_eq!(word(&held(&lineage).verdict(&ask)), expected, "{shown:?}");
        };
        // It took no byte under its newer names: 7.
        check(301, &[(id(1), Offset(300)), (id(7), Offset(300))], "continue 300");
        check(401, &[(id(1), Offset(400)), (id(9), Offset(800))], "continue 400");
        // It did take bytes under a name unknown here.
        check(401, &[(id(1), Offset(400)), (id(8), Offset(350))], "refuse"); // row 9
        check(401, &[(id(1), Offset(400)), (id(7), Offset(301))], "refuse"); // row 8
        check(51, &[(id(7), Offset(50))], "full"); // no longer held
        // Its primary told it more than it holds.
        check(251, &[(id(1), Offset(250)), (id(7), Offset(500))], "continue 250");
        // It went on from where this server, whose history may have come from anywhere, stopped.
        let went_on = [(id(1), Offset(400)), (id(7), Offset(300))];
        let imported = Held { born: Born::Import, ..held(&lineage) };
        let asked = Ask { shown: &went_on, ..ask(Some(1), 401) };
        assert_eq!(word(&imported.verdict(&asked)), "refuse");
        assert_eq!(word(&imported.verdict(&Ask { operator: true, ..asked })), "full");
        // Both went on from there alike, and parted later, by a promotion.
        let parted = [(id(1), Offset(600)), (id(8), Offset(500)), (id(7), Offset(300))];
        assert_eq!(word(&imported.verdict(&Ask { shown: &parted, ..ask(Some(1), 601) })), "full");
    }

    /// Scenario 13: who may be overwritten all the same.
    #[test]
    fn exemptions() {
        let lineage = lineage();
        let check = |held: Held<'_>, asked: Ask<'_>, expected: &str| {
            assert_eq!(word(&held.verdict(&asked)), expected, "{asked:?}");
        };
        let overwrite = Held { overwrite: true, ..held(&lineage) };
        check(overwrite, ask(Some(7), 302), "full");
        check(overwrite, ask(Some(1), 2), "full");
        let crashed = [past(8, 500, Cause::Start), past(7, 300, Cause::Start)];
        let lost = Held { declared_loss: 10, ..held(&crashed) };
        check(lost, ask(Some(8), 511), "full");
        check(lost, ask(Some(8), 512), "refuse");
        check(lost, ask(Some(7), 302), "refuse"); // an earlier start's loss
        let imported = Held { born: Born::Import, ..held(&lineage) };
        check(imported, ask(Some(1), 2), "full");
        check(imported, ask(Some(7), 302), "refuse");
        let copied = Held { born: Born::Copy, ..held(&lineage) };
        check(copied, ask(Some(1), 2), "refuse");
        let in_its_place = Held { replaced: &[id(1)], ..copied };
        check(in_its_place, ask(Some(1), 2), "full");
        check(in_its_place, ask(Some(2), 2), "refuse");
    }

    /// No byte is ever sent from a place that is not held, whatever is asked.
    #[test]
    fn continues_only_within_what_is_held() {
        let lineage = lineage();
        for name in [1, 7, 8, 9] {
            for next in -2..1000 {
                if let Verdict::Continue(at) = held(&lineage).verdict(&ask(Some(name), next)) {
                    assert!(at >= Offset(100) && at <= Offset(900) && at.next_byte() as i64 == next);
                    let end = match name {
                        7 => 300,
                        8 => 500,
                        _ => 900,
                    };
                    assert!(at.0 <= end && name != 1);
                }
            }
        }
    }
}
