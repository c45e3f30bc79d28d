//! Checks a snapshot: header, items, every value to its last element, order, duplicates, the checksum.

use std::cmp::Ordering;
use std::io::Read;

use super::duplicates::{self, Keys};
use super::{FileReport, Verdict};
use crate::error::Corrupt;
use crate::format::crc::SealCrc;
use crate::format::rdb::{Item, LoadError, Piece, ValueType, module_name, stream};
use crate::inspect::Result;
use crate::inspect::distinct::Distinct;
use crate::inspect::snapshot::Snapshot;
use crate::inspect::text;
use crate::inspect::value::{Role, Visitor};
use crate::units::ReplId;

/// Elements of one value that are compared with each other exactly: 5 MiB of fingerprints.
const ELEMENTS: usize = 400_000;

/// Checks the RDB file that `input` begins with. The first bytes behind it, if commands follow.
pub fn check(input: &mut dyn Read, report: &mut FileReport) -> Result<Option<Vec<u8>>> {
    let mut walk = Walk::default();
    let mut snapshot = match Snapshot::open(input, &report.file) {
        Ok(snapshot) => snapshot,
        Err(failure) => return report.absorb(failure).map(|()| None),
    };
    report.facts.push(("version", snapshot.version().to_string()));
    let ended = walk.all(&mut snapshot, report);
    report.bytes = snapshot.offset();
    walk.say(report);
    if let Err(failure) = ended {
        return report.absorb(failure).map(|()| None);
    }
    let at = snapshot.offset();
    let behind = snapshot.behind()?;
    match behind.first() {
        None => Ok(None),
        Some(b'*' | b'#') => Ok(Some(behind)),
        // A full sync without a file ends with the mark that it began with.
        Some(_) if behind.len() == 40 && behind.iter().all(u8::is_ascii_hexdigit) => {
            report.notes.push("the end mark of a full sync (40 bytes) stands behind the snapshot".into());
            report.bytes += 40;
            Ok(None)
        }
        Some(_) => {
            report.add(Verdict::Corrupt, Corrupt::new(at, "more behind the end of the RDB file"));
            Ok(None)
        }
    }
}

#[derive(Default)]
struct Walk {
    keys: u64,
    elements: u64,
    /// Of the database that is selected.
    keys_here: u64,
    promised: Option<(u64, u64)>,
    empty: u64,
    unread: u64,
    modules: u64,
    compared: u64,
    compared_elements: u64,
}

impl Walk {
    fn all(&mut self, snapshot: &mut Snapshot<'_>, report: &mut FileReport) -> Result<()> {
        let mut keys = Keys::new();
        let ended = self.items(snapshot, &mut keys, report);
        let found = keys.finish();
        self.compared = found.share;
        if let Some((db, at)) = found.first {
            let name = duplicates::name_at(&report.file, snapshot.version(), at);
            let name = name.map_or(String::new(), |name| format!(" '{}'", text::shortened(&name, 60)));
            report.add(Verdict::Corrupt, Corrupt::new(at, format!("duplicated key{name} in db {db}")));
            report.more += found.more;
        }
        ended
    }

    fn items(&mut self, snapshot: &mut Snapshot<'_>, keys: &mut Keys, report: &mut FileReport) -> Result<()> {
        let mut judge = Judge::new();
        loop {
            match snapshot.next_item()? {
                Item::Key(kind, _) => {
                    self.key(snapshot, kind, keys, &mut judge, report)?;
                }
                Item::Select(_) => {
                    self.end_database(snapshot, report);
                    (self.keys_here, self.promised) = (0, None);
                }
                Item::Resize { keys, .. } => self.promised = Some((snapshot.db, keys)),
                Item::Aux { name, value } => check_aux(&name, &value, snapshot.at, report),
                Item::Function(_) => {}
                Item::ModuleAux(id) => {
                    self.modules += 1;
                    report.notes.push(format!("data of module '{}' stepped over", module_name(id)));
                }
                Item::End(checksum) => {
                    self.end_database(snapshot, report);
                    let said = match checksum {
                        Some(checksum) => format!("{checksum:016x}"),
                        None => {
                            report
                                .notes
                                .push("written without a checksum: flipped bits in texts do not show".into());
                            "none".into()
                        }
                    };
                    report.facts.push(("checksum", said));
                    return Ok(());
                }
            }
        }
    }

    #[inline]
    fn key(
        &mut self,
        snapshot: &mut Snapshot<'_>,
        kind: ValueType,
        keys: &mut Keys,
        judge: &mut Judge,
        report: &mut FileReport,
    ) -> Result<()> {
        self.keys += 1;
        self.keys_here += 1;
        if !keys.insert(snapshot.db, snapshot.key(), snapshot.at) {
            let name = text::shortened(snapshot.key(), 60);
            let what = format!("duplicated key '{name}' in db {}", snapshot.db);
            report.add(Verdict::Corrupt, Corrupt::new(snapshot.at, what));
        }
        judge.begin(kind);
        let facts = snapshot.value(kind, judge)?;
        self.elements += facts.elements;
        self.unread += facts.unread;
        self.compared_elements = self.compared_elements.max(judge.seen.share());
        if let Some(problem) = judge.problem.take()
            && let crate::inspect::Failure::Corrupt(damage) = snapshot.in_key(LoadError::Corrupt(problem))
        {
            report.add(Verdict::Corrupt, damage);
        }
        match kind {
            ValueType::Module => self.modules += 1,
            ValueType::Str | ValueType::Stream | ValueType::Stream2 | ValueType::Stream3 => {}
            _ if facts.elements == 0 && facts.unread == 0 => self.empty += 1,
            _ => {}
        }
        Ok(())
    }

