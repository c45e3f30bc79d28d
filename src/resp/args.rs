//! The arguments of one command, borrowed ([`Args`]) or owned ([`OwnedArgs`]), and their canonical encoding.
//!
//! Both are one byte buffer and a list of spans into it, so that reading a command costs no allocation per
//! argument and keeping one (a MULTI queue, a rewritten effect) costs one for all of them. A `Vec<Vec<u8>>` was
//! rejected for that reason; spans of 8 bytes instead of slices of 16 halve the list of a wide MSET.
//!
//! A command's bytes never exceed 4 GiB (spans are `u32`): the parser refuses longer ones.

use super::number::parse_i64;
use crate::error::ReplyError;
use smallvec::SmallVec;
use std::fmt;
use std::iter::FusedIterator;
use std::ops::Index;

/// Where one argument lies in its buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: u32,
    pub len: u32,
}

impl Span {
    fn of(self, buf: &[u8]) -> &[u8] {
        &buf[self.start as usize..][..self.len as usize]
    }
}

/// The arguments of one command; argument 0 is its name. Copying it copies two slices.
#[derive(Clone, Copy)]
pub struct Args<'a> {
    buf: &'a [u8],
    spans: &'a [Span],
}

impl<'a> Args<'a> {
    /// Every span must lie within `buf` (else a later access panics).
    pub fn new(buf: &'a [u8], spans: &'a [Span]) -> Args<'a> {
        Args { buf, spans }
    }
    pub fn len(self) -> usize {
        self.spans.len()
    }
    pub fn is_empty(self) -> bool {
        self.spans.is_empty()
    }
    pub fn get(self, i: usize) -> Option<&'a [u8]> {
        self.spans.get(i).map(|span| span.of(self.buf))
    }
    /// Argument 0, as sent (any letter case); empty if there is none.
    pub fn name(self) -> &'a [u8] {
        self.get(0).unwrap_or_default()
    }
    /// Argument `i` as an integer, or Redis' error for what is none. Panics past the end, as indexing does.
    pub fn int(self, i: usize) -> Result<i64, ReplyError> {
        parse_i64(self.spans[i].of(self.buf)).ok_or(ReplyError::NOT_INTEGER)
    }
    /// Whether argument `i` is there and is `word` in any letter case.
    pub fn is(self, i: usize, word: &str) -> bool {
        self.get(i).is_some_and(|arg| arg.eq_ignore_ascii_case(word.as_bytes()))
    }
    pub fn iter(self) -> ArgsIter<'a> {
        ArgsIter { buf: self.buf, spans: self.spans.iter() }
    }
    /// The arguments from number `from` on (none if there are not so many).
    pub fn tail(self, from: usize) -> Args<'a> {
        Args { buf: self.buf, spans: self.spans.get(from..).unwrap_or_default() }
    }
    /// The first `count` arguments (all if there are not so many).
    pub fn head(self, count: usize) -> Args<'a> {
        Args { buf: self.buf, spans: &self.spans[..count.min(self.spans.len())] }
    }
    /// Bytes of all arguments together, without protocol overhead.
    pub fn total_len(self) -> usize {
        self.spans.iter().map(|span| span.len as usize).sum()
    }
    /// Appends the canonical encoding: see [`encode_command`].
    pub fn encode(self, out: &mut Vec<u8>) {
        encode_command(self.iter(), out);
    }
}

impl Index<usize> for Args<'_> {
    type Output = [u8];
    /// Panics past the end: for positions that the command's arity guarantees. Else use [`Args::get`].
    fn index(&self, i: usize) -> &[u8] {
        self.spans[i].of(self.buf)
    }
}

impl<'a> IntoIterator for Args<'a> {
    type Item = &'a [u8];
    type IntoIter = ArgsIter<'a>;
    fn into_iter(self) -> ArgsIter<'a> {
        self.iter()
    }
}

impl fmt::Debug for Args<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|arg| arg.escape_ascii().to_string())).finish()
    }
}

impl PartialEq for Args<'_> {
    fn eq(&self, other: &Args<'_>) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Args<'_> {}

#[derive(Clone)]
pub struct ArgsIter<'a> {
    buf: &'a [u8],
    spans: std::slice::Iter<'a, Span>,
}

impl<'a> Iterator for ArgsIter<'a> {
    type Item = &'a [u8];
    fn next(&mut self) -> Option<&'a [u8]> {
        self.spans.next().map(|span| span.of(self.buf))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.spans.size_hint()
    }
}

impl DoubleEndedIterator for ArgsIter<'_> {
    fn next_back(&mut self) -> Option<Self::Item> {
        self.spans.next_back().map(|span| span.of(self.buf))
    }
}

impl ExactSizeIterator for ArgsIter<'_> {}
impl FusedIterator for ArgsIter<'_> {}

/// A command that outlives the buffer it was read from, or one that we make: its own builder.
///
/// ```
/// use ringhold::resp::args::OwnedArgs;
/// let set = OwnedArgs::new().with(b"SET").with(b"key").with_int(5);
/// assert_eq!(&set.as_args()[2], b"5");
/// ```
#[derive(Clone, Default)]
pub struct OwnedArgs {
    bytes: Vec<u8>,
    spans: SmallVec<[Span; 4]>,
}

