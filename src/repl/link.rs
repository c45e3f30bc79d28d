//! The link of a replica to its primary, for one connection: what to send, what the answers mean.
//!
//! Sans-io: the caller connects, feeds what it reads ([`Link::handle_input`], which returns one event at a time
//! and borrows payload and stream from the input), writes what [`Link::poll_send`] gives, and shows the time. One
//! `Link` is one connection; after it has ended the caller makes a new one. The steps are those of a stock replica
//! of 7.2, so that any primary since 2.8 understands them; what is ours is one REPLCONF more, which stock answers
//! with an error.
//!
//! ```text
//!  Ping ──+… or asked for a password──► Handshake ──all answered──► Asking ──PSYNC sent──► Verdict
//!                                        AUTH, REPLCONF listening-port, ip-address,          │ │ │
//!                                        capa, version, ringhold-lineage: sent together,     │ │ │
//!                                        answered in order; only AUTH may not fail           │ │ │
//!                                                                                            │ │ │
//!            +FULLRESYNC (or SYNC sent instead)                                              │ │ │
//!   Header ◄─────────────────────────────────────────────────────────────────────────────────┘ │ │
//!     │ $len ──► Sized ──len bytes──┐                                          +CONTINUE       │ │
//!     │ $EOF: ─► Marked ──the mark──┴► Loading ──Link::loaded──► Online ◄──────────────────────┘ │
//!     │                                                                                          │
//!     └─ -… or nonsense ──► Ended ◄──────────────────── -NOMASTERLINK, -LOADING, -…, nonsense ───┘
//! ```
//!
//! Nothing that is asked here touches data: until `Full` or `Continue` the caller keeps all it has, whatever the
//! answer, and after `Refused` or `Failed` it asks again later. Falling back to SYNC after any unknown error, as
//! stock does, is what wipes a replica when its primary is merely unwell (rule 5): it happens only if the caller
//! allows it. A `+CONTINUE` that we do not fully understand is a failure: stock reads `+CONTINUE id 4000` as "under
//! the old id", which is not what it says.
//!
//! Always: memory held is at most one line ([`MAX_LINE`]) or one end mark; any split of the input gives the same
//! events, but for where payload and stream are cut; empty lines before verdict and payload are signs of life.

use std::borrow::Cow;
use std::collections::VecDeque;

use super::lineage::{self, Lineage};
use super::payload::{MARK, MarkFinder};
use crate::resp::args::encode_command;
use crate::units::{Offset, ReplId};

/// Longest line of an answer, in bytes.
pub const MAX_LINE: usize = 64 * 1024;
/// Bytes of a peer's line that an event repeats.
const QUOTED: usize = 512;

/// How we present ourselves.
#[derive(Clone, Debug)]
pub struct Hello {
    pub user: Option<Vec<u8>>,
    pub password: Option<Vec<u8>>,
    /// What the primary shall show as our address; the port always, the host only if announced.
    pub port: u16,
    pub ip: Option<String>,
    pub version: &'static str,
    /// [`Lineage::encode`]d; `None`: not told.
    pub lineage: Option<String>,
    pub ask: Ask,
    /// Ask the primary (a replica until now) to take over: PSYNC … FAILOVER.
    pub failover: bool,
    /// After an error that a stock replica takes for "knows no PSYNC", send SYNC as it does.
    pub allow_sync: bool,
    /// Ask for the snapshot of a full sync alone: the primary keeps no stream for us (`REPLCONF rdb-only`).
    pub payload_only: bool,
}

/// Where to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ask {
    /// `None`: we hold nothing that could be continued (`PSYNC ? -1`).
    pub replid: Option<ReplId>,
    /// Our position; the wire carries the byte after it (rule 19).
    pub at: Offset,
}

