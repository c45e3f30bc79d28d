//! Where the commands of a log file begin and end, without looking at what they mean.
//!
//! A log file is RESP arrays of bulk strings with `#` annotation lines between them (and a bare newline where a primary
//! put one into its stream: a command that does nothing). [`Framer`] is fed the file in
//! pieces of any size and tells its sink the stream bytes, the annotation lines and the end of each command, skipping
//! payloads by their length, so that gigabytes are walked at the speed of memory and nothing is held but a short line. Of a
//! command it learns only what the log layer needs: is it MULTI or EXEC (units), is it SELECT (the stream's db).
//! A regex-like search for marks was rejected: a value may contain anything, also text that looks like a mark.
//!
//! A command that lies whole in a piece, as nearly all do, is measured at a glance and told in one go ([`whole_command`]); the
//! states are for what a piece's end cuts, and for everything odd, which they name. Both find the same commands.
//!
//! The same walk is used for ring bytes, where no annotations occur.

use crate::error::Corrupt;

/// Redis refuses annotation lines from 1024 bytes on (CRLF included).
pub const MAX_LINE: usize = 1023;
/// Redis' limits for a command.
const MAX_ARGS: u64 = i32::MAX as u64;
const MAX_BULK: u64 = 4 << 30;
const MAX_DIGITS: usize = 12;
/// Longer arguments mean nothing here.
const NOTED: usize = 8;

/// Receives what the walk finds, in file order.
pub trait Sink {
    /// Bytes of commands; any split.
    fn stream(&mut self, bytes: &[u8]);
    /// A whole annotation line with its line end, which starts at file position `at`.
    fn line(&mut self, line: &[u8], at: u64) -> Result<(), Corrupt>;
    /// The command's last byte was delivered; `at` is the file position after it.
    fn command_end(&mut self, command: Command, at: u64);
}

/// What a command means to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    Multi,
    /// EXEC or DISCARD.
    Exec,
    Select(u32),
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Between,
    Annotation,
    ArgCount,
    BulkLen { args_left: u64 },
    Bulk { args_left: u64, bytes_left: u64 },
}

/// Incremental walk. `at` counts the bytes fed.
#[derive(Clone, Debug)]
pub struct Framer {
    state: State,
    at: u64,
    /// Where the command or line that is being read began.
    began: u64,
    line: Vec<u8>,
    /// The first two arguments, as far as they may matter.
    args: [([u8; NOTED], u8); 2],
    args_seen: usize,
    arg_count: u64,
}

impl Framer {
    /// `at`: position in the file of the first byte fed.
    pub fn new(at: u64) -> Framer {
        Framer {
            state: State::Between,
            at,
            began: at,
            line: Vec::new(),
            args: [([0; NOTED], 0); 2],
            args_seen: 0,
            arg_count: 0,
        }
    }

    /// `None` between commands, else where the unfinished command or line began.
    pub fn unfinished(&self) -> Option<u64> {
        (self.state != State::Between).then_some(self.began)
    }

    pub fn position(&self) -> u64 {
        self.at
    }

    /// Walks `bytes`. After an error the walk must not go on; the error names the position in the file.
    pub fn feed(&mut self, mut bytes: &[u8], sink: &mut impl Sink) -> Result<(), Corrupt> {
        while let Some(&first) = bytes.first() {
            match self.state {
                State::Between if first == b'\n' => {
                    sink.stream(&bytes[..1]);
                    self.at += 1;
                    bytes = &bytes[1..];
                    sink.command_end(Command::Other, self.at);
                }
                State::Between => {
                    if let Some((len, command)) = whole_command(bytes) {
                        sink.stream(&bytes[..len]);
                        self.at += len as u64;
                        bytes = &bytes[len..];
                        sink.command_end(command, self.at);
                        continue;
                    }
                    self.began = self.at;
                    self.line.clear();
                    self.state = match first {
                        b'*' => State::ArgCount,
                        b'#' => State::Annotation,
                        _ => return Err(Corrupt::new(self.at, "neither a command nor an annotation")),
                    };
                }
                State::Bulk { args_left, bytes_left } => {
                    let n = bytes_left.min(bytes.len() as u64) as usize;
                    self.note_argument(&bytes[..n]);
                    sink.stream(&bytes[..n]);
                    self.at += n as u64;
                    bytes = &bytes[n..];
                    self.state = State::Bulk { args_left, bytes_left: bytes_left - n as u64 };
                    if bytes_left == n as u64 {
                        self.argument_end(args_left, sink);
                    }
                }
                State::Annotation | State::ArgCount | State::BulkLen { .. } => {
                    let end = memchr::memchr(b'\n', bytes).map(|i| i + 1);
                    let n = end.unwrap_or(bytes.len());
                    let limit = if self.state == State::Annotation { MAX_LINE } else { 32 };
                    if self.line.len() + n > limit {
                        return Err(Corrupt::new(self.began, "a line that is too long"));
                    }
                    self.line.extend_from_slice(&bytes[..n]);
                    if self.state != State::Annotation {
                        sink.stream(&bytes[..n]);
                    }
                    self.at += n as u64;
                    bytes = &bytes[n..];
                    if end.is_some() {
                        self.line_end(sink)?;
                    }
                }
            }
        }
        Ok(())
    }

