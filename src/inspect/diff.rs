//! What differs between two datasets: keys added, removed, changed, and what in them. In bounded memory, of any size.
//!
//! ```text
//! left, right ─► each key: hash of the name, digest of the value, type, deadline, place ─► partitions ─► a mark per key
//! left again  ─► removed keys          right again ─► added and changed keys ─► the value there and here: detail
//! ```
//!
//! Names are read again instead of being kept, so that a file is read twice and only hashes and places lie on the disk
//! meanwhile. What cannot be read twice is copied first ([`Whole`]).
//! The digest does not depend on how a value is encoded or a collection without order is arranged; of a stream it covers
//! entries, groups and what is pending. When a consumer was last seen, deadlines of a hash's fields and the
//! content of module values are not compared.

use std::hash::{BuildHasher, Hasher};
use std::path::Path;

use foldhash::quality::RandomState;

use super::check;
use super::detail::{self, Detail, Each};
use super::keys::{Filter, Head};
use super::partitions::{Ascending, HASH, Marks, Partitions};
use super::snapshot::Snapshot;
use super::value::{self, Role, Visitor};
use super::whole::Whole;
use super::{Failure, Result};
use crate::format::crc::SealCrc;
use crate::format::packed::listpack::ListpackRef;
use crate::format::rdb::{Item, LoadError, Piece, ValueType, stream};
use crate::units::UnixMillis;

/// What happened to a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Added,
    Removed,
    /// What of it is another.
    Changed {
        kind: bool,
        value: bool,
        deadline: bool,
    },
}

impl Change {
    /// The sign that stands before a line, and what changed, in words.
    pub fn sign(self) -> char {
        match self {
            Change::Added => '+',
            Change::Removed => '-',
            Change::Changed { .. } => '~',
        }
    }
    pub fn word(self) -> &'static str {
        match self {
            Change::Added => "added",
            Change::Removed => "removed",
            Change::Changed { .. } => "changed",
        }
    }
    pub fn words(self) -> Vec<&'static str> {
        let Change::Changed { kind, value, deadline } = self else { return Vec::new() };
        let all = [(kind, "type"), (value, "value"), (deadline, "deadline")];
        all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect()
    }
}

/// Keys of each fate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    pub same: u64,
    pub added: u64,
    pub removed: u64,
    pub changed: u64,
    /// What of a directory is not compared.
    pub notes: Vec<String>,
}

impl Totals {
    pub fn differ(&self) -> bool {
        self.added + self.removed + self.changed > 0
    }
}

/// Which keys are compared.
pub struct Wanted<'w> {
    pub filter: &'w Filter,
    pub now: UnixMillis,
    /// Elements of each fate that are named of a changed key; without any, values are not looked into.
    pub elements: usize,
}

/// A key that is not the same.
pub struct Difference<'d> {
    pub change: Change,
    /// As the right side has it, unless it is removed.
    pub head: Head<'d>,
    /// Of a key whose value changed and whose type did not.
    pub detail: Option<Detail>,
}

/// One key as it lies in a partition:
///
/// | bytes | what |
/// |---|---|
/// | 16 | hash of database and name |
/// | 1 | 0 left, 1 right |
/// | 8 | ordinal in its file, big-endian |
/// | 16 | digest of the value |
/// | 1 | the data type: [`type_number`] |
/// | 9 | 1 and the deadline, or zeros |
/// | 8 | where it begins in its file, big-endian |
const ENTRY: usize = HASH + 1 + 8 + 16 + 1 + 9 + 8;
type Entry = [u8; ENTRY];
const SIDE: usize = HASH;
const ORDINAL: usize = SIDE + 1;
const DIGEST: usize = ORDINAL + 8;
const TYPE: usize = DIGEST + 16;
const DEADLINE: usize = TYPE + 1;
const AT: usize = DEADLINE + 9;

