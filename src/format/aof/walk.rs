//! The walk that proves a segment, and the one that gives its stream bytes back.

use std::collections::VecDeque;

use super::{Annotation, CHAIN_START, Chain, Kind, MARK_INTERVAL, PREFIX, Place, select_command};
use crate::error::Corrupt;
use crate::format::crc::{SealCrc, seal};
use crate::format::framing::{Command, Framer, Sink, Units};
use crate::planted::{Bug, planted};
use crate::units::{Offset, ReplId};

/// A point between two units of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Point {
    /// Position in the file.
    pub at: u64,
    pub offset: Offset,
    pub db: u32,
}

/// How the walk of a file ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Between units.
    Whole,
    /// Inside a command or line that began at this position; the bytes so far are well formed.
    Cut { at: u64 },
    /// Inside a MULTI.
    OpenMulti,
    /// Not a log from here on.
    Malformed(Corrupt),
}

/// What a segment holds and how much of it is proven.
#[derive(Clone, Debug)]
pub struct SegmentReport {
    pub len: u64,
    /// The proven opening; `None`: the file is another server's.
    pub opening: Option<Place>,
    /// The file is a base of commands, proven whole: what it equals.
    pub base: Option<Place>,
    /// Stream bytes begin here in the file (after opening and SELECT).
    pub body: u64,
    /// In-band names of the history: from which offset on which id was in force. First the opening's.
    pub ids: Vec<(ReplId, Offset)>,
    /// The last sound mark (or the opening).
    pub marked: Point,
    /// The last whole unit at or before `marked`: nothing beyond is recovered from this file.
    pub proven: Point,
    /// The last whole unit found, proven or not.
    pub parsed: Point,
    pub ending: Ending,
    /// The first mark whose seal does not hold: its file position.
    pub bad_mark: Option<u64>,
    /// A mark after the bad one is sound given the bad one's stated seal.
    pub sound_after_bad: bool,
    /// The highest offset that a sound mark calls durable.
    pub durable: Offset,
    /// The file up to this position is durable by the word of its own marks.
    pub synced_at: u64,
    /// More bytes without any mark, sound or not, than our writer ever leaves: another server wrote here, from this
    /// position (rule 14). No word about the marks before: see `bad_mark`.
    pub foreign_from: Option<u64>,
    /// Seal over the whole file, seeded by nothing; names the file in `replication.toml`.
    pub file_seal: u64,
    /// The chain at `proven`, to write a mark behind it after a cut.
    pub chain_at_proven: Option<Chain>,
    pub marks: u64,
}

impl SegmentReport {
    /// Bytes after the proven part.
    pub fn unproven(&self) -> u64 {
        self.len - self.proven.at
    }
}

/// Walks one file of the log, fed in pieces of any size from its start (or from where its RDB preamble ends).
pub struct SegmentWalk {
    framer: Framer,
    state: Walk,
    damage: Option<Corrupt>,
    file_seal: SealCrc,
    len: u64,
}

struct Walk {
    report: SegmentReport,
    /// `None` before the opening, and in files that have none.
    chain: Option<Chain>,
    /// Of a file without an opening.
    base: Chain,
    units: Units,
    offset: Offset,
    /// What is left of the out-of-stream SELECT, which must stand there literally.
    skip: Vec<u8>,
    /// The last unit end, and the chain there.
    unit: Point,
    unit_chain: Option<Chain>,
    line_count: u64,
    /// Behind the last line of ours, sound or not.
    line_end: u64,
    since_line: u64,
    /// Sound marks, each with the position behind it, that no later mark calls durable.
    unsynced: VecDeque<(Offset, u64)>,
    /// `line_end`, once a unit ended so far behind it that ours would have put a mark there.
    overdue: Option<u64>,
}

impl SegmentWalk {
    /// `at`: file position of the first byte fed.
    pub fn new(at: u64) -> SegmentWalk {
        let start = Point { at, ..Point::default() };
        let report = SegmentReport {
            len: at,
            opening: None,
            base: None,
            body: at,
            ids: Vec::new(),
            marked: start,
            proven: start,
            parsed: start,
            ending: Ending::Whole,
            bad_mark: None,
            sound_after_bad: false,
            durable: Offset::ZERO,
            synced_at: at,
            foreign_from: None,
            file_seal: 0,
            chain_at_proven: None,
            marks: 0,
        };
        SegmentWalk {
            framer: Framer::new(at),
            state: Walk {
                report,
                chain: None,
                base: Chain::base(),
                units: Units::new(0),
                offset: Offset::ZERO,
                skip: Vec::new(),
                unit: start,
                unit_chain: None,
                line_count: 0,
                line_end: at,
                since_line: 0,
                unsynced: VecDeque::new(),
                overdue: None,
            },
            damage: None,
            file_seal: SealCrc::seeded(&[]),
            len: at,
        }
    }

