//! The decision table: from what is on disk to what is loaded.
//!
//! [`super::survey`] looks at the files and sums each up in a small enum; [`decide`] is the table, total over all
//! combinations; [`super::plan`] does the arithmetic of offsets for the verdict. Kept apart so that the table
//! can be read, and tested over every row, without a file.
//!
//! What the enums stand for is computed once, under these rules:
//!
//! * a byte counts only under a seal (rule 2), so `proven` is the log's last whole unit at or before its last sound mark;
//! * *known durable* is the highest of: the clean mark's end, every sound mark's `dur` (also of those behind a place where the
//!   commands cannot be told apart any more), the ring header's. A log that proves less is damaged, not torn (rule 17);
//! * above that, a tail is torn if it merely ends early (no unsound mark, well formed so far) or holds a zeroed
//!   512-byte sector; everything else is damage, but for what `replication.toml` names as not saved by a failed fsync (rule 23):
//!   that may be gone also from under segments that follow it and were synced;
//! * whether the directory was closed cleanly enters through these two and through the segment lengths that tell a foreign
//!   tail (rule 14), not as a column of its own; the boot id makes no byte trusted or untrusted (rule 2), it tells only whether what is
//!   missing can be the work of a crash.
//!
//! | history | snapshot | log | verdict |
//! |---|---|---|---|
//! | corrupt | any | any | refuse |
//! | none | none, positioned | none | refuse, if a ring holds more of a history that only `replication.toml` could tell |
//! | good | positioned | none, ours, of another copy, foreign base | refuse, if a ring holds more under the snapshot's name, which `replication.toml` does not know: it is an older one, or another server's |
//! | good | foreign, positioned | none, ours, of another copy, foreign base | snapshot alone: an operator's restore (rule 15); the log is kept aside |
//! | any | foreign, positioned | another server's | as that server does: `appendonly` decides |
//! | none | foreign, positioned | none | snapshot alone |
//! | any | other | another server's | take over, whole, as a new history (rule 14) |
//! | any | other | foreign base | that base alone (rule 15) |
//! | good | other | of another copy | refuse |
//! | good | other | none, ours | refuse, if the ring is another copy's, or if all together falls short of what was there |
//! | good | other | ours | continue (rule 16), if its tail is whole, torn, or damaged but healed by the ring |
//! | none | any | ours with its base | the same with in-band names, without ring; refuse, if a ring holds more under the log's last name |
//! | none | none | ours without its base | refuse |
//! | good | named | none | continue: snapshot and ring |
//! | good | none | none | continue if the ring holds everything since the history was born empty, else empty (rule 7) |
//! | good | none | ours without its base | empty: written for replicas of a cache (rule 7) |
//! | any | unreadable | nothing that does without it | refuse |
//! | none | none | none | empty |
//!
//! *Falls short*: `replication.toml` names a base that is in force, or a clean shutdown that promised to keep everything,
//! at an offset beyond the one reached. No crash leaves that: a base is durable before it is named in force, and the clean
//! mark is the last thing written. Or the ring, which knows what was written to a log, begins behind what is reached, and no
//! log is there (its directory is durable before a byte is written to it) or, if only the process crashed, one that ends
//! before. Or the ring itself is damaged where only it held the stream, though only the process crashed (the boot id decides
//! here about a refusal, never about a byte). So something was removed,
//! exchanged or damaged, and to go on with less would be a silent
//! roll-back. Likewise a name that stands in ring or log and not in `replication.toml`, which always has it first (rule 1):
//! the file comes from a copy that went another way, and bytes of two ways must not be mixed (P3).

/// `replication.toml`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryKind {
    None,
    Good,
    Corrupt,
}

/// `dump.rdb`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotKind {
    None,
    /// Its length and checksum stand in `replication.toml`.
    Named,
    Foreign,
    /// Foreign, but says of which history it is and where.
    Positioned,
    Unreadable,
}

/// The log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogKind {
    None,
    /// Marked segments of ours. Without a base of their own they continue a snapshot (rule 7).
    Ours {
        own_base: bool,
        tail: Tail,
    },
    /// Segments of ours under names that `replication.toml` does not know.
    OtherCopy,
    /// Our segments on a base that is not the one they were written on.
    ForeignBase,
    /// Ours, and another server wrote behind it.
    ForeignTail,
    /// A multi-part log of another server.
    Stock,
    /// A single-file log of Redis before 7.0.
    OldSingle,
    /// Another server's, or the manifest, and damaged.
    StockDamaged,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    Whole,
    Torn,
    Damaged,
}

