//! The two CRC-64s: RDB's, which Redis fixed, and the one that seals our own files.
//!
//! | type | CRC | used for |
//! |---|---|---|
//! | [`RdbCrc`] | CRC-64/REDIS ("Jones"): polynomial `ad93d23594c935a9`, reflected, starts at 0, not inverted | RDB trailer, DUMP payload |
//! | [`SealCrc`] | CRC-64/XZ: polynomial `42f0e1eba9ea3693`, reflected, starts at and is inverted by all ones | ring blocks, AOF marks, `replication.toml` |
//!
//! Our own files do not take RDB's CRC, because one that starts at zero does not see leading zeros, and zeroed
//! sectors are the commonest damage. A seal is *seeded* with the place of the bytes (offset, history, the mark
//! before): the same bytes found elsewhere, of an earlier lap or a spliced file, do not validate (rule 3).
//!
//! **Two ways to compute, chosen by length.** `crc-fast` folds with carry-less multiplication (about 50 GB/s on
//! 64 KiB) but costs some 20 ns to enter; the ring advances a seal by each written command, often 30 to 40
//! bytes. Below [`TABLE_BELOW`] bytes a slicing-by-8 table is faster (about 20 ns for 40 bytes, 4 ns for 8).
//! `crc64fast` was measured for the seals and not taken: a quarter of `crc-fast`'s speed on large blocks and slower
//! than the table on small ones; it remains the reference in the tests. Both ways share one register, so a
//! checksum never depends on how its bytes were cut.

use crc_fast::{CrcAlgorithm, Digest};

/// Running CRC-64/REDIS.
#[derive(Clone, Copy, Debug, Default)]
pub struct RdbCrc {
    register: u64,
}

impl RdbCrc {
    pub const fn new() -> RdbCrc {
        RdbCrc { register: 0 }
    }
    pub fn update(&mut self, bytes: &[u8]) {
        self.register = JONES.advance(self.register, bytes);
    }
    /// The checksum of all bytes so far; written little-endian in an RDB file.
    pub fn value(&self) -> u64 {
        self.register
    }
}

/// Running CRC-64/XZ that starts from a place.
#[derive(Clone, Copy, Debug)]
pub struct SealCrc {
    register: u64,
}

impl SealCrc {
    /// A seal bound to `seed`: each word counts as eight little-endian bytes before the content. Equal content
    /// under seeds that differ in one word never has the same seal (a CRC sees every burst up to its own width).
    /// With no seed this is plain CRC-64/XZ.
    pub fn seeded(seed: &[u64]) -> SealCrc {
        let mut seal = SealCrc { register: !0 };
        for word in seed {
            seal.update(&word.to_le_bytes());
        }
        seal
    }
    #[inline]
    pub fn update(&mut self, bytes: &[u8]) {
        self.register = XZ.advance(self.register, bytes);
    }
    /// The seal of all bytes so far; more may follow.
    pub fn value(&self) -> u64 {
        !self.register
    }
}

/// The seal of `bytes` at the place `seed`, in one step.
pub fn seal(seed: &[u64], bytes: &[u8]) -> u64 {
    let mut seal = SealCrc::seeded(seed);
    seal.update(bytes);
    seal.value()
}

/// Updates shorter than this take the table; where both ways cost the same (measured, x86-64 with pclmulqdq).
const TABLE_BELOW: usize = 64;

/// One reflected polynomial with both ways to advance its register.
struct Polynomial {
    /// `tables[k][b]`: what byte `b` contributes to the register when `k` further bytes follow it.
    tables: [[u64; 256]; 8],
    bulk: CrcAlgorithm,
}

static JONES: Polynomial = Polynomial::new(0x95ac_9329_ac4b_c9b5, CrcAlgorithm::Crc64Redis);
static XZ: Polynomial = Polynomial::new(0xc96c_5795_d787_0f42, CrcAlgorithm::Crc64Xz);

impl Polynomial {
    /// `reversed`: the polynomial's coefficients, lowest power in the highest bit.
    const fn new(reversed: u64, bulk: CrcAlgorithm) -> Polynomial {
        let mut tables = [[0; 256]; 8];
        let mut byte = 0;
        while byte < 256 {
            let mut register = byte as u64;
            let mut bit = 0;
            while bit < 8 {
                register = if register & 1 == 1 { (register >> 1) ^ reversed } else { register >> 1 };
                bit += 1;
            }
            tables[0][byte] = register;
            byte += 1;
        }
        let mut k = 1;
        while k < 8 {
            let mut byte = 0;
            while byte < 256 {
                let before: u64 = tables[k - 1][byte];
                tables[k][byte] = (before >> 8) ^ tables[0][(before & 0xff) as usize];
                byte += 1;
            }
            k += 1;
        }
        Polynomial { tables, bulk }
    }

    #[inline]
    fn advance(&self, register: u64, bytes: &[u8]) -> u64 {
        if bytes.len() < TABLE_BELOW {
            return self.advance_by_table(register, bytes);
        }
        let mut digest = Digest::new_with_init_state(self.bulk, register);
        digest.update(bytes);
        digest.get_state()
    }

    #[inline]
    fn advance_by_table(&self, mut register: u64, bytes: &[u8]) -> u64 {
        let (words, rest) = bytes.as_chunks::<8>();
        for word in words {
            let word = (u64::from_le_bytes(*word) ^ register).to_le_bytes();
            register = 0;
            for (k, byte) in word.into_iter().enumerate() {
                register ^= self.tables[7 - k][byte as usize];
            }
        }
        for byte in rest {
            register = (register >> 8) ^ self.tables[0][(register as u8 ^ byte) as usize];
        }
        register
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_values() {
        let check = |bytes: &[u8], redis: u64, xz: u64| {
            let mut crc = RdbCrc::new();
            crc.update(bytes);
            assert_eq!((crc.value(), seal(&[], bytes)), (redis, xz), "{bytes:?}");
        };
        // The catalogue's check values; RDB's trailer over one zero byte shows why it does not seal our files.
        check(b"123456789", 0xe9c6_d914_c4b8_d9ca, 0x995d_c9bb_df19_39fa);
        check(b"", 0, 0);
        check(&[0], 0, 0x1fad_a173_6467_3f59);
    }

    #[test]
    fn a_seal_is_bound_to_its_place() {
        let there = seal(&[7, 4096], b"bytes");
        assert_eq!(there, seal(&[7, 4096], b"bytes"));
        for other in [&[7u64, 8192][..], &[8, 4096], &[4096, 7], &[7], &[]] {
            assert_ne!(there, seal(other, b"bytes"), "{other:?}");
        }
    }

    proptest! {
        #[test]
        fn agrees_with_other_implementations_however_cut(
            bytes in proptest::collection::vec(any::<u8>(), 0..700),
            cuts in proptest::collection::vec(0usize..700, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|c| c.min(bytes.len())).collect();
            cuts.sort_unstable();
            cuts.push(bytes.len());
            let (mut rdb, mut seal, mut from) = (RdbCrc::new(), SealCrc::seeded(&[]), 0);
            for to in cuts {
                rdb.update(&bytes[from..to]);
                seal.update(&bytes[from..to]);
                from = to;
            }
            let mut xz = crc64fast::Digest::new();
            xz.write(&bytes);
            prop_assert_eq!(seal.value(), xz.sum64());
            prop_assert_eq!(rdb.value(), crc_fast::checksum(CrcAlgorithm::Crc64Redis, &bytes));
            prop_assert_eq!(rdb.value(), JONES.advance_by_table(0, &bytes));
        }
    }
}
