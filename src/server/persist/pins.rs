//! What replicas still need: they are fed from the ring while they follow, and from the log when they fall behind it.
//!
//! A pin keeps the stream from its place on. Where there is no log, a spill begins at the pin's cut before the ring moves
//! beyond it, and ends when nobody needs it any more; a slow replica costs disk, never memory.
//!
//! A pin has two places. Where the replica last had everything is a boundary between units, so a log can begin there, and
//! a spill is not ended before it has everything again. How far it has been sent moves with every piece, and gives
//! segments back one by one: also a replica that never catches up keeps no more than what it has not been sent and
//! the rest of one segment. So that there are boundaries to cross, a spill that serves replicas only is rotated every
//! [`SPILL_SEGMENT`] bytes. Rejected: one place that moves every so many bytes, as no log can begin inside a unit.
//!
//! **A restart takes nothing from replicas** (P4). They are gone then, and back a moment later; the base that a shutdown or a
//! start writes must not remove what the log holds for them meanwhile. So both keep all that the log holds beyond the ring
//! ([`Persist::await_replicas`]) until repl-timeout has passed since the start, within `repl-pin-max-bytes`. What a
//! shutdown or a crash leaves as history of the manifest a start takes up where its seals prove it
//! (`log::commit`). Rejected: to note each replica's place in `replication.toml`, as who comes back, and from where, is
//! known only when it asks.

use std::io;
use std::sync::atomic::Ordering;

use super::{Cut, Persist, drop_log, lock};
use crate::log::segments::NOTHING;
use crate::log::thread::LogSender;
use crate::log::writer::Unclosed;
use crate::planted::{Bug, planted};
use crate::server::feed::Piece;
use crate::server::logging::warning;
use crate::state::Slot;
use crate::units::Offset;

/// Stream bytes given to a replica's socket at a time.
const FEED_PIECE: u64 = 256 * 1024;
/// Bytes of a segment of a spill that serves replicas only. Other segments end at a snapshot or a rewrite.
const SPILL_SEGMENT: u64 = 64 << 20;
/// A spill that serves replicas only goes on at least this long: with a small ring the next one would begin at once.
const SPILL_LEAST: u64 = 4 << 20;

pub(super) struct Pin {
    /// It has been sent what lies before.
    at: Offset,
    /// A log that serves it reaches back to here, until it has everything.
    since: Offset,
    /// A spill may begin here for it.
    pub(super) cut: Option<Cut>,
    /// It is fed from the ring and had everything when it was here.
    online: bool,
}

/// Replicas that a restart cut off are waited for.
pub(super) struct Awaited {
    /// The oldest byte that the log had then.
    from: Offset,
    since_ms: i64,
}

impl Persist {
    /// Keeps the stream from `at` on for a replica, in the log if the ring moves on.
    pub fn pin(&mut self, slot: Slot, at: Offset) {
        let cut = self.pins.get(&slot).and_then(|pin| pin.cut);
        self.pins.insert(slot, Pin { at, since: at, cut, online: false });
        self.note_needed();
    }

    /// The same from the cut of its snapshot on; a spill begins for it where there is no log.
    pub fn pin_cut(&mut self, slot: Slot, cut: Cut) {
        self.pins.insert(slot, Pin { at: cut.offset, since: cut.offset, cut: Some(cut), online: false });
        self.note_needed();
    }

    /// The replica has all that may be sent. What comes is kept for it: should it fall behind the ring, a spill begins
    /// here.
    pub fn caught_up(&mut self, slot: Slot, at: Offset) {
        let cut = (at == self.end).then(|| self.cut());
        self.pins.insert(slot, Pin { at, since: at, cut, online: true });
        self.note_needed();
        if self.end.since(self.promise.to().offset) >= SPILL_LEAST {
            self.end_spill_if_needless();
        }
    }

    /// The replica has been sent the stream up to `at`, from the ring, and lags on.
    pub fn sent(&mut self, slot: Slot, at: Offset) {
        let Some(pin) = self.pins.get_mut(&slot) else { return };
        let was_oldest = self.needed.load(Ordering::Acquire) >= pin.at.0;
        pin.at = pin.at.max(at);
        if was_oldest {
            self.note_needed();
        }
    }

    /// The replica has gone.
    pub fn unpin(&mut self, slot: Slot) {
        if self.pins.remove(&slot).is_some() {
            self.note_needed();
            self.end_spill_if_needless();
        }
    }

    /// A start, or a shutdown before it saves: the log keeps what it holds beyond the ring for replicas that come back.
    pub fn await_replicas(&mut self, now_ms: i64) {
        let Some(from) = self.log_reaches_beyond_ring().filter(|_| self.sender.is_some()) else { return };
        self.awaited = Some(Awaited { from, since_ms: now_ms });
        self.note_needed();
    }

    /// Called on every tick, with `repl-timeout` and `repl-pin-max-bytes` (0: no limit). Behind a failed fsync there may
    /// be gaps between segments: nothing is kept there for those who may never come.
    pub fn tend_awaited(&mut self, now_ms: i64, patience_ms: i64, most: u64) {
        let Some(Awaited { from, since_ms }) = self.awaited else { return };
        let too_much = most > 0 && self.end.since(from) > most;
        if too_much || now_ms - since_ms >= patience_ms || self.log_is_latched() {
            self.await_no_more();
        }
    }

