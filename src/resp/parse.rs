//! Incremental request parser: multi-bulk (`*2\r\n$3\r\nGET\r\n$1\r\nk\r\n`) and inline (`GET k\r\n`).
//!
//! The caller owns one contiguous buffer that starts at a command and grows as bytes arrive; the parser keeps how
//! far it has understood it, so that no byte is looked at twice however the bytes are cut, and hands out spans into
//! it, so that no argument is copied. Only inline words, which may hold escapes, are copied. Reading each command
//! into a tree of values was rejected: a server spends a good part of its time here.
//!
//! Accepted bytes, limits and error texts are those of Redis 7.2, leniences included: of the two bytes that end a
//! line only the `\r` is checked, and those that end a bulk not at all. Such input is executed but reported as not
//! canonical, so that the stream never carries it.
//!
//! What always holds: memory grows with bytes received, never with a number claimed in them (the caller may use
//! [`Parsed::NeedMore`]'s hint to size its buffer, within its own limits); the same bytes give the same commands
//! and the same error wherever they were cut.

use super::inline;
use super::number::parse_i64;
use crate::error::ReplyError;
use memchr::memchr;
use std::fmt;

pub use super::args::{Args, OwnedArgs, Span, encode_command};

/// What the sender may claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest argument (`proto-max-bulk-len`), in bytes.
    pub max_bulk: u64,
    /// Without authentication: at most ten arguments of at most 16 KiB.
    pub authenticated: bool,
}

impl Limits {
    /// For our own primary's stream and for files: only what a span can hold limits a bulk.
    pub const TRUSTED: Limits = Limits { max_bulk: u64::MAX, authenticated: true };
}

impl Default for Limits {
    /// Redis' defaults, for an authenticated client.
    fn default() -> Limits {
        Limits { max_bulk: 512 << 20, authenticated: true }
    }
}

/// What a buffer held at its start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The command is not complete: call again with the same buffer, grown. At least `hint` bytes are missing
    /// (a claim of the sender's).
    NeedMore { hint: usize },
    /// An empty line or an array of no elements: drop `consumed` bytes and go on. (A replica's empty line is a
    /// sign of life, a primary's too.)
    Empty { consumed: usize },
    /// [`Parser::args`] holds a command (one argument at least). Drop `consumed` bytes after using it. If
    /// `canonical`, those very bytes are what [`encode_command`] would write.
    Command { consumed: usize, canonical: bool },
}

/// The request is not RESP or too large: the connection is closed after this error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProtocolError {
    TooBigInline,
    UnbalancedQuotes,
    TooBigCountLine,
    InvalidCount,
    UnauthenticatedCount,
    TooBigBulkLine,
    ExpectedDollar(u8),
    InvalidBulkLength,
    UnauthenticatedBulk,
}

impl fmt::Display for ProtocolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Protocol error: ")?;
        f.write_str(match self {
            ProtocolError::TooBigInline => "too big inline request",
            ProtocolError::UnbalancedQuotes => "unbalanced quotes in request",
            ProtocolError::TooBigCountLine => "too big mbulk count string",
            ProtocolError::InvalidCount => "invalid multibulk length",
            ProtocolError::UnauthenticatedCount => "unauthenticated multibulk length",
            ProtocolError::TooBigBulkLine => "too big bulk count string",
            ProtocolError::InvalidBulkLength => "invalid bulk length",
            ProtocolError::UnauthenticatedBulk => "unauthenticated bulk length",
            ProtocolError::ExpectedDollar(got) => {
                return write!(f, "expected '$', got '{}'", char::from(*got));
            }
        })
    }
}

impl std::error::Error for ProtocolError {}

impl From<ProtocolError> for ReplyError {
    fn from(error: ProtocolError) -> ReplyError {
        ReplyError::from(format!("ERR {error}"))
    }
}

/// Longest line (inline command, count, length) before its terminator.
const MAX_LINE: usize = 64 << 10;
/// Arguments of a command, and bytes of each, that a client without authentication may send.
const UNAUTHENTICATED_COUNT: u32 = 10;
const UNAUTHENTICATED_BULK: u64 = 16 << 10;
/// Bytes of a line that are looked at one by one.
const NEAR: usize = 6;
/// Argument spans kept allocated between commands.
const KEPT_SPANS: usize = 1024;

