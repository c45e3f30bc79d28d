//! Primaries that are none: whoever answers a replica of ours wrongly, at any place of the conversation, takes nothing from it.
//!
//! The harness plays a primary that serves one connection for each [`Row`]. After the first, which gives the replica a history, each
//! must leave the replica with the data and the position that it had (rules 10 and 28), but for the whole units that came before
//! what cannot be followed; and the next connection must ask from exactly there, under the name in force. In the end it is killed and
//! comes back with the same.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use super::peer::{LOOK_AGAIN, Launch, PATIENCE, Peer, free_port};
use super::{Campaign, NO_PROMISE, Verdict, Wrong, digest, refused};
use crate::resp::args::encode_command;
use crate::resp::parse::{Limits, Parsed, Parser};
use crate::units::Offset;

/// What is answered; an empty text: as a primary does.
#[derive(Clone, Copy, Default)]
struct Row {
    what: &'static str,
    ping: &'static str,
    conf: &'static str,
    lineage: &'static str,
    verdict: &'static str,
    /// Behind the verdict.
    rest: &'static [u8],
    ends: Ends,
}

/// How it ends.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Ends {
    /// The replica closes.
    #[default]
    Refused,
    /// The primary does.
    Cut,
    /// It takes a unit first, which comes between verdict and rest.
    RefusedBehindUnit,
    /// All of it is right.
    Taken,
}

const OK: &str = "+OK\r\n";
const NAMES: [&str; 2] =
    ["1111111111111111111111111111111111111111", "2222222222222222222222222222222222222222"];
const FULL: &str = "+FULLRESYNC 1111111111111111111111111111111111111111 100\r\n";
const EMPTY: &[u8] = b"$18\r\nREDIS0009\xff\0\0\0\0\0\0\0\0";

const fn row(what: &'static str) -> Row {
    Row { what, ping: "", conf: "", lineage: "", verdict: "", rest: b"", ends: Ends::Refused }
}

const fn verdict(what: &'static str, verdict: &'static str, rest: &'static [u8]) -> Row {
    Row { verdict, rest, ..row(what) }
}

const fn stream(what: &'static str, rest: &'static [u8], ends: Ends) -> Row {
    Row { rest, ends, ..row(what) }
}

const ROWS: &[Row] = &[
    Row { verdict: FULL, rest: EMPTY, ends: Ends::Taken, ..row("a full sync") },
    Row { ping: "-ERR go away\r\n", ..row("an error for PING") },
    Row { conf: "-ERR what?\r\n", ends: Ends::Taken, ..row("errors for REPLCONF") },
    Row { lineage: "+nonsense\r\n", ends: Ends::Taken, ..row("no lineage") },
    Row { lineage: "$3\r\nlonger\r\n", ..row("a lineage of another length") },
    Row { lineage: "$99999999999\r\n", ..row("a lineage of 100 GB") },
    Row { lineage: ":1\r\n", ends: Ends::Taken, ..row("a number for a lineage") },
    verdict("a name that is none", "+FULLRESYNC 11 1\r\n", b""),
    verdict("a negative cut", "+FULLRESYNC 1111111111111111111111111111111111111111 -1\r\n", b""),
    verdict("+CONTINUE with another word", "+CONTINUE nonsense\r\n", b""),
    verdict("refused for now", "-NOMASTERLINK not now\r\n", b""),
    verdict("loading", "-LOADING\r\n", b""),
    verdict("another error", "-ERR no\r\n", b"-ERR no\r\n"),
    verdict("no verdict", "+WAT\r\n", b"-ERR no\r\n"),
    verdict("an error for a payload", FULL, b"-ERR no space\r\n"),
    verdict("no payload", FULL, b"hello\r\n"),
    verdict("a payload of no length", FULL, b"$abc\r\n"),
    verdict("a payload with too short a mark", FULL, b"$EOF:short\r\n"),
    verdict("a payload that is no snapshot", FULL, b"$19\r\nREDIS0009 is not it"),
    Row { ends: Ends::Cut, ..verdict("a payload that ends early", FULL, b"$18\r\nREDIS0009\xff") },
    Row { ends: Ends::Cut, ..verdict("half a header", FULL, b"$1") },
    stream("an unknown command", b"*2\r\n$7\r\nNONESUC\r\n$1\r\na\r\n", Ends::RefusedBehindUnit),
    stream("too few arguments", b"*1\r\n$3\r\nSET\r\n", Ends::RefusedBehindUnit),
    stream("a database that is not there", b"*2\r\n$6\r\nSELECT\r\n$2\r\n99\r\n", Ends::RefusedBehindUnit),
    stream("EXEC alone", b"*1\r\n$4\r\nEXEC\r\n", Ends::RefusedBehindUnit),
    stream(
        "MULTI within MULTI",
        b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n*1\r\n$5\r\nMULTI\r\n",
        Ends::RefusedBehindUnit,
    ),
    stream("DISCARD", b"*1\r\n$5\r\nMULTI\r\n*1\r\n$7\r\nDISCARD\r\n", Ends::RefusedBehindUnit),
    stream("a command in words", b"SET a 1\r\n", Ends::RefusedBehindUnit),
    stream("an empty command", b"*0\r\n", Ends::RefusedBehindUnit),
    stream("no command at all", b"*x\r\n", Ends::RefusedBehindUnit),
    stream("part of a transaction", b"*1\r\n$5\r\nMULTI\r\n*2\r\n$4\r\nINCR\r\n$1\r\na\r\n", Ends::Taken),
    stream("GETACK", b"*3\r\n$8\r\nREPLCONF\r\n$6\r\nGETACK\r\n$1\r\n*\r\n", Ends::Taken),
    stream("a command that fails", b"*2\r\n$4\r\nINCR\r\n$4\r\nword\r\n", Ends::Taken),
    Row {
        verdict: "+CONTINUE 2222222222222222222222222222222222222222\r\n",
        ends: Ends::Taken,
        ..row("another name")
    },
];

