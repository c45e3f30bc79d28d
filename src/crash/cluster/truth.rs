//! What every name of a history stands for: the sum of the stream at each place where somebody stood under that name.
//!
//! A position is a name and an offset, and names one prefix of one stream. So whoever stands at `(name, offset)` must have the same
//! bytes before it as everybody else who ever did (P3), and the same data. Both are compared by sums: the stream's is carried
//! along from its beginning, so that it differs for good once a byte did, or who wrote it: after a parting both sides may well
//! write the same, as each begins with a SELECT, and are two streams all the same.
//!
//! A name begins where its first owner took it. Before that place it stands for what the name before it stood for.

use std::collections::{BTreeMap, HashMap};

use super::super::model::Print;
use crate::units::{Offset, ReplId};

/// Of all stream bytes up to a place.
pub type Sum = u64;

/// The sum of an empty stream.
pub const NOTHING: Sum = 0xcbf2_9ce4_8422_2325;

/// The sum further on.
pub fn sum(mut before: Sum, bytes: &[u8]) -> Sum {
    for byte in bytes {
        before = (before ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    before
}

struct Name {
    before: Option<ReplId>,
    begun: u64,
    sums: BTreeMap<u64, Sum>,
}

#[derive(Default)]
pub struct Truth {
    names: HashMap<ReplId, Name>,
    data: HashMap<(Offset, Sum), Print>,
}

impl Truth {
    /// A name comes into use; an error if it is in use already.
    pub fn begins(
        &mut self,
        name: ReplId,
        before: Option<ReplId>,
        at: Offset,
        sum: Sum,
    ) -> Result<(), String> {
        if self.names.contains_key(&name) {
            return Err(format!("the name {name} is used a second time"));
        }
        let sums = BTreeMap::from([(at.0, sum)]);
        self.names.insert(name, Name { before, begun: at.0, sums });
        Ok(())
    }

    pub fn knows(&self, name: ReplId) -> bool {
        self.names.contains_key(&name)
    }

    /// The name under which what leads to this place was written: the one given or one before it.
    pub fn writer(&self, name: ReplId, at: Offset) -> ReplId {
        let mut writer = name;
        while let Some(known) = self.names.get(&writer).filter(|known| at.0 <= known.begun) {
            let Some(before) = known.before else { break };
            writer = before;
        }
        writer
    }

    /// The stream's sum at a place, if somebody has stood there.
    pub fn sum_at(&self, mut name: ReplId, at: Offset) -> Option<Sum> {
        loop {
            let known = self.names.get(&name)?;
            if at.0 >= known.begun {
                return known.sums.get(&at.0).copied();
            }
            name = known.before?;
        }
    }

    /// Somebody stands at this place with this stream behind it; an error if others stood there with another one.
    pub fn stands(&mut self, name: ReplId, at: Offset, sum: Sum) -> Result<(), String> {
        match self.sum_at(name, at) {
            Some(known) if known != sum => {
                Err(format!("other bytes lead to {name}:{at} than those that led there before"))
            }
            Some(_) => Ok(()),
            None => {
                self.note(name, at, sum);
                Ok(())
            }
        }
    }

    fn note(&mut self, mut name: ReplId, at: Offset, sum: Sum) {
        while let Some(known) = self.names.get_mut(&name) {
            match known.before {
                Some(before) if at.0 < known.begun => name = before,
                _ => {
                    known.sums.insert(at.0, sum);
                    return;
                }
            }
        }
    }

    /// The data behind this stream; an error if others had other data.
    pub fn holds(&mut self, at: Offset, sum: Sum, data: Print) -> Result<(), String> {
        match self.data.insert((at, sum), data) {
            Some(known) if known != data => {
                Err(format!("at {at} two servers with the same stream hold different data"))
            }
            _ => Ok(()),
        }
    }

    pub fn data_at(&self, at: Offset, sum: Sum) -> Option<Print> {
        self.data.get(&(at, sum)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_stands_for_one_stream() {
        let id = |n: u8| ReplId::from_random([n; 20]);
        let mut truth = Truth::default();
        let (at10, at20) = (sum(NOTHING, b"ten"), sum(NOTHING, b"ten more"));
        truth.begins(id(1), None, Offset(0), NOTHING).unwrap();
        truth.stands(id(1), Offset(10), at10).unwrap();
        truth.begins(id(2), Some(id(1)), Offset(10), at10).unwrap();
        truth.stands(id(1), Offset(20), at20).unwrap();
        truth.stands(id(2), Offset(20), 5).unwrap();
        for (at, writer) in [(9, 1), (10, 1), (11, 2), (20, 2)] {
            assert_eq!(truth.writer(id(2), Offset(at)), id(writer), "{at}");
        }
        assert!(truth.begins(id(2), None, Offset(0), NOTHING).is_err());
        let check = |name: u8, at: u64, expected: Option<Sum>| {
            assert_eq!(truth.sum_at(id(name), Offset(at)), expected, "{name} {at}");
        };
        check(1, 20, Some(at20));
        check(2, 20, Some(5));
        check(2, 10, Some(at10));
        check(2, 0, Some(NOTHING));
        check(3, 0, None);
        assert!(truth.stands(id(2), Offset(20), at20).is_err());
        truth.holds(Offset(20), at20, 7).unwrap();
        assert!(truth.holds(Offset(20), at20, 8).is_err() && truth.holds(Offset(20), 5, 8).is_ok());
    }
}
