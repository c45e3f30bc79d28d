//! One connection's unparsed bytes.
//!
//! The driver appends what it reads; the node takes whole commands from the front. Taken bytes are dropped
//! together when the parser needs more (or the buffer is empty), so that a pipeline of a thousand commands is
//! moved at most once.

use crate::resp::args::Args;
use crate::resp::parse::{Limits, Parsed, Parser, ProtocolError};

/// A buffer larger than this is given back once it is empty.
const KEEP: usize = 64 * 1024;

#[derive(Default)]
pub struct Input {
    buf: Vec<u8>,
    taken: usize,
    parser: Parser,
}

/// A command at the front of the input.
pub struct Taken<'a> {
    pub args: Args<'a>,
    /// The client's own bytes, where they are what the stream would hold.
    pub canonical: Option<&'a [u8]>,
}

impl Input {
    /// Room for the driver to read into: at least `hint` bytes of capacity are reserved.
    pub fn reserve(&mut self, hint: usize) -> &mut Vec<u8> {
        self.compact();
        self.buf.reserve(hint);
        &mut self.buf
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.reserve(bytes.len()).extend_from_slice(bytes);
    }

    /// Bytes not yet taken.
    pub fn len(&self) -> usize {
        self.buf.len() - self.taken
    }

    /// Bytes that are neither taken nor whole arguments of the command being received.
    pub fn unread(&self) -> usize {
        self.len() - self.parser.understood()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes of memory held for this client's input.
    pub fn heap_bytes(&self) -> usize {
        self.buf.capacity() + self.parser.heap_bytes()
    }

    /// Gives memory back that an idle client does not need.
    pub fn release(&mut self) {
        self.compact();
        if self.buf.is_empty() {
            *self = Input::default();
        }
    }

    /// Advances to the next whole command. `Ok(Err(hint))`: at least `hint` more bytes are needed.
    pub fn advance(&mut self, limits: &Limits) -> Result<Result<Step, usize>, ProtocolError> {
        loop {
            match self.parser.parse(&self.buf[self.taken..], limits)? {
                Parsed::NeedMore { hint } => {
                    self.compact();
                    return Ok(Err(hint));
                }
                Parsed::Empty { consumed } => self.taken += consumed,
                Parsed::Command { consumed, canonical } => {
                    let start = self.taken;
                    self.taken += consumed;
                    return Ok(Ok(Step { start, canonical }));
                }
            }
        }
    }

    /// The command that [`Input::advance`] stepped over.
    pub fn taken(&self, step: &Step) -> Taken<'_> {
        let args = self.parser.args(&self.buf[step.start..]);
        Taken { args, canonical: step.canonical.then(|| &self.buf[step.start..self.taken]) }
    }

    fn compact(&mut self) {
        if self.taken == self.buf.len() {
            self.buf.clear();
            if self.buf.capacity() > KEEP {
                self.buf = Vec::new();
            }
        } else if self.taken > 0 {
            self.buf.drain(..self.taken);
        }
        self.taken = 0;
    }
}

/// Where the command just parsed starts.
pub struct Step {
    start: usize,
    canonical: bool,
}
