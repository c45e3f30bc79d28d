//! A blocking RESP2/RESP3 client that hides nothing: bytes can be sent raw, a reply is returned as it was typed on
//! the wire, and every wait has a limit. The `redis` crate is used beside it as the ordinary client; it could not
//! show half a request, a null array apart from a null string, or a push.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long any single read or write may block before the test fails.
const PATIENCE: Duration = Duration::from_secs(30);

#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Simple(String),
    Error(String),
    Int(i64),
    Bulk(Vec<u8>),
    /// `$-1`, `*-1` and RESP3's `_`.
    Nil,
    Array(Vec<Value>),
    Map(Vec<(Value, Value)>),
    Set(Vec<Value>),
    Push(Vec<Value>),
    /// As written, since `inf` and digits matter.
    Double(String),
    Bool(bool),
    BigNumber(String),
    /// Format (three letters) and text.
    Verbatim(String, Vec<u8>),
}

impl Value {
    pub fn ok() -> Value {
        Value::Simple("OK".into())
    }

    pub fn bulk(text: impl AsRef<[u8]>) -> Value {
        Value::Bulk(text.as_ref().to_vec())
    }

    /// Text of a simple, bulk, verbatim, double or error value, lossily; empty for others.
    pub fn text(&self) -> String {
        match self {
            Value::Simple(s) | Value::Error(s) | Value::Double(s) | Value::BigNumber(s) => s.clone(),
            Value::Bulk(b) | Value::Verbatim(_, b) => String::from_utf8_lossy(b).into_owned(),
            Value::Int(n) => n.to_string(),
            _ => String::new(),
        }
    }

    pub fn int(&self) -> i64 {
        self.text().parse().unwrap_or_else(|_| panic!("not an integer: {self:?}"))
    }

    pub fn items(self) -> Vec<Value> {
        match self {
            Value::Array(v) | Value::Set(v) | Value::Push(v) => v,
            Value::Map(pairs) => pairs.into_iter().flat_map(|(k, v)| [k, v]).collect(),
            other => panic!("not an aggregate: {other:?}"),
        }
    }

    pub fn is_error(&self) -> bool {
        matches!(self, Value::Error(_))
    }
}

pub struct Client {
    stream: TcpStream,
    /// Received and not yet parsed, from `parsed` on.
    received: Vec<u8>,
    parsed: usize,
}

impl Client {
    pub fn connect(port: u16) -> io::Result<Client> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream, received: Vec::new(), parsed: 0 })
    }

    pub fn set_patience(&self, limit: Duration) -> io::Result<()> {
        self.stream.set_read_timeout(Some(limit))?;
        self.stream.set_write_timeout(Some(limit))
    }

    /// One command, one reply. Panics if the connection fails.
    pub fn cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        self.try_cmd(args).unwrap_or_else(|e| panic!("{}: {e}", show(args)))
    }

    /// As [`Client::cmd`], and the reply must not be an error.
    pub fn must<A: AsRef<[u8]>>(&mut self, args: &[A]) -> Value {
        let value = self.cmd(args);
        assert!(!value.is_error(), "{}: {}", show(args), value.text());
        value
    }

    pub fn try_cmd<A: AsRef<[u8]>>(&mut self, args: &[A]) -> io::Result<Value> {
        self.send_raw(&encode(args))?;
        self.read_value()
    }

    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn read_value(&mut self) -> io::Result<Value> {
        loop {
            let mut cursor = Cursor { bytes: &self.received, at: self.parsed };
            match cursor.value() {
                Some(value) => {
                    self.parsed = cursor.at;
                    if self.parsed == self.received.len() {
                        self.received.clear();
                        self.parsed = 0;
                    }
                    return value;
                }
                None => self.receive()?,
            }
        }
    }

    /// The next `n` bytes as they came; fewer if the connection ends or stalls.
    pub fn read_bytes(&mut self, n: usize) -> Vec<u8> {
        while self.received.len() - self.parsed < n && self.receive().is_ok() {}
        let end = self.received.len().min(self.parsed + n);
        let bytes = self.received[self.parsed..end].to_vec();
        self.parsed = end;
        bytes
    }

    /// Everything up to the end of the connection (a reset counts as the end).
    pub fn read_to_end(&mut self) -> io::Result<Vec<u8>> {
        let mut rest = self.received.split_off(self.parsed);
        self.received.clear();
        self.parsed = 0;
        match self.stream.read_to_end(&mut rest) {
            Err(e) if e.kind() != io::ErrorKind::ConnectionReset => Err(e),
            _ => Ok(rest),
        }
    }

    fn receive(&mut self) -> io::Result<()> {
        let mut chunk = vec![0; 64 * 1024];
        let n = loop {
            match self.stream.read(&mut chunk) {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        if n == 0 {
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "connection closed by the server"));
        }
        self.received.drain(..self.parsed);
        self.parsed = 0;
        self.received.extend_from_slice(&chunk[..n]);
        Ok(())
    }
}