impl Campaign<'_> {
    /// All of them, one after the other, with a server of ours as their replica.
    pub(super) fn meet_false_primaries(&mut self) -> Verdict {
        let mut launch = Launch { dir: self.dir.join("misled"), port: free_port()?, ..self.launch.clone() };
        (launch.die_at, launch.medium) = (None, None);
        let start = |launch: &Launch| -> Verdict<_> {
            launch.start()?.map_err(|ended| refused("a misled replica", &ended.log))
        };
        let mut process = start(&launch)?;
        let mut replica = Peer::connect(launch.port)?;
        let mut at = None;
        for (n, row) in ROWS.iter().enumerate() {
            // Another port for each, so that nothing is left from before.
            let listener = TcpListener::bind(("127.0.0.1", 0))?;
            listener.set_nonblocking(true)?;
            let port = listener.local_addr()?.port().to_string();
            self.tell(format!("a primary with {}", row.what));
            replica.call(&["REPLICAOF", "127.0.0.1", &port])?;
            at = Some(converse(row, n, &listener, &mut replica, at)?);
            self.tally.false_primaries += 1;
        }
        let before = digest(&mut replica)?;
        process.kill()?;
        let _process = start(&launch)?;
        if digest(&mut Peer::connect(launch.port)?)? != before {
            return Err(Wrong(
                "P1",
                format!("a misled replica was at {}, and comes back elsewhere", before.0),
            ));
        }
        Ok(())
    }
}

