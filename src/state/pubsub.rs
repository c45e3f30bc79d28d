//! Who listens to which channel and pattern.

use std::collections::BTreeMap;

use super::session::{Sessions, Slot};
use crate::resp::glob;
use crate::resp::reply::Reply;
use crate::store::hash::Map;

/// Subscriptions of all sessions. Sessions keep their own lists beside; both change together, through
/// [`PubSub::subscribe`] and [`PubSub::unsubscribe`].
#[derive(Default)]
pub struct PubSub {
    pub channels: Map<Vec<u8>, Vec<Slot>>,
    pub shard_channels: Map<Vec<u8>, Vec<Slot>>,
    /// Ordered, so that deliveries replay in the same order.
    pub patterns: BTreeMap<Vec<u8>, Vec<Slot>>,
}

/// The three kinds of subscription.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Channel,
    Pattern,
    Shard,
}

impl PubSub {
    /// `true` if it is new for this session.
    pub fn subscribe(&mut self, sessions: &mut Sessions, slot: Slot, kind: Kind, name: &[u8]) -> bool {
        let Some(session) = sessions.get_mut(slot) else { return false };
        if !session.subscribed(kind).insert(name.to_vec()) {
            return false;
        }
        match kind {
            Kind::Channel => self.channels.entry(name.to_vec()).or_default().push(slot),
            Kind::Pattern => self.patterns.entry(name.to_vec()).or_default().push(slot),
            Kind::Shard => self.shard_channels.entry(name.to_vec()).or_default().push(slot),
        }
        true
    }

    /// `true` if this session was subscribed.
    pub fn unsubscribe(&mut self, sessions: &mut Sessions, slot: Slot, kind: Kind, name: &[u8]) -> bool {
        let Some(session) = sessions.get_mut(slot) else { return false };
        if !session.subscribed(kind).remove(name) {
            return false;
        }
        let gone = |slots: &mut Vec<Slot>| {
            slots.retain(|other| *other != slot);
            slots.is_empty()
        };
        match kind {
            Kind::Pattern => {
                if self.patterns.get_mut(name).is_some_and(gone) {
                    self.patterns.remove(name);
                }
            }
            Kind::Channel | Kind::Shard => {
                let map = if kind == Kind::Shard { &mut self.shard_channels } else { &mut self.channels };
                if map.get_mut(name).is_some_and(gone) {
                    map.remove(name);
                }
            }
        }
        true
    }

    /// Drops everything a session listens to.
    pub fn forget(&mut self, sessions: &mut Sessions, slot: Slot) {
        let Some(session) = sessions.get(slot) else { return };
        let names = |set: &std::collections::BTreeSet<Vec<u8>>| set.iter().cloned().collect::<Vec<_>>();
        let all = [
            (Kind::Channel, names(&session.channels)),
            (Kind::Pattern, names(&session.patterns)),
            (Kind::Shard, names(&session.shard_channels)),
        ];
        for (kind, names) in all {
            for name in &names {
                self.unsubscribe(sessions, slot, kind, name);
            }
        }
    }

    /// Writes the message to every listener's output; returns how many got it and notes them in `woken`.
    pub fn publish(
        &self,
        sessions: &mut Sessions,
        woken: &mut Vec<Slot>,
        channel: &[u8],
        message: &[u8],
        shard: bool,
    ) -> usize {
        let mut receivers = 0;
        let (map, word) =
            if shard { (&self.shard_channels, "smessage") } else { (&self.channels, "message") };
        for slot in map.get(channel).into_iter().flatten() {
            let Some(session) = sessions.get_mut(*slot) else { continue };
            let mut out = Reply::new(&mut session.out, session.proto);
            out.push(3);
            out.bulk_str(word);
            out.bulk(channel);
            out.bulk(message);
            woken.push(*slot);
            receivers += 1;
        }
        if shard {
            return receivers;
        }
        for (pattern, slots) in &self.patterns {
            if !glob::matches(pattern, channel, false) {
                continue;
            }
            for slot in slots {
                let Some(session) = sessions.get_mut(*slot) else { continue };
                let mut out = Reply::new(&mut session.out, session.proto);
                out.push(4);
                out.bulk_str("pmessage");
                out.bulk(pattern);
                out.bulk(channel);
                out.bulk(message);
                woken.push(*slot);
                receivers += 1;
            }
        }
        receivers
    }
}
