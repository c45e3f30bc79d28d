//! From stream bytes in any pieces to whole, checked units.
//!
//! Recovery and the link to a primary apply the same bytes and so read them the same way: [`Incoming`] keeps bytes
//! until a unit is whole (one command, or MULTI … EXEC), checks each command as soon as it is read, and hands the
//! unit out together with its own bytes, so that a replica can append them verbatim. Arguments are spans into those
//! bytes: a transaction of a gigabyte is held once.
//!
//! A stream is made by a server, so it is held to the form that servers write and that our log can carry: arrays of
//! bulk strings in their one canonical encoding. (A bare `\n` between commands is let through and counted, as stock
//! does.) A command that does not fit — unknown, of a wrong arity, MULTI or EXEC out of place, a database that
//! this server has not — is refused before anything of its unit is applied (rule 28).
//!
//! What neither writes nor is a message has no effect here and is not run: PING, but also anything that a foreign
//! log may hold. So nothing in a stream can subscribe, block, or change settings.

use crate::commands::{Command, Flags, find};
use crate::error::ReplyError;
use crate::resp::args::{Args, Span};
use crate::resp::parse::{Limits, Parsed, Parser};

/// Bytes of a buffer that is kept while it is empty.
const KEEP: usize = 1 << 20;
/// Bytes of a command's name that a message repeats.
const NAMED: usize = 128;

/// What is to be done for a command of a stream.
#[derive(Clone, Copy)]
pub(super) enum Deed {
    Run(&'static Command),
    /// Nothing but to be counted, if it has a row.
    Nothing(Option<&'static Command>),
    /// The primary asks for an ACK.
    Acknowledge,
}

/// A command that does not fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// Stream bytes before the command, counted from the first one ever pushed.
    pub at: u64,
    /// Its name as sent, shortened; empty if there is none.
    pub command: String,
    pub why: Why,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Why {
    Unknown(ReplyError),
    Other(String),
}

impl Why {
    pub fn text(&self) -> String {
        let text = match self {
            Why::Unknown(error) => error.text().into_owned(),
            Why::Other(text) => text.clone(),
        };
        text.strip_prefix("ERR ").unwrap_or(&text).to_string()
    }
}

#[derive(Default)]
pub(super) struct Incoming {
    parser: Parser,
    /// Bytes from a unit's start on; those before `start` belong to units handed out.
    buf: Vec<u8>,
    start: usize,
    /// Where the command being read begins. `start ≤ at ≤ buf.len()`.
    at: usize,
    /// Stream bytes before `buf`.
    before: u64,
    in_multi: bool,
    /// The commands of the unit in `start..at`, and the spans of all their arguments.
    commands: Vec<Read>,
    spans: Vec<Span>,
}

#[derive(Clone, Copy)]
struct Read {
    deed: Deed,
    /// Where the command begins in the unit, and where its spans end.
    at: usize,
    spans_end: usize,
}

/// A whole unit.
pub(super) struct Unit<'a> {
    pub bytes: &'a [u8],
    incoming: &'a Incoming,
}

impl Incoming {
    pub fn push(&mut self, bytes: &[u8]) {
        self.compact();
        self.buf.extend_from_slice(bytes);
    }

    /// Stream bytes of the units handed out so far.
    pub fn passed(&self) -> u64 {
        self.before + self.start as u64
    }

    /// Bytes kept of a unit that is not whole.
    pub fn kept(&self) -> usize {
        self.buf.len() - self.start
    }

    /// Reads on to the end of the next unit. `false`: what was pushed holds no other whole one.
    pub fn advance(&mut self, databases: usize) -> Result<bool, Misfit> {
        loop {
            let rest = &self.buf[self.at..];
            let parsed = self.parser.parse(rest, &Limits::TRUSTED);
            match parsed.map_err(|error| self.misfit("", Why::Other(error.to_string())))? {
                Parsed::NeedMore { .. } => return Ok(false),
                Parsed::Empty { consumed } => {
                    if &self.buf[self.at..self.at + consumed] != b"\n" {
                        return Err(self.misfit("", Why::Other("an empty command".into())));
                    }
                    self.at += consumed;
                }
                Parsed::Command { consumed, canonical } => {
                    let args = self.parser.args(rest);
                    let judged = self.judge(args, canonical, databases);
                    let deed = judged.map_err(|why| self.misfit(&name_of(args), why))?;
                    self.spans.extend_from_slice(self.parser.spans());
                    self.commands.push(Read { deed, at: self.at - self.start, spans_end: self.spans.len() });
                    self.at += consumed;
                    if let Deed::Nothing(Some(command)) = deed {
                        self.in_multi = command.name == "multi" || self.in_multi && command.name != "exec";
                    }
                }
            }
            if !self.in_multi {
                return Ok(true);
            }
        }
    }

