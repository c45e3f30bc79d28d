//! Deliberate mistakes, so that the crash harness can be asked whether it would find them.
//!
//! Each row of [`BUGS`] is a place in the server where one thing is done wrongly if its bug is planted: an fsync left out,
//! two steps the other way round, a check forgotten. The place asks [`planted`]; that is a constant `false` in every build
//! but one with the cargo feature `planted` and the unit tests', so nothing of it is in a server that anybody runs. One build holds all
//! bugs, of which one is chosen when it runs: by [`plant`] for this thread (the simulator is one thread), or by
//! [`plant_everywhere`] once for the process.
//!
//! Rejected: a patch for each bug, as patches rot, and a build for each takes longer than finding it.
//!
//! Bugs marked *found* were real ones once: the harness found them, and what mended them is what the bug takes away.

macro_rules! bugs {
    ($($number:literal $name:ident $promise:literal $story:literal;)*) => {
        /// A mistake that can be planted.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Bug { $($name = $number),* }

        /// All of them, by number.
        pub const BUGS: &[Row] = &[$(Row { bug: Bug::$name, number: $number, promise: $promise, story: $story }),*];
    };
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    pub bug: Bug,
    pub number: u8,
    /// The promise that it breaks.
    pub promise: &'static str,
    pub story: &'static str,
}

bugs! {
    1 LogFsync "P1" "the log's fsync is left out";
    2 NameFsync "P1" "a new name is relied on before the directory is synced";
    3 SnapshotFsync "P1" "a snapshot gets its name before its contents are synced";
    4 HistoryFsync "P1" "replication.toml is replaced by a file that was not synced";
    5 EarlyReply "P1" "appendfsync always: replies leave before the fsync";
    6 EarlyDurable "P1" "what was written while the fsync ran is called durable, too";
    7 RingEndFirst "P1" "the ring's new end is published before the bytes are there";
    8 RingStartLate "P1" "the ring's new start is published after the oldest bytes were overwritten";
    9 RingOverrun "P1" "the ring overwrites bytes that the log does not prove yet";
    10 NoSpill "P1" "without a log the ring overruns the last snapshot";
    11 BigUnit "P1" "a unit larger than the ring leaves the older window in force";
    12 MarkSeal "P5" "the seal of the log's marks is not checked";
    13 SealPlace "P5" "the ring's seals are not bound to the stream offset";
    14 FsyncForgiven "P7" "a failed fsync is tried again as if nothing had happened";
    15 TornMulti "P2" "recovery takes what stands of a transaction that was not finished";
    16 SegmentDb "P2" "a segment begins in database 0, whatever was selected";
    17 StaleManifest "P5" "segments are deleted before the manifest names what replaces them";
    18 ExpiryInReplay "P2" "keys expire while the log is replayed";
    19 NameUnrecorded "P3" "a start goes on under its new name before that is recorded";
    20 NameKept "P3" "a start goes on under the old name";
    21 WaitWritten "P1" "WAITAOF counts what is written and not yet synced";
    22 StartUnsynced "P1" "found: a start relies on what a killed server left in the page cache";
    23 BranchSeals "P2" "found: seals of a branch that was left stay in the ring";
    24 CloseUnsynced "P1" "found: a clean shutdown syncs the log before its last mark, not after it";
    25 SpillDurable "P1" "found: the fsync of a new segment calls the spill before it durable";
    26 ResizeUnfed "P1" "a ring that is to take over does not get the appends";
    27 BaseEarly "P1" "a snapshot is named as the base in force before it is in its place";
    28 EffectVerbatim "P2" "SPOP enters the stream as it was sent";
    29 BrokenServed "P1" "found: what neither log nor ring holds is acknowledged before a base holds it";
    30 StreamDb "P2" "a start takes it that the stream has database 0 selected";
    31 ForeignTail "P3" "what parses behind the last mark counts as stream";
    32 ForgetUnsealed "P5" "found: the ring is told to forget its log before its last block is summed up";
    33 DamageTorn "P5" "damage in what was synced passes for a torn tail";
    34 VerdictBeyond "P3" "PSYNC goes on one byte beyond the end of an earlier name";
    35 VerdictZero "P3" "PSYNC of next byte 0 is taken for one of byte 1";
    36 OtherPrefix "P6" "a replica that holds more is refused by an error that makes it send SYNC";
    37 BornForgotten "P6" "a history that began on nothing is copied to replicas of others";
    38 LineageLost "P4" "a start remembers no earlier name";
    39 ReplicaExpiry "P3" "a replica deletes by its own clock what has expired";
    40 PayloadEarly "P3" "appendfsync always: a snapshot is sent before the log is durable up to its cut";
    41 SentEarly "P3" "appendfsync always: replicas are sent what is not durable";
    42 PromotionKept "P3" "a promotion goes on under the name of before";
    43 EndsKept "P3" "names keep ends that lie beyond what was recovered";
    44 TailKept "P5" "a torn tail is left where it is";
    45 LogDropped "P1" "found: a log is deleted before the one that follows it has a base";
}

impl Bug {
    /// `None`: no bug has this number.
    pub fn by_number(number: u8) -> Option<Bug> {
        BUGS.iter().find(|row| row.number == number).map(|row| row.bug)
    }

    pub fn row(self) -> &'static Row {
        &BUGS[self as usize - 1]
    }
}

#[cfg(not(any(test, feature = "planted")))]
mod at_work {
    /// Whether the mistake is to be made here: never.
    #[inline(always)]
    pub const fn planted(_: super::Bug) -> bool {
        false
    }
}

#[cfg(any(test, feature = "planted"))]
mod at_work {
    use super::Bug;
    use std::cell::Cell;
    use std::sync::OnceLock;

    thread_local! {
        static HERE: Cell<Option<Bug>> = const { Cell::new(None) };
    }
    static EVERYWHERE: OnceLock<Bug> = OnceLock::new();

    /// Whether the mistake is to be made here.
    pub fn planted(bug: Bug) -> bool {
        HERE.get() == Some(bug) || EVERYWHERE.get() == Some(&bug)
    }

    /// This thread makes the mistake from now on, and no other; `None`: none.
    pub fn plant(bug: Option<Bug>) {
        HERE.set(bug);
    }

    /// All threads make it, for ever. Counts once.
    pub fn plant_everywhere(bug: Bug) {
        let _the_first_counts = EVERYWHERE.set(bug);
    }
}

pub use at_work::planted;
#[cfg(any(test, feature = "planted"))]
pub use at_work::{plant, plant_everywhere};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_places_in_the_table() {
        for (at, row) in BUGS.iter().enumerate() {
            assert_eq!((usize::from(row.number), row.bug.row().number), (at + 1, row.number));
            assert_eq!(Bug::by_number(row.number), Some(row.bug));
        }
        assert_eq!(Bug::by_number(0), None);
    }

    #[test]
    fn a_bug_is_planted_in_its_thread_only() {
        plant(Some(Bug::LogFsync));
        assert!(planted(Bug::LogFsync) && !planted(Bug::NameFsync));
        std::thread::spawn(|| assert!(!planted(Bug::LogFsync))).join().unwrap();
        plant(None);
        assert!(!planted(Bug::LogFsync));
    }
}