/// Compares two datasets and shows each difference: first what is only in `left`, then the rest, in the order of the
/// files. Only one may be standard input.
pub fn diff(
    [left, right]: [&Path; 2],
    wanted: &Wanted<'_>,
    options: &check::Options,
    show: &mut dyn FnMut(&Difference<'_>) -> Result<()>,
) -> Result<Totals> {
    if [left, right].iter().all(|path| path.as_os_str() == "-") {
        return Err(Failure::Usage("only one of the two may be standard input".into()));
    }
    let sides = [Whole::open(left, options, wanted.now)?, Whole::open(right, options, wanted.now)?];
    let [left, right] = &sides;
    let mut parts = Partitions::new();
    let mut digest = Digest::new();
    let (mut counts, mut versions) = ([0, 0], [0, 0]);
    for (side, whole) in sides.iter().enumerate() {
        versions[side] = walk(whole, wanted, options, |snapshot, head, ordinal| {
            digest.clear();
            snapshot.value(head.kind, &mut digest)?;
            counts[side] = ordinal + 1;
            parts.put(head.db, head.key, &entry(side as u8, ordinal, head, digest.value())[HASH..]);
            Ok(())
        })?;
    }
    let mut found = Found::new(counts[1], wanted.elements > 0);
    parts.each_key(|entries: &[Entry]| found.judge(entries))?;
    walk(left, wanted, options, |snapshot, head, ordinal| {
        snapshot.skip(head.kind)?;
        if !found.removed.has(ordinal) {
            return Ok(());
        }
        show(&Difference { change: Change::Removed, head: *head, detail: None })
    })?;
    walk(right, wanted, options, |snapshot, head, ordinal| {
        snapshot.skip(head.kind)?;
        let Some(change) = found.change(ordinal) else { return Ok(()) };
        let detail = match found.places.take(ordinal)? {
            Some(at) => {
                let places = [(left, versions[0], at), (right, versions[1], head.at)];
                Some(detail_of(head, wanted.elements, places)?)
            }
            None => None,
        };
        show(&Difference { change, head: *head, detail })
    })?;
    let notes = sides.iter().filter_map(|whole| whole.note.clone()).collect();
    Ok(Totals { notes, ..found.totals })
}

fn entry(side: u8, ordinal: u64, head: &Head<'_>, digest: [u8; 16]) -> Entry {
    let mut entry = [0; ENTRY];
    entry[SIDE] = side;
    entry[ORDINAL..DIGEST].copy_from_slice(&ordinal.to_be_bytes());
    entry[DIGEST..TYPE].copy_from_slice(&digest);
    entry[TYPE] = type_number(head.kind);
    if let Some(at) = head.attributes.expires {
        entry[DEADLINE] = 1;
        entry[DEADLINE + 1..AT].copy_from_slice(&at.to_be_bytes());
    }
    entry[AT..].copy_from_slice(&head.at.to_be_bytes());
    entry
}

/// Compares the values of one key: file, its version, and where the key begins, on both sides.
fn detail_of(head: &Head<'_>, most: usize, places: [(&Whole, u16, u64); 2]) -> Result<Detail> {
    let mut walk = |side: usize, each: &mut Each<'_>| {
        let (whole, version, at) = places[side];
        whole.glance(version, (head.db, at), |snapshot| {
            let Item::Key(kind, _) = snapshot.next_item()? else { return Ok(()) };
            snapshot.value(kind, each).map(|_| ())
        })
    };
    detail::compare(head.type_word(), most, &mut walk)
}

struct Found {
    removed: Marks,
    added: Marks,
    kind: Marks,
    value: Marks,
    deadline: Marks,
    /// Of changed values, by their ordinals on the right: where the key begins on the left.
    places: Ascending,
    /// Whether that is asked for.
    detailed: bool,
    totals: Totals,
}

impl Found {
    /// `count`: keys on the right.
    fn new(count: u64, detailed: bool) -> Found {
        let [removed, added, kind, value, deadline] = std::array::from_fn(|_| Marks::default());
        let (places, totals) = (Ascending::new(count), Totals::default());
        Found { removed, added, kind, value, deadline, places, detailed, totals }
    }