/// The state between two looks at one connection's buffer.
#[derive(Debug, Default)]
pub struct Parser {
    stage: Stage,
    /// Where the line or bulk being read starts.
    pos: usize,
    /// The line being read has no terminator before here. `pos ≤ seen ≤ buf.len()` while reading a line.
    seen: usize,
    /// Arguments still to come, the one being read included.
    left: u32,
    canonical: bool,
    spans: Vec<Span>,
    inline: OwnedArgs,
    is_inline: bool,
}

#[derive(Clone, Copy, Debug, Default)]
enum Stage {
    /// Nothing of a command seen; the arguments of the last one are still held.
    #[default]
    Start,
    Inline,
    Count,
    BulkLength,
    Bulk(u32),
}

impl Parser {
    pub fn new() -> Parser {
        Parser::default()
    }

    /// Reads one command from the start of `buf`. After [`Parsed::NeedMore`] the next call must bring the same
    /// bytes and more; after any other result, the bytes behind those consumed. An error ends the connection:
    /// what a later call returns is then unspecified.
    pub fn parse(&mut self, buf: &[u8], limits: &Limits) -> Result<Parsed, ProtocolError> {
        if let Stage::Start = self.stage {
            match buf.first() {
                None => return Ok(Parsed::NeedMore { hint: 1 }),
                Some(first) => self.begin(*first == b'*'),
            }
            if let Some(consumed) = self.read_whole(buf, limits) {
                self.stage = Stage::Start;
                return Ok(Parsed::Command { consumed, canonical: true });
            }
            self.spans.clear();
        }
        loop {
            let step = match self.stage {
                Stage::Start | Stage::Inline => self.read_inline(buf)?,
                Stage::Count => self.read_count(buf, limits)?,
                Stage::BulkLength => self.read_bulk_length(buf, limits)?,
                Stage::Bulk(len) => self.read_bulk(buf, len),
            };
            if let Some(parsed) = step {
                if !matches!(parsed, Parsed::NeedMore { .. }) {
                    self.stage = Stage::Start;
                }
                return Ok(parsed);
            }
        }
    }

    /// The arguments of the command just parsed; `buf` is the buffer it was parsed from. Valid until the next
    /// call of [`Parser::parse`].
    pub fn args<'b>(&'b self, buf: &'b [u8]) -> Args<'b> {
        if self.is_inline { self.inline.as_args() } else { Args::new(buf, &self.spans) }
    }

    /// Where its arguments lie in that buffer; none for an inline command, whose words are copies.
    pub fn spans(&self) -> &[Span] {
        &self.spans
    }

    /// Whether that command was an inline one (a primary never sends those).
    pub fn is_inline(&self) -> bool {
        self.is_inline
    }

    /// Whether a part of a command has been read.
    pub fn is_mid_command(&self) -> bool {
        !matches!(self.stage, Stage::Start)
    }

    /// Bytes at the buffer's start that are understood: whole arguments of the command being read.
    pub fn understood(&self) -> usize {
        if self.is_mid_command() { self.pos } else { 0 }
    }

    /// Heap bytes held, for the accounting of clients' memory.
    pub fn heap_bytes(&self) -> usize {
        self.spans.capacity() * size_of::<Span>() + self.inline.heap_bytes()
    }

    fn begin(&mut self, multi_bulk: bool) {
        self.spans.clear();
        self.spans.shrink_to(KEPT_SPANS);
        if self.is_inline {
            self.inline.clear();
        }
        self.is_inline = !multi_bulk;
        self.stage = if multi_bulk { Stage::Count } else { Stage::Inline };
        (self.pos, self.seen) = (0, 0);
        self.canonical = multi_bulk;
    }

    /// The common case in one pass: a canonical multi-bulk that is there to its end, within what any client may
    /// send. `None`: read it step by step, from its start.
    fn read_whole(&mut self, buf: &[u8], limits: &Limits) -> Option<usize> {
        let (count, mut at) = short_line(buf, 0, b'*')?;
        if count == 0 || count > UNAUTHENTICATED_COUNT {
            return None;
        }
        let longest = limits.max_bulk.min(UNAUTHENTICATED_BULK);
        for _ in 0..count {
            let (len, start) = short_line(buf, at, b'$')?;
            let end = start + len as usize;
            if u64::from(len) > longest || buf.get(end..end + 2)? != b"\r\n" {
                return None;
            }
            self.spans.push(Span { start: start as u32, len });
            at = end + 2;
        }
        Some(at)
    }