/// A command as a RESP array of bulk strings.
pub fn encode<A: AsRef<[u8]>>(args: &[A]) -> Vec<u8> {
    let mut out = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        out.extend_from_slice(format!("${}\r\n", arg.as_ref().len()).as_bytes());
        out.extend_from_slice(arg.as_ref());
        out.extend_from_slice(b"\r\n");
    }
    out
}

fn show<A: AsRef<[u8]>>(args: &[A]) -> String {
    let words =
        args.iter().take(6).map(|a| a.as_ref()[..a.as_ref().len().min(40)].escape_ascii().to_string());
    words.collect::<Vec<_>>().join(" ")
}

/// Parses one value; `None` means that more bytes are needed.
struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Cursor<'_> {
    fn value(&mut self) -> Option<io::Result<Value>> {
        let line = self.line()?;
        let Some((kind, rest)) = line.split_at_checked(1) else { return Some(Err(broken("an empty line"))) };
        let count = || rest.parse::<i64>().map_err(|_| broken(rest));
        Some(Ok(match kind {
            "+" => Value::Simple(rest.to_string()),
            "-" => Value::Error(rest.to_string()),
            ":" => match count() {
                Ok(n) => Value::Int(n),
                Err(e) => return Some(Err(e)),
            },
            "," => Value::Double(rest.to_string()),
            "#" => Value::Bool(rest == "t"),
            "(" => Value::BigNumber(rest.to_string()),
            "_" => Value::Nil,
            "$" | "=" | "!" | "*" | "~" | ">" | "%" => match count() {
                Ok(n) if n < 0 => Value::Nil,
                Ok(n) => return self.sized(kind.as_bytes()[0], n as usize),
                Err(e) => return Some(Err(e)),
            },
            _ => return Some(Err(broken(&line))),
        }))
    }

    fn sized(&mut self, kind: u8, n: usize) -> Option<io::Result<Value>> {
        if matches!(kind, b'$' | b'=' | b'!') {
            let body = self.bytes.get(self.at..self.at + n + 2)?[..n].to_vec();
            self.at += n + 2;
            return Some(Ok(match kind {
                b'$' => Value::Bulk(body),
                b'!' => Value::Error(String::from_utf8_lossy(&body).into_owned()),
                _ => Value::Verbatim(String::from_utf8_lossy(&body[..3]).into_owned(), body[4..].to_vec()),
            }));
        }
        let mut items = Vec::new();
        for _ in 0..if kind == b'%' { 2 * n } else { n } {
            match self.value()? {
                Ok(item) => items.push(item),
                Err(e) => return Some(Err(e)),
            }
        }
        Some(Ok(match kind {
            b'*' => Value::Array(items),
            b'~' => Value::Set(items),
            b'>' => Value::Push(items),
            _ => {
                let mut flat = items.into_iter();
                Value::Map(std::iter::from_fn(|| Some((flat.next()?, flat.next()?))).collect())
            }
        }))
    }

    fn line(&mut self) -> Option<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        self.at += end + 2;
        Some(String::from_utf8_lossy(&rest[..end]).into_owned())
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("not RESP: {what:?}"))
}