    /// The entries of a key, the left ones first; of one that comes twice in a file the last one stands.
    fn judge(&mut self, entries: &[Entry]) {
        let last = |side: u8| entries.iter().rfind(|entry| entry[SIDE] == side);
        match (last(0), last(1)) {
            (Some(left), None) => {
                self.removed.set(ordinal(left));
                self.totals.removed += 1;
            }
            (None, Some(right)) => {
                self.added.set(ordinal(right));
                self.totals.added += 1;
            }
            (Some(left), Some(right)) => {
                let at = ordinal(right);
                let mut differ = false;
                for (part, marks) in [
                    (TYPE..DEADLINE, &mut self.kind),
                    (DIGEST..TYPE, &mut self.value),
                    (DEADLINE..AT, &mut self.deadline),
                ] {
                    if left[part.clone()] != right[part] {
                        marks.set(at);
                        differ = true;
                    }
                }
                let same_type = left[TYPE] == right[TYPE];
                if self.detailed && same_type && left[DIGEST..TYPE] != right[DIGEST..TYPE] {
                    self.places.put(at, left[AT..].try_into().map_or(0, u64::from_be_bytes));
                }
                self.totals.changed += u64::from(differ);
                self.totals.same += u64::from(!differ);
            }
            (None, None) => {}
        }
    }

    fn change(&self, ordinal: u64) -> Option<Change> {
        if self.added.has(ordinal) {
            return Some(Change::Added);
        }
        let [kind, value, deadline] =
            [&self.kind, &self.value, &self.deadline].map(|marks| marks.has(ordinal));
        (kind || value || deadline).then_some(Change::Changed { kind, value, deadline })
    }
}

fn ordinal(entry: &Entry) -> u64 {
    entry[ORDINAL..DIGEST].try_into().map_or(0, u64::from_be_bytes)
}

fn type_number(kind: ValueType) -> u8 {
    let word = value::type_word(kind);
    value::TYPES.iter().position(|known| *known == word).map_or(u8::MAX, |number| number as u8)
}

/// Hands over the keys of a snapshot that are wanted, counted; the value must be taken. The file's version.
fn walk(
    whole: &Whole,
    wanted: &Wanted<'_>,
    options: &check::Options,
    mut take: impl FnMut(&mut Snapshot<'_>, &Head<'_>, u64) -> Result<()>,
) -> Result<u16> {
    let mut input = whole.input(&options.watch)?;
    let mut snapshot = Snapshot::open(&mut input, &whole.name)?;
    let (mut name, mut ordinal) = (Vec::new(), 0);
    loop {
        let (kind, attributes) = match snapshot.next_item()? {
            Item::Key(kind, attributes) => (kind, attributes),
            Item::End(_) => break,
            _ => continue,
        };
        name.clear();
        name.extend_from_slice(snapshot.key());
        let head = Head { db: snapshot.db, key: &name, kind, attributes, at: snapshot.at };
        if wanted.filter.wants_head(&head, wanted.now) {
            take(&mut snapshot, &head, ordinal)?;
            ordinal += 1;
        } else {
            snapshot.skip(kind)?;
        }
    }
    Ok(snapshot.version())
}

/// A value as 128 bits, whatever its encoding: a sum over what has no order, a chain through what has.
struct Digest {
    seeds: [RandomState; 2],
    sum: [u64; 2],
    chain: [u64; 2],
    /// The string that is passing.
    seal: SealCrc,
    /// A field or member, until what belongs to it is known.
    waiting: Option<[u64; 2]>,
}

impl Digest {
    fn new() -> Digest {
        let seeds = [RandomState::default(), RandomState::default()];
        Digest { seeds, sum: [0; 2], chain: [0; 2], seal: SealCrc::seeded(&[]), waiting: None }
    }

    fn clear(&mut self) {
        (self.sum, self.chain, self.waiting) = ([0; 2], [0; 2], None);
    }