    fn read_inline(&mut self, buf: &[u8]) -> Result<Option<Parsed>, ProtocolError> {
        let Some(newline) = self.find(b'\n', buf, ProtocolError::TooBigInline)? else {
            return Ok(Some(Parsed::NeedMore { hint: 1 }));
        };
        let line = &buf[..newline];
        if !inline::split(line.strip_suffix(b"\r").unwrap_or(line), &mut self.inline) {
            return Err(ProtocolError::UnbalancedQuotes);
        }
        let consumed = newline + 1;
        Ok(Some(if self.inline.is_empty() {
            Parsed::Empty { consumed }
        } else {
            Parsed::Command { consumed, canonical: false }
        }))
    }

    fn read_count(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Parsed>, ProtocolError> {
        let Some(line) = self.take_line(buf, ProtocolError::TooBigCountLine)? else {
            return Ok(Some(Parsed::NeedMore { hint: 1 }));
        };
        let count = parse_i64(&line[1..]).and_then(|count| i32::try_from(count).ok().or(negative(count)));
        let count = count.ok_or(ProtocolError::InvalidCount)?;
        if count > i32::try_from(UNAUTHENTICATED_COUNT).unwrap_or(i32::MAX) && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedCount);
        }
        if count <= 0 {
            return Ok(Some(Parsed::Empty { consumed: self.pos }));
        }
        self.left = count.unsigned_abs();
        self.stage = Stage::BulkLength;
        Ok(None)
    }

    fn read_bulk_length(&mut self, buf: &[u8], limits: &Limits) -> Result<Option<Parsed>, ProtocolError> {
        let Some(line) = self.take_line(buf, ProtocolError::TooBigBulkLine)? else {
            return Ok(Some(Parsed::NeedMore { hint: 1 }));
        };
        // An empty line's first byte is its own terminator.
        let (mark, digits) = line.split_first().unwrap_or((&b'\r', &[]));
        if *mark != b'$' {
            return Err(ProtocolError::ExpectedDollar(*mark));
        }
        let len = parse_i64(digits).and_then(|len| u64::try_from(len).ok());
        let len = len.filter(|len| *len <= limits.max_bulk).ok_or(ProtocolError::InvalidBulkLength)?;
        if len > UNAUTHENTICATED_BULK && !limits.authenticated {
            return Err(ProtocolError::UnauthenticatedBulk);
        }
        // Spans are 32 bits wide: a command ends below 4 GiB.
        let room = u64::from(u32::MAX).saturating_sub(self.pos as u64 + 2);
        if len > room {
            return Err(ProtocolError::InvalidBulkLength);
        }
        self.stage = Stage::Bulk(len as u32);
        Ok(None)
    }

    fn read_bulk(&mut self, buf: &[u8], len: u32) -> Option<Parsed> {
        let end = self.pos + len as usize;
        let Some(terminator) = buf.get(end..end + 2) else {
            return Some(Parsed::NeedMore { hint: end + 2 - buf.len() });
        };
        self.canonical &= terminator == b"\r\n";
        self.spans.push(Span { start: self.pos as u32, len });
        self.pos = end + 2;
        self.seen = self.pos;
        self.left -= 1;
        if self.left == 0 {
            return Some(Parsed::Command { consumed: self.pos, canonical: self.canonical });
        }
        self.stage = Stage::BulkLength;
        None
    }

    /// The line at `pos` without its two bytes of terminator, moving past it; `None` while it is not complete.
    fn take_line<'b>(
        &mut self,
        buf: &'b [u8],
        too_big: ProtocolError,
    ) -> Result<Option<&'b [u8]>, ProtocolError> {
        let Some(end) = self.find(b'\r', buf, too_big)? else { return Ok(None) };
        let Some(second) = buf.get(end + 1) else { return Ok(None) };
        self.canonical &= *second == b'\n';
        let line = &buf[self.pos..end];
        self.pos = end + 2;
        self.seen = self.pos;
        Ok(Some(line))
    }

    /// Finds `terminator` in the line at `pos`, remembering how far it looked.
    fn find(
        &mut self,
        terminator: u8,
        buf: &[u8],
        too_big: ProtocolError,
    ) -> Result<Option<usize>, ProtocolError> {
        let end = buf.len().min(self.pos + MAX_LINE + 1);
        let unseen = &buf[self.seen..end];
        // Most lines are a mark and a few digits: not worth a vector search.
        let near = unseen.iter().take(NEAR).position(|byte| *byte == terminator);
        match near.or_else(|| memchr(terminator, unseen)) {
            Some(at) => {
                self.seen += at;
                Ok(Some(self.seen))
            }
            None if buf.len() - self.pos > MAX_LINE => Err(too_big),
            None => {
                self.seen = end;
                Ok(None)
            }
        }
    }
}

