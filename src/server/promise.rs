//! From where on the ring must hold the stream: the one place that knows.
//!
//! **The invariant** (rules 6, 7, 16, 21). At every moment there is a base in force (`dump.rdb` as `replication.toml` names it,
//! the log's own base, or nothing, for a history that was born empty) from whose cut the manifest's segments and the ring,
//! together and without a gap, lead to the end of the stream; and the manifest's segments follow one another.
//!
//! What base and *closed* segments lead to is one place, [`Promise::to`]. While no log runs the ring holds everything
//! from there on; while one runs it began there, and the ring holds what no mark in it proves yet. Hence:
//!
//! | event | then |
//! |---|---|
//! | the ring is about to begin behind `to` | a log begins at `to` first (the spill); if that fails, the bytes wait and writes are refused |
//! | a log begins | at `to`, also if the stream is further: the ring has the rest. Not where the old segments end? Then these are needless, and go first; or, if nothing leads to the end any more, stay until the new log has a base (`Segments::leave_behind`) |
//! | a log that began could not open its first segment, and is given up | all is as before it |
//! | a log ends | `to` is its end; if it could not be closed, its last mark, also behind a failed fsync: the ring has what follows. Has it not (a unit larger than the ring, rule 8)? Then nothing behind `to` is acknowledged before a base holds it ([`Promise::broken_at`]) |
//! | a base is placed at a cut ≥ `to`, no log runs | `to` is the cut, the segments are needless |
//! | a base is placed at a cut < `to`, or a log runs | nothing: segments lead on from the old base through the cut |
//! | a restart | `to` is the log's end or the chosen base's cut, whichever is later; a ring of another size takes over only if it reaches back to it |
//!
//! **After a failed fsync** the bytes behind `durable` read well as long as the page cache has them, which a crash of the
//! process does not change (P1 without AOF asks for no more), and no fsync of ours may touch them again (rule 23). So when the log is
//! switched off then, what follows begins at its last mark, is written as of a log that is durable only up to there, and a
//! snapshot is due at once ([`Promise::is_in_doubt`]). Rejected: to begin anew at the end of the stream, as what was written
//! until that snapshot was in force led on from nothing; to refuse writes until then, as the operator has given the log up.
//!
//! With `save ""` and AOF off nothing is *kept*: the ring moves on, and base and segments are a state of the past
//! ([`Promise::is_whole`] is false). Keeping begins again with a log at the end of the stream and a base within it.
//! Rejected: to remember where the last snapshot was and where the log ended side by side, each user taking what it needs.

use super::persist::Cut;
use crate::planted::{Bug, planted};
use crate::units::Offset;

#[derive(Clone, Copy, Debug)]
pub struct Promise {
    /// Save points or `appendonly`: what is acknowledged survives the process.
    kept: bool,
    /// Base and closed segments lead here; while a log runs, where it began.
    to: Cut,
    /// So much of that survives a crash of the machine.
    durable: Offset,
    /// What lies between is not to be relied on for long: a failed fsync did not save it.
    in_doubt: bool,
    /// The manifest's segments end at `to`: the next one may follow them.
    in_log: bool,
    whole: bool,
    /// What was promised stops here: the log ended, and neither it nor the ring holds what follows.
    broken_at: Option<Offset>,
}

impl Promise {
    /// As recovery leaves it. `in_log`: the log's files in the manifest end there.
    pub fn new(to: Cut, in_log: bool) -> Promise {
        Promise { kept: false, to, durable: to.offset, in_doubt: false, in_log, whole: true, broken_at: None }
    }

    pub fn keep(&mut self, kept: bool) {
        self.kept = kept;
        self.broken_at = self.broken_at.filter(|_| kept);
    }

    pub fn is_kept(&self) -> bool {
        self.kept
    }

    /// Base, segments and ring lead to the end of the stream.
    pub fn is_whole(&self) -> bool {
        self.whole
    }