/// The ring, seen from where the log (or else the snapshot) ends; with a log, together with a snapshot behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RingKind {
    /// Missing, damaged as a whole, of another history, or nothing to tell its history by.
    Unusable,
    /// Sound, but holds nothing further.
    Behind,
    /// Goes on where log or snapshot end.
    Extends,
    /// Likewise, and reaches at least as far as the log is known to have.
    Heals,
    /// Nothing else is there, and it holds everything since the history was born empty.
    FromBirth,
    /// Of this history by its tag, but written under a name that the history never had.
    OtherCopy,
    /// Without `replication.toml`: holds more than what else is there. With one: goes on from a snapshot of its name, which
    /// that one does not know.
    Orphan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Inputs {
    pub history: HistoryKind,
    pub snapshot: SnapshotKind,
    pub log: LogKind,
    pub ring: RingKind,
    /// Snapshot, log and ring together do not reach what `replication.toml` knows to have been there.
    pub short: bool,
    /// Only for files of other servers, which offer nothing to compare (rule 16).
    pub appendonly: bool,
    /// `aof-load-truncated`
    pub load_truncated: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The longest provable prefix of the history that the directory holds.
    Continue,
    /// `dump.rdb` and nothing else: its own position if it names one, else a new history.
    SnapshotAlone,
    /// The log's base and nothing else, as a new history.
    LogBaseAlone,
    /// All files of the log as another server loads them, as a new history.
    TakeOver,
    /// Nothing to load: a new history, born empty.
    Empty,
    Refuse(Blame),
}

/// Which file a refusal names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    History,
    Snapshot,
    Log,
    Ring,
    /// What is missing, as far as it can be told.
    Missing,
}

pub fn decide(i: &Inputs) -> Verdict {
    use HistoryKind as H;
    use LogKind as L;
    use SnapshotKind as S;
    match (i.history, i.snapshot, i.log) {
        (H::Corrupt, _, _) => Verdict::Refuse(Blame::History),

        (H::None, S::None | S::Positioned, L::None) if i.ring == RingKind::Orphan => {
            Verdict::Refuse(Blame::History)
        }
        (H::Good, S::Positioned, L::None | L::Ours { .. } | L::OtherCopy | L::ForeignBase)
            if i.ring == RingKind::Orphan =>
        {
            Verdict::Refuse(Blame::History)
        }
        (_, S::Foreign | S::Positioned, L::None) => Verdict::SnapshotAlone,
        (H::Good, S::Foreign | S::Positioned, L::Ours { .. } | L::OtherCopy | L::ForeignBase) => {
            Verdict::SnapshotAlone
        }
        (_, S::Foreign | S::Positioned, L::Stock | L::OldSingle | L::ForeignTail | L::StockDamaged)
        | (H::None, S::Foreign | S::Positioned, L::ForeignBase)
            if !i.appendonly =>
        {
            Verdict::SnapshotAlone
        }
        (H::None, S::Foreign | S::Positioned, L::Ours { own_base: false, .. }) => Verdict::SnapshotAlone,

        (H::None, S::Unreadable, L::Stock | L::OldSingle | L::StockDamaged) if !i.appendonly => {
            Verdict::Refuse(Blame::Snapshot)
        }
        (_, _, L::Stock | L::OldSingle | L::ForeignTail) => Verdict::TakeOver,
        (_, _, L::StockDamaged | L::OtherCopy) => Verdict::Refuse(Blame::Log),
        (_, _, L::ForeignBase) => Verdict::LogBaseAlone,

        (_, S::Unreadable, L::None | L::Ours { own_base: false, .. }) => Verdict::Refuse(Blame::Snapshot),
        (H::None, S::None, L::Ours { own_base: false, .. }) => Verdict::Refuse(Blame::Log),
        (H::None, _, L::Ours { .. }) if i.ring == RingKind::Orphan => Verdict::Refuse(Blame::History),
        (H::None, _, L::Ours { tail, .. }) => ours(tail, i),
        (H::None, S::None, L::None) => Verdict::Empty,
        // Without replication.toml only a log can make a snapshot a named one; if it did it would be read alone.
        (H::None, S::Named, L::None) => Verdict::SnapshotAlone,

        // A history, and files that are its own or not there.
        _ if i.ring == RingKind::OtherCopy => Verdict::Refuse(Blame::Ring),
        (_, S::None, L::Ours { own_base: false, .. } | L::None) if i.short => Verdict::Refuse(Blame::Missing),
        (_, S::None, L::Ours { own_base: false, .. }) => Verdict::Empty,
        (_, _, L::Ours { tail, .. }) => ours(tail, i),
        (_, S::Named, L::None) if i.short => Verdict::Refuse(Blame::Missing),
        (_, S::Named, L::None) => Verdict::Continue,
        (_, S::None, L::None) if i.ring == RingKind::FromBirth => Verdict::Continue,
        (_, S::None, L::None) => Verdict::Empty,
    }
}