    fn line_end(&mut self, sink: &mut impl Sink) -> Result<(), Corrupt> {
        let line_at = self.at - self.line.len() as u64;
        match self.state {
            State::Annotation => {
                self.state = State::Between;
                sink.line(&self.line, line_at)?;
            }
            State::ArgCount => {
                self.arg_count = number(&self.line, b'*')
                    .filter(|n| (1..=MAX_ARGS).contains(n))
                    .ok_or_else(|| Corrupt::new(line_at, "bad number of arguments"))?;
                self.args = [([0; NOTED], 0); 2];
                self.args_seen = 0;
                self.state = State::BulkLen { args_left: self.arg_count };
            }
            State::BulkLen { args_left } => {
                let len = number(&self.line, b'$')
                    .filter(|n| *n <= MAX_BULK)
                    .ok_or_else(|| Corrupt::new(line_at, "bad length of an argument"))?;
                self.state = State::Bulk { args_left, bytes_left: len + 2 };
            }
            State::Between | State::Bulk { .. } => {}
        }
        self.line.clear();
        Ok(())
    }

    fn note_argument(&mut self, bytes: &[u8]) {
        let Some((seen, len)) = self.args.get_mut(self.args_seen) else { return };
        for &byte in bytes.iter().take(16) {
            if let Some(place) = seen.get_mut(*len as usize) {
                *place = byte;
            }
            *len = len.saturating_add(1);
        }
        if bytes.len() > 16 {
            *len = u8::MAX;
        }
    }

    fn argument_end(&mut self, args_left: u64, sink: &mut impl Sink) {
        self.args_seen += 1;
        self.line.clear();
        if args_left > 1 {
            self.state = State::BulkLen { args_left: args_left - 1 };
            return;
        }
        self.state = State::Between;
        sink.command_end(self.command(), self.at);
    }

    fn command(&self) -> Command {
        // Arguments were noted with their CRLF.
        let arg = |i: usize| {
            let (bytes, len) = &self.args[i];
            bytes.get(..(*len as usize).saturating_sub(2)).unwrap_or(b"?")
        };
        meaning(arg(0), arg(1), self.arg_count)
    }
}

/// `first` and `second`: the arguments, `?` for one too long to matter.
fn meaning(first: &[u8], second: &[u8], arg_count: u64) -> Command {
    let is = |name: &[u8]| first.eq_ignore_ascii_case(name);
    match (first.len(), arg_count) {
        (5, 1) if is(b"multi") => Command::Multi,
        (4, 1) if is(b"exec") => Command::Exec,
        (7, 1) if is(b"discard") => Command::Exec,
        (6, 2) if is(b"select") => {
            let db = std::str::from_utf8(second).ok().and_then(|text| text.parse().ok());
            db.map_or(Command::Other, Command::Select)
        }
        _ => Command::Other,
    }
}

/// The command that `bytes` begin with, and its length. `None`: it is not whole, or not one.
fn whole_command(bytes: &[u8]) -> Option<(usize, Command)> {
    let (arg_count, mut at) = short_line(bytes, 0, b'*').filter(|(n, _)| (1..=MAX_ARGS).contains(n))?;
    let mut args: [&[u8]; 2] = [b"?"; 2];
    for nth in 0..arg_count {
        let (len, start) = short_line(bytes, at, b'$').filter(|(n, _)| *n <= MAX_BULK)?;
        let end = start + len as usize;
        at = end + 2;
        if at > bytes.len() {
            return None;
        }
        if nth < 2 && len <= NOTED as u64 {
            args[nth as usize] = &bytes[start..end];
        }
    }
    Some((at, meaning(args[0], args[1], arg_count)))
}

/// The number in the line at `at`, like [`number`], and where the next line begins.
fn short_line(bytes: &[u8], at: usize, sigil: u8) -> Option<(u64, usize)> {
    let line = bytes.get(at..)?.strip_prefix(&[sigil])?;
    let mut n = 0;
    for (i, byte) in line.iter().take(MAX_DIGITS + 1).enumerate() {
        match byte {
            b'0'..=b'9' => n = n * 10 + u64::from(byte - b'0'),
            b'\r' if i > 0 && line.get(i + 1) == Some(&b'\n') => return Some((n, at + i + 3)),
            _ => return None,
        }
    }
    None
}