    /// Nothing behind this may be acknowledged before a base holds it: it is in memory only.
    pub fn broken_at(&self) -> Option<Offset> {
        self.broken_at.filter(|_| !planted(Bug::BrokenServed))
    }

    /// What base and closed segments lead to.
    pub fn to(&self) -> Cut {
        self.to
    }

    /// A base is due: see the module's head.
    pub fn is_in_doubt(&self) -> bool {
        self.in_doubt
    }

    /// How far what leads to `from`, where a log is to begin, survives a crash of the machine.
    pub fn durable_at(&self, from: Cut) -> Offset {
        let continued = self.is_continued_at(from) && !planted(Bug::SpillDurable);
        if continued { self.durable } else { from.offset }
    }

    /// While no log runs: the ring must hold everything from here on.
    pub fn needed_from(&self) -> Option<Cut> {
        (self.kept && self.whole).then_some(self.to)
    }

    /// The manifest's segments are a part of what leads to [`Promise::to`].
    pub fn is_in_log(&self) -> bool {
        self.in_log
    }

    /// A log that begins at `from` goes on where the manifest's segments end.
    pub fn is_continued_at(&self, from: Cut) -> bool {
        self.in_log && from.offset == self.to.offset
    }

    /// While no log runs: the ring begins here now.
    pub fn ring_begins_at(&mut self, start: Offset) {
        if start > self.to.offset {
            self.breaks();
        }
    }

    fn breaks(&mut self) {
        if self.kept && self.whole {
            self.broken_at = Some(self.to.offset);
        }
        self.whole = false;
    }

    fn is_whole_again(&mut self) {
        (self.whole, self.broken_at) = (true, None);
    }

    /// A log has begun, the only one in the manifest unless [`Promise::is_continued_at`] held.
    pub fn log_began(&mut self, from: Cut) {
        let continued = self.is_continued_at(from);
        self.whole &= continued || !self.in_log && from.offset <= self.to.offset;
        (self.to, self.in_log) = (from, true);
    }

    /// The log has ended. `at`: where what it proves ends, `durable` of it synced; `None` if nobody knows.
    pub fn log_ended(&mut self, at: Option<Cut>, durable: Offset) {
        match at {
            Some(at) => (self.to, self.durable) = (at, durable),
            None => {
                self.breaks();
                self.in_log = false;
            }
        }
    }

    /// It could not be opened, and is given up: what was known before it began still holds.
    pub fn log_never_began(&mut self, before: Promise) {
        *self = Promise { kept: self.kept, ..before };
    }

    /// That was after a failed fsync.
    pub fn log_was_sealed(&mut self) {
        self.in_doubt = true;
    }

    /// Nothing is kept, and segments that only replicas needed are removed as these pass them.
    pub fn segments_went(&mut self) {
        self.whole = false;
    }

    /// A log runs, and a base is in force whose cut is `cut`.
    pub fn base_placed_under_log(&mut self, cut: Cut) {
        if cut.offset >= self.to.offset {
            self.is_whole_again();
        }
        self.in_doubt &= cut.offset < self.to.offset;
    }