/// The log's own damage is named first.
fn ours(tail: Tail, i: &Inputs) -> Verdict {
    let refilled = matches!(i.ring, RingKind::Extends | RingKind::Heals);
    let usable = match tail {
        Tail::Whole => true,
        Tail::Torn => i.load_truncated || refilled,
        Tail::Damaged => i.ring == RingKind::Heals,
    };
    match (usable, i.short) {
        (true, false) => Verdict::Continue,
        (true, true) => Verdict::Refuse(Blame::Missing),
        (false, _) => Verdict::Refuse(Blame::Log),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Inputs> {
        let mut logs = vec![
            LogKind::None,
            LogKind::OtherCopy,
            LogKind::ForeignBase,
            LogKind::ForeignTail,
            LogKind::Stock,
            LogKind::OldSingle,
            LogKind::StockDamaged,
        ];
        for own_base in [false, true] {
            logs.extend(
                [Tail::Whole, Tail::Torn, Tail::Damaged].map(|tail| LogKind::Ours { own_base, tail }),
            );
        }
        let mut rows = Vec::new();
        for history in [HistoryKind::None, HistoryKind::Good, HistoryKind::Corrupt] {
            for snapshot in [
                SnapshotKind::None,
                SnapshotKind::Named,
                SnapshotKind::Foreign,
                SnapshotKind::Positioned,
                SnapshotKind::Unreadable,
            ] {
                for &log in &logs {
                    for ring in [
                        RingKind::Unusable,
                        RingKind::Behind,
                        RingKind::Extends,
                        RingKind::Heals,
                        RingKind::FromBirth,
                        RingKind::OtherCopy,
                        RingKind::Orphan,
                    ] {
                        for bits in 0..8 {
                            let [appendonly, load_truncated, short] = [1, 2, 4].map(|bit| bits & bit != 0);
                            let row =
                                Inputs { history, snapshot, log, ring, short, appendonly, load_truncated };
                            rows.push(row);
                        }
                    }
                }
            }
        }
        rows
    }

    /// What must hold of every row, whatever the table says.
    #[test]
    fn no_row_loses_or_invents_anything() {
        for row in all() {
            let verdict = decide(&row);
            let row_text = format!("{row:?} → {verdict:?}");
            let has_snapshot = !matches!(row.snapshot, SnapshotKind::None);
            match verdict {
                Verdict::Empty => {
                    assert_eq!(row.snapshot, SnapshotKind::None, "{row_text}");
                    assert!(row.history == HistoryKind::None || !row.short, "{row_text}");
                    assert!(row.history == HistoryKind::Good || row.log == LogKind::None, "{row_text}");
                    assert!(
                        matches!(row.log, LogKind::None | LogKind::Ours { own_base: false, .. }),
                        "{row_text}"
                    );
                }
                Verdict::SnapshotAlone => {
                    assert!(has_snapshot && row.snapshot != SnapshotKind::Unreadable, "{row_text}")
                }
                Verdict::TakeOver => assert!(
                    matches!(row.log, LogKind::Stock | LogKind::OldSingle | LogKind::ForeignTail),
                    "{row_text}"
                ),
                Verdict::LogBaseAlone => assert_eq!(row.log, LogKind::ForeignBase, "{row_text}"),
                Verdict::Continue => {
                    assert!(
                        !matches!(row.snapshot, SnapshotKind::Foreign | SnapshotKind::Positioned)
                            || row.history == HistoryKind::None,
                        "rule 15: {row_text}"
                    );
                    assert!(!row.short && row.log != LogKind::OtherCopy, "a silent roll-back: {row_text}");
                    let good = row.history == HistoryKind::Good;
                    assert!(!good || row.ring != RingKind::OtherCopy, "a mixture: {row_text}");
                    let damaged = matches!(row.log, LogKind::Ours { tail: Tail::Damaged, .. });
                    assert!(!damaged || row.ring == RingKind::Heals, "rule 17: {row_text}");
                }
                Verdict::Refuse(Blame::History) => assert!(
                    row.history == HistoryKind::Corrupt
                        || row.history == HistoryKind::None && row.ring == RingKind::Orphan
                        || row.snapshot == SnapshotKind::Positioned && row.ring == RingKind::Orphan,
                    "{row_text}"
                ),
                Verdict::Refuse(Blame::Ring) => assert_eq!(row.ring, RingKind::OtherCopy, "{row_text}"),
                Verdict::Refuse(Blame::Missing) => assert!(row.short, "{row_text}"),
                Verdict::Refuse(Blame::Snapshot) => {
                    assert_eq!(row.snapshot, SnapshotKind::Unreadable, "{row_text}")
                }
                Verdict::Refuse(Blame::Log) => assert!(
                    matches!(
                        row.log,
                        LogKind::StockDamaged
                            | LogKind::OtherCopy
                            | LogKind::Ours { tail: Tail::Torn | Tail::Damaged, .. }
                            | LogKind::Ours { own_base: false, .. }
                    ),
                    "{row_text}"
                ),
            }
        }
    }

    /// Rule 16: `appendonly` says what is written, not what is read, unless other servers' files compete.
    #[test]
    fn the_setting_decides_only_between_files_of_other_servers() {
        for row in all() {
            let verdict = decide(&row);
            let other = decide(&Inputs { appendonly: !row.appendonly, ..row });
            let competing = matches!(
                row.log,
                LogKind::Stock
                    | LogKind::OldSingle
                    | LogKind::ForeignTail
                    | LogKind::StockDamaged
                    | LogKind::ForeignBase
            );
            assert!(verdict == other || (competing && row.snapshot != SnapshotKind::None), "{row:?}");
        }
    }

    #[test]
    fn rows_by_name() {
        let row = Inputs {
            history: HistoryKind::Good,
            snapshot: SnapshotKind::None,
            log: LogKind::None,
            ring: RingKind::Unusable,
            short: false,
            appendonly: true,
            load_truncated: true,
        };
        let ours = |own_base, tail| LogKind::Ours { own_base, tail };
        let check = |row: Inputs, expected| assert_eq!(decide(&row), expected, "{row:?}");
        check(row, Verdict::Empty);
        check(Inputs { ring: RingKind::FromBirth, ..row }, Verdict::Continue);
        check(Inputs { log: ours(true, Tail::Torn), ..row }, Verdict::Continue);
        check(
            Inputs { log: ours(true, Tail::Torn), load_truncated: false, ..row },
            Verdict::Refuse(Blame::Log),
        );
        // scenario 7: an operator's restore
        let restored = Inputs { snapshot: SnapshotKind::Foreign, ..row };
        check(
            Inputs { log: ours(true, Tail::Whole), ring: RingKind::Extends, ..restored },
            Verdict::SnapshotAlone,
        );
        // scenario 6: another server wrote on
        check(Inputs { log: LogKind::ForeignTail, ..row }, Verdict::TakeOver);
        // scenario 21: appendonly yes over a lone dump.rdb
        check(Inputs { history: HistoryKind::None, ..restored }, Verdict::SnapshotAlone);
        // scenario 28: a damaged tail is healed by the ring or refused
        check(Inputs { log: ours(true, Tail::Damaged), ..row }, Verdict::Refuse(Blame::Log));
        check(Inputs { log: ours(true, Tail::Damaged), ring: RingKind::Heals, ..row }, Verdict::Continue);
        // what was there is not reached: never less, silently
        check(Inputs { short: true, ..row }, Verdict::Refuse(Blame::Missing));
        check(Inputs { snapshot: SnapshotKind::Named, short: true, ..row }, Verdict::Refuse(Blame::Missing));
        check(Inputs { snapshot: SnapshotKind::Foreign, short: true, ..row }, Verdict::SnapshotAlone);
        // a ring that goes on where only a newer replication.toml, or one at all, could lead
        let orphan = Inputs { ring: RingKind::Orphan, ..row };
        check(Inputs { snapshot: SnapshotKind::Positioned, ..orphan }, Verdict::Refuse(Blame::History));
        check(Inputs { snapshot: SnapshotKind::Foreign, ..orphan }, Verdict::SnapshotAlone);
        let log = ours(true, Tail::Whole);
        check(Inputs { history: HistoryKind::None, log, ..orphan }, Verdict::Refuse(Blame::History));
        check(Inputs { log: ours(true, Tail::Whole), short: true, ..row }, Verdict::Refuse(Blame::Missing));
        // spill: the snapshot and what was spilled since
        check(
            Inputs { snapshot: SnapshotKind::Named, log: ours(false, Tail::Whole), ..row },
            Verdict::Continue,
        );
    }
}