    fn value(&mut self) -> [u8; 16] {
        self.add_waiting();
        let both = [self.mix(0, &[self.sum[0], self.chain[0]]), self.mix(1, &[self.sum[1], self.chain[1]])];
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&both[0].to_be_bytes());
        bytes[8..].copy_from_slice(&both[1].to_be_bytes());
        bytes
    }

    fn mix(&self, half: usize, words: &[u64]) -> u64 {
        let mut hasher = self.seeds[half].build_hasher();
        words.iter().for_each(|word| hasher.write_u64(*word));
        hasher.finish()
    }

    fn both(&self, words: &[u64]) -> [u64; 2] {
        [self.mix(0, words), self.mix(1, words)]
    }

    fn add(&mut self, [a, b]: [u64; 2]) {
        self.sum = [self.sum[0].wrapping_add(a), self.sum[1].wrapping_add(b)];
    }

    fn add_waiting(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            self.add(waiting);
        }
    }

    /// Goes on with the chain.
    fn link(&mut self, words: &[u64]) {
        let next = |half: usize| {
            let mut hasher = self.seeds[half].build_hasher();
            hasher.write_u64(self.chain[half]);
            words.iter().for_each(|word| hasher.write_u64(*word));
            hasher.finish()
        };
        self.chain = [next(0), next(1)];
    }

    fn link_text(&mut self, text: &[u8]) {
        let mut seal = SealCrc::seeded(&[]);
        seal.update(text);
        self.link(&[seal.value(), text.len() as u64]);
    }

    /// Binds what follows a field or member to it.
    fn bind(&mut self, words: &[u64]) {
        if let Some([a, b]) = self.waiting.take() {
            let with = |half: usize, first: u64| {
                let mut hasher = self.seeds[half].build_hasher();
                hasher.write_u64(first);
                words.iter().for_each(|word| hasher.write_u64(*word));
                hasher.finish()
            };
            self.add([with(0, a), with(1, b)]);
        }
    }
}

type Seen = std::result::Result<(), LoadError>;

impl Visitor for Digest {
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> Seen {
        if piece.is_first() {
            self.seal = SealCrc::seeded(&[]);
        }
        self.seal.update(piece.bytes);
        if !piece.is_last() {
            return Ok(());
        }
        let words = [self.seal.value(), piece.len];
        match role {
            Role::Text | Role::Item => self.link(&words),
            Role::Member | Role::Field => {
                self.add_waiting();
                self.waiting = Some(self.both(&words));
            }
            Role::Value => self.bind(&words),
        }
        Ok(())
    }

    fn score(&mut self, score: f64) -> Seen {
        // Both zeros are one score.
        self.bind(&[(score + 0.0).to_bits()]);
        Ok(())
    }
}