    /// Bytes before the walk's start that belong to the file (its RDB preamble): for the file's seal only.
    pub fn preamble(&mut self, bytes: &[u8]) {
        self.file_seal.update(bytes);
    }

    pub fn feed(&mut self, bytes: &[u8]) {
        self.len += bytes.len() as u64;
        self.file_seal.update(bytes);
        if self.damage.is_none() {
            self.damage = self.framer.feed(bytes, &mut self.state).err();
        }
    }

    /// The chain behind what was fed, to write a mark there; `None` in a file that has no opening.
    pub fn chain(&self) -> Option<Chain> {
        self.state.chain
    }

    pub fn finish(self) -> SegmentReport {
        let mut report = self.state.report;
        report.len = self.len;
        report.file_seal = self.file_seal.value();
        if planted(Bug::ForeignTail) {
            report.proven = report.parsed;
        }
        report.ending = match (self.damage, self.framer.unfinished()) {
            (Some(damage), _) => Ending::Malformed(damage),
            (None, Some(at)) => Ending::Cut { at },
            (None, None) if self.state.units.in_multi() => Ending::OpenMulti,
            (None, None) => Ending::Whole,
        };
        report
    }
}

impl Walk {
    fn cover(&mut self, bytes: &[u8]) {
        match &mut self.chain {
            Some(chain) => chain.cover(bytes),
            None => self.base.cover(bytes),
        }
    }

    fn base(&mut self, found: Annotation, line: &[u8], end: u64) {
        let mut chain = self.base;
        chain.cover(&line[..found.covered]);
        let whole = chain.seal.value() == found.seal && self.chain.is_none() && !self.units.in_multi();
        match whole {
            true => self.report.base = Some(found.place),
            false => self.report.bad_mark = self.report.bad_mark.or(Some(end - line.len() as u64)),
        }
    }

    fn opening(&mut self, found: Annotation, skip: u64, line: &[u8], end: u64) {
        let select = select_command(found.place.db);
        let sound = seal(&[CHAIN_START], &line[..found.covered]) == found.seal;
        if !sound || skip != select.len() as u64 {
            self.report.bad_mark.get_or_insert(end - line.len() as u64);
            return;
        }
        self.chain = Some(Chain { seal: SealCrc::seeded(&[found.seal]) });
        self.offset = found.place.offset;
        self.units = Units::new(found.place.db);
        self.skip = select;
        self.report.opening = Some(found.place);
        self.report.ids.push((found.place.replid, found.place.offset));
        self.report.body = end + skip;
        self.unit = Point { at: end + skip, offset: self.offset, db: found.place.db };
        if skip == 0 {
            self.prove(end);
        }
    }

    /// Everything up to `end` is proven.
    fn prove(&mut self, end: u64) {
        self.report.marked = Point { at: end, offset: self.offset, db: self.units.db };
        // A mark at a unit's end belongs to what is kept; one inside a MULTI goes with the cut.
        if self.unit.offset == self.offset {
            self.unit.at = end;
            self.unit_chain = self.chain;
        }
        self.report.proven = self.unit;
        self.report.chain_at_proven = self.unit_chain;
        self.report.parsed = self.unit;
    }

    /// A line of ours, whole or damaged, ends here: what follows is measured from it. A damaged one counts as well, or
    /// one flipped bit would make all the marked bytes behind it look like another server's.
    fn line_of_ours(&mut self, end: u64) {
        (self.line_end, self.since_line, self.overdue) = (end, 0, None);
    }

    fn mark(&mut self, found: Annotation, durable: Offset, line: &[u8], end: u64) {
        let Some(mut chain) = self.chain else { return };
        chain.cover(&line[..found.covered]);
        // Behind damage nothing is counted any more, as it may have taken a line for commands or the reverse.
        let placed = found.place.offset == self.offset && found.place.db == self.units.db;
        let sealed = chain.seal.value() == found.seal || planted(Bug::MarkSeal);
        let sound = sealed && (placed || self.report.bad_mark.is_some());
        self.chain = Some(Chain { seal: SealCrc::seeded(&[found.seal]) });
        if !sound {
            self.report.bad_mark.get_or_insert(end - line.len() as u64);
            return;
        }
        self.report.durable = self.report.durable.max(durable);
        if self.report.bad_mark.is_some() {
            self.report.sound_after_bad = true;
            return;
        }
        self.report.marks += 1;
        self.unsynced.push_back((found.place.offset, end));
        while let Some((_, at)) = self.unsynced.pop_front_if(|(offset, _)| *offset <= self.report.durable) {
            self.report.synced_at = at;
        }
        if self.report.ids.last().is_none_or(|(id, _)| *id != found.place.replid) {
            self.report.ids.push((found.place.replid, found.place.offset));
        }
        self.prove(end);
    }
}

