//! A running server as a file: its data, taken by replication as the payload of a full sync.
//!
//! ```text
//! redis://[user[:password]@]host[:port]   unix://[user[:password]@]/path/of/socket
//!   └► connect ─► Link: PING, AUTH, REPLCONF rdb-only, PSYNC ? -1 ─► payload ─► a reader of RDB bytes ─► connection closed
//! ```
//!
//! Nothing is written, there or here, but what the server itself puts on its disk for a full sync. It is asked for the
//! snapshot alone: it does not keep the stream for this reader, and does not wait for it in a failover. As long as the
//! payload comes it counts this reader among its replicas. A reader that stands still for longer than the server's
//! `repl-timeout` (a pager behind `keys`) is cut off by it, as any replica.
//!
//! The password is never repeated in a message; where the URL has none, the variable `REDISCLI_AUTH` gives it, as to
//! redis-cli. Rejected: DUMP of each key (not one moment, and slow) and TLS (there is none in the server either).

use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::{Failure, Result};
use crate::error::IoFailure;
use crate::repl::link::{Ask, Event, Hello, Link};
use crate::units::Offset;

const PORT: u16 = 6379;
/// The longest time to connect, and without any byte of the server, which sends an empty line every few seconds.
const PATIENCE: Duration = Duration::from_secs(60);
const PIECE: usize = 128 << 10;
const PASSWORD: &str = "REDISCLI_AUTH";

/// Where a server is, and who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Url {
    place: Place,
    user: Option<String>,
    password: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Tcp { host: String, port: u16 },
    Unix(PathBuf),
}

/// Whether this path is meant as a server.
pub fn is_url(path: &Path) -> bool {
    let text = path.as_os_str().as_encoded_bytes();
    [b"redis://".as_slice(), b"rediss://", b"unix://"].iter().any(|scheme| text.starts_with(scheme))
}

/// The path as it may be shown: of a URL everything but user and password.
pub fn name_of(path: &Path) -> PathBuf {
    match path.to_str().filter(|_| is_url(path)).and_then(|text| text.split_once("://")) {
        Some((scheme, rest)) => format!("{scheme}://{}", rest.rsplit_once('@').map_or(rest, |p| p.1)).into(),
        None => path.to_path_buf(),
    }
}

/// Asks for a full sync. The payload's bytes, and how many there will be, if the server tells.
pub fn open(path: &Path) -> Result<(Box<dyn Read>, Option<u64>)> {
    let name = name_of(path);
    let url = path.to_str().ok_or_else(|| "it is not UTF-8".to_string()).and_then(parse);
    let url = url.map_err(|why| Failure::Usage(format!("{}: {why}", name.display())))?;
    let failed = |error| Failure::Io(IoFailure::new("reading", &name, error));
    let stream =
        connect(&url.place).map_err(|error| Failure::Io(IoFailure::new("connecting to", &name, error)))?;
    let mut live = Live::new(stream, &url);
    let size = live.begin().map_err(failed)?;
    Ok((Box::new(live), size))
}

fn parse(text: &str) -> std::result::Result<Url, String> {
    let (scheme, rest) = text.split_once("://").ok_or("no URL")?;
    let (who, place) = rest.rsplit_once('@').map_or((None, rest), |(who, place)| (Some(who), place));
    let (user, password) = match who.map(|who| who.split_once(':').unwrap_or((who, ""))) {
        Some((user, password)) => (decoded(user)?, decoded(password)?),
        None => (String::new(), String::new()),
    };
    let place = match scheme {
        "unix" => Place::Unix(decoded(place)?.into()),
        "redis" => tcp(place)?,
        _ => return Err("TLS is not supported".into()),
    };
    let some = |text: String| Some(text).filter(|text| !text.is_empty());
    let password = some(password).or_else(|| std::env::var(PASSWORD).ok().and_then(some));
    Ok(Url { place, user: some(user), password })
}

fn tcp(place: &str) -> std::result::Result<Place, String> {
    let (place, db) = place.split_once('/').unwrap_or((place, ""));
    if !matches!(db, "" | "0") {
        return Err("a full sync has all databases; --db chooses".into());
    }
    let (host, port) = match place.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, port)) => (host, port.strip_prefix(':')),
        None => place.rsplit_once(':').map_or((place, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(PORT), |port| port.parse().map_err(|_| format!("'{port}' is no port")))?;
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Place::Tcp { host: decoded(host)?, port })
}

