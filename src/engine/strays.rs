//! What clients write on a replica (`replica-read-only no`): data beside the stream.
//!
//! The stream is the primary's, so such writes enter neither it nor the log nor what this server's own replicas are sent;
//! they live in memory and in snapshots. Their deadlines no primary will ever announce: keys that a client gave one
//! are deleted here when it passes, without a word to anybody.
//!
//! A dataset with such writes is no prefix of a history any more. While this server follows, that harms nobody: what it
//! passes on are the primary's bytes. When it is promoted, its data begin a history of their own, in which nobody may go on
//! from an earlier name (rule 18): [`Strays::wrote`] says so to whoever promotes, and `strays` in `replication.toml`, once a
//! base holds such writes, to a start.

use std::ops::Bound;

use super::node::Node;
use crate::state::Strays;
use crate::store::{Expiry, NEVER};

/// Keys looked at per tick.
const LOOK: usize = 1000;

impl Node {
    /// A client's command has run on this replica; `dirty` is the count of changes before it.
    pub(super) fn note_strays(&mut self, dirty: u64) {
        let changes = &mut self.store.changes;
        let strays = &mut self.server.strays;
        strays.wrote |= changes.dirty > dirty;
        strays.deadlines.extend(changes.local_deadlines.drain(..));
    }

    /// Deletes those whose deadline has passed, and forgets those without one.
    pub(super) fn expire_strays(&mut self, now: i64) {
        let Strays { deadlines, seen, .. } = &mut self.server.strays;
        let from = seen.take().map_or(Bound::Unbounded, Bound::Excluded);
        let looked_at: Vec<_> = deadlines.range((from, Bound::Unbounded)).take(LOOK).cloned().collect();
        *seen = looked_at.last().filter(|_| looked_at.len() == LOOK).cloned();
        for id in looked_at {
            let Some(database) = self.store.dbs.get(id.0 as usize) else { continue };
            let expires = database.entries.get(&id.1).map_or(NEVER, |entry| entry.expires());
            if expires <= now {
                self.store.db(id.0 as usize, now, Expiry::Local, 0).expire(&id.1);
            }
            if expires <= now || expires == NEVER {
                self.server.strays.deadlines.remove(&id);
            }
        }
        self.note_touched();
        self.publish_events();
    }
}

#[cfg(test)]
mod tests {
    use crate::engine::testing::NodeBench;

    fn replica() -> NodeBench {
        let mut bench = NodeBench::default();
        bench.node.will_follow("10.0.0.1", 6379, true);
        bench
    }

    #[test]
    fn what_a_client_writes_on_a_replica_expires_there_and_enters_no_stream() {
        let mut bench = replica();
        let a = bench.connect();
        bench.check(a, "SET k v PX 10", "-READONLY You can't write against a read only replica.");
        bench.set("replica-read-only", "no");
        bench.check(a, "SET kept v", "+OK");
        bench.check(a, "SET k v PX 10", "+OK");
        bench.check(a, "RPUSH list a", ":1");
        bench.check(a, "PEXPIRE list 10", ":1");
        bench.check(a, "SET later v PX 5000", "+OK");
        bench.check(a, "PERSIST later", ":1");
        assert!(bench.node.server.strays.wrote);
        assert_eq!(bench.node.server.strays.deadlines.len(), 3);
        bench.pass(20);
        bench.check(a, "DBSIZE", ":2");
        bench.check(a, "GET k", "$-1");
        assert!(bench.send(a, "INFO stats").contains("expired_keys:2"));
        assert!(bench.node.server.strays.deadlines.is_empty());
        // A write meets a key before the sweep does.
        bench.check(a, "SET k v PX 10", "+OK");
        bench.clock += 20_000;
        bench.check(a, "APPEND k w", ":1");
        assert_eq!(bench.stream(), "");
    }

    #[test]
    fn the_primarys_deadlines_are_the_primarys() {
        let mut bench = replica();
        bench.set("replica-read-only", "no");
        let a = bench.connect();
        let now = bench.clock / 1000;
        let mut db = bench.node.store.db(0, now, crate::store::Expiry::Ignore, 0);
        db.set_string(b"k", b"v", now + 10);
        bench.pass(20);
        bench.check(a, "DBSIZE", ":1");
        bench.check(a, "GET k", "$-1");
        assert!(!bench.node.server.strays.wrote);
    }

    /// More keys than one tick looks at.
    #[test]
    fn all_of_many_go() {
        let mut bench = replica();
        bench.set("replica-read-only", "no");
        let a = bench.connect();
        for n in 0..super::LOOK * 2 + 7 {
            bench.send(a, &format!("SET {n} v PX {}", 1 + n % 3));
        }
        for _ in 0..4 {
            bench.pass(10);
        }
        bench.check(a, "DBSIZE", ":0");
    }
}