impl Sink for Walk {
    fn stream(&mut self, bytes: &[u8]) {
        self.report.base = None; // something stands behind its last line
        self.cover(bytes);
        let skipped = self.skip.len().min(bytes.len());
        if !self.skip.is_empty() {
            if self.skip[..skipped] != bytes[..skipped] {
                self.report.bad_mark.get_or_insert(self.report.body);
            }
            self.skip.drain(..skipped);
        }
        let counted = (bytes.len() - skipped) as u64;
        self.offset += counted;
        self.since_line += counted;
    }

    fn line(&mut self, line: &[u8], at: u64) -> Result<(), Corrupt> {
        let end = at + line.len() as u64;
        let first = self.line_count == 0 && self.offset == Offset::ZERO;
        self.line_count += 1;
        self.report.base = None;
        // In a segment nobody puts other lines than marks and timestamps: one that is neither was a mark.
        let ours = line.starts_with(PREFIX) || (self.chain.is_some() && !line.starts_with(b"#TS:"));
        if ours {
            self.line_of_ours(end);
        }
        match Annotation::parse(line) {
            Some(found) => match found.kind {
                Kind::Open { skip } if first => self.opening(found, skip, line, end),
                // Also damage of a kind: an opening in the middle of a file
                Kind::Open { .. } => self.report.bad_mark = self.report.bad_mark.or(Some(at)),
                Kind::Mark { durable } => self.mark(found, durable, line, end),
                Kind::Base => self.base(found, line, end),
            },
            None => {
                if ours {
                    self.report.bad_mark.get_or_insert(at);
                }
                self.cover(line);
            }
        }
        Ok(())
    }

    fn command_end(&mut self, command: Command, at: u64) {
        let ours = self.report.opening.is_some();
        if let (Some(from), true, None) = (self.overdue, ours, self.report.foreign_from) {
            self.report.foreign_from = Some(from);
        }
        if !self.units.command_end(command) {
            return;
        }
        self.unit = Point { at, offset: self.offset, db: self.units.db };
        self.unit_chain = self.chain;
        self.report.parsed = self.unit;
        if self.since_line >= MARK_INTERVAL {
            self.overdue.get_or_insert(self.line_end);
        }
        // The out-of-stream SELECT ends here: the opening is in force.
        if ours && at == self.report.body && self.report.bad_mark.is_none() {
            self.prove(at);
        }
    }
}

/// Takes the annotations out of a segment again: the stream bytes from `from` on, for replay.
/// Feed the file from `point.at`; nothing that was not walked before should be fed.
pub struct Strip {
    framer: Framer,
}

impl Strip {
    pub fn new(at: u64) -> Strip {
        Strip { framer: Framer::new(at) }
    }
    /// Appends the stream bytes among `bytes` to `out`.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Corrupt> {
        self.framer.feed(bytes, &mut Stripped(out))
    }
}

struct Stripped<'a>(&'a mut Vec<u8>);