/// `%HH` stands for a byte.
fn decoded(text: &str) -> std::result::Result<String, String> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let hex = after.get(..2).filter(|_| first == b'%').and_then(|hex| std::str::from_utf8(hex).ok());
        match hex.map(|hex| u8::from_str_radix(hex, 16)) {
            Some(Ok(byte)) => {
                bytes.push(byte);
                rest = &after[2..];
            }
            _ if first == b'%' => return Err("a % without two hexadecimal digits behind it".into()),
            _ => {
                bytes.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".into())
}

trait Stream: Read + Write {}
impl<T: Read + Write> Stream for T {}

fn connect(place: &Place) -> io::Result<Box<dyn Stream>> {
    match place {
        Place::Tcp { host, port } => {
            let mut failure = io::Error::new(io::ErrorKind::NotFound, "no address of this name");
            for address in (host.as_str(), *port).to_socket_addrs()? {
                match TcpStream::connect_timeout(&address, PATIENCE) {
                    Ok(stream) => {
                        stream.set_read_timeout(Some(PATIENCE))?;
                        stream.set_write_timeout(Some(PATIENCE))?;
                        return Ok(Box::new(stream));
                    }
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        }
        Place::Unix(path) => {
            let stream = UnixStream::connect(path)?;
            stream.set_read_timeout(Some(PATIENCE))?;
            stream.set_write_timeout(Some(PATIENCE))?;
            Ok(Box::new(stream))
        }
    }
}

/// The payload while it comes.
struct Live {
    /// `None` behind the payload.
    stream: Option<Box<dyn Stream>>,
    link: Link,
    began: Instant,
    piece: Box<[u8]>,
    /// What of `piece` the link has not taken.
    from: usize,
    to: usize,
    /// Payload that was not read yet.
    ready: Vec<u8>,
    given: usize,
    size: Option<Option<u64>>,
}

impl Live {
    fn new(stream: Box<dyn Stream>, url: &Url) -> Live {
        let bytes = |text: &Option<String>| text.as_ref().map(|text| text.clone().into_bytes());
        let hello = Hello {
            user: bytes(&url.user),
            password: bytes(&url.password),
            port: 0,
            ip: None,
            version: env!("CARGO_PKG_VERSION"),
            lineage: None,
            ask: Ask { replid: None, at: Offset::ZERO },
            failover: false,
            // There is nothing here that a SYNC could overwrite.
            allow_sync: true,
            payload_only: true,
        };
        Live {
            stream: Some(stream),
            link: Link::new(hello, 0),
            began: Instant::now(),
            piece: vec![0; PIECE].into_boxed_slice(),
            from: 0,
            to: 0,
            ready: Vec::new(),
            given: 0,
            size: None,
        }
    }

    /// Up to the payload's first byte. How many there will be.
    fn begin(&mut self) -> io::Result<Option<u64>> {
        loop {
            if let Some(size) = self.size {
                return Ok(size);
            }
            self.step()?;
        }
    }

    /// Sends, reads, and takes in one piece of what came.
    fn step(&mut self) -> io::Result<()> {
        let Some(stream) = &mut self.stream else { return Ok(()) };
        let mut out = Vec::new();
        self.link.poll_send(&mut out);
        stream.write_all(&out)?;
        if self.from == self.to {
            let got = match stream.read(&mut self.piece) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let what = format!("nothing came for {} seconds", PATIENCE.as_secs());
                    return Err(io::Error::new(io::ErrorKind::TimedOut, what));
                }
                got => got?,
            };
            if got == 0 {
                let what = "the server closed the connection before the end of the snapshot";
                return Err(io::Error::new(io::ErrorKind::UnexpectedEof, what));
            }
            (self.from, self.to) = (0, got);
        }
        let now_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        let mut input = &self.piece[self.from..self.to];
        while let Some(event) = self.link.handle_input(&mut input, now_ms) {
            match event {
                Event::Payload(bytes) => self.ready.extend_from_slice(&bytes),
                Event::PayloadSize(size) => self.size = Some(size),
                Event::PayloadDone => {
                    self.stream = None;
                    break;
                }
                Event::Refused { why } | Event::Failed(why) => return Err(io::Error::other(why)),
                Event::Continue { .. } | Event::Stream(_) => {
                    return Err(io::Error::other("the stream instead of a snapshot"));
                }
                Event::Lineage(_) | Event::Note(_) | Event::Full { .. } | Event::Sync { .. } => {}
            }
        }
        self.from = self.to - input.len();
        Ok(())
    }
}

impl Read for Live {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.given == self.ready.len() && self.stream.is_some() {
            self.ready.clear();
            self.given = 0;
            self.step()?;
        }
        let got = buf.len().min(self.ready.len() - self.given);
        buf[..got].copy_from_slice(&self.ready[self.given..self.given + got]);
        self.given += got;
        Ok(got)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let url = |place, user: Option<&str>, password: Option<&str>| {
            Ok(Url { place, user: user.map(String::from), password: password.map(String::from) })
        };
        let tcp = |host: &str, port| Place::Tcp { host: host.into(), port };
        let check = |text: &str, expected: std::result::Result<Url, String>| {
            assert_eq!(parse(text), expected, "{text}");
        };
        check("redis://", url(tcp("127.0.0.1", 6379), None, None));
        check("redis://h:1/0", url(tcp("h", 1), None, None));
        check("redis://[::1]:7000/", url(tcp("::1", 7000), None, None));
        check("redis://:p%40ss@h", url(tcp("h", 6379), None, Some("p@ss")));
        check("redis://me:a:b@c@h:2", url(tcp("h", 2), Some("me"), Some("a:b@c")));
        check("unix://u:p@/run/redis.sock", url(Place::Unix("/run/redis.sock".into()), Some("u"), Some("p")));
        check("redis://h/3", Err("a full sync has all databases; --db chooses".into()));
        check("redis://h:x", Err("'x' is no port".into()));
        check("redis://%4", Err("a % without two hexadecimal digits behind it".into()));
        check("rediss://h", Err("TLS is not supported".into()));
        assert_eq!(name_of(Path::new("redis://me:se@cret@h:1")), Path::new("redis://h:1"));
        assert_eq!(name_of(Path::new("a@b")), Path::new("a@b"));
    }

    /// What a server says, in pieces of one length, and all that was said to it.
    struct Peer {
        says: Vec<u8>,
        at: usize,
        piece: usize,
    }
    impl Read for Peer {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            let got = self.piece.min(buf.len()).min(self.says.len() - self.at);
            buf[..got].copy_from_slice(&self.says[self.at..self.at + got]);
            self.at += got;
            Ok(got)
        }
    }
    impl Write for Peer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn payload(says: &[u8], piece: usize) -> io::Result<(Option<u64>, Vec<u8>)> {
        let peer = Box::new(Peer { says: says.to_vec(), at: 0, piece });
        let mut live = Live::new(peer, &parse("redis://:secret@h").unwrap());
        let size = live.begin()?;
        let mut bytes = Vec::new();
        live.read_to_end(&mut bytes).map(|_| (size, bytes))
    }

    #[test]
    fn the_payload_is_all_that_is_read() {
        let id = "0123456789abcdef0123456789abcdef01234567";
        let shaken = format!("+PONG\r\n+OK\r\n-ERR what?\r\n+OK\r\n+OK\r\n\n+FULLRESYNC {id} 7\r\n\n\n");
        let mark = "x".repeat(40);
        for piece in [1, 2, 7, 64, 4096] {
            let sized =
                payload(format!("{shaken}$5\r\nREDIS*1\r\n$4\r\nPING\r\n").as_bytes(), piece).unwrap();
            assert_eq!(sized, (Some(5), b"REDIS".to_vec()));
            let marked = payload(format!("{shaken}$EOF:{mark}\r\nREDIS{mark}").as_bytes(), piece).unwrap();
            assert_eq!(marked, (None, b"REDIS".to_vec()));
            let failed = |says: &str| payload(says.as_bytes(), piece).unwrap_err().to_string();
            assert!(failed(&format!("{shaken}$5\r\nRED")).contains("closed the connection"));
            assert!(failed("+PONG\r\n-WRONGPASS no\r\n").contains("WRONGPASS"));
            assert!(
                failed("+PONG\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n-LOADING soon\r\n").contains("LOADING soon")
            );
            assert!(failed("HTTP/1.1 400 Bad Request\r\n").contains("Error reply to PING"));
        }
    }
}