/// The number of a `*3\r\n` or `$5\r\n` line.
fn number(line: &[u8], sigil: u8) -> Option<u64> {
    let digits = line.strip_prefix(&[sigil])?.strip_suffix(b"\r\n")?;
    if digits.is_empty() || digits.len() > MAX_DIGITS || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |n, d| n * 10 + u64::from(d - b'0')))
}

/// Tracks units over the commands of a stream: where the last whole one ended, and the selected db.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Units {
    pub db: u32,
    in_multi: bool,
}

impl Units {
    pub fn new(db: u32) -> Units {
        Units { db, in_multi: false }
    }
    /// True if a unit ends with this command.
    pub fn command_end(&mut self, command: Command) -> bool {
        match command {
            Command::Multi => self.in_multi = true,
            Command::Exec => self.in_multi = false,
            Command::Select(db) => self.db = db,
            Command::Other => {}
        }
        !self.in_multi
    }
    pub fn in_multi(&self) -> bool {
        self.in_multi
    }
}

/// The end of the last whole unit in plain stream bytes (of the ring), and the db selected there.
/// Damage ends the walk: what comes before it counts.
#[derive(Clone, Debug)]
pub struct UnitWalk {
    framer: Framer,
    found: Found,
}

#[derive(Clone, Debug)]
struct Found {
    units: Units,
    end: u64,
    db: u32,
}

impl UnitWalk {
    /// `at`: stream offset of the first byte fed, where a unit begins in `db`.
    pub fn new(at: u64, db: u32) -> UnitWalk {
        UnitWalk { framer: Framer::new(at), found: Found { units: Units::new(db), end: at, db } }
    }
    pub fn feed(&mut self, bytes: &[u8]) -> Result<(), Corrupt> {
        self.framer.feed(bytes, &mut self.found)
    }
    /// Stream offset after the last whole unit, and the db there.
    pub fn end(&self) -> (u64, u32) {
        (self.found.end, self.found.db)
    }
}

impl Sink for Found {
    fn stream(&mut self, _: &[u8]) {}
    fn line(&mut self, _: &[u8], at: u64) -> Result<(), Corrupt> {
        Err(Corrupt::new(at, "an annotation inside the stream"))
    }
    fn command_end(&mut self, command: Command, at: u64) {
        if self.units.command_end(command) {
            self.end = at;
            self.db = self.units.db;
        }
    }
}

/// Whether `bytes` are whole units that lead from database `from` to database `to`.
pub fn leads(bytes: &[u8], from: u32, to: u32) -> bool {
    let mut walk = UnitWalk::new(0, from);
    walk.feed(bytes).is_ok() && walk.end() == (bytes.len() as u64, to)
}

/// Unit boundaries in whole units of stream bytes: `(length so far, db there)`, at least `every` bytes apart, the last
/// one at the end of the last whole unit.
pub fn unit_bounds(bytes: &[u8], db: u32, every: u64) -> Vec<(u64, u32)> {
    let mut bounds = Bounds { units: Units::new(db), every, found: Vec::new(), last: None };
    // Damage ends the walk; what comes before it counts.
    let _ended = Framer::new(0).feed(bytes, &mut bounds);
    let last = bounds.last.filter(|last| bounds.found.last() != Some(last));
    bounds.found.extend(last);
    bounds.found
}

struct Bounds {
    units: Units,
    every: u64,
    found: Vec<(u64, u32)>,
    last: Option<(u64, u32)>,
}