    fn end_database(&self, snapshot: &Snapshot<'_>, report: &mut FileReport) {
        if let Some((db, promised)) = self.promised.filter(|(_, promised)| *promised != self.keys_here) {
            let here = self.keys_here;
            report.notes.push(format!(
                "db {db} has {here} keys, its size hint says {promised} (up to byte {})",
                snapshot.at
            ));
        }
    }

    fn say(&self, report: &mut FileReport) {
        report.facts.push(("keys", self.keys.to_string()));
        report.facts.push(("elements", self.elements.to_string()));
        let mut note = |count: u64, what: &str| {
            if count > 0 {
                report.notes.push(format!("{} {what}", text::grouped(count)));
            }
        };
        note(self.empty, "collections without elements: servers leave such keys out");
        note(self.unread, "packed values of more than 16 MiB not looked into");
        note(self.modules, "values of modules stepped over");
        if self.compared > 1 {
            report.notes.push(format!("duplicates looked for among one key in {}", self.compared));
        }
        if self.compared_elements > 1 {
            let share = self.compared_elements;
            report
                .notes
                .push(format!("duplicates looked for among one element in {share} of the largest value"));
        }
    }
}

fn check_aux(name: &[u8], value: &[u8], at: u64, report: &mut FileReport) {
    let is_number = |value: &[u8]| std::str::from_utf8(value).is_ok_and(|text| text.parse::<u64>().is_ok());
    let sound = match name {
        b"repl-id" => ReplId::parse(value).is_some(),
        b"repl-offset" => is_number(value),
        _ => true,
    };
    if !sound {
        let what = format!("AUX {} with '{}'", text::shown(name), text::shortened(value, 60));
        report.add(Verdict::Corrupt, Corrupt::new(at, what));
    }
}

/// Sees the elements of a value: is one there twice, are they in order?
pub(in crate::inspect) struct Judge {
    seen: Distinct,
    /// The members of a packed sorted set ascend.
    ordered: bool,
    member: Vec<u8>,
    before: Option<(f64, Vec<u8>)>,
    /// Of the last member.
    at: u64,
    seal: SealCrc,
    pub(in crate::inspect) problem: Option<Corrupt>,
}

impl Judge {
    pub(in crate::inspect) fn new() -> Judge {
        Judge {
            seen: Distinct::new(ELEMENTS),
            ordered: false,
            member: Vec::new(),
            before: None,
            at: 0,
            seal: SealCrc::seeded(&[]),
            problem: None,
        }
    }

    #[inline]
    pub(in crate::inspect) fn begin(&mut self, kind: ValueType) {
        if matches!(kind, ValueType::Str) {
            return;
        }
        self.seen.clear();
        self.ordered = matches!(kind, ValueType::ZsetListpack | ValueType::ZsetZiplist);
        self.before = None;
    }

    fn twice(&mut self, role: Role, piece: Piece<'_>) {
        let what = if role == Role::Field { "field" } else { "member" };
        let name = text::shortened(piece.bytes, 60);
        let problem = Corrupt::new(piece.offset, format!("duplicated {what} '{name}'"));
        self.problem.get_or_insert(problem);
    }
}

impl stream::Visit for Judge {}

impl Visitor for Judge {
    #[inline]
    fn piece(&mut self, role: Role, piece: Piece<'_>) -> std::result::Result<(), LoadError> {
        if !matches!(role, Role::Member | Role::Field) {
            return Ok(());
        }
        let fingerprint = if piece.is_first() && piece.is_last() {
            self.seen.fingerprint(0, piece.bytes)
        } else {
            if piece.is_first() {
                self.seal = SealCrc::seeded(&[]);
            }
            self.seal.update(piece.bytes);
            if !piece.is_last() {
                return Ok(());
            }
            self.seen.fingerprint_of_seal(0, &self.seal, piece.len)
        };
        if !self.seen.insert(fingerprint) {
            self.twice(role, piece);
        }
        if self.ordered {
            self.at = piece.offset;
            self.member.clear();
            self.member.extend_from_slice(piece.bytes);
        }
        Ok(())
    }

    fn score(&mut self, score: f64) -> std::result::Result<(), LoadError> {
        if !self.ordered {
            return Ok(());
        }
        let (last, name) = self.before.get_or_insert_with(|| (f64::NEG_INFINITY, Vec::new()));
        let behind = *last;
        let order =
            behind.partial_cmp(&score).unwrap_or(Ordering::Equal).then_with(|| (*name).cmp(&self.member));
        if order == Ordering::Greater {
            let name = text::shortened(&self.member, 60);
            let what = format!("sorted set out of order: '{name}' with score {score} behind score {behind}");
            self.problem.get_or_insert(Corrupt::new(self.at, what));
        }
        *last = score;
        std::mem::swap(name, &mut self.member);
        Ok(())
    }
}