    /// Whether there is a database for the unit that [`Incoming::advance`] found to act on: `db` was selected before it.
    /// One that this server has not is no matter as long as another is selected before anything is done.
    pub fn judge_db(&self, db: usize, databases: usize) -> Result<(), Misfit> {
        let first = self.commands.iter().find_map(|read| match read.deed {
            Deed::Run(command) => Some(command.name),
            Deed::Nothing(_) | Deed::Acknowledge => None,
        });
        if db < databases || first.is_none_or(|name| name == "select") {
            return Ok(());
        }
        let why = format!("the stream has selected database {db}, this server has {databases} databases");
        Err(Misfit { at: self.before + self.start as u64, command: String::new(), why: Why::Other(why) })
    }

    /// The unit that [`Incoming::advance`] found.
    pub fn unit(&self) -> Unit<'_> {
        Unit { bytes: &self.buf[self.start..self.at], incoming: self }
    }

    /// The unit was taken.
    pub fn taken(&mut self) {
        self.start = self.at;
        self.commands.clear();
        self.spans.clear();
        if self.spans.capacity() > KEEP {
            self.spans = Vec::new();
        }
    }

    /// Forgets the bytes of units handed out.
    fn compact(&mut self) {
        self.before += self.start as u64;
        self.buf.drain(..self.start);
        (self.start, self.at) = (0, self.at - self.start);
        if self.buf.is_empty() && self.buf.capacity() > KEEP {
            self.buf = Vec::new();
        }
    }

    fn judge(&self, args: Args<'_>, canonical: bool, databases: usize) -> Result<Deed, Why> {
        let other = |text: &str| Err(Why::Other(text.into()));
        if !canonical {
            return other("not in the encoding of a stream");
        }
        if args.name().eq_ignore_ascii_case(b"REPLCONF") {
            let asks = args.is(1, "GETACK");
            return Ok(if asks { Deed::Acknowledge } else { Deed::Nothing(find(args.name())) });
        }
        let command = super::dispatch::lookup(args).map_err(Why::Unknown)?;
        if !command.arity_fits(args.len()) {
            return Err(Why::Other(ReplyError::wrong_arity(command.name).text().into()));
        }
        match command.name {
            "multi" if self.in_multi => return other("MULTI calls can not be nested"),
            "exec" | "discard" if !self.in_multi => return other("EXEC or DISCARD without MULTI"),
            "discard" => return other("a transaction that was discarded"),
            "select" if !args.int(1).is_ok_and(|db| (0..databases as i64).contains(&db)) => {
                return Err(Why::Other(format!("this server has {databases} databases")));
            }
            _ => {}
        }
        let matters = command.flags.intersects(Flags::WRITE | Flags::MAY_REPLICATE);
        Ok(if matters || command.name == "select" {
            Deed::Run(command)
        } else {
            Deed::Nothing(Some(command))
        })
    }

    fn misfit(&self, command: &str, why: Why) -> Misfit {
        Misfit { at: self.before + self.at as u64, command: command.into(), why }
    }
}