impl OwnedArgs {
    pub fn new() -> OwnedArgs {
        OwnedArgs::default()
    }
    pub fn with_capacity(args: usize, bytes: usize) -> OwnedArgs {
        OwnedArgs { bytes: Vec::with_capacity(bytes), spans: SmallVec::with_capacity(args) }
    }
    pub fn from_slices(args: &[&[u8]]) -> OwnedArgs {
        let mut owned = OwnedArgs::with_capacity(args.len(), args.iter().map(|arg| arg.len()).sum());
        for arg in args {
            owned.push(arg);
        }
        owned
    }
    /// Appends an argument. Panics when the command would exceed 4 GiB.
    pub fn push(&mut self, arg: &[u8]) -> &mut OwnedArgs {
        self.push_with(|bytes| bytes.extend_from_slice(arg));
        self
    }
    /// Appends the argument that `write` appends to the bytes (it must not shorten them), and returns its result.
    pub fn push_with<R>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        let start = self.bytes.len();
        let result = write(&mut self.bytes);
        assert!(self.bytes.len() <= u32::MAX as usize, "a command of more than 4 GiB");
        self.spans.push(Span { start: start as u32, len: (self.bytes.len() - start) as u32 });
        result
    }
    /// Back to no arguments; keeps the buffers for the next ones, unless they are large.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(1024);
        self.spans.clear();
    }
    pub fn push_int(&mut self, n: i64) -> &mut OwnedArgs {
        self.push(itoa::Buffer::new().format(n).as_bytes())
    }
    /// [`OwnedArgs::push`] in a chain.
    pub fn with(mut self, arg: &[u8]) -> OwnedArgs {
        self.push(arg);
        self
    }
    pub fn with_int(mut self, n: i64) -> OwnedArgs {
        self.push_int(n);
        self
    }
    pub fn as_args(&self) -> Args<'_> {
        Args { buf: &self.bytes, spans: &self.spans }
    }
    pub fn len(&self) -> usize {
        self.spans.len()
    }
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }
    /// Heap bytes held, for memory accounting of queued commands.
    pub fn heap_bytes(&self) -> usize {
        let spans = if self.spans.spilled() { self.spans.capacity() * size_of::<Span>() } else { 0 };
        self.bytes.capacity() + spans
    }
}

impl From<Args<'_>> for OwnedArgs {
    fn from(args: Args<'_>) -> OwnedArgs {
        let mut owned = OwnedArgs::with_capacity(args.len(), args.total_len());
        for arg in args {
            owned.push(arg);
        }
        owned
    }
}

impl fmt::Debug for OwnedArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_args().fmt(f)
    }
}

impl PartialEq for OwnedArgs {
    fn eq(&self, other: &OwnedArgs) -> bool {
        self.as_args() == other.as_args()
    }
}

impl Eq for OwnedArgs {}

/// Appends `args` as a RESP array of bulk strings, the one form in which a command enters the stream.
pub fn encode_command<'a>(args: impl ExactSizeIterator<Item = &'a [u8]>, out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    out.push(b'*');
    out.extend_from_slice(digits.format(args.len()).as_bytes());
    out.extend_from_slice(b"\r\n");
    for arg in args {
        let len = digits.format(arg.len()).as_bytes();
        out.reserve(len.len() + arg.len() + 5);
        out.push(b'$');
        out.extend_from_slice(len);
        out.extend_from_slice(b"\r\n");
        out.extend_from_slice(arg);
        out.extend_from_slice(b"\r\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn owned_and_borrowed_tell_the_same() {
        let owned = OwnedArgs::from_slices(&[b"SET", b"", b"\r\n\0"]);
        let args = owned.as_args();
        assert_eq!(args.len(), 3);
        assert_eq!(args.name(), b"SET");
        assert_eq!(args.get(1), Some(&b""[..]));
        assert_eq!(&args[2], b"\r\n\0");
        assert_eq!(args.get(3), None);
        assert_eq!(args.iter().next_back(), Some(&b"\r\n\0"[..]));
        assert_eq!(args.tail(1).head(1).iter().collect::<Vec<_>>(), [b""]);
        assert!(args.tail(4).is_empty());
        assert_eq!(OwnedArgs::from(args), owned);
    }

    #[test]
    fn options_and_integers() {
        let owned = OwnedArgs::from_slices(&[b"SET", b"eX", b"10", b"1x"]);
        let args = owned.as_args();
        assert!(args.is(1, "EX") && !args.is(1, "PX") && !args.is(4, "EX"));
        assert_eq!((args.int(2), args.int(3)), (Ok(10), Err(ReplyError::NOT_INTEGER)));
    }

    #[test]
    fn encodes_canonically() {
        let mut out = Vec::new();
        OwnedArgs::new().with(b"SET").with(b"k").with_int(-10).as_args().encode(&mut out);
        assert_eq!(out, b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$3\r\n-10\r\n");
    }
}