impl Sink for Stripped<'_> {
    fn stream(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }
    fn line(&mut self, _: &[u8], _: u64) -> Result<(), Corrupt> {
        Ok(())
    }
    fn command_end(&mut self, _: Command, _: u64) {}
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::framing::MAX_LINE;

    fn id(n: u8) -> ReplId {
        ReplId::from_random([n; 20])
    }

    fn set(value_len: usize) -> Vec<u8> {
        let value = "v".repeat(value_len);
        format!("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n${value_len}\r\n{value}\r\n").into_bytes()
    }

    struct Writer {
        file: Vec<u8>,
        chain: Chain,
        place: Place,
    }

    impl Writer {
        fn new(offset: u64, db: u32) -> Writer {
            let place = Place { replid: id(1), offset: Offset(offset), db };
            let mut file = Vec::new();
            let chain = Chain::open(place, &mut file);
            Writer { file, chain, place }
        }
        fn put(&mut self, bytes: &[u8]) -> &mut Writer {
            self.chain.cover(bytes);
            self.file.extend_from_slice(bytes);
            self.place.offset += bytes.len() as u64;
            self
        }
        fn mark(&mut self) -> &mut Writer {
            self.chain.mark(self.place, Offset(7), &mut self.file);
            self
        }
    }

    fn walk(file: &[u8]) -> SegmentReport {
        let mut walk = SegmentWalk::new(0);
        for piece in file.chunks(13) {
            walk.feed(piece);
        }
        walk.finish()
    }

    #[test]
    fn a_segment_proves_itself_up_to_its_last_mark() {
        let mut writer = Writer::new(1000, 3);
        let empty = walk(&writer.file);
        assert_eq!(empty.opening.map(|p| (p.offset, p.db)), Some((Offset(1000), 3)));
        assert_eq!((empty.proven.offset, empty.proven.at), (Offset(1000), writer.file.len() as u64));
        assert_eq!(empty.body, empty.proven.at);

        writer.put(&set(5)).mark().put(b"*2\r\n$6\r\nSELECT\r\n$1\r\n9\r\n");
        writer.place.db = 9;
        let marked = writer.place.offset.0 - 23;
        let report = walk(&writer.file);
        assert_eq!((report.marked.offset.0, report.proven.offset.0), (marked, marked));
        assert_eq!((report.parsed.offset, report.parsed.db), (writer.place.offset, 9));
        assert_eq!(
            (report.ending.clone(), report.bad_mark, report.durable),
            (Ending::Whole, None, Offset(7))
        );

        writer.mark();
        writer.place.replid = id(2);
        writer.mark().put(&set(1));
        let report = walk(&writer.file);
        assert_eq!(report.proven.db, 9);
        assert_eq!(report.ids, [(id(1), Offset(1000)), (id(2), report.marked.offset)]);
        assert_eq!(report.unproven(), set(1).len() as u64);
    }

    #[test]
    fn a_mark_inside_multi_proves_only_whole_units() {
        let mut writer = Writer::new(0, 0);
        writer.put(&set(5)).mark();
        let (before, at) = (writer.place.offset, writer.file.len() as u64);
        writer.put(b"*1\r\n$5\r\nMULTI\r\n").put(&set(2)).mark().put(&set(2));
        let report = walk(&writer.file);
        assert!(report.marked.offset > before);
        assert_eq!((report.proven.offset, report.proven.at), (before, at));
        assert_eq!(report.ending, Ending::OpenMulti);
        // the chain given back goes on from there
        let mut file = writer.file[..at as usize].to_vec();
        let mut chain = report.chain_at_proven.unwrap();
        let more = set(9);
        chain.cover(&more);
        file.extend_from_slice(&more);
        let place = Place { replid: id(1), offset: before + more.len() as u64, db: 0 };
        chain.mark(place, Offset(0), &mut file);
        assert_eq!(walk(&file).proven.offset, place.offset);
    }

    /// Scenarios 4 and 28: every flipped bit is noticed; nothing before the last sound mark is lost by it.
    #[test]
    fn a_flipped_bit_is_never_proven() {
        let mut writer = Writer::new(5, 2);
        writer.put(&set(3)).mark().put(&set(30)).mark().put(&set(4)).mark();
        let whole = walk(&writer.file);
        for at in 0..writer.file.len() {
            let mut file = writer.file.clone();
            file[at] ^= 4;
            let report = walk(&file);
            assert!(report.proven.at <= at as u64 || report.opening.is_none(), "flip at {at}");
            assert!(report.proven.offset < whole.proven.offset, "flip at {at}");
        }
    }

    #[test]
    fn a_spliced_piece_never_validates() {
        let mut one = Writer::new(0, 0);
        one.put(&set(3)).mark();
        let cut = one.file.len();
        let mut two = Writer::new(0, 0);
        two.put(&set(4)).mark().put(&set(5)).mark();
        let two_cut = walk(&two.file[..]).body as usize + set(4).len();
        one.put(&set(5)).mark();
        let spliced = [&one.file[..cut], &two.file[two_cut..]].concat();
        assert_eq!(walk(&spliced).proven.offset.0, set(3).len() as u64);
    }

    #[test]
    fn damage_in_the_middle_is_told_from_a_torn_tail() {
        let mut writer = Writer::new(0, 0);
        writer.put(&set(3)).mark();
        let at = writer.file.len() + 25;
        writer.put(&set(30)).mark().put(&set(4)).mark();
        let mut file = writer.file.clone();
        file[at] ^= 1;
        let report = walk(&file);
        assert!(report.sound_after_bad);
        assert_eq!(report.proven.offset.0, set(3).len() as u64);
        // A line and the command behind it run together, so that the count of stream bytes is lost.
        let mut writer = Writer::new(0, 0);
        let line_end = writer.put(&set(3)).mark().file.len();
        let unit_end = writer.put(&set(4)).file.len();
        writer.mark().put(&set(5)).mark();
        writer.file[line_end - 20..unit_end - 2].fill(0);
        let report = walk(&writer.file);
        assert!(report.sound_after_bad && report.ending == Ending::Whole);
        assert_eq!((report.proven.offset, report.durable), (Offset(0), Offset(7)));
    }

    /// Scenario 6: more unmarked bytes than our writer leaves are another server's.
    #[test]
    fn an_overdue_mark_shows_a_foreign_writer() {
        let mut writer = Writer::new(0, 0);
        writer.put(&set(3)).mark();
        let at = writer.file.len() as u64;
        writer.put(&set(80_000));
        assert_eq!(walk(&writer.file).foreign_from, None, "one long unit without its mark is a torn tail");
        writer.put(&set(1));
        assert_eq!(walk(&writer.file).foreign_from, Some(at));
    }

    /// Marks that fail after a flipped bit are ours all the same, as is one whose line is damaged.
    #[test]
    fn damage_before_many_marks_is_no_foreign_writer() {
        let mut writer = Writer::new(0, 0);
        writer.put(&set(3)).mark();
        let proven = writer.place.offset;
        let first = writer.file.len();
        for _ in 0..10 {
            writer.put(&set(30_000)).mark();
        }
        let second = first + set(30_000).len() + 2;
        for at in [first + 100, second, second + 1, second + 200, writer.file.len() - 10] {
            let mut file = writer.file.clone();
            file[at] ^= 1;
            let report = walk(&file);
            assert_eq!(report.foreign_from, None, "flip at {at}");
            assert!(report.bad_mark.is_some() && report.proven.offset >= proven, "flip at {at}");
            // What another server writes behind it is seen, and so is the damage.
            file.extend([set(40_000), set(40_000), set(1)].concat());
            let report = walk(&file);
            assert_eq!(report.foreign_from, Some(writer.file.len() as u64), "flip at {at}");
            assert!(report.bad_mark.is_some(), "flip at {at}");
        }
    }

    /// A stock primary counts one as a byte of its stream: it is kept where it stood, and proven, stripped and counted.
    #[test]
    fn a_bare_newline_is_a_byte_of_the_stream() {
        let mut writer = Writer::new(100, 0);
        let pieces = [b"\n".to_vec(), set(3), b"\n\n".to_vec(), set(4), b"\n".to_vec()];
        writer.put(&pieces[0]).put(&pieces[1]).mark().put(&pieces[2]).put(&pieces[3]).put(&pieces[4]).mark();
        let report = walk(&writer.file);
        assert_eq!((report.proven.offset, report.unproven()), (writer.place.offset, 0));
        let mut out = Vec::new();
        Strip::new(report.body).feed(&writer.file[report.body as usize..], &mut out).unwrap();
        assert_eq!(out, pieces.concat());
    }

    #[test]
    fn stock_files_have_no_opening() {
        let file = [b"#TS:123\r\n".to_vec(), set(3), set(4), b"*1\r\n$4\r\nPI".to_vec()].concat();
        let report = walk(&file);
        assert_eq!((report.opening, report.proven.at), (None, 0));
        assert_eq!(report.parsed.at, (9 + set(3).len() + set(4).len()) as u64);
        assert_eq!(report.ending, Ending::Cut { at: report.parsed.at });
        assert_eq!(report.foreign_from, None);
    }

    #[test]
    fn lines_stay_below_the_limit_of_stock_servers() {
        let place = Place { replid: ReplId::NONE, offset: Offset(u64::MAX), db: u32::MAX };
        let mut out = Vec::new();
        let mut chain = Chain::open(place, &mut out);
        chain.mark(place, Offset(u64::MAX), &mut out);
        assert!(out.len() < MAX_LINE);
    }

    #[test]
    fn stripping_gives_the_stream_back() {
        let mut writer = Writer::new(0, 4);
        writer.put(&set(3)).mark().put(&set(30)).mark();
        let mut out = Vec::new();
        Strip::new(walk(&writer.file).body)
            .feed(&writer.file[walk(&writer.file).body as usize..], &mut out)
            .unwrap();
        assert_eq!(out, [set(3), set(30)].concat());
    }
}
