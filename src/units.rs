//! Quantities as newtypes, so that an offset is never added to a length of something else.
//!
//! A *position* is `(replid, offset)`: it names one exact prefix of one history. Everything the server promises
//! about restarts is a statement about positions, which is why they are never bare integers.

use std::fmt;
use std::ops::{Add, AddAssign, Sub};

/// Count of stream bytes since the history began: `Offset(n)` stands between byte `n-1` and byte `n`, so the
/// prefix it names has exactly `n` bytes. PSYNC's wire value is "the next byte wanted", counted from one:
/// see [`Offset::next_byte`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    pub const ZERO: Offset = Offset(0);

    /// What a replica at this position asks for in PSYNC.
    pub fn next_byte(self) -> u64 {
        self.0 + 1
    }

    /// Bytes from `earlier` to `self`; zero if `earlier` is later.
    pub fn since(self, earlier: Offset) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl Add<u64> for Offset {
    type Output = Offset;
    fn add(self, len: u64) -> Offset {
        Offset(self.0 + len)
    }
}

impl AddAssign<u64> for Offset {
    fn add_assign(&mut self, len: u64) {
        self.0 += len;
    }
}

/// Distance in bytes. Panics (in debug) if `rhs` is later: use [`Offset::since`] where that may happen.
impl Sub for Offset {
    type Output = u64;
    fn sub(self, rhs: Offset) -> u64 {
        self.0 - rhs.0
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Forty lowercase hex digits that name a history.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplId([u8; 40]);

impl ReplId {
    /// Redis' "no second history" placeholder: forty zeros.
    pub const NONE: ReplId = ReplId([b'0'; 40]);

    /// From 20 random bytes. Randomness is the caller's: the core draws none itself.
    pub fn from_random(bytes: [u8; 20]) -> ReplId {
        let mut hex = [0u8; 40];
        for (i, byte) in bytes.iter().enumerate() {
            hex[2 * i] = b"0123456789abcdef"[(byte >> 4) as usize];
            hex[2 * i + 1] = b"0123456789abcdef"[(byte & 15) as usize];
        }
        ReplId(hex)
    }

    /// `None` unless `text` is exactly forty hex digits (upper case is folded).
    pub fn parse(text: &[u8]) -> Option<ReplId> {
        let mut hex: [u8; 40] = text.try_into().ok()?;
        hex.make_ascii_lowercase();
        hex.iter().all(u8::is_ascii_hexdigit).then_some(ReplId(hex))
    }

    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }

    pub fn as_bytes(&self) -> &[u8; 40] {
        &self.0
    }
}

impl fmt::Display for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for ReplId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ReplId({})", self.as_str())
    }
}

/// One exact prefix of one history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Position {
    pub replid: ReplId,
    pub offset: Offset,
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.replid, self.offset)
    }
}

/// Wall-clock time in milliseconds since 1970. Always a parameter in the core, never read there.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct UnixMillis(pub i64);

impl fmt::Display for UnixMillis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the allocator sets aside for a request of so many bytes: multiples of 16 up to 128, then four sizes to each doubling.
///
/// These are mimalloc's (and jemalloc's) size classes. Whoever lets memory grow asks for one of them whole; nothing but
/// memory depends on it.
pub fn allocation_size(bytes: usize) -> usize {
    match bytes {
        0..=128 => bytes.next_multiple_of(16),
        _ => bytes.checked_next_multiple_of(1 << ((bytes - 1).ilog2() - 2)).unwrap_or(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replid_accepts_exactly_forty_hex_digits() {
        let id = ReplId::from_random([0xab; 20]);
        assert_eq!(id.as_str(), "ab".repeat(20));
        assert_eq!(ReplId::parse("AB".repeat(20).as_bytes()), Some(id));
        for bad in ["", "ab", &"ab".repeat(21), &"zz".repeat(20)] {
            assert_eq!(ReplId::parse(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn psync_asks_for_the_next_byte() {
        assert_eq!(Offset(0).next_byte(), 1);
        assert_eq!(Offset(28).since(Offset(30)), 0);
    }

    #[test]
    fn allocations_come_in_sizes() {
        for (bytes, expected) in
            [(0, 0), (1, 16), (16, 16), (100, 112), (128, 128), (129, 160), (160, 160), (161, 192)]
        {
            assert_eq!(allocation_size(bytes), expected, "{bytes}");
        }
        for (bytes, expected) in
            [(256, 256), (257, 320), (7169, 8192), (8193, 10240), (usize::MAX, usize::MAX)]
        {
            assert_eq!(allocation_size(bytes), expected, "{bytes}");
        }
    }
}