impl stream::Visit for Digest {
    fn block(&mut self, first: stream::Id, block: ListpackRef<'_>) -> Seen {
        let mut digits = itoa::Buffer::new();
        let whole = stream::block_entries(first, block, &mut |(ms, seq), fields| {
            self.link(&[ms, seq, fields.len() as u64]);
            for (field, value) in fields {
                self.link_text(field.bytes(&mut digits));
                self.link_text(value.bytes(&mut digits));
            }
        });
        // The block was checked before it was shown.
        debug_assert!(whole.is_some());
        Ok(())
    }
    fn tail(&mut self, numbers: &[u64]) -> Seen {
        self.link(&numbers[..numbers.len().min(3)]);
        Ok(())
    }
    fn group(&mut self, name: &[u8], numbers: &[u64]) -> Seen {
        self.link_text(name);
        self.link(&numbers[..numbers.len().min(2)]);
        Ok(())
    }
    fn pending(&mut self, id: stream::Id, time: i64, deliveries: u64) -> Seen {
        self.link_text(&id);
        self.link(&[time as u64, deliveries]);
        Ok(())
    }
    fn consumer(&mut self, name: &[u8]) -> Seen {
        self.link_text(name);
        Ok(())
    }
    fn owned(&mut self, id: stream::Id) -> Seen {
        self.link_text(&id);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::convert::{Request, convert};
    use std::path::PathBuf;

    fn found(left: &Path, right: &Path) -> (Totals, Vec<String>) {
        let (filter, mut lines) = (Filter::default(), Vec::new());
        let wanted = Wanted { filter: &filter, now: UnixMillis(0), elements: 1 };
        let totals = diff([left, right], &wanted, &check::Options::default(), &mut |difference| {
            let Difference { change, head, detail } = difference;
            let key = String::from_utf8_lossy(head.key);
            let mut line = format!("{}{} {}{}", change.sign(), head.db, key, change.words().join(","));
            if let Some(Detail { removed, added, changed, shown, .. }) = detail {
                line += &format!(" {removed} {added} {changed}, {} shown", shown.len());
            }
            lines.push(line);
            Ok(())
        });
        (totals.unwrap(), lines)
    }

    #[test]
    fn added_removed_changed() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, items: &[u8]| -> PathBuf {
            let path = directory.path().join(name);
            std::fs::write(&path, [b"REDIS0004", items, b"\xff"].concat()).unwrap();
            path
        };
        let left = file(
            "left",
            b"\xfe\0\0\x01a\x01x\0\x01b\x01x\x02\x01s\x02\x01x\x01y\x01\x01l\x02\x01x\x01y\0\x01t\x011\0\x01e\x01x\x04\x01h\x01\x01f\x01v",
        );
        let right = file(
            "right",
            b"\xfe\0\0\x01a\x01x\x02\x01s\x02\x01y\x01x\x01\x01l\x02\x01y\x01x\x01\x01t\x01\x011\xfc\x05\0\0\0\0\0\0\0\0\x01e\x01x\
              \x04\x01h\x01\x01v\x01f\xfe\x01\0\x01a\x01x",
        );
        let (totals, lines) = found(&left, &right);
        assert_eq!(
            lines,
            [
                "-0 b",
                "~0 lvalue 0 0 2, 1 shown",
                "~0 ttype",
                "~0 edeadline",
                "~0 hvalue 1 1 0, 2 shown",
                "+1 a"
            ]
        );
        assert_eq!(totals, Totals { same: 2, added: 1, removed: 1, changed: 4, notes: Vec::new() });
        assert!(!found(&left, &left).0.differ());
    }

    #[test]
    fn an_encoding_is_no_difference() {
        let directory = tempfile::tempdir().unwrap();
        for name in ["types.rdb", "tables.rdb", "streams.rdb", "version-6.rdb"] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples").join(name);
            for version in [9, 10, 12] {
                let mut bytes = Vec::new();
                let request = Request {
                    inputs: std::slice::from_ref(&file),
                    filter: &Filter::default(),
                    slots: None,
                    version: Some(version),
                };
                convert(&request, &check::Options::default(), UnixMillis(0), &mut [&mut bytes]).unwrap();
                let other = directory.path().join("other.rdb");
                std::fs::write(&other, &bytes).unwrap();
                let (totals, lines) = found(&file, &other);
                assert!(!totals.differ() && totals.same > 0, "{name} {version}: {lines:?}");
            }
        }
    }

    /// A damaged side, whichever and wherever, ends with its file and a place in it, or is another dataset.
    #[test]
    fn damage_on_either_side_is_placed() {
        let directory = tempfile::tempdir().unwrap();
        let other = directory.path().join("damaged");
        for sample in ["types.rdb", "streams.rdb", "version-6.rdb"] {
            let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/samples").join(sample);
            let bytes = std::fs::read(&file).unwrap();
            for at in (9..bytes.len()).step_by(1 + bytes.len() / 150) {
                let mut flipped = bytes.clone();
                flipped[at] ^= 1 << (at % 8);
                for damaged in [&flipped, &bytes[..at].to_vec()] {
                    std::fs::write(&other, damaged).unwrap();
                    let filter = Filter::default();
                    let wanted = Wanted { filter: &filter, now: UnixMillis(0), elements: 2 };
                    for sides in [[file.as_path(), &other], [&other, &file]] {
                        match diff(sides, &wanted, &check::Options::default(), &mut |_| Ok(())) {
                            Ok(_) | Err(Failure::TooLong(_)) => {}
                            Err(Failure::Corrupt(damage)) => {
                                assert!(
                                    damage.file.as_deref() == Some(&other) && damage.at <= bytes.len() as u64
                                )
                            }
                            Err(failure) => panic!("{failure}"),
                        }
                    }
                }
            }
        }
    }
}