/// The number in a canonical line `mark digits CRLF` of at most four digits at `at`, and where the next line begins.
#[inline]
fn short_line(buf: &[u8], at: usize, mark: u8) -> Option<(u32, usize)> {
    let line = buf.get(at..)?;
    if *line.first()? != mark {
        return None;
    }
    let mut number = 0;
    for (i, byte) in line.iter().enumerate().take(6).skip(1) {
        match byte {
            b'0'..=b'9' if i == 1 || number > 0 => number = number * 10 + u32::from(byte - b'0'),
            b'\r' if i > 1 && line.get(i + 1) == Some(&b'\n') => return Some((number, at + i + 2)),
            _ => return None,
        }
    }
    None
}

/// Any negative count means an empty command, however far below zero.
fn negative(count: i64) -> Option<i32> {
    (count < 0).then_some(-1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Outcome = (Vec<(OwnedArgs, bool)>, usize, Option<ProtocolError>);

    /// Feeds `input` in pieces that end at `cuts`: commands with their canonicity, empties, error.
    fn feed(input: &[u8], cuts: &[usize], limits: &Limits) -> Outcome {
        let (mut parser, mut start) = (Parser::new(), 0);
        let (mut commands, mut empties) = (Vec::new(), 0);
        for end in cuts.iter().copied().chain([input.len()]) {
            loop {
                let buf = &input[start..end];
                match parser.parse(buf, limits) {
                    Ok(Parsed::NeedMore { hint }) => {
                        assert!(hint > 0);
                        break;
                    }
                    Ok(Parsed::Empty { consumed }) => {
                        empties += 1;
                        start += consumed;
                    }
                    Ok(Parsed::Command { consumed, canonical }) => {
                        let args = parser.args(buf);
                        assert!(!args.is_empty());
                        if canonical {
                            let mut encoded = Vec::new();
                            args.encode(&mut encoded);
                            assert_eq!(encoded, &buf[..consumed]);
                        }
                        commands.push((OwnedArgs::from(args), canonical));
                        start += consumed;
                    }
                    Err(error) => return (commands, empties, Some(error)),
                }
            }
        }
        (commands, empties, None)
    }

    fn words(line: &str) -> OwnedArgs {
        OwnedArgs::from_slices(&line.split(' ').map(str::as_bytes).collect::<Vec<_>>())
    }

    #[test]
    fn any_cut_of_a_pipeline_gives_the_same_commands() {
        let input = b"*1\r\n$4\r\nPING\r\n\r\nset \"a\" b\n*0\r\n*-7\r\n\n*2\r\n$3\r\nGET\r\n$0\r\n\r\n*1\rX$1\r\nq__*1\r\n$1\r\nz\r\n";
        let whole = feed(input, &[], &Limits::default());
        let expected = [("PING", true), ("set a b", false), ("GET ", true), ("q", false), ("z", true)];
        assert_eq!(whole.0, expected.map(|(line, canonical)| (words(line), canonical)));
        assert_eq!((whole.1, whole.2), (4, None));
        for a in 0..=input.len() {
            for b in a..=input.len() {
                assert_eq!(feed(input, &[a, b], &Limits::default()), whole, "cut at {a} and {b}");
            }
        }
        let every: Vec<usize> = (0..input.len()).collect();
        assert_eq!(feed(input, &every, &Limits::default()), whole);
    }

    #[test]
    fn errors_as_redis_words_them() {
        #[track_caller]
        fn check(input: &[u8], authenticated: bool, expected: &str) {
            let limits = Limits { authenticated, ..Limits::default() };
            let every: Vec<usize> = (0..input.len()).collect();
            let (whole, bytewise) = (feed(input, &[], &limits), feed(input, &every, &limits));
            assert_eq!(whole, bytewise);
            let text = whole.2.map(|error| ReplyError::from(error).text().into_owned());
            assert_eq!(
                text.as_deref().unwrap_or("none"),
                expected,
                "{}",
                input[..input.len().min(40)].escape_ascii()
            );
        }
        let long = |prefix: &str, n: usize| [prefix.as_bytes(), &vec![b'1'; n], b"\r\n"].concat();
        for (input, expected) in [
            (&b"*3000000000\r\n"[..], "ERR Protocol error: invalid multibulk length"),
            (b"*2147483648\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*2147483647\r\n", "none"),
            (b"*-99999999999\r\n", "none"),
            (b"*\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*+1\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*x\r\n", "ERR Protocol error: invalid multibulk length"),
            (b"*1\r\n$-1\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$536870913\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*1\r\n$536870912\r\n", "none"),
            (b"*1\r\n$blah\r\n", "ERR Protocol error: invalid bulk length"),
            (b"*3\r\n$3\r\nSET\r\n$1\r\nx\r\nfooz\r\n", "ERR Protocol error: expected '$', got 'f'"),
            (b"*1\r\n\r\n", "ERR Protocol error: expected '$', got '\r'"),
            (b"set \"a\r\n", "ERR Protocol error: unbalanced quotes in request"),
            (b"*12\r\n", "none"),
        ] {
            check(input, true, expected);
        }
        check(b"*11\r\n", false, "ERR Protocol error: unauthenticated multibulk length");
        check(b"*10\r\n$16385\r\n", false, "ERR Protocol error: unauthenticated bulk length");
        check(b"*10\r\n$16384\r\n", false, "none");
        check(&long("", MAX_LINE - 1), true, "none");
        check(&long("", MAX_LINE), true, "ERR Protocol error: too big inline request");
        check(&long("*", MAX_LINE), true, "ERR Protocol error: too big mbulk count string");
        check(&long("*1\r\n$", MAX_LINE), true, "ERR Protocol error: too big bulk count string");
        check(&long("*1\r\n$", 30), true, "ERR Protocol error: invalid bulk length");
    }

    #[test]
    fn claims_allocate_nothing_and_the_hint_names_what_is_missing() {
        let mut parser = Parser::new();
        let input = b"*2147483647\r\n$500000000\r\nabc";
        let parsed = parser.parse(input, &Limits::default());
        assert_eq!(parsed, Ok(Parsed::NeedMore { hint: 500_000_000 + 2 - 3 }));
        assert!(parser.heap_bytes() < 1024);
        assert!(parser.is_mid_command());
        let huge = b"*1\r\n$4294967295\r\n";
        assert_eq!(Parser::new().parse(huge, &Limits::TRUSTED), Err(ProtocolError::InvalidBulkLength));
    }

    fn commands() -> impl Strategy<Value = Vec<Vec<Vec<u8>>>> {
        let arg = prop_oneof![
            proptest::collection::vec(any::<u8>(), 0..12),
            proptest::collection::vec(proptest::sample::select(&b"\r\n$*1"[..]), 0..40),
        ];
        proptest::collection::vec(proptest::collection::vec(arg, 1..6), 0..6)
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_read_back(commands in commands(), cuts in proptest::collection::vec(0usize..2000, 0..8)) {
            let mut input = Vec::new();
            for command in &commands {
                encode_command(command.iter().map(Vec::as_slice), &mut input);
            }
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.sort_unstable();
            let (read, empties, error) = feed(&input, &cuts, &Limits::default());
            prop_assert_eq!((empties, error), (0, None));
            let expected: Vec<_> = commands
                .iter()
                .map(|command| (OwnedArgs::from_slices(&command.iter().map(Vec::as_slice).collect::<Vec<_>>()), true))
                .collect();
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn garbage_neither_panics_nor_depends_on_cuts(
            input in proptest::collection::vec(proptest::sample::select(&b"*$\r\n\"'\\x0123-a \0"[..]), 0..120),
            cuts in proptest::collection::vec(0usize..120, 0..6),
        ) {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(input.len())).collect();
            cuts.sort_unstable();
            let limits = Limits { max_bulk: 50, authenticated: input.len() % 2 == 0 };
            prop_assert_eq!(feed(&input, &cuts, &limits), feed(&input, &[], &limits));
        }
    }
}