    /// No log runs, and `dump.rdb` holds the state at `cut`; the ring begins at `ring_start`. `true`: the log's base and
    /// segments are needless.
    pub fn snapshot_placed(&mut self, cut: Cut, ring_start: Offset) -> bool {
        let further = cut.offset >= self.to.offset || !self.whole;
        if !further || ring_start > cut.offset {
            return false;
        }
        (self.to, self.durable, self.in_doubt) = (cut, cut.offset, false);
        self.is_whole_again();
        std::mem::replace(&mut self.in_log, false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::units::ReplId;

    fn cut(offset: u64) -> Cut {
        Cut { replid: ReplId::NONE, offset: Offset(offset), db: 0 }
    }

    fn kept(to: u64, in_log: bool) -> Promise {
        let mut promise = Promise::new(cut(to), in_log);
        promise.keep(true);
        promise
    }

    fn needed(promise: &Promise) -> Option<u64> {
        promise.needed_from().map(|cut| cut.offset.0)
    }

    #[test]
    fn a_base_moves_the_place_forward_only() {
        let check = |base: u64, expected: (u64, bool)| {
            let mut promise = kept(50, true);
            let needless = promise.snapshot_placed(cut(base), Offset(0));
            assert_eq!((needed(&promise), needless), (Some(expected.0), expected.1), "{base}");
        };
        check(40, (50, false));
        check(50, (50, true));
        check(60, (60, true));
    }

    #[test]
    fn a_log_goes_on_only_where_the_segments_end() {
        let mut promise = kept(50, true);
        promise.snapshot_placed(cut(60), Offset(0));
        assert!(!promise.is_continued_at(cut(60)));
        promise.log_began(cut(60));
        promise.base_placed_under_log(cut(80));
        promise.log_ended(Some(cut(90)), Offset(90));
        assert_eq!((needed(&promise), promise.is_continued_at(cut(90))), (Some(90), true));
    }

    /// Rule 23: the log goes on where its last mark stands, as one that is durable only up to the last fsync.
    #[test]
    fn behind_a_failed_fsync_a_base_is_due() {
        let mut promise = kept(10, true);
        promise.log_began(cut(10));
        promise.log_ended(Some(cut(50)), Offset(40));
        promise.log_was_sealed();
        assert_eq!((promise.is_whole(), needed(&promise), promise.is_in_doubt()), (true, Some(50), true));
        assert_eq!((promise.is_continued_at(cut(50)), promise.durable_at(cut(50))), (true, Offset(40)));
        let mut spilled = promise;
        spilled.log_began(cut(50));
        spilled.base_placed_under_log(cut(49));
        assert!(spilled.is_in_doubt());
        spilled.base_placed_under_log(cut(60));
        assert!(!spilled.is_in_doubt());
        assert!(promise.snapshot_placed(cut(60), Offset(50)) && !promise.is_in_doubt());
        assert_eq!(promise.durable_at(cut(60)), Offset(60));
    }

    /// Rule 8: the ring has let go of a unit that is larger than it, and the log, on a full disk, did not take it.
    #[test]
    fn what_neither_log_nor_ring_holds_is_broken_until_a_base_is_there() {
        let check = |kept: bool, at: Option<u64>, expected: Option<u64>| {
            let mut promise = Promise::new(cut(10), true);
            promise.keep(kept);
            promise.log_began(cut(10));
            promise.log_ended(at.map(cut), Offset(at.unwrap_or(0)));
            promise.ring_begins_at(Offset(60));
            assert_eq!(promise.broken_at(), expected.map(Offset), "{at:?}");
            promise.log_began(cut(70));
            assert_eq!(promise.broken_at(), expected.map(Offset), "{at:?}");
            let mut given_up = promise;
            given_up.keep(false);
            assert_eq!(given_up.broken_at(), None);
            promise.base_placed_under_log(cut(70));
            assert_eq!((promise.is_whole(), promise.broken_at()), (true, None));
        };
        check(true, Some(40), Some(40));
        check(true, Some(60), None);
        check(true, None, Some(10));
        check(false, Some(40), None);
    }

    #[test]
    fn what_is_not_kept_is_kept_again_from_a_base_on() {
        let mut promise = Promise::new(cut(10), true);
        promise.ring_begins_at(Offset(11));
        promise.keep(true);
        assert_eq!((promise.is_whole(), needed(&promise)), (false, None));
        assert!(!promise.snapshot_placed(cut(20), Offset(21)), "the ring does not lead on from it");
        assert!(!promise.is_whole());
        promise.log_began(cut(30));
        promise.base_placed_under_log(cut(25));
        assert!(!promise.is_whole(), "the log does not lead on from it");
        promise.base_placed_under_log(cut(40));
        promise.log_ended(Some(cut(55)), Offset(55));
        assert_eq!(needed(&promise), Some(55));
    }
}
