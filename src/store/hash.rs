//! The one hash function of all tables, keyed by a per-process seed against collision attacks.
//!
//! The seed is set once, by the server from the operating system's randomness, before any table exists; the
//! simulator sets a fixed one, so that iteration order (SCAN, SPOP, RANDOMKEY) replays from its seed. Nothing
//! persisted depends on it.

use std::hash::{BuildHasher, Hasher};
use std::sync::OnceLock;

use foldhash::SharedSeed;
use foldhash::quality::SeedableRandomState;

static SEED: OnceLock<(u64, SharedSeed)> = OnceLock::new();

/// Fixes the seed for this process. The first call wins; `false` if a seed was already in use.
pub fn set_seed(seed: u64) -> bool {
    SEED.set((seed, SharedSeed::from_u64(seed))).is_ok()
}

/// 64 well-mixed bits; which of them choose what, says [`super::partitions`].
#[inline]
pub fn hash(bytes: &[u8]) -> u64 {
    let (seed, shared) = SEED.get_or_init(|| (0, SharedSeed::from_u64(0)));
    let mut hasher = SeedableRandomState::with_seed(*seed, shared).build_hasher();
    hasher.write(bytes);
    hasher.finish()
}

/// Builds hashers keyed by the process seed, for ordinary maps and sets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seeded;

impl BuildHasher for Seeded {
    type Hasher = <SeedableRandomState as BuildHasher>::Hasher;
    fn build_hasher(&self) -> Self::Hasher {
        let (seed, shared) = SEED.get_or_init(|| (0, SharedSeed::from_u64(0)));
        SeedableRandomState::with_seed(*seed, shared).build_hasher()
    }
}

/// An ordinary map under the process seed.
pub type Map<K, V> = hashbrown::HashMap<K, V, Seeded>;
/// An ordinary set under the process seed.
pub type MapSet<K> = hashbrown::HashSet<K, Seeded>;