impl<'a> Unit<'a> {
    pub fn commands(&self) -> impl Iterator<Item = (Deed, Args<'a>)> + use<'a> {
        let Incoming { commands, spans, .. } = self.incoming;
        let bytes = self.bytes;
        let mut spans_at = 0;
        commands.iter().map(move |read| {
            let own = &spans[spans_at..read.spans_end];
            spans_at = read.spans_end;
            (read.deed, Args::new(&bytes[read.at..], own))
        })
    }
}

fn name_of(args: Args<'_>) -> String {
    let name = args.name();
    let text = String::from_utf8_lossy(&name[..name.len().min(NAMED)]);
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::resp::args::encode_command;
    use proptest::prelude::*;

    /// Lines of words as a stream; `\n` alone is a bare newline.
    fn encode(lines: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        for line in lines.split('|') {
            match line {
                "" => bytes.push(b'\n'),
                line => encode_command(
                    line.split(' ').map(str::as_bytes).collect::<Vec<_>>().into_iter(),
                    &mut bytes,
                ),
            }
        }
        bytes
    }

    /// The units found in pieces of `size`, as words; then the misfit.
    fn read(bytes: &[u8], size: usize) -> (Vec<String>, u64, Option<Misfit>) {
        let (mut incoming, mut units) = (Incoming::default(), Vec::new());
        let mut seen = 0;
        for piece in bytes.chunks(size.max(1)) {
            incoming.push(piece);
            loop {
                match incoming.advance(16) {
                    Ok(false) => break,
                    Ok(true) => {
                        let unit = incoming.unit();
                        assert_eq!(unit.bytes, &bytes[seen..seen + unit.bytes.len()]);
                        seen += unit.bytes.len();
                        let words = |(deed, args): (Deed, Args<'_>)| {
                            let words = args.iter().map(|arg| String::from_utf8_lossy(arg).into_owned());
                            let mark = match deed {
                                Deed::Run(_) => "",
                                Deed::Nothing(_) => "-",
                                Deed::Acknowledge => "!",
                            };
                            format!("{mark}{}", words.collect::<Vec<_>>().join(" "))
                        };
                        units.push(unit.commands().map(words).collect::<Vec<_>>().join("|"));
                        incoming.taken();
                    }
                    Err(misfit) => return (units, incoming.passed(), Some(misfit)),
                }
            }
        }
        assert_eq!(incoming.passed() + incoming.kept() as u64, bytes.len() as u64);
        (units, incoming.passed(), None)
    }

    #[test]
    fn units_are_whole_in_any_pieces() {
        let bytes = encode(
            "SELECT 3|SET k v|PING||MULTI|SELECT 4|INCR k||publish c m|EXEC|REPLCONF GETACK *|REPLCONF x|MULTI|SET a b",
        );
        let cut = encode("MULTI|SET a b").len();
        let units = [
            "SELECT 3",
            "SET k v",
            "-PING",
            "",
            "-MULTI|SELECT 4|INCR k|publish c m|-EXEC",
            "!REPLCONF GETACK *",
            "-REPLCONF x",
        ];
        for size in 1..=bytes.len() {
            let (found, passed, misfit) = read(&bytes, size);
            assert_eq!(
                (&found[..], passed, misfit),
                (&units.map(String::from)[..], (bytes.len() - cut) as u64, None)
            );
        }
    }

    #[test]
    fn what_does_not_fit_stops_before_its_unit() {
        let check = |bytes: &[u8], units: &str, at: usize, command: &str, why: &str| {
            let (found, passed, misfit) = read(bytes, 7);
            let misfit = misfit.expect("a misfit");
            assert_eq!((found.join(";").as_str(), misfit.at as usize), (units, at), "{misfit:?}");
            assert_eq!((misfit.command.as_str(), misfit.why.text().as_str()), (command, why));
            let whole = encode("SET k v").len();
            assert_eq!(passed as usize, if units.is_empty() { 0 } else { whole });
        };
        let one = encode("SET k v").len();
        let in_multi = |last: &str| encode(&format!("SET k v|MULTI|SET a b|{last}"));
        let third = encode("SET k v|MULTI|SET a b").len();
        let unknown = "unknown command 'NOSUCH', with args beginning with: 'x' ";
        check(&encode("SET k v|NOSUCH x"), "SET k v", one, "NOSUCH", unknown);
        check(&in_multi("NOSUCH x"), "SET k v", third, "NOSUCH", unknown);
        check(&in_multi("SET a"), "SET k v", third, "SET", "wrong number of arguments for 'set' command");
        check(&in_multi("MULTI"), "SET k v", third, "MULTI", "MULTI calls can not be nested");
        check(&in_multi("DISCARD"), "SET k v", third, "DISCARD", "a transaction that was discarded");
        check(&in_multi("SELECT 16"), "SET k v", third, "SELECT", "this server has 16 databases");
        check(&encode("SELECT x"), "", 0, "SELECT", "this server has 16 databases");
        check(&encode("EXEC"), "", 0, "EXEC", "EXEC or DISCARD without MULTI");
        check(b"PING\r\n", "", 0, "PING", "not in the encoding of a stream");
        check(b"*1\r\n$4\r\nPING..", "", 0, "PING", "not in the encoding of a stream");
        check(b"\r\n", "", 0, "", "an empty command");
        check(b"*0\r\n", "", 0, "", "an empty command");
        check(b"*1\r\n:4\r\n", "", 0, "", "Protocol error: expected '$', got ':'");
        check(b"*1\r\n$9999999999\r\n", "", 0, "", "Protocol error: invalid bulk length");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>, lines in "(SET a b|MULTI|EXEC|PING||SELECT 1|[A-Z*]{0,4}){0,9}", size in 1usize..40) {
            let _any = read(&bytes, size);
            let bytes = [encode(&lines), bytes].concat();
            prop_assert_eq!(read(&bytes, size), read(&bytes, usize::MAX));
        }
    }
}