    /// Also if what is kept proves to be unreadable: whoever is given it would ask again and again.
    pub fn await_no_more(&mut self) {
        if self.awaited.take().is_some() {
            self.note_needed();
        }
    }

    /// Where the log begins, if that is before the ring's start.
    pub(super) fn log_reaches_beyond_ring(&mut self) -> Option<Offset> {
        self.look_for_oldest();
        self.oldest_in_log.filter(|oldest| *oldest < self.ring.start())
    }

    /// While a snapshot is being committed or a segment opened, what was known before stands for a moment.
    fn look_for_oldest(&mut self) {
        if let Ok(segments) = self.files.segments.try_lock() {
            self.oldest_in_log = segments.readable().filter_map(|entry| entry.start_offset).min();
        }
    }

    /// A base may replace segments at any time, on another thread: it leaves those that replicas need.
    pub(super) fn note_needed(&self) {
        let awaited = self.awaited.as_ref().map(|awaited| awaited.from.0);
        let oldest = self.pins.values().map(|pin| pin.at.0).chain(awaited).min();
        self.needed.store(oldest.unwrap_or(NOTHING), Ordering::Release);
    }

    /// Removes segments that were replaced and kept, once replicas have passed them, and those of a spill that nobody else
    /// needs. Called on every tick.
    pub fn drop_passed(&mut self) {
        let serves_replicas = self.serves_replicas();
        if let (true, Some(sender)) = (serves_replicas, &self.sender)
            && sender.segment_len() >= SPILL_SEGMENT
        {
            sender.rotate(Box::new(|rotated| {
                if let Err(why) = rotated {
                    warning!("Another segment for replicas could not be opened: {why}");
                }
            }));
        }
        if self.tidying.as_ref().is_some_and(|thread| !thread.is_finished()) {
            return;
        }
        let (passed, first) = match self.files.segments.try_lock() {
            Ok(segments) => (segments.has_passed(), segments.first_needed().filter(|_| serves_replicas)),
            Err(_) => return,
        };
        if let Some(first) = first {
            self.promise.segments_went();
            self.tidy("replicas have passed", move |files| drop_log(files, first));
        } else if passed {
            self.tidy("replicas have passed", |files| {
                lock(&files.segments).delete_passed().map_err(io::Error::other)
            });
        }
    }

    /// The log keeps what it held when this server started.
    pub(super) fn awaits_replicas(&self) -> bool {
        self.awaited.is_some()
    }

    /// A log runs, and recovery needs nothing of it.
    pub(super) fn serves_replicas(&self) -> bool {
        self.log.is_some() && !self.promise.is_kept()
    }

    /// Those for which more is kept than the ring holds, and from where on.
    pub fn pinned(&self) -> impl Iterator<Item = (Slot, Offset)> {
        let start = self.ring.start();
        let kept = move |(_, pin): &(&Slot, &Pin)| !pin.online || pin.since < start;
        self.pins.iter().filter(kept).map(|(slot, pin)| (*slot, pin.at))
    }

    /// A replica needs what the log holds.
    pub fn is_pinned(&self) -> bool {
        self.pinned().next().is_some()
    }

    fn end_spill_if_needless(&mut self) {
        if self.serves_replicas() && !self.is_pinned() {
            self.end_spill();
        }
    }

    /// A spill that served replicas only is not needed any more.
    fn end_spill(&mut self) {
        self.sender = None;
        let Some(log) = self.log.take() else { return };
        self.unopened = None;
        self.promise.log_ended(None, Offset::ZERO);
        self.ring.forget_log();
        self.tidy("served replicas", move |files| {
            if let Err(Unclosed { why, .. }) = log.stop() {
                warning!("Ending the segments written for replicas: {why}");
            }
            let next = lock(&files.segments).next_seq();
            drop_log(files, next)
        });
    }

    /// What may be sent to replicas.
    fn sendable(&self) -> Offset {
        match &self.sender {
            Some(sender) if self.appendonly && self.sends_durable && !planted(Bug::SentEarly) => {
                sender.durable()
            }
            _ => self.end,
        }
    }

    /// The same, of what the log holds.
    pub fn sendable_from_log(&self) -> Offset {
        let written = self.present_log().map_or(Offset::ZERO, LogSender::written);
        written.min(self.sendable())
    }

    /// Lets `write` take stream bytes from `sent` on; it says how many it took.
    pub fn piece(&self, sent: Offset, write: impl FnOnce(&[u8], &[u8]) -> io::Result<usize>) -> Piece {
        let most = self.sendable().since(sent).min(FEED_PIECE) as usize;
        if sent < self.ring.start() {
            return Piece::Older;
        }
        match self.ring.read(sent, most) {
            Some((first, rest)) if !first.is_empty() => Piece::Ring(write(first, rest)),
            _ => Piece::Nothing,
        }
    }

    /// The oldest byte that ring or log can give.
    pub(super) fn held_from(&mut self) -> Offset {
        let ring = self.ring.start();
        let leads_on = self.unopened.as_ref().is_none_or(|unopened| unopened.leads_on);
        if self.present_log().is_none() || !leads_on {
            return ring;
        }
        self.look_for_oldest();
        self.oldest_in_log.unwrap_or(ring).min(ring)
    }
}