/// What the primary did.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// It is one of ours and this is its lineage. PSYNC has not been sent: [`Link::set_ask`] may still change it.
    Lineage(Lineage),
    /// It does not know something that is not needed: for the log.
    Note(String),
    /// A payload follows that equals the stream up to `cut`.
    Full {
        replid: ReplId,
        cut: Offset,
    },
    /// PSYNC failed for this reason and SYNC was sent: a payload of unknown position follows.
    Sync {
        why: String,
    },
    /// The stream goes on where we asked; under a new id, if one is named.
    Continue {
        replid: Option<ReplId>,
    },
    /// The payload begins: its length, if known.
    PayloadSize(Option<u64>),
    Payload(Cow<'a, [u8]>),
    /// All of it was handed out. The link takes nothing more before [`Link::loaded`].
    PayloadDone,
    Stream(&'a [u8]),
    /// It cannot or will not serve us now (-LOADING, -NOMASTERLINK): ask again later, keep everything. Ended.
    Refused {
        why: String,
    },
    /// Ended for another reason.
    Failed(String),
}

/// One answer that is awaited in the handshake.
#[derive(Clone, Copy, Debug)]
enum Step {
    Auth,
    /// A REPLCONF whose failure does not matter, by its option.
    Conf(&'static str),
    Lineage,
    /// The text behind its length.
    LineageText(usize),
}

#[derive(Debug)]
enum State {
    Ping,
    Handshake(VecDeque<Step>),
    /// PSYNC is sent as soon as anything is asked to be sent, or comes.
    Asking,
    Verdict,
    Header,
    Sized {
        left: u64,
    },
    Marked(Box<MarkFinder>),
    Loading,
    Online,
    Ended,
}

struct TooLong;

#[derive(Debug)]
pub struct Link {
    hello: Hello,
    state: State,
    /// A line that is not complete.
    line: Vec<u8>,
    out: Vec<u8>,
    /// When bytes came last.
    last_io_ms: i64,
}

impl Link {
    /// For a connection that was just established.
    pub fn new(hello: Hello, now_ms: i64) -> Link {
        let mut link =
            Link { hello, state: State::Ping, line: Vec::new(), out: Vec::new(), last_io_ms: now_ms };
        link.send(&[b"PING"]);
        link
    }

    /// Takes bytes off the front of `input` up to the next event; to be called until `None`, also when `input` is
    /// empty already. Then all of it was taken, or the payload is complete and what is left belongs to the stream
    /// after [`Link::loaded`].
    pub fn handle_input<'a>(&mut self, input: &mut &'a [u8], now_ms: i64) -> Option<Event<'a>> {
        while !input.is_empty() {
            self.last_io_ms = now_ms;
            let event = match &mut self.state {
                State::Loading => return None,
                State::Ended => {
                    *input = &[];
                    None
                }
                State::Online => Some(Event::Stream(std::mem::take(input))),
                State::Sized { .. } | State::Marked(_) => self.take_payload(input),
                State::Ping | State::Handshake(_) | State::Asking | State::Verdict | State::Header => {
                    self.ask_if_due();
                    self.take_line(input).and_then(|line| self.handle_line(line))
                }
            };
            if event.is_some() {
                return event;
            }
        }
        // A payload that ends with the input, or has no bytes at all.
        match self.state {
            State::Sized { left: 0 } => self.end_payload(),
            _ => None,
        }
    }

    /// Appends to `into` what is to be sent now.
    pub fn poll_send(&mut self, into: &mut Vec<u8>) {
        self.ask_if_due();
        into.append(&mut self.out);
    }

    /// Changes what PSYNC will ask; of no effect once it was sent.
    pub fn set_ask(&mut self, ask: Ask) {
        self.hello.ask = ask;
    }

    /// The payload is in force: the stream may come. Tells the primary at once how far we are; after a payload
    /// that ended with a mark it waits for that.
    pub fn loaded(&mut self, applied: Offset, durable: Option<Offset>, now_ms: i64) {
        if matches!(self.state, State::Loading) {
            self.state = State::Online;
            self.last_io_ms = now_ms; // nothing was read while it was being loaded
            self.ack(applied, durable);
        }
    }

    /// REPLCONF ACK: what was applied and, if we keep a log, what of it is durable. Nothing unless online.
    pub fn ack(&mut self, applied: Offset, durable: Option<Offset>) {
        if !self.is_online() {
            return;
        }
        let (applied, durable) = (applied.to_string(), durable.map(|durable| durable.to_string()));
        match &durable {
            None => self.send(&[b"REPLCONF", b"ACK", applied.as_bytes()]),
            Some(durable) => {
                self.send(&[b"REPLCONF", b"ACK", applied.as_bytes(), b"FACK", durable.as_bytes()]);
            }
        }
    }

    /// A sign of life while a payload is received or loaded, when no ACK may be sent.
    pub fn keep_alive(&mut self) {
        if self.state_name() == "sync" {
            self.out.push(b'\n');
        }
    }

    pub fn is_online(&self) -> bool {
        matches!(self.state, State::Online)
    }

    pub fn is_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// As ROLE shows it.
    pub fn state_name(&self) -> &'static str {
        match self.state {
            State::Ping | State::Handshake(_) | State::Asking | State::Verdict => "handshake",
            State::Header | State::Sized { .. } | State::Marked(_) | State::Loading => "sync",
            State::Online => "connected",
            State::Ended => "connect",
        }
    }

    /// When bytes came last, in the caller's milliseconds.
    pub fn last_io_ms(&self) -> i64 {
        self.last_io_ms
    }

    /// Why the link counts as dead if nothing came for more than `limit_ms` (`repl-timeout`). While the caller
    /// loads and does not read, nothing can come.
    pub fn timed_out(&self, now_ms: i64, limit_ms: i64) -> Option<&'static str> {
        if now_ms - self.last_io_ms <= limit_ms {
            return None;
        }
        match self.state_name() {
            "handshake" => Some("Timeout connecting to the MASTER..."),
            "connected" => Some("MASTER timeout: no data nor PING received..."),
            "sync" if !matches!(self.state, State::Loading) => Some(
                "Timeout receiving bulk data from MASTER... If the problem persists try to set the 'repl-timeout' parameter in redis.conf to a larger value.",
            ),
            _ => None,
        }
    }

    // ---- lines ----

    /// The next line without its end, or `None` until there is one.
    fn take_line(&mut self, input: &mut &[u8]) -> Option<Result<Vec<u8>, TooLong>> {
        let end = memchr::memchr(b'\n', input);
        let (part, rest) = input.split_at(end.unwrap_or(input.len()));
        if self.line.len() + part.len() > MAX_LINE {
            return Some(Err(TooLong));
        }
        self.line.extend_from_slice(part);
        *input = rest.get(1..).unwrap_or_default();
        end?;
        let mut line = std::mem::take(&mut self.line);
        if line.last() == Some(&b'\r') {
            line.pop();
        }
        Some(Ok(line))
    }

    fn handle_line<'a>(&mut self, line: Result<Vec<u8>, TooLong>) -> Option<Event<'a>> {
        let Ok(line) = line else {
            self.line = Vec::new();
            return self.fail("The MASTER's answer is a line that does not end".into());
        };
        match &mut self.state {
            State::Handshake(steps) if matches!(steps.front(), Some(Step::LineageText(_))) => {
                self.handle_answer(&line)
            }
            _ if line.is_empty() => None,
            State::Ping => self.handle_pong(&line),
            State::Handshake(_) => self.handle_answer(&line),
            State::Verdict => self.handle_verdict(&line),
            State::Header => self.handle_header(&line),
            _ => None,
        }
    }

    /// A primary that wants a password first says so here already. One whose disk fails (`-MISCONF`) serves replicas, and needs
    /// them; Redis' replicas stay away until it works again. Any other error is none to go on with.
    fn handle_pong<'a>(&mut self, line: &[u8]) -> Option<Event<'a>> {
        let fine: [&[u8]; 5] = [b"+", b"-NOAUTH", b"-NOPERM", b"-ERR operation not permitted", b"-MISCONF"];
        if !fine.iter().any(|start| line.starts_with(start)) {
            return self.fail(format!("Error reply to PING from master: '{}'", quoted(line)));
        }
        self.send_handshake();
        None
    }

    fn handle_answer<'a>(&mut self, line: &[u8]) -> Option<Event<'a>> {
        let State::Handshake(steps) = &mut self.state else { return None };
        let step = steps.pop_front()?;
        let refused = line.first() == Some(&b'-');
        let event = match step {
            Step::Auth if refused => {
                return self.fail(format!("Unable to AUTH to MASTER: {}", quoted(line)));
            }
            Step::Conf(option) if refused => Some(Event::Note(format!(
                "(Non critical) Master does not understand REPLCONF {option}: {}",
                quoted(line)
            ))),
            Step::Auth | Step::Conf(_) => None,
            Step::Lineage => match line {
                // Stock does not know it: nothing to be said.
                [b'-', ..] => None,
                [b'+', text @ ..] => told(text),
                [b'$', len @ ..] => match number(len) {
                    Some(len) if len <= MAX_LINE as u64 => {
                        steps.push_front(Step::LineageText(len as usize));
                        None
                    }
                    _ => return self.fail(format!("Bad length of the MASTER's lineage: '{}'", quoted(line))),
                },
                _ => told(line),
            },
            Step::LineageText(len) if len == line.len() => told(line),
            Step::LineageText(_) => {
                return self.fail("The MASTER's lineage has not the length it says".into());
            }
        };
        if let State::Handshake(steps) = &self.state
            && steps.is_empty()
        {
            self.state = State::Asking;
        }
        event
    }

    fn handle_verdict<'a>(&mut self, line: &[u8]) -> Option<Event<'a>> {
        if let Some(words) = line.strip_prefix(b"+FULLRESYNC") {
            let Some((replid, cut)) = full_resync(words) else {
                return self
                    .fail(format!("Master replied with wrong +FULLRESYNC syntax: '{}'", quoted(line)));
            };
            self.state = State::Header;
            return Some(Event::Full { replid, cut });
        }
        if let Some(words) = line.strip_prefix(b"+CONTINUE") {
            let replid = words.strip_prefix(b" ").and_then(ReplId::parse);
            if !words.is_empty() && replid.is_none() || self.hello.ask.replid.is_none() {
                return self.fail(format!("Master replied with an unexpected '{}'", quoted(line)));
            }
            self.state = State::Online;
            return Some(Event::Continue { replid });
        }
        if line.starts_with(b"-NOMASTERLINK") || line.starts_with(b"-LOADING") {
            self.state = State::Ended;
            return Some(Event::Refused { why: quoted(&line[1..]) });
        }
        let why = format!("Unexpected reply to PSYNC from master: {}", quoted(line));
        if self.hello.allow_sync {
            self.out.extend_from_slice(b"SYNC\r\n");
            self.state = State::Header;
            return Some(Event::Sync { why });
        }
        self.fail(why)
    }

    fn handle_header<'a>(&mut self, line: &[u8]) -> Option<Event<'a>> {
        match line {
            [b'-', why @ ..] => {
                self.fail(format!("MASTER aborted replication with an error: {}", quoted(why)))
            }
            [b'$', b'E', b'O', b'F', b':', mark @ ..] => match mark.first_chunk::<MARK>() {
                Some(mark) => {
                    self.state = State::Marked(Box::new(MarkFinder::new(*mark)));
                    Some(Event::PayloadSize(None))
                }
                None => self.fail(format!("Bad end mark of the payload from MASTER: '{}'", quoted(line))),
            },
            [b'$', len @ ..] => match number(len) {
                Some(left) => {
                    self.state = State::Sized { left };
                    Some(Event::PayloadSize(Some(left)))
                }
                None => self.fail(format!("Bad length of the payload from MASTER: '{}'", quoted(line))),
            },
            _ => self.fail(format!(
                "Bad protocol from MASTER, the first byte is not '$' (we received '{}'), are you sure the host and port are right?",
                quoted(line)
            )),
        }
    }

    // ---- payload ----

    fn take_payload<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        match &mut self.state {
            State::Sized { left: 0 } => self.end_payload(),
            State::Sized { left } => {
                let most = usize::try_from(*left).unwrap_or(usize::MAX);
                let (piece, rest) = input.split_at(most.min(input.len()));
                *left -= piece.len() as u64;
                *input = rest;
                Some(Event::Payload(Cow::Borrowed(piece)))
            }
            State::Marked(finder) => {
                let (piece, complete) = finder.next(input);
                if complete {
                    self.state = State::Sized { left: 0 };
                }
                (!piece.is_empty()).then_some(Event::Payload(piece))
            }
            _ => None,
        }
    }

    fn end_payload<'a>(&mut self) -> Option<Event<'a>> {
        self.state = State::Loading;
        Some(Event::PayloadDone)
    }

    // ---- sending ----

    /// All of the handshake at once: a primary answers in order, and one round trip is enough.
    fn send_handshake(&mut self) {
        let mut steps = VecDeque::new();
        let hello = self.hello.clone();
        if let Some(password) = &hello.password {
            match &hello.user {
                Some(user) => self.send(&[b"AUTH", user, password]),
                None => self.send(&[b"AUTH", password]),
            }
            steps.push_back(Step::Auth);
        }
        let port = hello.port.to_string();
        let mut conf = |link: &mut Link, option: &'static str, words: &[&[u8]]| {
            link.send(&[&[b"REPLCONF", option.as_bytes()], words].concat());
            steps.push_back(Step::Conf(option));
        };
        if hello.payload_only {
            conf(self, "rdb-only", &[b"1"]);
        } else {
            conf(self, "listening-port", &[port.as_bytes()]);
        }
        if let Some(ip) = &hello.ip {
            conf(self, "ip-address", &[ip.as_bytes()]);
        }
        conf(self, "capa", &[b"eof", b"capa", b"psync2"]);
        conf(self, "version", &[hello.version.as_bytes()]);
        if let Some(text) = &hello.lineage {
            self.send(&[b"REPLCONF", lineage::OPTION.as_bytes(), text.as_bytes()]);
            steps.push_back(Step::Lineage);
        }
        self.state = State::Handshake(steps);
    }

    fn ask_if_due(&mut self) {
        if !matches!(self.state, State::Asking) {
            return;
        }
        let Ask { replid, at } = self.hello.ask;
        let (id, next) = match &replid {
            Some(id) => (id.as_str(), at.next_byte().to_string()),
            None => ("?", "-1".into()),
        };
        let words = [b"PSYNC".as_slice(), id.as_bytes(), next.as_bytes(), b"FAILOVER"];
        let failover = self.hello.failover;
        self.send(&words[..if failover { 4 } else { 3 }]);
        self.state = State::Verdict;
    }

    fn send(&mut self, words: &[&[u8]]) {
        encode_command(words.iter().copied(), &mut self.out);
    }

    fn fail<'a>(&mut self, why: String) -> Option<Event<'a>> {
        self.state = State::Ended;
        Some(Event::Failed(why))
    }
}

/// A peer's lineage, or why it is none; neither is an error of the link.
fn told<'a>(text: &[u8]) -> Option<Event<'a>> {
    Some(match Lineage::parse(text) {
        Ok(lineage) => Event::Lineage(lineage),
        Err(why) => Event::Note(format!("The MASTER's lineage is not understood ({why}): {}", quoted(text))),
    })
}

/// ` <id> <offset>`
fn full_resync(words: &[u8]) -> Option<(ReplId, Offset)> {
    let words = words.strip_prefix(b" ")?;
    let (id, offset) = words.split_at_checked(MARK)?;
    Some((ReplId::parse(id)?, Offset(number(offset.strip_prefix(b" ")?)?)))
}

/// A number of digits alone, no greater than what the protocol's signed integers hold.
fn number(digits: &[u8]) -> Option<u64> {
    let plain = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let number = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (plain && number < i64::MAX as u64).then_some(number)
}

/// A peer's line for a message: shortened, nothing in it that a terminal would obey.
fn quoted(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(QUOTED)]);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
#[path = "link_tests.rs"]
mod tests;