/// One connection; where the replica is afterwards, and under which name.
fn converse(
    row: &Row,
    n: usize,
    listener: &TcpListener,
    replica: &mut Peer,
    before: Option<(Offset, &'static str)>,
) -> Verdict<(Offset, &'static str)> {
    let held = digest(replica)?.1;
    let mut unit = Vec::new();
    let value = format!("row {n}");
    encode_command([b"SET".as_slice(), b"word", value.as_bytes()].into_iter(), &mut unit);
    let mut stream = accept(listener)?;
    let asked = answer(row, &mut stream, &unit)?;
    if let (Some((at, name)), true) = (before, row.ping.is_empty() && !row.lineage.starts_with('$'))
        && asked != format!("{name} {}", at.next_byte())
    {
        return Err(Wrong("P4", format!("at {name}:{at} the replica asks for {asked}")));
    }
    if matches!(row.ends, Ends::Taken | Ends::Cut) {
        stream.shutdown(Shutdown::Write)?;
    }
    until_closed(&mut stream, row.what)?;
    let (start, name) = before.unwrap_or((Offset(100), NAMES[0]));
    let is_new = row.verdict.starts_with("+CONTINUE 2");
    let name = if is_new { NAMES[1] } else { name };
    let taken = match (before, row.ends) {
        (None, _) | (_, Ends::Refused | Ends::Cut) => 0,
        (_, Ends::RefusedBehindUnit) => unit.len(),
        (_, Ends::Taken) => unit.len() + whole(row.rest),
    };
    let expected = start + taken as u64;
    let until = Instant::now() + PATIENCE;
    while replica.offset()? != expected || replica.info("replication", "master_replid")? != name {
        if Instant::now() > until {
            let what =
                format!("after {} the replica is at {}, not at {expected}", row.what, replica.offset()?);
            return Err(Wrong("P3", what));
        }
        std::thread::sleep(LOOK_AGAIN);
    }
    let now = digest(replica)?.1;
    let kept = if taken == 0 { before.is_none() || now == held } else { is_set(replica, n)? };
    if !kept {
        return Err(Wrong("P3", format!("after {} the replica has other data", row.what)));
    }
    Ok((expected, name))
}

fn is_set(replica: &mut Peer, n: usize) -> Verdict<bool> {
    Ok(replica.call(&["GET", "word"])?.text == format!("row {n}"))
}

/// Bytes of the whole units.
fn whole(stream: &[u8]) -> usize {
    let units = crate::format::framing::unit_bounds(stream, 0, 0);
    units.last().map_or(0, |(len, _)| *len as usize)
}

fn accept(listener: &TcpListener) -> Verdict<TcpStream> {
    let until = Instant::now() + PATIENCE;
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false)?;
                stream.set_read_timeout(Some(PATIENCE))?;
                return Ok(stream);
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                std::thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error.into()),
        }
    }
}

/// Answers until the verdict is given; what PSYNC asked for.
fn answer(row: &Row, stream: &mut TcpStream, unit: &[u8]) -> Verdict<String> {
    let or = |text: &'static str, usual: &'static str| if text.is_empty() { usual } else { text };
    let (mut parser, mut buffer, mut piece) = (Parser::default(), Vec::new(), [0; 4096]);
    loop {
        while let Ok(Parsed::Command { consumed, .. }) = parser.parse(&buffer, &Limits::TRUSTED) {
            let args = parser.args(&buffer);
            let words: Vec<Vec<u8>> = args.iter().map(<[u8]>::to_vec).collect();
            buffer.drain(..consumed);
            let name = words.first().map(|word| word.to_ascii_uppercase()).unwrap_or_default();
            let is_lineage = words.get(1).is_some_and(|word| word.starts_with(b"ringhold"));
            match name.as_slice() {
                b"PING" => stream.write_all(or(row.ping, "+PONG\r\n").as_bytes())?,
                b"REPLCONF" if is_lineage => stream.write_all(or(row.lineage, "-ERR\r\n").as_bytes())?,
                b"REPLCONF" => stream.write_all(or(row.conf, OK).as_bytes())?,
                b"PSYNC" => {
                    stream.write_all(or(row.verdict, "+CONTINUE\r\n").as_bytes())?;
                    if row.verdict.is_empty() || row.verdict.starts_with("+CONTINUE 2") {
                        stream.write_all(unit)?;
                    }
                    stream.write_all(row.rest)?;
                    let asked = words[1..].join(&b" "[..]);
                    return Ok(String::from_utf8_lossy(&asked).into_owned());
                }
                _ => stream.write_all(b"-ERR\r\n")?,
            }
        }
        match stream.read(&mut piece)? {
            0 => return Ok(String::new()),
            got => buffer.extend_from_slice(&piece[..got]),
        }
    }
}

/// The replica closes the connection; what else it says does not matter.
fn until_closed(stream: &mut TcpStream, what: &str) -> Verdict {
    let mut piece = [0; 4096];
    let until = Instant::now() + PATIENCE;
    while Instant::now() < until {
        match stream.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(Wrong(NO_PROMISE, format!("{what}: {error}"))),
        }
    }
    Err(Wrong("P3", format!("a replica stays with a primary with {what}")))
}