impl Sink for Bounds {
    fn stream(&mut self, _: &[u8]) {}
    fn line(&mut self, _: &[u8], at: u64) -> Result<(), Corrupt> {
        Err(Corrupt::new(at, "an annotation inside the stream"))
    }
    fn command_end(&mut self, command: Command, at: u64) {
        if !self.units.command_end(command) {
            return;
        }
        self.last = Some((at, self.units.db));
        if at - self.found.last().map_or(0, |last| last.0) >= self.every {
            self.found.extend(self.last);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[derive(Default, Debug, PartialEq, Clone)]
    struct Seen {
        stream: Vec<u8>,
        lines: Vec<(u64, Vec<u8>)>,
        ends: Vec<(Command, u64)>,
    }

    impl Sink for Seen {
        fn stream(&mut self, bytes: &[u8]) {
            self.stream.extend_from_slice(bytes);
        }
        fn line(&mut self, line: &[u8], at: u64) -> Result<(), Corrupt> {
            self.lines.push((at, line.to_vec()));
            Ok(())
        }
        fn command_end(&mut self, command: Command, at: u64) {
            self.ends.push((command, at));
        }
    }

    fn walk(pieces: &[&[u8]]) -> (Seen, Option<u64>, Result<(), Corrupt>) {
        let (mut seen, mut framer) = (Seen::default(), Framer::new(0));
        let mut result = Ok(());
        for piece in pieces {
            result = result.and_then(|()| framer.feed(piece, &mut seen));
        }
        (seen, framer.unfinished(), result)
    }

    #[test]
    fn commands_and_lines_are_told_apart() {
        let file =
            b"#RH:x\r\n*1\r\n$5\r\nMULTI\r\n#TS:1\r\n*2\r\n$6\r\nselect\r\n$2\r\n12\r\n*1\r\n$4\r\nExec\r\n\
                     *2\r\n$4\r\nECHO\r\n$8\r\n#a\r\n*1\r\n\r\n*1\r\n$7\r\nDISCARD\r\n*1\r\n$4\r\nPI";
        let (seen, unfinished, result) = walk(&[file]);
        result.unwrap();
        let commands: Vec<Command> = seen.ends.iter().map(|e| e.0).collect();
        assert_eq!(
            commands,
            [Command::Multi, Command::Select(12), Command::Exec, Command::Other, Command::Exec]
        );
        assert_eq!(seen.lines, [(0, b"#RH:x\r\n".to_vec()), (22, b"#TS:1\r\n".to_vec())]);
        assert_eq!(unfinished, Some(file.len() as u64 - 10));
        for cut in 0..file.len() {
            assert_eq!(walk(&[&file[..cut], &file[cut..]]).0, seen, "cut at {cut}");
        }
    }

    #[test]
    fn bounds_are_unit_ends() {
        let stream = b"*1\r\n$4\r\nPING\r\n*1\r\n$5\r\nMULTI\r\n*2\r\n$6\r\nselect\r\n$1\r\n7\r\n*1\r\n$4\r\nEXEC\r\n*1\r\n$4\r\nPING\r\n";
        assert_eq!(unit_bounds(stream, 0, 1), [(14, 0), (66, 7), (80, 7)]);
        assert_eq!(unit_bounds(stream, 0, 15), [(66, 7), (80, 7)]);
        assert_eq!(unit_bounds(&stream[..40], 0, 999), [(14, 0)]);
        let with_newlines = [b"\n".as_slice(), &stream[..14], b"\n"].concat();
        assert_eq!(unit_bounds(&with_newlines, 0, 1), [(1, 0), (15, 0), (16, 0)]);
    }

    #[test]
    fn damage_names_its_place() {
        let check = |file: &[u8], at: u64| {
            assert_eq!(walk(&[file]).2.unwrap_err().at, at, "{:?}", file.escape_ascii().to_string());
        };
        check(b"*1\r\n$4\r\nPING\r\n!!!", 14);
        check(b"*0\r\n", 0);
        check(b"*-1\r\n", 0);
        check(b"*2147483648\r\n", 0);
        assert!(walk(&[b"*2147483647\r\n$1\r\n"]).2.is_ok(), "as many as a client may send");
        check(b"*1\r\n:4\r\n", 4);
        check(b"*1\r\n$99999999999\r\n", 4);
        check(b"\0\0\0\0", 0);
        check(&[b"#".as_slice(), &[b'x'; 1100]].concat(), 0);
        check(b"*111111111111111111111111111111111111", 0);
    }

    /// Cut pieces go through the states, whole ones past them: what commands mean must not depend on it.
    #[test]
    fn a_cut_changes_no_meaning() {
        let arguments: [&[u8]; 16] = [
            b"",
            b"?",
            b"MULTI",
            b"exec",
            b"dIsCaRd",
            b"SELECT",
            b"select1",
            b"3",
            b"+3",
            b"03",
            b"-1",
            b"00000003",
            b"000000003",
            b"4294967296",
            b"multi\r\n",
            &[b'x'; 300],
        ];
        for first in arguments {
            for second in arguments {
                for count in 1..4 {
                    let mut file = format!("*{count}\r\n").into_bytes();
                    for argument in &[first, second, b"third"][..count] {
                        file.extend_from_slice(format!("${}\r\n", argument.len()).as_bytes());
                        file.extend_from_slice(argument);
                        file.extend_from_slice(b"\r\n");
                    }
                    let (whole, _, result) = walk(&[&file]);
                    assert!(result.is_ok() && whole.ends.len() == 1 && whole.stream == file);
                    let bytes: Vec<&[u8]> = file.chunks(1).collect();
                    assert_eq!(walk(&bytes).0, whole, "{:?}", file.escape_ascii().to_string());
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, cut in 0usize..64) {
            let cut = cut.min(bytes.len());
            let (seen, _, whole) = walk(&[&bytes]);
            let (again, _, pieces) = walk(&[&bytes[..cut], &bytes[cut..]]);
            prop_assert_eq!(whole.is_ok(), pieces.is_ok());
            prop_assert_eq!(seen.ends, again.ends);
        }
    }
}
